//! Which targets a request may go to, and why the others not.

use super::inputs::{Ask, Candidate, Gate, Inputs, Role};
use crate::config::{Capability, Quality, RouteRule, When};
use crate::map::Set;
use crate::units::{Millis, NanoUsd, Timestamp, Tokens};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a target is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The alias' data policy, or the rule that fits, wants tags that it does not have.
    Tags {
        /// Those.
        missing: Vec<String>,
    },
    /// It cannot do what the request needs.
    Capability {
        /// That.
        lacks: Set<Capability>,
    },
    /// The request is longer than its context window.
    Context {
        /// The request, estimated, with the output that it asks for.
        tokens: Tokens,
        /// The window.
        window: Tokens,
    },
    /// A limit or budget of its provider has nothing left.
    Limit {
        /// `limit:<id>` or `budget:<id>`.
        rule: String,
    },
    /// The request could cost more there than it may.
    Price {
        /// What it could cost.
        worst: NanoUsd,
        /// What it may.
        cap: NanoUsd,
    },
    /// It is not good enough.
    Quality {
        /// How good it is.
        quality: Quality,
        /// How good it must be.
        floor: Quality,
    },
    /// Its breaker is open.
    Breaker {
        /// When the next probe is due.
        until: Timestamp,
    },
    /// It asked to be left alone.
    Throttled {
        /// Until when.
        until: Timestamp,
    },
}

impl Reason {
    /// How little has to change for the target to be used: the most hopeful of several reasons tells the
    /// client most.
    fn rank(&self) -> u8 {
        match self {
            Reason::Throttled { .. } => 0,
            Reason::Breaker { .. } => 1,
            Reason::Limit { .. } => 2,
            Reason::Price { .. } => 3,
            Reason::Context { .. } => 4,
            Reason::Capability { .. } => 5,
            Reason::Quality { .. } => 6,
            Reason::Tags { .. } => 7,
        }
    }

    /// Milliseconds after which it may be over; `None` if waiting does not help.
    pub fn retry_after(&self, now: Timestamp) -> Option<Millis> {
        match self {
            Reason::Breaker { until } | Reason::Throttled { until } => Some(until.since(now).max(1_000)),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Tags { missing } => write!(f, "it is not tagged {}", missing.join(", ")),
            Reason::Capability { lacks } => {
                let name = |c: &Capability| format!("{c:?}").to_lowercase();
                write!(f, "it has no {}", lacks.iter().map(name).collect::<Vec<_>>().join(", "))
            }
            Reason::Context { tokens, window } => write!(f, "about {tokens} tokens are more than its window of {window}"),
            Reason::Limit { rule } => write!(f, "{rule} of its provider has nothing left"),
            Reason::Price { worst, cap } => write!(f, "it could cost {worst} USD, which is more than {cap}"),
            Reason::Quality { quality, floor } => write!(f, "its quality {} is below {}", f64::from(*quality), f64::from(*floor)),
            Reason::Breaker { .. } => f.write_str("its breaker is open"),
            Reason::Throttled { .. } => f.write_str("it asked to be left alone"),
        }
    }
}

/// A target that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// `provider/model`.
    pub target: String,
    /// Why.
    pub reason: Reason,
}

/// The rule of a conditional alias that fits, and its place.
pub(super) fn rule(inputs: &Inputs) -> Option<(usize, &RouteRule)> {
    inputs.route.rules.iter().enumerate().find(|(_, rule)| fits(&rule.when, &inputs.ask))
}

fn fits(when: &When, ask: &Ask) -> bool {
    when.metadata.iter().all(|(name, value)| ask.metadata.get(name) == Some(value))
        && when.input_tokens_over.is_none_or(|n| ask.input > n)
        && when.input_tokens_at_most.is_none_or(|n| ask.input <= n)
        && when.needs.is_subset(&ask.needs)
}

/// Why the request may not go to a candidate; `None` if it may.
pub(super) fn reason(inputs: &Inputs, rule: Option<&RouteRule>, c: &Candidate) -> Option<Reason> {
    let (route, ask) = (&inputs.route, &inputs.ask);
    let of_rule = rule.filter(|_| c.role == Role::Pool).map_or(&[][..], |r| &r.require_tags);
    let missing: Vec<String> = route.require_tags.iter().chain(of_rule).filter(|tag| !c.tags.contains(tag)).cloned().collect();
    if !missing.is_empty() {
        return Some(Reason::Tags { missing });
    }
    let lacks: Set<Capability> = c.lacks.intersection(&ask.needs).copied().collect();
    if !lacks.is_empty() {
        return Some(Reason::Capability { lacks });
    }
    let tokens = ask.input.saturating_add(ask.most_output.unwrap_or(0));
    if let Some(window) = c.context.filter(|window| tokens > *window) {
        return Some(Reason::Context { tokens, window });
    }
    if let Some(rule) = &c.blocked {
        return Some(Reason::Limit { rule: rule.clone() });
    }
    let cap = [route.max_cost_usd, ask.max_cost].into_iter().flatten().min();
    if let Some(cap) = cap.filter(|cap| c.worst > *cap) {
        return Some(Reason::Price { worst: c.worst, cap });
    }
    // A fallback for another reason is chosen for what it can do.
    let floor = route.min_quality.filter(|floor| c.role == Role::Pool && c.quality() < *floor);
    if let Some(floor) = floor {
        return Some(Reason::Quality { quality: c.quality(), floor });
    }
    match c.gate {
        Gate::Open(until) => Some(Reason::Breaker { until }),
        Gate::Throttled(until) if inputs.at < until => Some(Reason::Throttled { until }),
        Gate::Closed | Gate::Throttled(_) | Gate::Probe => None,
    }
}

/// Of several reasons the one that says most about what to do.
pub(super) fn most_hopeful(dropped: &[Dropped]) -> Option<&Reason> {
    let until = |r: &Reason| match r {
        Reason::Breaker { until } | Reason::Throttled { until } => until.0,
        _ => 0,
    };
    dropped.iter().map(|d| &d.reason).min_by_key(|r| (r.rank(), until(r)))
}
