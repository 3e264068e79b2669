//! What makes two requests the same, and which answers may be kept.

use crate::auth::digest;
use crate::dialect::json::from_bytes;
use crate::ids::TenantId;
use crate::price::Usage;
use crate::units::Timestamp;
use serde::{Deserialize, Serialize};

/// Largest answer that is kept, in bytes.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// How a caller wants the cache to be used: `x-tollgate-cache`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Answer from it, store into it.
    #[default]
    Use,
    /// Leave it alone.
    Skip,
    /// Ask the provider, store the answer.
    Refresh,
    /// Answer from it or not at all.
    Only,
}

impl Mode {
    /// Reads the header's value.
    pub fn read(text: &str) -> Option<Mode> {
        match text {
            "use" => Some(Mode::Use),
            "skip" => Some(Mode::Skip),
            "refresh" => Some(Mode::Refresh),
            "only" => Some(Mode::Only),
            _ => None,
        }
    }

    /// Whether a stored answer may be used.
    pub fn reads(self) -> bool {
        matches!(self, Mode::Use | Mode::Only)
    }

    /// Whether an answer may be stored.
    pub fn writes(self) -> bool {
        matches!(self, Mode::Use | Mode::Refresh)
    }
}

/// The name of a stored answer. There is no way to make one without a tenant.
///
/// SHA-256 over length-prefixed fields, so that no two lists of fields run together; in hex under 512
/// bytes, as KV wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheKey(String);

impl CacheKey {
    /// The key of a request to `path` that goes to `targets`. `None` if the body is not plain JSON.
    ///
    /// The body is compared as a value: the order of fields and white space between them do not
    /// matter, all else does. `headers` are those that go on to the provider.
    pub fn new(tenant: &TenantId, path: &str, targets: &[String], headers: &[(&str, String)], body: &[u8]) -> Option<CacheKey> {
        // A map of serde_json is sorted by name, so writing it out is canonical.
        let value: serde_json::Value = from_bytes(body)?;
        let body = crate::text::to_json(&value).ok()?.into_bytes();
        let count = targets.len().to_string();
        let mut fields: Vec<&[u8]> = vec![b"tollgate answer 1", tenant.as_str().as_bytes(), path.as_bytes(), count.as_bytes()];
        fields.extend(targets.iter().map(String::as_bytes));
        fields.extend(headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
        fields.push(&body);
        Some(CacheKey(format!("a1/{tenant}/{}", digest(&fields))))
    }

    /// The name in KV.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is stored beside an answer's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The tenant, checked again when read.
    pub tenant: TenantId,
    /// Content type.
    pub content_type: String,
    /// Who answered.
    pub provider: String,
    /// Model as the provider names it.
    pub model: String,
    /// When it stops being an answer. KV may keep it longer.
    pub expires_at: Timestamp,
    /// Length of the answer: a shorter one is no answer.
    pub bytes: usize,
    /// What it used when it was made.
    #[serde(default)]
    pub usage: Usage,
}

impl Kept {
    /// Whether this may be given to `tenant` at `now`.
    pub fn serves(&self, tenant: &TenantId, now: Timestamp, bytes: usize) -> bool {
        now < self.expires_at && self.is_of(tenant, bytes)
    }

    /// Whether this is a whole answer of `tenant`, however old.
    pub fn is_of(&self, tenant: &TenantId, bytes: usize) -> bool {
        self.tenant == *tenant && self.bytes == bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(tenant: &str, targets: &[&str], body: &str) -> Option<CacheKey> {
        let targets: Vec<String> = targets.iter().map(|t| (*t).to_owned()).collect();
        CacheKey::new(&TenantId::parse(tenant).unwrap(), "/v1/chat/completions", &targets, &[], body.as_bytes())
    }

    #[test]
    fn the_same_request_has_the_same_key_in_any_order() {
        assert_eq!(key("a", &["p/m"], r#"{"a":1,"b":[1,2]}"#), key("a", &["p/m"], "{\"b\": [1, 2],\n\"a\":1}"));
        assert!(key("a", &["p/m"], "{").is_none());
        assert!(key("a", &["p/m"], "{}").unwrap().as_str().len() < 512);
    }

    #[test]
    fn whatever_differs_makes_another_key() {
        let all = [
            key("a", &["p/m"], r#"{"a":1}"#),
            key("b", &["p/m"], r#"{"a":1}"#),
            key("a", &["p/n"], r#"{"a":1}"#),
            key("a", &["p/m", "p/n"], r#"{"a":1}"#),
            key("a", &["p/mp/n"], r#"{"a":1}"#),
            key("a", &["p/m"], r#"{"a":2}"#),
            key("a", &["p/m"], r#"{"a":1,"stream":true}"#),
            key("a", &["p/m"], r#"{"a":"1"}"#),
            key("a", &["p/m"], r#"{"a":[1]}"#),
        ];
        let acme = TenantId::parse("a").unwrap();
        let beta =
            |value: &str| CacheKey::new(&acme, "/v1/chat/completions", &["p/m".to_owned()], &[("anthropic-beta", value.to_owned())], b"{}");
        let all = [all.as_slice(), &[beta("x"), beta("y")]].concat();
        let distinct: crate::map::Set<_> = all.iter().flatten().collect();
        assert_eq!(distinct.len(), all.len());
    }

    proptest! {
        #[test]
        fn two_tenants_never_share(a in "[a-z]{1,8}", b in "[a-z]{1,8}", body in "[a-z]{0,8}") {
            prop_assume!(a != b);
            let body = serde_json::json!({ "x": body }).to_string();
            prop_assert_ne!(key(&a, &["p/m"], &body), key(&b, &["p/m"], &body));
        }
    }
}
