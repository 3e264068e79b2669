//! `Event` and `Clock`: the body that is read, the work after the answer, the log, time and chance.

use harness::{Gateway, all, ask, now_ms};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use wasm_bindgen_test::wasm_bindgen_test;

/// The longest request body that is read, in bytes.
const CAP: usize = 4 * 1024 * 1024;

#[wasm_bindgen_test]
async fn a_body_is_read_up_to_the_cap_and_not_a_byte_further() {
    let tenant = Gateway::shared().await.tenant("port-body", json!({})).await;
    let with = |bytes: usize| {
        let mut body = ask("sim-body-l0");
        body["messages"][0]["content"] = json!("");
        let rest = bytes - body.to_string().len();
        body["messages"][0]["content"] = json!("x".repeat(rest));
        assert_eq!(body.to_string().len(), bytes);
        body
    };
    let answer = tenant.chat(&with(CAP)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    tenant.chat(&with(CAP + 1)).await.refused(413, "invalid_request_error", "request_too_large");
}

#[wasm_bindgen_test]
async fn work_goes_on_after_the_answer() {
    let budgets = json!([{ "id": "all", "limit_usd": "10", "period": "total" }]);
    let tenant = Gateway::shared().await.tenant("port-later", json!({ "budgets": budgets })).await;
    let answer = tenant.chat(&ask("sim-later-l0")).await;
    // The report follows by itself: nobody with this key asks again.
    assert_eq!(tenant.settled().await["spent_usd"], answer.header("x-tollgate-cost-usd"));
}

#[wasm_bindgen_test]
async fn each_request_is_one_line_of_the_log_and_no_secret() {
    let tenant = Gateway::shared().await.tenant("port-log", json!({})).await;
    let answer = tenant.chat(&ask("sim-log-l0")).await;
    let id = answer.header("x-request-id");
    let lines = tenant.gateway.logged(id, 1).await;
    let [line] = &lines[..] else { panic!("one line: {lines:#?}") };
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((&line["event"], &line["status"], &line["tenant"]), (&json!("request"), &json!(200), &json!("port-log")));
    assert_eq!(line["cost_usd"], answer.header("x-tollgate-cost-usd"));
    let all = tenant.gateway.log().join("\n");
    let secrets = harness::SECRETS.map(|(_, secret)| secret);
    for hidden in secrets.into_iter().chain([tenant.key.as_str(), &tenant.key[tenant.key.len() - 49..]]) {
        assert!(!all.contains(hidden), "{hidden} is in the log");
    }
}

#[wasm_bindgen_test]
async fn request_ids_tell_the_time_and_never_repeat() {
    let gateway = Gateway::shared().await;
    let before = now_ms();
    let answers = all((0..12).map(|_| gateway.fetch("GET", "/healthz", &[], None))).await;
    let after = now_ms();
    let ids: BTreeSet<&str> = answers.iter().map(|answer| answer.header("x-request-id")).collect();
    assert_eq!(ids.len(), answers.len());
    for id in ids {
        let digit = |b: u8| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".bytes().position(|d| d == b).expect("a digit");
        let ms = id.bytes().take(10).fold(0.0, |ms, b| ms * 32.0 + digit(b) as f64);
        assert!((before..=after).contains(&ms), "{id}: {ms} is not from {before} to {after}");
    }
}
