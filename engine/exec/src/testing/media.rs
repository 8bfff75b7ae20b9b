//! Files taken in as blobs: what keys them, what reads them again, and what becomes of those that are gone.

use std::path::Path;
use std::time::{Duration, SystemTime};

use engine_core::{LogicalType, Role, Serving, TaskStatus};
use engine_plan::{Outlook, Reason};
use engine_store::Store;
use engine_table::{
    Arity, Cancel, Change, ColumnType, Describe, Fetch, FetchType, FetchedFile, InputPort, InputTypes, Kind, NamedFile,
    NodeError, OnMissing, PathOption, Problem, ReduceInputs, RowFunction, RowLocal, Written,
};
use polars::prelude::{Column, DataFrame};
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contracts::check_preview;
use super::{Bench, Ran, options};
use crate::{Chunking, RunOptions};

pub(crate) fn all() -> [Kind; 2] {
    [Kind::fetch::<Files>(), Kind::row_local::<Sizes>()]
}

/// Images: the files the column `name` of a table names, or without a table all of a folder.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilesOptions {
    root: PathOption,
    #[serde(default)]
    allow_missing: bool,
    #[serde(default)]
    folder: bool,
}

struct Files(FilesOptions);

impl Describe for Files {
    const KIND: &'static str = "test.files";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Skip;
    type Options = FilesOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new("table", engine_core::ArtifactKind::Table, Arity::Optional)]
    }

    fn new(options: FilesOptions) -> Result<Self, Vec<Problem>> {
        Ok(Files(options))
    }
}

impl Fetch for Files {
    fn infer(&self, _: &InputTypes) -> Result<FetchType, Vec<Problem>> {
        let image = ColumnType::new("image", LogicalType::Image).with_nullable(self.0.allow_missing);
        Ok(match self.0.folder {
            true => FetchType::Folder(vec![ColumnType::new("name", LogicalType::Text).with_role(Role::Key), image]),
            false => FetchType::Rows(Change {
                reads: vec!["name".into()],
                writes: vec![Written::new(image, ["name"])],
                ..Change::default()
            }),
        })
    }

    fn files(&self, rows: &DataFrame) -> Result<Vec<Option<NamedFile>>, NodeError> {
        let root = self.0.root.as_path();
        let mut names: Vec<String> = Vec::new();
        if self.0.folder {
            let entries = std::fs::read_dir(root).map_err(NodeError::failed)?;
            names.extend(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
            names.sort();
        } else {
            let cells = rows.column("name").and_then(|cells| cells.str()).map_err(NodeError::failed)?;
            names.extend(cells.iter().map(|cell| cell.unwrap_or("").to_owned()));
        }
        Ok(names.iter().map(|name| NamedFile::below(root, name).ok()).collect())
    }

    fn on_missing(&self) -> OnMissing {
        if self.0.allow_missing { OnMissing::Null } else { OnMissing::Fail }
    }

    fn columns(&self, files: &[Option<FetchedFile>]) -> Result<DataFrame, NodeError> {
        let blob = |file: &Option<FetchedFile>| Some(file.as_ref()?.blob?.to_string());
        let image = Column::new("image".into(), files.iter().map(blob).collect::<Vec<_>>());
        let names: Vec<&str> = files.iter().flatten().map(|file| file.name.as_str()).collect();
        let columns = match self.0.folder {
            true => vec![Column::new("name".into(), names), image],
            false => vec![image],
        };
        DataFrame::new(files.len(), columns).map_err(NodeError::failed)
    }
}

/// The sizes of images.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SizesOptions {}

struct Sizes;

impl Describe for Sizes {
    const KIND: &'static str = "test.sizes";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Same;
    type Options = SizesOptions;

    fn new(_: SizesOptions) -> Result<Self, Vec<Problem>> {
        Ok(Sizes)
    }
}

impl RowLocal for Sizes {
    fn infer(&self, _: &InputTypes) -> Result<Change, Vec<Problem>> {
        let size = Written::new(ColumnType::new("size", LogicalType::Int).with_nullable(true), ["image"]);
        Ok(Change { reads: vec!["image".into()], writes: vec![size], ..Change::default() })
    }

