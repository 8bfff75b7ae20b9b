//! What happens while a pipeline runs, as data; reports are drawn from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a progress count counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Table rows.
    Rows,
    /// Passes over the train rows.
    Epochs,
    /// Bytes read or written.
    Bytes,
    /// Anything else that is counted.
    Steps,
}

/// How far a running task is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// How many are done.
    pub done: u64,
    /// Of how many, if known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: Unit,
    /// Current values worth showing, such as `loss`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// Its result was in the store.
    Hit,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
    /// It did not run because something it needs failed.
    Skipped,
    /// It did not run because the run was cancelled.
    Cancelled,
    /// It did not run because another trial was chosen than the one it belongs to.
    #[serde(rename = "not chosen")]
    NotChosen,
}

impl TaskStatus {
    /// Every status, from the least to the most that a person should know of.
    pub const ALL: [TaskStatus; 6] = [
        TaskStatus::NotChosen,
        TaskStatus::Hit,
        TaskStatus::Ran,
        TaskStatus::Skipped,
        TaskStatus::Cancelled,
        TaskStatus::Failed,
    ];

    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskStatus::Hit => "hit",
            TaskStatus::Ran => "ran",
            TaskStatus::Failed => "failed",
            TaskStatus::Skipped => "skipped",
            TaskStatus::Cancelled => "cancelled",
            TaskStatus::NotChosen => "not chosen",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Every task has its result.
    Succeeded,
    /// A task failed.
    Failed,
    /// It was told to stop.
    Cancelled,
}

impl RunStatus {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Succeeded => "succeeded",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
        }
    }
}

/// A score and, where it has one, its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// The score.
    pub value: f64,
    /// Lower end of the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper end of the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

/// Something that happened in a run. Tasks are named as in the plan: `impute`, `impute/fit`, `model@fold=2`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run began.
    RunStarted {
        /// The run's id.
        run: String,
        /// The pipeline's name.
        pipeline: String,
        /// How many tasks the plan has.
        tasks: usize,
    },
    /// A task began to run.
    TaskStarted {
        /// Its name.
        task: String,
        /// Its node.
        node: String,
        /// Its kind.
        kind: String,
        /// 1 for the first try.
        attempt: u32,
    },
    /// A task is under way.
    TaskProgress {
        /// Its name.
        task: String,
        /// How far it is.
        progress: Progress,
    },
    /// A task says something a person should read.
    TaskWarning {
        /// Its name.
        task: String,
        /// One sentence.
        message: String,
    },
    /// A task failed and will be tried again.
    TaskRetrying {
        /// Its name.
        task: String,
        /// Why it failed.
        error: String,
        /// The try that comes next.
        attempt: u32,
        /// How long it waits first.
        wait_seconds: f64,
    },
    /// A task ended.
    TaskFinished {
        /// Its name.
        task: String,
        /// Its node.
        node: String,
        /// How.
        status: TaskStatus,
        /// How long it took; 0 for a hit.
        seconds: f64,
        /// Rows of its table output, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<u64>,
        /// Why it failed or was skipped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Why it ran or was a hit, in a few words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The run ended; always the last event.
    RunFinished {
        /// How.
        status: RunStatus,
        /// The run's id.
        run: String,
        /// How long it took.
        seconds: f64,
        /// How each node ended.
        nodes: BTreeMap<String, TaskStatus>,
        /// The scores of each node that gives metrics.
        metrics: BTreeMap<String, BTreeMap<String, MetricValue>>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_as_it_is_shown() {
        for status in TaskStatus::ALL {
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{}\"", status.as_str()));
        }
    }

    #[test]
    fn the_last_line_of_a_run_has_the_documented_shape() {
        let event = Event::RunFinished {
            status: RunStatus::Succeeded,
            run: "r1".into(),
            seconds: 1.5,
            nodes: BTreeMap::from([("rows".into(), TaskStatus::Hit)]),
            metrics: BTreeMap::from([(
                "quality".into(),
                BTreeMap::from([("auc".into(), MetricValue { value: 0.8, low: Some(0.7), high: Some(0.9) })]),
            )]),
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"run_finished","status":"succeeded","run":"r1","seconds":1.5,"nodes":{"rows":"hit"},"metrics":{"quality":{"auc":{"value":0.8,"low":0.7,"high":0.9}}}}"#
        );
    }
}
