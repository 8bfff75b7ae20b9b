//! Runs a source: its rows, checked frame by frame, cut into chunks by content.

use engine_core::{Progress, Unit};
use engine_plan::Task;
use engine_store::RecordOutput;
use engine_table::{
    Chunker, ColumnType, Context, NodeError, RowsChange, Source, TableChange, check_frame, empty_frame,
};

use super::Made;
use super::written::{ColumnsWriter, Shelf, output_columns, table_port};
use crate::Chunking;

/// Reads all rows of `source`.
pub(crate) fn run(
    task: &Task,
    source: &dyn Source,
    columns: &[ColumnType],
    shelf: Shelf<'_>,
    chunking: Chunking,
    context: &Context,
) -> Result<Made, NodeError> {
    let mut writer = ColumnsWriter::new(shelf, output_columns(task, columns));
    let mut chunker = Chunker::new(chunking.rule(columns));
    let mut rows = 0;
    source.read(columns, context, &mut |frame| {
        context.cancel.check()?;
        check_frame(&frame, columns)?;
        rows += frame.height() as u64;
        for chunk in chunker.push(&frame)? {
            writer.push(&chunk)?;
        }
        context.progress.progress(Progress { done: rows, total: None, unit: Unit::Rows, values: Default::default() });
        Ok(())
    })?;
    let mut last = chunker.finish()?;
    if last.is_empty() && writer.chunk_rows.is_empty() {
        // A source without a frame is a table without rows, whose columns are known all the same.
        last.push(empty_frame(columns)?);
    }
    for chunk in last {
        writer.push(&chunk)?;
    }
    let (written, chunk_rows) = writer.finish();
    let change =
        TableChange { rows: RowsChange::New { chunk_rows }, written, dropped: Vec::new(), renamed: Vec::new() };
    Ok(Made::table(table_port(task), RecordOutput::Table(change)))
}
