//! `ingest.files`: images and sounds, of a folder or named by the rows of a table.
//!
//! It says which files they are; the engine reads, digests and keeps them.

mod glob;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::Path;

use engine_core::{LogicalType, Role, Serving};
use engine_table::{
    Arity, At, ColumnType, Describe, Fetch, FetchType, FetchedFile, InputPort, InputTypes, NamedFile, NodeError,
    OPTION_INVALID, OnMissing, PathOption, Problem, Written,
};
use polars::prelude::{Column, DataFrame};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::glob::Glob;
use crate::codes::{COLUMN_EXISTS, COLUMN_TYPE};
use crate::place;

/// Takes images or sounds in.
///
/// Without an input it reads a folder: every file of `path` that `glob` matches is a row, in order of name, with the key
/// column `path` (the name below the folder, parts joined by `/`) and the column of images or sounds. Hidden files and
/// linked folders are passed over.
///
/// With a table as input the rows name the files: `column` holds paths below the folder `root`, and each row gets the
/// image or sound its cell names, in a column `as` or in place of the name. A missing name gives a missing image. Rows
/// may share a file, which is kept once.
///
/// Files are kept in the store as they are, by content, and are not decoded here. A file is read again if its size or
/// time of change is another; what depends on it runs again if its content is. Moving the folder changes nothing.
///
/// In a deployment it is left out: name the node that gives the column as `request:`, and the client sends the image or
/// sound itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesOptions {
    /// What the files are.
    #[serde(rename = "type")]
    pub media: Media,

    /// The folder whose files are the rows; not together with `column`.
    #[serde(default)]
    pub path: Option<PathOption>,

    /// Which files of the folder, by their names below it: `*` and `?` stand for any characters but `/`, `**` for any
    /// folders, `{a,b}` for one of several. All with a usual ending if not given: `.png .jpg .jpeg .webp .bmp` for
    /// images, `.wav` for sounds, in upper or lower case.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub glob: Option<String>,

    /// The column of the input that names the files, text; not together with `path`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub column: Option<String>,

    /// The folder the names in `column` start from, needed with `column`; `.` is that of the pipeline's file.
    #[serde(default)]
    pub root: Option<PathOption>,

    /// The column that is written; if not given, `column` itself is replaced, and for a folder it is `image` or `audio`.
    #[serde(rename = "as", default)]
    #[schemars(length(min = 1))]
    pub as_column: Option<String>,

    /// What becomes of files that are not there or cannot be read: `error` names them and fails, `'null'` leaves
    /// their cells empty and warns.
    #[serde(default)]
    pub missing: Missing,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    /// Pictures.
    Image,
    /// Sounds.
    Audio,
}

impl Media {
    fn logical(self) -> LogicalType {
        match self {
            Media::Image => LogicalType::Image,
            Media::Audio => LogicalType::Audio,
        }
    }

    fn endings(self) -> &'static [&'static str] {
        match self {
            Media::Image => &["png", "jpg", "jpeg", "webp", "bmp"],
            Media::Audio => &["wav"],
        }
    }
}

/// What becomes of files that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The node fails and names them.
    #[default]
    Error,
    /// Their cells are empty.
    Null,
}

const TABLE: &str = "table";
/// The key column of a folder's rows.
const PATH: &str = "path";

/// The kind.
pub struct Files {
    options: FilesOptions,
    place: Place,
}

/// Where the names come from.
enum Place {
    Folder { path: PathOption, glob: Option<Glob> },
    Column { column: String, root: PathOption },
}

