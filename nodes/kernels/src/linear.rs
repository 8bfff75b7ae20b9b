//! The linear map with bias, activation and dropout, as one operation.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};

use crate::error::check_size;
use crate::finish::{finish, finish_with_slopes, multiply_by_slopes};
use crate::matrix::{View, add_product, product};
use crate::reduction::add_column_sums;
use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, Element, Finish, InputGradient, KernelError, Matrix, Parameter};

/// `dropout(activation(input · weight + bias))`.
///
/// Shapes: `input` `(rows, inputs)`, `weight` `(inputs, outputs)`, `bias` `(outputs,)`; result `(rows, outputs)`.
///
/// # Errors
/// [`KernelError::Size`] if the shapes do not fit; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let device = Cpu::default();
/// let weight = Parameter::new(&device, vec![1.0f32, -1.0], (2, 1), Regularised::Yes)?;
/// let bias = Parameter::new(&device, vec![0.5], (1,), Regularised::No)?;
/// let input = matrix_from(&device, vec![3.0, 1.0, 1.0, 3.0], 2, 2)?;
/// let relu = Finish { activation: Activation::Relu, dropout: None };
/// assert_eq!(linear(input, &weight, &bias, relu, InputGradient::Skipped)?.as_vec(), [2.5, 0.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn linear<E, D, T>(
    input: Matrix<E, D, T>,
    weight: &Parameter<(usize, usize), E, D>,
    bias: &Parameter<(usize,), E, D>,
    finish: Finish,
    input_gradient: InputGradient,
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: LinearKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let (input, mut tape) = input.try_contiguous().map_err(KernelError::device)?.split_tape();
    let &(rows, inputs) = input.shape();
    let &(weight_inputs, outputs) = weight.shape();
    check_size("linear", "input", weight_inputs, inputs)?;
    check_size("linear", "bias", outputs, bias.shape().0)?;
    let shape = LinearShape { rows, inputs, outputs };

    let device = input.device().clone();
    let input_slot = (input_gradient == InputGradient::Needed && T::OWNS_TAPE).then(|| GradientSlot::of(&input));
    let values = device.read(&input).map_err(KernelError::device)?;
    drop(input);
    let weights = weight.values();
    let mut slopes = None;
    let keep_slopes = (T::OWNS_TAPE && !finish.is_none()).then_some(&mut slopes);
    let output = device
        .linear_forward(shape, &values, &weights, &bias.values(), finish, keep_slopes)
        .and_then(|output| device.tensor_of(output, (rows, outputs)))
        .map_err(KernelError::device)?;

    if T::OWNS_TAPE {
        let (weight_slot, bias_slot, output_slot) = (weight.slot(), bias.slot(), GradientSlot::of(&output));
        tape.add_backward_op(move |gradients| {
            let output = output_slot.take_or_zeros(gradients)?;
            let gathered = LinearGradients {
                input: input_slot.as_ref().map(|slot| slot.take_or_zeros(gradients)).transpose()?,
                weight: weight_slot.take(gradients)?,
                bias: bias_slot.take(gradients)?,
            };
            let gathered = device.linear_backward(shape, &values, &weights, slopes.as_ref(), output, gathered)?;
            for (slot, gradient) in [
                (input_slot.as_ref(), gathered.input),
                (Some(&weight_slot), gathered.weight),
                (Some(&bias_slot), gathered.bias),
            ] {
                if let (Some(slot), Some(gradient)) = (slot, gradient) {
                    slot.put(gradients, gradient)?;
                }
            }
            Ok(())
        });
    }
    Ok(output.put_tape(tape))
}

/// The sizes of a linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearShape {
    /// Rows of the input and of the output.
    pub rows: usize,
    /// Columns of the input, rows of the weight.
    pub inputs: usize,
    /// Columns of the output.
    pub outputs: usize,
}

/// The gradients that the backward pass of [`linear`] adds to.
#[derive(Debug)]
pub struct LinearGradients<B> {
    /// Of the input, shape `(rows, inputs)`, or without elements where nothing has been gathered yet; `None` where nobody
    /// needs it.
    pub input: Option<B>,
    /// Of the weight, shape `(inputs, outputs)`; `None` where nothing has been gathered yet.
    pub weight: Option<B>,
    /// Of the bias, shape `(outputs,)`; `None` where nothing has been gathered yet.
    pub bias: Option<B>,
}

