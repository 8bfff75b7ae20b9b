//! What a preview says of edited pipelines, and that a run does the same.

use std::collections::BTreeSet;

use engine_core::Role;
use engine_table::{Chosen, ColumnType, Files, RowsChange, StoredColumn, Table, TableChange, WholeType, Written};
use polars::prelude::{Column, DataFrame, NamedFrom, Series};
use proptest::prelude::*;

use super::*;
use crate::testing::{registry, spec_in};
use crate::{Output, Work, bind, compose_and_gather};

const PIPELINE: &str = "fuseline: 1
name: test
seed: 7
nodes:
  rows: {uses: ingest.rows, with: {path: rows.json, roles: {y: target, id: key}}}
  some: {uses: clean.pick, with: {columns: [id]}, in: rows}
  split: {uses: split.by, with: {by: id}, in: some}
  c: {uses: extract.add, with: {from: [a], as: c, plus: PLUS}, in: split}
  scaled: {uses: encode.scale, with: {columns: [b], plus: SCALE}, in: split}
  one: {uses: encode.table, with: {columns: [c]}, in: c}
  two: {uses: encode.table, with: {columns: [b]}, in: scaled}
  model: {uses: train.joint, with: {target: y, epochs: EPOCHS}, in: {encoders: [one, two]}}
  quality: {uses: evaluate.score, CACHE in: {model: model}}
  folds: {uses: evaluate.cross, with: {node: split, option: fold, values: [1, 2]}, in: {metrics: quality}}
  bundle: {uses: deploy.bundle, with: {request: rows, out: model.fuse}, in: {model: model}}
  best: {uses: tune.pick, with: {space: {scaled.plus: [TRY, 5], model.epochs: [6]}, refit: REFIT}, in: {metrics: quality, model: model}}
  final: {uses: evaluate.score, in: {model: best}}
";

/// A pipeline, its data and its store in a folder that vanishes.
struct World {
    folder: tempfile::TempDir,
    store: Store,
    options: BTreeMap<&'static str, String>,
    data: BTreeMap<&'static str, Vec<f64>>,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let options = [("PLUS", "1"), ("SCALE", "2"), ("EPOCHS", "3"), ("CACHE", ""), ("TRY", "4"), ("REFIT", "false")];
        let column = |start: f64| (0..9).map(|row| start + f64::from(row)).collect::<Vec<f64>>();
        let data =
            [("a", column(10.0)), ("b", column(20.0)), ("u", column(30.0)), ("y", column(40.0)), ("id", column(0.0))];
        let world = World {
            folder,
            store,
            options: options.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
            data: BTreeMap::from(data),
        };
        world.write();
        world
    }

    fn write(&self) {
        std::fs::write(self.folder.path().join("rows.json"), serde_json::to_vec(&self.data).unwrap()).unwrap();
    }

    fn set(&mut self, option: &'static str, value: &str) {
        self.options.insert(option, value.to_owned());
    }

    fn edit(&mut self, column: &'static str, row: usize, value: f64) {
        self.data.get_mut(column).unwrap()[row] = value;
        self.write();
    }

    fn plan(&self) -> Plan {
        let mut text = PIPELINE.to_owned();
        for (name, value) in &self.options {
            text = text.replace(name, value);
        }
        let spec = spec_in(self.folder.path(), &text);
        bind(&spec, &registry()).unwrap().complete().unwrap()
    }

    fn preview(&self) -> Preview {
        preview(&self.plan(), &self.store, &environment(), &Selection::default()).unwrap()
    }

    /// Runs the pipeline; gives the names of the tasks that executed, and all outputs.
    fn run(&self, selection: &Selection) -> (BTreeSet<String>, Outputs) {
        let plan = self.plan();
        let Selected { included, forced } = selection.resolve(&plan).unwrap();
        let mut outputs = Outputs::default();
        let mut executed = BTreeSet::new();
        let mut here = BTreeSet::new();
        for task in plan.tasks.iter().filter(|task| included[task.id.0]) {
            if !takes_part(task, &outputs, &self.store).unwrap().expect("in order") {
                continue;
            }
            let key = fingerprint(&plan, task, &outputs, &self.store, &environment()).unwrap().expect("in order");
            let stored = self.store.record(&key.key).unwrap().filter(|record| self.store.verify_outputs(record));
            let is_free = task.cached && !forced[task.id.0];
            let record = match stored.filter(|_| is_free) {
                Some(record) => {
                    // As the executor does: work shared within a run counts for every task that shares it.
                    if here.contains(&key.key) || spoilt_destination(task, &record).unwrap().is_some() {
                        executed.insert(task.name.clone());
                        copy_out(task, &record, &self.store);
                    }
                    record
                }
                None => {
                    executed.insert(task.name.clone());
                    let record = make(task, key.clone(), &outputs, &self.store);
                    if task.cached {
                        here.insert(key.key);
                        self.store.replace(record.clone()).unwrap();
                    }
                    copy_out(task, &record, &self.store);
                    record
                }
            };
            self.store.set_last_fingerprints(&plan.pipeline, vec![(task.name.clone(), key)]).unwrap();
            outputs.0.extend(compose_and_gather(task, &record, &outputs, &self.store).unwrap());
        }
        self.store.flush().unwrap();
        (executed, outputs)
    }
}

