//! Active health checks of the operator's providers: which are due, what they may cost, what came of them.
//!
//! One machine, which the directory's object keeps as one row. A run of cron [`begin`](Checks::begin)s the checks
//! that are due: each is claimed, and what it can cost at worst counts as spent, in the same turn. With what came
//! of them the run [`end`](Checks::end)s them, and the truth replaces the worst case. A run that dies in between
//! leaves its checks at their worst case, so no crash overshoots the budget; a doubled run finds nothing due.
//!
//! There are few providers, so what is known of them is a list: trees and sorting would be the larger part of this in
//! the wasm.

mod policy;
#[cfg(test)]
mod tests;

pub use policy::Policy;

use crate::budget::Period;
use crate::route::mix;
use crate::units::{Millis, NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};

/// Most providers that are remembered.
pub const MAX_PROVIDERS: usize = 256;
/// Most checks of one run; the others are still due at the next.
pub const MAX_IN_A_RUN: usize = 16;
/// Longest explanation of a failed check, in characters.
pub const MAX_WHY: usize = 200;
/// How many checks in a row must fail before anything is concluded from it.
pub const IN_A_ROW: u32 = 2;
/// A check of which nothing is heard for so long is taken for lost. Longer than a run can take.
const LOST_AFTER: Millis = 60_000;
/// A provider that is no longer configured is forgotten after so long. Not at once: during a roll-out two
/// versions may run with different providers.
const FORGOTTEN_AFTER: Millis = 24 * 3_600_000;
/// The interval is longer by up to so many thousandths.
const JITTER: u64 = 100;
/// The checks of a run begin within this share of the interval, at most [`MAX_SPREAD`].
const SPREAD: Millis = 60;
/// Longest time within which the checks of a run begin.
const MAX_SPREAD: Millis = 5_000;
/// What was found is believed for two intervals, and never for less: cron comes once a minute.
const MIN_BELIEVED: Millis = 180_000;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It answers.
    Ok,
    /// It refuses the key, or its account has no credit.
    Auth,
    /// It is asked too often. It answers.
    RateLimited,
    /// It refuses the check itself (400, 404, a redirect), which says nothing about its health.
    Refused,
    /// It fails: no connection, an answer of 500 or above, no answer of its format.
    Down,
    /// It does not answer in time.
    Timeout,
}

impl State {
    /// A slug for answers and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Auth => "auth",
            State::RateLimited => "rate_limited",
            State::Refused => "refused",
            State::Down => "down",
            State::Timeout => "timeout",
        }
    }

    /// Whether nobody is served there, whoever's key it is.
    pub fn unreachable(self) -> bool {
        matches!(self, State::Down | State::Timeout)
    }

    /// Whether nobody is served there with the operator's key.
    pub fn failing(self) -> bool {
        self.unreachable() || self == State::Auth
    }
}

/// Leave for one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Provider.
    pub provider: String,
    /// Its number; no other check has it.
    pub n: u64,
    /// When to begin, in milliseconds from now.
    pub after: Millis,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Provider.
    pub provider: String,
    /// Number of its claim.
    pub n: u64,
    /// What was found.
    pub state: State,
    /// HTTP status; 0 if there was none.
    #[serde(default)]
    pub status: u16,
    /// Milliseconds.
    #[serde(default)]
    pub latency_ms: u32,
    /// What it cost.
    #[serde(default)]
    pub cost: NanoUsd,
    /// What went wrong, in a few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A provider whose state is another than before: its name, what it was (none at its first check), and failing checks
/// in a row by now.
pub type Change = (String, Option<State>, u32);

/// A provider that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreachable {
    /// Provider.
    #[serde(rename = "p")]
    pub provider: String,
    /// Until when that is believed.
    #[serde(rename = "u")]
    pub until: Timestamp,
}

/// What is known of a provider. Stored: change it only additively.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// Provider.
    pub provider: String,
    /// When the last check was to begin.
    pub asked: Timestamp,
    /// By how many thousandths the interval after that is longer.
    pub jitter: u16,
    /// Number of the check that is under way; 0 if none is.
    pub open: u64,
    /// When that was claimed.
    pub claimed: Timestamp,
    /// What was spent for it.
    pub worst: NanoUsd,
    /// What the last check found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// When.
    pub at: Timestamp,
    /// HTTP status; 0 if there was none.
    pub status: u16,
    /// Milliseconds.
    pub latency_ms: u32,
    /// What went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Since when it has been in this state.
    pub since: Timestamp,
    /// Failing checks in a row.
    pub failures: u32,
    /// Checks in a row that it did not answer.
    pub unreachable: u32,
}

/// What is known of all providers, and what was spent on it. Stored: change it only additively.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// The latest time seen: it never runs backwards in here.
    clock: Timestamp,
    /// Number of the last claim.
    issued: u64,
    /// The day, in UTC, on which `spent` was spent.
    day: Timestamp,
    spent: NanoUsd,
    rows: Vec<Row>,
}

impl Row {
    /// When the next check is due.
    pub fn next(&self, policy: &Policy) -> Timestamp {
        let longer = policy.interval.saturating_mul(i64::from(self.jitter)).checked_div(1_000).unwrap_or(0);
        if self.asked == Timestamp(0) { Timestamp(0) } else { self.asked.plus(policy.interval).plus(longer) }
    }

    fn due(&self, now: Timestamp, policy: &Policy) -> bool {
        let under_way = self.open > 0 && now.since(self.claimed) < LOST_AFTER;
        self.next(policy) <= now && !under_way
    }

    /// Whether what was found last is still believed.
    pub fn fresh(&self, now: Timestamp, policy: &Policy) -> bool {
        self.state.is_some() && now < self.at.plus(policy.believed())
    }

