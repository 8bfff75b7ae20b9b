//! What stands behind a node's ports: outputs, the tables of these outputs, and the merge of these tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use engine_core::{ArtifactKind, Diagnostic};
use engine_table::{Arity, ColumnType, InputTypes, PortType, TableType};

use super::planner::Planner;
use super::wiring::{Wire, Wired, WiredPort};
use crate::version::{goes_on_from, last_writer, latest};
use crate::{OutputRef, codes};

/// A port and what is bound to it.
pub(super) struct BoundPort {
    pub(super) name: String,
    takes: ArtifactKind,
    /// What it is bound to, in order; for an expanded port, one for each instance and reference.
    pub(super) outputs: Vec<OutputRef>,
    /// The tables whose merge stands behind it.
    pub(super) tables: Vec<OutputRef>,
    /// The type of that merge; nothing where tables are kept apart, or for artifacts without rows.
    pub(super) table: Option<Arc<TableType>>,
}

impl BoundPort {
    /// Whether it takes tables.
    pub(super) fn is_table(&self) -> bool {
        self.takes == ArtifactKind::Table
    }
}

/// The bound ports of a node, in the order of its kind.
pub(super) struct BoundPorts {
    pub(super) list: Vec<BoundPort>,
    pub(super) types: InputTypes,
}

impl BoundPorts {
    /// The port called `name`, or one of the tables kept apart on a port: `tables/1` is the second.
    pub(super) fn get(&self, name: &str) -> Option<&BoundPort> {
        self.list.iter().find(|port| port.name == name)
    }

    /// The first table port: the one whose table is changed or selected from.
    pub(super) fn base(&self) -> Option<&BoundPort> {
        self.list.iter().find(|port| port.is_table())
    }
}

