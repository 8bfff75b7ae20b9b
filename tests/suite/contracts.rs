//! The contracts of the house, from outside: what a hit passes on, what a plan promises, what does not change a bit.
//!
//! `contract_2` is in `random_edits.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use engine_core::{Effect, TaskStatus};
use engine_exec::Chunking;
use engine_plan::{Output, Work};
use engine_store::Store;
use engine_table::column_digest;
use polars::prelude::DataFrame;
use serde_json::{Value, json};

use crate::process::{Running, Server, ended, fuseline, said};
use crate::workshop::{Project, Ran, texts};

/// Everything a run made, without where it stands in chunks: the digest of each file and of each column as a whole.
pub fn made(ran: &Ran, store: &Store) -> BTreeMap<String, String> {
    let mut made = BTreeMap::new();
    for (output, value) in &ran.outcome.outputs.0 {
        let name = format!("{}.{}", ran.plan.task(output.task).name, output.port);
        match value {
            Output::Files { digest, .. } => {
                made.insert(name, digest.to_string());
            }
            Output::Table(_) => {
                let frame = ran.frame(&ran.plan.task(output.task).name, store);
                for column in frame.columns() {
                    let digest = column_digest(&column.as_materialized_series().rechunk());
                    made.insert(format!("{name} {}", column.name()), digest.to_string());
                }
            }
        }
    }
    made
}

/// The tasks that learn from rows.
pub fn learning(ran: &Ran) -> BTreeSet<&str> {
    let learns = |work: &Work, effect: Effect| match work {
        Work::Fit { .. } => true,
        Work::Reduce => effect == Effect::Fit,
        _ => false,
    };
    let tasks = ran.plan.tasks.iter().filter(|task| learns(&task.work, task.kind.effect));
    tasks.map(|task| task.name.as_str()).collect()
}

#[test]
fn contract_1_a_column_nothing_reads_passes_through_hits() {
    let mut project = Project::loans(120);
    project.data = project.data.clone().with_column("note", |row| format!("note {row}"));
    check_unread(&project, "loans", "note", &["split", "burden", "filled", "scaled", "words"]);
    // A key that no split goes by.
    check_unread(&Project::telco_churn(110), "customers", "customerID", &["split", "filled", "scaled", "words"]);
}

fn check_unread(project: &Project, source: &str, column: &str, downstream: &[&str]) {
    let store = Store::temporary().unwrap();
    project.run(&store);
    let mut changed = project.data.clone();
    let place = changed.place(column);
    "something new".clone_into(&mut changed.rows[17][place]);
    // The same pipeline file: only the data change.
    let ran = project.run_with(&changed, &store);
    assert_eq!(ran.executed(), [source], "everything below `{source}` is a hit");
    for node in downstream {
        assert_eq!(ran.cells(node, column, &store)[17], "something new", "`{node}` shows the value of before");
    }
}

#[test]
fn contract_1_a_test_row_reaches_no_fit() {
    let store = Store::temporary().unwrap();
    for (project, column) in [(Project::loans(160), "income"), (Project::telco_churn(110), "MonthlyCharges")] {
        let before = project.run(&store);
        let row = before.split("split", &store).iter().position(|part| part == "test").unwrap();
        let mut changed = project.data.clone();
        let place = changed.place(column);
        "77.25".clone_into(&mut changed.rows[row][place]);
        let after = project.run_with(&changed, &store);
        let executed: BTreeSet<&str> = after.executed().into_iter().collect();
        let learnt: Vec<_> = learning(&after).intersection(&executed).copied().collect();
        assert!(learnt.is_empty(), "{learnt:?} learnt again from a test row");
        assert!(learning(&after).len() >= 4, "{:?}", learning(&after));
        // The edit was one: what scores the test rows ran.
        assert!(executed.contains("quality") && executed.contains("scaled"), "{executed:?}");
    }
}

#[test]
fn contract_1_a_new_row_moves_no_other_row_to_another_part() {
    let store = Store::temporary().unwrap();
    let project = Project::loans(200);
    let parts = |ran: &Ran| -> BTreeMap<String, String> {
        let names = ran.cells("split", "loan_id", &store);
        names.into_iter().zip(ran.split("split", &store)).collect()
    };
    let before = parts(&project.run(&store));
    let mut changed = project.data.clone();
    let mut row = changed.rows[3].clone();
    "X1".clone_into(&mut row[0]);
    changed.rows.insert(90, row);
    let mut after = parts(&project.run_with(&changed, &store));
    assert!(after.remove("X1").is_some());
    assert_eq!(before, after);
    let kinds: BTreeSet<&String> = before.values().collect();
    assert_eq!(kinds.len(), 3, "the split has three parts");
}

