//! From a model's name to the targets to try.

use crate::catalog::Catalog;
use crate::config::{Config, UnknownPrice, split_target};
use crate::failure::Failure;
use crate::price::{Price, UNKNOWN};
use crate::units::{NanoUsd, Timestamp, Tokens};
use std::collections::BTreeSet;

/// A model at a provider, with its price.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Provider.
    pub provider: String,
    /// Model as the provider names it.
    pub model: String,
    /// What it costs.
    pub price: Price,
    /// Output tokens assumed for a request that sets no bound.
    pub max_output: Tokens,
}

/// Targets in the order of attempts, and why these.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The targets.
    pub targets: Vec<Target>,
    /// For `x-tollgate-route`.
    pub reason: String,
}

/// The plan for a model's name, at the prices that hold `now`.
///
/// # Errors
/// [`Failure::ModelNotFound`] or [`Failure::PriceUnknown`].
pub fn plan(name: &str, config: &Config, catalog: &Catalog, now: Timestamp) -> Result<Plan, Failure> {
    let not_found = |why: String| Failure::ModelNotFound { model: name.to_owned(), why };
    let (names, mut reason) = match config.models.get(name) {
        Some(alias) => (alias.targets().to_vec(), format!("alias={name}")),
        None if split_target(name).is_some() => (vec![name.to_owned()], "direct".to_owned()),
        None => return Err(not_found("it is no alias of this tenant, and not written `provider/model`".to_owned())),
    };
    let assumed = config.permit.default_output_tokens;
    let mut targets = Vec::with_capacity(names.len());
    for full in &names {
        let (provider, model) = split_target(full).ok_or_else(|| not_found(format!("its target `{full}` is not `provider/model`")))?;
        let row = catalog.provider(provider).ok_or_else(|| not_found(format!("there is no provider `{provider}`")))?;
        let price = price(full, provider, model, config, catalog, now).ok_or_else(|| Failure::PriceUnknown { model: full.clone() })?;
        targets.push(Target {
            provider: provider.to_owned(),
            model: model.to_owned(),
            price,
            max_output: row.max_output_tokens.unwrap_or_else(|| assumed.min(catalog.max_output(provider, model).unwrap_or(assumed))),
        });
    }
    if targets.iter().any(|target| target.price.id == UNKNOWN) {
        reason.push_str(", price=unknown");
    }
    Ok(Plan { targets, reason })
}

/// The tenant's own price goes before the catalogue's, an exact one before a provider's.
fn price(full: &str, provider: &str, model: &str, config: &Config, catalog: &Catalog, now: Timestamp) -> Option<Price> {
    let any = format!("{provider}/*");
    for key in [full, any.as_str()] {
        if let Some(spec) = config.prices.get(key) {
            return spec.price(&format!("tenant:{key}"));
        }
    }
    catalog.price(provider, model, now).or_else(|| match &config.unknown_price {
        UnknownPrice::Reject => None,
        UnknownPrice::DefaultPrice(spec) => spec.price("tenant:default_price"),
        UnknownPrice::AllowAndFlag => Some(Price::unknown()),
    })
}

impl Plan {
    /// The most that the request can cost, and the input's part of it, at the dearest target.
    pub fn worst_case(&self, input: Tokens, max_output: Option<Tokens>, choices: u64) -> (NanoUsd, NanoUsd) {
        let output = |t: &Target| max_output.unwrap_or_else(|| t.max_output.saturating_mul(choices));
        let most = self.targets.iter().map(|t| t.price.worst_case(input, output(t))).max().unwrap_or(NanoUsd::MAX);
        let input_only = self.targets.iter().map(|t| t.price.worst_case(input, 0)).max().unwrap_or(NanoUsd::MAX);
        (most, input_only)
    }

    /// The most output tokens that the request can use, at whichever target.
    pub fn most_output(&self, max_output: Option<Tokens>, choices: u64) -> Tokens {
        let own = self.targets.iter().map(|t| t.max_output.saturating_mul(choices)).max().unwrap_or(0);
        max_output.unwrap_or(own)
    }

