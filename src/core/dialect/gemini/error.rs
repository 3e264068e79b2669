//! Errors in Google's shape: `{"error": {"code", "message", "status"}}`.

use super::super::common::WireError;
use super::super::json::{Fields, object};

/// Reads an error's body.
pub(crate) fn decode_error(mut body: Fields) -> Option<WireError> {
    body.take_object("error").map(error_in)
}

/// Reads the value of `error`.
pub(crate) fn error_in(mut error: Fields) -> WireError {
    WireError {
        kind: error.take_text("status"),
        code: error.take_u64("code").map(|n| n.to_string()),
        message: error.take_text("message").unwrap_or_default(),
        param: None,
    }
}

/// Writes an error's body.
pub(crate) fn encode_error(status: u16, error: &WireError) -> Fields {
    let kind = match error.openai_kind() {
        "invalid_request_error" => "INVALID_ARGUMENT",
        "authentication_error" => "UNAUTHENTICATED",
        "permission_error" => "PERMISSION_DENIED",
        "rate_limit_error" | "insufficient_quota" => "RESOURCE_EXHAUSTED",
        "timeout_error" => "DEADLINE_EXCEEDED",
        _ if status == 503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    object! { "error": object! { "code": status, "message": &error.message, "status": kind } }
}
