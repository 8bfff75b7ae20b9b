//! The plan: every task of a pipeline, bound and typed, in topological order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_core::{Diagnostic, Seed};
use engine_table::{Bound, Change, FitOn, InputTypes, Kind, PortType, RowFilter, ServingRequest, TableType, WholeType};
use serde_json::Value;

/// The place of a task in [`Plan::tasks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub usize);

/// An output of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutputRef {
    /// The task.
    pub task: TaskId,
    /// Its output port.
    pub port: String,
}

/// Rows a task reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRead {
    /// The port they are handed over on.
    pub port: String,
    /// The tables, merged by column.
    pub tables: Vec<OutputRef>,
    /// Which rows are read; `fit_on: all` is already applied.
    pub rows: RowFilter,
    /// The rows as the kind declared them, and so the name they are handed over under: under `fit_on: all` a
    /// kind that asks for the train rows is given all rows as its train rows.
    pub asked: RowFilter,
    /// The split column that `rows` goes by; set if `rows` is a part.
    pub split: Option<String>,
    /// The columns, in order.
    pub columns: Vec<String>,
}

/// An artifact that is no table, as an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactInput {
    /// The port it is handed over on.
    pub port: String,
    /// Where it comes from.
    pub from: OutputRef,
}

/// A step of a serving slice, as the plan knows it; its place in the list is its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// The task that applies the node's row-local part; its kind goes into the bundle.
    pub task: TaskId,
    /// The options that go into the bundle: the task's own without local paths, narrowed to what is needed for a lookup.
    pub options: Value,
    /// The tables merged into its table port.
    pub inputs: Vec<engine_table::StepInput>,
    /// For a lookup: the tables of its other ports, which go into the bundle.
    pub tables: Vec<TaskRead>,
}

impl PlannedStep {
    /// Every output beside its task's tables that goes into the bundle with it.
    pub fn packed<'p>(&'p self, plan: &'p Plan) -> impl Iterator<Item = &'p OutputRef> {
        let task = plan.task(self.task);
        let fitted = match &task.work {
            Work::Apply { fitted, .. } => fitted.as_ref(),
            _ => None,
        };
        let artifacts = task.artifacts.iter().map(|input| &input.from);
        fitted.into_iter().chain(artifacts).chain(self.tables.iter().flat_map(|read| &read.tables))
    }
}

/// The serving slice of a sink, as the plan knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedServing {
    /// What the sink asked for.
    pub request: ServingRequest,
    /// The feature columns a client sends.
    pub columns: Vec<engine_table::ColumnType>,
    /// The steps in topological order.
    pub steps: Vec<PlannedStep>,
    /// The tables whose merge the model reads.
    pub model_inputs: Vec<engine_table::StepInput>,
    /// The columns the model reads.
    pub model_reads: Vec<String>,
}

/// The serving slice of a sink whose model may be one of several, made of other steps each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servings {
    /// There is one, whatever is chosen.
    One(PlannedServing),
    /// That of the chosen instance.
    ByChoice {
        /// The output that says which, as [`engine_table::Chosen`].
        by: OutputRef,
        /// One for each instance.
        of: Vec<Servings>,
    },
}

impl Servings {
    /// Every slice there may be.
    pub fn all(&self) -> Vec<&PlannedServing> {
        match self {
            Servings::One(serving) => vec![serving],
            Servings::ByChoice { of, .. } => of.iter().flat_map(Servings::all).collect(),
        }
    }

    /// The outputs that say which slice it is.
    pub fn choices(&self) -> Vec<&OutputRef> {
        match self {
            Servings::One(_) => Vec::new(),
            Servings::ByChoice { by, of } => std::iter::once(by).chain(of.iter().flat_map(Servings::choices)).collect(),
        }
    }

    /// Gives every task and output another number.
    pub(crate) fn renumber(&mut self, number: &dyn Fn(TaskId) -> TaskId) {
        match self {
            Servings::ByChoice { by, of } => {
                by.task = number(by.task);
                of.iter_mut().for_each(|of| of.renumber(number));
            }
            Servings::One(serving) => {
                for step in &mut serving.steps {
                    step.task = number(step.task);
                    let tables = step.tables.iter_mut().flat_map(|read| read.tables.iter_mut());
                    tables.for_each(|table| table.task = number(table.task));
                }
            }
        }
    }
}

