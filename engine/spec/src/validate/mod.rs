//! A resolved document against the file's schema and the vocabulary: the last step to a [`PipelineSpec`].
//!
//! Promises: every problem of the file is reported, each once; nothing is said of what an earlier step
//! already reported. Knows nothing of data, types or the graph's shape.

pub(crate) mod faults;
mod inputs;
#[cfg(test)]
mod tests;
mod value;
mod walk;
mod words;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use engine_core::{Diagnostic, Seed, SourceText};
use indexmap::IndexMap;
use jsonschema::Validator;
use serde_json::{Map, Number, Value};

use self::faults::Subject;
use self::inputs::{Neighbours, Reader};
pub use self::value::option_schema;
use crate::codes::{node, option, param, spec};
use crate::document::{Base, Content, State, Tree};
use crate::file;
use crate::folders::{self, Folders};
use crate::pointer;
use crate::quantity::{DURATION_PATTERN, MEMORY_PATTERN, parse_duration, parse_memory};
use crate::resolve::Resolved;
use crate::suggest::Suggestions;
use crate::template::is_name;
use crate::{Caching, Document, KindDescription, NodeSpec, PipelineSpec, Resources, SecretReference, Vocabulary};

/// Checks `resolved` against the file's schema and the kinds of `vocabulary`.
///
/// # Errors
/// Every problem of the document, in the order of the text. What [`resolve`](crate::resolve()) reported is
/// not reported again, so a document with such a problem may pass; [`read`](crate::read) keeps both.
pub fn validate(
    resolved: Resolved,
    vocabulary: &Vocabulary,
    folders: &Folders,
) -> Result<PipelineSpec, Vec<Diagnostic>> {
    let plugins = resolved.plugins(folders).into_iter().map(|reference| reference.folder).collect();
    let Resolved { document, params, env } = resolved;
    let mut problems = Vec::new();
    if let Some(problem) = no_map(&document) {
        return Err(vec![problem]);
    }
    check_frame(&document, vocabulary, &mut problems);
    check_secrets(document.tree(), "", &mut problems);
    let tree = document.tree();
    let nodes = check_nodes(&document, vocabulary, folders, &mut problems);
    let name = tree.child("name").and_then(Tree::as_text).unwrap_or_default().to_owned();
    let description = tree.child("description").and_then(Tree::as_text).map(str::to_owned);
    let seed = Seed::new(tree.child("seed").and_then(whole_number).unwrap_or(0));
    let store = tree.child("store").and_then(|tree| Some(absolute(tree.as_text()?, tree, folders)));
    if problems.is_empty() {
        return Ok(PipelineSpec { name, description, seed, params, env, plugins, nodes, store, document });
    }
    sort_by_place(&mut problems, document.source());
    Err(problems)
}

/// Puts problems in the order of the text; those in other texts come last.
pub(crate) fn sort_by_place(problems: &mut [Diagnostic], source: &Arc<SourceText>) {
    problems.sort_by_key(|problem| match problem.labels.first() {
        Some(label) if Arc::ptr_eq(&label.span.source, source) => (0, label.span.range.start),
        Some(label) => (1, label.span.range.start),
        None => (2, 0),
    });
}

fn no_map(document: &Document) -> Option<Diagnostic> {
    let tree = document.tree();
    if tree.as_map().is_some() {
        return None;
    }
    let message = match tree.content {
        Content::Null => "the file is empty".to_owned(),
        _ => format!("a pipeline must be a map, found {}", tree.sort()),
    };
    let diagnostic = document.point(Diagnostic::error(&spec::TYPE, message), "", "no pipeline");
    Some(diagnostic.help("begin with `fuseline: 1`, `name:` and `nodes:`"))
}

/// The schema of the file's frame, compiled once.
static FRAME: LazyLock<(Value, Validator)> = LazyLock::new(|| {
    let schema = file::frame_schema();
    let validator = jsonschema::draft202012::new(&schema).expect("the file's own schema is one: a test shows it");
    (schema, validator)
});

