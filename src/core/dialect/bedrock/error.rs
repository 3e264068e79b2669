//! Errors in Bedrock's shape: `{"message"}`; the type is in the header `x-amzn-ErrorType`, sometimes
//! also in the body.

use super::super::common::WireError;
use super::super::json::{Fields, object};

/// Reads an error's body.
pub(crate) fn decode_error(mut body: Fields) -> Option<WireError> {
    let message = body.take_text("message").or_else(|| body.take_text("Message"))?;
    let kind = body.take_text("__type").map(|t| t.rsplit('#').next().unwrap_or(&t).to_owned());
    Some(WireError { kind, message, ..WireError::default() })
}

/// Writes an error's body.
pub(crate) fn encode_error(error: &WireError) -> Fields {
    object! { "message": &error.message, "__type": exception(error) }
}

/// Bedrock's name for the type.
pub(super) fn exception(error: &WireError) -> &'static str {
    match error.openai_kind() {
        "invalid_request_error" => "ValidationException",
        "authentication_error" | "permission_error" => "AccessDeniedException",
        "rate_limit_error" | "insufficient_quota" => "ThrottlingException",
        "timeout_error" => "ModelTimeoutException",
        _ => "InternalServerException",
    }
}
