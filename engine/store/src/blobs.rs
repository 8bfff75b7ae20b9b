//! Media bytes as objects of the store.

use std::path::PathBuf;
use std::sync::Arc;

use engine_core::Digest;
use engine_table::{Blobs, NodeError};

use crate::objects::Objects;
use crate::{Store, StoreError};

/// The blobs of one store; outlives the borrow of it.
struct StoreBlobs {
    objects: Arc<Objects>,
    is_read_only: bool,
    root: PathBuf,
}

impl Blobs for StoreBlobs {
    fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, NodeError> {
        let read = self.objects.read(digest);
        if matches!(read, Err(StoreError::Damaged { .. })) && !self.is_read_only {
            self.objects.set_aside(digest);
        }
        Ok(read?)
    }

    fn put(&self, bytes: &[u8]) -> Result<Digest, NodeError> {
        if self.is_read_only {
            return Err(StoreError::ReadOnly { path: self.root.clone() }.into());
        }
        Ok(self.objects.put(bytes)?)
    }
}

impl Store {
    /// Where image and audio cells find their bytes.
    pub fn blobs(&self) -> Arc<dyn Blobs> {
        Arc::new(StoreBlobs {
            objects: self.objects.clone(),
            is_read_only: self.is_read_only(),
            root: self.root().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_an_object_and_a_store_open_for_reading_takes_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let digest = store.blobs().put(b"a picture").unwrap();
        assert!(store.has_object(&digest));
        store.flush().unwrap();
        drop(store);
        let store = Store::open_read_only(folder.path()).unwrap();
        assert_eq!(&*store.blobs().read(&digest).unwrap(), b"a picture");
        assert!(store.blobs().put(b"another").is_err());
    }
}
