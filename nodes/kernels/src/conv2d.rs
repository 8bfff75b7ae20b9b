//! The convolution over images with bias, activation and the maximum over windows, as one operation.
//!
//! An image is unfolded into a matrix with a column for each place, which turns its convolution into one matrix product
//! (Chellapilla, Puri and Simard 2006, *High Performance Convolutional Neural Networks for Document Processing*). Images
//! are worked on one by one, so the sizes of all products, and with them the bits of a row, do not depend on the batch.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};
use rayon::prelude::*;

use crate::error::check_size;
use crate::finish::{finish, finish_with_slopes};
use crate::matrix::{View, add_product_here, product_here};
use crate::reduction::row_sum;
use crate::tape::GradientSlot;
use crate::{Activation, Buffer, Buffers, Element, Finish, InputGradient, KernelError, Matrix, Parameter};

/// What a convolution does that is not learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// The side of the square that is multiplied by the weights.
    pub kernel: usize,
    /// How far the square moves from one place to the next.
    pub stride: usize,
    /// How many zeros are set around the image on each side.
    pub padding: usize,
    /// The nonlinearity of each place.
    pub activation: Activation,
    /// The side of the windows of which the maximum is taken at the end; at 1 all places stay. What is left over at the
    /// right and lower edge is dropped.
    pub pool: usize,
}

/// `pool(activation(weight * input + bias))`, where `*` is the cross-correlation over images.
///
/// Shapes: `input` `(rows, channels · height · width)`, `weight` `(outputs, channels · kernel · kernel)`, `bias`
/// `(outputs,)`; result `(rows, outputs · height · width)` with the height and width that [`Convolution::output_size`]
/// gives. The gradient of a maximum goes to the first of its largest places.
///
/// # Errors
/// [`KernelError::Size`] if the shapes do not fit, the kernel is larger than the padded image, or a window of `pool` is
/// larger than what the convolution gives; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let device = Cpu::default();
/// let weight = Parameter::new(&device, vec![1.0f32, 1.0, 1.0, 1.0], (1, 4), Regularised::Yes)?;
/// let bias = Parameter::new(&device, vec![0.5], (1,), Regularised::No)?;
/// let sums = Convolution { image: [1, 2, 3], kernel: 2, stride: 1, padding: 0, activation: Activation::None, pool: 1 };
/// let image = matrix_from(&device, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1, 6)?;
/// assert_eq!(conv2d(image, &weight, &bias, sums, InputGradient::Skipped)?.as_vec(), [12.5, 16.5]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn conv2d<E, D, T>(
    input: Matrix<E, D, T>,
    weight: &Parameter<(usize, usize), E, D>,
    bias: &Parameter<(usize,), E, D>,
    convolution: Convolution,
    input_gradient: InputGradient,
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: Conv2dKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let (input, mut tape) = input.try_contiguous().map_err(KernelError::device)?.split_tape();
    let &(rows, inputs) = input.shape();
    let &(outputs, weight_columns) = weight.shape();
    let shape = Conv2dShape::new(convolution, rows, outputs)?;
    check_size("conv2d", "rows of the input", shape.image(), inputs)?;
    check_size("conv2d", "rows of the weight", shape.patch(), weight_columns)?;
    check_size("conv2d", "bias", outputs, bias.shape().0)?;

    let device = input.device().clone();
    let input_slot = (input_gradient == InputGradient::Needed && T::OWNS_TAPE).then(|| GradientSlot::of(&input));
    let values = device.read(&input).map_err(KernelError::device)?;
    drop(input);
    let weights = weight.values();
    let mut kept = None;
    let keep = T::OWNS_TAPE.then_some(&mut kept);
    let output = device
        .conv2d_forward(&shape, &values, &weights, &bias.values(), keep)
        .and_then(|output| device.tensor_of(output, (rows, shape.output())))
        .map_err(KernelError::device)?;

    if let Some(kept) = kept {
        let (weight_slot, bias_slot, output_slot) = (weight.slot(), bias.slot(), GradientSlot::of(&output));
        tape.add_backward_op(move |gradients| {
            let output = output_slot.take_or_zeros(gradients)?;
            let gathered = Conv2dGradients {
                input: input_slot.as_ref().map(|slot| slot.take_or_zeros(gradients)).transpose()?,
                weight: weight_slot.take_or_zeros(gradients)?,
                bias: bias_slot.take_or_zeros(gradients)?,
            };
            let gathered = device.conv2d_backward(&shape, &values, &weights, &kept, &output, gathered)?;
            if let (Some(slot), Some(gradient)) = (&input_slot, gathered.input) {
                slot.put(gradients, gradient)?;
            }
            weight_slot.put(gradients, gathered.weight)?;
            bias_slot.put(gradients, gathered.bias)
        });
    }
    Ok(output.put_tape(tape))
}

