//! The kind `evaluate.regression`: how far predicted numbers are off, and how sure one can be of it.

use std::collections::BTreeMap;

use engine_core::{ArtifactKind, NumericClass, Part, Seed, Serving};
use engine_table::report::{Axis, LinesSection, Mark, ReportPage, Section, Series};
use engine_table::{
    Arity, Context, Describe, Files, InputPort, InputTypes, NodeError, OutputPort, Prediction, Problem, Reduce,
    ReduceInputs, Reduction, RowFilter,
};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::modalities::{self, Better, Modalities, ModalityScores, Shown};
use super::scored::{MODEL, ScoredOn, ToScore, default_resamples, step};
use super::sections::{self, Compared, Metrics, artifacts, compared, metrics, with_differences};
use crate::model::rows::with_value;
use crate::model::target::values;
use crate::model::trained::{AllPredicted, Head, Predicted, TrainedModel};
use crate::scores::bootstrap;
use crate::scores::regression::{AGAINST_MEAN, NAMES, Scorer, median};

/// Scores a model that predicts numbers on the test rows, beside a trivial baseline on the same rows; with `on` on the
/// validation rows.
///
/// The scores are the root mean squared error, the mean absolute error, R², the mean squared error and the median
/// absolute error, defined as in scikit-learn.
///
/// The baseline predicts one number for every row: the mean of the train rows where squares are scored (`rmse`, `mse`,
/// `r2`), their median where absolute errors are. Every score, the baseline's (`baseline.NAME`) and the difference
/// between the two (`difference.NAME`) have 95 % intervals from resampling the scored rows. Only if the interval of a
/// difference leaves out 0 is the model better or worse than the baseline beyond the chance of these rows.
///
/// Of a model of several modalities, the root mean squared error, the mean absolute error and R² are also given of each
/// modality by its own head (`modality.NODE.NAME`), and of the best of them (`best_modality.NAME`), with the interval
/// of the joint prediction's less its own (`best_modality_difference.NAME`). The best one is chosen, score by score, on
/// the validation rows, so that the scored rows have no say in it; without other rows to choose on it is chosen on the
/// scored rows, and the report says so.
///
/// Rows without a target are left out. Every row counts the same, whatever its weight. The report shows the scores,
/// the truth by prediction, and the errors by prediction.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegressionOptions {
    /// Which rows are scored.
    #[serde(default)]
    pub on: ScoredOn,

    /// How many resamples the intervals come from.
    #[serde(default = "default_resamples")]
    #[schemars(range(min = 100, max = 100_000))]
    pub resamples: usize,
}

/// The kind `evaluate.regression`.
pub struct Regression {
    options: RegressionOptions,
}

impl Describe for Regression {
    const KIND: &'static str = "evaluate.regression";
    const VERSION: u32 = 3;
    const EXAMPLE: &'static str = r"fuseline: 1
name: prices
nodes:
  flats:
    uses: ingest.csv
    with: {path: flats.csv, schema: {rooms: int, area: float, price: float}, roles: {price: target}}
  split: {uses: split.random, with: {shares: {train: 0.7, validation: 0.15, test: 0.15}}, in: flats}
  scaled: {uses: encode.standardize, with: {columns: [rooms, area]}, in: split}
  flat: {uses: encode.table, with: {columns: [rooms, area]}, in: scaled}
  price: {uses: train.multimodal, with: {target: price}, in: {encoders: [flat]}}
  quality: {uses: evaluate.regression, in: price}
";
    const SERVING: Serving = Serving::Refuse;
    const NUMERICS: NumericClass = NumericClass::Kernel;
    const RANDOM: bool = true;
    type Options = RegressionOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new(MODEL, ArtifactKind::Model, Arity::One)]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Metrics), OutputPort::of(ArtifactKind::Report)]
    }

    fn new(options: RegressionOptions) -> Result<Self, Vec<Problem>> {
        Ok(Regression { options })
    }
}

