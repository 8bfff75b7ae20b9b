//! The serving slice: what a deployment runs between the columns a client sends and the model.
//!
//! Walked backwards, from the columns the model reads to the request's table, following only the columns that are
//! needed. What has been put together is then checked forwards: every column that is read must be the one the plan
//! says it is, written by the same node; so leaving nodes out can never change what the model sees.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use engine_core::{Role, Serving, nearest};
use engine_table::{Change, ColumnType, Node, PortType, RowFilter, ServingRequest, StepInput, TableType};
use serde_json::Value;

use super::findings::input_pointer;
use super::planner::{Planner, Site};
use crate::version::{goes_on_from, last_writer, latest, writer_of};
use crate::{OutputRef, PlannedServing, PlannedStep, Servings, Task, TaskId, TaskRead, Work, codes};

/// What becomes of a task between the request and the model.
enum Part {
    /// Its table is the request's.
    Request,
    /// It runs in the deployment; its place among the steps.
    Step(usize),
    /// It is left out: what is read of it comes from these tables.
    Through(Vec<OutputRef>),
}

impl<'w, 's> Planner<'w, 's> {
    /// The slice `request` asks for; nothing if it cannot be served, which is reported.
    pub(super) fn serving(&mut self, site: &Site<'w, 's>, request: ServingRequest) -> Option<Servings> {
        let model = self.model_of(site, &request)?;
        self.servings(site, &request, &model)
    }

    /// The slice of `model`; where it is chosen of several that are made of other steps, that of each.
    fn servings(&mut self, site: &Site<'w, 's>, request: &ServingRequest, model: &OutputRef) -> Option<Servings> {
        let task = self.task(model.task);
        if let Work::Choose { by, of } = &task.work {
            let (by, of) = (by.clone(), of.clone());
            let made_of = |model: &OutputRef| (&self.task(model.task).behind, self.output_type(model));
            if of.iter().any(|model| made_of(model) != made_of(&of[0])) {
                // Every one of them, so that each problem is found.
                let of: Vec<Option<Servings>> = of.iter().map(|model| self.servings(site, request, model)).collect();
                return Some(Servings::ByChoice { by, of: of.into_iter().collect::<Option<_>>()? });
            }
        }
        let (tables, reads) = match self.output_type(model) {
            PortType::Model(model_type) => (task.behind.clone(), model_type.reads.clone()),
            _ => return None,
        };
        self.serving_of(site, request.clone(), tables, reads).map(Servings::One)
    }

    /// The slice of a model that reads the columns `model_reads` of the merge of `model_tables`.
    fn serving_of(
        &mut self,
        site: &Site<'w, 's>,
        request: ServingRequest,
        model_tables: Vec<OutputRef>,
        model_reads: Vec<String>,
    ) -> Option<PlannedServing> {
        let request_task = self.request_task(site, &request)?;
        let request_type = self.task(request_task).table()?.clone();
        let needed = self.needed(site, &request, request_task, &model_tables, &model_reads)?;
        let columns = self.request_columns(site, &request, &request_type, &needed, request_task)?;
        let (steps, model_inputs) = self.steps(&needed, request_task, &model_tables);
        let serving = PlannedServing { request, columns, steps, model_inputs, model_reads };
        self.check_forwards(site, &serving, &model_tables)?;
        Some(serving)
    }

    /// The model that is to be served.
    fn model_of(&mut self, site: &Site<'w, 's>, request: &ServingRequest) -> Option<OutputRef> {
        let outputs = site.ports.get(&request.model).map_or(&[][..], |port| port.outputs.as_slice());
        let model = outputs.iter().find(|output| matches!(self.output_type(output), PortType::Model(_)));
        let Some(model) = model.cloned() else {
            let message = format!(
                "`{}` is to serve the model on its port `{}`, and there is none",
                site.node.spec.id, request.model
            );
            let pointer = input_pointer(site.node.spec, &request.model);
            let diagnostic = self.findings.error_at(&codes::SERVING_REQUEST, message, &pointer, "no model");
            self.report(site, diagnostic);
            return None;
        };
        Some(model)
    }

