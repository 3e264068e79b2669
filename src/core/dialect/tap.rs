//! What an answer's stream goes through on its way to the client.

use super::{Decoder, Dialect, Face, Seam, Translator, Unfinished};
use crate::dialect::common::{Delta, WireError};
use crate::failure::Failure;
use crate::price::Usage;
use crate::sse::{Bill, Meter};
use crate::units::NanoUsd;

/// Watches a stream, and translates it where client and target speak different formats.
#[derive(Clone, Debug)]
pub struct Tap {
    kind: Kind,
    state: State,
    /// What the provider said where it failed the stream.
    failed: Option<WireError>,
    /// What the client has, while the answer may go on elsewhere if it breaks off.
    unfinished: Option<Box<Unfinished>>,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Chat completions that pass: usage is taken by the way, and left out or priced.
    Chat(Box<Meter>),
    /// Another format that passes: a decoder reads along.
    Passing { decoder: Box<Decoder>, boundary: Boundary, copy: Copied },
    /// Translated; for clients of chat completions what comes out is metered once more.
    Translated { translator: Box<Translator>, meter: Option<Box<Meter>>, copy: Copied },
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing of the answer is there yet.
    #[default]
    Waiting,
    /// Some of it, or all.
    Begun,
    /// The provider says that there will be none. Nothing of it may go out.
    Failed,
}

/// What a tap is to do beside watching.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The client asked for usage (Chat Completions only).
    pub usage: bool,
    /// Most bytes to keep a copy of; 0 for no copy.
    pub keep: usize,
    /// What the client is to pay, told where it asked for usage.
    pub bill: Option<Bill>,
    /// The answer may go on elsewhere if it breaks off.
    pub resumable: bool,
    /// It goes on here: another target began it.
    pub seam: Option<Seam>,
}

impl Tap {
    /// A tap between a target that speaks `from` and a client that speaks `to`.
    pub fn new(from: Dialect, to: Dialect, face: Face, wanted: Wanted) -> Tap {
        let bill = wanted.bill.filter(|_| wanted.usage);
        let copy = Copied { bytes: (wanted.keep > 0).then(Vec::new), most: wanted.keep };
        let unfinished = if wanted.resumable { Unfinished::new(to).map(Box::new) } else { None };
        if let Some(seam) = wanted.seam {
            let face = Face { include_usage: wanted.usage, ..seam.face.clone() };
            let translator = Box::new(Translator::after(from, to, face, seam));
            let meter = (to == Dialect::OpenAiChat).then(|| Box::new(Meter::new(false, 0).billed(bill)));
            let kind = Kind::Translated { translator, meter, copy: Copied::default() };
            return Tap { kind, state: State::default(), failed: None, unfinished };
        }
        let kind = match (from == to, to) {
            (true, Dialect::OpenAiChat) => Kind::Chat(Box::new(Meter::new(!wanted.usage, wanted.keep).billed(bill))),
            (true, _) => Kind::Passing { decoder: Box::new(from.decoder()), boundary: Boundary::default(), copy },
            (false, Dialect::OpenAiChat) => Kind::Translated {
                translator: Box::new(Translator::new(from, to, Face { include_usage: wanted.usage, ..face })),
                // It keeps the copy: without the cost, which a stored answer does not have.
                meter: Some(Box::new(Meter::new(false, wanted.keep).billed(bill))),
                copy: Copied::default(),
            },
            (false, _) => Kind::Translated { translator: Box::new(Translator::new(from, to, face)), meter: None, copy },
        };
        Tap { kind, state: State::default(), failed: None, unfinished }
    }

    /// The client is to pay so much more beside the answer.
    pub fn besides(&mut self, cost: NanoUsd) {
        match &mut self.kind {
            Kind::Chat(meter) | Kind::Translated { meter: Some(meter), .. } => meter.besides(cost),
            Kind::Passing { .. } | Kind::Translated { meter: None, .. } => {}
        }
    }

    /// Takes the next bytes from upstream. `None`: pass them on as they are. `Some`: pass these on instead
    /// (they may be empty).
    pub fn push(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        let out = self.pass(chunk);
        match self.unfinished.take() {
            None => out,
            Some(unfinished) => Some(self.hold(unfinished, out.as_deref().unwrap_or(chunk))),
        }
    }

    /// Holds back what nothing could follow if the answer goes on elsewhere.
    fn hold(&mut self, mut unfinished: Box<Unfinished>, bytes: &[u8]) -> Vec<u8> {
        let (out, resumable) = unfinished.push(bytes, self.said().is_some());
        self.unfinished = resumable.then_some(unfinished);
        out
    }

