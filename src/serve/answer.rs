//! What came back from a target: an answer, or the reason that it is none.

use super::asked::Endpoint;
use super::outgoing::Wire;
use super::read::Call;
use crate::ports::{Incoming, NoAnswer};
use serde::de::IgnoredAny;
use tollgate_core::dialect::common::{self, WireError};
use tollgate_core::dialect::embeddings::{Embeddings, Format};
use tollgate_core::dialect::openai::usage_of_answer;
use tollgate_core::dialect::tap::Tap;
use tollgate_core::dialect::{Dialect, Face};
use tollgate_core::failure::Failure;
use tollgate_core::keyring::Verdict;
use tollgate_core::price::Usage;
use tollgate_core::protocol::Outcome;
use tollgate_core::retry::{Class, retry_after};
use tollgate_core::units::{Millis, Timestamp};

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
    /// Milliseconds that it asked to wait.
    pub retry_after: Option<Millis>,
    /// The request is to blame.
    pub refused: Option<Failure>,
    /// What kind of failure it is.
    pub class: Class,
    /// What it says about the key.
    pub key: Verdict,
}

impl Miss {
    /// A target that gave nothing usable.
    pub fn new(provider: &str, told: &str, outcome: Outcome, status: u16, may_charge: bool) -> Miss {
        let class = Class::of(outcome, status, "", "");
        Miss {
            told: format!("{provider}: {told}"),
            outcome,
            status,
            may_charge,
            retry_after: None,
            refused: None,
            class,
            key: Verdict::Unrelated,
        }
    }

    /// A stream that the provider failed before it began.
    pub fn failed_stream(provider: &str, error: Option<&WireError>) -> Miss {
        let Some(error) = error else {
            return Miss::new(provider, "the stream ended before it began", Outcome::Cut, 502, true);
        };
        let (kind, class) = (error.openai_kind(), class_of(error));
        Miss { class, ..Miss::new(provider, &format!("the stream failed before it began ({kind})"), Outcome::Error, 502, true) }
    }
}

/// What kind of failure a provider tells of in a stream.
pub fn class_of(error: &WireError) -> Class {
    let of = |status| Class::of(Outcome::Error, status, error.code.as_deref().unwrap_or_default(), &error.message);
    // Some give these no type of their own.
    if let class @ (Class::ContextWindow | Class::ContentPolicy) = of(400) {
        return class;
    }
    // The status that it would have had, had the provider known in time.
    of(match error.openai_kind() {
        "rate_limit_error" => 429,
        "insufficient_quota" => 402,
        "invalid_request_error" => 400,
        _ => 500,
    })
}

/// Sorts answers from non-answers. A stream is an answer when it has begun, which is for others to see.
pub fn arrived<A>(
    provider: &str,
    came: Result<Incoming<A>, NoAnswer>,
    wire: Wire,
    stream: bool,
    now: Timestamp,
) -> Result<Incoming<A>, Miss> {
    let miss = |told: &str, outcome, status, may_charge| Miss::new(provider, told, outcome, status, may_charge);
    let malformed = |told: &str| Miss { class: Class::Malformed, ..miss(told, Outcome::Error, 502, true) };
    let incoming = match came {
        Ok(incoming) => incoming,
        Err(NoAnswer::Timeout) => return Err(miss("no answer in time", Outcome::Timeout, 504, true)),
        Err(NoAnswer::ClientGone) => return Err(miss("client gone", Outcome::ClientGone, 499, true)),
        Err(NoAnswer::Broken) => {
            return Err(Miss { class: Class::Connect, ..miss("connection failed", Outcome::Error, 502, false) });
        }
        Err(NoAnswer::Cut) => return Err(miss("the answer broke off", Outcome::Cut, 502, true)),
        Err(NoAnswer::TooLarge) => return Err(malformed("answer too large")),
    };
    let status = incoming.status;
    if (200..=299).contains(&status) {
        let expected = stream == incoming.whole.is_none();
        return if expected { Ok(incoming) } else { Err(malformed(&unreadable(wire))) };
    }
    let body = incoming.whole.as_deref().unwrap_or_default();
    let error = told(wire, body);
    let class = Class::of(Outcome::Error, status, error.code.as_deref().or(error.kind.as_deref()).unwrap_or_default(), &error.message);
    let key = Verdict::of(status, body);
    let retry_after = retry_after(incoming.retry_after.as_deref(), incoming.retry_after_ms.as_deref(), now);
    let blamed = matches!(class, Class::Refused | Class::NoModel | Class::ContextWindow | Class::ContentPolicy);
    let refused = (blamed && !key.rotates()).then(|| refusal(status, error));
    Err(Miss { retry_after, key, class, refused, ..miss(&format!("status {status}"), Outcome::Error, status, false) })
}

