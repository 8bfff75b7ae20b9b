//! Where chunks end: by what stands in the rows, not by how many came before.
//!
//! A chunk ends behind a row whose key hashes to a run of zero bits, so an inserted or deleted row moves the two
//! boundaries next to it and no others, and everything computed from the other chunks is found again. (Content-defined
//! chunking with normalised sizes, as in FastCDC, Xia et al. 2016, over row hashes in place of a rolling hash.)
//!
//! Promise: the boundaries depend on the rows and the rule alone, not on the frames they were fed in.

use std::collections::HashSet;

use engine_core::{LogicalType, Role};
use polars::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::frame::{concatenated, value_bytes};
use crate::{ColumnType, NodeError};

/// What is left open in a rule is decided by so many rows from the first on.
const HEAD: usize = 10_000;

/// What a chunk should weigh.
const CHUNK_BYTES: u64 = 2_000_000;

const SMALLEST_TARGET: u64 = 16;
const LARGEST_TARGET: u64 = 65_536;

/// The share of rows that key columns must tell apart, in percent.
const DISTINCT_PERCENT: usize = 90;

/// Which columns name a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkKeys {
    /// These; none cuts by number of rows.
    Columns(Vec<String>),
    /// The shortest prefix of these that tells 90 % of the first 10,000 rows apart, else all of them.
    PrefixOf(Vec<String>),
}

/// How a table is cut. What a [`Chunker`] decided stands in the rule it gives back, which is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRule {
    /// Which columns name a row.
    pub keys: ChunkKeys,
    /// Rows a chunk should have, a power of two; `None` for about 2 MB by the weight of the first 10,000 rows.
    pub target_rows: Option<u64>,
}

impl ChunkRule {
    /// The rule for new rows with `columns`: by the key columns if there are any, else by the first scalar columns.
    /// Media and tensors are never read for boundaries.
    pub fn for_columns(columns: &[ColumnType]) -> ChunkRule {
        let named = |keep: &dyn Fn(&ColumnType) -> bool| -> Vec<String> {
            columns.iter().filter(|column| keep(column)).map(|column| column.name.clone()).collect()
        };
        let keys = named(&|column| column.role == Role::Key && is_scalar(&column.logical));
        let keys = if keys.is_empty() {
            ChunkKeys::PrefixOf(named(&|column| is_scalar(&column.logical)))
        } else {
            ChunkKeys::Columns(keys)
        };
        ChunkRule { keys, target_rows: None }
    }

    /// The same rule for rows of which so many stand for so many bytes of work: of files the cells only name.
    #[must_use]
    pub fn with_weight(self, rows: u64, bytes: u64) -> ChunkRule {
        ChunkRule { target_rows: Some(target_for(rows, bytes)), ..self }
    }

    /// The same rule with chunks of about `rows` rows (rounded up to a power of two).
    #[must_use]
    pub fn with_target(self, rows: u64) -> ChunkRule {
        ChunkRule { target_rows: Some(rows.clamp(1, 1 << 32).next_power_of_two()), ..self }
    }
}

fn is_scalar(logical: &LogicalType) -> bool {
    matches!(
        logical,
        LogicalType::Bool
            | LogicalType::Int
            | LogicalType::Float
            | LogicalType::Category
            | LogicalType::Text
            | LogicalType::Datetime
    )
}

/// Cuts rows into chunks.
pub struct Chunker {
    rule: ChunkRule,
    cutter: Option<Cutter>,
    // Rows that belong to no finished chunk yet, in order; before the rule is decided, all of them.
    waiting: Vec<DataFrame>,
    waiting_rows: usize,
    emitted: bool,
}

/// A rule with nothing left open. Invariant: `target` is a power of two.
struct Cutter {
    keys: Vec<String>,
    target: usize,
}

impl Chunker {
    /// A chunker for rows that all have the columns `rule` names.
    pub fn new(rule: ChunkRule) -> Chunker {
        Chunker { rule, cutter: None, waiting: Vec::new(), waiting_rows: 0, emitted: false }
    }

