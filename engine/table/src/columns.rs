//! The `columns:` option: names, globs, or a type.

use std::borrow::Cow;

use engine_core::{Code, Role, nearest};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{At, ColumnType, Problem, TableType};

/// A selector matches no column.
pub static COLUMN_UNKNOWN: Code = Code {
    name: "column.unknown",
    summary: "a column that the input table does not have",
    explanation: "Every column an option names must be a column of the node's input, spelt alike. \
`fuseline plan` lists the columns of every edge; the message names the nearest one.\n\n\
```yaml\nwith: {columns: [tenur]}   # wrong: no such column\nwith: {columns: [tenure]}  # right\n```",
};

/// A selector names a column that is no feature.
pub static COLUMN_ROLE: Code = Code {
    name: "column.role",
    summary: "a column whose role keeps it out of the features",
    explanation: "Selectors match feature columns only, so that keys, targets and split columns never become \
inputs by accident. Give the column no role (it is then a feature) where it is ingested, or name another column.",
};

/// A selector matches nothing.
pub static COLUMN_NONE: Code = Code {
    name: "column.none",
    summary: "a selector that matches no column",
    explanation: "A glob or a `{type: ...}` selector must match at least one feature column. \
`fuseline plan` shows which columns there are and their types.",
};

/// Which columns a node works on: a list of names and globs (`*` and `?`), or all of a type.
///
/// Matches feature columns only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// Names and globs, in order.
    Names(Vec<String>),
    /// Every feature column of a type (`numeric` stands for int and float), but some.
    OfType {
        /// `bool`, `int`, `float`, `numeric`, `category`, `text`, ...
        family: String,
        /// Names and globs left out.
        except: Vec<String>,
    },
}

impl Columns {
    /// Every feature column of a type.
    pub fn of_type(family: &str) -> Columns {
        Columns::OfType { family: family.to_owned(), except: Vec::new() }
    }

    /// The columns of `table` it matches: in the order of the list, and of the table within a glob; none twice.
    ///
    /// # Errors
    /// A [`Problem`] for every entry that matches nothing, at `option` (a JSON pointer below `with`).
    pub fn resolve<'t>(&self, table: &'t TableType, option: &str) -> Result<Vec<&'t ColumnType>, Vec<Problem>> {
        match self {
            Columns::Names(entries) => resolve_entries(entries, table, option),
            Columns::OfType { family, except } => {
                let found: Vec<&ColumnType> = table
                    .features()
                    .filter(|column| is_of_family(column, family))
                    .filter(|column| !except.iter().any(|pattern| glob_matches(pattern, &column.name)))
                    .collect();
                if found.is_empty() {
                    let at = At::Option(option.to_owned());
                    return Err(vec![
                        Problem::error(&COLUMN_NONE, at, format!("no feature column of type `{family}` in the input"))
                            .help(format!("the features are {}", listing(table))),
                    ]);
                }
                Ok(found)
            }
        }
    }
}

