//! The ports on Cloudflare Workers, and the events. The only place in this crate that knows JavaScript.
//!
//! `entry.mjs` is the other half: it builds requests and responses from the plain values that cross here.

mod exchange;
mod tasks;
mod vault;

use crate::http::{Body, HEADERS, Head};
use crate::isolate::Isolate;
use crate::ports::Clock;
use exchange::World;
pub use exchange::{Exchange, StreamTap};
use std::cell::RefCell;
use std::rc::Rc;
pub use tasks::settled;
use tollgate_core::map::Map;
use tollgate_core::units::Timestamp;
pub use tollgate_durable::{DirectoryShell, TenantShell};
use wasm_bindgen::prelude::*;

/// Fewer instructions for each allocation than the usual one.
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

thread_local! {
    static ISOLATE: RefCell<Option<Rc<Isolate>>> = const { RefCell::new(None) };
}

/// What this instance remembers. A new one, at the start or after a fault, asks for the variables first.
fn isolate(exchange: &Exchange) -> Rc<Isolate> {
    if let Some(known) = ISOLATE.with_borrow(Clone::clone) {
        return known;
    }
    let vars: Map<String, String> = serde_json::from_str(&exchange.variables()).unwrap_or_default();
    let isolate = Rc::new(Isolate::new(vars).with_ai(exchange.has_ai()));
    ISOLATE.set(Some(Rc::clone(&isolate)));
    isolate
}

/// The request headers that are to be handed over, in order.
#[wasm_bindgen]
pub fn header_names() -> String {
    HEADERS.join(",")
}

/// What an address begins with that stands for a binding.
#[wasm_bindgen]
pub fn bound_address() -> String {
    crate::ports::BOUND.to_owned()
}

/// A request that came `now`. The exchange is told the response.
#[wasm_bindgen]
pub fn serve(head: String, exchange: Exchange, now: f64) {
    tasks::set_now(now);
    let head = Head::read(head);
    tasks::run(async move { answer(World::new(exchange), head).await });
}

async fn answer(world: World, head: Head) {
    let isolate = isolate(world.exchange());
    let response = crate::serve::serve(&world, &isolate, head).await;
    let headers = response.flat_headers();
    match response.body {
        Body::Empty => world.respond(response.status, &headers, None),
        Body::Bytes(bytes) => world.respond(response.status, &headers, Some(&bytes)),
        Body::Whole(answer) => answer.respond(response.status, &headers, 1),
        Body::Stream(answer) => answer.respond(response.status, &headers, 2),
    }
}

/// A reply of a tenant's object that nobody waits for any more. A permit in it is released with the
/// next reports.
#[wasm_bindgen]
pub fn unclaimed(tenant: &str, reply: &str) {
    if let Some(isolate) = ISOLATE.with_borrow(Clone::clone) {
        crate::serve::settle::unclaimed(&isolate, tenant, reply);
    }
}

/// A cron event: tenants are kept tidy, and providers are checked.
#[wasm_bindgen]
pub async fn scheduled(scheduled_at: f64, exchange: Exchange, now: f64) {
    tasks::set_now(now);
    let world = World::new(exchange);
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of milliseconds")]
    let scheduled_at = if scheduled_at.is_finite() { Timestamp(scheduled_at as i64) } else { world.now() };
    let isolate = isolate(world.exchange());
    crate::admin::run_cron(&world, &isolate, scheduled_at).await;
}
