//! Scores of predicted numbers.

/// The names of the scores, in the order [`Scorer::scores`] gives them.
pub(crate) const NAMES: [&str; 5] = ["rmse", "mae", "r2", "mse", "median_absolute_error"];

/// The scores that the mean of the train rows is the trivial rival for; for the others it is their median.
pub(crate) const AGAINST_MEAN: [bool; 5] = [true, false, true, true, false];

/// Scores predictions over resamples: sorts once, then takes one pass over the rows each time.
pub(crate) struct Scorer {
    /// The truths less their mean, so that sums of squares lose no digits.
    centred: Vec<f64>,
    absolute_errors: Vec<f64>,
    /// Row numbers, smallest absolute error first.
    order: Vec<u32>,
}

impl Scorer {
    /// A scorer of `predictions` of `truth`, row by row.
    pub(crate) fn new(truth: &[f64], predictions: &[f64]) -> Scorer {
        let mean = truth.iter().sum::<f64>() / truth.len().max(1) as f64;
        let absolute_errors: Vec<f64> =
            truth.iter().zip(predictions).map(|(truth, guess)| (truth - guess).abs()).collect();
        let mut order: Vec<u32> = (0..truth.len() as u32).collect();
        order.sort_by(|&left, &right| absolute_errors[left as usize].total_cmp(&absolute_errors[right as usize]));
        Scorer { centred: truth.iter().map(|truth| truth - mean).collect(), absolute_errors, order }
    }

    /// The scores, in the order of [`NAMES`], when row i counts `counts[i]` times; `None` where one does not exist.
    pub(crate) fn scores(&self, counts: &[u32]) -> Vec<Option<f64>> {
        let rows: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        if rows == 0 {
            return vec![None; NAMES.len()];
        }
        let sum = |of: &dyn Fn(usize) -> f64| -> f64 {
            counts.iter().enumerate().map(|(row, &count)| f64::from(count) * of(row)).sum()
        };
        let squares = sum(&|row| self.absolute_errors[row].powi(2));
        let mean = sum(&|row| self.centred[row]) / rows as f64;
        let spread = sum(&|row| (self.centred[row] - mean).powi(2));
        let mse = squares / rows as f64;
        vec![
            Some(mse.sqrt()),
            Some(sum(&|row| self.absolute_errors[row]) / rows as f64),
            // Rows that are all alike have nothing to explain.
            (spread > 0.0).then(|| 1.0 - squares / spread),
            Some(mse),
            Some(self.median_absolute_error(counts, rows)),
        ]
    }

    fn median_absolute_error(&self, counts: &[u32], rows: u64) -> f64 {
        // The middle row, or the mean of the two in the middle.
        let (low, high) = ((rows - 1) / 2, rows / 2);
        let mut seen = 0;
        let mut middle = Vec::with_capacity(2);
        for &row in &self.order {
            let before = seen;
            seen += u64::from(counts[row as usize]);
            middle.extend(
                [low, high]
                    .iter()
                    .filter(|&&place| before <= place && place < seen)
                    .map(|_| self.absolute_errors[row as usize]),
            );
            if middle.len() == 2 {
                break;
            }
        }
        middle.iter().sum::<f64>() / middle.len().max(1) as f64
    }
}

/// The median of `values`; `None` if there are none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    super::bootstrap::percentile(&sorted, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: [f64; 5] = [3.0, -0.5, 2.0, 7.0, 4.2];
    const GUESS: [f64; 5] = [2.5, 0.0, 2.0, 8.0, 4.0];

    fn check(counts: &[u32], expected: &[Option<f64>]) {
        let found = Scorer::new(&TRUTH, &GUESS).scores(counts);
        for ((found, expected), name) in found.iter().zip(expected).zip(NAMES) {
            assert_eq!(found.is_some(), expected.is_some(), "{name}");
            assert!((found.unwrap_or(0.0) - expected.unwrap_or(0.0)).abs() < 1e-12, "{name}: {found:?}");
        }
    }

    #[test]
    fn scores_are_those_of_sklearn() {
        // scikit-learn 1.9.1: root_mean_squared_error, mean_absolute_error, r2_score, mean_squared_error,
        // median_absolute_error.
        let expected = [0.554_977_477_020_464_3, 0.44, 0.949_660_041_841_004_2, 0.308, 0.5];
        check(&[1; 5], &expected.map(Some));
    }

    #[test]
    fn a_row_that_counts_twice_is_a_row_written_twice() {
        // Rows 0, 0, 3, 4 of the errors 0.5, 0.5, 1 and 0.2; truths 3, 3, 7, 4.2 with mean 4.3.
        let squares: f64 = 0.25 + 0.25 + 1.0 + 0.04;
        let spread = 1.69 + 1.69 + 7.29 + 0.01;
        check(
            &[2, 0, 0, 1, 1],
            &[Some((squares / 4.0).sqrt()), Some(0.55), Some(1.0 - squares / spread), Some(squares / 4.0), Some(0.5)],
        );
    }

    #[test]
    fn rows_that_are_alike_have_no_r2() {
        check(&[0, 0, 3, 0, 0], &[Some(0.0), Some(0.0), None, Some(0.0), Some(0.0)]);
        check(&[0; 5], &[None; 5]);
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
