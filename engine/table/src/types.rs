//! What is known of an edge before a row is read.

use std::sync::Arc;

use engine_core::{ArtifactKind, LogicalType, Role};
use serde::{Deserialize, Serialize};

/// Rows that stay the same rows: tables of one row set may be merged by column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowSet(pub String);

/// A column as the plan knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnType {
    /// Its name, unique in its table.
    pub name: String,
    /// What its values mean.
    #[serde(rename = "type")]
    pub logical: LogicalType,
    /// What it is for.
    #[serde(default)]
    pub role: Role,
    /// Whether a cell may be missing.
    #[serde(default)]
    pub nullable: bool,
    /// Whether any of its values was computed from the target (set by the plan, from lineage).
    #[serde(default)]
    pub from_target: bool,
    /// The tasks that wrote it, first to last, as in `loans>scaled` (set by the plan). Of two columns of one name a
    /// merge takes the later version if one history begins with the other; else they are in conflict.
    #[serde(default)]
    pub origin: String,
}

impl ColumnType {
    /// A feature column without gaps; lineage and origin are the plan's to set.
    pub fn new(name: impl Into<String>, logical: LogicalType) -> ColumnType {
        ColumnType {
            name: name.into(),
            logical,
            role: Role::Feature,
            nullable: false,
            from_target: false,
            origin: String::new(),
        }
    }

    /// The same column in another role.
    #[must_use]
    pub fn with_role(self, role: Role) -> ColumnType {
        ColumnType { role, ..self }
    }

    /// The same column with or without gaps.
    #[must_use]
    pub fn with_nullable(self, nullable: bool) -> ColumnType {
        ColumnType { nullable, ..self }
    }
}

/// The columns of a table, in order. Invariant (kept by the plan): names are unique.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableType {
    /// The columns, in order.
    pub columns: Vec<ColumnType>,
    /// Which rows these are.
    pub row_set: RowSet,
}

impl TableType {
    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&ColumnType> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The columns a model may read, in order.
    pub fn features(&self) -> impl Iterator<Item = &ColumnType> {
        self.columns.iter().filter(|column| column.role == Role::Feature)
    }

    /// The columns with `role`, in order.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &ColumnType> {
        self.columns.iter().filter(move |column| column.role == role)
    }

    /// The first column with the split role.
    pub fn split(&self) -> Option<&ColumnType> {
        self.with_role(Role::Split).next()
    }
}

/// Why tables cannot be merged by column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeConflict {
    /// They have different rows.
    RowSet {
        /// The first table's rows.
        first: RowSet,
        /// The other's.
        other: RowSet,
        /// The place of the other table.
        index: usize,
    },
    /// Two tables wrote a column of one name.
    Column {
        /// The name.
        name: String,
        /// Who wrote it in the tables before.
        first: String,
        /// Who wrote it in this one.
        other: String,
        /// The place of this table.
        index: usize,
    },
}

impl TableType {
    /// `tables` as one, by column; of two versions of a column the later one.
    ///
    /// # Errors
    /// If the rows differ, or two tables each wrote a version of a column.
    pub fn merge<'a>(tables: impl IntoIterator<Item = &'a TableType>) -> Result<TableType, MergeConflict> {
        let mut tables = tables.into_iter().enumerate();
        let Some((_, first)) = tables.next() else {
            return Ok(TableType { columns: Vec::new(), row_set: RowSet(String::new()) });
        };
        let mut merged = first.clone();
        for (index, table) in tables {
            if table.row_set != merged.row_set {
                let (first, other) = (merged.row_set, table.row_set.clone());
                return Err(MergeConflict::RowSet { first, other, index });
            }
            for column in &table.columns {
                match merged.columns.iter_mut().find(|other| other.name == column.name) {
                    None => merged.columns.push(column.clone()),
                    Some(other) if is_version_of(&column.origin, &other.origin) => {}
                    Some(other) if is_version_of(&other.origin, &column.origin) => *other = column.clone(),
                    Some(other) => {
                        let (first, name) = (other.origin.clone(), column.name.clone());
                        return Err(MergeConflict::Column { name, first, other: column.origin.clone(), index });
                    }
                }
            }
        }
        Ok(merged)
    }
}

