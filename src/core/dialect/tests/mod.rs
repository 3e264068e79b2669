//! Tests of the formats together: every fixture comes back as it was, streams mean the same however
//! they are cut, and translations between all pairs are pinned.

mod accepted;
mod goldens;
mod meaning;
mod quirks;
mod refusals;
mod round_trips;
mod streams;
mod workers_ai;

use super::Dialect;
use super::bedrock::frame;
use serde_json::Value;
use std::path::PathBuf;

pub(super) const ALL: [(Dialect, &str); 5] = [
    (Dialect::OpenAiChat, "chat"),
    (Dialect::OpenAiResponses, "responses"),
    (Dialect::Anthropic, "anthropic"),
    (Dialect::Gemini, "gemini"),
    (Dialect::Bedrock, "bedrock"),
];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dialect/fixtures").join(name)
}

/// The fixtures of a format whose names begin with `kind`, in order: name and bytes.
pub(super) fn fixtures(format: &str, kind: &str) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(folder(format)).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let found: Vec<_> = all.iter().filter(|p| name(p).starts_with(kind)).map(|p| (name(p), std::fs::read(p).unwrap())).collect();
    assert!(!found.is_empty(), "no {kind} of {format}");
    found
}

/// A stream fixture as bytes on the wire: Bedrock's are kept as lines of type and payload.
pub(super) fn wire(dialect: Dialect, fixture: &[u8]) -> Vec<u8> {
    if dialect != Dialect::Bedrock {
        return fixture.to_vec();
    }
    let text = std::str::from_utf8(fixture).unwrap();
    text.lines().flat_map(|line| line.split_once(' ').map(|(name, payload)| frame(name, payload)).unwrap()).collect()
}

/// Where the format wants the model in the path.
pub(super) fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Gemini => "/models/gemini-x:generateContent",
        Dialect::Bedrock => "/model/anthropic.claude-x/converse",
        _ => "",
    }
}

/// Without fields that are `null`: that is what absent means in all of these formats.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect())
        }
        other => other,
    }
}

pub(super) fn json(bytes: &[u8]) -> Value {
    without_nulls(serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes))))
}
