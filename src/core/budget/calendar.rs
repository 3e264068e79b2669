//! Periods in a time zone.
//!
//! A day (week, month, …) begins at the first moment at which the clocks there show its midnight or later.
//! So every moment lies in exactly one day, days have 23 or 25 hours when clocks change, a day that is
//! skipped is empty, and where midnight itself is skipped the day begins with its first moment.
//!
//! An hour is an hour by the clock between two changes of it. Where clocks change by half an hour, two
//! hours are cut short.

use super::{Period, Zone};
use crate::units::Timestamp;

/// A period, and the time zone that its beginnings are those of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// How often a budget starts anew.
    pub period: Period,
    /// Where.
    pub zone: Zone,
}

impl Calendar {
    /// When the period that contains `now` began; the epoch for [`Period::Total`].
    pub fn start(self, now: Timestamp) -> Timestamp {
        if self.zone.is_utc() || self.period == Period::Total {
            return self.period.start(now);
        }
        let here = self.zone.segment(now);
        let local = now.plus(here.offset);
        let this = self.period.start(local);
        if self.period == Period::Hour {
            return here.from.max(this.plus(here.offset.saturating_neg()));
        }
        // Clocks that were set back over midnight show the day before again. It is over all the same.
        let next = self.period.end(this).map(|next| self.zone.reaches(next.0));
        next.filter(|next| *next <= now).unwrap_or_else(|| self.zone.reaches(this.0))
    }

    /// When the period that began at `start` ends; `None` for [`Period::Total`].
    pub fn end(self, start: Timestamp) -> Option<Timestamp> {
        if self.zone.is_utc() || self.period == Period::Total {
            return self.period.end(start);
        }
        let here = self.zone.segment(start);
        let next = self.period.end(self.period.start(start.plus(here.offset)))?;
        if self.period == Period::Hour {
            return Some(here.until.min(next.plus(here.offset.saturating_neg())));
        }
        Some(self.zone.reaches(next.0))
    }
}
