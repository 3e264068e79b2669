//! What a request costs.
//!
//! Prices are integer pico-dollars per token (a price of 1 USD per million tokens is 1,000,000), so
//! every price with at most six decimals per million tokens is exact. A cost is summed in 128 bits
//! and rounded once, half up, to nano-dollars.

mod book;
mod rates;
mod spec;
#[cfg(test)]
mod tests;
mod tier;

pub use book::{MAX_BOOK, PriceBook};
pub use rates::{RateText, Rates};
pub use spec::{PriceSpec, TierSpec};
pub use tier::{Tier, TierAsked, Variant};

use crate::units::{NanoUsd, Timestamp, Tokens};
use serde::{Deserialize, Serialize};

/// The id of the price of a model that nobody knows the price of, where the tenant lets it pass.
pub const UNKNOWN: &str = "unknown";

/// The price of one model. By default it costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Names the row that the price came from. Every charge keeps it.
    pub id: String,
    /// What short prompts pay.
    pub base: Rates,
    /// What longer prompts pay, for all their tokens: (more input tokens than this, rates), ascending.
    pub steps: Vec<(Tokens, Rates)>,
    /// What each request pays beside its tokens.
    pub per_request: NanoUsd,
    /// What other service tiers cost.
    pub tiers: Vec<Variant>,
    /// When another price comes into force: from then on this one must be looked up again.
    pub valid_until: Option<Timestamp>,
}

/// Tokens that a provider says it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens: fresh ones, and those that were read from or written to a cache.
    #[serde(rename = "i")]
    pub input: Tokens,
    /// Output tokens, reasoning included.
    #[serde(rename = "o")]
    pub output: Tokens,
    /// The part of `input` that was read from the provider's prompt cache.
    #[serde(rename = "c", default, skip_serializing_if = "is_zero")]
    pub cached_input: Tokens,
    /// The part of `input` that was written to the provider's prompt cache.
    #[serde(rename = "w", default, skip_serializing_if = "is_zero")]
    pub cache_write: Tokens,
    /// The part of `cache_write` that is kept there for an hour.
    #[serde(rename = "h", default, skip_serializing_if = "is_zero")]
    pub cache_write_1h: Tokens,
    /// The service tier, where the provider named one and it is not the usual one.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Usage {
    /// The same with every part at most as large as its whole.
    #[must_use]
    pub fn consistent(self) -> Usage {
        let cached_input = self.cached_input.min(self.input);
        let cache_write = self.cache_write.min(self.input.saturating_sub(cached_input));
        Usage { cached_input, cache_write, cache_write_1h: self.cache_write_1h.min(cache_write), ..self }
    }

    /// As it is settled: in the tier that the answer named, or in what the request asked for where it named none.
    #[must_use]
    pub fn asked_in(self, asked: TierAsked) -> Usage {
        Usage { tier: self.tier.or(asked.untold()).filter(|tier| *tier != Tier::Standard), ..self }
    }
}

impl Price {
    /// The price of a model that nobody knows the price of: nothing, under a name that tells so.
    pub fn unknown() -> Price {
        Price { id: UNKNOWN.to_owned(), ..Price::default() }
    }

    /// Whether it may be used at that time.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.valid_until.is_none_or(|until| now < until)
    }

    /// The cost of a request that used `usage`, never negative.
    pub fn cost(&self, usage: Usage) -> NanoUsd {
        let (base, steps) = self.variant(usage.tier).map_or((self.base, &self.steps), |v| (v.base, &v.steps));
        let step = steps.iter().rev().find(|(over, _)| usage.input > *over);
        step.map_or(base, |(_, rates)| *rates).cost(usage.consistent()).plus(self.per_request)
    }

    /// The id of what such a request is charged by: of its tier, where that has a price of its own.
    pub fn id_for(&self, usage: Usage) -> String {
        self.variant(usage.tier).map_or_else(|| self.id.clone(), |v| format!("{}#{}", self.id, v.tier.name()))
    }

    fn variant(&self, tier: Option<Tier>) -> Option<&Variant> {
        self.tiers.iter().find(|v| Some(v.tier) == tier)
    }

    /// The most that a request of up to `input` and `output` tokens can cost: steps count from their
    /// first token, all of the input may be read from a cache or written to one, and it may be served in any tier
    /// that it allows, where that is dearer.
    pub fn worst_case(&self, input: Tokens, output: Tokens, asked: TierAsked) -> NanoUsd {
        let usage = Usage { input, output, ..Usage::default() };
        let most = |base: Rates, steps: &[(Tokens, Rates)]| {
            let reachable = steps.iter().filter(|(over, _)| input > *over).map(|(_, rates)| *rates);
            reachable.chain([base]).map(|rates| rates.dearest().cost(usage)).max()
        };
        let allowed = self.tiers.iter().filter(|v| asked.allows(v.tier)).map(|v| most(v.base, &v.steps));
        let most = allowed.chain([most(self.base, &self.steps)]).flatten().max();
        most.unwrap_or(NanoUsd::MAX).plus(self.per_request)
    }
}
