//! Tollgate: an AI gateway on Cloudflare Workers.
//!
//! A request's way is [`serve`], one straight line. The rest stands around it:
//!
//! | module | what it is |
//! |---|---|
//! | [`ports`] | what the outside world must be able to do, as traits |
//! | [`serve`] | a request's way, one file a station |
//! | [`admin`] | the control plane: tenants, keys, fleet |
//! | [`checks`] | health checks of providers, by cron |
//! | [`dashboard`] | the operators' pages, which read the control plane |
//! | [`isolate`] | what one worker isolate remembers between requests |
//! | [`vault`] | sealing and opening tenants' secrets |
//! | [`http`] | requests and answers as plain values |
//! | `edge` | wasm only: the ports on Cloudflare Workers, and the events |
//!
//! Decisions are made in `tollgate-core`; this crate asks and tells.

pub mod admin;
pub mod checks;
pub mod dashboard;
pub mod http;
pub mod isolate;
pub mod ports;
pub mod serve;
pub mod vault;

#[cfg(test)]
mod fake;

#[cfg(target_arch = "wasm32")]
mod edge;
#[cfg(target_arch = "wasm32")]
pub use edge::*;
