//! A tenant's configuration document, parsed once into types that cannot be wrong.

mod alias;
mod budget;
mod limit;
mod providers;
mod routing;
mod scope;
mod usd;
mod validate;
mod validate_route;

pub use alias::{Alias, Capability, MAX_ROUTE_RULES, MAX_TARGETS, PoolTarget, Quality, Route, RouteRule, Strategy, When};
pub use budget::{Budget, Span, TopUp};
pub use limit::{Algorithm, Limit, WhenUnreachable};
pub use providers::{MAX_PROVIDERS, TenantProvider};
pub use routing::{BreakerPolicy, BrokenStream, DecisionPolicy, HedgeAfter, HedgePolicy, RetryPolicy, SavingsPolicy};
pub use scope::Scope;
pub use validate::{Invalid, validate_prices};

use crate::map::Map;
use crate::price::PriceSpec;
use crate::units::{Millis, NanoUsd, Tokens};
use serde::{Deserialize, Serialize};

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
    pub models: Map<String, Alias>,
    /// How much may pass in any window, or be under way at a time.
    pub limits: Vec<Limit>,
    /// How much may be spent in a period.
    pub budgets: Vec<Budget>,
    /// Whether and how long answers are kept.
    pub cache: CachePolicy,
    /// Prices that go before the catalogue's: `provider/model` or `provider/*`.
    pub prices: Map<String, PriceSpec>,
    /// What happens to a model whose price nobody knows.
    pub unknown_price: UnknownPrice,
    /// Life and end of permits.
    pub permit: PermitPolicy,
    /// How long a provider may take.
    pub timeouts: Timeouts,
    /// The tenant's own providers, and its own keys for those that the gateway knows.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub providers: Map<String, TenantProvider>,
    /// When a target that fails is left alone.
    #[serde(skip_serializing_if = "limit::is_default")]
    pub breaker: BreakerPolicy,
    /// What is tried again.
    #[serde(skip_serializing_if = "limit::is_default")]
    pub retry: RetryPolicy,
    /// What requests would have cost otherwise.
    #[serde(skip_serializing_if = "limit::is_default")]
    pub savings: SavingsPolicy,
    /// Which decisions are kept.
    #[serde(skip_serializing_if = "limit::is_default")]
    pub decisions: DecisionPolicy,
}

/// Whether a rule denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It only counts what it would have denied.
    Shadow,
}

/// What to try when a rule denies, before the request is refused. The worker takes the steps in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A stored answer, however old.
    Cache,
    /// This alias or `provider/model` instead.
    Downgrade(String),
    /// Wait for up to so many milliseconds, 1 to 30,000, and ask again.
    WaitMs(u32),
    /// Refuse. What comes after the last step anyway.
    Reject,
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

/// What happens to a model whose price nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPrice {
    /// The request is refused.
    #[default]
    Reject,
    /// It is charged at this price.
    DefaultPrice(PriceSpec),
    /// It is sent, and charged nothing, under a price that is called `unknown`: no budget sees it.
    AllowAndFlag,
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
    /// The most that one request may cost at worst.
    #[serde(with = "usd::maybe", skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<NanoUsd>,
    /// The most that the requests of one session may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionCap>,
}

/// The most that the requests of one session (`x-tollgate-session`) of one key may cost in any window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionCap {
    /// How much.
    #[serde(with = "usd")]
    pub max_cost_usd: NanoUsd,
    /// Length of the window in seconds, 1 to 604,800.
    pub window_s: u32,
}

impl SessionCap {
    /// The window in milliseconds.
    pub fn window(self) -> Millis {
        i64::from(self.window_s).saturating_mul(1_000)
    }
}

