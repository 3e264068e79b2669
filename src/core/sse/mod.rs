//! Server-sent events: a meter that watches a stream of chat-completion chunks go by.

mod meter;

pub use meter::{Bill, MAX_HELD, Meter};
