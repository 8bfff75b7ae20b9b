//! Finding the store a command speaks of.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use engine_store::{Store, StoreError};

use crate::Failure;
use crate::arguments::StoreArguments;
use crate::load::{STORE_FOLDER, beside, working_folder};

/// Opens the store the arguments name: `--store`, that of `--pipeline`, or the nearest one above the working directory.
pub fn open(arguments: &StoreArguments) -> Result<Store, Failure> {
    let folder = match (&arguments.store, &arguments.pipeline) {
        (Some(folder), _) => folder.clone(),
        (None, Some(pipeline)) => beside(pipeline),
        (None, None) => nearest()?,
    };
    if !folder.exists() {
        let folder = folder.display();
        return Err(Failure::message(format!(
            "there is no store at `{folder}`; run a pipeline first, or name it with `--store`"
        )));
    }
    open_to_read(&folder)
}

/// A store that is only looked at: what another user owns can be, too.
pub fn open_to_read(folder: &Path) -> Result<Store, Failure> {
    check_folder(folder)?;
    Store::open(folder).or_else(|_| Store::open_read_only(folder)).map_err(Failure::message)
}

/// A store that results are written to.
pub fn open_to_write(folder: &Path) -> Result<Store, Failure> {
    check_folder(folder)?;
    Store::open(folder).map_err(|error| match &error {
        StoreError::File { source, .. } if is_forbidden(source) => {
            Failure::message(format!("{error}; name a store that you may write to with `--store DIR`"))
        }
        _ => Failure::message(error),
    })
}

fn is_forbidden(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// A file in the place of a store is told before anything is made of it.
fn check_folder(folder: &Path) -> Result<(), Failure> {
    if folder.exists() && !folder.is_dir() {
        let folder = folder.display();
        return Err(Failure::message(format!("the store `{folder}` is no folder; `--store DIR` names one")));
    }
    Ok(())
}

fn nearest() -> Result<PathBuf, Failure> {
    let working = working_folder()?;
    let found = working.ancestors().map(|folder| folder.join(STORE_FOLDER)).find(|folder| folder.is_dir());
    found.ok_or_else(|| {
        Failure::message(format!(
            "no `{STORE_FOLDER}` here or in a folder above; name the pipeline with `--pipeline FILE` or the store with `--store DIR`"
        ))
    })
}
