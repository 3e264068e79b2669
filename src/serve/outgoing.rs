//! The request to a target. The only place that makes one, so the only place that has to be right about
//! where requests may go, and with which key.

use super::asked::{Common, Endpoint};
use super::read::Call;
use crate::isolate::Isolate;
use crate::ports::Outgoing;
use tollgate_core::catalog::{Auth, Provider, Quirk};
use tollgate_core::config::Timeouts;
use tollgate_core::dialect::common::Request;
use tollgate_core::dialect::sigv4::{Credentials, Scope, Signable, sign};
use tollgate_core::dialect::{self, Dialect, Dropped, Encoded, Refused, embeddings};
use tollgate_core::failure::Failure;
use tollgate_core::plan::Target;
use tollgate_core::units::Timestamp;

/// Largest answer that is read whole, in bytes.
pub const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// The version of Anthropic's interface that is spoken where the client names none.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// What a target was asked in, and answers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// An answer.
    Answer(Dialect),
    /// Vectors.
    Embeddings(embeddings::Format),
    /// A number of tokens.
    Count(Dialect),
}

/// What is to be done to have a target's answer.
pub enum Prepared {
    /// Ask.
    Ask(Box<Ask>),
    /// Nothing: the target cannot count tokens, and this is the estimate.
    Estimate(u64),
}

/// A request to a target.
pub struct Ask {
    /// Ready to go.
    pub request: Outgoing,
    /// In which words.
    pub wire: Wire,
    /// What the target could not be told.
    pub dropped: Dropped,
}

/// Why a target cannot be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Unsent {
    /// Something is missing here.
    NotConfigured(String),
    /// It has no words for what is asked.
    Refused(Refused),
}

impl From<Refused> for Unsent {
    fn from(refused: Refused) -> Unsent {
        Unsent::Refused(refused)
    }
}

impl Unsent {
    /// What the client is told where it is to blame.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Unsent::NotConfigured(_) => None,
            Unsent::Refused(Refused { param, why }) => Some(Failure::InvalidRequest { param: param.clone(), why: why.clone() }),
        }
    }
}

/// What the body is written for.
struct Words {
    wire: Wire,
    path: String,
    body: Vec<u8>,
    dropped: Dropped,
}

/// The request to a target.
///
/// # Errors
/// Why it cannot be asked.
pub fn prepare(
    isolate: &Isolate,
    target: &Target,
    call: &Call,
    clamp: Option<u64>,
    timeouts: &Timeouts,
    deadline: Timestamp,
    now: Timestamp,
) -> Result<Prepared, Unsent> {
    let row = isolate.catalog.provider(&target.provider).ok_or_else(|| Unsent::NotConfigured("not configured".to_owned()))?;
    let words = match words(row, target, call, clamp)? {
        Ok(words) => words,
        Err(estimate) => return Ok(Prepared::Estimate(estimate)),
    };
    let base = base_url(isolate, &target.provider, row, words.wire).map_err(Unsent::NotConfigured)?;
    let url = format!("{base}{}", words.path);
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        // Asked plainly, an answer needs no unpacking, and its declared length is its length.
        ("accept-encoding", "identity".to_owned()),
        ("x-tollgate-hops", call.hops.saturating_add(1).to_string()),
    ];
    let same_maker = |name: &str| match words.wire {
        Wire::Answer(Dialect::Anthropic) | Wire::Count(Dialect::Anthropic) => name.starts_with("anthropic-"),
        Wire::Answer(Dialect::OpenAiChat | Dialect::OpenAiResponses) | Wire::Embeddings(embeddings::Format::OpenAi) => {
            name.starts_with("openai-")
        }
        _ => false,
    };
    headers.extend(call.forward.iter().filter(|(name, _)| same_maker(name)).cloned());
    let anthropic = matches!(words.wire, Wire::Answer(Dialect::Anthropic) | Wire::Count(Dialect::Anthropic));
    if anthropic && !headers.iter().any(|(name, _)| *name == "anthropic-version") {
        headers.push(("anthropic-version", ANTHROPIC_VERSION.to_owned()));
    }
    headers.extend(credential(isolate, row, &url, &words.body, now).map_err(Unsent::NotConfigured)?);
    let left = deadline.since(now).max(1);
    let request =
        Outgoing { url, headers, body: words.body, first_byte: i64::from(timeouts.first_byte_ms).min(left), total: left, cap: MAX_ANSWER };
    Ok(Prepared::Ask(Box::new(Ask { request, wire: words.wire, dropped: words.dropped })))
}

