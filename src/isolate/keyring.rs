//! Providers' keys as this isolate knows them: the operator's, from its variables, and what providers
//! said about keys. All of it is learnt again when it vanishes.

use super::{Isolate, KnownConfig};
use serde_json::json;
use std::cell::RefCell;
use std::rc::Rc;
use tollgate_core::catalog::Provider;
use tollgate_core::config::Config;
use tollgate_core::keyring::{Dead, KeyId, Keyring, MAX_KEYS, ProviderKey, Ring, Verdict, Why};
use tollgate_core::map::Map;
use tollgate_core::secret::Secret;
use tollgate_core::units::{Millis, Timestamp};

/// Most secrets of tenants that are remembered open.
const MAX_OPENED: usize = 1_000;

/// Most access tokens that are remembered.
const MAX_TOKENS: usize = 200;

/// A token, or why there is none, and until when that holds.
type Fetched = (Result<Secret, String>, Timestamp);

/// What the tenant's keys for a provider came to, by provider. There are as many as its document names.
pub(super) type Rings = Map<String, Result<Rc<Ring>, String>>;

/// Keys, and what is known of them.
#[derive(Default)]
pub(super) struct Keys {
    ring: RefCell<Keyring>,
    /// The operator's, by provider. There are as many as the catalogue has rows.
    own: RefCell<Map<String, Rc<Ring>>>,
    /// Secrets of tenants, by what they are bound to and the sealed text.
    opened: RefCell<Map<(String, String), Secret>>,
    /// Access tokens of service accounts.
    tokens: RefCell<Map<KeyId, Fetched>>,
}

impl KnownConfig {
    /// What the tenant's keys for a provider came to, if that is known.
    pub fn ring(&self, provider: &str) -> Option<Result<Rc<Ring>, String>> {
        self.rings.borrow().get(provider).cloned()
    }

    /// Remembers it, for as long as this version of the configuration.
    pub fn remember_ring(&self, provider: &str, ring: &Result<Rc<Ring>, String>) {
        self.rings.borrow_mut().insert(provider.to_owned(), ring.clone());
    }
}

/// The variables that may hold keys of a provider: `NAME`, `NAME_2` … `NAME_9`.
fn names(first: &str) -> impl Iterator<Item = String> {
    let more = (2..=MAX_KEYS).map(move |n| format!("{first}_{n}"));
    std::iter::once(first.to_owned()).chain(more)
}

impl Isolate {
    /// The operator's keys for a provider: the variable of its row, and those that end in `_2` to `_9`.
    pub fn own_keys(&self, provider: &str, variable: &str) -> Rc<Ring> {
        let mut own = self.keys.own.borrow_mut();
        if let Some(ring) = own.get(provider) {
            return Rc::clone(ring);
        }
        let set = names(variable).filter_map(|name| self.var(&name).map(Secret::new).map(|secret| (name, secret)));
        let ring = Rc::new(Ring::new("", provider, set));
        own.insert(provider.to_owned(), Rc::clone(&ring));
        ring
    }

    /// Whether the operator has a key in this variable, or in one of those beside it.
    pub fn has_own_key(&self, variable: &str) -> bool {
        names(variable).any(|name| self.var(&name).is_some())
    }

    /// Whether somebody can pay for what a provider does for this tenant: as far as the names tell.
    pub fn has_key(&self, config: &Config, provider: &str, row: &Provider) -> bool {
        let own = config.providers.get(provider).is_some_and(|p| p.base_url.is_some() || !p.keys.is_empty());
        own || self.configured(provider, row)
    }

    /// A secret that was opened before.
    pub fn opened(&self, bound_to: &str, sealed: &str) -> Option<Secret> {
        self.keys.opened.borrow().get(&(bound_to.to_owned(), sealed.to_owned())).cloned()
    }

    /// Remembers an opened secret.
    pub fn remember_opened(&self, bound_to: &str, sealed: &str, secret: &Secret) {
        let mut opened = self.keys.opened.borrow_mut();
        if opened.len() >= MAX_OPENED {
            opened.clear();
        }
        opened.insert((bound_to.to_owned(), sealed.to_owned()), secret.clone());
    }

    /// The access token of a service account, or why there was none a moment ago.
    pub fn google_token(&self, key: &KeyId, now: Timestamp) -> Option<Result<Secret, String>> {
        self.keys.tokens.borrow().get(key).filter(|(_, until)| now < *until).map(|(token, _)| token.clone())
    }

