//! Station 4: may it pass? One call to the tenant's object decides everything, and holds the worst case.

use super::facts::Facts;
use super::identify::{Caller, ask, or_invalid_key};
use super::look_up::{Found, Slot, look_up, slot};
use super::read::Call;
use super::settle::Held;
use crate::isolate::{Isolate, KnownConfig};
use crate::ports::World;
use std::rc::Rc;
use tollgate_core::cache::Mode;
use tollgate_core::config::Config;
use tollgate_core::failure::Failure;
use tollgate_core::plan::Plan;
use tollgate_core::protocol::{Admit, Command, Denial, Reply, TokenBound};
use tollgate_core::units::NanoUsd;

/// How often a configuration may change under one request.
const MAX_CHANGES: usize = 3;
/// Tokens assumed for an image that the provider fetches itself. The dearest known images of this kind
/// cost just under 50,000.
const REMOTE_IMAGE: u64 = 50_000;

/// A request that may be sent.
pub struct Admitted<A> {
    /// Its permit.
    pub held: Held,
    /// The request.
    pub call: Call,
    /// Where to.
    pub plan: Plan,
    /// Under this configuration.
    pub config: Rc<Config>,
    /// Where its answer may be stored.
    pub slot: Option<Slot>,
    /// A stored answer.
    pub found: Option<Found<A>>,
}

/// Asks for a permit.
///
/// # Errors
/// Why it may not pass.
pub async fn admit<W: World>(
    world: &W,
    isolate: &Isolate,
    caller: Caller,
    call: Call,
    facts: &mut Facts,
) -> Result<Admitted<W::Answer>, Failure> {
    let since = world.now();
    let mut known = match isolate.config(&caller.tenant) {
        Some(known) => known,
        None => match ask(world, &caller.tenant, Command::Configuration).await? {
            Reply::Configuration { version, config, .. } => isolate.learn(&caller.tenant, version, *config),
            _ => return Err(Failure::InvalidApiKey),
        },
    };
    for _ in 0..MAX_CHANGES {
        let decided = match decide(world, isolate, &caller, &call, &known, facts).await {
            Ok(decided) => decided,
            Err(failure) => return Err(or_invalid_key(world, &caller, failure).await),
        };
        let admit = Admit {
            key_hash: caller.key_hash.to_string(),
            config: known.version,
            model: call.request.model.clone(),
            worst_case: if decided.found.is_some() { NanoUsd::ZERO } else { decided.worst_case },
            input_cost: if decided.found.is_some() { NanoUsd::ZERO } else { decided.input_cost },
            tokens: if decided.found.is_some() { TokenBound::default() } else { decided.tokens },
            providers: decided.plan.providers(),
            ..Admit::default()
        };
        match ask(world, &caller.tenant, Command::Admit(admit)).await? {
            Reply::Permit(permit) => {
                facts.clock.stage("admit", since, world.now());
                facts.limit.clone_from(&permit.limit);
                facts.key = Some(permit.key.clone());
                let held = Held::new(caller.tenant, permit);
                return Ok(Admitted { held, call, plan: decided.plan, config: known.config, slot: decided.slot, found: decided.found });
            }
            Reply::Denied { why, limit } => {
                facts.limit = limit;
                return Err(denied(why, &call.request.model, decided.worst_case));
            }
            Reply::Configuration { version, config, .. } => known = isolate.learn(&caller.tenant, version, *config),
            Reply::NoTenant => {
                isolate.forget(&caller.tenant);
                return Err(Failure::InvalidApiKey);
            }
            _ => return Err(Failure::LedgerUnavailable),
        }
    }
    Err(Failure::Overloaded)
}

/// What this configuration makes of the request.
struct Decided<A> {
    plan: Plan,
    slot: Option<Slot>,
    found: Option<Found<A>>,
    worst_case: NanoUsd,
    input_cost: NanoUsd,
    tokens: TokenBound,
}

async fn decide<W: World>(
    world: &W,
    isolate: &Isolate,
    caller: &Caller,
    call: &Call,
    known: &KnownConfig,
    facts: &mut Facts,
) -> Result<Decided<W::Answer>, Failure> {
    let plan = isolate.plan(known, &call.request.model)?;
    facts.route = Some(plan.reason.clone());
    let bytes = u64::try_from(call.request.bytes).unwrap_or(u64::MAX);
    let input = bytes.saturating_add(call.request.remote_images.saturating_mul(REMOTE_IMAGE));
    let (worst_case, input_cost) = plan.worst_case(input, call.request.max_output, call.request.choices);
    let tokens = TokenBound { input, output: plan.most_output(call.request.max_output, call.request.choices) };
    let slot = slot(&caller.tenant, known.config.cache, &plan, call);
    let mut found = None;
    if let Some(slot) = slot.as_ref().filter(|_| call.cache.reads()) {
        let since = world.now();
        found = look_up(world, &caller.tenant, slot, since).await;
        facts.clock.stage("cache", since, world.now());
    }
    facts.cache = match (&slot, &found, call.cache) {
        (None, ..) => "bypass",
        (Some(_), Some(_), _) => "hit",
        (Some(_), None, Mode::Refresh) => "refresh",
        (Some(_), None, _) => "miss",
    };
    if call.cache == Mode::Only && found.is_none() {
        return Err(Failure::NotCached);
    }
    if let Some(cap) = call.max_cost.filter(|cap| found.is_none() && worst_case > *cap) {
        return Err(Failure::MaxCostExceeded { cap_usd: cap.to_string(), needed_usd: worst_case.to_string() });
    }
    Ok(Decided { plan, slot, found, worst_case, input_cost, tokens })
}

/// A denial in the client's words.
fn denied(why: Denial, model: &str, needed: NanoUsd) -> Failure {
    match why {
        Denial::Key => Failure::InvalidApiKey,
        Denial::Model => Failure::ModelNotAllowed { model: model.to_owned() },
        Denial::Limit { limit, window_s, retry_after, .. } => Failure::RateLimited { limit, window_s, retry_after },
        Denial::Budget { budget, limit, spent, held, resets_at, .. } => Failure::BudgetExceeded {
            budget,
            limit_usd: limit.to_string(),
            spent_usd: spent.to_string(),
            held_usd: held.to_string(),
            needed_usd: needed.to_string(),
            resets_at: resets_at.map(|t| t.rfc3339()),
        },
        Denial::MaxCost { cap } => Failure::MaxCostExceeded { cap_usd: cap.to_string(), needed_usd: needed.to_string() },
        Denial::SessionCap { cap, .. } => Failure::MaxCostExceeded { cap_usd: cap.to_string(), needed_usd: needed.to_string() },
        // Only a request that carries an idempotency key is denied for one.
        Denial::Idempotency { .. } => Failure::LedgerUnavailable,
    }
}