impl Convolution {
    /// Height and width of the result.
    ///
    /// # Errors
    /// [`KernelError::Size`] if the kernel or the windows of `pool` do not fit.
    pub fn output_size(&self) -> Result<[usize; 2], KernelError> {
        Ok(self.convolved()?.map(|size| size / self.pool))
    }

    /// Height and width before the maximum over windows.
    fn convolved(&self) -> Result<[usize; 2], KernelError> {
        for (what, size) in [("a kernel", self.kernel), ("a stride", self.stride), ("a pool", self.pool)] {
            if size == 0 {
                return Err(KernelError::Size { operation: "conv2d", what, expected: 1, found: 0 });
            }
        }
        if self.pool > LARGEST_POOL {
            let (expected, found) = (LARGEST_POOL, self.pool);
            return Err(KernelError::Size { operation: "conv2d", what: "a largest pool", expected, found });
        }
        let [_, height, width] = self.image;
        let mut convolved = [0; 2];
        for (size, image) in convolved.iter_mut().zip([height, width]) {
            let padded = image + 2 * self.padding;
            if padded < self.kernel {
                let (expected, found) = (self.kernel, padded);
                return Err(KernelError::Size { operation: "conv2d", what: "a padded image", expected, found });
            }
            *size = (padded - self.kernel) / self.stride + 1;
            if *size < self.pool {
                let (expected, found) = (self.pool, *size);
                return Err(KernelError::Size { operation: "conv2d", what: "an image to pool", expected, found });
            }
        }
        Ok(convolved)
    }
}

/// The place of a maximum in its window is kept in one byte.
const LARGEST_POOL: usize = 16;

/// The sizes of a convolution, checked.
#[derive(Debug, Clone, Copy)]
pub struct Conv2dShape {
    convolution: Convolution,
    rows: usize,
    outputs: usize,
    convolved: [usize; 2],
}

impl Conv2dShape {
    fn new(convolution: Convolution, rows: usize, outputs: usize) -> Result<Self, KernelError> {
        Ok(Conv2dShape { convolution, rows, outputs, convolved: convolution.convolved()? })
    }

    /// What is convolved, and how.
    pub fn convolution(&self) -> Convolution {
        self.convolution
    }

    /// How many images there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many channels the result has.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Numbers of an image.
    fn image(&self) -> usize {
        self.convolution.image.iter().product()
    }

    /// Numbers under the kernel.
    fn patch(&self) -> usize {
        self.convolution.image[0] * self.convolution.kernel * self.convolution.kernel
    }

    /// Places of the kernel.
    fn places(&self) -> usize {
        self.convolved.iter().product()
    }

    /// Places after the maximum over windows.
    fn pooled(&self) -> usize {
        self.convolved.iter().map(|size| size / self.convolution.pool).product()
    }

    /// Numbers of a row of the result.
    fn output(&self) -> usize {
        self.outputs * self.pooled()
    }
}

