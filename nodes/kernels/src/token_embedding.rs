//! The vectors of a text's tokens: one for each token, or their mean.

use std::sync::Arc;

use dfdx::tensor::{Cpu, CpuError, PutTape, Storage, Tape};
use dfdx::tensor_ops::Device;

use crate::error::check_size;
use crate::finish::{finish, finish_with_slopes, for_row_chunks, multiply_by_slopes};
use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, Element, Finish, KernelError, Matrix, Parameter, Tokens};

/// The vector of each token plus that of its place in the row.
///
/// Shapes: `table` `(vocabulary, width)`, `places` `(longest, width)`; result `(tokens of all rows, width)`. The gradient
/// of the table is dense: tokens that are not in the batch get zeros.
///
/// # Errors
/// [`KernelError::Code`] for a token outside the table; [`KernelError::Size`] if a row has more tokens than there are
/// places, or the widths differ; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let device = Cpu::default();
/// let table = Parameter::new(&device, vec![0.0f32, 1.0, 2.0], (3, 1), Regularised::Yes)?;
/// let places = Parameter::new(&device, vec![10.0, 20.0], (2, 1), Regularised::Yes)?;
/// let tokens = Tokens::of_padded(&[2, 1, 1, 0], 2, 2)?;
/// let vectors: Matrix<f32, Cpu> = embed_tokens(&device, &tokens, &table, &places)?;
/// assert_eq!(vectors.as_vec(), [12.0, 21.0, 11.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn embed_tokens<E, D, T>(
    device: &D,
    tokens: &Tokens,
    table: &Parameter<(usize, usize), E, D>,
    places: &Parameter<(usize, usize), E, D>,
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: TokenKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let &(vocabulary, width) = table.shape();
    check_size("embed_tokens", "places", width, places.shape().1)?;
    tokens.check("embed_tokens", vocabulary)?;
    let longest = tokens.spans().iter().map(|span| span.len()).max().unwrap_or(0);
    if longest > places.shape().0 {
        let (expected, found) = (places.shape().0, longest);
        return Err(KernelError::Size { operation: "embed_tokens", what: "rows", expected, found });
    }
    let output = device
        .embed_tokens_forward(tokens, width, &table.values(), &places.values())
        .and_then(|output| device.tensor_of(output, (tokens.spans().steps(), width)))
        .map_err(KernelError::device)?;

    let mut tape = T::default();
    if T::OWNS_TAPE {
        let (device, tokens) = (device.clone(), tokens.clone());
        let (table_slot, places_slot, output_slot) = (table.slot(), places.slot(), GradientSlot::of(&output));
        tape.add_backward_op(move |gradients| {
            let output = output_slot.take_or_zeros(gradients)?;
            let mut table = table_slot.take_or_zeros(gradients)?;
            let mut places = places_slot.take_or_zeros(gradients)?;
            device.embed_tokens_backward(&tokens, width, &output, &mut table, &mut places)?;
            table_slot.put(gradients, table)?;
            places_slot.put(gradients, places)
        });
    }
    Ok(output.put_tape(tape))
}

/// The mean of the vectors of a row's tokens, finished; a row without tokens has the mean zero.
///
/// Shapes: `table` `(vocabulary, width)`; result `(rows, width)`. The gradient of the table is dense.
///
/// # Errors
/// [`KernelError::Code`] for a token outside the table; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let device = Cpu::default();
/// let table = Parameter::new(&device, vec![0.0f32, 1.0, 2.0], (3, 1), Regularised::Yes)?;
/// let tokens = Tokens::of_padded(&[2, 1, 0, 0], 2, 2)?;
/// let means: Matrix<f32, Cpu> = embedding_mean(&device, &tokens, &table, Finish::NONE)?;
/// assert_eq!(means.as_vec(), [1.5, 0.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn embedding_mean<E, D, T>(
    device: &D,
    tokens: &Tokens,
    table: &Parameter<(usize, usize), E, D>,
    finish: Finish,
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: TokenKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let &(vocabulary, width) = table.shape();
    tokens.check("embedding_mean", vocabulary)?;
    let mut slopes = None;
    let keep_slopes = (T::OWNS_TAPE && !finish.is_none()).then_some(&mut slopes);
    let output = device
        .embedding_mean_forward(tokens, width, &table.values(), finish, keep_slopes)
        .and_then(|output| device.tensor_of(output, (tokens.spans().rows(), width)))
        .map_err(KernelError::device)?;

    let mut tape = T::default();
    if T::OWNS_TAPE {
        let (device, tokens) = (device.clone(), tokens.clone());
        let (table_slot, output_slot) = (table.slot(), GradientSlot::of(&output));
        tape.add_backward_op(move |gradients| {
            let output = output_slot.take_or_zeros(gradients)?;
            let mut table = table_slot.take_or_zeros(gradients)?;
            device.embedding_mean_backward(&tokens, width, slopes.as_ref(), output, &mut table)?;
            table_slot.put(gradients, table)
        });
    }
    Ok(output.put_tape(tape))
}

