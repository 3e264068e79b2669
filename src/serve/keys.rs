//! Which keys a provider is asked with: the tenant's where its document names some, else the operator's.

use crate::isolate::{Isolate, KnownConfig};
use crate::ports::{Event, Vault};
use crate::vault;
use serde_json::json;
use std::rc::Rc;
use tollgate_core::catalog::Auth;
use tollgate_core::ids::TenantId;
use tollgate_core::keyring::Ring;

/// The keys of a provider for this tenant. Empty only for a provider that wants none.
///
/// What they come to is remembered with the configuration: a changed secret is a new version of it.
///
/// # Errors
/// Why there is none, for the client: it names a variable or a secret, and nothing of what is in it.
pub async fn provider_keys<W: Vault + Event>(
    world: &W,
    isolate: &Isolate,
    tenant: &TenantId,
    known: &KnownConfig,
    provider: &str,
) -> Result<Rc<Ring>, String> {
    let row = known.catalog.provider(provider).ok_or("not configured")?;
    let named = known.config.providers.get(provider).map(|own| own.keys.as_slice()).unwrap_or_default();
    if !named.is_empty() {
        if let Some(ring) = known.ring(provider) {
            return ring;
        }
        let ring = tenants_keys(world, isolate, tenant, known, provider, named).await;
        known.remember_ring(provider, &ring);
        return ring;
    }
    if row.auth() == Auth::None {
        return Ok(Rc::default());
    }
    if row.api_key_env.is_empty() {
        return Err("no API key is configured".to_owned());
    }
    let ring = isolate.own_keys(provider, &row.api_key_env);
    if ring.keys().is_empty() { Err(format!("no API key is configured ({})", row.api_key_env)) } else { Ok(ring) }
}

/// The secrets that are there and open. One that does not is logged, and the others are used.
async fn tenants_keys<W: Vault + Event>(
    world: &W,
    isolate: &Isolate,
    tenant: &TenantId,
    known: &KnownConfig,
    provider: &str,
    named: &[String],
) -> Result<Rc<Ring>, String> {
    let (mut keys, mut told) = (Vec::new(), String::new());
    for name in named {
        let Some(sealed) = known.secrets.get(name) else {
            told = format!("no API key is configured (secret `{name}` of the tenant)");
            continue;
        };
        match vault::open(world, isolate, tenant, name, sealed).await {
            Ok(secret) => keys.push((name.clone(), secret)),
            Err(why) => {
                told = format!("its API key cannot be opened (secret `{name}` of the tenant)");
                let line = json!({
                    "level": "error", "event": "secret_not_opened", "tenant": tenant, "provider": provider, "secret": name, "message": why.to_string(),
                });
                world.log(&line.to_string());
            }
        }
    }
    if keys.is_empty() { Err(told) } else { Ok(Rc::new(Ring::new(tenant.as_str(), provider, keys))) }
}
