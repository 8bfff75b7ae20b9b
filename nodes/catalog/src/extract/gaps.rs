//! Whether an expression can give a missing cell where its columns have none.

use sqlparser::ast::{BinaryOperator, CastKind, Expr, UnaryOperator, Value};

use super::expression::{arguments, function_name};

/// Functions that give a value wherever their arguments have one.
const TOTAL_FUNCTIONS: [&str; 26] = [
    "abs",
    "bit_length",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "concat",
    "cos",
    "degrees",
    "ends_with",
    "floor",
    "length",
    "lower",
    "ltrim",
    "octet_length",
    "pi",
    "radians",
    "replace",
    "round",
    "rtrim",
    "sign",
    "sin",
    "starts_with",
    "trunc",
    "truncate",
    "upper",
];

/// Whether a result may be missing, given which columns may; when in doubt it may.
pub(super) fn may_be_missing(expr: &Expr, is_nullable: &dyn Fn(&str) -> bool) -> bool {
    let of = |inner: &Expr| may_be_missing(inner, is_nullable);
    match expr {
        Expr::Identifier(name) => is_nullable(&name.value),
        Expr::Value(value) => matches!(value.value, Value::Null),
        Expr::Nested(inner) => of(inner),
        Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not, expr } => of(expr),
        Expr::BinaryOp { left, op, right } => {
            let is_total = match op {
                BinaryOperator::Divide | BinaryOperator::Modulo => is_number_other_than_zero(right),
                BinaryOperator::Plus
                | BinaryOperator::Minus
                | BinaryOperator::Multiply
                | BinaryOperator::StringConcat
                | BinaryOperator::Gt
                | BinaryOperator::Lt
                | BinaryOperator::GtEq
                | BinaryOperator::LtEq
                | BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::And
                | BinaryOperator::Or => true,
                _ => false,
            };
            !is_total || of(left) || of(right)
        }
        Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => false,
        Expr::Between { expr, low, high, .. } => of(expr) || of(low) || of(high),
        Expr::InList { expr, list, .. } => of(expr) || list.iter().any(of),
        Expr::Like { expr, pattern, .. } | Expr::ILike { expr, pattern, .. } => of(expr) || of(pattern),
        Expr::Ceil { expr, .. } | Expr::Floor { expr, .. } | Expr::Trim { expr, .. } => of(expr),
        Expr::Extract { expr, .. } => of(expr),
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, .. } => of(expr),
        // A condition that is missing counts as not met, so only results decide.
        Expr::Case { conditions, else_result, .. } => {
            else_result.as_ref().is_none_or(|result| of(result)) || conditions.iter().any(|when| of(&when.result))
        }
        Expr::Function(function) => {
            let Some(arguments) = arguments(function) else { return true };
            match function_name(function).as_str() {
                "coalesce" | "ifnull" | "greatest" | "least" => arguments.into_iter().all(of),
                name if TOTAL_FUNCTIONS.contains(&name) => arguments.into_iter().any(of),
                _ => true,
            }
        }
        _ => true,
    }
}

fn is_number_other_than_zero(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => {
            matches!(&value.value, Value::Number(number, _) if number.parse().is_ok_and(|number: f64| number != 0.0))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use engine_table::At;

    use super::super::expression::RowExpression;

    #[test]
    fn a_result_may_be_missing_only_where_something_can_be() {
        let parse = |text: &str| RowExpression::parse(text, &At::Node).unwrap();
        let is_missing = |text: &str| parse(text).may_be_missing(&|name| name == "gap");
        for text in
            ["x + 1", "x / 12", "coalesce(gap, 0)", "gap is null", "upper(x)", "case when gap > 1 then 1 else 0 end"]
        {
            assert!(!is_missing(text), "{text}");
        }
        for text in ["gap", "x / y", "nullif(x, 0)", "case when x > 1 then 1 end", "try_cast(x as int)", "ln(x)"] {
            assert!(is_missing(text), "{text}");
        }
    }
}
