//! Streams: bytes in, deltas between, bytes out. Nothing waits; what is incomplete is held.

use super::bedrock::Frames;
use super::common::{Delta, Piece, Usage, WireError};
use super::json::Json;
use super::{Dialect, Face, Seam, anthropic, bedrock, chat, gemini, responses, workers_ai};
use crate::sse::{Event, MAX_EVENT, Reader};

/// Most parts of one choice of a streamed answer: far more than any model writes, so that a provider
/// that opens parts without end is stopped.
pub const MAX_PARTS: u64 = 4_096;

/// Most bytes of text and arguments of one streamed answer: ten times what any model writes. Writers of
/// some formats must hold all of it to repeat it at the end.
pub const MAX_CONTENT: u64 = 32 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq)]
enum Framing {
    Sse(Reader),
    Aws(Frames),
}

#[derive(Clone, Debug, PartialEq)]
enum Reading {
    Chat(chat::Reading),
    Responses(responses::Reading),
    Anthropic(anthropic::Reading),
    Gemini(gemini::Reading),
    Bedrock(bedrock::Reading),
    WorkersAi(workers_ai::Reading),
}

/// Reads one streamed answer. Its output depends on the bytes only, not on how they are cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoder {
    framing: Framing,
    reading: Reading,
    over: bool,
    whole: bool,
    usage: Option<Usage>,
    events: u64,
    /// Bytes of content, and the tokens that they are taken for.
    content: u64,
    written: u64,
}

impl Decoder {
    pub(super) fn new(dialect: Dialect) -> Decoder {
        let reading = match dialect {
            Dialect::OpenAiChat => Reading::Chat(chat::Reading::default()),
            Dialect::OpenAiResponses => Reading::Responses(responses::Reading::default()),
            Dialect::Anthropic => Reading::Anthropic(anthropic::Reading::default()),
            Dialect::Gemini => Reading::Gemini(gemini::Reading::default()),
            Dialect::Bedrock => Reading::Bedrock(bedrock::Reading::default()),
            Dialect::WorkersAi => Reading::WorkersAi(workers_ai::Reading::default()),
        };
        let framing = if dialect == Dialect::Bedrock { Framing::Aws(Frames::default()) } else { Framing::Sse(Reader::default()) };
        Decoder { framing, reading, over: false, whole: false, usage: None, events: 0, content: 0, written: 0 }
    }

    /// Takes the next bytes; gives what they complete. After an end or a failure all else is ignored.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Delta> {
        let mut events = Vec::new();
        let framed = if self.over {
            Ok(())
        } else {
            match &mut self.framing {
                Framing::Sse(reader) => reader.push(bytes, &mut events).map_err(|_| too_large()),
                Framing::Aws(frames) => frames.push(bytes, &mut events),
            }
        };
        let mut out = Vec::new();
        self.read(events, &mut out);
        self.settle(framed, &mut out);
        out
    }

    /// The stream is over. Gives the end, or the failure that it is none.
    pub fn finish(&mut self) -> Vec<Delta> {
        let mut events = Vec::new();
        let framed = match &mut self.framing {
            Framing::Sse(reader) => reader.finish(&mut events).map_err(|_| too_large()),
            Framing::Aws(frames) => frames.finish(),
        };
        let mut out = Vec::new();
        self.read(events, &mut out);
        if !self.over {
            let ended = framed.and_then(|()| match &mut self.reading {
                Reading::Chat(r) => r.finish(&mut out),
                Reading::Responses(r) => r.finish(),
                Reading::Anthropic(r) => r.finish(&mut out),
                Reading::Gemini(r) => r.finish(&mut out),
                Reading::Bedrock(r) => r.finish(&mut out),
                Reading::WorkersAi(r) => r.finish(&mut out),
            });
            self.note(&out);
            self.settle(ended, &mut out);
        }
        out
    }

    fn read(&mut self, events: Vec<Event>, out: &mut Vec<Delta>) {
        for event in events {
            if self.over {
                return;
            }
            self.events = self.events.saturating_add(1);
            let mut new = Vec::new();
            let read = self.event(&event, &mut new);
            self.note(&new);
            if self.content > MAX_CONTENT {
                return self.settle(Err(WireError::malformed(format!("the answer has more than {MAX_CONTENT} bytes"))), out);
            }
            out.append(&mut new);
            self.settle(read, out);
        }
    }

    fn event(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let data = event.data.trim_ascii();
        if data.is_empty() && !matches!(self.framing, Framing::Aws(_)) {
            return Ok(());
        }
        if data == b"[DONE]" {
            return match &mut self.reading {
                Reading::Chat(r) => r.done(out),
                Reading::WorkersAi(r) => r.done(out),
                // Not of these formats; what ends them comes on its own.
                _ => Ok(()),
            };
        }
        let fields = match Json::read(data) {
            Ok(Json::Object(fields)) => fields,
            Ok(_) => return Err(WireError::malformed("an event is no JSON object")),
            Err(e) => return Err(WireError::malformed(format!("an event is not valid JSON at column {}", e.column()))),
        };
        let name = std::str::from_utf8(&event.name).unwrap_or("");
        match &mut self.reading {
            Reading::Chat(r) => r.event(fields, out),
            Reading::Responses(r) => r.event(fields, out),
            Reading::Anthropic(r) => r.event(fields, out),
            Reading::Gemini(r) => r.event(fields, out),
            Reading::Bedrock(r) => r.event(name, fields, out),
            Reading::WorkersAi(r) => r.event(fields, out),
        }
    }

    fn note(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            match delta {
                Delta::Begin { usage: Some(usage), .. } | Delta::Usage(usage) => self.usage = Some(*usage),
                Delta::More { piece: Piece::Text(text) | Piece::Arguments(text), .. } => {
                    self.content = self.content.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
                    self.written = self.written.saturating_add(u64::try_from(text.len().div_ceil(4)).unwrap_or(0));
                }
                Delta::End => (self.over, self.whole) = (true, true),
                Delta::Failed(_) => self.over = true,
                _ => {}
            }
        }
    }

    fn settle(&mut self, result: Result<(), WireError>, out: &mut Vec<Delta>) {
        if let Err(error) = result {
            if !self.over {
                out.push(Delta::Failed(error));
            }
            self.over = true;
        }
    }

    /// The usage that the provider told last. Of a broken stream it may be a part of the truth.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Output tokens estimated from the text that came: a quarter of its bytes, at least one a piece.
    pub fn estimated_output(&self) -> u64 {
        self.written
    }

    /// Events read.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether the answer came whole.
    pub fn whole(&self) -> bool {
        self.whole
    }

    /// Whether an end or a failure has come: nothing more will.
    pub fn over(&self) -> bool {
        self.over
    }
}

