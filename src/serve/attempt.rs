//! Station 5: the targets are asked in order until one answers.

mod hedge;
mod missed;
mod one;
mod onward;

pub use missed::estimated_input;
pub use onward::{Broken, Onward, Resumed, Stopped, go_on};

use super::admit::Admitted;
use super::answer::{Content, Miss};
use super::facts::Facts;
use super::keys::provider_keys;
use super::look_up::Slot;
use super::outgoing::{Prepared, Unsent, prepare, sign_with};
use super::read::Call;
use super::relay::cost;
use super::route::Order;
use super::settle::{self, Held};
use crate::isolate::{Busy, Isolate, KnownConfig};
use crate::ports::World;
use hedge::{Came, Hedge, Raced, Second, race};
use missed::{aborted, failed, unsent_miss, verdict};
use one::{Given, estimate, one};
use std::rc::Rc;
use tollgate_core::cache::MAX_ANSWER as MAX_KEPT;
use tollgate_core::catalog::Auth;
use tollgate_core::config::Config;
use tollgate_core::dialect::Seam;
use tollgate_core::dialect::tap::Wanted;
use tollgate_core::failure::Failure;
use tollgate_core::ids::{PermitId, TenantId};
use tollgate_core::keyring::{Ring, Verdict};
use tollgate_core::plan::Target;
use tollgate_core::protocol::Attempt;
use tollgate_core::retry::{Attempts, Left, Signal, Step};
use tollgate_core::sse::Bill;
use tollgate_core::units::{Millis, NanoUsd, Timestamp};

/// An answer that can be given.
pub struct Answered<W: World> {
    /// The way to the outside world that has it.
    pub via: W,
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
    pub answer: Option<W::Answer>,
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
    /// What is left to be tried if the answer breaks off, where it may go on elsewhere.
    pub onward: Option<Box<Onward>>,
}

/// Who answered, and what.
struct Won<W: World> {
    via: W,
    target: Target,
    busy: Busy,
    began: Timestamp,
    given: Given<W::Answer>,
}

/// What is asked, and under which conditions.
struct Question<'a> {
    tenant: TenantId,
    known: &'a KnownConfig,
    call: &'a Call,
    clamp: Option<u64>,
    /// Input and output tokens at most.
    tokens: (u64, Option<u64>),
    deadline: Timestamp,
    /// Most bytes to keep of a stream.
    keep: usize,
    /// Milliseconds that a stream is held back until it begins.
    hold: Millis,
    /// Where the worker runs.
    region: String,
    /// The permit, where breakers want to hear of failures.
    permit: Option<PermitId>,
    /// A stream may go on elsewhere if it breaks off.
    resumable: bool,
    /// A stream goes on that broke off.
    seam: Option<Seam>,
    /// Input tokens at most that the permit did not reckon with: what is out of the stream that broke off.
    added: u64,
}

impl Question<'_> {
    /// Whether the caller's own cap leaves room for an attempt at this target beside what others cost.
    fn affords(&self, spent: NanoUsd, target: &Target) -> bool {
        let (input, output) = self.tokens;
        let output = output.unwrap_or_else(|| target.max_output.saturating_mul(self.call.request.choices));
        self.call.max_cost.is_none_or(|cap| spent.plus(target.price.worst_case(input, output, self.call.request.tier)) <= cap)
    }
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
) -> Result<Answered<W>, Failure> {
    let Admitted { held, call, clamp, tokens, known, slot, .. } = admitted;
    facts.clamp = clamp;
    let config = Rc::clone(&known.config);
    let total = i64::from(config.timeouts.total_ms);
    let deadline = facts.clock.started.plus(call.timeout.map_or(total, |asked| asked.min(total)));
    let keep = if (slot.is_some() && call.cache.writes()) || held.claimed() { MAX_KEPT } else { 0 };
    let (tenant, region, hold) = (held.tenant.clone(), facts.region.clone(), isolate.hold());
    isolate.retries(&tenant, |budget| budget.deposit(config.retry.budget_percent));
    if let Some(hedge) = config.retry.hedge {
        isolate.may_hedge(&tenant, hedge.max_percent);
    }
    let permit = held.id().filter(|_| config.breaker.enabled);
    let resumable = onward::resumable(&known, &call);
    let question = Question {
        tenant,
        known: &known,
        call: &call,
        clamp,
        tokens,
        deadline,
        keep,
        hold,
        region,
        permit,
        resumable,
        seam: None,
        added: 0,
    };
    let attempts = Attempts::new(config.retry, deadline);
    let probes = held.probe().is_some_and(|probed| order.targets.front().is_some_and(|first| first.name() == probed));
    let attempts = if probes { attempts.probing() } else { attempts };
    let mut tries = Tries { held, order, attempts, lines: Vec::new(), misses: Vec::new() };
    let mut next = tries.order.targets.pop_front();
    while let Some(target) = next {
        match ask_target(world, isolate, &question, target, &mut tries, facts).await {
            Ok(won) => {
                let Won { via, target, busy, began, given } = won;
                let Given { content, content_type, answer, headers } = given;
                facts.upstream_headers = headers;
                let (Tries { held, order, attempts, lines: before, .. }, region) = (tries, question.region);
                let left = |known| Box::new(Onward { known, order, attempts, clamp, tokens, facts: facts.clone() });
                let onward = resumable.then(|| left(known.clone()));
                return Ok(Answered {
                    via,
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
                    onward,
                });
            }
            Err(then) => next = then,
        }
    }
    tries.held.settle(world, isolate, tries.lines);
    Err(verdict(tries.misses))
}

