//! One task: is its result in the store, and if not, run it and put it there.
//!
//! The fingerprint and the composition are [`engine_plan`]'s, the same functions the plan was previewed with. A task
//! that is to run claims its key first, so that of two processes with the same work one does it and the other takes
//! the result.

mod apply;
mod choose;
mod fetch;
mod fit;
mod inputs;
mod reduce;
mod sink;
mod source;
mod whole;
mod written;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine_core::{Digest, TaskStatus};
use engine_plan::{Environment, Output, OutputRef, Outputs, Plan, Reason, ResolveError, Task, Work, what_changed};
use engine_store::{Claim, Commit, FilePlace, Fingerprint, PendingCommit, Record, RecordOutput, Store};
use engine_table::{Cancel, Context, Node, NodeError, ProgressSink};

use crate::Chunking;
use crate::failure::Failure;
use crate::redaction::Redactor;
use crate::workers::catching;
use inputs::TaskInputs;
use written::Shelf;
pub(crate) use written::read_metrics;

/// How many reasons a task gives for running; the plan lists all.
const REASONS_TOLD: usize = 3;

/// What every task of a run shares.
pub(crate) struct Workshop<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) store: &'a Store,
    pub(crate) environment: &'a Environment,
    pub(crate) redactor: &'a Redactor,
    pub(crate) chunking: Chunking,
    pub(crate) secrets: Arc<BTreeMap<String, String>>,
    /// By task: whether it runs whatever is stored.
    pub(crate) forced: Vec<bool>,
    /// What ran in this run, by key: tasks of equal keys (equal folds, equal trials) share the work.
    pub(crate) ran_here: Mutex<HashMap<Digest, String>>,
}

/// What a run of a task gave, as its record will hold it.
pub(crate) struct Made {
    pub(crate) outputs: BTreeMap<String, RecordOutput>,
}

impl Made {
    fn table(port: String, output: RecordOutput) -> Made {
        Made { outputs: BTreeMap::from([(port, output)]) }
    }

    fn artifact(port: String, output: RecordOutput) -> Made {
        Made { outputs: BTreeMap::from([(port, output)]) }
    }
}

/// A task whose outputs are known.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: TaskStatus,
    pub(crate) reason: String,
    pub(crate) seconds: f64,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) outputs: Vec<(OutputRef, Output)>,
}

impl Finished {
    /// Rows of its table, if it gives one.
    pub(crate) fn rows(&self) -> Option<u64> {
        self.outputs.iter().find_map(|(_, output)| match output {
            Output::Table(table) => Some(table.rows()),
            Output::Files { .. } => None,
        })
    }
}

/// What is known of a task before it runs.
#[derive(Debug)]
pub(crate) enum Looked {
    /// Nothing is left to do.
    Done(Finished),
    /// It must run, or a value must be gathered first.
    Open,
}

/// A task that ran, whose record is on its way to the disk.
pub(crate) struct Committing {
    finished: Finished,
    pending: PendingCommit,
    /// Nobody else runs the task before its record stands.
    claim: Option<Claim>,
}

/// How a try went.
pub(crate) enum Performed {
    /// The outputs are known and kept.
    Finished(Finished),
    /// To be settled, for which no worker is needed.
    Committing(Box<Committing>),
}

/// How far a look may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Records and memos only.
    Quick,
    /// Also what takes a worker: gathering rows that a stored selection names.
    Full,
}

/// One try of a task.
pub(crate) struct Attempt {
    pub(crate) threads: usize,
    /// Cancelled by the end of the run or by `timed_out`'s timer.
    pub(crate) cancel: Cancel,
    pub(crate) timed_out: Arc<AtomicBool>,
    pub(crate) progress: Arc<dyn ProgressSink>,
}

