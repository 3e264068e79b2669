//! The record of a decision: what it was made of, what it was, what came of it. And what another
//! configuration would have decided.

use super::inputs::{Candidate, Inputs, Role};
use super::{Decision, decide};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::plan::{Plan, Target, plan};
use crate::price::Usage;
use crate::protocol::Attempt;
use crate::retry::Class;
use crate::text::to_json;
use crate::units::NanoUsd;
use serde::{Deserialize, Serialize};

/// Longest request id, in bytes.
pub const MAX_ID: usize = 64;
/// Largest decision with its inputs, in bytes of JSON: three times what 24 targets need.
pub const MAX_BODY: usize = 32 * 1024;

/// A decision with its inputs and its outcome. Stored: change it only additively.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The request's id.
    pub id: String,
    /// Gateway key's id.
    #[serde(default)]
    pub key: String,
    /// The decision and its inputs, as text ([`Decided`]): the tenant's object keeps it and has no need to
    /// read it, so the code for that is not in the bundle a second time.
    pub body: String,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Tried>,
    /// The tokens of the answer, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What it cost.
    #[serde(default)]
    pub cost: NanoUsd,
}

/// A decision and what it was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// What it was made of.
    pub inputs: Inputs,
    /// What was decided.
    pub decision: Decision,
}

/// An attempt, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// `provider/model`.
    pub target: String,
    /// How it ended.
    pub class: Class,
    /// HTTP status.
    pub status: u16,
    /// Milliseconds.
    pub latency_ms: u32,
    /// What it cost.
    pub cost: NanoUsd,
    /// The price that this was charged by.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub price: String,
}

impl Record {
    /// A decision before anything came of it.
    pub fn new(id: &str, inputs: Inputs, decision: Decision) -> Record {
        let id = id.chars().take(MAX_ID).collect();
        let body = to_json(&Decided { inputs, decision }).unwrap_or_default();
        Record { id, key: String::new(), body, attempts: Vec::new(), usage: None, cost: NanoUsd::ZERO }
    }

    /// The decision and its inputs; `None` if a later version wrote them in a form that this one cannot read.
    pub fn decided(&self) -> Option<Decided> {
        serde_json::from_str(&self.body).ok()
    }

    /// Whether it is small enough to be kept.
    pub fn fits(&self) -> bool {
        (1..=MAX_ID).contains(&self.id.len()) && self.body.len() <= MAX_BODY
    }

    /// What came of it. The tokens of the answer are those of the last attempt, unless they are there already.
    #[must_use]
    pub fn ended(self, key: &str, attempts: &[Attempt]) -> Record {
        let tried = |a: &Attempt| Tried {
            target: format!("{}/{}", a.provider, a.model),
            class: a.class(),
            status: a.status,
            latency_ms: a.latency_ms,
            cost: a.cost,
            price: a.price.clone(),
        };
        let cost = attempts.iter().fold(NanoUsd::ZERO, |sum, a| sum.plus(a.cost));
        // Of an answer that went on elsewhere the last attempt used more input, and less output, than it has.
        let usage = attempts.last().filter(|a| a.class() == Class::Ok).map(|a| self.usage.unwrap_or(a.usage));
        Record { key: key.to_owned(), attempts: attempts.iter().map(tried).collect(), usage, cost, ..self }
    }

    /// Who was asked last, or would have been asked first.
    fn target(&self, decision: &Decision) -> Option<String> {
        self.attempts.last().map(|t| t.target.clone()).or_else(|| decision.order.first().cloned())
    }
}

/// What would be different for one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The request's id.
    pub id: String,
    /// The model as the caller named it.
    pub model: String,
    /// Where it went.
    pub before: Option<String>,
    /// Where it would go first.
    pub after: Option<String>,
    /// What it cost, or was expected to cost where it has no usage.
    pub cost_before: NanoUsd,
    /// What the same tokens would cost there.
    pub cost_after: NanoUsd,
    /// Why it would be denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
}

/// What would be different.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Requests that were looked at.
    pub requests: u64,
    /// Requests of which all would be decided as it was, to the byte: inputs, scores, reasons, order.
    pub identical: u64,
    /// Requests that would go elsewhere first.
    pub moved: u64,
    /// Requests that were denied for want of a target.
    pub denied_before: u64,
    /// Requests that would be.
    pub denied_after: u64,
    /// What they cost.
    pub cost_before: NanoUsd,
    /// What they would cost, if each were answered by its first target.
    pub cost_after: NanoUsd,
    /// Those for which something would be different, in the order given.
    pub changes: Vec<Change>,
}

