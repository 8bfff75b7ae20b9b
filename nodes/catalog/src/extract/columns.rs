//! `extract.columns`: new columns by expressions over a row.

use std::collections::BTreeMap;

use engine_core::{LogicalType, Serving};
use engine_table::{
    At, Change, ColumnType, Describe, InputTypes, NodeError, Problem, ReduceInputs, RowFunction, RowLocal, TableType,
    Written, empty_frame,
};
use polars::prelude::*;
use polars::sql::sql_expr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expression::RowExpression;
use crate::codes::{COLUMN_TYPE, EXPRESSION_TYPE};
use crate::ingest::declared;
use crate::layout::{can_read_as, first_line, logical_type, to_layout};
use crate::place;

/// Computes columns, each row from that row alone.
///
/// An expression is what stands between SELECT and FROM in SQL: `debt / nullif(income, 0)`, `case when age < 25 then
/// 'young' else 'old' end`, `extract(year from day)`. Names with other signs than letters, digits and `_` stand in double
/// quotes. Every expression sees the columns of the input, not those of its neighbours. A result that is no
/// number (0 / 0, the logarithm of -1) is a missing cell. Aggregates, windows, random numbers and
/// the present time are refused.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnsOptions {
    /// The expression of each column, by name. A column the input has already is replaced and keeps its role.
    #[schemars(length(min = 1))]
    pub columns: BTreeMap<String, String>,

    /// Types of results that are to be other than computed: text as `category`, int as `float` or `category`.
    #[serde(default)]
    #[schemars(schema_with = "declared::cell_types_schema")]
    pub types: BTreeMap<String, LogicalType>,
}

/// The kind.
pub struct Columns {
    options: ColumnsOptions,
    expressions: Vec<(String, RowExpression)>,
}

impl Describe for Columns {
    const KIND: &'static str = "extract.columns";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Same;
    const EXAMPLE: &'static str = r"fuseline: 1
name: loans
nodes:
  rows:
    uses: ingest.csv
    with: {path: loans.csv, schema: {id: text, debt: float, income: float, age: int}, roles: {id: key}}
  ratios:
    uses: extract.columns
    with:
      columns:
        debt_share: debt / nullif(income, 0)
        age_band: case when age < 25 then 'young' when age < 60 then 'middle' else 'old' end
      types: {age_band: category}
    in: rows
";
    type Options = ColumnsOptions;

    fn new(options: ColumnsOptions) -> Result<Columns, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut expressions = Vec::new();
        for (name, text) in &options.columns {
            match RowExpression::parse(text, &place::entry("columns", name)) {
                Ok(expression) => expressions.push((name.clone(), expression)),
                Err(problem) => problems.push(problem),
            }
        }
        for name in options.types.keys().filter(|name| !options.columns.contains_key(*name)) {
            let message = format!("`types` names `{name}`, which is not among `columns`");
            problems.push(Problem::error(&engine_table::OPTION_INVALID, place::entry("types", name), message));
        }
        if problems.is_empty() { Ok(Columns { options, expressions }) } else { Err(problems) }
    }
}

