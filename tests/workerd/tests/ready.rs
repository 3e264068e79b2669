//! Liveness and readiness, and what a gateway says that is not set up.

use harness::{Gateway, Vars};
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

async fn readyz(gateway: &Gateway) -> (u16, Value) {
    let answer = gateway.fetch("GET", "/readyz", &[], None).await;
    answer.tells_no_secret();
    (answer.status, answer.json())
}

#[wasm_bindgen_test]
async fn a_gateway_that_is_set_up_is_ready() {
    let gateway = Gateway::shared().await;
    let health = gateway.fetch("GET", "/healthz", &[], None).await;
    assert_eq!((health.status, health.json()["status"].clone()), (200, json!("ok")));
    let (status, body) = readyz(&gateway).await;
    assert_eq!((status, &body["status"]), (200, &json!("ready")), "{body}");
    for name in ["durable_objects", "cache", "configuration", "providers"] {
        assert_eq!(body["checks"][name]["state"], "ok", "{body}");
    }
    for name in ["durable_objects", "cache"] {
        assert!(body["checks"][name]["latency_ms"].is_u64(), "{body}");
    }
    gateway.fetch("POST", "/readyz", &[], Some("")).await.refused(405, "invalid_request_error", "method_not_allowed");
}

#[wasm_bindgen_test]
async fn one_that_is_not_set_up_lives_and_says_what_is_missing() {
    let names = ["TOLLGATE_ADMIN_TOKEN", "TOLLGATE_KEY_PEPPER", "SIMULATED_API_KEY"];
    let vars = names.iter().fold(Vars::default(), |vars, name| vars.unset(name));
    let gateway = Gateway::start(vars).await;
    assert_eq!(gateway.fetch("GET", "/healthz", &[], None).await.status, 200);
    let (status, body) = readyz(&gateway).await;
    assert_eq!((status, &body["status"]), (503, &json!("not_ready")), "{body}");
    let problems = body["checks"]["configuration"]["problems"].to_string();
    for name in &names[..2] {
        assert!(problems.contains(name), "{problems}");
    }
    assert_eq!(body["checks"]["providers"]["state"], "down");
    gateway.stop().await;
}

#[wasm_bindgen_test]
async fn without_a_pepper_no_key_is_made() {
    let gateway = Gateway::start(Vars::default().unset("TOLLGATE_KEY_PEPPER")).await;
    gateway.manage("PUT", "/tenants/unpeppered", Some(&json!({}))).await;
    let answer = gateway.admin("POST", "/tenants/unpeppered/keys", &[], Some(&json!({}))).await;
    let error = answer.refused(503, "api_error", "not_configured");
    assert!(error["message"].as_str().is_some_and(|m| m.contains("TOLLGATE_KEY_PEPPER")), "{error}");
    gateway.stop().await;
}
