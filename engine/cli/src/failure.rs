//! Why a command did not do what it was asked.

use engine_core::Diagnostic;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Problems of a pipeline, warnings among them.
    Diagnostics(Vec<Diagnostic>),
    /// Anything else, said in one sentence with its way out.
    Message(String),
    /// Already said where it happened.
    Reported,
    /// Stopped by the user.
    Cancelled,
}

impl Failure {
    /// A failure with the text of `error`.
    pub fn message(error: impl std::fmt::Display) -> Failure {
        Failure::Message(error.to_string())
    }

    /// The exit code it ends the program with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Cancelled => crate::CANCELLED,
            _ => crate::ERROR,
        }
    }
}
