//! Station 5: the targets are asked in order until one answers.

use super::admit::Admitted;
use super::answer::{Content, Miss, Whole, arrived, face, whole};
use super::facts::Facts;
use super::look_up::Slot;
use super::outgoing::{Ask, Prepared, Unsent, Wire, prepare};
use super::read::Call;
use super::relay::cost;
use super::settle::Held;
use crate::isolate::Isolate;
use crate::ports::{Incoming, Primed, World};
use std::rc::Rc;
use tollgate_core::cache::MAX_ANSWER as MAX_KEPT;
use tollgate_core::config::Config;
use tollgate_core::dialect::tap::{State, Tap, Wanted};
use tollgate_core::failure::Failure;
use tollgate_core::plan::Target;
use tollgate_core::price::Usage;
use tollgate_core::protocol::{Attempt, Outcome};
use tollgate_core::sse::Bill;
use tollgate_core::units::{Millis, NanoUsd, Timestamp};

/// An answer that can be given.
pub struct Answered<A> {
    /// The permit.
    pub held: Held,
    /// The request.
    pub call: Call,
    /// Who answered.
    pub target: Target,
    /// What.
    pub content: Content,
    /// Its media type.
    pub content_type: String,
    /// Where the outside world has it.
    pub answer: Option<A>,
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

/// What one target gave.
struct Given<A> {
    content: Content,
    content_type: String,
    answer: Option<A>,
    headers: Vec<(&'static str, String)>,
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
    let keep = if (slot.is_some() && call.cache.writes()) || held.claimed() { MAX_KEPT } else { 0 };
    let mut before: Vec<Attempt> = Vec::new();
    let mut misses: Vec<Miss> = Vec::new();
    for target in plan.targets {
        let began = world.now();
        facts.target = Some((target.provider.clone(), target.model.clone()));
        let given = match prepare(isolate, &target, &call, clamp, &config.timeouts, deadline, began) {
            Err(unsent) => Err(unsent_miss(&target, &unsent)),
            Ok(Prepared::Estimate(tokens)) => Ok(estimate(&call, tokens)),
            Ok(Prepared::Ask(ask)) => {
                let wanted = Wanted {
                    usage: call.request.include_usage,
                    keep,
                    bill: Some(Bill { price: target.price.clone(), before: cost(&before) }),
                };
                one(world, &target, &call, *ask, wanted, facts).await
            }
        };
        match given {
            Ok(Given { content, content_type, answer, headers }) => {
                facts.upstream_headers = headers;
                return Ok(Answered { held, call, target, content, content_type, answer, before, began, deadline, config, slot });
            }
            Err(miss) => {
                before.push(failed(&target, &miss, &call, world.now().since(began)));
                let last = miss.last || world.now() >= deadline;
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

/// Asks one target, until its answer is there or has begun.
async fn one<W: World>(
    world: &W,
    target: &Target,
    call: &Call,
    ask: Ask,
    wanted: Wanted,
    facts: &mut Facts,
) -> Result<Given<W::Answer>, Miss> {
    let Ask { request, wire, dropped } = ask;
    facts.dropped = dropped;
    facts.attempts = facts.attempts.saturating_add(1);
    let client = call.request.endpoint.dialect();
    let since = world.now();
    let came = world.send(request).await;
    let arrived = arrived(&target.provider, came, wire, call.request.stream);
    let given = match arrived {
        Err(miss) => Err(miss),
        Ok(incoming) => {
            let Incoming { content_type, headers, whole: bytes, answer, .. } = incoming;
            let face = face(call.request.endpoint, &facts.request_id, &target.model, since.0.checked_div(1_000).unwrap_or(0));
            let passes = matches!(wire, Wire::Answer(format) if format == client);
            match (bytes, wire) {
                (Some(bytes), _) => whole(&target.provider, bytes, wire, call, &face).map(|whole| {
                    let content_type = if whole.own { content_type } else { "application/json".to_owned() };
                    let answer = whole.own.then_some(answer);
                    Given { content: Content::Whole(whole), content_type, answer, headers }
                }),
                (None, Wire::Answer(format)) => {
                    let (tap, primed) = world.prime(Tap::new(format, client, face, wanted)).await;
                    let begun = begun(&target.provider, tap, primed);
                    if begun.is_err() {
                        world.drop_stream();
                    }
                    begun.map(|tap| {
                        let content_type = if passes { content_type } else { client.stream_type().to_owned() };
                        Given { content: Content::Stream(Box::new(tap)), content_type, answer: Some(answer), headers }
                    })
                }
                (None, _) => Err(Miss::new(&target.provider, "a stream where none was asked for", Outcome::Error, 502, true)),
            }
        }
    };
    let now = world.now();
    facts.clock.upstream = facts.clock.upstream.saturating_add(now.since(since));
    facts.clock.stage("upstream", since, now);
    given
}

/// Whether a stream has begun, or will never.
fn begun(provider: &str, tap: Tap, primed: Primed) -> Result<Tap, Miss> {
    match (primed, tap.state()) {
        (Primed::ClientGone, _) => Err(Miss { last: true, ..Miss::new(provider, "client gone", Outcome::ClientGone, 499, true) }),
        (_, State::Failed) => Err(Miss::failed_stream(provider, tap.failed())),
        (Primed::Ended, State::Waiting) if !tap.whole() => Err(Miss::failed_stream(provider, None)),
        (Primed::Broken, State::Waiting) => Err(Miss::new(provider, "the stream broke off before it began", Outcome::Cut, 502, true)),
        _ => Ok(tap),
    }
}

/// The number of tokens where the target cannot count them.
fn estimate<A>(call: &Call, tokens: u64) -> Given<A> {
    let bytes = call.request.endpoint.dialect().encode_count_answer(tokens);
    let content = Content::Whole(Whole { bytes, own: false, usage: Some(Usage::default()) });
    Given { content, content_type: "application/json".to_owned(), answer: None, headers: vec![("x-tollgate-estimated", "true".to_owned())] }
}

/// A target that could not be asked.
fn unsent_miss(target: &Target, unsent: &Unsent) -> Miss {
    let why = match unsent {
        Unsent::NotConfigured(why) => why.clone(),
        Unsent::Refused(refused) => format!("cannot be asked this ({})", refused.param),
    };
    Miss { refused: unsent.failure(), ..Miss::new(&target.provider, &why, Outcome::Error, 0, false) }
}

/// What the client is told when nobody answered.
fn verdict(mut misses: Vec<Miss>) -> Failure {
    if !misses.is_empty() && misses.iter().all(|miss| miss.refused.is_some()) {
        let first = misses.iter_mut().find_map(|miss| miss.refused.take());
        return first.unwrap_or(Failure::Internal);
    }
    match misses.last_mut() {
        Some(Miss { outcome: Outcome::ClientGone, .. }) => Failure::ClientGone,
        Some(Miss { outcome: Outcome::Timeout, .. }) => Failure::UpstreamTimeout,
        Some(Miss { refused: Some(refused), last: true, .. }) => refused.clone(),
        _ => Failure::Upstream {
            retry_after: misses.iter().filter_map(|m| m.retry_after).min(),
            attempts: misses.into_iter().map(|m| m.told).collect(),
        },
    }
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
    }
}

/// Input tokens, where the provider does not tell: a quarter of the bytes.
pub fn estimated_input(call: &Call) -> u64 {
    u64::try_from(call.request.bytes.div_ceil(4)).unwrap_or(u64::MAX)
}
