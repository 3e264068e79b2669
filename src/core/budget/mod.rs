//! Budgets: periods and accounts.

mod account;
mod calendar;
mod measure;
mod period;
mod zone;

pub use account::{Account, AccountKey};
pub use calendar::Calendar;
pub use measure::Measure;
pub use period::Period;
pub use zone::Zone;
