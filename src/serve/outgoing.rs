//! The request to a target. The only place that makes one, so the only place that has to be right about
//! where requests may go, and with which key.

use super::asked::{Common, Endpoint};
use super::read::Call;
use crate::isolate::{Isolate, KnownConfig};
use crate::ports::{BOUND, Outgoing};
use std::rc::Rc;
use tollgate_core::catalog::{Auth, Provider, Quirk};
use tollgate_core::dialect::common::Request;
use tollgate_core::dialect::sigv4::{Credentials, Scope, Signable, sign};
use tollgate_core::dialect::{self, Dialect, Dropped, Encoded, Refused, embeddings};
use tollgate_core::egress::{BaseUrl, Why};
use tollgate_core::failure::Failure;
use tollgate_core::plan::Target;
use tollgate_core::units::{Millis, Timestamp};

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
    /// Ready to go, but for the headers that prove who asks.
    pub request: Outgoing,
    /// How that is proved.
    pub auth: Auth,
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
    known: &KnownConfig,
    target: &Target,
    call: &Call,
    clamp: Option<u64>,
    deadline: Timestamp,
    now: Timestamp,
) -> Result<Prepared, Unsent> {
    let timeouts = known.config.timeouts;
    let row = known.catalog.provider(&target.provider).ok_or_else(|| Unsent::NotConfigured("not configured".to_owned()))?;
    let words = match words(row, target, call, clamp)? {
        Ok(words) => words,
        Err(estimate) => return Ok(Prepared::Estimate(estimate)),
    };
    let url = if row.is_bound() {
        format!("{BOUND}{}", words.path.strip_prefix("/run/").unwrap_or_default())
    } else {
        let base = base_url(isolate, known, &target.provider, row, words.wire).map_err(|why| Unsent::NotConfigured(why.to_string()))?;
        base.join(&words.path)
    };
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
    let left = deadline.since(now).max(1);
    let request = Outgoing {
        url,
        headers,
        body: Some(words.body),
        first_byte: i64::from(timeouts.first_byte_ms).min(left),
        idle: i64::from(timeouts.idle_ms),
        total: left,
        cap: MAX_ANSWER,
    };
    Ok(Prepared::Ask(Box::new(Ask { request, auth: row.auth(), wire: words.wire, dropped: words.dropped })))
}

/// The request for a page of a provider of the operator's, which answers within `limit` in at most `cap` bytes.
/// `path` is below its address.
///
/// # Errors
/// Why it cannot be asked.
pub fn page(
    isolate: &Isolate,
    known: &KnownConfig,
    (provider, row): (&str, &Provider),
    path: &str,
    limit: Millis,
    cap: usize,
) -> Result<Ask, Unsent> {
    let format = row.formats.first().copied().unwrap_or(Dialect::OpenAiChat);
    let wire = Wire::Answer(format);
    let base = base_url(isolate, known, provider, row, wire).map_err(|why| Unsent::NotConfigured(why.to_string()))?;
    let mut headers =
        vec![("accept", "application/json".to_owned()), ("accept-encoding", "identity".to_owned()), ("x-tollgate-hops", "1".to_owned())];
    if format == Dialect::Anthropic {
        headers.push(("anthropic-version", ANTHROPIC_VERSION.to_owned()));
    }
    let request = Outgoing { url: base.join(path), headers, body: None, first_byte: limit, idle: limit, total: limit, cap };
    Ok(Ask { request, auth: row.auth(), wire, dropped: Dropped::default() })
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
        reasons: dialect::reasons(&target.model),
        no_call_ids: row.has(Quirk::NoCallIds),
        no_user: row.has(Quirk::NoUser),
    };
    if counts {
        return match format.encode_count(&request, &to)? {
            Some(encoded) => written(Wire::Count(format), encoded),
            None => Ok(Err(request.estimated_tokens())),
        };
    }
    written(Wire::Answer(format), format.encode_request(&request, &to)?)
}

/// Where a provider is: its row's address, or the operator's own for it (`<PROVIDER>_BASE_URL`). A tenant's
/// address is read by the rules for tenants, again in each isolate: what was stored may be older than they are.
fn base_url(isolate: &Isolate, known: &KnownConfig, name: &str, row: &Provider, wire: Wire) -> Result<Rc<BaseUrl>, Why> {
    let format = match wire {
        Wire::Answer(format) | Wire::Count(format) => format,
        Wire::Embeddings(_) => row.formats.first().copied().unwrap_or(Dialect::OpenAiChat),
    };
    known.base(name, format, || {
        if known.config.providers.get(name).is_some_and(|own| own.base_url.is_some()) {
            return BaseUrl::tenant(row.base_url(format));
        }
        let listed = isolate.plain_http_hosts();
        match isolate.own_base_url(name) {
            Some(own) => BaseUrl::operator(own.trim_end_matches('/'), listed),
            None => BaseUrl::operator(&BaseUrl::fill(row.base_url(format), |name| isolate.var(name))?, listed),
        }
    })
}

/// Adds the headers that prove who asks. `key` is absent where none is needed, or where Amazon's variables
/// are to sign.
///
/// # Errors
/// What is missing.
pub fn sign_with(isolate: &Isolate, auth: Auth, key: Option<&str>, request: &mut Outgoing, now: Timestamp) -> Result<(), String> {
    let header = match (auth, key) {
        (Auth::None, _) => return Ok(()),
        (Auth::Aws, None) => {
            let signed = signature(isolate, &request.url, request.body.as_deref(), now)?;
            request.headers.extend(signed);
            return Ok(());
        }
        (_, None) => return Err("no API key is configured".to_owned()),
        (Auth::Bearer | Auth::Aws | Auth::Google, Some(key)) => ("authorization", format!("Bearer {key}")),
        (Auth::XApiKey, Some(key)) => ("x-api-key", key.to_owned()),
        (Auth::ApiKey, Some(key)) => ("api-key", key.to_owned()),
        (Auth::XGoogApiKey, Some(key)) => ("x-goog-api-key", key.to_owned()),
    };
    request.headers.push(header);
    Ok(())
}

/// Amazon's signature.
fn signature(isolate: &Isolate, url: &str, body: Option<&[u8]>, now: Timestamp) -> Result<Vec<(&'static str, String)>, String> {
    let var = |name: &str| isolate.var(name).ok_or_else(|| format!("no API key is configured ({name})"));
    let credentials = Credentials {
        access_key: var("AWS_ACCESS_KEY_ID")?,
        secret_key: var("AWS_SECRET_ACCESS_KEY")?,
        session_token: isolate.var("AWS_SESSION_TOKEN"),
    };
    let scope = Scope { region: var("AWS_REGION")?, service: "bedrock" };
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (host, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, "/"));
    let method = if body.is_some() { "POST" } else { "GET" };
    let headers: &[(&str, &str)] = if body.is_some() { &[("content-type", "application/json")] } else { &[] };
    let request = Signable { method, host, path, headers, body: body.unwrap_or_default() };
    sign(&request, &credentials, &scope, now).ok_or_else(|| "the request cannot be signed".to_owned())
}
