//! From a model's name to the targets to try.

use crate::catalog::Catalog;
use crate::config::{Capability, Config, PoolTarget, Quality, Route, UnknownPrice, split_target};
use crate::dialect::Dialect;
use crate::failure::Failure;
use crate::map::Set;
use crate::price::{Price, TierAsked, UNKNOWN};
use crate::units::{NanoUsd, Timestamp, Tokens};

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
    /// Its share of the traffic beside the others'.
    pub weight: u32,
    /// How good it is said to be.
    pub quality: Quality,
    /// What it is said to be.
    pub tags: Vec<String>,
    /// Its context window in tokens, where known.
    pub context: Option<Tokens>,
    /// What it cannot do.
    pub lacks: Set<Capability>,
}

impl Target {
    /// `provider/model`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }
}

/// Targets in the order of attempts, and why these.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The targets.
    pub targets: Vec<Target>,
    /// What is tried when the request is longer than a model's context window.
    pub context_fallbacks: Vec<Target>,
    /// What is tried when a provider refuses the content.
    pub policy_fallbacks: Vec<Target>,
    /// How the targets are ordered.
    pub route: Route,
    /// The target that the costs are compared with, where one is stated.
    pub baseline: Option<Box<Target>>,
    /// For `x-tollgate-route`.
    pub reason: String,
}

/// The plan for a model's name, at the prices that hold `now`.
///
/// # Errors
/// [`Failure::ModelNotFound`] or [`Failure::PriceUnknown`].
pub fn plan(name: &str, config: &Config, catalog: &Catalog, now: Timestamp) -> Result<Plan, Failure> {
    let not_found = |why: String| Failure::ModelNotFound { model: name.to_owned(), why };
    let alias = config.models.get(name);
    let (pool, mut reason) = match alias {
        Some(alias) => (alias.targets.clone(), format!("alias={name}")),
        None if split_target(name).is_some() => (vec![PoolTarget::plain(name)], "direct".to_owned()),
        None => return Err(not_found("it is no alias of this tenant, and not written `provider/model`".to_owned())),
    };
    let targets = |pool: &[PoolTarget]| pool.iter().map(|t| target(t, config, catalog, now, &not_found)).collect::<Result<Vec<_>, _>>();
    let none = &[][..];
    let stated = alias.and_then(|a| a.baseline.as_ref()).or(config.savings.baseline.as_ref());
    // A baseline that has no price is no reason to refuse the request.
    let baseline = stated.and_then(|b| target(&PoolTarget::plain(b), config, catalog, now, &not_found).ok()).map(Box::new);
    let pool = targets(&pool)?;
    if pool.iter().any(|target| target.price.id == UNKNOWN) {
        reason.push_str(", price=unknown");
    }
    Ok(Plan {
        targets: pool,
        context_fallbacks: targets(alias.map_or(none, |a| &a.context_fallbacks))?,
        policy_fallbacks: targets(alias.map_or(none, |a| &a.policy_fallbacks))?,
        route: alias.map(|a| a.route.clone()).unwrap_or_default(),
        baseline,
        reason,
    })
}

