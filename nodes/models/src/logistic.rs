//! Logistic regression: the honest rival of every network that classifies rows.

use nodes_kernels::matrix::{View, product};
use nodes_kernels::reduction::{add_column_sums, sum_over_row_blocks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::files::{self, FilesError, ModelFiles, ModelKind};
use crate::lbfgs::{Convergence, minimise};
use crate::predictions::softmax;
use crate::training_options::ClassWeights;
use crate::weights::{Numbers, Weight, Weights};
use crate::{Design, OptionsError, Predictions, TargetError, Targets, Task};

/// Logistic regression cannot be fitted, loaded or asked.
#[derive(Debug, thiserror::Error)]
pub enum LogisticError {
    /// The options are not sound.
    #[error(transparent)]
    Options(#[from] OptionsError),

    /// The targets or weights do not fit.
    #[error(transparent)]
    Target(#[from] TargetError),

    /// There is nothing to learn from.
    #[error("there are no rows with a weight above zero")]
    NoRows,

    /// There is nothing to tell apart.
    #[error("logistic regression needs at least 2 classes, found {0}")]
    Classes(usize),

    /// The design has other columns than the model learnt from.
    #[error("the model reads {expected} columns, the design has {found}")]
    Columns {
        /// The columns of the model.
        expected: usize,
        /// The columns of the design.
        found: usize,
    },

    /// The files are not such a model.
    #[error(transparent)]
    Files(#[from] FilesError),

    /// The weights do not fit the rest of the model.
    #[error("the weights do not fit a logistic regression of {classes} classes over {columns} columns")]
    Weights {
        /// The classes by `model.json`.
        classes: usize,
        /// The columns by `model.json`.
        columns: usize,
    },
}

/// How logistic regression is fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogisticOptions {
    /// The inverse strength of the L2 penalty, scikit-learn's C: the loss is C Σ loss of a row + |coefficients|²/2, the
    /// intercept free; 1 by default.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub c: f64,

    /// How many steps the minimiser takes at most; 1000 by default.
    #[schemars(range(min = 1))]
    pub max_iterations: usize,

    /// The largest element of the gradient of the mean loss at which it stops; 1e-7 by default.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub tolerance: f64,

    /// How much the rows of each class count; all the same by default.
    pub class_weights: ClassWeights,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        LogisticOptions { c: 1.0, max_iterations: 1000, tolerance: 1e-7, class_weights: ClassWeights::Equal }
    }
}

impl LogisticOptions {
    /// Checks what the schema cannot say.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn check(&self) -> Result<(), OptionsError> {
        let positive = |name, found: f64| {
            let good = found.is_finite() && found > 0.0;
            if good { Ok(()) } else { Err(OptionsError::Range { name, found, expected: "more than 0" }) }
        };
        positive("c", self.c)?;
        positive("tolerance", self.tolerance)?;
        positive("max_iterations", self.max_iterations as f64)
    }
}

/// A fitted logistic regression.
///
/// With two classes there is one score, of the second class; with more, one score per class.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    shape: Shape,
    /// `(columns, scores)` in row-major order.
    coefficients: Vec<f64>,
    intercepts: Vec<f64>,
}

/// `model.json` of a logistic regression.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    classes: usize,
    columns: usize,
}

impl Shape {
    fn scores(self) -> usize {
        if self.classes == 2 { 1 } else { self.classes }
    }
}

impl Logistic {
    /// Fits the classes, from 0, to the rows of the design, in double precision over all rows at once.
    ///
    /// The result does not depend on the number of threads. Whether the minimum was reached is in the second value.
    ///
    /// # Errors
    /// If options, classes or weights are not sound.
    pub fn fit(
        design: &Design,
        classes: &[u32],
        class_count: usize,
        weights: Option<&[f64]>,
        options: &LogisticOptions,
    ) -> Result<(Self, Convergence), LogisticError> {
        options.check()?;
        if class_count < 2 {
            return Err(LogisticError::Classes(class_count));
        }
        let task = Task::Classification { classes: class_count };
        Targets::Classes(classes.to_vec()).check(task, design.rows(), weights)?;
        let class_weights = options.class_weights.resolve(classes, class_count)?;
        let weight = |(row, &class): (usize, &u32)| {
            weights.map_or(1.0, |weights| weights[row])
                * class_weights.as_ref().map_or(1.0, |weights| weights[class as usize])
        };
        let row_weights: Vec<f64> = classes.iter().enumerate().map(weight).collect();
        let total: f64 = row_weights.iter().sum();
        if total == 0.0 {
            return Err(LogisticError::NoRows);
        }

        let shape = Shape { classes: class_count, columns: design.columns() };
        let shares: Vec<f64> = row_weights.iter().map(|weight| weight / total).collect();
        let objective = Objective { design, classes, shares, shape, penalty: 1.0 / (options.c * total) };
        let scores = shape.scores();
        let start = vec![0.0; (shape.columns + 1) * scores];
        let (mut point, convergence) =
            minimise(start, options.tolerance, options.max_iterations, |point, gradient| objective.at(point, gradient));
        let intercepts = point.split_off(shape.columns * scores);
        Ok((Logistic { shape, coefficients: point, intercepts }, convergence))
    }

