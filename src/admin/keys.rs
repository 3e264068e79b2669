//! Gateway keys. A key is shown once, when it is made.

use super::{Answer, body, no_tenant};
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use crate::serve::identify::ask;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_core::auth;
use tollgate_core::failure::Failure;
use tollgate_core::ids::{TenantId, ulid};
use tollgate_core::protocol::{Command, KeyView, NewKey, Reply};
use tollgate_core::units::Timestamp;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostKey {
    #[serde(default)]
    name: String,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    expires_at: Option<String>,
}

pub(super) async fn create<W: World>(world: &W, isolate: &Isolate, head: &Head, tenant: &TenantId) -> Answer<W> {
    let post: PostKey = body(world, head).await?;
    let wrong = |param: &str, why: &str| Failure::InvalidRequest { param: param.to_owned(), why: why.to_owned() };
    if post.name.len() > 128 || post.name.contains(char::is_control) {
        return Err(wrong("name", "has at most 128 characters"));
    }
    if post.models.len() > 100 || post.models.iter().any(|m| m.is_empty() || m.len() > 256) {
        return Err(wrong("models", "has at most 100 names of 1 to 256 characters"));
    }
    let expires_at = match &post.expires_at {
        None => None,
        Some(text) => Some(Timestamp::from_rfc3339(text).ok_or_else(|| wrong("expires_at", "is a time such as 2026-01-31T12:00:00Z"))?),
    };
    if expires_at.is_some_and(|at| at <= world.now()) {
        return Err(wrong("expires_at", "lies in the past"));
    }
    let key = auth::mint(tenant, world.random());
    let hash = isolate.hash(&key).ok_or_else(|| Failure::NotConfigured {
        why: "The secret TOLLGATE_KEY_PEPPER is not set, so no key can be stored. Set it first.".to_owned(),
    })?;
    let random = world.random().iter().take(16).fold(0_u128, |n, b| (n << 8) | u128::from(*b));
    let shown = key.len().saturating_sub(auth::SECRET_LEN).saturating_sub(auth::CHECK_LEN).saturating_add(4);
    let new = NewKey {
        id: format!("key_{}", ulid(world.now(), random)),
        hash: hash.to_string(),
        name: post.name,
        prefix: key.chars().take(shown).collect(),
        last4: key.chars().skip(key.len().saturating_sub(4)).collect(),
        models: post.models,
        expires_at,
        ..NewKey::default()
    };
    match ask(world, tenant, Command::CreateKey(new)).await? {
        Reply::Key(view) => {
            let mut body = json_view(&view);
            if let Some(fields) = body.as_object_mut() {
                fields.insert("key".to_owned(), json!(key));
            }
            Ok(Response::json(201, body.to_string()))
        }
        Reply::NoTenant => Err(no_tenant(tenant)),
        Reply::TooMany { bound } => Err(Failure::Conflict { why: format!("A tenant has at most {bound} keys.") }),
        _ => Err(Failure::LedgerUnavailable),
    }
}

pub(super) async fn list<W: World>(world: &W, tenant: &TenantId) -> Answer<W> {
    let keys: Vec<Value> = all(world, tenant).await?.iter().map(json_view).collect();
    Ok(Response::json(200, json!({ "object": "list", "data": keys, "next_cursor": null }).to_string()))
}

pub(super) async fn get<W: World>(world: &W, tenant: &TenantId, id: &str) -> Answer<W> {
    let keys = all(world, tenant).await?;
    let key = keys.iter().find(|k| k.id == id).ok_or_else(|| no_key(id))?;
    Ok(Response::json(200, json_view(key).to_string()))
}

pub(super) async fn revoke<W: World>(world: &W, tenant: &TenantId, id: &str) -> Answer<W> {
    match ask(world, tenant, Command::RevokeKey { id: id.to_owned() }).await? {
        Reply::Key(view) => Ok(Response::json(200, json_view(&view).to_string())),
        _ => Err(no_key(id)),
    }
}

async fn all<W: World>(world: &W, tenant: &TenantId) -> Result<Vec<KeyView>, Failure> {
    match ask(world, tenant, Command::ListKeys).await? {
        Reply::Keys { keys } => Ok(keys),
        _ => Err(no_tenant(tenant)),
    }
}

fn no_key(id: &str) -> Failure {
    Failure::NotFound { what: format!("key `{}`", id.chars().take(64).collect::<String>()) }
}

fn json_view(k: &KeyView) -> Value {
    json!({
        "object": "key", "id": k.id, "name": k.name, "prefix": k.prefix, "last4": k.last4, "models": k.models,
        "created_at": k.created_at.rfc3339(), "expires_at": k.expires_at.map(Timestamp::rfc3339), "revoked_at": k.revoked_at.map(Timestamp::rfc3339),
    })
}
