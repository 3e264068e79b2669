//! A chat completion request: read as little as policy needs, change as few bytes as it must.

use crate::dialect::json::from_bytes;
use crate::price::TierAsked;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is not JSON.
    Json(String),
    /// A field is missing or wrong.
    Field {
        /// Which; empty for the body as a whole.
        param: &'static str,
        /// How.
        why: String,
    },
}

/// What policy needs to know of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatRequest {
    /// The model as the caller named it.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the caller asked for usage in the stream.
    pub include_usage: bool,
    /// Most output tokens of all choices together, where the caller set a bound.
    pub max_output: Option<u64>,
    /// Choices.
    pub choices: u64,
    /// Bytes of the body without white space outside: never fewer than its tokens.
    pub bytes: usize,
    /// Images that the provider fetches itself, whose tokens the bytes don't bound.
    pub remote_images: u64,
    /// The service tier that is asked for.
    pub tier: TierAsked,
    /// Where the model's value stands in the body.
    model_at: (usize, usize),
    /// Where the bounds of the output stand, if they do.
    max_output_at: Vec<(usize, usize)>,
    /// Where `stream_options` stands, if it does.
    stream_options_at: Option<(usize, usize)>,
    /// After the opening brace.
    after_brace: usize,
}

/// What is changed on the way out. Everything else stays byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// Most output tokens of each choice, where policy lowers what the caller asked for, and the field that
    /// says so where the caller set none.
    pub max_output: Option<(&'static str, u64)>,
    /// Whether usage is to be asked for in streams. Providers that cannot be asked refuse `stream_options`, so a
    /// caller's own are taken out then.
    pub ask_usage: bool,
}

/// Top-level fields in order, values unparsed.
pub(in super::super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// Reads the top-level fields of a body.
pub(in super::super) fn top_level(text: &str) -> Result<Fields<'_>, Wrong> {
    let mut de = serde_json::Deserializer::from_str(text);
    match de.deserialize_map(FieldsVisitor).and_then(|f| de.end().map(|()| f)) {
        Ok(fields) => Ok(fields),
        Err(e) if e.is_data() => wrong("", "The body must be a JSON object."),
        Err(e) => Err(Wrong::Json(e.to_string())),
    }
}

/// The body as text.
pub(in super::super) fn utf8(body: &[u8]) -> Result<&str, Wrong> {
    std::str::from_utf8(body).map_err(|e| Wrong::Json(format!("not UTF-8 at byte {}", e.valid_up_to())))
}

impl<'a> Fields<'a> {
    /// The model's name, and where it stands in `text`.
    pub(in super::super) fn model(&self, text: &str) -> Result<(String, (usize, usize)), Wrong> {
        let raw = self.only("model")?.ok_or(Wrong::Field { param: "model", why: "is missing".into() })?;
        let model: String = match serde_json::from_str(raw.get()) {
            Ok(model) => model,
            Err(_) => return wrong("model", "must be a string"),
        };
        if model.is_empty() || model.len() > 256 || model.contains(char::is_control) {
            return wrong("model", "must have 1 to 256 characters");
        }
        Ok((model, span(text, raw.get()).unwrap_or((0, 0))))
    }

    /// Whether `stream` is set.
    pub(in super::super) fn stream(&self) -> Result<bool, Wrong> {
        match self.only("stream")?.map(RawValue::get) {
            None | Some("null" | "false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => wrong("stream", "must be true or false"),
        }
    }

    /// Refuses a field that is no array with something in it.
    pub(in super::super) fn filled_array(&self, name: &'static str) -> Result<(), Wrong> {
        match self.only(name)? {
            None => wrong(name, "is missing"),
            Some(raw) if !raw.get().starts_with('[') => wrong(name, "must be an array"),
            Some(raw) if raw.get().strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with(']')) => {
                wrong(name, "must not be empty")
            }
            Some(_) => Ok(()),
        }
    }

