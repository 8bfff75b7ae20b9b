//! `split.by_time`: the past is learnt from, what came later is scored.

use engine_core::{LogicalType, Part, Role, Serving};
use engine_table::{
    Change, ColumnType, Context, Describe, FitApply, NodeError, OPTION_INVALID, Problem, TableType, TrainRows,
};
use polars::prelude::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::assignment::{self, Shares};
use crate::cell;
use crate::codes::{COLUMN_TYPE, SPLIT_COLUMN, SPLIT_RULE};
use crate::place;

/// Parts rows by when they happened: train first, then validation, then test.
///
/// The cuts are points in time (`validation_from`, `test_from`), or the points at which the rows in the order of
/// time part into `shares`. Rows of one time are never parted: those at a cut belong to the later part.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByTimeOptions {
    /// The datetime or int column that says when a row happened; the one with the role `time` if not given.
    #[serde(default)]
    pub column: Option<String>,

    /// Rows from this point on, and before `test_from`, are validation: an ISO 8601 date or time in quotes, or for an
    /// int column a whole number. Without it no row is validation.
    #[serde(default)]
    #[schemars(schema_with = "point_schema")]
    pub validation_from: Option<Value>,

    /// Rows from this point on are test.
    #[serde(default)]
    #[schemars(schema_with = "point_schema")]
    pub test_from: Option<Value>,

    /// How large each part is, as shares from 0 to 1 that add up to 1; in place of the points.
    #[serde(default)]
    pub shares: Option<Shares>,

    /// The name of the split column; it has the role `split` and holds `train`, `validation` and `test`.
    #[serde(default = "assignment::default_column", rename = "as")]
    pub written: String,
}

fn point_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer", "null"] })
}

/// Where the rows are cut: microseconds, or the numbers of an int column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Points {
    validation_from: Option<i64>,
    test_from: Option<i64>,
}

/// The kind.
pub struct ByTime {
    options: ByTimeOptions,
}

impl Describe for ByTime {
    const KIND: &'static str = "split.by_time";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Skip;
    const EXAMPLE: &'static str = r"fuseline: 1
name: prices
nodes:
  rows:
    uses: ingest.csv
    with: {path: prices.csv, schema: {day: datetime, price: float, rise: bool}, roles: {day: time, rise: target}}
  split: {uses: split.by_time, with: {validation_from: '2023-01-01', test_from: '2024-01-01'}, in: rows}
";
    type Options = ByTimeOptions;

    fn new(options: ByTimeOptions) -> Result<ByTime, Vec<Problem>> {
        let mut problems = Vec::new();
        let has_points = is_given(&options.validation_from) || is_given(&options.test_from);
        match (&options.shares, has_points) {
            (Some(shares), false) => shares.check(&mut problems),
            (None, true) => {}
            (Some(_), true) => problems.push(
                Problem::error(
                    &SPLIT_RULE,
                    place::option("shares"),
                    "rows are cut either at points in time or by shares",
                )
                .help("take `shares` out, or `validation_from` and `test_from`"),
            ),
            (None, false) => problems.push(
                Problem::error(&SPLIT_RULE, engine_table::At::Node, "nothing says where to cut the rows")
                    .help("write `test_from: '2024-01-01'`, or `shares: {train: 0.8, test: 0.2}`"),
            ),
        }
        if problems.is_empty() { Ok(ByTime { options }) } else { Err(problems) }
    }
}

fn is_given(point: &Option<Value>) -> bool {
    point.as_ref().is_some_and(|point| !point.is_null())
}

