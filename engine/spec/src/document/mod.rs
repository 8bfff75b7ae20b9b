//! A YAML text as a value whose every key and value knows its place.
//!
//! Promises: places are byte ranges inside their text; a part that stands in no text (it came from an
//! alias or a parameter) has the place of its use and remembers its origin. Knows nothing of pipelines.

mod parse;
mod scalar;
mod syntax;
mod tree;

use std::sync::{Arc, OnceLock};

use engine_core::{Diagnostic, SourceText, Span};
use serde_json::Value;

pub(crate) use parse::{MAX_DEPTH, limit};
pub(crate) use scalar::{Scalar, resolve_plain};
pub(crate) use tree::{Base, Content, Entry, Place, State, Tree};

/// A YAML text and what it says.
#[derive(Debug, Clone)]
pub struct Document {
    source: Arc<SourceText>,
    tree: Tree,
    value: OnceLock<Value>,
}

impl Document {
    /// Reads one YAML 1.2 document by the core schema.
    ///
    /// Anchors and aliases are followed within a budget. Tags, merge keys, keys that are no text,
    /// duplicate keys and several documents in one text are refused.
    ///
    /// # Errors
    /// The first problem of the text, with its place.
    pub fn parse(source: SourceText) -> Result<Document, Diagnostic> {
        let source = Arc::new(source);
        let tree = parse::parse(&source)?;
        Ok(Document::from_tree(source, tree))
    }

    pub(crate) fn from_tree(source: Arc<SourceText>, tree: Tree) -> Document {
        Document { source, tree, value: OnceLock::new() }
    }

    pub(crate) fn into_parts(self) -> (Arc<SourceText>, Tree) {
        (self.source, self.tree)
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The text it was read from.
    pub fn source(&self) -> &Arc<SourceText> {
        &self.source
    }

    /// What it says.
    pub fn value(&self) -> &Value {
        self.value.get_or_init(|| self.tree.to_value())
    }

    /// What it says at `pointer`, a JSON pointer such as `/nodes/rows/with`.
    pub fn value_at(&self, pointer: &str) -> Option<&Value> {
        self.value().pointer(pointer)
    }

    /// The place of the value at `pointer`, or of its nearest ancestor that stands in the text.
    pub fn span(&self, pointer: &str) -> Span {
        self.tree.nearest(pointer).place.span.clone()
    }

    /// The place of the key at `pointer`; for a list item that of the item; else of the nearest ancestor.
    pub fn key_span(&self, pointer: &str) -> Span {
        self.key_place(pointer).span.clone()
    }

    /// Where the value at `pointer` was written, if it came here from a parameter or an alias.
    pub fn origin(&self, pointer: &str) -> Option<&Span> {
        self.tree.nearest(pointer).place.origin.as_ref()
    }

    /// Points `diagnostic` at the value at `pointer`, and at the place it came from if it came from another.
    pub fn point(&self, diagnostic: Diagnostic, pointer: &str, text: impl Into<String>) -> Diagnostic {
        self.tree.nearest(pointer).place.point(diagnostic, text)
    }

    /// Points `diagnostic` at the key at `pointer`, and at the place it came from if it came from another.
    pub fn point_key(&self, diagnostic: Diagnostic, pointer: &str, text: impl Into<String>) -> Diagnostic {
        self.key_place(pointer).point(diagnostic, text)
    }

    fn key_place(&self, pointer: &str) -> &Place {
        match self.tree.entry(pointer) {
            Some(entry) => &entry.key,
            None => &self.tree.nearest(pointer).place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(SourceText { name: "p.yaml".into(), text: text.into() }).unwrap()
    }

    #[test]
    fn keys_and_values_have_places_and_strangers_their_nearest_ancestor() {
        let document = document("nodes:\n  rows:\n    with: {path: a.csv, nulls: ['', x]}\n");
        assert_eq!(document.span("/nodes/rows/with/path").text(), "a.csv");
        assert_eq!(document.key_span("/nodes/rows/with/path").text(), "path");
        assert_eq!(document.span("/nodes/rows/with/nulls/1").text(), "x");
        assert_eq!(document.key_span("/nodes/rows/with/nulls/1").text(), "x");
        assert_eq!(document.span("/nodes/rows/with/nulls/7").text(), "['', x]");
        assert_eq!(document.span("/nodes/rows/within").text(), "with: {path: a.csv, nulls: ['', x]}");
        assert_eq!(document.key_span("/nodes/rows").text(), "rows");
    }

    #[test]
    fn an_aliased_value_is_placed_where_it_is_used_and_knows_where_it_was_written() {
        let document = document("a: &x {k: 1}\nb: *x\n");
        assert_eq!(document.span("/b/k").text(), "*x");
        assert_eq!(document.origin("/b/k").unwrap().text(), "1");
        assert_eq!(document.key_span("/b/k").text(), "*x");
        assert_eq!(document.origin("/a/k"), None);
    }
}
