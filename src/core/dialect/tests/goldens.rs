//! Translations between all pairs of formats, pinned in `fixtures/golden`. `UPDATE_GOLDEN=1 cargo test`
//! writes them anew: read the difference before you keep it.

use super::super::json::{Json, object};
use super::super::{Dialect, Face, Target, Translator};
use super::{ALL, fixtures, folder, json, path, wire};

fn face(dialect: Dialect) -> Face {
    let id = match dialect {
        Dialect::Anthropic => "msg_golden",
        Dialect::OpenAiResponses => "resp_golden",
        _ => "chatcmpl-golden",
    };
    Face { id: id.into(), model: "golden".into(), created: 1_700_000_000, include_usage: true }
}

fn model(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Anthropic => "claude-sonnet-4-5",
        Dialect::Gemini => "gemini-3-pro",
        Dialect::Bedrock => "anthropic.claude-sonnet-4-5-v1:0",
        _ => "gpt-x",
    }
}

fn pin(name: &str, text: &str) {
    let file = folder("golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let pinned = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, pinned, "{name} changed: see the top of this file");
}

fn pairs() -> impl Iterator<Item = ((Dialect, &'static str), (Dialect, &'static str))> {
    ALL.into_iter().flat_map(|from| ALL.into_iter().filter(move |to| to.0 != from.0).map(move |to| (from, to)))
}

#[test]
fn requests() {
    for ((from, a), (to, b)) in pairs() {
        let (_, body) = fixtures(a, "request-talk").remove(0);
        let request = from.decode_request(path(from), &body).unwrap();
        let encoded = to.encode_request(&request, &Target::new(model(to), 4_096)).unwrap_or_else(|e| panic!("{a} → {b}: {e:?}"));
        let body = Json::read(&encoded.body).unwrap();
        let story = object! { "path": encoded.path, "dropped": encoded.dropped.header(), "body": body };
        pin(&format!("request-{a}-to-{b}.json"), &(serde_json::to_string_pretty(&story).unwrap() + "\n"));
    }
}

#[test]
fn answers() {
    for ((from, a), (to, b)) in pairs() {
        let (_, body) = fixtures(a, "answer-tools").remove(0);
        let answer = from.decode_answer(&body).unwrap();
        let out = to.encode_answer(&answer, &face(to));
        assert!(to.decode_answer(&out).is_ok());
        let body = Json::read(&out).unwrap();
        pin(&format!("answer-{a}-to-{b}.json"), &(serde_json::to_string_pretty(&body).unwrap() + "\n"));
    }
}

#[test]
fn streams() {
    for ((from, a), (to, b)) in pairs() {
        let (_, body) = fixtures(a, "stream-tools").remove(0);
        let mut translator = Translator::new(from, to, face(to));
        let mut out = translator.push(&wire(from, &body));
        out.extend(translator.finish());
        let text = if to == Dialect::Bedrock { lines(&out) } else { String::from_utf8(out).unwrap() };
        pin(&format!("stream-{a}-to-{b}.txt"), &text);
    }
}

/// Bedrock's frames as lines of type and payload.
fn lines(bytes: &[u8]) -> String {
    let (mut frames, mut events) = (super::super::bedrock::Frames::default(), Vec::new());
    frames.push(bytes, &mut events).unwrap();
    let line = |e: crate::sse::Event| format!("{} {}\n", String::from_utf8(e.name).unwrap(), json(&e.data));
    events.into_iter().map(line).collect()
}
