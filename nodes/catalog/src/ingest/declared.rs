//! The options by which an author declares what a source's columns are: types and roles.

use std::collections::BTreeMap;

use engine_core::nearest;
use engine_table::{At, Problem};
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::codes::SOURCE_COLUMN;

/// Schema of a map from column to a type that a text cell can be read as.
pub(crate) fn cell_types_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "enum": ["bool", "int", "float", "category", "text", "datetime"] }
    })
}

/// As [`cell_types_schema`], or nothing.
pub(crate) fn optional_cell_types_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"],
        "additionalProperties": { "enum": ["bool", "int", "float", "category", "text", "datetime"] }
    })
}

/// Schema of a map from column to role.
pub(crate) fn roles_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "enum": ["feature", "target", "key", "group", "time", "weight", "split"] }
    })
}

/// A problem for every named column that is not among `columns`; `places` gives each name's place.
pub(crate) fn unknown_columns<'a>(
    named: impl IntoIterator<Item = (&'a str, At)>,
    columns: &[&str],
    problems: &mut Vec<Problem>,
) {
    for (name, at) in named {
        if columns.contains(&name) {
            continue;
        }
        let problem = Problem::error(&SOURCE_COLUMN, at, format!("the file has no column `{name}`"));
        problems.push(match nearest(name, columns.iter().copied()) {
            Some(near) => problem.label(format!("did you mean `{near}`?")).help(format!("write `{near}`")),
            None => problem.label("unknown column").help(format!("the columns are {}", listing(columns))),
        });
    }
}

/// The keys of a map option with their places.
pub(crate) fn keys<'a, T>(option: &'a str, map: &'a BTreeMap<String, T>) -> impl Iterator<Item = (&'a str, At)> {
    map.keys().map(move |name| (name.as_str(), crate::place::entry(option, name)))
}

/// The entries of a list option with their places.
pub(crate) fn entries<'a>(option: &'a str, list: &'a [String]) -> impl Iterator<Item = (&'a str, At)> {
    list.iter().enumerate().map(move |(index, name)| (name.as_str(), crate::place::entry(option, index)))
}

/// Names in backticks, at most twenty.
pub(crate) fn listing(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "none".to_owned(),
        1..=20 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), more - 20),
    }
}
