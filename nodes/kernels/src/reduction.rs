//! Sums whose bits do not depend on the number of threads.
//!
//! Rows are summed in blocks of [`ROW_BLOCK`], side by side on the rayon pool, and the blocks are added in order. Sums
//! within a row go over [`LANES`] interleaved parts, which vectorises and is the same for every row.

use std::ops::Range;

use rayon::prelude::*;

use crate::Element;

/// How many rows make one block.
pub const ROW_BLOCK: usize = 256;

/// How many interleaved parts a row is summed in.
pub const LANES: usize = 16;

/// Numbers per block where there are no rows to speak of.
const NUMBER_BLOCK: usize = 16_384;

/// Adds to each element of `sums` the sum of its column of `values`, a matrix of rows as long as `sums`.
///
/// # Panics
/// If `values` is not a whole number of rows.
pub fn add_column_sums<E: Element>(values: &[E], sums: &mut [E]) {
    let columns = sums.len();
    if columns == 0 {
        return;
    }
    assert_eq!(values.len() % columns, 0, "column sums of a part of a row");
    let blocks: Vec<Vec<E>> = values
        .par_chunks(columns * ROW_BLOCK)
        .map(|block| {
            let mut sums = vec![E::ZERO; columns];
            for row in block.chunks_exact(columns) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            sums
        })
        .collect();
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += value;
        }
    }
}

/// The sum of `of(block)` over the blocks of `rows` rows.
pub fn sum_over_row_blocks(rows: usize, of: impl Fn(Range<usize>) -> f64 + Sync) -> f64 {
    let blocks: Vec<f64> = (0..rows.div_ceil(ROW_BLOCK))
        .into_par_iter()
        .map(|block| of(block * ROW_BLOCK..((block + 1) * ROW_BLOCK).min(rows)))
        .collect();
    blocks.into_iter().sum()
}

/// The sum of the squares of `values`, in double precision.
pub fn sum_of_squares<E: Element>(values: &[E]) -> f64 {
    let blocks: Vec<f64> = values
        .par_chunks(NUMBER_BLOCK)
        .map(|block| {
            let mut lanes = [0.0; LANES];
            for part in block.chunks(LANES) {
                for (lane, &value) in lanes.iter_mut().zip(part) {
                    let value = value.to_double();
                    *lane += value * value;
                }
            }
            lanes.into_iter().sum()
        })
        .collect();
    blocks.into_iter().sum()
}

/// The sum of a row.
#[inline]
pub fn row_sum<E: Element>(row: &[E]) -> E {
    let mut lanes = [E::ZERO; LANES];
    let whole = row.chunks_exact(LANES);
    let rest = whole.remainder();
    for part in whole {
        for (lane, &value) in lanes.iter_mut().zip(part) {
            *lane += value;
        }
    }
    rest.iter().chain(&lanes).fold(E::ZERO, |sum, &value| sum + value)
}

/// The inner product of two rows of equal length.
#[inline]
pub fn row_product<E: Element>(left: &[E], right: &[E]) -> E {
    let mut lanes = [E::ZERO; LANES];
    let (left_whole, right_whole) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest = left_whole.remainder().iter().zip(right_whole.remainder());
    for (left, right) in left_whole.zip(right_whole) {
        for ((lane, &left), &right) in lanes.iter_mut().zip(left).zip(right) {
            *lane = left.mul_add(right, *lane);
        }
    }
    let rest = rest.fold(E::ZERO, |sum, (&left, &right)| left.mul_add(right, sum));
    lanes.iter().fold(rest, |sum, &value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{numbers, with_threads};

    #[test]
    fn column_sums_are_the_plain_ones() {
        for (rows, columns) in [(0, 3), (1, 1), (255, 2), (256, 5), (257, 5), (1025, 3)] {
            let values = numbers(rows * columns, 7);
            let mut sums = vec![1.0; columns];
            add_column_sums(&values, &mut sums);
            for (column, sum) in sums.iter().enumerate() {
                let plain: f64 = values.iter().skip(column).step_by(columns).sum();
                assert!((sum - 1.0 - plain).abs() < 1e-12 * rows.max(1) as f64, "{rows} x {columns}");
            }
        }
    }

    #[test]
    fn sums_are_the_same_on_one_and_four_threads() {
        let values: Vec<f32> = numbers(100_003 * 3, 1).iter().map(|&value| value as f32).collect();
        let sums = || {
            let mut columns = vec![0.0f32; 3];
            add_column_sums(&values, &mut columns);
            let rows = sum_over_row_blocks(100_003, |block| block.map(|row| f64::from(values[row])).sum());
            (columns, sum_of_squares(&values).to_bits(), rows.to_bits())
        };
        assert_eq!(with_threads(1, sums), with_threads(4, sums));
    }

    #[test]
    fn row_sums_and_products_are_the_plain_ones() {
        for length in [0, 1, 15, 16, 17, 100] {
            let (left, right) = (numbers(length, 2), numbers(length, 3));
            let product: f64 = left.iter().zip(&right).map(|(left, right)| left * right).sum();
            assert!((row_sum(&left) - left.iter().sum::<f64>()).abs() < 1e-13);
            assert!((row_product(&left, &right) - product).abs() < 1e-13);
            assert!((sum_of_squares(&left) - left.iter().map(|value| value * value).sum::<f64>()).abs() < 1e-12);
        }
    }

    #[test]
    fn a_nan_reaches_the_sum() {
        assert!(row_sum(&[1.0, f64::NAN]).is_nan() && sum_of_squares(&[f32::NAN]).is_nan());
    }
}
