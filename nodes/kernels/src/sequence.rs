//! Sequences of different lengths one after the other, without padding between them.

use std::ops::Range;
use std::sync::Arc;

use crate::KernelError;
use crate::error::check_size;

/// Where the sequence of each row lies among the steps of all rows. Cheap to clone.
///
/// Invariant: the starts begin at zero and never fall; the last one is the number of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spans {
    starts: Arc<[usize]>,
}

impl Spans {
    /// Sequences of these lengths.
    pub fn of_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        starts.extend(lengths.into_iter().map(|length| {
            end += length;
            end
        }));
        Spans { starts: starts.into() }
    }

    /// `rows` sequences of `steps` each.
    pub fn equal(rows: usize, steps: usize) -> Self {
        Spans::of_lengths(std::iter::repeat_n(steps, rows))
    }

    /// How many sequences there are.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many steps all sequences have together.
    pub fn steps(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The steps of one row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn of_row(&self, row: usize) -> Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    /// The steps of each row, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).map(|ends| ends[0]..ends[1])
    }
}

/// The tokens of some rows. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    values: Arc<[u32]>,
    spans: Spans,
}

/// The number that fills a row up behind its last token.
pub const PADDING: u32 = 0;

impl Tokens {
    /// The tokens of `rows` rows of `length`, each filled up at its end with [`PADDING`], which is left out.
    ///
    /// # Errors
    /// [`KernelError::Size`] if there are not `rows * length` tokens.
    pub fn of_padded(padded: &[u32], rows: usize, length: usize) -> Result<Self, KernelError> {
        check_size("tokens", "tokens", rows * length, padded.len())?;
        let lengths: Vec<usize> = (0..rows)
            .map(|row| {
                let row = &padded[row * length..(row + 1) * length];
                row.iter().rposition(|&token| token != PADDING).map_or(0, |last| last + 1)
            })
            .collect();
        let rows = lengths.iter().enumerate().map(|(row, &tokens)| &padded[row * length..][..tokens]);
        let values = rows.flatten().copied().collect();
        Ok(Tokens { values, spans: Spans::of_lengths(lengths) })
    }

    /// All tokens, row after row.
    pub fn values(&self) -> &[u32] {
        &self.values
    }

    /// Where each row's tokens lie.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// Checks that every token has a place in a table of so many.
    pub(crate) fn check(&self, operation: &'static str, cardinality: usize) -> Result<(), KernelError> {
        let Some(index) = self.values.iter().position(|&token| token as usize >= cardinality) else { return Ok(()) };
        let row = self.spans.iter().position(|span| span.contains(&index)).unwrap_or(0);
        let column = index - self.spans.of_row(row).start;
        Err(KernelError::Code { operation, row, column, code: self.values[index], cardinality })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_left_out_and_rows_keep_their_places() {
        let tokens = Tokens::of_padded(&[5, 6, 0, 0, 0, 0, 7, 0, 8], 3, 3).expect("sizes fit");
        assert_eq!(tokens.values(), [5, 6, 7, 0, 8]);
        assert_eq!(tokens.spans().iter().collect::<Vec<_>>(), [0..2, 2..2, 2..5]);
        assert_eq!((tokens.spans().rows(), tokens.spans().steps(), tokens.spans().of_row(2)), (3, 5, 2..5));
        assert_eq!(Spans::equal(2, 3), Spans::of_lengths([3, 3]));
        assert_eq!((Spans::equal(0, 3).rows(), Spans::equal(0, 3).steps()), (0, 0));
    }

    #[test]
    fn tokens_that_do_not_fit_are_named() {
        let tokens = Tokens::of_padded(&[5, 0, 1, 9], 2, 2).expect("sizes fit");
        assert_eq!(tokens.check("embed_tokens", 10), Ok(()));
        let error = tokens.check("embed_tokens", 9).expect_err("there is no token 9").to_string();
        assert_eq!(error, "`embed_tokens`: row 1, column 1 holds code 9, but there are 9 codes from 0");
        assert!(Tokens::of_padded(&[5], 2, 2).is_err());
    }
}
