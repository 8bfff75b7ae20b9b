//! From a pipeline's text to a [`PipelineSpec`].
//!
//! Three steps, each giving what only it can make: [`Document::parse`] reads YAML and remembers where every
//! key and value stands, [`resolve`] puts parameters in their places, [`validate`] checks the result against
//! the file's schema and the [`Vocabulary`] of kinds. [`read`] takes all three and reports everything wrong
//! at once. Knows kinds by their description alone; reads no file and no environment.

mod codes;
mod document;
mod file;
mod file_check;
mod folders;
mod parameters;
mod pipeline;
mod pointer;
mod quantity;
mod read;
mod render;
mod resolve;
mod schema;
mod suggest;
mod template;
#[cfg(test)]
mod testing;
mod validate;
mod vocabulary;

pub use codes::CODES;
pub use document::Document;
pub use file_check::{FileKind, check_file, check_schema};
pub use folders::{Folders, FoldersError};
pub use parameters::Parameters;
pub use pipeline::{Caching, NodeSpec, PipelineSpec, PortBinding, Reference, Resources, SecretReference};
pub use quantity::{DURATION_PATTERN, parse_duration, parse_memory};
pub use read::{Extension, read, read_extended};
pub use render::RenderError;
pub use resolve::{Environment, EnvironmentVariable, PluginReference, Resolved, resolve};
pub use schema::pipeline_schema;
pub use validate::{option_schema, validate};
pub use vocabulary::{InputPort, KindDescription, OutputPort, Unread, Vocabulary};
