//! A deployment as the bytes of a tar file, and back.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Component;
use std::sync::Arc;

use engine_core::Digest;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    DEPLOYMENT_FORMAT, Deployment, DeploymentError, Manifest, ManifestArtifact, ManifestStep, Side, row_schema,
};
use crate::{Files, ServingStep, StepArtifact, StepTable};

const MANIFEST: &str = "manifest.json";
const REQUEST_SCHEMA: &str = "request.schema.json";
const RESPONSE_SCHEMA: &str = "response.schema.json";
/// Where the fitted values of a step stand; no port has this name, as ports are words.
const FITTED: &str = "-fitted";
/// The rows of a table that a step looks rows up in.
const ROWS: &str = "rows.arrow";
/// Where images and sounds of such tables stand, each under its digest.
const BLOBS: &str = "blobs";
/// A file in a bundle is at most so large: a header may claim any size.
const MAX_FILE_BYTES: u64 = 4 << 30;

impl Deployment {
    /// The bytes of the bundle: equal deployments give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut steps = Vec::with_capacity(self.steps.len());
        for (place, step) in self.steps.iter().enumerate() {
            let mut put = |port: &str, artifact: &Files| -> Vec<String> {
                let mut names = Vec::new();
                for (name, bytes) in artifact.iter() {
                    files.insert(format!("steps/{place}/{port}/{name}"), bytes.to_vec());
                    names.push(name.to_owned());
                }
                names
            };
            let fitted = step.fitted.as_ref().map(|fitted| put(FITTED, fitted));
            let mut artifacts = BTreeMap::new();
            for artifact in &step.artifacts {
                let kind = artifact.kind.clone();
                artifacts.insert(
                    artifact.port.clone(),
                    ManifestArtifact { kind, files: put(&artifact.port, &artifact.files) },
                );
            }
            let mut tables = BTreeMap::new();
            for table in &step.tables {
                files.insert(format!("steps/{place}/{}/{ROWS}", table.port), table.rows.to_vec());
                tables.insert(table.port.clone(), table.columns.clone());
            }
            steps.push(ManifestStep {
                node: step.node.clone(),
                kind: step.kind.clone(),
                version: step.version.clone(),
                options: step.options.clone(),
                inputs: step.inputs.clone(),
                fitted,
                artifacts,
                tables,
            });
        }
        for (digest, bytes) in &self.blobs {
            files.insert(format!("{BLOBS}/{digest}"), bytes.to_vec());
        }
        let has_tables = self.steps.iter().any(|step| !step.tables.is_empty());
        let manifest = Manifest {
            format: if has_tables { DEPLOYMENT_FORMAT } else { 1 },
            made_by: self.made_by.clone(),
            request: self.request.clone(),
            response: self.response.clone(),
            values: self.values.clone(),
            steps,
            digests: files.iter().map(|(path, bytes)| (path.clone(), Digest::of(bytes))).collect(),
        };
        let manifest = serde_json::to_value(manifest).expect("text keys and plain values can be written");
        files.insert(MANIFEST.to_owned(), pretty(&manifest));
        let (sent, given) = (Side::Request { max_media_bytes: None }, Side::Response { values: &self.values });
        files.insert(REQUEST_SCHEMA.to_owned(), pretty(&row_schema("request", &self.request, sent)));
        files.insert(RESPONSE_SCHEMA.to_owned(), pretty(&row_schema("prediction", &self.response, given)));
        packed(&files)
    }

    /// The deployment in the bytes of a bundle.
    ///
    /// # Errors
    /// If the bytes are damaged, were made by a newer program, or name a file that is not there.
    pub fn decode(bytes: &[u8]) -> Result<Deployment, DeploymentError> {
        let files = unpacked(bytes)?;
        let manifest: Value = json(&files, MANIFEST)?;
        match manifest["format"].as_u64() {
            Some(format) if format > u64::from(DEPLOYMENT_FORMAT) => {
                return Err(DeploymentError::Newer { found: u32::try_from(format).unwrap_or(u32::MAX) });
            }
            Some(_) => {}
            None => return Err(DeploymentError::Damaged(format!("`{MANIFEST}` names no format"))),
        }
        let manifest: Manifest = json(&files, MANIFEST)?;
        let mut steps = Vec::with_capacity(manifest.steps.len());
        for (place, step) in manifest.steps.iter().enumerate() {
            let take = |port: &str, names: &[String]| -> Result<Arc<Files>, DeploymentError> {
                let mut taken = Files::new();
                for name in names {
                    let path = format!("steps/{place}/{port}/{name}");
                    let bytes =
                        files.get(&path).ok_or_else(|| DeploymentError::Damaged(format!("`{path}` is missing")))?;
                    if manifest.digests.get(&path) != Some(&Digest::of(bytes)) {
                        return Err(DeploymentError::Damaged(format!("`{path}` is not what was written")));
                    }
                    taken = taken.with(name.clone(), bytes.clone());
                }
                Ok(Arc::new(taken))
            };
            let fitted = step.fitted.as_ref().map(|names| take(FITTED, names)).transpose()?;
            let mut artifacts = Vec::with_capacity(step.artifacts.len());
            for (port, artifact) in &step.artifacts {
                let files = take(port, &artifact.files)?;
                artifacts.push(StepArtifact { port: port.clone(), kind: artifact.kind.clone(), files });
            }
            let mut tables = Vec::with_capacity(step.tables.len());
            for (port, columns) in &step.tables {
                let taken = take(port, &[ROWS.to_owned()])?;
                let rows = taken.bytes(ROWS).cloned().unwrap_or_default();
                tables.push(StepTable { port: port.clone(), columns: columns.clone(), rows });
            }
            let ManifestStep { node, kind, version, options, inputs, .. } = step.clone();
            steps.push(ServingStep { node, kind, version, options, inputs, fitted, artifacts, tables });
        }
        let blobs = blobs(&files)?;
        let Manifest { made_by, request, response, values, .. } = manifest;
        Ok(Deployment { made_by, request, response, values, steps, blobs })
    }
}

