//! The arguments, their help and their examples.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Declarative pipelines for multimodal machine learning: checked before they run, explained, incremental.
///
/// A pipeline is a graph of nodes in YAML. Fuseline checks it whole before a row is read, says what will
/// run and why, runs it in parallel with every intermediate result cached by content, and serves it.
#[derive(Debug, Parser)]
#[command(
    name = "fuseline",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 success, or nothing to do (plan); 1 error; 2 work to do (plan); 64 wrong usage; 130 cancelled.\n\
                  Environment: NO_COLOR switches colours off; FUSELINE_LOG=debug shows what developers see."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a small pipeline and its data to start from
    #[command(after_help = "Example:\n  fuseline init credit && fuseline run credit/pipeline.yaml")]
    Init {
        /// The folder to make.
        folder: PathBuf,
    },
    /// Check a pipeline without running it; needs no data
    #[command(
        after_help = "Examples:\n  fuseline check pipeline.yaml\n  fuseline check pipeline.yaml --set data=../data --json"
    )]
    Check {
        /// The pipeline and its parameters.
        #[command(flatten)]
        pipeline: PipelineArguments,
        /// Print the problems as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what would run, and why; exit code 0: nothing, 2: something, 1: error
    #[command(
        after_help = "Examples:\n  fuseline plan pipeline.yaml\n  fuseline plan pipeline.yaml --columns\n  fuseline plan pipeline.yaml --json | jq .tasks"
    )]
    Plan {
        /// The pipeline and its parameters.
        #[command(flatten)]
        pipeline: PipelineArguments,
        /// Which nodes.
        #[command(flatten)]
        selection: SelectionArguments,
        /// Show the columns and types on every edge, and what selectors matched.
        #[arg(long)]
        columns: bool,
        /// Print the plan as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a pipeline: what is in the store is taken from it
    #[command(
        after_help = "Examples:\n  fuseline run pipeline.yaml\n  fuseline run pipeline.yaml --set data=../data --threads 4\n  \
                      fuseline run pipeline.yaml --only quality --json"
    )]
    Run {
        /// The pipeline and its parameters.
        #[command(flatten)]
        pipeline: PipelineArguments,
        /// Which nodes.
        #[command(flatten)]
        selection: SelectionArguments,
        /// Threads for everything together; default: all cores.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
        threads: Option<u32>,
        /// Memory that running nodes may ask for together, as in `8GiB`; default: what the machine has.
        #[arg(long, value_name = "SIZE", value_parser = memory)]
        memory: Option<u64>,
        /// GPUs that running nodes may ask for together.
        #[arg(long, value_name = "N", default_value_t = 0)]
        gpus: usize,
        /// Stop at the first failure instead of finishing independent branches.
        #[arg(long)]
        fail_fast: bool,
        /// Print events as JSON, one a line.
        #[arg(long)]
        json: bool,
        /// Write the HTML report here; default: in the store.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Draw the graph
    #[command(
        after_help = "Examples:\n  fuseline graph pipeline.yaml --format svg > graph.svg\n  fuseline graph pipeline.yaml --format dot | dot -Tpng > graph.png"
    )]
    Graph {
        /// The pipeline and its parameters.
        #[command(flatten)]
        pipeline: PipelineArguments,
        /// The format.
        #[arg(long, value_enum, default_value = "mermaid")]
        format: GraphFormat,
    },
    /// List the kinds of nodes, or print the manual of one
    Kinds {
        /// As in `clean.impute`.
        kind: Option<String>,
        /// Also the kinds of plug-ins.
        #[command(flatten)]
        plugins: PluginArguments,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON schema of a pipeline file, or of a kind's options
    Schema {
        /// As in `clean.impute`.
        kind: Option<String>,
        /// Also the kinds of plug-ins.
        #[command(flatten)]
        plugins: PluginArguments,
    },
    /// Work on a plug-in
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Explain a diagnostic, as in `port.kind`
    Explain {
        /// The name in brackets of a message.
        code: String,
    },
    /// List past runs, the latest first
    Runs {
        /// Where the runs are.
        #[command(flatten)]
        store: StoreArguments,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a run: its nodes, times, keys and metrics
    Show {
        /// The run's id, the beginning of one, or `last`.
        run: String,
        /// Where the runs are.
        #[command(flatten)]
        store: StoreArguments,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare two runs: options, data and metrics
    Diff {
        /// The earlier run.
        before: String,
        /// The later run.
        after: String,
        /// Where the runs are.
        #[command(flatten)]
        store: StoreArguments,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look at a node's table: rows, types, roles, gaps, ranges
    #[command(after_help = "Example:\n  fuseline peek filled --pipeline pipeline.yaml")]
    Peek {
        /// The node.
        node: String,
        /// Where the runs are.
        #[command(flatten)]
        store: StoreArguments,
        /// The run; default: the last that has the node.
        #[arg(long)]
        run: Option<String>,
        /// How many rows to show.
        #[arg(long, default_value_t = 5)]
        rows: usize,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Copy a node's output to a file: a table as parquet, csv or ipc by the file's ending
    #[command(
        after_help = "Examples:\n  fuseline get split --out split.parquet\n  fuseline get quality.metrics --out metrics.json"
    )]
    Get {
        /// The node, or `node.port`.
        output: String,
        /// The file; a folder for an artifact of several files.
        #[arg(long)]
        out: PathBuf,
        /// Where the runs are.
        #[command(flatten)]
        store: StoreArguments,
        /// The run; default: the last that has the node.
        #[arg(long)]
        run: Option<String>,
    },
    /// Predict with a bundle
    #[command(after_help = "Example:\n  fuseline predict receipts.fuse input.csv --out predictions.parquet")]
    Predict {
        /// The bundle.
        bundle: PathBuf,
        /// The rows: csv or parquet.
        input: PathBuf,
        /// Where the predictions go: csv or parquet.
        #[arg(long)]
        out: PathBuf,
    },
    /// Serve a bundle over HTTP
    #[command(
        after_help = "Example:\n  fuseline serve receipts.fuse --port 8080\n  curl -d '{\"rows\": [{...}]}' -H 'content-type: application/json' localhost:8080/predict"
    )]
    Serve {
        /// The bundle.
        bundle: PathBuf,
        /// The address to listen on.
        #[arg(long, default_value = "127.0.0.1")]
        host: std::net::IpAddr,
        /// The port; 0 takes a free one.
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// Most rows in a request.
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
        max_rows: u32,
        /// Largest request body, in MiB.
        #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
        max_body_mib: u32,
        /// Largest image or sound in a request, in MiB.
        #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
        max_media_mib: u32,
        /// Longest time for a request, in seconds.
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
        timeout: u32,
        /// Threads that predict; default: all cores.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
        threads: Option<u32>,
    },
    /// Print the pipeline with parameters filled in; secrets stay names
    Render {
        /// The pipeline and its parameters.
        #[command(flatten)]
        pipeline: PipelineArguments,
    },
    /// Write schemas and generated pages of the book
    #[command(hide = true)]
    Docs {
        /// The root of the repository.
        #[arg(long)]
        out: PathBuf,
    },
}