impl RowLocal for Columns {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Vec<Problem>> {
        let table = inputs.table("table");
        let mut problems = Vec::new();
        let mut writes = Vec::new();
        for (name, expression) in &self.expressions {
            match self.written(name, expression, table) {
                Ok(column) => writes.push(Written::new(column, &expression.columns)),
                Err(mut found) => problems.append(&mut found),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let is_read = |column: &&ColumnType| self.expressions.iter().any(|(_, e)| e.columns.contains(&column.name));
        let mut reads: Vec<String> = table.columns.iter().filter(is_read).map(|column| column.name.clone()).collect();
        if reads.is_empty() {
            // Constants still need to know how many rows there are.
            reads.extend(table.columns.first().map(|column| column.name.clone()));
        }
        Ok(Change { reads, writes, ..Change::default() })
    }

    fn prepare(&self, side: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let table = side.types.table("table");
        let mut parts = Vec::new();
        for (name, expression) in &self.expressions {
            let column = self.written(name, expression, table).map_err(|problems| {
                NodeError::Failed(problems.first().map_or_else(String::new, |problem| problem.message.clone()))
            })?;
            let polars = sql_expr(&expression.text).map_err(|error| NodeError::Failed(first_line(&error)))?;
            parts.push(Computed { expression: polars, text: expression.text.clone(), column });
        }
        Ok(Box::new(move |rows: &DataFrame| {
            // One plan for all is much quicker than one for each; only a fault asks which of them it lies in.
            let together = compute(rows, parts.iter().map(|part| &part.expression));
            let columns = match together {
                Ok(all) => parts.iter().zip(&all).map(|(part, series)| part.column(rows, Ok(series))).collect(),
                Err(_) => {
                    parts.iter().map(|part| part.column(rows, Err(()))).collect::<Result<Vec<Column>, NodeError>>()
                }
            };
            DataFrame::new(rows.height(), columns?).map_err(NodeError::failed)
        }))
    }
}

impl Columns {
    /// The column an expression gives, from the types of its columns alone.
    fn written(&self, name: &str, expression: &RowExpression, table: &TableType) -> Result<ColumnType, Vec<Problem>> {
        let at = place::entry("columns", name);
        let found: Vec<Result<&ColumnType, Problem>> =
            expression.columns.iter().map(|column| table.require(column, at.clone())).collect();
        if found.iter().any(Result::is_err) {
            return Err(found.into_iter().filter_map(Result::err).collect());
        }
        let read: Vec<ColumnType> = found.into_iter().filter_map(Result::ok).cloned().collect();
        let computed = computed_type(expression, &read, &at).map_err(|problem| vec![problem])?;
        let logical = match self.options.types.get(name) {
            Some(asked) if can_read_as(&computed, asked) => asked.clone(),
            Some(asked) => {
                let message = format!("`{name}` is computed as {computed} and cannot be kept as {asked}");
                let help = format!("write a cast in the expression, as in `cast({} as double)`", expression.text);
                return Err(vec![Problem::error(&COLUMN_TYPE, place::entry("types", name), message).help(help)]);
            }
            None => computed,
        };
        let is_nullable = |column: &str| read.iter().any(|other| other.name == column && other.nullable);
        let role = table.column(name).map(|column| column.role).unwrap_or_default();
        Ok(ColumnType::new(name, logical).with_role(role).with_nullable(expression.may_be_missing(&is_nullable)))
    }
}

/// What the expression gives on an empty table: polars' own answer, which also finds what only a run finds.
fn computed_type(expression: &RowExpression, read: &[ColumnType], at: &At) -> Result<LogicalType, Problem> {
    if let Some(column) = expression.as_column().and_then(|name| read.iter().find(|column| column.name == name)) {
        return Ok(column.logical.clone());
    }
    let unfit = |reason: String| {
        Problem::error(&EXPRESSION_TYPE, at.clone(), format!("`{}` cannot be computed: {reason}", expression.text))
            .help(format!("its columns are {}", typed(read)))
    };
    let empty = empty_frame(read).map_err(|error| unfit(error.to_string()))?;
    let polars = sql_expr(&expression.text).map_err(|error| unfit(first_line(&error)))?;
    let found = compute(&empty, [&polars]).map_err(|error| unfit(first_line(&error)))?;
    let dtype = found[0].dtype().clone();
    logical_type(&dtype).ok_or_else(|| unfit(format!("its result is of type {dtype}, which is no logical type")))
}

fn typed(columns: &[ColumnType]) -> String {
    let shown: Vec<String> = columns.iter().map(|column| format!("`{}` ({})", column.name, column.logical)).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

/// The values of each expression, one for each row.
fn compute<'a>(rows: &DataFrame, expressions: impl IntoIterator<Item = &'a Expr>) -> PolarsResult<Vec<Series>> {
    // Names that no column of the table has.
    let name = |index: usize| PlSmallStr::from_string(format!("\u{0}{index}"));
    let named: Vec<Expr> =
        expressions.into_iter().enumerate().map(|(index, expression)| expression.clone().alias(name(index))).collect();
    let count = named.len();
    // `with_columns` repeats a constant for every row, which `select` does not.
    let frame = rows.clone().lazy().with_columns(named).collect()?;
    (0..count).map(|index| Ok(frame.column(&name(index))?.as_materialized_series().clone())).collect()
}

/// An expression ready to be computed.
struct Computed {
    expression: Expr,
    text: String,
    column: ColumnType,
}

impl Computed {
    /// The written column, from the values that were computed together with others, if that went well.
    fn column(&self, rows: &DataFrame, computed: Result<&Series, ()>) -> Result<Column, NodeError> {
        let values = match computed {
            Ok(series) => self.values(series),
            Err(()) => self.computed(rows),
        };
        let series = values.map_err(|error| {
            let (row, reason) = self.first_fault(rows).unwrap_or((0, first_line(&error)));
            let (column, text) = (self.column.name.clone(), self.text.clone());
            NodeError::failed(ColumnsError::Value { row, column, text, reason })
        })?;
        if !self.column.nullable && series.null_count() > 0 {
            let row = series.is_null().iter().position(|is_null| is_null == Some(true)).unwrap_or(0);
            let (column, text) = (self.column.name.clone(), self.text.clone());
            return Err(NodeError::failed(ColumnsError::NoNumber { row, column, text }));
        }
        Ok(series.with_name(self.column.name.as_str().into()).into_column())
    }

