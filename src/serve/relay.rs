//! Station 6: the answer goes out. A whole one as it came; a stream through the meter, chunk by chunk.
//! Either way the report follows.

use super::answer::{Content, Whole, class_of};
use super::asked::Endpoint;
use super::attempt::{Answered, Broken, Onward, Resumed, estimated_input, go_on};
use super::facts::Facts;
use super::look_up::{Found, Slot};
use super::read::Call;
use super::settle::Held;
use crate::http::{Body, Response};
use crate::isolate::{Busy, Isolate};
use crate::ports::{StreamEnd, World};
use std::rc::Rc;
use tollgate_core::cache::{Kept, MAX_ANSWER as MAX_KEPT};
use tollgate_core::dialect::tap::Tap;
use tollgate_core::failure::Failure;
use tollgate_core::plan::Target;
use tollgate_core::price::{Price, TierAsked, Usage};
use tollgate_core::protocol::{Attempt, Outcome, StoredAnswer};
use tollgate_core::sse::{Bill, Meter};
use tollgate_core::units::{Millis, NanoUsd, Timestamp};

/// Gives a stored answer. It costs nothing, and says so where the client asked.
pub fn stored<W: World + Clone + 'static>(
    world: &W,
    isolate: &Rc<Isolate>,
    mut held: Held,
    call: &Call,
    found: Found<W::Answer>,
    facts: &mut Facts,
) -> Response<W::Answer> {
    let now = world.now();
    facts.target = Some((found.kept.provider.clone(), found.kept.model.clone()));
    facts.cost = Some(NanoUsd::ZERO);
    held.note.stored = Some(found.kept.usage);
    let attempt = Attempt {
        provider: found.kept.provider,
        model: found.kept.model,
        outcome: Outcome::Cached,
        status: 200,
        usage: Usage::default(),
        estimated: false,
        cost: NanoUsd::ZERO,
        price: String::new(),
        latency_ms: u32::try_from(now.since(facts.clock.started)).unwrap_or(u32::MAX),
        first_byte_ms: 0,
        ..Attempt::default()
    };
    held.complete(world, &found.kept.content_type, &found.bytes);
    held.settle(world, isolate, vec![attempt]);
    if call.request.endpoint == Endpoint::Chat && call.request.stream && call.request.include_usage {
        return answer(found.kept.content_type, Body::Bytes(free(found.bytes)));
    }
    answer(found.kept.content_type, Body::Whole(found.answer))
}

/// Gives the answer that the same request was given before. It costs nothing more.
pub fn repeated<A>(call_told_usage: bool, stored: StoredAnswer, facts: &mut Facts) -> Response<A> {
    facts.cost = Some(NanoUsd::ZERO);
    let kind = stored.headers.into_iter().find(|(name, _)| name == "content-type");
    let content_type = kind.map_or_else(|| "application/json".to_owned(), |(_, value)| value);
    let body = stored.body.into_bytes();
    let body = if call_told_usage { free(body) } else { body };
    let response = answer(content_type, Body::Bytes(body)).with("idempotent-replayed", "true");
    Response { status: stored.status, ..response }
}

/// A stored stream that tells its cost, which is none.
fn free(stored: Vec<u8>) -> Vec<u8> {
    let mut meter = Meter::new(false, 0).billed(Some(Bill { price: Price::default(), asked: TierAsked::Auto, before: NanoUsd::ZERO }));
    let mut bytes = meter.push(&stored).unwrap_or(stored);
    bytes.extend(meter.finish());
    bytes
}

/// Gives a provider's answer.
pub fn relay<W: World + Clone + 'static>(isolate: &Rc<Isolate>, answered: Answered<W>, facts: &mut Facts) -> Response<W::Answer> {
    let Answered { via, held, call, target, content, content_type, answer, before, began, deadline, config, slot, region, busy, onward } =
        answered;
    let slot = slot.filter(|_| call.cache.writes());
    let given = Given { held, call, target, content_type, before, began, slot, region, busy };
    match content {
        Content::Whole(content) => whole(&via, isolate, given, content, answer, facts),
        Content::Stream(tap) => {
            let limits = (deadline, i64::from(config.timeouts.idle_ms));
            stream(&via, isolate, given, *tap, answer, limits, onward)
        }
    }
}

/// An answer on its way.
struct Given {
    held: Held,
    call: Call,
    target: Target,
    content_type: String,
    before: Vec<Attempt>,
    began: Timestamp,
    slot: Option<Slot>,
    region: String,
    busy: Busy,
}