    /// Takes rows, and gives the chunks that are now complete.
    ///
    /// # Errors
    /// If a key column is missing, or the columns are not those of the frames before.
    pub fn push(&mut self, frame: &DataFrame) -> Result<Vec<DataFrame>, NodeError> {
        if let Some(cutter) = &self.cutter {
            let hashes = cutter.hashes(frame)?;
            let cuts = cutter.cuts(self.waiting_rows, &hashes);
            return self.cut(frame, &cuts);
        }
        self.waiting_rows += frame.height();
        self.waiting.push(frame.clone());
        if self.waiting_rows < HEAD { Ok(Vec::new()) } else { self.decide() }
    }

    /// Gives the last chunks. A table without rows is one empty chunk, so that its columns are known; without a frame
    /// there is none.
    ///
    /// # Errors
    /// As [`Chunker::push`].
    pub fn finish(&mut self) -> Result<Vec<DataFrame>, NodeError> {
        let mut chunks = if self.cutter.is_none() { self.decide()? } else { Vec::new() };
        let rest = std::mem::take(&mut self.waiting);
        if !rest.is_empty() && (self.waiting_rows > 0 || !self.emitted) {
            chunks.push(concatenated(rest)?);
        }
        self.waiting_rows = 0;
        Ok(chunks)
    }

    /// The rule with what was decided so far: complete after the first 10,000 rows, or after [`Chunker::finish`].
    pub fn rule(&self) -> &ChunkRule {
        &self.rule
    }

    /// Decides what the rule leaves open by the rows that wait, and cuts them.
    fn decide(&mut self) -> Result<Vec<DataFrame>, NodeError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_rows = 0;
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let rows = concatenated(waiting)?;
        let head = rows.slice(0, HEAD);
        let keys = match &self.rule.keys {
            ChunkKeys::Columns(keys) => keys.clone(),
            ChunkKeys::PrefixOf(columns) => distinct_prefix(&head, columns)?,
        };
        let target = self.rule.target_rows.unwrap_or_else(|| target_rows(&head));
        self.rule = ChunkRule { keys: ChunkKeys::Columns(keys.clone()), target_rows: Some(target) };
        self.cutter = Some(Cutter { keys, target: usize::try_from(target).unwrap_or(usize::MAX) });
        self.push(&rows)
    }

    /// Cuts `frame` behind the rows `cuts`; the first piece completes what waits, the last one waits.
    fn cut(&mut self, frame: &DataFrame, cuts: &[usize]) -> Result<Vec<DataFrame>, NodeError> {
        let mut chunks = Vec::with_capacity(cuts.len());
        let mut start = 0;
        for end in cuts {
            self.waiting.push(frame.slice(start as i64, end - start));
            chunks.push(concatenated(std::mem::take(&mut self.waiting))?);
            self.waiting_rows = 0;
            start = *end;
        }
        let rest = frame.height() - start;
        if rest > 0 || self.waiting.is_empty() {
            self.waiting.push(frame.slice(start as i64, rest));
            self.waiting_rows += rest;
        }
        self.emitted |= !chunks.is_empty();
        Ok(chunks)
    }
}

impl Cutter {
    /// The hash of each row's key.
    fn hashes(&self, frame: &DataFrame) -> Result<Vec<u64>, NodeError> {
        let cells = cells_of(frame, &self.keys)?;
        let mut bytes = Vec::new();
        let hash = |row| {
            bytes.clear();
            cells.iter().for_each(|cells| cells.write(row, &mut bytes));
            xxh3_64(&bytes)
        };
        Ok((0..frame.height()).map(hash).collect())
    }

    /// The rows behind which a chunk ends, as counts from the start of the frame; `before` rows wait already.
    fn cuts(&self, before: usize, hashes: &[u64]) -> Vec<usize> {
        let mut cuts = Vec::new();
        let mut length = before;
        for (row, hash) in hashes.iter().enumerate() {
            length += 1;
            if self.ends(length, *hash) {
                cuts.push(row + 1);
                length = 0;
            }
        }
        cuts
    }

    /// Whether a chunk of `length` rows ends with a row of this hash.
    fn ends(&self, length: usize, hash: u64) -> bool {
        if self.keys.is_empty() {
            return length >= self.target;
        }
        if length >= self.target.saturating_mul(4) {
            return true;
        }
        // A bit harder before the target and a bit easier behind it: lengths gather around the target.
        let bits = self.target.trailing_zeros();
        let bits = if length < self.target { bits + 1 } else { bits.saturating_sub(1) };
        length >= self.target / 4 && hash.leading_zeros() >= bits
    }
}

