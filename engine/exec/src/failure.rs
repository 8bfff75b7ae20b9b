//! How a try of a task ends badly, and what a caller is told.

use std::time::Duration;

use engine_plan::ResolveError;
use engine_store::StoreError;

/// Why a try ended without a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The data, the options or the world do not allow it.
    Failed(String),
    /// It may work when tried again.
    Transient(String),
    /// The kind panicked.
    Panicked(String),
    /// It took longer than the node's `timeout`.
    TimedOut,
    /// It was told to stop with the run.
    Cancelled,
}

impl Failure {
    /// One sentence for the user; `timeout` is the node's limit.
    pub(crate) fn message(&self, timeout: Option<Duration>) -> String {
        match self {
            Failure::Failed(message) | Failure::Transient(message) => message.clone(),
            Failure::Panicked(message) => format!("the kind panicked, which is a fault of the kind: {message}"),
            Failure::TimedOut => format!(
                "it took longer than its `timeout` of {:?} and was stopped; allow it more time, or give it less to do",
                timeout.unwrap_or_default()
            ),
            Failure::Cancelled => "it was stopped with the run".to_owned(),
        }
    }

    /// How often the task is tried again after this, if its node says `retries`.
    ///
    /// A person who writes `retries` wants a second try whatever went wrong. What may work when tried again (the
    /// network, a busy file) is tried again [`TRANSIENT_RETRIES`] times unasked; everything else is a function of the
    /// inputs and would only fail again.
    pub(crate) fn retries(&self, retries: u32) -> u32 {
        match self {
            Failure::Cancelled => 0,
            Failure::Transient(_) => retries.max(TRANSIENT_RETRIES),
            Failure::Failed(_) | Failure::Panicked(_) | Failure::TimedOut => retries,
        }
    }
}

/// How often a transient failure is tried again if the node does not say.
pub(crate) const TRANSIENT_RETRIES: u32 = 2;

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long to wait before try `attempt` (the second is 2): `first`, then twice as long each time, at most a minute.
pub(crate) fn back_off(first: Duration, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(2).min(30);
    first.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Failure {
        match error {
            ResolveError::Store(StoreError::Cancelled) => Failure::Cancelled,
            other => Failure::Failed(other.to_string()),
        }
    }
}

/// A task that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{task}` (`{kind}`) failed: {message}")]
pub struct TaskFailure {
    /// The task, with its part and its instance: `impute/fit@fold=2`.
    pub task: String,
    /// Its node.
    pub node: String,
    /// The instance, as in `fold=2`.
    pub instance: Option<String>,
    /// Its kind.
    pub kind: String,
    /// Why; without the values of secrets.
    pub message: String,
}

/// Why there was no run at all, or why its end could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system gives no thread.
    #[error("cannot start {threads} threads: {source}; ask for fewer with `--threads`")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// Why not.
        source: std::io::Error,
    },
    /// The selection names no node, or what is known cannot be resolved.
    #[error(transparent)]
    Plan(#[from] ResolveError),
    /// The store cannot keep the run.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let waits: Vec<u64> =
            (2..14).map(|attempt| back_off(Duration::from_millis(500), attempt).as_millis() as u64).collect();
        assert_eq!(waits[..4], [500, 1000, 2000, 4000]);
        assert_eq!(waits[11], 60_000);
        assert_eq!(back_off(Duration::from_millis(500), u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn what_would_fail_again_is_tried_again_only_if_asked() {
        assert_eq!(Failure::Failed("x".into()).retries(0), 0);
        assert_eq!(Failure::Failed("x".into()).retries(3), 3);
        assert_eq!(Failure::Transient("x".into()).retries(0), TRANSIENT_RETRIES);
        assert_eq!(Failure::Transient("x".into()).retries(5), 5);
        assert_eq!(Failure::Cancelled.retries(5), 0);
    }
}
