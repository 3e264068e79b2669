//! Station 1: who is asking? The key's shape and checksum are looked at here; whether it works, the
//! tenant's object decides at admission.

use crate::http::Head;
use crate::isolate::Isolate;
use crate::ports::Objects;
use std::rc::Rc;
use tollgate_core::auth;
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::protocol::{Command, Live, Reply, read_reply, write_message};

/// Somebody with a well-formed key.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whose key it says it is.
    pub tenant: TenantId,
    /// HMAC of the key.
    pub key_hash: Rc<str>,
}

/// Reads the key.
///
/// # Errors
/// [`Failure::InvalidApiKey`], or [`Failure::NotConfigured`] without a pepper.
pub fn caller(isolate: &Isolate, head: &Head) -> Result<Caller, Failure> {
    let key = head.credential().ok_or(Failure::InvalidApiKey)?;
    let tenant = auth::parse(key).map_err(|_| Failure::InvalidApiKey)?;
    let key_hash = isolate.hash(key).ok_or_else(|| Failure::NotConfigured {
        why: "The secret TOLLGATE_KEY_PEPPER is not set, so no gateway key can be checked. The operator has to set it.".to_owned(),
    })?;
    Ok(Caller { tenant, key_hash })
}

/// Asks a tenant's object.
///
/// # Errors
/// [`Failure::LedgerUnavailable`] or [`Failure::Overloaded`].
pub async fn ask<W: Objects>(world: &W, tenant: &TenantId, command: Command) -> Result<Reply, Failure> {
    tell(world, tenant, &command).await
}

/// Tells a tenant's object, perhaps again.
///
/// # Errors
/// As [`ask`].
pub async fn tell<W: Objects>(world: &W, tenant: &TenantId, command: &Command) -> Result<Reply, Failure> {
    let message = write_message(tenant, command).map_err(|_| Failure::Internal)?;
    let reply = world.tenant(tenant, &message).await.map_err(|e| match e {
        crate::ports::Unavailable::Overloaded => Failure::Overloaded,
        _ => Failure::LedgerUnavailable,
    })?;
    match read_reply(&reply) {
        Ok(Reply::Failed { .. }) | Err(_) => Err(Failure::LedgerUnavailable),
        Ok(reply) => Ok(reply),
    }
}

/// The live state of the caller's key: proof that it works.
///
/// # Errors
/// [`Failure::InvalidApiKey`] if it does not.
pub async fn live<W: Objects>(world: &W, caller: &Caller) -> Result<Live, Failure> {
    match ask(world, &caller.tenant, Command::Live { key_hash: Some(caller.key_hash.to_string()) }).await? {
        Reply::Live(live) => Ok(live),
        _ => Err(Failure::InvalidApiKey),
    }
}

/// `failure`, unless the key does not work: then that.
pub async fn or_invalid_key<W: Objects>(world: &W, caller: &Caller, failure: Failure) -> Failure {
    live(world, caller).await.err().unwrap_or(failure)
}
