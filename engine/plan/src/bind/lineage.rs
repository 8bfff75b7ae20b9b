//! What a column is computed from, followed back over the tasks that wrote it.

use std::collections::HashSet;

use engine_core::Role;
use engine_table::{ColumnType, Written};

use super::planner::{Planner, Site};
use crate::{Task, Work};

/// A step of the way from the target to a column.
pub(super) struct Step {
    /// The node that computes it.
    pub(super) node: String,
    /// As in "`rate` from `repaid` by `ratios`".
    pub(super) words: String,
}

impl<'w, 's> Planner<'w, 's> {
    /// The way from the target to `column`, an input of `site`, the last step first; empty if it is the target itself.
    pub(super) fn way_from_target(&self, column: &ColumnType, site: &Site<'w, 's>) -> Vec<Step> {
        let mut way = Vec::new();
        let mut seen = HashSet::new();
        let mut at = column.clone();
        // The column may be the target as it was ingested, or the target as some node rewrote it: either ends the way.
        while at.role != Role::Target && seen.insert((at.origin.clone(), at.name.clone())) {
            let Some(writer) = self.writer(&at).map(|task| self.task(task)) else { break };
            let Some(source) = tainted_source(writer, &at.name) else { break };
            way.push(Step {
                node: writer.node.clone(),
                words: format!("`{}` from `{}` by `{}`", at.name, source.name, writer.node),
            });
            at = source;
        }
        if way.is_empty() && column.role != Role::Target {
            let node = site.node.spec.id.clone();
            way.push(Step { words: format!("`{}` comes from the target above `{node}`", column.name), node });
        }
        way
    }
}

/// Of the columns that `task` computes or renames `name` from, one that is the target or computed from it.
fn tainted_source(task: &Task, name: &str) -> Option<ColumnType> {
    let (writes, renames): (&[Written], &[engine_table::Rename]) = match &task.work {
        Work::Apply { change, .. } => (&change.writes, &change.renames),
        Work::Whole { whole, .. } => match whole {
            engine_table::WholeType::Select { writes, .. } | engine_table::WholeType::New { writes, .. } => {
                (writes, &[])
            }
        },
        _ => return None,
    };
    let written = writes.iter().filter(|written| written.column.name == name).flat_map(|written| written.from.iter());
    let renamed = renames.iter().filter(|rename| rename.to == name).map(|rename| &rename.from);
    let sources: Vec<&String> = written.chain(renamed).collect();
    let tables = || {
        let ports = task.types.0.values();
        ports.flat_map(|port| {
            let apart = port.artifacts.iter().filter_map(|artifact| match artifact {
                engine_table::PortType::Table(table) => Some(table),
                _ => None,
            });
            port.table.iter().chain(apart)
        })
    };
    sources.iter().find_map(|source| {
        let leaks = |column: &&ColumnType| column.from_target || column.role == Role::Target;
        tables().find_map(|table| table.column(source).filter(leaks)).cloned()
    })
}
