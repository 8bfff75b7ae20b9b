//! Ids of runs: sortable by time, unique, readable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use engine_core::Hasher;

/// The id of a run and when it began.
pub(crate) struct RunId {
    /// As in `20261123-190305-412-9f3ac1`: UTC date, time, milliseconds, and six digits of chance.
    pub(crate) id: String,
    /// The same milliseconds, since 1970.
    pub(crate) started_ms: u64,
}

/// A new id, later than every other of this process: two runs of one millisecond are told apart by the clock's next
/// one, so that ids sort in the order in which runs began.
pub(crate) fn new_run_id() -> RunId {
    static LAST_MS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX - 1);
    let after = |last: u64| Some(now.max(last + 1));
    let last = LAST_MS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).unwrap_or_default();
    let started_ms = now.max(last + 1);
    let chance = Hasher::new("fuseline.run.v1")
        .field(&since.as_nanos().to_le_bytes())
        .field(&std::process::id().to_le_bytes())
        .field(&started_ms.to_le_bytes())
        .finish();
    RunId { id: format!("{}-{}", timestamp(started_ms.into()), &chance.to_string()[..6]), started_ms }
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
        let ids: Vec<RunId> = (0..1000).map(|_| new_run_id()).collect();
        assert!(ids.windows(2).all(|pair| pair[0].id < pair[1].id && pair[0].started_ms < pair[1].started_ms));
        assert!(ids.iter().all(|run| run.id.starts_with(&timestamp(run.started_ms.into()))));
    }
}
