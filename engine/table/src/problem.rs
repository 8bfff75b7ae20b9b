//! What a kind says when options or inputs do not fit, and when a run fails.

use engine_core::{Code, Severity};

/// The place in a node a problem is about; the plan turns it into a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// An option, as a JSON pointer below `with`: `/columns/0`.
    Option(String),
    /// An input port.
    Input(String),
    /// The node as a whole.
    Node,
}

/// A problem found before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its name and page.
    pub code: &'static Code,
    /// How bad it is.
    pub severity: Severity,
    /// Where in the node.
    pub at: At,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// A few words for the place; may be empty.
    pub label: String,
    /// Ways out.
    pub help: Vec<String>,
}

impl Problem {
    /// A problem that keeps the pipeline from running.
    pub fn error(code: &'static Code, at: At, message: impl Into<String>) -> Problem {
        Problem { code, severity: Severity::Error, at, message: message.into(), label: String::new(), help: Vec::new() }
    }

    /// Something that is probably not as meant.
    pub fn warning(code: &'static Code, at: At, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(code, at, message) }
    }

    /// A few words for the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = label.into();
        self
    }

    /// Adds a way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help.push(help.into());
        self
    }
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data, the options or the world do not allow it; the message says what, where and the way out.
    #[error("{0}")]
    Failed(String),
    /// It may work when tried again: the network, a busy file.
    #[error("{0}")]
    Transient(String),
    /// It was told to stop: Ctrl-C, a timeout, `--fail-fast`.
    #[error("cancelled")]
    Cancelled,
}

impl NodeError {
    /// A failure with the text of `error`.
    pub fn failed(error: impl std::fmt::Display) -> NodeError {
        NodeError::Failed(error.to_string())
    }
}
