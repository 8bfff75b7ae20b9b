//! The picture in the languages of other tools.

use std::fmt::Write;

use engine_core::ArtifactKind;

use super::{Picture, Shape, caption, colours};
use crate::{Outlook, Plan, Preview};

/// The graph in Graphviz' language: `fuseline graph FILE --format dot | dot -Tsvg`.
pub fn dot(plan: &Plan, preview: Option<&Preview>) -> String {
    let picture = Picture::of(plan, preview);
    let mut text = String::new();
    let mut line = |content: String| {
        text.push_str(&content);
        text.push('\n');
    };
    line(format!("digraph {} {{", quoted(&plan.pipeline)));
    line("  rankdir=LR;".to_owned());
    line("  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11];".to_owned());
    line("  edge [color=\"#777777\", fontname=\"Helvetica\", fontsize=9];".to_owned());
    for shape in &picture.shapes {
        let (fill, border) = colours(shape, preview.is_some());
        let label = format!("{}\\n{}", escaped(&shape.node), escaped(&caption(shape)));
        let tooltip = shape.outlook.map(|outlook| format!(", tooltip=\"{}\"", outlook.as_str())).unwrap_or_default();
        line(format!(
            "  {} [label=\"{label}\", fillcolor=\"{fill}\", color=\"{border}\"{tooltip}];",
            quoted(&shape.node)
        ));
    }
    for arrow in &picture.arrows {
        let (from, to) = (&picture.shapes[arrow.from].node, &picture.shapes[arrow.to].node);
        let style = match arrow.carries {
            ArtifactKind::Table => String::new(),
            other => format!(" [style=dashed, label=\"{other}\"]"),
        };
        line(format!("  {} -> {}{style};", quoted(from), quoted(to)));
    }
    line("}".to_owned());
    text
}

/// The graph in Mermaid's language, which many Markdown viewers draw.
pub fn mermaid(plan: &Plan, preview: Option<&Preview>) -> String {
    let picture = Picture::of(plan, preview);
    let mut text = String::from("flowchart LR\n");
    for (place, shape) in picture.shapes.iter().enumerate() {
        // Ids of Mermaid must not be words of its own (`end`), so nodes are numbered.
        let label = format!("{}<br/>{}", entity(&shape.node), entity(&caption(shape)));
        let _ = writeln!(text, "  n{place}[\"{label}\"]");
    }
    for arrow in &picture.arrows {
        let _ = match arrow.carries {
            ArtifactKind::Table => writeln!(text, "  n{} --> n{}", arrow.from, arrow.to),
            other => writeln!(text, "  n{} -. {other} .-> n{}", arrow.from, arrow.to),
        };
    }
    let mut styles: Vec<(String, (&str, &str), Vec<usize>)> = Vec::new();
    for (place, shape) in picture.shapes.iter().enumerate() {
        let name = class_of(shape, preview.is_some());
        match styles.iter_mut().find(|(other, _, _)| *other == name) {
            Some((_, _, places)) => places.push(place),
            None => styles.push((name, colours(shape, preview.is_some()), vec![place])),
        }
    }
    for (name, (fill, border), places) in styles {
        let places: Vec<String> = places.iter().map(|place| format!("n{place}")).collect();
        let _ = writeln!(text, "  classDef {name} fill:{fill},stroke:{border},color:#222222");
        let _ = writeln!(text, "  class {} {name}", places.join(","));
    }
    text
}

fn class_of(shape: &Shape, has_preview: bool) -> String {
    match shape.outlook {
        Some(Outlook::Hit) => "is_hit".to_owned(),
        Some(Outlook::Run) => "is_run".to_owned(),
        Some(Outlook::MayRun) => "is_may_run".to_owned(),
        None if has_preview => "is_left_out".to_owned(),
        None => {
            let stage = shape.kind.split('.').next().unwrap_or("");
            let word: String = stage.chars().filter(char::is_ascii_alphanumeric).collect();
            format!("stage_{word}")
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// Mermaid takes HTML entities inside quoted labels.
fn entity(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}
