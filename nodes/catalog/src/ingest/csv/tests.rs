//! Claims about whole files, through `peek` and `read`.

use std::sync::{Arc, Mutex};

use polars::prelude::*;
use tempfile::TempDir;

use super::*;

/// A kind and the folder of its file, which vanishes with it.
struct Placed {
    kind: Csv,
    _folder: TempDir,
}

impl std::ops::Deref for Placed {
    type Target = Csv;

    fn deref(&self) -> &Csv {
        &self.kind
    }
}

fn placed(bytes: &[u8], more: serde_json::Value) -> Placed {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    std::fs::write(&path, bytes).unwrap();
    Placed { kind: bound(&path, more).ok().unwrap(), _folder: folder }
}

fn kind(text: &str, more: serde_json::Value) -> Placed {
    placed(text.as_bytes(), more)
}

fn bound(path: &std::path::Path, more: serde_json::Value) -> Result<Csv, Vec<Problem>> {
    let mut options = serde_json::json!({"path": path});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    Csv::new(serde_json::from_value(options).unwrap())
}

fn columns(kind: &Csv) -> Vec<ColumnType> {
    match kind.peek().unwrap() {
        Peek::Columns(columns) => columns,
        Peek::Absent(note) => panic!("{note}"),
    }
}

fn read_all(kind: &Csv) -> Result<DataFrame, NodeError> {
    let mut all: Option<DataFrame> = None;
    kind.read(&columns(kind), &Context::quiet(), &mut |frame| {
        match &mut all {
            Some(all) => {
                all.vstack_mut(&frame).unwrap();
            }
            None => all = Some(frame),
        }
        Ok(())
    })?;
    Ok(all.unwrap())
}

fn shown(columns: &[ColumnType]) -> Vec<String> {
    let gap = |column: &ColumnType| if column.nullable { "?" } else { "" };
    columns.iter().map(|column| format!("{} {}{} {}", column.name, column.logical, gap(column), column.role)).collect()
}

const TELCO: &str = "customer,tenure,Partner,TotalCharges,Churn\n\
                     7590-V,1,Yes,29.85,No\n5575-G,0,No, ,No\n3668-Q,45,No,1840.75,Yes\n";

fn failure(kind: &Csv) -> String {
    read_all(kind).unwrap_err().to_string()
}

#[test]
fn types_are_guessed_declared_and_given_roles() {
    let kind = kind(
        TELCO,
        serde_json::json!({
            "types": {"customer": "text", "TotalCharges": "float"},
            "column_nulls": {"TotalCharges": [" "]},
            "roles": {"customer": "key", "Churn": "target"}
        }),
    );
    assert_eq!(
        shown(&columns(&kind)),
        [
            "customer text key",
            "tenure int feature",
            "Partner category feature",
            "TotalCharges float? feature",
            "Churn category target"
        ]
    );
    let frame = read_all(&kind).unwrap();
    assert_eq!(frame.column("TotalCharges").unwrap().f64().unwrap().to_vec(), [Some(29.85), None, Some(1840.75)]);
    assert_eq!(frame.column("tenure").unwrap().i64().unwrap().to_vec(), [Some(1), Some(0), Some(45)]);
}

#[test]
fn a_blank_cell_in_a_number_names_file_line_column_and_way_out() {
    let message = failure(&kind(TELCO, serde_json::json!({"types": {"TotalCharges": "float"}})));
    assert!(
        message.ends_with(
            "rows.csv`, line 3, column `TotalCharges`: ` ` is not a float (a finite decimal number); \
             if it means missing, write `column_nulls: {TotalCharges: [\"\", \" \"]}`"
        ),
        "{message}"
    );
}

#[test]
fn lines_are_counted_through_cells_with_line_ends() {
    let text = "note,n\n\"two\nlines\",1\nx,many\n";
    let message = failure(&kind(text, serde_json::json!({"types": {"n": "int"}})));
    assert!(message.contains("line 4, column `n`: `many` is not an int"), "{message}");
    assert!(message.contains("`types: {n: text}`"), "{message}");
}

#[test]
fn a_record_with_other_cells_than_the_header_is_an_error_with_its_line() {
    let kind = kind("a,b\n1,2\n3\n", serde_json::json!({"schema": {"a": "int", "b": "int"}}));
    assert!(failure(&kind).contains("line 3: 1 cells, but the header has 2"));
}

#[test]
fn empty_text_is_present_only_where_it_does_not_mean_missing() {
    let text = "a,b\n,\nx,y\n";
    let frame = read_all(&kind(text, serde_json::json!({"column_nulls": {"b": []}}))).unwrap();
    assert_eq!(frame.column("a").unwrap().null_count(), 1);
    assert_eq!(frame.column("b").unwrap().str().unwrap().get(0), Some(""));
}

