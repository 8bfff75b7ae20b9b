//! Texts and the documents they are read as, or the problems they have.

use serde_json::{Value, json};

use super::*;

fn source(text: &str) -> Arc<SourceText> {
    Arc::new(SourceText { name: "p.yaml".into(), text: text.into() })
}

fn check(text: &str, value: Value) {
    assert_eq!(parse(&source(text)).unwrap().to_value(), value, "{text}");
}

/// The code, the place as line, column and text, and the message of the one problem of `text`.
fn refused(text: &str) -> (&'static str, (usize, usize), String, String) {
    let diagnostic = parse(&source(text)).unwrap_err();
    let span = &diagnostic.labels[0].span;
    (diagnostic.code.name, span.line_column(), span.text().to_owned(), diagnostic.message.clone())
}

fn check_refused(text: &str, code: &str, place: (usize, usize), pointed: &str) {
    let (found, at, under, message) = refused(text);
    assert_eq!((found, at, under.as_str()), (code, place, pointed), "{text}: {message}");
}

#[test]
fn texts_become_values() {
    check("", json!(null));
    check("# only a comment\n", json!(null));
    check(
        "a: 1\nb: [x, '2', 3.5, ~]\nc:\n  - d: {e: off}\n",
        json!({"a": 1, "b": ["x", "2", 3.5, null], "c": [{"d": {"e": "off"}}]}),
    );
    check("a: |\n  SELECT 1\n  FROM t\nb: >\n  one\n  two\n", json!({"a": "SELECT 1\nFROM t\n", "b": "one two\n"}));
    check("---\na: 1\n...\n", json!({"a": 1}));
    check("a: &x [1, 2]\nb: *x\nc: *x\n", json!({"a": [1, 2], "b": [1, 2], "c": [1, 2]}));
    check("\u{feff}a: \"\\u00e4\\t\"\r\nb: ä\r\n", json!({"a": "ä\t", "b": "ä"}));
    check("'1': a\n\"true\": b\n", json!({"1": "a", "true": "b"}));
    check("a:\nb:\n- 1\n-\n", json!({"a": null, "b": [1, null]}));
}

#[test]
fn places_are_bytes_also_after_many_byte_characters_and_a_byte_order_mark() {
    let source = source("\u{feff}ä: 'é—x'\r\nb: [ü, \"ö\"]\r\n");
    let tree = parse(&source).unwrap();
    let place = |pointer: &str| tree.at(pointer).unwrap().place.span.clone();
    assert_eq!(place("/ä").text(), "'é—x'");
    assert_eq!((place("/b/1").text(), place("/b/1").line_column()), ("\"ö\"", (2, 8)));
    assert_eq!(place("/b").text(), "[ü, \"ö\"]");
    assert_eq!(tree.entry("/b").unwrap().key.span.text(), "b");
}

#[test]
fn a_block_ends_with_its_last_value() {
    let tree = parse(&source("a:\n  b: 1\n  c:\n    - x\n\n\n# note\nd: |\n  text\n\ne: 2\n")).unwrap();
    assert_eq!(tree.at("/a").unwrap().place.span.text(), "b: 1\n  c:\n    - x");
    assert_eq!(tree.at("/d").unwrap().place.span.text(), "text");
}

#[test]
fn a_value_that_is_not_there_is_placed_at_its_key() {
    let tree = parse(&source("a:\nb: {c: , d}\n")).unwrap();
    assert_eq!(tree.at("/a").unwrap().place.span.text(), "a");
    assert_eq!(tree.at("/b/c").unwrap().place.span.text(), "c");
    assert_eq!(tree.at("/b/d").unwrap().place.span.text(), "d");
}

#[test]
fn a_key_given_twice_is_shown_at_both_places() {
    check_refused("a: 1\nb: 2\na: 3\n", "yaml.duplicate_key", (3, 1), "a");
    let diagnostic = parse(&source("n: {a: 1, \"a\": 3}\n")).unwrap_err();
    assert_eq!(diagnostic.labels[1].span.line_column(), (1, 5));
}

