//! Category embeddings: one table per category column, looked up and set side by side.

use std::sync::Arc;

use dfdx::tensor::{Cpu, CpuError, PutTape, Storage, Tape};
use dfdx::tensor_ops::Device;
use rayon::prelude::*;

use crate::error::check_size;
use crate::finish::{TASK, for_row_chunks};
use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, Element, KernelError, Matrix, Parameter};

/// Category codes, a `(rows, columns)` matrix in row-major order. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    values: Arc<[u32]>,
    rows: usize,
    columns: usize,
}

impl Codes {
    /// `values` as a matrix of codes.
    ///
    /// # Errors
    /// [`KernelError::Size`] if there are not `rows * columns` values.
    pub fn new(values: Vec<u32>, rows: usize, columns: usize) -> Result<Self, KernelError> {
        check_size("codes", "values", rows * columns, values.len())?;
        Ok(Codes { values: values.into(), rows, columns })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many category columns there are.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The code in `column` of every row.
    fn column(&self, column: usize) -> impl Iterator<Item = usize> + '_ {
        self.values.iter().skip(column).step_by(self.columns.max(1)).map(|&code| code as usize)
    }
}

/// The rows of the tables that the codes name, side by side.
///
/// Shapes: `codes` `(rows, columns)`, as many tables as columns, table i `(cardinality i, width i)`; result
/// `(rows, sum of the widths)`. The gradient of a table is dense: rows without a code in the batch get zeros.
///
/// # Errors
/// [`KernelError::Size`] if there are not as many tables as columns; [`KernelError::Code`] for a code outside its table;
/// [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let device = Cpu::default();
/// let table = Parameter::new(&device, vec![0.0f32, 0.0, 1.0, 2.0], (2, 2), Regularised::Yes)?;
/// let codes = Codes::new(vec![1, 0, 1], 3, 1)?;
/// let looked_up: Matrix<f32, Cpu> = embed(&device, &codes, &[&table])?;
/// assert_eq!(looked_up.as_vec(), [1.0, 2.0, 0.0, 0.0, 1.0, 2.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn embed<E, D, T>(
    device: &D,
    codes: &Codes,
    tables: &[&Parameter<(usize, usize), E, D>],
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: EmbeddingKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    check_size("embed", "tables", codes.columns, tables.len())?;
    let shapes: Vec<(usize, usize)> = tables.iter().map(|table| *table.shape()).collect();
    for (index, &code) in codes.values.iter().enumerate() {
        let (row, column) = (index / codes.columns, index % codes.columns);
        let cardinality = shapes[column].0;
        if code as usize >= cardinality {
            return Err(KernelError::Code { operation: "embed", row, column, code, cardinality });
        }
    }
    let width = shapes.iter().map(|&(_, width)| width).sum();
    let values: Vec<Arc<Buffer<E, D>>> = tables.iter().map(|table| table.values()).collect();
    let output = device
        .embed_forward(codes, &shapes, &values)
        .and_then(|output| device.tensor_of(output, (codes.rows, width)))
        .map_err(KernelError::device)?;

    let mut tape = T::default();
    if T::OWNS_TAPE {
        let (device, codes) = (device.clone(), codes.clone());
        let slots: Vec<_> = tables.iter().map(|table| table.slot()).collect();
        let output_slot = GradientSlot::of(&output);
        tape.add_backward_op(move |gradients| {
            let output = output_slot.take_or_zeros(gradients)?;
            let gathered = slots.iter().map(|slot| slot.take_or_zeros(gradients)).collect::<Result<Vec<_>, _>>()?;
            let gathered = device.embed_backward(&codes, &shapes, &output, gathered)?;
            slots.iter().zip(gathered).try_for_each(|(slot, gradient)| slot.put(gradients, gradient))
        });
    }
    Ok(output.put_tape(tape))
}

/// What a device supplies for [`embed`]. `shapes` holds the cardinality and width of each table; the codes are checked.
pub trait EmbeddingKernel<E: Element>: Buffers<E> {
    /// The embeddings, `(rows, sum of the widths)`.
    ///
    /// # Errors
    /// The device's own error.
    fn embed_forward(
        &self,
        codes: &Codes,
        shapes: &[(usize, usize)],
        tables: &[Arc<Buffer<E, Self>>],
    ) -> Result<Buffer<E, Self>, Self::Err>;

    /// Adds the gradients of the tables to those gathered, rows in order.
    ///
    /// # Errors
    /// The device's own error.
    fn embed_backward(
        &self,
        codes: &Codes,
        shapes: &[(usize, usize)],
        output_gradient: &Buffer<E, Self>,
        gathered: Vec<Buffer<E, Self>>,
    ) -> Result<Vec<Buffer<E, Self>>, Self::Err>;
}

