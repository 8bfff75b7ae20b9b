//! The manual of a kind, from its schema, and the page of a diagnostic's code: for the terminal and for the book.
//!
//! Both are made from what the program itself checks with, so they cannot say anything else than it does.

use engine_core::{ArtifactKind, Code, Effect, NumericClass, Serving};
use engine_table::{Arity, Kind};
use serde_json::{Value, json};

use crate::markup::markdown_cell;
use crate::options::{OptionRow, option_rows};
use crate::screen::{Screen, Tone, width_of};
use crate::tables::{Align, Cell, Table};

/// All kinds: name, effect, serving, summary.
pub fn kinds_table<'a>(kinds: impl IntoIterator<Item = &'a Kind>) -> Table {
    let mut table = Table::new([
        ("kind", Align::Left),
        ("effect", Align::Left),
        ("in a deployment", Align::Left),
        ("what it does", Align::Left),
    ]);
    for kind in kinds {
        table.row([
            Cell::new(kind.name.as_str(), Tone::Strong),
            effect_word(kind.effect).into(),
            serving_word(kind.serving).into(),
            kind.summary().split_whitespace().collect::<Vec<_>>().join(" ").into(),
        ]);
    }
    table
}

/// The manual of a kind as data: everything [`kind_text`] says, and the schema of the options.
pub fn kind_json(kind: &Kind) -> Value {
    let arity = |arity: Arity| match arity {
        Arity::One => "one",
        Arity::Optional => "optional",
        Arity::Many => "many",
    };
    json!({
        "kind": kind.name,
        "version": kind.version,
        "description": kind.description(),
        "effect": kind.effect,
        "serving": kind.serving,
        "numerics": kind.numerics,
        "random": kind.random,
        "inputs": kind.inputs.iter()
            .map(|port| json!({"port": port.name, "takes": port.takes, "arity": arity(port.arity)}))
            .collect::<Vec<_>>(),
        "outputs": kind.outputs.iter().map(|port| json!({"port": port.name, "gives": port.gives})).collect::<Vec<_>>(),
        "options": kind.options_schema,
        "example": kind.example,
    })
}