/// The images and sounds, each checked against its name.
fn blobs(files: &BTreeMap<String, Arc<[u8]>>) -> Result<BTreeMap<Digest, Arc<[u8]>>, DeploymentError> {
    let named = files.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(BLOBS)?.strip_prefix('/')?, bytes)));
    let checked = named.map(|(name, bytes)| match name.parse::<Digest>() {
        Ok(digest) if digest == Digest::of(bytes) => Ok((digest, bytes.clone())),
        _ => Err(DeploymentError::Damaged(format!("`{BLOBS}/{name}` is not what was written"))),
    });
    checked.collect()
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// A tar file of `files`, in order of name; owner, time and mode say nothing, so that equal files give equal bytes.
fn packed(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    const IN_MEMORY: &str = "writing to memory does not fail";
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, name, bytes.as_slice()).expect(IN_MEMORY);
    }
    archive.into_inner().expect(IN_MEMORY)
}

fn unpacked(bytes: &[u8]) -> Result<BTreeMap<String, Arc<[u8]>>, DeploymentError> {
    let damaged = |error: std::io::Error| DeploymentError::Damaged(error.to_string());
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let name = path.display().to_string();
        // Nothing is ever written to a path of the bundle; a strange one still says that no one of us made it.
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(DeploymentError::Damaged(format!("`{name}` leads out of the bundle")));
        }
        let size = entry.header().size().map_err(damaged)?;
        if size > MAX_FILE_BYTES || size > bytes.len() as u64 {
            return Err(DeploymentError::Damaged(format!("`{name}` claims {size} bytes")));
        }
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        entry.take(MAX_FILE_BYTES).read_to_end(&mut content).map_err(damaged)?;
        if content.len() as u64 != size {
            return Err(DeploymentError::Damaged(format!("`{name}` is cut short")));
        }
        files.insert(name, content.into());
    }
    Ok(files)
}

fn json<T: DeserializeOwned>(files: &BTreeMap<String, Arc<[u8]>>, name: &str) -> Result<T, DeploymentError> {
    let bytes = files.get(name).ok_or_else(|| DeploymentError::Damaged(format!("it has no `{name}`")))?;
    serde_json::from_slice(bytes).map_err(|error| DeploymentError::Damaged(format!("`{name}`: {error}")))
}

#[cfg(test)]
mod tests {
    use engine_core::LogicalType;
    use serde_json::json;

    use super::*;
    use crate::{ColumnType, PortType, StepInput};

