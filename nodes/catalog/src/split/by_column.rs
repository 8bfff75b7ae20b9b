//! `split.by_column`: parts as a column of the data says.

use std::collections::BTreeMap;

use engine_core::{Part, Serving};
use engine_table::{
    Change, Describe, InputTypes, NodeError, OPTION_INVALID, Problem, ReduceInputs, RowFunction, RowLocal,
};
use polars::prelude::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::assignment;
use crate::clean::cast;
use crate::codes::COLUMN_TYPE;
use crate::place;
use crate::row_bytes::is_scalar;

/// Parts rows into train, validation and test by the value of a column.
///
/// A value that `roles` does not name, or a missing one, is an error that names it, unless `otherwise` says
/// where such rows belong.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByColumnOptions {
    /// The column that says where a row belongs; any role.
    #[serde(default = "assignment::default_column")]
    pub column: String,

    /// The part of each value: numbers, bools and times as they are written. By default the words `train`,
    /// `validation` and `test` mean themselves.
    #[serde(default = "default_roles")]
    #[schemars(schema_with = "parts_schema")]
    pub roles: BTreeMap<String, Part>,

    /// The part of rows whose value `roles` does not name.
    #[serde(default)]
    #[schemars(schema_with = "optional_part_schema")]
    pub otherwise: Option<Part>,

    /// The name of the split column; it has the role `split` and holds `train`, `validation` and `test`. If it is
    /// the name of the column that is read, that is rewritten.
    #[serde(default = "assignment::default_column", rename = "as")]
    pub written: String,
}

fn default_roles() -> BTreeMap<String, Part> {
    Part::ALL.iter().map(|part| (part.as_str().to_owned(), *part)).collect()
}

fn parts_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": { "enum": ["train", "validation", "test"] }
    })
}

fn optional_part_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["train", "validation", "test", null] })
}

/// The kind.
pub struct ByColumn {
    options: ByColumnOptions,
}

impl Describe for ByColumn {
    const KIND: &'static str = "split.by_column";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Skip;
    const EXAMPLE: &'static str = r"fuseline: 1
name: receipts
nodes:
  rows:
    uses: ingest.csv
    with: {path: lines.csv, schema: {line: text, label: category, split: category}, roles: {label: target, split: split}}
  split: {uses: split.by_column, with: {column: split, roles: {train: train, valid: validation, test: test}}, in: rows}
";
    type Options = ByColumnOptions;

    fn new(options: ByColumnOptions) -> Result<ByColumn, Vec<Problem>> {
        if options.roles.values().any(|part| *part == Part::Train) || options.otherwise == Some(Part::Train) {
            return Ok(ByColumn { options });
        }
        let message = "no value is `train`, so nothing can be learnt";
        Err(vec![
            Problem::error(&OPTION_INVALID, place::option("roles"), message)
                .help("name the value of the train rows, as in `roles: {learn: train}`"),
        ])
    }
}

impl RowLocal for ByColumn {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Vec<Problem>> {
        let table = inputs.table("table");
        let ByColumnOptions { column: name, written, .. } = &self.options;
        let column = table.require(name, place::option("column")).map_err(|problem| vec![problem])?;
        if !is_scalar(&column.logical) {
            let message = format!("`{name}` is {}, and a split goes by plain cells", column.logical);
            return Err(vec![Problem::error(&COLUMN_TYPE, place::option("column"), message)]);
        }
        if written == name {
            // The column itself becomes the split, whatever its role so far.
            let own = engine_table::ColumnType { role: engine_core::Role::Split, ..column.clone() };
            let columns =
                table.columns.iter().map(|other| if other.name == *name { own.clone() } else { other.clone() });
            let table = engine_table::TableType { columns: columns.collect(), row_set: table.row_set.clone() };
            return assignment::split_change(&table, written, vec![name.clone()]).map(without_fit);
        }
        assignment::split_change(table, written, vec![name.clone()]).map(without_fit)
    }

    fn prepare(&self, _: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let options = self.options.clone();
        Ok(Box::new(move |rows: &DataFrame| {
            let parts = parts(rows, &options)?;
            assignment::split_frame(&options.written, parts.into_iter())
        }))
    }
}

