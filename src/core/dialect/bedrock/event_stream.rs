//! Amazon's event-stream framing: `application/vnd.amazon.eventstream`, as its SDKs document it.
//!
//! A message is: its length and its headers' length (big-endian, 32 bits each), the CRC-32 of these
//! eight bytes, headers, payload, and the CRC-32 of all that came before.

use super::super::common::WireError;
use crate::sse::{Event, MAX_EVENT};

/// The two lengths and their checksum.
const PRELUDE: usize = 12;
/// The checksum at the end.
const TRAILER: usize = 4;

/// Reads one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    held: Vec<u8>,
}

impl Frames {
    /// Takes the next bytes; adds the messages that they complete. A message's event type becomes the
    /// event's name; of an exception, its type after `exception:`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), WireError> {
        self.held.extend_from_slice(bytes);
        let mut rest = self.held.as_slice();
        while let Some((message, tail)) = split(rest)? {
            out.push(event(message)?);
            rest = tail;
        }
        // What is held is moved only when something of it is done: a large message comes in many pieces.
        let left = rest.len();
        if left < self.held.len() {
            self.held.drain(..self.held.len().saturating_sub(left));
        }
        Ok(())
    }

    /// The stream is over; it must not be so within a message.
    pub fn finish(&mut self) -> Result<(), WireError> {
        if self.held.is_empty() { Ok(()) } else { Err(WireError::truncated()) }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

fn broken(why: &str) -> WireError {
    WireError::malformed(format!("an event-stream message {why}"))
}

/// A message and what follows it.
type Halves<'a> = (&'a [u8], &'a [u8]);

/// The first message and what follows it, if it is whole. Its checksums are verified.
fn split(bytes: &[u8]) -> Result<Option<Halves<'_>>, WireError> {
    let (Some(length), Some(sum), Some(prelude)) = (number(bytes, 0), number(bytes, 8), bytes.get(..8)) else { return Ok(None) };
    if crc32fast::hash(prelude) != sum {
        return Err(broken("has a wrong checksum"));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_EVENT {
        return Err(broken("is too large"));
    }
    if length < PRELUDE.saturating_add(TRAILER) {
        return Err(broken("is too short"));
    }
    let Some((message, tail)) = bytes.split_at_checked(length) else { return Ok(None) };
    let body = length.saturating_sub(TRAILER);
    if message.get(..body).map(crc32fast::hash) != number(message, body) {
        return Err(broken("has a wrong checksum"));
    }
    Ok(Some((message, tail)))
}

fn event(message: &[u8]) -> Result<Event, WireError> {
    let headers = number(message, 4).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let inner = message.get(PRELUDE..message.len().saturating_sub(TRAILER)).unwrap_or_default();
    let Some((mut headers, payload)) = inner.split_at_checked(headers) else { return Err(broken("has headers longer than itself")) };
    let (mut kind, mut event, mut exception) = (&b""[..], &b""[..], &b""[..]);
    while !headers.is_empty() {
        let (name, value, rest) = header(headers).ok_or_else(|| broken("has a header that cannot be read"))?;
        match name {
            b":message-type" => kind = value,
            b":event-type" => event = value,
            b":exception-type" | b":error-code" => exception = value,
            _ => {}
        }
        headers = rest;
    }
    let name = if kind == b"event" { event.to_vec() } else { [b"exception:", exception].concat() };
    Ok(Event { name, data: payload.to_vec() })
}

/// A header's name, its value's bytes, and what follows.
fn header(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (kind, rest) = rest.split_first()?;
    let length = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        6 | 7 => {
            let (two, rest) = rest.split_at_checked(2)?;
            let length = usize::from(u16::from_be_bytes(two.try_into().ok()?));
            let (value, rest) = rest.split_at_checked(length)?;
            return Some((name, value, rest));
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((name, value, rest))
}

/// Appends a message. `kind` is `event` or `exception`, `name` its type; both and the headers' names
/// are short.
pub(super) fn write_message(out: &mut Vec<u8>, kind: &str, name: &str, payload: &str) {
    let mut headers = Vec::new();
    for (header, value) in [(format!(":{kind}-type").as_str(), name), (":content-type", "application/json"), (":message-type", kind)] {
        headers.push(u8::try_from(header.len()).unwrap_or(0));
        headers.extend_from_slice(header.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let length = PRELUDE.saturating_add(headers.len()).saturating_add(payload.len()).saturating_add(TRAILER);
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_be_bytes());
    message.extend_from_slice(&u32::try_from(headers.len()).unwrap_or(0).to_be_bytes());
    let sum = crc32fast::hash(&message);
    message.extend_from_slice(&sum.to_be_bytes());
    message.extend_from_slice(&headers);
    message.extend_from_slice(payload.as_bytes());
    let sum = crc32fast::hash(&message);
    message.extend_from_slice(&sum.to_be_bytes());
    out.extend_from_slice(&message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    use proptest::prelude::*;

    fn theirs(message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        write_message_to(message, &mut out).unwrap();
        out
    }

    fn read(parts: &[&[u8]]) -> Result<Vec<Event>, WireError> {
        let (mut frames, mut out) = (Frames::default(), Vec::new());
        for part in parts {
            frames.push(part, &mut out)?;
        }
        frames.finish().map(|()| out)
    }

    fn header_value() -> impl Strategy<Value = HeaderValue> {
        prop_oneof![
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i8>().prop_map(HeaderValue::Byte),
            any::<i16>().prop_map(HeaderValue::Int16),
            any::<i32>().prop_map(HeaderValue::Int32),
            any::<i64>().prop_map(HeaderValue::Int64),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(|b| HeaderValue::ByteArray(b.into())),
            "[a-z]{0,9}".prop_map(|s| HeaderValue::String(s.into())),
            any::<u128>().prop_map(HeaderValue::Uuid),
        ]
    }

    proptest! {
        #[test]
        fn messages_of_amazons_own_library_are_read(
            name in "[a-zA-Z]{1,20}", payload: Vec<u8>, others in prop::collection::vec(("[a-z]{1,9}", header_value()), 0..5), cut in 1_usize..40,
        ) {
            let mut message = Message::new(payload.clone());
            for (name, value) in others {
                message = message.add_header(Header::new(name, value));
            }
            message = message.add_header(Header::new(":event-type", HeaderValue::String(name.clone().into())));
            message = message.add_header(Header::new(":message-type", HeaderValue::String("event".into())));
            let bytes = [theirs(&message), theirs(&message)].concat();
            let event = Event { name: name.into_bytes(), data: payload };
            let parts: Vec<&[u8]> = bytes.chunks(cut).collect();
            prop_assert_eq!(read(&parts), Ok(vec![event.clone(), event]));
            prop_assert!(read(&[&bytes[..bytes.len() - cut]]).is_err());
        }

        #[test]
        fn amazons_own_library_reads_our_messages(name in "[a-zA-Z]{1,20}", payload in "\\PC{0,40}") {
            let mut out = Vec::new();
            write_message(&mut out, "event", &name, &payload);
            let message = read_message_from(&mut out.as_slice()).unwrap();
            prop_assert_eq!(message.payload().as_ref(), payload.as_bytes());
            let told = message.headers().iter().find(|h| h.name().as_str() == ":event-type").unwrap();
            prop_assert_eq!(told.value().as_string().unwrap().as_str(), name);
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0_usize..60, bit in 0_u8..8) {
            let mut out = Vec::new();
            write_message(&mut out, "event", "messageStart", "{\"role\":\"assistant\"}");
            let at = at % out.len();
            out[at] ^= 1 << bit;
            // A longer length waits for more; nothing is ever taken for whole.
            prop_assert!(read(&[&out]).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = read(&[&bytes]);
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let prelude = |length: u32| {
            let mut bytes = [length.to_be_bytes(), 0_u32.to_be_bytes()].concat();
            bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
            bytes
        };
        for length in [0, 15, u32::try_from(MAX_EVENT).unwrap() + 1, u32::MAX] {
            assert!(Frames::default().push(&prelude(length), &mut Vec::new()).is_err(), "{length}");
        }
        assert!(Frames::default().push(&prelude(100), &mut Vec::new()).is_ok());
    }
}
