//! Station 5: the targets are asked in order until one answers.

use super::admit::Admitted;
use super::facts::Facts;
use super::look_up::Slot;
use super::read::Call;
use super::settle::Held;
use crate::isolate::Isolate;
use crate::ports::{Incoming, NoAnswer, Outgoing, World};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::rc::Rc;
use tollgate_core::config::Config;
use tollgate_core::dialect::openai::Edit;
use tollgate_core::failure::Failure;
use tollgate_core::plan::Target;
use tollgate_core::price::Usage;
use tollgate_core::protocol::{Attempt, Outcome};
use tollgate_core::units::{Millis, NanoUsd, Timestamp};

/// Largest answer that is read whole, in bytes.
pub const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Longest wait that an upstream's `retry-after` may ask of a client, in seconds.
const MAX_RETRY_AFTER: u64 = 60;

/// An answer that can be given.
pub struct Answered<A> {
    /// The permit.
    pub held: Held,
    /// The request.
    pub call: Call,
    /// Who answered.
    pub target: Target,
    /// What.
    pub incoming: Incoming<A>,
    /// Attempts before it.
    pub before: Vec<Attempt>,
    /// When this attempt began.
    pub began: Timestamp,
    /// When the whole request must be over.
    pub deadline: Timestamp,
    /// Under this configuration.
    pub config: Rc<Config>,
    /// Where to store it.
    pub slot: Option<Slot>,
}

/// Why one target gave no usable answer.
struct Miss {
    /// For the client: no more than provider and kind.
    told: String,
    outcome: Outcome,
    status: u16,
    /// Whether the provider may have worked, and will charge the input.
    may_charge: bool,
    retry_after: Option<u64>,
    /// The provider refused the request itself; others would too.
    refused: Option<Failure>,
}

/// Asks.
///
/// # Errors
/// When no target answers. The permit is settled then.
pub async fn attempt<W: World + Clone + 'static>(
    world: &W,
    isolate: &Rc<Isolate>,
    admitted: Admitted,
    facts: &mut Facts,
) -> Result<Answered<W::Answer>, Failure> {
    let Admitted { held, call, plan, clamp, config, slot } = admitted;
    facts.clamp = clamp;
    let total = i64::from(config.timeouts.total_ms);
    let deadline = facts.clock.started.plus(call.timeout.map_or(total, |asked| asked.min(total)));
    let mut before: Vec<Attempt> = Vec::new();
    let mut misses: Vec<Miss> = Vec::new();
    for target in plan.targets {
        let began = world.now();
        facts.target = Some((target.provider.clone(), target.model.clone()));
        let asked = match outgoing(isolate, &target, &call, clamp, &config, deadline, began) {
            Err(why) => Err(Miss {
                told: format!("{}: {why}", target.provider),
                outcome: Outcome::Error,
                status: 0,
                may_charge: false,
                retry_after: None,
                refused: None,
            }),
            Ok(request) => {
                facts.attempts = facts.attempts.saturating_add(1);
                let came = world.send(request).await;
                facts.clock.upstream = facts.clock.upstream.saturating_add(world.now().since(began));
                facts.clock.stage("upstream", began, world.now());
                usable(&target.provider, came, call.request.stream)
            }
        };
        match asked {
            Ok(incoming) => return Ok(Answered { held, call, target, incoming, before, began, deadline, config, slot }),
            Err(miss) => {
                before.push(failed(&target, &miss, &call, world.now().since(began)));
                let gone = miss.outcome == Outcome::ClientGone;
                let last = miss.refused.is_some() || gone || world.now() >= deadline;
                misses.push(miss);
                if last {
                    break;
                }
            }
        }
    }
    held.settle(world, isolate, before);
    Err(verdict(misses))
}

/// What the client is told when nobody answered.
fn verdict(mut misses: Vec<Miss>) -> Failure {
    match misses.last_mut() {
        Some(Miss { outcome: Outcome::ClientGone, .. }) => Failure::ClientGone,
        Some(Miss { outcome: Outcome::Timeout, .. }) => Failure::UpstreamTimeout,
        Some(Miss { refused: Some(refused), .. }) => refused.clone(),
        _ => Failure::Upstream {
            retry_after: misses.iter().filter_map(|m| m.retry_after).min(),
            attempts: misses.into_iter().map(|m| m.told).collect(),
        },
    }
}

