//! Periods in zones, against `jiff`, which has its own copy of the database and its own arithmetic.

use super::*;
use crate::budget::{Calendar, Period};
use jiff::civil::{DateTime as Civil, date};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Unit};
use proptest::prelude::*;

const PERIODS: [Period; 6] = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Quarter, Period::Year];

fn zone(name: &str) -> Zone {
    Zone::try_from(name.to_owned()).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::from_rfc3339(text).unwrap()
}

fn civil(tz: &TimeZone, ms: i64) -> Civil {
    tz.to_datetime(jiff::Timestamp::from_millisecond(ms).unwrap())
}

/// The first moment at which clocks show `local` or later: looked for minute by minute.
fn first_at(tz: &TimeZone, local: Civil) -> i64 {
    let guess = jiff::tz::TimeZone::UTC.to_timestamp(local).unwrap().as_millisecond();
    let hours = (guess / 3_600_000 - 50..guess / 3_600_000 + 50).map(|h| h * 3_600_000);
    // No clock is set back by more than three hours, so what is reached stays reached for whole hours.
    let reached = hours.into_iter().find(|ms| civil(tz, *ms) >= local).unwrap();
    (reached - 4 * 3_600_000..=reached).step_by(60_000).find(|ms| civil(tz, *ms) >= local).unwrap()
}

/// The midnight with which a period begins that contains this civil time.
fn beginning(period: Period, t: Civil) -> Civil {
    let d = t.date();
    let first = match period {
        Period::Hour | Period::Total => panic!("these have no midnight"),
        Period::Day => d,
        Period::Week => d.checked_sub(i64::from(d.weekday().to_monday_zero_offset()).days()).unwrap(),
        Period::Month => d.first_of_month(),
        Period::Quarter => date(d.year(), (d.month() - 1) / 3 * 3 + 1, 1),
        Period::Year => date(d.year(), 1, 1),
    };
    first.at(0, 0, 0, 0)
}

fn following(period: Period, t: Civil) -> Civil {
    let span = match period {
        Period::Hour | Period::Total => panic!("these have no midnight"),
        Period::Day => 1.day(),
        Period::Week => 7.days(),
        Period::Month => 1.month(),
        Period::Quarter => 3.months(),
        Period::Year => 1.year(),
    };
    t.checked_add(span).unwrap()
}

/// Beginning and end of the period around `now`, by the definition.
fn expected(tz: &TimeZone, period: Period, now: i64) -> (i64, i64) {
    let mut this = beginning(period, civil(tz, now));
    let mut next = following(period, this);
    while first_at(tz, next) <= now {
        this = next;
        next = following(period, this);
    }
    (first_at(tz, this), first_at(tz, next))
}

/// 2000-03-01 to 2026-01-01: what both copies of the database know.
fn moments() -> impl Strategy<Value = i64> {
    951_868_800_000_i64..1_767_225_600_000
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn periods_are_those_of_another_library(which in 0..NAMES.len(), ms in moments(), near in any::<bool>(), p in 1..6_usize) {
        let (name, period) = (NAMES[which].0, PERIODS[p]);
        let Ok(tz) = TimeZone::get(name) else { return Ok(()) };
        // Half of the time close to a change of the clocks.
        let here = zone(name).segment(Timestamp(ms));
        let ms = if near && here.until.0 < 1_767_225_600_000 { here.until.0 + ms % (30 * 3_600_000) - 15 * 3_600_000 } else { ms };
        let calendar = Calendar { period, zone: zone(name) };
        let start = calendar.start(Timestamp(ms));
        let end = calendar.end(start).unwrap();
        prop_assert_eq!((start.0, end.0), expected(&tz, period, ms), "{} {:?} at {}", name, period, Timestamp(ms).rfc3339());
    }

    #[test]
    fn every_moment_lies_in_one_period(which in 0..NAMES.len(), ms in 951_868_800_000_i64..4_102_444_800_000) {
        for period in PERIODS {
            let calendar = Calendar { period, zone: Zone(u16::try_from(which).unwrap()) };
            let start = calendar.start(Timestamp(ms));
            let end = calendar.end(start).unwrap();
            prop_assert!(start <= Timestamp(ms) && Timestamp(ms) < end, "{period:?}");
            prop_assert_eq!(calendar.start(start), start);
            prop_assert_eq!(calendar.start(Timestamp(end.0 - 1)), start);
            prop_assert_eq!(calendar.start(end), end);
        }
    }

    #[test]
    fn offsets_are_those_of_another_library(which in 0..NAMES.len(), ms in moments()) {
        let name = NAMES[which].0;
        let Ok(tz) = TimeZone::get(name) else { return Ok(()) };
        let offset = tz.to_offset(jiff::Timestamp::from_millisecond(ms).unwrap());
        prop_assert_eq!(zone(name).segment(Timestamp(ms)).offset, i64::from(offset.seconds()) * 1_000, "{} at {}", name, Timestamp(ms).rfc3339());
    }
}

