//! Station 3: is there a stored answer? Asked before admission, so that a hit holds no money.

use super::read::Call;
use crate::ports::ResponseCache;
use tollgate_core::cache::{CacheKey, Kept};
use tollgate_core::config::{Config, Step};
use tollgate_core::ids::TenantId;
use tollgate_core::plan::Plan;
use tollgate_core::units::Timestamp;

/// A stored answer.
#[derive(Debug)]
pub struct Found<A> {
    /// What is known of it.
    pub kept: Kept,
    /// The answer's bytes.
    pub bytes: Vec<u8>,
    /// The same, where the outside world has them.
    pub answer: A,
}

/// Where the answer to this request is, or will be, stored.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Its name.
    pub key: CacheKey,
    /// For how long it is an answer, in seconds.
    pub ttl_s: u32,
    /// For how long it is kept for those whom a rule gives an old one, in seconds.
    pub keep_s: u32,
}

/// Seconds that an answer is kept beyond its time, where a rule has the step `cache`.
const STALE_S: u32 = 86_400;

/// The slot of a request, if the tenant keeps answers and the caller does not object.
pub fn slot(tenant: &TenantId, config: &Config, plan: &Plan, call: &Call) -> Option<Slot> {
    let policy = config.cache;
    if !policy.enabled || !call.request.repeatable || !(call.cache.reads() || call.cache.writes()) {
        return None;
    }
    let targets: Vec<String> = plan.targets.iter().map(|t| format!("{}/{}", t.provider, t.model)).collect();
    let key = CacheKey::new(tenant, call.request.endpoint.path(), &targets, &call.forward, &call.body)?;
    let ttl_s = call.cache_ttl_s.unwrap_or(policy.ttl_s);
    let steps = config.limits.iter().map(|l| &l.when_exceeded).chain(config.budgets.iter().map(|b| &b.when_exceeded));
    let stale = steps.flatten().any(|step| *step == Step::Cache);
    Some(Slot { key, ttl_s, keep_s: if stale { ttl_s.saturating_add(STALE_S) } else { ttl_s } })
}

/// Looks into the slot for an answer that is fresh at `now`, or for any.
pub async fn look_up<W: ResponseCache>(world: &W, tenant: &TenantId, slot: &Slot, now: Option<Timestamp>) -> Option<Found<W::Answer>> {
    let (kept, bytes, answer) = world.get(&slot.key).await?;
    let good = match now {
        Some(now) => kept.serves(tenant, now, bytes.len()),
        None => kept.is_of(tenant, bytes.len()),
    };
    good.then_some(Found { kept, bytes, answer })
}
