//! A run from beginning to end: history, events, scores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine_core::{Digest, Event, MetricValue, RunStatus, TaskStatus};
use engine_plan::{Environment, Output, OutputRef, Outputs, Plan, Selected, Selection, TaskId};
use engine_store::{Fingerprint, RunEnd, RunStart, RunTask, Store, StoreError};
use engine_table::{Cancel, PortType};

use crate::Chunking;
use crate::driver::{Driven, Listener, Settings, drive};
use crate::failure::{RunError, TaskFailure};
use crate::redaction::Redactor;
use crate::scheduler::Demand;
use crate::task::{Workshop, read_metrics};

/// What a run does when a task fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Everything that does not need the failed task goes on.
    #[default]
    GoOn,
    /// Running tasks are told to stop and no other starts: `--fail-fast`.
    Stop,
}

/// How a plan is run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Threads of the whole run; at least one.
    pub threads: usize,
    /// Bytes that running tasks may ask for together; nothing is no limit.
    pub memory: Option<u64>,
    /// Devices.
    pub gpus: usize,
    /// What happens when a task fails.
    pub on_failure: OnFailure,
    /// Which tasks, and which of them whatever is stored.
    pub selection: Selection,
    /// What keys tasks besides their inputs.
    pub environment: Environment,
    /// Values of the secrets the pipeline declares, by name.
    pub secrets: BTreeMap<String, String>,
    /// How long a task waits before its second try; each further wait is twice as long, a minute at most.
    pub first_wait: Duration,
    /// Where chunk boundaries fall.
    pub chunking: Chunking,
    /// What the history says of the run; the pipeline's name is filled in.
    pub start: RunStart,
}

impl RunOptions {
    /// One thread, everything, no secrets, half a second before a second try.
    pub fn new(environment: Environment) -> RunOptions {
        RunOptions {
            threads: 1,
            memory: None,
            gpus: 0,
            on_failure: OnFailure::default(),
            selection: Selection::default(),
            environment,
            secrets: BTreeMap::new(),
            first_wait: Duration::from_millis(500),
            chunking: Chunking::default(),
            start: RunStart::default(),
        }
    }
}

/// How a task of a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOutcome {
    /// Its name.
    pub task: String,
    /// Its node.
    pub node: String,
    /// Its kind.
    pub kind: String,
    /// How it ended.
    pub status: TaskStatus,
    /// How long it took; 0 for a hit.
    pub seconds: f64,
    /// Rows of its table output, if it has one.
    pub rows: Option<u64>,
    /// Its key, if it has a result.
    pub key: Option<Digest>,
    /// What its key is made of, if it has a result.
    pub fingerprint: Option<Fingerprint>,
    /// Why it failed or was skipped.
    pub error: Option<String>,
    /// Why it ran or was a hit.
    pub reason: Option<String>,
}

/// How a run ended.
#[derive(Debug)]
pub struct RunOutcome {
    /// Its id in the history.
    pub run: String,
    /// How it ended.
    pub status: RunStatus,
    /// How long it took.
    pub seconds: f64,
    /// The selected tasks, in the order of the plan.
    pub tasks: Vec<TaskOutcome>,
    /// The tasks that failed, in the order they did: the first is the cause.
    pub failures: Vec<TaskFailure>,
    /// The scores of each node that gives metrics.
    pub metrics: BTreeMap<String, BTreeMap<String, MetricValue>>,
    /// Every output that is known, for whoever wants to look at one.
    pub outputs: Outputs,
}

