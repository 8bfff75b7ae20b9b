//! A document without `${}`: parameters and environment put in their places.
//!
//! Promises: all problems are found in one pass, each at its place; what could not be resolved is marked, so
//! that no later step reports it again; a secret stays the text `${env.NAME}`, alone in its value; the work
//! is bounded whatever parameters say. Reads no environment itself: it asks for what the pipeline declares.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use engine_core::{Diagnostic, SourceText, Span};
use indexmap::IndexMap;
use serde_json::Value;

use crate::codes::param;
use crate::document::{Base, Content, Document, Entry, MAX_DEPTH, Place, State, Tree, limit};
use crate::folders::Folders;
use crate::parameters::{Parameters, plain};
use crate::pointer;
use crate::suggest::Suggestions;
use crate::template::{self, Piece};
use crate::validate::absolute;

/// Values that parameters may put into a document.
const MAX_PUT_VALUES: usize = 200_000;
/// Bytes of text that parameters may put into a document.
const MAX_PUT_BYTES: usize = 16 << 20;
/// Parameters that may stand between a parameter and what it is made of.
const MAX_CHAIN: usize = 64;

/// What the caller knows of its environment: the value of a variable, if it is set.
pub type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// An environment variable a pipeline declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EnvironmentVariable {
    /// Whether its value must never be shown or stored.
    pub secret: bool,
}

/// A document without `${}`; only [`resolve`] makes one.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub(crate) document: Document,
    pub(crate) params: IndexMap<String, Value>,
    pub(crate) env: IndexMap<String, EnvironmentVariable>,
}

impl Resolved {
    /// The document, every `${}` replaced but those of secrets.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The folders under `plugins:`, as far as they are texts that could be resolved.
    pub fn plugins(&self, folders: &Folders) -> Vec<PluginReference> {
        let Some(Content::List(items)) = self.document.tree().child("plugins").map(|plugins| &plugins.content) else {
            return Vec::new();
        };
        let known = items.iter().enumerate().filter(|(_, item)| item.state == State::Known);
        known
            .filter_map(|(index, item)| {
                let folder = absolute(item.as_text().filter(|text| !text.is_empty())?, item, folders);
                Some(PluginReference { folder, pointer: pointer::join_index("/plugins", index) })
            })
            .collect()
    }
}

/// An entry of `plugins:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginReference {
    /// The folder, as an absolute path.
    pub folder: String,
    /// Where it stands.
    pub pointer: String,
}

/// Puts parameters and environment variables in their places.
///
/// `${name}` alone in a value keeps the parameter's type; inside a text it becomes a part of it. The problems
/// are complete: where the result could not be resolved, a problem says so.
pub fn resolve(
    document: Document,
    parameters: &Parameters,
    environment: &Environment<'_>,
) -> (Resolved, Vec<Diagnostic>) {
    let (source, mut root) = document.into_parts();
    let mut resolver = Resolver {
        declared: IndexMap::new(),
        parameters: HashMap::new(),
        variables: IndexMap::new(),
        environment,
        suggestions: Suggestions::new(),
        used: HashSet::new(),
        put_values: 0,
        put_bytes: 0,
        exhausted: false,
        problems: Vec::new(),
    };
    resolver.declare_environment(root.child("env"));
    resolver.declare_parameters(root.child("params"), parameters);
    let values = resolver.parameters();
    root = match root.content {
        Content::Map(entries) => {
            let entries = entries
                .into_iter()
                .map(|(key, Entry { key: place, value })| {
                    let value = match key.as_str() {
                        "params" => with_values(value, &values),
                        "env" => value,
                        _ => resolver.tree(value, 1, &mut Vec::new()),
                    };
                    (resolver.key(key, &place), Entry { key: place, value })
                })
                .collect();
            Tree { content: Content::Map(entries), ..root }
        }
        content => resolver.tree(Tree { content, ..root }, 0, &mut Vec::new()),
    };
    resolver.report_unused();
    let env = resolver
        .variables
        .iter()
        .map(|(name, variable)| (name.clone(), EnvironmentVariable { secret: variable.secret }))
        .collect();
    let params = values.iter().map(|(name, value)| (name.clone(), value.to_value())).collect();
    let problems = resolver.problems;
    (Resolved { document: Document::from_tree(source, root), params, env }, problems)
}