    fn prepare(&self, side: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let blobs = side.blobs.clone();
        Ok(Box::new(move |rows: &DataFrame| {
            let cells = rows.column("image").and_then(|cells| cells.str()).map_err(NodeError::failed)?;
            let size = |cell: Option<&str>| {
                let Some(cell) = cell else { return Ok(None) };
                Ok(Some(blobs.read(&cell.parse().map_err(NodeError::failed)?)?.len() as i64))
            };
            let sizes = cells.iter().map(size).collect::<Result<Vec<_>, NodeError>>()?;
            DataFrame::new(rows.height(), vec![Column::new("size".into(), sizes)]).map_err(NodeError::failed)
        }))
    }
}

const GRAPH: &str = "\
nodes:
  rows: {uses: test.rows, with: {path: rows.csv}}
  pages: {uses: test.files, with: {root: scans}, in: rows}
  sizes: {uses: test.sizes, in: pages}
  doubled: {uses: test.scale, with: {column: size, as: twice}, in: sizes}
  unread: {uses: test.scale, with: {column: id, as: other}, in: pages}
";

const FOLDER: &str = "\
nodes:
  pages: {uses: test.files, with: {root: scans, folder: true}}
  sizes: {uses: test.sizes, in: pages}
";

/// Writes a file that looks as if it had stood there for a while.
fn put(bench: &Bench, name: &str, text: &str, age: u64) {
    let path = bench.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    touch(&path, age);
}

fn touch(path: &Path, age: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
}

/// Four rows over three pages.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("rows.csv", "id:int:key,name:text,note:text\n1,a,x\n2,b,x\n3,a,x\n4,c,x\n");
    for (name, text) in [("a", "1"), ("b", "22"), ("c", "333")] {
        put(&bench, &format!("scans/{name}"), text, 1000);
    }
    bench
}

fn sizes(bench: &Bench, ran: &Ran, text: &str) -> Vec<Option<i64>> {
    bench.frame(&bench.plan(text), ran, "sizes").column("size").unwrap().i64().unwrap().iter().collect()
}

fn outlooks(bench: &Bench, text: &str) -> Vec<(String, Outlook)> {
    let preview = bench.preview(&bench.plan(text), &options());
    preview.tasks.into_iter().map(|task| (task.task, task.outlook)).collect()
}

#[test]
fn rows_that_share_a_page_share_its_bytes() {
    let bench = bench();
    let ran = bench.succeed(GRAPH);
    assert_eq!(sizes(&bench, &ran, GRAPH), [Some(1), Some(2), Some(1), Some(3)]);
    assert_eq!(bench.succeed(GRAPH).with(TaskStatus::Ran), Vec::<&str>::new());
}

#[test]
fn contract_1_an_edited_picture_runs_what_reads_it_and_nothing_else() {
    let bench = bench();
    bench.succeed(GRAPH);
    put(&bench, "scans/b", "four", 500);
    let pages = ("pages".to_owned(), Outlook::Run);
    assert_eq!(outlooks(&bench, GRAPH)[1], pages);
    let ran = bench.succeed(GRAPH);
    assert_eq!(ran.with(TaskStatus::Ran), ["pages", "sizes", "doubled"]);
    assert_eq!(sizes(&bench, &ran, GRAPH)[1], Some(4));
    // Other bytes of the same size: what reads the sizes sees no change.
    put(&bench, "scans/b", "five", 400);
    assert_eq!(bench.succeed(GRAPH).with(TaskStatus::Ran), ["pages", "sizes"]);
}

#[test]
fn contract_1_a_touched_picture_and_an_unread_column_are_hits() {
    let bench = bench();
    bench.succeed(GRAPH);
    for name in ["a", "b", "c"] {
        touch(&bench.path(&format!("scans/{name}")), 10);
    }
    assert_eq!(bench.succeed(GRAPH).with(TaskStatus::Ran), Vec::<&str>::new());
    bench.write("rows.csv", "id:int:key,name:text,note:text\n1,a,x\n2,b,new\n3,a,x\n4,c,x\n");
    let ran = bench.succeed(GRAPH);
    assert_eq!(ran.with(TaskStatus::Ran), ["rows"]);
    let notes = bench.frame(&bench.plan(GRAPH), &ran, "doubled");
    assert_eq!(notes.column("note").unwrap().str().unwrap().get(1), Some("new"));
}

#[test]
fn contract_2_what_rows_name_is_unknown_while_the_rows_are() {
    let bench = bench();
    bench.succeed(GRAPH);
    bench.write("rows.csv", "id:int:key,name:text,note:text\n1,a,x\n2,b,x\n3,c,x\n4,c,x\n");
    let expected = [("rows", Outlook::Run), ("pages", Outlook::MayRun), ("sizes", Outlook::MayRun)];
    assert_eq!(outlooks(&bench, GRAPH)[..3], expected.map(|(task, outlook)| (task.to_owned(), outlook)));
    let ran = bench.succeed(GRAPH);
    assert_eq!(sizes(&bench, &ran, GRAPH)[2], Some(3));
}

