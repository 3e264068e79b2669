//! Service tiers: the same model faster for more, or slower for less.

use super::Rates;
use crate::units::Tokens;
use serde::{Deserialize, Serialize};

/// The tier that a request was served in, as providers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The usual one.
    Standard,
    /// Slower, when there is room.
    Flex,
    /// Within a day.
    Batch,
    /// Faster.
    Priority,
}

impl Tier {
    /// Those that may have prices of their own.
    pub const PRICED: [Tier; 3] = [Tier::Flex, Tier::Batch, Tier::Priority];

    /// The tier that an answer names. OpenAI's `scale` is paid for in advance, as a standard request is.
    pub fn told(name: &str) -> Option<Tier> {
        match name {
            "default" | "standard" | "on_demand" | "scale" => Some(Tier::Standard),
            "flex" => Some(Tier::Flex),
            "batch" => Some(Tier::Batch),
            "priority" => Some(Tier::Priority),
            _ => None,
        }
    }

    /// In price ids and lists.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Standard => "standard",
            Tier::Flex => "flex",
            Tier::Batch => "batch",
            Tier::Priority => "priority",
        }
    }
}

/// The tier that a request asks for: a bound on the tiers that it may be served in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierAsked {
    /// The provider decides, by what is agreed with it: any.
    #[default]
    Auto,
    /// The usual one, and no other.
    Standard,
    /// Flex, or the usual one.
    Flex,
    /// Priority, or the usual one where there is no room.
    Priority,
}

impl TierAsked {
    /// What a request's `service_tier` says; what is unknown says nothing.
    pub fn named(name: &str) -> TierAsked {
        match name {
            "default" | "standard" | "standard_only" | "on_demand" => TierAsked::Standard,
            "flex" => TierAsked::Flex,
            "priority" => TierAsked::Priority,
            _ => TierAsked::Auto,
        }
    }

    /// Whether a request may be served in that tier.
    pub fn allows(self, tier: Tier) -> bool {
        match self {
            TierAsked::Auto => true,
            TierAsked::Standard => tier == Tier::Standard,
            TierAsked::Flex => matches!(tier, Tier::Standard | Tier::Flex),
            TierAsked::Priority => matches!(tier, Tier::Standard | Tier::Priority),
        }
    }

    /// The tier to compare prices in before anything was sent; none for the usual one.
    pub fn expected(self) -> Option<Tier> {
        match self {
            TierAsked::Auto | TierAsked::Standard => None,
            TierAsked::Flex => Some(Tier::Flex),
            TierAsked::Priority => Some(Tier::Priority),
        }
    }

    /// The tier to charge where the answer names none: the dearer of those that were asked for.
    pub fn untold(self) -> Option<Tier> {
        Some(Tier::Priority).filter(|_| self == TierAsked::Priority)
    }
}

/// What a tier costs where that is not what the usual one does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Which.
    pub tier: Tier,
    /// What short prompts pay.
    pub base: Rates,
    /// What longer prompts pay, as in [`super::Price::steps`].
    pub steps: Vec<(Tokens, Rates)>,
}