    /// Whether it is failing for the operator's key: so found twice in a row, and lately.
    pub fn failing(&self, now: Timestamp, policy: &Policy) -> bool {
        self.failures >= IN_A_ROW && self.fresh(now, policy)
    }
}

impl Policy {
    /// How long what was found is believed.
    fn believed(&self) -> Millis {
        self.interval.saturating_mul(2).max(MIN_BELIEVED)
    }
}

impl Checks {
    /// Claims the checks that are due and that the budget still covers. `seed` are random bits; `wanted` are the
    /// providers that can be checked, each with what that costs at worst.
    pub fn begin(&mut self, now: Timestamp, policy: &Policy, seed: u64, wanted: &[(String, NanoUsd)]) -> Vec<Claim> {
        let now = self.pass(now);
        if policy.interval <= 0 {
            return Vec::new();
        }
        let wanted = wanted.get(..MAX_PROVIDERS).unwrap_or(wanted);
        self.forget(now, wanted);
        for (name, _) in wanted {
            if self.row(name).is_none() {
                self.rows.push(Row { provider: name.clone(), ..Row::default() });
            }
        }
        let mut claims = Vec::new();
        while claims.len() < MAX_IN_A_RUN {
            let (spent, budget) = (self.spent, policy.budget);
            let worst = |row: &Row| wanted.iter().find(|(name, _)| *name == row.provider).map(|(_, worst)| worst.at_least_zero());
            let covered = |worst: NanoUsd| worst == NanoUsd::ZERO || spent.plus(worst) <= budget;
            let due = self.rows.iter_mut().filter(|row| row.due(now, policy));
            let due = due.filter_map(|row| Some((worst(row).filter(|worst| covered(*worst))?, row)));
            // Who has waited longest comes first; among those who have waited as long, chance decides.
            let Some((worst, row)) = due.min_by_key(|(_, row)| (row.next(policy), mix(seed, &row.provider))) else { break };
            self.spent = spent.plus(worst);
            self.issued = self.issued.saturating_add(1);
            let chance = mix(seed, &row.provider);
            let after = below(chance, policy.interval.checked_div(SPREAD).unwrap_or(0).clamp(0, MAX_SPREAD));
            row.asked = now.plus(after);
            row.jitter = u16::try_from(mix(chance, "interval").checked_rem(JITTER).unwrap_or(0)).unwrap_or(0);
            (row.open, row.claimed, row.worst) = (self.issued, now, worst);
            claims.push(Claim { provider: row.provider.clone(), n: self.issued, after });
        }
        claims
    }

    /// Takes in what came of checks, each once, and returns where a state is another than before.
    pub fn end(&mut self, now: Timestamp, results: Vec<Checked>) -> Vec<Change> {
        let now = self.pass(now);
        let mut changes = Vec::new();
        for Checked { provider, n, state, status, latency_ms, cost, why } in results {
            let Some(row) = self.rows.iter_mut().find(|row| row.provider == provider && row.open == n && n > 0) else { continue };
            row.open = 0;
            // What was claimed yesterday belongs to yesterday's budget.
            if Period::Day.start(row.claimed) == self.day {
                self.spent = self.spent.minus(row.worst).plus(cost.at_least_zero()).at_least_zero();
            }
            let count = |n: u32, yes: bool| if yes { n.saturating_add(1) } else { 0 };
            row.failures = count(row.failures, state.failing());
            row.unreachable = count(row.unreachable, state.unreachable());
            let from = row.state.replace(state);
            (row.at, row.status, row.latency_ms, row.why) = (now, status, latency_ms, why.chars().take(MAX_WHY).collect());
            if from != Some(state) {
                row.since = now;
                changes.push((provider, from, row.failures));
            }
        }
        changes
    }

    /// What is known of a provider.
    pub fn row(&self, provider: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.provider == provider)
    }

    /// What was spent today, checks under way at their worst case.
    pub fn spent(&self, now: Timestamp) -> NanoUsd {
        if Period::Day.start(now.max(self.clock)) == self.day { self.spent } else { NanoUsd::ZERO }
    }

    /// The providers that do not answer: so found twice in a row, and lately.
    pub fn unreachable(&self, now: Timestamp, policy: &Policy) -> Vec<Unreachable> {
        let found = |row: &&Row| policy.interval > 0 && row.unreachable >= IN_A_ROW && row.fresh(now, policy);
        let of = |row: &Row| Unreachable { provider: row.provider.clone(), until: row.at.plus(policy.believed()) };
        self.rows.iter().filter(found).map(of).collect()
    }

    /// Lets time pass.
    fn pass(&mut self, now: Timestamp) -> Timestamp {
        self.clock = self.clock.max(now);
        let day = Period::Day.start(self.clock);
        if day != self.day {
            (self.day, self.spent) = (day, NanoUsd::ZERO);
        }
        self.clock
    }

    /// Forgets providers that nobody wants checked any more.
    fn forget(&mut self, now: Timestamp, wanted: &[(String, NanoUsd)]) {
        let wants = |row: &Row| wanted.iter().any(|(name, _)| *name == row.provider);
        self.rows.retain(|row| wants(row) || now.since(row.asked) < FORGOTTEN_AFTER);
        let new = wanted.iter().filter(|(name, _)| self.row(name).is_none()).count();
        if self.rows.len().saturating_add(new) > MAX_PROVIDERS {
            self.rows.retain(wants);
        }
    }
}

/// A number from 0 to `most`, by chance.
fn below(chance: u64, most: Millis) -> Millis {
    let most = u64::try_from(most).unwrap_or(0);
    i64::try_from(chance.checked_rem(most.saturating_add(1)).unwrap_or(0)).unwrap_or(0)
}
