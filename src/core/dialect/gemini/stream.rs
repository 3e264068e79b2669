//! Streamed answers of `generateContent`: each event is an answer that holds what is new.

use super::super::Face;
use super::super::common::{Body, Delta, Maker, Opening, Part, Piece, Signature, Stop, Usage, WireError};
use super::super::json::{Fields, Json, object};
use super::super::parts::{Kind, Parts};
use super::answer::{blocked, call_id, finish_reason, logprobs, stop, written_logprobs, written_part};
use super::read::part;
use super::usage::{Told, written};
use super::{encode_error, error_in};
use crate::map::Map;
use crate::sse::write_event;

/// Reads events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    begun: bool,
    id: String,
    calls: usize,
    parts: Parts,
    told: Told,
    /// Why each candidate finished, as it said last: some models say so with every event.
    stops: Map<u64, Stop>,
}

impl Reading {
    /// One event.
    pub fn event(&mut self, mut event: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if let Some(error) = event.take_object("error") {
            return Err(error_in(error));
        }
        if !self.begun {
            self.begun = true;
            self.id = event.take_text("responseId").unwrap_or_default();
            let model = event.take_text("modelVersion").unwrap_or_default();
            out.push(Delta::Begin { id: self.id.clone(), model, usage: None });
        }
        for (at, candidate) in (0_u64..).zip(event.take_list("candidates").unwrap_or_default()) {
            self.candidate(candidate.into_fields().unwrap_or_default(), at, out)?;
        }
        if let Some(stop) = blocked(&event) {
            self.parts.begin(0)?;
            self.stops.insert(0, stop);
        }
        if let Some(mut usage) = event.take_object("usageMetadata") {
            self.told.take(&mut usage);
            out.extend(self.told.usage().map(Delta::Usage));
        }
        Ok(())
    }

    fn candidate(&mut self, mut candidate: Fields, at: u64, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let choice = candidate.take_u64("index").unwrap_or(at);
        self.parts.begin(choice)?;
        let mut content = candidate.take_object("content").unwrap_or_default();
        for item in content.take_list("parts").unwrap_or_default() {
            let id = call_id(&self.id, choice, self.calls);
            let Some(Ok(part)) = item.into_fields().map(|fields| part(fields, &id)) else { continue };
            self.part(choice, part, out)?;
        }
        if let Some(Json::Object(result)) = candidate.get("logprobsResult") {
            out.push(Delta::Logprobs { choice, tokens: logprobs(result) });
        }
        if let Some(raw) = candidate.take_text("finishReason").filter(|raw| raw != "FINISH_REASON_UNSPECIFIED") {
            self.stops.insert(choice, stop(raw, self.parts.has_calls(choice)));
        }
        Ok(())
    }

    fn part(&mut self, choice: u64, part: Part, out: &mut Vec<Delta>) -> Result<(), WireError> {
        match part.body {
            Body::Text(text) => {
                self.parts.text(choice, Kind::Text, text, out)?;
                match part.extra.text("thoughtSignature") {
                    Some(signature) => self.parts.signature(choice, Kind::Text, Signature::new(Maker::Gemini, signature), out),
                    None => Ok(()),
                }
            }
            Body::Thinking { text, signature } => {
                self.parts.text(choice, Kind::Thinking, text, out)?;
                match signature {
                    Some(signature) => self.parts.signature(choice, Kind::Thinking, signature, out),
                    None => Ok(()),
                }
            }
            Body::ToolCall { id, name, arguments, signature } => {
                self.calls = self.calls.saturating_add(1);
                let number = self.parts.next_call(choice);
                self.parts.call(choice, number, Opening::ToolCall { id, name, signature }, out)?;
                self.parts.arguments(choice, number, arguments, out)
            }
            other => self.parts.whole(choice, other, out),
        }
    }

