//! The report of a classification.

use engine_table::report::{Axis, Cell, LinesSection, Mark, MatrixSection, ReportPage, Section, Series, TableSection};

use super::super::sections;
use super::{Scored, Scores};
use crate::scores::classification::{ClassScores, class_scores, summary};
use crate::scores::curves::{calibration, precision_recall, roc};

/// The most classes that are drawn as a confusion matrix; of more the commonest errors are listed.
const MOST_IN_MATRIX: usize = 25;

/// The most classes with curves of their own.
const MOST_WITH_CURVES: usize = 8;

/// The most errors that are listed.
const MOST_ERRORS: usize = 30;

/// The page.
pub(super) fn page(scored: &Scored, scores: &Scores) -> ReportPage {
    let mut page = ReportPage::new(format!("classification of {}", scored.target));
    sections::texts(&mut page, notes(scored), scored.warnings());
    page.sections.push(sections::table(
        &scores.compared,
        &format!(
            "In brackets the 95 % interval from resampled {} rows. A difference whose interval holds 0 may be chance. For \
             log loss and Brier score lower is better.",
            scored.part
        ),
    ));
    page.sections.extend(scores.modalities.iter().flat_map(|modalities| modalities.sections(&scores.compared)));
    let confusion = scored.model.confusion(None);
    page.sections.push(Section::Table(per_class(scored, &class_scores(&confusion))));
    page.sections.push(if scored.names.len() <= MOST_IN_MATRIX {
        Section::Matrix(matrix(scored, confusion))
    } else {
        Section::Table(commonest_errors(scored, &confusion))
    });
    page.sections.extend(curves(scored));
    page.sections.push(Section::Lines(calibration_curve(scored)));
    page
}

fn notes(scored: &Scored) -> Vec<String> {
    let (class, share) = &scored.majority;
    let mut notes = vec![
        format!("{} {} rows, {} classes.", scored.model.rows(), scored.part, scored.names.len()),
        format!(
            "The trivial baseline predicts `{class}` for every row, the most frequent class of the train rows ({:.1} %), \
             and gives each class its share of the train rows as probability.",
            100.0 * share
        ),
    ];
    if let Some(positive) = scored.positive {
        notes.push(format!("The positive class is `{}`.", scored.names[positive as usize]));
    }
    notes.extend(scored.remarks.iter().cloned());
    notes
}

/// Precision, recall, F1 and support as in scikit-learn's classification report.
fn per_class(scored: &Scored, classes: &[ClassScores]) -> TableSection {
    let row = |name: &str, scores: &ClassScores| {
        vec![
            Cell::text(name),
            Cell::number(scores.precision),
            Cell::number(scores.recall),
            Cell::number(scores.f1),
            Cell::Count(scores.support),
        ]
    };
    let present = classes.iter().zip(&scored.names).filter(|(scores, _)| scores.support + scores.predicted > 0);
    let mut rows: Vec<Vec<Cell>> = present.map(|(scores, name)| row(name, scores)).collect();
    let averages = summary(classes);
    rows.push(row("macro average", &averages.macro_average));
    rows.push(row("weighted average", &averages.weighted_average));
    TableSection {
        title: "classes".to_owned(),
        note: "Precision: of the rows taken for the class, the share that is of it. Recall: of its rows, the share found. \
               Support: its rows."
            .to_owned(),
        columns: ["class", "precision", "recall", "F1", "support"].map(str::to_owned).to_vec(),
        rows,
    }
}

fn matrix(scored: &Scored, counts: Vec<Vec<u64>>) -> MatrixSection {
    MatrixSection {
        title: "confusion matrix".to_owned(),
        note: format!("The {} rows by true class and predicted class.", scored.part),
        row_label: "truth".to_owned(),
        column_label: "prediction".to_owned(),
        row_names: scored.names.clone(),
        column_names: scored.names.clone(),
        counts,
    }
}

