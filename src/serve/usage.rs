//! `GET /v1/usage`: the calling key's own limits and budgets.

use super::identify::{caller, live};
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use serde_json::{Value, json};
use tollgate_core::budget::Measure;
use tollgate_core::failure::Failure;
use tollgate_core::protocol::{BudgetState, LimitState, Live};
use tollgate_core::units::{Amount, Timestamp};

/// The key's limits and budgets, holds included.
///
/// # Errors
/// If the key does not work.
pub async fn of_key<W: World>(world: &W, isolate: &Isolate, head: &Head) -> Result<Response<W::Answer>, Failure> {
    let live = live(world, &caller(isolate, head)?).await?;
    Ok(Response::json(200, json!({ "object": "usage", "key": live.key, "limits": limits(&live), "budgets": budgets(&live) }).to_string()))
}

/// Limits as JSON: counts, and money as decimal strings.
fn limits(live: &Live) -> Vec<Value> {
    let one = |l: &LimitState| {
        let amount = |n: u64| if l.measure.is_money() { json!(Amount::count(n).usd().to_string()) } else { json!(n) };
        let measure = if l.measure == Measure::Cost { json!("cost_usd") } else { json!(l.measure) };
        json!({
            "id": l.id, "subject": subject(&l.subject), "key": key(live, &l.subject), "measure": measure, "limit": amount(l.limit),
            "window_s": l.window_s, "remaining": amount(l.remaining), "used": amount(l.limit.saturating_sub(l.remaining)),
            "reset_ms": l.reset, "shadow": l.shadow,
        })
    };
    live.limits.iter().map(one).collect()
}

/// Budgets as JSON. What an earlier life of the object may have held counts as held.
fn budgets(live: &Live) -> Vec<Value> {
    let one = |b: &BudgetState| {
        let held = b.held.plus(b.orphaned);
        json!({
            "id": b.id, "subject": subject(&b.subject), "key": key(live, &b.subject), "limit_usd": b.limit.to_string(),
            "spent_usd": b.spent.to_string(), "held_usd": held.to_string(),
            "remaining_usd": b.limit.minus(b.spent).minus(held).at_least_zero().to_string(),
            "period_start": b.period_start.rfc3339(), "resets_at": b.resets_at.map(Timestamp::rfc3339),
            "rolling_s": b.rolling_s, "shadow": b.shadow,
        })
    };
    live.budgets.iter().map(one).collect()
}

/// Whose share it is; null for the tenant as a whole.
fn subject(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { json!(text) }
}

/// The calling key's id, where the share is its own.
fn key(live: &Live, text: &str) -> Value {
    if live.key.as_deref() == Some(text) { json!(text) } else { Value::Null }
}
