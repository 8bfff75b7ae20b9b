//! From a record to a task's outputs: what it wrote, laid over its *current* input.
//!
//! A record holds only what a task changed, so a change in a column the task does not read passes through a hit. Types
//! and roles of columns are the current plan's, data is the record's. A task that selected rows recorded row numbers:
//! unread columns are gathered by them, and what was gathered is remembered, so it is done once for each column.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use engine_core::{Digest, Hasher, LogicalType, Size};
use engine_store::{Record, RecordOutput, Store, StoreError};
use engine_table::{ColumnChunk, ColumnType, PortType, RowsChange, StoredColumn, Table, TableChange, TableType};
use polars::prelude::{IDX_DTYPE, PolarsError};

use crate::condition::chosen;
use crate::fingerprint::merged;
use crate::{LazyFiles, Output, OutputRef, Outputs, ResolveError, Task, Work};

/// The outputs `record` stands for, by its task's ports; nothing if that needs rows to be gathered which nobody has
/// gathered yet, or an input is unknown. Reads no rows.
///
/// # Errors
/// If the store fails, or the record does not hold what the plan expects.
pub fn compose(
    task: &Task,
    record: &Record,
    outputs: &Outputs,
    store: &Store,
) -> Result<Option<Vec<(OutputRef, Output)>>, ResolveError> {
    let mut composed = Vec::with_capacity(task.outputs.len());
    for (port, kind) in &task.outputs {
        let Some(output) = compose_port(task, port, kind, record, outputs, store, Gather::FromMemo)? else {
            return Ok(None);
        };
        composed.push((OutputRef { task: task.id, port: port.clone() }, output));
    }
    Ok(Some(composed))
}

/// As [`compose`], with everything the task needs known; gathers what nobody has gathered yet.
///
/// # Errors
/// If the store fails, or the record does not hold what the plan expects.
pub fn compose_and_gather(
    task: &Task,
    record: &Record,
    outputs: &Outputs,
    store: &Store,
) -> Result<Vec<(OutputRef, Output)>, ResolveError> {
    let mut composed = Vec::with_capacity(task.outputs.len());
    for (port, kind) in &task.outputs {
        let output = compose_port(task, port, kind, record, outputs, store, Gather::FromRows)?
            .ok_or_else(|| wrong(task, "needs an input that is not known".to_owned()))?;
        composed.push((OutputRef { task: task.id, port: port.clone() }, output));
    }
    Ok(composed)
}

/// Where columns that follow a selection come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gather {
    FromMemo,
    FromRows,
}

fn compose_port(
    task: &Task,
    port: &str,
    kind: &PortType,
    record: &Record,
    outputs: &Outputs,
    store: &Store,
    gather: Gather,
) -> Result<Option<Output>, ResolveError> {
    let recorded = record.outputs.get(port).ok_or_else(|| wrong(task, format!("has nothing for the port `{port}`")))?;
    match (recorded, kind) {
        (RecordOutput::Table(change), PortType::Table(kind)) => {
            let base = match &change.rows {
                RowsChange::New { .. } => Arc::new(Table::default()),
                _ => match base(task, outputs, store)? {
                    Some(base) => base,
                    None => return Ok(None),
                },
            };
            let (base, chunk_rows) = match &change.rows {
                RowsChange::New { chunk_rows } => (base, chunk_rows.clone()),
                RowsChange::Kept => {
                    let chunk_rows = base.chunk_rows.clone();
                    (base, chunk_rows)
                }
                RowsChange::Selected { indices, chunk_rows } => {
                    match select(&base, change, indices, chunk_rows, store, gather)? {
                        Some(selected) => (Arc::new(selected), chunk_rows.clone()),
                        None => return Ok(None),
                    }
                }
            };
            Ok(Some(Output::Table(Arc::new(laid_over(task, &base, change, chunk_rows, kind)?))))
        }
        (RecordOutput::Files { digest, .. }, _) if !matches!(kind, PortType::Table(_)) => {
            let files = Arc::new(LazyFiles::stored(recorded.clone()));
            Ok(Some(Output::Files { digest: *digest, files }))
        }
        _ => Err(wrong(task, format!("holds another kind of artifact for the port `{port}`"))),
    }
}

/// The table over which a task's columns are laid: its own input, or that of the chosen instance.
fn base(task: &Task, outputs: &Outputs, store: &Store) -> Result<Option<Arc<Table>>, ResolveError> {
    let Work::Choose { by, of } = &task.work else { return Ok(merged(task.base_tables(), outputs)) };
    let chosen = chosen(task, by, of, outputs, store)?;
    Ok(chosen.and_then(|chosen| outputs.table(chosen).cloned()))
}

