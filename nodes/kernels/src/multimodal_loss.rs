//! The joint loss of several heads over the same rows, as one operation with one backward pass.
//!
//! Of each head only the gradient of its scores is kept. [`cross_entropy`](crate::cross_entropy()) and
//! [`regression_loss`](crate::regression_loss()) are the case of a single head.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};
use rayon::prelude::*;

use crate::error::check_size;
use crate::finish::TASK;
use crate::reduction::ROW_BLOCK;
use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, CrossEntropy, Element, KernelError, Matrix, RegressionLoss, Scalar};
use crate::{cross_entropy, regression_loss};

/// One head's part in the loss.
#[derive(Debug)]
pub struct LossHead<'a, E: Element, D: Buffers<E>, T> {
    /// What the head says of each row, logits or predictions, shape `(rows, outputs)`.
    pub scores: Matrix<E, D, T>,
    /// The factor of the head's loss in the sum. At zero the head learns nothing, and is reported all the same.
    pub weight: f64,
    /// The rows in which the head's modality is present; all if absent. The others take no part, whatever they hold.
    pub present: Option<&'a [bool]>,
}

/// What the scores of every head are compared with.
#[derive(Debug, Clone, Copy)]
pub enum LossTargets<'a, E> {
    /// Classes, by cross-entropy.
    Classes(CrossEntropy<'a>),
    /// Numbers, by the cost of their residuals.
    Values(RegressionLoss<'a, E>),
}

/// The joint loss, and what it is made of.
#[derive(Debug)]
pub struct MultimodalLoss<E: Element, D: Buffers<E>, T> {
    /// The weighted sum of the heads' losses.
    pub total: Scalar<E, D, T>,
    /// Each head's own loss.
    pub heads: Vec<HeadLoss>,
}

/// A head's own loss, whatever its weight in the sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadLoss {
    /// The weighted mean over the rows present; zero if there are none.
    pub value: f64,
    /// The sum of the weights of the rows present: what the mean was divided by.
    pub row_weight: f64,
}

/// `L = Σ weight · L_head`, where a head's loss is the weighted mean of its row losses over the rows it is present in:
///
/// `L_head = Σ present · row weight · row loss / Σ present · row weight`
///
/// with the row losses of [`CrossEntropy`] or [`RegressionLoss`]. A head without a row adds nothing and gets no gradient.
///
/// Shapes: scores of each head `(rows, outputs)`, its mask `(rows,)`, targets as in [`cross_entropy()`] and
/// [`regression_loss()`]; result a scalar. No heads give zero.
///
/// # Errors
/// [`KernelError::Size`] if the shapes do not fit; [`KernelError::Code`] for a class outside the scores;
/// [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let device = Cpu::default();
/// let scores = |values| matrix_from(&device, values, 2, 1);
/// let heads = vec![
///     LossHead { scores: scores(vec![1.0f64, 2.0])?, weight: 1.0, present: None },
///     LossHead { scores: scores(vec![3.0, 9.0])?, weight: 0.5, present: Some(&[true, false]) },
/// ];
/// let targets = RegressionLoss { targets: &[0.0, 0.0], row_weights: None, residual: Residual::Squared };
/// let loss = multimodal_loss(&device, heads, LossTargets::Values(targets))?;
/// // The first head costs (1 + 4) / 2, the second 9 in the one row it is present in.
/// assert_eq!(loss.total.as_vec(), [2.5 + 0.5 * 9.0]);
/// assert_eq!(loss.heads[1], HeadLoss { value: 9.0, row_weight: 1.0 });
/// # Ok::<(), KernelError>(())
/// ```
pub fn multimodal_loss<E, D, T>(
    device: &D,
    heads: Vec<LossHead<'_, E, D, T>>,
    targets: LossTargets<'_, E>,
) -> Result<MultimodalLoss<E, D, T>, KernelError>
where
    E: Element,
    D: MultimodalLossKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    fused("multimodal_loss", device, heads, targets)
}

