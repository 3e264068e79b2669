//! What operators and callers are shown.

use super::is_default;
use crate::budget::Measure;
use crate::map::Map;
use crate::retry::Class;
use crate::units::{Millis, NanoUsd, Timestamp, Tokens};
use serde::{Deserialize, Serialize};

/// A limit now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitState {
    /// Its id.
    pub id: String,
    /// Empty for the tenant as a whole, else the key's id, the model, the provider, the metadata value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The most that may count at a time, in the unit of the measure; of a token bucket its burst.
    pub limit: u64,
    /// Window in seconds; 0 for concurrency.
    pub window_s: u32,
    /// How many may still pass.
    pub remaining: u64,
    /// Milliseconds until nothing counts any more, if nothing else comes; 0 for concurrency.
    pub reset: Millis,
    /// What is counted.
    #[serde(default = "requests", skip_serializing_if = "is_requests")]
    pub measure: Measure,
    /// Whether it only counts what it would deny.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shadow: bool,
}

fn requests() -> Measure {
    Measure::Requests
}

fn is_requests(measure: &Measure) -> bool {
    *measure == Measure::Requests
}

/// A budget now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetState {
    /// Its id.
    pub id: String,
    /// Empty for the tenant as a whole, else the key's id, the model, the provider, the metadata value.
    pub subject: String,
    /// Its limit, with the top-ups of now.
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
    /// Length of a rolling budget in seconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rolling_s: Option<u32>,
    /// Thresholds that were crossed in this period, in the order of crossing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crossed: Vec<Crossed>,
    /// Whether it only counts what it would deny.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shadow: bool,
}

/// A budget's threshold was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossed {
    /// Which, in percent of the limit.
    pub percent: u8,
    /// When.
    pub at: Timestamp,
}

/// How often a rule denied a key in a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViolationRow {
    /// Start of the minute.
    pub minute: Timestamp,
    /// Gateway key's id; empty where it was unknown.
    pub key: String,
    /// `limit:<id>`, `budget:<id>`, or `key`, `model`, `max_cost`, `session`, `idempotency`.
    pub rule: String,
    /// Whether it would have been denied, and was not.
    pub shadow: bool,
    /// How often.
    pub count: u64,
}

/// A key and how often it was denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offender {
    /// Gateway key's id; empty where it was unknown.
    pub key: String,
    /// How often, shadow denials left out.
    pub count: u64,
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
    /// The configuration version that all of this was read under; 0 where the object is older than this
    /// field.
    #[serde(default)]
    pub version: u64,
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
    /// Whether it is served first when there is too much to do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub critical: bool,
    /// Metadata of every request of this key. It goes before what the request says.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, String>,
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
    /// `ok`, `error`, `timeout`, `cut`, `client_gone`, `aborted`, `cached`, `denied`, `expired`, `corrected`.
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
    /// How often the ledger found a promise of its own broken. Anything but zero is a bug.
    #[serde(default, skip_serializing_if = "is_default")]
    pub broken: u64,
}

/// How a target performs, everywhere or as seen from one region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderRow {
    /// `provider/model`.
    pub target: String,
    /// Where the workers ran; empty for all of them together.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// `closed`, `open`, `throttled`, `probing`.
    pub state: String,
    /// When the next probe is due, when it wants to be asked again, or when the probe counts as lost.
    pub until: Option<Timestamp>,
    /// How often in a row its breaker opened.
    pub opens: u32,
    /// Attempts that say something of it. Old ones fade: each ten minutes all counts are halved.
    pub attempts: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// All attempts by class.
    pub classes: Map<Class, u32>,
    /// Milliseconds to the first byte: median, 95 %, 99 %.
    pub first_ms: [u32; 3],
    /// Milliseconds to the end: median, 95 %, 99 %.
    pub total_ms: [u32; 3],
    /// Milliseconds to the first byte as of late, peak EWMA.
    pub first_now_ms: u32,
    /// Milliseconds to the end as of late, peak EWMA.
    pub total_now_ms: u32,
    /// Output tokens in a second.
    pub tokens_per_second: u64,
    /// Input from its prompt cache, in thousandths of all input.
    pub cached: u16,
    /// What a million tokens cost, input and output as they came.
    pub cost_per_mtok: NanoUsd,
    /// The price row that was charged last.
    pub price: String,
    /// What feedback adds to its quality, in thousandths.
    pub feedback: i16,
    /// When it was last asked.
    pub at: Timestamp,
}
