//! The kind `evaluate.classification`: how good a classifier is, and how sure one can be of it.

mod page;

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine_core::{ArtifactKind, LogicalType, NumericClass, Part, Progress, Seed, Serving, Unit};
use engine_table::{
    Arity, At, Context, Describe, Files, InputPort, InputTypes, NodeError, OutputPort, PortType, Prediction, Problem,
    Read, Reduce, ReduceInputs, Reduction, RowFilter,
};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sections::{Compared, artifacts, compared, metrics, with_differences};
use crate::model::codes::EVALUATE_MODEL;
use crate::model::rows::with_value;
use crate::model::target::{Classes, labels};
use crate::model::trained::{Predicted, TrainedModel};
use crate::scores::bootstrap;
use crate::scores::classification::{NAMES, Outcomes, Scorer};

/// Scores a model that predicts classes on the test rows, beside a trivial baseline on the same rows.
///
/// The scores are accuracy, balanced accuracy, F1 (macro, micro, weighted), log loss, Brier score, area under the ROC
/// curve and average precision; for two classes also precision, recall and F1 of the positive class. They are defined
/// as in scikit-learn; with more than two classes the areas are the mean over the classes, each against the rest, and
/// the Brier score is the sum over the classes.
///
/// The baseline knows nothing but how frequent each class is in the train rows: it predicts the most frequent one, with
/// the frequencies as probabilities. Every score, the baseline's (`baseline.NAME`) and the difference between the two
/// (`difference.NAME`) have 95 % intervals from resampling the test rows. Only if the interval of a difference leaves
/// out 0 is the model better or worse than the baseline beyond the chance of the test rows.
///
/// A test row of a class that the train rows do not have counts as an error, and the class is named. Test rows without a
/// target are left out. Every row counts the same, whatever its weight. The report shows the scores, precision, recall,
/// F1 and support of each class, the confusion matrix, and the ROC, precision-recall and calibration curves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassificationOptions {
    /// Of two classes the one that matters: precision, recall, F1, both areas and the curves are about it. By default
    /// `true`, or the class that is rarer in the train rows; of equally frequent ones the second by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,

    /// How many resamples the intervals come from.
    #[serde(default = "default_resamples")]
    #[schemars(range(min = 100, max = 100_000))]
    pub resamples: usize,
}

/// How many resamples an evaluation makes unless told otherwise.
pub(super) fn default_resamples() -> usize {
    1000
}

/// The port of the model.
pub(super) const MODEL: &str = "model";

/// The kind `evaluate.classification`.
pub struct Classification {
    options: ClassificationOptions,
}

impl Describe for Classification {
    const KIND: &'static str = "evaluate.classification";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: risk
nodes:
  loans:
    uses: ingest.csv
    with: {path: loans.csv, schema: {age: int, job: category, amount: float, default: bool}, roles: {default: target}}
  split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: loans}
  risk: {uses: train.logistic, with: {target: default}, in: split}
  quality: {uses: evaluate.classification, with: {resamples: 2000}, in: risk}
";
    const SERVING: Serving = Serving::Refuse;
    const NUMERICS: NumericClass = NumericClass::Kernel;
    const RANDOM: bool = true;
    type Options = ClassificationOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new(MODEL, ArtifactKind::Model, Arity::One)]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Metrics), OutputPort::of(ArtifactKind::Report)]
    }

    fn new(options: ClassificationOptions) -> Result<Self, Vec<Problem>> {
        Ok(Classification { options })
    }
}

impl Reduce for Classification {
    fn infer(&self, inputs: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        scored(inputs, Prediction::Class, "evaluate.regression")
    }

    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let model = TrainedModel::load(&inputs.artifact(MODEL)?.files)?;
        let test = inputs.rows(MODEL, RowFilter::Part(Part::Test))?;
        let train = inputs.rows(MODEL, RowFilter::Part(Part::Train))?;
        let scored = Scored::new(&model, train, test, self.options.positive.as_deref())?;
        for warning in scored.warnings() {
            context.progress.warning(&warning);
        }
        let scores = scored.scores(self.options.resamples, context.seed, context)?;
        artifacts(&metrics(&scores), &page::page(&scored, &scores))
    }
}

