//! `Upstream`: how an answer, or the lack of one, reaches the client.

use harness::{Gateway, Tenant, ask, journal};
use serde_json::json;
use wasm_bindgen_test::wasm_bindgen_test;

async fn tenant(id: &str) -> Tenant {
    Gateway::shared().await.tenant(id, json!({})).await
}

#[wasm_bindgen_test]
async fn each_status_has_its_meaning() {
    let tenant = tenant("port-status").await;
    // The request is to blame: handed on as it is. Anything else is the provider's fault, or the operator's.
    let table = [
        (400, 400),
        (404, 404),
        (409, 409),
        (413, 413),
        (422, 422),
        (401, 502),
        (402, 502),
        (403, 502),
        (408, 502),
        (429, 502),
        (500, 502),
        (502, 502),
        (503, 502),
        (504, 502),
        (529, 502),
    ];
    let bodies: Vec<_> = table.iter().map(|(status, _)| ask(&format!("sim-e{status}-l0"))).collect();
    let answers = harness::all(bodies.iter().map(|body| tenant.chat(body))).await;
    for ((status, told), answer) in table.into_iter().zip(answers) {
        assert_eq!(answer.status, told, "{status}: {}", answer.text);
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(answer.json()["error"]["message"].is_string(), "{status}: {}", answer.text);
        answer.tells_no_secret();
    }
}

#[wasm_bindgen_test]
async fn a_redirect_is_not_followed() {
    let tenant = tenant("port-redirect").await;
    let answer = tenant.chat(&ask("sim-redirect-l0")).await;
    answer.refused(502, "api_error", "upstream_error");
    assert_eq!(journal("sim-redirect-l0").await.len(), 1);
    assert!(!answer.text.contains("redirected"), "{}", answer.text);
}

#[wasm_bindgen_test]
async fn a_connection_that_breaks_is_no_answer() {
    let tenant = tenant("port-broken").await;
    // At once, and in the middle of a whole answer.
    for model in ["sim-reset-l0", "sim-x3-l0"] {
        tenant.chat(&ask(model)).await.refused(502, "api_error", "upstream_error");
    }
    let mut streamed = ask("sim-reset-t1");
    streamed["stream"] = json!(true);
    tenant.chat(&streamed).await.refused(502, "api_error", "upstream_error");
}

#[wasm_bindgen_test]
async fn an_answer_beyond_the_cap_is_none() {
    let tenant = tenant("port-cap").await;
    // 50 KB on the wire, 50 MB when unpacked.
    tenant.chat(&ask("sim-bomb-l0")).await.refused(502, "api_error", "upstream_error");
    assert_eq!(tenant.chat(&ask("sim-after-l0")).await.status, 200);
}

#[wasm_bindgen_test]
async fn nobody_is_called_but_who_is_listed() {
    let simulated = json!({
        // Neither https nor listed; and nobody there.
        "plain": { "base_url": "http://127.0.0.1:9/v1", "api_key_env": "SIMULATED_API_KEY" },
        "keyless": { "base_url": "https://models.invalid/v1", "api_key_env": "NO_SUCH_KEY" },
    });
    let vars = harness::Vars::default().set("TOLLGATE_PROVIDERS", &simulated.to_string());
    let gateway = Gateway::start(vars.set("TOLLGATE_PLAIN_HTTP_HOSTS", "127.0.0.1:90")).await;
    let price = json!({ "input_usd_per_mtok": "1", "output_usd_per_mtok": "1" });
    let tenant = gateway.tenant("egress", json!({ "prices": { "plain/*": price, "keyless/*": price } })).await;
    for provider in ["plain", "keyless"] {
        let mut body = ask("");
        body["model"] = json!(format!("{provider}/some-model"));
        let answer = tenant.chat(&body).await;
        answer.refused(502, "api_error", "upstream_error");
        assert_eq!(answer.header("x-tollgate-attempts"), "0", "{}", answer.text);
    }
    gateway.stop().await;
}
