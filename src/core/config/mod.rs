//! A tenant's configuration document, parsed once into types that cannot be wrong.

mod usd;

use crate::budget::Period;
use crate::price::PriceSpec;
use crate::units::{Millis, NanoUsd, Tokens};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Largest configuration document in bytes of JSON: it travels to worker isolates whole.
pub const MAX_DOCUMENT: usize = 256 * 1024;
/// Most limits, and most budgets, of one tenant: each is evaluated at every admission.
pub const MAX_RULES: usize = 64;
/// Most aliases of one tenant.
pub const MAX_ALIASES: usize = 1_000;

/// The document. Every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Names that a caller may use instead of `provider/model`.
    pub models: BTreeMap<String, Alias>,
    /// How many requests may pass in any window.
    pub limits: Vec<Limit>,
    /// How much may be spent in a period.
    pub budgets: Vec<Budget>,
    /// Whether and how long answers are kept.
    pub cache: CachePolicy,
    /// Prices that go before the catalogue's: `provider/model` or `provider/*`.
    pub prices: BTreeMap<String, PriceSpec>,
    /// What happens to a model whose price nobody knows.
    pub unknown_price: UnknownPrice,
    /// Life and end of permits.
    pub permit: PermitPolicy,
    /// How long a provider may take.
    pub timeouts: Timeouts,
}

/// What a model's name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Alias {
    /// One target.
    One(OneTarget),
    /// Targets in the order in which they are tried.
    Many(ManyTargets),
}

/// One target of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneTarget {
    /// `provider/model`.
    pub target: String,
}

/// Several targets of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManyTargets {
    /// `provider/model`, tried in this order.
    pub targets: Vec<String>,
}

impl Alias {
    /// The targets, in order.
    pub fn targets(&self) -> &[String] {
        match self {
            Alias::One(one) => std::slice::from_ref(&one.target),
            Alias::Many(many) => &many.targets,
        }
    }
}

/// Whose requests a limit or budget counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All of the tenant's.
    #[default]
    Tenant,
    /// Each gateway key's for itself.
    Key,
}

/// At most `requests` in any window of `window_s` seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Names the limit in errors and statistics.
    pub id: String,
    /// Whose requests.
    #[serde(default)]
    pub scope: Scope,
    /// How many.
    pub requests: u64,
    /// Length of the window in seconds, 1 to 86,400.
    pub window_s: u32,
}

impl Limit {
    /// The window in milliseconds.
    pub fn window(&self) -> Millis {
        i64::from(self.window_s).saturating_mul(1_000)
    }
}

/// At most `limit_usd` in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Names the budget in errors and statistics.
    pub id: String,
    /// Whose requests.
    #[serde(default)]
    pub scope: Scope,
    /// How much, a decimal string in USD.
    #[serde(with = "usd")]
    pub limit_usd: NanoUsd,
    /// When it starts anew.
    pub period: Period,
}

/// Whether and how long answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CachePolicy {
    /// Off unless switched on.
    pub enabled: bool,
    /// Seconds that an answer is kept, 1 to 2,592,000.
    pub ttl_s: u32,
}

impl Default for CachePolicy {
    fn default() -> Self {
        CachePolicy { enabled: false, ttl_s: 300 }
    }
}

/// What happens to a model whose price nobody knows. Never is it free.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPrice {
    /// The request is refused.
    #[default]
    Reject,
    /// It is charged at this price.
    DefaultPrice(PriceSpec),
}

/// Life and end of permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PermitPolicy {
    /// Seconds after which a permit whose owner is silent is closed, 1 to 3,600. Must not be shorter
    /// than the longest request (`timeouts.total_ms`).
    pub lifetime_s: u32,
    /// What such a permit is charged.
    pub expiry_charge: ExpiryCharge,
    /// Output tokens assumed for a request that sets no `max_tokens`, for a model whose own maximum
    /// is not in the catalogue.
    pub default_output_tokens: Tokens,
}

impl Default for PermitPolicy {
    fn default() -> Self {
        PermitPolicy { lifetime_s: 660, expiry_charge: ExpiryCharge::WorstCase, default_output_tokens: 16_384 }
    }
}

impl PermitPolicy {
    /// The lifetime in milliseconds.
    pub fn lifetime(self) -> Millis {
        i64::from(self.lifetime_s).saturating_mul(1_000)
    }
}

/// What a permit is charged when nobody ever settles it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryCharge {
    /// All that it held.
    #[default]
    WorstCase,
    /// The input estimate.
    InputOnly,
    /// Nothing.
    Nothing,
}

/// How long a provider may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until the answer's headers, 1 to 600,000.
    pub first_byte_ms: u32,
    /// Between two pieces of a stream, 1 to 600,000.
    pub idle_ms: u32,
    /// For the whole request, 1 to 3,600,000.
    pub total_ms: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { first_byte_ms: 60_000, idle_ms: 60_000, total_ms: 600_000 }
    }
}

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the field, `limits[0].requests`; empty for the document as a whole.
    pub param: String,
    /// What is wrong and what would be right.
    pub message: String,
}

