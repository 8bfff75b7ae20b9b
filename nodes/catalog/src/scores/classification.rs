//! Scores of a classifier.
//!
//! Definitions are those of scikit-learn, so that figures can be compared: an undefined precision, recall or F1 counts
//! as 0; macro F1 is over the classes that occur among truths or predictions, balanced accuracy over those among truths;
//! the area under the ROC curve and average precision of more than two classes are the mean over the classes, each
//! against the rest. A row whose class the model has never seen can only be wrong: its probability is 0.

use super::ranking::{Areas, Ranking};

/// What is known of each scored row.
///
/// Invariant: `predicted` and the columns of `probabilities` are below `known`, `truth` is below `classes`.
#[derive(Debug, Clone)]
pub(crate) struct Outcomes {
    /// Classes of the model.
    known: usize,
    /// All classes: those of the model, then those met in truth only.
    classes: usize,
    /// The class of each row.
    truth: Vec<u32>,
    /// The predicted class of each row.
    predicted: Vec<u32>,
    /// The probability of each known class, row by row.
    probabilities: Vec<f64>,
}

/// The names of the scores, in the order [`Scorer::scores`] gives them.
pub(crate) const NAMES: [&str; 12] = [
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "precision",
    "recall",
    "f1",
    "log_loss",
    "brier",
    "roc_auc",
    "average_precision",
];

/// Of how many rows of a class how many were found, and how many were taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct ClassScores {
    /// Of the rows taken for the class, the share that is of it.
    pub(crate) precision: f64,
    /// Of the rows of the class, the share taken for it.
    pub(crate) recall: f64,
    /// The harmonic mean of both.
    pub(crate) f1: f64,
    /// Rows of the class.
    pub(crate) support: u64,
    /// Rows taken for the class.
    pub(crate) predicted: u64,
}

/// Scores outcomes over resamples: sorts once, then takes one pass over the rows each time.
pub(crate) struct Scorer<'a> {
    outcomes: &'a Outcomes,
    /// The class whose precision, recall, F1 and areas are given, of a model of two classes.
    positive: Option<u32>,
    log_losses: Vec<f64>,
    squared_errors: Vec<f64>,
    /// For two classes that of the positive class, else one a class.
    rankings: Vec<Ranking>,
}

impl Outcomes {
    /// Outcomes of rows with these truths and class probabilities; the predicted class is the most probable one, of
    /// several the first.
    pub(crate) fn new(known: usize, classes: usize, truth: Vec<u32>, probabilities: Vec<f64>) -> Outcomes {
        let predicted = probabilities.chunks_exact(known).map(|row| most_probable(row) as u32).collect();
        Outcomes { known, classes, truth, predicted, probabilities }
    }

    /// The same rows as a predictor sees them that knows nothing but how frequent each class is.
    pub(crate) fn of_constant(&self, shares: &[f64]) -> Outcomes {
        Outcomes::new(self.known, self.classes, self.truth.clone(), shares.repeat(self.truth.len()))
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.truth.len()
    }

    /// Rows by true class and predicted class.
    pub(crate) fn confusion(&self, counts: Option<&[u32]>) -> Vec<Vec<u64>> {
        let mut confusion = vec![vec![0; self.classes]; self.classes];
        for (row, (&truth, &predicted)) in self.truth.iter().zip(&self.predicted).enumerate() {
            confusion[truth as usize][predicted as usize] += counts.map_or(1, |counts| u64::from(counts[row]));
        }
        confusion
    }

    /// The probability of `class` in each row.
    pub(crate) fn probability(&self, class: u32) -> Vec<f64> {
        self.probabilities.iter().skip(class as usize).step_by(self.known).copied().collect()
    }

    /// The probability of the predicted class in each row.
    pub(crate) fn confidence(&self) -> Vec<f64> {
        let rows = self.probabilities.chunks_exact(self.known);
        rows.zip(&self.predicted).map(|(row, &predicted)| row[predicted as usize]).collect()
    }