fn check_frame(document: &Document, vocabulary: &Vocabulary, problems: &mut Vec<Diagnostic>) {
    let (schema, validator) = &*FRAME;
    let elsewhere = |map: &str, key: &str| {
        let uses = document.value_at(&format!("{map}/uses"))?.as_str()?;
        let is_option = vocabulary.kind(uses)?.options["properties"].get(key).is_some();
        is_option.then(|| format!("`{key}` is an option of `{uses}`: write it under `with:`"))
    };
    let file = &faults::PIPELINE;
    let subject = Subject { kind: None, file, base: "", option: None, absent: "", elsewhere: &elsewhere };
    faults::check(document, &subject, schema, validator, document.value(), problems);
    let Some(version) = document.tree().child("fuseline").filter(|version| version.state == State::Known) else {
        return;
    };
    if whole_number(version) == Some(file::VERSION) {
        return;
    }
    let found = document.value_at("/fuseline").map_or_else(String::new, words::found);
    let message = format!("this program reads version {} of the format, found {found}", file::VERSION);
    let diagnostic = document.point(Diagnostic::error(&spec::VERSION, message), "/fuseline", "another version");
    problems.push(diagnostic.help(format!("write `fuseline: {}`", file::VERSION)));
}

/// Reports secrets that stand where nothing would open them: anywhere but in a node's options.
fn check_secrets(tree: &Tree, at: &str, problems: &mut Vec<Diagnostic>) {
    let Content::Map(entries) = &tree.content else {
        if let Content::List(items) = &tree.content {
            items.iter().for_each(|item| check_secrets(item, at, problems));
        }
        if let State::Secret(name) = &tree.state {
            let message = format!("the secret `{name}` stands where no node would open it");
            let problem = tree.place.point(Diagnostic::error(&param::ENV_SECRET, message), "not an option of a node");
            problems.push(problem.help("give it to a node under `with:`"));
        }
        return;
    };
    for (key, entry) in entries {
        let is_options = key == "with" && at.matches('/').count() == 2 && at.starts_with("/nodes/");
        let is_declaration = at.is_empty() && matches!(key.as_str(), "params" | "env");
        if !is_options && !is_declaration {
            check_secrets(&entry.value, &pointer::join(at, key), problems);
        }
    }
}

fn check_nodes(
    document: &Document,
    vocabulary: &Vocabulary,
    folders: &Folders,
    problems: &mut Vec<Diagnostic>,
) -> IndexMap<String, NodeSpec> {
    let Some(entries) = document.tree().child("nodes").and_then(Tree::as_map) else { return IndexMap::new() };
    let kinds = entries
        .iter()
        .map(|(id, entry)| {
            let uses = entry.value.child("uses").filter(|uses| uses.state == State::Known);
            (id.as_str(), uses.and_then(Tree::as_text))
        })
        .collect();
    let mut checker = NodeChecker {
        neighbours: Neighbours { document, vocabulary, kinds, suggestions: Suggestions::new() },
        folders,
        validators: HashMap::new(),
        problems,
    };
    let mut nodes = IndexMap::with_capacity(entries.len());
    for (id, entry) in entries {
        checker.check_id(id);
        if entry.value.as_map().is_some() {
            nodes.insert(id.clone(), checker.node(id, &entry.value));
        }
    }
    nodes
}

struct NodeChecker<'c> {
    neighbours: Neighbours<'c>,
    folders: &'c Folders,
    /// The compiled schema of each kind that was met; nothing if it is broken.
    validators: HashMap<&'c str, Option<Validator>>,
    problems: &'c mut Vec<Diagnostic>,
}

