//! Writing streamed responses. Each part is an item; its whole text is repeated where it ends, and all
//! items once more at the very end, as the format wants it.

use super::super::common::{Body, Delta, Logprob, Opening, Piece, Signature, Stop, Usage, WireError};
use super::super::json::{Fields, Json, object};
use super::super::{Face, chat, logprobs};
use super::answer::{response, status_of, tail, written_item};
use crate::map::Map;
use crate::sse::write_event;

/// An open part: what came of it.
#[derive(Clone, Debug, PartialEq)]
struct Open {
    body: Body,
    /// The item's number.
    index: usize,
    /// The item's id.
    id: String,
    logprobs: Vec<Logprob>,
}

/// Writes events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Writing {
    face: Face,
    sequence: u64,
    open: Map<u64, Open>,
    /// The text part that came last: log-probabilities are of it.
    last_text: Option<u64>,
    items: Map<usize, Fields>,
    next: usize,
    stop: Option<Stop>,
    usage: Option<Usage>,
}

impl Writing {
    pub fn new(face: Face) -> Writing {
        Writing { face, sequence: 0, open: Map::new(), last_text: None, items: Map::new(), next: 0, stop: None, usage: None }
    }

    /// The bytes of a delta. Only the first choice has a place.
    pub fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { usage, .. } => {
                self.usage = *usage;
                for name in ["response.created", "response.in_progress"] {
                    let response = response(&self.face, ("in_progress", None), Vec::new(), None);
                    self.event(out, name, object! { "response": response });
                }
            }
            Delta::Open { choice: 0, at, part } => self.open(*at, part, out),
            Delta::More { choice: 0, at, piece } => self.more(*at, piece, out),
            Delta::Close { choice: 0, at } => self.close(*at, out),
            Delta::Logprobs { choice: 0, tokens } => {
                if let Some(open) = self.last_text.and_then(|at| self.open.get_mut(&at)) {
                    open.logprobs.extend_from_slice(tokens);
                }
            }
            Delta::Stop { choice: 0, stop } => self.stop = Some(stop.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Ping => out.extend_from_slice(b": ping\n\n"),
            Delta::End => {
                let status = status_of(self.stop.as_ref());
                let items = std::mem::take(&mut self.items).into_values().collect();
                let response = response(&self.face, status, items, self.usage);
                self.event(out, &format!("response.{}", status.0), object! { "response": response });
            }
            Delta::Failed(error) => self.fail(error, out),
            _ => {}
        }
    }

    /// The format's own words, and beside them the object that clients of all OpenAI streams look for.
    fn fail(&mut self, error: &WireError, out: &mut Vec<u8>) {
        let text = |t: &Option<String>| t.as_ref().map_or(Json::Null, Json::from);
        let mut body = object! { "code": text(&error.code), "message": &error.message, "param": text(&error.param) };
        body.fill(chat::encode_error(error));
        self.event(out, "error", body);
    }

    fn open(&mut self, at: u64, part: &Opening, out: &mut Vec<u8>) {
        let (prefix, body) = match part {
            Opening::Text => ("msg", Body::Text(String::new())),
            Opening::Refusal => ("msg", Body::Refusal(String::new())),
            Opening::Thinking => ("rs", Body::Thinking { text: String::new(), signature: None }),
            Opening::ToolCall { id, name, signature } => {
                if let Some(signature) = signature {
                    self.whole(&Body::Thinking { text: String::new(), signature: Some(signature.clone()) }, out);
                }
                ("fc", Body::ToolCall { id: id.clone(), name: name.clone(), arguments: String::new(), signature: None })
            }
            Opening::Whole(body @ Body::Redacted(_)) => return self.whole(body, out),
            Opening::Whole(_) => return,
        };
        let index = self.number();
        let id = format!("{prefix}_{}_{index}", tail(&self.face.id));
        let mut item = match &body {
            Body::ToolCall { id: call, name, .. } => {
                object! { "id": &id, "type": "function_call", "status": "in_progress", "call_id": call, "name": name, "arguments": "" }
            }
            Body::Thinking { .. } => object! { "id": &id, "type": "reasoning", "summary": Vec::<Json>::new() },
            _ => object! { "id": &id, "type": "message", "status": "in_progress", "role": "assistant", "content": Vec::<Json>::new() },
        };
        self.event(out, "response.output_item.added", object! { "output_index": place(index), "item": std::mem::take(&mut item) });
        match &body {
            Body::Text(_) => {
                self.last_text = Some(at);
                self.part(out, "response.content_part.added", index, &id, text_part("", Json::List(Vec::new())));
            }
            Body::Refusal(_) => self.part(out, "response.content_part.added", index, &id, object! { "type": "refusal", "refusal": "" }),
            Body::Thinking { .. } => self.summary(out, "response.reasoning_summary_part.added", index, &id, "part", summary_part("")),
            _ => {}
        }
        self.open.insert(at, Open { body, index, id, logprobs: Vec::new() });
    }

    fn number(&mut self) -> usize {
        let index = self.next;
        self.next = self.next.saturating_add(1);
        index
    }

    /// An item that comes whole.
    fn whole(&mut self, body: &Body, out: &mut Vec<u8>) {
        let index = self.number();
        if let Some(item) = written_item(body, &self.face.id, index, Json::Null) {
            self.event(out, "response.output_item.added", object! { "output_index": place(index), "item": &item });
            self.event(out, "response.output_item.done", object! { "output_index": place(index), "item": &item });
            self.items.insert(index, item);
        }
    }

    fn more(&mut self, at: u64, piece: &Piece, out: &mut Vec<u8>) {
        let Some(open) = self.open.get_mut(&at) else { return };
        let (index, id) = (open.index, open.id.clone());
        let name = match (&mut open.body, piece) {
            (Body::Text(all), Piece::Text(text)) => {
                all.push_str(text);
                "response.output_text.delta"
            }
            (Body::Refusal(all), Piece::Text(text)) => {
                all.push_str(text);
                "response.refusal.delta"
            }
            (Body::ToolCall { arguments, .. }, Piece::Arguments(text)) => {
                arguments.push_str(text);
                "response.function_call_arguments.delta"
            }
            (Body::Thinking { text: all, .. }, Piece::Text(text)) => {
                all.push_str(text);
                return self.summary(out, "response.reasoning_summary_text.delta", index, &id, "delta", text.into());
            }
            (Body::Thinking { signature, .. }, Piece::Signature(new)) => {
                *signature = Some(Signature::clone(new));
                return;
            }
            _ => return,
        };
        let (Piece::Text(text) | Piece::Arguments(text)) = piece else { return };
        let mut body = object! { "item_id": id, "output_index": place(index) };
        match name {
            "response.function_call_arguments.delta" => {}
            "response.output_text.delta" => body.fill(object! { "content_index": 0_u32, "logprobs": Vec::<Json>::new() }),
            _ => body.put("content_index", 0_u32),
        }
        body.put("delta", text);
        self.event(out, name, body);
    }

    fn close(&mut self, at: u64, out: &mut Vec<u8>) {
        let Some(Open { mut body, index, id, logprobs }) = self.open.remove(&at) else { return };
        let logprobs = logprobs::written(&logprobs);
        let done = |more: Fields| {
            let mut fields = object! { "item_id": &id, "output_index": place(index) };
            fields.fill(more);
            fields
        };
        match &mut body {
            Body::Text(text) => {
                let told = object! { "content_index": 0_u32, "text": &*text, "logprobs": logprobs.clone() };
                self.event(out, "response.output_text.done", done(told));
                self.part(out, "response.content_part.done", index, &id, text_part(text, logprobs.clone()));
            }
            Body::Refusal(text) => {
                self.event(out, "response.refusal.done", done(object! { "content_index": 0_u32, "refusal": &*text }));
                self.part(out, "response.content_part.done", index, &id, object! { "type": "refusal", "refusal": &*text });
            }
            Body::Thinking { text, .. } => {
                self.summary(out, "response.reasoning_summary_text.done", index, &id, "text", (&*text).into());
                self.summary(out, "response.reasoning_summary_part.done", index, &id, "part", summary_part(text));
            }
            Body::ToolCall { name, arguments, .. } => {
                if arguments.is_empty() {
                    arguments.push_str("{}");
                }
                let told = object! { "name": &*name, "arguments": &*arguments };
                self.event(out, "response.function_call_arguments.done", done(told));
            }
            _ => {}
        }
        if let Some(item) = written_item(&body, &self.face.id, index, logprobs) {
            self.event(out, "response.output_item.done", object! { "output_index": place(index), "item": &item });
            self.items.insert(index, item);
        }
    }

    fn part(&mut self, out: &mut Vec<u8>, name: &str, index: usize, id: &str, part: Fields) {
        self.event(out, name, object! { "item_id": id, "output_index": place(index), "content_index": 0_u32, "part": part });
    }

    fn summary(&mut self, out: &mut Vec<u8>, name: &str, index: usize, id: &str, key: &str, value: Json) {
        let mut body = object! { "item_id": id, "output_index": place(index), "summary_index": 0_u32 };
        body.put(key, value);
        self.event(out, name, body);
    }

    /// An event: its name is repeated as its type, and events are numbered.
    fn event(&mut self, out: &mut Vec<u8>, name: &str, rest: Fields) {
        let mut body = object! { "type": name, "sequence_number": self.sequence };
        self.sequence = self.sequence.saturating_add(1);
        body.fill(rest);
        write_event(out, name, &body.to_text());
    }
}

fn place(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

fn text_part(text: &str, logprobs: Json) -> Fields {
    object! { "type": "output_text", "text": text, "annotations": Vec::<Json>::new(), "logprobs": logprobs }
}

fn summary_part(text: &str) -> Json {
    object! { "type": "summary_text", "text": text }.into()
}
