//! The matrix product, so that a row of the result never depends on the rows beside it.
//!
//! gemm 0.19 alone does not promise that: it cuts an inner size above 512 into blocks whose size depends on the other two
//! sizes, and takes other code paths for one row, for one column, and for small results whose operands both lie along the
//! inner dimension. Each path adds in another order, so the bits differ. Here the inner dimension is always cut into
//! blocks of [`INNER_BLOCK`] that are added one after the other, single rows and columns are padded to two, and in the
//! last case the right operand is first laid out the other way, which gemm's own packing is slower at. Within a block gemm
//! adds along the inner dimension in order, whatever the threads.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use crate::Element;

/// The inner dimension is summed in blocks of this many products.
pub const INNER_BLOCK: usize = 512;

/// Matrices are transposed in square tiles of this many rows.
const TILE: usize = 16;

/// A matrix whose numbers lie in a slice, in row-major order or transposed.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, E> {
    values: &'a [E],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, E: Element> View<'a, E> {
    /// `values` as a `(rows, columns)` matrix in row-major order.
    ///
    /// # Panics
    /// If there are not `rows * columns` values.
    pub fn new(values: &'a [E], rows: usize, columns: usize) -> Self {
        assert_eq!(
            Some(values.len()),
            rows.checked_mul(columns),
            "a {rows} x {columns} matrix from {} values",
            values.len()
        );
        View { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transposed matrix, without a copy.
    pub fn transposed(self) -> Self {
        View {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Some rows and columns of it, without a copy.
    ///
    /// # Panics
    /// If it has no such rows or columns.
    pub fn part(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        assert!(columns.start <= columns.end && columns.end <= self.columns, "columns {columns:?} of {}", self.columns);
        let first = rows.start * self.row_stride + columns.start * self.column_stride;
        // An empty part may begin behind the last element.
        let values = &self.values[first.min(self.values.len())..];
        View { values, rows: rows.len(), columns: columns.len(), ..self }
    }

    /// The slice it lies in.
    pub(crate) fn values(&self) -> &'a [E] {
        self.values
    }

    fn at(&self, row: usize, column: usize) -> E {
        self.values[row * self.row_stride + column * self.column_stride]
    }

    /// A copy in row-major order of a matrix that is stored transposed.
    pub(crate) fn to_row_major(self) -> Vec<E> {
        self.transpose(Threads::Pool)
    }

    fn transpose(self, threads: Threads) -> Vec<E> {
        let mut values = vec![E::ZERO; self.rows * self.columns];
        let tile_length = (TILE * self.columns).max(1);
        let copy_tile = |(tile, copy): (usize, &mut [E])| {
            let first_row = tile * TILE;
            for first_column in (0..self.columns).step_by(TILE) {
                for column in first_column..self.columns.min(first_column + TILE) {
                    let stored = &self.values[column * self.column_stride + first_row..];
                    for (copied, &value) in copy.chunks_exact_mut(self.columns).zip(stored) {
                        copied[column] = value;
                    }
                }
            }
        };
        match threads {
            Threads::Pool => values.par_chunks_mut(tile_length).enumerate().for_each(copy_tile),
            Threads::This => values.chunks_mut(tile_length).enumerate().for_each(copy_tile),
        }
        values
    }

    /// The numbers in row-major order, in a matrix of at least the given size; what is added is zero.
    fn padded(&self, rows: usize, columns: usize) -> Vec<E> {
        let mut values = vec![E::ZERO; rows * columns];
        for row in 0..self.rows {
            for column in 0..self.columns {
                values[row * columns + column] = self.at(row, column);
            }
        }
        values
    }
}

/// `left · right` in row-major order.
///
/// Shapes: `left` `(rows, inner)`, `right` `(inner, columns)`; result `(rows, columns)`.
///
/// # Panics
/// If the inner sizes differ.
///
/// ```
/// use nodes_kernels::matrix::{View, product};
/// let left = [1.0, 2.0, 3.0, 4.0];
/// let right = [5.0, 6.0];
/// assert_eq!(product(View::new(&left, 2, 2), View::new(&right, 2, 1)), [17.0, 39.0]);
/// ```
pub fn product<E: Element>(left: View<'_, E>, right: View<'_, E>) -> Vec<E> {
    let mut result = Vec::new();
    multiply(left, right, Target::New(&mut result), Threads::Pool);
    result
}

/// Overwrites `result`, a `(rows, columns)` matrix in row-major order, with `left · right`.
///
/// # Panics
/// If the inner sizes differ or `result` has another size.
pub fn product_into<E: Element>(left: View<'_, E>, right: View<'_, E>, result: &mut [E]) {
    multiply(left, right, Target::Old(result), Threads::Pool);
}

/// As [`product_into`], but on this thread alone: for work that is spread over the pool in larger pieces.
pub(crate) fn product_here<E: Element>(left: View<'_, E>, right: View<'_, E>, result: &mut [E]) {
    multiply(left, right, Target::Old(result), Threads::This);
}

/// Adds `left · right` to `sum`, a `(rows, columns)` matrix in row-major order.
///
/// # Panics
/// If the inner sizes differ or `sum` has another size.
pub fn add_product<E: Element>(left: View<'_, E>, right: View<'_, E>, sum: &mut [E]) {
    multiply(left, right, Target::Sum(sum), Threads::Pool);
}

/// As [`add_product`], but on this thread alone.
pub(crate) fn add_product_here<E: Element>(left: View<'_, E>, right: View<'_, E>, sum: &mut [E]) {
    multiply(left, right, Target::Sum(sum), Threads::This);
}

/// Who computes a product. The bits do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Threads {
    Pool,
    This,
}

enum Target<'a, E> {
    New(&'a mut Vec<E>),
    Old(&'a mut [E]),
    Sum(&'a mut [E]),
}

fn multiply<E: Element>(left: View<'_, E>, right: View<'_, E>, target: Target<'_, E>, threads: Threads) {
    assert_eq!(left.columns, right.rows, "the inner sizes of a product differ");
    let (rows, columns, inner) = (left.rows, right.columns, left.columns);
    if let Target::Sum(target) | Target::Old(target) = &target {
        assert_eq!(target.len(), rows * columns, "a product of another size is added or written");
    }
    if rows == 0 || columns == 0 {
        return;
    }
    if rows == 1 || columns == 1 {
        multiply_padded(left, right, target, threads);
        return;
    }
    let transposed;
    let right = if left.column_stride == 1 && right.row_stride == 1 {
        transposed = right.transpose(threads);
        View::new(&transposed, inner, columns)
    } else {
        right
    };
    match target {
        Target::Sum(sum) => call_gemm(left, right, sum.as_mut_ptr(), Start::Added, threads),
        Target::Old(result) => call_gemm(left, right, result.as_mut_ptr(), Start::Overwritten, threads),
        Target::New(result) => {
            result.clear();
            result.reserve_exact(rows * columns);
            call_gemm(left, right, result.as_mut_ptr(), Start::Overwritten, threads);
            // SAFETY: the vector has room for `rows * columns` elements, and gemm has written every one of them: both
            // sizes are above zero, and without reading the destination it stores the product in all of it.
            #[allow(unsafe_code)]
            unsafe {
                result.set_len(rows * columns);
            }
        }
    }
}

/// The product of operands of which the left has one row or the right one column, by way of two.
fn multiply_padded<E: Element>(left: View<'_, E>, right: View<'_, E>, target: Target<'_, E>, threads: Threads) {
    let (rows, columns, inner) = (left.rows, right.columns, left.columns);
    let (padded_rows, padded_columns) = (rows.max(2), columns.max(2));
    let left_values = if rows == 1 { Cow::Owned(left.padded(2, inner)) } else { Cow::Borrowed(left.values) };
    let right_values = if columns == 1 { Cow::Owned(right.padded(inner, 2)) } else { Cow::Borrowed(right.values) };
    let padded_left = if rows == 1 { View::new(&left_values, 2, inner) } else { left };
    let padded_right = if columns == 1 { View::new(&right_values, inner, 2) } else { right };
    let mut padded = vec![E::ZERO; padded_rows * padded_columns];
    let start = match &target {
        Target::New(_) | Target::Old(_) => Start::Overwritten,
        Target::Sum(sum) => {
            for (padded, sum) in padded.chunks_exact_mut(padded_columns).zip(sum.chunks_exact(columns)) {
                padded[..columns].copy_from_slice(sum);
            }
            Start::Added
        }
    };
    match start {
        Start::Overwritten => multiply(padded_left, padded_right, Target::New(&mut padded), threads),
        Start::Added => multiply(padded_left, padded_right, Target::Sum(&mut padded), threads),
    }
    match target {
        Target::New(result) => {
            result.clear();
            result.extend(padded.chunks_exact(padded_columns).take(rows).flat_map(|row| &row[..columns]));
        }
        Target::Sum(sum) | Target::Old(sum) => {
            for (sum, padded) in sum.chunks_exact_mut(columns).zip(padded.chunks_exact(padded_columns)) {
                sum.copy_from_slice(&padded[..columns]);
            }
        }
    }
}

/// What the destination of a product holds before it.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    Overwritten,
    Added,
}

/// `destination` is `(rows, columns)` in row-major order and, for [`Start::Added`], initialised.
fn call_gemm<E: Element>(left: View<'_, E>, right: View<'_, E>, destination: *mut E, start: Start, threads: Threads) {
    let parallelism = match threads {
        Threads::Pool => gemm::Parallelism::Rayon(0),
        Threads::This => gemm::Parallelism::None,
    };
    let (rows, columns, inner) = (left.rows, right.columns, left.columns);
    // An inner size of zero still has to clear the destination.
    let blocks = inner.div_ceil(INNER_BLOCK).max(1);
    for block in 0..blocks {
        let first = block * INNER_BLOCK;
        let size = (inner - first).min(INNER_BLOCK);
        let add = start == Start::Added || block > 0;
        // SAFETY: a `View` is made by `new`, which checks that its slice holds `rows * columns` values, or from another
        // view by exchanging or preserving the strides with the sizes, or by `part`, which drops rows and columns at
        // both ends; so every element that gemm reads at
        // `row * row_stride + column * column_stride` with `row < rows`, `column < columns` lies in the slice. `first` is
        // at most the inner size, so the two offsets stay within the slices or one past their end. The destination holds
        // `rows * columns` elements by the callers' allocation or assertion, is not shared (it comes from `&mut`), and is
        // read only where it is initialised (`Start::Added`, or a block after the first). `E` is `f32` or `f64`.
        #[allow(unsafe_code)]
        unsafe {
            gemm::gemm(
                rows,
                columns,
                size,
                destination,
                1,
                columns as isize,
                add,
                left.values.as_ptr().wrapping_add(first * left.column_stride),
                left.column_stride as isize,
                left.row_stride as isize,
                right.values.as_ptr().wrapping_add(first * right.row_stride),
                right.column_stride as isize,
                right.row_stride as isize,
                E::ONE,
                E::ONE,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{bits, numbers, numbers_f32, with_threads};
    use proptest::prelude::*;

    /// The product of `(rows, inner)` and `(inner, columns)`, either of them stored transposed.
    fn run(left: &[f32], right: &[f32], sizes: (usize, usize, usize), stored: (Stored, Stored)) -> Vec<f32> {
        let (rows, inner, columns) = sizes;
        let view = |values, rows, columns, stored| match stored {
            Stored::Plain => View::new(values, rows, columns),
            Stored::Transposed => View::new(values, columns, rows).transposed(),
        };
        product(view(left, rows, inner, stored.0), view(right, inner, columns, stored.1))
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Stored {
        Plain,
        Transposed,
    }

    fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..rows * columns).map(|index| values[index % rows * columns + index / rows]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn product_is_the_plain_sum(rows in 0usize..20, inner in prop::sample::select(vec![0, 1, 2, 3, 17, 511, 512, 513, 1025]), columns in 0usize..20) {
            let (left, right) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
            let mut sum = numbers(rows * columns, 3);
            let before = sum.clone();
            let found = product(View::new(&left, rows, inner), View::new(&right, inner, columns));
            add_product(View::new(&left, rows, inner), View::new(&right, inner, columns), &mut sum);
            for row in 0..rows {
                for column in 0..columns {
                    let plain: f64 = (0..inner).map(|k| left[row * inner + k] * right[k * columns + column]).sum();
                    let at = row * columns + column;
                    prop_assert!((found[at] - plain).abs() < 1e-12 * (1 + inner) as f64);
                    prop_assert!((sum[at] - before[at] - plain).abs() < 1e-12 * (1 + inner) as f64);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_row_does_not_depend_on_the_batch(
            inner in prop::sample::select(vec![1, 2, 3, 100, 512, 513, 600, 1536, 3000]),
            columns in prop::sample::select(vec![1, 2, 3, 8, 64, 65, 100]),
            layouts in 0usize..4,
        ) {
            use Stored::{Plain, Transposed};
            let stored = [(Plain, Plain), (Plain, Transposed), (Transposed, Plain), (Transposed, Transposed)][layouts];
            let (left, right) = (numbers_f32(255 * inner, 1), numbers_f32(inner * columns, 2));
            let right = if stored.1 == Transposed { transpose(&right, inner, columns) } else { right };
            let batch = |rows: &[f32]| {
                let count = rows.len() / inner;
                let rows = if stored.0 == Transposed { transpose(rows, count, inner) } else { rows.to_vec() };
                run(&rows, &right, (count, inner, columns), stored)
            };
            let all = batch(&left);
            for size in [1, 2, 3, 7, 64] {
                let cut: Vec<f32> = left.chunks(size * inner).flat_map(batch).collect();
                prop_assert!(bits(&cut) == bits(&all), "{:?} batches of {}", stored, size);
            }
        }
    }

    #[test]
    fn neither_the_values_nor_the_layout_beside_a_row_matter() {
        let (inner, columns) = (1536, 48);
        let (left, right) = (numbers_f32(64 * inner, 1), numbers_f32(inner * columns, 2));
        let mut other = numbers_f32(64 * inner, 7);
        other[5 * inner..6 * inner].copy_from_slice(&left[5 * inner..6 * inner]);
        let row = |values: &[f32]| {
            let all = product(View::new(values, 64, inner), View::new(&right, inner, columns));
            bits(&all[5 * columns..6 * columns])
        };
        assert_eq!(row(&left), row(&other));
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        for (rows, inner, columns) in [(255, 1536, 100), (3000, 64, 64), (64, 3000, 513)] {
            let (left, right) = (numbers_f32(rows * inner, 1), numbers_f32(inner * columns, 2));
            let run = || bits(&product(View::new(&left, rows, inner), View::new(&right, inner, columns)));
            assert!(with_threads(1, run) == with_threads(4, run), "{rows} x {inner} x {columns}");
        }
    }

    #[test]
    fn a_transposed_matrix_is_laid_out_by_rows() {
        for (rows, columns) in [(1, 1), (31, 33), (32, 64), (100, 7), (0, 3), (3, 0)] {
            let stored = numbers_f32(rows * columns, 1);
            let copy = View::new(&stored, columns, rows).transposed().to_row_major();
            assert_eq!(copy, transpose(&stored, columns, rows), "{rows} x {columns}");
        }
    }

    #[test]
    fn parts_are_multiplied_where_they_lie() {
        let (left, right) = (numbers(5 * 7, 1), numbers(7 * 6, 2));
        let (left, right) = (View::new(&left, 5, 7), View::new(&right, 7, 6));
        let (a, b) = (left.part(1..4, 2..7), right.part(2..7, 3..5));
        let mut found = vec![9.0; 6];
        product_into(a, b, &mut found);
        assert_eq!(found, product(a, b));
        for (index, found) in found.iter().enumerate() {
            let (row, column) = (1 + index / 2, 3 + index % 2);
            let plain: f64 = (2..7).map(|inner| left.at(row, inner) * right.at(inner, column)).sum();
            assert!((found - plain).abs() < 1e-14);
        }
        let transposed = left.transposed().part(0..7, 4..5);
        assert_eq!(transposed.at(6, 0), left.at(4, 6));
        product_into(left.part(5..5, 0..7), right, &mut []);
    }

    #[test]
    fn an_empty_inner_size_gives_zeros_and_adds_nothing() {
        assert_eq!(product::<f32>(View::new(&[], 2, 0), View::new(&[], 0, 2)), [0.0; 4]);
        let mut sum = [1.0f32; 4];
        add_product(View::new(&[], 2, 0), View::new(&[], 0, 2), &mut sum);
        assert_eq!(sum, [1.0; 4]);
    }
}
