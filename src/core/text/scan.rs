//! JSON text, read piece by piece where its form is known beforehand.

use super::draft::plain;
use serde::de::DeserializeOwned;

/// Digits that surely fit.
const MOST_DIGITS: usize = 18;

/// What is left of a text. Every method takes what it names off the front, or is `None` and the text is to be
/// read in the general way: it has another form, which need not be wrong.
pub struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    /// All of a text.
    pub fn new(text: &'a str) -> Scan<'a> {
        Scan(text)
    }

    /// This, exactly.
    pub fn lit(&mut self, piece: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(piece)?;
        Some(())
    }

    /// Whether this comes next; it is taken off then.
    pub fn has(&mut self, piece: &str) -> bool {
        self.lit(piece).is_some()
    }

    /// A string without escapes.
    pub fn text(&mut self) -> Option<&'a str> {
        let rest = self.0.strip_prefix('"')?;
        let end = rest.bytes().position(|byte| !plain(byte))?;
        let (text, rest) = rest.split_at_checked(end)?;
        self.0 = rest.strip_prefix('"')?;
        Some(text)
    }

    /// A number of things.
    pub fn count(&mut self) -> Option<u64> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.0.split_at_checked(digits)?;
        // JSON has no leading zeros, and more digits may not fit.
        if digits > MOST_DIGITS || (digits > 1 && number.starts_with('0')) {
            return None;
        }
        self.0 = rest;
        number.parse().ok()
    }

    /// A whole number.
    pub fn int(&mut self) -> Option<i64> {
        let negative = self.has("-");
        let n = i64::try_from(self.count()?).ok()?;
        // JSON's -0 is no integer.
        if negative { n.checked_neg().filter(|n| *n != 0) } else { Some(n) }
    }

    /// `true` or `false`.
    pub fn truth(&mut self) -> Option<bool> {
        if self.has("true") {
            return Some(true);
        }
        self.lit("false").map(|()| false)
    }

    /// A value that `serde` writes as a string without escapes.
    pub fn word<T: DeserializeOwned>(&mut self) -> Option<T> {
        let before = self.0;
        self.text()?;
        let quoted = before.get(..before.len().checked_sub(self.0.len())?)?;
        serde_json::from_str(quoted).ok()
    }

    /// A list in brackets.
    pub fn list<T>(&mut self, mut each: impl FnMut(&mut Scan<'a>) -> Option<T>) -> Option<Vec<T>> {
        self.lit("[")?;
        let mut items = Vec::new();
        while !self.has("]") {
            if !items.is_empty() {
                self.lit(",")?;
            }
            items.push(each(self)?);
        }
        Some(items)
    }

    /// The end of the text.
    pub fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
