//! Folders, names, globs: what `ingest.files` says and what it refuses.

use engine_core::Digest;
use engine_table::{RowSet, TableType};
use polars::prelude::df;
use serde_json::json;

use super::*;

fn kind(options: serde_json::Value) -> Result<Files, Vec<Problem>> {
    Files::new(serde_json::from_value(options).unwrap())
}

fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    folder
}

fn table(columns: &[(&str, LogicalType)]) -> InputTypes {
    let columns = columns.iter().map(|(name, logical)| ColumnType::new(*name, logical.clone())).collect();
    InputTypes::of_table(TableType { columns, row_set: RowSet("rows".into()) })
}

fn names(kind: &Files) -> Vec<String> {
    kind.files(&DataFrame::empty()).unwrap().into_iter().map(|file| file.unwrap().name).collect()
}

#[test]
fn the_files_of_a_folder_are_rows_in_order_of_name() {
    let folder = folder(&["b.png", "a/2.JPG", "a/10.png", ".hidden.png", ".cache/x.png", "notes.txt", "c.wav"]);
    let images = kind(json!({"type": "image", "path": folder.path()})).unwrap();
    assert_eq!(names(&images), ["a/10.png", "a/2.JPG", "b.png"]);
    let sounds = kind(json!({"type": "audio", "path": folder.path()})).unwrap();
    assert_eq!(names(&sounds), ["c.wav"]);
    let chosen = kind(json!({"type": "image", "path": folder.path(), "glob": "a/*"})).unwrap();
    assert_eq!(names(&chosen), ["a/10.png", "a/2.JPG"]);
    let FetchType::Folder(columns) = images.infer(&InputTypes::default()).unwrap() else { panic!() };
    assert_eq!(columns[0], ColumnType::new("path", LogicalType::Text).with_role(Role::Key));
    assert_eq!(columns[1], ColumnType::new("image", LogicalType::Image));
}

#[test]
fn a_folder_without_such_files_says_so() {
    let folder = folder(&["a.txt"]);
    let error = kind(json!({"type": "image", "path": folder.path(), "glob": "*.png"})).unwrap();
    let error = error.files(&DataFrame::empty()).unwrap_err().to_string();
    assert!(error.contains("matches `*.png`"), "{error}");
    let absent = kind(json!({"type": "image", "path": folder.path().join("none")})).unwrap();
    assert!(absent.files(&DataFrame::empty()).unwrap_err().to_string().contains("none"));
}

#[test]
fn rows_name_files_and_a_missing_name_names_none() {
    let kind = kind(json!({"type": "image", "column": "page", "root": "/scans"})).unwrap();
    let rows = df!["page" => [Some("a.png"), None, Some("b/c.png")]].unwrap();
    let files = kind.files(&rows).unwrap();
    assert_eq!(files[1], None);
    assert_eq!(files[2].as_ref().unwrap().path, Path::new("/scans/b/c.png"));
    let digest = Digest::of(b"a");
    let fetched = |name: &str, blob| Some(FetchedFile { name: name.into(), blob });
    let columns = kind.columns(&[fetched("a.png", Some(digest)), None, fetched("b/c.png", None)]).unwrap();
    let cells: Vec<Option<&str>> = columns.column("page").unwrap().str().unwrap().iter().collect();
    assert_eq!(cells, [Some(digest.to_string().as_str()), None, None]);
}

#[test]
fn a_name_that_leaves_the_folder_is_refused_with_its_row() {
    let kind = kind(json!({"type": "image", "column": "page", "root": "/scans"})).unwrap();
    for name in ["/etc/passwd", "../x.png", ""] {
        let error = kind.files(&df!["page" => ["a.png", name]].unwrap()).unwrap_err().to_string();
        assert!(error.contains("`page`, row 1") && error.contains(name), "{error}");
    }
}

#[test]
fn what_is_written_is_known_from_types_alone() {
    let inputs = table(&[("id", LogicalType::Int), ("page", LogicalType::Text)]);
    let change = |options| match kind(options).unwrap().infer(&inputs).unwrap() {
        FetchType::Rows(change) => change,
        FetchType::Folder(_) => panic!("rows"),
    };
    let replaced = change(json!({"type": "image", "column": "page", "root": "/scans"}));
    assert_eq!(replaced.reads, ["page"]);
    assert_eq!(replaced.writes[0].column, ColumnType::new("page", LogicalType::Image));
    let added = change(json!({"type": "audio", "column": "page", "root": "/scans", "as": "sound", "missing": "null"}));
    assert_eq!(added.writes[0].column, ColumnType::new("sound", LogicalType::Audio).with_nullable(true));
}

#[test]
fn options_and_inputs_that_do_not_fit_are_problems() {
    let codes = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.code.name).collect::<Vec<_>>();
    for options in [
        json!({"type": "image"}),
        json!({"type": "image", "path": "a", "column": "b"}),
        json!({"type": "image", "column": "b"}),
        json!({"type": "image", "column": "b", "root": "c", "glob": "*"}),
        json!({"type": "image", "path": "a", "glob": "{"}),
        json!({"type": "image", "path": "a", "as": "path"}),
    ] {
        assert_eq!(codes(kind(options.clone()).err().unwrap()), ["option.invalid"], "{options}");
    }
    let inputs = table(&[("id", LogicalType::Int), ("page", LogicalType::Text)]);
    let refused = |options, inputs: &InputTypes| codes(kind(options).unwrap().infer(inputs).unwrap_err());
    assert_eq!(refused(json!({"type": "image", "path": "a"}), &inputs), ["option.invalid"]);
    assert_eq!(
        refused(json!({"type": "image", "column": "page", "root": "/scans"}), &InputTypes::default()),
        ["option.invalid"]
    );
    assert_eq!(refused(json!({"type": "image", "column": "id", "root": "/scans"}), &inputs), ["column.type"]);
    assert_eq!(
        refused(json!({"type": "image", "column": "pge", "root": "/scans", "as": "id"}), &inputs),
        ["column.unknown", "column.exists"]
    );
}
