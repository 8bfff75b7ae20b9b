//! Rows into segments and back.

use engine_core::{Digest, Hasher, Part};
use engine_table::{
    ColumnChunk, StoredColumn, Table, column_digest, concatenated, empty_frame, encode_segment, value_bytes,
};
use polars::prelude::{BooleanChunked, Column, DataFrame, NewChunkedArray};

use crate::store::digest_from;
use crate::{Store, StoreError};

/// Columns are put together into segments of at most so many bytes; a single column may be larger.
const SEGMENT_BYTES: u64 = 8 << 20;

impl Store {
    /// Keeps the columns of one chunk; one entry for each, in order. Several threads may do this at once.
    ///
    /// # Errors
    /// If a column has a type that no segment holds, or the disk gives an error.
    pub fn put_chunk(&self, frame: &DataFrame) -> Result<Vec<ColumnChunk>, StoreError> {
        let columns: Vec<Column> =
            frame.columns().iter().map(|column| Column::from(column.as_materialized_series().rechunk())).collect();
        let mut chunks = Vec::with_capacity(columns.len());
        for group in groups(&columns) {
            let part = DataFrame::new(frame.height(), group.to_vec()).map_err(rows_error)?;
            let bytes = encode_segment(&part).map_err(rows_error)?;
            let segment = self.put_object(&bytes)?;
            chunks.extend(group.iter().map(|column| ColumnChunk {
                segment,
                name: column.name().to_string(),
                digest: column_digest(column.as_materialized_series()),
                nulls: column.null_count() as u64,
            }));
        }
        Ok(chunks)
    }

    /// Columns of one chunk of a table, in the order of `names`; nothing is copied.
    ///
    /// # Errors
    /// If the table has no such column, or a segment is missing or damaged.
    pub fn read_columns(&self, table: &Table, names: &[String], chunk: usize) -> Result<DataFrame, StoreError> {
        let columns: Vec<&StoredColumn> = names.iter().map(|name| stored(table, name)).collect::<Result<_, _>>()?;
        let height = table.chunk_rows.get(chunk).copied().unwrap_or(0);
        self.chunk_of(&columns, chunk, height)
    }

    /// Columns of a whole table, in the order of `names`, one chunk each.
    ///
    /// # Errors
    /// As [`Store::read_columns`].
    pub fn read_table(&self, table: &Table, names: &[String]) -> Result<DataFrame, StoreError> {
        let columns: Vec<&StoredColumn> = names.iter().map(|name| stored(table, name)).collect::<Result<_, _>>()?;
        let frames = table
            .chunk_rows
            .iter()
            .enumerate()
            .map(|(chunk, rows)| self.chunk_of(&columns, chunk, *rows))
            .collect::<Result<Vec<DataFrame>, StoreError>>()?;
        joined(frames, &columns)
    }

    /// Columns of the rows of some parts, in the order of `names`, one chunk each; `split` is the split column.
    ///
    /// # Errors
    /// As [`Store::read_columns`].
    pub fn filtered(
        &self,
        table: &Table,
        names: &[String],
        split: &str,
        parts: &[Part],
    ) -> Result<DataFrame, StoreError> {
        let columns: Vec<&StoredColumn> = names.iter().map(|name| stored(table, name)).collect::<Result<_, _>>()?;
        let split = stored(table, split)?;
        self.filtered_columns(&columns, split, &table.chunk_rows, parts)
    }

    /// The digest of a column's values at the rows of some parts: other rows do not change it, and neither do chunk
    /// boundaries. Remembered, so that a plan reads no rows twice.
    ///
    /// # Errors
    /// If a segment is missing or damaged, or the database cannot be read.
    pub fn filtered_digest(
        &self,
        column: &StoredColumn,
        split: &StoredColumn,
        parts: &[Part],
    ) -> Result<Digest, StoreError> {
        let words: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
        let key = Hasher::new("fuseline.filtered.v1")
            .digest(&column.digest())
            .digest(&split.digest())
            .field(words.join("+").as_bytes())
            .finish();
        if let Some(digest) = self.memo(&key)?.and_then(|bytes| digest_from(&bytes)) {
            return Ok(digest);
        }
        // The chunks' heights stand in the segments themselves.
        let frame = self.filtered_columns(&[column], split, &[], parts)?;
        let digest = match frame.columns() {
            [values] => column_digest(values.as_materialized_series()),
            _ => Digest::of(b""),
        };
        self.set_memo(&key, digest.as_bytes())?;
        Ok(digest)
    }

    fn filtered_columns(
        &self,
        columns: &[&StoredColumn],
        split: &StoredColumn,
        chunk_rows: &[u64],
        parts: &[Part],
    ) -> Result<DataFrame, StoreError> {
        let mut frames = Vec::with_capacity(split.chunks.len());
        for chunk in 0..split.chunks.len() {
            let words = self.column_of(split, chunk)?;
            let mask = rows_of_parts(&words, parts)?;
            let height = chunk_rows.get(chunk).copied().unwrap_or(words.len() as u64);
            let rows = self.chunk_of(columns, chunk, height)?;
            frames.push(rows.filter(&mask).map_err(rows_error)?);
        }
        joined(frames, columns)
    }

