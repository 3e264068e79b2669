//! What an account counts.

use serde::{Deserialize, Serialize};

/// What an account counts, and for which kind of rule: a limit and a budget of one id have two accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Money, for a budget with periods: what is spent stays spent until the period ends.
    #[default]
    Budget,
    /// Money, for a rolling budget.
    Rolling,
    /// Requests.
    Requests,
    /// Input tokens.
    InputTokens,
    /// Output tokens.
    OutputTokens,
    /// Input and output tokens.
    Tokens,
    /// Money, for a limit.
    Cost,
    /// Permits under way.
    Concurrency,
    /// Money, for a session.
    Session,
}

impl Measure {
    /// Whether it counts money.
    pub fn is_money(self) -> bool {
        matches!(self, Measure::Budget | Measure::Rolling | Measure::Cost | Measure::Session)
    }

    /// Whether it counts requests.
    pub fn is_requests(self) -> bool {
        self == Measure::Requests
    }

    /// Whether it counts tokens.
    pub fn is_tokens(self) -> bool {
        matches!(self, Measure::InputTokens | Measure::OutputTokens | Measure::Tokens)
    }
}