/// The manual of a kind for the terminal.
pub fn kind_text(kind: &Kind, screen: &Screen) -> String {
    let heading = |text: &str| screen.style.paint(Tone::Strong, text);
    let mut text = format!("{} (version {})\n\n", heading(&kind.name), kind.version);
    text.push_str(&wrapped(kind.description(), screen.width, ""));
    text.push_str(&format!("\n{} {}\n", heading("effect:"), effect_sentence(kind)));
    text.push_str(&format!("{} {}\n", heading("in a deployment:"), serving_sentence(kind)));
    if kind.numerics == NumericClass::Kernel {
        text.push_str(&format!("{} {KERNEL}\n", heading("numbers:")));
    }
    let ports = |title: &str, lines: Vec<String>| {
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        format!("\n{}\n{lines}", heading(title))
    };
    text.push_str(&ports("inputs", input_lines(kind)));
    text.push_str(&ports("outputs", output_lines(kind)));
    let rows = option_rows(&kind.options_schema);
    text.push_str(&format!("\n{}\n", heading("options")));
    if rows.is_empty() {
        text.push_str("  none\n");
    }
    for row in &rows {
        option_text(&mut text, row, screen);
    }
    if !kind.example.is_empty() {
        text.push_str(&format!("\n{}\n", heading("example")));
    }
    for line in kind.example.trim().lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn option_text(text: &mut String, row: &OptionRow, screen: &Screen) {
    let mut facts = vec![row.takes.clone()];
    match &row.default {
        _ if row.required => facts.push("must be given".to_owned()),
        Some(default) => facts.push(format!("default {default}")),
        None => {}
    }
    if !row.range.is_empty() {
        facts.push(row.range.clone());
    }
    text.push_str(&format!("  {}: {}\n", screen.style.paint(Tone::Active, &row.name), facts.join("; ")));
    text.push_str(&wrapped(&row.meaning, screen.width, "      "));
    for (value, meaning) in &row.choices {
        text.push_str(&wrapped(&format!("{value}: {meaning}"), screen.width, "      - "));
    }
}

/// The manual of a kind as a page of the book.
pub fn kind_markdown(kind: &Kind) -> String {
    let mut page = format!("# `{}`\n\n{}\n\n", kind.name, kind.description().trim());
    page.push_str("| | |\n|---|---|\n");
    page.push_str(&format!("| effect | {} |\n", effect_sentence(kind)));
    page.push_str(&format!("| in a deployment | {} |\n", serving_sentence(kind)));
    if kind.numerics == NumericClass::Kernel {
        page.push_str(&format!("| numbers | {KERNEL} |\n"));
    }
    if kind.random {
        page.push_str("| randomness | from the pipeline's `seed` |\n");
    }
    page.push_str(&format!("| version | {} |\n", kind.version));
    for (title, lines) in [("Inputs", input_lines(kind)), ("Outputs", output_lines(kind))] {
        page.push_str(&format!("\n## {title}\n\n"));
        page.extend(lines.iter().map(|line| format!("- {line}\n")));
    }
    page.push_str("\n## Options\n\n");
    let rows = option_rows(&kind.options_schema);
    if rows.is_empty() {
        page.push_str("None.\n");
    } else {
        page.push_str("| option | takes | default | range | meaning |\n|---|---|---|---|---|\n");
        page.extend(rows.iter().map(option_markdown));
    }
    page.push_str(&format!("\n## Example\n\n```yaml\n{}\n```\n", kind.example.trim()));
    page
}

fn option_markdown(row: &OptionRow) -> String {
    let mut meaning = markdown_cell(&row.meaning);
    if !row.choices.is_empty() {
        let choices: Vec<String> = row
            .choices
            .iter()
            .map(|(value, meaning)| format!("`{}`: {}", markdown_cell(value), markdown_cell(meaning)))
            .collect();
        meaning.push_str(&format!("<br>{}", choices.join("<br>")));
    }
    let default = match &row.default {
        _ if row.required => "must be given".to_owned(),
        Some(default) => format!("`{}`", markdown_cell(default)),
        None => String::new(),
    };
    format!(
        "| `{}` | {} | {default} | {} | {meaning} |\n",
        markdown_cell(&row.name),
        markdown_cell(&row.takes),
        markdown_cell(&row.range)
    )
}

/// The page of a code for the terminal: what `fuseline explain CODE` prints.
pub fn code_text(code: &Code, screen: &Screen) -> String {
    let name = screen.style.paint(Tone::Strong, code.name);
    let mut text = format!("{name}: {}\n\n", code.summary);
    let mut fenced = false;
    let mut paragraph = String::new();
    for line in code.explanation.lines() {
        let fence = line.trim_start().starts_with("```");
        let plain = !fenced && !fence && !line.trim().is_empty() && !line.starts_with(['-', '|', '#', ' ']);
        if plain {
            // Lines of a paragraph are broken anew for this screen.
            paragraph.push_str(line);
            paragraph.push(' ');
            continue;
        }
        text.push_str(&wrapped(&paragraph, screen.width, ""));
        paragraph.clear();
        if fence {
            fenced = !fenced;
        } else if fenced {
            text.push_str(&format!("    {line}\n"));
        } else {
            text.push_str(&format!("{line}\n"));
        }
    }
    text.push_str(&wrapped(&paragraph, screen.width, ""));
    text
}

/// The page of a code for the book.
pub fn code_markdown(code: &Code) -> String {
    format!("# `{}`\n\n{}\n\n{}\n", code.name, sentence(code.summary), code.explanation.trim())
}

/// All codes: name and summary.
pub fn codes_table<'a>(codes: impl IntoIterator<Item = &'a Code>) -> Table {
    let mut table = Table::new([("code", Align::Left), ("what it says", Align::Left)]);
    for code in codes {
        table.row([Cell::new(code.name, Tone::Strong), code.summary.into()]);
    }
    table
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|letter| letter.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn input_lines(kind: &Kind) -> Vec<String> {
    if kind.inputs.is_empty() {
        return vec!["none: it reads outside the graph".to_owned()];
    }
    let lines = kind.inputs.iter().map(|port| {
        let how_many = match port.arity {
            Arity::One => with_article(port.takes).to_owned(),
            Arity::Optional => format!("{}, or nothing", with_article(port.takes)),
            Arity::Many => format!("one {} or more", port.takes),
        };
        format!("`{}`: {how_many}", port.name)
    });
    lines.collect()
}

fn output_lines(kind: &Kind) -> Vec<String> {
    if kind.outputs.is_empty() {
        return vec!["none".to_owned()];
    }
    kind.outputs.iter().map(|port| format!("`{}`: {}", port.name, with_article(port.gives))).collect()
}

/// One artifact of the kind, as a person says it.
fn with_article(artifact: ArtifactKind) -> &'static str {
    match artifact {
        ArtifactKind::Table => "a table",
        ArtifactKind::Fitted => "what was learnt",
        ArtifactKind::Encoder => "an encoder",
        ArtifactKind::Model => "a model",
        ArtifactKind::Metrics => "metrics",
        ArtifactKind::Report => "a report",
        ArtifactKind::Deployment => "a deployment",
    }
}