/// The gradients that the backward pass of [`conv2d`] adds to.
#[derive(Debug)]
pub struct Conv2dGradients<B> {
    /// Of the input; `None` where nobody needs it.
    pub input: Option<B>,
    /// Of the weight, `(outputs, channels · kernel · kernel)`.
    pub weight: B,
    /// Of the bias, `(outputs,)`.
    pub bias: B,
}

/// What a device supplies for [`conv2d`].
///
/// The result of a row must not depend on the other rows, bit for bit.
pub trait Conv2dKernel<E: Element>: Buffers<E> {
    /// What the backward pass needs from the forward pass beside its operands.
    type Conv2dKept: std::fmt::Debug + 'static;

    /// The result, and what the backward pass needs if it is asked for.
    ///
    /// # Errors
    /// The device's own error.
    fn conv2d_forward(
        &self,
        shape: &Conv2dShape,
        input: &Buffer<E, Self>,
        weight: &Buffer<E, Self>,
        bias: &Buffer<E, Self>,
        kept: Option<&mut Option<Self::Conv2dKept>>,
    ) -> Result<Buffer<E, Self>, Self::Err>;

    /// Adds the gradients to those gathered, given that of the output.
    ///
    /// # Errors
    /// The device's own error.
    fn conv2d_backward(
        &self,
        shape: &Conv2dShape,
        input: &Buffer<E, Self>,
        weight: &Buffer<E, Self>,
        kept: &Self::Conv2dKept,
        output_gradient: &Buffer<E, Self>,
        gathered: Conv2dGradients<Buffer<E, Self>>,
    ) -> Result<Conv2dGradients<Buffer<E, Self>>, Self::Err>;
}

/// What the CPU keeps of a convolution; a part is empty where it would say nothing.
#[derive(Debug)]
pub struct CpuConv2dKept<E> {
    /// The slope of the activation at each number of the result.
    slopes: Vec<E>,
    /// The place within its window of each number of the result.
    winners: Vec<u8>,
}

/// The gradients of the parameters are summed over at most so many blocks of images.
const BLOCKS: usize = 16;

impl<E: Element> Conv2dKernel<E> for Cpu {
    type Conv2dKept = CpuConv2dKept<E>;

    fn conv2d_forward(
        &self,
        shape: &Conv2dShape,
        input: &Buffer<E, Self>,
        weight: &Buffer<E, Self>,
        bias: &Buffer<E, Self>,
        kept: Option<&mut Option<Self::Conv2dKept>>,
    ) -> Result<Buffer<E, Self>, CpuError> {
        let (rows, length, image) = (shape.rows, shape.output(), shape.image());
        let Convolution { activation, pool, .. } = shape.convolution;
        let mut output = <Cpu as Storage<E>>::try_alloc_len(self, rows * length)?;
        let kept_length = |is: bool| if is && kept.is_some() { rows * length } else { 0 };
        let mut slopes = vec![E::ZERO; kept_length(activation != Activation::None)];
        let mut winners = vec![0u8; kept_length(pool > 1)];
        let results: Vec<_> = split(&mut output, rows)
            .zip(split(&mut slopes, rows))
            .zip(split(&mut winners, rows))
            .map(|((output, slopes), winners)| PooledRow { output, slopes, winners })
            .collect();
        let weight = View::new(weight, shape.outputs, shape.patch());
        results.into_par_iter().enumerate().for_each_init(
            || Scratch::new(shape),
            |scratch, (row, result)| {
                let Scratch { columns, dense, dense_slopes, .. } = scratch;
                unfold(shape, &input[row * image..][..image], columns);
                let columns = View::new(columns, shape.patch(), shape.places());
                if pool == 1 {
                    product_here(weight, columns, result.output);
                    end(shape, bias, result);
                } else {
                    product_here(weight, columns, dense);
                    pool_and_end(shape, bias, dense, dense_slopes, result);
                }
            },
        );
        if let Some(kept) = kept {
            *kept = Some(CpuConv2dKept { slopes, winners });
        }
        Ok(output)
    }

