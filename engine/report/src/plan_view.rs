//! What a run would do, as text: a row for each task with why, and below it, if asked, the columns of every edge.
//!
//! As JSON a [`Preview`] writes itself.

use engine_core::Role;
use engine_plan::{ColumnListing, Outlook, Preview, PreviewTask, Reason};

use crate::quantities::counted;
use crate::screen::{Screen, Tone};
use crate::tables::{Align, Cell, Table};

/// More reasons than this are counted.
const REASONS_SHOWN: usize = 3;
/// More hits than this are counted, unless columns are asked for.
const HITS_SHOWN: usize = 30;

/// How much of a plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanDetail {
    /// The tasks.
    Tasks,
    /// The tasks, and the columns each reads and writes.
    Columns,
}

/// A preview as text; the last line sums it up.
pub fn preview_text(preview: &Preview, detail: PlanDetail, screen: &Screen) -> String {
    let mut text = match detail {
        PlanDetail::Tasks => tasks_text(preview, screen),
        PlanDetail::Columns => preview.tasks.iter().map(|task| task_with_columns(task, screen)).collect(),
    };
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&preview_summary(preview, screen));
    text.push('\n');
    text
}

/// As in `credit: 3 run, 2 may run, 12 hits` or `credit: nothing to do, 17 hits`.
pub fn preview_summary(preview: &Preview, screen: &Screen) -> String {
    let hits = counted(preview.hits as u64, "hit", "hits");
    let name = screen.style.paint(Tone::Strong, &preview.pipeline);
    if preview.is_nothing_to_do() {
        return format!("{name}: nothing to do, {hits}");
    }
    let mut parts = Vec::new();
    for (number, word) in [(preview.runs, "run"), (preview.may_runs, "may run")] {
        if number > 0 {
            parts.push(counted(number as u64, word, word));
        }
    }
    if preview.hits > 0 {
        parts.push(hits);
    }
    format!("{name}: {}", parts.join(", "))
}

