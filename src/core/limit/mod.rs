//! Limits over time.

mod age;
mod bucket;
#[cfg(test)]
mod oracle;
mod window;

pub use age::{Age, Shape};
pub use bucket::Bucket;
pub use window::{SLOTS, Window};
