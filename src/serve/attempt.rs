//! Station 5: the targets are asked in order until one answers.

use super::admit::Admitted;
use super::answer::{Content, Miss, Whole, arrived, face, whole};
use super::facts::Facts;
use super::keys::provider_keys;
use super::look_up::Slot;
use super::outgoing::{Prepared, Unsent, Wire, prepare, sign_with};
use super::read::Call;
use super::relay::cost;
use super::route::Order;
use super::settle::{self, Held};
use crate::isolate::{Busy, Isolate, KnownConfig};
use crate::ports::{Incoming, Outgoing, Primed, World};
use std::rc::Rc;
use tollgate_core::cache::MAX_ANSWER as MAX_KEPT;
use tollgate_core::catalog::Auth;
use tollgate_core::config::Config;
use tollgate_core::dialect::tap::{State, Tap, Wanted};
use tollgate_core::failure::Failure;
use tollgate_core::ids::{PermitId, TenantId};
use tollgate_core::keyring::{Ring, Verdict};
use tollgate_core::plan::Target;
use tollgate_core::price::Usage;
use tollgate_core::protocol::{Attempt, Outcome};
use tollgate_core::retry::{Attempts, Class, Left, Signal, Step};
use tollgate_core::sse::Bill;
use tollgate_core::units::{Millis, NanoUsd, Timestamp};

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
    /// Where the worker runs.
    pub region: String,
    /// The target's place among those that are asked.
    pub busy: Busy,
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
    /// Where the worker runs.
    region: String,
    /// The permit, where breakers want to hear of failures.
    permit: Option<PermitId>,
}

/// Asks.
///
/// # Errors
/// When no target answers. The permit is settled then.
pub async fn attempt<W: World + Clone + 'static>(
    world: &W,
    isolate: &Rc<Isolate>,
    admitted: Admitted,
    order: Order,
    facts: &mut Facts,
) -> Result<Answered<W::Answer>, Failure> {
    let Admitted { held, call, clamp, known, slot, .. } = admitted;
    facts.clamp = clamp;
    let config = Rc::clone(&known.config);
    let total = i64::from(config.timeouts.total_ms);
    let deadline = facts.clock.started.plus(call.timeout.map_or(total, |asked| asked.min(total)));
    let keep = if (slot.is_some() && call.cache.writes()) || held.claimed() { MAX_KEPT } else { 0 };
    let (tenant, region, hold) = (held.tenant.clone(), facts.region.clone(), isolate.hold());
    isolate.retries(&tenant, |budget| budget.deposit(config.retry.budget_percent));
    let permit = held.id().filter(|_| config.breaker.enabled);
    let question = Question { tenant, known: &known, call: &call, clamp, deadline, keep, hold, region, permit };
    let attempts = Attempts::new(config.retry, deadline);
    let probes = held.probe().is_some_and(|probed| order.targets.front().is_some_and(|first| first.name() == probed));
    let attempts = if probes { attempts.probing() } else { attempts };
    let mut tries = Tries { order, attempts, lines: Vec::new(), misses: Vec::new() };
    let mut next = tries.order.targets.pop_front();
    while let Some(target) = next {
        facts.target = Some((target.provider.clone(), target.model.clone()));
        let busy = isolate.busy(target.name());
        match ask_target(world, isolate, &question, &target, &mut tries, facts).await {
            Ok((began, given)) => {
                let Given { content, content_type, answer, headers } = given;
                facts.upstream_headers = headers;
                let (before, region) = (tries.lines, question.region);
                return Ok(Answered {
                    held,
                    call,
                    target,
                    content,
                    content_type,
                    answer,
                    before,
                    began,
                    deadline,
                    config,
                    slot,
                    region,
                    busy,
                });
            }
            Err(then) => next = then,
        }
    }
    held.settle(world, isolate, tries.lines);
    Err(verdict(tries.misses))
}

/// What was tried in vain, and what is left.
struct Tries {
    order: Order,
    attempts: Attempts,
    lines: Vec<Attempt>,
    misses: Vec<Miss>,
}

impl Tries {
    fn missed(&mut self, target: &Target, question: &Question<'_>, latency: Millis, miss: Miss) {
        self.lines.push(failed(target, &miss, question, latency));
        self.misses.push(miss);
    }

    fn left(&self, keys: bool) -> Left {
        let Order { targets, context, policy } = &self.order;
        Left { keys, targets: !targets.is_empty(), context: !context.is_empty(), policy: !policy.is_empty() }
    }
}

