//! Aliases: what a model's name stands for, and how one of its targets is chosen.

use super::limit::is_default;
use super::usd;
use crate::map::{Map, Set};
use crate::units::{NanoUsd, Tokens};
use serde::{Deserialize, Serialize};

/// Most targets of an alias, of each kind: each may be attempted, and each is scored at every request.
pub const MAX_TARGETS: usize = 8;
/// Most rules of a conditional alias.
pub const MAX_ROUTE_RULES: usize = 16;

/// What a model's name stands for: a pool of targets, and a strategy that orders it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct Alias {
    /// The pool, in the order given; 1 to 8.
    pub targets: Vec<PoolTarget>,
    /// How the pool is ordered.
    pub route: Route,
    /// Tried, in this order, when a provider says that the request is longer than the model's context
    /// window; at most 8.
    pub context_fallbacks: Vec<PoolTarget>,
    /// Tried, in this order, when a provider refuses the content; at most 8.
    pub policy_fallbacks: Vec<PoolTarget>,
    /// What the request would have cost is computed for this target (`provider/model`); the tenant's
    /// baseline where absent.
    pub baseline: Option<String>,
    /// Whether it was written as one `target`.
    single: bool,
}

impl Alias {
    /// Whether it was written as one `target`.
    pub(super) fn is_single(&self) -> bool {
        self.single
    }
}

/// A target of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTarget {
    /// `provider/model`.
    pub target: String,
    /// Its share of the traffic beside the others' weights; 0 to 10,000. With 0 it is a fallback only.
    pub weight: u32,
    /// How good its answers are, in the operator's judgement.
    pub quality: Quality,
    /// For rules and data policies: `eu`, `zero-retention`, `large`.
    pub tags: Vec<String>,
    /// Its context window in tokens, input and output together; unknown where absent.
    pub context_tokens: Option<Tokens>,
    /// What it cannot do.
    pub lacks: Set<Capability>,
}

impl PoolTarget {
    /// A target about which nothing is said.
    pub fn plain(target: &str) -> PoolTarget {
        PoolTarget {
            target: target.to_owned(),
            weight: 1,
            quality: Quality::default(),
            tags: Vec::new(),
            context_tokens: None,
            lacks: Set::new(),
        }
    }
}

/// Quality in thousandths, 0 to 1,000. In documents a number from 0 to 1. Half where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Quality(u16);

impl Quality {
    /// The best.
    pub const MAX: Quality = Quality(1_000);

    /// The quality of so many thousandths, at most [`Quality::MAX`].
    pub fn new(thousandths: i64) -> Quality {
        Quality(u16::try_from(thousandths.clamp(0, 1_000)).unwrap_or(0))
    }

    /// Thousandths.
    pub fn get(self) -> i64 {
        i64::from(self.0)
    }
}

impl Default for Quality {
    fn default() -> Quality {
        Quality(500)
    }
}

impl TryFrom<f64> for Quality {
    type Error = String;
    fn try_from(n: f64) -> Result<Quality, String> {
        if !(0.0..=1.0).contains(&n) {
            return Err(format!("a quality is a number from 0 to 1, not {n}"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000 by the line above")]
        let thousandths = (n * 1_000.0).round() as u16;
        Ok(Quality(thousandths))
    }
}

impl From<Quality> for f64 {
    fn from(quality: Quality) -> f64 {
        f64::from(quality.0) / 1_000.0
    }
}

/// Something that a request needs and a model may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Calls of functions.
    Tools,
    /// Images as input.
    Vision,
    /// Audio as input or output.
    Audio,
    /// Answers that follow a JSON schema.
    StructuredOutput,
    /// Streaming.
    Streaming,
    /// Embeddings.
    Embeddings,
}

/// How a pool is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// As written.
    #[default]
    Ordered,
    /// At random, in proportion to the weights.
    Weighted,
    /// The least expected cost first.
    Cheapest,
    /// The better of two, by latency as observed.
    Fastest,
    /// The fewest requests under way first, in proportion to the weights.
    LeastBusy,
    /// The least expected cost of those that are good and fast enough.
    Balanced,
    /// By the first rule that fits; as written where none does.
    Conditional,
}

/// Strategy, filters and options of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// How the pool is ordered.
    #[serde(skip_serializing_if = "is_default")]
    pub strategy: Strategy,
    /// Whether the requests of a session go to the same target while it is among the best.
    #[serde(skip_serializing_if = "is_true")]
    pub affinity: bool,
    /// Only targets at least this good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_quality: Option<Quality>,
    /// `balanced`: targets that are slower come last. Milliseconds to the first token of a stream, or of
    /// a whole answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency_ms: Option<u32>,
    /// Only targets at which the request costs at most so much, at worst.
    #[serde(with = "usd::maybe", skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<NanoUsd>,
    /// Data policy: only targets with all of these tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require_tags: Vec<String>,
    /// The rules of `conditional`, in order; at most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RouteRule>,
}

