//! What the operator says of health checks.

use crate::config::split_target;
use crate::units::{Millis, NanoUsd};

/// Seconds between two checks of a provider, where the operator does not say.
const INTERVAL_S: u32 = 300;
/// Most seconds between two checks.
const MAX_INTERVAL_S: u32 = 86_400;
/// What checks may cost in a day, where the operator does not say: a tenth of a dollar.
const BUDGET: NanoUsd = NanoUsd::new(100_000_000);

/// How often providers are checked, and for how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The least time between two checks of a provider; 0: none is checked.
    pub interval: Millis,
    /// What all checks of a day, in UTC, may cost.
    pub budget: NanoUsd,
    /// Models that are asked for one token: (provider, model). The object need not know them.
    pub models: Vec<(String, String)>,
}

impl Policy {
    /// Reads the operator's variables: seconds, USD, and `provider/model` values separated by commas.
    ///
    /// # Errors
    /// Which is wrong, and how it is to be written. Nothing should be checked then: what was meant is not known.
    pub fn read(interval_s: Option<&str>, budget_usd: Option<&str>, models: Option<&str>) -> Result<Policy, String> {
        let seconds = match interval_s {
            None => INTERVAL_S,
            Some(text) => text.parse().ok().filter(|s| *s <= MAX_INTERVAL_S).ok_or_else(|| {
                format!("TOLLGATE_HEALTH_INTERVAL_S: a whole number of seconds from 1 to {MAX_INTERVAL_S}, or 0 to switch checks off")
            })?,
        };
        let budget = match budget_usd {
            None => BUDGET,
            Some(text) => NanoUsd::from_usd(text).ok_or("TOLLGATE_HEALTH_BUDGET_USD: a decimal number of USD such as 0.10")?,
        };
        let mut named: Vec<(String, String)> = Vec::new();
        for text in models.unwrap_or_default().split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let (provider, model) =
                split_target(text).ok_or_else(|| format!("TOLLGATE_HEALTH_MODELS: `{text}` is not written provider/model"))?;
            if named.iter().any(|(name, _)| name == provider) {
                return Err(format!("TOLLGATE_HEALTH_MODELS: `{provider}` is named twice"));
            }
            named.push((provider.to_owned(), model.to_owned()));
        }
        Ok(Policy { interval: i64::from(seconds).saturating_mul(1_000), budget, models: named })
    }
}
