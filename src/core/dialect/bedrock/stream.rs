//! Streamed answers of Converse.

use super::super::common::{Body, Delta, Maker, Opening, Piece, Signature, Stop, Usage, WireError};
use super::super::json::{Fields, object};
use super::super::stream::MAX_PARTS;
use super::answer::{stop, stop_reason};
use super::error::exception;
use super::event_stream::write_message;
use super::usage;
use crate::map::Map;

/// Reads events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// The provider's number of each open block, and ours.
    open: Map<u64, u64>,
    next: u64,
    stopped: bool,
}

impl Reading {
    /// One event.
    pub fn event(&mut self, name: &str, mut event: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if let Some(kind) = name.strip_prefix("exception:") {
            let message = event.take_text("message").or_else(|| event.take_text("Message")).unwrap_or_default();
            return Err(WireError { kind: Some(kind.to_owned()), message, ..WireError::default() });
        }
        match name {
            "messageStart" => out.push(Delta::Begin { id: String::new(), model: String::new(), usage: None }),
            "contentBlockStart" => {
                let start = event.take_object("start").and_then(|mut s| s.take_object("toolUse"));
                // Kinds of blocks that have no start, and new ones, open with their first delta.
                if let (Some(number), Some(mut call)) = (event.take_u64("contentBlockIndex"), start) {
                    let (id, name) = (call.take_text("toolUseId").unwrap_or_default(), call.take_text("name").unwrap_or_default());
                    self.open(number, Opening::ToolCall { id, name, signature: None }, out)?;
                }
            }
            "contentBlockDelta" => self.delta(event, out)?,
            "contentBlockStop" => {
                if let Some(at) = event.take_u64("contentBlockIndex").and_then(|n| self.open.remove(&n)) {
                    out.push(Delta::Close { choice: 0, at });
                }
            }
            "messageStop" if !self.stopped => {
                self.stopped = true;
                out.extend(std::mem::take(&mut self.open).into_values().map(|at| Delta::Close { choice: 0, at }));
                let raw = event.take_text("stopReason").unwrap_or_default();
                out.push(Delta::Stop { choice: 0, stop: stop(&raw) });
            }
            "metadata" => out.extend(event.take_object("usage").and_then(|mut u| usage::take(&mut u)).map(Delta::Usage)),
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, number: u64, part: Opening, out: &mut Vec<Delta>) -> Result<u64, WireError> {
        if self.next >= MAX_PARTS {
            return Err(WireError::malformed(format!("it has more than {MAX_PARTS} parts")));
        }
        let at = self.next;
        self.next = self.next.saturating_add(1);
        self.open.insert(number, at);
        out.push(Delta::Open { choice: 0, at, part });
        Ok(at)
    }

    fn delta(&mut self, mut event: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let number = event.take_u64("contentBlockIndex").unwrap_or(0);
        let mut delta = event.take_object("delta").unwrap_or_default();
        let (opening, piece) = if let Some(text) = delta.take_text("text") {
            (Opening::Text, Piece::Text(text))
        } else if let Some(mut call) = delta.take_object("toolUse") {
            let unnamed = Opening::ToolCall { id: format!("call_{number}"), name: String::new(), signature: None };
            (unnamed, Piece::Arguments(call.take_text("input").unwrap_or_default()))
        } else if let Some(mut thought) = delta.take_object("reasoningContent") {
            if let Some(data) = thought.take_text("redactedContent") {
                let whole = Opening::Whole(Body::Redacted(Signature::from_wire(Maker::Anthropic, &data)));
                self.open(number, whole, out)?;
                return Ok(());
            }
            match (thought.take_text("text"), thought.take_text("signature")) {
                (Some(text), _) => (Opening::Thinking, Piece::Text(text)),
                (None, Some(text)) => (Opening::Thinking, Piece::Signature(Signature::from_wire(Maker::Anthropic, &text))),
                (None, None) => return Ok(()),
            }
        } else {
            return Ok(());
        };
        if matches!(&piece, Piece::Text(text) | Piece::Arguments(text) if text.is_empty()) {
            return Ok(());
        }
        let at = match self.open.get(&number) {
            Some(at) => *at,
            None => self.open(number, opening, out)?,
        };
        out.push(Delta::More { choice: 0, at, piece });
        Ok(())
    }

    /// The end. `messageStop` says that the answer is whole; `metadata` may follow it.
    pub fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if !self.stopped {
            return Err(WireError::truncated());
        }
        out.push(Delta::End);
        Ok(())
    }
}

/// Writes events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Writing {
    /// Our number of each open part, the block's, and whether it is reasoning.
    open: Map<u64, (u64, bool)>,
    next: u64,
    stop: Option<Stop>,
    usage: Option<Usage>,
}

impl Writing {
    /// The bytes of a delta. Only the first choice has a place.
    pub fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { usage, .. } => {
                self.usage = *usage;
                event(out, "messageStart", object! { "role": "assistant" });
            }
            Delta::Open { choice: 0, at, part } => self.open(*at, part, out),
            Delta::More { choice: 0, at, piece } => self.more(*at, piece, out),
            Delta::Close { choice: 0, at } => {
                if let Some((index, _)) = self.open.remove(at) {
                    event(out, "contentBlockStop", object! { "contentBlockIndex": index });
                }
            }
            Delta::Stop { choice: 0, stop } => self.stop = Some(stop.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::End => {
                let reason = self.stop.as_ref().map_or("end_turn", stop_reason);
                event(out, "messageStop", object! { "stopReason": reason });
                let usage = usage::written(self.usage.unwrap_or_default());
                event(out, "metadata", object! { "usage": usage, "metrics": object! { "latencyMs": 0_u32 } });
            }
            Delta::Failed(error) => {
                write_message(out, "exception", exception(error), &object! { "message": &error.message }.to_text());
            }
            _ => {}
        }
    }

    fn open(&mut self, at: u64, part: &Opening, out: &mut Vec<u8>) {
        let index = self.next;
        match part {
            Opening::Whole(Body::Redacted(data)) => {
                let thought = object! { "redactedContent": data.to_wire(Maker::Anthropic) };
                let delta = object! { "reasoningContent": thought };
                event(out, "contentBlockDelta", object! { "delta": delta, "contentBlockIndex": index });
            }
            Opening::Whole(_) => return,
            Opening::ToolCall { id, name, .. } => {
                let start = object! { "toolUse": object! { "toolUseId": id, "name": name } };
                event(out, "contentBlockStart", object! { "start": start, "contentBlockIndex": index });
            }
            Opening::Text | Opening::Refusal | Opening::Thinking => {}
        }
        self.next = self.next.saturating_add(1);
        self.open.insert(at, (index, matches!(part, Opening::Thinking)));
    }

    fn more(&mut self, at: u64, piece: &Piece, out: &mut Vec<u8>) {
        let Some((index, thinks)) = self.open.get(&at).copied() else { return };
        let delta = match piece {
            Piece::Text(text) if thinks => object! { "reasoningContent": object! { "text": text } },
            Piece::Text(text) => object! { "text": text },
            Piece::Arguments(text) => object! { "toolUse": object! { "input": text } },
            Piece::Signature(signature) if thinks => {
                object! { "reasoningContent": object! { "signature": signature.to_wire(Maker::Anthropic) } }
            }
            Piece::Signature(_) => return,
        };
        event(out, "contentBlockDelta", object! { "delta": delta, "contentBlockIndex": index });
    }
}

fn event(out: &mut Vec<u8>, name: &str, payload: Fields) {
    write_message(out, "event", name, &payload.to_text());
}
