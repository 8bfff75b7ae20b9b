//! Ridge regression: the honest rival of every network that predicts numbers from rows.

use nodes_kernels::matrix::{View, product};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cholesky;
use crate::files::{self, FilesError, ModelFiles, ModelKind};
use crate::weights::{Numbers, Weight, Weights};
use crate::{Design, OptionsError, Predictions, TargetError, Targets, Task};

/// Ridge regression cannot be fitted, loaded or asked.
#[derive(Debug, thiserror::Error)]
pub enum RidgeError {
    /// The options are not sound.
    #[error(transparent)]
    Options(#[from] OptionsError),

    /// The targets or weights do not fit.
    #[error(transparent)]
    Target(#[from] TargetError),

    /// There is nothing to learn from.
    #[error("there are no rows with a weight above zero")]
    NoRows,

    /// The columns depend on each other and nothing holds the coefficients.
    #[error("the columns depend on each other, so that `alpha` {alpha} does not determine the coefficients; raise it")]
    Singular {
        /// The strength of the penalty.
        alpha: f64,
    },

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
    #[error("the weights do not fit a ridge regression of {outputs} outputs over {columns} columns")]
    Weights {
        /// The outputs by `model.json`.
        outputs: usize,
        /// The columns by `model.json`.
        columns: usize,
    },
}

/// How ridge regression is fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RidgeOptions {
    /// The strength of the L2 penalty, scikit-learn's alpha: the loss is Σ squared residuals + alpha |coefficients|², the
    /// intercept free; 1 by default.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
}

impl Default for RidgeOptions {
    fn default() -> Self {
        RidgeOptions { alpha: 1.0 }
    }
}

impl RidgeOptions {
    /// Checks what the schema cannot say.
    ///
    /// # Errors
    /// If `alpha` is negative or not finite.
    pub fn check(&self) -> Result<(), OptionsError> {
        if self.alpha.is_finite() && self.alpha >= 0.0 {
            Ok(())
        } else {
            Err(OptionsError::Range { name: "alpha", found: self.alpha, expected: "at least 0" })
        }
    }
}

/// A fitted ridge regression.
#[derive(Debug, Clone, PartialEq)]
pub struct Ridge {
    shape: Shape,
    /// `(columns, outputs)` in row-major order.
    coefficients: Vec<f64>,
    intercepts: Vec<f64>,
}

/// `model.json` of a ridge regression.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    outputs: usize,
    columns: usize,
}

impl Ridge {
    /// Fits the targets, `(rows, outputs)` in row-major order, to the rows of the design.
    ///
    /// Solves (Xᵀ W X + alpha I) coefficients = Xᵀ W Y, with X and Y less their weighted means. The result does not depend
    /// on the number of threads.
    ///
    /// # Errors
    /// If options, targets or weights are not sound, or the system is singular.
    pub fn fit(
        design: &Design,
        targets: &[f64],
        outputs: usize,
        weights: Option<&[f64]>,
        options: &RidgeOptions,
    ) -> Result<Self, RidgeError> {
        options.check()?;
        let (rows, columns) = (design.rows(), design.columns());
        Targets::Values(targets.to_vec()).check(Task::Regression { outputs }, rows, weights)?;
        let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
        let total: f64 = (0..rows).map(weight).sum();
        if total == 0.0 {
            return Err(RidgeError::NoRows);
        }
        let (x, x_means) = centred(design.values(), columns, total, &weight);
        let (y, y_means) = centred(targets, outputs, total, &weight);
        let x_transposed = View::new(&x, rows, columns).transposed();
        let mut squares = product(x_transposed, View::new(&x, rows, columns));
        for column in 0..columns {
            squares[column * columns + column] += options.alpha;
        }
        let right = product(x_transposed, View::new(&y, rows, outputs));
        let coefficients =
            cholesky::solve(squares, right, columns, outputs).ok_or(RidgeError::Singular { alpha: options.alpha })?;
        let intercept = |output: usize| {
            let explained =
                x_means.iter().enumerate().map(|(column, mean)| mean * coefficients[column * outputs + output]);
            y_means[output] - explained.sum::<f64>()
        };
        let intercepts = (0..outputs).map(intercept).collect();
        Ok(Ridge { shape: Shape { outputs, columns }, coefficients, intercepts })
    }

