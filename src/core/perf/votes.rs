//! Feedback: what callers say of answers moves the quality of a target, a little and for a while.

use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// After this long a vote counts half.
const HALF_LIFE: Millis = 7 * 24 * 3_600_000;
/// A vote in thousandths, so that it can be halved.
const VOTE: i64 = 1_000;
/// As if so many votes had said that the configured quality is right.
const PRIOR: i64 = 20 * VOTE;
/// The most that feedback moves a quality, in thousandths.
pub const MOST: i64 = 200;

/// Votes for and against a target. Stored: change it only additively.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// Thousandths of votes, each times its distance from the middle, -500 to 500.
    #[serde(rename = "s")]
    sum: i64,
    /// Thousandths of votes.
    #[serde(rename = "n")]
    weight: i64,
    /// From when they have not been halved.
    #[serde(rename = "t")]
    since: Timestamp,
}

impl Votes {
    /// Somebody gave an answer so many thousandths, 0 to 1,000.
    pub fn add(&mut self, now: Timestamp, score: u16) {
        if self.weight == 0 {
            self.since = now;
        }
        let times = now.since(self.since).checked_div(HALF_LIFE).unwrap_or(0);
        self.since = self.since.plus(times.saturating_mul(HALF_LIFE));
        for _ in 0..times.min(64) {
            (self.sum, self.weight) = (self.sum.checked_div(2).unwrap_or(0), self.weight.checked_div(2).unwrap_or(0));
        }
        let distance = i64::from(score.min(1_000)).saturating_sub(500);
        self.sum = self.sum.saturating_add(distance.saturating_mul(VOTE));
        self.weight = self.weight.saturating_add(VOTE);
    }

    /// What to add to the configured quality at `now`, in thousandths: within ±[`MOST`], and less the older
    /// the votes are.
    pub fn quality(&self, now: Timestamp) -> i16 {
        let times = now.since(self.since).checked_div(HALF_LIFE).unwrap_or(0).min(62);
        let halved = |n: i64| n.checked_div(1_i64.checked_shl(u32::try_from(times).unwrap_or(62)).unwrap_or(1)).unwrap_or(0);
        // The mean distance is at most 500.
        let moved = halved(self.sum).saturating_mul(MOST).checked_div(halved(self.weight).saturating_add(PRIOR)).unwrap_or(0);
        i16::try_from(moved.checked_div(500).unwrap_or(0).clamp(MOST.saturating_neg(), MOST)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 24 * 3_600_000;

    #[test]
    fn many_votes_count_more_and_old_ones_less() {
        let mut votes = Votes::default();
        assert_eq!(votes.quality(Timestamp(5)), 0);
        (0..20).for_each(|_| votes.add(Timestamp(0), 1_000));
        assert_eq!(votes.quality(Timestamp(0)), 100);
        // After a week they are as good as ten.
        assert_eq!(votes.quality(Timestamp(7 * DAY)), 66);
        assert_eq!(votes.quality(Timestamp(400 * DAY)), 0);
        (0..2_000).for_each(|_| votes.add(Timestamp(7 * DAY), 0));
        assert!((-200..=-195).contains(&votes.quality(Timestamp(7 * DAY))));
    }

    proptest! {
        #[test]
        fn feedback_is_bounded(votes in prop::collection::vec((0_i64..40 * DAY, 0_u16..2_000), 0..300), later in 0_i64..100 * DAY) {
            let (mut all, mut now) = (Votes::default(), 0);
            for (pass, score) in votes {
                now += pass / 10;
                all.add(Timestamp(now), score);
                prop_assert!((-200..=200).contains(&all.quality(Timestamp(now + later))));
            }
        }
    }
}
