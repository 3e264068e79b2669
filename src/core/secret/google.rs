//! Service accounts of Google: a signed claim is exchanged for an access token (RFC 7523, as Google
//! describes it in "Using OAuth 2.0 for Server to Server Applications"). The signature is the runtime's.

use super::Secret;
use crate::dialect::base64;
use crate::units::{Millis, Timestamp};
use serde::Deserialize;
use serde_json::json;
use std::fmt;

/// The only address that Google names in its key files.
pub const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// What the token is for: Vertex AI asks for this one.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long a claim is good for, in seconds: the most that Google takes.
const CLAIM_LIFE: i64 = 3_600;
/// Longest time that a token is believed to last, in seconds.
const MAX_LIFE: i64 = 43_200;
/// A token is not used any more so long before it expires, in milliseconds: requests last.
const MARGIN: Millis = 300_000;
/// Longest token in bytes.
const MAX_TOKEN: usize = 4_096;

/// A key file, as far as it is needed.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    token_url: String,
    pkcs8: Vec<u8>,
}

/// Why a text is no key file. It quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAccount {
    /// It is no JSON object with `client_email`, `private_key` and `token_uri`.
    Json,
    /// `private_key` is no PEM block `PRIVATE KEY`.
    Key,
}

impl fmt::Display for NoAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoAccount::Json => "the service account is not the JSON of a key file, with `client_email`, `private_key` and `token_uri`",
            NoAccount::Key => "the service account's `private_key` is no PEM block `PRIVATE KEY`",
        })
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccount({})", self.email)
    }
}

#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: Option<String>,
    token_uri: String,
}

impl ServiceAccount {
    /// Reads a key file.
    ///
    /// # Errors
    /// What it lacks.
    pub fn parse(text: &str) -> Result<ServiceAccount, NoAccount> {
        let file: KeyFile = serde_json::from_str(text).map_err(|_| NoAccount::Json)?;
        let pkcs8 = pem(&file.private_key).ok_or(NoAccount::Key)?;
        Ok(ServiceAccount { email: file.client_email, key_id: file.private_key_id, token_url: file.token_uri, pkcs8 })
    }

    /// Where it says that claims are exchanged. Whether that is an address to go to is for others to say.
    pub fn token_url(&self) -> &str {
        &self.token_url
    }

    /// Its private key in PKCS #8.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// What is to be signed at `now`: header and claims of the JWT.
    pub fn claim(&self, now: Timestamp) -> String {
        let at = now.0.checked_div(1_000).unwrap_or(0);
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id });
        let claims = json!({ "iss": self.email, "scope": SCOPE, "aud": self.token_url, "iat": at, "exp": at.saturating_add(CLAIM_LIFE) });
        let part = |value: serde_json::Value| base64::encode_url(value.to_string().as_bytes());
        format!("{}.{}", part(header), part(claims))
    }
}

/// The body that exchanges a signed claim. Nothing in it needs escaping but what is written so here.
pub fn exchange(claim: &str, signature: &[u8]) -> String {
    format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={claim}.{}", base64::encode_url(signature))
}

/// An access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub secret: Secret,
    /// Until when it may be used again.
    pub until: Timestamp,
}

impl Token {
    /// Reads the answer of the token endpoint. `None` if there is no usable token in it.
    pub fn read(body: &[u8], now: Timestamp) -> Option<Token> {
        #[derive(Deserialize)]
        struct Wire {
            access_token: String,
            #[serde(default)]
            expires_in: i64,
        }
        let wire: Wire = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
        let fits = (1..=MAX_TOKEN).contains(&wire.access_token.len()) && wire.access_token.bytes().all(|b| b.is_ascii_graphic());
        let life = wire.expires_in.clamp(0, MAX_LIFE).saturating_mul(1_000).saturating_sub(MARGIN).max(0);
        fits.then(|| Token { secret: Secret::new(&wire.access_token), until: now.plus(life) })
    }
}

/// The error code in an answer of the token endpoint, if it is a plain slug.
pub fn error_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Wire {
        error: String,
    }
    let wire: Wire = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
    let fits = (1..=40).contains(&wire.error.len()) && wire.error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    fits.then_some(wire.error)
}

