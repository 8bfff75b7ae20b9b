//! The benchmarks of docs/benchmarks.md: `just bench`.
//!
//! Makes its inputs in a temporary folder, times the program that lies beside it as whole processes, and prints a
//! Markdown table of what is promised and what is reached. It judges nothing: the exit code says only whether every
//! measured command did what it was to do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use engine_core::{ArtifactKind, RunStatus, Serving, SourceText, TaskStatus};
use engine_exec::{RunOptions, run};
use engine_plan::{Checked, Environment, Plan, bind, vocabulary};
use engine_spec::{Folders, Parameters};
use engine_store::Store;
use engine_table::{
    Arity, Cancel, Context, Describe, Files, InputPort, InputTypes, Kind, NodeError, OutputPort, PortType, Problem,
    Reduce, ReduceInputs, Reduction, Registry,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Nodes of the wide pipelines.
const NODES: usize = 1000;
/// Trivial tasks of the run inside this process.
const TRIVIAL: usize = 10_000;
/// Rows of the file that is read and of the table a model is trained on.
const ROWS: usize = 200_000;
const TRAIN_ROWS: usize = 30_000;
/// How often quick commands are run; slow ones a quarter as often.
const ROUNDS: usize = 20;

/// Why a benchmark could not be made.
type Failure = Box<dyn std::error::Error>;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose result is a printed table")]
fn main() -> ExitCode {
    match measured() {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measured() -> Result<String, Failure> {
    let program = program()?;
    let scratch = tempfile::tempdir()?;
    let bench = Bench { program, folder: scratch.path().to_owned() };
    let mut table = Table::default();
    bench.start_up(&mut table)?;
    for shape in [Shape::Families, Shape::Chain] {
        bench.wide(shape, &mut table)?;
    }
    bench.trivial(&mut table)?;
    bench.loans(&mut table)?;
    bench.ingest(&mut table)?;
    bench.train(&mut table)?;
    Ok(table.markdown())
}

/// The program to time: the product where it was built, else the one that has the kinds of the tests as well.
fn program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let folder = own.parent().ok_or("the benchmark program lies in no folder")?;
    let found = ["fuseline", "fuseline-under-test"].map(|name| folder.join(name)).into_iter().find(|it| it.is_file());
    found.ok_or_else(|| {
        let folder = folder.display();
        format!("there is no `fuseline` in `{folder}`; build it with `cargo build --release`").into()
    })
}

/// The rows of the printed table.
#[derive(Default)]
struct Table(Vec<[String; 5]>);

impl Table {
    /// What was timed, what is promised, how long it took.
    fn add(&mut self, what: impl Into<String>, target: Option<Duration>, times: &Times) {
        let verdict = match target {
            Some(target) if times.median() <= target => "yes",
            Some(target) if times.least() <= target => "at best",
            Some(_) => "no",
            None => "",
        };
        let target = target.map_or_else(String::new, |target| format!("< {}", shown(target)));
        self.0.push([what.into(), target, shown(times.median()), shown(times.least()), verdict.to_owned()]);
    }

    fn markdown(&self) -> String {
        let mut text = String::from("| what | target | median | best | reached |\n|---|---|---|---|---|\n");
        for [what, target, median, best, reached] in &self.0 {
            let _ = writeln!(text, "| {what} | {target} | {median} | {best} | {reached} |");
        }
        text
    }
}

/// How long each round took, in order of length.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut rounds: Vec<Duration>) -> Times {
        rounds.sort_unstable();
        Times(rounds)
    }

    fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    fn least(&self) -> Duration {
        self.0[0]
    }
}

fn shown(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    match milliseconds {
        quick if quick < 10.0 => format!("{quick:.1} ms"),
        middling if middling < 10_000.0 => format!("{middling:.0} ms"),
        slow => format!("{:.1} s", slow / 1000.0),
    }
}

/// How the nodes of a wide pipeline hang together.
#[derive(Clone, Copy)]
enum Shape {
    /// As analysts write: families of ten nodes, six of them straight off the table, then a chain of three, then one
    /// that joins four of the family by a list.
    Families,
    /// Each node reads the one before it, so the last table has as many columns as there are nodes.
    Chain,
}

impl Shape {
    fn words(self) -> &'static str {
        match self {
            Shape::Families => "families of ten",
            Shape::Chain => "one chain",
        }
    }

    fn inputs(self, node: usize) -> String {
        let before = |steps: usize| format!("n{}", node - steps);
        match self {
            Shape::Chain if node > 1 => before(1),
            Shape::Chain => "rows".to_owned(),
            Shape::Families => match (node - 1) % 10 {
                0..=5 => "rows".to_owned(),
                6..=8 => before(1),
                _ => format!("[{}]", [9, 8, 7, 1].map(before).join(", ")),
            },
        }
    }

    fn pipeline(self) -> String {
        let mut text = String::from(
            "fuseline: 1\nname: wide\nnodes:\n  rows:\n    uses: ingest.csv\n    with: {path: rows.csv, schema: {id: int, a: float, b: float, c: category}, roles: {id: key}}\n",
        );
        for node in 1..NODES {
            let inputs = self.inputs(node);
            let _ = writeln!(
                text,
                "  n{node}:\n    uses: extract.columns\n    with: {{columns: {{v{node}: \"a * {node} + b\"}}}}\n    in: {inputs}"
            );
        }
        text
    }
}

