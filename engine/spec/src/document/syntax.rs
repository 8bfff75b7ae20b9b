//! What the YAML parser says of a text it cannot read, in our words.

use engine_core::{Diagnostic, Span};

use crate::codes::yaml;

/// What the parser says contains the first; we say the second, with the third as the way out.
const WORDS: &[(&str, &str, &str)] = &[
    ("tab", "a tab may not stand here", "separate with spaces"),
    (
        "found unexpected end of stream",
        "the quoted text that begins here never ends",
        "close the quotes; a quote inside single quotes is doubled, inside double quotes written `\\\"`",
    ),
    (
        "mapping values are not allowed",
        "a `:` may not stand here",
        "quote the text if it holds `: `; otherwise begin the key on a line of its own, indented like its neighbours",
    ),
    (
        "flow mapping, did not find expected ',' or '}'",
        "expected `,` or `}` in the map that was opened with `{`",
        "close the map, or put a comma between its entries",
    ),
    (
        "flow sequence, expected ',' or ']'",
        "expected `,` or `]` in the list that was opened with `[`",
        "close the list, or put a comma between its items",
    ),
    (
        "block mapping, did not find expected key",
        "expected a key in line with the keys above",
        "indent all keys of a map alike; quote a text that begins with a special character",
    ),
    (
        "did not find expected '-' indicator",
        "expected a `-` in line with the items above",
        "indent all items of a list alike",
    ),
    (
        "simple key expect",
        "expected a `:` after this key",
        "write `key: value`; a text of several lines begins with `|` or is indented deeper than its key",
    ),
    (
        "simple key expected",
        "expected a `:` after this key",
        "write `key: value`; a text of several lines begins with `|` or is indented deeper than its key",
    ),
    ("unknown anchor", "the alias names an anchor that was not written before it", "write `&name` at the first use"),
    (
        "unknown escape character",
        "this escape is not known in double quotes",
        "double the backslash, or use single quotes, where a backslash is a backslash",
    ),
    (
        "trailing content after double-quoted",
        "the text goes on after its closing quote",
        "quote the whole value; a quote inside double quotes is written `\\\"`",
    ),
    ("unexpected character", "this character may not begin a value", "quote the text"),
    ("did not find expected node content", "expected a value", "write the value, or quote it if it is a text"),
    ("misplaced bracket", "this bracket closes nothing", "remove it, or quote the text it belongs to"),
    ("block sequence entries are not allowed", "a `-` may not stand here", "begin the list on a line of its own"),
    ("invalid indentation", "this line is not indented deep enough", "indent it deeper than the line it belongs to"),
    ("document start", "the value ended above; nothing more may follow it", "look at the indentation of this line"),
    ("recursion limit", "brackets are nested too deep", "look for a bracket that was never closed"),
];

/// The diagnostic for what the parser says at `span`.
pub(super) fn diagnose(said: &str, span: Span) -> Diagnostic {
    let words = WORDS.iter().find(|(part, _, _)| said.contains(part));
    let message = words.map_or(said, |(_, message, _)| message);
    let help = words.map_or("see the YAML 1.2 rules at https://yaml.org/spec/1.2.2/", |(_, _, help)| help);
    Diagnostic::error(&yaml::SYNTAX, message).label(span, "here").help(help)
}

/// The diagnostic for a tab that indents a line.
pub(super) fn tab(span: Span) -> Diagnostic {
    Diagnostic::error(&yaml::SYNTAX, "a tab may not indent YAML").label(span, "a tab").help("indent with spaces")
}