impl Workshop<'_> {
    /// The outputs a task takes, out of all that are known.
    pub(crate) fn inputs_of(&self, task: &Task, known: &Outputs) -> Outputs {
        let reads = task.reads.iter().flat_map(|read| read.tables.iter());
        let artifacts = task.artifacts.iter().map(|input| &input.from);
        let work: Vec<&OutputRef> = match &task.work {
            Work::Apply { tables, fitted, .. } => tables.iter().chain(fitted).collect(),
            Work::Whole { tables, .. } => tables.iter().collect(),
            Work::Choose { by, of } => of.iter().chain([by]).collect(),
            Work::Sink { serving: Some(servings) } => sink::packed(self.plan, servings),
            _ => Vec::new(),
        };
        let needed = reads.chain(artifacts).chain(work);
        Outputs(needed.filter_map(|output| Some((output.clone(), known.0.get(output)?.clone()))).collect())
    }

    /// Whether the task's result is in the store already.
    pub(crate) fn look(&self, task: &Task, inputs: &Outputs, effort: Effort) -> Result<Looked, Failure> {
        if !task.cached || self.forced[task.id.0] {
            return Ok(Looked::Open);
        }
        let fingerprint = self.fingerprint(task, inputs)?;
        self.look_up(task, inputs, &fingerprint, effort)
    }

    fn look_up(
        &self,
        task: &Task,
        inputs: &Outputs,
        fingerprint: &Fingerprint,
        effort: Effort,
    ) -> Result<Looked, Failure> {
        let Some(record) = self.store.record(&fingerprint.key).map_err(ResolveError::from)? else {
            return Ok(Looked::Open);
        };
        if !self.store.verify_outputs(&record) || !self.stands_at_destination(task, &record)? {
            return Ok(Looked::Open);
        }
        let Some(outputs) = self.composed(task, &record, inputs, effort)? else { return Ok(Looked::Open) };
        let ran_here = self.ran_here.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, reason) = match ran_here.get(&fingerprint.key) {
            None => (TaskStatus::Hit, "its result was stored".to_owned()),
            Some(same) => (TaskStatus::Ran, format!("the same work as `{same}`, done once")),
        };
        Ok(Looked::Done(Finished { status, reason, seconds: 0.0, fingerprint: fingerprint.clone(), outputs }))
    }

    /// Runs the task, unless its result turns out to be stored; `started` is called right before it runs.
    pub(crate) fn perform(
        &self,
        task: &Task,
        inputs: &Outputs,
        attempt: &Attempt,
        started: impl FnOnce(),
    ) -> Result<Performed, Failure> {
        attempt.cancel.check().map_err(|error| self.failure(error, attempt))?;
        let fingerprint = self.fingerprint(task, inputs)?;
        let reuse = task.cached && !self.forced[task.id.0];
        let claim = if task.cached {
            let claim = self.store.claim(&fingerprint.key, &attempt.cancel);
            Some(claim.map_err(|error| self.failure(error.into(), attempt))?)
        } else {
            None
        };
        // Another process, or a task of equal key, may have been at it while we waited.
        if reuse && let Looked::Done(finished) = self.look_up(task, inputs, &fingerprint, Effort::Full)? {
            return Ok(Performed::Finished(finished));
        }
        if reuse && let Some(finished) = self.copied_again(task, inputs, &fingerprint, attempt)? {
            return Ok(Performed::Finished(finished));
        }
        let reason = self.why(task, &fingerprint)?;
        started();
        let begun = Instant::now();
        let made = match catching(|| self.make(task, inputs, &fingerprint, attempt)) {
            Ok(made) => made.map_err(|error| self.failure(error, attempt))?,
            Err(message) => return Err(Failure::Panicked(message)),
        };
        let seconds = begun.elapsed().as_secs_f64();
        self.check_source_stood_still(task, inputs, &fingerprint)?;

        let mut record = Record {
            kind: task.kind.name.clone(),
            fingerprint: fingerprint.clone(),
            outputs: made.outputs,
            seconds,
            rows: None,
            created_ms: now_ms(),
        };
        let outputs = self.compose(task, &record, inputs)?;
        let finished = Finished { status: TaskStatus::Ran, reason, seconds, fingerprint, outputs };
        record.rows = finished.rows();
        if !task.cached {
            self.copy_out(task, &finished.outputs).map_err(|error| self.failure(error, attempt))?;
            return Ok(Performed::Finished(finished));
        }
        // Before the record can be seen: a task of equal key that finds it must know that it is of this run.
        let mut ran_here = self.ran_here.lock().unwrap_or_else(PoisonError::into_inner);
        ran_here.insert(finished.fingerprint.key, task.name.clone());
        drop(ran_here);
        if self.forced[task.id.0] {
            self.store.replace(record).map_err(ResolveError::from)?;
            return self.kept(task, finished, attempt).map(Performed::Finished);
        }
        let pending = self.store.begin_commit(record).map_err(ResolveError::from)?;
        let committing = Committing { finished, pending, claim };
        // A sink still has a file to copy, which is a worker's work.
        if matches!(task.work, Work::Sink { .. }) {
            return self.settle(task, inputs, committing, attempt).map(Performed::Finished);
        }
        Ok(Performed::Committing(Box::new(committing)))
    }

    /// Waits until the record, or the winner's, stands.
    pub(crate) fn settle(
        &self,
        task: &Task,
        inputs: &Outputs,
        committing: Committing,
        attempt: &Attempt,
    ) -> Result<Finished, Failure> {
        let Committing { mut finished, pending, claim } = committing;
        if let Commit::Lost(winner) = pending.wait().map_err(ResolveError::from)? {
            finished.outputs = self.compose(task, &winner, inputs)?;
        }
        let kept = self.kept(task, finished, attempt);
        drop(claim);
        kept
    }

    /// The record stands.
    fn kept(&self, task: &Task, finished: Finished, attempt: &Attempt) -> Result<Finished, Failure> {
        self.copy_out(task, &finished.outputs).map_err(|error| self.failure(error, attempt))?;
        Ok(finished)
    }

    /// Why the task runs, in the words of the preview.
    fn why(&self, task: &Task, now: &Fingerprint) -> Result<String, Failure> {
        let reasons = if self.forced[task.id.0] {
            vec![Reason::Forced]
        } else if task.cached {
            let last = self.store.last_fingerprint(&self.plan.pipeline, &task.name).map_err(ResolveError::from)?;
            what_changed(last.as_ref(), now)
        } else {
            vec![Reason::CacheOff]
        };
        let told: Vec<String> = reasons.iter().take(REASONS_TOLD).map(Reason::to_string).collect();
        let more = reasons.len().saturating_sub(REASONS_TOLD);
        Ok(if more == 0 { told.join("; ") } else { format!("{}; and {more} more", told.join("; ")) })
    }

    fn fingerprint(&self, task: &Task, inputs: &Outputs) -> Result<Fingerprint, Failure> {
        let fingerprint = engine_plan::fingerprint(self.plan, task, inputs, self.store, self.environment)?;
        Ok(fingerprint.expect("a task starts after everything it needs is known"))
    }

    fn compose(&self, task: &Task, record: &Record, inputs: &Outputs) -> Result<Vec<(OutputRef, Output)>, Failure> {
        let outputs = self.composed(task, record, inputs, Effort::Full)?;
        Ok(outputs.expect("a full composition gathers what is missing"))
    }

    fn composed(
        &self,
        task: &Task,
        record: &Record,
        inputs: &Outputs,
        effort: Effort,
    ) -> Result<Option<Vec<(OutputRef, Output)>>, Failure> {
        Ok(match effort {
            Effort::Quick => engine_plan::compose(task, record, inputs, self.store)?,
            Effort::Full => Some(engine_plan::compose_and_gather(task, record, inputs, self.store)?),
        })
    }

    /// Runs the kind.
    fn make(
        &self,
        task: &Task,
        outputs: &Outputs,
        fingerprint: &Fingerprint,
        attempt: &Attempt,
    ) -> Result<Made, NodeError> {
        let inputs = TaskInputs { plan: self.plan, task, outputs, store: self.store };
        let shelf = Shelf { store: self.store, redactor: self.redactor };
        let context = Context {
            pipeline_seed: self.plan.seed,
            seed: self.plan.seed.for_task(&fingerprint.key),
            threads: attempt.threads,
            cancel: attempt.cancel.clone(),
            progress: attempt.progress.clone(),
            secrets: self.secrets_of(task),
            blobs: self.store.blobs(),
            serving: None,
        };
        match (&task.work, &task.bound.node) {
            (Work::Source { columns }, Node::Source(node)) => {
                source::run(task, &**node, columns, shelf, self.chunking, &context)
            }
            (Work::Source { .. } | Work::Apply { .. }, Node::Fetch(node)) => {
                fetch::run(&**node, &inputs, shelf, self.chunking, &context)
            }
            (Work::Fit { .. }, Node::FitApply(node)) => fit::run(&**node, &inputs, shelf, &context),
            (Work::Apply { change, tables, fitted }, _) => {
                apply::run(change, tables, fitted.as_ref(), &inputs, shelf, &context)
            }
            (Work::Whole { whole, tables }, Node::Whole(node)) => {
                whole::run(&**node, whole, tables, &inputs, shelf, self.chunking, &context)
            }
            (Work::Reduce, Node::Reduce(node)) => reduce::run(&**node, &inputs, shelf, &context),
            (Work::Reduce, Node::Expand(node)) => reduce::run(&**node, &inputs, shelf, &context),
            (Work::Choose { by, of }, _) => choose::run(by, of, &inputs),
            (Work::Encoder, _) => reduce::declare_encoder(&inputs, shelf),
            (Work::Sink { serving }, Node::Sink(node)) => {
                sink::run(&**node, serving.as_ref(), &inputs, shelf, &context)
            }
            _ => unreachable!("the plan gives every kind the work of its trait"),
        }
    }

    /// The secrets the node names, and no other.
    fn secrets_of(&self, task: &Task) -> Arc<BTreeMap<String, String>> {
        let named = task.secrets.iter().filter_map(|name| Some((name.clone(), self.secrets.get(name)?.clone())));
        Arc::new(named.collect())
    }

    /// A source that changed while it was read must not be kept under the key of what it was.
    fn check_source_stood_still(&self, task: &Task, inputs: &Outputs, before: &Fingerprint) -> Result<(), Failure> {
        let reads_files = matches!(task.work, Work::Source { .. }) || matches!(task.bound.node, Node::Fetch(_));
        if !reads_files || self.fingerprint(task, inputs)?.key == before.key {
            return Ok(());
        }
        Err(Failure::Transient(
            "what it reads was changed while it was read; run again when nobody writes to it".to_owned(),
        ))
    }

    /// Whether a sink's file stands where it belongs, as recorded; true for every other task.
    fn stands_at_destination(&self, task: &Task, record: &Record) -> Result<bool, Failure> {
        let Node::Sink(sink) = &task.bound.node else { return Ok(true) };
        let Some(destination) = sink.destination() else { return Ok(true) };
        let Some(RecordOutput::Files { files, .. }) = record.outputs.get(destination.port) else { return Ok(false) };
        let recorded = match files.get(destination.file) {
            Some(FilePlace::Text(text)) => Digest::of(text.as_bytes()),
            Some(FilePlace::Object(digest)) => *digest,
            None => return Ok(false),
        };
        let now = destination.digest_now().map_err(|source| ResolveError::Destination {
            node: task.node.clone(),
            path: destination.path.to_owned(),
            source,
        })?;
        Ok(now == Some(recorded))
    }

    /// A sink whose result is stored but no longer stands at its destination: it is copied, not made again.
    fn copied_again(
        &self,
        task: &Task,
        inputs: &Outputs,
        fingerprint: &Fingerprint,
        attempt: &Attempt,
    ) -> Result<Option<Finished>, Failure> {
        if !matches!(task.work, Work::Sink { .. }) {
            return Ok(None);
        }
        let Some(record) = self.store.record(&fingerprint.key).map_err(ResolveError::from)? else { return Ok(None) };
        if !self.store.verify_outputs(&record) {
            return Ok(None);
        }
        let begun = Instant::now();
        let outputs = self.compose(task, &record, inputs)?;
        self.copy_out(task, &outputs).map_err(|error| self.failure(error, attempt))?;
        Ok(Some(Finished {
            status: TaskStatus::Ran,
            reason: "its destination was changed or missing; copied from the store".to_owned(),
            seconds: begun.elapsed().as_secs_f64(),
            fingerprint: fingerprint.clone(),
            outputs,
        }))
    }

    fn copy_out(&self, task: &Task, outputs: &[(OutputRef, Output)]) -> Result<(), NodeError> {
        let Node::Sink(sink) = &task.bound.node else { return Ok(()) };
        let Some(destination) = sink.destination() else { return Ok(()) };
        let output = outputs.iter().find(|(output, _)| output.port == destination.port);
        let Some((_, Output::Files { files, .. })) = output else {
            return Err(NodeError::Failed(format!(
                "the kind copies out its port `{}`, on which it gives no files: a fault of the kind",
                destination.port
            )));
        };
        sink::copy_out(destination, &*files.read(self.store)?)?;
        Ok(())
    }

    /// What an error of a kind means in this try.
    fn failure(&self, error: NodeError, attempt: &Attempt) -> Failure {
        if attempt.timed_out.load(Ordering::Acquire) {
            return Failure::TimedOut;
        }
        match error {
            NodeError::Failed(message) => Failure::Failed(message),
            NodeError::Transient(message) => Failure::Transient(message),
            NodeError::Cancelled if attempt.cancel.is_cancelled() => Failure::Cancelled,
            NodeError::Cancelled => {
                Failure::Failed("it stopped although nobody told it to: a fault of the kind".to_owned())
            }
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
