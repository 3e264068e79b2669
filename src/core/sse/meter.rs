//! The stream meter: counts, takes the usage, and drops the usage event when nobody asked for it, or adds
//! the cost to it for who did.
//!
//! Bytes that need no change are not copied. Event boundaries follow the HTML standard's
//! `text/event-stream`: lines end with LF, CRLF or CR, a blank line ends an event.

use crate::dialect::Dialect;
use crate::dialect::common::WireError;
use crate::dialect::json::from_bytes;
use crate::dialect::openai::{UsageBody, usage_of_chunk};
use crate::price::{Price, TierAsked, Usage};
use crate::units::NanoUsd;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Most bytes of one unfinished event that are held back. A longer event goes out unexamined.
pub const MAX_HELD: usize = 256 * 1024;

/// What the client is to pay, told beside the usage.
#[derive(Clone, Debug, PartialEq)]
pub struct Bill {
    /// What the answer's tokens cost.
    pub price: Price,
    /// The service tier that the request asks for.
    pub asked: TierAsked,
    /// What attempts before this one cost.
    pub before: NanoUsd,
}

/// Watches one stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meter {
    /// Drop the event that only tells usage: the client did not ask for it.
    strip: bool,
    /// Add the cost to the usage.
    bill: Option<Bill>,
    /// The unfinished event.
    held: Vec<u8>,
    /// Where in `held` the search for its end goes on.
    scanned: usize,
    /// Inside an event that is too long to hold.
    skipping: bool,
    /// Bytes that went out, while they are to be kept.
    kept: Option<Vec<u8>>,
    keep_at_most: usize,
    usage: Option<Usage>,
    events: u64,
    content_tokens: u64,
    finished: bool,
    done: bool,
    /// A call of a tool has begun.
    calling: bool,
    failed: Option<WireError>,
}

impl Meter {
    /// A meter for one stream. `keep` is the most bytes to keep a copy of, 0 for no copy.
    pub fn new(strip: bool, keep: usize) -> Meter {
        Meter { strip, kept: (keep > 0).then(Vec::new), keep_at_most: keep, ..Meter::default() }
    }

    /// Adds `cost_usd` to the usage that the client sees. A copy that is kept does not have it: a stored
    /// answer costs nothing.
    #[must_use]
    pub fn billed(mut self, bill: Option<Bill>) -> Meter {
        self.bill = bill;
        self
    }

    /// So much more is to be paid beside the answer.
    pub fn besides(&mut self, cost: NanoUsd) {
        if let Some(bill) = &mut self.bill {
            bill.before = bill.before.plus(cost);
        }
    }

    /// Whether events may change, so that each is held until it is whole.
    fn edits(&self) -> bool {
        self.strip || self.bill.is_some()
    }

    /// Takes the next bytes from upstream. `None`: pass them on as they are. `Some`: pass these on
    /// instead (they may be empty).
    pub fn push(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        let out = self.examine(chunk);
        self.keep(if self.strip { out.as_deref().unwrap_or(chunk) } else { chunk });
        out
    }

    fn examine(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        let joined;
        let untouched = self.held.is_empty();
        let data = if untouched {
            chunk
        } else {
            let mut whole = std::mem::take(&mut self.held);
            whole.extend_from_slice(chunk);
            joined = whole;
            joined.as_slice()
        };
        let (mut start, mut from) = (0, std::mem::take(&mut self.scanned));
        let mut edits: Vec<Edit> = Vec::new();
        while let Some(end) = event_end(data, from) {
            let event = data.get(start..end).unwrap_or_default();
            if std::mem::take(&mut self.skipping) {
                // The tail of an event that was too long to read.
            } else if let Some(told) = self.event(event) {
                edits.extend(self.edit(told, event, (start, end)));
            }
            (start, from) = (end, end);
        }
        let tail = data.get(start..).unwrap_or_default();
        if tail.len() > MAX_HELD {
            self.skipping = true;
        }
        if self.skipping {
            // Enough to recognise a blank line that the next chunk completes.
            let last = tail.get(tail.len().saturating_sub(2)..).unwrap_or_default();
            return self.skip(data, last, &edits);
        }
        self.held = tail.to_vec();
        self.scanned = tail.len().saturating_sub(2);
        if !self.edits() || (untouched && tail.is_empty() && edits.is_empty()) {
            return None;
        }
        Some(edited(data, start, &edits))
    }