#[test]
fn contract_3_chunks_change_no_bit() {
    let tables = [Project::loans(140), Project::telco_churn(110), Project::german_credit(90)];
    let media = [Project::quickstart(70), Project::receipts(60), Project::spoken_digits(60), Project::banking77(60)];
    for project in tables.into_iter().chain(media) {
        let (one, other) = (Store::temporary().unwrap(), Store::temporary().unwrap());
        let few = project.run_in(&one, Chunking::ByRows(1_000_000));
        let many = project.run_in(&other, Chunking::ByRows(16));
        let first = &project.plan().tasks[0].name;
        assert_eq!(few.table(first).chunk_rows.len(), 1);
        assert!(many.table(first).chunk_rows.len() > 2, "{:?}", many.table(first).chunk_rows);
        differ_nowhere(&made(&few, &one), &made(&many, &other));
        // And once more from nothing.
        let again = Store::temporary().unwrap();
        let ran = project.run_in(&again, Chunking::ByRows(16));
        differ_nowhere(&made(&many, &other), &made(&ran, &again));
    }
}

pub fn differ_nowhere(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) {
    assert!(one.len() > 8);
    let differing: Vec<&String> =
        one.iter().filter(|(name, digest)| other.get(*name) != Some(digest)).map(|(name, _)| name).collect();
    assert!(differing.is_empty() && one.len() == other.len(), "{differing:#?} differ");
}

/// Name, key and content of every task of the last run in a store.
pub fn digests(folder: &Path, store: &str) -> Vec<Value> {
    let shown = said(folder, &["show", "last", "--json", "--store", store]).ok().json();
    let tasks = shown["tasks"].as_array().unwrap();
    let mut digests: Vec<Value> =
        tasks.iter().map(|task| json!([task["task"], task["key"], task["content"]])).collect();
    digests.sort_by_key(Value::to_string);
    assert!(digests.iter().all(|task| task[2].is_string()), "a task has no content: {digests:#?}");
    digests
}

#[test]
fn contract_3_threads_change_no_bit() {
    for project in [Project::loans(140), Project::german_credit(90), Project::quickstart(60)] {
        project.write();
        for (store, threads) in [("one", "1"), ("four", "4"), ("again", "4")] {
            said(project.path(), &["run", "pipeline.yaml", "--store", store, "--threads", threads]).ok();
        }
        let one = digests(project.path(), "one");
        assert!(one.len() > 10);
        assert_eq!(one, digests(project.path(), "four"));
        assert_eq!(one, digests(project.path(), "again"));
    }
}

/// The float columns of `frame` as bits, and the others as text.
fn bits(frame: &DataFrame, columns: &[String]) -> Vec<Vec<String>> {
    let column = |name: &String| match frame.column(name).unwrap().f64() {
        Ok(values) => values.iter().map(|value| format!("{:x}", value.unwrap().to_bits())).collect(),
        Err(_) => texts(frame, name),
    };
    let columns: Vec<Vec<String>> = columns.iter().map(column).collect();
    (0..frame.height()).map(|row| columns.iter().map(|cells| cells[row].clone()).collect()).collect()
}

/// The columns of a prediction in the order they are compared.
const PREDICTED: [&str; 4] = ["prediction", "confidence", "probability_no", "probability_yes"];

fn bits_of(cells: &dyn Fn(&str) -> String) -> Vec<String> {
    let number = |name: &str| format!("{:x}", cells(name).parse::<f64>().unwrap().to_bits());
    std::iter::once(cells(PREDICTED[0])).chain(PREDICTED[1..].iter().map(|name| number(name))).collect()
}