impl Default for Route {
    fn default() -> Route {
        Route {
            strategy: Strategy::Ordered,
            affinity: true,
            min_quality: None,
            max_latency_ms: None,
            max_cost_usd: None,
            require_tags: Vec::new(),
            rules: Vec::new(),
        }
    }
}

/// A rule of a conditional alias: when it fits, only these targets, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteRule {
    /// When it fits; always if empty.
    pub when: When,
    /// Only targets with all of these tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require_tags: Vec<String>,
    /// How they are ordered; not `conditional`.
    #[serde(skip_serializing_if = "is_default")]
    pub strategy: Strategy,
}

/// When a rule fits: all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// The request has these metadata.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, String>,
    /// Its input is estimated at more tokens than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_over: Option<Tokens>,
    /// Its input is estimated at this many tokens or fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_at_most: Option<Tokens>,
    /// It needs all of these.
    #[serde(skip_serializing_if = "Set::is_empty")]
    pub needs: Set<Capability>,
}

fn is_true(b: &bool) -> bool {
    *b
}

/// A target as it is written: its name, or an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"provider/model\" or {\"target\": \"provider/model\", \"weight\", \"quality\", \"tags\", \"context_tokens\", \"lacks\"}"
)]
enum Written {
    Name(String),
    Row(Row),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    target: String,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    quality: Quality,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context_tokens: Option<Tokens>,
    #[serde(default, skip_serializing_if = "Set::is_empty")]
    lacks: Set<Capability>,
}

fn one() -> u32 {
    1
}

fn is_one(n: &u32) -> bool {
    *n == 1
}

impl From<Written> for PoolTarget {
    fn from(written: Written) -> PoolTarget {
        match written {
            Written::Name(name) => PoolTarget::plain(&name),
            Written::Row(Row { target, weight, quality, tags, context_tokens, lacks }) => {
                PoolTarget { target, weight, quality, tags, context_tokens, lacks }
            }
        }
    }
}

impl From<PoolTarget> for Written {
    fn from(t: PoolTarget) -> Written {
        if t == PoolTarget::plain(&t.target) {
            return Written::Name(t.target);
        }
        let PoolTarget { target, weight, quality, tags, context_tokens, lacks } = t;
        Written::Row(Row { target, weight, quality, tags, context_tokens, lacks })
    }
}

/// The alias as it stands in the document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Text {
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<Vec<Written>>,
    #[serde(skip_serializing_if = "is_default")]
    strategy: Strategy,
    #[serde(skip_serializing_if = "Option::is_none")]
    affinity: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_quality: Option<Quality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_latency_ms: Option<u32>,
    #[serde(with = "usd::maybe", skip_serializing_if = "Option::is_none")]
    max_cost_usd: Option<NanoUsd>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    require_tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RouteRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    context_fallbacks: Vec<Written>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policy_fallbacks: Vec<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<String>,
}

impl TryFrom<Text> for Alias {
    type Error = String;
    fn try_from(text: Text) -> Result<Alias, String> {
        let pool = |written: Vec<Written>| written.into_iter().map(PoolTarget::from).collect();
        let (targets, single) = match (text.target, text.targets) {
            (Some(one), None) => (vec![PoolTarget::plain(&one)], true),
            (None, Some(many)) => (pool(many), false),
            _ => return Err("expected {\"target\": \"provider/model\"} or {\"targets\": [\"provider/model\", …]}".to_owned()),
        };
        let route = Route {
            strategy: text.strategy,
            affinity: text.affinity.unwrap_or(true),
            min_quality: text.min_quality,
            max_latency_ms: text.max_latency_ms,
            max_cost_usd: text.max_cost_usd,
            require_tags: text.require_tags,
            rules: text.rules,
        };
        let (context_fallbacks, policy_fallbacks) = (pool(text.context_fallbacks), pool(text.policy_fallbacks));
        Ok(Alias { targets, route, context_fallbacks, policy_fallbacks, baseline: text.baseline, single })
    }
}

impl From<Alias> for Text {
    fn from(alias: Alias) -> Text {
        let written = |pool: Vec<PoolTarget>| pool.into_iter().map(Written::from).collect();
        let mut targets = alias.targets;
        let target = if alias.single { targets.pop().map(|t| t.target) } else { None };
        let route = alias.route;
        Text {
            targets: target.is_none().then(|| written(targets)),
            target,
            strategy: route.strategy,
            affinity: (!route.affinity).then_some(false),
            min_quality: route.min_quality,
            max_latency_ms: route.max_latency_ms,
            max_cost_usd: route.max_cost_usd,
            require_tags: route.require_tags,
            rules: route.rules,
            context_fallbacks: written(alias.context_fallbacks),
            policy_fallbacks: written(alias.policy_fallbacks),
            baseline: alias.baseline,
        }
    }
}

#[cfg(test)]
mod tests;
