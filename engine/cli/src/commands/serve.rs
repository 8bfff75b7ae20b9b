//! Commands that use a bundle: `predict` and `serve`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine_serve::{ServeOptions, stop_signal};
use engine_table::deployment::{Deployment, Runner};
use engine_table::{ColumnType, Context, Node, Peek, Registry, concatenated, empty_frame, solo};
use polars::prelude::DataFrame;
use serde_json::json;

use super::say;
use super::tables::write_frame;
use crate::{Failure, SUCCESS, machine};

/// The limits of a server.
pub struct Limits {
    /// Most rows in a request.
    pub max_rows: usize,
    /// Largest body, in MiB.
    pub max_body_mib: usize,
    /// Longest time for a request, in seconds.
    pub timeout: u64,
    /// Threads that predict; nothing is all cores.
    pub threads: Option<usize>,
}

/// Predicts every row of a file.
pub fn predict(bundle: &Path, input: &Path, out: &Path, registry: &Registry) -> Result<u8, Failure> {
    let runner = open(bundle, registry)?;
    // On a thread of its own, on which polars runs alone: the bits are those of training and of the server.
    let predicted = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            solo();
            let rows = read_rows(input, runner.request(), registry)?;
            runner.predict(&rows).map_err(Failure::message)
        });
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let mut predicted = predicted?;
    let rows = predicted.height();
    write_frame(&mut predicted, out)?;
    say(&format!("wrote {rows} predictions to {}\n", out.display()));
    Ok(SUCCESS)
}

/// Serves a bundle until Ctrl-C or SIGTERM.
pub fn serve(bundle: &Path, address: SocketAddr, limits: Limits, registry: &Registry) -> Result<u8, Failure> {
    let runner = open(bundle, registry)?;
    let threads = limits.threads.unwrap_or_else(machine::cores).max(1);
    let name = bundle.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut options = ServeOptions::new(name, address, threads);
    options.max_rows = limits.max_rows;
    options.max_body_bytes = limits.max_body_mib << 20;
    options.timeout = Duration::from_secs(limits.timeout);
    let listening = |address: SocketAddr| {
        say(&format!(
            "serving {} on http://{address}\n  POST /predict   GET /schema /health /ready /metrics\n",
            bundle.display()
        ));
    };
    engine_serve::serve(Arc::new(runner), &options, stop_signal(), listening).map_err(Failure::message)?;
    Ok(SUCCESS)
}

fn open(bundle: &Path, registry: &Registry) -> Result<Runner, Failure> {
    let name = bundle.display();
    let bytes = std::fs::read(bundle).map_err(|error| Failure::message(format!("cannot read `{name}`: {error}")))?;
    let deployment = Deployment::decode(&bytes).map_err(|error| Failure::message(format!("`{name}`: {error}")))?;
    Runner::new(&deployment, registry).map_err(|error| Failure::message(format!("`{name}`: {error}")))
}

/// The request columns of a file, read by the kind that reads such files in a pipeline.
fn read_rows(input: &Path, request: &[ColumnType], registry: &Registry) -> Result<DataFrame, Failure> {
    let ending = input.extension().and_then(|ending| ending.to_str()).unwrap_or("");
    let kind = registry.kind(&format!("ingest.{ending}")).ok_or_else(|| {
        Failure::message(format!("`{}` has no known ending; rows are read from .csv and .parquet", input.display()))
    })?;
    let path = std::path::absolute(input).map_err(Failure::message)?;
    let names: Vec<&str> = request.iter().map(|column| column.name.as_str()).collect();
    let types: serde_json::Map<String, serde_json::Value> =
        request.iter().map(|column| (column.name.clone(), json!(column.logical))).collect();
    let mut options = json!({ "path": path, "columns": names, "types": types });
    let with = options.as_object_mut().map(std::mem::take).unwrap_or_default();
    let in_words = |problems: Vec<engine_table::Problem>| {
        let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        Failure::message(format!(
            "`{}` does not hold what the bundle asks for: {}",
            input.display(),
            messages.join("; ")
        ))
    };
    let bound = kind.bind(&with).map_err(in_words)?;
    let Node::Source(source) = bound.node else {
        return Err(Failure::message(format!("`{}` is read by no source", input.display())));
    };
    let columns = match source.peek().map_err(in_words)? {
        Peek::Columns(columns) => columns,
        Peek::Absent(note) => return Err(Failure::message(note)),
    };
    let mut frames = Vec::new();
    source
        .read(&columns, &Context::quiet(), &mut |frame| {
            frames.push(frame);
            Ok(())
        })
        .map_err(Failure::message)?;
    let rows =
        if frames.is_empty() { empty_frame(&columns) } else { concatenated(frames) }.map_err(Failure::message)?;
    rows.select(names).map_err(Failure::message)
}
