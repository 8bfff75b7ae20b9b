//! A gated recurrent unit over all steps of a sequence, as one operation.

use std::sync::Arc;

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};
use rayon::prelude::*;

use crate::error::check_size;
use crate::matrix::{View, add_product, product, product_into};
use crate::reduction::add_column_sums;
use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, Element, InputGradient, KernelError, Layer, Matrix};

/// Which states of a recurrent network are given on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum States {
    /// The last one.
    Last,
    /// The mean of all.
    Mean,
}

/// The states of a gated recurrent unit that reads the steps of each row from a state of zero.
///
/// With x the step, h the state before it, and a weight and bias for each of the three gates side by side:
///
/// `r = σ(x W_r + b_r + h U_r + c_r)`, `z = σ(x W_z + b_z + h U_z + c_z)`, `n = tanh(x W_n + b_n + r (h U_n + c_n))`,
/// and the new state is `(1 - z) n + z h` (Cho et al. 2014, arXiv:1406.1078, with the reset gate where cuDNN has it).
///
/// Shapes: `input` `(rows, steps · width)`, `by_input` `(width, 3 · hidden)` and its bias, `by_state`
/// `(hidden, 3 · hidden)` and its bias; result `(rows, hidden)`.
///
/// # Errors
/// [`KernelError::Size`] if the shapes do not fit; [`KernelError::Device`].
pub fn gru<E, D, T>(
    input: Matrix<E, D, T>,
    steps: usize,
    by_input: Layer<'_, E, D>,
    by_state: Layer<'_, E, D>,
    states: States,
    input_gradient: InputGradient,
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: GruKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let (input, mut tape) = input.try_contiguous().map_err(KernelError::device)?.split_tape();
    let &(rows, columns) = input.shape();
    let (width, hidden) = (by_input.0.shape().0, by_state.0.shape().0);
    let check = |what, expected, found| check_size("gru", what, expected, found);
    check("input", steps * width, columns)?;
    check("gates by input", 3 * hidden, by_input.0.shape().1)?;
    check("bias by input", 3 * hidden, by_input.1.shape().0)?;
    check("gates by state", 3 * hidden, by_state.0.shape().1)?;
    check("bias by state", 3 * hidden, by_state.1.shape().0)?;
    let shape = GruShape { rows, steps, width, hidden, states };

    let device = input.device().clone();
    let input_slot = (input_gradient == InputGradient::Needed && T::OWNS_TAPE).then(|| GradientSlot::of(&input));
    let values = device.read(&input).map_err(KernelError::device)?;
    drop(input);
    let weights = GruWeights {
        by_input: by_input.0.values(),
        input_bias: by_input.1.values(),
        by_state: by_state.0.values(),
        state_bias: by_state.1.values(),
    };
    let mut kept = None;
    let keep = T::OWNS_TAPE.then_some(&mut kept);
    let output = device
        .gru_forward(shape, &values, &weights, keep)
        .and_then(|output| device.tensor_of(output, (rows, hidden)))
        .map_err(KernelError::device)?;

    if let Some(kept) = kept {
        let slots = [by_input.0.slot(), by_input.1.slot(), by_state.0.slot(), by_state.1.slot()];
        let output_slot = GradientSlot::of(&output);
        tape.add_backward_op(move |store| {
            let output = output_slot.take_or_zeros(store)?;
            let [by_input, input_bias, by_state, state_bias] = &slots;
            let gathered = GruGradients {
                input: input_slot.as_ref().map(|slot| slot.take_or_zeros(store)).transpose()?,
                by_input: by_input.take_or_zeros(store)?,
                input_bias: input_bias.take_or_zeros(store)?,
                by_state: by_state.take_or_zeros(store)?,
                state_bias: state_bias.take_or_zeros(store)?,
            };
            let gathered = device.gru_backward(shape, &values, &weights, kept, &output, gathered)?;
            if let (Some(slot), Some(gradient)) = (&input_slot, gathered.input) {
                slot.put(store, gradient)?;
            }
            by_input.put(store, gathered.by_input)?;
            input_bias.put(store, gathered.input_bias)?;
            by_state.put(store, gathered.by_state)?;
            state_bias.put(store, gathered.state_bias)
        });
    }
    Ok(output.put_tape(tape))
}

