//! Streamed messages.

use super::super::common::{Body, Delta, Maker, Opening, Piece, Signature, Stop, Usage, WireError};
use super::super::json::{Fields, Json, object};
use super::super::stream::MAX_PARTS;
use super::super::{Face, Seam};
use super::answer::{stop, stop_reason};
use super::read::block;
use super::usage::{Told, written};
use super::{encode_error, error_in};
use crate::map::Map;
use crate::sse::write_event;

/// Reads events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// The provider's number of each open block, and ours.
    open: Map<u64, u64>,
    next: u64,
    told: Told,
    stopped: bool,
}

impl Reading {
    /// One event. Kinds that nobody knows yet are passed over, as Anthropic asks.
    pub fn event(&mut self, mut event: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        match event.take_text("type").as_deref() {
            Some("message_start") => {
                let mut message = event.take_object("message").unwrap_or_default();
                self.told.take(&mut message.take_object("usage").unwrap_or_default());
                let (id, model) = (message.take_text("id").unwrap_or_default(), message.take_text("model").unwrap_or_default());
                out.push(Delta::Begin { id, model, usage: self.told.usage() });
            }
            Some("content_block_start") => self.start(event, out)?,
            Some("content_block_delta") => self.delta(event, out),
            Some("content_block_stop") => {
                if let Some(at) = event.take_u64("index").and_then(|n| self.open.remove(&n)) {
                    out.push(Delta::Close { choice: 0, at });
                }
            }
            Some("message_delta") => {
                self.told.take(&mut event.take_object("usage").unwrap_or_default());
                out.extend(self.told.usage().map(Delta::Usage));
                let mut delta = event.take_object("delta").unwrap_or_default();
                if let Some(raw) = delta.take_text("stop_reason") {
                    self.stop(Stop { sequence: delta.take_text("stop_sequence"), ..stop(&raw) }, out);
                }
            }
            Some("message_stop") => self.finish(out)?,
            Some("ping") => out.push(Delta::Ping),
            Some("error") => return Err(error_in(event.take_object("error").unwrap_or_default())),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, mut event: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let number = event.take_u64("index").unwrap_or(self.next);
        if self.next >= MAX_PARTS {
            return Err(WireError::malformed(format!("it has more than {MAX_PARTS} parts")));
        }
        let at = self.next;
        self.next = self.next.saturating_add(1);
        self.open.insert(number, at);
        let block = event.take_object("content_block").and_then(|fields| block(fields).ok());
        let Some(part) = block else { return Err(WireError::malformed("a block's start cannot be read")) };
        let (part, piece) = match part.body {
            Body::Text(text) => (Opening::Text, Piece::Text(text)),
            Body::Thinking { text, .. } => (Opening::Thinking, Piece::Text(text)),
            Body::ToolCall { id, name, arguments, .. } => {
                let arguments = if arguments == "{}" { String::new() } else { arguments };
                (Opening::ToolCall { id, name, signature: None }, Piece::Arguments(arguments))
            }
            other => (Opening::Whole(other), Piece::Text(String::new())),
        };
        out.push(Delta::Open { choice: 0, at, part });
        self.more(at, piece, out);
        Ok(())
    }

    fn delta(&mut self, mut event: Fields, out: &mut Vec<Delta>) {
        let Some(at) = event.take_u64("index").and_then(|n| self.open.get(&n)).copied() else { return };
        let mut delta = event.take_object("delta").unwrap_or_default();
        let piece = match delta.text("type") {
            Some("text_delta") => delta.take_text("text").map(Piece::Text),
            Some("thinking_delta") => delta.take_text("thinking").map(Piece::Text),
            Some("input_json_delta") => delta.take_text("partial_json").map(Piece::Arguments),
            Some("signature_delta") => {
                delta.take_text("signature").filter(|s| !s.is_empty()).map(|s| Piece::Signature(Signature::from_wire(Maker::Anthropic, &s)))
            }
            _ => None,
        };
        if let Some(piece) = piece {
            self.more(at, piece, out);
        }
    }

    fn more(&self, at: u64, piece: Piece, out: &mut Vec<Delta>) {
        if !matches!(&piece, Piece::Text(text) | Piece::Arguments(text) if text.is_empty()) {
            out.push(Delta::More { choice: 0, at, piece });
        }
    }

    fn stop(&mut self, stop: Stop, out: &mut Vec<Delta>) {
        if !self.stopped {
            self.stopped = true;
            out.extend(std::mem::take(&mut self.open).into_values().map(|at| Delta::Close { choice: 0, at }));
            out.push(Delta::Stop { choice: 0, stop });
        }
    }

    /// `message_stop`, or the end without it: both are an end if the answer said why it stopped.
    pub fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if !self.stopped {
            return Err(WireError::truncated());
        }
        out.push(Delta::End);
        Ok(())
    }
}

/// Writes events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Writing {
    face: Face,
    /// Our number of each open part, the block's, and whether it is reasoning.
    open: Map<u64, (u64, bool)>,
    next: u64,
    stop: Option<Stop>,
    usage: Option<Usage>,
    /// Where it goes on with an answer that another target began, and that one's block of text if it is open.
    seam: Option<Box<Seam>>,
    begun: Option<u64>,
}

