//! The last step of laying out: what nobody needs is taken out, and the rest put into order.
//!
//! Instances are planned whole, so that every type in them is known; what only a part of an expansion needs of them
//! is found here. A task that waits for a choice was laid out before the choice, and is put behind it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::{Task, TaskId};

/// `ends` and everything they need or speak of, in topological order; of two tasks that could come next, the one laid
/// out first does.
pub(super) fn needed(tasks: Vec<Task>, ends: &[TaskId]) -> Vec<Task> {
    let kept = reachable(&tasks, ends);
    let order = topological_order(&tasks, &kept);
    let mut places = vec![TaskId(usize::MAX); tasks.len()];
    for (place, id) in order.iter().enumerate() {
        places[id.0] = TaskId(place);
    }
    let mut tasks: Vec<Option<Task>> = tasks.into_iter().map(Some).collect();
    let moved = order.into_iter().filter_map(|id| {
        let mut task = tasks[id.0].take()?;
        task.renumber(&|id| places[id.0]);
        Some(task)
    });
    moved.collect()
}

/// `from` and everything they need or speak of.
pub(super) fn reachable(tasks: &[Task], from: &[TaskId]) -> BTreeSet<TaskId> {
    let mut reached: BTreeSet<TaskId> = BTreeSet::new();
    let mut open: Vec<TaskId> = from.to_vec();
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            let task = &tasks[id.0];
            open.extend(task.needs());
            open.extend(task.behind.iter().map(|output| output.task));
        }
    }
    reached
}

fn topological_order(tasks: &[Task], kept: &BTreeSet<TaskId>) -> Vec<TaskId> {
    let mut waits = vec![0; tasks.len()];
    let mut below: Vec<Vec<TaskId>> = vec![Vec::new(); tasks.len()];
    for id in kept {
        let needs = tasks[id.0].needs();
        waits[id.0] = needs.len();
        needs.into_iter().for_each(|need| below[need.0].push(*id));
    }
    let mut ready: BinaryHeap<Reverse<TaskId>> =
        kept.iter().filter(|id| waits[id.0] == 0).map(|id| Reverse(*id)).collect();
    let mut order = Vec::with_capacity(kept.len());
    while let Some(Reverse(id)) = ready.pop() {
        order.push(id);
        for next in &below[id.0] {
            waits[next.0] -= 1;
            if waits[next.0] == 0 {
                ready.push(Reverse(*next));
            }
        }
    }
    debug_assert_eq!(order.len(), kept.len(), "no task waits for itself");
    order
}
