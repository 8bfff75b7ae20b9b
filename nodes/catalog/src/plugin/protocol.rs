//! What passes between the engine and a plug-in, byte for byte; the book has it as `guide/plugins.md`.
//!
//! To the plug-in: a line of JSON (the greeting), then a frame for each chunk of rows. From it: a line of JSON, then a
//! frame for each frame it was sent, in order. A frame is four letters, the length of what follows as an unsigned
//! 64-bit number, little-endian, and that many bytes: `ROWS` is a whole Arrow IPC stream, `FAIL` a message in UTF-8.

use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};

use engine_table::{ColumnType, NodeError};
use polars::prelude::*;
use polars_io::ipc::{IpcStreamReader, IpcStreamWriter};
use polars_io::{SerReader, SerWriter};
use serde_json::{Map, Value, json};

/// The version of the protocol.
pub(super) const VERSION: u64 = 1;

/// The key of a greeting that says its version.
const GREETING: &str = "fuseline_plugin";

const ROWS: &[u8; 4] = b"ROWS";
const FAIL: &[u8; 4] = b"FAIL";

/// No chunk comes near it: a length beyond is no length.
const LONGEST_FRAME: u64 = 1 << 36;

/// Bytes of a greeting or of a line that belongs to no protocol.
const LONGEST_LINE: u64 = 64 << 10;

/// What came from a plug-in.
#[derive(Debug)]
pub(super) enum Answer {
    /// Its greeting: it is ready.
    Ready,
    /// The rows it was asked for, as an Arrow IPC stream.
    Rows(Vec<u8>),
    /// It says why it cannot.
    Fail(String),
    /// A greeting of another version.
    OtherVersion(String),
    /// Something that is no part of the protocol.
    Noise(String),
    /// It ended in the middle of a frame.
    Cut {
        /// Bytes it announced, if it came to that.
        announced: Option<u64>,
        /// Bytes that came.
        came: u64,
    },
    /// It ended, or closed its output.
    Ended,
    /// Its output cannot be read.
    Unreadable(io::Error),
}

/// The greeting: one line.
pub(super) fn greeting(
    kind: &str,
    options: &Map<String, Value>,
    reads: &[ColumnType],
    writes: &[ColumnType],
) -> Vec<u8> {
    let columns = |columns: &[ColumnType]| -> Vec<Value> {
        let column =
            |column: &ColumnType| json!({ "name": column.name, "type": column.logical, "nullable": column.nullable });
        columns.iter().map(column).collect()
    };
    let greeting = json!({
        GREETING: VERSION,
        "kind": kind,
        "options": options,
        "reads": columns(reads),
        "writes": columns(writes),
    });
    format!("{greeting}\n").into_bytes()
}

/// A frame that asks for `rows`.
pub(super) fn rows_frame(rows: &DataFrame) -> Result<Vec<u8>, NodeError> {
    let mut bytes = ROWS.to_vec();
    bytes.extend([0; 8]);
    let mut rows = rows.clone();
    rows.rechunk_mut();
    IpcStreamWriter::new(&mut bytes)
        .with_compat_level(CompatLevel::oldest())
        .finish(&mut rows)
        .map_err(NodeError::failed)?;
    let length = (bytes.len() - 12) as u64;
    bytes[4..12].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The rows of a frame, one chunk a column.
pub(super) fn rows_of(stream: Vec<u8>) -> PolarsResult<DataFrame> {
    let mut rows = IpcStreamReader::new(Cursor::new(stream)).finish()?;
    rows.rechunk_mut();
    Ok(rows)
}

/// Reads the plug-in's greeting.
pub(super) fn read_greeting(from: &mut BufReader<impl Read>) -> Answer {
    match from.fill_buf() {
        Ok([]) => return Answer::Ended,
        // It may refuse at once.
        Ok([b'F', ..]) => return read_frame(from),
        Ok(_) => {}
        Err(error) => return Answer::Unreadable(error),
    }
    let mut line = Vec::new();
    if let Err(error) = from.take(LONGEST_LINE).read_until(b'\n', &mut line) {
        return Answer::Unreadable(error);
    }
    match serde_json::from_slice::<Value>(&line).ok().and_then(|value| value.get(GREETING).cloned()) {
        Some(version) if version == VERSION => Answer::Ready,
        Some(version) => Answer::OtherVersion(version.to_string()),
        None => Answer::Noise(shown(&line)),
    }
}

/// Reads a frame.
pub(super) fn read_frame(from: &mut BufReader<impl Read>) -> Answer {
    let mut letters = [0; 4];
    for place in 0..letters.len() {
        // One by one: a plug-in that prints `ok` and waits is told so, not waited for.
        match from.read_exact(&mut letters[place..=place]) {
            Ok(()) => {}
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Answer::Unreadable(error),
            Err(_) if place == 0 => return Answer::Ended,
            Err(_) => return Answer::Noise(shown(&letters[..place])),
        }
        if ![ROWS, FAIL].iter().any(|tag| tag.starts_with(&letters[..=place])) {
            return noise(&letters[..=place], from);
        }
    }
    let mut length = [0; 8];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Answer::Unreadable(error),
        Err(_) => return Answer::Cut { announced: None, came: 0 },
    }
    let announced = u64::from_le_bytes(length);
    if announced > LONGEST_FRAME {
        return noise(&[letters.as_slice(), &length].concat(), from);
    }
    // The buffer grows with what comes, not with what was announced.
    let mut bytes = Vec::new();
    if let Err(error) = from.take(announced).read_to_end(&mut bytes) {
        return Answer::Unreadable(error);
    }
    let came = bytes.len() as u64;
    match &letters {
        _ if came < announced => Answer::Cut { announced: Some(announced), came },
        FAIL => Answer::Fail(String::from_utf8_lossy(&bytes).into_owned()),
        _ => Answer::Rows(bytes),
    }
}

