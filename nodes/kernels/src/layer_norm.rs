//! Layer normalisation over the features of a row, with activation and dropout, as one operation.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};
use rayon::prelude::*;

use crate::error::check_size;
use crate::finish::{finish, finish_with_slopes, for_row_chunks, multiply_by_slopes};
use crate::reduction::{ROW_BLOCK, row_product, row_sum};
use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, Element, Finish, InputGradient, KernelError, Matrix, Parameter};

/// Added to the variance so that a constant row does not divide by zero.
pub const EPSILON: f64 = 1e-5;

/// `dropout(activation(gain · (x - mean(x)) / sqrt(var(x) + ε) + bias))`, mean and variance over each row.
///
/// Shapes: `input` `(rows, columns)`, `gain` and `bias` `(columns,)`; result `(rows, columns)`. The variance is the mean
/// square, as in Ba, Kiros and Hinton 2016 (arXiv:1607.06450); ε is 1e-5.
///
/// # Errors
/// [`KernelError::Size`] if the shapes do not fit; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let device = Cpu::default();
/// let gain = Parameter::new(&device, vec![1.0f64; 2], (2,), Regularised::No)?;
/// let bias = Parameter::new(&device, vec![0.0; 2], (2,), Regularised::No)?;
/// let input = matrix_from(&device, vec![3.0, 5.0], 1, 2)?;
/// let output = layer_norm(input, &gain, &bias, Finish::NONE, InputGradient::Skipped)?.as_vec();
/// assert!((output[0] + 1.0).abs() < 1e-5 && (output[1] - 1.0).abs() < 1e-5);
/// # Ok::<(), KernelError>(())
/// ```
pub fn layer_norm<E, D, T>(
    input: Matrix<E, D, T>,
    gain: &Parameter<(usize,), E, D>,
    bias: &Parameter<(usize,), E, D>,
    finish: Finish,
    input_gradient: InputGradient,
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: LayerNormKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let (input, mut tape) = input.try_contiguous().map_err(KernelError::device)?.split_tape();
    let &(rows, columns) = input.shape();
    check_size("layer_norm", "gain", columns, gain.shape().0)?;
    check_size("layer_norm", "bias", columns, bias.shape().0)?;

    let device = input.device().clone();
    let input_slot = (input_gradient == InputGradient::Needed && T::OWNS_TAPE).then(|| GradientSlot::of(&input));
    let values = device.read(&input).map_err(KernelError::device)?;
    drop(input);
    let gains = gain.values();
    let mut kept = None;
    let keep = T::OWNS_TAPE.then_some(&mut kept);
    let output = device
        .layer_norm_forward(columns, values, &gains, &bias.values(), finish, keep)
        .and_then(|output| device.tensor_of(output, (rows, columns)))
        .map_err(KernelError::device)?;

    if let Some(kept) = kept {
        let (gain_slot, bias_slot, output_slot) = (gain.slot(), bias.slot(), GradientSlot::of(&output));
        tape.add_backward_op(move |gradients| {
            let output = output_slot.take_or_zeros(gradients)?;
            let gathered = LayerNormGradients {
                input: input_slot.as_ref().map(|slot| slot.take_or_zeros(gradients)).transpose()?,
                gain: gain_slot.take_or_zeros(gradients)?,
                bias: bias_slot.take_or_zeros(gradients)?,
            };
            let gathered = device.layer_norm_backward(columns, &kept, &gains, output, gathered)?;
            if let (Some(slot), Some(gradient)) = (&input_slot, gathered.input) {
                slot.put(gradients, gradient)?;
            }
            gain_slot.put(gradients, gathered.gain)?;
            bias_slot.put(gradients, gathered.bias)
        });
    }
    Ok(output.put_tape(tape))
}

/// What the backward pass of [`layer_norm`] needs from the forward pass.
#[derive(Debug)]
pub struct LayerNormKept<B> {
    /// The normalised rows before gain and bias, `(rows, columns)`.
    pub normalised: B,
    /// 1 / sqrt(var + ε) of each row, `(rows,)`.
    pub scales: B,
    /// The slopes of the finish, `(rows, columns)`; none if they are all one.
    pub slopes: Option<B>,
}

/// The gradients that the backward pass of [`layer_norm`] adds to.
#[derive(Debug)]
pub struct LayerNormGradients<B> {
    /// Of the input, `(rows, columns)`; `None` where nobody needs it.
    pub input: Option<B>,
    /// Of the gain, `(columns,)`.
    pub gain: B,
    /// Of the bias, `(columns,)`.
    pub bias: B,
}

