//! What a run came to, gathered from its events: nodes with their times and rows, scores beside their baselines.
//!
//! Pure: events in, tables out. Knows no terminal and no file.

use std::collections::BTreeMap;

use engine_core::{Event, MetricValue, RunStatus, TaskStatus};

use crate::quantities::{count, counted, number, seconds};
use crate::screen::{Screen, Tone};
use crate::tables::{Align, Cell, Table};

/// The prefix of a trivial model's score of the same metric.
const BASELINE: &str = "baseline.";
/// The prefix of the paired difference between a score and its baseline's.
const DIFFERENCE: &str = "difference.";
/// The prefix of a score of one modality of a joint model.
const MODALITY: &str = "modality.";

/// A node of a run: its tasks together.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSummary {
    /// The node.
    pub node: String,
    /// The worst of its tasks' statuses; `hit` only if all were hits.
    pub status: TaskStatus,
    /// Seconds of its tasks together.
    pub seconds: f64,
    /// Rows of its table, if it has one.
    pub rows: Option<u64>,
    /// Why it failed, was skipped or ran, if said.
    pub reason: Option<String>,
}

/// A run as its events told it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunSummary {
    /// The pipeline's name.
    pub pipeline: String,
    /// The run's id.
    pub run: String,
    /// How it ended; `None` while it has not.
    pub status: Option<RunStatus>,
    /// How long it took.
    pub seconds: f64,
    /// Its nodes, in the order their first task ended.
    pub nodes: Vec<NodeSummary>,
    /// Warnings, by task.
    pub warnings: Vec<(String, String)>,
    /// Scores of each node that gives metrics.
    pub metrics: BTreeMap<String, BTreeMap<String, MetricValue>>,
    places: BTreeMap<String, usize>,
}

/// The order of statuses from best to worst.
fn badness(status: TaskStatus) -> u8 {
    match status {
        TaskStatus::NotChosen => 0,
        TaskStatus::Hit => 1,
        TaskStatus::Ran => 2,
        TaskStatus::Cancelled => 3,
        TaskStatus::Skipped => 4,
        TaskStatus::Failed => 5,
    }
}

/// The tone a status is shown in.
pub(crate) fn tone(status: TaskStatus) -> Tone {
    match status {
        TaskStatus::Hit | TaskStatus::NotChosen => Tone::Faint,
        TaskStatus::Ran => Tone::Good,
        TaskStatus::Failed => Tone::Bad,
        TaskStatus::Skipped | TaskStatus::Cancelled => Tone::Caution,
    }
}

impl RunSummary {
    /// A summary of no events.
    pub fn new() -> RunSummary {
        RunSummary::default()
    }

