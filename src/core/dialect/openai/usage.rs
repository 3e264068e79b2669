//! Usage as OpenAI tells it. `prompt_tokens` contains the cached tokens.

use super::super::json::Json;
use crate::dialect::json::from_bytes;
use crate::price::{Tier, Usage};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// More tokens than any request can have; larger figures are taken for nonsense.
const SANE: u64 = 100_000_000;

/// What a stream event tells about usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageBody {
    /// The usage.
    pub usage: Usage,
    /// Whether the event carries nothing else.
    pub only_usage: bool,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    choices: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    usage: Option<Wire>,
    /// The service tier, where it is told.
    #[serde(default)]
    service_tier: Option<Json>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
    /// DeepSeek's own name for the cached tokens, beside OpenAI's or instead of it.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
    /// OpenRouter's: what was written to the provider's cache.
    #[serde(default)]
    cache_write_tokens: Option<u64>,
}

impl Wire {
    fn usage(&self) -> Option<Usage> {
        let input = self.prompt_tokens?;
        // Embeddings have no completion tokens.
        let output = self.completion_tokens.unwrap_or(0);
        let details = self.prompt_tokens_details.as_ref();
        let cached_input = details.and_then(|d| d.cached_tokens).or(self.prompt_cache_hit_tokens).unwrap_or(0);
        let cache_write = details.and_then(|d| d.cache_write_tokens).unwrap_or(0);
        let sane = [input, output, cached_input, cache_write].iter().all(|n| *n <= SANE);
        sane.then_some(Usage { input, output, cached_input, cache_write, ..Usage::default() }.consistent())
    }
}

/// The tier that a field names, if it names one.
pub(in super::super) fn tier(field: Option<&Json>) -> Option<Tier> {
    field.and_then(Json::as_text).and_then(Tier::told)
}

/// The usage in a whole answer; `None` if it tells none, or none that can be true.
pub fn usage_of_answer(body: &[u8]) -> Option<Usage> {
    let body: Body = from_bytes(body)?;
    Some(Usage { tier: tier(body.service_tier.as_ref()), ..body.usage?.usage()? })
}

/// The usage in a stream event's data.
pub fn usage_of_chunk(data: &[u8]) -> Option<UsageBody> {
    let body: Body = from_bytes(data)?;
    let usage = Usage { tier: tier(body.service_tier.as_ref()), ..body.usage?.usage()? };
    Some(UsageBody { usage, only_usage: body.choices.is_none_or(|c| c.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_that_cannot_be_true_is_no_usage() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"usage":null}"#,
            r#"{"usage":{}}"#,
            r#"{"usage":{"prompt_tokens":-1,"completion_tokens":2}}"#,
            r#"{"usage":{"prompt_tokens":1.5,"completion_tokens":2}}"#,
            r#"{"usage":{"prompt_tokens":1e30,"completion_tokens":2}}"#,
            r#"{"usage":{"prompt_tokens":100000001,"completion_tokens":2}}"#,
        ] {
            assert_eq!(usage_of_answer(bad.as_bytes()), None, "{bad}");
        }
        let good = r#"{"choices":[{}],"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9}}}"#;
        assert_eq!(usage_of_answer(good.as_bytes()), Some(Usage { input: 5, output: 2, cached_input: 5, ..Usage::default() }));
    }

    #[test]
    fn the_tier_stands_beside_the_usage() {
        let read = |more: &str| {
            let text = format!(r#"{{"usage":{{"prompt_tokens":1,"completion_tokens":2}}{more}}}"#);
            let (whole, chunk) = (usage_of_answer(text.as_bytes()).unwrap(), usage_of_chunk(text.as_bytes()).unwrap());
            assert_eq!(whole, chunk.usage);
            whole.tier
        };
        assert_eq!(read(""), None);
        for (name, tier) in
            [("priority", Some(Tier::Priority)), ("flex", Some(Tier::Flex)), ("default", Some(Tier::Standard)), ("warp", None)]
        {
            assert_eq!(read(&format!(r#","service_tier":"{name}""#)), tier, "{name}");
        }
        assert_eq!((read(r#","service_tier":null"#), read(r#","service_tier":{"type":5}"#)), (None, None));
    }

    #[test]
    fn caches_are_told_in_several_ways() {
        let read = |details: &str| {
            let text = format!(r#"{{"usage":{{"prompt_tokens":100,"completion_tokens":2,{details}}}}}"#);
            usage_of_answer(text.as_bytes()).map(|u| (u.cached_input, u.cache_write))
        };
        assert_eq!(read(r#""prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30}"#), Some((60, 30)));
        assert_eq!(read(r#""prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":90}"#), Some((60, 40)));
        assert_eq!(read(r#""prompt_cache_hit_tokens":70,"prompt_cache_miss_tokens":30"#), Some((70, 0)));
        assert_eq!(read(r#""prompt_tokens_details":{"cached_tokens":60},"prompt_cache_hit_tokens":70"#), Some((60, 0)));
        assert_eq!(read(r#""prompt_tokens_details":null,"prompt_cache_hit_tokens":null"#), Some((0, 0)));
        assert_eq!(read(r#""prompt_tokens_details":{"cache_write_tokens":100000001}"#), None);
    }
}