    /// Whether all its prices hold at that time.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.targets.iter().all(|target| target.price.is_valid(now))
    }

    /// The providers that it may be sent to, each once.
    pub fn providers(&self) -> Vec<String> {
        let names: BTreeSet<&str> = self.targets.iter().map(|t| t.provider.as_str()).collect();
        names.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        Catalog::new(Some(r#"{"sim":{"base_url":"http://127.0.0.1:1/v1","api_key_env":"K"}}"#)).unwrap()
    }

    fn config(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn names_become_targets() {
        let config = config(
            r#"{"models":{"fast":{"targets":["openai/gpt-4o-mini","sim/x"]}},"prices":{"sim/*":{"input_usd_per_mtok":"9","output_usd_per_mtok":"9"}}}"#,
        );
        let plan = |name: &str| super::plan(name, &config, &catalog(), Timestamp(0));
        let fast = plan("fast").unwrap();
        assert_eq!(fast.reason, "alias=fast");
        assert_eq!(fast.targets.iter().map(|t| t.model.as_str()).collect::<Vec<_>>(), ["gpt-4o-mini", "x"]);
        assert_eq!(fast.worst_case(1_000_000, Some(0), 1).0.to_string(), "9");
        assert_eq!(plan("openai/gpt-4o").unwrap().reason, "direct");
        for unknown in ["gpt-4o", "nobody/gpt-4o", "openai/"] {
            assert!(matches!(plan(unknown), Err(Failure::ModelNotFound { .. })), "{unknown}");
        }
    }

    #[test]
    fn an_unknown_price_is_a_policy() {
        let plan = |config: &Config| super::plan("sim/x", config, &catalog(), Timestamp(0));
        assert!(matches!(plan(&config("{}")), Err(Failure::PriceUnknown { .. })));
        let charged = config(r#"{"unknown_price":{"default_price":{"input_usd_per_mtok":"7","output_usd_per_mtok":"7"}}}"#);
        let charged = plan(&charged).unwrap();
        assert_eq!((charged.targets[0].price.base.input, charged.reason.as_str()), (7_000_000, "direct"));
        let flagged = plan(&config(r#"{"unknown_price":"allow_and_flag"}"#)).unwrap();
        assert_eq!((flagged.targets[0].price.id.as_str(), flagged.reason.as_str()), ("unknown", "direct, price=unknown"));
        assert_eq!(flagged.worst_case(1_000_000, Some(1_000_000), 1), (NanoUsd::ZERO, NanoUsd::ZERO));
    }

    #[test]
    fn a_known_price_is_never_flagged() {
        let config =
            config(r#"{"unknown_price":"allow_and_flag","prices":{"sim/x":{"input_usd_per_mtok":"0","output_usd_per_mtok":"0"}}}"#);
        for (name, id) in [("sim/x", "tenant:sim/x"), ("openai/gpt-4o", "genai-prices ")] {
            let plan = super::plan(name, &config, &catalog(), Timestamp(0)).unwrap();
            assert!(plan.targets[0].price.id.starts_with(id) && plan.reason == "direct", "{name}");
        }
    }

    /// A model that changes its price some day, or some hours of each day.
    #[test]
    fn a_plan_holds_until_a_price_changes() {
        let now = Timestamp::from_rfc3339("2026-11-24T00:30:00Z").unwrap();
        let plan = |now| super::plan("deepseek/deepseek-v4-flash", &config("{}"), &catalog(), now).unwrap();
        let early = plan(now);
        let until = early.targets[0].price.valid_until.unwrap();
        assert!(early.is_valid(now) && early.is_valid(Timestamp(until.0 - 1)) && !early.is_valid(until));
        assert!(plan(until).targets[0].price != early.targets[0].price && plan(until).is_valid(until));
    }

    #[test]
    fn output_is_assumed_to_be_what_the_model_can_write_at_most() {
        let most = |name: &str, text: &str| super::plan(name, &config(text), &catalog(), Timestamp(0)).unwrap().most_output(None, 1);
        assert_eq!(most("openai/gpt-4o", r#"{"permit":{"default_output_tokens":100000}}"#), 16_384);
        assert_eq!(most("openai/gpt-4o", r#"{"permit":{"default_output_tokens":1000}}"#), 1_000);
        assert_eq!(most("sim/x", r#"{"unknown_price":"allow_and_flag","permit":{"default_output_tokens":100000}}"#), 100_000);
    }
}
