//! Schemas and values in words, for "expected this, found that".

use std::collections::HashSet;

use serde_json::Value;

use crate::file::EXPECTED;

/// References that are followed from one schema to the next before a schema counts as circular.
const MAX_REFERENCES: usize = 16;

/// The sorts a value of JSON can have, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sorts(u8);

impl Sorts {
    const NULL: Sorts = Sorts(1);
    const BOOL: Sorts = Sorts(2);
    pub(super) const INTEGER: Sorts = Sorts(4);
    const FRACTION: Sorts = Sorts(8);
    const TEXT: Sorts = Sorts(16);
    const LIST: Sorts = Sorts(32);
    const MAP: Sorts = Sorts(64);
    const ALL: Sorts = Sorts(127);

    /// The sort of `value`; a number without a fraction is an integer however it is written.
    pub(super) fn of(value: &Value) -> Sorts {
        match value {
            Value::Null => Sorts::NULL,
            Value::Bool(_) => Sorts::BOOL,
            Value::Number(number) => {
                let is_whole = number.as_f64().is_none_or(|value| value.fract() == 0.0);
                if is_whole { Sorts::INTEGER } else { Sorts::FRACTION }
            }
            Value::String(_) => Sorts::TEXT,
            Value::Array(_) => Sorts::LIST,
            Value::Object(_) => Sorts::MAP,
        }
    }

    /// The sorts `schema` may take.
    pub(super) fn taken_by(root: &Value, schema: &Value) -> Sorts {
        Sorts::taken(root, schema, 0)
    }

    fn taken(root: &Value, schema: &Value, depth: usize) -> Sorts {
        if depth > MAX_REFERENCES {
            return Sorts::ALL;
        }
        let mut sorts = match &schema["type"] {
            Value::String(name) => Sorts::named(name),
            Value::Array(names) => names.iter().filter_map(Value::as_str).map(Sorts::named).fold(Sorts(0), Sorts::or),
            _ => Sorts::ALL,
        };
        if let Some(value) = schema.get("const") {
            sorts = sorts.and(Sorts::of(value));
        }
        if let Some(values) = schema["enum"].as_array() {
            sorts = sorts.and(values.iter().map(Sorts::of).fold(Sorts(0), Sorts::or));
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(branches) = schema[keyword].as_array() {
                let any = branches.iter().map(|branch| Sorts::taken(root, branch, depth + 1)).fold(Sorts(0), Sorts::or);
                sorts = sorts.and(any);
            }
        }
        for branch in schema["allOf"].as_array().into_iter().flatten() {
            sorts = sorts.and(Sorts::taken(root, branch, depth + 1));
        }
        if let Some(target) = target(root, schema) {
            sorts = sorts.and(Sorts::taken(root, target, depth + 1));
        }
        sorts
    }

    fn named(name: &str) -> Sorts {
        match name {
            "null" => Sorts::NULL,
            "boolean" => Sorts::BOOL,
            "integer" => Sorts::INTEGER,
            "number" => Sorts::INTEGER.or(Sorts::FRACTION),
            "string" => Sorts::TEXT,
            "array" => Sorts::LIST,
            "object" => Sorts::MAP,
            _ => Sorts(0),
        }
    }

    fn or(self, other: Sorts) -> Sorts {
        Sorts(self.0 | other.0)
    }

    fn and(self, other: Sorts) -> Sorts {
        Sorts(self.0 & other.0)
    }

    /// Whether one of the sorts is in both.
    pub(super) fn meets(self, other: Sorts) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn takes_text(self) -> bool {
        self.meets(Sorts::TEXT)
    }

    pub(super) fn takes_whole_numbers_only(self) -> bool {
        self.meets(Sorts::INTEGER) && !self.meets(Sorts::FRACTION)
    }

    pub(super) fn takes_numbers(self) -> bool {
        self.meets(Sorts::INTEGER.or(Sorts::FRACTION))
    }

    pub(super) fn takes_bools(self) -> bool {
        self.meets(Sorts::BOOL)
    }

    pub(super) fn takes_lists(self) -> bool {
        self.meets(Sorts::LIST)
    }
}

/// The least and greatest integer of a `format` that names a type of Rust, as schemas made from Rust do.
pub(super) fn integer_range(format: &str) -> Option<(i128, i128)> {
    Some(match format {
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int" | "int64" => (i64::MIN.into(), i64::MAX.into()),
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint" | "uint64" => (0, u64::MAX.into()),
        _ => return None,
    })
}

