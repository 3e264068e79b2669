//! Several keys of one provider: which to use next, and which to leave alone for a while.
//!
//! Keys take turns. One that the provider throttled (429), that has no credit (402) or that is not valid
//! (401) rests, and the others go on. A provider's key is never asked for twice by one request, and a
//! request that has asked with none yet is always given one: if all of them rest, that whose rest ends
//! first. Whether a provider that fails is to be left alone as a whole is for its breaker to say.

mod verdict;

pub use verdict::{Verdict, Why};

use crate::auth;
use crate::map::Map;
use crate::secret::Secret;
use crate::units::{Millis, Timestamp};
use std::rc::Rc;

/// Most keys of one provider.
pub const MAX_KEYS: usize = 9;
/// Most keys whose trouble is remembered.
pub const MAX_TROUBLED: usize = 1_000;
/// Most rings whose turn is remembered.
pub const MAX_TURNS: usize = 1_000;
/// How long a throttled key rests where the provider does not tell.
const THROTTLED_FOR: Millis = 5_000;
/// How long it rests at most.
const MAX_THROTTLED: Millis = 60_000;
/// How long a key without credit rests.
const NO_CREDIT_FOR: Millis = 300_000;
/// How long a key that is not valid rests at first; each time twice as long.
const REFUSED_FOR: Millis = 300_000;
/// How long it rests at most.
const MAX_REFUSED: Millis = 3_600_000;

/// What a key is known by: a hash of whose it is, its provider and the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(String);

/// A provider's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderKey {
    /// What it is known by.
    pub id: KeyId,
    /// The tenant that it belongs to; empty for the operator.
    pub owner: Rc<str>,
    /// Provider.
    pub provider: Rc<str>,
    /// Name of the variable or secret that holds it.
    pub name: Rc<str>,
    /// The key, or what it was exchanged for.
    pub secret: Secret,
    /// Its last four characters, if it is long enough to show them.
    pub last4: Option<String>,
}

/// The keys of one owner for one provider, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    owner: Rc<str>,
    provider: Rc<str>,
    keys: Vec<ProviderKey>,
}

impl Ring {
    /// Keys as (name, key): the first [`MAX_KEYS`] that differ and are not empty.
    pub fn new(owner: &str, provider: &str, keys: impl IntoIterator<Item = (String, Secret)>) -> Ring {
        let (owner, provider): (Rc<str>, Rc<str>) = (owner.into(), provider.into());
        let mut ring = Ring { owner: Rc::clone(&owner), provider: Rc::clone(&provider), keys: Vec::new() };
        for (name, secret) in keys {
            let known = ring.keys.iter().any(|k| k.secret == secret);
            if known || secret.reveal().is_empty() || ring.keys.len() >= MAX_KEYS {
                continue;
            }
            let hash = auth::digest(&[b"provider key", owner.as_bytes(), provider.as_bytes(), secret.reveal().as_bytes()]);
            let id = KeyId(hash.chars().take(32).collect());
            let (owner, provider, last4) = (Rc::clone(&owner), Rc::clone(&provider), secret.last4());
            ring.keys.push(ProviderKey { id, owner, provider, name: name.into(), secret, last4 });
        }
        ring
    }

    /// The keys.
    pub fn keys(&self) -> &[ProviderKey] {
        &self.keys
    }

    /// The same ring with what these keys were exchanged for: what a provider says then is said about
    /// the key itself. A key that is not among them is left out.
    #[must_use]
    pub fn exchanged(&self, exchanged: &[(KeyId, Secret)]) -> Ring {
        let key = |key: &ProviderKey| {
            let (_, secret) = exchanged.iter().find(|(id, _)| *id == key.id)?;
            Some(ProviderKey { secret: secret.clone(), ..key.clone() })
        };
        Ring { keys: self.keys.iter().filter_map(key).collect(), ..self.clone() }
    }
}

/// A key that the provider refuses: somebody has to replace it, or to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The tenant that it belongs to; empty for the operator.
    pub owner: String,
    /// Provider.
    pub provider: String,
    /// Name of the variable or secret that holds it.
    pub name: String,
    /// Its last four characters, if it is long enough to show them.
    pub last4: Option<String>,
    /// Why.
    pub why: Why,
    /// Since when.
    pub since: Timestamp,
    /// When it is tried again.
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    key: ProviderKey,
    why: Why,
    since: Timestamp,
    until: Timestamp,
    /// How often it was refused without a success in between.
    times: u32,
}

/// What is known of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    troubles: Map<KeyId, Trouble>,
    /// Index of the next key, by owner and provider.
    turns: Map<(Rc<str>, Rc<str>), usize>,
}

