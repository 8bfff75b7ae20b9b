//! Runs the learning half of a `FitApply` node. The only place where rows are admitted to a fit.

use engine_core::ArtifactKind;
use engine_plan::Task;
use engine_table::{ColumnType, Context, ErasedFitApply, NodeError, PortType, TrainRows};

use super::Made;
use super::inputs::TaskInputs;
use super::written::{Shelf, store_artifact};

/// Learns from the rows the task reads, and from no other.
pub(crate) fn run(
    node: &dyn ErasedFitApply,
    inputs: &TaskInputs<'_>,
    shelf: Shelf<'_>,
    context: &Context,
) -> Result<Made, NodeError> {
    let task: &Task = inputs.task;
    let read = task.reads.first().expect("the plan gives a fit what it learns from");
    let rows = inputs.rows(read)?;
    inputs.require_rows(read, &rows)?;
    let table = task.types.table(&read.port);
    let columns: Vec<ColumnType> = read
        .columns
        .iter()
        .map(|name| table.column(name).expect("the plan checked the columns a fit reads").clone())
        .collect();
    let fitted = node.fit(TrainRows::admit(&rows, &columns), context)?;
    let port = task.outputs.iter().find(|(_, gives)| matches!(gives, PortType::Fitted)).map(|(port, _)| port.clone());
    let port = port.unwrap_or_else(|| ArtifactKind::Fitted.to_string());
    Ok(Made::artifact(port, store_artifact(shelf, &fitted)?))
}
