//! A task's reads and writes as data: what `fuseline plan` prints of every edge.

use std::collections::BTreeMap;

use engine_core::{ArtifactKind, LogicalType, Role};
use engine_table::{PortType, RowFilter};
use serde::Serialize;

use crate::version::last_writer;
use crate::{Plan, Task};

/// What a task reads on a port: what its selectors matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadListing {
    /// The port.
    pub port: String,
    /// `all`, `train`, `validation` or `test`.
    pub rows: RowFilter,
    /// The tasks whose tables it reads.
    pub from: Vec<String>,
    /// The columns.
    pub columns: Vec<String>,
}

/// A column as the plan lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnListing {
    /// Its name.
    pub name: String,
    /// What its values mean.
    #[serde(rename = "type")]
    pub logical: LogicalType,
    /// What it is for.
    pub role: Role,
    /// Whether a cell may be missing.
    pub nullable: bool,
    /// Whether it is computed from the target.
    pub from_target: bool,
}

/// The rows `task` reads: what its selectors matched.
pub fn reads_of(plan: &Plan, task: &Task) -> Vec<ReadListing> {
    let reads = task.reads.iter().map(|read| ReadListing {
        port: read.port.clone(),
        rows: read.rows,
        from: read.tables.iter().map(|table| plan.task(table.task).name.clone()).collect(),
        columns: read.columns.clone(),
    });
    reads.collect()
}

/// The columns `task` writes, or all of a table it makes.
pub fn writes_of(task: &Task) -> Vec<ColumnListing> {
    let Some(table) = task.table() else { return Vec::new() };
    let makes_all = task.base_tables().is_empty();
    let written = table.columns.iter().filter(|column| makes_all || last_writer(column) == task.name);
    let listed = written.map(|column| ColumnListing {
        name: column.name.clone(),
        logical: column.logical.clone(),
        role: column.role,
        nullable: column.nullable,
        from_target: column.from_target,
    });
    listed.collect()
}

/// What `task` gives beside tables, by port.
pub fn gives_of(task: &Task) -> BTreeMap<String, ArtifactKind> {
    let gives = task.outputs.iter().filter(|(_, output)| !matches!(output, PortType::Table(_)));
    gives.map(|(port, output)| (port.clone(), output.artifact_kind())).collect()
}
