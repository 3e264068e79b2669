//! Station 4: may it pass? One call to the tenant's object decides everything, and holds the worst case.
//! Where a rule says so, a request that may not is made smaller, or waits, and asks again.

use super::decide::{Bid, Decided, decide};
use super::facts::Facts;
use super::identify::{Caller, ask, or_invalid_key};
use super::look_up::{Found, Slot, look_up};
use super::read::Call;
use super::route::tokens;
use super::settle::{Compared, Held, degraded, opened};
use crate::isolate::{Isolate, KnownConfig};
use crate::ports::World;
use std::rc::Rc;
use tollgate_core::config::{Mode, WhenUnreachable};
use tollgate_core::degrade::{Degrade, Next};
use tollgate_core::failure::Failure;
use tollgate_core::map::Map;
use tollgate_core::perf::Seen;
use tollgate_core::plan::Plan;
use tollgate_core::price::TierAsked;
use tollgate_core::protocol::{Admit, Command, Denial, Idempotency, Repeated, Reply, StoredAnswer, TokenBound};
use tollgate_core::route::blocked;
use tollgate_core::units::{NanoUsd, Timestamp};

/// How often a configuration may change under one request.
const MAX_CHANGES: usize = 3;
/// How often one request may ask: a wait of 30 s with the shortest pauses stays below it.
const MAX_ASKED: usize = 1_500;

/// A request that may be sent.
pub struct Admitted {
    /// Its permit.
    pub held: Held,
    /// The request.
    pub call: Call,
    /// Where to.
    pub plan: Rc<Plan>,
    /// The model that it is for: what it asked for, or less.
    pub model: String,
    /// Input and output tokens at most.
    pub tokens: (u64, Option<u64>),
    /// The service tiers that it may be served in.
    pub tier: TierAsked,
    /// Providers of which a rule has nothing left, and that rule.
    pub blocked: Map<String, String>,
    /// Most output tokens of each choice, where policy lowered them.
    pub clamp: Option<u64>,
    /// Under this configuration.
    pub known: KnownConfig,
    /// Where its answer may be stored.
    pub slot: Option<Slot>,
}

/// What became of it.
pub enum Verdict<A> {
    /// It may be sent.
    Send(Box<Admitted>),
    /// A stored answer is given, under a permit or, where a rule says so, without.
    Stored(Box<(Held, Call, Found<A>)>),
    /// The same request was answered before.
    Repeat(StoredAnswer),
}

