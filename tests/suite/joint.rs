//! Text, pictures, sounds and table rows, some of them missing, from claims to answers: one joint model.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine_core::Digest;
use engine_exec::Chunking;
use engine_store::Store;
use engine_table::Blobs;
use engine_table::deployment::{Deployment, Lent, Runner};
use engine_table::report::{ReportPage, Section};
use polars::prelude::{Column, DataFrame};
use serde_json::{Map, Value, json};

use crate::process::Server;
use crate::workshop::{Project, Ran, texts};

const PIPELINE: &str = r#"fuseline: 1
name: claims
seed: 3
nodes:
  claims:
    uses: ingest.claims
    with: {rows: 150, missing: {text: 0.3, image: 0.3, sound: 0.3, table: 0.3}}
  split: {uses: split.random, with: {shares: {train: 0.6, validation: 0.2, test: 0.2}}, in: claims}
  tokens: {uses: extract.tokenize, with: {column: description, as: words, max_length: 10}, in: split}
  pictures: {uses: extract.image_tensor, with: {column: receipt, size: [16, 16], grey: true, as: picture}, in: split}
  sounds:
    uses: extract.log_mel
    with: {column: voice, sample_rate: 4000, frames: 12, mels: 10, n_fft: 256, hop: 100, as: spectrogram}
    in: split
  known: {uses: extract.columns, with: {columns: {has_row: "amount IS NOT NULL"}}, in: split}
  filled: {uses: clean.impute, with: {columns: [amount, days_to_report]}, in: known}
  scaled: {uses: encode.standardize, with: {columns: [amount, days_to_report]}, in: filled}
  text: {uses: encode.text, with: {column: words, architecture: transformer, width: 8, heads: 2, layers: 1}, in: tokens}
  photo: {uses: encode.image, with: {column: picture, channels: [4, 4], width: 8}, in: pictures}
  voice: {uses: encode.sound, with: {column: spectrogram, hidden: 8, width: 8}, in: sounds}
  row: {uses: encode.table, with: {columns: [channel, amount, days_to_report], present: has_row, hidden: [8]}, in: scaled}
  fraud:
    uses: train.multimodal
    with: {fusion: {architecture: gated}, loss: {modalities: {row: 0.5}}, epochs: 3, batch_size: 32, learning_rate: 0.01}
    in: {encoders: [text, photo, voice, row]}
  quality: {uses: evaluate.classification, with: {resamples: 100}, in: fraud}
  choice: {uses: evaluate.classification, with: {'on': validation, resamples: 100}, in: fraud}
  said:
    uses: predict.table
    with: {classes: ['true']}
    in: {table: [tokens, pictures, sounds, scaled], model: fraud}
  bundle: {uses: deploy.bundle, with: {request: claims, out: claims.fuse}, in: fraud}
"#;

const ROWS: usize = 150;
const MODALITIES: [(&str, &str); 4] =
    [("text", "description"), ("photo", "receipt"), ("voice", "voice"), ("row", "amount")];
const NUMBERS: [&str; 3] = ["confidence", "probability_false", "probability_true"];

/// In which claims a column is there.
fn is_there(claims: &DataFrame, column: &str) -> Vec<bool> {
    claims.column(column).unwrap().is_not_null().iter().map(|is| is == Some(true)).collect()
}

fn numbers(frame: &DataFrame, column: &str) -> Vec<u64> {
    frame.column(column).unwrap().f64().unwrap().iter().map(|value| value.unwrap().to_bits()).collect()
}

fn flags(frame: &DataFrame) -> Vec<bool> {
    frame.column("no_evidence").unwrap().bool().unwrap().iter().map(|flag| flag.unwrap()).collect()
}

fn metrics(ran: &Ran, node: &str, store: &Store) -> Map<String, Value> {
    ran.files(node, "metrics", store).read_json("metrics.json").unwrap()
}

fn page(ran: &Ran, node: &str, store: &Store) -> ReportPage {
    ReportPage::from_files(&ran.files(node, "report", store)).unwrap()
}

#[test]
fn four_modalities_are_trained_together_and_each_is_scored_by_itself() {
    let project = Project::of_text(PIPELINE);
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);

    let curves: Vec<(String, Vec<String>)> = page(&ran, "fraud", &store)
        .sections
        .into_iter()
        .filter_map(|section| match section {
            Section::Lines(lines) => {
                assert!(lines.series.iter().all(|series| series.points.len() == 3), "one point for each epoch");
                Some((lines.title, lines.series.into_iter().map(|series| series.name).collect()))
            }
            _ => None,
        })
        .collect();
    let each: Vec<String> = MODALITIES.iter().map(|(node, _)| (*node).to_owned()).collect();
    assert_eq!(curves.len(), 4, "{curves:?}");
    assert!(curves[0].0.starts_with("loss of the joint prediction") && curves[0].1.len() == 2);
    for (title, names) in &curves[1..] {
        assert!(title.contains("of each modality") && *names == each, "{title}: {names:?}");
    }

    for (node, rows) in [("quality", "test"), ("choice", "validation")] {
        let metrics = metrics(&ran, node, &store);
        for score in ["accuracy", "f1_macro", "balanced_accuracy", "log_loss", "roc_auc"] {
            let value = |name: &str| metrics[name]["value"].as_f64().unwrap();
            let best = value(&format!("best_modality.{score}"));
            let of = |(node, _): &(&str, &str)| value(&format!("modality.{node}.{score}"));
            assert!(MODALITIES.iter().map(of).any(|single| single == best), "{node} {score}");
            let difference = &metrics[&format!("best_modality_difference.{score}")];
            assert!((difference["value"].as_f64().unwrap() - (value(score) - best)).abs() < 1e-12);
            assert!(difference["low"].as_f64().unwrap() <= difference["high"].as_f64().unwrap());
        }
        let text = serde_json::to_string(&page(&ran, node, &store)).unwrap();
        assert!(text.contains(&format!("{rows} rows, 2 classes")), "{text}");
        let chosen = if rows == "test" { "scored best on the validation rows" } else { "which favours it" };
        assert!(text.contains(chosen), "{text}");
    }

    let (claims, said) = (ran.frame("claims", &store), ran.frame("said", &store));
    let mut lacking = vec![true; ROWS];
    for (_, column) in MODALITIES {
        lacking.iter_mut().zip(is_there(&claims, column)).for_each(|(lacks, is)| *lacks &= !is);
    }
    assert_eq!(texts(&claims, "claim_id"), texts(&said, "claim_id"));
    assert!(lacking.contains(&true), "some claims lack everything");
    assert_eq!(flags(&said), lacking);
    let priors: Vec<u64> = numbers(&said, "probability_true");
    let priors: Vec<u64> =
        priors.into_iter().zip(&lacking).filter(|(_, lacks)| **lacks).map(|(prior, _)| prior).collect();
    assert!(priors.iter().all(|prior| *prior == priors[0]), "they are all given the same");
}

