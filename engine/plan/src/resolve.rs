//! What is known of a plan's outputs while it is walked, before a run or during it.
//!
//! [`crate::preview`] walks the tasks with [`crate::fingerprint`] and [`crate::compose`] before a run,
//! `engine-exec` walks them with the same functions during it; so what the plan says is what happens.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use engine_core::{Digest, nearest};
use engine_store::{RecordOutput, Store, StoreError};
use engine_table::{Files, Table};

use crate::OutputRef;

/// An output whose content is known.
#[derive(Debug, Clone)]
pub enum Output {
    /// A table: its manifest.
    Table(Arc<Table>),
    /// Files: their digest, and the files themselves.
    Files {
        /// The digest.
        digest: Digest,
        /// The files, read when they are first needed.
        files: Arc<LazyFiles>,
    },
}

impl Output {
    /// An artifact that was just made.
    pub fn of_files(files: Arc<Files>) -> Output {
        Output::Files { digest: files.digest(), files: Arc::new(LazyFiles::read_already(files)) }
    }

    /// The digest of its content.
    pub fn digest(&self) -> Digest {
        match self {
            Output::Table(table) => table.digest(),
            Output::Files { digest, .. } => *digest,
        }
    }
}

/// The files of an artifact in the store: a hit whose artifact nobody opens costs no read.
#[derive(Debug)]
pub struct LazyFiles {
    stored: Option<RecordOutput>,
    files: OnceLock<Arc<Files>>,
}

impl LazyFiles {
    /// Files that stand in the store as `output` says.
    pub fn stored(output: RecordOutput) -> LazyFiles {
        LazyFiles { stored: Some(output), files: OnceLock::new() }
    }

    /// Files that are in memory already.
    pub fn read_already(files: Arc<Files>) -> LazyFiles {
        LazyFiles { stored: None, files: OnceLock::from(files) }
    }

    /// How they stand in `store`; put there if they do not yet.
    ///
    /// # Errors
    /// If they cannot be put there.
    pub fn recorded(&self, store: &Store) -> Result<RecordOutput, StoreError> {
        match &self.stored {
            Some(stored) => Ok(stored.clone()),
            None => store.store_files(&*self.read(store)?),
        }
    }

    /// The files; read from `store` the first time.
    ///
    /// # Errors
    /// If an object is missing or damaged.
    pub fn read(&self, store: &Store) -> Result<Arc<Files>, StoreError> {
        if let (None, Some(stored)) = (self.files.get(), &self.stored) {
            let files = Arc::new(store.files(stored)?);
            // Two threads may read at once; both read the same.
            let _ = self.files.set(files);
        }
        Ok(self.files.get().expect("files are in memory or in the store").clone())
    }
}

/// The outputs known so far.
#[derive(Debug, Clone, Default)]
pub struct Outputs(pub HashMap<OutputRef, Output>);

impl Outputs {
    /// The table `output`, if it is known.
    pub fn table(&self, output: &OutputRef) -> Option<&Arc<Table>> {
        match self.0.get(output) {
            Some(Output::Table(table)) => Some(table),
            _ => None,
        }
    }
}

/// What keys a task besides its inputs.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The numeric class of float kernels here, as in `cpu-avx512`.
    pub numerics: String,
}

/// Why a task cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A file a source reads cannot be read.
    #[error("`{node}` cannot read `{path}`: {reason}")]
    File {
        /// The node.
        node: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Files a node takes in cannot be read.
    #[error("`{node}`: {what}")]
    Files {
        /// The node.
        node: String,
        /// Which files, and the way out.
        what: String,
    },
    /// What stands at a sink's destination cannot be read.
    #[error("`{node}` cannot read what stands at its destination `{path}`: {source}")]
    Destination {
        /// The node.
        node: String,
        /// The destination.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A record or table does not hold what the plan expects.
    #[error("the stored result of `{task}` {what}; run with `--force` to make it again")]
    Stored {
        /// The task.
        task: String,
        /// What is missing or wrong.
        what: String,
    },
    /// A selection names what is no node.
    #[error("{}", unknown_nodes(.unknown, .nodes))]
    UnknownNodes {
        /// The names that are none.
        unknown: Vec<String>,
        /// The nodes there are.
        nodes: Vec<String>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Up to so many nodes are listed for whoever named none of them nearly.
const NODES_LISTED: usize = 20;

fn unknown_nodes(unknown: &[String], nodes: &[String]) -> String {
    let mut has_strangers = false;
    let mut lines: Vec<String> = Vec::new();
    for name in unknown {
        let near = nearest(name, nodes.iter().map(String::as_str));
        has_strangers |= near.is_none();
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        lines.push(format!("there is no node `{name}` to select{hint}"));
    }
    if has_strangers {
        let listed: Vec<String> = nodes.iter().take(NODES_LISTED).map(|node| format!("`{node}`")).collect();
        let more = nodes.len().saturating_sub(NODES_LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("the nodes are {}{more}", listed.join(", ")));
    }
    lines.join("\n")
}
