//! The prior: what a model says of a row of which it knows nothing.

use crate::{Targets, Task};

/// The shares of the classes, or the means of the numbers, among weighted rows. Finite whatever the targets.
pub(crate) fn learnt(targets: &Targets, weights: Option<&[f64]>, task: Task) -> Vec<f64> {
    let width = task.width();
    let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    // Numbers of any size: the largest weight is taken out, and each number adds its share to the mean.
    let largest = weights.map_or(1.0, |weights| weights.iter().copied().fold(0.0, f64::max));
    let rows = match targets {
        Targets::Classes(classes) => classes.len(),
        Targets::Values(values) => values.len() / width,
    };
    let total: f64 = (0..rows).map(|row| weight(row) / largest).sum();
    if rows == 0 || largest == 0.0 {
        return unlearnt(task);
    }
    let mut prior = vec![0.0; width];
    for row in 0..rows {
        let share = weight(row) / largest / total;
        match targets {
            Targets::Classes(classes) => prior[classes[row] as usize] += share,
            Targets::Values(values) => {
                for (mean, value) in prior.iter_mut().zip(&values[row * width..]) {
                    *mean += share * value;
                }
            }
        }
    }
    prior
}

/// Even odds, or zeros: the prior before any row was seen.
pub(crate) fn unlearnt(task: Task) -> Vec<f64> {
    match task {
        Task::Classification { classes } => vec![1.0 / classes as f64; classes],
        Task::Regression { outputs } => vec![0.0; outputs],
    }
}

/// Whether it fits the task and holds usable numbers.
pub(crate) fn is_sound(prior: &[f64], task: Task) -> bool {
    let usable = |number: &f64| match task {
        Task::Classification { .. } => (0.0..=1.0 + 1e-6).contains(number),
        Task::Regression { .. } => number.is_finite(),
    };
    prior.len() == task.width() && prior.iter().all(usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: Task = Task::Classification { classes: 3 };
    const NUMBERS: Task = Task::Regression { outputs: 2 };

    #[test]
    fn it_is_the_weighted_shares_or_means() {
        let classes = Targets::Classes(vec![0, 2, 2, 2]);
        assert_eq!(learnt(&classes, None, CLASSES), [0.25, 0.0, 0.75]);
        let weighted = learnt(&classes, Some(&[6.0, 1.0, 1.0, 0.0]), CLASSES);
        for (found, expected) in weighted.iter().zip([0.75, 0.0, 0.25]) {
            assert!((found - expected).abs() < 1e-15, "{weighted:?}");
        }
        let numbers = Targets::Values(vec![1.0, 10.0, 5.0, 30.0]);
        assert_eq!(learnt(&numbers, None, NUMBERS), [3.0, 20.0]);
        assert_eq!(learnt(&numbers, Some(&[3.0, 1.0]), NUMBERS), [2.0, 15.0]);
    }

    #[test]
    fn it_is_finite_for_extreme_numbers_and_for_none() {
        let huge = Targets::Values(vec![f64::MAX, f64::MAX, f64::MAX, -f64::MAX]);
        for prior in [learnt(&huge, Some(&[f64::MAX, f64::MAX]), NUMBERS), learnt(&huge, Some(&[0.0; 2]), NUMBERS)] {
            assert!(is_sound(&prior, NUMBERS), "{prior:?}");
        }
        assert_eq!(learnt(&Targets::Classes(vec![]), None, CLASSES), [1.0 / 3.0; 3]);
        assert!(!is_sound(&[0.5, 0.5], CLASSES) && !is_sound(&[0.5, 1.5, 0.0], CLASSES));
    }
}
