//! The form in which a tenant's secret is stored: `v1.<key id>.<nonce>.<ciphertext>`.
//!
//! AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits; the ciphertext ends with the tag of 128
//! bits. The additional data names tenant and field, so that a sealed text opens only where it was stored.
//! The encryption itself is the runtime's (WebCrypto): here is only what can be decided without it.

use super::Secret;
use crate::auth::hex;
use crate::dialect::base64;
use crate::ids::TenantId;
use sha2::{Digest, Sha256};
use std::fmt;

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes of the tag at the end of a ciphertext.
const TAG_LEN: usize = 16;
/// Characters of a key's id.
const ID_LEN: usize = 8;
/// Longest name of a secret.
const MAX_NAME: usize = 64;

/// Whether a text may name a secret: 1 to 64 of `a-z`, `0-9`, `-`, `_`, `.`.
pub fn is_name(text: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(ok)
}

/// The field of a tenant's secret, as the additional data names it.
pub fn field(name: &str) -> String {
    format!("secrets.{name}")
}

/// What a sealed text is bound to. Neither a tenant's id nor the form of `field` has a colon.
pub fn additional_data(tenant: &TenantId, field: &str) -> String {
    format!("tollgate:v1:{tenant}:{field}")
}

/// The key that secrets are sealed with.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretsKey {
    bytes: [u8; 32],
    id: String,
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyForm;

impl fmt::Display for KeyForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be 32 random bytes as 64 hexadecimal digits or as base64: openssl rand -hex 32")
    }
}

impl SecretsKey {
    /// Reads 32 bytes of hex or base64 (either alphabet, with padding or without).
    ///
    /// # Errors
    /// [`KeyForm`]: anything else.
    pub fn parse(text: &str) -> Result<SecretsKey, KeyForm> {
        let text = text.trim();
        let bytes = if text.len() == 64 { unhex(text) } else { base64::decode(&text.replace('-', "+").replace('_', "/")) };
        let bytes: [u8; 32] = bytes.ok_or(KeyForm)?.try_into().map_err(|_| KeyForm)?;
        let id = hex(&<Sha256 as Digest>::digest(bytes)).chars().take(ID_LEN).collect();
        Ok(SecretsKey { bytes, id })
    }

    /// The first eight hexadecimal digits of the key's SHA-256.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key, for the one place that seals and opens.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl fmt::Debug for SecretsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretsKey({})", self.id)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some((digit(high)? << 4) | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// A sealed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Id of the key that opens it.
    pub key_id: String,
    /// Nonce.
    pub nonce: [u8; NONCE_LEN],
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

impl Sealed {
    /// Reads the stored form. `None` if it is not of this form.
    pub fn parse(text: &str) -> Option<Sealed> {
        let mut parts = text.split('.');
        let (version, key_id, nonce, ciphertext) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version != "v1" || parts.next().is_some() || key_id.len() != ID_LEN || !key_id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let nonce = base64::decode_url(nonce)?.try_into().ok()?;
        let ciphertext = base64::decode_url(ciphertext).filter(|c| c.len() >= TAG_LEN)?;
        Some(Sealed { key_id: key_id.to_owned(), nonce, ciphertext })
    }

    /// The id of the key that a stored text was sealed with; empty if it is not of this form.
    pub fn key_id_of(text: &str) -> &str {
        text.strip_prefix("v1.").and_then(|rest| rest.split('.').next()).unwrap_or_default()
    }

    /// What an opened text holds: `None` if it is no text.
    pub fn opened(plain: Vec<u8>) -> Option<Secret> {
        String::from_utf8(plain).ok().map(|text| Secret::new(&text))
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1.{}.{}.{}", self.key_id, base64::encode_url(&self.nonce), base64::encode_url(&self.ciphertext))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn a_key_is_read_in_every_usual_form() {
        let key = SecretsKey::parse(HEX).unwrap();
        // sha256sum of the bytes 00 to 1f.
        assert_eq!(key.id(), "630dcd29");
        for same in [
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F\n",
        ] {
            assert_eq!(SecretsKey::parse(same), Ok(key.clone()), "{same}");
        }
        assert_eq!(
            SecretsKey::parse("-_8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            SecretsKey::parse("+/8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        );
        for bad in ["", "secret", &HEX[2..], &format!("{HEX}00"), "zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"] {
            assert_eq!(SecretsKey::parse(bad), Err(KeyForm), "{bad}");
        }
        assert_eq!(format!("{key:?}"), "SecretsKey(630dcd29)");
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let text = "v1.630dcd29.AAECAwQFBgcICQoL.-_8AAAAAAAAAAAAAAAAAAAAA";
        let sealed = Sealed::parse(text).unwrap();
        assert_eq!(sealed.nonce, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!((sealed.ciphertext[0], sealed.ciphertext.len()), (0xfb, 18));
        assert_eq!(sealed.to_string(), text);
        assert_eq!(Sealed::key_id_of(text), "630dcd29");
        let acme = TenantId::parse("acme").unwrap();
        assert_eq!(additional_data(&acme, &field("openai")), "tollgate:v1:acme:secrets.openai");
    }

    #[test]
    fn other_texts_are_not_opened() {
        for bad in [
            "",
            "v1",
            "v2.630dcd29.AAECAwQFBgcICQoL.AAAAAAAAAAAAAAAAAAAAAA",
            "v1.630dcd2.AAECAwQFBgcICQoL.AAAAAAAAAAAAAAAAAAAAAA",
            "v1.630dcd2g.AAECAwQFBgcICQoL.AAAAAAAAAAAAAAAAAAAAAA",
            "v1.630dcd29.AAECAwQFBgcICQo.AAAAAAAAAAAAAAAAAAAAAA",
            "v1.630dcd29.AAECAwQFBgcICQoL.AAAAAAAAAAAAAAAAAAAA",
            "v1.630dcd29.AAECAwQFBgcICQoL.AAAAAAAAAAAAAAAAAAAAAA.x",
            "v1.630dcd29.AAECAwQFBgcICQoL.AA/+AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(Sealed::parse(bad), None, "{bad}");
        }
        assert_eq!(Sealed::key_id_of("plain"), "");
    }

    #[test]
    fn names() {
        assert!(is_name("openai") && is_name("a") && is_name("team-1.openai_2"));
        assert!(!is_name("") && !is_name("A") && !is_name("a/b") && !is_name("a:b") && !is_name(&"a".repeat(65)));
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_read_again(nonce: [u8; 12], ciphertext in prop::collection::vec(any::<u8>(), 16..200)) {
            let sealed = Sealed { key_id: "630dcd29".to_owned(), nonce, ciphertext };
            prop_assert_eq!(Sealed::parse(&sealed.to_string()), Some(sealed));
        }

        #[test]
        fn nothing_breaks_the_reader(text: String) {
            let _ = Sealed::parse(&text);
            let _ = SecretsKey::parse(&text);
        }
    }
}
