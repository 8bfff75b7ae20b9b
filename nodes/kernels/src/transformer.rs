//! A block of a transformer as one operation: attention and two layers, each normalised before and added to its input.

use std::sync::Arc;

use dfdx::shapes::HasShape;
use dfdx::tensor::{PutTape, SplitTape, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};

use crate::error::check_size;
use crate::tape::GradientSlot;
use crate::{
    Activation, Attended, AttentionKernel, AttentionShape, Buffer, Buffers, Dropout, Element, Finish, KernelError,
    LayerNormGradients, LayerNormKept, LayerNormKernel, LinearGradients, LinearKernel, LinearShape, Matrix, Parameter,
    Spans,
};

/// The parameters of a block over vectors of one width, with `hidden` numbers between its two last layers.
#[derive(Debug, Clone, Copy)]
pub struct BlockParameters<'a, E: Element, D: Buffers<E>> {
    /// Gain and bias of the normalisation before attention, `(width,)` each.
    pub attention_norm: [&'a Parameter<(usize,), E, D>; 2],
    /// Queries, keys and values: weight `(width, 3 · width)` and bias.
    pub projection: Layer<'a, E, D>,
    /// What comes after attention: weight `(width, width)` and bias.
    pub attended: Layer<'a, E, D>,
    /// Gain and bias of the normalisation before the two layers, `(width,)` each.
    pub layers_norm: [&'a Parameter<(usize,), E, D>; 2],
    /// The first of the two layers: weight `(width, hidden)` and bias.
    pub first: Layer<'a, E, D>,
    /// The second: weight `(hidden, width)` and bias.
    pub second: Layer<'a, E, D>,
}

/// Weight and bias of a linear map.
pub type Layer<'a, E, D> = (&'a Parameter<(usize, usize), E, D>, &'a Parameter<(usize,), E, D>);

/// What a block does that is not learnt.
#[derive(Debug, Clone, Copy)]
pub struct BlockSettings {
    /// How many heads attend; a divisor of the width.
    pub heads: usize,
    /// The nonlinearity between the two layers.
    pub activation: Activation,
    /// The dropout of what attention gives, of the hidden numbers, and of what the second layer gives.
    pub dropout: [Option<Dropout>; 3],
}

/// `y = x + attended(attention(norm(x)))`, then `y + second(activation(first(norm(y))))`.
///
/// Attention is `softmax(q kᵀ / √head) v` within each row and head (Vaswani et al. 2017, arXiv:1706.03762), and
/// normalisation stands before what it serves (Xiong et al. 2020, arXiv:2002.04745).
///
/// Shapes: `input` `(tokens of all rows, width)`; result the same.
///
/// # Errors
/// [`KernelError::Size`] if the shapes do not fit; [`KernelError::Device`].
pub fn transformer_block<E, D, T>(
    input: Matrix<E, D, T>,
    spans: &Spans,
    parameters: &BlockParameters<'_, E, D>,
    settings: BlockSettings,
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: AttentionKernel<E> + LinearKernel<E> + LayerNormKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let (input, mut tape) = input.try_contiguous().map_err(KernelError::device)?.split_tape();
    let &(tokens, width) = input.shape();
    let hidden = parameters.first.0.shape().1;
    check_size("transformer_block", "tokens", spans.steps(), tokens)?;
    parameters.check(width, hidden)?;
    if settings.heads == 0 || !width.is_multiple_of(settings.heads) {
        let expected = width.next_multiple_of(settings.heads.max(1));
        return Err(KernelError::Size { operation: "transformer_block", what: "heads", expected, found: width });
    }

    let device = input.device().clone();
    let input_slot = GradientSlot::of(&input);
    let block = Block {
        device: device.clone(),
        tokens,
        hidden,
        attention: AttentionShape { spans: spans.clone(), heads: settings.heads, width },
        weights: parameters.layers().map(|(weight, _)| weight.values()),
        gains: [parameters.attention_norm[0].values(), parameters.layers_norm[0].values()],
    };
    let values = device.read(&input).map_err(KernelError::device)?;
    drop(input);
    let (output, kept) = block.forward(values, parameters, settings, T::OWNS_TAPE).map_err(KernelError::device)?;
    let output = device.tensor_of(output, (tokens, width)).map_err(KernelError::device)?;

    if let Some(kept) = kept {
        let layer_slots = parameters.layers().map(|(weight, bias)| (weight.slot(), bias.slot()));
        let norm_slots = [parameters.attention_norm, parameters.layers_norm].map(|norm| norm.map(Parameter::slot));
        let output_slot = GradientSlot::of(&output);
        tape.add_backward_op(move |store| {
            let output = output_slot.take_or_zeros(store)?;
            let mut layers = Vec::with_capacity(layer_slots.len());
            for (weight, bias) in &layer_slots {
                layers.push(LinearGradients { input: None, weight: weight.take(store)?, bias: bias.take(store)? });
            }
            let [first, second] = &norm_slots;
            let mut norm = |[gain, bias]: &[GradientSlot<E, D>; 2]| -> Result<_, D::Err> {
                let (gain, bias) = (gain.take_or_zeros(store)?, bias.take_or_zeros(store)?);
                Ok(LayerNormGradients { input: None, gain, bias })
            };
            let norms = [norm(first)?, norm(second)?];
            let input = input_slot.take_or_zeros(store)?;
            let gathered = block.backward(&kept, output, BlockGradients { input, layers, norms })?;
            input_slot.put(store, gathered.input)?;
            for ((weight_slot, bias_slot), gradients) in layer_slots.iter().zip(gathered.layers) {
                for (slot, gradient) in [(weight_slot, gradients.weight), (bias_slot, gradients.bias)] {
                    if let Some(gradient) = gradient {
                        slot.put(store, gradient)?;
                    }
                }
            }
            for ([gain_slot, bias_slot], gradients) in norm_slots.iter().zip(gathered.norms) {
                gain_slot.put(store, gradients.gain)?;
                bias_slot.put(store, gradients.bias)?;
            }
            Ok(())
        });
    }
    Ok(output.put_tape(tape))
}

impl<'a, E: Element, D: Buffers<E>> BlockParameters<'a, E, D> {
    /// The linear maps in the order in which they are used.
    fn layers(&self) -> [Layer<'a, E, D>; 4] {
        [self.projection, self.attended, self.first, self.second]
    }

    fn check(&self, width: usize, hidden: usize) -> Result<(), KernelError> {
        let check = |what, expected, found| check_size("transformer_block", what, expected, found);
        for norm in [self.attention_norm, self.layers_norm].as_flattened() {
            check("gain or bias of a normalisation", width, norm.shape().0)?;
        }
        let sizes = [(width, 3 * width), (width, width), (width, hidden), (hidden, width)];
        for ((weight, bias), (inputs, outputs)) in self.layers().into_iter().zip(sizes) {
            check("rows of a weight", inputs, weight.shape().0)?;
            check("columns of a weight", outputs, weight.shape().1)?;
            check("bias", outputs, bias.shape().0)?;
        }
        Ok(())
    }
}

/// A block at work on some tokens.
struct Block<E: Element, D: Buffers<E>> {
    device: D,
    tokens: usize,
    hidden: usize,
    attention: AttentionShape,
    weights: [Arc<Buffer<E, D>>; 4],
    gains: [Arc<Buffer<E, D>>; 2],
}

/// What the backward pass needs from the forward pass.
struct Kept<B> {
    norms: [LayerNormKept<B>; 2],
    normalised: [B; 2],
    projected: B,
    attended: Attended<B>,
    hidden: B,
    /// Of the maps after attention and of the two layers.
    slopes: [Option<B>; 3],
}

/// The gradients that the backward pass adds to; four maps and two normalisations in the order of their use.
struct BlockGradients<B> {
    input: B,
    layers: Vec<LinearGradients<B>>,
    norms: [LayerNormGradients<B>; 2],
}

impl<E: Element, D: AttentionKernel<E> + LinearKernel<E> + LayerNormKernel<E>> Block<E, D> {
    fn shape(&self, layer: usize) -> LinearShape {
        let (rows, width, hidden) = (self.tokens, self.attention.width, self.hidden);
        let (inputs, outputs) = [(width, 3 * width), (width, width), (width, hidden), (hidden, width)][layer];
        LinearShape { rows, inputs, outputs }
    }

    fn forward(
        &self,
        input: Buffer<E, D>,
        parameters: &BlockParameters<'_, E, D>,
        settings: BlockSettings,
        keep: bool,
    ) -> Result<(Buffer<E, D>, Option<Kept<Buffer<E, D>>>), D::Err> {
        let (device, width, biases) = (&self.device, self.attention.width, parameters.layers().map(|layer| layer.1));
        let one = device.upload(vec![E::ONE])?;
        let linear = |layer: usize, input: &Buffer<E, D>, finish: Finish, slopes: &mut Option<Buffer<E, D>>| {
            let slopes = (keep && !finish.is_none()).then_some(slopes);
            let bias = biases[layer].values();
            device.linear_forward(self.shape(layer), input, &self.weights[layer], &bias, finish, slopes)
        };
        let (mut norm_kept, mut slopes) = ([None, None], [None, None, None]);
        let [attention_norm, layers_norm] = &mut norm_kept;
        let norm = |index: usize, input: &Buffer<E, D>, kept: &mut Option<LayerNormKept<Buffer<E, D>>>| {
            let bias = [parameters.attention_norm, parameters.layers_norm][index][1].values();
            let kept = keep.then_some(kept);
            device.layer_norm_forward(width, input.clone(), &self.gains[index], &bias, Finish::NONE, kept)
        };
        let [after_attention, after_first, after_second] = settings.dropout;
        let dropped = |dropout| Finish { activation: Activation::None, dropout };

        let mut sum = input;
        let normalised = norm(0, &sum, attention_norm)?;
        let projected = linear(0, &normalised, Finish::NONE, &mut None)?;
        let attended = device.attention_forward(&self.attention, &projected)?;
        let mapped = linear(1, &attended.output, dropped(after_attention), &mut slopes[0])?;
        device.add_scaled(&mut sum, &mapped, &one)?;
        drop(mapped);

        let normalised = [normalised, norm(1, &sum, layers_norm)?];
        let end = Finish { activation: settings.activation, dropout: after_first };
        let hidden = linear(2, &normalised[1], end, &mut slopes[1])?;
        let mapped = linear(3, &hidden, dropped(after_second), &mut slopes[2])?;
        device.add_scaled(&mut sum, &mapped, &one)?;
        let kept = match norm_kept {
            [Some(first), Some(second)] => {
                Some(Kept { norms: [first, second], normalised, projected, attended, hidden, slopes })
            }
            _ => None,
        };
        Ok((sum, kept))
    }

    fn backward(
        &self,
        kept: &Kept<Buffer<E, D>>,
        output: Buffer<E, D>,
        gathered: BlockGradients<Buffer<E, D>>,
    ) -> Result<BlockGradients<Buffer<E, D>>, D::Err> {
        let (device, width) = (&self.device, self.attention.width);
        let BlockGradients { mut input, mut layers, mut norms } = gathered;
        let one = device.upload(vec![E::ONE])?;
        // Takes the gradient of a map's output to that of its input, and adds to those of weight and bias on the way.
        let mut through = |layer: usize, input: &Buffer<E, D>, slopes: Option<&Buffer<E, D>>, output| {
            let shape = self.shape(layer);
            let nothing = device.try_alloc_len(0)?;
            let LinearGradients { weight, bias, .. } = &mut layers[layer];
            let gathered = LinearGradients { input: Some(nothing), weight: weight.take(), bias: bias.take() };
            let gathered = device.linear_backward(shape, input, &self.weights[layer], slopes, output, gathered)?;
            (*weight, *bias) = (gathered.weight, gathered.bias);
            // The kernel gives back what it was given to add to.
            gathered.input.map_or_else(|| device.try_alloc_len(shape.rows * shape.inputs), Ok)
        };
        // As through a map, but what the normalisation hands on is added to `sum`.
        let mut through_norm = |index: usize, output, sum: Buffer<E, D>| -> Result<Buffer<E, D>, D::Err> {
            let norm = &mut norms[index];
            let nothing = || device.try_alloc_len(0);
            let (gain, bias) =
                (std::mem::replace(&mut norm.gain, nothing()?), std::mem::replace(&mut norm.bias, nothing()?));
            let gathered = LayerNormGradients { input: Some(sum), gain, bias };
            let gathered =
                device.layer_norm_backward(width, &kept.norms[index], &self.gains[index], output, gathered)?;
            (norm.gain, norm.bias) = (gathered.gain, gathered.bias);
            gathered.input.map_or_else(|| device.try_alloc_len(self.tokens * width), Ok)
        };
        let by_hidden = through(3, &kept.hidden, kept.slopes[2].as_ref(), output.clone())?;
        let by_normalised = through(2, &kept.normalised[1], kept.slopes[1].as_ref(), by_hidden)?;
        let by_sum = through_norm(1, by_normalised, output)?;
        device.add_scaled(&mut input, &by_sum, &one)?;
        let by_attended = through(1, &kept.attended.output, kept.slopes[0].as_ref(), by_sum)?;
        let weights = &kept.attended.weights;
        let by_projected = device.attention_backward(&self.attention, &kept.projected, weights, &by_attended)?;
        let by_normalised = through(0, &kept.normalised[0], None, by_projected)?;
        let input = through_norm(0, by_normalised, input)?;
        Ok(BlockGradients { input, layers, norms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use dfdx::tensor::Cpu;
    use proptest::prelude::*;

    /// The sizes of a block under test.
    #[derive(Debug, Clone)]
    struct Case {
        spans: Spans,
        width: usize,
        hidden: usize,
        settings: BlockSettings,
    }

    /// The output, the vectors and the matrices.
    type Run<E, T> = (Matrix<E, Cpu, T>, Vec<Parameter<(usize,), E, Cpu>>, Vec<Parameter<(usize, usize), E, Cpu>>);

    impl Case {
        fn new(lengths: &[usize], heads: usize, width: usize, activation: Activation) -> Self {
            let settings = BlockSettings { heads, activation, dropout: [None; 3] };
            Case { spans: Spans::of_lengths(lengths.iter().copied()), width, hidden: width + 1, settings }
        }

        /// The lengths of norms' gains and biases, then of the maps' weights and biases, in the order of their use.
        fn sizes(&self) -> Vec<(usize, usize)> {
            let (width, hidden) = (self.width, self.hidden);
            let vectors = [width, width, 3 * width, width, width, width, hidden, width].map(|length| (1, length));
            let matrices = [(width, 3 * width), (width, width), (width, hidden), (hidden, width)];
            vectors.into_iter().chain(matrices).collect()
        }

        /// Parameters as flat lists: eight vectors, four matrices.
        fn parameters(&self) -> Vec<Vec<f64>> {
            let sizes = self.sizes();
            let list = |(index, &(rows, columns)): (usize, &(usize, usize))| {
                let values = numbers(rows * columns, index as u64);
                // Gains near one.
                values
                    .into_iter()
                    .map(|value| if index == 0 || index == 4 { 1.0 + 0.3 * value } else { value })
                    .collect()
            };
            sizes.iter().enumerate().map(list).collect()
        }

        fn run<E: Element, T: Tape<E, Cpu> + 'static>(
            &self,
            input: Matrix<E, Cpu, T>,
            lists: &[Vec<E>],
        ) -> Result<Run<E, T>, KernelError>
        where
            Cpu: Device<E>,
        {
            let vectors: Vec<_> = lists[..8].iter().map(|values| offset(values.clone())).collect();
            let sizes = self.sizes();
            let matrices: Vec<_> = lists[8..]
                .iter()
                .zip(&sizes[8..])
                .map(|(values, size)| weight(values.clone(), size.0, size.1))
                .collect();
            let parameters = BlockParameters {
                attention_norm: [&vectors[0], &vectors[1]],
                projection: (&matrices[0], &vectors[2]),
                attended: (&matrices[1], &vectors[3]),
                layers_norm: [&vectors[4], &vectors[5]],
                first: (&matrices[2], &vectors[6]),
                second: (&matrices[3], &vectors[7]),
            };
            let output = transformer_block(input, &self.spans, &parameters, self.settings)?;
            Ok((output, vectors, matrices))
        }

        /// The block by its formula, number by number.
        fn plain(&self, input: &[f64], lists: &[Vec<f64>]) -> Vec<f64> {
            let (width, heads) = (self.width, self.settings.heads);
            let head = width / heads;
            let norm = |row: &[f64], gain: &[f64], bias: &[f64]| -> Vec<f64> {
                let mean = row.iter().sum::<f64>() / width as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                (0..width).map(|i| gain[i] * (row[i] - mean) / (variance + 1e-5).sqrt() + bias[i]).collect()
            };
            let map = |row: &[f64], weight: &[f64], bias: &[f64]| -> Vec<f64> {
                let columns = bias.len();
                (0..columns)
                    .map(|j| bias[j] + (0..row.len()).map(|i| row[i] * weight[i * columns + j]).sum::<f64>())
                    .collect()
            };
            let drop = |index: usize, token: usize, row: Vec<f64>| -> Vec<f64> {
                let Some(dropout) = self.settings.dropout[index] else { return row };
                let columns = row.len();
                let keep =
                    |(j, x): (usize, f64)| if dropout.keeps(token, j, columns) { x * dropout.scale() } else { 0.0 };
                row.into_iter().enumerate().map(keep).collect()
            };
            let projected: Vec<Vec<f64>> = input
                .chunks_exact(width)
                .map(|row| map(&norm(row, &lists[0], &lists[1]), &lists[8], &lists[2]))
                .collect();
            let mut output = Vec::new();
            for span in self.spans.iter() {
                for token in span.clone() {
                    let mut attended = vec![0.0; width];
                    for (index, attended) in attended.iter_mut().enumerate() {
                        let first = index / head * head;
                        let score = |key: usize| -> f64 {
                            (first..first + head).map(|i| projected[token][i] * projected[key][width + i]).sum()
                        };
                        let weights: Vec<f64> =
                            span.clone().map(|key| (score(key) / (head as f64).sqrt()).exp()).collect();
                        let total: f64 = weights.iter().sum();
                        let values =
                            span.clone().zip(&weights).map(|(key, weight)| weight * projected[key][2 * width + index]);
                        *attended = values.sum::<f64>() / total;
                    }
                    let mapped = drop(0, token, map(&attended, &lists[9], &lists[3]));
                    let row = &input[token * width..(token + 1) * width];
                    let sum: Vec<f64> = row.iter().zip(mapped).map(|(x, y)| x + y).collect();
                    let hidden = map(&norm(&sum, &lists[4], &lists[5]), &lists[10], &lists[6]);
                    let activated = hidden.into_iter().map(|x| match self.settings.activation {
                        Activation::Relu => x.max(0.0),
                        Activation::Gelu => x * 0.5 * libm::erfc(-x / 2.0f64.sqrt()),
                        _ => x.tanh(),
                    });
                    let hidden = drop(1, token, activated.collect());
                    let mapped = drop(2, token, map(&hidden, &lists[11], &lists[7]));
                    output.extend(sum.iter().zip(mapped).map(|(x, y)| x + y));
                }
            }
            output
        }
    }

    fn check_against_formula(case: &Case) {
        let (lists, steps) = (case.parameters(), case.spans.steps());
        let values = numbers(steps * case.width, 50);
        let input = matrix(&values, steps, case.width);
        let (output, vectors, matrices) =
            case.run(input.clone().put_tape(Recorded::default()), &lists).expect("shapes fit");
        for (found, plain) in read(&output).iter().zip(case.plain(&values, &lists)) {
            assert!((found - plain).abs() < 1e-12, "{found} for {plain}");
        }
        if steps == 0 {
            return;
        }
        let weights = numbers(steps * case.width, 99);
        let weighed = |output: Vec<f64>| output.iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>();
        let mut gradients = backward(weigh(output));
        let by_input = gradient_of(&gradients, &input);
        assert_gradient("input", &values, &by_input, |values| weighed(case.plain(values, &lists)));
        let mut by_parameters: Vec<Vec<f64>> =
            vectors.iter().map(|vector| gradient_of_parameter(&mut gradients, vector)).collect();
        by_parameters.extend(matrices.iter().map(|matrix| gradient_of_parameter(&mut gradients, matrix)));
        for (index, by_parameter) in by_parameters.iter().enumerate() {
            assert_gradient(&format!("parameter {index}"), &lists[index], by_parameter, |moved| {
                let mut lists = lists.clone();
                lists[index] = moved.to_vec();
                weighed(case.plain(&values, &lists))
            });
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_block_is_its_formula_and_the_gradients_are_the_differences(
            lengths in prop::collection::vec(0usize..4, 0..4), heads in 1usize..4, head in 1usize..3,
            activation in prop::sample::select(vec![Activation::Relu, Activation::Gelu, Activation::Tanh]),
            dropped in 0usize..2,
        ) {
            let mut case = Case::new(&lengths, heads, heads * head, activation);
            if dropped == 1 {
                case.settings.dropout = [1, 2, 3].map(|key| Some(Dropout::new(0.3, key)));
            }
            // With two numbers a row, ε alone keeps the normalisation from being a step.
            if case.width > 2 {
                check_against_formula(&case);
            }
        }
    }

    /// The bits of a large block's result for the rows with these lengths, from the given token on.
    fn bits_of(lengths: &[usize], first_token: usize) -> Vec<u32> {
        let case = Case { hidden: 600, ..Case::new(lengths, 4, 64, Activation::Gelu) };
        let lists: Vec<Vec<f32>> =
            case.parameters().iter().map(|list| list.iter().map(|&x| x as f32).collect()).collect();
        let steps = case.spans.steps();
        let values = numbers_f32((first_token + steps) * 64, 50);
        bits(&read(&case.run(matrix(&values[first_token * 64..], steps, 64), &lists).expect("shapes fit").0))
    }

    #[test]
    fn a_row_does_not_depend_on_the_rows_beside_it_nor_on_threads() {
        let lengths: Vec<usize> = (0..64).map(|row| row * 7 % 20).collect();
        let whole = with_threads(1, || bits_of(&lengths, 0));
        assert!(with_threads(4, || bits_of(&lengths, 0)) == whole);
        for size in [1, 2, 3, 7, 64] {
            let mut first_token = 0;
            let parts = lengths.chunks(size).flat_map(|lengths| {
                let part = bits_of(lengths, first_token);
                first_token += lengths.iter().sum::<usize>();
                part
            });
            assert!(parts.collect::<Vec<_>>() == whole, "batches of {size}");
        }
    }

    #[test]
    fn gradients_have_the_same_bits_on_one_and_four_threads() {
        let case = Case::new(&[20, 0, 3, 31, 17, 25], 4, 48, Activation::Relu);
        let lists = case.parameters();
        let values = numbers(case.spans.steps() * 48, 50);
        let run = || {
            let input = matrix(&values, case.spans.steps(), 48);
            let (output, vectors, matrices) =
                case.run(input.clone().put_tape(Recorded::default()), &lists).expect("shapes fit");
            let mut gradients = backward(weigh(output));
            let mut all = gradient_of(&gradients, &input);
            vectors.iter().for_each(|vector| all.extend(gradient_of_parameter(&mut gradients, vector)));
            matrices.iter().for_each(|matrix| all.extend(gradient_of_parameter(&mut gradients, matrix)));
            all
        };
        assert!(with_threads(1, run) == with_threads(4, run));
    }

    #[test]
    fn a_nan_stays_in_its_row() {
        let case = Case::new(&[2, 3], 1, 4, Activation::Relu);
        let mut values = numbers(20, 50);
        values[0] = f64::NAN;
        let output = read(&case.run(matrix(&values, 5, 4), &case.parameters()).expect("shapes fit").0);
        assert!(output[..8].iter().all(|value| value.is_nan()) && output[8..].iter().all(|value| value.is_finite()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let case = Case::new(&[2], 2, 4, Activation::Relu);
        let lists = case.parameters();
        let fails = |case: &Case, width: usize| {
            case.run(matrix(&vec![0.0; 2 * width], 2, width), &lists).expect_err("it does not fit").to_string()
        };
        let name = "`transformer_block` takes";
        assert_eq!(fails(&case, 5), format!("{name} gain or bias of a normalisation of size 5, found 4"));
        let mut other = case.clone();
        other.settings.heads = 3;
        assert_eq!(fails(&other, 4), format!("{name} heads of size 6, found 4"));
        other.spans = Spans::of_lengths([1]);
        assert_eq!(fails(&other, 4), format!("{name} tokens of size 1, found 2"));
    }
}
