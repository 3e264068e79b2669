//! `GET /v1/usage`: the calling key's own limits and budgets.

use super::identify::{caller, live};
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use serde_json::{Value, json};
use tollgate_core::failure::Failure;
use tollgate_core::protocol::{BudgetState, LimitState, Live};

/// The key's limits and budgets, holds included.
///
/// # Errors
/// If the key does not work.
pub async fn of_key<W: World>(world: &W, isolate: &Isolate, head: &Head) -> Result<Response<W::Answer>, Failure> {
    let live = live(world, &caller(isolate, head)?).await?;
    Ok(Response::json(200, json!({ "object": "usage", "key": live.key, "limits": limits(&live), "budgets": budgets(&live) }).to_string()))
}

/// Limits as JSON.
pub fn limits(live: &Live) -> Vec<Value> {
    let one = |l: &LimitState| {
        json!({
            "id": l.id, "key": subject(&l.subject), "limit": l.limit, "window_s": l.window_s, "remaining": l.remaining,
            "used": l.limit.saturating_sub(l.remaining), "reset_ms": l.reset,
        })
    };
    live.limits.iter().map(one).collect()
}

/// Budgets as JSON. What an earlier life of the object may have held counts as held.
pub fn budgets(live: &Live) -> Vec<Value> {
    let one = |b: &BudgetState| {
        let held = b.held.plus(b.orphaned);
        json!({
            "id": b.id, "key": subject(&b.subject), "limit_usd": b.limit.to_string(), "spent_usd": b.spent.to_string(),
            "held_usd": held.to_string(), "remaining_usd": b.limit.minus(b.spent).minus(held).at_least_zero().to_string(),
            "period_start": b.period_start.rfc3339(), "resets_at": b.resets_at.map(|t| t.rfc3339()),
        })
    };
    live.budgets.iter().map(one).collect()
}

fn subject(key: &str) -> Value {
    if key.is_empty() { Value::Null } else { json!(key) }
}
