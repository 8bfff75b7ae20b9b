//! Diagnostics as text with snippets, and as JSON.
//!
//! Promises: sorted by file and place, whatever the order they were found in; no span, however wrong, panics;
//! nothing in a source text reaches the terminal as an escape sequence. Knows no code in particular.

use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use engine_core::{Diagnostic, Label, Severity, SourceText, Span};
use serde_json::{Value, json};

use crate::quantities::{count, counted};
use crate::screen::{Style, one_line};

/// Narrower than this a snippet says nothing.
const NARROWEST: usize = 40;

/// More than so many are not read one by one.
const MOST_SHOWN: usize = 100;

/// The first hundred diagnostics one below the other, with snippets and carets, and the summary as the last line.
///
/// Empty if there are none.
pub fn render_diagnostics(diagnostics: &[Diagnostic], style: Style, width: usize) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colour => Renderer::styled(),
    };
    let renderer = renderer.term_width(width.max(NARROWEST));
    let mut text = String::new();
    for diagnostic in in_order(diagnostics).into_iter().take(MOST_SHOWN) {
        text.push_str(&render(diagnostic, &renderer));
        text.push_str("\n\n");
    }
    text.push_str(&summary(diagnostics));
    let more = diagnostics.len().saturating_sub(MOST_SHOWN);
    if more > 0 {
        text.push_str(&format!("; {} more not shown, `fuseline check FILE --json` has all", count(more as u64)));
    }
    text.push('\n');
    text
}

/// As in `2 errors, 1 warning`; `no problems` if there are none.
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count() as u64;
    let counts = [
        (count(Severity::Error), "error", "errors"),
        (count(Severity::Warning), "warning", "warnings"),
        (count(Severity::Note), "note", "notes"),
    ];
    let parts: Vec<String> =
        counts.iter().filter(|(count, ..)| *count > 0).map(|&(count, one, many)| counted(count, one, many)).collect();
    if parts.is_empty() { "no problems".to_owned() } else { parts.join(", ") }
}

/// The diagnostics in order as a JSON array of objects: `code`, `severity`, `message`, `file`, `line`, `column`,
/// `end` (`{line, column}`), `labels`, `help`. Lines and columns count from 1, columns count characters; a
/// diagnostic without a place has `null` there.
pub fn diagnostics_json(diagnostics: &[Diagnostic]) -> Value {
    let mut lines = Lines::default();
    Value::Array(in_order(diagnostics).into_iter().map(|diagnostic| diagnostic_json(diagnostic, &mut lines)).collect())
}

/// Where the lines of each source begin, so that many places cost no more than a reading of the text.
#[derive(Default)]
struct Lines<'d>(Vec<(&'d Arc<SourceText>, Vec<usize>)>);

impl<'d> Lines<'d> {
    /// Line and column of the byte `at`, as [`Span::line_column`] has them.
    fn place(&mut self, source: &'d Arc<SourceText>, at: usize) -> (usize, usize) {
        let known = self.0.iter().position(|(known, _)| Arc::ptr_eq(known, source));
        let known = known.unwrap_or_else(|| {
            let starts = source.text.match_indices('\n').map(|(newline, _)| newline + 1);
            self.0.push((source, std::iter::once(0).chain(starts).collect()));
            self.0.len() - 1
        });
        let text = &source.text;
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let starts = &self.0[known].1;
        let line = starts.partition_point(|start| *start <= at);
        (line, text[starts[line - 1]..at].chars().count() + 1)
    }
}

fn diagnostic_json<'d>(diagnostic: &'d Diagnostic, lines: &mut Lines<'d>) -> Value {
    let mut object = json!({
        "code": diagnostic.code.name,
        "severity": diagnostic.severity.as_str(),
        "message": diagnostic.message,
        "file": null,
        "line": null,
        "column": null,
        "end": null,
        "labels": diagnostic.labels.iter().map(|label| label_json(label, lines)).collect::<Vec<_>>(),
        "help": diagnostic.help,
    });
    if let Some(label) = diagnostic.labels.first() {
        let place = label_json(label, lines);
        for key in ["file", "line", "column", "end"] {
            object[key] = place[key].clone();
        }
    }
    object
}

fn label_json<'d>(label: &'d Label, lines: &mut Lines<'d>) -> Value {
    let (line, column) = lines.place(&label.span.source, label.span.range.start);
    let (end_line, end_column) = lines.place(&label.span.source, label.span.range.end);
    json!({
        "file": label.span.source.name,
        "line": line,
        "column": column,
        "end": {"line": end_line, "column": end_column},
        "text": label.text,
    })
}

/// By file and place; of one place the worse first; what has no place at the end.
fn in_order(diagnostics: &[Diagnostic]) -> Vec<&Diagnostic> {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|diagnostic| {
        let place = diagnostic.labels.first().map(|label| (label.span.source.name.as_str(), label.span.range.start));
        (place.is_none(), place, diagnostic.severity)
    });
    sorted
}

