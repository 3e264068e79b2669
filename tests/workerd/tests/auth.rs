//! Who is let in, and that those who are not learn nothing.

use harness::{Gateway, Response, Tenant, ask, journal};
use serde_json::json;
use wasm_bindgen_test::wasm_bindgen_test;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The last six characters of a gateway key: CRC-32 of the rest.
fn checksum(body: &str) -> String {
    let mut crc = u32::MAX;
    for byte in body.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut rest = !crc;
    let mut digits = [0_u8; 6];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest as usize % 62];
        rest /= 62;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

/// A gateway key of the public form, which nobody has made.
fn well_formed(tenant: &str, secret: &str) -> String {
    let body = format!("tg_{tenant}_{secret}");
    format!("{body}{}", checksum(&body))
}

/// Asks with these headers in place of the tenant's key.
async fn ask_as(tenant: &Tenant, headers: &[(&str, &str)], model: &str) -> Response {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    tenant.gateway.fetch("POST", "/v1/chat/completions", &all, Some(&ask(model).to_string())).await
}

#[track_caller]
fn refused(answer: &Response, tenant: &Tenant) -> String {
    answer.refused(401, "authentication_error", "invalid_api_key");
    answer.names_no_time_to_wait();
    let all = format!("{:?}{}", answer.headers, answer.text);
    for hidden in [tenant.id.as_str(), tenant.key.as_str(), &tenant.key[tenant.key.len() - 49..], tenant.key_id.as_str()] {
        assert!(!all.contains(hidden), "{hidden} is in {all}");
    }
    answer.text.clone()
}

#[wasm_bindgen_test]
async fn a_key_is_taken_from_either_header() {
    let tenant = Gateway::shared().await.tenant("auth-both", json!({})).await;
    let (bearer, lower) = (format!("Bearer {}", tenant.key), format!("bearer {}", tenant.key));
    for header in [("authorization", bearer.as_str()), ("authorization", &lower), ("x-api-key", &tenant.key)] {
        assert_eq!(ask_as(&tenant, &[header], "sim-both-l0").await.status, 200, "{}", header.0);
    }
}

#[wasm_bindgen_test]
async fn missing_malformed_and_unknown_keys_are_refused_alike() {
    let tenant = Gateway::shared().await.tenant("auth-none", json!({})).await;
    let key = &tenant.key;
    let (cut, longer) = (&key[..key.len() - 1], format!("{key}0"));
    let last = if key.ends_with('a') { "b" } else { "a" };
    let (typo, upper) = (format!("{cut}{last}"), key.to_uppercase());
    // Otherwise the next three would be refused for their checksum only.
    let (body, check) = key.split_at(key.len() - 6);
    assert_eq!(check, checksum(body));
    let unknown = well_formed("auth-none", &"k".repeat(43));
    let nobodys = well_formed("auth-nobody", &"k".repeat(43));
    // The tenant's own secret under another tenant's name.
    let other = well_formed("auth-other", &body[body.len() - 43..]);
    let keys = ["", " ", "tg_", "tg__", "sk-1234", cut, &longer, &typo, &upper, &unknown, &nobodys, &other];
    let mut texts = vec![refused(&ask_as(&tenant, &[], "sim-none-l0").await, &tenant)];
    for key in keys {
        let bearer = format!("Bearer {key}");
        for header in [("authorization", bearer.as_str()), ("x-api-key", key)] {
            texts.push(refused(&ask_as(&tenant, &[header], "sim-none-l0").await, &tenant));
        }
    }
    let basic = format!("Basic {key}");
    texts.push(refused(&ask_as(&tenant, &[("authorization", &basic)], "sim-none-l0").await, &tenant));
    assert!(texts.iter().all(|text| *text == texts[0]), "the cases can be told apart: {texts:#?}");
    assert!(journal("sim-none-l0").await.is_empty());
}

#[wasm_bindgen_test]
async fn a_revoked_key_is_refused_at_once_and_only_that_one() {
    let tenant = Gateway::shared().await.tenant("auth-revoked", json!({})).await;
    let second = tenant.with_new_key(json!({ "name": "second" })).await;
    assert_eq!(second.chat(&ask("sim-revoked-l0")).await.status, 200);
    tenant.manage("DELETE", &format!("/keys/{}", second.key_id), None).await;
    refused(&second.chat(&ask("sim-revoked-l0")).await, &second);
    for path in ["/v1/models", "/v1/usage"] {
        let bearer = format!("Bearer {}", second.key);
        refused(&second.gateway.fetch("GET", path, &[("authorization", &bearer)], None).await, &second);
    }
    assert_eq!(tenant.chat(&ask("sim-revoked-l0")).await.status, 200);
    assert_eq!(journal("sim-revoked-l0").await.len(), 2);
}

#[wasm_bindgen_test]
async fn a_key_works_for_the_models_it_was_made_for() {
    let models = json!({ "fast": { "target": "simulated/sim-allowed-l0" } });
    let tenant = Gateway::shared().await.tenant("auth-models", json!({ "models": models })).await;
    let narrow = tenant.with_new_key(json!({ "models": ["fast"] })).await;
    let mut body = ask("sim-allowed-l0");
    let error = narrow.chat(&body).await.refused(403, "permission_error", "model_not_allowed");
    assert_eq!(error["param"], "model");
    body["model"] = json!("fast");
    assert_eq!(narrow.chat(&body).await.status, 200);
}

#[wasm_bindgen_test]
async fn who_may_not_ask_learns_nothing_of_what_is_wrong_with_the_request() {
    let tenant = Gateway::shared().await.tenant("auth-first", json!({})).await;
    let unknown = Tenant { key: well_formed("auth-first", &"z".repeat(43)), ..tenant.clone() };
    let wrong = [json!({}), json!({ "model": "nothing", "messages": [] }), ask("sim-unpriced-l0")];
    for body in wrong {
        refused(&unknown.chat(&body).await, &tenant);
    }
}
