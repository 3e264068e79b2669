//! Limits over time.

mod window;

pub use window::{SLOTS, Window};