#[test]
fn what_yaml_can_and_a_pipeline_must_not_is_refused() {
    check_refused("a: !!python/object:os.system x\n", "yaml.tag", (1, 4), "!!python/object:os.system x");
    check_refused("a: !secret\n", "yaml.tag", (1, 4), "!secret");
    check_refused("a: !x {b: 1}\n", "yaml.tag", (1, 4), "!x {");
    check_refused("base: &b {x: 1}\na:\n  <<: *b\n", "yaml.merge", (3, 3), "<<");
    check_refused("a: {1: x}\n", "yaml.key", (1, 5), "1");
    check_refused("true: x\n", "yaml.key", (1, 1), "true");
    check_refused("[a, b]: x\n", "yaml.key", (1, 1), "[");
    check_refused("x: &k a\n*k : b\n", "yaml.key", (2, 1), "*k");
    check_refused("a: 1\n---\nb: 2\n", "yaml.documents", (2, 1), "---");
    check_refused("a: .nan\n", "yaml.number", (1, 4), ".nan");
    check_refused("a: [99999999999999999999]\n", "yaml.number", (1, 5), "99999999999999999999");
    check_refused("a: &x [*x]\n", "yaml.syntax", (1, 8), "*x");
    check_refused("a: *nobody\n", "yaml.syntax", (1, 4), "*");
    check_refused("a: \u{1}\n", "yaml.syntax", (1, 4), "\u{1}");
}

#[test]
fn a_syntax_error_has_its_place() {
    check_refused("a: 1\n\tb: 2\n", "yaml.syntax", (2, 1), "\t");
    check_refused("a:\n  b:\n \t c: 2\n", "yaml.syntax", (3, 2), "\t");
    check_refused("a: {b: 1\n", "yaml.syntax", (2, 1), "");
    check_refused("a: b: c\n", "yaml.syntax", (1, 5), ":");
    check_refused("a: \"never ends\n", "yaml.syntax", (1, 4), "\"");
    check_refused("a: 'ä'x\n", "yaml.syntax", (1, 7), "x");
}

#[test]
fn depth_is_limited_also_through_aliases() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(parse(&source(&deep(MAX_DEPTH))).is_ok());
    check_refused(&deep(MAX_DEPTH + 1), "yaml.limit", (1, MAX_DEPTH + 1), "[");
    check_refused(&"- ".repeat(100_000), "yaml.limit", (1, 2 * MAX_DEPTH + 1), "");
    check_refused(&format!("a: &x {}\nb: [*x]\n", deep(MAX_DEPTH - 1)), "yaml.limit", (2, 5), "*x");
}

#[test]
fn a_long_text_is_refused_unread() {
    let text = format!("a: \"{}\"\n", "x".repeat(MAX_TEXT_BYTES));
    assert_eq!(refused(&text).0, "yaml.limit");
}

#[test]
fn a_billion_laughs_cost_no_more_than_the_copies_allowed() {
    // Nine anchored lists of nine aliases each, 9^9 values if followed to the end.
    let mut text = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", ")));
    }
    let source = source(&text);
    let mut builder = Builder {
        source: &source,
        offsets: Offsets::new(&source.text, 0),
        frames: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        documents: 0,
        values: 0,
        copied: Extent::default(),
    };
    let refused = Parser::new_from_str(&source.text)
        .map(|event| {
            let (event, span) = event.unwrap();
            let range = builder.offsets.range(&span);
            builder.take(event, range)
        })
        .find_map(Result::err)
        .expect("it is refused");
    assert_eq!(refused.code.name, "yaml.limit");
    assert!(builder.copied.values <= MAX_COPIED_VALUES && builder.values <= 2 * MAX_COPIED_VALUES);
    // The text has some hundred values of its own: most of the work was copies, and it was bounded.
    assert!(builder.copied.values > 1_000);
}

#[test]
fn long_texts_are_not_copied_without_end() {
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), ["*a"; 9].join(", "));
    let refused = parse(&source(&text)).unwrap_err();
    assert_eq!((refused.code.name, refused.labels[0].span.text()), ("yaml.limit", "*a"));
}