#[test]
fn a_gap_behind_the_head_is_an_error_until_the_column_is_nullable() {
    let mut text = "id,x\n".to_owned();
    for row in 0..HEAD_ROWS {
        text.push_str(&format!("{row},{row}.5\n"));
    }
    text.push_str("last,\n");
    let types = serde_json::json!({"id": "text"});
    let message = failure(&kind(&text, serde_json::json!({"types": types})));
    assert!(message.contains("line 10002, column `x`: a missing cell"), "{message}");
    let frame = read_all(&kind(&text, serde_json::json!({"types": types, "nullable": ["x"]}))).unwrap();
    assert_eq!(frame.height(), HEAD_ROWS + 1);
}

#[test]
fn a_pinned_schema_needs_no_file_and_holds_the_file_to_it() {
    let schema = serde_json::json!({"schema": {"b": "int", "a": "text"}, "roles": {"b": "target"}});
    let absent = bound(std::path::Path::new("/nowhere/x.csv"), schema.clone()).ok().unwrap();
    assert_eq!(shown(&columns(&absent)), ["a text feature", "b int target"]);
    assert_eq!(shown(&columns(&kind("b,a\n1,x\n", schema.clone()))), ["b int target", "a text feature"]);
    let problems = kind("a,c\nx,1\n", schema).peek().unwrap_err();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].message.contains("no column `b`") && problems[1].message.contains("column `c`"));
}

#[test]
fn every_name_the_file_does_not_have_is_a_problem_of_its_own() {
    let options = serde_json::json!({
        "types": {"tenur": "int"}, "roles": {"Chrun": "target"}, "nullable": ["zebra"], "columns": ["tenure"]
    });
    let problems = kind(TELCO, options).peek().unwrap_err();
    let places: Vec<&engine_table::At> = problems.iter().map(|problem| &problem.at).collect();
    assert_eq!(
        places,
        [&place::entry("types", "tenur"), &place::entry("roles", "Chrun"), &place::entry("nullable", 0)]
    );
    assert!(problems[0].label.contains("`tenure`"));
}

#[test]
fn headers_without_names_or_with_one_twice_are_refused() {
    let problems = kind("a,,a\n1,2,3\n", serde_json::json!({})).peek().unwrap_err();
    assert!(problems[0].message.contains("column 2") && problems[1].message.contains("`a` twice"));
    assert_eq!(kind("", serde_json::json!({})).peek().unwrap_err()[0].code.name, "source.unreadable");
}

#[test]
fn latin_1_is_named_with_its_line() {
    let kind = placed(b"a,b\nx,y\nM\xFCller,z\n", serde_json::json!({}));
    let message = kind.peek().unwrap_err()[0].message.clone();
    assert!(message.contains("line 3: not UTF-8"), "{message}");
}

#[test]
fn a_subset_of_columns_may_be_read_with_other_signs() {
    let text = "a;b;c\n1;'x;''y';2\n";
    let kind = kind(text, serde_json::json!({"delimiter": ";", "quote": "'", "columns": ["b"]}));
    let frame = read_all(&kind).unwrap();
    assert_eq!(frame.width(), 1);
    assert_eq!(frame.column("b").unwrap().str().unwrap().get(0), Some("x;'y"));
    assert!(bound(std::path::Path::new("x"), serde_json::json!({"delimiter": "\""})).is_err());
}

#[test]
fn rows_do_not_depend_on_how_the_file_is_cut() {
    let mut text = "n,word\n".to_owned();
    for row in 0..70_000 {
        text.push_str(&format!("{row},\"w{}\"\n", row % 7));
    }
    let frame = read_all(&kind(&text, serde_json::json!({}))).unwrap();
    assert_eq!(frame.height(), 70_000);
    assert_eq!(frame.column("n").unwrap().i64().unwrap().get(69_999), Some(69_999));
    assert_eq!(frame.column("word").unwrap().str().unwrap().get(40_000), Some("w2"));
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl engine_table::ProgressSink for Heard {
    fn progress(&self, _: engine_core::Progress) {}
    fn warning(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

#[test]
fn a_column_of_numbers_with_a_blank_is_read_as_it_stands_with_a_warning() {
    let kind = kind(TELCO, serde_json::json!({}));
    let heard = Arc::new(Heard::default());
    let context = Context { progress: heard.clone(), ..Context::quiet() };
    assert_eq!(columns(&kind)[3].logical.family(), "category");
    kind.read(&columns(&kind), &context, &mut |_| Ok(())).unwrap();
    let heard = heard.0.lock().unwrap();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].contains("column `TotalCharges` is read as category"), "{}", heard[0]);
    assert!(heard[0].contains("except 1 such as ` ` in line 3"), "{}", heard[0]);
}
