//! The words of Fuseline as types.
//!
//! What every other room speaks about: digests and seeds, logical types and column roles, artifact
//! kinds, effects and serving, source spans and diagnostics, events. It knows no table, no YAML, no
//! node; it does no input or output.

mod artifact;
mod code;
mod column;
mod diagnostic;
mod digest;
mod effect;
mod event;
mod nearest;
mod seed;
mod source;

pub use artifact::ArtifactKind;
pub use code::Code;
pub use column::{LogicalType, ParseLogicalTypeError, Part, Role, Size};
pub use diagnostic::{Diagnostic, Label, Severity};
pub use digest::{Digest, Hasher, ParseDigestError};
pub use effect::{Effect, NumericClass, Serving};
pub use event::{Event, MetricValue, Progress, RunStatus, TaskStatus, Unit};
pub use nearest::nearest;
pub use seed::Seed;
pub use source::{SourceText, Span};
