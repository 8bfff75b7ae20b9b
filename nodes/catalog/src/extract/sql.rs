//! `extract.sql`: a new table by one SELECT.

use std::collections::BTreeMap;

use engine_core::{LogicalType, Role, Serving, nearest};
use engine_table::{
    At, ColumnType, Context, Describe, InputTypes, NodeError, Problem, Read, ReduceInputs, RowFilter, TableType, Whole,
    WholeRows, WholeType, Written, empty_frame,
};
use polars::prelude::*;
use polars::sql::SQLContext;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::query::{Origin, SelectQuery, TABLE};
use crate::codes::{COLUMN_TYPE, EXPRESSION_TYPE};
use crate::ingest::declared;
use crate::layout::{can_read_as, first_line, logical_type, to_layout};
use crate::place;

/// Makes new rows by one SQL SELECT over the table `rows`.
///
/// Groups, windows, joins of the table with itself, WITH and UNION are allowed; statements, several statements and
/// functions that read files are not. A column that is taken as it stands keeps its type and role; a computed one
/// is a feature.
///
/// The rows always come in one order: that of ORDER BY, with ties in the order of all columns; without ORDER BY
/// that of the table if the query only filters and computes, else that of all columns from the first to the
/// last. So LIMIT over groups needs an ORDER BY.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlOptions {
    /// The SELECT.
    #[schemars(length(min = 1))]
    pub query: String,

    /// Types of output columns that are to be other than computed: text as `category`, int as `float` or `category`.
    #[serde(default)]
    #[schemars(schema_with = "declared::cell_types_schema")]
    pub types: BTreeMap<String, LogicalType>,

    /// Roles of output columns, by name.
    #[serde(default)]
    #[schemars(schema_with = "declared::roles_schema")]
    pub roles: BTreeMap<String, Role>,
}

/// The kind.
pub struct Sql {
    options: SqlOptions,
    query: SelectQuery,
}

impl Describe for Sql {
    const KIND: &'static str = "extract.sql";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Refuse;
    const EXAMPLE: &'static str = r"fuseline: 1
name: customers
nodes:
  payments:
    uses: ingest.csv
    with: {path: payments.csv, schema: {customer: text, amount: float, paid: datetime}}
  customers:
    uses: extract.sql
    with:
      query: SELECT customer, COUNT(*) AS payments, AVG(amount) AS mean_amount FROM rows GROUP BY customer
      roles: {customer: key}
    in: payments
";
    type Options = SqlOptions;

    fn new(options: SqlOptions) -> Result<Sql, Vec<Problem>> {
        let query = SelectQuery::parse(&options.query, &at_query())?;
        Ok(Sql { options, query })
    }
}

fn at_query() -> At {
    place::option("query")
}