    /// The end. Nothing else says that a stream is whole: that every candidate said why it finished does.
    pub fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        for (choice, stop) in std::mem::take(&mut self.stops) {
            self.parts.stop(choice, stop, out)?;
        }
        if !self.parts.all_stopped() {
            return Err(WireError::truncated());
        }
        out.push(Delta::End);
        Ok(())
    }
}

/// Writes events. A call is written when its arguments are whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Writing {
    face: Face,
    open: Map<(u64, u64), Body>,
    usage: Option<Usage>,
}

impl Writing {
    pub fn new(face: Face) -> Writing {
        Writing { face, open: Map::new(), usage: None }
    }

    /// The bytes of a delta.
    pub fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { usage, .. } => self.usage = *usage,
            Delta::Open { choice, at, part } => {
                let body = match part {
                    Opening::Text | Opening::Refusal => Body::Text(String::new()),
                    Opening::Thinking => Body::Thinking { text: String::new(), signature: None },
                    Opening::ToolCall { id, name, signature } => {
                        Body::ToolCall { id: id.clone(), name: name.clone(), arguments: String::new(), signature: signature.clone() }
                    }
                    Opening::Whole(_) => return,
                };
                self.open.insert((*choice, *at), body);
            }
            Delta::More { choice, at, piece } => self.more(*choice, *at, piece, out),
            Delta::Close { choice, at } => {
                if let Some(call @ Body::ToolCall { .. }) = self.open.remove(&(*choice, *at)) {
                    self.part(*choice, call, out);
                }
            }
            Delta::Logprobs { choice, tokens } => {
                self.candidate(object! { "index": *choice, "logprobsResult": written_logprobs(tokens) }, out);
            }
            Delta::Stop { choice, stop } => {
                let content = object! { "role": "model", "parts": Vec::<Json>::new() };
                self.candidate(object! { "content": content, "finishReason": finish_reason(stop), "index": *choice }, out);
            }
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Ping => out.extend_from_slice(b": ping\n\n"),
            Delta::End => {
                let mut body = self.body();
                body.put("usageMetadata", written(self.usage.unwrap_or_default()));
                write_event(out, "", &body.to_text());
            }
            Delta::Failed(error) => write_event(out, "", &encode_error(500, error).to_text()),
        }
    }

    fn more(&mut self, choice: u64, at: u64, piece: &Piece, out: &mut Vec<u8>) {
        match (self.open.get_mut(&(choice, at)), piece) {
            (Some(Body::ToolCall { arguments, .. }), Piece::Arguments(text)) => arguments.push_str(text),
            (Some(Body::Text(_)), Piece::Text(text)) => self.part(choice, Body::Text(text.clone()), out),
            (Some(Body::Thinking { .. }), Piece::Text(text)) => {
                self.part(choice, Body::Thinking { text: text.clone(), signature: None }, out);
            }
            (Some(Body::Thinking { .. }), Piece::Signature(signature)) => {
                self.part(choice, Body::Thinking { text: String::new(), signature: Some(signature.clone()) }, out);
            }
            (Some(Body::Text(_)), Piece::Signature(signature)) => {
                let content = object! { "role": "model", "parts": vec![object! { "text": "", "thoughtSignature": signature.to_wire(Maker::Gemini) }] };
                self.candidate(object! { "content": content, "index": choice }, out);
            }
            _ => {}
        }
    }

    fn part(&self, choice: u64, body: Body, out: &mut Vec<u8>) {
        if let Some(part) = written_part(&Part::new(body), false) {
            self.candidate(object! { "content": object! { "role": "model", "parts": vec![part] }, "index": choice }, out);
        }
    }

    fn candidate(&self, candidate: Fields, out: &mut Vec<u8>) {
        let mut body = object! { "candidates": vec![candidate] };
        body.fill(self.body());
        write_event(out, "", &body.to_text());
    }

    fn body(&self) -> Fields {
        object! { "modelVersion": &self.face.model, "responseId": &self.face.id }
    }
}