/// The request to a target. The only place that makes one, so the only place that has to be right
/// about where requests may go.
fn outgoing(
    isolate: &Isolate,
    target: &Target,
    call: &Call,
    clamp: Option<u64>,
    config: &Config,
    deadline: Timestamp,
    now: Timestamp,
) -> Result<Outgoing, String> {
    let row = isolate.catalog.provider(&target.provider).ok_or("not configured")?;
    let key = isolate.var(&row.api_key_env).ok_or_else(|| format!("no API key is configured ({})", row.api_key_env))?;
    if !may_call(&row.base_url, isolate.var("TOLLGATE_PLAIN_HTTP_HOSTS").unwrap_or_default()) {
        return Err("its base URL is neither https nor in TOLLGATE_PLAIN_HTTP_HOSTS".to_owned());
    }
    let left = deadline.since(now).max(1);
    // OpenAI's newer models refuse the old name; the others know only that.
    let field = if target.provider == "openai" { "max_completion_tokens" } else { "max_tokens" };
    let mut headers = vec![
        ("authorization", format!("Bearer {key}")),
        ("content-type", "application/json".to_owned()),
        // Asked plainly, an answer needs no unpacking, and its declared length is its length.
        ("accept-encoding", "identity".to_owned()),
    ];
    headers.extend(call.forward.iter().cloned());
    Ok(Outgoing {
        url: format!("{}/chat/completions", row.base_url),
        headers,
        body: call.request.edit(&call.body, &Edit { model: &target.model, max_output: clamp.map(|tokens| (field, tokens)) }),
        first_byte: i64::from(config.timeouts.first_byte_ms).min(left),
        total: left,
        cap: MAX_ANSWER,
    })
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

/// Sorts answers from non-answers.
fn usable<A>(provider: &str, came: Result<Incoming<A>, NoAnswer>, stream: bool) -> Result<Incoming<A>, Miss> {
    let miss = |told: &str, outcome, status, may_charge| Miss {
        told: format!("{provider}: {told}"),
        outcome,
        status,
        may_charge,
        retry_after: None,
        refused: None,
    };
    let incoming = match came {
        Ok(incoming) => incoming,
        Err(NoAnswer::Timeout) => return Err(miss("no answer in time", Outcome::Timeout, 504, true)),
        Err(NoAnswer::ClientGone) => return Err(miss("client gone", Outcome::ClientGone, 499, true)),
        Err(NoAnswer::Broken) => return Err(miss("connection failed", Outcome::Error, 502, false)),
        Err(NoAnswer::Cut) => return Err(miss("the answer broke off", Outcome::Cut, 502, true)),
        Err(NoAnswer::TooLarge) => return Err(miss("answer too large", Outcome::Error, 502, true)),
    };
    let status = incoming.status;
    match status {
        200..=299 if stream && incoming.whole.is_none() => Ok(incoming),
        200..=299 if !stream && incoming.whole.as_deref().is_some_and(is_object) => Ok(incoming),
        200..=299 => Err(miss("not an answer of the OpenAI format", Outcome::Error, 502, true)),
        400 | 404 | 405 | 409 | 413 | 415 | 422 => {
            let refused = Some(refusal(status, incoming.whole.as_deref().unwrap_or_default()));
            Err(Miss { refused, ..miss(&format!("status {status}"), Outcome::Error, status, false) })
        }
        _ => {
            let retry_after = incoming.retry_after.and_then(|v| v.trim().parse::<u64>().ok()).map(|s| s.min(MAX_RETRY_AFTER));
            Err(Miss { retry_after, ..miss(&format!("status {status}"), Outcome::Error, status, false) })
        }
    }
}

/// Whether it is one JSON object.
fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

/// The provider's own complaint about the request, in our shape.
fn refusal(status: u16, body: &[u8]) -> Failure {
    #[derive(Deserialize, Default)]
    struct Wire {
        #[serde(default)]
        error: WireError,
    }
    #[derive(Deserialize, Default)]
    struct WireError {
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        param: Option<String>,
    }
    let error = serde_json::from_slice::<Wire>(body).unwrap_or_default().error;
    let short = |text: String| text.chars().take(2_000).collect::<String>();
    let message = error.message.map_or_else(|| format!("The provider refused the request with status {status}."), short);
    Failure::UpstreamRefused { status, message, code: error.code.map(short), param: error.param.map(short) }
}

/// The line of a failed attempt.
fn failed(target: &Target, miss: &Miss, call: &Call, latency: Millis) -> Attempt {
    let usage = if miss.may_charge { Usage { input: estimated_input(call), ..Usage::default() } } else { Usage::default() };
    Attempt {
        provider: target.provider.clone(),
        model: target.model.clone(),
        outcome: miss.outcome,
        status: miss.status,
        usage,
        estimated: miss.may_charge,
        cost: if miss.may_charge { target.price.cost(usage) } else { NanoUsd::ZERO },
        price: target.price.id.clone(),
        latency_ms: u32::try_from(latency).unwrap_or(u32::MAX),
        first_byte_ms: 0,
        ..Attempt::default()
    }
}

/// Input tokens, where the provider does not tell: a quarter of the bytes.
pub fn estimated_input(call: &Call) -> u64 {
    u64::try_from(call.request.bytes.div_ceil(4)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::may_call;

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
