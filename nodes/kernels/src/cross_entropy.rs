//! Softmax and cross-entropy of integer classes, as one operation that keeps only the gradient of the logits.

use dfdx::tensor::Tape;
use dfdx::tensor_ops::Device;

use crate::reduction::row_sum;
use crate::{Element, KernelError, LossTargets, Matrix, MultimodalLossKernel, Scalar, multimodal_loss};

/// What the logits are compared with, and how rows count.
#[derive(Debug, Clone, Copy, Default)]
pub struct CrossEntropy<'a> {
    /// The class of each row, from 0.
    pub classes: &'a [u32],
    /// The weight of each row; one for all if absent. A row of weight zero takes no part, whatever it holds.
    pub row_weights: Option<&'a [f64]>,
    /// The weight of each class, a factor of its rows' weights; one for all if absent.
    pub class_weights: Option<&'a [f64]>,
    /// The share ε of each row's target that is spread over all classes, from 0 to 1.
    pub label_smoothing: f64,
}

impl CrossEntropy<'_> {
    /// The weight of a row: its own times that of its class.
    pub fn weight(&self, row: usize) -> f64 {
        let class = self.class_weights.map_or(1.0, |weights| weights[self.classes[row] as usize]);
        class * self.row_weights.map_or(1.0, |weights| weights[row])
    }

    /// The sum of the weights of all rows: what the mean is divided by.
    pub fn total_weight(&self) -> f64 {
        (0..self.classes.len()).map(|row| self.weight(row)).sum()
    }
}

/// The weighted mean of the rows' cross-entropies, in nats.
///
/// With C classes, a row with logits x, class y and p = softmax(x) has the loss
/// `-(1 - ε) ln p_y - ε/C Σ ln p_j` (Szegedy et al. 2016, arXiv:1512.00567), and the logits get the gradient
/// `p - (1 - ε) e_y - ε/C`, both times the row's share of the weights. Without any weight the loss is zero.
///
/// Shapes: `logits` `(rows, classes)`, `targets.classes` `(rows,)`; result a scalar.
///
/// # Errors
/// [`KernelError::Size`] if the shapes do not fit; [`KernelError::Code`] for a class outside the logits;
/// [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let logits = matrix_from(&Cpu::default(), vec![0.0f64, 0.0], 1, 2)?;
/// let loss = cross_entropy(logits, CrossEntropy { classes: &[1], ..Default::default() })?;
/// assert!((loss.as_vec()[0] - 2.0f64.ln()).abs() < 1e-12);
/// # Ok::<(), KernelError>(())
/// ```
pub fn cross_entropy<E, D, T>(
    logits: Matrix<E, D, T>,
    targets: CrossEntropy<'_>,
) -> Result<Scalar<E, D, T>, KernelError>
where
    E: Element,
    D: MultimodalLossKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    multimodal_loss::single("cross_entropy", logits, LossTargets::Classes(targets))
}

