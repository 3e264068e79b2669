//! A deterministic simulation of one tenant's ledger: clients, worker isolates, a network that loses,
//! doubles and reorders, a clock that jumps, a disk, alarms, and kills at every point at which the
//! object can die. After every step an [`oracle`] that knows what really happened judges it.
//!
//! A run is made by its seed alone. A failure prints the seed:
//! `TOLLGATE_SIM_SEED=123 cargo test -p tollgate-core --test simulation` repeats it.
//! `TOLLGATE_SIM_SECONDS=600` goes on with fresh seeds for that long.
#![expect(clippy::arithmetic_side_effects, reason = "where a test overflows, it fails")]

#[cfg(test)]
mod chance;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod profile;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod store;
#[cfg(test)]
mod workers;
#[cfg(test)]
mod world;

#[cfg(test)]
mod runs;
