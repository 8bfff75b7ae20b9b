//! `fuseline plugin test`: a plug-in tried on rows before a pipeline relies on it.

use std::collections::BTreeMap;
use std::path::Path;

use engine_core::{Diagnostic, SourceText};
use engine_spec::{Folders, Parameters};
use engine_table::{ColumnType, InputTypes, Node, NodeError, ReduceInputs, Registry, RowSet, TableType, solo};
use nodes_catalog::plugin::{
    ColumnName, Declaration, Difference, PLUGIN_NOT_ROW_LOCAL, Replay, ReplayError, replay, sample_rows,
};
use polars::prelude::DataFrame;
use serde_json::{Map, Value, json};

use super::run::cancel_on_signal;
use super::say;
use super::serve::read_rows;
use crate::load::working_folder;
use crate::plugins::{Plugin, one_plugin};
use crate::{Failure, SUCCESS};

/// Rows that are made up.
const MADE_UP: usize = 60;

/// Tries the plug-in in `folder`.
pub fn test(folder: &Path, data: Option<&Path>, set: &[String], registry: &Registry) -> Result<u8, Failure> {
    let (Plugin { declaration, document }, registry) = one_plugin(registry, folder)?;
    let options = options(&declaration, set, &registry)?;
    let kind = registry.kind(&declaration.kind).expect("the plug-in was added to the registry");
    let bound = kind.bind(&options).map_err(in_words)?;
    let Node::RowLocal(node) = bound.node else { unreachable!("plug-ins are row-local") };
    let options = bound.options.as_object().cloned().unwrap_or_default();
    let columns = columns(&declaration, &options);
    let cancel = cancel_on_signal()?;

    // On a thread of its own, on which polars runs alone, as in a run.
    let tried = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            solo();
            let rows = match data {
                Some(file) => read_rows(file, &columns, "the plug-in", &registry)?,
                None => sample_rows(&columns, MADE_UP).map_err(Failure::message)?,
            };
            let types = InputTypes::of_table(TableType {
                columns: present(&columns, &rows),
                row_set: RowSet("rows".to_owned()),
            });
            let change = node.infer(&types).map_err(in_words)?;
            let rows = rows.select(&change.reads).map_err(Failure::message)?;
            let start = || {
                let side = ReduceInputs::new(types.clone(), BTreeMap::new());
                node.prepare(&ReduceInputs { cancel: cancel.clone(), ..side })
            };
            Ok((replay(&start, &rows), change.reads.len(), change.writes.len()))
        });
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let (result, reads, writes): (Result<Replay, ReplayError>, usize, usize) = tried?;
    match result {
        Ok(Replay { rows, ways }) => {
            let name = &declaration.kind;
            let mut text = format!("{name}: {rows} rows, {reads} columns read and {writes} written, all as declared\n");
            text.push_str("each row depends on that row alone; the same came out\n");
            ways.iter().for_each(|way| text.push_str(&format!("  {way}\n")));
            say(&text)?;
            Ok(SUCCESS)
        }
        Err(ReplayError::Failed(NodeError::Cancelled)) => Err(Failure::Cancelled),
        Err(ReplayError::Failed(error)) => Err(Failure::message(error)),
        Err(ReplayError::Different(Difference { column, row, whole, other, way })) => {
            let message = format!(
                "row {row} (from 0) of `{column}` is {whole} when all rows are sent at once, and {other} when they are \
                 sent {way}"
            );
            let diagnostic = Diagnostic::error(&PLUGIN_NOT_ROW_LOCAL, message);
            Err(Failure::Diagnostics(vec![
                document
                    .point(diagnostic, "/effect", "promised here")
                    .help("let each row's result depend on that row alone: no sums over rows, no memory, no chance"),
            ]))
        }
    }
}

