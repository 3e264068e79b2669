//! How providers perform, learnt from settlements: latency, failures by class, speed, price, prompt cache.
//!
//! Everything is in integers and a function of the attempts and their times, so that a load of the object
//! comes to the same state. Old attempts fade: each ten minutes all counts are halved.

mod ewma;
mod histogram;
mod view;
mod votes;

pub use ewma::PeakEwma;
pub use histogram::Histogram;
pub use view::{MAX_VIEW, Seen, View, ViewRow};
pub use votes::Votes;

use crate::map::Map;
use crate::protocol::{Attempt, Outcome};
use crate::retry::{Class, Signal};
use crate::units::{Millis, NanoUsd, Timestamp, Tokens};
use serde::{Deserialize, Serialize};

/// After this long an attempt counts half.
const HALF_LIFE: Millis = 600_000;
/// Fewer answers than this have no p95.
const MIN_SAMPLE: u64 = 20;

/// How one target performs, everywhere or as seen from one region. Stored: change it only additively.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Perf {
    /// When the last attempt ended.
    pub at: Timestamp,
    /// From when the counts have not been halved.
    since: Timestamp,
    /// Attempts by class.
    pub classes: Map<Class, u32>,
    /// Milliseconds to the first byte.
    pub first: Histogram,
    /// Milliseconds to the end.
    pub total: Histogram,
    first_now: PeakEwma,
    total_now: PeakEwma,
    /// Tokens of whole answers, and what they cost.
    pub input: Tokens,
    /// The part of the input that came from the provider's prompt cache.
    pub cached: Tokens,
    /// Output tokens.
    pub output: Tokens,
    /// Milliseconds that the output took, after the first byte.
    pub writing_ms: u64,
    /// Cost.
    pub cost: NanoUsd,
    /// The price row that was charged last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub price: String,
}

impl Perf {
    /// Nothing yet, from now on.
    pub fn new(now: Timestamp) -> Perf {
        Perf { at: now, ..Perf::default() }
    }

    /// An attempt ended. What came from our own cache says nothing of a provider.
    pub fn add(&mut self, now: Timestamp, attempt: &Attempt) {
        if attempt.outcome == Outcome::Cached {
            return;
        }
        self.fade(now);
        self.at = self.at.max(now);
        let class = attempt.class();
        let count = self.classes.entry(class).or_default();
        *count = count.saturating_add(1);
        if attempt.first_byte_ms > 0 {
            self.first.add(attempt.first_byte_ms);
            self.first_now.add(now, attempt.first_byte_ms);
        }
        if class != Class::Ok {
            return;
        }
        self.total.add(attempt.latency_ms);
        self.total_now.add(now, attempt.latency_ms);
        self.input = self.input.saturating_add(attempt.usage.input);
        self.cached = self.cached.saturating_add(attempt.usage.cached_input.min(attempt.usage.input));
        self.output = self.output.saturating_add(attempt.usage.output);
        self.writing_ms = self.writing_ms.saturating_add(u64::from(attempt.latency_ms.saturating_sub(attempt.first_byte_ms)));
        self.cost = self.cost.plus(attempt.cost);
        self.price.clone_from(&attempt.price);
    }

    fn fade(&mut self, now: Timestamp) {
        if self.since == Timestamp::default() {
            self.since = now;
        }
        let times = now.since(self.since).checked_div(HALF_LIFE).unwrap_or(0);
        if times == 0 {
            return;
        }
        self.since = self.since.plus(times.saturating_mul(HALF_LIFE));
        // After so many halvings nothing is left of any count.
        for _ in 0..times.min(64) {
            self.classes.values_mut().for_each(|n| *n >>= 1);
            self.first.halve();
            self.total.halve();
            for n in [&mut self.input, &mut self.cached, &mut self.output, &mut self.writing_ms] {
                *n >>= 1;
            }
            self.cost = NanoUsd::new(self.cost.get() >> 1);
        }
        self.classes.retain(|_, n| *n > 0);
    }

    /// Milliseconds to the first byte, as of late; 0 if there was no answer.
    pub fn first_ms(&self) -> u32 {
        self.first_now.ms()
    }

    /// Milliseconds to the end, as of late; 0 if there was no answer.
    pub fn total_ms(&self) -> u32 {
        self.total_now.ms()
    }

    /// Milliseconds to the first byte, and to the end, that 95 of 100 answers did not exceed of late; 0 where
    /// they are few.
    pub fn p95(&self) -> (u32, u32) {
        let of = |seen: &Histogram| if seen.count() < MIN_SAMPLE { 0 } else { seen.quantile(95).unwrap_or(0) };
        (of(&self.first), of(&self.total))
    }

    /// Attempts that say something of the target, and those of them that failed.
    pub fn attempts(&self) -> (u64, u64) {
        let of = |wanted: Signal| {
            let some = self.classes.iter().filter(|(class, _)| class.row().signal == wanted);
            some.fold(0_u64, |sum, (_, n)| sum.saturating_add(u64::from(*n)))
        };
        let failed = of(Signal::Failure);
        (of(Signal::Success).saturating_add(failed), failed)
    }

    /// Failures in thousandths of the attempts.
    pub fn errors(&self) -> u16 {
        let (all, failed) = self.attempts();
        per_mille(failed, all)
    }

    /// Input from the provider's prompt cache, in thousandths of all input.
    pub fn cached_share(&self) -> u16 {
        per_mille(self.cached, self.input)
    }

    /// Output tokens in a second; 0 if unknown.
    pub fn tokens_per_second(&self) -> u64 {
        self.output.saturating_mul(1_000).checked_div(self.writing_ms).unwrap_or(0)
    }

    /// What a million tokens cost of late, input and output as they came; zero if unknown.
    pub fn cost_per_mtok(&self) -> NanoUsd {
        let tokens = i128::from(self.input.saturating_add(self.output));
        NanoUsd::from_i128(i128::from(self.cost.get()).saturating_mul(1_000_000).checked_div(tokens).unwrap_or(0))
    }

    /// What is told to isolates, apart from the gate and the quality.
    pub fn row(&self, target: &str) -> ViewRow {
        ViewRow {
            target: target.to_owned(),
            first_ms: self.first_ms(),
            total_ms: self.total_ms(),
            errors: self.errors(),
            cached: self.cached_share(),
            ..ViewRow::default()
        }
    }
}

fn per_mille(part: u64, whole: u64) -> u16 {
    let share = part.saturating_mul(1_000).checked_div(whole).unwrap_or(0);
    u16::try_from(share.min(1_000)).unwrap_or(1_000)
}
