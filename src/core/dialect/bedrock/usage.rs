//! Usage as Converse tells it: the cache is counted beside the input; reasoning is not told apart.

use super::super::common::Usage;
use super::super::json::{Fields, Json, object};

/// Takes the figures out of a usage object; what it does not know stays in it.
pub(crate) fn take(usage: &mut Fields) -> Option<Usage> {
    let fresh = usage.take_u64("inputTokens")?;
    let output = usage.take_u64("outputTokens").unwrap_or(0);
    let cached = usage.take_u64("cacheReadInputTokens").unwrap_or(0);
    let cache_write = usage.take_u64("cacheWriteInputTokens").unwrap_or(0);
    usage.take("totalTokens");
    let details = usage.take_list("cacheDetails").unwrap_or_default();
    let hour = |d: &&Json| d.as_object().is_some_and(|d| d.text("ttl") == Some("1h"));
    let hour = details.iter().find(hour).and_then(Json::as_object).and_then(|d| d.get("inputTokens")).and_then(Json::as_u64);
    let input = fresh.saturating_add(cached).saturating_add(cache_write);
    Usage { input, output, cached, cache_write, cache_write_1h: hour.unwrap_or(0), reasoning: 0, tier: None }.checked()
}

/// The usage object.
pub(super) fn written(usage: Usage) -> Fields {
    let mut out = object! { "inputTokens": usage.fresh(), "outputTokens": usage.output, "totalTokens": usage.total() };
    out.put_some("cacheReadInputTokens", Some(usage.cached).filter(|n| *n > 0));
    out.put_some("cacheWriteInputTokens", Some(usage.cache_write).filter(|n| *n > 0));
    if usage.cache_write_1h > 0 {
        out.put("cacheDetails", vec![object! { "ttl": "1h", "inputTokens": usage.cache_write_1h }]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_counted_beside_the_input() {
        let text = r#"{"inputTokens":10,"outputTokens":5,"totalTokens":105,"cacheReadInputTokens":60,"cacheWriteInputTokens":30,"cacheDetails":[{"ttl":"5m","inputTokens":10},{"ttl":"1h","inputTokens":20}]}"#;
        let usage = take(&mut Json::read(text.as_bytes()).unwrap().into_fields().unwrap());
        let expected = Usage { input: 100, output: 5, cached: 60, cache_write: 30, cache_write_1h: 20, reasoning: 0, tier: None };
        assert_eq!(usage, Some(expected));
        assert_eq!(take(&mut written(expected)), Some(expected));
    }
}