/// Asks a target, again or with other keys where that may help. If all is in vain: the next target, if any.
async fn ask_target<W: World + Clone + 'static>(
    world: &W,
    isolate: &Isolate,
    question: &Question<'_>,
    target: &Target,
    tries: &mut Tries,
    facts: &mut Facts,
) -> Result<(Timestamp, Given<W::Answer>), Option<Target>> {
    let Question { known, call, .. } = question;
    let mut began = world.now();
    let prepared = prepare(isolate, known, target, call, question.clamp, question.deadline, began);
    let ask = match prepared {
        Ok(Prepared::Ask(ask)) => ask,
        Ok(Prepared::Estimate(tokens)) => return Ok((began, estimate(call, tokens))),
        Err(unsent) => return Err(tries.pass_over(target, question, &unsent)),
    };
    let ring = match ring(world, isolate, question, target, ask.auth).await {
        Ok(ring) => ring,
        Err(why) => return Err(tries.pass_over(target, question, &Unsent::NotConfigured(why))),
    };
    facts.dropped = ask.dropped.clone();
    let mut tried = Vec::new();
    let mut key = isolate.choose_key(&ring, &tried, began, facts.seed);
    loop {
        let mut request = ask.request.clone();
        let secret = key.as_ref().map(|key| key.secret.reveal());
        if let Err(why) = sign_with(isolate, ask.auth, secret, &mut request, began) {
            return Err(tries.pass_over(target, question, &Unsent::NotConfigured(why)));
        }
        let wanted = Wanted {
            usage: call.request.include_usage,
            keep: question.keep,
            bill: Some(Bill { price: target.price.clone(), before: cost(&tries.lines) }),
        };
        let given = one(world, target, question, request, ask.wire, wanted, facts).await;
        let now = world.now();
        let (said, wait) = given.as_ref().map_or_else(|miss| (miss.key, miss.retry_after), |_| (Verdict::Works, None));
        if let Some(key) = &key {
            if let Some(line) = isolate.key_answered(key, said, wait, now) {
                world.log(&line);
            }
            tried.push(key.id.clone());
        }
        let miss = match given {
            Ok(given) => return Ok((began, given)),
            Err(miss) => miss,
        };
        let class = miss.class;
        tries.missed(target, question, now.since(began), miss);
        let other = if class.row().key && !tried.is_empty() { isolate.choose_key(&ring, &tried, now, facts.seed) } else { None };
        let (left, random) = (tries.left(other.is_some()), chance(world));
        let step = isolate.retries(&question.tenant, |budget| tries.attempts.next(now, class, wait, random, left, budget));
        // Whatever comes next may take long, and until then others would run into the same fault.
        if let Some(permit) = question.permit.filter(|_| step != Step::Stop && class.row().signal == Signal::Failure) {
            settle::failed(world, &question.tenant, permit, &tries.lines);
        }
        match step {
            Step::Same(pause) => {
                world.sleep(pause).await;
                tried.clear();
                key = isolate.choose_key(&ring, &tried, world.now(), facts.seed);
            }
            Step::Key => key = other,
            Step::Target => return Err(tries.order.targets.pop_front()),
            Step::Context => return Err(tries.order.context.pop_front()),
            Step::Policy => return Err(tries.order.policy.pop_front()),
            Step::Stop => return Err(None),
        }
        began = world.now();
    }
}

impl Tries {
    /// A target that could not be asked: the next one, if there is any.
    fn pass_over(&mut self, target: &Target, question: &Question<'_>, unsent: &Unsent) -> Option<Target> {
        self.missed(target, question, 0, unsent_miss(target, unsent));
        self.order.targets.pop_front()
    }
}

/// 64 random bits.
fn chance<W: World>(world: &W) -> u64 {
    world.random().iter().take(8).fold(0, |n, b| (n << 8) | u64::from(*b))
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
    let Question { call, hold, known, .. } = question;
    let idle = i64::from(known.config.timeouts.idle_ms);
    facts.attempts = facts.attempts.saturating_add(1);
    let client = call.request.endpoint.dialect();
    let since = world.now();
    let came = world.send(request).await;
    let arrived = arrived(&target.provider, came, wire, call.request.stream, world.now());
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
                    let (tap, primed) = world.prime(Tap::new(format, client, face, wanted), *hold, idle).await;
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
        (Primed::ClientGone, _) => Err(Miss::new(provider, "client gone", Outcome::ClientGone, 499, true)),
        (_, State::Failed) => Err(Miss::failed_stream(provider, tap.failed())),
        (Primed::Ended, State::Waiting) if !tap.whole() => Err(Miss::failed_stream(provider, None)),
        (Primed::Silent, State::Waiting) => Err(Miss::new(provider, "no answer in time", Outcome::Timeout, 504, true)),
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
    // It says nothing of the provider: it was never asked.
    Miss { refused: unsent.failure(), class: Class::NoModel, ..Miss::new(&target.provider, &why, Outcome::Error, 0, false) }
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
        Some(Miss { refused: Some(refused), class: Class::Refused | Class::ContentPolicy | Class::ContextWindow, .. }) => refused.clone(),
        _ => Failure::Upstream {
            retry_after: misses.iter().filter_map(|m| m.retry_after).min().and_then(seconds),
            attempts: misses.into_iter().map(|m| m.told).collect(),
        },
    }
}

/// Whole seconds, at most [`MAX_RETRY_AFTER`]: who waits them out has waited long enough.
fn seconds(ms: Millis) -> Option<u64> {
    u64::try_from(ms.saturating_add(999).checked_div(1_000)?).ok().map(|s| s.min(MAX_RETRY_AFTER))
}

/// The line of a failed attempt.
fn failed(target: &Target, miss: &Miss, question: &Question<'_>, latency: Millis) -> Attempt {
    let usage = if miss.may_charge { Usage { input: estimated_input(question.call), ..Usage::default() } } else { Usage::default() };
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
        class: Some(miss.class),
        retry_after_ms: miss.retry_after.map_or(0, |ms| u32::try_from(ms).unwrap_or(u32::MAX)),
        region: question.region.clone(),
    }
}

/// Input tokens, where the provider does not tell: a quarter of the bytes.
pub fn estimated_input(call: &Call) -> u64 {
    u64::try_from(call.request.bytes.div_ceil(4)).unwrap_or(u64::MAX)
}
