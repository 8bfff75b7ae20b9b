//! The mean over the steps of a sequence, or over the places of an image.

use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};

use crate::error::check_size;
use crate::finish::for_row_chunks;
use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, Element, KernelError, Matrix, Spans};

/// The mean of each row's steps; a row without steps has the mean zero.
///
/// Shapes: `input` `(steps of all rows, width)`, or, of rows with as many steps each, `(rows, steps · width)`; result
/// `(rows, width)`.
///
/// # Errors
/// [`KernelError::Size`] if `input` has not `width` numbers for each step; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let steps = matrix_from(&Cpu::default(), vec![1.0f32, 2.0, 3.0, 6.0, 5.0, 5.0], 3, 2)?;
/// let means = sequence_mean(steps, &Spans::of_lengths([2, 0, 1]), 2)?;
/// assert_eq!(means.as_vec(), [2.0, 4.0, 0.0, 0.0, 5.0, 5.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn sequence_mean<E, D, T>(
    input: Matrix<E, D, T>,
    spans: &Spans,
    width: usize,
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: SequenceMeanKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let rows = spans.rows();
    mean("sequence_mean", input, spans, width, (rows, width))
}

/// The mean of each channel over all its places.
///
/// Shapes: `input` `(rows, channels · places)`; result `(rows, channels)`; without places all are zero.
///
/// # Errors
/// [`KernelError::Size`] if the channels do not share the columns evenly; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let image = matrix_from(&Cpu::default(), vec![1.0f32, 2.0, 3.0, 5.0, 5.0, 5.0], 1, 6)?;
/// assert_eq!(channel_mean(image, 2)?.as_vec(), [2.0, 5.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn channel_mean<E, D, T>(input: Matrix<E, D, T>, channels: usize) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: SequenceMeanKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let &(rows, columns) = input.shape();
    let places = columns.checked_div(channels).unwrap_or(0);
    mean("channel_mean", input, &Spans::equal(rows * channels, places), 1, (rows, channels))
}

fn mean<E, D, T>(
    operation: &'static str,
    input: Matrix<E, D, T>,
    spans: &Spans,
    width: usize,
    shape: (usize, usize),
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: SequenceMeanKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let (input, mut tape) = input.try_contiguous().map_err(KernelError::device)?.split_tape();
    check_size(operation, "input", spans.steps() * width, input.shape().num_elements())?;
    let device = input.device().clone();
    let input_slot = GradientSlot::of(&input);
    let output = device
        .read(&input)
        .and_then(|values| device.sequence_mean_forward(spans, width, &values))
        .and_then(|output| device.tensor_of(output, shape))
        .map_err(KernelError::device)?;
    if T::OWNS_TAPE {
        let (spans, output_slot) = (spans.clone(), GradientSlot::of(&output));
        tape.add_backward_op(move |gradients| {
            let output = output_slot.take_or_zeros(gradients)?;
            let mut gathered = input_slot.take_or_zeros(gradients)?;
            device.sequence_mean_backward(&spans, width, &output, &mut gathered)?;
            input_slot.put(gradients, gathered)
        });
    }
    Ok(output.put_tape(tape))
}

/// What a device supplies for [`sequence_mean`] and [`channel_mean`].
///
/// The result of a row must not depend on the other rows, bit for bit.
pub trait SequenceMeanKernel<E: Element>: Buffers<E> {
    /// The means, `(rows, width)`, steps in order.
    ///
    /// # Errors
    /// The device's own error.
    fn sequence_mean_forward(
        &self,
        spans: &Spans,
        width: usize,
        input: &Buffer<E, Self>,
    ) -> Result<Buffer<E, Self>, Self::Err>;

    /// Adds the gradient of the steps to that gathered.
    ///
    /// # Errors
    /// The device's own error.
    fn sequence_mean_backward(
        &self,
        spans: &Spans,
        width: usize,
        output_gradient: &Buffer<E, Self>,
        gathered: &mut Buffer<E, Self>,
    ) -> Result<(), Self::Err>;
}

