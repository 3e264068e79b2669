//! OpenAI Chat Completions.

pub(super) mod request;
mod usage;

pub use request::{ChatRequest, Edit, Wrong};
pub use usage::{UsageBody, usage_of_answer, usage_of_chunk};