    /// Whether each row is of `class`.
    pub(crate) fn is_of(&self, class: u32) -> Vec<bool> {
        self.truth.iter().map(|&truth| truth == class).collect()
    }

    /// Whether each row was predicted rightly.
    pub(crate) fn is_right(&self) -> Vec<bool> {
        self.truth.iter().zip(&self.predicted).map(|(truth, predicted)| truth == predicted).collect()
    }

    /// How the rows rank by the probability of `class`.
    pub(crate) fn ranking(&self, class: u32) -> Ranking {
        Ranking::new(&self.probability(class), &self.is_of(class))
    }
}

/// The place of the largest probability, of several the first.
pub(crate) fn most_probable(row: &[f64]) -> usize {
    let mut best = 0;
    for (class, probability) in row.iter().enumerate() {
        if *probability > row[best] {
            best = class;
        }
    }
    best
}

impl<'a> Scorer<'a> {
    /// A scorer; `positive` is the class of interest of a model of two classes.
    pub(crate) fn new(outcomes: &'a Outcomes, positive: Option<u32>) -> Scorer<'a> {
        let rows = || outcomes.truth.iter().zip(outcomes.probabilities.chunks_exact(outcomes.known));
        // The bound keeps one row that was certain and wrong from being infinitely bad; scikit-learn has the same.
        let log_loss = |probability: f64| -probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
        let log_losses =
            rows().map(|(&truth, row)| log_loss(row.get(truth as usize).copied().unwrap_or(0.0))).collect();
        let squared_errors = rows().map(|(&truth, row)| squared_error(row, truth, positive)).collect();
        let rankings = match positive {
            Some(class) => vec![outcomes.ranking(class)],
            None => (0..outcomes.known as u32).map(|class| outcomes.ranking(class)).collect(),
        };
        Scorer { outcomes, positive, log_losses, squared_errors, rankings }
    }

    /// The scores, in the order of [`NAMES`], when row i counts `counts[i]` times; `None` where one does not exist.
    pub(crate) fn scores(&self, counts: &[u32]) -> Vec<Option<f64>> {
        let confusion = self.outcomes.confusion(Some(counts));
        let classes = class_scores(&confusion);
        let rows: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        if rows == 0 {
            return vec![None; NAMES.len()];
        }
        let right: u64 = (0..confusion.len()).map(|class| confusion[class][class]).sum();
        let accuracy = right as f64 / rows as f64;
        let summary = summary(&classes);
        let positive = self.positive.map(|class| classes[class as usize]);
        let areas = self.areas(counts);
        vec![
            Some(accuracy),
            Some(summary.balanced_accuracy),
            Some(summary.macro_average.f1),
            // Every row has one truth and one prediction, so micro precision, recall and F1 are all the accuracy.
            Some(accuracy),
            Some(summary.weighted_average.f1),
            positive.map(|scores| scores.precision),
            positive.map(|scores| scores.recall),
            positive.map(|scores| scores.f1),
            Some(weighted_mean(&self.log_losses, counts, rows)),
            Some(weighted_mean(&self.squared_errors, counts, rows)),
            areas.map(|areas| areas.roc_auc),
            areas.map(|areas| areas.average_precision),
        ]
    }

    /// The mean areas over the classes that can be ranked.
    fn areas(&self, counts: &[u32]) -> Option<Areas> {
        let areas: Vec<Areas> = self.rankings.iter().filter_map(|ranking| ranking.areas(counts)).collect();
        let mean = |of: fn(&Areas) -> f64| areas.iter().map(of).sum::<f64>() / areas.len() as f64;
        (!areas.is_empty()).then(|| Areas {
            roc_auc: mean(|areas| areas.roc_auc),
            average_precision: mean(|areas| areas.average_precision),
        })
    }
}

/// Brier's score of one row: for two classes the squared error of the positive class, else the sum over all classes.
fn squared_error(row: &[f64], truth: u32, positive: Option<u32>) -> f64 {
    let error = |class: usize| (row[class] - f64::from(u8::from(class == truth as usize))).powi(2);
    match positive {
        // A row of neither class is wrong whatever its probability; it counts as the worst there is.
        Some(_) if truth as usize >= row.len() => 1.0,
        Some(class) => error(class as usize),
        None => (0..row.len()).map(error).sum::<f64>() + f64::from(u8::from(truth as usize >= row.len())),
    }
}

fn weighted_mean(values: &[f64], counts: &[u32], rows: u64) -> f64 {
    values.iter().zip(counts).map(|(value, &count)| value * f64::from(count)).sum::<f64>() / rows as f64
}

/// Precision, recall and F1 of each class.
pub(crate) fn class_scores(confusion: &[Vec<u64>]) -> Vec<ClassScores> {
    let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    (0..confusion.len())
        .map(|class| {
            let right = confusion[class][class];
            let support: u64 = confusion[class].iter().sum();
            let predicted: u64 = confusion.iter().map(|row| row[class]).sum();
            ClassScores {
                precision: ratio(right, predicted),
                recall: ratio(right, support),
                f1: ratio(2 * right, support + predicted),
                support,
                predicted,
            }
        })
        .collect()
}

/// Averages of [`ClassScores`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// The mean recall of the classes that occur.
    pub(crate) balanced_accuracy: f64,
    /// Every class that occurs or is predicted counts the same.
    pub(crate) macro_average: ClassScores,
    /// Every class counts as often as it occurs.
    pub(crate) weighted_average: ClassScores,
}

