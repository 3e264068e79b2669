//! The gateway's own failures in the client's format.

use super::Dialect;
use super::json::{Fields, Json, object};
use crate::failure::Failure;

impl Dialect {
    /// The body of a failure of the gateway itself. `request_id` is repeated where the format wants it:
    /// Anthropic's clients show it to people.
    pub fn encode_failure(self, failure: &Failure, request_id: &str) -> Vec<u8> {
        let body = failure.openai_body();
        if self != Dialect::Anthropic {
            return body.into_bytes();
        }
        let read = Json::read(body.as_bytes()).ok().and_then(Json::into_fields);
        let mut error = read.and_then(|mut body| body.take_object("error")).unwrap_or_default();
        let mut inner = object! { "type": anthropic_kind(failure) };
        inner.put_some("message", error.take("message"));
        error.take("type");
        // What a client needs to know of a limit or a budget stays beside it; Anthropic has no word for it.
        let told: Vec<(String, Json)> = error.iter().filter(|(_, v)| **v != Json::Null).map(|(k, v)| (k.to_owned(), v.clone())).collect();
        told.into_iter().for_each(|(name, value)| inner.put(name, value));
        let mut out: Fields = object! { "type": "error", "error": inner };
        if !request_id.is_empty() {
            out.put("request_id", request_id);
        }
        out.to_text().into_bytes()
    }
}

impl Dialect {
    /// A failure of the gateway as the last event of a stream that has begun.
    pub fn in_band(self, failure: &Failure) -> Vec<u8> {
        let body = self.encode_failure(failure, "");
        let text = String::from_utf8_lossy(&body);
        match self {
            Dialect::Anthropic => format!("event: error\ndata: {text}\n\n"),
            Dialect::OpenAiResponses => {
                let told = object! {
                    "type": "error",
                    "code": failure.code(),
                    "message": failure.message(),
                    "param": Json::Null,
                };
                format!("event: error\ndata: {}\n\n", told.to_text())
            }
            _ => format!("data: {text}\n\n"),
        }
        .into_bytes()
    }
}

/// Anthropic's type for a failure, by its status as Anthropic's documentation pairs them.
fn anthropic_kind(failure: &Failure) -> &'static str {
    match failure.status() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dialect: Dialect, failure: &Failure) -> String {
        String::from_utf8(dialect.encode_failure(failure, "01J")).unwrap()
    }

    #[test]
    fn each_client_is_told_in_its_own_shape() {
        let failure = Failure::RateLimited { limit: "rpm".into(), window_s: 60, retry_after: 1_500, never: false };
        assert_eq!(
            written(Dialect::Anthropic, &failure),
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"The limit `rpm` (60 s window) is used up. Try again in 1500 ms.","code":"rate_limit_exceeded","limit":"rpm","window":"60s"},"request_id":"01J"}"#
        );
        assert_eq!(written(Dialect::OpenAiResponses, &failure), failure.openai_body());
        for (failure, kind) in [
            (Failure::InvalidApiKey, "authentication_error"),
            (Failure::MaxCostExceeded { cap: "a cap", cap_usd: "1".into(), needed_usd: "2".into() }, "billing_error"),
            (Failure::ModelNotFound { model: "m".into(), why: "w".into() }, "not_found_error"),
            (Failure::TooLarge { cap: 5 }, "request_too_large"),
            (Failure::UnsupportedEncoding, "invalid_request_error"),
            (Failure::Overloaded, "overloaded_error"),
            (Failure::UpstreamTimeout, "timeout_error"),
            (Failure::Internal, "api_error"),
        ] {
            let body = written(Dialect::Anthropic, &failure);
            assert!(body.starts_with(&format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"#)), "{body}");
        }
    }
}