fn too_large() -> WireError {
    WireError::malformed(format!("an event has more than {MAX_EVENT} bytes"))
}

#[derive(Clone, Debug, PartialEq)]
enum Writing {
    Chat(chat::Writing),
    Responses(responses::Writing),
    Anthropic(anthropic::Writing),
    Gemini(gemini::Writing),
    Bedrock(bedrock::Writing),
}

/// Writes one streamed answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder(Writing);

impl Encoder {
    pub(super) fn new(dialect: Dialect, face: Face) -> Encoder {
        Encoder(match dialect {
            Dialect::OpenAiChat | Dialect::WorkersAi => Writing::Chat(chat::Writing::new(face)),
            Dialect::OpenAiResponses => Writing::Responses(responses::Writing::new(face)),
            Dialect::Anthropic => Writing::Anthropic(anthropic::Writing::new(face)),
            Dialect::Gemini => Writing::Gemini(gemini::Writing::new(face)),
            Dialect::Bedrock => Writing::Bedrock(bedrock::Writing::default()),
        })
    }

    /// A writer for the rest of an answer that another target began. Only clients' formats that have a place for
    /// it know that it is the rest.
    fn after(dialect: Dialect, face: Face, seam: Seam) -> Encoder {
        match dialect {
            Dialect::OpenAiChat => Encoder(Writing::Chat(chat::Writing::after(face, seam))),
            Dialect::Anthropic => Encoder(Writing::Anthropic(anthropic::Writing::after(face, seam))),
            _ => Encoder::new(dialect, face),
        }
    }

    /// The bytes of a delta; none where the format has nothing to say yet.
    pub fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match &mut self.0 {
            Writing::Chat(w) => w.write(delta, out),
            Writing::Responses(w) => w.write(delta, out),
            Writing::Anthropic(w) => w.write(delta, out),
            Writing::Gemini(w) => w.write(delta, out),
            Writing::Bedrock(w) => w.write(delta, out),
        }
    }
}

/// From one format's stream to another's: what a relay needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Translator {
    decoder: Decoder,
    encoder: Encoder,
}

impl Translator {
    /// From the target's format to the client's.
    pub fn new(from: Dialect, to: Dialect, face: Face) -> Translator {
        Translator { decoder: from.decoder(), encoder: to.encoder(face) }
    }

    /// The same for the rest of an answer that another target began.
    pub(super) fn after(from: Dialect, to: Dialect, face: Face, seam: Seam) -> Translator {
        Translator { decoder: from.decoder(), encoder: Encoder::after(to, face, seam) }
    }

    /// The client's bytes for the target's next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let deltas = self.decoder.push(bytes);
        self.write(&deltas)
    }

    /// The client's last bytes.
    pub fn finish(&mut self) -> Vec<u8> {
        let deltas = self.decoder.finish();
        self.write(&deltas)
    }

    /// The client's bytes for the target's next bytes, and what they say.
    pub(super) fn push_noting(&mut self, bytes: &[u8]) -> (Vec<u8>, Vec<Delta>) {
        let deltas = self.decoder.push(bytes);
        (self.write(&deltas), deltas)
    }

    /// The client's last bytes of a whole answer, and what they say; that it breaks off is for the gateway
    /// to tell.
    pub(super) fn finish_noting(&mut self) -> (Vec<u8>, Vec<Delta>) {
        let told = self.decoder.over();
        let deltas = self.decoder.finish();
        let whole = told || self.decoder.whole();
        let bytes = if whole { self.write(&deltas) } else { Vec::new() };
        if !whole {
            self.decoder.over = false;
        }
        (bytes, deltas)
    }

    /// Whether an end or a failure was told to the client.
    pub(super) fn over(&self) -> bool {
        self.decoder.over()
    }

    /// The gateway itself fails the stream: the client's bytes for that. Nothing may follow.
    pub fn fail(&mut self, error: WireError) -> Vec<u8> {
        self.decoder.over = true;
        self.write(&[Delta::Failed(error)])
    }

    /// Bytes that keep the client's connection alive; may go out between any two others.
    pub fn ping(&mut self) -> Vec<u8> {
        self.write(&[Delta::Ping])
    }

    fn write(&mut self, deltas: &[Delta]) -> Vec<u8> {
        let mut out = Vec::new();
        for delta in deltas {
            self.encoder.write(delta, &mut out);
        }
        out
    }

    /// What was read so far.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }
}