fn render(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(one_line(&diagnostic.message)).id(diagnostic.code.name);
    let mut group = Group::with_title(title);
    for labels in by_source(&diagnostic.labels) {
        group = group.element(snippet(&labels, &diagnostic.labels[0]));
    }
    for help in &diagnostic.help {
        let lines: Vec<String> = help.lines().map(one_line).collect();
        group = group.element(Level::HELP.message(lines.join("\n")));
    }
    renderer.render(&[group])
}

/// The labels of each source together, sources in order of their first label.
fn by_source(labels: &[Label]) -> Vec<Vec<&Label>> {
    let mut groups: Vec<Vec<&Label>> = Vec::new();
    for label in labels {
        let same = |group: &&mut Vec<&Label>| same_source(&group[0].span.source, &label.span.source);
        match groups.iter_mut().find(same) {
            Some(group) => group.push(label),
            None => groups.push(vec![label]),
        }
    }
    groups
}

fn same_source(one: &SourceText, other: &SourceText) -> bool {
    std::ptr::eq(one, other) || one == other
}

/// A snippet of the lines from the first to the last label; lines without a label are folded away.
fn snippet<'a>(labels: &[&'a Label], first: &Label) -> Snippet<'a, Annotation<'a>> {
    let source: &'a SourceText = &labels[0].span.source;
    let ranges: Vec<Range<usize>> = labels.iter().map(|label| shown(&label.span)).collect();
    let start = ranges.iter().map(|range| range.start).min().unwrap_or(0);
    let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    let window_start = source.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let window_end = source.text[end..].find('\n').map_or(source.text.len(), |newline| end + newline);
    let line = source.text[..window_start].matches('\n').count() + 1;
    let window = source.text[window_start..window_end].trim_end_matches('\r');
    let mut snippet = Snippet::source(window).line_start(line).path(one_line(&source.name));
    for (label, range) in labels.iter().zip(ranges) {
        let kind = if std::ptr::eq(*label, first) { AnnotationKind::Primary } else { AnnotationKind::Context };
        let range = range.start - window_start..(range.end - window_start).min(window.len());
        let annotation = kind.span(range.start.min(range.end)..range.end);
        snippet = snippet.annotation(if label.text.is_empty() {
            annotation
        } else {
            annotation.label(one_line(&label.text))
        });
    }
    snippet
}

/// The bytes of `span` that are underlined: within the text, on whole characters, on its first line with text.
fn shown(span: &Span) -> Range<usize> {
    let text = span.source.text.as_str();
    let mut start = span.range.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.range.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    // A block of YAML is meant by its first line; a caret under each of its lines would say less.
    let first_line = text[start..end].split('\n').next().unwrap_or("");
    let shown = first_line.trim_end().len();
    start..start + shown
}

#[cfg(test)]
mod tests {
    use engine_core::Code;
    use proptest::prelude::*;

    use super::*;

    static PORT_KIND: Code = Code { name: "port.kind", summary: "", explanation: "" };
    static UNUSED: Code = Code { name: "graph.unused", summary: "", explanation: "" };

    #[test]
    fn of_very_many_problems_the_first_are_shown_and_the_rest_counted() {
        let source = source("p.yaml", &"x: 1\n".repeat(20_000));
        let of = |line: usize| {
            Diagnostic::error(&PORT_KIND, "a problem").label(Span::new(&source, 5 * line..5 * line + 1), "")
        };
        let problems: Vec<Diagnostic> = (0..20_000).map(of).collect();
        let text = render_diagnostics(&problems, Style::Plain, 80);
        assert_eq!(text.matches("error[port.kind]").count(), 100);
        let last = text.lines().last().unwrap();
        assert_eq!(last, "20,000 errors; 19,900 more not shown, `fuseline check FILE --json` has all");
        let all = diagnostics_json(&problems);
        assert_eq!((all.as_array().unwrap().len(), &all[19_999]["line"]), (20_000, &json!(20_000)));
    }

    proptest! {
        #[test]
        fn places_are_those_of_the_span(text in "[a\nü\r]{0,30}", at in 0usize..70) {
            let source = source("p.yaml", &text);
            let span = Span::new(&source, at..at);
            prop_assert_eq!(Lines::default().place(&source, at), span.line_column());
        }
    }

    fn source(name: &str, text: &str) -> Arc<SourceText> {
        Arc::new(SourceText { name: name.into(), text: text.into() })
    }

    fn at(source: &Arc<SourceText>, text: &str) -> Span {
        let start = source.text.find(text).unwrap();
        Span::new(source, start..start + text.len())
    }

    fn rendered(diagnostics: &[Diagnostic]) -> String {
        render_diagnostics(diagnostics, Style::Plain, 100)
    }

