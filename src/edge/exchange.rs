//! One event: the ports on top of `Exchange` of `entry.mjs`.

use super::tasks::{self, outcome};
use crate::http::flat;
use crate::ports::{Clock, Event, Incoming, NoAnswer, NoBody, Objects, Outgoing, Primed, ResponseCache, StreamEnd, Unavailable, Upstream};
use std::future::Future;
use std::rc::Rc;
use tollgate_core::cache::{CacheKey, Kept};
use tollgate_core::dialect::tap::{State, Tap};
use tollgate_core::ids::TenantId;
use tollgate_core::text::to_json;
use tollgate_core::units::{Millis, Timestamp};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// The JavaScript half of an event.
    pub type Exchange;

    /// Text variables and secrets, as a JSON object.
    #[wasm_bindgen(method)]
    pub fn variables(this: &Exchange) -> String;
    /// Whether there is a binding for Workers AI.
    #[wasm_bindgen(method, js_name = hasAi)]
    pub fn has_ai(this: &Exchange) -> bool;
    #[wasm_bindgen(method)]
    fn random(this: &Exchange, n: u32) -> Vec<u8>;
    #[wasm_bindgen(method)]
    fn log(this: &Exchange, line: &str);
    #[wasm_bindgen(method)]
    fn later(this: &Exchange) -> js_sys::Function;
    #[wasm_bindgen(method)]
    fn sleep(this: &Exchange, ms: f64) -> js_sys::Promise;
    #[wasm_bindgen(method)]
    fn body(this: &Exchange, cap: u32) -> js_sys::Promise;
    #[wasm_bindgen(method)]
    fn turn(this: &Exchange, tenant: &str, message: &str) -> js_sys::Promise;
    #[wasm_bindgen(method)]
    fn send(
        this: &Exchange,
        url: &str,
        headers: &str,
        body: Option<js_sys::Uint8Array>,
        first_byte: f64,
        idle: f64,
        total: f64,
        cap: u32,
    ) -> js_sys::Promise;
    #[wasm_bindgen(method, getter)]
    fn status(this: &Exchange) -> u16;
    #[wasm_bindgen(method, getter)]
    fn flag(this: &Exchange) -> u8;
    #[wasm_bindgen(method, getter, js_name = answerHead)]
    fn answer_head(this: &Exchange) -> String;
    #[wasm_bindgen(method, getter)]
    fn answer(this: &Exchange) -> Option<js_sys::Uint8Array>;
    #[wasm_bindgen(method, getter)]
    fn kept(this: &Exchange) -> String;
    #[wasm_bindgen(method)]
    fn prime(this: &Exchange, tap: &JsValue, wait: f64, idle: f64, most: u32, chunks: u32) -> js_sys::Promise;
    #[wasm_bindgen(method)]
    fn beside(this: &Exchange) -> Exchange;
    #[wasm_bindgen(method, js_name = drop)]
    fn drop_stream(this: &Exchange);
    #[wasm_bindgen(method)]
    fn relay(this: &Exchange, tap: &JsValue, idle: f64, total: f64, heartbeat: f64, watched: bool) -> js_sys::Promise;
    #[wasm_bindgen(method, js_name = keepOpen)]
    fn keep_open(this: &Exchange, heartbeat: f64);
    #[wasm_bindgen(method)]
    fn close(this: &Exchange, last: js_sys::Uint8Array) -> js_sys::Promise;
    #[wasm_bindgen(method)]
    fn cached(this: &Exchange, key: &str, wait: f64) -> js_sys::Promise;
    #[wasm_bindgen(method)]
    fn store(this: &Exchange, key: &str, bytes: js_sys::Uint8Array, metadata: &str, ttl: u32) -> js_sys::Promise;
    #[wasm_bindgen(method, js_name = probeCache)]
    fn probe_cache(this: &Exchange) -> js_sys::Promise;
    #[wasm_bindgen(method)]
    fn respond(this: &Exchange, status: u16, headers: &str, body: Option<js_sys::Uint8Array>, own: u8);
}

/// Headers of providers' answers that clients are handed on. `entry.mjs` reads them in this order.
const HANDED_ON: [&str; 2] = ["openai-processing-ms", "openai-version"];

/// Random bytes that are fetched at once: a call for each request would cost more than the bytes.
const POOL_BYTES: u32 = 4_096;

