//! Gateway API keys: `tg_<tenant>_<43 base62 characters><6 base62 characters of CRC-32>`.
//!
//! The checksum lets the edge refuse typing errors and random guesses without a storage call. It is
//! not a secret; the 43 characters (256 bits) are.

use crate::ids::TenantId;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of the secret part.
pub const SECRET_LEN: usize = 43;
/// Characters of the checksum.
pub const CHECK_LEN: usize = 6;

/// Why a presented key is refused before anyone looks it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not `tg_<tenant>_<49 characters>`.
    Shape,
    /// The last six characters do not match the rest.
    Checksum,
}

/// Reads a key and tells whose it is.
pub fn parse(key: &str) -> Result<TenantId, Malformed> {
    let (tenant, tail) = key.strip_prefix("tg_").and_then(|rest| rest.split_once('_')).ok_or(Malformed::Shape)?;
    let tenant = TenantId::parse(tenant).ok_or(Malformed::Shape)?;
    if !tail.bytes().all(|b| b.is_ascii_alphanumeric()) || tail.len() != SECRET_LEN.saturating_add(CHECK_LEN) {
        return Err(Malformed::Shape);
    }
    let body_len = key.len().saturating_sub(CHECK_LEN);
    match (key.get(..body_len), key.get(body_len..)) {
        (Some(body), Some(check)) if checksum(body) == check => Ok(tenant),
        _ => Err(Malformed::Checksum),
    }
}

/// Makes a key from 256 random bits.
pub fn mint(tenant: &TenantId, random: [u8; 32]) -> String {
    let mut key = format!("tg_{tenant}_");
    let mut digits = [0_u8; SECRET_LEN];
    let mut rest = random;
    for slot in digits.iter_mut().rev() {
        // Long division of a 256-bit number by 62: 43 digits are just enough (62^43 > 2^256).
        let mut carry: u32 = 0;
        for byte in &mut rest {
            let n = (carry << 8) | u32::from(*byte);
            *byte = u8::try_from(n.checked_div(62).unwrap_or(0)).unwrap_or(0);
            carry = n.checked_rem(62).unwrap_or(0);
        }
        *slot = base62(carry);
    }
    key.extend(digits.iter().map(|b| char::from(*b)));
    let check = checksum(&key);
    key.push_str(&check);
    key
}

fn base62(digit: u32) -> u8 {
    usize::try_from(digit).ok().and_then(|i| BASE62.get(i)).copied().unwrap_or(b'0')
}

/// CRC-32 (IEEE) of `body` as six base62 digits, most significant first.
fn checksum(body: &str) -> String {
    let mut n = crc32fast::hash(body.as_bytes());
    let mut out = [b'0'; CHECK_LEN];
    for slot in out.iter_mut().rev() {
        *slot = base62(n.checked_rem(62).unwrap_or(0));
        n = n.checked_div(62).unwrap_or(0);
    }
    out.iter().map(|b| char::from(*b)).collect()
}

/// HMAC-SHA-256 of the key under the operator's pepper, in hex: the only form that is stored.
pub fn hash(pepper: &str, key: &str) -> String {
    // HMAC takes keys of any length, so the error cannot happen; an unmatchable hash fails closed.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(pepper.as_bytes()) else {
        return String::new();
    };
    mac.update(key.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// SHA-256 of several fields, in hex. Each is preceded by its length, so that no two lists run together.
pub fn digest(fields: &[&[u8]]) -> String {
    let mut hash = <Sha256 as Digest>::new();
    for field in fields {
        hash.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(field);
    }
    hex(&hash.finalize())
}

/// Whether two secrets are equal. Compares hashes of both, every byte, so that the time taken tells
/// nothing of where they differ.
pub fn same_secret(a: &str, b: &str) -> bool {
    let (a, b) = (hash("compare", a), hash("compare", b));
    a.bytes().zip(b.bytes()).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0 && !a.is_empty()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS.get(usize::from(n)).copied().unwrap_or(b'0'));
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    #[test]
    fn the_form_is_pinned() {
        let key = mint(&acme(), [0; 32]);
        assert_eq!(key, format!("tg_acme_{}{}", "0".repeat(43), checksum(&format!("tg_acme_{}", "0".repeat(43)))));
        assert_eq!(key.len(), 8 + 49);
        assert_eq!(parse(&key), Ok(acme()));
        // CRC-32 of "123456789" is cbf43926, the check value of the algorithm's definition.
        assert_eq!(checksum("123456789"), "3jZRME");
    }

    #[test]
    fn malformed_keys_are_told_apart() {
        let key = mint(&acme(), [7; 32]);
        for bad in [
            "",
            "tg_",
            "sk-abc",
            "tg_acme",
            "tg_ACME_x",
            "tg__x",
            &key[..key.len() - 1],
            &format!("{key}0"),
            &format!(" {key}"),
            &format!("{key}, {key}"),
        ] {
            assert_eq!(parse(bad), Err(Malformed::Shape), "{bad}");
        }
        let other = if key.ends_with('a') { "b" } else { "a" };
        assert_eq!(parse(&format!("{}{other}", &key[..key.len() - 1])), Err(Malformed::Checksum));
        assert_eq!(parse(&key.replace("acme", "acmf")), Err(Malformed::Checksum));
    }

    proptest! {
        #[test]
        fn every_minted_key_parses_and_every_changed_character_is_noticed(random: [u8; 32], at in 0_usize..49, to in 0_usize..62) {
            let key = mint(&acme(), random);
            prop_assert_eq!(parse(&key), Ok(acme()));
            let mut bytes = key.clone().into_bytes();
            if bytes[8 + at] != BASE62[to] {
                bytes[8 + at] = BASE62[to];
                prop_assert!(parse(&String::from_utf8(bytes).unwrap()).is_err());
            }
        }
    }

    #[test]
    fn hashes_are_hmac_sha_256() {
        // RFC 4231, test case 2.
        assert_eq!(hash("Jefe", "what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(same_secret("a", "a") && !same_secret("a", "b") && !same_secret("a", "aa"));
    }
}