    /// What becomes of an event that tells usage.
    fn edit(&self, told: UsageBody, event: &[u8], at: (usize, usize)) -> Option<Edit> {
        if self.strip {
            return told.only_usage.then(|| (at, Vec::new()));
        }
        let bill = self.bill.as_ref()?;
        let cost = bill.before.plus(bill.price.cost(told.usage.asked_in(bill.asked)));
        let place = usage_at(event)?;
        let text = [event.get(..place)?, format!("\"cost_usd\":\"{cost}\",").as_bytes(), event.get(place..)?].concat();
        Some((at, text))
    }

    /// Inside an event that is too long: everything goes out, only its end is looked for.
    fn skip(&mut self, data: &[u8], last: &[u8], edits: &[Edit]) -> Option<Vec<u8>> {
        // Where events are held the two bytes are sent with what completes them, so that nothing goes out twice.
        self.held = last.to_vec();
        self.scanned = 0;
        if !self.edits() {
            return None;
        }
        Some(edited(data, data.len().saturating_sub(last.len()), edits))
    }

    /// Whether part of an event went out whose end is still to come.
    pub fn inside_event(&self) -> bool {
        self.skipping || (!self.edits() && !self.held.is_empty())
    }

    /// The stream is over: what was held back goes out.
    pub fn finish(&mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.held);
        if !self.skipping && !rest.is_empty() {
            // A last event without its blank line: look at it, but keep it.
            self.event(&rest);
        }
        if !self.edits() {
            return Vec::new();
        }
        if self.strip {
            self.keep(&rest);
        }
        rest
    }

    /// Looks at one event. The usage that it tells.
    fn event(&mut self, event: &[u8]) -> Option<UsageBody> {
        let payload = payload(event)?;
        if payload == b"[DONE]" {
            self.done = true;
            return None;
        }
        self.events = self.events.saturating_add(1);
        let finish = value_after(payload, b"\"finish_reason\"").filter(|v| v.first() == Some(&b'"'));
        // OpenRouter's word for a provider that failed midway.
        let broken = finish.is_some_and(|v| v.starts_with(b"\"error\""));
        self.finished |= finish.is_some() && !broken;
        for name in [&b"\"content\""[..], b"\"reasoning_content\"", b"\"arguments\"", b"\"refusal\""] {
            if let Some(text) = value_after(payload, name).and_then(|v| v.strip_prefix(b"\"")) {
                let bytes = string_len(text);
                let tokens = if bytes == 0 { 0 } else { bytes.div_ceil(4).max(1) };
                self.content_tokens = self.content_tokens.saturating_add(tokens);
            }
        }
        self.calling |= value_after(payload, b"\"tool_calls\"").is_some_and(|v| v.first() == Some(&b'['));
        let error = value_after(payload, b"\"error\"").is_some_and(|v| v.first() == Some(&b'{'));
        if error && (broken || value_after(payload, b"\"choices\"").is_none()) {
            self.failed = Some(Dialect::OpenAiChat.decode_error(payload));
        }
        value_after(payload, b"\"usage\"").filter(|v| v.first() == Some(&b'{'))?;
        let told = usage_of_chunk(payload)?;
        self.usage = Some(told.usage);
        Some(told)
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(kept) = &mut self.kept {
            if kept.len().saturating_add(bytes.len()) > self.keep_at_most {
                self.kept = None;
            } else {
                kept.extend_from_slice(bytes);
            }
        }
    }

    /// The usage that the provider told, the last one if it told several.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Output tokens estimated from the text that came by: a quarter of its bytes, at least one an event.
    pub fn estimated_output(&self) -> u64 {
        self.content_tokens
    }

    /// Events seen, `[DONE]` not counted.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether some of the answer is there: text, a call, or its end.
    pub fn begun(&self) -> bool {
        self.content_tokens > 0 || self.calling || self.skipping || self.whole()
    }

    /// What the provider said where it failed the stream.
    pub fn failed(&self) -> Option<&WireError> {
        self.failed.as_ref()
    }

    /// Whether the answer is whole: it said why it finished, or that it is done.
    pub fn whole(&self) -> bool {
        self.finished || self.done
    }

    /// A copy of a whole answer, if one was asked for and fits.
    pub fn take_kept(&mut self) -> Option<Vec<u8>> {
        if self.done && self.finished { self.kept.take() } else { None }
    }
}