/// What an evaluation of a model that predicts `prediction` reads and gives; `other` is the kind for other models.
pub(super) fn scored(inputs: &InputTypes, prediction: Prediction, other: &str) -> Result<Reduction, Vec<Problem>> {
    let model = inputs.model(MODEL);
    if model.prediction != prediction {
        let what = match model.prediction {
            Prediction::Class => "a class",
            Prediction::Value => "a number",
        };
        let message = format!("the model predicts {what} (`{}`), which this kind does not score", model.target.name);
        let problem = Problem::error(&EVALUATE_MODEL, At::Input(MODEL.to_owned()), message);
        return Err(vec![problem.label(format!("predicts {what}")).help(format!("use `{other}`"))]);
    }
    let target = &model.target.name;
    let test = model.reads.iter().chain([target]);
    Ok(Reduction {
        reads: vec![
            Read::new(MODEL, RowFilter::Part(Part::Test), test),
            Read::new(MODEL, RowFilter::Part(Part::Train), [target]),
        ],
        outputs: BTreeMap::from([("metrics".to_owned(), PortType::Metrics), ("report".to_owned(), PortType::Report)]),
    })
}

/// The test rows that have a target; an error if there are none.
pub(super) fn test_rows(test: &DataFrame, target: &str) -> Result<(DataFrame, usize), NodeError> {
    let (rows, left_out) = with_value(test, target)?;
    if rows.height() > 0 {
        return Ok((rows, left_out));
    }
    let found = match test.height() {
        0 => "there is no test row to score".to_owned(),
        all => format!("none of the {all} test rows has a value of `{target}`"),
    };
    Err(NodeError::Failed(format!("{found}; give the split a share of test rows with targets")))
}

/// A class that the train rows do not have.
#[derive(Debug, Clone, PartialEq)]
struct Unseen {
    name: String,
    rows: u64,
}

/// Test rows with what the model and the baseline say of them.
struct Scored {
    target: String,
    /// The classes of the model, then those it has never seen.
    names: Vec<String>,
    unseen: Vec<Unseen>,
    model: Outcomes,
    baseline: Outcomes,
    /// The most frequent class of the train rows and its share there.
    majority: (String, f64),
    /// The class of interest of a model of two classes.
    positive: Option<u32>,
    left_out: usize,
}

impl Scored {
    fn new(
        model: &TrainedModel,
        train: &DataFrame,
        test: &DataFrame,
        positive: Option<&str>,
    ) -> Result<Scored, NodeError> {
        let (target, logical) = (&model.columns().target, &model.columns().logical);
        let classes = model
            .classes()
            .ok_or_else(|| NodeError::Failed("the model predicts a number; use `evaluate.regression`".to_owned()))?;
        let (train, _) = with_value(train, target)?;
        let frequencies = frequencies(&labels(&train, target, logical)?, classes);
        let (rows, left_out) = test_rows(test, target)?;
        let Predicted::Probabilities(probabilities) = model.predict(&rows)? else {
            return Err(NodeError::Failed("the model predicts a number; use `evaluate.regression`".to_owned()));
        };
        let (truth, unseen) = truth(&labels(&rows, target, logical)?, classes, logical);
        let positive = positive_class(positive, classes, logical, &frequencies)?;
        let known = classes.len();
        let outcomes = Outcomes::new(known, known + unseen.len(), truth, probabilities);
        let shares = shares(&frequencies);
        let majority = crate::scores::classification::most_probable(&shares);
        let names = classes.names().iter().cloned().chain(unseen.iter().map(|class| class.name.clone())).collect();
        Ok(Scored {
            target: target.clone(),
            names,
            unseen,
            baseline: outcomes.of_constant(&shares),
            model: outcomes,
            majority: (classes.names()[majority].clone(), shares[majority]),
            positive,
            left_out,
        })
    }

