//! Drives one run: the scheduler says what may start, the workers do it, the timer wakes what waits.
//!
//! The driver looks every task up in the store itself, without a hop to a worker, so a run in which everything is
//! stored costs next to nothing. Only what must run, or what takes real work to look up (what a source reads, what a
//! task of this run has just made), goes to a worker. It runs on a thread of its own that is prepared for polars.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Scope};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use engine_core::{Event, TaskStatus};
use engine_plan::{Outputs, Task, TaskId, Work};
use engine_table::{Cancel, Node};

use crate::OnFailure;
use crate::failure::{Failure, TaskFailure, back_off};
use crate::progress::Reporter;
use crate::runner::TaskOutcome;
use crate::scheduler::{Admission, Demand, Scheduler, Shortage};
use crate::task::{Attempt, Committing, Effort, Finished, Looked, Performed, Workshop};
use crate::workers::{Timer, catching, start_workers};

/// How long the driver sleeps before it looks whether it was told to stop.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// A source of more bytes than this is looked up by a worker: its content may have to be hashed.
const QUICK_SOURCE_BYTES: u64 = 4 << 20;

/// What a run is driven with.
pub(crate) struct Settings {
    pub(crate) capacity: Demand,
    pub(crate) on_failure: OnFailure,
    pub(crate) first_wait: Duration,
}

/// How a driven run ended.
pub(crate) struct Driven {
    /// By task, in the order of the plan; tasks that were not selected have none.
    pub(crate) outcomes: Vec<TaskOutcome>,
    pub(crate) failures: Vec<TaskFailure>,
    pub(crate) outputs: Outputs,
}

/// Who is told what happens; called on the driver's thread.
#[derive(Clone, Copy)]
pub(crate) struct Listener<'a> {
    /// Every event, without the values of secrets.
    pub(crate) tell: &'a (dyn Fn(Event) + Sync),
    /// Every task, as it ends.
    pub(crate) ended: &'a (dyn Fn(&TaskOutcome) + Sync),
}

enum Message {
    Event(Event),
    /// A worker found a task's result stored.
    Looked {
        task: usize,
        result: Result<Looked, Failure>,
    },
    /// A task ran and needs its worker no more; its record is being written.
    Computed {
        task: usize,
    },
    /// A try has ended.
    Ended {
        task: usize,
        result: Box<Result<Finished, Failure>>,
    },
    /// A task has waited long enough to be tried again.
    Due {
        task: usize,
    },
}

enum Step {
    Look,
    Run { attempt: u32, threads: usize },
}

/// A task whose record is being written.
struct Settling {
    task: usize,
    inputs: Outputs,
    attempt: Attempt,
    committing: Committing,
}

struct Job {
    task: usize,
    step: Step,
    inputs: Outputs,
    cancel: Cancel,
}

/// Runs the tasks `selected` (in the order of the plan, with everything they need).
pub(crate) fn drive<'a>(
    shop: &'a Workshop<'a>,
    selected: &'a [TaskId],
    settings: &Settings,
    cancel: &Cancel,
    listener: Listener<'_>,
) -> std::io::Result<Driven> {
    engine_table::solo();
    let (messages, received) = unbounded();
    std::thread::scope(|scope| {
        let timer = Timer::start(scope)?;
        let work = {
            let settling = start_settling(scope, shop, selected, messages.clone())?;
            let (timer, messages) = (timer.clone(), messages.clone());
            move |job: Job| serve(shop, selected, &timer, &messages, &settling, job)
        };
        let jobs = start_workers(scope, settings.capacity.cpus, work)?;
        let mut driver = Driver::new(shop, selected, settings, cancel, listener, jobs, timer, messages);
        driver.run(&received);
        Ok(driver.into_driven())
    })
}

/// Starts the thread that waits for records to stand, in the order they were sent: so a worker goes on to its next task,
/// and many records share a transaction. It ends when its sender is dropped.
fn start_settling<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    shop: &'env Workshop<'env>,
    selected: &'env [TaskId],
    messages: Sender<Message>,
) -> std::io::Result<Sender<Settling>> {
    let (sender, received) = unbounded::<Settling>();
    Builder::new().name("fuseline-settler".to_owned()).spawn_scoped(scope, move || {
        engine_table::solo();
        for Settling { task: number, inputs, attempt, committing } in received {
            let task = shop.plan.task(selected[number]);
            let result = catching(|| shop.settle(task, &inputs, committing, &attempt));
            let result = result.unwrap_or_else(|panic| Err(Failure::Panicked(panic)));
            drop(messages.send(Message::Ended { task: number, result: Box::new(result) }));
        }
    })?;
    Ok(sender)
}

