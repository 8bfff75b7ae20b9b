//! From a pipeline, the registry and the store to a plan: what will run, and why.
//!
//! [`bind`] checks the whole graph before a row is read and lays out its tasks; [`fingerprint`] says what keys a task,
//! [`compose`] what a stored result stands for, [`preview`] what a run would do; [`draw`] shows it. A run walks the
//! same tasks with the same functions, so it does what the preview says.
//!
//! It knows no particular kind and runs none.

mod bind;
mod codes;
mod compose;
mod condition;
pub mod draw;
mod fetch;
mod fingerprint;
mod listing;
mod plan;
mod preview;
mod resolve;
#[cfg(test)]
mod testing;
mod version;
mod vocabulary;

pub use bind::bind;
pub use codes::CODES;
pub use compose::{compose, compose_and_gather};
pub use condition::{chosen, chosen_serving, takes_part};
pub use engine_store::{Fingerprint, KeyPart};
pub use fetch::{Fetched, fetched};
pub use fingerprint::fingerprint;
pub use listing::{ColumnListing, ReadListing, gives_of, reads_of, writes_of};
pub use plan::{
    ArtifactInput, Checked, Condition, OutputRef, Plan, PlannedServing, PlannedStep, Resources, Servings, Task, TaskId,
    TaskRead, Work,
};
pub use preview::{Outlook, Preview, PreviewTask, Reason, Selected, Selection, preview, what_changed};
pub use resolve::{Environment, LazyFiles, Output, Outputs, ResolveError};
pub use vocabulary::vocabulary;