    fn deployment() -> Deployment {
        let files = |name: &str, bytes: &[u8]| Arc::new(Files::new().with(name, bytes.to_vec()));
        Deployment {
            made_by: "0.1.0".into(),
            request: vec![ColumnType::new("age", LogicalType::Int)],
            response: vec![ColumnType::new("prediction", LogicalType::Category)],
            values: BTreeMap::from([("prediction".to_owned(), vec![json!("no"), json!("yes")])]),
            steps: vec![
                ServingStep {
                    node: "scaled".into(),
                    kind: "encode.standardize".into(),
                    version: "1".into(),
                    options: json!({"columns": ["age"]}),
                    inputs: vec![StepInput::Request],
                    fitted: Some(files("fitted.json", b"{}")),
                    artifacts: vec![],
                    tables: vec![],
                },
                ServingStep {
                    node: "model".into(),
                    kind: "predict.table".into(),
                    version: "1".into(),
                    options: json!({}),
                    inputs: vec![StepInput::Step(0)],
                    fitted: None,
                    artifacts: vec![StepArtifact {
                        port: "model".into(),
                        kind: PortType::Fitted,
                        files: files("weights.safetensors", &[7; 2000]),
                    }],
                    tables: vec![],
                },
            ],
            blobs: BTreeMap::new(),
        }
    }

    #[test]
    fn a_bundle_is_read_as_it_was_written_and_equal_ones_are_equal_bytes() {
        let bytes = deployment().encode();
        assert_eq!(Deployment::decode(&bytes).unwrap(), deployment());
        assert_eq!(bytes, deployment().encode());
    }

    /// With a table that a step looks pictures up in.
    fn with_lookup() -> Deployment {
        let picture = b"a picture";
        let mut with_lookup = deployment();
        with_lookup.steps[0].tables.push(StepTable {
            port: "right".into(),
            columns: vec![ColumnType::new("page", LogicalType::Image)],
            rows: b"rows".as_slice().into(),
        });
        with_lookup.blobs.insert(Digest::of(picture), picture.as_slice().into());
        with_lookup
    }

    #[test]
    fn tables_and_pictures_are_packed_and_a_bundle_without_them_has_the_first_format() {
        let bytes = with_lookup().encode();
        assert_eq!(Deployment::decode(&bytes).unwrap(), with_lookup());
        let format = |bytes: &[u8]| json::<Value>(&unpacked(bytes).unwrap(), MANIFEST).unwrap()["format"].clone();
        assert_eq!((format(&bytes), format(&deployment().encode())), (json!(2), json!(1)));
        let mut damaged = bytes.clone();
        let picture = damaged.windows(9).position(|window| window == b"a picture").unwrap();
        damaged[picture] ^= 1;
        let error = Deployment::decode(&damaged).unwrap_err().to_string();
        assert!(error.contains("`blobs/"), "{error}");
    }

    #[test]
    fn a_bundle_cut_anywhere_is_damaged_and_never_half_read() {
        let bytes = deployment().encode();
        // Behind the last file stand two empty blocks, which a reader may do without.
        for length in (0..bytes.len() - 1024).step_by(97) {
            assert!(matches!(Deployment::decode(&bytes[..length]), Err(DeploymentError::Damaged(_))), "{length}");
        }
        assert!(matches!(Deployment::decode(b"PK\x03\x04 no tar at all"), Err(DeploymentError::Damaged(_))));
    }

    #[test]
    fn a_flipped_bit_in_the_weights_is_found() {
        let mut bytes = deployment().encode();
        let weights = bytes.windows(100).position(|window| window == [7; 100]).unwrap();
        bytes[weights + 50] ^= 1;
        let error = Deployment::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("weights.safetensors"), "{error}");
    }

    #[test]
    fn a_newer_format_says_so() {
        let manifest = br#"{"format": 99, "shape": "unknown"}"#.to_vec();
        let bytes = packed(&BTreeMap::from([(MANIFEST.to_owned(), manifest)]));
        assert!(matches!(Deployment::decode(&bytes), Err(DeploymentError::Newer { found: 99 })));
    }

    #[test]
    fn a_file_that_leads_out_of_the_bundle_is_refused() {
        // The library refuses to write such a name, so the header is written by hand.
        let mut header = tar::Header::new_ustar();
        let name = b"../outside";
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend([0; 1024]);
        let error = Deployment::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("leads out"), "{error}");
    }
}
