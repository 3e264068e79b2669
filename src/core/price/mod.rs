//! What a request costs.
//!
//! Prices are integer pico-dollars per token (a price of 1 USD per million tokens is 1,000,000), so
//! every price with at most six decimals per million tokens is exact. A cost is summed in 128 bits
//! and rounded once, half up, to nano-dollars.

use crate::units::{NanoUsd, Tokens, decimal};
use serde::{Deserialize, Serialize};

/// The price of one model. By default it costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Names the row that the price came from. Every charge keeps it.
    pub id: String,
    /// What short prompts pay.
    pub base: Rates,
    /// What longer prompts pay, for all their tokens: (more input tokens than this, rates), ascending.
    pub steps: Vec<(Tokens, Rates)>,
}

/// Pico-dollars per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Input.
    pub input: i64,
    /// Output.
    pub output: i64,
    /// Input that the provider read from its prompt cache; the input rate where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<i64>,
}

impl Rates {
    /// Reads decimal strings in USD per million tokens; `None` unless each has at most six decimals
    /// and is at most a million dollars.
    pub fn read(input: &str, output: &str, cached_input: Option<&str>) -> Option<Rates> {
        let pico = |text: &str| decimal(text, 6).and_then(|n| i64::try_from(n).ok()).filter(|n| *n <= 1_000_000_000_000);
        let cached_input = match cached_input {
            Some(text) => Some(pico(text)?),
            None => None,
        };
        Some(Rates { input: pico(input)?, output: pico(output)?, cached_input })
    }

    fn cost(self, usage: Usage) -> NanoUsd {
        let cached = usage.cached_input.min(usage.input);
        let fresh = usage.input.saturating_sub(cached);
        let part = |tokens: u64, pico: i64| i128::from(tokens).saturating_mul(i128::from(pico));
        let pico = part(fresh, self.input)
            .saturating_add(part(cached, self.cached_input.unwrap_or(self.input)))
            .saturating_add(part(usage.output, self.output));
        NanoUsd::from_i128(pico.saturating_add(500).checked_div_euclid(1_000).unwrap_or(0))
    }
}

/// A price as people write it: decimal strings in USD per million tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSpec {
    /// USD per million input tokens.
    pub input_usd_per_mtok: String,
    /// USD per million output tokens.
    pub output_usd_per_mtok: String,
    /// USD per million cached input tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_usd_per_mtok: Option<String>,
}

impl PriceSpec {
    /// The price in integers; `None` if a part is not such a string.
    pub fn price(&self, id: &str) -> Option<Price> {
        let base = Rates::read(&self.input_usd_per_mtok, &self.output_usd_per_mtok, self.cached_input_usd_per_mtok.as_deref())?;
        Some(Price { id: id.to_owned(), base, steps: Vec::new() })
    }
}

/// Tokens that a provider says it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens, the cached ones included.
    #[serde(rename = "i")]
    pub input: Tokens,
    /// Output tokens, reasoning included.
    #[serde(rename = "o")]
    pub output: Tokens,
    /// The part of `input` that was read from the provider's prompt cache.
    #[serde(rename = "c", default, skip_serializing_if = "is_zero")]
    pub cached_input: Tokens,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Price {
    /// The cost of `usage`, never negative.
    pub fn cost(&self, usage: Usage) -> NanoUsd {
        let step = self.steps.iter().rev().find(|(over, _)| usage.input > *over);
        step.map_or(self.base, |(_, rates)| *rates).cost(usage)
    }

    /// The most that up to `input` and `output` tokens can cost: steps count from their first token,
    /// and cached input may be dearer than fresh.
    pub fn worst_case(&self, input: Tokens, output: Tokens) -> NanoUsd {
        let reachable = self.steps.iter().filter(|(over, _)| input > *over).map(|(_, rates)| *rates);
        let most = |rates: Rates| {
            let input_rate = rates.input.max(rates.cached_input.unwrap_or(0));
            Rates { input: input_rate, cached_input: None, output: rates.output }.cost(Usage { input, output, cached_input: 0 })
        };
        reachable.chain([self.base]).map(most).max().unwrap_or(NanoUsd::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gpt() -> Price {
        PriceSpec { input_usd_per_mtok: "2.50".into(), output_usd_per_mtok: "10".into(), cached_input_usd_per_mtok: Some("1.25".into()) }
            .price("p")
            .unwrap()
    }

    #[test]
    fn costs_are_exact_and_rounded_half_up() {
        assert_eq!(gpt().cost(Usage { input: 1_000, output: 100, cached_input: 400 }).to_string(), "0.003");
        let odd = Rates { input: 499, output: 1, cached_input: None };
        assert_eq!(odd.cost(Usage { input: 1, output: 0, cached_input: 0 }).get(), 0);
        assert_eq!(odd.cost(Usage { input: 1, output: 1, cached_input: 0 }).get(), 1);
    }

    #[test]
    fn a_price_is_a_decimal_string() {
        for bad in ["-1", "0.0000001", "1e3", "", "2000000"] {
            let spec = PriceSpec { input_usd_per_mtok: bad.into(), output_usd_per_mtok: "1".into(), cached_input_usd_per_mtok: None };
            assert_eq!(spec.price("p"), None, "{bad}");
        }
    }

    #[test]
    fn a_long_prompt_pays_its_step_for_all_tokens() {
        let mut price = gpt();
        price.steps = vec![(1_000, Rates { input: 5_000_000, output: 20_000_000, cached_input: None })];
        assert_eq!(price.cost(Usage { input: 1_000, output: 0, cached_input: 0 }).to_string(), "0.0025");
        assert_eq!(price.cost(Usage { input: 1_001, output: 0, cached_input: 0 }).to_string(), "0.005005");
    }

    proptest! {
        #[test]
        fn the_worst_case_is_never_below_the_cost(
            most in (0_u64..10_000_000, 0_u64..10_000_000),
            parts in (0.0..=1.0, 0.0..=1.0, 0_u64..20_000_000),
            rates in prop::collection::vec((0_u64..10_000_000, 0_i64..100_000_000, 0_i64..100_000_000, prop::option::of(0_i64..100_000_000)), 1..4),
        ) {
            let mut steps: Vec<_> = rates.iter().map(|(o, i, out, c)| (*o, Rates { input: *i, output: *out, cached_input: *c })).collect();
            steps.sort_by_key(|(over, _)| *over);
            let price = Price { id: String::new(), base: steps[0].1, steps };
            let (input, output) = ((most.0 as f64 * parts.0) as u64, (most.1 as f64 * parts.1) as u64);
            let cost = price.cost(Usage { input, output, cached_input: parts.2 });
            prop_assert!(price.worst_case(most.0, most.1) >= cost);
        }
    }
}