#[test]
fn days_when_clocks_change() {
    for (name, inside, start, hours) in [
        // An hour less, an hour more.
        ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", 23.0),
        ("Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", 25.0),
        ("America/New_York", "2030-03-10T12:00:00Z", "2030-03-10T05:00:00Z", 23.0),
        ("America/New_York", "2040-11-04T12:00:00Z", "2040-11-04T04:00:00Z", 25.0),
        // Midnight is skipped: the day begins at one o'clock.
        ("America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", 23.0),
        ("Africa/Cairo", "2024-04-26T12:00:00Z", "2024-04-25T22:00:00Z", 23.0),
        ("Asia/Beirut", "2022-03-27T12:00:00Z", "2022-03-26T22:00:00Z", 23.0),
        // Clocks go back at midnight: the last hour of the day comes twice.
        ("America/Sao_Paulo", "2018-02-17T12:00:00Z", "2018-02-17T02:00:00Z", 25.0),
        ("Asia/Beirut", "2022-10-29T12:00:00Z", "2022-10-28T21:00:00Z", 25.0),
        // Half an hour.
        ("Australia/Lord_Howe", "2026-04-05T00:00:00Z", "2026-04-04T13:00:00Z", 24.5),
        ("Australia/Lord_Howe", "2026-10-04T00:00:00Z", "2026-10-03T13:30:00Z", 23.5),
        // Samoa had no 30 December 2011.
        ("Pacific/Apia", "2011-12-29T20:00:00Z", "2011-12-29T10:00:00Z", 24.0),
        ("Pacific/Apia", "2011-12-30T20:00:00Z", "2011-12-30T10:00:00Z", 24.0),
    ] {
        let calendar = Calendar { period: Period::Day, zone: zone(name) };
        let begun = calendar.start(at(inside));
        assert_eq!(begun.rfc3339(), at(start).rfc3339(), "{name} {inside}");
        let length = calendar.end(begun).unwrap().since(begun) as f64 / 3_600_000.0;
        assert_eq!(length, hours, "{name} {inside}");
        // As another library has it.
        let tz = TimeZone::get(name).unwrap();
        let day = jiff::Timestamp::from_millisecond(begun.0).unwrap().to_zoned_datetime(tz);
        assert_eq!(day.start_of_day().unwrap().timestamp().as_millisecond(), begun.0, "{name} {inside}");
        let next = jiff::Timestamp::from_millisecond(calendar.end(begun).unwrap().0).unwrap();
        let span = next.since((Unit::Minute, day.timestamp())).unwrap();
        assert_eq!(span.get_minutes() as f64 / 60.0, hours);
    }
}

#[test]
fn hours_when_clocks_change() {
    let hours = |name: &str, from: &str, n: usize| -> Vec<String> {
        let calendar = Calendar { period: Period::Hour, zone: zone(name) };
        let mut all = vec![calendar.start(at(from))];
        for _ in 1..n {
            all.push(calendar.end(all[all.len() - 1]).unwrap());
        }
        all.iter().map(|t| t.rfc3339()[11..16].to_owned()).collect()
    };
    assert_eq!(hours("Europe/Berlin", "2026-10-25T00:30:00Z", 4), ["00:00", "01:00", "02:00", "03:00"]);
    assert_eq!(hours("Asia/Kolkata", "2026-10-25T00:45:00Z", 3), ["00:30", "01:30", "02:30"]);
    // From +11:00 to +10:30 at 2:00: the hour from 1:00 to 2:00 has its last half hour twice.
    assert_eq!(hours("Australia/Lord_Howe", "2026-04-04T14:10:00Z", 4), ["14:00", "15:00", "15:30", "16:30"]);
}

#[test]
fn months_end_where_they_end() {
    let calendar = |period| Calendar { period, zone: zone("Europe/Berlin") };
    let month = calendar(Period::Month);
    for (inside, start, end) in [
        ("2024-02-29T22:59:59Z", "2024-01-31T23:00:00Z", "2024-02-29T23:00:00Z"),
        ("2024-02-29T23:00:00Z", "2024-02-29T23:00:00Z", "2024-03-31T22:00:00Z"),
        ("2025-12-31T23:00:00Z", "2025-12-31T23:00:00Z", "2026-01-31T23:00:00Z"),
    ] {
        assert_eq!(month.start(at(inside)), at(start));
        assert_eq!(month.end(at(start)), Some(at(end)));
    }
    assert_eq!(calendar(Period::Quarter).end(at("2025-12-31T23:00:00Z")), Some(at("2026-03-31T22:00:00Z")));
    assert_eq!(calendar(Period::Week).start(at("2026-03-29T22:30:00Z")), at("2026-03-29T22:00:00Z"));
    assert_eq!(calendar(Period::Total).end(calendar(Period::Total).start(at("2026-03-29T22:30:00Z"))), None);
}

#[test]
fn names_are_those_of_the_database() {
    assert!(NAMES[1..].is_sorted_by(|a, b| a.0 < b.0));
    for name in ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Argentina/Ushuaia"] {
        assert_eq!(zone(name).name(), name);
        assert_eq!(String::from(zone(name)), name);
    }
    for wrong in ["", "Europe/Bielefeld", "CEST", "europe/berlin", "+01:00"] {
        assert!(Zone::try_from(wrong.to_owned()).is_err(), "{wrong}");
    }
    // Both copies of the database have nearly all of them.
    let known = NAMES.iter().filter(|(name, _)| TimeZone::get(name).is_ok()).count();
    assert!(known + 5 > NAMES.len(), "{known} of {}", NAMES.len());
}
