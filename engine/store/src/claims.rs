//! Claims of running tasks: byte-range locks that die with their process.
//!
//! One file, one byte for each key, locked by open file description: no stale lock after a crash, no clock, no
//! heartbeat. Threads of one process share the description, so they are kept apart here.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use engine_core::{Digest, Hasher};
use engine_table::Cancel;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::store::lock;
use crate::{Store, StoreError};

/// How long between two looks at a byte another process holds; also how fast a cancellation is seen.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// The claims of a store, as one process sees them.
pub(crate) struct Claims {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    // None if the store is open for reading only and never had a claim.
    file: Option<File>,
    writable: bool,
    held: Mutex<HashSet<i64>>,
    released: Condvar,
}

/// A claim on a key; ends when it is dropped.
#[must_use = "the claim ends when it is dropped"]
pub struct Claim {
    shared: Arc<Shared>,
    offset: i64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(file) = &self.shared.file
            && let Err(error) = fcntl(file, FcntlArg::F_OFD_SETLK(&byte(libc::F_UNLCK, self.offset)))
        {
            tracing::error!(%error, "cannot release a claim");
        }
        lock(&self.shared.held).remove(&self.offset);
        self.shared.released.notify_all();
    }
}

impl Claims {
    pub(crate) fn open(path: &Path, writable: bool) -> Result<Claims, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(writable).create(writable).truncate(false);
        let file = match options.open(path) {
            Ok(file) => Some(file),
            Err(error) if !writable && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::file("open", path)(error)),
        };
        let shared = Shared { path: path.to_owned(), file, writable, held: Mutex::default(), released: Condvar::new() };
        Ok(Claims { shared: Arc::new(shared) })
    }

    /// Claims the key, waiting while another thread or process holds it.
    fn claim(&self, key: &Digest, cancel: &Cancel) -> Result<Claim, StoreError> {
        let offset = offset(key);
        self.wait_for_threads(offset, cancel)?;
        // From here on the claim is dropped, and with it the entry in `held`, on every way out.
        let claim = Claim { shared: self.shared.clone(), offset };
        let mut wait = FIRST_LOOK;
        while !self.try_lock(offset)? {
            if cancel.is_cancelled() {
                return Err(StoreError::Cancelled);
            }
            self.pause(wait);
            wait = (wait * 2).min(LAST_LOOK);
        }
        Ok(claim)
    }

    /// Claims the key if nobody holds it.
    pub(crate) fn try_claim(&self, key: &Digest) -> Result<Option<Claim>, StoreError> {
        let offset = offset(key);
        if !lock(&self.shared.held).insert(offset) {
            return Ok(None);
        }
        let claim = Claim { shared: self.shared.clone(), offset };
        Ok(self.try_lock(offset)?.then_some(claim))
    }

    /// Whether anybody holds the key: a thread of this process or another process.
    pub(crate) fn is_held(&self, key: &Digest) -> Result<bool, StoreError> {
        let offset = offset(key);
        if lock(&self.shared.held).contains(&offset) {
            return Ok(true);
        }
        let Some(file) = &self.shared.file else { return Ok(false) };
        let mut range = byte(libc::F_WRLCK, offset);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut range)).map_err(|error| self.failed(error))?;
        Ok(i32::from(range.l_type) != libc::F_UNLCK)
    }

    fn wait_for_threads(&self, offset: i64, cancel: &Cancel) -> Result<(), StoreError> {
        let mut held = lock(&self.shared.held);
        while !held.insert(offset) {
            if cancel.is_cancelled() {
                return Err(StoreError::Cancelled);
            }
            let waited = self.shared.released.wait_timeout(held, LAST_LOOK);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn pause(&self, time: Duration) {
        let held = lock(&self.shared.held);
        // A release by a thread of this process only wakes it a little early.
        drop(self.shared.released.wait_timeout(held, time));
    }

    fn try_lock(&self, offset: i64) -> Result<bool, StoreError> {
        let Some(file) = self.shared.file.as_ref().filter(|_| self.shared.writable) else {
            let root = self.shared.path.parent().unwrap_or(&self.shared.path);
            return Err(StoreError::ReadOnly { path: root.to_owned() });
        };
        match fcntl(file, FcntlArg::F_OFD_SETLK(&byte(libc::F_WRLCK, offset))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: Errno) -> StoreError {
        StoreError::file("lock", &self.shared.path)(error.into())
    }
}

/// The byte of a key: 62 bits of it. Two keys on one byte would only wait for each other.
fn offset(key: &Digest) -> i64 {
    let digest = Hasher::new("fuseline.claim.v1").digest(key).finish();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    (u64::from_le_bytes(bytes) >> 2).cast_signed()
}

fn byte(kind: libc::c_int, offset: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset,
        l_len: 1,
        l_pid: 0,
    }
}

impl Store {
    /// Claims the key of a task that is about to run, so that no other thread or process runs it too; waits while
    /// one does. Look for the record again once it is claimed: the other may have committed it.
    ///
    /// # Errors
    /// [`StoreError::Cancelled`] if `cancel` is cancelled while it waits; or the lock file gives an error.
    pub fn claim(&self, key: &Digest, cancel: &Cancel) -> Result<Claim, StoreError> {
        self.claims.claim(key, cancel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn only_one_thread_of_one_or_two_stores_runs_a_task_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let stores = [Store::open(folder.path()).unwrap(), Store::open(folder.path()).unwrap()];
        let (key, inside, most) = (Digest::of(b"task"), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (store, inside, most, key) = (&stores[thread % 2], &inside, &most, &key);
                scope.spawn(move || {
                    for _ in 0..20 {
                        let claim = store.claim(key, &Cancel::new()).unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(claim);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn waiting_ends_when_it_is_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Store::open(folder.path()).unwrap(), Store::open(folder.path()).unwrap());
        let key = Digest::of(b"task");
        let claim = one.claim(&key, &Cancel::new()).unwrap();
        for store in [&one, &two] {
            let cancel = Cancel::new();
            cancel.cancel();
            assert!(matches!(store.claim(&key, &cancel), Err(StoreError::Cancelled)));
            assert!(store.claims.is_held(&key).unwrap());
            assert!(store.claims.try_claim(&key).unwrap().is_none());
        }
        drop(claim);
        assert!(!two.claims.is_held(&key).unwrap());
        drop(two.claim(&key, &Cancel::new()).unwrap());
        drop(one.claim(&key, &Cancel::new()).unwrap());
    }

    #[test]
    fn other_keys_do_not_wait() {
        let store = Store::temporary().unwrap();
        let claims: Vec<Claim> =
            (0..100_u32).map(|key| store.claim(&Digest::of(&key.to_le_bytes()), &Cancel::new()).unwrap()).collect();
        assert_eq!(claims.len(), 100);
    }
}
