//! The common form: what the wire formats have in common, and what each has for itself.
//!
//! A format reads into it and writes from it; between two formats nothing else is needed. What only
//! one format knows stays beside it in `extra` (or as an opaque part) and comes back when the same
//! format is written; another format drops it by name, or refuses where dropping would change what
//! is asked.

mod answer;
mod delta;
mod failure;
mod reasoning;
mod request;
mod signature;
mod usage;

pub use answer::{Answer, Choice, Logprob, Stop, StopReason};
pub use delta::{Delta, Opening, Piece};
pub use failure::WireError;
pub use reasoning::{Effort, Reasoning};
pub use request::{AnswerFormat, Body, CacheMark, Message, Part, Request, Role, Sampling, Source, Tool, ToolChoice, ToolKind};
pub use signature::{Maker, Signature};
pub use usage::Usage;
