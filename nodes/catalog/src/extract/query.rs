//! A SELECT as the author wrote it, checked before polars sees it.
//!
//! Polars would run statements, read files by table functions and give groups in any order. A
//! [`SelectQuery`] is one SELECT over the input table alone, and knows what it reads, where each
//! output column comes from, and what must be added for its rows to have one order.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use engine_table::{At, Problem};
use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, LimitClause, ObjectName, OrderBy, OrderByExpr,
    OrderByKind, OrderByOptions, Query, Select, SelectItem, SetExpr, Statement, TableFactor, Visit, Visitor,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::expression::{column_name, function_name, is_impure, is_pattern, parser_message};
use super::gaps::may_be_missing;
use crate::codes::{EXPRESSION_ROW, SQL_ORDER, SQL_STATEMENT};

/// The name of the input table in a query.
pub(super) const TABLE: &str = "rows";

/// One SELECT over the input table.
#[derive(Debug, Clone)]
pub(super) struct SelectQuery {
    query: Query,
    /// Every word in the text: a superset of the columns it names.
    words: BTreeSet<String>,
    /// Whether it names columns by a wildcard.
    reads_all: bool,
    has_order: bool,
    /// Whether its rows are rows of the table, in the table's order.
    keeps_order: bool,
}

/// Where an output column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is this input column as it stands.
    Column(String),
    /// It is computed from these input columns.
    Computed {
        /// The columns.
        from: Vec<String>,
        /// Whether a cell may be missing, given what is known of the input.
        nullable: bool,
    },
}

impl SelectQuery {
    /// Reads and checks `text`.
    pub(super) fn parse(text: &str, at: &At) -> Result<SelectQuery, Vec<Problem>> {
        let refuse = |message: String, help: &str| vec![Problem::error(&SQL_STATEMENT, at.clone(), message).help(help)];
        let mut statements = Parser::new(&GenericDialect {})
            .try_with_sql(text)
            .and_then(|mut parser| parser.parse_statements())
            .map_err(|error| refuse(format!("the query cannot be read: {}", parser_message(&error)), ONE_SELECT))?;
        let query = match (statements.pop(), statements.len()) {
            (Some(Statement::Query(query)), 0) => *query,
            (Some(_), 0) => return Err(refuse("the query is no SELECT".to_owned(), ONE_SELECT)),
            (Some(_), more) => return Err(refuse(format!("the query has {} statements", more + 1), ONE_SELECT)),
            (None, _) => return Err(refuse("the query is empty".to_owned(), ONE_SELECT)),
        };
        let mut walk = QueryWalk {
            at,
            problems: Vec::new(),
            tables: vec![TABLE.to_owned()],
            depth: 0,
            reads_all: false,
            shape: Shape::default(),
        };
        let _: ControlFlow<()> = query.visit(&mut walk);
        let has_order = query.order_by.is_some();
        let keeps_order = walk.shape == Shape::default() && !is_grouped(&query);
        if query.limit_clause.is_some() && !has_order && !keeps_order {
            walk.problems.push(
                Problem::error(&SQL_ORDER, at.clone(), "LIMIT keeps the first rows, and these rows have no order")
                    .help("write ORDER BY before LIMIT"),
            );
        }
        if walk.problems.is_empty() {
            Ok(SelectQuery { words: words(text), reads_all: walk.reads_all, query, has_order, keeps_order })
        } else {
            Err(walk.problems)
        }
    }

    /// Which of `columns` it reads; never none of some, so that rows can be counted.
    pub(super) fn reads(&self, columns: &[&str]) -> Vec<String> {
        let is_read = |name: &&&str| self.reads_all || self.words.contains(**name);
        let mut reads: Vec<String> = columns.iter().filter(is_read).map(|name| (*name).to_owned()).collect();
        if reads.is_empty() {
            reads.extend(columns.first().map(|name| (*name).to_owned()));
        }
        reads
    }

    /// The query with an order that leaves no two different rows in any order, given its output columns that can be compared.
    pub(super) fn with_total_order(&self, output: &[String]) -> String {
        let mut query = self.query.clone();
        if self.has_order || !self.keeps_order {
            let by_name = |name: &String| OrderByExpr {
                expr: Expr::Identifier(Ident::with_quote('"', name)),
                options: OrderByOptions { asc: None, nulls_first: None },
                with_fill: None,
            };
            let mut last: Vec<OrderByExpr> = output.iter().map(by_name).collect();
            match &mut query.order_by {
                Some(OrderBy { kind: OrderByKind::Expressions(first), .. }) => first.append(&mut last),
                Some(_) => {}
                None if last.is_empty() => {}
                None => query.order_by = Some(OrderBy { kind: OrderByKind::Expressions(last), interpolate: None }),
            }
        }
        query.to_string()
    }

