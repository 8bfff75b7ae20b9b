//! Points in time as ISO 8601 text, in microseconds since 1970, without a zone.

/// `YYYY-MM-DD`, or with `T` or a space and `HH:MM[:SS[.ffffff]]`, and a closing `Z` or none. Offsets are refused:
/// columns hold no zone.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400;
    let micros = time.map_or(Some(0), micros_of_day)?;
    Some(seconds * 1_000_000 + micros)
}

fn micros_of_day(time: &str) -> Option<i64> {
    let (time, fraction) = match time.split_once('.') {
        Some((_, "")) => return None,
        Some((time, fraction)) => (time, fraction),
        None => (time, ""),
    };
    let mut parts = time.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next();
    if parts.next().is_some() || (second.is_none() && !fraction.is_empty()) {
        return None;
    }
    let second = second.map_or(Some(0), |second| number(second, 2))?;
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Digits beyond microseconds are cut off.
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction.parse::<i64>().ok()?)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant, *chrono-compatible low-level date algorithms*: years begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `micros` as `YYYY-MM-DDTHH:MM:SS`, with a fraction if there is one.
pub(crate) fn text(micros: i64) -> String {
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * march_month + 2) / 5 + 1, (march_month + 2) % 12 + 1);
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    format!("{year:04}-{month:02}-{day:02}T{clock}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_are_read_and_written() {
        for (given, micros, written) in [
            ("1970-01-01", 0, "1970-01-01T00:00:00"),
            // date -u -d '2000-02-29 12:30:45' +%s gives 951827445.
            ("2000-02-29 12:30:45", 951_827_445_000_000, "2000-02-29T12:30:45"),
            ("1969-12-31T23:59:59.5Z", -500_000, "1969-12-31T23:59:59.500000"),
            ("2024-12-31T00:01", 1_735_603_260_000_000, "2024-12-31T00:01:00"),
        ] {
            assert_eq!(parse(given), Some(micros), "{given}");
            assert_eq!(text(micros), written);
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for wrong in [
            "",
            "2023-02-29",
            "2024-13-01",
            "2024-1-1",
            "2024-01-01T24:00",
            "2024-01-01T10:00+02:00",
            "now",
            "2024-01-01T10",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_comes_back() {
        for day in (-200_000..200_000).step_by(37) {
            let micros = day * 86_400_000_000 + 1;
            if let Some(back) = parse(&text(micros)) {
                assert_eq!(back, micros);
            } else {
                assert!(text(micros).len() != "2000-01-01T00:00:00.000001".len(), "{}", text(micros));
            }
        }
    }
}
