//! Station 5: the targets are asked in order until one answers.

use super::admit::Admitted;
use super::answer::{Content, Miss, Whole, arrived, face, whole};
use super::facts::Facts;
use super::keys::provider_keys;
use super::look_up::Slot;
use super::outgoing::{Prepared, Unsent, Wire, prepare, sign_with};
use super::read::Call;
use super::relay::cost;
use super::settle::Held;
use crate::isolate::{Isolate, KnownConfig};
use crate::ports::{Incoming, Outgoing, Primed, World};
use std::rc::Rc;
use tollgate_core::cache::MAX_ANSWER as MAX_KEPT;
use tollgate_core::catalog::Auth;
use tollgate_core::config::Config;
use tollgate_core::dialect::tap::{State, Tap, Wanted};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::keyring::{Ring, Verdict};
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

/// What is asked, and under which conditions.
struct Question<'a> {
    tenant: TenantId,
    known: &'a KnownConfig,
    call: &'a Call,
    clamp: Option<u64>,
    deadline: Timestamp,
    /// Most bytes to keep of a stream.
    keep: usize,
    /// Milliseconds that a stream is held back until it begins.
    hold: Millis,
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
    let Admitted { held, call, plan, clamp, known, slot } = admitted;
    facts.clamp = clamp;
    let config = Rc::clone(&known.config);
    let total = i64::from(config.timeouts.total_ms);
    let deadline = facts.clock.started.plus(call.timeout.map_or(total, |asked| asked.min(total)));
    let keep = if (slot.is_some() && call.cache.writes()) || held.claimed() { MAX_KEPT } else { 0 };
    let question = Question { tenant: held.tenant.clone(), known: &known, call: &call, clamp, deadline, keep, hold: isolate.hold() };
    let mut tries = Tries::default();
    for target in plan.targets {
        facts.target = Some((target.provider.clone(), target.model.clone()));
        if let Some((began, given)) = target_answer(world, isolate, &question, &target, &mut tries, facts).await {
            let Given { content, content_type, answer, headers } = given;
            facts.upstream_headers = headers;
            let before = tries.lines;
            return Ok(Answered { held, call, target, content, content_type, answer, before, began, deadline, config, slot });
        }
        if tries.over(world.now(), deadline) {
            break;
        }
    }
    held.settle(world, isolate, tries.lines);
    Err(verdict(tries.misses))
}

/// What was tried in vain.
#[derive(Default)]
struct Tries {
    lines: Vec<Attempt>,
    misses: Vec<Miss>,
}

impl Tries {
    fn missed(&mut self, target: &Target, call: &Call, latency: Millis, miss: Miss) {
        self.lines.push(failed(target, &miss, call, latency));
        self.misses.push(miss);
    }

    /// Whether no other target can help.
    fn over(&self, now: Timestamp, deadline: Timestamp) -> bool {
        self.misses.last().is_some_and(|miss| miss.last) || now >= deadline
    }
}

