//! A provider's error, in no format's shape.

/// What a provider says went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireError {
    /// Its type in the provider's words: `overloaded_error`, `RESOURCE_EXHAUSTED`, `ThrottlingException`.
    pub kind: Option<String>,
    /// Its code, where there is one beside the type.
    pub code: Option<String>,
    /// For people.
    pub message: String,
    /// The field to blame, where the provider names one.
    pub param: Option<String>,
}

impl WireError {
    /// One that the gateway found in a stream: its bytes are not what the format says.
    pub fn malformed(why: impl Into<String>) -> WireError {
        WireError {
            kind: Some("api_error".into()),
            code: Some("upstream_malformed".into()),
            message: format!("The provider's stream cannot be read: {}.", why.into()),
            param: None,
        }
    }

    /// One that the gateway found in a stream: it ended before the answer was whole.
    pub fn truncated() -> WireError {
        WireError {
            kind: Some("api_error".into()),
            code: Some("upstream_truncated".into()),
            message: "The provider's stream ended before the answer was whole.".into(),
            param: None,
        }
    }

    /// OpenAI's name for the type, from any provider's.
    pub fn openai_kind(&self) -> &str {
        match self.kind.as_deref().unwrap_or("") {
            "overloaded_error"
            | "OverloadedError"
            | "UNAVAILABLE"
            | "ServiceUnavailableException"
            | "ModelNotReadyException"
            | "INTERNAL"
            | "InternalServerException"
            | "ModelStreamErrorException"
            | "ModelErrorException"
            | "serviceUnavailableException"
            | "internalServerException"
            | "modelStreamErrorException"
            | "UNKNOWN"
            | "server_error" => "api_error",
            "RESOURCE_EXHAUSTED" | "ThrottlingException" | "throttlingException" | "ServiceQuotaExceededException" | "rate_limit_error" => {
                "rate_limit_error"
            }
            "INVALID_ARGUMENT"
            | "FAILED_PRECONDITION"
            | "OUT_OF_RANGE"
            | "ValidationException"
            | "validationException"
            | "NOT_FOUND"
            | "not_found_error"
            | "request_too_large"
            | "ResourceNotFoundException"
            | "invalid_request_error" => "invalid_request_error",
            "UNAUTHENTICATED" | "UnrecognizedClientException" | "authentication_error" => "authentication_error",
            "PERMISSION_DENIED" | "AccessDeniedException" | "permission_error" => "permission_error",
            "DEADLINE_EXCEEDED" | "ModelTimeoutException" | "timeout_error" => "timeout_error",
            "billing_error" | "insufficient_quota" => "insufficient_quota",
            _ => "api_error",
        }
    }

    /// Anthropic's name for the type, from any provider's.
    pub fn anthropic_kind(&self) -> &str {
        match self.kind.as_deref() {
            Some("overloaded_error" | "UNAVAILABLE" | "ServiceUnavailableException" | "serviceUnavailableException") => "overloaded_error",
            Some("NOT_FOUND" | "ResourceNotFoundException" | "not_found_error") => "not_found_error",
            _ => match self.openai_kind() {
                "insufficient_quota" => "billing_error",
                other => other,
            },
        }
    }
}
