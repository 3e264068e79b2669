//! The operator's own prices: one document for all tenants, changed while the gateway runs.

use super::{Price, PriceSpec};
use crate::map::Map;
use crate::units::Timestamp;
use serde::{Deserialize, Serialize};

/// Most rows of a book: it travels to worker isolates beside each tenant's document.
pub const MAX_BOOK: usize = 500;

/// A version of the operator's prices. Stored, and a part of messages: change it only additively.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceBook {
    /// Counted from 1; 0 where there never was one.
    pub version: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// `provider/model` or `provider/*`.
    #[serde(default)]
    pub prices: Map<String, PriceSpec>,
}

impl PriceBook {
    /// The price of a model: its own row before its provider's. Every charge keeps the version, so that what was
    /// meant can be told when the book has changed.
    pub fn price(&self, provider: &str, model: &str) -> Option<Price> {
        let found = |name: String| Some((self.prices.get(&name)?, name));
        let (spec, name) = found(format!("{provider}/{model}")).or_else(|| found(format!("{provider}/*")))?;
        spec.price(&format!("operator:{name}@{}", self.version))
    }
}
