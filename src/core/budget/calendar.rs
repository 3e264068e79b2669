//! Periods in a time zone.

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
        self.period.start(now)
    }

    /// When the period that began at `start` ends; `None` for [`Period::Total`].
    pub fn end(self, start: Timestamp) -> Option<Timestamp> {
        self.period.end(start)
    }
}
