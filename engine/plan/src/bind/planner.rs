//! One node after another, in topological order: its inputs' types, what it infers from them, its tasks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use engine_core::{Diagnostic, Effect, Part};
use engine_table::{
    At, Bound, Change, ColumnType, Cpus, FetchType, FitOn, InputTypes, Node, Peek, PortType, Read, Reduction,
    RowFilter, RowSet, SinkType, TableType, WholeType, Written,
};
use serde_json::{Map, Value};

use super::findings::Findings;
use super::ports::{BoundPort, BoundPorts};
use super::wiring::{Wired, Wiring};
use crate::{ArtifactInput, OutputRef, Resources, Task, TaskId, TaskRead, Work, codes};

/// Beyond this many tasks an expansion is refused: it was not meant.
const MAX_TASKS: usize = 100_000;

/// A node as planned in some scope.
#[derive(Clone)]
pub(super) struct Version {
    /// The task that gives its outputs; of a `FitApply` node the part that applies.
    pub(super) main: TaskId,
    /// The part of a `FitApply` node that learns.
    pub(super) fit: Option<TaskId>,
    /// The options it was bound with, as in `with`.
    pub(super) with: Option<Map<String, Value>>,
}

/// Which rows stand in for the train rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Learns {
    /// The train rows.
    #[default]
    AsSplit,
    /// The train and the validation rows; so there are no validation rows.
    OnValidationToo,
}

impl Learns {
    /// The rows that are read where `asked` are asked for.
    fn rows(self, asked: RowFilter) -> RowFilter {
        match (self, asked) {
            (Learns::OnValidationToo, RowFilter::Part(Part::Train)) => RowFilter::TrainAndValidation,
            (Learns::OnValidationToo, RowFilter::Part(Part::Validation)) => RowFilter::None,
            _ => asked,
        }
    }
}

/// The graph as written, or an instance of a part of it.
#[derive(Default)]
pub(super) struct Scope {
    /// The scope whose nodes are used where this one has none of its own.
    pub(super) parent: Option<usize>,
    /// The name behind `@`.
    pub(super) instance: Option<String>,
    /// Nodes with other options than as written, and these options.
    pub(super) overrides: HashMap<usize, Map<String, Value>>,
    /// For such a node the options that differ, as pointers below `with`, and where in the text their values stand.
    pub(super) written: HashMap<usize, Vec<(String, String)>>,
    /// What differs here and in the scopes around, by `node.option`.
    pub(super) differs: BTreeMap<String, Value>,
    /// Which rows stand in for the train rows.
    pub(super) learns: Learns,
    /// The nodes planned in this scope; nothing for one that cannot be typed.
    pub(super) versions: HashMap<usize, Option<Version>>,
}

/// The scope of the graph as written.
pub(super) const ROOT: usize = 0;

/// Lays out tasks.
pub(super) struct Planner<'w, 's> {
    pub(super) wiring: &'w Wiring<'s>,
    pub(super) findings: Findings<'s>,
    pub(super) tasks: Vec<Task>,
    pub(super) by_name: HashMap<String, TaskId>,
    pub(super) scopes: Vec<Scope>,
    /// The names of all instances so far.
    pub(super) instances: HashSet<String>,
    has_absent: bool,
    pub(super) is_full: bool,
}

/// A node under way: everything its planning speaks about.
pub(super) struct Site<'w, 's> {
    pub(super) node: &'w Wired<'s>,
    pub(super) scope: usize,
    /// `node@fold=2`.
    pub(super) name: String,
    pub(super) bound: Bound,
    pub(super) ports: BoundPorts,
}

impl<'w, 's> Planner<'w, 's> {
    pub(super) fn new(wiring: &'w Wiring<'s>, findings: Findings<'s>) -> Planner<'w, 's> {
        Planner {
            wiring,
            findings,
            tasks: Vec::with_capacity(wiring.nodes.len()),
            by_name: HashMap::with_capacity(wiring.nodes.len()),
            scopes: vec![Scope::default()],
            instances: HashSet::new(),
            has_absent: false,
            is_full: false,
        }
    }

