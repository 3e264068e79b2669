//! `x-tollgate-dry-run: true`: what would be done with a request. Nothing is held, sent or counted.

use super::decide::{Bid, decide};
use super::facts::Facts;
use super::identify::{Caller, ask, live};
use super::read::Call;
use super::route::{Wanted, explained, inputs, tokens};
use crate::http::Response;
use crate::isolate::Isolate;
use crate::ports::World;
use tollgate_core::failure::Failure;
use tollgate_core::map::Map;
use tollgate_core::protocol::{Command, Reply};
use tollgate_core::route::decide as order;

/// Explains. Limits and budgets are not asked: they change with each request, and `GET /v1/usage` tells them.
///
/// # Errors
/// Those that the request would meet before its admission.
pub async fn answer<W: World>(
    world: &W,
    isolate: &Isolate,
    caller: &Caller,
    call: &Call,
    facts: &mut Facts,
) -> Result<Response<W::Answer>, Failure> {
    let live = live(world, caller).await?;
    let (allowed, key) = (live.models, live.key.unwrap_or_default());
    let model = &call.request.model;
    if !allowed.is_empty() && !allowed.contains(model) {
        return Err(Failure::ModelNotAllowed { model: model.clone() });
    }
    let known = match ask(world, &caller.tenant, Command::Configuration).await? {
        Reply::Configuration { version, config, updated_at, secrets, prices } => {
            isolate.learn(&caller.tenant, (version, updated_at), *config, secrets, prices)
        }
        _ => return Err(Failure::InvalidApiKey),
    };
    let bid = Bid::new(call);
    let decided = decide(world, isolate, caller, call, &bid, &known, facts).await?;
    let blocked = Map::new();
    let wanted = Wanted {
        tenant: &caller.tenant,
        key: &key,
        call,
        model,
        known: &known,
        plan: &decided.plan,
        tokens: tokens(&decided, call, None),
        tier: decided.tier,
        probe: None,
        blocked: &blocked,
        seed: facts.seed,
    };
    let inputs = inputs(isolate, &wanted, world.now());
    let decision = order(&inputs);
    facts.route = Some(format!("{} dry-run", decided.plan.reason));
    Ok(Response::json(200, explained(&inputs, &decision, decided.worst_case, facts.cache).to_string()))
}