    fn pass(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        match &mut self.kind {
            Kind::Chat(meter) => {
                let out = meter.push(chunk);
                self.look();
                out
            }
            Kind::Passing { decoder, boundary, copy } => {
                let deltas = decoder.push(chunk);
                boundary.push(chunk);
                copy.push(chunk);
                self.note(&deltas);
                None
            }
            Kind::Translated { translator, meter, copy } => {
                let (bytes, deltas) = translator.push_noting(chunk);
                let bytes = match meter {
                    Some(meter) => meter.push(&bytes).unwrap_or(bytes),
                    None => bytes,
                };
                copy.push(&bytes);
                self.note(&deltas);
                Some(bytes)
            }
        }
    }

    /// The stream is over: what was held back goes out.
    pub fn finish(&mut self) -> Vec<u8> {
        let last = self.end();
        match &mut self.unfinished {
            Some(unfinished) => unfinished.rest(last),
            None => last,
        }
    }

    fn end(&mut self) -> Vec<u8> {
        match &mut self.kind {
            Kind::Chat(meter) => {
                let last = meter.finish();
                self.look();
                last
            }
            Kind::Passing { decoder, .. } => {
                let deltas = if decoder.over() { Vec::new() } else { decoder.finish() };
                self.note_end(deltas);
                Vec::new()
            }
            Kind::Translated { translator, meter, copy } => {
                let (bytes, deltas) = translator.finish_noting();
                let bytes = match meter {
                    Some(meter) => {
                        let mut out = meter.push(&bytes).unwrap_or(bytes);
                        out.extend(meter.finish());
                        out
                    }
                    None => bytes,
                };
                copy.push(&bytes);
                self.note_end(deltas);
                bytes
            }
        }
    }

    /// The last deltas. That the end is missing is for the gateway to tell, with its own reason, in `fail`.
    fn note_end(&mut self, mut deltas: Vec<Delta>) {
        deltas.retain(|delta| !matches!(delta, Delta::Failed(_)));
        self.note(&deltas);
    }

    fn look(&mut self) {
        if let Kind::Chat(meter) = &self.kind {
            if let (State::Waiting, Some(error)) = (self.state, meter.failed()) {
                (self.state, self.failed) = (State::Failed, Some(error.clone()));
            } else if meter.begun() && self.state == State::Waiting {
                self.state = State::Begun;
            }
        }
    }