impl Reduce for Regression {
    fn infer(&self, inputs: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        self.options.on.reduction(inputs, Prediction::Value, "evaluate.classification")
    }

    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let model = TrainedModel::load(&inputs.artifact(MODEL)?.files)?;
        let train = inputs.rows(MODEL, RowFilter::Part(Part::Train))?;
        let scored = Scored::new(&model, train, &self.options.on.rows(inputs, &model.columns().target)?)?;
        for warning in scored.warnings() {
            context.progress.warning(&warning);
        }
        let scores = scored.scores(self.options.resamples, context.seed, context)?;
        artifacts(&scores.metrics(), &scored.page(&scores))
    }
}

/// The scores of single modalities.
const SHOWN: &[Shown] = &[
    Shown { name: NAMES[0], place: 0, better: Better::Lower },
    Shown { name: NAMES[1], place: 1, better: Better::Lower },
    Shown { name: NAMES[2], place: 2, better: Better::Higher },
];

/// Rows with what the model says of them, and the constants of the baseline.
struct Scored {
    part: Part,
    target: String,
    truth: Vec<f64>,
    predictions: Vec<f64>,
    train_mean: f64,
    train_median: f64,
    left_out: usize,
    /// What a reader must know of the modalities in these rows.
    remarks: Vec<String>,
    /// What the heads of single modalities say; empty for a model of one.
    heads: Vec<Vec<f64>>,
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

/// What a model and the heads of its modalities say of rows.
fn said(model: &TrainedModel, rows: &DataFrame) -> Result<(Vec<f64>, Vec<(Head, Vec<f64>)>), NodeError> {
    let values = |predicted| match predicted {
        Predicted::Values(values) => Ok(values),
        Predicted::Probabilities(_) => {
            Err(NodeError::Failed("the model predicts a class; use `evaluate.classification`".to_owned()))
        }
    };
    let AllPredicted { joint, heads } = model.predict_all(rows)?;
    let heads = heads.into_iter().map(|(head, predicted)| Ok((head, values(predicted)?)));
    Ok((values(joint)?, heads.collect::<Result<_, NodeError>>()?))
}

impl Scored {
    fn new(model: &TrainedModel, train: &DataFrame, to_score: &ToScore) -> Result<Scored, NodeError> {
        let target = &model.columns().target;
        let train = values(&with_value(train, target)?.0, target)?;
        let (predictions, heads) = said(model, &to_score.rows)?;
        let truth = values(&to_score.rows, target)?;
        let once = |truth: &[f64], said: &[(Head, Vec<f64>)]| -> Vec<Vec<Option<f64>>> {
            said.iter().map(|(_, head)| Scorer::new(truth, head).scores(&vec![1; truth.len()])).collect()
        };
        let (chosen_on, choice) = match &to_score.choice {
            Some(rows) if !heads.is_empty() => (Part::Validation, once(&values(rows, target)?, &said(model, rows)?.1)),
            _ => (to_score.part, once(&truth, &heads)),
        };
        let (heads, head_values) = heads.into_iter().unzip();
        let Some(train_median) = median(&train) else {
            return Err(NodeError::Failed(format!("no train row has a value of `{target}` to make a baseline from")));
        };
        Ok(Scored {
            part: to_score.part,
            target: target.clone(),
            truth,
            predictions,
            train_mean: train.iter().sum::<f64>() / train.len() as f64,
            train_median,
            left_out: to_score.left_out,
            remarks: modalities::remarks(model.columns(), &to_score.rows, to_score.part)?,
            modalities: Modalities::new(SHOWN, heads, &choice, chosen_on, to_score.part),
            heads: head_values,
        })
    }

    fn warnings(&self) -> Vec<String> {
        let Scored { part, target, left_out, .. } = self;
        if *left_out == 0 {
            Vec::new()
        } else {
            vec![format!("{left_out} {part} rows have no `{target}` and are left out")]
        }
    }

