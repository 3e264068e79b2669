//! Streamed chat completions.

use super::super::common::{Body, Delta, Opening, Piece, Signature, Usage, WireError};
use super::super::json::{Fields, Json, object};
use super::super::openai::tier;
use super::super::parts::{Kind, Parts};
use super::super::{Face, Seam, logprobs};
use super::answer::{finish_reason, spoken, stop, written_logprobs};
use super::{encode_error, error_in, reasoning, usage};
use crate::map::Entry;
use crate::map::Map;
use crate::sse::write_event;

/// Reads chunks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    begun: bool,
    parts: Parts,
}

impl Reading {
    /// One chunk.
    pub fn event(&mut self, mut chunk: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if let Some(error) = chunk.take("error").and_then(error_in) {
            return Err(error);
        }
        if !self.begun {
            self.begun = true;
            let (id, model) = (chunk.take_text("id").unwrap_or_default(), chunk.take_text("model").unwrap_or_default());
            out.push(Delta::Begin { id, model, usage: None });
        }
        // Groq and Moonshot tell it in places of their own.
        let mut told = chunk.take_object("usage").or_else(|| chunk.take_object("x_groq")?.take_object("usage"));
        for (at, choice) in (0_u64..).zip(chunk.take_list("choices").unwrap_or_default()) {
            if let Some(mut fields) = choice.into_fields() {
                let index = fields.take_u64("index").unwrap_or(at);
                told = told.or_else(|| fields.take_object("usage"));
                self.choice(index, fields, out)?;
            }
        }
        let tier = tier(chunk.get("service_tier"));
        out.extend(told.and_then(|mut told| usage::take(&mut told)).map(|usage| Delta::Usage(Usage { tier, ..usage })));
        Ok(())
    }

    fn choice(&mut self, choice: u64, mut fields: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        self.parts.begin(choice)?;
        let mut delta = fields.take_object("delta").unwrap_or_default();
        let thought = delta.take_text("reasoning_content").or_else(|| delta.take_text("reasoning"));
        self.parts.text(choice, Kind::Thinking, thought.unwrap_or_default(), out)?;
        for detail in delta.take_list("reasoning_details").unwrap_or_default().into_iter().filter_map(reasoning::detail) {
            match detail {
                // Its text came as `reasoning_content` already.
                Body::Thinking { signature: Some(signature), .. } => self.parts.signature(choice, Kind::Thinking, signature, out)?,
                Body::Redacted(_) => self.parts.whole(choice, detail, out)?,
                _ => {}
            }
        }
        for said in spoken(&mut delta) {
            match said {
                Body::Thinking { text, .. } => self.parts.text(choice, Kind::Thinking, text, out)?,
                Body::Text(text) => self.parts.text(choice, Kind::Text, text, out)?,
                _ => {}
            }
        }
        self.parts.text(choice, Kind::Refusal, delta.take_text("refusal").unwrap_or_default(), out)?;
        for call in delta.take_list("tool_calls").unwrap_or_default() {
            self.call(choice, call.into_fields().unwrap_or_default(), out)?;
        }
        let told = fields.take_object("logprobs").and_then(|mut l| l.take_list("content")).map(logprobs::read).unwrap_or_default();
        if !told.is_empty() {
            out.push(Delta::Logprobs { choice, tokens: told });
        }
        if let Some(raw) = fields.take_text("finish_reason") {
            let stop = stop(raw, self.parts.has_calls(choice));
            self.parts.stop(choice, stop, out)?;
        }
        Ok(())
    }

