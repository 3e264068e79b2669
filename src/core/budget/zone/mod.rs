//! Time zones, from a table that `scripts/zones` makes of the IANA database.
//!
//! Kept are changes of the offset since 2000 and the rule that holds after the last of them; before 2000 the
//! offset of then is assumed. The table costs 16 KB in the compressed bundle; `chrono-tz` would cost 1 MB.

mod table;

use crate::units::{Millis, Timestamp};
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Weekday};
use serde::{Deserialize, Serialize};
use table::{CHANGES, NAMES, RULES, ZONES};

/// Milliseconds in a minute.
const MINUTE: Millis = 60_000;
/// No zone's clock is further from UTC than this.
const FAR: Millis = 48 * 60 * MINUTE;
/// Most changes that are looked at around one moment.
const MAX_STEPS: usize = 16;

/// A time zone of the IANA database, by its name. UTC unless another is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(u16);

/// A day of a rule, and minutes after its midnight by the clock of before.
#[derive(Debug)]
struct Day {
    month: u8,
    /// Which of its weekdays, from 1; 5 is the last.
    week: u8,
    /// From Sunday, 0.
    weekday: u8,
    minute: i16,
}

/// Summer time for ever. Offsets in minutes.
#[derive(Debug)]
struct Rule {
    standard: i16,
    summer: i16,
    begin: Day,
    end: Day,
}

/// A time during which the offset stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
    /// What the clocks show more than UTC, in milliseconds.
    pub offset: Millis,
}

impl TryFrom<String> for Zone {
    type Error = String;
    fn try_from(text: String) -> Result<Zone, String> {
        if text == "UTC" {
            return Ok(Zone::default());
        }
        let others = NAMES.get(1..).unwrap_or_default();
        let found = others.binary_search_by(|(name, _)| (*name).cmp(&text)).ok();
        let index = found.and_then(|i| u16::try_from(i.saturating_add(1)).ok());
        index.map(Zone).ok_or_else(|| format!("there is no time zone `{text}`: write a name such as `Europe/Berlin`"))
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.name().to_owned()
    }
}

impl Day {
    /// Milliseconds since the epoch by the clock of before, in this year.
    fn in_year(&self, year: i32) -> Option<Millis> {
        let weekday = Weekday::try_from((self.weekday.checked_add(6)?).checked_rem(7)?).ok()?;
        let nth = |n| NaiveDate::from_weekday_of_month_opt(year, u32::from(self.month), weekday, n);
        let day = nth(self.week).or_else(|| nth(4))?.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
        Some(day.saturating_add(i64::from(self.minute).saturating_mul(MINUTE)))
    }
}

impl Rule {
    /// The changes of a year: when, and the offset in minutes from then on.
    fn changes(&self, year: i32) -> impl Iterator<Item = (Millis, i16)> {
        let at = |day: &Day, before: i16| Some(day.in_year(year)?.saturating_sub(i64::from(before).saturating_mul(MINUTE)));
        let begin = at(&self.begin, self.standard).map(|ms| (ms, self.summer));
        begin.into_iter().chain(at(&self.end, self.summer).map(|ms| (ms, self.standard)))
    }
}

impl Zone {
    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).map_or("UTC", |(name, _)| name)
    }

    /// Whether clocks show UTC always.
    pub(super) fn is_utc(self) -> bool {
        self == Zone::default()
    }

    /// What holds at `at`.
    pub(super) fn segment(self, at: Timestamp) -> Segment {
        let zone = NAMES.get(usize::from(self.0)).and_then(|(_, zone)| ZONES.get(usize::from(*zone)));
        let Some((first, from, to, rule)) = zone else { return segment(i64::MIN, i64::MAX, 0) };
        let changes = CHANGES.get(usize::from(*from)..usize::from(*to)).unwrap_or_default();
        let when = |(minute, _): &(u32, i16)| i64::from(*minute).saturating_mul(MINUTE);
        let next = changes.partition_point(|change| when(change) <= at.0);
        let before = next.checked_sub(1).and_then(|i| changes.get(i));
        let (begun, offset) = before.map_or((i64::MIN, *first), |change| (when(change), change.1));
        if let Some(change) = changes.get(next) {
            return segment(begun, when(change), offset);
        }
        match RULES.get(usize::from(*rule)) {
            Some(rule) => by_rule(rule, at, begun, offset),
            None => segment(begun, i64::MAX, offset),
        }
    }

    /// The first moment at which clocks show `local` (milliseconds since 1970 by the clock) or later.
    pub(super) fn reaches(self, local: Millis) -> Timestamp {
        let mut here = self.segment(Timestamp(local.saturating_sub(FAR)));
        for _ in 0..MAX_STEPS {
            let at = here.from.0.max(local.saturating_sub(here.offset));
            if at < here.until.0 {
                return Timestamp(at);
            }
            here = self.segment(here.until);
        }
        Timestamp(local.saturating_sub(here.offset))
    }
}

fn segment(from: Millis, until: Millis, offset: i16) -> Segment {
    Segment { from: Timestamp(from), until: Timestamp(until), offset: i64::from(offset).saturating_mul(MINUTE) }
}

/// What a rule says about `at`; it holds since `begun`, when the offset was `offset`.
fn by_rule(rule: &Rule, at: Timestamp, begun: Millis, offset: i16) -> Segment {
    let Some(year) = DateTime::from_timestamp_millis(at.0).map(|t| t.year()) else { return segment(begun, i64::MAX, offset) };
    let mut found = segment(begun, i64::MAX, offset);
    for (ms, offset) in (year.saturating_sub(1)..=year.saturating_add(1)).flat_map(|y| rule.changes(y)).filter(|(ms, _)| *ms > begun) {
        if ms > at.0 {
            found.until = found.until.min(Timestamp(ms));
        } else if ms >= found.from.0 {
            found = Segment { until: found.until, ..segment(ms, i64::MAX, offset) };
        }
    }
    found
}

#[cfg(test)]
mod tests;