/// The row's share of the loss; the logits are overwritten with their gradient, times `weight`.
pub(crate) fn row_loss<E: Element>(row: &mut [E], class: usize, share: E, weight: E, label_smoothing: f64) -> f64 {
    if share == E::ZERO {
        row.fill(E::ZERO);
        return 0.0;
    }
    let count = row.len() as f64;
    let largest = row.iter().fold(row[0], |largest, &value| largest.larger(value));
    let (mut target, mut sum_of_logits) = (row[class].to_double() - largest.to_double(), 0.0);
    if label_smoothing > 0.0 {
        sum_of_logits = row.iter().map(|value| value.to_double() - largest.to_double()).sum::<f64>();
        target *= 1.0 - label_smoothing;
    }
    for value in row.iter_mut() {
        *value = (*value - largest).exp();
    }
    let sum = row_sum(row);
    let slope = share * weight;
    let factor = slope / sum;
    let everywhere = slope * E::of(label_smoothing / count);
    for value in row.iter_mut() {
        *value = *value * factor - everywhere;
    }
    row[class] -= slope * E::of(1.0 - label_smoothing);
    share.to_double() * (sum.to_double().ln() - target - label_smoothing / count * sum_of_logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use dfdx::tensor::PutTape;
    use proptest::prelude::*;

    fn loss_and_gradient(logits: &[f64], columns: usize, targets: CrossEntropy<'_>) -> (f64, Vec<f64>) {
        let logits = matrix(logits, targets.classes.len(), columns);
        let loss = cross_entropy(logits.clone().put_tape(Recorded::default()), targets).expect("shapes fit");
        let value = read(&loss)[0];
        (value, gradient_of(&backward(loss), &logits))
    }

    fn plain_loss(logits: &[f64], columns: usize, targets: CrossEntropy<'_>) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for (index, row) in logits.chunks_exact(columns).enumerate() {
            let normaliser: f64 = row.iter().map(|x| x.exp()).sum();
            let log_p: Vec<f64> = row.iter().map(|x| x - normaliser.ln()).collect();
            let smoothing = targets.label_smoothing;
            let loss = -(1.0 - smoothing) * log_p[targets.classes[index] as usize]
                - smoothing / columns as f64 * log_p.iter().sum::<f64>();
            sum += targets.weight(index) * loss;
            total += targets.weight(index);
        }
        if total == 0.0 { 0.0 } else { sum / total }
    }

    proptest! {
        #[test]
        fn loss_is_the_definition_and_gradient_the_differences(
            rows in 0usize..8, columns in 1usize..20, smoothing in prop::sample::select(vec![0.0, 0.1, 1.0]),
            weighted in 0usize..4,
        ) {
            let logits: Vec<f64> = numbers(rows * columns, 5).iter().map(|x| 4.0 * x).collect();
            let classes: Vec<u32> = (0..rows).map(|row| (row * 7 % columns) as u32).collect();
            let class_weights: Vec<f64> = (0..columns).map(|class| 0.5 + class as f64).collect();
            let row_weights: Vec<f64> = (0..rows).map(|row| (row % 3) as f64).collect();
            let targets = CrossEntropy {
                classes: &classes,
                row_weights: (weighted & 1 == 1).then_some(&row_weights),
                class_weights: (weighted & 2 == 2).then_some(&class_weights),
                label_smoothing: smoothing,
            };
            let (loss, gradient) = loss_and_gradient(&logits, columns, targets);
            prop_assert!((loss - plain_loss(&logits, columns, targets)).abs() < 1e-12);
            assert_gradient("logits", &logits, &gradient, |logits| plain_loss(logits, columns, targets));
        }
    }

    #[test]
    fn the_gradient_is_scaled_by_what_comes_after_the_loss() {
        let targets = CrossEntropy { classes: &[1, 0], ..Default::default() };
        let (_, plain) = loss_and_gradient(&[0.1, 0.2, 0.3, 0.4], 2, targets);
        let logits = matrix(&[0.1, 0.2, 0.3, 0.4], 2, 2);
        let loss = cross_entropy(logits.clone().put_tape(Recorded::default()), targets).expect("shapes fit") * 3.0;
        let tripled = gradient_of(&backward(loss), &logits);
        assert!(plain.iter().zip(&tripled).all(|(plain, tripled)| (3.0 * plain - tripled).abs() < 1e-15));
    }

    #[test]
    fn extreme_logits_give_finite_losses() {
        let targets = CrossEntropy { classes: &[0, 1], ..Default::default() };
        let logits = matrix(&[1e30f32, -1e30, 500.0, -500.0], 2, 2);
        let loss = cross_entropy(logits, targets).expect("shapes fit").as_vec()[0];
        // The first row is certain and right, the second is wrong by 1000 nats.
        assert_eq!(loss, 500.0);
    }

    #[test]
    fn a_row_of_weight_zero_takes_no_part_even_if_it_is_nan() {
        let targets = CrossEntropy { classes: &[0, 1], row_weights: Some(&[0.0, 1.0]), ..Default::default() };
        let (loss, gradient) = loss_and_gradient(&[f64::NAN, 1.0, 0.0, 0.0], 2, targets);
        assert!((loss - 2.0f64.ln()).abs() < 1e-15);
        assert_eq!(gradient, [0.0, 0.0, 0.5, -0.5]);
    }

    #[test]
    fn a_nan_reaches_the_loss() {
        let targets = CrossEntropy { classes: &[0, 1], ..Default::default() };
        assert!(loss_and_gradient(&[f64::NAN, 1.0, 0.0, 0.0], 2, targets).0.is_nan());
    }

    #[test]
    fn a_class_outside_the_logits_is_named() {
        let targets = CrossEntropy { classes: &[0, 2], ..Default::default() };
        let error = cross_entropy(matrix(&[0.0; 4], 2, 2), targets).expect_err("there are classes 0 and 1");
        let expected = KernelError::Code { operation: "cross_entropy", row: 1, column: 0, code: 2, cardinality: 2 };
        assert_eq!(error, expected);
    }

    #[test]
    fn the_loss_does_not_depend_on_threads() {
        let logits = numbers_f32(5_000 * 3, 1);
        let classes: Vec<u32> = (0..5_000).map(|row| row % 3).collect();
        let loss = || {
            let targets = CrossEntropy { classes: &classes, ..Default::default() };
            cross_entropy(matrix(&logits, 5_000, 3), targets).expect("shapes fit").as_vec()[0].to_bits()
        };
        assert_eq!(with_threads(1, loss), with_threads(4, loss));
    }
}
