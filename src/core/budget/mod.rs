//! Budgets: periods and accounts.

mod account;
mod period;

pub use account::{Account, AccountKey};
pub use period::Period;