/// The shortest prefix of `columns` that tells enough rows of `head` apart, else all of them.
fn distinct_prefix(head: &DataFrame, columns: &[String]) -> Result<Vec<String>, NodeError> {
    let mut hashes = vec![0_u64; head.height()];
    for (index, column) in columns.iter().enumerate() {
        let cells = Cells::of(head, column)?;
        let mut bytes = Vec::new();
        for (row, hash) in hashes.iter_mut().enumerate() {
            bytes.clear();
            bytes.extend_from_slice(&hash.to_le_bytes());
            cells.write(row, &mut bytes);
            *hash = xxh3_64(&bytes);
        }
        let distinct = hashes.iter().collect::<HashSet<_>>().len();
        if distinct * 100 >= head.height() * DISTINCT_PERCENT {
            return Ok(columns[..=index].to_vec());
        }
    }
    Ok(columns.to_vec())
}

/// The power of two nearest to the rows of 2 MB.
fn target_rows(head: &DataFrame) -> u64 {
    let bytes: u64 = head.columns().iter().map(|column| value_bytes(column.as_materialized_series())).sum();
    target_for(head.height() as u64, bytes)
}

/// Rows in a chunk of about 2 MB, if `rows` rows weigh `bytes`.
fn target_for(rows: u64, bytes: u64) -> u64 {
    if rows == 0 || bytes == 0 {
        return LARGEST_TARGET;
    }
    let wanted = (CHUNK_BYTES.saturating_mul(rows) / bytes).clamp(SMALLEST_TARGET, LARGEST_TARGET);
    let below = 1 << wanted.ilog2();
    // Nearest by ratio: 2^k or 2^(k+1), parted at 2^(k + 1/2), in whole numbers.
    if u128::from(wanted) * u128::from(wanted) >= 2 * u128::from(below) * u128::from(below) { below * 2 } else { below }
}

/// The cells of a key column.
enum Cells {
    Bool(BooleanChunked),
    Int(Int64Chunked),
    Float(Float64Chunked),
    Text(StringChunked),
}

fn cells_of(frame: &DataFrame, keys: &[String]) -> Result<Vec<Cells>, NodeError> {
    keys.iter().map(|key| Cells::of(frame, key)).collect()
}

impl Cells {
    fn of(frame: &DataFrame, name: &str) -> Result<Cells, NodeError> {
        let missing = || NodeError::Failed(format!("the rows have no column `{name}`, by which chunks are cut"));
        let series = frame.column(name).map_err(|_| missing())?.as_materialized_series().rechunk();
        let wrong = |_| {
            let found = series.dtype();
            NodeError::Failed(format!(
                "chunks cannot be cut by the column `{name}`: it holds {found}, expected a scalar"
            ))
        };
        Ok(match series.dtype() {
            DataType::Boolean => Cells::Bool(series.bool().map_err(wrong)?.clone()),
            DataType::Float64 => Cells::Float(series.f64().map_err(wrong)?.clone()),
            DataType::String => Cells::Text(series.str().map_err(wrong)?.clone()),
            DataType::Int64 | DataType::Datetime(_, _) => {
                let physical = series.to_physical_repr();
                Cells::Int(physical.i64().map_err(wrong)?.clone())
            }
            _ => return Err(wrong(PolarsError::NoData("".into()))),
        })
    }

