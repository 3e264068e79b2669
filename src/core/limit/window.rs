//! A sliding window whose bound holds for *every* window of its length.
//!
//! The window of length W is cut into 100 slots of `ceil(W / 100)`. Any interval of length W touches at
//! most 101 consecutive slots, so keeping the sum over the newest 101 slots at or below L keeps every
//! interval at or below L. The price is conservatism: under steady overload 100/101 (99.0 %) of the
//! limit is used.
//!
//! This is the sub-window counter of the literature (a circular array of buckets), taken one slot
//! wider than usual so that it errs on the safe side.

use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Slots whose sum is kept at or below the limit: 100 that make up the window, and the one that is
/// being filled.
pub const SLOTS: usize = 101;

/// What was admitted lately, by slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Length of one slot in milliseconds.
    width: Millis,
    /// Number of the newest slot (time divided by width).
    newest: i64,
    /// Counts, newest last; at most [`SLOTS`], leading zeros are dropped.
    counts: VecDeque<u64>,
    total: u64,
}

impl Window {
    /// An empty window of `length` milliseconds (at least one).
    pub fn new(length: Millis) -> Window {
        Window { width: slot_width(length), newest: 0, counts: VecDeque::new(), total: 0 }
    }

    /// Takes on another length. What was counted is kept, as if it had been admitted now: a changed
    /// limit never forgets.
    pub fn set_length(&mut self, now: Timestamp, length: Millis) {
        let width = slot_width(length);
        if width != self.width {
            self.roll(now);
            let total = self.total;
            *self = Window { width, newest: 0, counts: VecDeque::new(), total: 0 };
            if total > 0 {
                self.record(now, total);
            }
        }
    }

    /// What counts against the limit at `now`.
    pub fn used(&mut self, now: Timestamp) -> u64 {
        self.roll(now);
        self.total
    }

    /// Whether `n` more may pass at `now` under `limit`. Changes nothing but the passing of time.
    ///
    /// # Errors
    /// Milliseconds until they would pass if nothing else were admitted; `None` if they never will,
    /// because `n` alone is above the limit.
    pub fn check(&mut self, now: Timestamp, n: u64, limit: u64) -> Result<(), Option<Millis>> {
        self.roll(now);
        let want = self.total.saturating_add(n);
        if want <= limit {
            return Ok(());
        }
        if n > limit {
            return Err(None);
        }
        let mut to_free = want.saturating_sub(limit);
        let oldest = self.newest.saturating_sub(last_index(self.counts.len()));
        for (slot, count) in (oldest..).zip(&self.counts) {
            to_free = to_free.saturating_sub(*count);
            if to_free == 0 {
                return Err(Some(self.leaves_at(slot).since(now).max(1)));
            }
        }
        Err(Some(self.width))
    }

    /// Counts `n` admitted at `at`. A time before the newest slot goes into its own slot while that
    /// still counts, and nowhere after that.
    pub fn record(&mut self, at: Timestamp, n: u64) {
        if self.counts.is_empty() {
            self.newest = self.slot_of(at);
            self.counts.push_back(0);
        }
        self.roll(at);
        let back = self.newest.saturating_sub(self.slot_of(at)).max(0);
        let Ok(back) = usize::try_from(back) else { return };
        if back >= SLOTS {
            return;
        }
        while self.counts.len() <= back {
            self.counts.push_front(0);
        }
        let index = self.counts.len().saturating_sub(1).saturating_sub(back);
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(n);
            self.total = self.total.saturating_add(n);
        }
    }

    /// What was admitted at `at` and counted as `was` turns out to be `is`. Of what has left the window
    /// nothing can be taken back.
    pub fn replace(&mut self, at: Timestamp, was: u64, is: u64) {
        if is >= was {
            return self.record(at, is.saturating_sub(was));
        }
        let back = self.newest.saturating_sub(self.slot_of(at));
        let index = usize::try_from(back).ok().and_then(|back| self.counts.len().checked_sub(1)?.checked_sub(back));
        if let Some(count) = index.and_then(|i| self.counts.get_mut(i)) {
            let less = was.saturating_sub(is).min(*count);
            *count = count.saturating_sub(less);
            self.total = self.total.saturating_sub(less);
        }
    }

    /// Milliseconds until nothing counts any more, if nothing else is admitted.
    pub fn empty_in(&mut self, now: Timestamp) -> Millis {
        self.roll(now);
        if self.total == 0 {
            return 0;
        }
        let newest_used = self.counts.iter().rposition(|n| *n > 0).unwrap_or(0);
        let back = self.counts.len().saturating_sub(1).saturating_sub(newest_used);
        let slot = self.newest.saturating_sub(i64::try_from(back).unwrap_or(0));
        self.leaves_at(slot).since(now)
    }

    fn slot_of(&self, at: Timestamp) -> i64 {
        at.0.checked_div_euclid(self.width).unwrap_or(0)
    }

    /// When a slot stops counting.
    fn leaves_at(&self, slot: i64) -> Timestamp {
        Timestamp(slot.saturating_add(last_index(SLOTS)).saturating_add(1).saturating_mul(self.width))
    }

    /// Lets time pass. A clock that steps back changes nothing.
    fn roll(&mut self, now: Timestamp) {
        let slot = self.slot_of(now);
        if self.counts.is_empty() || slot <= self.newest {
            return;
        }
        let passed = slot.saturating_sub(self.newest);
        self.newest = slot;
        if passed >= last_index(SLOTS).saturating_add(1) {
            self.counts.clear();
            self.total = 0;
        } else {
            for _ in 0..passed {
                self.counts.push_back(0);
            }
            while self.counts.len() > SLOTS {
                let left = self.counts.pop_front().unwrap_or(0);
                self.total = self.total.saturating_sub(left);
            }
        }
        while self.counts.front() == Some(&0) {
            self.counts.pop_front();
        }
    }
}

