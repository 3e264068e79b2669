//! The breaker of one target: when it fails it is left alone, and exactly one request finds out whether it
//! has recovered.
//!
//! ```text
//!            failures                     cool-down over, a request asks
//!  closed ───────────────► open ◄───────────────────────────────► probing
//!    ▲  │ Retry-After        ▲ probe failed (longer), unused or lost │
//!    │  └──────► throttled   └───────────────────────────────────────┤
//!    └───────────── time ◄── probes succeeded ───────────────────────┘
//! ```
//!
//! One good probe closes it. Where it opens again soon after, the target is not well but well now and then, and
//! the next time more good probes in a row are asked for, one after the other.
//!
//! The tenant's object has one for each provider and model, for all isolates. It hands the probe out with a
//! permit, and the permit's report brings it back. Requests that were under way when it opened change
//! nothing. Nygard, "Release It!" (2007), has the pattern; outlier detection by consecutive failures and by
//! ratio with a minimum volume is Envoy's.

use crate::config::BreakerPolicy;
use crate::ids::PermitId;
use crate::retry::{Class, Signal};
use crate::route::Gate;
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// Slots of the window.
const SLOTS: i64 = 6;
/// Requests of late that are looked at by themselves: where half of them fail, an hour of good answers before
/// must not hide it. 31 at most, for the bits.
const RECENT: u32 = 20;
/// Most good probes in a row that are asked for.
const MOST_PROBES: u32 = 3;
/// A probe of which nothing was heard for this long is lost, and the next one is handed out.
pub const PROBE_LIFE: Millis = 60_000;

/// The breaker of a target. Stored: change it only additively.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    #[serde(rename = "s", default, skip_serializing_if = "is_closed")]
    state: State,
    /// Failures in a row.
    #[serde(rename = "c", default, skip_serializing_if = "is_zero")]
    consecutive: u32,
    /// How often in a row it opened.
    #[serde(rename = "o", default, skip_serializing_if = "is_zero")]
    opens: u32,
    /// How often in a row it opened soon after it had closed.
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    flaps: u32,
    /// Good probes since it opened.
    #[serde(rename = "p", default, skip_serializing_if = "is_zero")]
    passed: u32,
    /// When it last closed again.
    #[serde(rename = "t", default, skip_serializing_if = "is_epoch")]
    closed_at: Timestamp,
    /// What the window saw: number of the slot, attempts, failures.
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    window: Vec<(i64, u32, u32)>,
    /// The last [`RECENT`] attempts, the last of all in the lowest bit, 1 if it failed, below a leading 1.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    recent: u32,
}

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The target is asked.
    #[default]
    Closed,
    /// It is not, and nobody probes.
    Open {
        /// When a probe may be handed out.
        until: Timestamp,
    },
    /// It is not, as it asked for.
    Throttled {
        /// When it is asked again, by everybody.
        until: Timestamp,
    },
    /// One request asks it.
    Probing {
        /// Its permit.
        permit: PermitId,
        /// When it counts as lost.
        until: Timestamp,
    },
}

