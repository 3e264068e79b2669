//! Between admission and the first attempt: in which order are the targets asked?

use super::asked::Endpoint;
use super::decide::Decided;
use super::read::Call;
use crate::isolate::{Isolate, KnownConfig};
use std::collections::VecDeque;
use tollgate_core::config::{Capability, Route};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::map::{Map, Set};
use tollgate_core::plan::{Plan, Target};
use tollgate_core::price::TierAsked;
use tollgate_core::route::{Ask, Decision, Gate, Inputs, Question, decide, refused};
use tollgate_core::units::{NanoUsd, Timestamp};

/// The targets, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// For the request.
    pub targets: VecDeque<Target>,
    /// Where it is longer than a context window.
    pub context: VecDeque<Target>,
    /// Where a provider refuses the content.
    pub policy: VecDeque<Target>,
}

/// A request that is to be routed.
pub struct Wanted<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// Of which gateway key: its id.
    pub key: &'a str,
    /// The request.
    pub call: &'a Call,
    /// The model that it is for: not always the one that it asked for.
    pub model: &'a str,
    /// Under this configuration.
    pub known: &'a KnownConfig,
    /// Its targets.
    pub plan: &'a Plan,
    /// Input and output tokens at most.
    pub tokens: (u64, Option<u64>),
    /// The service tiers that it may be served in.
    pub tier: TierAsked,
    /// The target that its permit lets it probe.
    pub probe: Option<&'a str>,
    /// Providers of which a rule has nothing left.
    pub blocked: &'a Map<String, String>,
    /// Chance.
    pub seed: u64,
}

/// What was decided, and of what it was made where that was looked at.
pub struct Routed {
    /// The order.
    pub order: Order,
    /// For `x-tollgate-route`.
    pub summary: String,
    /// The decision and its inputs; none where there was nothing to decide.
    pub decided: Option<Box<(Inputs, Decision)>>,
}

/// Puts the targets in order.
///
/// # Errors
/// Why none may be asked.
pub fn route(isolate: &Isolate, wanted: &Wanted<'_>, now: Timestamp) -> Result<Routed, (Failure, Box<(Inputs, Decision)>)> {
    let plan = wanted.plan;
    if let Some(order) = only_way(isolate, wanted) {
        return Ok(Routed { order, summary: plan.reason.clone(), decided: None });
    }
    let inputs = inputs(isolate, wanted, now);
    let decision = decide(&inputs);
    if let Some(failure) = refused(&inputs, &decision) {
        return Err((failure, Box::new((inputs, decision))));
    }
    let find = |names: &[String], among: &[Target]| -> VecDeque<Target> {
        names.iter().filter_map(|name| among.iter().find(|t| t.name() == *name)).cloned().collect()
    };
    let mut targets = find(&decision.order, &plan.targets);
    if targets.is_empty() {
        // All of the pool are too small for it.
        targets = find(&decision.order, &plan.context_fallbacks);
    }
    let order = Order {
        targets,
        context: find(&decision.context, &plan.context_fallbacks),
        policy: find(&decision.policy, &plan.policy_fallbacks),
    };
    let summary = if plan.route == Route::default() && plan.targets.len() == 1 {
        plan.reason.clone()
    } else {
        let flag = plan.reason.split_once(',').map(|(_, flag)| format!(",{flag}")).unwrap_or_default();
        format!("{}{flag}", decision.summary(wanted.model))
    };
    Ok(Routed { order, summary, decided: Some(Box::new((inputs, decision))) })
}

/// The order where there is but one: nothing to choose, nothing to keep, nothing known against it.
fn only_way(isolate: &Isolate, wanted: &Wanted<'_>) -> Option<Order> {
    let Wanted { plan, known, .. } = wanted;
    let [target] = plan.targets.as_slice() else { return None };
    let alone = plan.context_fallbacks.is_empty() && plan.policy_fallbacks.is_empty() && plan.route == Route::default();
    let able = target.lacks.is_empty() && wanted.blocked.is_empty() && wanted.probe.is_none();
    if !alone || !able || known.config.decisions.failures || known.config.decisions.keeps(wanted.seed, false) {
        return None;
    }
    let view = isolate.view(wanted.tenant);
    let open = view.rows.is_empty() || view.row(&target.name()).is_none_or(|row| row.gate == Gate::Closed);
    open.then(|| Order { targets: VecDeque::from([target.clone()]), ..Order::default() })
}

