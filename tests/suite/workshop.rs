//! A folder with a pipeline of the repository and small data, and the rooms below the command line called on it.

use std::path::{Path, PathBuf};

use engine_core::{Role, RunStatus, SourceText, TaskStatus};
use engine_exec::{Chunking, RunOptions, RunOutcome};
use engine_plan::{Environment, Output, OutputRef, Plan, Preview, Selection};
use engine_spec::{Folders, Parameters};
use engine_store::Store;
use engine_table::{Cancel, Files, Registry, Table};
use polars::prelude::DataFrame;
use tempfile::TempDir;

use crate::look_alike::{self, Csv, File};

/// A pipeline and its data in a temporary folder.
pub struct Project {
    folder: TempDir,
    registry: Registry,
    /// Where the data stand, below the folder.
    data_file: &'static str,
    /// What else stands in the folder.
    files: Vec<File>,
    /// The pipeline's text; written to the folder before it is read.
    pub text: String,
    /// The pipeline's data; written to the folder before they are read.
    pub data: Csv,
}

impl Project {
    fn new(text: &str, data_file: &'static str, data: Csv) -> Project {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join(data_file).parent().unwrap()).unwrap();
        Project {
            folder,
            registry: fuseline_tests::registry(),
            data_file,
            files: Vec::new(),
            text: text.to_owned(),
            data,
        }
    }

    /// `pipelines/loans.yaml` on its first `rows` loans, trained for a few epochs only.
    pub fn loans(rows: usize) -> Project {
        let text = include_str!("../../pipelines/loans.yaml");
        let mut project = Project::new(text, "loans/loans.csv", look_alike::loans(rows));
        project.replace("epochs: 60", "epochs: 2");
        project
    }

    /// `pipelines/german-credit.yaml` on look-alike data, with three folds and a few epochs only.
    pub fn german_credit(rows: usize) -> Project {
        let text = include_str!("../../pipelines/german-credit.yaml");
        let data = look_alike::german_credit(rows, 11);
        let mut project = Project::new(text, "data/german_credit/german_credit.csv", data);
        project.replace("epochs: 80", "epochs: 2");
        project.replace("folds: 5", "folds: 3");
        project
    }

    /// `pipelines/telco-churn.yaml` on look-alike data, trained for a few epochs only.
    pub fn telco_churn(rows: usize) -> Project {
        let text = include_str!("../../pipelines/telco-churn.yaml");
        let data = look_alike::telco_churn(rows, 12);
        let mut project = Project::new(text, "data/telco_churn/telco_churn.csv", data);
        project.replace("epochs: 60", "epochs: 2");
        project
    }

    /// A pipeline of a test's own over the first `rows` loans of `pipelines/loans.yaml`.
    pub fn of_loans(text: &str, rows: usize) -> Project {
        Project::new(text, "loans/loans.csv", look_alike::loans(rows))
    }

    /// `pipelines/receipts.yaml` on look-alike data, with narrow encoders trained for one epoch only.
    pub fn receipts(rows: usize) -> Project {
        let text = include_str!("../../pipelines/receipts.yaml");
        let (data, files) = look_alike::receipts(rows, 13);
        let mut project = Project::new(text, "data/receipts_sroie/lines.csv", data);
        project.files = files;
        project.replace("epochs: 10", "epochs: 1");
        project.replace("max_length: 48", "max_length: 8");
        project.replace("width: 64, layers: 2, heads: 4", "width: 8, layers: 1, heads: 2");
        project.replace("channels: [16, 32]", "channels: [2, 2]");
        project
    }

    /// `pipelines/spoken-digits.yaml` on look-alike data, with a narrow encoder trained for one epoch only.
    pub fn spoken_digits(rows: usize) -> Project {
        Project::of_sounds(include_str!("../../pipelines/spoken-digits.yaml"), rows, "epochs: 30")
    }

