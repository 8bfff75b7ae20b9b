//! `join.left`: columns of another table, found by key.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use engine_core::{ArtifactKind, LogicalType, Role, Serving};
use engine_table::{
    Arity, At, Change, ColumnType, Describe, InputPort, InputTypes, NodeError, OPTION_INVALID, Problem, Read,
    ReduceInputs, RowFilter, RowFunction, RowLocal, TableType, Written,
};
use polars::prelude::{AnyValue, DataFrame, IdxCa, IdxSize};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::codes::{COLUMN_EXISTS, COLUMN_TYPE};
use crate::place;
use crate::row_bytes::RowBytes;

/// Adds columns of the table `right` to the rows of `left` that have the same key.
///
/// The rows of `left` stay, in their order, and so do their columns and roles. A key must stand in `right` at most once;
/// keys that stand there twice are named. A row whose key is missing, or not in `right`, is a miss.
///
/// A column keeps its role: a target of `right` is a target, and stays one that no encoder may read. Key and split columns
/// of `right` are only taken if `columns` names them. Images and sounds are joined by name, without copying.
///
/// In a deployment the columns the model needs are frozen into the bundle as they are then, with their images and
/// sounds; the client sends the key, whatever its role.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeftOptions {
    /// The column of the key, or the list of several that make it together. Both tables have them, of types bool, int,
    /// category, text or datetime.
    pub on: Key,

    /// The columns taken from `right`; all but keys and splits if not given.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub columns: Option<Vec<String>>,

    /// What a row gets whose key is not in `right`: `'null'` leaves its new cells empty, `error` names it and fails.
    #[serde(default)]
    pub on_miss: OnMiss,
}

/// What a row gets that finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMiss {
    /// Its new cells are empty.
    #[default]
    Null,
    /// The node fails and names it.
    Error,
}

/// The names of the key columns: one name, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Key(pub Vec<String>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Key;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a column, or a list of names")
            }

            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                Ok(Key(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Key, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push(name);
                }
                Ok(Key(names))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

impl JsonSchema for Key {
    fn schema_name() -> Cow<'static, str> {
        "Key".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "minLength": 1 },
                { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1, "uniqueItems": true }
            ]
        })
    }
}

const LEFT: &str = "left";
const RIGHT: &str = "right";

/// So many keys or rows are named; of more only the number is told.
const TOLD: usize = 5;

/// The kind.
pub struct Left {
    options: LeftOptions,
}

impl Describe for Left {
    const KIND: &'static str = "join.left";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Lookup;
    const EXAMPLE: &'static str = r"fuseline: 1
name: payments
nodes:
  payments: {uses: ingest.csv, with: {path: payments.csv, schema: {shop: text, amount: float, is_fraud: bool}, roles: {shop: group, is_fraud: target}}}
  shops: {uses: ingest.csv, with: {path: shops.csv, schema: {shop: text, trade: category, opened: datetime}}}
  rows: {uses: join.left, with: {on: shop, columns: [trade]}, in: {left: payments, right: shops}}
";
    type Options = LeftOptions;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::new(LEFT, ArtifactKind::Table, Arity::One),
            InputPort::new(RIGHT, ArtifactKind::Table, Arity::One),
        ]
    }

    fn new(options: LeftOptions) -> Result<Left, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut twice = |option: &str, names: &[String]| {
            for (index, name) in names.iter().enumerate().filter(|(index, name)| names[..*index].contains(name)) {
                let message = format!("`{name}` is in `{option}` twice");
                problems.push(Problem::error(&OPTION_INVALID, place::entry(option, index), message));
            }
        };
        twice("on", &options.on.0);
        twice("columns", options.columns.as_deref().unwrap_or(&[]));
        if problems.is_empty() { Ok(Left { options }) } else { Err(problems) }
    }
}

