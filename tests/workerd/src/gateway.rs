//! A gateway under Miniflare.

use crate::outside::{self, Site};
use crate::{Response, Tenant};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::JsCast;

/// What must never be seen outside. Each is long enough to be recognised anywhere.
pub const SECRETS: [(&str, &str); 3] = [
    ("TOLLGATE_ADMIN_TOKEN", "operator-3e6b90c1d8"),
    ("TOLLGATE_KEY_PEPPER", "pepper-c07d25a9f4"),
    ("SIMULATED_API_KEY", "sk-provider-91be48d3"),
];

thread_local! {
    static SHARED: RefCell<Option<Gateway>> = const { RefCell::new(None) };
}

/// Variables and secrets of a gateway, beside those of the simulated provider.
#[derive(Clone, Debug)]
pub struct Vars(Value);

impl Default for Vars {
    /// All [`SECRETS`], and a log line for each request.
    fn default() -> Vars {
        let vars = Vars(json!({ "TOLLGATE_LOG": "requests" }));
        SECRETS.iter().fold(vars, |vars, (name, value)| vars.set(name, value))
    }
}

impl Vars {
    /// Sets one.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Vars {
        self.0[name] = json!(value);
        self
    }

    /// Leaves one out.
    #[must_use]
    pub fn unset(mut self, name: &str) -> Vars {
        self.0[name] = Value::Null;
        self
    }
}

/// An entry of KV.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its value.
    pub text: String,
    /// What is stored beside it; null if nothing is.
    pub metadata: Value,
    /// Seconds until KV drops it; `None` if it does not.
    pub expires_in: Option<f64>,
}

/// A running gateway. Clones are the same one.
#[derive(Clone)]
pub struct Gateway(Rc<Site>);

impl Gateway {
    /// The gateway that all tests share which bring a tenant of their own.
    pub async fn shared() -> Gateway {
        if let Some(gateway) = SHARED.with_borrow(Clone::clone) {
            return gateway;
        }
        let gateway = Gateway::start(Vars::default()).await;
        SHARED.set(Some(gateway.clone()));
        gateway
    }

    /// Starts one with fresh state, beside any other. The system picks its port.
    pub async fn start(vars: Vars) -> Gateway {
        let site = outside::settle(outside::start(&vars.0.to_string())).await;
        Gateway(Rc::new(site.unchecked_into()))
    }

    /// Kills it and starts it again on the same state.
    pub async fn restart(&self) {
        outside::settle(self.0.stop(true)).await;
        outside::settle(self.0.start_again()).await;
    }

    /// Stops it and deletes its state.
    pub async fn stop(self) {
        outside::settle(self.0.stop(false)).await;
    }

    /// A request. It begins now, and may be awaited later.
    pub fn fetch(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> impl Future<Output = Response> + use<> {
        let request = json!({ "method": method, "path": path, "headers": headers, "body": body });
        let under_way = self.0.fetch(&request.to_string());
        async move { Response::read(outside::json(under_way).await) }
    }

    /// An operator's request below `/admin/v1`.
    pub fn admin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> impl Future<Output = Response> + use<> {
        let token = format!("Bearer {}", SECRETS[0].1);
        let mut all = vec![("authorization", token.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.fetch(method, &format!("/admin/v1{path}"), &all, body.map(Value::to_string).as_deref())
    }

    /// An operator's request that must succeed. Its JSON.
    pub async fn manage(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.admin(method, path, &[], body).await;
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.text);
        answer.json()
    }

    /// Creates a tenant with a key.
    pub async fn tenant(&self, id: &str, config: Value) -> Tenant {
        Tenant::create(self, id, &config).await
    }

    /// The entries of KV whose names begin with this.
    pub async fn kv_list(&self, prefix: &str) -> Vec<Entry> {
        let Value::Array(listed) = outside::json(self.0.kv_list()).await else { panic!("the entries are a list") };
        let names = listed.iter().filter(|e| e["name"].as_str().is_some_and(|n| n.starts_with(prefix)));
        let mut entries = Vec::new();
        for listed in names {
            let name = listed["name"].as_str().unwrap_or_default().to_owned();
            let stored = outside::json(self.0.kv_get(&name)).await;
            entries.push(Entry {
                name,
                text: stored["value"].as_str().unwrap_or_default().to_owned(),
                metadata: stored["metadata"].clone(),
                expires_in: listed["expiration"].as_f64().map(|at| at - outside::now_ms() / 1_000.0),
            });
        }
        entries
    }

    /// Writes an entry of KV, past the gateway.
    pub async fn kv_put(&self, name: &str, text: &str, metadata: &Value) {
        outside::settle(self.0.kv_put(name, text, &metadata.to_string())).await;
    }

    /// Takes the memory of a tenant's object, as the platform does with an idle one.
    pub async fn evict(&self, tenant: &Tenant) {
        outside::settle(self.0.evict(&tenant.id)).await;
    }

    /// Fires the cron handler for a time. Its outcome.
    pub async fn scheduled(&self, at_ms: f64) -> String {
        outside::text(self.0.scheduled(at_ms)).await
    }

    /// What it has written to its log until now. A line takes a moment to get here: see [`Gateway::logged`].
    pub fn log(&self) -> Vec<String> {
        serde_json::from_str(&self.0.log()).expect("a list of lines")
    }

    /// Waits until so many lines of the log contain the text, and returns all that do.
    pub async fn logged(&self, text: &str, count: usize) -> Vec<String> {
        outside::until(&format!("{count} lines with {text}"), async || {
            let lines: Vec<String> = self.log().into_iter().filter(|line| line.contains(text)).collect();
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}
