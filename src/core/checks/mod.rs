//! Active health checks of the operator's providers: which are due, what they may cost, what came of them.
//!
//! One machine, which the directory's object keeps as one row. A run of cron [`begin`](Checks::begin)s the checks
//! that are due: each is claimed, and what it can cost at worst counts as spent, in the same turn. With what came
//! of them the run [`end`](Checks::end)s them, and the truth replaces the worst case. A run that dies in between
//! leaves its checks at their worst case, so no crash overshoots the budget; a doubled run finds nothing due.

mod policy;
#[cfg(test)]
mod tests;

pub use policy::Policy;

use crate::budget::Period;
use crate::route::mix;
use crate::units::{Millis, NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// A provider that can be checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Provider.
    pub provider: String,
    /// What its check costs at worst; nothing where it is free.
    #[serde(default)]
    pub worst: NanoUsd,
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

/// A provider whose state is another than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it was; none at its first check.
    pub from: Option<State>,
    /// What was found.
    pub to: Checked,
    /// Failing checks in a row, this one included.
    pub failures: u32,
}

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
    /// When a check was last claimed for it, and when it was to begin.
    pub asked: Timestamp,
    /// By how many thousandths the interval after that is longer.
    pub jitter: u16,
    /// The check that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
    /// What the last check found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// Since when it has been found so.
    pub since: Timestamp,
    /// Failing checks in a row.
    pub failures: u32,
    /// Checks in a row that it did not answer.
    pub unreachable: u32,
}

/// A check that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Its number.
    pub n: u64,
    /// When it was claimed.
    pub at: Timestamp,
    /// What was spent for it.
    pub worst: NanoUsd,
}

/// What a check found, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// When.
    pub at: Timestamp,
    /// What.
    pub state: State,
    /// HTTP status; 0 if there was none.
    #[serde(default)]
    pub status: u16,
    /// Milliseconds.
    #[serde(default)]
    pub latency_ms: u32,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
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
    rows: BTreeMap<String, Row>,
}

impl Row {
    /// When the next check is due.
    pub fn next(&self, policy: &Policy) -> Timestamp {
        let longer = policy.interval.saturating_mul(i64::from(self.jitter)).checked_div(1_000).unwrap_or(0);
        if self.asked == Timestamp(0) { Timestamp(0) } else { self.asked.plus(policy.interval).plus(longer) }
    }

    fn due(&self, now: Timestamp, policy: &Policy) -> bool {
        let under_way = self.open.is_some_and(|open| now.since(open.at) < LOST_AFTER);
        self.next(policy) <= now && !under_way
    }