/// What a device supplies for [`layer_norm`].
///
/// The result of a row must not depend on the other rows, bit for bit.
pub trait LayerNormKernel<E: Element>: Buffers<E> {
    /// The finished output, and what the backward pass needs if it is asked for.
    ///
    /// # Errors
    /// The device's own error.
    fn layer_norm_forward(
        &self,
        columns: usize,
        input: Buffer<E, Self>,
        gain: &Buffer<E, Self>,
        bias: &Buffer<E, Self>,
        finish: Finish,
        kept: Option<&mut Option<LayerNormKept<Buffer<E, Self>>>>,
    ) -> Result<Buffer<E, Self>, Self::Err>;

    /// Adds the gradients to those gathered, given that of the output.
    ///
    /// # Errors
    /// The device's own error.
    fn layer_norm_backward(
        &self,
        columns: usize,
        kept: &LayerNormKept<Buffer<E, Self>>,
        gain: &Buffer<E, Self>,
        output_gradient: Buffer<E, Self>,
        gathered: LayerNormGradients<Buffer<E, Self>>,
    ) -> Result<LayerNormGradients<Buffer<E, Self>>, Self::Err>;
}

impl<E: Element> LayerNormKernel<E> for Cpu {
    fn layer_norm_forward(
        &self,
        columns: usize,
        mut input: Buffer<E, Self>,
        gain: &Buffer<E, Self>,
        bias: &Buffer<E, Self>,
        end: Finish,
        kept: Option<&mut Option<LayerNormKept<Buffer<E, Self>>>>,
    ) -> Result<Buffer<E, Self>, CpuError> {
        let rows = input.len().checked_div(columns).unwrap_or(0);
        let alloc = |length| <Cpu as Storage<E>>::try_alloc_len(self, length);
        let mut scales = alloc(rows)?;
        if columns > 0 {
            input.par_chunks_mut(columns).zip(scales.par_iter_mut()).with_min_len(64).for_each(|(row, scale)| {
                *scale = normalise(row);
            });
        }
        let mut output = alloc(rows * columns)?;
        for_row_chunks(columns, &mut output, |first_row, rows| {
            for (index, row) in rows.chunks_exact_mut(columns).enumerate() {
                let normalised = &input[(first_row + index) * columns..][..columns];
                for ((value, &normalised), &gain) in row.iter_mut().zip(normalised).zip(gain.iter()) {
                    *value = normalised * gain;
                }
            }
        });
        match kept {
            None => finish(end, Some(bias), columns, &mut output),
            Some(kept) => {
                let slopes = if end.is_none() {
                    finish(end, Some(bias), columns, &mut output);
                    None
                } else {
                    let mut slopes = alloc(rows * columns)?;
                    finish_with_slopes(end, Some(bias), columns, &mut output, &mut slopes);
                    Some(slopes)
                };
                *kept = Some(LayerNormKept { normalised: input, scales, slopes });
            }
        }
        Ok(output)
    }

    fn layer_norm_backward(
        &self,
        columns: usize,
        kept: &LayerNormKept<Buffer<E, Self>>,
        gain: &Buffer<E, Self>,
        mut gradient: Buffer<E, Self>,
        mut gathered: LayerNormGradients<Buffer<E, Self>>,
    ) -> Result<LayerNormGradients<Buffer<E, Self>>, CpuError> {
        if columns == 0 {
            return Ok(gathered);
        }
        if let Some(slopes) = &kept.slopes {
            multiply_by_slopes(&mut gradient, slopes);
        }
        let block = columns * ROW_BLOCK;
        let sums: Vec<(Vec<E>, Vec<E>)> = gradient
            .par_chunks(block)
            .zip(kept.normalised.par_chunks(block))
            .map(|(gradient, normalised)| {
                let (mut gains, mut biases) = (vec![E::ZERO; columns], vec![E::ZERO; columns]);
                for (gradient, normalised) in gradient.chunks_exact(columns).zip(normalised.chunks_exact(columns)) {
                    for column in 0..columns {
                        gains[column] = gradient[column].mul_add(normalised[column], gains[column]);
                        biases[column] += gradient[column];
                    }
                }
                (gains, biases)
            })
            .collect();
        for (gains, biases) in sums {
            for column in 0..columns {
                gathered.gain[column] += gains[column];
                gathered.bias[column] += biases[column];
            }
        }
        if let Some(input_gradient) = &mut gathered.input {
            let rows = gradient.par_chunks_mut(columns).zip(kept.normalised.par_chunks(columns));
            let rows = rows.zip(kept.scales.par_iter()).zip(input_gradient.par_chunks_mut(columns)).with_min_len(64);
            rows.for_each(|(((gradient, normalised), &scale), sum)| {
                add_input_gradient(gradient, normalised, gain, scale, sum);
            });
        }
        Ok(gathered)
    }
}

/// Normalises the row in place and says by what it was scaled.
fn normalise<E: Element>(row: &mut [E]) -> E {
    let count = E::of(row.len() as f64);
    let mean = row_sum(row) / count;
    for value in row.iter_mut() {
        *value -= mean;
    }
    let scale = E::ONE / (row_product(row, row) / count + E::of(EPSILON)).sqrt();
    for value in row.iter_mut() {
        *value *= scale;
    }
    scale
}

