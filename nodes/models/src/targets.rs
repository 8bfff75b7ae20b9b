//! What a model shall predict, and the scale on which numbers are predicted.

use serde::{Deserialize, Serialize};

use crate::Task;

/// Targets or weights that do not fit the task.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TargetError {
    /// The targets are of the other kind.
    #[error("the model is for {expected}, but the targets are {found}")]
    Kind {
        /// What the model is for.
        expected: &'static str,
        /// What the targets are.
        found: &'static str,
    },

    /// There is not one target (or row of targets, or weight) per row.
    #[error("there are {found} {what} for {rows} rows, expected {expected}")]
    Size {
        /// Targets or weights.
        what: &'static str,
        /// The rows of the inputs.
        rows: usize,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },

    /// A class is not below the number of classes.
    #[error("row {row} has class {class}, but there are {classes} classes from 0")]
    Class {
        /// The row, from 0.
        row: usize,
        /// The class.
        class: u32,
        /// How many classes there are.
        classes: usize,
    },

    /// A numeric target is infinite or not a number.
    #[error("row {row} has the target {value}, expected a finite number")]
    NotFinite {
        /// The row, from 0.
        row: usize,
        /// The target.
        value: f64,
    },

    /// A weight is negative, infinite or not a number.
    #[error("row {row} has the weight {value}, expected a finite number from 0")]
    Weight {
        /// The row, from 0.
        row: usize,
        /// The weight.
        value: f64,
    },
}

/// The targets of some rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The class of each row, from 0.
    Classes(Vec<u32>),
    /// The numbers of each row, `(rows, outputs)` in row-major order.
    Values(Vec<f64>),
}

impl Targets {
    /// Checks targets and weights against the task and the number of rows.
    pub(crate) fn check(&self, task: Task, rows: usize, weights: Option<&[f64]>) -> Result<(), TargetError> {
        let check_length = |what, expected, found| {
            if expected == found { Ok(()) } else { Err(TargetError::Size { what, rows, expected, found }) }
        };
        match (self, task) {
            (Targets::Classes(found), Task::Classification { classes }) => {
                check_length("targets", rows, found.len())?;
                if let Some(row) = found.iter().position(|&class| class as usize >= classes) {
                    return Err(TargetError::Class { row, class: found[row], classes });
                }
            }
            (Targets::Values(values), Task::Regression { outputs }) => {
                check_length("targets", rows * outputs, values.len())?;
                if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                    return Err(TargetError::NotFinite { row: index / outputs, value: values[index] });
                }
            }
            (Targets::Values(_), Task::Classification { .. }) => {
                return Err(TargetError::Kind { expected: "classification", found: "numbers" });
            }
            (Targets::Classes(_), Task::Regression { .. }) => {
                return Err(TargetError::Kind { expected: "regression", found: "classes" });
            }
        }
        if let Some(weights) = weights {
            check_length("weights", rows, weights.len())?;
            if let Some(row) = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0) {
                return Err(TargetError::Weight { row, value: weights[row] });
            }
        }
        Ok(())
    }
}

/// The weight of each class that gives all classes the same total: rows / (classes · rows of the class).
///
/// A class without rows gets one.
pub fn balanced_class_weights(classes: &[u32], count: usize) -> Vec<f64> {
    let mut rows = vec![0usize; count];
    for &class in classes {
        if let Some(rows) = rows.get_mut(class as usize) {
            *rows += 1;
        }
    }
    let total = classes.len() as f64 / count as f64;
    rows.iter().map(|&rows| if rows == 0 { 1.0 } else { total / rows as f64 }).collect()
}

/// The mean and standard deviation of each output on the train rows: a network learns (value - mean) / deviation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetScale {
    /// The mean of each output.
    pub means: Vec<f64>,
    /// The standard deviation of each output; one where it does not vary.
    pub deviations: Vec<f64>,
}

impl TargetScale {
    /// The scale that changes nothing.
    pub(crate) fn identity(outputs: usize) -> Self {
        TargetScale { means: vec![0.0; outputs], deviations: vec![1.0; outputs] }
    }

