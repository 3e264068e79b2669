//! What a worker and the objects say to each other: one message, one reply, as JSON.
//!
//! During a roll-out workers and objects of two neighbouring versions talk to each other, so changes
//! are additive only: new fields carry `#[serde(default)]`, nothing is renamed, and the pinned-bytes
//! tests below fail when somebody forgets.

use crate::budget::AccountKey;
use crate::config::Config;
use crate::ids::{PermitId, TenantId};
use crate::price::Usage;
use crate::units::{Millis, NanoUsd, Timestamp, Tokens};
use serde::{Deserialize, Serialize};

/// Version of the messages. Raised when an older reader must not guess.
pub const VERSION: u32 = 1;
/// Most reports in one message: what one turn may cost.
pub const MAX_REPORTS: usize = 256;

/// A message to a tenant's object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// [`VERSION`] of the sender.
    pub v: u32,
    /// Whose object it is.
    pub tenant: TenantId,
    /// What is asked.
    pub command: Command,
}

/// What is asked of a tenant's object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Command {
    /// May this request be sent?
    Admit(Admit),
    /// These requests are over.
    Report {
        /// Each is applied once, however often it arrives.
        reports: Vec<Report>,
    },
    /// The configuration document, please.
    Configuration,
    /// Store a configuration document; creates the tenant if there is none.
    PutConfig {
        /// The document, validated.
        config: Box<Config>,
        /// Only if this version is current.
        if_match: Option<u64>,
    },
    /// Store a new gateway key.
    CreateKey(NewKey),
    /// All keys.
    ListKeys,
    /// Revoke a key. Its record stays, for attribution.
    RevokeKey {
        /// Its id.
        id: String,
    },
    /// Limits and budgets as they are now.
    Live {
        /// Only what concerns the key with this hash; everything if absent.
        key_hash: Option<String>,
    },
    /// Usage counters by minute.
    Usage {
        /// From this minute on.
        from: Timestamp,
        /// Before this time.
        to: Timestamp,
    },
    /// Do what is due.
    Tick,
    /// Delete the tenant and all it stored.
    Delete,
}

/// A request that wants to pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admit {
    /// HMAC of the presented key.
    pub key_hash: String,
    /// The configuration version that the worker decided with.
    pub config: u64,
    /// The model as the caller named it.
    pub model: String,
    /// The most that the request can cost.
    pub worst_case: NanoUsd,
    /// The part of it that is input.
    pub input_cost: NanoUsd,
}

/// How a request ended. Carries all that is needed to settle it even if the object has forgotten the
/// permit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The permit.
    pub permit: PermitId,
    /// The gateway key's id.
    pub key: String,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// What the permit held.
    pub holds: Vec<Hold>,
    /// One entry for each attempt, in order. Empty: nothing was sent, the permit is released.
    pub attempts: Vec<Attempt>,
}

/// Money held in one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Where.
    #[serde(rename = "a")]
    pub account: AccountKey,
    /// How much.
    #[serde(rename = "n")]
    pub amount: NanoUsd,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A whole answer.
    Ok,
    /// The provider answered an error.
    Error,
    /// The provider did not answer in time.
    Timeout,
    /// The answer broke off.
    Cut,
    /// The client went away first.
    ClientGone,
    /// The answer came from the cache.
    Cached,
}

/// One attempt at one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Provider.
    pub provider: String,
    /// Model as the provider names it.
    pub model: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status that the client saw for it, or the provider's.
    pub status: u16,
    /// Tokens used.
    pub usage: Usage,
    /// Whether `usage` is the gateway's estimate because the provider told none.
    #[serde(default)]
    pub estimated: bool,
    /// What it cost.
    pub cost: NanoUsd,
    /// The price row that the cost was computed with.
    pub price: String,
    /// From admission to the end of the answer, in milliseconds.
    pub latency_ms: u32,
    /// To the first byte of the answer, in milliseconds.
    #[serde(default)]
    pub first_byte_ms: u32,
}