/// What a task does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Reads a source into a table.
    Source {
        /// The columns it will have.
        columns: Vec<engine_table::ColumnType>,
    },
    /// Learns fitted values from train rows (`node/fit`).
    Fit {
        /// What the node does; `fit_reads` is what is read here.
        change: Change,
    },
    /// Changes columns row by row, chunk by chunk.
    Apply {
        /// What it does. The task's first read is the changed table's, with the columns of `reads`, in order; the
        /// others are its `side_reads`.
        change: Change,
        /// The tables merged into the changed table.
        tables: Vec<OutputRef>,
        /// The fitted values of a `FitApply` node.
        fitted: Option<OutputRef>,
    },
    /// Makes a table of all rows.
    Whole {
        /// What it does.
        whole: WholeType,
        /// For a selection: the tables merged into the table whose rows are selected.
        tables: Vec<OutputRef>,
    },
    /// Makes artifacts that are no tables.
    Reduce,
    /// Declares an encoder: its artifact is the type itself.
    Encoder,
    /// Gives what one of several instances gives.
    Choose {
        /// The output that says which, as [`engine_table::Chosen`].
        by: OutputRef,
        /// What it is chosen from, one for each instance.
        of: Vec<OutputRef>,
    },
    /// Writes outside the graph.
    Sink {
        /// What it wants packed.
        serving: Option<Servings>,
    },
}

/// A task that takes part only if a choice falls on its instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The output that says which instance was chosen, as [`engine_table::Chosen`].
    pub by: OutputRef,
    /// The instance this task belongs to.
    pub is: usize,
}

/// What a task is admitted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Threads; `None` is all of the run's.
    pub cpus: Option<usize>,
    /// Bytes.
    pub memory: u64,
    /// Devices.
    pub gpus: usize,
}

/// A node as planned, or one of its two parts, or an instance of it.
#[derive(Clone)]
pub struct Task {
    /// Its place in the plan.
    pub id: TaskId,
    /// `node`, `node/fit`, `node@fold=2`, `node/fit@fold=2`.
    pub name: String,
    /// The node.
    pub node: String,
    /// The instance, as in `fold=2`.
    pub instance: Option<String>,
    /// What differs in the instance, by `node.option`; empty outside instances.
    pub overrides: BTreeMap<String, Value>,
    /// The choices it takes part because of; outer ones first. It waits for them.
    pub conditions: Vec<Condition>,
    /// The node's kind.
    pub kind: Arc<Kind>,
    /// The kind with the node's options.
    pub bound: Bound,
    /// What it does.
    pub work: Work,
    /// The rows it reads: nothing else is handed over, nothing else is keyed.
    pub reads: Vec<TaskRead>,
    /// The artifacts it takes, in the order of the references.
    pub artifacts: Vec<ArtifactInput>,
    /// The types on its input ports.
    pub types: InputTypes,
    /// For an encoder the tables its columns come from, for any other artifact those its task read. Not waited for:
    /// a declaration needs types only. Whoever takes the artifact reads these tables.
    pub behind: Vec<OutputRef>,
    /// The types on its output ports.
    pub outputs: BTreeMap<String, PortType>,
    /// Declared environment names the node mentions (names of secrets are keyed, never values).
    pub secrets: Vec<String>,
    /// What it is admitted with.
    pub resources: Resources,
    /// How often it is tried again.
    pub retries: u32,
    /// When it is told to stop.
    pub timeout: Option<Duration>,
    /// Whether its result may be taken from and kept in the store.
    pub cached: bool,
}

impl Task {
    /// The tables whose merge it changes or selects from; for other work none.
    pub fn base_tables(&self) -> &[OutputRef] {
        match &self.work {
            Work::Apply { tables, .. } | Work::Whole { tables, .. } => tables,
            _ => &[],
        }
    }

    /// The type of the table it gives, if it gives one.
    pub fn table(&self) -> Option<&TableType> {
        self.outputs.values().find_map(|output| if let PortType::Table(table) = output { Some(&**table) } else { None })
    }

