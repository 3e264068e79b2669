//! Usage as OpenAI tells it: cached tokens are part of the prompt, reasoning is part of the completion.

use super::super::common::Usage;
use super::super::json::{Fields, object};

/// Takes the figures out of a usage object; what it does not know stays in it.
pub(crate) fn take(usage: &mut Fields) -> Option<Usage> {
    let input = usage.take_u64("prompt_tokens")?;
    let completion = usage.take_u64("completion_tokens").unwrap_or(0);
    let total = usage.take_u64("total_tokens");
    let mut prompt_details = usage.take_object("prompt_tokens_details").unwrap_or_default();
    let mut completion_details = usage.take_object("completion_tokens_details").unwrap_or_default();
    let cached = prompt_details.take_u64("cached_tokens").or_else(|| usage.get("prompt_cache_hit_tokens")?.as_u64());
    let cache_write = prompt_details.take_u64("cache_write_tokens").unwrap_or(0);
    let reasoning = completion_details.take_u64("reasoning_tokens").unwrap_or(0);
    for (name, details) in [("prompt_tokens_details", prompt_details), ("completion_tokens_details", completion_details)] {
        if !details.is_empty() {
            usage.put(name, details);
        }
    }
    // xAI counts reasoning beside the completion; only the total shows it.
    let beside = reasoning > 0 && total == Some(input.saturating_add(completion).saturating_add(reasoning));
    let output = if beside { completion.saturating_add(reasoning) } else { completion };
    Usage { input, output, cached: cached.unwrap_or(0), cache_write, cache_write_1h: 0, reasoning, tier: None }.checked()
}

/// The usage object.
pub(super) fn written(usage: Usage) -> Fields {
    let mut prompt = object! { "cached_tokens": usage.cached };
    if usage.cache_write > 0 {
        prompt.put("cache_write_tokens", usage.cache_write);
    }
    object! {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
        "prompt_tokens_details": prompt,
        "completion_tokens_details": object! { "reasoning_tokens": usage.reasoning },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::json::Json;

    fn read(text: &str) -> Option<Usage> {
        take(&mut Json::read(text.as_bytes()).unwrap().into_fields().unwrap())
    }

    #[test]
    fn parts_are_inside_their_whole() {
        let usage = read(
            r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30},"completion_tokens_details":{"reasoning_tokens":20}}"#,
        );
        assert_eq!(
            usage,
            Some(Usage { input: 100, output: 50, cached: 60, cache_write: 30, cache_write_1h: 0, reasoning: 20, tier: None })
        );
    }

    #[test]
    fn reasoning_beside_the_completion_is_output_too() {
        let usage =
            read(r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":45,"completion_tokens_details":{"reasoning_tokens":30}}"#);
        assert_eq!(usage.map(|u| (u.output, u.reasoning)), Some((35, 30)));
        assert_eq!(read(r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":4}"#).map(|u| u.cached), Some(4));
    }

    #[test]
    fn usage_that_cannot_be_true_is_none() {
        for bad in [r#"{"completion_tokens":5}"#, r#"{"prompt_tokens":-1}"#, r#"{"prompt_tokens":1e30}"#, r#"{"prompt_tokens":100000001}"#]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
