//! OpenAI Responses, in both directions.
//!
//! A turn of the model is several items here (reasoning, message, calls); in the common form it is one
//! message. What an item says of itself (id, status) stays beside its first part under `item`.
//!
//! A reasoning item's id and its encrypted content belong together: they travel as one signature,
//! `id.content`. Signatures of other makers travel in `encrypted_content` under their maker's name;
//! Gemini's, which belong to calls, in an item before the call.

mod answer;
mod read;
mod reading;
mod reasoning;
mod usage;
mod write;
mod writing;

pub(super) use answer::{decode_answer, encode_answer};
pub(super) use read::decode_request;
pub(super) use reading::Reading;
pub(super) use usage::take as take_usage;
pub(super) use write::{count_body, encode_request};
pub(super) use writing::Writing;
