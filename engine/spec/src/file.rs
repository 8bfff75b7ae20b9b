//! The frame of a pipeline file as a JSON schema: every key, what it means and what it takes.
//!
//! One schema serves the check, the editor and the reference in the book. What stands under `with:` belongs
//! to the kinds and is not described here.

use serde_json::{Value, json};

use crate::quantity::{DURATION_PATTERN, MEMORY_PATTERN};

/// The version of the format this program reads.
pub(crate) const VERSION: u64 = 1;

/// The keys of a node.
pub(crate) const NODE_KEYS: &[&str] =
    &["uses", "with", "in", "description", "cache", "retries", "timeout", "resources"];

/// What an id of a node looks like; [`crate::template::is_name`] checks the same.
pub(crate) const ID_PATTERN: &str = "^[a-z][a-z0-9_]*$";

/// What a reference looks like: `node` or `node.port`.
const REFERENCE_PATTERN: &str = "^[a-z][a-z0-9_]*(\\.[a-z][a-z0-9_]*)?$";

/// Words for what a schema takes that are better than any that could be made from it.
pub(crate) const EXPECTED: &str = "x-expected";

/// The schema of the whole file.
pub(crate) fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Fuseline pipeline",
        "description": "A multimodal machine-learning pipeline as a graph of nodes.",
        "type": "object",
        "additionalProperties": false,
        "required": ["fuseline", "name", "nodes"],
        "properties": {
            "fuseline": {
                "description": "Version of the file's format; this program reads version 1.",
                "const": VERSION
            },
            "name": {
                "description": "The pipeline's name in reports and in the history of runs.",
                "type": "string",
                "minLength": 1
            },
            "description": { "description": "What the pipeline is for.", "type": "string" },
            "seed": {
                "description": "What all randomness derives from; the same seed gives the same results.",
                "type": "integer",
                "minimum": 0,
                "default": 0
            },
            "params": {
                "description": "Parameters and their values unless a run sets others (`--set name=value`); used as `${name}`.",
                "type": "object"
            },
            "env": {
                "description": "Environment variables the pipeline uses; used as `${env.NAME}`.",
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/variable" }
            },
            "plugins": {
                "description": "Folders of plug-ins, relative to the pipeline's file: each holds a `plugin.yaml`, whose kind the nodes may then use.",
                "type": "array",
                "minItems": 1,
                "items": { "type": "string", "minLength": 1 }
            },
            "nodes": {
                "description": "The nodes by id: lower-case letters, digits and underscores, a letter first.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "pattern": ID_PATTERN },
                "additionalProperties": { "$ref": "#/$defs/node" }
            },
            "store": {
                "description": "Where results are kept: a folder, relative to the pipeline's file. Unless given, `.fuseline` beside the file.",
                "type": "string",
                "minLength": 1
            }
        },
        "$defs": {
            "variable": {
                "description": "An environment variable.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "secret": {
                        "description": "Whether its value must never be shown or stored; it is then opened by the node that needs it alone.",
                        "type": "boolean",
                        "default": false
                    },
                    "default": {
                        "description": "Its value where it is not set; a text makes every value a text. A secret has none.",
                        "type": ["string", "number", "boolean"]
                    },
                    "description": { "description": "What it is for.", "type": "string" }
                }
            },
            "node": {
                "description": "A node: a kind, its options and what it works on.",
                "type": "object",
                "additionalProperties": false,
                "required": ["uses"],
                "properties": {
                    "uses": { "description": "The kind, such as `clean.impute`.", "type": "string" },
                    "with": { "description": "The kind's options.", "type": "object" },
                    "in": {
                        "description": "What the node works on: a node, `node.port`, a list of them, or a map from the kind's input ports to them.",
                        "anyOf": [
                            { "$ref": "#/$defs/references" },
                            { "type": "object", "additionalProperties": { "$ref": "#/$defs/references" } }
                        ]
                    },
                    "description": { "description": "What the node is for.", "type": "string" },
                    "cache": {
                        "description": "`off` runs the node every time instead of finding its result again.",
                        "enum": ["on", "off", true, false],
                        "default": "on"
                    },
                    "retries": {
                        "description": "How often the node is tried again after it failed.",
                        "type": "integer",
                        "minimum": 0,
                        "maximum": 100,
                        "default": 0
                    },
                    "timeout": {
                        "description": "How long one try may take, such as `30s`, `5m` or `1h30m`.",
                        "type": "string",
                        "pattern": DURATION_PATTERN,
                        "x-expected": "a duration such as `30s`, `5m` or `1h30m`"
                    },
                    "resources": {
                        "description": "What the node asks of the machine; it waits until that is free.",
                        "type": "object",
                        "additionalProperties": false,
                        "properties": {
                            "cpus": {
                                "description": "Threads it keeps busy.",
                                "type": "integer",
                                "minimum": 1,
                                "maximum": 65536
                            },
                            "memory": {
                                "description": "Memory it needs, such as `512MiB` or `2GiB`.",
                                "type": "string",
                                "pattern": MEMORY_PATTERN,
                                "x-expected": "an amount of memory such as `512MiB` or `2GiB`"
                            },
                            "gpus": {
                                "description": "Graphics processors it needs.",
                                "type": "integer",
                                "minimum": 0,
                                "maximum": 1024
                            }
                        }
                    }
                }
            },
            "reference": {
                "description": "A node, or `node.port` for one of its output ports.",
                "type": "string",
                "pattern": REFERENCE_PATTERN,
                "x-expected": "a node or `node.port`"
            },
            "references": {
                "anyOf": [
                    { "$ref": "#/$defs/reference" },
                    { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/reference" } }
                ]
            }
        }
    })
}

/// The schema without what is checked by hand, for better words: the version, the ids and `in:`.
pub(crate) fn frame_schema() -> Value {
    let mut schema = schema();
    schema["properties"]["fuseline"] = json!(true);
    schema["$defs"]["node"]["properties"]["in"] = json!(true);
    if let Some(nodes) = schema["properties"]["nodes"].as_object_mut() {
        nodes.remove("propertyNames");
    }
    schema
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::template::is_name;

    #[test]
    fn both_schemas_are_schemas() {
        assert!(jsonschema::draft202012::meta::is_valid(&schema()));
        assert!(jsonschema::validator_for(&schema()).is_ok());
        assert!(jsonschema::validator_for(&frame_schema()).is_ok());
    }

    #[test]
    fn the_pattern_for_ids_says_what_the_check_says() {
        let pattern = Regex::new(ID_PATTERN).unwrap();
        for id in ["a", "rows_2", "A", "2a", "_a", "a-b", "ä", "", "a b", "a.b"] {
            assert_eq!(pattern.is_match(id), is_name(id), "{id}");
        }
    }

    #[test]
    fn the_list_of_a_nodes_keys_is_the_schemas() {
        let schema = schema();
        let mut listed = NODE_KEYS.to_vec();
        listed.sort_unstable();
        let mut described: Vec<&String> = schema["$defs"]["node"]["properties"].as_object().unwrap().keys().collect();
        described.sort_unstable();
        assert_eq!(listed, described);
    }

    #[test]
    fn every_key_says_what_it_means() {
        let schema = schema();
        for part in [
            "/properties",
            "/$defs/node/properties",
            "/$defs/node/properties/resources/properties",
            "/$defs/variable/properties",
        ] {
            for (key, property) in schema.pointer(part).unwrap().as_object().unwrap() {
                assert!(property["description"].is_string(), "{part}/{key}");
            }
        }
    }
}