fn environment() -> Environment {
    Environment { numerics: "cpu-test".to_owned() }
}

fn copy_out(task: &Task, record: &Record, store: &Store) {
    let Node::Sink(sink) = &task.bound.node else { return };
    let destination = sink.destination().unwrap();
    let files = store.files(&record.outputs[destination.port]).unwrap();
    std::fs::write(destination.path, files.bytes(destination.file).unwrap()).unwrap();
}

/// What a task gives, by rules simple enough to be followed: a written column is its first source plus an option and
/// what was fitted; files hold the key of what was put into them.
fn make(task: &Task, key: Fingerprint, outputs: &Outputs, store: &Store) -> Record {
    let base = || {
        let tables: Vec<&Table> =
            task.base_tables().iter().map(|table| outputs.table(table).unwrap().as_ref()).collect();
        Table::merged(&tables)
    };
    let change = match &task.work {
        Work::Source { columns } => {
            let Node::Source(source) = &task.bound.node else { unreachable!() };
            let bytes = std::fs::read(&source.files()[0]).unwrap();
            let values: BTreeMap<String, Vec<f64>> = serde_json::from_slice(&bytes).unwrap();
            let frame = |name: &String| Series::new(name.as_str().into(), &values[name]).into();
            let columns: Vec<(ColumnType, Column)> =
                columns.iter().map(|column| (column.clone(), frame(&column.name))).collect();
            Some(put(columns, |chunk_rows| RowsChange::New { chunk_rows }, store))
        }
        Work::Apply { change, .. } => {
            let plus = task.bound.options["plus"].as_f64().unwrap_or(0.0);
            let frame = store.read_table(&base(), &change.reads).unwrap();
            let written =
                change.writes.iter().map(|written| (written.column.clone(), computed(task, written, &frame, plus)));
            let mut change = TableChange {
                dropped: change.drops.clone(),
                renamed: change.renames.clone(),
                ..put(written.collect(), |_| RowsChange::Kept, store)
            };
            change.rows = RowsChange::Kept;
            Some(change)
        }
        Work::Whole { whole: WholeType::Select { .. }, .. } => {
            // Every row but those whose id is not a number.
            let ids = store.read_table(&base(), &task.reads[0].columns).unwrap();
            let ids = ids.columns()[0].f64().unwrap();
            let rows: Vec<i64> = ids
                .iter()
                .enumerate()
                .filter(|(_, id)| id.is_some_and(|id| id < 100.0))
                .map(|(row, _)| row as i64)
                .collect();
            let (chunk_rows, rows) = (vec![rows.len() as u64], Series::new("row".into(), rows));
            let frame = DataFrame::new(rows.len(), vec![rows.into()]).unwrap();
            let indices = store.put_chunk(&frame).unwrap();
            let rows = RowsChange::Selected { indices, chunk_rows };
            Some(TableChange { rows, written: Vec::new(), dropped: Vec::new(), renamed: Vec::new() })
        }
        Work::Choose { by, of } => {
            let chosen = crate::chosen(task, by, of, outputs, store).unwrap().expect("in order");
            match &outputs.0[chosen] {
                Output::Table(_) => Some(TableChange {
                    rows: RowsChange::Kept,
                    written: Vec::new(),
                    dropped: Vec::new(),
                    renamed: Vec::new(),
                }),
                Output::Files { files, .. } => {
                    let port = task.outputs.keys().next().unwrap().clone();
                    let outputs = BTreeMap::from([(port, files.recorded(store).unwrap())]);
                    return Record {
                        kind: task.kind.name.clone(),
                        fingerprint: key,
                        outputs,
                        seconds: 0.0,
                        rows: None,
                        created_ms: 0,
                    };
                }
            }
        }
        _ => None,
    };
    let outputs = task.outputs.keys().map(|port| match &change {
        Some(change) => (port.clone(), RecordOutput::Table(change.clone())),
        None => {
            // What an encoder declares does not depend on rows; what is learnt or scored does.
            let content = format!("{} {} {}", task.kind.name, port, key.key);
            let mut files = Files::new().with("bundle", content.into_bytes());
            if task.kind.name == "tune.pick" {
                let instance = usize::from(key.key.as_bytes()[0]) % task.artifacts.len();
                files = Chosen { instance }.add_to(files).unwrap();
            }
            (port.clone(), store.store_files(&files).unwrap())
        }
    });
    let outputs = outputs.collect();
    Record { kind: task.kind.name.clone(), fingerprint: key, outputs, seconds: 0.0, rows: None, created_ms: 0 }
}