    /// A piece of a call. Some providers leave the number out, others give every call the number 0: a
    /// new id is a new call.
    fn call(&mut self, choice: u64, mut call: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let id = call.take_text("id").unwrap_or_default();
        let mut function = call.take_object("function").unwrap_or_default();
        let name = function.take_text("name").unwrap_or_default();
        let number = match call.take_u64("index") {
            Some(n) if self.parts.is_other_call(choice, n, &id) && !name.is_empty() => self.parts.next_call(choice),
            Some(n) => n,
            None if !id.is_empty() => self.parts.next_call(choice),
            None => self.parts.last_call(choice).unwrap_or(0),
        };
        if !self.parts.is_call(choice, number) {
            let signature = reasoning::take_call_signature(&mut call);
            let id = if id.is_empty() { format!("call_{choice}_{number}") } else { id };
            self.parts.call(choice, number, Opening::ToolCall { id, name, signature }, out)?;
        }
        self.parts.arguments(choice, number, function.take_text("arguments").unwrap_or_default(), out)
    }

    /// `[DONE]`: the provider says that the answer is whole. Choices that did not say why they finished
    /// finished as choices do.
    pub fn done(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        for choice in self.parts.unstopped() {
            let stop = stop("stop".to_owned(), self.parts.has_calls(choice));
            self.parts.stop(choice, stop, out)?;
        }
        self.finish(out)
    }

    /// The end without `[DONE]` is one if every choice said why it finished.
    pub fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if !self.parts.all_stopped() {
            return Err(WireError::truncated());
        }
        out.push(Delta::End);
        Ok(())
    }
}

/// What an open part is.
#[derive(Clone, Debug, PartialEq)]
enum Open {
    Text,
    Refusal,
    /// Holds its text: the signature is written together with it.
    Thinking(String),
    /// Its number, and whether arguments came.
    Call(u64, bool),
}

/// Writes chunks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Writing {
    face: Face,
    /// Calls begun, by choice; a choice is in it once it has begun.
    calls: Map<u64, u64>,
    open: Map<(u64, u64), Open>,
    usage: Option<Usage>,
    /// Where it goes on with an answer that another target began.
    seam: Option<Box<Seam>>,
}

impl Writing {
    pub fn new(face: Face) -> Writing {
        Writing { face, calls: Map::new(), open: Map::new(), usage: None, seam: None }
    }

    /// A writer for the rest of an answer whose beginning the client has. What the model thinks about it is left
    /// out: it would stand in the middle of the text.
    pub fn after(face: Face, seam: Seam) -> Writing {
        let calls = [(0, 0)].into_iter().collect();
        Writing { calls, seam: Some(Box::new(seam)), ..Writing::new(face) }
    }

