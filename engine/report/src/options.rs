//! A kind's JSON schema as the rows of its manual.
//!
//! Reads the schemas that schemars makes of option structs, without references. What it cannot put into words it
//! shows as JSON, so that a manual never hides a constraint.

use serde_json::{Map, Value};

/// Nested options deeper than this stay one row.
const DEEPEST: usize = 6;

/// An option as the manual shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OptionRow {
    /// Its path: `strategy`, `fusion.architecture`, `steps[].name`.
    pub name: String,
    /// What it takes, in words.
    pub takes: String,
    /// Its default as JSON, or `None` if it must be given.
    pub default: Option<String>,
    /// Whether it must be given.
    pub required: bool,
    /// Its limits in words; may be empty.
    pub range: String,
    /// What it means.
    pub meaning: String,
    /// The values it may have and what each means, where the schema says.
    pub choices: Vec<(String, String)>,
}

/// The options of the object `schema` describes, nested ones below the option that holds them.
pub(crate) fn option_rows(schema: &Value) -> Vec<OptionRow> {
    let mut rows = Vec::new();
    add_properties(&mut rows, schema, "", 0);
    rows
}

fn add_properties(rows: &mut Vec<OptionRow>, schema: &Value, prefix: &str, depth: usize) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // Those that must be given come first; otherwise the order of the schema.
    let (first, rest): (Vec<_>, Vec<_>) = properties.iter().partition(|(name, _)| required.contains(&name.as_str()));
    for (name, property) in first.into_iter().chain(rest) {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let required = required.contains(&name.as_str());
        rows.push(OptionRow {
            takes: takes(property),
            default: property.get("default").map(compact).or_else(|| (!required).then(|| "none".to_owned())),
            required,
            range: range(property),
            meaning: property["description"].as_str().unwrap_or("").trim().to_owned(),
            choices: choices(property),
            name: path.clone(),
        });
        if depth < DEEPEST {
            add_nested(rows, property, &path, depth + 1);
        }
    }
}

fn add_nested(rows: &mut Vec<OptionRow>, property: &Value, path: &str, depth: usize) {
    add_properties(rows, property, path, depth);
    if property["items"].is_object() {
        add_nested(rows, &property["items"], &format!("{path}[]"), depth);
    }
    if property["additionalProperties"].is_object() {
        add_nested(rows, &property["additionalProperties"], &format!("{path}.NAME"), depth);
    }
    for variant in variants(property) {
        let Some(tag) = tag(variant) else {
            add_nested(rows, variant, path, depth);
            continue;
        };
        let Some(properties) = variant["properties"].as_object() else { continue };
        // The tag itself is a choice of the option; only what comes with it is a row.
        let rest: Map<String, Value> = properties
            .iter()
            .filter(|(name, _)| **name != tag.0)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut shown = variant.clone();
        shown["properties"] = Value::Object(rest);
        add_properties(rows, &shown, &format!("{path}({})", tag.1), depth);
    }
}

/// The alternatives of `oneOf` or `anyOf`, without null.
fn variants(schema: &Value) -> Vec<&Value> {
    let alternatives = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    alternatives.into_iter().flatten().filter(|variant| variant["type"] != "null").collect()
}

/// The property of an object that has one fixed value: what tells this variant from the others.
fn tag(variant: &Value) -> Option<(String, String)> {
    let properties = variant["properties"].as_object()?;
    properties.iter().find_map(|(name, value)| Some((name.clone(), value.get("const")?.as_str()?.to_owned())))
}

fn takes(schema: &Value) -> String {
    if let Some(fixed) = schema.get("const") {
        return compact(fixed);
    }
    if let Some(values) = schema["enum"].as_array() {
        return alternatives(values.iter().map(compact));
    }
    let variants = variants(schema);
    if !variants.is_empty() {
        let nullable = has_null(&schema["oneOf"]) || has_null(&schema["anyOf"]);
        let words = variants.iter().map(|variant| match tag(variant) {
            Some((name, value)) => format!("{{{name}: {value}, ..}}"),
            None => takes(variant),
        });
        let words: Vec<String> = words.chain(nullable.then(|| "null".to_owned())).collect();
        return alternatives(words.into_iter());
    }
    match &schema["type"] {
        Value::String(name) => type_name(name, schema),
        Value::Array(names) => {
            let words = names.iter().filter_map(Value::as_str).map(|name| type_name(name, schema));
            alternatives(words)
        }
        _ if schema["properties"].is_object() => "map".to_owned(),
        _ => "anything".to_owned(),
    }
}

fn has_null(variants: &Value) -> bool {
    variants.as_array().is_some_and(|variants| variants.iter().any(|variant| variant["type"] == "null"))
}

fn type_name(name: &str, schema: &Value) -> String {
    match name {
        "string" if schema["format"] == "path" => "path".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        "number" => "number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => match &schema["items"] {
            items if items.is_object() => format!("list of {}", takes(items)),
            _ => "list".to_owned(),
        },
        "object" => match &schema["additionalProperties"] {
            values if values.is_object() => format!("map of {}", takes(values)),
            _ => "map".to_owned(),
        },
        other => other.to_owned(),
    }
}

fn alternatives(words: impl Iterator<Item = String>) -> String {
    let mut distinct: Vec<String> = Vec::new();
    for word in words {
        if !distinct.contains(&word) {
            distinct.push(word);
        }
    }
    distinct.join(" | ")
}

