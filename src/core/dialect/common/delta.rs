//! What is answered, as it comes.

use super::answer::{Logprob, Stop};
use super::failure::WireError;
use super::request::Body;
use super::signature::Signature;
use super::usage::Usage;

/// One step of a streamed answer.
///
/// A stream is `Begin`, then for each choice parts that are opened, filled and closed, then `Stop`
/// for each choice, `Usage`, `End`. Parts are numbered from 0 in the order in which they open.
/// `Usage` may come more than once; the last one counts. After `Failed` nothing follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The answer begins.
    Begin {
        /// Its name at the provider; empty if it has none.
        id: String,
        /// The model, as the provider names it; empty if it does not say.
        model: String,
        /// What is known of usage now: Anthropic tells the input first.
        usage: Option<Usage>,
    },
    /// A part begins.
    Open {
        /// Which choice.
        choice: u64,
        /// Which part of it.
        at: u64,
        /// What it is.
        part: Opening,
    },
    /// More of a part.
    More {
        /// Which choice.
        choice: u64,
        /// Which part of it.
        at: u64,
        /// What comes.
        piece: Piece,
    },
    /// A part is whole.
    Close {
        /// Which choice.
        choice: u64,
        /// Which part of it.
        at: u64,
    },
    /// Log-probabilities of tokens that came with the deltas before.
    Logprobs {
        /// Which choice.
        choice: u64,
        /// The tokens.
        tokens: Vec<Logprob>,
    },
    /// A choice is whole.
    Stop {
        /// Which.
        choice: u64,
        /// Why.
        stop: Stop,
    },
    /// Tokens so far.
    Usage(Usage),
    /// Nothing happened; the connection lives.
    Ping,
    /// The answer is whole.
    End,
    /// It will never be.
    Failed(WireError),
}

/// What a part is, when it begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Opening {
    /// Text follows.
    Text,
    /// Text follows that stands in place of an answer.
    Refusal,
    /// Reasoning follows.
    Thinking,
    /// Arguments follow.
    ToolCall {
        /// The call's name.
        id: String,
        /// The tool.
        name: String,
        /// Gemini signs calls.
        signature: Option<Signature>,
    },
    /// It is here, whole.
    Whole(Body),
}

/// More of a part.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text of a text, a refusal, or reasoning.
    Text(String),
    /// Arguments, JSON text.
    Arguments(String),
    /// The signature of reasoning, or of the text before it.
    Signature(Signature),
}
