//! Records of finished tasks: committed once, first writer wins, checked when they are read.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use engine_core::Digest;
use engine_table::{Files, RowsChange};
use rusqlite::{Connection, OptionalExtension, params};

use crate::objects::Objects;
use crate::store::{checksum, lock};
use crate::{FilePlace, Record, RecordOutput, Store, StoreError};

/// A text file up to this size stands in its record.
const INLINE: usize = 16 * 1024;

const DOMAIN: &str = "fuseline.record.v1";

/// How a commit ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Commit {
    /// The record stands.
    Won,
    /// Another record of the same key stood already; this is it.
    Lost(Box<Record>),
}

/// A commit under way; see [`Store::begin_commit`].
#[must_use = "the record stands only once the commit is waited for"]
pub struct PendingCommit {
    answer: Receiver<Result<Commit, String>>,
}

impl PendingCommit {
    /// Waits until the record, or the winner's, stands.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn wait(self) -> Result<Commit, StoreError> {
        let answer =
            self.answer.recv().map_err(|_| StoreError::Writer { reason: "its thread has ended".to_owned() })?;
        answer.map_err(|reason| StoreError::Writer { reason })
    }
}

/// What stands already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Wins,
    IsReplaced,
}

impl Store {
    /// The record of `key`; `None` if there is none, or if its checksum does not hold (which is reported).
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn record(&self, key: &Digest) -> Result<Option<Record>, StoreError> {
        self.connections.read("read a record", |connection| read_record(connection, key))
    }

    /// The records of `keys`, in order, in one reading transaction.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn records(&self, keys: &[Digest]) -> Result<Vec<Option<Record>>, StoreError> {
        self.connections.read("read records", |connection| {
            let transaction = connection.unchecked_transaction()?;
            let records = keys.iter().map(|key| read_record(&transaction, key)).collect();
            transaction.finish()?;
            records
        })
    }

    /// Commits a record and waits for it. First writer wins; a standing record that is damaged, or whose objects are
    /// missing, is replaced.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn commit(&self, record: Record) -> Result<Commit, StoreError> {
        self.begin_commit(record)?.wait()
    }

    /// Commits a record; many commits under way at once share a transaction.
    ///
    /// # Errors
    /// If the store is open for reading only or its writer has ended.
    pub fn begin_commit(&self, record: Record) -> Result<PendingCommit, StoreError> {
        self.send_record(record, Standing::Wins)
    }

    /// Commits a record in place of whatever stands: the result of a forced run.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn replace(&self, record: Record) -> Result<(), StoreError> {
        self.send_record(record, Standing::IsReplaced)?.wait().map(|_| ())
    }

    fn send_record(&self, record: Record, standing: Standing) -> Result<PendingCommit, StoreError> {
        let writer = self.writer()?;
        let value = serde_json::to_vec(&record).map_err(|error| StoreError::Writer { reason: error.to_string() })?;
        let key = record.fingerprint.key;
        let objects = self.objects.clone();
        let ended = Arc::new(Mutex::new(Commit::Won));
        let written = ended.clone();
        let (answer, answered) = sync_channel(1);
        writer.send_and(
            move |connection| {
                let winner = write_record(connection, &objects, &key, &value, standing)?;
                *lock(&written) = winner.map_or(Commit::Won, |winner| Commit::Lost(Box::new(winner)));
                Ok(())
            },
            move |result| {
                let commit = std::mem::replace(&mut *lock(&ended), Commit::Won);
                // Whoever committed may not have waited.
                let _ = answer.send(result.map(|()| commit));
            },
        )?;
        Ok(PendingCommit { answer: answered })
    }

    /// Whether everything the record gave is there. Cheap: content is verified when it is first read, and that of
    /// images and sound when a file of theirs has changed.
    pub fn verify_outputs(&self, record: &Record) -> bool {
        self.missing_output(record).is_none()
    }

    /// The first object of the record, or blob that it names, that is not there.
    pub fn missing_output(&self, record: &Record) -> Option<Digest> {
        let mut tables = record.outputs.values().filter_map(|output| match output {
            RecordOutput::Table(change) => Some(change),
            RecordOutput::Files { .. } => None,
        });
        missing(&self.objects, record).or_else(|| tables.find_map(|change| self.missing_blob(change)))
    }

    /// Keeps the files of an artifact: small text goes into the record, the rest into objects.
    ///
    /// # Errors
    /// If an object cannot be written.
    pub fn store_files(&self, files: &Files) -> Result<RecordOutput, StoreError> {
        let mut places = BTreeMap::new();
        for (name, bytes) in files.iter() {
            let text = if bytes.len() <= INLINE { std::str::from_utf8(bytes).ok() } else { None };
            let place = match text {
                Some(text) => FilePlace::Text(text.to_owned()),
                None => FilePlace::Object(self.put_object(bytes)?),
            };
            places.insert(name.to_owned(), place);
        }
        Ok(RecordOutput::Files { digest: files.digest(), files: places })
    }

    /// The files of an artifact.
    ///
    /// # Errors
    /// If the output is a table, or a file is missing or damaged.
    pub fn files(&self, output: &RecordOutput) -> Result<Files, StoreError> {
        let RecordOutput::Files { files: places, .. } = output else { return Err(StoreError::NotFiles) };
        let mut files = Files::new();
        for (name, place) in places {
            let bytes = match place {
                FilePlace::Text(text) => Arc::from(text.as_bytes()),
                FilePlace::Object(digest) => self.object(digest)?,
            };
            files = files.with(name, bytes);
        }
        Ok(files)
    }
}

