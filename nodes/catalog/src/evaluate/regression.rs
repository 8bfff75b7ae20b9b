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

use super::scored::{MODEL, ScoredOn, ToScore, default_resamples, step};
use super::sections::{self, Compared, artifacts, compared, metrics, with_differences};
use crate::model::rows::with_value;
use crate::model::target::values;
use crate::model::trained::{Predicted, TrainedModel};
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
    const VERSION: u32 = 1;
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
        artifacts(&metrics(&scores), &scored.page(&scores))
    }
}

/// Rows with what the model says of them, and the constants of the baseline.
struct Scored {
    part: Part,
    target: String,
    truth: Vec<f64>,
    predictions: Vec<f64>,
    train_mean: f64,
    train_median: f64,
    left_out: usize,
}

impl Scored {
    fn new(model: &TrainedModel, train: &DataFrame, to_score: &ToScore) -> Result<Scored, NodeError> {
        let target = &model.columns().target;
        let train = values(&with_value(train, target)?.0, target)?;
        let Predicted::Values(predictions) = model.predict(&to_score.rows)? else {
            return Err(NodeError::Failed("the model predicts a class; use `evaluate.classification`".to_owned()));
        };
        let Some(train_median) = median(&train) else {
            return Err(NodeError::Failed(format!("no train row has a value of `{target}` to make a baseline from")));
        };
        Ok(Scored {
            part: to_score.part,
            target: target.clone(),
            truth: values(&to_score.rows, target)?,
            predictions,
            train_mean: train.iter().sum::<f64>() / train.len() as f64,
            train_median,
            left_out: to_score.left_out,
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

    fn scores(&self, resamples: usize, seed: Seed, context: &Context) -> Result<Vec<Compared>, NodeError> {
        let rows = self.truth.len();
        let model = Scorer::new(&self.truth, &self.predictions);
        let constant = |value: f64| Scorer::new(&self.truth, &vec![value; rows]);
        let (mean, median) = (constant(self.train_mean), constant(self.train_median));
        let baseline = |counts: &[u32]| -> Vec<Option<f64>> {
            let both = mean.scores(counts).into_iter().zip(median.scores(counts));
            both.zip(AGAINST_MEAN).map(|((mean, median), is_mean)| if is_mean { mean } else { median }).collect()
        };
        let intervals = bootstrap::intervals(
            rows,
            resamples,
            seed.derive("bootstrap"),
            |done| step(done, resamples, context),
            |counts| with_differences(model.scores(counts), baseline(counts)),
        )?;
        let once = vec![1; rows];
        Ok(compared(&NAMES, &model.scores(&once), &baseline(&once), &intervals))
    }

    fn page(&self, scores: &[Compared]) -> ReportPage {
        let mut page = ReportPage::new(format!("regression of {}", self.target));
        let notes = vec![
            format!("{} {} rows.", self.truth.len(), self.part),
            format!(
                "The trivial baseline predicts the mean of the train rows, {:.6}, where squares are scored, and their \
                 median, {:.6}, where absolute errors are.",
                self.train_mean, self.train_median
            ),
        ];
        sections::texts(&mut page, notes, self.warnings());
        page.sections.push(sections::table(
            scores,
            &format!(
                "In brackets the 95 % interval from resampled {} rows. A difference whose interval holds 0 may be chance. \
                 For all scores but R² lower is better.",
                self.part
            ),
        ));
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
        }
    }

    #[test]
    fn each_score_stands_beside_the_best_constant_for_it() {
        let scores = metrics(&some().scores(200, Seed::new(1), &Context::quiet()).unwrap());
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
