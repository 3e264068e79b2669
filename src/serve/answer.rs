//! What came back from a target: an answer, or the reason that it is none.

use super::asked::Endpoint;
use super::outgoing::Wire;
use super::read::Call;
use crate::ports::{Incoming, NoAnswer};
use serde::de::IgnoredAny;
use tollgate_core::dialect::common::{self, WireError};
use tollgate_core::dialect::embeddings::Embeddings;
use tollgate_core::dialect::openai::usage_of_answer;
use tollgate_core::dialect::tap::Tap;
use tollgate_core::dialect::{Dialect, Face};
use tollgate_core::failure::Failure;
use tollgate_core::keyring::Verdict;
use tollgate_core::price::Usage;
use tollgate_core::protocol::Outcome;

/// Longest wait that an upstream's `retry-after` may ask of a client, in seconds.
const MAX_RETRY_AFTER: u64 = 60;

/// An answer that can be given.
pub enum Content {
    /// Event by event.
    Stream(Box<Tap>),
    /// At once.
    Whole(Whole),
}

/// An answer that is there.
pub struct Whole {
    /// The client's bytes.
    pub bytes: Vec<u8>,
    /// Whether they are the upstream's own.
    pub own: bool,
    /// The usage that the provider told.
    pub usage: Option<Usage>,
}

/// Why one target gave no usable answer.
#[derive(Debug)]
pub struct Miss {
    /// For the client: no more than provider and kind.
    pub told: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The provider's status; 0 if it was never asked.
    pub status: u16,
    /// Whether the provider may have worked, and will charge the input.
    pub may_charge: bool,
    /// Seconds that it asked to wait.
    pub retry_after: Option<u64>,
    /// The request is to blame.
    pub refused: Option<Failure>,
    /// Whether another target would say the same.
    pub last: bool,
    /// What it says about the key.
    pub key: Verdict,
}

impl Miss {
    /// A target that gave nothing usable.
    pub fn new(provider: &str, told: &str, outcome: Outcome, status: u16, may_charge: bool) -> Miss {
        Miss {
            told: format!("{provider}: {told}"),
            outcome,
            status,
            may_charge,
            retry_after: None,
            refused: None,
            last: false,
            key: Verdict::Unrelated,
        }
    }

    /// A stream that the provider failed before it began.
    pub fn failed_stream(provider: &str, error: Option<&WireError>) -> Miss {
        let kind = error.map_or("broke off", |e| e.openai_kind());
        Miss::new(provider, &format!("the stream failed before it began ({kind})"), Outcome::Error, 502, true)
    }
}

/// Sorts answers from non-answers. A stream is an answer when it has begun, which is for others to see.
pub fn arrived<A>(provider: &str, came: Result<Incoming<A>, NoAnswer>, wire: Wire, stream: bool) -> Result<Incoming<A>, Miss> {
    let miss = |told: &str, outcome, status, may_charge| Miss::new(provider, told, outcome, status, may_charge);
    let incoming = match came {
        Ok(incoming) => incoming,
        Err(NoAnswer::Timeout) => return Err(miss("no answer in time", Outcome::Timeout, 504, true)),
        Err(NoAnswer::ClientGone) => return Err(Miss { last: true, ..miss("client gone", Outcome::ClientGone, 499, true) }),
        Err(NoAnswer::Broken) => return Err(miss("connection failed", Outcome::Error, 502, false)),
        Err(NoAnswer::Cut) => return Err(miss("the answer broke off", Outcome::Cut, 502, true)),
        Err(NoAnswer::TooLarge) => return Err(miss("answer too large", Outcome::Error, 502, true)),
    };
    let status = incoming.status;
    let key = Verdict::of(status, incoming.whole.as_deref().unwrap_or_default());
    match status {
        200..=299 if stream && incoming.whole.is_none() => Ok(incoming),
        200..=299 if !stream && incoming.whole.is_some() => Ok(incoming),
        200..=299 => Err(miss(&unreadable(wire), Outcome::Error, 502, true)),
        400 | 404 | 405 | 409 | 413 | 415 | 422 if !key.rotates() => {
            let refused = Some(refusal(wire, status, incoming.whole.as_deref().unwrap_or_default()));
            Err(Miss { refused, last: true, ..miss(&format!("status {status}"), Outcome::Error, status, false) })
        }
        _ => {
            let retry_after = incoming.retry_after.and_then(|v| v.trim().parse::<u64>().ok()).map(|s| s.min(MAX_RETRY_AFTER));
            Err(Miss { retry_after, key, ..miss(&format!("status {status}"), Outcome::Error, status, false) })
        }
    }
}