    /// Takes the next event in.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::RunStarted { run, pipeline, .. } => {
                self.run.clone_from(run);
                self.pipeline.clone_from(pipeline);
            }
            Event::TaskWarning { task, message } => self.warnings.push((task.clone(), message.clone())),
            Event::TaskFinished { task, node, status, seconds, rows, error, reason } => {
                let reason = error.as_ref().or(reason.as_ref()).cloned();
                self.task(
                    task,
                    node,
                    NodeSummary { node: node.clone(), status: *status, seconds: *seconds, rows: *rows, reason },
                );
            }
            Event::RunFinished { status, run, seconds, metrics, .. } => {
                self.run.clone_from(run);
                self.status = Some(*status);
                self.seconds = *seconds;
                self.metrics.clone_from(metrics);
            }
            Event::TaskStarted { .. } | Event::TaskProgress { .. } | Event::TaskRetrying { .. } => {}
        }
    }

    fn task(&mut self, task: &str, node: &str, ended: NodeSummary) {
        let Some(&place) = self.places.get(node) else {
            self.places.insert(node.to_owned(), self.nodes.len());
            self.nodes.push(ended);
            return;
        };
        let known = &mut self.nodes[place];
        known.seconds += ended.seconds;
        // The table of a node with a fit is that of its applying part, which has the node's own name.
        if task == node || known.rows.is_none() {
            known.rows = ended.rows.or(known.rows);
        }
        if badness(ended.status) > badness(known.status) {
            known.status = ended.status;
            known.reason = ended.reason;
        } else if known.reason.is_none() {
            known.reason = ended.reason;
        }
    }

    /// How many nodes ended in `status`.
    pub fn count(&self, status: TaskStatus) -> usize {
        self.nodes.iter().filter(|node| node.status == status).count()
    }

    /// As in `3 ran, 12 hits`.
    pub fn counts(&self) -> String {
        let words = [
            (TaskStatus::Failed, "failed", "failed"),
            (TaskStatus::Skipped, "skipped", "skipped"),
            (TaskStatus::Cancelled, "cancelled", "cancelled"),
            (TaskStatus::Ran, "ran", "ran"),
            (TaskStatus::Hit, "hit", "hits"),
            (TaskStatus::NotChosen, "not chosen", "not chosen"),
        ];
        let parts: Vec<String> = words
            .iter()
            .map(|&(status, one, many)| (self.count(status) as u64, one, many))
            .filter(|(number, ..)| *number > 0)
            .map(|(number, one, many)| counted(number, one, many))
            .collect();
        if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") }
    }

    /// The nodes as a table. Hits are left out, and counted below it, if there are more than `hits_shown`.
    pub fn nodes_text(&self, screen: &Screen, hits_shown: usize) -> String {
        let hits = self.count(TaskStatus::Hit);
        let hide = hits > hits_shown;
        let mut table = Table::new([
            ("node", Align::Left),
            ("status", Align::Left),
            ("seconds", Align::Right),
            ("rows", Align::Right),
        ]);
        for node in self.nodes.iter().filter(|node| !(hide && node.status == TaskStatus::Hit)) {
            let time = if node.status == TaskStatus::Hit { String::new() } else { format!("{:.2}", node.seconds) };
            table.row([
                Cell::from(node.node.as_str()),
                Cell::new(node.status.as_str(), tone(node.status)),
                time.into(),
                node.rows.map(count).unwrap_or_default().into(),
            ]);
        }
        let mut text = if table.is_empty() { String::new() } else { table.render(screen) };
        if hide {
            let line = format!("{} not shown", counted(hits as u64, "hit", "hits"));
            text.push_str(&screen.style.paint(Tone::Faint, &line));
            text.push('\n');
        }
        text
    }

    /// The scores of every node as tables: metric, value, 95 % interval, baseline, and what the two say together.
    pub fn metrics_text(&self, screen: &Screen) -> String {
        let mut text = String::new();
        for (node, metrics) in &self.metrics {
            let rows = metric_rows(metrics);
            if rows.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&screen.style.paint(Tone::Strong, node));
            text.push('\n');
            text.push_str(&metrics_table(&rows).render(screen));
        }
        text
    }

    /// The last line: how the run ended, in how long.
    pub fn verdict(&self, screen: &Screen) -> String {
        let (mark, tone, word) = match self.status {
            Some(RunStatus::Succeeded) => ("✓", Tone::Good, "succeeded"),
            Some(RunStatus::Failed) => ("✗", Tone::Bad, "failed"),
            Some(RunStatus::Cancelled) => ("■", Tone::Caution, "cancelled"),
            None => ("…", Tone::Caution, "did not end"),
        };
        let status = screen.style.paint(tone, &format!("{mark} {word}"));
        format!("{status} in {}: {} (run {})", seconds(self.seconds), self.counts(), self.run)
    }
}

/// A score beside its baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricRow {
    /// The metric.
    pub metric: String,
    /// The score.
    pub value: MetricValue,
    /// The score of the trivial model on the same rows.
    pub baseline: Option<MetricValue>,
    /// What the two say together.
    pub comparison: Comparison,
}

