//! Gateway keys.

use super::{MAX_KEYS, Tenant, Write};
use crate::map::sort_by;
use crate::protocol::{KeyChange, KeyView, NewKey, Reply};
use crate::units::Timestamp;
use serde::{Deserialize, Serialize};

/// A stored key: everything but the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// HMAC of the key.
    pub hash: String,
    /// What operators see.
    #[serde(flatten)]
    pub view: KeyView,
}

impl std::ops::Deref for Key {
    type Target = KeyView;
    fn deref(&self) -> &KeyView {
        &self.view
    }
}

impl Key {
    /// Whether it opens anything at `now`.
    pub fn works(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }

    /// Whether it may use a model by this name.
    pub fn may_use(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|m| m == model)
    }
}

impl Tenant {
    pub(super) fn create_key(&mut self, now: Timestamp, new: NewKey, writes: &mut Vec<Write>) -> Reply {
        if self.config.is_none() {
            return Reply::NoTenant;
        }
        // The same message again must not open what was revoked in between.
        if let Some(known) = self.keys.get(&new.hash) {
            return Reply::Key(known.view.clone());
        }
        if self.keys.len() >= MAX_KEYS {
            return Reply::TooMany { bound: u64::try_from(MAX_KEYS).unwrap_or(u64::MAX) };
        }
        let view = KeyView {
            id: new.id,
            name: new.name,
            prefix: new.prefix,
            last4: new.last4,
            models: new.models,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
            critical: new.critical,
            metadata: new.metadata,
        };
        let key = Key { hash: new.hash, view };
        writes.push(Write::Key(Box::new(key.clone())));
        let view = key.view.clone();
        self.keys.insert(key.hash.clone(), key);
        Reply::Key(view)
    }

    pub(super) fn list_keys(&self) -> Reply {
        if self.config.is_none() {
            return Reply::NoTenant;
        }
        let mut keys: Vec<KeyView> = self.keys.values().map(|k| k.view.clone()).collect();
        sort_by(&mut keys, |a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Reply::Keys { keys }
    }

    /// Changes what is given, at once. A revoked key is not changed any more: the reply shows that it is
    /// revoked.
    pub(super) fn update_key(&mut self, change: KeyChange, writes: &mut Vec<Write>) -> Reply {
        let Some(key) = self.keys.values_mut().find(|k| k.view.id == change.id) else {
            return Reply::NotFound;
        };
        if key.view.revoked_at.is_some() {
            return Reply::Key(key.view.clone());
        }
        let view = &mut key.view;
        let before = view.clone();
        view.name = change.name.unwrap_or_else(|| before.name.clone());
        view.models = change.models.unwrap_or_else(|| before.models.clone());
        view.expires_at = if change.never_expires { None } else { change.expires_at.or(before.expires_at) };
        view.critical = change.critical.unwrap_or(before.critical);
        view.metadata = change.metadata.unwrap_or_else(|| before.metadata.clone());
        if *view != before {
            writes.push(Write::Key(Box::new(key.clone())));
        }
        Reply::Key(key.view.clone())
    }

    /// Revokes at once: the next admission already sees it. A second time changes nothing.
    pub(super) fn revoke_key(&mut self, now: Timestamp, id: &str, writes: &mut Vec<Write>) -> Reply {
        let Some(key) = self.keys.values_mut().find(|k| k.view.id == id) else {
            return Reply::NotFound;
        };
        if key.view.revoked_at.is_none() {
            key.view.revoked_at = Some(now);
            writes.push(Write::Key(Box::new(key.clone())));
        }
        Reply::Key(key.view.clone())
    }
}