fn tasks_text(preview: &Preview, screen: &Screen) -> String {
    let hide = preview.hits > HITS_SHOWN;
    let shown: Vec<&PreviewTask> =
        preview.tasks.iter().filter(|task| !(hide && task.outlook == Outlook::Hit)).collect();
    let mut table = Table::new([("task", Align::Left), ("", Align::Left), ("kind", Align::Left), ("why", Align::Left)]);
    for task in &shown {
        table.row([
            Cell::from(task.task.as_str()),
            Cell::new(task.outlook.as_str(), tone(task.outlook)),
            Cell::new(task.kind.as_str(), Tone::Faint),
            why(&task.reasons).into(),
        ]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render(screen) };
    text.push_str(&instances_text(&shown, screen));
    if hide {
        let line = format!("{} not shown", counted(preview.hits as u64, "hit", "hits"));
        text.push_str(&format!("{}\n", screen.style.paint(Tone::Faint, &line)));
    }
    text
}

/// What differs in each instance, a line for each; nothing if their names say it, as in `fold=2`.
fn instances_text(tasks: &[&PreviewTask], screen: &Screen) -> String {
    let mut told: Vec<Vec<String>> = Vec::new();
    let mut text = String::new();
    for task in tasks {
        let Some(instance) = &task.instance else { continue };
        let is_said = |option: &str, value: &str| {
            let said = format!("{}={value}", option.rsplit('.').next().unwrap_or(option));
            instance.split(',').any(|part| part.rsplit(':').next() == Some(said.as_str()))
        };
        let differs = task.overrides.iter().map(|(option, value)| (option, value.to_string()));
        let differs: Vec<String> = differs
            .filter(|(option, value)| !is_said(option, value))
            .map(|(option, value)| format!("{option}: {value}"))
            .collect();
        if differs.is_empty() || told.contains(&differs) {
            continue;
        }
        let name = screen.style.paint(Tone::Strong, instance);
        text.push_str(&format!("{name}  {}\n", differs.join(", ")));
        told.push(differs);
    }
    text
}

fn tone(outlook: Outlook) -> Tone {
    match outlook {
        Outlook::Hit => Tone::Faint,
        Outlook::Run => Tone::Active,
        Outlook::MayRun => Tone::Caution,
    }
}

fn why(reasons: &[Reason]) -> String {
    let mut words: Vec<String> = reasons.iter().take(REASONS_SHOWN).map(Reason::to_string).collect();
    if reasons.len() > REASONS_SHOWN {
        words.push(format!("and {} more", reasons.len() - REASONS_SHOWN));
    }
    words.join("; ")
}

fn task_with_columns(task: &PreviewTask, screen: &Screen) -> String {
    let style = screen.style;
    let mut text = format!(
        "{} {} {}\n",
        style.paint(Tone::Strong, &task.task),
        style.paint(tone(task.outlook), task.outlook.as_str()),
        style.paint(Tone::Faint, &task.kind)
    );
    for reason in &task.reasons {
        text.push_str(&format!("  because {reason}\n"));
    }
    for read in &task.reads {
        let rows = if read.columns.is_empty() { "no columns".to_owned() } else { read.columns.join(", ") };
        text.push_str(&format!("  reads {} ({} rows of {}): {rows}\n", read.port, read.rows, read.from.join(", ")));
    }
    if !task.writes.is_empty() {
        let mut table =
            Table::new([("  writes", Align::Left), ("type", Align::Left), ("role", Align::Left), ("", Align::Left)]);
        for column in &task.writes {
            table.row([
                format!("  {}", column.name),
                column.logical.to_string(),
                if column.role == Role::Feature { String::new() } else { column.role.to_string() },
                remarks(column),
            ]);
        }
        text.push_str(&table.render(&Screen { style: crate::Style::Plain, ..*screen }));
    }
    for (port, kind) in &task.gives {
        text.push_str(&format!("  gives {port}: a {kind}\n"));
    }
    text
}

fn remarks(column: &ColumnListing) -> String {
    let remarks = [(column.nullable, "may be missing"), (column.from_target, "computed from the target")];
    remarks.iter().filter(|(holds, _)| *holds).map(|(_, words)| *words).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine_core::{ArtifactKind, LogicalType};
    use engine_plan::{ReadListing, TaskId};
    use engine_table::RowFilter;

    use super::*;

    fn task(id: usize, name: &str, outlook: Outlook, reasons: Vec<Reason>) -> PreviewTask {
        PreviewTask {
            id: TaskId(id),
            task: name.into(),
            node: name.into(),
            instance: None,
            overrides: BTreeMap::new(),
            kind: "clean.impute".into(),
            outlook,
            reasons,
            key: None,
            reads: Vec::new(),
            writes: Vec::new(),
            gives: BTreeMap::new(),
        }
    }

    fn preview(tasks: Vec<PreviewTask>) -> Preview {
        let count = |outlook| tasks.iter().filter(|task| task.outlook == outlook).count();
        let (hits, runs, may_runs) = (count(Outlook::Hit), count(Outlook::Run), count(Outlook::MayRun));
        Preview { pipeline: "credit".into(), hits, runs, may_runs, tasks }
    }

    #[test]
    fn a_plan_says_what_runs_and_why() {
        let changed = |part: &str| Reason::Changed { part: part.into(), old: Some("1".into()), new: Some("2".into()) };
        let plan = preview(vec![
            task(0, "rows", Outlook::Hit, vec![]),
            task(1, "impute/fit", Outlook::Run, ["a", "b", "c", "d", "e"].map(changed).into()),
            task(2, "impute", Outlook::MayRun, vec![Reason::Waits { task: "impute/fit".into() }]),
        ]);
        let expected = "\
task                 kind          why
rows        hit      clean.impute
impute/fit  run      clean.impute  a: 1 -> 2; b: 1 -> 2; c: 1 -> 2; and 2 more
impute      may run  clean.impute  waits for impute/fit

credit: 1 run, 1 may run, 1 hit
";
        let text = preview_text(&plan, PlanDetail::Tasks, &Screen::PLAIN);
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn a_plan_says_once_what_each_trial_tries() {
        let of = |id: usize, node: &str, instance: &str, overrides: &[(&str, serde_json::Value)]| PreviewTask {
            node: node.into(),
            instance: Some(instance.into()),
            overrides: overrides.iter().map(|(option, value)| ((*option).to_owned(), value.clone())).collect(),
            ..task(id, &format!("{node}@{instance}"), Outlook::Run, vec![Reason::FirstRun])
        };
        let (one, two) = (("model.rate", 0.5.into()), ("model.rate", 1.5.into()));
        let plan = preview(vec![
            of(0, "model", "trial=0", std::slice::from_ref(&one)),
            of(1, "model", "trial=0,fold=1", &[("folds.fold", 1.into()), one]),
            of(2, "model", "trial=1", &[two]),
        ]);
        let text = preview_text(&plan, PlanDetail::Tasks, &Screen::PLAIN);
        let expected = "trial=0  model.rate: 0.5\ntrial=1  model.rate: 1.5\n\ncredit: 3 run\n";
        assert!(text.ends_with(expected), "\n{text}");
    }

    #[test]
    fn a_plan_of_hits_is_one_line() {
        let plan = preview((0..40).map(|id| task(id, &format!("n{id}"), Outlook::Hit, vec![])).collect());
        let text = preview_text(&plan, PlanDetail::Tasks, &Screen::PLAIN);
        assert_eq!(text, "40 hits not shown\n\ncredit: nothing to do, 40 hits\n");
    }

    #[test]
    fn columns_show_what_selectors_matched_and_what_is_written() {
        let mut one = task(0, "scale", Outlook::Run, vec![Reason::FirstRun]);
        one.reads = vec![ReadListing {
            port: "table".into(),
            rows: RowFilter::All,
            from: vec!["rows".into()],
            columns: vec!["age".into(), "sum".into()],
        }];
        one.writes = vec![ColumnListing {
            name: "age".into(),
            logical: LogicalType::Float,
            role: Role::Feature,
            nullable: true,
            from_target: false,
        }];
        one.gives = BTreeMap::from([("fitted".into(), ArtifactKind::Fitted)]);
        let expected = "\
scale run clean.impute
  because first run
  reads table (all rows of rows): age, sum
  writes  type   role
  age     float        may be missing
  gives fitted: a fitted

credit: 1 run
";
        let text = preview_text(&preview(vec![one]), PlanDetail::Columns, &Screen::PLAIN);
        assert_eq!(text, expected, "\n{text}");
    }
}