    fn note(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            match (delta, self.state) {
                (Delta::Failed(error), state) => {
                    self.failed = Some(error.clone());
                    if state == State::Waiting {
                        self.state = State::Failed;
                    }
                }
                (Delta::Begin { .. } | Delta::Ping | Delta::Usage(_), _) | (_, State::Begun | State::Failed) => {}
                (_, State::Waiting) => self.state = State::Begun,
            }
        }
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        self.state
    }

    /// What the provider said where it failed the stream before it began, or told of it in a way that is not the
    /// client's.
    pub fn failed(&self) -> Option<&WireError> {
        self.failed.as_ref()
    }

    /// What the provider said where it failed the stream, whenever that was.
    pub fn said(&self) -> Option<&WireError> {
        match &self.kind {
            Kind::Chat(meter) => meter.failed(),
            Kind::Passing { .. } | Kind::Translated { .. } => self.failed.as_ref(),
        }
    }

    /// Whether the answer may still go on elsewhere if it breaks off.
    pub fn may_go_on(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Whether the provider has failed an answer that may go on elsewhere.
    pub fn failed_midway(&self) -> bool {
        self.unfinished.as_ref().is_some_and(|unfinished| unfinished.failed())
    }

    /// What the client has of an answer that could go on elsewhere. What [`Tap::finish`] gave is not among it: it is
    /// to be thrown away then.
    pub fn take_unfinished(&mut self) -> Option<Box<Unfinished>> {
        let whole = self.whole();
        self.unfinished.take().filter(|unfinished| unfinished.has_text() && !whole)
    }

    /// The gateway ends the stream with a failure: the client's bytes for that. Nothing may follow.
    pub fn fail(&mut self, client: Dialect, failure: &Failure) -> Vec<u8> {
        let told = match &self.kind {
            // The client has it in the provider's own words, or in those of the translator.
            Kind::Passing { .. } | Kind::Chat(_) => self.said().is_some() && self.state == State::Begun,
            Kind::Translated { translator, .. } => translator.over(),
        };
        if told {
            return Vec::new();
        }
        let mut out = b"\n\n".to_vec();
        out.extend(client.in_band(failure));
        out
    }

    /// Whether part of an event went out whose end is still to come.
    pub fn inside_event(&self) -> bool {
        if self.unfinished.is_some() {
            return false;
        }
        match &self.kind {
            Kind::Chat(meter) => meter.inside_event(),
            Kind::Passing { boundary, .. } => boundary.inside,
            Kind::Translated { .. } => false,
        }
    }

    /// Whether the answer came whole.
    pub fn whole(&self) -> bool {
        // Some say that they are done after they have failed.
        if self.failed_midway() {
            return false;
        }
        match &self.kind {
            Kind::Chat(meter) => meter.whole(),
            Kind::Passing { decoder, .. } => decoder.whole(),
            Kind::Translated { translator, .. } => translator.decoder().whole(),
        }
    }

    /// The usage that the provider told last.
    pub fn usage(&self) -> Option<Usage> {
        match &self.kind {
            Kind::Chat(meter) => meter.usage(),
            Kind::Passing { decoder, .. } => decoder.usage().map(Usage::from),
            Kind::Translated { translator, .. } => translator.decoder().usage().map(Usage::from),
        }
    }

    /// Output tokens estimated from the text that came by.
    pub fn estimated_output(&self) -> u64 {
        match &self.kind {
            Kind::Chat(meter) => meter.estimated_output(),
            Kind::Passing { decoder, .. } => decoder.estimated_output(),
            Kind::Translated { translator, .. } => translator.decoder().estimated_output(),
        }
    }

    /// A copy of what the client got of a whole answer, if one was asked for and fits.
    pub fn take_kept(&mut self) -> Option<Vec<u8>> {
        let whole = self.whole();
        match &mut self.kind {
            Kind::Chat(meter) => meter.take_kept(),
            Kind::Translated { meter: Some(meter), .. } => meter.take_kept().filter(|_| whole),
            Kind::Passing { copy, .. } | Kind::Translated { copy, .. } => copy.bytes.take().filter(|_| whole),
        }
    }
}

/// One that has seen nothing: what is left where a tap was taken out.
impl Default for Tap {
    fn default() -> Tap {
        Tap::new(Dialect::OpenAiChat, Dialect::OpenAiChat, Face::default(), Wanted::default())
    }
}

/// A copy of bytes, given up when it grows too large.
#[derive(Clone, Debug, Default)]
struct Copied {
    bytes: Option<Vec<u8>>,
    most: usize,
}

impl Copied {
    fn push(&mut self, chunk: &[u8]) {
        if let Some(bytes) = &mut self.bytes {
            if bytes.len().saturating_add(chunk.len()) > self.most {
                self.bytes = None;
            } else {
                bytes.extend_from_slice(chunk);
            }
        }
    }
}

/// Whether bytes end between two events.
#[derive(Clone, Copy, Debug, Default)]
struct Boundary {
    inside: bool,
    /// The last byte but carriage returns was a line feed.
    line: bool,
}