/// The sizes of a recurrent network at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GruShape {
    /// How many rows there are.
    pub rows: usize,
    /// How many steps each has.
    pub steps: usize,
    /// The width of a step.
    pub width: usize,
    /// The width of the state.
    pub hidden: usize,
    /// Which states are given on.
    pub states: States,
}

/// The numbers of the parameters.
#[derive(Debug, Clone)]
pub struct GruWeights<B> {
    /// `(width, 3 · hidden)`
    pub by_input: Arc<B>,
    /// `(3 · hidden,)`
    pub input_bias: Arc<B>,
    /// `(hidden, 3 · hidden)`
    pub by_state: Arc<B>,
    /// `(3 · hidden,)`
    pub state_bias: Arc<B>,
}

/// What the backward pass of [`gru`] needs from the forward pass. How rows and steps are laid out is the device's affair.
#[derive(Debug)]
pub struct GruKept<B> {
    /// The gates r, z and n of every step, `3 · hidden` each.
    pub gates: B,
    /// What r is multiplied with, of every step, `hidden` each.
    pub reset: B,
    /// The state before every step, `hidden` each.
    pub before: B,
}

/// The gradients that the backward pass of [`gru`] adds to, in the shapes of what they belong to.
#[derive(Debug)]
pub struct GruGradients<B> {
    /// Of the input; `None` where nobody needs it.
    pub input: Option<B>,
    /// Of the gates' weight by input.
    pub by_input: B,
    /// Of its bias.
    pub input_bias: B,
    /// Of the gates' weight by state.
    pub by_state: B,
    /// Of its bias.
    pub state_bias: B,
}

/// What a device supplies for [`gru`].
///
/// The result of a row must not depend on the other rows, bit for bit.
pub trait GruKernel<E: Element>: Buffers<E> {
    /// The states asked for, `(rows, hidden)`, and what the backward pass needs if it is asked for.
    ///
    /// # Errors
    /// The device's own error.
    fn gru_forward(
        &self,
        shape: GruShape,
        input: &Buffer<E, Self>,
        weights: &GruWeights<Buffer<E, Self>>,
        kept: Option<&mut Option<GruKept<Buffer<E, Self>>>>,
    ) -> Result<Buffer<E, Self>, Self::Err>;

    /// Adds the gradients to those gathered, given that of the output.
    ///
    /// # Errors
    /// The device's own error.
    fn gru_backward(
        &self,
        shape: GruShape,
        input: &Buffer<E, Self>,
        weights: &GruWeights<Buffer<E, Self>>,
        kept: GruKept<Buffer<E, Self>>,
        output_gradient: &Buffer<E, Self>,
        gathered: GruGradients<Buffer<E, Self>>,
    ) -> Result<GruGradients<Buffer<E, Self>>, Self::Err>;
}

/// Rows that go through the steps together on one thread. Small enough to keep several threads busy with a batch, large
/// enough that a step is a product worth its name.
const BLOCK: usize = 16;

