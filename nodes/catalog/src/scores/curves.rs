//! Curves of a classifier as points: ROC, precision and recall, calibration.

use super::ranking::Threshold;

/// Points of a curve, in the order they are joined.
pub(crate) type Points = Vec<(f64, f64)>;

/// The most points a drawn curve has; more cannot be told apart on a screen.
const MOST_POINTS: usize = 200;

/// The ROC curve: share of other rows taken for the class, share of its rows found; from (0, 0) to (1, 1).
pub(crate) fn roc(thresholds: &[Threshold]) -> Points {
    let Some(all) = thresholds.last() else { return Vec::new() };
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let point =
        |at: &Threshold| (share(at.false_positives, all.false_positives), share(at.true_positives, all.true_positives));
    let points: Points = std::iter::once((0.0, 0.0)).chain(thresholds.iter().map(point)).collect();
    thin(points)
}

/// The curve of precision over recall, from the largest threshold down.
pub(crate) fn precision_recall(thresholds: &[Threshold]) -> Points {
    let Some(all) = thresholds.last() else { return Vec::new() };
    let point = |at: &Threshold| {
        let taken = (at.true_positives + at.false_positives) as f64;
        (at.true_positives as f64 / all.true_positives.max(1) as f64, at.true_positives as f64 / taken)
    };
    thin(thresholds.iter().filter(|at| at.true_positives + at.false_positives > 0).map(point).collect())
}

/// Rows whose probability lies in one tenth of the range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CalibrationBin {
    /// Their mean probability.
    pub(crate) predicted: f64,
    /// The share of them it came true for.
    pub(crate) observed: f64,
    /// How many they are.
    pub(crate) rows: u64,
}

/// Predicted against observed in ten bins of equal width; empty bins are left out.
pub(crate) fn calibration(probabilities: &[f64], came_true: &[bool]) -> Vec<CalibrationBin> {
    const BINS: usize = 10;
    let mut sums = [(0.0, 0_u64, 0_u64); BINS];
    for (probability, came_true) in probabilities.iter().zip(came_true) {
        let bin = &mut sums[((probability * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += probability;
        bin.1 += u64::from(*came_true);
        bin.2 += 1;
    }
    let bins = sums.iter().filter(|(_, _, rows)| *rows > 0);
    bins.map(|&(sum, true_rows, rows)| CalibrationBin {
        predicted: sum / rows as f64,
        observed: true_rows as f64 / rows as f64,
        rows,
    })
    .collect()
}

/// Few enough points: the corners of the curve, and of these evenly many; the ends always stay.
fn thin(points: Points) -> Points {
    let mut corners: Points = Vec::new();
    for (place, &point) in points.iter().enumerate() {
        let between = match (corners.last(), points.get(place + 1)) {
            (Some(&before), Some(&after)) => {
                let area = (point.0 - before.0) * (after.1 - before.1) - (point.1 - before.1) * (after.0 - before.0);
                area.abs() < 1e-12
            }
            _ => false,
        };
        if !between {
            corners.push(point);
        }
    }
    if corners.len() <= MOST_POINTS {
        return corners;
    }
    let last = corners.len() - 1;
    (0..MOST_POINTS).map(|place| corners[place * last / (MOST_POINTS - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ranking::Ranking;
    use super::*;

    fn thresholds() -> Vec<Threshold> {
        Ranking::new(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]).thresholds()
    }

    #[test]
    fn curves_pass_through_the_points_of_sklearn() {
        // scikit-learn's manual: roc_curve and precision_recall_curve of y = [0, 0, 1, 1], scores [0.1, 0.4, 0.35, 0.8].
        assert_eq!(roc(&thresholds()), [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]);
        assert_eq!(precision_recall(&thresholds()), [(0.5, 1.0), (0.5, 0.5), (1.0, 2.0 / 3.0), (1.0, 0.5)],);
    }

    #[test]
    fn a_long_curve_keeps_its_ends_and_few_points() {
        let scores: Vec<f64> = (0..5000).map(f64::from).collect();
        let positive: Vec<bool> = (0..5000).map(|row| row % 7 > 2).collect();
        let curve = roc(&Ranking::new(&scores, &positive).thresholds());
        assert_eq!(curve.len(), MOST_POINTS);
        assert_eq!((curve[0], curve[MOST_POINTS - 1]), ((0.0, 0.0), (1.0, 1.0)));
    }

    #[test]
    fn points_on_a_straight_line_are_left_out() {
        assert_eq!(thin(vec![(0.0, 0.0), (0.0, 0.2), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0)]).len(), 3);
    }

    #[test]
    fn calibration_bins_hold_the_mean_and_the_share() {
        let bins = calibration(&[0.05, 0.15, 0.11, 1.0], &[false, true, false, true]);
        assert_eq!(bins.len(), 3);
        assert!((bins[1].predicted - 0.13).abs() < 1e-12);
        assert_eq!((bins[1].observed, bins[1].rows, bins[2].observed), (0.5, 2, 1.0));
    }
}
