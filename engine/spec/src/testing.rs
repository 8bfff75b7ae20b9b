//! What the tests of this room share: a small vocabulary, and one call from text to problems.

use std::path::Path;

use engine_core::{Diagnostic, SourceText};
use serde_json::json;

use crate::{Folders, InputPort, KindDescription, OutputPort, Parameters, PipelineSpec, Vocabulary, read};

/// A pipeline that uses every key, without `fuseline` and `name`.
pub(crate) const WHOLE_PIPELINE: &str = "\
description: everything
seed: 7
params: {data: data, nulls: [NA, '']}
env: {HOST: {default: h, description: a host}, TOKEN: {secret: true}}
store: cache
nodes:
  rows:
    uses: ingest.csv
    description: the rows
    with: {path: '${data}/${env.HOST}.csv', nulls: '${nulls}', skip: 1, types: {id: text}, token: '${env.TOKEN}'}
    cache: off
    retries: 2
    timeout: 1h30m
    resources: {cpus: 2, memory: 512MiB, gpus: 1}
  filled: {uses: clean.impute, with: {strategy: mean}, in: rows}
  joined: {uses: join.left, with: {on: id}, in: {left: [rows, filled], right: rows.table}}
  model: {uses: train.model, with: {target: churn, architecture: {type: mlp, hidden: [8, 8]}}, in: {table: joined}}
  bundle: {uses: deploy.bundle, with: {request: rows, out: out/a.fuse}, in: model}
";

pub(crate) fn folders() -> Folders {
    Folders::new(Path::new("/pipelines"), Path::new("/home")).unwrap()
}

pub(crate) fn no_environment(_: &str) -> Option<String> {
    None
}

/// `text` with the keys every pipeline has, unless it has them.
pub(crate) fn whole(text: &str) -> String {
    if text.starts_with("fuseline:") { text.to_owned() } else { format!("fuseline: 1\nname: example\n{text}") }
}

/// Reads `text` with `parameters`; the environment has the variable `HOME`.
pub(crate) fn read_with(
    text: &str,
    parameters: &Parameters,
) -> Result<(PipelineSpec, Vec<Diagnostic>), Vec<Diagnostic>> {
    let source = SourceText { name: "p.yaml".into(), text: whole(text) };
    let environment = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
    read(source, parameters, &environment, &vocabulary(), &folders())
}

/// A pipeline with these nodes, which must be right.
pub(crate) fn pipeline(text: &str) -> PipelineSpec {
    read_with(text, &Parameters::new()).map_err(|problems| shown(&problems)).unwrap().0
}

/// Each problem of `text` as `code line:column pointed: message | help | ...`; lines counted after the frame.
pub(crate) fn problems(text: &str) -> Vec<String> {
    shown(&match read_with(text, &Parameters::new()) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    })
}

pub(crate) fn shown(problems: &[Diagnostic]) -> Vec<String> {
    problems
        .iter()
        .map(|problem| {
            let span = &problem.labels[0].span;
            let (line, column) = span.line_column();
            let line = if span.source.name == "p.yaml" && span.source.text.starts_with("fuseline: 1\nname: example\n") {
                line.saturating_sub(2)
            } else {
                line
            };
            let help: String = problem.help.iter().map(|help| format!(" | {help}")).collect();
            let pointed = span.text().lines().next().unwrap_or_default();
            format!("{} {line}:{column} {pointed}: {}{help}", problem.code.name, problem.message)
        })
        .collect()
}

