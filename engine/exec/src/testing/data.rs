//! A source of typed text files, and kinds that sort and sum their rows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine_core::{LogicalType, NumericClass, Role, Serving};
use engine_table::{
    ColumnType, Context, Describe, InputTypes, Kind, NodeError, PathOption, Peek, Problem, Read, ReduceInputs,
    RowFilter, Source, Whole, WholeRows, WholeType, Written,
};
use polars::prelude::{Column, DataFrame};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) fn all() -> [Kind; 3] {
    [Kind::source::<Rows>(), Kind::whole::<Order>(), Kind::whole::<Totals>()]
}

/// Rows of a text file: a head of `name:type:role`, then cells, comma between; a frame of three rows at a time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowsOptions {
    path: PathOption,
}

struct Rows(PathBuf);

impl Describe for Rows {
    const KIND: &'static str = "test.rows";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Refuse;
    type Options = RowsOptions;

    fn new(options: RowsOptions) -> Result<Self, Vec<Problem>> {
        Ok(Rows(options.path.0))
    }
}

impl Source for Rows {
    fn files(&self) -> Vec<PathBuf> {
        vec![self.0.clone()]
    }

    fn peek(&self) -> Result<Peek, Vec<Problem>> {
        let Ok(text) = std::fs::read_to_string(&self.0) else { return Ok(Peek::Absent("no file".into())) };
        let columns = text.lines().next().unwrap_or("").split(',').map(|head| {
            let mut words = head.split(':');
            let name = words.next().unwrap_or("");
            let logical: LogicalType = words.next().unwrap_or("int").parse().unwrap();
            let role = match words.next() {
                Some("key") => Role::Key,
                Some("target") => Role::Target,
                _ => Role::Feature,
            };
            ColumnType::new(name, logical).with_role(role)
        });
        Ok(Peek::Columns(columns.collect()))
    }

    fn read(
        &self,
        columns: &[ColumnType],
        _: &Context,
        emit: &mut dyn FnMut(DataFrame) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let text = std::fs::read_to_string(&self.0).map_err(NodeError::failed)?;
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
        for rows in rows.chunks(3) {
            let cells = |place: usize| rows.iter().map(move |row: &Vec<&str>| row[place]);
            let mut frame = Vec::new();
            for (place, column) in columns.iter().enumerate() {
                let name = column.name.as_str().into();
                frame.push(match column.logical {
                    LogicalType::Int => {
                        Column::new(name, cells(place).map(parsed::<i64>).collect::<Result<Vec<_>, _>>()?)
                    }
                    LogicalType::Float => {
                        Column::new(name, cells(place).map(parsed::<f64>).collect::<Result<Vec<_>, _>>()?)
                    }
                    _ => Column::new(name, cells(place).map(str::to_owned).collect::<Vec<_>>()),
                });
            }
            emit(DataFrame::new(rows.len(), frame).map_err(NodeError::failed)?)?;
        }
        Ok(())
    }
}

fn parsed<T: std::str::FromStr>(cell: &str) -> Result<T, NodeError> {
    cell.parse().map_err(|_| NodeError::Failed(format!("`{cell}` is no number")))
}

/// Sorts rows by a column.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderOptions {
    by: String,
}

struct Order(OrderOptions);

impl Describe for Order {
    const KIND: &'static str = "test.order";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Skip;
    type Options = OrderOptions;

    fn new(options: OrderOptions) -> Result<Self, Vec<Problem>> {
        Ok(Order(options))
    }
}

impl Whole for Order {
    fn infer(&self, _: &InputTypes) -> Result<WholeType, Vec<Problem>> {
        let place = Written::new(ColumnType::new("place", LogicalType::Int), [self.0.by.clone()]);
        let reads = vec![Read::new("table", RowFilter::All, [self.0.by.clone()])];
        Ok(WholeType::Select { reads, writes: vec![place] })
    }

    fn run(&self, inputs: &ReduceInputs, _: &Context) -> Result<WholeRows, NodeError> {
        let values = floats(inputs.rows("table", RowFilter::All)?, &self.0.by)?;
        let mut rows: Vec<u64> = (0..values.len() as u64).collect();
        rows.sort_by(|one, other| values[*one as usize].total_cmp(&values[*other as usize]));
        let places: Vec<i64> = (0..rows.len() as i64).collect();
        let written =
            DataFrame::new(rows.len(), vec![Column::new("place".into(), places)]).map_err(NodeError::failed)?;
        Ok(WholeRows::Selected { rows, written })
    }
}

/// Sums a column by a category.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TotalsOptions {
    by: String,
    of: String,
}

struct Totals(TotalsOptions);

impl Describe for Totals {
    const KIND: &'static str = "test.totals";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Refuse;
    const NUMERICS: NumericClass = NumericClass::Exact;
    type Options = TotalsOptions;

    fn new(options: TotalsOptions) -> Result<Self, Vec<Problem>> {
        Ok(Totals(options))
    }
}

impl Whole for Totals {
    fn infer(&self, _: &InputTypes) -> Result<WholeType, Vec<Problem>> {
        let TotalsOptions { by, of } = &self.0;
        let written = |name: &str, logical| Written::new(ColumnType::new(name, logical), [name]);
        Ok(WholeType::New {
            reads: vec![Read::new("table", RowFilter::All, [by, of])],
            writes: vec![written(by, LogicalType::Category), written(of, LogicalType::Float)],
        })
    }

    fn run(&self, inputs: &ReduceInputs, _: &Context) -> Result<WholeRows, NodeError> {
        let TotalsOptions { by, of } = &self.0;
        let rows = inputs.rows("table", RowFilter::All)?;
        let groups = rows.column(by).and_then(|column| Ok(column.str()?.clone())).map_err(NodeError::failed)?;
        let mut totals: BTreeMap<String, f64> = BTreeMap::new();
        for (group, value) in groups.iter().zip(floats(rows, of)?) {
            *totals.entry(group.unwrap_or("").to_owned()).or_default() += value;
        }
        let (names, sums): (Vec<String>, Vec<f64>) = totals.into_iter().unzip();
        let columns = vec![Column::new(by.as_str().into(), names), Column::new(of.as_str().into(), sums)];
        DataFrame::new(columns[0].len(), columns).map(WholeRows::New).map_err(NodeError::failed)
    }
}

/// The values of a column as floats.
pub(crate) fn floats(rows: &DataFrame, column: &str) -> Result<Vec<f64>, NodeError> {
    let column = rows.column(column).map_err(NodeError::failed)?;
    let column = column.cast(&polars::prelude::DataType::Float64).map_err(NodeError::failed)?;
    Ok(column.f64().map_err(NodeError::failed)?.iter().map(Option::unwrap_or_default).collect())
}