#[test]
fn contract_4_served_batch_and_training_time_predictions_are_bit_equal() {
    let mut project = Project::loans(320);
    // Inner sizes of products that are no multiples of each other's blocks.
    project.replace("hidden: [32]", "hidden: [600, 1536, 3000]");
    project.replace("epochs: 2,", "epochs: 1,");
    let node = "  said: {uses: predict.table, with: {classes: ['no', 'yes']}, in: {table: [scaled, words], model: model}}\n  bundle:\n";
    project.replace("  bundle:\n", node);
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);
    let trained = bits(&ran.frame("said", &store), &PREDICTED.map(str::to_owned));

    let server = Server::start(project.path(), "loans.fuse");
    let header = project.data.header.join(",");
    let mut from = 0;
    for count in [1, 2, 3, 7, 64, 255] {
        let rows = &project.data.rows[from..from + count];
        let expected = &trained[from..from + count];

        let body = json!({ "rows": rows.iter().map(|row| request(&project.data.header, row)).collect::<Vec<_>>() });
        let (status, answer) = server.request("POST", "/predict", &body.to_string());
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let served: Vec<Vec<String>> = answer["predictions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| bits_of(&|name| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned)))
            .collect();
        assert_eq!(served, expected, "served in a batch of {count}");

        let lines: Vec<String> = rows.iter().map(|row| row.join(",")).collect();
        std::fs::write(project.path().join("batch.csv"), format!("{header}\n{}\n", lines.join("\n"))).unwrap();
        said(project.path(), &["predict", "loans.fuse", "batch.csv", "--out", "said.csv"]).ok();
        let batch = crate::look_alike::Csv::parse(&std::fs::read_to_string(project.path().join("said.csv")).unwrap());
        let predicted: Vec<Vec<String>> =
            batch.rows.iter().map(|row| bits_of(&|name| row[batch.place(name)].clone())).collect();
        assert_eq!(predicted, expected, "predicted in a batch of {count}");
        from = (from + count) % 60;
    }
    assert!(server.stop().success());
}

/// A row of the loans as a client sends it.
fn request(header: &[String], cells: &[String]) -> Value {
    let texts = ["purpose", "housing"];
    let feature = |(name, _): &(&String, &String)| !["loan_id", "default"].contains(&name.as_str());
    let value = |name: &String, cell: &String| match cell.as_str() {
        "" => Value::Null,
        cell if texts.contains(&name.as_str()) => json!(cell),
        cell => serde_json::from_str(cell).unwrap(),
    };
    header.iter().zip(cells).filter(feature).map(|(name, cell)| (name.clone(), value(name, cell))).collect()
}

