//! The control plane: `/admin/v1/…`, JSON, for operators. Closed unless an operator token is configured.

mod advice;
mod counters;
mod decisions;
mod explain;
mod fleet;
mod keys;
mod live;
mod place;
mod prices;
mod providers;
mod replay;
mod savings;
mod secrets;
mod span;
mod tenants;

pub use fleet::run_cron;

use crate::checks::Shown;
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use crate::serve::read::json_body;
use serde::de::DeserializeOwned;
use tollgate_core::auth::same_secret;
use tollgate_core::directory::{DirectoryCommand, DirectoryReply};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::text::to_json;

/// Largest body of an admin request in bytes: a configuration document and its wrapping.
const MAX_BODY: usize = tollgate_core::config::MAX_DOCUMENT + 1024;

type Answer<W> = Result<Response<<W as crate::ports::Upstream>::Answer>, Failure>;

/// Answers an admin request. Without the token nothing is told, not even which paths exist.
///
/// # Errors
/// What is wrong with the request.
pub async fn handle<W: World>(world: &W, isolate: &Isolate, head: &Head) -> Answer<W> {
    authorise(isolate, head)?;
    let path = head.path.strip_prefix("/admin/v1/").unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let method = head.method.as_str();
    let not_allowed = |allow| Err(Failure::MethodNotAllowed { allow });
    match (parts.as_slice(), method) {
        (["tenants"], "GET") => tenants::list(world, head).await,
        (["tenants"], _) => not_allowed("GET"),
        (["tenants", id], "GET") => tenants::get(world, &tenant(id)?).await,
        (["tenants", id], "PUT") => tenants::put(world, isolate, head, &tenant(id)?).await,
        (["tenants", id], "DELETE") => tenants::delete(world, isolate, &tenant(id)?).await,
        (["tenants", _], _) => not_allowed("GET, PUT, DELETE"),
        (["tenants", id, "config"], "GET") => tenants::config(world, &tenant(id)?).await,
        (["tenants", id, "config"], "PUT") => tenants::put_config(world, isolate, head, &tenant(id)?).await,
        (["tenants", _, "config"], _) => not_allowed("GET, PUT"),
        (["tenants", id, "limits"], "GET") => live::limits(world, &tenant(id)?).await,
        (["tenants", id, "budgets"], "GET") => live::budgets(world, &tenant(id)?).await,
        (["tenants", id, "usage"], "GET") => counters::usage(world, head, &tenant(id)?).await,
        (["tenants", id, "violations"], "GET") => counters::violations(world, head, &tenant(id)?).await,
        (["tenants", _, "limits" | "budgets" | "usage" | "violations"], _) => not_allowed("GET"),
        (["tenants", id, "providers"], "GET") => providers::list(world, isolate, &tenant(id)?).await,
        (["tenants", id, "savings"], "GET") => savings::list(world, head, &tenant(id)?).await,
        (["tenants", id, "advice"], "GET") => advice::list(world, isolate, head, &tenant(id)?).await,
        (["tenants", id, "requests"], "GET") => decisions::list(world, head, &tenant(id)?).await,
        (["tenants", id, "requests", request], "GET") => decisions::get(world, &tenant(id)?, request).await,
        (["tenants", _, "providers" | "savings" | "advice" | "requests"] | ["tenants", _, "requests", _], _) => not_allowed("GET"),
        (["tenants", id, "replay"], "POST") => replay::run(world, isolate, head, &tenant(id)?).await,
        (["tenants", _, "replay"], _) => not_allowed("POST"),
        (["tenants", id, "keys"], "GET") => keys::list(world, &tenant(id)?).await,
        (["tenants", id, "keys"], "POST") => keys::create(world, isolate, head, &tenant(id)?).await,
        (["tenants", _, "keys"], _) => not_allowed("GET, POST"),
        (["tenants", id, "keys", key], "GET") => keys::get(world, &tenant(id)?, key).await,
        (["tenants", id, "keys", key], "PATCH") => keys::change(world, head, &tenant(id)?, key).await,
        (["tenants", id, "keys", key], "DELETE") => keys::revoke(world, &tenant(id)?, key).await,
        (["tenants", _, "keys", _], _) => not_allowed("GET, PATCH, DELETE"),
        (["tenants", id, "secrets"], "GET") => secrets::list(world, isolate, &tenant(id)?).await,
        (["tenants", _, "secrets"], _) => not_allowed("GET"),
        (["tenants", id, "secrets", name], "PUT") => secrets::put(world, isolate, head, &tenant(id)?, name).await,
        (["tenants", id, "secrets", name], "DELETE") => secrets::delete(world, isolate, &tenant(id)?, name).await,
        (["tenants", _, "secrets", _], _) => not_allowed("PUT, DELETE"),
        (["prices"], "GET") => prices::get(world, head).await,
        (["prices"], "PUT") => prices::put(world, isolate, head).await,
        (["prices"], _) => not_allowed("GET, PUT"),
        (["fleet"], "GET") => fleet::get(world, head).await,
        (["fleet"], _) => not_allowed("GET"),
        (["health"], "GET") => Ok(Response::json(200, Shown::new(world, isolate).await.all(isolate).to_string())),
        (["health"], _) => not_allowed("GET"),
        _ => Err(Failure::NotFound { what: "such path".to_owned() }),
    }
}

