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
    let mut allowed = isolate.var(MORE_URLS).unwrap_or_default().split(',').map(str::trim).filter(|url| !url.is_empty()).chain([TOKEN_URL]);
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
            body: Some(exchange(&claim, &signature).into_bytes()),
            first_byte: WAIT,
            idle: WAIT,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, run};
    use tollgate_core::keyring::Ring;

    fn key(token_uri: &str, pem: &str) -> ProviderKey {
        let file = serde_json::json!({
            "client_email": "a@p.iam.gserviceaccount.com", "token_uri": token_uri,
            "private_key": format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n"),
        });
        Ring::new("", "vertex", [("GOOGLE_SERVICE_ACCOUNT_JSON".to_owned(), Secret::new(&file.to_string()))]).keys()[0].clone()
    }

    fn token(world: &Fake, isolate: &Isolate, key: &ProviderKey) -> Result<String, String> {
        run(google_token(world, isolate, key)).map(|token| token.reveal().to_owned())
    }

    #[test]
    fn a_token_is_fetched_once_and_again_before_it_expires() {
        let (world, isolate, key) = (Fake::new(), Isolate::new([].into()), key(TOKEN_URL, "AAEC"));
        world.answers.borrow_mut().extend([
            (200, r#"{"access_token":"ya29.first","expires_in":3599}"#),
            (200, r#"{"access_token":"ya29.second","expires_in":3599}"#),
        ]);
        assert_eq!(token(&world, &isolate, &key).as_deref(), Ok("ya29.first"));
        world.pass(3_298_999);
        assert_eq!(token(&world, &isolate, &key).as_deref(), Ok("ya29.first"));
        world.pass(1);
        assert_eq!(token(&world, &isolate, &key).as_deref(), Ok("ya29.second"));
        let sent = world.sent.borrow();
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0].url, TOKEN_URL);
        let body = String::from_utf8(sent[0].body.clone().unwrap()).unwrap();
        assert!(body.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="), "{body}");
        assert_eq!(body.split('.').count(), 3);
    }

    #[test]
    fn an_account_cannot_choose_where_the_claim_goes() {
        let world = Fake::new();
        for url in ["http://oauth2.googleapis.com/token", "https://oauth2.googleapis.com/token/", "https://evil.example.com/token", ""] {
            let told = token(&world, &Isolate::new([].into()), &key(url, "AAEC")).unwrap_err();
            assert!(told.contains("`token_uri` is not https://oauth2.googleapis.com/token"), "{told}");
        }
        assert_eq!(world.sent.borrow().len(), 0);
        // Unless the operator lists exactly that.
        let isolate = Isolate::new([(MORE_URLS.to_owned(), "http://127.0.0.1:9/token, http://b/".to_owned())].into());
        world.answers.borrow_mut().push_back((200, r#"{"access_token":"x"}"#));
        assert_eq!(token(&world, &isolate, &key("http://127.0.0.1:9/token", "AAEC")).as_deref(), Ok("x"));
        assert!(token(&world, &isolate, &key("http://127.0.0.1:9/token2", "AAEC")).is_err());
    }

    #[test]
    fn a_failure_is_remembered_for_a_moment_and_a_refusal_is_logged() {
        let (world, isolate, key) = (Fake::new(), Isolate::new([].into()), key(TOKEN_URL, "AAEC"));
        world.answers.borrow_mut().extend([(400, r#"{"error":"invalid_grant"}"#), (503, "<html>"), (200, "{}")]);
        for _ in 0..3 {
            assert_eq!(token(&world, &isolate, &key).unwrap_err(), "the token endpoint of Google answered 400 invalid_grant");
        }
        assert_eq!((world.sent.borrow().len(), world.lines.borrow().len(), isolate.dead_keys().len()), (1, 1, 1));
        for told in [
            "the token endpoint of Google answered 503",
            "the token endpoint of Google gave no token",
            "the token endpoint of Google did not answer",
        ] {
            world.pass(FAILED_FOR);
            assert_eq!(token(&world, &isolate, &key).unwrap_err(), told);
        }
        assert_eq!(world.lines.borrow().len(), 1);
    }

    #[test]
    fn what_is_no_account_is_told_without_quoting_it() {
        let (world, isolate) = (Fake::new(), Isolate::new([].into()));
        let ring = Ring::new("", "vertex", [("GOOGLE_SERVICE_ACCOUNT_JSON".to_owned(), Secret::new("sk-secret-value"))]);
        let told = token(&world, &isolate, &ring.keys()[0]).unwrap_err();
        assert!(told.contains("client_email") && !told.contains("sk-secret"), "{told}");
        // "no key" in base64.
        let told = token(&world, &isolate, &key(TOKEN_URL, "bm8ga2V5")).unwrap_err();
        assert_eq!(told, "the service account's `private_key` is no RSA key");
    }
}
