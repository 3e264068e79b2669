//! A tenant with a key.

use crate::{Gateway, Response, until};
use serde_json::{Value, json};

/// A chat request to the simulated provider, whose model's name steers it (`scripts/simulator.mjs --help`).
pub fn ask(model: &str) -> Value {
    json!({ "model": format!("simulated/{model}"), "messages": [{ "role": "user", "content": "Hello" }], "max_tokens": 100 })
}

/// A tenant, and its first key.
#[derive(Clone)]
pub struct Tenant {
    /// Where it lives.
    pub gateway: Gateway,
    /// Its id.
    pub id: String,
    /// The key.
    pub key: String,
    /// The key's id.
    pub key_id: String,
}

impl Tenant {
    pub(crate) async fn create(gateway: &Gateway, id: &str, config: &Value) -> Tenant {
        gateway.manage("PUT", &format!("/tenants/{id}"), Some(&json!({ "config": config }))).await;
        let made = gateway.manage("POST", &format!("/tenants/{id}/keys"), Some(&json!({ "name": "first" }))).await;
        let text = |name: &str| made[name].as_str().expect("a string").to_owned();
        Tenant { gateway: gateway.clone(), id: id.to_owned(), key: text("key"), key_id: text("id") }
    }

    /// The same tenant with another key, made as this says.
    pub async fn with_new_key(&self, key: Value) -> Tenant {
        let made = self.manage("POST", "/keys", Some(&key)).await;
        let text = |name: &str| made[name].as_str().expect("a string").to_owned();
        Tenant { key: text("key"), key_id: text("id"), ..self.clone() }
    }

    /// A chat completion. It begins now, and may be awaited later.
    pub fn chat(&self, body: &Value) -> impl Future<Output = Response> + use<> {
        self.chat_with(&[], body)
    }

    /// A chat completion with more headers.
    pub fn chat_with(&self, headers: &[(&str, &str)], body: &Value) -> impl Future<Output = Response> + use<> {
        let bearer = format!("Bearer {}", self.key);
        let mut all = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.gateway.fetch("POST", "/v1/chat/completions", &all, Some(&body.to_string()))
    }

    /// `GET` with the key. The answer's JSON.
    pub async fn get(&self, path: &str) -> Value {
        let bearer = format!("Bearer {}", self.key);
        let answer = self.gateway.fetch("GET", path, &[("authorization", &bearer)], None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    /// An operator's request below this tenant's path, which must succeed.
    pub async fn manage(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.gateway.manage(method, &format!("/tenants/{}{path}", self.id), body).await
    }

    /// Waits until no permit is open, and returns the first budget.
    pub async fn settled(&self) -> Value {
        until("nothing is held", async || {
            let budgets = self.manage("GET", "/budgets", None).await;
            let open = budgets["permits"].as_u64()? + budgets["orphaned_permits"].as_u64()?;
            let budget = &budgets["data"][0];
            (open == 0 && budget["held_usd"] == "0").then(|| budget.clone())
        })
        .await
    }
}