    /// Plans every node that lies below no circle.
    pub(super) fn plan_all(&mut self) {
        let wiring = self.wiring;
        for place in &wiring.order {
            self.plan_node(*place, ROOT);
        }
    }

    /// The tasks, whether a source is absent, and all that was found.
    pub(super) fn finish(mut self) -> (Vec<Task>, bool, Vec<Diagnostic>) {
        if !self.has_absent && !self.findings.has_errors() {
            self.report_unplanned();
        }
        if self.has_absent || self.findings.has_errors() {
            return (Vec::new(), self.has_absent, self.findings.into_sorted());
        }
        let ends = self.ends();
        (super::prune::needed(self.tasks, &ends), false, self.findings.into_sorted())
    }

    /// The tasks of the graph as written that run whether anything needs them or not: all but those of nodes that
    /// are there only to be tried with other options.
    fn ends(&self) -> Vec<TaskId> {
        let patterns = self.wiring.patterns();
        let versions = self.scopes[ROOT].versions.iter().filter(|(place, _)| !patterns[**place]);
        let mut ends: Vec<TaskId> = versions
            .filter_map(|(_, version)| version.as_ref())
            .flat_map(|v| v.fit.into_iter().chain([v.main]))
            .collect();
        ends.sort_unstable();
        ends
    }

    /// A kind that is bound and gives neither types nor a problem breaks its contract: better said than left out.
    fn report_unplanned(&mut self) {
        let wiring = self.wiring;
        for (place, node) in wiring.nodes.iter().enumerate() {
            if self.version(place, ROOT).is_none() {
                let message = format!("the kind `{}` does not say what `{}` works on", node.kind.name, node.spec.id);
                let pointer = node.spec.pointer("uses");
                let diagnostic =
                    self.findings.error_at(&engine_table::OPTION_INVALID, message, &pointer, "cannot be planned");
                self.findings.add(None, diagnostic);
            }
        }
    }

    /// The node at `place` as `scope` sees it.
    pub(super) fn version(&self, place: usize, scope: usize) -> Option<&Version> {
        let mut at = Some(scope);
        while let Some(scope) = at {
            if let Some(version) = self.scopes[scope].versions.get(&place) {
                return version.as_ref();
            }
            at = self.scopes[scope].parent;
        }
        None
    }

    /// The name of the instance `scope` is, if it is one.
    pub(super) fn instance(&self, scope: usize) -> Option<&str> {
        self.scopes[scope].instance.as_deref()
    }

