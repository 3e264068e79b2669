//! What a client is told when a provider fails, and which target is asked next.

use harness::{Gateway, Response, Tenant, ask, journal};
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

async fn tenant(id: &str) -> Tenant {
    let budgets = json!([{ "id": "all", "limit_usd": "10", "period": "total" }]);
    Gateway::shared().await.tenant(id, json!({ "budgets": budgets })).await
}

fn streamed(model: &str) -> Value {
    let mut body = ask(model);
    body["stream"] = json!(true);
    body
}

/// A refusal because nobody answered. Returns what is told of the attempts.
#[track_caller]
fn nobody_answered(answer: &Response) -> Vec<String> {
    let error = answer.refused(502, "api_error", "upstream_error");
    serde_json::from_value(error["attempts"].clone()).expect("a list of attempts")
}

#[wasm_bindgen_test]
async fn an_error_of_the_provider_is_a_502_that_tells_the_attempt() {
    let tenant = tenant("up-error").await;
    for body in [ask("sim-e500-told"), streamed("sim-e500-told")] {
        let answer = tenant.chat(&body).await;
        // It is asked twice.
        let [attempt, again] = &nobody_answered(&answer)[..] else { panic!("two attempts: {}", answer.text) };
        assert!(attempt.contains("simulated") && attempt.contains("500"), "{attempt}");
        assert_eq!((attempt, answer.header("x-tollgate-attempts")), (again, "2"));
        answer.names_no_time_to_wait();
    }
    let answer = tenant.chat(&ask("sim-e429-told")).await;
    nobody_answered(&answer);
    assert_eq!(answer.retry_after_ms(), 1_000);
    // Nothing was answered, nothing is charged.
    assert_eq!(tenant.settled().await["spent_usd"], "0");
}

#[wasm_bindgen_test]
async fn a_page_or_broken_json_is_no_answer() {
    let tenant = tenant("up-html").await;
    for model in ["sim-html-l0", "sim-badjson-l0"] {
        let answer = tenant.chat(&ask(model)).await;
        assert_eq!(nobody_answered(&answer).len(), 1, "{model}");
        assert!(!answer.text.contains('<'), "{}", answer.text);
    }
    let answer = tenant.chat(&streamed("sim-html-t1")).await;
    assert_eq!(nobody_answered(&answer).len(), 1);
}

#[wasm_bindgen_test]
async fn the_next_target_is_asked() {
    let targets = json!({
        "safe": { "targets": ["simulated/sim-e503-first", "simulated/sim-next-l0-n3"] },
        "lost": { "targets": ["simulated/sim-e500-one", "simulated/sim-e503-two"] },
        "wrong": { "targets": ["simulated/sim-e400-one", "simulated/sim-never-l0"] },
    });
    let tenant = Gateway::shared().await.tenant("up-next", json!({ "models": targets, "retry": { "same_target": 0 } })).await;
    let asked = async |model| {
        let mut body = ask("");
        body["model"] = json!(model);
        tenant.chat(&body).await
    };
    let answer = asked("safe").await;
    assert_eq!((answer.status, answer.header("x-tollgate-attempts")), (200, "2"), "{}", answer.text);
    assert_eq!(answer.header("x-tollgate-model"), "sim-next-l0-n3");
    let answer = asked("lost").await;
    assert_eq!((nobody_answered(&answer).len(), answer.header("x-tollgate-attempts")), (2, "2"));
    // What one provider refuses, the next would too: the caller has to change something.
    let answer = asked("wrong").await;
    assert_eq!((answer.status, answer.header("x-tollgate-attempts")), (400, "1"), "{}", answer.text);
    assert!(journal("sim-never-l0").await.is_empty());
}

#[wasm_bindgen_test]
async fn a_provider_that_is_silent_is_a_504_in_the_time_asked_for() {
    let tenant = tenant("up-silent").await;
    for body in [ask("sim-hang"), streamed("sim-hang")] {
        let answer = tenant.chat_with(&[("x-tollgate-timeout-ms", "300")], &body).await;
        answer.refused(504, "timeout_error", "upstream_timeout");
        assert!((290.0..20_000.0).contains(&answer.total_ms), "{} ms", answer.total_ms);
    }
    // The provider may have worked: the input is charged.
    assert_ne!(tenant.settled().await["spent_usd"], "0");
}

#[wasm_bindgen_test]
async fn a_stream_that_breaks_off_ends_with_an_error_and_without_done() {
    let tenant = tenant("up-cut").await;
    let cases = [
        ("sim-x5-t1-i1", "api_error", "upstream_error"),
        ("sim-half-t1-i1", "api_error", "upstream_error"),
        ("sim-stall-t1-i1", "timeout_error", "upstream_timeout"),
    ];
    for (model, kind, code) in cases {
        let answer = tenant.chat_with(&[("x-tollgate-timeout-ms", "700")], &streamed(model)).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text);
        assert!(!answer.text.contains("[DONE]"), "{model}: {}", answer.text);
        let events = answer.events_so_far();
        let error = &events.last().expect("events")["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!(kind), &json!(code)), "{model}: {}", answer.text);
        answer.tells_no_secret();
    }
    // What was sent until then is charged, and nothing stays held.
    assert_ne!(tenant.settled().await["spent_usd"], "0");
}

#[wasm_bindgen_test]
async fn the_operators_key_is_not_told_when_the_provider_repeats_it() {
    let tenant = tenant("up-key").await;
    let answer = tenant.chat(&ask("sim-e401-repeats")).await;
    nobody_answered(&answer);
    answer.tells_no_secret();
    let line = &tenant.gateway.logged("sim-e401-repeats", 1).await[0];
    for (name, secret) in harness::SECRETS {
        assert!(!line.contains(secret), "{name} is in the log: {line}");
    }
    assert!(!tenant.gateway.log().iter().any(|line| line.contains(&tenant.key)), "a gateway key is in the log");
}

#[wasm_bindgen_test]
async fn the_providers_own_complaint_about_a_request_is_handed_on() {
    let tenant = tenant("up-refuses").await;
    let mut body = ask("sim-refuses-l0");
    body["temperature"] = json!(3);
    let answer = tenant.chat(&body).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    let error = &answer.json()["error"];
    assert_eq!((&error["param"], &error["code"]), (&json!("temperature"), &json!("decimal_out_of_range")), "{error}");
    assert_eq!(tenant.settled().await["spent_usd"], "0");
}
