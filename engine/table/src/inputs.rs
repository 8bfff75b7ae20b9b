//! What a node is given: types before the run, rows and files during it.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::Part;
use polars::prelude::DataFrame;
use serde::{Deserialize, Serialize};

use crate::{Blobs, Cancel, ColumnType, EncoderType, Files, ModelType, NoBlobs, NodeError, PortType, TableType};

/// The types bound to one input port.
#[derive(Debug, Clone, PartialEq)]
pub struct PortTypes {
    /// One for each reference, in order; for a table port the tables as they are referred to.
    pub artifacts: Vec<PortType>,
    /// The rows behind the port: the tables merged by column; for encoders and models, the table they read.
    pub table: Option<Arc<TableType>>,
}

/// The types bound to a node's input ports. Invariant (kept by the plan): every required port is bound.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputTypes(pub BTreeMap<String, PortTypes>);

impl InputTypes {
    /// Inputs with one table on the port `table`.
    pub fn of_table(table: TableType) -> InputTypes {
        let table = Arc::new(table);
        let port = PortTypes { artifacts: vec![PortType::Table(table.clone())], table: Some(table) };
        InputTypes(BTreeMap::from([("table".to_owned(), port)]))
    }

    /// Whether an optional port is bound.
    pub fn is_bound(&self, port: &str) -> bool {
        self.0.contains_key(port)
    }

    /// The rows behind `port`.
    pub fn table(&self, port: &str) -> &TableType {
        self.0.get(port).and_then(|bound| bound.table.as_deref()).expect("the plan bound every required port")
    }

    /// The encoders on `port`, in order.
    pub fn encoders(&self, port: &str) -> Vec<&EncoderType> {
        self.artifacts(port)
            .iter()
            .filter_map(|artifact| if let PortType::Encoder(encoder) = artifact { Some(encoder) } else { None })
            .collect()
    }

    /// The model on `port`.
    pub fn model(&self, port: &str) -> &ModelType {
        let model = self.artifacts(port).iter().find_map(|artifact| match artifact {
            PortType::Model(model) => Some(model),
            _ => None,
        });
        model.expect("the plan bound every required port")
    }

    /// The artifacts on `port`, in order.
    pub fn artifacts(&self, port: &str) -> &[PortType] {
        self.0.get(port).map_or(&[], |bound| &bound.artifacts)
    }
}

/// Which rows a task reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowFilter {
    /// All rows.
    All,
    /// The rows of one part of the split.
    Part(Part),
    /// The train and the validation rows; the plan's alone: no kind asks for them.
    TrainAndValidation,
    /// No row; the plan's alone.
    None,
}

impl RowFilter {
    /// The parts of the split whose rows are meant; `None` for all rows, whatever their part.
    pub fn parts(self) -> Option<&'static [Part]> {
        match self {
            RowFilter::All => None,
            RowFilter::Part(Part::Train) => Some(&[Part::Train]),
            RowFilter::Part(Part::Validation) => Some(&[Part::Validation]),
            RowFilter::Part(Part::Test) => Some(&[Part::Test]),
            RowFilter::TrainAndValidation => Some(&[Part::Train, Part::Validation]),
            RowFilter::None => Some(&[]),
        }
    }
}

impl std::fmt::Display for RowFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RowFilter::All => f.write_str("all"),
            RowFilter::Part(part) => write!(f, "{part}"),
            RowFilter::TrainAndValidation => f.write_str("train and validation"),
            RowFilter::None => f.write_str("no"),
        }
    }
}

/// The rows a fit may see. Only the engine makes one (`engine-exec`; held by the architecture test), so no kind can be
/// fitted on the wrong rows.
#[derive(Clone, Copy)]
pub struct TrainRows<'a> {
    frame: &'a DataFrame,
    columns: &'a [ColumnType],
}

impl<'a> TrainRows<'a> {
    /// For the engine: `frame` holds the rows of the parts the kind declared, and exactly `columns`, in order.
    pub fn admit(frame: &'a DataFrame, columns: &'a [ColumnType]) -> TrainRows<'a> {
        TrainRows { frame, columns }
    }

    /// The rows; one chunk a column.
    pub fn frame(&self) -> &'a DataFrame {
        self.frame
    }

    /// The columns, in the order of the frame.
    pub fn columns(&self) -> &'a [ColumnType] {
        self.columns
    }
}

/// The files of an artifact and the node they come from.
#[derive(Debug, Clone)]
pub struct NamedFiles {
    /// The node that made it.
    pub node: String,
    /// The artifact.
    pub files: Arc<Files>,
}

/// The port, of no kind, on which [`ReduceInputs::earlier`] comes.
pub const EARLIER: &str = "earlier";

/// What came in on one port.
#[derive(Debug, Clone, Default)]
pub struct PortInput {
    /// The artifacts, in order; empty for table ports.
    pub artifacts: Vec<NamedFiles>,
    /// The rows that were asked for, one chunk a column.
    pub rows: BTreeMap<RowFilter, DataFrame>,
}

/// What a [`crate::Reduce`], [`crate::Whole`] or [`crate::Sink`] is given.
pub struct ReduceInputs {
    /// The types, as in `infer`.
    pub types: InputTypes,
    /// By port.
    pub ports: BTreeMap<String, PortInput>,
    /// The bytes behind image and audio cells.
    pub blobs: Arc<dyn Blobs>,
    /// When to stop; for a row function that waits for somebody else.
    pub cancel: Cancel,
    /// Values of the secrets the node's options name.
    pub secrets: Arc<BTreeMap<String, String>>,
}

impl ReduceInputs {
    /// Inputs without images, sound or secrets, which nobody cancels.
    pub fn new(types: InputTypes, ports: BTreeMap<String, PortInput>) -> ReduceInputs {
        ReduceInputs { types, ports, blobs: Arc::new(NoBlobs), cancel: Cancel::new(), secrets: Arc::default() }
    }

    /// The rows of `port` that `infer` asked for with `filter`.
    ///
    /// # Errors
    /// If `infer` did not ask for them: a fault of the kind.
    pub fn rows(&self, port: &str, filter: RowFilter) -> Result<&DataFrame, NodeError> {
        self.ports.get(port).and_then(|input| input.rows.get(&filter)).ok_or_else(|| {
            NodeError::Failed(format!("the kind reads {filter} rows of `{port}` without having declared it"))
        })
    }

    /// The artifacts on `port`, in order.
    pub fn artifacts(&self, port: &str) -> &[NamedFiles] {
        self.ports.get(port).map_or(&[], |input| &input.artifacts)
    }

    /// For a refit, which learns from the validation rows too: what the same node gave on its first output port when it
    /// was fitted without them. Only for kinds that say [`crate::Describe::STOPS_EARLY`].
    pub fn earlier(&self) -> Option<&NamedFiles> {
        self.artifacts(EARLIER).first()
    }

    /// The first artifact on `port`.
    ///
    /// # Errors
    /// If nothing is bound to the port.
    pub fn artifact(&self, port: &str) -> Result<&NamedFiles, NodeError> {
        self.artifacts(port).first().ok_or_else(|| NodeError::Failed(format!("nothing is bound to `{port}`")))
    }
}
