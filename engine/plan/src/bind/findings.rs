//! Everything found wrong, each thing once, with its place in the text.

use std::collections::HashSet;

use engine_core::{Code, Diagnostic, Severity};
use engine_spec::{NodeSpec, PipelineSpec};
use engine_table::{At, Problem};

/// Collects diagnostics. What an instance of an expansion finds again is left out; what only an instance finds
/// names the first instance that found it.
pub(super) struct Findings<'s> {
    pub(super) spec: &'s PipelineSpec,
    found: Vec<Diagnostic>,
    seen: HashSet<(&'static str, String, usize)>,
}

impl<'s> Findings<'s> {
    pub(super) fn new(spec: &'s PipelineSpec) -> Findings<'s> {
        Findings { spec, found: Vec::new(), seen: HashSet::new() }
    }

    /// Adds a diagnostic found in `instance`, if it is new.
    pub(super) fn add(&mut self, instance: Option<&str>, mut diagnostic: Diagnostic) {
        let place = diagnostic.labels.first().map_or(0, |label| label.span.range.start);
        if !self.seen.insert((diagnostic.code.name, diagnostic.message.clone(), place)) {
            return;
        }
        if let Some(instance) = instance {
            diagnostic.message.push_str(&format!(" (in the instance `{instance}`)"));
        }
        self.found.push(diagnostic);
    }

    /// Adds what a kind says of a node.
    pub(super) fn problem(&mut self, instance: Option<&str>, node: &NodeSpec, problem: Problem) {
        let pointer = match &problem.at {
            At::Option(option) => node.pointer(&format!("with{option}")),
            At::Input(port) => input_pointer(node, port),
            At::Node => node.pointer("uses"),
        };
        self.problem_at(instance, &pointer, problem);
    }

    /// Adds what a kind says, at `pointer` wherever it says it is.
    pub(super) fn problem_at(&mut self, instance: Option<&str>, pointer: &str, problem: Problem) {
        let make = match problem.severity {
            Severity::Error => Diagnostic::error,
            Severity::Warning => Diagnostic::warning,
            Severity::Note => Diagnostic::note,
        };
        let diagnostic = self.spec.point(make(problem.code, problem.message), pointer, problem.label);
        let diagnostic = problem.help.into_iter().fold(diagnostic, Diagnostic::help);
        self.add(instance, diagnostic);
    }

    /// Adds every problem.
    pub(super) fn problems(&mut self, instance: Option<&str>, node: &NodeSpec, problems: Vec<Problem>) {
        for problem in problems {
            self.problem(instance, node, problem);
        }
    }

    /// An error at `pointer`, to be added once it is complete.
    pub(super) fn error_at(&self, code: &'static Code, message: String, pointer: &str, label: &str) -> Diagnostic {
        self.spec.point(Diagnostic::error(code, message), pointer, label)
    }

    /// Whether anything keeps the pipeline from running.
    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(Diagnostic::is_error)
    }

    /// All that was found, by place in the text.
    pub(super) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|diagnostic| {
            (diagnostic.labels.first().map_or(usize::MAX, |label| label.span.range.start), diagnostic.severity)
        });
        self.found
    }
}

/// Where the references bound to `port` stand.
pub(super) fn input_pointer(node: &NodeSpec, port: &str) -> String {
    match node.input(port).and_then(|binding| binding.references.first()) {
        Some(reference) => reference.pointer.clone(),
        None => node.pointer("in"),
    }
}
