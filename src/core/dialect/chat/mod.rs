//! OpenAI Chat Completions, in both directions.
//!
//! Reasoning has no place in OpenAI's own answers. It is written as `reasoning_content`, which most
//! compatible providers use, and, where a provider wants it back signed, as `reasoning_details` in
//! OpenRouter's shape. Gemini's signatures of tool calls stand where Google's own compatible endpoint
//! puts them: `extra_content.google.thought_signature`.

mod answer;
mod error;
mod read;
mod reasoning;
mod stream;
mod usage;
mod write;

/// Longest name of an end user, in characters.
pub(super) const MAX_USER: usize = 64;

pub(super) use answer::{answer_of, decode_answer, encode_answer};
pub(super) use error::{decode_error, encode_error, error_in};
pub(super) use read::decode_request;
pub(super) use stream::{Reading, Writing};
pub(super) use usage::take as take_usage;
pub(super) use write::encode_request;