/// Asks for a permit.
///
/// # Errors
/// Why it may not pass.
pub async fn admit<W: World + Clone + 'static>(
    world: &W,
    isolate: &Rc<Isolate>,
    caller: Caller,
    call: Call,
    facts: &mut Facts,
) -> Result<Verdict<W::Answer>, Failure> {
    let since = world.now();
    shed(isolate, &caller, since)?;
    let mut known = match isolate.config(&caller.tenant) {
        Some(known) => known,
        None => match ask(world, &caller.tenant, Command::Configuration).await? {
            Reply::Configuration { version, config, updated_at, secrets, prices } => {
                isolate.learn(&caller.tenant, (version, updated_at), *config, secrets, prices)
            }
            _ => return Err(Failure::InvalidApiKey),
        },
    };
    let (mut bid, mut steps, mut changes) = (Bid::new(&call), Degrade::default(), 0);
    let mut decided = first(world, isolate, &caller, &call, &bid, &known, facts).await?;
    for _ in 0..MAX_ASKED {
        let seen = Seen { version: isolate.view(&caller.tenant).version, region: facts.region.clone() };
        let command = Command::Admit(Admit { view: Some(seen), ..question(&caller, &call, &bid, &known, &decided) });
        match ask(world, &caller.tenant, command).await {
            Ok(Reply::Permit(mut permit)) => {
                let now = world.now();
                if let Some(view) = permit.view.take() {
                    isolate.learn_view(&caller.tenant, *view);
                }
                facts.clock.stage("admit", since, now);
                facts.permitted(&permit, &steps);
                isolate.vouch(&caller.key_hash, &call.request.model, permit.critical, now);
                degraded(world, &caller, &steps);
                let mut held = Held::new(caller.tenant, permit, call.idempotency.is_some());
                held.note.compared = compared(isolate, &call, &known, &decided.plan, now);
                return Ok(verdict(held, call, bid, known, decided));
            }
            Ok(Reply::Denied { why, limit }) => {
                facts.limit = limit;
                // Where one provider has nothing left, others may.
                if let Some((provider, rule)) = blocked(&known.config, &why) {
                    let others = decided.held().without(|p| p == provider);
                    if !others.targets.is_empty() && bid.blocked.insert(provider, rule).is_none() {
                        decided = decide(world, isolate, &caller, &call, &bid, &known, facts).await?;
                        continue;
                    }
                }
                let mut next = steps.next(world.now(), &why);
                loop {
                    match next {
                        Next::Refuse => return Err(denied(why, &call.request.model, decided.worst_case)),
                        Next::Clamp(cost) if bid.clamp(&call, &decided, cost) => {
                            decided = decide(world, isolate, &caller, &call, &bid, &known, facts).await?;
                            break;
                        }
                        Next::Cache => {
                            if let Some(found) = stale(world, &caller, &mut decided).await {
                                steps.served_from_cache(&why);
                                facts.from_cache(&steps);
                                degraded(world, &caller, &steps);
                                return Ok(Verdict::Stored(Box::new((Held::none(caller.tenant), call, found))));
                            }
                        }
                        Next::Downgrade(model) => {
                            let lower = Bid { model, ..bid.clone() };
                            if let Ok(other) = decide(world, isolate, &caller, &call, &lower, &known, facts).await {
                                (bid, decided) = (lower, other);
                                break;
                            }
                        }
                        Next::Wait(ms) => {
                            let Some(_seat) = isolate.seat() else {
                                return Err(denied(why, &call.request.model, decided.worst_case));
                            };
                            world.sleep(ms).await;
                            break;
                        }
                        Next::Clamp(_) => {}
                    }
                    next = steps.next(world.now(), &why);
                }
            }
            Ok(Reply::Configuration { version, config, updated_at, secrets, prices }) if changes < MAX_CHANGES => {
                changes = changes.saturating_add(1);
                known = isolate.learn(&caller.tenant, (version, updated_at), *config, secrets, prices);
                decided = first(world, isolate, &caller, &call, &bid, &known, facts).await?;
            }
            Ok(Reply::Replay { stored: Some(stored) }) => return Ok(Verdict::Repeat(stored)),
            Ok(Reply::Replay { stored: None }) => return Err(Failure::IdempotencyConflict { why: NOT_REPEATABLE }),
            Ok(Reply::NoTenant) => {
                isolate.forget(&caller.tenant);
                return Err(Failure::InvalidApiKey);
            }
            Ok(Reply::Configuration { .. }) => return Err(Failure::Overloaded),
            Ok(_) => return Err(Failure::LedgerUnavailable),
            Err(failure) => {
                let now = world.now();
                if matches!(failure, Failure::Overloaded) {
                    isolate.pressed(&caller.tenant, now);
                }
                if !open(isolate, &caller, &call, &known, now) {
                    return Err(failure);
                }
                facts.unreachable();
                opened(world, &caller);
                world.log(&format!(
                    r#"{{"level":"warn","event":"admitted_without_ledger","tenant":"{}","message":"the ledger cannot be asked, and all limits of the tenant are open then"}}"#,
                    caller.tenant
                ));
                let held = Held::none(caller.tenant.clone());
                return Ok(verdict(held, call, bid, known, decided));
            }
        }
    }
    Err(Failure::Overloaded)
}

const NOT_REPEATABLE: &str = "The request with this Idempotency-Key was answered before, and its answer is too large to be repeated or was lost. Use another key to send it again.";

/// Decides for the first time under a configuration. Who may not ask at all learns nothing else.
async fn first<W: World>(
    world: &W,
    isolate: &Isolate,
    caller: &Caller,
    call: &Call,
    bid: &Bid,
    known: &KnownConfig,
    facts: &mut Facts,
) -> Result<Decided<W::Answer>, Failure> {
    match decide(world, isolate, caller, call, bid, known, facts).await {
        Ok(decided) => Ok(decided),
        Err(failure) => Err(or_invalid_key(world, caller, failure).await),
    }
}

fn question<A>(caller: &Caller, call: &Call, bid: &Bid, known: &KnownConfig, decided: &Decided<A>) -> Admit {
    // A stored answer costs nothing.
    let stored = decided.found.is_some();
    Admit {
        key_hash: caller.key_hash.to_string(),
        config: known.version,
        config_at: known.at,
        model: bid.model.clone(),
        worst_case: if stored { NanoUsd::ZERO } else { decided.worst_case },
        input_cost: if stored { NanoUsd::ZERO } else { decided.input_cost },
        tokens: if stored { TokenBound::default() } else { decided.tokens },
        providers: decided.held().providers(),
        metadata: call.metadata.clone(),
        session: call.session.clone(),
        idempotency: call
            .idempotency
            .as_ref()
            .map(|(key_hash, body_hash)| Idempotency { key_hash: key_hash.clone(), body_hash: body_hash.clone() }),
        ..Admit::default()
    }
}

