//! Commands that look at what a node made: `peek`, `get`.
//!
//! A record holds only what a task changed, so the tables of a run are composed again: the pipeline is bound as it
//! was, and each task's outputs are laid over those above it by the keys the run noted.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use engine_core::{Digest, nearest};
use engine_plan::{Output, OutputRef, Outputs, Plan, compose_and_gather};
use engine_report::{Align, Screen, Table as TextTable, counted};
use engine_store::{Run, Store};
use engine_table::{Files, Registry, StoredColumn};
use polars::prelude::{AnyValue, DataFrame, DataType};
use polars_io::SerWriter;
use polars_io::prelude::{CsvWriter, IpcWriter, ParquetWriter};
use serde_json::{Value, json};

use super::history::{find, latest};
use super::kinds::pretty;
use super::say;
use crate::arguments::{PipelineArguments, StoreArguments};
use crate::load::load_from;
use crate::open::open;
use crate::{Failure, SUCCESS};

/// Shows a node's table.
pub fn peek(
    node: &str,
    arguments: &StoreArguments,
    run: Option<&str>,
    rows: usize,
    as_json: bool,
    registry: &Registry,
) -> Result<u8, Failure> {
    let store = open(arguments)?;
    let (output, run) = output_of(node, &store, arguments, run, registry)?;
    let Output::Table(table) = &output else {
        return Err(Failure::message(format!(
            "`{node}` gives no table; `fuseline get {node} --out FILE` copies what it gives"
        )));
    };
    let names: Vec<String> = table.columns.iter().map(|stored| stored.column.name.clone()).collect();
    let frame = store.read_table(table, &names).map_err(Failure::message)?;
    if as_json {
        let columns: Vec<Value> = table.columns.iter().map(|stored| column_json(stored, &frame)).collect();
        let head: Vec<Value> = (0..rows.min(frame.height())).map(|row| row_json(&frame, row)).collect();
        say(&pretty(&json!({"node": node, "run": run.id, "rows": table.rows(), "columns": columns, "head": head})))?;
        return Ok(SUCCESS);
    }
    let screen = Screen::of_stdout();
    let mut text = format!(
        "{node}: {} in {}, {} (run {})\n\n",
        counted(table.rows(), "row", "rows"),
        counted(table.chunk_rows.len() as u64, "chunk", "chunks"),
        counted(names.len() as u64, "column", "columns"),
        run.id
    );
    let mut summary = TextTable::new([
        ("column", Align::Left),
        ("type", Align::Left),
        ("role", Align::Left),
        ("missing", Align::Right),
        ("least", Align::Left),
        ("greatest", Align::Left),
    ]);
    for stored in &table.columns {
        let (least, greatest) = range(stored, &frame);
        summary.row([
            stored.column.name.clone(),
            stored.column.logical.to_string(),
            stored.column.role.to_string(),
            missing(stored).to_string(),
            least,
            greatest,
        ]);
    }
    text.push_str(&summary.render(&screen));
    let mut head = TextTable::new(names.iter().map(|name| (name.as_str(), Align::Left)));
    for row in 0..rows.min(frame.height()) {
        head.row(
            frame.columns().iter().map(|column| column.get(row).map_or_else(|_| String::new(), |value| cell(&value))),
        );
    }
    if !head.is_empty() {
        text.push('\n');
        text.push_str(&head.render(&screen));
    }
    say(&text)?;
    Ok(SUCCESS)
}

/// Copies a node's output to a file.
pub fn get(
    output: &str,
    out: &Path,
    arguments: &StoreArguments,
    run: Option<&str>,
    registry: &Registry,
) -> Result<u8, Failure> {
    let store = open(arguments)?;
    match output_of(output, &store, arguments, run, registry)?.0 {
        Output::Table(table) => {
            let names: Vec<String> = table.columns.iter().map(|stored| stored.column.name.clone()).collect();
            let mut frame = store.read_table(&table, &names).map_err(Failure::message)?;
            write_frame(&mut frame, out)?;
        }
        Output::Files { files, .. } => {
            let files = files.read(&store).map_err(Failure::message)?;
            write_files(&files, out)?;
        }
    }
    say(&format!("wrote {}\n", out.display()))?;
    Ok(SUCCESS)
}

