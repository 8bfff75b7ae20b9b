//! From a pipeline as read to a plan: options bound, ports wired, every edge typed, leaks found, expansions laid out.
//!
//! Promises: reads no row (a source's `peek` may look at the head of its files); reports everything it finds, not
//! the first; what stands in a [`Plan`] is in topological order with every type known. Does not know what the store
//! holds: fingerprints and hits come after.

mod choose;
mod expand;
mod findings;
mod leak;
mod lineage;
mod planner;
mod ports;
mod prune;
mod serving;
#[cfg(test)]
mod tests;
mod wiring;

use engine_core::Diagnostic;
use engine_spec::PipelineSpec;
use engine_table::Registry;

use self::findings::Findings;
use self::planner::Planner;
use self::wiring::Wiring;
use crate::{Checked, Plan};

/// Checks the whole graph of `spec` and lays out its tasks.
///
/// # Errors
/// Everything that is wrong, by place in the text, with the warnings and notes between.
///
/// # Panics
/// If `spec` was validated against the vocabulary of another registry than `registry`.
pub fn bind(spec: &PipelineSpec, registry: &Registry) -> Result<Checked, Vec<Diagnostic>> {
    let mut findings = Findings::new(spec);
    let wiring = Wiring::new(spec, registry, &mut findings);
    let mut planner = Planner::new(&wiring, findings);
    planner.plan_all();
    let (tasks, has_absent, diagnostics) = planner.finish();
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    if has_absent {
        return Ok(Checked::Untyped { notes: diagnostics });
    }
    Ok(Checked::Complete(Plan { pipeline: spec.name.clone(), seed: spec.seed, tasks, notes: diagnostics }))
}