    /// The bytes of a delta.
    pub fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { usage, .. } => {
                self.usage = *usage;
                match &self.seam {
                    Some(seam) => out.extend_from_slice(seam.comment().as_bytes()),
                    None => self.begin(0, out),
                }
            }
            Delta::Open { choice, at, part } => self.open(*choice, *at, part, out),
            Delta::More { choice, at, piece } => self.more(*choice, *at, piece, out),
            Delta::Close { choice, at } => {
                // Clients parse arguments as JSON, and no text is none.
                if let Some(Open::Call(number, false)) = self.open.remove(&(*choice, *at)) {
                    self.arguments(*choice, number, "{}", out);
                }
            }
            Delta::Logprobs { choice, tokens } => self.chunk(*choice, Fields::new(), written_logprobs(tokens), Json::Null, out),
            Delta::Stop { choice, stop } => {
                self.begin(*choice, out);
                self.chunk(*choice, Fields::new(), Json::Null, finish_reason(stop).into(), out);
            }
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Ping => out.extend_from_slice(b": ping\n\n"),
            Delta::End => self.end(out),
            Delta::Failed(error) => write_event(out, "", &encode_error(error).to_text()),
        }
    }

    fn begin(&mut self, choice: u64, out: &mut Vec<u8>) {
        if let Entry::Vacant(new) = self.calls.entry(choice) {
            new.insert(0);
            self.chunk(choice, object! { "role": "assistant", "content": "" }, Json::Null, Json::Null, out);
        }
    }

    fn open(&mut self, choice: u64, at: u64, part: &Opening, out: &mut Vec<u8>) {
        self.begin(choice, out);
        let open = match part {
            Opening::Text => Open::Text,
            Opening::Refusal => Open::Refusal,
            Opening::Thinking | Opening::Whole(_) if self.seam.is_some() => return,
            Opening::Thinking => Open::Thinking(String::new()),
            Opening::ToolCall { id, name, signature } => {
                let number = self.calls.get(&choice).copied().unwrap_or(0);
                self.calls.insert(choice, number.saturating_add(1));
                let function = object! { "name": name, "arguments": "" };
                let mut call = object! { "index": number, "id": id, "type": "function", "function": function };
                call.put_some("extra_content", reasoning::call_signature(signature.as_ref()));
                self.delta(choice, object! { "tool_calls": vec![call] }, out);
                Open::Call(number, false)
            }
            Opening::Whole(Body::Redacted(data)) => {
                self.delta(choice, object! { "reasoning_details": vec![reasoning::written_redacted(data, at)] }, out);
                return;
            }
            // What a provider ran for itself has no place here.
            Opening::Whole(_) => return,
        };
        self.open.insert((choice, at), open);
    }

    fn more(&mut self, choice: u64, at: u64, piece: &Piece, out: &mut Vec<u8>) {
        let Some(open) = self.open.get_mut(&(choice, at)) else { return };
        match (open, piece) {
            (Open::Text, Piece::Text(text)) => self.delta(choice, object! { "content": text }, out),
            (Open::Refusal, Piece::Text(text)) => self.delta(choice, object! { "refusal": text }, out),
            (Open::Thinking(held), Piece::Text(text)) => {
                held.push_str(text);
                self.delta(choice, object! { "reasoning_content": text }, out);
            }
            (Open::Thinking(held), Piece::Signature(signature)) => {
                let text = std::mem::take(held);
                self.signature(choice, at, &text, signature, out);
            }
            (Open::Call(number, any), Piece::Arguments(text)) => {
                *any = true;
                let number = *number;
                self.arguments(choice, number, text, out);
            }
            _ => {}
        }
    }

    fn signature(&self, choice: u64, at: u64, text: &str, signature: &Signature, out: &mut Vec<u8>) {
        if let Some(detail) = reasoning::written(text, Some(signature), at) {
            self.delta(choice, object! { "reasoning_details": vec![detail] }, out);
        }
    }

    fn arguments(&self, choice: u64, number: u64, text: &str, out: &mut Vec<u8>) {
        let call = object! { "index": number, "function": object! { "arguments": text } };
        self.delta(choice, object! { "tool_calls": vec![call] }, out);
    }

    fn delta(&self, choice: u64, delta: Fields, out: &mut Vec<u8>) {
        self.chunk(choice, delta, Json::Null, Json::Null, out);
    }

    fn chunk(&self, choice: u64, delta: Fields, logprobs: Json, finish: Json, out: &mut Vec<u8>) {
        let last = finish != Json::Null;
        let choice = object! { "index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish };
        self.body(vec![choice], Json::Null, last, out);
    }

    fn body(&self, choices: Vec<Fields>, usage: Json, last: bool, out: &mut Vec<u8>) {
        let mut body = object! {
            "id": &self.face.id, "object": "chat.completion.chunk", "created": self.face.created,
            "model": &self.face.model, "choices": choices,
        };
        if self.face.include_usage {
            body.put("usage", usage);
        }
        if let Some(seam) = self.seam.as_ref().filter(|_| last) {
            body.put("tollgate", seam.told());
        }
        write_event(out, "", &body.to_text());
    }

    fn end(&self, out: &mut Vec<u8>) {
        if self.face.include_usage {
            self.body(Vec::new(), self.usage.map_or(Json::Null, |usage| usage::written(usage).into()), true, out);
        }
        write_event(out, "", "[DONE]");
    }
}