    fn conv2d_backward(
        &self,
        shape: &Conv2dShape,
        input: &Buffer<E, Self>,
        weight: &Buffer<E, Self>,
        kept: &Self::Conv2dKept,
        output_gradient: &Buffer<E, Self>,
        mut gathered: Conv2dGradients<Buffer<E, Self>>,
    ) -> Result<Conv2dGradients<Buffer<E, Self>>, CpuError> {
        let (rows, length, image) = (shape.rows, shape.output(), shape.image());
        let (outputs, patch, places) = (shape.outputs, shape.patch(), shape.places());
        let block_rows = rows.div_ceil(BLOCKS).max(1);
        let weight = View::new(weight, outputs, patch).transposed();
        let mut nothing = Vec::new();
        let input_gradient: &mut [E] = gathered.input.as_mut().map_or(&mut nothing, |gradient| gradient);
        let input_gradients: Vec<_> = split(input_gradient, rows).collect();
        let mut blocks = Vec::new();
        for (index, row) in input_gradients.into_iter().enumerate() {
            if index % block_rows == 0 {
                blocks.push(Vec::with_capacity(block_rows));
            }
            if let Some(block) = blocks.last_mut() {
                block.push((index, row));
            }
        }
        let sums: Vec<(Vec<E>, Vec<E>)> = blocks
            .into_par_iter()
            .map_init(
                || Scratch::new(shape),
                |scratch, rows| {
                    let Scratch { columns, dense, transposed, ended, .. } = scratch;
                    let (mut weights, mut biases) = (vec![E::ZERO; patch * outputs], vec![E::ZERO; outputs]);
                    for (row, input_gradient) in rows {
                        ended.copy_from_slice(&output_gradient[row * length..][..length]);
                        go_back(shape, kept, row, ended, &mut biases);
                        let winners = kept.winners.get(row * length..(row + 1) * length);
                        let needed = !input_gradient.is_empty();
                        spread(shape, ended, winners, transposed, needed.then_some(&mut dense[..]));
                        unfold(shape, &input[row * image..][..image], columns);
                        let by_place = View::new(transposed, places, outputs);
                        add_product_here(View::new(columns, patch, places), by_place, &mut weights);
                        if needed {
                            product_here(weight, View::new(dense, outputs, places), columns);
                            fold(shape, columns, input_gradient);
                        }
                    }
                    (weights, biases)
                },
            )
            .collect();
        for (weights, biases) in sums {
            for (output, sums) in gathered.weight.chunks_exact_mut(patch.max(1)).enumerate() {
                for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(outputs)) {
                    *sum += weights[output];
                }
            }
            for (sum, bias) in gathered.bias.iter_mut().zip(biases) {
                *sum += bias;
            }
        }
        Ok(gathered)
    }
}

/// The numbers of one row of the result, and what is kept of them.
struct PooledRow<'a, E> {
    output: &'a mut [E],
    slopes: &'a mut [E],
    winners: &'a mut [u8],
}

/// Memory that a thread uses for one image after the other.
struct Scratch<E> {
    /// The unfolded image, `(patch, places)`.
    columns: Vec<E>,
    /// What the convolution gives before windows, `(outputs, places)`.
    dense: Vec<E>,
    dense_slopes: Vec<E>,
    /// Its gradient, `(places, outputs)`.
    transposed: Vec<E>,
    /// The gradient of what the activation is given, in the places that won.
    ended: Vec<E>,
}

impl<E: Element> Scratch<E> {
    fn new(shape: &Conv2dShape) -> Self {
        let dense = shape.outputs * shape.places();
        Scratch {
            columns: vec![E::ZERO; shape.patch() * shape.places()],
            dense: vec![E::ZERO; dense],
            dense_slopes: Vec::new(),
            transposed: vec![E::ZERO; dense],
            ended: vec![E::ZERO; shape.output()],
        }
    }
}