struct Bench {
    program: PathBuf,
    folder: PathBuf,
}

impl Bench {
    fn start_up(&self, table: &mut Table) -> Result<(), Failure> {
        let times = self.rounds(ROUNDS, || self.timed(&["--version"]))?;
        table.add("`fuseline --version`", Some(Duration::from_millis(30)), &times);
        Ok(())
    }

    fn wide(&self, shape: Shape, table: &mut Table) -> Result<(), Failure> {
        std::fs::write(self.folder.join("rows.csv"), rows_of(50))?;
        std::fs::write(self.folder.join("wide.yaml"), shape.pipeline())?;
        let words = shape.words();
        let times = self.rounds(ROUNDS, || self.timed(&["check", "wide.yaml"]))?;
        table.add(format!("`check`, {NODES} nodes, {words}"), Some(Duration::from_millis(100)), &times);
        let times = self.rounds(1, || self.timed(&["run", "wide.yaml", "--store", words]))?;
        table.add(format!("`run`, {NODES} nodes, {words}, nothing stored"), None, &times);
        let times = self.rounds(ROUNDS, || self.timed(&["run", "wide.yaml", "--store", words]))?;
        table.add(format!("`run`, {NODES} nodes, {words}, all hits"), Some(Duration::from_millis(300)), &times);
        Ok(())
    }

    /// The engine alone: a plan of tasks that do nothing, run in this process.
    fn trivial(&self, table: &mut Table) -> Result<(), Failure> {
        let plan = trivial_plan(&self.folder)?;
        let second = Some(Duration::from_secs(1));
        let mut stores = 0;
        let mut fresh = || -> Result<Store, Failure> {
            stores += 1;
            Ok(Store::open(&self.folder.join(format!("trivial-{stores}")))?)
        };
        let times = self.rounds(ROUNDS / 4, || run_here(&plan, &fresh()?, TaskStatus::Ran))?;
        table.add(format!("{TRIVIAL} trivial tasks in process, nothing stored"), second, &times);
        let store = fresh()?;
        run_here(&plan, &store, TaskStatus::Ran)?;
        let times = self.rounds(ROUNDS / 4, || run_here(&plan, &store, TaskStatus::Hit))?;
        table.add(format!("{TRIVIAL} trivial tasks in process, all hits"), second, &times);
        Ok(())
    }

    fn loans(&self, table: &mut Table) -> Result<(), Failure> {
        let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines");
        std::fs::create_dir_all(self.folder.join("loans"))?;
        for file in ["loans.yaml", "loans/loans.csv"] {
            std::fs::copy(pipelines.join(file), self.folder.join(file))?;
        }
        let times = self.rounds(ROUNDS / 4, || {
            let _ = std::fs::remove_dir_all(self.folder.join("quick"));
            self.timed(&["run", "loans.yaml", "--store", "quick"])
        })?;
        table.add("`run pipelines/loans.yaml`, nothing stored", None, &times);
        let times = self.rounds(ROUNDS, || self.timed(&["run", "loans.yaml", "--store", "quick"]))?;
        table.add("`run pipelines/loans.yaml`, all hits", Some(Duration::from_secs(1)), &times);
        Ok(())
    }

    fn ingest(&self, table: &mut Table) -> Result<(), Failure> {
        let text = rows_of(ROWS);
        let megabytes = text.len() as f64 / 1e6;
        std::fs::write(self.folder.join("long.csv"), text)?;
        let pipeline = "fuseline: 1\nname: long\nnodes:\n  rows:\n    uses: ingest.csv\n    with: {path: long.csv, schema: {id: int, a: float, b: float, c: category}, roles: {id: key}}\n";
        std::fs::write(self.folder.join("long.yaml"), pipeline)?;
        let times = self.rounds(ROUNDS / 4, || self.timed(&["run", "long.yaml", "--store", "long", "--force"]))?;
        let rate = megabytes / times.median().as_secs_f64();
        table.add(format!("`ingest.csv` of {ROWS} rows, {megabytes:.1} MB, forced: {rate:.0} MB/s"), None, &times);
        Ok(())
    }

    fn train(&self, table: &mut Table) -> Result<(), Failure> {
        std::fs::write(self.folder.join("train.csv"), rows_of(TRAIN_ROWS))?;
        std::fs::write(self.folder.join("train.yaml"), TRAIN)?;
        self.timed(&["run", "train.yaml", "--store", "train"])?;
        let times = self.rounds(ROUNDS / 4, || {
            self.timed(&["run", "train.yaml", "--store", "train", "--force", "--only", "model"])
        })?;
        table.add(format!("`train.multimodal`, {TRAIN_ROWS} rows, 64-64 units, 5 epochs, forced"), None, &times);
        Ok(())
    }

