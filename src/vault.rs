//! A tenant's secrets are sealed and opened here. The encryption is the runtime's ([`Vault`]); which key,
//! and what a sealed text is bound to, is decided by `tollgate_core::secret`.

use crate::isolate::Isolate;
use crate::ports::{Clock, Vault};
use std::fmt;
use tollgate_core::ids::TenantId;
use tollgate_core::secret::{KeyForm, NONCE_LEN, Sealed, Secret, SecretsKey, additional_data, field};

/// Variable of the key that secrets are sealed with.
const KEY: &str = "TOLLGATE_SECRETS_KEY";
/// Variable of the key before it, which still opens.
const PREVIOUS: &str = "TOLLGATE_SECRETS_KEY_PREVIOUS";

/// Why a secret cannot be sealed or opened. Its text is for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shut {
    /// There is no key.
    Unset,
    /// A variable holds no key.
    Form(&'static str),
    /// It was sealed with another key than those that are configured.
    OtherKey(String),
    /// It was sealed for another tenant or name, or it was changed.
    Broken,
}

impl fmt::Display for Shut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shut::Unset => {
                write!(f, "The secret {KEY} is not set, so no secret can be sealed or opened. Set it first: openssl rand -hex 32")
            }
            Shut::Form(variable) => write!(f, "The secret {variable} {KeyForm}"),
            Shut::OtherKey(id) => {
                write!(
                    f,
                    "It was sealed with the key {id}, and that is neither {KEY} nor {PREVIOUS}. Set {PREVIOUS} to that key, or put the secret again."
                )
            }
            Shut::Broken => f.write_str("It does not open: it was sealed for another tenant or name, or changed. Put it again."),
        }
    }
}

/// The key in a variable, if it is set.
fn key(isolate: &Isolate, variable: &'static str) -> Result<Option<SecretsKey>, Shut> {
    isolate.var(variable).map(|text| SecretsKey::parse(text).map_err(|_| Shut::Form(variable))).transpose()
}

/// The key that secrets are sealed with.
///
/// # Errors
/// [`Shut::Unset`] or [`Shut::Form`].
pub fn sealing_key(isolate: &Isolate) -> Result<SecretsKey, Shut> {
    key(isolate, KEY)?.ok_or(Shut::Unset)
}

/// What is wrong with the variables. Unset they are not wrong: tenants have no secrets then.
pub fn misconfigured(isolate: &Isolate) -> Option<String> {
    [KEY, PREVIOUS].into_iter().find_map(|variable| key(isolate, variable).err()).map(|why| why.to_string())
}

/// Seals a tenant's secret.
///
/// # Errors
/// Why it cannot be.
pub async fn seal<W: Vault + Clock>(world: &W, isolate: &Isolate, tenant: &TenantId, name: &str, secret: &Secret) -> Result<String, Shut> {
    let key = sealing_key(isolate)?;
    let random = world.random();
    let (nonce, _) = random.split_first_chunk::<NONCE_LEN>().ok_or(Shut::Broken)?;
    let bound_to = additional_data(tenant, &field(name));
    let ciphertext = world.seal(key.reveal(), nonce, &bound_to, secret.reveal().as_bytes()).await.ok_or(Shut::Broken)?;
    Ok(Sealed { key_id: key.id().to_owned(), nonce: *nonce, ciphertext }.to_string())
}

/// Opens a tenant's secret. What was opened is remembered, by the sealed text and what it is bound to.
///
/// # Errors
/// Why it cannot be.
pub async fn open<W: Vault>(world: &W, isolate: &Isolate, tenant: &TenantId, name: &str, sealed: &str) -> Result<Secret, Shut> {
    let bound_to = additional_data(tenant, &field(name));
    if let Some(secret) = isolate.opened(&bound_to, sealed) {
        return Ok(secret);
    }
    let parsed = Sealed::parse(sealed).ok_or(Shut::Broken)?;
    let current = sealing_key(isolate)?;
    let key = if current.id() == parsed.key_id { Some(current) } else { key(isolate, PREVIOUS)?.filter(|key| key.id() == parsed.key_id) };
    let key = key.ok_or(Shut::OtherKey(parsed.key_id))?;
    let plain = world.open(key.reveal(), &parsed.nonce, &bound_to, &parsed.ciphertext).await.ok_or(Shut::Broken)?;
    let secret = Sealed::opened(plain).ok_or(Shut::Broken)?;
    isolate.remember_opened(&bound_to, sealed, &secret);
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, run};
    use tollgate_core::auth::hex;

    fn isolate(vars: &[(&str, [u8; 32])]) -> Isolate {
        Isolate::new(vars.iter().map(|(name, key)| ((*name).to_owned(), hex(key))).collect())
    }

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    #[test]
    fn a_secret_opens_where_it_was_sealed_and_nowhere_else() {
        let (world, isolate) = (Fake::new(), isolate(&[(KEY, [1; 32])]));
        let sealed = run(seal(&world, &isolate, &tenant("acme"), "a", &Secret::new("sk-1"))).unwrap();
        let opened = |who: &str, name: &str| run(open(&world, &isolate, &tenant(who), name, &sealed)).map(|s| s.reveal().to_owned());
        assert_eq!(opened("acme", "a"), Ok("sk-1".to_owned()));
        assert_eq!(opened("acme", "b"), Err(Shut::Broken));
        // That it is open for one says nothing for another.
        assert_eq!(opened("evil", "a"), Err(Shut::Broken));
        let asked = world.opened.get();
        assert_eq!(opened("acme", "a"), Ok("sk-1".to_owned()));
        assert_eq!(world.opened.get(), asked, "it is remembered");
        assert_eq!(run(open(&world, &isolate, &tenant("acme"), "a", "plain")), Err(Shut::Broken));
    }

    #[test]
    fn the_key_before_still_opens() {
        let world = Fake::new();
        let sealed = run(seal(&world, &isolate(&[(KEY, [1; 32])]), &tenant("acme"), "a", &Secret::new("sk-1"))).unwrap();
        let opens = |vars: &[(&str, [u8; 32])]| run(open(&world, &isolate(vars), &tenant("acme"), "a", &sealed)).map(|_| ());
        assert_eq!(opens(&[(KEY, [2; 32]), (PREVIOUS, [1; 32])]), Ok(()));
        let id = SecretsKey::parse(&hex(&[1; 32])).unwrap().id().to_owned();
        assert_eq!(opens(&[(KEY, [2; 32]), (PREVIOUS, [3; 32])]), Err(Shut::OtherKey(id.clone())));
        assert_eq!(opens(&[(KEY, [2; 32])]), Err(Shut::OtherKey(id)));
        assert_eq!(opens(&[(PREVIOUS, [1; 32])]), Err(Shut::Unset));
    }

    #[test]
    fn a_variable_that_holds_no_key_is_told() {
        let set = |name: &str| Isolate::new([(name.to_owned(), "short".to_owned())].into());
        assert_eq!(misconfigured(&Isolate::new([].into())), None);
        assert!(misconfigured(&set(KEY)).unwrap().starts_with("The secret TOLLGATE_SECRETS_KEY must be 32 random bytes"));
        assert!(misconfigured(&set(PREVIOUS)).unwrap().starts_with("The secret TOLLGATE_SECRETS_KEY_PREVIOUS must be"));
        assert_eq!(sealing_key(&set(KEY)), Err(Shut::Form(KEY)));
    }
}