    /// Remembers it.
    pub fn remember_google_token(&self, key: &KeyId, token: &Result<Secret, String>, until: Timestamp, now: Timestamp) {
        let mut tokens = self.keys.tokens.borrow_mut();
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, (_, until)| now < *until);
        }
        if tokens.len() >= MAX_TOKENS {
            tokens.clear();
        }
        tokens.insert(key.clone(), (token.clone(), until));
    }

    /// The key to ask with next, for a request that has tried these: see [`Keyring::choose`].
    pub fn choose_key(&self, ring: &Ring, tried: &[KeyId], now: Timestamp, seed: u64) -> Option<ProviderKey> {
        self.keys.ring.borrow_mut().choose(ring, tried, now, seed).cloned()
    }

    /// A provider answered a request with this key. Returns a line for the log if the key is dead since.
    #[must_use = "the line is to be logged"]
    pub fn key_answered(&self, key: &ProviderKey, verdict: Verdict, retry_after: Option<Millis>, now: Timestamp) -> Option<String> {
        if verdict == Verdict::Trouble(Why::Refused) {
            // A token that was made with it may have been withdrawn.
            self.keys.tokens.borrow_mut().remove(&key.id);
        }
        self.keys.ring.borrow_mut().outcome(key, verdict, retry_after, now).map(|dead| line(&dead))
    }

    /// The operator's keys that providers refused when they were last asked with, as far as this isolate
    /// knows.
    pub fn dead_keys(&self) -> Vec<Dead> {
        let mut dead = self.keys.ring.borrow().dead();
        dead.retain(|key| key.owner.is_empty());
        dead
    }
}

/// A dead key in the log.
fn line(dead: &Dead) -> String {
    let tenant = Some(&dead.owner).filter(|owner| !owner.is_empty());
    let fields = json!({
        "level": "error", "event": "provider_key_dead", "provider": dead.provider, "key": dead.name, "last4": dead.last4,
        "tenant": tenant, "why": dead.why.as_str(), "since": dead.since.rfc3339(), "tried_again_at": dead.until.rfc3339(),
    });
    fields.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_710_028_800_000);

    fn isolate() -> Isolate {
        let vars = [
            ("OPENAI_API_KEY", " sk-first-0123456789 "),
            ("OPENAI_API_KEY_3", "sk-third-0123456789"),
            ("OPENAI_API_KEY_2", "  "),
            ("OPENAI_API_KEY_10", "x"),
        ];
        Isolate::new(vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    #[test]
    fn keys_come_from_the_numbered_variables() {
        let isolate = isolate();
        let ring = isolate.own_keys("openai", "OPENAI_API_KEY");
        let keys: Vec<(&str, &str)> = ring.keys().iter().map(|k| (&*k.name, k.secret.reveal())).collect();
        assert_eq!(keys, [("OPENAI_API_KEY", "sk-first-0123456789"), ("OPENAI_API_KEY_3", "sk-third-0123456789")]);
        assert!(Rc::ptr_eq(&ring, &isolate.own_keys("openai", "OPENAI_API_KEY")));
        assert!(isolate.has_own_key("OPENAI_API_KEY") && !isolate.has_own_key("GROQ_API_KEY"));
        assert_eq!(isolate.own_keys("groq", "GROQ_API_KEY").keys(), []);
    }

    #[test]
    fn a_dead_key_is_logged_once_and_never_shown() {
        let isolate = isolate();
        let ring = isolate.own_keys("openai", "OPENAI_API_KEY");
        let first = isolate.choose_key(&ring, &[], NOW, 0).unwrap();
        let line = isolate.key_answered(&first, Verdict::Trouble(Why::Refused), None, NOW).unwrap();
        assert_eq!(isolate.key_answered(&first, Verdict::Trouble(Why::Refused), None, NOW), None);
        assert_eq!(
            line,
            r#"{"event":"provider_key_dead","key":"OPENAI_API_KEY","last4":"6789","level":"error","provider":"openai","since":"2024-03-10T00:00:00.000Z","tenant":null,"tried_again_at":"2024-03-10T00:05:00.000Z","why":"refused"}"#
        );
        assert_eq!(isolate.dead_keys().len(), 1);
        assert_eq!(&*isolate.choose_key(&ring, &[first.id], NOW, 0).unwrap().name, "OPENAI_API_KEY_3");
    }

    #[test]
    fn tenants_keys_are_not_among_the_operators_dead() {
        let isolate = isolate();
        let ring = Ring::new("acme", "openai", [("mine".to_owned(), Secret::new("sk-0123456789ab"))]);
        let line = isolate.key_answered(&ring.keys()[0], Verdict::Trouble(Why::NoCredit), None, NOW).unwrap();
        assert!(line.contains(r#""tenant":"acme""#), "{line}");
        assert_eq!(isolate.dead_keys(), []);
    }
}
