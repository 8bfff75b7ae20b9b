//! The traits a kind implements, one for each way of touching rows.
//!
//! Every trait has an `infer` that says, from types alone, what is read and what comes out; the
//! engine calls it before a row is read, keys the task by what it reads, hands over just that, and
//! checks what comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use engine_core::{Digest, Seed};
use polars::prelude::DataFrame;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    ColumnType, Context, EncoderType, Files, InputTypes, NodeError, PortType, Problem, ReduceInputs, RowFilter, RowSet,
    TableType, TrainRows,
};

/// A column a node writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The column; one that the table has already is replaced in its place.
    pub column: ColumnType,
    /// The input columns its values are computed from: lineage.
    pub from: Vec<String>,
}

impl Written {
    /// A column computed from the columns `from`.
    pub fn new(column: ColumnType, from: impl IntoIterator<Item = impl Into<String>>) -> Written {
        Written { column, from: from.into_iter().map(Into::into).collect() }
    }
}

/// A column that gets another name; its values stay where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// The name so far.
    pub from: String,
    /// The name from now on.
    pub to: String,
}

/// Rows read from one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The port; for an encoder or model port its table is read.
    pub port: String,
    /// Which rows.
    pub rows: RowFilter,
    /// Which columns, in the order the frame will have.
    pub columns: Vec<String>,
}

impl Read {
    /// `columns` of the rows behind `port`.
    pub fn new(port: &str, rows: RowFilter, columns: impl IntoIterator<Item = impl Into<String>>) -> Read {
        Read { port: port.to_owned(), rows, columns: columns.into_iter().map(Into::into).collect() }
    }
}

/// What a row-preserving node does to the columns of its table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    /// The columns `apply` is given, in this order; nothing else is read and nothing else keyed.
    pub reads: Vec<String>,
    /// The columns `fit` is given; for kinds that do not fit, empty.
    pub fit_reads: Vec<String>,
    /// Whole tables read from other ports (a lookup); for most kinds, empty.
    pub side_reads: Vec<Read>,
    /// The columns it writes, in the order they are added.
    pub writes: Vec<Written>,
    /// The columns it takes away.
    pub drops: Vec<String>,
    /// The columns it renames.
    pub renames: Vec<Rename>,
}

impl Change {
    /// Reads and rewrites `columns` in place, each from itself, fit on the same columns.
    pub fn in_place(columns: impl IntoIterator<Item = ColumnType>) -> Change {
        let writes: Vec<Written> =
            columns.into_iter().map(|column| Written { from: vec![column.name.clone()], column }).collect();
        let reads: Vec<String> = writes.iter().map(|written| written.column.name.clone()).collect();
        Change { fit_reads: reads.clone(), reads, writes, ..Change::default() }
    }

    /// The type of `table` after the change. `origin` names the task that writes.
    pub fn output(&self, table: &TableType, origin: &str) -> TableType {
        let mut columns: Vec<ColumnType> = Vec::with_capacity(table.columns.len() + self.writes.len());
        for column in table.columns.iter().filter(|column| !self.drops.contains(&column.name)) {
            let renamed = self.renames.iter().find(|rename| rename.from == column.name);
            columns.push(match renamed {
                Some(rename) => ColumnType { name: rename.to.clone(), ..column.clone() },
                None => column.clone(),
            });
        }
        for column in written_types(&self.writes, table, origin) {
            match columns.iter_mut().find(|other| other.name == column.name) {
                Some(place) => *place = column,
                None => columns.push(column),
            }
        }
        TableType { columns, row_set: table.row_set.clone() }
    }
}

/// The written columns with their origin and lineage.
pub(crate) fn written_types(writes: &[Written], table: &TableType, origin: &str) -> Vec<ColumnType> {
    let tainted = |name: &String| {
        table.column(name).is_some_and(|column| column.from_target || column.role == engine_core::Role::Target)
    };
    // A rewritten column keeps the history of its versions, so that a merge knows which of two is the later one.
    let versions = |name: &str| match table.column(name) {
        Some(column) => format!("{}>{origin}", column.origin),
        None => origin.to_owned(),
    };
    writes
        .iter()
        .map(|written| ColumnType {
            from_target: written.from.iter().any(tainted),
            origin: versions(&written.column.name),
            ..written.column.clone()
        })
        .collect()
}

/// What a source knows of its columns without reading its rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Peek {
    /// The columns.
    Columns(Vec<ColumnType>),
    /// The source is not there and no `schema:` is pinned; the note says so.
    Absent(String),
}