/// What a device supplies for [`linear`].
///
/// The result of a row must not depend on the other rows, bit for bit.
pub trait LinearKernel<E: Element>: Buffers<E> {
    /// The finished output; if `slopes` is asked for, also the derivative of each output by its value before `finish`.
    ///
    /// # Errors
    /// The device's own error.
    fn linear_forward(
        &self,
        shape: LinearShape,
        input: &Buffer<E, Self>,
        weight: &Buffer<E, Self>,
        bias: &Buffer<E, Self>,
        finish: Finish,
        slopes: Option<&mut Option<Buffer<E, Self>>>,
    ) -> Result<Buffer<E, Self>, Self::Err>;

    /// Adds the gradients to those gathered, given that of the output. Weight and bias come back as `Some`.
    ///
    /// # Errors
    /// The device's own error.
    fn linear_backward(
        &self,
        shape: LinearShape,
        input: &Buffer<E, Self>,
        weight: &Buffer<E, Self>,
        slopes: Option<&Buffer<E, Self>>,
        output_gradient: Buffer<E, Self>,
        gathered: LinearGradients<Buffer<E, Self>>,
    ) -> Result<LinearGradients<Buffer<E, Self>>, Self::Err>;
}

impl<E: Element> LinearKernel<E> for Cpu {
    fn linear_forward(
        &self,
        shape: LinearShape,
        input: &Buffer<E, Self>,
        weight: &Buffer<E, Self>,
        bias: &Buffer<E, Self>,
        end: Finish,
        slopes: Option<&mut Option<Buffer<E, Self>>>,
    ) -> Result<Buffer<E, Self>, CpuError> {
        let LinearShape { rows, inputs, outputs } = shape;
        let mut output = product(View::new(input, rows, inputs), View::new(weight, inputs, outputs));
        match slopes {
            None => finish(end, Some(bias), outputs, &mut output),
            Some(slopes) => {
                let mut buffer = <Cpu as Storage<E>>::try_alloc_len(self, rows * outputs)?;
                finish_with_slopes(end, Some(bias), outputs, &mut output, &mut buffer);
                *slopes = Some(buffer);
            }
        }
        self.upload(output)
    }