/// A gateway key to be stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewKey {
    /// Its id.
    pub id: String,
    /// HMAC of the key.
    pub hash: String,
    /// Name given by the operator.
    pub name: String,
    /// First characters, for recognition.
    pub prefix: String,
    /// Last four characters, for recognition.
    pub last4: String,
    /// Models and aliases it may use; all if empty.
    pub models: Vec<String>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// What a tenant's object answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Reply {
    /// Go ahead.
    Permit(Permit),
    /// No.
    Denied {
        /// Why.
        why: Denial,
        /// The request limit closest to its bound, for the response headers.
        #[serde(default)]
        limit: Option<LimitState>,
    },
    /// Decide again with this configuration; nothing was reserved.
    Configuration {
        /// Its version.
        version: u64,
        /// The document.
        config: Box<Config>,
        /// When it was stored.
        #[serde(default)]
        updated_at: Timestamp,
    },
    /// There is no such tenant.
    NoTenant,
    /// Done, and durable before this is sent.
    Done,
    /// The configuration is not at the expected version.
    Conflict {
        /// The version that it is at.
        current: u64,
    },
    /// There is no such thing.
    NotFound,
    /// Too many.
    TooMany {
        /// The bound.
        bound: u64,
    },
    /// A key.
    Key(KeyView),
    /// Keys, oldest first.
    Keys {
        /// The keys.
        keys: Vec<KeyView>,
    },
    /// Limits and budgets as they are now.
    Live(Live),
    /// Usage counters.
    Usage {
        /// One row a minute, key, provider, model, status and outcome.
        rows: Vec<UsageRow>,
    },
    /// Due work was done.
    Ticked {
        /// Whether clean-up was due.
        cleaned: bool,
        /// All-time totals.
        totals: Totals,
    },
    /// The message could not be read, or the object found itself broken.
    Failed {
        /// For the log.
        why: String,
    },
}

/// Leave to send one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Permit {
    /// Its name.
    pub id: PermitId,
    /// The gateway key's id.
    pub key: String,
    /// When it was given.
    pub at: Timestamp,
    /// What it holds.
    pub holds: Vec<Hold>,
    /// The request limit closest to its bound, for the response headers.
    pub limit: Option<LimitState>,
    /// The report should be sent within this many milliseconds after the end.
    pub report_within: Millis,
}

/// Why a request may not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Denial {
    /// The key is unknown, revoked or expired.
    Key,
    /// The key may not use this model.
    Model,
    /// A limit.
    Limit {
        /// Its id.
        limit: String,
        /// Its window in seconds.
        window_s: u32,
        /// Until the request would pass if nothing else came.
        retry_after: Millis,
    },
    /// A budget.
    Budget {
        /// Its id.
        budget: String,
        /// Its limit.
        limit: NanoUsd,
        /// Settled.
        spent: NanoUsd,
        /// Held, or possibly held by permits of an earlier life.
        held: NanoUsd,
        /// When the next period begins.
        resets_at: Option<Timestamp>,
    },
}

/// A request limit now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitState {
    /// Its id.
    pub id: String,
    /// Empty for the tenant as a whole, else the key's id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Requests per window.
    pub limit: u64,
    /// Window in seconds.
    pub window_s: u32,
    /// How many may still pass.
    pub remaining: u64,
    /// Milliseconds until nothing counts any more.
    pub reset: Millis,
}

/// A budget now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetState {
    /// Its id.
    pub id: String,
    /// Empty for the tenant as a whole, else the key's id.
    pub subject: String,
    /// Its limit.
    pub limit: NanoUsd,
    /// Settled in this period.
    pub spent: NanoUsd,
    /// Held by permits under way.
    pub held: NanoUsd,
    /// Possibly held by permits of an earlier life of the object.
    #[serde(default)]
    pub orphaned: NanoUsd,
    /// When the period began.
    pub period_start: Timestamp,
    /// When it ends.
    pub resets_at: Option<Timestamp>,
}