    fn computed(&self, rows: &DataFrame) -> PolarsResult<Series> {
        let computed = compute(rows, [&self.expression])?;
        self.values(&computed[0])
    }

    /// What polars computed in the layout of the column; what is no number is missing.
    fn values(&self, computed: &Series) -> PolarsResult<Series> {
        let values = to_layout(computed, &self.column.logical)?;
        if self.column.logical != LogicalType::Float {
            return Ok(values);
        }
        let numbers = values.f64()?.iter().map(|cell| cell.filter(|value| value.is_finite()));
        Ok(Float64Chunked::from_iter_options(values.name().clone(), numbers).into_series())
    }

    /// The first row that cannot be computed: it is in the shorter of two halves whose computation fails.
    fn first_fault(&self, rows: &DataFrame) -> Option<(usize, String)> {
        let (mut start, mut length) = (0, rows.height());
        while length > 1 {
            let half = length / 2;
            if self.computed(&rows.slice(start as i64, half)).is_err() {
                length = half;
            } else {
                start += half;
                length -= half;
            }
        }
        self.computed(&rows.slice(start as i64, length)).err().map(|error| (start, first_line(&error)))
    }
}

/// Why a row cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// A value does not allow it.
    #[error(
        "row {row}, column `{column}`: `{text}` cannot be computed: {reason}; `try_cast` gives a missing cell where a cast fails"
    )]
    Value {
        /// The row, from 0.
        row: usize,
        /// The written column.
        column: String,
        /// The expression.
        text: String,
        /// Polars' reason.
        reason: String,
    },
    /// A number beyond all numbers where a missing cell was not to be expected.
    #[error(
        "row {row}, column `{column}`: `{text}` is no finite number; guard it, as in `nullif({text}, 0)` or `least(...)`"
    )]
    NoNumber {
        /// The row, from 0.
        row: usize,
        /// The written column.
        column: String,
        /// The expression.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use engine_core::Role;
    use engine_table::RowSet;

    use super::*;

    fn table() -> TableType {
        TableType {
            columns: vec![
                ColumnType::new("n", LogicalType::Int),
                ColumnType::new("x", LogicalType::Float).with_nullable(true),
                ColumnType::new("word", LogicalType::Text),
                ColumnType::new("kind", LogicalType::Category),
                ColumnType::new("day", LogicalType::Datetime),
                ColumnType::new("y", LogicalType::Bool).with_role(Role::Target),
            ],
            row_set: RowSet("rows".into()),
        }
    }

    fn rows() -> DataFrame {
        let day = Int64Chunked::new("day".into(), [0_i64, 86_400_000_000 * 366, 5]);
        let mut frame = df![
            "n" => [0_i64, 4, -1],
            "x" => [Some(1.0), None, Some(2.0)],
            "word" => ["12", "b", "7"],
            "kind" => ["k", "l", "k"]
        ]
        .unwrap();
        frame.with_column(day.into_datetime(TimeUnit::Microseconds, None).into_series().into_column()).unwrap();
        frame.with_column(Series::new("y".into(), [true, false, true]).into_column()).unwrap();
        frame
    }

    fn kind(columns: serde_json::Value) -> Columns {
        Columns::new(serde_json::from_value(serde_json::json!({ "columns": columns })).unwrap()).ok().unwrap()
    }

    fn apply(text: &str, rows: &DataFrame) -> Result<Series, NodeError> {
        let kind = kind(serde_json::json!({ "new": text }));
        let inputs = InputTypes::of_table(table());
        let change = kind.infer(&inputs).unwrap();
        let side = ReduceInputs::new(inputs, BTreeMap::new());
        let read = rows.select(change.reads.iter().map(String::as_str)).unwrap();
        let found = kind.prepare(&side)?.apply(&read)?;
        engine_table::check_frame(&found, &[change.writes[0].column.clone()]).unwrap();
        Ok(found.column("new").unwrap().as_materialized_series().clone())
    }

    fn check(text: &str, logical: &str, expected: &[Option<&str>]) {
        let change = kind(serde_json::json!({ "new": text })).infer(&InputTypes::of_table(table())).unwrap();
        assert_eq!(change.writes[0].column.logical.to_string(), logical, "{text}");
        let found = apply(text, &rows()).unwrap();
        let words = crate::clean::cast::text(&found).unwrap();
        assert_eq!(words.iter().collect::<Vec<_>>(), expected, "{text}");
        // Row by row it is the same.
        for row in 0..3 {
            let alone = apply(text, &rows().slice(row, 1)).unwrap();
            assert!(alone.equals_missing(&found.slice(row, 1)), "{text}, row {row}");
        }
    }

    #[test]
    fn columns_are_computed_row_by_row() {
        check("n * 2 + 1", "int", &[Some("1"), Some("9"), Some("-1")]);
        check("x + n", "float", &[Some("1"), None, Some("1")]);
        check("coalesce(x, 0.5)", "float", &[Some("1"), Some("0.5"), Some("2")]);
        check("upper(word) = 'B'", "bool", &[Some("false"), Some("true"), Some("false")]);
        check("case when n > 0 then 'up' else 'down' end", "text", &[Some("down"), Some("up"), Some("down")]);
        check("extract(year from day)", "int", &[Some("1970"), Some("1971"), Some("1970")]);
        check("try_cast(word as int)", "int", &[Some("12"), None, Some("7")]);
        check("kind", "category", &[Some("k"), Some("l"), Some("k")]);
        check("1.5", "float", &[Some("1.5"); 3]);
        check("x is null", "bool", &[Some("false"), Some("true"), Some("false")]);
    }

    #[test]
    fn a_result_that_is_no_number_is_missing() {
        check("sqrt(n)", "float", &[Some("0"), Some("2"), None]);
        check("ln(n)", "float", &[None, Some("1.3862943611198906"), None]);
    }

    #[test]
    fn a_value_that_does_not_allow_it_is_named_with_its_row() {
        let message = apply("cast(word as int)", &rows()).unwrap_err().to_string();
        assert!(message.starts_with("row 1, column `new`: `cast(word as int)` cannot be computed"), "{message}");
    }

    #[test]
    fn of_several_columns_the_faulty_one_is_named() {
        let kind = kind(serde_json::json!({"a": "n + 1", "b": "cast(word as int)"}));
        let inputs = InputTypes::of_table(table());
        let read = rows().select(kind.infer(&inputs).unwrap().reads).unwrap();
        let function = kind.prepare(&ReduceInputs::new(inputs, BTreeMap::new())).unwrap();
        assert!(function.apply(&read).unwrap_err().to_string().starts_with("row 1, column `b`"));
        assert_eq!(function.apply(&read.slice(2, 1)).unwrap().width(), 2);
    }

    #[test]
    fn only_named_columns_are_read_and_the_lineage_is_theirs() {
        let change = kind(serde_json::json!({"a": "n + x", "b": "y"})).infer(&InputTypes::of_table(table())).unwrap();
        assert_eq!(change.reads, ["n", "x", "y"]);
        assert_eq!(change.writes[0].from, ["n", "x"]);
        assert!(change.output(&table(), "ratios").column("b").unwrap().from_target);
        let constant = kind(serde_json::json!({"a": "1"})).infer(&InputTypes::of_table(table())).unwrap();
        assert_eq!((constant.reads, constant.writes[0].from.len()), (vec!["n".to_owned()], 0));
    }

    #[test]
    fn what_does_not_fit_the_types_is_a_problem_before_the_run() {
        let problems =
            |text: &str| kind(serde_json::json!({"a": text})).infer(&InputTypes::of_table(table())).unwrap_err();
        assert_eq!(problems("word > 5")[0].code.name, "expression.type");
        let unknown = problems("wrod || n2");
        assert_eq!(unknown.len(), 2);
        assert!(unknown.iter().any(|problem| problem.label.contains("`word`")));
        let options = serde_json::json!({"columns": {"a": "x"}, "types": {"a": "int"}});
        let kept = Columns::new(serde_json::from_value(options).unwrap()).ok().unwrap();
        assert_eq!(kept.infer(&InputTypes::of_table(table())).unwrap_err()[0].code.name, "column.type");
    }

    #[test]
    fn text_may_be_kept_as_category_and_a_replaced_column_keeps_its_role() {
        let options =
            serde_json::json!({"columns": {"y": "case when y then 'a' else 'b' end"}, "types": {"y": "category"}});
        let kept = Columns::new(serde_json::from_value(options).unwrap()).ok().unwrap();
        let column = kept.infer(&InputTypes::of_table(table())).unwrap().writes[0].column.clone();
        assert_eq!((column.logical, column.role), (LogicalType::Category, Role::Target));
    }
}
