//! The kind `evaluate.cross_validate`: the scores of every fold, joined.

use std::collections::{BTreeMap, BTreeSet};

use engine_core::{ArtifactKind, MetricValue, Serving};
use engine_table::report::{Bar, BarsSection, Cell, ReportPage, Section, TableSection};
use engine_table::{
    Arity, At, Context, Describe, Expand, Files, InputPort, InputTypes, Instance, NodeError, OutputPort, Override,
    PortType, Problem, Reduce, ReduceInputs, Reduction, Slice,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sections::{Metrics, artifacts, read_metrics, texts};
use crate::model::codes::EVALUATE_FOLDS;
use crate::scores::student;

/// Runs everything between the nearest `split.folds` above and the scores once for each fold, and joins the scores.
///
/// In each run one fold is the test rows and everything fitted is fitted anew on the others, so every row is scored
/// once, by a model that has not seen it. Nodes above the split, and nodes that no fold changes, run once for all.
///
/// Each metric is the mean over the folds, with the 95 % interval of that mean by Student's t. The folds share most of
/// their train rows, so the interval is rather too narrow; it says how steady the score is, not how good the model
/// would be on other data. `std.NAME` is the standard deviation over the folds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrossValidateOptions {}

const METRICS: &str = "metrics";

/// The kind that deals the folds, and its options.
const FOLDS: (&str, &str, &str) = ("split.folds", "folds", "fold");

/// The kind `evaluate.cross_validate`.
pub struct CrossValidate;

impl Describe for CrossValidate {
    const KIND: &'static str = "evaluate.cross_validate";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: risk
nodes:
  loans:
    uses: ingest.csv
    with: {path: loans.csv, schema: {age: int, job: category, amount: float, default: bool}, roles: {default: target}}
  folds: {uses: split.folds, with: {folds: 5, stratify: default}, in: loans}
  risk: {uses: train.logistic, with: {target: default}, in: folds}
  quality: {uses: evaluate.classification, in: risk}
  folded_quality: {uses: evaluate.cross_validate, in: quality}
";
    const SERVING: Serving = Serving::Refuse;
    type Options = CrossValidateOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new(METRICS, ArtifactKind::Metrics, Arity::One)]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Metrics), OutputPort::of(ArtifactKind::Report)]
    }

    fn new(_: CrossValidateOptions) -> Result<Self, Vec<Problem>> {
        Ok(CrossValidate)
    }
}

impl Reduce for CrossValidate {
    fn infer(&self, _: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        Ok(Reduction {
            reads: Vec::new(),
            outputs: BTreeMap::from([
                ("metrics".to_owned(), PortType::Metrics),
                ("report".to_owned(), PortType::Report),
            ]),
        })
    }

    fn run(&self, inputs: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let mut folds = Vec::new();
        // Named by their place: the same folds may lie in several trials, under the names of any of them.
        for (number, artifact) in inputs.artifacts(METRICS).iter().enumerate() {
            folds.push(Fold { name: format!("{}={number}", FOLDS.2), metrics: read_metrics(&artifact.files)? });
        }
        let joined = joined(&folds);
        artifacts(&metrics(&joined), &page(&folds, &joined))
    }
}

impl Expand for CrossValidate {
    fn ports(&self) -> Vec<&'static str> {
        vec![METRICS]
    }

    fn instances(&self, slice: &Slice) -> Result<Vec<Instance>, Vec<Problem>> {
        let (kind, count, fold) = FOLDS;
        // The slice is in topological order, so the last is the nearest.
        let Some(split) = slice.nodes.iter().rfind(|node| node.kind == kind) else {
            let message = format!("there is no `{kind}` above this node, so there are no folds to go through");
            return Err(vec![
                Problem::error(&EVALUATE_FOLDS, At::Input(METRICS.to_owned()), message)
                    .label("no folds above")
                    .help(format!("put `uses: {kind}` in the place of the split")),
            ]);
        };
        let folds = split.options[count].as_u64().unwrap_or(0);
        Ok((0..folds)
            .map(|number| Instance {
                name: format!("{fold}={number}"),
                overrides: vec![Override::new(&split.id, fold, number)],
            })
            .collect())
    }
}

/// The metrics of one fold.
struct Fold {
    name: String,
    metrics: Metrics,
}

/// A metric over the folds.
#[derive(Debug, Clone, PartialEq)]
struct Joined {
    name: String,
    /// Its value in each fold that has it.
    values: Vec<f64>,
    mean: student::Mean,
}

fn joined(folds: &[Fold]) -> Vec<Joined> {
    let names: BTreeSet<&String> = folds.iter().flat_map(|fold| fold.metrics.keys()).collect();
    let join = |name: &String| {
        let values: Vec<f64> = folds.iter().filter_map(|fold| Some(fold.metrics.get(name)?.value)).collect();
        Some(Joined { name: name.clone(), mean: student::mean(&values)?, values })
    };
    names.into_iter().filter_map(join).collect()
}

fn metric(mean: &student::Mean) -> MetricValue {
    let (low, high) = mean.interval.unzip();
    MetricValue { value: mean.mean, low, high }
}

fn metrics(joined: &[Joined]) -> Metrics {
    let mut metrics = Metrics::new();
    for Joined { name, mean, .. } in joined {
        metrics.insert(name.clone(), metric(mean));
        let deviation = mean.deviation.map(|value| MetricValue { value, low: None, high: None });
        metrics.extend(deviation.map(|value| (format!("std.{name}"), value)));
    }
    metrics
}

/// Metrics that compare with the baseline stand in the table only.
fn is_own(name: &str) -> bool {
    !name.contains('.')
}

