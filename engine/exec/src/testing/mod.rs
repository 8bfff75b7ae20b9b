//! What the tests of this room share: a bench with a folder and a store, from YAML to a run, and small kinds.

mod contracts;
mod data;
mod kinds;
mod media;
mod runs;
mod trouble;
mod tuning;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use engine_core::{Digest, Event, SourceText, TaskStatus};
use engine_plan::{Checked, Environment, Output, OutputRef, Plan, Preview, bind, preview, vocabulary};
use engine_spec::{Folders, Parameters};
use engine_store::Store;
use engine_table::{Cancel, Files, Registry, Table};
use polars::prelude::DataFrame;

use crate::{RunOptions, RunOutcome, run};

/// A folder with data and a store beside it.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) registry: Registry,
}

/// A run and everything it said.
pub(crate) struct Ran {
    pub(crate) outcome: RunOutcome,
    pub(crate) events: Vec<Event>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let registry =
            Registry::new(kinds::all().into_iter().chain(data::all()).chain(trouble::all()).chain(media::all()));
        Bench { folder, store, registry }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The plan of a pipeline with these nodes (and whatever else stands beside `nodes:`), which must be right.
    pub(crate) fn plan(&self, text: &str) -> Plan {
        let source = SourceText { name: "p.yaml".into(), text: format!("fuseline: 1\nname: test\n{text}") };
        let folders = Folders::new(self.folder.path(), self.folder.path()).unwrap();
        let environment = |_: &str| None;
        let words = vocabulary(&self.registry);
        let (spec, _) = engine_spec::read(source, &Parameters::new(), &environment, &words, &folders)
            .unwrap_or_else(|problems| panic!("{problems:#?}"));
        match bind(&spec, &self.registry).unwrap_or_else(|problems| panic!("{problems:#?}")) {
            Checked::Complete(plan) => plan,
            Checked::Untyped { notes } => panic!("{notes:#?}"),
        }
    }

    pub(crate) fn preview(&self, plan: &Plan, options: &RunOptions) -> Preview {
        preview(plan, &self.store, &options.environment, &options.selection).unwrap()
    }

    pub(crate) fn run_with(&self, plan: &Plan, options: &RunOptions, cancel: &Cancel) -> Ran {
        run_in(&self.store, plan, options, cancel, &|_| {})
    }

    pub(crate) fn run(&self, text: &str) -> Ran {
        self.run_with(&self.plan(text), &options(), &Cancel::new())
    }

    /// A run that must have succeeded.
    pub(crate) fn succeed(&self, text: &str) -> Ran {
        let ran = self.run(text);
        assert!(ran.outcome.failures.is_empty(), "{:#?}", ran.outcome.failures);
        ran
    }

    /// A table of a run, all its columns.
    pub(crate) fn frame(&self, plan: &Plan, ran: &Ran, task: &str) -> DataFrame {
        let table = ran.table(plan, task);
        let names: Vec<String> = table.columns.iter().map(|stored| stored.column.name.clone()).collect();
        self.store.read_table(&table, &names).unwrap()
    }

    /// The files of a run's artifact.
    pub(crate) fn files(&self, plan: &Plan, ran: &Ran, task: &str, port: &str) -> std::sync::Arc<Files> {
        match ran.output(plan, task, port) {
            Output::Files { files, .. } => files.read(&self.store).unwrap(),
            Output::Table(_) => panic!("{task}.{port} is a table"),
        }
    }
}

/// Two threads and no waiting between tries.
pub(crate) fn options() -> RunOptions {
    RunOptions {
        threads: 2,
        first_wait: Duration::from_millis(1),
        ..RunOptions::new(Environment { numerics: "test".into() })
    }
}

/// Runs a plan; `watch` sees every event as it is told.
pub(crate) fn run_in(
    store: &Store,
    plan: &Plan,
    options: &RunOptions,
    cancel: &Cancel,
    watch: &(dyn Fn(&Event) + Sync),
) -> Ran {
    let events = Mutex::new(Vec::new());
    let tell = |event: Event| {
        watch(&event);
        events.lock().unwrap().push(event);
    };
    let outcome = run(plan, store, options, cancel, &tell).unwrap();
    Ran { outcome, events: events.into_inner().unwrap() }
}

impl Ran {
    /// How each task ended.
    pub(crate) fn statuses(&self) -> BTreeMap<&str, TaskStatus> {
        self.outcome.tasks.iter().map(|task| (task.task.as_str(), task.status)).collect()
    }

    /// The tasks that ended so, in the order of the plan.
    pub(crate) fn with(&self, status: TaskStatus) -> Vec<&str> {
        let tasks = self.outcome.tasks.iter().filter(|task| task.status == status);
        tasks.map(|task| task.task.as_str()).collect()
    }

    pub(crate) fn error(&self, task: &str) -> &str {
        let task = self.outcome.tasks.iter().find(|outcome| outcome.task == task);
        task.and_then(|task| task.error.as_deref()).unwrap_or("")
    }

    pub(crate) fn output(&self, plan: &Plan, task: &str, port: &str) -> &Output {
        let id = plan.tasks.iter().find(|planned| planned.name == task).unwrap().id;
        &self.outcome.outputs.0[&OutputRef { task: id, port: port.to_owned() }]
    }

    pub(crate) fn table(&self, plan: &Plan, task: &str) -> std::sync::Arc<Table> {
        match self.output(plan, task, "table") {
            Output::Table(table) => table.clone(),
            Output::Files { .. } => panic!("{task} is no table"),
        }
    }

    /// The values of every output, whatever chunks they lie in.
    pub(crate) fn values(&self, store: &Store) -> BTreeMap<String, Digest> {
        let outputs = self.outcome.outputs.0.iter();
        let digest = |output: &Output| match output {
            Output::Files { digest, .. } => *digest,
            Output::Table(table) => {
                let mut hasher = engine_core::Hasher::new("test");
                for stored in &table.columns {
                    let name = stored.column.name.clone();
                    let frame = store.read_table(table, std::slice::from_ref(&name)).unwrap();
                    let digest = engine_table::column_digest(frame.columns()[0].as_materialized_series());
                    hasher.field(name.as_bytes()).digest(&digest);
                }
                hasher.finish()
            }
        };
        outputs.map(|(output, value)| (format!("{output:?}"), digest(value))).collect()
    }
}

/// Every byte below `folder`, file after file.
pub(crate) fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(bytes_below(&path));
        } else {
            bytes.extend(std::fs::read(path).unwrap());
        }
    }
    bytes
}
