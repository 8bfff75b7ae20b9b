//! Takes the values of secrets out of what leaves a task.
//!
//! Covered, wherever it stands in a text: the value itself, each line of a value of several lines, and the value as
//! JSON escapes it, as a URL percent-encodes it (either case of hexadecimal digits) and as Base64 writes it at any
//! alignment, so that the token in `base64("user:token")` goes too. Encoded forms are looked for in values of at
//! least six bytes: shorter ones would blank innocent text. Not covered: a value that a kind cuts up, hashes,
//! compresses or encrypts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use engine_core::{Event, Progress};
use engine_table::Files;
use polars::prelude::{DataFrame, DataType};

/// What stands where a secret stood.
pub const REDACTED: &str = "***";

const SHORTEST_ENCODED: usize = 6;
const SHORTEST_LINE: usize = 8;

/// Knows the values of a run's secrets.
#[derive(Default)]
pub struct Redactor {
    /// What is replaced, longest first, so that no part of a secret is left over.
    patterns: Vec<String>,
    /// The values by name, for the guard over outputs.
    values: BTreeMap<String, String>,
}

impl Redactor {
    /// A redactor for `secrets`, from name to value; empty values hide nothing.
    pub fn new(secrets: &BTreeMap<String, String>) -> Redactor {
        let values: BTreeMap<String, String> =
            secrets.iter().filter(|(_, value)| !value.is_empty()).map(|(n, v)| (n.clone(), v.clone())).collect();
        let mut patterns: BTreeSet<String> = BTreeSet::new();
        for value in values.values() {
            patterns.insert(value.clone());
            patterns.extend(value.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE).map(str::to_owned));
            let json = serde_json::Value::String(value.clone()).to_string();
            patterns.insert(json[1..json.len() - 1].to_owned());
            if value.len() >= SHORTEST_ENCODED {
                patterns.extend(percent_encoded(value));
                patterns.extend(base64_cores(value.as_bytes()));
            }
        }
        let mut patterns: Vec<String> = patterns.into_iter().collect();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.len()));
        Redactor { patterns, values }
    }

    /// `text` without the values.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for pattern in &self.patterns {
            if text.contains(pattern.as_str()) {
                text = Cow::Owned(text.replace(pattern.as_str(), REDACTED));
            }
        }
        text
    }

    /// `text` without the values.
    pub fn owned(&self, text: String) -> String {
        match self.text(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(text) => text,
        }
    }

    /// Takes the values out of every text in `value`.
    pub(crate) fn value(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.owned(std::mem::take(text)),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            serde_json::Value::Object(entries) => entries.values_mut().for_each(|entry| self.value(entry)),
            _ => {}
        }
    }

    /// The same event without the values, in every text that a kind can have a hand in.
    pub fn event(&self, event: Event) -> Event {
        if self.patterns.is_empty() {
            return event;
        }
        match event {
            Event::TaskProgress { task, progress } => Event::TaskProgress { task, progress: self.progress(progress) },
            Event::TaskWarning { task, message } => Event::TaskWarning { task, message: self.owned(message) },
            Event::TaskRetrying { task, error, attempt, wait_seconds } => {
                Event::TaskRetrying { task, error: self.owned(error), attempt, wait_seconds }
            }
            Event::TaskFinished { task, node, status, seconds, rows, error, reason } => Event::TaskFinished {
                task,
                node,
                status,
                seconds,
                rows,
                error: error.map(|error| self.owned(error)),
                reason: reason.map(|reason| self.owned(reason)),
            },
            other @ (Event::RunStarted { .. } | Event::TaskStarted { .. } | Event::RunFinished { .. }) => other,
        }
    }

    fn progress(&self, progress: Progress) -> Progress {
        let values = progress.values.into_iter().map(|(name, value)| (self.owned(name), value)).collect();
        Progress { values, ..progress }
    }

    /// The name of a secret whose value stands in a file of `files`, and the file: nothing of it may be stored.
    pub fn found_in_files(&self, files: &Files) -> Option<(&str, String)> {
        self.values.iter().find_map(|(secret, value)| {
            let file = files.iter().find(|(_, bytes)| contains(bytes, value.as_bytes()))?;
            Some((secret.as_str(), file.0.to_owned()))
        })
    }

    /// The name of a secret whose value stands in a text cell of `frame`, and the column.
    pub fn found_in_frame(&self, frame: &DataFrame) -> Option<(&str, String)> {
        if self.values.is_empty() {
            return None;
        }
        let texts = frame.columns().iter().filter(|column| column.dtype() == &DataType::String);
        for column in texts {
            let Ok(cells) = column.str() else { continue };
            for (secret, value) in &self.values {
                if cells.iter().flatten().any(|cell| cell.contains(value.as_str())) {
                    return Some((secret, column.name().to_string()));
                }
            }
        }
        None
    }
}

fn contains(bytes: &[u8], value: &[u8]) -> bool {
    bytes.len() >= value.len() && bytes.windows(value.len()).any(|window| window == value)
}

