//! Answers, whole and streamed: what is not a chat completion is put into the form of one.

use super::super::chat;
use super::super::common::{Answer, Delta, WireError};
use super::super::json::{Fields, Json, object};

/// Reads an answer.
pub(crate) fn decode_answer(body: &[u8]) -> Result<Answer, WireError> {
    let mut body = Json::read(body).ok().and_then(Json::into_fields).ok_or_else(|| WireError::malformed("it is not a JSON object"))?;
    if let Some(result) = body.take_object("result") {
        body = result;
    }
    if body.get("choices").is_some() {
        return chat::answer_of(body);
    }
    if body.get("response").is_none() && body.get("tool_calls").is_none() {
        return Err(super::decode_error(body).unwrap_or_else(|| WireError::malformed("it has no response")));
    }
    let mut message = said(&mut body, 0);
    let calls = message.get("tool_calls").is_some();
    message.put("role", "assistant");
    let finish = body.take_text("finish_reason").unwrap_or_else(|| if calls { "tool_calls" } else { "stop" }.to_owned());
    body.put("choices", vec![object! { "index": 0_u32, "message": message, "finish_reason": finish }]);
    chat::answer_of(body)
}

/// Takes text and calls; `before` calls came before these. Where JSON was asked for, the response may be that JSON itself and not its text.
fn said(body: &mut Fields, before: u64) -> Fields {
    let mut out = Fields::new();
    match body.take("response") {
        Some(Json::Text(text)) => out.put("content", text),
        Some(Json::Null) | None => {}
        Some(other) => out.put("content", other.to_text()),
    }
    let calls = body.take_list("tool_calls").unwrap_or_default();
    let calls: Vec<Fields> = (before..).zip(calls).filter_map(|(at, call)| self::call(call.into_fields()?, at)).collect();
    if !calls.is_empty() {
        out.put("tool_calls", calls);
    }
    out
}

/// A call in OpenAI's form. Some come flat, with arguments that are an object and without an id; one without
/// anything says that the one before it is whole.
fn call(mut call: Fields, at: u64) -> Option<Fields> {
    let mut function = call.take_object("function").unwrap_or_default();
    let mut either = |key: &str| function.take(key).or_else(|| call.take(key));
    let (name, arguments) = (either("name"), either("arguments"));
    let arguments = match arguments {
        Some(Json::Text(text)) => text,
        Some(Json::Null) | None => String::new(),
        Some(other) => other.to_text(),
    };
    let name = name.and_then(Json::into_text).unwrap_or_default();
    let id = call.take_text("id").unwrap_or_default();
    if name.is_empty() && arguments.is_empty() && id.is_empty() {
        return None;
    }
    let index = call.take_u64("index");
    let id = if id.is_empty() && !name.is_empty() { format!("call_{}", index.unwrap_or(at)) } else { id };
    let mut out = object! { "type": "function", "function": object! { "name": name, "arguments": arguments } };
    out.put_some("index", index);
    out.put_some("id", Some(id).filter(|id| !id.is_empty()));
    Some(out)
}

/// Reads a stream's events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    chunks: chat::Reading,
    calls: u64,
}

impl Reading {
    /// One event.
    pub fn event(&mut self, mut event: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if event.get("choices").is_none() {
            let failed = ["errors", "internalCode", "error"].iter().any(|name| event.get(name).is_some());
            if let Some(error) = super::decode_error(event.clone()).filter(|_| failed) {
                return Err(error);
            }
            let delta = said(&mut event, self.calls);
            let new = delta.get("tool_calls").and_then(Json::as_list).map_or(0, <[Json]>::len);
            self.calls = self.calls.saturating_add(u64::try_from(new).unwrap_or(0));
            let mut choice = object! { "index": 0_u32, "delta": delta };
            choice.put_some("finish_reason", event.take_text("finish_reason"));
            event.put("choices", vec![choice]);
        }
        self.chunks.event(event, out)
    }

    /// `[DONE]`: what no event said, why it finished, follows from what came.
    pub fn done(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        self.chunks.done(out)
    }

    /// The end without `[DONE]`.
    pub fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        self.chunks.finish(out)
    }
}
