//! Vectors added up by the weights of a softmax gate, as one operation.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};

use crate::error::check_size;
use crate::finish::for_row_chunks;
use crate::reduction::{row_product, row_sum};
use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, Element, KernelError, Matrix};

/// `Σ g_m v_m` in each row, where v_1 … v_M are the row's vectors, side by side in `values`, and g = softmax(`gate_logits`).
///
/// The gate decides row by row how much each vector says; after the gated multimodal unit (Arevalo et al. 2017,
/// arXiv:1702.01992), whose gate for more than two modalities is one sigmoid each, where this one shares a total of one.
///
/// Shapes: `values` `(rows, gates · width)`, `gate_logits` `(rows, gates)`; result `(rows, width)`.
///
/// # Errors
/// [`KernelError::Size`] if the shapes do not fit or there is no gate; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let device = Cpu::default();
/// let values = matrix_from(&device, vec![1.0f32, 2.0, 5.0, 6.0], 1, 4)?;
/// let even = matrix_from(&device, vec![0.0, 0.0], 1, 2)?;
/// assert_eq!(gated_sum(values, even)?.as_vec(), [3.0, 4.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn gated_sum<E, D, T>(values: Matrix<E, D, T>, gate_logits: Matrix<E, D, T>) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: GateKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let (values, values_tape) = values.try_contiguous().map_err(KernelError::device)?.split_tape();
    let (logits, logits_tape) = gate_logits.try_contiguous().map_err(KernelError::device)?.split_tape();
    let mut tape = values_tape.merge(logits_tape);
    let (&(rows, columns), &(logit_rows, gates)) = (values.shape(), logits.shape());
    check_size("gated_sum", "gate logits", rows, logit_rows)?;
    if gates == 0 {
        return Err(KernelError::Size { operation: "gated_sum", what: "gates", expected: 1, found: 0 });
    }
    check_size("gated_sum", "values", columns.next_multiple_of(gates), columns)?;
    let shape = GateShape { gates, width: columns / gates };

    let device = values.device().clone();
    let (values_slot, logits_slot) = (GradientSlot::of(&values), GradientSlot::of(&logits));
    let values = device.read(&values).map_err(KernelError::device)?;
    let GatedSum { output, gates } = device
        .read(&logits)
        .and_then(|logits| device.gate_forward(shape, &values, logits))
        .map_err(KernelError::device)?;
    let output = device.tensor_of(output, (rows, shape.width)).map_err(KernelError::device)?;

    if T::OWNS_TAPE {
        let output_slot = GradientSlot::of(&output);
        tape.add_backward_op(move |store| {
            let output = output_slot.take_or_zeros(store)?;
            let mut by_values = values_slot.take_or_zeros(store)?;
            device.gate_backward_values(shape, &gates, &output, &mut by_values)?;
            values_slot.put(store, by_values)?;
            let mut by_logits = logits_slot.take_or_zeros(store)?;
            device.gate_backward_logits(shape, &values, &gates, &output, &mut by_logits)?;
            logits_slot.put(store, by_logits)
        });
    }
    Ok(output.put_tape(tape))
}

/// The sizes of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateShape {
    /// Vectors in a row; at least one.
    pub gates: usize,
    /// Numbers in a vector.
    pub width: usize,
}

/// What the forward pass of [`gated_sum`] gives.
#[derive(Debug)]
pub struct GatedSum<B> {
    /// The sum of the vectors, `(rows, width)`.
    pub output: B,
    /// The share of each vector, `(rows, gates)`.
    pub gates: B,
}

/// What a device supplies for [`gated_sum`].
///
/// The result of a row must not depend on the other rows, bit for bit.
pub trait GateKernel<E: Element>: Buffers<E> {
    /// The gated sum and the gates.
    ///
    /// # Errors
    /// The device's own error.
    fn gate_forward(
        &self,
        shape: GateShape,
        values: &Buffer<E, Self>,
        logits: Buffer<E, Self>,
    ) -> Result<GatedSum<Buffer<E, Self>>, Self::Err>;

    /// Adds the gradient of the values to that gathered.
    ///
    /// # Errors
    /// The device's own error.
    fn gate_backward_values(
        &self,
        shape: GateShape,
        gates: &Buffer<E, Self>,
        output_gradient: &Buffer<E, Self>,
        gathered: &mut Buffer<E, Self>,
    ) -> Result<(), Self::Err>;

