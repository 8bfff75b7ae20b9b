//! A deployment: one tar file with all a model needs to be asked, and no code.
//!
//! `manifest.json` says what a client sends, which steps its rows go through and what comes back; beside it stand the
//! JSON schemas of both and the fitted values and weights. [`Deployment::encode`] gives equal bytes for equal content.
//! [`Runner`] binds the steps to the kinds of this program and predicts. It knows no HTTP and no store.

mod archive;
mod media;
mod rows;
mod runner;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::media::{Lent, Media};
pub use self::rows::{Side, row_schema};
pub use self::runner::Runner;
use crate::{ColumnType, PortType, ServingSlice, ServingStep, StepInput};

/// The version of the format; a reader refuses a newer one. The second has tables to look rows up in; a bundle without
/// them is written in the first.
pub const DEPLOYMENT_FORMAT: u32 = 2;

/// Why a deployment cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// The bytes are not those of a bundle.
    #[error("this is no deployment bundle, or it is damaged: {0}")]
    Damaged(String),
    /// A newer program made it.
    #[error("the bundle has format {found}, and this program reads up to {DEPLOYMENT_FORMAT}; use a newer fuseline")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// It needs a kind that this program does not have, or has in another version.
    #[error(
        "step `{node}` needs the kind `{kind}` in version {version}, and this program has {found}; use the fuseline the bundle was made with, or make it again"
    )]
    Kind {
        /// The node.
        node: String,
        /// Its kind.
        kind: String,
        /// The version it was made with.
        version: String,
        /// What this program has: another version, or `none`.
        found: String,
    },
    /// A step cannot be set up.
    #[error("step `{node}` cannot be set up: {reason}")]
    Step {
        /// The node.
        node: String,
        /// Why not.
        reason: String,
    },
}

/// A model with everything its inputs are computed by.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// The version of the program that made it.
    pub made_by: String,
    /// What a client sends.
    pub request: Vec<ColumnType>,
    /// What comes back: columns the last step writes.
    pub response: Vec<ColumnType>,
    /// For columns that come back and have few and known values, these: the classes of a model.
    pub values: BTreeMap<String, Vec<Value>>,
    /// The steps in topological order; the last one predicts.
    pub steps: Vec<ServingStep>,
    /// The images and sounds in the tables of the steps.
    pub blobs: BTreeMap<Digest, Arc<[u8]>>,
}

impl Deployment {
    /// The deployment of a slice whose model is asked by the step `predict`. Its inputs are those of the model.
    pub fn new(slice: &ServingSlice, predict: ServingStep, response: Vec<ColumnType>, made_by: &str) -> Deployment {
        let mut steps = slice.steps.clone();
        steps.push(ServingStep { inputs: slice.model_inputs.clone(), ..predict });
        let request = slice.request.iter().map(described).collect();
        let response = response.iter().map(described).collect();
        Deployment {
            made_by: made_by.to_owned(),
            request,
            response,
            values: BTreeMap::new(),
            steps,
            blobs: slice.blobs.clone(),
        }
    }
}

/// A column as a client knows it: without the history it has in the graph.
fn described(column: &ColumnType) -> ColumnType {
    ColumnType { origin: String::new(), from_target: false, ..column.clone() }
}

/// `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    made_by: String,
    request: Vec<ColumnType>,
    response: Vec<ColumnType>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<String, Vec<Value>>,
    steps: Vec<ManifestStep>,
    /// The digest of every file below `steps/` and `blobs/`, by path: a flipped bit in weights must not be served.
    digests: BTreeMap<String, Digest>,
}

/// A step in `manifest.json`; its files stand in the folder `steps/<place>/<port>/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestStep {
    node: String,
    kind: String,
    version: String,
    options: Value,
    inputs: Vec<StepInput>,
    /// Names of the files of fitted values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fitted: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    artifacts: BTreeMap<String, ManifestArtifact>,
    /// The columns of the tables it looks rows up in, by port; the rows are the file `rows.arrow`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tables: BTreeMap<String, Vec<ColumnType>>,
}

/// An artifact in `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ManifestArtifact {
    kind: PortType,
    files: Vec<String>,
}
