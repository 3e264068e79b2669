//! Minute counters: what was used, and what is due to be added to the ones on disk.

use super::MAX_TALLY;
use super::facts::{Charge, Expired, Line, LineKind};
use super::ledger::Ledger;
use crate::budget::Measure;
use crate::protocol::{Counts, Outcome};
use crate::units::{Amount, Timestamp};

/// What a minute counter is counted under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TallyKey {
    pub minute: Timestamp,
    pub key: String,
    pub provider: String,
    pub model: String,
    pub status: u16,
    pub outcome: &'static str,
}

impl Ledger {
    /// Counts a line; `corrects` is what it corrects.
    pub(super) fn tally_line(&mut self, line: &Line, corrects: Option<&Expired>) {
        let outcome = match (line.kind, line.attempt.as_ref().map(|a| a.outcome)) {
            (LineKind::Released, _) => return,
            (LineKind::Expired, _) => "expired",
            (LineKind::Corrected, _) => "corrected",
            (LineKind::Settled, Some(outcome)) => outcome_name(outcome),
            (LineKind::Settled, None) => "ok",
        };
        // Each account is charged the same; the request cost it once. Only what a crash forgot is charged
        // by account.
        let truth = line.attempt.as_ref().map(|a| a.cost).unwrap_or_default();
        let most = |amounts: &mut dyn Iterator<Item = Amount>| amounts.max().unwrap_or_default().usd();
        let (requests, cost) = match (line.kind, corrects) {
            // It may never have been given: it is a request when somebody tells of it.
            (LineKind::Expired, _) if line.key.is_empty() => (0, most(&mut budgets(&line.charges).map(|c| c.cost))),
            (LineKind::Expired, _) => (1, most(&mut money(&line.charges).map(|c| c.cost))),
            (LineKind::Corrected, Some(was)) if was.unknown => (1, truth.minus(most(&mut budgets(&line.charges).map(|c| c.hold)))),
            (LineKind::Corrected, was) => {
                let charged = was.map(|w| most(&mut money(&w.charges).map(|c| c.cost))).unwrap_or_default();
                (0, truth.minus(charged))
            }
            (LineKind::Settled | LineKind::Released, _) => (1, truth),
        };
        let counts = Counts {
            requests,
            input_tokens: line.attempt.as_ref().map_or(0, |a| a.usage.input),
            output_tokens: line.attempt.as_ref().map_or(0, |a| a.usage.output),
            cost,
            latency_ms: line.attempt.as_ref().map_or(0, |a| u64::from(a.latency_ms)),
        };
        self.totals.requests = self.totals.requests.saturating_add(counts.requests);
        self.totals.cost = self.totals.cost.plus(cost);
        let (provider, model, status) = match &line.attempt {
            Some(a) => (a.provider.clone(), a.model.clone(), a.status),
            None => (String::new(), String::new(), 0),
        };
        self.tally(TallyKey { minute: minute(line.at), key: line.key.clone(), provider, model, status, outcome }, counts);
    }

    /// Adds to a minute counter.
    pub fn tally(&mut self, mut key: TallyKey, counts: Counts) {
        if self.tally.len() >= MAX_TALLY && !self.tally.contains_key(&key) {
            "other".clone_into(&mut key.model);
        }
        self.tally.entry(key).or_default().add(counts);
    }
}

/// What was charged to budgets with periods. Of what a crash forgot only these know how much it was.
fn budgets(charges: &[Charge]) -> impl Iterator<Item = &Charge> {
    charges.iter().filter(|c| c.account.measure == Measure::Budget)
}

/// What was charged in money.
fn money(charges: &[Charge]) -> impl Iterator<Item = &Charge> {
    charges.iter().filter(|c| c.account.measure.is_money())
}

/// Start of the minute.
pub(super) fn minute(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_sub(at.0.checked_rem_euclid(60_000).unwrap_or(0)))
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Error => "error",
        Outcome::Timeout => "timeout",
        Outcome::Cut => "cut",
        Outcome::ClientGone => "client_gone",
        Outcome::Aborted => "aborted",
        Outcome::Cached => "cached",
    }
}
