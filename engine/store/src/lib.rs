//! Artifacts, segments and run records on the local disk.
//!
//! ```text
//! .fuseline/
//!   format        one line: which layout this is
//!   fuseline.db   records, memos, file digests and history: SQLite in WAL mode
//!   objects/ab/…  content by digest: segments of tables, files of artifacts
//!   tmp/          what is being written; renamed into objects/ when it is whole
//!   claims        byte-range locks of running tasks and runs; they die with their process
//! ```
//!
//! Promises: an object is its name's content or it is not served; a record is committed once, first writer wins, and
//! is served only if its checksum holds; killing the process at any instant loses at most the tasks in flight; after
//! [`Store::flush`] losing power loses nothing that was committed before.
//!
//! It knows no plan and no kind: keys are given to it, and what a record means is for `engine-plan` to say.

mod blobs;
mod claims;
mod connections;
mod database;
mod error;
mod file_digests;
mod history;
mod layout;
mod memo;
mod objects;
mod record;
mod records;
mod rows;
mod run_id;
mod store;
#[cfg(test)]
mod test_records;
mod writer;

pub use blobs::StrayCell;
pub use claims::Claim;
pub use error::StoreError;
pub use history::{GitState, Invocation, Run, RunEnd, RunStart, RunState, RunTask};
pub use record::{FilePlace, Fingerprint, KeyPart, Record, RecordOutput};
pub use records::{Commit, PendingCommit};
pub use store::Store;