impl<E: Element> GruKernel<E> for Cpu {
    /// What is kept lies block by block, in a block step by step, in a step row by row.
    fn gru_forward(
        &self,
        shape: GruShape,
        input: &Buffer<E, Self>,
        weights: &GruWeights<Buffer<E, Self>>,
        kept: Option<&mut Option<GruKept<Buffer<E, Self>>>>,
    ) -> Result<Buffer<E, Self>, CpuError> {
        let GruShape { rows, steps, width, hidden, .. } = shape;
        let alloc = |length| <Cpu as Storage<E>>::try_alloc_len(self, length);
        let length = rows * steps * hidden;
        let mut output = alloc(rows * hidden)?;
        let mut all = match &kept {
            Some(_) => Some(GruKept { gates: alloc(3 * length)?, reset: alloc(length)?, before: alloc(length)? }),
            None => None,
        };
        // Without steps the state stays zero.
        if length > 0 {
            let input = View::new(input, rows * steps, width);
            let projection = View::new(&weights.by_input, width, 3 * hidden);
            let forward = |block: usize, output: &mut [E], kept: Option<KeptBlock<'_, E>>| {
                let (first, count) = (block * BLOCK * steps, output.len() / hidden * steps);
                let projected = product(input.part(first..first + count, 0..width), projection);
                forward_block(shape, &projected, weights, output, kept);
            };
            let outputs = output.par_chunks_mut(BLOCK * hidden).enumerate();
            match &mut all {
                None => outputs.for_each(|(block, output)| forward(block, output, None)),
                Some(kept) => {
                    let block = BLOCK * steps * hidden;
                    let parts = kept.gates.par_chunks_mut(3 * block).zip(kept.reset.par_chunks_mut(block));
                    let parts = parts.zip(kept.before.par_chunks_mut(block));
                    outputs.zip(parts).for_each(|((block, output), ((gates, reset), before))| {
                        forward(block, output, Some(KeptBlock { gates, reset, before }));
                    });
                }
            }
        }
        if let Some(kept) = kept {
            *kept = all;
        }
        Ok(output)
    }

    fn gru_backward(
        &self,
        shape: GruShape,
        input: &Buffer<E, Self>,
        weights: &GruWeights<Buffer<E, Self>>,
        kept: GruKept<Buffer<E, Self>>,
        output_gradient: &Buffer<E, Self>,
        mut gathered: GruGradients<Buffer<E, Self>>,
    ) -> Result<GruGradients<Buffer<E, Self>>, CpuError> {
        let GruShape { rows, steps, width, hidden, .. } = shape;
        let length = rows * steps * hidden;
        if length == 0 {
            return Ok(gathered);
        }
        let alloc = |length| <Cpu as Storage<E>>::try_alloc_len(self, length);
        let GruKept { mut gates, reset, before } = kept;
        // The gates by state get their gradients where the gates were, block by block and step by step as the states lie;
        // those by input get them row by row as the input lies.
        let mut by_input = alloc(3 * length)?;
        let by_state_transposed = View::new(&weights.by_state, hidden, 3 * hidden).transposed().to_row_major();
        let block = BLOCK * steps * hidden;
        let parts = gates.par_chunks_mut(3 * block).zip(reset.par_chunks(block)).zip(before.par_chunks(block));
        let gradients = output_gradient.par_chunks(BLOCK * hidden).zip(by_input.par_chunks_mut(3 * block));
        parts.zip(gradients).for_each(|(((gates, reset), before), (output, by_input))| {
            backward_block(shape, &by_state_transposed, BackwardBlock { gates, reset, before, output, by_input });
        });

        let by_state = View::new(&gates, rows * steps, 3 * hidden);
        add_product(View::new(&before, rows * steps, hidden).transposed(), by_state, &mut gathered.by_state);
        add_column_sums(&gates, &mut gathered.state_bias);
        let gradient = View::new(&by_input, rows * steps, 3 * hidden);
        add_product(View::new(input, rows * steps, width).transposed(), gradient, &mut gathered.by_input);
        add_column_sums(&by_input, &mut gathered.input_bias);
        if let Some(sum) = &mut gathered.input {
            add_product(gradient, View::new(&weights.by_input, width, 3 * hidden).transposed(), sum);
        }
        Ok(gathered)
    }
}

/// The part of [`GruKept`] that belongs to one block.
struct KeptBlock<'a, E> {
    gates: &'a mut [E],
    reset: &'a mut [E],
    before: &'a mut [E],
}