/// What a device supplies for [`embed_tokens`] and [`embedding_mean`]. The tokens are checked.
///
/// The result of a row must not depend on the other rows, bit for bit.
pub trait TokenKernel<E: Element>: Buffers<E> {
    /// The vectors of all tokens, `(tokens, width)`.
    ///
    /// # Errors
    /// The device's own error.
    fn embed_tokens_forward(
        &self,
        tokens: &Tokens,
        width: usize,
        table: &Arc<Buffer<E, Self>>,
        places: &Arc<Buffer<E, Self>>,
    ) -> Result<Buffer<E, Self>, Self::Err>;

    /// Adds the gradients of table and places to those gathered, tokens in order.
    ///
    /// # Errors
    /// The device's own error.
    fn embed_tokens_backward(
        &self,
        tokens: &Tokens,
        width: usize,
        output_gradient: &Buffer<E, Self>,
        table: &mut Buffer<E, Self>,
        places: &mut Buffer<E, Self>,
    ) -> Result<(), Self::Err>;

    /// The finished means, `(rows, width)`; if `slopes` is asked for, also the slopes of the finish.
    ///
    /// # Errors
    /// The device's own error.
    fn embedding_mean_forward(
        &self,
        tokens: &Tokens,
        width: usize,
        table: &Arc<Buffer<E, Self>>,
        finish: Finish,
        slopes: Option<&mut Option<Buffer<E, Self>>>,
    ) -> Result<Buffer<E, Self>, Self::Err>;

    /// Adds the gradient of the table to that gathered, tokens in order.
    ///
    /// # Errors
    /// The device's own error.
    fn embedding_mean_backward(
        &self,
        tokens: &Tokens,
        width: usize,
        slopes: Option<&Buffer<E, Self>>,
        output_gradient: Buffer<E, Self>,
        table: &mut Buffer<E, Self>,
    ) -> Result<(), Self::Err>;
}

impl<E: Element> TokenKernel<E> for Cpu {
    fn embed_tokens_forward(
        &self,
        tokens: &Tokens,
        width: usize,
        table: &Arc<Buffer<E, Self>>,
        places: &Arc<Buffer<E, Self>>,
    ) -> Result<Buffer<E, Self>, CpuError> {
        let mut output = <Cpu as Storage<E>>::try_alloc_len(self, tokens.values().len() * width)?;
        if width == 0 {
            return Ok(output);
        }
        let rest = &mut output[..];
        let mut vectors = rest.chunks_exact_mut(width);
        for span in tokens.spans().iter() {
            let row = tokens.values()[span].iter().zip(places.chunks_exact(width));
            for ((&token, place), vector) in row.zip(&mut vectors) {
                let token = &table[token as usize * width..][..width];
                for ((value, &token), &place) in vector.iter_mut().zip(token).zip(place) {
                    *value = token + place;
                }
            }
        }
        Ok(output)
    }

    fn embed_tokens_backward(
        &self,
        tokens: &Tokens,
        width: usize,
        output_gradient: &Buffer<E, Self>,
        table: &mut Buffer<E, Self>,
        places: &mut Buffer<E, Self>,
    ) -> Result<(), CpuError> {
        if width == 0 {
            return Ok(());
        }
        let to_table = || {
            for (&token, gradient) in tokens.values().iter().zip(output_gradient.chunks_exact(width)) {
                add(gradient, &mut table[token as usize * width..][..width]);
            }
        };
        let to_places = || {
            for span in tokens.spans().iter() {
                let row = &output_gradient[span.start * width..span.end * width];
                row.chunks_exact(width).zip(places.chunks_exact_mut(width)).for_each(|(step, sum)| add(step, sum));
            }
        };
        rayon::join(to_table, to_places);
        Ok(())
    }