    fn request_task(&mut self, site: &Site<'w, 's>, request: &ServingRequest) -> Option<TaskId> {
        let pointer = super::leak::pointer_to_name(site.node.spec, &request.request);
        let Some(place) = self.wiring.place(&request.request) else {
            let message = format!("`request` names `{}`, which is no node", request.request);
            let ids = self.wiring.nodes.iter().map(|node| node.spec.id.as_str());
            let help = match nearest(&request.request, ids) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name a node that gives a table".to_owned(),
            };
            let diagnostic =
                self.findings.error_at(&codes::SERVING_REQUEST, message, &pointer, "no such node").help(help);
            self.report(site, diagnostic);
            return None;
        };
        // Nothing is said of a node below the sink or one that could not be typed: that is reported where it belongs.
        let version = self.version(place, site.scope).map(|version| version.main);
        let is_table = version.is_some_and(|task| self.task(task).table().is_some());
        if let (Some(task), true) = (version, is_table) {
            return Some(task);
        }
        let message = match version {
            Some(_) => format!("`request` names `{}`, which gives no table", request.request),
            None => format!("`request` names `{}`, which is not above `{}`", request.request, site.node.spec.id),
        };
        let diagnostic = self
            .findings
            .error_at(&codes::SERVING_REQUEST, message, &pointer, "nothing a client could send")
            .help("name a node above the model that gives a table");
        self.report(site, diagnostic);
        None
    }

    /// For every task of the slice, the columns needed of its table.
    fn needed(
        &mut self,
        site: &Site<'w, 's>,
        request: &ServingRequest,
        request_task: TaskId,
        model_tables: &[OutputRef],
        model_reads: &[String],
    ) -> Option<BTreeMap<TaskId, BTreeSet<String>>> {
        let mut needed: BTreeMap<TaskId, BTreeSet<String>> = BTreeMap::new();
        self.need(&mut needed, model_tables, model_reads.iter());
        let mut is_sound = true;
        // From the last task to the first: whoever needs something of a task comes after it.
        let mut below = TaskId(usize::MAX);
        while let Some((id, columns)) = needed.range(..below).next_back().map(|(id, columns)| (*id, columns.clone())) {
            below = id;
            if id == request_task {
                continue;
            }
            let task = self.task(id);
            match (&task.work, task.kind.serving) {
                (Work::Apply { change, tables, .. }, _) if is_served(task) => {
                    let (change, tables) = (change.clone(), tables.clone());
                    let above = columns_above(&change, &columns);
                    self.need(&mut needed, &tables, above.iter());
                }
                (Work::Apply { tables, .. } | Work::Whole { tables, .. }, Serving::Skip) if !tables.is_empty() => {
                    let tables = tables.clone();
                    match self.written_by(id, &columns) {
                        Some(column) => {
                            self.refuse_written(site, id, &column);
                            is_sound = false;
                        }
                        None => self.need(&mut needed, &tables, columns.iter()),
                    }
                }
                _ => {
                    self.refuse(site, request, id, &columns);
                    is_sound = false;
                }
            }
        }
        is_sound.then_some(needed)
    }

    /// Marks `columns` as needed of the table whose version of each the merge of `tables` takes.
    fn need<'c>(
        &self,
        needed: &mut BTreeMap<TaskId, BTreeSet<String>>,
        tables: &[OutputRef],
        columns: impl Iterator<Item = &'c String>,
    ) {
        for column in columns {
            let versions = tables.iter().filter_map(|table| Some((table, self.table_type(table)?.column(column)?)));
            if let Some((holder, _)) = latest(versions, |(_, version)| &version.origin) {
                needed.entry(holder.task).or_default().insert(column.clone());
            }
        }
    }

    /// A needed column that `id`, which is left out, writes or renames.
    fn written_by(&self, id: TaskId, columns: &BTreeSet<String>) -> Option<String> {
        let task = self.task(id);
        let table = task.table()?;
        columns.iter().find(|name| table.column(name).is_some_and(|column| last_writer(column) == task.name)).cloned()
    }

    fn refuse_written(&mut self, site: &Site<'w, 's>, id: TaskId, column: &str) {
        let task = self.task(id);
        let (node, kind) = (task.node.clone(), task.kind.name.clone());
        let message =
            format!("`{node}` writes `{column}`, which the model needs, and `{kind}` is left out of deployments");
        let span = self.findings.spec.span(&site.node.spec.pointer("uses"));
        let diagnostic = self
            .findings
            .error_at(&codes::SERVING_REFUSE, message, &format!("/nodes/{node}/uses"), "not run for a request")
            .label(span, "this is to be served")
            .help(format!("leave `{column}` out of the model's inputs, or let the client send it: `request: {node}`"));
        self.report(site, diagnostic);
    }

    fn refuse(&mut self, site: &Site<'w, 's>, request: &ServingRequest, id: TaskId, columns: &BTreeSet<String>) {
        let task = self.task(id);
        let (node, kind) = (task.node.clone(), task.kind.name.clone());
        let some: Vec<String> = columns.iter().take(5).map(|name| format!("`{name}`")).collect();
        let what = some.join(", ");
        let spec = self.findings.spec;
        let (message, label, ways) = match &task.work {
            Work::Source { .. } => (
                format!("the model needs {what} of `{node}`, which does not come from `{}`", request.request),
                "reads outside the graph",
                vec![format!(
                    "name a `request:` above which nothing is needed, such as the node that joins `{node}` in"
                )],
            ),
            Work::Apply { change, .. } if task.kind.serving == Serving::Same && !change.side_reads.is_empty() => (
                format!("`{node}` needs other rows beside the request's to give {what}"),
                "reads another table",
                vec![format!("let the client send what it makes: `request: {node}`")],
            ),
            Work::Apply { .. } => (
                format!("`{node}` gives {what}, which the model needs, and `{kind}` is not packed into a bundle"),
                "not run for a request",
                vec![
                    format!("let the client send what it makes: `request: {node}`"),
                    "or replace it by a kind that is served, as `fuseline kinds KIND` says".to_owned(),
                ],
            ),
            _ => (
                format!("`{node}` gives {what}, which the model needs, and `{kind}` cannot be served"),
                "needs all rows",
                vec![
                    format!("let the client send what it makes: `request: {node}`"),
                    "or replace it by a kind that works row by row, or by a lookup".to_owned(),
                ],
            ),
        };
        let mut diagnostic =
            self.findings.error_at(&codes::SERVING_REFUSE, message, &format!("/nodes/{node}/uses"), label);
        let asked = super::leak::pointer_to_name(site.node.spec, &request.request);
        diagnostic = diagnostic.label(spec.span(&asked), "the request starts here");
        for way in ways {
            diagnostic = diagnostic.help(way);
        }
        self.report(site, diagnostic);
    }

    /// The needed columns of the request's table, in its order; all must be features, or what rows are looked up by.
    fn request_columns(
        &mut self,
        site: &Site<'w, 's>,
        request: &ServingRequest,
        table: &TableType,
        needed_of_all: &BTreeMap<TaskId, BTreeSet<String>>,
        request_task: TaskId,
    ) -> Option<Vec<ColumnType>> {
        let needed = needed_of_all.get(&request_task);
        let asked = super::leak::pointer_to_name(site.node.spec, &request.request);
        let Some(needed) = needed.filter(|needed| !needed.is_empty()) else {
            let message = format!("the model reads nothing that comes from `{}`", request.request);
            let diagnostic = self
                .findings
                .error_at(&codes::SERVING_REQUEST, message, &asked, "gives the model nothing")
                .help("name a node above the model");
            self.report(site, diagnostic);
            return None;
        };
        let columns: Vec<_> = table.columns.iter().filter(|column| needed.contains(&column.name)).cloned().collect();
        let mut is_sound = true;
        for column in &columns {
            let is_sent = match column.role {
                Role::Feature => true,
                Role::Key | Role::Group | Role::Time => self.is_only_looked_up(needed_of_all, column),
                Role::Target | Role::Split | Role::Weight => false,
            };
            if is_sent {
                continue;
            }
            is_sound = false;
            let message = format!(
                "a step between `{}` and the model reads `{}`, whose role is {}: no client can send it",
                request.request, column.name, column.role
            );
            let diagnostic =
                self.findings.error_at(&codes::SERVING_ROLE, message, &asked, "the request starts here").help(format!(
                    "leave `{}` out of the inputs, give it no role, or name a `request:` further down",
                    column.name
                ));
            self.report(site, diagnostic);
        }
        is_sound.then_some(columns)
    }

    /// Whether no step computes with `column`, a column of the request: lookups find rows by it, and that is all.
    fn is_only_looked_up(&self, needed: &BTreeMap<TaskId, BTreeSet<String>>, column: &ColumnType) -> bool {
        !needed.iter().any(|(id, columns)| {
            let task = self.task(*id);
            let Work::Apply { change, tables, .. } = &task.work else { return false };
            if task.kind.serving != Serving::Same || !runs(change, columns) {
                return false;
            }
            let versions = tables.iter().filter_map(|table| self.table_type(table)?.column(&column.name));
            let is_same = latest(versions, |version| &version.origin).is_some_and(|read| read.origin == column.origin);
            let renames = change.renames.iter().any(|rename| rename.from == column.name);
            is_same && (change.reads.contains(&column.name) || renames)
        })
    }

    /// The steps in topological order and where the model's tables come from.
    fn steps(
        &self,
        needed: &BTreeMap<TaskId, BTreeSet<String>>,
        request_task: TaskId,
        model_tables: &[OutputRef],
    ) -> (Vec<PlannedStep>, Vec<StepInput>) {
        let mut parts: HashMap<TaskId, Part> = HashMap::from([(request_task, Part::Request)]);
        let mut steps = Vec::new();
        for (id, columns) in needed.range(..) {
            if *id == request_task {
                continue;
            }
            let task = self.task(*id);
            let tables: Vec<OutputRef> = task.base_tables().to_vec();
            let part = match &task.work {
                // A step that takes columns away or renames them runs even if nothing it writes is needed: left out,
                // it would let columns through that it hides.
                Work::Apply { change, .. } if is_served(task) && runs(change, columns) => {
                    let (options, frozen) = narrowed(task, change, columns);
                    let inputs = step_inputs(&parts, &tables);
                    steps.push(PlannedStep { task: *id, options, inputs, tables: frozen });
                    Part::Step(steps.len() - 1)
                }
                _ => Part::Through(tables),
            };
            parts.insert(*id, part);
        }
        let model_inputs = step_inputs(&parts, model_tables);
        (steps, model_inputs)
    }

    /// Every column a step or the model reads must be, in the slice, the one it is in the plan.
    fn check_forwards(
        &mut self,
        site: &Site<'w, 's>,
        serving: &PlannedServing,
        model_tables: &[OutputRef],
    ) -> Option<()> {
        // The history of each column of a table.
        type Histories = BTreeMap<String, String>;
        let request: Histories =
            serving.columns.iter().map(|column| (column.name.clone(), column.origin.clone())).collect();
        let mut tables: Vec<Histories> = Vec::with_capacity(serving.steps.len());
        let mut wrong: Option<(String, String)> = None;
        let merged = |tables: &[Histories], inputs: &[StepInput]| -> Result<Histories, String> {
            let mut merged = Histories::new();
            for input in inputs {
                let table = match input {
                    StepInput::Request => &request,
                    StepInput::Step(place) => &tables[*place],
                };
                for (name, history) in table {
                    match merged.get(name) {
                        Some(other) if goes_on_from(other, history) => continue,
                        Some(other) if !goes_on_from(history, other) => return Err(name.clone()),
                        _ => merged.insert(name.clone(), history.clone()),
                    };
                }
            }
            Ok(merged)
        };
        let is_other = |columns: &Histories, planned: &[OutputRef], name: &String| {
            columns.get(name).map(|history| writer_of(history)) != self.writer_in(planned, name)
        };
        for step in &serving.steps {
            let task = self.task(step.task);
            let Work::Apply { change, tables: planned, .. } = &task.work else { continue };
            let mut columns = merged(&tables, &step.inputs).unwrap_or_else(|name| {
                wrong.get_or_insert_with(|| (task.node.clone(), name));
                Histories::new()
            });
            for name in change.reads.iter().filter(|name| is_other(&columns, planned, name)) {
                wrong.get_or_insert_with(|| (task.node.clone(), name.clone()));
            }
            for drop in &change.drops {
                columns.remove(drop);
            }
            for rename in &change.renames {
                if columns.remove(&rename.from).is_some() {
                    columns.insert(rename.to.clone(), task.name.clone());
                }
            }
            for written in &change.writes {
                let before = columns.get(&written.column.name).map(|history| format!("{history}>")).unwrap_or_default();
                columns.insert(written.column.name.clone(), format!("{before}{}", task.name));
            }
            tables.push(columns);
        }
        let columns = merged(&tables, &serving.model_inputs).unwrap_or_else(|name| {
            wrong.get_or_insert_with(|| (site.node.spec.id.clone(), name));
            Histories::new()
        });
        for name in serving.model_reads.iter().filter(|name| is_other(&columns, model_tables, name)) {
            wrong.get_or_insert_with(|| (site.node.spec.id.clone(), name.clone()));
        }
        let Some((node, name)) = wrong else { return Some(()) };
        let message =
            format!("with only the steps a deployment runs, `{node}` would read another `{name}` than in training");
        let diagnostic = self
            .findings
            .error_at(&codes::SERVING_REFUSE, message, &format!("/nodes/{node}/uses"), "would read another column")
            .help(format!("give the versions of `{name}` names of their own"));
        self.report(site, diagnostic);
        None
    }

    /// Who wrote the column `name` of the merge of `tables`.
    fn writer_in(&self, tables: &[OutputRef], name: &str) -> Option<&str> {
        let versions = tables.iter().filter_map(|table| self.table_type(table)?.column(name));
        latest(versions, |column| &column.origin).map(last_writer)
    }
}