    /// The scale of the values, `(rows, outputs)` in row-major order.
    pub(crate) fn fit(values: &[f64], outputs: usize) -> Self {
        let rows = (values.len() / outputs) as f64;
        let column = |output: usize| values.iter().skip(output).step_by(outputs);
        let mut scale = TargetScale::identity(outputs);
        if values.is_empty() {
            return scale;
        }
        for output in 0..outputs {
            let mean = column(output).sum::<f64>() / rows;
            let variance = column(output).map(|value| (value - mean).powi(2)).sum::<f64>() / rows;
            scale.means[output] = mean;
            // Rounding leaves a little variance in a constant column; dividing by it would blow that up.
            if variance.sqrt() > 1e-12 * mean.abs() && variance.is_finite() {
                scale.deviations[output] = variance.sqrt();
            }
        }
        scale
    }

    pub(crate) fn standardised(&self, values: &[f64]) -> Vec<f32> {
        let outputs = self.means.len();
        let standardise = |(index, value): (usize, &f64)| {
            ((value - self.means[index % outputs]) / self.deviations[index % outputs]) as f32
        };
        values.iter().enumerate().map(standardise).collect()
    }

    pub(crate) fn restore(&self, output: usize, value: f32) -> f64 {
        self.means[output] + self.deviations[output] * f64::from(value)
    }

    /// Whether it fits the number of outputs and holds usable numbers.
    pub(crate) fn is_sound(&self, outputs: usize) -> bool {
        self.means.len() == outputs
            && self.deviations.len() == outputs
            && self.means.iter().all(|mean| mean.is_finite())
            && self.deviations.iter().all(|deviation| deviation.is_finite() && *deviation > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named() {
        let (classes, numbers) = (Task::Classification { classes: 2 }, Task::Regression { outputs: 1 });
        let error = |targets: Targets, task, weights: Option<&[f64]>| {
            targets.check(task, 2, weights).expect_err("it does not fit").to_string()
        };
        let (good, values) = (Targets::Classes(vec![0, 1]), Targets::Values(vec![0.0, f64::INFINITY]));
        assert_eq!(good.check(classes, 2, Some(&[0.0, 1.0])), Ok(()));
        assert_eq!(error(good.clone(), numbers, None), "the model is for regression, but the targets are classes");
        assert_eq!(error(Targets::Classes(vec![0]), classes, None), "there are 1 targets for 2 rows, expected 2");
        assert_eq!(
            error(Targets::Classes(vec![0, 2]), classes, None),
            "row 1 has class 2, but there are 2 classes from 0"
        );
        assert_eq!(error(values, numbers, None), "row 1 has the target inf, expected a finite number");
        let negative = error(good, classes, Some(&[1.0, -1.0]));
        assert_eq!(negative, "row 1 has the weight -1, expected a finite number from 0");
    }

    #[test]
    fn balanced_weights_give_classes_the_same_total() {
        assert_eq!(balanced_class_weights(&[0, 0, 0, 1], 2), [4.0 / 6.0, 2.0]);
        assert_eq!(balanced_class_weights(&[0, 0], 3), [1.0 / 3.0, 1.0, 1.0]);
    }

    #[test]
    fn standardised_numbers_have_mean_zero_and_deviation_one_and_come_back() {
        let values = [1.0, 10.0, 2.0, 10.0, 3.0, 10.0, 6.0, 10.0];
        let scale = TargetScale::fit(&values, 2);
        assert_eq!(scale, TargetScale { means: vec![3.0, 10.0], deviations: vec![3.5f64.sqrt(), 1.0] });
        let standardised = scale.standardised(&values);
        assert!((standardised.iter().step_by(2).sum::<f32>()).abs() < 1e-6);
        assert!((scale.restore(0, standardised[6]) - 6.0).abs() < 1e-6);
        assert_eq!(scale.restore(1, 0.0), 10.0);
    }

    #[test]
    fn a_constant_target_is_left_unscaled() {
        let scale = TargetScale::fit(&[0.1; 1000], 1);
        assert_eq!(scale.deviations, [1.0]);
        assert!(scale.is_sound(1) && !scale.is_sound(2));
        assert_eq!(TargetScale::fit(&[], 1), TargetScale::identity(1));
    }
}