/// What is asked in the target's words; `Err` with an estimate where it cannot count tokens.
fn words(row: &Provider, target: &Target, call: &Call, clamp: Option<u64>) -> Result<Result<Words, u64>, Unsent> {
    let asked = &call.request;
    let client = asked.endpoint.dialect();
    let format = row.format_for(client);
    let passed = |wire: Wire, path: &str| {
        // OpenAI's newer models refuse the old name; the others know only that.
        let field = if row.has(Quirk::MaxCompletionTokens) { "max_completion_tokens" } else { "max_tokens" };
        let body = asked.edit(&call.body, &target.model, clamp.map(|tokens| (field, tokens)), !row.has(Quirk::NoStreamOptions));
        Ok(Ok(Words { wire, path: path.to_owned(), body, dropped: Dropped::default() }))
    };
    let written = |wire: Wire, encoded: Encoded| {
        let Encoded { path, body, dropped } = encoded;
        Ok(Ok(Words { wire, path, body, dropped }))
    };
    if asked.endpoint == Endpoint::Embeddings {
        let format = row.embeddings().ok_or_else(|| Refused::new("model", "this provider has no embeddings"))?;
        if format == embeddings::Format::OpenAi {
            return passed(Wire::Embeddings(format), "/embeddings");
        }
        let Common::Embeddings(request) = asked.common(&call.body)? else {
            return Err(Refused::new("", "this is no request for embeddings").into());
        };
        return written(Wire::Embeddings(format), request.encode(format, &target.model)?);
    }
    let counts = asked.endpoint == Endpoint::CountTokens;
    if format == client {
        return match (counts, format) {
            (true, _) => passed(Wire::Count(format), "/messages/count_tokens"),
            (false, Dialect::OpenAiResponses) => passed(Wire::Answer(format), "/responses"),
            (false, Dialect::Anthropic) => passed(Wire::Answer(format), "/messages"),
            (false, _) => passed(Wire::Answer(format), "/chat/completions"),
        };
    }
    let Common::Answer(request) = asked.common(&call.body)? else {
        return Err(Refused::new("", "this is no request for an answer").into());
    };
    let request = Request { max_output: clamp.or(request.max_output), include_usage: !row.has(Quirk::NoStreamOptions), ..*request };
    let to = dialect::Target {
        model: &target.model,
        max_output: target.max_output,
        only_max_tokens: !row.has(Quirk::MaxCompletionTokens),
        reasons: true,
    };
    if counts {
        return match format.encode_count(&request, &to)? {
            Some(encoded) => written(Wire::Count(format), encoded),
            None => Ok(Err(request.estimated_tokens())),
        };
    }
    written(Wire::Answer(format), format.encode_request(&request, &to)?)
}

/// Where a provider is: its row's address, or the operator's own for it (`<PROVIDER>_BASE_URL`).
fn base_url(isolate: &Isolate, name: &str, row: &Provider, wire: Wire) -> Result<String, String> {
    let format = match wire {
        Wire::Answer(format) | Wire::Count(format) => format,
        Wire::Embeddings(_) => row.formats.first().copied().unwrap_or(Dialect::OpenAiChat),
    };
    let base = match isolate.own_base_url(name) {
        Some(own) => own.trim_end_matches('/').to_owned(),
        None => fill(row.base_url(format), |name| isolate.var(name))?,
    };
    if !may_call(&base, isolate.plain_http_hosts()) {
        return Err("its base URL is neither https nor in TOLLGATE_PLAIN_HTTP_HOSTS".to_owned());
    }
    Ok(base)
}

