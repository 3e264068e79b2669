//! Secrets: what must never be shown, and the form in which they are stored.

pub mod google;
mod sealed;

pub use sealed::{KeyForm, NONCE_LEN, Sealed, SecretsKey, additional_data, field, is_name};

use std::fmt;
use std::rc::Rc;

/// Shortest secret of which the last characters are shown: of a shorter one they would be too much.
const SHOWN_FROM: usize = 12;

/// A text that is used and never shown: `Debug` does not tell it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Rc<str>);

impl Secret {
    /// Takes a secret. White space around it is dropped: it comes from copying, and no key has any.
    pub fn new(text: &str) -> Secret {
        Secret(text.trim().into())
    }

    /// The text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The last four characters, for recognition, if there are at least twelve and these four are plain.
    pub fn last4(&self) -> Option<String> {
        let last: String = self.0.get(self.0.len().checked_sub(4)?..)?.to_owned();
        (self.0.len() >= SHOWN_FROM && last.bytes().all(|b| b.is_ascii_graphic())).then_some(last)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new(" sk-0123456789abcdef\n");
        assert_eq!(secret.reveal(), "sk-0123456789abcdef");
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "Secret(…) Some(\n    Secret(…),\n)");
    }

    #[test]
    fn the_last_four_are_shown_of_long_ones() {
        for (text, shown) in [
            ("sk-012345678", Some("5678")),
            ("sk-01234567", None),
            ("", None),
            ("abc", None),
            ("0123456789ab é", None),
            ("0123456789abcdé", None),
            ("{\"a\":\"0123456789\n\"}", None),
        ] {
            assert_eq!(Secret::new(text).last4().as_deref(), shown, "{text}");
        }
    }
}
