//! What one rule has used, holds and may hold.

use super::Measure;
use crate::limit::{Age, Shape};
use crate::protocol::Crossed;
use crate::units::{Amount, Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// Which account: a rule, whose share of it, and the period.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountKey {
    /// The rule's id.
    #[serde(rename = "b")]
    pub rule: String,
    /// Empty for the tenant as a whole, else a gateway key's id, a model, a provider, a metadata value.
    #[serde(rename = "s", default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// When the period began; the epoch where there are none.
    #[serde(rename = "p")]
    pub period: Timestamp,
    /// What is counted.
    #[serde(rename = "m", default, skip_serializing_if = "is_budget")]
    pub measure: Measure,
    /// Whether the subject is a provider: then only attempts at it count.
    #[serde(rename = "v", default, skip_serializing_if = "std::ops::Not::not")]
    pub by_provider: bool,
}

impl AccountKey {
    /// The account of a budget with periods.
    pub fn budget(rule: &str, subject: &str, period: Timestamp) -> AccountKey {
        AccountKey { rule: rule.to_owned(), subject: subject.to_owned(), period, measure: Measure::Budget, by_provider: false }
    }

    /// The account of a rule without periods.
    pub fn timeless(rule: &str, subject: &str, measure: Measure) -> AccountKey {
        AccountKey { rule: rule.to_owned(), subject: subject.to_owned(), period: Timestamp(0), measure, by_provider: false }
    }
}

fn is_budget(measure: &Measure) -> bool {
    *measure == Measure::Budget
}

/// What was used, is promised, and may be promised.
///
/// `held ≤ credit` always: the part that a crash could make us forget is covered by what is already
/// on disk. What is committed is at or below the limit at every admission.
///
/// Where the rule forgets with time (`age`), that part counts holds too, from their admission on, and
/// settlement corrects it. `held` and `orphaned` are then only kept for the credit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Settled, where it is not forgotten. Durable.
    #[serde(rename = "s")]
    pub spent: Amount,
    /// Held by permits that this life of the object issued. Memory.
    #[serde(skip)]
    pub held: Amount,
    /// How much may be held before the disk must be told again. Durable.
    #[serde(rename = "c", default)]
    pub credit: Amount,
    /// Credit of an earlier life whose permits are not all settled or expired yet. Counts as held.
    #[serde(rename = "o", default)]
    pub orphaned: Amount,
    /// By how much what was committed may have grown since an admission was checked against the limit:
    /// requests that cost more than their worst case. Since the load.
    #[serde(skip)]
    pub excess: Amount,
    /// What was used lately, where it is forgotten with time.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Age>,
    /// Thresholds that were crossed in this period.
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    pub crossed: Vec<Crossed>,
}

impl Account {
    /// An empty account.
    pub fn new(shape: Option<Shape>) -> Account {
        Account { age: shape.map(Age::new), ..Account::default() }
    }

    /// What is no longer free: used, held or possibly held.
    pub fn committed(&mut self, now: Timestamp) -> Amount {
        match &mut self.age {
            Some(age) => age.used(now),
            None => self.spent.plus(self.held).plus(self.orphaned),
        }
    }

    /// What is settled. Where it ages, holds cannot be told from it.
    pub fn used(&mut self, now: Timestamp) -> Amount {
        match &mut self.age {
            Some(age) => age.used(now),
            None => self.spent,
        }
    }

    /// What another hold may still take of `limit`.
    pub fn free(&mut self, now: Timestamp, limit: Amount) -> Amount {
        limit.minus(self.committed(now)).at_least_zero()
    }

    /// Whether `n` more fit under `limit`. What costs nothing always does.
    ///
    /// # Errors
    /// Milliseconds until they would, where that is known.
    pub fn check(&mut self, now: Timestamp, n: Amount, limit: Amount) -> Result<(), Option<Millis>> {
        if n == Amount::ZERO {
            return Ok(());
        }
        match &mut self.age {
            Some(age) => age.check(now, n, limit),
            None if n <= limit.minus(self.spent.plus(self.held).plus(self.orphaned)) => Ok(()),
            None => Err(None),
        }
    }

