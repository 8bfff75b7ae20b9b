//! The plan as a picture: Graphviz dot, Mermaid, SVG.
//!
//! One box for each node, whatever tasks and instances it has; arrows are the references of the pipeline. With a
//! [`Preview`] the boxes are coloured by what will become of them, else by stage. Promises: the same plan gives the
//! same text, and every name is escaped.

mod layout;
mod svg;
mod text;

use std::collections::{HashMap, HashSet};

use engine_core::ArtifactKind;

use crate::{Outlook, OutputRef, Plan, Preview, Task, Work};

pub use svg::svg;
pub use text::{dot, mermaid};

/// A node of the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    node: String,
    kind: String,
    outlook: Option<Outlook>,
    /// How many instances an expansion made of it.
    instances: usize,
}

/// An arrow of the picture, by places of shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Arrow {
    from: usize,
    to: usize,
    carries: ArtifactKind,
}

/// What is drawn.
struct Picture {
    shapes: Vec<Shape>,
    arrows: Vec<Arrow>,
}

impl Picture {
    fn of(plan: &Plan, preview: Option<&Preview>) -> Picture {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut shapes: Vec<Shape> = Vec::new();
        for task in &plan.tasks {
            let place = *places.entry(task.node.as_str()).or_insert_with(|| {
                let kind = task.kind.name.clone();
                shapes.push(Shape { node: task.node.clone(), kind, outlook: None, instances: 0 });
                shapes.len() - 1
            });
            let outlook = preview.and_then(|preview| preview.task(task.id)).map(|task| task.outlook);
            shapes[place].outlook = more_urgent(shapes[place].outlook, outlook);
            // What only the chosen instance runs is drawn once, as the graph's own.
            let is_instance = task.instance.is_some() && task.conditions.is_empty();
            if is_instance && !matches!(task.work, Work::Fit { .. }) {
                shapes[place].instances += 1;
            }
        }
        let mut arrows: Vec<Arrow> = Vec::new();
        let mut seen = HashSet::new();
        for task in &plan.tasks {
            for from in references(task) {
                let source = plan.task(from.task);
                let carries =
                    source.outputs.get(&from.port).map_or(ArtifactKind::Table, |output| output.artifact_kind());
                let arrow = Arrow { from: places[source.node.as_str()], to: places[task.node.as_str()], carries };
                if arrow.from != arrow.to && seen.insert(arrow) {
                    arrows.push(arrow);
                }
            }
        }
        Picture { shapes, arrows }
    }
}

/// The outputs a task's ports are bound to, without the tables that stand behind encoders and models.
fn references(task: &Task) -> Vec<&OutputRef> {
    let is_table_port = |name: &str| {
        let name = name.split('/').next().unwrap_or(name);
        task.kind.inputs.iter().any(|port| port.name == name && port.takes == ArtifactKind::Table)
    };
    let read = task.reads.iter().filter(|read| is_table_port(&read.port)).flat_map(|read| &read.tables);
    // An encoder waits for nothing, but it is a node between a table and a training.
    let declared = if matches!(task.work, Work::Encoder) { task.behind.as_slice() } else { &[] };
    let chosen_from = if let Work::Choose { of, .. } = &task.work { of.as_slice() } else { &[] };
    let mut references: Vec<&OutputRef> = declared
        .iter()
        .chain(task.base_tables())
        .chain(read)
        .chain(chosen_from)
        .chain(task.artifacts.iter().map(|input| &input.from))
        .collect();
    let mut seen = HashSet::new();
    references.retain(|output| seen.insert((output.task, output.port.as_str())));
    references
}

/// Of two outlooks the one that means more work.
fn more_urgent(one: Option<Outlook>, other: Option<Outlook>) -> Option<Outlook> {
    let urgency = |outlook: Option<Outlook>| match outlook {
        None => 0,
        Some(Outlook::Hit) => 1,
        Some(Outlook::MayRun) => 2,
        Some(Outlook::Run) => 3,
    };
    if urgency(other) > urgency(one) { other } else { one }
}

