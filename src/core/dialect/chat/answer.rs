//! Whole chat completions.

use super::super::common::{Answer, Body, Choice, Logprob, Part, Stop, StopReason, Usage, WireError};
use super::super::json::{Fields, Json, object};
use super::super::openai::tier;
use super::super::{Dialect, Face, logprobs};
use super::read::tool_call;
use super::{error_in, reasoning, usage};

/// Reads an answer.
pub(crate) fn decode_answer(body: &[u8]) -> Result<Answer, WireError> {
    answer_of(Json::read(body).ok().and_then(Json::into_fields).ok_or_else(|| WireError::malformed("it is not a JSON object"))?)
}

/// The same of fields.
pub(crate) fn answer_of(mut body: Fields) -> Result<Answer, WireError> {
    if let Some(error) = body.take("error").and_then(error_in) {
        return Err(error);
    }
    let choices = body.take_list("choices").ok_or_else(|| WireError::malformed("it has no choices"))?;
    let choices = (0_u64..).zip(choices).filter_map(|(at, c)| Some(choice(c.into_fields()?, at))).collect();
    let mut told = body.take_object("usage").unwrap_or_default();
    let tier = tier(body.get("service_tier"));
    let usage = usage::take(&mut told).map(|usage| Usage { tier, ..usage });
    if !told.is_empty() {
        body.put("usage", told);
    }
    Ok(Answer {
        origin: Dialect::OpenAiChat,
        id: body.take_text("id").unwrap_or_default(),
        model: body.take_text("model").unwrap_or_default(),
        created: body.take_u64("created"),
        choices,
        usage,
        extra: {
            body.take("object");
            body
        },
    })
}

fn choice(mut fields: Fields, at: u64) -> Choice {
    let mut message = fields.take_object("message").unwrap_or_default();
    message.take("role");
    let mut parts = reasoning::read(&mut message);
    parts.extend(spoken(&mut message).into_iter().map(Part::new));
    parts.extend(message.take_text("refusal").map(|text| Part::new(Body::Refusal(text))));
    let calls = message.take_list("tool_calls").unwrap_or_default();
    parts.extend(calls.into_iter().filter_map(|call| tool_call(call.into_fields()?).ok()));
    let calls = parts.iter().any(|p| matches!(p.body, Body::ToolCall { .. }));
    let stop = fields.take_text("finish_reason").map(|raw| stop(raw, calls));
    let mut told = fields.take_object("logprobs").unwrap_or_default();
    let logprobs = logprobs::read(told.take_list("content").unwrap_or_default());
    let index = fields.take_u64("index").unwrap_or(at);
    if !message.is_empty() {
        fields.put("message", message);
    }
    Choice { index, parts, stop, logprobs, extra: fields }
}

/// Takes what is said: text, or, as Mistral's reasoning models write it, a list of texts and thoughts.
pub(super) fn spoken(message: &mut Fields) -> Vec<Body> {
    let one = |item: Json| {
        let mut item = item.into_fields()?;
        match item.text("type") {
            Some("text") => item.take_text("text").map(Body::Text),
            Some("thinking") => {
                let texts = item.take_list("thinking").unwrap_or_default();
                let text: String = texts.iter().filter_map(|t| t.as_object()?.text("text")).collect();
                Some(Body::Thinking { text, signature: None })
            }
            _ => None,
        }
    };
    let all = match message.take_text("content") {
        Some(text) => vec![Body::Text(text)],
        None => message.take_list("content").unwrap_or_default().into_iter().filter_map(one).collect(),
    };
    all.into_iter().filter(|body| !matches!(body, Body::Text(text) | Body::Thinking { text, .. } if text.is_empty())).collect()
}

/// Why it ended. Some providers say `stop` where they wait for tools.
pub(super) fn stop(raw: String, calls: bool) -> Stop {
    let reason = match raw.as_str() {
        "stop" if calls => StopReason::ToolCalls,
        "stop" | "eos" | "end_turn" => StopReason::End,
        "length" | "max_tokens" => StopReason::Length,
        "tool_calls" | "function_call" => StopReason::ToolCalls,
        "content_filter" => StopReason::Filtered,
        _ => StopReason::Other,
    };
    Stop::new(reason, raw)
}

/// OpenAI's word for it.
pub(super) fn finish_reason(stop: &Stop) -> &'static str {
    match stop.reason {
        StopReason::End | StopReason::Sequence | StopReason::Paused | StopReason::Malformed | StopReason::Other => "stop",
        StopReason::Length | StopReason::ContextFull => "length",
        StopReason::ToolCalls => "tool_calls",
        StopReason::Filtered | StopReason::Refusal => "content_filter",
    }
}

/// Writes an answer.
pub(crate) fn encode_answer(answer: &Answer, face: &Face) -> Fields {
    let own = answer.origin == Dialect::OpenAiChat;
    let mut body = object! {
        "id": &face.id,
        "object": "chat.completion",
        "created": face.created,
        "model": &face.model,
        "choices": answer.choices.iter().map(|c| written(c, own)).collect::<Vec<_>>(),
    };
    body.put_some("usage", answer.usage.map(usage::written));
    if own {
        body.fill(answer.extra.clone());
    }
    body
}

fn written(choice: &Choice, own: bool) -> Fields {
    let (mut text, mut refusal, mut thoughts) = (String::new(), None, String::new());
    let (mut calls, mut details) = (Vec::new(), Vec::new());
    for (at, part) in (0_u64..).zip(&choice.parts) {
        match &part.body {
            Body::Text(more) => text.push_str(more),
            Body::Refusal(more) => refusal = Some(more),
            Body::Thinking { text, signature } => {
                thoughts.push_str(text);
                details.extend(reasoning::written(text, signature.as_ref(), at));
            }
            Body::Redacted(data) => details.push(reasoning::written_redacted(data, at)),
            Body::ToolCall { id, name, arguments, signature } => {
                let function = object! { "name": name, "arguments": if arguments.is_empty() { "{}" } else { arguments } };
                let mut call = object! { "id": id, "type": "function", "function": function };
                call.put_some("extra_content", reasoning::call_signature(signature.as_ref()));
                if own {
                    call.fill(part.extra.clone());
                }
                calls.push(call);
            }
            Body::Opaque(call) if own => calls.push(call.clone()),
            // What a provider ran for itself (searches, code) has no place here; its text has.
            _ => {}
        }
    }
    let nothing = text.is_empty() && (!calls.is_empty() || refusal.is_some());
    let mut message = object! { "role": "assistant", "content": if nothing { Json::Null } else { text.into() } };
    message.put("refusal", refusal.map_or(Json::Null, Json::from));
    if !thoughts.is_empty() {
        message.put("reasoning_content", thoughts);
    }
    if !details.is_empty() {
        message.put("reasoning_details", details);
    }
    if !calls.is_empty() {
        message.put("tool_calls", calls);
    }
    let finish = choice.stop.as_ref().map(|stop| if own { stop.raw.as_str() } else { finish_reason(stop) });
    let mut out = object! {
        "index": choice.index,
        "message": message,
        "logprobs": written_logprobs(&choice.logprobs),
        "finish_reason": finish.map_or(Json::Null, Json::from),
    };
    if own {
        out.fill(choice.extra.clone());
    }
    out
}

/// The object of log-probabilities; `null` without any.
pub(super) fn written_logprobs(tokens: &[Logprob]) -> Json {
    if tokens.is_empty() { Json::Null } else { object! { "content": logprobs::written(tokens), "refusal": Json::Null }.into() }
}
