//! Chat completions: what a client gets, and what the provider gets to see.

use harness::{Gateway, Response, SECRETS, ask, is_ulid, journal, nano_usd};
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

/// Of the provider `simulated`, in nano-dollars for a token.
const INPUT: u64 = 500;
const OUTPUT: u64 = 1_500;

fn cost(usage: &Value) -> u64 {
    let tokens = |name: &str| usage[name].as_u64().expect("tokens");
    tokens("prompt_tokens") * INPUT + tokens("completion_tokens") * OUTPUT
}

/// The headers of every answer of the data plane.
#[track_caller]
fn has_the_contracts_headers(answer: &Response) {
    assert!(is_ulid(answer.header("x-request-id")), "{:?}", answer.headers);
    assert!(["hit", "miss", "coalesced", "bypass", "refresh"].contains(&answer.cache()), "{:?}", answer.headers);
    assert!(answer.header("x-tollgate-attempts").parse::<u32>().is_ok(), "{:?}", answer.headers);
    assert!(answer.header("x-tollgate-overhead-ms").parse::<u32>().is_ok(), "{:?}", answer.headers);
    // Empty where a request ended before the first stage did.
    let timing = answer.headers.get("server-timing").expect("server-timing");
    for stage in timing.split(", ").filter(|stage| !stage.is_empty()) {
        let (name, duration) = stage.split_once(";dur=").unwrap_or_else(|| panic!("server-timing: {timing}"));
        assert!(!name.is_empty() && duration.parse::<f64>().is_ok(), "server-timing: {timing}");
    }
}

#[wasm_bindgen_test]
async fn a_whole_answer() {
    let config = json!({ "limits": [{ "id": "rpm", "requests": 7, "window_s": 60 }] });
    let tenant = Gateway::shared().await.tenant("chat-whole", config).await;
    let answer = tenant.chat(&ask("sim-whole-l0-n9")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{}", answer.text);
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["usage"]["completion_tokens"], 9);
    assert!(body["choices"][0]["message"]["content"].is_string());
    has_the_contracts_headers(&answer);
    let timing = answer.header("server-timing");
    assert!(["admit", "upstream"].iter().all(|stage| timing.contains(stage)), "{timing}");
    assert_eq!((answer.cache(), answer.header("x-tollgate-attempts")), ("bypass", "1"));
    assert_eq!(answer.header("x-tollgate-provider"), "simulated");
    assert_eq!(answer.header("x-tollgate-model"), "sim-whole-l0-n9");
    assert!(!answer.header("x-tollgate-route").is_empty());
    assert_eq!(nano_usd(&json!(answer.header("x-tollgate-cost-usd"))), cost(&body["usage"]));
    assert_eq!(answer.header("x-ratelimit-limit-requests"), "7");
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), "6");
    // As Go writes a span of time: 1m0s, 59.9s.
    assert!(answer.header("x-ratelimit-reset-requests").ends_with('s'));
    answer.tells_no_secret();
}