fn verdict<A>(held: Held, call: Call, bid: Bid, known: KnownConfig, decided: Decided<A>) -> Verdict<A> {
    let tokens = tokens(&decided, &call, bid.clamp);
    if let Some(found) = decided.found {
        return Verdict::Stored(Box::new((held, call, found)));
    }
    let Bid { model, clamp, blocked } = bid;
    let (plan, slot, tier) = (decided.plan, decided.slot, decided.tier);
    Verdict::Send(Box::new(Admitted { held, call, plan, model, tokens, tier, blocked, clamp, known, slot }))
}

/// What the request's cost is compared with, where the tenant states a baseline.
fn compared(isolate: &Isolate, call: &Call, known: &KnownConfig, plan: &Plan, now: Timestamp) -> Option<Box<Compared>> {
    let baseline = plan.baseline.as_deref()?.clone();
    let asked = isolate.plan(known, &call.request.model, now).ok()?.targets.first()?.clone();
    let first = plan.targets.first()?.clone();
    Some(Box::new(Compared { model: call.request.model.clone(), baseline, asked, first }))
}

/// A stored answer to the request, however old.
async fn stale<W: World>(world: &W, caller: &Caller, decided: &mut Decided<W::Answer>) -> Option<Found<W::Answer>> {
    if let Some(found) = decided.found.take() {
        return Some(found);
    }
    look_up(world, &caller.tenant, decided.slot.as_ref()?, None).await
}

/// While the object says that it has too much to do, only keys that are marked critical may ask it.
fn shed(isolate: &Isolate, caller: &Caller, now: Timestamp) -> Result<(), Failure> {
    if isolate.under_pressure(&caller.tenant, now) && !isolate.vouched(&caller.key_hash, now).is_some_and(|v| v.critical) {
        return Err(Failure::Overloaded);
    }
    Ok(())
}

/// Whether a request may pass although the ledger cannot be asked: the tenant has no budget, all of its
/// limits say so, and the key passed lately.
fn open(isolate: &Isolate, caller: &Caller, call: &Call, known: &KnownConfig, now: Timestamp) -> bool {
    let config = &known.config;
    let enforced = |mode: Mode| mode == Mode::Enforce;
    call.idempotency.is_none()
        && !config.limits.is_empty()
        && config.limits.iter().filter(|l| enforced(l.mode)).all(|l| l.when_unreachable == WhenUnreachable::Open)
        && !config.budgets.iter().any(|b| enforced(b.mode))
        && config.permit.max_cost_usd.is_none()
        && config.permit.session.is_none()
        && isolate.vouched(&caller.key_hash, now).is_some_and(|v| v.models.contains(&call.request.model))
}

/// A denial in the client's words.
fn denied(why: Denial, model: &str, needed: NanoUsd) -> Failure {
    let needed_usd = needed.to_string();
    match why {
        Denial::Key => Failure::InvalidApiKey,
        Denial::Model => Failure::ModelNotAllowed { model: model.to_owned() },
        Denial::Limit { limit, window_s, retry_after, never, .. } => Failure::RateLimited { limit, window_s, retry_after, never },
        Denial::Budget { budget, limit, spent, held, resets_at, .. } => Failure::BudgetExceeded {
            budget,
            limit_usd: limit.to_string(),
            spent_usd: spent.to_string(),
            held_usd: held.to_string(),
            needed_usd,
            resets_at: resets_at.map(|t| t.rfc3339()),
        },
        Denial::MaxCost { cap } => {
            Failure::MaxCostExceeded { cap: "the tenant's cap for one request", cap_usd: cap.to_string(), needed_usd }
        }
        Denial::SessionCap { cap, used, .. } => {
            let left = cap.minus(used).at_least_zero();
            Failure::MaxCostExceeded { cap: "what is left of its session's cap", cap_usd: left.to_string(), needed_usd }
        }
        Denial::Idempotency { state: Repeated::Conflict, .. } => {
            Failure::IdempotencyConflict { why: "This Idempotency-Key was used for another request. Use a new key for a new request." }
        }
        Denial::Idempotency { state: Repeated::InProgress, retry_after } => Failure::IdempotencyInProgress { retry_after },
        Denial::Idempotency { state: Repeated::Full, .. } => Failure::Overloaded,
    }
}
