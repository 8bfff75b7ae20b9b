//! What is predicted: the target column, its classes by name, its values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine_core::{LogicalType, Role};
use engine_table::{At, ColumnType, NodeError, Prediction, Problem, TableType};
use polars::prelude::{Column, DataFrame};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes::{TARGET_MISSING, TARGET_ROLE, TARGET_TASK};

/// What is learnt of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TaskOption {
    /// By the target's type: bool, category and text are classes, float is a number.
    #[default]
    Auto,
    /// Each value is a class.
    Classification,
    /// The value is a number.
    Regression,
}

/// The target of a trainer whose option `target` is `named`, and what is predicted of it.
///
/// # Errors
/// If there is no such column, it has another role, or its type does not fit `task`.
pub(crate) fn target_of(
    table: &TableType,
    named: Option<&str>,
    task: TaskOption,
) -> Result<(ColumnType, Prediction), Problem> {
    let (target, at) = match named {
        Some(name) => (table.require(name, At::Option("/target".to_owned()))?, At::Option("/target".to_owned())),
        None => (only_target(table)?, At::Node),
    };
    let name = &target.name;
    if target.role != Role::Target {
        return Err(Problem::error(&TARGET_ROLE, at, format!("`{name}` has the role {}, not target", target.role))
            .label(format!("a {}", target.role))
            .help(format!("mark it where it is ingested: `roles: {{{name}: target}}`")));
    }
    let classes = matches!(target.logical, LogicalType::Bool | LogicalType::Category | LogicalType::Text);
    let prediction = match (&target.logical, task) {
        (_, TaskOption::Auto | TaskOption::Classification) if classes => Prediction::Class,
        (LogicalType::Int, TaskOption::Classification) => Prediction::Class,
        (LogicalType::Int, TaskOption::Regression) => Prediction::Value,
        (LogicalType::Float, TaskOption::Auto | TaskOption::Regression) => Prediction::Value,
        (LogicalType::Int, TaskOption::Auto) => {
            return Err(Problem::error(
                &TARGET_TASK,
                at,
                format!("the target `{name}` is int, which may be a class or a number"),
            )
            .label("class or number?")
            .help("write `task: classification` or `task: regression`"));
        }
        (logical, _) => {
            let wanted = match task {
                TaskOption::Regression => "a regression needs int or float",
                _ => "a classification needs bool, category, text or int",
            };
            return Err(Problem::error(&TARGET_TASK, at, format!("the target `{name}` is {logical}, and {wanted}"))
                .label(logical.to_string())
                .help("`clean.cast` makes a column of another type"));
        }
    };
    Ok((target.clone(), prediction))
}

fn only_target(table: &TableType) -> Result<&ColumnType, Problem> {
    let targets: Vec<&ColumnType> = table.with_role(Role::Target).collect();
    match targets[..] {
        [target] => Ok(target),
        [] => Err(Problem::error(&TARGET_MISSING, At::Node, "no column has the role target")
            .help("give it to a column where it is ingested: `roles: {COLUMN: target}`")),
        _ => {
            let names: Vec<String> = targets.iter().map(|column| format!("`{}`", column.name)).collect();
            Err(Problem::error(&TARGET_MISSING, At::Node, format!("{} have the role target", names.join(", ")))
                .help("name one of them with `target`"))
        }
    }
}

/// The classes a model knows, in the order of its probabilities: texts by their bytes, numbers by size, `false` first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Classes {
    names: Vec<String>,
    numbers: BTreeMap<String, u32>,
}

impl Classes {
    /// The classes called `names`, in that order.
    pub(crate) fn new(names: Vec<String>) -> Classes {
        let numbers = names.iter().zip(0..).map(|(name, number)| (name.clone(), number)).collect();
        Classes { names, numbers }
    }

    /// The classes that occur in `labels`.
    pub(crate) fn of<'a>(labels: impl IntoIterator<Item = &'a str>, logical: &LogicalType) -> Classes {
        let mut names: Vec<String> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for label in labels {
            if seen.insert(label) {
                names.push(label.to_owned());
            }
        }
        names.sort_unstable();
        if *logical == LogicalType::Int {
            names.sort_by_key(|name| name.parse::<i64>().unwrap_or(i64::MAX));
        }
        Classes::new(names)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Their names.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of the class called `name`, from 0.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// A column of these classes, by number, in the type of the target.
    pub(crate) fn column(&self, name: &str, logical: &LogicalType, rows: &[u32]) -> Column {
        let class = |row: &u32| self.names[*row as usize].as_str();
        match logical {
            LogicalType::Bool => {
                Column::new(name.into(), rows.iter().map(|row| class(row) == "true").collect::<Vec<_>>())
            }
            LogicalType::Int => {
                let number = |row: &u32| class(row).parse::<i64>().ok();
                Column::new(name.into(), rows.iter().map(number).collect::<Vec<_>>())
            }
            _ => Column::new(name.into(), rows.iter().map(class).collect::<Vec<_>>()),
        }
    }
}

