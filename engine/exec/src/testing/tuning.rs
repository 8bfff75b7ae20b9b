//! Trials, the choice between them, and what takes part only because of it.

use std::collections::{BTreeMap, BTreeSet};

use engine_core::{Event, RunStatus, TaskStatus};
use engine_plan::{Outlook, Selection};
use engine_table::Cancel;
use proptest::prelude::*;

use super::{Bench, Ran, options, run_in};
use crate::{Chunking, RunOptions};

/// Three trials of a column's scale; what each remembers is what it was fitted on.
fn graph(trials: &str, refit: bool) -> String {
    format!(
        "\
nodes:
  rows: {{uses: test.rows, with: {{path: rows.csv}}}}
  split: {{uses: test.split, with: {{key: id}}, in: rows}}
  scaled: {{uses: test.scale, with: {{column: x, as: scaled}}, in: split}}
  centred: {{uses: test.center, with: {{column: scaled, witness: id}}, in: scaled}}
  memory: {{uses: test.memory, with: {{column: id}}, in: centred}}
  quality: {{uses: test.mean, with: {{column: scaled}}, in: scaled}}
  best: {{uses: test.tune, with: {{trials: [{trials}], refit: {refit}}}, in: {{metrics: quality, report: memory}}}}
  after: {{uses: test.trouble, with: {{mode: fine, salt: 3}}, in: {{after: best}}}}
"
    )
}

const TRIALS: &str = "{scaled.by: 1}, {scaled.by: 3}, {scaled.by: 2}";

fn rows(count: i64, factor: f64) -> String {
    let mut text = "id:int:key,x:float\n".to_owned();
    (0..count).for_each(|id| text.push_str(&format!("{id},{:?}\n", 1.0 + factor * (id % 7) as f64)));
    text
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("rows.csv", &rows(60, 0.5));
    bench
}

fn ids(bench: &Bench, ran: &Ran, text: &str, part: &str) -> BTreeSet<i64> {
    let frame = bench.frame(&bench.plan(text), ran, "split");
    let ids: Vec<i64> = frame.column("id").unwrap().i64().unwrap().into_no_null_iter().collect();
    let parts = frame.column("split").unwrap().str().unwrap().clone();
    ids.into_iter().zip(parts.iter()).filter(|(_, of)| *of == Some(part)).map(|(id, _)| id).collect()
}

fn seen(bench: &Bench, ran: &Ran, text: &str) -> BTreeMap<String, BTreeSet<i64>> {
    let seen: BTreeMap<String, Vec<f64>> =
        bench.files(&bench.plan(text), ran, "best", "report").read_json("seen.json").unwrap();
    seen.into_iter().map(|(part, ids)| (part, ids.into_iter().map(|id| id as i64).collect())).collect()
}

#[test]
fn the_best_trials_artifact_is_given_and_only_its_own_part_runs() {
    let bench = bench();
    let text = graph(TRIALS, false);
    let ran = bench.succeed(&text);
    // The score needs neither of these, so they run for the winner only.
    let not_chosen = ran.with(TaskStatus::NotChosen);
    let expected = [0, 2].map(|trial| ["centred/fit", "centred", "memory"].map(|node| format!("{node}@trial={trial}")));
    assert_eq!(not_chosen, expected.concat());
    let plan = bench.plan(&text);
    let given = |task: &str| bench.files(&plan, &ran, task, "report").digest();
    assert_eq!(given("best"), given("memory@trial=1"));
    // Whoever takes the artifact reads the table of the same trial.
    let frame = bench.frame(&plan, &ran, "best/rows(centred)");
    assert!(frame.equals(&bench.frame(&plan, &ran, "centred@trial=1")));
    let again = bench.succeed(&text);
    assert_eq!(again.with(TaskStatus::Ran), Vec::<&str>::new());
    assert!(bench.preview(&plan, &options()).is_nothing_to_do());
}

