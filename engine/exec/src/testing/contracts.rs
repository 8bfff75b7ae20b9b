//! The contracts a run must keep, over a small graph that has every sort of work in it.

use std::collections::{BTreeMap, BTreeSet};

use engine_core::{Part, TaskStatus};
use engine_plan::Outlook;
use engine_store::Store;
use engine_table::Cancel;
use proptest::prelude::*;

use super::kinds::Centered;
use super::{Bench, Ran, bytes_below, options};
use crate::{Chunking, RunOptions};

/// A source, a split, a fit, a trainer, a selection, an aggregate, scores and a sink.
const GRAPH: &str = "\
nodes:
  rows: {uses: test.rows, with: {path: rows.csv}}
  split: {uses: test.split, with: {key: id}, in: rows}
  centred: {uses: test.center, with: {column: x, witness: id}, in: split}
  scaled: {uses: test.scale, with: {column: x, as: twice}, in: centred}
  memory: {uses: test.memory, with: {column: id}, in: scaled}
  ordered: {uses: test.order, with: {by: x}, in: split}
  totals: {uses: test.totals, with: {by: group, of: y}, in: rows}
  quality: {uses: test.mean, with: {column: twice}, in: scaled}
  page: {uses: test.publish, with: {out: out/page.txt}, in: quality}
";

/// A data set: for each row its id, its values and its group.
type Rows = Vec<(i64, f64, f64, u8, i64)>;

fn rows(count: i64) -> Rows {
    (0..count).map(|id| (id, (id * 37 % 101) as f64 * 0.1, (id % 13) as f64 * 0.3, (id % 3) as u8, id * id)).collect()
}

fn csv(rows: &Rows) -> String {
    let mut text = "id:int:key,x:float,y:float,group:category,unread:int\n".to_owned();
    for (id, x, y, group, unread) in rows {
        text.push_str(&format!("{id},{x:?},{y:?},g{group},{unread}\n"));
    }
    text
}

fn bench(rows: &Rows) -> Bench {
    let bench = Bench::new();
    bench.write("rows.csv", &csv(rows));
    bench
}

fn part_of(bench: &Bench, ran: &Ran) -> BTreeMap<i64, String> {
    let frame = bench.frame(&bench.plan(GRAPH), ran, "split");
    let ids: Vec<i64> = frame.column("id").unwrap().i64().unwrap().into_no_null_iter().collect();
    let parts = frame.column("split").unwrap().str().unwrap().clone();
    ids.into_iter().zip(parts.iter().map(|part| part.unwrap().to_owned())).collect()
}

#[test]
fn a_second_run_runs_nothing() {
    let bench = bench(&rows(60));
    let first = bench.succeed(GRAPH);
    assert_eq!(first.with(TaskStatus::Hit), Vec::<&str>::new());
    let second = bench.succeed(GRAPH);
    assert_eq!(second.with(TaskStatus::Ran), Vec::<&str>::new());
    assert_eq!(first.values(&bench.store), second.values(&bench.store));
    assert_eq!(first.outcome.metrics, second.outcome.metrics);
    assert!(second.outcome.metrics["quality"].contains_key("mean"));
}

#[test]
fn contract_1_a_change_in_an_unread_column_is_a_hit_below_and_is_seen_there() {
    let mut data = rows(60);
    let bench = bench(&data);
    bench.succeed(GRAPH);
    data[17].4 = -1;
    bench.write("rows.csv", &csv(&data));
    let ran = bench.succeed(GRAPH);
    assert_eq!(ran.with(TaskStatus::Ran), ["rows"]);
    for task in ["scaled", "ordered"] {
        let frame = bench.frame(&bench.plan(GRAPH), &ran, task);
        let unread: Vec<i64> = frame.column("unread").unwrap().i64().unwrap().into_no_null_iter().collect();
        let ids: Vec<i64> = frame.column("id").unwrap().i64().unwrap().into_no_null_iter().collect();
        let place = ids.iter().position(|id| *id == 17).unwrap();
        assert_eq!(unread[place], -1, "{task} shows the new value at its row");
        assert_eq!(unread.iter().filter(|value| **value == -1).count(), 1);
    }
}

#[test]
fn contract_1_an_edited_test_row_fits_nothing_anew() {
    let mut data = rows(60);
    let bench = bench(&data);
    let parts = part_of(&bench, &bench.succeed(GRAPH));
    let test_row = data.iter().position(|row| parts[&row.0] == "test").unwrap();
    data[test_row].1 += 1000.0;
    bench.write("rows.csv", &csv(&data));
    let ran = bench.succeed(GRAPH);
    let statuses = ran.statuses();
    assert_eq!(statuses["centred/fit"], TaskStatus::Hit);
    assert_eq!(statuses["memory"], TaskStatus::Hit);
    assert_eq!(statuses["centred"], TaskStatus::Ran);
}

