//! An answer, and what every answer has to look like.

use crate::SECRETS;
use serde_json::Value;
use std::collections::BTreeMap;

/// An answer that has arrived whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers, by names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub text: String,
    /// When the first piece of the body came, in milliseconds after the request.
    pub first_ms: f64,
    /// When the last one had come.
    pub total_ms: f64,
}

impl Response {
    pub(crate) fn read(answer: Value) -> Response {
        let headers = answer["headers"].as_object().expect("headers").iter();
        Response {
            status: answer["status"].as_u64().and_then(|n| n.try_into().ok()).expect("a status"),
            headers: headers.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
            text: answer["text"].as_str().unwrap_or_default().to_owned(),
            first_ms: answer["first_ms"].as_f64().unwrap_or_default(),
            total_ms: answer["total_ms"].as_f64().unwrap_or_default(),
        }
    }

    /// A header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `x-tollgate-cache`.
    pub fn cache(&self) -> &str {
        self.header("x-tollgate-cache")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The data of a stream's events in order, without the last, which must be `[DONE]`.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let whole = self.text.strip_suffix("data: [DONE]\n\n");
        let whole = whole.unwrap_or_else(|| panic!("no [DONE] at the end: {}", self.text));
        Response { text: whole.to_owned(), ..self.clone() }.events_so_far()
    }

    /// The data of the events of a stream that may have broken off. Comments are left out.
    #[track_caller]
    pub fn events_so_far(&self) -> Vec<Value> {
        let events = self.text.split("\n\n").filter(|event| !event.trim().is_empty() && !event.starts_with(':'));
        let data = events.map(|event| event.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {event}")));
        data.map(|text| serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))).collect()
    }

    /// Fails unless this is the refusal in OpenAI's shape, with nothing in it that is nobody's business.
    /// Returns the error.
    #[track_caller]
    pub fn refused(&self, status: u16, kind: &str, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/json");
        assert!(is_ulid(self.header("x-request-id")), "{:?}", self.headers);
        let body = self.json();
        let error = &body["error"];
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
        assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some(kind), Some(code)), "{body}");
        assert!(error["message"].as_str().is_some_and(|m| m.len() > 10), "{body}");
        assert!(error.get("param").is_some(), "{body}");
        self.tells_no_secret();
        error.clone()
    }

    /// Fails unless it says when to come back, in both ways and in agreement. Milliseconds.
    #[track_caller]
    pub fn retry_after_ms(&self) -> u32 {
        let number = |name| self.header(name).parse::<u32>().unwrap_or_else(|_| panic!("{name}: {:?}", self.headers));
        let (seconds, ms) = (number("retry-after"), number("retry-after-ms"));
        assert!(ms > 0);
        assert_eq!(seconds, ms.div_ceil(1_000), "who waits whole seconds must be let in");
        ms
    }

    /// Fails if it says when to come back.
    #[track_caller]
    pub fn names_no_time_to_wait(&self) {
        assert_eq!((self.header("retry-after"), self.header("retry-after-ms")), ("", ""));
    }

    /// Fails if one of the operator's secrets is anywhere in it.
    #[track_caller]
    pub fn tells_no_secret(&self) {
        for (name, secret) in SECRETS {
            let told = self.text.contains(secret) || self.headers.values().any(|value| value.contains(secret));
            assert!(!told, "{name} is in the answer: {self:?}");
        }
    }
}

/// Whether this is a ULID: 26 characters of Crockford's base 32, of at most 128 bits.
pub fn is_ulid(text: &str) -> bool {
    let digit = |b: u8| matches!(b, b'0'..=b'9' | b'A'..=b'Z') && !b"ILOU".contains(&b);
    text.len() == 26 && text.bytes().all(digit) && text.as_bytes()[0] <= b'7'
}

/// Nano-dollars of a decimal string, as money is written outside.
#[track_caller]
pub fn nano_usd(text: &Value) -> u64 {
    let text = text.as_str().unwrap_or_else(|| panic!("money is a string, not {text}"));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    assert!(part.len() <= 9 && !text.ends_with('.'), "{text}");
    let number = |digits: &str| digits.parse::<u64>().unwrap_or_else(|_| panic!("{text}"));
    number(whole) * 1_000_000_000 + number(&format!("{part:0<9}"))
}
