//! One check: asked, and what its answer says.

use super::How;
use crate::isolate::{Isolate, KnownConfig};
use crate::ports::{Clock, Event, Incoming, NoAnswer, Outgoing, Upstream, Vault};
use crate::serve::answer::{Miss, arrived, face, whole};
use crate::serve::asked::Endpoint;
use crate::serve::keys::operators_keys;
use crate::serve::outgoing::{Ask, Prepared, Unsent, Wire, page, prepare, sign_with};
use serde::de::IgnoredAny;
use std::rc::Rc;
use tollgate_core::catalog::Provider;
use tollgate_core::checks::{Checked, Claim, State};
use tollgate_core::keyring::{Ring, Verdict, Why};
use tollgate_core::protocol::Outcome;
use tollgate_core::units::{Millis, NanoUsd, Timestamp};

/// How long a check may take, in milliseconds.
pub const LIMIT: Millis = 5_000;
/// Largest answer that is read, in bytes. The longest lists of models come close to it.
const MAX_ANSWER: usize = 1024 * 1024;

/// What was found, and what it cost.
struct Finding {
    state: State,
    status: u16,
    cost: NanoUsd,
    why: String,
    key: Verdict,
    retry_after: Option<Millis>,
}

impl Finding {
    fn new(state: State, why: &str) -> Finding {
        Finding { state, status: 0, cost: NanoUsd::ZERO, why: why.to_owned(), key: Verdict::Unrelated, retry_after: None }
    }
}

/// Makes a check.
pub(super) async fn ask<W: Clock + Event + Upstream + Vault>(
    world: &W,
    isolate: &Isolate,
    known: &KnownConfig,
    row: &Provider,
    how: &How,
    claim: Claim,
) -> Checked {
    let began = world.now();
    let finding = find(world, isolate, known, (&claim.provider, row), how).await;
    let latency_ms = u32::try_from(world.now().since(began)).unwrap_or(u32::MAX);
    let Finding { state, status, cost, why, .. } = finding;
    Checked { provider: claim.provider, n: claim.n, state, status, latency_ms, cost, why }
}

async fn find<W: Clock + Event + Upstream + Vault>(
    world: &W,
    isolate: &Isolate,
    known: &KnownConfig,
    (name, row): (&str, &Provider),
    how: &How,
) -> Finding {
    let ring: Rc<Ring> = match operators_keys(world, isolate, name, row).await {
        Ok(ring) => ring,
        Err(why) => return Finding::new(State::Auth, &why),
    };
    let now = world.now();
    let Ask { mut request, auth, wire, .. } = match request(isolate, known, (name, row), how, now.plus(LIMIT), now) {
        Ok(ask) => ask,
        Err(why) => return Finding::new(State::Refused, &why),
    };
    let seed = world.random().iter().take(8).fold(0, |n, b| (n << 8) | u64::from(*b));
    let key = isolate.choose_key(&ring, &[], now, seed);
    if let Err(why) = sign_with(isolate, auth, key.as_ref().map(|key| key.secret.reveal()), &mut request, now) {
        return Finding::new(State::Auth, &why);
    }
    let since = world.now();
    let came = world.send(request).await;
    let now = world.now();
    let finding = match how {
        How::Get(_) => of_page(name, came, wire, now),
        How::Token(one) => {
            let status = came.as_ref().map_or(0, |incoming| incoming.status);
            let (price, seconds) = (one.plan.targets.first().map(|t| &t.price), since.0.checked_div(1_000).unwrap_or(0));
            let face = face(Endpoint::Chat, "check", &one.call.request.model, seconds);
            let answer = arrived(name, came, wire, false, now).and_then(|incoming| {
                let Incoming { whole: bytes, input_tokens, .. } = incoming;
                whole(name, bytes.unwrap_or_default(), input_tokens, wire, &one.call, &face)
            });
            match answer {
                Ok(answer) => {
                    // An answer that does not say what it used is paid in full.
                    let cost = answer.usage.and_then(|usage| Some(price?.cost(usage))).unwrap_or(one.worst);
                    Finding { status, cost, key: Verdict::Works, ..Finding::new(State::Ok, "") }
                }
                Err(miss) => {
                    let cost = if miss.may_charge { one.worst } else { NanoUsd::ZERO };
                    Finding { cost, ..missed(&miss, status) }
                }
            }
        }
    };
    // An answer that came as a stream is not read.
    world.drop_stream();
    if let Some(key) = &key {
        isolate.key_answered(key, finding.key, finding.retry_after, now).iter().for_each(|line| world.log(line));
    }
    finding
}

/// The request.
fn request(
    isolate: &Isolate,
    known: &KnownConfig,
    (name, row): (&str, &Provider),
    how: &How,
    deadline: Timestamp,
    now: Timestamp,
) -> Result<Ask, String> {
    let told = |unsent: Unsent| match unsent {
        Unsent::NotConfigured(why) => why,
        Unsent::Refused(refused) => refused.why,
    };
    let one = match how {
        How::Get(path) => return page(isolate, known, (name, row), path, LIMIT, MAX_ANSWER).map_err(told),
        How::Token(one) => one,
    };
    let target = one.plan.targets.first().ok_or("no target")?;
    match prepare(isolate, known, target, &one.call, Some(1), deadline, now).map_err(told)? {
        Prepared::Ask(ask) => Ok(Ask { request: Outgoing { cap: MAX_ANSWER, ..ask.request }, ..*ask }),
        Prepared::Estimate(_) => Err("it was not asked".to_owned()),
    }
}

/// What the answer to a page says. Its content does not matter, as long as there is some.
fn of_page<A>(name: &str, came: Result<Incoming<A>, NoAnswer>, wire: Wire, now: Timestamp) -> Finding {
    if came.as_ref().is_err_and(|why| *why == NoAnswer::TooLarge) {
        return Finding::new(State::Ok, "");
    }
    let status = came.as_ref().map_or(0, |incoming| incoming.status);
    match arrived(name, came, wire, false, now) {
        Err(miss) => missed(&miss, status),
        Ok(incoming) => {
            let body = incoming.whole.unwrap_or_default();
            let some = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
            if some && serde_json::from_slice::<IgnoredAny>(&body).is_ok() {
                Finding { status, key: Verdict::Works, ..Finding::new(State::Ok, "") }
            } else {
                Finding { status, ..Finding::new(State::Down, &format!("{name}: not JSON")) }
            }
        }
    }
}

/// What it says that there was no usable answer. `status` is the provider's own, 0 if there was none.
fn missed(miss: &Miss, status: u16) -> Finding {
    let state = match (miss.key, status) {
        _ if miss.outcome == Outcome::Timeout => State::Timeout,
        (Verdict::Trouble(Why::Refused | Why::NoCredit), _) | (_, 401 | 403) => State::Auth,
        (Verdict::Trouble(Why::Throttled), _) | (_, 429) => State::RateLimited,
        (_, 300..=407 | 409..=499) => State::Refused,
        _ => State::Down,
    };
    Finding { status, key: miss.key, retry_after: miss.retry_after, ..Finding::new(state, &miss.told) }
}