/// Does one job on a worker.
fn serve(
    shop: &Workshop<'_>,
    selected: &[TaskId],
    timer: &Timer<'_>,
    messages: &Sender<Message>,
    settling: &Sender<Settling>,
    job: Job,
) {
    let Job { task: number, step, inputs, cancel } = job;
    let task = shop.plan.task(selected[number]);
    // The driver listens until every job has been answered.
    let answer = |message| drop(messages.send(message));
    match step {
        Step::Look => {
            let result = catching(|| shop.look(task, &inputs, Effort::Full));
            answer(Message::Looked {
                task: number,
                result: result.unwrap_or_else(|panic| Err(Failure::Panicked(panic))),
            });
        }
        Step::Run { attempt: number_of_try, threads } => {
            let timed_out = Arc::new(AtomicBool::new(false));
            let attempt = Attempt {
                threads,
                cancel: cancel.child(),
                timed_out: timed_out.clone(),
                progress: Arc::new(Reporter::new(task.name.clone(), messages.clone(), Message::Event)),
            };
            let started = || {
                answer(Message::Event(Event::TaskStarted {
                    task: task.name.clone(),
                    node: task.node.clone(),
                    kind: task.kind.name.clone(),
                    attempt: number_of_try,
                }));
                if let Some(limit) = task.timeout {
                    let token = attempt.cancel.clone();
                    timer.after(limit, move || {
                        timed_out.store(true, Ordering::Release);
                        token.cancel();
                    });
                }
            };
            let result = catching(|| shop.perform(task, &inputs, &attempt, started));
            let result = match result.unwrap_or_else(|panic| Err(Failure::Panicked(panic))) {
                Ok(Performed::Committing(committing)) => {
                    answer(Message::Computed { task: number });
                    let settled = Settling { task: number, inputs, attempt, committing: *committing };
                    settling.send(settled).expect("the settling thread lives as long as the workers");
                    return;
                }
                Ok(Performed::Finished(finished)) => Ok(finished),
                Err(failure) => Err(failure),
            };
            answer(Message::Ended { task: number, result: Box::new(result) });
        }
    }
}

struct Driver<'a, 'scope> {
    shop: &'a Workshop<'a>,
    tasks: Vec<&'a Task>,
    settings: &'a Settings,
    /// A child of the caller's token, also cancelled when a failure ends the run.
    stop: Cancel,
    stopped: bool,
    listener: Listener<'a>,
    jobs: Sender<Job>,
    timer: Timer<'scope>,
    messages: Sender<Message>,
    scheduler: Scheduler,
    outputs: Outputs,
    outcomes: Vec<Option<TaskOutcome>>,
    failures: Vec<TaskFailure>,
    attempts: Vec<u32>,
    /// Tasks whose result a worker is looking up, for the room of one thread.
    looking: Vec<bool>,
    /// Which tasks did not come from the store: what is below them is looked up by workers.
    fresh: Vec<bool>,
    needs: Vec<Vec<usize>>,
}

impl<'a, 'scope> Driver<'a, 'scope> {
    #[allow(clippy::too_many_arguments)]
    fn new(
        shop: &'a Workshop<'a>,
        selected: &'a [TaskId],
        settings: &'a Settings,
        cancel: &'a Cancel,
        listener: Listener<'a>,
        jobs: Sender<Job>,
        timer: Timer<'scope>,
        messages: Sender<Message>,
    ) -> Driver<'a, 'scope> {
        let tasks: Vec<&Task> = selected.iter().map(|id| shop.plan.task(*id)).collect();
        let number: BTreeMap<TaskId, usize> = selected.iter().enumerate().map(|(number, id)| (*id, number)).collect();
        let needs: Vec<Vec<usize>> = tasks
            .iter()
            .map(|task| {
                let need = |id: TaskId| *number.get(&id).expect("a selected task is selected with all it needs");
                task.needs().into_iter().map(need).collect()
            })
            .collect();
        let count = tasks.len();
        Driver {
            shop,
            tasks,
            settings,
            stop: cancel.child(),
            stopped: false,
            listener,
            jobs,
            timer,
            messages,
            scheduler: Scheduler::new(&needs, settings.capacity),
            outputs: Outputs::default(),
            outcomes: vec![None; count],
            failures: Vec::new(),
            attempts: vec![0; count],
            looking: vec![false; count],
            fresh: vec![false; count],
            needs,
        }
    }

