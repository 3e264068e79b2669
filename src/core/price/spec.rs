//! Prices as people write them.

use super::{Price, RateText, Rates, Tier, Variant};
use crate::units::NanoUsd;
use serde::{Deserialize, Serialize};

/// A price in decimal strings: USD per million tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSpec {
    /// USD per million input tokens.
    pub input_usd_per_mtok: String,
    /// USD per million output tokens.
    pub output_usd_per_mtok: String,
    /// USD per million input tokens that were read from the provider's prompt cache; as other input
    /// where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_usd_per_mtok: Option<String>,
    /// USD per million input tokens that were written to it; as other input where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_usd_per_mtok: Option<String>,
    /// USD per million input tokens that were written to it for an hour; as other writes where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h_usd_per_mtok: Option<String>,
    /// USD per request, beside the tokens; nothing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_request_usd: Option<String>,
    /// What the service tier `flex` costs; as above where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flex: Option<Box<TierSpec>>,
    /// What the service tier `batch` costs; as above where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Box<TierSpec>>,
    /// What the service tier `priority` costs; as above where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Box<TierSpec>>,
}

/// The price of tokens in a service tier, in the same words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierSpec {
    /// Input.
    pub input_usd_per_mtok: String,
    /// Output.
    pub output_usd_per_mtok: String,
    /// Input read from a cache; as other input of the tier where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_usd_per_mtok: Option<String>,
    /// Input written to a cache; as other input of the tier where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_usd_per_mtok: Option<String>,
    /// Input written to a cache for an hour; as other writes of the tier where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h_usd_per_mtok: Option<String>,
}

impl TierSpec {
    fn rates(&self) -> Option<Rates> {
        let text = RateText {
            input: &self.input_usd_per_mtok,
            output: &self.output_usd_per_mtok,
            cached_input: self.cached_input_usd_per_mtok.as_deref(),
            cache_write: self.cache_write_usd_per_mtok.as_deref(),
            cache_write_1h: self.cache_write_1h_usd_per_mtok.as_deref(),
        };
        text.rates()
    }
}

impl PriceSpec {
    /// The price in integers; `None` if a part is not such a string.
    pub fn price(&self, id: &str) -> Option<Price> {
        let text = RateText {
            input: &self.input_usd_per_mtok,
            output: &self.output_usd_per_mtok,
            cached_input: self.cached_input_usd_per_mtok.as_deref(),
            cache_write: self.cache_write_usd_per_mtok.as_deref(),
            cache_write_1h: self.cache_write_1h_usd_per_mtok.as_deref(),
        };
        let per_request = self.per_request_usd.as_deref().map_or(Some(NanoUsd::ZERO), NanoUsd::from_usd)?;
        let mut tiers = Vec::new();
        for (tier, spec) in [(Tier::Flex, &self.flex), (Tier::Batch, &self.batch), (Tier::Priority, &self.priority)] {
            if let Some(spec) = spec {
                tiers.push(Variant { tier, base: spec.rates()?, steps: Vec::new() });
            }
        }
        Some(Price { id: id.to_owned(), base: text.rates()?, per_request, tiers, ..Price::default() })
    }
}
