//! Errors: Cloudflare's frame `{"errors": [{"code", "message"}]}`, the binding's own
//! `{"internalCode", "description"}`, or OpenAI's.

use super::super::chat;
use super::super::common::WireError;
use super::super::json::{Fields, Json};

/// Reads an error's body.
pub(crate) fn decode_error(mut body: Fields) -> Option<WireError> {
    if let Some(code) = body.take_u64("internalCode") {
        let message = body.take_text("description").or_else(|| body.take_text("message")).unwrap_or_default();
        return Some(WireError { code: Some(code.to_string()), message, ..WireError::default() });
    }
    let first = body.take_list("errors").unwrap_or_default().into_iter().next();
    match first {
        Some(error @ Json::Object(_)) => chat::error_in(error),
        _ => chat::decode_error(body),
    }
}