fn slot_width(length: Millis) -> Millis {
    length.max(1).saturating_add(99).checked_div(100).unwrap_or(1)
}

fn last_index(len: usize) -> i64 {
    i64::try_from(len.saturating_sub(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Counts what lies in `(end - length, end]`: the definition, written without slots.
    fn in_window(admitted: &[i64], end: i64, length: i64) -> usize {
        admitted.iter().filter(|t| **t > end - length && **t <= end).count()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            length in 1_i64..5_000,
            limit in 1_u64..40,
            start in -1_000_i64..1_000_000,
            gaps in prop::collection::vec(-50_i64..400, 1..300),
        ) {
            let mut window = Window::new(length);
            let (mut now, mut admitted) = (start, Vec::new());
            // A clock that steps back is shown to the window, but time is what has been reached.
            let mut reached = start;
            for gap in gaps {
                now = (now + gap).max(start);
                reached = reached.max(now);
                if window.check(Timestamp(reached), 1, limit).is_ok() {
                    window.record(Timestamp(reached), 1);
                    admitted.push(reached);
                }
            }
            for end in &admitted {
                prop_assert!(in_window(&admitted, *end, length) as u64 <= limit);
                prop_assert!(in_window(&admitted, end + length - 1, length) as u64 <= limit);
            }
        }

        #[test]
        fn the_told_wait_is_enough_and_not_a_slot_too_long(length in 64_i64..100_000, limit in 1_u64..20, gaps in prop::collection::vec(0_i64..3_000, 1..60)) {
            let mut window = Window::new(length);
            let mut now = 1_000_000;
            for gap in gaps {
                now += gap;
                match window.check(Timestamp(now), 1, limit) {
                    Ok(()) => window.record(Timestamp(now), 1),
                    Err(wait) => {
                        let wait = wait.unwrap();
                        prop_assert!(window.clone().check(Timestamp(now + wait), 1, limit).is_ok());
                        if wait > 1 {
                            prop_assert!(window.clone().check(Timestamp(now + wait - 1), 1, limit).is_err());
                        }
                    }
                }
            }
        }

        #[test]
        fn records_in_any_order_count_the_same(length in 64_i64..10_000, times in prop::collection::vec(0_i64..10_000, 1..80), swap in any::<u64>()) {
            let end = Timestamp(10_000);
            let mut shuffled = times.clone();
            let n = shuffled.len();
            for i in 0..n {
                shuffled.swap(i, (swap.wrapping_mul(i as u64 + 1) % n as u64) as usize);
            }
            let count = |times: &[i64]| {
                let mut window = Window::new(length);
                times.iter().for_each(|t| window.record(Timestamp(*t), 1));
                window.used(end)
            };
            prop_assert_eq!(count(&times), count(&shuffled));
        }
    }

    #[test]
    fn nearly_all_of_the_limit_is_usable_under_steady_overload() {
        let (length, limit) = (60_000, 1_000);
        let mut window = Window::new(length);
        let mut admitted = 0_u64;
        for now in 0..600_000 {
            if window.check(Timestamp(now), 1, limit).is_ok() {
                window.record(Timestamp(now), 1);
                admitted += 1;
            }
        }
        assert!(admitted as f64 >= 0.98 * 10.0 * limit as f64, "{admitted}");
    }

    #[test]
    fn a_changed_length_forgets_nothing() {
        let mut window = Window::new(1_000);
        window.record(Timestamp(100), 5);
        window.set_length(Timestamp(200), 60_000);
        assert_eq!(window.used(Timestamp(30_000)), 5);
        assert_eq!(window.used(Timestamp(70_000)), 0);
    }

    #[test]
    fn more_than_the_limit_at_once_never_passes() {
        assert_eq!(Window::new(1_000).check(Timestamp(0), 3, 2), Err(None));
    }
}