/// Whether the history `later` is `earlier` or goes on from it.
pub(crate) fn is_version_of(earlier: &str, later: &str) -> bool {
    later.strip_prefix(earlier).is_some_and(|rest| rest.is_empty() || rest.starts_with('>'))
}

/// What a trainable encoder will be: its architecture, what it reads, what it gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderType {
    /// The node that declares it; names its parameters and its loss term (set by the plan).
    #[serde(default)]
    pub node: String,
    /// `text`, `image`, `sound`, `table`, `series`.
    pub modality: String,
    /// As in `mlp`, `transformer`.
    pub architecture: String,
    /// The columns it reads, in order.
    pub reads: Vec<String>,
    /// As in `vector[128]`.
    pub gives: String,
    /// Everything the trainer needs to build it.
    pub config: serde_json::Value,
}

/// What a model predicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// One of the classes seen in training: a probability for each.
    Class,
    /// A number.
    Value,
}

/// What a model will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelType {
    /// What it predicts.
    pub prediction: Prediction,
    /// The column it predicts.
    pub target: ColumnType,
    /// The columns it reads to predict, in order.
    pub reads: Vec<String>,
    /// Its encoders, by node, if each has a head of its own beside the joint one; empty for every other model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modalities: Vec<String>,
    /// Whether a row may lack everything the model reads, and is then given what is most frequent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_lack_evidence: bool,
}

impl ModelType {
    /// A model with one head, which reads something of every row.
    pub fn new(prediction: Prediction, target: ColumnType, reads: Vec<String>) -> ModelType {
        ModelType { prediction, target, reads, modalities: Vec::new(), may_lack_evidence: false }
    }
}

/// The type on an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortType {
    /// A table. Shared: it stands at both ends of an edge, and may be a thousand columns wide.
    Table(Arc<TableType>),
    /// Fitted values.
    Fitted,
    /// An encoder.
    Encoder(EncoderType),
    /// A model.
    Model(ModelType),
    /// Scores.
    Metrics,
    /// A report.
    Report,
    /// A deployment.
    Deployment,
}

impl PortType {
    /// The kind of artifact.
    pub fn artifact_kind(&self) -> ArtifactKind {
        match self {
            PortType::Table(_) => ArtifactKind::Table,
            PortType::Fitted => ArtifactKind::Fitted,
            PortType::Encoder(_) => ArtifactKind::Encoder,
            PortType::Model(_) => ArtifactKind::Model,
            PortType::Metrics => ArtifactKind::Metrics,
            PortType::Report => ArtifactKind::Report,
            PortType::Deployment => ArtifactKind::Deployment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, &str)]) -> TableType {
        let column = |(name, origin): &(&str, &str)| ColumnType {
            origin: (*origin).to_owned(),
            ..ColumnType::new(*name, LogicalType::Float)
        };
        TableType { columns: columns.iter().map(column).collect(), row_set: RowSet("loans".into()) }
    }

    #[test]
    fn a_merge_takes_the_later_version_of_a_column_whichever_comes_first() {
        let plain = table(&[("x", "loans"), ("one_hot", "dummies")]);
        let scaled = table(&[("x", "loans>scaled")]);
        for tables in [[&plain, &scaled], [&scaled, &plain]] {
            assert_eq!(TableType::merge(tables).unwrap().column("x").unwrap().origin, "loans>scaled");
        }
    }

    #[test]
    fn two_versions_of_a_column_are_in_conflict() {
        let (one, two) = (table(&[("x", "loans>a")]), table(&[("x", "loans>ab")]));
        assert!(matches!(TableType::merge([&one, &two]), Err(MergeConflict::Column { index: 1, .. })));
        let other = TableType { row_set: RowSet("other".into()), ..two };
        assert!(matches!(TableType::merge([&one, &other]), Err(MergeConflict::RowSet { index: 1, .. })));
    }
}
