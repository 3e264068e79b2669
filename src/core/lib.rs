//! Everything Tollgate can decide without I/O.
//!
//! Nothing here reads a clock, draws a random number, waits or logs: `now` and random bits are
//! arguments, and every decision is a value. That is what lets the tests replay, shrink and
//! simulate it.
//!
//! | module | what it decides |
//! |---|---|
//! | [`units`], [`ids`] | the vocabulary: money, tokens, time, names |
//! | [`auth`] | the shape of a gateway key; how it is hashed |
//! | [`config`] | a tenant's configuration document, parsed once into types that cannot be wrong |
//! | [`secret`], [`keyring`] | how secrets are stored; which of several keys of a provider to use |
//! | [`protocol`] | what a worker and a tenant's object say to each other |
//! | [`limit`] | sliding windows |
//! | [`budget`] | budget periods and accounts |
//! | [`tenant`] | the ledger: joins the above into one machine, `Command → (Reply, Writes, alarm)` |
//! | [`directory`] | which tenants exist and what they spent |
//! | [`checks`] | when providers are checked, for how much, and what was found |
//! | [`catalog`], [`price`] | providers, models and prices as rows of data; the cost of a request |
//! | [`plan`], [`route`] | from a model's name to the targets to try, and their order |
//! | [`breaker`], [`retry`] | which targets are left alone; what is tried again |
//! | [`perf`] | how providers perform, learnt from settlements |
//! | [`savings`] | what requests would have cost otherwise |
//! | [`cache`] | what makes two requests the same, and which answers may be kept |
//! | [`dialect`], [`sse`] | wire formats; the stream meter |
//! | [`egress`] | which addresses requests may go to |
//! | [`failure`] | what can go wrong, and what the client is told |
//! | [`text`] | values as JSON text |

#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::arithmetic_side_effects, clippy::string_slice, reason = "tests may panic: that is how they fail"))]

pub mod auth;
pub mod breaker;
pub mod budget;
pub mod cache;
pub mod catalog;
pub mod checks;
pub mod config;
pub mod degrade;
pub mod dialect;
pub mod directory;
pub mod egress;
pub mod failure;
pub mod ids;
pub mod keyring;
pub mod limit;
pub mod map;
pub mod perf;
pub mod plan;
pub mod price;
pub mod protocol;
pub mod retry;
pub mod route;
pub mod savings;
pub mod secret;
pub mod sse;
pub mod tenant;
pub mod text;
pub mod units;
