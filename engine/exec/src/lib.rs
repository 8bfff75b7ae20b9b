//! Runs a plan: from an [`engine_plan::Plan`] to events and a record of the run.
//!
//! [`run`] is the way in. Behind it: a pure [`Scheduler`] that says what may start, a bounded pool of plain threads, a
//! timer, and for each task the same fingerprint and composition the plan was previewed with.
//!
//! It promises that nothing runs before its inputs, that a run does only what the store does not have, that finished
//! work is kept whatever happens after it, that a panic, a timeout or a lost network is the failure of one task with a
//! name, and that no value of a secret leaves a task. It does not know any kind, reads no YAML and prints nothing.

mod driver;
mod failure;
mod progress;
mod redaction;
mod runner;
mod scheduler;
mod task;
#[cfg(test)]
mod testing;
mod workers;

use engine_table::{ChunkRule, ColumnType};

pub use failure::{RunError, TaskFailure};
pub use redaction::{REDACTED, Redactor};
pub use runner::{OnFailure, RunOptions, RunOutcome, TaskOutcome, run};
pub use scheduler::{Admission, Demand, PATIENCE, Scheduler, Shortage, Skip};

/// Where chunk boundaries fall in the tables a run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chunking {
    /// By content, at about two megabytes: what every run should use.
    #[default]
    ByWeight,
    /// By content, at about so many rows: for tests, which show that results do not depend on it.
    ByRows(u64),
}

impl Chunking {
    /// The rule for new rows with `columns`.
    fn rule(self, columns: &[ColumnType]) -> ChunkRule {
        let rule = ChunkRule::for_columns(columns);
        match self {
            Chunking::ByWeight => rule,
            Chunking::ByRows(rows) => rule.with_target(rows),
        }
    }

    /// The rule for new rows with `columns` that name files: of `files` files with `bytes` bytes.
    fn rule_for_files(self, columns: &[ColumnType], files: u64, bytes: u64) -> ChunkRule {
        match self {
            Chunking::ByWeight => ChunkRule::for_columns(columns).with_weight(files, bytes),
            Chunking::ByRows(_) => self.rule(columns),
        }
    }
}
