//! Tests of the kind on small rows whose scores can be worked out by hand.

use engine_table::report::Section;
use nodes_models::{Design, Logistic, LogisticOptions};
use polars::prelude::df;

use super::*;
use crate::model::preparation::{Preparation, Standardise};
use crate::model::reading::Reading;
use crate::model::trained::tests::{frame, multimodal_files_with};
use crate::model::trained::{Learner, ModelColumns, design};
use engine_table::ColumnType;

/// A model of two classes, `no` and `yes`, that says `yes` with more than one half where `x` is above 0.
fn model() -> TrainedModel {
    let x = [ColumnType::new("x", LogicalType::Float)];
    let train = df!("x" => [-2.0, -1.0, 1.0, 2.0]).unwrap();
    let preparation = Preparation::learn(&x, &train, Standardise::No).unwrap();
    let inputs: Design = design(&preparation, &preparation.block(&train).unwrap(), 4).unwrap();
    let (fitted, _) = Logistic::fit(&inputs, &[0, 0, 1, 1], 2, None, &LogisticOptions::default()).unwrap();
    let target = ColumnType::new("y", LogicalType::Category);
    let classes = Classes::new(vec!["no".into(), "yes".into()]);
    let encoders = vec![Reading::of_table("table", preparation)];
    TrainedModel::new(ModelColumns::new(&target, Some(&classes), encoders), Learner::Logistic(fitted))
}

fn train() -> DataFrame {
    df!("y" => ["no", "no", "no", "yes"]).unwrap()
}

fn test() -> DataFrame {
    df!(
        "x" => [-3.0, -2.0, 2.0, 3.0, 1.0, 4.0],
        "y" => [Some("no"), Some("no"), Some("yes"), Some("yes"), Some("maybe"), None]
    )
    .unwrap()
}

fn scored() -> Scored {
    on(Part::Test)
}

fn on(part: Part) -> Scored {
    let to_score = ToScore::new(&test(), "y", part).unwrap();
    Scored::new(&model(), &train(), &to_score, None).unwrap()
}

#[test]
fn a_class_never_seen_is_named_and_counts_as_an_error() {
    let scored = scored();
    let warnings = scored.warnings();
    assert!(warnings[0].starts_with("1 test rows have no `y`"), "{warnings:?}");
    assert!(warnings[1].starts_with("the class `maybe` is in 1 test rows and in no train row"), "{warnings:?}");
    let scores = scored.scores(200, Seed::new(1), &Context::quiet()).unwrap().metrics();
    // Four of five rows are right; the baseline says `no` for all and is right twice.
    assert_eq!(scores["accuracy"].value, 0.8);
    assert_eq!(scores["baseline.accuracy"].value, 0.4);
    assert!((scores["difference.accuracy"].value - 0.4).abs() < 1e-12);
    // `yes`, the rarer class of the train rows, is predicted thrice and rightly twice.
    assert_eq!((scores["precision"].value, scores["recall"].value), (2.0 / 3.0, 1.0));
    // `maybe` ranks below both rows of `yes`.
    assert_eq!((scores["roc_auc"].value, scores["baseline.roc_auc"].value), (1.0, 0.5));
}

#[test]
fn every_score_lies_in_its_interval_and_equal_seeds_give_equal_intervals() {
    let scores = |seed| scored().scores(300, Seed::new(seed), &Context::quiet()).unwrap().compared;
    for score in scores(1) {
        let (low, high) = (score.model.low.unwrap(), score.model.high.unwrap());
        assert!(low <= score.model.value && score.model.value <= high, "{score:?}");
    }
    assert_eq!(scores(1), scores(1));
    assert_ne!(scores(1), scores(2));
}

#[test]
fn the_page_shows_all_classes_among_them_the_unseen_one() {
    let scored = scored();
    let page = page::page(&scored, &scored.scores(100, Seed::new(1), &Context::quiet()).unwrap());
    let matrix = page.sections.iter().find_map(|section| match section {
        Section::Matrix(matrix) => Some(matrix),
        _ => None,
    });
    let matrix = matrix.unwrap();
    assert_eq!(matrix.row_names, ["no", "yes", "maybe"]);
    assert_eq!(matrix.counts, [[2, 0, 0], [0, 2, 0], [0, 1, 0]]);
    let titles: Vec<&str> = page.sections.iter().map(title).collect();
    let expected =
        ["", "", "scores", "classes", "confusion matrix", "ROC curve", "precision and recall", "calibration"];
    assert_eq!(titles, expected);
    assert!(page.to_files().is_ok());
}

fn title(section: &Section) -> &str {
    match section {
        Section::Text { title, .. } => title,
        Section::Table(table) => &table.title,
        Section::Lines(lines) => &lines.title,
        Section::Matrix(matrix) => &matrix.title,
        Section::Bars(bars) => &bars.title,
    }
}