thread_local! {
    /// Random bytes that nobody has had yet.
    static POOL: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// How long a look into KV may take, in milliseconds.
const CACHE_WAIT: f64 = 200.0;

/// An event on Workers.
#[derive(Clone)]
pub struct World(Rc<Exchange>);

/// The answer's bytes are in this exchange.
pub struct Outside(Rc<Exchange>);

impl Outside {
    /// Answers with it.
    pub fn respond(&self, status: u16, headers: &str, own: u8) {
        self.0.respond(status, headers, None, own);
    }
}

impl World {
    /// An event.
    pub fn new(exchange: Exchange) -> World {
        World(Rc::new(exchange))
    }

    /// The JavaScript half.
    pub(super) fn exchange(&self) -> &Exchange {
        &self.0
    }

    /// Answers.
    pub fn respond(&self, status: u16, headers: &str, body: Option<&[u8]>) {
        self.0.respond(status, headers, body.map(js_sys::Uint8Array::from), 0);
    }

    async fn turn(&self, name: &str, message: &str) -> Result<String, Unavailable> {
        let reply = outcome(&self.0.turn(name, message)).await;
        if let Some(code) = reply.as_f64() {
            return Err(if code == 1.0 {
                Unavailable::Overloaded
            } else if code == 2.0 {
                Unavailable::Retryable
            } else {
                Unavailable::Failed
            });
        }
        reply.as_string().ok_or(Unavailable::Failed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "spans of time stay far below 2^53")]
fn ms(span: Millis) -> f64 {
    span as f64
}

fn cap(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        #[expect(clippy::cast_possible_truncation, reason = "Date.now() is a whole number of milliseconds")]
        Timestamp(tasks::now() as i64)
    }

    fn random(&self) -> [u8; 32] {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < 32 {
                *pool = self.0.random(POOL_BYTES);
            }
            pool.split_off(pool.len().saturating_sub(32)).try_into().unwrap_or([0; 32])
        })
    }

    async fn sleep(&self, span: Millis) {
        outcome(&self.0.sleep(ms(span))).await;
    }
}

impl Objects for World {
    async fn tenant(&self, tenant: &TenantId, message: &str) -> Result<String, Unavailable> {
        match self.turn(tenant.as_str(), message).await {
            // Every command is idempotent or has reserved nothing when it fails: asked once more.
            Err(Unavailable::Retryable) => self.turn(tenant.as_str(), message).await,
            reply => reply,
        }
    }

    async fn directory(&self, message: &str) -> Result<String, Unavailable> {
        self.turn("", message).await
    }
}

/// A tap as JavaScript holds it while it moves a stream.
#[wasm_bindgen]
pub struct StreamTap {
    tap: Rc<std::cell::RefCell<Tap>>,
}

#[wasm_bindgen]
impl StreamTap {
    /// The next bytes. Undefined: pass them on as they are.
    pub fn push(&self, chunk: &[u8]) -> Option<js_sys::Uint8Array> {
        self.tap.borrow_mut().push(chunk).map(|bytes| bytes.as_slice().into())
    }

    /// Whether the answer has begun, or will never.
    pub fn ready(&self) -> bool {
        self.tap.borrow().state() != State::Waiting
    }

    /// Whether the provider has failed a stream that may go on elsewhere.
    pub fn failed(&self) -> bool {
        self.tap.borrow().failed_midway()
    }

    /// Whether an event has begun to go out and not ended: nothing may be put in between.
    pub fn busy(&self) -> bool {
        self.tap.borrow().inside_event()
    }
}

/// Most bytes, and most chunks, of a stream that are held back.
const PRIME_BYTES: u32 = 64 * 1024;
const PRIME_CHUNKS: u32 = 64;

/// Lends a tap to JavaScript.
async fn lend(tap: Tap, moved: impl FnOnce(&JsValue) -> js_sys::Promise) -> (Tap, Option<f64>) {
    let shared = Rc::new(std::cell::RefCell::new(tap));
    let handle = JsValue::from(StreamTap { tap: Rc::clone(&shared) });
    let end = outcome(&moved(&handle)).await;
    (shared.take(), end.as_f64())
}

impl Upstream for World {
    type Answer = Outside;

