//! The answer to a request that wants to pass: leave, or why not.

use super::{Hold, LimitState, is_default};
use crate::budget::Measure;
use crate::config::Step;
use crate::ids::PermitId;
use crate::perf::View;
use crate::units::{Millis, NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};

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
    /// The token limit closest to its bound, for the response headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_limit: Option<LimitState>,
    /// Rules in shadow mode that would have denied it: `limit:<id>`, `budget:<id>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<String>,
    /// Whether the key is served first when there is too much to do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub critical: bool,
    /// What is known of targets, where the isolate knows something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<Box<View>>,
    /// The target (`provider/model`) whose breaker this request probes: it alone may ask it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

/// Why a request may not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
        /// Whose share: empty for the tenant as a whole.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        subject: String,
        /// What is counted; requests where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        measure: Option<Measure>,
        /// How much is left, in the unit of the measure.
        #[serde(default, skip_serializing_if = "is_default")]
        remaining: u64,
        /// Whether the request alone is more than the limit: waiting does not help.
        #[serde(default, skip_serializing_if = "is_default")]
        never: bool,
        /// What to try instead, in this order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steps: Vec<Step>,
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
        /// Whose share: empty for the tenant as a whole.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        subject: String,
        /// What is left of it.
        #[serde(default, skip_serializing_if = "is_default")]
        remaining: NanoUsd,
        /// What this request may cost at most to pass every budget that counts it and every cap, where
        /// the budget that denies allows to lower `max_tokens`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        affordable: Option<NanoUsd>,
        /// What to try instead, in this order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steps: Vec<Step>,
    },
    /// It could cost more than the tenant allows one request.
    MaxCost {
        /// The most.
        cap: NanoUsd,
    },
    /// Its session has spent what it may.
    SessionCap {
        /// The most in a window.
        cap: NanoUsd,
        /// What counts now, holds included.
        used: NanoUsd,
        /// Window in seconds.
        window_s: u32,
        /// Until the request would pass if nothing else came.
        retry_after: Millis,
    },
    /// Its idempotency key was used before.
    Idempotency {
        /// How.
        state: Repeated,
        /// When to ask again.
        retry_after: Millis,
    },
}

/// How an idempotency key was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeated {
    /// For another body.
    Conflict,
    /// For a request that is still under way.
    InProgress,
    /// Too many requests with such keys are under way to remember one more.
    Full,
}
