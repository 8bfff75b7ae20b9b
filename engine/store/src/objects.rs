//! Content by digest: files whose name is what is in them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use engine_core::Digest;
use engine_table::{Segment, SegmentError};

use crate::layout::Layout;
use crate::store::lock;
use crate::{Store, StoreError};

/// So many files are synced one by one; beyond it one call for the whole file system is cheaper.
const SYNC_EACH: usize = 64;

/// So many segments stay open between uses.
const OPEN_SEGMENTS: usize = 512;

/// The objects of a store, and what this process knows of them.
pub(crate) struct Objects {
    layout: Layout,
    // Digests whose file was written or hashed by this process.
    verified: Mutex<HashSet<Digest>>,
    // Written since the last sync.
    unsynced: Mutex<Vec<Digest>>,
    segments: Mutex<OpenSegments>,
}

#[derive(Default)]
struct OpenSegments {
    by_digest: HashMap<Digest, (Arc<Segment>, u64)>,
    uses: u64,
}

impl Objects {
    pub(crate) fn new(layout: Layout) -> Objects {
        Objects { layout, verified: Mutex::default(), unsynced: Mutex::default(), segments: Mutex::default() }
    }

    /// Whether the file is there; its content is checked when it is read.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        // Not remembered: another process may remove or set aside a file at any time, and a look costs 2 us.
        self.layout.object(digest).exists()
    }

    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.layout.object(&digest);
        // A file that stands there already is trusted only if its content is right: else it is written over.
        if path.exists() && (lock(&self.verified).contains(&digest) || self.read(&digest).is_ok()) {
            return Ok(digest);
        }
        if self.layout.write_whole(&path, bytes).is_err() {
            // Most often the first object of its folder: `ab/` is made when it is needed. It may have been made by
            // another thread in between, so whether it is there says nothing.
            let folder = path.parent().map(PathBuf::from).unwrap_or_default();
            fs::create_dir_all(&folder).map_err(StoreError::file("make the folder", folder))?;
            self.layout.write_whole(&path, bytes)?;
        }
        lock(&self.verified).insert(digest);
        lock(&self.unsynced).push(digest);
        Ok(digest)
    }

    pub(crate) fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, StoreError> {
        let path = self.layout.object(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::MissingObject { digest: *digest });
            }
            Err(error) => return Err(StoreError::file("read", path)(error)),
        };
        if !lock(&self.verified).contains(digest) {
            let found = Digest::of(&bytes);
            if found != *digest {
                return Err(StoreError::Damaged { path, expected: *digest, found });
            }
            lock(&self.verified).insert(*digest);
        }
        Ok(bytes.into())
    }

    fn segment(&self, digest: &Digest) -> Result<Arc<Segment>, StoreError> {
        if let Some(segment) = lock(&self.segments).used(digest) {
            return Ok(segment);
        }
        let path = self.layout.object(digest);
        let segment = match Segment::from_file(&path, *digest) {
            Ok(segment) => Arc::new(segment),
            Err(SegmentError::Damaged { path, expected, found }) => {
                return Err(StoreError::Damaged { path, expected, found });
            }
            Err(SegmentError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::MissingObject { digest: *digest });
            }
            Err(error) => return Err(StoreError::Rows(error.to_string())),
        };
        lock(&self.segments).keep(*digest, segment.clone());
        Ok(segment)
    }

    /// Moves a damaged file out of the way, so that its task is a miss and makes it anew.
    pub(crate) fn set_aside(&self, digest: &Digest) {
        let path = self.layout.object(digest);
        let aside = self.layout.temporary().join(format!("damaged-{digest}"));
        lock(&self.verified).remove(digest);
        match fs::rename(&path, &aside) {
            Ok(()) => tracing::warn!(path = %path.display(), "a damaged object was put aside"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "a damaged object cannot be put aside"),
        }
    }

    /// Syncs what was written since the last time, and the folders it is in.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let written = std::mem::take(&mut *lock(&self.unsynced));
        if written.is_empty() {
            return Ok(());
        }
        let result = self.sync_files(&written);
        if result.is_err() {
            lock(&self.unsynced).extend(written);
        }
        result
    }

    fn sync_files(&self, written: &[Digest]) -> Result<(), StoreError> {
        #[cfg(target_os = "linux")]
        if written.len() > SYNC_EACH {
            let folder = self.layout.objects();
            let file = fs::File::open(&folder).map_err(StoreError::file("open", &folder))?;
            return nix::unistd::syncfs(&file).map_err(|error| StoreError::file("sync", folder)(error.into()));
        }
        let mut folders: HashSet<PathBuf> = HashSet::from([self.layout.objects()]);
        for digest in written {
            let path = self.layout.object(digest);
            sync_path(&path)?;
            folders.extend(path.parent().map(PathBuf::from));
        }
        folders.iter().try_for_each(sync_path)
    }
}