    fn linear_backward(
        &self,
        shape: LinearShape,
        input: &Buffer<E, Self>,
        weight: &Buffer<E, Self>,
        slopes: Option<&Buffer<E, Self>>,
        mut gradient: Buffer<E, Self>,
        mut gathered: LinearGradients<Buffer<E, Self>>,
    ) -> Result<LinearGradients<Buffer<E, Self>>, CpuError> {
        let LinearShape { rows, inputs, outputs } = shape;
        if let Some(slopes) = slopes {
            multiply_by_slopes(&mut gradient, slopes);
        }
        let gradient = View::new(&gradient, rows, outputs);
        if let Some(input_gradient) = &mut gathered.input {
            let weight = View::new(weight, inputs, outputs).transposed();
            if input_gradient.is_empty() {
                **input_gradient = product(gradient, weight);
            } else {
                add_product(gradient, weight, input_gradient);
            }
        }
        let input = View::new(input, rows, inputs).transposed();
        match &mut gathered.weight {
            Some(sum) => add_product(input, gradient, sum),
            None => gathered.weight = Some(self.upload(product(input, gradient))?),
        }
        let mut bias = match gathered.bias {
            Some(bias) => bias,
            None => <Cpu as Storage<E>>::try_alloc_len(self, outputs)?,
        };
        add_column_sums(gradient.values(), &mut bias);
        gathered.bias = Some(bias);
        Ok(gathered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use crate::{Activation, Dropout};
    use proptest::prelude::*;

    const ACTIVATIONS: [Activation; 5] =
        [Activation::None, Activation::Relu, Activation::Gelu, Activation::Silu, Activation::Tanh];

    struct Case {
        input: Vec<f64>,
        weight: Vec<f64>,
        bias: Vec<f64>,
        rows: usize,
        finish: Finish,
    }

    impl Case {
        fn new(rows: usize, inputs: usize, outputs: usize, finish: Finish) -> Self {
            let (input, weight) = (numbers(rows * inputs, 1), numbers(inputs * outputs, 2));
            Case { input, weight, bias: numbers(outputs, 3), rows, finish }
        }

        fn inputs(&self) -> usize {
            self.weight.len() / self.bias.len()
        }

        /// Output, weighted loss, and the loss's gradients by input, weight and bias.
        fn run(&self, input: &[f64], weights: &[f64], bias: &[f64]) -> (Vec<f64>, f64, [Vec<f64>; 3]) {
            let (factors, shift) = (weight(weights.to_vec(), self.inputs(), bias.len()), offset(bias.to_vec()));
            let input = matrix(input, self.rows, self.inputs());
            let recorded = input.clone().put_tape(Recorded::default());
            let output = linear(recorded, &factors, &shift, self.finish, InputGradient::Needed).expect("shapes fit");
            let values = read(&output);
            let loss = weigh(output);
            let value = read(&loss)[0];
            let mut gradients = backward(loss);
            let by = [
                gradient_of(&gradients, &input),
                gradient_of_parameter(&mut gradients, &factors),
                gradient_of_parameter(&mut gradients, &shift),
            ];
            (values, value, by)
        }

        fn plain(&self) -> Vec<f64> {
            let outputs = self.bias.len();
            let mut plain = Vec::new();
            for row in 0..self.rows {
                for column in 0..outputs {
                    let mut sum = self.bias[column];
                    for inner in 0..self.inputs() {
                        sum += self.input[row * self.inputs() + inner] * self.weight[inner * outputs + column];
                    }
                    let value = match self.finish.activation {
                        Activation::None => sum,
                        Activation::Relu => sum.max(0.0),
                        Activation::Gelu => sum * 0.5 * libm::erfc(-sum / 2.0f64.sqrt()),
                        Activation::Silu => sum / (1.0 + (-sum).exp()),
                        Activation::Tanh => sum.tanh(),
                    };
                    plain.push(match self.finish.dropout {
                        Some(dropout) if !dropout.keeps(row, column, outputs) => 0.0,
                        Some(dropout) => value * dropout.scale(),
                        None => value,
                    });
                }
            }
            plain
        }
    }

    proptest! {
        #[test]
        fn output_is_the_definition_and_gradients_the_differences(
            rows in 0usize..6, inputs in 0usize..7, outputs in 1usize..7, activation in 0usize..5, dropped in 0usize..2,
        ) {
            let dropout = (dropped == 1).then(|| Dropout::new(0.4, 11));
            let case = Case::new(rows, inputs, outputs, Finish { activation: ACTIVATIONS[activation], dropout });
            let (output, _, by) = case.run(&case.input, &case.weight, &case.bias);
            for (output, plain) in output.iter().zip(case.plain()) {
                prop_assert!((output - plain).abs() < 1e-13);
            }
            assert_gradient("input", &case.input, &by[0], |input| case.run(input, &case.weight, &case.bias).1);
            assert_gradient("weight", &case.weight, &by[1], |weight| case.run(&case.input, weight, &case.bias).1);
            assert_gradient("bias", &case.bias, &by[2], |bias| case.run(&case.input, &case.weight, bias).1);
        }
    }

    #[test]
    fn gradients_agree_with_dfdx_on_a_large_case() {
        use dfdx::tensor::Trace;
        use dfdx::tensor_ops::{BroadcastTo, SumTo, TryMatMul};
        let case = Case::new(300, 600, 70, Finish { activation: Activation::Silu, dropout: None });
        let (output, _, by) = case.run(&case.input, &case.weight, &case.bias);
        let (input, factors) = (matrix(&case.input, 300, 600), matrix(&case.weight, 600, 70));
        let bias: crate::Vector<f64, Cpu> =
            dfdx::tensor::TensorFromVec::tensor_from_vec(input.device(), case.bias.clone(), (70,));
        let shift = bias.retaped::<Recorded>().broadcast_like::<_, dfdx::shapes::Axis<0>>(&(300, 70));
        let before = input.leaky_trace().try_matmul(factors.clone()).expect("shapes fit") + shift;
        let (before, tape) = before.split_tape();
        let stock = before.clone().put_tape(tape).sigmoid() * before;
        let stock_output = stock.as_vec();
        let gradients = backward((stock * matrix(&numbers(300 * 70, 99), 300, 70)).sum::<(), _>());
        let stock_by =
            [gradient_of(&gradients, &input), gradient_of(&gradients, &factors), gradient_of(&gradients, &bias)];
        for (found, stock) in by.iter().flatten().chain(&output).zip(stock_by.iter().flatten().chain(&stock_output)) {
            assert!((found - stock).abs() < 1e-10, "{found} for {stock}");
        }
    }

    fn forward(
        rows: &[f32],
        weights: &Parameter<(usize, usize), f32, Cpu>,
        bias: &Parameter<(usize,), f32, Cpu>,
    ) -> Vec<f32> {
        let inputs = weights.shape().0;
        let gelu = Finish { activation: Activation::Gelu, dropout: None };
        let input = matrix(rows, rows.len() / inputs, inputs);
        linear(input, weights, bias, gelu, InputGradient::Skipped).expect("shapes fit").as_vec()
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        for inputs in [1, 40, 600, 1536, 3000] {
            for outputs in [1, 2, 33, 200] {
                let (weights, bias) =
                    (weight(numbers_f32(inputs * outputs, 2), inputs, outputs), offset(numbers_f32(outputs, 3)));
                let input = numbers_f32(255 * inputs, 1);
                let all = forward(&input, &weights, &bias);
                for batch in [1, 2, 3, 7, 64] {
                    let cut: Vec<f32> =
                        input.chunks(batch * inputs).flat_map(|rows| forward(rows, &weights, &bias)).collect();
                    assert_eq!(bits(&cut), bits(&all), "{inputs} inputs, {outputs} outputs, batches of {batch}");
                }
            }
        }
    }

    #[test]
    fn forward_and_backward_do_not_depend_on_threads() {
        let run = || {
            let (weights, bias) = (weight(numbers_f32(700 * 130, 2), 700, 130), offset(numbers_f32(130, 3)));
            let input = matrix(&numbers_f32(1030 * 700, 1), 1030, 700);
            let finish = Finish { activation: Activation::Gelu, dropout: Some(Dropout::new(0.2, 5)) };
            let tape = dfdx::tensor::OwnedTape::<f32, Cpu>::default();
            let output = linear(input.clone().put_tape(tape), &weights, &bias, finish, InputGradient::Needed)
                .expect("shapes fit");
            let values = read(&output);
            let loss =
                crate::RegressionLoss { targets: &values, row_weights: None, residual: crate::Residual::Squared };
            let target: Vec<f32> = values.iter().map(|value| value + 1.0).collect();
            let loss =
                crate::regression_loss(output, crate::RegressionLoss { targets: &target, ..loss }).expect("shapes fit");
            let mut gradients = dfdx::tensor_ops::Backward::try_backward(loss).expect("on the CPU");
            let mut all = bits(&values);
            all.extend(bits(&gradients.get(&input).as_vec()));
            for gradient in [
                crate::Trainable::take_gradient(&weights, &mut gradients),
                crate::Trainable::take_gradient(&bias, &mut gradients),
            ] {
                all.extend(bits(&gradient.expect("on the CPU").expect("it was used")));
            }
            all
        };
        assert!(with_threads(1, run) == with_threads(4, run));
    }

    #[test]
    fn a_nan_stays_in_its_row() {
        let (weights, bias) = (weight(numbers_f32(600 * 5, 2), 600, 5), offset(numbers_f32(5, 3)));
        let mut input = numbers_f32(4 * 600, 1);
        let clean = forward(&input, &weights, &bias);
        input[600] = f32::NAN;
        let output = forward(&input, &weights, &bias);
        assert!(output[5..10].iter().all(|value| value.is_nan()));
        assert_eq!((&output[..5], &output[10..]), (&clean[..5], &clean[10..]));
    }

    #[test]
    fn a_strided_input_is_read_in_its_logical_order() {
        use dfdx::tensor_ops::PermuteTo;
        let (weights, bias) = (weight(vec![1.0, 10.0], 2, 1), offset(vec![0.0]));
        let stored = matrix(&[1.0, 2.0, 3.0, 4.0], 2, 2);
        let transposed =
            stored.clone().put_tape(Recorded::default()).permute::<(usize, usize), dfdx::shapes::Axes2<1, 0>>();
        let output = linear(transposed, &weights, &bias, Finish::NONE, InputGradient::Needed).expect("shapes fit");
        assert_eq!(read(&output), [31.0, 42.0]);
        use dfdx::tensor_ops::SumTo;
        assert_eq!(gradient_of(&backward(output.sum::<(), _>()), &stored), [1.0, 1.0, 10.0, 10.0]);
    }

    #[test]
    fn a_parameter_used_twice_gets_both_gradients() {
        let (weights, bias) = (weight(vec![3.0], 1, 1), offset(vec![0.0]));
        let input = matrix(&[2.0], 1, 1).put_tape(Recorded::default());
        let once = linear(input, &weights, &bias, Finish::NONE, InputGradient::Skipped).expect("shapes fit");
        let twice = linear(once, &weights, &bias, Finish::NONE, InputGradient::Needed).expect("shapes fit");
        use dfdx::tensor_ops::SumTo;
        let mut gradients = backward(twice.sum::<(), _>());
        // The output is 2 w², so its derivative is 4 w.
        assert_eq!(gradient_of_parameter(&mut gradients, &weights), [12.0]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let (weights, bias) = (weight(vec![0.0f32; 6], 3, 2), offset(vec![0.0f32; 2]));
        let error = linear(matrix(&[0.0; 4], 2, 2), &weights, &bias, Finish::NONE, InputGradient::Skipped)
            .expect_err("2 is not 3");
        assert_eq!(error.to_string(), "`linear` takes input of size 3, found 2");
    }
}