impl Keyring {
    /// The next key for a request that has `tried` these already. `seed` says where to begin with a ring
    /// that is new here, so that several isolates do not all begin with the same key.
    ///
    /// With `tried` empty this is `None` only if the ring is empty. Otherwise only a key that does not
    /// rest is given.
    pub fn choose<'a>(&mut self, ring: &'a Ring, tried: &[KeyId], now: Timestamp, seed: u64) -> Option<&'a ProviderKey> {
        if let ([only], []) = (ring.keys.as_slice(), tried) {
            return Some(only);
        }
        let n = ring.keys.len();
        let turn = (Rc::clone(&ring.owner), Rc::clone(&ring.provider));
        let begin = || usize::try_from(seed.checked_rem(u64::try_from(n).unwrap_or(1)).unwrap_or(0)).unwrap_or(0);
        let start = self.turns.get(&turn).copied().unwrap_or_else(begin);
        let in_turn = ring.keys.iter().enumerate().cycle().skip(start).take(n);
        let fresh = in_turn.filter(|(_, key)| !tried.contains(&key.id));
        let usable = fresh.clone().find(|(_, key)| !self.rests(&key.id, now));
        let last_resort = || fresh.clone().filter(|_| tried.is_empty()).min_by_key(|(_, key)| self.resort(&key.id));
        let (index, key) = usable.or_else(last_resort)?;
        if self.turns.len() >= MAX_TURNS && !self.turns.contains_key(&turn) {
            self.turns.clear();
        }
        self.turns.insert(turn, index.saturating_add(1).checked_rem(n).unwrap_or(0));
        Some(key)
    }

    /// Whether a key is to be left alone at `now`.
    pub fn rests(&self, key: &KeyId, now: Timestamp) -> bool {
        self.troubles.get(key).is_some_and(|t| now < t.until)
    }

    /// How bad a last resort it is.
    fn resort(&self, key: &KeyId) -> (bool, Timestamp) {
        self.troubles.get(key).map_or((false, Timestamp(0)), |t| (t.why != Why::Throttled, t.until))
    }

    /// A provider answered a request with this key. `retry_after` is what it asked to wait.
    ///
    /// Returns the key if it is dead since this answer: to be logged once.
    pub fn outcome(&mut self, key: &ProviderKey, verdict: Verdict, retry_after: Option<Millis>, now: Timestamp) -> Option<Dead> {
        let why = match verdict {
            Verdict::Unrelated => return None,
            Verdict::Works => {
                self.troubles.remove(&key.id);
                return None;
            }
            Verdict::Trouble(why) => why,
        };
        if self.troubles.len() >= MAX_TROUBLED && !self.troubles.contains_key(&key.id) {
            self.make_room(now);
        }
        let known = self.troubles.get(&key.id);
        // Requests that were under way together tell the same once.
        let resting = known.filter(|t| now < t.until);
        if resting.is_some_and(|t| t.why.rank() > why.rank() || (t.why == why && why != Why::Throttled)) {
            return None;
        }
        let same = known.filter(|t| t.why == why);
        let times = same.map_or(1, |t| t.times.saturating_add(1));
        let rest = match why {
            Why::Throttled => retry_after.unwrap_or(THROTTLED_FOR).clamp(0, MAX_THROTTLED),
            Why::NoCredit => NO_CREDIT_FOR,
            Why::Refused => {
                let doubled = 1_i64.checked_shl(times.saturating_sub(1).min(8)).unwrap_or(1);
                REFUSED_FOR.saturating_mul(doubled).min(MAX_REFUSED)
            }
        };
        let until = now.plus(rest).max(resting.map_or(Timestamp(0), |t| t.until.min(now.plus(MAX_REFUSED))));
        let trouble = Trouble { key: key.clone(), why, since: same.map_or(now, |t| t.since), until, times };
        let told = (why != Why::Throttled).then(|| trouble.dead());
        self.troubles.insert(key.id.clone(), trouble);
        told
    }

    /// The keys that the provider refused when they were last asked with.
    pub fn dead(&self) -> Vec<Dead> {
        self.troubles.values().filter(|t| t.why != Why::Throttled).map(Trouble::dead).collect()
    }

    /// Forgets what is over, and where that is not enough everything: it is learnt again.
    fn make_room(&mut self, now: Timestamp) {
        self.troubles.retain(|_, t| now < t.until);
        if self.troubles.len() >= MAX_TROUBLED {
            self.troubles.clear();
        }
    }
}

impl Trouble {
    fn dead(&self) -> Dead {
        Dead {
            owner: self.key.owner.to_string(),
            provider: self.key.provider.to_string(),
            name: self.key.name.to_string(),
            last4: self.key.last4.clone(),
            why: self.why,
            since: self.since,
            until: self.until,
        }
    }
}

#[cfg(test)]
mod tests;