/// The loss of one head with all rows present, under the name of the operation it stands for.
pub(crate) fn single<E, D, T>(
    operation: &'static str,
    scores: Matrix<E, D, T>,
    targets: LossTargets<'_, E>,
) -> Result<Scalar<E, D, T>, KernelError>
where
    E: Element,
    D: MultimodalLossKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let device = scores.device().clone();
    Ok(fused(operation, &device, vec![LossHead { scores, weight: 1.0, present: None }], targets)?.total)
}

fn fused<E, D, T>(
    operation: &'static str,
    device: &D,
    heads: Vec<LossHead<'_, E, D, T>>,
    targets: LossTargets<'_, E>,
) -> Result<MultimodalLoss<E, D, T>, KernelError>
where
    E: Element,
    D: MultimodalLossKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let mut tape = T::default();
    let (mut parts, mut slots, mut row_weights) = (Vec::new(), Vec::new(), Vec::new());
    let &(rows, columns) = heads.first().map_or(&(0, 0), |head| head.scores.shape());
    if !heads.is_empty() {
        targets.check(operation, rows, columns)?;
    }
    for LossHead { scores, weight, present } in heads {
        let (scores, scores_tape) = scores.try_contiguous().map_err(KernelError::device)?.split_tape();
        tape = tape.merge(scores_tape);
        check_size(operation, "rows", rows, scores.shape().0)?;
        check_size(operation, "outputs", columns, scores.shape().1)?;
        check_size(operation, "presence", rows, present.map_or(rows, <[bool]>::len))?;
        let (shares, row_weight) = targets.shares(rows, columns, present);
        row_weights.push(row_weight);
        slots.push(GradientSlot::of(&scores));
        parts.push(HeadRows { scores: device.read(&scores).map_err(KernelError::device)?, shares, weight });
    }
    let LossesAndGradients { total, heads, gradients } =
        device.multimodal_loss(columns, parts, targets).map_err(KernelError::device)?;
    let total = device.tensor_of(total, ()).map_err(KernelError::device)?;
    if T::OWNS_TAPE {
        let (device, total_slot) = (device.clone(), GradientSlot::of(&total));
        tape.add_backward_op(move |store| {
            let factor = total_slot.take_or_zeros(store)?;
            for (slot, gradient) in slots.iter().zip(&gradients) {
                let mut gathered = slot.take_or_zeros(store)?;
                device.add_scaled(&mut gathered, gradient, &factor)?;
                slot.put(store, gathered)?;
            }
            Ok(())
        });
    }
    let heads = heads.into_iter().zip(row_weights).map(|(value, row_weight)| HeadLoss { value, row_weight }).collect();
    Ok(MultimodalLoss { total: total.put_tape(tape), heads })
}

impl<E: Element> LossTargets<'_, E> {
    /// The weight of a row, whoever is present in it.
    fn weight(&self, row: usize) -> f64 {
        match self {
            LossTargets::Classes(targets) => targets.weight(row),
            LossTargets::Values(targets) => targets.row_weights.map_or(1.0, |weights| weights[row]),
        }
    }

    fn check(&self, operation: &'static str, rows: usize, columns: usize) -> Result<(), KernelError> {
        let row_weights = match self {
            LossTargets::Classes(targets) => {
                check_size(operation, "classes", rows, targets.classes.len())?;
                check_size(operation, "class weights", columns, targets.class_weights.map_or(columns, <[f64]>::len))?;
                let outside = |&(_, &code): &(usize, &u32)| code as usize >= columns;
                if let Some((row, &code)) = targets.classes.iter().enumerate().find(outside) {
                    return Err(KernelError::Code { operation, row, column: 0, code, cardinality: columns });
                }
                targets.row_weights
            }
            LossTargets::Values(targets) => {
                check_size(operation, "targets", rows * columns, targets.targets.len())?;
                targets.row_weights
            }
        };
        check_size(operation, "row weights", rows, row_weights.map_or(rows, <[f64]>::len))
    }

    /// What each row counts for, zero where it is not present, and the sum of the weights of the rows that are.
    ///
    /// The shares add up to one, or to one over the columns where a row's loss is the mean over them.
    fn shares(&self, rows: usize, columns: usize, present: Option<&[bool]>) -> (Vec<E>, f64) {
        let weight = |row: usize| match present {
            Some(present) if !present[row] => 0.0,
            _ => self.weight(row),
        };
        let row_weight = (0..rows).map(weight).fold(0.0, |sum, weight| sum + weight);
        let total = match self {
            LossTargets::Classes(_) => row_weight,
            LossTargets::Values(_) => row_weight * columns as f64,
        };
        let share = |row| E::of(if total == 0.0 { 0.0 } else { weight(row) / total });
        ((0..rows).map(share).collect(), row_weight)
    }
}