fn computed(task: &Task, written: &Written, frame: &DataFrame, plus: f64) -> Column {
    let values: Vec<f64> = frame.column(&written.from[0]).unwrap().f64().unwrap().into_no_null_iter().collect();
    if written.column.role == Role::Split {
        let fold = task.bound.options["fold"].as_f64().unwrap();
        let part = |id: &f64| match (id + fold) as u64 % 3 {
            0 => "test",
            1 => "validation",
            _ => "train",
        };
        return Series::new(written.column.name.as_str().into(), values.iter().map(part).collect::<Vec<&str>>()).into();
    }
    let values: Vec<f64> = values.iter().map(|value| value + plus).collect();
    Series::new(written.column.name.as_str().into(), values).into()
}

fn put(columns: Vec<(ColumnType, Column)>, rows: impl Fn(Vec<u64>) -> RowsChange, store: &Store) -> TableChange {
    let height = columns.first().map_or(0, |(_, column)| column.len());
    let frame = DataFrame::new(height, columns.iter().map(|(_, column)| column.clone()).collect()).unwrap();
    let chunks = store.put_chunk(&frame).unwrap();
    let written =
        columns.into_iter().zip(chunks).map(|((column, _), chunk)| StoredColumn { column, chunks: vec![chunk] });
    TableChange {
        rows: rows(vec![height as u64]),
        written: written.collect(),
        dropped: Vec::new(),
        renamed: Vec::new(),
    }
}

fn outlooks(preview: &Preview, outlook: Outlook) -> BTreeSet<String> {
    preview.tasks.iter().filter(|task| task.outlook == outlook).map(|task| task.task.clone()).collect()
}

fn reasons(preview: &Preview, task: &str) -> Vec<String> {
    let task = preview.tasks.iter().find(|other| other.task == task).unwrap();
    task.reasons.iter().map(Reason::to_string).collect()
}

/// Whether what ran is what the preview said.
fn check_agreement(preview: &Preview, executed: &BTreeSet<String>) {
    for task in &preview.tasks {
        match task.outlook {
            Outlook::Run => assert!(executed.contains(&task.task), "`{}` did not run: {:?}", task.task, task.reasons),
            Outlook::Hit => assert!(!executed.contains(&task.task), "`{}` ran", task.task),
            Outlook::MayRun => {}
        }
    }
}

fn check_hits_stand_on_hits(plan: &Plan, preview: &Preview) {
    for task in preview.tasks.iter().filter(|task| task.outlook == Outlook::Hit) {
        for need in plan.task(task.id).needs() {
            // What was not chosen is not there.
            let is_hit = preview.task(need).is_none_or(|need| need.outlook == Outlook::Hit);
            assert!(is_hit, "`{}` is a hit", task.task);
        }
    }
}

#[test]
fn a_first_run_waits_for_its_sources_and_a_second_has_nothing_to_do() {
    let world = World::new();
    let before = world.preview();
    assert_eq!(reasons(&before, "rows"), ["first run"]);
    assert_eq!(reasons(&before, "some"), ["waits for rows"]);
    // An encoder is a declaration: it needs its table's type, which is known, and no rows.
    assert_eq!(reasons(&before, "two"), ["first run"]);
    assert!(before.hits == 0 && before.exit_code() == 2);
    let (executed, _) = world.run(&Selection::default());
    check_agreement(&before, &executed);
    let after = world.preview();
    assert_eq!((after.runs, after.may_runs, after.exit_code()), (0, 0, 0), "{:?}", after.tasks);
    assert!(world.run(&Selection::default()).0.is_empty());
}