/// A kind that reads outside the graph.
pub trait Source: Send + Sync {
    /// The files it reads; their content keys the task.
    fn files(&self) -> Vec<PathBuf>;

    /// Its columns: from the options, else from a look at the head of the files.
    ///
    /// # Errors
    /// Every problem of the options and of the head of the files.
    fn peek(&self) -> Result<Peek, Vec<Problem>>;

    /// Reads all rows in order; `emit` takes them in frames of any height with exactly the columns of `columns`.
    ///
    /// # Errors
    /// If a cell contradicts its column's type, naming file, line and column; and whatever `emit` gives.
    fn read(
        &self,
        columns: &[ColumnType],
        context: &Context,
        emit: &mut dyn FnMut(DataFrame) -> Result<(), NodeError>,
    ) -> Result<(), NodeError>;
}

/// A function from rows to written columns, ready to be applied to chunk after chunk, or to a request.
pub trait RowFunction: Send + Sync {
    /// The written columns of `rows`: same height, same order.
    ///
    /// Promise: row i of the result depends on row i of `rows` only, bit for bit.
    ///
    /// # Errors
    /// If a value does not allow it; the message names the column and the row in `rows` (from 0).
    fn apply(&self, rows: &DataFrame) -> Result<DataFrame, NodeError>;
}

impl<F: Fn(&DataFrame) -> Result<DataFrame, NodeError> + Send + Sync> RowFunction for F {
    fn apply(&self, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        self(rows)
    }
}

/// A kind whose row i out depends on row i in only.
pub trait RowLocal: Send + Sync {
    /// What it reads and writes. The changed table is the one on the first table port.
    ///
    /// # Errors
    /// Every problem of options and types.
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Vec<Problem>>;

    /// Options with which it writes of its columns only those in `needed`, and reads no more than that takes: what a
    /// deployment packs of a lookup. Nothing if there are none but its own.
    fn narrowed(&self, _needed: &BTreeSet<String>) -> Option<Map<String, Value>> {
        None
    }

    /// Makes the function once for many chunks. `side` holds artifacts and side tables of the other ports.
    ///
    /// # Errors
    /// If an artifact cannot be read.
    fn prepare(&self, side: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError>;
}

/// A kind that learns from train rows and then changes rows one by one.
pub trait FitApply: Send + Sync {
    /// What is learnt.
    type Fitted: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// What it reads and writes.
    ///
    /// # Errors
    /// Every problem of options and types.
    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>>;

    /// Learns from the train rows; the frame holds exactly `fit_reads`, in order.
    ///
    /// # Errors
    /// If the rows do not allow it.
    fn fit(&self, train: TrainRows<'_>, context: &Context) -> Result<Self::Fitted, NodeError>;

    /// The written columns of `rows`, which hold exactly `reads`, in order; row by row.
    ///
    /// # Errors
    /// If a value does not allow it.
    fn apply(&self, fitted: &Self::Fitted, rows: &DataFrame) -> Result<DataFrame, NodeError>;

    /// [`FitApply::apply`] for a kind whose written columns depend on types that rows do not show, such as whether a
    /// cell may be missing: `change` is what `infer` gave.
    ///
    /// # Errors
    /// As there.
    fn apply_declared(
        &self,
        fitted: &Self::Fitted,
        rows: &DataFrame,
        _change: &Change,
    ) -> Result<DataFrame, NodeError> {
        self.apply(fitted, rows)
    }

    /// Files it learns from besides its rows; their content keys the fit, and what is needed of it goes into the fitted
    /// values.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The values of the symbols in the written types, by name without bars.
    fn sizes(&self, _fitted: &Self::Fitted) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }
}

/// What a [`Whole`] does to its table.
#[derive(Debug, Clone, PartialEq)]
pub enum WholeType {
    /// Keeps some rows of the first table port, in an order of its own; unread columns follow by row number.
    Select {
        /// What it reads.
        reads: Vec<Read>,
        /// Columns it adds to the kept rows.
        writes: Vec<Written>,
    },
    /// Makes new rows.
    New {
        /// What it reads.
        reads: Vec<Read>,
        /// All columns of the new table.
        writes: Vec<Written>,
    },
}

impl WholeType {
    /// What it reads.
    pub fn reads(&self) -> &[Read] {
        match self {
            WholeType::Select { reads, .. } | WholeType::New { reads, .. } => reads,
        }
    }