/// An address with its `{NAME}`s replaced. A value can only be part of a name in it: letters, digits and
/// hyphens, so that it cannot lead elsewhere.
fn fill<'a>(template: &str, var: impl Fn(&str) -> Option<&'a str>) -> Result<String, String> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}').ok_or("its base URL has an unclosed brace")?;
        let value = var(name).ok_or_else(|| format!("the variable {name} is not set"))?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if value.len() > 63 || !value.bytes().all(plain) {
            return Err(format!("the variable {name} may hold only letters, digits and hyphens"));
        }
        out.push_str(before);
        out.push_str(value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// The headers that prove who asks.
fn credential(isolate: &Isolate, row: &Provider, url: &str, body: &[u8], now: Timestamp) -> Result<Vec<(&'static str, String)>, String> {
    let key = || isolate.var(&row.api_key_env).ok_or_else(|| format!("no API key is configured ({})", row.api_key_env));
    Ok(match row.auth() {
        Auth::None => Vec::new(),
        Auth::Bearer => vec![("authorization", format!("Bearer {}", key()?))],
        Auth::XApiKey => vec![("x-api-key", key()?.to_owned())],
        Auth::ApiKey => vec![("api-key", key()?.to_owned())],
        Auth::XGoogApiKey => vec![("x-goog-api-key", key()?.to_owned())],
        Auth::Google => return Err("service accounts of Google are not offered yet".to_owned()),
        Auth::Aws => match isolate.var(&row.api_key_env) {
            Some(key) => vec![("authorization", format!("Bearer {key}"))],
            None => signature(isolate, url, body, now)?,
        },
    })
}

/// Amazon's signature.
fn signature(isolate: &Isolate, url: &str, body: &[u8], now: Timestamp) -> Result<Vec<(&'static str, String)>, String> {
    let var = |name: &str| isolate.var(name).ok_or_else(|| format!("no API key is configured ({name})"));
    let credentials = Credentials {
        access_key: var("AWS_ACCESS_KEY_ID")?,
        secret_key: var("AWS_SECRET_ACCESS_KEY")?,
        session_token: isolate.var("AWS_SESSION_TOKEN"),
    };
    let scope = Scope { region: var("AWS_REGION")?, service: "bedrock" };
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (host, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, "/"));
    let headers = [("content-type", "application/json")];
    let request = Signable { method: "POST", host, path, headers: &headers, body };
    sign(&request, &credentials, &scope, now).ok_or_else(|| "the request cannot be signed".to_owned())
}

/// Whether a base URL may be called: https with a plain host name, or http to exactly a host and port
/// that the operator listed.
pub fn may_call(base_url: &str, plain_http_hosts: &str) -> bool {
    let (secure, rest) = match (base_url.strip_prefix("https://"), base_url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return false,
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':');
    if authority.is_empty() || !base_url.bytes().all(|b| b.is_ascii_graphic()) || rest.contains(['#', '?', '\\', '@']) {
        return false;
    }
    if !authority.bytes().all(plain) {
        return false;
    }
    secure || plain_http_hosts.split(',').any(|host| host.trim() == authority)
}

#[cfg(test)]
mod tests {
    use super::{fill, may_call};

    #[test]
    fn a_variable_cannot_move_the_host() {
        let filled = |value: &'static str| fill("https://{A}.openai.azure.com/openai/v1", |_| Some(value));
        assert_eq!(filled("mine-1").as_deref(), Ok("https://mine-1.openai.azure.com/openai/v1"));
        for bad in ["evil#", "evil/", "evil.com/x", "a@b", "a b", "é", &"x".repeat(64)] {
            assert!(fill("https://{A}.x", |_| Some(bad)).is_err(), "{bad}");
        }
        assert!(fill("https://{A}.x", |_| None).is_err());
        assert!(fill("https://{A.x", |_| Some("a")).is_err());
    }

    #[test]
    fn only_plain_hosts_are_called() {
        for good in ["https://api.openai.com/v1", "https://host:8443/v1", "http://127.0.0.1:9/v1"] {
            assert!(may_call(good, "127.0.0.1:9, other:1"), "{good}");
        }
        for bad in [
            "http://127.0.0.1/v1",
            "http://127.0.0.1:91/v1",
            "http://127.0.0.1:9@evil/v1",
            "https://evil#.openai.azure.com/",
            "https://a@b/v1",
            "https://a\\b/v1",
            "https:///v1",
            "ftp://a/v1",
            "https://a b/v1",
            "https://a?x=/v1",
            "https://é/v1",
            "//a/v1",
            "https://[::1]/v1",
        ] {
            assert!(!may_call(bad, "127.0.0.1:9"), "{bad}");
        }
    }
}
