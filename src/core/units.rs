//! Money, tokens and time as integers.

use chrono::{Datelike, Timelike};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Nano-dollars in one US dollar.
pub const NANO_PER_USD: i64 = 1_000_000_000;

/// The largest amount that survives SQLite on Workers, where integers are read as doubles: 2^53 - 1.
pub const MAX_NANO: i64 = (1 << 53) - 1;

/// An amount of money in nano-dollars (1 USD = 1,000,000,000), within ±(2^53 - 1), about $9.007 M.
///
/// Arithmetic saturates at the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(i64);

impl NanoUsd {
    /// No money.
    pub const ZERO: NanoUsd = NanoUsd(0);
    /// The largest amount.
    pub const MAX: NanoUsd = NanoUsd(MAX_NANO);

    /// The amount, clamped to the bounds.
    pub const fn new(nano: i64) -> NanoUsd {
        if nano > MAX_NANO {
            NanoUsd(MAX_NANO)
        } else if nano < -MAX_NANO {
            NanoUsd(-MAX_NANO)
        } else {
            NanoUsd(nano)
        }
    }

    /// The amount of a wider integer, clamped to the bounds.
    pub fn from_i128(nano: i128) -> NanoUsd {
        NanoUsd::new(i64::try_from(nano).unwrap_or(if nano < 0 { -MAX_NANO } else { MAX_NANO }))
    }

    /// Nano-dollars.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Sum, saturating at the bounds.
    #[must_use]
    pub const fn plus(self, other: NanoUsd) -> NanoUsd {
        NanoUsd::new(self.0.saturating_add(other.0))
    }

    /// Difference, saturating at the bounds.
    #[must_use]
    pub const fn minus(self, other: NanoUsd) -> NanoUsd {
        NanoUsd::new(self.0.saturating_sub(other.0))
    }

    /// The amount, or nothing if it is negative.
    #[must_use]
    pub fn at_least_zero(self) -> NanoUsd {
        self.max(NanoUsd::ZERO)
    }

    /// Reads a decimal string in USD (`"0.0025"`): digits, at most one point, at most nine decimals,
    /// no sign, no exponent.
    pub fn from_usd(text: &str) -> Option<NanoUsd> {
        decimal(text, 9).filter(|n| *n <= i128::from(MAX_NANO)).map(NanoUsd::from_i128)
    }
}

impl fmt::Display for NanoUsd {
    /// A decimal string in USD without trailing zeros: `0`, `1.5`, `-0.000001234`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let abs = self.0.unsigned_abs();
        let whole = abs.checked_div(NANO_PER_USD.unsigned_abs()).unwrap_or(0);
        let part = abs.checked_rem(NANO_PER_USD.unsigned_abs()).unwrap_or(0);
        if self.0 < 0 {
            f.write_str("-")?;
        }
        fmt::Display::fmt(&whole, f)?;
        if part == 0 {
            return Ok(());
        }
        let (mut digits, mut rest) = (*b".000000000", part);
        for digit in digits.iter_mut().skip(1).rev() {
            *digit = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or(0));
            rest /= 10;
        }
        f.write_str(std::str::from_utf8(&digits).unwrap_or_default().trim_end_matches('0'))
    }
}

