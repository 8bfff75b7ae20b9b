//! Percentile bootstrap: 95 % intervals of any statistics of rows.
//!
//! Rows are drawn with replacement, as many as there are (Efron 1979, *Bootstrap methods*); an interval reaches from
//! the 2.5th to the 97.5th percentile of a statistic over the resamples. All statistics of a call are computed on the
//! same resamples, so that differences between them are paired. Equal seeds give equal intervals on every machine.

use engine_core::Seed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The ends of a 95 % interval.
pub(crate) type Interval = (f64, f64);

/// The interval of each statistic that `statistics` gives for `resamples` resamples of `rows` rows.
///
/// `statistics` is given how often each row counts, and gives `None` where a statistic does not exist in a resample
/// (an area under a curve with rows of one class only). A statistic that exists in less than half of the resamples has
/// no interval. `check` is asked before each resample whether to go on.
///
/// # Errors
/// What `check` gives.
pub(crate) fn intervals<E>(
    rows: usize,
    resamples: usize,
    seed: Seed,
    mut check: impl FnMut(usize) -> Result<(), E>,
    mut statistics: impl FnMut(&[u32]) -> Vec<Option<f64>>,
) -> Result<Vec<Option<Interval>>, E> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed.value());
    let mut counts = vec![0_u32; rows];
    let mut drawn: Vec<Vec<f64>> = Vec::new();
    for resample in 0..resamples {
        check(resample)?;
        counts.fill(0);
        for _ in 0..rows {
            counts[below(rows, &mut generator)] += 1;
        }
        let values = statistics(&counts);
        drawn.resize_with(values.len(), Vec::new);
        for (values, value) in drawn.iter_mut().zip(values) {
            values.extend(value.filter(|value| value.is_finite()));
        }
    }
    Ok(drawn.into_iter().map(|values| if 2 * values.len() < resamples { None } else { interval(values) }).collect())
}

/// A number below `limit`, by the high half of a product (Lemire 2019, *Fast random integer generation in an interval*);
/// the bias, at most `limit` in 2^64, is left in.
fn below(limit: usize, generator: &mut ChaCha8Rng) -> usize {
    ((u128::from(generator.next_u64()) * limit as u128) >> 64) as usize
}

fn interval(mut values: Vec<f64>) -> Option<Interval> {
    values.sort_unstable_by(f64::total_cmp);
    Some((percentile(&values, 0.025)?, percentile(&values, 0.975)?))
}

/// The value below which `share` of `sorted` lies, between two values by linear interpolation.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share * last as f64;
    let (low, high) = (place.floor() as usize, (place.ceil() as usize).min(last));
    Some(sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn mean_interval(values: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
        let mean = |counts: &[u32]| {
            let sum: f64 = values.iter().zip(counts).map(|(value, count)| value * f64::from(*count)).sum();
            vec![Some(sum / values.len() as f64)]
        };
        intervals(values.len(), resamples, Seed::new(seed), |_| Ok::<(), Infallible>(()), mean).unwrap()[0]
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_law() {
        // 400 values 0 and 1 in equal parts: the mean's standard error is 0.5 / 20 = 0.025, so the interval is
        // 0.5 -+ 1.96 * 0.025 = (0.451, 0.549); 0.006 is three standard errors of a percentile of 2,000 resamples.
        let values: Vec<f64> = (0..400).map(|row| f64::from(row % 2)).collect();
        let (low, high) = mean_interval(&values, 2000, 7).unwrap();
        assert!((low - 0.451).abs() < 0.006 && (high - 0.549).abs() < 0.006, "{low} {high}");
    }

    #[test]
    fn equal_seeds_give_equal_intervals_and_others_do_not() {
        let values: Vec<f64> = (0..50).map(f64::from).collect();
        assert_eq!(mean_interval(&values, 100, 1), mean_interval(&values, 100, 1));
        assert_ne!(mean_interval(&values, 100, 1), mean_interval(&values, 100, 2));
    }

    #[test]
    fn every_resample_has_as_many_rows_as_there_are() {
        let total = |counts: &[u32]| vec![Some(f64::from(counts.iter().sum::<u32>()))];
        let found = intervals(17, 50, Seed::new(3), |_| Ok::<(), Infallible>(()), total).unwrap();
        assert_eq!(found, [Some((17.0, 17.0))]);
    }

    #[test]
    fn a_statistic_that_seldom_exists_has_no_interval() {
        let mut calls = 0;
        let seldom = |_: &[u32]| {
            calls += 1;
            vec![(calls % 3 == 0).then_some(1.0), (calls % 3 != 0).then_some(2.0)]
        };
        let found = intervals(5, 99, Seed::new(3), |_| Ok::<(), Infallible>(()), seldom).unwrap();
        assert_eq!(found, [None, Some((2.0, 2.0))]);
    }

    #[test]
    fn it_stops_when_told_to() {
        let stop = |resample| if resample == 3 { Err("stopped") } else { Ok(()) };
        assert_eq!(intervals(5, 99, Seed::new(3), stop, |_| vec![Some(1.0)]), Err("stopped"));
    }

    #[test]
    fn percentiles_interpolate() {
        // numpy.percentile([1, 2, 4, 8], [0, 25, 50, 97.5, 100]), numpy 2: 1, 1.75, 3, 7.7, 8.
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (share, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 3.0), (0.975, 7.7), (1.0, 8.0)] {
            assert!((percentile(&sorted, share).unwrap() - expected).abs() < 1e-12);
        }
        assert_eq!(percentile(&[], 0.5), None);
    }
}
