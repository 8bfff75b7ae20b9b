//! Ids of runs: sortable by time, unique, readable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use engine_core::Hasher;

/// A new id, as in `20261123-190305-412-9f3ac1`: UTC date, time, milliseconds, and six digits of chance.
pub(crate) fn new_run_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let chance = Hasher::new("fuseline.run.v1")
        .field(&since.as_nanos().to_le_bytes())
        .field(&std::process::id().to_le_bytes())
        .field(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes())
        .finish();
    format!("{}-{}", timestamp(since.as_millis()), &chance.to_string()[..6])
}

/// `20261123-190305-412` for milliseconds since 1970.
fn timestamp(ms: u128) -> String {
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(i64::try_from(days).unwrap_or(0));
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}-{:03}", of_day % 1000)
}

/// Year, month and day of a day since 1970 (Hinnant, *chrono-compatible low-level date algorithms*).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        // `date -u -d @... +%Y%m%d-%H%M%S` of these seconds.
        for (seconds, expected) in [
            (0, "19700101-000000-000"),
            (951_782_399, "20000228-235959-000"),
            (951_782_400, "20000229-000000-000"),
            (1_735_689_599, "20241231-235959-000"),
            (1_795_460_585, "20261123-190305-000"),
        ] {
            assert_eq!(timestamp(seconds * 1000), expected);
        }
        assert_eq!(timestamp(1_795_460_585_042), "20261123-190305-042");
    }

    #[test]
    fn ids_differ_and_sort_by_time() {
        let ids: Vec<String> = (0..1000).map(|_| new_run_id()).collect();
        let unique: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!(unique.len(), 1000);
        assert!(ids.windows(2).all(|pair| pair[0][..19] <= pair[1][..19]));
    }
}
