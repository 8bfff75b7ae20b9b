//! Commands that use a bundle: `predict` and `serve`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine_core::LogicalType;
use engine_serve::{ServeOptions, stop_signal};
use engine_table::deployment::{Deployment, Lent, Runner};
use engine_table::{ColumnType, Context, NamedFile, Node, Peek, Registry, concatenated, empty_frame, solo};
use polars::prelude::{Column, DataFrame};
use serde_json::json;

use super::say;
use super::tables::write_frame;
use crate::{Failure, SUCCESS, machine};

/// So many rows that name images or sounds are predicted at a time: these are held in memory.
const MEDIA_ROWS: usize = 64;

/// So many files that are not there are named.
const FILES_TOLD: usize = 10;

/// The limits of a server.
pub struct Limits {
    /// Most rows in a request.
    pub max_rows: u32,
    /// Largest body, in MiB.
    pub max_body_mib: u32,
    /// Largest image or sound, in MiB.
    pub max_media_mib: u32,
    /// Longest time for a request, in seconds.
    pub timeout: u32,
    /// Threads that predict; nothing is all cores.
    pub threads: Option<u32>,
}

/// Predicts every row of a file.
pub fn predict(bundle: &Path, input: &Path, out: &Path, registry: &Registry) -> Result<u8, Failure> {
    let runner = open(bundle, registry)?;
    // On a thread of its own, on which polars runs alone: the bits are those of training and of the server.
    let predicted = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            solo();
            let rows = read_rows(input, runner.request(), "the bundle", registry)?;
            let folder = input.parent().unwrap_or(Path::new(""));
            predict_rows(&runner, &rows, folder)
        });
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let mut predicted = predicted?;
    let rows = predicted.height();
    write_frame(&mut predicted, out)?;
    say(&format!("wrote {rows} predictions to {}\n", out.display()))?;
    Ok(SUCCESS)
}

/// The predictions for `rows`, whose images and sounds are named by paths below `folder`.
fn predict_rows(runner: &Runner, rows: &DataFrame, folder: &Path) -> Result<DataFrame, Failure> {
    let is_media = |column: &&ColumnType| matches!(column.logical, LogicalType::Image | LogicalType::Audio);
    let media: Vec<&str> = runner.request().iter().filter(is_media).map(|column| column.name.as_str()).collect();
    if media.is_empty() || rows.height() == 0 {
        return runner.predict(rows).map_err(Failure::message);
    }
    let files = media.iter().map(|name| named_files(rows, name, folder)).collect::<Result<Vec<_>, Failure>>()?;
    check_files(&media, &files)?;
    let mut parts = Vec::new();
    // What is predicted does not depend on the rows beside it, and so many rows at a time bound the memory.
    for from in (0..rows.height()).step_by(MEDIA_ROWS) {
        let mut part = rows.slice(from as i64, MEDIA_ROWS);
        let until = from + part.height();
        let mut lent: Vec<Lent> = Vec::new();
        for (name, files) in media.iter().zip(&files) {
            let mut cells: Vec<Option<String>> = Vec::with_capacity(part.height());
            for file in &files[from..until] {
                let Some(file) = file else {
                    cells.push(None);
                    continue;
                };
                let bytes = std::fs::read(&file.path)
                    .map_err(|error| Failure::message(format!("cannot read `{}`: {error}", file.path.display())))?;
                let kept = runner.lend(bytes);
                cells.push(Some(kept.digest().to_string()));
                lent.push(kept);
            }
            part.with_column(Column::new((*name).into(), cells)).map_err(Failure::message)?;
        }
        let predicted = runner.predict(&part).map_err(|error| {
            Failure::message(format!("{error} (among rows {from} to {} of the file, counted from 0)", until - 1))
        })?;
        drop(lent);
        parts.push(predicted);
    }
    concatenated(parts).map_err(Failure::message)
}