/// The value as `application/x-www-form-urlencoded` and RFC 3986 write it, in both cases; if nothing needs escaping,
/// the value itself.
fn percent_encoded(value: &str) -> Vec<String> {
    let encode = |upper: bool| -> String {
        let escape = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ if upper => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        };
        value.bytes().map(escape).collect()
    };
    let (upper, lower) = (encode(true), encode(false));
    vec![upper.replace("%20", "+"), lower.replace("%20", "+"), upper, lower]
}

/// What Base64 (both alphabets) writes for `value` whatever stands before and after it: for each of the three
/// alignments the digits that depend on the value alone.
fn base64_cores(value: &[u8]) -> Vec<String> {
    let alphabet = |index: usize, last: [u8; 2]| match index {
        0..=25 => b'A' + index as u8,
        26..=51 => b'a' + (index - 26) as u8,
        52..=61 => b'0' + (index - 52) as u8,
        _ => last[index - 62],
    };
    let mut cores = Vec::new();
    for before in 0..3 {
        // A digit is 6 bits; whole digits lie between the first and the last bit of the value.
        let (first_bit, last_bit) = (before * 8, (before + value.len()) * 8);
        let digits = first_bit.div_ceil(6)..last_bit / 6;
        if digits.len() < SHORTEST_ENCODED {
            continue;
        }
        let bit = |bit: usize| usize::from(value[(bit - first_bit) / 8] >> (7 - (bit - first_bit) % 8) & 1);
        let indices: Vec<usize> =
            digits.map(|digit| (0..6).fold(0, |index, offset| index << 1 | bit(digit * 6 + offset))).collect();
        for last in [[b'+', b'/'], [b'-', b'_']] {
            cores.push(indices.iter().map(|index| char::from(alphabet(*index, last))).collect());
        }
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "s3cr3t/ \"token\"+ü";

    fn redactor() -> Redactor {
        Redactor::new(&BTreeMap::from([("TOKEN".to_owned(), VALUE.to_owned()), ("EMPTY".to_owned(), String::new())]))
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(redactor().text(text), expected);
    }

    #[test]
    fn a_value_goes_wherever_it_stands() {
        check("cannot open the page", "cannot open the page");
        check(&format!("401 for {VALUE}, twice {VALUE}"), "401 for ***, twice ***");
        check(&serde_json::json!({ "key": VALUE }).to_string(), r#"{"key":"***"}"#);
        check("?key=s3cr3t%2F%20%22token%22%2B%C3%BC&x", "?key=***&x");
        check("?key=s3cr3t%2f%20%22token%22%2b%c3%bc&x", "?key=***&x");
        check("?key=s3cr3t%2F+%22token%22%2B%C3%BC&x", "?key=***&x");
    }

    #[test]
    fn base64_is_found_at_every_alignment() {
        // `printf 'hunter2hunter2' | base64`, then with `a` and with `u:` before it, and url-safe for other bytes.
        let redactor = Redactor::new(&BTreeMap::from([("P".to_owned(), "hunter2hunter2".to_owned())]));
        for (text, core) in [
            ("aHVudGVyMmh1bnRlcjI=", "aHVudGVyMmh1bnRlcj"),
            ("YWh1bnRlcjJodW50ZXIy", "h1bnRlcjJodW50ZXIy"),
            ("dTpodW50ZXIyaHVudGVyMg==", "odW50ZXIyaHVudGVyM"),
        ] {
            assert!(text.contains(core), "the vector itself");
            let redacted = redactor.text(text).into_owned();
            assert!(redacted.contains(REDACTED) && redacted.len() <= REDACTED.len() + 6, "{redacted}");
        }
    }

    #[test]
    fn a_line_of_a_long_secret_is_a_secret() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----";
        let redactor = Redactor::new(&BTreeMap::from([("PEM".to_owned(), key.to_owned())]));
        assert_eq!(redactor.text("bad line MIIEvQIBADANBg"), "bad line ***");
    }

    #[test]
    fn events_carry_no_value() {
        let event = Event::TaskFinished {
            task: "load".into(),
            node: "load".into(),
            status: engine_core::TaskStatus::Failed,
            seconds: 0.0,
            rows: None,
            error: Some(format!("refused: {VALUE}")),
            reason: Some(VALUE.into()),
        };
        let text = format!("{:?}", redactor().event(event));
        assert!(!text.contains("s3cr3t") && text.contains("refused: ***"), "{text}");
    }

    #[test]
    fn a_value_in_an_artifact_is_found() {
        let files = Files::new().with("ok.txt", b"fine".to_vec()).with("log.txt", format!("x{VALUE}y").into_bytes());
        assert_eq!(redactor().found_in_files(&files), Some(("TOKEN", "log.txt".to_owned())));
        let frame = polars::df!("n" => [1i64], "note" => [format!("a {VALUE}")]).unwrap();
        assert_eq!(redactor().found_in_frame(&frame), Some(("TOKEN", "note".to_owned())));
        let frame = polars::df!("note" => ["a"]).unwrap();
        assert_eq!(redactor().found_in_frame(&frame), None);
    }
}
