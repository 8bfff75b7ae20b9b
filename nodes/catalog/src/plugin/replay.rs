//! Whether a plug-in keeps the promise of `row_local`: the same rows, cut and ordered in several ways, give the same.

use engine_core::LogicalType;
use engine_table::{ColumnType, NodeError, RowFunction, dtype_of, tensor_column, token_column};
use polars::prelude::*;

/// Rows of the chunks a table is cut into for the second round; no divisor of common sizes.
const CHUNK: usize = 7;

/// Rows that are sent one at a time: each is a message of its own.
const MOST_SINGLE_ROWS: usize = 500;

/// How rows were sent, and what was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Rows that were compared.
    pub rows: usize,
    /// The ways they were sent in, after the first.
    pub ways: Vec<String>,
}

/// A row that came out differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The column.
    pub column: String,
    /// The row, from 0.
    pub row: usize,
    /// Its value when all rows were sent at once.
    pub whole: String,
    /// Its value otherwise.
    pub other: String,
    /// How the rows were sent otherwise.
    pub way: String,
}

/// Why a replay does not pass.
#[derive(Debug)]
pub enum ReplayError {
    /// A row depends on more than itself.
    Different(Difference),
    /// The plug-in fails.
    Failed(NodeError),
}

impl From<NodeError> for ReplayError {
    fn from(error: NodeError) -> ReplayError {
        ReplayError::Failed(error)
    }
}

impl From<PolarsError> for ReplayError {
    fn from(error: PolarsError) -> ReplayError {
        ReplayError::Failed(NodeError::failed(error))
    }
}

/// Sends `rows` in several ways, each to a function `start` makes anew.
///
/// # Errors
/// The first row that differs from what all rows at once gave, or the plug-in's own failure.
pub fn replay(
    start: &dyn Fn() -> Result<Box<dyn RowFunction>, NodeError>,
    rows: &DataFrame,
) -> Result<Replay, ReplayError> {
    let height = rows.height();
    let whole = start()?.apply(rows)?;
    let single = height.min(MOST_SINGLE_ROWS);
    // Backwards: a plug-in that remembers what it saw gives itself away even if it sees the same rows.
    let ways = [
        ("all at once, a second time".to_owned(), height, height, false),
        (format!("in chunks of {CHUNK}"), height, CHUNK, false),
        (format!("in chunks of {CHUNK}, the last first"), height, CHUNK, true),
        ("one at a time, the last first".to_owned(), single, 1, true),
    ];
    for (way, count, chunk, backwards) in &ways {
        let function = start()?;
        let mut starts: Vec<usize> = (0..*count).step_by((*chunk).max(1)).collect();
        if *backwards {
            starts.reverse();
        }
        for first in starts {
            let length = (*chunk).min(count - first);
            let mut part = rows.slice(first as i64, length);
            part.rechunk_mut();
            let part = function.apply(&part)?;
            compare(&whole.slice(first as i64, length), &part, first, way).map_err(ReplayError::Different)?;
        }
    }
    Ok(Replay { rows: height, ways: ways.into_iter().map(|(way, ..)| way).collect() })
}

/// The first row of `other` that is not bit for bit that of `whole`; `first` is the number of the first row.
fn compare(whole: &DataFrame, other: &DataFrame, first: usize, way: &str) -> Result<(), Difference> {
    for (one, two) in whole.columns().iter().zip(other.columns()) {
        for row in 0..whole.height() {
            let (Ok(a), Ok(b)) = (one.get(row), two.get(row)) else { continue };
            if !is_same(&a, &b) {
                let shown = |value: &AnyValue<'_>| value.to_string();
                let column = one.name().to_string();
                let way = way.to_owned();
                return Err(Difference { column, row: first + row, whole: shown(&a), other: shown(&b), way });
            }
        }
    }
    Ok(())
}