/// A head as its device sees it.
#[derive(Debug)]
pub struct HeadRows<E, B> {
    /// Logits or predictions, `(rows, columns)`; the device may write the gradient into them.
    pub scores: B,
    /// What each row's loss is multiplied by in the head's own loss, `(rows,)`.
    pub shares: Vec<E>,
    /// The factor of the head's loss in the sum.
    pub weight: f64,
}

/// The joint loss, the loss of each head, and the gradient of the joint loss by the scores of each head.
#[derive(Debug)]
pub struct LossesAndGradients<B> {
    /// The joint loss, one number.
    pub total: B,
    /// The loss of each head, on the host.
    pub heads: Vec<f64>,
    /// The gradients, `(rows, columns)` each.
    pub gradients: Vec<B>,
}

/// What a device supplies for [`multimodal_loss`].
///
/// The losses must not depend on the order in which threads finish.
pub trait MultimodalLossKernel<E: Element>: Buffers<E> {
    /// For each head `Σ share · row loss`, their sum by the heads' weights, and its gradients.
    ///
    /// All operands fit, and every class is one of the columns; the weights that `targets` holds are in the shares
    /// already. A row of share zero gets a gradient of zeros, whatever it holds, and so do all rows of a head of weight
    /// zero, whose loss is no summand then.
    ///
    /// # Errors
    /// The device's own error.
    fn multimodal_loss(
        &self,
        columns: usize,
        heads: Vec<HeadRows<E, Buffer<E, Self>>>,
        targets: LossTargets<'_, E>,
    ) -> Result<LossesAndGradients<Buffer<E, Self>>, Self::Err>;
}

impl<E: Element> MultimodalLossKernel<E> for Cpu {
    fn multimodal_loss(
        &self,
        columns: usize,
        heads: Vec<HeadRows<E, Buffer<E, Self>>>,
        targets: LossTargets<'_, E>,
    ) -> Result<LossesAndGradients<Buffer<E, Self>>, CpuError> {
        let (mut total, mut losses, mut gradients) = (0.0, Vec::new(), Vec::new());
        for HeadRows { mut scores, shares, weight } in heads {
            let loss = head_loss(columns, &mut scores, &shares, E::of(weight), targets);
            if weight == 0.0 {
                scores.fill(E::ZERO);
            } else {
                total += weight * loss;
            }
            losses.push(loss);
            gradients.push(scores);
        }
        Ok(LossesAndGradients { total: self.upload(vec![E::of(total)])?, heads: losses, gradients })
    }
}