#[test]
fn only_the_chosen_trial_is_fitted_again_and_on_the_validation_rows_too() {
    let bench = bench();
    let text = graph(TRIALS, true);
    let before = bench.preview(&bench.plan(&text), &options());
    let waiting: Vec<&str> = before
        .tasks
        .iter()
        .filter(|task| task.task.contains("@refit,"))
        .map(|task| {
            assert_eq!(task.outlook, Outlook::MayRun, "{} is not known before the choice", task.task);
            task.task.as_str()
        })
        .collect();
    assert_eq!(waiting.len(), 12, "{waiting:?}");
    let ran = bench.succeed(&text);
    let not_chosen = ran.with(TaskStatus::NotChosen);
    assert_eq!(not_chosen.len(), 8, "{not_chosen:?}");
    assert!(not_chosen.iter().all(|task| task.contains("@refit,") && !task.ends_with("trial=1")), "{not_chosen:?}");
    let seen = seen(&bench, &ran, &text);
    let of = |part: &str| ids(&bench, &ran, &text, part);
    assert_eq!(seen["train"], of("train").union(&of("validation")).copied().collect());
    assert!(seen["validation"].is_empty() && !of("validation").is_empty());
    assert_eq!(ran.outcome.status, RunStatus::Succeeded);
    assert_eq!(ran.outcome.tasks.iter().find(|task| task.task == "centred@refit,trial=0").unwrap().key, None);

    let after = bench.preview(&bench.plan(&text), &options());
    assert!(after.is_nothing_to_do());
    assert!(after.tasks.iter().all(|task| !task.task.contains("refit,trial=0")), "what was not chosen is left out");
    let again = bench.succeed(&text);
    assert_eq!(again.with(TaskStatus::Ran), Vec::<&str>::new());
    assert_eq!(again.with(TaskStatus::NotChosen).len(), 8);
}

#[test]
fn a_new_trial_runs_alone_and_another_winner_is_fitted_then() {
    let bench = bench();
    bench.succeed(&graph(TRIALS, true));
    let more = graph(&format!("{TRIALS}, {{scaled.by: 7}}"), true);
    let ran = bench.succeed(&more);
    let scored: Vec<&str> = ran.with(TaskStatus::Ran).into_iter().filter(|task| task.starts_with("quality")).collect();
    assert_eq!(scored, ["quality@trial=3"]);
    let fitted: Vec<&str> = ran.with(TaskStatus::Ran).into_iter().filter(|task| task.contains("refit")).collect();
    // `scaled` learns nothing, so it is the trial's own work; `memory` reads a column that no trial changes: a hit.
    assert_eq!(fitted, ["scaled@refit,trial=3", "centred/fit@refit,trial=3", "centred@refit,trial=3"]);
    let same = ran.outcome.tasks.iter().find(|task| task.task == fitted[0]).unwrap();
    assert_eq!(same.reason.as_deref(), Some("the same work as `scaled@trial=3`, done once"));
    // A trial that changes nothing of the choice leaves everything below it alone.
    let worse = graph(&format!("{TRIALS}, {{scaled.by: 7}}, {{scaled.by: -1}}"), true);
    let ran = bench.succeed(&worse);
    let below: Vec<&str> = ran.with(TaskStatus::Ran).into_iter().filter(|task| !task.contains('@')).collect();
    assert_eq!(below, ["best/choice"]);
}

#[test]
fn a_stopped_tuning_goes_on_where_it_was() {
    let bench = bench();
    let text = graph(TRIALS, true);
    let cancel = Cancel::new();
    let watch = |event: &Event| {
        if matches!(event, Event::TaskFinished { task, status: TaskStatus::Ran, .. } if task.starts_with("quality@")) {
            cancel.cancel();
        }
    };
    let one = RunOptions { threads: 1, ..options() };
    let stopped = run_in(&bench.store, &bench.plan(&text), &one, &cancel, &watch);
    assert_eq!(stopped.outcome.status, RunStatus::Cancelled);
    let done: BTreeSet<String> = stopped.with(TaskStatus::Ran).into_iter().map(str::to_owned).collect();
    assert!(done.iter().any(|task| task.starts_with("quality@")));
    assert!(!stopped.with(TaskStatus::Cancelled).is_empty());
    let ran = bench.succeed(&text);
    let again: Vec<&str> = ran.with(TaskStatus::Ran).into_iter().filter(|task| done.contains(*task)).collect();
    assert!(again.is_empty(), "{again:?} ran twice");
    let whole = self::bench();
    assert_eq!(ran.values(&bench.store), whole.succeed(&text).values(&whole.store));
}

