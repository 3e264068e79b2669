//! An answer that breaks off and goes on elsewhere: what the client has of it, what the next target is asked,
//! and how its words are joined to those that are out.
//!
//! Only text can go on: a model that is shown half a call or half a thought of another's does not end it. So it
//! is for Chat Completions and Messages, one choice, and requests that ask for nothing but text.

use super::common::{AnswerFormat, Delta, Opening, Piece, Request};
use super::json::{Fields, Json, object};
use super::openai::request::{changed, span, top_level, utf8};
use super::{Decoder, Dialect, Dropped, Face};
use crate::sse::{MAX_HELD, event_end, payload};

/// Most bytes of text that another target is asked to go on with: more than a model writes at once, and what
/// is kept of each stream while it may break.
pub const MAX_TEXT: usize = 256 * 1024;

/// The user's turn after the text so far. Many models refuse to go on with a turn of their own that stands last.
pub const GO_ON: &str = "Your last message was cut off. Continue it from exactly where it stops. Do not repeat any of it, and do not remark on the interruption.";

/// Fields of requests that ask for more than text, or for a state that a provider keeps.
const MORE_THAN_TEXT: [&str; 9] = [
    "functions",
    "function_call",
    "modalities",
    "audio",
    "web_search_options",
    "output_format",
    "output_config",
    "mcp_servers",
    "container",
];

/// What a client has of an answer that is under way. It stands between the tap and the client, and lets through
/// whole events only, and none that tells of the provider's failure: after half an event, or an error, there is
/// nothing that could follow.
#[derive(Clone, Debug)]
pub struct Unfinished {
    decoder: Decoder,
    /// The event whose end is still to come.
    held: Vec<u8>,
    /// Where in it the search for its end goes on.
    scanned: usize,
    /// The event in which the provider fails the stream. What comes after it counts for nothing.
    failure: Option<Vec<u8>>,
    text: String,
    /// How the stream presents itself; its first event tells.
    face: Option<Face>,
    chat: bool,
    /// Parts that were opened.
    parts: u64,
    /// Whether the last of them is open.
    open: bool,
}

/// What an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// More of an answer that could go on elsewhere.
    More,
    /// That the provider fails.
    Failure,
    /// Something that cannot go on elsewhere, or need not: another kind of content, an end.
    Else,
}

impl Unfinished {
    /// Nothing yet. `None` where a client's format has no way to go on.
    pub(super) fn new(client: Dialect) -> Option<Unfinished> {
        let chat = match client {
            Dialect::OpenAiChat => true,
            Dialect::Anthropic => false,
            _ => return None,
        };
        Some(Unfinished {
            decoder: client.decoder(),
            held: Vec::new(),
            scanned: 0,
            failure: None,
            text: String::new(),
            face: None,
            chat,
            parts: 0,
            open: false,
        })
    }

    /// Takes the client's next bytes. What may go out of them, and whether the answer could still go on elsewhere;
    /// if it could not, nothing is held any more. `failed`: the provider has failed the stream.
    pub(super) fn push(&mut self, bytes: &[u8], failed: bool) -> (Vec<u8>, bool) {
        if self.failure.is_some() {
            return (Vec::new(), true);
        }
        let mut data = std::mem::take(&mut self.held);
        data.extend_from_slice(bytes);
        let (mut start, mut from) = (0, std::mem::take(&mut self.scanned));
        while let Some(end) = event_end(&data, from) {
            match self.event(data.get(start..end).unwrap_or_default()) {
                Told::More => {}
                Told::Failure if failed => {
                    self.failure = data.get(start..end).map(<[u8]>::to_vec);
                    data.truncate(start);
                    return (data, true);
                }
                Told::Failure | Told::Else => return (data, false),
            }
            (start, from) = (end, end);
        }
        let tail = data.split_off(start);
        if tail.len() > MAX_HELD || self.text.len() > MAX_TEXT {
            data.extend(tail);
            return (data, false);
        }
        self.scanned = tail.len().saturating_sub(2);
        self.held = tail;
        (data, true)
    }

