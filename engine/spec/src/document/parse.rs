//! YAML events into a tree with places, within limits.
//!
//! Every limit is checked before the work it bounds is done, so a hostile text costs no more than an
//! honest one of the same size.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use engine_core::{Diagnostic, SourceText, Span};
use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::scalar::{Scalar, resolve_plain};
use super::syntax;
use super::tree::{Content, Entry, Extent, Place, Tree};
use crate::codes::yaml;

/// Bytes a text may have.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// Levels maps and lists may be nested.
pub(crate) const MAX_DEPTH: usize = 64;
/// Values a text may hold.
const MAX_VALUES: usize = 1_000_000;
/// Values that anchors and aliases may copy.
const MAX_COPIED_VALUES: usize = 50_000;
/// Bytes of text that anchors and aliases may copy.
const MAX_COPIED_BYTES: usize = 4 << 20;

/// A text that goes beyond a limit.
pub(crate) fn limit(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(&yaml::LIMIT, message)
}

/// Reads `source` as one YAML document.
pub(super) fn parse(source: &Arc<SourceText>) -> Result<Tree, Diagnostic> {
    let text = source.text.as_str();
    if text.len() > MAX_TEXT_BYTES {
        return Err(limit(format!("the text has {} bytes, more than the {MAX_TEXT_BYTES} allowed", text.len()))
            .label(Span::new(source, 0..0), "")
            .help("keep data in files of its own and name them in the pipeline"));
    }
    let mark_bytes = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let body = &text[mark_bytes..];
    if let Some((at, control)) = body.char_indices().find(|(_, c)| !is_printable(*c)) {
        let at = mark_bytes + at;
        return Err(Diagnostic::error(
            &yaml::SYNTAX,
            format!("the character U+{:04X} may not stand in YAML", u32::from(control)),
        )
        .label(Span::new(source, at..at + control.len_utf8()), "")
        .help(format!("write it as an escape in double quotes: `\"\\x{:02X}\"`", u32::from(control))));
    }
    let mut builder = Builder {
        source,
        offsets: Offsets::new(body, mark_bytes),
        frames: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        documents: 0,
        values: 0,
        copied: Extent::default(),
    };
    let mut parser = Parser::new_from_str(body);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| builder.syntax_error(&error))?;
        let range = builder.offsets.range(&span);
        builder.take(event, range)?;
    }
    Ok(builder.root.unwrap_or_else(|| Tree::new(Content::Null, Span::new(source, 0..0))))
}

/// The `c-printable` characters of YAML 1.2.2, section 5.1.
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{7e}' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

/// Character indices, as the parser counts, to byte indices.
enum Offsets {
    /// One byte a character.
    Ascii { first: usize, len: usize },
    /// The byte each character begins at, and the text's end.
    Table(Vec<usize>),
}

impl Offsets {
    fn new(body: &str, first: usize) -> Offsets {
        if body.is_ascii() {
            return Offsets::Ascii { first, len: body.len() };
        }
        Offsets::Table(body.char_indices().map(|(at, _)| first + at).chain([first + body.len()]).collect())
    }

    fn byte(&self, index: usize) -> usize {
        match self {
            Offsets::Ascii { first, len } => first + index.min(*len),
            Offsets::Table(table) => table[index.min(table.len() - 1)],
        }
    }

    fn range(&self, span: &saphyr_parser::Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        start..self.byte(span.end.index()).max(start)
    }
}

/// A map or list whose end has not come yet.
struct Frame {
    start: Range<usize>,
    anchor: usize,
    container: Container,
}

enum Container {
    List(Vec<Tree>),
    Map { entries: IndexMap<String, Entry>, key: Option<(String, Range<usize>)> },
}

/// What an anchor names.
enum Anchored {
    /// A map or list whose end has not come yet.
    Open,
    Whole(Tree, Extent),
}

struct Builder<'t> {
    source: &'t Arc<SourceText>,
    offsets: Offsets,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Tree>,
    documents: usize,
    values: usize,
    copied: Extent,
}

