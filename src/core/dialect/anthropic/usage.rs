//! Usage as Anthropic tells it: `input_tokens` are the fresh ones only, the cache is counted beside.

use super::super::common::Usage;
use super::super::json::{Fields, object};
use super::super::openai::tier;
use crate::price::Tier;

/// What was told so far. A stream tells the input first and the output last, each field as it grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    fresh: Option<u64>,
    read: u64,
    write: u64,
    write_1h: u64,
    output: u64,
    thinking: u64,
    tier: Option<Tier>,
}

impl Told {
    /// Takes the figures out of a usage object; fields that are absent keep what was told before.
    pub fn take(&mut self, usage: &mut Fields) {
        self.fresh = usage.take_u64("input_tokens").or(self.fresh);
        self.read = usage.take_u64("cache_read_input_tokens").unwrap_or(self.read);
        self.write = usage.take_u64("cache_creation_input_tokens").unwrap_or(self.write);
        self.output = usage.take_u64("output_tokens").unwrap_or(self.output);
        if let Some(mut by_time) = usage.take_object("cache_creation") {
            self.write_1h = by_time.take_u64("ephemeral_1h_input_tokens").unwrap_or(self.write_1h);
        }
        self.tier = tier(usage.get("service_tier")).or(self.tier);
        if let Some(mut details) = usage.take_object("output_tokens_details") {
            self.thinking = details.take_u64("thinking_tokens").unwrap_or(self.thinking);
        }
    }

    /// As counted everywhere.
    pub fn usage(&self) -> Option<Usage> {
        let input = self.fresh?.saturating_add(self.read).saturating_add(self.write);
        Usage {
            input,
            output: self.output,
            cached: self.read,
            cache_write: self.write,
            cache_write_1h: self.write_1h,
            reasoning: self.thinking,
            tier: self.tier,
        }
        .checked()
    }
}

/// The usage object.
pub(super) fn written(usage: Usage) -> Fields {
    let mut out = object! {
        "input_tokens": usage.fresh(),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    };
    if usage.cache_write > 0 {
        let short = usage.cache_write.saturating_sub(usage.cache_write_1h);
        out.put("cache_creation", object! { "ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": usage.cache_write_1h });
    }
    if usage.reasoning > 0 {
        out.put("output_tokens_details", object! { "thinking_tokens": usage.reasoning });
    }
    out
}

/// Takes the figures of a whole answer out of a usage object.
pub(crate) fn take(usage: &mut Fields) -> Option<Usage> {
    let mut told = Told::default();
    told.take(usage);
    told.usage()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::json::Json;
    use proptest::prelude::*;

    #[test]
    fn the_cache_is_counted_beside_the_input() {
        let text = r#"{"input_tokens":10,"cache_read_input_tokens":60,"cache_creation_input_tokens":30,"output_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20}}"#;
        let mut told = Told::default();
        told.take(&mut Json::read(text.as_bytes()).unwrap().into_fields().unwrap());
        let usage = told.usage().unwrap();
        assert_eq!(usage, Usage { input: 100, output: 5, cached: 60, cache_write: 30, cache_write_1h: 20, reasoning: 0, tier: None });
        assert_eq!(usage.fresh(), 10);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(n in prop::array::uniform6(0_u64..100_000)) {
            let usage = Usage { input: n[0], output: n[1], cached: n[2], cache_write: n[3], cache_write_1h: n[4], reasoning: n[5], tier: None }.checked().unwrap();
            let mut told = Told::default();
            told.take(&mut written(usage));
            prop_assert_eq!(told.usage(), Some(usage));
        }
    }
}
