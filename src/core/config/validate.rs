//! What the types of a document cannot check.

use super::{Algorithm, Budget, Config, Limit, MAX_RULES, Scope, Span, Step, UnknownPrice, split_target};
use crate::budget::Measure;
use crate::map::{Map, Set};
use crate::price::PriceSpec;
use crate::units::{Amount, NanoUsd};

/// Most subjects that one rule may be bound to, thresholds or top-ups of one budget, steps of one rule.
pub(super) const MAX_LIST: usize = 32;
/// Largest amount of a rule that counts requests or tokens.
const MAX_COUNT: u64 = 1_000_000_000_000;

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the field, `limits[0].requests`; empty for the document as a whole.
    pub param: String,
    /// What is wrong and what would be right.
    pub message: String,
}

pub(super) fn invalid<T>(param: impl Into<String>, message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { param: param.into(), message: message.into() })
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.aliases()?;
        self.routing()?;
        self.limits()?;
        self.budgets()?;
        self.own_providers()?;
        validate_prices(&self.prices)?;
        if let UnknownPrice::DefaultPrice(spec) = &self.unknown_price {
            price("unknown_price.default_price", spec)?;
        }
        range("cache.ttl_s", u64::from(self.cache.ttl_s), 1, 2_592_000)?;
        range("permit.lifetime_s", u64::from(self.permit.lifetime_s), 1, 3_600)?;
        range("permit.default_output_tokens", self.permit.default_output_tokens, 1, 1_000_000)?;
        range("timeouts.first_byte_ms", u64::from(self.timeouts.first_byte_ms), 1, 600_000)?;
        range("timeouts.idle_ms", u64::from(self.timeouts.idle_ms), 1, 600_000)?;
        range("timeouts.total_ms", u64::from(self.timeouts.total_ms), 1, 3_600_000)?;
        if self.permit.max_cost_usd == Some(NanoUsd::ZERO) {
            return invalid("permit.max_cost_usd", "leave it out to have none");
        }
        if let Some(session) = self.permit.session {
            range("permit.session.window_s", u64::from(session.window_s), 1, 604_800)?;
        }
        if i64::from(self.timeouts.total_ms) > self.permit.lifetime() {
            return invalid("permit.lifetime_s", "a permit must live at least as long as timeouts.total_ms");
        }
        Ok(())
    }

    fn limits(&self) -> Result<(), Invalid> {
        rules("limits", self.limits.iter().map(|l| l.id.as_str()))?;
        for (i, limit) in self.limits.iter().enumerate() {
            self.limit(&format!("limits[{i}]"), limit)?;
        }
        Ok(())
    }

    fn limit(&self, at: &str, limit: &Limit) -> Result<(), Invalid> {
        let field = match limit.measure {
            Measure::InputTokens => "input_tokens",
            Measure::OutputTokens => "output_tokens",
            Measure::Tokens => "tokens",
            Measure::Concurrency => "concurrency",
            Measure::Requests => "requests",
            _ => "cost_usd",
        };
        let most = match limit.measure {
            Measure::Requests | Measure::Concurrency => 1_000_000_000,
            Measure::InputTokens | Measure::OutputTokens | Measure::Tokens => MAX_COUNT,
            _ => Amount::MAX.whole(),
        };
        range(&format!("{at}.{field}"), limit.amount.whole(), 1, most)?;
        if limit.measure != Measure::Concurrency {
            range(&format!("{at}.window_s"), u64::from(limit.window_s), 1, 86_400)?;
        }
        if limit.algorithm == Algorithm::TokenBucket {
            range(&format!("{at}.burst"), limit.cap().whole(), 1, most)?;
        }
        only(at, &limit.scope, &limit.only)?;
        self.steps(at, &limit.when_exceeded)
    }

    fn budgets(&self) -> Result<(), Invalid> {
        rules("budgets", self.budgets.iter().map(|b| b.id.as_str()))?;
        for (i, budget) in self.budgets.iter().enumerate() {
            self.budget(&format!("budgets[{i}]"), budget)?;
        }
        Ok(())
    }

    fn budget(&self, at: &str, budget: &Budget) -> Result<(), Invalid> {
        if let Span::Rolling(seconds) = budget.span {
            range(&format!("{at}.rolling_s"), u64::from(seconds), 60, 31_536_000)?;
        }
        if budget.thresholds.len() > MAX_LIST || budget.thresholds.iter().any(|t| !(1..=100).contains(t)) {
            return invalid(format!("{at}.thresholds"), format!("at most {MAX_LIST} percentages between 1 and 100"));
        }
        if !budget.thresholds.is_sorted_by(|a, b| a < b) {
            return invalid(format!("{at}.thresholds"), "in ascending order, each once");
        }
        if budget.top_ups.len() > MAX_LIST {
            return invalid(format!("{at}.top_ups"), format!("at most {MAX_LIST}"));
        }
        only(at, &budget.scope, &budget.only)?;
        self.steps(at, &budget.when_exceeded)
    }

    fn steps(&self, at: &str, steps: &[Step]) -> Result<(), Invalid> {
        let at = format!("{at}.when_exceeded");
        if steps.len() > MAX_LIST {
            return invalid(at, format!("at most {MAX_LIST} steps"));
        }
        for (i, step) in steps.iter().enumerate() {
            let place = format!("{at}[{i}]");
            match step {
                Step::Cache => {}
                Step::Downgrade(to) if self.models.contains_key(to) || split_target(to).is_some() => {}
                Step::Downgrade(to) => return invalid(place, format!("`{to}` is no alias, and not written `provider/model`")),
                Step::WaitMs(ms) => range(&place, u64::from(*ms), 1, 30_000)?,
                Step::Reject if i.saturating_add(1) == steps.len() => {}
                Step::Reject => return invalid(place, "nothing comes after `reject`"),
            }
        }
        Ok(())
    }
}