    /// Where the output column `name` comes from. `is_nullable` says which input columns may be missing; `reads` are
    /// the columns it reads.
    pub(super) fn origin(&self, name: &str, reads: &[String], is_nullable: &dyn Fn(&str) -> bool) -> Origin {
        let everything = || Origin::Computed { from: reads.to_vec(), nullable: true };
        let SetExpr::Select(select) = self.query.body.as_ref() else { return everything() };
        if !reads_the_table_alone(select) {
            return everything();
        }
        let has_gaps = select.from.iter().any(|from| !from.joins.is_empty());
        for item in &select.projection {
            let expr = match item {
                SelectItem::ExprWithAlias { expr, alias } if alias.value == name => expr,
                SelectItem::UnnamedExpr(expr) if column_name(expr) == Some(name) => expr,
                _ => continue,
            };
            if let Some(column) = column_name(expr).filter(|column| reads.iter().any(|read| read == column)) {
                return Origin::Column(column.to_owned());
            }
            let mut named = Names::default();
            let _: ControlFlow<()> = expr.visit(&mut named);
            if named.0.iter().any(|name| !reads.contains(name)) {
                return everything();
            }
            // An aggregate of a group is missing only where its values are, but a group of all rows may be of none.
            let nullable = has_gaps || !is_count(expr) && (is_aggregate(expr) || may_be_missing(expr, is_nullable));
            return Origin::Computed { from: named.0.into_iter().collect(), nullable };
        }
        let is_wildcard =
            |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        match select.projection.iter().any(is_wildcard) && reads.iter().any(|read| read == name) {
            true => Origin::Column(name.to_owned()),
            false => everything(),
        }
    }

    /// Whether a column that is taken as it stands may still be missing where it was not: after a join.
    pub(super) fn adds_gaps(&self) -> bool {
        match self.query.body.as_ref() {
            SetExpr::Select(select) => select.from.iter().any(|from| !from.joins.is_empty()),
            _ => true,
        }
    }
}

const ONE_SELECT: &str =
    "write one SELECT over the table `rows`, as in `SELECT plan, AVG(charges) AS mean_charges FROM rows GROUP BY plan`";

/// What takes the rows out of the table's order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    is_joined: bool,
    is_distinct: bool,
    is_set_operation: bool,
    is_nested: bool,
}

struct QueryWalk<'a> {
    at: &'a At,
    problems: Vec<Problem>,
    tables: Vec<String>,
    depth: usize,
    reads_all: bool,
    shape: Shape,
}

impl QueryWalk<'_> {
    fn refuse(&mut self, code: &'static engine_core::Code, message: String, help: &str) {
        self.problems.push(Problem::error(code, self.at.clone(), message).help(help));
    }
}