impl<'s> Planner<'_, 's> {
    /// What is bound to the ports of `node` as `scope` sees it; nothing if any of it cannot be typed.
    ///
    /// `expanded` are the outputs on the ports whose upstream was instantiated. The port `left_out` is left out.
    pub(super) fn bound_ports(
        &mut self,
        node: &Wired<'s>,
        scope: usize,
        mut expanded: BTreeMap<String, Vec<OutputRef>>,
        left_out: Option<&str>,
    ) -> Option<BoundPorts> {
        let mut list = Vec::with_capacity(node.ports.len());
        let mut artifacts: Vec<Vec<PortType>> = Vec::with_capacity(node.ports.len());
        let mut is_sound = true;
        for wired in node.ports.iter().filter(|wired| left_out != Some(wired.port.name.as_str())) {
            let instances = expanded.remove(&wired.port.name);
            let is_expanded = instances.is_some();
            let outputs = match instances {
                Some(outputs) => Some(outputs),
                None => wired.wires.iter().map(|wire| self.output(wire.node, wire.output?, scope)).collect(),
            };
            let Some(outputs) = outputs else {
                is_sound = false;
                continue;
            };
            artifacts.push(outputs.iter().map(|output| self.output_type(output).clone()).collect());
            let (tables, table) = if is_expanded {
                // Instances hold rows of their own; there is no one table behind them.
                (Vec::new(), None)
            } else {
                match self.rows_behind(scope, wired, &outputs) {
                    Ok(rows) => rows,
                    Err(Untyped) => {
                        is_sound = false;
                        continue;
                    }
                }
            };
            list.push(BoundPort { name: wired.port.name.clone(), takes: wired.port.takes, outputs, tables, table });
        }
        if !is_sound {
            return None;
        }
        let apart: Vec<BoundPort> = list.iter().flat_map(|port| self.kept_apart(port)).collect();
        artifacts.extend(apart.iter().map(|port| port.table.iter().cloned().map(PortType::Table).collect()));
        list.extend(apart);
        let types = BoundPorts::types_of(&list, artifacts);
        Some(BoundPorts { list, types })
    }

    /// The tables of a port that keeps them apart, each as a port of its own: `tables/0`, `tables/1`.
    fn kept_apart(&self, port: &BoundPort) -> Vec<BoundPort> {
        if !port.is_table() || port.table.is_some() {
            return Vec::new();
        }
        let apart = port.outputs.iter().enumerate().map(|(place, output)| BoundPort {
            name: format!("{}/{place}", port.name),
            takes: ArtifactKind::Table,
            outputs: Vec::new(),
            tables: vec![output.clone()],
            table: self.shared_table_type(output).cloned(),
        });
        apart.collect()
    }

    fn rows_behind(
        &mut self,
        scope: usize,
        wired: &WiredPort<'s>,
        outputs: &[OutputRef],
    ) -> Result<(Vec<OutputRef>, Option<Arc<TableType>>), Untyped> {
        // Each table with the reference it came by.
        let mut tables: Vec<(OutputRef, &Wire<'_>)> = Vec::new();
        if wired.port.takes == ArtifactKind::Table {
            if wired.port.arity == Arity::Many && outputs.len() > 1 {
                return Ok((outputs.to_vec(), None));
            }
            tables.extend(outputs.iter().cloned().zip(&wired.wires));
        } else {
            for (output, wire) in outputs.iter().zip(&wired.wires) {
                for table in &self.task(output.task).behind {
                    if !tables.iter().any(|(other, _)| other == table) {
                        tables.push((table.clone(), wire));
                    }
                }
            }
        }
        let merged = self.merge(scope, wired, outputs, &tables)?;
        Ok((tables.into_iter().map(|(table, _)| table).collect(), merged))
    }

    /// The tables side by side: one row set, and no column in two versions.
    fn merge(
        &mut self,
        scope: usize,
        wired: &WiredPort<'s>,
        outputs: &[OutputRef],
        tables: &[(OutputRef, &Wire<'_>)],
    ) -> Result<Option<Arc<TableType>>, Untyped> {
        let Some(((first, first_wire), others)) = tables.split_first() else { return Ok(None) };
        let Some(first_type) = self.shared_table_type(first) else { return Ok(None) };
        if others.is_empty() {
            return Ok(Some(first_type.clone()));
        }
        let mut merged = TableType::clone(first_type);
        // Where each column stands in the merge, and the table it is of.
        let mut places: HashMap<String, (usize, usize)> =
            merged.names().enumerate().map(|(at, name)| (name.to_owned(), (at, 0))).collect();
        let mut problems = Vec::new();
        for (place, (output, wire)) in others.iter().enumerate() {
            let Some(table) = self.table_type(output) else { continue };
            if table.row_set != merged.row_set {
                let message = format!(
                    "`{}` and `{}` hold different rows, so the port `{}` cannot merge them by column",
                    first_wire.reference, wire.reference, wired.port.name
                );
                let label = format!("its rows were made by `{}`", table.row_set.0);
                let problem = self.findings.error_at(&codes::MERGE_ROW_SET, message, &wire.reference.pointer, &label);
                let first_span = self.findings.spec.span(&first_wire.reference.pointer);
                problems.push(
                    problem
                        .label(first_span, format!("its rows were made by `{}`", merged.row_set.0))
                        .help("name tables that come from one table over nodes that keep rows, or join them by a key"),
                );
                continue;
            }
            for column in &table.columns {
                let Some((at, before)) = places.get(&column.name).copied() else {
                    places.insert(column.name.clone(), (merged.columns.len(), place + 1));
                    merged.columns.push(column.clone());
                    continue;
                };
                let other = &merged.columns[at];
                if goes_on_from(&other.origin, &column.origin) {
                    continue;
                }
                if goes_on_from(&column.origin, &other.origin) {
                    merged.columns[at] = column.clone();
                    places.insert(column.name.clone(), (at, place + 1));
                    continue;
                }
                problems.push(self.two_versions((other, tables[before].1), (column, wire)));
            }
        }
        // A merge takes the later version of a column, which is not what an encoder of the earlier one declared.
        for (wire, output) in wired.wires.iter().zip(outputs) {
            let PortType::Encoder(encoder) = self.output_type(output) else { continue };
            let own: Vec<&TableType> =
                self.task(output.task).behind.iter().filter_map(|table| self.table_type(table)).collect();
            for name in &encoder.reads {
                let read = latest(own.iter().filter_map(|table| table.column(name)), |column| &column.origin);
                let (Some(read), Some((at, from))) = (read, places.get(name).copied()) else { continue };
                if merged.columns[at].origin != read.origin {
                    problems.push(self.two_versions((&merged.columns[at], tables[from].1), (read, wire)));
                }
            }
        }
        if problems.is_empty() {
            return Ok(Some(Arc::new(merged)));
        }
        let instance = self.instance(scope).map(str::to_owned);
        for problem in problems {
            self.findings.add(instance.as_deref(), problem);
        }
        Err(Untyped)
    }
}

impl<'s> Planner<'_, 's> {
    /// The problem that two nodes wrote a column each in its own way.
    fn two_versions(&self, one: (&ColumnType, &Wire<'_>), other: (&ColumnType, &Wire<'_>)) -> Diagnostic {
        let ((one, one_wire), (other, other_wire)) = (one, other);
        let (name, writer, other_writer) = (&one.name, last_writer(one), last_writer(other));
        let message = format!(
            "`{}` and `{}` both have a column `{name}`, one written by `{writer}`, the other by `{other_writer}`",
            one_wire.reference, other_wire.reference
        );
        let label = format!("`{name}` as written by `{other_writer}`");
        let one_span = self.findings.spec.span(&one_wire.reference.pointer);
        self.findings
            .error_at(&codes::MERGE_COLUMN, message, &other_wire.reference.pointer, &label)
            .label(one_span, format!("`{name}` as written by `{writer}`"))
            .help("write one of them under another name, or put one node after the other")
    }
}

/// The port cannot be typed; why is reported.
struct Untyped;
