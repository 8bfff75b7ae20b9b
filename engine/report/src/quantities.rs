//! Numbers as people read them: seconds, counts, bytes, scores.

/// `seconds` as in `0.04 s`, `12.3 s`, `2 min 05 s`, `3 h 12 min`.
pub fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    if seconds < 10.0 {
        return format!("{seconds:.2} s");
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, rest) => format!("{minutes} min {rest:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

/// `count` with its thousands apart, as in `12,345`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `bytes` as in `512 B`, `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A score or a loss with four significant digits: `0.7943`, `1,234,567`, `1.234e-7`.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "not a number".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e15).contains(&size) {
        return format!("{value:.3e}");
    }
    if size >= 9999.5 {
        let whole = count(size.round() as u64);
        return if value < 0.0 { format!("-{whole}") } else { whole };
    }
    // Scores stand below each other: four digits behind the point. Else so that four digits count: 12.34, 0.001234.
    if (0.01..0.999_95).contains(&size) {
        return format!("{value:.4}");
    }
    let before = size.log10().floor() as i32;
    let behind = usize::try_from((3 - before).clamp(0, 7)).unwrap_or(0);
    let text = format!("{value:.behind$}");
    if size < 1.0 || behind == 0 {
        return text;
    }
    // A whole number shows no zeros behind the point.
    if value.fract() == 0.0 { format!("{value:.0}") } else { text }
}

/// `count things`, with the word in the number it needs.
pub fn counted(count_of: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(count_of), if count_of == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_grow_into_minutes_and_hours() {
        for (given, text) in [
            (0.0, "0.00 s"),
            (9.994, "9.99 s"),
            (12.34, "12.3 s"),
            (59.97, "1 min 00 s"),
            (125.0, "2 min 05 s"),
            (11_530.0, "3 h 12 min"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(seconds(given), text);
        }
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        for (given, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(given), text);
        }
        assert_eq!((counted(1, "row", "rows"), counted(2000, "row", "rows")), ("1 row".into(), "2,000 rows".into()));
    }

    #[test]
    fn bytes_have_a_unit_that_fits() {
        for (given, text) in [(1023, "1023 B"), (1536, "1.5 KiB"), (1024 * 1024 - 1, "1.0 MiB"), (3 << 30, "3.0 GiB")] {
            assert_eq!(bytes(given), text);
        }
    }

    #[test]
    fn numbers_show_four_digits_that_count() {
        for (given, text) in [
            (0.794_31, "0.7943"),
            (-0.05, "-0.0500"),
            (0.001_234, "0.001234"),
            (0.999_99, "1.0000"),
            (12.345, "12.35"),
            (3.0, "3"),
            (1234.5, "1234"),
            (1_234_567.2, "1,234,567"),
            (-20_000.0, "-20,000"),
            (1.234e-7, "1.234e-7"),
            (0.0, "0"),
            (f64::INFINITY, "∞"),
        ] {
            assert_eq!(number(given), text);
        }
    }
}
