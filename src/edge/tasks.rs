//! Runs the futures of events. What they wait for are promises; when one settles, JavaScript says so with one
//! call, and the task goes on within it.
//!
//! `wasm-bindgen-futures` does the same with two closures for each promise, a place in a registry for each
//! closure, and a microtask for each step. It still runs what is rare: cron, and wakers that are used outside.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use tollgate_core::map::Map;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// Says by [`settled`] how the promise ended. Returns the number under which it will.
    #[wasm_bindgen(js_namespace = globalThis, js_name = tollgateAwait)]
    fn call_back(promise: &js_sys::Promise) -> u32;
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Desk {
    tasks: Map<u32, Task>,
    last: u32,
    /// What promises came to, and who waits for it.
    awaited: Map<u32, Slot>,
    ready: VecDeque<u32>,
    /// Whether tasks are being run, or soon will be.
    running: bool,
}

#[derive(Default)]
struct Slot {
    waker: Option<Waker>,
    came: Option<JsValue>,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// Runs a future: its first step now.
pub fn run(future: impl Future<Output = ()> + 'static) {
    DESK.with_borrow_mut(|desk| {
        desk.last = desk.last.wrapping_add(1);
        desk.tasks.insert(desk.last, Box::pin(future));
        desk.ready.push_back(desk.last);
    });
    go_on();
}

thread_local! {
    /// When the step that is going on began, in milliseconds since 1970.
    static NOW: Cell<f64> = const { Cell::new(0.0) };
}

/// A step begins.
pub fn set_now(now: f64) {
    NOW.set(now);
}

/// When this step began. On Workers the clock stands still until something outside is waited for, so that is
/// what it shows, and asking for it again would only cost time.
pub fn now() -> f64 {
    NOW.get()
}

/// A promise has settled, `now`; undefined if it was rejected. One that a former instance waited for is nobody's.
#[wasm_bindgen]
pub fn settled(number: u32, value: JsValue, now: f64) {
    set_now(now);
    let waker = DESK.with_borrow_mut(|desk| {
        let slot = desk.awaited.get_mut(&number)?;
        slot.came = Some(value);
        slot.waker.take()
    });
    if let Some(waker) = waker {
        // Its task is run below, not by a microtask.
        let running = DESK.with_borrow_mut(|desk| std::mem::replace(&mut desk.running, true));
        waker.wake();
        DESK.with_borrow_mut(|desk| desk.running = running);
        go_on();
    }
}

/// Runs what is ready, unless that is going on.
fn go_on() {
    if DESK.with_borrow_mut(|desk| std::mem::replace(&mut desk.running, true)) {
        return;
    }
    loop {
        // A task is taken out while it runs: it may start others.
        let next = DESK.with_borrow_mut(|desk| {
            let number = desk.ready.pop_front()?;
            Some((number, desk.tasks.remove(&number)))
        });
        let Some((number, task)) = next else { break };
        let Some(mut task) = task else { continue };
        let waker = Waker::from(Arc::new(Number(number)));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            DESK.with_borrow_mut(|desk| desk.tasks.insert(number, task));
        }
    }
    DESK.with_borrow_mut(|desk| desk.running = false);
}

/// Wakes the task with this number.
struct Number(u32);

impl Wake for Number {
    fn wake(self: Arc<Self>) {
        let soon = DESK.with_borrow_mut(|desk| {
            desk.ready.push_back(self.0);
            !desk.running
        });
        if soon {
            wasm_bindgen_futures::spawn_local(async { go_on() });
        }
    }
}

/// What a promise comes to.
pub struct Awaited(u32);

/// Waits for a promise. Undefined if it is rejected.
pub fn outcome(promise: &js_sys::Promise) -> Awaited {
    let number = call_back(promise);
    DESK.with_borrow_mut(|desk| desk.awaited.insert(number, Slot::default()));
    Awaited(number)
}

impl Future for Awaited {
    type Output = JsValue;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<JsValue> {
        DESK.with_borrow_mut(|desk| {
            let Some(slot) = desk.awaited.get_mut(&self.0) else { return Poll::Ready(JsValue::UNDEFINED) };
            match slot.came.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    slot.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        DESK.with_borrow_mut(|desk| desk.awaited.remove(&self.0));
    }
}
