//! OpenAI Chat Completions.

pub(super) mod request;
mod usage;

pub use request::{ChatRequest, Edit, Wrong};
pub(super) use usage::tier;
pub use usage::{UsageBody, usage_of_answer, usage_of_chunk};
