//! Sums, moments and quantiles of a column, the same bits wherever they are taken.
//!
//! Values are visited in row order on one thread, so a result depends on the rows alone, not on
//! chunks or threads.

/// The sum with Neumaier's compensation (1974): the error does not grow with the number of values.
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut compensation) = (0.0_f64, 0.0_f64);
    for value in values {
        let next = total + value;
        let lost = if total.abs() >= value.abs() { (total - next) + value } else { (value - next) + total };
        compensation += lost;
        total = next;
    }
    total + compensation
}

/// The arithmetic mean; `None` of no values.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| sum(values.iter().copied()) / values.len() as f64)
}

/// The population standard deviation (divided by n, as scikit-learn's `StandardScaler` does); `None` of no values.
pub(crate) fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares = sum(values.iter().map(|value| (value - mean) * (value - mean)));
    Some((squares / values.len() as f64).sqrt())
}

/// The quantile of ascending values at `share` (0 to 1), between neighbours by linear interpolation:
/// type 7 of Hyndman and Fan (1996), the default of numpy and R. `None` of no values.
pub(crate) fn quantile(ascending: &[f64], share: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    let weight = place - below as f64;
    Some(ascending[below] + (ascending[above] - ascending[below]) * weight)
}

/// The values in ascending order.
pub(crate) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([1, 2, 4, 8], [0, .25, .5, .9, 1]) = [1, 1.75, 3, 6.8, 8]
        let values = [1.0, 2.0, 4.0, 8.0];
        for (share, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
            let found = quantile(&values, share).unwrap();
            assert!((found - expected).abs() < 1e-12, "{share}: {found}");
        }
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0], 0.9), Some(3.0));
    }

    #[test]
    fn small_values_beside_large_ones_are_not_lost() {
        assert_eq!(mean(&[1e100, 1.0, -1e100, 1.0]), Some(0.5));
    }

    #[test]
    fn the_deviation_is_that_of_the_population() {
        // numpy.std([2, 4, 4, 4, 5, 5, 7, 9]) = 2
        assert_eq!(standard_deviation(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), Some(2.0));
    }
}
