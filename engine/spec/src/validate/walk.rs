//! A value walked beside its schema: every part of the value with every part of the schema that speaks of it.

use serde_json::Value;

use super::words::{Sorts, target};
use crate::pointer;

/// References and alternatives that are followed without going down in the value.
const MAX_SIDEWAYS: usize = 16;

/// Calls `visit` with each schema that speaks of a part of `value`, that part, and its pointer below `base`.
///
/// Of alternatives those are walked whose sort fits the value and whose required keys it has.
pub(super) fn walk<'v>(root: &Value, value: &'v Value, base: &str, visit: &mut impl FnMut(&Value, &'v Value, &str)) {
    walk_part(root, root, value, base, 0, visit);
}

fn walk_part<'v>(
    root: &Value,
    schema: &Value,
    value: &'v Value,
    at: &str,
    sideways: usize,
    visit: &mut impl FnMut(&Value, &'v Value, &str),
) {
    if sideways > MAX_SIDEWAYS || !schema.is_object() {
        return;
    }
    visit(schema, value, at);
    if let Some(target) = target(root, schema) {
        walk_part(root, target, value, at, sideways + 1, visit);
    }
    for branch in schema["allOf"].as_array().into_iter().flatten() {
        walk_part(root, branch, value, at, sideways + 1, visit);
    }
    for keyword in ["anyOf", "oneOf"] {
        for branch in schema[keyword].as_array().into_iter().flatten() {
            if fits(root, branch, value) {
                walk_part(root, branch, value, at, sideways + 1, visit);
            }
        }
    }
    match value {
        Value::Object(entries) => {
            for (key, below) in entries {
                let schema = match schema["properties"].get(key) {
                    Some(property) => property,
                    None => &schema["additionalProperties"],
                };
                walk_part(root, schema, below, &pointer::join(at, key), 0, visit);
            }
        }
        Value::Array(items) => {
            let prefix = schema["prefixItems"].as_array().map_or(&[][..], Vec::as_slice);
            for (index, below) in items.iter().enumerate() {
                let schema = prefix.get(index).unwrap_or(&schema["items"]);
                walk_part(root, schema, below, &pointer::join_index(at, index), 0, visit);
            }
        }
        _ => {}
    }
}

fn fits(root: &Value, branch: &Value, value: &Value) -> bool {
    if !Sorts::taken_by(root, branch).meets(Sorts::of(value)) {
        return false;
    }
    let branch = target(root, branch).unwrap_or(branch);
    let Some(entries) = value.as_object() else { return true };
    let has_required = branch["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .all(|key| entries.contains_key(key));
    let has_tags = branch["properties"].as_object().into_iter().flatten().all(|(key, property)| {
        match (property.get("const"), entries.get(key)) {
            (Some(tag), Some(given)) => tag == given,
            _ => true,
        }
    });
    has_required && has_tags
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(schema: Value, value: Value) -> Vec<String> {
        let mut found = Vec::new();
        walk(&schema, &value, "/with", &mut |schema, value, at| {
            if schema["format"] == "path" {
                found.push(format!("{at}={value}"));
            }
        });
        found
    }

    #[test]
    fn formats_are_found_in_every_corner_of_a_schema() {
        let path = json!({"type": "string", "format": "path"});
        let schema = json!({
            "type": "object",
            "properties": {
                "one": path,
                "many": {"type": "array", "items": {"$ref": "#/$defs/p"}},
                "maybe": {"anyOf": [{"$ref": "#/$defs/p"}, {"type": "null"}]},
                "either": {"oneOf": [
                    {"type": "object", "required": ["file"], "properties": {"file": path}},
                    {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
                ]},
            },
            "additionalProperties": path,
            "$defs": {"p": path}
        });
        let value =
            json!({"one": "a", "many": ["b", "c"], "maybe": "d", "either": {"file": "e"}, "x/y": "f", "none": 3});
        let mut found = paths(schema.clone(), value);
        found.sort();
        assert_eq!(
            found,
            [
                "/with/either/file=\"e\"",
                "/with/many/0=\"b\"",
                "/with/many/1=\"c\"",
                "/with/maybe=\"d\"",
                "/with/none=3",
                "/with/one=\"a\"",
                "/with/x~1y=\"f\""
            ]
        );
        assert!(paths(schema, json!({"maybe": null, "either": {"text": "a"}})).is_empty());
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"$ref": "#", "format": "path"});
        assert!(!paths(schema, json!("a")).is_empty());
    }
}
