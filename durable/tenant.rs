//! One tenant's object.

use crate::store::Store;
use std::cell::RefCell;
use tollgate_core::protocol::{Reply, VERSION, read_message, write_reply};
use tollgate_core::tenant::{Answer, Outcome, Tenant};
use tollgate_core::units::Timestamp;
use wasm_bindgen::prelude::*;
use worker::worker_sys::DurableObjectState;

/// The shell around a tenant's machine. `src/edge/entry.mjs` wraps it in the class that the runtime knows.
#[wasm_bindgen]
pub struct TenantShell {
    storage: worker::worker_sys::DurableObjectStorage,
    store: Store,
    /// Loaded in the constructor, synchronously: no turn ever sees it half loaded. An object whose rows
    /// cannot be read answers every message with why.
    machine: RefCell<Result<Tenant, String>>,
}

#[wasm_bindgen]
impl TenantShell {
    /// Loads the tenant.
    ///
    /// # Errors
    /// When the runtime gives no storage.
    #[wasm_bindgen(constructor)]
    pub fn new(state: DurableObjectState) -> Result<TenantShell, JsValue> {
        let storage = state.storage()?;
        let store = Store::tenant(worker::durable::State::from(state).storage().sql());
        let machine = RefCell::new(store.load().map(Tenant::load));
        Ok(TenantShell { storage, store, machine })
    }

    /// One turn: a message in, a reply out.
    ///
    /// # Errors
    /// When the disk fails. Everything is idempotent, so the caller may send the message again.
    pub fn turn(&self, message: &str, now: f64) -> Result<String, JsValue> {
        let message = match read_message(message) {
            Ok(message) => message,
            Err(e) => return reply(&Reply::Failed { why: format!("unreadable message: {e}") }),
        };
        if message.v > VERSION {
            return reply(&Reply::Failed { why: format!("message version {} is newer than {VERSION}", message.v) });
        }
        let mut machine = self.machine.borrow_mut();
        match machine.as_mut() {
            Ok(tenant) => {
                let outcome = tenant.handle(timestamp(now), message.command);
                self.finish(outcome).and_then(|r| reply(&r))
            }
            Err(why) => reply(&Reply::Failed { why: why.clone() }),
        }
    }

    /// The alarm rings.
    ///
    /// # Errors
    /// When the disk fails; the runtime rings again.
    pub fn alarm(&self, now: f64) -> Result<(), JsValue> {
        let mut machine = self.machine.borrow_mut();
        match machine.as_mut() {
            Ok(tenant) => {
                let outcome = tenant.alarm(timestamp(now));
                self.finish(outcome).map(|_| ())
            }
            Err(_) => Ok(()),
        }
    }

    fn finish(&self, outcome: Outcome) -> Result<Reply, JsValue> {
        for what in &outcome.broken {
            worker::console_error!("{}", serde_json::json!({ "level": "error", "event": "ledger_broken", "message": what }));
        }
        self.store.run(&outcome.writes).map_err(|e| JsValue::from_str(&e))?;
        if let Some(at) = outcome.alarm {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds stay far below 2^53")]
            let at = js_sys::Date::new(&JsValue::from_f64(at.0 as f64));
            // The promise resolves with the turn's other writes, which the runtime waits for anyway.
            let _ = self.storage.set_alarm(at, JsValue::UNDEFINED.into())?;
        }
        match outcome.answer {
            Answer::Reply(reply) => Ok(reply),
            Answer::Read(query) => self.store.read(&query).map_err(|e| JsValue::from_str(&e)),
        }
    }
}

fn reply(reply: &Reply) -> Result<String, JsValue> {
    write_reply(reply).map_err(|e| JsValue::from_str(&e.to_string()))
}

#[expect(clippy::cast_possible_truncation, reason = "Date.now() is a whole number of milliseconds")]
fn timestamp(now: f64) -> Timestamp {
    Timestamp(now as i64)
}