    pub(super) fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id.0]
    }

    /// The type of an output of a planned task.
    pub(super) fn output_type(&self, output: &OutputRef) -> &PortType {
        self.tasks[output.task.0].outputs.get(&output.port).expect("a planned task has the outputs of its kind")
    }

    /// The type of an output that is a table.
    pub(super) fn table_type(&self, output: &OutputRef) -> Option<&TableType> {
        self.shared_table_type(output).map(Arc::as_ref)
    }

    /// As [`Planner::table_type`], for whoever keeps it.
    pub(super) fn shared_table_type(&self, output: &OutputRef) -> Option<&Arc<TableType>> {
        match self.output_type(output) {
            PortType::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The output with the place `output` of the node at `place`, as `scope` sees it.
    pub(super) fn output(&self, place: usize, output: usize, scope: usize) -> Option<OutputRef> {
        let version = self.version(place, scope)?;
        let port = self.wiring.nodes[place].kind.outputs[output].name.clone();
        let task = match version.fit {
            Some(fit) if self.task(fit).outputs.contains_key(&port) => fit,
            _ => version.main,
        };
        Some(OutputRef { task, port })
    }

    /// Plans the node at `place` in `scope`: leaves its version there, nothing if it cannot be typed.
    pub(super) fn plan_node(&mut self, place: usize, scope: usize) {
        let version = self.version_of(place, scope);
        self.scopes[scope].versions.insert(place, version);
    }

    fn version_of(&mut self, place: usize, scope: usize) -> Option<Version> {
        let wiring = self.wiring;
        let node = &wiring.nodes[place];
        if self.tasks.len() >= MAX_TASKS {
            self.report_full(node);
            return None;
        }
        let with = self.scopes[scope].overrides.get(&place).cloned();
        let (bound, with) = match with {
            None => match self.version(place, scope).and_then(|version| version.with.clone()) {
                // An instance of an instance: the options of the outer one.
                Some(with) => (self.rebind(place, scope, &with)?, Some(with)),
                None => (node.bound.clone()?, None),
            },
            Some(with) => (self.rebind(place, scope, &with)?, Some(with)),
        };
        let name = self.task_name(node, "", scope);
        let expanded = match &bound.node {
            Node::Expand(expand) => {
                let expand = expand.clone();
                if let Some(choice) = expand.choice() {
                    let (main, decides) = self.lay_out_choice(place, scope, bound, &*expand, choice)?;
                    return Some(Version { main, fit: Some(decides), with });
                }
                self.expand(place, scope, &*expand)?.ports
            }
            _ => BTreeMap::new(),
        };
        let ports = self.bound_ports(node, scope, expanded, None)?;
        let site = Site { node, scope, name, bound, ports };
        let (main, fit) = self.lay_out(&site)?;
        if let Some(fit) = fit {
            self.tasks[fit.0].types = site.ports.types.clone();
        }
        self.tasks[main.0].types = site.ports.types;
        Some(Version { main, fit, with })
    }

    /// The name of a task of `node`: `node`, `node/fit@fold=2`.
    pub(super) fn task_name(&self, node: &Wired<'s>, part: &str, scope: usize) -> String {
        match self.instance(scope) {
            Some(instance) => format!("{}{part}@{instance}", node.spec.id),
            None => format!("{}{part}", node.spec.id),
        }
    }

    fn rebind(&mut self, place: usize, scope: usize, with: &Map<String, Value>) -> Option<Bound> {
        let wiring = self.wiring;
        let node = &wiring.nodes[place];
        let problems = match node.kind.bind(with) {
            Ok(bound) => return Some(bound),
            Err(problems) => problems,
        };
        let instance = self.instance(scope).map(str::to_owned);
        for problem in problems {
            // What an instance's value does not fit stands where the value does.
            let value = match &problem.at {
                At::Option(option) => self.value_of(place, scope, option),
                _ => self.scopes[scope].written.get(&place).and_then(|written| written.first()),
            };
            match value.map(|(_, pointer)| pointer.clone()) {
                Some(pointer) => self.findings.problem_at(instance.as_deref(), &pointer, problem),
                None => self.findings.problem(instance.as_deref(), node.spec, problem),
            }
        }
        None
    }

    /// The option of the node at `place` that the instance `scope` sets, of which `option` is a part or which is a part
    /// of it, and where its value stands.
    fn value_of(&self, place: usize, scope: usize, option: &str) -> Option<&(String, String)> {
        let written = self.scopes[scope].written.get(&place)?;
        written.iter().find(|(of, _)| option.starts_with(of) || of.starts_with(option))
    }

    fn report_full(&mut self, node: &Wired<'s>) {
        if !std::mem::replace(&mut self.is_full, true) {
            let message = format!("the pipeline has more than {MAX_TASKS} tasks");
            let diagnostic = self
                .findings
                .error_at(&codes::EXPAND_INSTANCES, message, &node.spec.pointer("uses"), "reached here")
                .help("use fewer folds or trials, or do not put one expansion below another");
            self.findings.add(None, diagnostic);
        }
    }

    /// The node's tasks; nothing if its kind found something wrong.
    fn lay_out(&mut self, site: &Site<'w, 's>) -> Option<(TaskId, Option<TaskId>)> {
        match &site.bound.node {
            Node::Source(source) => {
                let columns = match self.inferred(site, source.peek())? {
                    Peek::Columns(columns) => columns,
                    Peek::Absent(why) => {
                        self.report_absent(site, &why);
                        return None;
                    }
                };
                Some((self.lay_out_source(site, columns)?, None))
            }
            Node::Fetch(kind) => match self.inferred(site, kind.infer(&site.ports.types))? {
                FetchType::Folder(columns) => Some((self.lay_out_source(site, columns)?, None)),
                FetchType::Rows(change) => Some((self.lay_out_apply(site, change, None)?, None)),
            },
            Node::RowLocal(kind) => {
                let change = self.inferred(site, kind.infer(&site.ports.types))?;
                let main = self.lay_out_apply(site, change, None)?;
                Some((main, None))
            }
            Node::FitApply(kind) => {
                let change = self.inferred(site, kind.infer(site.ports.base_type()))?;
                let fit = self.lay_out_fit(site, &change)?;
                let main =
                    self.lay_out_apply(site, change, Some(OutputRef { task: fit, port: "fitted".to_owned() }))?;
                Some((main, Some(fit)))
            }
            Node::Whole(kind) => {
                let whole = self.inferred(site, kind.infer(&site.ports.types))?;
                Some((self.lay_out_whole(site, whole)?, None))
            }
            Node::Reduce(kind) => {
                let reduction = self.inferred(site, kind.infer(&site.ports.types))?;
                Some((self.lay_out_reduction(site, reduction, Work::Reduce)?, None))
            }
            Node::Expand(kind) => {
                let reduction = self.inferred(site, engine_table::Reduce::infer(&**kind, &site.ports.types))?;
                Some((self.lay_out_reduction(site, reduction, Work::Reduce)?, None))
            }
            Node::Encoder(kind) => {
                let mut encoder = self.inferred(site, kind.infer(site.ports.base_type()))?;
                encoder.node = site.node.spec.id.clone();
                let base = site.ports.base()?;
                self.check_inputs(site, base.table.as_deref(), &encoder.reads, "the encoder")?;
                let port = site.node.kind.outputs.first()?.name.clone();
                let outputs = BTreeMap::from([(port, PortType::Encoder(encoder))]);
                let main = self.push(site, site.name.clone(), Work::Encoder, Vec::new(), outputs);
                self.tasks[main.0].behind = base.tables.clone();
                Some((main, None))
            }
            Node::Sink(kind) => {
                let SinkType { reduction, serving } = self.inferred(site, kind.infer(&site.ports.types))?;
                let serving = match serving {
                    Some(request) => Some(self.serving(site, request)?),
                    None => None,
                };
                Some((self.lay_out_reduction(site, reduction, Work::Sink { serving })?, None))
            }
        }
    }

    pub(super) fn inferred<T>(
        &mut self,
        site: &Site<'w, 's>,
        result: Result<T, Vec<engine_table::Problem>>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problems) => {
                let instance = self.instance(site.scope).map(str::to_owned);
                let place = self.wiring.place(&site.node.spec.id);
                for problem in problems {
                    let value = match (&problem.at, place) {
                        (At::Option(option), Some(place)) => self.value_of(place, site.scope, option),
                        _ => None,
                    };
                    match value.map(|(_, pointer)| pointer.clone()) {
                        Some(pointer) => self.findings.problem_at(instance.as_deref(), &pointer, problem),
                        None => self.findings.problem(instance.as_deref(), site.node.spec, problem),
                    }
                }
                None
            }
        }
    }

    fn report_absent(&mut self, site: &Site<'w, 's>, why: &str) {
        self.has_absent = true;
        let spec = self.findings.spec;
        let note = Diagnostic::note(
            &codes::SOURCE_ABSENT,
            format!("the columns of `{}` are unknown: {why}", site.node.spec.id),
        );
        let note = spec
            .point(note, &site.node.spec.pointer("with"), "not there")
            .help("columns below it are not checked; put the data in place, or pin `schema:`");
        self.findings.add(None, note);
    }

    /// Adds a diagnostic found at `site`.
    pub(super) fn report(&mut self, site: &Site<'w, 's>, diagnostic: Diagnostic) {
        let instance = self.instance(site.scope).map(str::to_owned);
        self.findings.add(instance.as_deref(), diagnostic);
    }

    /// New rows from outside the graph.
    fn lay_out_source(&mut self, site: &Site<'w, 's>, columns: Vec<ColumnType>) -> Option<TaskId> {
        let columns: Vec<ColumnType> = columns
            .into_iter()
            .map(|column| ColumnType { origin: site.name.clone(), from_target: false, ..column })
            .collect();
        let table = TableType { columns: columns.clone(), row_set: RowSet(site.name.clone()) };
        let table = self.unique(site, table)?;
        Some(self.push_table(site, Work::Source { columns }, Vec::new(), table))
    }

    fn lay_out_fit(&mut self, site: &Site<'w, 's>, change: &Change) -> Option<TaskId> {
        let base = site.ports.base()?;
        let asked = RowFilter::Part(Part::Train);
        let read = Read { port: base.name.clone(), rows: asked, columns: change.fit_reads.clone() };
        let reads = self.task_reads(site, &[read])?;
        let outputs: BTreeMap<String, PortType> = BTreeMap::from([("fitted".to_owned(), PortType::Fitted)]);
        let name = self.task_name(site.node, "/fit", site.scope);
        let tables = base.outputs.clone();
        let fit = self.push(site, name, Work::Fit { change: change.clone() }, reads, outputs);
        self.tasks[fit.0].behind = tables;
        Some(fit)
    }

    fn lay_out_apply(&mut self, site: &Site<'w, 's>, change: Change, fitted: Option<OutputRef>) -> Option<TaskId> {
        let base = site.ports.base()?;
        let base_type = base.table.as_deref()?;
        let mut asked = Vec::with_capacity(1 + change.side_reads.len());
        asked.push(Read { port: base.name.clone(), rows: RowFilter::All, columns: change.reads.clone() });
        asked.extend(change.side_reads.iter().cloned());
        let reads = self.task_reads(site, &asked)?;
        let mut table = change.output(base_type, &site.name);
        for column in &mut table.columns {
            // A renamed column is another column: it must not merge with a namesake of the same history.
            if change.renames.iter().any(|rename| rename.to == column.name) {
                column.origin.clone_from(&site.name);
            }
        }
        self.taint_from_side(site, &change.writes, &mut table);
        if !change.renames.is_empty() {
            table = self.unique(site, table)?;
        }
        let tables = base.outputs.clone();
        Some(self.push_table(site, Work::Apply { change, tables, fitted }, reads, table))
    }

    fn lay_out_whole(&mut self, site: &Site<'w, 's>, whole: WholeType) -> Option<TaskId> {
        let reads = self.task_reads(site, whole.reads())?;
        self.check_whole(site, &whole, &reads)?;
        let mut table = whole.output(site.ports.base_type(), &site.name);
        let (writes, tables) = match &whole {
            WholeType::Select { writes, .. } => (writes, site.ports.base()?.outputs.clone()),
            WholeType::New { writes, .. } => (writes, Vec::new()),
        };
        self.taint_from_side(site, writes, &mut table);
        let table = self.unique(site, table)?;
        Some(self.push_table(site, Work::Whole { whole, tables }, reads, table))
    }

    pub(super) fn lay_out_reduction(
        &mut self,
        site: &Site<'w, 's>,
        reduction: Reduction,
        work: Work,
    ) -> Option<TaskId> {
        let reads = self.task_reads(site, &reduction.reads)?;
        let mut is_sound = true;
        for output in reduction.outputs.values() {
            let PortType::Model(model) = output else { continue };
            let port = reads.first().map(|read| read.port.as_str());
            let table = port.and_then(|port| site.ports.get(port)).and_then(|port| port.table.clone());
            is_sound &= self.check_inputs(site, table.as_deref(), &model.reads, "the model").is_some();
        }
        if !is_sound {
            return None;
        }
        // The tables of the first port it reads, else of the first port that has any: what "the table its trainer
        // read" means for whoever takes the artifact.
        let tables = match reads.first() {
            Some(read) => read.tables.clone(),
            None => {
                let port = site.ports.list.iter().find(|port| !port.tables.is_empty());
                port.map(|port| port.tables.clone()).unwrap_or_default()
            }
        };
        let main = self.push(site, site.name.clone(), work, reads, reduction.outputs);
        self.tasks[main.0].behind = tables;
        Some(main)
    }

    /// Columns computed from a tainted column of another port than the first table's are tainted too.
    fn taint_from_side(&self, site: &Site<'w, 's>, writes: &[Written], table: &mut TableType) {
        let Some(base) = site.ports.base() else { return };
        let side: Vec<&TableType> = site
            .ports
            .list
            .iter()
            .filter(|port| port.name != base.name)
            .filter_map(|port| port.table.as_deref())
            .collect();
        if side.is_empty() {
            return;
        }
        for written in writes {
            let is_tainted = written.from.iter().any(|name| side.iter().any(|table| leak_of(table, name)));
            if let (true, Some(column)) =
                (is_tainted, table.columns.iter_mut().find(|column| column.name == written.column.name))
            {
                column.from_target = true;
            }
        }
    }

    /// `table`, if its columns have names of their own.
    fn unique(&mut self, site: &Site<'w, 's>, table: TableType) -> Option<TableType> {
        let mut seen = HashSet::with_capacity(table.columns.len());
        let Some(twice) = table.columns.iter().find(|column| !seen.insert(column.name.as_str())) else {
            return Some(table);
        };
        let message = format!("`{}` would give two columns called `{}`", site.node.spec.id, twice.name);
        let pointer = super::leak::pointer_to_name(site.node.spec, &twice.name);
        let diagnostic = self
            .findings
            .error_at(&codes::COLUMN_TWICE, message, &pointer, "the second of this name")
            .help("give one of them another name, or leave one out");
        self.report(site, diagnostic);
        None
    }

    /// What is read of each port, with `fit_on: all` applied and the split column found.
    fn task_reads(&mut self, site: &Site<'w, 's>, reads: &[Read]) -> Option<Vec<TaskRead>> {
        let mut resolved = Vec::with_capacity(reads.len());
        let mut is_sound = true;
        for read in reads {
            let Some(port) = site.ports.get(&read.port) else {
                let message = format!("`{}` reads the port `{}`, which has no rows", site.node.kind.name, read.port);
                let pointer = super::findings::input_pointer(site.node.spec, &read.port);
                let diagnostic = self.findings.error_at(&codes::PORT_KIND, message, &pointer, "has no rows behind it");
                self.report(site, diagnostic);
                is_sound = false;
                continue;
            };
            let Some(table) = &port.table else { continue };
            if let Some(missing) = read.columns.iter().find(|name| table.column(name).is_none()) {
                let message =
                    format!("`{}` reads the column `{missing}`, which its input does not have", site.node.kind.name);
                let pointer = super::leak::pointer_to_name(site.node.spec, missing);
                let diagnostic =
                    self.findings.error_at(&engine_table::COLUMN_UNKNOWN, message, &pointer, "no such column");
                self.report(site, diagnostic);
                is_sound = false;
                continue;
            }
            let takes_all = site.node.kind.effect == Effect::Fit && site.bound.fit_on == FitOn::All;
            let asked = if takes_all { RowFilter::All } else { read.rows };
            let split = match asked {
                RowFilter::Part(part) => match self.split_of(table) {
                    Some(split) => Some(split.name.clone()),
                    None => {
                        let table = table.clone();
                        self.report_no_split(site, part, &table);
                        is_sound = false;
                        continue;
                    }
                },
                _ => None,
            };
            let rows = self.scopes[site.scope].learns.rows(asked);
            resolved.push(TaskRead {
                port: read.port.clone(),
                tables: port.tables.clone(),
                rows,
                asked: read.rows,
                split,
                columns: read.columns.clone(),
            });
        }
        is_sound.then_some(resolved)
    }

    fn push_table(&mut self, site: &Site<'w, 's>, work: Work, reads: Vec<TaskRead>, table: TableType) -> TaskId {
        let port = site.node.kind.outputs.first().map_or_else(|| "table".to_owned(), |output| output.name.clone());
        self.push(site, site.name.clone(), work, reads, BTreeMap::from([(port, PortType::Table(Arc::new(table)))]))
    }

    pub(super) fn push(
        &mut self,
        site: &Site<'w, 's>,
        name: String,
        work: Work,
        reads: Vec<TaskRead>,
        outputs: BTreeMap<String, PortType>,
    ) -> TaskId {
        let id = TaskId(self.tasks.len());
        let spec = site.node.spec;
        let mut secrets: Vec<String> = spec.secrets.iter().map(|secret| secret.name.clone()).collect();
        secrets.sort_unstable();
        secrets.dedup();
        let cpus = spec.resources.cpus.and_then(|cpus| usize::try_from(cpus).ok());
        let own_cpus = match site.node.kind.cpus {
            Cpus::One => Some(1),
            Cpus::All => None,
        };
        // The fit of a node takes no artifacts: the trait gives it rows only. What is chosen from stands in the choice.
        let takes_none = matches!(work, Work::Fit { .. } | Work::Choose { .. });
        let artifacts = if takes_none { Vec::new() } else { site.ports.artifacts() };
        self.by_name.insert(name.clone(), id);
        self.tasks.push(Task {
            id,
            name,
            node: spec.id.clone(),
            instance: self.instance(site.scope).map(str::to_owned),
            overrides: self.scopes[site.scope].differs.clone(),
            conditions: Vec::new(),
            kind: site.node.kind.clone(),
            bound: site.bound.clone(),
            work,
            reads,
            artifacts,
            // Set when the node is laid out: tables are wide, and nobody asks before.
            types: InputTypes::default(),
            behind: Vec::new(),
            outputs,
            secrets,
            resources: Resources {
                cpus: cpus.or(own_cpus),
                memory: spec.resources.memory_bytes.unwrap_or(0),
                gpus: spec.resources.gpus.and_then(|gpus| usize::try_from(gpus).ok()).unwrap_or(0),
            },
            retries: spec.retries,
            timeout: spec.timeout,
            cached: spec.caching == engine_spec::Caching::On,
        });
        id
    }
}