/// Whether a score can be told apart from its baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// There is no baseline, or no intervals.
    Unknown,
    /// The intervals are apart, or that of the paired difference leaves out 0.
    Apart,
    /// The intervals overlap, or that of the paired difference holds 0: the model may be no better than nothing.
    Overlap,
}

/// Pairs `metric` with `baseline.metric` (and `difference.metric`, the paired difference, which decides if it is there).
/// A baseline without a score of its own stands as a row by itself. The scores of single modalities stand in the node's own
/// part of the report.
pub fn metric_rows(metrics: &BTreeMap<String, MetricValue>) -> Vec<MetricRow> {
    let mut rows: Vec<MetricRow> = Vec::new();
    for (metric, value) in metrics {
        let of = |prefix: &str| metrics.get(&format!("{prefix}{metric}")).copied();
        let paired = |prefix: &str| metric.strip_prefix(prefix).is_some_and(|plain| metrics.contains_key(plain));
        if paired(BASELINE) || paired(DIFFERENCE) || metric.starts_with(MODALITY) {
            continue;
        }
        let baseline = of(BASELINE);
        let comparison = compare(*value, baseline, of(DIFFERENCE));
        rows.push(MetricRow { metric: metric.clone(), value: *value, baseline, comparison });
    }
    rows
}

fn compare(value: MetricValue, baseline: Option<MetricValue>, difference: Option<MetricValue>) -> Comparison {
    if let Some((low, high)) = difference.and_then(interval) {
        return if low <= 0.0 && high >= 0.0 { Comparison::Overlap } else { Comparison::Apart };
    }
    let Some(baseline) = baseline else { return Comparison::Unknown };
    // A baseline that is the same on every resample has no interval of its own.
    let around = |score: MetricValue| interval(score).unwrap_or((score.value, score.value));
    if interval(value).is_none() || !baseline.value.is_finite() {
        return Comparison::Unknown;
    }
    let ((low, high), (base_low, base_high)) = (around(value), around(baseline));
    if low <= base_high && base_low <= high { Comparison::Overlap } else { Comparison::Apart }
}

fn interval(score: MetricValue) -> Option<(f64, f64)> {
    match (score.low, score.high) {
        (Some(low), Some(high)) if low.is_finite() && high.is_finite() => Some((low, high)),
        _ => None,
    }
}

/// `0.7712 – 0.8190`, or nothing.
pub(crate) fn interval_text(score: MetricValue) -> String {
    interval(score).map(|(low, high)| format!("{} – {}", number(low), number(high))).unwrap_or_default()
}

/// What is said beside a score that its baseline's overlaps.
pub(crate) const OVERLAP: &str = "overlaps its baseline";

