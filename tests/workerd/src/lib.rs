//! Runs the built gateway under Miniflare, and asks it things.
//!
//! The tests are in `tests`, a file for each theme. They are compiled to wasm and run by Node:
//! `wasm-pack test --node --mode no-install tests/workerd`, or `scripts/test --only workerd`, which also builds
//! the worker. What comes after a further `--` chooses tests by name, as with `cargo test`.
//!
//! [`Gateway::shared`] is one gateway for all tests that bring a [`Tenant`] of their own; a test that needs other
//! variables, or no other tenants, starts and stops its own. Tests run one after the other. A panic ends in a
//! process exit with an error, which takes down whatever is still running.

mod gateway;
mod outside;
mod response;
mod tenant;

pub use gateway::{Entry, Gateway, SECRETS, Vars};
pub use outside::{journal, now_ms, pause, until};
pub use response::{Response, is_ulid, nano_usd};
pub use tenant::{Tenant, ask};

/// Awaits requests that are under way together: a request begins when it is made, not when it is awaited.
pub async fn all<T>(requests: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let begun: Vec<_> = requests.into_iter().collect();
    let mut answers = Vec::with_capacity(begun.len());
    for request in begun {
        answers.push(request.await);
    }
    answers
}
