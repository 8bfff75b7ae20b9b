//! Why a task will run: which part of its key is another than when it last ran.

use std::collections::{HashMap, HashSet};

use engine_store::{Fingerprint, KeyPart};
use serde::Serialize;

/// Why a task will run or may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It was never run.
    FirstRun,
    /// Part of its key is another than when it last ran.
    Changed {
        /// The part.
        part: String,
        /// Its value then; nothing if the part is new.
        old: Option<String>,
        /// Its value now; nothing if the part is gone.
        new: Option<String>,
    },
    /// It ran with this key, and the store has no result (any more).
    NoRecord,
    /// The store has a result of which something is missing.
    Incomplete,
    /// `cache: off`.
    CacheOff,
    /// `--force` or `--from`.
    Forced,
    /// What stands at its destination is not what it wrote.
    Destination {
        /// The destination.
        path: String,
    },
    /// Something it needs will run, may run, or has rows that must be gathered first.
    Waits {
        /// The task.
        task: String,
    },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::FirstRun => f.write_str("first run"),
            Reason::Changed { part, old: Some(old), new: Some(new) } => write!(f, "{part}: {old} -> {new}"),
            Reason::Changed { part, old: None, new } => write!(f, "{part}: new, {}", new.as_deref().unwrap_or("")),
            Reason::Changed { part, old: Some(old), new: None } => write!(f, "{part}: gone, was {old}"),
            Reason::NoRecord => f.write_str("no record"),
            Reason::Incomplete => f.write_str("part of the stored result is missing"),
            Reason::CacheOff => f.write_str("cache: off"),
            Reason::Forced => f.write_str("forced"),
            Reason::Destination { path } => write!(f, "{path} was changed or is missing"),
            Reason::Waits { task } => write!(f, "waits for {task}"),
        }
    }
}

/// The parts of a key that are others than the last time, in the order of the key.
pub fn what_changed(last: Option<&Fingerprint>, now: &Fingerprint) -> Vec<Reason> {
    let Some(last) = last else { return vec![Reason::FirstRun] };
    if last.key == now.key {
        return vec![Reason::NoRecord];
    }
    if last.parts.is_empty() {
        // The record that said what the key was made of is gone.
        let [old, new] = [last.key, now.key].map(|key| Some(key.short()));
        return vec![Reason::Changed { part: "key".to_owned(), old, new }];
    }
    let old: HashMap<&str, &KeyPart> = last.parts.iter().map(|part| (part.name.as_str(), part)).collect();
    let new: HashSet<&str> = now.parts.iter().map(|part| part.name.as_str()).collect();
    let mut reasons = Vec::new();
    for part in &now.parts {
        match old.get(part.name.as_str()) {
            Some(before) if before.digest == part.digest => {}
            before => reasons.push(Reason::Changed {
                part: part.name.clone(),
                old: before.map(|before| before.value.clone()),
                new: Some(part.value.clone()),
            }),
        }
    }
    for part in last.parts.iter().filter(|part| !new.contains(part.name.as_str())) {
        reasons.push(Reason::Changed { part: part.name.clone(), old: Some(part.value.clone()), new: None });
    }
    reasons
}
