//! What a turn wants: writes, an alarm, an answer.

use super::claims::Claim;
use super::facts::{Fact, Snapshot};
use super::keys::Key;
use super::secrets::StoredSecret;
use crate::config::Config;
use crate::price::PriceBook;
use crate::protocol::{Reply, StoredAnswer, UsageRow, ViolationRow};
use crate::route::Record;
use crate::savings::SavingsRow;
use crate::units::Timestamp;
use serde::{Deserialize, Serialize};

/// What is to be stored. The shell applies these in order, without waiting in between.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Append a journal row.
    Append {
        /// Its number, one more than the last.
        n: u64,
        /// When.
        at: Timestamp,
        /// What happened.
        facts: Vec<Fact>,
    },
    /// Replace the snapshot.
    Snapshot(Box<Snapshot>),
    /// Add to the minute counters.
    Usage(Vec<UsageRow>),
    /// Add to the counters of denials.
    Violations(Vec<ViolationRow>),
    /// Add to the sums of savings.
    Savings(Vec<SavingsRow>),
    /// Keep the record of a decision, by its request's id.
    Decision(Box<Record>),
    /// Forget all but so many records of decisions: those with the largest ids stay.
    TrimDecisions {
        /// How many stay.
        keep: u64,
    },
    /// Store a configuration version.
    Config(Box<StoredConfig>),
    /// Insert or replace a key.
    Key(Box<Key>),
    /// Insert or replace a secret.
    Secret(Box<StoredSecret>),
    /// Forget a secret.
    Unsecret {
        /// Its name.
        name: String,
    },
    /// Replace the operator's prices.
    Prices(Box<PriceBook>),
    /// Insert or replace a claim, by its key and hash.
    Claim(Box<Claim>),
    /// Store the answer of a claim.
    Answer {
        /// Gateway key's id.
        key: String,
        /// Hash of the idempotency key.
        hash: String,
        /// The answer.
        answer: Box<StoredAnswer>,
    },
    /// Forget a claim and its answer.
    Unclaim {
        /// Gateway key's id.
        key: String,
        /// Hash of the idempotency key.
        hash: String,
    },
    /// Forget journal rows that are older than `before` and not newer than row `up_to`, counters, savings,
    /// records and configuration versions (but the current) older than `before`.
    Trim {
        /// Age.
        before: Timestamp,
        /// The last row that the snapshot covers.
        up_to: u64,
    },
    /// Forget everything.
    DeleteAll,
}

/// A configuration version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredConfig {
    /// Counted from 1.
    pub version: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// The document.
    pub config: Config,
}

/// A question that only the store can answer, asked after the writes of the turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Minute counters in `[from, to)`.
    Usage {
        /// From.
        from: Timestamp,
        /// To.
        to: Timestamp,
    },
    /// The answer of a claim.
    Answer {
        /// Gateway key's id.
        key: String,
        /// Hash of the idempotency key.
        hash: String,
    },
    /// Minute counters in `[from, to)` together, by target and outcome.
    Targets {
        /// From.
        from: Timestamp,
        /// To.
        to: Timestamp,
    },
    /// Sums of savings of the days in `[from, to)`.
    Savings {
        /// From.
        from: Timestamp,
        /// To.
        to: Timestamp,
    },
    /// The record of a request's decision.
    Decision {
        /// The request's id.
        id: String,
    },
    /// Records of decisions by id.
    Decisions {
        /// After this one.
        after: String,
        /// At most so many.
        limit: u32,
    },
    /// Counters of denials in `[from, to)`. [`top`] tells who leads.
    Violations {
        /// From.
        from: Timestamp,
        /// To.
        to: Timestamp,
    },
}

/// The answer of a turn.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(clippy::large_enum_variant, reason = "there is one a turn, and it is nearly always the large one")
)]
pub enum Answer {
    /// Known.
    Reply(Reply),
    /// To be read.
    Read(Query),
}

/// What a turn wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Stored first.
    pub writes: Vec<Write>,
    /// Set the alarm to this time; leave it alone if absent.
    pub alarm: Option<Timestamp>,
    /// Sent last.
    pub answer: Answer,
    /// Promises of its own that the ledger found broken, for the error log. Each is a bug.
    pub broken: Vec<String>,
}
