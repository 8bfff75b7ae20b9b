//! A segment: the stored file of some columns of one chunk.
//!
//! An uncompressed Arrow IPC file with one record batch. Its columns are used where they lie, in the mapped file,
//! without a copy; therefore its bytes are hashed before anything in them is believed: an offset changed by one bit
//! would be undefined behaviour.

#![allow(unsafe_code)] // The mapping, and the arrays over it; nothing else.

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine_core::Digest;
use memmap2::Mmap;
use polars::prelude::*;
use polars_arrow::array::Array;
use polars_arrow::datatypes::Metadata;
use polars_arrow::io::ipc::read::{FileMetadata, read_file_metadata};
use polars_arrow::mmap::{mmap_dictionaries_unchecked, mmap_unchecked};
use polars_io::SerWriter;
use polars_io::ipc::IpcWriter;

use crate::NodeError;
use crate::frame::array_column;

/// Below this a copy is cheaper than a mapping.
const SMALL: u64 = 64 * 1024;

/// Mappings this process keeps at once; beyond it segments are read into memory. Linux allows 65,530 in all
/// (`vm.max_map_count`), and the allocator and threads need some too.
const MOST_MAPPINGS: usize = 16_384;

static MAPPINGS: AtomicUsize = AtomicUsize::new(0);

/// Why a segment cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file cannot be read.
    #[error("cannot read `{path}`: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not those that were written.
    #[error("the file `{path}` is damaged: its digest is {found}, expected {expected}")]
    Damaged {
        /// The file, or `memory`.
        path: PathBuf,
        /// The digest of what was written.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// The bytes are what was written, but not a segment of this version.
    #[error("`{path}` is no segment that can be read: {reason}")]
    Format {
        /// The file, or `memory`.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The columns cannot be written.
    #[error("the columns cannot be stored: {reason}")]
    Encode {
        /// Why.
        reason: String,
    },
    /// There is no such column.
    #[error("`{path}` has no column `{column}`")]
    NoColumn {
        /// The file, or `memory`.
        path: PathBuf,
        /// The name.
        column: String,
    },
}

/// The bytes of a segment of `frame`, which has one chunk a column. Equal arrays give equal bytes.
///
/// # Errors
/// If a column has a type that Arrow cannot hold.
pub fn encode_segment(frame: &DataFrame) -> Result<Vec<u8>, SegmentError> {
    let mut frame = frame.clone();
    // One chunk a column makes one record batch, so that a column comes back as one chunk.
    frame.rechunk_mut();
    let failed = |error: PolarsError| SegmentError::Encode { reason: error.to_string() };
    let widthless = replace_widthless(&mut frame).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut writer = IpcWriter::new(&mut bytes).with_compression(None).with_parallel(false);
    if !widthless.is_empty() {
        writer.set_custom_schema_metadata(Arc::new(widthless));
    }
    writer.finish(&mut frame).map_err(failed)?;
    Ok(bytes)
}

/// Puts bools in the place of arrays of width 0 (one-hot over no categories), and says which these were: Arrow's
/// reader takes the length of an array from its values, and these have none.
fn replace_widthless(frame: &mut DataFrame) -> PolarsResult<Metadata> {
    let mut widthless = Metadata::new();
    for column in frame.columns() {
        if let DataType::Array(inner, 0) = column.dtype() {
            let element = if **inner == DataType::UInt32 { "u32" } else { "f32" };
            widthless.insert(widthless_key(column.name()), element.into());
        }
    }
    if widthless.is_empty() {
        return Ok(widthless);
    }
    let height = frame.height();
    let stored = |column: &Column| match column.dtype() {
        DataType::Array(_, 0) => Column::new(column.name().clone(), vec![false; height]),
        _ => column.clone(),
    };
    *frame = DataFrame::new(height, frame.columns().iter().map(stored).collect())?;
    Ok(widthless)
}

fn widthless_key(column: &str) -> PlSmallStr {
    format!("fuseline.widthless:{column}").into()
}

/// An open segment whose bytes were verified. Columns taken from it keep it alive.
pub struct Segment {
    path: PathBuf,
    bytes: Arc<SegmentBytes>,
    metadata: FileMetadata,
}

enum SegmentBytes {
    Mapped(Mmap),
    // `Arc<[u8]>` begins 16 bytes into its allocation, so the buffers in it are as aligned as in the file.
    Owned(Arc<[u8]>),
}

impl AsRef<[u8]> for SegmentBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            SegmentBytes::Mapped(map) => map,
            SegmentBytes::Owned(bytes) => bytes,
        }
    }
}

