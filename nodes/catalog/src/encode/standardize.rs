//! `encode.standardize`: numbers with mean 0 and deviation 1.

use std::collections::BTreeMap;

use engine_core::{LogicalType, Serving};
use engine_table::{
    Change, ColumnType, Columns, Context, Describe, FitApply, NodeError, Problem, TableType, TrainRows, Written,
};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codes::{COLUMN_EXISTS, COLUMN_TYPE};
use crate::{place, statistics};

/// Subtracts a column's mean and divides by its standard deviation, both learnt from the train rows.
///
/// The columns become `float`; missing cells stay missing. The deviation is that of the population
/// (scikit-learn's `StandardScaler`). A column with one value only becomes 0, with a warning.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StandardizeOptions {
    /// Which columns; all numeric features if not given.
    #[serde(default = "numeric")]
    pub columns: Columns,

    /// Writes new columns named `<column><suffix>` and leaves the old ones; in place if not given.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub suffix: Option<String>,
}

fn numeric() -> Columns {
    Columns::of_type("numeric")
}

/// What was learnt of a column.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The standard deviation; 0 for a column with one value.
    pub deviation: f64,
}

/// The kind.
pub struct Standardize {
    options: StandardizeOptions,
}

impl Describe for Standardize {
    const KIND: &'static str = "encode.standardize";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Same;
    const EXAMPLE: &'static str = r"fuseline: 1
name: loans
nodes:
  rows: {uses: ingest.csv, with: {path: loans.csv, schema: {id: text, amount: float, age: int}, roles: {id: key}}}
  split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: rows}
  scaled: {uses: encode.standardize, with: {columns: [amount, age]}, in: split}
";
    type Options = StandardizeOptions;

    fn new(options: StandardizeOptions) -> Result<Standardize, Vec<Problem>> {
        Ok(Standardize { options })
    }
}

impl Standardize {
    fn written_name(&self, column: &str) -> String {
        format!("{column}{}", self.options.suffix.as_deref().unwrap_or(""))
    }
}

impl FitApply for Standardize {
    type Fitted = BTreeMap<String, Moments>;

    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>> {
        let columns = self.options.columns.resolve(table, "/columns")?;
        let mut problems = Vec::new();
        let mut writes = Vec::new();
        for column in &columns {
            if !column.logical.is_numeric() {
                let message = format!("`{}` is {}, and only numbers can be standardised", column.name, column.logical);
                problems.push(
                    Problem::error(&COLUMN_TYPE, place::option("columns"), message)
                        .help("categories go through `encode.one_hot`; leave it out of `columns`"),
                );
            }
            let name = self.written_name(&column.name);
            if self.options.suffix.is_some() && table.column(&name).is_some() {
                let message = format!("the input has a column `{name}` already");
                problems.push(Problem::error(&COLUMN_EXISTS, place::option("suffix"), message));
            }
            let written = ColumnType { name, logical: LogicalType::Float, ..(*column).clone() };
            writes.push(Written::new(written, [&column.name]));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let reads: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        Ok(Change { fit_reads: reads.clone(), reads, writes, ..Change::default() })
    }

    fn fit(&self, train: TrainRows<'_>, context: &Context) -> Result<BTreeMap<String, Moments>, NodeError> {
        let learn = |column: &Column| {
            let (name, rows) = (column.name().to_string(), column.len());
            let values = present(column).map_err(NodeError::failed)?;
            let moments =
                moments(&values).ok_or_else(|| NodeError::failed(StandardizeError { column: name.clone(), rows }))?;
            if moments.deviation == 0.0 {
                context.progress.warning(&format!(
                    "column `{name}` has one value only, {}, in the train rows; it becomes 0",
                    moments.mean
                ));
            }
            Ok((name, moments))
        };
        train.frame().columns().iter().map(learn).collect()
    }

    fn apply(&self, moments: &BTreeMap<String, Moments>, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let scale = |column: &Column| {
            let moments = moments
                .get(column.name().as_str())
                .ok_or_else(|| NodeError::Failed(format!("nothing was learnt for column `{}`", column.name())))?;
            let name = self.written_name(column.name());
            Ok(standardized(column, *moments).map_err(NodeError::failed)?.with_name(name.into()).into_column())
        };
        let columns = rows.columns().iter().map(scale).collect::<Result<_, NodeError>>()?;
        DataFrame::new(rows.height(), columns).map_err(NodeError::failed)
    }
}

fn present(column: &Column) -> PolarsResult<Vec<f64>> {
    let floats = column.as_materialized_series().cast(&DataType::Float64)?;
    Ok(floats.f64()?.iter().flatten().collect())
}

/// Mean and deviation; `None` of no values. Equal values have deviation 0 exactly, whatever their mean rounds to.
fn moments(values: &[f64]) -> Option<Moments> {
    let first = *values.first()?;
    if values.iter().all(|value| *value == first) {
        return Some(Moments { mean: first, deviation: 0.0 });
    }
    Some(Moments { mean: statistics::mean(values)?, deviation: statistics::standard_deviation(values)? })
}

fn standardized(column: &Column, moments: Moments) -> PolarsResult<Series> {
    let Moments { mean, deviation } = moments;
    let floats = column.as_materialized_series().cast(&DataType::Float64)?;
    let scale = |value: f64| if deviation == 0.0 { 0.0 } else { (value - mean) / deviation };
    Ok(floats.f64()?.apply_values(scale).into_series())
}

/// A column with nothing to learn from.
#[derive(Debug, thiserror::Error)]
#[error(
    "column `{column}` has no present cell in {rows} train rows; leave it out of `columns`, or fill it with `clean.impute`"
)]
pub struct StandardizeError {
    column: String,
    rows: usize,
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use engine_core::{Progress, Role};
    use engine_table::{ProgressSink, RowSet};

