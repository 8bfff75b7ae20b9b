//! What a run would do, and why, before it does it.
//!
//! Walks the tasks with [`fingerprint`] and [`compose`], as the run will. Promises (tested by random edits): no task is
//! a hit if something it needs is not; every task that `run`s executes when the pipeline runs next, no `hit` does, and
//! everything that executes was `run` or `may run`. Reads no rows but those it must digest by part, once.

mod reason;
mod selection;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use engine_core::{ArtifactKind, Digest};
use engine_store::{FilePlace, Fingerprint, Record, RecordOutput, Store};
use engine_table::Node;
use serde::Serialize;
use serde_json::Value;

use crate::listing::{ColumnListing, ReadListing, gives_of, reads_of, writes_of};
use crate::{Environment, OutputRef, Outputs, Plan, ResolveError, Task, TaskId, compose, fingerprint, takes_part};

pub use reason::{Reason, what_changed};
pub use selection::{Selected, Selection};

/// What will become of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// Its result is in the store.
    Hit,
    /// It will run.
    Run,
    /// It will run if what it waits for comes out differently.
    MayRun,
}

impl Outlook {
    /// The words used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Outlook::Hit => "hit",
            Outlook::Run => "run",
            Outlook::MayRun => "may run",
        }
    }
}

/// A task and what will become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewTask {
    /// Its place in the plan.
    #[serde(skip)]
    pub id: TaskId,
    /// Its name: `impute/fit`, `model@fold=2`.
    pub task: String,
    /// Its node.
    pub node: String,
    /// The instance, as in `fold=2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What differs in the instance, by `node.option`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, Value>,
    /// Its kind.
    pub kind: String,
    /// What will become of it.
    pub outlook: Outlook,
    /// Why; empty for a hit.
    pub reasons: Vec<Reason>,
    /// Its key, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// The rows it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<ReadListing>,
    /// The columns it writes, or those of the table it makes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<ColumnListing>,
    /// Its outputs beyond tables, by port.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gives: BTreeMap<String, ArtifactKind>,
}

/// What a run would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The pipeline's name.
    pub pipeline: String,
    /// How many tasks are hits.
    pub hits: usize,
    /// How many will run.
    pub runs: usize,
    /// How many may run.
    pub may_runs: usize,
    /// The tasks, in topological order; those that take no part, because they were not selected or another instance was
    /// chosen, are left out.
    pub tasks: Vec<PreviewTask>,
}

impl Preview {
    /// Whether every result is there.
    pub fn is_nothing_to_do(&self) -> bool {
        self.runs + self.may_runs == 0
    }

    /// The exit code of `fuseline plan`: 0 if there is nothing to do, 2 if there is.
    pub fn exit_code(&self) -> u8 {
        if self.is_nothing_to_do() { 0 } else { 2 }
    }

    /// The task with this id, if it takes part.
    pub fn task(&self, id: TaskId) -> Option<&PreviewTask> {
        self.tasks.binary_search_by_key(&id, |task| task.id).ok().map(|place| &self.tasks[place])
    }
}

/// What a run of `plan` would do with what `store` holds now.
///
/// # Errors
/// If a file cannot be read, a selected node is not there, or the store fails.
pub fn preview(
    plan: &Plan,
    store: &Store,
    environment: &Environment,
    selection: &Selection,
) -> Result<Preview, ResolveError> {
    let Selected { included, forced } = selection.resolve(plan)?;
    let mut walk = Walk { plan, store, environment, outputs: Outputs::default(), outlooks: HashMap::new() };
    let mut tasks = Vec::with_capacity(plan.tasks.len());
    for task in plan.tasks.iter().filter(|task| included[task.id.0]) {
        let part = takes_part(task, &walk.outputs, store)?;
        if part == Some(false) {
            // Nobody waits for it, and nothing is known of it.
            walk.outlooks.insert(task.id, Outlook::Hit);
            continue;
        }
        let (outlook, reasons, key) = match part {
            // It is not known before the choice is, whatever else is.
            None => (Outlook::MayRun, walk.waits(task), None),
            _ => walk.look(task, forced[task.id.0])?,
        };
        walk.outlooks.insert(task.id, outlook);
        tasks.push(PreviewTask {
            id: task.id,
            task: task.name.clone(),
            node: task.node.clone(),
            instance: task.instance.clone(),
            overrides: task.overrides.clone(),
            kind: task.kind.name.clone(),
            outlook,
            reasons,
            key,
            reads: reads_of(plan, task),
            writes: writes_of(task),
            gives: gives_of(task),
        });
    }
    let count = |outlook| tasks.iter().filter(|task: &&PreviewTask| task.outlook == outlook).count();
    Ok(Preview {
        pipeline: plan.pipeline.clone(),
        hits: count(Outlook::Hit),
        runs: count(Outlook::Run),
        may_runs: count(Outlook::MayRun),
        tasks,
    })
}