impl Describe for Files {
    const KIND: &'static str = "ingest.files";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Skip;
    const EXAMPLE: &'static str = r"fuseline: 1
name: pages
nodes:
  receipts: {uses: ingest.csv, with: {path: receipts.csv, schema: {id: text, page: text}, roles: {id: key}}}
  pages: {uses: ingest.files, with: {column: page, type: image, root: scans}, in: receipts}
  sounds: {uses: ingest.files, with: {path: recordings, glob: '**/*.wav', type: audio, as: recording}}
";
    type Options = FilesOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new(TABLE, engine_core::ArtifactKind::Table, Arity::Optional)]
    }

    fn new(options: FilesOptions) -> Result<Files, Vec<Problem>> {
        let invalid = |option: &str, message: &str| Problem::error(&OPTION_INVALID, place::option(option), message);
        let mut problems = Vec::new();
        let folder = match (&options.path, &options.column) {
            (Some(path), None) => {
                let glob = options.glob.as_deref().map(Glob::new).transpose();
                match glob {
                    Ok(glob) => Some(Place::Folder { path: path.clone(), glob }),
                    Err(reason) => {
                        problems.push(invalid("glob", &format!("`glob` {reason}")));
                        None
                    }
                }
            }
            (None, Some(column)) => match &options.root {
                Some(root) => Some(Place::Column { column: column.clone(), root: root.clone() }),
                None => {
                    let message = "`root` does not say where the names in `column` start";
                    problems.push(invalid("column", message).help("write `root: FOLDER`"));
                    None
                }
            },
            (Some(_), Some(_)) => {
                let message = "`path` reads a folder and `column` reads the files a table names: not both";
                problems.push(invalid("column", message).help("for a table, name its folder with `root`"));
                None
            }
            (None, None) => {
                let message = "neither `path` nor `column` says which files";
                problems.push(
                    Problem::error(&OPTION_INVALID, At::Node, message)
                        .help("write `path: FOLDER`, or `column:` and `in:` for the files that a table names"),
                );
                None
            }
        };
        if options.column.is_some() && options.glob.is_some() {
            problems.push(invalid("glob", "`glob` chooses among the files of a folder, and here rows name them"));
        }
        if options.path.is_some() && options.as_column.as_deref() == Some(PATH) {
            problems.push(invalid("as", "`path` is the column of the names"));
        }
        match folder {
            Some(place) if problems.is_empty() => Ok(Files { options, place }),
            _ => Err(problems),
        }
    }
}

impl Fetch for Files {
    fn infer(&self, inputs: &InputTypes) -> Result<FetchType, Vec<Problem>> {
        match &self.place {
            Place::Folder { .. } if inputs.is_bound(TABLE) => {
                let message = "`path` reads a folder, which takes no input";
                Err(vec![
                    Problem::error(&OPTION_INVALID, At::Input(TABLE.to_owned()), message)
                        .help("for the files that a table names, write `column:` and `root:` instead of `path:`"),
                ])
            }
            Place::Folder { .. } => {
                let path = ColumnType::new(PATH, LogicalType::Text).with_role(Role::Key);
                Ok(FetchType::Folder(vec![path, self.written_column(false)]))
            }
            Place::Column { .. } if !inputs.is_bound(TABLE) => {
                let message = "`column` names a column of a table, and no table is bound";
                Err(vec![
                    Problem::error(&OPTION_INVALID, place::option("column"), message)
                        .help("write `in: NODE`, or `path: FOLDER` to take a whole folder in"),
                ])
            }
            Place::Column { column, .. } => self.infer_rows(column, inputs),
        }
    }

    fn files(&self, rows: &DataFrame) -> Result<Vec<Option<NamedFile>>, NodeError> {
        match &self.place {
            Place::Folder { path, glob } => self.folder(path.as_path(), glob.as_ref()),
            Place::Column { column, root } => named(column, root.as_path(), rows),
        }
    }

    fn on_missing(&self) -> OnMissing {
        match self.options.missing {
            Missing::Error => OnMissing::Fail,
            Missing::Null => OnMissing::Null,
        }
    }

    fn columns(&self, files: &[Option<FetchedFile>]) -> Result<DataFrame, NodeError> {
        let blob = |file: &Option<FetchedFile>| Some(file.as_ref()?.blob?.to_string());
        let blobs: Vec<Option<String>> = files.iter().map(blob).collect();
        let media = Column::new(self.written_name().into(), blobs);
        let columns = match &self.place {
            Place::Column { .. } => vec![media],
            Place::Folder { .. } => {
                let names: Vec<&str> = files.iter().flatten().map(|file| file.name.as_str()).collect();
                vec![Column::new(PATH.into(), names), media]
            }
        };
        DataFrame::new(files.len(), columns).map_err(NodeError::failed)
    }
}