/// A target of a pool, with its price.
fn target(
    t: &PoolTarget,
    config: &Config,
    catalog: &Catalog,
    now: Timestamp,
    not_found: &dyn Fn(String) -> Failure,
) -> Result<Target, Failure> {
    let full = t.target.as_str();
    let (provider, model) = split_target(full).ok_or_else(|| not_found(format!("its target `{full}` is not `provider/model`")))?;
    let row = catalog.provider(provider).ok_or_else(|| not_found(format!("there is no provider `{provider}`")))?;
    let mut price = price(full, provider, model, config, catalog, now).ok_or_else(|| Failure::PriceUnknown { model: full.to_owned() })?;
    if row.formats.iter().all(|format| matches!(format, Dialect::Gemini | Dialect::Bedrock)) {
        // What is translated to these formats asks for no service tier, and gets the usual one.
        price.tiers.clear();
    }
    let assumed = config.permit.default_output_tokens;
    Ok(Target {
        provider: provider.to_owned(),
        model: model.to_owned(),
        price,
        max_output: row.max_output_tokens.unwrap_or_else(|| assumed.min(catalog.max_output(provider, model).unwrap_or(assumed))),
        weight: t.weight,
        quality: t.quality,
        tags: t.tags.clone(),
        context: t.context_tokens.or_else(|| catalog.context_window(provider, model)),
        lacks: t.lacks.clone(),
    })
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
    /// All targets that the request may be sent to.
    pub fn all(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().chain(&self.context_fallbacks).chain(&self.policy_fallbacks)
    }

    /// The plan without some providers: what it holds is then no longer held at these. Empty if no target is
    /// left.
    #[must_use]
    pub fn without(&self, gone: impl Fn(&str) -> bool) -> Plan {
        let left = |targets: &[Target]| targets.iter().filter(|t| !gone(&t.provider)).cloned().collect();
        Plan {
            targets: left(&self.targets),
            context_fallbacks: left(&self.context_fallbacks),
            policy_fallbacks: left(&self.policy_fallbacks),
            ..self.clone()
        }
    }

    /// The most that the request can cost, and the input's part of it, at the dearest target.
    pub fn worst_case(&self, input: Tokens, max_output: Option<Tokens>, choices: u64, asked: TierAsked) -> (NanoUsd, NanoUsd) {
        let output = |t: &Target| max_output.unwrap_or_else(|| t.max_output.saturating_mul(choices));
        let most = self.all().map(|t| t.price.worst_case(input, output(t), asked)).max().unwrap_or(NanoUsd::MAX);
        let input_only = self.all().map(|t| t.price.worst_case(input, 0, asked)).max().unwrap_or(NanoUsd::MAX);
        (most, input_only)
    }

    /// The most that the request can cost at the cheapest of its targets.
    pub fn least_worst_case(&self, input: Tokens, max_output: Option<Tokens>, choices: u64, asked: TierAsked) -> NanoUsd {
        let output = |t: &Target| max_output.unwrap_or_else(|| t.max_output.saturating_mul(choices));
        self.all().map(|t| t.price.worst_case(input, output(t), asked)).min().unwrap_or(NanoUsd::MAX)
    }

    /// The most output tokens that the request can use, at whichever target.
    pub fn most_output(&self, max_output: Option<Tokens>, choices: u64) -> Tokens {
        let own = self.all().map(|t| t.max_output.saturating_mul(choices)).max().unwrap_or(0);
        max_output.unwrap_or(own)
    }

    /// Whether all its prices hold at that time.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.all().all(|target| target.price.is_valid(now))
    }

    /// The providers that it may be sent to, each once.
    pub fn providers(&self) -> Vec<String> {
        let names: Set<&str> = self.all().map(|t| t.provider.as_str()).collect();
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
        assert_eq!(fast.worst_case(1_000_000, Some(0), 1, TierAsked::Auto).0.to_string(), "9");
        assert_eq!(plan("openai/gpt-4o").unwrap().reason, "direct");
        for unknown in ["gpt-4o", "nobody/gpt-4o", "openai/"] {
            assert!(matches!(plan(unknown), Err(Failure::ModelNotFound { .. })), "{unknown}");
        }
    }

    #[test]
    fn fallbacks_count_in_the_worst_case() {
        let config = config(
            r#"{"models":{"a":{"target":"sim/x","context_fallbacks":["sim/long"],"policy_fallbacks":["openai/gpt-4o-mini"],"baseline":"sim/long"}},
                "prices":{"sim/x":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"},"sim/long":{"input_usd_per_mtok":"9","output_usd_per_mtok":"9"}}}"#,
        );
        let plan = super::plan("a", &config, &catalog(), Timestamp(0)).unwrap();
        assert_eq!(plan.worst_case(1_000_000, Some(0), 1, TierAsked::Auto).0.to_string(), "9");
        assert_eq!(plan.providers(), ["openai", "sim"]);
        assert_eq!(plan.without(|p| p == "sim").providers(), ["openai"]);
        assert_eq!(plan.baseline.map(|b| b.name()).as_deref(), Some("sim/long"));
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
        assert_eq!(flagged.worst_case(1_000_000, Some(1_000_000), 1, TierAsked::Auto), (NanoUsd::ZERO, NanoUsd::ZERO));
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