/// Limits and budgets now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The key's id, where one was asked for.
    pub key: Option<String>,
    /// Models that the key may use; all if empty.
    #[serde(default)]
    pub models: Vec<String>,
    /// Limits.
    pub limits: Vec<LimitState>,
    /// Budgets.
    pub budgets: Vec<BudgetState>,
    /// Permits under way.
    pub permits: u64,
    /// Permits of an earlier life that are neither settled nor expired.
    #[serde(default)]
    pub orphans: u64,
}

/// A key as operators see it: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// First characters.
    pub prefix: String,
    /// Last four characters.
    pub last4: String,
    /// Models and aliases it may use; all if empty.
    pub models: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What was used in a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// Start of the minute.
    pub minute: Timestamp,
    /// Gateway key's id; empty where it was unknown.
    pub key: String,
    /// Provider; empty where none was asked.
    pub provider: String,
    /// Model as the provider names it, or as the caller did where none was asked.
    pub model: String,
    /// HTTP status.
    pub status: u16,
    /// `ok`, `error`, `timeout`, `cut`, `client_gone`, `cached`, `denied`, `expired`, `corrected`.
    pub outcome: String,
    /// How many.
    pub counts: Counts,
}

/// Sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests or attempts.
    pub requests: u64,
    /// Input tokens.
    pub input_tokens: Tokens,
    /// Output tokens.
    pub output_tokens: Tokens,
    /// Cost; negative where an expired permit was charged too much and corrected.
    pub cost: NanoUsd,
    /// Milliseconds, summed.
    pub latency_ms: u64,
}

impl Counts {
    /// Adds.
    pub fn add(&mut self, other: Counts) {
        self.requests = self.requests.saturating_add(other.requests);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost = self.cost.plus(other.cost);
        self.latency_ms = self.latency_ms.saturating_add(other.latency_ms);
    }
}

/// All-time totals of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Attempts and cached answers that ended.
    pub requests: u64,
    /// Denied admissions.
    pub denied: u64,
    /// Cost.
    pub cost: NanoUsd,
    /// When clean-up last ran.
    pub cleaned_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a neighbouring version sends. They must stay readable.
    #[test]
    fn messages_of_version_1_stay_readable() {
        let admit =
            r#"{"v":1,"tenant":"acme","command":{"t":"admit","key_hash":"ab","config":3,"model":"fast","worst_case":12,"input_cost":2}}"#;
        let message: Message = serde_json::from_str(admit).unwrap();
        assert_eq!(serde_json::to_string(&message).unwrap(), admit);

        let report = r#"{"v":1,"tenant":"acme","command":{"t":"report","reports":[{"permit":{"e":1,"s":7},"key":"k","admitted_at":5,"holds":[{"a":{"b":"m","p":0},"n":9}],"attempts":[{"provider":"p","model":"m","outcome":"ok","status":200,"usage":{"i":1,"o":2},"estimated":false,"cost":8,"price":"p/m","latency_ms":3,"first_byte_ms":1}]}]}}"#;
        let message: Message = serde_json::from_str(report).unwrap();
        assert_eq!(serde_json::to_string(&message).unwrap(), report);

        let permit = r#"{"t":"permit","id":{"e":1,"s":7},"key":"k","at":5,"holds":[{"a":{"b":"m","s":"k","p":0},"n":9}],"limit":{"id":"rpm","limit":9,"window_s":60,"remaining":8,"reset":60000},"report_within":200}"#;
        let reply: Reply = serde_json::from_str(permit).unwrap();
        assert_eq!(serde_json::to_string(&reply).unwrap(), permit);

        let denied = r#"{"t":"denied","why":{"why":"budget","budget":"m","limit":5,"spent":4,"held":1,"resets_at":null},"limit":null}"#;
        let reply: Reply = serde_json::from_str(denied).unwrap();
        assert_eq!(serde_json::to_string(&reply).unwrap(), denied);
    }
}