/// Checks prices by name.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate_prices(prices: &Map<String, PriceSpec>) -> Result<(), Invalid> {
    for (name, spec) in prices {
        if split_target(name).is_none() {
            return invalid(format!("prices.{name}"), "a price is for `provider/model` or `provider/*`");
        }
        price(&format!("prices.{name}"), spec)?;
    }
    Ok(())
}

fn only(at: &str, scope: &Scope, only: &[String]) -> Result<(), Invalid> {
    let at = format!("{at}.only");
    if *scope == Scope::Tenant && !only.is_empty() {
        return invalid(at, "the tenant as a whole is not one of several: choose another scope");
    }
    if only.len() > MAX_LIST || only.iter().any(|s| s.is_empty() || s.len() > 256) {
        return invalid(at, format!("at most {MAX_LIST} names of 1 to 256 characters"));
    }
    Ok(())
}

fn rules<'a>(field: &str, ids: impl Iterator<Item = &'a str>) -> Result<(), Invalid> {
    let mut seen = Set::new();
    for (i, id) in ids.enumerate() {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(ok) {
            return invalid(format!("{field}[{i}].id"), "an id has 1 to 64 letters, digits, `-` or `_`");
        }
        if !seen.insert(id) {
            return invalid(format!("{field}[{i}].id"), format!("the id `{id}` is used twice"));
        }
        if i >= MAX_RULES {
            return invalid(field, format!("at most {MAX_RULES}"));
        }
    }
    Ok(())
}

pub(super) fn range(param: &str, n: u64, low: u64, high: u64) -> Result<(), Invalid> {
    if (low..=high).contains(&n) { Ok(()) } else { invalid(param, format!("{n} is not between {low} and {high}")) }
}

fn price(param: &str, spec: &PriceSpec) -> Result<(), Invalid> {
    match spec.price("") {
        Some(_) => Ok(()),
        None => invalid(param, "prices are decimal strings in USD per million tokens with at most six decimals, such as \"0.15\""),
    }
}