    fn rounds(&self, rounds: usize, mut one: impl FnMut() -> Result<Duration, Failure>) -> Result<Times, Failure> {
        Ok(Times::of((0..rounds.max(1)).map(|_| one()).collect::<Result<_, _>>()?))
    }

    /// The wall time of one whole process, which must succeed.
    fn timed(&self, arguments: &[&str]) -> Result<Duration, Failure> {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        let begun = Instant::now();
        let mut child = command.stderr(Stdio::null()).spawn()?;
        let status = child.wait()?;
        let took = begun.elapsed();
        if status.success() {
            Ok(took)
        } else {
            Err(format!("`fuseline {}` failed: {status}", arguments.join(" ")).into())
        }
    }
}

/// A small net on numbers and one category.
const TRAIN: &str = r"fuseline: 1
name: train
nodes:
  rows:
    uses: ingest.csv
    with: {path: train.csv, schema: {id: int, a: float, b: float, c: category}, roles: {id: key, c: target}}
  split: {uses: split.random, with: {shares: {train: 0.8, validation: 0.1, test: 0.1}}, in: rows}
  scaled: {uses: encode.standardize, with: {columns: [a, b]}, in: split}
  net: {uses: encode.table, with: {columns: [a, b], hidden: [64, 64]}, in: scaled}
  model: {uses: train.multimodal, with: {target: c, epochs: 5, batch_size: 256}, in: {encoders: [net]}}
";

/// A file of so many rows with a key, two numbers and a category that hangs on them.
fn rows_of(rows: usize) -> String {
    let mut text = String::from("id,a,b,c\n");
    for row in 0..rows {
        // Weyl's sequence: spread evenly, the same everywhere.
        let a = (row as f64 * 0.618_033_988_75).fract();
        let b = (row as f64 * 0.754_877_666_25).fract();
        let c = ["low", "middle", "high"][((a + b) * 1.5) as usize % 3];
        let _ = writeln!(text, "{row},{a:.9},{b:.9},{c}");
    }
    text
}

/// A kind that does nothing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NothingOptions {
    number: u32,
}

struct Nothing(NothingOptions);

impl Describe for Nothing {
    const KIND: &'static str = "bench.nothing";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Refuse;
    type Options = NothingOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new("after", ArtifactKind::Report, Arity::Optional)]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Report)]
    }

    fn new(options: NothingOptions) -> Result<Self, Vec<Problem>> {
        Ok(Nothing(options))
    }
}

impl Reduce for Nothing {
    fn infer(&self, _: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        Ok(Reduction { reads: Vec::new(), outputs: BTreeMap::from([("report".into(), PortType::Report)]) })
    }

    fn run(&self, _: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let files = Files::json("number.json", &self.0.number).map_err(NodeError::failed)?;
        Ok(BTreeMap::from([("report".into(), files)]))
    }
}

/// A hundred chains of a hundred tasks.
fn trivial_plan(folder: &Path) -> Result<Plan, Failure> {
    let mut text = String::from("fuseline: 1\nname: trivial\nnodes:\n");
    for node in 0..TRIVIAL {
        let _ = write!(text, "  t{node}: {{uses: bench.nothing, with: {{number: {node}}}");
        let end = if node % 100 == 0 { "}\n".to_owned() } else { format!(", in: {{after: t{}}}}}\n", node - 1) };
        text.push_str(&end);
    }
    let registry = Registry::new([Kind::reduce::<Nothing>()]);
    let source = SourceText { name: "trivial.yaml".into(), text };
    let folders = Folders::new(folder, folder)?;
    let words = vocabulary(&registry);
    let wrong = |problems: Vec<engine_core::Diagnostic>| {
        problems.first().map_or_else(String::new, |problem| problem.message.clone())
    };
    let (spec, _) = engine_spec::read(source, &Parameters::new(), &|_| None, &words, &folders).map_err(wrong)?;
    match bind(&spec, &registry).map_err(wrong)? {
        Checked::Complete(plan) => Ok(plan),
        Checked::Untyped { .. } => Err("the trivial pipeline has no types".into()),
    }
}

/// The time of one run, in which every task must end as `expected`.
fn run_here(plan: &Plan, store: &Store, expected: TaskStatus) -> Result<Duration, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = RunOptions { threads, ..RunOptions::new(Environment { numerics: "bench".into() }) };
    let begun = Instant::now();
    let outcome = run(plan, store, &options, &Cancel::new(), &|_| {})?;
    let took = begun.elapsed();
    let right = outcome.status == RunStatus::Succeeded && outcome.tasks.iter().all(|task| task.status == expected);
    if right {
        Ok(took)
    } else {
        Err(format!("the trivial run ended {:?} or not all {expected:?}", outcome.status).into())
    }
}
