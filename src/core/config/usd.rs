//! Money in documents: decimal strings, never numbers.

use crate::units::NanoUsd;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes a decimal string.
pub fn serialize<S: Serializer>(amount: &NanoUsd, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(amount)
}

/// Reads a decimal string.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NanoUsd, D::Error> {
    let wrong = || D::Error::custom("money is a decimal string in USD with at most nine decimals, such as \"12.50\"");
    let value = serde_json::Value::deserialize(from)?;
    value.as_str().and_then(NanoUsd::from_usd).ok_or_else(wrong)
}

/// Money that may be absent.
pub mod maybe {
    use crate::units::NanoUsd;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes a decimal string, or null.
    pub fn serialize<S: Serializer>(amount: &Option<NanoUsd>, to: S) -> Result<S::Ok, S::Error> {
        match amount {
            Some(amount) => super::serialize(amount, to),
            None => to.serialize_none(),
        }
    }

    /// Reads a decimal string, or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NanoUsd>, D::Error> {
        #[derive(Deserialize)]
        struct Money(#[serde(with = "super")] NanoUsd);
        Ok(Option::<Money>::deserialize(from)?.map(|Money(amount)| amount))
    }
}
