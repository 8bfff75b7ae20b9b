//! A bounded pool of plain threads, and a timer.
//!
//! The threads are plain ones, never rayon workers, and each makes polars run on itself before its first job
//! ([`engine_table::solo`]): polars' own results depend on how many threads it uses. A panic in a job ends the job,
//! not the thread. It knows nothing of tasks.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

/// Starts `count` threads named `fuseline-worker-N` in `scope` that call `work` for each job sent, until the sender is
/// dropped.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn start_workers<'scope, 'env, J: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    count: usize,
    work: impl Fn(J) + Send + Sync + Clone + 'scope,
) -> std::io::Result<Sender<J>> {
    let (sender, receiver) = unbounded::<J>();
    for number in 0..count.max(1) {
        let (receiver, work): (Receiver<J>, _) = (receiver.clone(), work.clone());
        Builder::new().name(format!("fuseline-worker-{number}")).spawn_scoped(scope, move || {
            engine_table::solo();
            for job in receiver {
                work(job);
            }
        })?;
    }
    Ok(sender)
}

thread_local! {
    /// Whether a panic on this thread ends up in a message.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// Where the panic that was caught last came from.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `job`; a panic is its message and its place in the source.
///
/// Such a panic is not printed: its message may hold the value of a secret, which only the caller can take out. Panics
/// of other threads go to whatever hook the process had.
///
/// # Errors
/// The message of the panic.
pub(crate) fn catching<T>(job: impl FnOnce() -> T) -> Result<T, String> {
    keep_caught_panics_quiet();
    let outer = CATCHING.replace(true);
    // Nothing the job could have left half-done is looked at again: its outputs are dropped with it, and what it had
    // written to the store is content named by its digest.
    let result = catch_unwind(AssertUnwindSafe(job));
    CATCHING.set(outer);
    result.map_err(|payload| {
        let message = panic_message(payload.as_ref());
        match PLACE.take() {
            Some(place) => format!("{message} (at {place})"),
            None => message,
        }
    })
}

fn keep_caught_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if CATCHING.get() {
                PLACE.set(info.location().map(|place| format!("{}:{}", place.file(), place.line())));
            } else {
                before(info);
            }
        }));
    });
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

type Ring<'env> = Box<dyn FnOnce() + Send + 'env>;

struct Alarm<'env> {
    at: Instant,
    number: u64,
    ring: Ring<'env>,
}

impl PartialEq for Alarm<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Alarm<'_> {}

impl PartialOrd for Alarm<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Calls functions later, on a thread of its own, so that no worker waits.
#[derive(Clone)]
pub(crate) struct Timer<'env> {
    alarms: Sender<(Instant, Ring<'env>)>,
}

impl<'env> Timer<'env> {
    /// Starts the thread `fuseline-timer` in `scope`; it ends when every clone of the timer is dropped, and what is not due by then
    /// is never called.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start<'scope>(scope: &'scope Scope<'scope, 'env>) -> std::io::Result<Timer<'env>>
    where
        'env: 'scope,
    {
        let (alarms, receiver) = unbounded();
        Builder::new().name("fuseline-timer".to_owned()).spawn_scoped(scope, move || keep_time(&receiver))?;
        Ok(Timer { alarms })
    }

    /// Calls `ring` after `wait`; it must be quick.
    pub(crate) fn after(&self, wait: Duration, ring: impl FnOnce() + Send + 'env) {
        // A wait beyond what the clock can count is for ever.
        if let Some(at) = Instant::now().checked_add(wait) {
            // The thread lives as long as the sender; were it gone, nothing would be left to be told.
            let _ = self.alarms.send((at, Box::new(ring)));
        }
    }
}

fn keep_time(receiver: &Receiver<(Instant, Ring<'_>)>) {
    let mut alarms = BinaryHeap::new();
    let mut number = 0;
    loop {
        let received = match alarms.peek() {
            Some(Reverse(Alarm { at, .. })) => receiver.recv_deadline(*at),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok((at, ring)) => {
                number += 1;
                alarms.push(Reverse(Alarm { at, number, ring }));
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(Reverse(alarm)) = alarms.pop() {
                    (alarm.ring)();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_run_on_named_plain_threads() {
        let (results, received) = unbounded();
        std::thread::scope(|scope| {
            let work = move |job: usize| {
                let name = std::thread::current().name().map(str::to_owned);
                results.send((job, name)).expect("the test listens");
            };
            let jobs = start_workers(scope, 2, work).unwrap();
            (0..20).for_each(|job| jobs.send(job).expect("the workers live"));
        });
        let mut seen: Vec<(usize, Option<String>)> = received.iter().collect();
        seen.sort();
        assert_eq!(seen.iter().map(|(job, _)| *job).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        assert!(seen.iter().all(|(_, name)| name.as_deref().is_some_and(|name| name.starts_with("fuseline-worker-"))));
    }

    #[test]
    fn a_panic_is_its_message_and_its_place() {
        assert_eq!(catching(|| 1), Ok(1));
        let limit = 3;
        let caught = catching(|| -> i32 { panic!("over {limit}") }).unwrap_err();
        assert!(caught.starts_with("over 3 (at ") && caught.contains("workers.rs:"), "{caught}");
        let caught = catching(|| -> i32 { std::panic::panic_any(7) }).unwrap_err();
        assert!(caught.starts_with("a panic without a message"), "{caught}");
        assert!(!CATCHING.get(), "panics outside are printed as ever");
    }

    #[test]
    fn alarms_ring_in_order_of_time() {
        let (rung, received) = unbounded();
        std::thread::scope(|scope| {
            let timer = Timer::start(scope).unwrap();
            // The first alarm holds the timer until it has been told of all the others, however slow this thread is.
            let (go_on, gate) = unbounded::<()>();
            timer.after(Duration::ZERO, move || gate.recv().expect("the test lets it go on"));
            for millis in [30u64, 5, 15] {
                let rung = rung.clone();
                timer.after(Duration::from_millis(millis), move || rung.send(millis).expect("the test listens"));
            }
            go_on.send(()).unwrap();
            let in_order: Vec<u64> = received.iter().take(3).collect();
            assert_eq!(in_order, [5, 15, 30]);
            timer.after(Duration::from_secs(3600), || unreachable!("a dropped timer calls nothing"));
        });
    }
}
