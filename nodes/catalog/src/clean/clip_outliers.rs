//! `clean.clip_outliers`: pulls extreme values back to bounds learnt from the train rows.

use std::collections::BTreeMap;

use engine_core::{LogicalType, Serving};
use engine_table::{
    Change, ColumnType, Columns, Context, Describe, FitApply, NodeError, OPTION_INVALID, Problem, TableType, TrainRows,
};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codes::COLUMN_TYPE;
use crate::{place, statistics};

/// Clips numeric columns to bounds learnt from the train rows.
///
/// A value below the lower bound becomes the lower bound, one above the upper bound the upper; missing
/// cells stay missing. Int columns stay int: their bounds are the whole numbers just inside.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClipOutliersOptions {
    /// Which columns; all numeric features if not given.
    #[serde(default = "numeric")]
    pub columns: Columns,

    /// Where the bounds lie.
    #[serde(default)]
    pub method: Method,

    /// How far out, for `iqr` (in interquartile ranges from the quartiles, default 1.5) and `zscore` (in standard
    /// deviations from the mean, default 3).
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub factor: Option<f64>,

    /// For `quantile`: the share of train values below the lower bound, from 0 to 0.5; default 0.01.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub low: Option<f64>,

    /// For `quantile`: the share of train values below the upper bound, from 0.5 to 1; default 0.99.
    #[serde(default)]
    #[schemars(range(min = 0.5, max = 1.0))]
    pub high: Option<f64>,
}

fn numeric() -> Columns {
    Columns::of_type("numeric")
}

/// Where the bounds lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Tukey's fences: `factor` interquartile ranges below the first and above the third quartile.
    #[default]
    Iqr,
    /// `factor` standard deviations to either side of the mean.
    Zscore,
    /// The quantiles `low` and `high`.
    Quantile,
}

/// The least and greatest value a column keeps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The least.
    pub lower: f64,
    /// The greatest.
    pub upper: f64,
}

/// The kind.
pub struct ClipOutliers {
    options: ClipOutliersOptions,
}

impl Describe for ClipOutliers {
    const KIND: &'static str = "clean.clip_outliers";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Same;
    const EXAMPLE: &'static str = r"fuseline: 1
name: amounts
nodes:
  rows: {uses: ingest.csv, with: {path: loans.csv, schema: {id: text, amount: float, age: int}, roles: {id: key}}}
  split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: rows}
  clipped: {uses: clean.clip_outliers, with: {columns: [amount], method: quantile, high: 0.995}, in: split}
";
    type Options = ClipOutliersOptions;

    fn new(options: ClipOutliersOptions) -> Result<ClipOutliers, Vec<Problem>> {
        let stray = |name: &str, method: &str| {
            let message = format!("`{name}` does not count for `method: {method}`");
            Problem::error(&OPTION_INVALID, place::option(name), message).help(format!("take `{name}` out"))
        };
        let mut problems = Vec::new();
        if options.method == Method::Quantile {
            if options.factor.is_some() {
                problems.push(stray("factor", "quantile").help("`low` and `high` set the quantiles"));
            }
        } else {
            let method = if options.method == Method::Iqr { "iqr" } else { "zscore" };
            let given = [("low", options.low), ("high", options.high)];
            let given = given.iter().filter(|(_, share)| share.is_some());
            problems
                .extend(given.map(|(name, _)| stray(name, method).help("`factor` sets how far out the bounds lie")));
        }
        if problems.is_empty() { Ok(ClipOutliers { options }) } else { Err(problems) }
    }
}

impl FitApply for ClipOutliers {
    type Fitted = BTreeMap<String, Bounds>;

    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>> {
        let columns = self.options.columns.resolve(table, "/columns")?;
        let refuse = |column: &&&ColumnType| {
            let message = format!("`{}` is {}, and only numeric columns have outliers", column.name, column.logical);
            Problem::error(&COLUMN_TYPE, place::option("columns"), message).help(format!("leave `{}` out", column.name))
        };
        let problems: Vec<Problem> =
            columns.iter().filter(|column| !column.logical.is_numeric()).map(|column| refuse(&column)).collect();
        if problems.is_empty() { Ok(Change::in_place(columns.into_iter().cloned())) } else { Err(problems) }
    }

    fn fit(&self, train: TrainRows<'_>, _: &Context) -> Result<BTreeMap<String, Bounds>, NodeError> {
        let fit = |column: &ColumnType| {
            let series = train.frame().column(&column.name).map_err(NodeError::failed)?.as_materialized_series();
            let bounds = learn_bounds(series, &self.options).map_err(NodeError::failed)?;
            let bounds = if column.logical == LogicalType::Int { whole(bounds) } else { bounds };
            Ok((column.name.clone(), bounds))
        };
        train.columns().iter().map(fit).collect()
    }

    fn apply(&self, bounds: &BTreeMap<String, Bounds>, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let clip = |column: &Column| {
            let series = column.as_materialized_series();
            let bounds = bounds
                .get(series.name().as_str())
                .ok_or_else(|| NodeError::Failed(format!("no bounds were learnt for column `{}`", series.name())))?;
            Ok(clipped(series, *bounds).map_err(NodeError::failed)?.into_column())
        };
        let columns = rows.columns().iter().map(clip).collect::<Result<_, NodeError>>()?;
        DataFrame::new(rows.height(), columns).map_err(NodeError::failed)
    }
}