fn range(schema: &Value) -> String {
    let mut words: Vec<String> = Vec::new();
    let number = |key: &str| schema.get(key).filter(|value| value.is_number()).map(compact);
    match (number("minimum"), number("exclusiveMinimum")) {
        (Some(low), _) => words.push(format!("at least {low}")),
        (None, Some(low)) => words.push(format!("above {low}")),
        _ => {}
    }
    match (number("maximum"), number("exclusiveMaximum")) {
        (Some(high), _) => words.push(format!("at most {high}")),
        (None, Some(high)) => words.push(format!("below {high}")),
        _ => {}
    }
    // One character or item at the least is what "not empty" means.
    for (least, most, one, many) in
        [("minLength", "maxLength", "character", "characters"), ("minItems", "maxItems", "item", "items")]
    {
        let plural = |count: u64| if count == 1 { one } else { many };
        match schema[least].as_u64() {
            Some(1) => words.push("not empty".to_owned()),
            Some(count) if count > 1 => words.push(format!("at least {count} {}", plural(count))),
            _ => {}
        }
        if let Some(count) = schema[most].as_u64() {
            words.push(format!("at most {count} {}", plural(count)));
        }
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        words.push(format!("matches {pattern}"));
    }
    if schema["uniqueItems"] == true {
        words.push("no item twice".to_owned());
    }
    if let Some(step) = number("multipleOf") {
        words.push(format!("a multiple of {step}"));
    }
    if words.is_empty() && schema["type"] == "array" && schema["items"].is_object() {
        let each = range(&schema["items"]);
        return if each.is_empty() { each } else { format!("each {each}") };
    }
    words.join(", ")
}

fn choices(schema: &Value) -> Vec<(String, String)> {
    let named = |variant: &&Value| -> Option<(String, String)> {
        let meaning = variant["description"].as_str().unwrap_or("").trim().to_owned();
        let value = match variant.get("const") {
            Some(fixed) => compact(fixed),
            None => tag(variant)?.1,
        };
        Some((value, meaning))
    };
    let choices: Vec<(String, String)> = variants(schema).iter().filter_map(named).collect();
    if choices.iter().all(|(_, meaning)| meaning.is_empty()) { Vec::new() } else { choices }
}

/// A JSON value as YAML would take it on one line.
fn compact(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c)) => {
            text.clone()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use schemars::generate::SchemaSettings;
    use serde::{Deserialize, Serialize};

    use super::*;

    fn schema_of<T: JsonSchema>() -> Value {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<T>().to_value()
    }

    /// What stands in for a gap.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Strategy {
        /// The mean.
        Mean,
        /// The middle value.
        Median,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(tag = "architecture", rename_all = "snake_case")]
    enum Fusion {
        /// One after the other.
        Concat,
        /// Weighted by gates.
        Gated {
            /// Width of a gate.
            #[schemars(range(min = 1))]
            width: u32,
        },
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Inner {
        /// How long to wait.
        patience: u32,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Options {
        /// What stands in for a gap.
        strategy: Strategy,
        /// Largest share of gaps.
        #[serde(default = "half")]
        #[schemars(range(min = 0.0, max = 1.0))]
        max_gap_share: f64,
        /// How encoders are joined.
        fusion: Fusion,
        /// When to stop early.
        #[serde(default)]
        early_stopping: Option<Inner>,
        /// Widths of the layers.
        #[serde(default)]
        #[schemars(length(min = 1))]
        hidden: Vec<u32>,
    }

    fn half() -> f64 {
        0.5
    }

    fn row(name: &str) -> OptionRow {
        let rows = option_rows(&schema_of::<Options>());
        rows.iter().find(|row| row.name == name).cloned().unwrap_or_else(|| panic!("no `{name}` in {rows:#?}"))
    }

    #[test]
    fn an_option_shows_type_default_range_and_meaning() {
        let row = row("max_gap_share");
        assert_eq!((row.takes.as_str(), row.default.as_deref(), row.required), ("number", Some("0.5"), false));
        assert_eq!((row.range.as_str(), row.meaning.as_str()), ("at least 0.0, at most 1.0", "Largest share of gaps."));
    }

    #[test]
    fn the_values_of_an_enum_have_their_meaning() {
        let row = row("strategy");
        assert_eq!((row.takes.as_str(), row.default), ("mean | median", None));
        assert_eq!(row.choices[0], ("mean".to_owned(), "The mean.".to_owned()));
    }

    #[test]
    fn nested_options_have_a_path() {
        assert_eq!(row("early_stopping.patience").meaning, "How long to wait.");
        assert!(row("early_stopping").takes.contains("null"));
        assert_eq!(row("fusion(gated).width").meaning, "Width of a gate.");
        assert_eq!(row("fusion").choices[1].0, "gated");
    }

    #[test]
    fn a_list_says_what_it_holds() {
        assert_eq!(row("hidden").takes, "list of whole number");
        assert!(row("hidden").range.starts_with("not empty"));
    }

    #[test]
    fn what_must_be_given_comes_first() {
        let rows = option_rows(&schema_of::<Options>());
        let first_optional = rows.iter().position(|row| !row.required && !row.name.contains(['.', '('])).unwrap();
        let last_required = rows.iter().rposition(|row| row.required && !row.name.contains(['.', '('])).unwrap();
        assert!(last_required < first_optional);
    }
}