fn page(folds: &[Fold], joined: &[Joined]) -> ReportPage {
    let mut page = ReportPage::new(format!("cross-validation over {} folds", folds.len()));
    let partial: Vec<String> = joined
        .iter()
        .filter(|metric| metric.values.len() < folds.len() && is_own(&metric.name))
        .map(|metric| format!("`{}` exists in {} of {} folds.", metric.name, metric.values.len(), folds.len()))
        .collect();
    let notes = vec!["Each fold was scored by a model trained on the others.".to_owned()];
    texts(&mut page, notes, partial);
    page.sections.push(Section::Table(table(folds, joined)));
    let shown = joined.iter().filter(|metric| metric.name == "roc_auc" || metric.name == "r2");
    page.sections.extend(shown.map(|metric| Section::Bars(bars(folds, metric))));
    page
}

fn table(folds: &[Fold], joined: &[Joined]) -> TableSection {
    let mut columns = vec!["score".to_owned(), "mean".to_owned(), "standard deviation".to_owned()];
    columns.extend(folds.iter().map(|fold| fold.name.clone()));
    let row = |joined: &Joined| {
        let mut row = vec![
            Cell::text(joined.name.replace('_', " ")),
            Cell::Metric(metric(&joined.mean)),
            joined.mean.deviation.map_or(Cell::Empty, Cell::number),
        ];
        let value = |fold: &Fold| fold.metrics.get(&joined.name).map_or(Cell::Empty, |value| Cell::number(value.value));
        row.extend(folds.iter().map(value));
        row
    };
    TableSection {
        title: "scores".to_owned(),
        note: "In brackets the 95 % interval of the mean by Student's t. The folds share most of their train rows, so it is \
               rather too narrow."
            .to_owned(),
        columns,
        rows: joined.iter().map(row).collect(),
    }
}

fn bars(folds: &[Fold], joined: &Joined) -> BarsSection {
    let bar = |fold: &Fold| Some(Bar { name: fold.name.clone(), value: *fold.metrics.get(&joined.name)? });
    BarsSection {
        title: format!("{} by fold", joined.name.replace('_', " ")),
        note: "With the interval of each fold's own evaluation.".to_owned(),
        value_label: joined.name.replace('_', " "),
        bars: folds.iter().filter_map(bar).collect(),
    }
}

#[cfg(test)]
mod tests {
    use engine_core::Seed;
    use engine_table::SliceNode;
    use serde_json::json;

    use super::*;

    fn node(id: &str, kind: &str, options: serde_json::Value) -> SliceNode {
        SliceNode { id: id.to_owned(), kind: kind.to_owned(), options, reads: Vec::new() }
    }

    #[test]
    fn the_nearest_folds_are_gone_through() {
        let slice = Slice {
            nodes: vec![
                node("far", "split.folds", json!({"folds": 9, "fold": 0})),
                node("near", "split.folds", json!({"folds": 3, "fold": 0})),
                node("model", "train.logistic", json!({})),
            ],
            seed: Seed::new(0),
        };
        let instances = CrossValidate.instances(&slice).unwrap();
        assert_eq!(
            instances.iter().map(|instance| instance.name.as_str()).collect::<Vec<_>>(),
            ["fold=0", "fold=1", "fold=2"]
        );
        assert_eq!(instances[2].overrides, [Override::new("near", "fold", 2)]);
    }

    #[test]
    fn without_folds_the_way_out_is_named() {
        let slice = Slice { nodes: vec![node("split", "split.random", json!({}))], seed: Seed::new(0) };
        let problems = CrossValidate.instances(&slice).unwrap_err();
        assert_eq!(problems[0].code.name, "evaluate.folds");
        assert!(problems[0].help[0].contains("split.folds"));
    }

    fn folds(values: &[Option<f64>]) -> Vec<Fold> {
        let fold = |(number, value): (usize, &Option<f64>)| {
            let mut metrics = Metrics::new();
            metrics.insert("accuracy".to_owned(), MetricValue { value: 0.5, low: None, high: None });
            metrics.extend(value.map(|value| ("roc_auc".to_owned(), MetricValue { value, low: None, high: None })));
            Fold { name: format!("fold={number}"), metrics }
        };
        values.iter().enumerate().map(fold).collect()
    }

    #[test]
    fn a_metric_is_its_mean_with_the_interval_of_the_mean() {
        let folds = folds(&[0.78, 0.81, 0.76, 0.80, 0.79].map(Some));
        let metrics = metrics(&joined(&folds));
        // The interval is checked against scipy in `scores::student`.
        assert!((metrics["roc_auc"].value - 0.788).abs() < 1e-12);
        assert!((metrics["roc_auc"].low.unwrap() - 0.7641).abs() < 1e-4);
        assert!((metrics["std.roc_auc"].value - 0.019_235).abs() < 1e-6);
        assert_eq!(metrics["accuracy"], MetricValue { value: 0.5, low: Some(0.5), high: Some(0.5) });
    }

    #[test]
    fn a_metric_that_some_folds_lack_is_said_to_be_partial() {
        let folds = folds(&[Some(0.8), None, Some(0.6)]);
        let joined = joined(&folds);
        assert!((metrics(&joined)["roc_auc"].value - 0.7).abs() < 1e-12);
        let page = page(&folds, &joined);
        let Section::Text { paragraphs, .. } = &page.sections[0] else { panic!("the warnings stand first") };
        assert_eq!(paragraphs, &["`roc_auc` exists in 2 of 3 folds."]);
        let Section::Table(table) = &page.sections[2] else { panic!("then the scores") };
        assert_eq!(table.rows[1][4], Cell::Empty);
    }
}
