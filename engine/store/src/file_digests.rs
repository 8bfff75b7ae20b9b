//! Digests of files outside the store, remembered while the file does not change.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine_core::Digest;
use rusqlite::{OptionalExtension, params};

use crate::store::digest_from;
use crate::{Store, StoreError};

/// A file changed so short a time ago may change again within the same tick of the file system's clock, and its
/// stamp would not show it (as in git's "racily clean" entries): its digest is not remembered.
const RACY: Duration = Duration::from_secs(2);

const BUFFER: usize = 1 << 20;

/// Tries before a file that changes all the time is given up.
const TRIES: usize = 3;

/// Size, time of change and inode: what tells a changed file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified_ns: i128,
    inode: u64,
    device: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            size: metadata.size(),
            modified_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let Stamp { size, modified_ns, inode, device } = self;
        [&size.to_le_bytes()[..], &modified_ns.to_le_bytes(), &inode.to_le_bytes(), &device.to_le_bytes()].concat()
    }

    fn is_settled(self, now: SystemTime) -> bool {
        let now_ns = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        i128::try_from(now_ns).is_ok_and(|now_ns| now_ns - self.modified_ns >= RACY.as_nanos().cast_signed())
    }
}

impl Store {
    /// The digest of a file's content: remembered by path, size, time of change and inode, else read.
    ///
    /// # Errors
    /// If the file cannot be read, or changes while it is read.
    pub fn file_digest(&self, path: &Path) -> Result<Digest, StoreError> {
        for _ in 0..TRIES {
            let before = stamp(path)?;
            if let Some(digest) = self.remembered_digest(path, before)? {
                return Ok(digest);
            }
            let digest = digest_of_file(path)?;
            if stamp(path)? == before {
                if before.is_settled(SystemTime::now()) {
                    self.remember_digest(path, before, digest);
                }
                return Ok(digest);
            }
        }
        let changing = std::io::Error::other("it changes while it is read; try again when it is complete");
        Err(StoreError::file("read", path)(changing))
    }

    fn remembered_digest(&self, path: &Path, stamp: Stamp) -> Result<Option<Digest>, StoreError> {
        let row: Option<Vec<u8>> = self.connections.read("read a file's digest", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT digest FROM file_digests WHERE path = ?1 AND stamp = ?2")?;
            statement.query_row(params![path.as_os_str().as_bytes(), stamp.to_bytes()], |row| row.get(0)).optional()
        })?;
        Ok(row.and_then(|bytes| digest_from(&bytes)))
    }

    fn remember_digest(&self, path: &Path, stamp: Stamp, digest: Digest) {
        let Ok(writer) = self.writer() else { return };
        let path = path.as_os_str().as_bytes().to_vec();
        writer.send(move |connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO file_digests (path, stamp, digest) VALUES (?1, ?2, ?3)")?
                .execute(params![path, stamp.to_bytes(), digest.as_bytes()])?;
            Ok(())
        });
    }
}

fn stamp(path: &Path) -> Result<Stamp, StoreError> {
    let metadata = std::fs::metadata(path).map_err(StoreError::file("read", path))?;
    // A pipe would be waited for, and a folder has no content.
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "it is a folder" } else { "it is no plain file" };
        return Err(StoreError::file("read", path)(std::io::Error::other(what)));
    }
    Ok(Stamp::of(&metadata))
}

/// The digest of a file's bytes, read through a small buffer.
fn digest_of_file(path: &Path) -> Result<Digest, StoreError> {
    let mut file = File::open(path).map_err(StoreError::file("read", path))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest::from_bytes(*hasher.finalize().as_bytes())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(StoreError::file("read", path)(error)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path, seconds: u64) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    fn remembered(store: &Store, path: &Path) -> bool {
        store.flush().unwrap();
        store.remembered_digest(path, stamp(path).unwrap()).unwrap().is_some()
    }

    #[test]
    fn a_settled_file_is_read_once_and_again_when_it_changes() {
        let store = Store::temporary().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, "a,b\n").unwrap();
        age(&path, 100);
        assert_eq!(store.file_digest(&path).unwrap(), Digest::of(b"a,b\n"));
        assert!(remembered(&store, &path));
        std::fs::write(&path, "a,c\n").unwrap();
        age(&path, 50);
        assert!(!remembered(&store, &path));
        assert_eq!(store.file_digest(&path).unwrap(), Digest::of(b"a,c\n"));
    }

    #[test]
    fn a_file_changed_just_now_is_read_every_time() {
        let store = Store::temporary().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, "one").unwrap();
        assert_eq!(store.file_digest(&path).unwrap(), Digest::of(b"one"));
        assert!(!remembered(&store, &path));
        // Same size, same inode, and, by hand, the same time of change: only reading finds it.
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(store.file_digest(&path).unwrap(), Digest::of(b"two"));
    }

    #[test]
    fn an_absent_file_is_named() {
        let store = Store::temporary().unwrap();
        let error = store.file_digest(Path::new("/nowhere/rows.csv")).unwrap_err().to_string();
        assert!(error.contains("`/nowhere/rows.csv`"), "{error}");
    }
}
