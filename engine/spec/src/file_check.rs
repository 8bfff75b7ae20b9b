//! Files that are no pipelines, checked as one is: against a schema, every problem at its place.
//!
//! What the file means belongs to whoever brings the schema; a plug-in's `plugin.yaml` is one.

use engine_core::{Code, Diagnostic};
use serde_json::{Map, Value};

use crate::Document;
use crate::document::Content;
use crate::pointer;
use crate::validate::faults::{self, FileWords, Subject};

/// A sort of file.
#[derive(Debug, Clone, Copy)]
pub struct FileKind {
    /// As in `a plug-in`: what has keys and needs them.
    pub whole: &'static str,
    /// The code of what is wrong with it.
    pub code: &'static Code,
    /// What its first lines should be, for a file that holds none.
    pub beginning: &'static str,
}

/// Everything in `document` that does not fit `schema`, a JSON schema (draft 2020-12) of a map.
///
/// # Panics
/// If `schema` is none: it is the program's own.
pub fn check_file(document: &Document, kind: FileKind, schema: &Value) -> Vec<Diagnostic> {
    let FileKind { whole, code, beginning } = kind;
    let tree = document.tree();
    if tree.as_map().is_none() {
        let message = match tree.content {
            Content::Null => "the file is empty".to_owned(),
            _ => format!("{whole} must be a map, found {}", tree.sort()),
        };
        return vec![
            document.point(Diagnostic::error(code, message), "", "no map").help(format!("begin with {beginning}")),
        ];
    }
    let validator = jsonschema::draft202012::new(schema).expect("the program's own schema is one");
    let words = FileWords { whole, unknown: code, missing: code, wrong_type: code, wrong_value: code };
    let mut problems = Vec::new();
    faults::check(document, &Subject::of_file(&words), schema, &validator, document.value(), &mut problems);
    problems
}

/// What keeps the value at `at` from being a JSON schema (draft 2020-12) of a map whose defaults fit it.
pub fn check_schema(document: &Document, at: &str, code: &'static Code) -> Vec<Diagnostic> {
    let Some(schema) = document.value_at(at) else { return Vec::new() };
    let broken = |message: String, below: &str| {
        document.point(Diagnostic::error(code, message), &format!("{at}{below}"), "not as a JSON schema has it")
    };
    let meta = jsonschema::draft202012::meta::validator();
    let problems: Vec<Diagnostic> = meta
        .iter_errors(schema)
        .map(|error| broken(format!("the JSON schema is broken: {error}"), error.instance_path().as_str()))
        .collect();
    if !problems.is_empty() {
        return problems;
    }
    let validator = match jsonschema::draft202012::new(schema) {
        Ok(validator) => validator,
        Err(error) => return vec![broken(format!("the JSON schema is broken: {error}"), "")],
    };
    let mut problems = Vec::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let Some(default) = property.get("default") else { continue };
        let alone = Value::Object(Map::from_iter([(name.clone(), default.clone())]));
        let here = pointer::join("", name);
        let wrong = validator.iter_errors(&alone).find(|error| error.instance_path().as_str().starts_with(&here));
        if let Some(error) = wrong {
            let place = format!("{}/default", pointer::join("/properties", name));
            problems.push(broken(format!("the default of `{name}` is none it may have: {error}"), &place));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use engine_core::SourceText;
    use serde_json::json;

    use super::*;
    use crate::testing::shown;

    static CODE: Code = Code { name: "test.file", summary: "", explanation: "" };

    fn document(text: &str) -> Document {
        Document::parse(SourceText { name: "f.yaml".into(), text: text.into() }).unwrap()
    }

    #[test]
    fn every_problem_of_a_file_is_found_at_its_place() {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["kind"],
            "properties": {"kind": {"type": "string"}, "serving": {"enum": ["skip", "refuse"]}}
        });
        let kind = FileKind { whole: "a plug-in", code: &CODE, beginning: "`kind:`" };
        let problems = |text: &str| shown(&check_file(&document(text), kind, &schema));
        assert_eq!(problems("kind: a\nserving: skip\n"), Vec::<String>::new());
        let found = problems("serving: skp\nsrving: skip\n");
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(
            found.iter().any(|problem| problem.starts_with("test.file 1:1") && problem.contains("a plug-in needs"))
        );
        assert!(found.iter().any(|problem| problem.starts_with("test.file 1:10 skp") && problem.contains("`skip`?")));
        assert!(found.iter().any(|problem| problem.contains("a plug-in has no key `srving`")));
        assert!(problems("")[0].contains("the file is empty | begin with `kind:`"));
        assert!(problems("- a")[0].contains("a plug-in must be a map, found a list"));
    }

    #[test]
    fn a_schema_in_a_file_is_checked_with_its_defaults() {
        let problems = |text: &str| shown(&check_schema(&document(text), "/options", &CODE));
        let good = "options: {type: object, properties: {a: {type: integer, minimum: 1, default: 3}}, required: [b]}";
        assert_eq!(problems(good), Vec::<String>::new());
        assert!(
            problems("options: {properties: {a: {type: intger}}}")[0].contains(" intger: the JSON schema is broken")
        );
        let found = problems("options: {properties: {a: {type: integer, minimum: 1, default: 0}, b: {default: 1}}}");
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(" 0: the default of `a` is none it may have"), "{found:#?}");
    }
}
