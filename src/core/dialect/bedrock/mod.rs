//! Amazon Bedrock's Converse, in both directions, with its binary event stream.
//!
//! Bytes are base64 in its JSON, so pictures and documents pass without being decoded. A cache point
//! is a block of its own here: it is read as a mark of what stands before it.

mod answer;
mod error;
mod event_stream;
mod read;
mod stream;
mod usage;
mod write;

pub(super) use answer::{decode_answer, encode_answer};
pub(super) use error::{decode_error, encode_error};
pub(super) use event_stream::Frames;
pub(super) use read::decode_request;
pub(super) use stream::{Reading, Writing};
pub(super) use usage::take as take_usage;
pub(super) use write::{count_body, encode_request, model_path};

/// A message as bytes, for tests.
#[cfg(test)]
pub(super) fn frame(name: &str, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    event_stream::write_message(&mut out, "event", name, payload);
    out
}

/// An exception as bytes, for tests.
#[cfg(test)]
pub(super) fn write_exception(out: &mut Vec<u8>, name: &str, payload: &str) {
    event_stream::write_message(out, "exception", name, payload);
}
