//! The time of a batch as people read it.

const DAY_MS: u64 = 86_400_000;
/// Days in 400 years, after which the calendar repeats.
const CYCLE_DAYS: u64 = 146_097;

/// `ms` since 1970 as `2026-11-26 06:40:00.100 UTC`.
pub(super) fn utc(ms: u64) -> String {
    let (days, ms) = (ms / DAY_MS, ms % DAY_MS);
    let (mut year, mut left) = (1970 + days / CYCLE_DAYS * 400, days % CYCLE_DAYS);
    while left >= days_of_year(year) {
        left -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while left >= days_of_month(year, month) {
        left -= days_of_month(year, month);
        month += 1;
    }
    let (day, seconds) = (left + 1, ms / 1000);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03} UTC",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        ms % 1000
    )
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn a_time_is_told_by_the_calendar() {
        let table = [
            (0, "1970-01-01 00:00:00.000 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59.999 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00.000 UTC"),
            (1_700_000_007_042, "2023-11-14 22:13:27.042 UTC"),
            (1_735_603_200_000, "2024-12-31 00:00:00.000 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000 UTC"),
        ];
        for (ms, told) in table {
            assert_eq!(utc(ms), told);
        }
        assert!(utc(u64::MAX).ends_with(" UTC"));
    }
}
