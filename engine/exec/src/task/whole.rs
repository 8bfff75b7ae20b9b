//! Runs a kind that needs all rows and makes a table: its rows are cut into chunks anew.

use engine_core::LogicalType;
use engine_plan::{OutputRef, Task, TaskRead};
use engine_store::RecordOutput;
use engine_table::{
    Chunker, ColumnChunk, ColumnType, Context, NodeError, RowFilter, RowsChange, TableChange, Whole, WholeRows,
    WholeType, check_frame,
};
use polars::prelude::{Column, DataFrame, IdxCa, IdxSize, NamedFrom, Series};

use super::Made;
use super::inputs::TaskInputs;
use super::written::{ColumnsWriter, Shelf, output_columns, table_port};
use crate::Chunking;

/// Makes the rows and stores them.
pub(crate) fn run(
    node: &dyn Whole,
    whole: &WholeType,
    tables: &[OutputRef],
    inputs: &TaskInputs<'_>,
    shelf: Shelf<'_>,
    chunking: Chunking,
    context: &Context,
) -> Result<Made, NodeError> {
    let task = inputs.task;
    let handed = inputs.ports(&task.reads)?;
    let rows = node.run(&handed, context)?;
    context.cancel.check()?;
    let change = match (whole, rows) {
        (WholeType::New { writes, .. }, WholeRows::New(frame)) => {
            let columns = output_columns(task, writes.iter().map(|written| &written.column));
            check_frame(&frame, &columns)?;
            let mut writer = ColumnsWriter::new(shelf, columns.clone());
            for chunk in cut(&frame, chunking, &columns)? {
                context.cancel.check()?;
                writer.push(&chunk)?;
            }
            let (written, chunk_rows) = writer.finish();
            TableChange { rows: RowsChange::New { chunk_rows }, written, dropped: Vec::new(), renamed: Vec::new() }
        }
        (WholeType::Select { writes, .. }, WholeRows::Selected { rows, written }) => {
            let columns = output_columns(task, writes.iter().map(|written| &written.column));
            let table = inputs.merged(tables);
            check_selection(&rows, table.rows(), &written, &columns)?;
            let read = task.reads.iter().find(|read| read.tables == tables && read.rows == RowFilter::All);
            let keys = match read.and_then(|read| handed.ports.get(&read.port)?.rows.get(&read.asked)) {
                Some(frame) if frame.height() as u64 == table.rows() => Some((read, frame)),
                _ => None,
            };
            let keys = keys.and_then(|(read, frame)| Some((key_types(task, read?), frame)));
            select(rows, &written, &columns, keys, shelf, chunking, context)?
        }
        (WholeType::New { .. }, WholeRows::Selected { .. }) | (WholeType::Select { .. }, WholeRows::New(_)) => {
            return Err(NodeError::Failed(
                "the kind declared to select rows and made new ones, or the other way round: a fault of the kind"
                    .to_owned(),
            ));
        }
    };
    Ok(Made::table(table_port(task), RecordOutput::Table(change)))
}

fn check_selection(rows: &[u64], all: u64, written: &DataFrame, columns: &[ColumnType]) -> Result<(), NodeError> {
    if let Some(row) = rows.iter().find(|row| **row >= all) {
        return Err(NodeError::Failed(format!(
            "the kind selected row {row} of a table of {all} rows, counted from 0: a fault of the kind"
        )));
    }
    if columns.is_empty() {
        return Ok(());
    }
    if written.height() != rows.len() {
        return Err(NodeError::Failed(format!(
            "the kind selected {} rows and gave {} rows of added columns: a fault of the kind",
            rows.len(),
            written.height()
        )));
    }
    check_frame(written, columns)
}

fn key_types(task: &Task, read: &TaskRead) -> Vec<ColumnType> {
    let table = task.types.table(&read.port);
    read.columns.iter().filter_map(|name| table.column(name).cloned()).collect()
}

/// Stores row numbers and added columns. The boundaries go by the values of the columns that were read (and are keyed)
/// at the selected rows; where these do not tell rows apart, by the row numbers.
fn select(
    rows: Vec<u64>,
    written: &DataFrame,
    columns: &[ColumnType],
    keys: Option<(Vec<ColumnType>, &DataFrame)>,
    shelf: Shelf<'_>,
    chunking: Chunking,
    context: &Context,
) -> Result<TableChange, NodeError> {
    // Read and added columns may share a name, so all go by number.
    let mut types: Vec<ColumnType> = Vec::new();
    let mut values: Vec<Column> = Vec::new();
    if let Some((read, frame)) = keys {
        let numbers: Vec<IdxSize> = rows.iter().map(|row| *row as IdxSize).collect();
        let picked = frame.take(&IdxCa::from_vec("rows".into(), numbers)).map_err(NodeError::failed)?;
        for (number, (column, kind)) in picked.columns().iter().zip(read).enumerate() {
            let name = format!("key {number}");
            values.push(column.clone().with_name(name.as_str().into()));
            types.push(ColumnType { name, ..kind });
        }
    }
    let first_written = values.len();
    let added = if columns.is_empty() { &[] } else { written.columns() };
    for (number, (column, kind)) in added.iter().zip(columns).enumerate() {
        let name = format!("added {number}");
        values.push(column.clone().with_name(name.as_str().into()));
        types.push(ColumnType { name, ..kind.clone() });
    }
    let numbers: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    values.push(Series::new(ROW.into(), numbers).into());
    types.push(ColumnType::new(ROW, LogicalType::Int));
    let frame = DataFrame::new(rows.len(), values).map_err(NodeError::failed)?;

    let mut indices: Vec<ColumnChunk> = Vec::new();
    let mut writer = ColumnsWriter::new(shelf, columns.iter().cloned());
    for chunk in cut(&frame, chunking, &types)? {
        context.cancel.check()?;
        let row = chunk.column(ROW).map_err(NodeError::failed)?.clone();
        let row = DataFrame::new(chunk.height(), vec![row]).map_err(NodeError::failed)?;
        indices.extend(shelf.store.put_chunk(&row)?);
        let added = chunk.columns()[first_written..first_written + columns.len()].iter().zip(columns);
        let added = added.map(|(values, column)| values.clone().with_name(column.name.as_str().into())).collect();
        writer.push(&DataFrame::new(chunk.height(), added).map_err(NodeError::failed)?)?;
    }
    let (written, chunk_rows) = writer.finish();
    let rows = RowsChange::Selected { indices, chunk_rows };
    Ok(TableChange { rows, written, dropped: Vec::new(), renamed: Vec::new() })
}

const ROW: &str = "row";

fn cut(frame: &DataFrame, chunking: Chunking, columns: &[ColumnType]) -> Result<Vec<DataFrame>, NodeError> {
    let mut chunker = Chunker::new(chunking.rule(columns));
    let mut chunks = chunker.push(frame)?;
    chunks.extend(chunker.finish()?);
    Ok(chunks)
}