/// A range of bytes, and what stands there instead.
type Edit = ((usize, usize), Vec<u8>);

/// `data[..end]` with the edits made.
fn edited(data: &[u8], end: usize, edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(end);
    let mut at = 0;
    for ((from, to), instead) in edits {
        out.extend_from_slice(data.get(at..*from).unwrap_or_default());
        out.extend_from_slice(instead);
        at = *to;
    }
    out.extend_from_slice(data.get(at..end).unwrap_or_default());
    out
}

/// Index in an event after the brace that opens the usage.
fn usage_at(event: &[u8]) -> Option<usize> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        usage: &'a RawValue,
    }
    let payload = payload(event)?;
    let usage = from_bytes::<Body<'_>>(payload)?.usage.get();
    // Both are parts of the event: the distance of their beginnings is where the usage stands.
    let at = usage.as_ptr().addr().checked_sub(event.as_ptr().addr())?;
    let empty = usage.trim_start_matches('{').trim_start().starts_with('}');
    (usage.starts_with('{') && !empty).then(|| at.saturating_add(1))
}

/// Index after the blank line that ends the first event at or after `from`.
pub(crate) fn event_end(data: &[u8], from: usize) -> Option<usize> {
    let mut i = from;
    while let Some(byte) = data.get(i) {
        let next = data.get(i.saturating_add(1));
        let after = data.get(i.saturating_add(2));
        let end = match (byte, next, after) {
            (b'\n', Some(b'\n'), _) | (b'\r', Some(b'\r'), _) => Some(i.saturating_add(2)),
            (b'\n', Some(b'\r'), Some(b'\n')) => Some(i.saturating_add(3)),
            _ => None,
        };
        if end.is_some() {
            return end;
        }
        i = i.saturating_add(1);
    }
    None
}

/// The data of an event that has exactly one data line; all that chat completions send.
pub(crate) fn payload(event: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    for line in event.split(|b| *b == b'\n' || *b == b'\r') {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        if let Some(data) = line.strip_prefix(b"data:") {
            if found.is_some() {
                return None;
            }
            found = Some(data.strip_prefix(b" ").unwrap_or(data));
        }
    }
    found.map(<[u8]>::trim_ascii_end)
}

/// What follows `"name" :` at its first occurrence that has a colon.
fn value_after<'a>(payload: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = payload;
    loop {
        let at = rest.windows(name.len()).position(|w| w == name)?;
        rest = rest.get(at.saturating_add(name.len())..)?;
        if let Some(value) = rest.trim_ascii_start().strip_prefix(b":") {
            return Some(value.trim_ascii_start());
        }
    }
}