    /// Takes a hold.
    pub fn hold(&mut self, now: Timestamp, n: Amount) {
        self.held = self.held.plus(n);
        if let Some(age) = &mut self.age {
            age.take(now, n);
        }
    }

    /// A hold of this life (`ours`) or of an earlier one, taken at `at`, grows.
    pub fn widen(&mut self, ours: bool, at: Timestamp, now: Timestamp, more: Amount) {
        let held = if ours { &mut self.held } else { &mut self.orphaned };
        *held = held.plus(more);
        if let Some(age) = &mut self.age {
            age.settle(at, now, Amount::ZERO, more);
        }
    }

    /// A hold of this life, taken at `at`, ends at `now` with its truth. Whether it was there.
    pub fn end(&mut self, at: Timestamp, now: Timestamp, hold: Amount, truth: Amount) -> bool {
        let there = hold <= self.held;
        self.held = self.held.minus(hold).at_least_zero();
        self.settle(at, now, hold, truth);
        there
    }

    /// A hold of an earlier life ends.
    pub fn end_orphan(&mut self, at: Timestamp, now: Timestamp, hold: Amount, truth: Amount) {
        self.orphaned = self.orphaned.minus(hold).at_least_zero();
        self.settle(at, now, hold, truth);
    }

    /// What was counted as `was` turns out to be `is`. Only what ages has counted `was`.
    pub fn settle(&mut self, at: Timestamp, now: Timestamp, was: Amount, is: Amount) {
        match &mut self.age {
            Some(age) => age.settle(at, now, was, is),
            None => self.spent = self.spent.plus(is),
        }
    }

    /// A truth that was charged as `was` changes by `change`.
    pub fn correct(&mut self, at: Timestamp, now: Timestamp, was: Amount, change: Amount) {
        match &mut self.age {
            Some(age) => age.settle(at, now, was, was.plus(change).at_least_zero()),
            None => self.spent = self.spent.plus(change),
        }
    }

    /// Takes over what an earlier life left: `known` is held by permits that are on disk. Returns what
    /// permits that the disk knows nothing of may hold besides, and what of it counts in the age; `limit` is
    /// the limit that they were checked against, absent if there cannot be any.
    ///
    /// Not all of the credit need be out: together they hold at most what the limit had left. Where what
    /// is used ages, they may hold more, since some of it no longer counts; what does counts from now on,
    /// later than it was taken.
    pub fn orphan(&mut self, now: Timestamp, known: Amount, limit: Option<Amount>) -> (Amount, Amount) {
        let more = self.credit.minus(known).at_least_zero();
        let (unknown, counted) = match (&mut self.age, limit) {
            (_, None) => (Amount::ZERO, Amount::ZERO),
            (Some(age), Some(limit)) => {
                let counted = more.min(limit.plus(self.excess).minus(age.used(now))).at_least_zero();
                age.take(now, counted);
                (more, counted)
            }
            (None, Some(limit)) => {
                let left = limit.plus(self.excess).minus(self.spent).minus(self.orphaned).minus(known);
                (more.min(left).at_least_zero(), Amount::ZERO)
            }
        };
        self.orphaned = self.orphaned.plus(known).plus(unknown);
        (self.held, self.credit, self.excess) = (Amount::ZERO, Amount::ZERO, Amount::ZERO);
        (unknown, counted)
    }

    /// A permit that a crash forgot ends, or is corrected: of what counts for its kind, `back` was its.
    pub fn reveal(&mut self, from: Timestamp, at: Timestamp, now: Timestamp, back: Amount, is: Amount) {
        if let Some(age) = &mut self.age {
            age.reveal(from, at, now, back, is);
        }
    }

    /// Whether nothing would be lost with it.
    pub fn is_idle(&mut self, now: Timestamp) -> bool {
        self.used(now) == Amount::ZERO
            && self.crossed.is_empty()
            && [self.held, self.credit, self.orphaned].iter().all(|n| *n == Amount::ZERO)
    }
}