/// The line that begins with `begun` and belongs to no protocol, as far as it is there: more may never come.
fn noise(begun: &[u8], from: &BufReader<impl Read>) -> Answer {
    let mut line = begun.to_vec();
    line.extend(from.buffer());
    let first = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Answer::Noise(shown(first))
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end().chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(bytes: &[u8]) -> Vec<String> {
        let mut from = BufReader::new(bytes);
        let mut found = vec![format!("{:?}", read_greeting(&mut from))];
        while found.last().is_some_and(|last| last == "Ready" || last.starts_with("Rows") || last.starts_with("Fail")) {
            found.push(format!("{:?}", read_frame(&mut from)));
        }
        found
    }

    fn frame(letters: &str, content: &[u8]) -> Vec<u8> {
        [letters.as_bytes(), &(content.len() as u64).to_le_bytes(), content].concat()
    }

    #[test]
    fn frames_come_one_after_the_other_until_the_end() {
        let talk =
            [b"{\"fuseline_plugin\": 1}\n".to_vec(), frame("ROWS", &[7, 8]), frame("FAIL", b"no"), frame("ROWS", &[])];
        assert_eq!(answers(&talk.concat()), ["Ready", "Rows([7, 8])", "Fail(\"no\")", "Rows([])", "Ended"]);
        assert_eq!(answers(&frame("FAIL", b"no")), ["Fail(\"no\")", "Ended"]);
        assert_eq!(answers(b""), ["Ended"]);
    }

    #[test]
    fn what_is_no_protocol_is_shown() {
        assert_eq!(answers(b"loading the model\nmore\n"), ["Noise(\"loading the model\")"]);
        assert_eq!(answers(b"{\"fuseline_plugin\": 2}\n"), ["OtherVersion(\"2\")"]);
        let after = |bytes: &[u8]| {
            let talk = [b"{\"fuseline_plugin\":1}\n".as_slice(), bytes].concat();
            answers(&talk).pop().unwrap()
        };
        assert_eq!(after(b"Rescued 3 rows\nROWS"), "Noise(\"Rescued 3 rows\")");
        assert_eq!(after(b"ROWS AND ROWS OF THEM\n"), "Noise(\"ROWS AND ROWS OF THEM\")");
        assert_eq!(after(b"RO"), "Noise(\"RO\")");
        assert_eq!(after(b"ROWS\x05"), "Cut { announced: None, came: 0 }");
        assert_eq!(after(&frame("ROWS", &[1; 5])[..14]), "Cut { announced: Some(5), came: 2 }");
    }

    #[test]
    fn rows_pass_unchanged_whatever_chunks_they_lie_in() {
        let text = Series::new("t".into(), [Some("a"), None, Some("ä text that is longer than a view")]);
        let tensor = engine_table::tensor_column("v", 2, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let mut rows = DataFrame::new(3, vec![text.into(), tensor]).unwrap();
        rows.vstack_mut(&rows.clone()).unwrap();
        let frame = rows_frame(&rows).unwrap();
        let Answer::Rows(stream) = read_frame(&mut BufReader::new(frame.as_slice())) else { panic!("no rows") };
        assert!(rows_of(stream).unwrap().equals_missing(&rows));
        assert!(rows_of(vec![1, 2, 3]).is_err());
    }
}
