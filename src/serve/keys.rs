//! Which keys a provider is asked with: the tenant's where its document names some, else the operator's.

use super::google::google_token;
use crate::isolate::{Isolate, KnownConfig};
use crate::ports::{Clock, Event, Upstream, Vault};
use crate::vault;
use serde_json::json;
use std::rc::Rc;
use tollgate_core::catalog::{Auth, Provider};
use tollgate_core::ids::TenantId;
use tollgate_core::keyring::Ring;

/// The keys of a provider for this tenant. Empty only for a provider that wants none, and for the
/// operator's Amazon where its access key is to sign (`AWS_ACCESS_KEY_ID`).
///
/// What they come to is remembered with the configuration: a changed secret is a new version of it.
/// A service account of Google is exchanged for a token here, so a key is always what is presented.
///
/// # Errors
/// Why there is none, for the client: it names a variable or a secret, and nothing of what is in it.
pub async fn provider_keys<W: Clock + Event + Upstream + Vault>(
    world: &W,
    isolate: &Isolate,
    tenant: &TenantId,
    known: &KnownConfig,
    provider: &str,
) -> Result<Rc<Ring>, String> {
    let row = known.catalog.provider(provider).ok_or("not configured")?;
    let ring = configured_keys(world, isolate, tenant, known, provider, row).await?;
    if row.auth() == Auth::Google { tokens(world, isolate, &ring).await } else { Ok(ring) }
}

/// The keys as they were configured.
async fn configured_keys<W: Vault + Event>(
    world: &W,
    isolate: &Isolate,
    tenant: &TenantId,
    known: &KnownConfig,
    provider: &str,
    row: &Provider,
) -> Result<Rc<Ring>, String> {
    let named = known.config.providers.get(provider).map(|own| own.keys.as_slice()).unwrap_or_default();
    if !named.is_empty() {
        if let Some(ring) = known.ring(provider) {
            return ring;
        }
        let ring = tenants_keys(world, isolate, tenant, known, provider, named).await;
        known.remember_ring(provider, &ring);
        return ring;
    }
    own_keys(isolate, provider, row)
}

/// The operator's keys for a provider, as they are presented.
///
/// # Errors
/// Why there is none.
pub async fn operators_keys<W: Clock + Event + Upstream + Vault>(
    world: &W,
    isolate: &Isolate,
    provider: &str,
    row: &Provider,
) -> Result<Rc<Ring>, String> {
    let ring = own_keys(isolate, provider, row)?;
    if row.auth() == Auth::Google { tokens(world, isolate, &ring).await } else { Ok(ring) }
}

/// The operator's keys as they were configured.
fn own_keys(isolate: &Isolate, provider: &str, row: &Provider) -> Result<Rc<Ring>, String> {
    if row.auth() == Auth::None {
        return Ok(Rc::default());
    }
    if row.api_key_env.is_empty() {
        return Err("no API key is configured".to_owned());
    }
    let ring = isolate.own_keys(provider, &row.api_key_env);
    let signs = row.auth() == Auth::Aws && isolate.var("AWS_ACCESS_KEY_ID").is_some();
    if ring.keys().is_empty() && !signs { Err(format!("no API key is configured ({})", row.api_key_env)) } else { Ok(ring) }
}

/// Access tokens for the service accounts; those that give none are left out.
async fn tokens<W: Clock + Event + Upstream + Vault>(world: &W, isolate: &Isolate, accounts: &Ring) -> Result<Rc<Ring>, String> {
    let (mut tokens, mut told) = (Vec::new(), String::new());
    for account in accounts.keys() {
        match google_token(world, isolate, account).await {
            Ok(token) => tokens.push((account.id.clone(), token)),
            Err(why) => told = why,
        }
    }
    if tokens.is_empty() { Err(told) } else { Ok(Rc::new(accounts.exchanged(&tokens))) }
}

