//! What became of a request: collected on its way, told once in headers and once in the log.

use super::identify::Caller;
use super::read::Call;
use crate::http::{Clockwork, Head, Response};
use crate::isolate::Isolate;
use crate::ports::Event;
use serde_json::{Map, Value, json};
use tollgate_core::budget::Measure;
use tollgate_core::degrade::Degrade;
use tollgate_core::dialect::Dropped;
use tollgate_core::failure::Failure;
use tollgate_core::ids::ulid;
use tollgate_core::price::Usage;
use tollgate_core::protocol::{LimitState, Permit};
use tollgate_core::units::{NanoUsd, Timestamp};

/// The facts of one request.
#[derive(Clone, Debug)]
pub struct Facts {
    /// ULID.
    pub request_id: String,
    client_request_id: Option<String>,
    /// Where the worker runs; empty where the platform does not say.
    pub region: String,
    /// Chance, for what may fall one way or another.
    pub seed: u64,
    /// Times.
    pub clock: Clockwork,
    data_plane: bool,
    /// Whether it came to `/v1/messages`.
    messages: bool,
    /// Whether the client speaks Anthropic's dialect: it is told its limits in those words, too.
    anthropic: bool,
    tenant: Option<String>,
    /// The gateway key's id.
    pub key: Option<String>,
    /// `hit`, `miss`, `bypass`, `refresh`.
    pub cache: &'static str,
    /// The model as the caller named it.
    model_asked: Option<String>,
    /// Who answered, or was asked last.
    pub target: Option<(String, String)>,
    /// How many targets were asked.
    pub attempts: usize,
    /// Whether a second target was asked beside the first.
    hedged: bool,
    /// Why this target.
    pub route: Option<String>,
    /// The cost, once known.
    pub cost: Option<NanoUsd>,
    /// The usage, once known.
    pub usage: Option<Usage>,
    /// The request limit closest to its bound.
    pub limit: Option<LimitState>,
    /// The token limit closest to its bound.
    token_limit: Option<LimitState>,
    /// What was done so that it could pass: rule and step.
    degraded: Vec<String>,
    /// Rules in shadow mode that would have denied it.
    shadow: Vec<String>,
    /// Most output tokens of each choice, where policy lowered them.
    pub clamp: Option<u64>,
    /// What the target could not be told.
    pub dropped: Dropped,
    /// Headers of the provider that may be handed on.
    pub upstream_headers: Vec<(&'static str, String)>,
    code: Option<String>,
}

impl Facts {
    /// A request came.
    pub fn new(now: Timestamp, random: [u8; 32], head: &Head) -> Facts {
        let seed = random.iter().skip(16).take(8).fold(0_u64, |n, b| (n << 8) | u64::from(*b));
        let random = random.iter().take(16).fold(0_u128, |n, b| (n << 8) | u128::from(*b));
        let client_id = head.header("x-request-id").or_else(|| head.header("x-client-request-id"));
        Facts {
            request_id: ulid(now, random),
            client_request_id: client_id.map(|id| id.chars().take(128).collect()),
            region: head.region.clone(),
            seed,
            clock: Clockwork { started: now, ..Clockwork::default() },
            data_plane: head.path.starts_with("/v1/"),
            messages: head.path.starts_with("/v1/messages"),
            anthropic: head.path.starts_with("/v1/messages") || head.header("anthropic-version").is_some(),
            tenant: None,
            key: None,
            cache: "bypass",
            model_asked: None,
            target: None,
            attempts: 0,
            hedged: false,
            route: None,
            cost: None,
            usage: None,
            limit: None,
            token_limit: None,
            degraded: Vec::new(),
            shadow: Vec::new(),
            clamp: None,
            dropped: Dropped::default(),
            upstream_headers: Vec::new(),
            code: None,
        }
    }

    /// It is for the control plane.
    pub fn control_plane(&mut self) {
        self.data_plane = false;
    }

    /// The caller is known.
    pub fn caller(&mut self, caller: &Caller, now: Timestamp) {
        self.tenant = Some(caller.tenant.to_string());
        self.clock.stage("identify", self.clock.started, now);
    }

    /// The body is read.
    pub fn read(&mut self, call: &Call, now: Timestamp) {
        self.model_asked = Some(call.request.model.clone());
        self.clock.stage("read", self.clock.started, now);
    }

