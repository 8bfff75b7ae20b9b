//! A plug-in as a kind: from its declaration to a row function that asks its process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine_core::Digest;
use engine_table::{
    At, Change, ColumnType, InputTypes, Kind, NodeError, OPTION_INVALID, Problem, ReduceInputs, RowFunction, RowLocal,
    TableType, Written, check_frame,
};
use polars::prelude::DataFrame;
use serde_json::{Map, Value};

use super::process::{Launch, Process};
use super::{ColumnName, Declaration, DeclaredColumn, protocol};
use crate::codes::{COLUMN_EXISTS, COLUMN_TYPE};
use crate::place;

/// Where a plug-in is, and what of the machine it is given.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its folder, as an absolute path.
    pub folder: PathBuf,
    /// The folder's digest.
    pub digest: Digest,
    /// The longest wait for an answer.
    pub timeout: Duration,
    /// Variables of the environment it is given, as far as they are set.
    pub variables: BTreeMap<String, String>,
}

/// The kind a plug-in is. Its version is the digest of its folder, so that editing its code runs its nodes again.
pub fn kind(declaration: Declaration, place: Place) -> Kind {
    let version = format!("{} {}", declaration.version, place.digest);
    let (name, serving, schema) = (declaration.kind.clone(), declaration.serving, declaration.options_schema.clone());
    let example = declaration.example.clone();
    let plugin = Arc::new((declaration, place));
    let make = move |options: Map<String, Value>| {
        let node = Node::new(plugin.clone(), options)?;
        let options = Value::Object(node.options.clone());
        Ok((Arc::new(node) as Arc<dyn RowLocal>, options))
    };
    let mut kind = Kind::found_row_local(&name, version, serving, schema, make);
    kind.example = example;
    kind
}

/// A plug-in bound to options.
struct Node {
    plugin: Arc<(Declaration, Place)>,
    options: Map<String, Value>,
}

impl Node {
    fn new(plugin: Arc<(Declaration, Place)>, options: Map<String, Value>) -> Result<Node, Vec<Problem>> {
        let options = plugin.0.with_defaults(options);
        let node = Node { plugin, options };
        let mut problems = Vec::new();
        for column in node.declaration().reads.iter().chain(&node.declaration().writes) {
            let ColumnName::Option(option) = &column.name else { continue };
            let names = node.names(column);
            if names.is_empty() {
                let message = format!("`{option}` names no column");
                problems.push(Problem::error(&OPTION_INVALID, place::option(option), message).label("empty"));
            }
            for (_, at) in names.into_iter().filter(|(name, _)| name.is_empty()) {
                let message = format!("`{option}` names a column without a name");
                problems.push(Problem::error(&OPTION_INVALID, at, message).label("empty"));
            }
        }
        if problems.is_empty() { Ok(node) } else { Err(problems) }
    }

    fn declaration(&self) -> &Declaration {
        &self.plugin.0
    }

