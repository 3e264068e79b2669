//! Requests and answers that pass: client and target speak the same format, so only what policy needs
//! is read, and only the model's name is changed. Chat completions have [`super::openai::ChatRequest`].
//!
//! A stream that passes is read by a [`super::Decoder`] on the side: it tells usage and whether the
//! answer came whole, and its deltas are thrown away.

use super::Dialect;
use super::common::Usage;
use super::json::Json;
use super::openai::Wrong;
use super::openai::request::{top_level, utf8, wrong};
use serde::Deserialize;

/// Most output tokens that a caller may name; more is a typing error.
const MAX_OUTPUT: u64 = 10_000_000;

/// What policy needs to know of a Messages or Responses request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    /// The model as the caller named it.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Most output tokens, where the caller set a bound.
    pub max_output: Option<u64>,
    /// Bytes of the body without white space outside: never fewer than its tokens.
    pub bytes: usize,
    /// Pictures and documents that the provider fetches itself, whose tokens the bytes don't bound.
    pub remote_media: u64,
    /// Where the model's value stands in the body.
    model_at: (usize, usize),
}

impl Passing {
    /// Reads a request of a format that names its model in the body: Messages (also one that counts
    /// tokens) or Responses. Chat completions are read as far as these are.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(dialect: Dialect, body: &[u8]) -> Result<Passing, Wrong> {
        let text = utf8(body)?;
        let fields = top_level(text)?;
        let (model, model_at) = fields.model(text)?;
        let stream = fields.stream()?;
        let max_output = match dialect {
            Dialect::OpenAiResponses => fields.whole_number("max_output_tokens", 1, MAX_OUTPUT)?,
            _ => fields.whole_number("max_tokens", 1, MAX_OUTPUT)?,
        };
        if dialect == Dialect::OpenAiResponses {
            if let Some(raw) = fields.only("input")? {
                let known = raw.get().starts_with(['"', '[']) || raw.get() == "null";
                if !known {
                    return wrong("input", "must be a string or an array of items");
                }
            }
        } else {
            fields.filled_array("messages")?;
        }
        let count = |key: &str| text.matches(key).count();
        let remote = match dialect {
            Dialect::OpenAiResponses => count("\"image_url\"").saturating_add(count("\"file_url\"")).saturating_add(count("\"file_id\"")),
            // `{"type": "url", "url": …}`, `{"type": "file", "file_id": …}`.
            _ => count("\"url\"").div_ceil(2).saturating_add(count("\"file_id\"")),
        };
        let remote_media = u64::try_from(remote).unwrap_or(u64::MAX);
        Ok(Passing { model, stream, max_output, bytes: text.trim().len(), remote_media, model_at })
    }

    /// The body for a provider: the model renamed, all else untouched.
    pub fn edit(&self, body: &[u8], model: &str) -> Vec<u8> {
        let (start, end) = self.model_at;
        let name = serde_json::Value::from(model).to_string();
        let (head, tail) = (body.get(..start).unwrap_or_default(), body.get(end..).unwrap_or_default());
        [head, name.as_bytes(), tail].concat()
    }
}

/// Where the formats tell usage.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    usage: Option<Json>,
    #[serde(default, rename = "usageMetadata")]
    usage_metadata: Option<Json>,
}