/// What was tried in vain, and what is left.
struct Tries {
    held: Held,
    order: Order,
    attempts: Attempts,
    lines: Vec<Attempt>,
    misses: Vec<Miss>,
}

impl Tries {
    /// Whether it may have used something.
    fn missed(&mut self, target: &Target, question: &Question<'_>, latency: Millis, miss: Miss) -> bool {
        let line = failed(target, &miss, question, latency);
        let charged = line.estimated;
        self.lines.push(line);
        self.misses.push(miss);
        charged
    }

    /// Whether the next attempt may be made, beside what those so far may have cost. The permit holds both then.
    async fn room<W: World>(&mut self, world: &W, question: &Question<'_>, target: &Target, step: Step) -> bool {
        let next = match step {
            Step::Same(_) | Step::Key => Some(target),
            Step::Target => self.order.targets.front(),
            Step::Context => self.order.context.front(),
            Step::Policy => self.order.policy.front(),
            Step::Stop => None,
        };
        let Some(next) = next.cloned() else { return false };
        self.holds(world, question, &next).await
    }

    /// Whether the permit holds an attempt at a target beside what those so far may have cost.
    async fn holds<W: World>(&mut self, world: &W, question: &Question<'_>, target: &Target) -> bool {
        if !question.affords(cost(&self.lines), target) {
            return false;
        }
        let mut lines = self.lines.clone();
        lines.extend(question.beside(target));
        let Some(holds) = self.held.more(world, lines).await else { return false };
        self.held.holds(holds);
        true
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
    target: Target,
    tries: &mut Tries,
    facts: &mut Facts,
) -> Result<Won<W>, Option<Target>> {
    let Question { known, call, .. } = question;
    facts.target = Some((target.provider.clone(), target.model.clone()));
    let busy = isolate.busy(target.name());
    let won = |busy, target, began, given| Won { via: world.clone(), target, busy, began, given };
    let mut began = world.now();
    let prepared = |now| prepare(isolate, known, &target, call, question.clamp, question.deadline, now);
    let mut ask = match prepared(began) {
        Ok(Prepared::Ask(ask)) => ask,
        Ok(Prepared::Estimate(tokens)) => return Ok(won(busy, target, began, estimate(call, tokens))),
        Err(unsent) => return Err(tries.pass_over(&target, question, &unsent)),
    };
    let ring = match ring(world, isolate, question, &target, ask.auth).await {
        Ok(ring) => ring,
        Err(why) => return Err(tries.pass_over(&target, question, &Unsent::NotConfigured(why))),
    };
    facts.dropped = ask.dropped.clone();
    let mut tried = Vec::new();
    let mut key = isolate.choose_key(&ring, &tried, began, facts.seed);
    loop {
        let mut request = ask.request;
        let secret = key.as_ref().map(|key| key.secret.reveal());
        if let Err(why) = sign_with(isolate, ask.auth, secret, &mut request, began) {
            return Err(tries.pass_over(&target, question, &Unsent::NotConfigured(why)));
        }
        let wanted = Wanted {
            usage: call.request.include_usage,
            keep: question.keep,
            bill: Some(Bill { price: target.price.clone(), asked: call.request.tier, before: cost(&tries.lines) }),
            // Only where somebody is left to go on.
            resumable: question.resumable && !tries.order.targets.is_empty(),
            seam: question.seam.as_ref().map(|seam| seam.by(target.name(), &ask.dropped)),
        };
        facts.attempts = facts.attempts.saturating_add(1);
        let since = world.now();
        let asked = one(world, &target, question, request, ask.wire, wanted, &facts.request_id);
        let raced = match Hedge::of(isolate, question, &target, tries) {
            None => Raced { first: Some(asked.await), second: None, holds: None },
            // Apart, so that the others need no room for it.
            Some(hedge) => Box::pin(race(world, isolate, question, tries, hedge, asked, (&facts.request_id, facts.seed))).await,
        };
        let now = world.now();
        facts.clock.upstream = facts.clock.upstream.saturating_add(now.since(since));
        facts.clock.stage("upstream", since, now);
        if let Some(holds) = raced.holds {
            tries.held.holds(holds);
        }
        if raced.second.is_some() {
            tries.hedged(facts);
        }
        let (given, other) = match (raced.first, raced.second) {
            (Some(given), other) => (given, other),
            (None, other) => {
                tries.lines.push(aborted(&target, question, now.since(began)));
                return other.and_then(|other| tries.won_beside(other, facts)).ok_or(None);
            }
        };
        let (said, wait) = given.as_ref().map_or_else(|miss| (miss.key, miss.retry_after), |_| (Verdict::Works, None));
        if let Some(key) = &key {
            if let Some(line) = isolate.key_answered(key, said, wait, now) {
                world.log(&line);
            }
            tried.push(key.id.clone());
        }
        let miss = match given {
            Ok(mut given) => {
                if let Some(other) = other {
                    let before = cost(&tries.lines);
                    tries.lost(other, question, now);
                    given.besides(cost(&tries.lines).minus(before));
                }
                return Ok(won(busy, target, began, given));
            }
            Err(miss) => miss,
        };
        let class = miss.class;
        let mut charged = tries.missed(&target, question, now.since(began), miss);
        match other {
            Some(other @ Second { came: Some(Came { given: Ok(_), .. }), .. }) => return tries.won_beside(other, facts).ok_or(None),
            Some(other) => charged |= tries.lost(other, question, now),
            None => {}
        }
        let other = if class.row().key && !tried.is_empty() { isolate.choose_key(&ring, &tried, now, facts.seed) } else { None };
        let (left, random) = (tries.left(other.is_some()), chance(world));
        let step = isolate.retries(&question.tenant, |budget| tries.attempts.next(now, class, wait, random, left, budget));
        // Whatever comes next may take long, and until then others would run into the same fault.
        if let Some(permit) = question.permit.filter(|_| step != Step::Stop && class.row().signal == Signal::Failure) {
            settle::failed(world, &question.tenant, permit, &tries.lines);
        }
        // What it may have cost is held beside the next attempt, or there is none.
        if charged && !tries.room(world, question, &target, step).await {
            return Err(None);
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
        // Less time is left than before.
        ask = match prepared(began) {
            Ok(Prepared::Ask(again)) => again,
            Ok(Prepared::Estimate(_)) => return Err(None),
            Err(unsent) => return Err(tries.pass_over(&target, question, &unsent)),
        };
    }
}

impl Tries {
    /// The next target was asked beside the first.
    fn hedged(&mut self, facts: &mut Facts) {
        self.order.targets.pop_front();
        self.attempts.hedged();
        facts.hedged();
    }

    /// The one beside it answered, if it did.
    fn won_beside<W: World>(&self, second: Second<W>, facts: &mut Facts) -> Option<Won<W>> {
        let Second { target, began, via, told, came } = second;
        let Came { given, busy, dropped } = came?;
        let mut given = given.ok()?;
        given.besides(cost(&self.lines).minus(told));
        facts.target = Some((target.provider.clone(), target.model.clone()));
        facts.dropped = dropped;
        Some(Won { via, target, busy, began, given })
    }

    /// The one beside it did not answer, or was let go. Whether it may have used something.
    fn lost<W: World>(&mut self, second: Second<W>, question: &Question<'_>, now: Timestamp) -> bool {
        let Second { target, began, came, .. } = second;
        let latency = now.since(began);
        match came {
            Some(Came { given: Err(miss), .. }) => self.missed(&target, question, latency, miss),
            _ => {
                self.lines.push(aborted(&target, question, latency));
                true
            }
        }
    }

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
