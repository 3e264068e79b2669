//! Errors in Anthropic's shape: `{"type": "error", "error": {"type", "message"}}`.

use super::super::common::WireError;
use super::super::json::{Fields, object};

/// Reads an error's body.
pub(crate) fn decode_error(mut body: Fields) -> Option<WireError> {
    body.take_object("error").map(error_in)
}

/// Reads the value of `error`.
pub(crate) fn error_in(mut error: Fields) -> WireError {
    WireError {
        kind: error.take_text("type"),
        code: error.take_text("code"),
        message: error.take_text("message").unwrap_or_default(),
        param: error.take_text("param"),
    }
}

/// Writes an error's body. `code` and `param` are ours: Anthropic has none.
pub(crate) fn encode_error(error: &WireError) -> Fields {
    let mut inner = object! { "type": error.anthropic_kind(), "message": &error.message };
    inner.put_some("code", error.code.as_ref());
    inner.put_some("param", error.param.as_ref());
    object! { "type": "error", "error": inner }
}
