//! Matrices of equal height, side by side.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};

use crate::error::check_size;
use crate::finish::for_row_chunks;
use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, Element, InputGradient, KernelError, Matrix};

/// The parts side by side, in order.
///
/// Shapes: part i `(rows, columns i)`; result `(rows, sum of the columns)`; no parts give `(0, 0)`.
///
/// # Errors
/// [`KernelError::Size`] if the parts differ in height; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let device = Cpu::default();
/// let left = matrix_from(&device, vec![1.0f32, 2.0], 2, 1)?;
/// let right = matrix_from(&device, vec![3.0, 4.0, 5.0, 6.0], 2, 2)?;
/// let both = concat(&device, vec![(left, InputGradient::Skipped), (right, InputGradient::Skipped)])?;
/// assert_eq!(both.as_vec(), [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn concat<E, D, T>(device: &D, parts: Vec<(Matrix<E, D, T>, InputGradient)>) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: ConcatKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let mut tape = T::default();
    let (mut values, mut widths, mut slots) = (Vec::new(), Vec::new(), Vec::new());
    let rows = parts.first().map_or(0, |(part, _)| part.shape().0);
    for (part, input_gradient) in parts {
        let (part, part_tape) = part.try_contiguous().map_err(KernelError::device)?.split_tape();
        tape = tape.merge(part_tape);
        check_size("concat", "rows", rows, part.shape().0)?;
        widths.push(part.shape().1);
        values.push(device.read(&part).map_err(KernelError::device)?);
        slots.push((input_gradient == InputGradient::Needed && T::OWNS_TAPE).then(|| GradientSlot::of(&part)));
    }
    let output = device
        .concat_forward(rows, &widths, &values)
        .and_then(|output| device.tensor_of(output, (rows, widths.iter().sum())))
        .map_err(KernelError::device)?;

    if slots.iter().any(Option::is_some) {
        let device = device.clone();
        let output_slot = GradientSlot::of(&output);
        tape.add_backward_op(move |gradients| {
            let output = output_slot.take_or_zeros(gradients)?;
            let mut start = 0;
            for (slot, &width) in slots.iter().zip(&widths) {
                if let Some(slot) = slot {
                    let mut gathered = slot.take_or_zeros(gradients)?;
                    device.concat_backward(rows, &widths, start, width, &output, &mut gathered)?;
                    slot.put(gradients, gathered)?;
                }
                start += width;
            }
            Ok(())
        });
    }
    Ok(output.put_tape(tape))
}

/// What a device supplies for [`concat()`].
pub trait ConcatKernel<E: Element>: Buffers<E> {
    /// The parts, of the given widths, side by side.
    ///
    /// # Errors
    /// The device's own error.
    fn concat_forward(
        &self,
        rows: usize,
        widths: &[usize],
        parts: &[Buffer<E, Self>],
    ) -> Result<Buffer<E, Self>, Self::Err>;

    /// Adds the columns from `start` on of the output's gradient to that of the part that lies there.
    ///
    /// # Errors
    /// The device's own error.
    fn concat_backward(
        &self,
        rows: usize,
        widths: &[usize],
        start: usize,
        width: usize,
        output_gradient: &Buffer<E, Self>,
        gathered: &mut Buffer<E, Self>,
    ) -> Result<(), Self::Err>;
}

impl<E: Element> ConcatKernel<E> for Cpu {
    fn concat_forward(
        &self,
        rows: usize,
        widths: &[usize],
        parts: &[Buffer<E, Self>],
    ) -> Result<Buffer<E, Self>, CpuError> {
        let total = widths.iter().sum::<usize>();
        let mut output = <Cpu as Storage<E>>::try_alloc_len(self, rows * total)?;
        for_row_chunks(total, &mut output, |first_row, rows| {
            for (index, mut row) in rows.chunks_exact_mut(total).enumerate() {
                for (part, &width) in parts.iter().zip(widths) {
                    let (cells, rest) = row.split_at_mut(width);
                    cells.copy_from_slice(&part[(first_row + index) * width..][..width]);
                    row = rest;
                }
            }
        });
        Ok(output)
    }

    fn concat_backward(
        &self,
        _rows: usize,
        widths: &[usize],
        start: usize,
        width: usize,
        output_gradient: &Buffer<E, Self>,
        gathered: &mut Buffer<E, Self>,
    ) -> Result<(), CpuError> {
        let total = widths.iter().sum::<usize>();
        for_row_chunks(width, gathered, |first_row, rows| {
            for (index, row) in rows.chunks_exact_mut(width).enumerate() {
                let source = &output_gradient[(first_row + index) * total + start..][..width];
                for (sum, &value) in row.iter_mut().zip(source) {
                    *sum += value;
                }
            }
        });
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
        fn rows_are_the_parts_rows_and_gradients_go_back_to_them(
            rows in 0usize..9,
            widths in prop::collection::vec(0usize..6, 1..5),
        ) {
            let inputs: Vec<_> = widths.iter().enumerate()
                .map(|(index, &width)| matrix(&numbers(rows * width, index as u64), rows, width)).collect();
            let parts = inputs.iter().map(|input| (input.clone().put_tape(Recorded::default()), InputGradient::Needed));
            let output = concat(&Cpu::default(), parts.collect()).expect("equal heights");
            let total: usize = widths.iter().sum();
            let mut plain = Vec::new();
            for row in 0..rows {
                for (input, &width) in inputs.iter().zip(&widths) {
                    plain.extend_from_slice(&read(input)[row * width..(row + 1) * width]);
                }
            }
            prop_assert_eq!(read(&output), plain);
            if rows * total > 0 {
                let gradients = backward(weigh(output));
                let weights = numbers(rows * total, 99);
                let mut start = 0;
                for (input, &width) in inputs.iter().zip(&widths) {
                    let plain: Vec<f64> = (0..rows)
                        .flat_map(|row| weights[row * total + start..][..width].to_vec()).collect();
                    prop_assert_eq!(gradient_of(&gradients, input), plain);
                    start += width;
                }
            }
        }
    }

    #[test]
    fn the_same_part_twice_gets_both_gradients() {
        let input = matrix(&[1.0, 2.0], 2, 1);
        let part = || (input.clone().put_tape(Recorded::default()), InputGradient::Needed);
        let output = concat(&Cpu::default(), vec![part(), part()]).expect("equal heights");
        let weights = numbers(4, 99);
        let gradients = backward(weigh(output));
        assert_eq!(gradient_of(&gradients, &input), [weights[0] + weights[1], weights[2] + weights[3]]);
    }

    #[test]
    fn parts_of_different_heights_are_refused() {
        let parts =
            vec![(matrix(&[1.0], 1, 1), InputGradient::Skipped), (matrix(&[1.0, 2.0], 2, 1), InputGradient::Skipped)];
        let error = concat(&Cpu::default(), parts).expect_err("1 row and 2 rows");
        assert_eq!(error, KernelError::Size { operation: "concat", what: "rows", expected: 1, found: 2 });
    }
}