/// What stands in a box under its name.
fn caption(shape: &Shape) -> String {
    match shape.instances {
        0 | 1 => shape.kind.clone(),
        count => format!("{} x {count}", shape.kind),
    }
}

/// Fill and border: by outlook, else by stage.
fn colours(shape: &Shape, has_preview: bool) -> (&'static str, &'static str) {
    match shape.outlook {
        Some(Outlook::Hit) => ("#dcf2e3", "#2f8f57"),
        Some(Outlook::Run) => ("#ffe3d3", "#cc5a1b"),
        Some(Outlook::MayRun) => ("#fff4cc", "#b08900"),
        None if has_preview => ("#f3f3f3", "#999999"),
        None => match shape.kind.split('.').next().unwrap_or("") {
            "ingest" => ("#e3edfb", "#3b6fb6"),
            "clean" | "join" => ("#e4f4f1", "#2d8577"),
            "split" => ("#f4e9fb", "#8a4bb0"),
            "extract" | "encode" => ("#fdf3dc", "#a97a10"),
            "train" | "tune" => ("#fde5e4", "#bb4440"),
            "evaluate" | "predict" => ("#e9e9fb", "#5a56b8"),
            "deploy" => ("#e6e6e6", "#444444"),
            _ => ("#f3f3f3", "#777777"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan_of;

    fn plan() -> Plan {
        plan_of(
            "rows: {uses: ingest.rows, with: {path: r.json, schema: [a, y, id], roles: {y: target, id: key}}}
            split: {uses: split.by, with: {by: id}, in: rows}
            scaled: {uses: encode.scale, with: {columns: [a]}, in: split}
            end: {uses: encode.table, with: {columns: [a]}, in: scaled}
            model: {uses: train.joint, with: {target: y}, in: {encoders: [end]}}
            quality: {uses: evaluate.score, in: {model: model}}
            folds: {uses: evaluate.cross, with: {node: split, option: fold, values: [1, 2, 3]}, in: {metrics: quality}}",
        )
    }

    #[test]
    fn a_picture_has_one_box_for_each_node_and_the_arrows_of_the_pipeline() {
        let picture = Picture::of(&plan(), None);
        let names: Vec<&str> = picture.shapes.iter().map(|shape| shape.node.as_str()).collect();
        assert_eq!(names, ["rows", "split", "scaled", "end", "model", "quality", "folds"]);
        let arrows: Vec<(&str, &str)> =
            picture.arrows.iter().map(|arrow| (names[arrow.from], names[arrow.to])).collect();
        assert_eq!(
            arrows,
            [
                ("rows", "split"),
                ("split", "scaled"),
                ("scaled", "end"),
                ("end", "model"),
                ("model", "quality"),
                ("quality", "folds")
            ]
        );
        assert_eq!(caption(&picture.shapes[1]), "split.by x 3");
    }

    #[test]
    fn the_texts_name_every_node_and_escape_names() {
        let mut plan = plan();
        plan.pipeline = "a \"b\" <c>".to_owned();
        let dot = dot(&plan, None);
        assert!(dot.starts_with("digraph \"a \\\"b\\\" <c>\" {\n"), "{dot}");
        assert!(dot.contains("  \"model\" -> \"quality\" [style=dashed, label=\"model\"];\n"), "{dot}");
        let mermaid = mermaid(&plan, None);
        assert!(mermaid.starts_with("flowchart LR\n  n0[\"rows<br/>ingest.rows\"]\n"), "{mermaid}");
        assert!(mermaid.contains("  n3 -. encoder .-> n4\n"), "{mermaid}");
        let svg = svg(&plan, None);
        assert!(svg.contains("<title>a &quot;b&quot; &lt;c&gt;</title>"), "{svg}");
        assert_eq!(svg.matches("<rect ").count(), 1 + 7);
        assert_eq!(svg.matches("marker-end").count(), 6);
    }
}