impl<'c> NodeChecker<'c> {
    fn document(&self) -> &'c Document {
        self.neighbours.document
    }

    fn check_id(&mut self, id: &str) {
        if is_name(id) {
            return;
        }
        let mut suggestion: String =
            id.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
        if suggestion.starts_with(|c: char| c.is_ascii_digit()) {
            suggestion.insert_str(0, "node_");
        }
        let help = match is_name(&suggestion) && !self.neighbours.kinds.contains_key(suggestion.as_str()) {
            true => format!("call it `{suggestion}`"),
            false => "use lower-case letters, digits and underscores, a letter first".to_owned(),
        };
        let problem = Diagnostic::error(&node::ID, format!("`{}` cannot be the id of a node", words::shortened(id)));
        let at = pointer::join("/nodes", id);
        let label = "lower-case letters, digits and underscores, a letter first";
        self.problems.push(self.document().point_key(problem, &at, label).help(help));
    }

    fn node(&mut self, id: &str, tree: &'c Tree) -> NodeSpec {
        let at = pointer::join("/nodes", id);
        let uses = self.neighbours.kinds.get(id).copied().flatten();
        let kind = uses.and_then(|uses| self.kind(uses, &at));
        let with = self.options(kind, tree.child("with"), &at);
        let reader = Reader { neighbours: &self.neighbours, node: &at, kind, problems: self.problems };
        let inputs = reader.read(tree.child("in"));
        let secrets = tree.child("with").map(|with| secrets(with, &pointer::join(&at, "with"))).unwrap_or_default();
        if let Some((uses, kind)) = kind
            && !kind.opens_secrets
        {
            for secret in &secrets {
                let message = format!("`{uses}` opens no secrets, so it cannot use `{}`", secret.name);
                let problem = Diagnostic::error(&param::ENV_SECRET, message);
                let problem = self.document().point(problem, &secret.pointer, "would stay closed");
                self.problems.push(problem.help("leave `secret: true` out if the value may be shown and stored"));
            }
        }
        NodeSpec {
            id: id.to_owned(),
            uses: uses.unwrap_or_default().to_owned(),
            with,
            inputs,
            description: tree.child("description").and_then(Tree::as_text).map(str::to_owned),
            caching: caching(tree.child("cache")),
            retries: tree.child("retries").and_then(small_number).unwrap_or(0),
            timeout: self.quantity(tree, &at, &["timeout"], parse_duration, |duration| !duration.is_zero()),
            resources: Resources {
                cpus: resource(tree, "cpus"),
                memory_bytes: self.quantity(tree, &at, &["resources", "memory"], parse_memory, |_| true),
                gpus: resource(tree, "gpus"),
            },
            secrets,
        }
    }

    fn kind(&mut self, uses: &'c str, at: &str) -> Option<(&'c str, &'c KindDescription)> {
        let vocabulary = self.neighbours.vocabulary;
        if let Some(kind) = vocabulary.kind(uses) {
            return Some((uses, kind));
        }
        if vocabulary.may_be_unread(uses) {
            return None;
        }
        let stage = uses.split('.').next().unwrap_or_default();
        let same_stage: Vec<String> = vocabulary
            .names()
            .filter(|name| name.split('.').next() == Some(stage))
            .take(12)
            .map(|name| format!("`{name}`"))
            .collect();
        // A right name without its stage, as in `impute`, is nearer than any of another name.
        let by_name = vocabulary.names().find(|name| name.split_once('.').is_some_and(|(_, name)| name == uses));
        let help = match self.neighbours.suggestions.nearest(uses, vocabulary.names()).or(by_name) {
            Some(near) => format!("did you mean `{near}`?"),
            None if !same_stage.is_empty() => format!("the kinds of the stage `{stage}` are {}", same_stage.join(", ")),
            None => "`fuseline kinds` lists every kind".to_owned(),
        };
        let problem = Diagnostic::error(&node::KIND_UNKNOWN, format!("there is no kind `{}`", words::shortened(uses)));
        self.problems.push(self.document().point(problem, &pointer::join(at, "uses"), "unknown kind").help(help));
        None
    }

    /// The options of a node: checked, whole numbers as such, paths absolute.
    fn options(
        &mut self,
        kind: Option<(&'c str, &'c KindDescription)>,
        with: Option<&Tree>,
        at: &str,
    ) -> Map<String, Value> {
        let base = pointer::join(at, "with");
        let options = match with.map(|with| (&with.content, with.state == State::Hole)) {
            None => Map::new(),
            Some((Content::Map(_), false)) => {
                self.document().value_at(&base).and_then(Value::as_object).cloned().unwrap_or_default()
            }
            // The frame's schema has reported what is no map.
            Some(_) => return Map::new(),
        };
        let Some((name, kind)) = kind else { return options };
        let broken = &mut *self.problems;
        let document = self.neighbours.document;
        let validator = self.validators.entry(name).or_insert_with(|| {
            jsonschema::draft202012::new(&kind.options)
                .map_err(|error| {
                    let problem =
                        Diagnostic::error(&node::KIND_SCHEMA, format!("the schema of `{name}` is broken: {error}"));
                    let problem = document.point(problem, &pointer::join(at, "uses"), "cannot be checked");
                    broken.push(problem.help("tell the author of the kind"));
                })
                .ok()
        });
        let Some(validator) = validator else { return options };
        let mut value = Value::Object(options);
        let uses = pointer::join(at, "uses");
        let elsewhere = |map: &str, key: &str| {
            let is_key = map.is_empty() && file::NODE_KEYS.contains(&key);
            is_key.then(|| format!("`{key}` belongs to the node: write it beside `with:`"))
        };
        let file = &faults::PIPELINE;
        let subject =
            Subject { kind: Some(name), file, base: &base, option: None, absent: &uses, elsewhere: &elsewhere };
        let first = self.problems.len();
        faults::check(document, &subject, &kind.options, validator, &value, self.problems);
        for (at, part) in self.finished_parts(&kind.options, &value, &base, first) {
            if let Some(place) = at.strip_prefix(&base).and_then(|below| value.pointer_mut(below)) {
                *place = part;
            }
        }
        match value {
            Value::Object(options) => options,
            _ => Map::new(),
        }
    }

    /// The parts of options that are not as written, with their pointers: paths absolute, whole numbers integers.
    /// Reports what a schema does not say: nodes that are none, numbers beyond the type that holds them, unless the
    /// problems from the `first` on, those of this node's options, tell of them already.
    fn finished_parts(&mut self, schema: &Value, options: &Value, base: &str, first: usize) -> Vec<(String, Value)> {
        let mut finished: Vec<(String, Value)> = Vec::new();
        let mut told = HashSet::new();
        let (neighbours, folders) = (&self.neighbours, self.folders);
        let problems = &mut *self.problems;
        let known = |at: &str| neighbours.document.tree().at(at).filter(|tree| tree.state == State::Known);
        walk::walk(schema, options, base, &mut |part, value, at| match (part["format"].as_str(), value) {
            (Some("path"), Value::String(text)) => {
                finished.extend(known(at).map(|tree| (at.to_owned(), absolute(text, tree, folders).into())));
            }
            (Some("node"), Value::String(text)) => {
                let is_node = neighbours.kinds.contains_key(text.as_str());
                if !is_node && known(at).is_some() && told.insert(at.to_owned()) {
                    inputs::unknown_node(neighbours, text, text, at, problems);
                }
            }
            (format, Value::Number(number)) => {
                if !words::Sorts::taken_by(schema, part).takes_whole_numbers_only() || known(at).is_none() {
                    return;
                }
                let whole = integer(number);
                let (low, high) = format.and_then(words::integer_range).unwrap_or((i64::MIN.into(), u64::MAX.into()));
                match whole {
                    Some(whole) if (low..=high).contains(&whole) => {
                        if number.is_f64() {
                            finished.push((at.to_owned(), integer_value(whole)));
                        }
                    }
                    _ if is_told(&problems[first..], neighbours.document, at) => {}
                    _ if words::Sorts::of(value).meets(words::Sorts::INTEGER) && told.insert(at.to_owned()) => {
                        let bound = if number.as_f64().is_some_and(|number| number < 0.0) { low } else { high };
                        let name = faults::name(&at[base.len()..], base);
                        let message = format!("`{name}` is a number beyond {bound}, found {number}");
                        let problem = Diagnostic::error(&option::VALUE, message);
                        problems.push(neighbours.document.point(problem, at, format!("beyond {bound}")));
                    }
                    _ => {}
                }
            }
            _ => {}
        });
        finished
    }

    /// A quantity with a unit; its form was checked by the schema, its size is checked here.
    fn quantity<Q>(
        &mut self,
        tree: &Tree,
        at: &str,
        path: &[&str],
        parse: impl Fn(&str) -> Option<Q>,
        is_allowed: impl Fn(&Q) -> bool,
    ) -> Option<Q> {
        let value = path.iter().try_fold(tree, |tree, key| tree.child(key))?;
        let text = value.as_text().filter(|_| value.state == State::Known)?;
        let parsed = parse(text).filter(is_allowed);
        if parsed.is_none() && matches_pattern(path, text) {
            let at = path.iter().fold(at.to_owned(), |at, key| pointer::join(&at, key));
            let name = path.join(".");
            let problem = Diagnostic::error(&spec::VALUE, format!("`{name}` is out of range, found `{text}`"));
            self.problems.push(self.document().point(problem, &at, "out of range").help("leave it out for no limit"));
        }
        parsed
    }
}