#[test]
fn contract_4_a_joint_model_is_served_as_it_was_trained_bit_for_bit() {
    let project = Project::of_text(PIPELINE);
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);
    let (claims, said) = (ran.frame("claims", &store), ran.frame("said", &store));

    let bytes = std::fs::read(project.path().join("claims.fuse")).unwrap();
    let deployment = Deployment::decode(&bytes).unwrap();
    let runner = Runner::new(&deployment, &fuseline_tests::registry()).unwrap();
    let (_lent, asked) = request(&runner, &claims, &*store.blobs());
    for batch in [1, 2, 3, 7, 64, ROWS] {
        for start in (0..ROWS).step_by(batch) {
            let answer = runner.predict(&asked.slice(start as i64, batch)).unwrap();
            let end = (start + batch).min(ROWS);
            assert_eq!(numbers(&answer, "probability_true"), numbers(&said, "probability_true")[start..end], "{batch}");
            assert_eq!(texts(&answer, "prediction"), texts(&said, "prediction")[start..end], "{batch}");
            assert_eq!(flags(&answer), flags(&said)[start..end], "{batch}");
        }
    }

    let server = Server::start(project.path(), "claims.fuse");
    let rows: Vec<Value> = (0..20).map(|row| sent(&runner, &claims, row, &*store.blobs())).collect();
    let (status, answer) = server.request("POST", "/predict", &json!({ "rows": rows }).to_string());
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    for (row, answer) in answer["predictions"].as_array().unwrap().iter().enumerate() {
        let found = NUMBERS.map(|name| answer[name].as_f64().unwrap());
        assert_eq!(found[2].to_bits(), numbers(&said, "probability_true")[row]);
        assert_eq!(found[0], found[1].max(found[2]));
        assert_eq!(answer["no_evidence"], json!(flags(&said)[row]));
    }
    assert!(server.stop().success());
}

/// The claims as a deployment is asked, with their pictures and sounds.
fn request(runner: &Runner, claims: &DataFrame, blobs: &dyn Blobs) -> (Vec<Lent>, DataFrame) {
    let mut lent = Vec::new();
    let columns = runner.request().iter().map(|column| {
        let cells = claims.column(&column.name).unwrap();
        if ["image", "audio"].contains(&column.logical.family()) {
            let digests = cells.str().unwrap().iter().map(|cell| {
                let digest: Digest = cell?.parse().unwrap();
                let kept = runner.lend(Arc::<[u8]>::from(&*blobs.read(&digest).unwrap()));
                lent.push(kept);
                lent.last().map(|kept| kept.digest().to_string())
            });
            Column::new(column.name.as_str().into(), digests.collect::<Vec<Option<String>>>())
        } else {
            cells.clone()
        }
    });
    let columns: Vec<Column> = columns.collect();
    (lent, DataFrame::new(claims.height(), columns).unwrap())
}

/// A claim as a client sends it: pictures and sounds as base64.
fn sent(runner: &Runner, claims: &DataFrame, row: usize, blobs: &dyn Blobs) -> Value {
    let cell = |name: &str, family: &str| {
        let cells = claims.column(name).unwrap();
        match family {
            "image" | "audio" => {
                let digest = cells.str().unwrap().get(row).map(|cell| cell.parse::<Digest>().unwrap());
                json!(digest.map(|digest| STANDARD.encode(&*blobs.read(&digest).unwrap())))
            }
            "int" => json!(cells.i64().unwrap().get(row)),
            "float" => json!(cells.f64().unwrap().get(row)),
            _ => json!(cells.str().unwrap().get(row)),
        }
    };
    let columns =
        runner.request().iter().map(|column| (column.name.clone(), cell(&column.name, column.logical.family())));
    Value::Object(columns.collect())
}

#[test]
fn equal_claims_give_equal_models_on_any_chunks_and_nothing_runs_twice() {
    let project = Project::of_text(PIPELINE);
    let (one, other) = (Store::temporary().unwrap(), Store::temporary().unwrap());
    let ran = project.run(&one);
    let again = project.run_in(&other, Chunking::ByRows(16));
    for (node, port) in [("fraud", "model"), ("fraud", "report"), ("quality", "metrics")] {
        assert_eq!(ran.files(node, port, &one), again.files(node, port, &other), "{node}.{port}");
    }
    assert_eq!(project.run(&one).executed(), Vec::<&str>::new());
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
    assert_eq!(
        executed.iter().filter(|task| task.starts_with("scaled")).count(),
        2,
        "what no variant changes runs once"
    );

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
