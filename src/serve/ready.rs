//! `GET /readyz`: each dependency with its state and latency.

use crate::checks::{Shown, named};
use crate::http::Response;
use crate::isolate::Isolate;
use crate::ports::World;
use crate::vault;
use serde_json::{Value, json};
use tollgate_core::failure::Failure;

/// Looks at what serving needs. 503 when an object or the configuration is missing, or when health checks find every
/// provider failing; without the cache, or some of the providers, requests are served all the same.
///
/// # Errors
/// Never: a broken dependency is the answer, not a failure to answer.
pub async fn check<W: World>(world: &W, isolate: &Isolate) -> Result<Response<W::Answer>, Failure> {
    let since = world.now();
    let health = Shown::new(world, isolate).await;
    let objects = health.answered();
    let objects_ms = world.now().since(since);
    let since = world.now();
    let cache = world.probe().await;
    let cache_ms = world.now().since(since);
    let mut missing: Vec<String> = Vec::new();
    for name in ["TOLLGATE_KEY_PEPPER", "TOLLGATE_ADMIN_TOKEN"] {
        if isolate.var(name).is_none() {
            missing.push(format!("the secret {name} is not set"));
        }
    }
    missing.extend(isolate.misconfigured.clone());
    missing.extend(vault::misconfigured(isolate));
    let configured: Vec<_> = isolate.catalog.providers().filter(|(name, row)| isolate.configured(name, row)).collect();
    let providers: Vec<&str> = configured.iter().map(|(name, _)| *name).collect();
    // One that is not checked, or was found failing once, may serve.
    let serving = providers.iter().any(|name| !health.failing(name));
    let found: Vec<Value> = configured.iter().map(|(name, row)| named(name, health.brief(isolate, name, row))).collect();
    if providers.is_empty() {
        missing.push("no provider has an API key: set OPENAI_API_KEY or another provider's".to_owned());
    }
    // The name of the variable and no part of the key: anybody may read this.
    let dead_keys: Vec<Value> = isolate
        .dead_keys()
        .iter()
        .map(|key| json!({ "provider": key.provider, "key": key.name, "why": key.why.as_str(), "since": key.since.rfc3339() }))
        .collect();
    let ready = objects && missing.is_empty() && serving;
    let state = |ok: bool| if ok { "ok" } else { "down" };
    let body: Value = json!({
        "status": if ready { "ready" } else { "not_ready" },
        "checks": {
            "durable_objects": { "state": state(objects), "latency_ms": objects_ms, "required": true },
            "cache": { "state": state(cache), "latency_ms": cache_ms, "required": false },
            "configuration": { "state": state(missing.is_empty()), "problems": missing, "required": true },
            "providers": {
                "state": state(serving), "configured": providers, "dead_keys": dead_keys, "health": found, "required": true,
            },
        },
    });
    Ok(Response::json(if ready { 200 } else { 503 }, body.to_string()))
}
