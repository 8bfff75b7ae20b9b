//! The one schema of the whole file, with every kind's options and ports: what an editor completes from.
//!
//! Looser than the check in one way: wherever a value is expected that is no free text, a text with `${...}`
//! in it is allowed too, since it stands for a parameter. The check itself comes after parameters are in
//! their places and is strict.

use serde_json::{Map, Value, json};

use crate::file;
use crate::{KindDescription, Vocabulary};

/// The JSON schema (draft 2020-12) of a pipeline that uses the kinds of `vocabulary`.
pub fn pipeline_schema(vocabulary: &Vocabulary) -> Value {
    let mut schema = file::schema();
    let kinds: Vec<Value> = vocabulary
        .kinds()
        .map(|(name, kind)| json!({ "const": name, "description": kind.summary }))
        .chain([json!({ "type": "string", "pattern": PARAMETER_PATTERN })])
        .collect();
    let node = &mut schema["$defs"]["node"];
    // A pipeline with plug-ins may use kinds that nobody knows here.
    let plugin_kind = json!({ "type": "string", "description": "A kind of a plug-in." });
    let with_plugins: Vec<Value> = kinds.iter().cloned().chain([plugin_kind]).collect();
    node["properties"]["uses"] = json!({ "description": "The kind.", "anyOf": with_plugins });
    node["allOf"] = vocabulary.kinds().map(|(name, kind)| for_kind(name, kind)).collect();
    for (name, kind) in vocabulary.kinds() {
        schema["$defs"][definition(name)] = options_of(name, kind);
    }
    schema["if"] = json!({ "not": { "required": ["plugins"] } });
    let known = json!({ "properties": { "uses": { "anyOf": kinds } } });
    schema["then"] = json!({ "properties": { "nodes": { "additionalProperties": known } } });
    allow_parameters(&mut schema);
    schema
}

/// What a text with a parameter in it matches.
const PARAMETER_PATTERN: &str = "\\$\\{";

fn definition(kind: &str) -> String {
    format!("options.{kind}")
}

/// If a node uses this kind, then its options and ports are these.
fn for_kind(name: &str, kind: &KindDescription) -> Value {
    let mut then = Map::new();
    then.insert("with".to_owned(), json!({ "$ref": format!("#/$defs/{}", definition(name)) }));
    then.insert("in".to_owned(), inputs_of(kind));
    let has_required_options = kind.options["required"].as_array().is_some_and(|required| !required.is_empty());
    let has_required_inputs = kind.inputs.iter().any(|port| !port.optional);
    let required: Vec<&str> = [(has_required_options, "with"), (has_required_inputs, "in")]
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, key)| *key)
        .collect();
    json!({
        "if": { "properties": { "uses": { "const": name } }, "required": ["uses"] },
        "then": { "properties": then, "required": required }
    })
}

fn inputs_of(kind: &KindDescription) -> Value {
    if kind.inputs.is_empty() {
        return json!(false);
    }
    let form = |many: bool| json!({ "$ref": if many { "#/$defs/references" } else { "#/$defs/reference" } });
    let ports: Map<String, Value> = kind.inputs.iter().map(|port| (port.name.clone(), form(port.many))).collect();
    json!({
        "anyOf": [
            form(kind.inputs[0].many),
            { "type": "object", "additionalProperties": false, "properties": ports }
        ]
    })
}

/// The kind's options as a definition of this schema; references inside it point to where it now stands.
fn options_of(name: &str, kind: &KindDescription) -> Value {
    // A kind found at run time may have a schema that is none; it must not spoil the editor for all others.
    if !jsonschema::draft202012::meta::is_valid(&kind.options) {
        return json!({ "type": "object" });
    }
    let mut options = kind.options.clone();
    if let Some(map) = options.as_object_mut() {
        map.remove("$schema");
        map.remove("title");
    }
    let home = format!("#/$defs/{}", definition(name));
    move_references(&mut options, &home);
    options
}

fn move_references(schema: &mut Value, home: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(target) if key == "$ref" && target.starts_with('#') => {
                        *target = format!("{home}{}", &target[1..]);
                    }
                    below => move_references(below, home),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, home)),
        _ => {}
    }
}

/// Lets a text with a parameter stand wherever `schema` describes a value below its root.
fn allow_parameters(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    for (keyword, below) in map {
        match (keyword.as_str(), below) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(allow_parameter),
            ("additionalProperties" | "items", below @ Value::Object(_)) => allow_parameter(below),
            ("prefixItems", Value::Array(items)) => items.iter_mut().for_each(allow_parameter),
            ("$defs", Value::Object(definitions)) => definitions.values_mut().for_each(allow_parameters),
            // Alternatives of one value: the value as a whole is opened where it stands.
            ("anyOf" | "oneOf" | "allOf", Value::Array(branches)) => branches.iter_mut().for_each(allow_parameters),
            ("then", below) => allow_parameters(below),
            _ => {}
        }
    }
}