#[test]
fn a_changed_option_is_named_with_its_old_and_new_value() {
    let mut world = World::new();
    world.run(&Selection::default());
    world.set("EPOCHS", "4");
    let preview = world.preview();
    assert_eq!(reasons(&preview, "model"), ["option epochs: 3 -> 4"]);
    assert_eq!(reasons(&preview, "quality"), ["waits for model"]);
    assert_eq!(preview.tasks.iter().find(|task| task.task == "two").unwrap().outlook, Outlook::Hit);
}

#[test]
fn an_unread_column_passes_through_hits() {
    let mut world = World::new();
    let (_, before) = world.run(&Selection::default());
    world.edit("u", 4, -1.0);
    let preview = world.preview();
    assert_eq!(outlooks(&preview, Outlook::Run), BTreeSet::from(["rows".to_owned()]));
    let (executed, after) = world.run(&Selection::default());
    assert_eq!(executed, BTreeSet::from(["rows".to_owned()]));
    let id = world.plan().main_task("scaled").unwrap().id;
    let column = |outputs: &Outputs, name: &str| match &outputs.0[&OutputRef { task: id, port: "table".to_owned() }] {
        Output::Table(table) => store_values(&world.store, table, name),
        Output::Files { .. } => panic!("no table"),
    };
    assert_eq!(column(&before, "u")[4], 34.0);
    assert_eq!(column(&after, "u")[4], -1.0);
    assert_eq!(column(&before, "b"), column(&after, "b"));
}

fn store_values(store: &Store, table: &Table, name: &str) -> Vec<f64> {
    let frame = store.read_table(table, &[name.to_owned()]).unwrap();
    frame.columns()[0].f64().unwrap().into_no_null_iter().collect()
}

#[test]
fn a_test_row_refits_nothing() {
    let mut world = World::new();
    world.run(&Selection::default());
    // Row 3 is a test row of the graph as written and a train row of fold 2.
    world.edit("b", 3, 99.0);
    let (executed, _) = world.run(&Selection::default());
    assert!(!executed.contains("scaled/fit") && !executed.contains("model"), "{executed:?}");
    assert!(executed.contains("quality") && executed.contains("scaled/fit@fold=2"), "{executed:?}");
}

#[test]
fn a_key_holds_parts_and_not_paths() {
    let world = World::new();
    world.run(&Selection::default());
    let last = world.store.last_fingerprint("test", "scaled/fit").unwrap().unwrap();
    let names: Vec<&str> = last.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["kind", "version", "option columns", "option fit_on", "option plus", "column b (train)"]);
    let last = world.store.last_fingerprint("test", "rows").unwrap().unwrap();
    assert!(last.parts.iter().any(|part| part.name == "file rows.json"));
    let folder = world.folder.path().to_string_lossy().into_owned();
    assert!(last.parts.iter().all(|part| !part.value.contains(&folder)), "{:?}", last.parts);
    let model = world.store.last_fingerprint("test", "model").unwrap().unwrap();
    let names: Vec<&str> = model.parts.iter().map(|part| part.name.as_str()).collect();
    assert!(names.contains(&"encoders one") && names.contains(&"numerics") && names.contains(&"seed"), "{names:?}");
}

#[test]
fn a_renamed_node_keeps_its_results() {
    let world = World::new();
    world.run(&Selection::default());
    let text = PIPELINE.replace("scaled", "standard").replace("PLUS", "1").replace("SCALE", "2");
    let text = text.replace("EPOCHS", "3").replace("CACHE", "").replace("TRY", "4").replace("REFIT", "false");
    let plan = bind(&spec_in(world.folder.path(), &text), &registry()).unwrap().complete().unwrap();
    let preview = preview(&plan, &world.store, &environment(), &Selection::default()).unwrap();
    // A bundle names its steps, so it is another bundle; a tuning names the nodes it varies.
    let own = ["best/choice".to_owned(), "bundle".to_owned()];
    assert_eq!(outlooks(&preview, Outlook::Run), BTreeSet::from(own));
    let below = ["best", "best/rows(standard)", "final"].map(str::to_owned);
    assert_eq!(outlooks(&preview, Outlook::MayRun), BTreeSet::from(below));
}

#[test]
fn a_spoilt_destination_runs_the_sink_alone() {
    let world = World::new();
    world.run(&Selection::default());
    std::fs::write(world.folder.path().join("model.fuse"), "spoilt").unwrap();
    let preview = world.preview();
    assert_eq!(outlooks(&preview, Outlook::Run), BTreeSet::from(["bundle".to_owned()]));
    assert!(reasons(&preview, "bundle")[0].ends_with("model.fuse was changed or is missing"));
    assert_eq!(world.run(&Selection::default()).0, BTreeSet::from(["bundle".to_owned()]));
    assert!(world.preview().is_nothing_to_do());
}

