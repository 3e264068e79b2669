//! What is known of providers: breakers, latency, failures, cost, keys.

use super::Answer;
use super::tenants::configuration;
use crate::checks::Shown;
use crate::http::Response;
use crate::isolate::Isolate;
use crate::ports::World;
use crate::serve::identify::ask;
use serde_json::{Value, json};
use tollgate_core::catalog::Catalog;
use tollgate_core::config::{Config, split_target};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::keyring::Dead;
use tollgate_core::map::Set;
use tollgate_core::protocol::{Command, ProviderRow, Reply};
use tollgate_core::units::Timestamp;

pub(super) async fn list<W: World>(world: &W, isolate: &Isolate, tenant: &TenantId) -> Answer<W> {
    let Reply::Configuration { config, .. } = configuration(world, tenant).await? else { return Err(Failure::LedgerUnavailable) };
    let rows = rows(world, tenant).await?;
    let shown = Shown::new(world, isolate).await;
    // The operator's checks say nothing of an address of the tenant's own, or of a provider that has no key here.
    let health = |name: &str| {
        let elsewhere = config.providers.get(name).is_some_and(|own| own.base_url.is_some());
        let row = isolate.catalog.provider(name).filter(|row| !elsewhere && isolate.configured(name, row))?;
        Some(shown.full(isolate, name, row))
    };
    let mut providers = providers(isolate, &config, &rows);
    let mut targets = targets(&rows);
    for entry in providers.iter_mut().chain(&mut targets) {
        let found = entry.get("provider").and_then(Value::as_str).and_then(health);
        if let Value::Object(fields) = entry {
            fields.insert("health".to_owned(), found.unwrap_or_default());
        }
    }
    Ok(Response::json(200, json!({ "object": "list", "data": targets, "providers": providers }).to_string()))
}

/// What the tenant's object knows.
pub(super) async fn rows<W: World>(world: &W, tenant: &TenantId) -> Result<Vec<ProviderRow>, Failure> {
    match ask(world, tenant, Command::Providers).await? {
        Reply::Providers { rows } => Ok(rows),
        _ => Err(Failure::LedgerUnavailable),
    }
}

/// One entry a target, with what was seen from each region in it.
fn targets(rows: &[ProviderRow]) -> Vec<Value> {
    let all = rows.iter().filter(|r| r.region.is_empty());
    let one = |r: &ProviderRow| {
        let (provider, model) = split_target(&r.target).unwrap_or((r.target.as_str(), ""));
        let regions: Vec<Value> = rows
            .iter()
            .filter(|seen| seen.target == r.target && !seen.region.is_empty())
            .map(|seen| json!({ "region": seen.region, "seen": seen_there(seen) }))
            .collect();
        json!({
            "object": "target", "target": r.target, "provider": provider, "model": model,
            "breaker": { "state": r.state, "until": r.until.map(Timestamp::rfc3339), "opened_in_a_row": r.opens },
            "feedback": share(i64::from(r.feedback)), "seen": seen_there(r), "regions": regions,
        })
    };
    all.map(one).collect()
}

/// How it performs. What was not observed is null.
fn seen_there(r: &ProviderRow) -> Value {
    let known = |n: u32| (n > 0).then_some(n);
    let latency =
        |[p50, p95, p99]: [u32; 3], now: u32| json!({ "p50": known(p50), "p95": known(p95), "p99": known(p99), "of_late": known(now) });
    let failed = i64::try_from(r.failed.saturating_mul(1_000).checked_div(r.attempts).unwrap_or(0)).unwrap_or(0);
    let answered = !r.price.is_empty();
    json!({
        "attempts": r.attempts, "failed": r.failed, "error_rate": (r.attempts > 0).then(|| share(failed)), "classes": r.classes,
        "first_byte_ms": latency(r.first_ms, r.first_now_ms), "total_ms": latency(r.total_ms, r.total_now_ms),
        "tokens_per_second": (r.tokens_per_second > 0).then_some(r.tokens_per_second),
        "cached_input": answered.then(|| share(i64::from(r.cached))),
        "cost_usd_per_mtok": answered.then(|| r.cost_per_mtok.to_string()), "price": answered.then_some(r.price.as_str()),
        "last_asked_at": r.at.rfc3339(),
    })
}

/// Thousandths as a number from 0 to 1.
pub(super) fn share(thousandths: i64) -> f64 {
    f64::from(i32::try_from(thousandths).unwrap_or(0)) / 1_000.0
}

