//! The single modalities of a joint model on the scored rows: the rivals that joint training has to beat.
//!
//! Each modality has a head of its own, trained with the joint one. For every score the best of them is the one that
//! scores best on the validation rows, so that the scored rows have no say in the choice; where there are none to
//! choose on, it is the one that scores best on the scored rows themselves, which favours it. All is computed on the
//! same resamples, so the difference between the joint score and that of the best single modality is paired.

use engine_core::{MetricValue, Part};
use engine_table::NodeError;
use engine_table::report::{Bar, BarsSection, Cell, Section, TableSection, Tone};
use polars::prelude::DataFrame;

use super::sections::{Compared, Metrics, metric};
use crate::model::trained::{Head, ModelColumns};
use crate::scores::bootstrap::Interval;

/// A score that is given of single modalities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shown {
    /// Its name.
    pub(super) name: &'static str,
    /// Its place among all scores.
    pub(super) place: usize,
    /// Which of two values is the better one.
    pub(super) better: Better,
}

/// Which of two values of a score is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
}

/// A score that may not exist.
type Score = Option<f64>;

/// How many of the shown scores are also told in a sentence.
const TOLD: usize = 2;

/// What a reader must know of the modalities of `model` in the scored rows: how many rows lack all of them, and which
/// have no head to be scored by.
///
/// # Errors
/// If a column that says where a modality is present cannot be read.
pub(super) fn remarks(model: &ModelColumns, rows: &DataFrame, part: Part) -> Result<Vec<String>, NodeError> {
    let mut remarks = Vec::new();
    let lacking = model.count_without_evidence(rows)?;
    if lacking > 0 {
        remarks.push(format!(
            "{lacking} {part} rows lack everything the model reads, and are given the shares of the classes, or the mean, of \
             the train rows."
        ));
    }
    let untaught = model.encoders.iter().filter(|encoder| model.encoders.len() > 1 && !encoder.own_head);
    remarks.extend(untaught.map(|encoder| {
        format!("The loss of `{}` had the weight 0, so its own head learnt nothing and is not scored.", encoder.name)
    }));
    Ok(remarks)
}

/// The modalities of a joint model, and for each shown score the best of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Modalities {
    shown: &'static [Shown],
    each: Vec<Head>,
    /// For each shown score the place of the best modality.
    best: Vec<Option<usize>>,
    /// The part of the split that the best ones were chosen on.
    chosen_on: Part,
    /// The part that is scored.
    scored: Part,
}

impl Modalities {
    /// The modalities with a head of their own; `choice` holds all scores of each on the rows that the best ones are
    /// chosen on. `None` if there are none.
    pub(super) fn new(
        shown: &'static [Shown],
        heads: Vec<Head>,
        choice: &[Vec<Score>],
        chosen_on: Part,
        scored: Part,
    ) -> Option<Modalities> {
        if heads.is_empty() {
            return None;
        }
        let best = shown.iter().map(|shown| shown.best(choice)).collect();
        Some(Modalities { shown, each: heads, best, chosen_on, scored })
    }

    /// What is computed on each resample, from all scores of the joint prediction and of each modality: the shown
    /// scores of each modality, then for each modality the joint scores less its own.
    pub(super) fn statistics(&self, joint: &[Score], each: &[Vec<Score>]) -> Vec<Score> {
        let own = |scores: &Vec<Score>, shown: &Shown| scores[shown.place];
        let difference = |scores: &Vec<Score>, shown: &Shown| Some(joint[shown.place]? - scores[shown.place]?);
        let all = |of: &dyn Fn(&Vec<Score>, &Shown) -> Score| -> Vec<Score> {
            each.iter().flat_map(|scores| self.shown.iter().map(|shown| of(scores, shown))).collect()
        };
        all(&own).into_iter().chain(all(&difference)).collect()
    }

    /// The scores of the modalities with the intervals of what [`Modalities::statistics`] gives.
    pub(super) fn scores(self, joint: &[Score], each: &[Vec<Score>], intervals: &[Option<Interval>]) -> ModalityScores {
        let values = self.statistics(joint, each).into_iter().zip(intervals);
        let values: Vec<Option<MetricValue>> =
            values.map(|(value, interval)| Some(metric(value?, *interval))).collect();
        let mut scores: Vec<Vec<Option<MetricValue>>> = values.chunks(self.shown.len()).map(<[_]>::to_vec).collect();
        let differences = scores.split_off(self.each.len().min(scores.len()));
        ModalityScores { modalities: self, scores, differences }
    }
}