    /// The type of the table it makes from `table`; `origin` names the task and the new row set.
    pub fn output(&self, table: &TableType, origin: &str) -> TableType {
        let row_set = RowSet(origin.to_owned());
        match self {
            WholeType::Select { writes, .. } => {
                let change = Change { writes: writes.clone(), ..Change::default() };
                TableType { row_set, ..change.output(table, origin) }
            }
            WholeType::New { writes, .. } => {
                let mut columns = written_types(writes, table, origin);
                columns.iter_mut().for_each(|column| origin.clone_into(&mut column.origin));
                TableType { columns, row_set }
            }
        }
    }
}

/// The rows a [`Whole`] gives.
#[derive(Debug, Clone)]
pub enum WholeRows {
    /// Row numbers of the first table port, from 0, and the added columns in the same order.
    Selected {
        /// Row numbers.
        rows: Vec<u64>,
        /// Added columns; no columns if none were declared.
        written: DataFrame,
    },
    /// New rows.
    New(DataFrame),
}

/// A kind that needs all rows and makes a table.
pub trait Whole: Send + Sync {
    /// What it reads and makes.
    ///
    /// # Errors
    /// Every problem of options and types.
    fn infer(&self, inputs: &InputTypes) -> Result<WholeType, Vec<Problem>>;

    /// Makes the rows. Promise: a function of the inputs and options only (no thread count, no hash order).
    ///
    /// # Errors
    /// If the rows do not allow it.
    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<WholeRows, NodeError>;
}

/// What a [`Reduce`] reads and gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduction {
    /// The rows it reads.
    pub reads: Vec<Read>,
    /// Its output ports (none is a table) and what they give.
    pub outputs: BTreeMap<String, PortType>,
}

/// A kind that makes artifacts that are no tables: trains a model, scores one, joins the scores of folds.
pub trait Reduce: Send + Sync {
    /// What it reads and gives.
    ///
    /// # Errors
    /// Every problem of options and types.
    fn infer(&self, inputs: &InputTypes) -> Result<Reduction, Vec<Problem>>;

    /// Makes the artifact of every output port. A `metrics` artifact has the file `metrics.json`,
    /// a map from metric to [`engine_core::MetricValue`].
    ///
    /// # Errors
    /// If the inputs do not allow it.
    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError>;
}

/// A trainable encoder: a declaration that flows to a training node.
pub trait Encoder: Send + Sync {
    /// The encoder it declares over the columns of `table`.
    ///
    /// # Errors
    /// Every problem of options and types.
    fn infer(&self, table: &TableType) -> Result<EncoderType, Vec<Problem>>;
}

/// A node of a slice, as an expansion sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceNode {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Its options, canonical (defaults filled in).
    pub options: Value,
    /// The rows it reads.
    pub reads: Vec<RowFilter>,
}

/// The part of the graph an expansion may instantiate: everything upstream of its ports, in topological order.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The nodes.
    pub nodes: Vec<SliceNode>,
    /// The pipeline's seed.
    pub seed: Seed,
}

/// An option that has another value in an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The node.
    pub node: String,
    /// The option; one within another behind a dot, as in `fusion.architecture`.
    pub option: String,
    /// Its value.
    pub value: Value,
    /// Where the expanding node names the option, as a pointer below `with`; empty if it does not.
    pub named_at: String,
    /// Where the value stands, as a pointer below `with`; empty if it does not.
    pub value_at: String,
}

impl Override {
    /// An override that stands in no option of the expanding node.
    pub fn new(node: impl Into<String>, option: impl Into<String>, value: impl Into<Value>) -> Override {
        let (node, option, value) = (node.into(), option.into(), value.into());
        Override { node, option, value, named_at: String::new(), value_at: String::new() }
    }
}

/// One instance of a slice: a fold or a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// As in `fold=2`; task names carry it behind `@`.
    pub name: String,
    /// The options that differ.
    pub overrides: Vec<Override>,
}

/// What becomes of the rows when the chosen instance is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refit {
    /// The instance's own artifact is taken.
    None,
    /// It is fitted once more, with the validation rows among the train rows.
    OnTrainAndValidation,
}

/// How an expansion chooses one of its instances.
///
/// The plan then lays out two sorts of tasks: one that runs the kind's [`Reduce`] on everything but `port` and says
/// which instance it is, and one that gives that instance's artifact on `port` as its own. What an instance needs for
/// `port` alone runs only if the instance is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The expanded port whose artifacts are chosen from, and the output port that gives the chosen one. `infer` and
    /// `run` are given neither.
    pub port: &'static str,
    /// The output port of the [`Reduce`] whose artifact has the file [`Chosen::FILE`].
    pub by: &'static str,
    /// What the chosen instance is fitted on.
    pub refit: Refit,
}

