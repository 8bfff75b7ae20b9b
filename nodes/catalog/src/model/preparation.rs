//! How the columns a model reads become numbers.
//!
//! A number, a truth value and a tensor become single precision as they are; a category becomes a code from a vocabulary
//! learnt on the train rows, in the order of the values' bytes, with code 0 for a value never seen and for a gap. Row i
//! out depends on row i in only.

use std::collections::{BTreeMap, BTreeSet};

use engine_core::LogicalType;
use engine_table::{At, ColumnType, NodeError, Problem};
use nodes_models::TableBlock;
use polars::prelude::{DataFrame, DataType, Series};
use serde::{Deserialize, Serialize};

use super::codes::MODEL_COLUMN;

/// Why the cells of a column cannot become numbers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreparationError {
    /// A cell is missing.
    #[error(
        "column `{column}` has {gaps} missing values, the first in row {row}, and a model needs every number; fill them \
         with `clean.impute`"
    )]
    Gap { column: String, gaps: usize, row: usize },

    /// A number is infinite, not a number, or too large.
    #[error(
        "column `{column}` has the value {value} in row {row}, which a model cannot read; clip it with \
         `clean.clip_outliers` or make it a gap"
    )]
    NotFinite { column: String, value: f64, row: usize },

    /// A tensor has another size than in training.
    #[error("column `{column}` holds tensors of {found} numbers, the model was trained on {expected}")]
    Width { column: String, expected: usize, found: usize },

    /// A column is absent or stored otherwise than its type says.
    #[error("column `{column}` cannot be read as {logical}: {reason}")]
    Column { column: String, logical: LogicalType, reason: String },

    /// A column says of each row whether something is there, and does not say it of some.
    #[error("column `{column}` says in which rows `{encoder}` has something to read, and has a gap in row {row}")]
    Presence { column: String, encoder: String, row: usize },
}

impl From<PreparationError> for NodeError {
    fn from(error: PreparationError) -> NodeError {
        NodeError::failed(error)
    }
}

/// Checks that a model can read `column`; `at` is the place that names it.
///
/// # Errors
/// If its type cannot become numbers, or it is a number with gaps.
pub(crate) fn check(column: &ColumnType, at: At) -> Result<(), Problem> {
    let name = &column.name;
    let problem =
        |message: String| Problem::error(&MODEL_COLUMN, at.clone(), message).label(column.logical.to_string());
    match &column.logical {
        LogicalType::Category => Ok(()),
        LogicalType::Int | LogicalType::Float | LogicalType::Bool if column.nullable => {
            Err(problem(format!("`{name}` is {} and may be missing, and a model needs every number", column.logical))
                .help(format!("fill the gaps first: `uses: clean.impute` with `columns: [{name}]`")))
        }
        LogicalType::Int | LogicalType::Float | LogicalType::Bool | LogicalType::Tensor(_) => Ok(()),
        LogicalType::Text => Err(problem(format!("`{name}` is text, which a table encoder cannot read"))
            .help(format!("if it has few values, it is a category: `types: {{{name}: category}}` where it is ingested"))
            .help("else leave it out of `columns`, or give it an encoder of its own")),
        LogicalType::Datetime => Err(problem(format!("`{name}` is a datetime, which a table encoder cannot read"))
            .help("compute numbers from it with `extract.columns`, or leave it out of `columns`")),
        logical => Err(problem(format!("`{name}` is {logical}, which a table encoder cannot read"))
            .help("leave it out of `columns`, or give it an encoder of its own")),
    }
}

/// How some columns become numbers. Invariant: names are unique.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preparation {
    columns: Vec<PreparedColumn>,
    /// Means and deviations of the numbers in the train rows, if the model reads standardised ones.
    scale: Option<Scale>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PreparedColumn {
    name: String,
    #[serde(rename = "type")]
    logical: LogicalType,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    /// So many numbers a row.
    Numbers(usize),
    /// One of these values, in the order of their bytes; code i + 1 is the value at i.
    Values(Vec<String>),
}

/// Means and deviations, one for each number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    means: Vec<f64>,
    /// 1 for a number that is always the same.
    deviations: Vec<f64>,
}

/// Whether a model's numbers are standardised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standardise {
    /// As they are: the pipeline sees to it.
    No,
    /// By mean and deviation of the train rows.
    Yes,
}

impl Preparation {
    /// Learns vocabularies, widths and, if asked, the scale of `columns` from the train rows.
    ///
    /// # Errors
    /// If a number is missing or not finite.
    pub(crate) fn learn(
        columns: &[ColumnType],
        train: &DataFrame,
        standardise: Standardise,
    ) -> Result<Preparation, PreparationError> {
        let prepared = columns.iter().map(|column| learn_column(column, train)).collect::<Result<_, _>>()?;
        let mut preparation = Preparation { columns: prepared, scale: None };
        if standardise == Standardise::Yes {
            let width = preparation.numbers();
            preparation.scale = Some(Scale::of(&preparation.matrix(train)?, width));
        }
        Ok(preparation)
    }

