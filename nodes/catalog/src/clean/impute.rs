//! `clean.impute`: fills missing cells with a value learnt from the train rows.

use std::collections::{BTreeMap, HashMap};

use engine_core::{LogicalType, Serving};
use engine_table::{
    Change, ColumnType, Columns, Context, Describe, FitApply, NodeError, OPTION_INVALID, Problem, TableType, TrainRows,
    Written,
};
use polars::prelude::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::codes::{COLUMN_EXISTS, COLUMN_TYPE};
use crate::{place, statistics};

/// Fills missing cells.
///
/// Each column's fill is learnt from the train rows and put into every row that misses the cell.
/// `mean` and `median` take numeric columns and make them `float`; `mode` and `constant` take
/// `bool`, `int`, `float`, `category` and `text` columns and keep their type.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImputeOptions {
    /// Which columns; all numeric features if not given.
    #[serde(default = "numeric")]
    pub columns: Columns,

    /// What stands in for a missing cell.
    #[serde(default)]
    pub strategy: Strategy,

    /// The value for `strategy: constant`, of the type of every column.
    #[serde(default)]
    #[schemars(schema_with = "scalar_schema")]
    pub value: Option<Value>,

    /// Adds a `bool` column `<column>_missing` for every column, which says where a cell was missing.
    #[serde(default)]
    pub indicator: bool,

    /// Largest share of missing cells a column may have in the train rows, from 0 to 1; above it the node fails.
    #[serde(default = "default_max_gap_share")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_gap_share: f64,
}

fn numeric() -> Columns {
    Columns::of_type("numeric")
}

fn default_max_gap_share() -> f64 {
    1.0
}

fn scalar_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number", "boolean", "null"] })
}

/// What stands in for a missing cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The arithmetic mean.
    Mean,
    /// The middle value; the mean of the two middle ones if their number is even.
    #[default]
    Median,
    /// The most frequent value; of several the smallest, text by its bytes.
    Mode,
    /// The option `value`.
    Constant,
}

impl Strategy {
    fn as_str(self) -> &'static str {
        match self {
            Strategy::Mean => "mean",
            Strategy::Median => "median",
            Strategy::Mode => "mode",
            Strategy::Constant => "constant",
        }
    }
}

/// The value that stands in for the gaps of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// For a bool column.
    Bool(bool),
    /// For an int column.
    Int(i64),
    /// For a float column.
    Float(f64),
    /// For a category or text column.
    Text(String),
}

/// The kind.
pub struct Impute {
    options: ImputeOptions,
}

impl Describe for Impute {
    const KIND: &'static str = "clean.impute";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Same;
    const EXAMPLE: &'static str = r"fuseline: 1
name: charges
nodes:
  rows:
    uses: ingest.csv
    with:
      path: churn.csv
      schema: {customer: text, charges: float, plan: category}
      nullable: [charges]
      roles: {customer: key}
  split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: rows}
  filled: {uses: clean.impute, with: {columns: [charges], strategy: median, indicator: true}, in: split}
";
    type Options = ImputeOptions;

    fn new(options: ImputeOptions) -> Result<Impute, Vec<Problem>> {
        match (options.strategy, &options.value) {
            (Strategy::Constant, None | Some(Value::Null)) => Err(vec![
                Problem::error(&OPTION_INVALID, place::option("strategy"), "`strategy: constant` needs a `value`")
                    .help("write `value: 0`, or the value that stands for missing"),
            ]),
            (Strategy::Constant, _) | (_, None | Some(Value::Null)) => Ok(Impute { options }),
            _ => Err(vec![
                Problem::error(&OPTION_INVALID, place::option("value"), "`value` counts for `strategy: constant` only")
                    .help("write `strategy: constant`, or take `value` out"),
            ]),
        }
    }
}

