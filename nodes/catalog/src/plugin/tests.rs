//! The kind without its process, and the process without rows: shell commands stand in for plug-ins.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_core::LogicalType;
use engine_table::{
    At, Bound, Cancel, Change, ColumnType, InputTypes, Kind, Node, NodeError, Problem, ReduceInputs, RowSet, TableType,
};
use serde_json::{Value, json};

use super::process::{Launch, Process};
use super::{Manifest, Place, digest, kind};

fn manifest() -> Value {
    json!({
        "fuseline": 1,
        "kind": "acme.ratio",
        "version": "0.1.0",
        "description": "Divides.",
        "command": ["no-such-program-anywhere"],
        "options": {
            "required": ["columns"],
            "properties": {
                "columns": {"type": "array", "items": {"type": "string"}},
                "as": {"type": "string", "default": "ratio"},
                "key": {"type": "string", "default": ""}
            }
        },
        "read": [{"option": "columns", "type": "float"}, {"column": "age", "type": "int", "nullable": true}],
        "write": [{"option": "as", "type": "float", "nullable": true}],
        "effect": "row_local"
    })
}

fn made(manifest: Value, folder: &Path) -> Kind {
    let manifest: Manifest = serde_json::from_value(manifest).unwrap();
    let place = Place {
        folder: folder.to_owned(),
        digest: digest(folder).unwrap(),
        timeout: Duration::from_secs(10),
        variables: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
    };
    kind(manifest.check().unwrap(), place)
}

fn bound(options: Value) -> Result<Bound, Vec<Problem>> {
    let folder = tempfile::tempdir().unwrap();
    made(manifest(), folder.path()).bind(options.as_object().unwrap())
}

fn table() -> TableType {
    let columns = vec![
        ColumnType::new("debt", LogicalType::Float),
        ColumnType::new("income", LogicalType::Float).with_nullable(true),
        ColumnType::new("age", LogicalType::Int).with_nullable(true),
        ColumnType::new("purpose", LogicalType::Category),
    ];
    TableType { columns, row_set: RowSet("rows".into()) }
}

fn inferred(options: Value) -> Result<Change, Vec<(&'static str, At)>> {
    let Node::RowLocal(node) = bound(options).ok().unwrap().node else { panic!("a plug-in is row-local") };
    node.infer(&InputTypes::of_table(table()))
        .map_err(|problems| problems.into_iter().map(|problem| (problem.code.name, problem.at)).collect())
}

#[test]
fn types_follow_from_the_declaration_and_the_options() {
    let change = inferred(json!({"columns": ["debt", "debt"], "as": "share"})).unwrap();
    assert_eq!(change.reads, ["debt", "age"]);
    assert_eq!(change.writes.len(), 1);
    let written = &change.writes[0];
    assert_eq!((written.column.name.as_str(), written.column.nullable), ("share", true));
    assert_eq!((&written.column.logical, &written.from), (&LogicalType::Float, &change.reads));
    assert_eq!(bound(json!({"columns": ["debt"]})).ok().unwrap().key_options["as"], "ratio");
}

#[test]
fn each_column_that_does_not_fit_is_named_at_its_option() {
    let at = |place: &str| At::Option(place.to_owned());
    let problems = inferred(json!({"columns": ["debt", "incme", "purpose", "income"], "as": "age"})).unwrap_err();
    assert_eq!(
        problems,
        [
            ("column.unknown", at("/columns/1")),
            ("column.type", at("/columns/2")),
            ("column.type", at("/columns/3")),
            ("column.exists", at("/as"))
        ]
    );
    let empty = bound(json!({"columns": [], "as": ""})).err().unwrap();
    let places: Vec<At> = empty.into_iter().map(|problem| problem.at).collect();
    assert_eq!(places, [at("/columns"), at("/as")]);
}

