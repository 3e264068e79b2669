//! Tokens, counted in one way.
//!
//! OpenAI and Gemini count cached tokens inside the prompt, Anthropic and Bedrock beside it; Gemini
//! counts thoughts beside the output, the others inside. Here `input` holds all that was read and
//! `output` all that was written; the rest are parts of them.

use crate::price;

/// More tokens than any request can have; larger figures are taken for nonsense.
const SANE: u64 = 100_000_000;

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input: fresh, read from the provider's cache, and written to it.
    pub input: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// The part of `input` that was read from the cache.
    pub cached: u64,
    /// The part of `input` that was written to the cache.
    pub cache_write: u64,
    /// The part of `cache_write` that is kept for an hour, which Anthropic charges more for.
    pub cache_write_1h: u64,
    /// The part of `output` that is reasoning.
    pub reasoning: u64,
    /// The service tier, where the provider named one.
    pub tier: Option<price::Tier>,
}

impl Usage {
    /// The figures if they can be true, with every part at most as large as its whole.
    pub fn checked(self) -> Option<Usage> {
        if self.input > SANE || self.output > SANE {
            return None;
        }
        let cached = self.cached.min(self.input);
        let cache_write = self.cache_write.min(self.input.saturating_sub(cached));
        let cache_write_1h = self.cache_write_1h.min(cache_write);
        Some(Usage { cached, cache_write, cache_write_1h, reasoning: self.reasoning.min(self.output), ..self })
    }

    /// Input that was neither read from the cache nor written to it.
    pub fn fresh(&self) -> u64 {
        self.input.saturating_sub(self.cached).saturating_sub(self.cache_write)
    }

    /// Input and output.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl From<Usage> for price::Usage {
    fn from(usage: Usage) -> price::Usage {
        price::Usage {
            input: usage.input,
            output: usage.output,
            cached_input: usage.cached,
            cache_write: usage.cache_write,
            cache_write_1h: usage.cache_write_1h,
            tier: usage.tier,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_never_larger_than_their_whole(n in prop::array::uniform6(0_u64..300)) {
            let usage = Usage { input: n[0], output: n[1], cached: n[2], cache_write: n[3], cache_write_1h: n[4], reasoning: n[5], tier: None }.checked().unwrap();
            prop_assert!(usage.cached + usage.cache_write + usage.fresh() == usage.input);
            prop_assert!(usage.cache_write_1h <= usage.cache_write && usage.reasoning <= usage.output);
            let billed = price::Usage::from(usage);
            prop_assert_eq!(billed, billed.consistent());
            prop_assert_eq!((billed.cached_input, billed.cache_write, billed.cache_write_1h), (usage.cached, usage.cache_write, usage.cache_write_1h));
        }
    }

    #[test]
    fn nonsense_is_no_usage() {
        assert_eq!(Usage { input: SANE + 1, ..Usage::default() }.checked(), None);
        assert_eq!(Usage { output: u64::MAX, ..Usage::default() }.checked(), None);
    }
}
