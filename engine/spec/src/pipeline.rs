//! A pipeline as read: every name resolved, every value of the right type, every place remembered.
//!
//! Only [`crate::validate`] makes a [`PipelineSpec`]. It promises that ids, kinds, options and references
//! are those of the vocabulary it was checked against. It does not know whether the graph is free of
//! cycles, whether ports fit each other, or which columns flow: that is the plan's part.

use std::time::Duration;

use engine_core::{Diagnostic, Seed, Span};
use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::pointer;
use crate::{Document, EnvironmentVariable};

/// A pipeline as read.
#[derive(Debug, Clone)]
pub struct PipelineSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What all randomness derives from.
    pub seed: Seed,
    /// The parameters with the values they have in this reading.
    pub params: IndexMap<String, Value>,
    /// The environment variables it declares.
    pub env: IndexMap<String, EnvironmentVariable>,
    /// The folders of the plug-ins it names, as absolute paths.
    pub plugins: Vec<String>,
    /// The nodes by id, in the order of the file.
    pub nodes: IndexMap<String, NodeSpec>,
    /// Where results are kept: an absolute path, or an address with a scheme; nothing means the caller's default.
    pub store: Option<String>,
    pub(crate) document: Document,
}

impl PipelineSpec {
    /// The document it was read from, parameters resolved.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The place of the value at `pointer`, or of its nearest ancestor that stands in the text.
    pub fn span(&self, pointer: &str) -> Span {
        self.document.span(pointer)
    }

    /// The place of the key at `pointer`, or of the nearest ancestor that stands in the text.
    pub fn key_span(&self, pointer: &str) -> Span {
        self.document.key_span(pointer)
    }

    /// Points `diagnostic` at the value at `pointer`, and at the parameter it came from if it came from one.
    pub fn point(&self, diagnostic: Diagnostic, pointer: &str, text: impl Into<String>) -> Diagnostic {
        self.document.point(diagnostic, pointer, text)
    }
}

/// An entry of `nodes:`.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// Its id.
    pub id: String,
    /// The name of its kind.
    pub uses: String,
    /// Its options, as its kind's schema demands; paths are absolute. As written they stand in the document.
    pub with: Map<String, Value>,
    /// What its ports are bound to, in the order of the file.
    pub inputs: Vec<PortBinding>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether its results are kept and found again.
    pub caching: Caching,
    /// How often it is tried again after it failed.
    pub retries: u32,
    /// How long one try may take.
    pub timeout: Option<Duration>,
    /// What it asks of the machine.
    pub resources: Resources,
    /// The secrets its options name; in `with` each stands as the text `${env.NAME}`.
    pub secrets: Vec<SecretReference>,
}

impl NodeSpec {
    /// The pointer to a part of this node: `node.pointer("with/columns/0")`; empty means the node itself.
    pub fn pointer(&self, part: &str) -> String {
        let node = pointer::join("/nodes", &self.id);
        if part.is_empty() { node } else { format!("{node}/{part}") }
    }

    /// What port `name` is bound to.
    pub fn input(&self, name: &str) -> Option<&PortBinding> {
        self.inputs.iter().find(|binding| binding.port == name)
    }
}

/// An input port and the artifacts bound to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortBinding {
    /// The port's name.
    pub port: String,
    /// What is bound to it, in order; never empty.
    pub references: Vec<Reference>,
}

/// `node` or `node.port` as `in:` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The id of a node of this pipeline.
    pub node: String,
    /// The output port, if written.
    pub port: Option<String>,
    /// Where it stands.
    pub pointer: String,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.port {
            Some(port) => write!(f, "{}.{port}", self.node),
            None => f.write_str(&self.node),
        }
    }
}

/// A secret an option names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretReference {
    /// The environment variable.
    pub name: String,
    /// Where it stands.
    pub pointer: String,
}

/// Whether a node's results are kept and found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caching {
    /// Results are found again by fingerprint.
    #[default]
    On,
    /// The node runs every time.
    Off,
}

/// What a node asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// Threads it keeps busy.
    pub cpus: Option<u32>,
    /// Bytes of memory it needs.
    pub memory_bytes: Option<u64>,
    /// Graphics processors it needs.
    pub gpus: Option<u32>,
}
