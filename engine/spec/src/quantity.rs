//! Durations and amounts of memory as people write them: `30s`, `1h30m`, `512MiB`, `2GB`.

use std::time::Duration;

/// Units of time and their milliseconds.
const TIME_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of memory and their bytes; `i` marks powers of 1024.
const MEMORY_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// What [`parse_duration`] reads, for the schema.
pub const DURATION_PATTERN: &str = "^([0-9]+(ms|s|m|h|d))+$";

/// What [`parse_memory`] reads, for the schema.
pub(crate) const MEMORY_PATTERN: &str = "^[0-9]+(B|[KMGT]i?B)$";

/// Numbers with units, from first to last, added up; nothing if `text` is none or more than can be counted.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut milliseconds: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (_, factor) = TIME_UNITS.iter().find(|(unit, _)| *unit == &after[..unit_end])?;
        milliseconds = milliseconds.checked_add(number.checked_mul(*factor)?)?;
        rest = &after[unit_end..];
    }
    (!text.is_empty()).then_some(Duration::from_millis(milliseconds))
}

/// A whole number with a unit, in bytes; nothing if `text` is none or more than can be counted.
pub fn parse_memory(text: &str) -> Option<u64> {
    let (number, unit) = number(text)?;
    let (_, factor) = MEMORY_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn durations_add_up_their_parts() {
        for (text, seconds) in [
            ("500ms", 0.5),
            ("30s", 30.0),
            ("5m", 300.0),
            ("2h", 7200.0),
            ("1h30m", 5400.0),
            ("1d", 86400.0),
            ("0s", 0.0),
        ] {
            assert_eq!(parse_duration(text).map(|duration| duration.as_secs_f64()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn memory_has_decimal_and_binary_units() {
        assert_eq!(parse_memory("512MiB"), Some(536_870_912));
        assert_eq!(parse_memory("2GiB"), Some(2_147_483_648));
        assert_eq!(parse_memory("2GB"), Some(2_000_000_000));
        assert_eq!(parse_memory("0B"), Some(0));
    }

    #[test]
    fn the_patterns_in_the_schema_say_the_same() {
        let duration = Regex::new(DURATION_PATTERN).unwrap();
        let memory = Regex::new(MEMORY_PATTERN).unwrap();
        for text in ["", "30", "s", "30s", "1h30m", "30 s", "1.5h", "-1s", "5min", "30S", "3h2", "é", "1é"] {
            assert_eq!(parse_duration(text).is_some(), duration.is_match(text), "{text}");
        }
        for text in ["", "512", "MiB", "512MiB", "1TB", "2G", "1.5GB", "2gib", "7B", "7iB", "1 GB", "1é"] {
            assert_eq!(parse_memory(text).is_some(), memory.is_match(text), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_counted_is_nothing() {
        assert_eq!(parse_duration("99999999999999999999s"), None);
        assert_eq!(parse_duration("18446744073709551615d"), None);
        assert_eq!(parse_memory("18446744073709551615TiB"), None);
    }
}