    fn scores(&self, resamples: usize, seed: Seed, context: &Context) -> Result<Scores, NodeError> {
        let rows = self.truth.len();
        let model = Scorer::new(&self.truth, &self.predictions);
        let constant = |value: f64| Scorer::new(&self.truth, &vec![value; rows]);
        let (mean, median) = (constant(self.train_mean), constant(self.train_median));
        let heads: Vec<Scorer> = self.heads.iter().map(|values| Scorer::new(&self.truth, values)).collect();
        let of_heads =
            |counts: &[u32]| -> Vec<Vec<Option<f64>>> { heads.iter().map(|head| head.scores(counts)).collect() };
        let baseline = |counts: &[u32]| -> Vec<Option<f64>> {
            let both = mean.scores(counts).into_iter().zip(median.scores(counts));
            both.zip(AGAINST_MEAN).map(|((mean, median), is_mean)| if is_mean { mean } else { median }).collect()
        };
        let intervals = bootstrap::intervals(
            rows,
            resamples,
            seed.derive("bootstrap"),
            |done| step(done, resamples, context),
            |counts| {
                let joint = model.scores(counts);
                let modalities = self.modalities.as_ref();
                let single = modalities.map_or_else(Vec::new, |all| all.statistics(&joint, &of_heads(counts)));
                with_differences(joint, baseline(counts)).into_iter().chain(single).collect()
            },
        )?;
        let once = vec![1; rows];
        let joint = model.scores(&once);
        let of_single = intervals.get(3 * NAMES.len()..).unwrap_or_default();
        let modalities = self.modalities.clone().map(|all| all.scores(&joint, &of_heads(&once), of_single));
        Ok(Scores { compared: compared(&NAMES, &joint, &baseline(&once), &intervals), modalities })
    }

    fn page(&self, scores: &Scores) -> ReportPage {
        let mut page = ReportPage::new(format!("regression of {}", self.target));
        let mut notes = vec![
            format!("{} {} rows.", self.truth.len(), self.part),
            format!(
                "The trivial baseline predicts the mean of the train rows, {:.6}, where squares are scored, and their \
                 median, {:.6}, where absolute errors are.",
                self.train_mean, self.train_median
            ),
        ];
        notes.extend(self.remarks.iter().cloned());
        sections::texts(&mut page, notes, self.warnings());
        page.sections.push(sections::table(
            &scores.compared,
            &format!(
                "In brackets the 95 % interval from resampled {} rows. A difference whose interval holds 0 may be chance. \
                 For all scores but R² lower is better.",
                self.part
            ),
        ));
        page.sections.extend(scores.modalities.iter().flat_map(|modalities| modalities.sections(&scores.compared)));
        page.sections.extend(self.plots());
        page
    }

    fn plots(&self) -> [Section; 2] {
        let shown = evenly(self.truth.len(), MOST_DOTS);
        let dots = |of: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
            shown.iter().map(|&row| (self.predictions[row], of(row))).collect()
        };
        let (low, high) = self
            .predictions
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
        let note = if shown.len() < self.truth.len() {
            format!("{} of {} rows, evenly picked.", shown.len(), self.truth.len())
        } else {
            String::new()
        };
        let section = |title: &str, y: String, points, reference: [(f64, f64); 2], name: &str| {
            let rows = Series { name: format!("{} rows", self.part), mark: Mark::Dots, points };
            let reference = Series { name: name.to_owned(), mark: Mark::Reference, points: reference.to_vec() };
            Section::Lines(LinesSection {
                title: title.to_owned(),
                note: note.clone(),
                x: Axis::new(format!("predicted {}", self.target)),
                y: Axis::new(y),
                series: vec![rows, reference],
            })
        };
        let error = |row: usize| self.truth[row] - self.predictions[row];
        [
            section(
                "truth by prediction",
                format!("true {}", self.target),
                dots(&|row| self.truth[row]),
                [(low, low), (high, high)],
                "perfect",
            ),
            section(
                "error by prediction",
                "truth less prediction".to_owned(),
                dots(&error),
                [(low, 0.0), (high, 0.0)],
                "no error",
            ),
        ]
    }
}

