//! How a table stands in the store: which segment holds each column of each chunk.

use engine_core::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::types::is_version_of;
use crate::{ColumnType, Rename};

/// One column of one chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnChunk {
    /// The segment: the digest of its bytes, which is its name.
    pub segment: Digest,
    /// The column's name in the segment (a rename does not rewrite it).
    pub name: String,
    /// The canonical digest of the values.
    pub digest: Digest,
    /// How many cells are missing.
    pub nulls: u64,
}

/// A column of a stored table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredColumn {
    /// Its name, type and role.
    pub column: ColumnType,
    /// One for each chunk of the table.
    pub chunks: Vec<ColumnChunk>,
}

impl StoredColumn {
    /// The digest of all values: of the chunks' digests in order.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new("fuseline.column.chunks.v1");
        for chunk in &self.chunks {
            hasher.digest(&chunk.digest);
        }
        hasher.finish()
    }
}

/// A table in the store: a manifest. Invariant: every column has one entry for each of `chunk_rows`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// The columns, in order.
    pub columns: Vec<StoredColumn>,
    /// Rows in each chunk; chunks may be empty.
    pub chunk_rows: Vec<u64>,
}

impl Table {
    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.chunk_rows.iter().sum()
    }

    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&StoredColumn> {
        self.columns.iter().find(|stored| stored.column.name == name)
    }

    /// The table after a row-preserving change or with new rows; `None` if rows were selected, which needs values.
    pub fn composed(&self, change: &TableChange) -> Option<Table> {
        match &change.rows {
            RowsChange::Kept => Some(self.with_columns(change)),
            RowsChange::New { chunk_rows } => {
                Some(Table { columns: change.written.clone(), chunk_rows: chunk_rows.clone() })
            }
            RowsChange::Selected { .. } => None,
        }
    }

    /// The columns after `change`, which keeps the rows.
    fn with_columns(&self, change: &TableChange) -> Table {
        let mut columns: Vec<StoredColumn> = Vec::with_capacity(self.columns.len() + change.written.len());
        for stored in self.columns.iter().filter(|stored| !change.dropped.contains(&stored.column.name)) {
            let mut stored = stored.clone();
            if let Some(rename) = change.renamed.iter().find(|rename| rename.from == stored.column.name) {
                stored.column.name.clone_from(&rename.to);
            }
            columns.push(stored);
        }
        for written in &change.written {
            match columns.iter_mut().find(|stored| stored.column.name == written.column.name) {
                Some(place) => *place = written.clone(),
                None => columns.push(written.clone()),
            }
        }
        Table { columns, chunk_rows: self.chunk_rows.clone() }
    }

    /// Tables of one row set as one, by column; of two versions of a column the later one, as in [`crate::TableType::merge`].
    ///
    /// Promise of the caller: the columns carry the types of the current plan, which checked the merge.
    pub fn merged(tables: &[&Table]) -> Table {
        let mut merged = Table::default();
        for table in tables {
            merged.chunk_rows.clone_from(&table.chunk_rows);
            for stored in &table.columns {
                match merged.columns.iter_mut().find(|other| other.column.name == stored.column.name) {
                    None => merged.columns.push(stored.clone()),
                    Some(other) if is_version_of(&other.column.origin, &stored.column.origin) => {
                        *other = stored.clone()
                    }
                    Some(_) => {}
                }
            }
        }
        merged
    }

    /// The digest of names, values and chunk boundaries.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new("fuseline.table.v1");
        for rows in &self.chunk_rows {
            hasher.raw(&rows.to_le_bytes());
        }
        for stored in &self.columns {
            hasher.field(stored.column.name.as_bytes()).digest(&stored.digest());
        }
        hasher.finish()
    }
}

/// What became of the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowsChange {
    /// The same rows in the same chunks.
    Kept,
    /// Rows of the input by number: an int column, one chunk for each chunk of the output.
    Selected {
        /// The row numbers of the input table, from 0.
        indices: Vec<ColumnChunk>,
        /// Rows in each chunk.
        chunk_rows: Vec<u64>,
    },
    /// New rows.
    New {
        /// Rows in each chunk.
        chunk_rows: Vec<u64>,
    },
}

/// What a task's record holds of a table it gave: only what it changed. The table is composed from
/// the *current* input, so a change in an unread column passes through a hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableChange {
    /// What became of the rows.
    pub rows: RowsChange,
    /// The columns it wrote.
    #[serde(default)]
    pub written: Vec<StoredColumn>,
    /// The columns it took away.
    #[serde(default)]
    pub dropped: Vec<String>,
    /// The columns it renamed.
    #[serde(default)]
    pub renamed: Vec<Rename>,
}

#[cfg(test)]
mod tests {
    use engine_core::LogicalType;

    use super::*;

    fn stored(name: &str, content: &[u8]) -> StoredColumn {
        let digest = Digest::of(content);
        StoredColumn {
            column: ColumnType::new(name, LogicalType::Float),
            chunks: vec![ColumnChunk { segment: digest, name: name.into(), digest, nulls: 0 }],
        }
    }

    #[test]
    fn unread_columns_come_from_the_current_input() {
        let change = TableChange {
            rows: RowsChange::Kept,
            written: vec![stored("b", b"new b")],
            dropped: vec![],
            renamed: vec![Rename { from: "a".into(), to: "first".into() }],
        };
        let input = |a: &[u8]| Table { columns: vec![stored("a", a), stored("b", b"b")], chunk_rows: vec![3] };
        let one = input(b"one").composed(&change).unwrap();
        let two = input(b"two").composed(&change).unwrap();
        assert_ne!(one.column("first").unwrap().digest(), two.column("first").unwrap().digest());
        assert_eq!(one.column("b").unwrap().digest(), stored("b", b"new b").digest());
        assert_eq!(one.column("first").unwrap().chunks[0].name, "a");
    }
}
