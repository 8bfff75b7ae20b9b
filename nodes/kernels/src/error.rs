//! What can go wrong when an operation is called.

/// An operation was called with operands that do not fit, or its device failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KernelError {
    /// Two sizes that must be equal are not.
    #[error("`{operation}` takes {what} of size {expected}, found {found}")]
    Size {
        /// The operation's name.
        operation: &'static str,
        /// The operand or dimension that does not fit.
        what: &'static str,
        /// The size it must have.
        expected: usize,
        /// The size it has.
        found: usize,
    },

    /// A category or class code lies outside its table.
    #[error("`{operation}`: row {row}, column {column} holds code {code}, but there are {cardinality} codes from 0")]
    Code {
        /// The operation's name.
        operation: &'static str,
        /// The row of the code.
        row: usize,
        /// The column of the code.
        column: usize,
        /// The code itself.
        code: u32,
        /// How many codes there are.
        cardinality: usize,
    },

    /// The device could not do its work; most often it is out of memory.
    #[error("the device failed: {0}")]
    Device(String),
}

impl KernelError {
    /// Wraps a device's own error, of which dfdx says no more than that it can be displayed.
    pub(crate) fn device(error: impl std::fmt::Display) -> Self {
        KernelError::Device(error.to_string())
    }
}

/// Fails with [`KernelError::Size`] unless `found` is `expected`.
pub(crate) fn check_size(
    operation: &'static str,
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), KernelError> {
    if expected == found { Ok(()) } else { Err(KernelError::Size { operation, what, expected, found }) }
}