    /// The columns a declared one stands for, each with the place that names it.
    fn names(&self, declared: &DeclaredColumn) -> Vec<(String, At)> {
        let option = match &declared.name {
            ColumnName::Fixed(name) => return vec![(name.clone(), At::Node)],
            ColumnName::Option(option) => option,
        };
        match self.options.get(option) {
            Some(Value::String(name)) => vec![(name.clone(), place::option(option))],
            Some(Value::Array(names)) => names
                .iter()
                .enumerate()
                .filter_map(|(index, name)| Some((name.as_str()?.to_owned(), place::entry(option, index))))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The columns it is given, once each.
    fn read_columns(&self, table: &TableType, problems: &mut Vec<Problem>) -> Vec<ColumnType> {
        let mut found: Vec<ColumnType> = Vec::new();
        for declared in &self.declaration().reads {
            for (name, at) in self.names(declared) {
                match table.require(&name, at.clone()) {
                    Err(problem) => problems.push(problem),
                    Ok(column) => match self.unfit(column, declared, at) {
                        Some(problem) => problems.push(problem),
                        None if found.iter().any(|other| other.name == name) => {}
                        None => found.push(column.clone()),
                    },
                }
            }
        }
        found
    }

    /// What keeps `column` from being read as it is declared.
    fn unfit(&self, column: &ColumnType, declared: &DeclaredColumn, at: At) -> Option<Problem> {
        let (name, kind) = (&column.name, &self.declaration().kind);
        if column.logical != declared.logical {
            let message = format!("`{name}` is {}, and `{kind}` reads it as {}", column.logical, declared.logical);
            let problem = Problem::error(&COLUMN_TYPE, at, message).label(format!("a {} column", column.logical));
            return Some(problem.help("`clean.cast` makes a column of another type"));
        }
        if column.nullable && !declared.nullable {
            let message = format!("cells of `{name}` may be missing, and `{kind}` takes none that are");
            let problem = Problem::error(&COLUMN_TYPE, at, message).label("may have gaps");
            return Some(problem.help("`clean.impute` fills the gaps; or the plug-in's file says `nullable: true`"));
        }
        None
    }

    /// The columns it gives back.
    fn written_columns(&self, table: &TableType, problems: &mut Vec<Problem>) -> Vec<ColumnType> {
        let mut found: Vec<ColumnType> = Vec::new();
        for declared in &self.declaration().writes {
            for (name, at) in self.names(declared) {
                if table.column(&name).is_some() {
                    let message = format!("the input has a column `{name}` already");
                    let problem = Problem::error(&COLUMN_EXISTS, at, message).label("not a new name");
                    problems.push(match &declared.name {
                        ColumnName::Option(_) => problem.help("give the new column another name"),
                        ColumnName::Fixed(_) => problem.help(format!("rename or drop `{name}` above the node")),
                    });
                } else if found.iter().any(|other| other.name == name) {
                    let message = format!("two written columns are called `{name}`");
                    problems.push(Problem::error(&COLUMN_EXISTS, at, message).label("written twice"));
                } else {
                    found.push(ColumnType::new(name, declared.logical.clone()).with_nullable(declared.nullable));
                }
            }
        }
        found
    }

    /// The options with secrets opened.
    fn opened(&self, secrets: &BTreeMap<String, String>) -> Result<Map<String, Value>, NodeError> {
        let mut options = Value::Object(self.options.clone());
        open(&mut options, secrets)?;
        match options {
            Value::Object(options) => Ok(options),
            _ => unreachable!("opening secrets keeps a map a map"),
        }
    }
}

fn open(value: &mut Value, secrets: &BTreeMap<String, String>) -> Result<(), NodeError> {
    match value {
        Value::Object(map) => map.values_mut().try_for_each(|below| open(below, secrets)),
        Value::Array(items) => items.iter_mut().try_for_each(|below| open(below, secrets)),
        Value::String(text) => {
            let Some(name) = text.strip_prefix("${env.").and_then(|rest| rest.strip_suffix('}')) else { return Ok(()) };
            let opened = secrets.get(name).ok_or_else(|| {
                NodeError::Failed(format!(
                    "the environment has no `{name}`; set it before the run: {name}=... fuseline run ..."
                ))
            })?;
            *text = opened.clone();
            Ok(())
        }
        _ => Ok(()),
    }
}

impl RowLocal for Node {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Vec<Problem>> {
        let table = inputs.table("table");
        let mut problems = Vec::new();
        let reads: Vec<String> =
            self.read_columns(table, &mut problems).into_iter().map(|column| column.name).collect();
        let writes = self.written_columns(table, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let writes = writes.into_iter().map(|column| Written::new(column, &reads)).collect();
        Ok(Change { reads, writes, ..Change::default() })
    }

    fn prepare(&self, side: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let (declaration, place) = &*self.plugin;
        let table = side.types.table("table");
        let mut problems = Vec::new();
        let (reads, writes) = (self.read_columns(table, &mut problems), self.written_columns(table, &mut problems));
        if let Some(problem) = problems.first() {
            return Err(NodeError::Failed(problem.message.clone()));
        }
        // What is about to run must be what the result is kept under.
        if super::digest(&place.folder).map_err(NodeError::failed)? != place.digest {
            let folder = place.folder.display();
            return Err(NodeError::Failed(format!(
                "`{folder}` was changed after the pipeline was checked; run it again"
            )));
        }
        let launch = Launch {
            kind: declaration.kind.clone(),
            command: declaration.command.clone(),
            folder: place.folder.clone(),
            variables: variables(declaration, place)?,
            timeout: place.timeout,
        };
        let options = self.opened(&side.secrets)?;
        let greeting = protocol::greeting(&declaration.kind, &options, &reads, &writes);
        let process = Process::start(&launch, greeting, &side.cancel)?;
        Ok(Box::new(Asked { process: Mutex::new(process), writes }))
    }
}

/// The environment of the process: the essentials, and what the plug-in declares.
fn variables(declaration: &Declaration, place: &Place) -> Result<Vec<(String, String)>, NodeError> {
    let mut found: Vec<(String, String)> = Vec::new();
    for name in super::ESSENTIAL_VARIABLES {
        found.extend(place.variables.get(*name).map(|value| ((*name).to_owned(), value.clone())));
    }
    for name in &declaration.env {
        let value = place.variables.get(name).ok_or_else(|| {
            NodeError::Failed(format!(
                "the plug-in `{}` needs `{name}`, which the environment does not have; set it before the run: \
                 {name}=... fuseline run ...",
                declaration.kind
            ))
        })?;
        found.push((name.clone(), value.clone()));
    }
    Ok(found)
}

/// A plug-in's process, asked chunk by chunk.
struct Asked {
    process: Mutex<Process>,
    writes: Vec<ColumnType>,
}

impl RowFunction for Asked {
    fn apply(&self, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = process.ask(protocol::rows_frame(rows)?)?;
        let returned = protocol::rows_of(answer)
            .map_err(|error| process.failed(&format!("gave rows that are no Arrow IPC stream ({error})")))?;
        checked(returned, rows.height(), &self.writes).map_err(|what| process.failed(&what))
    }
}

/// The declared columns of what came back, in their order.
fn checked(returned: DataFrame, height: usize, writes: &[ColumnType]) -> Result<DataFrame, String> {
    let found: Vec<&str> = returned.columns().iter().map(|column| column.name().as_str()).collect();
    let listed = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if let Some(missing) = writes.iter().find(|column| !found.contains(&column.name.as_str())) {
        let given = if found.is_empty() { "none".to_owned() } else { listed(&found) };
        return Err(format!("did not give the column `{}`, which its file declares; it gave {given}", missing.name));
    }
    if let Some(more) = found.iter().find(|name| !writes.iter().any(|column| column.name == **name)) {
        let declared: Vec<&str> = writes.iter().map(|column| column.name.as_str()).collect();
        return Err(format!(
            "gave the column `{more}`, which its file does not declare; it declares {}",
            listed(&declared)
        ));
    }
    if returned.height() != height {
        return Err(format!(
            "gave {} rows for the {height} it was asked for; a row-local plug-in gives one row for each",
            returned.height()
        ));
    }
    let names: Vec<&str> = writes.iter().map(|column| column.name.as_str()).collect();
    let ordered = returned.select(names).map_err(|error| format!("gave columns that cannot be taken: {error}"))?;
    check_frame(&ordered, writes).map_err(|error| format!("gave other values than its file declares: {error}"))?;
    Ok(ordered)
}