/// The rows `change` selected of `base`, without the columns it wrote.
fn select(
    base: &Table,
    change: &TableChange,
    indices: &[ColumnChunk],
    chunk_rows: &[u64],
    store: &Store,
    gather: Gather,
) -> Result<Option<Table>, ResolveError> {
    let is_replaced = |name: &str| change.written.iter().any(|written| written.column.name == name);
    let followers: Vec<&StoredColumn> = base
        .columns
        .iter()
        .filter(|stored| !change.dropped.contains(&stored.column.name) && !is_replaced(&stored.column.name))
        .collect();
    let mut gathered: BTreeMap<&str, Vec<ColumnChunk>> = BTreeMap::new();
    let mut missing: Vec<&str> = Vec::new();
    let keys: BTreeMap<&str, Digest> = followers
        .iter()
        .map(|stored| (stored.column.name.as_str(), memo_key(stored, &base.chunk_rows, indices)))
        .collect();
    for stored in &followers {
        let name = stored.column.name.as_str();
        let memo = store.memo(&keys[name])?;
        // A memo may outlive the segments it names: what was swept is gathered anew.
        let chunks: Option<Vec<ColumnChunk>> = memo
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .filter(|chunks: &Vec<ColumnChunk>| chunks.iter().all(|chunk| store.has_object(&chunk.segment)));
        match chunks {
            Some(chunks) => {
                gathered.insert(name, chunks);
            }
            None => missing.push(name),
        }
    }
    if !missing.is_empty() {
        if gather == Gather::FromMemo {
            return Ok(None);
        }
        for (name, chunks) in gathered_rows(base, &missing, indices, chunk_rows, store)? {
            if let Some((name, key)) = keys.get_key_value(name.as_str()) {
                if let Ok(bytes) = serde_json::to_vec(&chunks) {
                    store.set_memo(key, &bytes)?;
                }
                gathered.insert(name, chunks);
            }
        }
    }
    let columns: Vec<StoredColumn> = followers
        .iter()
        .filter_map(|stored| {
            let chunks = gathered.remove(stored.column.name.as_str())?;
            Some(StoredColumn { column: stored.column.clone(), chunks })
        })
        .collect();
    Ok(Some(Table { columns, chunk_rows: chunk_rows.to_vec() }))
}

/// The rows of `indices` of the columns `names`, put into chunks like theirs.
fn gathered_rows(
    base: &Table,
    names: &[&str],
    indices: &[ColumnChunk],
    chunk_rows: &[u64],
    store: &Store,
) -> Result<Vec<(String, Vec<ColumnChunk>)>, StoreError> {
    const ROW: &str = "row";
    let rows = |error: PolarsError| StoreError::Rows(error.to_string());
    let row = StoredColumn { column: ColumnType::new(ROW, LogicalType::Int), chunks: indices.to_vec() };
    let numbers = Table { columns: vec![row], chunk_rows: chunk_rows.to_vec() };
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let frame = store.read_table(base, &names)?;
    let mut gathered: Vec<(String, Vec<ColumnChunk>)> =
        names.into_iter().map(|name| (name, Vec::with_capacity(chunk_rows.len()))).collect();
    for chunk in 0..chunk_rows.len() {
        let picked = store.read_columns(&numbers, &[ROW.to_owned()], chunk)?;
        let picked = picked.column(ROW).and_then(|column| column.cast(&IDX_DTYPE)).map_err(rows)?;
        // Checked: a number beyond the table is an error, not another row.
        let picked = frame.take(picked.idx().map_err(rows)?).map_err(rows)?;
        for ((_, chunks), chunk) in gathered.iter_mut().zip(store.put_chunk(&picked)?) {
            chunks.push(chunk);
        }
    }
    Ok(gathered)
}

/// Names what a column becomes when the rows of `indices` are picked from it.
fn memo_key(stored: &StoredColumn, chunk_rows: &[u64], indices: &[ColumnChunk]) -> Digest {
    let mut hasher = Hasher::new("fuseline.gathered.v1");
    // Where the chunks lie does not change the values, but digests of chunks alone do not tell how many rows each has.
    for rows in chunk_rows {
        hasher.raw(&rows.to_le_bytes());
    }
    hasher.digest(&stored.digest());
    for chunk in indices {
        hasher.digest(&chunk.digest);
    }
    hasher.finish()
}

/// What `change` wrote over the columns of `base`, with the order, types and roles of the plan.
///
/// As [`Table::composed`], but each column is looked up once and copied once: a plan does this for every hit.
fn laid_over(
    task: &Task,
    base: &Table,
    change: &TableChange,
    chunk_rows: Vec<u64>,
    kind: &TableType,
) -> Result<Table, ResolveError> {
    let mut by_name: HashMap<&str, &StoredColumn> = HashMap::with_capacity(base.columns.len() + change.written.len());
    for stored in base.columns.iter().filter(|stored| !change.dropped.contains(&stored.column.name)) {
        let renamed = change.renamed.iter().find(|rename| rename.from == stored.column.name);
        by_name.insert(renamed.map_or(stored.column.name.as_str(), |rename| rename.to.as_str()), stored);
    }
    by_name.extend(change.written.iter().map(|written| (written.column.name.as_str(), written)));
    let mut columns = Vec::with_capacity(kind.columns.len());
    for column in &kind.columns {
        let Some(stored) = by_name.get(column.name.as_str()) else {
            return Err(wrong(task, format!("has no column `{}`", column.name)));
        };
        let (given, wanted) = (stored.chunks.len(), chunk_rows.len());
        if given != wanted {
            return Err(wrong(
                task,
                format!("has {given} chunks of the column `{}` and {wanted} of rows", column.name),
            ));
        }
        let mut column = column.clone();
        // A size that is a symbol in the plan is a number in what was stored.
        if has_symbol(&column.logical) {
            column.logical.clone_from(&stored.column.logical);
        }
        columns.push(StoredColumn { column, chunks: stored.chunks.clone() });
    }
    Ok(Table { columns, chunk_rows })
}

fn has_symbol(logical: &LogicalType) -> bool {
    let is_symbol = |size: &Size| matches!(size, Size::Symbol(_));
    match logical {
        LogicalType::Tokens(size) => is_symbol(size),
        LogicalType::Tensor(shape) => shape.iter().any(is_symbol),
        LogicalType::List(element) => has_symbol(element),
        _ => false,
    }
}

fn wrong(task: &Task, what: String) -> ResolveError {
    ResolveError::Stored { task: task.name.clone(), what }
}
