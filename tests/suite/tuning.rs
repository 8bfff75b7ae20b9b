//! Tuning from outside: trials over options anywhere in the graph, the model of the best, its scores and its bundle.

use std::collections::BTreeSet;

use engine_core::TaskStatus;
use engine_exec::Chunking;
use engine_store::Store;
use engine_table::Chosen;
use engine_table::deployment::Deployment;
use engine_table::report::{ReportPage, Section};
use serde_json::{Value, json};

use crate::contracts::{differ_nowhere, learning, made};
use crate::process::said;
use crate::workshop::{Project, Ran};

/// Four trials of an option of the preparation and one of the training.
pub const PIPELINE: &str = r#"fuseline: 1
name: tuning
seed: 1
nodes:
  loans: {uses: ingest.csv, with: {path: loans/loans.csv, roles: {loan_id: key, default: target}}}
  split: {uses: split.random, with: {shares: {train: 0.6, validation: 0.2, test: 0.2}}, in: loans}
  filled: {uses: clean.impute, with: {columns: [employment_years], strategy: median}, in: split}
  scaled: {uses: encode.standardize, with: {columns: [age, income, amount, employment_years]}, in: filled}
  person: {uses: encode.table, with: {columns: [age, income, amount, employment_years], hidden: [8]}, in: scaled}
  risk: {uses: train.multimodal, with: {target: default, epochs: 2}, in: {encoders: [person]}}
  scored: {uses: evaluate.classification, with: {on: validation, positive: "yes", resamples: 100}, in: risk}
  tuned:
    uses: tune.grid
    with: {space: {filled.strategy: [median, mean], risk.learning_rate: [0.003, 0.03]}, metric: roc_auc, goal: maximize, refit: train+validation}
    in: {metrics: scored, model: risk}
  quality: {uses: evaluate.classification, with: {positive: "yes", resamples: 100}, in: tuned}
  bundle: {uses: deploy.bundle, with: {request: loans, out: tuned.fuse}, in: {model: tuned}}
"#;

fn project() -> Project {
    Project::of_loans(PIPELINE, 160)
}

/// The options of the chosen trial, in the order of their names, and its number.
fn winner(ran: &Ran, store: &Store) -> (usize, Vec<Value>) {
    let metrics = ran.files("tuned/choice", "metrics", store);
    let number = Chosen::of(&metrics).unwrap().instance;
    let trials: Value = metrics.read_json("trials.json").unwrap();
    assert_eq!(trials[number]["chosen"], true);
    (number, trials[number]["options"].as_object().unwrap().values().cloned().collect())
}

#[test]
fn the_tuned_model_is_the_one_that_the_best_options_train() {
    let mut tuned = project();
    tuned.replace(", refit: train+validation", "");
    let store = Store::temporary().unwrap();
    let ran = tuned.run(&store);
    let (number, options) = winner(&ran, &store);
    let own = ran.files(&format!("risk@trial={number}"), "model", &store).digest();
    assert_eq!(ran.files("tuned", "model", &store).digest(), own);
    // The same pipeline without a tuning, with the best options written down: the same model, scores and deployment.
    let mut plain = tuned;
    let tuning = &PIPELINE[PIPELINE.find("  tuned:").unwrap()..PIPELINE.find("  quality:").unwrap()];
    plain.replace(&tuning.replace(", refit: train+validation", ""), "");
    plain.replace("in: tuned", "in: risk");
    plain.replace("model: tuned", "model: risk");
    plain.replace("strategy: median", &format!("strategy: {}", options[0].as_str().unwrap()));
    plain.replace("epochs: 2", &format!("epochs: 2, learning_rate: {}", options[1]));
    let again = plain.run(&store);
    assert_eq!(again.files("risk", "model", &store).digest(), own);
    assert!(!again.executed().iter().any(|task| task.starts_with("risk")), "{:?}", again.executed());
    assert_eq!(again.outcome.metrics["quality"], ran.outcome.metrics["quality"]);
    let deployment = |ran: &Ran| {
        let files = ran.files("bundle", "deployment", &store);
        let (_, bytes) = files.iter().next().unwrap();
        Deployment::decode(bytes).unwrap()
    };
    let steps = |ran: &Ran| deployment(ran).steps.iter().map(|step| format!("{step:?}")).collect::<Vec<_>>();
    assert_eq!(steps(&ran), steps(&again));
}

