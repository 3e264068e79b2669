//! Whole answers of Converse.

use super::super::Dialect;
use super::super::common::{Answer, Body, Choice, Maker, Part, Stop, StopReason, WireError};
use super::super::foreign::arguments_of_answer;
use super::super::json::{Fields, Json, object};
use super::read::blocks;
use super::usage;

/// Reads an answer.
pub(crate) fn decode_answer(body: &[u8]) -> Result<Answer, WireError> {
    let mut body = Json::read(body).ok().and_then(Json::into_fields).ok_or_else(|| WireError::malformed("it is not a JSON object"))?;
    let mut output = body.take_object("output").ok_or_else(|| WireError::malformed("it has no output"))?;
    let mut message = output.take_object("message").unwrap_or_default();
    let parts = blocks(message.take_list("content").unwrap_or_default(), "content").map_err(|e| WireError::malformed(e.why))?;
    let mut told = body.take_object("usage").unwrap_or_default();
    let usage = usage::take(&mut told);
    if !told.is_empty() {
        body.put("usage", told);
    }
    let stop = body.take_text("stopReason").map(|raw| stop(&raw));
    Ok(Answer {
        origin: Dialect::Bedrock,
        id: String::new(),
        model: String::new(),
        created: None,
        choices: vec![Choice { index: 0, parts, stop, logprobs: Vec::new(), extra: Fields::new() }],
        usage,
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
        "guardrail_intervened" | "content_filtered" => StopReason::Filtered,
        "malformed_model_output" | "malformed_tool_use" => StopReason::Malformed,
        _ => StopReason::Other,
    };
    Stop::new(reason, raw)
}

/// Bedrock's word for it.
pub(super) fn stop_reason(stop: &Stop) -> &'static str {
    match stop.reason {
        StopReason::End | StopReason::Paused | StopReason::Other => "end_turn",
        StopReason::Length => "max_tokens",
        StopReason::ContextFull => "model_context_window_exceeded",
        StopReason::Sequence => "stop_sequence",
        StopReason::ToolCalls => "tool_use",
        StopReason::Filtered | StopReason::Refusal => "content_filtered",
        StopReason::Malformed => "malformed_tool_use",
    }
}

/// Writes an answer: its first choice, the only one that this format has.
pub(crate) fn encode_answer(answer: &Answer) -> Fields {
    let own = answer.origin == Dialect::Bedrock;
    let first = answer.choices.first();
    let parts = first.map(|c| c.parts.as_slice()).unwrap_or_default();
    let content: Vec<Fields> = parts.iter().filter_map(|p| block(p, own)).collect();
    let stop = first.and_then(|c| c.stop.as_ref());
    let reason = stop.map_or("end_turn", |stop| if own { stop.raw.as_str() } else { stop_reason(stop) });
    let mut body = object! {
        "output": object! { "message": object! { "role": "assistant", "content": content } },
        "stopReason": reason,
        "usage": usage::written(answer.usage.unwrap_or_default()),
    };
    if own {
        body.fill(answer.extra.clone());
    } else {
        body.put("metrics", object! { "latencyMs": 0_u32 });
    }
    body
}

fn block(part: &Part, own: bool) -> Option<Fields> {
    Some(match &part.body {
        Body::Text(text) | Body::Refusal(text) => object! { "text": text },
        Body::ToolCall { id, name, arguments, .. } => {
            object! { "toolUse": object! { "toolUseId": id, "name": name, "input": arguments_of_answer(arguments) } }
        }
        Body::Thinking { text, signature } => {
            let mut inner = object! { "text": text };
            inner.put_some("signature", signature.as_ref().map(|s| s.to_wire(Maker::Anthropic)));
            object! { "reasoningContent": object! { "reasoningText": inner } }
        }
        Body::Redacted(data) => object! { "reasoningContent": object! { "redactedContent": data.to_wire(Maker::Anthropic) } },
        Body::Opaque(fields) if own => fields.clone(),
        _ => return None,
    })
}
