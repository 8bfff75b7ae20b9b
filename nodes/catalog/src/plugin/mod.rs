//! Plug-ins: kinds found at run time, whose work a process of their own does.
//!
//! A folder with a `plugin.yaml` declares a kind: its options, the columns it reads and writes, the command that
//! computes them. [`Manifest`] is that file, [`Declaration`] what it says once checked, [`kind`] the kind. Rows pass
//! as Arrow IPC over the standard streams of the process (`protocol.rs`) and are checked when they come back.
//! Knows no YAML and no environment: whoever reads the file passes both on as data.

mod codes;
mod folder;
mod kind;
mod manifest;
mod process;
mod protocol;
mod replay;
#[cfg(test)]
mod tests;

pub use codes::{PLUGIN_EFFECT, PLUGIN_FOLDER, PLUGIN_MANIFEST, PLUGIN_NAME, PLUGIN_NOT_ROW_LOCAL};
pub use folder::{FolderError, digest};
pub use kind::{Place, kind};
pub use manifest::{ColumnName, Declaration, DeclaredColumn, MANIFEST_FILE, Manifest, manifest_schema};
pub use replay::{Difference, Replay, ReplayError, replay, sample_rows};

/// Variables of the environment every plug-in is given, if they are set: what a program cannot do without.
pub const ESSENTIAL_VARIABLES: &[&str] = &["PATH", "HOME", "TMPDIR"];