    /// The probability of each class for every row of the design. The bits of a row depend on that row alone.
    ///
    /// # Errors
    /// [`LogisticError::Columns`] if the design has other columns than the model learnt from.
    pub fn predict(&self, design: &Design) -> Result<Predictions, LogisticError> {
        let Shape { classes, columns } = self.shape;
        if design.columns() != columns {
            return Err(LogisticError::Columns { expected: columns, found: design.columns() });
        }
        let count = self.shape.scores();
        let scores = scores(design, &self.coefficients, &self.intercepts);
        let mut values = Vec::with_capacity(design.rows() * classes);
        for row in scores.chunks_exact(count) {
            let start = values.len();
            if count == 1 {
                values.push(0.0);
            }
            values.extend_from_slice(row);
            softmax(&mut values[start..]);
        }
        Ok(Predictions { rows: design.rows(), columns: classes, values })
    }

    /// The coefficient of each column for each score, `(columns, scores)` in row-major order: one score, that of the
    /// second class, for two classes, else one per class.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// The intercept of each score.
    pub fn intercepts(&self) -> &[f64] {
        &self.intercepts
    }

    /// The model as files. Equal models give equal bytes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn to_files(&self) -> Result<ModelFiles, LogisticError> {
        let tensor = |shape: Vec<usize>, values: &[f64]| Weight { shape, numbers: Numbers::F64(values.to_vec()) };
        let weights = Weights::from([
            ("coefficients".to_string(), tensor(vec![self.shape.columns, self.shape.scores()], &self.coefficients)),
            ("intercepts".to_string(), tensor(vec![self.shape.scores()], &self.intercepts)),
        ]);
        Ok(files::write(ModelKind::Logistic, &self.shape, &weights)?)
    }

    /// The model in `files`, as [`Logistic::to_files`] wrote it.
    ///
    /// # Errors
    /// If the files are damaged, of another kind or format, or do not fit each other.
    pub fn from_files(files: &ModelFiles) -> Result<Self, LogisticError> {
        let (shape, mut weights): (Shape, _) = files::read(files, ModelKind::Logistic)?;
        let Shape { classes, columns } = shape;
        let mut take = |name: &str, expected: &[usize]| match weights.remove(name) {
            Some(Weight { shape, numbers: Numbers::F64(values) })
                if shape == expected && values.iter().all(|value| value.is_finite()) =>
            {
                Ok(values)
            }
            _ => Err(LogisticError::Weights { classes, columns }),
        };
        if classes < 2 {
            return Err(LogisticError::Classes(classes));
        }
        let coefficients = take("coefficients", &[columns, shape.scores()])?;
        let intercepts = take("intercepts", &[shape.scores()])?;
        Ok(Logistic { shape, coefficients, intercepts })
    }
}

/// The scores of every row, `(rows, scores)`.
fn scores(design: &Design, coefficients: &[f64], intercepts: &[f64]) -> Vec<f64> {
    let (columns, count) = (design.columns(), intercepts.len());
    let mut scores =
        product(View::new(design.values(), design.rows(), columns), View::new(coefficients, columns, count));
    for row in scores.chunks_exact_mut(count) {
        for (score, intercept) in row.iter_mut().zip(intercepts) {
            *score += intercept;
        }
    }
    scores
}

/// The weighted mean loss plus `penalty/2 · |coefficients|²`: scikit-learn's objective divided by C times the weights.
struct Objective<'a> {
    design: &'a Design,
    classes: &'a [u32],
    shares: Vec<f64>,
    shape: Shape,
    penalty: f64,
}

