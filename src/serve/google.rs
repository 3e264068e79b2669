//! Access tokens for Google's service accounts: fetched when one is needed, and remembered until shortly
//! before they expire.

use crate::isolate::Isolate;
use crate::ports::{Clock, Event, Outgoing, Upstream, Vault};
use tollgate_core::keyring::{ProviderKey, Verdict, Why};
use tollgate_core::secret::Secret;
use tollgate_core::secret::google::{ServiceAccount, TOKEN_URL, Token, error_code, exchange};
use tollgate_core::units::Millis;

/// How long the token endpoint may take, in milliseconds.
const WAIT: Millis = 10_000;
/// Largest answer of it in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// How long a failure is remembered, in milliseconds, so that a wrong account is not tried for each
/// request.
const FAILED_FOR: Millis = 5_000;
/// Variable with addresses, separated by commas, that are asked for tokens beside Google's own: for
/// tests, and for networks that reach it by another name.
const MORE_URLS: &str = "TOLLGATE_GOOGLE_TOKEN_URLS";

/// An access token for the service account in `key`.
///
/// # Errors
/// Why there is none, for the client: it quotes nothing of the account.
pub async fn google_token<W: Clock + Event + Upstream + Vault>(world: &W, isolate: &Isolate, key: &ProviderKey) -> Result<Secret, String> {
    if let Some(known) = isolate.google_token(&key.id, world.now()) {
        return known;
    }
    let fetched = fetch(world, isolate, key).await;
    let now = world.now();
    let (token, until) = match fetched {
        Ok(token) => (Ok(token.secret), token.until),
        Err(why) => (Err(why), now.plus(FAILED_FOR)),
    };
    isolate.remember_google_token(&key.id, &token, until, now);
    token
}

async fn fetch<W: Clock + Event + Upstream + Vault>(world: &W, isolate: &Isolate, key: &ProviderKey) -> Result<Token, String> {
    let account = ServiceAccount::parse(key.secret.reveal()).map_err(|why| why.to_string())?;
    let mut allowed = isolate.var(MORE_URLS).unwrap_or_default().split(',').map(str::trim).chain([TOKEN_URL]);
    // The account may be a tenant's, and the address in it is not to be trusted.
    if !allowed.any(|url| url == account.token_url()) {
        return Err(format!("the service account's `token_uri` is not {TOKEN_URL}"));
    }
    let claim = account.claim(world.now());
    let signature = world.sign_rs256(account.pkcs8(), claim.as_bytes()).await;
    let signature = signature.ok_or("the service account's `private_key` is no RSA key")?;
    let asked = world
        .send(Outgoing {
            url: account.token_url().to_owned(),
            headers: vec![
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
                ("accept", "application/json".to_owned()),
                ("accept-encoding", "identity".to_owned()),
            ],
            body: exchange(&claim, &signature).into_bytes(),
            first_byte: WAIT,
            total: WAIT,
            cap: MAX_ANSWER,
        })
        .await;
    let answer = asked.map_err(|_| "the token endpoint of Google did not answer")?;
    let body = answer.whole.unwrap_or_default();
    let now = world.now();
    if (200..=299).contains(&answer.status) {
        return Token::read(&body, now).ok_or_else(|| "the token endpoint of Google gave no token".to_owned());
    }
    let code = error_code(&body);
    if matches!(code.as_deref(), Some("invalid_grant" | "invalid_client" | "unauthorized_client")) {
        let line = isolate.key_answered(key, Verdict::Trouble(Why::Refused), None, now);
        line.iter().for_each(|line| world.log(line));
    }
    let code = code.map(|code| format!(" {code}")).unwrap_or_default();
    Err(format!("the token endpoint of Google answered {}{code}", answer.status))
}
