//! Whole answers of `generateContent`.

use super::super::common::{Answer, Body, Choice, Logprob, Maker, Part, Stop, StopReason, WireError};
use super::super::foreign::arguments_of_answer;
use super::super::json::{Fields, Json, object};
use super::super::{Dialect, Face};
use super::error_in;
use super::read::part;
use super::usage::{Told, written};
use super::write::bytes_of;

/// Reads an answer.
pub(crate) fn decode_answer(body: &[u8]) -> Result<Answer, WireError> {
    let mut body = Json::read(body).ok().and_then(Json::into_fields).ok_or_else(|| WireError::malformed("it is not a JSON object"))?;
    if let Some(error) = body.take_object("error") {
        return Err(error_in(error));
    }
    let id = body.take_text("responseId").unwrap_or_default();
    let blocked = blocked(&body);
    let candidates = body.take_list("candidates").unwrap_or_default();
    let mut choices: Vec<Choice> = (0_u64..).zip(candidates).filter_map(|(at, c)| Some(choice(c.into_fields()?, at, &id))).collect();
    match (choices.is_empty(), blocked) {
        (false, _) => {}
        (true, Some(stop)) => {
            choices.push(Choice { index: 0, parts: Vec::new(), stop: Some(stop), logprobs: Vec::new(), extra: Fields::new() });
        }
        (true, None) => return Err(WireError::malformed("it has no candidates")),
    }
    let mut told = body.take_object("usageMetadata").unwrap_or_default();
    let mut usage = Told::default();
    usage.take(&mut told);
    if !told.is_empty() {
        body.put("usageMetadata", told);
    }
    Ok(Answer {
        origin: Dialect::Gemini,
        id,
        model: body.take_text("modelVersion").unwrap_or_default(),
        created: None,
        choices,
        usage: usage.usage(),
        extra: body,
    })
}

/// The word for a prompt that was not let through.
pub(super) fn blocked(body: &Fields) -> Option<Stop> {
    let reason = body.get("promptFeedback")?.as_object()?.text("blockReason")?;
    Some(Stop::new(StopReason::Filtered, reason))
}

fn choice(mut candidate: Fields, at: u64, id: &str) -> Choice {
    let index = candidate.take_u64("index").unwrap_or(at);
    let mut content = candidate.take_object("content").unwrap_or_default();
    let list = content.take_list("parts").unwrap_or_default();
    let read = |(n, item): (usize, Json)| part(item.into_fields()?, &call_id(id, index, n)).ok();
    let parts: Vec<Part> = list.into_iter().enumerate().filter_map(read).collect();
    let calls = parts.iter().any(|p| matches!(p.body, Body::ToolCall { .. }));
    let stop = candidate.take_text("finishReason").map(|raw| stop(raw, calls));
    let logprobs = candidate.get("logprobsResult").and_then(Json::as_object).map(logprobs).unwrap_or_default();
    Choice { index, parts, stop, logprobs, extra: candidate }
}

/// The id of a call that has none: told apart from those of other answers by the answer's.
pub(super) fn call_id(answer: &str, choice: u64, at: usize) -> String {
    let sound: String = answer.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    format!("call_{sound}_{choice}_{at}")
}

/// Why it ended. Gemini says `STOP` also where it waits for tools.
pub(super) fn stop(raw: String, calls: bool) -> Stop {
    let reason = match raw.as_str() {
        // The second is said by some who imitate Gemini.
        "STOP" | "FUNCTION_CALL" if calls => StopReason::ToolCalls,
        "STOP" => StopReason::End,
        "MAX_TOKENS" => StopReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => StopReason::Filtered,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => StopReason::Malformed,
        "CONTINUATION" => StopReason::Paused,
        _ => StopReason::Other,
    };
    Stop::new(reason, raw)
}