/// Whether two cells are the same, bit for bit; every NaN is one.
fn is_same(one: &AnyValue<'_>, other: &AnyValue<'_>) -> bool {
    match (one, other) {
        (AnyValue::Float64(a), AnyValue::Float64(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
        (AnyValue::Float32(a), AnyValue::Float32(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
        (AnyValue::List(a), AnyValue::List(b)) | (AnyValue::Array(a, _), AnyValue::Array(b, _)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| is_same(&a, &b))
        }
        (a, b) => a == b,
    }
}

/// Rows of `columns` made up to try a plug-in with: usual values, extreme ones, and gaps where they may be.
///
/// # Errors
/// If a column's type cannot be made up.
pub fn sample_rows(columns: &[ColumnType], height: usize) -> Result<DataFrame, NodeError> {
    let made: Result<Vec<Column>, NodeError> = columns.iter().map(|column| sample(column, height)).collect();
    DataFrame::new(height, made?).map_err(NodeError::failed)
}

fn sample(column: &ColumnType, height: usize) -> Result<Column, NodeError> {
    const TEXTS: &[&str] = &[
        "Profit rose and the outlook is strong.",
        "",
        "a loss, a default and a lawsuit",
        "Größe: 12.5 % – ça va",
        "  spaces\tand\nlines  ",
        "GOOD good GoOd",
        "not bad; never better, hardly good",
        "0",
        "日本の株式市場は堅調",
    ];
    const CATEGORIES: &[&str] = &["red", "green", "blue", ""];
    const FLOATS: &[f64] = &[0.0, 1.0, -1.0, 0.1, 1e-300, -1e300, 3.5, 1234.25, -0.0];
    const INTS: &[i64] = &[0, 1, -1, 7, 1 << 40, -(1 << 40), 12];
    let name = PlSmallStr::from(column.name.as_str());
    // Neighbours differ, and no pattern has the length of a chunk.
    let pick = |row: usize, of: usize| (row * 5 + row / 11) % of;
    let is_gap = |row: usize| column.nullable && row % 9 == 4;
    let gaps = |row: usize, of: usize| if is_gap(row) { None } else { Some(pick(row, of)) };
    let rows = 0..height;
    Ok(match &column.logical {
        LogicalType::Bool => Column::new(name, rows.map(|row| gaps(row, 2).map(|at| at == 1)).collect::<Vec<_>>()),
        LogicalType::Int => {
            Column::new(name, rows.map(|row| gaps(row, INTS.len()).map(|at| INTS[at])).collect::<Vec<_>>())
        }
        LogicalType::Float => {
            Column::new(name, rows.map(|row| gaps(row, FLOATS.len()).map(|at| FLOATS[at])).collect::<Vec<_>>())
        }
        LogicalType::Text => {
            Column::new(name, rows.map(|row| gaps(row, TEXTS.len()).map(|at| TEXTS[at])).collect::<Vec<_>>())
        }
        LogicalType::Category => {
            Column::new(name, rows.map(|row| gaps(row, CATEGORIES.len()).map(|at| CATEGORIES[at])).collect::<Vec<_>>())
        }
        LogicalType::Datetime => {
            let days = rows.map(|row| gaps(row, 4000).map(|day| day as i64 * 86_400_000_000 - 1)).collect::<Vec<_>>();
            Column::new(name, days)
                .cast(&DataType::Datetime(TimeUnit::Microseconds, None))
                .map_err(NodeError::failed)?
        }
        logical => match dtype_of(logical) {
            Some(DataType::Array(inner, width)) if *inner == DataType::Float32 => {
                let values = (0..height * width).map(|at| pick(at, 17) as f32 / 4.0 - 2.0).collect();
                tensor_column(&column.name, width, values)?
            }
            Some(DataType::Array(_, width)) => {
                let values = (0..height * width).map(|at| u32::try_from(pick(at, 19)).unwrap_or(0)).collect();
                token_column(&column.name, width, values)?
            }
            _ => {
                return Err(NodeError::Failed(format!(
                    "rows cannot be made up for `{}`, a {logical} column; give rows of your own with `--data`",
                    column.name
                )));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn rows(height: usize) -> DataFrame {
        sample_rows(&[ColumnType::new("x", LogicalType::Float)], height).unwrap()
    }

    fn check(start: &dyn Fn() -> Result<Box<dyn RowFunction>, NodeError>) -> Option<(usize, String)> {
        match replay(start, &rows(30)) {
            Ok(replay) => {
                assert_eq!((replay.rows, replay.ways.len()), (30, 4));
                None
            }
            Err(ReplayError::Different(found)) => {
                assert_eq!(found.column, "y");
                Some((found.row, found.way))
            }
            Err(ReplayError::Failed(error)) => panic!("{error}"),
        }
    }

    fn doubled(rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let series = rows.columns()[0].as_materialized_series() * 2.0;
        Ok(DataFrame::new(rows.height(), vec![series.with_name("y".into()).into()]).unwrap())
    }

    #[test]
    fn a_row_local_function_passes() {
        assert_eq!(check(&|| Ok(Box::new(doubled))), None);
    }

    #[test]
    fn a_mean_over_the_rows_at_hand_is_found() {
        let centered = |rows: &DataFrame| {
            let series = rows.columns()[0].as_materialized_series();
            let y = series - series.mean().unwrap();
            Ok(DataFrame::new(rows.height(), vec![y.with_name("y".into()).into()]).unwrap())
        };
        assert_eq!(check(&|| Ok(Box::new(centered))), Some((0, "in chunks of 7".into())));
    }

    #[test]
    fn a_counter_that_goes_on_from_chunk_to_chunk_is_found() {
        let start = || -> Result<Box<dyn RowFunction>, NodeError> {
            let seen = AtomicI64::new(0);
            Ok(Box::new(move |rows: &DataFrame| {
                let numbers: Vec<i64> = (0..rows.height()).map(|_| seen.fetch_add(1, Ordering::Relaxed)).collect();
                Ok(DataFrame::new(rows.height(), vec![Column::new("y".into(), numbers)]).unwrap())
            }))
        };
        assert_eq!(check(&start), Some((28, "in chunks of 7, the last first".into())));
    }

    #[test]
    fn chance_is_found() {
        let draws = AtomicI64::new(0);
        let start = || -> Result<Box<dyn RowFunction>, NodeError> {
            let drawn = draws.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(move |rows: &DataFrame| {
                let values = vec![drawn; rows.height()];
                Ok(DataFrame::new(rows.height(), vec![Column::new("y".into(), values)]).unwrap())
            }))
        };
        assert_eq!(check(&start), Some((0, "all at once, a second time".into())));
    }

    #[test]
    fn a_zero_of_the_other_sign_is_another_value_and_a_nan_is_not() {
        assert!(!is_same(&AnyValue::Float64(0.0), &AnyValue::Float64(-0.0)));
        assert!(is_same(&AnyValue::Float64(f64::NAN), &AnyValue::Float64(-f64::NAN)));
        assert!(is_same(&AnyValue::Null, &AnyValue::Null));
    }

    #[test]
    fn rows_are_made_up_for_every_type_but_lists_with_gaps_only_where_declared() {
        for logical in ["bool", "int", "float", "text", "category", "datetime", "tensor[2, 2]", "tokens[3]"] {
            let logical: LogicalType = logical.parse().unwrap();
            let column = ColumnType::new("c", logical.clone());
            let rows = sample_rows(std::slice::from_ref(&column), 40).unwrap();
            engine_table::check_frame(&rows, &[column]).unwrap();
            if !matches!(logical, LogicalType::Tensor(_) | LogicalType::Tokens(_)) {
                let column = ColumnType::new("c", logical).with_nullable(true);
                assert!(sample_rows(&[column], 40).unwrap().columns()[0].null_count() > 0);
            }
        }
        assert!(sample_rows(&[ColumnType::new("c", "list<int>".parse().unwrap())], 4).is_err());
    }
}