/// The slice in `parts` equal parts, which are empty if it is.
fn split<T>(slice: &mut [T], parts: usize) -> impl Iterator<Item = &mut [T]> {
    let (length, mut rest) = (slice.len().checked_div(parts).unwrap_or(0), slice);
    (0..parts).map(move |_| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(length);
        rest = after;
        part
    })
}

/// Adds the bias to the numbers of a row and activates them.
fn end<E: Element>(shape: &Conv2dShape, bias: &[E], row: PooledRow<'_, E>) {
    let PooledRow { output, slopes, .. } = row;
    for (plane, &bias) in output.chunks_exact_mut(shape.pooled().max(1)).zip(bias) {
        plane.iter_mut().for_each(|value| *value += bias);
    }
    activate(shape.convolution.activation, output, slopes);
}

/// Activates numbers; keeps their slopes if there is room for them.
fn activate<E: Element>(activation: Activation, values: &mut [E], slopes: &mut [E]) {
    let (end, width) = (Finish { activation, dropout: None }, values.len());
    if slopes.is_empty() {
        finish(end, None, width, values);
    } else {
        finish_with_slopes(end, None, width, values, slopes);
    }
}

/// Takes the maximum over the windows of `dense`, and ends the row.
///
/// A nonlinearity that never falls is the same before and after a maximum, and there are fewer numbers after it.
fn pool_and_end<E: Element>(
    shape: &Conv2dShape,
    bias: &[E],
    dense: &mut [E],
    dense_slopes: &mut Vec<E>,
    row: PooledRow<'_, E>,
) {
    let Convolution { activation, pool, .. } = shape.convolution;
    let rises = matches!(activation, Activation::None | Activation::Relu | Activation::Tanh);
    if !rises {
        for (plane, &bias) in dense.chunks_exact_mut(shape.places()).zip(bias) {
            plane.iter_mut().for_each(|value| *value += bias);
        }
        dense_slopes.resize(if row.slopes.is_empty() { 0 } else { dense.len() }, E::ZERO);
        activate(activation, dense, dense_slopes);
    }
    let mut unkept = Vec::new();
    let PooledRow { output, slopes, winners } = row;
    let winners = if winners.is_empty() {
        unkept.resize(output.len(), 0);
        &mut unkept[..]
    } else {
        winners
    };
    let planes = output.chunks_exact_mut(shape.pooled()).zip(winners.chunks_exact_mut(shape.pooled()));
    for ((output, winners), dense) in planes.zip(dense.chunks_exact(shape.places())) {
        if pool == 2 {
            pool_by_two(shape.convolved[1], dense, output, winners);
        } else {
            pool_plane(shape, dense, output, winners);
        }
    }
    if rises {
        end(shape, bias, PooledRow { output, slopes, winners });
    } else if !slopes.is_empty() {
        let planes = slopes.chunks_exact_mut(shape.pooled()).zip(winners.chunks_exact(shape.pooled()));
        for ((slopes, winners), dense) in planes.zip(dense_slopes.chunks_exact(shape.places())) {
            for (index, (slope, &winner)) in slopes.iter_mut().zip(winners).enumerate() {
                *slope = dense[place_of(shape, index, winner)];
            }
        }
    }
}

/// The place in a plane of what won a window.
#[inline(always)]
fn place_of(shape: &Conv2dShape, window: usize, winner: u8) -> usize {
    let (pool, width, winner) = (shape.convolution.pool, shape.convolved[1], usize::from(winner));
    let windows = width / pool;
    (window / windows * pool + winner / pool) * width + window % windows * pool + winner % pool
}

/// The maximum of each window of a plane and where it lies. A NaN wins.
fn pool_plane<E: Element>(shape: &Conv2dShape, dense: &[E], output: &mut [E], winners: &mut [u8]) {
    let pool = shape.convolution.pool;
    for (window, (output, winner)) in output.iter_mut().zip(winners).enumerate() {
        (*output, *winner) = (dense[place_of(shape, window, 0)], 0);
        for candidate in 1..(pool * pool - 1) as u8 + 1 {
            let value = dense[place_of(shape, window, candidate)];
            if value > *output || value.is_nan() {
                (*output, *winner) = (value, candidate);
            }
        }
    }
}

