//! What flows along an edge of the graph.

use serde::{Deserialize, Serialize};

/// The kind of artifact a port takes or gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// Rows of typed columns.
    Table,
    /// Values learnt from train rows, applied to all rows.
    Fitted,
    /// The architecture of a trainable encoder and the columns it reads.
    Encoder,
    /// A trained model.
    Model,
    /// Scores with their intervals.
    Metrics,
    /// What `report` draws as a page.
    Report,
    /// A bundle that can be served.
    Deployment,
}

impl ArtifactKind {
    /// The word used in YAML, messages and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            ArtifactKind::Table => "table",
            ArtifactKind::Fitted => "fitted",
            ArtifactKind::Encoder => "encoder",
            ArtifactKind::Model => "model",
            ArtifactKind::Metrics => "metrics",
            ArtifactKind::Report => "report",
            ArtifactKind::Deployment => "deployment",
        }
    }
}

impl std::fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