/// The class of each row by name; the column holds no nulls.
///
/// # Errors
/// If the column is not of type `logical`.
pub(crate) fn labels<'a>(
    rows: &'a DataFrame,
    name: &str,
    logical: &LogicalType,
) -> Result<Vec<Cow<'a, str>>, NodeError> {
    let series = rows.column(name).map_err(NodeError::failed)?.as_materialized_series();
    Ok(match logical {
        LogicalType::Bool => {
            let word = |value: Option<bool>| Cow::Borrowed(if value == Some(true) { "true" } else { "false" });
            series.bool().map_err(NodeError::failed)?.iter().map(word).collect()
        }
        LogicalType::Int => {
            let word = |value: Option<i64>| Cow::Owned(value.unwrap_or_default().to_string());
            series.i64().map_err(NodeError::failed)?.iter().map(word).collect()
        }
        _ => {
            let word = |value: Option<&'a str>| Cow::Borrowed(value.unwrap_or_default());
            series.str().map_err(NodeError::failed)?.iter().map(word).collect()
        }
    })
}

/// The value of each row; the column holds no nulls.
///
/// # Errors
/// If the column does not hold numbers, or one of them is not finite.
pub(crate) fn values(rows: &DataFrame, name: &str) -> Result<Vec<f64>, NodeError> {
    let series = rows.column(name).map_err(NodeError::failed)?.as_materialized_series();
    let values: Vec<f64> = match series.i64() {
        Ok(values) => values.iter().map(|value| value.unwrap_or_default() as f64).collect(),
        Err(_) => series.f64().map_err(NodeError::failed)?.iter().map(Option::unwrap_or_default).collect(),
    };
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(row) => Err(NodeError::Failed(format!(
            "the target `{name}` is {} in row {row}, which cannot be learnt or scored; leave the row out with \
             `extract.sql` or make it a gap",
            values[row]
        ))),
    }
}

#[cfg(test)]
mod tests {
    use engine_table::RowSet;
    use polars::prelude::df;

    use super::*;

    fn table(targets: &[(&str, LogicalType)]) -> TableType {
        let mut columns = vec![ColumnType::new("x", LogicalType::Float)];
        columns.extend(
            targets.iter().map(|(name, logical)| ColumnType::new(*name, logical.clone()).with_role(Role::Target)),
        );
        TableType { columns, row_set: RowSet("rows".into()) }
    }

    fn check(logical: LogicalType, task: TaskOption, expected: Result<Prediction, &str>) {
        let found = target_of(&table(&[("y", logical.clone())]), None, task);
        let found = found.map(|(_, prediction)| prediction).map_err(|problem| problem.code.name);
        assert_eq!(found, expected, "{logical} {task:?}");
    }

    #[test]
    fn the_type_of_the_target_says_what_is_learnt() {
        use TaskOption::{Auto, Classification, Regression};
        for logical in [LogicalType::Bool, LogicalType::Category, LogicalType::Text] {
            check(logical.clone(), Auto, Ok(Prediction::Class));
            check(logical, Regression, Err("target.task"));
        }
        check(LogicalType::Float, Auto, Ok(Prediction::Value));
        check(LogicalType::Float, Classification, Err("target.task"));
        check(LogicalType::Int, Auto, Err("target.task"));
        check(LogicalType::Int, Classification, Ok(Prediction::Class));
        check(LogicalType::Int, Regression, Ok(Prediction::Value));
        check(LogicalType::Datetime, Auto, Err("target.task"));
    }

    #[test]
    fn the_target_is_the_only_one_or_named_and_has_the_role() {
        let code = |table: &TableType, named| {
            target_of(table, named, TaskOption::Auto)
                .map(|(target, _)| target.name)
                .map_err(|problem| problem.code.name)
        };
        let two = table(&[("y", LogicalType::Float), ("z", LogicalType::Float)]);
        assert_eq!(code(&two, Some("z")), Ok("z".to_owned()));
        assert_eq!(code(&two, None), Err("target.missing"));
        assert_eq!(code(&two, Some("x")), Err("target.role"));
        assert_eq!(code(&two, Some("w")), Err("column.unknown"));
        assert_eq!(code(&table(&[]), None), Err("target.missing"));
    }

    #[test]
    fn classes_stand_in_a_fixed_order_and_come_back_in_the_targets_type() {
        let rows = df!("c" => ["b", "a", "b"], "i" => [10_i64, 9, 10], "t" => [true, false, true]).unwrap();
        for (name, logical, names) in [
            ("c", LogicalType::Category, ["a", "b"]),
            ("i", LogicalType::Int, ["9", "10"]),
            ("t", LogicalType::Bool, ["false", "true"]),
        ] {
            let labels = labels(&rows, name, &logical).unwrap();
            let classes = Classes::of(labels.iter().map(Cow::as_ref), &logical);
            assert_eq!(classes.names(), names);
            let numbers: Vec<u32> = labels.iter().map(|label| classes.number(label).unwrap()).collect();
            assert_eq!(&classes.column(name, &logical, &numbers), rows.column(name).unwrap());
        }
        assert_eq!(Classes::new(vec!["a".into()]).number("b"), None);
    }

    #[test]
    fn a_target_that_is_not_finite_is_named() {
        let rows = df!("y" => [1.0, f64::INFINITY], "n" => [1_i64, 2]).unwrap();
        assert!(values(&rows, "y").unwrap_err().to_string().contains("`y` is inf in row 1"));
        assert_eq!(values(&rows, "n").unwrap(), [1.0, 2.0]);
    }
}