#[test]
fn the_folder_may_stand_elsewhere() {
    let bench = bench();
    bench.succeed(GRAPH);
    std::fs::rename(bench.path("scans"), bench.path("moved")).unwrap();
    let moved = GRAPH.replace("root: scans", "root: moved");
    assert_eq!(bench.succeed(&moved).with(TaskStatus::Ran), Vec::<&str>::new());
}

#[test]
fn a_picture_that_is_gone_from_the_store_or_damaged_is_taken_in_again() {
    for is_gone in [true, false] {
        let bench = bench();
        let ran = bench.succeed(GRAPH);
        let cells = bench.frame(&bench.plan(GRAPH), &ran, "pages");
        let blob = cells.column("image").unwrap().str().unwrap().get(1).unwrap().parse().unwrap();
        let path = bench.store.object_path(&blob);
        match is_gone {
            true => std::fs::remove_file(&path).unwrap(),
            false => std::fs::write(&path, "23").unwrap(),
        }
        let preview = bench.preview(&bench.plan(GRAPH), &options());
        assert_eq!(
            (preview.tasks[1].outlook, &preview.tasks[1].reasons[..]),
            (Outlook::Run, &[Reason::Incomplete][..])
        );
        let ran = bench.succeed(GRAPH);
        assert_eq!(ran.with(TaskStatus::Ran), ["pages"], "gone: {is_gone}");
        assert_eq!(std::fs::read(&path).unwrap(), b"22");
        assert_eq!(bench.succeed(GRAPH).with(TaskStatus::Ran), Vec::<&str>::new());
    }
}

#[test]
fn files_that_are_not_there_are_named_together_in_the_plan_and_the_run() {
    let bench = bench();
    let names: Vec<String> = (0..15).map(|row| format!("{row},none{row},x\n")).collect();
    bench.write("rows.csv", &format!("id:int:key,name:text,note:text\n99,a,x\n{}", names.concat()));
    std::fs::create_dir(bench.path("scans/none3")).unwrap();
    let ran = bench.run(GRAPH);
    assert_eq!(ran.with(TaskStatus::Failed), ["pages"]);
    let error = ran.error("pages").to_owned();
    for words in ["15 of 16 files", "`none0` (row 1): not there", "`none3` (row 4): it is a folder", "and 5 more"] {
        assert!(error.contains(words), "no {words:?} in {error}");
    }
    // The rows are known now, so the plan tells it before the run.
    let plan = bench.plan(GRAPH);
    let options = options();
    let told = engine_plan::preview(&plan, &bench.store, &options.environment, &options.selection).unwrap_err();
    assert!(error.contains(&told.to_string()), "{told} is not in {error}");
}

#[test]
fn files_that_may_be_missing_leave_gaps_until_they_are_there() {
    let bench = bench();
    std::fs::remove_file(bench.path("scans/b")).unwrap();
    let text = GRAPH.replace("root: scans", "root: scans, allow_missing: true");
    let ran = bench.succeed(&text);
    assert_eq!(sizes(&bench, &ran, &text), [Some(1), None, Some(1), Some(3)]);
    let warned = ran.events.iter().any(|event| format!("{event:?}").contains("left without 1 of 3 files: `b` (row 1)"));
    assert!(warned, "{:?}", ran.events);
    put(&bench, "scans/b", "22", 100);
    let ran = bench.succeed(&text);
    assert_eq!(sizes(&bench, &ran, &text)[1], Some(2));
}

#[test]
fn a_folder_is_keyed_by_its_names_and_contents() {
    let bench = bench();
    let ran = bench.succeed(FOLDER);
    assert_eq!(sizes(&bench, &ran, FOLDER), [Some(1), Some(2), Some(3)]);
    assert_eq!(bench.succeed(FOLDER).with(TaskStatus::Ran), Vec::<&str>::new());
    // The names are values: another name of the same place in the order is another table.
    std::fs::rename(bench.path("scans/c"), bench.path("scans/d")).unwrap();
    let ran = bench.succeed(FOLDER);
    assert_eq!(ran.with(TaskStatus::Ran), ["pages"]);
    let names = bench.frame(&bench.plan(FOLDER), &ran, "pages");
    assert_eq!(names.column("name").unwrap().str().unwrap().get(2), Some("d"));
    put(&bench, "scans/e", "4444", 100);
    assert_eq!(sizes(&bench, &bench.succeed(FOLDER), FOLDER), [Some(1), Some(2), Some(3), Some(4)]);
}

