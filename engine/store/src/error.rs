//! What can go wrong with a store.

use std::path::PathBuf;

use engine_core::Digest;
use rusqlite::ErrorCode;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store.
    #[error("there is no store at `{path}`; the first `fuseline run` makes one, or name another with `--store`")]
    Absent {
        /// The folder.
        path: PathBuf,
    },
    /// It was made by a newer version.
    #[error(
        "the store at `{path}` has format {found}, and this fuseline reads formats up to {known}; use a newer fuseline, or another folder with `--store`"
    )]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The folder holds something else.
    #[error("`{path}` is no store: its file `format` reads `{found}`; name another folder with `--store`")]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// What stands in its format file.
        found: String,
    },
    /// A write to a store opened for reading.
    #[error("the store at `{path}` is open for reading only")]
    ReadOnly {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot {action} `{path}`: {source}")]
    File {
        /// As in `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database gave an error.
    #[error("cannot {action} in the store's database: {source}{}", way_out(.source))]
    Database {
        /// As in `read a record`.
        action: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// The thread that writes the database ended, or a write before failed.
    #[error("the store cannot write its database: {reason}")]
    Writer {
        /// Why.
        reason: String,
    },
    /// An object is not there.
    #[error("the store has no object {digest}; run again with `--force` on the node that made it")]
    MissingObject {
        /// Its digest.
        digest: Digest,
    },
    /// An object's content is not what its name says.
    #[error(
        "the store's file `{path}` is damaged: its digest is {found}, expected {expected}; it was put aside, run again and its task makes it anew"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest its name gives.
        expected: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// Rows could not be put into, or taken out of, segments.
    #[error("{0}")]
    Rows(String),
    /// A table has no such column.
    #[error("the stored table has no column `{column}`; it has {known}")]
    NoColumn {
        /// The name.
        column: String,
        /// The columns there are.
        known: String,
    },
    /// A record's output is not of the kind that was asked for.
    #[error("the stored artifact is a table, expected files")]
    NotFiles,
    /// No run, or several, begin with the text.
    #[error("{0}")]
    UnknownRun(String),
    /// Waiting for another process ended because the task was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// What can be done about an error of the database; nothing if it says enough itself.
fn way_out(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "; the store's file `fuseline.db` is damaged: move the store's folder aside and run again"
        }
        Some(ErrorCode::DiskFull) => "; make room on the disk, or name a store elsewhere with `--store`",
        _ => "",
    }
}

impl StoreError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.into();
        move |source| StoreError::File { action, path, source }
    }

    pub(crate) fn database(action: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        move |source| StoreError::Database { action, source }
    }
}

impl From<StoreError> for engine_table::NodeError {
    fn from(error: StoreError) -> engine_table::NodeError {
        match error {
            StoreError::Cancelled => engine_table::NodeError::Cancelled,
            other => engine_table::NodeError::failed(other),
        }
    }
}
