//! Gives what one of several instances gave.

use std::collections::BTreeMap;

use engine_plan::{Output, OutputRef, chosen};
use engine_store::RecordOutput;
use engine_table::{NodeError, RowsChange, TableChange};

use super::Made;
use super::inputs::TaskInputs;

/// The output of `of` that the task with the output `by` chose. Nothing is copied: files stand in the store already,
/// and of a table the record says that it is as it was.
pub(crate) fn run(by: &OutputRef, of: &[OutputRef], inputs: &TaskInputs<'_>) -> Result<Made, NodeError> {
    let task = inputs.task;
    let from = chosen(task, by, of, inputs.outputs, inputs.store).map_err(NodeError::failed)?;
    let output = from.and_then(|from| inputs.outputs.0.get(from));
    let recorded = match output.expect("a choice has a key only if what was chosen is known") {
        Output::Files { files, .. } => files.recorded(inputs.store)?,
        Output::Table(_) => RecordOutput::Table(TableChange {
            rows: RowsChange::Kept,
            written: Vec::new(),
            dropped: Vec::new(),
            renamed: Vec::new(),
        }),
    };
    let port = task.outputs.keys().next().expect("a choice gives what is chosen").clone();
    Ok(Made { outputs: BTreeMap::from([(port, recorded)]) })
}