/// With g = gradient · gain and n the normalised row: scale · (g - mean(g) - n · mean(g · n)).
fn add_input_gradient<E: Element>(gradient: &mut [E], normalised: &[E], gain: &[E], scale: E, sum: &mut [E]) {
    for (gradient, &gain) in gradient.iter_mut().zip(gain) {
        *gradient *= gain;
    }
    let count = E::of(gradient.len() as f64);
    let mean = row_sum(gradient) / count;
    let slope = row_product(gradient, normalised) / count;
    for ((sum, &gradient), &normalised) in sum.iter_mut().zip(gradient.iter()).zip(normalised) {
        *sum += scale * (gradient - mean - normalised * slope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use crate::{Activation, Dropout};
    use proptest::prelude::*;

    fn normed(input: &[f64], gain: &[f64], bias: &[f64], finish: Finish) -> (Vec<f64>, f64, [Vec<f64>; 3]) {
        let (rows, columns) = (input.len().checked_div(gain.len()).unwrap_or(0), gain.len());
        let (gain, bias) = (offset(gain.to_vec()), offset(bias.to_vec()));
        let input = matrix(input, rows, columns);
        let recorded = input.clone().put_tape(Recorded::default());
        let output = layer_norm(recorded, &gain, &bias, finish, InputGradient::Needed).expect("shapes fit");
        let values = read(&output);
        let loss = weigh(output);
        let value = read(&loss)[0];
        let mut gradients = backward(loss);
        let by = [
            gradient_of(&gradients, &input),
            gradient_of_parameter(&mut gradients, &gain),
            gradient_of_parameter(&mut gradients, &bias),
        ];
        (values, value, by)
    }

    proptest! {
        #[test]
        fn values_are_the_definition_and_gradients_the_differences(rows in 0usize..6, columns in 1usize..20, kind in 0usize..4) {
            let finish = Finish {
                activation: [Activation::None, Activation::Silu, Activation::Gelu, Activation::None][kind],
                dropout: (kind == 3).then(|| Dropout::new(0.5, 3)),
            };
            let (input, gain, bias) = (numbers(rows * columns, 1), numbers(columns, 2), numbers(columns, 3));
            let (values, _, by) = normed(&input, &gain, &bias, finish);
            if kind == 0 {
                for (row, values) in input.chunks_exact(columns).zip(values.chunks_exact(columns)) {
                    let mean = row.iter().sum::<f64>() / columns as f64;
                    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / columns as f64;
                    for column in 0..columns {
                        let plain = (row[column] - mean) / (variance + EPSILON).sqrt() * gain[column] + bias[column];
                        prop_assert!((values[column] - plain).abs() < 1e-11);
                    }
                }
            }
            // With few columns the variance may be near zero, where differences of 1e-6 say little.
            if columns > 3 {
                assert_gradient("input", &input, &by[0], |input| normed(input, &gain, &bias, finish).1);
            }
            assert_gradient("gain", &gain, &by[1], |gain| normed(&input, gain, &bias, finish).1);
            assert_gradient("bias", &bias, &by[2], |bias| normed(&input, &gain, bias, finish).1);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours_nor_on_threads() {
        let columns = 77;
        let (gain, bias) = (offset(numbers_f32(columns, 2)), offset(numbers_f32(columns, 3)));
        let input = numbers_f32(255 * columns, 1);
        let gelu = Finish { activation: Activation::Gelu, dropout: None };
        let norm = |rows: &[f32]| {
            let input = matrix(rows, rows.len() / columns, columns);
            layer_norm(input, &gain, &bias, gelu, InputGradient::Skipped).expect("shapes fit").as_vec()
        };
        let all = with_threads(4, || norm(&input));
        for batch in [1, 2, 3, 7, 64] {
            let cut: Vec<f32> = input.chunks(batch * columns).flat_map(norm).collect();
            assert_eq!(bits(&cut), bits(&all), "{batch}");
        }
    }

    #[test]
    fn a_constant_row_gives_the_bias_and_a_nan_stays_in_its_row() {
        let (gain, bias) = (offset(vec![2.0, 2.0]), offset(vec![0.5, -0.5]));
        let input = matrix(&[4.0, 4.0, f64::NAN, 1.0, 4.0, 4.0], 3, 2);
        let output =
            layer_norm(input, &gain, &bias, Finish::NONE, InputGradient::Skipped).expect("shapes fit").as_vec();
        assert_eq!([output[0], output[1], output[4], output[5]], [0.5, -0.5, 0.5, -0.5]);
        assert!(output[2].is_nan() && output[3].is_nan());
    }
}
