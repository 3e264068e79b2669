//! Whole responses.

use super::super::common::{Answer, Body, Choice, Part, Stop, StopReason, Usage, WireError};
use super::super::json::{Fields, Json, object};
use super::super::openai::tier;
use super::super::{Dialect, Face, chat, logprobs};
use super::read::{call, message};
use super::{reasoning, usage};

/// Reads an answer.
pub(crate) fn decode_answer(body: &[u8]) -> Result<Answer, WireError> {
    let mut body = Json::read(body).ok().and_then(Json::into_fields).ok_or_else(|| WireError::malformed("it is not a JSON object"))?;
    if let Some(error) = body.take("error").and_then(chat::error_in) {
        return Err(error);
    }
    let output = body.take_list("output").ok_or_else(|| WireError::malformed("it has no output"))?;
    let mut parts: Vec<Part> = output.into_iter().filter_map(Json::into_fields).flat_map(item).collect();
    let calls = parts.iter().any(|p| matches!(p.body, Body::ToolCall { .. }));
    let logprobs = parts.iter_mut().filter_map(|p| p.extra.take_list("logprobs")).flat_map(logprobs::read).collect();
    let stop = stop(&mut body, calls);
    let mut told = body.take_object("usage").unwrap_or_default();
    let tier = tier(body.get("service_tier"));
    let usage = usage::take(&mut told).map(|usage| Usage { tier, ..usage });
    if !told.is_empty() {
        body.put("usage", told);
    }
    body.take("object");
    Ok(Answer {
        origin: Dialect::OpenAiResponses,
        id: body.take_text("id").unwrap_or_default(),
        model: body.take_text("model").unwrap_or_default(),
        created: body.take_u64("created_at"),
        choices: vec![Choice { index: 0, parts, stop, logprobs, extra: Fields::new() }],
        usage,
        extra: body,
    })
}

/// The parts of an item; items of tools that OpenAI runs stay as they are.
pub(super) fn item(fields: Fields) -> Vec<Part> {
    match fields.text("type") {
        Some("message") => message(fields).map(|m| m.parts).unwrap_or_default(),
        Some("function_call") => call(fields).into_iter().collect(),
        Some("reasoning") => vec![reasoning::read(fields)],
        _ => vec![Part::new(Body::Opaque(fields))],
    }
}

/// Takes out why it ended.
pub(super) fn stop(response: &mut Fields, calls: bool) -> Option<Stop> {
    let status = response.take_text("status")?;
    let reason = response.take_object("incomplete_details").and_then(|mut d| d.take_text("reason"));
    Some(match (status.as_str(), reason) {
        ("incomplete", Some(raw)) if raw == "max_output_tokens" => Stop::new(StopReason::Length, raw),
        ("incomplete", Some(raw)) if raw == "content_filter" => Stop::new(StopReason::Filtered, raw),
        ("completed", _) if calls => Stop::new(StopReason::ToolCalls, status),
        ("completed", _) => Stop::new(StopReason::End, status),
        (_, reason) => Stop::new(StopReason::Other, reason.unwrap_or(status)),
    })
}

/// Writes an answer: its first choice, the only one that this format has.
pub(crate) fn encode_answer(answer: &Answer, face: &Face) -> Fields {
    let own = answer.origin == Dialect::OpenAiResponses;
    let first = answer.choices.first();
    let mut items = Vec::new();
    for (n, part) in first.map(|c| c.parts.as_slice()).unwrap_or_default().iter().enumerate() {
        let mut extra = part.extra.clone();
        let about = extra.take_object("item").unwrap_or_default();
        if let Body::ToolCall { signature: Some(signature), .. } = &part.body {
            let thought = Body::Thinking { text: String::new(), signature: Some(signature.clone()) };
            items.extend(reasoning::written(&thought, &format!("rs_{}_{n}", tail(&face.id))));
        }
        let tokens = first.map(|c| c.logprobs.as_slice()).unwrap_or_default();
        let written = written_item(&part.body, &face.id, n, logprobs::written(tokens));
        let Some(mut item) = written.or_else(|| if let (Body::Opaque(item), true) = (&part.body, own) { Some(item.clone()) } else { None })
        else {
            continue;
        };
        if own {
            let content = item.take_list("content").map(|parts| parts.into_iter().filter_map(Json::into_fields).collect::<Vec<_>>());
            for (name, value) in about.iter() {
                item.put(name, value);
            }
            // The logprobs of all texts are told with the first; a text's own annotations come back.
            if let Some(mut parts) = content {
                parts.iter_mut().for_each(|p| extra.iter().for_each(|(name, value)| p.put(name, value)));
                item.put("content", parts);
            }
        }
        items.push(item);
    }
    let mut body = response(face, status_of(first.and_then(|c| c.stop.as_ref())), items, answer.usage);
    if own {
        for (name, value) in answer.extra.iter() {
            match (name, value) {
                ("usage", Json::Object(more)) => body.fill(object! { "usage": more }),
                _ => body.put(name, value),
            }
        }
    }
    body
}

/// What tells the ids of one answer's items from another's.
pub(super) fn tail(id: &str) -> &str {
    id.split_once('_').map_or(id, |(_, tail)| tail)
}

/// An item of an answer, complete; none of what has no place.
pub(super) fn written_item(body: &Body, id: &str, n: usize, logprobs: Json) -> Option<Fields> {
    let id = tail(id);
    let message = |part: Fields| object! { "id": format!("msg_{id}_{n}"), "type": "message", "status": "completed", "role": "assistant", "content": vec![part] };
    match body {
        Body::Text(text) => {
            Some(message(object! { "type": "output_text", "text": text, "annotations": Vec::<Json>::new(), "logprobs": logprobs }))
        }
        Body::Refusal(text) => Some(message(object! { "type": "refusal", "refusal": text })),
        Body::ToolCall { id: call, name, arguments, .. } => {
            let arguments = if arguments.is_empty() { "{}" } else { arguments };
            Some(object! {
                "id": format!("fc_{id}_{n}"), "type": "function_call", "status": "completed", "call_id": call, "name": name, "arguments": arguments,
            })
        }
        _ => reasoning::written(body, &format!("rs_{id}_{n}")),
    }
}

/// A stop as status and reason.
pub(super) fn status_of(stop: Option<&Stop>) -> (&'static str, Option<&'static str>) {
    match stop.map(|s| s.reason) {
        Some(StopReason::Length | StopReason::ContextFull) => ("incomplete", Some("max_output_tokens")),
        Some(StopReason::Filtered | StopReason::Refusal) => ("incomplete", Some("content_filter")),
        _ => ("completed", None),
    }
}

/// The response object. What a request said is not repeated: other formats do not tell it.
pub(super) fn response(face: &Face, status: (&str, Option<&str>), output: Vec<Fields>, told: Option<Usage>) -> Fields {
    object! {
        "id": &face.id,
        "object": "response",
        "created_at": face.created,
        "status": status.0,
        "error": Json::Null,
        "incomplete_details": status.1.map_or(Json::Null, |reason| object! { "reason": reason }.into()),
        "instructions": Json::Null,
        "metadata": Fields::new(),
        "model": &face.model,
        "output": output,
        "parallel_tool_calls": true,
        "temperature": Json::Null,
        "tool_choice": "auto",
        "tools": Vec::<Json>::new(),
        "top_p": Json::Null,
        "usage": told.map_or(Json::Null, |told| usage::written(told).into()),
    }
}