    /// Whether what was found last is still believed.
    pub fn fresh(&self, now: Timestamp, policy: &Policy) -> bool {
        self.found.as_ref().is_some_and(|found| now < found.at.plus(policy.believed()))
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
    /// Claims the checks that are due and that the budget still covers. `seed` are random bits.
    pub fn begin(&mut self, now: Timestamp, policy: &Policy, seed: u64, wanted: &[Wanted]) -> Vec<Claim> {
        let now = self.pass(now);
        if policy.interval <= 0 {
            return Vec::new();
        }
        let wanted: BTreeMap<&str, NanoUsd> =
            wanted.iter().take(MAX_PROVIDERS).map(|w| (w.provider.as_str(), w.worst.at_least_zero())).collect();
        self.forget(now, &wanted);
        let none = Row::default();
        let row = |name: &str| self.rows.get(name).unwrap_or(&none);
        let mut due: Vec<(Timestamp, u64, &str, NanoUsd)> = wanted
            .iter()
            .filter(|(name, _)| row(name).due(now, policy))
            .map(|(name, worst)| (row(name).next(policy), mix(seed, name), *name, *worst))
            .collect();
        // Who has waited longest comes first; among those who have waited as long, chance decides.
        due.sort();
        let mut claims = Vec::new();
        for (_, chance, name, worst) in due {
            let covered = worst == NanoUsd::ZERO || self.spent.plus(worst) <= policy.budget;
            if claims.len() >= MAX_IN_A_RUN || !covered {
                continue;
            }
            self.spent = self.spent.plus(worst);
            self.issued = self.issued.saturating_add(1);
            let after = policy.interval.checked_div(SPREAD).unwrap_or(0).clamp(0, MAX_SPREAD);
            let after = below(chance, after);
            let row = self.rows.entry(name.to_owned()).or_default();
            row.asked = now.plus(after);
            row.jitter = u16::try_from(mix(chance, "interval").checked_rem(JITTER).unwrap_or(0)).unwrap_or(0);
            row.open = Some(Open { n: self.issued, at: now, worst });
            claims.push(Claim { provider: name.to_owned(), n: self.issued, after });
        }
        claims
    }

    /// Takes in what came of checks, each once, and returns where a state is another than before.
    pub fn end(&mut self, now: Timestamp, results: Vec<Checked>) -> Vec<Change> {
        let now = self.pass(now);
        let mut changes = Vec::new();
        for mut checked in results {
            let Some(row) = self.rows.get_mut(&checked.provider) else { continue };
            let Some(open) = row.open.take_if(|open| open.n == checked.n) else { continue };
            // What was claimed yesterday belongs to yesterday's budget.
            if Period::Day.start(open.at) == self.day {
                self.spent = self.spent.minus(open.worst).plus(checked.cost.at_least_zero()).at_least_zero();
            }
            checked.why = checked.why.chars().take(MAX_WHY).collect();
            let state = checked.state;
            let count = |n: u32, yes: bool| if yes { n.saturating_add(1) } else { 0 };
            row.failures = count(row.failures, state.failing());
            row.unreachable = count(row.unreachable, state.unreachable());
            let from = row.found.as_ref().map(|found| found.state);
            let Checked { status, latency_ms, ref why, .. } = checked;
            row.found = Some(Found { at: now, state, status, latency_ms, why: why.clone() });
            if from != Some(state) {
                row.since = now;
                changes.push(Change { from, to: checked, failures: row.failures });
            }
        }
        changes
    }

    /// What is known of a provider.
    pub fn row(&self, provider: &str) -> Option<&Row> {
        self.rows.get(provider)
    }

    /// What was spent today, checks under way at their worst case.
    pub fn spent(&self, now: Timestamp) -> NanoUsd {
        if Period::Day.start(now.max(self.clock)) == self.day { self.spent } else { NanoUsd::ZERO }
    }

    /// The providers that do not answer: so found twice in a row, and lately.
    pub fn unreachable(&self, now: Timestamp, policy: &Policy) -> Vec<Unreachable> {
        let until = |row: &Row| row.found.as_ref().map(|found| found.at.plus(policy.believed()));
        let of = |(name, row): (&String, &Row)| {
            let until = until(row).filter(|_| row.unreachable >= IN_A_ROW && row.fresh(now, policy))?;
            Some(Unreachable { provider: name.clone(), until })
        };
        if policy.interval <= 0 { Vec::new() } else { self.rows.iter().filter_map(of).collect() }
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
    fn forget(&mut self, now: Timestamp, wanted: &BTreeMap<&str, NanoUsd>) {
        self.rows.retain(|name, row| wanted.contains_key(name.as_str()) || now.since(row.asked) < FORGOTTEN_AFTER);
        let new = wanted.keys().filter(|name| !self.rows.contains_key(**name)).count();
        if self.rows.len().saturating_add(new) > MAX_PROVIDERS {
            self.rows.retain(|name, _| wanted.contains_key(name.as_str()));
        }
    }
}

/// A number from 0 to `most`, by chance.
fn below(chance: u64, most: Millis) -> Millis {
    let most = u64::try_from(most).unwrap_or(0);
    i64::try_from(chance.checked_rem(most.saturating_add(1)).unwrap_or(0)).unwrap_or(0)
}