impl RowLocal for Left {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Vec<Problem>> {
        let (left, right) = (inputs.table(LEFT), inputs.table(RIGHT));
        let on = &self.options.on.0;
        let mut problems = Vec::new();
        for (index, name) in on.iter().enumerate() {
            if let Err(problem) = check_key(name, left, right, self.place_of_key(index)) {
                problems.push(problem);
            }
        }
        let taken = self.taken(right, &mut problems);
        let mut writes = Vec::with_capacity(taken.len());
        for (column, at) in taken {
            if left.column(&column.name).is_some() {
                let message = format!("`{}` stands in both tables", column.name);
                let help = match &self.options.columns {
                    Some(_) => format!("leave `{}` out of `columns`, or rename it in one of the tables", column.name),
                    None => "name the columns to take with `columns:`".to_owned(),
                };
                problems.push(Problem::error(&COLUMN_EXISTS, at, message).help(help));
            } else if self.options.on_miss == OnMiss::Null && !may_be_null(&column.logical) {
                let message = format!(
                    "`{}` is {}, which has no empty cells for rows without a match",
                    column.name, column.logical
                );
                problems.push(
                    Problem::error(&COLUMN_TYPE, at, message)
                        .label(column.logical.to_string())
                        .help("write `on_miss: error`, or join before the node that makes it"),
                );
            } else {
                let nullable = column.nullable || self.options.on_miss == OnMiss::Null;
                let written = ColumnType::new(&column.name, column.logical.clone())
                    .with_role(column.role)
                    .with_nullable(nullable);
                writes.push(Written::new(written, on.iter().chain([&column.name])));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let names = writes.iter().map(|written| &written.column.name);
        let read = Read::new(RIGHT, RowFilter::All, on.iter().chain(names));
        Ok(Change { reads: on.clone(), side_reads: vec![read], writes, ..Change::default() })
    }

    fn narrowed(&self, needed: &BTreeSet<String>) -> Option<Map<String, Value>> {
        match json!({ "on": self.options.on, "columns": needed, "on_miss": self.options.on_miss }) {
            Value::Object(options) if !needed.is_empty() => Some(options),
            _ => None,
        }
    }

    fn prepare(&self, side: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let right = side.rows(RIGHT, RowFilter::All)?;
        Ok(Box::new(Lookup::new(self.options.on.0.clone(), right, self.options.on_miss)?))
    }
}

impl Left {
    fn place_of_key(&self, index: usize) -> At {
        if self.options.on.0.len() == 1 { place::option("on") } else { place::entry("on", index) }
    }

