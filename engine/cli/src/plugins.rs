//! From the folders of plug-ins to their kinds: reads the files and the environment, which no other room may.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine_core::{Diagnostic, SourceText, Span};
use engine_spec::{Document, Extension, FileKind, Unread, check_file, check_schema, parse_duration};
use engine_table::{At, Problem, Registry};
use nodes_catalog::plugin::{
    Declaration, ESSENTIAL_VARIABLES, MANIFEST_FILE, Manifest, PLUGIN_FOLDER, PLUGIN_MANIFEST, PLUGIN_NAME, Place,
    digest, kind, manifest_schema,
};

use crate::Failure;
use crate::load::{environment, read_text, working_folder};

/// Where a folder is named: what is wrong with it as a whole is said there.
pub struct Named<'d> {
    document: &'d Document,
    pointer: String,
}

impl<'d> Named<'d> {
    /// In a pipeline.
    pub fn in_pipeline(document: &'d Document, pointer: &str) -> Named<'d> {
        Named { document, pointer: pointer.to_owned() }
    }
}

/// The kinds of plug-ins, added to those there are already.
pub struct Plugins {
    /// All kinds.
    pub registry: Registry,
    problems: Vec<Diagnostic>,
    unread: Unread,
    /// Where the name of each plug-in's kind stands.
    names: BTreeMap<String, Span>,
}

/// A plug-in that was read.
pub struct Plugin {
    /// What it declares.
    pub declaration: Declaration,
    /// Its file.
    pub document: Document,
}

impl Plugins {
    /// No plug-ins beside the kinds of `registry`.
    pub fn new(registry: Registry) -> Plugins {
        Plugins { registry, problems: Vec::new(), unread: Unread::default(), names: BTreeMap::new() }
    }

    /// What a pipeline's reading takes of them.
    pub fn extension(&mut self) -> Extension {
        let vocabulary = engine_plan::vocabulary(&self.registry).with_unread(std::mem::take(&mut self.unread));
        Extension { vocabulary, problems: std::mem::take(&mut self.problems) }
    }

    /// Reads the plug-in in `folder`; what is wrong with it is kept. Paths in messages are seen from `working`.
    pub fn add(&mut self, folder: &Path, working: &Path, named: Option<Named<'_>>) -> Option<Plugin> {
        let shown = folder.strip_prefix(working).unwrap_or(folder).join(MANIFEST_FILE);
        let at_folder = |message: String, label: &str| {
            let diagnostic = Diagnostic::error(&PLUGIN_FOLDER, message);
            match &named {
                Some(named) => named.document.point(diagnostic, &named.pointer, label),
                None => diagnostic,
            }
        };
        let source = match read_text(&folder.join(MANIFEST_FILE), &shown) {
            Ok(source) => source,
            Err(failure) => {
                let Failure::Message(why) = failure else { return None };
                self.unread.others = true;
                self.problems.push(
                    at_folder(format!("there is no plug-in here: {why}"), "no plug-in")
                        .help(format!("a plug-in is a folder with a `{MANIFEST_FILE}` in it")),
                );
                return None;
            }
        };
        let (document, manifest) = self.manifest(source)?;
        let name = manifest.kind.clone();
        let timeout = parse_duration(&manifest.timeout).filter(|timeout| !timeout.is_zero());
        if timeout.is_none() {
            let message = format!("`timeout` is out of range, found `{}`", manifest.timeout);
            self.problems.push(document.point(
                Diagnostic::error(&PLUGIN_MANIFEST, message),
                "/timeout",
                "out of range",
            ));
        }
        let declaration = match manifest.check() {
            Ok(declaration) => Some(declaration),
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|problem| placed(problem, &document)));
                None
            }
        };
        let digest = digest(folder);
        if let Err(error) = &digest {
            self.problems.push(at_folder(error.to_string(), "cannot be read whole"));
        }
        let is_new = self.check_name(&name, &document, named.as_ref());
        let (Some(declaration), Some(timeout), Ok(digest), true) = (declaration, timeout, digest, is_new) else {
            // A name that was taken before is known by what took it.
            if is_new {
                self.unread.names.insert(name);
            }
            return None;
        };
        let asked = ESSENTIAL_VARIABLES.iter().copied().chain(declaration.env.iter().map(String::as_str));
        let variables = asked.filter_map(|name| Some((name.to_owned(), environment(name)?))).collect();
        let place = Place { folder: folder.to_owned(), digest, timeout, variables };
        self.registry.insert(kind(declaration.clone(), place));
        Some(Plugin { declaration, document })
    }

    /// The file as far as its schema can tell.
    fn manifest(&mut self, source: SourceText) -> Option<(Document, Manifest)> {
        let document = match Document::parse(source) {
            Ok(document) => document,
            Err(problem) => {
                self.problems.push(problem);
                self.unread.others = true;
                return None;
            }
        };
        let beginning = "`fuseline: 1`, `kind:`, `version:` and `command:`";
        let file = FileKind { whole: "a plug-in", code: &PLUGIN_MANIFEST, beginning };
        let mut problems = check_file(&document, file, &manifest_schema());
        if document.value()["options"].is_object() {
            problems.extend(check_schema(&document, "/options", &PLUGIN_MANIFEST));
        }
        if problems.is_empty() {
            match serde_json::from_value(document.value().clone()) {
                Ok(manifest) => return Some((document, manifest)),
                Err(error) => {
                    let problem = Diagnostic::error(&PLUGIN_MANIFEST, format!("the file cannot be read: {error}"));
                    problems.push(document.point(problem, "", "not a plug-in"));
                }
            }
        }
        self.problems.extend(problems);
        match document.value()["kind"].as_str() {
            Some(name) => drop(self.unread.names.insert(name.to_owned())),
            None => self.unread.others = true,
        }
        None
    }

    /// Whether no other kind has the name; if one has, that is said.
    fn check_name(&mut self, name: &str, document: &Document, named: Option<&Named<'_>>) -> bool {
        let here = document.span("/kind");
        let (message, also) = match self.names.get(name) {
            Some(first) if first.source == here.source => {
                (format!("the plug-in `{name}` is named twice"), Some((first.clone(), "the same plug-in")))
            }
            Some(first) => (format!("two plug-ins are called `{name}`"), Some((first.clone(), "the other one"))),
            None if self.registry.kind(name).is_some() => {
                (format!("`{name}` is the name of a built-in kind, which a plug-in cannot replace"), None)
            }
            None => {
                self.names.insert(name.to_owned(), here);
                return true;
            }
        };
        let mut diagnostic = Diagnostic::error(&PLUGIN_NAME, message);
        diagnostic = match (&also, named) {
            // Of one file named twice, the second place is what is to go.
            (Some((_, "the same plug-in")), Some(named)) => {
                named.document.point(diagnostic, &named.pointer, "once is enough").help("take one of them away")
            }
            _ => document
                .point(diagnostic, "/kind", "taken")
                .help("begin its name with your own, as in `acme.sentiment`"),
        };
        if let Some((span, text)) = also {
            diagnostic = diagnostic.label(span, text);
        }
        self.problems.push(diagnostic);
        false
    }
}