/// The files that the cells of a column name.
fn named_files(rows: &DataFrame, column: &str, folder: &Path) -> Result<Vec<Option<NamedFile>>, Failure> {
    let cells = rows.column(column).and_then(|cells| cells.str()).map_err(Failure::message)?;
    let named = cells.iter().enumerate().map(|(row, name)| {
        let Some(name) = name else { return Ok(None) };
        NamedFile::below(folder, name).map(Some).map_err(|wrong| {
            Failure::message(format!(
                "column `{column}`, row {row}: the name `{name}` {wrong}; names start from the folder of the input file"
            ))
        })
    });
    named.collect()
}

/// Names all files that are not there, before anything is predicted.
fn check_files(columns: &[&str], files: &[Vec<Option<NamedFile>>]) -> Result<(), Failure> {
    let mut absent = Vec::new();
    for (column, files) in columns.iter().zip(files) {
        let is_absent = |file: &NamedFile| !file.path.is_file();
        for (row, file) in files.iter().enumerate() {
            if let Some(file) = file.as_ref().filter(|file| is_absent(file)) {
                absent.push(format!("`{}` (column `{column}`, row {row})", file.name));
            }
        }
    }
    if absent.is_empty() {
        return Ok(());
    }
    let told = &absent[..absent.len().min(FILES_TOLD)];
    let more =
        if absent.len() > told.len() { format!(" and {} more", absent.len() - told.len()) } else { String::new() };
    Err(Failure::message(format!(
        "{} files are not there: {}{more}; names start from the folder of the input file",
        absent.len(),
        told.join(", ")
    )))
}

/// Serves a bundle until Ctrl-C or SIGTERM.
pub fn serve(bundle: &Path, address: SocketAddr, limits: Limits, registry: &Registry) -> Result<u8, Failure> {
    let runner = open(bundle, registry)?;
    let threads = limits.threads.map_or_else(machine::cores, |threads| threads as usize);
    let name = bundle.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut options = ServeOptions::new(name, address, threads);
    options.max_rows = limits.max_rows as usize;
    options.max_body_bytes = (limits.max_body_mib as usize) << 20;
    options.max_media_bytes = (limits.max_media_mib as usize) << 20;
    options.timeout = Duration::from_secs(limits.timeout.into());
    let listening = |address: SocketAddr| {
        // The server is there whether or not anybody reads where.
        let _ = say(&format!(
            "serving {} on http://{address}\n  POST /predict   GET /schema /openapi.json /health /ready /metrics\n",
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

/// What a cell of a file is read as: the path of an image or sound is a text.
fn cell_type(logical: &LogicalType) -> &LogicalType {
    match logical {
        LogicalType::Image | LogicalType::Audio => &LogicalType::Text,
        other => other,
    }
}

/// The columns of a file that `asker` asks for, read by the kind that reads such files in a pipeline.
pub(super) fn read_rows(
    input: &Path,
    request: &[ColumnType],
    asker: &str,
    registry: &Registry,
) -> Result<DataFrame, Failure> {
    let ending = input.extension().and_then(|ending| ending.to_str()).unwrap_or("");
    let kind = registry.kind(&format!("ingest.{ending}")).ok_or_else(|| {
        Failure::message(format!("`{}` has no known ending; rows are read from .csv and .parquet", input.display()))
    })?;
    let path = std::path::absolute(input).map_err(Failure::message)?;
    let names: Vec<&str> = request.iter().map(|column| column.name.as_str()).collect();
    let types: serde_json::Map<String, serde_json::Value> =
        request.iter().map(|column| (column.name.clone(), json!(cell_type(&column.logical)))).collect();
    let mut options = json!({ "path": path, "columns": names, "types": types });
    let with = options.as_object_mut().map(std::mem::take).unwrap_or_default();
    let in_words = |problems: Vec<engine_table::Problem>| {
        // Of a column that is not there, each option that names it says so.
        let mut messages: Vec<&str> = Vec::new();
        for problem in &problems {
            if !messages.contains(&problem.message.as_str()) {
                messages.push(&problem.message);
            }
        }
        Failure::message(format!("`{}` does not hold what {asker} asks for: {}", input.display(), messages.join("; ")))
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