/// What `$ref` of `schema` names, inside `root`.
pub(super) fn target<'s>(root: &'s Value, schema: &Value) -> Option<&'s Value> {
    let pointer = schema["$ref"].as_str()?.strip_prefix('#')?;
    root.pointer(pointer)
}

/// `schema`, or what it refers to if it is a reference.
pub(super) fn follow<'s>(root: &'s Value, mut schema: &'s Value) -> &'s Value {
    for _ in 0..MAX_REFERENCES {
        match target(root, schema) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

/// The alternatives of `schema` with nested ones and references opened; itself if it has none.
pub(super) fn alternatives<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let mut found = Vec::new();
    collect_alternatives(root, schema, 0, &mut found);
    found
}

fn collect_alternatives<'s>(root: &'s Value, schema: &'s Value, depth: usize, found: &mut Vec<&'s Value>) {
    let schema = if schema.get(EXPECTED).is_some() { schema } else { follow(root, schema) };
    let branches = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    match branches {
        Some(branches) if depth < MAX_REFERENCES && schema.get(EXPECTED).is_none() => {
            branches.iter().for_each(|branch| collect_alternatives(root, branch, depth + 1, found));
        }
        _ => found.push(schema),
    }
}

/// The values a schema names one by one, if it does.
pub(super) fn literals(schema: &Value) -> Option<Vec<&Value>> {
    if let Some(value) = schema.get("const") {
        return Some(vec![value]);
    }
    schema["enum"].as_array().map(|values| values.iter().collect())
}

/// What `schema` takes: "an integer of at least 1", "`mean` or `median`".
pub(super) fn expected(root: &Value, schema: &Value) -> String {
    let mut named = Vec::new();
    let mut forms = Vec::new();
    for alternative in alternatives(root, schema) {
        match literals(alternative) {
            Some(values) => named.extend(values.into_iter().map(literal)),
            None => forms.extend(form(root, alternative)),
        }
    }
    named.extend(forms);
    let mut seen = HashSet::new();
    named.retain(|words| seen.insert(words.clone()));
    // "or nothing" reads best at the end.
    if let Some(at) = named.iter().position(|words| words == "nothing") {
        let nothing = named.remove(at);
        named.push(nothing);
    }
    if named.is_empty() { "something else".to_owned() } else { any_of(&named) }
}

/// The forms of a schema without alternatives: one for each type it names.
fn form(root: &Value, schema: &Value) -> Vec<String> {
    if let Some(words) = schema[EXPECTED].as_str() {
        return vec![words.to_owned()];
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => match schema["allOf"].as_array().map(Vec::as_slice) {
            Some([only]) => return vec![expected(root, only)],
            _ => Vec::new(),
        },
    };
    types
        .into_iter()
        .map(|name| match name {
            "null" => "nothing".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            "integer" => format!("an integer{}", range(schema)),
            "number" => format!("a number{}", range(schema)),
            "string" => match schema["format"].as_str() {
                Some("path") => "a path".to_owned(),
                Some("node") => "the id of a node".to_owned(),
                _ => "a text".to_owned(),
            },
            "array" => list(root, schema),
            _ => map(schema),
        })
        .collect()
}

fn range(schema: &Value) -> String {
    let bound = |keyword: &str| schema.get(keyword).filter(|bound| bound.is_number());
    match (bound("minimum"), bound("exclusiveMinimum"), bound("maximum"), bound("exclusiveMaximum")) {
        (Some(low), _, Some(high), _) => format!(" from {} to {}", number(low), number(high)),
        (None, Some(low), Some(high), _) => format!(" above {} and up to {}", number(low), number(high)),
        (Some(low), _, None, Some(high)) => format!(" of at least {} and below {}", number(low), number(high)),
        (None, Some(low), None, Some(high)) => format!(" between {} and {}", number(low), number(high)),
        (Some(low), ..) => format!(" of at least {}", number(low)),
        (None, Some(low), ..) => format!(" above {}", number(low)),
        (None, None, Some(high), _) => format!(" of at most {}", number(high)),
        (None, None, None, Some(high)) => format!(" below {}", number(high)),
        _ => String::new(),
    }
}

/// A bound as people write it: schemas made from Rust write `0.0` for `0`.
pub(super) fn number(bound: &Value) -> String {
    match bound.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        _ => bound.to_string(),
    }
}