struct Walk<'a> {
    plan: &'a Plan,
    store: &'a Store,
    environment: &'a Environment,
    /// What is known: outputs of hits.
    outputs: Outputs,
    outlooks: HashMap<TaskId, Outlook>,
}

type Look = (Outlook, Vec<Reason>, Option<Digest>);

impl Walk<'_> {
    fn look(&mut self, task: &Task, forced: bool) -> Result<Look, ResolveError> {
        // A source's file that is not there is an error whatever is stored, as it is in the run.
        let waits = self.waits(task);
        if forced {
            return Ok((Outlook::Run, vec![Reason::Forced], None));
        }
        if !task.cached {
            return Ok((Outlook::Run, vec![Reason::CacheOff], None));
        }
        if !waits.is_empty() {
            return Ok((Outlook::MayRun, waits, None));
        }
        let Some(fingerprint) = fingerprint(self.plan, task, &self.outputs, self.store, self.environment)? else {
            // A hit whose rows are not gathered yet: which it is, is in the needs.
            let waits = self.unknown(task);
            return Ok((Outlook::MayRun, waits, None));
        };
        let key = Some(fingerprint.key);
        let Some(record) = self.store.record(&fingerprint.key)? else {
            return Ok((Outlook::Run, self.reasons(task, &fingerprint)?, key));
        };
        if !self.store.verify_outputs(&record) {
            return Ok((Outlook::Run, vec![Reason::Incomplete], key));
        }
        if let Some(path) = spoilt_destination(task, &record)? {
            return Ok((Outlook::Run, vec![Reason::Destination { path }], key));
        }
        if let Some(outputs) = compose(task, &record, &self.outputs, self.store)? {
            self.outputs.0.extend(outputs);
        }
        Ok((Outlook::Hit, Vec::new(), key))
    }

    fn reasons(&self, task: &Task, now: &Fingerprint) -> Result<Vec<Reason>, ResolveError> {
        let last = self.store.last_fingerprint(&self.plan.pipeline, &task.name)?;
        Ok(what_changed(last.as_ref(), now))
    }

    /// Every task it needs that is no hit.
    fn waits(&self, task: &Task) -> Vec<Reason> {
        let needs = task.needs().into_iter().filter(|need| self.outlooks.get(need) != Some(&Outlook::Hit));
        needs.map(|need| Reason::Waits { task: self.plan.task(need).name.clone() }).collect()
    }

    /// Every task it needs whose result is stored and not known.
    fn unknown(&self, task: &Task) -> Vec<Reason> {
        let is_known = |need: &TaskId| {
            let task = self.plan.task(*need);
            task.outputs.keys().all(|port| self.outputs.0.contains_key(&OutputRef { task: *need, port: port.clone() }))
        };
        let needs = task.needs().into_iter().filter(|need| !is_known(need));
        needs.map(|need| Reason::Waits { task: self.plan.task(need).name.clone() }).collect()
    }
}

/// The destination of a sink, if what stands there is not what the record says.
fn spoilt_destination(task: &Task, record: &Record) -> Result<Option<String>, ResolveError> {
    let Node::Sink(sink) = &task.bound.node else { return Ok(None) };
    let Some(destination) = sink.destination() else { return Ok(None) };
    let recorded = match record.outputs.get(destination.port) {
        Some(RecordOutput::Files { files, .. }) => match files.get(destination.file) {
            Some(FilePlace::Text(text)) => Some(Digest::of(text.as_bytes())),
            Some(FilePlace::Object(digest)) => Some(*digest),
            None => None,
        },
        _ => None,
    };
    let now = destination.digest_now().map_err(|source| ResolveError::Destination {
        node: task.node.clone(),
        path: destination.path.to_owned(),
        source,
    })?;
    let stands = recorded.is_some() && now == recorded;
    Ok((!stands).then(|| destination.path.display().to_string()))
}
