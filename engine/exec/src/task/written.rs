//! What a task gives is checked against what it declared, and goes into the store.

use std::collections::BTreeMap;

use engine_core::{ArtifactKind, MetricValue};
use engine_plan::Task;
use engine_store::{RecordOutput, Store, StrayCell};
use engine_table::{ColumnType, Files, NodeError, PortType, StoredColumn, check_frame};
use polars::prelude::DataFrame;

use crate::redaction::Redactor;

/// Where outputs go, and what must not be in them.
#[derive(Clone, Copy)]
pub(crate) struct Shelf<'a> {
    pub(crate) store: &'a Store,
    pub(crate) redactor: &'a Redactor,
}

/// Columns on their way into the store, chunk after chunk.
pub(crate) struct ColumnsWriter<'a> {
    shelf: Shelf<'a>,
    types: Vec<ColumnType>,
    columns: Vec<StoredColumn>,
    pub(crate) chunk_rows: Vec<u64>,
}

impl<'a> ColumnsWriter<'a> {
    /// A writer of `columns`; every chunk must have exactly these, in order.
    pub(crate) fn new(shelf: Shelf<'a>, columns: impl IntoIterator<Item = ColumnType>) -> ColumnsWriter<'a> {
        let types: Vec<ColumnType> = columns.into_iter().collect();
        let columns = types.iter().map(|column| StoredColumn { column: column.clone(), chunks: Vec::new() }).collect();
        ColumnsWriter { shelf, types, columns, chunk_rows: Vec::new() }
    }

    /// Writes one chunk, which was checked.
    pub(crate) fn push(&mut self, chunk: &DataFrame) -> Result<(), NodeError> {
        if let Some((secret, column)) = self.shelf.redactor.found_in_frame(chunk) {
            return Err(secret_in_output(secret, &format!("column `{column}`")));
        }
        // A record is committed after all it names.
        if let Some(StrayCell { column, row, text }) = self.shelf.store.stray_cell(chunk, &self.types) {
            return Err(NodeError::Failed(format!(
                "`{text}` in row {row} of column `{column}` is the digest of no image or sound in the store: a fault of \
                 the kind"
            )));
        }
        self.chunk_rows.push(chunk.height() as u64);
        if self.columns.is_empty() {
            return Ok(());
        }
        let written = self.shelf.store.put_chunk(chunk)?;
        debug_assert_eq!(written.len(), self.columns.len(), "a checked chunk has the declared columns");
        for (column, chunk) in self.columns.iter_mut().zip(written) {
            column.chunks.push(chunk);
        }
        Ok(())
    }

    /// The columns written and the rows in each chunk.
    pub(crate) fn finish(self) -> (Vec<StoredColumn>, Vec<u64>) {
        (self.columns, self.chunk_rows)
    }
}

fn secret_in_output(secret: &str, place: &str) -> NodeError {
    NodeError::Failed(format!(
        "the value of the secret `{secret}` stands in its output, in {place}; secrets are never stored: keep the \
         value out of what the node writes"
    ))
}

/// The columns called `names` as the plan types them on the task's table output.
pub(crate) fn output_columns<'t>(task: &Task, written: impl IntoIterator<Item = &'t ColumnType>) -> Vec<ColumnType> {
    let table = task.table().expect("the plan types the table of every task that gives one");
    written.into_iter().map(|column| table.column(&column.name).unwrap_or(column).clone()).collect()
}

/// The port on which the task gives its table.
pub(crate) fn table_port(task: &Task) -> String {
    let port = task.outputs.iter().find(|(_, output)| matches!(output, PortType::Table(_)));
    port.map_or_else(|| ArtifactKind::Table.to_string(), |(port, _)| port.clone())
}

/// Checks a frame a kind gave: as many rows as it was given, and the declared columns.
pub(crate) fn check_rows(frame: &DataFrame, rows: usize, columns: &[ColumnType]) -> Result<(), NodeError> {
    if frame.height() != rows {
        return Err(NodeError::Failed(format!(
            "the kind gave {} rows for {rows} it was handed; a kind that works row by row keeps every row",
            frame.height()
        )));
    }
    check_frame(frame, columns)
}

/// Checks the artifacts a kind gave against its declared ports and stores them.
pub(crate) fn store_artifacts(
    shelf: Shelf<'_>,
    task: &Task,
    mut artifacts: BTreeMap<String, Files>,
) -> Result<BTreeMap<String, RecordOutput>, NodeError> {
    let mut outputs = BTreeMap::new();
    for (port, gives) in &task.outputs {
        let files = artifacts.remove(port).ok_or_else(|| {
            NodeError::Failed(format!(
                "the kind gave nothing on its port `{port}`, which it declares: a fault of the kind"
            ))
        })?;
        check_artifact(port, gives, &files)?;
        outputs.insert(port.clone(), store_artifact(shelf, &files)?);
    }
    match artifacts.keys().next() {
        None => Ok(outputs),
        Some(port) => Err(NodeError::Failed(format!(
            "the kind gave something on a port `{port}` that it does not declare: a fault of the kind"
        ))),
    }
}

/// Stores one artifact.
pub(crate) fn store_artifact(shelf: Shelf<'_>, files: &Files) -> Result<RecordOutput, NodeError> {
    if let Some((secret, file)) = shelf.redactor.found_in_files(files) {
        return Err(secret_in_output(secret, &format!("the file `{file}`")));
    }
    Ok(shelf.store.store_files(files)?)
}

/// The file every `metrics` artifact has.
pub(crate) const METRICS_FILE: &str = "metrics.json";

/// The scores in a `metrics` artifact.
pub(crate) fn read_metrics(files: &Files) -> Result<BTreeMap<String, MetricValue>, serde_json::Error> {
    files.read_json(METRICS_FILE)
}

fn check_artifact(port: &str, gives: &PortType, files: &Files) -> Result<(), NodeError> {
    if gives.artifact_kind() == ArtifactKind::Metrics {
        read_metrics(files).map_err(|error| {
            NodeError::Failed(format!(
                "the metrics on port `{port}` cannot be read from `{METRICS_FILE}`: {error}: a fault of the kind"
            ))
        })?;
    }
    Ok(())
}
