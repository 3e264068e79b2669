//! ssebench: closed-loop client for OpenAI-style streams, one thread.
//!
//!   ssebench --url http://127.0.0.1:PORT/v1/chat/completions --model mock-t20-i5-n32
//!            --conc 16 --secs 3 [--header 'name: value']...
//!
//! Starts new streams for `secs` seconds and lets the open ones end. Prints one JSON line: times in
//! microseconds (answer headers, first token, whole stream, delay of each event against its stamp
//! `t`), counts of events and tokens, of errors, and of streams without usage or `[DONE]`.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{handshake, SendRequest};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type Failure = Box<dyn std::error::Error>;

struct Options {
    uri: Uri,
    address: String,
    conc: u64,
    length: Duration,
    headers: Vec<(String, String)>,
    body: Bytes,
}

#[derive(Default)]
struct Tally {
    headers: Vec<u64>,
    first: Vec<u64>,
    total: Vec<u64>,
    lag: Vec<u64>,
    events: u64,
    tokens: u64,
    frames: u64,
    errors: u64,
    no_usage: u64,
    no_done: u64,
    last_error: String,
}

impl Tally {
    fn failed(&mut self, why: &str) {
        self.errors += 1;
        self.last_error = why.into();
    }
}

/// What one stream brought.
#[derive(Default)]
struct Seen {
    first: Option<u64>,
    lag: Vec<u64>,
    events: u64,
    tokens: u64,
    frames: u64,
    done: bool,
    usage: bool,
}

impl Seen {
    fn event(&mut self, event: &[u8], start: Instant, now_ns: u64) {
        let text = String::from_utf8_lossy(event);
        if text.contains("[DONE]") {
            self.done = true;
            return;
        }
        self.events += 1;
        self.usage |= text.contains("total_tokens");
        if text.contains("\"tok") {
            self.tokens += 1;
            self.first.get_or_insert_with(|| micros(start));
        }
        if let Some((_, rest)) = text.split_once("\"t\":") {
            let digits: String = rest
                .trim_start()
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            if let Ok(t) = digits.parse::<u64>() {
                self.lag.push(now_ns.saturating_sub(t) / 1000);
            }
        }
    }

    async fn read(
        &mut self,
        response: &mut Response<Incoming>,
        start: Instant,
    ) -> Result<(), hyper::Error> {
        let mut held: Vec<u8> = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            self.frames += 1;
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos() as u64;
            held.extend_from_slice(data);
            let mut at = 0;
            while let Some(n) = held[at..].windows(2).position(|w| w == b"\n\n") {
                self.event(&held[at..at + n], start, now);
                at += n + 2;
            }
            held.drain(..at);
        }
        Ok(())
    }
}

fn micros(since: Instant) -> u64 {
    since.elapsed().as_micros() as u64
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

async fn one(
    options: &Options,
    sender: &mut Option<SendRequest<Full<Bytes>>>,
    tally: &RefCell<Tally>,
) -> Result<(), Failure> {
    let mut open = match sender.take() {
        Some(open) if !open.is_closed() => open,
        _ => connect(&options.address).await?,
    };
    open.ready().await?;
    let mut request = Request::post(options.uri.path())
        .header("host", &options.address)
        .header("content-type", "application/json");
    for (name, value) in &options.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(options.body.clone()))?;
    let start = Instant::now();
    let mut response = open.send_request(request).await?;
    let headers = micros(start);
    if !response.status().is_success() {
        let status = response.status();
        let body = response.body_mut().collect().await?.to_bytes();
        let body: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        return Err(format!("{status}: {body}").into());
    }
    let mut seen = Seen::default();
    seen.read(&mut response, start).await?;
    *sender = Some(open);
    let mut t = tally.borrow_mut();
    t.headers.push(headers);
    t.total.push(micros(start));
    t.first.extend(seen.first);
    t.lag.extend(seen.lag);
    t.events += seen.events;
    t.tokens += seen.tokens;
    t.frames += seen.frames;
    t.no_done += u64::from(!seen.done);
    t.no_usage += u64::from(!seen.usage);
    Ok(())
}

async fn load(options: Rc<Options>, tally: Rc<RefCell<Tally>>) {
    let end = Instant::now() + options.length;
    let mut tasks = Vec::new();
    for _ in 0..options.conc {
        let (options, tally) = (options.clone(), tally.clone());
        tasks.push(tokio::task::spawn_local(async move {
            let mut sender = None;
            while Instant::now() < end {
                if let Err(e) = one(&options, &mut sender, &tally).await {
                    tally.borrow_mut().failed(&e.to_string());
                    // A target that is down must not turn this into a busy loop.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
}

fn percentiles(mut v: Vec<u64>) -> serde_json::Value {
    v.sort_unstable();
    let Some(last) = v.len().checked_sub(1) else {
        return serde_json::Value::Null;
    };
    let at = |share: f64| v[(last as f64 * share).round() as usize];
    serde_json::json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": v[last] })
}

fn options() -> Result<Options, Failure> {
    let (mut url, mut model, mut conc, mut secs) = (String::new(), String::from("mock"), 1, 1.0);
    let mut headers = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--url" => url = value,
            "--model" => model = value,
            "--conc" => conc = value.parse()?,
            "--secs" => secs = value.parse()?,
            "--header" => {
                let (name, value) = value.split_once(':').ok_or("a header is 'name: value'")?;
                headers.push((name.trim().into(), value.trim().into()));
            }
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    let uri: Uri = url.parse()?;
    let address = uri
        .authority()
        .ok_or("--url needs a host and a port")?
        .to_string();
    let body = serde_json::json!({
        "model": model, "stream": true, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": "hello" }]
    });
    let length = Duration::try_from_secs_f64(secs)?;
    Ok(Options {
        uri,
        address,
        conc,
        length,
        headers,
        body: body.to_string().into(),
    })
}

fn main() -> Result<(), Failure> {
    let options = Rc::new(options()?);
    let tally = Rc::new(RefCell::new(Tally::default()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let start = Instant::now();
    tokio::task::LocalSet::new().block_on(&runtime, load(options, tally.clone()));
    let seconds = start.elapsed().as_secs_f64();
    let t = tally.take();
    let streams = t.total.len();
    let report = serde_json::json!({
        "streams": streams, "per_second": streams as f64 / seconds,
        "events": t.events, "tokens": t.tokens, "frames": t.frames,
        "errors": t.errors, "no_done": t.no_done, "no_usage": t.no_usage, "last_error": t.last_error,
        "headers_us": percentiles(t.headers), "first_token_us": percentiles(t.first),
        "total_us": percentiles(t.total), "event_lag_us": percentiles(t.lag),
    });
    println!("{report}");
    Ok(())
}
