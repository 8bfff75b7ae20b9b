//! Kinds that take files outside the graph in as blobs: the files of a folder, or those the rows of a table name.
//!
//! Such a kind says which files they are and what becomes of them; it opens none. The engine finds, digests and keeps
//! them, with one function for the plan and the run, so a task is keyed by the very bytes it takes in.

use std::path::{Component, Path, PathBuf};

use engine_core::Digest;
use polars::prelude::DataFrame;

use crate::{Change, ColumnType, InputTypes, NodeError, Problem};

/// A file as a row knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Its name, as in `pages/007.png`.
    pub name: String,
    /// Where it stands now; not keyed.
    pub path: PathBuf,
}

impl NamedFile {
    /// The file called `name` below `root`.
    ///
    /// # Errors
    /// If the name is empty, absolute or leads out of `root`; a few words for a message.
    pub fn below(root: &Path, name: &str) -> Result<NamedFile, &'static str> {
        if name.is_empty() {
            return Err("is empty, which is no missing value: that is null");
        }
        let mut parts = Path::new(name).components();
        if !parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err("is no relative path that stays below the folder");
        }
        Ok(NamedFile { name: name.to_owned(), path: root.join(name) })
    }
}

/// A file that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedFile {
    /// Its name.
    pub name: String,
    /// The digest of its content; nothing if it cannot be read and [`Fetch::on_missing`] allows that.
    pub blob: Option<Digest>,
}

/// What becomes of files that are not there or cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// The task fails and names them.
    Fail,
    /// Their cells are missing.
    Null,
}

/// What a [`Fetch`] gives.
#[derive(Debug, Clone, PartialEq)]
pub enum FetchType {
    /// A new row for every file of a folder, with these columns.
    Folder(Vec<ColumnType>),
    /// Columns beside those of its table; row by row.
    Rows(Change),
}

/// A kind that takes files in as blobs.
pub trait Fetch: Send + Sync {
    /// What it reads and writes.
    ///
    /// # Errors
    /// Every problem of options, inputs and types.
    fn infer(&self, inputs: &InputTypes) -> Result<FetchType, Vec<Problem>>;

    /// The files: one entry for each row of `rows`, which holds exactly what [`FetchType::Rows`] reads, nothing for a
    /// row that names none. For a folder `rows` is empty and there is an entry for each file, in the order of the
    /// new rows.
    ///
    /// # Errors
    /// If a name is none, or the folder cannot be listed; the message names rows from 0.
    fn files(&self, rows: &DataFrame) -> Result<Vec<Option<NamedFile>>, NodeError>;

    /// What becomes of files that are not there or cannot be read.
    fn on_missing(&self) -> OnMissing;

    /// The written columns, or all columns of a folder's rows; one row for each of `files`.
    ///
    /// # Errors
    /// If the frame cannot be made.
    fn columns(&self, files: &[Option<FetchedFile>]) -> Result<DataFrame, NodeError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_below_its_folder() {
        let root = Path::new("/data");
        assert_eq!(NamedFile::below(root, "a/b.png").unwrap().path, Path::new("/data/a/b.png"));
        assert_eq!(NamedFile::below(root, "./b.png").unwrap().name, "./b.png");
        for name in ["", "/etc/passwd", "../b.png", "a/../../b.png"] {
            assert!(NamedFile::below(root, name).is_err(), "{name}");
        }
    }
}
