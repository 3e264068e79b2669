//! Usage as the Responses format tells it: all parts are inside their whole.

use super::super::common::Usage;
use super::super::json::{Fields, object};

/// Takes the figures out of a usage object; what it does not know stays in it.
pub(crate) fn take(usage: &mut Fields) -> Option<Usage> {
    let input = usage.take_u64("input_tokens")?;
    let output = usage.take_u64("output_tokens").unwrap_or(0);
    usage.take("total_tokens");
    let mut read = usage.take_object("input_tokens_details").unwrap_or_default();
    let mut written = usage.take_object("output_tokens_details").unwrap_or_default();
    let (cached, cache_write) = (read.take_u64("cached_tokens"), read.take_u64("cache_write_tokens"));
    let reasoning = written.take_u64("reasoning_tokens");
    for (name, details) in [("input_tokens_details", read), ("output_tokens_details", written)] {
        if !details.is_empty() {
            usage.put(name, details);
        }
    }
    let (cached, cache_write, reasoning) = (cached.unwrap_or(0), cache_write.unwrap_or(0), reasoning.unwrap_or(0));
    Usage { input, output, cached, cache_write, cache_write_1h: 0, reasoning, tier: None }.checked()
}

/// The usage object.
pub(super) fn written(usage: Usage) -> Fields {
    object! {
        "input_tokens": usage.input,
        "input_tokens_details": object! { "cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write },
        "output_tokens": usage.output,
        "output_tokens_details": object! { "reasoning_tokens": usage.reasoning },
        "total_tokens": usage.total(),
    }
}
