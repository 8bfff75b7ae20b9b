//! The kind `test.spy`: writes down every row its fit is shown.

use engine_core::{LogicalType, Serving};
use engine_table::{
    Change, ColumnType, Context, Describe, FitApply, NodeError, Problem, TableType, TrainRows, Written,
};
use polars::prelude::{Column, DataFrame};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Writes down the cells of one column that its fit is shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpyOptions {
    /// The column whose cells name the rows; any role.
    pub names: String,
}

/// The kind `test.spy`.
pub struct Spy {
    options: SpyOptions,
}

impl Describe for Spy {
    const KIND: &'static str = "test.spy";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: spied
nodes:
  rows: {uses: ingest.csv, with: {path: rows.csv, schema: {id: text, x: float}, roles: {id: key}}}
  split: {uses: split.random, in: rows}
  spy: {uses: test.spy, with: {names: id}, in: split}
";
    const SERVING: Serving = Serving::Skip;
    type Options = SpyOptions;

    fn new(options: SpyOptions) -> Result<Self, Vec<Problem>> {
        Ok(Spy { options })
    }
}

/// The column it adds: how many rows its fit was shown.
const SHOWN: &str = "shown";

impl FitApply for Spy {
    /// The names of the rows shown, in order.
    type Fitted = Vec<String>;

    fn infer(&self, _table: &TableType) -> Result<Change, Vec<Problem>> {
        let names = vec![self.options.names.clone()];
        let shown = Written::new(ColumnType::new(SHOWN, LogicalType::Text), Vec::<String>::new());
        Ok(Change { reads: names.clone(), fit_reads: names, writes: vec![shown], ..Change::default() })
    }

    fn fit(&self, train: TrainRows<'_>, _context: &Context) -> Result<Vec<String>, NodeError> {
        let [names] = train.frame().columns() else {
            return Err(NodeError::failed("the spy is shown other columns than it asked for"));
        };
        (0..names.len()).map(|row| Ok(names.get(row).map_err(NodeError::failed)?.str_value().to_string())).collect()
    }

    fn apply(&self, shown: &Vec<String>, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        // Text, so that no selector of numbers takes it for a feature.
        let column = Column::new(SHOWN.into(), vec![shown.len().to_string(); rows.height()]);
        DataFrame::new(rows.height(), vec![column]).map_err(NodeError::failed)
    }
}
