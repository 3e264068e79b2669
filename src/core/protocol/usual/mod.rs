//! The messages of usual requests: an admission, its permit, and the reports. They are the same JSON as
//! `serde` makes of their types, and any other form of it is read too; but as each request needs them, what has
//! the usual form is written and read field by field, which takes a fraction of the time.
//!
//! The tests compare both ways with `serde`. A field that is added to one of these types must be added here, or
//! be among what sends the whole message the general way.

mod read;
pub(crate) mod write;

pub use read::{read_message, read_reply};
pub use write::{write_message, write_reply};

#[cfg(test)]
mod tests;
