//! What was counted by minute: usage, and denials.

use super::tenants::configuration;
use super::{Answer, wrong};
use crate::http::{Head, Response};
use crate::ports::World;
use crate::serve::identify::ask;
use serde_json::{Value, json};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::protocol::{Command, Offender, Reply, UsageRow, ViolationRow};
use tollgate_core::units::Timestamp;

/// The asked time: from the minute of `from` on, before `to`. The last hour unless another is asked for.
fn times<W: World>(world: &W, head: &Head) -> Result<(Timestamp, Timestamp), Failure> {
    let now = world.now();
    let time = |name: &str, default: Timestamp| match head.query(name) {
        None => Ok(default),
        Some(text) => Timestamp::from_rfc3339(&text).ok_or_else(|| wrong(name, "is a time such as 2026-01-31T12:00:00Z")),
    };
    Ok((time("from", now.plus(-3_600_000))?, time("to", now.plus(60_000))?))
}

pub(super) async fn usage<W: World>(world: &W, head: &Head, tenant: &TenantId) -> Answer<W> {
    let (from, to) = times(world, head)?;
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

pub(super) async fn violations<W: World>(world: &W, head: &Head, tenant: &TenantId) -> Answer<W> {
    let (from, to) = times(world, head)?;
    configuration(world, tenant).await?;
    let Reply::Violations { rows, top } = ask(world, tenant, Command::Violations { from, to }).await? else {
        return Err(Failure::LedgerUnavailable);
    };
    let row =
        |r: &ViolationRow| json!({ "minute": r.minute.rfc3339(), "key": r.key, "rule": r.rule, "shadow": r.shadow, "count": r.count });
    let rows: Vec<Value> = rows.iter().map(row).collect();
    let top: Vec<Value> = top.iter().map(|o: &Offender| json!({ "key": o.key, "count": o.count })).collect();
    let body = json!({ "object": "list", "interval": "1m", "from": from.rfc3339(), "to": to.rfc3339(), "data": rows, "top": top });
    Ok(Response::json(200, body.to_string()))
}