impl ByTime {
    fn column<'t>(&self, table: &'t TableType) -> Result<&'t ColumnType, Problem> {
        let column = match &self.options.column {
            Some(name) => table.require(name, place::option("column"))?,
            None => table.with_role(Role::Time).next().ok_or_else(|| {
                Problem::error(&SPLIT_COLUMN, engine_table::At::Node, "the input has no column with the role time")
                    .help(
                        "write `column: NAME`, or give the column the role where it is ingested: `roles: {NAME: time}`",
                    )
            })?,
        };
        if matches!(column.logical, LogicalType::Datetime | LogicalType::Int) {
            return Ok(column);
        }
        let message = format!("`{}` is {}, and time is datetime or int", column.name, column.logical);
        Err(Problem::error(&COLUMN_TYPE, place::option("column"), message).help(format!(
            "convert it first: `{{uses: clean.cast, with: {{columns: {{{}: datetime}}}}}}`",
            column.name
        )))
    }

    /// The points the author gave, for a column of type `logical`.
    fn points(&self, logical: &LogicalType) -> Result<Points, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut read = |name: &str, point: &Option<Value>| match (point, logical) {
            (None | Some(Value::Null), _) => None,
            (Some(Value::String(text)), LogicalType::Datetime) if cell::parse_datetime(text).is_some() => {
                cell::parse_datetime(text)
            }
            (Some(Value::Number(number)), LogicalType::Int) if number.is_i64() => number.as_i64(),
            (Some(other), logical) => {
                let wanted = match logical {
                    LogicalType::Datetime => "a date such as '2024-02-29', in quotes",
                    _ => "a whole number",
                };
                let message = format!("`{name}` must be {wanted}, not `{other}`");
                problems.push(Problem::error(&OPTION_INVALID, place::option(name), message));
                None
            }
        };
        let validation_from = read("validation_from", &self.options.validation_from);
        let test_from = read("test_from", &self.options.test_from);
        if let (Some(validation), Some(test)) = (validation_from, test_from)
            && validation >= test
        {
            let message = "`validation_from` is not before `test_from`, so no row would be validation";
            problems.push(Problem::error(&SPLIT_RULE, place::option("validation_from"), message));
        }
        if problems.is_empty() { Ok(Points { validation_from, test_from }) } else { Err(problems) }
    }
}

impl FitApply for ByTime {
    type Fitted = Points;

    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>> {
        let column = self.column(table).map_err(|problem| vec![problem])?;
        self.points(&column.logical)?;
        assignment::split_change(table, &self.options.written, vec![column.name.clone()])
    }

    fn fit(&self, train: TrainRows<'_>, _: &Context) -> Result<Points, NodeError> {
        let column = train.columns().first().expect("the plan gives the column that `infer` reads");
        match self.options.shares {
            Some(shares) => Ok(learnt_points(times(train.frame())?, shares)),
            None => self.points(&column.logical).map_err(|problems| {
                NodeError::Failed(problems.first().map_or_else(String::new, |problem| problem.message.clone()))
            }),
        }
    }

    fn apply(&self, points: &Points, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let parts = times(rows)?.into_iter().map(|time| part(time, points));
        assignment::split_frame(&self.options.written, parts)
    }
}

/// The points that part the rows into `shares`; none where a share is 0.
fn learnt_points(mut times: Vec<i64>, shares: Shares) -> Points {
    times.sort_unstable();
    let from = |share: f64| {
        let first = (share * times.len() as f64).round() as usize;
        times.get(first).copied()
    };
    Points {
        validation_from: if shares.validation > 0.0 { from(shares.train) } else { None },
        test_from: if shares.test > 0.0 { from(shares.train + shares.validation) } else { None },
    }
}

fn part(time: i64, points: &Points) -> Part {
    let is_from = |point: Option<i64>| point.is_some_and(|point| time >= point);
    if is_from(points.test_from) {
        Part::Test
    } else if is_from(points.validation_from) {
        Part::Validation
    } else {
        Part::Train
    }
}

/// The times of the rows, which hold that column alone.
fn times(rows: &DataFrame) -> Result<Vec<i64>, NodeError> {
    let column = rows.columns().first().expect("the plan gives the column that `infer` reads");
    let physical = column.as_materialized_series().to_physical_repr();
    let cells = physical.i64().map_err(NodeError::failed)?;
    let time = |(row, cell): (usize, Option<i64>)| {
        cell.ok_or_else(|| NodeError::failed(ByTimeError { row, column: column.name().to_string() }))
    };
    cells.iter().enumerate().map(time).collect()
}

