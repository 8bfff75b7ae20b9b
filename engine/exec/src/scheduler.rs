//! Which task may start now: a pure state machine without threads, clock or store.
//!
//! It is told what each task waits for and what the machine has; then, event by event, what became of the tasks, and
//! answers with what may start and what never will. It promises:
//!
//! - a task is offered only after everything it needs has succeeded;
//! - running tasks never hold more than the machine has; a task that asks for more than there is runs alone;
//! - every task ends: it succeeds, fails, is cancelled, or is skipped and names the failure that caused it;
//! - of the tasks that fit, the one with the longest path below it goes first; a task that does not fit is overtaken
//!   by smaller ones only [`PATIENCE`] times, so it cannot starve.
//!
//! It does not know what a task does, why it failed or whether it will be tried again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How often a queued task lets tasks of lower rank go ahead before nothing may overtake it.
pub const PATIENCE: u32 = 32;

/// How many tasks that do not fit are looked at before the search for one that does is given up.
const SEARCH_LIMIT: usize = 256;

/// What a task holds while it runs, or what the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Threads.
    pub cpus: usize,
    /// Bytes.
    pub memory: u64,
    /// Devices.
    pub gpus: usize,
}

impl Demand {
    /// One thread and nothing else.
    pub const ONE_THREAD: Demand = Demand { cpus: 1, memory: 0, gpus: 0 };

    fn fits(self, free: Demand) -> bool {
        self.cpus <= free.cpus && self.memory <= free.memory && self.gpus <= free.gpus
    }

    fn at_most(self, capacity: Demand) -> Demand {
        Demand {
            cpus: self.cpus.min(capacity.cpus),
            memory: self.memory.min(capacity.memory),
            gpus: self.gpus.min(capacity.gpus),
        }
    }
}

/// Something a task asks for more of than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// `cpus`, `memory` or `gpus`, as `resources:` names it.
    pub resource: &'static str,
    /// How much it asks for.
    pub wanted: u64,
    /// How much there is.
    pub available: u64,
}

/// A task that may start now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The task.
    pub task: usize,
    /// What it holds until it ends; never more than the machine has.
    pub granted: Demand,
    /// Why it runs alone, if it asked for more than there is.
    pub shortages: Vec<Shortage>,
}

/// A task that will never run, and the failure that is the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skip {
    /// The task.
    pub task: usize,
    /// The task whose failure is the cause.
    pub cause: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Something it needs has not succeeded yet.
    Waiting,
    /// Everything it needs is there; nobody has asked for it.
    Ready,
    /// Handed out by `next_ready`, or given back by `release`: whoever holds it decides.
    Held,
    /// Waits for room.
    Queued,
    Running,
    /// Holds nothing any more, but has not ended.
    Leaving,
    Ended,
}

/// The state of every task of a run.
#[derive(Debug)]
pub struct Scheduler {
    capacity: Demand,
    free: Demand,
    states: Vec<State>,
    /// How many needs have not succeeded yet.
    missing: Vec<usize>,
    dependents: Vec<Vec<usize>>,
    /// Tasks on the longest path from here to an end, itself included.
    ranks: Vec<u64>,
    ready: BTreeSet<usize>,
    queue: BTreeSet<(Reverse<u64>, usize)>,
    demands: BTreeMap<usize, Demand>,
    overtaken: BTreeMap<usize, u32>,
    granted: BTreeMap<usize, Demand>,
    /// A running task that asked for more than there is: nothing starts beside it.
    alone: Option<usize>,
    open: usize,
}

