//! SQL as the author wrote it, checked before polars sees it.
//!
//! Expressions are read by the parser that polars itself uses, and walked: only functions and
//! constructs that compute a row from that row alone get through. What polars would accept and then
//! answer by the rows beside it, by the clock or by a file is refused here, with the way out.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use engine_core::nearest;
use engine_table::{At, Problem};
use sqlparser::ast::{
    DataType as SqlType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Visit, Visitor,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::codes::{EXPRESSION_FUNCTION, EXPRESSION_ROW, EXPRESSION_SYNTAX};

/// Functions of one row.
const ROW_FUNCTIONS: [&str; 71] = [
    "abs",
    "acos",
    "acosd",
    "asin",
    "asind",
    "atan",
    "atan2",
    "atan2d",
    "atand",
    "bit_length",
    "cbrt",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosd",
    "cot",
    "cotd",
    "date_part",
    "degrees",
    "div",
    "ends_with",
    "exp",
    "floor",
    "greatest",
    "if",
    "ifnull",
    "least",
    "left",
    "length",
    "ln",
    "log",
    "log10",
    "log1p",
    "log2",
    "lower",
    "lpad",
    "ltrim",
    "mod",
    "nullif",
    "octet_length",
    "pi",
    "pow",
    "power",
    "radians",
    "regexp_like",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "sign",
    "sin",
    "sind",
    "split_part",
    "sqrt",
    "starts_with",
    "strftime",
    "strpos",
    "strptime",
    "substr",
    "tan",
    "tand",
    "trunc",
    "truncate",
    "upper",
];

/// Functions over several rows.
const AGGREGATES: [&str; 41] = [
    "array_agg",
    "avg",
    "corr",
    "count",
    "covar",
    "covar_pop",
    "covar_samp",
    "dense_rank",
    "first",
    "first_value",
    "group_concat",
    "lag",
    "last",
    "last_value",
    "lead",
    "listagg",
    "max",
    "mean",
    "median",
    "min",
    "mode",
    "ntile",
    "percent_rank",
    "quantile_cont",
    "quantile_disc",
    "rank",
    "row_number",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "stdev",
    "stdev_samp",
    "string_agg",
    "sum",
    "total",
    "unnest",
    "var",
    "var_pop",
    "var_samp",
    "variance",
    "variance_samp",
];

/// Functions that answer otherwise every time.
const IMPURE: [&str; 16] = [
    "current_date",
    "current_time",
    "current_timestamp",
    "curdate",
    "gen_random_uuid",
    "getdate",
    "localtime",
    "localtimestamp",
    "newid",
    "now",
    "rand",
    "random",
    "sysdate",
    "today",
    "uuid",
    "unix_timestamp",
];

/// An expression of one row and the columns it reads.
#[derive(Debug, Clone)]
pub(super) struct RowExpression {
    /// What was written.
    pub(super) text: String,
    expr: Expr,
    /// The columns it names, in order of name.
    pub(super) columns: BTreeSet<String>,
}

impl RowExpression {
    /// Reads and checks `text`.
    pub(super) fn parse(text: &str, at: &At) -> Result<RowExpression, Problem> {
        let syntax = |reason: String| {
            Problem::error(&EXPRESSION_SYNTAX, at.clone(), format!("`{text}` is no expression: {reason}"))
                .help("an expression is what stands between SELECT and FROM in SQL, as in `debt / nullif(income, 0)`")
        };
        let mut parser =
            Parser::new(&GenericDialect {}).try_with_sql(text).map_err(|error| syntax(parser_message(&error)))?;
        let expr = parser.parse_expr().map_err(|error| syntax(parser_message(&error)))?;
        let rest = parser.peek_token();
        if rest.token != Token::EOF {
            return Err(syntax(format!("`{rest}` stands behind its end")));
        }
        let mut walk = RowWalk { at, columns: BTreeSet::new() };
        match expr.visit(&mut walk) {
            ControlFlow::Break(problem) => Err(*problem),
            ControlFlow::Continue(()) => Ok(RowExpression { text: text.to_owned(), columns: walk.columns, expr }),
        }
    }

    /// Whether a result may be missing, given which columns may.
    pub(super) fn may_be_missing(&self, is_nullable: &dyn Fn(&str) -> bool) -> bool {
        super::gaps::may_be_missing(&self.expr, is_nullable)
    }

    /// The name, if it is a column as it stands.
    pub(super) fn as_column(&self) -> Option<&str> {
        column_name(&self.expr)
    }
}

/// The name, if the expression is a column as it stands.
pub(super) fn column_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) => Some(&name.value),
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

