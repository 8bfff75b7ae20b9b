//! Small facts worth remembering: a key, a few bytes, a checksum.

use std::sync::Arc;

use engine_core::Digest;
use rusqlite::{OptionalExtension, params};

use crate::store::{checksum, lock};
use crate::{Store, StoreError};

const DOMAIN: &str = "fuseline.memo.v1";

impl Store {
    /// What was remembered under `key`. A damaged memo is as good as none.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn memo(&self, key: &Digest) -> Result<Option<Arc<[u8]>>, StoreError> {
        if let Some(value) = lock(&self.memos).get(key) {
            return Ok(Some(value.clone()));
        }
        let row: Option<(Vec<u8>, Vec<u8>)> = self.connections.read("read a memo", |connection| {
            let mut statement = connection.prepare_cached("SELECT value, checksum FROM memos WHERE key = ?1")?;
            statement.query_row([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        let Some((value, sum)) = row else { return Ok(None) };
        if checksum(DOMAIN, key, &value) != sum.as_slice() {
            tracing::warn!(%key, "a memo is damaged and is not used");
            return Ok(None);
        }
        let value: Arc<[u8]> = value.into();
        lock(&self.memos).insert(*key, value.clone());
        Ok(Some(value))
    }

    /// Remembers `value` under `key`: at once for this process, for others when the writer comes to it. A store open
    /// for reading only remembers it as long as it is open.
    ///
    /// # Errors
    /// None today; a store elsewhere may have some.
    pub fn set_memo(&self, key: &Digest, value: &[u8]) -> Result<(), StoreError> {
        lock(&self.memos).insert(*key, value.into());
        if let Ok(writer) = self.writer() {
            let (key, value) = (*key, value.to_vec());
            writer.send(move |connection| {
                let sum = checksum(DOMAIN, &key, &value);
                connection
                    .prepare_cached("INSERT OR REPLACE INTO memos (key, value, checksum) VALUES (?1, ?2, ?3)")?
                    .execute(params![key.as_bytes(), value, sum])?;
                Ok(())
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memo_is_known_at_once_and_to_others_later() {
        let folder = tempfile::tempdir().unwrap();
        let key = Digest::of(b"key");
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.memo(&key).unwrap(), None);
        store.set_memo(&key, b"one").unwrap();
        assert_eq!(store.memo(&key).unwrap().as_deref(), Some(&b"one"[..]));
        store.set_memo(&key, b"two").unwrap();
        store.flush().unwrap();
        let other = Store::open(folder.path()).unwrap();
        assert_eq!(other.memo(&key).unwrap().as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn a_damaged_memo_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let key = Digest::of(b"key");
        let store = Store::open(folder.path()).unwrap();
        store.set_memo(&key, b"one").unwrap();
        store.flush().unwrap();
        let connection = rusqlite::Connection::open(folder.path().join("fuseline.db")).unwrap();
        connection.execute("UPDATE memos SET value = ?1", [b"oni"]).unwrap();
        assert_eq!(Store::open(folder.path()).unwrap().memo(&key).unwrap(), None);
    }
}
