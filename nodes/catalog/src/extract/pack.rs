//! `extract.pack`: columns of numbers as one tensor.

use engine_core::{LogicalType, Serving, Size};
use engine_table::{
    At, Change, ColumnType, Columns, Describe, InputTypes, NodeError, OPTION_INVALID, Problem, ReduceInputs,
    RowFunction, RowLocal, Written, tensor_column, tensor_slice,
};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codes::{COLUMN_EXISTS, COLUMN_TYPE};
use crate::place;

/// Makes one `tensor[n]` column of several columns of numbers.
///
/// Int and float columns give one value each, bool columns 0 or 1, tensors all their values; they stand one behind the
/// other in the order of `columns`. Values are kept as 32-bit floats. No column may have gaps: `clean.impute` fills them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackOptions {
    /// Which columns: int, float, bool or tensors of a known shape; all numeric features if not given.
    #[serde(default = "numeric")]
    pub columns: Columns,

    /// The name of the tensor column.
    #[serde(rename = "as")]
    #[schemars(length(min = 1))]
    pub written: String,
}

fn numeric() -> Columns {
    Columns::of_type("numeric")
}

/// The kind.
pub struct Pack {
    options: PackOptions,
}

impl Describe for Pack {
    const KIND: &'static str = "extract.pack";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Same;
    const EXAMPLE: &'static str = r"fuseline: 1
name: loans
nodes:
  rows:
    uses: ingest.csv
    with: {path: loans.csv, schema: {id: text, amount: float, age: int}, roles: {id: key}}
  packed: {uses: extract.pack, with: {columns: [amount, age], as: numbers}, in: rows}
";
    type Options = PackOptions;

    fn new(options: PackOptions) -> Result<Pack, Vec<Problem>> {
        Ok(Pack { options })
    }
}

impl RowLocal for Pack {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Vec<Problem>> {
        let table = inputs.table("table");
        let columns = self.options.columns.resolve(table, "/columns")?;
        let mut problems = Vec::new();
        let mut width = 0_u64;
        for column in &columns {
            match places(column) {
                Ok(places) => width = width.saturating_add(places),
                Err(problem) => problems.push(problem),
            }
        }
        if width > MOST_PLACES {
            let message = format!("the tensor would have {width} values; at most {MOST_PLACES} are taken");
            problems.push(Problem::error(&OPTION_INVALID, place::option("columns"), message));
        }
        let written = &self.options.written;
        if table.column(written).is_some() {
            let message = format!("the input has a column `{written}` already");
            problems.push(Problem::error(&COLUMN_EXISTS, place::option("as"), message).help("write `as: OTHER_NAME`"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let reads: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let tensor = LogicalType::Tensor(vec![Size::Known(width)]);
        let writes = vec![Written::new(ColumnType::new(written, tensor), &reads)];
        Ok(Change { reads, writes, ..Change::default() })
    }

    fn prepare(&self, _: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let written = self.options.written.clone();
        Ok(Box::new(move |rows: &DataFrame| packed(rows, &written)))
    }
}

/// Most values in a row.
const MOST_PLACES: u64 = 1 << 24;

/// How many values a column gives.
fn places(column: &ColumnType) -> Result<u64, Problem> {
    use LogicalType::{Bool, Float, Int, Tensor};
    let at = || At::Option("/columns".to_owned());
    let name = &column.name;
    if column.nullable {
        let message = format!("`{name}` may have gaps, and a tensor holds none");
        return Err(Problem::error(&COLUMN_TYPE, at(), message).help("fill them with `clean.impute`"));
    }
    match &column.logical {
        Int | Float | Bool => Ok(1),
        Tensor(shape) => {
            let known = shape.iter().try_fold(1_u64, |product, size| match size {
                Size::Known(size) => Some(product.saturating_mul(*size)),
                Size::Symbol(_) => None,
            });
            known.ok_or_else(|| {
                let message = format!("`{name}` is {}, whose size is known only after a fit", column.logical);
                Problem::error(&COLUMN_TYPE, at(), message).help("leave it out; an encoder reads several columns")
            })
        }
        other => {
            let message = format!("`{name}` is {other}, and a tensor holds numbers");
            Err(Problem::error(&COLUMN_TYPE, at(), message).help("`encode.one_hot` makes numbers of categories"))
        }
    }
}

/// The columns of `rows` side by side in one tensor column.
fn packed(rows: &DataFrame, written: &str) -> Result<DataFrame, NodeError> {
    let height = rows.height();
    let columns: Vec<Packed> = rows.columns().iter().map(Packed::new).collect::<Result<_, NodeError>>()?;
    let width: usize = columns.iter().map(|column| column.width).sum();
    let mut values = Vec::with_capacity(height * width);
    for row in 0..height {
        for column in &columns {
            values.extend_from_slice(&column.values[row * column.width..(row + 1) * column.width]);
        }
    }
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let mut before = 0;
        let column = columns.iter().find(|column| {
            before += column.width;
            at % width < before
        });
        let column = column.map(|column| column.name.clone()).unwrap_or_default();
        return Err(NodeError::failed(PackError { row: at / width, column }));
    }
    let tensor = tensor_column(written, width, values)?;
    DataFrame::new(height, vec![tensor]).map_err(NodeError::failed)
}

/// The values of a column, row after row.
struct Packed {
    name: String,
    width: usize,
    values: Vec<f32>,
}

impl Packed {
    fn new(column: &Column) -> Result<Packed, NodeError> {
        let name = column.name().to_string();
        let series = column.as_materialized_series();
        if let DataType::Array(_, width) = series.dtype() {
            let series = series.rechunk();
            let values = tensor_slice(&series)
                .ok_or_else(|| NodeError::Failed(format!("the column `{name}` is no tensor without gaps")))?;
            return Ok(Packed { name, width: *width, values: values.to_vec() });
        }
        let floats = series.cast(&DataType::Float64).map_err(NodeError::failed)?;
        let floats = floats.f64().map_err(NodeError::failed)?;
        // A gap is no number, and is found with the others.
        let values = floats.iter().map(|value| value.unwrap_or(f64::NAN) as f32).collect();
        Ok(Packed { name, width: 1, values })
    }
}

/// A value that is no 32-bit float.
#[derive(Debug, thiserror::Error)]
#[error(
    "row {row}, column `{column}`: a value is missing, infinite or beyond 3.4e38, and a tensor holds finite 32-bit floats; mend it with `clean.clip_outliers` or `clean.impute`"
)]
pub struct PackError {
    row: usize,
    column: String,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine_core::Role;
    use engine_table::{NoBlobs, TableType};
    use serde_json::json;

