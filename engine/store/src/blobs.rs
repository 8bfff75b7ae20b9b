//! Media bytes as objects of the store.
//!
//! A record does not list its blobs: the cells of its image and audio columns do. So whether a result is whole is found
//! by reading these columns, and whether a blob is, by its size and time of change, as with files outside the store
//! (docs/decisions/0006-blobs-of-a-record.md).

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use engine_core::{Digest, LogicalType};
use engine_table::{Blobs, ColumnType, NodeError, StoredColumn, TableChange};
use polars::prelude::{Column, DataFrame};

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

/// An image or audio cell that names no blob of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrayCell {
    /// The column.
    pub column: String,
    /// The row in the frame, from 0.
    pub row: usize,
    /// The cell.
    pub text: String,
}

impl Store {
    /// Whether the blob called `digest` is there and whole. Its bytes are read if its size or time of change is not as
    /// when they were read last; a damaged one is put aside, so that the task that made it makes it anew.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        match self.file_digest(&self.object_path(digest)) {
            Ok(found) if found == *digest => true,
            Ok(_) => {
                if !self.is_read_only() {
                    self.objects.set_aside(digest);
                }
                false
            }
            Err(_) => false,
        }
    }

    /// The first image or audio cell of `frame`, whose columns are `columns` in order, that names no blob.
    pub fn stray_cell(&self, frame: &DataFrame, columns: &[ColumnType]) -> Option<StrayCell> {
        let mut media = frame.columns().iter().zip(columns).filter(|(_, column)| is_media(&column.logical));
        media.find_map(|(cells, column)| {
            let mut seen: HashSet<&str> = HashSet::new();
            let cells = cells.str().ok()?;
            let strays = |text: &str| !text.parse().is_ok_and(|digest| self.has_object(&digest));
            let (row, text) = cells.iter().enumerate().find_map(|(row, cell)| {
                let text = cell?;
                (seen.insert(text) && strays(text)).then_some((row, text))
            })?;
            Some(StrayCell { column: column.name.clone(), row, text: text.to_owned() })
        })
    }

    /// The first blob named by what `change` wrote that is not there or not whole.
    pub(crate) fn missing_blob(&self, change: &TableChange) -> Option<Digest> {
        // Columns that only follow are answered for by the record of the task that wrote them.
        let mut media = change.written.iter().filter(|stored| is_media(&stored.column.logical));
        media.find_map(|stored| self.missing_in(stored))
    }

    fn missing_in(&self, stored: &StoredColumn) -> Option<Digest> {
        let mut seen: HashSet<Digest> = HashSet::new();
        stored.chunks.iter().find_map(|chunk| {
            let cells: Option<Column> =
                self.segment(&chunk.segment).ok().and_then(|segment| segment.column(&chunk.name).ok());
            let Some(cells) = cells.as_ref().and_then(|cells| cells.str().ok()) else { return Some(chunk.segment) };
            cells.iter().flatten().filter_map(|text| text.parse().ok()).find(|digest| {
                // Rows often share a picture.
                seen.insert(*digest) && !self.has_blob(digest)
            })
        })
    }
}

fn is_media(logical: &LogicalType) -> bool {
    matches!(logical, LogicalType::Image | LogicalType::Audio)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine_table::RowsChange;
    use polars::prelude::df;

    use super::*;
    use crate::test_records::record;
    use crate::{Record, RecordOutput};

    #[test]
    fn blobs_may_be_put_by_several_threads_into_an_empty_store() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Store::open(folder.path()).unwrap().blobs();
        // Most are the first of their folder.
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let blobs = &blobs;
                scope.spawn(move || {
                    for number in 0..300_u32 {
                        // Half of them are put by another thread too.
                        blobs.put(&[number, thread * (number % 2)].map(u32::to_le_bytes).concat()).unwrap();
                    }
                });
            }
        });
    }

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

    fn with_picture(store: &Store, bytes: &[u8]) -> (Digest, Record) {
        let digest = store.blobs().put(bytes).unwrap();
        let frame = df!["id" => [1_i64, 2], "picture" => [Some(digest.to_string()), None]].unwrap();
        let columns = [
            ColumnType::new("id", LogicalType::Int),
            ColumnType::new("picture", LogicalType::Image).with_nullable(true),
        ];
        assert_eq!(store.stray_cell(&frame, &columns), None);
        let chunks = store.put_chunk(&frame).unwrap();
        let written = columns.into_iter().zip(chunks);
        let written = written.map(|(column, chunk)| StoredColumn { column, chunks: vec![chunk] }).collect();
        let rows = RowsChange::New { chunk_rows: vec![2] };
        let change = TableChange { rows, written, dropped: vec![], renamed: vec![] };
        let outputs = BTreeMap::from([("table".to_owned(), RecordOutput::Table(change))]);
        (digest, Record { outputs, ..record(1, &[]) })
    }

    #[test]
    fn a_result_whose_picture_is_gone_or_damaged_is_not_whole() {
        let store = Store::temporary().unwrap();
        let (digest, record) = with_picture(&store, b"a picture");
        assert!(store.verify_outputs(&record));
        let path = store.object_path(&digest);
        std::fs::write(&path, b"b picture").unwrap();
        assert_eq!(store.missing_output(&record), Some(digest));
        assert!(!path.exists(), "a damaged blob is put aside");
        store.blobs().put(b"a picture").unwrap();
        assert!(store.verify_outputs(&record));
        std::fs::remove_file(&path).unwrap();
        assert!(!store.verify_outputs(&record));
    }

    #[test]
    fn a_cell_that_names_no_blob_is_found() {
        let store = Store::temporary().unwrap();
        let absent = Digest::of(b"absent").to_string();
        let columns = [ColumnType::new("sound", LogicalType::Audio)];
        for text in ["no digest", absent.as_str()] {
            let kept = store.blobs().put(b"kept").unwrap().to_string();
            let frame = df!["sound" => [kept.as_str(), text]].unwrap();
            let stray = store.stray_cell(&frame, &columns).unwrap();
            assert_eq!((stray.row, stray.text.as_str()), (1, text));
        }
    }
}