/// The message of a parser error without its prefix.
pub(super) fn parser_message(error: &sqlparser::parser::ParserError) -> String {
    let text = error.to_string();
    text.trim_start_matches("sql parser error: ").to_owned()
}

/// The name of a function as it is looked up.
pub(super) fn function_name(function: &Function) -> String {
    function.name.to_string().to_lowercase()
}

/// Whether the function answers otherwise every time.
pub(super) fn is_impure(name: &str) -> bool {
    IMPURE.contains(&name)
}

/// Whether the function answers by several rows.
pub(super) fn is_aggregate(name: &str) -> bool {
    AGGREGATES.contains(&name)
}

/// Whether polars would read the name as a pattern over all columns.
pub(super) fn is_pattern(name: &str) -> bool {
    name == "*" || (name.starts_with('^') && name.ends_with('$'))
}

struct RowWalk<'a> {
    at: &'a At,
    columns: BTreeSet<String>,
}

impl RowWalk<'_> {
    fn refuse(&self, code: &'static engine_core::Code, message: String, help: &str) -> ControlFlow<Box<Problem>> {
        ControlFlow::Break(Box::new(Problem::error(code, self.at.clone(), message).help(help)))
    }

    fn function(&self, function: &Function) -> ControlFlow<Box<Problem>> {
        let name = function_name(function);
        if function.over.is_some() {
            let message = format!("`{name}(...) over` looks at other rows");
            return self.refuse(&EXPRESSION_ROW, message, "windows belong to `extract.sql`");
        }
        if is_aggregate(&name) {
            let message = format!("`{name}` looks at all rows");
            let help = "what is learnt from rows belongs to a kind that fits on train rows, sums to `extract.sql`; \
the larger and smaller of several columns are `greatest` and `least`";
            return self.refuse(&EXPRESSION_ROW, message, help);
        }
        if is_impure(&name) {
            let message = format!("`{name}` answers otherwise every time");
            let help =
                "give the value as a parameter: `params: {today: '2024-01-01'}` and `${today}` in the expression";
            return self.refuse(&EXPRESSION_ROW, message, help);
        }
        if !ROW_FUNCTIONS.contains(&name.as_str()) {
            let message = format!("expressions have no function `{name}`");
            let help = match nearest(&name, ROW_FUNCTIONS) {
                Some(near) => format!("write `{near}`"),
                None => "`fuseline explain expression.function` lists the functions".to_owned(),
            };
            return self.refuse(&EXPRESSION_FUNCTION, message, &help);
        }
        let is_plain = function.filter.is_none()
            && function.within_group.is_empty()
            && function.null_treatment.is_none()
            && matches!(function.parameters, FunctionArguments::None)
            && arguments(function).is_some();
        if is_plain {
            return ControlFlow::Continue(());
        }
        let message = format!("`{name}` takes plain arguments only");
        self.refuse(
            &EXPRESSION_ROW,
            message,
            "write its arguments as expressions, without DISTINCT, ORDER BY or FILTER",
        )
    }
}