impl Builder<'_> {
    fn span(&self, range: Range<usize>) -> Span {
        Span::new(self.source, range)
    }

    fn text(&self, range: &Range<usize>) -> &str {
        self.source.text.get(range.clone()).unwrap_or("")
    }

    fn syntax_error(&self, error: &ScanError) -> Diagnostic {
        let start = self.offsets.byte(error.marker().index());
        if let Some(tab) = self.tab_in_indent(start) {
            return syntax::tab(self.span(tab..tab + 1));
        }
        let len = self.source.text[start..].chars().next().filter(|c| !c.is_control()).map_or(0, char::len_utf8);
        syntax::diagnose(error.info(), self.span(start..start + len))
    }

    /// A tab that indents the line of `at` or the next one: what the parser stumbled over, whatever it calls it.
    fn tab_in_indent(&self, at: usize) -> Option<usize> {
        let text = &self.source.text;
        let mut line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        for line in text[line_start..].split_inclusive('\n').take(2) {
            let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
            if let Some(tab) = indent.find('\t').filter(|_| !line.trim().is_empty()) {
                return Some(line_start + tab);
            }
            line_start += line.len();
        }
        None
    }

    fn take(&mut self, event: Event<'_>, range: Range<usize>) -> Result<(), Diagnostic> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents == 1 {
                    return Ok(());
                }
                Err(Diagnostic::error(&yaml::DOCUMENTS, "the text holds more than one YAML document")
                    .label(self.span(range), "a second document begins here")
                    .help("keep one pipeline in a file"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &range)?;
                if self.wants_key() { self.key(&text, style, range) } else { self.scalar(&text, style, anchor, range) }
            }
            Event::Alias(anchor) => self.alias(anchor, range),
            Event::SequenceStart(anchor, tag) => self.open(Container::List(Vec::new()), anchor, tag.as_deref(), range),
            Event::MappingStart(anchor, tag) => {
                self.open(Container::Map { entries: IndexMap::new(), key: None }, anchor, tag.as_deref(), range)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range),
        }
    }

    fn refuse_tag(&self, tag: Option<&Tag>, range: &Range<usize>) -> Result<(), Diagnostic> {
        let Some(tag) = tag else { return Ok(()) };
        let written = self.text(range).split_whitespace().find(|word| word.starts_with('!'));
        let written = written.map_or_else(|| tag.to_string(), str::to_owned);
        Err(Diagnostic::error(&yaml::TAG, format!("the tag `{written}` has no meaning here"))
            .label(self.span(range.clone()), "a tag")
            .help("leave the tag out; quotes make a text of what would be a number, a bool or nothing"))
    }

    fn wants_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { container: Container::Map { key: None, .. }, .. }))
    }

    fn refuse_key(&self, range: Range<usize>, found: &str) -> Diagnostic {
        Diagnostic::error(&yaml::KEY, format!("a key must be a text, found {found}")).label(self.span(range), "a key")
    }

    fn key(&mut self, text: &str, style: ScalarStyle, range: Range<usize>) -> Result<(), Diagnostic> {
        if style == ScalarStyle::Plain {
            if text == "<<" {
                return Err(Diagnostic::error(&yaml::MERGE, "merge keys `<<` are not part of YAML 1.2")
                    .label(self.span(range), "a merge key")
                    .help("write the keys out, or give the whole map once in `params:` and use it as `${name}`"));
            }
            let found = match resolve_plain(text) {
                Ok(Scalar::Text) => None,
                Ok(Scalar::Null) => Some("nothing"),
                Ok(Scalar::Bool(_)) => Some("a bool"),
                Ok(Scalar::Number(_)) | Err(_) => Some("a number"),
            };
            if let Some(found) = found {
                let diagnostic = self.refuse_key(range, found);
                return Err(if text.is_empty() {
                    diagnostic
                } else {
                    diagnostic.help(format!("quote it: `\"{text}\"`"))
                });
            }
        }
        let first = match &self.frames.last().expect("a key stands in an open map").container {
            Container::Map { entries, .. } => entries.get(text).map(|entry| entry.key.span.clone()),
            Container::List(_) => None,
        };
        if let Some(first) = first {
            return Err(Diagnostic::error(&yaml::DUPLICATE_KEY, format!("the key `{text}` is given twice"))
                .label(self.span(range), "given again")
                .label(first, "first given here")
                .help("keep one of the two, or rename one"));
        }
        if let Some(Frame { container: Container::Map { key, .. }, .. }) = self.frames.last_mut() {
            *key = Some((text.to_owned(), range));
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        mut range: Range<usize>,
    ) -> Result<(), Diagnostic> {
        let content = if style == ScalarStyle::Plain {
            match resolve_plain(text) {
                Ok(Scalar::Null) => Content::Null,
                Ok(Scalar::Bool(value)) => Content::Bool(value),
                Ok(Scalar::Number(number)) => Content::Number(number, text.to_owned()),
                Ok(Scalar::Text) => Content::Text(text.to_owned()),
                Err(error) => {
                    return Err(Diagnostic::error(&yaml::NUMBER, format!("`{text}` {error}"))
                        .label(self.span(range), "a number that cannot be held")
                        .help(format!("if it is meant as a text, quote it: `\"{text}\"`")));
                }
            }
        } else {
            Content::Text(text.to_owned())
        };
        if text.is_empty() && style == ScalarStyle::Plain {
            // Nothing stands here; the key it should belong to is the better place to point at.
            if let Some(Frame { container: Container::Map { key: Some((_, key)), .. }, .. }) = self.frames.last() {
                range = key.clone();
            }
        }
        range.end = range.start + self.text(&range).trim_end().len();
        let tree = Tree::new(content, self.span(range));
        self.place(tree, anchor)
    }

    fn alias(&mut self, anchor: usize, range: Range<usize>) -> Result<(), Diagnostic> {
        if self.wants_key() {
            return Err(self.refuse_key(range, "an alias"));
        }
        let span = self.span(range);
        match self.anchors.get(&anchor) {
            Some(Anchored::Whole(tree, extent)) => {
                let extent = *extent;
                charge(&mut self.copied, &extent, &span)?;
                if self.frames.len() + extent.depth > MAX_DEPTH {
                    return Err(too_deep(span));
                }
                // Copied only now that the budget allows it.
                let tree = tree.used_at(&span);
                self.count(extent.values, &span)?;
                self.put(tree);
                Ok(())
            }
            Some(Anchored::Open) | None => {
                let written = span.text().to_owned();
                Err(Diagnostic::error(&yaml::SYNTAX, format!("the alias `{written}` stands inside what it names"))
                    .label(span, "refers to itself")
                    .help("a value cannot contain itself; write it out"))
            }
        }
    }

    fn open(
        &mut self,
        container: Container,
        anchor: usize,
        tag: Option<&Tag>,
        range: Range<usize>,
    ) -> Result<(), Diagnostic> {
        self.refuse_tag(tag, &range)?;
        if self.wants_key() {
            let found = if matches!(container, Container::List(_)) { "a list" } else { "a map" };
            let diagnostic = self.refuse_key(range, found);
            return Err(diagnostic.help("a `{` or `[` at the start of a text must be quoted"));
        }
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep(self.span(range)));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, Anchored::Open);
        }
        self.frames.push(Frame { start: range, anchor, container });
        Ok(())
    }

    fn close(&mut self, end: Range<usize>) -> Result<(), Diagnostic> {
        let Frame { start, anchor, container } = self.frames.pop().expect("the parser closes only what it opened");
        let (content, last) = match container {
            Container::List(items) => {
                let last = items.last().map(|item| item.place.span.range.end);
                (Content::List(items), last)
            }
            Container::Map { entries, .. } => {
                let last = entries.last().map(|(_, entry)| entry.value.place.span.range.end);
                (Content::Map(entries), last)
            }
        };
        // The end of a block collection is only noticed at the next token, lines further down.
        let is_flow = matches!(self.text(&end), "}" | "]");
        let end = if is_flow { end.end } else { last.unwrap_or(start.end) };
        let tree = Tree::new(content, self.span(start.start..end.max(start.start)));
        self.place(tree, anchor)
    }

    /// Counts a value that is complete, remembers it if it is anchored, and puts it where it belongs.
    fn place(&mut self, tree: Tree, anchor: usize) -> Result<(), Diagnostic> {
        self.count(1, &tree.place.span)?;
        if anchor > 0 {
            let extent = tree.extent();
            charge(&mut self.copied, &extent, &tree.place.span)?;
            self.anchors.insert(anchor, Anchored::Whole(tree.clone(), extent));
        }
        self.put(tree);
        Ok(())
    }

    fn count(&mut self, values: usize, span: &Span) -> Result<(), Diagnostic> {
        self.values += values;
        if self.values <= MAX_VALUES {
            return Ok(());
        }
        Err(limit(format!("the text holds more than the {MAX_VALUES} values allowed"))
            .label(span.clone(), "one too many")
            .help("keep data in files of its own and name them in the pipeline"))
    }

    fn put(&mut self, tree: Tree) {
        match self.frames.last_mut().map(|frame| &mut frame.container) {
            None => self.root = Some(tree),
            Some(Container::List(items)) => items.push(tree),
            Some(Container::Map { entries, key }) => {
                let (key, range) = key.take().expect("a value follows its key");
                entries.insert(key, Entry { key: Place::new(Span::new(self.source, range)), value: tree });
            }
        }
    }
}

/// Adds the cost of a copy to what was copied, unless that goes beyond the budget.
fn charge(copied: &mut Extent, extent: &Extent, span: &Span) -> Result<(), Diagnostic> {
    let values = copied.values + extent.values;
    let bytes = copied.bytes + extent.bytes;
    if values > MAX_COPIED_VALUES || bytes > MAX_COPIED_BYTES {
        return Err(limit(format!(
            "anchors and aliases would copy more than the {MAX_COPIED_VALUES} values or {MAX_COPIED_BYTES} bytes allowed"
        ))
        .label(span.clone(), "this copy is one too many")
        .help("write the values out, or keep them in files of their own"));
    }
    *copied = Extent { values, bytes, depth: 0 };
    Ok(())
}

fn too_deep(span: Span) -> Diagnostic {
    limit(format!("maps and lists are nested more than {MAX_DEPTH} deep"))
        .label(span, "one level too many")
        .help("a pipeline needs a few levels; look for a bracket that was never closed")
}

#[cfg(test)]
mod tests;
