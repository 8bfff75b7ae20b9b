//! `clean.drop_duplicates`: one row of every set of equal rows.

use std::collections::HashMap;

use engine_core::{Role, Serving};
use engine_table::{
    Context, Describe, InputTypes, NodeError, Problem, Read, ReduceInputs, RowFilter, Whole, WholeRows, WholeType,
};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codes::COLUMN_TYPE;
use crate::place;
use crate::row_bytes::{RowBytes, is_scalar};

/// Keeps one of several rows that agree in all, or in some, columns.
///
/// The rows that stay keep their order. Put it before the split: a duplicate that stands in both train and
/// test makes a score better than it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DropDuplicatesOptions {
    /// The columns in which rows must agree, by name and of any role; all but the split column if not given. Missing
    /// cells agree with missing cells.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub columns: Option<Vec<String>>,

    /// Which of the rows that agree stays.
    #[serde(default)]
    pub keep: Keep,
}

/// Which row stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The first in the order of the table.
    #[default]
    First,
    /// The last.
    Last,
}

/// The kind.
pub struct DropDuplicates {
    options: DropDuplicatesOptions,
}

impl Describe for DropDuplicates {
    const KIND: &'static str = "clean.drop_duplicates";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Skip;
    const EXAMPLE: &'static str = r"fuseline: 1
name: customers
nodes:
  rows: {uses: ingest.csv, with: {path: customers.csv, schema: {id: text, seen: datetime, balance: float}, roles: {id: key}}}
  latest: {uses: clean.drop_duplicates, with: {columns: [id], keep: last}, in: rows}
";
    type Options = DropDuplicatesOptions;

    fn new(options: DropDuplicatesOptions) -> Result<DropDuplicates, Vec<Problem>> {
        Ok(DropDuplicates { options })
    }
}

impl Whole for DropDuplicates {
    fn infer(&self, inputs: &InputTypes) -> Result<WholeType, Vec<Problem>> {
        let table = inputs.table("table");
        let mut problems = Vec::new();
        let mut names = Vec::new();
        let candidates: Vec<String> = match &self.options.columns {
            Some(columns) => columns.clone(),
            None => {
                let compared = table.columns.iter().filter(|column| column.role != Role::Split);
                compared.map(|column| column.name.clone()).collect()
            }
        };
        for (index, name) in candidates.iter().enumerate() {
            let at = match self.options.columns {
                Some(_) => place::entry("columns", index),
                None => engine_table::At::Node,
            };
            match table.require(name, at.clone()) {
                Ok(column) if is_scalar(&column.logical) => names.push(column.name.clone()),
                Ok(column) => {
                    let message = format!("`{name}` is {}, and rows are compared by plain cells only", column.logical);
                    problems.push(
                        Problem::error(&COLUMN_TYPE, at, message).help("name in `columns` those that make rows equal"),
                    );
                }
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(WholeType::Select { reads: vec![Read::new("table", RowFilter::All, names)], writes: Vec::new() })
    }

    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<WholeRows, NodeError> {
        let frame = inputs.rows("table", RowFilter::All)?;
        let rows = distinct_rows(frame, self.options.keep)?;
        context.cancel.check()?;
        Ok(WholeRows::Selected { rows, written: DataFrame::empty() })
    }
}

/// The numbers of the rows that stay, ascending.
fn distinct_rows(frame: &DataFrame, keep: Keep) -> Result<Vec<u64>, NodeError> {
    let rows = RowBytes::new(frame, frame.get_column_names().into_iter().map(|name| name.as_str()))?;
    let mut stays: HashMap<Vec<u8>, u64> = HashMap::with_capacity(rows.rows());
    let mut bytes = Vec::new();
    for row in 0..rows.rows() {
        rows.write(row, &mut bytes);
        match stays.get_mut(bytes.as_slice()) {
            Some(kept) if keep == Keep::Last => *kept = row as u64,
            Some(_) => {}
            None => {
                stays.insert(bytes.clone(), row as u64);
            }
        }
    }
    let mut kept: Vec<u64> = stays.into_values().collect();
    kept.sort_unstable();
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use engine_core::LogicalType;
    use engine_table::{ColumnType, RowSet, TableType};
    use polars::prelude::*;

    use super::*;

    fn check(columns: &[&str], keep: Keep, expected: &[u64]) {
        let frame = df![
            "id" => [Some("a"), Some("b"), Some("a"), None, None, Some("b")],
            "x" => [1.0, 2.0, 1.0, 3.0, 3.0, 4.0]
        ]
        .unwrap();
        assert_eq!(distinct_rows(&frame.select(columns.iter().copied()).unwrap(), keep).unwrap(), expected);
    }

    #[test]
    fn one_of_the_rows_that_agree_stays_in_its_place() {
        check(&["id", "x"], Keep::First, &[0, 1, 3, 5]);
        check(&["id", "x"], Keep::Last, &[1, 2, 4, 5]);
        check(&["id"], Keep::First, &[0, 1, 3]);
        check(&["id"], Keep::Last, &[2, 4, 5]);
    }

    fn infer(columns: Option<Vec<&str>>) -> Result<WholeType, Vec<Problem>> {
        let options: DropDuplicatesOptions = serde_json::from_value(serde_json::json!({ "columns": columns })).unwrap();
        let table = TableType {
            columns: vec![
                ColumnType::new("id", LogicalType::Text).with_role(Role::Key),
                ColumnType::new("v", LogicalType::Tensor(vec![engine_core::Size::Known(2)])),
                ColumnType::new("split", LogicalType::Category).with_role(Role::Split),
            ],
            row_set: RowSet("rows".into()),
        };
        DropDuplicates::new(options).ok().unwrap().infer(&InputTypes::of_table(table))
    }

    #[test]
    fn only_the_compared_columns_are_read() {
        let found = infer(Some(vec!["id"])).unwrap();
        assert_eq!(found.reads(), [Read::new("table", RowFilter::All, ["id"])]);
    }

    #[test]
    fn columns_that_cannot_be_compared_must_be_left_out() {
        assert_eq!(infer(None).unwrap_err()[0].code.name, "column.type");
        assert_eq!(infer(Some(vec!["idd"])).unwrap_err()[0].code.name, "column.unknown");
    }
}
