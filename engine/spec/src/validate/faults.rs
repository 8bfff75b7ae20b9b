//! What a JSON schema finds wrong with a value, in our words.
//!
//! The library says which keyword of which schema failed at which place. Here that becomes: expected this,
//! found that, and the way out. Alternatives (`anyOf`, `oneOf`) are narrowed to the one that was meant, if
//! one stands out. Nothing is said of a value that could not be resolved.

use std::collections::HashSet;

use engine_core::{Code, Diagnostic, Span};
use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;

use super::words::{
    Sorts, alternatives, any_of, description, expected, follow, found, literal, literals, number, shortened,
};
use crate::Document;
use crate::codes::{option, spec};
use crate::document::{Content, State, resolve_plain};
use crate::pointer;
use crate::suggest::nearest;

/// Names listed in a message before the rest is only counted.
const LISTED: usize = 12;

/// A sort of file, and the codes of what is wrong with its own keys.
pub(crate) struct FileWords {
    /// As in `a pipeline`.
    pub(crate) whole: &'static str,
    pub(crate) unknown: &'static Code,
    pub(crate) missing: &'static Code,
    pub(crate) wrong_type: &'static Code,
    pub(crate) wrong_value: &'static Code,
}

/// The file that describes a pipeline.
pub(super) static PIPELINE: FileWords = FileWords {
    whole: "a pipeline",
    unknown: &spec::UNKNOWN_KEY,
    missing: &spec::MISSING_KEY,
    wrong_type: &spec::TYPE,
    wrong_value: &spec::VALUE,
};

/// What is checked, and how to speak of it.
pub(crate) struct Subject<'s> {
    /// Whose keys they are: a kind, or nothing for the file's own.
    pub(super) kind: Option<&'s str>,
    /// The file they stand in.
    pub(super) file: &'s FileWords,
    /// Where the checked value stands.
    pub(super) base: &'s str,
    /// The option the checked value is for, if it is not the options as a whole.
    pub(super) option: Option<&'s str>,
    /// Where to point when the value itself is missing.
    pub(super) absent: &'s str,
    /// Where an unknown key of a map would be right, as a way out.
    pub(super) elsewhere: &'s dyn Fn(&str, &str) -> Option<String>,
}

impl<'s> Subject<'s> {
    /// The keys of a whole file, which are nobody's options.
    pub(crate) fn of_file(file: &'s FileWords) -> Subject<'s> {
        Subject { kind: None, file, base: "", option: None, absent: "", elsewhere: &|_: &str, _: &str| None }
    }

    fn code(&self, of_option: &'static Code, of_file: &'static Code) -> &'static Code {
        if self.kind.is_some() { of_option } else { of_file }
    }

    /// The value at `at` as people name it.
    fn name(&self, at: &str) -> String {
        match self.option {
            None => name(at, self.base),
            Some(option) if at.is_empty() => option.to_owned(),
            Some(option) => format!("{option}.{}", name(at, self.base)),
        }
    }

    /// Whose key it is that stands in the map at `map`; nothing for the options or the file as a whole.
    fn owner(&self, map: &str) -> Option<String> {
        match self.option {
            Some(_) => Some(format!("`{}`", self.name(map))),
            None => owner(map, self.base),
        }
    }
}

/// Checks `value` and adds what is wrong to `problems`.
pub(crate) fn check(
    document: &Document,
    subject: &Subject<'_>,
    root: &Value,
    validator: &Validator,
    value: &Value,
    problems: &mut Vec<Diagnostic>,
) {
    let mut checker = Checker { document, subject, root, value, faults: Vec::new() };
    for error in validator.iter_errors(value) {
        checker.take(&error);
    }
    checker.report(problems);
}

/// One thing that is wrong.
enum Fault {
    /// A key its map does not have.
    Unknown { map: String, key: String, properties: Vec<String> },
    /// A key its map must have.
    Missing { map: String, key: String, help: Option<String> },
    /// A value that is not what it should be.
    Value { at: String, is_type: bool, must: String, help: Vec<String> },
}

struct Checker<'c> {
    document: &'c Document,
    subject: &'c Subject<'c>,
    root: &'c Value,
    value: &'c Value,
    faults: Vec<Fault>,
}

