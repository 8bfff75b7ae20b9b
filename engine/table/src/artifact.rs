//! Artifacts that are not tables: a few named files.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::{Digest, Hasher};

/// A fitted value, encoder, model, metrics, report or deployment: named files, in order of name.
///
/// Never a pickle: JSON, safetensors, tar.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files(BTreeMap<String, Arc<[u8]>>);

impl Files {
    /// No files.
    pub fn new() -> Files {
        Files::default()
    }

    /// One JSON file called `name`; floats come back bit for bit, and keys are in order of name.
    pub fn json(name: &str, value: &impl serde::Serialize) -> Result<Files, serde_json::Error> {
        // Through `Value`, whose maps are ordered, so that equal values give equal bytes.
        let value = serde_json::to_value(value)?;
        Ok(Files::new().with(name, serde_json::to_vec(&value)?))
    }

    /// The same files and one more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Files {
        self.0.insert(name.into(), bytes.into());
        self
    }

    /// The bytes of the file called `name`.
    pub fn bytes(&self, name: &str) -> Option<&Arc<[u8]>> {
        self.0.get(name)
    }

    /// The JSON file called `name`.
    ///
    /// # Errors
    /// If there is no such file or it does not hold a `T`.
    pub fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, serde_json::Error> {
        let bytes = self.bytes(name).ok_or_else(|| serde::de::Error::custom(format!("no file `{name}`")))?;
        serde_json::from_slice(bytes)
    }

    /// The files in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<[u8]>)> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// Bytes in all files together.
    pub fn size(&self) -> usize {
        self.0.values().map(|bytes| bytes.len()).sum()
    }

    /// The digest of names and bytes.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new("fuseline.files.v1");
        for (name, bytes) in &self.0 {
            hasher.field(name.as_bytes()).field(bytes);
        }
        hasher.finish()
    }
}