impl Objective<'_> {
    /// The value at `point` (coefficients, then intercepts), and its gradient.
    fn at(&self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let count = self.shape.scores();
        let (rows, columns) = (self.design.rows(), self.shape.columns);
        let (coefficients, intercepts) = point.split_at(columns * count);
        let scores = scores(self.design, coefficients, intercepts);
        let loss = sum_over_row_blocks(rows, |block| {
            block.map(|row| self.shares[row] * self.row_loss(row, &scores[row * count..(row + 1) * count])).sum()
        });
        let mut residuals = scores;
        for (row, residuals) in residuals.chunks_exact_mut(count).enumerate() {
            self.residuals(row, residuals);
        }
        let by_coefficients =
            product(View::new(self.design.values(), rows, columns).transposed(), View::new(&residuals, rows, count));
        let (coefficient_gradient, intercept_gradient) = gradient.split_at_mut(columns * count);
        for ((gradient, &by_loss), &coefficient) in
            coefficient_gradient.iter_mut().zip(&by_coefficients).zip(coefficients)
        {
            *gradient = by_loss + self.penalty * coefficient;
        }
        intercept_gradient.fill(0.0);
        add_column_sums(&residuals, intercept_gradient);
        loss + 0.5 * self.penalty * coefficients.iter().map(|value| value * value).sum::<f64>()
    }

    fn row_loss(&self, row: usize, scores: &[f64]) -> f64 {
        let class = self.classes[row] as usize;
        match scores {
            // ln(1 + e^-m) of the margin m, without overflow.
            [score] => {
                let margin = if class == 1 { *score } else { -score };
                (-margin.abs()).exp().ln_1p() + (-margin).max(0.0)
            }
            scores => {
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                scores.iter().map(|score| (score - largest).exp()).sum::<f64>().ln() + largest - scores[class]
            }
        }
    }

    /// Overwrites the scores of a row with the gradient of its share of the loss.
    fn residuals(&self, row: usize, scores: &mut [f64]) {
        let class = self.classes[row] as usize;
        if let [score] = scores {
            *score = 1.0 / (1.0 + (-*score).exp()) - class as f64;
        } else {
            softmax(scores);
            scores[class] -= 1.0;
        }
        scores.iter_mut().for_each(|residual| *residual *= self.shares[row]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40 rows of three columns from whole numbers, so that another program can make the same ones.
    pub(crate) fn some_design() -> Design {
        let values =
            (0..40).flat_map(|i| (0..3).map(move |j| f64::from((i * 7 + j * 13 + i * i * 3) % 11) / 5.0 - 1.0));
        Design::new(values.collect(), 40, 3).expect("the sizes fit")
    }

    fn noise(row: usize) -> f64 {
        ((row * 5) % 7) as f64 / 3.0 - 1.0
    }

    fn two_classes() -> Vec<u32> {
        let class = |(row, x): (usize, &[f64])| u32::from(x[0] - 0.5 * x[1] + noise(row) > 0.0);
        some_design().values().chunks(3).enumerate().map(class).collect()
    }

    fn three_classes() -> Vec<u32> {
        let class = |(row, x): (usize, &[f64])| match x[0] + noise(row) > 0.6 {
            true => 0,
            false if x[2] > 0.0 => 1,
            false => 2,
        };
        some_design().values().chunks(3).enumerate().map(class).collect()
    }

    fn fit(classes: &[u32], count: usize, weights: Option<&[f64]>, options: &LogisticOptions) -> Logistic {
        let (model, end) = Logistic::fit(&some_design(), classes, count, weights, options).expect("it can be fitted");
        assert!(end.converged, "{end:?}");
        model
    }

    fn tight(c: f64) -> LogisticOptions {
        LogisticOptions { c, tolerance: 1e-11, ..Default::default() }
    }

    /// The reference values are scikit-learn 1.9.1's, `LogisticRegression(tol=1e-13)` on the same rows.
    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    #[test]
    fn two_classes_get_scikit_learns_coefficients() {
        let model = fit(&two_classes(), 2, None, &tight(1.0));
        assert_near(model.coefficients(), &[1.807_566_660_817, -1.049_926_312_443, 0.234_587_802_658]);
        assert_near(model.intercepts(), &[-0.184_473_251_885]);
    }

    #[test]
    fn weights_of_rows_and_classes_are_scikit_learns() {
        let weights: Vec<f64> = (0..40).map(|row| 1.0 + f64::from(row % 3)).collect();
        let weighted = fit(&two_classes(), 2, Some(&weights), &tight(0.1));
        assert_near(weighted.coefficients(), &[0.874_701_626_684, -0.517_167_485_512, -0.023_041_926_591]);
        assert_near(weighted.intercepts(), &[-0.037_374_504_900]);
        let balanced =
            fit(&two_classes(), 2, None, &LogisticOptions { class_weights: ClassWeights::Balanced, ..tight(10.0) });
        assert_near(balanced.coefficients(), &[3.058_236_009_993, -1.879_021_909_499, 0.545_275_405_683]);
        assert_near(balanced.intercepts(), &[-0.113_775_285_654]);
    }

    #[test]
    fn three_classes_get_scikit_learns_coefficients_and_probabilities() {
        let model = fit(&three_classes(), 3, None, &tight(1.0));
        // By column, then class.
        let expected = [
            [1.400_176_638_317, -0.313_317_040_379, -1.086_859_597_939],
            [-0.230_292_273_114, 0.601_397_180_803, -0.371_104_907_689],
            [0.087_427_124_515, 1.501_626_982_520, -1.589_054_107_036],
        ];
        assert_near(model.coefficients(), &expected.concat());
        assert_near(model.intercepts(), &[0.020_659_296_751, -0.201_525_631_952, 0.180_866_335_201]);
        let predicted = model.predict(&some_design()).expect("the columns fit");
        assert_near(predicted.row(0), &[0.040_798_276_803, 0.082_938_133_583, 0.876_263_589_614]);
        assert_near(predicted.row(1), &[0.796_333_304_045, 0.033_559_088_071, 0.170_107_607_884]);
    }

    #[test]
    fn the_default_tolerance_gives_four_digits() {
        let model = fit(&two_classes(), 2, None, &LogisticOptions::default());
        assert!((model.coefficients()[0] - 1.807_566).abs() < 1e-4);
    }

    #[test]
    fn separable_classes_and_large_scores_stay_finite() {
        let design = Design::new(vec![-1000.0, 1000.0], 2, 1).expect("the sizes fit");
        let (model, _) = Logistic::fit(&design, &[0, 1], 2, None, &tight(1e6)).expect("it can be fitted");
        let predicted = model.predict(&design).expect("the columns fit");
        assert!(predicted.values.iter().all(|p| p.is_finite()) && predicted.row(0)[0] > 0.999);
    }

    #[test]
    fn a_class_without_rows_gets_almost_no_probability() {
        let model = fit(&two_classes(), 3, None, &LogisticOptions::default());
        assert!(model.predict(&some_design()).expect("the columns fit").row(0)[2] < 1e-3);
    }

    #[test]
    fn fit_and_prediction_do_not_depend_on_threads_nor_prediction_on_the_batch() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            pool.install(|| fit(&three_classes(), 3, None, &tight(1.0)))
        };
        assert_eq!(run(1), run(4));
        let model = run(1);
        let all = model.predict(&some_design()).expect("the columns fit");
        let design = some_design();
        for batch in [1, 2, 3, 7] {
            let parts = design.values().chunks(3 * batch).flat_map(|values| {
                let part = Design::new(values.to_vec(), values.len() / 3, 3).expect("the sizes fit");
                model.predict(&part).expect("the columns fit").values
            });
            assert_eq!(parts.collect::<Vec<_>>(), all.values, "{batch}");
        }
    }

    #[test]
    fn files_bring_the_model_back() {
        for count in [2, 3] {
            let model = fit(&two_classes(), count, None, &LogisticOptions::default());
            let files = model.to_files().expect("it can be written");
            assert_eq!(Logistic::from_files(&files).expect("it was just written"), model);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let design = some_design();
        let error =
            |result: Result<(Logistic, Convergence), LogisticError>| result.expect_err("it is wrong").to_string();
        let options = LogisticOptions::default();
        assert_eq!(
            error(Logistic::fit(&design, &[0; 40], 1, None, &options)),
            "logistic regression needs at least 2 classes, found 1"
        );
        assert_eq!(
            error(Logistic::fit(&design, &[2; 40], 2, None, &options)),
            "row 0 has class 2, but there are 2 classes from 0"
        );
        assert_eq!(
            error(Logistic::fit(&design, &[0; 40], 2, Some(&[0.0; 40]), &options)),
            "there are no rows with a weight above zero"
        );
        assert_eq!(error(Logistic::fit(&design, &[0; 40], 2, None, &tight(0.0))), "`c` is 0, expected more than 0");
        let model = fit(&two_classes(), 2, None, &options);
        let narrow = Design::new(vec![1.0], 1, 1).expect("the sizes fit");
        let columns = model.predict(&narrow).expect_err("1 is not 3").to_string();
        assert_eq!(columns, "the model reads 3 columns, the design has 1");
        let mut files = model.to_files().expect("it can be written");
        let json = br#"{"format":1,"kind":"logistic","model":{"classes":4,"columns":3}}"#;
        files.insert("model.json".to_string(), json.to_vec());
        let weights = Logistic::from_files(&files).expect_err("it was changed").to_string();
        assert_eq!(weights, "the weights do not fit a logistic regression of 4 classes over 3 columns");
    }
}
