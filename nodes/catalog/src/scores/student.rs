//! Student's t: the interval of a mean of few values.

/// The 97.5th percentile of Student's t for 1 to 30 degrees of freedom (Fisher and Yates 1963, table III).
const TABLE: [f64; 30] = [
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448,
    2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484,
    2.0452, 2.0423,
];

/// The 97.5th percentile of the normal law.
const NORMAL: f64 = 1.959_963_985;

/// The 97.5th percentile of Student's t; `None` for no degree of freedom.
fn percentile(degrees: usize) -> Option<f64> {
    if degrees <= TABLE.len() {
        return TABLE.get(degrees.checked_sub(1)?).copied();
    }
    // Two terms of the Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5): below 1e-4 off from 31 degrees on.
    let (n, z) = (degrees as f64, NORMAL);
    Some(z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n))
}

/// A mean with the spread of its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mean {
    /// The mean.
    pub(crate) mean: f64,
    /// The standard deviation of the values, with one degree of freedom taken by the mean; `None` for one value.
    pub(crate) deviation: Option<f64>,
    /// The 95 % interval of the mean, if the values are independent and normal; `None` for one value.
    pub(crate) interval: Option<(f64, f64)>,
}

/// The mean of `values`; `None` if there are none.
pub(crate) fn mean(values: &[f64]) -> Option<Mean> {
    if values.is_empty() {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let Some(percentile) = percentile(values.len() - 1) else {
        return Some(Mean { mean, deviation: None, interval: None });
    };
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
    let reach = percentile * deviation / count.sqrt();
    Some(Mean { mean, deviation: Some(deviation), interval: Some((mean - reach, mean + reach)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_scipy() {
        // scipy.stats.t.interval(0.95, 4, loc=x.mean(), scale=scipy.stats.sem(x)) of these five values.
        let found = mean(&[0.78, 0.81, 0.76, 0.80, 0.79]).unwrap();
        let (low, high) = found.interval.unwrap();
        assert!((found.mean - 0.788).abs() < 1e-12);
        assert!((found.deviation.unwrap() - 0.019_235_384_061_671_36).abs() < 1e-12);
        assert!((low - 0.764_116_116_1).abs() < 1e-5 && (high - 0.811_883_883_9).abs() < 1e-5, "{low} {high}");
    }

    #[test]
    fn one_value_has_no_interval_and_none_no_mean() {
        assert_eq!(mean(&[0.5]), Some(Mean { mean: 0.5, deviation: None, interval: None }));
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn the_expansion_goes_on_where_the_table_ends() {
        // scipy.stats.t.ppf(0.975, [31, 60, 1000]).
        for (degrees, expected) in [(31, 2.039_513_4), (60, 2.000_297_8), (1000, 1.962_339_1)] {
            assert!((percentile(degrees).unwrap() - expected).abs() < 1e-4, "{degrees}");
        }
    }
}
