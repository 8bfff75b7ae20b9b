//! Conditions: what was chosen, and which tasks take part because of it.
//!
//! An expansion that chooses one of its instances has tasks that only the chosen one needs. Which these are is known
//! when the choosing task is; a preview and a run ask here, so they agree.

use engine_store::Store;
use engine_table::Chosen;

use crate::{Output, OutputRef, Outputs, PlannedServing, ResolveError, Servings, Task};

/// Of `of`, which has one output for each instance, the one that the task with the output `by` chose; nothing while
/// that is not known. `task` waits for the choice.
///
/// # Errors
/// If the choice cannot be read, or is of another number of instances.
pub fn chosen<'t>(
    task: &Task,
    by: &OutputRef,
    of: &'t [OutputRef],
    outputs: &Outputs,
    store: &Store,
) -> Result<Option<&'t OutputRef>, ResolveError> {
    let Some(instance) = instance(task, by, outputs, store)? else { return Ok(None) };
    let none = || wrong(task, format!("waits for a choice of instance {instance}, and there are {}", of.len()));
    of.get(instance).map(Some).ok_or_else(none)
}

/// The slice that `task` is to serve; nothing while a choice it depends on is not made.
///
/// # Errors
/// As [`chosen`].
pub fn chosen_serving<'t>(
    task: &Task,
    servings: &'t Servings,
    outputs: &Outputs,
    store: &Store,
) -> Result<Option<&'t PlannedServing>, ResolveError> {
    let (by, of) = match servings {
        Servings::One(serving) => return Ok(Some(serving)),
        Servings::ByChoice { by, of } => (by, of),
    };
    let Some(instance) = instance(task, by, outputs, store)? else { return Ok(None) };
    let none = || wrong(task, format!("waits for a choice of instance {instance}, and there are {}", of.len()));
    chosen_serving(task, of.get(instance).ok_or_else(none)?, outputs, store)
}

/// The place of the instance that the task with the output `by` chose.
fn instance(task: &Task, by: &OutputRef, outputs: &Outputs, store: &Store) -> Result<Option<usize>, ResolveError> {
    let Some(output) = outputs.0.get(by) else { return Ok(None) };
    let Output::Files { files, .. } = output else {
        return Err(wrong(task, "waits for a choice made by a table".to_owned()));
    };
    let chosen = Chosen::of(&*files.read(store)?);
    let chosen = chosen.map_err(|error| wrong(task, format!("waits for a choice that cannot be read: {error}")))?;
    Ok(Some(chosen.instance))
}

fn wrong(task: &Task, what: String) -> ResolveError {
    ResolveError::Stored { task: task.name.clone(), what }
}

/// Whether `task` takes part in the run; nothing while a choice it depends on is not made.
///
/// # Errors
/// As [`chosen`].
pub fn takes_part(task: &Task, outputs: &Outputs, store: &Store) -> Result<Option<bool>, ResolveError> {
    // Outer conditions come first: what was not chosen there makes no choices of its own.
    for condition in &task.conditions {
        match instance(task, &condition.by, outputs, store)? {
            None => return Ok(None),
            Some(instance) if instance != condition.is => return Ok(Some(false)),
            Some(_) => {}
        }
    }
    Ok(Some(true))
}
