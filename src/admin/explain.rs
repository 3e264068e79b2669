//! A recorded decision in readable form.

use super::providers::share;
use serde_json::{Value, json};
use tollgate_core::config::Strategy;
use tollgate_core::price::Usage;
use tollgate_core::route::{Candidate, Decided, Decision, Dropped, Gate, Inputs, Reason, Record, Role, Tried, refused};
use tollgate_core::units::NanoUsd;

/// A record in a list.
pub(super) fn summary(r: &Record) -> Value {
    let mut told = outcome(r);
    let Some(Decided { inputs: i, decision: d }) = r.decided() else { return told };
    let more = json!({ "at": i.at.rfc3339(), "model": i.model, "route": d.summary(&i.model) });
    add(&mut told, more);
    told
}

/// All of it: what was asked, each target with the reason for its place, and what came of it.
pub(super) fn explained(r: &Record) -> Value {
    let mut told = summary(r);
    let attempts: Vec<Value> = r.attempts.iter().map(tried).collect();
    add(&mut told, json!({ "attempts": attempts, "usage": r.usage.map(usage) }));
    let Some(Decided { inputs: i, decision: d }) = r.decided() else { return told };
    let more = json!({
        "config_version": i.config, "seed": i.seed.to_string(), "strategy": d.strategy, "rule": d.rule, "notes": d.notes, "policy": i.route,
        "ask": asked(&i), "candidates": candidates(&i, &d), "order": d.order, "context_fallbacks": d.context, "policy_fallbacks": d.policy,
        "refused": refused(&i, &d).map(|failure| failure.message()),
    });
    add(&mut told, more);
    told
}

/// What came of it. A decision in a form that a later version wrote is told by this alone.
fn outcome(r: &Record) -> Value {
    let last = r.attempts.last();
    json!({
        "object": "request", "id": r.id, "key": key(r), "target": last.map(|t| &t.target), "outcome": last.map(|t| t.class),
        "attempts": r.attempts.len(), "cost_usd": r.cost.to_string(),
    })
}

fn add(told: &mut Value, more: Value) {
    if let (Value::Object(told), Value::Object(more)) = (told, more) {
        told.extend(more);
    }
}

fn key(r: &Record) -> Option<&str> {
    Some(r.key.as_str()).filter(|key| !key.is_empty())
}

fn asked(i: &Inputs) -> Value {
    let a = &i.ask;
    json!({
        "input_tokens": a.input, "output_tokens": a.output, "most_input_tokens": a.most_input, "most_output_tokens": a.most_output,
        "choices": a.choices, "stream": a.stream, "needs": a.needs, "metadata": a.metadata, "session": a.session.is_some(),
        "max_cost_usd": a.max_cost.map(|n| n.to_string()), "service_tier": a.tier,
    })
}

fn tried(t: &Tried) -> Value {
    json!({
        "target": t.target, "outcome": t.class, "status": t.status, "latency_ms": t.latency_ms, "cost_usd": t.cost.to_string(),
        "price": (!t.price.is_empty()).then_some(t.price.as_str()),
    })
}

fn usage(u: Usage) -> Value {
    json!({ "input_tokens": u.input, "cached_input_tokens": u.cached_input, "output_tokens": u.output, "service_tier": u.tier })
}

/// The targets as they were looked at. Those that were left out stand in the decision in the same order.
fn candidates(inputs: &Inputs, d: &Decision) -> Vec<Value> {
    let mut dropped = d.dropped.iter().peekable();
    // Nobody of the pool was left, and the targets for long requests took their place.
    let in_place_of_pool = d.notes.iter().any(|note| note == "context");
    let one = |c: &Candidate| {
        let (first, list): (bool, &[String]) = match c.role {
            Role::Pool if in_place_of_pool => (false, &[]),
            Role::Pool => (true, &d.order),
            Role::Context if in_place_of_pool => (true, &d.order),
            Role::Context => (false, &d.context),
            Role::Policy => (false, &d.policy),
        };
        let place = list.iter().position(|name| *name == c.target);
        let why = if place.is_none() { dropped.next_if(|d| d.target == c.target) } else { None };
        let score = d.scores.get(&c.target).filter(|_| first && place.is_some() && !in_place_of_pool);
        candidate(c, place, score.map(|n| told(d.strategy, *n)), why)
    };
    inputs.candidates.iter().map(one).collect()
}

/// What a target was ordered by; smaller is better. Numbers of draws have more digits than JSON's readers keep.
fn told(strategy: Strategy, score: i64) -> Value {
    match strategy {
        Strategy::Cheapest => json!({ "cost_usd": NanoUsd::new(score).to_string() }),
        _ => json!({ "number": score.to_string() }),
    }
}

fn candidate(c: &Candidate, place: Option<usize>, score: Option<Value>, why: Option<&Dropped>) -> Value {
    let known = |n: u32| (n > 0).then_some(n);
    let (breaker, until) = match c.gate {
        Gate::Closed => ("closed", None),
        Gate::Open(until) => ("open", Some(until)),
        Gate::Throttled(until) => ("throttled", Some(until)),
        Gate::Probe => ("probing", None),
    };
    json!({
        "target": c.target, "role": c.role, "place": place.map(|n| n.saturating_add(1)), "score": score, "left_out": why.map(|d| left_out(&d.reason)),
        "weight": c.weight, "quality": share(c.quality().get()), "configured_quality": share(c.quality.get()), "tags": c.tags,
        "context_tokens": c.context, "lacks": c.lacks, "price": c.price, "expected_cost_usd": c.cost.to_string(),
        "worst_case_usd": c.worst.to_string(), "breaker": breaker, "breaker_until": until.map(|at| at.rfc3339()),
        "first_byte_ms": known(c.first_ms), "total_ms": known(c.total_ms), "error_rate": share(i64::from(c.errors)),
        "cached_input": share(i64::from(c.cached)), "under_way": c.busy, "used_up": c.blocked, "unreachable": c.unreachable,
    })
}

