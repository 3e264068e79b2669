//! A request's way, one file a station:
//!
//! [`identify`] → [`read`] → [`look_up`] → [`admit`] → [`attempt`] → [`relay`] → [`settle`]
//!
//! [`ask`] is the story; each station has one public function, and takes what the station before it
//! made. [`facts`] collects what the client and the log are told.

pub mod admit;
pub mod answer;
pub mod asked;
pub mod attempt;
pub mod decide;
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
pub mod settle;
pub mod usage;

use crate::http::{Body, Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use admit::Verdict;
use asked::Endpoint;
use facts::Facts;
use std::rc::Rc;
use tollgate_core::dialect::Dialect;
use tollgate_core::failure::Failure;

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
    let told = endpoint == Endpoint::Chat && call.request.stream && call.request.include_usage;
    let admitted = match admit::admit(world, isolate, caller, call, facts).await? {
        Verdict::Send(admitted) => *admitted,
        Verdict::Stored(stored) => {
            let (held, call, found) = *stored;
            return Ok(relay::stored(world, isolate, held, &call, found, facts));
        }
        Verdict::Repeat(stored) => return Ok(relay::repeated(told, stored, facts)),
    };
    let answered = attempt::attempt(world, isolate, admitted, facts).await?;
    Ok(relay::relay(world, isolate, answered, facts))
}

/// Whether a response is a stream.
pub fn streams<A>(response: &Response<A>) -> bool {
    matches!(response.body, Body::Stream(_))
}
