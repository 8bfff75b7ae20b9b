//! What a run does when tasks fail, panic, hang, recover, or ask for much.

use std::collections::BTreeSet;
use std::time::Instant;

use engine_core::{Event, RunStatus, TaskStatus};
use engine_plan::Selection;
use engine_store::RunState;
use engine_table::Cancel;

use super::{Bench, options, run_in};
use crate::{OnFailure, RunOptions};

fn trouble(id: &str, mode: &str, more: &str, after: Option<&str>) -> String {
    let after = after.map_or(String::new(), |after| format!(", in: {{after: {after}}}"));
    let salt = id.bytes().fold(0u64, |salt, byte| salt * 31 + u64::from(byte));
    format!("  {id}: {{uses: test.trouble, with: {{mode: {mode}, salt: {salt}}}{more}{after}}}\n")
}

fn nodes(entries: &[String]) -> String {
    format!("nodes:\n{}", entries.concat())
}

#[test]
fn a_failure_skips_what_is_below_it_and_the_rest_goes_on() {
    let bench = Bench::new();
    let text = nodes(&[
        trouble("bad", "fail", "", None),
        trouble("below", "fine", "", Some("bad")),
        trouble("deeper", "fine", "", Some("below")),
        trouble("other", "fine", "", None),
        trouble("beside", "fine", "", Some("other")),
    ]);
    let ran = bench.run(&text);
    assert_eq!(ran.outcome.status, RunStatus::Failed);
    assert_eq!(ran.with(TaskStatus::Ran), ["other", "beside"]);
    assert_eq!(ran.with(TaskStatus::Skipped), ["below", "deeper"]);
    assert_eq!(ran.error("deeper"), "skipped because `bad` failed");
    let failure = &ran.outcome.failures[0];
    assert_eq!(failure.to_string(), "`bad` (`test.trouble`) failed: column `a` has 3 gaps");

    assert_eq!(ran.outcome.tasks[3].reason.as_deref(), Some("first run"));

    // Finished work was kept.
    let again = bench.run(&text);
    assert_eq!(again.with(TaskStatus::Hit), ["other", "beside"]);
}

#[test]
fn a_panic_is_the_failure_of_one_task() {
    let bench = Bench::new();
    let text = nodes(&[trouble("bad", "panic", "", None), trouble("other", "fine", "", None)]);
    let ran = bench.run(&text);
    assert_eq!(ran.with(TaskStatus::Ran), ["other"]);
    let error = ran.error("bad");
    assert!(error.contains("panicked") && error.contains("index 7 out of bounds"), "{error}");
}

