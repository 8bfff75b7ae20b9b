//! Values that stand in one node and are meant for an option of another: those a tuning tries.

use engine_core::Diagnostic;
use serde_json::Value;

use super::faults::{self, Subject};
use super::words::alternatives;
use crate::PipelineSpec;

impl PipelineSpec {
    /// What is wrong with `values` as values of `option`, which `schema` describes, of the kind `kind`; each stands at
    /// the pointer beside it.
    ///
    /// A schema that is none finds nothing wrong: it is reported where a node uses the kind.
    pub fn check_option(
        &self,
        kind: &str,
        option: &str,
        schema: &Value,
        values: &[(&Value, String)],
    ) -> Vec<Diagnostic> {
        let Ok(validator) = jsonschema::draft202012::new(schema) else { return Vec::new() };
        let mut problems = Vec::new();
        for (value, at) in values {
            let (kind, file) = (Some(kind), &faults::PIPELINE);
            let subject = Subject { kind, file, base: at, option: Some(option), absent: at, elsewhere: &|_, _| None };
            faults::check(&self.document, &subject, schema, &validator, value, &mut problems);
        }
        problems
    }
}

/// The schema of the option at `path` below `schema`, the options of a kind; an option within another is a step of
/// its own. Of alternatives the first that has such an option counts.
///
/// # Errors
/// The place in `path` of the step that is not there, and the names that are.
pub fn option_schema<'s>(schema: &'s Value, path: &[&str]) -> Result<&'s Value, (usize, Vec<String>)> {
    let mut at = schema;
    for (place, step) in path.iter().enumerate() {
        let branches = alternatives(schema, at);
        let below = branches.iter().find_map(|branch| {
            let open = branch.get("additionalProperties").filter(|below| below.is_object());
            branch["properties"].get(*step).or(open)
        });
        at = below.ok_or_else(|| {
            let maps = branches.iter().filter_map(|branch| branch["properties"].as_object());
            (place, maps.flat_map(|map| map.keys().cloned()).collect())
        })?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_option_within_an_option_is_found_through_alternatives() {
        let width = json!({"type": "integer", "minimum": 1});
        let inner = json!({"type": "object", "properties": {"width": width, "kind": {"enum": ["a", "b"]}}});
        let schema = json!({"type": "object", "properties": {
            "fusion": {"anyOf": [{"type": "null"}, inner]},
            "roles": {"type": "object", "additionalProperties": {"type": "string"}},
            "rate": {"type": "number"}
        }});
        assert_eq!(option_schema(&schema, &["fusion", "width"]), Ok(&width));
        assert_eq!(option_schema(&schema, &["roles", "any"]), Ok(&json!({"type": "string"})));
        assert_eq!(option_schema(&schema, &["fusion", "widht"]), Err((1, vec!["kind".to_owned(), "width".to_owned()])));
        assert_eq!(option_schema(&schema, &["rate", "low"]), Err((1, vec![])));
        assert_eq!(option_schema(&schema, &["rat"]).unwrap_err().0, 0);
    }
}