impl<'c> Checker<'c> {
    fn take(&mut self, error: &ValidationError<'_>) {
        let at = error.instance_path().as_str().to_owned();
        if self.is_unknown(&at, error.kind()) {
            return;
        }
        let schema = self.schema_of(error);
        let instance = error.instance().as_ref();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let properties: Vec<String> =
                    schema["properties"].as_object().into_iter().flat_map(|map| map.keys().cloned()).collect();
                for key in unexpected {
                    let (map, key, properties) = (at.clone(), key.clone(), properties.clone());
                    self.faults.push(Fault::Unknown { map, key, properties });
                }
            }
            ValidationErrorKind::Required { property } => {
                let Some(key) = property.as_str() else { return };
                let about = follow_described(self.root, &schema["properties"][key]);
                let help = about.map(|about| format!("`{key}`: {about}"));
                self.faults.push(Fault::Missing { map: at, key: key.to_owned(), help });
            }
            ValidationErrorKind::AnyOf { context } => self.take_alternatives(error, schema, "anyOf", context),
            ValidationErrorKind::OneOfNotValid { context } => self.take_alternatives(error, schema, "oneOf", context),
            ValidationErrorKind::Type { .. } => {
                self.fault(at, true, format!("must be {}", expected(self.root, schema)), schema, instance);
            }
            ValidationErrorKind::Enum { .. } | ValidationErrorKind::Constant { .. } => {
                let is_type = !Sorts::taken_by(self.root, schema).meets(Sorts::of(instance));
                self.fault(at, is_type, format!("must be {}", expected(self.root, schema)), schema, instance);
            }
            kind => {
                let must = self.limit_in_words(kind, schema);
                self.fault(at, false, must, schema, instance);
            }
        }
    }

    /// Whether the value the error is about is, or holds, something that was reported already.
    fn is_unknown(&self, at: &str, kind: &ValidationErrorKind) -> bool {
        let pointer = format!("{}{at}", self.subject.base);
        let mut tree = self.document.tree();
        let is_told = |state: &State| match state {
            State::Known => false,
            State::Hole => true,
            // Outside of options a secret is reported as such.
            State::Secret(_) => self.subject.kind.is_none(),
        };
        for step in pointer::steps(&pointer) {
            if is_told(&tree.state) {
                return true;
            }
            let below = match &tree.content {
                Content::Map(entries) => entries.get(step.as_ref()).map(|entry| &entry.value),
                Content::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            match below {
                Some(below) => tree = below,
                None => return false,
            }
        }
        let is_about_keys = matches!(
            kind,
            ValidationErrorKind::AdditionalProperties { .. }
                | ValidationErrorKind::UnevaluatedProperties { .. }
                | ValidationErrorKind::Required { .. }
                | ValidationErrorKind::PropertyNames { .. }
        );
        is_told(&tree.state) || !is_about_keys && tree.has_hole()
    }

    /// The schema whose keyword failed.
    fn schema_of(&self, error: &ValidationError<'_>) -> &'c Value {
        let path = error.schema_path().as_str();
        let keyword = error.kind().keyword();
        let cut = path.rfind(&format!("/{keyword}")).unwrap_or(path.len());
        self.root.pointer(&path[..cut]).unwrap_or(&Value::Null)
    }

    fn limit_in_words(&self, kind: &ValidationErrorKind, schema: &Value) -> String {
        let plural = |count: u64, thing: &str| format!("{count} {thing}{}", if count == 1 { "" } else { "s" });
        match kind {
            ValidationErrorKind::Minimum { limit } => format!("must be at least {}", number(limit)),
            ValidationErrorKind::Maximum { limit } => format!("must be at most {}", number(limit)),
            ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be above {}", number(limit)),
            ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be below {}", number(limit)),
            ValidationErrorKind::MultipleOf { multiple_of } => {
                format!("must be a multiple of {}", number(&Value::from(*multiple_of)))
            }
            ValidationErrorKind::MinLength { limit: 1 } => "must not be empty".to_owned(),
            ValidationErrorKind::MinLength { limit } => {
                format!("must have at least {}", plural(*limit, "character"))
            }
            ValidationErrorKind::MaxLength { limit } => format!("must have at most {}", plural(*limit, "character")),
            ValidationErrorKind::MinItems { limit } => format!("must have at least {}", plural(*limit, "item")),
            ValidationErrorKind::MaxItems { limit } => format!("must have at most {}", plural(*limit, "item")),
            ValidationErrorKind::MinProperties { limit: 1 } => "must have at least 1 entry".to_owned(),
            ValidationErrorKind::MinProperties { limit } => format!("must have at least {limit} entries"),
            ValidationErrorKind::MaxProperties { limit: 1 } => "must have at most 1 entry".to_owned(),
            ValidationErrorKind::MaxProperties { limit } => format!("must have at most {limit} entries"),
            ValidationErrorKind::AdditionalItems { limit } => {
                format!("must have at most {}", plural(*limit as u64, "item"))
            }
            ValidationErrorKind::UniqueItems => "must not name anything twice".to_owned(),
            ValidationErrorKind::Pattern { pattern } => match expected(self.root, schema).as_str() {
                "a text" | "something else" => format!("must match the pattern `{pattern}`"),
                words => format!("must be {words}"),
            },
            ValidationErrorKind::Format { format } => format!("must be written as {format}"),
            ValidationErrorKind::PropertyNames { error } => {
                let key = error.instance().as_str().map(shortened).unwrap_or_default();
                let schema = &schema["propertyNames"];
                let words = match expected(self.root, schema).as_str() {
                    "something else" => format!("`{}`", schema["pattern"].as_str().unwrap_or_default()),
                    words => words.to_owned(),
                };
                format!("may not have the key `{key}`: its keys must be {words}")
            }
            ValidationErrorKind::FalseSchema => "must be left out".to_owned(),
            ValidationErrorKind::OneOfMultipleValid { .. } => {
                "can be read in more than one way; leave out what belongs to the other".to_owned()
            }
            other => format!("does not keep the rule `{}` of its schema", other.keyword()),
        }
    }

    fn take_alternatives(
        &mut self,
        error: &ValidationError<'_>,
        schema: &'c Value,
        keyword: &str,
        context: &[Vec<ValidationError<'static>>],
    ) {
        let at = error.instance_path().as_str();
        let instance = error.instance().as_ref();
        let branches = schema[keyword].as_array().map_or(&[][..], Vec::as_slice);
        let fitting: Vec<(&Value, &Vec<ValidationError<'static>>)> = branches
            .iter()
            .zip(context)
            .filter(|(branch, _)| Sorts::taken_by(self.root, branch).meets(Sorts::of(instance)))
            .collect();
        let meant = match instance.as_object() {
            Some(entries) => {
                let tagged: Vec<_> = fitting.iter().filter(|(branch, _)| self.is_tagged(branch, entries)).collect();
                match tagged.as_slice() {
                    [] if fitting.len() == 1 => fitting.first(),
                    [] => None,
                    _ => tagged.into_iter().min_by_key(|(_, errors)| errors.len()),
                }
            }
            None if fitting.len() == 1 => fitting.first(),
            None => None,
        };
        if let Some((branch, errors)) = meant
            && literals(follow(self.root, branch)).is_none()
        {
            errors.iter().for_each(|error| self.take(error));
            return;
        }
        if let Some((key, words, help)) = self.wrong_tag(&fitting, instance) {
            let at = pointer::join(at, &key);
            self.faults.push(Fault::Value { at, is_type: false, must: format!("must be {words}"), help });
            return;
        }
        let must = format!("must be {}", expected(self.root, schema));
        self.fault(at.to_owned(), fitting.is_empty(), must, schema, instance);
    }

    /// Whether a map's keys say that it is meant to be `branch`.
    fn is_tagged(&self, branch: &Value, entries: &serde_json::Map<String, Value>) -> bool {
        let branch = follow(self.root, branch);
        let Some(properties) = branch["properties"].as_object() else { return branch.get("required").is_none() };
        let has_wrong_tag = properties.iter().any(|(key, property)| {
            property.get("const").is_some_and(|tag| entries.get(key).is_some_and(|given| given != tag))
        });
        !has_wrong_tag && properties.keys().any(|key| entries.contains_key(key))
    }

    /// The key that tells alternatives apart, what it may be, and a way out, if `instance` has it wrong.
    fn wrong_tag(
        &self,
        fitting: &[(&Value, &Vec<ValidationError<'static>>)],
        instance: &Value,
    ) -> Option<(String, String, Vec<String>)> {
        let entries = instance.as_object()?;
        let branches: Vec<&Value> = fitting.iter().map(|(branch, _)| follow(self.root, branch)).collect();
        let tags_of = |key: &String| -> Option<Vec<&Value>> {
            branches.iter().map(|branch| branch["properties"][key].get("const")).collect()
        };
        let (key, tags) = entries.keys().find_map(|key| Some((key.clone(), tags_of(key)?)))?;
        if tags.is_empty() || tags.contains(&&entries[&key]) {
            return None;
        }
        let words: Vec<String> = tags.iter().map(|tag| literal(tag)).collect();
        let help = entries[&key]
            .as_str()
            .and_then(|given| nearest(given, tags.iter().filter_map(|tag| tag.as_str())))
            .map(|near| format!("did you mean `{near}`?"));
        Some((key, any_of(&words), help.into_iter().collect()))
    }

    fn fault(&mut self, at: String, is_type: bool, must: String, schema: &Value, instance: &Value) {
        let mut help = Vec::new();
        help.extend(self.way_out(&at, schema, instance));
        help.extend(self.about(&at));
        self.faults.push(Fault::Value { at, is_type, must, help });
    }

    /// A way out for slips that are made often.
    fn way_out(&self, at: &str, schema: &Value, instance: &Value) -> Option<String> {
        let takes = Sorts::taken_by(self.root, schema);
        let alternatives = alternatives(self.root, schema);
        let names = || alternatives.iter().filter_map(|schema| literals(schema)).flatten().filter_map(Value::as_str);
        match instance {
            Value::String(text) => {
                if let Some(near) = nearest(text, names()) {
                    return Some(format!("did you mean `{near}`?"));
                }
                let is_yes = matches!(text.to_lowercase().as_str(), "yes" | "on" | "y");
                let is_no = matches!(text.to_lowercase().as_str(), "no" | "off" | "n");
                if takes.takes_bools() && (is_yes || is_no) {
                    return Some(format!("in YAML 1.2 `{text}` is a text; write `{is_yes}`"));
                }
                let is_number = matches!(resolve_plain(text), Ok(crate::document::Scalar::Number(_)));
                if takes.takes_numbers() && !takes.takes_text() && is_number {
                    return Some(format!("write the number without quotes: `{text}`"));
                }
                (takes.takes_lists() && !takes.takes_text()).then(|| format!("write a list: `[{}]`", shortened(text)))
            }
            Value::Bool(_) | Value::Number(_) if takes.takes_text() && names().next().is_none() => {
                let written = match &self.document.tree().at(&format!("{}{at}", self.subject.base))?.content {
                    Content::Number(_, written) => written.clone(),
                    _ => instance.to_string(),
                };
                Some(format!("if it is meant as a text, quote it: `\"{written}\"`"))
            }
            Value::Bool(_) | Value::Number(_) if takes.takes_lists() => Some(format!("write a list: `[{instance}]`")),
            Value::Object(entries) => {
                let keys: Vec<&str> = alternatives
                    .iter()
                    .flat_map(|schema| schema["properties"].as_object().into_iter().flat_map(|map| map.keys()))
                    .map(String::as_str)
                    .collect();
                let near = entries.keys().find_map(|key| nearest(key, keys.iter().copied()))?;
                Some(format!("did you mean `{near}`?"))
            }
            _ => None,
        }
    }

    /// What the schema says the value at `at` means.
    fn about(&self, at: &str) -> Option<String> {
        let mut schema = self.root;
        let mut about = self.subject.option.and_then(|_| follow_described(self.root, schema));
        for step in pointer::steps(at) {
            schema = below(self.root, schema, &step)?;
            about = follow_described(self.root, schema).or(about);
        }
        about.map(|about| format!("`{}`: {about}", self.subject.name(at)))
    }

    fn report(self, problems: &mut Vec<Diagnostic>) {
        let mut told_keys: HashSet<(&str, &str)> = HashSet::new();
        let mut misspelt: HashSet<(&str, &str)> = HashSet::new();
        for fault in &self.faults {
            if let Fault::Unknown { map, key, properties } = fault
                && told_keys.insert((map, key))
            {
                let near = nearest(key, properties.iter().map(String::as_str));
                misspelt.extend(near.map(|near| (map.as_str(), near)));
                problems.push(self.unknown(map, key, properties, near));
            }
        }
        // Of one value one thing is told: that it is of the wrong sort, or else what the schema says first.
        let mut told_values: HashSet<&str> = HashSet::new();
        let mut in_order: Vec<&Fault> = self.faults.iter().collect();
        in_order.sort_by_key(|fault| !matches!(fault, Fault::Value { is_type: true, .. }));
        for fault in in_order {
            match fault {
                // A required key that was only misspelt was reported as the unknown key it became.
                Fault::Missing { map, key, help } if !misspelt.contains(&(map.as_str(), key.as_str())) => {
                    if told_keys.insert((map, key)) {
                        problems.push(self.missing(map, key, help.clone()));
                    }
                }
                Fault::Value { at, is_type, must, help } if told_values.insert(at) => {
                    problems.push(self.wrong_value(at, *is_type, must, help));
                }
                _ => {}
            }
        }
    }

    fn unknown(&self, map: &str, key: &str, properties: &[String], near: Option<&str>) -> Diagnostic {
        let code = self.subject.code(&option::UNKNOWN, self.subject.file.unknown);
        let thing = if self.subject.kind.is_some() && self.subject.option.is_none() && map.is_empty() {
            "option"
        } else {
            "key"
        };
        let whole = format!("{}{map}", self.subject.base);
        let at = pointer::join(&whole, key);
        let elsewhere = (self.subject.elsewhere)(map, key);
        let key = shortened(key);
        let message = match (self.subject.kind, self.subject.owner(map)) {
            (Some(kind), None) => format!("`{kind}` has no option `{key}`"),
            (None, None) => format!("{} has no key `{key}`", self.subject.file.whole),
            (_, Some(owner)) => format!("{owner} has no key `{key}`"),
        };
        let diagnostic = self.document.point_key(Diagnostic::error(code, message), &at, format!("unknown {thing}"));
        diagnostic.help(match (elsewhere, near) {
            (Some(elsewhere), _) => elsewhere,
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) if properties.is_empty() => "it takes none".to_owned(),
            (None, None) => format!("its {thing}s are {}", listed(properties)),
        })
    }

    fn missing(&self, map: &str, key: &str, help: Option<String>) -> Diagnostic {
        let code = self.subject.code(&option::MISSING, self.subject.file.missing);
        let message = match (self.subject.kind, self.subject.owner(map)) {
            (Some(kind), None) => format!("`{kind}` needs the option `{key}`"),
            (None, None) => format!("{} needs the key `{key}`", self.subject.file.whole),
            (_, Some(owner)) => format!("{owner} needs the key `{key}`"),
        };
        let whole = format!("{}{map}", self.subject.base);
        let diagnostic = Diagnostic::error(code, message);
        let label = format!("`{key}` is missing");
        let diagnostic = if whole.is_empty() {
            // The whole file is a poor place to point at; its first line is where the key would stand.
            let source = self.document.source();
            let first = self.document.tree().as_map().and_then(|entries| entries.first());
            let span = first.map_or_else(|| Span::new(source, 0..0), |(_, entry)| entry.key.span.clone());
            diagnostic.label(span, label)
        } else if self.document.tree().at(&whole).is_some() {
            self.document.point_key(diagnostic, &whole, label)
        } else {
            self.document.point(diagnostic, self.subject.absent, label)
        };
        diagnostic.maybe_help(help)
    }

    fn wrong_value(&self, at: &str, is_type: bool, must: &str, help: &[String]) -> Diagnostic {
        let code = if is_type {
            self.subject.code(&option::TYPE, self.subject.file.wrong_type)
        } else {
            self.subject.code(&option::VALUE, self.subject.file.wrong_value)
        };
        let given = self.value.pointer(at).map_or_else(|| "nothing".to_owned(), found);
        let message = format!("`{}` {must}, found {given}", self.subject.name(at));
        let whole = format!("{}{at}", self.subject.base);
        let diagnostic = self.document.point(Diagnostic::error(code, message), &whole, must);
        help.iter().fold(diagnostic, |diagnostic, help| diagnostic.help(help))
    }
}

/// Whose key it is that stands in the map at `map`; nothing for the outermost map.
fn owner(map: &str, base: &str) -> Option<String> {
    if map.is_empty() {
        return None;
    }
    let steps: Vec<_> = pointer::steps(map).collect();
    match steps.as_slice() {
        [nodes, id] if base.is_empty() && nodes == "nodes" => Some(format!("the node `{id}`")),
        _ => Some(format!("`{}`", name(map, base))),
    }
}

/// The value at `at` as people name it: `fusion.architecture`, `columns[0]`.
pub(super) fn name(at: &str, base: &str) -> String {
    let mut steps: Vec<_> = pointer::steps(at).collect();
    // Inside a node the id is said by the place.
    if base.is_empty() && steps.len() > 2 && steps[0] == "nodes" {
        steps.drain(..2);
    }
    let mut name = String::new();
    for step in steps {
        if step.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() {
            name.push_str(&format!("[{step}]"));
        } else {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&step);
        }
    }
    match name.is_empty() {
        false => name,
        true if base.is_empty() => "the pipeline".to_owned(),
        true => "with".to_owned(),
    }
}

fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(LISTED) {
        0 => quoted.join(", "),
        more => format!("{} and {more} more", quoted.join(", ")),
    }
}

/// The schema of the part `step` of what `schema` describes.
fn below<'s>(root: &'s Value, schema: &'s Value, step: &str) -> Option<&'s Value> {
    alternatives(root, schema).into_iter().find_map(|schema| {
        schema["properties"]
            .get(step)
            .or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()))
            .or_else(|| schema.get("items"))
    })
}

/// The description of `schema`, or of what it refers to.
fn follow_described(root: &Value, schema: &Value) -> Option<String> {
    description(schema).or_else(|| description(follow(root, schema)))
}

#[cfg(test)]
mod tests;