#[wasm_bindgen_test]
async fn a_stream_comes_piece_by_piece_and_ends_with_done() {
    let tenant = Gateway::shared().await.tenant("chat-stream", json!({})).await;
    let mut body = ask("sim-piece-t20-i80-n12");
    body["stream"] = json!(true);
    let answer = tenant.chat(&body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.header("content-type").starts_with("text/event-stream"), "{:?}", answer.headers);
    has_the_contracts_headers(&answer);
    let events = answer.events();
    assert!(events.iter().all(|event| event["object"] == "chat.completion.chunk"));
    let tokens = events.iter().filter(|event| event["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty()));
    assert_eq!(tokens.count(), 12);
    assert_eq!(events.last().expect("events")["choices"][0]["finish_reason"], "stop");
    // Nobody asked for usage; that the gateway did is its own affair.
    assert!(!answer.text.contains("prompt_tokens"), "{}", answer.text);
    // Eleven pauses of 80 ms lie between the first token and the last.
    assert!(answer.total_ms - answer.first_ms > 200.0, "{} to {}", answer.first_ms, answer.total_ms);
    answer.tells_no_secret();
}

#[wasm_bindgen_test]
async fn usage_comes_last_in_a_stream_when_it_is_asked_for_and_is_what_is_charged() {
    let budgets = json!([{ "id": "all", "limit_usd": "10", "period": "total" }]);
    let tenant = Gateway::shared().await.tenant("chat-usage", json!({ "budgets": budgets })).await;
    let mut body = ask("sim-usage-t1-i1-n7");
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let events = tenant.chat(&body).await.events();
    let usage = &events.last().expect("events")["usage"];
    assert_eq!(usage["completion_tokens"], 7);
    assert_eq!(nano_usd(&tenant.settled().await["spent_usd"]), cost(usage));
    assert_eq!(nano_usd(&usage["cost_usd"]), cost(usage));
    // Not asked for, it is charged all the same.
    body["stream_options"] = json!({ "include_usage": false });
    assert_eq!(tenant.chat(&body).await.status, 200);
    assert_eq!(nano_usd(&tenant.settled().await["spent_usd"]), 2 * cost(usage));
}

#[wasm_bindgen_test]
async fn the_provider_sees_the_request_and_its_own_key_and_nothing_of_the_caller() {
    let models = json!({ "fast": { "target": "simulated/sim-seen-l0" } });
    let tenant = Gateway::shared().await.tenant("chat-seen", json!({ "models": models })).await;
    let mut body = ask("");
    body["model"] = json!("fast");
    body["metadata"] = json!({ "unknown": ["to", 1, { "the": "gateway" }] });
    let headers = [
        ("x-api-key", tenant.key.as_str()),
        ("cookie", "session=1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-tollgate-session", "s"),
        ("x-request-id", "callers-own"),
    ];
    let answer = tenant.chat_with(&headers, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("x-tollgate-model"), "sim-seen-l0");
    assert!(is_ulid(answer.header("x-request-id")), "a caller does not choose our request id");
    assert_eq!(answer.header("x-client-request-id"), "callers-own");
    let seen = journal("sim-seen-l0").await;
    assert_eq!(seen.len(), 1);
    let mut sent = body.clone();
    sent["model"] = json!("sim-seen-l0");
    assert_eq!(seen[0]["body"], sent);
    let headers = seen[0]["headers"].to_string();
    assert!(headers.contains(SECRETS[2].1), "{headers}");
    for hidden in [tenant.key.as_str(), "session=1", "192.0.2.1", "x-tollgate-session", "x-api-key", "callers-own", "chat-seen"] {
        assert!(!headers.contains(hidden), "{hidden} went to the provider: {headers}");
    }
}

#[wasm_bindgen_test]
async fn a_key_sees_its_models_and_what_it_has_used() {
    let config = json!({
        "models": { "fast": { "target": "simulated/sim-l0" } },
        "limits": [{ "id": "rpm", "requests": 10, "window_s": 60 }],
        "budgets": [{ "id": "all", "limit_usd": "10", "period": "total" }],
    });
    let tenant = Gateway::shared().await.tenant("chat-models", config).await;
    let listed = tenant.get("/v1/models").await;
    let ids: Vec<&Value> = listed["data"].as_array().expect("a list").iter().map(|model| &model["id"]).collect();
    assert!(ids.contains(&&json!("fast")), "{listed}");
    assert_eq!(tenant.get("/v1/models/fast").await["object"], "model");
    let answer = tenant.chat(&ask("sim-l0")).await;
    tenant.settled().await;
    let used = tenant.get("/v1/usage").await;
    assert_eq!((&used["limits"][0]["used"], &used["limits"][0]["remaining"]), (&json!(1), &json!(9)));
    assert_eq!(used["budgets"][0]["spent_usd"], answer.header("x-tollgate-cost-usd"));
}

#[wasm_bindgen_test]
async fn what_is_wrong_with_a_request_is_named() {
    let tenant = Gateway::shared().await.tenant("chat-wrong", json!({})).await;
    let wrong = "invalid_request_error";
    let error = tenant.chat(&json!({ "model": "simulated/sim-l0" })).await.refused(400, wrong, "invalid_request");
    assert_eq!(error["param"], "messages");
    let mut body = ask("sim-l0");
    body["model"] = json!("nothing");
    let error = tenant.chat(&body).await.refused(404, wrong, "model_not_found");
    assert_eq!(error["param"], "model");
    let bearer = format!("Bearer {}", tenant.key);
    let post = async |content_type, more: &[(&str, &str)], text| {
        let mut headers = vec![("authorization", bearer.as_str()), ("content-type", content_type)];
        headers.extend_from_slice(more);
        tenant.gateway.fetch("POST", "/v1/chat/completions", &headers, Some(text)).await
    };
    post("application/json", &[], "{").await.refused(400, wrong, "invalid_json");
    post("text/plain", &[], "{}").await.refused(415, wrong, "unsupported_media_type");
    post("application/json", &[("content-encoding", "gzip")], "{}").await.refused(415, wrong, "unsupported_encoding");
    let answer = tenant.gateway.fetch("GET", "/v1/chat/completions", &[("authorization", &bearer)], None).await;
    answer.refused(405, wrong, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST");
    has_the_contracts_headers(&answer);
    tenant.gateway.fetch("GET", "/v1/nothing", &[], None).await.refused(404, wrong, "not_found");
}
