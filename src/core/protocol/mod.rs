//! What a worker and the objects say to each other: one message, one reply, as JSON.
//!
//! During a roll-out workers and objects of two neighbouring versions talk to each other, so changes
//! are additive only: new fields carry `#[serde(default)]`, nothing is renamed, and the pinned-bytes
//! tests below fail when somebody forgets.

mod permit;
mod secret;
mod state;
mod usual;

pub use permit::{Denial, Permit, Repeated};
pub use secret::{NewSecret, SecretView};
pub use state::{BudgetState, Counts, Crossed, KeyView, LimitState, Live, Offender, ProviderRow, Totals, UsageRow, ViolationRow};
pub(crate) use usual::write;
pub use usual::{read_message, read_reply, write_message, write_reply};

use crate::budget::AccountKey;
use crate::checks::Unreachable;
use crate::config::Config;
use crate::ids::{PermitId, TenantId};
use crate::map::Map;
use crate::perf::Seen;
use crate::price::{PriceBook, Usage};
use crate::retry::Class;
use crate::route::Record;
use crate::savings::{Saved, SavingsRow};
use crate::units::{Amount, NanoUsd, Timestamp, Tokens};
use serde::{Deserialize, Serialize};

/// Version of the messages. Raised when an older reader must not guess.
pub const VERSION: u32 = 1;
/// Most reports in one message: what one turn may cost.
pub const MAX_REPORTS: usize = 256;

/// Longest hash of an idempotency key or a body, in bytes of text.
pub const MAX_HASH: usize = 128;
/// Largest answer that is kept for repetitions, in bytes.
pub const MAX_ANSWER: usize = 1_000_000;

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
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// May this request be sent?
    Admit(Admit),
    /// May this request try once more? What these attempts may have cost is held beside its worst case.
    Extend {
        /// Its permit.
        permit: PermitId,
        /// All of its attempts so far.
        attempts: Vec<Attempt>,
    },
    /// Attempts of this request failed, and it goes on elsewhere. Others need to know before it is over: its
    /// answer may take minutes.
    Failed {
        /// Its permit.
        permit: PermitId,
        /// All of its attempts so far: told again, they count once.
        attempts: Vec<Attempt>,
    },
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
        /// The operator's prices, for a tenant that does not know them yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prices: Option<Box<PriceBook>>,
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
    /// Change a gateway key. Its hash stays.
    UpdateKey(KeyChange),
    /// The answer to a request with an idempotency key, to be kept for its repetitions.
    Complete {
        /// The permit that it was made under.
        permit: PermitId,
        /// The answer.
        answer: StoredAnswer,
    },
    /// A request passed by other means than it asked for: for the counters.
    Degraded {
        /// HMAC of its key.
        key_hash: String,
        /// Rule and step, in order.
        steps: Vec<(String, String)>,
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
    /// Usage counters of these minutes together, by target and outcome.
    Targets {
        /// From this minute on.
        from: Timestamp,
        /// Before this time.
        to: Timestamp,
    },
    /// Who was denied by which rule, by minute.
    Violations {
        /// From this minute on.
        from: Timestamp,
        /// Before this time.
        to: Timestamp,
    },
    /// Store a sealed secret.
    PutSecret(NewSecret),
    /// All secrets, without what is in them.
    ListSecrets,
    /// Forget a secret, unless the configuration names it.
    DeleteSecret {
        /// Its name.
        name: String,
    },
    /// How the targets perform, and what their breakers do.
    Providers,
    /// What requests cost, saved and would have cost, by day.
    Savings {
        /// From the day of this time on.
        from: Timestamp,
        /// Before this time.
        to: Timestamp,
    },
    /// The recorded decision of a request.
    Decision {
        /// The request's id.
        id: String,
    },
    /// Recorded decisions, oldest first.
    Decisions {
        /// After the request with this id; from the beginning if empty.
        after: String,
        /// At most so many.
        limit: u32,
    },
    /// The operator's prices, which hold for all tenants. An older version than is known changes nothing.
    Prices(Box<PriceBook>),
    /// Somebody judges an answer.
    Feedback(Feedback),
    /// Do what is due. No provider is known to be unreachable.
    Tick,
    /// Do what is due. Health checks find these providers unreachable.
    TickBeside {
        /// They.
        unreachable: Vec<Unreachable>,
    },
    /// Delete the tenant and all it stored.
    Delete,
}

/// A request that wants to pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Admit {
    /// HMAC of the presented key.
    pub key_hash: String,
    /// The configuration version that the worker decided with.
    pub config: u64,
    /// When that version was stored: a tenant that was deleted and made again begins with version 1, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub config_at: Timestamp,
    /// The model as the caller named it.
    pub model: String,
    /// The most that the request can cost.
    pub worst_case: NanoUsd,
    /// The part of it that is input.
    pub input_cost: NanoUsd,
    /// The most tokens that it can use.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tokens: TokenBound,
    /// Providers that it may be sent to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// What the caller says about it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, String>,
    /// The session that it belongs to; empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// What makes it the same as an earlier one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub idempotency: Option<Idempotency>,
    /// What the isolate knows of targets; `None` if it does not want to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<Seen>,
}

