//! Expansions that choose one of their instances.
//!
//! Three sorts of tasks: `node/choice` says which instance it is; `node` gives that instance's artifact; and where the
//! tables behind the artifacts differ between the instances, `node/rows(NAME)` gives the chosen instance's table, so
//! that whoever takes the artifact reads the rows it was fitted on. What an instance needs for the artifact but not
//! for the choice takes part only if the choice falls on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine_core::{Diagnostic, LogicalType, Part, Size};
use engine_table::{
    Bound, Choice, ColumnType, EARLIER, Expand, Instance, ModelType, Node, PortType, Reduce, Refit, RowFilter, RowSet,
    TableType,
};

use super::expand::Expanded;
use super::findings::input_pointer;
use super::planner::{Learns, Planner, Scope, Site};
use super::prune::reachable;
use super::wiring::Wired;
use crate::version::last_writer;
use crate::{ArtifactInput, Condition, OutputRef, TaskId, Work, codes};

impl<'w, 's> Planner<'w, 's> {
    /// Lays out the instances, the choice between them and what is chosen; gives the task with the chosen artifact and
    /// the one that chooses.
    pub(super) fn lay_out_choice(
        &mut self,
        place: usize,
        scope: usize,
        bound: Bound,
        expand: &dyn Expand,
        choice: Choice,
    ) -> Option<(TaskId, TaskId)> {
        let wiring = self.wiring;
        let node = &wiring.nodes[place];
        let Expanded { instances, mut scopes, mut ports } = self.expand(place, scope, expand)?;
        let mut candidates = ports.remove(choice.port)?;
        let ports = self.bound_ports(node, scope, ports, Some(choice.port))?;
        self.check_parts(node, scope, &instances, &candidates)?;
        let site = Site { node, scope, name: self.task_name(node, "/choice", scope), bound, ports };
        let reduction = self.inferred(&site, Reduce::infer(expand, &site.ports.types))?;
        let decides = self.lay_out_reduction(&site, reduction, Work::Reduce)?;
        self.tasks[decides.0].types = site.ports.types.clone();
        if choice.refit == Refit::OnTrainAndValidation {
            let refits;
            (refits, candidates) = self.refit(&site, (&instances, &scopes), choice)?;
            scopes.extend(refits);
        }
        if candidates.len() > 1 && candidates.iter().all(|candidate| *candidate == candidates[0]) {
            self.report_same(&site, choice);
            return None;
        }
        let by = OutputRef { task: decides, port: choice.by.to_owned() };
        let behind = self.chosen_tables(&site, &by, &candidates)?;
        let gives = self.chosen_type(&site, choice, &candidates)?;
        let outputs = BTreeMap::from([(choice.port.to_owned(), gives)]);
        let name = self.task_name(node, "", scope);
        let work = Work::Choose { by: by.clone(), of: candidates.clone() };
        let main = self.push(&site, name, work, Vec::new(), outputs);
        self.tasks[main.0].behind = behind;
        self.tasks[main.0].types = site.ports.types;
        self.set_conditions(&by, &scopes, &candidates);
        Some((main, decides))
    }

    /// The rows must be parted alike in every instance: scores of different rows choose nothing, and what is a test row in
    /// one must not be learnt from in another.
    fn check_parts(
        &mut self,
        node: &Wired<'s>,
        scope: usize,
        instances: &[Instance],
        candidates: &[OutputRef],
    ) -> Option<()> {
        let split_behind = |candidate: &OutputRef| {
            let mut tables = self.task(candidate.task).behind.iter().filter_map(|table| self.table_type(table));
            tables.find_map(|table| self.split_of(table)).cloned()
        };
        let splits: Vec<Option<ColumnType>> = candidates.iter().map(split_behind).collect();
        let origin = |split: &Option<ColumnType>| split.as_ref().map(|split| split.origin.clone());
        let first = splits.first()?;
        if splits.iter().all(|split| origin(split) == origin(first)) {
            return Some(());
        }
        let writer = first.as_ref().and_then(|split| self.writer(split)).map(|writer| self.task(writer).node.clone());
        let splitter = writer.unwrap_or_default();
        let above = self.wiring.upstream(self.wiring.place(&splitter));
        let mut changes = instances.iter().flat_map(|instance| &instance.overrides);
        let change = changes.find(|change| self.wiring.place(&change.node).is_some_and(|place| above.contains(&place)));
        let (named, named_at) = change.map_or_else(Default::default, |change| {
            (format!("{}.{}", change.node, change.option), change.named_at.clone())
        });
        let message = format!("`{}` varies `{named}`, so each instance would part its rows anew", node.spec.id);
        let span = self.findings.spec.key_span(&node.spec.pointer(&format!("with{named_at}")));
        let split_span = self.findings.spec.span(&format!("/nodes/{splitter}/uses"));
        let diagnostic = Diagnostic::error(&codes::EXPAND_CHOICE, message)
            .label(span, "changes what the split sees")
            .label(split_span, "the rows are parted here")
            .help(format!("vary options of nodes below `{splitter}`, or put this node below it"));
        let instance = self.instance(scope).map(str::to_owned);
        self.findings.add(instance.as_deref(), diagnostic);
        None
    }

