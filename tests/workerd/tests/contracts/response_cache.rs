//! `ResponseCache`: what is put is got, for as long as was said; whatever goes wrong is a miss.

use harness::{Entry, Gateway, Tenant, ask, until};
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

/// What a busy machine may take between a request and the look into KV, in seconds.
const SLACK: f64 = 15.0;
/// The least that KV can be told, in seconds.
const LEAST: f64 = 60.0;

async fn tenant(id: &str) -> Tenant {
    Gateway::shared().await.tenant(id, json!({ "cache": { "enabled": true, "ttl_s": 300 } })).await
}

/// Puts an answer by asking for it. Its text, and its entry in KV.
async fn put(tenant: &Tenant, body: &Value, ttl: &str) -> (String, Entry) {
    let entries = async || tenant.gateway.kv_list(&format!("a1/{}/", tenant.id)).await;
    let before: Vec<String> = entries().await.into_iter().map(|entry| entry.name).collect();
    let answer = tenant.chat_with(&[("x-tollgate-cache-ttl", ttl)], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let stored = until("the answer is stored", async || entries().await.into_iter().find(|entry| !before.contains(&entry.name)));
    (answer.text, stored.await)
}

#[wasm_bindgen_test]
async fn what_is_put_is_got() {
    let tenant = tenant("port-cache").await;
    let mut streamed = ask("sim-got-t1-i1");
    streamed["stream"] = json!(true);
    // The simulated provider's words have letters of several bytes.
    for (body, kind) in [(ask("sim-got-l0-n60"), "application/json"), (streamed, "text/event-stream")] {
        let (text, entry) = put(&tenant, &body, "300").await;
        assert!(!text.is_ascii());
        assert_eq!(entry.text, text);
        let got = tenant.chat(&body).await;
        assert_eq!((got.cache(), &got.text), ("hit", &text));
        assert!(got.headers["content-type"].starts_with(kind), "{:?}", got.headers);
    }
}

#[wasm_bindgen_test]
async fn an_entry_lives_as_long_as_was_said_and_no_shorter_than_kv_can() {
    let tenant = tenant("port-ttl").await;
    for (ttl, lives) in [("1", LEAST), ("60", LEAST), ("300", 300.0), ("86400", 86_400.0)] {
        let (_, entry) = put(&tenant, &ask(&format!("sim-ttl{ttl}-l0")), ttl).await;
        let left = entry.expires_in.expect("an end");
        assert!((lives - SLACK..=lives + 1.0).contains(&left), "{left} s for {ttl}");
    }
}

#[wasm_bindgen_test]
async fn an_entry_that_is_not_what_was_put_is_a_miss() {
    let tenant = tenant("port-spoilt").await;
    let body = ask("sim-spoilt-l0");
    let (text, entry) = put(&tenant, &body, "300").await;
    let changed = |name: &str, value: Value| {
        let mut metadata = entry.metadata.clone();
        metadata[name] = value;
        metadata
    };
    let spoilt = [
        (&text[..20], entry.metadata.clone()),
        ("", entry.metadata.clone()),
        (&text, Value::Null),
        (&text, json!({ "x": 1 })),
        (&text, json!("x")),
        (&text, changed("tenant", json!("port-ttl"))),
        (&text, changed("expires_at", json!(1))),
    ];
    for (value, metadata) in spoilt {
        tenant.gateway.kv_put(&entry.name, value, &metadata).await;
        let answer = tenant.chat_with(&[("x-tollgate-cache", "only")], &body).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (504, json!("not_cached")), "{metadata}");
    }
    // As it was, it is got again.
    tenant.gateway.kv_put(&entry.name, &text, &entry.metadata).await;
    assert_eq!(tenant.chat(&body).await.cache(), "hit");
}
