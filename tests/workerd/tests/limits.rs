//! Limits and budgets hold exactly, however many ask at once.

use harness::{Gateway, Response, all, ask, journal, nano_usd, pause};
use serde_json::json;
use wasm_bindgen_test::wasm_bindgen_test;

/// How an amount of nano-dollars is written.
fn usd(nano: u64) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}

fn with_status(answers: &[Response], status: u16) -> Vec<&Response> {
    answers.iter().filter(|answer| answer.status == status).collect()
}

#[wasm_bindgen_test]
async fn of_twenty_at_once_exactly_five_pass_a_limit_of_five() {
    let limits = json!([{ "id": "burst", "requests": 5, "window_s": 60 }]);
    let tenant = Gateway::shared().await.tenant("limit-five", json!({ "limits": limits })).await;
    let body = ask("sim-five-l0");
    let answers = all((0..20).map(|_| tenant.chat(&body))).await;
    assert_eq!(with_status(&answers, 200).len(), 5);
    let denied = with_status(&answers, 429);
    assert_eq!(denied.len(), 15);
    for answer in denied {
        let error = answer.refused(429, "rate_limit_error", "rate_limit_exceeded");
        assert_eq!((&error["limit"], &error["window"]), (&json!("burst"), &json!("60s")));
        // A window is counted in 64 slots, and what is in a slot leaves with its end.
        assert!(answer.retry_after_ms() <= 60_000 + 60_000 / 64 + 1);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), "5");
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), "0");
    }
    assert_eq!(journal("sim-five-l0").await.len(), 5);
    let used = tenant.get("/v1/usage").await;
    assert_eq!((&used["limits"][0]["used"], &used["limits"][0]["remaining"]), (&json!(5), &json!(0)));
}

#[wasm_bindgen_test]
async fn a_limit_of_scope_key_counts_each_key_for_itself_and_no_other_tenant() {
    let limits = json!([{ "id": "own", "scope": "key", "requests": 3, "window_s": 60 }]);
    let gateway = Gateway::shared().await;
    let first = gateway.tenant("limit-keys", json!({ "limits": limits })).await;
    let second = first.with_new_key(json!({})).await;
    let stranger = gateway.tenant("limit-stranger", json!({ "limits": limits })).await;
    let body = ask("sim-keys-l0");
    let answers = all([&first, &second, &stranger].iter().cycle().take(15).map(|tenant| tenant.chat(&body))).await;
    for own in 0..3 {
        let answers: Vec<Response> = answers.iter().skip(own).step_by(3).cloned().collect();
        assert_eq!((with_status(&answers, 200).len(), with_status(&answers, 429).len()), (3, 2));
    }
}

#[wasm_bindgen_test]
async fn the_told_time_to_wait_is_enough() {
    let limits = json!([{ "id": "slow", "requests": 1, "window_s": 1 }]);
    let tenant = Gateway::shared().await.tenant("limit-wait", json!({ "limits": limits })).await;
    let body = ask("sim-wait-l0");
    let answers = all((0..2).map(|_| tenant.chat(&body))).await;
    let [denied] = with_status(&answers, 429)[..] else { panic!("one of two is denied: {answers:#?}") };
    pause(denied.retry_after_ms()).await;
    assert_eq!(tenant.chat(&body).await.status, 200);
}

#[wasm_bindgen_test]
async fn a_budget_for_three_admits_three_at_once_and_charges_what_they_cost() {
    let gateway = Gateway::shared().await;
    let budget = |limit: &str| json!({ "budgets": [{ "id": "purse", "limit_usd": limit, "period": "total" }] });
    // Longer than it takes to decide on all, so that those which pass are under way together.
    let body = ask("sim-purse-l3000");
    // What one such request holds, as the gateway itself tells while one is under way.
    let scout = gateway.tenant("budget-scout", budget("100")).await;
    let under_way = scout.chat_with(&[("x-tollgate-timeout-ms", "1500")], &body);
    let held = harness::until("a request is under way", async || {
        let held = scout.get("/v1/usage").await["budgets"][0]["held_usd"].clone();
        (held != "0").then_some(held)
    });
    let one = nano_usd(&held.await);
    assert_eq!(under_way.await.status, 504);

    let tenant = gateway.tenant("budget-three", budget(&usd(3 * one))).await;
    let answers = all((0..10).map(|_| tenant.chat(&body))).await;
    let paid = with_status(&answers, 200);
    assert_eq!(paid.len(), 3);
    let denied = with_status(&answers, 402);
    assert_eq!(denied.len(), 7);
    for answer in denied {
        let error = answer.refused(402, "insufficient_quota", "budget_exceeded");
        answer.names_no_time_to_wait();
        assert_eq!((&error["budget"], nano_usd(&error["spent_usd"])), (&json!("purse"), 0));
        assert_eq!((nano_usd(&error["limit_usd"]), nano_usd(&error["held_usd"])), (3 * one, 3 * one));
        assert!(error.get("resets_at").is_some());
    }
    let costs: u64 = paid.iter().map(|answer| nano_usd(&json!(answer.header("x-tollgate-cost-usd")))).sum();
    assert_eq!(nano_usd(&tenant.settled().await["spent_usd"]), costs);
    assert!(0 < costs && costs < one, "the worst case is not what happens");
    assert_eq!(journal("sim-purse-l3000").await.len(), 1 + 3);
    // What was held and not needed is free again.
    assert_eq!(tenant.chat(&ask("sim-purse-l0")).await.status, 200);
}

#[wasm_bindgen_test]
async fn a_request_dearer_than_its_own_cap_is_refused_and_holds_nothing() {
    let budgets = json!([{ "id": "all", "limit_usd": "10", "period": "day" }]);
    let tenant = Gateway::shared().await.tenant("budget-cap", json!({ "budgets": budgets })).await;
    let body = ask("sim-cap-l0");
    let capped = async |cap| tenant.chat_with(&[("x-tollgate-max-cost-usd", cap)], &body).await;
    let answer = capped("0.000001").await;
    answer.refused(402, "insufficient_quota", "max_cost_exceeded");
    answer.names_no_time_to_wait();
    assert!(journal("sim-cap-l0").await.is_empty());
    assert_eq!(tenant.settled().await["spent_usd"], "0");
    assert_eq!(capped("0.01").await.status, 200);
    capped("cheap").await.refused(400, "invalid_request_error", "invalid_request");
}

#[wasm_bindgen_test]
async fn a_model_without_a_price_is_never_free() {
    let vars = json!({
        "unpriced": { "base_url": "https://models.invalid/v1", "api_key_env": "SIMULATED_API_KEY" },
    });
    let gateway = Gateway::start(harness::Vars::default().set("TOLLGATE_PROVIDERS", &vars.to_string())).await;
    let tenant = gateway.tenant("budget-price", json!({})).await;
    let mut body = ask("");
    body["model"] = json!("unpriced/some-model");
    let answer = tenant.chat(&body).await;
    answer.refused(403, "permission_error", "price_unknown");
    gateway.stop().await;
}