    /// `pipelines/unseen-speakers.yaml` on look-alike data, with a narrow encoder trained for one epoch only.
    pub fn unseen_speakers(rows: usize) -> Project {
        Project::of_sounds(include_str!("../../pipelines/unseen-speakers.yaml"), rows, "epochs: 20")
    }

    fn of_sounds(text: &str, rows: usize, epochs: &str) -> Project {
        let (data, files) = look_alike::spoken_digits(rows, 14);
        let mut project = Project::new(text, "data/fsdd/recordings.csv", data);
        project.files = files;
        project.replace(epochs, "epochs: 1");
        project.replace("channels: [16, 32, 64]", "channels: [2, 2]");
        project.replace("seconds: 0.8", "seconds: 0.2");
        project
    }

    /// `pipelines/banking77.yaml` on look-alike data, with a narrow encoder trained for one epoch only.
    pub fn banking77(rows: usize) -> Project {
        let text = include_str!("../../pipelines/banking77.yaml");
        let mut project = Project::new(text, "data/banking77/banking77.csv", look_alike::banking77(rows, 15));
        project.replace("epochs: 40", "epochs: 1");
        project.replace("width: 256, hidden: [256]", "width: 8, hidden: [8]");
        project
    }

    /// `pipelines/quickstart.yaml` on its first `rows` claims, with narrow encoders trained for one epoch only.
    pub fn quickstart(rows: usize) -> Project {
        let mut project = Project::of_text(include_str!("../../pipelines/quickstart.yaml"));
        project.replace("rows: 14000", &format!("rows: {rows}"));
        project.replace("epochs: 12", "epochs: 1");
        project.replace("width: 32}, in: words", "width: 4}, in: words");
        project.replace("channels: [8, 16]", "channels: [2, 2]");
        project.replace("hidden: 32, width: 32", "hidden: 4, width: 4");
        project
    }

    /// `pipelines/quickstart.yaml` as it is.
    pub fn whole_quickstart() -> Project {
        Project::of_text(include_str!("../../pipelines/quickstart.yaml"))
    }

    /// A pipeline of a test's own, without data.
    pub fn of_text(text: &str) -> Project {
        Project::new(text, "none.csv", Csv { header: vec!["none".to_owned()], rows: Vec::new() })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The pipeline's file, written as it is now, with its data.
    pub fn write(&self) -> PathBuf {
        let file = self.path().join("pipeline.yaml");
        std::fs::write(&file, &self.text).unwrap();
        std::fs::write(self.path().join(self.data_file), self.data.to_text()).unwrap();
        for (name, content) in &self.files {
            let path = self.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            // What is there stays as it is: a written file is read again.
            if !path.exists() {
                std::fs::write(path, content).unwrap();
            }
        }
        file
    }

    /// Replaces a piece of the pipeline's text, which must be there.
    pub fn replace(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "the pipeline has no `{from}`:\n{}", self.text);
        self.text = self.text.replace(from, to);
    }

