//! What a kind does to rows, and what becomes of it in a deployment.

use serde::{Deserialize, Serialize};

/// What a kind does; the engine draws the consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Reads outside the graph; keyed by the content it reads.
    Source,
    /// Row i out depends on row i in (and fitted or lookup inputs) only, bit for bit.
    RowLocal,
    /// Learns from the rows of the parts it names.
    Fit,
    /// Needs all rows; makes a new row set or a result that is no table.
    Whole,
    /// Writes outside the graph.
    Sink,
}

/// What becomes of a node in a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serving {
    /// Runs on the request's rows as it ran in training.
    Same,
    /// Is left out: splits, de-duplication, augmentation.
    Skip,
    /// Looks the row up in a table frozen into the bundle.
    Lookup,
    /// Cannot be served; the request must start below it.
    Refuse,
}

/// How far equal inputs give equal bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumericClass {
    /// On every machine.
    Exact,
    /// On machines with the same instruction set: float kernels chosen at run time.
    Kernel,
}