impl Files {
    fn written_name(&self) -> &str {
        match (&self.options.as_column, &self.place, self.options.media) {
            (Some(name), ..) => name,
            (None, Place::Column { column, .. }, _) => column,
            (None, Place::Folder { .. }, Media::Image) => "image",
            (None, Place::Folder { .. }, Media::Audio) => "audio",
        }
    }

    fn written_column(&self, has_gaps: bool) -> ColumnType {
        ColumnType::new(self.written_name(), self.options.media.logical())
            .with_nullable(has_gaps || self.options.missing == Missing::Null)
    }

    fn infer_rows(&self, column: &str, inputs: &InputTypes) -> Result<FetchType, Vec<Problem>> {
        let table = inputs.table(TABLE);
        let mut problems = Vec::new();
        let mut has_gaps = false;
        match table.require(column, place::option("column")) {
            Err(problem) => problems.push(problem),
            Ok(found) if matches!(found.logical, LogicalType::Text | LogicalType::Category) => {
                has_gaps = found.nullable;
            }
            Ok(found) => {
                let message = format!("`{column}` is {}, and names of files are text", found.logical);
                problems.push(
                    Problem::error(&COLUMN_TYPE, place::option("column"), message)
                        .label(found.logical.to_string())
                        .help(format!(
                            "name the column of paths, or read `{column}` as text: `types: {{{column}: text}}`"
                        )),
                );
            }
        }
        let name = self.written_name();
        if name != column && table.column(name).is_some() {
            let message = format!("the table has a column `{name}` already");
            problems.push(Problem::error(&COLUMN_EXISTS, place::option("as"), message).help("choose another `as`"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(FetchType::Rows(engine_table::Change {
            reads: vec![column.to_owned()],
            writes: vec![Written::new(self.written_column(has_gaps), [column])],
            ..engine_table::Change::default()
        }))
    }

    /// The files below `root` that are asked for, in order of name.
    fn folder(&self, root: &Path, glob: Option<&Glob>) -> Result<Vec<Option<NamedFile>>, NodeError> {
        let mut names = Vec::new();
        walk(root, "", &mut names)?;
        names.retain(|name| match glob {
            Some(glob) => glob.matches(name),
            None => {
                let ending = Path::new(name).extension().and_then(OsStr::to_str).unwrap_or("").to_lowercase();
                self.options.media.endings().contains(&ending.as_str())
            }
        });
        if names.is_empty() {
            let asked = match &self.options.glob {
                Some(glob) => format!("`{glob}`"),
                None => self.options.media.endings().join(", "),
            };
            return Err(NodeError::Failed(format!(
                "no file below `{}` matches {asked}; look at `path` and `glob`",
                root.display()
            )));
        }
        names.sort_unstable();
        Ok(names.into_iter().map(|name| Some(NamedFile { path: root.join(&name), name })).collect())
    }
}

/// The files the cells of `column` name.
fn named(column: &str, root: &Path, rows: &DataFrame) -> Result<Vec<Option<NamedFile>>, NodeError> {
    let cells = rows.column(column).and_then(|cells| cells.str()).map_err(NodeError::failed)?;
    let named = cells.iter().enumerate().map(|(row, name)| {
        let Some(name) = name else { return Ok(None) };
        NamedFile::below(root, name).map(Some).map_err(|wrong| {
            NodeError::Failed(format!(
                "column `{column}`, row {row}: the name `{name}` {wrong}; names start from `root`, `{}`",
                root.display()
            ))
        })
    });
    named.collect()
}

/// Adds the names of all files below `folder`, which stands below the root as `prefix`.
fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), NodeError> {
    let unreadable =
        |error: std::io::Error| NodeError::Failed(format!("the folder `{}` cannot be read: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let Some(name) = name.to_str() else {
            return Err(NodeError::Failed(format!(
                "the name of `{}` is no UTF-8 text; rename it",
                entry.path().display()
            )));
        };
        let name = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            walk(&entry.path(), &format!("{name}/"), names)?;
        } else if kind.is_file() || kind.is_symlink() && !entry.path().is_dir() {
            names.push(name);
        }
    }
    Ok(())
}
