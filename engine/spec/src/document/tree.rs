//! The tree behind a document: values with places, and what became of them on the way.

use engine_core::{Diagnostic, Span};
use indexmap::IndexMap;
use serde_json::{Map, Number, Value};

use crate::pointer;

/// Where a key or value stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// Where it is used.
    pub(crate) span: Span,
    /// Where it was written, if that is another place.
    pub(crate) origin: Option<Span>,
}

impl Place {
    pub(crate) fn new(span: Span) -> Place {
        Place { span, origin: None }
    }

    /// Where it was written.
    pub(crate) fn written(&self) -> &Span {
        self.origin.as_ref().unwrap_or(&self.span)
    }

    /// This place as seen from `span`, where it is used through an alias or a parameter.
    fn used_at(&self, span: &Span) -> Place {
        Place { span: span.clone(), origin: Some(self.written().clone()) }
    }

    pub(crate) fn point(&self, diagnostic: Diagnostic, text: impl Into<String>) -> Diagnostic {
        let diagnostic = diagnostic.label(self.span.clone(), text);
        match &self.origin {
            Some(origin) => diagnostic.label(origin.clone(), "it comes from here"),
            None => diagnostic,
        }
    }
}

/// From where a relative path in a text resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// The folder of the pipeline file.
    PipelineFolder,
    /// The working directory: the text begins with what `--set` gave.
    WorkingDirectory,
}

/// Whether a value is what the file will say once it is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// It is.
    Known,
    /// It is the text `${env.NAME}` that stands for the secret of this name.
    Secret(String),
    /// It could not be resolved, which has been reported; what it would be is unknown.
    Hole,
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    pub(crate) content: Content,
    pub(crate) place: Place,
    pub(crate) base: Base,
    pub(crate) state: State,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    /// The number, and how it was written: `1.10` inside a text must not become `1.1`.
    Number(Number, String),
    Text(String),
    List(Vec<Tree>),
    Map(IndexMap<String, Entry>),
}

/// A key's place and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Place,
    pub(crate) value: Tree,
}

/// How much a tree is: what a copy of it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    /// Values, the tree itself among them.
    pub(crate) values: usize,
    /// Bytes of text, keys among them.
    pub(crate) bytes: usize,
    /// Maps and lists around the innermost value, the tree itself among them.
    pub(crate) depth: usize,
}

impl Tree {
    pub(crate) fn new(content: Content, span: Span) -> Tree {
        Tree { content, place: Place::new(span), base: Base::PipelineFolder, state: State::Known }
    }

    pub(crate) fn as_map(&self) -> Option<&IndexMap<String, Entry>> {
        match &self.content {
            Content::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value under `key`, if this is a map that has it.
    pub(crate) fn child(&self, key: &str) -> Option<&Tree> {
        self.as_map()?.get(key).map(|entry| &entry.value)
    }

    fn step(&self, step: &str) -> Option<&Tree> {
        match &self.content {
            Content::Map(entries) => entries.get(step).map(|entry| &entry.value),
            Content::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The value at `pointer`.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Tree> {
        pointer::steps(pointer).try_fold(self, |tree, step| tree.step(&step))
    }

    /// The value at `pointer` or its nearest ancestor.
    pub(crate) fn nearest(&self, pointer: &str) -> &Tree {
        let mut tree = self;
        for step in pointer::steps(pointer) {
            match tree.step(&step) {
                Some(below) => tree = below,
                None => break,
            }
        }
        tree
    }

    /// The map entry at `pointer`.
    pub(crate) fn entry(&self, pointer: &str) -> Option<&Entry> {
        let (parent, key) = pointer::split_last(pointer)?;
        self.at(parent)?.as_map()?.get(key.as_ref())
    }

    /// A copy as used at `span`: every part of it is placed there and remembers where it was written.
    pub(crate) fn used_at(&self, span: &Span) -> Tree {
        let content = match &self.content {
            Content::List(items) => Content::List(items.iter().map(|item| item.used_at(span)).collect()),
            Content::Map(entries) => Content::Map(
                entries
                    .iter()
                    .map(|(key, entry)| {
                        (key.clone(), Entry { key: entry.key.used_at(span), value: entry.value.used_at(span) })
                    })
                    .collect(),
            ),
            scalar => scalar.clone(),
        };
        Tree { content, place: self.place.used_at(span), base: self.base, state: self.state.clone() }
    }

    /// The tree as nothing, at its place: what a new content is put into.
    pub(crate) fn without_content(&self) -> Tree {
        Tree { content: Content::Null, place: self.place.clone(), base: self.base, state: self.state.clone() }
    }

    /// Sets from where relative paths in every text of the tree resolve.
    pub(crate) fn set_base(&mut self, base: Base) {
        self.base = base;
        match &mut self.content {
            Content::List(items) => items.iter_mut().for_each(|item| item.set_base(base)),
            Content::Map(entries) => entries.values_mut().for_each(|entry| entry.value.set_base(base)),
            _ => {}
        }
    }

    /// What a copy costs.
    pub(crate) fn extent(&self) -> Extent {
        let mut extent = Extent { values: 1, bytes: 0, depth: 0 };
        let mut add = |below: &Tree, key_bytes: usize| {
            let below = below.extent();
            extent.values += below.values;
            extent.bytes += below.bytes + key_bytes;
            extent.depth = extent.depth.max(below.depth);
        };
        match &self.content {
            Content::List(items) => items.iter().for_each(|item| add(item, 0)),
            Content::Map(entries) => entries.iter().for_each(|(key, entry)| add(&entry.value, key.len())),
            Content::Text(text) => extent.bytes = text.len(),
            Content::Number(_, written) => extent.bytes = written.len(),
            Content::Null | Content::Bool(_) => {}
        }
        if matches!(self.content, Content::List(_) | Content::Map(_)) {
            extent.depth += 1;
        }
        extent
    }

    /// Whether any part of the tree could not be resolved.
    pub(crate) fn has_hole(&self) -> bool {
        self.state == State::Hole
            || match &self.content {
                Content::List(items) => items.iter().any(Tree::has_hole),
                Content::Map(entries) => entries.values().any(|entry| entry.value.has_hole()),
                _ => false,
            }
    }

    /// The plain value.
    pub(crate) fn to_value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number, _) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => Value::Array(items.iter().map(Tree::to_value).collect()),
            Content::Map(entries) => Value::Object(
                entries.iter().map(|(key, entry)| (key.clone(), entry.value.to_value())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// What sort of value it is, for messages.
    pub(crate) fn sort(&self) -> &'static str {
        match &self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "a bool",
            Content::Number(..) => "a number",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }
}