/// Whether the column `name` of `table` is the target or computed from it.
pub(super) fn leak_of(table: &TableType, name: &str) -> bool {
    table.column(name).is_some_and(|column| column.from_target || column.role == engine_core::Role::Target)
}

impl BoundPorts {
    fn artifacts(&self) -> Vec<ArtifactInput> {
        let inputs = self.list.iter().filter(|port| !port.is_table()).flat_map(|port: &BoundPort| {
            port.outputs.iter().map(|from| ArtifactInput { port: port.name.clone(), from: from.clone() })
        });
        inputs.collect()
    }

    /// The type of the first table port's rows; empty for a node without one.
    fn base_type(&self) -> &TableType {
        static NONE: std::sync::OnceLock<TableType> = std::sync::OnceLock::new();
        let none = || NONE.get_or_init(|| TableType { columns: Vec::new(), row_set: RowSet(String::new()) });
        self.base().and_then(|port| port.table.as_deref()).unwrap_or_else(none)
    }

    /// The types of every port.
    pub(super) fn types_of(list: &[BoundPort], artifacts: Vec<Vec<PortType>>) -> InputTypes {
        let ports = list.iter().zip(artifacts).map(|(port, artifacts)| {
            (port.name.clone(), engine_table::PortTypes { artifacts, table: port.table.clone() })
        });
        InputTypes(ports.collect())
    }
}