fn metrics_table(rows: &[MetricRow]) -> Table {
    let with_baselines = rows.iter().any(|row| row.baseline.is_some());
    let mut columns = vec![("metric", Align::Left), ("value", Align::Right), ("95 % interval", Align::Right)];
    if with_baselines {
        columns.extend([("baseline", Align::Right), ("its interval", Align::Right), ("", Align::Left)]);
    }
    let mut table = Table::new(columns);
    for row in rows {
        let baseline = row.baseline.map(|baseline| number(baseline.value)).unwrap_or_default();
        let overlap = if row.comparison == Comparison::Overlap { OVERLAP } else { "" };
        table.row([
            Cell::from(row.metric.as_str()),
            number(row.value.value).into(),
            interval_text(row.value).into(),
            baseline.into(),
            row.baseline.map(interval_text).unwrap_or_default().into(),
            Cell::new(overlap, Tone::Caution),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(task: &str, node: &str, status: TaskStatus, seconds: f64, rows: Option<u64>) -> Event {
        Event::TaskFinished {
            task: task.into(),
            node: node.into(),
            status,
            seconds,
            rows,
            error: (status == TaskStatus::Failed).then(|| "no rows".into()),
            reason: None,
        }
    }

    fn score(value: f64, low: f64, high: f64) -> MetricValue {
        MetricValue { value, low: Some(low), high: Some(high) }
    }

    #[test]
    fn the_parts_of_a_node_are_one_row() {
        let mut summary = RunSummary::new();
        summary.add(&finished("impute/fit", "impute", TaskStatus::Ran, 1.5, None));
        summary.add(&finished("impute", "impute", TaskStatus::Hit, 0.0, Some(1000)));
        summary.add(&finished("rows", "rows", TaskStatus::Hit, 0.0, Some(1000)));
        assert_eq!(
            summary.nodes_text(&Screen::PLAIN, 10),
            "node    status  seconds   rows\nimpute  ran        1.50  1,000\nrows    hit              1,000\n"
        );
        assert_eq!(summary.counts(), "1 ran, 1 hit");
    }

    #[test]
    fn the_worst_part_is_the_nodes_status_with_its_reason() {
        let mut summary = RunSummary::new();
        summary.add(&finished("a@fold=1", "a", TaskStatus::Failed, 1.0, None));
        summary.add(&finished("a@fold=2", "a", TaskStatus::Ran, 1.0, None));
        assert_eq!(summary.nodes[0].status, TaskStatus::Failed);
        assert_eq!(summary.nodes[0].reason.as_deref(), Some("no rows"));
    }

    #[test]
    fn many_hits_are_counted_and_not_listed() {
        let mut summary = RunSummary::new();
        for node in 0..1000 {
            let name = format!("n{node}");
            summary.add(&finished(&name, &name, TaskStatus::Hit, 0.0, None));
        }
        assert_eq!(summary.nodes_text(&Screen::PLAIN, 30), "1,000 hits not shown\n");
    }

    #[test]
    fn a_metric_stands_beside_its_baseline() {
        let metrics = BTreeMap::from([
            ("accuracy".to_owned(), score(0.75, 0.70, 0.80)),
            ("baseline.accuracy".to_owned(), score(0.70, 0.66, 0.74)),
            ("auc".to_owned(), score(0.80, 0.75, 0.85)),
            ("baseline.auc".to_owned(), MetricValue { value: 0.5, low: None, high: None }),
            ("rows".to_owned(), MetricValue { value: 200.0, low: None, high: None }),
            ("modality.photo.auc".to_owned(), score(0.6, 0.5, 0.7)),
        ]);
        let mut summary = RunSummary::new();
        summary.metrics.insert("quality".into(), metrics);
        let expected = "\
quality
metric     value    95 % interval  baseline     its interval
accuracy  0.7500  0.7000 – 0.8000    0.7000  0.6600 – 0.7400  overlaps its baseline
auc       0.8000  0.7500 – 0.8500    0.5000
rows         200
";
        let text = summary.metrics_text(&Screen::PLAIN);
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn the_paired_difference_decides() {
        let mut metrics = BTreeMap::from([
            ("f1".to_owned(), score(0.75, 0.70, 0.80)),
            ("baseline.f1".to_owned(), score(0.70, 0.66, 0.74)),
            ("difference.f1".to_owned(), score(0.05, 0.01, 0.09)),
        ]);
        assert_eq!(metric_rows(&metrics).len(), 1);
        assert_eq!(metric_rows(&metrics)[0].comparison, Comparison::Apart);
        metrics.insert("difference.f1".into(), score(0.05, -0.01, 0.09));
        assert_eq!(metric_rows(&metrics)[0].comparison, Comparison::Overlap);
    }

    #[test]
    fn the_verdict_names_the_run() {
        let mut summary = RunSummary::new();
        summary.add(&Event::RunFinished {
            status: RunStatus::Succeeded,
            run: "r1".into(),
            seconds: 0.31,
            nodes: BTreeMap::new(),
            metrics: BTreeMap::new(),
        });
        assert_eq!(summary.verdict(&Screen::PLAIN), "✓ succeeded in 0.31 s: nothing to do (run r1)");
    }
}