/// Takes the rows of a block through all steps.
///
/// Shapes: `projected` `(rows, steps, 3 · hidden)`, `output` `(rows, hidden)`.
fn forward_block<E: Element, B: std::ops::Deref<Target = Vec<E>>>(
    GruShape { steps, hidden, states, .. }: GruShape,
    projected: &[E],
    weights: &GruWeights<B>,
    output: &mut [E],
    mut kept: Option<KeptBlock<'_, E>>,
) {
    let rows = output.len() / hidden;
    let by_state = View::new(&weights.by_state, hidden, 3 * hidden);
    let mut state = vec![E::ZERO; rows * hidden];
    let mut gates_by_state = vec![E::ZERO; rows * 3 * hidden];
    let mut step_gates = vec![E::ZERO; 3 * hidden];
    let mut step_reset = vec![E::ZERO; hidden];
    for step in 0..steps {
        product_into(View::new(&state, rows, hidden), by_state, &mut gates_by_state);
        if let Some(kept) = &mut kept {
            kept.before[step * rows * hidden..(step + 1) * rows * hidden].copy_from_slice(&state);
        }
        for (row, state) in state.chunks_exact_mut(hidden).enumerate() {
            let place = step * rows + row;
            let (gates, reset) = match &mut kept {
                Some(kept) => (
                    &mut kept.gates[place * 3 * hidden..(place + 1) * 3 * hidden],
                    &mut kept.reset[place * hidden..(place + 1) * hidden],
                ),
                None => (&mut step_gates[..], &mut step_reset[..]),
            };
            let by_input = &projected[(row * steps + step) * 3 * hidden..][..3 * hidden];
            let by_state = &gates_by_state[row * 3 * hidden..(row + 1) * 3 * hidden];
            forward_step(by_input, by_state, &weights.input_bias, &weights.state_bias, gates, reset, state);
        }
        if states == States::Mean {
            for (sum, &state) in output.iter_mut().zip(&state) {
                *sum += state;
            }
        }
    }
    match states {
        States::Last => output.copy_from_slice(&state),
        States::Mean => {
            let count = E::of(steps as f64);
            output.iter_mut().for_each(|sum| *sum /= count);
        }
    }
}

/// One step of one row; the slices hold three gates side by side, or one state.
fn forward_step<E: Element>(
    by_input: &[E],
    by_state: &[E],
    input_bias: &[E],
    state_bias: &[E],
    gates: &mut [E],
    reset: &mut [E],
    state: &mut [E],
) {
    let hidden = state.len();
    let two = E::ONE + E::ONE;
    let (r, zn) = gates.split_at_mut(hidden);
    let (z, n) = zn.split_at_mut(hidden);
    // Slices of one length each, so that the loops vectorise without checks.
    let [xr, xz, xn] = three(by_input, hidden);
    let [ur, uz, un] = three(by_state, hidden);
    let [br, bz, bn] = three(input_bias, hidden);
    let [cr, cz, cn] = three(state_bias, hidden);
    for i in 0..hidden {
        r[i] = (xr[i] + br[i] + ur[i] + cr[i]).sigmoid();
        z[i] = (xz[i] + bz[i] + uz[i] + cz[i]).sigmoid();
    }
    let reset = &mut reset[..hidden];
    for i in 0..hidden {
        reset[i] = un[i] + cn[i];
        let sum = r[i].mul_add(reset[i], xn[i] + bn[i]);
        n[i] = two.mul_add((two * sum).sigmoid(), -E::ONE);
        state[i] = z[i].mul_add(state[i] - n[i], n[i]);
    }
}

/// The three gates' parts of a slice.
fn three<E>(values: &[E], hidden: usize) -> [&[E]; 3] {
    [0, 1, 2].map(|gate| &values[gate * hidden..(gate + 1) * hidden])
}