/// The averages over `classes`; 0 if no row is scored.
pub(crate) fn summary(classes: &[ClassScores]) -> Summary {
    let average = |weight: &dyn Fn(&ClassScores) -> f64| {
        let total: f64 = classes.iter().map(weight).sum();
        let mean = |of: fn(&ClassScores) -> f64| {
            let sum: f64 = classes.iter().map(|scores| of(scores) * weight(scores)).sum();
            if total == 0.0 { 0.0 } else { sum / total }
        };
        ClassScores {
            precision: mean(|scores| scores.precision),
            recall: mean(|scores| scores.recall),
            f1: mean(|scores| scores.f1),
            support: classes.iter().map(|scores| scores.support).sum(),
            predicted: classes.iter().map(|scores| scores.predicted).sum(),
        }
    };
    let present = |is: bool| f64::from(u8::from(is));
    Summary {
        balanced_accuracy: average(&|scores| present(scores.support > 0)).recall,
        macro_average: average(&|scores| present(scores.support + scores.predicted > 0)),
        weighted_average: average(&|scores| scores.support as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(outcomes: &Outcomes, positive: Option<u32>, expected: &[(&str, f64)]) {
        let scores = Scorer::new(outcomes, positive).scores(&vec![1; outcomes.rows()]);
        for (name, expected) in expected {
            let place = NAMES.iter().position(|other| other == name).unwrap();
            let found = scores[place].unwrap();
            assert!((found - expected).abs() < 1e-12, "{name}: {found}, expected {expected}");
        }
    }

    fn binary() -> Outcomes {
        let positive = [0.9, 0.2, 0.6, 0.4, 0.8, 0.3, 0.7, 0.1];
        let probabilities = positive.iter().flat_map(|p| [1.0 - p, *p]).collect();
        Outcomes::new(2, 2, vec![1, 0, 0, 1, 1, 0, 1, 0], probabilities)
    }

    fn three_classes() -> Outcomes {
        #[rustfmt::skip]
        let probabilities = vec![
            0.7, 0.2, 0.1,
            0.1, 0.8, 0.1,
            0.2, 0.3, 0.5,
            0.4, 0.4, 0.2,
            0.3, 0.3, 0.4,
            0.6, 0.3, 0.1,
        ];
        Outcomes::new(3, 3, vec![0, 1, 2, 1, 0, 0], probabilities)
    }

    #[test]
    fn two_classes_score_as_in_sklearn() {
        // scikit-learn 1.9.1 on the same truths and probabilities.
        check(
            &binary(),
            Some(1),
            &[
                ("accuracy", 0.75),
                ("precision", 0.75),
                ("recall", 0.75),
                ("f1", 0.75),
                ("log_loss", 0.400_367_435_696_230_84),
                ("brier", 0.125),
                ("roc_auc", 0.9375),
                ("average_precision", 0.95),
            ],
        );
    }

    #[test]
    fn three_classes_score_as_in_sklearn() {
        // scikit-learn 1.9.1: averages as its names say, areas one against the rest, Brier with scale_by_half=False.
        check(
            &three_classes(),
            None,
            &[
                ("accuracy", 0.666_666_666_666_666_6),
                ("balanced_accuracy", 0.722_222_222_222_222_2),
                ("f1_macro", 0.666_666_666_666_666_6),
                ("f1_micro", 0.666_666_666_666_666_6),
                ("f1_weighted", 0.666_666_666_666_666_6),
                ("log_loss", 0.650_675_805_963_161_5),
                ("brier", 0.356_666_666_666_666_7),
                ("roc_auc", 0.962_962_962_962_962_9),
                ("average_precision", 0.972_222_222_222_222_2),
            ],
        );
        // classification_report of the same rows.
        let summary = summary(&class_scores(&three_classes().confusion(None)));
        assert!((summary.macro_average.precision - 0.722_222).abs() < 1e-6);
        assert!((summary.weighted_average.precision - 0.75).abs() < 1e-12);
        assert!((summary.weighted_average.recall - 0.666_667).abs() < 1e-6);
    }

    #[test]
    fn a_class_never_seen_is_an_error_whatever_is_predicted() {
        // The third row is of class 2, which a model of two classes does not have.
        let outcomes = Outcomes::new(2, 3, vec![0, 1, 2], vec![0.9, 0.1, 0.2, 0.8, 0.6, 0.4]);
        let worst = -f64::EPSILON.ln();
        let log_loss = (-(0.9_f64.ln()) - 0.8_f64.ln() + worst) / 3.0;
        // Squared errors 0.01, 0.04 and 1.
        check(
            &outcomes,
            Some(1),
            &[("accuracy", 2.0 / 3.0), ("balanced_accuracy", 2.0 / 3.0), ("log_loss", log_loss), ("brier", 0.35)],
        );
        let classes = class_scores(&outcomes.confusion(None));
        assert_eq!((classes[2].support, classes[2].predicted, classes[2].recall), (1, 0, 0.0));
        assert_eq!(classes[0].precision, 0.5);
    }

    #[test]
    fn a_resample_scores_as_its_rows_written_out() {
        let outcomes = three_classes();
        let counts = [2, 0, 1, 1, 3, 0];
        let (mut truth, mut probabilities) = (Vec::new(), Vec::new());
        for (row, &count) in counts.iter().enumerate() {
            for _ in 0..count {
                truth.push(outcomes.truth[row]);
                probabilities.extend_from_slice(&outcomes.probabilities[3 * row..3 * row + 3]);
            }
        }
        let written = Outcomes::new(3, 3, truth, probabilities);
        let found = Scorer::new(&outcomes, None).scores(&counts);
        let expected = Scorer::new(&written, None).scores(&[1; 7]);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.is_some(), expected.is_some());
            assert!((found.unwrap_or(0.0) - expected.unwrap_or(0.0)).abs() < 1e-12);
        }
    }

    #[test]
    fn who_knows_only_the_shares_ranks_by_chance() {
        let constant = binary().of_constant(&[0.7, 0.3]);
        // Four rows of each class; the share of the second is 0.5 among them.
        let log_loss = -(0.7_f64.ln() + 0.3_f64.ln()) / 2.0;
        let expected = [("accuracy", 0.5), ("recall", 0.0), ("roc_auc", 0.5), ("average_precision", 0.5)];
        check(&constant, Some(1), &expected);
        check(&constant, Some(1), &[("log_loss", log_loss), ("brier", (0.49 + 0.09) / 2.0)]);
    }

    #[test]
    fn of_equal_probabilities_the_first_class_wins() {
        assert_eq!(most_probable(&[0.2, 0.4, 0.4]), 1);
        assert_eq!(three_classes().predicted, [0, 1, 2, 0, 2, 0]);
    }
}
