//! How what was used is forgotten with time.
//!
//! A request enters with its worst case when it is admitted, and the truth replaces that when it is
//! settled, at the time of the admission. So nothing that is under way has to be counted beside it.

use super::{Bucket, Window};
use crate::units::{Amount, Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// What was used lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Age {
    /// Counts until it leaves the window.
    #[serde(rename = "w")]
    Window(Window),
    /// Counts until it is refilled.
    #[serde(rename = "b")]
    Bucket(Bucket),
}

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A sliding window of this length in milliseconds.
    Window(Millis),
    /// A token bucket that is refilled by so much in so many milliseconds.
    Bucket(Amount, Millis),
}

impl Age {
    /// Nothing used yet.
    pub fn new(shape: Shape) -> Age {
        match shape {
            Shape::Window(length) => Age::Window(Window::new(length)),
            Shape::Bucket(amount, window) => Age::Bucket(Bucket::new(amount, window)),
        }
    }

    /// What counts at `now`.
    pub fn used(&mut self, now: Timestamp) -> Amount {
        match self {
            Age::Window(window) => Amount::count(window.used(now)),
            Age::Bucket(bucket) => bucket.used(now),
        }
    }

    /// Whether `n` more may pass at `now` under `cap`.
    ///
    /// # Errors
    /// Milliseconds until they would pass if nothing else were admitted; `None` if they never will.
    pub fn check(&mut self, now: Timestamp, n: Amount, cap: Amount) -> Result<(), Option<Millis>> {
        match self {
            Age::Window(window) => window.check(now, n.whole(), cap.whole()),
            Age::Bucket(bucket) => bucket.check(now, n, cap),
        }
    }

    /// Counts `n`, admitted at `at`.
    pub fn take(&mut self, at: Timestamp, n: Amount) {
        self.settle(at, at, Amount::ZERO, n);
    }

    /// What was admitted at `at` and counted as `was` turns out at `now` to be `is`.
    pub fn settle(&mut self, at: Timestamp, now: Timestamp, was: Amount, is: Amount) {
        match self {
            Age::Window(window) => window.replace(at, was.whole(), is.whole()),
            Age::Bucket(bucket) => bucket.replace(at, now, was, is),
        }
    }

    /// Of what was counted at `from` for requests that nobody knew, `was` turns out to be one that was
    /// admitted at `at` and used `is`.
    pub fn reveal(&mut self, from: Timestamp, at: Timestamp, now: Timestamp, was: Amount, is: Amount) {
        match self {
            Age::Window(window) => {
                window.replace(from, was.whole(), 0);
                window.record(at, is.whole());
            }
            Age::Bucket(bucket) => bucket.replace(from, now, was, is),
        }
    }

    /// Milliseconds until nothing counts any more, if nothing else is admitted.
    pub fn empty_in(&mut self, now: Timestamp) -> Millis {
        match self {
            Age::Window(window) => window.empty_in(now),
            Age::Bucket(bucket) => bucket.check(now, Amount::ZERO, Amount::ZERO).err().flatten().unwrap_or(0),
        }
    }

    /// Takes on another shape. What counts at `now` still counts.
    pub fn fit(&mut self, now: Timestamp, shape: Shape) {
        match (&mut *self, shape) {
            (Age::Window(window), Shape::Window(length)) => window.set_length(now, length),
            (Age::Bucket(bucket), Shape::Bucket(amount, window)) => bucket.set_rate(now, amount, window),
            (other, shape) => {
                let used = other.used(now);
                *self = Age::new(shape);
                if let Age::Bucket(bucket) = self {
                    bucket.began(now);
                }
                self.take(now, used);
            }
        }
    }
}