/// The options `--set` gives, checked as a pipeline's are.
fn options(declaration: &Declaration, set: &[String], registry: &Registry) -> Result<Map<String, Value>, Failure> {
    let known = declaration.options_schema["properties"].as_object();
    let (mut parameters, mut problems) = (Parameters::new(), Vec::new());
    // A pipeline with nothing else in it: each option is a parameter, whose name an option need not be fit for.
    let (mut with, mut params) = (Map::new(), Map::new());
    for argument in set {
        problems.extend(Parameters::new().set(argument).err());
        let Some((name, value)) = argument.split_once('=').map(|(name, value)| (name.trim(), value)) else { continue };
        if !known.is_some_and(|known| known.contains_key(name)) {
            let names: Vec<String> = known.into_iter().flat_map(Map::keys).map(|name| format!("`{name}`")).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let kind = &declaration.kind;
            return Err(Failure::message(format!("`{kind}` has no option `{name}`; its options are {names}")));
        }
        let parameter = format!("o{}", params.len());
        problems.extend(parameters.set(&format!("{parameter}={value}")).err().filter(|_| problems.is_empty()));
        with.insert(name.to_owned(), json!(format!("${{{parameter}}}")));
        params.insert(parameter, Value::Null);
    }
    if !problems.is_empty() {
        return Err(Failure::Diagnostics(problems));
    }
    let pipeline = json!({
        "fuseline": 1,
        "name": "a plug-in's options",
        "params": params,
        "nodes": { "tried": { "uses": declaration.kind, "with": with, "in": "tried" } }
    });
    let source = SourceText { name: "--set".to_owned(), text: pipeline.to_string() };
    let working = working_folder()?;
    let folders = Folders::new(&working, &working).map_err(Failure::message)?;
    let vocabulary = engine_plan::vocabulary(registry);
    match engine_spec::read(source, &parameters, &|_| None, &vocabulary, &folders) {
        Ok((mut spec, _)) => Ok(spec.nodes.swap_remove("tried").map(|node| node.with).unwrap_or_default()),
        Err(found) => {
            // The pipeline around the options is nobody's text, so no places are shown.
            let messages: Vec<String> = found.iter().map(said).collect();
            Err(Failure::message(format!("{}; options are given with `--set KEY=VALUE`", messages.join("; "))))
        }
    }
}

fn said(problem: &Diagnostic) -> String {
    let help: Vec<&str> = problem.help.iter().map(String::as_str).collect();
    if help.is_empty() { problem.message.clone() } else { format!("{} ({})", problem.message, help.join("; ")) }
}

/// The columns the plug-in reads with these options, as it declares them.
fn columns(declaration: &Declaration, options: &Map<String, Value>) -> Vec<ColumnType> {
    let mut columns: Vec<ColumnType> = Vec::new();
    for declared in &declaration.reads {
        let names: Vec<&str> = match &declared.name {
            ColumnName::Fixed(name) => vec![name],
            ColumnName::Option(option) => match options.get(option) {
                Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
                name => name.and_then(Value::as_str).into_iter().collect(),
            },
        };
        for name in names {
            if !columns.iter().any(|column| column.name == name) {
                columns.push(ColumnType::new(name, declared.logical.clone()).with_nullable(declared.nullable));
            }
        }
    }
    columns
}

/// The columns as they are: with gaps where `rows` have some, so that a plug-in that takes none is told.
fn present(columns: &[ColumnType], rows: &DataFrame) -> Vec<ColumnType> {
    let has_gaps = |name: &str| rows.column(name).is_ok_and(|values| values.null_count() > 0);
    columns.iter().map(|column| column.clone().with_nullable(column.nullable || has_gaps(&column.name))).collect()
}

fn in_words(problems: Vec<engine_table::Problem>) -> Failure {
    let said = problems.iter().map(|problem| {
        let help = problem.help.join("; ");
        if help.is_empty() { problem.message.clone() } else { format!("{} ({help})", problem.message) }
    });
    Failure::message(said.collect::<Vec<_>>().join("; "))
}
