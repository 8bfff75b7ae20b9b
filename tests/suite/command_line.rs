//! The command line as a user meets it: exit codes, messages, files.

use serde_json::Value;

use crate::look_alike::Csv;
use crate::process::{Server, ended, fuseline, said};
use crate::workshop::Project;

/// A folder with the loans pipeline in it.
fn loans() -> Project {
    let project = Project::loans(120);
    project.write();
    project
}

#[test]
fn init_gives_a_pipeline_that_checks_and_never_writes_over_one() {
    let folder = tempfile::tempdir().unwrap();
    said(folder.path(), &["init", "credit"]).ok();
    let checked = said(folder.path(), &["check", "credit/pipeline.yaml"]).ok();
    assert!(checked.stdout.contains("no errors"), "{checked:?}");
    assert_eq!(checked.stderr, "");
    std::fs::write(folder.path().join("credit/pipeline.yaml"), "mine").unwrap();
    let again = said(folder.path(), &["init", "credit"]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("is already there"), "{again:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("credit/pipeline.yaml")).unwrap(), "mine");
}

#[test]
fn plan_says_by_its_exit_code_whether_there_is_work() {
    let project = loans();
    let plan = || said(project.path(), &["plan", "pipeline.yaml"]);
    let before = plan();
    assert_eq!(before.code, Some(2), "{before:?}");
    assert!(!project.path().join(".fuseline").exists(), "a plan leaves nothing behind");
    said(project.path(), &["run", "pipeline.yaml"]).ok();
    let after = plan();
    assert_eq!(after.code, Some(0), "{after:?}");
    let json = said(project.path(), &["plan", "pipeline.yaml", "--json"]).ok().json();
    let tasks = json["tasks"].as_array().unwrap();
    assert!(tasks.len() > 10 && tasks.iter().all(|task| task["outlook"] == "hit"), "{json:#}");
    assert_eq!(said(project.path(), &["plan", "pipeline.yaml", "--force"]).code, Some(2));
}

#[test]
fn plan_names_the_part_of_the_key_that_changed() {
    let mut project = loans();
    said(project.path(), &["run", "pipeline.yaml"]).ok();
    project.replace("strategy: median", "strategy: mean");
    project.write();
    let plan = said(project.path(), &["plan", "pipeline.yaml"]);
    assert_eq!(plan.code, Some(2), "{plan:?}");
    let line = plan.stdout.lines().find(|line| line.contains("filled/fit")).unwrap();
    assert!(line.contains("median") && line.contains("mean"), "{line}");
}

#[test]
fn wrong_usage_is_apart_from_errors() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in
        [&["rnu", "pipeline.yaml"][..], &["run"], &["run", "pipeline.yaml", "--threads", "0"], &["plan", "--jsn"]]
    {
        let wrong = said(folder.path(), wrong);
        assert_eq!(wrong.code, Some(64), "{wrong:?}");
        assert!(!wrong.stderr.is_empty() && wrong.stdout.is_empty(), "{wrong:?}");
    }
    let absent = said(folder.path(), &["run", "absent.yaml"]);
    assert_eq!(absent.code, Some(1));
    assert!(absent.stderr.contains("cannot read `absent.yaml`"), "{absent:?}");
    for right in [&["--help"][..], &["--version"], &["run", "--help"]] {
        said(folder.path(), right).ok();
    }
}