impl FitApply for Impute {
    type Fitted = BTreeMap<String, Fill>;

    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>> {
        let columns = self.options.columns.resolve(table, "/columns")?;
        let mut problems = Vec::new();
        let mut writes = Vec::new();
        for column in &columns {
            match filled_type(column, &self.options) {
                Ok(filled) => writes.push(Written::new(filled, [&column.name])),
                Err(problem) => problems.push(problem),
            }
        }
        if self.options.indicator {
            for column in &columns {
                let name = indicator_name(&column.name);
                if table.column(&name).is_some() {
                    let message = format!("the input has a column `{name}` already");
                    problems.push(Problem::error(&COLUMN_EXISTS, place::option("indicator"), message));
                }
                writes.push(Written::new(ColumnType::new(name, LogicalType::Bool), [&column.name]));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let reads: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        Ok(Change { fit_reads: reads.clone(), reads, writes, ..Change::default() })
    }

    fn fit(&self, train: TrainRows<'_>, _: &Context) -> Result<BTreeMap<String, Fill>, NodeError> {
        let fit = |column: &ColumnType| {
            let series = train.frame().column(&column.name).map_err(NodeError::failed)?.as_materialized_series();
            check_gaps(series, self.options.max_gap_share).map_err(NodeError::failed)?;
            let fill = match &self.options.value {
                Some(value) if self.options.strategy == Strategy::Constant => constant_fill(value, &column.logical),
                _ => learnt_fill(series, self.options.strategy)?,
            };
            let fill = fill.ok_or_else(|| {
                NodeError::failed(ImputeError::NothingToLearn { column: column.name.clone(), rows: series.len() })
            })?;
            Ok((column.name.clone(), fill))
        };
        train.columns().iter().map(fit).collect()
    }

    fn apply(&self, fills: &BTreeMap<String, Fill>, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let mut written = Vec::with_capacity(rows.width());
        let mut indicators = Vec::new();
        for column in rows.columns() {
            let series = column.as_materialized_series();
            let fill = fills
                .get(series.name().as_str())
                .ok_or_else(|| NodeError::Failed(format!("nothing was learnt for column `{}`", series.name())))?;
            written.push(filled(series, fill).map_err(NodeError::failed)?.into_column());
            if self.options.indicator {
                let gaps = series.is_null().with_name(indicator_name(series.name()).into());
                indicators.push(gaps.into_series().into_column());
            }
        }
        written.append(&mut indicators);
        DataFrame::new(rows.height(), written).map_err(NodeError::failed)
    }
}

fn indicator_name(column: &str) -> String {
    format!("{column}_missing")
}

/// The column without gaps.
fn filled_type(column: &ColumnType, options: &ImputeOptions) -> Result<ColumnType, Problem> {
    use LogicalType::{Bool, Category, Float, Int, Text};
    let refuse = |takes: &str, way_out: &str| {
        let strategy = options.strategy.as_str();
        let message = format!("`{}` is {}, and `{strategy}` takes {takes}", column.name, column.logical);
        Problem::error(&COLUMN_TYPE, place::option("columns"), message).help(way_out)
    };
    let logical = match options.strategy {
        Strategy::Mean | Strategy::Median if column.logical.is_numeric() => Float,
        Strategy::Mean | Strategy::Median => {
            return Err(refuse("numeric columns", "write `strategy: mode` or `strategy: constant`, or leave it out"));
        }
        Strategy::Mode | Strategy::Constant if matches!(column.logical, Bool | Int | Float | Category | Text) => {
            column.logical.clone()
        }
        _ => return Err(refuse("bool, int, float, category and text columns", "leave it out of `columns`")),
    };
    match (&options.value, options.strategy) {
        (Some(value), Strategy::Constant) if constant_fill(value, &column.logical).is_none() => {
            let message = format!("`{value}` does not fit `{}`, which is {}", column.name, column.logical);
            Err(Problem::error(&COLUMN_TYPE, place::option("value"), message)
                .help("give a value of the column's type, or fill columns of different types in nodes of their own"))
        }
        _ => Ok(ColumnType { logical, nullable: false, ..column.clone() }),
    }
}

fn constant_fill(value: &Value, logical: &LogicalType) -> Option<Fill> {
    match (logical, value) {
        (LogicalType::Bool, Value::Bool(value)) => Some(Fill::Bool(*value)),
        (LogicalType::Int, Value::Number(number)) => number.as_i64().map(Fill::Int),
        (LogicalType::Float, Value::Number(number)) => number.as_f64().map(Fill::Float),
        (LogicalType::Category | LogicalType::Text, Value::String(text)) => Some(Fill::Text(text.clone())),
        _ => None,
    }
}

fn check_gaps(series: &Series, limit: f64) -> Result<(), ImputeError> {
    let (gaps, rows) = (series.null_count(), series.len());
    if gaps as f64 > limit * rows as f64 {
        return Err(ImputeError::TooManyGaps { column: series.name().to_string(), gaps, rows, limit });
    }
    Ok(())
}

/// The fill that the present cells give; `None` if there is no present cell.
fn learnt_fill(series: &Series, strategy: Strategy) -> Result<Option<Fill>, NodeError> {
    match strategy {
        Strategy::Mean => Ok(statistics::mean(&present(series)?).map(Fill::Float)),
        Strategy::Median => Ok(statistics::quantile(&statistics::sorted(present(series)?), 0.5).map(Fill::Float)),
        Strategy::Mode | Strategy::Constant => most_frequent(series).map_err(NodeError::failed),
    }
}

fn present(series: &Series) -> Result<Vec<f64>, NodeError> {
    let floats = series.cast(&DataType::Float64).map_err(NodeError::failed)?;
    Ok(floats.f64().map_err(NodeError::failed)?.iter().flatten().collect())
}

fn most_frequent(series: &Series) -> PolarsResult<Option<Fill>> {
    Ok(match series.dtype() {
        DataType::Boolean => mode(series.bool()?.iter().flatten()).map(Fill::Bool),
        DataType::Int64 => mode(series.i64()?.iter().flatten()).map(Fill::Int),
        // Through an order-preserving whole number: floats themselves have no total order.
        DataType::Float64 => mode(series.f64()?.iter().flatten().map(ordered)).map(|key| Fill::Float(unordered(key))),
        _ => mode(series.str()?.iter().flatten()).map(|text| Fill::Text(text.to_owned())),
    })
}

/// The most frequent value, of several the smallest.
fn mode<T: Ord + std::hash::Hash + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: HashMap<T, usize> = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts.into_iter().max_by(|(a, m), (b, n)| m.cmp(n).then_with(|| b.cmp(a))).map(|(value, _)| value)
}

/// The bits of a float, so turned that whole numbers order as the floats do.
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

fn unordered(key: i64) -> f64 {
    f64::from_bits((if key < 0 { key ^ i64::MAX } else { key }) as u64)
}

/// The column with `fill` in its gaps.
fn filled(series: &Series, fill: &Fill) -> PolarsResult<Series> {
    let name = series.name().clone();
    Ok(match fill {
        Fill::Bool(fill) => {
            BooleanChunked::from_iter_values(name, series.bool()?.iter().map(|cell| cell.unwrap_or(*fill)))
                .into_series()
        }
        Fill::Int(fill) => {
            Int64Chunked::from_iter_values(name, series.i64()?.iter().map(|cell| cell.unwrap_or(*fill))).into_series()
        }
        Fill::Float(fill) => {
            let floats = series.cast(&DataType::Float64)?;
            Float64Chunked::from_iter_values(name, floats.f64()?.iter().map(|cell| cell.unwrap_or(*fill))).into_series()
        }
        Fill::Text(fill) => {
            StringChunked::from_iter_values(name, series.str()?.iter().map(|cell| cell.unwrap_or(fill))).into_series()
        }
    })
}

/// Why fills cannot be learnt.
#[derive(Debug, thiserror::Error)]
pub enum ImputeError {
    /// More gaps than allowed.
    #[error(
        "column `{column}` misses {gaps} of {rows} train cells, more than `max_gap_share` {limit} allows; raise it or drop the column"
    )]
    TooManyGaps {
        /// The column.
        column: String,
        /// Its missing cells.
        gaps: usize,
        /// The train rows.
        rows: usize,
        /// The option.
        limit: f64,
    },
    /// No cell to learn from.
    #[error(
        "column `{column}` has no present cell in {rows} train rows; leave it out, or write `strategy: constant` with a `value`"
    )]
    NothingToLearn {
        /// The column.
        column: String,
        /// The train rows.
        rows: usize,
    },
}