const KERNEL: &str = "equal bits on machines with the same instruction set";

fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Source => "source",
        Effect::RowLocal => "row by row",
        Effect::Fit => "fit",
        Effect::Whole => "whole",
        Effect::Sink => "sink",
    }
}

fn effect_sentence(kind: &Kind) -> &'static str {
    match kind.effect {
        Effect::Source => "source: reads outside the graph; runs again when what it reads changes",
        Effect::RowLocal => "row by row: a row's result depends on that row alone",
        // A kind that makes the parts has no choice of rows.
        Effect::Fit if kind.options_schema["properties"].get("fit_on").is_none() => "fit: learns from all rows",
        Effect::Fit => "fit: learns from train rows only, unless `fit_on: all`",
        Effect::Whole => "whole: needs all rows at once",
        Effect::Sink => "sink: writes outside the graph",
    }
}

fn serving_word(serving: Serving) -> &'static str {
    match serving {
        Serving::Same => "same",
        Serving::Skip => "left out",
        Serving::Lookup => "lookup",
        Serving::Refuse => "refused",
    }
}

fn serving_sentence(kind: &Kind) -> &'static str {
    match kind.serving {
        Serving::Same => "runs on a request's rows as it ran in training",
        Serving::Skip => "is left out",
        Serving::Lookup => "looks rows up in a table frozen into the bundle",
        Serving::Refuse if kind.outputs.iter().any(|port| port.gives == ArtifactKind::Table) => {
            "does not run on requests: the request is at this node or below it"
        }
        Serving::Refuse => "does not run on requests",
    }
}