/// As [`pool_plane`] for windows of 2 by 2 in a plane of `width`.
fn pool_by_two<E: Element>(width: usize, dense: &[E], output: &mut [E], winners: &mut [u8]) {
    let windows = width / 2;
    let rows = output.chunks_exact_mut(windows).zip(winners.chunks_exact_mut(windows));
    for ((output, winners), dense) in rows.zip(dense.chunks_exact(2 * width)) {
        let (upper, lower) = dense.split_at(width);
        let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        for ((output, winner), (upper, lower)) in output.iter_mut().zip(winners).zip(pairs) {
            let better = |(best, place): (E, u8), value: E, at: u8| {
                if value > best || value.is_nan() { (value, at) } else { (best, place) }
            };
            let first = better((upper[0], 0), upper[1], 1);
            (*output, *winner) = better(better(first, lower[0], 2), lower[1], 3);
        }
    }
}

/// Takes the gradient of a row back before the activation, and adds it to that of the biases.
fn go_back<E: Element>(shape: &Conv2dShape, kept: &CpuConv2dKept<E>, row: usize, gradient: &mut [E], biases: &mut [E]) {
    if let Some(slopes) = kept.slopes.get(row * gradient.len()..(row + 1) * gradient.len()) {
        for (gradient, &slope) in gradient.iter_mut().zip(slopes) {
            *gradient *= slope;
        }
    }
    for (bias, plane) in biases.iter_mut().zip(gradient.chunks_exact(shape.pooled())) {
        *bias += row_sum(plane);
    }
}

/// Takes the gradient of a row back before the maximum over windows: laid out `(places, outputs)`, and, where it is
/// asked for, `(outputs, places)`.
fn spread<E: Element>(
    shape: &Conv2dShape,
    gradient: &[E],
    winners: Option<&[u8]>,
    transposed: &mut [E],
    mut dense: Option<&mut [E]>,
) {
    let (outputs, places, pooled) = (shape.outputs, shape.places(), shape.pooled());
    let Some(winners) = winners else {
        for (output, plane) in gradient.chunks_exact(places).enumerate() {
            for (row, &value) in transposed.chunks_exact_mut(outputs).zip(plane) {
                row[output] = value;
            }
        }
        if let Some(dense) = dense {
            dense.copy_from_slice(gradient);
        }
        return;
    };
    let (pool, width) = (shape.convolution.pool, shape.convolved[1]);
    let windows = width / pool;
    let mut steps = [0; LARGEST_POOL * LARGEST_POOL];
    for (winner, step) in steps[..pool * pool].iter_mut().enumerate() {
        *step = winner / pool * width + winner % pool;
    }
    transposed.fill(E::ZERO);
    if let Some(dense) = &mut dense {
        dense.fill(E::ZERO);
    }
    let planes = gradient.chunks_exact(pooled).zip(winners.chunks_exact(pooled));
    for (output, (gradient, winners)) in planes.enumerate() {
        let lines = gradient.chunks_exact(windows).zip(winners.chunks_exact(windows));
        for (down, (gradient, winners)) in lines.enumerate() {
            let first = down * pool * width;
            for (right, (&value, &winner)) in gradient.iter().zip(winners).enumerate() {
                let place = first + right * pool + steps[usize::from(winner)];
                transposed[place * outputs + output] = value;
                if let Some(dense) = &mut dense {
                    dense[output * places + place] = value;
                }
            }
        }
    }
}

/// One row of the unfolded image: the numbers of one channel that one weight meets.
struct Shift {
    channel: usize,
    /// Where the weight lies in the kernel, the padding taken off.
    down: isize,
    right: isize,
}