    /// Plans again what learns for the artifact, from the train and the validation rows: once what no instance changes,
    /// and for each instance the rest. Gives the scopes of the instances and their artifacts.
    fn refit(
        &mut self,
        site: &Site<'w, 's>,
        (instances, trials): (&[Instance], &[usize]),
        choice: Choice,
    ) -> Option<(Vec<usize>, Vec<OutputRef>)> {
        let wiring = self.wiring;
        let port = site.node.ports.iter().find(|port| port.port.name == choice.port)?;
        let wire = port.wires.first()?;
        let upstream = wiring.upstream([wire.node]);
        let is_expansion = |place: &&usize| {
            let bound = wiring.nodes[**place].bound.as_ref();
            bound.is_some_and(|bound| matches!(bound.node, Node::Expand(_)))
        };
        if let Some(inner) = upstream.iter().find(is_expansion) {
            self.report_inner(site, choice, &wiring.nodes[*inner]);
            return None;
        }
        let shared = Scope { learns: Learns::OnValidationToo, ..self.inner_scope(site.node, site.scope, "refit") };
        let shared = self.push_scope(shared);
        self.plan_again(&upstream, shared, |planner, place| planner.learns(place, site.scope));
        self.hand_on(shared, site.scope);
        let (mut scopes, mut candidates) = (Vec::new(), Vec::new());
        for (instance, trial) in instances.iter().zip(trials) {
            let inner = self.plan_instance(site.node, shared, instance, &upstream);
            self.hand_on(inner, *trial);
            scopes.push(inner);
            candidates.push(self.output(wire.node, wire.output?, inner)?);
            if self.is_full {
                return None;
            }
        }
        Some((scopes, candidates))
    }

    /// Gives every task of the refit `scope` that stops by validation rows what it gave in the scope `before`.
    fn hand_on(&mut self, scope: usize, before: usize) {
        let planned: Vec<(usize, TaskId)> = self.scopes[scope]
            .versions
            .iter()
            .filter_map(|(place, version)| Some((*place, version.as_ref()?.main)))
            .filter(|(_, task)| self.task(*task).kind.stops_early)
            .collect();
        for (place, task) in planned {
            if let Some(from) = self.output(place, 0, before) {
                self.tasks[task.0].artifacts.push(ArtifactInput { port: EARLIER.to_owned(), from });
            }
        }
    }

    /// Whether the node at `place`, as `scope` sees it, reads train or validation rows.
    fn learns(&self, place: usize, scope: usize) -> bool {
        let Some(version) = self.version(place, scope) else { return false };
        let tasks = version.fit.into_iter().chain([version.main]);
        let mut reads = tasks.flat_map(|task| self.task(task).reads.iter());
        reads.any(|read| matches!(read.rows, RowFilter::Part(Part::Train | Part::Validation)))
    }