impl Scheduler {
    /// A run of tasks numbered from 0; `needs[i]` are the tasks whose outputs task i takes, all smaller than i.
    pub fn new(needs: &[Vec<usize>], capacity: Demand) -> Scheduler {
        let capacity = Demand { cpus: capacity.cpus.max(1), ..capacity };
        let mut dependents = vec![Vec::new(); needs.len()];
        for (task, needs) in needs.iter().enumerate() {
            debug_assert!(needs.iter().all(|need| *need < task), "a plan is in topological order");
            for need in needs {
                dependents[*need].push(task);
            }
        }
        let mut ranks = vec![1; needs.len()];
        for task in (0..needs.len()).rev() {
            ranks[task] = 1 + dependents[task].iter().map(|below| ranks[*below]).max().unwrap_or(0);
        }
        let missing: Vec<usize> = needs.iter().map(Vec::len).collect();
        let ready: BTreeSet<usize> = (0..needs.len()).filter(|task| missing[*task] == 0).collect();
        let states = missing.iter().map(|missing| if *missing == 0 { State::Ready } else { State::Waiting }).collect();
        Scheduler {
            capacity,
            free: capacity,
            states,
            missing,
            dependents,
            ranks,
            ready,
            queue: BTreeSet::new(),
            demands: BTreeMap::new(),
            overtaken: BTreeMap::new(),
            granted: BTreeMap::new(),
            alone: None,
            open: needs.len(),
        }
    }

    /// A task whose inputs are all there, the first of the plan first. The caller now holds it: it ends it
    /// ([`Scheduler::succeeded`] for a hit) or queues it.
    pub fn next_ready(&mut self) -> Option<usize> {
        let task = self.ready.pop_first()?;
        self.states[task] = State::Held;
        Some(task)
    }

    /// Queues a held task until there is room for `demand`.
    pub fn queue(&mut self, task: usize, demand: Demand) {
        debug_assert_eq!(self.states[task], State::Held, "only a held task is queued");
        self.states[task] = State::Queued;
        self.demands.insert(task, Demand { cpus: demand.cpus.max(1), ..demand });
        self.queue.insert((Reverse(self.ranks[task]), task));
    }

    /// The next task to start, if there is room for one; to be called until it gives nothing.
    pub fn admit(&mut self) -> Option<Admission> {
        if self.alone.is_some() || self.free.cpus == 0 {
            return None;
        }
        let mut passed: Vec<usize> = Vec::new();
        let mut found = None;
        for (_, task) in self.queue.iter().take(SEARCH_LIMIT) {
            let demand = self.demands[task];
            let shortages = shortages(demand, self.capacity);
            let fits = if shortages.is_empty() { demand.fits(self.free) } else { self.granted.is_empty() };
            if fits {
                found = Some((*task, demand.at_most(self.capacity), shortages));
                break;
            }
            if self.overtaken.get(task).is_some_and(|times| *times >= PATIENCE) {
                return None;
            }
            passed.push(*task);
        }
        let (task, granted, shortages) = found?;
        for task in passed {
            *self.overtaken.entry(task).or_default() += 1;
        }
        self.queue.remove(&(Reverse(self.ranks[task]), task));
        self.overtaken.remove(&task);
        self.demands.remove(&task);
        self.states[task] = State::Running;
        self.free.cpus -= granted.cpus;
        self.free.memory -= granted.memory;
        self.free.gpus -= granted.gpus;
        self.granted.insert(task, granted);
        if !shortages.is_empty() {
            self.alone = Some(task);
        }
        Some(Admission { task, granted, shortages })
    }

    /// A running task needs no more room, and will end soon: its result is being written down.
    pub fn vacate(&mut self, task: usize) {
        debug_assert_eq!(self.states[task], State::Running, "only a running task has room to give back");
        self.give_back(task);
        self.states[task] = State::Leaving;
    }

    /// A running task stops without having ended: it is held again, to be tried later or with another demand.
    pub fn release(&mut self, task: usize) {
        if self.states[task] == State::Running {
            self.give_back(task);
        }
        self.states[task] = State::Held;
    }

    /// A held or running task has its result; what waited for it alone becomes ready.
    pub fn succeeded(&mut self, task: usize) {
        self.end(task);
        for below in 0..self.dependents[task].len() {
            let below = self.dependents[task][below];
            self.missing[below] -= 1;
            if self.missing[below] == 0 && self.states[below] == State::Waiting {
                self.states[below] = State::Ready;
                self.ready.insert(below);
            }
        }
    }

    /// A held or running task failed; everything below it is skipped because of it.
    pub fn failed(&mut self, task: usize) -> Vec<Skip> {
        self.end(task);
        self.end_below(task).into_iter().map(|below| Skip { task: below, cause: task }).collect()
    }

