//! What a pipeline may say: the kinds, their options and ports, as data.
//!
//! Built by whoever holds the registry. This room knows kinds by this description alone and never
//! runs one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A port a kind takes artifacts at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPort {
    /// Its name, as `in:` writes it.
    pub name: String,
    /// Whether it takes a list of references.
    pub many: bool,
    /// Whether it may be left unbound.
    pub optional: bool,
}

impl InputPort {
    /// A port that must be bound to exactly one reference.
    pub fn one(name: impl Into<String>) -> InputPort {
        InputPort { name: name.into(), many: false, optional: false }
    }

    /// A port that must be bound and takes one reference or a list of them.
    pub fn many(name: impl Into<String>) -> InputPort {
        InputPort { name: name.into(), many: true, optional: false }
    }

    /// The same port, free to be left unbound.
    #[must_use]
    pub fn optional(self) -> InputPort {
        InputPort { optional: true, ..self }
    }
}

/// A port a kind gives an artifact at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPort {
    /// Its name, as the second half of `node.port` writes it.
    pub name: String,
}

impl OutputPort {
    /// A port of this name.
    pub fn new(name: impl Into<String>) -> OutputPort {
        OutputPort { name: name.into() }
    }
}

/// What is known of a kind without running it.
#[derive(Debug, Clone, PartialEq)]
pub struct KindDescription {
    /// One line: what it does.
    pub summary: String,
    /// The JSON schema (draft 2020-12) of its options, a map. A text with `"format": "path"` names a
    /// file or folder, one with `"format": "node"` a node of the pipeline; `"x-expected"` gives the words for
    /// what a pattern takes ("a duration such as `30s`").
    pub options: Value,
    /// Whether it opens secrets in its options; if not, none may stand there.
    pub opens_secrets: bool,
    /// The ports it takes artifacts at; a reference without a port name goes to the first.
    pub inputs: Vec<InputPort>,
    /// The ports it gives artifacts at; the first is what the node's name alone refers to.
    pub outputs: Vec<OutputPort>,
}

impl KindDescription {
    /// The input port of this name.
    pub fn input(&self, name: &str) -> Option<&InputPort> {
        self.inputs.iter().find(|port| port.name == name)
    }

    /// The output port of this name.
    pub fn output(&self, name: &str) -> Option<&OutputPort> {
        self.outputs.iter().find(|port| port.name == name)
    }
}

/// Every kind a pipeline may use, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Vocabulary {
    kinds: BTreeMap<String, KindDescription>,
    unread: Unread,
}

/// Kinds of plug-ins that could not be read, which has been reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unread {
    /// Those whose names are known.
    pub names: BTreeSet<String>,
    /// Whether there are others.
    pub others: bool,
}

impl Vocabulary {
    /// A vocabulary of these kinds.
    pub fn new(kinds: impl IntoIterator<Item = (String, KindDescription)>) -> Vocabulary {
        Vocabulary { kinds: kinds.into_iter().collect(), unread: Unread::default() }
    }

    /// The same, where `unread` kinds are no unknown ones: what is wrong with them has been said.
    #[must_use]
    pub fn with_unread(self, unread: Unread) -> Vocabulary {
        Vocabulary { unread, ..self }
    }

    /// Whether `name` may be that of a kind that could not be read.
    pub(crate) fn may_be_unread(&self, name: &str) -> bool {
        self.unread.others || self.unread.names.contains(name)
    }

    /// The kind of this name.
    pub fn kind(&self, name: &str) -> Option<&KindDescription> {
        self.kinds.get(name)
    }

    /// The kinds in the order of their names.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, &KindDescription)> {
        self.kinds.iter().map(|(name, kind)| (name.as_str(), kind))
    }

    /// The kinds' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }
}
