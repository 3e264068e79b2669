//! The time by which windows and lifetimes are judged.
//!
//! An object has no better clock than its own, which never runs backwards while it lives. A new life may
//! start with an earlier clock than the last one died with, when the machine's clock was set back. What
//! counts is how much time passed by the object's clock, so the clocks of all lives are joined end to
//! end: a life that starts earlier than the last one ended goes on from there.

use tollgate_core::units::Timestamp;

#[derive(Default)]
pub struct Time {
    /// The clock of this life.
    pub clock: Timestamp,
    offset: i64,
}

impl Time {
    /// A new life starts.
    pub fn reborn(&mut self, clock: Timestamp) {
        self.offset += (self.clock.0 - clock.0).max(0);
        self.clock = clock;
    }

    /// Time passes within a life.
    pub fn pass(&mut self, now: Timestamp) {
        self.clock = self.clock.max(now);
    }

    /// Joined time.
    pub fn now(&self) -> i64 {
        self.clock.0 + self.offset
    }
}