/// Which instance was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// Its place among the instances, from 0.
    pub instance: usize,
}

impl Chosen {
    /// The file it is written to.
    pub const FILE: &'static str = "choice.json";

    /// The same files with the choice among them.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn add_to(self, files: Files) -> Result<Files, NodeError> {
        Ok(files.with(Chosen::FILE, serde_json::to_vec(&self).map_err(NodeError::failed)?))
    }

    /// The choice in the files of an artifact.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(files: &Files) -> Result<Chosen, serde_json::Error> {
        files.read_json(Chosen::FILE)
    }
}

/// A kind that has the graph above it instantiated several times, and joins what the instances give.
///
/// The plan instantiates every node that is overridden or below one that is, up to the inputs on
/// [`Expand::ports`]; then the node runs as a [`Reduce`] whose ports hold one artifact for each instance, in order.
/// The result may depend on the order of instances, never on their names: another pipeline may have the same work
/// under others.
pub trait Expand: Reduce {
    /// The ports whose upstream is instantiated.
    fn ports(&self) -> Vec<&'static str>;

    /// The instances. A function of the options, the slice and its seed.
    ///
    /// # Errors
    /// If the slice has nothing to vary.
    fn instances(&self, slice: &Slice) -> Result<Vec<Instance>, Vec<Problem>>;

    /// How it chooses one of the instances; most join them all.
    fn choice(&self) -> Option<Choice> {
        None
    }
}

/// What a sink wants packed for serving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServingRequest {
    /// The port of the model whose inputs are to be computed from a request.
    pub model: String,
    /// The node whose feature columns a client sends.
    pub request: String,
}

/// What a [`Sink`] reads and gives.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkType {
    /// The rows it reads and its outputs.
    pub reduction: Reduction,
    /// What it wants packed for serving.
    pub serving: Option<ServingRequest>,
}

/// A kind that writes outside the graph: its artifact is kept in the store and copied to a destination.
pub trait Sink: Send + Sync {
    /// What it reads and gives.
    ///
    /// # Errors
    /// Every problem of options and types.
    fn infer(&self, inputs: &InputTypes) -> Result<SinkType, Vec<Problem>>;

    /// Makes the artifact of every output port.
    ///
    /// # Errors
    /// If the inputs do not allow it.
    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError>;

    /// The file of an output port that the engine copies out, and where to; a hit only while it has that digest.
    fn destination(&self) -> Option<Destination<'_>>;
}

/// Where a sink's file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The output port.
    pub port: &'a str,
    /// The file in its artifact.
    pub file: &'a str,
    /// The path it is copied to.
    pub path: &'a Path,
}

impl Destination<'_> {
    /// The digest of what stands at the destination now, if anything does.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn digest_now(&self) -> std::io::Result<Option<Digest>> {
        match std::fs::read(self.path) {
            Ok(bytes) => Ok(Some(Digest::of(&bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use engine_core::{LogicalType, Role};

    use super::*;

    fn table() -> TableType {
        let column = |name: &str| ColumnType::new(name, LogicalType::Float);
        TableType {
            columns: vec![column("a"), column("b"), column("y").with_role(Role::Target)],
            row_set: RowSet("rows".into()),
        }
    }

    #[test]
    fn a_written_column_replaces_its_namesake_in_place_and_others_go_last() {
        let change = Change {
            writes: vec![
                Written::new(ColumnType::new("c", LogicalType::Int), ["a"]),
                Written::new(ColumnType::new("a", LogicalType::Int), ["a"]),
            ],
            ..Change::default()
        };
        let output = change.output(&table(), "node");
        assert_eq!(output.names().collect::<Vec<_>>(), ["a", "b", "y", "c"]);
        assert_eq!(output.column("a").unwrap().origin, ">node");
        assert_eq!(output.column("c").unwrap().origin, "node");
    }

    #[test]
    fn what_is_computed_from_the_target_is_marked_and_stays_marked() {
        let first =
            Change { writes: vec![Written::new(ColumnType::new("z", LogicalType::Float), ["y"])], ..Change::default() };
        let output = first.output(&table(), "one");
        assert!(output.column("z").unwrap().from_target);
        let second = Change {
            writes: vec![Written::new(ColumnType::new("w", LogicalType::Float), ["z", "a"])],
            drops: vec!["z".into()],
            ..Change::default()
        };
        let output = second.output(&output, "two");
        assert!(output.column("w").unwrap().from_target);
        assert!(output.column("z").is_none());
    }
}
