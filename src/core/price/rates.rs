//! Prices per token.

use super::Usage;
use crate::units::{NanoUsd, decimal};

/// The highest price that is read: a million dollars per million tokens, in pico-dollars per token.
const MOST: i128 = 1_000_000_000_000;

/// Pico-dollars per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input.
    pub input: i64,
    /// Output.
    pub output: i64,
    /// Input that the provider read from its prompt cache; the input rate where absent.
    pub cached_input: Option<i64>,
    /// Input that the provider wrote to its prompt cache; the input rate where absent.
    pub cache_write: Option<i64>,
    /// Input that it wrote there to be kept for an hour; the rate of other writes where absent.
    pub cache_write_1h: Option<i64>,
}

/// [`Rates`] as decimal strings in USD per million tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateText<'a> {
    /// Input.
    pub input: &'a str,
    /// Output.
    pub output: &'a str,
    /// Input read from a cache.
    pub cached_input: Option<&'a str>,
    /// Input written to a cache.
    pub cache_write: Option<&'a str>,
    /// Input written to a cache for an hour.
    pub cache_write_1h: Option<&'a str>,
}

impl RateText<'_> {
    /// The rates; `None` unless each has at most six decimals and is at most a million dollars.
    pub fn rates(self) -> Option<Rates> {
        let pico = |text: &str| decimal(text, 6).filter(|n| *n <= MOST).and_then(|n| i64::try_from(n).ok());
        let maybe = |text: Option<&str>| match text {
            Some(text) => pico(text).map(Some),
            None => Some(None),
        };
        Some(Rates {
            input: pico(self.input)?,
            output: pico(self.output)?,
            cached_input: maybe(self.cached_input)?,
            cache_write: maybe(self.cache_write)?,
            cache_write_1h: maybe(self.cache_write_1h)?,
        })
    }
}

impl Rates {
    /// The rate of tokens written to a cache, and of those written for an hour.
    fn writes(self) -> (i64, i64) {
        let short = self.cache_write.unwrap_or(self.input);
        (short, self.cache_write_1h.unwrap_or(short))
    }

    /// The cost of consistent usage.
    pub(super) fn cost(self, usage: Usage) -> NanoUsd {
        let short = usage.cache_write.saturating_sub(usage.cache_write_1h);
        let fresh = usage.input.saturating_sub(usage.cached_input).saturating_sub(usage.cache_write);
        let (write, write_1h) = self.writes();
        let parts = [
            (fresh, self.input),
            (usage.cached_input, self.cached_input.unwrap_or(self.input)),
            (short, write),
            (usage.cache_write_1h, write_1h),
            (usage.output, self.output),
        ];
        let pico = parts.iter().fold(0_i128, |sum, (tokens, rate)| {
            let part = i128::from(*tokens).saturating_mul(i128::from(*rate));
            sum.saturating_add(part)
        });
        NanoUsd::from_i128(pico.saturating_add(500).checked_div_euclid(1_000).unwrap_or(0))
    }

    /// Every kind of input at the dearest rate of any.
    pub(super) fn dearest(self) -> Rates {
        let (write, write_1h) = self.writes();
        let input = self.input.max(self.cached_input.unwrap_or(0)).max(write).max(write_1h);
        Rates { input, output: self.output, ..Rates::default() }
    }
}
