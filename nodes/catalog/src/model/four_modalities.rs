//! Rows of text, images, sound and numbers, some of them missing, and models trained on them: what tests of joint
//! models share, and the tests of their predictions.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::{LogicalType, Part, Role, Seed, Size};
use engine_table::{
    ColumnType, Context, Describe, Encoder, EncoderType, Files, InputTypes, ModelType, PortInput, PortType, PortTypes,
    Reduce, ReduceInputs, Reduction, RowFilter, RowSet, TableType, tensor_column, token_column,
};
use polars::prelude::{Column, DataFrame};

use super::trained::{AllPredicted, Predicted, TrainedModel};
use crate::deploy::bundle::tests::answers;
use crate::encode::image::ImageEncoder;
use crate::encode::sound::SoundEncoder;
use crate::encode::table::TableEncoder;
use crate::encode::text::TextEncoder;
use crate::train::multimodal::Multimodal;

const TOKENS: usize = 4;
const SIDE: usize = 8;
const FRAMES: usize = 6;
const MELS: usize = 4;

/// One of four bits of evidence that a row holds, one for each modality.
fn bit(row: usize, modality: usize) -> bool {
    (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (50 + modality) & 1 == 1
}

/// Whether a row has a modality: every 11th row has none.
pub(crate) fn has(row: usize, modality: usize) -> bool {
    row % 11 != 4 && row % [7, 5, 9, 6][modality] != 2
}

fn is_fraud(row: usize) -> bool {
    (0..4).filter(|modality| bit(row, *modality)).count() >= 2
}

/// Rows `start..end`; the bits are spread over the modalities, and the label follows from all of them.
pub(crate) fn rows(start: usize, end: usize) -> DataFrame {
    let rows = || start..end;
    let cells = |modality: usize, cell: &dyn Fn(usize) -> Vec<f32>, width: usize| -> Vec<f32> {
        rows().flat_map(|row| if has(row, modality) { cell(row) } else { vec![0.0; width] }).collect()
    };
    let words = rows().flat_map(|row| {
        if has(row, 0) { [2 + u32::from(bit(row, 0)), 4 + (row % 3) as u32, 0, 0] } else { [0; TOKENS] }
    });
    let picture = |row: usize| {
        let pixel = |place: usize| {
            let is_left = place % SIDE < SIDE / 2;
            (place * 7 % 5) as f32 / 5.0 + if is_left == bit(row, 1) { 1.0 } else { 0.0 }
        };
        (0..SIDE * SIDE).map(pixel).collect()
    };
    let sound = |row: usize| {
        let rises = |frame: usize| if bit(row, 2) { frame } else { FRAMES - frame };
        (0..FRAMES * MELS).map(|place| (rises(place / MELS) as f32) - (place % MELS) as f32 / 4.0).collect()
    };
    let amount = |row: usize| if bit(row, 3) { 1.0 } else { -1.0 } + (row % 4) as f64 / 8.0;
    let present = |name: &str, modality: usize| {
        Column::new(name.into(), rows().map(|row| has(row, modality)).collect::<Vec<bool>>())
    };
    let columns = vec![
        token_column("words", TOKENS, words.collect()).unwrap(),
        present("words_present", 0),
        tensor_column("picture", SIDE * SIDE, cells(1, &picture, SIDE * SIDE)).unwrap(),
        present("picture_present", 1),
        tensor_column("spectrogram", FRAMES * MELS, cells(2, &sound, FRAMES * MELS)).unwrap(),
        present("spectrogram_present", 2),
        Column::new(
            "amount".into(),
            rows().map(|row| if has(row, 3) { amount(row) } else { 0.0 }).collect::<Vec<f64>>(),
        ),
        present("is_known", 3),
        Column::new(
            "label".into(),
            rows().map(|row| if is_fraud(row) { "fraud" } else { "honest" }).collect::<Vec<_>>(),
        ),
        Column::new(
            "loss".into(),
            rows().map(|row| (0..4).map(|of| f64::from(u8::from(bit(row, of)))).sum::<f64>()).collect::<Vec<_>>(),
        ),
    ];
    DataFrame::new(end - start, columns).unwrap()
}

/// The columns of [`rows`].
pub(crate) fn table() -> TableType {
    let tensor = |shape: &[usize]| LogicalType::Tensor(shape.iter().map(|size| Size::Known(*size as u64)).collect());
    let columns = vec![
        ColumnType::new("words", LogicalType::Tokens(Size::Known(TOKENS as u64))),
        ColumnType::new("words_present", LogicalType::Bool),
        ColumnType::new("picture", tensor(&[1, SIDE, SIDE])),
        ColumnType::new("picture_present", LogicalType::Bool),
        ColumnType::new("spectrogram", tensor(&[FRAMES, MELS])),
        ColumnType::new("spectrogram_present", LogicalType::Bool),
        ColumnType::new("amount", LogicalType::Float),
        ColumnType::new("is_known", LogicalType::Bool),
        ColumnType::new("label", LogicalType::Category).with_role(Role::Target),
        ColumnType::new("loss", LogicalType::Float).with_role(Role::Target),
    ];
    TableType { columns, row_set: RowSet("claims".into()) }
}

/// One encoder for each modality.
pub(crate) fn encoders() -> Vec<EncoderType> {
    fn declared<K: Describe + Encoder>(node: &str, options: &str) -> EncoderType {
        let kind = K::new(serde_json::from_str(options).unwrap()).ok().unwrap();
        EncoderType { node: node.to_owned(), ..kind.infer(&table()).unwrap() }
    }
    vec![
        declared::<TextEncoder>(
            "text",
            r#"{"column": "words", "architecture": "transformer", "width": 8, "heads": 2, "layers": 1, "dropout": 0}"#,
        ),
        declared::<ImageEncoder>("photo", r#"{"column": "picture", "channels": [4, 4], "width": 8, "dropout": 0}"#),
        declared::<SoundEncoder>("voice", r#"{"column": "spectrogram", "hidden": 8, "width": 8, "dropout": 0}"#),
        declared::<TableEncoder>("row", r#"{"columns": ["amount"], "present": "is_known", "hidden": [8]}"#),
    ]
}

/// What training on 220 rows and 40 validation rows gives.
pub(crate) fn trained(options: &str) -> (ModelType, BTreeMap<String, Files>) {
    let frames = [(Part::Train, rows(0, 220)), (Part::Validation, rows(220, 260))];
    let frames = frames.map(|(part, rows)| (RowFilter::Part(part), rows));
    let artifacts = encoders().into_iter().map(PortType::Encoder).collect();
    let types =
        InputTypes(BTreeMap::from([("encoders".to_owned(), PortTypes { artifacts, table: Some(Arc::new(table())) })]));
    let input = PortInput { artifacts: Vec::new(), rows: BTreeMap::from(frames) };
    let inputs = ReduceInputs::new(types, BTreeMap::from([("encoders".to_owned(), input)]));
    let kind = Multimodal::new(serde_json::from_str(options).unwrap()).ok().unwrap();
    let Reduction { mut outputs, .. } = kind.infer(&inputs.types).unwrap();
    let Some(PortType::Model(model)) = outputs.remove("model") else { panic!("it gives a model") };
    (model, kind.run(&inputs, &Context { seed: Seed::new(5), ..Context::quiet() }).unwrap())
}

/// A few epochs of a classifier.
pub(crate) const CLASSES: &str = r#"{"target": "label", "epochs": 4, "batch_size": 32, "learning_rate": 0.01}"#;

/// A few epochs of a regression with gates.
pub(crate) const VALUES: &str =
    r#"{"target": "loss", "fusion": {"architecture": "gated"}, "epochs": 4, "batch_size": 32}"#;

fn model(options: &str) -> TrainedModel {
    TrainedModel::load(&trained(options).1["model"]).unwrap()
}

fn numbers(predicted: Predicted) -> Vec<u64> {
    let (Predicted::Probabilities(values) | Predicted::Values(values)) = predicted;
    values.into_iter().map(f64::to_bits).collect()
}

/// The bits of the joint prediction and of each head.
fn bits(model: &TrainedModel, rows: &DataFrame) -> Vec<Vec<u64>> {
    let AllPredicted { joint, heads } = model.predict_all(rows).unwrap();
    assert_eq!(numbers(model.predict(rows).unwrap()), numbers(joint.clone()));
    std::iter::once(joint).chain(heads.into_iter().map(|(_, predicted)| predicted)).map(numbers).collect()
}

#[test]
fn predictions_are_bit_equal_whatever_the_batch_and_whatever_is_missing() {
    let all = rows(0, 255);
    for options in [CLASSES, VALUES] {
        let model = model(options);
        let whole = bits(&model, &all);
        assert_eq!(whole.len(), 5, "one joint head and four others");
        for batch in [1, 2, 3, 7, 64, 255] {
            let mut parts = vec![Vec::new(); 5];
            for start in (0..255).step_by(batch) {
                let found = bits(&model, &all.slice(start as i64, batch));
                parts.iter_mut().zip(found).for_each(|(part, found)| part.extend(found));
            }
            assert_eq!(parts, whole, "batches of {batch}");
        }
    }
}

#[test]
fn a_model_of_four_modalities_comes_back_from_its_files() {
    for options in [CLASSES, VALUES] {
        let model = model(options);
        let again = TrainedModel::load(&model.to_files().unwrap()).unwrap();
        assert_eq!(again.columns(), model.columns());
        assert_eq!(bits(&again, &rows(30, 60)), bits(&model, &rows(30, 60)));
    }
}

#[test]
fn a_row_that_lacks_everything_is_given_the_shares_of_the_train_rows() {
    let model = model(CLASSES);
    let all = rows(0, 120);
    let lacking = model.columns().without_evidence(&all).unwrap().unwrap();
    let expected: Vec<bool> = (0..120).map(|row| (0..4).all(|modality| !has(row, modality))).collect();
    assert_eq!(lacking, expected);
    let fraud = (0..220).filter(|row| is_fraud(*row)).count() as f64 / 220.0;
    let Predicted::Probabilities(found) = model.predict(&all).unwrap() else { panic!("it predicts classes") };
    for (row, probabilities) in found.chunks_exact(2).enumerate() {
        assert_eq!((probabilities[0] - fraud).abs() < 1e-9, lacking[row], "row {row}: {probabilities:?}");
    }
    let AllPredicted { heads, .. } = model.predict_all(&all).unwrap();
    for (modality, (head, predicted)) in heads.into_iter().enumerate() {
        assert_eq!(head.present, (0..120).filter(|row| has(*row, modality)).count());
        let Predicted::Probabilities(found) = predicted else { panic!("it predicts classes") };
        let is_prior = |row: usize| (found[2 * row] - fraud).abs() < 1e-9;
        assert!((0..120).filter(|row| !has(*row, modality)).all(is_prior), "{}", head.name);
    }
}

#[test]
fn what_stands_in_a_cell_that_is_missing_changes_nothing() {
    let model = model(CLASSES);
    let mut other = rows(0, 60);
    let picture = other.column("picture").unwrap().as_materialized_series().clone();
    let mut values = engine_table::tensor_slice(&picture).unwrap().to_vec();
    for row in (0..60).filter(|row| !has(*row, 1)) {
        values[row * SIDE * SIDE..(row + 1) * SIDE * SIDE].fill(77.0);
    }
    other.with_column(tensor_column("picture", SIDE * SIDE, values).unwrap()).unwrap();
    assert_eq!(bits(&model, &other), bits(&model, &rows(0, 60)));
}

#[test]
fn tokens_that_the_train_rows_do_not_have_are_all_the_same() {
    let model = model(CLASSES);
    let with = |token: u32| {
        let mut rows = rows(0, 1);
        rows.with_column(token_column("words", TOKENS, vec![2, token, 0, 0]).unwrap()).unwrap();
        bits(&model, &rows)
    };
    assert_eq!(with(900), with(7));
    assert_eq!(with(900), with(1));
    assert_ne!(with(900), with(4));
}

#[test]
fn all_modalities_together_know_more_than_each() {
    let options = r#"{"target": "label", "epochs": 25, "batch_size": 32, "learning_rate": 0.01}"#;
    let AllPredicted { joint, heads } = model(options).predict_all(&rows(300, 500)).unwrap();
    let accuracy = |predicted: Predicted| {
        let Predicted::Probabilities(found) = predicted else { panic!("it predicts classes") };
        let right = found.chunks_exact(2).zip(300..).filter(|(row, number)| (row[0] > row[1]) == is_fraud(*number));
        right.count() as f64 / 200.0
    };
    let joint = accuracy(joint);
    for (head, predicted) in heads {
        let single = accuracy(predicted);
        assert!(single < joint, "`{}` is right in {single} of the rows, all together in {joint}", head.name);
    }
    assert!(joint > 0.8, "{joint}");
}

#[test]
fn a_deployment_answers_as_the_model_predicts_whatever_the_batch() {
    let (model, files) = trained(CLASSES);
    let files = Arc::new(files["model"].clone());
    let rows = rows(0, 130);
    let expected = TrainedModel::load(&files).unwrap().predict(&rows).unwrap();
    let fraud: Vec<u64> = numbers(expected).into_iter().step_by(2).collect();
    for batch in [1, 2, 3, 7, 64, 130] {
        let found = answers(&model, &files, &table(), &rows, batch);
        let found_fraud = found.column("probability_fraud").unwrap().f64().unwrap();
        assert_eq!(found_fraud.iter().flatten().map(f64::to_bits).collect::<Vec<_>>(), fraud, "batches of {batch}");
        let flagged = found.column("no_evidence").unwrap().bool().unwrap();
        assert!(flagged.iter().enumerate().all(|(row, flag)| flag == Some((0..4).all(|of| !has(row, of)))));
    }
}
