//! What a task is handed: the rows it declared, and the artifacts bound to its ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_plan::{OutputRef, Outputs, Plan, Task, TaskRead};
use engine_store::Store;
use engine_table::{Files, NamedFiles, NodeError, PortInput, ReduceInputs, RowFilter, Table};
use polars::prelude::DataFrame;

/// Reads the inputs of one task. Invariant: `outputs` holds everything the task needs.
pub(crate) struct TaskInputs<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) task: &'a Task,
    pub(crate) outputs: &'a Outputs,
    pub(crate) store: &'a Store,
}

impl TaskInputs<'_> {
    /// The tables merged by column.
    pub(crate) fn merged(&self, tables: &[OutputRef]) -> Arc<Table> {
        let table = |output| self.outputs.table(output).expect("a task starts after what it needs has ended");
        match tables {
            [one] => table(one).clone(),
            several => {
                let several: Vec<&Table> = several.iter().map(|output| table(output).as_ref()).collect();
                Arc::new(Table::merged(&several))
            }
        }
    }

    /// The files another task gave.
    pub(crate) fn files(&self, from: &OutputRef) -> Result<Arc<Files>, NodeError> {
        match self.outputs.0.get(from) {
            Some(engine_plan::Output::Files { files, .. }) => Ok(files.read(self.store)?),
            _ => unreachable!("the plan binds files to ports that take files, and a task starts after what it needs"),
        }
    }

    /// The rows and columns of `read`, one chunk a column.
    pub(crate) fn rows(&self, read: &TaskRead) -> Result<DataFrame, NodeError> {
        let table = self.merged(&read.tables);
        // The store gives one chunk a column: polars' sums depend on how the rows lie in chunks.
        Ok(match (read.rows.parts(), &read.split) {
            (None, _) => self.store.read_table(&table, &read.columns)?,
            (Some(parts), Some(split)) => self.store.filtered(&table, &read.columns, split, parts)?,
            (Some(_), None) => unreachable!("the plan names the split column of every part that is read"),
        })
    }

    /// The rows of `reads` and every artifact, by port. Several reads of one port and filter are handed over as one
    /// frame, with the columns of the first in front.
    pub(crate) fn ports(&self, reads: &[TaskRead]) -> Result<ReduceInputs, NodeError> {
        let mut ports: BTreeMap<String, PortInput> = BTreeMap::new();
        for read in reads {
            let rows = self.rows(read)?;
            let handed = &mut ports.entry(read.port.clone()).or_default().rows;
            match handed.get_mut(&read.asked) {
                None => {
                    handed.insert(read.asked, rows);
                }
                Some(first) => {
                    let known: Vec<String> = first.get_column_names_owned().iter().map(ToString::to_string).collect();
                    let more =
                        rows.columns().iter().filter(|column| !known.iter().any(|name| name == column.name().as_str()));
                    first.hstack_mut(&more.cloned().collect::<Vec<_>>()).map_err(NodeError::failed)?;
                }
            }
        }
        for input in &self.task.artifacts {
            let files = self.files(&input.from)?;
            // Without its instance, which the task's key does not hold: two instances may share the work.
            let node = self.plan.task(input.from.task).node.clone();
            ports.entry(input.port.clone()).or_default().artifacts.push(NamedFiles { node, files });
        }
        Ok(ReduceInputs { blobs: self.store.blobs(), ..ReduceInputs::new(self.task.types.clone(), ports) })
    }

    /// Fails if there is nothing to learn from: `rows` of the read are none.
    pub(crate) fn require_rows(&self, read: &TaskRead, rows: &DataFrame) -> Result<(), NodeError> {
        if rows.height() > 0 {
            return Ok(());
        }
        let all = self.merged(&read.tables).rows();
        let node = &self.task.node;
        Err(NodeError::Failed(match (read.rows, &read.split) {
            (RowFilter::Part(part), Some(split)) if all > 0 => format!(
                "`{node}` has no row to learn from: column `{split}` marks none of the {all} rows as {part}; \
                 give the split a larger {part} share, or write `fit_on: all` to learn from every row"
            ),
            (RowFilter::TrainAndValidation, Some(split)) if all > 0 => format!(
                "`{node}` has no row to learn from: column `{split}` marks none of the {all} rows as train or \
                 validation; give the split a larger train share"
            ),
            _ => format!(
                "`{node}` has no row to learn from: its table is empty; look at what the nodes above it leave with \
                 `fuseline peek`"
            ),
        }))
    }
}
