//! Kinds of failed attempts, and what follows from each: one table.

use crate::protocol::Outcome;
use serde::{Deserialize, Serialize};

/// How an attempt ended, as far as it matters for what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A whole answer.
    Ok,
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// Too many requests: 429.
    RateLimit,
    /// The account at the provider has no money or quota left.
    Quota,
    /// The provider does not accept the gateway's key.
    Auth,
    /// The provider has too much to do: 503, 529.
    Overloaded,
    /// Another fault of the provider's: 5xx.
    Server,
    /// What came is not an answer of the provider's format.
    Malformed,
    /// The answer broke off.
    Cut,
    /// The request is longer than the model's context window.
    ContextWindow,
    /// The provider refuses the content.
    ContentPolicy,
    /// The provider has no such model.
    NoModel,
    /// The request itself is wrong: others would refuse it too.
    Refused,
    /// The client went away.
    ClientGone,
    /// Another target was asked at the same time, and answered first.
    Aborted,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next target.
    Target,
    /// Targets with a larger context window, where the alias names some; else the next target.
    Context,
    /// Targets that are less strict, where the alias names some; else nothing.
    Policy,
    /// Nothing.
    GiveUp,
}

/// What an attempt's end says of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// Nothing: the request or the client is to blame.
    Neutral,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The class.
    pub class: Class,
    /// Whether the same target may do better in a moment.
    pub same: bool,
    /// Whether another key of the same provider may do better.
    pub key: bool,
    /// What is done when neither is left.
    pub then: Then,
    /// What it says of the target.
    pub signal: Signal,
}

const fn row(class: Class, same: bool, key: bool, then: Then, signal: Signal) -> Row {
    Row { class, same, key, then, signal }
}

/// The table: class, retry the same target, try the next key, then what, what it says of the target.
pub const TAXONOMY: [Row; 16] = [
    row(Class::Ok, false, false, Then::GiveUp, Signal::Success),
    row(Class::Connect, true, false, Then::Target, Signal::Failure),
    // The time is spent; who was slow once is slow again.
    row(Class::Timeout, false, false, Then::Target, Signal::Failure),
    row(Class::RateLimit, true, true, Then::Target, Signal::Failure),
    row(Class::Quota, false, true, Then::Target, Signal::Failure),
    row(Class::Auth, false, true, Then::Target, Signal::Failure),
    row(Class::Overloaded, true, false, Then::Target, Signal::Failure),
    row(Class::Server, true, false, Then::Target, Signal::Failure),
    row(Class::Malformed, false, false, Then::Target, Signal::Failure),
    row(Class::Cut, true, false, Then::Target, Signal::Failure),
    row(Class::ContextWindow, false, false, Then::Context, Signal::Neutral),
    row(Class::ContentPolicy, false, false, Then::Policy, Signal::Neutral),
    row(Class::NoModel, false, false, Then::Target, Signal::Neutral),
    row(Class::Refused, false, false, Then::GiveUp, Signal::Neutral),
    row(Class::ClientGone, false, false, Then::GiveUp, Signal::Neutral),
    row(Class::Aborted, false, false, Then::GiveUp, Signal::Neutral),
];

impl Class {
    /// Its row.
    pub fn row(self) -> Row {
        TAXONOMY.into_iter().find(|r| r.class == self).unwrap_or(row(self, false, false, Then::GiveUp, Signal::Neutral))
    }

    /// The class of an attempt by how it ended and the HTTP status. `code` and `message` are the provider's
    /// own words, where it has some: only they tell some classes apart.
    pub fn of(outcome: Outcome, status: u16, code: &str, message: &str) -> Class {
        match outcome {
            Outcome::Ok | Outcome::Cached => Class::Ok,
            Outcome::Timeout => Class::Timeout,
            Outcome::Cut => Class::Cut,
            Outcome::ClientGone => Class::ClientGone,
            Outcome::Aborted => Class::Aborted,
            Outcome::Error => by_status(status, code, message),
        }
    }