/// Writes a table as the ending of `out` says; nothing half-written stays behind.
pub fn write_frame(frame: &mut DataFrame, out: &Path) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::message(format!("cannot write `{}`: {error}", out.display()));
    let ending = out.extension().and_then(|ending| ending.to_str()).unwrap_or("");
    if !["parquet", "csv", "ipc", "arrow"].contains(&ending) {
        let out = out.display();
        return Err(Failure::message(format!(
            "`{out}` has no known ending; a table is written as .parquet, .csv or .ipc"
        )));
    }
    let partial = out.with_extension(format!("{ending}.partial"));
    let file = File::create(&partial).map_err(|error| failed(&error))?;
    let written = match ending {
        "parquet" => ParquetWriter::new(file).finish(frame).map(|_| ()),
        "csv" => CsvWriter::new(file).finish(frame),
        _ => IpcWriter::new(file).finish(frame),
    };
    let moved = written.map_err(|error| failed(&error));
    let moved = moved.and_then(|()| std::fs::rename(&partial, out).map_err(|error| failed(&error)));
    if moved.is_err() {
        // What stopped the writing may stop this as well; the error says enough.
        let _ = std::fs::remove_file(&partial);
    }
    moved
}

fn write_files(files: &Files, out: &Path) -> Result<(), Failure> {
    let failed = |path: PathBuf| move |error| Failure::message(format!("cannot write `{}`: {error}", path.display()));
    let all: Vec<(&str, &std::sync::Arc<[u8]>)> = files.iter().collect();
    if let [(_, bytes)] = all.as_slice() {
        return std::fs::write(out, bytes).map_err(failed(out.to_owned()));
    }
    std::fs::create_dir_all(out).map_err(failed(out.to_owned()))?;
    all.into_iter().try_for_each(|(name, bytes)| std::fs::write(out.join(name), bytes).map_err(failed(out.join(name))))
}

/// The output called `name` (`node` or `node.port`) of a run, and the run.
fn output_of(
    name: &str,
    store: &Store,
    arguments: &StoreArguments,
    run: Option<&str>,
    registry: &Registry,
) -> Result<(Output, Run), Failure> {
    let (node, port) = name.split_once('.').map_or((name, None), |(node, port)| (node, Some(port)));
    let run = match run {
        Some(run) => find(store, arguments, run)?,
        None => latest_with(node, store, arguments)?,
    };
    let plan = plan_of(&run, registry)?;
    let task = plan
        .main_task(node)
        .ok_or_else(|| Failure::message(format!("the pipeline of run {} has no node `{node}` any more", run.id)))?;
    let port = match port {
        Some(port) => port.to_owned(),
        None => task.kind.outputs.first().map(|port| port.name.clone()).unwrap_or_default(),
    };
    let outputs = outputs_of(&plan, &run, store)?;
    // The fitted values of a node are made by its other part.
    let tasks = plan.tasks.iter().filter(|task| task.node == node && task.instance.is_none());
    let mut found = tasks.filter_map(|task| outputs.0.get(&OutputRef { task: task.id, port: port.clone() }).cloned());
    match found.next() {
        Some(output) => Ok((output, run)),
        None if task.kind.outputs.iter().any(|known| known.name == port) => Err(Failure::message(format!(
            "run {} did not come to `{node}`; `fuseline show {}` says why",
            run.id, run.id
        ))),
        None => {
            let ports: Vec<String> = task.kind.outputs.iter().map(|port| format!("`{node}.{}`", port.name)).collect();
            Err(Failure::message(format!("`{node}` has no output `{port}`; it gives {}", ports.join(", "))))
        }
    }
}