fn commonest_errors(scored: &Scored, confusion: &[Vec<u64>]) -> TableSection {
    let mut errors: Vec<(u64, usize, usize)> = Vec::new();
    for (truth, row) in confusion.iter().enumerate() {
        let wrong = row.iter().enumerate().filter(|(predicted, rows)| *predicted != truth && **rows > 0);
        errors.extend(wrong.map(|(predicted, &rows)| (rows, truth, predicted)));
    }
    errors.sort_by_key(|&(rows, truth, predicted)| (std::cmp::Reverse(rows), truth, predicted));
    let name = |class: usize| Cell::text(scored.names[class].clone());
    let row = |&(rows, truth, predicted): &(u64, usize, usize)| vec![name(truth), name(predicted), Cell::Count(rows)];
    TableSection {
        title: "commonest errors".to_owned(),
        note: format!("There are too many classes to draw a matrix; these are the {MOST_ERRORS} commonest errors."),
        columns: ["truth", "prediction", "rows"].map(str::to_owned).to_vec(),
        rows: errors.iter().take(MOST_ERRORS).map(row).collect(),
    }
}

/// ROC and precision-recall curves: of the positive class, or of each class if they are few.
fn curves(scored: &Scored) -> Vec<Section> {
    let known = scored.names.len() - scored.unseen.len();
    let classes: Vec<u32> = match scored.positive {
        Some(class) => vec![class],
        None if known <= MOST_WITH_CURVES => (0..known as u32).collect(),
        None => return Vec::new(),
    };
    let (mut rocs, mut recalls) = (Vec::new(), Vec::new());
    for class in classes {
        let thresholds = scored.model.ranking(class).thresholds();
        // A curve needs rows of the class and others.
        if thresholds.last().is_none_or(|all| all.true_positives == 0 || all.false_positives == 0) {
            continue;
        }
        let series = |points| Series { name: scored.names[class as usize].clone(), mark: Mark::Line, points };
        rocs.push(series(roc(&thresholds)));
        recalls.push(series(precision_recall(&thresholds)));
    }
    if rocs.is_empty() {
        return Vec::new();
    }
    rocs.push(Series { name: "chance".to_owned(), mark: Mark::Reference, points: vec![(0.0, 0.0), (1.0, 1.0)] });
    vec![
        Section::Lines(LinesSection {
            title: "ROC curve".to_owned(),
            note: String::new(),
            x: Axis::share("other rows taken for the class"),
            y: Axis::share("rows of the class found"),
            series: rocs,
        }),
        Section::Lines(LinesSection {
            title: "precision and recall".to_owned(),
            note: String::new(),
            x: Axis::share("recall"),
            y: Axis::share("precision"),
            series: recalls,
        }),
    ]
}

fn calibration_curve(scored: &Scored) -> LinesSection {
    let (what, bins) = match scored.positive {
        Some(class) => {
            let bins = calibration(&scored.model.probability(class), &scored.model.is_of(class));
            (format!("of `{}`", scored.names[class as usize]), bins)
        }
        None => {
            ("of the predicted class".to_owned(), calibration(&scored.model.confidence(), &scored.model.is_right()))
        }
    };
    let rows: Vec<String> = bins.iter().map(|bin| bin.rows.to_string()).collect();
    LinesSection {
        title: "calibration".to_owned(),
        note: format!("Ten bins of predicted probability; rows in those that have any: {}.", rows.join(", ")),
        x: Axis::share(format!("mean predicted probability {what}")),
        y: Axis::share("share of rows it came true for"),
        series: vec![
            Series {
                name: "model".to_owned(),
                mark: Mark::LineAndDots,
                points: bins.iter().map(|bin| (bin.predicted, bin.observed)).collect(),
            },
            Series { name: "perfect".to_owned(), mark: Mark::Reference, points: vec![(0.0, 0.0), (1.0, 1.0)] },
        ],
    }
}