fn list(root: &Value, schema: &Value) -> String {
    let length = match (schema["minItems"].as_u64(), schema["maxItems"].as_u64()) {
        (Some(low), Some(high)) if low == high => format!(" of length {low}"),
        _ => String::new(),
    };
    let items = follow(root, &schema["items"]);
    let of = match (items["type"].as_str(), items["format"].as_str()) {
        _ if items.get("enum").is_some() => "",
        (Some("string"), Some("path")) => " of paths",
        (Some("string"), _) => " of texts",
        (Some("integer"), _) => " of integers",
        (Some("number"), _) => " of numbers",
        (Some("object"), _) => " of maps",
        _ => "",
    };
    format!("a list{of}{length}")
}

fn map(schema: &Value) -> String {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let tag = required.iter().find_map(|key| {
        let value = schema["properties"][key].get("const")?;
        Some(format!("a map with `{key}: {}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    });
    match (tag, required.as_slice()) {
        (Some(tag), _) => tag,
        (None, [only]) => format!("a map with `{only}`"),
        _ => "a map".to_owned(),
    }
}

/// A value named one by one, as it would be written.
pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// What was found.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => format!("`{value}`"),
        Value::Number(_) => value.to_string(),
        Value::String(text) if text.is_empty() => "an empty text".to_owned(),
        Value::String(text) => format!("the text `{}`", shortened(text)),
        Value::Array(items) if items.is_empty() => "an empty list".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(entries) => match entries.keys().next() {
            None => "an empty map".to_owned(),
            Some(key) if entries.len() == 1 => format!("a map with `{}`", shortened(key)),
            Some(_) => "a map".to_owned(),
        },
    }
}

/// The first line of `text`, cut at 40 characters.
pub(super) fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    let cut: String = line.chars().take(40).collect();
    if cut.len() < text.trim_end().len() { format!("{cut}...") } else { cut }
}

/// `a`, `b` or `c`; the words as given.
pub(super) fn any_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The first paragraph of a schema's description, on one line.
pub(super) fn description(schema: &Value) -> Option<String> {
    let paragraph = schema["description"].as_str()?.split("\n\n").next()?;
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Value, words: &str) {
        assert_eq!(expected(&schema, &schema), words, "{schema}");
    }

    #[test]
    fn schemas_have_words() {
        check(json!({"type": "integer", "minimum": 1}), "an integer of at least 1");
        check(json!({"type": "number", "minimum": 0.0, "maximum": 1.0}), "a number from 0 to 1");
        check(json!({"type": "number", "exclusiveMinimum": 0}), "a number above 0");
        check(json!({"type": ["string", "null"]}), "a text or nothing");
        check(json!({"type": "boolean"}), "`true` or `false`");
        check(json!({"enum": ["on", "off", true]}), "`on`, `off` or `true`");
        check(
            json!({"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}),
            "a list of integers of length 4",
        );
        check(json!({"type": "string", "format": "path"}), "a path");
        check(json!({"type": "string", "x-expected": "a duration"}), "a duration");
        check(json!(true), "something else");
    }

    #[test]
    fn alternatives_are_joined_through_references() {
        check(
            json!({
                "anyOf": [{"$ref": "#/$defs/s"}, {"type": "null"}],
                "$defs": {"s": {"oneOf": [
                    {"const": "mean", "description": "The mean."},
                    {"const": "median"},
                    {"type": "object", "required": ["constant"], "properties": {"constant": {"type": "number"}}}
                ]}}
            }),
            "`mean`, `median`, a map with `constant` or nothing",
        );
        check(
            json!({"oneOf": [
                {"type": "object", "required": ["type"], "properties": {"type": {"const": "cnn"}}},
                {"type": "object", "required": ["type"], "properties": {"type": {"const": "mlp"}}}
            ]}),
            "a map with `type: cnn` or a map with `type: mlp`",
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
        assert_eq!(expected(&schema, &schema), "something else");
        let schema = json!({"anyOf": [{"$ref": "#"}, {"type": "string"}]});
        assert!(expected(&schema, &schema).contains("a text"));
        assert!(Sorts::taken_by(&schema, &schema).takes_text());
    }

    #[test]
    fn found_values_are_named_shortly() {
        assert_eq!(found(&json!("a\nb")), "the text `a...`");
        assert_eq!(found(&json!({"a": 1})), "a map with `a`");
        assert_eq!(found(&json!(null)), "nothing");
        assert_eq!(found(&json!(1.5)), "1.5");
    }
}