/// What one block of rows needs on the way back.
struct BackwardBlock<'a, E> {
    /// The gates r, z and n, which are overwritten with the gradients of what the state put into them.
    gates: &'a mut [E],
    reset: &'a [E],
    before: &'a [E],
    /// The gradient of the output.
    output: &'a [E],
    /// The gradient of what the input put into the gates, `(rows, steps, 3 · hidden)`.
    by_input: &'a mut [E],
}

fn backward_block<E: Element>(
    GruShape { steps, hidden, states, .. }: GruShape,
    by_state_transposed: &[E],
    block: BackwardBlock<'_, E>,
) {
    let BackwardBlock { gates, reset, before, output, by_input } = block;
    let rows = output.len() / hidden;
    let by_state = View::new(by_state_transposed, 3 * hidden, hidden);
    let share = E::of(1.0 / steps as f64);
    let mut state = match states {
        States::Last => output.to_vec(),
        States::Mean => vec![E::ZERO; output.len()],
    };
    for step in (0..steps).rev() {
        if states == States::Mean {
            for (sum, &gradient) in state.iter_mut().zip(output) {
                *sum = gradient.mul_add(share, *sum);
            }
        }
        let step_gates = &mut gates[step * rows * 3 * hidden..(step + 1) * rows * 3 * hidden];
        for (row, (gates, state)) in
            step_gates.chunks_exact_mut(3 * hidden).zip(state.chunks_exact_mut(hidden)).enumerate()
        {
            let place = step * rows + row;
            let (reset, before) = (&reset[place * hidden..][..hidden], &before[place * hidden..][..hidden]);
            let by_input = &mut by_input[(row * steps + step) * 3 * hidden..][..3 * hidden];
            backward_step(gates, reset, before, state, by_input);
        }
        add_product(View::new(step_gates, rows, 3 * hidden), by_state, &mut state);
    }
}