fn answer<A>(content_type: String, body: Body<A>) -> Response<A> {
    let headers = vec![("content-type", content_type), ("cache-control", "private, no-store".to_owned())];
    Response { status: 200, headers, body }
}

fn whole<W: World + Clone + 'static>(
    world: &W,
    isolate: &Rc<Isolate>,
    given: Given,
    content: Whole,
    own: Option<W::Answer>,
    facts: &mut Facts,
) -> Response<W::Answer> {
    let Given { held, call, target, content_type, mut before, began, slot, region, busy } = given;
    let Whole { bytes, usage: told, .. } = content;
    let usage =
        told.unwrap_or_else(|| Usage { input: estimated_input(&call), output: estimated_output(&call, &bytes), ..Usage::default() });
    let usage = usage.asked_in(call.request.tier);
    let latency = world.now().since(began);
    drop(busy);
    before.push(Attempt { region, ..ended(&target, Outcome::Ok, usage, told.is_none(), latency, latency) });
    facts.usage = Some(usage);
    facts.cost = Some(cost(&before));
    held.complete(world, &content_type, &bytes);
    let body = match own {
        Some(own) => {
            held_copy(world, &held, slot, &target, usage, &content_type, bytes);
            Body::Whole(own)
        }
        None => {
            held_copy(world, &held, slot, &target, usage, &content_type, bytes.clone());
            Body::Bytes(bytes)
        }
    };
    held.settle(world, isolate, before);
    answer(content_type, body)
}

/// Stores a copy, after the answer is out.
fn held_copy<W: World + Clone + 'static>(
    world: &W,
    held: &Held,
    slot: Option<Slot>,
    target: &Target,
    usage: Usage,
    content_type: &str,
    bytes: Vec<u8>,
) {
    let Some(slot) = slot.filter(|_| bytes.len() <= MAX_KEPT) else { return };
    let kept = Kept {
        tenant: held.tenant.clone(),
        content_type: content_type.to_owned(),
        provider: target.provider.clone(),
        model: target.model.clone(),
        expires_at: world.now().plus(i64::from(slot.ttl_s).saturating_mul(1_000)),
        bytes: bytes.len(),
        usage,
    };
    let store = world.clone();
    world.later(async move {
        store.put(&slot.key, &kept, &bytes, slot.keep_s).await;
    });
}

fn stream<W: World + Clone + 'static>(
    world: &W,
    isolate: &Rc<Isolate>,
    given: Given,
    tap: Tap,
    own: Option<W::Answer>,
    (deadline, idle): (Timestamp, Millis),
    onward: Option<Box<Onward>>,
) -> Response<W::Answer> {
    let content_type = given.content_type.clone();
    let first_byte = world.now().since(given.began);
    let (relayed, isolate) = (world.clone(), Rc::clone(isolate));
    world.later(async move {
        let world = relayed;
        let Given { mut held, mut call, target, content_type, before: mut lines, began, slot, region, busy } = given;
        let mut part = Part { target, busy: Some(busy), began, first_byte, region };
        let (mut tap, mut outcome, mut last) = move_on(&world, tap, (deadline, idle), isolate.heartbeat()).await;
        let mut told = false;
        if let Some(onward) = onward.filter(|_| matches!(outcome, Outcome::Cut | Outcome::Timeout))
            && let Some(unfinished) = tap.take_unfinished()
        {
            let (line, usage) = part.ended(&world, &call, &tap, outcome);
            lines.push(line);
            world.keep_open(isolate.heartbeat());
            let target = part.target.clone();
            let unfinished = (unfinished, usage.output);
            let broken = Broken { held, call, target, lines, unfinished, deadline, onward };
            // Apart, so that the others need no room for it.
            match Box::pin(go_on(&world, &isolate, broken)).await {
                Ok(resumed) => {
                    let Resumed { tap: rest, target, busy, began, .. } = *resumed;
                    (held, call, lines) = (resumed.held, resumed.call, resumed.lines);
                    held.note.begun = Some(usage);
                    let first_byte = world.now().since(began);
                    part = Part { target, busy: Some(busy), began, first_byte, region: part.region };
                    (tap, outcome, last) = move_on(&world, rest, (deadline, idle), isolate.heartbeat()).await;
                }
                Err(stopped) => {
                    (held, call, lines) = (stopped.held, stopped.call, stopped.lines);
                    told = true;
                }
            }
        }
        if let Some(failure) = in_band(outcome, &part.target) {
            last.extend(tap.fail(call.request.endpoint.dialect(), &failure));
        }
        world.close(last).await;
        if !told {
            let (line, usage) = part.ended(&world, &call, &tap, outcome);
            lines.push(line);
            if let (Outcome::Ok, Some(bytes)) = (outcome, tap.take_kept()) {
                held.complete(&world, &content_type, &bytes);
                held_copy(&world, &held, slot, &part.target, usage, &content_type, bytes);
            }
        }
        held.settle(&world, &isolate, lines);
    });
    // A stream is always the outside world's.
    answer(content_type, own.map_or(Body::Empty, Body::Stream))
}