#[test]
fn contract_3_threads_and_chunks_change_no_picture() {
    for text in [GRAPH, FOLDER] {
        let reference = bench();
        let expected = reference.succeed(text).values(&reference.store);
        for (threads, rows) in [(1, 1), (4, 1), (4, 2)] {
            let bench = bench();
            let options = RunOptions { threads, chunking: Chunking::ByRows(rows), ..options() };
            let ran = bench.run_with(&bench.plan(text), &options, &Cancel::new());
            assert_eq!(ran.values(&bench.store), expected, "{threads} threads, chunks of {rows}");
        }
    }
}

/// What may happen to rows, files and blobs between two runs.
#[derive(Debug, Clone)]
enum Edit {
    Name { row: usize, page: usize },
    Content { page: usize, size: usize },
    Touch { page: usize },
    Remove { page: usize },
    LoseBlob { which: prop::sample::Index },
    SpoilBlob { which: prop::sample::Index },
    Note,
}

fn an_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (0usize..6, 0usize..4).prop_map(|(row, page)| Edit::Name { row, page }),
        (0usize..4, 1usize..4).prop_map(|(page, size)| Edit::Content { page, size }),
        (0usize..4).prop_map(|page| Edit::Touch { page }),
        (0usize..4).prop_map(|page| Edit::Remove { page }),
        any::<prop::sample::Index>().prop_map(|which| Edit::LoseBlob { which }),
        any::<prop::sample::Index>().prop_map(|which| Edit::SpoilBlob { which }),
        Just(Edit::Note),
    ]
}

/// The digests of the pictures a run's rows name.
fn blobs(bench: &Bench, ran: &Ran, text: &str) -> Vec<String> {
    let frame = bench.frame(&bench.plan(text), ran, "pages");
    let cells = frame.column("image").unwrap().str().unwrap().clone();
    cells.iter().flatten().map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 40, ..ProptestConfig::with_cases(25) })]

    #[test]
    fn contract_2_a_run_with_pictures_does_what_its_preview_says(edits in prop::collection::vec(an_edit(), 1..6)) {
        let bench = Bench::new();
        let text = GRAPH.replace("root: scans", "root: scans, allow_missing: true");
        let (mut names, mut note) = ([0, 1, 2, 0, 1, 3], 0);
        for page in 0..3 {
            put(&bench, &format!("scans/p{page}"), &"x".repeat(page + 1), 1000);
        }
        let options = options();
        let mut age = 900;
        let write = |names: &[usize; 6], note: i32| {
            let row = |(row, page): (usize, &usize)| format!("{row},p{page},n{note}\n");
            let rows: Vec<String> = names.iter().enumerate().map(row).collect();
            bench.write("rows.csv", &format!("id:int:key,name:text,note:text\n{}", rows.concat()));
        };
        write(&names, note);
        check_preview(&bench, &text, &options)?;
        for edit in edits {
            age -= 10;
            let path = |page: usize| bench.path(&format!("scans/p{page}"));
            match edit {
                Edit::Name { row, page } => names[row] = page,
                Edit::Content { page, size } => put(&bench, &format!("scans/p{page}"), &"y".repeat(size), age),
                Edit::Touch { page } if path(page).exists() => touch(&path(page), age),
                Edit::Remove { page } if path(page).exists() => std::fs::remove_file(path(page)).unwrap(),
                Edit::LoseBlob { which } | Edit::SpoilBlob { which } => {
                    let blobs = blobs(&bench, &bench.succeed(&text), &text);
                    if !blobs.is_empty() {
                        let blob = bench.store.object_path(&blobs[which.index(blobs.len())].parse().unwrap());
                        match edit {
                            Edit::LoseBlob { .. } => std::fs::remove_file(blob).unwrap(),
                            _ => std::fs::write(blob, "spoilt").unwrap(),
                        }
                    }
                }
                Edit::Note => note += 1,
                _ => {}
            }
            write(&names, note);
            check_preview(&bench, &text, &options)?;
        }
        let plan = bench.plan(&text);
        let warm = bench.run_with(&plan, &options, &Cancel::new()).values(&bench.store);
        let empty = Store::temporary().unwrap();
        let cold = super::run_in(&empty, &plan, &options, &Cancel::new(), &|_| {}).values(&empty);
        prop_assert_eq!(warm, cold);
    }
}