#[cfg(test)]
mod tests {
    use engine_table::RowSet;

    use super::*;

    fn kind(options: Value) -> Impute {
        Impute::new(serde_json::from_value(options).unwrap()).ok().unwrap()
    }

    fn table() -> TableType {
        let column = |name: &str, logical| ColumnType::new(name, logical).with_nullable(true);
        TableType {
            columns: vec![
                column("n", LogicalType::Int),
                column("x", LogicalType::Float),
                column("job", LogicalType::Category),
            ],
            row_set: RowSet("rows".into()),
        }
    }

    fn impute(options: Value, frame: &DataFrame) -> Result<DataFrame, NodeError> {
        let (kind, table) = (kind(options), table());
        let change = kind.infer(&table).unwrap();
        let columns: Vec<ColumnType> =
            change.fit_reads.iter().map(|name| table.column(name).unwrap().clone()).collect();
        let rows = frame.select(change.reads.iter().map(String::as_str)).unwrap();
        let fills = kind.fit(TrainRows::admit(&rows, &columns), &Context::quiet())?;
        kind.apply(&fills, &rows)
    }

    fn check(strategy: Strategy, cells: &[Option<f64>], expected: &[f64]) {
        let fill = learnt_fill(&Series::new("x".into(), cells), strategy).unwrap().unwrap();
        let found = filled(&Series::new("x".into(), cells), &fill).unwrap();
        assert_eq!(found.f64().unwrap().into_no_null_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_gap_takes_what_the_present_cells_say() {
        check(Strategy::Mean, &[Some(1.0), None, Some(3.0)], &[1.0, 2.0, 3.0]);
        check(Strategy::Median, &[Some(1.0), None, Some(9.0), Some(2.0)], &[1.0, 2.0, 9.0, 2.0]);
        check(Strategy::Mode, &[Some(-2.0), Some(5.0), None, Some(5.0)], &[-2.0, 5.0, 5.0, 5.0]);
        check(Strategy::Mode, &[Some(-1.0), Some(-2.0), None], &[-1.0, -2.0, -2.0]);
    }

    #[test]
    fn an_int_column_becomes_float_by_its_median_and_stays_int_by_its_mode() {
        let frame = df!["n" => [Some(1_i64), None, Some(2)]].unwrap();
        let by_median = impute(serde_json::json!({"columns": ["n"]}), &frame).unwrap();
        assert_eq!(by_median.column("n").unwrap().f64().unwrap().get(1), Some(1.5));
        let by_mode = impute(serde_json::json!({"columns": ["n"], "strategy": "mode"}), &frame).unwrap();
        assert_eq!(by_mode.column("n").unwrap().i64().unwrap().get(1), Some(1));
        let types = kind(serde_json::json!({"columns": ["n"]})).infer(&table()).unwrap();
        assert_eq!(types.writes[0].column.logical, LogicalType::Float);
        assert!(!types.writes[0].column.nullable);
    }

    #[test]
    fn text_takes_a_constant_and_the_indicator_says_where() {
        let frame = df!["job" => [Some("a"), None]].unwrap();
        let options =
            serde_json::json!({"columns": ["job"], "strategy": "constant", "value": "none", "indicator": true});
        let found = impute(options, &frame).unwrap();
        assert_eq!(found.column("job").unwrap().str().unwrap().get(1), Some("none"));
        assert_eq!(
            found.column("job_missing").unwrap().bool().unwrap().iter().collect::<Vec<_>>(),
            [Some(false), Some(true)]
        );
    }

    #[test]
    fn too_many_gaps_and_empty_columns_are_named_with_a_way_out() {
        let frame = df!["x" => [None, None, Some(1.0)]].unwrap();
        let message = impute(serde_json::json!({"columns": ["x"], "max_gap_share": 0.5}), &frame).unwrap_err();
        assert!(message.to_string().starts_with("column `x` misses 2 of 3 train cells"), "{message}");
        let empty = df!["x" => [None::<f64>, None]].unwrap();
        let message = impute(serde_json::json!({"columns": ["x"]}), &empty).unwrap_err();
        assert!(message.to_string().contains("no present cell in 2 train rows"), "{message}");
    }

    #[test]
    fn a_type_that_a_strategy_cannot_fill_is_a_problem_before_the_run() {
        let problems = kind(serde_json::json!({"columns": ["job"]})).infer(&table()).unwrap_err();
        assert_eq!(problems[0].message, "`job` is category, and `median` takes numeric columns");
        let constant = serde_json::json!({"columns": ["job", "n"], "strategy": "constant", "value": 0});
        let problems = kind(constant).infer(&table()).unwrap_err();
        assert_eq!((problems.len(), problems[0].code.name), (1, "column.type"));
        let options = serde_json::from_value(serde_json::json!({"strategy": "constant"})).unwrap();
        assert!(Impute::new(options).is_err());
    }

    #[test]
    fn floats_keep_their_order_as_whole_numbers() {
        let ascending = [f64::NEG_INFINITY, -2.5, -0.0, 0.0, 1e-310, 3.0, f64::INFINITY];
        assert!(ascending.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert!(ascending.iter().all(|value| unordered(ordered(*value)).to_bits() == value.to_bits()));
    }
}