    /// The one value of a field. A field given twice is refused: gateway and provider might each believe
    /// another one.
    pub(in super::super) fn only(&self, name: &'static str) -> Result<Option<&'a RawValue>, Wrong> {
        let mut values = self.0.iter().filter(|(k, _)| k == name).map(|(_, v)| *v);
        let first = values.next();
        if values.next().is_some() {
            return wrong(name, "is given twice");
        }
        Ok(first)
    }

    /// The service tier that is asked for. What says nothing, or nothing that is known, leaves it to the provider;
    /// so does a field that is given twice.
    pub(in super::super) fn tier(&self) -> TierAsked {
        let raw = self.only("service_tier").ok().flatten();
        let name = raw.and_then(|raw| raw.get().strip_prefix('"')?.strip_suffix('"'));
        name.map_or(TierAsked::Auto, TierAsked::named)
    }

    /// A whole number within bounds.
    pub(in super::super) fn whole_number(&self, name: &'static str, low: u64, high: u64) -> Result<Option<u64>, Wrong> {
        let Some(raw) = self.only(name)?.filter(|raw| raw.get() != "null") else { return Ok(None) };
        match raw.get().parse::<u64>() {
            Ok(n) if (low..=high).contains(&n) => Ok(Some(n)),
            _ => wrong(name, format!("must be a whole number between {low} and {high}")),
        }
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<CowStr<'de>>()? {
            fields.push((key.0, map.next_value::<&'de RawValue>()?));
        }
        Ok(Fields(fields))
    }
}

/// A string, borrowed where it has no escapes.
struct CowStr<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for CowStr<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = CowStr<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(CowStr(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(CowStr(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(V)
    }
}

/// A refusal that blames a field.
pub(in super::super) fn wrong<T>(param: &'static str, why: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::Field { param, why: why.into() })
}

impl ChatRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8]) -> Result<ChatRequest, Wrong> {
        let text = utf8(body)?;
        let fields = top_level(text)?;
        let (model, model_at) = fields.model(text)?;
        fields.filled_array("messages")?;
        let stream = fields.stream()?;
        let options = fields.only("stream_options")?.filter(|raw| raw.get() != "null");
        let include_usage = match options {
            None => false,
            Some(_) if !stream => return wrong("stream_options", "is only allowed when `stream` is true"),
            Some(raw) => match serde_json::from_str::<serde_json::Value>(raw.get()) {
                Ok(serde_json::Value::Object(o)) => o.get("include_usage") == Some(&serde_json::Value::Bool(true)),
                _ => return wrong("stream_options", "must be an object"),
            },
        };
        let choices = fields.whole_number("n", 1, 128)?.unwrap_or(1);
        let old = fields.whole_number("max_tokens", 1, 10_000_000)?;
        let new = fields.whole_number("max_completion_tokens", 1, 10_000_000)?;
        let mut max_output_at = Vec::new();
        for name in ["max_tokens", "max_completion_tokens"] {
            max_output_at.extend(fields.only(name)?.and_then(|raw| span(text, raw.get())));
        }
        let stream_options_at = fields.only("stream_options")?.and_then(|raw| span(text, raw.get()));
        let after_brace = text.find('{').map_or(0, |i| i.saturating_add(1));
        Ok(ChatRequest {
            model,
            stream,
            include_usage,
            // Where both are set, providers differ in which they heed: the larger is the bound.
            max_output: old.max(new).map(|n| n.saturating_mul(choices)),
            choices,
            bytes: text.trim().len(),
            remote_images: u64::try_from(text.matches("\"image_url\"").count().div_ceil(2)).unwrap_or(0),
            tier: fields.tier(),
            model_at,
            max_output_at,
            stream_options_at,
            after_brace,
        })
    }

    /// The body for a provider: the model renamed, usage asked for in streams, the output bound lowered where
    /// policy says so, all else untouched.
    pub fn edit(&self, body: &[u8], edit: &Edit<'_>) -> Vec<u8> {
        let model = serde_json::Value::from(edit.model).to_string();
        let mut changes: Vec<((usize, usize), String)> = vec![(self.model_at, model)];
        if edit.ask_usage && self.stream && !self.include_usage {
            match self.stream_options_at {
                None => changes.push(((self.after_brace, self.after_brace), "\"stream_options\":{\"include_usage\":true},".into())),
                Some(at) => changes.push((at, with_usage(body.get(at.0..at.1).unwrap_or_default()))),
            }
        }
        if let Some(at) = self.stream_options_at.filter(|_| !edit.ask_usage) {
            changes.push((field_around(body, at), String::new()));
        }
        if let Some((field, tokens)) = edit.max_output {
            if self.max_output_at.is_empty() {
                changes.push(((self.after_brace, self.after_brace), format!("\"{field}\":{tokens},")));
            }
            changes.extend(self.max_output_at.iter().map(|at| (*at, tokens.to_string())));
        }
        changed(body, changes)
    }
}

/// The body with ranges of it replaced.
pub(in super::super) fn changed(body: &[u8], mut changes: Vec<((usize, usize), String)>) -> Vec<u8> {
    changes.sort_by_key(|(at, _)| *at);
    let mut out = Vec::with_capacity(body.len().saturating_add(64));
    let mut from = 0;
    for ((start, end), text) in changes {
        out.extend_from_slice(body.get(from..start).unwrap_or_default());
        out.extend_from_slice(text.as_bytes());
        from = end;
    }
    out.extend_from_slice(body.get(from..).unwrap_or_default());
    out
}

/// Where a field stands, with its name and one comma beside it, whose value stands at `at`. Its name has no
/// quotes inside.
fn field_around(body: &[u8], (start, end): (usize, usize)) -> (usize, usize) {
    let before = body.get(..start).unwrap_or_default();
    let quote = |part: &[u8]| part.iter().rposition(|b| *b == b'"');
    let name = quote(before).and_then(|closing| quote(before.get(..closing)?)).unwrap_or(start);
    let blank = |b: &u8| b.is_ascii_whitespace();
    let after = body.get(end..).unwrap_or_default();
    let spaces = after.iter().take_while(|b| blank(b)).count();
    if after.get(spaces) == Some(&b',') {
        return (name, end.saturating_add(spaces).saturating_add(1));
    }
    let comma = body.get(..name).unwrap_or_default().iter().rposition(|b| !blank(b));
    (comma.filter(|at| body.get(*at) == Some(&b',')).unwrap_or(name), end)
}

/// `stream_options` with `include_usage` set.
fn with_usage(raw: &[u8]) -> String {
    let mut options = match from_bytes(raw) {
        Some(serde_json::Value::Object(options)) => options,
        _ => serde_json::Map::new(),
    };
    options.insert("include_usage".into(), true.into());
    serde_json::Value::Object(options).to_string()
}

/// Where `part`, a slice of `whole`, stands in it.
pub(in super::super) fn span(whole: &str, part: &str) -> Option<(usize, usize)> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edited(body: &str) -> String {
        let request = ChatRequest::read(body.as_bytes()).unwrap();
        String::from_utf8(request.edit(body.as_bytes(), &Edit { model: "real", max_output: None, ask_usage: true })).unwrap()
    }