    fn run(&mut self, received: &Receiver<Message>) {
        loop {
            while let Ok(message) = received.try_recv() {
                self.receive(message);
            }
            if self.stop.is_cancelled() && !self.stopped {
                self.stopped = true;
                for task in self.scheduler.cancel_pending() {
                    self.finish(task, TaskStatus::Cancelled, None, Some("the run was stopped".to_owned()));
                }
            }
            while let Some(admission) = self.scheduler.admit() {
                self.start(admission);
            }
            if let Some(task) = self.scheduler.next_ready() {
                self.examine(task);
                continue;
            }
            if self.scheduler.is_finished() {
                break;
            }
            match received.recv_timeout(HEARTBEAT) {
                Ok(message) => self.receive(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the driver holds a sender itself"),
            }
        }
        // Progress told before the last task ended.
        while let Ok(message) = received.try_recv() {
            self.receive(message);
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Event(event) => self.tell(event),
            Message::Looked { task, result } => {
                self.looking[task] = false;
                self.scheduler.release(task);
                self.looked(task, result);
            }
            Message::Computed { task } => self.scheduler.vacate(task),
            Message::Ended { task, result } => match *result {
                Ok(finished) => self.succeed(task, finished),
                Err(failure) => self.fail(task, failure),
            },
            Message::Due { task } => {
                // It may have been cancelled while it waited.
                if self.outcomes[task].is_none() {
                    self.queue_run(task);
                }
            }
        }
    }

    /// A task whose inputs are all there.
    fn examine(&mut self, number: usize) {
        let task = self.tasks[number];
        match engine_plan::takes_part(task, &self.outputs, self.shop.store) {
            Ok(Some(false)) => {
                self.finish(number, TaskStatus::NotChosen, None, Some("another instance was chosen".to_owned()));
                // Whoever needs it needs it no more, or belongs to the same instance and ends in the same way.
                self.scheduler.succeeded(number);
                return;
            }
            Ok(_) => {}
            Err(error) => return self.fail(number, error.into()),
        }
        if self.takes_work_to_look_up(number) {
            // A task of one thread is looked up and, if need be, run in one go.
            if self.demand(number) == Demand::ONE_THREAD {
                self.queue_run(number);
            } else {
                self.looking[number] = true;
                self.scheduler.queue(number, Demand::ONE_THREAD);
            }
            return;
        }
        let result = catching(|| self.shop.look(task, &self.outputs, Effort::Quick));
        let result = result.unwrap_or_else(|panic| Err(Failure::Panicked(panic)));
        self.looked(number, result);
    }

    fn takes_work_to_look_up(&self, number: usize) -> bool {
        let task = self.tasks[number];
        if !task.cached || self.shop.forced[task.id.0] {
            return false;
        }
        if let Node::Source(source) = &task.bound.node
            && matches!(task.work, Work::Source { .. })
        {
            let sizes = source.files().iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum::<u64>();
            return sizes > QUICK_SOURCE_BYTES;
        }
        // Every file is looked at.
        if matches!(task.bound.node, Node::Fetch(_)) {
            return true;
        }
        self.needs[number].iter().any(|need| self.fresh[*need])
    }

    /// A task is held and was looked up.
    fn looked(&mut self, number: usize, result: Result<Looked, Failure>) {
        match result {
            Ok(Looked::Done(finished)) => self.succeed(number, finished),
            Ok(Looked::Open) => self.queue_run(number),
            Err(failure) => self.fail(number, failure),
        }
    }

    fn demand(&self, number: usize) -> Demand {
        let asked = self.tasks[number].resources;
        Demand {
            cpus: asked.cpus.unwrap_or(self.settings.capacity.cpus).max(1),
            memory: asked.memory,
            gpus: asked.gpus,
        }
    }

    fn queue_run(&mut self, number: usize) {
        // It was held while the rest was cancelled.
        if self.stop.is_cancelled() {
            return self.fail(number, Failure::Cancelled);
        }
        self.scheduler.queue(number, self.demand(number));
    }

    fn start(&mut self, admission: Admission) {
        let Admission { task: number, granted, shortages } = admission;
        let task = self.tasks[number];
        for shortage in shortages {
            self.tell(Event::TaskWarning { task: task.name.clone(), message: alone(shortage) });
        }
        let step = if self.looking[number] {
            Step::Look
        } else {
            self.attempts[number] += 1;
            Step::Run { attempt: self.attempts[number], threads: granted.cpus }
        };
        let inputs = self.shop.inputs_of(task, &self.outputs);
        let job = Job { task: number, step, inputs, cancel: self.stop.clone() };
        self.jobs.send(job).expect("the workers live as long as the driver");
    }

    fn succeed(&mut self, number: usize, finished: Finished) {
        self.fresh[number] = finished.status != TaskStatus::Hit;
        let rows = finished.rows();
        let Finished { status, reason, seconds, fingerprint, outputs } = finished;
        self.outputs.0.extend(outputs);
        self.outcomes[number] = Some(TaskOutcome {
            seconds,
            rows,
            key: Some(fingerprint.key),
            fingerprint: Some(fingerprint),
            ..self.outcome(number, status, None, Some(reason))
        });
        self.scheduler.succeeded(number);
        self.tell_finished(number);
    }

    fn fail(&mut self, number: usize, failure: Failure) {
        let task = self.tasks[number];
        if failure == Failure::Cancelled {
            // A token of the run was set, so everything else is being cancelled too.
            let below = self.scheduler.cancelled(number);
            self.finish(number, TaskStatus::Cancelled, None, Some(failure.message(None)));
            for task in below {
                self.finish(task, TaskStatus::Cancelled, None, Some("the run was stopped".to_owned()));
            }
            return;
        }
        let message = self.shop.redactor.owned(failure.message(task.timeout));
        let tried = self.attempts[number];
        if tried >= 1 && tried <= failure.retries(task.retries) && !self.stop.is_cancelled() {
            self.scheduler.release(number);
            let (next, messages) = (tried + 1, self.messages.clone());
            let wait = back_off(self.settings.first_wait, next);
            self.tell(Event::TaskRetrying {
                task: task.name.clone(),
                error: message,
                attempt: next,
                wait_seconds: wait.as_secs_f64(),
            });
            self.timer.after(wait, move || drop(messages.send(Message::Due { task: number })));
            return;
        }
        let message = if tried > 1 { format!("{message} (after {tried} tries)") } else { message };
        self.failures.push(TaskFailure {
            task: task.name.clone(),
            node: task.node.clone(),
            instance: task.instance.clone(),
            kind: task.kind.name.clone(),
            message: message.clone(),
        });
        let skips = self.scheduler.failed(number);
        self.finish(number, TaskStatus::Failed, Some(message), None);
        for skip in skips {
            let error = format!("skipped because `{}` failed", self.tasks[skip.cause].name);
            self.finish(skip.task, TaskStatus::Skipped, Some(error), None);
        }
        if self.settings.on_failure == OnFailure::Stop {
            self.stop.cancel();
        }
    }

    fn finish(&mut self, number: usize, status: TaskStatus, error: Option<String>, reason: Option<String>) {
        self.outcomes[number] = Some(self.outcome(number, status, error, reason));
        self.tell_finished(number);
    }

    fn outcome(&self, number: usize, status: TaskStatus, error: Option<String>, reason: Option<String>) -> TaskOutcome {
        let task = self.tasks[number];
        TaskOutcome {
            task: task.name.clone(),
            node: task.node.clone(),
            kind: task.kind.name.clone(),
            status,
            seconds: 0.0,
            rows: None,
            key: None,
            fingerprint: None,
            error,
            reason,
        }
    }

    fn tell_finished(&self, number: usize) {
        if let Some(outcome) = &self.outcomes[number] {
            (self.listener.ended)(outcome);
            self.tell(Event::TaskFinished {
                task: outcome.task.clone(),
                node: outcome.node.clone(),
                status: outcome.status,
                seconds: outcome.seconds,
                rows: outcome.rows,
                error: outcome.error.clone(),
                reason: outcome.reason.clone(),
            });
        }
    }

    /// Everything a run says goes through here: nothing of it holds the value of a secret.
    fn tell(&self, event: Event) {
        (self.listener.tell)(self.shop.redactor.event(event));
    }

    fn into_driven(self) -> Driven {
        let outcomes = self.outcomes.into_iter().map(|outcome| outcome.expect("every task has ended")).collect();
        Driven { outcomes, failures: self.failures, outputs: self.outputs }
    }
}

fn alone(shortage: Shortage) -> String {
    let Shortage { resource, wanted, available } = shortage;
    let (flag, unit) = match resource {
        "cpus" => ("--threads", ""),
        "memory" => ("--memory", " bytes"),
        _ => ("--gpus", ""),
    };
    format!(
        "it asks for {resource}: {wanted}{unit}, and the run has {available}{unit}: it runs alone with what there is; \
         `{flag}` gives the run more"
    )
}