/// Who writes a stream, or the rest of it.
struct Part {
    target: Target,
    /// Its place among the targets that are asked, while it is.
    busy: Option<Busy>,
    began: Timestamp,
    first_byte: Millis,
    region: String,
}

impl Part {
    /// The line of it once it has ended, and what it used.
    fn ended<W: World>(&mut self, world: &W, call: &Call, tap: &Tap, outcome: Outcome) -> (Attempt, Usage) {
        self.busy = None;
        let (told, seen) = (tap.usage(), tap.estimated_output());
        let mut usage = told.unwrap_or_else(|| Usage { input: estimated_input(call), output: seen, ..Usage::default() });
        // Some tell at the beginning that they wrote a token, and of all others at the end.
        let untold = outcome != Outcome::Ok && usage.output < seen;
        if untold {
            usage.output = seen;
        }
        let usage = usage.asked_in(call.request.tier);
        let line = ended(&self.target, outcome, usage, told.is_none() || untold, world.now().since(self.began), self.first_byte);
        // Who left says nothing of the provider.
        let class = tap.said().map(class_of).filter(|_| outcome != Outcome::ClientGone);
        (Attempt { region: self.region.clone(), class, ..line }, usage)
    }
}

/// Moves a stream to the client. What it went through, how it ended, and the bytes that were held back.
async fn move_on<W: World>(world: &W, tap: Tap, (deadline, idle): (Timestamp, Millis), heartbeat: Millis) -> (Tap, Outcome, Vec<u8>) {
    let total = deadline.since(world.now()).max(1);
    let (mut tap, end) = world.relay(tap, idle, total, heartbeat).await;
    let last = tap.finish();
    let outcome = match end {
        StreamEnd::Closed if tap.whole() => Outcome::Ok,
        StreamEnd::Closed | StreamEnd::Broken => Outcome::Cut,
        StreamEnd::Timeout => Outcome::Timeout,
        StreamEnd::ClientGone => Outcome::ClientGone,
    };
    (tap, outcome, last)
}

/// After the first byte the status is out: an error is told in the stream, and nothing follows it.
fn in_band(outcome: Outcome, target: &Target) -> Option<Failure> {
    match outcome {
        Outcome::Cut => Some(Failure::Upstream { attempts: vec![format!("{}: the stream broke off", target.provider)], retry_after: None }),
        Outcome::Timeout => Some(Failure::UpstreamTimeout),
        _ => None,
    }
}

/// What attempts cost together.
pub fn cost(attempts: &[Attempt]) -> NanoUsd {
    attempts.iter().fold(NanoUsd::ZERO, |sum, a| sum.plus(a.cost))
}

/// The line of an attempt that answered.
fn ended(target: &Target, outcome: Outcome, usage: Usage, estimated: bool, latency: Millis, first_byte: Millis) -> Attempt {
    Attempt {
        provider: target.provider.clone(),
        model: target.model.clone(),
        outcome,
        status: if outcome == Outcome::ClientGone { 499 } else { 200 },
        usage,
        estimated,
        cost: target.price.cost(usage),
        price: target.price.id_for(usage),
        latency_ms: u32::try_from(latency).unwrap_or(u32::MAX),
        first_byte_ms: u32::try_from(first_byte).unwrap_or(u32::MAX),
        ..Attempt::default()
    }
}

/// Output tokens of a whole answer whose provider does not tell: a quarter of its bytes. Vectors are none.
fn estimated_output(call: &Call, body: &[u8]) -> u64 {
    if call.request.endpoint == Endpoint::Embeddings {
        return 0;
    }
    u64::try_from(body.len().div_ceil(4)).unwrap_or(u64::MAX)
}