fn invalid<T>(param: impl Into<String>, message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { param: param.into(), message: message.into() })
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.aliases()?;
        self.limits()?;
        self.budgets()?;
        for (name, spec) in &self.prices {
            if split_target(name).is_none() {
                return invalid(format!("prices.{name}"), "a price is for `provider/model` or `provider/*`");
            }
            price(&format!("prices.{name}"), spec)?;
        }
        if let UnknownPrice::DefaultPrice(spec) = &self.unknown_price {
            price("unknown_price.default_price", spec)?;
        }
        range("cache.ttl_s", u64::from(self.cache.ttl_s), 1, 2_592_000)?;
        range("permit.lifetime_s", u64::from(self.permit.lifetime_s), 1, 3_600)?;
        range("permit.default_output_tokens", self.permit.default_output_tokens, 1, 1_000_000)?;
        range("timeouts.first_byte_ms", u64::from(self.timeouts.first_byte_ms), 1, 600_000)?;
        range("timeouts.idle_ms", u64::from(self.timeouts.idle_ms), 1, 600_000)?;
        range("timeouts.total_ms", u64::from(self.timeouts.total_ms), 1, 3_600_000)?;
        if i64::from(self.timeouts.total_ms) > self.permit.lifetime() {
            return invalid("permit.lifetime_s", "a permit must live at least as long as timeouts.total_ms");
        }
        Ok(())
    }

    fn aliases(&self) -> Result<(), Invalid> {
        if self.models.len() > MAX_ALIASES {
            return invalid("models", format!("at most {MAX_ALIASES} aliases"));
        }
        for (name, alias) in &self.models {
            let param = format!("models.{name}");
            if name.is_empty() || name.len() > 128 || name.contains('/') || name.contains(char::is_control) {
                return invalid(param, "an alias has 1 to 128 characters and no slash");
            }
            if alias.targets().is_empty() || alias.targets().len() > 8 {
                return invalid(param, "an alias has 1 to 8 targets");
            }
            if alias.targets().iter().any(|t| split_target(t).is_none()) {
                return invalid(param, "a target is written `provider/model`");
            }
        }
        Ok(())
    }

    fn limits(&self) -> Result<(), Invalid> {
        rules("limits", self.limits.iter().map(|l| l.id.as_str()))?;
        for (i, limit) in self.limits.iter().enumerate() {
            range(&format!("limits[{i}].requests"), limit.requests, 1, 1_000_000_000)?;
            range(&format!("limits[{i}].window_s"), u64::from(limit.window_s), 1, 86_400)?;
        }
        Ok(())
    }

    fn budgets(&self) -> Result<(), Invalid> {
        rules("budgets", self.budgets.iter().map(|b| b.id.as_str()))
    }
}

fn rules<'a>(field: &str, ids: impl Iterator<Item = &'a str>) -> Result<(), Invalid> {
    let mut seen = BTreeSet::new();
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

fn range(param: &str, n: u64, low: u64, high: u64) -> Result<(), Invalid> {
    if (low..=high).contains(&n) { Ok(()) } else { invalid(param, format!("{n} is not between {low} and {high}")) }
}

fn price(param: &str, spec: &PriceSpec) -> Result<(), Invalid> {
    match spec.price("") {
        Some(_) => Ok(()),
        None => invalid(param, "prices are decimal strings in USD per million tokens with at most six decimals, such as \"0.15\""),
    }
}

/// Splits `provider/model`. The model may contain slashes.
pub fn split_target(name: &str) -> Option<(&str, &str)> {
    let (provider, model) = name.split_once('/')?;
    let ok = !provider.is_empty() && !model.is_empty() && name.len() <= 256 && !name.contains(char::is_control);
    ok.then_some((provider, model))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = serde_json::from_str(text).map_err(|e| e.to_string())?;
        config.validate().map_err(|e| format!("{}: {}", e.param, e.message))?;
        Ok(config)
    }

    #[test]
    fn an_empty_document_is_a_configuration() {
        assert_eq!(parse("{}").unwrap(), Config::default());
    }

    #[test]
    fn a_document_survives_a_round_trip() {
        let text = r#"{"models":{"fast":{"target":"a/b"},"safe":{"targets":["a/b/c","d/e"]}},
            "limits":[{"id":"rpm","scope":"key","requests":60,"window_s":60}],
            "budgets":[{"id":"m","limit_usd":"12.5","period":"month"}],
            "prices":{"a/*":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}},
            "unknown_price":{"default_price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}},
            "cache":{"enabled":true}}"#;
        let config = parse(text).unwrap();
        assert_eq!(config.models["safe"].targets(), ["a/b/c", "d/e"]);
        assert_eq!(config.budgets[0].limit_usd.to_string(), "12.5");
        assert_eq!(config.cache, CachePolicy { enabled: true, ttl_s: 300 });
        assert_eq!(parse(&serde_json::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, told) in [
            (r#"{"limit":[]}"#, "unknown field `limit`"),
            (r#"{"limits":[{"id":"a","requests":0,"window_s":60}]}"#, "limits[0].requests: 0 is not between"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":90000}]}"#, "limits[0].window_s"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":1},{"id":"a","requests":1,"window_s":1}]}"#, "limits[1].id"),
            (r#"{"budgets":[{"id":"a","limit_usd":"-1","period":"day"}]}"#, "decimal string"),
            (r#"{"budgets":[{"id":"a","limit_usd":1.5,"period":"day"}]}"#, "decimal string"),
            (r#"{"budgets":[{"id":"a b","limit_usd":"1","period":"day"}]}"#, "budgets[0].id"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","period":"fortnight"}]}"#, "unknown variant"),
            (r#"{"models":{"a/b":{"target":"x/y"}}}"#, "models.a/b"),
            (r#"{"models":{"a":{"target":"x"}}}"#, "provider/model"),
            (r#"{"models":{"a":{"targets":[]}}}"#, "1 to 8 targets"),
            (r#"{"prices":{"a":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}}}"#, "prices.a"),
            (r#"{"prices":{"a/b":{"input_usd_per_mtok":"1e3","output_usd_per_mtok":"1"}}}"#, "decimal strings"),
            (r#"{"permit":{"lifetime_s":10}}"#, "at least as long"),
            (r#"{"cache":{"ttl_s":0}}"#, "cache.ttl_s"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
