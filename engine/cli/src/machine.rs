//! What is asked of the machine: its name, its float kernels, its clock, the working tree.

use std::path::Path;
use std::process::Command;

use engine_plan::Environment;
use engine_store::GitState;

/// What keys tasks besides their inputs.
pub fn environment() -> Environment {
    Environment { numerics: numerics().to_owned() }
}

/// The class of float kernels chosen at run time here: equal classes give equal bits.
#[cfg(target_arch = "x86_64")]
fn numerics() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") { "cpu-avx512" } else { "cpu-avx2" }
}

/// The class of float kernels chosen at run time here: equal classes give equal bits.
#[cfg(not(target_arch = "x86_64"))]
fn numerics() -> &'static str {
    std::env::consts::ARCH
}

/// The name of this machine; empty if nobody gave it one.
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| String::new(), |name| name.trim().to_owned())
}

/// Threads the machine can run at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes of memory the machine, or the container this process lives in, has; nothing where that is not told.
pub fn memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| total_of(&text));
    // Of the unified control groups; `max` is no limit.
    let container = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(container).min()
}

/// The bytes of the line `MemTotal:` of `/proc/meminfo`.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// The working tree `folder` lies in; nothing if there is none or git is not installed.
pub fn git(folder: &Path) -> Option<GitState> {
    // Spawning git takes longer than looking for its folder.
    folder.ancestors().find(|folder| folder.join(".git").exists())?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let revision = git(&["rev-parse", "HEAD"])?;
    let dirty = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(GitState { revision, dirty })
}

/// A point in time as people read it, in UTC: `2026-11-23 18:05:09`.
///
/// Days to a date as in Howard Hinnant, *chrono-compatible low-level date algorithms*, `civil_from_days`.
pub fn date_time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_its_total() {
        let meminfo = "MemTotal:        8152012 kB\nMemFree:          220284 kB\n";
        assert_eq!(total_of(meminfo), Some(8_152_012 * 1024));
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn a_point_in_time_is_written_as_the_calendar_has_it() {
        // Values of `date -u -d @SECONDS`.
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_457_109, "2026-11-23 18:05:09"),
        ] {
            assert_eq!(date_time(seconds * 1000), expected);
        }
    }
}