    #[test]
    fn options_that_a_provider_refuses_are_taken_out() {
        let plain = |body: &str| {
            let request = ChatRequest::read(body.as_bytes()).unwrap();
            String::from_utf8(request.edit(body.as_bytes(), &Edit { model: "a", max_output: Some(("max_tokens", 7)), ask_usage: false }))
                .unwrap()
        };
        for (options, expected) in [
            (
                r#"{"stream_options":{"include_usage":true},"model":"a","stream":true,"messages":[{}]}"#,
                r#"{"max_tokens":7,"model":"a","stream":true,"messages":[{}]}"#,
            ),
            (
                r#"{ "stream\u005foptions" : {"a":"\"}"} , "model":"a","stream":true,"messages":[{}]}"#,
                r#"{"max_tokens":7,  "model":"a","stream":true,"messages":[{}]}"#,
            ),
            (
                r#"{"model":"a","stream":true,"messages":[{}] , "stream_options":{} }"#,
                r#"{"max_tokens":7,"model":"a","stream":true,"messages":[{}]  }"#,
            ),
            (r#"{"model":"a","messages":[{}],"stream_options":null}"#, r#"{"max_tokens":7,"model":"a","messages":[{}]}"#),
            (r#"{"model":"a","messages":[{}]}"#, r#"{"max_tokens":7,"model":"a","messages":[{}]}"#),
        ] {
            assert_eq!(plain(options), expected);
        }
    }

    #[test]
    fn only_what_must_change_changes() {
        assert_eq!(
            edited(r#" { "x" : [1e309, "\u0000"], "model":"a" ,"messages":[ {} ] } "#),
            r#" { "x" : [1e309, "\u0000"], "model":"real" ,"messages":[ {} ] } "#
        );
        assert_eq!(
            edited(r#"{"model":"a","messages":[{}],"stream":true}"#),
            r#"{"stream_options":{"include_usage":true},"model":"real","messages":[{}],"stream":true}"#
        );
        assert_eq!(
            edited(r#"{"stream_options":{"z":1},"model":"a","messages":[{}],"stream":true}"#),
            r#"{"stream_options":{"include_usage":true,"z":1},"model":"real","messages":[{}],"stream":true}"#
        );
        assert_eq!(
            edited(r#"{"stream_options":null,"model":"a","messages":[{}],"stream":true}"#),
            r#"{"stream_options":{"include_usage":true},"model":"real","messages":[{}],"stream":true}"#
        );
        let asked = r#"{"model":"real","stream_options":{ "include_usage" :true},"messages":[{}],"stream":true}"#;
        assert_eq!(edited(asked), asked);
    }

    #[test]
    fn a_lowered_bound_stands_wherever_the_caller_set_one() {
        let lowered = |body: &str| {
            let request = ChatRequest::read(body.as_bytes()).unwrap();
            let edit = Edit { model: "a", max_output: Some(("max_tokens", 7)), ask_usage: true };
            String::from_utf8(request.edit(body.as_bytes(), &edit)).unwrap()
        };
        assert_eq!(lowered(r#"{"model":"a","messages":[{}]}"#), r#"{"max_tokens":7,"model":"a","messages":[{}]}"#);
        assert_eq!(
            lowered(r#"{"max_completion_tokens":900,"model":"a","messages":[{}],"max_tokens": null }"#),
            r#"{"max_completion_tokens":7,"model":"a","messages":[{}],"max_tokens": 7 }"#
        );
    }

    #[test]
    fn bounds_are_read() {
        let read = |extra: &str| ChatRequest::read(format!(r#"{{"model":"a","messages":[{{}}]{extra}}}"#).as_bytes());
        assert_eq!(read("").unwrap().max_output, None);
        assert_eq!(read(r#","max_tokens":5"#).unwrap().max_output, Some(5));
        assert_eq!(read(r#","max_tokens":5,"max_completion_tokens":7,"n":2"#).unwrap().max_output, Some(14));
        assert_eq!(read(r#","max_tokens":null,"n":null"#).unwrap().max_output, None);
    }

    #[test]
    fn wrong_bodies_are_told_apart() {
        let with = |extra: &str| format!(r#"{{"model":"a","messages":[{{}}]{extra}}}"#);
        for (body, param) in [
            ("[]".to_owned(), ""),
            ("\"a\"".to_owned(), ""),
            (r#"{"messages":[{}]}"#.to_owned(), "model"),
            (r#"{"model":5,"messages":[{}]}"#.to_owned(), "model"),
            (r#"{"model":"","messages":[{}]}"#.to_owned(), "model"),
            (r#"{"model":"a","model":"b","messages":[{}]}"#.to_owned(), "model"),
            (r#"{"model":"a"}"#.to_owned(), "messages"),
            (r#"{"model":"a","messages":"hi"}"#.to_owned(), "messages"),
            (r#"{"model":"a","messages":[ ]}"#.to_owned(), "messages"),
            (with(r#","stream":"yes""#), "stream"),
            (with(r#","stream_options":{}"#), "stream_options"),
            (with(r#","stream":true,"stream_options":[]"#), "stream_options"),
            (with(r#","max_tokens":"ten""#), "max_tokens"),
            (with(r#","max_tokens":-1"#), "max_tokens"),
            (with(r#","max_tokens":1e3"#), "max_tokens"),
            (with(r#","n":0"#), "n"),
        ] {
            match ChatRequest::read(body.as_bytes()) {
                Err(Wrong::Field { param: told, .. }) => assert_eq!(told, param, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        for body in ["", "{", "{\"a\":}", "{\"model\":\"a\",\"messages\":[{}]} x", "nul"] {
            assert!(matches!(ChatRequest::read(body.as_bytes()), Err(Wrong::Json(_))), "{body}");
        }
        assert!(matches!(ChatRequest::read(b"{\"a\":\"\xff\"}"), Err(Wrong::Json(_))));
    }

    #[test]
    fn deep_nesting_is_read_without_harm() {
        let deep = format!(r#"{{"model":"a","messages":[{}{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(ChatRequest::read(deep.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = ChatRequest::read(&bytes);
        }

        #[test]
        fn the_edited_body_differs_in_the_model_only(model in "[a-z\"\\\\é]{1,8}", key in "[a-z]{1,5}", value: i64) {
            let body = serde_json::json!({ format!("x{key}"): value, "model": model, "messages": [{}] });
            let out: serde_json::Value = serde_json::from_str(&edited(&body.to_string())).unwrap();
            let mut expected = body;
            expected["model"] = "real".into();
            prop_assert_eq!(out, expected);
        }
    }
}
