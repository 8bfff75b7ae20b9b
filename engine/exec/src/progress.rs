//! How far a task is, on its way to the reports: at most a few reports a second for each task.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use engine_core::{Event, Progress};
use engine_table::ProgressSink;

/// The least time between two reports of one task; faster than this nobody reads.
const LEAST_GAP: Duration = Duration::from_millis(100);

/// Decides which reports are let through: the first, the last, one in each gap between them, and every one that
/// counts something else than the one before.
#[derive(Debug, Default)]
struct Throttle {
    last: Option<(Instant, Progress)>,
}

impl Throttle {
    fn admits(&mut self, progress: &Progress, now: Instant) -> bool {
        let complete = progress.total.is_some_and(|total| progress.done >= total);
        let admitted = match &self.last {
            None => true,
            // The end is told once.
            Some((_, last)) if complete => (last.done, last.unit) != (progress.done, progress.unit),
            Some((at, last)) => last.unit != progress.unit || now.saturating_duration_since(*at) >= LEAST_GAP,
        };
        if admitted {
            self.last = Some((now, progress.clone()));
        }
        admitted
    }
}

/// Sends a task's reports as events.
pub(crate) struct Reporter<M> {
    task: String,
    throttle: Mutex<Throttle>,
    messages: Sender<M>,
    wrap: fn(Event) -> M,
}

impl<M> Reporter<M> {
    /// A reporter for the task called `task`; `wrap` makes a message of an event.
    pub(crate) fn new(task: String, messages: Sender<M>, wrap: fn(Event) -> M) -> Reporter<M> {
        Reporter { task, throttle: Mutex::default(), messages, wrap }
    }

    fn send(&self, event: Event) {
        // The driver listens until every task has ended; what comes later has no reader.
        let _ = self.messages.send((self.wrap)(event));
    }
}

impl<M: Send> ProgressSink for Reporter<M> {
    fn progress(&self, progress: Progress) {
        // A panic while the lock is held leaves at worst a report too many.
        let mut throttle = self.throttle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if throttle.admits(&progress, Instant::now()) {
            drop(throttle);
            self.send(Event::TaskProgress { task: self.task.clone(), progress });
        }
    }

    fn warning(&self, message: &str) {
        self.send(Event::TaskWarning { task: self.task.clone(), message: message.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use engine_core::Unit;

    use super::*;

    fn rows(done: u64) -> Progress {
        Progress { done, total: Some(100), unit: Unit::Rows, values: Default::default() }
    }

    #[test]
    fn reports_that_come_too_fast_are_dropped_but_first_and_last_are_kept() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        let admitted: Vec<u64> =
            (0..=100).filter(|done| throttle.admits(&rows(*done), start + Duration::from_millis(*done))).collect();
        assert_eq!(admitted, [0, 100]);
        assert!(!throttle.admits(&rows(100), start + Duration::from_secs(9)), "the end is told once");
    }

    #[test]
    fn slow_reports_all_pass() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        let admitted = (0..10).filter(|done| throttle.admits(&rows(*done), start + LEAST_GAP * *done as u32)).count();
        assert_eq!(admitted, 10);
    }

    #[test]
    fn another_unit_passes_at_once() {
        let now = Instant::now();
        let mut throttle = Throttle::default();
        assert!(throttle.admits(&rows(1), now));
        assert!(throttle.admits(&Progress { unit: Unit::Epochs, ..rows(1) }, now));
    }
}
