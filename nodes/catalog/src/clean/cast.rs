//! `clean.cast`: columns of one type as another.

use std::collections::BTreeMap;

use engine_core::{LogicalType, Serving};
use engine_table::{Change, Describe, InputTypes, NodeError, Problem, ReduceInputs, RowFunction, RowLocal, Written};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cell;
use crate::codes::COLUMN_TYPE;
use crate::ingest::declared;
use crate::place;

/// Converts columns to other types, in place.
///
/// Text and categories are read as a file's cells are: whole numbers, decimal numbers, `true`/`false`/`1`/`0`, ISO 8601
/// times. A float becomes an int only if it is whole, a number a bool only if it is 0 or 1; numbers, bools
/// and times become text or categories as they are written. Missing cells stay missing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CastOptions {
    /// The new type of each column, by name; any role.
    #[schemars(schema_with = "declared::cell_types_schema")]
    pub columns: BTreeMap<String, LogicalType>,

    /// What becomes of a value that does not fit the new type.
    #[serde(default)]
    pub on_error: OnError,
}

/// What becomes of a value that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The node fails and names the value.
    #[default]
    Fail,
    /// The cell becomes a missing one.
    Null,
}

/// The kind.
pub struct Cast {
    options: CastOptions,
}

impl Describe for Cast {
    const KIND: &'static str = "clean.cast";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Same;
    const EXAMPLE: &'static str = r"fuseline: 1
name: types
nodes:
  rows: {uses: ingest.csv, with: {path: rows.csv, schema: {id: text, zip: int, income: text}, roles: {id: key}}}
  typed: {uses: clean.cast, with: {columns: {zip: category, income: float}, on_error: 'null'}, in: rows}
";
    type Options = CastOptions;

    fn new(options: CastOptions) -> Result<Cast, Vec<Problem>> {
        Ok(Cast { options })
    }
}

impl RowLocal for Cast {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Vec<Problem>> {
        let table = inputs.table("table");
        let mut problems = Vec::new();
        let mut written = Vec::new();
        for (name, logical) in &self.options.columns {
            let column = match table.require(name, place::entry("columns", name)) {
                Ok(column) => column,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            if !can_cast(&column.logical, logical) {
                let message = format!("`{name}` is {}, which cannot be cast to {logical}", column.logical);
                problems.push(
                    Problem::error(&COLUMN_TYPE, place::entry("columns", name), message)
                        .help("bool, int, float, category, text and datetime columns can be cast"),
                );
                continue;
            }
            let nullable = column.nullable || self.options.on_error == OnError::Null;
            let column = column.clone().with_nullable(nullable);
            written.push(engine_table::ColumnType { logical: logical.clone(), ..column });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let change = Change::in_place(written);
        let writes: Vec<Written> = change.writes;
        Ok(Change { fit_reads: Vec::new(), writes, ..change })
    }

    fn prepare(&self, _: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let options = self.options.clone();
        Ok(Box::new(move |rows: &DataFrame| cast_columns(rows, &options)))
    }
}

/// Whether some value of `from` can be of type `to`.
#[expect(clippy::match_like_matches_macro, reason = "a rule a line reads as the table it is")]
fn can_cast(from: &LogicalType, to: &LogicalType) -> bool {
    use LogicalType::{Bool, Category, Datetime, Float, Int, Text};
    match (from, to) {
        (Category | Text, Bool | Int | Float | Category | Text | Datetime) => true,
        (Bool | Int | Float, Bool | Int | Float | Category | Text) => true,
        (Datetime, Datetime | Category | Text) => true,
        _ => false,
    }
}

fn cast_columns(rows: &DataFrame, options: &CastOptions) -> Result<DataFrame, NodeError> {
    let cast = |column: &Column| {
        let series = column.as_materialized_series();
        let logical = options
            .columns
            .get(series.name().as_str())
            .ok_or_else(|| NodeError::Failed(format!("column `{}` was not asked for", series.name())))?;
        let cast = cast_column(series, logical).map_err(NodeError::failed)?;
        if options.on_error == OnError::Fail {
            let lost = cast.is_null() & series.is_not_null();
            if let Some(row) = lost.iter().position(|is_lost| is_lost == Some(true)) {
                return Err(NodeError::failed(CastError {
                    column: series.name().to_string(),
                    row,
                    value: written(series, row),
                    wanted: logical.to_string(),
                }));
            }
        }
        Ok(cast.into_column())
    };
    let columns = rows.columns().iter().map(cast).collect::<Result<_, NodeError>>()?;
    DataFrame::new(rows.height(), columns).map_err(NodeError::failed)
}

/// The column as `logical`; a value that does not fit becomes a null.
fn cast_column(series: &Series, logical: &LogicalType) -> PolarsResult<Series> {
    let name = series.name().clone();
    if let DataType::String = series.dtype() {
        let cells = series.str()?;
        return Ok(match logical {
            LogicalType::Int => {
                Int64Chunked::from_iter_options(name, cells.iter().map(|cell| cell.and_then(cell::parse_int)))
                    .into_series()
            }
            LogicalType::Float => {
                Float64Chunked::from_iter_options(name, cells.iter().map(|cell| cell.and_then(cell::parse_float)))
                    .into_series()
            }
            LogicalType::Bool => {
                BooleanChunked::from_iter_options(name, cells.iter().map(|cell| cell.and_then(cell::parse_bool)))
                    .into_series()
            }
            LogicalType::Datetime => {
                Int64Chunked::from_iter_options(name, cells.iter().map(|cell| cell.and_then(cell::parse_datetime)))
                    .into_datetime(TimeUnit::Microseconds, None)
                    .into_series()
            }
            _ => series.clone(),
        });
    }
    Ok(match logical {
        LogicalType::Category | LogicalType::Text => text(series)?.into_series(),
        LogicalType::Datetime => series.clone(),
        LogicalType::Float => series.cast(&DataType::Float64)?,
        LogicalType::Int => match series.dtype() {
            DataType::Float64 => {
                // Both ends are exact in 64-bit floats; 2^63 itself is one too many.
                let fits =
                    |value: &f64| value.fract() == 0.0 && (-(2.0_f64.powi(63))..2.0_f64.powi(63)).contains(value);
                let whole = series.f64()?.iter().map(|cell| cell.filter(fits).map(|value| value as i64));
                Int64Chunked::from_iter_options(name, whole).into_series()
            }
            _ => series.cast(&DataType::Int64)?,
        },
        _ => {
            let truth = |value: f64| match value {
                0.0 => Some(false),
                1.0 => Some(true),
                _ => None,
            };
            let numbers = series.cast(&DataType::Float64)?;
            let truths = numbers.f64()?.iter().map(|cell| cell.and_then(truth));
            BooleanChunked::from_iter_options(name, truths).into_series()
        }
    })
}

/// Cells as they are written: `true`, `12`, `0.5`, `2024-02-29`.
pub(crate) fn text(series: &Series) -> PolarsResult<StringChunked> {
    let name = series.name().clone();
    Ok(match series.dtype() {
        DataType::String => series.str()?.clone(),
        DataType::Boolean => StringChunked::from_iter_options(
            name,
            series.bool()?.iter().map(|cell| cell.map(|value| value.to_string())),
        ),
        DataType::Int64 => {
            StringChunked::from_iter_options(name, series.i64()?.iter().map(|cell| cell.map(|value| value.to_string())))
        }
        DataType::Datetime(..) => {
            let physical = series.to_physical_repr();
            StringChunked::from_iter_options(name, physical.i64()?.iter().map(|cell| cell.map(cell::format_datetime)))
        }
        _ => {
            let floats = series.cast(&DataType::Float64)?;
            StringChunked::from_iter_options(name, floats.f64()?.iter().map(|cell| cell.map(|value| value.to_string())))
        }
    })
}

fn written(series: &Series, row: usize) -> String {
    text(series).ok().and_then(|cells| cells.get(row).map(|cell| cell.chars().take(40).collect())).unwrap_or_default()
}

/// A value that does not fit the new type.
#[derive(Debug, thiserror::Error)]
#[error(
    "row {row}, column `{column}`: `{value}` is not of type {wanted}; mend it upstream, or write `on_error: 'null'` to make such cells missing"
)]
pub struct CastError {
    column: String,
    row: usize,
    value: String,
    wanted: String,
}