/// A row without a time.
#[derive(Debug, thiserror::Error)]
#[error(
    "row {row}, column `{column}`: the time is missing, so the row belongs to no part; mend it or leave it out upstream"
)]
pub struct ByTimeError {
    row: usize,
    column: String,
}

#[cfg(test)]
mod tests {
    use engine_table::RowSet;

    use super::*;

    fn kind(options: Value) -> ByTime {
        ByTime::new(serde_json::from_value(options).unwrap()).ok().unwrap()
    }

    fn table(logical: LogicalType) -> TableType {
        TableType {
            columns: vec![ColumnType::new("when", logical).with_role(Role::Time)],
            row_set: RowSet("rows".into()),
        }
    }

    fn check(options: Value, times: &[i64], expected: &[Part]) {
        let (kind, table) = (kind(options), table(LogicalType::Int));
        kind.infer(&table).unwrap();
        let frame = df!["when" => times].unwrap();
        let points = kind.fit(TrainRows::admit(&frame, &table.columns), &Context::quiet()).unwrap();
        let found = kind.apply(&points, &frame).unwrap();
        let words: Vec<&str> = found.column("split").unwrap().str().unwrap().iter().flatten().collect();
        assert_eq!(words, expected.iter().map(|part| part.as_str()).collect::<Vec<_>>());
    }

    use Part::{Test, Train, Validation};

    #[test]
    fn rows_are_cut_at_points() {
        let options = serde_json::json!({"validation_from": 10, "test_from": 20});
        check(options, &[25, 9, 10, 20, 19], &[Test, Train, Validation, Test, Validation]);
        check(serde_json::json!({"test_from": 10}), &[9, 10], &[Train, Test]);
    }

    #[test]
    fn shares_are_of_the_rows_in_the_order_of_time() {
        let options = serde_json::json!({"shares": {"train": 0.6, "validation": 0.2, "test": 0.2}});
        check(options, &[50, 10, 40, 20, 30], &[Test, Train, Validation, Train, Train]);
        // Rows of one time stay together, in the later part.
        check(serde_json::json!({"shares": {"train": 0.5, "test": 0.5}}), &[1, 2, 2, 2], &[Train, Test, Test, Test]);
    }

    #[test]
    fn dates_are_read_for_datetime_columns() {
        let date = kind(serde_json::json!({"test_from": "1970-01-02"}));
        assert_eq!(date.points(&LogicalType::Datetime).unwrap().test_from, Some(86_400_000_000));
        let problems = date.infer(&table(LogicalType::Int)).unwrap_err();
        assert_eq!(problems[0].message, "`test_from` must be a whole number, not `\"1970-01-02\"`");
        assert_eq!(date.infer(&table(LogicalType::Text)).unwrap_err()[0].code.name, "column.type");
    }

    #[test]
    fn a_missing_time_is_named() {
        let frame = df!["when" => [Some(1_i64), None]].unwrap();
        let message = times(&frame).unwrap_err().to_string();
        assert!(message.starts_with("row 1, column `when`"), "{message}");
    }

    #[test]
    fn one_rule_is_needed_and_only_one() {
        let code = |options| ByTime::new(serde_json::from_value(options).unwrap()).err().unwrap()[0].code.name;
        assert_eq!(code(serde_json::json!({})), "split.rule");
        assert_eq!(code(serde_json::json!({"test_from": 1, "shares": {"train": 1.0}})), "split.rule");
        let reversed = kind(serde_json::json!({"validation_from": 5, "test_from": 5}));
        assert_eq!(reversed.infer(&table(LogicalType::Int)).unwrap_err()[0].code.name, "split.rule");
    }
}