    /// A held or running task was told to stop; everything below it is given, and will not run either.
    pub fn cancelled(&mut self, task: usize) -> Vec<usize> {
        self.end(task);
        self.end_below(task)
    }

    /// Ends every task that is neither running nor ended, and gives them in order: the run is to stop.
    pub fn cancel_pending(&mut self) -> Vec<usize> {
        let pending: Vec<usize> = (0..self.states.len())
            .filter(|task| !matches!(self.states[*task], State::Running | State::Leaving | State::Ended))
            .collect();
        for task in &pending {
            self.end(*task);
        }
        pending
    }

    /// Whether every task has ended.
    pub fn is_finished(&self) -> bool {
        self.open == 0
    }

    /// How many tasks hold room now.
    pub fn running(&self) -> usize {
        self.granted.len()
    }

    /// Ends everything below `task` that has not ended: none of it can be running, since all of it waits for `task`.
    fn end_below(&mut self, task: usize) -> Vec<usize> {
        let mut ended = BTreeSet::new();
        let mut next: VecDeque<usize> = self.dependents[task].iter().copied().collect();
        while let Some(below) = next.pop_front() {
            if self.states[below] != State::Ended {
                self.end(below);
                ended.insert(below);
                next.extend(self.dependents[below].iter().copied());
            }
        }
        ended.into_iter().collect()
    }

    fn end(&mut self, task: usize) {
        match self.states[task] {
            State::Ended => return,
            State::Running => self.give_back(task),
            State::Ready => {
                self.ready.remove(&task);
            }
            State::Queued => {
                self.queue.remove(&(Reverse(self.ranks[task]), task));
                self.demands.remove(&task);
                self.overtaken.remove(&task);
            }
            State::Waiting | State::Held | State::Leaving => {}
        }
        self.states[task] = State::Ended;
        self.open -= 1;
    }

    fn give_back(&mut self, task: usize) {
        let granted = self.granted.remove(&task).expect("a running task holds what it was granted");
        self.free.cpus += granted.cpus;
        self.free.memory += granted.memory;
        self.free.gpus += granted.gpus;
        if self.alone == Some(task) {
            self.alone = None;
        }
    }
}