impl Boundary {
    fn push(&mut self, chunk: &[u8]) {
        // Events of these formats end with LF LF or CRLF CRLF: lines that end with a lone CR are not told
        // apart, and no comment is put in then.
        for byte in chunk.iter().filter(|b| **b != b'\r') {
            let feed = *byte == b'\n';
            self.inside = !(feed && (self.line || !self.inside));
            self.line = feed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":5}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    const OVERLOADED: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";

    fn tap(from: Dialect, to: Dialect) -> Tap {
        Tap::new(from, to, Face::default(), Wanted { usage: true, keep: 10_000, ..Wanted::default() })
    }

    fn run(tap: &mut Tap, text: &str, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in text.as_bytes().chunks(step) {
            out.extend(tap.push(chunk).unwrap_or_else(|| chunk.to_vec()));
        }
        out.extend(tap.finish());
        out
    }

    #[test]
    fn a_stream_that_passes_is_not_touched_and_read() {
        for step in [1, 7, 10_000] {
            let mut tap = tap(Dialect::Anthropic, Dialect::Anthropic);
            assert_eq!(run(&mut tap, MESSAGES, step), MESSAGES.as_bytes());
            assert!(tap.whole() && tap.state() == State::Begun && !tap.inside_event());
            assert_eq!(tap.usage().map(|u| (u.input, u.output)), Some((7, 5)));
            assert_eq!(tap.take_kept().as_deref(), Some(MESSAGES.as_bytes()));
        }
    }

    #[test]
    fn a_stream_is_translated_kept_and_read() {
        let mut tap = tap(Dialect::Anthropic, Dialect::OpenAiChat);
        let out = String::from_utf8(run(&mut tap, MESSAGES, 11)).unwrap();
        assert!(out.contains("\"content\":\"Hello\"") && out.contains("\"prompt_tokens\":7") && out.ends_with("data: [DONE]\n\n"), "{out}");
        assert_eq!(tap.usage().map(|u| (u.input, u.output)), Some((7, 5)));
        assert_eq!(tap.take_kept().as_deref(), Some(out.as_bytes()));
    }

    #[test]
    fn it_begins_with_content_and_not_before() {
        for to in [Dialect::Anthropic, Dialect::OpenAiChat, Dialect::OpenAiResponses] {
            let mut tap = tap(Dialect::Anthropic, to);
            let (start, rest) = MESSAGES.split_once("\n\n").unwrap();
            tap.push(start.as_bytes());
            tap.push(b"\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n");
            assert_eq!(tap.state(), State::Waiting, "{to:?}");
            let (open, _) = rest.split_once("\n\n").unwrap();
            tap.push(format!("{open}\n\n").as_bytes());
            assert_eq!(tap.state(), State::Begun, "{to:?}");
        }
        let mut chat = tap(Dialect::OpenAiChat, Dialect::OpenAiChat);
        chat.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n");
        assert_eq!(chat.state(), State::Waiting);
        chat.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"H\"},\"finish_reason\":null}]}\n\n");
        assert_eq!(chat.state(), State::Begun);
    }

    #[test]
    fn an_early_failure_is_told_apart_from_a_late_one() {
        for to in [Dialect::Anthropic, Dialect::OpenAiChat] {
            let mut early = tap(Dialect::Anthropic, to);
            early.push(OVERLOADED.as_bytes());
            assert_eq!((early.state(), early.failed().map(|e| e.message.as_str())), (State::Failed, Some("busy")), "{to:?}");
            let mut late = tap(Dialect::Anthropic, to);
            let half = MESSAGES.find("event: content_block_stop").unwrap();
            late.push(&MESSAGES.as_bytes()[..half]);
            late.push(OVERLOADED.as_bytes());
            assert_eq!((late.state(), late.whole()), (State::Begun, false));
            assert_eq!(late.fail(to, &Failure::UpstreamTimeout), b"", "the client was told already");
        }
        let mut chat = tap(Dialect::OpenAiChat, Dialect::OpenAiChat);
        chat.push(b"data: {\"error\":{\"message\":\"busy\",\"code\":\"x\"}}\n\n");
        assert_eq!((chat.state(), chat.failed().map(|e| e.message.as_str())), (State::Failed, Some("busy")));
    }

    #[test]
    fn a_stream_that_only_ends_is_told_to_have_broken_off() {
        let half = MESSAGES.find("event: content_block_stop").unwrap();
        for to in [Dialect::Anthropic, Dialect::OpenAiChat, Dialect::OpenAiResponses] {
            let mut tap = tap(Dialect::Anthropic, to);
            tap.push(&MESSAGES.as_bytes()[..half]);
            tap.finish();
            assert!(!tap.whole(), "{to:?}");
            let told = String::from_utf8(tap.fail(to, &Failure::UpstreamTimeout)).unwrap();
            assert!(told.contains("upstream_timeout"), "{to:?}: {told}");
        }
    }

    #[test]
    fn what_breaks_off_is_told_in_the_clients_words() {
        for (to, told) in [
            (Dialect::OpenAiChat, "data: {\"error\":{"),
            (Dialect::Anthropic, "event: error\ndata: {\"type\":\"error\","),
            (Dialect::OpenAiResponses, "event: error\ndata: {\"type\":\"error\","),
        ] {
            let mut tap = tap(to, to);
            tap.push(b"data: {}");
            let told_now = String::from_utf8(tap.fail(to, &Failure::UpstreamTimeout)).unwrap();
            assert!(told_now.starts_with(&format!("\n\n{told}")) && told_now.ends_with("\n\n"), "{told_now}");
        }
    }

    #[test]
    fn the_end_of_an_event_is_seen() {
        let mut b = Boundary::default();
        for (text, inside) in [("data: x", true), ("\n", true), ("\n", false), ("\n", false), ("d\r\n", true), ("\r\n", false)] {
            b.push(text.as_bytes());
            assert_eq!(b.inside, inside, "{text:?}");
        }
    }
}