    fn embedding_mean_forward(
        &self,
        tokens: &Tokens,
        width: usize,
        table: &Arc<Buffer<E, Self>>,
        end: Finish,
        slopes: Option<&mut Option<Buffer<E, Self>>>,
    ) -> Result<Buffer<E, Self>, CpuError> {
        let mut output = <Cpu as Storage<E>>::try_alloc_len(self, tokens.spans().rows() * width)?;
        for_row_chunks(width, &mut output, |first_row, rows| {
            for (index, mean) in rows.chunks_exact_mut(width).enumerate() {
                let row = &tokens.values()[tokens.spans().of_row(first_row + index)];
                for &token in row {
                    add(&table[token as usize * width..][..width], mean);
                }
                let count = E::of(row.len().max(1) as f64);
                mean.iter_mut().for_each(|value| *value /= count);
            }
        });
        match slopes {
            None => finish(end, None, width, &mut output),
            Some(slopes) => {
                let mut buffer = <Cpu as Storage<E>>::try_alloc_len(self, output.len())?;
                finish_with_slopes(end, None, width, &mut output, &mut buffer);
                *slopes = Some(buffer);
            }
        }
        Ok(output)
    }

    fn embedding_mean_backward(
        &self,
        tokens: &Tokens,
        width: usize,
        slopes: Option<&Buffer<E, Self>>,
        mut gradient: Buffer<E, Self>,
        table: &mut Buffer<E, Self>,
    ) -> Result<(), CpuError> {
        if let Some(slopes) = slopes {
            multiply_by_slopes(&mut gradient, slopes);
        }
        if width == 0 {
            return Ok(());
        }
        for (span, gradient) in tokens.spans().iter().zip(gradient.chunks_exact_mut(width)) {
            let count = E::of(span.len().max(1) as f64);
            gradient.iter_mut().for_each(|value| *value /= count);
            for &token in &tokens.values()[span] {
                add(gradient, &mut table[token as usize * width..][..width]);
            }
        }
        Ok(())
    }
}

