//! Gateway keys. A key is shown once, when it is made.

use super::{Answer, body, no_tenant, wrong};
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use crate::serve::identify::ask;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tollgate_core::auth;
use tollgate_core::failure::Failure;
use tollgate_core::ids::{TenantId, ulid};
use tollgate_core::map::Map;
use tollgate_core::protocol::{Command, KeyChange, KeyView, NewKey, Reply};
use tollgate_core::units::Timestamp;

/// Most fields of a key's metadata: as many as a request may have.
const MAX_METADATA: usize = 8;
/// Longest name of a metadata field in bytes, as of a rule's scope.
const MAX_NAME: usize = 64;
/// Longest value in bytes. Longer ones would share an account with all that begin alike.
const MAX_VALUE: usize = 256;

/// The fields of a key that an operator may set. What is absent is not given; null only means something
/// to `expires_at`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fields {
    #[serde(deserialize_with = "given")]
    name: Option<String>,
    #[serde(deserialize_with = "given")]
    models: Option<Vec<String>>,
    #[serde(deserialize_with = "given")]
    expires_at: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    critical: Option<bool>,
    #[serde(deserialize_with = "given")]
    metadata: Option<Map<String, String>>,
}

fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl Fields {
    /// Checks what the types cannot. Returns the time in `expires_at`, where one is given.
    fn check(&self, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
        if self.name.as_ref().is_some_and(|name| name.len() > 128 || name.contains(char::is_control)) {
            return Err(wrong("name", "has at most 128 characters"));
        }
        if self.models.as_ref().is_some_and(|models| models.len() > 100 || models.iter().any(|m| m.is_empty() || m.len() > 256)) {
            return Err(wrong("models", "has at most 100 names of 1 to 256 characters"));
        }
        let metadata = self.metadata.iter().flatten();
        let bad = |(name, value): (&String, &String)| {
            let fits = |text: &str, most: usize| (1..=most).contains(&text.len()) && !text.contains(char::is_control);
            !fits(name, MAX_NAME) || !fits(value, MAX_VALUE)
        };
        if self.metadata.as_ref().is_some_and(|all| all.len() > MAX_METADATA) || metadata.into_iter().any(bad) {
            let why = format!("has at most {MAX_METADATA} names of 1 to {MAX_NAME} characters, with values of 1 to {MAX_VALUE}");
            return Err(wrong("metadata", why));
        }
        let Some(Some(text)) = &self.expires_at else { return Ok(None) };
        let at = Timestamp::from_rfc3339(text).ok_or_else(|| wrong("expires_at", "is a time such as 2026-01-31T12:00:00Z"))?;
        if at <= now { Err(wrong("expires_at", "lies in the past")) } else { Ok(Some(at)) }
    }
}

pub(super) async fn create<W: World>(world: &W, isolate: &Isolate, head: &Head, tenant: &TenantId) -> Answer<W> {
    let post: Fields = body(world, head).await?;
    let expires_at = post.check(world.now())?;
    let key = auth::mint(tenant, world.random());
    let hash = isolate.hash(&key).ok_or_else(|| Failure::NotConfigured {
        why: "The secret TOLLGATE_KEY_PEPPER is not set, so no key can be stored. Set it first.".to_owned(),
    })?;
    let random = world.random().iter().take(16).fold(0_u128, |n, b| (n << 8) | u128::from(*b));
    let shown = key.len().saturating_sub(auth::SECRET_LEN).saturating_sub(auth::CHECK_LEN).saturating_add(4);
    let new = NewKey {
        id: format!("key_{}", ulid(world.now(), random)),
        hash: hash.to_string(),
        name: post.name.unwrap_or_default(),
        prefix: key.chars().take(shown).collect(),
        last4: key.chars().skip(key.len().saturating_sub(4)).collect(),
        models: post.models.unwrap_or_default(),
        expires_at,
        critical: post.critical.unwrap_or(false),
        metadata: post.metadata.unwrap_or_default(),
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

/// Changes what is given. The key itself stays.
pub(super) async fn change<W: World>(world: &W, head: &Head, tenant: &TenantId, id: &str) -> Answer<W> {
    let patch: Fields = body(world, head).await?;
    let change = KeyChange {
        id: id.to_owned(),
        expires_at: patch.check(world.now())?,
        never_expires: patch.expires_at == Some(None),
        name: patch.name,
        models: patch.models,
        critical: patch.critical,
        metadata: patch.metadata,
    };
    match ask(world, tenant, Command::UpdateKey(change)).await? {
        Reply::Key(view) if view.revoked_at.is_some() => {
            Err(Failure::Conflict { why: format!("The key `{}` is revoked, and cannot be changed any more. Make a new one.", view.id) })
        }
        Reply::Key(view) => Ok(Response::json(200, json_view(&view).to_string())),
        _ => Err(no_key(id)),
    }
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
        "critical": k.critical, "metadata": k.metadata,
    })
}
