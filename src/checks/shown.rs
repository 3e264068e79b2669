//! What operators are shown of providers' health.

use super::{How, found, how, policy};
use crate::isolate::{Isolate, KnownConfig};
use crate::ports::World;
use serde_json::{Value, json};
use tollgate_core::catalog::Provider;
use tollgate_core::checks::{Checks, Policy, Row};
use tollgate_core::units::Timestamp;

/// What checks have found, and how they are made.
pub struct Shown {
    policy: Result<Policy, String>,
    checks: Option<Box<Checks>>,
    known: KnownConfig,
    now: Timestamp,
}

impl Shown {
    /// As it is now.
    pub async fn new<W: World>(world: &W, isolate: &Isolate) -> Shown {
        Shown { policy: policy(isolate), checks: found(world).await, known: isolate.operators(), now: world.now() }
    }

    /// Whether the directory answered.
    pub fn answered(&self) -> bool {
        self.checks.is_some()
    }

    fn row(&self, provider: &str) -> Option<&Row> {
        self.checks.as_ref()?.row(provider)
    }

    /// The operator's word, while checks are made.
    fn active(&self) -> Option<&Policy> {
        self.policy.as_ref().ok().filter(|policy| policy.interval > 0)
    }

    /// Whether checks find it failing: twice in a row, and lately.
    pub fn failing(&self, provider: &str) -> bool {
        let row = self.active().zip(self.row(provider));
        row.is_some_and(|(policy, row)| row.failing(self.now, policy))
    }

    fn how(&self, isolate: &Isolate, name: &str, row: &Provider) -> Result<How, String> {
        match (&self.policy, self.active()) {
            (Err(why), _) => Err(why.clone()),
            (_, None) => Err("checks are switched off (TOLLGATE_HEALTH_INTERVAL_S)".to_owned()),
            (_, Some(policy)) => how(isolate, &self.known, policy, name, row, self.now),
        }
    }

    /// What anybody may see of a provider: its state, how long its answer took, and when that was.
    pub fn brief(&self, isolate: &Isolate, name: &str, row: &Provider) -> Value {
        let Ok(how) = self.how(isolate, name, row) else { return json!({ "state": "unchecked" }) };
        let Some((row, state)) = self.row(name).and_then(|row| Some((row, row.state?))) else {
            let state = if self.broke(&how) { "unchecked" } else { "not_yet_checked" };
            return json!({ "state": state });
        };
        json!({ "state": state.as_str(), "latency_ms": row.latency_ms, "checked_at": row.at.rfc3339() })
    }

    /// All that is known of a provider's health.
    pub fn full(&self, isolate: &Isolate, name: &str, row: &Provider) -> Value {
        let mut told = self.brief(isolate, name, row);
        let how = self.how(isolate, name, row);
        let by = how.as_ref().ok().map(How::name);
        let seen = self.row(name).filter(|row| row.state.is_some() && how.is_ok());
        let policy = self.active();
        let why = match &how {
            Err(why) => Some(why.clone()),
            Ok(how) if self.broke(how) => Some("today's budget does not cover it (TOLLGATE_HEALTH_BUDGET_USD)".to_owned()),
            Ok(_) => seen.map(|row| row.why.clone()).filter(|why| !why.is_empty()),
        };
        let next = policy.zip(seen).map(|(policy, row)| row.next(policy).rfc3339());
        let more = json!({
            "by": by, "status": seen.map(|row| row.status).filter(|status| *status > 0), "since": seen.map(|row| row.since.rfc3339()),
            "failures": seen.map_or(0, |row| row.failures), "believed": policy.zip(seen).is_some_and(|(policy, row)| row.fresh(self.now, policy)),
            "next_check_at": next, "why": why,
        });
        add(&mut told, more);
        told
    }

    /// Whether today's budget does not cover another check.
    fn broke(&self, how: &How) -> bool {
        let (Some(policy), Some(checks)) = (self.active(), &self.checks) else { return false };
        how.worst().get() > 0 && checks.spent(self.now).plus(how.worst()) > policy.budget
    }

    /// For operators: every provider that is configured, and the money.
    pub fn all(&self, isolate: &Isolate) -> Value {
        let configured = isolate.catalog.providers().filter(|(name, row)| isolate.configured(name, row));
        let data: Vec<Value> = configured.map(|(name, row)| named(name, self.full(isolate, name, row))).collect();
        let policy = self.policy.as_ref().ok();
        json!({
            "object": "health", "data": data, "problem": self.policy.as_ref().err(),
            "interval_s": policy.map(|p| p.interval.checked_div(1_000)), "budget_usd": policy.map(|p| p.budget.to_string()),
            "spent_today_usd": self.checks.as_ref().map(|checks| checks.spent(self.now).to_string()),
        })
    }
}

/// With the provider's name.
pub fn named(provider: &str, mut told: Value) -> Value {
    add(&mut told, json!({ "provider": provider }));
    told
}

fn add(told: &mut Value, more: Value) {
    if let (Value::Object(told), Value::Object(more)) = (told, more) {
        told.extend(more);
    }
}
