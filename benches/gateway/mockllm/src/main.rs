//! mockllm: a mock of an OpenAI-compatible upstream that is never the bottleneck.
//!
//! One thread, one event loop, bound to 127.0.0.1. Prints one JSON line {"port":N,"pid":N} when ready.
//!
//!   mockllm [--port 0] [--ttft-ms 0] [--itl-ms 0] [--tokens 16] [--latency-ms 0]
//!
//! The model name overrides the defaults for one request:
//!   mock                 the defaults
//!   mock-t50-i10-n64     stream: first token after 50 ms, then one per 10 ms, 64 tokens
//!   mock-l200            whole answer after 200 ms
//!   mock-e429            this status with an OpenAI-shaped error
//!   mock-x5              stream: cut the connection after 5 tokens
//!
//! GET /stats answers {"requests":..,"streams_done":..,"streams_cut":..}; a stream is cut when its
//! client went away before the end.

mod plan;
mod stream;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderValue, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use plan::Plan;
use serde::Deserialize;
use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use stream::TokenStream;

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static STREAMS_DONE: AtomicU64 = AtomicU64::new(0);
static STREAMS_CUT: AtomicU64 = AtomicU64::new(0);

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

enum Answer {
    Whole(Full<Bytes>),
    Stream(Box<TokenStream>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Answer::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|e: Infallible| match e {}),
            Answer::Stream(stream) => stream.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Whole(body) => body.is_end_stream(),
            Answer::Stream(stream) => stream.is_over(),
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Answer::Whole(body) => body.size_hint(),
            Answer::Stream(_) => Default::default(),
        }
    }
}

fn usage(tokens: u32) -> String {
    format!(
        "{{\"prompt_tokens\":21,\"completion_tokens\":{tokens},\"total_tokens\":{}}}",
        21 + tokens
    )
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Full::new(body.into())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn error(status: StatusCode, message: &str) -> Response<Answer> {
    let body = serde_json::json!({
        "error": { "message": message, "type": "mock_error", "param": null, "code": null }
    });
    let mut response = json(status, body.to_string());
    if status == StatusCode::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn stats() -> Response<Answer> {
    let body = format!(
        "{{\"requests\":{},\"streams_done\":{},\"streams_cut\":{}}}\n",
        REQUESTS.load(Relaxed),
        STREAMS_DONE.load(Relaxed),
        STREAMS_CUT.load(Relaxed)
    );
    json(StatusCode::OK, body)
}

fn streamed(plan: Plan, model: String, usage: bool) -> Response<Answer> {
    let stream = TokenStream::new(plan, model, usage);
    let mut response = Response::new(Answer::Stream(Box::new(stream)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn whole(plan: Plan, model: &str) -> Response<Answer> {
    let text: String = (0..plan.tokens)
        .map(|i| format!("tok{} ", i % 100))
        .collect();
    json(
        StatusCode::OK,
        format!(
            concat!(
                "{{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"{}\",",
                "\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{}\",\"refusal\":null}},",
                "\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{},\"system_fingerprint\":\"fp_mock\"}}"
            ),
            model,
            text,
            usage(plan.tokens)
        ),
    )
}

async fn answer(
    defaults: Plan,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    if request.method() == Method::GET {
        return Ok(match request.uri().path() {
            "/stats" => stats(),
            _ => error(StatusCode::NOT_FOUND, "no such page"),
        });
    }
    let Ok(body) = request.into_body().collect().await else {
        return Ok(error(StatusCode::BAD_REQUEST, "the body broke off"));
    };
    REQUESTS.fetch_add(1, Relaxed);
    let body = body.to_bytes();
    let call: Call = match serde_json::from_slice(&body) {
        Ok(call) => call,
        Err(e) => return Ok(error(StatusCode::BAD_REQUEST, &e.to_string())),
    };
    let plan = defaults.with_model(&call.model);
    if plan.error != 0 {
        let status = StatusCode::from_u16(plan.error).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Ok(error(status, "asked for by the model name"));
    }
    let model = call.model.replace(['"', '\\'], "");
    if call.stream {
        let usage = call.stream_options.is_some_and(|o| o.include_usage);
        return Ok(streamed(plan, model, usage));
    }
    if plan.latency > 0 {
        tokio::time::sleep(Duration::from_millis(plan.latency)).await;
    }
    Ok(whole(plan, &model))
}

async fn serve(port: u16, defaults: Plan) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!(
        "{{\"port\":{},\"pid\":{}}}",
        listener.local_addr()?.port(),
        std::process::id()
    );
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::task::spawn_local(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(
                    TokioIo::new(stream),
                    service_fn(move |r| answer(defaults, r)),
                )
                .await;
        });
    }
}

fn options() -> Option<(u16, Plan)> {
    let (mut port, mut plan) = (0, Plan::default());
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value: u64 = args.next()?.parse().ok()?;
        match name.as_str() {
            "--port" => port = u16::try_from(value).ok()?,
            "--ttft-ms" => plan.first_token = value,
            "--itl-ms" => plan.between_tokens = value,
            "--tokens" => plan.tokens = u32::try_from(value).ok()?,
            "--latency-ms" => plan.latency = value,
            _ => return None,
        }
    }
    Some((port, plan))
}

fn main() -> std::io::Result<()> {
    let Some((port, plan)) = options() else {
        eprintln!(
            "usage: mockllm [--port N] [--ttft-ms N] [--itl-ms N] [--tokens N] [--latency-ms N]"
        );
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(port, plan))
}