    /// How many numbers a row has.
    pub(crate) fn numbers(&self) -> usize {
        let width = |column: &PreparedColumn| if let Content::Numbers(width) = column.content { width } else { 0 };
        self.columns.iter().map(width).sum()
    }

    /// For each category column, how many codes it has: one for each value and code 0.
    pub(crate) fn codes(&self) -> Vec<usize> {
        self.vocabularies().map(|(_, values)| values.len() + 1).collect()
    }

    /// A name for each column of a linear model's design: the numbers, then the values of each category.
    pub(crate) fn feature_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for column in &self.columns {
            match column.content {
                Content::Numbers(1) => names.push(column.name.clone()),
                Content::Numbers(width) => names.extend((0..width).map(|place| format!("{}[{place}]", column.name))),
                Content::Values(_) => {}
            }
        }
        for (column, values) in self.vocabularies() {
            names.extend(values.iter().map(|value| format!("{} = {value}", column.name)));
        }
        names
    }

    fn vocabularies(&self) -> impl Iterator<Item = (&PreparedColumn, &[String])> {
        self.columns.iter().filter_map(|column| match &column.content {
            Content::Values(values) => Some((column, values.as_slice())),
            Content::Numbers(_) => None,
        })
    }

    /// The rows as a model reads them: the numbers in the order of the columns, beside them the category codes.
    ///
    /// # Errors
    /// If a number is missing or not finite, naming column and row.
    pub(crate) fn block(&self, rows: &DataFrame) -> Result<TableBlock, PreparationError> {
        let mut numbers = self.matrix(rows)?;
        if let Some(scale) = &self.scale {
            scale.apply(&mut numbers);
        }
        let width = self.numbers();
        let mut numeric = Vec::with_capacity(numbers.len());
        for (place, value) in numbers.iter().enumerate() {
            let single = *value as f32;
            if !single.is_finite() {
                let column = self.column_of(place % width);
                return Err(PreparationError::NotFinite { column, value: *value, row: place / width });
            }
            numeric.push(single);
        }
        Ok(TableBlock { numeric, codes: self.code_matrix(rows)? })
    }

    /// The numbers, `(rows, numbers)` in row-major order, in double precision and not yet standardised.
    fn matrix(&self, rows: &DataFrame) -> Result<Vec<f64>, PreparationError> {
        let width = self.numbers();
        let mut matrix = vec![0.0; rows.height() * width];
        let mut start = 0;
        for column in &self.columns {
            let Content::Numbers(expected) = column.content else { continue };
            let (values, found) = column.numbers(rows)?;
            if found != expected {
                return Err(PreparationError::Width { column: column.name.clone(), expected, found });
            }
            for (row, cell) in values.chunks_exact(expected.max(1)).enumerate() {
                matrix[row * width + start..row * width + start + expected].copy_from_slice(cell);
            }
            start += expected;
        }
        Ok(matrix)
    }

    fn code_matrix(&self, rows: &DataFrame) -> Result<Vec<u32>, PreparationError> {
        let width = self.vocabularies().count();
        let mut codes = vec![0; rows.height() * width];
        for (place, (column, values)) in self.vocabularies().enumerate() {
            let numbers: BTreeMap<&str, u32> = values.iter().map(String::as_str).zip(1..).collect();
            let series = column.series(rows)?;
            for (row, cell) in series.str().map_err(|error| column.unreadable(error))?.iter().enumerate() {
                codes[row * width + place] = cell.and_then(|cell| numbers.get(cell).copied()).unwrap_or(0);
            }
        }
        Ok(codes)
    }

    /// The column that the number at `place` of a row comes from.
    fn column_of(&self, place: usize) -> String {
        let mut end = 0;
        for column in &self.columns {
            if let Content::Numbers(width) = column.content {
                end += width;
                if place < end {
                    return column.name.clone();
                }
            }
        }
        String::new()
    }
}

fn learn_column(column: &ColumnType, train: &DataFrame) -> Result<PreparedColumn, PreparationError> {
    let mut prepared =
        PreparedColumn { name: column.name.clone(), logical: column.logical.clone(), content: Content::Numbers(0) };
    prepared.content = match column.logical {
        LogicalType::Category => {
            let series = prepared.series(train)?;
            let cells = series.str().map_err(|error| prepared.unreadable(error))?;
            let values: BTreeSet<&str> = cells.iter().flatten().collect();
            Content::Values(values.into_iter().map(str::to_owned).collect())
        }
        _ => Content::Numbers(prepared.numbers(train)?.1),
    };
    Ok(prepared)
}

