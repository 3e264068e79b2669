//! Asking a target how many tokens a prompt has.

use super::common::{Body, Part, Request, ToolKind};
use super::fields::Refused;
use super::json::{Json, object};
use super::{Dialect, Encoded, Target, anthropic, bedrock, gemini, responses};

/// Tokens that a picture or a document is taken for where nobody counts: about what a large picture
/// costs at each of the providers.
const TOKENS_OF_MEDIA: u64 = 1_500;

impl Dialect {
    /// Writes the question how many tokens a request's prompt has; `None` where the format has none.
    /// [`Request::estimated_tokens`] is left then.
    ///
    /// # Errors
    /// The format has no words for what the prompt holds.
    pub fn encode_count(self, request: &Request, target: &Target<'_>) -> Result<Option<Encoded>, Refused> {
        let (path, (body, dropped)) = match self {
            Dialect::OpenAiChat | Dialect::WorkersAi => return Ok(None),
            Dialect::OpenAiResponses => ("/responses/input_tokens".to_owned(), responses::count_body(request, target)?),
            Dialect::Anthropic => ("/messages/count_tokens".to_owned(), anthropic::count_body(request, target)?),
            Dialect::Gemini => {
                let (mut body, dropped) = gemini::generate_body(request, target)?;
                body.put("model", format!("models/{}", target.model.strip_prefix("models/").unwrap_or(target.model)));
                let question = object! { "generateContentRequest": body };
                (gemini::model_path(target.model, "countTokens"), (question, dropped))
            }
            Dialect::Bedrock => (bedrock::model_path(target.model, "count-tokens"), bedrock::count_body(request)?),
        };
        Ok(Some(Encoded { path, body: body.to_text().into_bytes(), dropped }))
    }

    /// Reads the answer to it; `None` if there is no number in it.
    pub fn decode_count(self, body: &[u8]) -> Option<u64> {
        let fields = Json::read(body).ok()?.into_fields()?;
        let name = match self {
            Dialect::OpenAiChat | Dialect::WorkersAi => return None,
            Dialect::OpenAiResponses | Dialect::Anthropic => "input_tokens",
            Dialect::Gemini => "totalTokens",
            Dialect::Bedrock => "inputTokens",
        };
        fields.get(name)?.as_u64()
    }

    /// Writes the answer for a client; empty where the format has none.
    pub fn encode_count_answer(self, tokens: u64) -> Vec<u8> {
        let fields = match self {
            Dialect::OpenAiChat | Dialect::WorkersAi => return Vec::new(),
            Dialect::OpenAiResponses => object! { "object": "response.input_tokens", "input_tokens": tokens },
            Dialect::Anthropic => object! { "input_tokens": tokens },
            Dialect::Gemini => object! { "totalTokens": tokens },
            Dialect::Bedrock => object! { "inputTokens": tokens },
        };
        fields.to_text().into_bytes()
    }
}

impl Request {
    /// Tokens of the prompt by rule of thumb: a quarter of its bytes, and a fixed number for a picture
    /// or a document. Real tokenizers differ by half in either direction.
    pub fn estimated_tokens(&self) -> u64 {
        let parts: u64 = self.messages.iter().flat_map(|m| &m.parts).map(part).fold(0, u64::saturating_add);
        let tools = self.tools.iter().map(|tool| match &tool.kind {
            ToolKind::Function { name, description, schema, .. } => {
                let schema = schema.as_ref().map(|s| quarter(s.to_text().len())).unwrap_or(0);
                quarter(name.len()).saturating_add(description.as_ref().map_or(0, |d| quarter(d.len()))).saturating_add(schema)
            }
            ToolKind::Opaque(fields) => quarter(fields.to_text().len()),
        });
        tools.fold(parts, u64::saturating_add)
    }
}

fn quarter(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}

fn part(part: &Part) -> u64 {
    match &part.body {
        Body::Text(text) | Body::Refusal(text) | Body::Thinking { text, .. } => quarter(text.len()),
        Body::Image { .. } | Body::File { .. } | Body::Audio { .. } => TOKENS_OF_MEDIA,
        Body::ToolCall { name, arguments, .. } => quarter(name.len()).saturating_add(quarter(arguments.len())),
        Body::ToolResult { parts, .. } => parts.iter().map(self::part).fold(0, u64::saturating_add),
        Body::Redacted(data) => quarter(data.text.len()),
        Body::Opaque(fields) => quarter(fields.to_text().len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"model":"m","system":"Be brief.","messages":[{"role":"user","content":"hello"}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}"#;

    fn asked(to: Dialect, model: &str) -> (String, String) {
        let request = Dialect::Anthropic.decode_request("", BODY).unwrap();
        let out = to.encode_count(&request, &Target::new(model, 100)).unwrap().unwrap();
        (out.path, String::from_utf8(out.body).unwrap())
    }

    #[test]
    fn each_format_is_asked_in_its_own_words() {
        assert_eq!(
            asked(Dialect::Anthropic, "claude-x"),
            ("/messages/count_tokens".into(), r#"{"model":"claude-x","system":"Be brief.","messages":[{"role":"user","content":"hello"}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}"#.into())
        );
        assert_eq!(
            asked(Dialect::Gemini, "gemini-x"),
            ("/models/gemini-x:countTokens".into(), r#"{"generateContentRequest":{"systemInstruction":{"parts":[{"text":"Be brief."}]},"contents":[{"role":"user","parts":[{"text":"hello"}]}],"tools":[{"functionDeclarations":[{"name":"f","parametersJsonSchema":{"type":"object"}}]}],"model":"models/gemini-x"}}"#.into())
        );
        assert_eq!(
            asked(Dialect::Bedrock, "c:0"),
            ("/model/c%3A0/count-tokens".into(), r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"hello"}]}],"system":[{"text":"Be brief."}],"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}]}}}}"#.into())
        );
        assert_eq!(
            asked(Dialect::OpenAiResponses, "gpt-x"),
            ("/responses/input_tokens".into(), r#"{"model":"gpt-x","instructions":"Be brief.","input":[{"type":"message","role":"user","content":"hello"}],"tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":false}]}"#.into())
        );
        let request = Dialect::Anthropic.decode_request("", BODY).unwrap();
        assert_eq!(Dialect::OpenAiChat.encode_count(&request, &Target::new("m", 1)), Ok(None));
        assert_eq!(request.estimated_tokens(), 3 + 2 + 1 + 5);
    }

    #[test]
    fn answers_are_read_and_written() {
        for dialect in [Dialect::OpenAiResponses, Dialect::Anthropic, Dialect::Gemini, Dialect::Bedrock] {
            assert_eq!(dialect.decode_count(&dialect.encode_count_answer(42)), Some(42));
            assert_eq!(dialect.decode_count(b"{}"), None);
        }
    }
}
