//! What is wrong with a pipeline, said so that it can be mended.

use crate::{Code, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The pipeline cannot run.
    Error,
    /// It can run, but probably not as meant.
    Warning,
    /// Something worth knowing.
    Note,
}

impl Severity {
    /// The word before the message.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// A place and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// A few words, lower case, no full stop; may be empty.
    pub text: String,
}

/// One problem: what, where, expected, found, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its name and page.
    pub code: &'static Code,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, lower case, no full stop, the user's own names in backticks.
    pub message: String,
    /// Where; the first label is the place the problem is reported at.
    pub labels: Vec<Label>,
    /// Ways out.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// A problem that keeps the pipeline from running.
    pub fn error(code: &'static Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, Severity::Error, message)
    }

    /// Something that is probably not as meant.
    pub fn warning(code: &'static Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, Severity::Warning, message)
    }

    /// Something worth knowing.
    pub fn note(code: &'static Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, Severity::Note, message)
    }

    fn new(code: &'static Code, severity: Severity, message: impl Into<String>) -> Diagnostic {
        Diagnostic { code, severity, message: message.into(), labels: Vec::new(), help: Vec::new() }
    }

    /// Points at a place; the first call gives the place the problem is reported at.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a way out.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help.push(text.into());
        self
    }

    /// Adds a way out, if there is one.
    #[must_use]
    pub fn maybe_help(self, text: Option<String>) -> Diagnostic {
        match text {
            Some(text) => self.help(text),
            None => self,
        }
    }

    /// Whether it keeps the pipeline from running.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
