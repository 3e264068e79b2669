//! Secrets, sealed: the object never sees what is in them. Each change raises the version of the
//! configuration, so that workers that know an older one are told.

use super::{MAX_SECRETS, StoredConfig, Tenant, Write};
use crate::map::Map;
use crate::protocol::{NewSecret, Reply, SecretView};
use crate::secret::Sealed;
use crate::units::Timestamp;
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// A stored secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSecret {
    /// What was given.
    #[serde(flatten)]
    pub given: NewSecret,
    /// When.
    pub updated_at: Timestamp,
}

impl StoredSecret {
    fn view(&self) -> SecretView {
        SecretView {
            name: self.given.name.clone(),
            key_id: Sealed::key_id_of(&self.given.sealed).to_owned(),
            last4: self.given.last4.clone(),
            updated_at: self.updated_at,
        }
    }
}

impl Tenant {
    /// Sealed texts by name.
    pub(super) fn sealed(&self) -> Map<String, String> {
        self.secrets.iter().map(|(name, secret)| (name.clone(), secret.given.sealed.clone())).collect()
    }

    pub(super) fn put_secret(&mut self, now: Timestamp, new: NewSecret, writes: &mut Vec<Write>) -> Reply {
        if self.config.is_none() {
            return Reply::NoTenant;
        }
        // The same message again: no two sealed texts are equal by chance.
        if let Some(known) = self.secrets.get(&new.name).filter(|known| known.given.sealed == new.sealed) {
            return Reply::Secret(known.view());
        }
        if self.secrets.len() >= MAX_SECRETS && !self.secrets.contains_key(&new.name) {
            return Reply::TooMany { bound: u64::try_from(MAX_SECRETS).unwrap_or(u64::MAX) };
        }
        let secret = StoredSecret { given: new, updated_at: now };
        let view = secret.view();
        writes.push(Write::Secret(Box::new(secret.clone())));
        self.secrets.insert(view.name.clone(), secret);
        self.raise_version(now, writes);
        Reply::Secret(view)
    }

    /// By name.
    pub(super) fn list_secrets(&self) -> Reply {
        match self.config {
            None => Reply::NoTenant,
            Some(_) => Reply::Secrets { secrets: self.secrets.values().map(StoredSecret::view).collect() },
        }
    }

    /// Not one that the configuration names: who removes it there first knows what stops.
    pub(super) fn delete_secret(&mut self, now: Timestamp, name: &str, writes: &mut Vec<Write>) -> Reply {
        let Some(stored) = &self.config else { return Reply::NoTenant };
        if !self.secrets.contains_key(name) {
            return Reply::NotFound;
        }
        if let Some(place) = stored.config.place_of_secret(name) {
            return Reply::InUse { place };
        }
        self.secrets.remove(name);
        writes.push(Write::Unsecret { name: name.to_owned() });
        self.raise_version(now, writes);
        Reply::Done
    }

    /// The same document under the next version. The ledger's rules stay, so nothing in it moves.
    pub(super) fn raise_version(&mut self, now: Timestamp, writes: &mut Vec<Write>) {
        let Some(stored) = &self.config else { return };
        let next = StoredConfig { version: stored.version.saturating_add(1), at: now, config: stored.config.clone() };
        writes.push(Write::Config(Box::new(next.clone())));
        self.config = Some(Rc::new(next));
    }
}