pub(crate) fn vocabulary() -> Vocabulary {
    let kinds = [
        (
            "ingest.csv",
            KindDescription {
                opens_secrets: true,
                summary: "Reads a CSV file.".into(),
                options: json!({
                    "$schema": "https://json-schema.org/draft/2020-12/schema",
                    "title": "CsvOptions",
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["path"],
                    "properties": {
                        "path": {"type": "string", "format": "path", "description": "The file.\n\nMore about it."},
                        "nulls": {"type": "array", "items": {"type": "string"}, "default": [""], "description": "Cells that mean missing."},
                        "skip": {"type": "integer", "format": "uint32", "minimum": 0, "default": 0, "description": "Lines left out at the top."},
                        "types": {"type": "object", "additionalProperties": {"$ref": "#/$defs/LogicalType"}},
                        "header": {"type": "boolean", "default": true},
                        "token": {"type": ["string", "null"]}
                    },
                    "$defs": {"LogicalType": {"type": "string", "enum": ["text", "float", "int", "category"]}}
                }),
                inputs: vec![],
                outputs: vec![OutputPort::new("table")],
            },
        ),
        (
            "clean.impute",
            KindDescription {
                opens_secrets: true,
                summary: "Fills the gaps of numeric columns.".into(),
                options: json!({
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["strategy"],
                    "properties": {
                        "strategy": {"$ref": "#/$defs/Strategy", "description": "What stands in for a gap."},
                        "max_gap_share": {"type": "number", "format": "double", "minimum": 0.0, "maximum": 1.0, "default": 1.0, "description": "Largest share of gaps a column may have."},
                        "columns": {"anyOf": [{"$ref": "#/$defs/Selector"}, {"type": "null"}]}
                    },
                    "$defs": {
                        "Strategy": {"oneOf": [
                            {"type": "string", "const": "mean", "description": "The mean."},
                            {"type": "string", "const": "median", "description": "The median."},
                            {"type": "object", "required": ["constant"], "additionalProperties": false, "properties": {"constant": {"type": "number"}}}
                        ]},
                        "Selector": {"anyOf": [
                            {"type": "array", "items": {"type": "string"}},
                            {"type": "object", "additionalProperties": false, "properties": {
                                "type": {"type": "string"},
                                "except": {"type": "array", "items": {"type": "string"}}
                            }}
                        ]}
                    }
                }),
                inputs: vec![InputPort::many("table")],
                outputs: vec![OutputPort::new("table"), OutputPort::new("fills")],
            },
        ),
        (
            "join.left",
            KindDescription {
                opens_secrets: true,
                summary: "Joins two tables by a key.".into(),
                options: json!({
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["on"],
                    "properties": {"on": {"type": "string"}}
                }),
                inputs: vec![InputPort::many("left"), InputPort::one("right")],
                outputs: vec![OutputPort::new("table")],
            },
        ),
        (
            "train.model",
            KindDescription {
                opens_secrets: true,
                summary: "Trains.".into(),
                options: json!({
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["target", "architecture"],
                    "properties": {
                        "target": {"type": "string", "minLength": 1},
                        "epochs": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10, "description": "Passes over the train rows."},
                        "rate": {"type": "number", "exclusiveMinimum": 0.0},
                        "architecture": {"oneOf": [
                            {"type": "object", "required": ["type"], "additionalProperties": false, "properties": {
                                "type": {"type": "string", "const": "mlp"},
                                "hidden": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1}
                            }},
                            {"type": "object", "required": ["type"], "additionalProperties": false, "properties": {
                                "type": {"type": "string", "const": "linear"}
                            }}
                        ]}
                    }
                }),
                inputs: vec![InputPort::many("table"), InputPort::one("start").optional()],
                outputs: vec![OutputPort::new("model")],
            },
        ),
        (
            "deploy.bundle",
            KindDescription {
                opens_secrets: true,
                summary: "Packs a model.".into(),
                options: json!({
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["request", "out"],
                    "properties": {
                        "request": {"type": "string", "format": "node"},
                        "out": {"type": "string", "format": "path"}
                    }
                }),
                inputs: vec![InputPort::one("model")],
                outputs: vec![OutputPort::new("deployment")],
            },
        ),
        (
            "broken.kind",
            KindDescription {
                opens_secrets: true,
                summary: "Has a schema that is none.".into(),
                options: json!({"type": "nonsense"}),
                inputs: vec![],
                outputs: vec![],
            },
        ),
    ];
    Vocabulary::new(kinds.map(|(name, kind)| (name.to_owned(), kind)))
}