#[test]
fn a_program_that_is_not_there_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let kind = made(manifest(), folder.path());
    let Node::RowLocal(node) = kind.bind(json!({"columns": ["debt"]}).as_object().unwrap()).ok().unwrap().node else {
        panic!("a plug-in is row-local")
    };
    let side = ReduceInputs::new(InputTypes::of_table(table()), BTreeMap::new());
    let error = node.prepare(&side).err().unwrap().to_string();
    assert!(error.contains("no program `no-such-program-anywhere`") && error.contains("plugin.yaml"), "{error}");
    std::fs::write(folder.path().join("main.py"), "changed").unwrap();
    let error = node.prepare(&side).err().unwrap().to_string();
    assert!(error.contains("was changed after the pipeline was checked"), "{error}");
}

const GREETING: &str = r#"echo '{"fuseline_plugin": 1}'"#;

fn started(script: &str, timeout: Duration, cancel: &Cancel) -> Result<Process, NodeError> {
    let launch = Launch {
        kind: "acme.test".into(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        folder: std::env::temp_dir(),
        variables: vec![("PATH".into(), "/usr/bin:/bin".into())],
        timeout,
    };
    Process::start(&launch, b"{}\n".to_vec(), cancel)
}

const LONG: Duration = Duration::from_secs(60);

fn start_error(script: &str) -> String {
    started(script, LONG, &Cancel::new()).err().unwrap().to_string()
}

/// What it answers to a request after its greeting.
fn ask_error(script: &str) -> String {
    let mut process = started(&format!("{GREETING}; {script}"), LONG, &Cancel::new()).unwrap();
    process.ask(b"ROWS\0\0\0\0\0\0\0\0".to_vec()).unwrap_err().to_string()
}

#[test]
fn a_crash_is_told_with_the_status_and_the_last_words() {
    let error = start_error("echo one >&2; echo two >&2; exit 3");
    assert!(error.contains("`acme.test` crashed before it gave its greeting (exit status 3)"), "{error}");
    assert!(error.ends_with(":\n  one\n  two"), "{error}");
    assert!(ask_error("kill -9 $$").contains("(signal 9); it said nothing on standard error"));
    assert!(ask_error("exit 0").contains("ended before it gave the rows it was asked for (exit status 0)"));
    assert!(ask_error("printf 'ROWS\\011\\0\\0\\0\\0\\0\\0\\0ab'; exit 1").contains("after 2 of the 9 bytes"));
}

#[test]
fn what_it_prints_to_standard_output_is_shown() {
    let error = start_error("echo loading the model; sleep 1000");
    assert!(error.contains("wrote `loading the model` to its standard output in place of its greeting"), "{error}");
    assert!(ask_error("echo 10 rows; sleep 1000").contains("wrote `10 rows`"));
    assert!(start_error(r#"echo '{"fuseline_plugin": 7}'"#).contains("speaks version 7"));
    assert!(ask_error("printf 'FAIL\\003\\0\\0\\0\\0\\0\\0\\0no!'; cat >/dev/null").contains("says: no!"));
}

#[test]
fn chatter_on_standard_error_blocks_nothing_and_its_end_is_kept() {
    let flood = "i=0; while [ $i -lt 20000 ]; do echo a line of chatter >&2; i=$((i+1)); done";
    let error = ask_error(&format!("{flood}; echo the last >&2; exit 1"));
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!((lines.len(), lines.last().copied()), (21, Some("  the last")), "{error}");
}

#[test]
fn a_hang_ends_with_the_limit_and_a_wait_with_the_token() {
    let begun = Instant::now();
    let short = Duration::from_millis(100);
    let error = started("sleep 1000", short, &Cancel::new()).err().unwrap().to_string();
    assert!(error.contains("gave no answer for 100ms"), "{error}");
    // What it says before its greeting has been said once that has come.
    let mut hang = started(&format!("echo thinking >&2; {GREETING}; sleep 1000"), LONG, &Cancel::new()).unwrap();
    hang.timeout = short;
    let error = hang.ask(Vec::new()).unwrap_err().to_string();
    assert!(error.contains("gave no answer for 100ms") && error.contains("thinking"), "{error}");

    let cancel = Cancel::new();
    let mut process = started(&format!("{GREETING}; sleep 1000"), LONG, &cancel).unwrap();
    let token = cancel.clone();
    let canceller = std::thread::spawn(move || token.cancel());
    assert!(matches!(process.ask(Vec::new()), Err(NodeError::Cancelled)));
    drop(process);
    canceller.join().unwrap();
    assert!(begun.elapsed() < LONG, "nothing was waited for longer than it had to be");
}

#[test]
fn a_process_is_ended_by_the_end_of_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ended");
    let script = format!("{GREETING}; cat >/dev/null; echo done >'{}'", mark.display());
    drop(started(&script, LONG, &Cancel::new()).unwrap());
    assert_eq!(std::fs::read_to_string(mark).unwrap(), "done\n");
}

#[test]
fn the_process_has_only_the_environment_it_is_given() {
    let error = start_error("env | sort >&2; exit 1");
    let names: Vec<&str> = error.lines().skip(1).filter_map(|line| line.trim().split('=').next()).collect();
    for name in &names {
        let fixed = ["LANG", "LC_ALL", "TZ", "OMP_NUM_THREADS", "PATH", "PWD", "SHLVL", "_", "OLDPWD"];
        assert!(fixed.contains(name) || name.starts_with("PYTHON"), "{name} in {error}");
    }
    assert!(names.contains(&"PATH") && names.contains(&"TZ"), "{error}");
}

#[test]
fn a_declared_variable_is_passed_on_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = manifest();
    manifest["command"] = json!(["sh", "-c", "echo $ACME_HOME $ACME_OTHER >&2; exit 1"]);
    manifest["env"] = json!(["ACME_HOME"]);
    let said = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let place = Place {
            folder: folder.path().to_owned(),
            digest: digest(folder.path()).unwrap(),
            timeout: LONG,
            variables: variables.collect(),
        };
        let manifest: Manifest = serde_json::from_value(manifest.clone()).unwrap();
        let kind = kind(manifest.check().unwrap(), place);
        let bound = kind.bind(json!({"columns": ["debt"]}).as_object().unwrap()).ok().unwrap();
        let Node::RowLocal(node) = bound.node else { panic!("a plug-in is row-local") };
        let side = ReduceInputs::new(InputTypes::of_table(table()), BTreeMap::new());
        node.prepare(&side).err().unwrap().to_string()
    };
    let path = ("PATH", "/usr/bin:/bin");
    assert!(said(&[path]).contains("needs `ACME_HOME`, which the environment does not have"));
    let error = said(&[path, ("ACME_HOME", "here"), ("ACME_OTHER", "there")]);
    assert!(error.ends_with("\n  here"), "{error}");
}

#[test]
fn secrets_are_opened_in_the_greeting_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = manifest();
    manifest["command"] = json!(["sh", "-c", "head -n 1 >&2; exit 1"]);
    let kind = made(manifest, folder.path());
    let bound = kind.bind(json!({"columns": ["debt"], "key": "${env.KEY}"}).as_object().unwrap()).ok().unwrap();
    assert_eq!(bound.key_options["key"], "${env.KEY}");
    let Node::RowLocal(node) = bound.node else { panic!("a plug-in is row-local") };
    let mut side = ReduceInputs::new(InputTypes::of_table(table()), BTreeMap::new());
    let error = node.prepare(&side).err().unwrap().to_string();
    assert!(error.contains("the environment has no `KEY`"), "{error}");
    side.secrets = Arc::new(BTreeMap::from([("KEY".to_owned(), "s3cret".to_owned())]));
    let error = node.prepare(&side).err().unwrap().to_string();
    assert!(error.contains(r#""key":"s3cret""#) && error.contains(r#""fuseline_plugin":1"#), "{error}");
}