/// The loss of one head; its scores are overwritten with their gradient, times the head's weight.
fn head_loss<E: Element>(
    columns: usize,
    scores: &mut [E],
    shares: &[E],
    weight: E,
    targets: LossTargets<'_, E>,
) -> f64 {
    let block = |(index, scores): (usize, &mut [E])| -> f64 {
        let first = index * ROW_BLOCK;
        let rows = (first..).zip(scores.chunks_exact_mut(columns).zip(&shares[first..]));
        match targets {
            LossTargets::Classes(CrossEntropy { classes, label_smoothing, .. }) => rows
                .map(|(row, (logits, &share))| {
                    cross_entropy::row_loss(logits, classes[row] as usize, share, weight, label_smoothing)
                })
                .sum(),
            LossTargets::Values(RegressionLoss { targets, residual, .. }) => rows
                .map(|(row, (predictions, &share))| {
                    let targets = &targets[row * columns..][..columns];
                    regression_loss::row_loss(predictions, targets, share, weight, residual)
                })
                .sum(),
        }
    };
    let length = (columns * ROW_BLOCK).max(1);
    // Handing a small batch to other threads takes longer than the work.
    let blocks: Vec<f64> = if scores.len() <= TASK {
        scores.chunks_mut(length).enumerate().map(block).collect()
    } else {
        scores.par_chunks_mut(length).enumerate().map(block).collect()
    };
    blocks.into_iter().fold(0.0, |sum, block| sum + block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Residual;
    use crate::check::*;
    use dfdx::tensor::OwnedTape;
    use proptest::prelude::*;

    /// A head's scores, weight and presence.
    type Head = (Vec<f64>, f64, Option<Vec<bool>>);

    struct Outcome {
        total: f64,
        heads: Vec<HeadLoss>,
        gradients: Vec<Vec<f64>>,
    }

    fn run(heads: &[Head], columns: usize, targets: LossTargets<'_, f64>) -> Outcome {
        let scores: Vec<Matrix<f64, Cpu>> =
            heads.iter().map(|(scores, ..)| matrix(scores, scores.len() / columns, columns)).collect();
        let inputs = scores.iter().zip(heads).map(|(scores, (_, weight, present))| LossHead {
            scores: scores.clone().put_tape(Recorded::default()),
            weight: *weight,
            present: present.as_deref(),
        });
        let loss = multimodal_loss(&Cpu::default(), inputs.collect(), targets).expect("shapes fit");
        let total = read(&loss.total)[0];
        let gradients = backward(loss.total);
        let gradients = scores.iter().map(|scores| gradient_of(&gradients, scores)).collect();
        Outcome { total, heads: loss.heads, gradients }
    }

    /// The head's loss by the formula, from the rows that are present alone.
    fn plain_head(scores: &[f64], columns: usize, present: Option<&[bool]>, targets: LossTargets<'_, f64>) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for (row, scores) in scores.chunks_exact(columns).enumerate() {
            if present.is_some_and(|present| !present[row]) {
                continue;
            }
            let (weight, loss) = match targets {
                LossTargets::Classes(targets) => {
                    let class = targets.classes[row] as usize;
                    let weight = targets.row_weights.map_or(1.0, |weights| weights[row])
                        * targets.class_weights.map_or(1.0, |weights| weights[class]);
                    let normaliser = scores.iter().map(|x| x.exp()).sum::<f64>().ln();
                    let losses: Vec<f64> = scores.iter().map(|x| normaliser - x).collect();
                    let spread = losses.iter().sum::<f64>() / columns as f64;
                    (weight, (1.0 - targets.label_smoothing) * losses[class] + targets.label_smoothing * spread)
                }
                LossTargets::Values(targets) => {
                    let costs = scores.iter().zip(&targets.targets[row * columns..]).map(|(score, target)| {
                        let d: f64 = score - target;
                        match targets.residual {
                            Residual::Squared => d * d,
                            Residual::Huber { delta } if d.abs() <= delta => d * d / 2.0,
                            Residual::Huber { delta } => delta * (d.abs() - delta / 2.0),
                        }
                    });
                    let cost = costs.sum::<f64>() / columns as f64;
                    (targets.row_weights.map_or(1.0, |weights| weights[row]), cost)
                }
            };
            sum += weight * loss;
            total += weight;
        }
        if total == 0.0 { 0.0 } else { sum / total }
    }

    fn plain(heads: &[Head], columns: usize, targets: LossTargets<'_, f64>) -> f64 {
        heads
            .iter()
            .map(|(scores, weight, present)| weight * plain_head(scores, columns, present.as_deref(), targets))
            .sum()
    }

    /// Head i is weighted i / 2, so the first one is only reported; of its rows every (i + 1)th is missing, and all of
    /// the third head's.
    fn some_heads(count: usize, rows: usize, columns: usize) -> Vec<Head> {
        (0..count)
            .map(|head| {
                let scores = numbers(rows * columns, head as u64).iter().map(|x| 3.0 * x).collect();
                let present = (head > 0).then(|| (0..rows).map(|row| head != 2 && row % (head + 1) > 0).collect());
                (scores, head as f64 / 2.0, present)
            })
            .collect()
    }

    fn check_against_definition(heads: &[Head], columns: usize, targets: LossTargets<'_, f64>) {
        let outcome = run(heads, columns, targets);
        assert!((outcome.total - plain(heads, columns, targets)).abs() < 1e-12);
        for (index, (scores, _, present)) in heads.iter().enumerate() {
            let own = plain_head(scores, columns, present.as_deref(), targets);
            assert!((outcome.heads[index].value - own).abs() < 1e-12);
            assert_gradient("scores", scores, &outcome.gradients[index], |moved| {
                let mut heads = heads.to_vec();
                heads[index].0 = moved.to_vec();
                plain(&heads, columns, targets)
            });
        }
    }

    proptest! {
        #[test]
        fn classes_give_the_defined_loss_and_the_differences(
            heads in 0usize..5, rows in 0usize..7, columns in 1usize..9,
            smoothing in prop::sample::select(vec![0.0, 0.1, 1.0]), weighted in 0usize..4,
        ) {
            let classes: Vec<u32> = (0..rows).map(|row| (row * 7 % columns) as u32).collect();
            let class_weights: Vec<f64> = (0..columns).map(|class| 0.5 + class as f64).collect();
            let row_weights: Vec<f64> = (0..rows).map(|row| (row % 3) as f64).collect();
            let targets = LossTargets::Classes(CrossEntropy {
                classes: &classes,
                row_weights: (weighted & 1 == 1).then_some(&row_weights),
                class_weights: (weighted & 2 == 2).then_some(&class_weights),
                label_smoothing: smoothing,
            });
            check_against_definition(&some_heads(heads, rows, columns), columns, targets);
        }

        #[test]
        fn values_give_the_defined_loss_and_the_differences(
            heads in 0usize..5, rows in 0usize..7, columns in 1usize..4, huber in 0usize..2, weighted in 0usize..2,
        ) {
            let values = numbers(rows * columns, 50);
            let row_weights: Vec<f64> = (0..rows).map(|row| (row % 3) as f64).collect();
            let targets = LossTargets::Values(RegressionLoss {
                targets: &values,
                row_weights: (weighted == 1).then_some(&row_weights),
                residual: if huber == 1 { Residual::Huber { delta: 0.7 } } else { Residual::Squared },
            });
            check_against_definition(&some_heads(heads, rows, columns), columns, targets);
        }
    }

    #[test]
    fn the_sum_is_that_of_single_losses_over_the_rows_present() {
        let (rows, columns) = (9, 4);
        let heads = some_heads(4, rows, columns);
        let classes: Vec<u32> = (0..rows as u32).map(|row| row % 4).collect();
        let outcome =
            run(&heads, columns, LossTargets::Classes(CrossEntropy { classes: &classes, ..Default::default() }));
        let mut sum = 0.0;
        for (head, (scores, weight, present)) in heads.iter().enumerate() {
            let kept: Vec<usize> =
                (0..rows).filter(|&row| present.as_ref().is_none_or(|present| present[row])).collect();
            let scores: Vec<f64> = kept.iter().flat_map(|&row| scores[row * columns..][..columns].to_vec()).collect();
            let classes: Vec<u32> = kept.iter().map(|&row| classes[row]).collect();
            let targets = CrossEntropy { classes: &classes, ..Default::default() };
            let single = cross_entropy(matrix(&scores, kept.len(), columns), targets).expect("shapes fit");
            assert!((outcome.heads[head].value - read(&single)[0]).abs() < 1e-14);
            assert_eq!(outcome.heads[head].row_weight, kept.len() as f64);
            sum += weight * read(&single)[0];
        }
        assert!((outcome.total - sum).abs() < 1e-14);
    }

    const TWO_ROWS: LossTargets<'static, f64> = LossTargets::Classes(CrossEntropy {
        classes: &[0, 1],
        row_weights: None,
        class_weights: None,
        label_smoothing: 0.0,
    });

    #[test]
    fn a_head_present_nowhere_adds_nothing_and_learns_nothing() {
        let absent = (vec![f64::NAN, 2.0, 3.0, f64::INFINITY], 1.0, Some(vec![false; 2]));
        let outcome = run(&[absent.clone(), (vec![0.0; 4], 2.0, None)], 2, TWO_ROWS);
        assert_eq!(outcome.heads[0], HeadLoss { value: 0.0, row_weight: 0.0 });
        assert_eq!(outcome.gradients[0], [0.0; 4]);
        assert!((outcome.total - 2.0 * 2.0f64.ln()).abs() < 1e-15);
        let alone = run(&[absent.clone(), absent], 2, TWO_ROWS);
        assert_eq!((alone.total, alone.gradients), (0.0, vec![vec![0.0; 4]; 2]));
    }

    #[test]
    fn a_row_that_is_not_present_takes_no_part_even_if_it_is_nan() {
        let head = (vec![f64::NAN, 1.0, 0.0, 0.0], 1.0, Some(vec![false, true]));
        let outcome = run(&[head], 2, TWO_ROWS);
        assert!((outcome.total - 2.0f64.ln()).abs() < 1e-15);
        assert_eq!(outcome.gradients[0], [0.0, 0.0, 0.5, -0.5]);
    }

    #[test]
    fn a_nan_stays_in_its_row_and_head_and_reaches_the_loss() {
        let head = (vec![f64::NAN, 1.0, 0.0, 0.0], 1.0, None);
        let outcome = run(&[head, (vec![0.0; 4], 1.0, None)], 2, TWO_ROWS);
        assert!(outcome.total.is_nan() && outcome.heads[0].value.is_nan());
        assert!(outcome.gradients[0][..2].iter().all(|gradient| gradient.is_nan()));
        assert_eq!(outcome.gradients[0][2..], [0.25, -0.25]);
        assert_eq!(outcome.gradients[1], [-0.25, 0.25, 0.25, -0.25]);
    }

    #[test]
    fn a_head_of_weight_zero_is_reported_and_learns_nothing() {
        let outcome = run(&[(vec![f64::NAN; 4], 0.0, None), (vec![0.0; 4], 1.0, None)], 2, TWO_ROWS);
        assert!(outcome.heads[0].value.is_nan());
        assert!((outcome.total - 2.0f64.ln()).abs() < 1e-15);
        assert_eq!(outcome.gradients[0], [0.0; 4]);
    }

    #[test]
    fn extreme_logits_give_finite_losses_and_gradients() {
        // The first row is certain and right, the second is wrong by 2000 nats.
        let outcome = run(&[(vec![1000.0, -1000.0, 1000.0, -1000.0], 0.5, None)], 2, TWO_ROWS);
        assert_eq!((outcome.total, outcome.heads[0].value), (500.0, 1000.0));
        assert_eq!(outcome.gradients[0], [0.0, 0.0, 0.25, -0.25]);
    }

    #[test]
    fn the_same_scores_under_two_heads_get_both_gradients() {
        let scores = matrix(&[0.0; 4], 2, 2);
        let head = |weight| LossHead { scores: scores.clone().put_tape(Recorded::default()), weight, present: None };
        let loss = multimodal_loss(&Cpu::default(), vec![head(1.0), head(3.0)], TWO_ROWS).expect("shapes fit");
        assert_eq!(gradient_of(&backward(loss.total), &scores), [-1.0, 1.0, 1.0, -1.0]);
    }

    #[test]
    fn the_gradient_is_scaled_by_what_comes_after_the_loss() {
        let scores = matrix(&[0.0; 4], 2, 2);
        let head = LossHead { scores: scores.clone().put_tape(Recorded::default()), weight: 1.0, present: None };
        let loss = multimodal_loss(&Cpu::default(), vec![head], TWO_ROWS).expect("shapes fit");
        assert_eq!(gradient_of(&backward(loss.total * 4.0), &scores), [-1.0, 1.0, 1.0, -1.0]);
    }

    /// The bits of total, heads' losses and gradients in single precision.
    fn bits_of(heads: &[(Vec<f32>, Vec<bool>)], columns: usize, classes: &[u32], row_weights: &[f64]) -> Vec<u64> {
        let scores: Vec<Matrix<f32, Cpu>> =
            heads.iter().map(|(scores, _)| matrix(scores, classes.len(), columns)).collect();
        let inputs = scores.iter().zip(heads).enumerate().map(|(index, (scores, (_, present)))| LossHead {
            scores: scores.clone().put_tape(OwnedTape::<f32, Cpu>::default()),
            weight: 0.3 + index as f64,
            present: Some(present),
        });
        let targets = CrossEntropy { classes, row_weights: Some(row_weights), ..Default::default() };
        let loss =
            multimodal_loss(&Cpu::default(), inputs.collect(), LossTargets::Classes(targets)).expect("shapes fit");
        let mut all = vec![u64::from(read(&loss.total)[0].to_bits())];
        all.extend(loss.heads.iter().map(|head| head.value.to_bits()));
        let gradients = dfdx::tensor_ops::Backward::try_backward(loss.total).expect("on the CPU");
        for scores in &scores {
            all.extend(bits(&read(&gradients.get(scores))).into_iter().map(u64::from));
        }
        all
    }

    #[test]
    fn neither_threads_nor_rows_that_do_not_count_change_a_bit() {
        let (rows, columns) = (3_000, 7);
        let heads = |rows: usize| -> Vec<(Vec<f32>, Vec<bool>)> {
            (0..3)
                .map(|head| {
                    (numbers_f32(rows * columns, head), (0..rows).map(|row| row % 5 != head as usize).collect())
                })
                .collect()
        };
        let classes: Vec<u32> = (0..rows as u32).map(|row| row % 7).collect();
        let weights: Vec<f64> = (0..rows).map(|row| f64::from(u8::from(row < 40))).collect();
        let run = || bits_of(&heads(rows), columns, &classes, &weights);
        let all = with_threads(1, run);
        assert!(all == with_threads(4, run));

        // The first 40 rows alone, and what the others leave.
        let few: Vec<(Vec<f32>, Vec<bool>)> = heads(rows)
            .into_iter()
            .map(|(scores, present)| (scores[..40 * columns].to_vec(), present[..40].to_vec()))
            .collect();
        let alone = bits_of(&few, columns, &classes[..40], &weights[..40]);
        assert_eq!(alone[..4], all[..4]);
        for head in 0..3 {
            let gradients = &all[4 + head * rows * columns..][..rows * columns];
            assert_eq!(alone[4 + head * 40 * columns..][..40 * columns], gradients[..40 * columns]);
            assert!(gradients[40 * columns..].iter().all(|&bits| bits == 0));
        }
    }

    #[test]
    fn operands_that_do_not_fit_are_named() {
        let fails = |heads: &[(usize, usize, Option<&[bool]>)], classes: &[u32]| {
            let heads = heads.iter().map(|&(rows, columns, present)| LossHead {
                scores: matrix(&vec![0.0f64; rows * columns], rows, columns),
                weight: 1.0,
                present,
            });
            let targets = LossTargets::Classes(CrossEntropy { classes, ..Default::default() });
            multimodal_loss(&Cpu::default(), heads.collect(), targets).expect_err("the operands do not fit").to_string()
        };
        let size = |what, expected, found| format!("`multimodal_loss` takes {what} of size {expected}, found {found}");
        assert_eq!(fails(&[(2, 2, None), (1, 2, None)], &[0, 1]), size("rows", 2, 1));
        assert_eq!(fails(&[(2, 2, None), (2, 3, None)], &[0, 1]), size("outputs", 2, 3));
        assert_eq!(fails(&[(2, 2, Some(&[true]))], &[0, 1]), size("presence", 2, 1));
        assert_eq!(fails(&[(2, 2, None)], &[0]), size("classes", 2, 1));
        let code = "`multimodal_loss`: row 1, column 0 holds code 2, but there are 2 codes from 0";
        assert_eq!(fails(&[(2, 2, None)], &[0, 2]), code);
    }

    #[test]
    fn no_heads_give_zero() {
        let outcome = run(&[], 2, TWO_ROWS);
        assert_eq!((outcome.total, outcome.heads.len()), (0.0, 0));
    }
}
