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
    /// A second target is asked beside one that is slow to answer; never where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge: Option<HedgePolicy>,
    /// What becomes of a stream that breaks off after some of it has reached the client.
    #[serde(skip_serializing_if = "is_default")]
    pub on_broken_stream: BrokenStream,
}

/// What becomes of a stream that breaks off after some of it has reached the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenStream {
    /// The client is told of it in the stream.
    #[default]
    Error,
    /// Another target is asked to go on with it, once, where that can be right.
    Continue,
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
            hedge: None,
            on_broken_stream: BrokenStream::Error,
        }
    }
}

/// When the second target of a request is asked beside the first, which has not begun to answer. Whoever
/// begins first is heard, the other one is let go.
///
/// Source: Dean and Barroso, "The Tail at Scale" (CACM, 2013), "hedged requests".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HedgePolicy {
    /// After how long.
    pub after: HedgeAfter,
    /// Of how many requests at most, 1 to 20 percent. They count as retries, too.
    pub max_percent: u32,
}

impl Default for HedgePolicy {
    fn default() -> HedgePolicy {
        HedgePolicy { after: HedgeAfter::P95, max_percent: 10 }
    }
}

/// How long a target may take before a second one is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum HedgeAfter {
    /// As long as 95 of 100 of its answers took of late: to the first byte for streams, to the end
    /// otherwise.
    P95,
    /// So many milliseconds, 1 to 60,000.
    Ms(u32),
}

/// As it stands in the document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"p95\" or a number of milliseconds")]
enum Written {
    Ms(u32),
    Name(String),
}

impl TryFrom<Written> for HedgeAfter {
    type Error = String;
    fn try_from(written: Written) -> Result<HedgeAfter, String> {
        match written {
            Written::Ms(ms) => Ok(HedgeAfter::Ms(ms)),
            Written::Name(name) if name == "p95" => Ok(HedgeAfter::P95),
            Written::Name(name) => Err(format!("expected \"p95\" or a number of milliseconds, not `{name}`")),
        }
    }
}

impl From<HedgeAfter> for Written {
    fn from(after: HedgeAfter) -> Written {
        match after {
            HedgeAfter::P95 => Written::Name("p95".to_owned()),
            HedgeAfter::Ms(ms) => Written::Ms(ms),
        }
    }
}

/// No target is given less time than this by its p95, in milliseconds: a second request for each short
/// pause of the network would be no help.
const MIN_HEDGE: u32 = 50;
/// The time that a target is given of which nothing is known, in milliseconds.
const UNKNOWN_HEDGE: u32 = 3_000;

impl HedgePolicy {
    /// Milliseconds until a second target is asked. `p95` is that of the first, 0 if it is not known.
    pub fn delay(&self, p95: u32) -> Millis {
        i64::from(match (self.after, p95) {
            (HedgeAfter::Ms(ms), _) => ms,
            (HedgeAfter::P95, 0) => UNKNOWN_HEDGE,
            (HedgeAfter::P95, ms) => ms.max(MIN_HEDGE),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_target_is_asked_after_the_p95_within_bounds() {
        let policy = HedgePolicy::default();
        assert_eq!([0, 1, 49, 50, 700].map(|p95| policy.delay(p95)), [3_000, 50, 50, 50, 700]);
        let fixed = HedgePolicy { after: HedgeAfter::Ms(20), ..policy };
        assert_eq!([0, 700].map(|p95| fixed.delay(p95)), [20, 20]);
    }

    #[test]
    fn hedging_is_written_in_two_forms() {
        for (text, after) in [(r#""p95""#, HedgeAfter::P95), ("800", HedgeAfter::Ms(800))] {
            assert_eq!(serde_json::from_str::<HedgeAfter>(text).unwrap(), after);
            assert_eq!(serde_json::to_string(&after).unwrap(), text);
        }
        for text in [r#""p99""#, "-1", "1.5", "null", "true"] {
            let why = serde_json::from_str::<HedgeAfter>(text).unwrap_err().to_string();
            assert!(why.contains("p95"), "{text}: {why}");
        }
        let policy: RetryPolicy = serde_json::from_str(r#"{"hedge":{}}"#).unwrap();
        assert_eq!(policy.hedge, Some(HedgePolicy { after: HedgeAfter::P95, max_percent: 10 }));
        assert_eq!(RetryPolicy::default().hedge, None);
    }

    #[test]
    fn broken_streams_are_an_error_unless_it_is_written_down() {
        assert_eq!(RetryPolicy::default().on_broken_stream, BrokenStream::Error);
        assert!(!serde_json::to_string(&RetryPolicy::default()).unwrap().contains("on_broken_stream"));
        let policy: RetryPolicy = serde_json::from_str(r#"{"on_broken_stream":"continue"}"#).unwrap();
        assert_eq!(policy.on_broken_stream, BrokenStream::Continue);
        assert!(serde_json::to_string(&policy).unwrap().contains(r#""on_broken_stream":"continue""#));
        let why = serde_json::from_str::<RetryPolicy>(r#"{"on_broken_stream":"resume"}"#).unwrap_err().to_string();
        assert!(why.contains("`error` or `continue`"), "{why}");
    }
}
