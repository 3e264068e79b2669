//! The Durable Object classes: thin shells around the machines of `tollgate-core`.
//!
//! A turn: decode → `machine.handle(now, command)` (pure) → `store.run(writes)` (synchronous, nothing
//! that can fail on data) → alarm → reply. There is no await anywhere in it, so the runtime commits all
//! writes of a turn together and holds the reply back until they are durable.

#[cfg(target_arch = "wasm32")]
mod directory;
#[cfg(target_arch = "wasm32")]
mod store;
#[cfg(target_arch = "wasm32")]
mod tenant;

#[cfg(target_arch = "wasm32")]
pub use directory::DirectoryShell;
#[cfg(target_arch = "wasm32")]
pub use tenant::TenantShell;