/// Runs `plan`: what is stored is taken, the rest is run and stored. `tell` is called with every event, in order, from
/// a thread of the run; the last event is [`Event::RunFinished`], told after everything is safely on the disk.
///
/// A task that fails is no error of this function: the outcome names it.
///
/// # Errors
/// If the selection names no node, no thread can be started, or the store cannot keep the run.
pub fn run(
    plan: &Plan,
    store: &Store,
    options: &RunOptions,
    cancel: &Cancel,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<RunOutcome, RunError> {
    let begun = Instant::now();
    let Selected { included, forced } = options.selection.resolve(plan)?;
    let selected: Vec<TaskId> = plan.tasks.iter().map(|task| task.id).filter(|id| included[id.0]).collect();
    let redactor = Redactor::new(&options.secrets);
    let start = history_start(plan, options, &redactor);
    let run = store.begin_run(&start)?;
    tell(Event::RunStarted { run: run.clone(), pipeline: plan.pipeline.clone(), tasks: selected.len() });

    let shop = Workshop {
        plan,
        store,
        environment: &options.environment,
        redactor: &redactor,
        chunking: options.chunking,
        secrets: Arc::new(options.secrets.clone()),
        forced,
        ran_here: Mutex::default(),
    };
    let settings = Settings {
        capacity: Demand {
            cpus: options.threads.max(1),
            memory: options.memory.unwrap_or(u64::MAX),
            gpus: options.gpus,
        },
        on_failure: options.on_failure,
        first_wait: options.first_wait,
    };
    let notes = Notes { store, pipeline: &plan.pipeline, run: &run, waiting: Mutex::default() };
    let ended = |outcome: &TaskOutcome| notes.add(outcome);
    let listener = Listener { tell, ended: &ended };
    // A thread of its own, because polars is set to run on it alone and the caller's thread stays as it is.
    let driven = std::thread::scope(|scope| {
        let driver = std::thread::Builder::new().name("fuseline-driver".to_owned());
        let driver = driver.spawn_scoped(scope, || drive(&shop, &selected, &settings, cancel, listener))?;
        driver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let driven = driven.map_err(|source| RunError::Threads { threads: options.threads, source })?;
    notes.write()?;

    let status = status_of(&driven);
    let metrics = metrics_of(plan, &selected, &driven.outputs, store)?;
    let seconds = begun.elapsed().as_secs_f64();
    let summary = summary_of(&driven);
    store.finish_run(&run, &RunEnd { status, seconds, metrics: metrics.clone(), summary })?;
    store.flush()?;
    let seconds = begun.elapsed().as_secs_f64();
    let nodes = nodes_of(&driven.outcomes);
    tell(Event::RunFinished { status, run: run.clone(), seconds, nodes, metrics: metrics.clone() });
    let Driven { outcomes, failures, outputs } = driven;
    Ok(RunOutcome { run, status, seconds, tasks: outcomes, failures, metrics, outputs })
}

fn history_start(plan: &Plan, options: &RunOptions, redactor: &Redactor) -> RunStart {
    let mut start = RunStart { pipeline: plan.pipeline.clone(), ..options.start.clone() };
    start.command = redactor.owned(start.command);
    start.invocation.set = start.invocation.set.into_iter().map(|set| redactor.owned(set)).collect();
    for value in start.params.values_mut() {
        redactor.value(value);
    }
    start
}

/// How tasks ended, on its way into the history: a few at a time, so that many share a transaction.
struct Notes<'a> {
    store: &'a Store,
    pipeline: &'a str,
    run: &'a str,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    outcomes: Vec<TaskOutcome>,
    since: Option<Instant>,
    /// The first failure: what follows it follows from it.
    failure: Option<StoreError>,
}

/// The most tasks that wait to be noted, and how long: a killed run forgets no more.
const MOST_WAITING: usize = 256;
const LONGEST_WAITING: Duration = Duration::from_millis(250);

impl Notes<'_> {
    fn add(&self, outcome: &TaskOutcome) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *waiting.since.get_or_insert_with(Instant::now);
        waiting.outcomes.push(outcome.clone());
        if waiting.outcomes.len() >= MOST_WAITING || since.elapsed() >= LONGEST_WAITING {
            self.send(&mut waiting);
        }
    }

    /// Sends what waits, and says what could not be sent.
    fn write(&self) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.send(&mut waiting);
        waiting.failure.take().map_or(Ok(()), Err)
    }

    fn send(&self, waiting: &mut Waiting) {
        waiting.since = None;
        let (mut fingerprints, mut tasks) = (Vec::new(), Vec::with_capacity(waiting.outcomes.len()));
        for outcome in waiting.outcomes.drain(..) {
            let TaskOutcome { task, node, kind, status, seconds, rows, key, reason, error, fingerprint } = outcome;
            fingerprints.extend(fingerprint.map(|fingerprint| (task.clone(), fingerprint)));
            tasks.push(RunTask { task, node, kind, status, key, seconds, rows, reason, error });
        }
        let sent = self.store.set_last_fingerprints(self.pipeline, fingerprints);
        if let Err(error) = sent.and_then(|()| self.store.note_tasks(self.run, tasks)) {
            waiting.failure.get_or_insert(error);
        }
    }
}

fn status_of(driven: &Driven) -> RunStatus {
    let any = |status: TaskStatus| driven.outcomes.iter().any(|outcome| outcome.status == status);
    if any(TaskStatus::Failed) {
        RunStatus::Failed
    } else if any(TaskStatus::Cancelled) {
        RunStatus::Cancelled
    } else {
        RunStatus::Succeeded
    }
}

/// The worst that became of any task of each node.
fn nodes_of(outcomes: &[TaskOutcome]) -> BTreeMap<String, TaskStatus> {
    let badness = |status: TaskStatus| TaskStatus::ALL.iter().position(|other| *other == status);
    let mut nodes: BTreeMap<String, TaskStatus> = BTreeMap::new();
    for outcome in outcomes {
        let status = nodes.entry(outcome.node.clone()).or_insert(outcome.status);
        if badness(outcome.status) > badness(*status) {
            *status = outcome.status;
        }
    }
    nodes
}

/// The scores of the nodes themselves; those of folds and trials are in the artifacts of whoever joins them.
fn metrics_of(
    plan: &Plan,
    selected: &[TaskId],
    outputs: &Outputs,
    store: &Store,
) -> Result<BTreeMap<String, BTreeMap<String, MetricValue>>, RunError> {
    let mut metrics: BTreeMap<String, BTreeMap<String, MetricValue>> = BTreeMap::new();
    let tasks = selected.iter().map(|id| plan.task(*id)).filter(|task| task.instance.is_none());
    for task in tasks {
        for (port, _) in task.outputs.iter().filter(|(_, gives)| matches!(gives, PortType::Metrics)) {
            let output = outputs.0.get(&OutputRef { task: task.id, port: port.clone() });
            let Some(Output::Files { files, .. }) = output else { continue };
            let scores = read_metrics(&*files.read(store)?).unwrap_or_default();
            metrics.entry(task.node.clone()).or_default().extend(scores);
        }
    }
    Ok(metrics)
}

fn summary_of(driven: &Driven) -> serde_json::Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in &driven.outcomes {
        *counts.entry(outcome.status.as_str()).or_default() += 1;
    }
    let failed: BTreeSet<&str> = driven.failures.iter().map(|failure| failure.task.as_str()).collect();
    serde_json::json!({ "tasks": counts, "failed": failed })
}
