//! Budget periods, aligned to the calendar in UTC.

use crate::units::Timestamp;
use chrono::{DateTime, Datelike, Days, Duration, Months, NaiveDate, NaiveTime, Timelike, Utc};
use serde::{Deserialize, Serialize};

/// How often a budget starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// From each full hour.
    Hour,
    /// From midnight.
    Day,
    /// From Monday, midnight.
    Week,
    /// From the first of the month.
    Month,
    /// From the first of January, April, July, October.
    Quarter,
    /// From the first of January.
    Year,
    /// Never.
    Total,
}

impl Period {
    /// When the period that contains `now` began; the epoch for [`Period::Total`].
    pub fn start(self, now: Timestamp) -> Timestamp {
        let Some(at) = DateTime::from_timestamp_millis(now.0) else { return Timestamp(0) };
        let day = at.date_naive();
        let start = match self {
            Period::Hour => return Timestamp(day_start(day).0.saturating_add(i64::from(at.hour()).saturating_mul(3_600_000))),
            Period::Day => Some(day),
            Period::Week => day.checked_sub_days(Days::new(u64::from(day.weekday().num_days_from_monday()))),
            Period::Month => day.with_day(1),
            Period::Quarter => {
                let month0 = day.month0().checked_div(3).unwrap_or(0).saturating_mul(3);
                day.with_day(1).and_then(|d| d.with_month0(month0))
            }
            Period::Year => NaiveDate::from_ymd_opt(day.year(), 1, 1),
            Period::Total => return Timestamp(0),
        };
        start.map_or(Timestamp(0), day_start)
    }

    /// When the period that began at `start` ends; `None` for [`Period::Total`].
    pub fn end(self, start: Timestamp) -> Option<Timestamp> {
        let at = DateTime::from_timestamp_millis(start.0)?;
        let months = |n| at.checked_add_months(Months::new(n));
        let next: DateTime<Utc> = match self {
            Period::Hour => at.checked_add_signed(Duration::hours(1)),
            Period::Day => at.checked_add_days(Days::new(1)),
            Period::Week => at.checked_add_days(Days::new(7)),
            Period::Month => months(1),
            Period::Quarter => months(3),
            Period::Year => months(12),
            Period::Total => None,
        }?;
        Some(Timestamp(next.timestamp_millis()))
    }
}

fn day_start(day: NaiveDate) -> Timestamp {
    Timestamp(day.and_time(NaiveTime::MIN).and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_rfc3339(text).unwrap()
    }

    #[test]
    fn starts_and_ends() {
        let now = at("2024-02-29T13:14:15.678Z"); // a Thursday in a leap year
        for (period, start, end) in [
            (Period::Hour, "2024-02-29T13:00:00Z", "2024-02-29T14:00:00Z"),
            (Period::Day, "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Period::Week, "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"),
            (Period::Month, "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Period::Quarter, "2024-01-01T00:00:00Z", "2024-04-01T00:00:00Z"),
            (Period::Year, "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        ] {
            assert_eq!(period.start(now), at(start), "{period:?}");
            assert_eq!(period.end(at(start)), Some(at(end)), "{period:?}");
        }
        assert_eq!(Period::Total.start(now), Timestamp(0));
        assert_eq!(Period::Total.end(Timestamp(0)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn every_moment_lies_in_one_period(ms in 0_i64..4_102_444_800_000) {
            for period in [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Quarter, Period::Year] {
                let start = period.start(Timestamp(ms));
                let end = period.end(start).unwrap();
                prop_assert!(start <= Timestamp(ms) && Timestamp(ms) < end);
                prop_assert_eq!(period.start(Timestamp(end.0 - 1)), start);
                prop_assert_eq!(period.start(end), end);
            }
        }
    }
}