/// The providers that have a key here, that the document names, or of which something is known.
fn providers(isolate: &Isolate, config: &Config, rows: &[ProviderRow]) -> Vec<Value> {
    let catalog: Catalog = isolate.catalog.for_tenant(config, None);
    let configured = |name: &str| catalog.provider(name).is_some_and(|row| isolate.has_key(config, name, row));
    let aliases = config.models.values().flat_map(|a| a.targets.iter().chain(&a.context_fallbacks).chain(&a.policy_fallbacks));
    let named = aliases.map(|t| t.target.as_str()).chain(rows.iter().map(|r| r.target.as_str()));
    let named = named.filter_map(|target| Some(split_target(target)?.0));
    let with_key = catalog.providers().map(|(name, _)| name).filter(|name| configured(name));
    let names: Set<&str> = named.chain(with_key).chain(config.providers.keys().map(String::as_str)).collect();
    let dead = isolate.dead_keys();
    let one = |name: &str| {
        // Whoever brings keys or an address is never served with the operator's.
        let own = config.providers.get(name).is_some_and(|p| p.base_url.is_some() || !p.keys.is_empty());
        let dead: Vec<Value> = dead.iter().filter(|key| key.provider == name && !own).map(dead_key).collect();
        json!({ "provider": name, "configured": configured(name), "keys": if own { "tenant" } else { "operator" }, "dead_keys": dead })
    };
    names.into_iter().map(one).collect()
}

fn dead_key(key: &Dead) -> Value {
    json!({
        "key": key.name, "last4": key.last4, "why": key.why.as_str(), "since": key.since.rfc3339(), "tried_again_at": key.until.rfc3339(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::keyring::{Verdict, Why};
    use tollgate_core::units::NanoUsd;

    #[test]
    fn what_was_not_observed_is_null_and_regions_stand_with_their_target() {
        let never = ProviderRow {
            target: "p/a/b".to_owned(),
            state: "open".to_owned(),
            until: Some(Timestamp(0)),
            opens: 2,
            ..ProviderRow::default()
        };
        let all = ProviderRow {
            target: "q/x".to_owned(),
            state: "closed".to_owned(),
            attempts: 3,
            failed: 1,
            first_ms: [10, 20, 30],
            cached: 640,
            cost_per_mtok: NanoUsd::new(1_500_000_000),
            price: "tenant:q/*".to_owned(),
            feedback: -50,
            ..ProviderRow::default()
        };
        let near = ProviderRow { region: "FRA".to_owned(), attempts: 2, failed: 0, ..all.clone() };
        let shown = targets(&[never, all, near]);
        assert_eq!(shown.len(), 2);
        let (p, q) = (&shown[0], &shown[1]);
        assert_eq!((&p["provider"], &p["model"]), (&json!("p"), &json!("a/b")));
        assert_eq!(p["breaker"], json!({ "state": "open", "until": "1970-01-01T00:00:00.000Z", "opened_in_a_row": 2 }));
        for unknown in ["error_rate", "tokens_per_second", "cached_input", "cost_usd_per_mtok", "price"] {
            assert_eq!(p["seen"][unknown], Value::Null, "{unknown}");
        }
        assert_eq!(q["seen"]["error_rate"], json!(0.333));
        assert_eq!(q["seen"]["first_byte_ms"], json!({ "p50": 10, "p95": 20, "p99": 30, "of_late": null }));
        assert_eq!((&q["seen"]["cached_input"], &q["seen"]["cost_usd_per_mtok"]), (&json!(0.64), &json!("1.5")));
        assert_eq!((&q["feedback"], &q["regions"][0]["region"]), (&json!(-0.05), &json!("FRA")));
        assert_eq!(q["regions"][0]["seen"]["error_rate"], json!(0.0));
    }

    #[test]
    fn dead_keys_are_the_operators_and_stand_only_where_they_are_used() {
        let isolate = Isolate::new([("OPENAI_API_KEY".to_owned(), "sk-first-0123456789".to_owned())].into());
        let ring = isolate.own_keys("openai", "OPENAI_API_KEY");
        assert!(isolate.key_answered(&ring.keys()[0], Verdict::Trouble(Why::Refused), None, Timestamp(0)).is_some());
        let shown = |document: &str| {
            let config: Config = serde_json::from_str(document).unwrap();
            providers(&isolate, &config, &[])
        };
        let both = shown(r#"{"models":{"a":{"targets":["groq/x","nobody/y"]}}}"#);
        let names: Vec<&str> = both.iter().filter_map(|p| p["provider"].as_str()).collect();
        assert!(["groq", "nobody", "openai"].iter().all(|name| names.contains(name)), "{names:?}");
        let of = |all: &[Value], name: &str| all.iter().find(|p| p["provider"] == name).cloned().unwrap();
        assert_eq!(of(&both, "nobody"), json!({ "provider": "nobody", "configured": false, "keys": "operator", "dead_keys": [] }));
        let openai = of(&both, "openai");
        assert_eq!((&openai["configured"], &openai["dead_keys"][0]["key"]), (&json!(true), &json!("OPENAI_API_KEY")));
        assert_eq!((&openai["dead_keys"][0]["last4"], &openai["dead_keys"][0]["why"]), (&json!("6789"), &json!("refused")));
        let own = of(&shown(r#"{"providers":{"openai":{"keys":["mine"]}}}"#), "openai");
        assert_eq!(own, json!({ "provider": "openai", "configured": true, "keys": "tenant", "dead_keys": [] }));
    }
}