fn allow_parameter(schema: &mut Value) {
    allow_parameters(schema);
    if takes_any_text(schema) || schema == &Value::Bool(false) {
        return;
    }
    let mut opened = Map::new();
    if let Some(map) = schema.as_object_mut() {
        for annotation in ["description", "default", "title", "deprecated"] {
            if let Some(value) = map.remove(annotation) {
                opened.insert(annotation.to_owned(), value);
            }
        }
    }
    let parameter = json!({ "type": "string", "pattern": PARAMETER_PATTERN });
    opened.insert("anyOf".to_owned(), Value::Array(vec![schema.take(), parameter]));
    *schema = Value::Object(opened);
}

/// Whether every text is allowed anyway.
fn takes_any_text(schema: &Value) -> bool {
    let Some(map) = schema.as_object() else { return schema == &Value::Bool(true) };
    let is_text = match map.get("type") {
        Some(Value::String(name)) => name == "string",
        Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
        _ => !["$ref", "anyOf", "oneOf", "allOf"].iter().any(|keyword| map.contains_key(*keyword)),
    };
    let is_narrowed = ["enum", "const", "pattern", "maxLength", "not"].iter().any(|keyword| map.contains_key(*keyword));
    is_text && !is_narrowed
}

#[cfg(test)]
mod tests {
    use engine_core::SourceText;

    use super::*;
    use crate::Document;
    use crate::testing::vocabulary;

    fn check(text: &str, is_valid: bool) {
        let schema = pipeline_schema(&vocabulary());
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let text = format!("fuseline: 1\nname: example\n{text}");
        let document = Document::parse(SourceText { name: "p.yaml".into(), text: text.clone() }).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(document.value())
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors.is_empty(), is_valid, "{text}\n{errors:#?}");
    }

    #[test]
    fn it_is_a_schema() {
        assert!(jsonschema::draft202012::meta::is_valid(&pipeline_schema(&vocabulary())));
    }

    #[test]
    fn each_kind_has_its_own_options_and_ports() {
        check("nodes:\n  a: {uses: ingest.csv, with: {path: a.csv, nulls: [NA]}}\n", true);
        check("nodes:\n  a: {uses: ingest.csv, with: {path: a.csv, strategy: mean}}\n", false);
        check("nodes:\n  a: {uses: ingest.csv}\n", false);
        check("nodes:\n  a: {uses: ingest.csv, with: {path: a.csv}, in: b}\n", false);
        check("nodes:\n  b: {uses: clean.impute, with: {strategy: {constant: 1}}, in: [a, c]}\n", true);
        check("nodes:\n  b: {uses: clean.impute, with: {strategy: {constnat: 1}}, in: a}\n", false);
        check("nodes:\n  b: {uses: join.left, with: {on: id}, in: {left: a, right: c}}\n", true);
        check("nodes:\n  b: {uses: join.left, with: {on: id}, in: {left: a, rigth: c}}\n", false);
        check("nodes:\n  b: {uses: join.left, with: {on: id}, in: {left: a, right: [a, c]}}\n", false);
        check("nodes:\n  b: {uses: nobody.knows}\n", false);
        check("plugins: [p]\nnodes:\n  b: {uses: nobody.knows, with: {a: 1}, in: c}\n", true);
        check("plugins: [p]\nnodes:\n  a: {uses: ingest.csv, with: {path: a.csv, strategy: mean}}\n", false);
    }

    #[test]
    fn a_parameter_may_stand_for_any_value() {
        check(
            "nodes:\n  a: {uses: ingest.csv, with: {path: '${p}', skip: '${n}', nulls: '${list}', types: {a: '${t}'}}}\n",
            true,
        );
        check(
            "nodes:\n  a: {uses: clean.impute, with: '${all}', in: '${x}', retries: '${r}', cache: '${c}', timeout: '${t}'}\n",
            true,
        );
        check("nodes:\n  a: {uses: '${kind}', with: {anything: 1}}\n", true);
        check("seed: '${s}'\nnodes:\n  a: {uses: ingest.csv, with: {path: a, nulls: ['${x}'], skip: '3'}}\n", false);
    }

    #[test]
    fn what_the_check_takes_the_editor_takes() {
        check(crate::testing::WHOLE_PIPELINE, true);
    }
}
