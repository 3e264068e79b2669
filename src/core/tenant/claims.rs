//! Idempotency: a request with an `Idempotency-Key` is claimed before it has an effect, in the turn that
//! gives its permit.
//!
//! | the claim is | the same key and body are answered |
//! |---|---|
//! | running | in progress: its permit is open |
//! | done | the stored answer |
//! | over | answered, with nothing to repeat: the answer was too large, or its worker died before it could store it |
//!
//! Another body under the same key is a conflict. A claim is freed when its permit was released, expired,
//! or ended without a whole answer: then a repetition really tries again.

use super::facts::{Line, LineKind};
use super::{Query, Tenant, Write};
use crate::ids::PermitId;
use crate::protocol::{Denial, Idempotency, MAX_ANSWER, MAX_HASH, Outcome, Repeated, Reply, StoredAnswer};
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long an answer is kept for repetitions.
pub const CLAIM_LIFE: Millis = 24 * 3_600_000;
/// Most claims of a tenant: they are all in memory. The oldest that is not running goes first.
pub const MAX_CLAIMS: usize = 10_000;
/// Most bytes of answers of a tenant.
pub const MAX_CLAIM_BYTES: u64 = 64_000_000;
/// When to ask again for a request that is under way.
const ASK_AGAIN: Millis = 1_000;

/// A request that must have its effect once. Stored: change it only additively.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Gateway key's id.
    pub key: String,
    /// Hash of the idempotency key.
    pub hash: String,
    /// Hash of the body.
    pub body: String,
    /// The permit that it was sent under.
    pub permit: PermitId,
    /// When.
    pub at: Timestamp,
    /// How far it has come.
    pub state: ClaimState,
    /// Bytes of its answer.
    #[serde(default)]
    pub bytes: u64,
}

/// How far a claimed request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimState {
    /// Its permit is open.
    Running,
    /// It was answered, and the answer is not here.
    Over,
    /// It was answered, and the answer is stored.
    Done,
}

/// Claims by gateway key's id and hash, and where the running ones are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claims {
    all: BTreeMap<(String, String), Claim>,
    by_permit: BTreeMap<PermitId, (String, String)>,
    bytes: u64,
}

/// What an idempotency key means for a request.
pub(super) enum Found {
    /// It may pass, and is to be claimed.
    Free,
    /// It may not.
    Denied(Denial),
    /// It was answered before: the answer, or where it is.
    Replay(Result<Query, Reply>),
}

impl Claims {
    pub fn load(stored: Vec<Claim>) -> Claims {
        let mut claims = Claims::default();
        stored.into_iter().for_each(|claim| claims.put(claim));
        claims
    }

    fn put(&mut self, claim: Claim) {
        let name = (claim.key.clone(), claim.hash.clone());
        self.remove(&name);
        self.bytes = self.bytes.saturating_add(claim.bytes);
        self.by_permit.insert(claim.permit, name.clone());
        self.all.insert(name, claim);
    }

    fn remove(&mut self, name: &(String, String)) -> Option<Claim> {
        let claim = self.all.remove(name)?;
        self.by_permit.remove(&claim.permit);
        self.bytes = self.bytes.saturating_sub(claim.bytes);
        Some(claim)
    }

    fn oldest(&self) -> Option<(String, String)> {
        let ended = self.all.iter().filter(|(_, c)| c.state != ClaimState::Running);
        ended.min_by_key(|(_, c)| c.at).map(|(name, _)| name.clone())
    }
}

impl Tenant {
    /// What became of an earlier request with the same idempotency key.
    pub(super) fn claimed(&self, now: Timestamp, key: &str, asked: &Idempotency) -> Found {
        if asked.key_hash.len() > MAX_HASH || asked.body_hash.len() > MAX_HASH {
            let why = format!("a hash has at most {MAX_HASH} bytes");
            return Found::Replay(Err(Reply::Failed { why }));
        }
        let denied = |state, retry_after| Found::Denied(Denial::Idempotency { state, retry_after });
        let name = (key.to_owned(), asked.key_hash.clone());
        let claim = self.claims.all.get(&name).filter(|c| c.state == ClaimState::Running || now.since(c.at) < CLAIM_LIFE);
        match claim {
            None if self.claims.all.len() >= MAX_CLAIMS && self.claims.oldest().is_none() => denied(Repeated::Full, ASK_AGAIN),
            None => Found::Free,
            Some(claim) if claim.body != asked.body_hash => denied(Repeated::Conflict, 0),
            Some(claim) => match claim.state {
                ClaimState::Running => denied(Repeated::InProgress, ASK_AGAIN),
                ClaimState::Over => Found::Replay(Err(Reply::Replay { stored: None })),
                ClaimState::Done => Found::Replay(Ok(Query::Answer { key: name.0, hash: name.1 })),
            },
        }
    }