/// The paragraphs of `text` broken into lines of at most `width` columns. The first line of each begins with
/// `indent`, the others with as many spaces; nothing for an empty text.
fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let room = width.saturating_sub(width_of(indent)).max(20);
    let hanging = " ".repeat(width_of(indent));
    let mut lines = String::new();
    for (place, paragraph) in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()).enumerate() {
        if place > 0 {
            lines.push('\n');
        }
        let mut line = String::new();
        let mut start = indent;
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && width_of(&line) + 1 + width_of(word) > room {
                lines.push_str(&format!("{start}{line}\n"));
                start = &hanging;
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push_str(&format!("{start}{line}\n"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use engine_core::Serving;
    use engine_table::{Change, Describe, InputTypes, NodeError, Problem, ReduceInputs, RowFunction, RowLocal};
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;

    /// Keeps values within limits.
    ///
    /// A value outside becomes the nearest limit | no row is lost.
    #[derive(Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct ClipOptions {
        /// The upper limit.
        #[serde(default = "one")]
        #[schemars(range(min = 0.0))]
        high: f64,
        /// How limits are found.
        rule: Rule,
    }

    fn one() -> f64 {
        1.0
    }

    #[derive(Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Rule {
        /// From the quartiles.
        Iqr,
        /// From mean and deviation.
        Zscore,
    }

    struct Clip;

    impl Describe for Clip {
        const KIND: &'static str = "clean.clip";
        const VERSION: u32 = 3;
        const EXAMPLE: &'static str = "fuseline: 1\nname: clip\n";
        const SERVING: Serving = Serving::Same;
        type Options = ClipOptions;

        fn new(_: ClipOptions) -> Result<Clip, Vec<Problem>> {
            Ok(Clip)
        }
    }

    impl RowLocal for Clip {
        fn infer(&self, _: &InputTypes) -> Result<Change, Vec<Problem>> {
            Ok(Change::default())
        }

        fn prepare(&self, _: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
            Err(NodeError::Cancelled)
        }
    }

    #[test]
    fn the_manual_says_all_the_schema_says() {
        let text = kind_text(&Kind::row_local::<Clip>(), &Screen::PLAIN);
        let expected = "\
clean.clip (version 3)

Keeps values within limits.

A value outside becomes the nearest limit | no row is lost.

effect: row by row: a row's result depends on that row alone
in a deployment: runs on a request's rows as it ran in training

inputs
  `table`: a table

outputs
  `table`: a table

options
  rule: iqr | zscore; must be given
      How limits are found.
      - iqr: From the quartiles.
      - zscore: From mean and deviation.
  high: number; default 1.0; at least 0.0
      The upper limit.

example
  fuseline: 1
  name: clip
";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn the_page_of_the_book_is_a_table_of_options() {
        let page = kind_markdown(&Kind::row_local::<Clip>());
        assert!(page.starts_with("# `clean.clip`\n\nKeeps values within limits.\n"), "{page}");
        assert!(page.contains("| `high` | number | `1.0` | at least 0.0 | The upper limit. |\n"), "{page}");
        assert!(
            page.contains("| `rule` | iqr \\| zscore | must be given |  | How limits are found.<br>`iqr`: From"),
            "{page}"
        );
        assert!(page.ends_with("```yaml\nfuseline: 1\nname: clip\n```\n"));
    }

    #[test]
    fn a_kind_as_data_has_its_ports_and_schema() {
        let data = kind_json(&Kind::row_local::<Clip>());
        assert_eq!(data["inputs"], json!([{"port": "table", "takes": "table", "arity": "one"}]));
        assert_eq!((data["effect"].as_str(), data["serving"].as_str()), (Some("row_local"), Some("same")));
        assert!(data["options"]["properties"]["high"].is_object());
    }

    #[test]
    fn kinds_are_listed_with_their_first_paragraph() {
        let kind = Kind::row_local::<Clip>();
        let text = kinds_table([&kind]).render(&Screen::PLAIN);
        assert!(text.ends_with("clean.clip  row by row  same             Keeps values within limits.\n"), "{text}");
    }

    static CODE: Code = Code {
        name: "port.kind",
        summary: "an artifact of the wrong kind",
        explanation: "A port takes one kind\nof artifact.\n\n```yaml\nin: rows   # wrong\n```\n\n- first\n- second\n",
    };

    #[test]
    fn a_code_is_explained_in_paragraphs_and_yaml() {
        assert_eq!(
            code_text(&CODE, &Screen::PLAIN),
            "port.kind: an artifact of the wrong kind\n\nA port takes one kind of artifact.\n\n    in: rows   # wrong\n\n- first\n- second\n"
        );
        assert!(code_markdown(&CODE).starts_with("# `port.kind`\n\nAn artifact of the wrong kind.\n\nA port takes"));
    }

    #[test]
    fn long_text_is_broken_between_words() {
        let text = wrapped(&"word ".repeat(40), 30, "- ");
        assert!(text.lines().all(|line| width_of(line) <= 30) && text.starts_with("- word"), "{text}");
    }
}
