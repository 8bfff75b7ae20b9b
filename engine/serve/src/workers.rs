//! The threads that predict, behind a queue of bounded length.
//!
//! Promises: predictions never run on the threads that serve connections; polars runs alone on each worker; a panic
//! becomes an answer with an id and costs no worker; a job whose client has gone is not begun.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use crate::fault::Fault;

/// What a worker does with a body: everything between bytes in and bytes out.
pub(crate) type Work = dyn Fn(&[u8]) -> Result<Answer, Fault> + Send + Sync;

/// A body that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub body: Vec<u8>,
    pub rows: usize,
}

struct Job {
    body: Vec<u8>,
    reply: oneshot::Sender<Result<Answer, Fault>>,
}

/// The running workers.
pub(crate) struct Workers {
    queue: Mutex<Option<SyncSender<Job>>>,
    length: usize,
    /// Disconnected once every worker has ended.
    alive: Mutex<Receiver<()>>,
}

impl Workers {
    /// Starts `threads` workers behind a queue for `length` jobs.
    pub fn start(threads: usize, length: usize, work: Arc<Work>) -> std::io::Result<Workers> {
        let (queue, jobs) = sync_channel(length);
        let (living, alive) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let faults = Arc::new(AtomicU64::new(0));
        for number in 0..threads.max(1) {
            let (jobs, work, faults, living) = (jobs.clone(), work.clone(), faults.clone(), living.clone());
            thread::Builder::new()
                .name(format!("fuseline-predict-{number}"))
                .spawn(move || run(&jobs, &*work, &faults, living))?;
        }
        Ok(Workers { queue: Mutex::new(Some(queue)), length, alive: Mutex::new(alive) })
    }

    /// Queues `body`; the answer comes through what is returned.
    pub fn submit(&self, body: Vec<u8>) -> Result<oneshot::Receiver<Result<Answer, Fault>>, Fault> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match queue.as_ref().map(|queue| queue.try_send(Job { body, reply })) {
            Some(Ok(())) => Ok(answer),
            Some(Err(TrySendError::Full(_))) => Err(Fault::Busy { waiting: self.length }),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(Fault::Stopping),
        }
    }

    /// Takes no more jobs and waits for those that are queued, at most `limit`; whether all workers ended.
    pub fn stop(&self, limit: Duration) -> bool {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(alive.recv_timeout(limit), Err(RecvTimeoutError::Disconnected))
    }
}

fn run(jobs: &Mutex<Receiver<Job>>, work: &Work, faults: &AtomicU64, _living: Sender<()>) {
    engine_table::solo();
    loop {
        // One worker waits for a job, the others for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { body, reply }) = job else { return };
        if reply.is_closed() {
            continue;
        }
        let answer = catch_unwind(AssertUnwindSafe(|| work(&body))).unwrap_or_else(|panic| {
            let id = fault_id(faults.fetch_add(1, Ordering::Relaxed));
            tracing::error!(id, panic = panic_text(&*panic), "a prediction panicked");
            Err(Fault::Failed { id })
        });
        // A client that has gone needs no answer.
        let _ = reply.send(answer);
    }
}

/// Differs between processes and between faults.
fn fault_id(number: u64) -> String {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}-{number}", started.as_micros(), std::process::id())
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}