impl Shown {
    /// The place of the best of several scorings; of equally good ones the first.
    fn best(&self, scorings: &[Vec<Score>]) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (place, scores) in scorings.iter().enumerate() {
            let Some(score) = scores[self.place] else { continue };
            if best.is_none_or(|(_, other)| self.is_better(score, other)) {
                best = Some((place, score));
            }
        }
        best.map(|(place, _)| place)
    }

    fn is_better(&self, score: f64, other: f64) -> bool {
        match self.better {
            Better::Higher => score > other,
            Better::Lower => score < other,
        }
    }

    /// What a difference to another score says; `None` if it has no interval.
    fn verdict(&self, difference: MetricValue) -> Option<Verdict> {
        let (low, high) = (difference.low?, difference.high?);
        Some(match (low > 0.0, high < 0.0, self.better) {
            (true, _, Better::Higher) | (_, true, Better::Lower) => Verdict::Better,
            (true, _, Better::Lower) | (_, true, Better::Higher) => Verdict::Worse,
            _ => Verdict::Alike,
        })
    }

    fn words(&self) -> String {
        self.name.replace('_', " ")
    }
}

/// What the interval of a difference says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    /// It holds 0.
    Alike,
}

/// The scores of single modalities beside the joint ones.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModalityScores {
    modalities: Modalities,
    /// Of each modality the shown scores.
    scores: Vec<Vec<Option<MetricValue>>>,
    /// Of each modality the joint scores less its own.
    differences: Vec<Vec<Option<MetricValue>>>,
}

/// The best single modality by one score.
struct Best<'a> {
    shown: Shown,
    name: &'a str,
    score: MetricValue,
    difference: Option<MetricValue>,
}

impl ModalityScores {
    fn best(&self) -> impl Iterator<Item = Best<'_>> {
        let Modalities { shown, each, best, .. } = &self.modalities;
        shown.iter().enumerate().filter_map(move |(place, shown)| {
            let best = best[place]?;
            let score = self.scores[best][place]?;
            Some(Best { shown: *shown, name: &each[best].name, score, difference: self.differences[best][place] })
        })
    }

    /// The scores as metrics: `modality.NODE.NAME` of each, `best_modality.NAME` of the best, and what the joint score
    /// has over it as `best_modality_difference.NAME`.
    pub(super) fn add_to(&self, metrics: &mut Metrics) {
        for (modality, scores) in self.modalities.each.iter().zip(&self.scores) {
            for (shown, score) in self.modalities.shown.iter().zip(scores) {
                metrics.extend(score.map(|score| (format!("modality.{}.{}", modality.name, shown.name), score)));
            }
        }
        for Best { shown, score, difference, .. } in self.best() {
            metrics.insert(format!("best_modality.{}", shown.name), score);
            metrics.extend(difference.map(|value| (format!("best_modality_difference.{}", shown.name), value)));
        }
    }

    /// The parts of a report: what joint training gains, in words and numbers, and each modality by itself.
    pub(super) fn sections(&self, joint: &[Compared]) -> Vec<Section> {
        vec![
            Section::Text { title: String::new(), tone: Tone::Note, paragraphs: self.paragraphs() },
            Section::Table(self.comparison(joint)),
            Section::Table(self.each(joint)),
            Section::Bars(self.bars(joint)),
        ]
    }

    fn paragraphs(&self) -> Vec<String> {
        let Modalities { chosen_on, scored, .. } = &self.modalities;
        let choice = if chosen_on == scored {
            format!(
                "There are no other rows to choose the best single modality on, so for each score it is the one that scores \
                 best on the {scored} rows themselves, which favours it."
            )
        } else {
            format!("For each score the best single modality is the one that scored best on the {chosen_on} rows.")
        };
        let mut paragraphs = vec![format!(
            "Beside the joint prediction stands that of each modality by a head of its own, trained with the rest. {choice}"
        )];
        paragraphs.extend(self.best().take(TOLD).filter_map(|best| best.sentence()));
        paragraphs.push(self.against_each());
        paragraphs
    }

    /// Whether the joint prediction is better than every single modality, whichever was chosen: by the first shown
    /// score.
    fn against_each(&self) -> String {
        let Modalities { shown, each, .. } = &self.modalities;
        let shown = shown[0];
        let is_better = |differences: &Vec<Option<MetricValue>>| {
            differences[0].is_some_and(|value| shown.verdict(value) == Some(Verdict::Better))
        };
        let others = each.iter().zip(&self.differences).filter(|(_, differences)| !is_better(differences));
        let others: Vec<String> = others.map(|(head, _)| format!("`{}`", head.name)).collect();
        if others.is_empty() {
            return format!(
                "By {}, it is better than every single modality: the intervals of all differences leave out 0.",
                shown.words()
            );
        }
        format!("By {}, it cannot be said to be better than {}.", shown.words(), others.join(", "))
    }

    fn comparison(&self, joint: &[Compared]) -> TableSection {
        let row = |best: Best<'_>| {
            vec![
                Cell::text(best.shown.words()),
                joint_cell(joint, best.shown),
                Cell::text(best.name),
                Cell::Metric(best.score),
                best.difference.map_or(Cell::Empty, Cell::Metric),
            ]
        };
        TableSection {
            title: "joint prediction and best single modality".to_owned(),
            note: "A difference whose interval holds 0 may be chance.".to_owned(),
            columns: ["score", "joint", "best single modality", "its own head", "difference"]
                .map(str::to_owned)
                .to_vec(),
            rows: self.best().map(row).collect(),
        }
    }

    fn each(&self, joint: &[Compared]) -> TableSection {
        let Modalities { shown, each, .. } = &self.modalities;
        let mut columns = ["encoder", "modality", "rows that have it"].map(str::to_owned).to_vec();
        columns.extend(shown.iter().map(Shown::words));
        let mut all = vec![Cell::text("joint prediction"), Cell::Empty, Cell::Empty];
        all.extend(shown.iter().map(|shown| joint_cell(joint, *shown)));
        let row = |(modality, scores): (&Head, &Vec<Option<MetricValue>>)| {
            let mut row = vec![
                Cell::text(modality.name.clone()),
                Cell::text(modality.modality),
                Cell::Count(modality.present as u64),
            ];
            row.extend(scores.iter().map(|score| score.map_or(Cell::Empty, Cell::Metric)));
            row
        };
        TableSection {
            title: "modalities".to_owned(),
            note: "Each by its own head. A row that lacks the modality is given the shares of the classes, or the mean, of the \
                   train rows."
                .to_owned(),
            columns,
            rows: std::iter::once(all).chain(each.iter().zip(&self.scores).map(row)).collect(),
        }
    }

    fn bars(&self, joint: &[Compared]) -> BarsSection {
        let shown = self.modalities.shown[0];
        let own = joint.iter().find(|score| score.name == shown.name).map(|score| score.model);
        let joint = own.map(|value| Bar { name: "joint prediction".to_owned(), value });
        let single = self.modalities.each.iter().zip(&self.scores);
        let single =
            single.filter_map(|(modality, scores)| Some(Bar { name: modality.name.clone(), value: scores[0]? }));
        BarsSection {
            title: format!("{} by modality", shown.words()),
            note: "Each by its own head.".to_owned(),
            value_label: shown.words(),
            bars: joint.into_iter().chain(single).collect(),
        }
    }
}