/// Whether a problem of the value at `at` was reported.
fn is_told(problems: &[Diagnostic], document: &Document, at: &str) -> bool {
    let span = document.span(at);
    problems.iter().any(|problem| problem.labels.first().is_some_and(|label| label.span == span))
}

/// Whether the schema's pattern let `text` through, so that nothing was said of it yet.
fn matches_pattern(path: &[&str], text: &str) -> bool {
    let pattern = match path {
        ["timeout"] => DURATION_PATTERN,
        _ => MEMORY_PATTERN,
    };
    regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

/// A path as seen from the folder it starts from.
pub(crate) fn absolute(text: &str, tree: &Tree, folders: &Folders) -> String {
    let folder = match tree.base {
        Base::PipelineFolder => folders.pipeline(),
        Base::WorkingDirectory => folders.working(),
    };
    folders::join(folder, text)
}

fn whole_number(tree: &Tree) -> Option<u64> {
    let Content::Number(number, _) = &tree.content else { return None };
    integer(number).and_then(|whole| u64::try_from(whole).ok())
}

/// The integer a number is, however it is written.
fn integer(number: &Number) -> Option<i128> {
    if let Some(whole) = number.as_i128() {
        return Some(whole);
    }
    let value = number.as_f64()?;
    // Above 2^53 a float no longer says which integer was meant.
    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i128)
}