impl Visitor for QueryWalk<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        if let Some(with) = &query.with {
            self.shape.is_nested = true;
            self.tables.extend(with.cte_tables.iter().map(|table| table.alias.name.value.clone()));
        }
        if self.depth > 1 {
            self.shape.is_nested = true;
            if has_limit(query) {
                self.refuse(
                    &SQL_ORDER,
                    "LIMIT in a subquery".to_owned(),
                    "filter by ROW_NUMBER() OVER (... ORDER BY ...) instead",
                );
            }
        }
        if query.fetch.is_some() || !query.locks.is_empty() || !query.pipe_operators.is_empty() {
            self.refuse(
                &SQL_STATEMENT,
                "FETCH, FOR and |> are not SELECTs here".to_owned(),
                "write LIMIT, and plain clauses",
            );
        }
        if !matches!(query.body.as_ref(), SetExpr::Select(_)) {
            self.shape.is_set_operation = true;
            self.reads_all = true;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        match &select.distinct {
            Some(Distinct::On(_)) => {
                let help = "filter by ROW_NUMBER() OVER (PARTITION BY ... ORDER BY ...) = 1 instead";
                self.refuse(&SQL_ORDER, "DISTINCT ON keeps any one of several rows".to_owned(), help);
            }
            Some(_) => self.shape.is_distinct = true,
            None => {}
        }
        if select.into.is_some() {
            self.refuse(&SQL_STATEMENT, "SELECT INTO writes a table".to_owned(), ONE_SELECT);
        }
        let is_wildcard =
            |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        self.reads_all |= select.projection.iter().any(is_wildcard);
        let joins = select.from.iter().flat_map(|from| &from.joins);
        self.shape.is_joined |= select.from.len() > 1 || joins.clone().next().is_some();
        self.reads_all |= joins.into_iter().any(|join| is_natural(&join.join_operator));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = relation.to_string();
        let name = name.trim_matches('"');
        if !self.tables.iter().any(|table| table == name) {
            let message = format!("the query reads `{name}`, and the input is the table `{TABLE}`");
            self.refuse(
                &SQL_STATEMENT,
                message,
                "write FROM rows; other tables come in through `ingest` kinds and joins",
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        let fault = match table {
            TableFactor::Table { args: None, sample: None, .. } | TableFactor::NestedJoin { .. } => {
                return ControlFlow::Continue(());
            }
            TableFactor::Derived { .. } => {
                self.shape.is_nested = true;
                return ControlFlow::Continue(());
            }
            TableFactor::Table { args: Some(_), .. } => "a function that makes a table",
            TableFactor::Table { .. } => "TABLESAMPLE takes rows at random",
            _ => "a table that is neither `rows` nor a subquery",
        };
        self.refuse(&SQL_STATEMENT, format!("`{table}`: {fault}"), "write FROM rows");
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) if is_pattern(&name.value) => {
                self.refuse(&SQL_STATEMENT, format!("`{}` is a pattern, not a column", name.value), "name the columns");
            }
            Expr::Function(function) => {
                let name = function_name(function);
                if is_impure(&name) {
                    let message = format!("`{name}` answers otherwise every time");
                    self.refuse(&EXPRESSION_ROW, message, "give the value as a parameter: `${today}` in the query");
                }
                self.reads_all |= name == "columns";
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        if !matches!(statement, Statement::Query(_)) {
            self.refuse(&SQL_STATEMENT, "the query is no SELECT".to_owned(), ONE_SELECT);
        }
        ControlFlow::Continue(())
    }
}

/// The columns an expression names.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                self.0.insert(name.value.clone());
            }
            Expr::CompoundIdentifier(parts) => self.0.extend(parts.last().map(|part| part.value.clone())),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Whether an expression holds an aggregate or a window anywhere.
struct HasAggregate(bool);

impl Visitor for HasAggregate {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            self.0 |= function.over.is_some() || super::expression::is_aggregate(&function_name(function));
        }
        ControlFlow::Continue(())
    }
}

fn is_aggregate(expr: &Expr) -> bool {
    let mut found = HasAggregate(false);
    let _: ControlFlow<()> = expr.visit(&mut found);
    found.0
}

fn is_count(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function) if matches!(function_name(function).as_str(), "count" | "row_number"))
}

fn is_grouped(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return true };
    let has_groups = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(by, _) => !by.is_empty(),
    };
    let is_aggregated = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => is_aggregate(expr),
        _ => false,
    };
    has_groups || select.having.is_some() || select.projection.iter().any(is_aggregated)
}

fn has_limit(query: &Query) -> bool {
    !matches!(&query.limit_clause, None | Some(LimitClause::LimitOffset { limit: None, offset: None, .. }))
}

fn is_natural(join: &JoinOperator) -> bool {
    use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    let (Join(constraint)
    | Inner(constraint)
    | Left(constraint)
    | LeftOuter(constraint)
    | Right(constraint)
    | RightOuter(constraint)
    | FullOuter(constraint)) = join
    else {
        return false;
    };
    matches!(constraint, JoinConstraint::Natural)
}

fn reads_the_table_alone(select: &Select) -> bool {
    let is_table = |table: &TableFactor| matches!(table, TableFactor::Table { name, .. } if name.to_string().trim_matches('"') == TABLE);
    select.from.iter().all(|from| is_table(&from.relation) && from.joins.iter().all(|join| is_table(&join.relation)))
}

fn words(text: &str) -> BTreeSet<String> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().unwrap_or_default();
    let word = |token: Token| if let Token::Word(word) = token { Some(word.value) } else { None };
    tokens.into_iter().filter_map(word).collect()
}