    /// The columns of `right` that are taken, each with where it is named.
    fn taken<'t>(&self, right: &'t TableType, problems: &mut Vec<Problem>) -> Vec<(&'t ColumnType, At)> {
        let on = &self.options.on.0;
        let Some(columns) = &self.options.columns else {
            let all = right
                .columns
                .iter()
                .filter(|column| !on.contains(&column.name) && !matches!(column.role, Role::Key | Role::Split));
            let all: Vec<_> = all.map(|column| (column, At::Input(RIGHT.to_owned()))).collect();
            if all.is_empty() {
                let message = "`right` has no column to take beside its keys and splits";
                problems.push(
                    Problem::error(&OPTION_INVALID, At::Input(RIGHT.to_owned()), message)
                        .help("name the columns to take with `columns:`"),
                );
            }
            return all;
        };
        let mut taken = Vec::with_capacity(columns.len());
        for (index, name) in columns.iter().enumerate() {
            let at = place::entry("columns", index);
            if on.contains(name) {
                let message = format!("`{name}` is a column of the key, which `left` has already");
                problems.push(Problem::error(&OPTION_INVALID, at, message).help(format!("leave `{name}` out")));
                continue;
            }
            match right.require(name, at.clone()) {
                Ok(column) => taken.push((column, at)),
                Err(problem) => problems.push(problem),
            }
        }
        taken
    }
}

fn check_key(name: &str, left: &TableType, right: &TableType, at: At) -> Result<(), Problem> {
    let (ours, theirs) = (left.require(name, at.clone())?, right.require(name, at.clone())?);
    let is_text = |logical: &LogicalType| matches!(logical, LogicalType::Text | LogicalType::Category);
    let is_key = |logical: &LogicalType| {
        is_text(logical) || matches!(logical, LogicalType::Bool | LogicalType::Int | LogicalType::Datetime)
    };
    if !is_key(&ours.logical) {
        let message = format!("`{name}` is {}, which is no type of a key", ours.logical);
        return Err(Problem::error(&COLUMN_TYPE, at, message)
            .label(ours.logical.to_string())
            .help("a key is bool, int, category, text or datetime; `clean.cast` makes a column of another type"));
    }
    let agree = ours.logical == theirs.logical || is_text(&ours.logical) && is_text(&theirs.logical);
    if !agree {
        let message = format!("`{name}` is {} in `left` and {} in `right`", ours.logical, theirs.logical);
        return Err(Problem::error(&COLUMN_TYPE, at, message)
            .label("of two types")
            .help(format!("read it in one type: `types: {{{name}: {}}}` where `right` is ingested", ours.logical)));
    }
    Ok(())
}

/// Tensors and tokens hold no empty cells.
fn may_be_null(logical: &LogicalType) -> bool {
    !matches!(logical, LogicalType::Tensor(_) | LogicalType::Tokens(_))
}

/// The rows of the right table by key.
struct Lookup {
    on: Vec<String>,
    rows: HashMap<Box<[u8]>, IdxSize>,
    values: DataFrame,
    on_miss: OnMiss,
}

impl Lookup {
    fn new(on: Vec<String>, right: &DataFrame, on_miss: OnMiss) -> Result<Lookup, NodeError> {
        let keys = RowBytes::new(right, on.iter().map(String::as_str))?;
        let is_missing = missing_keys(right, &on)?;
        let mut rows: HashMap<Box<[u8]>, IdxSize> = HashMap::with_capacity(right.height());
        let mut bytes = Vec::new();
        let mut twice: Vec<String> = Vec::new();
        let mut repeated = 0;
        for row in (0..right.height()).filter(|row| !is_missing[*row]) {
            keys.write(row, &mut bytes);
            if let Some(first) = rows.get(bytes.as_slice()) {
                repeated += 1;
                if twice.len() < TOLD {
                    twice.push(format!("{} (rows {first} and {row})", key_in_words(right, &on, row)));
                }
                continue;
            }
            let number = IdxSize::try_from(row).map_err(NodeError::failed)?;
            rows.insert(bytes.as_slice().into(), number);
        }
        if repeated > 0 {
            let more =
                if repeated > twice.len() { format!(" and {} more", repeated - twice.len()) } else { String::new() };
            return Err(NodeError::Failed(format!(
                "`right` has {repeated} keys that stand there before: {}{more}; make each unique, with \
                 `clean.drop_duplicates` or `extract.sql`",
                twice.join(", ")
            )));
        }
        let values = right.drop_many(on.iter().map(String::as_str));
        Ok(Lookup { on, rows, values, on_miss })
    }
}

impl RowFunction for Lookup {
    fn apply(&self, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let keys = RowBytes::new(rows, self.on.iter().map(String::as_str))?;
        let is_missing = missing_keys(rows, &self.on)?;
        let mut bytes = Vec::new();
        let found: Vec<Option<IdxSize>> = (0..rows.height())
            .map(|row| {
                if is_missing[row] {
                    return None;
                }
                keys.write(row, &mut bytes);
                self.rows.get(bytes.as_slice()).copied()
            })
            .collect();
        if self.on_miss == OnMiss::Error {
            check_found(&found, rows, &self.on)?;
        }
        let name = "row".into();
        let taken = match found.iter().copied().collect::<Option<Vec<IdxSize>>>() {
            // Arrays without gaps stay without.
            Some(all) => self.values.take(&IdxCa::from_vec(name, all)),
            None => self.values.take(&found.into_iter().collect::<IdxCa>()),
        };
        taken.map_err(NodeError::failed)
    }
}

/// Which rows lack a part of their key.
fn missing_keys(rows: &DataFrame, on: &[String]) -> Result<Vec<bool>, NodeError> {
    let mut is_missing = vec![false; rows.height()];
    for name in on {
        let column = rows.column(name).map_err(NodeError::failed)?;
        if column.null_count() > 0 {
            let gaps = column.is_null();
            is_missing.iter_mut().zip(gaps.iter()).for_each(|(missing, gap)| *missing |= gap == Some(true));
        }
    }
    Ok(is_missing)
}

fn check_found(found: &[Option<IdxSize>], rows: &DataFrame, on: &[String]) -> Result<(), NodeError> {
    let misses: Vec<usize> = (0..found.len()).filter(|row| found[*row].is_none()).collect();
    if misses.is_empty() {
        return Ok(());
    }
    let told: Vec<String> =
        misses.iter().take(TOLD).map(|row| format!("row {row}: {}", key_in_words(rows, on, *row))).collect();
    let more = if misses.len() > TOLD { format!(" and {} more", misses.len() - TOLD) } else { String::new() };
    let columns: Vec<String> = on.iter().map(|name| format!("`{name}`")).collect();
    Err(NodeError::Failed(format!(
        "column {}: {} keys are not in `right`: {}{more}; add them there, or write `on_miss: 'null'`",
        columns.join(", "),
        misses.len(),
        told.join(", ")
    )))
}

/// As in `a17`, 3.
fn key_in_words(rows: &DataFrame, on: &[String], row: usize) -> String {
    let cell = |name: &String| match rows.column(name).and_then(|column| column.get(row)) {
        Ok(AnyValue::Null) => "a missing key".to_owned(),
        Ok(AnyValue::String(text)) => format!("`{text}`"),
        Ok(AnyValue::StringOwned(text)) => format!("`{text}`"),
        Ok(value) => format!("`{value}`"),
        Err(_) => "a key".to_owned(),
    };
    on.iter().map(cell).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::slice::from_ref;

    use engine_table::{PortInput, RowSet};
    use polars::prelude::df;

    use super::*;

    fn table(row_set: &str, columns: &[(&str, LogicalType, Role)]) -> TableType {
        let column = |(name, logical, role): &(&str, LogicalType, Role)| {
            ColumnType::new(*name, logical.clone()).with_role(*role)
        };
        TableType { columns: columns.iter().map(column).collect(), row_set: RowSet(row_set.into()) }
    }

    fn inputs(left: TableType, right: TableType) -> InputTypes {
        let port = |table: TableType| InputTypes::of_table(table).0.remove("table").unwrap();
        InputTypes(BTreeMap::from([(LEFT.to_owned(), port(left)), (RIGHT.to_owned(), port(right))]))
    }

    fn kind(options: Value) -> Left {
        Left::new(serde_json::from_value(options).unwrap()).ok().unwrap()
    }

    fn types() -> InputTypes {
        use LogicalType::{Float, Image, Int, Text};
        inputs(
            table("lines", &[("id", Text, Role::Group), ("x", Float, Role::Feature)]),
            table(
                "pages",
                &[
                    ("id", Text, Role::Key),
                    ("other", Int, Role::Key),
                    ("page", Image, Role::Feature),
                    ("label", Text, Role::Target),
                    ("part", Text, Role::Split),
                ],
            ),
        )
    }

    #[test]
    fn all_but_keys_and_splits_are_taken_and_keep_their_roles() {
        let change = kind(json!({"on": "id"})).infer(&types()).unwrap();
        assert_eq!(change.reads, ["id"]);
        assert_eq!(change.side_reads, [Read::new(RIGHT, RowFilter::All, ["id", "page", "label"])]);
        let written: Vec<_> =
            change.writes.iter().map(|written| (&*written.column.name, written.column.role)).collect();
        assert_eq!(written, [("page", Role::Feature), ("label", Role::Target)]);
        assert!(change.writes.iter().all(|written| written.column.nullable));
        let named = kind(json!({"on": ["id"], "columns": ["part"], "on_miss": "error"})).infer(&types()).unwrap();
        assert_eq!((named.writes[0].column.role, named.writes[0].column.nullable), (Role::Split, false));
    }

    #[test]
    fn a_deployment_takes_only_the_columns_it_needs() {
        let needed = BTreeSet::from(["page".to_owned()]);
        for options in [json!({"on": "id", "columns": ["label", "page"]}), json!({"on": "id"})] {
            let narrow = kind(options).narrowed(&needed).unwrap();
            let change = kind(Value::Object(narrow)).infer(&types()).unwrap();
            assert_eq!(change.side_reads[0].columns, ["id", "page"]);
        }
    }

    #[test]
    fn what_does_not_fit_is_a_problem_before_a_row_is_read() {
        use LogicalType::{Float, Int, Text, Tokens};
        let check = |options: Value, left: &[(&str, LogicalType, Role)], right: &[(&str, LogicalType, Role)]| {
            let problems = kind(options).infer(&inputs(table("l", left), table("r", right))).unwrap_err();
            problems.iter().map(|problem| problem.code.name).collect::<Vec<_>>().join(" ")
        };
        let (f, id) = (Role::Feature, ("id", Int, Role::Feature));
        let on = || json!({"on": "id"});
        assert_eq!(check(on(), &[("id", Text, f)], &[id.clone(), ("a", Int, f)]), "column.type");
        assert_eq!(check(on(), &[("id", Float, f)], &[("id", Float, f), ("a", Int, f)]), "column.type");
        assert_eq!(check(on(), &[("ids", Int, f)], &[id.clone(), ("a", Int, f)]), "column.unknown");
        assert_eq!(check(on(), &[id.clone(), ("a", Int, f)], &[id.clone(), ("a", Int, f)]), "column.exists");
        assert_eq!(check(on(), from_ref(&id), from_ref(&id)), "option.invalid");
        let tokens = ("t", Tokens(engine_core::Size::Known(3)), f);
        assert_eq!(check(on(), from_ref(&id), &[id.clone(), tokens]), "column.type");
        let named = json!({"on": "id", "columns": ["id", "b"]});
        assert_eq!(check(named, from_ref(&id), &[id.clone(), ("a", Int, f)]), "option.invalid column.unknown");
    }

    fn function(options: Value, right: DataFrame) -> Result<Box<dyn RowFunction>, NodeError> {
        let port = PortInput { artifacts: Vec::new(), rows: BTreeMap::from([(RowFilter::All, right)]) };
        kind(options).prepare(&ReduceInputs::new(InputTypes::default(), BTreeMap::from([(RIGHT.to_owned(), port)])))
    }

    #[test]
    fn rows_keep_their_order_and_misses_are_empty() {
        let right = df!["id" => [Some("b"), Some("a"), None], "v" => [2_i64, 1, 9], "w" => ["x", "y", "z"]].unwrap();
        let join = function(json!({"on": "id"}), right).unwrap();
        let rows = df!["id" => [Some("a"), Some("c"), None, Some("b"), Some("a")]].unwrap();
        let found = join.apply(&rows).unwrap();
        let expected = df!["v" => [Some(1_i64), None, None, Some(2), Some(1)], "w" => [Some("y"), None, None, Some("x"), Some("y")]];
        assert!(found.equals_missing(&expected.unwrap()), "{found}");
        // Row by row the same.
        for row in 0..rows.height() as i64 {
            assert!(join.apply(&rows.slice(row, 1)).unwrap().equals_missing(&found.slice(row, 1)));
        }
        assert_eq!(join.apply(&rows.slice(0, 0)).unwrap().shape(), (0, 2));
    }

    #[test]
    fn several_columns_make_a_key_together() {
        let right = df!["a" => [1_i64, 1, 2], "b" => ["x", "y", "x"], "v" => [1.0, 2.0, 3.0]].unwrap();
        let join = function(json!({"on": ["a", "b"], "on_miss": "error"}), right).unwrap();
        let found = join.apply(&df!["a" => [2_i64, 1], "b" => ["x", "y"]].unwrap()).unwrap();
        assert_eq!(found.column("v").unwrap().f64().unwrap().into_no_null_iter().collect::<Vec<_>>(), [3.0, 2.0]);
        let error = join.apply(&df!["a" => [2_i64, 7], "b" => ["x", "y"]].unwrap()).unwrap_err().to_string();
        assert!(error.contains("column `a`, `b`") && error.contains("row 1: `7`, `y`"), "{error}");
    }

    #[test]
    fn keys_that_stand_in_the_right_table_twice_are_named() {
        let right = df!["id" => [1_i64, 2, 1, 3, 2], "v" => [0_i64; 5]].unwrap();
        let error = function(json!({"on": "id"}), right).err().unwrap().to_string();
        assert!(error.contains("2 keys") && error.contains("`1` (rows 0 and 2), `2` (rows 1 and 4)"), "{error}");
    }

    #[test]
    fn a_join_of_no_rows_has_its_columns() {
        let right = df!["id" => Vec::<i64>::new(), "v" => Vec::<f64>::new()].unwrap();
        let found = function(json!({"on": "id"}), right).unwrap().apply(&df!["id" => [1_i64]].unwrap()).unwrap();
        assert_eq!((found.shape(), found.column("v").unwrap().null_count()), ((1, 1), 1));
    }
}
