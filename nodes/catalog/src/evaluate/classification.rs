//! The kind `evaluate.classification`: how good a classifier is, and how sure one can be of it.

mod page;

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine_core::{ArtifactKind, LogicalType, NumericClass, Part, Seed, Serving};
use engine_table::{
    Arity, Context, Describe, Files, InputPort, InputTypes, NodeError, OutputPort, Prediction, Problem, Reduce,
    ReduceInputs, Reduction, RowFilter,
};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::modalities::{self, Better, Modalities, ModalityScores, Shown};
use super::scored::{MODEL, ScoredOn, ToScore, default_resamples, step};
use super::sections::{Compared, Metrics, artifacts, compared, metrics, with_differences};
use crate::model::rows::with_value;
use crate::model::target::{Classes, labels};
use crate::model::trained::{AllPredicted, Head, Predicted, TrainedModel};
use crate::scores::bootstrap;
use crate::scores::classification::{NAMES, Outcomes, Scorer};

/// Scores a model that predicts classes on the test rows, beside a trivial baseline on the same rows; with `on` on the
/// validation rows.
///
/// The scores are accuracy, balanced accuracy, F1 (macro, micro, weighted), log loss, Brier score, area under the ROC
/// curve and average precision; for two classes also precision, recall and F1 of the positive class. They are defined
/// as in scikit-learn; with more than two classes the areas are the mean over the classes, each against the rest, and
/// the Brier score is the sum over the classes.
///
/// The baseline knows nothing but how frequent each class is in the train rows: it predicts the most frequent one, with
/// the frequencies as probabilities. Every score, the baseline's (`baseline.NAME`) and the difference between the two
/// (`difference.NAME`) have 95 % intervals from resampling the scored rows. Only if the interval of a difference leaves
/// out 0 is the model better or worse than the baseline beyond the chance of these rows.
///
/// Of a model of several modalities, accuracy, macro F1, balanced accuracy, log loss and area under the ROC curve are
/// also given of each modality by its own head (`modality.NODE.NAME`), and of the best of them (`best_modality.NAME`),
/// with the interval of what the joint prediction has over it (`best_modality_difference.NAME`). The best one is
/// chosen, score by score, on the validation rows, so that the scored rows have no say in it; without other rows to
/// choose on it is chosen on the scored rows, and the report says so. A head was trained with the joint one; a model of
/// that modality alone, trained for itself, may be somewhat better or worse.
///
/// A scored row of a class that the train rows do not have counts as an error, and the class is named. Rows without a
/// target are left out. Every row counts the same, whatever its weight. The report shows the scores, precision, recall,
/// F1 and support of each class, the confusion matrix, and the ROC, precision-recall and calibration curves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassificationOptions {
    /// Which rows are scored.
    #[serde(default)]
    pub on: ScoredOn,

    /// Of two classes the one that matters: precision, recall, F1, both areas and the curves are about it. By default
    /// `true`, or the class that is rarer in the train rows; of equally frequent ones the second by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,

    /// How many resamples the intervals come from.
    #[serde(default = "default_resamples")]
    #[schemars(range(min = 100, max = 100_000))]
    pub resamples: usize,
}

/// The kind `evaluate.classification`.
pub struct Classification {
    options: ClassificationOptions,
}

impl Describe for Classification {
    const KIND: &'static str = "evaluate.classification";
    const VERSION: u32 = 3;
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
        self.options.on.reduction(inputs, Prediction::Class, "evaluate.regression")
    }

    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let model = TrainedModel::load(&inputs.artifact(MODEL)?.files)?;
        let train = inputs.rows(MODEL, RowFilter::Part(Part::Train))?;
        let to_score = self.options.on.rows(inputs, &model.columns().target)?;
        let scored = Scored::new(&model, train, &to_score, self.options.positive.as_deref())?;
        for warning in scored.warnings() {
            context.progress.warning(&warning);
        }
        let scores = scored.scores(self.options.resamples, context.seed, context)?;
        artifacts(&scores.metrics(), &page::page(&scored, &scores))
    }
}

/// The scores of single modalities.
const SHOWN: &[Shown] = &[
    Shown { name: NAMES[0], place: 0, better: Better::Higher },
    Shown { name: NAMES[2], place: 2, better: Better::Higher },
    Shown { name: NAMES[1], place: 1, better: Better::Higher },
    Shown { name: NAMES[8], place: 8, better: Better::Lower },
    Shown { name: NAMES[10], place: 10, better: Better::Higher },
];

/// A class that the train rows do not have.
#[derive(Debug, Clone, PartialEq)]
struct Unseen {
    name: String,
    rows: u64,
}

/// Rows with what the model and the baseline say of them.
struct Scored {
    part: Part,
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
    /// What a reader must know of the modalities in these rows.
    remarks: Vec<String>,
    /// What the heads of single modalities say; empty for a model of one.
    heads: Vec<Outcomes>,
    modalities: Option<Modalities>,
}

/// What is found of the scored rows.
struct Scores {
    compared: Vec<Compared>,
    modalities: Option<ModalityScores>,
}

impl Scores {
    fn metrics(&self) -> Metrics {
        let mut metrics = metrics(&self.compared);
        self.modalities.iter().for_each(|modalities| modalities.add_to(&mut metrics));
        metrics
    }
}

