//! Reasoning in chat completions: `reasoning_content`, `reasoning_details`, and signatures of calls.

use super::super::common::{Body, Maker, Part, Signature};
use super::super::json::{Fields, Json, object};

/// The name that OpenRouter gives a maker's details.
fn format_of(maker: Maker) -> &'static str {
    match maker {
        Maker::Anthropic => "anthropic-claude-v1",
        Maker::Gemini => "google-gemini-v1",
        Maker::OpenAi => "openai-responses-v1",
    }
}

fn maker_of(format: Option<&str>) -> Maker {
    match format {
        Some("google-gemini-v1") => Maker::Gemini,
        Some("openai-responses-v1") => Maker::OpenAi,
        _ => Maker::Anthropic,
    }
}

/// Takes the reasoning out of a message. Details go before the plain text, which repeats them.
pub(super) fn read(message: &mut Fields) -> Vec<Part> {
    let plain = message.take_text("reasoning_content").or_else(|| message.take_text("reasoning"));
    let details = message.take_list("reasoning_details").unwrap_or_default();
    let parts: Vec<Part> = details.into_iter().filter_map(detail).map(Part::new).collect();
    if parts.is_empty() {
        return plain.filter(|text| !text.is_empty()).map(|text| Part::new(Body::Thinking { text, signature: None })).into_iter().collect();
    }
    parts
}

/// One of `reasoning_details`.
pub(super) fn detail(value: Json) -> Option<Body> {
    let mut detail = value.into_fields()?;
    let maker = maker_of(detail.text("format"));
    match detail.text("type")? {
        "reasoning.encrypted" => Some(Body::Redacted(Signature::new(maker, detail.take_text("data")?))),
        "reasoning.summary" => Some(Body::Thinking { text: detail.take_text("summary")?, signature: None }),
        "reasoning.text" => {
            let signature = detail.take_text("signature").map(|text| Signature::new(maker, text));
            let text = detail.take_text("text").unwrap_or_default();
            (!text.is_empty() || signature.is_some()).then_some(Body::Thinking { text, signature })
        }
        _ => None,
    }
}

/// A detail to write. Reasoning without a signature needs none: `reasoning_content` says it all.
pub(super) fn written(text: &str, signature: Option<&Signature>, at: u64) -> Option<Json> {
    let signature = signature?;
    let detail = object! {
        "type": "reasoning.text", "text": text, "signature": signature.text.clone(), "format": format_of(signature.maker), "index": at,
    };
    Some(detail.into())
}

/// Encrypted reasoning to write.
pub(super) fn written_redacted(data: &Signature, at: u64) -> Json {
    object! { "type": "reasoning.encrypted", "data": data.text.clone(), "format": format_of(data.maker), "index": at }.into()
}

/// Takes Gemini's signature out of a tool call.
pub(super) fn take_call_signature(call: &mut Fields) -> Option<Signature> {
    let mut extra = call.take_object("extra_content")?;
    let mut google = extra.take_object("google")?;
    Some(Signature::new(Maker::Gemini, google.take_text("thought_signature")?))
}

/// Where Gemini's signature of a call is written.
pub(super) fn call_signature(signature: Option<&Signature>) -> Option<Json> {
    let text = signature?.for_maker(Maker::Gemini)?;
    Some(object! { "google": object! { "thought_signature": text } }.into())
}
