//! Requests and answers as plain values.

use tollgate_core::dialect::Dialect;
use tollgate_core::failure::Failure;
use tollgate_core::units::Timestamp;

/// The request headers that the gateway reads. They cross into wasm under their places here.
pub const HEADERS: [&str; 21] = [
    "authorization",
    "x-api-key",
    "content-type",
    "content-encoding",
    "x-request-id",
    "x-client-request-id",
    "x-tollgate-cache",
    "x-tollgate-cache-ttl",
    "x-tollgate-timeout-ms",
    "x-tollgate-max-cost-usd",
    "x-tollgate-dry-run",
    "x-tollgate-metadata",
    "x-tollgate-session",
    "idempotency-key",
    "anthropic-version",
    "anthropic-beta",
    "x-tollgate-hops",
    "if-match",
    "openai-organization",
    "openai-project",
    "openai-beta",
];

/// A request's first lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Method, as sent.
    pub method: String,
    /// Path as sent, without the query. Never normalised: `//v1/models` is not `/v1/models`.
    pub path: String,
    /// What follows the question mark.
    pub query: String,
    /// What was read, and where in it the values of headers stand: place in [`HEADERS`], from, to.
    text: String,
    values: Vec<(usize, usize, usize)>,
    /// Where the worker runs, as the platform names it (`FRA`); empty where it does not say.
    pub region: String,
}

impl Head {
    /// Reads `method \n target \n region`, and a line `place:value` for each header that is there, where `place`
    /// is its index in [`HEADERS`]. A header value cannot contain a line feed, so the parts cannot run together.
    pub fn read(text: String) -> Head {
        let mut at = 0_usize;
        let mut lines = text.split('\n').map(|line| {
            at = at.saturating_add(line.len()).saturating_add(1);
            (at.saturating_sub(1), line)
        });
        let mut line = || lines.next().unwrap_or_default().1;
        let method = line().to_owned();
        let target = line().split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let region = line().chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        let value = |(end, line): (usize, &str)| {
            let (place, value) = line.split_once(':')?;
            Some((place.parse().ok()?, end.saturating_sub(value.len()), end))
        };
        let values = lines.filter_map(value).collect();
        Head { method, path, query, text, values, region }
    }

    /// A header's value; `None` if it is absent or empty.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, from, to) = *self.values.iter().find(|(place, ..)| HEADERS.get(*place) == Some(&name))?;
        self.text.get(from..to).map(str::trim).filter(|v| !v.is_empty())
    }

    /// The credential: `Authorization: Bearer …`, or `x-api-key`.
    pub fn credential(&self) -> Option<&str> {
        let bearer = self.header("authorization").and_then(|v| {
            let (scheme, rest) = v.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
        });
        bearer.or_else(|| self.header("x-api-key"))
    }

    /// A query parameter's value, percent-decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let pair = self.query.split('&').find_map(|p| p.split_once('=').filter(|(k, _)| *k == name));
        pair.map(|(_, v)| percent_decode(&v.replace('+', " ")))
    }
}

/// Decodes `%xx`; what is not such a sequence, or not UTF-8, stays or becomes a replacement character.
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0_usize;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at.saturating_add(1)..at.saturating_add(3)).filter(|_| *byte == b'%');
        let decoded = hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(decoded.unwrap_or(*byte));
        at = at.saturating_add(if decoded.is_some() { 3 } else { 1 });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer's body. `A` is an upstream answer that the outside world still has in its hands.
#[derive(Debug)]
pub enum Body<A> {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The upstream's (or the cache's) own bytes, which need not cross.
    Whole(A),
    /// The upstream's stream, through the meter.
    Stream(A),
}

/// An answer to the client.
#[derive(Debug)]
pub struct Response<A> {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Body<A>,
}

impl<A> Response<A> {
    /// JSON.
    pub fn json(status: u16, body: String) -> Response<A> {
        let headers = vec![("content-type", "application/json".to_owned()), ("cache-control", "private, no-store".to_owned())];
        Response { status, headers, body: Body::Bytes(body.into_bytes()) }
    }