#[test]
fn contract_1_a_test_row_runs_no_trial_again() {
    let project = project();
    let store = Store::temporary().unwrap();
    let before = project.run(&store);
    let row = before.split("split", &store).iter().position(|part| part == "test").unwrap();
    let mut changed = project.data.clone();
    let place = changed.place("income");
    "77.25".clone_into(&mut changed.rows[row][place]);
    let after = project.run_with(&changed, &store);
    let executed: BTreeSet<&str> = after.executed().into_iter().collect();
    let learnt: Vec<_> = learning(&after).intersection(&executed).copied().collect();
    assert!(learnt.is_empty(), "{learnt:?} learnt again from a test row");
    assert!(
        !executed.iter().any(|task| task.starts_with("scored") || task.starts_with("tuned/choice")),
        "{executed:?}"
    );
    assert!(executed.contains("quality"), "{executed:?}");
}

#[test]
fn contract_3_chunks_change_no_bit_of_a_tuning() {
    let (one, other) = (Store::temporary().unwrap(), Store::temporary().unwrap());
    let few = project().run_in(&one, Chunking::ByRows(1_000_000));
    let many = project().run_in(&other, Chunking::ByRows(16));
    differ_nowhere(&made(&few, &one), &made(&many, &other));
}

#[test]
fn contract_3_threads_change_no_bit_of_a_tuning() {
    let project = project();
    project.write();
    let digests = |threads: &str| {
        let store = format!("store-{threads}");
        said(project.path(), &["run", "pipeline.yaml", "--threads", threads, "--store", &store]).ok();
        let shown = said(project.path(), &["show", "last", "--json", "--store", &store]).ok().json();
        let tasks = shown["tasks"].as_array().unwrap().clone();
        tasks.into_iter().map(|task| json!([task["task"], task["key"]])).collect::<Vec<Value>>()
    };
    let one = digests("1");
    assert!(one.len() > 20);
    assert_eq!(one, digests("4"));
}

#[test]
fn only_the_chosen_trial_is_fitted_on_train_and_validation_rows() {
    let project = project();
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);
    let (number, _) = winner(&ran, &store);
    let chosen = format!("risk@refit,trial={number}");
    assert!(ran.executed().contains(&chosen.as_str()));
    assert_eq!(ran.with(TaskStatus::NotChosen).iter().filter(|task| task.starts_with("risk@")).count(), 3);
    assert_eq!(ran.files("tuned", "model", &store).digest(), ran.files(&chosen, "model", &store).digest());
    assert_ne!(
        ran.files("tuned", "model", &store).digest(),
        ran.files(&format!("risk@trial={number}"), "model", &store).digest()
    );
    let page = ReportPage::from_files(&ran.files("tuned/choice", "report", &store)).unwrap();
    let Section::Table(trials) = &page.sections[1] else { panic!("{:?}", page.sections) };
    assert_eq!(trials.columns[1..4], ["filled.strategy", "risk.learning_rate", "roc auc"]);
    assert_eq!(trials.rows.len(), 4);
    let second = project.run(&store);
    assert!(second.executed().is_empty(), "{:?}", second.executed());
}

#[test]
fn a_refit_goes_through_as_many_epochs_as_were_best_in_the_trial() {
    let mut project = project();
    project.replace("epochs: 2", "epochs: 40, early_stopping: {patience: 2}");
    project.replace("[0.003, 0.03]", "[0.1, 0.03]");
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);
    let (number, _) = winner(&ran, &store);
    let epochs = |task: &str| ran.files(task, "model", &store).read_json::<usize>("epochs.json").unwrap();
    let best = epochs(&format!("risk@trial={number}"));
    assert!(best < 38, "it stopped by its validation rows");
    let refitted = format!("risk@refit,trial={number}");
    assert_eq!(epochs(&refitted), best);
    let page = ReportPage::from_files(&ran.files(&refitted, "report", &store)).unwrap();
    let Section::Text { paragraphs, .. } = &page.sections[0] else { panic!("{:?}", page.sections) };
    assert_eq!(paragraphs[0], format!("Training went through all {best} epochs."));
    assert!(paragraphs[1].starts_with("The validation rows are among the train rows here"), "{paragraphs:?}");
}

