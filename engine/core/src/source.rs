//! Source texts and places in them.

use std::ops::Range;
use std::sync::Arc;

/// A text with the name it is reported under: a file as the user named it, or `--set data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// What stands before the line number in a message.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A range of bytes in a source text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The text the range lies in.
    pub source: Arc<SourceText>,
    /// First and one past the last byte.
    pub range: Range<usize>,
}

impl Span {
    /// A place in `source`.
    pub fn new(source: &Arc<SourceText>, range: Range<usize>) -> Span {
        Span { source: source.clone(), range }
    }

    /// Line and column of the first byte, from 1; columns count characters.
    pub fn line_column(&self) -> (usize, usize) {
        let mut start = self.range.start.min(self.source.text.len());
        while !self.source.text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &self.source.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The text in the range.
    pub fn text(&self) -> &str {
        self.source.text.get(self.range.clone()).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Arc::new(SourceText { name: "p.yaml".into(), text: "a: 1\nä: x\n".into() });
        let span = Span::new(&source, 9..10);
        assert_eq!((span.line_column(), span.text()), ((2, 4), "x"));
    }
}
