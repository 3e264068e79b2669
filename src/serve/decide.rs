//! Between reading and admission: what this configuration makes of the request.

use super::asked::Endpoint;
use super::facts::Facts;
use super::identify::Caller;
use super::look_up::{Found, Slot, look_up, slot};
use super::read::Call;
use crate::isolate::{Isolate, KnownConfig};
use crate::ports::World;
use std::rc::Rc;
use tollgate_core::cache::Mode;
use tollgate_core::failure::Failure;
use tollgate_core::map::Map;
use tollgate_core::plan::{Plan, Target};
use tollgate_core::price::TierAsked;
use tollgate_core::protocol::TokenBound;
use tollgate_core::units::NanoUsd;

/// Tokens assumed for an image that the provider fetches itself. The dearest known images of this kind
/// cost just under 50,000.
const REMOTE_IMAGE: u64 = 50_000;

/// What is asked for: what the caller wants, or less of it.
#[derive(Clone, Debug)]
pub struct Bid {
    /// The model.
    pub model: String,
    /// Most output tokens of each choice, where policy lowers what the caller wants.
    pub clamp: Option<u64>,
    /// Providers of which a limit or budget has nothing left, and that rule.
    pub blocked: Map<String, String>,
}

impl Bid {
    /// What the caller wants.
    pub fn new(call: &Call) -> Bid {
        Bid { model: call.request.model.clone(), clamp: None, blocked: Map::new() }
    }

    /// Lowers the output until the request costs at most `cost`. Whether that is possible.
    pub fn clamp<A>(&mut self, call: &Call, decided: &Decided<A>, cost: NanoUsd) -> bool {
        let choices = call.request.choices.max(1);
        let most = decided.tokens.output.checked_div(choices).unwrap_or(0);
        // The cost grows with the output: the largest that fits, by bisection.
        let fits = |each: u64| {
            decided.held().worst_case(decided.tokens.input, Some(each.saturating_mul(choices)), choices, decided.tier).0 <= cost
        };
        let (mut low, mut high) = (0_u64, most);
        while low < high {
            let middle = low.midpoint(high).saturating_add(1).min(high);
            if fits(middle) {
                low = middle;
            } else {
                high = middle.saturating_sub(1);
            }
        }
        if low == 0 {
            return false;
        }
        self.clamp = Some(low);
        true
    }
}

/// What a bid comes to.
pub struct Decided<A> {
    /// Where it would go.
    pub plan: Rc<Plan>,
    /// The same without providers of which a rule has nothing left: what is held.
    pub open: Option<Plan>,
    /// Where its answer is, or will be, stored.
    pub slot: Option<Slot>,
    /// A stored answer.
    pub found: Option<Found<A>>,
    /// The most that it can cost.
    pub worst_case: NanoUsd,
    /// The input's part of it.
    pub input_cost: NanoUsd,
    /// The most tokens.
    pub tokens: TokenBound,
    /// The service tiers that it may be served in.
    pub tier: TierAsked,
}

impl<A> Decided<A> {
    /// The plan whose worst case is held.
    pub fn held(&self) -> &Plan {
        self.open.as_ref().unwrap_or(&self.plan)
    }
}

/// Decides.
///
/// # Errors
/// The model is unknown or has no price, nothing is stored where only that would do, or the caller's own
/// cap is too low.
pub async fn decide<W: World>(
    world: &W,
    isolate: &Isolate,
    caller: &Caller,
    call: &Call,
    bid: &Bid,
    known: &KnownConfig,
    facts: &mut Facts,
) -> Result<Decided<W::Answer>, Failure> {
    let plan = isolate.plan(known, &bid.model, world.now())?;
    facts.route = Some(plan.reason.clone());
    let bytes = u64::try_from(call.request.bytes).unwrap_or(u64::MAX);
    let input = bytes.saturating_add(call.request.remote_media.saturating_mul(REMOTE_IMAGE));
    let choices = call.request.choices;
    let max_output = bid.clamp.map(|each| each.saturating_mul(choices)).or(call.request.max_output);
    let open = (!bid.blocked.is_empty()).then(|| plan.without(|provider| bid.blocked.contains_key(provider)));
    let held = open.as_ref().unwrap_or(&plan);
    let tier = tier(call, &plan, known);
    let (worst_case, input_cost) = held.worst_case(input, max_output, choices, tier);
    // Nobody charges for counting tokens.
    let counts = call.request.endpoint == Endpoint::CountTokens;
    let (worst_case, input_cost) = if counts { (NanoUsd::ZERO, NanoUsd::ZERO) } else { (worst_case, input_cost) };
    let input = if counts { 0 } else { input };
    let tokens = TokenBound { input, output: held.most_output(max_output, choices) };
    let slot = slot(&caller.tenant, &known.config, &plan, call);
    let mut found = None;
    if let Some(slot) = slot.as_ref().filter(|_| call.cache.reads()) {
        let since = world.now();
        found = look_up(world, &caller.tenant, slot, Some(since)).await;
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
    // Targets above the cap are left out later; here it is refused if that leaves none.
    let least = plan.least_worst_case(input, max_output, choices, tier);
    if let Some(cap) = call.max_cost.filter(|cap| found.is_none() && !counts && least > *cap) {
        let needed_usd = least.to_string();
        return Err(Failure::MaxCostExceeded { cap: "its own cap (x-tollgate-max-cost-usd)", cap_usd: cap.to_string(), needed_usd });
    }
    // What it may cost at most is then the cap.
    let worst_case = call.max_cost.map_or(worst_case, |cap| worst_case.min(cap));
    let input_cost = input_cost.min(worst_case);
    Ok(Decided { plan, open, slot, found, worst_case, input_cost, tokens, tier })
}

/// The service tiers that the request may be served in: those that it asks for, where every target is told of
/// it. One that speaks another format is asked for none, and may take any.
fn tier(call: &Call, plan: &Plan, known: &KnownConfig) -> TierAsked {
    let asked = call.request.tier;
    let client = call.request.endpoint.dialect();
    let told = |target: &Target| known.catalog.provider(&target.provider).is_some_and(|row| row.format_for(client) == client);
    if asked == TierAsked::Auto || plan.all().all(told) { asked } else { TierAsked::Auto }
}