/// The bytes in a PEM block `PRIVATE KEY` (RFC 7468).
fn pem(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let digits: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    base64::decode(&digits).filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_710_028_800_999);
    const FILE: &str = r#"{"type":"service_account","project_id":"p","private_key_id":"kid1","private_key":"-----BEGIN PRIVATE KEY-----\nAAEC\nAwQF\n-----END PRIVATE KEY-----\n","client_email":"a@p.iam.gserviceaccount.com","token_uri":"https://oauth2.googleapis.com/token"}"#;

    #[test]
    fn the_bytes_of_a_claim_are_pinned() {
        let account = ServiceAccount::parse(FILE).unwrap();
        assert_eq!((account.token_url(), account.pkcs8()), (TOKEN_URL, [0, 1, 2, 3, 4, 5].as_slice()));
        let claim = account.claim(NOW);
        let parts: Vec<String> = claim.split('.').map(|part| String::from_utf8(base64::decode_url(part).unwrap()).unwrap()).collect();
        assert_eq!(
            parts,
            [
                r#"{"alg":"RS256","kid":"kid1","typ":"JWT"}"#,
                r#"{"aud":"https://oauth2.googleapis.com/token","exp":1710032400,"iat":1710028800,"iss":"a@p.iam.gserviceaccount.com","scope":"https://www.googleapis.com/auth/cloud-platform"}"#,
            ]
        );
        assert_eq!(exchange("h.c", &[0xfb, 0xff]), "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=h.c.-_8");
    }

    #[test]
    fn what_is_no_key_file_is_told_without_quoting_it() {
        for (text, why) in [
            ("", NoAccount::Json),
            ("sk-plain", NoAccount::Json),
            (r#"{"client_email":"a","private_key":5,"token_uri":"b"}"#, NoAccount::Json),
            (r#"{"client_email":"a","token_uri":"b"}"#, NoAccount::Json),
            (r#"{"client_email":"a","private_key":"secret","token_uri":"b"}"#, NoAccount::Key),
            (
                r#"{"client_email":"a","private_key":"-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----","token_uri":"b"}"#,
                NoAccount::Key,
            ),
            (
                r#"{"client_email":"a","private_key":"-----BEGIN PRIVATE KEY-----\nA!\n-----END PRIVATE KEY-----","token_uri":"b"}"#,
                NoAccount::Key,
            ),
            (
                r#"{"client_email":"a","private_key":"-----BEGIN RSA PRIVATE KEY-----\nAAEC\n-----END RSA PRIVATE KEY-----","token_uri":"b"}"#,
                NoAccount::Key,
            ),
        ] {
            assert_eq!(ServiceAccount::parse(text), Err(why), "{text}");
        }
        assert_eq!(format!("{:?}", ServiceAccount::parse(FILE).unwrap()), "ServiceAccount(a@p.iam.gserviceaccount.com)");
    }

    #[test]
    fn tokens_are_used_until_five_minutes_before_they_expire() {
        let read = |body: &str| Token::read(body.as_bytes(), NOW).map(|t| (t.secret.reveal().to_owned(), t.until.since(NOW)));
        let token = |life| Some(("ya29.x".to_owned(), life));
        assert_eq!(read(r#"{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}"#), token(3_299_000));
        assert_eq!(read(r#"{"access_token":"ya29.x","expires_in":300}"#), token(0));
        assert_eq!(read(r#"{"access_token":"ya29.x"}"#), token(0));
        assert_eq!(read(r#"{"access_token":"ya29.x","expires_in":-5}"#), token(0));
        assert_eq!(read(r#"{"access_token":"ya29.x","expires_in":9000000000000000000}"#), token(42_900_000));
        for bad in ["", "{}", r#"{"access_token":""}"#, r#"{"access_token":"a\nb"}"#, r#"{"access_token":"a b"}"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_plain_codes_are_told() {
        assert_eq!(error_code(br#"{"error":"invalid_grant","error_description":"x"}"#).as_deref(), Some("invalid_grant"));
        for bad in [r#"{"error":{"code":5}}"#, r#"{"error":"Invalid grant"}"#, r#"{"error":""}"#, "<html>"] {
            assert_eq!(error_code(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_readers(text: String, bytes: Vec<u8>) {
            let _ = ServiceAccount::parse(&text);
            let _ = pem(&format!("-----BEGIN PRIVATE KEY-----{text}-----END PRIVATE KEY-----"));
            let _ = (Token::read(&bytes, NOW), error_code(&bytes));
        }
    }
}
