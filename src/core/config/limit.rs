//! Limits: how much may pass in any window, or at a time.

use super::{Mode, Scope, Step};
use crate::budget::Measure;
use crate::units::{Amount, Millis, NanoUsd};
use serde::{Deserialize, Serialize};

/// At most so much in any window, or under way at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct Limit {
    /// Names the limit in errors and statistics.
    pub id: String,
    /// Whose requests.
    pub scope: Scope,
    /// Only these subjects; all if empty.
    pub only: Vec<String>,
    /// What is counted: requests, tokens, cost, or permits under way.
    pub measure: Measure,
    /// How much of it.
    pub amount: Amount,
    /// Length of the window in seconds, 1 to 86,400; 0 for concurrency.
    pub window_s: u32,
    /// How the past is forgotten.
    pub algorithm: Algorithm,
    /// How much of a token bucket may be taken at once; `amount` where absent.
    pub burst: Option<Amount>,
    /// Whether it denies.
    pub mode: Mode,
    /// What to try before a request is refused, in this order.
    pub when_exceeded: Vec<Step>,
    /// What holds while the ledger cannot be asked.
    pub when_unreachable: WhenUnreachable,
}

/// How a limit forgets the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Never more than the amount in any window of the length.
    #[default]
    SlidingWindow,
    /// Never more than the burst at once, refilled by the amount per window.
    TokenBucket,
}

/// What a limit does while the ledger cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnreachable {
    /// Nothing passes.
    #[default]
    Closed,
    /// Everything passes, uncounted.
    Open,
}

impl Limit {
    /// The window in milliseconds.
    pub fn window(&self) -> Millis {
        i64::from(self.window_s).saturating_mul(1_000)
    }

    /// The most that may count at a time.
    pub fn cap(&self) -> Amount {
        match self.algorithm {
            Algorithm::SlidingWindow => self.amount,
            Algorithm::TokenBucket => self.burst.unwrap_or(self.amount),
        }
    }
}

/// An amount as it is written: a count, or a decimal string in USD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a whole number, or money as a decimal string in USD such as \"12.50\"")]
enum Written {
    Count(u64),
    Usd(String),
}

/// The limit as it stands in the document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    id: String,
    #[serde(default)]
    scope: Scope,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    only: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_usd: Option<Written>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrency: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window_s: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    algorithm: Algorithm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<Written>,
    #[serde(default, skip_serializing_if = "is_default")]
    mode: Mode,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    when_exceeded: Vec<Step>,
    #[serde(default, skip_serializing_if = "is_default")]
    when_unreachable: WhenUnreachable,
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn usd(written: &Written) -> Result<Amount, String> {
    let money = if let Written::Usd(text) = written { NanoUsd::from_usd(text) } else { None };
    money.map(Amount::from).ok_or_else(|| "money is a decimal string in USD with at most nine decimals, such as \"12.50\"".to_owned())
}

impl TryFrom<Text> for Limit {
    type Error = String;
    fn try_from(t: Text) -> Result<Limit, String> {
        let wrong = |why: &str| format!("limit `{}`: {why}", t.id);
        let cost = t.cost_usd.as_ref().map(usd).transpose().map_err(|why| wrong(&why))?;
        let counts = [
            (Measure::Requests, t.requests),
            (Measure::InputTokens, t.input_tokens),
            (Measure::OutputTokens, t.output_tokens),
            (Measure::Tokens, t.tokens),
            (Measure::Concurrency, t.concurrency),
        ];
        let counts = counts.into_iter().filter_map(|(measure, n)| n.map(|n| (measure, Amount::count(n))));
        let mut given = counts.chain(cost.map(|cost| (Measure::Cost, cost)));
        let (Some((measure, amount)), None) = (given.next(), given.next()) else {
            let all = "`requests`, `input_tokens`, `output_tokens`, `tokens`, `cost_usd`, `concurrency`";
            return Err(wrong(&format!("give exactly one of {all}")));
        };
        let concurrent = measure == Measure::Concurrency;
        if concurrent && (t.window_s.is_some() || t.algorithm != Algorithm::SlidingWindow) {
            return Err(wrong("concurrency is counted at a time: it has no `window_s` and no `algorithm`"));
        }
        if !concurrent && t.window_s.is_none() {
            return Err(wrong("`window_s` is missing"));
        }
        let burst = match (&t.burst, measure) {
            (None, _) => None,
            (Some(_), _) if t.algorithm != Algorithm::TokenBucket => return Err(wrong("only a `token_bucket` has a `burst`")),
            (Some(written), Measure::Cost) => Some(usd(written).map_err(|why| wrong(&why))?),
            (Some(Written::Count(n)), _) => Some(Amount::count(*n)),
            (Some(Written::Usd(_)), _) => return Err(wrong("`burst` is in the unit of the limit, here a whole number")),
        };
        Ok(Limit {
            id: t.id,
            scope: t.scope,
            only: t.only,
            measure,
            amount,
            window_s: t.window_s.unwrap_or(0),
            algorithm: t.algorithm,
            burst,
            mode: t.mode,
            when_exceeded: t.when_exceeded,
            when_unreachable: t.when_unreachable,
        })
    }
}

impl From<Limit> for Text {
    fn from(l: Limit) -> Text {
        let count = |measure| (l.measure == measure).then(|| l.amount.whole());
        let money = |amount: Amount| Written::Usd(amount.usd().to_string());
        let is_cost = l.measure == Measure::Cost;
        Text {
            requests: count(Measure::Requests),
            input_tokens: count(Measure::InputTokens),
            output_tokens: count(Measure::OutputTokens),
            tokens: count(Measure::Tokens),
            cost_usd: is_cost.then(|| money(l.amount)),
            concurrency: count(Measure::Concurrency),
            window_s: (l.measure != Measure::Concurrency).then_some(l.window_s),
            burst: l.burst.map(|b| if is_cost { money(b) } else { Written::Count(b.whole()) }),
            id: l.id,
            scope: l.scope,
            only: l.only,
            algorithm: l.algorithm,
            mode: l.mode,
            when_exceeded: l.when_exceeded,
            when_unreachable: l.when_unreachable,
        }
    }
}