/// An amount of memory in bytes.
fn memory(text: &str) -> Result<u64, String> {
    let bytes = engine_spec::parse_memory(text).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "an amount of memory is a whole number and a unit, such as `512MiB` or `8GiB`".to_owned())
}

/// What can be done with a plug-in.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Try a plug-in: is what it gives as declared, and does each row depend on that row alone?
    ///
    /// The same rows are sent several times, cut in other places, in another order and one at a time.
    #[command(after_help = "Examples:\n  fuseline plugin test plugins/sentiment --set column=headline\n  \
                      fuseline plugin test plugins/sentiment --set column=headline --data news.csv")]
    Test {
        /// The plug-in's folder.
        folder: PathBuf,
        /// Rows to try it with, as CSV; default: rows made up from the declared types.
        #[arg(long, value_name = "FILE")]
        data: Option<PathBuf>,
        /// Give an option a value.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}

/// Plug-ins a command may use besides the built-in kinds.
#[derive(Debug, Args)]
pub struct PluginArguments {
    /// A plug-in's folder, or a folder of such.
    #[arg(long, value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
}

/// A pipeline file and what fills its parameters.
#[derive(Debug, Args)]
pub struct PipelineArguments {
    /// The pipeline.
    pub file: PathBuf,
    /// Give a parameter a value; a relative path in it starts at the working directory.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Give parameters values from a YAML file; `--set` goes before it.
    #[arg(long, value_name = "FILE")]
    pub params: Vec<PathBuf>,
    /// The store; default: `.fuseline` beside the pipeline.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

/// Which nodes to run.
#[derive(Debug, Args)]
pub struct SelectionArguments {
    /// Only these nodes and what they need; several as `a,b`, or the option several times.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Run these nodes and everything below them again; several as `a,b`, or the option several times.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub from: Vec<String>,
    /// Run everything again.
    #[arg(long)]
    pub force: bool,
}

impl SelectionArguments {
    /// Every node, as the store has it.
    pub fn everything() -> SelectionArguments {
        SelectionArguments { only: Vec::new(), from: Vec::new(), force: false }
    }
}

impl From<&SelectionArguments> for engine_plan::Selection {
    fn from(arguments: &SelectionArguments) -> engine_plan::Selection {
        let SelectionArguments { only, from, force } = arguments;
        engine_plan::Selection { only: only.clone(), from: from.clone(), force: *force }
    }
}

/// Where past runs are found.
#[derive(Debug, Args)]
pub struct StoreArguments {
    /// The store; default: that of `--pipeline`, else `.fuseline` here or in a folder above.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// The pipeline whose store it is.
    #[arg(long, value_name = "FILE")]
    pub pipeline: Option<PathBuf>,
}

/// How a graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// Graphviz.
    Dot,
    /// For Markdown.
    Mermaid,
    /// A picture.
    Svg,
}
