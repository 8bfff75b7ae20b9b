//! The scalar cells of a row as bytes: for hashing rows and for finding equal ones.
//!
//! Promises: equal cells give equal bytes whatever the chunk, and cells cannot run together. Bytes
//! of different types differ (`1` is not `"1"`), `-0.0` is `0.0`, every NaN is one NaN.

use engine_core::LogicalType;
use engine_table::NodeError;
use polars::prelude::{BooleanChunked, Column, DataFrame, DataType, Float64Chunked, Int64Chunked, StringChunked};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Whether the cells of a column have bytes.
pub(crate) fn is_scalar(logical: &LogicalType) -> bool {
    use LogicalType::{Audio, Bool, Category, Datetime, Float, Image, Int, Text};
    matches!(logical, Bool | Int | Float | Category | Text | Datetime | Image | Audio)
}

enum Cells {
    Bool(BooleanChunked),
    Int(Int64Chunked),
    Float(Float64Chunked),
    Text(StringChunked),
    Datetime(Int64Chunked),
}

/// The rows of a frame as bytes.
pub(crate) struct RowBytes {
    columns: Vec<Cells>,
    rows: usize,
}

impl RowBytes {
    /// The columns `names` of `frame`.
    pub(crate) fn new<'a>(frame: &DataFrame, names: impl IntoIterator<Item = &'a str>) -> Result<RowBytes, NodeError> {
        let column = |name: &str| cells(frame.column(name).map_err(NodeError::failed)?);
        let columns = names.into_iter().map(column).collect::<Result<_, NodeError>>()?;
        Ok(RowBytes { columns, rows: frame.height() })
    }

    /// How many rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Puts the bytes of row `row` in place of what `bytes` holds.
    pub(crate) fn write(&self, row: usize, bytes: &mut Vec<u8>) {
        bytes.clear();
        for column in &self.columns {
            match column {
                Cells::Bool(cells) => fixed(bytes, 1, cells.get(row).map(|value| [u8::from(value)])),
                Cells::Int(cells) => fixed(bytes, 2, cells.get(row).map(i64::to_le_bytes)),
                Cells::Float(cells) => fixed(bytes, 3, cells.get(row).map(|value| canonical(value).to_le_bytes())),
                Cells::Datetime(cells) => fixed(bytes, 5, cells.get(row).map(i64::to_le_bytes)),
                Cells::Text(cells) => match cells.get(row) {
                    Some(text) => {
                        fixed(bytes, 4, Some((text.len() as u64).to_le_bytes()));
                        bytes.extend_from_slice(text.as_bytes());
                    }
                    None => bytes.push(0),
                },
            }
        }
    }

    /// A hash of every row: 63 bits, so that every hash is below `1 << 63`.
    pub(crate) fn hashes(&self, seed: u64) -> Vec<u64> {
        let mut bytes = Vec::new();
        (0..self.rows)
            .map(|row| {
                self.write(row, &mut bytes);
                xxh3_64_with_seed(&bytes, seed) >> 1
            })
            .collect()
    }
}

fn cells(column: &Column) -> Result<Cells, NodeError> {
    let series = column.as_materialized_series();
    let unfit =
        || NodeError::Failed(format!("column `{}` of type {} has no scalar cells", series.name(), series.dtype()));
    Ok(match series.dtype() {
        DataType::Boolean => Cells::Bool(series.bool().map_err(NodeError::failed)?.rechunk().into_owned()),
        DataType::Int64 => Cells::Int(series.i64().map_err(NodeError::failed)?.rechunk().into_owned()),
        DataType::Float64 => Cells::Float(series.f64().map_err(NodeError::failed)?.rechunk().into_owned()),
        DataType::String => Cells::Text(series.str().map_err(NodeError::failed)?.rechunk().into_owned()),
        DataType::Datetime(..) => {
            Cells::Datetime(series.to_physical_repr().i64().map_err(NodeError::failed)?.rechunk().into_owned())
        }
        _ => return Err(unfit()),
    })
}

fn fixed<const N: usize>(bytes: &mut Vec<u8>, tag: u8, value: Option<[u8; N]>) {
    match value {
        Some(value) => {
            bytes.push(tag);
            bytes.extend_from_slice(&value);
        }
        None => bytes.push(0),
    }
}

fn canonical(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::*;

    use super::*;

    fn bytes(frame: &DataFrame, names: &[&str], row: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        RowBytes::new(frame, names.iter().copied()).unwrap().write(row, &mut bytes);
        bytes
    }

    #[test]
    fn cells_do_not_run_together_and_types_are_kept_apart() {
        let frame = df![
            "a" => [Some("ab"), Some("a"), None],
            "b" => [Some("c"), Some("bc"), Some("")],
            "n" => [1_i64, 1, 1],
            "t" => ["1", "1", "1"]
        ]
        .unwrap();
        assert_ne!(bytes(&frame, &["a", "b"], 0), bytes(&frame, &["a", "b"], 1));
        assert_ne!(bytes(&frame, &["a"], 2), bytes(&frame, &["b"], 2));
        assert_ne!(bytes(&frame, &["n"], 0), bytes(&frame, &["t"], 0));
    }

    #[test]
    fn a_hash_depends_on_the_row_and_the_seed_alone() {
        let frame = df!["k" => ["x", "y", "z"], "v" => [0.0, -0.0, 2.0]].unwrap();
        let all = RowBytes::new(&frame, ["k"]).unwrap().hashes(7);
        let tail = RowBytes::new(&frame.slice(1, 2), ["k"]).unwrap().hashes(7);
        assert_eq!(all[1..], tail[..]);
        assert_ne!(all, RowBytes::new(&frame, ["k"]).unwrap().hashes(8));
        assert_eq!(bytes(&frame, &["v"], 0), bytes(&frame, &["v"], 1));
    }
}