impl Default for PermitPolicy {
    fn default() -> Self {
        PermitPolicy {
            lifetime_s: 660,
            expiry_charge: ExpiryCharge::WorstCase,
            default_output_tokens: 16_384,
            max_cost_usd: None,
            session: None,
        }
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
        let names = |alias: &str| config.models[alias].targets.iter().map(|t| t.target.clone()).collect::<Vec<_>>();
        assert_eq!(names("safe"), ["a/b/c", "d/e"]);
        assert_eq!(config.budgets[0].limit_usd.to_string(), "12.5");
        assert_eq!(config.cache, CachePolicy { enabled: true, ttl_s: 300 });
        assert_eq!(parse(&serde_json::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn an_unknown_price_is_one_of_three_policies() {
        for (text, policy) in [(r#""reject""#, UnknownPrice::Reject), (r#""allow_and_flag""#, UnknownPrice::AllowAndFlag)] {
            let config = parse(&format!(r#"{{"unknown_price":{text}}}"#)).unwrap();
            assert_eq!((&config.unknown_price, serde_json::to_string(&config.unknown_price).unwrap().as_str()), (&policy, text));
        }
        assert!(parse(r#"{"unknown_price":"free"}"#).is_err());
    }

    #[test]
    fn the_examples_of_the_guide_are_configurations() {
        let guide = include_str!("../../../docs/routing.md");
        let examples: Vec<&str> = guide.split("```json").skip(1).filter_map(|part| part.split("```").next()).collect();
        assert!(examples.len() >= 12, "{}", examples.len());
        for example in &examples {
            assert_eq!(parse(example).map(|_| ()), Ok(()), "{example}");
        }
        // What is shown as the defaults are the defaults.
        let config = |about: &str| parse(examples.iter().find(|e| e.contains(about)).unwrap()).unwrap();
        assert_eq!((config("max_cooldown_s").breaker, config("max_backoff_ms").retry), (BreakerPolicy::default(), RetryPolicy::default()));
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
            (r#"{"prices":{"a/b":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1","cache_write_usd_per_mtok":"x"}}}"#, "prices.a/b"),
            (r#"{"prices":{"a/b":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1","per_request_usd":"-1"}}}"#, "prices.a/b"),
            (r#"{"permit":{"lifetime_s":10}}"#, "at least as long"),
            (r#"{"cache":{"ttl_s":0}}"#, "cache.ttl_s"),
            (r#"{"limits":[{"id":"a","window_s":1}]}"#, "limit `a`: give exactly one of"),
            (r#"{"limits":[{"id":"a","requests":1,"tokens":1,"window_s":1}]}"#, "give exactly one of"),
            (r#"{"limits":[{"id":"a","tokens":1}]}"#, "`window_s` is missing"),
            (r#"{"limits":[{"id":"a","concurrency":1,"window_s":1}]}"#, "has no `window_s`"),
            (r#"{"limits":[{"id":"a","concurrency":0}]}"#, "limits[0].concurrency"),
            (r#"{"limits":[{"id":"a","cost_usd":1,"window_s":1}]}"#, "decimal string"),
            (r#"{"limits":[{"id":"a","cost_usd":"0","window_s":1}]}"#, "limits[0].cost_usd"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":1,"burst":2}]}"#, "only a `token_bucket`"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":1,"algorithm":"token_bucket","burst":"2"}]}"#, "a whole number"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":1,"algorithm":"token_bucket","burst":0}]}"#, "limits[0].burst"),
            (r#"{"limits":[{"id":"a","scope":"team","requests":1,"window_s":1}]}"#, "`team` is no scope"),
            (r#"{"limits":[{"id":"a","scope":"metadata:","requests":1,"window_s":1}]}"#, "is no scope"),
            (r#"{"limits":[{"id":"a","only":["x"],"requests":1,"window_s":1}]}"#, "limits[0].only"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":1,"when_exceeded":["reject","cache"]}]}"#, "limits[0].when_exceeded[0]"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":1,"when_exceeded":[{"wait_ms":30001}]}]}"#, "limits[0].when_exceeded[0]"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":1,"when_exceeded":[{"downgrade":"x"}]}]}"#, "`x` is no alias"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1"}]}"#, "either `period` or `rolling_s`"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","period":"day","rolling_s":60}]}"#, "either `period` or `rolling_s`"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","rolling_s":60,"time_zone":"UTC"}]}"#, "has no `time_zone`"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","rolling_s":59}]}"#, "budgets[0].rolling_s"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","period":"day","time_zone":"CEST"}]}"#, "there is no time zone `CEST`"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","period":"day","thresholds":[80,50]}]}"#, "ascending"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","period":"day","thresholds":[0]}]}"#, "budgets[0].thresholds"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","period":"day","top_ups":[{"amount_usd":"1","expires_at":"soon"}]}]}"#, "expires_at"),
            (r#"{"permit":{"max_cost_usd":"0"}}"#, "permit.max_cost_usd"),
            (r#"{"permit":{"session":{"max_cost_usd":"1","window_s":0}}}"#, "permit.session.window_s"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
