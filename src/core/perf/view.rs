//! What worker isolates are told of targets: it travels with permits, so every byte counts.

use crate::checks::Unreachable;
use crate::route::Gate;
use crate::units::Timestamp;
use serde::{Deserialize, Serialize};

/// Most targets in a view. Those that fail come first, then those that were asked last.
pub const MAX_VIEW: usize = 64;

/// What is known of targets, at some version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Larger than that of any view before. 0: nothing was told.
    #[serde(rename = "n")]
    pub version: u64,
    /// One row for each target, by name. Of what is not there nothing is known, and its breaker is closed.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<ViewRow>,
    /// Providers that health checks find unreachable.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<Unreachable>,
}

/// What is known of a target. What is 0 is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewRow {
    /// `provider/model`.
    #[serde(rename = "t")]
    pub target: String,
    /// Whether it may be asked.
    #[serde(rename = "g", with = "gate", skip_serializing_if = "is_default")]
    pub gate: Gate,
    /// Milliseconds to the first byte, peak EWMA.
    #[serde(rename = "f", skip_serializing_if = "is_default")]
    pub first_ms: u32,
    /// Milliseconds to the end, peak EWMA.
    #[serde(rename = "l", skip_serializing_if = "is_default")]
    pub total_ms: u32,
    /// Milliseconds to the first byte that 95 of 100 answers did not exceed of late; 0 where they are few.
    /// Told where requests are hedged by it, like the next.
    #[serde(rename = "p", skip_serializing_if = "is_default")]
    pub first_p95: u32,
    /// The same to the end.
    #[serde(rename = "x", skip_serializing_if = "is_default")]
    pub total_p95: u32,
    /// Failures, in thousandths of its attempts.
    #[serde(rename = "e", skip_serializing_if = "is_default")]
    pub errors: u16,
    /// Input read from the provider's prompt cache, in thousandths of all input.
    #[serde(rename = "c", skip_serializing_if = "is_default")]
    pub cached: u16,
    /// What feedback adds to its quality, in thousandths; within ±200.
    #[serde(rename = "q", skip_serializing_if = "is_default")]
    pub quality: i16,
}

/// What an isolate has been told, in its next question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The version of its view; 0 if it has none.
    #[serde(rename = "n")]
    pub version: u64,
    /// Where it runs, as the platform names it; empty if it does not know.
    #[serde(rename = "r", default, skip_serializing_if = "String::is_empty")]
    pub region: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl View {
    /// The row of a target.
    pub fn row(&self, target: &str) -> Option<&ViewRow> {
        self.rows.iter().find(|r| r.target == target)
    }

    /// Whether health checks found a provider unreachable, lately.
    pub fn is_unreachable(&self, provider: &str, now: Timestamp) -> bool {
        self.unreachable.iter().any(|u| u.provider == provider && now < u.until)
    }
}

/// A gate as one number: until when its breaker is open, or, negative, until when it is to be left alone.
mod gate {
    use super::{Gate, Timestamp};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(gate: &Gate, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(match gate {
            Gate::Closed | Gate::Probe => 0,
            Gate::Open(until) => until.0.max(1),
            Gate::Throttled(until) => until.0.max(1).saturating_neg(),
        })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Gate, D::Error> {
        Ok(match i64::deserialize(from)? {
            0 => Gate::Closed,
            n if n > 0 => Gate::Open(Timestamp(n)),
            n => Gate::Throttled(Timestamp(n.saturating_neg())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a neighbouring version sends.
    #[test]
    fn views_stay_readable() {
        let text = r#"{"n":7,"r":[{"t":"p/m","g":1710028800000},{"t":"p/n","g":-5,"f":310,"l":900,"p":700,"x":2100,"e":12,"c":640,"q":-30},{"t":"p/o"}]}"#;
        let view: View = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&view).unwrap(), text);
        assert_eq!(view.row("p/m").unwrap().gate, Gate::Open(Timestamp(1_710_028_800_000)));
        assert_eq!(view.row("p/n").unwrap().gate, Gate::Throttled(Timestamp(5)));
        assert_eq!((view.row("p/n").unwrap().first_p95, view.row("p/n").unwrap().total_p95), (700, 2_100));
        assert_eq!(view.row("p/o").unwrap().gate, Gate::Closed);
        assert_eq!(view.row("p/x"), None);
        let text = r#"{"n":7,"d":[{"p":"p","u":9}]}"#;
        let view: View = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&view).unwrap(), text);
        let found = [("p", 8), ("p", 9), ("q", 8)].map(|(p, now)| view.is_unreachable(p, Timestamp(now)));
        assert_eq!(found, [true, false, false]);
    }
}
