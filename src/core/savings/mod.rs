//! The savings ledger: what requests cost, beside what they would have cost at the tenant's baseline, and
//! why they differ.
//!
//! The difference is told as steps from one price to the next, so that nothing is counted twice and for
//! every request, and so for every sum, `actual + saved = counterfactual`, to the nano-dollar:
//!
//! ```text
//! baseline ──route, provider_switch──► first choice ──downgrade──► first choice after it ──failover──► actual
//! ```
//!
//! All steps use the tokens that were really used. A saving may be negative: a failover to a dearer target,
//! a failed attempt that was charged, a baseline that is cheaper.

mod advice;

pub use advice::{Advice, advise};

use crate::map::Map;
use crate::plan::Target;
use crate::price::Usage;
use crate::protocol::{Attempt, Outcome};
use crate::units::{NanoUsd, Timestamp, Tokens};
use serde::{Deserialize, Serialize};

/// Why a request cost less, or more, than at the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A stored answer was given.
    Cache,
    /// The answer to the same request, under way at the same time, was given.
    Coalesced,
    /// The alias chose another model.
    Route,
    /// The alias chose the same model at another provider.
    ProviderSwitch,
    /// A rule had it made smaller.
    Downgrade,
    /// What was chosen did not answer, and something else did.
    Failover,
}

impl Cause {
    /// In documents.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Cache => "cache",
            Cause::Coalesced => "coalesced",
            Cause::Route => "route",
            Cause::ProviderSwitch => "provider_switch",
            Cause::Downgrade => "downgrade",
            Cause::Failover => "failover",
        }
    }
}

/// What one request saved. Travels with its report and is stored with its line: change it only additively.
/// What it would have cost is not written: it is the actual cost and all of this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The model as the caller named it.
    #[serde(rename = "m")]
    pub model: String,
    /// The price row of the baseline.
    #[serde(rename = "p")]
    pub price: String,
    /// By cause, without zeros.
    #[serde(rename = "d", default, skip_serializing_if = "Map::is_empty")]
    pub by: Map<Cause, NanoUsd>,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A provider.
    Provider,
    /// The store.
    Cache,
    /// Another request, under way at the same time.
    Coalesced,
}

/// How a request went.
#[derive(Clone, Copy, Debug)]
pub struct Story<'a> {
    /// The model as the caller named it.
    pub model: &'a str,
    /// Where it would have gone.
    pub baseline: &'a Target,
    /// The first of the targets that were decided for that model.
    pub asked: &'a Target,
    /// The first of those that were decided for the model that it was sent to: another one after a
    /// downgrade.
    pub first: &'a Target,
    /// Where the answer came from.
    pub origin: Origin,
    /// The tokens of the answer; those of the stored one, where it was stored. `None`: there was no answer.
    pub usage: Option<Usage>,
    /// What is charged.
    pub attempts: &'a [Attempt],
}

impl Story<'_> {
    /// What it saved.
    pub fn saved(&self) -> Saved {
        let actual = actual(self.attempts);
        let mut by = Map::new();
        let mut put = |cause: Cause, from: NanoUsd, to: NanoUsd| {
            if from != to {
                by.insert(cause, from.minus(to));
            }
        };
        match (self.usage, self.origin) {
            // Nothing was had for what it cost.
            (None, _) => put(Cause::Failover, NanoUsd::ZERO, actual),
            (Some(usage), Origin::Cache) => put(Cause::Cache, self.baseline.price.cost(usage), actual),
            (Some(usage), Origin::Coalesced) => put(Cause::Coalesced, self.baseline.price.cost(usage), actual),
            (Some(usage), Origin::Provider) => {
                let [at_baseline, at_asked, at_first] = [self.baseline, self.asked, self.first].map(|t| t.price.cost(usage));
                let same_model = self.baseline.model == self.asked.model && self.baseline.provider != self.asked.provider;
                put(if same_model { Cause::ProviderSwitch } else { Cause::Route }, at_baseline, at_asked);
                put(Cause::Downgrade, at_asked, at_first);
                put(Cause::Failover, at_first, actual);
            }
        }
        Saved { model: self.model.to_owned(), price: self.baseline.price.id.clone(), by }
    }
}

/// What attempts cost together.
pub fn actual(attempts: &[Attempt]) -> NanoUsd {
    attempts.iter().fold(NanoUsd::ZERO, |sum, a| sum.plus(a.cost))
}

/// A sum of a day. `cause` is a cause's name, `actual` or `counterfactual`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavingsRow {
    /// Its beginning, UTC.
    pub day: Timestamp,
    /// The model as the callers named it.
    pub model: String,
    /// Why.
    pub cause: String,
    /// How much.
    pub amount: NanoUsd,
    /// Requests.
    pub requests: u64,
    /// Input tokens; only of `actual`, as all that follow.
    pub input: Tokens,
    /// The part of the input that came from the provider's prompt cache.
    pub cached: Tokens,
    /// Output tokens.
    pub output: Tokens,
}

impl SavingsRow {
    /// Adds the amounts of another row.
    pub fn add(&mut self, other: &SavingsRow) {
        self.amount = self.amount.plus(other.amount);
        for (sum, n) in [
            (&mut self.requests, other.requests),
            (&mut self.input, other.input),
            (&mut self.cached, other.cached),
            (&mut self.output, other.output),
        ] {
            *sum = sum.saturating_add(n);
        }
    }
}

/// The rows of one request: what it cost, what it saved by cause, what it would have cost.
pub fn rows(day: Timestamp, saved: &Saved, attempts: &[Attempt]) -> Vec<SavingsRow> {
    let row = |cause: &str, amount| SavingsRow {
        day,
        model: saved.model.clone(),
        cause: cause.to_owned(),
        amount,
        requests: 1,
        ..SavingsRow::default()
    };
    let mut spent = row("actual", actual(attempts));
    for attempt in attempts.iter().filter(|a| a.outcome != Outcome::Cached) {
        spent.input = spent.input.saturating_add(attempt.usage.input);
        spent.cached = spent.cached.saturating_add(attempt.usage.cached_input);
        spent.output = spent.output.saturating_add(attempt.usage.output);
    }
    let counterfactual = saved.by.values().fold(spent.amount, |sum, amount| sum.plus(*amount));
    let causes = saved.by.iter().map(|(cause, amount)| row(cause.name(), *amount));
    causes.chain([row("counterfactual", counterfactual)]).chain([spent]).collect()
}

#[cfg(test)]
mod tests;