/// What somebody thinks of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// The request's id. A request is judged once.
    pub request: String,
    /// Who answered it: `provider/model`.
    pub target: String,
    /// How good it was, in thousandths, 0 to 1,000.
    pub score: u16,
}

/// The most tokens that a request can use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBound {
    /// Input.
    #[serde(rename = "i")]
    pub input: Tokens,
    /// Output.
    #[serde(rename = "o")]
    pub output: Tokens,
}

/// What makes a request the same as an earlier one of the same gateway key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// Hash of the `Idempotency-Key` header, at most [`MAX_HASH`] bytes.
    pub key_hash: String,
    /// Hash of the path and the body, at most [`MAX_HASH`] bytes.
    pub body_hash: String,
}

/// An answer as it is kept for repetitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAnswer {
    /// HTTP status.
    pub status: u16,
    /// The headers that a repetition is given too.
    pub headers: Vec<(String, String)>,
    /// The body. An answer with more than [`MAX_ANSWER`] bytes is not kept: repetitions are told so.
    pub body: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How a request ended. Carries all that is needed to settle it even if the object has forgotten the
/// permit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// What it saved, where the tenant states a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Box<Saved>>,
    /// The decision, where it is to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<Record>>,
}

/// What is held in one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Where.
    #[serde(rename = "a")]
    pub account: AccountKey,
    /// How much.
    #[serde(rename = "n")]
    pub amount: Amount,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A whole answer.
    #[default]
    Ok,
    /// The provider answered an error.
    Error,
    /// The provider did not answer in time.
    Timeout,
    /// The answer broke off.
    Cut,
    /// The client went away first.
    ClientGone,
    /// Another target was asked at the same time, and answered first.
    Aborted,
    /// The answer came from the cache.
    Cached,
}

/// One attempt at one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// What kind of failure, where outcome and status do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// How long the provider asked to be left alone, in milliseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry_after_ms: u32,
    /// Where the worker ran, as the platform names it (`FRA`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
}

impl Attempt {
    /// What kind of end it was.
    pub fn class(&self) -> Class {
        self.class.unwrap_or_else(|| Class::of(self.outcome, self.status, "", ""))
    }
}

/// A gateway key to be stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Whether it is served first when there is too much to do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub critical: bool,
    /// Metadata of every request of this key. It goes before what the request says.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, String>,
}

/// A change of a gateway key. What is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyChange {
    /// Its id.
    pub id: String,
    /// Name.
    pub name: Option<String>,
    /// Models and aliases it may use; all if empty.
    pub models: Option<Vec<String>>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// It does not stop working by itself any more. Goes before `expires_at`.
    pub never_expires: bool,
    /// Whether it is served first when there is too much to do.
    pub critical: Option<bool>,
    /// Metadata of every request of this key.
    pub metadata: Option<Map<String, String>>,
}

/// What a tenant's object answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Go ahead.
    Permit(Permit),
    /// The permit holds this now.
    Extended {
        /// All of it.
        holds: Vec<Hold>,
    },
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
        /// The tenant's secrets: name → sealed text.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        secrets: Map<String, String>,
        /// The operator's prices, where there are some.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prices: Option<Box<PriceBook>>,
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
    /// A secret, without what is in it.
    Secret(SecretView),
    /// Secrets by name, without what is in them.
    Secrets {
        /// The secrets.
        secrets: Vec<SecretView>,
    },
    /// The configuration names it.
    InUse {
        /// Path of the field.
        place: String,
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
    /// Denials.
    Violations {
        /// One row a minute, key and rule.
        rows: Vec<ViolationRow>,
        /// The keys that were denied most in that time, at most ten.
        top: Vec<Offender>,
    },
    /// The same request was answered before: this is the answer. Nothing was counted.
    Replay {
        /// Absent if it was too large to be kept, or never arrived: the request was answered and must
        /// not be sent again, and there is nothing to repeat.
        #[serde(default)]
        stored: Option<StoredAnswer>,
    },
    /// How the targets perform, by name and region.
    Providers {
        /// One row for each target, and one for each region that it was asked from.
        rows: Vec<ProviderRow>,
    },
    /// Savings.
    Savings {
        /// One row a day, model and cause.
        rows: Vec<SavingsRow>,
    },
    /// Recorded decisions.
    Decisions {
        /// The records.
        records: Vec<Record>,
    },
    /// Due work was done.
    Ticked {
        /// Whether clean-up was due.
        cleaned: bool,
        /// All-time totals.
        totals: Totals,
        /// Version of the operator's prices that it knows.
        #[serde(default, skip_serializing_if = "is_default")]
        prices: u64,
    },
    /// The message could not be read, or the object found itself broken.
    Failed {
        /// For the log.
        why: String,
    },
}

#[cfg(test)]
mod tests;