fn shortages(demand: Demand, capacity: Demand) -> Vec<Shortage> {
    [
        ("cpus", demand.cpus as u64, capacity.cpus as u64),
        ("memory", demand.memory, capacity.memory),
        ("gpus", demand.gpus as u64, capacity.gpus as u64),
    ]
    .into_iter()
    .filter(|(_, wanted, available)| wanted > available)
    .map(|(resource, wanted, available)| Shortage { resource, wanted, available })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MACHINE: Demand = Demand { cpus: 2, memory: 100, gpus: 1 };

    fn threads(cpus: usize) -> Demand {
        Demand { cpus, memory: 0, gpus: 0 }
    }

    /// Queues everything that is ready with `demand`, and gives what is admitted.
    fn start(scheduler: &mut Scheduler, demand: Demand) -> Vec<usize> {
        while let Some(task) = scheduler.next_ready() {
            scheduler.queue(task, demand);
        }
        std::iter::from_fn(|| scheduler.admit()).map(|admission| admission.task).collect()
    }

    #[test]
    fn the_longest_path_goes_first() {
        // 0 and 1 stand alone; 2 -> 3 -> 4 is the long way.
        let mut scheduler = Scheduler::new(&[vec![], vec![], vec![], vec![2], vec![3]], threads(1));
        assert_eq!(start(&mut scheduler, threads(1)), [2]);
        scheduler.succeeded(2);
        assert_eq!(start(&mut scheduler, threads(1)), [3]);
        scheduler.succeeded(3);
        assert_eq!(start(&mut scheduler, threads(1)), [0]);
    }

    #[test]
    fn a_failure_skips_what_is_below_and_nothing_else() {
        let mut scheduler = Scheduler::new(&[vec![], vec![], vec![0], vec![1, 2], vec![1]], threads(2));
        assert_eq!(start(&mut scheduler, threads(1)), [0, 1]);
        let skips = scheduler.failed(0);
        assert_eq!(skips, [Skip { task: 2, cause: 0 }, Skip { task: 3, cause: 0 }]);
        scheduler.succeeded(1);
        assert_eq!(start(&mut scheduler, threads(1)), [4]);
        scheduler.succeeded(4);
        assert!(scheduler.is_finished());
    }

    #[test]
    fn a_task_that_wants_more_than_there_is_runs_alone_and_says_so() {
        let mut scheduler = Scheduler::new(&[vec![], vec![], vec![]], MACHINE);
        let first = scheduler.next_ready().unwrap();
        scheduler.queue(first, Demand { cpus: 1, memory: 500, gpus: 0 });
        let admission = scheduler.admit().unwrap();
        assert_eq!(admission.shortages, [Shortage { resource: "memory", wanted: 500, available: 100 }]);
        assert_eq!(admission.granted.memory, 100);
        assert_eq!(start(&mut scheduler, threads(1)), Vec::<usize>::new());
        scheduler.succeeded(first);
        assert_eq!(start(&mut scheduler, threads(1)), [1, 2]);
    }

    #[test]
    fn a_large_task_is_not_overtaken_for_ever() {
        // Task 0 wants both threads; the others, of equal rank, one each.
        let others = 200;
        let mut scheduler = Scheduler::new(&vec![vec![]; others + 1], threads(2));
        for _ in 0..=others {
            let task = scheduler.next_ready().unwrap();
            if task != 0 {
                scheduler.queue(task, threads(1));
            }
        }
        let mut running: VecDeque<usize> = VecDeque::from([scheduler.admit().unwrap().task]);
        scheduler.queue(0, threads(2));
        let mut before = 0;
        loop {
            while let Some(admission) = scheduler.admit() {
                running.push_back(admission.task);
            }
            if running.contains(&0) {
                break;
            }
            before += 1;
            scheduler.succeeded(running.pop_front().expect("something runs while something waits"));
        }
        assert!(before <= PATIENCE as usize + 2, "{before} tasks went ahead");
    }

    #[test]
    fn a_released_task_gives_its_room_to_others() {
        let mut scheduler = Scheduler::new(&[vec![], vec![]], threads(1));
        assert_eq!(start(&mut scheduler, threads(1)), [0]);
        scheduler.release(0);
        assert_eq!(scheduler.admit().unwrap().task, 1);
        scheduler.queue(0, threads(1));
        assert_eq!(scheduler.admit(), None);
        scheduler.succeeded(1);
        assert_eq!(scheduler.admit().unwrap().task, 0);
    }

    #[test]
    fn a_task_that_is_written_down_gives_its_room_to_others_and_is_not_cancelled() {
        let mut scheduler = Scheduler::new(&[vec![], vec![], vec![0]], threads(1));
        assert_eq!(start(&mut scheduler, threads(1)), [0]);
        scheduler.vacate(0);
        assert_eq!(scheduler.admit().unwrap().task, 1);
        assert_eq!(scheduler.cancel_pending(), [2]);
        scheduler.succeeded(1);
        assert!(!scheduler.is_finished());
        scheduler.succeeded(0);
        assert!(scheduler.is_finished());
    }

    #[test]
    fn a_cancelled_run_lets_running_tasks_end_and_starts_no_other() {
        let mut scheduler = Scheduler::new(&[vec![], vec![], vec![0]], threads(1));
        assert_eq!(start(&mut scheduler, threads(1)), [0]);
        assert_eq!(scheduler.cancel_pending(), [1, 2]);
        assert!(!scheduler.is_finished());
        scheduler.succeeded(0);
        assert!(scheduler.is_finished());
        assert_eq!((scheduler.next_ready(), scheduler.admit()), (None, None));
    }

    /// What a step of a simulated run does.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Succeed,
        Fail,
        Retry,
        Hit,
    }

    fn a_run() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<Demand>, Vec<Step>, Vec<prop::sample::Index>)> {
        (1usize..40).prop_flat_map(|tasks| {
            let edges = prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), tasks);
            let needs = edges.prop_map(|edges| {
                let below = |(task, edges): (usize, Vec<prop::sample::Index>)| {
                    if task == 0 {
                        return vec![];
                    }
                    edges.iter().map(|edge| edge.index(task)).collect::<BTreeSet<usize>>().into_iter().collect()
                };
                edges.into_iter().enumerate().map(below).collect()
            });
            let demand =
                (0usize..5, 0u64..200, 0usize..3).prop_map(|(cpus, memory, gpus)| Demand { cpus, memory, gpus });
            let step = prop_oneof![
                6 => Just(Step::Succeed),
                1 => Just(Step::Fail),
                1 => Just(Step::Retry),
                2 => Just(Step::Hit)
            ];
            (
                needs,
                prop::collection::vec(demand, tasks),
                prop::collection::vec(step, tasks),
                prop::collection::vec(any::<prop::sample::Index>(), tasks * 4),
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn every_run_ends_in_order_and_within_the_machine((needs, demands, steps, picks) in a_run()) {
            let mut scheduler = Scheduler::new(&needs, MACHINE);
            let mut running: BTreeMap<usize, Demand> = BTreeMap::new();
            let mut succeeded: BTreeSet<usize> = BTreeSet::new();
            let mut failed: BTreeSet<usize> = BTreeSet::new();
            let mut skipped: BTreeMap<usize, usize> = BTreeMap::new();
            let mut retried: BTreeSet<usize> = BTreeSet::new();
            let mut picks = picks.into_iter().cycle();
            while !scheduler.is_finished() {
                while let Some(task) = scheduler.next_ready() {
                    prop_assert!(needs[task].iter().all(|need| succeeded.contains(need)), "{task} before its inputs");
                    if matches!(steps[task], Step::Hit) {
                        succeeded.insert(task);
                        scheduler.succeeded(task);
                    } else {
                        scheduler.queue(task, demands[task]);
                    }
                }
                while let Some(admission) = scheduler.admit() {
                    let wanted = demands[admission.task];
                    let fits = wanted.cpus.max(1) <= MACHINE.cpus && wanted.memory <= MACHINE.memory && wanted.gpus <= MACHINE.gpus;
                    prop_assert_eq!(fits, admission.shortages.is_empty());
                    prop_assert!(fits || running.is_empty(), "an oversized task beside others");
                    running.insert(admission.task, admission.granted);
                    prop_assert!(running.values().map(|demand| demand.cpus).sum::<usize>() <= MACHINE.cpus);
                    prop_assert!(running.values().map(|demand| demand.memory).sum::<u64>() <= MACHINE.memory);
                    prop_assert!(running.values().map(|demand| demand.gpus).sum::<usize>() <= MACHINE.gpus);
                }
                if scheduler.is_finished() {
                    break;
                }
                prop_assert!(!running.is_empty(), "deadlock: tasks are open and none runs");
                let pick = picks.next().expect("the picks go round").index(running.len());
                let task = *running.keys().nth(pick).expect("the pick lies in the running tasks");
                running.remove(&task);
                match steps[task] {
                    Step::Retry if retried.insert(task) => {
                        scheduler.release(task);
                        scheduler.queue(task, demands[task]);
                    }
                    Step::Fail => {
                        failed.insert(task);
                        for skip in scheduler.failed(task) {
                            prop_assert!(skipped.insert(skip.task, skip.cause).is_none(), "skipped twice");
                        }
                    }
                    _ => {
                        succeeded.insert(task);
                        scheduler.succeeded(task);
                    }
                }
            }
            for task in 0..needs.len() {
                let endings = [succeeded.contains(&task), failed.contains(&task), skipped.contains_key(&task)];
                prop_assert_eq!(endings.iter().filter(|ending| **ending).count(), 1, "{} ended {:?}", task, endings);
                if let Some(cause) = skipped.get(&task) {
                    prop_assert!(failed.contains(cause) && is_below(*cause, task, &needs));
                }
            }
        }
    }

    fn is_below(above: usize, task: usize, needs: &[Vec<usize>]) -> bool {
        needs[task].iter().any(|need| *need == above || is_below(above, *need, needs))
    }
}