    #[test]
    fn a_diagnostic_shows_message_place_snippet_labels_and_help() {
        let file =
            source("p.yaml", "nodes:\n  quality: {uses: evaluate.classification, in: {model: rows}}\n  rows: {}\n");
        let diagnostic = Diagnostic::error(&PORT_KIND, "`rows` is a table, but `model` takes a model")
            .label(at(&file, "rows}").clone(), "a table")
            .label(at(&file, "rows: {}"), "made here")
            .help("name a training node");
        let expected = "\
error[port.kind]: `rows` is a table, but `model` takes a model
 --> p.yaml:2:56
  |
2 |   quality: {uses: evaluate.classification, in: {model: rows}}
  |                                                        ^^^^^ a table
3 |   rows: {}
  |   -------- made here
  |
  = help: name a training node

1 error
";
        let text = rendered(&[diagnostic]);
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn several_sources_have_a_snippet_each() {
        let file = source("p.yaml", "params: {data: 3}\n");
        let set = source("--set data", "three");
        let diagnostic = Diagnostic::error(&PORT_KIND, "not a number")
            .label(at(&set, "three"), "")
            .label(at(&file, "3"), "the default");
        let text = rendered(&[diagnostic]);
        assert!(text.contains("--set data:1:1") && text.contains("p.yaml:1:16"), "{text}");
    }

    #[test]
    fn diagnostics_stand_in_order_of_file_and_place() {
        let one = source("a.yaml", "x\ny\n");
        let other = source("b.yaml", "z\n");
        let placeless = Diagnostic::note(&UNUSED, "no place");
        let third = Diagnostic::warning(&UNUSED, "third").label(at(&other, "z"), "");
        let second = Diagnostic::warning(&UNUSED, "second").label(at(&one, "y"), "");
        let worse = Diagnostic::error(&PORT_KIND, "worse").label(at(&one, "y"), "");
        let first = Diagnostic::error(&PORT_KIND, "first").label(at(&one, "x"), "");
        let all = [placeless, third, second, worse, first];
        let messages: Vec<&str> = in_order(&all).iter().map(|diagnostic| diagnostic.message.as_str()).collect();
        assert_eq!(messages, ["first", "worse", "second", "third", "no place"]);
        assert!(rendered(&all).ends_with("\n2 errors, 2 warnings, 1 note\n"));
    }

    #[test]
    fn a_block_is_underlined_on_its_first_line() {
        let file = source("p.yaml", "a:\r\n  b: 1\r\n  c: 2\r\n");
        let text = rendered(&[Diagnostic::error(&PORT_KIND, "m").label(Span::new(&file, 6..16), "here")]);
        assert!(text.contains("2 |   b: 1\n  |   ^^^^ here\n"), "{text}");
    }

    #[test]
    fn the_end_of_the_file_can_be_pointed_at() {
        for text in ["", "a", "a\n", "ä\t\n\n"] {
            let file = source("p.yaml", text);
            let end = Span::new(&file, text.len()..text.len());
            let shown = rendered(&[Diagnostic::error(&PORT_KIND, "m").label(end, "here")]);
            assert!(shown.contains("^ here"), "{text:?}: {shown}");
        }
    }

    #[test]
    fn escape_sequences_of_a_source_do_not_reach_the_terminal() {
        let file = source("p\u{1b}[2J.yaml", "a: \u{1b}[31mred\n");
        let diagnostic =
            Diagnostic::error(&PORT_KIND, "bad \u{1b}[31m").label(at(&file, "a"), "l\u{1b}[1m").help("h\u{1b}[1m");
        assert!(!rendered(&[diagnostic]).contains('\u{1b}'));
    }

    #[test]
    fn json_names_file_line_column_and_end() {
        let file = source("p.yaml", "a: 1\nä: x y\n");
        let diagnostic = Diagnostic::error(&PORT_KIND, "m").label(at(&file, "x y"), "t").help("h");
        assert_eq!(
            diagnostics_json(&[diagnostic]),
            json!([{
                "code": "port.kind", "severity": "error", "message": "m", "file": "p.yaml", "line": 2, "column": 4,
                "end": {"line": 2, "column": 7},
                "labels": [{"file": "p.yaml", "line": 2, "column": 4, "end": {"line": 2, "column": 7}, "text": "t"}],
                "help": ["h"],
            }])
        );
        assert_eq!(diagnostics_json(&[Diagnostic::note(&UNUSED, "m")])[0]["line"], Value::Null);
    }

    #[test]
    fn nothing_wrong_prints_nothing() {
        assert_eq!(rendered(&[]), "");
        assert_eq!(summary(&[]), "no problems");
    }

    proptest! {
        #[test]
        fn no_span_panics(
            text in "[a-z\u{4fe1}\u{e4}\u{1f600}\u{301}\t\r\n\\\\ {}\u{1b}]{0,60}",
            spans in prop::collection::vec((0usize..80, 0usize..80), 1..5),
            width in 0usize..200,
        ) {
            let file = source("p.yaml", &text);
            let mut diagnostic = Diagnostic::error(&PORT_KIND, "m").help("h\nh");
            for (start, end) in spans {
                diagnostic = diagnostic.label(Span { source: file.clone(), range: start..end }, "l");
            }
            let all = [diagnostic];
            prop_assert!(render_diagnostics(&all, Style::Colour, width).contains("port.kind"));
            prop_assert!(render_diagnostics(&all, Style::Plain, width).contains("p.yaml"));
            diagnostics_json(&all);
        }
    }
}