    /// The tables behind the chosen artifact: those behind all of them, and where they differ, the chosen one's.
    fn chosen_tables(
        &mut self,
        site: &Site<'w, 's>,
        by: &OutputRef,
        candidates: &[OutputRef],
    ) -> Option<Vec<OutputRef>> {
        let behind: Vec<Vec<OutputRef>> =
            candidates.iter().map(|candidate| self.task(candidate.task).behind.clone()).collect();
        let count = behind.first().map_or(0, Vec::len);
        if behind.iter().any(|tables| tables.len() != count) {
            self.report_tables(site, "a different number of tables stands behind them".to_owned());
            return None;
        }
        let mut chosen = Vec::with_capacity(count);
        for place in 0..count {
            let of: Vec<OutputRef> = behind.iter().map(|tables| tables[place].clone()).collect();
            if of.iter().all(|table| *table == of[0]) {
                chosen.push(of[0].clone());
                continue;
            }
            let name_of = |node: &str| self.task_name(site.node, &format!("/rows({node})"), site.scope);
            let name = name_of(&self.task(of[0].task).node);
            let types: Vec<&TableType> = of.iter().filter_map(|table| self.table_type(table)).collect();
            let table = common_table(&types, &name, &name_of);
            let writers: Vec<String> = table.columns.iter().map(|column| last_writer(column).to_owned()).collect();
            let outputs = BTreeMap::from([("table".to_owned(), PortType::Table(Arc::new(table)))]);
            let work = Work::Choose { by: by.clone(), of };
            let task = self.push(site, name, work, Vec::new(), outputs);
            self.tasks[task.0].types = site.ports.types.clone();
            for writer in writers {
                self.by_name.entry(writer).or_insert(task);
            }
            chosen.push(OutputRef { task, port: "table".to_owned() });
        }
        Some(chosen)
    }

    /// The type of the chosen artifact: a model reads whatever one of them reads.
    fn chosen_type(&mut self, site: &Site<'w, 's>, choice: Choice, candidates: &[OutputRef]) -> Option<PortType> {
        let types: Vec<PortType> = candidates.iter().map(|candidate| self.output_type(candidate).clone()).collect();
        let first = types.first()?;
        let PortType::Model(model) = first else { return Some(first.clone()) };
        let mut common: ModelType = model.clone();
        for other in &types {
            let PortType::Model(other) = other else { continue };
            if other.prediction != common.prediction || other.target.name != common.target.name {
                let message = format!(
                    "the instances of `{}` predict different things: `{}` and `{}`",
                    site.node.spec.id, common.target.name, other.target.name
                );
                let pointer = input_pointer(site.node.spec, choice.port);
                let diagnostic = self
                    .findings
                    .error_at(&codes::EXPAND_CHOICE, message, &pointer, "not one and the same")
                    .help("vary options that leave the target and the task alone");
                self.report(site, diagnostic);
                return None;
            }
            common.may_lack_evidence |= other.may_lack_evidence;
            if other.modalities != model.modalities {
                common.modalities.clear();
            }
            common.reads.extend(other.reads.iter().filter(|name| !model.reads.contains(name)).cloned());
        }
        common.reads.sort_unstable();
        common.reads.dedup();
        if types.iter().all(|other| other == first) {
            common.clone_from(model);
        }
        Some(PortType::Model(common))
    }

    /// What an instance needs for the artifact and not for the choice takes part only if the choice falls on it.
    fn set_conditions(&mut self, by: &OutputRef, scopes: &[usize], candidates: &[OutputRef]) {
        let always = reachable(&self.tasks, &[by.task]);
        // The scopes of the instances, and of their refits if there are any.
        let instances: Vec<&str> = scopes.iter().filter_map(|scope| self.instance(*scope)).collect();
        let instances: Vec<String> = instances.into_iter().map(str::to_owned).collect();
        for (is, candidate) in candidates.iter().enumerate() {
            let own: Vec<&String> = instances.iter().skip(is).step_by(candidates.len().max(1)).collect();
            let needed: BTreeSet<TaskId> = reachable(&self.tasks, &[candidate.task]);
            for id in needed.difference(&always) {
                let task = &mut self.tasks[id.0];
                let is_own = |name: &str| own.iter().any(|instance| is_within(name, instance));
                if task.instance.as_deref().is_some_and(is_own) {
                    // Outer expansions are finished after inner ones, and their conditions come first.
                    task.conditions.insert(0, Condition { by: by.clone(), is });
                }
            }
        }
    }