/// Bytes up to the closing quote.
fn string_len(text: &[u8]) -> u64 {
    let mut escaped = false;
    for (n, byte) in (0_u64..).zip(text) {
        match byte {
            b'\\' => escaped = !escaped,
            b'"' if !escaped => return n,
            _ => escaped = false,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hello wörld\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":3}}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn run(strip: bool, parts: &[&[u8]]) -> (Vec<u8>, Meter) {
        run_with(Meter::new(strip, 1 << 20), parts)
    }

    /// A dollar for a million tokens that go in, two for those that come out; attempts before cost one.
    fn billed() -> Meter {
        let spec: crate::price::PriceSpec = serde_json::from_str(r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}"#).unwrap();
        let before = NanoUsd::from_usd("1").unwrap();
        Meter::new(false, 1 << 20).billed(Some(Bill { price: spec.price("").unwrap(), asked: TierAsked::Auto, before }))
    }

    fn run_with(mut meter: Meter, parts: &[&[u8]]) -> (Vec<u8>, Meter) {
        let mut out = Vec::new();
        for part in parts {
            out.extend(meter.push(part).unwrap_or_else(|| part.to_vec()));
        }
        out.extend(meter.finish());
        (out, meter)
    }

    #[test]
    fn usage_is_taken_and_dropped_only_when_nobody_asked() {
        let all = [CHUNK, STOP, USAGE, DONE].concat();
        let (out, mut meter) = run(true, &[all.as_bytes()]);
        assert_eq!(String::from_utf8(out.clone()).unwrap(), [CHUNK, STOP, DONE].concat());
        assert_eq!(meter.usage(), Some(Usage { input: 9, output: 4, cached_input: 3, ..Usage::default() }));
        assert!(meter.whole());
        assert_eq!(meter.estimated_output(), 3);
        assert_eq!(meter.take_kept(), Some(out));
        let (out, _) = run(false, &[all.as_bytes()]);
        assert_eq!(out, all.as_bytes());
    }

    #[test]
    fn the_cost_is_told_beside_the_usage_and_not_kept() {
        let all = [CHUNK, STOP, USAGE, DONE].concat();
        let (out, mut meter) = run_with(billed(), &[all.as_bytes()]);
        let told = USAGE.replace("\"usage\":{", "\"usage\":{\"cost_usd\":\"1.000017\",");
        assert_eq!(String::from_utf8(out).unwrap(), [CHUNK, STOP, &told, DONE].concat());
        assert_eq!(meter.take_kept(), Some(all.into_bytes()));
        assert_eq!(billed().push(CHUNK.as_bytes()), None);
        let empty = "data: {\"usage\":{}}\n\n";
        assert_eq!(run_with(billed(), &[empty.as_bytes()]).0, empty.as_bytes());
    }

    #[test]
    fn untouched_chunks_are_not_copied() {
        let mut meter = Meter::new(true, 0);
        assert_eq!(meter.push(CHUNK.as_bytes()), None);
        assert_eq!(meter.push(USAGE.as_bytes()), Some(Vec::new()));
    }

    #[test]
    fn a_broken_answer_is_not_whole_and_not_kept() {
        let (out, mut meter) = run(true, &[CHUNK.as_bytes(), b"data: {\"cho"]);
        assert!(out.ends_with(b"data: {\"cho") && !meter.whole());
        assert_eq!(meter.take_kept(), None);
    }

    #[test]
    fn an_end_by_error_is_no_end() {
        // As OpenRouter tells that a provider failed midway.
        let error = "data: {\"error\":{\"code\":502,\"message\":\"no luck\"},\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n";
        let (_, mut meter) = run(false, &[CHUNK.as_bytes(), error.as_bytes()]);
        assert!(!meter.whole() && meter.failed().is_some_and(|e| e.message == "no luck"));
        assert_eq!(meter.take_kept(), None);
        let fine = "data: {\"error\":{},\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let (_, meter) = run(false, &[fine.as_bytes()]);
        assert!(meter.whole() && meter.failed().is_none());
    }

    #[test]
    fn usage_beside_content_stays() {
        let both = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
        let (out, meter) = run(true, &[both.as_bytes()]);
        assert_eq!(out, both.as_bytes());
        assert_eq!(meter.usage().map(|u| u.output), Some(2));
    }

    #[test]
    fn the_word_usage_in_the_text_is_no_usage() {
        let text = "data: {\"choices\":[{\"delta\":{\"content\":\"say \\\"usage\\\":{}\"}}]}\n\n";
        let (out, meter) = run(true, &[text.as_bytes()]);
        assert_eq!((out.as_slice(), meter.usage()), (text.as_bytes(), None));
    }

    #[test]
    fn other_line_ends_comments_and_a_byte_order_mark() {
        for end in ["\r\n", "\r"] {
            let all = format!("\u{feff}: hi\n\n{CHUNK}{STOP}{USAGE}{DONE}").replace('\n', end);
            let (out, meter) = run(true, &[all.as_bytes()]);
            assert!(!String::from_utf8(out).unwrap().contains("prompt_tokens"), "{end:?}");
            assert!(meter.whole() && meter.usage().is_some());
        }
    }

    #[test]
    fn an_endless_event_is_not_held() {
        let long = vec![b'a'; 3 * MAX_HELD];
        let mut meter = Meter::new(true, 0);
        let mut out = meter.push(&long).unwrap();
        assert!(out.len() >= 2 * MAX_HELD);
        out.extend(meter.push(b"\n").unwrap());
        out.extend(meter.push(b"\n").unwrap());
        out.extend(meter.push([CHUNK, USAGE].concat().as_bytes()).unwrap_or_default());
        out.extend(meter.finish());
        assert_eq!(out, [&long, &b"\n\n"[..], CHUNK.as_bytes()].concat());
        assert!(meter.usage().is_some());
    }

    proptest! {
        #[test]
        fn it_sees_the_events_that_eventsource_stream_sees(order in prop::collection::vec(0_usize..7, 0..12), end in prop::sample::select(vec!["\n", "\r\n", "\r"])) {
            use eventsource_stream::Eventsource;
            use futures_util::{StreamExt, stream};
            let parts = [CHUNK, STOP, USAGE, DONE, ": ping\n\n", "event: x\nid: 1\ndata:{}\n\n", "retry: 5\n\n"];
            // The other waits after a CR whether an LF follows: something must.
            let all = order.iter().map(|i| parts[*i]).collect::<String>().replace('\n', end) + ":\n\n";
            let (_, meter) = run(false, &[all.as_bytes()]);
            let source = stream::iter([Ok::<_, std::convert::Infallible>(all.into_bytes())]);
            let events: Vec<_> = futures_executor::block_on(source.eventsource().collect());
            let data: Vec<String> = events.into_iter().map(|e| e.unwrap().data).collect();
            let done = data.iter().any(|d| d == "[DONE]");
            let seen = data.iter().filter(|d| *d != "[DONE]").count();
            prop_assert_eq!(meter.events(), seen as u64);
            prop_assert_eq!(meter.usage().is_some(), data.iter().any(|d| d.contains("prompt_tokens")));
            prop_assert_eq!(meter.whole(), done || data.iter().any(|d| d.contains("\"stop\"")));
        }

        #[test]
        fn cutting_the_bytes_elsewhere_changes_nothing(order in prop::collection::vec(0_usize..5, 0..12), cuts in prop::collection::vec(1_usize..60, 1..80), strip: bool, bill: bool, crlf: bool) {
            let parts = [CHUNK, STOP, USAGE, DONE, ": ping\n\n"];
            let mut all: String = order.iter().map(|i| parts[*i]).collect();
            if crlf {
                all = all.replace('\n', "\r\n");
            }
            let meter = || if bill { billed() } else { Meter::new(strip, 1 << 20) };
            let (whole, whole_meter) = run_with(meter(), &[all.as_bytes()]);
            let (mut rest, mut pieces, mut cut) = (all.as_bytes(), Vec::new(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (head, tail) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                pieces.push(head);
                rest = tail;
            }
            let (out, meter) = run_with(meter(), &pieces);
            prop_assert_eq!(out, whole);
            prop_assert_eq!((meter.usage(), meter.events(), meter.whole(), meter.estimated_output()), (whole_meter.usage(), whole_meter.events(), whole_meter.whole(), whole_meter.estimated_output()));
        }
    }
}
