//! What one rule has used, holds and may hold.

use super::Measure;
use crate::units::{Amount, Timestamp};
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
}

fn is_budget(measure: &Measure) -> bool {
    *measure == Measure::Budget
}

/// Money spent, promised, and allowed to be promised.
///
/// `held ≤ credit` always: the part that a crash could make us forget is covered by what is already
/// on disk. `spent + held + orphaned ≤ limit` at every admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Settled. Durable.
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
}

impl Account {
    /// What is no longer free: spent, held or possibly held.
    pub fn committed(&self) -> Amount {
        self.spent.plus(self.held).plus(self.orphaned)
    }

    /// What another hold may still take of `limit`.
    pub fn free(&self, limit: Amount) -> Amount {
        limit.minus(self.committed()).at_least_zero()
    }

    /// Ends a hold of this life.
    pub fn end(&mut self, hold: Amount) {
        self.held = self.held.minus(hold).at_least_zero();
    }

    /// Ends a hold of an earlier life.
    pub fn end_orphan(&mut self, hold: Amount) {
        self.orphaned = self.orphaned.minus(hold).at_least_zero();
    }

    /// Takes over what an earlier life left: `known` is held by permits that are on disk. Returns what
    /// permits that the disk knows nothing of may hold besides; `limit` is the limit that they were
    /// checked against, absent if there cannot be any.
    ///
    /// Not all of the credit need be out: together they hold at most what the limit had left.
    pub fn orphan(&mut self, known: Amount, limit: Option<Amount>) -> Amount {
        let unknown = limit.map_or(Amount::ZERO, |limit| {
            let left = limit.plus(self.excess).minus(self.spent).minus(self.orphaned).minus(known);
            self.credit.minus(known).min(left).at_least_zero()
        });
        self.orphaned = self.orphaned.plus(known).plus(unknown);
        (self.held, self.credit, self.excess) = (Amount::ZERO, Amount::ZERO, Amount::ZERO);
        unknown
    }
}
