//! Wire formats: what clients and providers speak.
//!
//! Six formats and one common form between them ([`common`]). A request is decoded from the client's
//! format and encoded for the target's; the answer goes the other way, whole or event by event. Where
//! both sides speak the same format nothing of this is used: the bytes pass ([`openai`] reads what
//! policy needs and edits in place).
//!
//! A translation never changes in silence what is asked. What a target has no words for is refused
//! when it is content or changes what kind of answer comes ([`Refused`]), and otherwise dropped and
//! named ([`Dropped`]).
//!
//! | format | client's path | target's path |
//! |---|---|---|
//! | [`Dialect::OpenAiChat`] | `/v1/chat/completions` | `/chat/completions` |
//! | [`Dialect::OpenAiResponses`] | `/v1/responses` | `/responses` |
//! | [`Dialect::Anthropic`] | `/v1/messages` | `/messages` |
//! | [`Dialect::Gemini`] | | `/models/{model}:generateContent` |
//! | [`Dialect::Bedrock`] | | `/model/{model}/converse` |
//! | [`Dialect::WorkersAi`] | | `/run/{model}` |
//!
//! # Rules of translation
//! - Rules given later in a conversation join the first ones where the target takes them apart from it
//!   (Messages, Gemini, Converse).
//! - Results of tools are one turn with what the user says after them. Chat completions take text only
//!   from tools: their pictures and documents follow as the user's.
//! - A conversation of rules alone is the user's where rules stand apart from it.
//! - Text of white space alone is left out where it is refused (Messages, Converse). A stop text of it is dropped as
//!   `stop` for Claude.
//! - Reasoning goes back only to the maker that signed it; other reasoning is dropped as `thinking`.
//! - Thinking is switched on only where reasoning is asked for, by a number for models that take one and
//!   by a word for the others. It is dropped as `reasoning` where the target would refuse it: with forced
//!   tools, in the middle of a turn whose reasoning is lost, without room for it.
//! - A temperature above 1 is sent as 1 where the scale ends there. Claude gets no `temperature`, `top_p`
//!   or `top_k` while it thinks or since version 4.7, and never the first two together.
//! - OpenAI's reasoning models get no temperature, penalties, log-probabilities or stop texts, which they refuse;
//!   those since 5.1 get them where reasoning is switched off.
//! - Claude is held to the part of a JSON schema that it knows; the rest is told in descriptions and dropped as
//!   `schema.…`. OpenAI is held strictly only to schemas that leave nothing open (`strict`).
//! - A name of the end user that would be refused is dropped as `user`: longer than 64 characters for OpenAI, or an
//!   address or a number for Claude.
//! - Cache marks go between Messages and Converse; elsewhere they are dropped as `cache_control`.
//! - "Some JSON" (`json_object`) is dropped as `response_format` where only schemas are known.
//! - Several choices, references that only another provider can resolve, sound, and tools that a provider
//!   runs itself are refused where the target has none.
//! - Answers carry what the client's format has a place for. Log-probabilities go between OpenAI's formats
//!   and Gemini. What a provider ran for itself (searches, code) is left out; its text is not.
//! - Arguments of a call that are no JSON object stand under `malformed` in formats that want an object.

mod anthropic;
pub(crate) mod base64;
mod bedrock;
mod chat;
pub mod common;
mod count;
pub mod embeddings;
mod failure;
mod fields;
mod foreign;
mod gemini;
pub mod json;
mod logprobs;
mod media;
mod models;
pub mod openai;
mod parts;
mod passing;
mod path;
mod responses;
mod schema;
pub mod sigv4;
mod stream;
pub mod tap;
#[cfg(test)]
mod tests;
mod unfinished;
mod workers_ai;

pub use fields::{Dropped, Refused};
pub use models::reasons;
pub use passing::Passing;
pub use stream::{Decoder, Encoder, MAX_CONTENT, MAX_PARTS, Translator};
pub use unfinished::{GO_ON, MAX_TEXT, Seam, Unfinished};

use common::{Answer, Reasoning, Request, WireError};
use serde::{Deserialize, Serialize};

/// A wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// OpenAI Chat Completions, and all who speak it.
    #[serde(rename = "openai")]
    OpenAiChat,
    /// OpenAI Responses.
    #[serde(rename = "responses")]
    OpenAiResponses,
    /// Anthropic Messages.
    Anthropic,
    /// Google Gemini, `generateContent`.
    Gemini,
    /// Amazon Bedrock, `Converse`.
    Bedrock,
    /// Cloudflare Workers AI, `run`. Only targets speak it.
    #[serde(rename = "workers_ai")]
    WorkersAi,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// Output tokens for formats that need a bound, where the caller set none.
    pub max_output: u64,
    /// Quirk: the provider knows `max_tokens` only, not OpenAI's `max_completion_tokens`.
    pub only_max_tokens: bool,
    /// Whether the model reasons. One that does not refuses every word about it, so they are dropped.
    pub reasons: bool,
    /// Quirk of Vertex: calls have no ids there, and are told apart by their places.
    pub no_call_ids: bool,
    /// Quirk of Mistral: it refuses to be told who the end user is.
    pub no_user: bool,
}

impl<'a> Target<'a> {
    /// A target without quirks.
    pub fn new(model: &'a str, max_output: u64) -> Target<'a> {
        Target { model, max_output, only_max_tokens: false, reasons: true, no_call_ids: false, no_user: false }
    }
}

/// A request for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What follows the provider's base URL, query included.
    pub path: String,
    /// JSON.
    pub body: Vec<u8>,
    /// What the target could not be told.
    pub dropped: Dropped,
}

