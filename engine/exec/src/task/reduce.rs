//! Runs kinds whose results are no tables: trainers, scorers, encoders.

use std::collections::BTreeMap;

use engine_core::{ArtifactKind, Effect};
use engine_table::{Context, Files, NodeError, PortType, Reduce, ReduceInputs, RowFilter};

use super::Made;
use super::inputs::TaskInputs;
use super::written::{Shelf, store_artifact, store_artifacts};

/// The file of an encoder artifact.
pub(crate) const ENCODER_FILE: &str = "encoder.json";

/// Makes the artifact of every declared port.
pub(crate) fn run(
    node: &dyn Reduce,
    inputs: &TaskInputs<'_>,
    shelf: Shelf<'_>,
    context: &Context,
) -> Result<Made, NodeError> {
    let handed = hand_over(inputs)?;
    let artifacts = node.run(&handed, context)?;
    Ok(Made { outputs: store_artifacts(shelf, inputs.task, artifacts)? })
}

/// What the task reads; a kind that learns must have something to learn from.
pub(crate) fn hand_over(inputs: &TaskInputs<'_>) -> Result<ReduceInputs, NodeError> {
    let task = inputs.task;
    let handed = inputs.ports(&task.reads)?;
    if task.kind.effect == Effect::Fit {
        let learns = |rows: RowFilter| matches!(rows, RowFilter::All | RowFilter::Part(engine_core::Part::Train));
        for read in task.reads.iter().filter(|read| learns(read.asked)) {
            inputs.require_rows(read, handed.rows(&read.port, read.asked)?)?;
        }
    }
    Ok(handed)
}

/// The artifact of an encoder is its type.
pub(crate) fn declare_encoder(inputs: &TaskInputs<'_>, shelf: Shelf<'_>) -> Result<Made, NodeError> {
    let mut outputs = BTreeMap::new();
    for (port, gives) in &inputs.task.outputs {
        if let PortType::Encoder(encoder) = gives {
            let files = Files::json(ENCODER_FILE, encoder).map_err(NodeError::failed)?;
            outputs.insert(port.clone(), store_artifact(shelf, &files)?);
        }
    }
    debug_assert!(!outputs.is_empty(), "the plan types the port `{}` of an encoder", ArtifactKind::Encoder);
    Ok(Made { outputs })
}