impl Scored {
    fn new(
        model: &TrainedModel,
        train: &DataFrame,
        to_score: &ToScore,
        positive: Option<&str>,
    ) -> Result<Scored, NodeError> {
        let (target, logical) = (&model.columns().target, &model.columns().logical);
        let rows = &to_score.rows;
        let classes = model
            .classes()
            .ok_or_else(|| NodeError::Failed("the model predicts a number; use `evaluate.regression`".to_owned()))?;
        let (train, _) = with_value(train, target)?;
        let frequencies = frequencies(&labels(&train, target, logical)?, classes);
        let positive = positive_class(positive, classes, logical, &frequencies)?;
        let Said { joint: outcomes, heads, unseen } = Said::new(model, classes, rows)?;
        let once = |said: &[(Head, Outcomes)]| -> Vec<Vec<Option<f64>>> {
            said.iter().map(|(_, head)| Scorer::new(head, positive).scores(&vec![1; head.rows()])).collect()
        };
        let (chosen_on, choice) = match &to_score.choice {
            Some(rows) if !heads.is_empty() => (Part::Validation, once(&Said::new(model, classes, rows)?.heads)),
            _ => (to_score.part, once(&heads)),
        };
        let (heads, head_outcomes) = heads.into_iter().unzip();
        let shares = shares(&frequencies);
        let majority = crate::scores::classification::most_probable(&shares);
        let names = classes.names().iter().cloned().chain(unseen.iter().map(|class| class.name.clone())).collect();
        Ok(Scored {
            part: to_score.part,
            target: target.clone(),
            names,
            unseen,
            baseline: outcomes.of_constant(&shares),
            model: outcomes,
            majority: (classes.names()[majority].clone(), shares[majority]),
            positive,
            left_out: to_score.left_out,
            remarks: modalities::remarks(model.columns(), rows, to_score.part)?,
            modalities: Modalities::new(SHOWN, heads, &choice, chosen_on, to_score.part),
            heads: head_outcomes,
        })
    }

    /// What a person should read of these rows.
    fn warnings(&self) -> Vec<String> {
        let Scored { part, target, left_out, .. } = self;
        let mut warnings = Vec::new();
        if *left_out > 0 {
            warnings.push(format!("{left_out} {part} rows have no `{target}` and are left out"));
        }
        for Unseen { name, rows } in &self.unseen {
            warnings.push(format!(
                "the class `{name}` is in {rows} {part} rows and in no train row, so the model cannot predict it; each of \
                 these rows counts as an error"
            ));
        }
        warnings
    }

    fn scores(&self, resamples: usize, seed: Seed, context: &Context) -> Result<Scores, NodeError> {
        let scorer = |outcomes| Scorer::new(outcomes, self.positive);
        let (model, baseline) = (scorer(&self.model), scorer(&self.baseline));
        let heads: Vec<Scorer<'_>> = self.heads.iter().map(scorer).collect();
        let of_heads =
            |counts: &[u32]| -> Vec<Vec<Option<f64>>> { heads.iter().map(|head| head.scores(counts)).collect() };
        let rows = self.model.rows();
        let intervals = bootstrap::intervals(
            rows,
            resamples,
            seed.derive("bootstrap"),
            |done| step(done, resamples, context),
            |counts| {
                let joint = model.scores(counts);
                let modalities = self.modalities.as_ref();
                let single = modalities.map_or_else(Vec::new, |all| all.statistics(&joint, &of_heads(counts)));
                with_differences(joint, baseline.scores(counts)).into_iter().chain(single).collect()
            },
        )?;
        let once = vec![1; rows];
        let joint = model.scores(&once);
        let of_single = intervals.get(3 * NAMES.len()..).unwrap_or_default();
        let modalities = self.modalities.clone().map(|all| all.scores(&joint, &of_heads(&once), of_single));
        Ok(Scores { compared: compared(&NAMES, &joint, &baseline.scores(&once), &intervals), modalities })
    }
}

/// What a model and the heads of its modalities say of rows that have a target.
struct Said {
    joint: Outcomes,
    heads: Vec<(Head, Outcomes)>,
    unseen: Vec<Unseen>,
}

impl Said {
    fn new(model: &TrainedModel, classes: &Classes, rows: &DataFrame) -> Result<Said, NodeError> {
        let (target, logical) = (&model.columns().target, &model.columns().logical);
        let (truth, unseen) = truth(&labels(rows, target, logical)?, classes, logical);
        let known = classes.len();
        let outcomes = |predicted| match predicted {
            Predicted::Probabilities(values) => Ok(Outcomes::new(known, known + unseen.len(), truth.clone(), values)),
            Predicted::Values(_) => {
                Err(NodeError::Failed("the model predicts a number; use `evaluate.regression`".to_owned()))
            }
        };
        let AllPredicted { joint, heads } = model.predict_all(rows)?;
        let joint = outcomes(joint)?;
        let heads = heads.into_iter().map(|(head, predicted)| Ok((head, outcomes(predicted)?)));
        let heads = heads.collect::<Result<_, NodeError>>()?;
        Ok(Said { joint, heads, unseen })
    }
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