/// A problem of the file at its place.
fn placed(problem: Problem, document: &Document) -> Diagnostic {
    let Problem { code, severity, at, message, label, help } = problem;
    let pointer = match at {
        At::Option(pointer) => pointer,
        At::Input(_) | At::Node => String::new(),
    };
    let diagnostic = Diagnostic { severity, help, ..Diagnostic::error(code, message) };
    document.point(diagnostic, &pointer, label)
}

/// `registry` with the plug-ins of `folders`, each one or a folder of such.
///
/// # Errors
/// Every problem of theirs.
pub fn with_plugins(registry: Registry, folders: &[PathBuf]) -> Result<Registry, Failure> {
    let working = working_folder()?;
    let mut plugins = Plugins::new(registry);
    for folder in folders {
        for folder in plugin_folders(&working.join(folder))? {
            plugins.add(&folder, &working, None);
        }
    }
    if plugins.problems.is_empty() { Ok(plugins.registry) } else { Err(Failure::Diagnostics(plugins.problems)) }
}

/// The plug-in in `folder`, and the kinds with it.
///
/// # Errors
/// Every problem of it.
pub fn one_plugin(registry: &Registry, folder: &Path) -> Result<(Plugin, Registry), Failure> {
    let working = working_folder()?;
    let mut plugins = Plugins::new(registry.clone());
    match plugins.add(&working.join(folder), &working, None) {
        Some(plugin) if plugins.problems.is_empty() => Ok((plugin, plugins.registry)),
        _ => Err(Failure::Diagnostics(plugins.problems)),
    }
}

/// The folder itself if it holds a plug-in, else those in it that do, in order of name.
fn plugin_folders(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if folder.join(MANIFEST_FILE).exists() {
        return Ok(vec![folder.to_owned()]);
    }
    let shown = folder.display();
    let entries = std::fs::read_dir(folder);
    let entries = entries.map_err(|error| Failure::message(format!("cannot read `{shown}`: {error}")))?;
    let inside = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = inside.filter(|path| path.join(MANIFEST_FILE).exists()).collect();
    found.sort();
    if found.is_empty() {
        return Err(Failure::message(format!(
            "neither `{shown}` nor a folder in it holds a `{MANIFEST_FILE}`, so there is no plug-in"
        )));
    }
    Ok(found)
}