#[test]
fn contract_5_a_fit_is_shown_the_train_rows_and_no_other() {
    let store = Store::temporary().unwrap();
    let mut project = Project::german_credit(90);
    project.replace("  scaled:\n", "  spied: {uses: test.spy, with: {names: row_id}, in: folds}\n  scaled:\n");
    project.replace("with: {columns: {type: int}}\n    in: folds", "with: {columns: {type: int}}\n    in: spied");
    let ran = project.run(&store);
    let mut held_out = Vec::new();
    for instance in ["", "@fold=0", "@fold=1", "@fold=2"] {
        let Some((shown, names, parts)) = spied(&ran, instance, &store) else { continue };
        let of = |wanted: &str| -> Vec<String> {
            names.iter().zip(&parts).filter(|(_, part)| *part == wanted).map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(shown, of("train"), "`spied/fit{instance}` was shown other rows than its train rows");
        assert!(!of("test").is_empty() && !of("validation").is_empty(), "{parts:?}");
        held_out.push(of("test"));
    }
    assert!(held_out.len() >= 3, "every fold has a fit of its own");
    let distinct: BTreeSet<&Vec<String>> = held_out.iter().collect();
    assert!(distinct.len() >= 3, "every fold holds other rows out");

    // And from a split that is drawn: the same.
    let mut project = Project::loans(160);
    project.replace("  burden:\n", "  spied: {uses: test.spy, with: {names: loan_id}, in: split}\n  burden:\n");
    let ran = project.run(&store);
    let (shown, names, parts) = spied(&ran, "", &store).unwrap();
    let train = names.iter().zip(&parts).filter(|(_, part)| *part == "train");
    assert_eq!(shown, train.map(|(name, _)| name.clone()).collect::<Vec<_>>());
    assert!(shown.len() > 50 && shown.len() < names.len());
}

/// What the spy of an instance was shown, and the name and part of every row there is.
fn spied(ran: &Ran, instance: &str, store: &Store) -> Option<(Vec<String>, Vec<String>, Vec<String>)> {
    let fit = format!("spied/fit{instance}");
    ran.plan.tasks.iter().find(|task| task.name == fit)?;
    let shown = ran.files(&fit, "fitted", store).read_json("fitted.json").unwrap();
    let table = format!("spied{instance}");
    let key = &ran.plan.tasks.iter().find(|task| task.name == table)?.bound.options["names"];
    Some((shown, ran.cells(&table, key.as_str().unwrap(), store), ran.split(&table, store)))
}

#[test]
fn contract_6_a_killed_run_leaves_nothing_but_finished_work() {
    let project = Project::loans(140);
    project.write();
    said(project.path(), &["run", "pipeline.yaml", "--store", "calm"]).ok();
    let calm = digests(project.path(), "calm");
    // Killed after so many tasks have finished: at the first, amid the fits, while the models learn, at the end.
    for finished in [0, 1, 4, 7, 10, 13] {
        let store = format!("torn{finished}");
        let command = fuseline(project.path(), &["run", "pipeline.yaml", "--store", &store, "--json"]);
        let mut running = Running::start(command);
        let mut seen = 0;
        assert!(running.line().unwrap().contains("run_started"));
        while seen < finished {
            seen += usize::from(running.line().unwrap().contains("task_finished"));
        }
        running.kill();
        let again = said(project.path(), &["run", "pipeline.yaml", "--store", &store, "--json"]).ok();
        assert_eq!(again.last_line()["status"], "succeeded");
        assert_eq!(digests(project.path(), &store), calm, "killed after {finished} tasks");
    }
}

const SECRET: &str = "correct-horse/battery\"staple";

#[test]
fn contract_7_the_value_of_a_secret_is_nowhere() {
    let project = Project::of_text("");
    let folder = project.path();
    let run = |arguments: &[&str]| {
        let mut command = fuseline(folder, arguments);
        command.env("DOOR", SECRET);
        ended(command)
    };
    let mut all = String::new();
    for (said, code) in [("nowhere", 0), ("warning", 0), ("error", 1), ("panic", 1), ("cell", 1)] {
        let file = format!("{said}.yaml");
        let text = format!(
            "fuseline: 1\nname: {said}\nenv: {{DOOR: {{secret: true}}}}\nnodes:\n  door: {{uses: test.secret, with: {{token: '${{env.DOOR}}', said: {said}}}}}\n"
        );
        std::fs::write(folder.join(&file), text).unwrap();
        for arguments in [
            vec!["run", &file],
            vec!["run", &file, "--json", "--force"],
            vec!["render", &file],
            vec!["plan", &file, "--json"],
            vec!["check", &file, "--json"],
            vec!["show", "last"],
            vec!["show", "last", "--json"],
        ] {
            let ended = run(&arguments);
            if arguments[0] == "run" {
                assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
            }
            all.push_str(&ended.stdout);
            all.push_str(&ended.stderr);
        }
    }
    // It was opened: its length is no secret.
    run(&["run", "nowhere.yaml"]).ok();
    let peeked = run(&["peek", "door", "--pipeline", "nowhere.yaml", "--json"]).ok().json();
    assert_eq!(peeked["head"][0]["answer"], SECRET.len().to_string());

    assert!(all.contains("the door took"), "the warning was shown: {all}");
    assert!(all.contains("${env.DOOR}"), "`render` shows the secret's name");
    let mut files = 0;
    let parts = ["correct-horse", "battery\"staple", "battery\\\"staple"];
    assert!(parts.iter().all(|part| !all.contains(part)), "the secret was said: {all}");
    each_file(folder, &mut |path, bytes| {
        files += 1;
        for part in parts {
            let is_there = bytes.windows(part.len()).any(|window| window == part.as_bytes());
            assert!(!is_there, "the secret is in {}", path.display());
        }
    });
    assert!(files > 10, "the store has files");
}

fn each_file(folder: &Path, look: &mut dyn FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, look);
        } else {
            look(&path, &std::fs::read(&path).unwrap());
        }
    }
}

#[test]
fn a_second_run_does_nothing() {
    let tables = [Project::loans(140), Project::telco_churn(110), Project::german_credit(90)];
    let texts = [Project::quickstart(70), Project::receipts(60), Project::banking77(60)];
    let sounds = [Project::spoken_digits(60), Project::unseen_speakers(72)];
    for project in tables.into_iter().chain(texts).chain(sounds) {
        let store = Store::temporary().unwrap();
        let first = project.run(&store);
        let all_ran = first.outcome.tasks.iter().all(|task| task.status == TaskStatus::Ran);
        assert!(all_ran, "{:#?}", first.outcome.tasks);
        let second = project.run(&store);
        assert!(second.executed().is_empty(), "{:?}", second.executed());
        differ_nowhere(&made(&first, &store), &made(&second, &store));
        assert_eq!(first.outcome.metrics, second.outcome.metrics);
    }
}
