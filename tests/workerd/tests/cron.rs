//! The scheduled handler: each tenant is visited, and what is due is done once, however often it fires.

use harness::{Gateway, Vars, ask, now_ms};
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

/// What a line of the log has that tells of a run.
const CRON_LINE: &str = "\"event\":\"cron\"";

async fn fleet(gateway: &Gateway) -> Value {
    gateway.manage("GET", "/fleet", None).await
}

/// Fires, and returns the fleet afterwards.
async fn fire(gateway: &Gateway, at_ms: f64) -> Value {
    assert_eq!(gateway.scheduled(at_ms).await, "ok");
    fleet(gateway).await
}

#[wasm_bindgen_test]
async fn a_run_shows_in_the_fleet_and_cleans_once() {
    // Its own gateway: the fleet is all of its tenants.
    let gateway = Gateway::start(Vars::default()).await;
    let budgets = json!([{ "id": "all", "limit_usd": "10", "period": "total" }]);
    let busy = gateway.tenant("busy", json!({ "budgets": budgets })).await;
    gateway.tenant("idle", json!({})).await;
    let cost = busy.chat(&ask("sim-cron-l0")).await.header("x-tollgate-cost-usd").to_owned();
    busy.settled().await;
    assert_eq!(fleet(&gateway).await["last_cron"], Value::Null);

    let minute = (now_ms() / 60_000.0).floor() * 60_000.0;
    let first = fire(&gateway, minute).await;
    let run = &first["last_cron"];
    let seconds = run["scheduled_at"].as_str().map(js_sys::Date::parse);
    assert_eq!(seconds, Some(minute), "{run}");
    assert_eq!((&run["tenants"], &run["cleaned"], &run["failed"]), (&json!(2), &json!(2), &json!(0)));
    let [of_busy, of_idle] = &first["data"].as_array().expect("tenants")[..] else { panic!("two tenants: {first}") };
    assert_eq!((&of_busy["id"], &of_busy["requests"], &of_busy["denied"]), (&json!("busy"), &json!(1), &json!(0)));
    assert_eq!(of_busy["cost_usd"], cost);
    assert_eq!((&of_idle["id"], &of_idle["requests"], &of_idle["cost_usd"]), (&json!("idle"), &json!(0), &json!("0")));
    assert!(of_busy["cleaned_at"].is_string() && of_busy["as_of"].is_string(), "{of_busy}");

    // The same minute again, and the next: nothing is due twice, nothing is counted twice.
    for at in [minute, minute + 60_000.0] {
        let again = fire(&gateway, at).await;
        let run = &again["last_cron"];
        assert_eq!((&run["tenants"], &run["cleaned"], &run["failed"]), (&json!(2), &json!(0), &json!(0)));
        for name in ["requests", "cost_usd", "cleaned_at"] {
            assert_eq!(again["data"][0][name], of_busy[name], "{name}");
        }
    }
    assert_eq!(busy.settled().await["spent_usd"], cost);
    assert_eq!(gateway.logged(CRON_LINE, 3).await.len(), 3);
    gateway.stop().await;
}

#[wasm_bindgen_test]
async fn runs_at_the_same_time_do_no_more_than_one() {
    let gateway = Gateway::start(Vars::default()).await;
    let budgets = json!([{ "id": "all", "limit_usd": "10", "period": "total" }]);
    let tenant = gateway.tenant("twice", json!({ "budgets": budgets })).await;
    tenant.chat(&ask("sim-twice-l0")).await;
    tenant.settled().await;
    let now = now_ms();
    let outcomes = harness::all((0..4).map(|_| gateway.scheduled(now))).await;
    assert_eq!(outcomes, ["ok"; 4]);
    let lines = gateway.logged(CRON_LINE, 4).await;
    let cleaned = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["cleaned"].as_u64().expect("a count"));
    assert_eq!(cleaned.sum::<u64>(), 1, "{lines:#?}");
    assert_eq!(fleet(&gateway).await["data"][0]["requests"], 1);
    gateway.stop().await;
}