#[test]
fn a_misspelt_column_is_shown_where_it_stands_with_the_right_name() {
    let mut project = loans();
    project.replace("columns: [purpose, housing]", "columns: [purpose, huosing]");
    project.write();
    for command in ["check", "plan", "run"] {
        let wrong = said(project.path(), &[command, "pipeline.yaml"]);
        assert_eq!(wrong.code, Some(1), "{wrong:?}");
        assert_eq!(wrong.stdout, "", "problems are not results");
        let text = &wrong.stderr;
        assert!(text.contains("error[column.unknown]"), "{text}");
        let line = project.text.lines().position(|line| line.contains("huosing")).unwrap() + 1;
        let column = project.text.lines().nth(line - 1).unwrap().find("huosing").unwrap() + 1;
        assert!(text.contains(&format!("pipeline.yaml:{line}:{column}")), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.iter().position(|line| line.contains("columns: [purpose, huosing]")).unwrap();
        let (from, caret) = (lines[shown].find("huosing").unwrap(), lines[shown + 1].find('^').unwrap());
        assert_eq!(from, caret, "the caret stands below the word:\n{text}");
        assert!(text.contains("`housing`"), "{text}");
    }
    let json = said(project.path(), &["check", "pipeline.yaml", "--json"]);
    assert_eq!(json.code, Some(1));
    assert!(json.json().to_string().contains("column.unknown"), "{json:?}");
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let mut project = loans();
    project.replace("uses: encode.one_hot", "uses: encode.onehot");
    project.write();
    let wrong = said(project.path(), &["check", "pipeline.yaml"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("error[kind.unknown]") && wrong.stderr.contains("`encode.one_hot`"), "{wrong:?}");
    for (arguments, near) in [(["kinds", "clean.imput"], "`clean.impute`"), (["explain", "port.kin"], "`port.kind`")] {
        let wrong = said(project.path(), &arguments);
        assert_eq!(wrong.code, Some(1), "{wrong:?}");
        assert!(wrong.stderr.contains(near), "{wrong:?}");
    }
    assert!(said(project.path(), &["explain", "port.kind"]).ok().stdout.contains("port.kind"));
    assert!(said(project.path(), &["kinds", "clean.impute"]).ok().stdout.contains("max_gap_share"));
}

#[test]
fn the_last_line_of_a_json_run_is_its_outcome() {
    let project = loans();
    let ran = said(project.path(), &["run", "pipeline.yaml", "--json"]).ok();
    for line in ran.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert!(event["event"].is_string(), "{line}");
    }
    let last = ran.last_line();
    assert_eq!((&last["event"], &last["status"]), (&"run_finished".into(), &"succeeded".into()));
    assert!(last["run"].is_string() && last["seconds"].is_number());
    assert_eq!(last["nodes"]["model"], "ran");
    let score = &last["metrics"]["quality"]["roc_auc"];
    let number = |name: &str| score[name].as_f64().unwrap_or_else(|| panic!("no {name} in {score}"));
    assert!(number("low") <= number("value") && number("value") <= number("high"));
    let again = said(project.path(), &["run", "pipeline.yaml", "--json"]).ok().last_line();
    assert!(again["nodes"].as_object().unwrap().values().all(|status| status == "hit"), "{again}");
    assert_eq!(again["metrics"], last["metrics"]);
}

#[test]
fn a_failed_run_ends_with_one_and_names_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "fuseline: 1\nname: failing\nnodes:\n  rows: {uses: ingest.csv, with: {path: rows.csv, schema: {id: int}}}\n";
    std::fs::write(folder.path().join("p.yaml"), text).unwrap();
    std::fs::write(folder.path().join("rows.csv"), "id\n1\ntwo\n").unwrap();
    let failed = said(folder.path(), &["run", "p.yaml"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let all = format!("{}{}", failed.stdout, failed.stderr);
    for word in ["rows.csv", "line 3", "`id`", "two"] {
        assert!(all.contains(word), "no {word} in {all}");
    }
    let last = said(folder.path(), &["run", "p.yaml", "--json"]);
    assert_eq!((last.code, &last.last_line()["status"]), (Some(1), &"failed".into()));
}

#[test]
fn only_takes_what_a_node_needs_and_no_more() {
    let project = loans();
    let ran = said(project.path(), &["run", "pipeline.yaml", "--only", "words", "--json"]).ok().last_line();
    let nodes: Vec<&String> = ran["nodes"].as_object().unwrap().keys().collect();
    assert_eq!(nodes, ["loans", "split", "words"]);
    // Several, in either way.
    for several in [&["--only", "words,burden"][..], &["--only", "words", "--only", "burden"]] {
        let arguments = [&["run", "pipeline.yaml", "--json"], several].concat();
        let ran = said(project.path(), &arguments).ok().last_line();
        let nodes: Vec<&String> = ran["nodes"].as_object().unwrap().keys().collect();
        assert_eq!(nodes, ["burden", "loans", "split", "words"]);
    }
}

#[test]
fn a_node_that_is_not_there_is_answered_with_the_nearest() {
    let project = loans();
    for command in ["plan", "run"] {
        let wrong = said(project.path(), &[command, "pipeline.yaml", "--only", "word,quality", "--from", "modell"]);
        assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(1), ""), "{wrong:?}");
        for part in ["no node `word` to select; did you mean `words`?", "`modell` to select; did you mean `model`?"] {
            assert!(wrong.stderr.contains(part), "{wrong:?}");
        }
    }
    said(project.path(), &["run", "pipeline.yaml", "--only", "words"]).ok();
    let wrong = said(project.path(), &["peek", "wrds"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("did you mean `words`?"), "{wrong:?}");
    let wrong = said(project.path(), &["kinds", "impute"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("did you mean `clean.impute`?"), "{wrong:?}");
}

#[test]
fn memory_and_gpus_of_a_run_bound_what_its_nodes_ask_for() {
    let mut project = loans();
    project.replace("uses: encode.one_hot", "uses: encode.one_hot\n    resources: {memory: 2GiB, gpus: 1}");
    project.write();
    let warnings = |arguments: &[&str]| {
        let arguments = [&["run", "pipeline.yaml", "--force", "--only", "words"], arguments].concat();
        said(project.path(), &arguments).ok().stdout.matches("it runs alone").count()
    };
    // Both parts of the node warn, of each resource.
    assert_eq!(warnings(&["--memory", "1GiB"]), 4);
    assert_eq!(warnings(&["--memory", "1GiB", "--gpus", "1"]), 2);
    assert_eq!(warnings(&["--memory", "2GiB", "--gpus", "1"]), 0);
    for wrong in ["2", "0GiB", "much"] {
        let wrong = said(project.path(), &["run", "pipeline.yaml", "--memory", wrong]);
        assert!(wrong.code == Some(64) && wrong.stderr.contains("such as `512MiB`"), "{wrong:?}");
    }
}

#[test]
fn what_cannot_be_written_to_the_output_is_an_error_and_a_reader_that_left_is_none() {
    let project = loans();
    let into = |arguments: &[&str], out: std::process::Stdio| {
        let mut command = fuseline(project.path(), arguments);
        let output = command.stdout(out).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in [&["kinds"][..], &["check", "pipeline.yaml"], &["run", "pipeline.yaml", "--json"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, said) = into(arguments, full.into());
        assert!(code == Some(1) && said.contains("cannot write to standard output"), "{arguments:?}: {code:?} {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(into(arguments, writer.into()), (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn what_is_no_pipeline_and_no_store_is_told_in_one_sentence() {
    use std::os::unix::ffi::OsStrExt;
    let project = loans();
    // A device that never ends, a text in another encoding, a name that is no UTF-8.
    let endless = said(project.path(), &["check", "/dev/zero"]);
    assert!(endless.code == Some(1) && endless.stderr.contains("yaml.limit"), "{endless:?}");
    std::fs::write(project.path().join("latin.yaml"), b"fuseline: 1\nname: caf\xe9\n").unwrap();
    let latin = said(project.path(), &["check", "latin.yaml"]);
    assert!(latin.code == Some(1) && latin.stderr.contains("(in line 2)"), "{latin:?}");
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff.yaml");
    std::fs::copy(project.path().join("pipeline.yaml"), project.path().join(odd)).unwrap();
    let mut command = fuseline(project.path(), &["run", "--only", "words"]);
    command.arg(odd);
    ended(command).ok();
    for arguments in [&["run", "pipeline.yaml", "--store", "pipeline.yaml"][..], &["runs", "--store", "pipeline.yaml"]]
    {
        let wrong = said(project.path(), arguments);
        assert!(wrong.code == Some(1) && wrong.stderr.contains("`pipeline.yaml` is no folder"), "{wrong:?}");
    }
    // A problem is told once.
    std::fs::remove_file(project.path().join("loans/loans.csv")).unwrap();
    let absent = said(project.path(), &["run", "pipeline.yaml"]);
    assert_eq!((absent.code, absent.stderr.matches("[source.absent]").count()), (Some(1), 1), "{absent:?}");
}

#[test]
fn limits_of_a_server_that_no_clock_or_memory_could_keep_are_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    for limit in ["--timeout", "--max-body-mib", "--max-media-mib", "--max-rows", "--threads"] {
        for value in ["0", "18446744073709551615"] {
            let wrong = said(folder.path(), &["serve", "x.fuse", limit, value]);
            assert!(wrong.code == Some(64) && wrong.stderr.contains(limit), "{wrong:?}");
        }
    }
}

#[test]
fn peek_and_get_show_what_a_node_made() {
    let project = loans();
    said(project.path(), &["run", "pipeline.yaml"]).ok();
    let peeked = said(project.path(), &["peek", "filled", "--pipeline", "pipeline.yaml", "--json"]).ok().json();
    assert_eq!(peeked["rows"], 120);
    let columns = peeked["columns"].as_array().unwrap();
    let column = |name: &str| columns.iter().find(|column| column["name"] == name).unwrap();
    assert_eq!(column("employment_years")["missing"], 0, "the gaps are filled");
    assert_eq!((&column("default")["role"], &column("loan_id")["role"]), (&"target".into(), &"key".into()));

    for file in ["split.csv", "split.parquet"] {
        said(project.path(), &["get", "split", "--out", file]).ok();
    }
    let got = Csv::parse(&std::fs::read_to_string(project.path().join("split.csv")).unwrap());
    assert_eq!(got.column("loan_id"), project.data.column("loan_id"));
    let parquet = std::fs::read(project.path().join("split.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    // What was written can be read: as a pipeline reads it.
    let text = "fuseline: 1\nname: back\nnodes:\n  rows: {uses: ingest.parquet, with: {path: split.parquet}}\n";
    std::fs::write(project.path().join("back.yaml"), text).unwrap();
    said(project.path(), &["run", "back.yaml"]).ok();
    said(project.path(), &["get", "rows", "--pipeline", "back.yaml", "--out", "back.csv"]).ok();
    let back = std::fs::read_to_string(project.path().join("back.csv")).unwrap();
    assert_eq!(Csv::parse(&back).column("income"), got.column("income"));

    said(project.path(), &["get", "quality.metrics", "--out", "metrics.json"]).ok();
    let metrics = std::fs::read_to_string(project.path().join("metrics.json")).unwrap();
    assert!(metrics.contains("roc_auc"), "{metrics}");
    let wrong = said(project.path(), &["get", "split", "--out", "split.xlsx"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains(".parquet") && !project.path().join("split.xlsx").exists(), "{wrong:?}");
    let wrong = said(project.path(), &["peek", "splitt"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
}

#[test]
fn a_bundle_predicts_and_says_which_cell_it_cannot_read() {
    let project = loans();
    said(project.path(), &["run", "pipeline.yaml"]).ok();
    said(project.path(), &["predict", "loans.fuse", "loans/loans.csv", "--out", "said.csv"]).ok();
    let predicted = Csv::parse(&std::fs::read_to_string(project.path().join("said.csv")).unwrap());
    assert_eq!(predicted.rows.len(), 120);
    assert!(predicted.column("prediction").iter().all(|class| ["yes", "no"].contains(class)));
    let mut data = project.data.clone();
    let place = data.place("income");
    "much".clone_into(&mut data.rows[4][place]);
    std::fs::write(project.path().join("bad.csv"), data.to_text()).unwrap();
    let wrong = said(project.path(), &["predict", "loans.fuse", "bad.csv", "--out", "no.csv"]);
    assert_eq!(wrong.code, Some(1));
    for word in ["bad.csv", "line 6", "`income`"] {
        assert!(wrong.stderr.contains(word), "no {word} in {wrong:?}");
    }
    assert!(!project.path().join("no.csv").exists());
    std::fs::write(project.path().join("other.csv"), "a\n1\n").unwrap();
    let wrong = said(project.path(), &["predict", "loans.fuse", "other.csv", "--out", "no.csv"]);
    assert_eq!((wrong.code, wrong.stderr.matches("no column `income`").count()), (Some(1), 1), "{wrong:?}");

    let server = Server::start(project.path(), "loans.fuse");
    assert_eq!(server.request("GET", "/health", "").0, 200);
    assert_eq!(server.request("GET", "/ready", "").0, 200);
    let (status, schema) = server.request("GET", "/schema", "");
    assert!(status == 200 && schema.contains("income") && !schema.contains("loan_id"), "{schema}");
    let row = r#"{"age": 40, "income": "much", "amount": 100.5, "duration_months": 12, "purpose": "car", "housing": "own", "employment_years": null, "late_payments": 0}"#;
    let (status, answer) =
        server.request("POST", "/predict", &format!(r#"{{"rows": [{}, {row}]}}"#, row.replace("\"much\"", "20000.5")));
    assert_eq!(status, 422, "{answer}");
    assert!(answer.contains("income") && answer.contains('1'), "{answer}");
    assert!(server.request("GET", "/metrics", "").1.contains("fuseline_"));
    assert!(server.stop().success());
}

#[test]
fn diff_names_the_option_and_the_metrics_that_changed() {
    let mut project = loans();
    said(project.path(), &["run", "pipeline.yaml"]).ok();
    project.replace("strategy: median", "strategy: mean");
    project.write();
    said(project.path(), &["run", "pipeline.yaml"]).ok();
    let runs = said(project.path(), &["runs", "--json"]).ok().json();
    let ids: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    let [after, before] = ids[..] else { panic!("two runs: {ids:?}") };
    let diff = said(project.path(), &["diff", before, after]).ok().stdout;
    let line = diff.lines().find(|line| line.contains("strategy")).unwrap_or_else(|| panic!("{diff}"));
    assert!(line.contains("median") && line.contains("mean"), "{line}");
    let shown = said(project.path(), &["show", "last"]).ok().stdout;
    assert!(shown.contains(after) && shown.contains("filled/fit"), "{shown}");
}

#[test]
fn colours_are_for_those_who_ask() {
    let mut project = loans();
    project.replace("columns: [purpose, housing]", "columns: [purpose, huosing]");
    project.write();
    let with = |name: &str, value: &str| {
        let mut command = fuseline(project.path(), &["check", "pipeline.yaml"]);
        command.env(name, value);
        ended(command).stderr
    };
    assert!(with("CLICOLOR_FORCE", "1").contains('\u{1b}'), "colours can be asked for");
    assert!(!with("NO_COLOR", "1").contains('\u{1b}'));
    assert!(!with("TERM", "dumb").contains('\u{1b}'), "a pipe has no colours");
}

#[test]
fn a_graph_is_drawn_in_three_formats() {
    let project = loans();
    for (format, beginning) in [("dot", "digraph"), ("mermaid", "flowchart"), ("svg", "<svg")] {
        let graph = said(project.path(), &["graph", "pipeline.yaml", "--format", format]).ok().stdout;
        assert!(graph.trim_start().starts_with(beginning), "{graph}");
        assert!(graph.contains("burden"), "{graph}");
    }
    assert!(!project.path().join(".fuseline").exists(), "drawing leaves nothing behind");
}