/// One step of one row: `state` goes from the gradient of the state after it to the part of that before it which does not
/// pass the gates.
fn backward_step<E: Element>(gates: &mut [E], reset: &[E], before: &[E], state: &mut [E], by_input: &mut [E]) {
    let hidden = state.len();
    let (r, zn) = gates.split_at_mut(hidden);
    let (z, n) = zn.split_at_mut(hidden);
    let (xr, xzn) = by_input.split_at_mut(hidden);
    let (xz, xn) = xzn.split_at_mut(hidden);
    let (reset, before, z, n) = (&reset[..hidden], &before[..hidden], &mut z[..hidden], &mut n[..hidden]);
    let (xz, xn) = (&mut xz[..hidden], &mut xn[..hidden]);
    for i in 0..hidden {
        let gradient = state[i];
        let by_n = gradient * (E::ONE - z[i]) * (E::ONE - n[i] * n[i]);
        let by_z = gradient * (before[i] - n[i]) * z[i] * (E::ONE - z[i]);
        let by_r = by_n * reset[i] * r[i] * (E::ONE - r[i]);
        state[i] = gradient * z[i];
        (xr[i], xz[i], xn[i]) = (by_r, by_z, by_n);
        n[i] = by_n * r[i];
        (r[i], z[i]) = (by_r, by_z);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use crate::{NoneTape, Parameter};
    use proptest::prelude::*;

    /// The sizes of a network under test: width, hidden, steps.
    #[derive(Debug, Clone, Copy)]
    struct Case {
        width: usize,
        hidden: usize,
        steps: usize,
        states: States,
    }

    struct Network<E: Element> {
        by_input: (Parameter<(usize, usize), E, Cpu>, Parameter<(usize,), E, Cpu>),
        by_state: (Parameter<(usize, usize), E, Cpu>, Parameter<(usize,), E, Cpu>),
    }

    impl Case {
        /// Weights and biases by input and by state, as flat lists.
        fn lists(self) -> Vec<Vec<f64>> {
            let gates = 3 * self.hidden;
            let lengths = [self.width * gates, gates, self.hidden * gates, gates];
            lengths.iter().enumerate().map(|(index, &length)| numbers(length, index as u64)).collect()
        }

        fn network<E: Element>(self, lists: &[Vec<E>]) -> Network<E> {
            let gates = 3 * self.hidden;
            Network {
                by_input: (weight(lists[0].clone(), self.width, gates), offset(lists[1].clone())),
                by_state: (weight(lists[2].clone(), self.hidden, gates), offset(lists[3].clone())),
            }
        }

        fn run<E: Element, T: Tape<E, Cpu> + 'static>(
            self,
            input: Matrix<E, Cpu, T>,
            network: &Network<E>,
            gradient: InputGradient,
        ) -> Result<Matrix<E, Cpu, T>, KernelError>
        where
            Cpu: Device<E>,
        {
            let (by_input, by_state) = (&network.by_input, &network.by_state);
            let layers = ((&by_input.0, &by_input.1), (&by_state.0, &by_state.1));
            gru(input, self.steps, layers.0, layers.1, self.states, gradient)
        }

        /// The network by its formula, number by number.
        fn plain(self, input: &[f64], lists: &[Vec<f64>]) -> Vec<f64> {
            let Case { width, hidden, steps, states } = self;
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let mut output = Vec::new();
            for row in input.chunks_exact(steps * width) {
                let (mut state, mut sum) = (vec![0.0; hidden], vec![0.0; hidden]);
                for step in row.chunks_exact(width) {
                    let part = |values: &[f64], weights: &[f64], bias: &[f64], gate: usize, unit: usize| {
                        let column = gate * hidden + unit;
                        let terms =
                            values.iter().enumerate().map(|(i, value)| value * weights[i * 3 * hidden + column]);
                        bias[column] + terms.sum::<f64>()
                    };
                    let by_input = |gate, unit| part(step, &lists[0], &lists[1], gate, unit);
                    let by_state = |gate, unit| part(&state, &lists[2], &lists[3], gate, unit);
                    let next = |unit| {
                        let r = sigmoid(by_input(0, unit) + by_state(0, unit));
                        let z = sigmoid(by_input(1, unit) + by_state(1, unit));
                        let n = (by_input(2, unit) + r * by_state(2, unit)).tanh();
                        (1.0 - z) * n + z * state[unit]
                    };
                    state = (0..hidden).map(next).collect();
                    sum.iter_mut().zip(&state).for_each(|(sum, state)| *sum += state / steps as f64);
                }
                output.extend(if states == States::Last { state } else { sum });
            }
            output
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_states_are_the_formula_and_the_gradients_are_the_differences(
            rows in prop::sample::select(vec![0, 1, 2, 5, 17]), width in 1usize..4, hidden in 1usize..4,
            steps in 1usize..4, states in prop::sample::select(vec![States::Last, States::Mean]),
        ) {
            let case = Case { width, hidden, steps, states };
            let (lists, values) = (case.lists(), numbers(rows * steps * width, 50));
            let (input, network) = (matrix(&values, rows, steps * width), case.network(&lists));
            let recorded = input.clone().put_tape(Recorded::default());
            let output = case.run(recorded, &network, InputGradient::Needed).expect("shapes fit");
            for (found, plain) in read(&output).iter().zip(case.plain(&values, &lists)) {
                prop_assert!((found - plain).abs() < 1e-13);
            }
            if rows == 0 {
                return Ok(());
            }
            let weights = numbers(rows * hidden, 99);
            let weighed = |output: Vec<f64>| output.iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>();
            let mut gradients = backward(weigh(output));
            let by_input = gradient_of(&gradients, &input);
            assert_gradient("input", &values, &by_input, |values| weighed(case.plain(values, &lists)));
            let found = [
                gradient_of_parameter(&mut gradients, &network.by_input.0),
                gradient_of_parameter(&mut gradients, &network.by_input.1),
                gradient_of_parameter(&mut gradients, &network.by_state.0),
                gradient_of_parameter(&mut gradients, &network.by_state.1),
            ];
            for (index, found) in found.iter().enumerate() {
                assert_gradient(&format!("parameter {index}"), &lists[index], found, |moved| {
                    let mut lists = lists.clone();
                    lists[index] = moved.to_vec();
                    weighed(case.plain(&values, &lists))
                });
            }
        }
    }

    const LARGE: Case = Case { width: 20, hidden: 33, steps: 30, states: States::Last };

    fn singles(case: Case) -> Network<f32> {
        let lists: Vec<Vec<f32>> =
            case.lists().iter().map(|list| list.iter().map(|&x| x as f32 * 0.3).collect()).collect();
        case.network(&lists)
    }

    #[test]
    fn a_row_does_not_depend_on_the_rows_beside_it_nor_on_threads() {
        for hidden in [33, 600] {
            let case = Case { hidden, steps: if hidden > 100 { 2 } else { 30 }, ..LARGE };
            let (network, columns) = (singles(case), case.steps * case.width);
            let values = numbers_f32(70 * columns, 50);
            let run = |values: &[f32]| {
                let input: Matrix<f32, Cpu, NoneTape> = matrix(values, values.len() / columns, columns);
                bits(&read(&case.run(input, &network, InputGradient::Skipped).expect("shapes fit")))
            };
            let whole = with_threads(1, || run(&values));
            assert!(with_threads(4, || run(&values)) == whole);
            for size in [1, 2, 3, 7, 64] {
                assert!(values.chunks(size * columns).flat_map(run).collect::<Vec<_>>() == whole, "batches of {size}");
            }
        }
    }

    #[test]
    fn gradients_have_the_same_bits_on_one_and_four_threads() {
        let (network, columns) = (LARGE.network(&LARGE.lists()), LARGE.steps * LARGE.width);
        let input = matrix(&numbers(50 * columns, 50), 50, columns);
        let run = || {
            let recorded = input.clone().put_tape(Recorded::default());
            let output = LARGE.run(recorded, &network, InputGradient::Needed).expect("shapes fit");
            let mut gradients = backward(weigh(output));
            let mut all = gradient_of(&gradients, &input);
            for (weight, bias) in [&network.by_input, &network.by_state] {
                all.extend(gradient_of_parameter(&mut gradients, weight));
                all.extend(gradient_of_parameter(&mut gradients, bias));
            }
            all
        };
        assert!(with_threads(1, run) == with_threads(4, run));
    }

    #[test]
    fn a_nan_stays_in_its_row_and_without_steps_the_state_is_zero() {
        let case = Case { width: 2, hidden: 3, steps: 2, states: States::Mean };
        let mut values = numbers(8, 50);
        values[0] = f64::NAN;
        let network = case.network(&case.lists());
        let output = case.run(matrix(&values, 2, 4), &network, InputGradient::Skipped).expect("shapes fit");
        let output = read(&output);
        assert!(output[..3].iter().all(|value| value.is_nan()) && output[3..].iter().all(|value| value.is_finite()));
        let none = Case { steps: 0, ..case };
        let recorded = matrix(&[], 2, 0).put_tape(Recorded::default());
        let output = none.run(recorded, &network, InputGradient::Skipped).expect("shapes fit");
        assert_eq!(read(&output), [0.0; 6]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let case = Case { width: 2, hidden: 3, steps: 2, states: States::Last };
        let fails = |lists: &[Vec<f64>], columns: usize, hidden: usize| {
            let network = Case { hidden, ..case }.network(lists);
            let input: Matrix<f64, Cpu, NoneTape> = matrix(&vec![0.0; columns], 1, columns);
            case.run(input, &network, InputGradient::Skipped).expect_err("it does not fit").to_string()
        };
        assert_eq!(fails(&case.lists(), 5, 3), "`gru` takes input of size 4, found 5");
        let mut lists = case.lists();
        lists[3].pop();
        assert_eq!(fails(&lists, 4, 3), "`gru` takes bias by state of size 9, found 8");
    }
}
