//! Station 3: is there a stored answer? Asked before admission, so that a hit holds no money.

use super::read::Call;
use crate::ports::ResponseCache;
use tollgate_core::cache::{CacheKey, Kept};
use tollgate_core::config::CachePolicy;
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
    /// For how long, in seconds.
    pub ttl_s: u32,
}

/// The slot of a request, if the tenant keeps answers and the caller does not object.
pub fn slot(tenant: &TenantId, policy: CachePolicy, plan: &Plan, call: &Call) -> Option<Slot> {
    if !policy.enabled || !(call.cache.reads() || call.cache.writes()) {
        return None;
    }
    let targets: Vec<String> = plan.targets.iter().map(|t| format!("{}/{}", t.provider, t.model)).collect();
    let key = CacheKey::new(tenant, "/v1/chat/completions", &targets, &call.body)?;
    Some(Slot { key, ttl_s: call.cache_ttl_s.unwrap_or(policy.ttl_s) })
}

/// Looks into the slot.
pub async fn look_up<W: ResponseCache>(world: &W, tenant: &TenantId, slot: &Slot, now: Timestamp) -> Option<Found<W::Answer>> {
    let (kept, bytes, answer) = world.get(&slot.key).await?;
    kept.serves(tenant, now, bytes.len()).then_some(Found { kept, bytes, answer })
}
