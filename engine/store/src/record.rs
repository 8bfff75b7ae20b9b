//! What the store remembers of a finished task.

use std::collections::BTreeMap;

use engine_core::{Digest, Hasher};
use engine_table::{RowsChange, TableChange};
use serde::{Deserialize, Serialize};

/// A part of a fingerprint, by name, so that the plan can say which part changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPart {
    /// As in `kind`, `version`, `options`, `file lines.csv`, `column tenure (train)`, `fitted impute/fit`, `seed`, `numerics`.
    pub name: String,
    /// For people: the value, or a short digest.
    pub value: String,
    /// What is keyed.
    pub digest: Digest,
}

/// The key of a task and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The key.
    pub key: Digest,
    /// Its parts, in order.
    pub parts: Vec<KeyPart>,
}

/// A file of an artifact: in the record itself, or an object of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilePlace {
    /// Small text stands in the record.
    Text(String),
    /// Everything else is an object with this digest.
    Object(Digest),
}

/// What a task gave on one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordOutput {
    /// What it changed of its table.
    Table(TableChange),
    /// An artifact that is no table.
    Files {
        /// The digest of names and bytes.
        digest: Digest,
        /// Its files.
        files: BTreeMap<String, FilePlace>,
    },
}

/// A finished task: everything needed to take its result instead of running it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The kind, as in `clean.impute`.
    pub kind: String,
    /// What keyed it.
    pub fingerprint: Fingerprint,
    /// What it gave, by port.
    pub outputs: BTreeMap<String, RecordOutput>,
    /// How long it took.
    pub seconds: f64,
    /// Rows of its table output, if it has one.
    pub rows: Option<u64>,
    /// When it was committed, milliseconds since 1970.
    pub created_ms: u64,
}

impl Record {
    /// The digest of what the task made: values and files, without times, places on the disk or who made it.
    pub fn content(&self) -> Digest {
        let mut hasher = Hasher::new("fuseline.record.content.v1");
        for (port, output) in &self.outputs {
            hasher.field(port.as_bytes());
            match output {
                RecordOutput::Files { digest, .. } => {
                    hasher.digest(digest);
                }
                RecordOutput::Table(change) => {
                    if let RowsChange::Selected { indices, .. } = &change.rows {
                        for chunk in indices {
                            hasher.digest(&chunk.digest);
                        }
                    }
                    for written in &change.written {
                        hasher.field(written.column.name.as_bytes()).digest(&written.digest());
                    }
                    for name in &change.dropped {
                        hasher.field(name.as_bytes());
                    }
                    for rename in &change.renamed {
                        hasher.field(rename.from.as_bytes()).field(rename.to.as_bytes());
                    }
                }
            }
        }
        hasher.finish()
    }
}