fn integer_value(whole: i128) -> Value {
    match (u64::try_from(whole), i64::try_from(whole)) {
        (Ok(whole), _) => whole.into(),
        (_, Ok(whole)) => whole.into(),
        _ => Value::Null,
    }
}

fn small_number(tree: &Tree) -> Option<u32> {
    whole_number(tree).and_then(|number| u32::try_from(number).ok())
}

fn resource(node: &Tree, name: &str) -> Option<u32> {
    node.child("resources")?.child(name).and_then(small_number)
}

fn caching(written: Option<&Tree>) -> Caching {
    match written.map(|tree| &tree.content) {
        Some(Content::Bool(false)) => Caching::Off,
        Some(Content::Text(text)) if text == "off" => Caching::Off,
        _ => Caching::On,
    }
}

fn secrets(tree: &Tree, at: &str) -> Vec<SecretReference> {
    if let State::Secret(name) = &tree.state {
        return vec![SecretReference { name: name.clone(), pointer: at.to_owned() }];
    }
    match &tree.content {
        Content::List(items) => {
            items.iter().enumerate().flat_map(|(index, item)| secrets(item, &pointer::join_index(at, index))).collect()
        }
        Content::Map(entries) => {
            entries.iter().flat_map(|(key, entry)| secrets(&entry.value, &pointer::join(at, key))).collect()
        }
        _ => Vec::new(),
    }
}
