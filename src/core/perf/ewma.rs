//! Peak EWMA: a moving average that jumps up and comes down slowly.

use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// After this long an older sample counts half.
const HALF_LIFE: Millis = 10_000;

/// A peak-sensitive, exponentially weighted moving average of milliseconds, in integers: a larger sample
/// replaces it at once, a smaller one pulls it down by its age.
///
/// Source: Finagle's `PeakEwma`, <https://twitter.github.io/finagle/guide/Clients.html#power-of-two-choices-p2c-least-loaded>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeakEwma {
    /// Microseconds; 0 if there was no sample.
    #[serde(rename = "v")]
    micros: u64,
    /// When the last sample came.
    #[serde(rename = "t")]
    at: Timestamp,
}

impl PeakEwma {
    /// Takes a sample.
    pub fn add(&mut self, now: Timestamp, ms: u32) {
        let sample = u64::from(ms.max(1)).saturating_mul(1_000);
        let kept = weight(now.since(self.at));
        self.micros = if sample >= self.micros {
            sample
        } else {
            let fresh = 65_536_u64.saturating_sub(kept);
            self.micros.saturating_mul(kept).saturating_add(sample.saturating_mul(fresh)) >> 16
        };
        self.at = self.at.max(now);
    }

    /// Milliseconds, at least 1; 0 if there was no sample.
    pub fn ms(&self) -> u32 {
        let ms = self.micros.checked_div(1_000).unwrap_or(0);
        if self.micros == 0 { 0 } else { u32::try_from(ms).unwrap_or(u32::MAX).max(1) }
    }
}

/// What an average of this age still weighs, in 65,536ths: 2^(-age / [`HALF_LIFE`]), in straight lines
/// between the halvings, which is at most 6 % too much.
fn weight(age: Millis) -> u64 {
    let halvings = age.checked_div(HALF_LIFE).unwrap_or(0);
    let rest = age.checked_rem(HALF_LIFE).unwrap_or(0).unsigned_abs();
    let whole = 65_536_u64.checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX)).unwrap_or(0);
    let within = whole.saturating_mul(rest).checked_div(HALF_LIFE.unsigned_abs().saturating_mul(2)).unwrap_or(0);
    whole.saturating_sub(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_jumps_up_and_comes_down_slowly() {
        let mut average = PeakEwma::default();
        assert_eq!(average.ms(), 0);
        average.add(Timestamp(0), 100);
        assert_eq!(average.ms(), 100);
        average.add(Timestamp(1), 500);
        assert_eq!(average.ms(), 500);
        average.add(Timestamp(10_001), 100);
        assert_eq!(average.ms(), 300);
        average.add(Timestamp(10_001), 100);
        assert_eq!(average.ms(), 300);
        average.add(Timestamp(1_000_000), 100);
        assert_eq!(average.ms(), 100);
    }

    #[test]
    fn the_weight_follows_the_exponential() {
        for age in [0_i64, 1, 500, 2_500, 5_000, 9_999, 10_000, 17_000, 60_000] {
            let exact = 65_536.0 * 0.5_f64.powf(age as f64 / HALF_LIFE as f64);
            let ours = weight(age) as f64;
            assert!((exact - 1.0..exact * 1.0615 + 1.0).contains(&ours), "{age}: {exact} {ours}");
        }
        assert_eq!(weight(i64::MAX), 0);
    }
}
