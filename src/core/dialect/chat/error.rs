//! Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

use super::super::common::WireError;
use super::super::json::{Fields, Json, object};

/// Reads an error's body.
pub(crate) fn decode_error(mut body: Fields) -> Option<WireError> {
    if let Some(error) = body.take("error") {
        return error_in(error);
    }
    // vLLM and others put the fields themselves into the body.
    body.get("message")?;
    error_in(body.into())
}

/// Reads the value of `error`: an object, or a bare message.
pub(crate) fn error_in(error: Json) -> Option<WireError> {
    match error {
        Json::Text(message) => Some(WireError { message, ..WireError::default() }),
        Json::Object(mut fields) => Some(WireError {
            kind: fields.take_text("type"),
            code: fields.take("code").and_then(|code| match code {
                Json::Text(text) => Some(text),
                Json::Number(n) => Some(n.to_string()),
                _ => None,
            }),
            message: fields.take_text("message").unwrap_or_default(),
            param: fields.take_text("param"),
        }),
        _ => None,
    }
}

/// Writes an error's body.
pub(crate) fn encode_error(error: &WireError) -> Fields {
    let text = |t: &Option<String>| t.as_ref().map_or(Json::Null, Json::from);
    let inner = object! {
        "message": &error.message, "type": error.openai_kind(), "param": text(&error.param), "code": text(&error.code),
    };
    object! { "error": inner }
}