/// Asks a target, with one key after the other where the provider blames the key.
async fn target_answer<W: World + Clone + 'static>(
    world: &W,
    isolate: &Isolate,
    question: &Question<'_>,
    target: &Target,
    tries: &mut Tries,
    facts: &mut Facts,
) -> Option<(Timestamp, Given<W::Answer>)> {
    let Question { known, call, .. } = question;
    let mut began = world.now();
    let ask = match prepare(isolate, known, target, call, question.clamp, question.deadline, began) {
        Ok(Prepared::Ask(ask)) => ask,
        Ok(Prepared::Estimate(tokens)) => return Some((began, estimate(call, tokens))),
        Err(unsent) => {
            tries.missed(target, call, 0, unsent_miss(target, &unsent));
            return None;
        }
    };
    let ring = match ring(world, isolate, question, target, ask.auth).await {
        Ok(ring) => ring,
        Err(why) => {
            tries.missed(target, call, 0, unsent_miss(target, &Unsent::NotConfigured(why)));
            return None;
        }
    };
    facts.dropped = ask.dropped.clone();
    let mut tried = Vec::new();
    loop {
        let key = isolate.choose_key(&ring, &tried, began, facts.seed);
        if key.is_none() && !tried.is_empty() {
            return None;
        }
        let mut request = ask.request.clone();
        let secret = key.as_ref().map(|key| key.secret.reveal());
        if let Err(why) = sign_with(isolate, ask.auth, secret, &mut request, began) {
            tries.missed(target, call, 0, unsent_miss(target, &Unsent::NotConfigured(why)));
            return None;
        }
        let wanted = Wanted {
            usage: call.request.include_usage,
            keep: question.keep,
            bill: Some(Bill { price: target.price.clone(), before: cost(&tries.lines) }),
        };
        let given = one(world, target, question, request, ask.wire, wanted, facts).await;
        let now = world.now();
        let (said, wait) = match &given {
            Ok(_) => (Verdict::Works, None),
            Err(miss) => (miss.key, miss.retry_after),
        };
        if let Some(key) = key {
            let wait = wait.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000));
            if let Some(line) = isolate.key_answered(&key, said, wait, now) {
                world.log(&line);
            }
            tried.push(key.id);
        }
        match given {
            Ok(given) => return Some((began, given)),
            Err(miss) => {
                tries.missed(target, call, now.since(began), miss);
                if !said.rotates() || tries.over(now, question.deadline) || tried.is_empty() {
                    return None;
                }
            }
        }
        began = now;
    }
}

/// The keys to ask a target with. None where it wants none, or where Amazon's variables are to sign.
async fn ring<W: World>(world: &W, isolate: &Isolate, question: &Question<'_>, target: &Target, auth: Auth) -> Result<Rc<Ring>, String> {
    let keys = provider_keys(world, isolate, &question.tenant, question.known, &target.provider).await;
    // What is the operator's never goes where the tenant has its own keys or address.
    let own = question.known.config.providers.contains_key(&target.provider);
    if keys.is_err() && !own && auth == Auth::Aws && isolate.var("AWS_ACCESS_KEY_ID").is_some() {
        return Ok(Rc::default());
    }
    keys
}

/// Asks one target, until its answer is there or has begun.
async fn one<W: World>(
    world: &W,
    target: &Target,
    question: &Question<'_>,
    request: Outgoing,
    wire: Wire,
    wanted: Wanted,
    facts: &mut Facts,
) -> Result<Given<W::Answer>, Miss> {
    let Question { call, hold, .. } = *question;
    facts.attempts = facts.attempts.saturating_add(1);
    let client = call.request.endpoint.dialect();
    let since = world.now();
    let came = world.send(request).await;
    let arrived = arrived(&target.provider, came, wire, call.request.stream);
    let given = match arrived {
        Err(miss) => Err(miss),
        Ok(incoming) => {
            let Incoming { content_type, headers, whole: bytes, answer, input_tokens, .. } = incoming;
            let face = face(call.request.endpoint, &facts.request_id, &target.model, since.0.checked_div(1_000).unwrap_or(0));
            let passes = matches!(wire, Wire::Answer(format) if format == client);
            match (bytes, wire) {
                (Some(bytes), _) => whole(&target.provider, bytes, input_tokens, wire, call, &face).map(|whole| {
                    let content_type = if whole.own { content_type } else { "application/json".to_owned() };
                    let answer = whole.own.then_some(answer);
                    Given { content: Content::Whole(whole), content_type, answer, headers }
                }),
                (None, Wire::Answer(format)) => {
                    let (tap, primed) = world.prime(Tap::new(format, client, face, wanted), hold).await;
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
        ..Attempt::default()
    }
}

/// Input tokens, where the provider does not tell: a quarter of the bytes.
pub fn estimated_input(call: &Call) -> u64 {
    u64::try_from(call.request.bytes.div_ceil(4)).unwrap_or(u64::MAX)
}
