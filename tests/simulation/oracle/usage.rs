//! What the usage counters must show, from the lines alone.

use super::lines::money;
use super::{Broken, Oracle, nano};
use std::collections::BTreeMap;
use tollgate_core::protocol::{Attempt, Counts, Outcome};
use tollgate_core::tenant::{Line, LineKind};

impl Oracle {
    /// Counts a line. `corrected` is the truth, the attempts, and whether a crash had forgotten the
    /// permit; `was` is what it had been counted with.
    pub(super) fn count_line(&mut self, line: &Line, corrected: Option<(i64, &[Attempt], bool)>, was: i64) {
        let (outcome, requests, cost) = match line.kind {
            LineKind::Released => return,
            LineKind::Settled => {
                let attempt = line.attempt.as_ref();
                (attempt.map_or("ok", |a| name(a.outcome)), 1, attempt.map_or(0, |a| a.cost.get()))
            }
            LineKind::Expired => {
                let unknown = line.key.is_empty();
                let cost = money(&line.charges, unknown).map(|c| c.cost.get()).max().unwrap_or(0);
                ("expired", u64::from(!line.key.is_empty()), cost)
            }
            LineKind::Corrected => {
                let (truth, _, unknown) = corrected.unwrap_or((0, &[], false));
                ("corrected", u64::from(unknown), truth - was)
            }
        };
        let last = corrected.map_or(line.attempt.as_ref(), |(_, sent, _)| sent.last());
        let counts = Counts {
            requests,
            input_tokens: last.map_or(0, |a| a.usage.input),
            output_tokens: last.map_or(0, |a| a.usage.output),
            cost: nano(cost),
            latency_ms: last.map_or(0, |a| u64::from(a.latency_ms)),
        };
        self.usage.entry(outcome).or_default().add(counts);
    }

    /// Compares with all counters that were ever stored. Only denials may be lost by a kill.
    pub fn counters(&self, stored: &BTreeMap<String, Counts>) -> Result<(), Broken> {
        for outcome in ["ok", "error", "timeout", "cut", "client_gone", "aborted", "cached", "expired", "corrected"] {
            let (wanted, found) = (self.usage.get(outcome).copied(), stored.get(outcome).copied());
            if wanted.unwrap_or_default() != found.unwrap_or_default() {
                return Err(format!("the counters `{outcome}` show {found:?}, the lines {wanted:?}"));
            }
        }
        let denied = stored.get("denied").map_or(0, |c| c.requests);
        if denied > self.denials {
            return Err(format!("{denied} denials are counted, {} happened", self.denials));
        }
        Ok(())
    }
}

fn name(outcome: Outcome) -> &'static str {
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
