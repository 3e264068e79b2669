//! Tenants and their configuration.

use super::{Answer, body, directory, no_tenant, object, prices, wrong};
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use crate::serve::identify::ask;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tollgate_core::config::Config;
use tollgate_core::directory::{DirectoryCommand, DirectoryReply, MAX_PAGE, TenantRow};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::protocol::{Command, Reply};
use tollgate_core::text::to_json;
use tollgate_core::units::Timestamp;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutTenant {
    #[serde(default)]
    config: Option<Box<RawValue>>,
}

pub(super) async fn list<W: World>(world: &W, head: &Head) -> Answer<W> {
    let (tenants, next) = page(world, head).await?;
    let rows: Vec<Value> = tenants.iter().map(row).collect();
    Ok(Response::json(200, json!({ "object": "list", "data": rows, "next_cursor": next }).to_string()))
}

/// One page of tenants, and the cursor of the next.
pub(super) async fn page<W: World>(world: &W, head: &Head) -> Result<(Vec<TenantRow>, Option<String>), Failure> {
    let limit = match head.query("limit") {
        None => MAX_PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=MAX_PAGE).contains(n))
            .ok_or_else(|| wrong("limit", format!("is a whole number between 1 and {MAX_PAGE}")))?,
    };
    match directory(world, &DirectoryCommand::List { after: head.query("cursor"), limit }).await? {
        DirectoryReply::Tenants { tenants, more } => {
            let next = tenants.last().filter(|_| more).map(|t| t.tenant.to_string());
            Ok((tenants, next))
        }
        _ => Err(Failure::LedgerUnavailable),
    }
}

/// A tenant as the directory knows it.
pub(super) fn row(t: &TenantRow) -> Value {
    json!({
        "object": "tenant", "id": t.tenant, "created_at": t.created_at.rfc3339(), "requests": t.totals.requests, "denied": t.totals.denied,
        "cost_usd": t.totals.cost.to_string(), "cleaned_at": t.totals.cleaned_at.map(Timestamp::rfc3339), "as_of": t.told_at.map(Timestamp::rfc3339),
        "ledger_broken": t.totals.broken,
    })
}

/// The stored document.
pub(super) async fn configuration<W: World>(world: &W, tenant: &TenantId) -> Result<Reply, Failure> {
    match ask(world, tenant, Command::Configuration).await? {
        reply @ Reply::Configuration { .. } => Ok(reply),
        _ => Err(no_tenant(tenant)),
    }
}

/// The document with its version.
fn document<A>(status: u16, tenant: &TenantId, reply: Reply) -> Result<Response<A>, Failure> {
    let Reply::Configuration { version, config, updated_at, secrets, prices } = reply else { return Err(Failure::LedgerUnavailable) };
    let body = json!({
        "object": "tenant", "id": tenant, "version": version, "updated_at": updated_at.rfc3339(),
        "missing_secrets": config.missing_secrets(&secrets), "operator_prices": prices.map(|book| book.version), "config": config,
    });
    Ok(Response::json(status, body.to_string()).with("etag", format!("\"{version}\"")))
}

pub(super) async fn get<W: World>(world: &W, tenant: &TenantId) -> Answer<W> {
    document(200, tenant, configuration(world, tenant).await?)
}

pub(super) async fn config<W: World>(world: &W, tenant: &TenantId) -> Answer<W> {
    let Reply::Configuration { version, config, .. } = configuration(world, tenant).await? else { return Err(Failure::LedgerUnavailable) };
    let body = to_json(&config).map_err(|_| Failure::Internal)?;
    Ok(Response::json(200, body).with("etag", format!("\"{version}\"")))
}

pub(super) async fn put<W: World>(world: &W, isolate: &Isolate, head: &Head, tenant: &TenantId) -> Answer<W> {
    let put: PutTenant = body(world, head).await?;
    let config = put.config.map_or_else(|| Ok(Config::default()), |raw| object(raw.get().as_bytes()))?;
    let reply = store(world, isolate, head, tenant, config).await?;
    let created = matches!(reply, Reply::Configuration { version: 1, .. });
    document(if created { 201 } else { 200 }, tenant, reply)
}

pub(super) async fn put_config<W: World>(world: &W, isolate: &Isolate, head: &Head, tenant: &TenantId) -> Answer<W> {
    configuration(world, tenant).await?;
    let config: Config = body(world, head).await?;
    let reply = store(world, isolate, head, tenant, config).await?;
    document(200, tenant, reply)
}

/// What is wrong with a document, if something is.
pub(super) fn check(isolate: &Isolate, config: &Config) -> Result<(), Failure> {
    config
        .validate()
        .and_then(|()| config.validate_providers(&isolate.catalog))
        .map_err(|e| Failure::InvalidRequest { param: e.param, why: e.message })
}

/// The version that a change wants to follow.
pub(super) fn if_match(head: &Head) -> Result<Option<u64>, Failure> {
    match head.header("if-match") {
        None | Some("*") => Ok(None),
        Some(tag) => tag.trim_matches('"').parse().map(Some).map_err(|_| wrong("if-match", "is the ETag of what was read")),
    }
}

async fn store<W: World>(world: &W, isolate: &Isolate, head: &Head, tenant: &TenantId, config: Config) -> Result<Reply, Failure> {
    check(isolate, &config)?;
    let if_match = if_match(head)?;
    // A change to what is not there leaves no trace in the directory.
    if if_match.is_some() && configuration(world, tenant).await.is_err_and(|e| matches!(e, Failure::NotFound { .. })) {
        return Err(Failure::PreconditionFailed { current: 0 });
    }
    // The directory first: a tenant that it does not know would never be cleaned up.
    directory(world, &DirectoryCommand::Add { tenant: tenant.clone() }).await?;
    // A new tenant has the operator's prices from its first version on.
    let book = prices::book(world, None).await?.filter(|book| book.version > 0);
    let known = book.as_ref().map_or(0, |book| book.version);
    let command = Command::PutConfig { config: Box::new(config), if_match, prices: book.map(Box::new) };
    let mut reply = ask(world, tenant, command).await?;
    if matches!(reply, Reply::Configuration { version: 1, .. }) && prices::missed(world, tenant, known).await? {
        reply = configuration(world, tenant).await?;
    }
    match reply {
        Reply::Configuration { version, config, updated_at, secrets, prices } => {
            isolate.learn(tenant, (version, updated_at), (*config).clone(), secrets.clone(), prices.clone());
            Ok(Reply::Configuration { version, config, updated_at, secrets, prices })
        }
        Reply::Conflict { current } => Err(Failure::PreconditionFailed { current }),
        _ => Err(Failure::LedgerUnavailable),
    }
}

pub(super) async fn delete<W: World>(world: &W, isolate: &Isolate, tenant: &TenantId) -> Answer<W> {
    configuration(world, tenant).await?;
    ask(world, tenant, Command::Delete).await?;
    directory(world, &DirectoryCommand::Remove { tenant: tenant.clone() }).await?;
    isolate.forget(tenant);
    Ok(Response::json(200, json!({ "object": "tenant", "id": tenant, "deleted": true }).to_string()))
}