fn latest_with(node: &str, store: &Store, arguments: &StoreArguments) -> Result<Run, Failure> {
    let runs = latest(store, arguments, 100)?;
    for run in &runs {
        let task = store.task_of(&run.id, node).map_err(Failure::message)?;
        if task.is_some_and(|task| task.key.is_some()) {
            return Ok(run.clone());
        }
    }
    let mut nodes: Vec<String> = Vec::new();
    for run in &runs {
        nodes.extend(store.tasks(&run.id).map_err(Failure::message)?.into_iter().map(|task| task.node));
    }
    let hint = match nearest(node, nodes.iter().map(String::as_str)) {
        Some(near) if near != node => format!("did you mean `{near}`?"),
        _ => "`fuseline runs` lists the runs, and `fuseline show RUN` the nodes of one".to_owned(),
    };
    Err(Failure::message(format!("no run in this store has a result of `{node}`; {hint}")))
}

/// The pipeline of a run, bound as it was.
fn plan_of(run: &Run, registry: &Registry) -> Result<Plan, Failure> {
    let Some(file) = &run.start.file else {
        return Err(Failure::message(format!("run {} came from no file", run.id)));
    };
    let arguments = PipelineArguments {
        file: PathBuf::from(file),
        set: run.start.invocation.set.clone(),
        params: run.start.invocation.params.iter().map(PathBuf::from).collect(),
        store: None,
    };
    let loaded = load_from(&arguments, Path::new(&run.start.invocation.folder), registry)?;
    loaded.checked.complete().map_err(Failure::Diagnostics)
}

/// Every output of a run, composed from its records.
fn outputs_of(plan: &Plan, run: &Run, store: &Store) -> Result<Outputs, Failure> {
    let tasks = store.tasks(&run.id).map_err(Failure::message)?;
    let keys: BTreeMap<&str, Digest> = tasks.iter().filter_map(|task| Some((task.task.as_str(), task.key?))).collect();
    let mut outputs = Outputs::default();
    for task in &plan.tasks {
        let Some(key) = keys.get(task.name.as_str()) else { continue };
        let Some(record) = store.record(key).map_err(Failure::message)? else { continue };
        let composed = compose_and_gather(task, &record, &outputs, store).map_err(|error| {
            Failure::message(format!("{error}; the pipeline may have changed since run {}: run it again", run.id))
        })?;
        outputs.0.extend(composed);
    }
    Ok(outputs)
}

fn missing(stored: &StoredColumn) -> u64 {
    stored.chunks.iter().map(|chunk| chunk.nulls).sum()
}

/// The least and the greatest value, for types that have an order.
fn range(stored: &StoredColumn, frame: &DataFrame) -> (String, String) {
    let Ok(column) = frame.column(&stored.column.name) else { return Default::default() };
    if matches!(column.dtype(), DataType::Array(..) | DataType::List(_)) {
        return Default::default();
    }
    let shown = |scalar: polars::prelude::PolarsResult<polars::prelude::Scalar>| {
        scalar.map_or_else(|_| String::new(), |scalar| cell(scalar.value()))
    };
    (shown(column.min_reduce()), shown(column.max_reduce()))
}

fn cell(value: &AnyValue<'_>) -> String {
    let text = match value {
        AnyValue::Null => return "-".to_owned(),
        AnyValue::String(text) => (*text).to_owned(),
        AnyValue::StringOwned(text) => text.to_string(),
        AnyValue::Array(values, _) | AnyValue::List(values) => format!("[{} values]", values.len()),
        other => other.to_string(),
    };
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(40).collect();
    if text.chars().count() > 40 { format!("{line}…") } else { line }
}

fn column_json(stored: &StoredColumn, frame: &DataFrame) -> Value {
    let (least, greatest) = range(stored, frame);
    json!({
        "name": stored.column.name,
        "type": stored.column.logical.to_string(),
        "role": stored.column.role,
        "missing": missing(stored),
        "least": least,
        "greatest": greatest,
        "digest": stored.digest().to_string(),
    })
}

fn row_json(frame: &DataFrame, row: usize) -> Value {
    let cells = frame.columns().iter().map(|column| {
        let value = column.get(row).map_or(Value::Null, |value| match value {
            AnyValue::Null => Value::Null,
            AnyValue::Boolean(value) => json!(value),
            AnyValue::Int64(value) => json!(value),
            AnyValue::Float64(value) => json!(value),
            other => json!(cell(&other)),
        });
        (column.name().to_string(), value)
    });
    Value::Object(cells.collect())
}
