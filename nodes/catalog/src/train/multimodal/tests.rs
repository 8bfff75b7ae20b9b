//! Tests of what the kind says before a run, and of what it tells and draws of a training.

use engine_core::LogicalType;
use engine_table::PortTypes;
use engine_table::report::{ReportPage, Section};
use nodes_models::ModalityEpoch;

use super::*;
use crate::model::trained::tests::{encoder, multimodal_files, table};

fn infer(options: &str, encoders: &[EncoderType]) -> Result<Reduction, Vec<Problem>> {
    let artifacts = encoders.iter().cloned().map(PortType::Encoder).collect();
    let port = PortTypes { artifacts, table: Some(std::sync::Arc::new(table())) };
    let inputs = InputTypes(BTreeMap::from([(ENCODERS.to_owned(), port)]));
    Multimodal::new(serde_json::from_str(options).unwrap())?.infer(&inputs)
}

fn two() -> [EncoderType; 2] {
    [encoder("person", &["age", "job"]), encoder("loan", &["amount"])]
}

#[test]
fn a_loss_weight_belongs_to_an_encoder() {
    let code = |options: &str, encoders: &[EncoderType]| -> Vec<(String, String)> {
        let problems = infer(options, encoders).err().unwrap_or_default();
        problems.into_iter().map(|problem| (problem.code.name.to_owned(), problem.help.join(" "))).collect()
    };
    let weigh = |name: &str| format!(r#"{{"loss": {{"modalities": {{"{name}": 0.5}}}}}}"#);
    assert_eq!(code(&weigh("loan"), &two()), []);
    let expected = |help: &str| [("loss.modality".to_owned(), help.to_owned())];
    assert_eq!(code(&weigh("loans"), &two()), expected("write `loan`"));
    assert_eq!(code(&weigh("photograph"), &two()), expected("the encoders are `person`, `loan`"));
    assert_eq!(code(&weigh("loan"), &two()[1..]), expected("leave `loss` out"));
}

#[test]
fn weights_below_zero_and_a_width_without_gates_are_refused() {
    for options in [
        r#"{"loss": {"joint": 0}}"#,
        r#"{"loss": {"others": -1}}"#,
        r#"{"loss": {"modalities": {"loan": -0.5}}}"#,
        r#"{"fusion": {"width": 32}}"#,
    ] {
        assert_eq!(infer(options, &two()).unwrap_err()[0].code.name, "option.invalid", "{options}");
    }
    assert!(infer(r#"{"fusion": {"architecture": "gated", "width": 32}}"#, &two()).is_ok());
}

#[test]
fn the_type_of_a_model_names_its_modalities_and_says_whether_a_row_may_lack_all() {
    let model = |encoders: &[EncoderType]| match &infer("{}", encoders).unwrap().outputs["model"] {
        PortType::Model(model) => (model.modalities.clone(), model.may_lack_evidence),
        other => panic!("{other:?}"),
    };
    let maskable = |encoder: EncoderType| {
        let declared = Declaration { present: Some("is_known".to_owned()), ..Declaration::of(&encoder).unwrap() };
        EncoderType { node: encoder.node.clone(), ..declared.to_encoder("mlp", encoder.gives).unwrap() }
    };
    let [person, loan] = two();
    let names = ["person", "loan"].map(str::to_owned).to_vec();
    assert_eq!(model(&two()), (names.clone(), false));
    assert_eq!(model(&[maskable(person.clone()), loan.clone()]), (names.clone(), false));
    assert_eq!(model(&[maskable(person), maskable(loan.clone())]), (names, true));
    assert_eq!(model(&[maskable(loan.clone())]), (vec![], true));
    assert_eq!(model(&[loan]), (vec![], false));
}

#[test]
fn an_encoder_of_another_make_is_refused() {
    let series = EncoderType { modality: "series".into(), config: serde_json::json!({"lags": 3}), ..two()[0].clone() };
    let problems = infer("{}", &[series]).unwrap_err();
    assert!(problems[0].code.name == "model.column" && problems[0].message.contains("encoder of series"));
}

#[test]
fn an_epoch_tells_the_losses_and_the_gradient_of_each_modality() {
    let modality = ModalityEpoch {
        name: "photo".to_owned(),
        train_loss: 0.5,
        validation_loss: Some(0.6),
        gradient_norm: 2.0,
        present_share: 0.9,
    };
    let epoch = EpochReport {
        epoch: 1,
        train_loss: 0.9,
        joint_loss: 0.75,
        validation_loss: Some(0.8),
        gradient_norm: 3.0,
        modalities: vec![modality],
    };
    let expected = [
        ("gradient_norm.photo", 2.0),
        ("train_loss", 0.9),
        ("train_loss.joint", 0.75),
        ("train_loss.photo", 0.5),
        ("validation_loss", 0.8),
        ("validation_loss.photo", 0.6),
    ];
    assert_eq!(values_of(&epoch), BTreeMap::from(expected.map(|(name, value)| (name.to_owned(), value))));
    let alone = values_of(&EpochReport { modalities: Vec::new(), validation_loss: None, ..epoch });
    assert_eq!(alone.into_keys().collect::<Vec<_>>(), ["train_loss"]);
}

#[test]
fn the_report_draws_the_joint_loss_and_each_modality() {
    let page = ReportPage::from_files(&multimodal_files(3)["report"]).unwrap();
    let lines: Vec<(&str, Vec<&str>)> = page
        .sections
        .iter()
        .filter_map(|section| match section {
            Section::Lines(lines) => {
                assert!(lines.series.iter().all(|series| series.points.len() == 5));
                Some((lines.title.as_str(), lines.series.iter().map(|series| series.name.as_str()).collect()))
            }
            _ => None,
        })
        .collect();
    let both = || vec!["person", "loan"];
    assert_eq!(
        lines,
        [
            ("loss of the joint prediction by epoch", vec!["train, joint", "validation, joint"]),
            ("train loss of each modality by epoch", both()),
            ("validation loss of each modality by epoch", both()),
            ("gradient of each modality by epoch", both()),
        ]
    );
    let tables = page.sections.iter().filter_map(|section| match section {
        Section::Table(table) => Some((table.title.as_str(), table.rows.len())),
        _ => None,
    });
    assert_eq!(tables.collect::<Vec<_>>(), [("modalities", 2), ("size", 3)]);
}

#[test]
fn the_target_is_a_class_or_a_number() {
    let reads = |options: &str| infer(options, &two()).map(|reduction| reduction.reads[0].columns.clone());
    assert_eq!(reads("{}").unwrap(), ["age", "amount", "job", "default"]);
    assert!(table().column("default").is_some_and(|column| column.logical == LogicalType::Category));
    assert_eq!(reads(r#"{"task": "regression"}"#).unwrap_err()[0].code.name, "target.task");
}