fn shifts(shape: &Conv2dShape) -> impl Iterator<Item = Shift> {
    let Convolution { image: [channels, ..], kernel, padding, .. } = shape.convolution;
    (0..channels * kernel * kernel).map(move |index| Shift {
        channel: index / (kernel * kernel),
        down: (index / kernel % kernel) as isize - padding as isize,
        right: (index % kernel) as isize - padding as isize,
    })
}

/// Sets the numbers that each weight meets side by side, `(patch, places)`.
fn unfold<E: Element>(shape: &Conv2dShape, image: &[E], columns: &mut [E]) {
    let [_, height, width] = shape.convolution.image;
    for (shift, row) in shifts(shape).zip(columns.chunks_exact_mut(shape.places())) {
        let plane = &image[shift.channel * height * width..][..height * width];
        if keeps_size(shape) {
            // The plane moved as a whole is right but for what comes in over the sides.
            let (to, from) = overlap(shape, &shift);
            row[..to.start].fill(E::ZERO);
            row[to.end..].fill(E::ZERO);
            row[to].copy_from_slice(&plane[from]);
            clear_sides(width, shift.right, row);
        } else {
            for_meetings(shape, &shift, |place, pixel| row[place] = pixel.map_or(E::ZERO, |pixel| plane[pixel]));
        }
    }
}

/// Adds to each number of the image what [`unfold`] made of it; may overwrite `columns`.
fn fold<E: Element>(shape: &Conv2dShape, columns: &mut [E], image: &mut [E]) {
    let [_, height, width] = shape.convolution.image;
    for (shift, row) in shifts(shape).zip(columns.chunks_exact_mut(shape.places())) {
        let plane = &mut image[shift.channel * height * width..][..height * width];
        if keeps_size(shape) {
            clear_sides(width, shift.right, row);
            let (from, to) = overlap(shape, &shift);
            for (sum, &value) in plane[to].iter_mut().zip(&row[from]) {
                *sum += value;
            }
        } else {
            for_meetings(shape, &shift, |place, pixel| {
                if let Some(pixel) = pixel {
                    plane[pixel] += row[place];
                }
            });
        }
    }
}

/// Whether there is a place for each pixel, in the same order.
fn keeps_size(shape: &Conv2dShape) -> bool {
    shape.convolution.stride == 1 && shape.convolved == shape.convolution.image[1..]
}

/// The places that meet a pixel, and the pixels they meet, if the plane is moved as a whole.
fn overlap(shape: &Conv2dShape, shift: &Shift) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let (size, by) = (shape.places(), shift.down * shape.convolved[1] as isize + shift.right);
    let (back, ahead) = ((-by).max(0) as usize, by.max(0) as usize);
    let length = size.saturating_sub(back + ahead);
    let (to, from) = (back.min(size), ahead.min(size));
    (to..to + length, from..from + length)
}

/// Clears the places at the left or right that meet padding.
fn clear_sides<E: Element>(width: usize, right: isize, row: &mut [E]) {
    let outside = right.unsigned_abs().min(width);
    if outside == 0 {
        return;
    }
    for line in row.chunks_exact_mut(width) {
        let side = if right < 0 { &mut line[..outside] } else { &mut line[width - outside..] };
        side.fill(E::ZERO);
    }
}

/// Calls `meet(place, pixel)` for every place; no pixel where it meets padding.
fn for_meetings(shape: &Conv2dShape, shift: &Shift, mut meet: impl FnMut(usize, Option<usize>)) {
    let ([_, height, width], stride) = (shape.convolution.image, shape.convolution.stride);
    let [places_down, places_right] = shape.convolved;
    let inside = |place: usize, by: isize, size: usize| {
        (place * stride).checked_add_signed(by).filter(|&position| position < size)
    };
    for down in 0..places_down {
        let line = inside(down, shift.down, height);
        for right in 0..places_right {
            let column = inside(right, shift.right, width);
            let pixel = line.zip(column).map(|(line, column)| line * width + column);
            meet(down * places_right + right, pixel);
        }
    }
}

#[cfg(test)]
mod tests;
