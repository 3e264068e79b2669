//! Breakers, retries, the savings ledger, and the record of decisions: what holds for all aliases.

use super::limit::is_default;
use crate::units::Millis;
use serde::{Deserialize, Serialize};

/// When a target that fails is left alone. One breaker for each provider and model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerPolicy {
    /// Off, nothing is ever left alone.
    pub enabled: bool,
    /// It opens after so many failures in a row, 1 to 100.
    pub consecutive_failures: u32,
    /// It opens when this share of the requests in the window, or of the last 20, failed, 1 to 100 percent,
    pub error_percent: u32,
    /// … and they are at least so many requests, 1 to 10,000.
    pub min_requests: u32,
    /// Length of the window in seconds, 1 to 3,600.
    pub window_s: u32,
    /// How long it stays open the first time, in seconds, 1 to 3,600. Each time in a row doubles it,
    pub cooldown_s: u32,
    /// … up to so many seconds, at most 3,600.
    pub max_cooldown_s: u32,
    /// The longest `Retry-After` of a provider that is followed, in seconds, at most 3,600.
    pub max_retry_after_s: u32,
}

impl Default for BreakerPolicy {
    fn default() -> BreakerPolicy {
        BreakerPolicy {
            enabled: true,
            consecutive_failures: 5,
            error_percent: 50,
            min_requests: 10,
            window_s: 30,
            cooldown_s: 2,
            max_cooldown_s: 6,
            max_retry_after_s: 60,
        }
    }
}

/// What is tried again, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Most attempts of one request, at all targets together, 1 to 16.
    pub max_attempts: u32,
    /// Most retries at the same target, 0 to 5.
    pub same_target: u32,
    /// Longest pause before the first retry, in milliseconds, 1 to 10,000. It doubles with each,
    pub backoff_ms: u32,
    /// … up to so many milliseconds, at most 60,000.
    pub max_backoff_ms: u32,
    /// The longest `Retry-After` that is waited for, in milliseconds, at most 60,000. After a longer one
    /// the next target is tried.
    pub max_retry_after_ms: u32,
    /// Retries are at most this share of the requests, 0 to 100 percent.
    pub budget_percent: u32,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 6,
            same_target: 1,
            backoff_ms: 200,
            max_backoff_ms: 2_000,
            max_retry_after_ms: 2_000,
            budget_percent: 20,
        }
    }
}

/// What requests would have cost otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SavingsPolicy {
    /// They would have gone here (`provider/model`). Without it, and without an alias' own, no savings are
    /// counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
}

/// Which decisions are kept, so that they can be explained and replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionPolicy {
    /// Of how many requests, in thousandths, 0 to 1,000.
    pub sample_per_mille: u32,
    /// Whether those of requests that did not get an answer at the first attempt are always kept.
    #[serde(skip_serializing_if = "is_default")]
    pub failures: bool,
}

impl Default for DecisionPolicy {
    fn default() -> DecisionPolicy {
        DecisionPolicy { sample_per_mille: 10, failures: false }
    }
}

impl DecisionPolicy {
    /// Whether a request's decision is kept. `random` are 64 random bits; `troubled`: it did not get a whole
    /// answer at its first attempt.
    pub fn keeps(&self, random: u64, troubled: bool) -> bool {
        (self.failures && troubled) || random.checked_rem(1_000).unwrap_or(0) < u64::from(self.sample_per_mille)
    }
}

impl BreakerPolicy {
    /// The window in milliseconds.
    pub fn window(&self) -> Millis {
        i64::from(self.window_s).saturating_mul(1_000)
    }

    /// How long it stays open when it opens for the `times`th time in a row, from 1, in milliseconds.
    pub fn cooldown(&self, times: u32) -> Millis {
        let base = i64::from(self.cooldown_s).saturating_mul(1_000);
        let factor = 1_i64.checked_shl(times.saturating_sub(1).min(20)).unwrap_or(1);
        base.saturating_mul(factor).min(i64::from(self.max_cooldown_s).saturating_mul(1_000)).max(base)
    }

    /// A provider's `Retry-After` in milliseconds, as far as it is followed.
    pub fn retry_after(&self, ms: Millis) -> Millis {
        ms.clamp(0, i64::from(self.max_retry_after_s).saturating_mul(1_000))
    }
}