/// Whether a task runs in deployments: row by row, by itself or with whole tables that can be frozen.
fn is_served(task: &Task) -> bool {
    let Work::Apply { change, .. } = &task.work else { return false };
    match task.kind.serving {
        Serving::Same => change.side_reads.is_empty(),
        Serving::Lookup => change.side_reads.iter().all(|read| read.rows == RowFilter::All),
        Serving::Skip | Serving::Refuse => false,
    }
}

/// The options of a step and the tables it looks rows up in, with no more columns than it takes to write `needed`.
fn narrowed(task: &Task, change: &Change, needed: &BTreeSet<String>) -> (Value, Vec<TaskRead>) {
    let own = || (task.bound.key_options.clone(), task.reads.get(1..).unwrap_or(&[]).to_vec());
    if change.side_reads.is_empty() {
        return own();
    }
    let Node::RowLocal(node) = &task.bound.node else { return own() };
    let written = change.writes.iter().map(|written| &written.column.name);
    let needed: BTreeSet<String> = written.filter(|name| needed.contains(*name)).cloned().collect();
    let Some(bound) = node.narrowed(&needed).and_then(|options| task.kind.bind(&options).ok()) else { return own() };
    let Node::RowLocal(node) = &bound.node else { return own() };
    let Ok(change) = node.infer(&task.types) else { return own() };
    let tables: Option<Vec<TaskRead>> = change
        .side_reads
        .iter()
        .map(|narrow| {
            let read = task.reads.iter().skip(1).find(|read| read.port == narrow.port && read.asked == narrow.rows)?;
            Some(TaskRead { columns: narrow.columns.clone(), ..read.clone() })
        })
        .collect();
    tables.map_or_else(own, |tables| (bound.key_options, tables))
}