#[test]
fn over_folds_a_trial_is_scored_by_its_mean_and_test_rows_stay_untouched() {
    let mut project = project();
    project.replace(
        "split.random, with: {shares: {train: 0.6, validation: 0.2, test: 0.2}}",
        "split.folds, with: {folds: 3, test: 0.25, stratify: default}",
    );
    project.replace("  tuned:", "  folded: {uses: evaluate.cross_validate, in: scored}\n  tuned:");
    project.replace("metrics: scored", "metrics: folded");
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);
    let (number, _) = winner(&ran, &store);
    let trained: Vec<&str> = ran.executed().into_iter().filter(|task| task.starts_with("risk@")).collect();
    // Four trials of three folds; of the winner its own, which says after how many epochs it was best, and the refit.
    assert_eq!(trained.len(), 14, "{trained:?}");
    assert!(trained.contains(&format!("risk@refit,trial={number}").as_str()));
    assert!(ran.executed().contains(&"scored@trial=2,fold=1"));
    let folded: Value =
        ran.files(&format!("folded@trial={number}"), "metrics", &store).read_json("metrics.json").unwrap();
    let own: Value = ran.files("tuned/choice", "metrics", &store).read_json("metrics.json").unwrap();
    assert_eq!(own["roc_auc"], folded["roc_auc"]);
    assert!(own["std.roc_auc"].is_object() && own["roc_auc"]["low"].is_number());
}

#[test]
fn in_every_fold_of_a_cross_validation_the_options_are_tuned_anew() {
    let mut project = project();
    project.replace(
        "split.random, with: {shares: {train: 0.6, validation: 0.2, test: 0.2}}",
        "split.folds, with: {folds: 2, validation: 0.25, stratify: default}",
    );
    project.replace("filled.strategy: [median, mean]", "filled.strategy: [median]");
    project.replace("  bundle:", "  folded: {uses: evaluate.cross_validate, in: quality}\n  bundle:");
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);
    for task in ["risk@fold=1,trial=1", "tuned/choice@fold=1", "quality@fold=1", "folded"] {
        assert!(ran.executed().contains(&task), "{task} of {:?}", ran.executed());
    }
    // Of the graph as written and of each fold, one of two trials is fitted again.
    assert_eq!(ran.with(TaskStatus::NotChosen).iter().filter(|task| task.starts_with("risk@")).count(), 3);
    assert!(project.run(&store).executed().is_empty());
}

#[test]
fn trials_of_a_random_search_draw_what_they_drew_when_more_are_asked_for() {
    let mut project = project();
    project.replace("tune.grid", "tune.random");
    project.replace(
        "{filled.strategy: [median, mean], risk.learning_rate: [0.003, 0.03]}",
        "{filled.strategy: [median, mean], risk.learning_rate: {low: 0.001, high: 0.1, log: true}}, trials: 3",
    );
    let store = Store::temporary().unwrap();
    project.run(&store);
    project.replace("trials: 3", "trials: 5");
    let ran = project.run(&store);
    let scored: Vec<&str> = ran.executed().into_iter().filter(|task| task.starts_with("scored@")).collect();
    assert_eq!(scored, ["scored@trial=3", "scored@trial=4"]);
}

#[test]
fn a_plan_and_a_picture_show_the_trials() {
    let project = project();
    project.write();
    let plan = said(project.path(), &["plan", "pipeline.yaml", "--json"]);
    assert_eq!(plan.code, Some(2));
    let plan = plan.json();
    let task = |name: &str| plan["tasks"].as_array().unwrap().iter().find(|task| task["task"] == name).unwrap().clone();
    assert_eq!(task("risk@trial=3")["overrides"], json!({"filled.strategy": "mean", "risk.learning_rate": 0.03}));
    assert_eq!(task("risk@refit,trial=3")["outlook"], "may_run");
    let text = said(project.path(), &["plan", "pipeline.yaml"]).stdout;
    assert!(text.contains("trial=1  filled.strategy: \"median\", risk.learning_rate: 0.03\n"), "{text}");
    let graph = said(project.path(), &["graph", "pipeline.yaml", "--format", "dot"]).ok().stdout;
    assert!(graph.contains("\"risk\" -> \"tuned\"") && graph.contains("\"scored\" -> \"tuned\""), "{graph}");
    assert!(graph.contains("\"tuned\" -> \"quality\""), "{graph}");
}