impl Drop for SegmentBytes {
    fn drop(&mut self) {
        if matches!(self, SegmentBytes::Mapped(_)) {
            MAPPINGS.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Segment {
    /// A segment in memory.
    ///
    /// # Errors
    /// If the bytes do not have the digest `expected`, or are no segment.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>, expected: Digest) -> Result<Segment, SegmentError> {
        Segment::verified(PathBuf::from("memory"), SegmentBytes::Owned(bytes.into()), expected)
    }

    /// A segment in a file, which nobody changes while it is open: files of the store are written once.
    ///
    /// # Errors
    /// If the file cannot be read, does not have the digest `expected`, or is no segment.
    pub fn from_file(path: &Path, expected: Digest) -> Result<Segment, SegmentError> {
        let failed = |source| SegmentError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length < SMALL || MAPPINGS.load(Ordering::Acquire) >= MOST_MAPPINGS {
            let bytes = std::fs::read(path).map_err(failed)?;
            return Segment::verified(path.to_owned(), SegmentBytes::Owned(bytes.into()), expected);
        }
        // SAFETY: the file is an object of the store: written under another name, renamed when whole, never changed.
        // Its bytes are hashed below, before anything in them is used as an offset or a length.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        MAPPINGS.fetch_add(1, Ordering::AcqRel);
        Segment::verified(path.to_owned(), SegmentBytes::Mapped(map), expected)
    }

    fn verified(path: PathBuf, bytes: SegmentBytes, expected: Digest) -> Result<Segment, SegmentError> {
        let found = Digest::of(bytes.as_ref());
        if found != expected {
            return Err(SegmentError::Damaged { path, expected, found });
        }
        let metadata = read_file_metadata(&mut Cursor::new(bytes.as_ref()))
            .map_err(|error| SegmentError::Format { path: path.clone(), reason: error.to_string() })?;
        if metadata.blocks.len() > 1 {
            let reason = format!("it has {} record batches, expected one", metadata.blocks.len());
            return Err(SegmentError::Format { path, reason });
        }
        Ok(Segment { path, bytes: Arc::new(bytes), metadata })
    }

    /// The names of its columns, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.metadata.schema.iter_names().map(PlSmallStr::as_str)
    }

    /// The column called `name`, where it lies.
    ///
    /// # Errors
    /// If there is none.
    pub fn column(&self, name: &str) -> Result<Column, SegmentError> {
        let missing = || SegmentError::NoColumn { path: self.path.clone(), column: name.to_owned() };
        let index = self.metadata.schema.index_of(name).ok_or_else(missing)?;
        let format = |error: PolarsError| SegmentError::Format { path: self.path.clone(), reason: error.to_string() };
        let Some(array) = self.array(index).map_err(format)? else {
            let (_, field) = self.metadata.schema.get_at_index(index).ok_or_else(missing)?;
            return Ok(Series::new_empty(name.into(), &DataType::from_arrow_field(field)).into());
        };
        let element = self.metadata.custom_schema_metadata.as_ref().and_then(|notes| notes.get(&widthless_key(name)));
        let widthless = |column: Result<Column, NodeError>| {
            column.map_err(|error| SegmentError::Format { path: self.path.clone(), reason: error.to_string() })
        };
        match element.map(PlSmallStr::as_str) {
            None => Ok(Series::try_from((PlSmallStr::from(name), array)).map_err(format)?.into()),
            Some("u32") => widthless(array_column::<u32>(name, 0, array.len(), Vec::new())),
            Some(_) => widthless(array_column::<f32>(name, 0, array.len(), Vec::new())),
        }
    }

    /// The array of a column; `None` if the file has no record batch.
    fn array(&self, index: usize) -> PolarsResult<Option<Box<dyn Array>>> {
        if self.metadata.blocks.is_empty() {
            return Ok(None);
        }
        // SAFETY: the bytes are those `encode_segment` wrote (their digest was checked before this segment was made),
        // so offsets are in bounds and increasing and texts are UTF-8. The arrays keep `bytes` alive.
        let batch = unsafe {
            let dictionaries = mmap_dictionaries_unchecked(&self.metadata, self.bytes.clone())?;
            mmap_unchecked(&self.metadata, &dictionaries, self.bytes.clone(), 0)?
        };
        Ok(batch.arrays().get(index).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column_digest;
    use crate::frame::{empty_tensor_column, tensor_column, tensor_slice};

    fn frame(rows: usize) -> DataFrame {
        let numbers = 0..rows as i64;
        let text = |row: i64| (row % 7 != 0).then(|| format!("row {row}, a text longer than twelve bytes"));
        let list = |row: i64| (row % 5 != 0).then(|| Series::new("".into(), (0..row % 4).collect::<Vec<i64>>()));
        let time = Series::new("time".into(), numbers.clone().collect::<Vec<i64>>());
        DataFrame::new(
            rows,
            vec![
                Column::new("int".into(), numbers.clone().collect::<Vec<i64>>()),
                Column::new("text".into(), numbers.clone().map(text).collect::<Vec<_>>()),
                Column::new(
                    "bool".into(),
                    numbers.clone().map(|row| (row % 3 > 0).then_some(row % 2 == 0)).collect::<Vec<_>>(),
                ),
                time.cast(&DataType::Datetime(TimeUnit::Microseconds, None)).unwrap().into(),
                Series::new("list".into(), numbers.map(list).collect::<Vec<_>>())
                    .cast(&DataType::List(Box::new(DataType::Int64)))
                    .unwrap()
                    .into(),
                tensor_column("tensor", 3, vec![0.5; 3 * rows]).unwrap(),
                empty_tensor_column("nothing", rows).unwrap(),
            ],
        )
        .unwrap()
    }

    fn written(frame: &DataFrame) -> (tempfile::NamedTempFile, Digest) {
        let bytes = encode_segment(frame).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        (file, Digest::of(&bytes))
    }

    #[test]
    fn columns_come_back_as_they_were() {
        // Small enough to be read, large enough to be mapped, and none at all.
        for rows in [3, 20_000, 0] {
            let frame = frame(rows);
            let (file, digest) = written(&frame);
            let segment = Segment::from_file(file.path(), digest).unwrap();
            assert!(segment.names().eq(frame.columns().iter().map(|column| column.name().as_str())));
            for column in frame.columns() {
                let back = segment.column(column.name()).unwrap();
                assert_eq!(back.dtype(), column.dtype(), "{} in {rows} rows", column.name());
                let digests = [&back, column].map(|column| column_digest(column.as_materialized_series()));
                assert_eq!(digests[0], digests[1], "{} in {rows} rows", column.name());
            }
        }
    }

    #[test]
    fn equal_arrays_give_equal_bytes_and_chunks_do_not_show() {
        let whole = frame(100);
        let mut halves = frame(100).slice(0, 40);
        halves.vstack_mut(&whole.slice(40, 60)).unwrap();
        assert_eq!(encode_segment(&whole).unwrap(), encode_segment(&frame(100)).unwrap());
        let segment = |frame: &DataFrame| {
            let bytes = encode_segment(frame).unwrap();
            let digest = Digest::of(&bytes);
            Segment::from_bytes(bytes, digest).unwrap()
        };
        assert_eq!(segment(&halves).column("text").unwrap().n_chunks(), 1);
    }

    #[test]
    fn a_slice_does_not_carry_the_rows_it_left_out() {
        let small = encode_segment(&frame(20_000).slice(100, 10)).unwrap();
        assert!(small.len() < 10_000, "{} bytes", small.len());
    }

    #[test]
    fn a_mapped_tensor_is_used_where_it_lies() {
        let (file, digest) = written(&frame(20_000));
        let segment = Segment::from_file(file.path(), digest).unwrap();
        assert!(matches!(*segment.bytes, SegmentBytes::Mapped(_)));
        let file_range = (*segment.bytes).as_ref().as_ptr_range();
        let column = segment.column("tensor").unwrap();
        drop(segment);
        let values = tensor_slice(column.as_materialized_series()).unwrap();
        assert!(file_range.contains(&values.as_ptr().cast()));
        assert!(values.iter().all(|value| *value == 0.5) && values.len() == 60_000);
    }

    #[test]
    fn every_flipped_bit_is_found_before_the_file_is_believed() {
        let bytes = encode_segment(&frame(50)).unwrap();
        let digest = Digest::of(&bytes);
        for at in (0..bytes.len() * 8).step_by(131) {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(matches!(Segment::from_bytes(damaged, digest), Err(SegmentError::Damaged { .. })));
        }
        let (file, _) = written(&frame(50));
        let error = Segment::from_file(file.path(), Digest::of(b"other")).err().unwrap().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }

    #[test]
    fn whatever_is_no_segment_is_refused() {
        for bytes in [&b""[..], b"ARROW1\0\0", &[0; 200]] {
            assert!(matches!(Segment::from_bytes(bytes, Digest::of(bytes)), Err(SegmentError::Format { .. })));
        }
        let bytes = encode_segment(&frame(2)).unwrap();
        let segment = Segment::from_bytes(bytes.clone(), Digest::of(&bytes)).unwrap();
        assert!(matches!(segment.column("other"), Err(SegmentError::NoColumn { .. })));
    }
}