fn left_out(reason: &Reason) -> Value {
    let why = match reason {
        Reason::Tags { .. } => "tags",
        Reason::Capability { .. } => "capability",
        Reason::Context { .. } => "context",
        Reason::Limit { .. } => "limit",
        Reason::Price { .. } => "price",
        Reason::Quality { .. } => "quality",
        Reason::Breaker { .. } => "breaker",
        Reason::Throttled { .. } => "throttled",
    };
    json!({ "why": why, "message": reason.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::catalog::Catalog;
    use tollgate_core::config::Config;
    use tollgate_core::map::Map;
    use tollgate_core::perf::{View, ViewRow};
    use tollgate_core::plan::plan;
    use tollgate_core::protocol::Attempt;
    use tollgate_core::route::{Ask, Question, decide};
    use tollgate_core::units::Timestamp;

    const ROWS: &str = r#"{"p":{"base_url":"https://p/v1","api_key_env":"K"},"q":{"base_url":"https://q/v1","api_key_env":"K"}}"#;
    const PRICES: &str =
        r#"{"p/*":{"input_usd_per_mtok":"2","output_usd_per_mtok":"2"},"q/*":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}}"#;

    /// A record of a request of 4,000 bytes for this alias.
    fn record(alias: &str, view: Vec<ViewRow>) -> Record {
        let config: Config = serde_json::from_str(&format!(r#"{{"models":{{"a":{alias}}},"prices":{PRICES}}}"#)).unwrap();
        let plan = plan("a", &config, &Catalog::new(Some(ROWS)).unwrap(), Timestamp(0)).unwrap();
        let question = Question {
            model: "a",
            config: 3,
            plan: &plan,
            view: &View { version: 1, rows: view, ..View::default() },
            probe: None,
            ask: &Ask::new(4_000, 4_000, Some(100), 1),
            at: Timestamp(0),
            seed: u64::MAX,
            busy: &Map::new(),
            blocked: &Map::new(),
        };
        let inputs = question.inputs();
        let decision = decide(&inputs);
        let attempt = Attempt { provider: "q".to_owned(), model: "y".to_owned(), status: 200, ..Attempt::default() };
        Record::new("01", inputs, decision).ended("key_1", &[attempt])
    }

    fn found<'a>(told: &'a Value, target: &str, role: &str) -> &'a Value {
        let all = told["candidates"].as_array().unwrap();
        all.iter().find(|c| c["target"] == target && c["role"] == role).unwrap()
    }

    #[test]
    fn every_target_has_a_place_or_a_reason() {
        let alias = r#"{"targets":["p/x","q/y",{"target":"q/small","context_tokens":10},"p/down"],"strategy":"cheapest","context_fallbacks":["p/down","q/long"]}"#;
        let down = ViewRow { target: "p/down".to_owned(), gate: Gate::Open(Timestamp(5)), ..ViewRow::default() };
        let told = explained(&record(alias, vec![down]));
        assert_eq!((&told["order"], &told["seed"]), (&json!(["q/y", "p/x"]), &json!(u64::MAX.to_string())));
        let (first, second) = (found(&told, "q/y", "pool"), found(&told, "p/x", "pool"));
        assert_eq!((&first["place"], &second["place"]), (&json!(1), &json!(2)));
        assert_eq!((&first["score"], &first["expected_cost_usd"]), (&json!({ "cost_usd": "0.0011" }), &json!("0.0011")));
        assert_eq!(found(&told, "q/small", "pool")["left_out"]["why"], "context");
        for role in ["pool", "context"] {
            let down = found(&told, "p/down", role);
            assert_eq!((&down["place"], &down["left_out"]["why"]), (&Value::Null, &json!("breaker")), "{role}");
            assert_eq!((&down["breaker"], &down["breaker_until"]), (&json!("open"), &json!("1970-01-01T00:00:00.005Z")));
        }
        assert_eq!(found(&told, "q/long", "context")["place"], 1);
        assert_eq!((&told["attempts"][0]["target"], &told["attempts"][0]["outcome"]), (&json!("q/y"), &json!("ok")));
        assert_eq!((&told["key"], &told["refused"]), (&json!("key_1"), &Value::Null));
    }

    #[test]
    fn targets_for_long_requests_may_take_the_place_of_the_pool() {
        let small = r#"{"target":"q/y","context_tokens":10}"#;
        let told = explained(&record(&format!(r#"{{"targets":[{small}],"context_fallbacks":["p/x"]}}"#), Vec::new()));
        assert_eq!((&told["order"], &told["notes"]), (&json!(["p/x"]), &json!(["context"])));
        assert_eq!((&found(&told, "p/x", "context")["place"], &found(&told, "p/x", "context")["left_out"]), (&json!(1), &Value::Null));
        assert_eq!(found(&told, "q/y", "pool")["left_out"]["why"], "context");
        // Nobody at all.
        let told = explained(&record(&format!(r#"{{"targets":[{small}]}}"#), Vec::new()));
        assert!(told["refused"].as_str().unwrap().contains("more than its window"));
    }

    #[test]
    fn a_list_tells_who_answered() {
        let told = summary(&record(r#"{"targets":["p/x","q/y"]}"#, Vec::new()));
        assert_eq!((&told["target"], &told["outcome"], &told["attempts"]), (&json!("q/y"), &json!("ok"), &json!(1)));
        assert_eq!(told["route"], "alias=a strategy=ordered");
    }
}