impl<E: Element> EmbeddingKernel<E> for Cpu {
    fn embed_forward(
        &self,
        codes: &Codes,
        shapes: &[(usize, usize)],
        tables: &[Arc<Buffer<E, Self>>],
    ) -> Result<Buffer<E, Self>, CpuError> {
        let width = shapes.iter().map(|&(_, width)| width).sum::<usize>();
        let mut output = <Cpu as Storage<E>>::try_alloc_len(self, codes.rows * width)?;
        for_row_chunks(width, &mut output, |first_row, rows| {
            for (index, row) in rows.chunks_exact_mut(width).enumerate() {
                let row_codes = &codes.values[(first_row + index) * codes.columns..][..codes.columns];
                let mut rest = row;
                for ((&code, &(_, width)), table) in row_codes.iter().zip(shapes).zip(tables) {
                    let (cell, after) = rest.split_at_mut(width);
                    cell.copy_from_slice(&table[code as usize * width..][..width]);
                    rest = after;
                }
            }
        });
        Ok(output)
    }

    fn embed_backward(
        &self,
        codes: &Codes,
        shapes: &[(usize, usize)],
        output_gradient: &Buffer<E, Self>,
        mut gathered: Vec<Buffer<E, Self>>,
    ) -> Result<Vec<Buffer<E, Self>>, CpuError> {
        let total = shapes.iter().map(|&(_, width)| width).sum::<usize>();
        let starts = shapes.iter().scan(0, |start, &(_, width)| {
            *start += width;
            Some(*start - width)
        });
        let starts: Vec<usize> = starts.collect();
        let add_table = |(column, gradient): (usize, &mut Buffer<E, Self>)| {
            let (start, width) = (starts[column], shapes[column].1);
            for (row, code) in codes.column(column).enumerate() {
                let source = &output_gradient[row * total + start..][..width];
                for (sum, &value) in gradient[code * width..][..width].iter_mut().zip(source) {
                    *sum += value;
                }
            }
        };
        // Handing a small batch to other threads takes longer than the work.
        if output_gradient.len() <= TASK {
            gathered.iter_mut().enumerate().for_each(add_table);
        } else {
            gathered.par_iter_mut().enumerate().for_each(add_table);
        }
        Ok(gathered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trainable;
    use crate::check::*;
    use proptest::prelude::*;

    fn lookup(codes: &Codes, tables: &[Parameter<(usize, usize), f64, Cpu>]) -> Matrix<f64, Cpu, Recorded> {
        embed(&Cpu::default(), codes, &tables.iter().collect::<Vec<_>>()).expect("codes fit")
    }

    proptest! {
        #[test]
        fn rows_and_gradients_are_those_of_a_plain_lookup(
            rows in 0usize..20,
            shapes in prop::collection::vec((1usize..6, 0usize..5), 0..4),
            seed in 0u64..1000,
        ) {
            let draws = numbers(rows * shapes.len(), seed);
            let codes: Vec<u32> = draws.iter().enumerate()
                .map(|(index, draw)| ((draw + 1.0) / 2.0 * shapes[index % shapes.len()].0 as f64) as u32).collect();
            let tables: Vec<_> = shapes.iter().enumerate()
                .map(|(index, &(cardinality, width))| weight(numbers(cardinality * width, index as u64), cardinality, width))
                .collect();
            let matrix = Codes::new(codes.clone(), rows, shapes.len()).expect("sizes fit");
            let output = lookup(&matrix, &tables);
            let width: usize = shapes.iter().map(|shape| shape.1).sum();
            let mut plain = Vec::new();
            let mut plain_gradients: Vec<Vec<f64>> = shapes.iter().map(|&(c, w)| vec![0.0; c * w]).collect();
            let weights = numbers(rows * width, 99);
            for row in 0..rows {
                for (column, &(_, table_width)) in shapes.iter().enumerate() {
                    let table = tables[column].to_vec().expect("on the CPU");
                    let code = codes[row * shapes.len() + column] as usize;
                    for index in 0..table_width {
                        plain_gradients[column][code * table_width + index] += weights[plain.len()];
                        plain.push(table[code * table_width + index]);
                    }
                }
            }
            prop_assert_eq!(read(&output), plain);
            if rows * width > 0 {
                let mut gradients = backward(weigh(output));
                for (table, plain) in tables.iter().zip(plain_gradients) {
                    let gradient = gradient_of_parameter(&mut gradients, table);
                    for (gradient, plain) in gradient.iter().zip(&plain) {
                        prop_assert!((gradient - plain).abs() < 1e-14);
                    }
                }
            }
        }
    }

    #[test]
    fn a_code_outside_its_table_is_named() {
        let table = weight(vec![0.0f64; 6], 3, 2);
        let codes = Codes::new(vec![0, 2, 3], 3, 1).expect("sizes fit");
        let error = embed::<f64, Cpu, Recorded>(&Cpu::default(), &codes, &[&table]).expect_err("3 is outside");
        assert_eq!(error, KernelError::Code { operation: "embed", row: 2, column: 0, code: 3, cardinality: 3 });
    }

    #[test]
    fn a_nan_in_a_table_reaches_only_the_rows_that_look_it_up() {
        let table = weight(vec![f64::NAN, 1.0], 2, 1);
        let output = lookup(&Codes::new(vec![1, 0, 1], 3, 1).expect("sizes fit"), &[table]).as_vec();
        assert!(output[0] == 1.0 && output[1].is_nan() && output[2] == 1.0);
    }
}