/// The columns needed above a step, for `columns` to be there below it.
fn columns_above(change: &Change, columns: &BTreeSet<String>) -> BTreeSet<String> {
    let is_written = |name: &String| change.writes.iter().any(|written| written.column.name == *name);
    let mut above: BTreeSet<String> = columns
        .iter()
        .filter(|name| !is_written(name))
        .map(|name| match change.renames.iter().find(|rename| rename.to == **name) {
            Some(rename) => rename.from.clone(),
            None => name.clone(),
        })
        .collect();
    if runs(change, columns) {
        above.extend(change.reads.iter().cloned());
    }
    above
}

/// Whether a step that makes `change` runs when `columns` are needed of its table.
fn runs(change: &Change, columns: &BTreeSet<String>) -> bool {
    !change.drops.is_empty()
        || !change.renames.is_empty()
        || change.writes.iter().any(|written| columns.contains(&written.column.name))
}

/// Where the merge of `tables` comes from, each place once.
fn step_inputs(parts: &HashMap<TaskId, Part>, tables: &[OutputRef]) -> Vec<StepInput> {
    let mut inputs = Vec::new();
    let mut open: Vec<&OutputRef> = tables.iter().rev().collect();
    while let Some(table) = open.pop() {
        let input = match parts.get(&table.task) {
            Some(Part::Request) => StepInput::Request,
            Some(Part::Step(place)) => StepInput::Step(*place),
            Some(Part::Through(above)) => {
                open.extend(above.iter().rev());
                continue;
            }
            // Nothing is needed of it.
            None => continue,
        };
        if !inputs.contains(&input) {
            inputs.push(input);
        }
    }
    inputs
}
