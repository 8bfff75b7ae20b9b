//! Parts of a report that evaluations share.

use std::collections::BTreeMap;

use engine_core::MetricValue;
use engine_table::report::{Cell, ReportPage, Section, TableSection, Tone};
use engine_table::{Files, NodeError};

use crate::scores::bootstrap::Interval;

/// The file of a `metrics` artifact.
const METRICS_FILE: &str = "metrics.json";

/// Metrics by name; those of the trivial rival are called `baseline.NAME`, what the model gains over it
/// `difference.NAME`.
pub(crate) type Metrics = BTreeMap<String, MetricValue>;

/// A score of a model, that of the trivial rival on the same rows, and the difference between the two.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compared {
    /// The score's name.
    pub(super) name: &'static str,
    /// The model's.
    pub(super) model: MetricValue,
    /// The rival's.
    pub(super) baseline: Option<MetricValue>,
    /// The model's less the rival's, with the interval of the difference on the same resamples.
    pub(super) difference: Option<MetricValue>,
}

/// A score with its interval.
pub(super) fn metric(value: f64, interval: Option<Interval>) -> MetricValue {
    MetricValue { value, low: interval.map(|(low, _)| low), high: interval.map(|(_, high)| high) }
}

/// Joins the scores of a model, those of its rival and the intervals of model, rival and difference, in that order.
/// Scores that do not exist on these rows are left out.
pub(super) fn compared(
    names: &[&'static str],
    model: &[Option<f64>],
    baseline: &[Option<f64>],
    intervals: &[Option<Interval>],
) -> Vec<Compared> {
    let count = names.len();
    let interval = |part: usize, place: usize| intervals.get(part * count + place).copied().flatten();
    let mut all = Vec::with_capacity(count);
    for (place, &name) in names.iter().enumerate() {
        let Some(value) = model[place] else { continue };
        let rival = baseline[place];
        all.push(Compared {
            name,
            model: metric(value, interval(0, place)),
            baseline: rival.map(|rival| metric(rival, interval(1, place))),
            difference: rival.map(|rival| metric(value - rival, interval(2, place))),
        });
    }
    all
}

/// What is computed on each resample: the model's scores, the rival's, and their differences.
pub(super) fn with_differences(model: Vec<Option<f64>>, baseline: Vec<Option<f64>>) -> Vec<Option<f64>> {
    let differences: Vec<Option<f64>> = model.iter().zip(&baseline).map(|(m, b)| Some((*m)? - (*b)?)).collect();
    model.into_iter().chain(baseline).chain(differences).collect()
}

/// The scores as metrics.
pub(super) fn metrics(scores: &[Compared]) -> Metrics {
    let mut metrics = Metrics::new();
    for score in scores {
        metrics.insert(score.name.to_owned(), score.model);
        metrics.extend(score.baseline.map(|value| (format!("baseline.{}", score.name), value)));
        metrics.extend(score.difference.map(|value| (format!("difference.{}", score.name), value)));
    }
    metrics
}

/// The scores as a table.
pub(super) fn table(scores: &[Compared], note: &str) -> Section {
    let cell = |value: Option<MetricValue>| value.map_or(Cell::Empty, Cell::Metric);
    let row = |score: &Compared| {
        vec![
            Cell::text(score.name.replace('_', " ")),
            Cell::Metric(score.model),
            cell(score.baseline),
            cell(score.difference),
        ]
    };
    Section::Table(TableSection {
        title: "scores".to_owned(),
        note: note.to_owned(),
        columns: ["score", "model", "trivial baseline", "difference"].map(str::to_owned).to_vec(),
        rows: scores.iter().map(row).collect(),
    })
}

/// Sentences that say what was scored, and those that are warnings.
pub(crate) fn texts(page: &mut ReportPage, notes: Vec<String>, warnings: Vec<String>) {
    for (tone, paragraphs) in [(Tone::Warning, warnings), (Tone::Note, notes)] {
        if !paragraphs.is_empty() {
            page.sections.push(Section::Text { title: String::new(), tone, paragraphs });
        }
    }
}

/// The artifacts of an evaluation.
///
/// # Errors
/// If they cannot be written as JSON.
pub(crate) fn artifacts(metrics: &Metrics, page: &ReportPage) -> Result<BTreeMap<String, Files>, NodeError> {
    Ok(BTreeMap::from([
        ("metrics".to_owned(), Files::json(METRICS_FILE, metrics).map_err(NodeError::failed)?),
        ("report".to_owned(), page.to_files()?),
    ]))
}

/// The metrics in an artifact.
///
/// # Errors
/// If the artifact holds none.
pub(crate) fn read_metrics(files: &Files) -> Result<Metrics, NodeError> {
    files.read_json(METRICS_FILE).map_err(|error| NodeError::Failed(format!("the metrics cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_stand_beside_their_rival_and_the_difference() {
        let intervals = [Some((0.6, 0.9)), None, Some((0.4, 0.6)), None, Some((0.1, 0.4)), None];
        let model = [Some(0.75), None];
        let scores = compared(&["accuracy", "roc_auc"], &model, &[Some(0.5), Some(0.5)], &intervals);
        assert_eq!(scores.len(), 1);
        let metrics = metrics(&scores);
        assert_eq!(metrics.keys().collect::<Vec<_>>(), ["accuracy", "baseline.accuracy", "difference.accuracy"]);
        let difference = MetricValue { value: 0.25, low: Some(0.1), high: Some(0.4) };
        assert_eq!(metrics["difference.accuracy"], difference);
    }

    #[test]
    fn a_difference_needs_both() {
        let all = with_differences(vec![Some(3.0), None], vec![Some(1.0), Some(1.0)]);
        assert_eq!(all, [Some(3.0), None, Some(1.0), Some(1.0), Some(2.0), None]);
    }
}
