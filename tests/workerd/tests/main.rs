//! The built gateway under Miniflare: real Durable Objects with SQLite, real KV, a simulated provider.
//!
//! A file for each theme of the public contract, and in `contracts` a file for each port of `src/ports.rs`:
//! what the adapter behind it has to do, seen from outside.

mod admin;
mod auth;
mod cache;
mod chat;
mod contracts;
mod cron;
mod limits;
mod ready;
mod upstream;
