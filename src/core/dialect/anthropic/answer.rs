//! Whole messages.

use super::super::common::{Answer, Body, Choice, Maker, Part, Stop, StopReason, WireError};
use super::super::foreign::arguments_of_answer;
use super::super::json::{Fields, Json, object};
use super::super::{Dialect, Face};
use super::error_in;
use super::read::block;
use super::usage::{Told, written};

/// Reads an answer.
pub(crate) fn decode_answer(body: &[u8]) -> Result<Answer, WireError> {
    let mut body = Json::read(body).ok().and_then(Json::into_fields).ok_or_else(|| WireError::malformed("it is not a JSON object"))?;
    if body.text("type") == Some("error") {
        return Err(error_in(body.take_object("error").unwrap_or_default()));
    }
    let content = body.take_list("content").ok_or_else(|| WireError::malformed("it has no content"))?;
    let mut told = body.take_object("usage").unwrap_or_default();
    let mut usage = Told::default();
    usage.take(&mut told);
    if !told.is_empty() {
        body.put("usage", told);
    }
    let sequence = body.take_text("stop_sequence");
    let stop = body.take_text("stop_reason").map(|raw| Stop { sequence, ..stop(&raw) });
    let parts = content.into_iter().filter_map(|item| block(item.into_fields()?).ok()).collect();
    let (id, model) = (body.take_text("id").unwrap_or_default(), body.take_text("model").unwrap_or_default());
    body.take("type");
    body.take("role");
    Ok(Answer {
        origin: Dialect::Anthropic,
        id,
        model,
        created: None,
        choices: vec![Choice { index: 0, parts, stop, logprobs: Vec::new(), extra: Fields::new() }],
        usage: usage.usage(),
        extra: body,
    })
}

/// Why it ended.
pub(super) fn stop(raw: &str) -> Stop {
    let reason = match raw {
        "end_turn" => StopReason::End,
        "max_tokens" => StopReason::Length,
        "model_context_window_exceeded" => StopReason::ContextFull,
        "stop_sequence" => StopReason::Sequence,
        "tool_use" => StopReason::ToolCalls,
        "refusal" => StopReason::Refusal,
        "pause_turn" => StopReason::Paused,
        _ => StopReason::Other,
    };
    Stop::new(reason, raw)
}

/// Anthropic's word for it.
pub(super) fn stop_reason(stop: &Stop) -> &'static str {
    match stop.reason {
        StopReason::End | StopReason::Malformed | StopReason::Other => "end_turn",
        StopReason::Length => "max_tokens",
        StopReason::ContextFull => "model_context_window_exceeded",
        StopReason::Sequence => "stop_sequence",
        StopReason::ToolCalls => "tool_use",
        StopReason::Filtered | StopReason::Refusal => "refusal",
        StopReason::Paused => "pause_turn",
    }
}

/// Writes an answer: its first choice, the only one that this format has.
pub(crate) fn encode_answer(answer: &Answer, face: &Face) -> Fields {
    let own = answer.origin == Dialect::Anthropic;
    let first = answer.choices.first();
    let parts = first.map(|c| c.parts.as_slice()).unwrap_or_default();
    let content: Vec<Fields> = parts.iter().flat_map(|part| blocks(part, own)).collect();
    let stop = first.and_then(|c| c.stop.as_ref());
    let reason = stop.map(|stop| if own { stop.raw.as_str() } else { stop_reason(stop) });
    let mut body = object! {
        "id": &face.id,
        "type": "message",
        "role": "assistant",
        "model": &face.model,
        "content": content,
        "stop_reason": reason.map_or(Json::Null, Json::from),
        "stop_sequence": stop.and_then(|s| s.sequence.as_ref()).map_or(Json::Null, Json::from),
        "usage": written(answer.usage.unwrap_or_default()),
    };
    if own {
        body.fill(answer.extra.clone());
    }
    body
}

fn blocks(part: &Part, own: bool) -> Vec<Fields> {
    let mut block = match &part.body {
        Body::Text(text) | Body::Refusal(text) => object! { "type": "text", "text": text },
        Body::Thinking { text, signature } => {
            let signature = signature.as_ref().map(|s| s.to_wire(Maker::Anthropic)).unwrap_or_default();
            object! { "type": "thinking", "thinking": text, "signature": signature }
        }
        Body::Redacted(data) => object! { "type": "redacted_thinking", "data": data.to_wire(Maker::Anthropic) },
        Body::ToolCall { id, name, arguments, .. } => {
            object! { "type": "tool_use", "id": id, "name": name, "input": arguments_of_answer(arguments) }
        }
        Body::Opaque(fields) if own => fields.clone(),
        // What another provider ran for itself, and its pictures and sounds, have no place here.
        _ => return Vec::new(),
    };
    if own {
        block.fill(part.extra.clone());
    }
    match &part.body {
        Body::ToolCall { signature: Some(signature), .. } => {
            vec![object! { "type": "thinking", "thinking": "", "signature": signature.to_wire(Maker::Anthropic) }, block]
        }
        _ => vec![block],
    }
}
