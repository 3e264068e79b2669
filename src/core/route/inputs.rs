//! What a decision is made of. All of it, so that the same inputs give the same decision again.

use super::chance::mix;
use crate::config::{Capability, Quality, Route};
use crate::map::{Map, Set};
use crate::perf::{View, ViewRow};
use crate::plan::{Plan, Target};
use crate::price::{TierAsked, Usage};
use crate::units::{NanoUsd, Timestamp, Tokens};
use serde::{Deserialize, Serialize};

/// Output tokens that are expected of a request that sets no lower bound. Only to compare prices: what is
/// held is the worst case.
const EXPECTED_OUTPUT: Tokens = 500;

/// What a decision is made of. Stored: change it only additively.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// The model as the caller named it.
    pub model: String,
    /// The configuration's version.
    pub config: u64,
    /// When.
    pub at: Timestamp,
    /// All chance comes from here. In documents a decimal string, as JSON numbers lose bits.
    #[serde(with = "seed")]
    pub seed: u64,
    /// How the pool is ordered, as configured.
    pub route: Route,
    /// What is asked for.
    pub ask: Ask,
    /// The targets, as configured, each with what is known of it.
    pub candidates: Vec<Candidate>,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ask {
    /// Input tokens, estimated.
    pub input: Tokens,
    /// Output tokens, expected.
    pub output: Tokens,
    /// Input tokens at most.
    pub most_input: Tokens,
    /// Output tokens at most, where the request sets a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_output: Option<Tokens>,
    /// Choices.
    pub choices: u64,
    /// Whether it is answered as a stream.
    pub stream: bool,
    /// What the model must be able to do.
    #[serde(skip_serializing_if = "Set::is_empty")]
    pub needs: Set<Capability>,
    /// What the caller or its key says of the request.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, String>,
    /// Bits of the session's name; the name itself is not kept.
    #[serde(with = "seed::maybe", skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// The caller's own cap on the cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<NanoUsd>,
    /// The service tier that it asks for.
    #[serde(skip_serializing_if = "is_default")]
    pub tier: TierAsked,
}

impl Ask {
    /// A request whose body has so many bytes and may have at most so many input tokens.
    pub fn new(bytes: u64, most_input: Tokens, most_output: Option<Tokens>, choices: u64) -> Ask {
        let expected = EXPECTED_OUTPUT.saturating_mul(choices.max(1));
        Ask {
            input: bytes.div_ceil(4),
            output: most_output.map_or(expected, |most| most.min(expected)),
            most_input,
            most_output,
            choices: choices.max(1),
            ..Ask::default()
        }
    }

    /// It belongs to a session of a key. No session if its name is empty.
    #[must_use]
    pub fn in_session(self, key: &str, session: &str) -> Ask {
        let bits = (!session.is_empty()).then(|| mix(mix(0, key), session));
        Ask { session: bits, ..self }
    }
}

/// What a target may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// For the request.
    #[default]
    Pool,
    /// Where the request is longer than a context window.
    Context,
    /// Where a provider refuses the content.
    Policy,
}

/// Whether a target may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// It may.
    #[default]
    Closed,
    /// Its breaker is open: it may not, until a probe has closed it. The next probe is due then.
    Open(Timestamp),
    /// It asked to be left alone until then.
    Throttled(Timestamp),
    /// Its breaker is half open, and this request is the probe.
    Probe,
}

/// A target, with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// `provider/model`.
    pub target: String,
    /// What it may be used for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub role: Role,
    /// Its share of the traffic.
    pub weight: u32,
    /// How good it is said to be.
    pub quality: Quality,
    /// What feedback adds to that, in thousandths.
    #[serde(default, skip_serializing_if = "is_default")]
    pub feedback: i16,
    /// What it is said to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its context window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Tokens>,
    /// What it cannot do.
    #[serde(default, skip_serializing_if = "Set::is_empty")]
    pub lacks: Set<Capability>,
    /// The price row that the costs were computed with.
    pub price: String,
    /// What the request is expected to cost here.
    pub cost: NanoUsd,
    /// What it costs here at worst.
    pub worst: NanoUsd,
    /// Whether it may be asked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gate: Gate,
    /// Milliseconds to the first byte, as observed; 0 if not yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_ms: u32,
    /// Milliseconds to the end, as observed; 0 if not yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub total_ms: u32,
    /// Failures in thousandths of its attempts, as observed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: u16,
    /// Input from the provider's prompt cache, in thousandths, as observed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cached: u16,
    /// Requests under way there, from this isolate.
    #[serde(default, skip_serializing_if = "is_default")]
    pub busy: u32,
    /// The rule of its provider that has nothing left: `limit:<id>`, `budget:<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Whether health checks found its provider unreachable: it comes last.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unreachable: bool,
}