    fn report_same(&mut self, site: &Site<'w, 's>, choice: Choice) {
        let reference = site.node.spec.input(choice.port).and_then(|binding| binding.references.first());
        let name = reference.map(ToString::to_string).unwrap_or_default();
        let message =
            format!("nothing that `{}` varies is above `{name}`, so there is nothing to choose", site.node.spec.id);
        let pointer = input_pointer(site.node.spec, choice.port);
        let diagnostic = self
            .findings
            .error_at(&codes::EXPAND_CHOICE, message, &pointer, "the same in every instance")
            .help(format!("name the `{}` that the scores are of", choice.port));
        self.report(site, diagnostic);
    }

    fn report_inner(&mut self, site: &Site<'w, 's>, choice: Choice, inner: &Wired<'s>) {
        let (outer, inner) = (&site.node.spec.id, &inner.spec.id);
        let message =
            format!("`{outer}` would fit `{inner}` on the validation rows, on which `{inner}` itself chooses");
        let pointer = input_pointer(site.node.spec, choice.port);
        let span = self.findings.spec.span(&format!("/nodes/{inner}/uses"));
        let diagnostic: Diagnostic = self
            .findings
            .error_at(&codes::EXPAND_CHOICE, message, &pointer, "has a choice of its own above it")
            .label(span, "chooses on validation rows")
            .help(format!("let `{outer}` take the chosen one as it is: `refit: train`"));
        self.report(site, diagnostic);
    }

    fn report_tables(&mut self, site: &Site<'w, 's>, why: String) {
        let message = format!("the instances of `{}` cannot stand for each other: {why}", site.node.spec.id);
        let pointer = site.node.spec.pointer("uses");
        let diagnostic = self
            .findings
            .error_at(&codes::EXPAND_CHOICE, message, &pointer, "nothing to choose from")
            .help("vary options that leave the tables the artifacts are fitted on alike");
        self.report(site, diagnostic);
    }
}

/// Whether the instance `inner` is `outer` or lies in it, as `trial=1,fold=2` in `trial=1`.
fn is_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
}

