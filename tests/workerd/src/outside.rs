//! What JavaScript does for the tests.

use js_sys::Promise;
use serde_json::Value;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// How long [`until`] goes on asking, in milliseconds: a busy machine is allowed for.
const PATIENCE: f64 = 15_000.0;
/// How often it asks, in milliseconds.
const INTERVAL: u32 = 20;

#[wasm_bindgen(module = "/miniflare.js")]
extern "C" {
    /// A gateway.
    pub type Site;

    pub fn start(vars: &str) -> Promise;
    #[wasm_bindgen(js_name = journal)]
    fn journal_of(model: &str) -> Promise;
    #[wasm_bindgen(js_name = pause)]
    fn pause_for(ms: u32) -> Promise;

    #[wasm_bindgen(method, js_name = start)]
    pub fn start_again(this: &Site) -> Promise;
    #[wasm_bindgen(method)]
    pub fn stop(this: &Site, keep: bool) -> Promise;
    #[wasm_bindgen(method)]
    pub fn fetch(this: &Site, request: &str) -> Promise;
    #[wasm_bindgen(method)]
    pub fn evict(this: &Site, tenant: &str) -> Promise;
    #[wasm_bindgen(method)]
    pub fn scheduled(this: &Site, at_ms: f64) -> Promise;
    #[wasm_bindgen(method, js_name = kvList)]
    pub fn kv_list(this: &Site) -> Promise;
    #[wasm_bindgen(method, js_name = kvGet)]
    pub fn kv_get(this: &Site, name: &str) -> Promise;
    #[wasm_bindgen(method, js_name = kvPut)]
    pub fn kv_put(this: &Site, name: &str, value: &str, metadata: &str) -> Promise;
    #[wasm_bindgen(method)]
    pub fn log(this: &Site) -> String;
}

/// The value of a promise. A rejection fails the test, in JavaScript's own words.
pub async fn settle(promise: Promise) -> JsValue {
    match JsFuture::from(promise).await {
        Ok(value) => value,
        Err(error) => panic!("{}", String::from(js_sys::Object::from(error).to_string())),
    }
}

/// The text of a promise.
pub async fn text(promise: Promise) -> String {
    settle(promise).await.as_string().expect("a string")
}

/// The JSON of a promise.
pub async fn json(promise: Promise) -> Value {
    serde_json::from_str(&text(promise).await).expect("JSON")
}

/// What the simulated provider was asked for a model (its name there), newest first.
pub async fn journal(model: &str) -> Vec<Value> {
    let Value::Array(requests) = json(journal_of(model)).await else { panic!("the journal is a list") };
    requests
}

/// Waits. For what happens by itself after a time, and nothing else: see [`until`].
pub async fn pause(ms: u32) {
    settle(pause_for(ms)).await;
}

/// Milliseconds since the epoch.
pub fn now_ms() -> f64 {
    js_sys::Date::now()
}

/// Asks again until `check` gives something, and returns that.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = now_ms();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(now_ms() - begun < PATIENCE, "not within {PATIENCE} ms: {what}");
        pause(INTERVAL).await;
    }
}