/// Gemini's word for it.
pub(super) fn finish_reason(stop: &Stop) -> &'static str {
    match stop.reason {
        StopReason::End | StopReason::Sequence | StopReason::ToolCalls | StopReason::Paused => "STOP",
        StopReason::Length | StopReason::ContextFull => "MAX_TOKENS",
        StopReason::Filtered | StopReason::Refusal => "SAFETY",
        StopReason::Malformed => "MALFORMED_FUNCTION_CALL",
        StopReason::Other => "OTHER",
    }
}

/// Reads `logprobsResult`.
pub(super) fn logprobs(result: &Fields) -> Vec<Logprob> {
    let one = |value: &Json| {
        let fields = value.as_object()?;
        let Some(Json::Number(logprob)) = fields.get("logProbability") else { return None };
        Some(Logprob { token: fields.text("token")?.to_owned(), logprob: logprob.clone(), bytes: None, top: Vec::new() })
    };
    let list = |fields: &Fields, key: &str| fields.get(key).and_then(Json::as_list).unwrap_or_default().to_vec();
    let mut chosen: Vec<Logprob> = list(result, "chosenCandidates").iter().filter_map(one).collect();
    for (token, top) in chosen.iter_mut().zip(list(result, "topCandidates")) {
        token.top = top.as_object().map(|t| list(t, "candidates")).unwrap_or_default().iter().filter_map(one).collect();
    }
    chosen
}

/// `logprobsResult` to write.
pub(super) fn written_logprobs(tokens: &[Logprob]) -> Fields {
    let one = |t: &Logprob| object! { "token": &t.token, "logProbability": &t.logprob };
    let top = |t: &Logprob| object! { "candidates": t.top.iter().map(one).collect::<Vec<_>>() };
    object! {
        "chosenCandidates": tokens.iter().map(one).collect::<Vec<_>>(),
        "topCandidates": tokens.iter().map(top).collect::<Vec<_>>(),
    }
}

/// Writes an answer.
pub(crate) fn encode_answer(answer: &Answer, face: &Face) -> Fields {
    let own = answer.origin == Dialect::Gemini;
    let candidate = |choice: &Choice| {
        let parts: Vec<Fields> = choice.parts.iter().filter_map(|p| written_part(p, own)).collect();
        let mut out = object! { "content": object! { "role": "model", "parts": parts }, "index": choice.index };
        out.put_some("finishReason", choice.stop.as_ref().map(|stop| if own { stop.raw.as_str() } else { finish_reason(stop) }));
        if own {
            out.fill(choice.extra.clone());
        } else if !choice.logprobs.is_empty() {
            out.put("logprobsResult", written_logprobs(&choice.logprobs));
        }
        out
    };
    let mut body = object! {
        "candidates": answer.choices.iter().map(candidate).collect::<Vec<_>>(),
        "modelVersion": &face.model,
        "responseId": &face.id,
    };
    body.put_some("usageMetadata", answer.usage.map(written));
    if own {
        body.fill(answer.extra.clone());
    }
    body
}

/// A part of an answer to write; none where it has no place.
pub(super) fn written_part(part: &Part, own: bool) -> Option<Fields> {
    let mut out = match &part.body {
        Body::Text(text) | Body::Refusal(text) => object! { "text": text },
        Body::Thinking { text, signature } => {
            let mut thought = object! { "text": text, "thought": true };
            thought.put_some("thoughtSignature", signature.as_ref().map(|s| s.to_wire(Maker::Gemini)));
            thought
        }
        Body::ToolCall { id, name, arguments, signature } => {
            let mut out = object! { "functionCall": object! { "id": id, "name": name, "args": arguments_of_answer(arguments) } };
            out.put_some("thoughtSignature", signature.as_ref().map(|s| s.to_wire(Maker::Gemini)));
            out
        }
        Body::Image { source, .. } | Body::File { source, .. } => bytes_of(source)?,
        Body::Audio { data, format } => object! { "inlineData": object! { "mimeType": format!("audio/{format}"), "data": data } },
        Body::Opaque(fields) if own => fields.clone(),
        _ => return None,
    };
    if own {
        out.fill(part.extra.clone());
    }
    Some(out)
}