fn add<E: Element>(summand: &[E], sum: &mut [E]) {
    for (sum, &value) in sum.iter_mut().zip(summand) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use crate::{Dropout, PADDING, Trainable};
    use proptest::prelude::*;

    fn tokens(rows: usize, length: usize, vocabulary: u32) -> (Vec<u32>, Tokens) {
        let draws = numbers(rows * length, 4);
        let padded: Vec<u32> = draws
            .iter()
            .enumerate()
            .map(|(index, draw)| {
                let real = index % length < index / length % (length + 1);
                if real { 1 + ((draw + 1.0) / 2.0 * f64::from(vocabulary - 1)) as u32 } else { PADDING }
            })
            .collect();
        let tokens = Tokens::of_padded(&padded, rows, length).expect("sizes fit");
        (padded, tokens)
    }

    proptest! {
        #[test]
        fn vectors_and_gradients_are_those_of_a_plain_lookup(
            rows in 0usize..7, length in 1usize..6, vocabulary in 2u32..6, width in 0usize..4,
        ) {
            let (padded, tokens) = tokens(rows, length, vocabulary);
            let table = weight(numbers(vocabulary as usize * width, 1), vocabulary as usize, width);
            let places = weight(numbers(length * width, 2), length, width);
            let output = embed_tokens::<f64, Cpu, Recorded>(&Cpu::default(), &tokens, &table, &places).expect("they fit");
            let (table_values, place_values) = (table.to_vec().expect("on the CPU"), places.to_vec().expect("on the CPU"));
            let weights = numbers(tokens.values().len() * width, 99);
            let (mut plain, mut by_table, mut by_places) =
                (Vec::new(), vec![0.0; table_values.len()], vec![0.0; place_values.len()]);
            for (index, &token) in padded.iter().enumerate().filter(|(_, token)| **token != 0) {
                for column in 0..width {
                    let (cell, place) = (token as usize * width + column, index % length * width + column);
                    by_table[cell] += weights[plain.len()];
                    by_places[place] += weights[plain.len()];
                    plain.push(table_values[cell] + place_values[place]);
                }
            }
            prop_assert_eq!(read(&output), plain.clone());
            if !plain.is_empty() {
                let mut gradients = backward(weigh(output));
                for (parameter, plain) in [(&table, by_table), (&places, by_places)] {
                    for (found, plain) in gradient_of_parameter(&mut gradients, parameter).iter().zip(plain) {
                        prop_assert!((found - plain).abs() < 1e-14);
                    }
                }
            }
        }

        #[test]
        fn means_are_the_plain_ones_and_gradients_the_differences(
            rows in 0usize..6, length in 1usize..5, width in 1usize..4, dropped in 0usize..2,
        ) {
            let (padded, tokens) = tokens(rows, length, 5);
            let finish = Finish { dropout: (dropped == 1).then(|| Dropout::new(0.4, 3)), ..Finish::NONE };
            let run = |values: &[f64]| {
                let table = weight(values.to_vec(), 5, width);
                (embedding_mean::<f64, Cpu, Recorded>(&Cpu::default(), &tokens, &table, finish).expect("they fit"), table)
            };
            let values = numbers(5 * width, 1);
            let (output, table) = run(&values);
            let mut plain = vec![0.0; rows * width];
            for row in 0..rows {
                let real: Vec<u32> = padded[row * length..(row + 1) * length].iter().copied().filter(|&t| t != 0).collect();
                for column in 0..width {
                    let sum: f64 = real.iter().map(|&token| values[token as usize * width + column]).sum();
                    let kept = finish.dropout.map_or(1.0, |dropout| {
                        if dropout.keeps(row, column, width) { dropout.scale() } else { 0.0 }
                    });
                    plain[row * width + column] = kept * sum / real.len().max(1) as f64;
                }
            }
            for (found, plain) in read(&output).iter().zip(&plain) {
                prop_assert!((found - plain).abs() < 1e-14);
            }
            if rows > 0 {
                let gradient = gradient_of_parameter(&mut backward(weigh(output)), &table);
                assert_gradient("table", &values, &gradient, |values| read(&weigh(run(values).0))[0]);
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_rows_beside_it_nor_on_threads() {
        let (rows, length, width) = (255, 30, 64);
        let (padded, tokens) = tokens(rows, length, 50);
        let table = weight(numbers_f32(50 * width, 1), 50, width);
        let places = weight(numbers_f32(length * width, 2), length, width);
        let run = |tokens: &Tokens| {
            let mean: Matrix<f32, Cpu> =
                embedding_mean(&Cpu::default(), tokens, &table, Finish::NONE).expect("they fit");
            let all: Matrix<f32, Cpu> = embed_tokens(&Cpu::default(), tokens, &table, &places).expect("they fit");
            (bits(&read(&mean)), bits(&read(&all)))
        };
        let whole = with_threads(1, || run(&tokens));
        assert!(with_threads(4, || run(&tokens)) == whole);
        let parts = padded
            .chunks(7 * length)
            .map(|part| run(&Tokens::of_padded(part, part.len() / length, length).expect("sizes fit")));
        let (means, all): (Vec<_>, Vec<_>) = parts.unzip();
        assert!((means.concat(), all.concat()) == whole);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (table, places) = (weight(vec![0.0f64; 6], 3, 2), weight(vec![0.0; 2], 1, 2));
        let fails = |padded: &[u32], places| {
            let tokens = Tokens::of_padded(padded, 1, padded.len()).expect("sizes fit");
            embed_tokens::<f64, Cpu, Recorded>(&Cpu::default(), &tokens, &table, places).expect_err("it does not fit")
        };
        let long = fails(&[1, 2], &places);
        assert_eq!(long, KernelError::Size { operation: "embed_tokens", what: "rows", expected: 1, found: 2 });
        let code = fails(&[3], &places);
        assert_eq!(code, KernelError::Code { operation: "embed_tokens", row: 0, column: 0, code: 3, cardinality: 3 });
        assert!(fails(&[1], &weight(vec![0.0; 3], 1, 3)).to_string().contains("places of size 2, found 3"));
    }
}
