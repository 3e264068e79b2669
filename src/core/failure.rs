//! What can go wrong, and what the client is told.
//!
//! One table, here. Every error that leaves the gateway is one of these, rendered once, in the
//! client's wire format.

use crate::units::Millis;
use serde_json::{Map, Value, json};

/// Everything the gateway refuses or fails at.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// No key, or one that is malformed, unknown, revoked or expired. The cases are not told apart.
    InvalidApiKey,
    /// The operator token is missing or wrong, or none is configured.
    InvalidOperatorToken,
    /// The key may not use this model.
    ModelNotAllowed {
        /// The model's name as the caller wrote it.
        model: String,
    },
    /// No such model or alias.
    ModelNotFound {
        /// The model's name as the caller wrote it.
        model: String,
        /// What is missing.
        why: String,
    },
    /// No such path, or no such thing below it.
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The path exists, the method does not.
    MethodNotAllowed {
        /// The methods that do.
        allow: &'static str,
    },
    /// The body is not JSON.
    InvalidJson {
        /// Where parsing stopped.
        why: String,
    },
    /// A field is missing or wrong.
    InvalidRequest {
        /// Path of the field; empty if none is to blame.
        param: String,
        /// What is wrong.
        why: String,
    },
    /// The body is larger than the gateway reads.
    TooLarge {
        /// The cap in bytes.
        cap: usize,
    },
    /// The body is compressed.
    UnsupportedEncoding,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// Somebody else changed it in between.
    PreconditionFailed {
        /// The version that is there now.
        current: u64,
    },
    /// It exists already.
    Conflict {
        /// What does.
        why: String,
    },
    /// A limit is used up for now.
    RateLimited {
        /// Its id.
        limit: String,
        /// Its window in seconds.
        window_s: u32,
        /// Until the same request would pass.
        retry_after: Millis,
        /// Whether the request alone is more than the limit.
        never: bool,
    },
    /// A budget is used up.
    BudgetExceeded {
        /// Its id.
        budget: String,
        /// Its limit, in USD.
        limit_usd: String,
        /// Settled, in USD.
        spent_usd: String,
        /// Held by requests under way, in USD.
        held_usd: String,
        /// What this request could cost, in USD.
        needed_usd: String,
        /// When the next period begins.
        resets_at: Option<String>,
    },
    /// The request could cost more than it, or its session, may.
    MaxCostExceeded {
        /// Which cap, in words.
        cap: &'static str,
        /// The cap.
        cap_usd: String,
        /// What it could cost.
        needed_usd: String,
    },
    /// Nobody knows the model's price, and the tenant's policy is `reject`.
    PriceUnknown {
        /// The target.
        model: String,
    },
    /// The same Idempotency-Key came with another body, or its answer cannot be repeated.
    IdempotencyConflict {
        /// What is wrong.
        why: &'static str,
    },
    /// The request with this Idempotency-Key is still under way.
    IdempotencyInProgress {
        /// When to ask again.
        retry_after: Millis,
    },
    /// `x-tollgate-cache: only` and nothing is stored.
    NotCached,
    /// Every target failed.
    Upstream {
        /// What happened at each, for the client: provider and status, no more.
        attempts: Vec<String>,
        /// Seconds that the upstream asked to wait.
        retry_after: Option<u64>,
    },
    /// The upstream refused the request itself: its own answer is handed on with its status.
    UpstreamRefused {
        /// The upstream's status, 4xx.
        status: u16,
        /// Its error's message.
        message: String,
        /// Its error's code, where it has one.
        code: Option<String>,
        /// Its error's param, where it has one.
        param: Option<String>,
    },
    /// The request came through this kind of gateway too often.
    Loop {
        /// How often.
        hops: u64,
    },
    /// The upstream took too long.
    UpstreamTimeout,
    /// The client went away.
    ClientGone,
    /// The tenant's object did not answer.
    LedgerUnavailable,
    /// The tenant's object has too much to do.
    Overloaded,
    /// The operator has to configure something first.
    NotConfigured {
        /// What.
        why: String,
    },
    /// Our own fault.
    Internal,
}