#[test]
fn contract_1_a_row_added_in_the_middle_moves_no_other_row() {
    let mut data = rows(60);
    let bench = bench(&data);
    let before = part_of(&bench, &bench.succeed(GRAPH));
    data.insert(30, (1000, 1.0, 1.0, 1, 1));
    bench.write("rows.csv", &csv(&data));
    let mut after = part_of(&bench, &bench.succeed(GRAPH));
    assert!(after.remove(&1000).is_some());
    assert_eq!(before, after);
}

#[test]
fn contract_3_threads_chunks_and_an_empty_store_change_no_value() {
    let data = rows(300);
    let reference = bench(&data);
    let expected = reference.succeed(GRAPH).values(&reference.store);
    for (threads, chunking) in
        [(1, Chunking::ByWeight), (4, Chunking::ByWeight), (1, Chunking::ByRows(16)), (4, Chunking::ByRows(64))]
    {
        let bench = bench(&data);
        let options = RunOptions { threads, chunking, ..options() };
        let ran = bench.run_with(&bench.plan(GRAPH), &options, &Cancel::new());
        // The page names no path, so folders of different name give equal pages.
        assert_eq!(ran.values(&bench.store), expected, "{threads} threads, {chunking:?}");
    }
}

#[test]
fn contract_3_small_chunks_are_really_cut() {
    let bench = bench(&rows(300));
    let plan = bench.plan(GRAPH);
    let options = RunOptions { chunking: Chunking::ByRows(16), ..options() };
    let ran = bench.run_with(&plan, &options, &Cancel::new());
    for task in ["rows", "scaled", "ordered"] {
        let table = ran.table(&plan, task);
        assert!(table.chunk_rows.len() > 4, "{task}: {:?}", table.chunk_rows);
        assert_eq!(table.rows(), 300);
    }
}

#[test]
fn contract_5_a_fit_sees_the_rows_of_its_roles_and_no_other() {
    let data = rows(200);
    let bench = bench(&data);
    let plan = bench.plan(GRAPH);
    let options = RunOptions { chunking: Chunking::ByRows(16), ..options() };
    let ran = bench.run_with(&plan, &options, &Cancel::new());
    let parts = part_of(&bench, &ran);
    let of = |part: Part| -> BTreeSet<i64> {
        parts.iter().filter(|(_, of)| of.as_str() == part.as_str()).map(|(id, _)| *id).collect()
    };
    let ids = |seen: &[f64]| -> BTreeSet<i64> { seen.iter().map(|id| *id as i64).collect() };
    assert!(!of(Part::Train).is_empty() && !of(Part::Validation).is_empty() && !of(Part::Test).is_empty());

    let fitted: Centered = bench.files(&plan, &ran, "centred/fit", "fitted").read_json("fitted.json").unwrap();
    assert_eq!(ids(&fitted.seen), of(Part::Train));
    assert_eq!(fitted.seen.len(), of(Part::Train).len());
    let seen: BTreeMap<String, Vec<f64>> = bench.files(&plan, &ran, "memory", "report").read_json("seen.json").unwrap();
    assert_eq!(ids(&seen["train"]), of(Part::Train));
    assert_eq!(ids(&seen["validation"]), of(Part::Validation));
}

#[test]
fn contract_5_fit_on_all_is_the_authors_own_word() {
    let bench = bench(&rows(50));
    let text = "\
nodes:
  rows: {uses: test.rows, with: {path: rows.csv}}
  centred: {uses: test.center, with: {column: x, witness: id, fit_on: all}, in: rows}
";
    let ran = bench.succeed(text);
    let fitted: Centered =
        bench.files(&bench.plan(text), &ran, "centred/fit", "fitted").read_json("fitted.json").unwrap();
    assert_eq!(fitted.seen.len(), 50);
}

const SECRET: &str = "k3y/with \"quotes\" & ümlaut";

fn leak(place: &str) -> (Bench, Ran) {
    let bench = Bench::new();
    let text = format!(
        "env: {{TOKEN: {{secret: true}}}}\nnodes:\n  leak: {{uses: test.leaky, with: {{token: '${{env.TOKEN}}', place: {place}}}}}\n"
    );
    let mut options = RunOptions { secrets: BTreeMap::from([("TOKEN".to_owned(), SECRET.to_owned())]), ..options() };
    options.start.command = format!("fuseline run --set key={SECRET}");
    options.start.params.insert("key".into(), serde_json::json!({ "nested": [format!("x{SECRET}")] }));
    let ran = bench.run_with(&bench.plan(&text), &options, &Cancel::new());
    bench.store.flush().unwrap();
    (bench, ran)
}

#[test]
fn contract_7_the_value_of_a_secret_is_nowhere() {
    for (place, status) in [
        ("nowhere", TaskStatus::Ran),
        ("error", TaskStatus::Failed),
        ("panic", TaskStatus::Failed),
        ("warning", TaskStatus::Ran),
        ("progress", TaskStatus::Ran),
        ("output", TaskStatus::Failed),
    ] {
        let (bench, ran) = leak(place);
        assert_eq!(ran.statuses()["leak"], status, "{place}: {}", ran.error("leak"));
        let mut said = format!("{:?} {:?}", ran.events, ran.outcome).into_bytes();
        said.extend(serde_json::to_vec(&ran.events).unwrap());
        said.extend(bytes_below(bench.folder.path()));
        let json = serde_json::to_string(SECRET).unwrap();
        for form in [SECRET, &json[1..json.len() - 1], "k3y/with"] {
            let found = said.windows(form.len()).any(|window| window == form.as_bytes());
            assert!(!found, "{place}: the value is somewhere as {form:?}");
        }
    }
}

