//! Secrets of a tenant, as they travel: sealed, never plain.

use crate::units::Timestamp;
use serde::{Deserialize, Serialize};

/// A secret to be stored, in place of one with the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSecret {
    /// Its name.
    pub name: String,
    /// The sealed text ([`crate::secret::Sealed`]).
    pub sealed: String,
    /// The last four characters of what was sealed, if it is long enough to show them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last4: Option<String>,
}

/// A secret as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// Id of the key that it is sealed with.
    pub key_id: String,
    /// The last four characters, if it is long enough to show them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last4: Option<String>,
    /// When it was stored.
    pub updated_at: Timestamp,
}