impl Failure {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        use Failure as F;
        match self {
            F::InvalidApiKey | F::InvalidOperatorToken => 401,
            F::BudgetExceeded { .. } | F::MaxCostExceeded { .. } => 402,
            F::ModelNotAllowed { .. } | F::PriceUnknown { .. } => 403,
            F::ModelNotFound { .. } | F::NotFound { .. } => 404,
            F::MethodNotAllowed { .. } => 405,
            F::InvalidJson { .. } | F::InvalidRequest { .. } => 400,
            F::Conflict { .. } | F::IdempotencyConflict { .. } | F::IdempotencyInProgress { .. } => 409,
            F::PreconditionFailed { .. } => 412,
            F::TooLarge { .. } => 413,
            F::UnsupportedEncoding | F::UnsupportedMediaType => 415,
            F::RateLimited { .. } => 429,
            F::UpstreamRefused { status, .. } => *status,
            // Nobody reads it: the connection is gone. The number is nginx's, for the log.
            F::ClientGone => 499,
            F::Internal => 500,
            F::Upstream { .. } => 502,
            F::LedgerUnavailable | F::Overloaded | F::NotConfigured { .. } => 503,
            F::NotCached | F::UpstreamTimeout => 504,
            F::Loop { .. } => 508,
        }
    }

    /// OpenAI's error type.
    pub fn kind(&self) -> &'static str {
        use Failure as F;
        match self {
            F::InvalidApiKey | F::InvalidOperatorToken => "authentication_error",
            F::ModelNotAllowed { .. } | F::PriceUnknown { .. } => "permission_error",
            F::RateLimited { .. } => "rate_limit_error",
            F::BudgetExceeded { .. } | F::MaxCostExceeded { .. } => "insufficient_quota",
            F::UpstreamTimeout => "timeout_error",
            F::UpstreamRefused { status: 401 | 403, .. } => "permission_error",
            F::UpstreamRefused { status: 429, .. } => "rate_limit_error",
            F::Upstream { .. } | F::ClientGone | F::LedgerUnavailable | F::Overloaded | F::NotConfigured { .. } | F::Internal => {
                "api_error"
            }
            _ => "invalid_request_error",
        }
    }

    /// A stable slug.
    pub fn code(&self) -> &str {
        use Failure as F;
        match self {
            F::InvalidApiKey => "invalid_api_key",
            F::InvalidOperatorToken => "invalid_operator_token",
            F::ModelNotAllowed { .. } => "model_not_allowed",
            F::ModelNotFound { .. } => "model_not_found",
            F::NotFound { .. } => "not_found",
            F::MethodNotAllowed { .. } => "method_not_allowed",
            F::InvalidJson { .. } => "invalid_json",
            F::InvalidRequest { .. } => "invalid_request",
            F::TooLarge { .. } => "request_too_large",
            F::UnsupportedEncoding => "unsupported_encoding",
            F::UnsupportedMediaType => "unsupported_media_type",
            F::PreconditionFailed { .. } => "precondition_failed",
            F::Conflict { .. } => "conflict",
            F::RateLimited { .. } => "rate_limit_exceeded",
            F::BudgetExceeded { .. } => "budget_exceeded",
            F::MaxCostExceeded { .. } => "max_cost_exceeded",
            F::PriceUnknown { .. } => "price_unknown",
            F::IdempotencyConflict { .. } => "idempotency_key_conflict",
            F::IdempotencyInProgress { .. } => "idempotency_in_progress",
            F::NotCached => "not_cached",
            F::Upstream { .. } => "upstream_error",
            F::UpstreamRefused { code, .. } => code.as_deref().unwrap_or("upstream_refused"),
            F::UpstreamTimeout => "upstream_timeout",
            F::Loop { .. } => "loop_detected",
            F::ClientGone => "client_gone",
            F::LedgerUnavailable => "ledger_unavailable",
            F::Overloaded => "overloaded",
            F::NotConfigured { .. } => "not_configured",
            F::Internal => "internal_error",
        }
    }

    /// What happened and what to do, for the client. Never a secret, never another tenant's name.
    pub fn message(&self) -> String {
        use Failure as F;
        match self {
            F::InvalidApiKey => "The API key is missing, malformed, unknown, revoked or expired. Send a valid key as `Authorization: Bearer tg_…`.".into(),
            F::InvalidOperatorToken => "The operator token is missing or wrong, or none is configured. Send it as `Authorization: Bearer …`; it is the secret TOLLGATE_ADMIN_TOKEN.".into(),
            F::ModelNotAllowed { model } => format!("This key may not use the model `{model}`. Use a model that `GET /v1/models` lists."),
            F::ModelNotFound { model, why } => format!("There is no model `{model}`: {why}."),
            F::NotFound { what } => format!("There is no {what}."),
            F::MethodNotAllowed { allow } => format!("This path answers only to {allow}."),
            F::InvalidJson { why } => format!("The body is not valid JSON: {why}."),
            F::InvalidRequest { param, why } if param.is_empty() => why.clone(),
            F::InvalidRequest { param, why } => format!("`{param}`: {why}."),
            F::TooLarge { cap } => format!("The body is larger than {cap} bytes. Send less."),
            F::UnsupportedEncoding => "Compressed request bodies are not read. Send the body without content-encoding.".into(),
            F::UnsupportedMediaType => "Send the body as `content-type: application/json`.".into(),
            F::PreconditionFailed { current } => format!("The configuration was changed in between; its version is now {current}. Read it again and repeat the change."),
            F::Conflict { why } => why.clone(),
            F::RateLimited { limit, never: true, .. } => format!("This request alone could take more than the limit `{limit}` allows. Set a lower max_tokens, or raise the limit."),
            F::RateLimited { limit, window_s: 0, retry_after, .. } => format!("The limit `{limit}` on requests at a time is reached. Try again in {retry_after} ms."),
            F::RateLimited { limit, window_s, retry_after, .. } => format!("The limit `{limit}` ({window_s} s window) is used up. Try again in {} ms.", retry_after),
            F::BudgetExceeded { budget, limit_usd, spent_usd, held_usd, needed_usd, .. } => format!("The budget `{budget}` of {limit_usd} USD does not cover this request: {spent_usd} USD are spent, {held_usd} USD are held by requests under way, and this request may cost up to {needed_usd} USD. Ask for a higher budget, lower max_tokens, or wait for the next period."),
            F::MaxCostExceeded { cap, cap_usd, needed_usd } => format!("This request may cost up to {needed_usd} USD, which is more than {cap} of {cap_usd} USD leaves. Lower max_tokens or raise the cap."),
            F::IdempotencyConflict { why } => (*why).into(),
            F::IdempotencyInProgress { .. } => "The request with this Idempotency-Key is still under way. Ask again for its answer.".into(),
            F::PriceUnknown { model } => format!("The price of `{model}` is unknown, and this tenant refuses models without a price. Add it to `prices` in the tenant's configuration."),
            F::NotCached => "No answer to this request is stored, and x-tollgate-cache: only forbids asking the provider.".into(),
            F::Upstream { attempts, .. } => format!("Every target failed ({}). Try again later.", attempts.join("; ")),
            F::UpstreamRefused { message, .. } => message.clone(),
            F::Loop { hops } => format!("This request came through {hops} gateways already: a gateway has itself among its providers. The operator has to correct a base URL."),
            F::UpstreamTimeout => "The provider took too long. Try again, or raise x-tollgate-timeout-ms.".into(),
            F::ClientGone => "The client closed the connection.".into(),
            F::LedgerUnavailable => "The tenant's ledger did not answer; nothing was sent to a provider. Try again.".into(),
            F::Overloaded => "The gateway has too much to do at the moment. Try again.".into(),
            F::NotConfigured { why } => why.clone(),
            F::Internal => "The gateway failed. Try again; if it persists, tell the operator the request id.".into(),
        }
    }

    /// Seconds (and milliseconds) after which a retry makes sense; `None` where waiting does not help.
    pub fn retry_after(&self) -> Option<Millis> {
        match self {
            Failure::RateLimited { never: true, .. } => None,
            Failure::RateLimited { retry_after, .. } | Failure::IdempotencyInProgress { retry_after } => Some(*retry_after),
            Failure::Upstream { retry_after, .. } => retry_after.map(|s| i64::try_from(s).unwrap_or(i64::MAX).saturating_mul(1_000)),
            Failure::LedgerUnavailable | Failure::Overloaded => Some(1_000),
            _ => None,
        }
    }

    /// The body in OpenAI's shape.
    pub fn openai_body(&self) -> String {
        let mut error = Map::new();
        let mut put = |k: &str, v: Value| error.insert(k.to_owned(), v);
        put("message", json!(self.message()));
        put("type", json!(self.kind()));
        let param = match self {
            Failure::InvalidRequest { param, .. } if !param.is_empty() => json!(param),
            Failure::UpstreamRefused { param: Some(param), .. } => json!(param),
            Failure::ModelNotFound { .. } | Failure::ModelNotAllowed { .. } => json!("model"),
            _ => Value::Null,
        };
        put("param", param);
        put("code", json!(self.code()));
        match self {
            Failure::RateLimited { limit, window_s, .. } => {
                put("limit", json!(limit));
                put("window", json!(format!("{window_s}s")));
            }
            Failure::BudgetExceeded { budget, limit_usd, spent_usd, held_usd, resets_at, .. } => {
                put("budget", json!(budget));
                put("limit_usd", json!(limit_usd));
                put("spent_usd", json!(spent_usd));
                put("held_usd", json!(held_usd));
                put("resets_at", json!(resets_at));
            }
            Failure::Upstream { attempts, .. } => {
                put("attempts", json!(attempts));
            }
            _ => {}
        }
        json!({ "error": error }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_pinned() {
        let failure = Failure::RateLimited { limit: "rpm".into(), window_s: 60, retry_after: 1_500, never: false };
        let body: Value = serde_json::from_str(&failure.openai_body()).unwrap();
        assert_eq!(
            body,
            json!({ "error": {
                "message": "The limit `rpm` (60 s window) is used up. Try again in 1500 ms.", "type": "rate_limit_error",
                "param": null, "code": "rate_limit_exceeded", "limit": "rpm", "window": "60s",
            }})
        );
        assert_eq!((failure.status(), failure.retry_after()), (429, Some(1_500)));
    }

    #[test]
    fn a_used_up_budget_names_no_time_to_wait() {
        let failure = Failure::BudgetExceeded {
            budget: "b".into(),
            limit_usd: "1".into(),
            spent_usd: "0.9".into(),
            held_usd: "0.1".into(),
            needed_usd: "0.2".into(),
            resets_at: None,
        };
        assert_eq!((failure.status(), failure.kind(), failure.retry_after()), (402, "insufficient_quota", None));
    }
}
