//! Server-sent events: a meter that watches a stream of chat-completion chunks go by, a reader that
//! takes any stream apart, and a writer.

mod meter;
mod reader;

pub use meter::{Bill, MAX_HELD, Meter};
pub(crate) use meter::{event_end, payload};
pub use reader::{Event, MAX_EVENT, Reader, TooLarge};

/// Appends an event. `name` may be empty; `data` must have no line breaks, as JSON text has none.
pub fn write_event(out: &mut Vec<u8>, name: &str, data: &str) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data.as_bytes());
    out.extend_from_slice(b"\n\n");
}