impl Writing {
    pub fn new(face: Face) -> Writing {
        Writing { face, open: Map::new(), next: 0, stop: None, usage: None, seam: None, begun: None }
    }

    /// A writer for the rest of an answer whose beginning the client has. What the model thinks about it is left
    /// out: it would stand in the middle of the text.
    pub fn after(face: Face, seam: Seam) -> Writing {
        let begun = seam.next.checked_sub(1).filter(|_| seam.open);
        Writing { next: seam.next, begun, seam: Some(Box::new(seam)), ..Writing::new(face) }
    }

    /// The bytes of a delta. Only the first choice has a place.
    pub fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { usage, .. } => {
                self.usage = *usage;
                if let Some(seam) = &self.seam {
                    out.extend_from_slice(seam.comment().as_bytes());
                    return;
                }
                let message = object! {
                    "id": &self.face.id, "type": "message", "role": "assistant", "model": &self.face.model,
                    "content": Vec::<Json>::new(), "stop_reason": Json::Null, "stop_sequence": Json::Null,
                    "usage": written(usage.unwrap_or_default()),
                };
                event(out, "message_start", object! { "message": message });
            }
            Delta::Open { choice: 0, at, part } => self.open(*at, part, out),
            Delta::More { choice: 0, at, piece } => self.more(*at, piece, out),
            Delta::Close { choice: 0, at } => {
                if let Some((index, _)) = self.open.remove(at) {
                    event(out, "content_block_stop", object! { "index": index });
                }
            }
            Delta::Stop { choice: 0, stop } => self.stop = Some(stop.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Ping => event(out, "ping", Fields::new()),
            Delta::End => self.end(out),
            Delta::Failed(error) => write_event(out, "error", &encode_error(error).to_text()),
            _ => {}
        }
    }

    fn open(&mut self, at: u64, part: &Opening, out: &mut Vec<u8>) {
        let block = match part {
            Opening::Thinking | Opening::Whole(_) if self.seam.is_some() => return,
            Opening::Text | Opening::Refusal => object! { "type": "text", "text": "" },
            Opening::Thinking => object! { "type": "thinking", "thinking": "", "signature": "" },
            Opening::ToolCall { id, name, signature } => {
                if let Some(signature) = signature {
                    let index = self.start(object! { "type": "thinking", "thinking": "", "signature": "" }, out);
                    let delta = object! { "type": "signature_delta", "signature": signature.to_wire(Maker::Anthropic) };
                    event(out, "content_block_delta", object! { "index": index, "delta": delta });
                    event(out, "content_block_stop", object! { "index": index });
                }
                object! { "type": "tool_use", "id": id, "name": name, "input": Fields::new() }
            }
            Opening::Whole(Body::Redacted(data)) => object! { "type": "redacted_thinking", "data": data.to_wire(Maker::Anthropic) },
            Opening::Whole(_) => return,
        };
        let begun = self.begun.take();
        let text = matches!(part, Opening::Text | Opening::Refusal);
        if let Some(index) = begun.filter(|_| !text) {
            event(out, "content_block_stop", object! { "index": index });
        }
        let begun = begun.filter(|_| text);
        let index = begun.unwrap_or_else(|| self.start(block, out));
        self.open.insert(at, (index, matches!(part, Opening::Thinking)));
    }

    fn start(&mut self, block: Fields, out: &mut Vec<u8>) -> u64 {
        let index = self.next;
        self.next = self.next.saturating_add(1);
        event(out, "content_block_start", object! { "index": index, "content_block": block });
        index
    }

    fn more(&mut self, at: u64, piece: &Piece, out: &mut Vec<u8>) {
        let Some((index, thinks)) = self.open.get(&at).copied() else { return };
        let delta = match piece {
            Piece::Text(text) if thinks => object! { "type": "thinking_delta", "thinking": text },
            Piece::Text(text) => object! { "type": "text_delta", "text": text },
            Piece::Arguments(text) => object! { "type": "input_json_delta", "partial_json": text },
            Piece::Signature(signature) if thinks => {
                object! { "type": "signature_delta", "signature": signature.to_wire(Maker::Anthropic) }
            }
            // Gemini signs texts too; it does not insist on having that back.
            Piece::Signature(_) => return,
        };
        event(out, "content_block_delta", object! { "index": index, "delta": delta });
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(index) = self.begun.take() {
            event(out, "content_block_stop", object! { "index": index });
        }
        let reason = self.stop.as_ref().map_or(Json::Null, |stop| stop_reason(stop).into());
        let sequence = self.stop.as_ref().and_then(|s| s.sequence.as_ref()).map_or(Json::Null, Json::from);
        let delta = object! { "stop_reason": reason, "stop_sequence": sequence };
        let mut last = object! { "delta": delta, "usage": written(self.usage.unwrap_or_default()) };
        last.put_some("tollgate", self.seam.as_ref().map(|seam| seam.told()));
        event(out, "message_delta", last);
        event(out, "message_stop", Fields::new());
    }
}

/// An event: its name is repeated as its type.
fn event(out: &mut Vec<u8>, name: &str, rest: Fields) {
    let mut body = object! { "type": name };
    body.fill(rest);
    write_event(out, name, &body.to_text());
}