    /// A failure in the client's words.
    pub fn failure(failure: &Failure, dialect: Dialect, request_id: &str) -> Response<A> {
        let mut response = Response::json(failure.status(), String::new());
        response.body = Body::Bytes(dialect.encode_failure(failure, request_id));
        if let Some(ms) = failure.retry_after() {
            // Whole seconds are rounded up: who waits them out is let in.
            let seconds = ms.saturating_add(999).checked_div(1_000).unwrap_or(0);
            response.headers.push(("retry-after", seconds.to_string()));
            response.headers.push(("retry-after-ms", ms.to_string()));
        }
        if let Failure::MethodNotAllowed { allow } = failure {
            response.headers.push(("allow", (*allow).to_owned()));
        }
        response
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Headers as `name\nvalue\nname\nvalue`, those that many answers share first and the others after a NUL. A value
    /// that could break the lines loses what would.
    pub fn flat_headers(&self) -> String {
        let mut out = String::with_capacity(1024);
        let (alike, own): (Vec<_>, Vec<_>) = self.headers.iter().map(|(n, v)| (*n, v.as_str())).partition(|(n, _)| alike(n));
        flat_into(&mut out, alike.into_iter());
        out.push('\0');
        flat_into(&mut out, own.into_iter());
        out
    }
}

/// Whether many answers share a header's value: `entry.mjs` keeps copies of these.
fn alike(name: &str) -> bool {
    matches!(
        name,
        "content-type"
            | "cache-control"
            | "x-tollgate-cache"
            | "x-tollgate-provider"
            | "x-tollgate-model"
            | "x-tollgate-attempts"
            | "x-tollgate-route"
            | "x-ratelimit-limit-requests"
            | "x-ratelimit-limit-tokens"
    )
}

/// Headers as `name\nvalue\nname\nvalue`, control characters and what is not Latin-1 taken out.
pub fn flat<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::with_capacity(512);
    flat_into(&mut out, headers);
    out
}

fn flat_into<'a>(out: &mut String, headers: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut first = true;
    for (name, value) in headers {
        if !std::mem::take(&mut first) {
            out.push('\n');
        }
        out.push_str(name);
        out.push('\n');
        if value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            out.push_str(value);
        } else {
            out.extend(value.chars().filter(|c| !c.is_control() && u32::from(*c) < 256));
        }
    }
}

/// How long the stages of a request took, for `Server-Timing` and the log.
#[derive(Clone, Debug, Default)]
pub struct Clockwork {
    /// When the request came.
    pub started: Timestamp,
    /// Milliseconds by stage.
    pub stages: Vec<(&'static str, i64)>,
    /// Milliseconds spent at providers.
    pub upstream: i64,
}

impl Clockwork {
    /// A stage ended that began at `since`.
    pub fn stage(&mut self, name: &'static str, since: Timestamp, now: Timestamp) {
        self.stages.push((name, now.since(since)));
    }

    /// `Server-Timing`.
    pub fn server_timing(&self) -> String {
        let mut out = String::with_capacity(128);
        for (name, ms) in &self.stages {
            if !out.is_empty() {
                out.push_str(", ");
            }
            out.push_str(name);
            out.push_str(";dur=");
            out.push_str(&ms.to_string());
        }
        out
    }

    /// Milliseconds spent here and not at the provider.
    pub fn overhead(&self, now: Timestamp) -> i64 {
        now.since(self.started).saturating_sub(self.upstream).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_sent() {
        let head = Head::read("GET\n//v1/%6dodels?a=1&b=x%2Fy+z\nFRA\n0:bearer  tg_x \n2:a:b\n99:x\nx:y\n4".to_owned());
        assert_eq!((head.header("content-type"), head.header("x-api-key"), head.header("nonsense")), (Some("a:b"), None, None));
        assert_eq!((head.method.as_str(), head.path.as_str()), ("GET", "//v1/%6dodels"));
        assert_eq!(head.credential(), Some("tg_x"));
        assert_eq!(head.query("b").as_deref(), Some("x/y z"));
        assert_eq!((head.query("c"), head.region.as_str()), (None, "FRA"));
        assert_eq!(percent_decode("%zz%"), "%zz%");
    }

    #[test]
    fn header_values_cannot_break_the_lines() {
        let response: Response<()> = Response::json(200, String::new()).with("x-a", "b\r\nset-cookie: c\u{2713}é");
        let flat = response.flat_headers();
        assert_eq!(flat, "content-type\napplication/json\ncache-control\nprivate, no-store\0x-a\nbset-cookie: cé");
    }
}