    /// What a person should read of these rows.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.left_out > 0 {
            let target = &self.target;
            warnings.push(format!("{} test rows have no `{target}` and are left out", self.left_out));
        }
        for Unseen { name, rows } in &self.unseen {
            warnings.push(format!(
                "the class `{name}` is in {rows} test rows and in no train row, so the model cannot predict it; each of \
                 these rows counts as an error"
            ));
        }
        warnings
    }

    fn scores(&self, resamples: usize, seed: Seed, context: &Context) -> Result<Vec<Compared>, NodeError> {
        let (model, baseline) = (Scorer::new(&self.model, self.positive), Scorer::new(&self.baseline, self.positive));
        let rows = self.model.rows();
        let intervals = bootstrap::intervals(
            rows,
            resamples,
            seed.derive("bootstrap"),
            |done| step(done, resamples, context),
            |counts| with_differences(model.scores(counts), baseline.scores(counts)),
        )?;
        let once = vec![1; rows];
        Ok(compared(&NAMES, &model.scores(&once), &baseline.scores(&once), &intervals))
    }
}

/// Tells the engine how far the resampling is; stops if the task is cancelled.
pub(super) fn step(done: usize, resamples: usize, context: &Context) -> Result<(), NodeError> {
    context.cancel.check()?;
    if done.is_multiple_of(100) {
        let (done, total) = (done as u64, Some(resamples as u64));
        context.progress.progress(Progress { done, total, unit: Unit::Steps, values: BTreeMap::new() });
    }
    Ok(())
}

/// How many train rows each class of the model has.
fn frequencies(labels: &[Cow<'_, str>], classes: &Classes) -> Vec<u64> {
    let mut rows = vec![0; classes.len()];
    for class in labels.iter().filter_map(|label| classes.number(label)) {
        rows[class as usize] += 1;
    }
    rows
}

/// The share of each class; equal shares if there is no train row.
fn shares(frequencies: &[u64]) -> Vec<f64> {
    let total: u64 = frequencies.iter().sum();
    let share = |rows: &u64| if total == 0 { 1.0 / frequencies.len() as f64 } else { *rows as f64 / total as f64 };
    frequencies.iter().map(share).collect()
}

/// The class of each row by number; classes the model does not know follow those it does.
fn truth(labels: &[Cow<'_, str>], classes: &Classes, logical: &LogicalType) -> (Vec<u32>, Vec<Unseen>) {
    let strangers = labels.iter().map(AsRef::as_ref).filter(|label| classes.number(label).is_none());
    let strangers = Classes::of(strangers, logical);
    let mut unseen: Vec<Unseen> = strangers.names().iter().map(|name| Unseen { name: name.clone(), rows: 0 }).collect();
    let mut truth = Vec::with_capacity(labels.len());
    for label in labels {
        match (classes.number(label), strangers.number(label)) {
            (Some(class), _) => truth.push(class),
            (None, stranger) => {
                let stranger = stranger.unwrap_or_default();
                unseen[stranger as usize].rows += 1;
                truth.push(classes.len() as u32 + stranger);
            }
        }
    }
    (truth, unseen)
}

/// The class of interest of a model of two classes.
fn positive_class(
    named: Option<&str>,
    classes: &Classes,
    logical: &LogicalType,
    frequencies: &[u64],
) -> Result<Option<u32>, NodeError> {
    let listing = || {
        let names: Vec<String> = classes.names().iter().take(20).map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    match (named, frequencies) {
        (Some(name), [_, _]) => classes.number(name).map(Some).ok_or_else(|| {
            NodeError::Failed(format!("`positive` is `{name}`, and the classes of the model are {}", listing()))
        }),
        (Some(name), _) => Err(NodeError::Failed(format!(
            "`positive` is `{name}`, but the model has {} classes ({}); a positive class is one of two, so leave the option \
             out",
            classes.len(),
            listing()
        ))),
        (None, [first, second]) => Ok(Some(u32::from(*logical == LogicalType::Bool || first >= second))),
        (None, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
