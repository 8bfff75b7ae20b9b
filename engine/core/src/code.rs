//! The names of diagnostics and the page each has in the book.

/// A diagnostic's name and its page: what `fuseline explain CODE` prints.
///
/// Codes are `static` items beside the check that reports them; a [`crate::Diagnostic`] can only be
/// made from one, so no diagnostic is without its page.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The name, as in `port.kind`.
    pub name: &'static str,
    /// One line: what is wrong.
    pub summary: &'static str,
    /// Why it is refused and what to do, in Markdown.
    pub explanation: &'static str,
}
