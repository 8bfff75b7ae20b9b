//! What a model predicts.

/// The predictions for some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// How many rows there are.
    pub rows: usize,
    /// How many numbers each row has: a probability per class, or the outputs.
    pub columns: usize,
    /// The numbers, `(rows, columns)` in row-major order.
    pub values: Vec<f64>,
}

/// What the head of a single encoder predicts.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadPredictions {
    /// The encoder's name.
    pub name: String,
    /// Its predictions; the prior in the rows that lack its modality.
    pub predictions: Predictions,
}

impl Predictions {
    /// The same numbers for each of `rows` rows.
    pub(crate) fn repeated(row: &[f64], rows: usize) -> Self {
        Predictions { rows, columns: row.len(), values: row.repeat(rows) }
    }

    /// The numbers of one row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.columns..(row + 1) * self.columns]
    }
}

/// Overwrites scores with the probabilities softmax(scores).
///
/// One row alone, in order and in double precision, so its bits depend on nothing else.
pub(crate) fn softmax(scores: &mut [f64]) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_even_for_extreme_scores() {
        for scores in [[0.0, 0.0, 0.0], [1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0]] {
            let mut probabilities = scores;
            softmax(&mut probabilities);
            assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-15, "{scores:?}");
            assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
        }
    }

    #[test]
    fn the_odds_are_the_exponential_of_the_difference() {
        let mut probabilities = [0.3, 1.0];
        softmax(&mut probabilities);
        assert!((probabilities[1] / probabilities[0] - 0.7f64.exp()).abs() < 1e-14);
    }
}
