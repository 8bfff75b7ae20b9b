//! The part of a graph that a deployment runs: from the request's columns to the model's inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ColumnType, Files, PortType, Read};

/// Where a step's table comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepInput {
    /// The request's rows.
    Request,
    /// The table another step gives, by its place in [`ServingSlice::steps`].
    Step(usize),
}

/// A row-local node of the slice.
#[derive(Debug, Clone, PartialEq)]
pub struct ServingStep {
    /// The node.
    pub node: String,
    /// Its kind.
    pub kind: String,
    /// Its kind's version.
    pub version: String,
    /// Its options, without local paths: a bundle leaves the machine.
    pub options: Value,
    /// The tables merged by column into its table port.
    pub inputs: Vec<StepInput>,
    /// The fitted values of a `FitApply` kind.
    pub fitted: Option<Arc<Files>>,
    /// Artifacts on its other ports.
    pub artifacts: Vec<StepArtifact>,
    /// The tables on its other ports, for a step that looks rows up.
    pub tables: Vec<StepTable>,
}

/// An artifact a step takes besides its table.
#[derive(Debug, Clone, PartialEq)]
pub struct StepArtifact {
    /// The port.
    pub port: String,
    /// Its type, as the step's `infer` is told it.
    pub kind: PortType,
    /// Its files.
    pub files: Arc<Files>,
}

/// A table that a step looks rows up in, as it was when the deployment was made.
#[derive(Debug, Clone, PartialEq)]
pub struct StepTable {
    /// The port.
    pub port: String,
    /// Its columns, in order.
    pub columns: Vec<ColumnType>,
    /// Its rows, as [`crate::encode_segment`] writes them.
    pub rows: Arc<[u8]>,
}

/// Everything a deployment needs: no code, no rows but lookups.
#[derive(Debug, Clone, PartialEq)]
pub struct ServingSlice {
    /// The node whose feature columns a client sends.
    pub request_node: String,
    /// What a client sends: exactly the features the slice reads.
    pub request: Vec<ColumnType>,
    /// The steps in topological order.
    pub steps: Vec<ServingStep>,
    /// The tables whose merge the model reads.
    pub model_inputs: Vec<StepInput>,
    /// The columns the model reads of that merge.
    pub model_reads: Read,
    /// The images and sounds in the tables of its steps.
    pub blobs: BTreeMap<Digest, Arc<[u8]>>,
}