    fn chunk_of(&self, columns: &[&StoredColumn], chunk: usize, height: u64) -> Result<DataFrame, StoreError> {
        let columns: Vec<Column> =
            columns.iter().map(|stored| self.column_of(stored, chunk)).collect::<Result<_, _>>()?;
        let height = columns.first().map_or(usize::try_from(height).unwrap_or(usize::MAX), Column::len);
        DataFrame::new(height, columns).map_err(rows_error)
    }

    /// One column of one chunk, under the name it has in the table.
    fn column_of(&self, stored: &StoredColumn, chunk: usize) -> Result<Column, StoreError> {
        let place = stored.chunks.get(chunk).ok_or_else(|| {
            let (name, known) = (&stored.column.name, stored.chunks.len());
            StoreError::Rows(format!("the stored column `{name}` has {known} chunks, chunk {chunk} was asked for"))
        })?;
        let segment = self.segment(&place.segment)?;
        let mut column = segment.column(&place.name).map_err(rows_error)?;
        column.rename(stored.column.name.as_str().into());
        Ok(column)
    }
}

fn stored<'t>(table: &'t Table, name: &str) -> Result<&'t StoredColumn, StoreError> {
    table.column(name).ok_or_else(|| {
        let known: Vec<String> = table.columns.iter().map(|stored| format!("`{}`", stored.column.name)).collect();
        StoreError::NoColumn { column: name.to_owned(), known: known.join(", ") }
    })
}

