//! The retry budget: retries are a share of the requests, or a provider in trouble gets more of them.

/// Hundredths that a retry costs.
const PRICE: u32 = 100;
/// Retries that may be saved up: enough for a tenant with few requests.
const MOST: u32 = 10 * PRICE;

/// A token bucket that requests fill and retries empty: of *n* requests at most `percent` per cent, and ten
/// more, are tried again. One for each tenant and isolate.
///
/// Source: Finagle's `RetryBudget`, <https://twitter.github.io/finagle/guide/Clients.html#retries>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    level: u32,
}

impl Default for RetryBudget {
    /// A full one.
    fn default() -> RetryBudget {
        RetryBudget { level: MOST }
    }
}

impl RetryBudget {
    /// A request came; retries may be so many percent of the requests.
    pub fn deposit(&mut self, percent: u32) {
        self.level = self.level.saturating_add(percent.min(100)).min(MOST);
    }

    /// Whether there is one.
    pub fn has(&self) -> bool {
        self.level >= PRICE
    }

    /// Takes one retry, if there is one.
    pub fn take(&mut self) -> bool {
        let left = self.level.checked_sub(PRICE);
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn retries_are_a_share_of_the_requests(percent in 0_u32..=100, events in prop::collection::vec(any::<bool>(), 0..2_000)) {
            let mut budget = RetryBudget::default();
            let (mut requests, mut retries) = (0_u32, 0_u32);
            for request in events {
                if request {
                    budget.deposit(percent);
                    requests += 1;
                } else {
                    retries += u32::from(budget.take());
                }
                prop_assert!(retries * 100 <= requests * percent + 1_000, "{retries} of {requests}");
            }
        }
    }
}