/// Reads a whole answer, and writes it in the client's words if they are others.
pub fn whole(provider: &str, body: Vec<u8>, input_tokens: Option<u64>, wire: Wire, call: &Call, face: &Face) -> Result<Whole, Miss> {
    let unread = || Miss::new(provider, &unreadable(wire), Outcome::Error, 502, true);
    let client = call.request.endpoint.dialect();
    match wire {
        Wire::Answer(format) if format == client => {
            if !is_object(&body) {
                return Err(unread());
            }
            let usage = if format == Dialect::OpenAiChat { usage_of_answer(&body) } else { format.usage_of_answer(&body).map(Usage::from) };
            Ok(Whole { bytes: body, own: true, usage })
        }
        Wire::Answer(format) => {
            let answer = format.decode_answer(&body).map_err(|_| unread())?;
            Ok(Whole { bytes: client.encode_answer(&answer, face), own: false, usage: answer.usage.map(Usage::from) })
        }
        Wire::Embeddings(tollgate_core::dialect::embeddings::Format::OpenAi) => {
            if !is_object(&body) {
                return Err(unread());
            }
            let usage = usage_of_answer(&body);
            Ok(Whole { bytes: body, own: true, usage })
        }
        Wire::Embeddings(format) => {
            let mut read = Embeddings::decode(format, &body).map_err(|_| unread())?;
            let told = input_tokens.and_then(|input| common::Usage { input, ..common::Usage::default() }.checked());
            read.usage = read.usage.or(told);
            let base64 = call.request.base64(&call.body);
            Ok(Whole { bytes: read.encode(&face.model, base64), own: false, usage: read.usage.map(Usage::from) })
        }
        Wire::Count(format) => {
            let tokens = format.decode_count(&body).ok_or_else(unread)?;
            let own = format == client;
            let bytes = if own { body } else { client.encode_count_answer(tokens) };
            Ok(Whole { bytes, own, usage: Some(Usage::default()) })
        }
    }
}

/// What is told of an answer that cannot be read.
fn unreadable(wire: Wire) -> String {
    let format = match wire {
        Wire::Answer(format) | Wire::Count(format) => match format {
            Dialect::OpenAiChat => "OpenAI",
            Dialect::OpenAiResponses => "Responses",
            Dialect::Anthropic => "Anthropic",
            Dialect::Gemini => "Gemini",
            Dialect::Bedrock => "Bedrock",
        },
        Wire::Embeddings(_) => "embeddings",
    };
    format!("not an answer of the {format} format")
}

/// The name that an answer has here, where the client's format wants one that the target did not give.
pub fn face(endpoint: Endpoint, request_id: &str, model: &str, seconds: i64) -> Face {
    let prefix = match endpoint {
        Endpoint::Messages | Endpoint::CountTokens => "msg_",
        Endpoint::Responses => "resp_",
        Endpoint::Chat | Endpoint::Embeddings => "chatcmpl-",
    };
    Face {
        id: format!("{prefix}{request_id}"),
        model: model.to_owned(),
        created: u64::try_from(seconds).unwrap_or(0),
        include_usage: false,
    }
}

/// Whether it is one JSON object.
fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

/// The provider's own complaint about the request.
fn refusal(wire: Wire, status: u16, body: &[u8]) -> Failure {
    let dialect = match wire {
        Wire::Answer(format) | Wire::Count(format) => format,
        Wire::Embeddings(tollgate_core::dialect::embeddings::Format::Gemini) => Dialect::Gemini,
        Wire::Embeddings(tollgate_core::dialect::embeddings::Format::Bedrock) => Dialect::Bedrock,
        Wire::Embeddings(_) => Dialect::OpenAiChat,
    };
    let json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let error = if json { dialect.decode_error(body) } else { WireError::default() };
    let short = |text: String| text.chars().take(2_000).collect::<String>();
    let message = match error.message.as_str() {
        "" => format!("The provider refused the request with status {status}."),
        _ => short(error.message),
    };
    Failure::UpstreamRefused { status, message, code: error.code.map(short), param: error.param.map(short) }
}
