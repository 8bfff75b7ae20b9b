//! Finding the store a command speaks of.

use std::path::PathBuf;

use engine_store::Store;

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
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(Failure::message(format!(
            "there is no store at `{folder}`; run a pipeline first, or name it with `--store`"
        )));
    }
    Store::open(&folder).map_err(Failure::message)
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
