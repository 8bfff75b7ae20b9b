//! Runs a row-local function over the chunks of a table, writing only the columns it declared.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::{Progress, Unit};
use engine_plan::{OutputRef, Task};
use engine_store::RecordOutput;
use engine_table::{
    Change, ColumnType, Context, Node, NodeError, ReduceInputs, RowFunction, RowsChange, Table, TableChange,
    empty_frame, with_sizes,
};
use polars::prelude::DataFrame;

use super::Made;
use super::inputs::TaskInputs;
use super::written::{ColumnsWriter, Shelf, check_rows, output_columns, table_port};

/// Changes the table merged from `tables`.
pub(crate) fn run(
    change: &Change,
    tables: &[OutputRef],
    fitted: Option<&OutputRef>,
    inputs: &TaskInputs<'_>,
    shelf: Shelf<'_>,
    context: &Context,
) -> Result<Made, NodeError> {
    let task: &Task = inputs.task;
    let table = inputs.merged(tables);
    let declared = output_columns(task, change.writes.iter().map(|written| &written.column));
    let mut writer = ColumnsWriter::new(shelf, declared.clone());
    // A node that only drops or renames touches no row.
    if !declared.is_empty() {
        let (function, sizes) = prepare(fitted, change, inputs, context)?;
        let expected = with_sizes(&declared, &sizes);
        let mut done = 0;
        for chunk in 0..table.chunk_rows.len() {
            context.cancel.check()?;
            let height = table.chunk_rows[chunk];
            let written = apply_chunk(&*function, &table, chunk, change, &expected, inputs)
                .map_err(|error| in_rows(error, done, height, table.rows()))?;
            writer.push(&written)?;
            done += height;
            let progress = Progress { done, total: Some(table.rows()), unit: Unit::Rows, values: Default::default() };
            context.progress.progress(progress);
        }
    }
    let (written, _) = writer.finish();
    let change =
        TableChange { rows: RowsChange::Kept, written, dropped: change.drops.clone(), renamed: change.renames.clone() };
    Ok(Made::table(table_port(task), RecordOutput::Table(change)))
}

/// A function made once for all chunks, and the sizes its fit found.
pub(crate) type Prepared = (Box<dyn RowFunction>, BTreeMap<String, u64>);

/// Makes the function of a task.
pub(crate) fn prepare(
    fitted: Option<&OutputRef>,
    change: &Change,
    inputs: &TaskInputs<'_>,
    context: &Context,
) -> Result<Prepared, NodeError> {
    match (&inputs.task.bound.node, fitted) {
        (Node::FitApply(node), Some(fitted)) => {
            let fitted = inputs.files(fitted)?;
            let sizes = node.sizes(&fitted)?;
            Ok((Arc::clone(node).prepare(&fitted, change)?, sizes))
        }
        // The first read is the changed table's, chunk by chunk; the others are whole.
        (Node::RowLocal(node), None) => {
            let side = inputs.ports(inputs.task.reads.get(1..).unwrap_or(&[]))?;
            let side = ReduceInputs { cancel: context.cancel.clone(), secrets: context.secrets.clone(), ..side };
            Ok((node.prepare(&side)?, BTreeMap::new()))
        }
        _ => unreachable!("the plan applies row-local kinds, and fitted ones with what they learnt"),
    }
}

fn apply_chunk(
    function: &dyn RowFunction,
    table: &Table,
    chunk: usize,
    change: &Change,
    expected: &[ColumnType],
    inputs: &TaskInputs<'_>,
) -> Result<DataFrame, NodeError> {
    let height = table.chunk_rows[chunk] as usize;
    // No kind need think of no rows; only a size nobody knows must be asked of it.
    if height == 0
        && let Ok(empty) = empty_frame(expected)
    {
        return Ok(empty);
    }
    let rows = inputs.store.read_columns(table, &change.reads, chunk)?;
    let written = function.apply(&rows)?;
    check_rows(&written, height, expected)?;
    Ok(written)
}

/// Says which rows of the table an error is about, if they are not all of them: the kind counts from 0 in each chunk.
fn in_rows(error: NodeError, first: u64, height: u64, all: u64) -> NodeError {
    let place = |message: String| {
        // Below the first line stands what somebody else said of it.
        let (said, rest) = message.split_at(message.find('\n').unwrap_or(message.len()));
        format!(
            "{said} (among rows {first} to {} of its table, which the kind counts from 0){rest}",
            first + height.max(1) - 1
        )
    };
    match error {
        NodeError::Failed(message) if height < all => NodeError::Failed(place(message)),
        NodeError::Transient(message) if height < all => NodeError::Transient(place(message)),
        other => other,
    }
}
