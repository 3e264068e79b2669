//! Google Gemini's `generateContent`, in both directions.
//!
//! Schemas are sent as JSON schema (`parametersJsonSchema`, `responseJsonSchema`), so nothing of them
//! is lost. What a tool answered is an object here: a text that is one is sent as it is, any other
//! text as `{"output": …}`, a failure as `{"error": …}`.

mod answer;
mod error;
mod read;
mod stream;
mod usage;
mod write;

pub(super) use answer::{decode_answer, encode_answer};
pub(super) use error::{decode_error, encode_error, error_in};
pub(super) use read::decode_request;
pub(super) use stream::{Reading, Writing};
pub(super) use usage::take as take_usage;
pub(super) use write::{encode_request, generate_body, model_path};