impl PreparedColumn {
    fn series<'a>(&self, rows: &'a DataFrame) -> Result<&'a Series, PreparationError> {
        Ok(rows.column(&self.name).map_err(|error| self.unreadable(error))?.as_materialized_series())
    }

    fn unreadable(&self, error: impl std::fmt::Display) -> PreparationError {
        let (column, logical) = (self.name.clone(), self.logical.clone());
        PreparationError::Column { column, logical, reason: error.to_string() }
    }

    /// The numbers of the column, row by row, and how many each row has.
    fn numbers(&self, rows: &DataFrame) -> Result<(Vec<f64>, usize), PreparationError> {
        let series = self.series(rows)?;
        let gaps = series.null_count();
        if gaps > 0 {
            let row = series.is_null().iter().position(|is| is == Some(true)).unwrap_or(0);
            return Err(PreparationError::Gap { column: self.name.clone(), gaps, row });
        }
        let unreadable = |error| self.unreadable(error);
        let (values, width): (Vec<f64>, usize) = match series.dtype() {
            DataType::Boolean => {
                let number = |value: Option<bool>| f64::from(u8::from(value == Some(true)));
                (series.bool().map_err(unreadable)?.iter().map(number).collect(), 1)
            }
            DataType::Int64 => {
                let number = |value: Option<i64>| value.unwrap_or_default() as f64;
                (series.i64().map_err(unreadable)?.iter().map(number).collect(), 1)
            }
            DataType::Float64 => (series.f64().map_err(unreadable)?.iter().map(Option::unwrap_or_default).collect(), 1),
            DataType::Array(_, width) => {
                let inner = series.array().map_err(unreadable)?.get_inner();
                let number = |value: Option<f32>| f64::from(value.unwrap_or_default());
                (inner.f32().map_err(unreadable)?.iter().map(number).collect(), *width)
            }
            other => return Err(self.unreadable(format!("it is stored as {other}"))),
        };
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok((values, width)),
            Some(place) => {
                let (column, value) = (self.name.clone(), values[place]);
                Err(PreparationError::NotFinite { column, value, row: place / width.max(1) })
            }
        }
    }
}

impl Scale {
    /// The scale of a matrix with `width` columns.
    fn of(matrix: &[f64], width: usize) -> Scale {
        let rows = matrix.len().checked_div(width).unwrap_or(0).max(1) as f64;
        let column = |place: usize| matrix.iter().skip(place).step_by(width);
        let means: Vec<f64> = (0..width).map(|place| column(place).sum::<f64>() / rows).collect();
        let deviation = |(place, mean): (usize, &f64)| {
            let variance = column(place).map(|value| (value - mean).powi(2)).sum::<f64>() / rows;
            // Rounding leaves a little variance in a constant column; dividing by it would blow that up.
            if variance.sqrt() > 1e-12 * mean.abs() { variance.sqrt() } else { 1.0 }
        };
        let deviations = means.iter().enumerate().map(deviation).collect();
        Scale { means, deviations }
    }

    fn apply(&self, matrix: &mut [f64]) {
        for (place, value) in matrix.iter_mut().enumerate() {
            let column = place % self.means.len();
            *value = (*value - self.means[column]) / self.deviations[column];
        }
    }
}

#[cfg(test)]
mod tests {
    use engine_core::Size;
    use polars::prelude::{Column, IntoSeries, ListBuilderTrait, ListPrimitiveChunkedBuilder, PlSmallStr, df};

    use super::*;

    fn types(columns: &[(&str, LogicalType)]) -> Vec<ColumnType> {
        columns.iter().map(|(name, logical)| ColumnType::new(*name, logical.clone())).collect()
    }

    fn frame() -> DataFrame {
        df!(
            "age" => [30_i64, 40],
            "job" => [Some("b"), Some("a")],
            "is_new" => [true, false],
            "amount" => [1.5, 2.5]
        )
        .unwrap()
    }

    fn all() -> Vec<ColumnType> {
        types(&[
            ("age", LogicalType::Int),
            ("job", LogicalType::Category),
            ("is_new", LogicalType::Bool),
            ("amount", LogicalType::Float),
        ])
    }

    #[test]
    fn numbers_stand_beside_codes_in_the_order_of_the_columns() {
        let preparation = Preparation::learn(&all(), &frame(), Standardise::No).unwrap();
        let block = preparation.block(&frame()).unwrap();
        assert_eq!(block.numeric, [30.0, 1.0, 1.5, 40.0, 0.0, 2.5]);
        assert_eq!(block.codes, [2, 1]);
        assert_eq!((preparation.numbers(), preparation.codes()), (3, vec![3]));
    }