#[cfg(test)]
mod tests {
    use engine_table::{ColumnType, RowSet, TableType};

    use super::*;

    fn kind(json: serde_json::Value) -> Cast {
        Cast::new(serde_json::from_value(json).unwrap()).ok().unwrap()
    }

    fn check(from: Series, to: &str, expected: &[Option<&str>]) {
        let cast = cast_column(&from, &to.parse().unwrap()).unwrap();
        let found = text(&cast).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{from} to {to}");
    }

    #[test]
    fn cells_become_what_they_say() {
        let cells = |cells: &[&str]| Series::new("c".into(), cells);
        check(cells(&["1", " 2", "x"]), "int", &[Some("1"), Some("2"), None]);
        check(cells(&["1.50", "", "1e2"]), "float", &[Some("1.5"), None, Some("100")]);
        check(cells(&["TRUE", "0", "yes"]), "bool", &[Some("true"), Some("false"), None]);
        check(cells(&["2024-02-29T10:00", "1.1.2024"]), "datetime", &[Some("2024-02-29 10:00:00"), None]);
        check(Series::new("c".into(), [1.0, 1.5, 1e19, -3.0]), "int", &[Some("1"), None, None, Some("-3")]);
        check(Series::new("c".into(), [Some(1_i64), None, Some(2)]), "bool", &[Some("true"), None, None]);
        check(Series::new("c".into(), [true, false]), "int", &[Some("1"), Some("0")]);
        check(Series::new("c".into(), [7_i64, 8]), "category", &[Some("7"), Some("8")]);
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_or_made_missing() {
        let frame = df!["a" => [Some("1"), None, Some("x")]].unwrap();
        let apply = |json| {
            let side = ReduceInputs::new(InputTypes::default(), BTreeMap::new());
            kind(json).prepare(&side).unwrap().apply(&frame)
        };
        let message = apply(serde_json::json!({"columns": {"a": "int"}})).unwrap_err().to_string();
        assert!(message.starts_with("row 2, column `a`: `x` is not of type int"), "{message}");
        let found = apply(serde_json::json!({"columns": {"a": "int"}, "on_error": "null"})).unwrap();
        assert_eq!(found.column("a").unwrap().i64().unwrap().to_vec(), [Some(1), None, None]);
    }

    #[test]
    fn types_change_and_roles_stay() {
        let table = TableType {
            columns: vec![
                ColumnType::new("y", LogicalType::Int).with_role(engine_core::Role::Target),
                ColumnType::new("when", LogicalType::Datetime),
            ],
            row_set: RowSet("rows".into()),
        };
        let inputs = InputTypes::of_table(table);
        let change = kind(serde_json::json!({"columns": {"y": "category"}})).infer(&inputs).unwrap();
        assert_eq!(change.writes[0].column.role, engine_core::Role::Target);
        assert_eq!(change.writes[0].column.logical, LogicalType::Category);
        let problems = kind(serde_json::json!({"columns": {"when": "int", "yy": "int"}})).infer(&inputs).unwrap_err();
        let codes: Vec<&str> = problems.iter().map(|problem| problem.code.name).collect();
        assert_eq!(codes, ["column.type", "column.unknown"]);
    }
}
