//! The directory's object. What it knows of tenants are single rows; health checks are a machine in one row.

use crate::store::{Failed, Store};
use tollgate_core::checks::Policy;
use tollgate_core::directory::{CronRun, DirectoryCommand, DirectoryReply, MAX_PAGE};
use tollgate_core::price::PriceBook;
use tollgate_core::text::to_json;
use tollgate_core::units::Timestamp;
use wasm_bindgen::prelude::*;
use worker::worker_sys::DurableObjectState;

/// The shell around the directory's rows.
#[wasm_bindgen]
pub struct DirectoryShell {
    store: Store,
}

#[wasm_bindgen]
impl DirectoryShell {
    /// Opens the directory.
    #[wasm_bindgen(constructor)]
    pub fn new(state: DurableObjectState) -> DirectoryShell {
        DirectoryShell { store: Store::directory(worker::durable::State::from(state).storage().sql()) }
    }

    /// One turn: a message in, a reply out.
    ///
    /// # Errors
    /// When the disk fails. Every command may be sent again.
    pub fn turn(&self, message: &str, now: f64) -> Result<String, JsValue> {
        #[expect(clippy::cast_possible_truncation, reason = "Date.now() is a whole number of milliseconds")]
        let now = Timestamp(now as i64);
        let reply = match serde_json::from_str(message) {
            Ok(command) => self.handle(now, command).map_err(|e| JsValue::from_str(&e))?,
            Err(e) => DirectoryReply::Failed { why: format!("unreadable message: {e}") },
        };
        to_json(&reply).map_err(|e| JsValue::from_str(&e.to_string()))
    }

    /// The directory sets no alarms.
    pub fn alarm(&self, _now: f64) {}

    fn handle(&self, now: Timestamp, command: DirectoryCommand) -> Result<DirectoryReply, Failed> {
        match command {
            DirectoryCommand::Add { tenant } => self.store.add_tenant(&tenant, now)?,
            DirectoryCommand::Remove { tenant } => self.store.remove_tenant(&tenant)?,
            DirectoryCommand::Told { tenant, totals } => self.store.told(&tenant, &totals, now)?,
            DirectoryCommand::CronRan { scheduled_at, ticked, cleaned, failed } => {
                self.store.cron_ran(&CronRun { scheduled_at, finished_at: now, ticked, cleaned, failed })?;
            }
            DirectoryCommand::List { after, limit } => {
                let limit = limit.clamp(1, MAX_PAGE);
                let mut tenants = self.store.tenants(after.as_deref().unwrap_or(""), limit)?;
                let more = tenants.len() > limit;
                tenants.truncate(limit);
                return Ok(DirectoryReply::Tenants { tenants, more });
            }
            DirectoryCommand::Prices { version } => {
                let book = match version {
                    None => Some(self.store.book(None)?.unwrap_or_default()),
                    Some(version) => self.store.book(Some(version))?,
                };
                return Ok(DirectoryReply::Prices { book: book.map(Box::new) });
            }
            DirectoryCommand::PutPrices { prices, if_match } => {
                let current = self.store.book(None)?.map_or(0, |book| book.version);
                if if_match.is_some_and(|wanted| wanted != current) {
                    return Ok(DirectoryReply::Conflict { current });
                }
                let book = PriceBook { version: current.saturating_add(1), at: now, prices };
                self.store.add_book(&book)?;
                return Ok(DirectoryReply::Prices { book: Some(Box::new(book)) });
            }
            DirectoryCommand::LastCron => return Ok(DirectoryReply::Cron { run: self.store.last_cron()? }),
            DirectoryCommand::BeginChecks { interval, budget, seed, wanted } => {
                let policy = Policy { interval, budget, ..Policy::default() };
                let mut checks = self.store.checks()?;
                let claims = checks.begin(now, &policy, seed, &wanted);
                if !claims.is_empty() {
                    self.store.put_checks(&checks)?;
                }
                return Ok(DirectoryReply::Claimed { claims });
            }
            DirectoryCommand::EndChecks { results } => {
                let mut checks = self.store.checks()?;
                let changes = checks.end(now, results);
                self.store.put_checks(&checks)?;
                return Ok(DirectoryReply::Changed { changes });
            }
            DirectoryCommand::Checks => return Ok(DirectoryReply::Checks { checks: Box::new(self.store.checks()?) }),
        }
        Ok(DirectoryReply::Done)
    }
}