fn learn_bounds(series: &Series, options: &ClipOutliersOptions) -> Result<Bounds, ClipOutliersError> {
    let floats = series.cast(&DataType::Float64).and_then(|floats| floats.f64().cloned());
    let present: Vec<f64> =
        floats.map_err(|error| ClipOutliersError::Values(error.to_string()))?.iter().flatten().collect();
    bounds(present, options)
        .ok_or_else(|| ClipOutliersError::NothingToLearn { column: series.name().to_string(), rows: series.len() })
}

/// The bounds of the present values; `None` of no values.
fn bounds(present: Vec<f64>, options: &ClipOutliersOptions) -> Option<Bounds> {
    if options.method == Method::Zscore {
        let mean = statistics::mean(&present)?;
        let reach = options.factor.unwrap_or(3.0) * statistics::standard_deviation(&present)?;
        return Some(Bounds { lower: mean - reach, upper: mean + reach });
    }
    let ascending = statistics::sorted(present);
    let at = |share: f64| statistics::quantile(&ascending, share);
    if options.method == Method::Quantile {
        return Some(Bounds { lower: at(options.low.unwrap_or(0.01))?, upper: at(options.high.unwrap_or(0.99))? });
    }
    let (first, third) = (at(0.25)?, at(0.75)?);
    let reach = options.factor.unwrap_or(1.5) * (third - first);
    Some(Bounds { lower: first - reach, upper: third + reach })
}

/// The whole numbers just inside; where none lies between, the nearest to the middle.
fn whole(bounds: Bounds) -> Bounds {
    let (lower, upper) = (bounds.lower.ceil(), bounds.upper.floor());
    if lower <= upper {
        return Bounds { lower, upper };
    }
    let middle = f64::midpoint(bounds.lower, bounds.upper).round();
    Bounds { lower: middle, upper: middle }
}

fn clipped(series: &Series, bounds: Bounds) -> PolarsResult<Series> {
    let Bounds { lower, upper } = bounds;
    Ok(match series.dtype() {
        // Saturating: bounds beyond 64 bits clip nothing.
        DataType::Int64 => series.i64()?.apply_values(|value| value.clamp(lower as i64, upper as i64)).into_series(),
        _ => series.f64()?.apply_values(|value| value.clamp(lower, upper)).into_series(),
    })
}

/// Why bounds cannot be learnt.
#[derive(Debug, thiserror::Error)]
pub enum ClipOutliersError {
    /// No cell to learn from.
    #[error("column `{column}` has no present cell in {rows} train rows; leave it out of `columns`")]
    NothingToLearn {
        /// The column.
        column: String,
        /// The train rows.
        rows: usize,
    },
    /// The column does not hold numbers.
    #[error("the values cannot be read as numbers: {0}")]
    Values(String),
}

#[cfg(test)]
mod tests {
    use engine_table::RowSet;

    use super::*;

    fn options(json: serde_json::Value) -> ClipOutliersOptions {
        serde_json::from_value(json).unwrap()
    }

    fn check(json: serde_json::Value, present: &[f64], expected: (f64, f64)) {
        let found = bounds(present.to_vec(), &options(json)).unwrap();
        assert!((found.lower - expected.0).abs() < 1e-12 && (found.upper - expected.1).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn bounds_lie_where_the_method_says() {
        // Quartiles of 1..=5 are 2 and 4 (numpy.quantile), the range between them 2.
        check(serde_json::json!({}), &[5.0, 1.0, 2.0, 3.0, 4.0], (-1.0, 7.0));
        check(serde_json::json!({"factor": 0.5}), &[5.0, 1.0, 2.0, 3.0, 4.0], (1.0, 5.0));
        // Mean 5, deviation 2.
        let eight = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        check(serde_json::json!({"method": "zscore", "factor": 1.0}), &eight, (3.0, 7.0));
        check(serde_json::json!({"method": "quantile", "low": 0.25, "high": 1.0}), &[1.0, 2.0, 4.0, 8.0], (1.75, 8.0));
    }

    #[test]
    fn values_are_clipped_gaps_stay_and_ints_stay_ints() {
        let table = TableType {
            columns: vec![
                ColumnType::new("n", LogicalType::Int).with_nullable(true),
                ColumnType::new("x", LogicalType::Float),
            ],
            row_set: RowSet("rows".into()),
        };
        let kind = ClipOutliers::new(options(serde_json::json!({"method": "quantile", "low": 0.1, "high": 0.9})))
            .ok()
            .unwrap();
        let change = kind.infer(&table).unwrap();
        let frame = df!["n" => [Some(1_i64), Some(2), Some(100), None], "x" => [1.0, 2.0, 3.0, 50.0]].unwrap();
        let fitted = kind.fit(TrainRows::admit(&frame, &table.columns), &Context::quiet()).unwrap();
        let found = kind.apply(&fitted, &frame.select(change.reads).unwrap()).unwrap();
        assert_eq!(found.column("n").unwrap().i64().unwrap().to_vec(), [Some(2), Some(2), Some(80), None]);
        assert!(found.column("x").unwrap().f64().unwrap().get(3).unwrap() < 50.0);
    }

    #[test]
    fn options_of_another_method_are_refused() {
        let problems = ClipOutliers::new(options(serde_json::json!({"low": 0.1, "high": 0.9}))).err().unwrap();
        assert_eq!(problems.len(), 2);
        assert!(ClipOutliers::new(options(serde_json::json!({"method": "quantile", "factor": 2.0}))).is_err());
    }
}