    use super::*;

    fn kind(options: serde_json::Value) -> Standardize {
        Standardize::new(serde_json::from_value(options).unwrap()).ok().unwrap()
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl ProgressSink for Heard {
        fn progress(&self, _: Progress) {}
        fn warning(&self, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }

    fn table() -> TableType {
        TableType {
            columns: vec![
                ColumnType::new("n", LogicalType::Int),
                ColumnType::new("x", LogicalType::Float).with_nullable(true),
                ColumnType::new("same", LogicalType::Float),
                ColumnType::new("y", LogicalType::Float).with_role(Role::Target),
            ],
            row_set: RowSet("rows".into()),
        }
    }

    #[test]
    fn train_rows_get_mean_0_and_deviation_1_and_a_constant_becomes_0() {
        let frame = df![
            "n" => [2_i64, 4, 4, 4, 5, 5, 7, 9],
            "x" => [Some(1.0), None, Some(3.0), None, None, None, None, None],
            "same" => [0.1; 8]
        ]
        .unwrap();
        let heard = Arc::new(Heard::default());
        let context = Context { progress: heard.clone(), ..Context::quiet() };
        let kind = kind(serde_json::json!({}));
        let columns = table().columns[..3].to_vec();
        let moments = kind.fit(TrainRows::admit(&frame, &columns), &context).unwrap();
        let found = kind.apply(&moments, &frame).unwrap();
        // Mean 5, deviation 2: the textbook population of eight.
        let n: Vec<f64> = found.column("n").unwrap().f64().unwrap().into_no_null_iter().collect();
        assert_eq!(n, [-1.5, -0.5, -0.5, -0.5, 0.0, 0.0, 1.0, 2.0]);
        assert_eq!(found.column("x").unwrap().f64().unwrap().get(0), Some(-1.0));
        assert_eq!(found.column("x").unwrap().f64().unwrap().get(1), None);
        assert_eq!(found.column("same").unwrap().f64().unwrap().get(3), Some(0.0));
        assert!(heard.0.lock().unwrap()[0].starts_with("column `same` has one value only, 0.1"));
    }

    #[test]
    fn a_suffix_adds_columns_and_the_target_is_left_alone() {
        let change = kind(serde_json::json!({"suffix": "_z"})).infer(&table()).unwrap();
        let names: Vec<&str> = change.writes.iter().map(|written| written.column.name.as_str()).collect();
        assert_eq!(names, ["n_z", "x_z", "same_z"]);
        assert_eq!(change.writes[1].from, ["x"]);
        assert!(change.writes[1].column.nullable);
        let output = change.output(&table(), "scaled");
        assert_eq!(output.column("n").unwrap().logical, LogicalType::Int);
    }

    #[test]
    fn an_empty_column_is_named() {
        let frame = df!["x" => [None::<f64>, None]].unwrap();
        let columns = table().columns[1..2].to_vec();
        let error =
            kind(serde_json::json!({"columns": ["x"]})).fit(TrainRows::admit(&frame, &columns), &Context::quiet());
        assert!(error.unwrap_err().to_string().starts_with("column `x` has no present cell in 2 train rows"));
    }
}
