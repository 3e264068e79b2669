//! Spans of time in queries and bodies.

use super::{Failure, wrong};
use tollgate_core::units::{Millis, Timestamp};

/// A day in milliseconds.
pub(super) const DAY: Millis = 24 * 3_600_000;

/// Reads a time such as `2026-01-31T12:00:00Z`, or a day, which is its beginning in UTC.
pub(super) fn time(param: &str, text: &str) -> Result<Timestamp, Failure> {
    let at = Timestamp::from_rfc3339(text).or_else(|| Timestamp::from_rfc3339(&format!("{text}T00:00:00Z")));
    at.ok_or_else(|| wrong(param, "is a day such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z"))
}

/// The beginning of the day, UTC.
pub(super) fn day(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_sub(at.0.checked_rem_euclid(DAY).unwrap_or(0)))
}

/// The name of a day: `2026-01-31`.
pub(super) fn date(at: Timestamp) -> String {
    at.rfc3339().chars().take(10).collect()
}

/// Whole days, both included, as their beginnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Days {
    /// The first.
    pub first: Timestamp,
    /// The last.
    pub last: Timestamp,
}

impl Days {
    /// The asked days; without a wish the last 30.
    pub fn read(from: Option<&str>, to: Option<&str>, now: Timestamp) -> Result<Days, Failure> {
        let last = to.map(|text| time("to", text)).transpose()?.map_or(day(now), day);
        let first = from.map(|text| time("from", text)).transpose()?.map_or(last.plus(DAY.saturating_mul(-29)), day);
        if last < first { Err(wrong("from", "lies after `to`")) } else { Ok(Days { first, last }) }
    }

    /// The beginning of the first day after them.
    pub fn end(self) -> Timestamp {
        self.last.plus(DAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_both_ends_are_included() {
        let now = Timestamp::from_rfc3339("2026-03-01T10:00:00Z").unwrap();
        let read = |from: Option<&str>, to: Option<&str>| {
            let days = Days::read(from, to, now).map_err(|e| e.message())?;
            Ok::<_, String>(format!("{} {} {}", date(days.first), date(days.last), date(days.end())))
        };
        assert_eq!(read(None, None).unwrap(), "2026-01-31 2026-03-01 2026-03-02");
        assert_eq!(read(Some("2026-02-03"), Some("2026-02-03")).unwrap(), "2026-02-03 2026-02-03 2026-02-04");
        // A time stands for its day in UTC.
        assert_eq!(read(Some("2026-02-03T01:00:00+02:00"), Some("2026-02-04T23:59:59Z")).unwrap(), "2026-02-02 2026-02-04 2026-02-05");
        assert_eq!(read(Some("2026-02-04"), Some("2026-02-03")).unwrap_err(), "`from`: lies after `to`.");
        for bad in ["", "yesterday", "2026-02-30", "20260203", "2026-02-03T25:00:00Z"] {
            assert!(read(Some(bad), None).unwrap_err().starts_with("`from`: is a day"), "{bad}");
        }
    }
}
