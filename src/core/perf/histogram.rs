//! Latencies in buckets that grow with them.

use crate::map::Map;
use serde::{Deserialize, Serialize};

/// Counts of milliseconds: four buckets to a doubling, so that a quantile is at most a fifth too large.
/// Only buckets with something in them are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram(Map<u8, u32>);

/// The bucket of so many milliseconds: below 4 each has its own, then four to a doubling.
fn bucket(ms: u32) -> u8 {
    let n = ms.max(1);
    let octave = n.ilog2();
    let quarter = if octave < 2 { n & 3 } else { (n >> octave.saturating_sub(2)) & 3 };
    u8::try_from(octave.saturating_mul(4).saturating_add(quarter)).unwrap_or(u8::MAX)
}

/// The largest number of milliseconds in a bucket.
fn top(bucket: u8) -> u32 {
    let (octave, quarter) = (u32::from(bucket >> 2), u32::from(bucket & 3));
    if octave < 2 {
        return quarter;
    }
    let width = 1_u32.checked_shl(octave.saturating_sub(2)).unwrap_or(u32::MAX);
    quarter.saturating_add(5).saturating_mul(width).saturating_sub(1)
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, ms: u32) {
        let count = self.0.entry(bucket(ms)).or_default();
        *count = count.saturating_add(1);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, n| sum.saturating_add(u64::from(*n)))
    }

    /// A number of milliseconds that so many percent do not exceed; `None` if there is nothing.
    pub fn quantile(&self, percent: u64) -> Option<u32> {
        let wanted = self.count().saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0_u64;
        self.0.iter().find_map(|(bucket, n)| {
            seen = seen.saturating_add(u64::from(*n));
            (seen >= wanted).then(|| top(*bucket))
        })
    }

    /// Forgets half.
    pub fn halve(&mut self) {
        self.0.values_mut().for_each(|n| *n >>= 1);
        self.0.retain(|_, n| *n > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quantile_is_at_most_a_fifth_too_large(mut sample in prop::collection::vec(1_u32..3_600_000, 1..200), percent in 1_u64..=100) {
            let mut histogram = Histogram::default();
            sample.iter().for_each(|ms| histogram.add(*ms));
            sample.sort_unstable();
            let exact = sample[(sample.len() * percent as usize).div_ceil(100).max(1) - 1];
            let told = histogram.quantile(percent).unwrap();
            prop_assert!(told >= exact, "{told} {exact}");
            prop_assert!(f64::from(told) <= f64::from(exact) * 1.25, "{told} {exact}");
        }
    }

    #[test]
    fn nothing_has_no_quantile() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(50), None);
        histogram.add(0);
        assert_eq!((histogram.quantile(50), histogram.count()), (Some(1), 1));
        histogram.halve();
        assert_eq!(histogram, Histogram::default());
    }
}
