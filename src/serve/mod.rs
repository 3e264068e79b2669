//! A request's way, one file a station:
//!
//! [`identify`] → [`read`] → [`look_up`] → [`admit`] → [`route`] → [`attempt`] → [`relay`] → [`settle`]
//!
//! [`ask`] is the story; each station has one public function, and takes what the station before it
//! made. [`facts`] collects what the client and the log are told.

pub mod admit;
pub mod answer;
pub mod asked;
pub mod attempt;
pub mod decide;
pub mod dry_run;
pub mod facts;
pub mod feedback;
pub mod google;
pub mod identify;
pub mod keys;
pub mod look_up;
pub mod models;
pub mod outgoing;
pub mod read;
pub mod ready;
pub mod relay;
pub mod route;
pub mod settle;
pub mod usage;

use crate::http::{Body, Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use admit::{Admitted, Verdict};
use asked::Endpoint;
use facts::Facts;
use route::{Order, Routed, Wanted};
use std::rc::Rc;
use tollgate_core::dialect::Dialect;
use tollgate_core::failure::Failure;
use tollgate_core::route::{Decision, Inputs};

/// Answers a request.
pub async fn serve<W: World + Clone + 'static>(world: &W, isolate: &Rc<Isolate>, mut head: Head) -> Response<W::Answer> {
    let mut facts = Facts::new(world.now(), world.random(), &head);
    isolate.count_served();
    // HEAD is GET without the body.
    let bodiless = head.method == "HEAD";

    if bodiless {
        head.method = "GET".to_owned();
    }
    let answer = route(world, isolate, &head, &mut facts).await;
    let mut response = match answer {
        Ok(response) => response,
        Err(failure) => {
            facts.failed(&failure);
            let dialect = Endpoint::at(&head.path).map_or(Dialect::OpenAiChat, Endpoint::dialect);
            Response::failure(&failure, dialect, &facts.request_id)
        }
    };
    if bodiless {
        response.body = Body::Empty;
    }
    let now = world.now();
    facts.log(world, isolate, &head, response.status, now);
    facts.decorate(response, now)
}

/// The routes. A path is compared as it was sent, before anything else is looked at.
async fn route<W: World + Clone + 'static>(
    world: &W,
    isolate: &Rc<Isolate>,
    head: &Head,
    facts: &mut Facts,
) -> Result<Response<W::Answer>, Failure> {
    let only = |allow: &'static str| if head.method == allow { Ok(()) } else { Err(Failure::MethodNotAllowed { allow }) };
    if let Some(endpoint) = Endpoint::at(&head.path) {
        only("POST")?;
        return ask(world, isolate, head, endpoint, facts).await;
    }
    match head.path.as_str() {
        "/v1/models" => {
            only("GET")?;
            models::list(world, isolate, head).await
        }
        "/v1/usage" => {
            only("GET")?;
            usage::of_key(world, isolate, head).await
        }
        "/v1/feedback" => {
            only("POST")?;
            feedback::give(world, isolate, head).await
        }
        "/healthz" => {
            only("GET")?;
            Ok(Response::json(200, r#"{"status":"ok"}"#.to_owned()))
        }
        "/readyz" => {
            only("GET")?;
            ready::check(world, isolate).await
        }
        path => {
            if let Some(id) = path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
                only("GET")?;
                return models::one(world, isolate, head, &crate::http::percent_decode(id)).await;
            }
            if path.starts_with("/admin/") {
                facts.control_plane();
                return crate::admin::handle(world, isolate, head).await;
            }
            if path == "/dashboard" || path.starts_with("/dashboard/") {
                facts.control_plane();
                only("GET")?;
                return crate::dashboard::get(isolate, path);
            }
            Err(Failure::NotFound { what: "such path".to_owned() })
        }
    }
}

/// One request for a model.
async fn ask<W: World + Clone + 'static>(
    world: &W,
    isolate: &Rc<Isolate>,
    head: &Head,
    endpoint: Endpoint,
    facts: &mut Facts,
) -> Result<Response<W::Answer>, Failure> {
    let caller = identify::caller(isolate, head)?;
    facts.caller(&caller, world.now());
    let call = match read::call(world, head, endpoint).await {
        Ok(call) => call,
        // Who may not ask at all learns nothing else.
        Err(failure) => return Err(identify::or_invalid_key(world, &caller, failure).await),
    };
    facts.read(&call, world.now());
    if call.dry_run {
        return dry_run::answer(world, isolate, &caller, &call, facts).await;
    }
    let told = endpoint == Endpoint::Chat && call.request.stream && call.request.include_usage;
    let admitted = match admit::admit(world, isolate, caller, call, facts).await? {
        Verdict::Send(admitted) => *admitted,
        Verdict::Stored(stored) => {
            let (held, call, found) = *stored;
            return Ok(relay::stored(world, isolate, held, &call, found, facts));
        }
        Verdict::Repeat(stored) => return Ok(relay::repeated(told, stored, facts)),
    };
    let (admitted, order) = routed(world, isolate, admitted, facts)?;
    let answered = attempt::attempt(world, isolate, admitted, order, facts).await?;
    Ok(relay::relay(isolate, answered, facts))
}

/// Puts the targets of an admitted request in order.
fn routed<W: World + Clone + 'static>(
    world: &W,
    isolate: &Rc<Isolate>,
    mut admitted: Admitted,
    facts: &mut Facts,
) -> Result<(Admitted, Order), Failure> {
    let now = world.now();
    let config = &admitted.known.config;
    (admitted.held.note.keeps, admitted.held.note.seed) = (config.decisions, facts.seed);
    let wanted = Wanted {
        tenant: &admitted.held.tenant,
        key: admitted.held.key(),
        call: &admitted.call,
        model: &admitted.model,
        known: &admitted.known,
        plan: &admitted.plan,
        tokens: admitted.tokens,
        tier: admitted.tier,
        probe: admitted.held.probe(),
        blocked: &admitted.blocked,
        seed: facts.seed,
    };
    let noted = |decided: Box<(Inputs, Decision)>| Box::new((facts.request_id.clone(), decided.0, decided.1));
    match route::route(isolate, &wanted, now) {
        Ok(Routed { order, summary, decided }) => {
            admitted.held.note.decided = decided.map(noted);
            facts.route = Some(summary);
            if let (Some(compared), Some(first)) = (&mut admitted.held.note.compared, order.targets.front()) {
                if admitted.model == admitted.call.request.model {
                    compared.asked.clone_from(first);
                }
                compared.first.clone_from(first);
            }
            Ok((admitted, order))
        }
        Err((failure, decided)) => {
            admitted.held.note.decided = Some(noted(decided));
            admitted.held.release(world, isolate);
            Err(failure)
        }
    }
}

/// Whether a response is a stream.
pub fn streams<A>(response: &Response<A>) -> bool {
    matches!(response.body, Body::Stream(_))
}