    fn event(&mut self, event: &[u8]) -> Told {
        let mut told = Told::More;
        for delta in self.decoder.push(event) {
            match delta {
                Delta::Begin { id, model, .. } => {
                    let head = payload(event).and_then(|data| Json::read(data).ok()?.into_fields()?.take_u64("created"));
                    let created = head.unwrap_or(0);
                    self.face = Some(Face { id, model, created, include_usage: false });
                }
                Delta::Open { choice: 0, part: Opening::Text, at } => (self.parts, self.open) = (at.saturating_add(1), true),
                Delta::More { choice: 0, piece: Piece::Text(text), .. } => self.text.push_str(&text),
                Delta::Close { choice: 0, .. } => self.open = false,
                Delta::Usage(_) | Delta::Ping => {}
                Delta::Failed(_) if told == Told::More => told = Told::Failure,
                _ => told = Told::Else,
            }
        }
        // The first event may be one without a name: Azure begins with its filters' results.
        if let Some(face) = self.face.as_mut().filter(|face| self.chat && face.id.is_empty())
            && let Some(fields) = payload(event).and_then(|data| Json::read(data).ok()?.into_fields())
        {
            let text = |name: &str| fields.get(name).and_then(Json::as_text).unwrap_or_default().to_owned();
            (face.id, face.model) = (text("id"), text("model"));
            face.created = fields.get("created").and_then(Json::as_u64).unwrap_or(0);
        }
        told
    }

    /// Nobody goes on with it, or it is over: all that was held, before the last bytes. Half an event is nothing.
    pub(super) fn rest(&mut self, last: Vec<u8>) -> Vec<u8> {
        if let Some(failure) = &self.failure {
            return failure.clone();
        }
        let mut out = std::mem::take(&mut self.held);
        if payload(&out).is_none_or(|data| data != b"[DONE]" && Json::read(data).is_err()) {
            out.clear();
        }
        out.extend(last);
        out
    }

    /// Whether the provider has failed it.
    pub(super) fn failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether there is something to go on with.
    pub(super) fn has_text(&self) -> bool {
        !self.text.trim().is_empty()
    }

    /// The request for whoever goes on with it, in the client's words: what was asked, the text so far, and the
    /// wish that it go on. `None` if it asks for more than text.
    pub fn asked(&self, body: &[u8]) -> Option<Vec<u8>> {
        let client = if self.chat { Dialect::OpenAiChat } else { Dialect::Anthropic };
        if !for_text(&client.decode_request("", body).ok()?) {
            return None;
        }
        let whole = utf8(body).ok()?;
        let (_, end) = span(whole, top_level(whole).ok()?.only("messages").ok()??.get())?;
        let bracket = end.checked_sub(1)?;
        let turn = |role: &str, text: &str| object! { "role": role, "content": text }.to_text();
        let turns = format!(",{},{}", turn("assistant", &self.text), turn("user", GO_ON));
        Some(changed(body, vec![((bracket, bracket), turns)]))
    }

    /// Where it goes on. `from` is who began it (`provider/model`).
    pub fn seam(&self, from: String) -> Seam {
        let face = self.face.clone().unwrap_or_default();
        Seam { face, next: self.parts, open: self.open, from, by: String::new(), dropped: String::new() }
    }
}

/// Whether a request asks for one answer of nothing but text.
fn for_text(request: &Request) -> bool {
    let sampling = &request.sampling;
    let one = sampling.choices.unwrap_or(1) == 1 && sampling.logprobs != Some(true);
    let plain = matches!(request.format, None | Some(AnswerFormat::Text));
    let only_text = |value: &Json| value.as_list().is_some_and(|list| list.iter().all(|kind| kind.as_text() == Some("text")));
    let more = MORE_THAN_TEXT.iter().filter_map(|name| Some((*name, request.extra.get(name)?)));
    let mut more = more.filter(|(name, value)| !(*name == "modalities" && only_text(value)));
    one && plain && request.tools.is_empty() && more.next().is_none()
}

/// Where an answer goes on that another target began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seam {
    /// How the first part presents itself: the second does the same.
    pub(super) face: Face,
    /// The number of the next part, in formats that number them.
    pub(super) next: u64,
    /// Whether the part before it is open.
    pub(super) open: bool,
    /// Who began, and who goes on.
    from: String,
    by: String,
    /// What the latter could not be told.
    dropped: String,
}

impl Seam {
    /// The same, with who goes on (`provider/model`) and what it could not be told.
    #[must_use]
    pub fn by(&self, target: String, dropped: &Dropped) -> Seam {
        Seam { by: target, dropped: dropped.header(), ..self.clone() }
    }

    /// A comment of the event-stream format between the parts. Clients pass over it.
    pub(super) fn comment(&self) -> String {
        let by = self.by.split(['\r', '\n']).next().unwrap_or_default();
        format!(": tollgate: continued by {by}\n\n")
    }

    /// The field that tells of it, in the events that end the answer.
    pub(super) fn told(&self) -> Fields {
        let mut continued = object! { "from": &self.from, "by": &self.by };
        continued.put_some("dropped", Some(self.dropped.as_str()).filter(|names| !names.is_empty()));
        object! { "continued": continued }
    }
}

#[cfg(test)]
mod tests;