fn sync_path(path: &PathBuf) -> Result<(), StoreError> {
    let synced = fs::File::open(path).and_then(|file| file.sync_all());
    match synced {
        // Put aside or collected meanwhile: nothing to keep.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(StoreError::file("sync", path)),
    }
}

impl OpenSegments {
    fn used(&mut self, digest: &Digest) -> Option<Arc<Segment>> {
        self.uses += 1;
        let (segment, last) = self.by_digest.get_mut(digest)?;
        *last = self.uses;
        Some(segment.clone())
    }

    fn keep(&mut self, digest: Digest, segment: Arc<Segment>) {
        if self.by_digest.len() >= OPEN_SEGMENTS {
            // Half at a time, so that finding the oldest is rare.
            let mut uses: Vec<u64> = self.by_digest.values().map(|(_, last)| *last).collect();
            uses.sort_unstable();
            let oldest_kept = uses[uses.len() / 2];
            self.by_digest.retain(|_, (_, last)| *last >= oldest_kept);
        }
        self.uses += 1;
        self.by_digest.insert(digest, (segment, self.uses));
    }
}

impl Store {
    /// Keeps `bytes` and gives their name. What is there already is not written again.
    ///
    /// # Errors
    /// If the disk gives an error.
    pub fn put_object(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        self.writer()?;
        self.objects.put(bytes)
    }

    /// The content called `digest`, verified once per process.
    ///
    /// # Errors
    /// If it is not there, or damaged: then it is put aside, and the task that made it will run again.
    pub fn object(&self, digest: &Digest) -> Result<Arc<[u8]>, StoreError> {
        self.heal(digest, self.objects.read(digest))
    }

    /// Whether the content called `digest` is there; it is checked when it is read.
    pub fn has_object(&self, digest: &Digest) -> bool {
        self.objects.has(digest)
    }

    /// Where the content called `digest` stands, if it is there.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        self.layout.object(digest)
    }

    pub(crate) fn segment(&self, digest: &Digest) -> Result<Arc<Segment>, StoreError> {
        self.heal(digest, self.objects.segment(digest))
    }

    fn heal<T>(&self, digest: &Digest, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(read, Err(StoreError::Damaged { .. })) && !self.is_read_only() {
            self.objects.set_aside(digest);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flip_a_bit(path: &std::path::Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_same_content_is_kept_once_by_many_threads() {
        let store = Store::temporary().unwrap();
        let digests: Vec<Digest> = std::thread::scope(|scope| {
            let put = |_| scope.spawn(|| store.put_object(b"the same").unwrap());
            let threads: Vec<_> = (0..8).map(put).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(digests.iter().all(|digest| *digest == Digest::of(b"the same")));
        assert_eq!(fs::read_dir(store.layout.temporary()).unwrap().count(), 0);
        assert_eq!(&*store.object(&digests[0]).unwrap(), b"the same");
    }

    #[test]
    fn a_damaged_object_is_named_and_never_served_and_can_be_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Store::open(folder.path()).unwrap().put_object(b"weights").unwrap();
        let store = Store::open(folder.path()).unwrap();
        let path = store.object_path(&digest);
        flip_a_bit(&path);
        let error = store.object(&digest).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { path: named, .. } if *named == path), "{error}");
        assert!(!store.has_object(&digest));
        assert!(matches!(store.object(&digest), Err(StoreError::MissingObject { .. })));
        store.put_object(b"weights").unwrap();
        assert_eq!(&*store.object(&digest).unwrap(), b"weights");
    }

    #[test]
    fn putting_over_a_damaged_file_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Store::open(folder.path()).unwrap().put_object(b"weights").unwrap();
        let store = Store::open(folder.path()).unwrap();
        flip_a_bit(&store.object_path(&digest));
        store.put_object(b"weights").unwrap();
        assert_eq!(&*Store::open(folder.path()).unwrap().object(&digest).unwrap(), b"weights");
    }

    #[test]
    fn flushing_syncs_few_and_many_objects() {
        let store = Store::temporary().unwrap();
        for count in [1, SYNC_EACH + 1] {
            for number in 0..count {
                store.put_object(format!("{count} {number}").as_bytes()).unwrap();
            }
            assert_eq!(lock(&store.objects.unsynced).len(), count);
            store.flush().unwrap();
            assert!(lock(&store.objects.unsynced).is_empty());
        }
    }
}
