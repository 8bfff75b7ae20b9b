//! Squared and Huber losses of numeric targets, as one operation that keeps only the gradient of the predictions.

use dfdx::tensor::Tape;
use dfdx::tensor_ops::Device;

use crate::{Element, KernelError, LossTargets, Matrix, MultimodalLossKernel, Scalar, multimodal_loss};

/// What a residual d = prediction - target costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Residual {
    /// d²
    #[default]
    Squared,
    /// d²/2 up to `delta`, then delta (|d| - delta/2) (Huber 1964).
    Huber {
        /// Where the loss turns from quadratic to linear; above zero.
        delta: f64,
    },
}

/// What the predictions are compared with, and how rows count.
#[derive(Debug, Clone, Copy)]
pub struct RegressionLoss<'a, E> {
    /// The targets, `(rows, columns)` in row-major order.
    pub targets: &'a [E],
    /// The weight of each row; one for all if absent. A row of weight zero takes no part, whatever it holds.
    pub row_weights: Option<&'a [f64]>,
    /// What a residual costs.
    pub residual: Residual,
}

/// The weighted mean over the rows of the mean cost of a row's residuals. Without any weight it is zero.
///
/// Shapes: `predictions` and `loss.targets` `(rows, columns)`; result a scalar.
///
/// # Errors
/// [`KernelError::Size`] if the shapes do not fit; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let predictions = matrix_from(&Cpu::default(), vec![1.0f64, 5.0], 2, 1)?;
/// let loss = RegressionLoss { targets: &[2.0, 2.0], row_weights: None, residual: Residual::Squared };
/// assert_eq!(regression_loss(predictions, loss)?.as_vec(), [5.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn regression_loss<E, D, T>(
    predictions: Matrix<E, D, T>,
    loss: RegressionLoss<'_, E>,
) -> Result<Scalar<E, D, T>, KernelError>
where
    E: Element,
    D: MultimodalLossKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    multimodal_loss::single("regression_loss", predictions, LossTargets::Values(loss))
}

/// The row's share of the loss; the predictions are overwritten with their gradient, times `weight`.
pub(crate) fn row_loss<E: Element>(
    predictions: &mut [E],
    targets: &[E],
    share: E,
    weight: E,
    residual: Residual,
) -> f64 {
    if share == E::ZERO {
        predictions.fill(E::ZERO);
        return 0.0;
    }
    let mut sum = 0.0;
    for (prediction, &target) in predictions.iter_mut().zip(targets) {
        let difference = (*prediction - target).to_double();
        let (cost, slope) = match residual {
            Residual::Squared => (difference * difference, 2.0 * difference),
            Residual::Huber { delta } if difference.abs() > delta => {
                (delta * (difference.abs() - 0.5 * delta), delta * difference.signum())
            }
            Residual::Huber { .. } => (0.5 * difference * difference, difference),
        };
        sum += cost;
        *prediction = share * weight * E::of(slope);
    }
    share.to_double() * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use dfdx::tensor::PutTape;
    use proptest::prelude::*;

    fn loss_and_gradient(predictions: &[f64], columns: usize, loss: RegressionLoss<'_, f64>) -> (f64, Vec<f64>) {
        let predictions = matrix(predictions, predictions.len().checked_div(columns).unwrap_or(0), columns);
        let value = regression_loss(predictions.clone().put_tape(Recorded::default()), loss).expect("shapes fit");
        (read(&value)[0], gradient_of(&backward(value), &predictions))
    }

    fn plain_loss(predictions: &[f64], columns: usize, loss: RegressionLoss<'_, f64>) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for (index, prediction) in predictions.iter().enumerate() {
            let weight = loss.row_weights.map_or(1.0, |weights| weights[index / columns]);
            let d: f64 = prediction - loss.targets[index];
            total += weight;
            sum += weight
                * match loss.residual {
                    Residual::Squared => d.powi(2),
                    Residual::Huber { delta } if d.abs() <= delta => d.powi(2) / 2.0,
                    Residual::Huber { delta } => delta * (d.abs() - delta / 2.0),
                };
        }
        if total == 0.0 { 0.0 } else { sum / total }
    }

    proptest! {
        #[test]
        fn loss_is_the_definition_and_gradient_the_differences(
            rows in 0usize..7, columns in 1usize..4, huber in 0usize..2, weighted in 0usize..2,
        ) {
            let (predictions, targets) = (numbers(rows * columns, 1), numbers(rows * columns, 2));
            let weights: Vec<f64> = (0..rows).map(|row| (row % 3) as f64).collect();
            let loss = RegressionLoss {
                targets: &targets,
                row_weights: (weighted == 1).then_some(&weights),
                residual: if huber == 1 { Residual::Huber { delta: 0.4 } } else { Residual::Squared },
            };
            let (value, gradient) = loss_and_gradient(&predictions, columns, loss);
            prop_assert!((value - plain_loss(&predictions, columns, loss)).abs() < 1e-13);
            assert_gradient("predictions", &predictions, &gradient, |moved| plain_loss(moved, columns, loss));
        }
    }

    #[test]
    fn huber_has_its_hand_worked_values() {
        let loss = |prediction| {
            let loss = RegressionLoss { targets: &[0.0], row_weights: None, residual: Residual::Huber { delta: 1.0 } };
            loss_and_gradient(&[prediction], 1, loss)
        };
        assert_eq!(loss(0.5), (0.125, vec![0.5]));
        assert_eq!(loss(-3.0), (2.5, vec![-1.0]));
    }

    #[test]
    fn a_row_of_weight_zero_takes_no_part_even_if_it_is_nan() {
        let loss =
            RegressionLoss { targets: &[f64::NAN, 1.0], row_weights: Some(&[0.0, 2.0]), residual: Residual::Squared };
        assert_eq!(loss_and_gradient(&[1.0, 4.0], 1, loss), (9.0, vec![0.0, 6.0]));
    }

    #[test]
    fn a_nan_reaches_the_loss() {
        let loss = RegressionLoss { targets: &[0.0, 0.0], row_weights: None, residual: Residual::Huber { delta: 1.0 } };
        assert!(loss_and_gradient(&[f64::NAN, 4.0], 1, loss).0.is_nan());
    }
}