    /// Every task it waits for, each once, in order.
    pub fn needs(&self) -> Vec<TaskId> {
        let mut needs: Vec<TaskId> = Vec::new();
        let reads = self.reads.iter().flat_map(|read| read.tables.iter());
        let artifacts = self.artifacts.iter().map(|input| &input.from);
        let work: Vec<&OutputRef> = match &self.work {
            Work::Apply { tables, fitted, .. } => tables.iter().chain(fitted).collect(),
            Work::Whole { tables, .. } => tables.iter().collect(),
            Work::Choose { by, of } => of.iter().chain([by]).collect(),
            _ => Vec::new(),
        };
        let conditions = self.conditions.iter().map(|condition| &condition.by);
        needs.extend(reads.chain(artifacts).chain(work).chain(conditions).map(|output| output.task));
        if let Work::Sink { serving: Some(servings) } = &self.work {
            needs.extend(servings.choices().into_iter().map(|by| by.task));
            for serving in servings.all() {
                needs.extend(serving.steps.iter().map(|step| step.task));
                let frozen = serving.steps.iter().flat_map(|step| &step.tables).flat_map(|read| &read.tables);
                needs.extend(frozen.map(|table| table.task));
            }
        }
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// Gives it and every task it speaks of another number.
    pub(crate) fn renumber(&mut self, number: &dyn Fn(TaskId) -> TaskId) {
        self.id = number(self.id);
        self.references_mut().into_iter().for_each(|output| output.task = number(output.task));
        if let Work::Sink { serving: Some(servings) } = &mut self.work {
            servings.renumber(number);
        }
    }

    /// Every output it speaks of but those a sink packs.
    fn references_mut(&mut self) -> Vec<&mut OutputRef> {
        let mut references: Vec<&mut OutputRef> = Vec::new();
        references.extend(self.reads.iter_mut().flat_map(|read| read.tables.iter_mut()));
        references.extend(self.artifacts.iter_mut().map(|input| &mut input.from));
        references.extend(self.conditions.iter_mut().map(|condition| &mut condition.by));
        references.extend(self.behind.iter_mut());
        match &mut self.work {
            Work::Apply { tables, fitted, .. } => references.extend(tables.iter_mut().chain(fitted)),
            Work::Whole { tables, .. } => references.extend(tables.iter_mut()),
            Work::Choose { by, of } => references.extend(of.iter_mut().chain([by])),
            Work::Source { .. } | Work::Fit { .. } | Work::Reduce | Work::Encoder | Work::Sink { .. } => {}
        }
        references
    }

    /// Which rows its fit learns from.
    pub fn fit_on(&self) -> FitOn {
        self.bound.fit_on
    }
}

/// A pipeline bound to its kinds. Invariant: `tasks` is in topological order, every required port is bound, every
/// type is known.
#[derive(Clone)]
pub struct Plan {
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline's seed.
    pub seed: Seed,
    /// The tasks, in topological order.
    pub tasks: Vec<Task>,
    /// Warnings and notes.
    pub notes: Vec<Diagnostic>,
}

/// What became of checking a pipeline in which nothing is wrong.
#[derive(Clone)]
pub enum Checked {
    /// Every type is known: it can be planned and run.
    Complete(Plan),
    /// A source is not there and has no pinned schema, so what lies below it has no types yet. Options, ports and
    /// references are checked, columns are not.
    Untyped {
        /// Warnings and notes; one `source.absent` for every source that is not there.
        notes: Vec<Diagnostic>,
    },
}

impl Checked {
    /// Warnings and notes.
    pub fn notes(&self) -> &[Diagnostic] {
        match self {
            Checked::Complete(plan) => &plan.notes,
            Checked::Untyped { notes } => notes,
        }
    }

    /// The plan.
    ///
    /// # Errors
    /// If a source is absent: its note, as an error, and the others with it.
    pub fn complete(self) -> Result<Plan, Vec<Diagnostic>> {
        match self {
            Checked::Complete(plan) => Ok(plan),
            Checked::Untyped { mut notes } => {
                for note in notes.iter_mut().filter(|note| note.code == &crate::codes::SOURCE_ABSENT) {
                    note.severity = engine_core::Severity::Error;
                }
                Err(notes)
            }
        }
    }
}

impl Plan {
    /// The task with this id.
    pub fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id.0]
    }

    /// The main task of a node outside expansions: for a `FitApply` node the part that applies.
    pub fn main_task(&self, node: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.name == node)
    }
}
