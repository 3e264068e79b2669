//! What an answer says about the key that it was asked with.

/// Bytes of an error body that are looked at. Errors are short; what is longer is no error.
const LOOKED_AT: usize = 8 * 1024;

/// Why a key is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It asked too often.
    Throttled,
    /// Its account has no credit.
    NoCredit,
    /// It is not valid.
    Refused,
}

impl Why {
    /// A slug for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Throttled => "throttled",
            Why::NoCredit => "no_credit",
            Why::Refused => "refused",
        }
    }

    /// How bad it is: a lesser trouble does not hide a greater one.
    pub(super) fn rank(self) -> u8 {
        match self {
            Why::Throttled => 0,
            Why::NoCredit => 1,
            Why::Refused => 2,
        }
    }
}

/// What an answer says about the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Works,
    /// Nothing.
    Unrelated,
    /// It is to be left alone, and the request may be sent with another.
    Trouble(Why),
}

/// Texts in the errors of providers that use one status for several reasons.
///
/// OpenAI answers 429 `insufficient_quota` to an account without credit, and 400
/// `billing_hard_limit_reached`; Anthropic 400 "Your credit balance is too low to access the Anthropic
/// API"; Gemini 400 or 403 with the reason `API_KEY_INVALID`; AWS 403 with these exceptions; others
/// 403 `invalid_api_key`.
const TOLD: &[(&str, Why)] = &[
    ("insufficient_quota", Why::NoCredit),
    ("billing_hard_limit_reached", Why::NoCredit),
    ("credit balance is too low", Why::NoCredit),
    ("API_KEY_INVALID", Why::Refused),
    ("invalid_api_key", Why::Refused),
    ("UnrecognizedClientException", Why::Refused),
    ("ExpiredTokenException", Why::Refused),
];

impl Verdict {
    /// Reads an answer's status and, of an error, its body.
    ///
    /// A 403 says nothing by itself: it may be the model, or the country, that is refused.
    pub fn of(status: u16, body: &[u8]) -> Verdict {
        match status {
            200..=299 => Verdict::Works,
            401 => Verdict::Trouble(Why::Refused),
            402 => Verdict::Trouble(Why::NoCredit),
            429 => Verdict::Trouble(told(body).filter(|why| *why == Why::NoCredit).unwrap_or(Why::Throttled)),
            400 | 403 => told(body).map_or(Verdict::Unrelated, Verdict::Trouble),
            _ => Verdict::Unrelated,
        }
    }

    /// Whether another key of the same provider may have more luck.
    pub fn rotates(self) -> bool {
        matches!(self, Verdict::Trouble(_))
    }
}

fn told(body: &[u8]) -> Option<Why> {
    let body = body.get(..LOOKED_AT).unwrap_or(body);
    TOLD.iter().find(|(text, _)| body.windows(text.len()).any(|w| w == text.as_bytes())).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_tell_about_the_key() {
        use Verdict as V;
        let gemini = br#"{"error":{"code":400,"details":[{"reason":"API_KEY_INVALID"}]}}"#.as_slice();
        let anthropic = br#"{"error":{"message":"Your credit balance is too low to access the Anthropic API."}}"#;
        for (status, body, verdict) in [
            (200, b"insufficient_quota".as_slice(), V::Works),
            (401, b"", V::Trouble(Why::Refused)),
            (402, b"", V::Trouble(Why::NoCredit)),
            (429, b"{}", V::Trouble(Why::Throttled)),
            (429, br#"{"error":{"code":"insufficient_quota"}}"#, V::Trouble(Why::NoCredit)),
            (429, b"invalid_api_key", V::Trouble(Why::Throttled)),
            (400, gemini, V::Trouble(Why::Refused)),
            (400, anthropic, V::Trouble(Why::NoCredit)),
            (400, b"{}", V::Unrelated),
            (403, br#"{"error":{"code":"unsupported_country"}}"#, V::Unrelated),
            (403, br#"{"__type":"UnrecognizedClientException"}"#, V::Trouble(Why::Refused)),
            (404, b"invalid_api_key", V::Unrelated),
            (500, b"insufficient_quota", V::Unrelated),
        ] {
            assert_eq!(V::of(status, body), verdict, "{status} {}", String::from_utf8_lossy(body));
            assert_eq!(V::of(status, body).rotates(), !matches!(verdict, V::Works | V::Unrelated));
        }
    }

    #[test]
    fn a_long_body_is_not_searched_through() {
        let mut body = vec![b' '; LOOKED_AT];
        body.extend_from_slice(b"insufficient_quota");
        assert_eq!(Verdict::of(400, &body), Verdict::Unrelated);
    }
}