    /// In documents and logs.
    pub fn name(self) -> &'static str {
        match self {
            Class::Ok => "ok",
            Class::Connect => "connect",
            Class::Timeout => "timeout",
            Class::RateLimit => "rate_limit",
            Class::Quota => "quota",
            Class::Auth => "auth",
            Class::Overloaded => "overloaded",
            Class::Server => "server",
            Class::Malformed => "malformed",
            Class::Cut => "cut",
            Class::ContextWindow => "context_window",
            Class::ContentPolicy => "content_policy",
            Class::NoModel => "no_model",
            Class::Refused => "refused",
            Class::ClientGone => "client_gone",
            Class::Aborted => "aborted",
        }
    }
}

/// Words by which providers tell that a request is too long. Compared in lower case.
const TOO_LONG: [&str; 7] = [
    "context_length_exceeded",
    "context length",
    "context window",
    "maximum context",
    "prompt is too long",
    "input is too long",
    "exceeds the maximum number of tokens",
];
/// Words by which they tell that they do not want to answer.
const NOT_WANTED: [&str; 5] = ["content_filter", "content_policy", "content management policy", "responsibleaipolicy", "content policy"];
/// Words by which they tell that the account is empty.
const EMPTY: [&str; 4] = ["insufficient_quota", "billing", "credit balance", "insufficient balance"];

fn by_status(status: u16, code: &str, message: &str) -> Class {
    let text = format!("{code} {message}").to_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| text.contains(w));
    match status {
        // Nothing was answered.
        0 => Class::Connect,
        400 | 413 | 422 if says(&TOO_LONG) => Class::ContextWindow,
        400 | 403 | 422 if says(&NOT_WANTED) => Class::ContentPolicy,
        400 | 402 | 403 | 429 if says(&EMPTY) => Class::Quota,
        402 => Class::Quota,
        401 | 403 => Class::Auth,
        404 => Class::NoModel,
        // 425 is "too early": the same request may be sent again.
        408 | 425 => Class::Server,
        429 => Class::RateLimit,
        503 | 529 => Class::Overloaded,
        500..=599 => Class::Server,
        // A redirect or an informational answer is none of the provider's format.
        100..=399 => Class::Malformed,
        _ => Class::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_one_row() {
        for row in TAXONOMY {
            assert_eq!(TAXONOMY.iter().filter(|r| r.class == row.class).count(), 1);
            assert_eq!(row.class.row(), row);
            assert_eq!(serde_json::to_string(&row.class).unwrap(), format!("\"{}\"", row.class.name()));
            // Who is not to blame is not asked again.
            assert!(row.signal == Signal::Failure || !(row.same || row.key));
        }
    }

    #[test]
    fn failures_are_told_apart() {
        let of = |status, code, message| Class::of(Outcome::Error, status, code, message);
        for (status, code, message, class) in [
            (0, "", "", Class::Connect),
            (400, "context_length_exceeded", "", Class::ContextWindow),
            (400, "", "prompt is too long: 210000 tokens > 200000 maximum", Class::ContextWindow),
            (400, "content_filter", "", Class::ContentPolicy),
            (400, "", "The response was filtered due to Azure OpenAI's content management policy.", Class::ContentPolicy),
            (400, "", "Your credit balance is too low to access the Anthropic API.", Class::Quota),
            (400, "", "temperature must be at most 2", Class::Refused),
            (401, "", "", Class::Auth),
            (402, "", "", Class::Quota),
            (403, "", "", Class::Auth),
            (404, "model_not_found", "", Class::NoModel),
            (408, "", "", Class::Server),
            (409, "", "", Class::Refused),
            (422, "", "", Class::Refused),
            (429, "rate_limit_exceeded", "", Class::RateLimit),
            (429, "insufficient_quota", "", Class::Quota),
            (500, "", "", Class::Server),
            (503, "", "", Class::Overloaded),
            (529, "overloaded_error", "", Class::Overloaded),
            (302, "", "", Class::Malformed),
        ] {
            assert_eq!(of(status, code, message), class, "{status} {code} {message}");
        }
        assert_eq!(Class::of(Outcome::Timeout, 504, "", ""), Class::Timeout);
        assert_eq!(Class::of(Outcome::ClientGone, 499, "", ""), Class::ClientGone);
        assert_eq!(Class::of(Outcome::Cached, 200, "", ""), Class::Ok);
    }
}
