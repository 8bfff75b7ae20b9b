//! Options that name a file.

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A path in an option. The schema marks it with `format: path`, so `spec` makes it absolute and the
/// plan leaves it out of the key: a source is keyed by what it reads, not by where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PathOption(pub PathBuf);

impl PathOption {
    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl JsonSchema for PathOption {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Path".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "path", "minLength": 1 })
    }
}