    use super::super::media::tests::{applied, table};
    use super::*;

    fn kind(columns: serde_json::Value) -> Pack {
        let options = json!({"columns": columns, "as": "packed"});
        Pack::new(serde_json::from_value(options).unwrap()).ok().unwrap()
    }

    fn columns() -> TableType {
        table(vec![
            ColumnType::new("n", LogicalType::Int),
            ColumnType::new("x", LogicalType::Float),
            ColumnType::new("yes", LogicalType::Bool),
            ColumnType::new("pair", "tensor[2]".parse().unwrap()),
            ColumnType::new("open", "tensor[|one_hot(a)|]".parse().unwrap()),
            ColumnType::new("gap", LogicalType::Float).with_nullable(true),
            ColumnType::new("word", LogicalType::Text),
            ColumnType::new("y", LogicalType::Float).with_role(Role::Target),
        ])
    }

    fn rows() -> DataFrame {
        let pair = tensor_column("pair", 2, vec![10.0, 11.0, 12.0, 13.0]).unwrap();
        let mut rows = df!["n" => [1_i64, 2], "x" => [0.5, -0.25], "yes" => [true, false]].unwrap();
        rows.with_column(pair).unwrap();
        rows
    }

    #[test]
    fn columns_stand_one_behind_the_other_in_their_order() {
        let found = applied(&kind(json!(["x", "pair", "yes", "n"])), columns(), &rows(), Arc::new(NoBlobs)).unwrap();
        let series = found.column("packed").unwrap().as_materialized_series();
        assert_eq!(tensor_slice(series).unwrap(), [0.5, 10.0, 11.0, 1.0, 1.0, -0.25, 12.0, 13.0, 0.0, 2.0]);
        let change = kind(json!(["x", "pair"])).infer(&InputTypes::of_table(columns())).unwrap();
        assert_eq!(change.writes[0].column.logical.to_string(), "tensor[3]");
    }

    #[test]
    fn what_no_tensor_holds_is_a_problem_each() {
        let problems = kind(json!(["open", "gap", "word", "x"])).infer(&InputTypes::of_table(columns())).unwrap_err();
        let found: Vec<&str> = problems.iter().map(|problem| problem.code.name).collect();
        assert_eq!(found, ["column.type"; 3]);
        let taken = Pack::new(serde_json::from_value(json!({"columns": ["n"], "as": "x"})).unwrap()).ok().unwrap();
        assert_eq!(taken.infer(&InputTypes::of_table(columns())).unwrap_err()[0].code.name, "column.exists");
    }

    #[test]
    fn a_value_beyond_all_floats_names_its_row_and_column() {
        let rows = df!["n" => [1_i64, 2], "x" => [0.5, 1e300]].unwrap();
        let error = applied(&kind(json!(["n", "x"])), columns(), &rows, Arc::new(NoBlobs)).unwrap_err().to_string();
        assert!(error.starts_with("row 1, column `x`: a value is missing, infinite or beyond 3.4e38"), "{error}");
    }
}