#[test]
fn contract_7_an_output_with_a_secret_is_refused_by_name() {
    let (_, ran) = leak("output");
    assert!(ran.error("leak").contains("the secret `TOKEN` stands in its output, in the file `text.txt`"));
}

/// A change a person might make between two runs.
#[derive(Debug, Clone)]
enum Edit {
    Cell { row: prop::sample::Index, column: usize, value: i64 },
    Insert { at: prop::sample::Index, id: i64 },
    Delete { row: prop::sample::Index },
    Option { which: usize, value: usize },
    Spoil,
    Nothing,
}

fn an_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), 0usize..4, -3i64..3).prop_map(|(row, column, value)| Edit::Cell { row, column, value }),
        2 => (any::<prop::sample::Index>(), 1000i64..1010).prop_map(|(at, id)| Edit::Insert { at, id }),
        2 => any::<prop::sample::Index>().prop_map(|row| Edit::Delete { row }),
        3 => (0usize..4, 0usize..3).prop_map(|(which, value)| Edit::Option { which, value }),
        1 => Just(Edit::Spoil),
        1 => Just(Edit::Nothing),
    ]
}

/// The pipeline with its options as edited.
fn graph(options: &[usize; 4]) -> String {
    let [train, by, order, cache] = options;
    GRAPH
        .replace("{key: id}", &format!("{{key: id, train: {}}}", 5 + train))
        .replace("as: twice}", &format!("as: twice, by: {}.5}}", 1 + by))
        .replace("{by: x}", ["{by: x}", "{by: y}", "{by: unread}"][*order])
        .replace(
            "{column: twice}, in: scaled}",
            ["{column: twice}, in: scaled}", "{column: twice}, in: scaled, cache: off}", "{column: x}, in: scaled}"]
                [*cache],
        )
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 40, ..ProptestConfig::with_cases(50) })]

    #[test]
    fn contract_2_a_run_does_what_its_preview_says(edits in prop::collection::vec(an_edit(), 1..5), threads in 1usize..4) {
        let mut data = rows(24);
        let bench = bench(&data);
        let mut chosen = [0; 4];
        let options = RunOptions { threads, chunking: Chunking::ByRows(16), ..options() };
        check_preview(&bench, &graph(&chosen), &options)?;
        for edit in edits {
            match edit {
                Edit::Cell { row, column, value } if !data.is_empty() => {
                    let row = row.index(data.len());
                    match column {
                        0 => data[row].1 = value as f64,
                        1 => data[row].2 = value as f64,
                        2 => data[row].3 = value.unsigned_abs() as u8,
                        _ => data[row].4 = value,
                    }
                }
                Edit::Insert { at, id } if data.iter().all(|row| row.0 != id) => {
                    let at = at.index(data.len() + 1);
                    data.insert(at, (id, 0.5, 0.5, 1, 7));
                }
                Edit::Delete { row } if data.len() > 20 => {
                    let row = row.index(data.len());
                    data.remove(row);
                }
                Edit::Option { which, value } => chosen[which] = value,
                Edit::Spoil => bench.write("out/page.txt", "spoilt"),
                _ => {}
            }
            bench.write("rows.csv", &csv(&data));
            check_preview(&bench, &graph(&chosen), &options)?;
        }
        // What the store has gathered on the way is what a run from nothing gives.
        let plan = bench.plan(&graph(&chosen));
        let warm = bench.run_with(&plan, &options, &Cancel::new()).values(&bench.store);
        let empty = Store::temporary().unwrap();
        let cold = super::run_in(&empty, &plan, &options, &Cancel::new(), &|_| {}).values(&empty);
        prop_assert_eq!(warm, cold);
    }
}

/// Every `run` executes, no `hit` does, everything that executed was `run` or `may run`.
pub(super) fn check_preview(bench: &Bench, text: &str, options: &RunOptions) -> Result<(), TestCaseError> {
    let plan = bench.plan(text);
    let preview = bench.preview(&plan, options);
    let ran = bench.run_with(&plan, options, &Cancel::new());
    prop_assert!(ran.outcome.failures.is_empty(), "{:?}", ran.outcome.failures);
    let statuses = ran.statuses();
    prop_assert_eq!(statuses.len(), preview.tasks.len());
    for task in &preview.tasks {
        let status = statuses[task.task.as_str()];
        match task.outlook {
            Outlook::Run => prop_assert_eq!(status, TaskStatus::Ran, "{} was to run: {:?}", task.task, task.reasons),
            Outlook::Hit => prop_assert_eq!(status, TaskStatus::Hit, "{} was to be a hit", task.task),
            Outlook::MayRun => prop_assert!(matches!(status, TaskStatus::Ran | TaskStatus::Hit)),
        }
    }
    Ok(())
}