#[test]
fn a_trial_that_fails_fails_the_tuning_and_the_others_are_kept() {
    let bench = bench();
    let bad = graph("{scaled.by: 1}, {scaled.by: 3, quality.limit: 0}, {scaled.by: 2}", true);
    let ran = bench.run(&bad);
    assert_eq!(ran.outcome.status, RunStatus::Failed);
    assert_eq!(ran.outcome.failures[0].to_string(), "`quality@trial=1` (`test.mean`) failed: the mean is above 0");
    assert_eq!(ran.error("best"), "skipped because `quality@trial=1` failed");
    assert_eq!(ran.error("memory@refit,trial=0"), "skipped because `quality@trial=1` failed");
    let ran = bench.succeed(&graph(TRIALS, true));
    assert!(
        ran.statuses()["quality@trial=0"] == TaskStatus::Hit && ran.statuses()["quality@trial=2"] == TaskStatus::Hit
    );
}

#[test]
fn threads_and_chunks_change_no_value_of_a_tuning() {
    let text = graph(TRIALS, true);
    let reference = bench();
    let expected = reference.succeed(&text).values(&reference.store);
    for (threads, chunking) in [(1, Chunking::ByRows(16)), (4, Chunking::ByWeight), (4, Chunking::ByRows(16))] {
        let bench = bench();
        let options = RunOptions { threads, chunking, ..options() };
        let ran = bench.run_with(&bench.plan(&text), &options, &Cancel::new());
        assert_eq!(ran.values(&bench.store), expected, "{threads} threads, {chunking:?}");
    }
}

#[test]
fn what_is_there_to_be_tried_can_be_selected_by_its_name() {
    let bench = bench();
    let plan = bench.plan(&graph(TRIALS, false));
    let only = |node: &str| {
        let selection = Selection { only: vec![node.to_owned()], ..Selection::default() };
        let ran = bench.run_with(&plan, &RunOptions { selection, ..options() }, &Cancel::new());
        ran.statuses().into_keys().filter(|task| task.starts_with(node)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(only("quality"), ["quality@trial=0", "quality@trial=1", "quality@trial=2"]);
}

#[derive(Debug, Clone)]
enum Edit {
    Trials(Vec<u8>),
    Refit(bool),
    Rows(i8),
    Force,
}

fn an_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => prop::collection::vec(0u8..4, 2..4).prop_map(Edit::Trials),
        2 => any::<bool>().prop_map(Edit::Refit),
        2 => (-2i8..3).prop_map(Edit::Rows),
        1 => Just(Edit::Force),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 40, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn a_run_of_a_tuning_does_what_its_preview_says(edits in prop::collection::vec(an_edit(), 1..6), threads in 1usize..4) {
        let bench = bench();
        let (mut trials, mut refit) = (vec![1, 2, 3], true);
        for edit in edits {
            let mut options = RunOptions { threads, ..options() };
            match edit {
                // Trials of one value would leave nothing to choose.
                Edit::Trials(values) if values.iter().any(|value| *value != values[0]) => trials = values,
                Edit::Refit(value) => refit = value,
                Edit::Rows(factor) => bench.write("rows.csv", &rows(60, f64::from(factor))),
                Edit::Force => options.selection.force = true,
                Edit::Trials(_) => {}
            }
            let listed: Vec<String> = trials.iter().map(|by| format!("{{scaled.by: {by}}}")).collect();
            let plan = bench.plan(&graph(&listed.join(", "), refit));
            let preview = bench.preview(&plan, &options);
            let ran = bench.run_with(&plan, &options, &Cancel::new());
            prop_assert!(ran.outcome.failures.is_empty(), "{:?}", ran.outcome.failures);
            let mut statuses = ran.statuses();
            for task in &preview.tasks {
                let status = statuses.remove(task.task.as_str()).unwrap();
                let is_right = match task.outlook {
                    Outlook::Run => status == TaskStatus::Ran,
                    Outlook::Hit => status == TaskStatus::Hit,
                    Outlook::MayRun => matches!(status, TaskStatus::Ran | TaskStatus::Hit | TaskStatus::NotChosen),
                };
                prop_assert!(is_right, "{} was {} and is {}", task.task, task.outlook.as_str(), status.as_str());
            }
            prop_assert!(statuses.values().all(|status| *status == TaskStatus::NotChosen), "{:?}", statuses);
        }
    }
}
