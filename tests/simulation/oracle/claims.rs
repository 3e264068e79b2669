//! Each request with an idempotency key has its effect once.

use super::{Broken, End, Oracle};
use std::collections::BTreeMap;
use tollgate_core::ids::PermitId;
use tollgate_core::protocol::{Admit, Denial, Outcome, Repeated, StoredAnswer};

/// The last request that was let pass under a key.
pub struct Claimed {
    body: String,
    permit: PermitId,
    at: i64,
}

#[derive(Default)]
pub struct Claims {
    last: BTreeMap<(String, String), Claimed>,
    /// Answers that were acknowledged.
    pub stored: BTreeMap<PermitId, StoredAnswer>,
}

/// How long an answer is kept.
const DAY: i64 = 24 * 3_600_000;

impl Oracle {
    /// The last permit under the request's idempotency key, and whether it has had an effect or may have.
    fn claimed(&self, admit: &Admit) -> Option<(&Claimed, bool)> {
        let asked = admit.idempotency.as_ref()?;
        let key = self.keys.get(&admit.key_hash)?;
        let last = self.claims.last.get(&(key.id.clone(), asked.key_hash.clone()))?;
        let given = self.given.get(&last.permit)?;
        let answered = given.sent.iter().flatten().last().is_some_and(|a| matches!(a.outcome, Outcome::Ok | Outcome::Cached));
        let done = self.claims.stored.contains_key(&last.permit);
        let recent = self.time.clock.0 - last.at < DAY;
        let taken = given.end == End::Open || (recent && (done || (given.end == End::Settled && answered)));
        Some((last, taken))
    }

    /// A permit for a request with an idempotency key.
    ///
    /// # Errors
    /// When it was sent before.
    pub(super) fn claim(&mut self, admit: &Admit, permit: PermitId) -> Result<(), Broken> {
        let (Some(asked), Some(key)) = (&admit.idempotency, self.keys.get(&admit.key_hash)) else { return Ok(()) };
        if let Some((last, true)) = self.claimed(admit) {
            return Err(format!("{asked:?} has its effect twice: {} and {permit}", last.permit));
        }
        let claimed = Claimed { body: asked.body_hash.clone(), permit, at: self.time.clock.0 };
        self.claims.last.insert((key.id.clone(), asked.key_hash.clone()), claimed);
        Ok(())
    }

    /// An answer is given again.
    ///
    /// # Errors
    /// When it is another, or of another request.
    pub fn replayed(&mut self, admit: &Admit, stored: Option<&StoredAnswer>) -> Result<(), Broken> {
        let body = admit.idempotency.as_ref().map(|i| &i.body_hash);
        match self.claimed(admit) {
            Some((last, true)) if Some(&last.body) == body && stored == self.claims.stored.get(&last.permit) => {
                self.tally.replayed += 1;
                Ok(())
            }
            other => Err(format!("{stored:?} is given again for {:?}", other.map(|(last, _)| last.permit))),
        }
    }

    /// A request is denied for its idempotency key.
    pub(super) fn denied_for_claim(&mut self, admit: &Admit, why: &Denial) -> Result<(), Broken> {
        let body = admit.idempotency.as_ref().map(|i| i.body_hash.clone());
        let right = match (why, self.claimed(admit)) {
            (Denial::Idempotency { state: Repeated::Conflict, .. }, Some((last, true))) => Some(&last.body) != body.as_ref(),
            (Denial::Idempotency { state: Repeated::InProgress, .. }, Some((last, true))) => {
                Some(&last.body) == body.as_ref() && self.given.get(&last.permit).is_some_and(|g| g.end == End::Open)
            }
            _ => false,
        };
        self.tally.denied_by_claim += 1;
        if right { Ok(()) } else { Err(format!("denied: {why:?} of {:?}", admit.idempotency)) }
    }

    /// An answer was acknowledged. It is kept if its permit's claim was still there.
    pub fn completed(&mut self, permit: PermitId, answer: &StoredAnswer) {
        let claims = self.claims.last.values().any(|c| c.permit == permit);
        let Some(given) = self.given.get(&permit).filter(|_| claims) else { return };
        let answered = given.sent.iter().flatten().last().is_some_and(|a| matches!(a.outcome, Outcome::Ok | Outcome::Cached));
        if given.end == End::Open || (given.end == End::Settled && answered) {
            self.claims.stored.entry(permit).or_insert_with(|| answer.clone());
        }
    }
}