/// The `params:` map with the values the parameters have in this reading.
fn with_values(declared: Tree, values: &IndexMap<String, Rc<Tree>>) -> Tree {
    let Content::Map(mut entries) = declared.content else { return declared };
    for (name, entry) in &mut entries {
        let Some(value) = values.get(name) else { continue };
        let place = &entry.value.place;
        let is_from_elsewhere = !Arc::ptr_eq(&value.place.span.source, &place.span.source);
        entry.value = if is_from_elsewhere { value.used_at(&place.span) } else { value.as_ref().clone() };
    }
    Tree { content: Content::Map(entries), ..declared }
}

/// A declared variable: how to treat it, and its value if it is no secret.
struct Variable {
    secret: bool,
    /// Whether the declaration could be read; if not, the file's schema says what is wrong with it.
    is_sound: bool,
    declared_at: Span,
    value: Option<Rc<Tree>>,
}

/// A declared parameter: where it is declared, and the value it is given, not yet resolved.
struct Declared {
    declared_at: Span,
    value: Tree,
}

struct Resolver<'d> {
    declared: IndexMap<String, Declared>,
    /// The parameters that were resolved.
    parameters: HashMap<String, Rc<Tree>>,
    variables: IndexMap<String, Variable>,
    environment: &'d Environment<'d>,
    suggestions: Suggestions,
    /// `name` or `env.NAME` for everything that was referred to.
    used: HashSet<String>,
    put_values: usize,
    put_bytes: usize,
    exhausted: bool,
    problems: Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn declare_environment(&mut self, env: Option<&Tree>) {
        for (name, entry) in env.and_then(Tree::as_map).into_iter().flatten() {
            if !template::is_environment_name(name) {
                self.problems.push(
                    Diagnostic::error(&param::NAME, format!("`{name}` cannot be an environment variable"))
                        .label(entry.key.span.clone(), "letters, digits and underscores, no digit first"),
                );
            }
            let secret = matches!(entry.value.child("secret"), Some(Tree { content: Content::Bool(true), .. }));
            let default = entry.value.child("default");
            if let (true, Some(default)) = (secret, default) {
                self.problems.push(
                    Diagnostic::error(
                        &param::ENV_SECRET,
                        format!("the secret `{name}` has a default, which would stand in the file"),
                    )
                    .label(default.place.span.clone(), "not a place for a secret")
                    .help(format!("remove it and set `{name}` where the program is started")),
                );
            }
            if let Some(default) = default.filter(|default| default.as_text().is_some_and(|text| text.contains("${"))) {
                self.problems.push(
                    Diagnostic::error(&param::SYNTAX, format!("the default of `{name}` holds `${{`"))
                        .label(default.place.span.clone(), "nothing is put in here")
                        .help("let a parameter use the variable, not the other way round"),
                );
            }
            let value = if secret { None } else { self.variable_value(name, default).map(Rc::new) };
            let is_sound = entry.value.as_map().is_some_and(|declaration| {
                declaration.keys().all(|key| matches!(key.as_str(), "secret" | "default" | "description"))
            });
            let declared_at = entry.key.span.clone();
            self.variables.insert(name.clone(), Variable { secret, is_sound, declared_at, value });
        }
    }

    fn variable_value(&mut self, name: &str, default: Option<&Tree>) -> Option<Tree> {
        let Some(written) = (self.environment)(name) else { return default.cloned() };
        let source = format!("environment variable {name}");
        // A default that is a text says that the variable is one, whatever it looks like.
        if default.is_some_and(|default| default.as_text().is_some()) {
            let source = SourceText { name: source, text: written.clone() }.into();
            let span = Span::new(&source, 0..written.len());
            return Some(Tree { base: Base::WorkingDirectory, ..Tree::new(Content::Text(written), span) });
        }
        match plain(&source, &written) {
            Ok(tree) => Some(Tree { base: Base::WorkingDirectory, ..tree }),
            Err(problem) => {
                self.problems.push(problem);
                default.cloned()
            }
        }
    }

    /// Takes the declared parameters and their settings.
    fn declare_parameters(&mut self, params: Option<&Tree>, parameters: &Parameters) {
        for (name, entry) in params.and_then(Tree::as_map).into_iter().flatten() {
            if !template::is_name(name) || name == "env" {
                let suggestion: String = name
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
                    .collect();
                self.problems.push(
                    Diagnostic::error(&param::NAME, format!("`{name}` cannot be a parameter's name"))
                        .label(entry.key.span.clone(), "lower-case letters, digits and underscores, a letter first")
                        .maybe_help(
                            (suggestion != *name && template::is_name(&suggestion))
                                .then(|| format!("call it `{suggestion}`")),
                        ),
                );
            }
            let value = parameters.setting(name).map_or(&entry.value, |setting| &setting.value).clone();
            self.declared.insert(name.clone(), Declared { declared_at: entry.key.span.clone(), value });
        }
        for (name, setting) in parameters.settings() {
            if self.declared.contains_key(name) {
                continue;
            }
            self.problems.push(
                setting
                    .name
                    .point(
                        Diagnostic::error(&param::SETTING, format!("the pipeline declares no parameter `{name}`")),
                        "set here",
                    )
                    .help(self.parameter_help(name)),
            );
        }
    }

    /// The value of every declared parameter.
    fn parameters(&mut self) -> IndexMap<String, Rc<Tree>> {
        let names: Vec<String> = self.declared.keys().cloned().collect();
        names
            .into_iter()
            .map(|name| {
                let value = self.parameter(&name, &mut Vec::new());
                (name, value)
            })
            .collect()
    }

    fn parameter_help(&self, name: &str) -> String {
        if let Some(near) = self.suggestions.nearest(name, self.declared.keys().map(String::as_str)) {
            return format!("did you mean `{near}`?");
        }
        let names: Vec<&str> = self.declared.keys().map(String::as_str).take(12).collect();
        match names.as_slice() {
            [] => format!("declare it: `params: {{{name}: ...}}`"),
            names => format!("declare it under `params:`, where {} stand", list(names)),
        }
    }

    /// The value of a declared parameter; `chain` holds the parameters that wait for it.
    fn parameter(&mut self, name: &str, chain: &mut Vec<String>) -> Rc<Tree> {
        if let Some(value) = self.parameters.get(name) {
            return value.clone();
        }
        let declared = self.declared.get(name).expect("only declared parameters are asked for").value.clone();
        if let Some(problem) = self.chain_problem(name, &declared, chain) {
            self.problems.push(problem);
            return Rc::new(Tree { state: State::Hole, ..declared });
        }
        chain.push(name.to_owned());
        let value = Rc::new(self.tree(declared, 1, chain));
        chain.pop();
        self.parameters.insert(name.to_owned(), value.clone());
        value
    }

    fn chain_problem(&mut self, name: &str, declared: &Tree, chain: &[String]) -> Option<Diagnostic> {
        let span = declared.place.span.clone();
        if let Some(first) = chain.iter().position(|waiting| waiting == name) {
            let circle: Vec<&str> = chain[first..].iter().map(String::as_str).chain([name]).collect();
            let circle = circle.join("` -> `");
            return Some(
                Diagnostic::error(&param::CYCLE, format!("parameters refer to each other in a circle: `{circle}`"))
                    .label(span, "part of the circle")
                    .help("give one of them a value that needs none of the others"),
            );
        }
        (chain.len() >= MAX_CHAIN).then(|| {
            self.exhausted = true;
            limit(format!("parameters refer to each other more than {MAX_CHAIN} deep")).label(span, "one too many")
        })
    }

    /// `tree` resolved; `depth` maps and lists stand around it.
    fn tree(&mut self, tree: Tree, depth: usize, chain: &mut Vec<String>) -> Tree {
        let content = match tree.content {
            Content::Text(ref text) if text.contains("${") => return self.text(&tree, text, depth, chain),
            Content::List(items) => {
                Content::List(items.into_iter().map(|item| self.tree(item, depth + 1, chain)).collect())
            }
            Content::Map(entries) => Content::Map(
                entries
                    .into_iter()
                    .map(|(key, Entry { key: place, value })| {
                        let value = self.tree(value, depth + 1, chain);
                        (self.key(key, &place), Entry { key: place, value })
                    })
                    .collect(),
            ),
            scalar => scalar,
        };
        Tree { content, ..tree }
    }

    fn key(&mut self, key: String, place: &Place) -> String {
        if !key.contains("${") {
            return key;
        }
        match template::parse(&key) {
            Ok(pieces) if pieces.iter().all(|piece| matches!(piece, Piece::Literal(_))) => {
                pieces.iter().map(|piece| if let Piece::Literal(text) = piece { text } else { "" }).collect()
            }
            _ => {
                self.problems.push(
                    Diagnostic::error(&param::IN_KEY, format!("the key `{key}` holds a parameter"))
                        .label(place.span.clone(), "parameters give values, not keys")
                        .help("give the whole map as a parameter; write `$${` for the characters `${`"),
                );
                key
            }
        }
    }

    fn text(&mut self, tree: &Tree, text: &str, depth: usize, chain: &mut Vec<String>) -> Tree {
        let hole = || Tree { state: State::Hole, ..tree.clone() };
        let pieces = match template::parse(text) {
            Ok(pieces) => pieces,
            Err(template::TemplateError(written)) => {
                self.problems.push(
                    Diagnostic::error(&param::SYNTAX, format!("`{written}` is no `${{name}}`"))
                        .label(within(tree, written), "expected a name and `}`")
                        .help("write `$${` for the characters `${`"),
                );
                return hole();
            }
        };
        if let [piece] = pieces.as_slice() {
            return match self.piece(piece, tree, chain) {
                Some(value) => self.put(&value, tree, depth).unwrap_or_else(hole),
                None => hole(),
            };
        }
        let mut whole = String::new();
        let mut base = None;
        let mut is_known = true;
        for piece in &pieces {
            if let Piece::Literal(literal) = piece {
                whole.push_str(literal);
                base.get_or_insert(tree.base);
                continue;
            }
            let part = self.piece(piece, tree, chain).and_then(|value| self.part(piece, &value, tree));
            match part {
                Some((part, part_base)) if self.charge(1, part.len(), &tree.place.span) => {
                    whole.push_str(&part);
                    base.get_or_insert(part_base);
                }
                _ => is_known = false,
            }
        }
        if !is_known {
            return hole();
        }
        Tree { content: Content::Text(whole), base: base.unwrap_or(tree.base), ..tree.without_content() }
    }

    /// What a piece that is no literal stands for; nothing if that is unknown, which has been reported.
    fn piece(&mut self, piece: &Piece<'_>, tree: &Tree, chain: &mut Vec<String>) -> Option<Rc<Tree>> {
        if self.exhausted {
            return None;
        }
        match piece {
            Piece::Literal(text) => {
                Some(Rc::new(Tree { content: Content::Text((*text).to_owned()), ..tree.without_content() }))
            }
            Piece::Parameter(name) => {
                if !self.declared.contains_key(*name) {
                    self.problems.push(
                        Diagnostic::error(&param::UNKNOWN, format!("no parameter `{name}` is declared"))
                            .label(within(tree, &format!("${{{name}}}")), "not declared")
                            .help(self.parameter_help(name)),
                    );
                    return None;
                }
                self.used.insert((*name).to_owned());
                let value = self.parameter(name, chain);
                (value.state != State::Hole).then_some(value)
            }
            Piece::Environment(name) => self.variable(name, tree),
        }
    }

    fn variable(&mut self, name: &str, tree: &Tree) -> Option<Rc<Tree>> {
        let written = format!("${{env.{name}}}");
        let first_use = self.used.insert(format!("env.{name}"));
        let Some(variable) = self.variables.get(name) else {
            let near = self.suggestions.nearest(name, self.variables.keys().map(String::as_str));
            let help = match near {
                Some(near) => format!("did you mean `${{env.{near}}}`?"),
                None => format!("declare it: `env: {{{name}: {{}}}}`, with `secret: true` if it must not be shown"),
            };
            self.problems.push(
                Diagnostic::error(&param::ENV_UNDECLARED, format!("the environment variable `{name}` is not declared"))
                    .label(within(tree, &written), "not declared")
                    .help(help),
            );
            return None;
        };
        if variable.secret {
            return Some(Rc::new(Tree {
                content: Content::Text(written),
                state: State::Secret(name.to_owned()),
                ..tree.without_content()
            }));
        }
        if variable.value.is_none() && variable.is_sound && first_use {
            self.problems.push(
                Diagnostic::error(&param::ENV_MISSING, format!("the environment variable `{name}` is not set"))
                    .label(within(tree, &written), "needed here")
                    .label(variable.declared_at.clone(), "declared without a default")
                    .help(format!("set it where the program is started, or give `{name}` a `default:`")),
            );
        }
        self.variables.get(name).and_then(|variable| variable.value.clone())
    }

    /// `value` as the whole of the value that stands at `tree`.
    fn put(&mut self, value: &Tree, tree: &Tree, depth: usize) -> Option<Tree> {
        let extent = value.extent();
        if !self.charge(extent.values, extent.bytes, &tree.place.span) {
            return None;
        }
        if depth + extent.depth > MAX_DEPTH {
            let problem = limit(format!("parameters nest maps and lists more than {MAX_DEPTH} deep"));
            self.problems.push(problem.label(tree.place.span.clone(), "one level too many"));
            return None;
        }
        let is_made_here = value.place == tree.place;
        Some(if is_made_here { value.clone() } else { value.used_at(&tree.place.span) })
    }

    /// `value` as a part of a text, and from where a path that begins with it resolves.
    fn part(&mut self, piece: &Piece<'_>, value: &Tree, tree: &Tree) -> Option<(String, Base)> {
        let written = match piece {
            Piece::Literal(text) => (*text).to_owned(),
            Piece::Parameter(name) => format!("${{{name}}}"),
            Piece::Environment(name) => format!("${{env.{name}}}"),
        };
        if let State::Secret(name) = &value.state {
            self.problems.push(
                Diagnostic::error(&param::ENV_SECRET, format!("the secret `{name}` stands inside a longer text"))
                    .label(within(tree, &written), "a secret must be the whole value")
                    .help("let the whole text be the secret"),
            );
            return None;
        }
        let text = match &value.content {
            Content::Text(text) => text.clone(),
            Content::Number(_, written) => written.clone(),
            Content::Bool(value) => value.to_string(),
            Content::Null | Content::List(_) | Content::Map(_) => {
                let sort = value.sort();
                let problem =
                    Diagnostic::error(&param::IN_TEXT, format!("`{written}` is {sort} and cannot stand inside a text"))
                        .label(within(tree, &written), sort)
                        .label(value.place.written().clone(), "its value");
                self.problems.push(problem.help(format!("write `{written}` as the whole value, or give it a text")));
                return None;
            }
        };
        Some((text, value.base))
    }

    /// Counts what is put into the document; false once that is too much.
    fn charge(&mut self, values: usize, bytes: usize, span: &Span) -> bool {
        self.put_values = self.put_values.saturating_add(values);
        self.put_bytes = self.put_bytes.saturating_add(bytes);
        if self.put_values <= MAX_PUT_VALUES && self.put_bytes <= MAX_PUT_BYTES {
            return true;
        }
        if !self.exhausted {
            self.exhausted = true;
            self.problems.push(
                limit(format!(
                    "parameters would put more than the {MAX_PUT_VALUES} values or {MAX_PUT_BYTES} bytes allowed"
                ))
                .label(span.clone(), "this one is one too many")
                .help("keep data in files of its own and name them in the pipeline"),
            );
        }
        false
    }

    fn report_unused(&mut self) {
        // What was given up half way says nothing about use.
        if self.exhausted {
            return;
        }
        for (name, parameter) in &self.declared {
            // A name that cannot be used has its error already.
            if self.used.contains(name) || !template::is_name(name) {
                continue;
            }
            self.problems.push(
                Diagnostic::warning(&param::UNUSED, format!("the parameter `{name}` is not used"))
                    .label(parameter.declared_at.clone(), "declared here")
                    .help(format!("use it as `${{{name}}}` or remove it")),
            );
        }
        for (name, variable) in &self.variables {
            if self.used.contains(&format!("env.{name}")) {
                continue;
            }
            self.problems.push(
                Diagnostic::warning(&param::ENV_UNUSED, format!("the environment variable `{name}` is not used"))
                    .label(variable.declared_at.clone(), "declared here")
                    .help(format!("use it as `${{env.{name}}}` or remove it")),
            );
        }
    }
}

/// The place of `written` inside the text of `tree`, or of the whole value where escapes hide it.
fn within(tree: &Tree, written: &str) -> Span {
    let whole = tree.place.written();
    match whole.text().find(written) {
        Some(at) => {
            let start = whole.range.start + at;
            Span::new(&whole.source, start..start + written.len())
        }
        None => whole.clone(),
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
