//! The images and sounds a deployment reads: those it was packed with, and those of the requests under way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_core::Digest;

use crate::{Blobs, NoBlobs, NodeError};

/// A place for media in memory. The steps of a deployment read from it; only [`Media::lend`] puts something there, and
/// only as long as a request needs it.
#[derive(Debug, Default)]
pub struct Media {
    packed: BTreeMap<Digest, Arc<[u8]>>,
    sent: Mutex<HashMap<Digest, Sent>>,
}

/// What requests under way have sent.
#[derive(Debug)]
struct Sent {
    bytes: Arc<[u8]>,
    /// How many times it is lent: two requests may send the same picture at once, or one in two rows.
    times: usize,
}

impl Media {
    /// A place with what a bundle brought along.
    pub(super) fn new(packed: BTreeMap<Digest, Arc<[u8]>>) -> Media {
        Media { packed, sent: Mutex::default() }
    }

    /// Whether the bundle brought it along.
    pub(super) fn is_packed(&self, digest: &Digest) -> bool {
        self.packed.contains_key(digest)
    }

    /// Keeps `bytes` until what is given back, and all else that was lent of equal bytes, is dropped.
    pub fn lend(self: &Arc<Self>, bytes: Arc<[u8]>) -> Lent {
        let digest = Digest::of(&bytes);
        self.sent().entry(digest).or_insert(Sent { bytes, times: 0 }).times += 1;
        Lent { media: self.clone(), digest }
    }

    /// A thread that panicked while it held the lock has left nothing half done.
    fn sent(&self) -> MutexGuard<'_, HashMap<Digest, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs for Media {
    fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, NodeError> {
        match self.packed.get(digest) {
            Some(bytes) => Ok(bytes.clone()),
            None => match self.sent().get(digest) {
                Some(sent) => Ok(sent.bytes.clone()),
                None => NoBlobs.read(digest),
            },
        }
    }

    fn put(&self, bytes: &[u8]) -> Result<Digest, NodeError> {
        NoBlobs.put(bytes)
    }
}

/// An image or sound of a request. When it is dropped the bytes go, unless another request under way sent the same.
#[derive(Debug)]
pub struct Lent {
    media: Arc<Media>,
    digest: Digest,
}

impl Lent {
    /// What its cell holds.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut sent = self.media.sent();
        if let Some(kept) = sent.get_mut(&self.digest) {
            kept.times -= 1;
            if kept.times == 0 {
                sent.remove(&self.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_goes_with_the_last_request_that_sent_it() {
        let media = Arc::new(Media::default());
        let (one, other) = (media.lend(b"picture".as_slice().into()), media.lend(b"picture".as_slice().into()));
        let digest = one.digest();
        assert_eq!(digest, other.digest());
        drop(one);
        assert_eq!(&*media.read(&digest).unwrap(), b"picture");
        drop(other);
        assert!(media.read(&digest).is_err());
        assert!(media.sent().is_empty());
    }

    #[test]
    fn what_was_packed_stays() {
        let digest = Digest::of(b"packed");
        let media = Arc::new(Media::new(BTreeMap::from([(digest, b"packed".as_slice().into())])));
        drop(media.lend(b"packed".as_slice().into()));
        assert_eq!(&*media.read(&digest).unwrap(), b"packed");
        assert!(media.put(b"more").is_err());
    }

    #[test]
    fn many_requests_with_one_picture_leave_nothing_behind() {
        let media = Arc::new(Media::default());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for round in 0..200_u8 {
                        let lent = media.lend([round % 3].as_slice().into());
                        assert_eq!(&*media.read(&lent.digest()).unwrap(), [round % 3]);
                    }
                });
            }
        });
        assert!(media.sent().is_empty());
    }
}