/// What a rule counts: nano-dollars, tokens, requests or permits, within ±(2^53 - 1). Which of these it
/// is stands in the account's key. Money at the borders stays [`NanoUsd`].
///
/// Arithmetic saturates at the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(i64);

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);
    /// One: a request, a permit.
    pub const ONE: Amount = Amount(1);
    /// The largest amount.
    pub const MAX: Amount = Amount(MAX_NANO);

    /// The amount, clamped to the bounds.
    pub const fn new(n: i64) -> Amount {
        Amount(NanoUsd::new(n).0)
    }

    /// A count, clamped to the bounds.
    pub fn count(n: u64) -> Amount {
        Amount::new(i64::try_from(n).unwrap_or(MAX_NANO))
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// As a count; nothing if it is negative.
    pub fn whole(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// As money.
    pub const fn usd(self) -> NanoUsd {
        NanoUsd(self.0)
    }

    /// Sum, saturating at the bounds.
    #[must_use]
    pub const fn plus(self, other: Amount) -> Amount {
        Amount::new(self.0.saturating_add(other.0))
    }

    /// Difference, saturating at the bounds.
    #[must_use]
    pub const fn minus(self, other: Amount) -> Amount {
        Amount::new(self.0.saturating_sub(other.0))
    }

    /// The amount, or nothing if it is negative.
    #[must_use]
    pub fn at_least_zero(self) -> Amount {
        self.max(Amount::ZERO)
    }
}

impl From<NanoUsd> for Amount {
    fn from(money: NanoUsd) -> Amount {
        Amount(money.0)
    }
}

/// Reads an unsigned decimal string as an integer scaled by `10^decimals`; `None` when it has any
/// other form, more decimals than that, or more than 30 digits.
pub fn decimal(text: &str, decimals: u32) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let written = u32::try_from(part.len()).ok()?;
    let wrong = |s: &str| !s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || text.len() > 30 || written > decimals || wrong(whole) || wrong(part) {
        return None;
    }
    if text.contains('.') && part.is_empty() {
        return None;
    }
    let mut n: i128 = 0;
    for b in whole.bytes().chain(part.bytes()) {
        n = n.checked_mul(10)?.checked_add(i128::from(b.checked_sub(b'0')?))?;
    }
    let scale = 10_i128.checked_pow(decimals.checked_sub(written)?)?;
    n.checked_mul(scale)
}

/// A number of tokens.
pub type Tokens = u64;

/// A span of time in milliseconds.
pub type Millis = i64;

/// A point in time: integer milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The point `span` later, saturating.
    #[must_use]
    pub const fn plus(self, span: Millis) -> Timestamp {
        Timestamp(self.0.saturating_add(span))
    }

    /// Milliseconds since `earlier`; zero if the clock stepped back.
    pub fn since(self, earlier: Timestamp) -> Millis {
        self.0.saturating_sub(earlier.0).max(0)
    }

    /// RFC 3339 in UTC with milliseconds.
    pub fn rfc3339(self) -> String {
        // Written by hand: the formatter of `chrono` would be the largest part of it in the wasm.
        let Some(t) = chrono::DateTime::from_timestamp_millis(self.0) else { return "out of range".to_owned() };
        let (date, time) = (t.date_naive(), t.time());
        let (y, mo, d) = (date.year(), date.month(), date.day());
        let (h, mi, s, ms) = (time.hour(), time.minute(), time.second(), t.timestamp_subsec_millis());
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{ms:03}Z")
    }

    /// Reads RFC 3339.
    pub fn from_rfc3339(text: &str) -> Option<Timestamp> {
        chrono::DateTime::parse_from_rfc3339(text).ok().map(|t| Timestamp(t.timestamp_millis()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn money_reads_and_writes_decimal_strings() {
        for (text, nano) in [("0", 0), ("1", 1_000_000_000), ("0.000000001", 1), ("12.5", 12_500_000_000)] {
            assert_eq!(NanoUsd::from_usd(text), Some(NanoUsd(nano)));
            assert_eq!(NanoUsd(nano).to_string(), text);
        }
        assert_eq!(NanoUsd(-1_234).to_string(), "-0.000001234");
        for bad in ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000000001", "1,5", " 1", "9007199254741", "٣"] {
            assert_eq!(NanoUsd::from_usd(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn money_round_trips(n in 0..=MAX_NANO) {
            prop_assert_eq!(NanoUsd::from_usd(&NanoUsd(n).to_string()), Some(NanoUsd(n)));
        }
    }

    proptest! {
        #[test]
        fn time_is_written_as_chrono_writes_it(ms in 0_i64..253_402_300_800_000) {
            let theirs = chrono::DateTime::from_timestamp_millis(ms).unwrap().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            prop_assert_eq!(Timestamp(ms).rfc3339(), theirs);
        }
    }

    #[test]
    fn time_is_rfc3339() {
        assert_eq!(Timestamp(1_700_000_000_123).rfc3339(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Timestamp::from_rfc3339("2023-11-14T23:13:20.123+01:00"), Some(Timestamp(1_700_000_000_123)));
        assert_eq!(Timestamp(5).since(Timestamp(9)), 0);
    }
}