impl Dialect {
    /// The usage that a whole answer tells, without reading the rest of it; `None` if it tells none, or
    /// none that can be true.
    pub fn usage_of_answer(self, body: &[u8]) -> Option<Usage> {
        let told: Told = serde_json::from_slice(body).ok()?;
        let fields = if self == Dialect::Gemini { told.usage_metadata } else { told.usage }?.into_fields()?;
        self.read_usage(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(dialect: Dialect, body: &str) -> String {
        let passing = Passing::read(dialect, body.as_bytes()).unwrap();
        String::from_utf8(passing.edit(body.as_bytes(), "re\"al")).unwrap()
    }

    #[test]
    fn only_the_model_changes() {
        assert_eq!(
            edited(Dialect::Anthropic, r#" {"x":[1e309,"\u0000"],"model" : "a","max_tokens":5,"messages":[{}]} "#),
            r#" {"x":[1e309,"\u0000"],"model" : "re\"al","max_tokens":5,"messages":[{}]} "#
        );
        assert_eq!(edited(Dialect::OpenAiResponses, r#"{"input":"hi","model":"a"}"#), r#"{"input":"hi","model":"re\"al"}"#);
    }

    #[test]
    fn what_policy_needs_is_read() {
        let body = br#"{"model":"a","max_tokens":5,"stream":true,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://example.com"}},{"type":"document","source":{"type":"file","file_id":"f"}}]}]}"#;
        let read = Passing::read(Dialect::Anthropic, body).unwrap();
        assert_eq!((read.model.as_str(), read.stream, read.max_output, read.remote_media, read.bytes), ("a", true, Some(5), 2, body.len()));
        let body = br#"{"model":"a","max_output_tokens":7,"input":[{"type":"input_image","image_url":"https://example.com"}]}"#;
        let read = Passing::read(Dialect::OpenAiResponses, body).unwrap();
        assert_eq!((read.stream, read.max_output, read.remote_media), (false, Some(7), 1));
    }

    #[test]
    fn wrong_bodies_are_told_apart() {
        for (dialect, body, param) in [
            (Dialect::Anthropic, r#"{"messages":[{}]}"#, "model"),
            (Dialect::Anthropic, r#"{"model":"a","model":"b","messages":[{}]}"#, "model"),
            (Dialect::Anthropic, r#"{"model":"a","messages":[]}"#, "messages"),
            (Dialect::Anthropic, r#"{"model":"a","messages":[{}],"max_tokens":0}"#, "max_tokens"),
            (Dialect::Anthropic, r#"{"model":"a","messages":[{}],"stream":1}"#, "stream"),
            (Dialect::OpenAiResponses, r#"{"model":"a","input":5}"#, "input"),
            (Dialect::OpenAiResponses, r#"{"model":"a","max_output_tokens":"x"}"#, "max_output_tokens"),
            (Dialect::OpenAiResponses, "[]", ""),
        ] {
            match Passing::read(dialect, body.as_bytes()) {
                Err(Wrong::Field { param: told, .. }) => assert_eq!(told, param, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        assert!(matches!(Passing::read(Dialect::Anthropic, b"{"), Err(Wrong::Json(_))));
    }

    #[test]
    fn usage_is_read_without_the_rest() {
        let all = [
            (Dialect::OpenAiChat, r#"{"usage":{"prompt_tokens":120,"completion_tokens":40,"prompt_tokens_details":{"cached_tokens":64}}}"#),
            (Dialect::OpenAiResponses, r#"{"usage":{"input_tokens":120,"output_tokens":40,"input_tokens_details":{"cached_tokens":64}}}"#),
            (Dialect::Anthropic, r#"{"usage":{"input_tokens":56,"output_tokens":40,"cache_read_input_tokens":64}}"#),
            (Dialect::Gemini, r#"{"usageMetadata":{"promptTokenCount":120,"candidatesTokenCount":40,"cachedContentTokenCount":64}}"#),
            (Dialect::Bedrock, r#"{"usage":{"inputTokens":56,"outputTokens":40,"cacheReadInputTokens":64}}"#),
        ];
        for (dialect, body) in all {
            let expected = Usage { input: 120, output: 40, cached: 64, ..Usage::default() };
            assert_eq!(dialect.usage_of_answer(body.as_bytes()), Some(expected), "{dialect:?}");
            for none in ["", "{}", r#"{"usage":null}"#, r#"{"usage":[],"usageMetadata":{}}"#] {
                assert_eq!(dialect.usage_of_answer(none.as_bytes()), None, "{dialect:?} {none}");
            }
        }
    }
}
