//! What must survive, and the form in which it does. These types are stored: change them only
//! additively, and see the pinned bytes in the tests.

use crate::breaker::Breaker;
use crate::budget::{Account, AccountKey};
use crate::ids::PermitId;
use crate::limit::Window;
use crate::perf::{Perf, Votes};
use crate::protocol::{Attempt, Hold, Totals};
use crate::savings::Saved;
use crate::units::{Amount, NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A new life of the object began; what the earlier one left open is orphaned.
    Started {
        /// Its number, larger than any before.
        epoch: u64,
        /// When it was loaded.
        at: Timestamp,
        /// How long orphans are waited for.
        lifetime: i64,
        /// The keys of then: an orphan may have been any of theirs.
        keys: Vec<String>,
    },
    /// So much may be handed out from now on.
    Credit {
        /// When.
        #[serde(default)]
        at: Timestamp,
        /// Permits up to this running number.
        granted: u64,
        /// Money, by account: the most that may be held at a time.
        accounts: Vec<Hold>,
    },
    /// A permit holds more than it was given.
    Extended {
        /// When.
        at: Timestamp,
        /// The permit.
        permit: PermitId,
        /// By how much.
        holds: Vec<Hold>,
    },
    /// Attempts under a permit failed that goes on.
    Failed {
        /// When.
        at: Timestamp,
        /// The permit.
        permit: PermitId,
        /// The attempts that were not told before.
        attempts: Vec<Attempt>,
    },
    /// Permits ended.
    Lines {
        /// One for each attempt.
        lines: Vec<Line>,
    },
    /// A budget has spent so much of its limit, for the first time in its period.
    Crossed {
        /// When.
        at: Timestamp,
        /// The budget's account.
        account: AccountKey,
        /// Which threshold, in percent.
        percent: u8,
        /// The limit that it is a part of.
        limit: Amount,
        /// What was spent then.
        spent: Amount,
    },
    /// A request was given the probe of a target's open breaker.
    Probe {
        /// When.
        at: Timestamp,
        /// `provider/model`.
        target: String,
        /// Its permit.
        permit: PermitId,
    },
    /// An answer was judged.
    Feedback {
        /// When.
        at: Timestamp,
        /// `provider/model`.
        target: String,
        /// In thousandths.
        score: u16,
        /// Bits of the request's id: it is judged once.
        request: u32,
    },
}

/// How a permit ended, as far as one attempt is concerned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The permit.
    pub permit: PermitId,
    /// Which attempt, from 1; 0 where there was none.
    pub n: u16,
    /// When the line was written.
    pub at: Timestamp,
    /// When the permit was given.
    pub admitted_at: Timestamp,
    /// Gateway key's id; empty where a crash forgot it.
    pub key: String,
    /// What kind of end.
    pub kind: LineKind,
    /// The attempt, where one is known. In a correction the last one, with the cost of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// What it did to each account.
    pub charges: Vec<Charge>,
    /// What the request saved: on the first of its lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Box<Saved>>,
}

/// Kinds of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// Reported with its true cost.
    Settled,
    /// Reported as never sent.
    Released,
    /// Nobody reported it in time.
    Expired,
    /// The truth about an expired permit, as a difference.
    Corrected,
}

/// What a line did to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The account.
    #[serde(rename = "a")]
    pub account: AccountKey,
    /// The hold that ended. In a correction, the part of an earlier charge that is taken back because
    /// it was this permit's, where a crash had mixed it with others'.
    #[serde(rename = "h")]
    pub hold: Amount,
    /// What was charged; negative only in corrections.
    #[serde(rename = "c")]
    pub cost: Amount,
}

/// A permit under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// When it was given.
    pub at: Timestamp,
    /// When it is closed if nobody reports.
    pub until: Timestamp,
    /// Gateway key's id; empty where a crash forgot it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
    /// The part of each hold that is input.
    #[serde(default)]
    pub input_cost: NanoUsd,
    /// Input tokens at most.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input_tokens: u64,
    /// The most that one attempt costs.
    #[serde(default, skip_serializing_if = "is_free")]
    pub worst_case: NanoUsd,
    /// The part of the holds that is for attempts that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Hold>,
    /// Whether a crash forgot the rest: it may never have been given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

fn is_free(n: &NanoUsd) -> bool {
    *n == NanoUsd::ZERO
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A permit that was closed for its silence, and may still be corrected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Until when.
    pub until: Timestamp,
    /// What it was charged; empty if it was unknown.
    pub charges: Vec<Charge>,
    /// Whether a crash had forgotten it: then all such permits of its life were charged together.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// What of an earlier life, in one account, that permits hold of which a crash left no trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// May still be held.
    #[serde(rename = "h")]
    pub held: Amount,
    /// Was charged when they expired, and not yet taken back by corrections.
    #[serde(rename = "c")]
    pub charged: Amount,
    /// What of it counts in the age of an account that has one.
    #[serde(rename = "n", default, skip_serializing_if = "is_nothing")]
    pub counted: Amount,
    /// When it was taken for held: what counts in the age does from then on.
    #[serde(rename = "t", default, skip_serializing_if = "is_epoch")]
    pub at: Timestamp,
}

impl Lost {
    /// So much of it is left, held or charged: less of it can count. Returns what counts no more.
    pub fn left(&mut self, left: Amount) -> Amount {
        let back = self.counted.minus(left).at_least_zero();
        self.counted = self.counted.minus(back);
        back
    }
}

fn is_nothing(n: &Amount) -> bool {
    *n == Amount::ZERO
}

fn is_epoch(at: &Timestamp) -> bool {
    *at == Timestamp::default()
}

impl Fact {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Fact::Started { at, .. }
            | Fact::Credit { at, .. }
            | Fact::Extended { at, .. }
            | Fact::Failed { at, .. }
            | Fact::Crossed { at, .. }
            | Fact::Probe { at, .. }
            | Fact::Feedback { at, .. } => *at,
            Fact::Lines { lines } => lines.iter().map(|l| l.at).max().unwrap_or_default(),
        }
    }
}

/// The ledger's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last journal row that is contained.
    pub journal: u64,
    /// When it was taken.
    #[serde(default)]
    pub at: Timestamp,
    /// The life that wrote it.
    pub epoch: u64,
    /// Permits given in that life.
    pub issued: u64,
    /// Permits that might have been given.
    pub granted: u64,
    /// Windows by limit and subject.
    pub windows: Vec<(String, String, Window)>,
    /// Accounts.
    pub accounts: Vec<(AccountKey, Account)>,
    /// Permits under way.
    pub live: Vec<(u64, Open)>,
    /// Permits of earlier lives.
    pub orphans: Vec<(PermitId, Open)>,
    /// Money of earlier lives that is not known by permit: life, account, how much.
    #[serde(default)]
    pub lost: Vec<(u64, AccountKey, Lost)>,
    /// Expired permits that may still be corrected.
    pub expired: Vec<(PermitId, Expired)>,
    /// All-time totals.
    pub totals: Totals,
    /// What is known of targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetHealth>,
    /// Bits of the ids of requests that were judged, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<u32>,
    /// Attempts under permits under way that `targets` knows of already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<(PermitId, usize)>,
}

/// What is known of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealth {
    /// `provider/model`.
    #[serde(rename = "t")]
    pub target: String,
    /// Its breaker.
    #[serde(rename = "b", default)]
    pub breaker: Breaker,
    /// How it performs.
    #[serde(rename = "p", default)]
    pub perf: Perf,
    /// The same as seen from each region, up to four.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<(String, Perf)>,
    /// What callers think of it.
    #[serde(rename = "v", default)]
    pub votes: Votes,
}