    #[test]
    fn a_value_never_seen_and_a_gap_have_code_zero() {
        let job = types(&[("job", LogicalType::Category)]);
        let preparation = Preparation::learn(&job, &frame(), Standardise::No).unwrap();
        let rows = df!("job" => [Some("a"), Some("zebra"), None, Some("")]).unwrap();
        assert_eq!(preparation.block(&rows).unwrap().codes, [1, 0, 0, 0]);
    }

    #[test]
    fn standardised_numbers_have_the_mean_and_deviation_of_the_train_rows() {
        let columns = types(&[("age", LogicalType::Int), ("amount", LogicalType::Float)]);
        let preparation = Preparation::learn(&columns, &frame(), Standardise::Yes).unwrap();
        assert_eq!(preparation.block(&frame()).unwrap().numeric, [-1.0, -1.0, 1.0, 1.0]);
        let constant = df!("amount" => [0.1, 0.1, 0.1]).unwrap();
        let preparation =
            Preparation::learn(&types(&[("amount", LogicalType::Float)]), &constant, Standardise::Yes).unwrap();
        assert!(preparation.block(&constant).unwrap().numeric.iter().all(|value| value.abs() < 1e-6));
    }

    #[test]
    fn tensors_are_laid_out_flat_and_keep_their_width() {
        let tensor = |values: &[[f32; 2]]| {
            let mut builder =
                ListPrimitiveChunkedBuilder::<polars::prelude::Float32Type>::new("t".into(), 2, 4, DataType::Float32);
            values.iter().for_each(|row| builder.append_slice(row));
            let array = DataType::Array(Box::new(DataType::Float32), 2);
            let series = builder.finish().into_series().cast(&array).unwrap();
            DataFrame::new_infer_height(vec![Column::from(series)]).unwrap()
        };
        let columns = types(&[("t", LogicalType::Tensor(vec![Size::Symbol("k".into())]))]);
        let rows = tensor(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        let preparation = Preparation::learn(&columns, &rows, Standardise::No).unwrap();
        assert_eq!(preparation.numbers(), 2);
        assert_eq!(preparation.block(&rows.slice(1, 2)).unwrap().numeric, [3.0, 4.0, 5.0, 6.0]);
        let scalar = DataFrame::new_infer_height(vec![Column::new(PlSmallStr::from("t"), [1.0])]).unwrap();
        let error = preparation.block(&scalar).unwrap_err().to_string();
        assert_eq!(error, "column `t` holds tensors of 1 numbers, the model was trained on 2");
    }

    #[test]
    fn what_cannot_be_read_names_column_and_row() {
        let preparation = Preparation::learn(&types(&[("amount", LogicalType::Float)]), &frame(), Standardise::No);
        let error = |rows: DataFrame| preparation.as_ref().unwrap().block(&rows).unwrap_err().to_string();
        let gap = error(df!("amount" => [Some(1.0), None, None]).unwrap());
        assert!(gap.starts_with("column `amount` has 2 missing values, the first in row 1"), "{gap}");
        let infinite = error(df!("amount" => [1.0, 2.0, f64::INFINITY]).unwrap());
        assert!(infinite.starts_with("column `amount` has the value inf in row 2"), "{infinite}");
        let large = error(df!("amount" => [1e300]).unwrap());
        assert!(large.contains("in row 0"), "{large}");
        let text = error(df!("amount" => ["x"]).unwrap());
        assert!(text.starts_with("column `amount` cannot be read as float"), "{text}");
    }

    #[test]
    fn a_row_becomes_the_same_numbers_whatever_is_beside_it() {
        let preparation = Preparation::learn(&all(), &frame(), Standardise::Yes).unwrap();
        let whole = preparation.block(&frame()).unwrap();
        let second = preparation.block(&frame().slice(1, 1)).unwrap();
        assert_eq!(whole.numeric[3..], second.numeric);
        assert_eq!(whole.codes[1..], second.codes);
    }

    #[test]
    fn types_that_are_no_numbers_are_refused_with_a_way_out() {
        let refused =
            |column: ColumnType| check(&column, At::Node).map_err(|problem| (problem.code.name, problem.help));
        let column = |logical| ColumnType::new("x", logical);
        for logical in [LogicalType::Int, LogicalType::Bool, LogicalType::Category, LogicalType::Tensor(vec![])] {
            assert_eq!(refused(column(logical)), Ok(()));
        }
        assert_eq!(refused(column(LogicalType::Category).with_nullable(true)), Ok(()));
        for logical in [LogicalType::Text, LogicalType::Datetime, LogicalType::Image] {
            let (code, help) = refused(column(logical)).unwrap_err();
            assert!(code == "model.column" && !help.is_empty());
        }
        let (_, help) = refused(column(LogicalType::Float).with_nullable(true)).unwrap_err();
        assert!(help[0].contains("clean.impute"));
    }
}
