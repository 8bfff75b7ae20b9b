//! `--only`, `--from` and `--force`: which tasks a run is about, and which of them run whatever is stored.

use std::collections::HashSet;

use crate::{Plan, ResolveError, Task, TaskId};

/// Which tasks a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Only these nodes and what they need; empty means all.
    pub only: Vec<String>,
    /// These nodes and everything after them run even if their results are stored.
    pub from: Vec<String>,
    /// Everything runs even if its result is stored.
    pub force: bool,
}

/// A selection, by task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Whether the task takes part in the run.
    pub included: Vec<bool>,
    /// Whether it runs whatever is stored.
    pub forced: Vec<bool>,
}

impl Selection {
    /// The tasks of `plan` it means.
    ///
    /// # Errors
    /// [`ResolveError::UnknownNodes`] with every name that is no node of the plan.
    pub fn resolve(&self, plan: &Plan) -> Result<Selected, ResolveError> {
        self.check(plan)?;
        let needs: Vec<Vec<TaskId>> = plan.tasks.iter().map(Task::needs).collect();
        // A node by its name is the graph's own, not its instances: those come in with the expansion that needs them.
        // A node that is there only to be tried has nothing but instances.
        let own: HashSet<&str> =
            plan.tasks.iter().filter(|task| task.instance.is_none()).map(|task| task.node.as_str()).collect();
        let is_named = |task: &Task| {
            self.only.contains(&task.node) && (task.instance.is_none() || !own.contains(task.node.as_str()))
        };
        let mut included: Vec<bool> = plan.tasks.iter().map(|task| self.only.is_empty() || is_named(task)).collect();
        for place in (0..plan.tasks.len()).rev() {
            if included[place] {
                needs[place].iter().for_each(|need| included[need.0] = true);
            }
        }
        let mut forced = vec![false; plan.tasks.len()];
        for (place, task) in plan.tasks.iter().enumerate() {
            let is_below = needs[place].iter().any(|need| forced[need.0]);
            forced[place] = self.force || self.from.contains(&task.node) || !self.from.is_empty() && is_below;
        }
        Ok(Selected { included, forced })
    }

    fn check(&self, plan: &Plan) -> Result<(), ResolveError> {
        let mut known: HashSet<&str> = plan.tasks.iter().map(|task| task.node.as_str()).collect();
        let mut unknown: Vec<String> = Vec::new();
        for name in self.only.iter().chain(&self.from) {
            if !known.contains(name.as_str()) && !unknown.contains(name) {
                unknown.push(name.clone());
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        // Each once, in the order of the plan.
        let own = plan.tasks.iter().filter(|task| known.remove(task.node.as_str()));
        let nodes = own.map(|task| task.node.clone()).collect();
        Err(ResolveError::UnknownNodes { unknown, nodes })
    }
}