#[test]
fn what_may_work_when_tried_again_is_tried_again() {
    let bench = Bench::new();
    let text = "nodes:\n  flaky: {uses: test.trouble, with: {mode: flaky, tries: tries.txt}}\n";
    let ran = bench.succeed(text);
    let told: Vec<(u32, f64)> = ran
        .events
        .iter()
        .filter_map(|event| match event {
            Event::TaskRetrying { attempt, wait_seconds, error, .. } => {
                assert_eq!(error, "the line is busy");
                Some((*attempt, *wait_seconds))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [(2, 0.001), (3, 0.002)]);
    let attempts = ran.events.iter().filter(|event| matches!(event, Event::TaskStarted { .. })).count();
    assert_eq!(attempts, 3);
}

#[test]
fn a_plain_failure_is_tried_again_only_if_the_node_says_so() {
    let bench = Bench::new();
    let text = |retries: &str| {
        format!("nodes:\n  flaky: {{uses: test.trouble, with: {{mode: flaky_for_good, tries: tries.txt}}{retries}}}\n")
    };
    assert_eq!(bench.run(&text("")).error("flaky"), "no such page");
    std::fs::remove_file(bench.path("tries.txt")).unwrap();
    let one = bench.run(&text(", retries: 1"));
    assert_eq!(one.error("flaky"), "no such page (after 2 tries)");
    // The third try of all, the first of this run.
    bench.succeed(&text(", retries: 1"));
}

#[test]
fn a_timeout_stops_one_task_and_names_its_limit() {
    let bench = Bench::new();
    let text = nodes(&[trouble("slow", "wait", ", timeout: 1s", None), trouble("other", "fine", "", None)]);
    let ran = bench.run(&text);
    assert_eq!(ran.with(TaskStatus::Ran), ["other"]);
    assert_eq!(ran.outcome.status, RunStatus::Failed);
    assert!(ran.error("slow").contains("longer than its `timeout` of 1s"), "{}", ran.error("slow"));
}

#[test]
fn a_cancelled_run_stops_at_once_and_says_so() {
    let bench = Bench::new();
    let text = nodes(&[
        trouble("first", "fine", "", None),
        trouble("slow", "wait", "", Some("first")),
        trouble("below", "fine", "", Some("slow")),
    ]);
    let cancel = Cancel::new();
    // Ctrl-C as soon as the slow task has begun.
    let watch = |event: &Event| {
        if matches!(event, Event::TaskStarted { task, .. } if task == "slow") {
            cancel.cancel();
        }
    };
    let ran = run_in(&bench.store, &bench.plan(&text), &options(), &cancel, &watch);
    assert_eq!(ran.outcome.status, RunStatus::Cancelled);
    assert_eq!(ran.with(TaskStatus::Ran), ["first"]);
    assert_eq!(ran.with(TaskStatus::Cancelled), ["slow", "below"]);
    assert_eq!(bench.store.run(&ran.outcome.run).unwrap().state, RunState::Ended(RunStatus::Cancelled));
}

#[test]
fn fail_fast_stops_what_runs_and_starts_nothing_more() {
    let bench = Bench::new();
    let text = nodes(&[
        trouble("slow", "wait", "", None),
        trouble("bad", "fail", "", None),
        trouble("below", "fine", "", Some("slow")),
    ]);
    let options = RunOptions { on_failure: OnFailure::Stop, ..options() };
    let ran = bench.run_with(&bench.plan(&text), &options, &Cancel::new());
    assert_eq!(ran.outcome.status, RunStatus::Failed);
    assert_eq!(ran.with(TaskStatus::Failed), ["bad"]);
    assert_eq!(ran.with(TaskStatus::Cancelled), ["slow", "below"]);
}

#[test]
fn faults_of_a_kind_are_named_as_such() {
    let bench = Bench::new();
    let text = nodes(&[trouble("stops", "stops", "", None), trouble("silent", "silent", "", None)]);
    let ran = bench.run(&text);
    for task in ["stops", "silent"] {
        assert!(ran.error(task).contains("a fault of the kind"), "{task}: {}", ran.error(task));
    }
}

#[test]
fn a_task_that_asks_for_more_than_there_is_runs_alone_with_a_warning() {
    let bench = Bench::new();
    let text =
        nodes(&[trouble("large", "fine", ", resources: {memory: 64GiB}", None), trouble("small", "fine", "", None)]);
    let options = RunOptions { memory: Some(1 << 30), ..options() };
    let ran = bench.run_with(&bench.plan(&text), &options, &Cancel::new());
    assert_eq!(ran.outcome.status, RunStatus::Succeeded);
    let warned = ran.events.iter().any(|event| {
        matches!(event, Event::TaskWarning { task, message } if task == "large" && message.contains("runs alone"))
    });
    assert!(warned, "{:?}", ran.events);
}

#[test]
fn tasks_of_equal_key_share_the_work() {
    let bench = Bench::new();
    let entries: Vec<String> =
        (0..4).map(|id| format!("  n{id}: {{uses: test.trouble, with: {{mode: fine, salt: 5}}}}\n")).collect();
    let ran = bench.succeed(&nodes(&entries));
    assert_eq!(ran.with(TaskStatus::Ran).len(), 4);
    let started = ran.events.iter().filter(|event| matches!(event, Event::TaskStarted { .. })).count();
    assert_eq!(started, 1);
    let shared = ran.outcome.tasks.iter().filter(|task| task.reason.as_deref().unwrap().contains("the same work as"));
    assert_eq!(shared.count(), 3);
}

#[test]
fn cache_off_runs_every_time_and_records_nothing() {
    let bench = Bench::new();
    let text = nodes(&[trouble("loose", "fine", ", cache: off", None), trouble("kept", "fine", "", Some("loose"))]);
    bench.succeed(&text);
    let again = bench.succeed(&text);
    assert_eq!(again.with(TaskStatus::Ran), ["loose"]);
    // Its output was the same, so what is below it was found.
    assert_eq!(again.with(TaskStatus::Hit), ["kept"]);
    let key = again.outcome.tasks[0].key.unwrap();
    assert_eq!(bench.store.record(&key).unwrap(), None);
}

#[test]
fn a_selection_runs_what_it_needs_and_forces_what_it_names() {
    let bench = Bench::new();
    let text = nodes(&[
        trouble("one", "fine", "", None),
        trouble("two", "fine", "", Some("one")),
        trouble("other", "fine", "", None),
    ]);
    let plan = bench.plan(&text);
    let only = RunOptions { selection: Selection { only: vec!["two".into()], ..Selection::default() }, ..options() };
    let ran = bench.run_with(&plan, &only, &Cancel::new());
    assert_eq!(ran.statuses().into_keys().collect::<Vec<_>>(), ["one", "two"]);
    let from = RunOptions { selection: Selection { from: vec!["two".into()], ..Selection::default() }, ..options() };
    let ran = bench.run_with(&plan, &from, &Cancel::new());
    assert_eq!(ran.statuses()["one"], TaskStatus::Hit);
    assert_eq!(ran.statuses()["two"], TaskStatus::Ran);
    let wrong =
        RunOptions { selection: Selection { only: vec!["nobody".into()], ..Selection::default() }, ..options() };
    let error = crate::run(&plan, &bench.store, &wrong, &Cancel::new(), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("`nobody`"), "{error}");
}

#[test]
fn a_fit_without_rows_names_the_split_and_the_way_out() {
    let bench = Bench::new();
    bench.write("rows.csv", "id:int:key,x:float\n1,2.0\n2,3.0\n");
    let text = "\
nodes:
  rows: {uses: test.rows, with: {path: rows.csv}}
  split: {uses: test.split, with: {key: id, train: 0}, in: rows}
  centred: {uses: test.center, with: {column: x, witness: id}, in: split}
";
    let ran = bench.run(text);
    let error = ran.error("centred/fit");
    assert!(error.contains("column `split` marks none of the 2 rows as train"), "{error}");
    assert!(error.contains("fit_on: all"), "{error}");
    assert_eq!(ran.error("centred"), "skipped because `centred/fit` failed");
}

#[test]
fn a_table_without_rows_flows_through() {
    let bench = Bench::new();
    bench.write("rows.csv", "id:int:key,x:float\n");
    let text = "\
nodes:
  rows: {uses: test.rows, with: {path: rows.csv}}
  scaled: {uses: test.scale, with: {column: x, as: twice}, in: rows}
  ordered: {uses: test.order, with: {by: x}, in: scaled}
  quality: {uses: test.mean, with: {column: twice}, in: ordered}
";
    let ran = bench.succeed(text);
    let frame = bench.frame(&bench.plan(text), &ran, "ordered");
    assert_eq!(frame.height(), 0);
    let names: Vec<&str> = frame.get_column_names().into_iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["id", "x", "twice", "place"]);
    assert_eq!(bench.run(text).with(TaskStatus::Ran), Vec::<&str>::new());
}

#[test]
fn a_spoilt_destination_is_mended_from_the_store() {
    let bench = Bench::new();
    bench.write("rows.csv", "id:int:key,x:float\n1,2.0\n2,3.0\n");
    let text = "\
nodes:
  rows: {uses: test.rows, with: {path: rows.csv}}
  quality: {uses: test.mean, with: {column: x}, in: rows}
  page: {uses: test.publish, with: {out: out/page.txt}, in: quality}
";
    bench.succeed(text);
    let whole = std::fs::read_to_string(bench.path("out/page.txt")).unwrap();
    assert!(whole.starts_with("quality: "), "{whole}");
    assert_eq!(bench.succeed(text).with(TaskStatus::Ran), Vec::<&str>::new());
    bench.write("out/page.txt", "spoilt");
    let mended = bench.succeed(text);
    assert_eq!(mended.with(TaskStatus::Ran), ["page"]);
    let started = mended.events.iter().any(|event| matches!(event, Event::TaskStarted { .. }));
    assert!(!started, "the kind did not run again");
    assert_eq!(std::fs::read_to_string(bench.path("out/page.txt")).unwrap(), whole);
}

#[test]
fn a_bad_cell_is_a_failure_of_its_source() {
    let bench = Bench::new();
    bench.write("rows.csv", "id:int:key,x:float\n1,2.0\n2,many\n");
    let text = "nodes:\n  rows: {uses: test.rows, with: {path: rows.csv}}\n";
    assert_eq!(bench.run(text).error("rows"), "`many` is no number");
}

#[test]
fn events_tell_the_run_in_order_and_history_keeps_it() {
    let bench = Bench::new();
    let text = nodes(&[trouble("one", "fine", "", None), trouble("two", "fine", "", Some("one"))]);
    let ran = bench.succeed(&text);
    assert!(matches!(&ran.events[0], Event::RunStarted { tasks: 2, pipeline, .. } if pipeline == "test"));
    assert!(matches!(ran.events.last(), Some(Event::RunFinished { status: RunStatus::Succeeded, .. })));
    let place = |wanted: &dyn Fn(&Event) -> bool| ran.events.iter().position(wanted).unwrap();
    let one_ended = place(&|event| matches!(event, Event::TaskFinished { task, .. } if task == "one"));
    let two_began = place(&|event| matches!(event, Event::TaskStarted { task, .. } if task == "two"));
    assert!(one_ended < two_began);

    let run = bench.store.run(&ran.outcome.run).unwrap();
    assert_eq!(run.state, RunState::Ended(RunStatus::Succeeded));
    let kept = bench.store.tasks(&ran.outcome.run).unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0].key, ran.outcome.tasks[0].key);
    assert!(bench.store.last_fingerprint("test", "two").unwrap().is_some());
}