fn resolve_entries<'t>(
    entries: &[String],
    table: &'t TableType,
    option: &str,
) -> Result<Vec<&'t ColumnType>, Vec<Problem>> {
    let mut found: Vec<&ColumnType> = Vec::new();
    let mut problems = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = At::Option(format!("{option}/{index}"));
        let matches: Vec<&ColumnType> = if is_glob(entry) {
            table.features().filter(|column| glob_matches(entry, &column.name)).collect()
        } else {
            match table.column(entry) {
                Some(column) if column.role == Role::Feature => vec![column],
                Some(column) => {
                    let message = format!("`{entry}` has the role {}, and a selector takes features only", column.role);
                    problems.push(Problem::error(&COLUMN_ROLE, at, message).label("not a feature"));
                    continue;
                }
                None => {
                    problems.push(unknown_column(entry, table, at));
                    continue;
                }
            }
        };
        if matches.is_empty() {
            problems.push(
                Problem::error(&COLUMN_NONE, at, format!("`{entry}` matches no feature column of the input"))
                    .help(format!("the features are {}", listing(table))),
            );
        }
        for column in matches {
            if !found.iter().any(|other| other.name == column.name) {
                found.push(column);
            }
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// The problem that `name` is no column of `table`, with the nearest name.
pub(crate) fn unknown_column(name: &str, table: &TableType, at: At) -> Problem {
    let problem = Problem::error(&COLUMN_UNKNOWN, at, format!("the input has no column `{name}`"));
    match nearest(name, table.names()) {
        Some(near) => problem.label(format!("did you mean `{near}`?")).help(format!("write `{near}`")),
        None => problem.label("unknown column").help(format!("the columns are {}", names(table.names()))),
    }
}

impl TableType {
    /// The column called `name`, whatever its role.
    ///
    /// # Errors
    /// A [`Problem`] at `at` that names the nearest column.
    pub fn require(&self, name: &str, at: At) -> Result<&ColumnType, Problem> {
        self.column(name).ok_or_else(|| unknown_column(name, self, at))
    }
}

fn listing(table: &TableType) -> String {
    names(table.features().map(|column| column.name.as_str()))
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match all.len() {
        0 => "none".to_owned(),
        1..=20 => all.join(", "),
        more => format!("{} and {} more", all[..20].join(", "), more - 20),
    }
}

fn is_of_family(column: &ColumnType, family: &str) -> bool {
    if family == "numeric" { column.logical.is_numeric() } else { column.logical.family() == family }
}

fn is_glob(entry: &str) -> bool {
    entry.contains(['*', '?'])
}

/// Whether `pattern` (`*` any text, `?` one character) matches the whole of `name`.
fn glob_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some('?') => (p, n) = (p + 1, n + 1),
            Some(c) if *c == name[n] => (p, n) = (p + 1, n + 1),
            // Backtrack: let the last star take one character more.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct OfType<'a> {
            r#type: &'a str,
            except: &'a [String],
        }
        match self {
            Columns::Names(names) => names.serialize(serializer),
            Columns::OfType { family, except } => OfType { r#type: family, except }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Columns, D::Error> {
        struct Selector;

        impl<'de> Visitor<'de> for Selector {
            type Value = Columns;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of column names and globs, or {type: ..., except: [...]}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Columns, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push(name);
                }
                Ok(Columns::Names(names))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Columns, A::Error> {
                let (mut family, mut except) = (None, Vec::new());
                while let Some(key) = entries.next_key::<String>()? {
                    match key.as_str() {
                        "type" => family = Some(entries.next_value()?),
                        "except" => except = entries.next_value()?,
                        other => return Err(Error::unknown_field(other, &["type", "except"])),
                    }
                }
                Ok(Columns::OfType { family: family.ok_or_else(|| Error::missing_field("type"))?, except })
            }
        }
        deserializer.deserialize_any(Selector)
    }
}

impl JsonSchema for Columns {
    fn schema_name() -> Cow<'static, str> {
        "Columns".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Names and globs (`*`, `?`), or every feature of a type: `{type: float, except: [x*]}`.",
            "anyOf": [
                { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 },
                {
                    "type": "object",
                    "properties": {
                        "type": { "enum": ["bool", "int", "float", "numeric", "category", "text", "datetime", "image", "audio", "tokens", "tensor", "list"] },
                        "except": { "type": "array", "items": { "type": "string", "minLength": 1 } }
                    },
                    "required": ["type"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use engine_core::LogicalType;

    use super::*;
    use crate::RowSet;

    fn table() -> TableType {
        let column = |name: &str, logical| ColumnType::new(name, logical);
        TableType {
            columns: vec![
                column("id", LogicalType::Text).with_role(Role::Key),
                column("x0", LogicalType::Float),
                column("x1", LogicalType::Int),
                column("job", LogicalType::Category),
            ],
            row_set: RowSet("rows".into()),
        }
    }

    fn check(yaml_as_json: &str, expected: &[&str]) {
        let columns: Columns = serde_json::from_str(yaml_as_json).unwrap();
        let table = table();
        let found = columns.resolve(&table, "/columns").unwrap();
        assert_eq!(found.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn names_globs_and_types_select_features_only() {
        check(r#"["job", "x*"]"#, &["job", "x0", "x1"]);
        check(r#"["*"]"#, &["x0", "x1", "job"]);
        check(r#"["x?", "x1"]"#, &["x0", "x1"]);
        check(r#"{"type": "numeric", "except": ["x1"]}"#, &["x0"]);
        check(r#"{"type": "category"}"#, &["job"]);
    }

    #[test]
    fn each_bad_entry_is_a_problem_of_its_own() {
        let columns = Columns::Names(vec!["jobb".into(), "id".into(), "z*".into()]);
        let problems = columns.resolve(&table(), "/columns").unwrap_err();
        let seen: Vec<_> = problems.iter().map(|problem| (problem.code.name, problem.at.clone())).collect();
        assert_eq!(
            seen,
            [
                ("column.unknown", At::Option("/columns/0".into())),
                ("column.role", At::Option("/columns/1".into())),
                ("column.none", At::Option("/columns/2".into()))
            ]
        );
        assert!(problems[0].label.contains("`job`"));
    }

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, expected) in
            [("a*b", "ab", true), ("a*b", "axxb", true), ("a*b", "axbc", false), ("*", "", true), ("?", "", false)]
        {
            assert_eq!(glob_matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
