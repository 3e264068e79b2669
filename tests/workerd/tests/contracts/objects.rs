//! `Objects`: a turn is answered once it is durable. The runtime is killed, not asked to stop.

use harness::{Gateway, Response, Vars, all, ask, journal, nano_usd};
use serde_json::json;
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test]
async fn what_was_answered_outlives_the_runtime() {
    let gateway = Gateway::start(Vars::default()).await;
    let config = json!({
        "models": { "fast": { "target": "simulated/sim-durable-l0" } },
        "limits": [{ "id": "rpm", "requests": 5, "window_s": 3600 }],
        "budgets": [{ "id": "all", "limit_usd": "10", "period": "total" }],
    });
    let tenant = gateway.tenant("durable", config).await;
    let revoked = tenant.with_new_key(json!({ "name": "revoked" })).await;
    tenant.manage("DELETE", &format!("/keys/{}", revoked.key_id), None).await;
    gateway.tenant("deleted", json!({})).await;
    gateway.manage("DELETE", "/tenants/deleted", None).await;
    let mut body = ask("");
    body["model"] = json!("fast");
    let answers = all((0..3).map(|_| tenant.chat(&body))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let spent = tenant.settled().await["spent_usd"].clone();
    let before = tenant.manage("GET", "", None).await;
    let keys = tenant.manage("GET", "/keys", None).await;

    gateway.restart().await;

    assert_eq!(tenant.manage("GET", "", None).await, before);
    assert_eq!(tenant.manage("GET", "/keys", None).await, keys);
    let ids: Vec<_> = gateway.manage("GET", "/tenants", None).await["data"].as_array().cloned().unwrap_or_default();
    assert_eq!(ids.iter().map(|tenant| &tenant["id"]).collect::<Vec<_>>(), [&json!("durable")]);
    assert_eq!(tenant.manage("GET", "/budgets", None).await["data"][0]["spent_usd"], spent);
    revoked.chat(&body).await.refused(401, "authentication_error", "invalid_api_key");
    // Three of five are used. A kill may make the ledger more careful, never less.
    let answers = all((0..6).map(|_| tenant.chat(&body))).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(passed <= 2, "{passed} more than three passed a limit of five");
    assert_eq!(journal("sim-durable-l0").await.len(), 3 + passed);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(429, "rate_limit_error", "rate_limit_exceeded");
    }
    gateway.stop().await;
}

#[wasm_bindgen_test]
async fn what_was_under_way_when_the_runtime_died_is_not_free() {
    let gateway = Gateway::start(Vars::default()).await;
    let config = |limit: &str| json!({ "config": { "budgets": [{ "id": "all", "limit_usd": limit, "period": "total" }] } });
    let tenant = gateway.tenant("killed", config("10")["config"].clone()).await;
    let lost = tenant.chat(&ask("sim-killed-l9000"));
    let held = harness::until("the request is with the provider", async || {
        let held = tenant.get("/v1/usage").await["budgets"][0]["held_usd"].clone();
        (held != "0" && !journal("sim-killed-l9000").await.is_empty()).then_some(held)
    });
    let held = nano_usd(&held.await);

    gateway.restart().await;
    drop(lost);

    let budget = tenant.get("/v1/usage").await["budgets"][0].clone();
    assert!(nano_usd(&budget["spent_usd"]) + nano_usd(&budget["held_usd"]) >= held, "{budget}");
    gateway.stop().await;
}

#[wasm_bindgen_test]
async fn an_object_that_lost_its_memory_knows_what_it_has_answered() {
    let gateway = Gateway::shared().await;
    let config = json!({
        "limits": [{ "id": "rpm", "requests": 5, "window_s": 3600 }],
        "budgets": [{ "id": "all", "limit_usd": "10", "period": "total" }],
    });
    let tenant = gateway.tenant("evicted", config).await;
    let paid = all((0..2).map(|_| tenant.chat(&ask("sim-evicted-l0")))).await;
    tenant.settled().await;
    gateway.evict(&tenant).await;
    assert_eq!(tenant.manage("GET", "/keys", None).await["data"][0]["id"], tenant.key_id);
    // A request that is under way meanwhile is settled by its report, once.
    let under_way = tenant.chat(&ask("sim-evicted-l1000"));
    harness::until("the request is with the provider", async || (!journal("sim-evicted-l1000").await.is_empty()).then_some(())).await;
    gateway.evict(&tenant).await;
    let answers: Vec<_> = paid.into_iter().chain([under_way.await]).collect();
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:#?}");
    let cost = |answer: &Response| nano_usd(&json!(answer.header("x-tollgate-cost-usd")));
    assert_eq!(nano_usd(&tenant.settled().await["spent_usd"]), answers.iter().map(cost).sum::<u64>());
    let answers = all((0..6).map(|_| tenant.chat(&ask("sim-evicted-l0")))).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(passed <= 2, "{passed} more than three passed a limit of five");
}

#[wasm_bindgen_test]
async fn turns_of_one_object_happen_one_after_the_other() {
    let gateway = Gateway::shared().await;
    let tenant = gateway.tenant("turns", json!({})).await;
    // Each change makes a version of its own, however many arrive together.
    let configs: Vec<_> = (1..=8).map(|n| json!({ "cache": { "enabled": true, "ttl_s": n } })).collect();
    let changes = configs.iter().map(|config| gateway.admin("PUT", "/tenants/turns/config", &[], Some(config)));
    let mut versions: Vec<u64> = all(changes).await.iter().filter_map(|answer| answer.json()["version"].as_u64()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=9).collect::<Vec<_>>());
    assert_eq!(tenant.manage("GET", "", None).await["version"], 9);
}