    /// Claims a request that is about to be sent.
    pub(super) fn claim(&mut self, now: Timestamp, key: &str, asked: &Idempotency, permit: PermitId, writes: &mut Vec<Write>) {
        while self.claims.all.len() >= MAX_CLAIMS {
            let Some(oldest) = self.claims.oldest() else { break };
            self.unclaim(&oldest, writes);
        }
        let claim = Claim {
            key: key.to_owned(),
            hash: asked.key_hash.clone(),
            body: asked.body_hash.clone(),
            permit,
            at: now,
            state: ClaimState::Running,
            bytes: 0,
        };
        // What was there before has run out of time.
        self.unclaim(&(claim.key.clone(), claim.hash.clone()), writes);
        writes.push(Write::Claim(Box::new(claim.clone())));
        self.claims.put(claim);
    }

    fn unclaim(&mut self, name: &(String, String), writes: &mut Vec<Write>) {
        if self.claims.remove(name).is_some() {
            writes.push(Write::Unclaim { key: name.0.clone(), hash: name.1.clone() });
        }
    }

    /// Stores an answer for repetitions. A second one changes nothing.
    pub(super) fn complete(&mut self, permit: PermitId, answer: StoredAnswer, writes: &mut Vec<Write>) -> Reply {
        if self.config.is_none() {
            return Reply::NoTenant;
        }
        let known = self.claims.by_permit.get(&permit).and_then(|name| self.claims.all.get(name));
        let Some(claim) = known.filter(|c| c.state != ClaimState::Done).cloned() else { return Reply::Done };
        let size =
            answer.headers.iter().fold(answer.body.len(), |n, (name, value)| n.saturating_add(name.len()).saturating_add(value.len()));
        if size > MAX_ANSWER {
            self.put_claim(Claim { state: ClaimState::Over, ..claim }, writes);
            return Reply::Done;
        }
        let bytes = u64::try_from(size).unwrap_or(u64::MAX);
        writes.push(Write::Answer { key: claim.key.clone(), hash: claim.hash.clone(), answer: Box::new(answer) });
        self.put_claim(Claim { state: ClaimState::Done, bytes, ..claim }, writes);
        while self.claims.bytes > MAX_CLAIM_BYTES {
            let Some(oldest) = self.claims.oldest() else { break };
            self.unclaim(&oldest, writes);
        }
        Reply::Done
    }

    fn put_claim(&mut self, claim: Claim, writes: &mut Vec<Write>) {
        writes.push(Write::Claim(Box::new(claim.clone())));
        self.claims.put(claim);
    }

    /// Permits have ended: their claims are over or free.
    pub(super) fn end_claims(&mut self, lines: &[Line], writes: &mut Vec<Write>) {
        if self.claims.by_permit.is_empty() {
            return;
        }
        for last in lines.chunk_by(|a, b| a.permit == b.permit).filter_map(<[Line]>::last) {
            let Some(name) = self.claims.by_permit.get(&last.permit).cloned() else { continue };
            let Some(claim) = self.claims.all.get(&name).filter(|c| c.state == ClaimState::Running).cloned() else { continue };
            let answered = last.attempt.as_ref().is_some_and(|a| matches!(a.outcome, Outcome::Ok | Outcome::Cached));
            if last.kind == LineKind::Settled && answered {
                self.put_claim(Claim { state: ClaimState::Over, ..claim }, writes);
            } else {
                self.unclaim(&name, writes);
            }
        }
    }

    /// Forgets claims whose time is over.
    pub(super) fn forget_claims(&mut self, now: Timestamp, writes: &mut Vec<Write>) {
        let over = |c: &Claim| c.state != ClaimState::Running && now.since(c.at) >= CLAIM_LIFE;
        let gone: Vec<_> = self.claims.all.iter().filter(|(_, c)| over(c)).map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.unclaim(name, writes));
    }
}
