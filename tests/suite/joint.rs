//! Text, pictures, sounds and table rows, some of them missing, from claims to answers: one joint model.

use engine_store::Store;
use engine_table::report::{ReportPage, Section};
use serde_json::{Map, Value};

use crate::workshop::{Project, Ran};

fn metrics(ran: &Ran, node: &str, store: &Store) -> Map<String, Value> {
    ran.files(node, "metrics", store).read_json("metrics.json").unwrap()
}

fn page(ran: &Ran, node: &str, store: &Store) -> ReportPage {
    ReportPage::from_files(&ran.files(node, "report", store)).unwrap()
}

#[test]
fn an_ablation_trains_again_without_each_encoder_and_with_each_alone() {
    let project = Project::of_text(
        r#"fuseline: 1
name: parts
seed: 1
nodes:
  claims: {uses: ingest.claims, with: {rows: 80}}
  split: {uses: split.random, with: {shares: {train: 0.6, validation: 0.2, test: 0.2}}, in: claims}
  scaled: {uses: encode.standardize, with: {columns: [amount, days_to_report, age]}, in: split}
  way: {uses: encode.table, with: {columns: [channel], hidden: [4]}, in: scaled}
  sums: {uses: encode.table, with: {columns: [amount, days_to_report], hidden: [4]}, in: scaled}
  noise: {uses: encode.table, with: {columns: [age], hidden: [4]}, in: scaled}
  fraud:
    uses: train.multimodal
    with: {epochs: 2, loss: {modalities: {way: 0.5, noise: 0.1}}}
    in: {encoders: [way, sums, noise]}
  quality: {uses: evaluate.classification, with: {'on': validation, resamples: 100}, in: fraud}
  parts: {uses: evaluate.ablation, with: {encoders: [way, sums]}, in: quality}
"#,
    );
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);
    let executed = ran.executed();
    for variant in ["without=way", "without=sums", "alone=way", "alone=sums"] {
        for node in ["fraud", "quality"] {
            assert!(executed.contains(&format!("{node}@{variant}").as_str()), "{executed:?}");
        }
    }
    assert_eq!(executed.iter().filter(|task| task.starts_with("fraud")).count(), 5, "{executed:?}");
    assert_eq!(executed.iter().filter(|task| task.starts_with("scaled")).count(), 2, "what no variant changes runs once");

    let (whole, parts) = (metrics(&ran, "quality", &store), metrics(&ran, "parts", &store));
    assert_eq!(parts["accuracy"], whole["accuracy"]);
    let alone = metrics(&ran, "quality@alone=sums", &store);
    assert_eq!(parts["alone.sums.log_loss"], alone["log_loss"]);
    assert!(!alone.contains_key("best_modality.log_loss"), "a model of one encoder has no modalities");
    let without = metrics(&ran, "quality@without=way", &store);
    assert_eq!(parts["without.way.log_loss"], without["log_loss"]);
    assert!(without.contains_key("modality.noise.log_loss") && !without.contains_key("modality.way.log_loss"));
    let Section::Table(table) = &page(&ran, "parts", &store).sections[1] else { panic!("the scores") };
    let columns = ["score", "all encoders", "without way", "without sums", "way alone", "sums alone"];
    assert_eq!(table.columns, columns);

    assert_eq!(project.run(&store).executed(), Vec::<&str>::new());
}
