//! The adapters behind the ports of `src/ports.rs`, on the real platform and through the front door: what a
//! port promises, seen from outside.

mod event;
mod objects;
mod response_cache;
mod upstream;
