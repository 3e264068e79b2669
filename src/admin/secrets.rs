//! A tenant's secrets. They go in and are never shown again: what is stored is sealed, and what is
//! answered is about them.

use super::{Answer, body, no_tenant, wrong};
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use crate::serve::identify::ask;
use crate::vault::{self, Shut};
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::protocol::{Command, NewSecret, Reply, SecretView};
use tollgate_core::secret::{Secret, is_name};

/// Largest secret in bytes: a service account of Google's has about 2,400.
const MAX_VALUE: usize = 8 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutSecret {
    /// Of any type, so that no reader's error quotes it.
    value: Value,
}

fn not_configured(why: &Shut) -> Failure {
    Failure::NotConfigured { why: why.to_string() }
}

fn name(text: &str) -> Result<&str, Failure> {
    if is_name(text) { Ok(text) } else { Err(wrong("name", "has 1 to 64 lower-case letters, digits, `-`, `_` or `.`")) }
}

fn no_secret(name: &str) -> Failure {
    Failure::NotFound { what: format!("secret `{name}`") }
}

/// All of them, each with whether it opens.
pub(super) async fn list<W: World>(world: &W, isolate: &Isolate, tenant: &TenantId) -> Answer<W> {
    vault::sealing_key(isolate).map_err(|why| not_configured(&why))?;
    let Reply::Configuration { secrets: sealed, .. } = ask(world, tenant, Command::Configuration).await? else {
        return Err(no_tenant(tenant));
    };
    let Reply::Secrets { secrets } = ask(world, tenant, Command::ListSecrets).await? else { return Err(no_tenant(tenant)) };
    let mut rows = Vec::with_capacity(secrets.len());
    for view in &secrets {
        let opened = match sealed.get(&view.name) {
            Some(text) => vault::open(world, isolate, tenant, &view.name, text).await.map(|_| ()),
            // It was put between the two questions, and just sealed.
            None => Ok(()),
        };
        rows.push(row(view, opened));
    }
    Ok(Response::json(200, json!({ "object": "list", "data": rows, "next_cursor": null }).to_string()))
}

fn row(view: &SecretView, opened: Result<(), Shut>) -> Value {
    json!({
        "object": "secret", "name": view.name, "key_id": view.key_id, "last4": view.last4, "updated_at": view.updated_at.rfc3339(),
        "opens": opened.is_ok(), "problem": opened.err().map(|why| why.to_string()),
    })
}

/// Stores a secret, or replaces it.
pub(super) async fn put<W: World>(world: &W, isolate: &Isolate, head: &Head, tenant: &TenantId, secret: &str) -> Answer<W> {
    vault::sealing_key(isolate).map_err(|why| not_configured(&why))?;
    let name = name(secret)?;
    let put: PutSecret = body(world, head).await?;
    let value = put.value.as_str().ok_or_else(|| wrong("value", "is a string"))?;
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    let value = Secret::new(value);
    if value.reveal().is_empty() || value.reveal().len() > MAX_VALUE || value.reveal().contains(odd) {
        return Err(wrong("value", format!("has 1 to {MAX_VALUE} bytes of text")));
    }
    let sealed = vault::seal(world, isolate, tenant, name, &value).await.map_err(|why| not_configured(&why))?;
    let new = NewSecret { name: name.to_owned(), sealed, last4: value.last4() };
    match ask(world, tenant, Command::PutSecret(new)).await? {
        Reply::Secret(view) => Ok(Response::json(200, row(&view, Ok(())).to_string())),
        Reply::NoTenant => Err(no_tenant(tenant)),
        Reply::TooMany { bound } => Err(Failure::Conflict { why: format!("A tenant has at most {bound} secrets.") }),
        _ => Err(Failure::LedgerUnavailable),
    }
}

/// Forgets a secret that the configuration does not name.
pub(super) async fn delete<W: World>(world: &W, isolate: &Isolate, tenant: &TenantId, secret: &str) -> Answer<W> {
    vault::sealing_key(isolate).map_err(|why| not_configured(&why))?;
    let name = name(secret)?;
    match ask(world, tenant, Command::DeleteSecret { name: name.to_owned() }).await? {
        Reply::Done => Ok(Response::json(200, json!({ "object": "secret", "name": name, "deleted": true }).to_string())),
        Reply::InUse { place } => Err(Failure::Conflict {
            why: format!("The secret `{name}` is named in the configuration at `{place}`. Take it out there first."),
        }),
        Reply::NoTenant => Err(no_tenant(tenant)),
        _ => Err(no_secret(name)),
    }
}