/// How an answer presents itself to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Face {
    /// Its name: `chatcmpl-…`, `msg_…`, `resp_…`.
    pub id: String,
    /// The model as the client is to see it.
    pub model: String,
    /// When, in seconds since the epoch.
    pub created: u64,
    /// Whether the client asked for usage in the stream (Chat Completions only).
    pub include_usage: bool,
}

impl Dialect {
    /// Reads a request. `path` is needed where the format names model and streaming there (Gemini,
    /// Bedrock); the others ignore it.
    ///
    /// # Errors
    /// A field is missing or wrong; says which.
    pub fn decode_request(self, path: &str, body: &[u8]) -> Result<Request, Refused> {
        match self {
            Dialect::OpenAiChat | Dialect::WorkersAi => chat::decode_request(body),
            Dialect::OpenAiResponses => responses::decode_request(body),
            Dialect::Anthropic => anthropic::decode_request(body),
            Dialect::Gemini => gemini::decode_request(path, body),
            Dialect::Bedrock => bedrock::decode_request(path, body),
        }
    }

    /// Writes a request for a target of this format.
    ///
    /// # Errors
    /// The format has no words for what is asked; says for what.
    pub fn encode_request(self, request: &Request, target: &Target<'_>) -> Result<Encoded, Refused> {
        if request.reasoning.is_some() && !target.reasons {
            let plain = Request { reasoning: None, ..request.clone() };
            let mut out = self.encode_request(&plain, target)?;
            out.dropped.add_if(request.reasoning.as_ref().is_some_and(Reasoning::asks), "reasoning");
            return Ok(out);
        }
        match self {
            Dialect::OpenAiChat => chat::encode_request(request, target),
            Dialect::OpenAiResponses => responses::encode_request(request, target),
            Dialect::Anthropic => anthropic::encode_request(request, target),
            Dialect::Gemini => gemini::encode_request(request, target),
            Dialect::Bedrock => bedrock::encode_request(request, target),
            Dialect::WorkersAi => workers_ai::encode_request(request, target),
        }
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// It is none: the provider's own error inside a success, or bytes that cannot be read.
    pub fn decode_answer(self, body: &[u8]) -> Result<Answer, WireError> {
        match self {
            Dialect::OpenAiChat => chat::decode_answer(body),
            Dialect::OpenAiResponses => responses::decode_answer(body),
            Dialect::Anthropic => anthropic::decode_answer(body),
            Dialect::Gemini => gemini::decode_answer(body),
            Dialect::Bedrock => bedrock::decode_answer(body),
            Dialect::WorkersAi => workers_ai::decode_answer(body),
        }
    }

    /// Writes a whole answer.
    pub fn encode_answer(self, answer: &Answer, face: &Face) -> Vec<u8> {
        let fields = match self {
            Dialect::OpenAiChat | Dialect::WorkersAi => chat::encode_answer(answer, face),
            Dialect::OpenAiResponses => responses::encode_answer(answer, face),
            Dialect::Anthropic => anthropic::encode_answer(answer, face),
            Dialect::Gemini => gemini::encode_answer(answer, face),
            Dialect::Bedrock => bedrock::encode_answer(answer),
        };
        fields.to_text().into_bytes()
    }

    /// Reads the object in which an answer tells usage.
    fn read_usage(self, mut told: json::Fields) -> Option<common::Usage> {
        match self {
            Dialect::OpenAiChat | Dialect::WorkersAi => chat::take_usage(&mut told),
            Dialect::OpenAiResponses => responses::take_usage(&mut told),
            Dialect::Anthropic => anthropic::take_usage(&mut told),
            Dialect::Gemini => gemini::take_usage(&mut told),
            Dialect::Bedrock => bedrock::take_usage(&mut told),
        }
    }

    /// A reader for one streamed answer.
    pub fn decoder(self) -> Decoder {
        Decoder::new(self)
    }

    /// A writer for one streamed answer.
    pub fn encoder(self, face: Face) -> Encoder {
        Encoder::new(self, face)
    }

    /// Reads the body of an answer whose status is an error. Bodies that are not the format's become a
    /// message of their own first characters.
    pub fn decode_error(self, body: &[u8]) -> WireError {
        let read = json::Json::read(body).ok().and_then(json::Json::into_fields).and_then(|fields| match self {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => chat::decode_error(fields),
            Dialect::Anthropic => anthropic::decode_error(fields),
            Dialect::Gemini => gemini::decode_error(fields),
            Dialect::Bedrock => bedrock::decode_error(fields),
            Dialect::WorkersAi => workers_ai::decode_error(fields),
        });
        read.unwrap_or_else(|| WireError {
            message: String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(MAX_FOREIGN_MESSAGE).collect(),
            ..WireError::default()
        })
    }

    /// Writes an error's body. `status` is what goes with it; Gemini repeats it inside.
    pub fn encode_error(self, status: u16, error: &WireError) -> Vec<u8> {
        let fields = match self {
            Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::WorkersAi => chat::encode_error(error),
            Dialect::Anthropic => anthropic::encode_error(error),
            Dialect::Gemini => gemini::encode_error(status, error),
            Dialect::Bedrock => bedrock::encode_error(error),
        };
        fields.to_text().into_bytes()
    }

    /// Whether its words are OpenAI's: who uses them is told by OpenAI what it does not take.
    fn is_openais(self) -> bool {
        matches!(self, Dialect::OpenAiChat | Dialect::OpenAiResponses)
    }

    /// The media type of a streamed answer.
    pub fn stream_type(self) -> &'static str {
        if self == Dialect::Bedrock { "application/vnd.amazon.eventstream" } else { "text/event-stream" }
    }
}

/// Characters of an error body that is in no known shape.
const MAX_FOREIGN_MESSAGE: usize = 500;