fn is_closed(state: &State) -> bool {
    *state == State::Closed
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_epoch(at: &Timestamp) -> bool {
    *at == Timestamp::default()
}

impl Breaker {
    /// What it is doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// How often in a row it opened.
    pub fn opens(&self) -> u32 {
        self.opens
    }

    /// What isolates are told.
    pub fn gate(&self, now: Timestamp) -> Gate {
        match self.state {
            State::Open { until } | State::Probing { until, .. } => Gate::Open(until),
            State::Throttled { until } if now < until => Gate::Throttled(until),
            State::Closed | State::Throttled { .. } => Gate::Closed,
        }
    }

    /// Whether a probe may be handed out. At most one is out at a time.
    pub fn wants_probe(&self, now: Timestamp) -> bool {
        matches!(self.state, State::Open { until } | State::Probing { until, .. } if until <= now)
    }

    /// A probe was handed out.
    pub fn probe(&mut self, now: Timestamp, permit: PermitId) {
        self.state = State::Probing { permit, until: now.plus(PROBE_LIFE) };
    }

    /// A permit has ended. If it had the probe and did not use it, the next request may.
    pub fn release(&mut self, now: Timestamp, permit: PermitId) {
        if matches!(self.state, State::Probing { permit: out, .. } if out == permit) {
            self.state = State::Open { until: now };
        }
    }

    /// An attempt under a permit has ended.
    pub fn record(&mut self, policy: &BreakerPolicy, now: Timestamp, permit: PermitId, class: Class, retry_after: Millis) {
        if !policy.enabled {
            *self = Breaker::default();
            return;
        }
        let signal = class.row().signal;
        let wait = policy.retry_after(retry_after);
        match self.state {
            State::Probing { permit: out, .. } if out == permit => match signal {
                Signal::Success => self.pass(now),
                Signal::Failure => self.open(policy, now, wait),
                Signal::Neutral => self.state = State::Open { until: now },
            },
            // It was sent before the breaker opened.
            State::Open { .. } | State::Probing { .. } => {}
            State::Throttled { until } if now < until => {
                if asks_for_rest(class, wait) {
                    self.state = State::Throttled { until: until.max(now.plus(wait)) };
                }
            }
            State::Throttled { .. } | State::Closed => {
                self.state = State::Closed;
                self.count(policy, now, signal, class, wait);
            }
        }
    }

    fn count(&mut self, policy: &BreakerPolicy, now: Timestamp, signal: Signal, class: Class, wait: Millis) {
        if now.since(self.closed_at) > i64::from(policy.max_cooldown_s).saturating_mul(1_000) {
            // It was well for long: the next time is the first again.
            (self.opens, self.flaps) = (0, 0);
        }
        if asks_for_rest(class, wait) {
            self.state = State::Throttled { until: now.plus(wait) };
            if class == Class::RateLimit {
                // It is well, and said how much it can take.
                return;
            }
        }
        let failed = signal == Signal::Failure;
        match signal {
            Signal::Neutral => return,
            Signal::Success => self.consecutive = 0,
            Signal::Failure => self.consecutive = self.consecutive.saturating_add(1),
        }
        let slot = now.0.saturating_mul(SLOTS).checked_div_euclid(policy.window().max(1)).unwrap_or(0);
        self.window.retain(|(n, ..)| *n > slot.saturating_sub(SLOTS) && *n <= slot);
        if self.window.is_empty() {
            self.recent = 0;
        }
        match self.window.last_mut() {
            Some((n, all, bad)) if *n == slot => {
                *all = all.saturating_add(1);
                *bad = bad.saturating_add(u32::from(failed));
            }
            _ => self.window.push((slot, 1, u32::from(failed))),
        }
        let sum = |of: fn(&(i64, u32, u32)) -> u32| self.window.iter().fold(0_u64, |sum, slot| sum.saturating_add(u64::from(of(slot))));
        let (all, bad) = (sum(|s| s.1), sum(|s| s.2));
        // A target that has just come back is believed less.
        let halves = u32::from(self.opens > 0).saturating_add(self.flaps.min(1));
        let least = policy.min_requests.div_ceil(1_u32.checked_shl(halves).unwrap_or(1));
        let many =
            |all: u64, bad: u64| all >= u64::from(least) && bad.saturating_mul(100) >= all.saturating_mul(u64::from(policy.error_percent));
        let (of_late, bad_of_late) = self.look_back(failed);
        if failed && (many(all, bad) || many(of_late, bad_of_late) || self.consecutive >= policy.consecutive_failures) {
            self.open(policy, now, wait);
        }
    }

    /// One more attempt: how many are looked back at now, and how many of those failed.
    fn look_back(&mut self, failed: bool) -> (u64, u64) {
        let all = self.recent.max(1).ilog2().saturating_add(1).min(RECENT);
        let mark = 1_u32.checked_shl(all).unwrap_or(0);
        let bits = ((self.recent << 1) | u32::from(failed)) & mark.saturating_sub(1);
        self.recent = mark | bits;
        (u64::from(all), u64::from(bits.count_ones()))
    }

    fn open(&mut self, policy: &BreakerPolicy, now: Timestamp, wait: Millis) {
        if self.opens > 0 && !matches!(self.state, State::Probing { .. }) {
            self.flaps = self.flaps.saturating_add(1);
        }
        self.opens = self.opens.saturating_add(1);
        self.passed = 0;
        self.state = State::Open { until: now.plus(policy.cooldown(self.opens).max(wait)) };
        self.consecutive = 0;
        self.window.clear();
        self.recent = 0;
    }

    /// A probe went well.
    fn pass(&mut self, now: Timestamp) {
        self.passed = self.passed.saturating_add(1);
        if self.passed <= self.flaps && self.passed < MOST_PROBES {
            self.state = State::Open { until: now };
        } else {
            self.close(now);
        }
    }

    fn close(&mut self, now: Timestamp) {
        self.state = State::Closed;
        self.passed = 0;
        self.closed_at = now;
        self.consecutive = 0;
        self.window.clear();
        self.recent = 0;
    }
}

/// Whether the provider said that it wants to be left alone.
fn asks_for_rest(class: Class, wait: Millis) -> bool {
    wait > 0 && matches!(class, Class::RateLimit | Class::Overloaded)
}

#[cfg(test)]
mod tests;
