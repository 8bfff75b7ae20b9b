//! Whole-program tests: the contracts of the house, held from outside.
#![allow(clippy::unwrap_used, reason = "a test's own helpers fail as the test does")]

mod architecture;
mod bayes;
mod command_line;
mod contracts;
mod cuda;
mod diagnostics;
mod joint;
mod kinds;
mod look_alike;
mod media;
mod plugins;
mod process;
mod random_edits;
mod tensors;
mod tuning;
mod workshop;
