//! Records for the tests of this crate.

use std::collections::BTreeMap;

use engine_core::Digest;
use engine_table::Files;

use crate::{FilePlace, Fingerprint, KeyPart, Record, RecordOutput};

/// A record with the key of `number` and small files on the port `fitted`.
pub(crate) fn record(number: u32, files: &[(&str, &str)]) -> Record {
    let key = Digest::of(&number.to_le_bytes());
    let part = KeyPart { name: "options".to_owned(), value: number.to_string(), digest: key };
    let digest =
        files.iter().fold(Files::new(), |files, (name, text)| files.with(*name, text.as_bytes().to_vec())).digest();
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), FilePlace::Text((*text).to_owned()))).collect();
    Record {
        kind: "clean.test".to_owned(),
        fingerprint: Fingerprint { key, parts: vec![part] },
        outputs: BTreeMap::from([("fitted".to_owned(), RecordOutput::Files { digest, files })]),
        seconds: 0.25,
        rows: Some(3),
        created_ms: 1_700_000_000_000,
    }
}
