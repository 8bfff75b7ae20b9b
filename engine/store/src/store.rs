//! The store: opened once a process, shared by its threads.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use engine_core::Digest;

use crate::StoreError;
use crate::claims::{Claim, Claims};
use crate::connections::Connections;
use crate::database::{open_for_reading, open_for_writing};
use crate::layout::Layout;
use crate::objects::Objects;
use crate::writer::Writer;

/// A store on the local disk. Threads share it by reference; processes share the folder.
pub struct Store {
    pub(crate) layout: Layout,
    // None if the store is open for reading only. Declared before the rest: on drop it commits what was sent.
    writer: Option<Writer>,
    pub(crate) connections: Connections,
    pub(crate) objects: Arc<Objects>,
    pub(crate) claims: Claims,
    // The claims of this process's runs, by id; see `history`.
    pub(crate) running: Mutex<HashMap<String, Claim>>,
    pub(crate) memos: Mutex<HashMap<Digest, Arc<[u8]>>>,
    // The folder of a store that vanishes when it is dropped; last, so that everything in it is closed before.
    _temporary: Option<tempfile::TempDir>,
}

impl Store {
    /// The store in the folder `root`, made if it is not there.
    ///
    /// # Errors
    /// If the folder holds something else or a newer format, or cannot be written.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let layout = Layout::make(root)?;
        let writer = Writer::start(open_for_writing(&layout.database())?)?;
        let claims = Claims::open(&layout.claims(), true)?;
        Ok(Store::assembled(layout, Some(writer), claims, None))
    }

    /// The store in the folder `root`, for reading: nothing in the folder is changed, whatever is asked of it.
    ///
    /// Memos are kept in memory; everything else that writes is [`StoreError::ReadOnly`].
    ///
    /// # Errors
    /// If there is no store or it has a newer format.
    pub fn open_read_only(root: &Path) -> Result<Store, StoreError> {
        let layout = Layout::existing(root)?;
        drop(open_for_reading(&layout.database())?);
        let claims = Claims::open(&layout.claims(), false)?;
        Ok(Store::assembled(layout, None, claims, None))
    }

    /// An empty store in a folder of its own that vanishes with it.
    ///
    /// # Errors
    /// If the system has no place for temporary files.
    pub fn temporary() -> Result<Store, StoreError> {
        let folder = tempfile::tempdir().map_err(StoreError::file("make a folder in", std::env::temp_dir()))?;
        let mut store = Store::open(folder.path())?;
        store._temporary = Some(folder);
        Ok(store)
    }

    fn assembled(
        layout: Layout,
        writer: Option<Writer>,
        claims: Claims,
        temporary: Option<tempfile::TempDir>,
    ) -> Store {
        Store {
            writer,
            connections: Connections::new(layout.database()),
            objects: Arc::new(Objects::new(layout.clone())),
            claims,
            running: Mutex::default(),
            memos: Mutex::default(),
            layout,
            _temporary: temporary,
        }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.layout.root
    }

    /// Whether it is open for reading only.
    pub fn is_read_only(&self) -> bool {
        self.writer.is_none()
    }

    /// Waits until everything written so far would outlive a loss of power: objects first, then the database.
    ///
    /// Called before a run is reported finished.
    ///
    /// # Errors
    /// If the disk gives an error, or a write nobody waited for failed.
    pub fn flush(&self) -> Result<(), StoreError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        self.objects.sync()?;
        writer.barrier(true)
    }

    /// How many transactions this process has committed.
    pub fn transactions(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::transactions)
    }

    pub(crate) fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().ok_or_else(|| StoreError::ReadOnly { path: self.layout.root.clone() })
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A thread that panicked while it held the lock has left nothing half done in the maps that are locked here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first 16 bytes of the digest of key and value: with the key in it, a flipped bit in either is found.
pub(crate) fn checksum(domain: &str, key: &Digest, value: &[u8]) -> [u8; 16] {
    let digest = engine_core::Hasher::new(domain).digest(key).field(value).finish();
    let mut sum = [0; 16];
    sum.copy_from_slice(&digest.as_bytes()[..16]);
    sum
}

/// A digest from a database cell.
pub(crate) fn digest_from(bytes: &[u8]) -> Option<Digest> {
    bytes.try_into().ok().map(Digest::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_records::record;

    #[test]
    fn a_reopened_store_has_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let digest = store.put_object(b"content").unwrap();
        store.commit(record(1, &[])).unwrap();
        store.set_memo(&Digest::of(b"m"), b"memo").unwrap();
        store.flush().unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(&*store.object(&digest).unwrap(), b"content");
        assert_eq!(store.record(&record(1, &[]).fingerprint.key).unwrap(), Some(record(1, &[])));
        assert_eq!(store.memo(&Digest::of(b"m")).unwrap().as_deref(), Some(&b"memo"[..]));
    }

    #[test]
    fn a_store_open_for_reading_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let digest = {
            let store = Store::open(folder.path()).unwrap();
            store.commit(record(1, &[])).unwrap();
            store.put_object(b"content").unwrap()
        };
        let listing = || {
            let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            (names, std::fs::read(folder.path().join("fuseline.db")).unwrap())
        };
        let before = listing();
        let store = Store::open_read_only(folder.path()).unwrap();
        assert_eq!(&*store.object(&digest).unwrap(), b"content");
        assert_eq!(store.record(&record(1, &[]).fingerprint.key).unwrap(), Some(record(1, &[])));
        assert!(matches!(store.put_object(b"other"), Err(StoreError::ReadOnly { .. })));
        assert!(matches!(store.commit(record(2, &[])), Err(StoreError::ReadOnly { .. })));
        store.set_memo(&Digest::of(b"m"), b"memo").unwrap();
        assert!(store.memo(&Digest::of(b"m")).unwrap().is_some());
        store.flush().unwrap();
        drop(store);
        let after = listing();
        assert_eq!(before.1, after.1);
        assert!(
            after.0.iter().all(|name| before.0.contains(name) || name.to_string_lossy().starts_with("fuseline.db-"))
        );
    }

    #[test]
    fn reading_an_absent_store_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nothing");
        assert!(matches!(Store::open_read_only(&path), Err(StoreError::Absent { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn a_temporary_store_vanishes() {
        let store = Store::temporary().unwrap();
        let root = store.root().to_owned();
        store.put_object(b"x").unwrap();
        assert!(root.exists());
        drop(store);
        assert!(!root.exists());
    }
}
