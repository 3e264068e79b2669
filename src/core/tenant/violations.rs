//! Who was denied by which rule, by minute.

use super::MAX_TALLY;
use super::ledger::Ledger;
use super::tally::{TallyKey, minute};
use crate::map::{Map, sort_by};
use crate::protocol::{Counts, Offender, ViolationRow};
use crate::units::Timestamp;

/// Most keys that are named as those that were denied most.
const TOP: usize = 10;

/// What a denial is counted under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ViolationKey {
    minute: Timestamp,
    key: String,
    pub rule: String,
    shadow: bool,
}

impl Ledger {
    /// Counts a denial.
    pub fn denied(&mut self, now: Timestamp, key: &str, model: &str, rule: &str, status: u16) {
        self.totals.denied = self.totals.denied.saturating_add(1);
        let tally = TallyKey {
            minute: minute(now),
            key: key.to_owned(),
            provider: String::new(),
            model: model.to_owned(),
            status,
            outcome: "denied",
        };
        self.tally(tally, Counts { requests: 1, ..Counts::default() });
        self.violation(now, key, rule, false);
    }

    /// Counts a denial, or what would have been one, by its rule. Beyond [`MAX_TALLY`] counters the keys
    /// are not told apart.
    pub fn violation(&mut self, now: Timestamp, key: &str, rule: &str, shadow: bool) {
        let mut counter = ViolationKey { minute: minute(now), key: key.to_owned(), rule: rule.to_owned(), shadow };
        if self.violations.len() >= MAX_TALLY && !self.violations.contains_key(&counter) {
            "other".clone_into(&mut counter.key);
        }
        let count = self.violations.entry(counter).or_default();
        *count = count.saturating_add(1);
        self.dirty = true;
    }

    /// The counters since the last time.
    pub fn take_violations(&mut self) -> Vec<ViolationRow> {
        let rows = std::mem::take(&mut self.violations).into_iter();
        rows.map(|(k, count)| ViolationRow { minute: k.minute, key: k.key, rule: k.rule, shadow: k.shadow, count }).collect()
    }
}

/// The keys that were really denied most, worst first.
pub fn top(rows: &[ViolationRow]) -> Vec<Offender> {
    let mut sums: Map<&str, u64> = Map::new();
    // A step that was taken instead (`limit:rpm downgrade`) follows a denial that is counted already.
    for row in rows.iter().filter(|r| !r.shadow && !r.rule.contains(' ')) {
        let sum = sums.entry(&row.key).or_default();
        *sum = sum.saturating_add(row.count);
    }
    let mut top: Vec<Offender> = sums.into_iter().map(|(key, count)| Offender { key: key.to_owned(), count }).collect();
    sort_by(&mut top, |a, b| (b.count, &a.key).cmp(&(a.count, &b.key)));
    top.truncate(TOP);
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_those_that_were_denied_most() {
        let row = |key: &str, rule: &str, shadow, count| ViolationRow {
            minute: Timestamp(0),
            key: key.to_owned(),
            rule: rule.to_owned(),
            shadow,
            count,
        };
        let rows = [
            row("a", "limit:rpm", false, 3),
            row("b", "limit:rpm", false, 2),
            row("b", "budget:m", false, 2),
            row("a", "limit:rpm", true, 90),
            row("a", "limit:rpm downgrade", false, 90),
        ];
        let top: Vec<_> = top(&rows).into_iter().map(|o| (o.key, o.count)).collect();
        assert_eq!(top, [("b".to_owned(), 4), ("a".to_owned(), 3)]);
    }
}
