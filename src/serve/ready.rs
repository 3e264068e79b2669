//! `GET /readyz`: each dependency with its state and latency.

use crate::http::Response;
use crate::isolate::Isolate;
use crate::ports::World;
use crate::vault;
use serde_json::{Value, json};
use tollgate_core::directory::DirectoryCommand;
use tollgate_core::failure::Failure;

/// Looks at what serving needs. 503 when an object or the configuration is missing; without the cache
/// requests are served all the same.
///
/// # Errors
/// Never: a broken dependency is the answer, not a failure to answer.
pub async fn check<W: World>(world: &W, isolate: &Isolate) -> Result<Response<W::Answer>, Failure> {
    let since = world.now();
    let message = serde_json::to_string(&DirectoryCommand::LastCron).map_err(|_| Failure::Internal)?;
    let objects = world.directory(&message).await.is_ok();
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
    let providers: Vec<&str> =
        isolate.catalog.providers().filter(|(name, row)| isolate.configured(name, row)).map(|(name, _)| name).collect();
    if providers.is_empty() {
        missing.push("no provider has an API key: set OPENAI_API_KEY or another provider's".to_owned());
    }
    // The name of the variable and no part of the key: anybody may read this.
    let dead_keys: Vec<Value> = isolate
        .dead_keys()
        .iter()
        .map(|key| json!({ "provider": key.provider, "key": key.name, "why": key.why.as_str(), "since": key.since.rfc3339() }))
        .collect();
    let ready = objects && missing.is_empty();
    let state = |ok: bool| if ok { "ok" } else { "down" };
    let body: Value = json!({
        "status": if ready { "ready" } else { "not_ready" },
        "checks": {
            "durable_objects": { "state": state(objects), "latency_ms": objects_ms, "required": true },
            "cache": { "state": state(cache), "latency_ms": cache_ms, "required": false },
            "configuration": { "state": state(missing.is_empty()), "problems": missing, "required": true },
            "providers": { "state": state(!providers.is_empty()), "configured": providers, "dead_keys": dead_keys, "required": true },
        },
    });
    Ok(Response::json(if ready { 200 } else { 503 }, body.to_string()))
}
