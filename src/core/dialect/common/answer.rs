//! What is answered, as a whole.

use super::super::Dialect;
use super::super::json::Fields;
use super::request::Part;
use super::usage::Usage;
use serde_json::Number;

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The format that it came in.
    pub origin: Dialect,
    /// Its name at the provider; empty if it has none.
    pub id: String,
    /// The model that answered, as the provider names it; empty if it does not say.
    pub model: String,
    /// When, in seconds since the epoch, where the provider tells.
    pub created: Option<u64>,
    /// The choices, at least one.
    pub choices: Vec<Choice>,
    /// Tokens.
    pub usage: Option<Usage>,
    /// Fields that only the origin's format knows.
    pub extra: Fields,
}

/// One of the answers to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Its place, from 0.
    pub index: u64,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub stop: Option<Stop>,
    /// Log-probabilities of its tokens.
    pub logprobs: Vec<Logprob>,
    /// Fields that only the origin's format knows.
    pub extra: Fields,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// In common words.
    pub reason: StopReason,
    /// In the provider's.
    pub raw: String,
    /// The text that ended it, where the provider tells.
    pub sequence: Option<String>,
}

impl Stop {
    /// Without a sequence.
    pub fn new(reason: StopReason, raw: impl Into<String>) -> Stop {
        Stop { reason, raw: raw.into(), sequence: None }
    }
}

/// Why an answer ended, in common words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was complete.
    End,
    /// Most output tokens were reached.
    Length,
    /// The context window was full.
    ContextFull,
    /// A stop sequence came.
    Sequence,
    /// The model waits for tools.
    ToolCalls,
    /// A filter stopped it.
    Filtered,
    /// The model refused.
    Refusal,
    /// The provider pauses a long turn; send it back to go on.
    Paused,
    /// The model wrote a call that is none.
    Malformed,
    /// Something else.
    Other,
}

/// A token and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob {
    /// The token's text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: Number,
    /// Its bytes, where the provider tells.
    pub bytes: Option<Vec<u8>>,
    /// Alternatives, most likely first; theirs are empty.
    pub top: Vec<Logprob>,
}
