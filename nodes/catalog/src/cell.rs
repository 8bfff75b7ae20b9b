//! The text of one cell as a value, and back.
//!
//! One set of rules for every kind that turns text into numbers, truth values and times, so that a
//! cell means the same in a file, in a cast and in an option. It knows no file and no table.

/// An integer in decimal digits with an optional sign; spaces around it are ignored.
pub(crate) fn parse_int(text: &str) -> Option<i64> {
    text.trim_matches(' ').parse().ok()
}

/// A finite decimal number, as in `-1.5` or `2e3`; spaces around it are ignored.
///
/// `nan` and `inf` are no numbers: a gap is a null, and an infinite value is a fault of the data.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    text.trim_matches(' ').parse::<f64>().ok().filter(|value| value.is_finite())
}

/// `true` or `false` in lower, upper or title case, `1` or `0`; spaces around it are ignored.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text.trim_matches(' ') {
        "true" | "True" | "TRUE" | "1" => Some(true),
        "false" | "False" | "FALSE" | "0" => Some(false),
        _ => None,
    }
}

const MICROSECONDS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// An ISO 8601 date or date and time as microseconds since 1970-01-01, in universal time.
///
/// `2024-02-29`, `2024-02-29 13:45`, `2024-02-29T13:45:01.25`, with `Z` or an offset such as
/// `+01:00` behind a time. Digits beyond the microsecond are cut off.
pub(crate) fn parse_datetime(text: &str) -> Option<i64> {
    let text = text.trim_matches(' ').as_bytes();
    let (date, rest) = text.split_at_checked(10)?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *date else { return None };
    let year = number(&[y0, y1, y2, y3])?;
    let (month, day) = (number(&[m0, m1])?, number(&[d0, d1])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * SECONDS_PER_DAY * MICROSECONDS_PER_SECOND;
    match rest {
        [] => Some(midnight),
        [b'T' | b't' | b' ', time @ ..] => Some(midnight + parse_time(time)?),
        _ => None,
    }
}

/// Microseconds since midnight of `13:45`, `13:45:01` or `13:45:01.25`, less the offset behind it.
fn parse_time(time: &[u8]) -> Option<i64> {
    let [h0, h1, b':', m0, m1, rest @ ..] = time else { return None };
    let (hour, minute) = (number(&[*h0, *h1])?, number(&[*m0, *m1])?);
    let (second, fraction, rest) = match rest {
        [b':', s0, s1, b'.', digits @ ..] => {
            let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (number(&[*s0, *s1])?, microseconds(&digits[..length])?, &digits[length..])
        }
        [b':', s0, s1, rest @ ..] => (number(&[*s0, *s1])?, 0, rest),
        rest => (0, 0, rest),
    };
    let offset_minutes = match rest {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] | [sign @ (b'+' | b'-'), h0, h1, m0, m1] => {
            let minutes = number(&[*h0, *h1])? * 60 + number(&[*m0, *m1])?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = hour * 3600 + (minute - offset_minutes) * 60 + second;
    Some(seconds * MICROSECONDS_PER_SECOND + fraction)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

/// The digits behind the point of a second, as microseconds.
fn microseconds(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    let kept = &digits[..digits.len().min(6)];
    Some(number(kept)? * 10_i64.pow(6 - u32::try_from(kept.len()).unwrap_or(6)))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant, *chrono-Compatible
/// Low-Level Date Algorithms*): years begin in March, so that the leap day is a year's last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01; the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A point in time as [`parse_datetime`] reads it: the date alone at midnight, else with a time.
pub(crate) fn format_datetime(microseconds: i64) -> String {
    let per_day = SECONDS_PER_DAY * MICROSECONDS_PER_SECOND;
    let (year, month, day) = civil_from_days(microseconds.div_euclid(per_day));
    let within = microseconds.rem_euclid(per_day);
    let (seconds, fraction) = (within / MICROSECONDS_PER_SECOND, within % MICROSECONDS_PER_SECOND);
    let date = format!("{year:04}-{month:02}-{day:02}");
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (seconds, fraction) {
        (0, 0) => date,
        (_, 0) => format!("{date} {time}"),
        _ => format!("{date} {time}.{fraction:06}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_finite_and_may_have_spaces_around() {
        for (text, expected) in
            [("1.5", Some(1.5)), (" -2e3 ", Some(-2000.0)), (".5", Some(0.5)), ("nan", None), ("inf", None)]
        {
            assert_eq!(parse_float(text), expected, "{text}");
        }
        for text in ["", " ", "1e999", "1,5", "0x1", "1.5.2"] {
            assert_eq!(parse_float(text), None, "{text}");
        }
        assert_eq!(parse_int(" 42"), Some(42));
        assert_eq!(parse_int("9223372036854775808"), None);
        assert_eq!(parse_int("1.0"), None);
    }

    #[test]
    fn yes_and_no_are_no_truth_values() {
        assert_eq!(parse_bool("TRUE"), Some(true));
        assert_eq!(parse_bool("0"), Some(false));
        assert_eq!(parse_bool("Yes"), None);
    }

    #[test]
    fn iso_dates_and_times_are_read_in_universal_time() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("1969-12-31", -86_400),
            // `date -u -d 2024-02-29 +%s`
            ("2024-02-29", 1_709_164_800),
            ("2024-02-29 13:45", 1_709_214_300),
            ("2024-02-29T13:45:01Z", 1_709_214_301),
            ("2024-02-29T13:45:01+01:00", 1_709_210_701),
            ("2024-02-29T13:45:01-0130", 1_709_219_701),
        ] {
            assert_eq!(parse_datetime(text), Some(seconds * MICROSECONDS_PER_SECOND), "{text}");
        }
        assert_eq!(parse_datetime("1970-01-01T00:00:00.2500009"), Some(250_000));
        for text in ["2023-02-29", "2024-13-01", "2024-1-1", "20240101", "2024-01-01T25:00", "2024-01-01x", "1.1.2024"]
        {
            assert_eq!(parse_datetime(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_written_as_it_is_read() {
        for text in ["2024-02-29", "1899-12-31 23:59:59", "2024-03-01 00:00:00.000001", "0001-01-01"] {
            assert_eq!(format_datetime(parse_datetime(text).unwrap()), text);
        }
        for days in (-800_000..800_000).step_by(97) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
