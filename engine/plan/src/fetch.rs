//! The files a task takes in: which they are and what is in them now.
//!
//! The plan keys a task by what [`fetched`] gives, and the run writes what it gives; so a file is re-read only if its
//! size or time of change is another, and a task runs again only if the content of a file its rows name is.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use engine_core::{Digest, Hasher};
use engine_store::{Store, StoreError};
use engine_table::{Fetch, FetchedFile, NamedFile, OnMissing};
use polars::prelude::DataFrame;

use crate::fingerprint::merged;
use crate::{Outputs, ResolveError, Task, Work};

/// So many files that cannot be read are named; of more only the number is told.
const TOLD: usize = 10;

/// The files of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// One entry for each row; nothing for a row that names no file.
    pub files: Vec<Option<FetchedFile>>,
    /// Where each content stands.
    pub places: BTreeMap<Digest, PathBuf>,
    /// What cannot be read, in words, if there is any and that is allowed.
    pub missing: Option<String>,
}

impl Fetched {
    /// The digest of what the files are called and what is in them, row by row.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = Hasher::new("fuseline.key.files.v1");
        for file in &self.files {
            match file {
                None => hasher.field(b""),
                Some(file) => match &file.blob {
                    None => hasher.field(file.name.as_bytes()).field(b"missing"),
                    Some(blob) => hasher.field(file.name.as_bytes()).digest(blob),
                },
            };
        }
        hasher.finish()
    }
}

/// The files `task` takes in by `fetch`; nothing while its table is unknown.
///
/// # Errors
/// If a file cannot be read and the kind does not allow that, naming all that cannot; if the store fails.
pub fn fetched(
    task: &Task,
    fetch: &dyn Fetch,
    outputs: &Outputs,
    store: &Store,
) -> Result<Option<Fetched>, ResolveError> {
    let rows = match &task.work {
        Work::Apply { change, tables, .. } => match merged(tables, outputs) {
            Some(table) => store.read_table(&table, &change.reads)?,
            None => return Ok(None),
        },
        _ => DataFrame::empty(),
    };
    let fails = |what: String| ResolveError::Files { node: task.node.clone(), what };
    let named = fetch.files(&rows).map_err(|error| fails(error.to_string()))?;
    let of_rows = matches!(task.work, Work::Apply { .. });
    let looked = look_at(named, store, of_rows)?;
    match (&looked.missing, fetch.on_missing()) {
        (Some(missing), OnMissing::Fail) => Err(fails(format!(
            "cannot read {missing}; put them in place, correct the names, or write `missing: 'null'` to go on without them"
        ))),
        _ => Ok(Some(looked)),
    }
}

fn look_at(named: Vec<Option<NamedFile>>, store: &Store, of_rows: bool) -> Result<Fetched, StoreError> {
    // A page that many rows share is looked at once.
    let mut known: HashMap<PathBuf, Result<Digest, ()>> = HashMap::new();
    let mut places = BTreeMap::new();
    let mut files = Vec::with_capacity(named.len());
    let mut told: Vec<String> = Vec::new();
    let mut missing = 0;
    for (row, file) in named.into_iter().enumerate() {
        let Some(NamedFile { name, path }) = file else {
            files.push(None);
            continue;
        };
        let blob = match known.get(&path) {
            Some(looked) => *looked,
            None => {
                let looked = match digest_of(&path, store)? {
                    Ok(digest) => {
                        places.insert(digest, path.clone());
                        Ok(digest)
                    }
                    Err(reason) => {
                        missing += 1;
                        if told.len() < TOLD {
                            let place = if of_rows { format!(" (row {row})") } else { String::new() };
                            told.push(format!("`{name}`{place}: {reason}"));
                        }
                        Err(())
                    }
                };
                known.insert(path, looked);
                looked
            }
        };
        files.push(Some(FetchedFile { name, blob: blob.ok() }));
    }
    let missing = (missing > 0).then(|| {
        let more = if missing > told.len() { format!("; and {} more", missing - told.len()) } else { String::new() };
        format!("{missing} of {} files: {}{more}", known.len(), told.join("; "))
    });
    Ok(Fetched { files, places, missing })
}

/// The digest of a file, or why it cannot be read in a few words.
fn digest_of(path: &Path, store: &Store) -> Result<Result<Digest, String>, StoreError> {
    match store.file_digest(path) {
        Ok(digest) => Ok(Ok(digest)),
        Err(StoreError::File { source, .. }) => Ok(Err(match source.kind() {
            std::io::ErrorKind::NotFound => "not there".to_owned(),
            _ => source.to_string(),
        })),
        Err(other) => Err(other),
    }
}