/// Neighbouring columns that go into one segment.
fn groups(columns: &[Column]) -> Vec<&[Column]> {
    let mut groups = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, column) in columns.iter().enumerate() {
        let size = value_bytes(column.as_materialized_series());
        if index > start && bytes + size > SEGMENT_BYTES {
            groups.push(&columns[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    if start < columns.len() {
        groups.push(&columns[start..]);
    }
    groups
}

fn rows_of_parts(split: &Column, parts: &[Part]) -> Result<BooleanChunked, StoreError> {
    let words = split.str().map_err(|_| {
        let (name, dtype) = (split.name(), split.dtype());
        StoreError::Rows(format!("the split column `{name}` holds {dtype}, expected text: train, validation or test"))
    })?;
    Ok(BooleanChunked::from_iter_values(
        split.name().clone(),
        words.iter().map(|word| word.is_some_and(|word| parts.iter().any(|part| word == part.as_str()))),
    ))
}

fn joined(frames: Vec<DataFrame>, columns: &[&StoredColumn]) -> Result<DataFrame, StoreError> {
    if frames.is_empty() {
        let types: Vec<_> = columns.iter().map(|stored| stored.column.clone()).collect();
        return empty_frame(&types).map_err(rows_error);
    }
    concatenated(frames).map_err(rows_error)
}

fn rows_error(error: impl std::fmt::Display) -> StoreError {
    StoreError::Rows(error.to_string())
}

#[cfg(test)]
mod tests {
    use engine_core::LogicalType;
    use engine_table::ColumnType;
    use polars::prelude::*;

    use super::*;

    fn put(store: &Store, frames: &[DataFrame]) -> Table {
        let mut table = Table::default();
        for frame in frames {
            table.chunk_rows.push(frame.height() as u64);
            for (index, chunk) in store.put_chunk(frame).unwrap().into_iter().enumerate() {
                if table.columns.len() <= index {
                    let column = ColumnType::new(chunk.name.clone(), LogicalType::Text).with_nullable(true);
                    table.columns.push(StoredColumn { column, chunks: Vec::new() });
                }
                table.columns[index].chunks.push(chunk);
            }
        }
        table
    }

    fn rows(range: std::ops::Range<i64>) -> DataFrame {
        let parts: Vec<&str> = range.clone().map(|row| if row % 3 == 0 { "test" } else { "train" }).collect();
        let text: Vec<Option<String>> = range.clone().map(|row| (row % 5 != 0).then(|| format!("row {row}"))).collect();
        df!["x" => range.collect::<Vec<i64>>(), "text" => text, "split" => parts].unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn rows_come_back_as_they_were_under_their_present_names() {
        let store = Store::temporary().unwrap();
        let mut table = put(&store, &[rows(0..10), rows(10..10), rows(10..25)]);
        table.columns[0].column.name = "renamed".to_owned();
        let chunk = store.read_columns(&table, &names(&["text", "renamed"]), 2).unwrap();
        let mut expected = rows(10..25).select(["text", "x"]).unwrap();
        expected.rename("x", "renamed".into()).unwrap();
        assert!(chunk.equals_missing(&expected));
        let whole = store.read_table(&table, &names(&["split", "text"])).unwrap();
        assert!(whole.equals_missing(&rows(0..25).select(["split", "text"]).unwrap()));
        assert!(whole.columns().iter().all(|column| column.n_chunks() == 1));
        assert_eq!(table.columns[1].chunks.iter().map(|chunk| chunk.nulls).collect::<Vec<_>>(), [2, 0, 3]);
        let error = store.read_table(&table, &names(&["y"])).unwrap_err().to_string();
        assert!(error.contains("`y`") && error.contains("`renamed`"), "{error}");
    }

    #[test]
    fn a_table_without_chunks_has_its_columns() {
        let store = Store::temporary().unwrap();
        let stored = |name: &str, logical| StoredColumn { column: ColumnType::new(name, logical), chunks: vec![] };
        let table =
            Table { columns: vec![stored("a", LogicalType::Int), stored("s", LogicalType::Text)], chunk_rows: vec![] };
        let frame = store.read_table(&table, &names(&["s", "a"])).unwrap();
        assert_eq!(frame.shape(), (0, 2));
        assert_eq!(frame.dtypes(), [DataType::String, DataType::Int64]);
        assert_eq!(store.filtered(&table, &names(&["a"]), "s", &[Part::Train]).unwrap().height(), 0);
    }

    #[test]
    fn only_the_rows_of_the_part_are_read_and_digested() {
        let store = Store::temporary().unwrap();
        let table = put(&store, &[rows(0..10), rows(10..25)]);
        let test = store.filtered(&table, &names(&["x"]), "split", &[Part::Test]).unwrap();
        let expected: Vec<i64> = (0..25).filter(|row| row % 3 == 0).collect();
        assert_eq!(test.column("x").unwrap().i64().unwrap().into_no_null_iter().collect::<Vec<_>>(), expected);

        let digest = |table: &Table, part| {
            store.filtered_digest(table.column("text").unwrap(), table.column("split").unwrap(), &[part]).unwrap()
        };
        // Other boundaries, same values.
        let other = put(&store, &[rows(0..3), rows(3..25)]);
        assert_eq!(digest(&table, Part::Train), digest(&other, Part::Train));
        // A test row edited: the train digest stays.
        let mut edited = rows(0..10);
        let text = edited.column("text").unwrap().str().unwrap();
        let text: StringChunked =
            text.iter().enumerate().map(|(row, text)| if row == 3 { Some("new") } else { text }).collect();
        edited.with_column(text.with_name("text".into()).into_column()).unwrap();
        let edited = put(&store, &[edited, rows(10..25)]);
        assert_eq!(digest(&table, Part::Train), digest(&edited, Part::Train));
        assert_ne!(digest(&table, Part::Test), digest(&edited, Part::Test));
        // No validation rows: the digest of an empty column, and it is remembered.
        assert_eq!(
            digest(&table, Part::Validation),
            column_digest(&Series::new_empty("any".into(), &DataType::String))
        );
    }

    #[test]
    fn a_digest_is_read_once_and_then_remembered() {
        let store = Store::temporary().unwrap();
        let table = put(&store, &[rows(0..10)]);
        let (text, split) = (table.column("text").unwrap(), table.column("split").unwrap());
        let first = store.filtered_digest(text, split, &[Part::Train]).unwrap();
        std::fs::remove_file(store.object_path(&text.chunks[0].segment)).unwrap();
        assert_eq!(store.filtered_digest(text, split, &[Part::Train]).unwrap(), first);
    }

    #[test]
    fn large_columns_stand_in_segments_of_their_own() {
        let store = Store::temporary().unwrap();
        let rows = (SEGMENT_BYTES / 8) as usize * 3 / 4;
        let wide = df!["a" => vec![1_i64; rows], "b" => vec![2_i64; rows], "c" => vec![true; rows]].unwrap();
        let chunks = store.put_chunk(&wide).unwrap();
        assert_ne!(chunks[0].segment, chunks[1].segment);
        assert_eq!(chunks[1].segment, chunks[2].segment);
        assert_eq!(store.put_chunk(&wide).unwrap(), chunks);
    }

    #[test]
    fn a_damaged_segment_is_named_and_not_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let table = put(&Store::open(folder.path()).unwrap(), &[rows(0..10)]);
        let store = Store::open(folder.path()).unwrap();
        let path = store.object_path(&table.columns[0].chunks[0].segment);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let error = store.read_table(&table, &names(&["x"])).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { path: named, .. } if *named == path), "{error}");
        assert!(matches!(store.read_table(&table, &names(&["x"])), Err(StoreError::MissingObject { .. })));
    }

    #[test]
    fn many_threads_put_and_read_chunks_at_once() {
        let store = Store::temporary().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_i64 {
                let store = &store;
                scope.spawn(move || {
                    engine_table::solo();
                    for step in 0..10 {
                        let frame = rows(thread * 100 + step..thread * 100 + step + 20);
                        let table = put(store, std::slice::from_ref(&frame));
                        let back = store.read_table(&table, &names(&["x", "text", "split"])).unwrap();
                        assert!(back.equals_missing(&frame));
                    }
                });
            }
        });
    }
}
