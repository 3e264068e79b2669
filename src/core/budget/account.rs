//! One budget's money in one period.

use crate::units::{NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};

/// Which account: a budget, whose share of it, and the period.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountKey {
    /// The budget's id.
    #[serde(rename = "b")]
    pub budget: String,
    /// Empty for the tenant as a whole, else the gateway key's id.
    #[serde(rename = "s", default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// When the period began.
    #[serde(rename = "p")]
    pub period: Timestamp,
}

/// Money spent, promised, and allowed to be promised.
///
/// `held ≤ credit` always: the part that a crash could make us forget is covered by what is already
/// on disk. `spent + held + orphaned ≤ limit` at every admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Settled. Durable.
    #[serde(rename = "s")]
    pub spent: NanoUsd,
    /// Held by permits that this life of the object issued. Memory.
    #[serde(skip)]
    pub held: NanoUsd,
    /// How much may be held before the disk must be told again. Durable.
    #[serde(rename = "c", default)]
    pub credit: NanoUsd,
    /// Credit of an earlier life whose permits are not all settled or expired yet. Counts as held.
    #[serde(rename = "o", default)]
    pub orphaned: NanoUsd,
    /// By how much what was committed may have grown since an admission was checked against the limit:
    /// requests that cost more than their worst case. Since the load.
    #[serde(skip)]
    pub excess: NanoUsd,
}

impl Account {
    /// What is no longer free: spent, held or possibly held.
    pub fn committed(&self) -> NanoUsd {
        self.spent.plus(self.held).plus(self.orphaned)
    }

    /// What another hold may still take of `limit`.
    pub fn free(&self, limit: NanoUsd) -> NanoUsd {
        limit.minus(self.committed()).at_least_zero()
    }

    /// Ends a hold of this life.
    pub fn end(&mut self, hold: NanoUsd) {
        self.held = self.held.minus(hold).at_least_zero();
    }

    /// Ends a hold of an earlier life.
    pub fn end_orphan(&mut self, hold: NanoUsd) {
        self.orphaned = self.orphaned.minus(hold).at_least_zero();
    }

    /// Takes over what an earlier life left: `known` is held by permits that are on disk. Returns what
    /// permits that the disk knows nothing of may hold besides; `limit` is the limit that they were
    /// checked against, absent if there cannot be any.
    ///
    /// Not all of the credit need be out: together they hold at most what the limit had left.
    pub fn orphan(&mut self, known: NanoUsd, limit: Option<NanoUsd>) -> NanoUsd {
        let unknown = limit.map_or(NanoUsd::ZERO, |limit| {
            let left = limit.plus(self.excess).minus(self.spent).minus(self.orphaned).minus(known);
            self.credit.minus(known).min(left).at_least_zero()
        });
        self.orphaned = self.orphaned.plus(known).plus(unknown);
        (self.held, self.credit, self.excess) = (NanoUsd::ZERO, NanoUsd::ZERO, NanoUsd::ZERO);
        unknown
    }
}