/// A table that any of `tables` can stand for: the columns they all have, of a type that holds them all. A size that
/// differs is known after the choice; it is a symbol. `own` is the name of the task that gives the table, `of` that of
/// one that would give the table of another node.
fn common_table(tables: &[&TableType], own: &str, of: &dyn Fn(&str) -> String) -> TableType {
    let row_sets: Vec<&str> = tables.iter().map(|table| table.row_set.0.as_str()).collect();
    let row_set = RowSet(common_history(&row_sets, own, of));
    let Some((first, others)) = tables.split_first() else { return TableType { columns: Vec::new(), row_set } };
    let mut columns = Vec::with_capacity(first.columns.len());
    'columns: for column in &first.columns {
        let mut common = column.clone();
        let mut histories = vec![column.origin.as_str()];
        for other in others {
            let Some(other) = other.column(&column.name) else { continue 'columns };
            let symbol = || Size::Symbol(format!("{} of {own}", column.name));
            let Some(logical) = common_type(&common.logical, &other.logical, &symbol) else { continue 'columns };
            if other.role != common.role {
                continue 'columns;
            }
            common.logical = logical;
            common.nullable |= other.nullable;
            common.from_target |= other.from_target;
            histories.push(&other.origin);
        }
        common.origin = common_history(&histories, own, of);
        columns.push(common);
    }
    TableType { columns, row_set }
}

/// A history that stands for all of `histories`, so that merges of chosen tables go as merges in the instances do:
/// `rows>scaled@trial=0` and `rows>scaled@trial=1` become `rows>best/rows(scaled)`.
fn common_history(histories: &[&str], own: &str, of: &dyn Fn(&str) -> String) -> String {
    let steps: Vec<Vec<&str>> = histories.iter().map(|history| history.split('>').collect()).collect();
    let shortest = steps.iter().map(Vec::len).min().unwrap_or(0);
    let mut common: Vec<String> = Vec::with_capacity(shortest + 1);
    let is_sound = (0..shortest).all(|place| {
        let first = steps[0][place];
        let node = |step: &str| step.split('@').next().unwrap_or(step).to_owned();
        if steps.iter().all(|steps| steps[place] == first) {
            common.push(first.to_owned());
        } else if steps.iter().all(|steps| node(steps[place]) == node(first)) {
            common.push(of(&node(first)));
        } else {
            return false;
        }
        true
    });
    if !is_sound || steps.iter().any(|steps| steps.len() != shortest) {
        common.push(own.to_owned());
    }
    common.join(">")
}

/// A type that holds both; nothing if they differ in more than sizes.
fn common_type(one: &LogicalType, other: &LogicalType, symbol: &dyn Fn() -> Size) -> Option<LogicalType> {
    let size = |one: &Size, other: &Size| if one == other { one.clone() } else { symbol() };
    match (one, other) {
        (LogicalType::Tokens(one), LogicalType::Tokens(other)) => Some(LogicalType::Tokens(size(one, other))),
        (LogicalType::Tensor(one), LogicalType::Tensor(other)) if one.len() == other.len() => {
            Some(LogicalType::Tensor(one.iter().zip(other).map(|(one, other)| size(one, other)).collect()))
        }
        (LogicalType::List(one), LogicalType::List(other)) => {
            Some(LogicalType::List(Box::new(common_type(one, other, symbol)?)))
        }
        _ => (one == other).then(|| one.clone()),
    }
}

#[cfg(test)]
mod tests {
    use engine_core::Role;

    use super::*;

    fn table(columns: &[(&str, &str, &str)], rows: &str) -> TableType {
        let column = |(name, logical, origin): &(&str, &str, &str)| ColumnType {
            origin: (*origin).to_owned(),
            ..ColumnType::new(*name, logical.parse().unwrap())
        };
        TableType { columns: columns.iter().map(column).collect(), row_set: RowSet(rows.to_owned()) }
    }

    #[test]
    fn a_table_that_stands_for_several_has_what_they_share() {
        let one = table(&[("x", "float", "rows>s@t=0"), ("ids", "tokens[8]", "k@t=0"), ("u", "int", "rows")], "rows");
        let mut other =
            table(&[("ids", "tokens[16]", "k@t=1"), ("x", "float", "rows>s@t=1"), ("u", "int", "rows")], "rows");
        let of = |node: &str| format!("best/rows({node})");
        let common = common_table(&[&one, &other], "best/rows(s)", &of);
        let shown: Vec<String> = common
            .columns
            .iter()
            .map(|column| format!("{} {} {}", column.name, column.logical, column.origin))
            .collect();
        assert_eq!(
            shown,
            ["x float rows>best/rows(s)", "ids tokens[|ids of best/rows(s)|] best/rows(k)", "u int rows"]
        );
        assert_eq!(common.row_set, RowSet("rows".into()));
        other.columns[1].role = Role::Key;
        other.columns.remove(0);
        other.row_set = RowSet("other".into());
        let common = common_table(&[&one, &other], "best/rows(s)", &of);
        assert_eq!(common.names().collect::<Vec<_>>(), ["u"]);
        assert_eq!(common.row_set, RowSet("best/rows(s)".into()));
    }

    #[test]
    fn histories_of_chosen_columns_go_on_from_each_other_as_those_in_the_instances_do() {
        let of = |node: &str| format!("b/rows({node})");
        let check = |histories: &[&str], expected: &str| assert_eq!(common_history(histories, "own", &of), expected);
        check(&["rows>f@t=0", "rows>f@t=1"], "rows>b/rows(f)");
        check(&["rows>f@t=0>s@t=0", "rows>f@t=1>s@t=1"], "rows>b/rows(f)>b/rows(s)");
        check(&["rows", "rows>s@t=1"], "rows>own");
        check(&["rows>one", "rows>two"], "rows>own");
        check(&["rows>s", "rows>s"], "rows>s");
    }

    #[test]
    fn instances_lie_in_one_another_by_whole_names() {
        assert!(is_within("trial=1,fold=2", "trial=1") && is_within("trial=1", "trial=1"));
        assert!(!is_within("trial=10", "trial=1") && !is_within("trial=1", "trial=1,fold=2"));
    }
}