/// The secrets that are there and open. One that does not is logged, and the others are used.
async fn tenants_keys<W: Vault + Event>(
    world: &W,
    isolate: &Isolate,
    tenant: &TenantId,
    known: &KnownConfig,
    provider: &str,
    named: &[String],
) -> Result<Rc<Ring>, String> {
    let (mut keys, mut told) = (Vec::new(), String::new());
    for name in named {
        let Some(sealed) = known.secrets.get(name) else {
            told = format!("no API key is configured (secret `{name}` of the tenant)");
            continue;
        };
        match vault::open(world, isolate, tenant, name, sealed).await {
            Ok(secret) => keys.push((name.clone(), secret)),
            Err(why) => {
                told = format!("its API key cannot be opened (secret `{name}` of the tenant)");
                let line = json!({
                    "level": "error", "event": "secret_not_opened", "tenant": tenant, "provider": provider, "secret": name, "message": why.to_string(),
                });
                world.log(&line.to_string());
            }
        }
    }
    if keys.is_empty() { Err(told) } else { Ok(Rc::new(Ring::new(tenant.as_str(), provider, keys))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, run};
    use tollgate_core::config::Config;
    use tollgate_core::map::Map;
    use tollgate_core::secret::Secret;

    struct Desk {
        world: Fake,
        isolate: Isolate,
        tenant: TenantId,
        secrets: Map<String, String>,
    }

    fn desk() -> Desk {
        let vars = [("TOLLGATE_SECRETS_KEY", "00".repeat(32)), ("GROQ_API_KEY", "sk-operator".to_owned())];
        let isolate = Isolate::new(vars.map(|(name, value)| (name.to_owned(), value)).into());
        let mut desk = Desk { world: Fake::new(), isolate, tenant: TenantId::parse("acme").unwrap(), secrets: Map::new() };
        for name in ["a", "b"] {
            let sealed = run(vault::seal(&desk.world, &desk.isolate, &desk.tenant, name, &Secret::new(&format!("sk-{name}"))));
            desk.secrets.insert(name.to_owned(), sealed.unwrap());
        }
        let sealed = desk.secrets.get("a").unwrap().clone();
        desk.secrets.insert("moved".to_owned(), sealed);
        desk
    }

    impl Desk {
        fn learn(&self, providers: &str) -> KnownConfig {
            let config: Config = serde_json::from_str(&format!(r#"{{"providers":{providers}}}"#)).unwrap();
            self.isolate.learn(&self.tenant, (1, tollgate_core::units::Timestamp::default()), config, self.secrets.clone(), None)
        }

        fn keys(&self, known: &KnownConfig, provider: &str) -> Result<Vec<String>, String> {
            let ring = run(provider_keys(&self.world, &self.isolate, &self.tenant, known, provider))?;
            Ok(ring.keys().iter().map(|key| format!("{}{}={}", key.owner, key.name, key.secret.reveal())).collect())
        }
    }

    #[test]
    fn the_tenants_keys_go_before_the_operators() {
        let desk = desk();
        let known = desk.learn(r#"{"groq":{"keys":["b","a"]}}"#);
        assert_eq!(desk.keys(&known, "groq").unwrap(), ["acmeb=sk-b", "acmea=sk-a"]);
        let opened = desk.world.opened.get();
        desk.keys(&known, "groq").unwrap();
        assert_eq!(desk.world.opened.get(), opened, "they are remembered with the configuration");
        assert_eq!(desk.keys(&desk.learn("{}"), "groq").unwrap(), ["GROQ_API_KEY=sk-operator"]);
    }

    #[test]
    fn a_service_account_is_exchanged_for_a_token() {
        let desk = desk();
        let file = r#"{"client_email":"a@p","private_key":"-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----","token_uri":"https://oauth2.googleapis.com/token"}"#;
        let vars = [("GOOGLE_SERVICE_ACCOUNT_JSON".to_owned(), file.to_owned())];
        let desk = Desk { isolate: Isolate::new(vars.into()), ..desk };
        let known = desk.learn("{}");
        desk.world.answers.borrow_mut().push_back((200, r#"{"access_token":"ya29.x","expires_in":3599}"#));
        for _ in 0..2 {
            assert_eq!(desk.keys(&known, "vertex").unwrap(), ["GOOGLE_SERVICE_ACCOUNT_JSON=ya29.x"]);
        }
        assert_eq!(desk.world.sent.borrow().len(), 1);
        desk.world.pass(3_600_000);
        assert_eq!(desk.keys(&known, "vertex").unwrap_err(), "the token endpoint of Google did not answer");
    }

    #[test]
    fn a_missing_secret_is_told_and_the_operators_key_is_not_used_instead() {
        let desk = desk();
        let known = desk.learn(r#"{"groq":{"keys":["gone"]},"openai":{"keys":["gone","b","moved"]},"mistral":{"keys":["moved"]}}"#);
        assert_eq!(desk.keys(&known, "groq").unwrap_err(), "no API key is configured (secret `gone` of the tenant)");
        assert_eq!(desk.keys(&known, "openai").unwrap(), ["acmeb=sk-b"], "the others are used");
        assert_eq!(desk.keys(&known, "mistral").unwrap_err(), "its API key cannot be opened (secret `moved` of the tenant)");
        let lines = desk.world.lines.borrow();
        assert!(lines.iter().all(|line| line.contains(r#""event":"secret_not_opened""#) && line.contains("moved")), "{lines:?}");
        assert_eq!(lines.len(), 2);
        assert!(!lines.concat().contains("sk-"));
    }

    #[test]
    fn the_operators_key_does_not_go_to_a_tenants_address() {
        let desk = desk();
        // A document that was stored before the rule would be refused today.
        let known = desk.learn(r#"{"groq":{"base_url":"https://llm.example.com"},"free":{"base_url":"https://llm.example.com","format":"openai","auth":"none"}}"#);
        assert_eq!(desk.keys(&known, "groq").unwrap_err(), "no API key is configured");
        assert!(desk.keys(&known, "free").unwrap().is_empty());
        assert_eq!(desk.keys(&known, "openai").unwrap_err(), "no API key is configured (OPENAI_API_KEY)");
        // Nor does what Amazon's access key signs.
        let vars = [("AWS_ACCESS_KEY_ID".to_owned(), "AKIA".to_owned())];
        let desk = Desk { isolate: Isolate::new(vars.into()), ..desk };
        assert!(desk.keys(&desk.learn("{}"), "bedrock").unwrap().is_empty());
        let known = desk.learn(r#"{"bedrock":{"base_url":"https://llm.example.com"},"mine":{"keys":["gone"],"base_url":"https://llm.example.com","format":"bedrock"}}"#);
        assert_eq!(desk.keys(&known, "bedrock").unwrap_err(), "no API key is configured");
        assert_eq!(desk.keys(&known, "mine").unwrap_err(), "no API key is configured (secret `gone` of the tenant)");
        assert_eq!(desk.keys(&known, "nobody").unwrap_err(), "not configured");
    }
}