    /// Adds the gradient of the logits to that gathered.
    ///
    /// # Errors
    /// The device's own error.
    fn gate_backward_logits(
        &self,
        shape: GateShape,
        values: &Buffer<E, Self>,
        gates: &Buffer<E, Self>,
        output_gradient: &Buffer<E, Self>,
        gathered: &mut Buffer<E, Self>,
    ) -> Result<(), Self::Err>;
}

impl<E: Element> GateKernel<E> for Cpu {
    fn gate_forward(
        &self,
        GateShape { gates: count, width }: GateShape,
        values: &Buffer<E, Self>,
        mut gates: Buffer<E, Self>,
    ) -> Result<GatedSum<Buffer<E, Self>>, CpuError> {
        for_row_chunks(count, &mut gates, |_, rows| rows.chunks_exact_mut(count).for_each(softmax));
        let mut output = <Cpu as Storage<E>>::try_alloc_len(self, gates.len() / count * width)?;
        for_row_chunks(width, &mut output, |first_row, rows| {
            for (row, output) in (first_row..).zip(rows.chunks_exact_mut(width)) {
                let vectors = values[row * count * width..].chunks_exact(width);
                for (&gate, vector) in gates[row * count..][..count].iter().zip(vectors) {
                    for (sum, &value) in output.iter_mut().zip(vector) {
                        *sum = gate.mul_add(value, *sum);
                    }
                }
            }
        });
        Ok(GatedSum { output, gates })
    }

    fn gate_backward_values(
        &self,
        GateShape { gates: count, width }: GateShape,
        gates: &Buffer<E, Self>,
        output_gradient: &Buffer<E, Self>,
        gathered: &mut Buffer<E, Self>,
    ) -> Result<(), CpuError> {
        for_row_chunks(count * width, gathered, |first_row, rows| {
            for (row, sums) in (first_row..).zip(rows.chunks_exact_mut(count * width)) {
                let gradient = &output_gradient[row * width..][..width];
                for (&gate, sums) in gates[row * count..][..count].iter().zip(sums.chunks_exact_mut(width)) {
                    for (sum, &gradient) in sums.iter_mut().zip(gradient) {
                        *sum = gate.mul_add(gradient, *sum);
                    }
                }
            }
        });
        Ok(())
    }

    fn gate_backward_logits(
        &self,
        GateShape { gates: count, width }: GateShape,
        values: &Buffer<E, Self>,
        gates: &Buffer<E, Self>,
        output_gradient: &Buffer<E, Self>,
        gathered: &mut Buffer<E, Self>,
    ) -> Result<(), CpuError> {
        for_row_chunks(count, gathered, |first_row, rows| {
            let mut by_gate = vec![E::ZERO; count];
            for (row, sums) in (first_row..).zip(rows.chunks_exact_mut(count)) {
                let gradient = &output_gradient[row * width..][..width];
                for (index, by_gate) in by_gate.iter_mut().enumerate() {
                    *by_gate = row_product(&values[(row * count + index) * width..][..width], gradient);
                }
                let gates = &gates[row * count..][..count];
                let mean = row_product(gates, &by_gate);
                for ((sum, &gate), &by_gate) in sums.iter_mut().zip(gates).zip(&by_gate) {
                    *sum += gate * (by_gate - mean);
                }
            }
        });
        Ok(())
    }
}

