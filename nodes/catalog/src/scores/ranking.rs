//! How well a score ranks the rows of one class above the others.

/// The rows by score, largest first, sorted once for many resamples.
///
/// Invariant: `group_ends` rises and ends with the number of rows; the rows of a group have equal scores.
#[derive(Debug, Clone)]
pub(crate) struct Ranking {
    /// Row numbers, largest score first.
    order: Vec<u32>,
    /// Whether the row at each place of `order` is of the class.
    positive: Vec<bool>,
    /// One past the last place of each group of equal scores.
    group_ends: Vec<u32>,
}

/// The two areas that sum a ranking up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Areas {
    /// Area under the ROC curve: the chance that a row of the class ranks above another row, ties counting half.
    pub(crate) roc_auc: f64,
    /// Average precision: the mean of the precision at each threshold, weighted by the recall it adds.
    pub(crate) average_precision: f64,
}

/// A threshold and what lies at or above it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Threshold {
    /// Rows of the class.
    pub(crate) true_positives: u64,
    /// Other rows.
    pub(crate) false_positives: u64,
}

impl Ranking {
    /// Ranks rows by `scores`; `positive` says which are of the class.
    pub(crate) fn new(scores: &[f64], positive: &[bool]) -> Ranking {
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        let score = |row: u32| scores[row as usize];
        order.sort_unstable_by(|&left, &right| score(right).total_cmp(&score(left)).then(left.cmp(&right)));
        let mut group_ends: Vec<u32> = Vec::new();
        for (place, &row) in order.iter().enumerate() {
            match order.get(place + 1) {
                Some(&next) if score(next) == score(row) => {}
                _ => group_ends.push(place as u32 + 1),
            }
        }
        let positive = order.iter().map(|&row| positive[row as usize]).collect();
        Ranking { order, positive, group_ends }
    }

    /// The areas when row i counts `counts[i]` times; `None` unless there are rows of the class and others.
    pub(crate) fn areas(&self, counts: &[u32]) -> Option<Areas> {
        let (mut positives, mut negatives) = (0_u64, 0_u64);
        // Twice the number of pairs ranked rightly, so that a tie is one whole.
        let (mut pairs_twice, mut precision) = (0_u64, 0.0);
        self.for_each_group(counts, |group_positives, group_negatives| {
            pairs_twice += group_negatives * (2 * positives + group_positives);
            positives += group_positives;
            negatives += group_negatives;
            if group_positives > 0 {
                precision += group_positives as f64 * positives as f64 / (positives + negatives) as f64;
            }
        });
        (positives > 0 && negatives > 0).then(|| Areas {
            roc_auc: pairs_twice as f64 / (2.0 * positives as f64 * negatives as f64),
            average_precision: precision / positives as f64,
        })
    }

    /// What lies at or above each distinct score, from the largest down, every row counting once.
    pub(crate) fn thresholds(&self) -> Vec<Threshold> {
        let mut thresholds = Vec::with_capacity(self.group_ends.len());
        let (mut true_positives, mut false_positives) = (0, 0);
        self.for_each_group(&vec![1; self.order.len()], |group_positives, group_negatives| {
            true_positives += group_positives;
            false_positives += group_negatives;
            thresholds.push(Threshold { true_positives, false_positives });
        });
        thresholds
    }

    fn for_each_group(&self, counts: &[u32], mut group: impl FnMut(u64, u64)) {
        let mut start = 0;
        for &end in &self.group_ends {
            let (mut positives, mut negatives) = (0, 0);
            for place in start..end as usize {
                let count = u64::from(counts[self.order[place] as usize]);
                if self.positive[place] {
                    positives += count;
                } else {
                    negatives += count;
                }
            }
            group(positives, negatives);
            start = end as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scores: &[f64], positive: &[u8], counts: Option<&[u32]>, expected: Option<(f64, f64)>) {
        let positive: Vec<bool> = positive.iter().map(|&is| is == 1).collect();
        let all = vec![1; scores.len()];
        let found = Ranking::new(scores, &positive).areas(counts.unwrap_or(&all));
        match (found, expected) {
            (None, None) => {}
            (Some(found), Some((roc_auc, average_precision))) => {
                assert!((found.roc_auc - roc_auc).abs() < 1e-12, "{found:?}");
                assert!((found.average_precision - average_precision).abs() < 1e-12, "{found:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn areas_are_those_of_sklearn() {
        // scikit-learn 1.9.1: roc_auc_score and average_precision_score; the first is the example of its manual.
        check(&[0.1, 0.4, 0.35, 0.8], &[0, 0, 1, 1], None, Some((0.75, 0.833_333_333_333_333_3)));
        check(
            &[0.5, 0.5, 0.2, 0.9, 0.5],
            &[1, 0, 0, 1, 1],
            None,
            Some((0.833_333_333_333_333_3, 0.833_333_333_333_333_3)),
        );
        check(&[0.3; 4], &[1, 0, 0, 0], None, Some((0.5, 0.25)));
    }

    #[test]
    fn a_row_that_counts_twice_is_a_row_written_twice() {
        let (scores, positive) = ([0.1, 0.4, 0.4, 0.8, 0.6], [0, 1, 0, 1, 0]);
        let counts = [2, 0, 3, 1, 1];
        let mut written = (Vec::new(), Vec::new());
        for row in 0..5 {
            for _ in 0..counts[row] {
                written.0.push(scores[row]);
                written.1.push(positive[row] == 1);
            }
        }
        let areas = Ranking::new(&written.0, &written.1).areas(&[1; 7]).unwrap();
        check(&scores, &positive, Some(&counts), Some((areas.roc_auc, areas.average_precision)));
    }

    #[test]
    fn there_is_no_area_with_one_class_only() {
        check(&[0.1, 0.2], &[1, 1], None, None);
        check(&[0.1, 0.2], &[0, 0], None, None);
        check(&[0.1, 0.2], &[0, 1], Some(&[2, 0]), None);
    }

    #[test]
    fn thresholds_join_ties_and_end_with_all_rows() {
        let ranking = Ranking::new(&[0.5, 0.9, 0.5, 0.1], &[true, true, false, false]);
        let seen: Vec<_> = ranking.thresholds().iter().map(|at| (at.true_positives, at.false_positives)).collect();
        assert_eq!(seen, [(1, 0), (2, 1), (2, 2)]);
    }
}
