//! The control plane: the life of a tenant and of its keys, and who may look after them.

use harness::{Gateway, SECRETS, Vars, ask};
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

const WRONG: &str = "invalid_request_error";

async fn listed(gateway: &Gateway) -> Vec<Value> {
    let list = gateway.manage("GET", "/tenants", None).await;
    list["data"].as_array().expect("a list").iter().map(|tenant| tenant["id"].clone()).collect()
}

#[wasm_bindgen_test]
async fn a_tenant_is_created_changed_and_deleted() {
    let gateway = Gateway::shared().await;
    let path = "/tenants/admin-life";
    gateway.admin("GET", path, &[], None).await.refused(404, WRONG, "not_found");
    let config = json!({ "models": { "fast": { "target": "simulated/sim-l0" } } });
    let created = gateway.admin("PUT", path, &[], Some(&json!({ "config": config }))).await;
    assert_eq!((created.status, created.header("etag")), (201, "\"1\""), "{}", created.text);
    assert_eq!(created.json()["config"]["models"], config["models"]);
    let read = gateway.admin("GET", path, &[], None).await;
    assert_eq!((read.status, read.header("etag"), &read.text), (200, "\"1\"", &created.text));
    assert!(listed(&gateway).await.contains(&json!("admin-life")));
    let changed = gateway.admin("PUT", path, &[], Some(&json!({ "config": {} }))).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""));

    let made = gateway.manage("POST", &format!("{path}/keys"), Some(&json!({}))).await;
    let bearer = format!("Bearer {}", made["key"].as_str().expect("a key"));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let chat = async || gateway.fetch("POST", "/v1/chat/completions", &headers, Some(&ask("sim-l0").to_string())).await;
    assert_eq!(chat().await.status, 200);
    assert_eq!(gateway.manage("DELETE", path, None).await["deleted"], true);
    gateway.admin("GET", path, &[], None).await.refused(404, WRONG, "not_found");
    gateway.admin("DELETE", path, &[], None).await.refused(404, WRONG, "not_found");
    chat().await.refused(401, "authentication_error", "invalid_api_key");
    assert!(!listed(&gateway).await.contains(&json!("admin-life")));
    // A tenant of the same name begins anew: no key of its predecessor opens it.
    let again = gateway.admin("PUT", path, &[], Some(&json!({}))).await;
    assert_eq!(again.status, 201, "{}", again.text);
    chat().await.refused(401, "authentication_error", "invalid_api_key");
}

#[wasm_bindgen_test]
async fn of_two_changes_to_the_same_version_one_is_refused() {
    let gateway = Gateway::shared().await;
    let tenant = gateway.tenant("admin-etag", json!({})).await;
    let path = "/tenants/admin-etag/config";
    let read = gateway.admin("GET", path, &[], None).await;
    let tag = read.header("etag").to_owned();
    let change = |ttl: u32, tag: &str| {
        let config = json!({ "cache": { "enabled": true, "ttl_s": ttl } });
        gateway.admin("PUT", path, &[("if-match", tag)], Some(&config))
    };
    let answers = harness::all([change(100, &tag), change(200, &tag)]).await;
    let won: Vec<bool> = answers.iter().map(|answer| answer.status == 200).collect();
    assert!(won[0] != won[1], "{answers:#?}");
    let (won, lost) = if won[0] { (&answers[0], &answers[1]) } else { (&answers[1], &answers[0]) };
    lost.refused(412, WRONG, "precondition_failed");
    let now = gateway.admin("GET", path, &[], None).await;
    assert_eq!((now.header("etag"), &now.json()["cache"]), (won.header("etag"), &won.json()["config"]["cache"]));
    assert_eq!(change(300, now.header("etag")).await.status, 200);
    change(400, "yesterday's").await.refused(400, WRONG, "invalid_request");
    assert_eq!(tenant.manage("GET", "/config", None).await["cache"]["ttl_s"], 300);
}

#[wasm_bindgen_test]
async fn a_configuration_that_is_wrong_changes_nothing() {
    let gateway = Gateway::shared().await;
    let tenant = gateway.tenant("admin-wrong", json!({})).await;
    let wrong = [
        (json!({ "limits": [{ "id": "a", "requests": 0, "window_s": 60 }] }), json!("limits[0].requests")),
        (json!({ "models": { "a/b": { "target": "simulated/x" } } }), json!("models.a/b")),
        (json!({ "limit": [] }), json!("limit")),
        (json!({ "budgets": [{ "id": "a", "limit_usd": 5, "period": "day" }] }), json!("budgets[0].limit_usd")),
    ];
    for (config, param) in wrong {
        for (path, body) in [("", json!({ "config": config })), ("/config", config.clone())] {
            let answer = gateway.admin("PUT", &format!("/tenants/admin-wrong{path}"), &[], Some(&body)).await;
            let error = answer.refused(400, WRONG, "invalid_request");
            assert_eq!(error["param"], param, "{config}");
        }
    }
    assert_eq!(tenant.manage("GET", "", None).await["version"], 1);
    for id in ["Upper", "under_score", "-a", "a-", &"a".repeat(33)] {
        gateway.admin("PUT", &format!("/tenants/{id}"), &[], Some(&json!({}))).await.refused(400, WRONG, "invalid_request");
    }
}