/// The most rows a plot shows.
const MOST_DOTS: usize = 1000;

/// At most `most` row numbers of `rows`, evenly spread.
fn evenly(rows: usize, most: usize) -> Vec<usize> {
    if rows <= most { (0..rows).collect() } else { (0..most).map(|place| place * rows / most).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Scored {
        Scored {
            part: Part::Validation,
            target: "price".to_owned(),
            truth: vec![3.0, -0.5, 2.0, 7.0, 4.2],
            predictions: vec![2.5, 0.0, 2.0, 8.0, 4.0],
            train_mean: 3.0,
            train_median: 2.0,
            left_out: 1,
            remarks: Vec::new(),
            heads: Vec::new(),
            modalities: None,
        }
    }

    #[test]
    fn each_score_stands_beside_the_best_constant_for_it() {
        let scores = some().scores(200, Seed::new(1), &Context::quiet()).unwrap().metrics();
        // The squared errors of 3 are 0, 12.25, 1, 16 and 1.44; the absolute errors of 2 are 1, 2.5, 0, 5 and 2.2.
        let close = |name: &str, expected: f64| assert!((scores[name].value - expected).abs() < 1e-12, "{name}");
        close("baseline.mse", 30.69 / 5.0);
        close("baseline.mae", 10.7 / 5.0);
        close("baseline.median_absolute_error", 2.2);
        close("difference.mae", 0.44 - 2.14);
        let rmse = scores["rmse"];
        assert!(rmse.low.unwrap() <= rmse.value && rmse.value <= rmse.high.unwrap());
        assert_eq!(scores.len(), 15);
    }

    #[test]
    fn each_modality_stands_beside_the_joint_prediction() {
        let head = |name: &str| Head { name: name.to_owned(), modality: "table", present: 5 };
        let heads = vec![vec![3.0; 5], vec![2.0; 5]];
        let choice: Vec<Vec<Option<f64>>> =
            heads.iter().map(|values| Scorer::new(&some().truth, values).scores(&[1; 5])).collect();
        let modalities = Modalities::new(SHOWN, vec![head("flat"), head("street")], &choice, Part::Test, Part::Test);
        let scored = Scored { heads, modalities, ..some() };
        let scores = scored.scores(200, Seed::new(1), &Context::quiet()).unwrap();
        let metrics = scores.metrics();
        // Squared errors of 3 and 2 sum to 30.69 and 36.69; absolute errors to 10.7 (of 2) and 9.7 (of 3).
        let close = |name: &str, expected: f64| assert!((metrics[name].value - expected).abs() < 1e-12, "{name}");
        close("modality.flat.rmse", (30.69_f64 / 5.0).sqrt());
        close("modality.street.mae", 10.7 / 5.0);
        close("best_modality.rmse", (30.69_f64 / 5.0).sqrt());
        close("best_modality_difference.mae", 0.44 - 9.7 / 5.0);
        let text = serde_json::to_string(&scored.page(&scores)).unwrap();
        assert!(
            text.contains("By rmse, the joint prediction is better than the best single modality, `flat`"),
            "{text}"
        );
        assert!(text.contains("By rmse, it is better than every single modality"), "{text}");
    }

    #[test]
    fn the_page_says_what_was_left_out() {
        let scored = some();
        let page = scored.page(&scored.scores(100, Seed::new(1), &Context::quiet()).unwrap());
        let Section::Text { paragraphs, .. } = &page.sections[0] else { panic!("the warnings stand first") };
        assert_eq!(paragraphs, &["1 validation rows have no `price` and are left out"]);
        let plots = page.sections.iter().filter(|section| matches!(section, Section::Lines(_)));
        assert_eq!(plots.count(), 2);
    }

    #[test]
    fn dots_are_spread_over_all_rows() {
        assert_eq!(evenly(3, 5), [0, 1, 2]);
        assert_eq!(evenly(10, 5), [0, 2, 4, 6, 8]);
    }
}