/// Shifted by the largest logit, so that no exponential overflows.
fn softmax<E: Element>(row: &mut [E]) {
    let largest = row.iter().fold(row[0], |largest, &value| largest.larger(value));
    for value in row.iter_mut() {
        *value = (*value - largest).exp();
    }
    let sum = row_sum(row);
    for value in row.iter_mut() {
        *value /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use dfdx::tensor::OwnedTape;
    use proptest::prelude::*;

    /// Output, weighted loss, and the loss's gradients by values and logits.
    fn run(values: &[f64], logits: &[f64], rows: usize, gates: usize) -> (Vec<f64>, f64, [Vec<f64>; 2]) {
        let values = matrix(values, rows, values.len().checked_div(rows).unwrap_or(gates));
        let logits = matrix(logits, rows, gates);
        let recorded = |input: &Matrix<f64, Cpu>| input.clone().put_tape(Recorded::default());
        let output = gated_sum(recorded(&values), recorded(&logits)).expect("shapes fit");
        let numbers = read(&output);
        let loss = weigh(output);
        let value = read(&loss)[0];
        let gradients = backward(loss);
        (numbers, value, [gradient_of(&gradients, &values), gradient_of(&gradients, &logits)])
    }

    proptest! {
        #[test]
        fn output_is_the_definition_and_gradients_the_differences(
            rows in 0usize..6, gates in 1usize..6, width in 1usize..20,
        ) {
            let values = numbers(rows * gates * width, 1);
            let logits: Vec<f64> = numbers(rows * gates, 2).iter().map(|x| 3.0 * x).collect();
            let (output, _, by) = run(&values, &logits, rows, gates);
            for (row, output) in output.chunks_exact(width).enumerate() {
                let powers: Vec<f64> = logits[row * gates..][..gates].iter().map(|x| x.exp()).collect();
                for (column, output) in output.iter().enumerate() {
                    let weighted = (0..gates).map(|gate| powers[gate] * values[(row * gates + gate) * width + column]);
                    let plain = weighted.sum::<f64>() / powers.iter().sum::<f64>();
                    prop_assert!((output - plain).abs() < 1e-14);
                }
            }
            assert_gradient("values", &values, &by[0], |values| run(values, &logits, rows, gates).1);
            assert_gradient("logits", &logits, &by[1], |logits| run(&values, logits, rows, gates).1);
        }
    }

    #[test]
    fn a_single_gate_is_open() {
        assert_eq!(run(&[1.0, 2.0, 3.0, 4.0], &[-7.0, 0.5], 2, 1).0, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn extreme_logits_open_one_gate_alone() {
        let (output, _, [by_values, by_logits]) = run(&[1.0, 2.0, 3.0, 4.0], &[1000.0, -1000.0, -1000.0, 1000.0], 2, 2);
        assert_eq!(output, [1.0, 4.0]);
        let weights = numbers(2, 99);
        assert_eq!(by_values, [weights[0], 0.0, 0.0, weights[1]]);
        assert_eq!(by_logits, [0.0; 4]);
    }

    fn forward(values: &[f32], logits: &[f32], gates: usize) -> Vec<f32> {
        let rows = logits.len() / gates;
        let values = matrix(values, rows, values.len() / rows);
        read(&gated_sum(values, matrix(logits, rows, gates)).expect("shapes fit"))
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let (gates, width) = (4, 33);
        let (values, logits) = (numbers_f32(255 * gates * width, 1), numbers_f32(255 * gates, 2));
        let all = forward(&values, &logits, gates);
        for batch in [1, 2, 3, 7, 64] {
            let parts = values.chunks(batch * gates * width).zip(logits.chunks(batch * gates));
            let cut: Vec<f32> = parts.flat_map(|(values, logits)| forward(values, logits, gates)).collect();
            assert_eq!(bits(&cut), bits(&all), "batches of {batch}");
        }
    }

    #[test]
    fn a_nan_stays_in_its_row() {
        for nan in [0, 8] {
            let mut numbers = numbers_f32(12, 1);
            numbers[nan] = f32::NAN;
            let output = forward(&numbers[..8], &numbers[8..], 2);
            assert!(output[0].is_nan() && output[2..].iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn forward_and_backward_do_not_depend_on_threads() {
        let run = || {
            let (values, logits) =
                (matrix(&numbers_f32(5_000 * 12, 1), 5_000, 12), matrix(&numbers_f32(15_000, 2), 5_000, 3));
            let recorded = |input: &Matrix<f32, Cpu>| input.clone().put_tape(OwnedTape::<f32, Cpu>::default());
            let output = gated_sum(recorded(&values), recorded(&logits)).expect("shapes fit");
            let mut all = bits(&read(&output));
            let targets = numbers_f32(5_000 * 4, 3);
            let loss =
                crate::RegressionLoss { targets: &targets, row_weights: None, residual: crate::Residual::Squared };
            let loss = crate::regression_loss(output, loss).expect("shapes fit");
            let gradients = dfdx::tensor_ops::Backward::try_backward(loss).expect("on the CPU");
            all.extend(bits(&read(&gradients.get(&values))));
            all.extend(bits(&read(&gradients.get(&logits))));
            all
        };
        assert!(with_threads(1, run) == with_threads(4, run));
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let fails = |columns: usize, logit_rows: usize, gates: usize| {
            let values = matrix(&vec![0.0f32; 2 * columns], 2, columns);
            let logits = matrix(&vec![0.0; logit_rows * gates], logit_rows, gates);
            gated_sum(values, logits).expect_err("the operands do not fit").to_string()
        };
        assert_eq!(fails(4, 3, 2), "`gated_sum` takes gate logits of size 2, found 3");
        assert_eq!(fails(4, 2, 0), "`gated_sum` takes gates of size 1, found 0");
        assert_eq!(fails(5, 2, 2), "`gated_sum` takes values of size 6, found 5");
    }
}