impl Candidate {
    /// A target of which nothing is known but its configuration and price.
    pub(super) fn new(role: Role, target: &Target) -> Candidate {
        Candidate {
            target: target.name(),
            role,
            weight: target.weight,
            quality: target.quality,
            feedback: 0,
            tags: target.tags.clone(),
            context: target.context,
            lacks: target.lacks.clone(),
            price: target.price.id.clone(),
            cost: NanoUsd::ZERO,
            worst: NanoUsd::ZERO,
            gate: Gate::Closed,
            first_ms: 0,
            total_ms: 0,
            errors: 0,
            cached: 0,
            busy: 0,
            blocked: None,
            unreachable: false,
        }
    }

    /// How good it is: as configured, and corrected by feedback.
    pub fn quality(&self) -> Quality {
        Quality::new(self.quality.get().saturating_add(i64::from(self.feedback)))
    }

    /// With what the request costs there.
    #[must_use]
    pub(super) fn costing(self, target: &Target, ask: &Ask) -> Candidate {
        let (cost, worst) = costs(target, ask, self.cached);
        Candidate { cost, worst, ..self }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What inputs are made of, where the decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The model as the caller named it.
    pub model: &'a str,
    /// The configuration's version.
    pub config: u64,
    /// Its targets.
    pub plan: &'a Plan,
    /// What the tenant's object last told of targets.
    pub view: &'a View,
    /// The target that the permit lets this request probe.
    pub probe: Option<&'a str>,
    /// What is asked for.
    pub ask: &'a Ask,
    /// When.
    pub at: Timestamp,
    /// Random bits.
    pub seed: u64,
    /// Requests of this isolate under way, by `provider/model`.
    pub busy: &'a Map<String, u32>,
    /// Providers of which a limit or budget has nothing left, and that rule's name.
    pub blocked: &'a Map<String, String>,
}

impl Question<'_> {
    /// The inputs.
    pub fn inputs(&self) -> Inputs {
        let of = |role: Role, targets: &[Target]| targets.iter().map(|t| self.candidate(role, t)).collect::<Vec<_>>();
        let mut candidates = of(Role::Pool, &self.plan.targets);
        candidates.extend(of(Role::Context, &self.plan.context_fallbacks));
        candidates.extend(of(Role::Policy, &self.plan.policy_fallbacks));
        Inputs {
            model: self.model.to_owned(),
            config: self.config,
            at: self.at,
            seed: self.seed,
            route: self.plan.route.clone(),
            ask: self.ask.clone(),
            candidates,
        }
    }

    fn candidate(&self, role: Role, target: &Target) -> Candidate {
        let fresh = Candidate::new(role, target);
        let none = ViewRow::default();
        let row = self.view.row(&fresh.target).unwrap_or(&none);
        let known = Candidate {
            feedback: row.quality,
            gate: if self.probe == Some(fresh.target.as_str()) { Gate::Probe } else { row.gate },
            first_ms: row.first_ms,
            total_ms: row.total_ms,
            errors: row.errors,
            cached: row.cached,
            busy: self.busy.get(&fresh.target).copied().unwrap_or(0),
            blocked: self.blocked.get(&target.provider).cloned(),
            unreachable: self.view.is_unreachable(&target.provider, self.at),
            ..fresh
        };
        known.costing(target, self.ask)
    }
}

/// What the request is expected to cost at a target, where so many thousandths of the input come from the
/// provider's prompt cache, and what it costs at worst.
fn costs(target: &Target, ask: &Ask, cached: u16) -> (NanoUsd, NanoUsd) {
    let mut usage = Usage { input: ask.input, output: ask.output, tier: ask.tier.expected(), ..Usage::default() };
    usage.cached_input = ask.input.saturating_mul(u64::from(cached.min(1_000))).checked_div(1_000).unwrap_or(0);
    let most_output = ask.most_output.unwrap_or_else(|| target.max_output.saturating_mul(ask.choices.max(1)));
    (target.price.cost(usage), target.price.worst_case(ask.most_input.max(ask.input), most_output, ask.tier))
}

/// 64 bits as a decimal string.
mod seed {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bits: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(bits)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }

    pub mod maybe {
        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        pub fn serialize<S: Serializer>(bits: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
            match bits {
                Some(bits) => to.collect_str(bits),
                None => to.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
            Option::<String>::deserialize(from)?.map(|text| text.parse().map_err(D::Error::custom)).transpose()
        }
    }
}
