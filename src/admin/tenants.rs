//! Tenants and their configuration.

use super::{Answer, body, directory, no_tenant, object};
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use crate::serve::identify::ask;
use crate::serve::usage;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tollgate_core::config::Config;
use tollgate_core::directory::{DirectoryCommand, DirectoryReply, MAX_PAGE, TenantRow};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::protocol::{Command, Live, Reply, UsageRow};
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
        Some(text) => text.parse().ok().filter(|n| (1..=MAX_PAGE).contains(n)).ok_or_else(|| Failure::InvalidRequest {
            param: "limit".to_owned(),
            why: format!("is a whole number between 1 and {MAX_PAGE}"),
        })?,
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
    })
}

async fn configuration<W: World>(world: &W, tenant: &TenantId) -> Result<Reply, Failure> {
    match ask(world, tenant, Command::Configuration).await? {
        reply @ Reply::Configuration { .. } => Ok(reply),
        _ => Err(no_tenant(tenant)),
    }
}

/// The document with its version.
fn document<A>(status: u16, tenant: &TenantId, reply: Reply) -> Result<Response<A>, Failure> {
    let Reply::Configuration { version, config, updated_at } = reply else { return Err(Failure::LedgerUnavailable) };
    let body = json!({ "object": "tenant", "id": tenant, "version": version, "updated_at": updated_at.rfc3339(), "config": config });
    Ok(Response::json(status, body.to_string()).with("etag", format!("\"{version}\"")))
}

pub(super) async fn get<W: World>(world: &W, tenant: &TenantId) -> Answer<W> {
    document(200, tenant, configuration(world, tenant).await?)
}

pub(super) async fn config<W: World>(world: &W, tenant: &TenantId) -> Answer<W> {
    let Reply::Configuration { version, config, .. } = configuration(world, tenant).await? else { return Err(Failure::LedgerUnavailable) };
    let body = serde_json::to_string(&config).map_err(|_| Failure::Internal)?;
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

async fn store<W: World>(world: &W, isolate: &Isolate, head: &Head, tenant: &TenantId, config: Config) -> Result<Reply, Failure> {
    config.validate().map_err(|e| Failure::InvalidRequest { param: e.param, why: e.message })?;
    let if_match = match head.header("if-match") {
        None | Some("*") => None,
        Some(tag) => Some(tag.trim_matches('"').parse().map_err(|_| Failure::InvalidRequest {
            param: "if-match".to_owned(),
            why: "is the ETag of the configuration that was read".to_owned(),
        })?),
    };
    // A change to what is not there leaves no trace in the directory.
    if if_match.is_some() && configuration(world, tenant).await.is_err_and(|e| matches!(e, Failure::NotFound { .. })) {
        return Err(Failure::PreconditionFailed { current: 0 });
    }
    // The directory first: a tenant that it does not know would never be cleaned up.
    directory(world, &DirectoryCommand::Add { tenant: tenant.clone() }).await?;
    match ask(world, tenant, Command::PutConfig { config: Box::new(config), if_match }).await? {
        Reply::Configuration { version, config, updated_at } => {
            isolate.learn(tenant, version, (*config).clone());
            Ok(Reply::Configuration { version, config, updated_at })
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

async fn live<W: World>(world: &W, tenant: &TenantId) -> Result<Live, Failure> {
    match ask(world, tenant, Command::Live { key_hash: None }).await? {
        Reply::Live(live) => Ok(live),
        _ => Err(no_tenant(tenant)),
    }
}

pub(super) async fn limits<W: World>(world: &W, tenant: &TenantId) -> Answer<W> {
    let live = live(world, tenant).await?;
    Ok(Response::json(200, json!({ "object": "list", "data": usage::limits(&live) }).to_string()))
}

pub(super) async fn budgets<W: World>(world: &W, tenant: &TenantId) -> Answer<W> {
    let live = live(world, tenant).await?;
    let body = json!({ "object": "list", "data": usage::budgets(&live), "permits": live.permits, "orphaned_permits": live.orphans });
    Ok(Response::json(200, body.to_string()))
}

pub(super) async fn usage<W: World>(world: &W, head: &Head, tenant: &TenantId) -> Answer<W> {
    let now = world.now();
    let time = |name: &str, default: Timestamp| match head.query(name) {
        None => Ok(default),
        Some(text) => Timestamp::from_rfc3339(&text)
            .ok_or_else(|| Failure::InvalidRequest { param: name.to_owned(), why: "is a time such as 2026-01-31T12:00:00Z".to_owned() }),
    };
    let (from, to) = (time("from", now.plus(-3_600_000))?, time("to", now.plus(60_000))?);
    configuration(world, tenant).await?;
    let Reply::Usage { rows } = ask(world, tenant, Command::Usage { from, to }).await? else { return Err(Failure::LedgerUnavailable) };
    let row = |r: &UsageRow| {
        json!({
            "minute": r.minute.rfc3339(), "key": r.key, "provider": r.provider, "model": r.model, "status": r.status, "outcome": r.outcome,
            "requests": r.counts.requests, "input_tokens": r.counts.input_tokens, "output_tokens": r.counts.output_tokens,
            "cost_usd": r.counts.cost.to_string(), "latency_ms_sum": r.counts.latency_ms,
        })
    };
    let rows: Vec<Value> = rows.iter().map(row).collect();
    let body = json!({ "object": "list", "interval": "1m", "from": from.rfc3339(), "to": to.rfc3339(), "data": rows });
    Ok(Response::json(200, body.to_string()))
}