    /// Appends the canonical bytes of a cell: a tag for missing or present, then its value.
    fn write(&self, row: usize, bytes: &mut Vec<u8>) {
        fn number(value: Option<u64>, bytes: &mut Vec<u8>) {
            bytes.push(u8::from(value.is_some()));
            bytes.extend_from_slice(&value.unwrap_or(0).to_le_bytes());
        }
        match self {
            Cells::Bool(cells) => number(cells.get(row).map(u64::from), bytes),
            Cells::Int(cells) => number(cells.get(row).map(i64::cast_unsigned), bytes),
            Cells::Float(cells) => {
                let canonical = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
                number(cells.get(row).map(canonical), bytes);
            }
            Cells::Text(cells) => {
                let text = cells.get(row);
                number(text.map(|text| text.len() as u64), bytes);
                bytes.extend_from_slice(text.unwrap_or("").as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::column_digest;
    use crate::frame::tensor_column;

    fn rows(keys: &[i64]) -> DataFrame {
        let label: Vec<Option<String>> =
            keys.iter().map(|key| (key % 3 != 0).then(|| format!("label {key}"))).collect();
        df!["id" => keys, "label" => label].unwrap()
    }

    fn columns() -> Vec<ColumnType> {
        vec![ColumnType::new("id", LogicalType::Int), ColumnType::new("label", LogicalType::Text).with_nullable(true)]
    }

    fn chunks(rule: &ChunkRule, frames: &[DataFrame]) -> Vec<DataFrame> {
        let mut chunker = Chunker::new(rule.clone());
        let mut chunks: Vec<DataFrame> = frames.iter().flat_map(|frame| chunker.push(frame).unwrap()).collect();
        chunks.extend(chunker.finish().unwrap());
        assert!(matches!(chunker.rule(), ChunkRule { keys: ChunkKeys::Columns(_), target_rows: Some(_) }));
        chunks
    }

    fn pieces(frame: &DataFrame, sizes: &[usize]) -> Vec<DataFrame> {
        let (mut pieces, mut start) = (Vec::new(), 0);
        for size in sizes {
            let size = (*size).min(frame.height() - start);
            pieces.push(frame.slice(start as i64, size));
            start += size;
        }
        pieces.push(frame.slice(start as i64, frame.height() - start));
        pieces
    }

    fn heights(chunks: &[DataFrame]) -> Vec<usize> {
        chunks.iter().map(DataFrame::height).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_frames_rows_come_in_do_not_show(
            count in 0_i64..12_000,
            sizes in prop::collection::vec(0_usize..5000, 0..8),
            target in prop::option::of(1_u64..500),
        ) {
            let frame = rows(&(0..count).collect::<Vec<i64>>());
            let rule = ChunkRule::for_columns(&columns());
            let rule = target.map_or(rule.clone(), |target| rule.with_target(target));
            let whole = chunks(&rule, std::slice::from_ref(&frame));
            let parts = chunks(&rule, &pieces(&frame, &sizes));
            prop_assert_eq!(heights(&whole), heights(&parts));
            prop_assert_eq!(whole.iter().map(DataFrame::height).sum::<usize>(), frame.height());
            let joined = concatenated(parts).unwrap();
            for (one, other) in joined.columns().iter().zip(frame.columns()) {
                prop_assert_eq!(
                    column_digest(one.as_materialized_series()),
                    column_digest(other.as_materialized_series())
                );
            }
        }

        #[test]
        fn one_row_more_changes_few_chunks(at in 0_usize..20_000, key in 1_000_000_i64..2_000_000) {
            let rule = ChunkRule::for_columns(&columns()).with_target(128);
            let keys: Vec<i64> = (0..20_000).collect();
            let mut more = keys.clone();
            more.insert(at, key);
            let digests = |keys: &[i64]| -> HashSet<_> {
                let cut = chunks(&rule, &[rows(keys)]);
                cut.iter().map(|chunk| column_digest(chunk.column("id").unwrap().as_materialized_series())).collect()
            };
            let (before, after) = (digests(&keys), digests(&more));
            let changed = after.difference(&before).count();
            // One chunk, or a few until the cuts fall together again.
            prop_assert!(changed <= 8, "{} of {} chunks changed", changed, after.len());
        }
    }

    #[test]
    fn chunks_gather_around_the_target_within_their_limits() {
        let keys: Vec<i64> = (0..100_000).collect();
        let cut = chunks(&ChunkRule::for_columns(&columns()).with_target(256), &[rows(&keys)]);
        let heights = heights(&cut);
        let inner = &heights[..heights.len() - 1];
        assert!(inner.iter().all(|height| (64..=1024).contains(height)));
        let mean = 100_000 / heights.len();
        assert!((180..=360).contains(&mean), "mean {mean}");
    }

    #[test]
    fn a_cell_outside_the_key_moves_no_boundary() {
        let keys: Vec<i64> = (0..5000).collect();
        let rule = ChunkRule::for_columns(&columns()).with_target(64);
        let mut edited = rows(&keys);
        edited.with_column(Column::new("label".into(), vec!["new"; 5000])).unwrap();
        assert_eq!(heights(&chunks(&rule, &[rows(&keys)])), heights(&chunks(&rule, &[edited])));
    }

    #[test]
    fn the_key_is_what_the_author_says_or_the_first_columns_that_tell_rows_apart() {
        let decided = |rule: ChunkRule, frame: &DataFrame| {
            let mut chunker = Chunker::new(rule);
            chunker.push(frame).unwrap();
            chunker.finish().unwrap();
            chunker.rule().clone()
        };
        let keys = |names: &[&str]| ChunkKeys::Columns(names.iter().map(|name| (*name).to_owned()).collect());
        let frame = df!["group" => (0..1000).map(|row| row / 100).collect::<Vec<i64>>(),
            "number" => (0..1000).map(|row| row % 100).collect::<Vec<i64>>(), "text" => vec!["x"; 1000]]
        .unwrap();
        let column = |name| ColumnType::new(name, LogicalType::Int);
        let all = [column("group"), column("number"), ColumnType::new("text", LogicalType::Text)];
        assert_eq!(decided(ChunkRule::for_columns(&all), &frame).keys, keys(&["group", "number"]));
        let named = [column("group").with_role(Role::Key), column("number"), all[2].clone()];
        assert_eq!(decided(ChunkRule::for_columns(&named), &frame).keys, keys(&["group"]));
        let few = [all[0].clone(), all[2].clone()];
        assert_eq!(decided(ChunkRule::for_columns(&few), &frame).keys, keys(&["group", "text"]));
        // About 32 bytes a row: the power of two nearest to 2,000,000 / 33.
        assert_eq!(decided(ChunkRule::for_columns(&all), &frame).target_rows, Some(65_536));
    }

    #[test]
    fn heavy_rows_make_short_chunks() {
        let target = |width: usize| {
            let rows = 100;
            target_rows(
                &DataFrame::new(rows, vec![tensor_column("t", width, vec![0.0; rows * width]).unwrap()]).unwrap(),
            )
        };
        assert_eq!(target(1), 65_536);
        assert_eq!(target(500), 1024);
        assert_eq!(target(12_288), 32);
        assert_eq!(target(1 << 16), SMALLEST_TARGET);
    }

    #[test]
    fn rows_without_scalars_are_cut_by_number() {
        let column = ColumnType::new("t", "tensor[2]".parse().unwrap());
        let rule = ChunkRule::for_columns(&[column]).with_target(16);
        let frame = DataFrame::new(40, vec![tensor_column("t", 2, vec![0.0; 80]).unwrap()]).unwrap();
        assert_eq!(heights(&chunks(&rule, &[frame])), [16, 16, 8]);
    }

    #[test]
    fn no_rows_are_one_empty_chunk_with_the_columns() {
        let rule = ChunkRule::for_columns(&columns());
        let cut = chunks(&rule, &[rows(&[]), rows(&[])]);
        assert_eq!((heights(&cut), cut[0].width()), (vec![0], 2));
        let mut chunker = Chunker::new(rule);
        assert!(chunker.finish().unwrap().is_empty());
    }

    #[test]
    fn a_rule_is_recorded_as_it_was() {
        let rule = ChunkRule::for_columns(&columns()).with_target(100);
        assert_eq!(rule.target_rows, Some(128));
        let text = serde_json::to_string(&rule).unwrap();
        assert_eq!(text, r#"{"keys":{"prefix_of":["id","label"]},"target_rows":128}"#);
        assert_eq!(serde_json::from_str::<ChunkRule>(&text).unwrap(), rule);
    }

    #[test]
    fn a_missing_key_is_named() {
        let rule = ChunkRule { keys: ChunkKeys::Columns(vec!["key".to_owned()]), target_rows: Some(16) };
        let mut chunker = Chunker::new(rule);
        chunker.push(&rows(&[1])).unwrap();
        assert!(chunker.finish().unwrap_err().to_string().contains("`key`"));
    }
}