/// The first object that is not there.
fn missing(objects: &Objects, record: &Record) -> Option<Digest> {
    record_objects(record).into_iter().find(|digest| !objects.has(digest))
}

/// Every object a record needs, each once.
pub(crate) fn record_objects(record: &Record) -> std::collections::BTreeSet<Digest> {
    let mut needed = std::collections::BTreeSet::new();
    for output in record.outputs.values() {
        match output {
            RecordOutput::Files { files, .. } => needed.extend(files.values().filter_map(|place| match place {
                FilePlace::Object(digest) => Some(*digest),
                FilePlace::Text(_) => None,
            })),
            RecordOutput::Table(change) => {
                needed.extend(change.written.iter().flat_map(|stored| &stored.chunks).map(|chunk| chunk.segment));
                if let RowsChange::Selected { indices, .. } = &change.rows {
                    needed.extend(indices.iter().map(|chunk| chunk.segment));
                }
            }
        }
    }
    needed
}

/// Whether a record of `key` stands, sound or not.
pub(crate) fn has_record(connection: &Connection, key: &Digest) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM records WHERE key = ?1")?.exists([key.as_bytes()])
}

fn read_record(connection: &Connection, key: &Digest) -> rusqlite::Result<Option<Record>> {
    let mut statement = connection.prepare_cached("SELECT value, checksum FROM records WHERE key = ?1")?;
    let row: Option<(Vec<u8>, Vec<u8>)> =
        statement.query_row([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(row.and_then(|(value, sum)| checked(key, &value, &sum)))
}

fn checked(key: &Digest, value: &[u8], sum: &[u8]) -> Option<Record> {
    if checksum(DOMAIN, key, value) != sum {
        tracing::warn!(%key, "the record of a task is damaged and is not used");
        return None;
    }
    match serde_json::from_slice::<Record>(value) {
        Ok(record) => Some(record),
        // A record of another version of the words: not damaged, but of no use.
        Err(error) => {
            tracing::warn!(%key, %error, "the record of a task cannot be read and is not used");
            None
        }
    }
}

/// Writes the record, or gives the one that stands and wins.
fn write_record(
    connection: &Connection,
    objects: &Objects,
    key: &Digest,
    value: &[u8],
    standing: Standing,
) -> rusqlite::Result<Option<Record>> {
    let sum = checksum(DOMAIN, key, value);
    if standing == Standing::Wins {
        let mut insert = connection
            .prepare_cached("INSERT INTO records (key, value, checksum) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
        if insert.execute(params![key.as_bytes(), value, sum])? == 1 {
            return Ok(None);
        }
        let winner = read_record(connection, key)?.filter(|winner| missing(objects, winner).is_none());
        if winner.is_some() {
            return Ok(winner);
        }
        tracing::warn!(%key, "a record that cannot be used is replaced");
    }
    let mut replace =
        connection.prepare_cached("INSERT OR REPLACE INTO records (key, value, checksum) VALUES (?1, ?2, ?3)")?;
    replace.execute(params![key.as_bytes(), value, sum])?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_records::record;

    #[test]
    fn the_first_of_two_records_wins() {
        let store = Store::temporary().unwrap();
        let first = record(1, &[("a.json", "first")]);
        assert_eq!(store.commit(first.clone()).unwrap(), Commit::Won);
        let second = record(1, &[("a.json", "second")]);
        assert_eq!(store.commit(second.clone()).unwrap(), Commit::Lost(Box::new(first.clone())));
        assert_eq!(store.record(&first.fingerprint.key).unwrap(), Some(first));
        store.replace(second.clone()).unwrap();
        assert_eq!(store.record(&second.fingerprint.key).unwrap(), Some(second));
    }

    #[test]
    fn of_many_threads_and_two_stores_one_wins_each_key() {
        let folder = tempfile::tempdir().unwrap();
        let stores = [Store::open(folder.path()).unwrap(), Store::open(folder.path()).unwrap()];
        let wins: usize = std::thread::scope(|scope| {
            let work = |thread: usize| {
                let store = &stores[thread % 2];
                let text = format!("thread {thread}");
                scope.spawn(move || {
                    let won = |key| matches!(store.commit(record(key, &[("a", &text)])).unwrap(), Commit::Won);
                    (0..50).filter(|key| won(*key)).count()
                })
            };
            let threads: Vec<_> = (0..8).map(work).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(wins, 50);
    }

    #[test]
    fn ten_thousand_commits_under_way_share_few_transactions() {
        let store = Store::temporary().unwrap();
        let before = store.transactions();
        // The writer is kept busy until all have been sent, as a slow disk would keep it.
        let (go_on, gate) = sync_channel::<()>(1);
        store.writer().unwrap().send(move |_| {
            let _ = gate.recv();
            Ok(())
        });
        let pending: Vec<PendingCommit> =
            (0..10_000).map(|key| store.begin_commit(record(key, &[])).unwrap()).collect();
        go_on.send(()).unwrap();
        assert!(pending.into_iter().all(|pending| pending.wait().unwrap() == Commit::Won));
        // One before all had been sent, and ten full batches.
        let transactions = store.transactions() - before;
        assert!(transactions <= 12, "{transactions} transactions");
        let keys: Vec<Digest> = (0..10_000).map(|key| record(key, &[]).fingerprint.key).collect();
        assert!(store.records(&keys).unwrap().iter().all(Option::is_some));
    }

    #[test]
    fn a_flipped_bit_makes_a_record_a_miss_and_the_next_commit_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let whole = record(1, &[("a.json", "content")]);
        let key = whole.fingerprint.key;
        for bit in (0..2000).step_by(37) {
            store.replace(whole.clone()).unwrap();
            let connection = Connection::open(folder.path().join("fuseline.db")).unwrap();
            let mut value: Vec<u8> = connection.query_row("SELECT value FROM records", [], |row| row.get(0)).unwrap();
            let at = bit % (value.len() * 8);
            value[at / 8] ^= 1 << (at % 8);
            connection.execute("UPDATE records SET value = ?1", [value]).unwrap();
            assert_eq!(store.record(&key).unwrap(), None, "bit {bit}");
            assert_eq!(store.commit(whole.clone()).unwrap(), Commit::Won, "bit {bit}");
            assert_eq!(store.record(&key).unwrap(), Some(whole.clone()));
        }
    }

    #[test]
    fn a_record_under_another_key_is_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.commit(record(1, &[])).unwrap();
        let other = record(2, &[]).fingerprint.key;
        let connection = Connection::open(folder.path().join("fuseline.db")).unwrap();
        connection.execute("UPDATE records SET key = ?1", [other.as_bytes()]).unwrap();
        assert_eq!(store.record(&other).unwrap(), None);
    }

    #[test]
    fn a_record_whose_objects_are_gone_is_found_out_and_replaced() {
        let store = Store::temporary().unwrap();
        let files = Files::new().with("weights", vec![0xff_u8; 100]);
        let whole = Record {
            outputs: BTreeMap::from([("model".to_owned(), store.store_files(&files).unwrap())]),
            ..record(1, &[])
        };
        store.commit(whole.clone()).unwrap();
        assert!(store.verify_outputs(&whole));
        let object = *record_objects(&whole).first().unwrap();
        std::fs::remove_file(store.object_path(&object)).unwrap();
        assert_eq!(store.missing_output(&whole), Some(object));
        let later = Record { seconds: 9.0, ..whole };
        assert_eq!(store.commit(later.clone()).unwrap(), Commit::Won);
        assert_eq!(store.record(&later.fingerprint.key).unwrap(), Some(later));
    }

    #[test]
    fn files_come_back_as_they_were_and_small_text_needs_no_object() {
        let store = Store::temporary().unwrap();
        let files = Files::new()
            .with("small.json", b"{}".to_vec())
            .with("large.txt", vec![b'x'; INLINE + 1])
            .with("binary", vec![0xff_u8, 0]);
        let output = store.store_files(&files).unwrap();
        assert_eq!(store.files(&output).unwrap(), files);
        let RecordOutput::Files { digest, files: places } = output else { panic!() };
        assert_eq!(digest, files.digest());
        assert!(matches!(&places["small.json"], FilePlace::Text(text) if text == "{}"));
        assert!(matches!(places["large.txt"], FilePlace::Object(_)));
        assert!(matches!(places["binary"], FilePlace::Object(_)));
    }
}