    /// The outputs for every row of the design. The bits of a row depend on that row alone.
    ///
    /// # Errors
    /// [`RidgeError::Columns`] if the design has other columns than the model learnt from.
    pub fn predict(&self, design: &Design) -> Result<Predictions, RidgeError> {
        let Shape { outputs, columns } = self.shape;
        if design.columns() != columns {
            return Err(RidgeError::Columns { expected: columns, found: design.columns() });
        }
        let rows = design.rows();
        let mut values =
            product(View::new(design.values(), rows, columns), View::new(&self.coefficients, columns, outputs));
        for row in values.chunks_exact_mut(outputs) {
            for (value, intercept) in row.iter_mut().zip(&self.intercepts) {
                *value += intercept;
            }
        }
        Ok(Predictions { rows, columns: outputs, values })
    }

    /// The coefficient of each column for each output, `(columns, outputs)` in row-major order.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// The intercept of each output.
    pub fn intercepts(&self) -> &[f64] {
        &self.intercepts
    }

    /// The model as files. Equal models give equal bytes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn to_files(&self) -> Result<ModelFiles, RidgeError> {
        let tensor = |shape: Vec<usize>, values: &[f64]| Weight { shape, numbers: Numbers::F64(values.to_vec()) };
        let Shape { outputs, columns } = self.shape;
        let weights = Weights::from([
            ("coefficients".to_string(), tensor(vec![columns, outputs], &self.coefficients)),
            ("intercepts".to_string(), tensor(vec![outputs], &self.intercepts)),
        ]);
        Ok(files::write(ModelKind::Ridge, &self.shape, &weights)?)
    }

    /// The model in `files`, as [`Ridge::to_files`] wrote it.
    ///
    /// # Errors
    /// If the files are damaged, of another kind or format, or do not fit each other.
    pub fn from_files(files: &ModelFiles) -> Result<Self, RidgeError> {
        let (shape, mut weights): (Shape, _) = files::read(files, ModelKind::Ridge)?;
        let Shape { outputs, columns } = shape;
        let mut take = |name: &str, expected: &[usize]| match weights.remove(name) {
            Some(Weight { shape, numbers: Numbers::F64(values) })
                if shape == expected && outputs > 0 && values.iter().all(|value| value.is_finite()) =>
            {
                Ok(values)
            }
            _ => Err(RidgeError::Weights { outputs, columns }),
        };
        let coefficients = take("coefficients", &[columns, outputs])?;
        let intercepts = take("intercepts", &[outputs])?;
        Ok(Ridge { shape, coefficients, intercepts })
    }
}