fn joint_cell(joint: &[Compared], shown: Shown) -> Cell {
    joint.iter().find(|score| score.name == shown.name).map_or(Cell::Empty, |score| Cell::Metric(score.model))
}

impl Best<'_> {
    /// What the difference says; `None` if it has no interval.
    fn sentence(&self) -> Option<String> {
        let difference = self.difference?;
        let (low, high) = (difference.low?, difference.high?);
        let verdict = match self.shown.verdict(difference)? {
            Verdict::Better => "is better than",
            Verdict::Worse => "is worse than",
            Verdict::Alike => "cannot be told apart from",
        };
        Some(format!(
            "By {}, the joint prediction {verdict} the best single modality, `{}`: the difference is {:.4}, with the 95 % \
             interval {low:.4} – {high:.4}.",
            self.shown.words(),
            self.name,
            difference.value
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const SHOWN: &[Shown] = &[
        Shown { name: "accuracy", place: 1, better: Better::Higher },
        Shown { name: "log_loss", place: 0, better: Better::Lower },
    ];

    fn heads() -> Vec<Head> {
        let head = |name: &str, modality, present| Head { name: name.to_owned(), modality, present };
        vec![head("words", "text", 9), head("photo", "image", 7)]
    }

    fn modalities(choice: [[Score; 2]; 2], chosen_on: Part) -> Modalities {
        let choice: Vec<Vec<Score>> = choice.map(Vec::from).to_vec();
        Modalities::new(SHOWN, heads(), &choice, chosen_on, Part::Test).unwrap()
    }

    fn scores(chosen_on: Part, interval: Interval) -> ModalityScores {
        // By log loss the photo is better, by accuracy the words are.
        let modalities = modalities([[Some(0.9), Some(0.7)], [Some(0.5), Some(0.6)]], chosen_on);
        let (joint, each) = ([Some(0.4), Some(0.9)], [vec![Some(0.8), Some(0.75)], vec![Some(0.6), Some(0.7)]]);
        // Scores of words and photo, then the differences to them.
        let intervals: Vec<Option<Interval>> =
            vec![Some((0.7, 0.8)), None, None, None, Some(interval), None, None, Some((-0.3, -0.1))];
        modalities.scores(&joint, &each, &intervals)
    }

    fn close(value: Option<MetricValue>, expected: f64) {
        assert!((value.unwrap().value - expected).abs() < 1e-12, "{value:?}");
    }

    #[test]
    fn the_best_modality_is_chosen_score_by_score_and_of_equals_the_first() {
        let best = |choice| modalities(choice, Part::Validation).best;
        assert_eq!(best([[Some(0.9), Some(0.7)], [Some(0.5), Some(0.6)]]), [Some(0), Some(1)]);
        assert_eq!(best([[Some(0.5), Some(0.6)], [Some(0.5), Some(0.6)]]), [Some(0), Some(0)]);
        assert_eq!(best([[None, None], [Some(0.5), None]]), [None, Some(1)]);
        assert_eq!(Modalities::new(SHOWN, vec![], &[], Part::Validation, Part::Test), None);
    }

    #[test]
    fn metrics_are_those_of_each_of_the_best_and_of_what_the_joint_prediction_gains() {
        let mut metrics = Metrics::new();
        scores(Part::Validation, (0.1, 0.2)).add_to(&mut metrics);
        let names: Vec<&str> = metrics.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "best_modality.accuracy",
                "best_modality.log_loss",
                "best_modality_difference.accuracy",
                "best_modality_difference.log_loss",
                "modality.photo.accuracy",
                "modality.photo.log_loss",
                "modality.words.accuracy",
                "modality.words.log_loss",
            ]
        );
        close(metrics.get("best_modality.accuracy").copied(), 0.75);
        close(metrics.get("best_modality.log_loss").copied(), 0.6);
        close(metrics.get("best_modality_difference.accuracy").copied(), 0.15);
        close(metrics.get("best_modality_difference.log_loss").copied(), -0.2);
        assert_eq!(metrics["modality.words.accuracy"].low, Some(0.7));
        assert_eq!(metrics["best_modality_difference.accuracy"].high, Some(0.2));
    }

    #[test]
    fn the_report_says_what_the_interval_of_the_difference_says() {
        let said = |interval, chosen_on| scores(chosen_on, interval).paragraphs();
        let better = said((0.1, 0.2), Part::Validation);
        assert!(better[0].contains("scored best on the validation rows"), "{better:?}");
        assert!(
            better[1].starts_with("By accuracy, the joint prediction is better than the best single modality, `words`")
        );
        assert!(
            better[2].starts_with("By log loss, the joint prediction is better than the best single modality, `photo`")
        );
        assert!(said((-0.1, 0.2), Part::Validation)[1].contains("cannot be told apart from"));
        // The difference to the photo has no interval by accuracy.
        assert_eq!(better[3], "By accuracy, it cannot be said to be better than `photo`.");
        let alike = said((-0.1, 0.2), Part::Validation);
        assert_eq!(alike[3], "By accuracy, it cannot be said to be better than `words`, `photo`.");
        assert!(said((-0.2, -0.1), Part::Validation)[1].contains("is worse than"));
        assert!(said((0.1, 0.2), Part::Test)[0].contains("on the test rows themselves, which favours it"));
    }

    #[test]
    fn each_modality_stands_below_the_joint_prediction() {
        let sections = scores(Part::Validation, (0.1, 0.2)).sections(&[]);
        let Section::Table(comparison) = &sections[1] else { panic!("first the comparison") };
        assert_eq!(
            comparison.rows.iter().map(|row| row[2].clone()).collect::<Vec<_>>(),
            [Cell::text("words"), Cell::text("photo"),]
        );
        let Section::Table(each) = &sections[2] else { panic!("then each") };
        assert_eq!(each.columns, ["encoder", "modality", "rows that have it", "accuracy", "log loss"]);
        assert_eq!(each.rows[2][..3], [Cell::text("photo"), Cell::text("image"), Cell::Count(7)]);
        let Section::Bars(bars) = &sections[3] else { panic!("then bars") };
        assert_eq!(bars.bars.iter().map(|bar| bar.name.as_str()).collect::<Vec<_>>(), ["words", "photo"]);
    }
}