/// Reads a whole answer, and writes it in the client's words if they are others.
pub fn whole(provider: &str, body: Vec<u8>, input_tokens: Option<u64>, wire: Wire, call: &Call, face: &Face) -> Result<Whole, Miss> {
    let unread = || Miss { class: Class::Malformed, ..Miss::new(provider, &unreadable(wire), Outcome::Error, 502, true) };
    let client = call.request.endpoint.dialect();
    match wire {
        Wire::Answer(format) if format == client => {
            let usage = if format == Dialect::OpenAiChat { usage_of_answer(&body) } else { format.usage_of_answer(&body).map(Usage::from) };
            if !is_object(&body, usage) {
                return Err(unread());
            }
            Ok(Whole { bytes: body, own: true, usage })
        }
        Wire::Answer(format) => {
            let answer = format.decode_answer(&body).map_err(|_| unread())?;
            Ok(Whole { bytes: client.encode_answer(&answer, face), own: false, usage: answer.usage.map(Usage::from) })
        }
        Wire::Embeddings(Format::OpenAi) => {
            let usage = usage_of_answer(&body);
            if !is_object(&body, usage) {
                return Err(unread());
            }
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
            Dialect::WorkersAi => "Workers AI",
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

/// Whether it is one JSON object. What tells its usage was read to its end for it.
fn is_object(body: &[u8], usage: Option<Usage>) -> bool {
    body.trim_ascii_start().first() == Some(&b'{') && (usage.is_some() || serde_json::from_slice::<IgnoredAny>(body).is_ok())
}

/// What the provider says is wrong. What is no JSON says nothing.
fn told(wire: Wire, body: &[u8]) -> WireError {
    let dialect = match wire {
        Wire::Answer(format) | Wire::Count(format) => format,
        Wire::Embeddings(Format::Gemini) => Dialect::Gemini,
        Wire::Embeddings(Format::Bedrock) => Dialect::Bedrock,
        Wire::Embeddings(Format::WorkersAi) => Dialect::WorkersAi,
        Wire::Embeddings(Format::OpenAi) => Dialect::OpenAiChat,
    };
    let json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if json { dialect.decode_error(body) } else { WireError::default() }
}

/// The provider's own complaint about the request.
fn refusal(status: u16, error: WireError) -> Failure {
    let short = |text: String| text.chars().take(2_000).collect::<String>();
    let message = match error.message.as_str() {
        "" => format!("The provider refused the request with status {status}."),
        _ => short(error.message),
    };
    Failure::UpstreamRefused { status, message, code: error.code.map(short), param: error.param.map(short) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_streams_are_told_apart() {
        let class = |kind: &str, code: &str, message: &str| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            class_of(&WireError { kind: some(kind), code: some(code), message: message.to_owned(), param: None })
        };
        assert_eq!(class("server_error", "", "The server had an error."), Class::Server);
        assert_eq!(class("overloaded_error", "", "Overloaded"), Class::Server);
        assert_eq!(class("rate_limit_error", "", ""), Class::RateLimit);
        assert_eq!(class("insufficient_quota", "", ""), Class::Quota);
        assert_eq!(class("invalid_request_error", "", "No."), Class::Refused);
        assert_eq!(class("", "upstream_malformed", "The provider's stream cannot be read."), Class::Server);
        // Whoever refuses the content, or has no room for it, does so whatever the type is called.
        for kind in ["", "server_error", "invalid_request_error"] {
            assert_eq!(class(kind, "content_filter", ""), Class::ContentPolicy, "{kind}");
            assert_eq!(class(kind, "", "This model's maximum context length is 5."), Class::ContextWindow, "{kind}");
        }
    }
}