fn without_fit(change: Change) -> Change {
    Change { fit_reads: Vec::new(), ..change }
}

fn parts(rows: &DataFrame, options: &ByColumnOptions) -> Result<Vec<Part>, NodeError> {
    let column = rows.column(&options.column).map_err(NodeError::failed)?;
    let words = cast::text(column.as_materialized_series()).map_err(NodeError::failed)?;
    let part = |(row, word): (usize, Option<&str>)| {
        let named = word.and_then(|word| options.roles.get(word)).copied();
        named.or(options.otherwise).ok_or_else(|| {
            let column = options.column.clone();
            NodeError::failed(match word {
                Some(word) => ByColumnError::Unnamed { row, column, value: word.chars().take(40).collect() },
                None => ByColumnError::Missing { row, column },
            })
        })
    };
    words.iter().enumerate().map(part).collect()
}

/// A row that belongs nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ByColumnError {
    /// Its value is in no part.
    #[error(
        "row {row}, column `{column}`: `{value}` is no part; name it as in `roles: {{{value}: train}}`, or write `otherwise: train`"
    )]
    Unnamed {
        /// The row, from 0.
        row: usize,
        /// The column.
        column: String,
        /// The value.
        value: String,
    },
    /// Its cell is missing.
    #[error("row {row}, column `{column}`: a missing cell is no part; write `otherwise: train`, or mend it upstream")]
    Missing {
        /// The row, from 0.
        row: usize,
        /// The column.
        column: String,
    },
}

#[cfg(test)]
mod tests {
    use engine_core::{LogicalType, Role};
    use engine_table::{ColumnType, RowSet, TableType};

    use super::*;

    fn options(json: serde_json::Value) -> ByColumnOptions {
        serde_json::from_value(json).unwrap()
    }

    fn check(json: serde_json::Value, cells: Series, expected: &[Part]) {
        let rows = DataFrame::new(cells.len(), vec![cells.into_column()]).unwrap();
        assert_eq!(parts(&rows, &options(json)).unwrap(), expected);
    }

    #[test]
    fn values_say_where_rows_belong() {
        use Part::{Test, Train, Validation};
        let words = Series::new("split".into(), ["train", "test", "validation"]);
        check(serde_json::json!({}), words, &[Train, Test, Validation]);
        let years = Series::new("year".into(), [2020_i64, 2021, 2022]);
        let by_year = serde_json::json!({"column": "year", "roles": {"2022": "test"}, "otherwise": "train"});
        check(by_year, years, &[Train, Train, Test]);
    }

    #[test]
    fn a_value_that_is_not_named_is_an_error_that_names_it() {
        let rows = df!["split" => [Some("train"), Some("holdout"), None]].unwrap();
        let message = parts(&rows, &options(serde_json::json!({}))).unwrap_err().to_string();
        assert!(message.starts_with("row 1, column `split`: `holdout` is no part"), "{message}");
        let message = parts(&rows.slice(2, 1), &options(serde_json::json!({}))).unwrap_err().to_string();
        assert!(message.contains("a missing cell"), "{message}");
    }

    #[test]
    fn the_column_itself_may_become_the_split() {
        let table = TableType {
            columns: vec![ColumnType::new("split", LogicalType::Category), ColumnType::new("x", LogicalType::Float)],
            row_set: RowSet("rows".into()),
        };
        let kind = ByColumn::new(options(serde_json::json!({}))).ok().unwrap();
        let change = kind.infer(&InputTypes::of_table(table.clone())).unwrap();
        let output = change.output(&table, "split");
        assert_eq!(output.split().unwrap().name, "split");
        assert_eq!(output.column("split").unwrap().role, Role::Split);
        let kind = ByColumn::new(options(serde_json::json!({"as": "x"}))).ok().unwrap();
        assert_eq!(kind.infer(&InputTypes::of_table(table)).unwrap_err()[0].code.name, "column.exists");
    }

    #[test]
    fn a_split_without_train_rows_is_refused() {
        assert!(ByColumn::new(options(serde_json::json!({"roles": {"a": "test"}}))).is_err());
    }
}
