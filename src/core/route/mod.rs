//! Routing: from the targets of a plan to the order of attempts, with a reason for everything.
//!
//! [`decide`] is a pure function of [`Inputs`]. The worker makes these with [`Question::inputs`], after the
//! permit has come and with it what the tenant's object knows of targets. [`Record`] keeps both, so that a
//! decision can be explained, and [`replay`] can tell what another configuration would have done.

mod blocked;
mod chance;
mod filter;
mod inputs;
mod record;
mod refusal;
mod strategy;

pub use blocked::blocked;
pub use chance::{mix, race};
pub use filter::{Dropped, Reason};
pub use inputs::{Ask, Candidate, Gate, Inputs, Question, Role};
pub use record::{Change, Decided, MAX_BODY, MAX_ID, Record, Replayed, Tried, rebuilt, replay};
pub use refusal::refused;

use crate::config::Strategy;
use crate::map::Map;
use serde::{Deserialize, Serialize};
use strategy::{Order, Place};

/// What was decided. Stored with its inputs: change it only additively.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Targets in the order of attempts; empty if none may be asked.
    pub order: Vec<String>,
    /// What is tried when a provider says that the request is longer than the context window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<String>,
    /// What is tried when a provider refuses the content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<String>,
    /// The strategy that ordered them: of a conditional alias that of the rule.
    pub strategy: Strategy,
    /// The rule of a conditional alias that fits, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// What the order was made by, smaller is better: nano-dollars, milliseconds, draws.
    pub scores: Map<String, i64>,
    /// Targets that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Dropped>,
    /// What else decided: `session`, `unreachable`, `probe`, `explore`, `slow`, `context`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Decision {
    /// Why no target may be asked; `None` if one may.
    pub fn refusal(&self) -> Option<&Reason> {
        if self.order.is_empty() { filter::most_hopeful(&self.dropped) } else { None }
    }

    /// In a few words, for `x-tollgate-route`.
    pub fn summary(&self, model: &str) -> String {
        let strategy = match self.strategy {
            Strategy::Ordered | Strategy::Conditional => "ordered",
            Strategy::Weighted => "weighted",
            Strategy::Cheapest => "cheapest",
            Strategy::Fastest => "fastest",
            Strategy::LeastBusy => "least_busy",
            Strategy::Balanced => "balanced",
        };
        let mut text = format!("alias={model} strategy={strategy}");
        if let Some(rule) = self.rule {
            text.push_str(&format!(" rule={rule}"));
        }
        if !self.notes.is_empty() {
            text.push_str(&format!(" by={}", self.notes.join("+")));
        }
        if !self.dropped.is_empty() {
            text.push_str(&format!(" dropped={}", self.dropped.len()));
        }
        text
    }
}

/// Decides. The same inputs always give the same decision.
pub fn decide(inputs: &Inputs) -> Decision {
    let rule = if inputs.route.strategy == Strategy::Conditional { filter::rule(inputs) } else { None };
    let strategy = rule.map_or(inputs.route.strategy, |(_, rule)| rule.strategy);
    let mut decision = Decision { strategy, rule: rule.map(|(n, _)| n), ..Decision::default() };
    let (mut pool, mut context, mut policy) = (Vec::new(), Vec::new(), Vec::new());
    for (index, candidate) in inputs.candidates.iter().enumerate() {
        if let Some(reason) = filter::reason(inputs, rule.map(|(_, rule)| rule), candidate) {
            decision.dropped.push(Dropped { target: candidate.target.clone(), reason });
            continue;
        }
        match candidate.role {
            Role::Pool => pool.push(index),
            Role::Context => context.push(index),
            Role::Policy => policy.push(index),
        }
    }
    let Order { mut places, peers, note } = strategy::order(inputs, strategy, &pool);
    let mut note_if = |yes: bool, note: &str| {
        if yes {
            decision.notes.push(note.to_owned());
        }
    };
    note_if(!note.is_empty(), note);
    let stuck = if inputs.route.affinity && peers > 1 && note != "explore" { stick(inputs, &mut places, peers) } else { false };
    note_if(stuck, "session");
    // Health checks may be wrong about this tenant's requests: what they find unreachable is not left out, only last.
    let unreachable = |index: &usize| inputs.candidates.get(*index).is_some_and(|c| c.unreachable);
    let last = places.iter().filter(|p| unreachable(&p.index)).count();
    note_if(last > 0 && last < places.len(), "unreachable");
    let (mut first, behind): (Vec<Place>, Vec<Place>) = places.iter().partition(|p| !unreachable(&p.index));
    first.extend(behind);
    places = first;
    for list in [&mut context, &mut policy] {
        let (mut first, behind): (Vec<usize>, Vec<usize>) = list.iter().partition(|index| !unreachable(index));
        first.extend(behind);
        *list = first;
    }
    // Whether a target has recovered is found out by the one request that may ask it.
    let probe = |p: &Place| inputs.candidates.get(p.index).is_some_and(|c| c.gate == Gate::Probe);
    let probes = places.iter().any(probe);
    strategy::arrange(&mut places, &|p| (i64::from(!probe(p)), 0));
    note_if(probes, "probe");
    let name = |index: usize| inputs.candidates.get(index).map(|c| c.target.clone());
    decision.context = context.into_iter().filter_map(name).collect();
    decision.policy = policy.into_iter().filter_map(name).collect();
    decision.order = places.iter().filter_map(|p| name(p.index)).collect();
    decision.scores = places.iter().filter_map(|p| Some((name(p.index)?, p.score))).collect();
    let too_long = |d: &Dropped| matches!(d.reason, Reason::Context { .. });
    if decision.order.is_empty() && !decision.context.is_empty() && decision.dropped.iter().any(too_long) {
        decision.order = std::mem::take(&mut decision.context);
        decision.notes.push("context".to_owned());
    }
    decision
}

/// Puts the target that the session belongs to first, if it is among the first `peers`. Whether there is a
/// session.
fn stick(inputs: &Inputs, places: &mut Vec<Place>, peers: usize) -> bool {
    let Some(session) = inputs.ask.session else { return false };
    let drawn = |p: &Place| {
        let c = inputs.candidates.get(p.index)?;
        race(mix(session, &c.target), c.weight)
    };
    let best = places.iter().take(peers).filter_map(|p| Some((drawn(p)?, *p))).min_by_key(|(time, p)| (*time, p.index));
    let Some((_, best)) = best else { return false };
    places.retain(|p| p.index != best.index);
    places.insert(0, best);
    true
}

#[cfg(test)]
mod tests;
