//! Anthropic Messages, in both directions, and its count of tokens.
//!
//! Signatures of other makers travel in `thinking` blocks under their maker's name; Gemini's, which
//! belong to calls, in an empty block before the call.

mod answer;
mod claude;
mod error;
mod read;
mod stream;
mod usage;
mod write;

pub(super) use answer::{decode_answer, encode_answer};
pub(super) use claude::{claude_sampling, claude_thinking};
pub(super) use error::{decode_error, encode_error, error_in};
pub(super) use read::decode_request;
pub(super) use stream::{Reading, Writing};
pub(super) use usage::take as take_usage;
pub(super) use write::{count_body, encode_request};
