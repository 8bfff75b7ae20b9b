//! Runs a kind that takes files in: their bytes become blobs, and cells name them.
//!
//! Which files and which content is what the task is keyed by. A file whose content the store has already is not read.

use std::path::Path;

use engine_core::{Digest, Progress, Unit};
use engine_plan::{Fetched, Work, fetched};
use engine_store::{RecordOutput, Store};
use engine_table::{Chunker, Context, Fetch, NodeError, RowsChange, TableChange};

use super::Made;
use super::inputs::TaskInputs;
use super::written::{ColumnsWriter, Shelf, check_rows, output_columns, table_port};
use crate::Chunking;

/// A file of more bytes is not taken in: a blob is held in memory as a whole.
const MAX_BYTES: u64 = 1 << 30;

/// Keeps the files and writes the columns that name them.
pub(crate) fn run(
    node: &dyn Fetch,
    inputs: &TaskInputs<'_>,
    shelf: Shelf<'_>,
    chunking: Chunking,
    context: &Context,
) -> Result<Made, NodeError> {
    let task = inputs.task;
    let fetched = fetched(task, node, inputs.outputs, inputs.store)
        .map_err(NodeError::failed)?
        .expect("a task starts after what it needs has ended");
    if let Some(missing) = &fetched.missing {
        context.progress.warning(&format!("left without {missing}"));
    }
    let bytes = keep(&fetched, inputs.store, context)?;
    let change = match &task.work {
        Work::Source { columns } => {
            let columns = output_columns(task, columns);
            let frame = node.columns(&fetched.files)?;
            check_rows(&frame, fetched.files.len(), &columns)?;
            let mut writer = ColumnsWriter::new(shelf, columns.clone());
            let rule = chunking.rule_for_files(&columns, fetched.places.len() as u64, bytes);
            let mut chunker = Chunker::new(rule);
            for chunk in chunker.push(&frame)?.into_iter().chain(chunker.finish()?) {
                writer.push(&chunk)?;
            }
            let (written, chunk_rows) = writer.finish();
            TableChange { rows: RowsChange::New { chunk_rows }, written, dropped: Vec::new(), renamed: Vec::new() }
        }
        Work::Apply { change, tables, .. } => {
            let columns = output_columns(task, change.writes.iter().map(|written| &written.column));
            let mut writer = ColumnsWriter::new(shelf, columns.clone());
            let mut rest = fetched.files.as_slice();
            for rows in &inputs.merged(tables).chunk_rows {
                let (files, others) = rest.split_at(usize::try_from(*rows).unwrap_or(usize::MAX));
                let frame = node.columns(files)?;
                check_rows(&frame, files.len(), &columns)?;
                writer.push(&frame)?;
                rest = others;
            }
            let (written, _) = writer.finish();
            let (dropped, renamed) = (change.drops.clone(), change.renames.clone());
            TableChange { rows: RowsChange::Kept, written, dropped, renamed }
        }
        _ => unreachable!("the plan gives every kind the work of its trait"),
    };
    Ok(Made::table(table_port(task), RecordOutput::Table(change)))
}

/// Keeps the content of every file; how many bytes they have together.
fn keep(fetched: &Fetched, store: &Store, context: &Context) -> Result<u64, NodeError> {
    let mut bytes = 0;
    let total = Some(fetched.places.len() as u64);
    for (done, (digest, path)) in fetched.places.iter().enumerate() {
        context.cancel.check()?;
        bytes += keep_file(digest, path, store)?;
        let progress = Progress { done: done as u64 + 1, total, unit: Unit::Steps, values: Default::default() };
        context.progress.progress(progress);
    }
    Ok(bytes)
}

fn keep_file(digest: &Digest, path: &Path, store: &Store) -> Result<u64, NodeError> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| NodeError::Transient(format!("cannot read `{shown}`: {error}"));
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        return Err(NodeError::Failed(format!(
            "`{shown}` has {size} bytes, and an image or sound may have at most {MAX_BYTES}; cut it, or leave it out"
        )));
    }
    if store.has_blob(digest) {
        return Ok(size);
    }
    if store.put_object(&std::fs::read(path).map_err(unreadable)?)? != *digest {
        return Err(NodeError::Transient(format!(
            "`{shown}` was changed while it was read; run again when nobody writes to it"
        )));
    }
    Ok(size)
}