impl Visitor for RowWalk<'_> {
    type Break = Box<Problem>;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Box<Problem>> {
        match expr {
            Expr::Identifier(name) if is_pattern(&name.value) => {
                let message = format!("`{}` is a pattern, not a column", name.value);
                self.refuse(&EXPRESSION_SYNTAX, message, "name the column")
            }
            Expr::Identifier(name) => {
                self.columns.insert(name.value.clone());
                ControlFlow::Continue(())
            }
            Expr::Function(function) => self.function(function),
            Expr::Cast { data_type, .. } if is_time(data_type) => {
                let message = format!("a cast to {data_type} guesses the form of a time from the rows beside it");
                self.refuse(
                    &EXPRESSION_ROW,
                    message,
                    "write `strptime(text, '%Y-%m-%d')`, or use `clean.cast` for ISO 8601",
                )
            }
            Expr::TypedString(_) => {
                let message = format!("`{expr}` leaves the form of its text to be guessed");
                self.refuse(&EXPRESSION_SYNTAX, message, "write `strptime('2024-01-31', '%Y-%m-%d')`")
            }
            Expr::BinaryOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::Interval(_)
            | Expr::Between { .. }
            | Expr::InList { .. }
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::RLike { .. }
            | Expr::Case { .. }
            | Expr::Cast { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. } => ControlFlow::Continue(()),
            Expr::CompoundIdentifier(_) => {
                let message = format!("`{expr}` names a table, and an expression has but one");
                self.refuse(
                    &EXPRESSION_SYNTAX,
                    message,
                    "write the column alone; a name with a point stands in double quotes",
                )
            }
            Expr::Subquery(_)
            | Expr::InSubquery { .. }
            | Expr::Exists { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. } => {
                let message = format!("`{expr}` looks at other rows");
                self.refuse(&EXPRESSION_ROW, message, "write such a query as `extract.sql`")
            }
            _ => {
                let message = format!("expressions have no `{expr}`");
                self.refuse(
                    &EXPRESSION_FUNCTION,
                    message,
                    "`fuseline explain expression.function` lists what they have",
                )
            }
        }
    }
}

fn is_time(data_type: &SqlType) -> bool {
    matches!(
        data_type,
        SqlType::Date | SqlType::Date32 | SqlType::Datetime(_) | SqlType::Timestamp(..) | SqlType::Time(..)
    )
}

/// The arguments, if they are plain expressions.
pub(super) fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    match &function.args {
        FunctionArguments::None => Some(Vec::new()),
        FunctionArguments::Subquery(_) => None,
        FunctionArguments::List(list) if list.duplicate_treatment.is_none() && list.clauses.is_empty() => {
            let plain = |argument| match argument {
                &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
                _ => None,
            };
            list.args.iter().map(plain).collect()
        }
        FunctionArguments::List(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RowExpression, Problem> {
        RowExpression::parse(text, &At::Option("/columns/x".into()))
    }

    fn check(text: &str, columns: &[&str]) {
        assert_eq!(parse(text).unwrap().columns.iter().map(String::as_str).collect::<Vec<_>>(), columns, "{text}");
    }

    fn refused(text: &str, code: &str, says: &str) {
        let problem = parse(text).unwrap_err();
        assert_eq!(problem.code.name, code, "{text}: {}", problem.message);
        let help = problem.help.join(" ");
        assert!(problem.message.contains(says) || help.contains(says), "{}: {help}", problem.message);
    }

    #[test]
    fn expressions_of_one_row_get_through_with_their_columns() {
        check("debt / nullif(income, 0)", &["debt", "income"]);
        check("case when \"Days Late\" > 30 then 'late' else 'due' end", &["Days Late"]);
        check("x between 1 and 2 or name in ('a', 'b') and not flag", &["flag", "name", "x"]);
        check("extract(year from day)", &["day"]);
        check("try_cast(zip as int)", &["zip"]);
        check("-3", &[]);
    }

    #[test]
    fn what_looks_beyond_the_row_is_refused_with_the_way_out() {
        refused("avg(x)", "expression.row", "kind that fits");
        refused("sum(x) over (partition by y)", "expression.row", "extract.sql");
        refused("x > (select max(x) from rows)", "expression.row", "extract.sql");
        refused("x > all(y)", "expression.row", "other rows");
        refused("now()", "expression.row", "parameter");
        refused("current_date", "expression.row", "parameter");
        refused("x + random()", "expression.row", "every time");
        refused("cast(day as date)", "expression.row", "strptime");
        refused("count(*)", "expression.row", "all rows");
    }

    #[test]
    fn what_is_no_expression_is_named() {
        refused("x +", "expression.syntax", "no expression");
        refused("x as y", "expression.syntax", "behind its end");
        refused("x; drop table rows", "expression.syntax", "behind its end");
        refused("\"^a.*$\"", "expression.syntax", "pattern");
        refused("t.x", "expression.syntax", "names a table");
        refused("day > date '2024-01-31'", "expression.syntax", "strptime");
        refused("sqtr(x)", "expression.function", "`sqrt`");
        refused("read_csv('/etc/passwd')", "expression.function", "read_csv");
    }
}