/// The values less their column's weighted mean, times the root of the row's weight; and the means.
fn centred(values: &[f64], columns: usize, total: f64, weight: &impl Fn(usize) -> f64) -> (Vec<f64>, Vec<f64>) {
    let mut means = vec![0.0; columns];
    let mut centred = values.to_vec();
    if columns == 0 {
        return (centred, means);
    }
    for (row, values) in values.chunks_exact(columns).enumerate() {
        for (mean, value) in means.iter_mut().zip(values) {
            *mean += weight(row) * value / total;
        }
    }
    for (row, values) in centred.chunks_exact_mut(columns).enumerate() {
        for (value, mean) in values.iter_mut().zip(&means) {
            *value = (*value - mean) * weight(row).sqrt();
        }
    }
    (centred, means)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_design() -> Design {
        let values =
            (0..40).flat_map(|i| (0..3).map(move |j| f64::from((i * 7 + j * 13 + i * i * 3) % 11) / 5.0 - 1.0));
        Design::new(values.collect(), 40, 3).expect("the sizes fit")
    }

    fn some_targets() -> Vec<f64> {
        let target = |(row, x): (usize, &[f64])| 2.0 + x[0] - 3.0 * x[2] + ((row * 5) % 7) as f64 / 3.0;
        some_design().values().chunks(3).enumerate().map(target).collect()
    }

    /// The reference values are scikit-learn 1.9.1's, `Ridge(solver="cholesky")` on the same rows.
    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-11, "{found} for {expected}");
        }
    }

    #[test]
    fn coefficients_are_scikit_learns() {
        let model = Ridge::fit(&some_design(), &some_targets(), 1, None, &RidgeOptions::default()).expect("it can be");
        assert_near(model.coefficients(), &[1.110_318_857_342_645, -0.188_902_297_942_296, -2.706_592_886_433_539]);
        assert_near(model.intercepts(), &[2.998_819_769_037_921]);
    }

    #[test]
    fn weights_are_scikit_learns() {
        let weights: Vec<f64> = (0..40).map(|row| 1.0 + f64::from(row % 3)).collect();
        let options = RidgeOptions { alpha: 2.5 };
        let model = Ridge::fit(&some_design(), &some_targets(), 1, Some(&weights), &options).expect("it can be");
        assert_near(model.coefficients(), &[1.047_644_048_089_615, -0.184_310_057_741_753, -2.692_357_982_719_195]);
        assert_near(model.intercepts(), &[3.011_669_280_633_108]);
    }

    #[test]
    fn several_outputs_are_fitted_as_if_alone() {
        let both: Vec<f64> = some_targets().iter().flat_map(|target| [*target, -2.0 * target]).collect();
        let model = Ridge::fit(&some_design(), &both, 2, None, &RidgeOptions::default()).expect("it can be");
        for pair in model.coefficients().chunks(2) {
            assert!((pair[1] + 2.0 * pair[0]).abs() < 1e-12);
        }
        let predicted = model.predict(&some_design()).expect("the columns fit");
        assert_eq!((predicted.rows, predicted.columns), (40, 2));
    }

    #[test]
    fn without_columns_the_mean_is_predicted() {
        let design = Design::new(vec![], 4, 0).expect("the sizes fit");
        let model = Ridge::fit(&design, &[1.0, 2.0, 3.0, 6.0], 1, None, &RidgeOptions::default()).expect("it can be");
        assert_eq!(model.predict(&design).expect("the columns fit").values, [3.0; 4]);
    }

    #[test]
    fn fit_does_not_depend_on_threads() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            pool.install(|| {
                Ridge::fit(&some_design(), &some_targets(), 1, None, &RidgeOptions::default()).expect("it can be")
            })
        };
        assert_eq!(run(1), run(4));
    }

    #[test]
    fn dependent_columns_without_a_penalty_are_refused() {
        let design = Design::new(vec![1.0, 2.0, 2.0, 4.0, 3.0, 6.0], 3, 2).expect("the sizes fit");
        let error = Ridge::fit(&design, &[1.0, 2.0, 4.0], 1, None, &RidgeOptions { alpha: 0.0 }).expect_err("singular");
        assert!(error.to_string().contains("`alpha` 0 does not determine the coefficients"));
    }

    #[test]
    fn files_bring_the_model_back_and_damage_is_named() {
        let model = Ridge::fit(&some_design(), &some_targets(), 1, None, &RidgeOptions::default()).expect("it can be");
        let mut files = model.to_files().expect("it can be written");
        assert_eq!(Ridge::from_files(&files).expect("it was just written"), model);
        let json = br#"{"format":1,"kind":"ridge","model":{"outputs":0,"columns":3}}"#;
        files.insert("model.json".to_string(), json.to_vec());
        let error = Ridge::from_files(&files).expect_err("it was changed").to_string();
        assert_eq!(error, "the weights do not fit a ridge regression of 0 outputs over 3 columns");
    }
}
