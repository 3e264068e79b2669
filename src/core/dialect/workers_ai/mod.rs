//! Cloudflare Workers AI as `run` speaks it, by its binding or at `/run/{model}`.
//!
//! Requests are chat completions without the model. Answers are chat completions for some models; for the
//! others the text is `response`, calls stand beside it, and nothing says why it ended. At the REST address
//! all of it lies in `result`.

mod error;
mod read;
mod write;

pub(super) use error::decode_error;
pub(super) use read::{Reading, decode_answer};
pub(super) use write::{encode_request, model_path};
