//! A token bucket: at most the burst at once, refilled at a steady rate.
//!
//! Kept as what is missing from the bucket (its *level*), in integers without rounding: the refill of a
//! millisecond is `amount / window`, so the level is counted in parts of 1/window.
//!
//! # What comes back
//! A request takes its worst case. When the truth is less, the rest comes back, but only as far as it
//! has not been refilled meanwhile: at most `was - rate × (now - at)`. Then in any interval the truths
//! admitted are at most `burst + rate × length`. For let `V(s) = Σ admitted since s - rate × (now - s)`;
//! the level is at least every `V(s)`. For `s` at or before the admission, giving back `was - is` lowers
//! `V(s)` by as much. For `s` after it, `V(at) ≥ was - rate × (s - at) + V(s)`, so giving back no more
//! than `was - rate × (now - at)` leaves the level at `V(s)` or above.

use crate::units::{Amount, Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// What is missing from a full bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Refill in `window` milliseconds.
    amount: i64,
    window: Millis,
    /// Missing, whole.
    level: i64,
    /// And so many parts of `1/window`.
    rest: i64,
    /// As of when.
    at: Timestamp,
    /// Since when it has been refilled at this rate. What was admitted before does not come back.
    since: Timestamp,
}

impl Bucket {
    /// A full bucket that is refilled by `amount` in `window` milliseconds (at least one each).
    pub fn new(amount: Amount, window: Millis) -> Bucket {
        let nothing = Timestamp(i64::MIN);
        Bucket { amount: amount.get().max(1), window: window.max(1), level: 0, rest: 0, at: nothing, since: nothing }
    }

    /// It replaces something else from `now` on.
    pub fn began(&mut self, now: Timestamp) {
        self.since = now;
    }

    /// Takes on another rate. What is missing stays missing.
    pub fn set_rate(&mut self, now: Timestamp, amount: Amount, window: Millis) {
        let (amount, window) = (amount.get().max(1), window.max(1));
        if (amount, window) != (self.amount, self.window) {
            let level = self.used(now).get();
            *self = Bucket { amount, window, level, rest: 0, at: now, since: now };
        }
    }

    /// What is missing at `now`, rounded up.
    pub fn used(&mut self, now: Timestamp) -> Amount {
        self.refill(now);
        Amount::new(self.level.saturating_add(i64::from(self.rest > 0)))
    }

    /// Whether `n` more may be taken at `now` from a bucket that holds `cap`.
    ///
    /// # Errors
    /// Milliseconds until they may if nothing else is taken; `None` if they never will, because `n` alone
    /// is more than the bucket holds.
    pub fn check(&mut self, now: Timestamp, n: Amount, cap: Amount) -> Result<(), Option<Millis>> {
        self.refill(now);
        let over = self.parts().saturating_add(self.in_parts(n.get())).saturating_sub(self.in_parts(cap.get()));
        if over <= 0 {
            return Ok(());
        }
        if n > cap {
            return Err(None);
        }
        let amount = i128::from(self.amount);
        let wait = over.saturating_add(amount).saturating_sub(1).checked_div(amount).unwrap_or(i128::MAX);
        Err(Some(i64::try_from(wait).unwrap_or(i64::MAX)))
    }

    /// What was taken at `at` as `was` turns out at `now` to be `is`.
    pub fn replace(&mut self, at: Timestamp, now: Timestamp, was: Amount, is: Amount) {
        self.refill(now);
        let change = self.in_parts(is.minus(was).get());
        let back = if at < self.since && change < 0 {
            0
        } else {
            let refilled = i128::from(now.since(at)).saturating_mul(i128::from(self.amount));
            change.saturating_neg().min(self.in_parts(was.get()).saturating_sub(refilled).max(0))
        };
        // A change for the worse is negative here, and is taken whole.
        self.set(self.parts().saturating_sub(back));
    }

    /// Lets time pass. A clock that steps back changes nothing.
    fn refill(&mut self, now: Timestamp) {
        if now > self.at {
            let refilled = i128::from(now.since(self.at)).saturating_mul(i128::from(self.amount));
            self.set(self.parts().saturating_sub(refilled));
            self.at = now;
        }
    }

    fn in_parts(&self, n: i64) -> i128 {
        i128::from(n).saturating_mul(i128::from(self.window))
    }

    fn parts(&self) -> i128 {
        self.in_parts(self.level).saturating_add(i128::from(self.rest))
    }

    fn set(&mut self, parts: i128) {
        let (parts, window) = (parts.max(0), i128::from(self.window));
        let whole = parts.checked_div(window).unwrap_or(0);
        self.level = Amount::new(i64::try_from(whole).unwrap_or(i64::MAX)).get();
        self.rest = i64::try_from(parts.checked_rem(window).unwrap_or(0)).unwrap_or(0);
    }
}
