//! What a device supplies for the attention of a transformer's block, and how the CPU does it.
//!
//! A token attends to the tokens of its own row, so a row's result depends on that row alone, and rows may have any
//! lengths.

use dfdx::tensor::{Cpu, CpuError, Storage};
use rayon::prelude::*;

use crate::matrix::{View, product_here};
use crate::reduction::{row_product, row_sum};
use crate::{Buffer, Buffers, Element, Spans};

/// The sizes of an attention.
#[derive(Debug, Clone)]
pub struct AttentionShape {
    /// Where each row's tokens lie.
    pub spans: Spans,
    /// How many heads there are; a divisor of the width.
    pub heads: usize,
    /// The width of a token's vector.
    pub width: usize,
}

impl AttentionShape {
    /// The width of a head.
    fn head(&self) -> usize {
        self.width / self.heads
    }

    /// How many weights a row has: one for each pair of its tokens and head.
    fn weights(&self, tokens: usize) -> usize {
        self.heads * tokens * tokens
    }
}

/// What [`AttentionKernel::attention_forward`] gives.
#[derive(Debug)]
pub struct Attended<B> {
    /// The weighted sums, `(tokens, width)`.
    pub output: B,
    /// The weights, for each row `(heads, tokens of the row, tokens of the row)`, row after row.
    pub weights: B,
}

/// What a device supplies for attention: `softmax(q kᵀ / √head) v` in each row and head.
///
/// The result of a row must not depend on the other rows, bit for bit.
pub trait AttentionKernel<E: Element>: Buffers<E> {
    /// Attends with the queries, keys and values that lie side by side in `projected`, `(tokens, 3 · width)`.
    ///
    /// # Errors
    /// The device's own error.
    fn attention_forward(
        &self,
        shape: &AttentionShape,
        projected: &Buffer<E, Self>,
    ) -> Result<Attended<Buffer<E, Self>>, Self::Err>;

    /// The gradient of `projected`, given that of the output.
    ///
    /// # Errors
    /// The device's own error.
    fn attention_backward(
        &self,
        shape: &AttentionShape,
        projected: &Buffer<E, Self>,
        weights: &Buffer<E, Self>,
        output_gradient: &Buffer<E, Self>,
    ) -> Result<Buffer<E, Self>, Self::Err>;
}

impl<E: Element> AttentionKernel<E> for Cpu {
    fn attention_forward(
        &self,
        shape: &AttentionShape,
        projected: &Buffer<E, Self>,
    ) -> Result<Attended<Buffer<E, Self>>, CpuError> {
        let &AttentionShape { ref spans, heads, width } = shape;
        let head = shape.head();
        let all = View::new(projected, spans.steps(), 3 * width);
        let alloc = |length| <Cpu as Storage<E>>::try_alloc_len(self, length);
        let mut output = alloc(spans.steps() * width)?;
        let mut weights = alloc(spans.iter().map(|span| shape.weights(span.len())).sum())?;
        let outputs = split(&mut output, spans.iter().map(|span| span.len() * width));
        let row_weights = split(&mut weights, spans.iter().map(|span| shape.weights(span.len())));
        let scale = E::of(1.0 / (head as f64).sqrt());
        let rows: Vec<_> = spans.iter().zip(outputs).zip(row_weights).collect();
        rows.into_par_iter().for_each(|((span, output), weights)| {
            let tokens = span.len();
            let mut summed = vec![E::ZERO; tokens * head];
            for index in 0..heads {
                let weights = &mut weights[index * tokens * tokens..][..tokens * tokens];
                let part =
                    |of: usize| all.part(span.clone(), of * width + index * head..of * width + (index + 1) * head);
                product_here(part(0), part(1).transposed(), weights);
                weights.chunks_exact_mut(tokens.max(1)).for_each(|row| softmax(row, scale));
                product_here(View::new(weights, tokens, tokens), part(2), &mut summed);
                for (sum, output) in summed.chunks_exact(head).zip(output.chunks_exact_mut(width)) {
                    output[index * head..(index + 1) * head].copy_from_slice(sum);
                }
            }
        });
        Ok(Attended { output, weights })
    }

    fn attention_backward(
        &self,
        shape: &AttentionShape,
        projected: &Buffer<E, Self>,
        weights: &Buffer<E, Self>,
        output_gradient: &Buffer<E, Self>,
    ) -> Result<Buffer<E, Self>, CpuError> {
        let &AttentionShape { ref spans, heads, width } = shape;
        let head = shape.head();
        let all = View::new(projected, spans.steps(), 3 * width);
        let outputs = View::new(output_gradient, spans.steps(), width);
        let mut gradient = <Cpu as Storage<E>>::try_alloc_len(self, spans.steps() * 3 * width)?;
        let gradients = split(&mut gradient, spans.iter().map(|span| span.len() * 3 * width));
        let scale = E::of(1.0 / (head as f64).sqrt());
        let mut starts = Vec::with_capacity(spans.rows());
        let mut end = 0;
        for span in spans.iter() {
            starts.push(end);
            end += shape.weights(span.len());
        }
        let rows: Vec<_> = spans.iter().zip(starts).zip(gradients).collect();
        rows.into_par_iter().for_each(|((span, start), gradient)| {
            let tokens = span.len();
            let mut slopes = vec![E::ZERO; tokens * tokens];
            let mut by_part = vec![E::ZERO; tokens * head];
            for index in 0..heads {
                let weights = &weights[start + index * tokens * tokens..][..tokens * tokens];
                let columns = |of: usize| of * width + index * head..of * width + (index + 1) * head;
                let part = |of: usize| all.part(span.clone(), columns(of));
                let output = outputs.part(span.clone(), columns(0));
                product_here(output, part(2).transposed(), &mut slopes);
                for (slopes, weights) in slopes.chunks_exact_mut(tokens.max(1)).zip(weights.chunks_exact(tokens.max(1)))
                {
                    let mean = row_product(slopes, weights);
                    for (slope, &weight) in slopes.iter_mut().zip(weights) {
                        *slope = weight * (*slope - mean) * scale;
                    }
                }
                let (weights, slopes) = (View::new(weights, tokens, tokens), View::new(&slopes, tokens, tokens));
                let products = [(slopes, part(1)), (slopes.transposed(), part(0)), (weights.transposed(), output)];
                for (of, (left, right)) in products.into_iter().enumerate() {
                    product_here(left, right, &mut by_part);
                    for (part, row) in by_part.chunks_exact(head).zip(gradient.chunks_exact_mut(3 * width)) {
                        row[columns(of)].copy_from_slice(part);
                    }
                }
            }
        });
        Ok(gradient)
    }
}

/// Turns the products of a query with all keys into weights.
fn softmax<E: Element>(row: &mut [E], scale: E) {
    let largest = row.iter().fold(row[0], |largest, &value| largest.larger(value));
    for value in row.iter_mut() {
        *value = ((*value - largest) * scale).exp();
    }
    let share = E::ONE / row_sum(row);
    for value in row.iter_mut() {
        *value *= share;
    }
}

/// The slice in pieces of these lengths, which together are its own.
fn split<E>(mut slice: &mut [E], lengths: impl Iterator<Item = usize>) -> Vec<&mut [E]> {
    lengths
        .map(|length| {
            let (piece, rest) = std::mem::take(&mut slice).split_at_mut(length);
            slice = rest;
            piece
        })
        .collect()
}
