//! Plug-ins from outside: a folder with a program in it, used by a pipeline, tried, and misbehaving in every way.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Running, Said, ended, fuseline, said};

/// The file of a plug-in that doubles a column.
const MANIFEST: &str = "\
fuseline: 1
kind: acme.double
version: 1.0.0
description: Doubles a column.
command: ['PROGRAM']
options:
  required: [column]
  properties:
    column: {type: string, description: The column.}
    as: {type: string, default: doubled, description: The name of the result.}
    mode: {type: string, default: ok, description: How to misbehave.}
    token: {type: string, default: '', description: A secret.}
read: [{option: column, type: float}]
write: [{option: as, type: float}]
effect: row_local
timeout: TIMEOUT
";

const PIPELINE: &str = "\
fuseline: 1
name: doubles
plugins: [acme]
nodes:
  rows: {uses: ingest.csv, with: {path: rows.csv, types: {x: float, n: int}}}
  doubled: {uses: acme.double, with: {column: x, mode: ok}, in: rows}
  scaled: {uses: encode.standardize, with: {columns: [doubled], fit_on: all}, in: doubled}
  other: {uses: encode.standardize, with: {columns: [x], fit_on: all}, in: rows}
";

/// A folder with a plug-in in `acme`, data, and a pipeline that uses both.
struct Bench(TempDir);

impl Bench {
    fn new() -> Bench {
        let bench = Bench(tempfile::tempdir().unwrap());
        bench.write("acme/plugin.yaml", &MANIFEST.replace("TIMEOUT", "1m"));
        bench.write("pipeline.yaml", PIPELINE);
        let rows: String = (0..20).map(|row| format!("{}.5,{row}\n", row - 10)).collect();
        bench.write("rows.csv", &format!("x,n\n{rows}"));
        bench
    }