    /// It may pass.
    pub fn permitted(&mut self, permit: &Permit, steps: &Degrade) {
        self.limit.clone_from(&permit.limit);
        self.token_limit.clone_from(&permit.token_limit);
        self.key = Some(permit.key.clone());
        self.shadow.clone_from(&permit.shadow);
        self.steps(steps);
    }

    /// It was made to pass by these steps.
    fn steps(&mut self, steps: &Degrade) {
        self.degraded = steps.taken().iter().map(|(rule, step)| format!("{rule} {step}")).collect();
    }

    /// A rule denied it, and gave a stored answer instead.
    pub fn from_cache(&mut self, steps: &Degrade) {
        self.cache = "hit";
        self.steps(steps);
    }

    /// The ledger could not be asked, and it passed.
    pub fn unreachable(&mut self) {
        self.degraded.push("ledger open".to_owned());
    }

    /// A second target was asked beside the first.
    pub fn hedged(&mut self) {
        self.hedged = true;
        self.attempts = self.attempts.saturating_add(1);
        if let Some(route) = &mut self.route {
            route.push_str(",hedged");
        }
    }

    /// It failed.
    pub fn failed(&mut self, failure: &Failure) {
        self.code = Some(failure.code().to_owned());
    }

    /// Adds what every answer tells.
    pub fn decorate<A>(self, mut response: Response<A>, now: Timestamp) -> Response<A> {
        let headers = &mut response.headers;
        headers.reserve(24);
        if self.messages {
            // Where Anthropic's clients look.
            headers.push(("request-id", self.request_id.clone()));
        }
        headers.push(("x-request-id", self.request_id));
        if let Some(id) = self.client_request_id {
            headers.push(("x-client-request-id", id));
        }
        if !self.data_plane {
            return response;
        }
        headers.push(("x-tollgate-cache", self.cache.to_owned()));
        if let Some((provider, model)) = self.target {
            headers.push(("x-tollgate-provider", provider));
            headers.push(("x-tollgate-model", model));
        }
        headers.push(("x-tollgate-attempts", self.attempts.to_string()));
        if let Some(route) = self.route {
            headers.push(("x-tollgate-route", route));
        }
        if let Some(cost) = self.cost {
            headers.push(("x-tollgate-cost-usd", cost.to_string()));
        }
        headers.push(("x-tollgate-overhead-ms", self.clock.overhead(now).to_string()));
        headers.push(("server-timing", self.clock.server_timing()));
        if let Some(limit) = &self.limit {
            headers.push(("x-ratelimit-limit-requests", limit.limit.to_string()));
            headers.push(("x-ratelimit-remaining-requests", limit.remaining.to_string()));
            headers.push(("x-ratelimit-reset-requests", go_duration(limit.reset)));
        }
        if let Some(limit) = &self.token_limit {
            headers.push(("x-ratelimit-limit-tokens", limit.limit.to_string()));
            headers.push(("x-ratelimit-remaining-tokens", limit.remaining.to_string()));
            headers.push(("x-ratelimit-reset-tokens", go_duration(limit.reset)));
        }
        if self.anthropic {
            for limit in self.limit.iter().chain(&self.token_limit) {
                headers.extend(anthropic_limit(limit, now));
            }
        }
        if !self.degraded.is_empty() {
            headers.push(("x-tollgate-degraded", self.degraded.join(", ")));
        }
        if !self.shadow.is_empty() {
            headers.push(("x-tollgate-shadow", self.shadow.join(", ")));
        }
        if let Some(tokens) = self.clamp {
            headers.push(("x-tollgate-max-tokens", tokens.to_string()));
        }
        if !self.dropped.is_empty() {
            headers.push(("x-tollgate-dropped", self.dropped.header()));
        }
        headers.extend(self.upstream_headers);
        response
    }

    /// One line for an answer that goes on elsewhere, where requests are logged: that of the request is out with
    /// its headers.
    pub fn continued<W: Event>(&self, world: &W, isolate: &Isolate, from: &str, by: &str) {
        if isolate.logs_requests() {
            let (id, tenant) = (&self.request_id, self.tenant.as_deref().unwrap_or_default());
            let [from, by] = [from, by].map(|name| Value::from(name).to_string());
            world.log(&format!(
                r#"{{"level":"info","event":"continued","request_id":"{id}","tenant":"{tenant}","continued":true,"from":{from},"by":{by}}}"#
            ));
        }
    }