/// What the decision is made of.
pub fn inputs(isolate: &Isolate, wanted: &Wanted<'_>, now: Timestamp) -> Inputs {
    let call = wanted.call;
    let bytes = u64::try_from(call.request.bytes).unwrap_or(u64::MAX);
    let (most_input, most_output) = wanted.tokens;
    let ask = Ask {
        stream: call.request.stream,
        needs: needs(call),
        metadata: call.metadata.clone(),
        max_cost: call.max_cost,
        tier: wanted.tier,
        ..Ask::new(bytes, most_input, most_output, call.request.choices)
    }
    .in_session(wanted.key, &call.session);
    let view = isolate.view(wanted.tenant);
    let question = Question {
        model: wanted.model,
        config: wanted.known.version,
        plan: wanted.plan,
        view: &view,
        probe: wanted.probe,
        ask: &ask,
        at: now,
        seed: wanted.seed,
        busy: &isolate.under_way(),
        blocked: wanted.blocked,
    };
    question.inputs()
}

/// What the request needs of a model, as far as the names of its fields tell.
fn needs(call: &Call) -> Set<Capability> {
    let body = String::from_utf8_lossy(&call.body);
    let has = |words: &[&str]| words.iter().any(|word| body.contains(word));
    let text = [
        (Capability::Embeddings, call.request.endpoint == Endpoint::Embeddings),
        (Capability::Streaming, call.request.stream),
        (Capability::Tools, has(&["\"tools\":[{", "\"tools\": [{", "\"tools\":[ {"])),
        (Capability::Vision, has(&["\"image_url\"", "\"input_image\"", "\"type\":\"image\"", "\"type\": \"image\""])),
        (Capability::Audio, has(&["\"input_audio\""])),
        (Capability::StructuredOutput, has(&["\"json_schema\""])),
    ];
    text.into_iter().filter(|(_, needed)| *needed).map(|(capability, _)| capability).collect()
}

/// Tokens at most, as a decision is made of them.
pub fn tokens<A>(decided: &Decided<A>, call: &Call, clamp: Option<u64>) -> (u64, Option<u64>) {
    let output = clamp.map(|each| each.saturating_mul(call.request.choices)).or(call.request.max_output);
    (decided.tokens.input, output)
}

/// What a request came to where nothing was sent: for dry runs.
pub fn explained(inputs: &Inputs, decision: &Decision, worst_case: NanoUsd, cache: &str) -> serde_json::Value {
    serde_json::json!({
        "object": "decision",
        "model": inputs.model,
        "config_version": inputs.config,
        "target": decision.order.first(),
        "order": decision.order,
        "context_fallbacks": decision.context,
        "policy_fallbacks": decision.policy,
        "strategy": decision.strategy,
        "rule": decision.rule,
        "scores": decision.scores,
        "dropped": decision.dropped.iter().map(|d| serde_json::json!({ "target": d.target, "why": d.reason.to_string() })).collect::<Vec<_>>(),
        "notes": decision.notes,
        "candidates": inputs.candidates.iter().map(|c| serde_json::json!({
            "target": c.target, "price": c.price, "expected_cost_usd": c.cost.to_string(), "worst_case_usd": c.worst.to_string(),
            "quality": f64::from(c.quality()), "first_ms": c.first_ms, "total_ms": c.total_ms, "errors_per_mille": c.errors, "busy": c.busy,
            "unreachable": c.unreachable,
        })).collect::<Vec<_>>(),
        "worst_case_usd": worst_case.to_string(),
        "cache": cache,
    })
}
