//! Media bytes by digest: what an `image` or `audio` cell names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine_core::Digest;

use crate::NodeError;

/// Where media bytes lie. A cell of an `image` or `audio` column is the digest of its bytes, as hexadecimal text, so
/// joins and selections copy no bytes.
pub trait Blobs: Send + Sync {
    /// The bytes whose digest is `digest`, checked against it.
    ///
    /// # Errors
    /// If there are none, or they were damaged.
    fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, NodeError>;

    /// Keeps `bytes` and gives their digest. Equal bytes are kept once.
    ///
    /// # Errors
    /// If they cannot be kept, or this place takes none.
    fn put(&self, bytes: &[u8]) -> Result<Digest, NodeError>;
}

/// A place without blobs, which takes none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBlobs;

impl Blobs for NoBlobs {
    fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, NodeError> {
        Err(absent(digest))
    }

    fn put(&self, _: &[u8]) -> Result<Digest, NodeError> {
        Err(NodeError::Failed("images and sound cannot be kept here".to_owned()))
    }
}

/// Blobs in memory: for tests, and for the media of requests.
#[derive(Debug, Default)]
pub struct MemoryBlobs(Mutex<HashMap<Digest, Arc<[u8]>>>);

impl Blobs for MemoryBlobs {
    fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, NodeError> {
        let blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.get(digest).cloned().ok_or_else(|| absent(digest))
    }

    fn put(&self, bytes: &[u8]) -> Result<Digest, NodeError> {
        let digest = Digest::of(bytes);
        let mut blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.entry(digest).or_insert_with(|| bytes.into());
        Ok(digest)
    }
}

fn absent(digest: &Digest) -> NodeError {
    NodeError::Failed(format!("the media with the digest {digest} are not here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_come_back_by_their_digest() {
        let blobs = MemoryBlobs::default();
        let digest = blobs.put(b"a picture").unwrap();
        assert_eq!(digest, Digest::of(b"a picture"));
        assert_eq!(&*blobs.read(&digest).unwrap(), b"a picture");
        assert!(blobs.read(&Digest::of(b"another")).unwrap_err().to_string().contains("are not here"));
    }

    #[test]
    fn a_place_without_blobs_takes_none() {
        assert!(NoBlobs.put(b"x").is_err());
        assert!(NoBlobs.read(&Digest::of(b"x")).is_err());
    }
}