    /// The pipeline as it is now, bound to its kinds.
    pub fn plan(&self) -> Plan {
        self.write();
        let source = SourceText { name: "pipeline.yaml".into(), text: self.text.clone() };
        let folders = Folders::new(self.path(), self.path()).unwrap();
        let vocabulary = engine_plan::vocabulary(&self.registry);
        let (spec, _) = engine_spec::read(source, &Parameters::new(), &|_| None, &vocabulary, &folders)
            .unwrap_or_else(|problems| panic!("{problems:#?}\n{}", self.text));
        let checked = engine_plan::bind(&spec, &self.registry);
        let checked = checked.unwrap_or_else(|problems| panic!("{problems:#?}\n{}", self.text));
        checked.complete().unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    /// Runs the pipeline as it is now; it must succeed.
    pub fn run(&self, store: &Store) -> Ran {
        self.run_in(store, Chunking::default())
    }

    /// Runs the pipeline on other data; it must succeed.
    pub fn run_with(&self, data: &Csv, store: &Store) -> Ran {
        let plan = self.plan();
        // The plan knows types only, and those are as before.
        std::fs::write(self.path().join(self.data_file), data.to_text()).unwrap();
        run(plan, store, Chunking::default())
    }

    /// As [`Project::run`], with chunk boundaries elsewhere.
    pub fn run_in(&self, store: &Store, chunking: Chunking) -> Ran {
        run(self.plan(), store, chunking)
    }
}

fn run(plan: Plan, store: &Store, chunking: Chunking) -> Ran {
    let mut options = RunOptions::new(environment());
    options.threads = 2;
    options.chunking = chunking;
    let outcome = engine_exec::run(&plan, store, &options, &Cancel::new(), &|_| {}).unwrap();
    assert_eq!(outcome.status, RunStatus::Succeeded, "{:#?}", outcome.failures);
    Ran { plan, outcome }
}

/// What keys tasks on this machine, as far as a test is concerned.
pub fn environment() -> Environment {
    Environment { numerics: "here".to_owned() }
}

/// What a run of `plan` would do.
pub fn preview(plan: &Plan, store: &Store) -> Preview {
    engine_plan::preview(plan, store, &environment(), &Selection::default()).unwrap()
}

/// A plan and how its run ended.
pub struct Ran {
    pub plan: Plan,
    pub outcome: RunOutcome,
}

impl Ran {
    /// The names of the tasks that ran, in the order of the plan.
    pub fn executed(&self) -> Vec<&str> {
        let tasks = self.outcome.tasks.iter().filter(|task| task.status == TaskStatus::Ran);
        tasks.map(|task| task.task.as_str()).collect()
    }

    /// The tasks that ended so, in the order of the plan.
    pub fn with(&self, status: TaskStatus) -> Vec<&str> {
        let tasks = self.outcome.tasks.iter().filter(|task| task.status == status);
        tasks.map(|task| task.task.as_str()).collect()
    }

    fn output(&self, task: &str, port: &str) -> &Output {
        let task = self.plan.tasks.iter().find(|other| other.name == task).unwrap_or_else(|| panic!("no task {task}"));
        let output = OutputRef { task: task.id, port: port.to_owned() };
        self.outcome.outputs.0.get(&output).unwrap_or_else(|| panic!("`{}` has no output {port}", task.name))
    }

    /// The table a task gave.
    pub fn table(&self, task: &str) -> &Table {
        match self.output(task, "table") {
            Output::Table(table) => table,
            Output::Files { .. } => panic!("`{task}` gives files"),
        }
    }

    /// All values of the table a task gave.
    pub fn frame(&self, task: &str, store: &Store) -> DataFrame {
        let table = self.table(task);
        let names: Vec<String> = table.columns.iter().map(|stored| stored.column.name.clone()).collect();
        store.read_table(table, &names).unwrap()
    }

    /// The files a task gave.
    pub fn files(&self, task: &str, port: &str, store: &Store) -> std::sync::Arc<Files> {
        match self.output(task, port) {
            Output::Files { files, .. } => files.read(store).unwrap(),
            Output::Table(_) => panic!("`{task}` gives a table"),
        }
    }

    /// The cells of a column, as text.
    pub fn cells(&self, task: &str, column: &str, store: &Store) -> Vec<String> {
        texts(&self.frame(task, store), column)
    }

    /// The cells of the column with the role split, as text.
    pub fn split(&self, task: &str, store: &Store) -> Vec<String> {
        let stored = self.table(task).columns.iter().find(|stored| stored.column.role == Role::Split).unwrap();
        self.cells(task, &stored.column.name, store)
    }
}

/// The cells of a column, as text.
pub fn texts(frame: &DataFrame, column: &str) -> Vec<String> {
    let column = frame.column(column).unwrap();
    (0..column.len()).map(|row| column.get(row).unwrap().str_value().to_string()).collect()
}
