//! What the kinds over images, sound and text share: the cells of a media column, what becomes of a missing or damaged
//! one, and the column that says which are present.

use std::collections::HashMap;

use engine_core::{Digest, LogicalType};
use engine_table::{At, ColumnType, NodeError, Problem, TableType, Written};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codes::{COLUMN_EXISTS, COLUMN_TYPE};
use crate::place;

/// What becomes of a cell whose media are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnDamage {
    /// The node fails and names the row.
    #[default]
    Error,
    /// The cell counts as missing.
    Missing,
}

/// The column that says in which rows `written` is present.
pub(super) fn present_name(written: &str) -> String {
    format!("{written}_present")
}

/// The column `name` of `table`, if it is of one of `families`; `takes` names them in words.
pub(super) fn source<'t>(
    table: &'t TableType,
    name: &str,
    at: At,
    families: &[&str],
    takes: &str,
) -> Result<&'t ColumnType, Problem> {
    let column = table.require(name, at.clone())?;
    if families.contains(&column.logical.family()) {
        return Ok(column);
    }
    let message = format!("`{name}` is {}, and {takes}", column.logical);
    Err(Problem::error(&COLUMN_TYPE, at, message))
}

/// The column `written` computed of the columns `from`, and the one that says where it is present if cells may be
/// missing.
pub(super) fn writes(
    table: &TableType,
    written: &str,
    logical: LogicalType,
    from: &[String],
    may_be_missing: bool,
) -> Result<Vec<Written>, Vec<Problem>> {
    let mut columns = vec![ColumnType::new(written, logical)];
    if may_be_missing {
        columns.push(ColumnType::new(present_name(written), LogicalType::Bool));
    }
    let problems: Vec<Problem> = columns
        .iter()
        .filter(|column| table.column(&column.name).is_some())
        .map(|column| {
            let message = format!("the input has a column `{}` already", column.name);
            Problem::error(&COLUMN_EXISTS, place::option("as"), message).help("write `as: OTHER_NAME`")
        })
        .collect();
    if problems.is_empty() {
        Ok(columns.into_iter().map(|column| Written::new(column, from)).collect())
    } else {
        Err(problems)
    }
}

/// The frame of a written column, and of the one that says where it is present if that was declared.
pub(super) fn frame(column: Column, present: Option<Vec<bool>>) -> Result<DataFrame, NodeError> {
    let height = column.len();
    let name = present_name(column.name());
    let mut columns = vec![column];
    if let Some(present) = present {
        columns.push(Series::new(name.into(), present).into_column());
    }
    DataFrame::new(height, columns).map_err(NodeError::failed)
}

/// The digest in each cell of a media column.
pub(super) fn digests(column: &Column) -> Result<Vec<Option<Digest>>, NodeError> {
    let cells = column.str().map_err(NodeError::failed)?;
    let digest = |(row, cell): (usize, Option<&str>)| {
        let parsed = cell.map(str::parse::<Digest>).transpose();
        parsed.map_err(|error| NodeError::Failed(format!("row {row}, column `{}`: {error}", column.name())))
    };
    cells.iter().enumerate().map(digest).collect()
}

/// The rows of each digest that is there; digests in the order of their first rows.
pub(super) fn sharing_rows(cells: impl IntoIterator<Item = Option<Digest>>) -> Vec<(Digest, Vec<usize>)> {
    let mut shared: Vec<(Digest, Vec<usize>)> = Vec::new();
    let mut places: HashMap<Digest, usize> = HashMap::new();
    for (row, digest) in cells.into_iter().enumerate() {
        let Some(digest) = digest else { continue };
        let place = *places.entry(digest).or_insert(shared.len());
        match shared.get_mut(place) {
            Some((_, rows)) => rows.push(row),
            None => shared.push((digest, vec![row])),
        }
    }
    shared
}

/// Media that cannot be used, in a row.
#[derive(Debug, thiserror::Error)]
#[error(
    "row {row}, column `{column}`: the {what} {digest} cannot be used: {reason}; mend the file, or write `on_error: missing`"
)]
pub(super) struct DamagedMedia {
    pub(super) row: usize,
    pub(super) column: String,
    pub(super) what: &'static str,
    pub(super) digest: String,
    pub(super) reason: String,
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use engine_table::{Blobs, InputTypes, MemoryBlobs, ReduceInputs, RowLocal, RowSet, check_frame};

    use super::*;

    /// Blobs that count how often they are read.
    #[derive(Default)]
    pub(in crate::extract) struct Counting {
        pub(in crate::extract) blobs: MemoryBlobs,
        pub(in crate::extract) reads: AtomicUsize,
    }

    impl Blobs for Counting {
        fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, NodeError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.blobs.read(digest)
        }

        fn put(&self, bytes: &[u8]) -> Result<Digest, NodeError> {
            self.blobs.put(bytes)
        }
    }

    pub(in crate::extract) fn table(columns: Vec<ColumnType>) -> TableType {
        TableType { columns, row_set: RowSet("rows".into()) }
    }

    /// What the kind writes of `rows`, checked against what it declares.
    pub(in crate::extract) fn applied(
        kind: &impl RowLocal,
        table: TableType,
        rows: &DataFrame,
        blobs: Arc<dyn Blobs>,
    ) -> Result<DataFrame, NodeError> {
        let types = InputTypes::of_table(table);
        let change = kind.infer(&types).unwrap();
        let side = ReduceInputs { blobs, ..ReduceInputs::new(types, BTreeMap::new()) };
        let read = rows.select(change.reads.iter().map(String::as_str)).unwrap();
        let found = kind.prepare(&side)?.apply(&read)?;
        let columns: Vec<ColumnType> = change.writes.iter().map(|written| written.column.clone()).collect();
        check_frame(&found, &columns).unwrap();
        Ok(found)
    }

    /// The cells of a column that says what is present.
    pub(in crate::extract) fn present(frame: &DataFrame, name: &str) -> Vec<bool> {
        frame.column(name).unwrap().bool().unwrap().iter().map(|cell| cell == Some(true)).collect()
    }

    #[test]
    fn rows_that_share_a_digest_stand_together_in_order() {
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        let found = sharing_rows([None, Some(b), Some(a), Some(b), None]);
        assert_eq!(found, [(b, vec![1, 3]), (a, vec![2])]);
    }

    #[test]
    fn a_cell_that_is_no_digest_is_named() {
        let column = Series::new("page".into(), [None, Some("page.png")]).into_column();
        let error = digests(&column).unwrap_err().to_string();
        assert!(error.starts_with("row 1, column `page`: `page.png` is not a digest"), "{error}");
    }
}