fn authorise(isolate: &Isolate, head: &Head) -> Result<(), Failure> {
    let token = isolate.var("TOLLGATE_ADMIN_TOKEN").ok_or(Failure::InvalidOperatorToken)?;
    let presented = head.credential().ok_or(Failure::InvalidOperatorToken)?;
    if same_secret(presented, token) { Ok(()) } else { Err(Failure::InvalidOperatorToken) }
}

fn tenant(id: &str) -> Result<TenantId, Failure> {
    let form = "a tenant id has 1 to 32 lower-case letters, digits and `-`, and neither begins nor ends with `-`";
    TenantId::parse(id).ok_or_else(|| wrong("tenant", form))
}

fn no_tenant(tenant: &TenantId) -> Failure {
    Failure::NotFound { what: format!("tenant `{tenant}`") }
}

/// Reads a JSON body into a type. The error names the field.
async fn body<W: World, T: DeserializeOwned>(world: &W, head: &Head) -> Result<T, Failure> {
    object(&json_body(world, head, MAX_BODY).await?)
}

/// Reads a JSON object into a type. The error names the field as far as it is known.
pub(crate) fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let not_json = |why: String| Failure::InvalidJson { why };
    // As text, like messages: what reads them is in the wasm once.
    let text = std::str::from_utf8(bytes).map_err(|e| not_json(e.to_string()))?;
    match serde_json::from_str(text) {
        Err(e) if !e.is_data() => Err(not_json(e.to_string())),
        // Serde would take a list for the fields in order.
        _ if !text.trim_start().starts_with('{') => Err(wrong("", "It must be a JSON object.")),
        Ok(value) => Ok(value),
        Err(e) => Err(wrong(&place::of(text, &e), e.to_string())),
    }
}

/// A field that is wrong. `why` goes on after the field's name; where no field is to blame, it is a sentence.
fn wrong(param: &str, why: impl Into<String>) -> Failure {
    Failure::InvalidRequest { param: param.to_owned(), why: why.into() }
}

/// Asks the directory.
async fn directory<W: World>(world: &W, command: &DirectoryCommand) -> Result<DirectoryReply, Failure> {
    let message = to_json(command).map_err(|_| Failure::Internal)?;
    let reply = world.directory(&message).await.map_err(|_| Failure::LedgerUnavailable)?;
    match serde_json::from_str(&reply) {
        Ok(DirectoryReply::Failed { .. }) | Err(_) => Err(Failure::LedgerUnavailable),
        Ok(reply) => Ok(reply),
    }
}