#[test]
fn a_thousand_hits_start_nothing_and_commit_in_few_transactions() {
    let bench = Bench::new();
    let mut entries = vec![trouble("n0", "fine", "", None)];
    entries.extend((1..1000).map(|id| trouble(&format!("n{id}"), "fine", "", Some(&format!("n{}", id - 1)))));
    let plan = bench.plan(&nodes(&entries));
    let first = bench.run_with(&plan, &options(), &Cancel::new());
    assert_eq!(first.with(TaskStatus::Ran).len(), 1000);
    let before = bench.store.transactions();
    let begun = Instant::now();
    let second = bench.run_with(&plan, &options(), &Cancel::new());
    assert_eq!(second.with(TaskStatus::Hit).len(), 1000);
    let started: BTreeSet<&str> = second
        .events
        .iter()
        .filter_map(|event| if let Event::TaskStarted { task, .. } = event { Some(task.as_str()) } else { None })
        .collect();
    assert!(started.is_empty(), "{started:?}");
    let transactions = bench.store.transactions() - before;
    // What waits is written four times a second at most, so a slow machine may take more of them.
    let most = 24 + 8 * begun.elapsed().as_secs();
    assert!(transactions <= most, "{transactions} transactions for a run without work, more than {most}");
}

#[test]
fn a_task_says_which_part_of_its_key_changed() {
    let bench = Bench::new();
    let text = |salt: u64| format!("nodes:\n  one: {{uses: test.trouble, with: {{mode: fine, salt: {salt}}}}}\n");
    bench.succeed(&text(1));
    let ran = bench.succeed(&text(2));
    assert_eq!(ran.outcome.tasks[0].reason.as_deref(), Some("option salt: 1 -> 2"));
    let ran = bench.succeed(&text(1));
    assert_eq!((ran.outcome.tasks[0].status, ran.outcome.tasks[0].seconds), (TaskStatus::Hit, 0.0));
}