#[test]
fn the_page_and_the_warnings_say_which_rows_were_scored() {
    for (part, other) in [(Part::Test, "validation"), (Part::Validation, "test rows")] {
        let scored = on(part);
        let page = page::page(&scored, &scored.scores(100, Seed::new(1), &Context::quiet()).unwrap());
        let text = serde_json::to_string(&page).unwrap();
        assert!(text.contains(&format!("5 {part} rows, 3 classes")) && !text.contains(other), "{text}");
        assert!(scored.warnings().iter().all(|warning| warning.contains(&format!("{part} rows"))));
    }
}

/// A model of two modalities, of which `person` says much and `loan` nothing.
fn joint(choice: Option<DataFrame>) -> Scored {
    let model = crate::model::trained::tests::multimodal(3);
    let to_score = ToScore { choice, ..ToScore::new(&frame(150).slice(120, 30), "default", Part::Test).unwrap() };
    Scored::new(&model, &frame(120), &to_score, None).unwrap()
}

#[test]
fn each_modality_of_a_joint_model_is_scored_by_its_own_head() {
    let scored = joint(Some(frame(180).slice(150, 30)));
    let scores = scored.scores(200, Seed::new(1), &Context::quiet()).unwrap();
    let metrics = scores.metrics();
    // Whoever does not know person and job has but the commoner class to go by.
    let rows = frame(150).slice(120, 30);
    let truth = rows.column("default").unwrap().str().unwrap();
    let common = truth.iter().filter(|cell| *cell == Some("yes")).count() as f64 / 30.0;
    assert_eq!(metrics["modality.loan.accuracy"].value, common);
    assert!(metrics["modality.person.accuracy"].value > common);
    assert_eq!(metrics["best_modality.accuracy"], metrics["modality.person.accuracy"]);
    let difference = metrics["accuracy"].value - metrics["modality.person.accuracy"].value;
    assert!((metrics["best_modality_difference.accuracy"].value - difference).abs() < 1e-12);
    let interval = metrics["best_modality_difference.log_loss"];
    assert!(interval.low.unwrap() <= interval.value && interval.value <= interval.high.unwrap());
    assert!(metrics.contains_key("modality.person.f1_macro") && !metrics.contains_key("modality.person.brier"));

    let text = serde_json::to_string(&page::page(&scored, &scores)).unwrap();
    assert!(text.contains("scored best on the validation rows") && text.contains("best single modality"), "{text}");
    let scored = joint(None);
    let scores = scored.scores(100, Seed::new(1), &Context::quiet()).unwrap();
    let text = serde_json::to_string(&page::page(&scored, &scores)).unwrap();
    assert!(text.contains("on the test rows themselves, which favours it"), "{text}");
}

#[test]
fn the_best_modality_is_chosen_without_a_look_at_the_scored_rows() {
    // Validation rows of one class only, the one that `loan` always names: there `loan` is right in every row.
    let mut choice = frame(180).slice(150, 30);
    choice.with_column(polars::prelude::Column::new("default".into(), vec!["yes"; 30])).unwrap();
    let scores = joint(Some(choice)).scores(100, Seed::new(1), &Context::quiet()).unwrap().metrics();
    assert_eq!(scores["best_modality.accuracy"], scores["modality.loan.accuracy"]);
    assert!(scores["modality.person.accuracy"].value > scores["modality.loan.accuracy"].value);
}

#[test]
fn a_head_that_learnt_nothing_is_not_scored() {
    let files = multimodal_files_with(3, r#", "loss": {"modalities": {"person": 0}}"#);
    let model = TrainedModel::load(&files["model"]).unwrap();
    let to_score = ToScore::new(&frame(150).slice(120, 30), "default", Part::Test).unwrap();
    let scored = Scored::new(&model, &frame(120), &to_score, None).unwrap();
    let scores = scored.scores(100, Seed::new(1), &Context::quiet()).unwrap();
    let metrics = scores.metrics();
    assert!(metrics.contains_key("modality.loan.accuracy") && !metrics.contains_key("modality.person.accuracy"));
    let text = serde_json::to_string(&page::page(&scored, &scores)).unwrap();
    assert!(text.contains("The loss of `person` had the weight 0"), "{text}");
}

#[test]
fn the_positive_class_is_true_or_the_rarer_or_named() {
    let classes = Classes::new(vec!["a".into(), "b".into()]);
    let check = |named: Option<&str>, logical: LogicalType, rows: [u64; 2], expected: Option<u32>| {
        assert_eq!(positive_class(named, &classes, &logical, &rows).unwrap(), expected);
    };
    check(None, LogicalType::Category, [3, 5], Some(0));
    check(None, LogicalType::Category, [5, 3], Some(1));
    check(None, LogicalType::Category, [4, 4], Some(1));
    check(None, LogicalType::Bool, [3, 5], Some(1));
    check(Some("a"), LogicalType::Category, [5, 3], Some(0));
    let unknown = positive_class(Some("c"), &classes, &LogicalType::Category, &[1, 1]).unwrap_err();
    assert!(unknown.to_string().contains("`a`, `b`"));
    let three = Classes::new(vec!["a".into(), "b".into(), "c".into()]);
    assert_eq!(positive_class(None, &three, &LogicalType::Category, &[1, 1, 1]).unwrap(), None);
    assert!(positive_class(Some("a"), &three, &LogicalType::Category, &[1, 1, 1]).is_err());
}
