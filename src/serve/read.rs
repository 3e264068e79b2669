//! Station 2: what is asked? The body is read once, within a cap; options stand in headers.

use super::asked::{Asked, Endpoint};
use crate::http::Head;
use crate::ports::{Event, NoBody};
use tollgate_core::auth;
use tollgate_core::cache::Mode;
use tollgate_core::failure::Failure;
use tollgate_core::map::Map;
use tollgate_core::units::{Millis, NanoUsd};

/// Largest request body in bytes.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// Most gateways of this kind that a request may have come through. More is a loop: a gateway that has
/// itself among its providers.
const MAX_HOPS: u64 = 3;

/// A request that can be decided on.
#[derive(Debug)]
pub struct Call {
    /// What policy needs to know of it.
    pub request: Asked,
    /// The body as sent.
    pub body: Vec<u8>,
    /// How to use the cache.
    pub cache: Mode,
    /// Seconds to keep the answer, where the caller said so.
    pub cache_ttl_s: Option<u32>,
    /// Milliseconds for the whole request, where the caller said so.
    pub timeout: Option<Millis>,
    /// The most that it may cost.
    pub max_cost: Option<NanoUsd>,
    /// What the request is attributed to: `x-tollgate-metadata`.
    pub metadata: Map<String, String>,
    /// What it belongs to: `x-tollgate-session`; empty if to nothing.
    pub session: String,
    /// Hashes of the `Idempotency-Key` and of what it stands for.
    pub idempotency: Option<(String, String)>,
    /// Whether it is only to be told what would be done.
    pub dry_run: bool,
    /// How many gateways of this kind it came through.
    pub hops: u64,
    /// Headers that go on to the provider.
    pub forward: Vec<(&'static str, String)>,
}

impl Call {
    /// A request with nothing said about it in headers.
    pub fn plain(request: Asked, body: Vec<u8>) -> Call {
        Call {
            request,
            body,
            cache: Mode::default(),
            cache_ttl_s: None,
            timeout: None,
            max_cost: None,
            metadata: Map::new(),
            session: String::new(),
            idempotency: None,
            dry_run: false,
            hops: 0,
            forward: Vec::new(),
        }
    }
}

/// Headers of clients that go on to providers of the same maker's format.
const FORWARDED: [&str; 5] = ["openai-organization", "openai-project", "openai-beta", "anthropic-version", "anthropic-beta"];

/// Reads the request.
///
/// # Errors
/// What is wrong with it.
pub async fn call<W: Event>(world: &W, head: &Head, endpoint: Endpoint) -> Result<Call, Failure> {
    let cache = option(head, "x-tollgate-cache", Mode::read, "is `use`, `skip`, `refresh` or `only`")?.unwrap_or_default();
    let number = |low: u64, high: u64| move |text: &str| text.parse::<u64>().ok().filter(|n| (low..=high).contains(n));
    let ttl = option(head, "x-tollgate-cache-ttl", number(1, 2_592_000), "is a whole number of seconds between 1 and 2592000")?;
    let timeout = option(head, "x-tollgate-timeout-ms", number(1, 3_600_000), "is a whole number of milliseconds between 1 and 3600000")?;
    let max_cost = option(head, "x-tollgate-max-cost-usd", NanoUsd::from_usd, "is a decimal number of USD such as 0.05")?;
    let flag = |text: &str| [("true", true), ("false", false)].into_iter().find(|(name, _)| *name == text).map(|(_, on)| on);
    let dry_run = option(head, "x-tollgate-dry-run", flag, "is `true` or `false`")?.unwrap_or(false);
    let hops = option(head, "x-tollgate-hops", number(0, u64::MAX), "is a whole number")?.unwrap_or(0);
    if hops >= MAX_HOPS {
        return Err(Failure::Loop { hops });
    }
    let body = json_body(world, head, MAX_BODY).await?;
    let request = Asked::read(endpoint, &body)?;
    let session = option(head, "x-tollgate-session", short(256), "has at most 256 characters")?.unwrap_or_default();
    let metadata = option(head, "x-tollgate-metadata", flat, "is a flat JSON object of at most 8 pairs of strings")?.unwrap_or_default();
    let idempotency = option(head, "idempotency-key", short(255), "has at most 255 characters")?;
    let idempotency = idempotency.map(|key| (auth::digest(&[key.as_bytes()]), auth::digest(&[head.path.as_bytes(), &body])));
    let forward = FORWARDED.into_iter().filter_map(|name| head.header(name).map(|v| (name, v.to_owned()))).collect();
    Ok(Call {
        request,
        body,
        cache,
        cache_ttl_s: ttl.and_then(|n| u32::try_from(n).ok()),
        timeout: timeout.and_then(|n| i64::try_from(n).ok()),
        max_cost,
        metadata,
        session,
        idempotency,
        dry_run,
        hops,
        forward,
    })
}

/// A text of at most so many characters.
fn short(most: usize) -> impl Fn(&str) -> Option<String> {
    move |text| (text.chars().count() <= most).then(|| text.to_owned())
}

/// Most pairs of metadata.
const MAX_PAIRS: usize = 8;

/// A flat JSON object of strings.
fn flat(text: &str) -> Option<Map<String, String>> {
    let pairs: Map<String, String> = serde_json::from_str(text).ok()?;
    let fits = |(name, value): (&String, &String)| (1..=64).contains(&name.len()) && value.len() <= 256;
    (pairs.len() <= MAX_PAIRS && pairs.iter().all(fits)).then_some(pairs)
}

/// The body of a JSON request.
///
/// # Errors
/// If it is compressed, declared as something else, or too large.
pub async fn json_body<W: Event>(world: &W, head: &Head, cap: usize) -> Result<Vec<u8>, Failure> {
    if head.header("content-encoding").is_some_and(|v| !v.eq_ignore_ascii_case("identity")) {
        return Err(Failure::UnsupportedEncoding);
    }
    let kind = head.header("content-type").and_then(|v| v.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Failure::UnsupportedMediaType);
    }
    world.body(cap).await.map_err(|e| match e {
        NoBody::TooLarge => Failure::TooLarge { cap },
        NoBody::Broken => Failure::ClientGone,
    })
}

/// An option that stands in a header.
fn option<T>(head: &Head, name: &'static str, read: impl Fn(&str) -> Option<T>, form: &str) -> Result<Option<T>, Failure> {
    match head.header(name) {
        None => Ok(None),
        Some(text) => match read(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Failure::InvalidRequest { param: name.to_owned(), why: format!("the header {form}") }),
        },
    }
}
