//! Names: tenants, permits, requests.

use crate::units::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A tenant's name: `[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?`. Never an underscore, so that a gateway key
/// splits in one way only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

impl TenantId {
    /// Checks the form.
    pub fn parse(text: &str) -> Option<TenantId> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ok = (1..=32).contains(&text.len())
            && text.bytes().all(|b| inner(b) || b == b'-')
            && text.bytes().next().is_some_and(inner)
            && text.bytes().last().is_some_and(inner);
        ok.then(|| TenantId(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TenantId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        TenantId::parse(&text).ok_or_else(|| format!("not a tenant id: {text}"))
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> String {
        id.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A permit's name: the life of the object that issued it (`epoch`, counted from 1) and a running
/// number inside that life. Ordered as issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PermitId {
    /// Which life of the tenant's object issued it.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Running number in that life, from 1.
    #[serde(rename = "s")]
    pub seq: u64,
}

impl fmt::Display for PermitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A ULID (26 characters of Crockford base 32): 48 bits of time, 80 random bits.
///
/// Source: <https://github.com/ulid/spec>.
pub fn ulid(now: Timestamp, random: u128) -> String {
    let time = now.0.max(0).unsigned_abs() & ((1 << 48) - 1);
    let part = |bits: u128| u64::try_from(bits & ((1 << 40) - 1)).unwrap_or(0);
    let mut out = String::with_capacity(26);
    // In three parts of whole digits that fit into a word.
    for (bits, digits) in [(time, 10_u32), (part(random >> 40), 8), (part(random), 8)] {
        for place in (0..digits).rev() {
            let digit = bits.checked_shr(place.saturating_mul(5)).unwrap_or(0) & 31;
            out.push(usize::try_from(digit).ok().and_then(|digit| CROCKFORD.get(digit)).map_or('0', |b| char::from(*b)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_names() {
        for good in ["a", "0", "acme", "acme-eu-1", &"a".repeat(32)] {
            assert!(TenantId::parse(good).is_some(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "é", "a b", &"a".repeat(33)] {
            assert!(TenantId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn ulids_have_the_specified_form() {
        // The specification's own time example: 1469918176385 is 01ARYZ6S41.
        assert!(ulid(Timestamp(1_469_918_176_385), 0).starts_with("01ARYZ6S41"));
        assert_eq!(ulid(Timestamp(0), u128::MAX), format!("0000000000{}", "Z".repeat(16)));
        assert!(ulid(Timestamp(1), 0) > ulid(Timestamp(0), u128::MAX));
    }
}
