//! Requests and answers that pass: client and target speak the same format, so only what policy needs
//! is read, and only the model's name is changed. Chat completions have [`super::openai::ChatRequest`].
//!
//! A stream that passes is read by a [`super::Decoder`] on the side: it tells usage and whether the
//! answer came whole, and its deltas are thrown away.

use super::Dialect;
use super::common::Usage;
use super::json::Json;
use super::openai::request::{changed, span, top_level, utf8, wrong};
use super::openai::{Wrong, tier};
use crate::dialect::json::from_bytes;
use crate::price::TierAsked;
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
    /// Whether the answer depends on more than the request: on a conversation that the provider keeps.
    pub stateful: bool,
    /// The service tier that is asked for.
    pub tier: TierAsked,
    /// Where the model's value stands in the body.
    model_at: (usize, usize),
    /// Where the bound of the output stands, if it does, and its name.
    max_output_at: Option<(usize, usize)>,
    max_output_name: &'static str,
    /// After the opening brace.
    after_brace: usize,
}

/// Fields that name something which a provider keeps.
const KEPT: [&str; 4] = ["previous_response_id", "conversation", "background", "container"];

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
        let max_output_name = if dialect == Dialect::OpenAiResponses { "max_output_tokens" } else { "max_tokens" };
        let max_output = fields.whole_number(max_output_name, 1, MAX_OUTPUT)?;
        let max_output_at = fields.only(max_output_name)?.and_then(|raw| span(text, raw.get()));
        let mut stateful = false;
        for name in KEPT {
            stateful |= fields.only(name)?.is_some_and(|raw| !matches!(raw.get(), "null" | "false"));
        }
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
        let tier = fields.tier();
        let after_brace = text.find('{').map_or(0, |i| i.saturating_add(1));
        let bytes = text.trim().len();
        Ok(Passing {
            model,
            stream,
            max_output,
            bytes,
            remote_media,
            stateful,
            tier,
            model_at,
            max_output_at,
            max_output_name,
            after_brace,
        })
    }

    /// Reads a request for embeddings.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn embeddings(body: &[u8]) -> Result<Passing, Wrong> {
        let text = utf8(body)?;
        let fields = top_level(text)?;
        let (model, model_at) = fields.model(text)?;
        match fields.only("input")?.map(|raw| raw.get()) {
            None | Some("null") => return wrong("input", "is missing"),
            Some(raw) if !raw.starts_with(['"', '[']) => return wrong("input", "must be a string, an array of strings, or tokens"),
            Some(raw) if raw.strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with(']')) => {
                return wrong("input", "must not be empty");
            }
            Some(_) => {}
        }
        Ok(Passing {
            model,
            stream: false,
            max_output: Some(0),
            bytes: text.trim().len(),
            remote_media: 0,
            stateful: false,
            tier: fields.tier(),
            model_at,
            max_output_at: None,
            max_output_name: "",
            after_brace: 0,
        })
    }

    /// The body for a provider: the model renamed, the output bound lowered where policy says so, all else
    /// untouched.
    pub fn edit(&self, body: &[u8], model: &str, max_output: Option<u64>) -> Vec<u8> {
        let mut changes = vec![(self.model_at, serde_json::Value::from(model).to_string())];
        match (max_output, self.max_output_at) {
            (Some(tokens), Some(at)) => changes.push((at, tokens.to_string())),
            (Some(tokens), None) => {
                changes.push(((self.after_brace, self.after_brace), format!("\"{}\":{tokens},", self.max_output_name)));
            }
            (None, _) => {}
        }
        changed(body, changes)
    }
}

/// Where the formats tell usage.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    usage: Option<Json>,
    #[serde(default, rename = "usageMetadata")]
    usage_metadata: Option<Json>,
    /// OpenAI's; Anthropic tells it within the usage.
    #[serde(default)]
    service_tier: Option<Json>,
}

impl Dialect {
    /// The usage that a whole answer tells, without reading the rest of it; `None` if it tells none, or
    /// none that can be true.
    pub fn usage_of_answer(self, body: &[u8]) -> Option<Usage> {
        let told: Told = from_bytes(body)?;
        let fields = if self == Dialect::Gemini { told.usage_metadata } else { told.usage }?.into_fields()?;
        let usage = self.read_usage(fields)?;
        Some(Usage { tier: usage.tier.or(tier(told.service_tier.as_ref())), ..usage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(dialect: Dialect, body: &str) -> String {
        let passing = Passing::read(dialect, body.as_bytes()).unwrap();
        String::from_utf8(passing.edit(body.as_bytes(), "re\"al", None)).unwrap()
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
    fn a_lowered_bound_stands_in_the_body() {
        let lowered = |dialect: Dialect, body: &str| {
            let passing = Passing::read(dialect, body.as_bytes()).unwrap();
            String::from_utf8(passing.edit(body.as_bytes(), "b", Some(7))).unwrap()
        };
        let body = r#"{"max_tokens": 900,"model":"a","messages":[{}]}"#;
        assert_eq!(lowered(Dialect::Anthropic, body), r#"{"max_tokens": 7,"model":"b","messages":[{}]}"#);
        let body = r#"{"model":"a","input":"x"}"#;
        assert_eq!(lowered(Dialect::OpenAiResponses, body), r#"{"max_output_tokens":7,"model":"b","input":"x"}"#);
    }

    #[test]
    fn embeddings_are_read_and_renamed() {
        let body = br#"{"input":["a","b"],"model":"m","dimensions":5}"#;
        let read = Passing::embeddings(body).unwrap();
        assert_eq!((read.model.as_str(), read.max_output, read.stream), ("m", Some(0), false));
        assert_eq!(read.edit(body, "n", None), br#"{"input":["a","b"],"model":"n","dimensions":5}"#);
        for (body, param) in [
            (r#"{"model":"m"}"#, "input"),
            (r#"{"model":"m","input":[ ]}"#, "input"),
            (r#"{"input":"a"}"#, "model"),
            (r#"{"model":"m","input":5}"#, "input"),
        ] {
            assert!(matches!(Passing::embeddings(body.as_bytes()), Err(Wrong::Field { param: told, .. }) if told == param), "{body}");
        }
    }

    #[test]
    fn what_a_provider_keeps_is_noticed() {
        let stateful = |extra: &str| {
            Passing::read(Dialect::OpenAiResponses, format!(r#"{{"model":"a","input":"x"{extra}}}"#).as_bytes()).unwrap().stateful
        };
        assert!(stateful(r#","previous_response_id":"r""#) && stateful(r#","background":true"#));
        assert!(!stateful("") && !stateful(r#","background":false,"conversation":null"#));
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
