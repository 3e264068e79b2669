//! The response cache: whose answers it gives to whom, and what lies in KV.

use harness::{Entry, Gateway, Response, SECRETS, Tenant, ask, journal, now_ms, until};
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

async fn caching(id: &str) -> Tenant {
    let budgets = json!([{ "id": "all", "limit_usd": "10", "period": "total" }]);
    let cache = json!({ "enabled": true, "ttl_s": 300 });
    Gateway::shared().await.tenant(id, json!({ "cache": cache, "budgets": budgets })).await
}

/// What KV has of a tenant.
async fn entries(tenant: &Tenant) -> Vec<Entry> {
    tenant.gateway.kv_list(&format!("a1/{}/", tenant.id)).await
}

/// Asks once, and waits until KV has one entry more.
async fn fill(tenant: &Tenant, headers: &[(&str, &str)], body: &Value) -> Response {
    let before = entries(tenant).await.len();
    let answer = tenant.chat_with(headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    until("the answer is stored", async || (entries(tenant).await.len() > before).then_some(())).await;
    answer
}

#[wasm_bindgen_test]
async fn an_answer_is_given_again_free_and_without_the_provider() {
    let tenant = caching("cache-again").await;
    let body = ask("sim-again-l0");
    let first = fill(&tenant, &[], &body).await;
    assert_eq!(first.cache(), "miss");
    let second = tenant.chat(&body).await;
    assert_eq!((second.status, second.cache(), &second.text), (200, "hit", &first.text));
    assert_eq!(second.header("content-type"), first.header("content-type"));
    assert_eq!(second.header("x-tollgate-cost-usd"), "0");
    assert_ne!(second.header("x-request-id"), first.header("x-request-id"));
    // In another order it is the same request; with one more word it is not.
    let text = body.to_string();
    let turned = serde_json::to_string_pretty(&body).expect("JSON").replace(", \"", ",\n\"");
    assert_ne!(text, turned);
    let bearer = format!("Bearer {}", tenant.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let third = tenant.gateway.fetch("POST", "/v1/chat/completions", &headers, Some(&turned)).await;
    assert_eq!(third.cache(), "hit");
    let mut other = body.clone();
    other["messages"][0]["content"] = json!("Hello ");
    assert_eq!(tenant.chat(&other).await.cache(), "miss");
    assert_eq!(journal("sim-again-l0").await.len(), 2);
    let spent = harness::nano_usd(&tenant.settled().await["spent_usd"]);
    assert_eq!(spent, 2 * harness::nano_usd(&json!(first.header("x-tollgate-cost-usd"))));
}

#[wasm_bindgen_test]
async fn an_entry_is_named_after_its_tenant_and_holds_no_key() {
    let tenant = caching("cache-name").await;
    let body = ask("sim-name-l0");
    let answer = fill(&tenant, &[("x-api-key", &tenant.key)], &body).await;
    let [entry] = &entries(&tenant).await[..] else { panic!("one entry") };
    let hash = entry.name.strip_prefix("a1/cache-name/").expect("the tenant");
    assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    assert_eq!(entry.text, answer.text);
    assert_eq!(entry.metadata["tenant"], "cache-name");
    let stored = format!("{}{}{}", entry.name, entry.text, entry.metadata);
    let hidden = [tenant.key.as_str(), &tenant.key[tenant.key.len() - 49..], tenant.key_id.as_str()];
    for hidden in hidden.into_iter().chain(SECRETS.map(|(_, secret)| secret)) {
        assert!(!stored.contains(hidden), "{hidden} is in {stored}");
    }
    // All of KV, whatever the other tests left there.
    for entry in tenant.gateway.kv_list("").await {
        let named = entry.name.strip_prefix("a1/").and_then(|rest| rest.split_once('/'));
        assert_eq!(named.map(|(tenant, _)| json!(tenant)), Some(entry.metadata["tenant"].clone()), "{}", entry.name);
    }
}

#[wasm_bindgen_test]
async fn another_tenant_misses_even_if_the_entry_lies_under_its_name() {
    let (mine, theirs) = (caching("cache-mine").await, caching("cache-theirs").await);
    let body = ask("sim-tenants-l0");
    fill(&mine, &[], &body).await;
    assert_eq!(mine.chat(&body).await.cache(), "hit");
    assert_eq!(fill(&theirs, &[], &body).await.cache(), "miss");
    assert_eq!(journal("sim-tenants-l0").await.len(), 2);
    let (mut of_mine, of_theirs) = (entries(&mine).await, entries(&theirs).await);
    let stolen = of_mine.pop().expect("an entry");
    mine.gateway.kv_put(&of_theirs[0].name, &stolen.text, &stolen.metadata).await;
    assert_eq!(theirs.chat(&body).await.cache(), "miss");
}

#[wasm_bindgen_test]
async fn an_answer_expires() {
    let tenant = caching("cache-expiry").await;
    let body = ask("sim-expiry-l0");
    let begun = now_ms();
    fill(&tenant, &[("x-tollgate-cache-ttl", "1")], &body).await;
    let only = async || tenant.chat_with(&[("x-tollgate-cache", "only")], &body).await;
    let gone = until("it expires", async || Some(only().await).filter(|answer| answer.status != 200)).await;
    gone.refused(504, "invalid_request_error", "not_cached");
    assert!(now_ms() - begun >= 1_000.0);
    assert_eq!(tenant.chat(&body).await.cache(), "miss");
}

#[wasm_bindgen_test]
async fn a_caller_says_how_the_cache_is_used() {
    let tenant = caching("cache-modes").await;
    let body = ask("sim-modes-l0");
    let asked = async |mode| tenant.chat_with(&[("x-tollgate-cache", mode)], &body).await;
    asked("only").await.refused(504, "invalid_request_error", "not_cached");
    assert_eq!(asked("skip").await.cache(), "bypass");
    assert!(entries(&tenant).await.is_empty());
    assert_eq!(fill(&tenant, &[], &body).await.cache(), "miss");
    assert_eq!(asked("use").await.cache(), "hit");
    assert_eq!(asked("only").await.cache(), "hit");
    assert_eq!(asked("skip").await.cache(), "bypass");
    assert_eq!(asked("refresh").await.cache(), "refresh");
    let error = asked("sometimes").await.refused(400, "invalid_request_error", "invalid_request");
    assert_eq!(error["param"], "x-tollgate-cache");
    assert_eq!(journal("sim-modes-l0").await.len(), 4);
}

#[wasm_bindgen_test]
async fn a_stream_is_stored_and_replayed_as_a_stream() {
    let tenant = caching("cache-stream").await;
    let mut body = ask("sim-replay-t1-i1-n20");
    body["stream"] = json!(true);
    let first = fill(&tenant, &[], &body).await;
    let second = tenant.chat(&body).await;
    assert_eq!((first.cache(), second.cache()), ("miss", "hit"));
    assert!(second.header("content-type").starts_with("text/event-stream"));
    assert_eq!(second.events(), first.events());
}

#[wasm_bindgen_test]
async fn errors_and_broken_answers_are_not_stored() {
    let tenant = caching("cache-broken").await;
    for fault in ["e400", "e500", "html", "badjson"] {
        let body = ask(&format!("sim-{fault}-kept-l0"));
        for _ in 0..2 {
            assert_eq!(tenant.chat(&body).await.cache(), "miss", "{fault}");
        }
    }
    for fault in ["x3", "half"] {
        let mut body = ask(&format!("sim-{fault}-kept-t1-i1"));
        body["stream"] = json!(true);
        for _ in 0..2 {
            assert_eq!(tenant.chat(&body).await.cache(), "miss", "{fault}");
        }
    }
    tenant.settled().await;
    assert!(entries(&tenant).await.is_empty());
}
