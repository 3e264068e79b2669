//! Budgets: how much may be spent.

use super::limit::is_default;
use super::{Mode, Scope, Step, usd};
use crate::budget::{Calendar, Measure, Period, Zone};
use crate::units::{Amount, Millis, NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};

/// At most so much money in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct Budget {
    /// Names the budget in errors and statistics.
    pub id: String,
    /// Whose requests.
    pub scope: Scope,
    /// Only these subjects; all if empty.
    pub only: Vec<String>,
    /// How much.
    pub limit_usd: NanoUsd,
    /// Over which time.
    pub span: Span,
    /// Percentages of the limit whose crossing is noted, ascending.
    pub thresholds: Vec<u8>,
    /// What is added to the limit for a while.
    pub top_ups: Vec<TopUp>,
    /// Whether it denies.
    pub mode: Mode,
    /// What to try before a request is refused, in this order.
    pub when_exceeded: Vec<Step>,
    /// Whether `max_tokens` may be lowered to what is left.
    pub clamp_max_tokens: bool,
}

/// Over which time a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// From the beginning of a period of the calendar.
    Calendar(Calendar),
    /// The last so many seconds, 60 to 31,536,000.
    Rolling(u32),
}

/// Money added to a budget for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopUp {
    /// How much.
    pub amount_usd: NanoUsd,
    /// Until when.
    pub expires_at: Timestamp,
}

impl Span {
    /// When the period that contains `now` began; the epoch where there are no periods.
    pub fn start(self, now: Timestamp) -> Timestamp {
        match self {
            Span::Calendar(calendar) => calendar.start(now),
            Span::Rolling(_) => Timestamp(0),
        }
    }

    /// When the period that began at `start` ends, if it does.
    pub fn end(self, start: Timestamp) -> Option<Timestamp> {
        match self {
            Span::Calendar(calendar) => calendar.end(start),
            Span::Rolling(_) => None,
        }
    }

    /// The length of a rolling budget in milliseconds.
    pub fn rolling(self) -> Option<Millis> {
        match self {
            Span::Calendar(_) => None,
            Span::Rolling(seconds) => Some(i64::from(seconds).saturating_mul(1_000)),
        }
    }

    /// What its account counts.
    pub fn measure(self) -> Measure {
        match self {
            Span::Calendar(_) => Measure::Budget,
            Span::Rolling(_) => Measure::Rolling,
        }
    }
}

impl Budget {
    /// The limit at `now`, with the top-ups that have not expired.
    pub fn limit(&self, now: Timestamp) -> Amount {
        let more = self.top_ups.iter().filter(|t| now < t.expires_at);
        more.fold(Amount::from(self.limit_usd), |sum, t| sum.plus(Amount::from(t.amount_usd)))
    }

    /// The limit with all top-ups that it has, expired or not: no admission was ever checked against more.
    pub fn highest_limit(&self) -> Amount {
        self.top_ups.iter().fold(Amount::from(self.limit_usd), |sum, t| sum.plus(Amount::from(t.amount_usd)))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopUpText {
    #[serde(with = "usd")]
    amount_usd: NanoUsd,
    expires_at: String,
}

/// The budget as it stands in the document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    id: String,
    #[serde(default)]
    scope: Scope,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    only: Vec<String>,
    #[serde(with = "usd")]
    limit_usd: NanoUsd,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    period: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rolling_s: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_zone: Option<Zone>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    thresholds: Vec<u8>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    top_ups: Vec<TopUpText>,
    #[serde(default, skip_serializing_if = "is_default")]
    mode: Mode,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    when_exceeded: Vec<Step>,
    #[serde(default, skip_serializing_if = "is_default")]
    clamp_max_tokens: bool,
}

impl TryFrom<Text> for Budget {
    type Error = String;
    fn try_from(t: Text) -> Result<Budget, String> {
        let wrong = |why: &str| format!("budget `{}`: {why}", t.id);
        let span = match (t.period, t.rolling_s, t.time_zone) {
            (Some(period), None, zone) => Span::Calendar(Calendar { period, zone: zone.unwrap_or_default() }),
            (None, Some(seconds), None) => Span::Rolling(seconds),
            (None, Some(_), Some(_)) => return Err(wrong("a rolling budget has no `time_zone`")),
            _ => return Err(wrong("give either `period` or `rolling_s`")),
        };
        let mut top_ups = Vec::with_capacity(t.top_ups.len());
        for top_up in &t.top_ups {
            let expires_at = Timestamp::from_rfc3339(&top_up.expires_at);
            let expires_at = expires_at.ok_or_else(|| wrong("`expires_at` is a time such as 2026-01-31T12:00:00Z"))?;
            top_ups.push(TopUp { amount_usd: top_up.amount_usd, expires_at });
        }
        Ok(Budget {
            id: t.id,
            scope: t.scope,
            only: t.only,
            limit_usd: t.limit_usd,
            span,
            thresholds: t.thresholds,
            top_ups,
            mode: t.mode,
            when_exceeded: t.when_exceeded,
            clamp_max_tokens: t.clamp_max_tokens,
        })
    }
}

impl From<Budget> for Text {
    fn from(b: Budget) -> Text {
        let (period, rolling_s, time_zone) = match b.span {
            Span::Calendar(c) => (Some(c.period), None, (c.zone != Zone::default()).then_some(c.zone)),
            Span::Rolling(seconds) => (None, Some(seconds), None),
        };
        let top_ups = b.top_ups.iter().map(|t| TopUpText { amount_usd: t.amount_usd, expires_at: t.expires_at.rfc3339() });
        Text {
            period,
            rolling_s,
            time_zone,
            top_ups: top_ups.collect(),
            id: b.id,
            scope: b.scope,
            only: b.only,
            limit_usd: b.limit_usd,
            thresholds: b.thresholds,
            mode: b.mode,
            when_exceeded: b.when_exceeded,
            clamp_max_tokens: b.clamp_max_tokens,
        }
    }
}