    /// A bench whose plug-in misbehaves.
    fn misbehaving(mode: &str) -> Bench {
        let bench = Bench::new();
        bench.replace("pipeline.yaml", "mode: ok", &format!("mode: {mode}"));
        bench
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("PROGRAM", env!("CARGO_BIN_EXE_plugin-under-test"))).unwrap();
    }

    fn replace(&self, name: &str, from: &str, to: &str) {
        let path = self.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{name} has no `{from}`:\n{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn said(&self, arguments: &[&str]) -> Said {
        said(self.path(), arguments)
    }

    /// The error of the plug-in's node in a run, which must fail.
    fn error(&self) -> String {
        let run = self.said(&["run", "pipeline.yaml", "--json"]);
        assert_eq!(run.code, Some(1), "{run:?}");
        let events = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut errors = events.filter(|event| event["task"] == "doubled").filter_map(|event| {
            let error = event["error"].as_str()?;
            Some(error.to_owned())
        });
        errors.next_back().unwrap_or_else(|| panic!("the node has no error: {run:?}"))
    }

    fn outlooks(&self) -> Vec<(String, String, String)> {
        let plan = self.said(&["plan", "pipeline.yaml", "--json"]).json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tasks = plan["tasks"].as_array().unwrap().iter();
        tasks.map(|task| (text(&task["task"]), text(&task["outlook"]), task["reasons"].to_string())).collect()
    }
}

#[test]
fn a_plugin_is_a_kind_like_any_other() {
    let bench = Bench::new();
    let checked = bench.said(&["check", "pipeline.yaml"]).ok();
    assert!(checked.stdout.contains("no errors"), "{checked:?}");
    let columns = bench.said(&["plan", "pipeline.yaml", "--columns"]);
    assert!(columns.stdout.contains("doubled"), "{columns:?}");
    bench.said(&["run", "pipeline.yaml"]).ok();
    let rows = bench.said(&["peek", "doubled", "--pipeline", "pipeline.yaml", "--rows", "20", "--json"]).ok().json();
    for row in rows["head"].as_array().unwrap() {
        assert_eq!(row["doubled"].as_f64().unwrap(), 2.0 * row["x"].as_f64().unwrap(), "{row}");
    }
    assert_eq!(rows["head"].as_array().unwrap().len(), 20);
    assert_eq!(bench.said(&["plan", "pipeline.yaml"]).code, Some(0), "everything is stored");

    let listed = bench.said(&["kinds", "--plugins", "."]).ok().stdout;
    assert!(listed.contains("acme.double") && listed.contains("Doubles a column."), "{listed}");
    let manual = bench.said(&["kinds", "acme.double", "--plugins", "acme"]).ok().stdout;
    assert!(manual.contains("How to misbehave"), "{manual}");
    let schema = bench.said(&["schema", "acme.double", "--plugins", "acme"]).ok().json();
    assert_eq!(schema["properties"]["as"]["default"], "doubled");
    let whole = bench.said(&["schema", "--plugins", "acme"]).ok().json();
    assert!(whole["$defs"]["options.acme.double"].is_object());
    assert_eq!(bench.said(&["kinds", "acme.double"]).code, Some(1), "without its folder nobody knows it");
}

#[test]
fn editing_its_code_runs_its_nodes_again_and_no_others() {
    let bench = Bench::new();
    bench.said(&["run", "pipeline.yaml"]).ok();
    bench.write("acme/__pycache__/main.pyc", "a cache");
    assert!(bench.outlooks().iter().all(|(_, outlook, _)| outlook == "hit"), "caches are no code");
    bench.write("acme/lexicon.txt", "a word more");
    for (task, outlook, reasons) in bench.outlooks() {
        match task.as_str() {
            "rows" | "other" | "other/fit" => assert_eq!(outlook, "hit", "{task}"),
            "doubled" => assert!(outlook == "run" && reasons.contains("version"), "{outlook} {reasons}"),
            _ => assert_eq!(outlook, "may_run", "{task}"),
        }
    }
    // Its rows come out as before, so the rebuild stops there.
    let run = bench.said(&["run", "pipeline.yaml", "--json"]).ok();
    let ran: Vec<String> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["status"] == "ran")
        .filter_map(|event| event["task"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(ran, ["doubled"]);
}

#[test]
fn whatever_comes_back_wrong_is_named() {
    for (mode, words) in [
        ("wrong_column", "did not give the column `doubled`, which its file declares; it gave `something_else`"),
        ("wrong_type", "the column `doubled` is declared as float, stored as f64, found i64"),
        ("wrong_rows", "gave 19 rows for the 20 it was asked for"),
        ("gaps", "the column `doubled` has 20 gaps in 20 rows"),
        ("print", "wrote `hello from the plug-in` to its standard output"),
        ("refuse", "says: the column is not to my taste"),
        ("early", "ended before it gave the rows it was asked for (exit status 0)"),
    ] {
        let error = Bench::misbehaving(mode).error();
        assert!(error.contains("the plug-in `acme.double` ") && error.contains(words), "{mode}: {error}");
    }
}

#[test]
fn a_crash_is_told_with_the_last_words() {
    let error = Bench::misbehaving("crash").error();
    assert!(error.contains("crashed before it gave the rows it was asked for (signal 6)"), "{error}");
    assert!(error.ends_with("\n  opening the model\n  out of cheese"), "{error}");
}

#[test]
fn a_secret_reaches_the_plugin_and_is_blacked_out_in_what_it_says() {
    let bench = Bench::misbehaving("tell");
    bench.replace("pipeline.yaml", "mode: tell", "mode: tell, token: '${env.ACME_TOKEN}'");
    bench.replace("pipeline.yaml", "name: doubles\n", "name: doubles\nenv: {ACME_TOKEN: {secret: true}}\n");
    let mut command = fuseline(bench.path(), &["run", "pipeline.yaml", "--json"]);
    command.env("ACME_TOKEN", "xyzzy-4711");
    let run = ended(command);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.contains("the token has 10 letters"), "{run:?}");
    assert!(!run.stdout.contains("xyzzy") && !run.stderr.contains("xyzzy"), "{run:?}");
}

#[test]
fn one_process_computes_all_chunks_of_a_node() {
    let bench = Bench::misbehaving("count");
    // Wide enough for several chunks.
    let padding = "-".repeat(400);
    let rows: String = (0..20_000).map(|row| format!("{row}.25,{row},{padding}\n")).collect();
    bench.write("rows.csv", &format!("x,n,padding\n{rows}"));
    bench.said(&["run", "pipeline.yaml", "--threads", "4"]).ok();
    let asked = fs::read_to_string(bench.path().join("acme/__pycache__/asked")).unwrap();
    let processes: BTreeSet<&str> = asked.lines().collect();
    assert!(asked.lines().count() > 1, "the table has one chunk only");
    assert_eq!(processes.len(), 1, "{asked}");
    bench.said(&["get", "doubled", "--pipeline", "pipeline.yaml", "--out", "doubled.csv"]).ok();
    let doubled = fs::read_to_string(bench.path().join("doubled.csv")).unwrap();
    for (row, line) in doubled.lines().skip(1).enumerate() {
        let cells: Vec<f64> = line.split(',').filter_map(|cell| cell.parse().ok()).collect();
        assert_eq!(cells, [row as f64 + 0.25, row as f64, 2.0 * row as f64 + 0.5]);
    }
    assert_eq!(doubled.lines().count(), 20_001);
}

#[test]
fn chatter_is_no_failure() {
    Bench::misbehaving("chatter").said(&["run", "pipeline.yaml"]).ok();
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let bench = Bench::new();
    bench.replace("acme/plugin.yaml", env!("CARGO_BIN_EXE_plugin-under-test"), "no-such-program");
    bench.said(&["check", "pipeline.yaml"]).ok();
    let error = bench.error();
    assert!(error.contains("there is no program `no-such-program` in the folders of PATH"), "{error}");
    assert!(error.contains("acme/plugin.yaml"), "{error}");
}

/// The number of the process that hangs, once it does.
fn hanging(bench: &Bench) -> PathBuf {
    let file = bench.path().join("acme/__pycache__/pid");
    let begun = Instant::now();
    while !file.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the plug-in was never asked");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    PathBuf::from("/proc").join(fs::read_to_string(file).unwrap())
}

#[test]
fn a_hang_ends_with_the_plugins_own_limit() {
    let bench = Bench::misbehaving("hang");
    bench.write("acme/plugin.yaml", &MANIFEST.replace("TIMEOUT", "5s"));
    let error = bench.error();
    assert!(error.contains("gave no answer for 5s") && error.contains("\n  thinking"), "{error}");
    assert!(!hanging(&bench).exists(), "its process is still there");
}

#[test]
fn a_hang_ends_with_the_limit_of_its_node() {
    let bench = Bench::misbehaving("hang");
    bench.replace("pipeline.yaml", "in: rows}\n  scaled", "in: rows, timeout: 5s}\n  scaled");
    let error = bench.error();
    assert!(error.contains("longer than its `timeout` of 5s"), "{error}");
    assert!(!hanging(&bench).exists(), "its process is still there");
}

#[test]
fn a_hang_ends_with_the_run() {
    let bench = Bench::misbehaving("hang");
    let running = Running::start(fuseline(bench.path(), &["run", "pipeline.yaml"]));
    let process = hanging(&bench);
    assert!(process.exists());
    assert_eq!(running.terminate().code(), Some(130));
    assert!(!process.exists(), "its process is still there");
}

#[test]
fn a_test_shows_whether_rows_depend_on_each_other() {
    let bench = Bench::new();
    let test = |mode: &str, more: &[&str]| {
        let mode = format!("mode={mode}");
        bench.said(&[&["plugin", "test", "acme", "--set", "column=x", "--set", &mode], more].concat())
    };
    let fine = test("ok", &[]).ok();
    assert!(fine.stdout.contains("each row depends on that row alone"), "{fine:?}");
    assert!(test("ok", &["--data", "rows.csv"]).ok().stdout.contains("20 rows"));
    for (mode, data) in [("mean", &["--data", "rows.csv"][..]), ("memory", &[])] {
        let wrong = test(mode, data);
        assert_eq!(wrong.code, Some(1), "{wrong:?}");
        let text = &wrong.stderr;
        assert!(text.contains("error[plugin.not_row_local]") && text.contains("acme/plugin.yaml:15:9"), "{text}");
        assert!(text.contains("(from 0) of `doubled` is") && text.contains("in chunks of 7"), "{text}");
    }
    let wrong = test("wrong_type", &[]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("declared as float"), "{wrong:?}");
    let missing = bench.said(&["plugin", "test", "acme"]);
    assert!(missing.code == Some(1) && missing.stderr.contains("needs the option `column`"), "{missing:?}");
    let absent = bench.said(&["plugin", "test", "acme", "--set", "column=y", "--data", "rows.csv"]);
    assert!(absent.code == Some(1) && absent.stderr.contains("no column `y`"), "{absent:?}");
}

/// The problems `check` finds, as `code file:line:column message`.
fn problems(bench: &Bench) -> Vec<String> {
    let checked = bench.said(&["check", "pipeline.yaml", "--json"]);
    let problems = checked.json();
    let place = |problem: &Value| {
        let text = |name: &str| problem[name].as_str().unwrap_or("?").to_owned();
        format!("{} {}:{}:{} {}", text("code"), text("file"), problem["line"], problem["column"], text("message"))
    };
    problems.as_array().unwrap().iter().map(place).collect()
}

/// Whether exactly the problems that begin so are found.
fn check_problems(bench: &Bench, expected: &[&str]) {
    let found = problems(bench);
    let as_expected = found.len() == expected.len()
        && expected.iter().all(|expected| found.iter().any(|problem| problem.starts_with(expected)));
    assert!(as_expected, "expected {expected:#?}\nfound {found:#?}");
}

#[test]
fn every_problem_of_a_plugins_file_is_found_at_its_place_with_those_of_the_pipeline() {
    let bench = Bench::new();
    bench.replace("acme/plugin.yaml", "effect: row_local", "effect: whole");
    bench.replace("acme/plugin.yaml", "option: as, type: float", "option: az, type: flot");
    bench.replace("pipeline.yaml", "columns: [x]", "colums: [x]");
    check_problems(
        &bench,
        &[
            "plugin.effect acme/plugin.yaml:15:9 plug-ins with the effect `whole` come later",
            "plugin.manifest acme/plugin.yaml:14:18 there is no option `az`",
            "plugin.manifest acme/plugin.yaml:14:28 `flot` is not a type",
            "option.unknown pipeline.yaml:8:",
        ],
    );
    // What the schema of the file says comes before what it cannot say.
    bench.replace("acme/plugin.yaml", "timeout: 1m", "timeout: soon\nsrving: skip");
    bench.replace("acme/plugin.yaml", "type: string, default: ok", "type: strin, default: ok");
    check_problems(
        &bench,
        &[
            "plugin.manifest acme/plugin.yaml:16:10 `timeout` must be a duration",
            "plugin.manifest acme/plugin.yaml:17:1 a plug-in has no key `srving`",
            "plugin.manifest acme/plugin.yaml:11:18 the JSON schema is broken",
            "option.unknown pipeline.yaml:8:",
        ],
    );
    bench.write("acme/plugin.yaml", "kind: [\n");
    check_problems(&bench, &["yaml.syntax acme/plugin.yaml:", "option.unknown pipeline.yaml:8:"]);
}

#[test]
fn folders_without_plugins_and_names_that_are_taken_are_told() {
    let bench = Bench::new();
    bench.replace("pipeline.yaml", "plugins: [acme]", "plugins: [acme, gone, acme]");
    check_problems(
        &bench,
        &[
            "plugin.folder pipeline.yaml:3:17 there is no plug-in here: cannot read `gone/plugin.yaml`",
            "plugin.name pipeline.yaml:3:23 the plug-in `acme.double` is named twice",
        ],
    );
    bench.replace("pipeline.yaml", "plugins: [acme, gone, acme]", "plugins: [acme, other, builtin]");
    bench.write("other/plugin.yaml", &MANIFEST.replace("TIMEOUT", "1m"));
    bench.write("builtin/plugin.yaml", &MANIFEST.replace("TIMEOUT", "1m").replace("acme.double", "clean.impute"));
    check_problems(
        &bench,
        &[
            "plugin.name other/plugin.yaml:2:7 two plug-ins are called `acme.double`",
            "plugin.name builtin/plugin.yaml:2:7 `clean.impute` is the name of a built-in kind",
        ],
    );
}

#[test]
fn options_and_columns_are_checked_like_those_of_any_kind() {
    let bench = Bench::new();
    bench.replace("pipeline.yaml", "{column: x, mode: ok}", "{column: xx, mod: ok}");
    check_problems(&bench, &["option.unknown pipeline.yaml:6:"]);
    bench.replace("pipeline.yaml", "{column: xx, mod: ok}", "{column: y, mode: ok}");
    check_problems(&bench, &["column.unknown pipeline.yaml:6:47 the input has no column `y`"]);
    bench.replace("pipeline.yaml", "{column: y, mode: ok}", "{column: n, as: x}");
    check_problems(
        &bench,
        &[
            "column.type pipeline.yaml:6:47 `n` is int, and `acme.double` reads it as float",
            "column.exists pipeline.yaml:6:54 the input has a column `x` already",
        ],
    );
}

#[test]
fn a_bundle_holds_no_plugin() {
    let bench = Bench::new();
    bench.write(
        "pipeline.yaml",
        "\
fuseline: 1
name: served
plugins: [acme]
nodes:
  rows: {uses: ingest.csv, with: {path: rows.csv, types: {x: float, n: int}, roles: {n: target}}}
  split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: rows}
  doubled: {uses: acme.double, with: {column: x}, in: split}
  inputs: {uses: encode.table, with: {columns: [doubled]}, in: doubled}
  model: {uses: train.multimodal, with: {target: n, task: regression, epochs: 1}, in: {encoders: inputs}}
  bundle: {uses: deploy.bundle, with: {request: rows, out: model.fuse}, in: {model: model}}
",
    );
    check_problems(
        &bench,
        &[
            "serving.refuse pipeline.yaml:7:19 `doubled` gives `doubled`, which the model needs, and `acme.double` is not",
        ],
    );
    let told = bench.said(&["check", "pipeline.yaml"]).stderr;
    assert!(told.contains("let the client send what it makes: `request: doubled`"), "{told}");
    bench.replace("pipeline.yaml", "request: rows", "request: doubled");
    bench.said(&["check", "pipeline.yaml"]).ok();
    bench.replace("acme/plugin.yaml", "effect: row_local", "effect: row_local\nserving: skip");
    bench.replace("pipeline.yaml", "request: doubled", "request: rows");
    check_problems(&bench, &["serving.refuse pipeline.yaml:7:19 `doubled` writes `doubled`, which the model needs"]);
}

#[test]
fn the_repositorys_pipelines_with_plugins_check_without_their_programs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let checked = said(&root.join("pipelines"), &["check", "news.yaml"]).ok();
    assert!(checked.stdout.contains("no errors"), "{checked:?}");
}