impl<E: Element> SequenceMeanKernel<E> for Cpu {
    fn sequence_mean_forward(
        &self,
        spans: &Spans,
        width: usize,
        input: &Buffer<E, Self>,
    ) -> Result<Buffer<E, Self>, CpuError> {
        let mut output = <Cpu as Storage<E>>::try_alloc_len(self, spans.rows() * width)?;
        for_row_chunks(width, &mut output, |first_row, rows| {
            for (index, mean) in rows.chunks_exact_mut(width).enumerate() {
                let span = spans.of_row(first_row + index);
                let count = E::of(span.len().max(1) as f64);
                for step in input[span.start * width..span.end * width].chunks_exact(width) {
                    for (mean, &value) in mean.iter_mut().zip(step) {
                        *mean += value;
                    }
                }
                mean.iter_mut().for_each(|value| *value /= count);
            }
        });
        Ok(output)
    }

    fn sequence_mean_backward(
        &self,
        spans: &Spans,
        width: usize,
        output_gradient: &Buffer<E, Self>,
        gathered: &mut Buffer<E, Self>,
    ) -> Result<(), CpuError> {
        if width == 0 {
            return Ok(());
        }
        let mut rest = &mut gathered[..];
        for (span, gradient) in spans.iter().zip(output_gradient.chunks_exact(width)) {
            let (row, after) = rest.split_at_mut(span.len() * width);
            let count = E::of(span.len().max(1) as f64);
            for step in row.chunks_exact_mut(width) {
                for (sum, &value) in step.iter_mut().zip(gradient) {
                    *sum += value / count;
                }
            }
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn means_are_the_plain_ones_and_gradients_the_differences(
            lengths in prop::collection::vec(0usize..5, 0..6), width in 1usize..4,
        ) {
            let spans = Spans::of_lengths(lengths);
            let values = numbers(spans.steps() * width, 1);
            let run = |values: &[f64]| {
                let input = matrix(values, spans.steps(), width);
                let output = sequence_mean(input.clone().put_tape(Recorded::default()), &spans, width);
                (input, output.expect("sizes fit"))
            };
            let (input, output) = run(&values);
            let mut plain = Vec::new();
            for span in spans.iter() {
                for column in 0..width {
                    let sum: f64 = span.clone().map(|step| values[step * width + column]).sum();
                    plain.push(sum / span.len().max(1) as f64);
                }
            }
            for (found, plain) in read(&output).iter().zip(&plain) {
                prop_assert!((found - plain).abs() < 1e-14);
            }
            if spans.steps() > 0 {
                let gradient = gradient_of(&backward(weigh(output)), &input);
                assert_gradient("steps", &values, &gradient, |values| read(&weigh(run(values).1))[0]);
            }
        }
    }

    #[test]
    fn steps_may_lie_side_by_side_in_a_row() {
        let input = matrix(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 2, 4);
        assert_eq!(sequence_mean(input, &Spans::equal(2, 2), 2).expect("sizes fit").as_vec(), [2.0, 3.0, 6.0, 7.0]);
        let error = sequence_mean(matrix(&[1.0f32], 1, 1), &Spans::equal(2, 2), 2).expect_err("sizes differ");
        assert_eq!(error, KernelError::Size { operation: "sequence_mean", what: "input", expected: 8, found: 1 });
    }

    #[test]
    fn channels_are_averaged_over_their_places_and_get_their_gradients() {
        let values = numbers(2 * 3 * 4, 1);
        let run = |values: &[f64]| {
            let input = matrix(values, 2, 12);
            let output = channel_mean(input.clone().put_tape(Recorded::default()), 3).expect("sizes fit");
            (input, output)
        };
        let (input, output) = run(&values);
        let plain: Vec<f64> = values.chunks(4).map(|places| places.iter().sum::<f64>() / 4.0).collect();
        assert_eq!(output.shape(), &(2, 3));
        assert!(read(&output).iter().zip(plain).all(|(found, plain)| (found - plain).abs() < 1e-15));
        let gradient = gradient_of(&backward(weigh(output)), &input);
        assert_gradient("places", &values, &gradient, |values| read(&weigh(run(values).1))[0]);
        let error = channel_mean(matrix(&[0.0f64; 5], 1, 5), 2).expect_err("5 is odd");
        assert_eq!(error, KernelError::Size { operation: "channel_mean", what: "input", expected: 4, found: 5 });
    }

    #[test]
    fn a_nan_stays_in_its_row_and_column() {
        let means = sequence_mean(matrix(&[f32::NAN, 1.0, 2.0, 3.0], 2, 2), &Spans::equal(2, 1), 2).expect("they fit");
        let means = means.as_vec();
        assert!(means[0].is_nan() && means[1..] == [1.0, 2.0, 3.0]);
    }
}