    async fn send(&self, request: Outgoing) -> Result<Incoming<Outside>, NoAnswer> {
        let headers = flat(request.headers.iter().map(|(n, v)| (*n, v.as_str())));
        let body = request.body.as_deref().map(js_sys::Uint8Array::from);
        let sent = self.0.send(&request.url, &headers, body, ms(request.first_byte), ms(request.idle), ms(request.total), cap(request.cap));
        if outcome(&sent).await.is_undefined() {
            return Err(NoAnswer::Broken);
        }
        match (self.0.status(), self.0.flag()) {
            (0, 1) => return Err(NoAnswer::Timeout),
            (0, 2) => return Err(NoAnswer::ClientGone),
            (0, 4) => return Err(NoAnswer::TooLarge),
            (0, 5) => return Err(NoAnswer::Cut),
            (0, _) => return Err(NoAnswer::Broken),
            _ => {}
        }
        let head = self.0.answer_head();
        let mut lines = head.split('\n').map(|l| Some(l.to_owned()).filter(|l| !l.is_empty()));
        let mut next = || lines.next().flatten();
        let content_type = next().unwrap_or_else(|| "application/json".to_owned());
        let (retry_after, retry_after_ms) = (next(), next());
        let input_tokens = next().and_then(|tokens| tokens.parse().ok());
        let mut headers = Vec::new();
        for name in HANDED_ON {
            if let Some(value) = next() {
                headers.push((name, value));
            }
        }
        let whole = self.0.answer().map(|bytes| bytes.to_vec());
        Ok(Incoming {
            status: self.0.status(),
            content_type,
            retry_after,
            retry_after_ms,
            input_tokens,
            headers,
            whole,
            answer: Outside(Rc::clone(&self.0)),
        })
    }

    async fn prime(&self, tap: Tap, hold: Millis, idle: Millis) -> (Tap, Primed) {
        let (tap, end) = lend(tap, |handle| self.0.prime(handle, ms(hold), ms(idle), PRIME_BYTES, PRIME_CHUNKS)).await;
        let primed = match end {
            Some(0.0) => Primed::Ready,
            Some(1.0) => Primed::Ended,
            Some(2.0) => Primed::ClientGone,
            Some(4.0) => Primed::Silent,
            _ => Primed::Broken,
        };
        (tap, primed)
    }

    fn drop_stream(&self) {
        self.0.drop_stream();
    }

    fn beside(&self) -> World {
        World::new(self.0.beside())
    }

    async fn relay(&self, tap: Tap, idle: Millis, total: Millis, heartbeat: Millis) -> (Tap, StreamEnd) {
        let watched = tap.may_go_on();
        let (tap, end) = lend(tap, |handle| self.0.relay(handle, ms(idle), ms(total), ms(heartbeat), watched)).await;
        let end = match end {
            Some(0.0) => StreamEnd::Closed,
            Some(1.0) => StreamEnd::Timeout,
            Some(2.0) => StreamEnd::ClientGone,
            _ => StreamEnd::Broken,
        };
        (tap, end)
    }

    fn keep_open(&self, heartbeat: Millis) {
        self.0.keep_open(ms(heartbeat));
    }

    async fn close(&self, last: Vec<u8>) {
        outcome(&self.0.close(last.as_slice().into())).await;
    }
}

impl ResponseCache for World {
    async fn get(&self, key: &CacheKey) -> Option<(Kept, Vec<u8>, Outside)> {
        let found = outcome(&self.0.cached(key.as_str(), CACHE_WAIT)).await;
        if found != JsValue::TRUE {
            return None;
        }
        let kept = serde_json::from_str(&self.0.kept()).ok()?;
        Some((kept, self.0.answer()?.to_vec(), Outside(Rc::clone(&self.0))))
    }

    async fn put(&self, key: &CacheKey, kept: &Kept, bytes: &[u8], ttl_s: u32) -> bool {
        let Ok(metadata) = to_json(kept) else { return false };
        outcome(&self.0.store(key.as_str(), bytes.into(), &metadata, ttl_s)).await == JsValue::TRUE
    }

    async fn probe(&self) -> bool {
        outcome(&self.0.probe_cache()).await == JsValue::TRUE
    }
}

impl Event for World {
    async fn body(&self, limit: usize) -> Result<Vec<u8>, NoBody> {
        let body = outcome(&self.0.body(cap(limit))).await;
        if body.is_null() {
            return Err(NoBody::TooLarge);
        }
        if body.is_undefined() {
            return Err(NoBody::Broken);
        }
        Ok(js_sys::Uint8Array::from(body).to_vec())
    }

    fn log(&self, line: &str) {
        self.0.log(line);
    }

    fn later(&self, work: impl Future<Output = ()> + 'static) {
        let over = self.0.later();
        tasks::run(async move {
            work.await;
            let _ = over.call0(&JsValue::UNDEFINED);
        });
    }
}