#[wasm_bindgen_test]
async fn a_key_is_shown_once_listed_by_its_ends_and_revoked() {
    let gateway = Gateway::shared().await;
    let tenant = gateway.tenant("admin-keys", json!({})).await;
    let made = gateway.admin("POST", "/tenants/admin-keys/keys", &[], Some(&json!({ "name": "ci" }))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let mut view = made.json();
    let key = view.as_object_mut().and_then(|fields| fields.remove("key")).expect("a key");
    let key = key.as_str().expect("a string");
    let secret = key.strip_prefix("tg_admin-keys_").expect("the tenant's name");
    assert!(secret.len() == 49 && secret.bytes().all(|b| b.is_ascii_alphanumeric()), "{key}");
    assert!(key.starts_with(view["prefix"].as_str().expect("a prefix")));
    assert!(key.ends_with(view["last4"].as_str().expect("an end")));
    let path = format!("/tenants/admin-keys/keys/{}", view["id"].as_str().expect("an id"));

    let list = gateway.admin("GET", "/tenants/admin-keys/keys", &[], None).await;
    let ids: Vec<Value> = list.json()["data"].as_array().expect("a list").iter().map(|key| key["id"].clone()).collect();
    assert_eq!(ids, [json!(tenant.key_id), view["id"].clone()]);
    let one = gateway.admin("GET", &path, &[], None).await;
    assert_eq!(one.json(), view);
    let revoked = gateway.admin("DELETE", &path, &[], None).await;
    assert!(revoked.json()["revoked_at"].is_string(), "{}", revoked.text);
    // Twice is once.
    assert_eq!(gateway.admin("DELETE", &path, &[], None).await.text, revoked.text);
    for answer in [&list, &one, &revoked] {
        assert!(!answer.text.contains(&secret[4..43]), "{}", answer.text);
    }
    gateway.admin("DELETE", "/tenants/admin-keys/keys/key_none", &[], None).await.refused(404, WRONG, "not_found");
    gateway.tenant("admin-other", json!({})).await;
    let others = format!("/tenants/admin-other/keys/{}", tenant.key_id);
    gateway.admin("DELETE", &others, &[], None).await.refused(404, WRONG, "not_found");
    assert_eq!(tenant.chat(&ask("sim-l0")).await.status, 200);
}

#[wasm_bindgen_test]
async fn without_the_token_nothing_is_told_and_nothing_is_done() {
    let gateway = Gateway::shared().await;
    let tenant = gateway.tenant("admin-closed", json!({})).await;
    let paths = ["/tenants", "/tenants/admin-closed", "/tenants/none", "/fleet", "/nothing"];
    let (token, key) = (format!("Bearer {}0", SECRETS[0].1), format!("Bearer {}", tenant.key));
    let headers = [("x-nothing", "x"), ("authorization", "Bearer "), ("authorization", &token), ("authorization", &key)];
    let mut texts = Vec::new();
    for path in paths {
        for header in headers {
            for method in ["GET", "DELETE"] {
                let answer = gateway.fetch(method, &format!("/admin/v1{path}"), &[header], None).await;
                answer.refused(401, "authentication_error", "invalid_operator_token");
                texts.push(answer.text);
            }
        }
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "existing paths can be told from others");
    assert_eq!(tenant.chat(&ask("sim-l0")).await.status, 200);
}

#[wasm_bindgen_test]
async fn with_no_token_configured_it_is_closed_to_everybody() {
    for vars in [Vars::default().unset("TOLLGATE_ADMIN_TOKEN"), Vars::default().set("TOLLGATE_ADMIN_TOKEN", " ")] {
        let gateway = Gateway::start(vars).await;
        for token in ["Bearer ", "Bearer  ", "Bearer undefined", "Bearer null", &format!("Bearer {}", SECRETS[0].1)] {
            let answer = gateway.fetch("GET", "/admin/v1/tenants", &[("authorization", token)], None).await;
            answer.refused(401, "authentication_error", "invalid_operator_token");
        }
        gateway.stop().await;
    }
}
