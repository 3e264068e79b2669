//! Savings by day, and the records of decisions.

use super::facts::{Line, LineKind};
use super::ledger::Ledger;
use super::{MAX_TALLY, Tenant, Write};
use crate::protocol::Attempt;
use crate::route::Record;
use crate::savings;
use crate::units::{Millis, Timestamp};

/// Most records of decisions of a tenant; the oldest go first.
pub const MAX_RECORDS: u64 = 10_000;
/// Most records that are kept in a minute: each is a row of its own on disk.
pub const MAX_PER_MINUTE: u32 = 120;
/// Records between two times that the oldest are forgotten.
const TRIM_EVERY: u32 = 256;
/// Most records of one answer: each has a few kilobytes.
pub const MAX_PAGE: u32 = 200;
/// A day.
const DAY: Millis = 24 * 3_600_000;

/// How many decisions were recorded of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    minute: i64,
    in_minute: u32,
    since_trim: u32,
}

impl Recorded {
    /// Whether one more may be kept.
    fn room(&mut self, now: Timestamp) -> bool {
        let minute = now.0.checked_div_euclid(60_000).unwrap_or(0);
        if self.minute != minute {
            (self.minute, self.in_minute) = (minute, 0);
        }
        self.in_minute = self.in_minute.saturating_add(1);
        self.in_minute <= MAX_PER_MINUTE
    }
}

/// The beginning of the day, UTC.
pub(super) fn day(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_sub(at.0.checked_rem_euclid(DAY).unwrap_or(0)))
}

impl Tenant {
    /// Keeps records of decisions whose permits have just ended.
    pub(super) fn keep_records(&mut self, now: Timestamp, records: Vec<Record>, writes: &mut Vec<Write>) {
        for record in records {
            if !record.fits() || !self.recorded.room(now) {
                continue;
            }
            writes.push(Write::Decision(Box::new(record)));
            self.recorded.since_trim = self.recorded.since_trim.saturating_add(1);
        }
        if self.recorded.since_trim >= TRIM_EVERY {
            self.recorded.since_trim = 0;
            writes.push(Write::TrimDecisions { keep: MAX_RECORDS });
        }
    }
}

impl Ledger {
    /// Adds what a request saved to the sums of its day. Requests of which nobody reported saved nothing
    /// and are not in the savings ledger.
    pub(super) fn tally_savings(&mut self, lines: &[Line]) {
        let told = lines.iter().filter(|l| matches!(l.kind, LineKind::Settled | LineKind::Corrected | LineKind::Released));
        let Some((line, saved)) = told.filter_map(|l| Some((l, l.saved.as_deref()?))).next() else { return };
        let attempts: Vec<Attempt> = lines.iter().filter_map(|l| l.attempt.clone()).collect();
        for mut row in savings::rows(day(line.at), saved, &attempts) {
            if self.savings.len() >= MAX_TALLY && !self.savings.contains_key(&name(&row)) {
                "other".clone_into(&mut row.model);
            }
            self.savings.entry(name(&row)).and_modify(|sum| sum.add(&row)).or_insert(row);
        }
    }
}

fn name(row: &savings::SavingsRow) -> (Timestamp, String, String) {
    (row.day, row.model.clone(), row.cause.clone())
}