impl Whole for Sql {
    fn infer(&self, inputs: &InputTypes) -> Result<WholeType, Vec<Problem>> {
        let table = inputs.table("table");
        let reads = self.query.reads(&table.names().collect::<Vec<_>>());
        let schema = self.output_schema(table).map_err(|problem| vec![problem])?;
        let names: Vec<&str> = schema.iter_names().map(PlSmallStr::as_str).collect();
        let mut problems = Vec::new();
        declared::unknown_columns(declared::keys("types", &self.options.types), &names, &mut problems);
        declared::unknown_columns(declared::keys("roles", &self.options.roles), &names, &mut problems);
        let mut writes = Vec::new();
        for (name, dtype) in schema.iter() {
            match self.written(name, dtype, table, &reads) {
                Ok(written) => writes.push(written),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(WholeType::New { reads: vec![Read::new("table", RowFilter::All, reads)], writes })
    }

    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<WholeRows, NodeError> {
        let rows = inputs.rows("table", RowFilter::All)?;
        let table = inputs.types.table("table");
        let WholeType::New { writes, .. } = self.infer(&inputs.types).map_err(first_problem)? else {
            return Err(NodeError::Failed("a query makes new rows".to_owned()));
        };
        let schema = self.output_schema(table).map_err(|problem| first_problem(vec![problem]))?;
        context.cancel.check()?;
        let found = select(rows, &self.query.with_total_order(&sortable(&schema)))
            .map_err(|error| NodeError::failed(SqlError::Run { reason: first_line(&error) }))?;
        let convert = |written: &Written| {
            let column = &written.column;
            let series = found.column(&column.name).map_err(NodeError::failed)?.as_materialized_series();
            let values = to_layout(series, &column.logical).map_err(|error| {
                NodeError::failed(SqlError::Convert {
                    column: column.name.clone(),
                    wanted: column.logical.to_string(),
                    reason: first_line(&error),
                })
            })?;
            Ok(finite(values).map_err(NodeError::failed)?.rechunk().into_column())
        };
        let columns = writes.iter().map(convert).collect::<Result<_, NodeError>>()?;
        Ok(WholeRows::New(DataFrame::new(found.height(), columns).map_err(NodeError::failed)?))
    }
}

/// A result that is no number is a missing cell, as in `extract.columns`.
fn finite(series: Series) -> PolarsResult<Series> {
    if *series.dtype() != DataType::Float64 {
        return Ok(series);
    }
    let numbers = series.f64()?.iter().map(|cell| cell.filter(|value| value.is_finite()));
    Ok(Float64Chunked::from_iter_options(series.name().clone(), numbers).into_series())
}

fn first_problem(problems: Vec<Problem>) -> NodeError {
    NodeError::Failed(problems.into_iter().next().map_or_else(String::new, |problem| problem.message))
}

impl Sql {
    /// What the query gives on an empty table: polars' own answer, which also finds what only a run finds.
    fn output_schema(&self, table: &TableType) -> Result<Schema, Problem> {
        let known: Vec<ColumnType> =
            table.columns.iter().filter(|column| engine_table::dtype_of(&column.logical).is_some()).cloned().collect();
        let empty =
            empty_frame(&known).map_err(|error| Problem::error(&EXPRESSION_TYPE, at_query(), error.to_string()))?;
        let plain = select(&empty, &self.query.with_total_order(&[])).map_err(|error| unfit(&error, table))?;
        // Once more with its order, which names the columns the first time found.
        let ordered = self.query.with_total_order(&sortable(plain.schema()));
        let found = select(&empty, &ordered).map_err(|error| unfit(&error, table))?;
        Ok(found.schema().as_ref().clone())
    }

    fn written(&self, name: &str, dtype: &DataType, table: &TableType, reads: &[String]) -> Result<Written, Problem> {
        let is_nullable = |column: &str| table.column(column).is_none_or(|column| column.nullable);
        let (mut column, from) = match self.query.origin(name, reads, &is_nullable) {
            Origin::Column(source) => {
                let taken = table.column(&source).expect("a query reads columns of its table");
                let nullable = taken.nullable || self.query.adds_gaps();
                (ColumnType { name: name.to_owned(), ..taken.clone() }.with_nullable(nullable), vec![source])
            }
            Origin::Computed { from, nullable } => {
                let Some(logical) = logical_type(dtype) else {
                    let message = format!("`{name}` is computed as {dtype}, which is no logical type");
                    return Err(Problem::error(&EXPRESSION_TYPE, at_query(), message)
                        .help(format!("cast it in the query, as in `CAST(... AS DOUBLE) AS {name}`")));
                };
                // Computed floats may be no number, which is a missing cell.
                let nullable = nullable || logical == LogicalType::Float;
                (ColumnType::new(name, logical).with_nullable(nullable), from)
            }
        };
        if let Some(asked) = self.options.types.get(name) {
            if !can_read_as(&column.logical, asked) {
                let message = format!("`{name}` is {} and cannot be kept as {asked}", column.logical);
                return Err(Problem::error(&COLUMN_TYPE, place::entry("types", name), message)
                    .help("write a CAST in the query"));
            }
            column.logical = asked.clone();
        }
        if let Some(role) = self.options.roles.get(name) {
            column.role = *role;
        }
        Ok(Written::new(column, from))
    }
}

fn select(rows: &DataFrame, query: &str) -> PolarsResult<DataFrame> {
    let mut context = SQLContext::new();
    context.register(TABLE, rows.clone().lazy());
    context.execute(query)?.collect()
}

/// The output columns that have an order.
fn sortable(schema: &Schema) -> Vec<String> {
    let has_order = |dtype: &DataType| !matches!(dtype, DataType::List(_) | DataType::Array(..) | DataType::Struct(_));
    schema.iter().filter(|(_, dtype)| has_order(dtype)).map(|(name, _)| name.to_string()).collect()
}

/// The problem behind polars' error: a column it does not find is named with the nearest one.
fn unfit(error: &PolarsError, table: &TableType) -> Problem {
    let reason = first_line(error);
    let problem = Problem::error(&EXPRESSION_TYPE, at_query(), format!("the query cannot be run: {reason}"));
    let quoted = reason.split(['"', '\'']).nth(1).unwrap_or("");
    if quoted.is_empty() || table.column(quoted).is_some() {
        return problem;
    }
    match nearest(quoted, table.names()) {
        Some(near) => problem.label(format!("did you mean `{near}`?")).help(format!("write `{near}`")),
        None => problem,
    }
}

/// Why a query fails on rows.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// Polars cannot run it.
    #[error("the query cannot be run: {reason}; `TRY_CAST` gives a missing cell where a cast fails")]
    Run {
        /// Polars' reason.
        reason: String,
    },
    /// A result does not fit its type.
    #[error("column `{column}` of the query does not fit {wanted}: {reason}")]
    Convert {
        /// The column.
        column: String,
        /// Its type.
        wanted: String,
        /// Polars' reason.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
