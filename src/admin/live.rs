//! Limits and budgets as they are now: what the ledger counts beside what the document says.

use super::tenants::configuration;
use super::{Answer, no_tenant};
use crate::http::Response;
use crate::ports::World;
use crate::serve::identify::ask;
use serde_json::{Value, json};
use tollgate_core::budget::Measure;
use tollgate_core::config::{Algorithm, Budget, Config, Limit, Scope, Span, WhenUnreachable};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::protocol::{BudgetState, Command, LimitState, Live, Reply};
use tollgate_core::units::{Amount, Timestamp};

/// How often both are read until they are of one version. More often, somebody writes without pause.
const MAX_READS: usize = 4;

pub(super) async fn limits<W: World>(world: &W, tenant: &TenantId) -> Answer<W> {
    let (config, live) = read(world, tenant).await?;
    let rows = live.limits.iter().filter_map(|state| Some(limit(config.limits.iter().find(|l| l.id == state.id)?, state)));
    let rows: Vec<Value> = rows.collect();
    Ok(Response::json(200, json!({ "object": "list", "data": rows }).to_string()))
}

pub(super) async fn budgets<W: World>(world: &W, tenant: &TenantId) -> Answer<W> {
    let (config, live) = read(world, tenant).await?;
    let now = world.now();
    let rows = live.budgets.iter().filter_map(|state| Some(budget(now, config.budgets.iter().find(|b| b.id == state.id)?, state)));
    let rows: Vec<Value> = rows.collect();
    let body = json!({ "object": "list", "data": rows, "permits": live.permits, "orphaned_permits": live.orphans });
    Ok(Response::json(200, body.to_string()))
}

/// The state, and the document that it was read under.
async fn read<W: World>(world: &W, tenant: &TenantId) -> Result<(Box<Config>, Live), Failure> {
    for _ in 0..MAX_READS {
        let Reply::Configuration { version, config, .. } = configuration(world, tenant).await? else { break };
        match ask(world, tenant, Command::Live { key_hash: None }).await? {
            // An object of an older version tells none.
            Reply::Live(live) if live.version == version || live.version == 0 => return Ok((config, live)),
            Reply::Live(_) => {}
            _ => return Err(no_tenant(tenant)),
        }
    }
    Err(Failure::LedgerUnavailable)
}

fn limit(rule: &Limit, state: &LimitState) -> Value {
    let concurrent = rule.measure == Measure::Concurrency;
    let amount = |n: u64| if rule.measure.is_money() { json!(Amount::count(n).usd().to_string()) } else { json!(n) };
    json!({
        "id": state.id, "scope": rule.scope, "subject": subject(&state.subject), "key": key(&rule.scope, &state.subject),
        "measure": field(rule.measure), "amount": amount(rule.amount.whole()),
        "window_s": (!concurrent).then_some(rule.window_s), "algorithm": (!concurrent).then_some(rule.algorithm),
        "burst": (rule.algorithm == Algorithm::TokenBucket).then(|| amount(rule.cap().whole())),
        "limit": amount(state.limit), "used": amount(state.limit.saturating_sub(state.remaining)), "remaining": amount(state.remaining),
        "reset_ms": state.reset, "shadow": state.shadow, "fails_open": rule.when_unreachable == WhenUnreachable::Open,
    })
}

/// What is measured, as the document names it.
fn field(measure: Measure) -> Value {
    if measure == Measure::Cost { json!("cost_usd") } else { json!(measure) }
}

/// What an earlier life of the object may have held counts as held.
fn budget(now: Timestamp, rule: &Budget, state: &BudgetState) -> Value {
    let held = state.held.plus(state.orphaned);
    let calendar = match rule.span {
        Span::Calendar(calendar) => Some(calendar),
        Span::Rolling(_) => None,
    };
    // In a rolling budget a crossing is forgotten after its length, like what was spent.
    let lately = |at: Timestamp| rule.span.rolling().is_none_or(|length| now.since(at) < length);
    let thresholds = rule.thresholds.iter().map(|percent| {
        let crossed = state.crossed.iter().find(|c| c.percent == *percent && lately(c.at));
        json!({ "percent": percent, "crossed_at": crossed.map(|c| c.at.rfc3339()) })
    });
    let thresholds: Vec<Value> = thresholds.collect();
    let top_ups = rule.top_ups.iter().filter(|t| now < t.expires_at);
    let top_ups = top_ups.map(|t| json!({ "amount_usd": t.amount_usd.to_string(), "expires_at": t.expires_at.rfc3339() }));
    let top_ups: Vec<Value> = top_ups.collect();
    json!({
        "id": state.id, "scope": rule.scope, "subject": subject(&state.subject), "key": key(&rule.scope, &state.subject),
        "limit_usd": state.limit.to_string(), "top_ups": top_ups, "spent_usd": state.spent.to_string(),
        "held_usd": held.to_string(), "orphaned_usd": state.orphaned.to_string(),
        "remaining_usd": state.limit.minus(state.spent).minus(held).at_least_zero().to_string(),
        "period": calendar.map(|c| c.period), "time_zone": calendar.map(|c| c.zone), "rolling_s": state.rolling_s,
        "period_start": state.period_start.rfc3339(), "resets_at": state.resets_at.map(Timestamp::rfc3339),
        "thresholds": thresholds, "shadow": state.shadow,
    })
}

fn subject(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { json!(text) }
}

/// The gateway key's id, where the rule counts keys.
fn key(scope: &Scope, text: &str) -> Value {
    if *scope == Scope::Key { subject(text) } else { Value::Null }
}
