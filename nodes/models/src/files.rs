//! Models as named files: `model.json` with what shapes them, `weights.safetensors` with what they learnt.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::weights::{self, Weights, WeightsError};

/// The files of a model by name. Equal models give equal bytes.
pub type ModelFiles = BTreeMap<String, Vec<u8>>;

const MODEL: &str = "model.json";
const WEIGHTS: &str = "weights.safetensors";

/// Files that are not a model, or not the one asked for.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file is absent.
    #[error("the model has no file `{0}`")]
    Missing(&'static str),

    /// A file is not JSON of the right form.
    #[error("`{file}` of the model cannot be read: {reason}")]
    Json {
        /// The file.
        file: &'static str,
        /// What the parser says.
        reason: String,
    },

    /// The files were written by a newer version.
    #[error("the model is in format {found}, this version reads format {expected}; use a newer version")]
    Newer {
        /// The format this version reads.
        expected: u32,
        /// The format of the files.
        found: u32,
    },

    /// The files were written by an older version.
    #[error("the model is in format {found}, this version reads format {expected}; train it again")]
    Older {
        /// The format this version reads.
        expected: u32,
        /// The format of the files.
        found: u32,
    },

    /// It is a model of another kind.
    #[error("the model is of kind {found:?}, expected {expected:?}")]
    Kind {
        /// The kind asked for.
        expected: ModelKind,
        /// The kind of the files.
        found: ModelKind,
    },

    /// The weights are damaged.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Which of this crate's models some files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// [`crate::Model`]
    Multimodal,
    /// [`crate::Logistic`]
    Logistic,
    /// [`crate::Ridge`]
    Ridge,
}

impl ModelKind {
    /// The version of the format that this crate writes, and the only one it reads.
    fn format(self) -> u32 {
        match self {
            ModelKind::Multimodal => 2,
            ModelKind::Logistic | ModelKind::Ridge => 1,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<M> {
    format: u32,
    kind: ModelKind,
    model: M,
}

/// Which model the files hold.
///
/// # Errors
/// If `model.json` is absent, unreadable or of another format.
pub fn model_kind(files: &ModelFiles) -> Result<ModelKind, FilesError> {
    Ok(header(files)?.kind)
}

/// The files of a model.
pub(crate) fn write(kind: ModelKind, model: &impl Serialize, weights: &Weights) -> Result<ModelFiles, FilesError> {
    let header = Header { format: kind.format(), kind, model };
    let json = serde_json::to_vec_pretty(&header)
        .map_err(|error| FilesError::Json { file: MODEL, reason: error.to_string() })?;
    Ok(ModelFiles::from([(MODEL.to_string(), json), (WEIGHTS.to_string(), weights::to_bytes(weights)?)]))
}

/// What `model.json` says of a model of the given kind, and its weights.
pub(crate) fn read<M: DeserializeOwned>(files: &ModelFiles, expected: ModelKind) -> Result<(M, Weights), FilesError> {
    let Header { kind: found, model, .. } = header(files)?;
    if found != expected {
        return Err(FilesError::Kind { expected, found });
    }
    let model =
        serde_json::from_value(model).map_err(|error| FilesError::Json { file: MODEL, reason: error.to_string() })?;
    Ok((model, weights::from_bytes(file(files, WEIGHTS)?)?))
}

fn header(files: &ModelFiles) -> Result<Header<serde_json::Value>, FilesError> {
    let header: Header<serde_json::Value> = serde_json::from_slice(file(files, MODEL)?)
        .map_err(|error| FilesError::Json { file: MODEL, reason: error.to_string() })?;
    let (expected, found) = (header.kind.format(), header.format);
    match found.cmp(&expected) {
        Ordering::Equal => Ok(header),
        Ordering::Greater => Err(FilesError::Newer { expected, found }),
        Ordering::Less => Err(FilesError::Older { expected, found }),
    }
}

fn file<'a>(files: &'a ModelFiles, name: &'static str) -> Result<&'a [u8], FilesError> {
    files.get(name).map(Vec::as_slice).ok_or(FilesError::Missing(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> ModelFiles {
        write(ModelKind::Ridge, &[0.1, 0.2], &Weights::new()).expect("it can be written")
    }

    #[test]
    fn writing_then_reading_is_the_identity() {
        let (model, weights): (Vec<f64>, _) = read(&some(), ModelKind::Ridge).expect("it was just written");
        assert_eq!((model, weights), (vec![0.1, 0.2], Weights::new()));
        assert_eq!(model_kind(&some()).expect("it was just written"), ModelKind::Ridge);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |change: &dyn Fn(&mut ModelFiles)| {
            let mut files = some();
            change(&mut files);
            read::<Vec<f64>>(&files, ModelKind::Ridge).expect_err("something is wrong").to_string()
        };
        assert_eq!(error(&|files| drop(files.remove(WEIGHTS))), "the model has no file `weights.safetensors`");
        let replace = |json: &'static [u8]| error(&move |files| drop(files.insert(MODEL.to_string(), json.to_vec())));
        assert!(replace(b"{").starts_with("`model.json` of the model cannot be read: "));
        let newer = replace(br#"{"format":2,"kind":"ridge","model":[]}"#);
        assert_eq!(newer, "the model is in format 2, this version reads format 1; use a newer version");
        let older = replace(br#"{"format":1,"kind":"multimodal","model":[]}"#);
        assert_eq!(older, "the model is in format 1, this version reads format 2; train it again");
        let other = replace(br#"{"format":1,"kind":"logistic","model":[]}"#);
        assert_eq!(other, "the model is of kind Logistic, expected Ridge");
        assert!(error(&|files| drop(files.insert(WEIGHTS.to_string(), vec![1, 2]))).contains("safetensors"));
    }
}
