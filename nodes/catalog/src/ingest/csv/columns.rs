//! Cells to typed columns.

use std::collections::BTreeSet;

use engine_core::LogicalType;
use polars::prelude::*;

use super::records::Cells;
use crate::cell;

/// How the cells of a column are read.
#[derive(Debug, Clone)]
pub(super) struct CellRule {
    /// The column's name.
    pub(super) name: String,
    /// The cell's number in a record.
    pub(super) index: usize,
    /// What the cells hold.
    pub(super) logical: LogicalType,
    /// Texts that mean missing.
    pub(super) nulls: Nulls,
    /// Whether a cell may be missing.
    pub(super) nullable: bool,
}

/// Texts that mean missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Nulls {
    empty: bool,
    others: BTreeSet<String>,
}

impl Nulls {
    pub(super) fn new(texts: &[String]) -> Nulls {
        let others = texts.iter().filter(|text| !text.is_empty()).cloned().collect();
        Nulls { empty: texts.iter().any(String::is_empty), others }
    }

    /// Whether a cell with this text is missing.
    pub(super) fn contains(&self, text: &str) -> bool {
        if text.is_empty() { self.empty } else { !self.others.is_empty() && self.others.contains(text) }
    }
}

/// A cell that contradicts its column.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadCell {
    /// The cell's text is not of the column's type.
    Value { row: usize, text: String },
    /// The cell is missing and must not be.
    Missing { row: usize },
}

/// The column `rule` describes.
pub(super) fn read_column(rule: &CellRule, cells: Cells<'_>) -> Result<Column, BadCell> {
    let name = PlSmallStr::from_str(&rule.name);
    let rows = cells.rows();
    let series = match rule.logical {
        LogicalType::Int => {
            let mut builder = PrimitiveChunkedBuilder::<Int64Type>::new(name, rows);
            read_cells(rule, cells, cell::parse_int, |value| builder.append_option(value))?;
            builder.finish().into_series()
        }
        LogicalType::Float => {
            let mut builder = PrimitiveChunkedBuilder::<Float64Type>::new(name, rows);
            read_cells(rule, cells, cell::parse_float, |value| builder.append_option(value))?;
            builder.finish().into_series()
        }
        LogicalType::Bool => {
            let mut builder = BooleanChunkedBuilder::new(name, rows);
            read_cells(rule, cells, cell::parse_bool, |value| builder.append_option(value))?;
            builder.finish().into_series()
        }
        LogicalType::Datetime => {
            let mut builder = PrimitiveChunkedBuilder::<Int64Type>::new(name, rows);
            read_cells(rule, cells, cell::parse_datetime, |value| builder.append_option(value))?;
            builder.finish().into_datetime(TimeUnit::Microseconds, None).into_series()
        }
        _ => {
            let mut builder = StringChunkedBuilder::new(name, rows);
            read_cells(rule, cells, Some, |value| builder.append_option(value))?;
            builder.finish().into_series()
        }
    };
    Ok(series.into_column())
}

fn read_cells<'a, T>(
    rule: &CellRule,
    cells: Cells<'a>,
    parse: impl Fn(&'a str) -> Option<T>,
    mut push: impl FnMut(Option<T>),
) -> Result<(), BadCell> {
    for (row, text) in cells.column(rule.index).enumerate() {
        if rule.nulls.contains(text) {
            if !rule.nullable {
                return Err(BadCell::Missing { row });
            }
            push(None);
        } else {
            match parse(text) {
                Some(value) => push(Some(value)),
                None => return Err(BadCell::Value { row, text: text.to_owned() }),
            }
        }
    }
    Ok(())
}