#[test]
fn a_selection_takes_what_it_needs_and_forces_what_follows() {
    let world = World::new();
    let plan = world.plan();
    let only = Selection { only: vec!["scaled".to_owned()], ..Selection::default() };
    let preview = preview(&plan, &world.store, &environment(), &only).unwrap();
    let names: Vec<&str> = preview.tasks.iter().map(|task| task.task.as_str()).collect();
    assert_eq!(names, ["rows", "some", "split", "scaled/fit", "scaled"]);
    world.run(&Selection::default());
    let from = Selection { from: vec!["scaled".to_owned()], ..Selection::default() };
    let preview = super::preview(&plan, &world.store, &environment(), &from).unwrap();
    let runs = outlooks(&preview, Outlook::Run);
    for name in ["scaled/fit", "scaled", "model", "quality", "bundle", "scaled@fold=1", "folds"] {
        assert!(runs.contains(name), "{name} of {runs:?}");
    }
    assert!(!runs.contains("c") && !runs.contains("split@fold=1"));
    check_agreement(&preview, &world.run(&from).0);
    let unknown = Selection {
        only: vec!["scald".to_owned(), "nobody".to_owned()],
        from: vec!["split".to_owned(), "qualiti".to_owned()],
        ..Selection::default()
    };
    let said = unknown.resolve(&plan).unwrap_err().to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "there is no node `scald` to select; did you mean `scaled`?");
    assert_eq!(lines[1], "there is no node `nobody` to select");
    assert_eq!(lines[2], "there is no node `qualiti` to select; did you mean `quality`?");
    assert!(lines[3].starts_with("the nodes are `rows`, ") && lines.len() == 4, "{said}");
}

#[test]
fn a_missing_source_is_an_error_that_names_node_and_file() {
    let world = World::new();
    let plan = world.plan();
    std::fs::remove_file(world.folder.path().join("rows.json")).unwrap();
    let error = preview(&plan, &world.store, &environment(), &Selection::default()).unwrap_err().to_string();
    assert!(error.starts_with("`rows` cannot read `") && error.contains("rows.json"), "{error}");
}

#[test]
fn a_preview_is_data() {
    let world = World::new();
    let value = serde_json::to_value(world.preview()).unwrap();
    assert_eq!(value["tasks"][0]["outlook"], "run");
    assert_eq!(value["tasks"][0]["reasons"][0]["reason"], "first_run");
    let fit = value["tasks"].as_array().unwrap().iter().find(|task| task["task"] == "scaled/fit").unwrap();
    assert_eq!(fit["reads"][0]["columns"][0], "b");
    assert_eq!(fit["reads"][0]["from"][0], "split");
}

#[derive(Debug, Clone)]
enum Edit {
    Option(&'static str, u8),
    Cell(&'static str, usize, i8),
    CacheOff(bool),
    Refit(bool),
    Destination,
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (prop_oneof![Just("PLUS"), Just("SCALE"), Just("EPOCHS"), Just("TRY")], 0_u8..3)
            .prop_map(|(name, value)| Edit::Option(name, value)),
        any::<bool>().prop_map(Edit::Refit),
        (prop_oneof![Just("a"), Just("b"), Just("u"), Just("y"), Just("id")], 0_usize..9, any::<i8>())
            .prop_map(|(column, row, value)| Edit::Cell(column, row, value)),
        any::<bool>().prop_map(Edit::CacheOff),
        Just(Edit::Destination),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn what_the_preview_says_is_what_happens(edits in proptest::collection::vec(edit(), 1..6)) {
        let mut world = World::new();
        for edit in edits {
            match edit {
                Edit::Option(name, value) => world.set(name, &value.to_string()),
                Edit::Cell(column, row, value) => world.edit(column, row, f64::from(value).abs()),
                Edit::CacheOff(true) => world.set("CACHE", "cache: off,"),
                Edit::CacheOff(false) => world.set("CACHE", ""),
                Edit::Refit(refit) => world.set("REFIT", if refit { "true" } else { "false" }),
                Edit::Destination => {
                    let _ = std::fs::remove_file(world.folder.path().join("model.fuse"));
                }
            }
            let preview = world.preview();
            check_hits_stand_on_hits(&world.plan(), &preview);
            let (executed, _) = world.run(&Selection::default());
            check_agreement(&preview, &executed);
            for name in &executed {
                let task = preview.tasks.iter().find(|task| task.task == *name).unwrap();
                prop_assert_ne!(task.outlook, Outlook::Hit);
            }
        }
    }
}