/// Decides again under another configuration. What was known of a target then (latency, failures, breaker,
/// prompt cache, feedback) is known again; of a target that was no candidate then, nothing is. Prices are
/// the configuration's and the catalogue's of now.
pub fn replay(records: &[Record], config: &Config, catalog: &Catalog) -> Replayed {
    let mut replayed = Replayed::default();
    let count = |n: &mut u64, yes: bool| *n = n.saturating_add(u64::from(yes));
    let read = records.iter().filter_map(|record| Some((record, record.decided()?)));
    for (record, Decided { inputs, decision }) in read {
        let (after, cost_after, denied) = match plan(&inputs.model, config, catalog, inputs.at) {
            Ok(plan) => {
                let decided = again(&inputs, &plan);
                count(&mut replayed.identical, to_json(&decided).is_ok_and(|body| body == record.body));
                first(&decided, record.usage, &plan)
            }
            Err(failure) => (None, NanoUsd::ZERO, Some(failure.code().to_owned())),
        };
        let before = record.target(&decision);
        let expected = || decision.order.first().and_then(|first| Some(candidate(&inputs, first)?.cost));
        let cost_before = if record.usage.is_some() { record.cost } else { expected().unwrap_or_default() };
        count(&mut replayed.requests, true);
        count(&mut replayed.denied_before, decision.order.is_empty());
        count(&mut replayed.denied_after, after.is_none());
        let moved = after.as_ref() != decision.order.first();
        count(&mut replayed.moved, moved);
        replayed.cost_before = replayed.cost_before.plus(cost_before);
        replayed.cost_after = replayed.cost_after.plus(cost_after);
        if moved || cost_after != cost_before {
            let (id, model) = (record.id.clone(), inputs.model.clone());
            replayed.changes.push(Change { id, model, before, after, cost_before, cost_after, denied });
        }
    }
    replayed
}

fn candidate<'a>(inputs: &'a Inputs, target: &str) -> Option<&'a Candidate> {
    inputs.candidates.iter().find(|c| c.target == target)
}

/// The same request decided again.
fn again(inputs: &Inputs, plan: &Plan) -> Decided {
    let inputs = rebuilt(inputs, plan, inputs.config);
    Decided { decision: decide(&inputs), inputs }
}

/// The first target, what the request costs there, and why there is none.
fn first(decided: &Decided, usage: Option<Usage>, plan: &Plan) -> (Option<String>, NanoUsd, Option<String>) {
    let Decided { inputs, decision } = decided;
    let Some(first) = decision.order.first() else {
        return (None, NanoUsd::ZERO, decision.refusal().map(ToString::to_string));
    };
    let target = plan.all().find(|t| t.name() == *first);
    let known = usage.and_then(|usage| Some(target?.price.cost(usage)));
    let expected = || candidate(inputs, first).map(|c| c.cost).unwrap_or_default();
    (Some(first.clone()), known.unwrap_or_else(expected), None)
}

/// The inputs as they would have been with another plan.
pub fn rebuilt(inputs: &Inputs, plan: &Plan, version: u64) -> Inputs {
    let of = |role: Role, targets: &[Target]| targets.iter().map(|t| known(inputs, role, t)).collect::<Vec<_>>();
    let mut candidates = of(Role::Pool, &plan.targets);
    candidates.extend(of(Role::Context, &plan.context_fallbacks));
    candidates.extend(of(Role::Policy, &plan.policy_fallbacks));
    Inputs { config: version, route: plan.route.clone(), candidates, ..inputs.clone() }
}

fn known(inputs: &Inputs, role: Role, target: &Target) -> Candidate {
    let fresh = Candidate::new(role, target);
    let same_role = inputs.candidates.iter().find(|c| c.target == fresh.target && c.role == role);
    // A rule of the provider that had nothing left then has nothing left for its other models either.
    let of_provider = format!("{}/", target.provider);
    let neighbour = inputs.candidates.iter().find(|c| c.target.starts_with(&of_provider));
    let blocked = neighbour.and_then(|c| c.blocked.clone());
    // Nor does it answer for them.
    let unreachable = neighbour.is_some_and(|c| c.unreachable);
    let seen = match same_role.or_else(|| candidate(inputs, &fresh.target)) {
        Some(c) => Candidate {
            feedback: c.feedback,
            gate: c.gate,
            first_ms: c.first_ms,
            total_ms: c.total_ms,
            errors: c.errors,
            cached: c.cached,
            busy: c.busy,
            blocked,
            unreachable,
            ..fresh
        },
        None => Candidate { blocked, unreachable, ..fresh },
    };
    seen.costing(target, &inputs.ask)
}