    /// One line for the request, where requests are logged or the fault is ours.
    pub fn log<W: Event>(&self, world: &W, isolate: &Isolate, head: &Head, status: u16, now: Timestamp) {
        if !isolate.logs_requests() && status < 500 {
            return;
        }
        let mut line = Map::new();
        let mut put = |k: &str, v: Value| line.insert(k.to_owned(), v);
        put("level", json!(if status >= 500 { "error" } else { "info" }));
        put("event", json!("request"));
        put("request_id", json!(self.request_id));
        put("method", json!(head.method));
        put("path", json!(head.path));
        put("status", json!(status));
        put("total_ms", json!(now.since(self.clock.started)));
        put("overhead_ms", json!(self.clock.overhead(now)));
        let optional = [
            ("tenant", self.tenant.clone()),
            ("key", self.key.clone()),
            ("model_asked", self.model_asked.clone()),
            ("provider", self.target.as_ref().map(|t| t.0.clone())),
            ("model", self.target.as_ref().map(|t| t.1.clone()).or_else(|| self.model_asked.clone())),
            ("cost_usd", self.cost.map(|c| c.to_string())),
            ("code", self.code.clone()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                put(name, json!(value));
            }
        }
        if let Some(usage) = self.usage {
            put("input_tokens", json!(usage.input));
            put("output_tokens", json!(usage.output));
        }
        if self.data_plane {
            put("cache", json!(self.cache));
            put("attempts", json!(self.attempts));
            if self.hedged {
                put("hedged", json!(true));
            }
            for (name, values) in [("degraded", &self.degraded), ("shadow", &self.shadow)] {
                if !values.is_empty() {
                    put(name, json!(values));
                }
            }
        }
        world.log(&Value::Object(line).to_string());
    }
}

/// A limit as Anthropic tells it: how much, what is left, and when (RFC 3339) all of it is there again.
fn anthropic_limit(limit: &LimitState, now: Timestamp) -> Vec<(&'static str, String)> {
    let names = match limit.measure {
        Measure::Requests => {
            ["anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"]
        }
        Measure::Tokens => ["anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"],
        Measure::InputTokens => [
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset",
        ],
        Measure::OutputTokens => [
            "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset",
        ],
        // Anthropic has no words for these.
        Measure::Concurrency | Measure::Cost | Measure::Budget | Measure::Rolling | Measure::Session => return Vec::new(),
    };
    let values = [limit.limit.to_string(), limit.remaining.to_string(), now.plus(limit.reset).rfc3339()];
    names.into_iter().zip(values).collect()
}

/// A span of time as OpenAI writes it, which is Go's form: `12ms`, `1.5s`, `6m0s`, `1h0m0s`.
pub fn go_duration(ms: i64) -> String {
    let ms = ms.max(0);
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let part = |unit: i64, of: i64| ms.checked_div(unit).unwrap_or(0).checked_rem(of).unwrap_or(0);
    let (hours, minutes, seconds, rest) = (part(3_600_000, i64::MAX), part(60_000, 60), part(1_000, 60), part(1, 1_000));
    let mut out = String::with_capacity(16);
    let mut put = |n: i64, unit: char| {
        out.push_str(&n.to_string());
        out.push(unit);
    };
    if hours > 0 {
        put(hours, 'h');
    }
    if hours > 0 || minutes > 0 {
        put(minutes, 'm');
    }
    out.push_str(&seconds.to_string());
    if rest > 0 {
        out.push_str(format!(".{rest:03}").trim_end_matches('0'));
    }
    out.push('s');
    out
}

#[cfg(test)]
mod tests {
    use super::go_duration;

    #[test]
    fn spans_are_written_as_openai_writes_them() {
        for (ms, text) in
            [(0, "0ms"), (12, "12ms"), (1_000, "1s"), (1_500, "1.5s"), (360_000, "6m0s"), (3_600_000, "1h0m0s"), (60_012, "1m0.012s")]
        {
            assert_eq!(go_duration(ms), text);
        }
    }
}
