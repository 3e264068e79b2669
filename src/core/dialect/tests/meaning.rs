//! A request says the same in every format: common → A → common, on generated conversations.

use super::super::common::{Body, Message, Part, Request, Role, Source, Tool, ToolKind};
use super::super::json::{Fields, Json};
use super::super::{Dialect, Target};
use super::ALL;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Turn {
    User(Vec<String>, bool),
    Model(Option<String>, Vec<(String, String, String)>),
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zé ]{0,8}[a-z]", Just("{\"a\": [1, {\"z\": 2, \"b\": null}]}".to_owned()), Just("\"quoted\" \\ \n 0".to_owned())]
}

fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![Just("{}".to_owned()), Just("{\"z\":1,\"a\":[\"x\",0.1]}".to_owned()), Just("{\"é\":\"\\\"\"}".to_owned())]
}

fn turn() -> impl Strategy<Value = Turn> {
    let call = ("[a-z]{1,5}", arguments(), word());
    prop_oneof![
        (prop::collection::vec(word(), 1..3), any::<bool>()).prop_map(|(texts, picture)| Turn::User(texts, picture)),
        (prop::option::of(word()), prop::collection::vec(call, 1..4)).prop_map(|(text, calls)| Turn::Model(text, calls)),
    ]
}

fn picture() -> Part {
    Part::new(Body::Image { source: Source::Base64 { mime: "image/png".into(), data: "iVBORw0KGgo=".into() }, detail: None })
}

fn request(origin: Dialect, rules: Option<String>, turns: &[Turn]) -> Request {
    let mut request = Request::new(origin, "m");
    request.messages.extend(rules.map(|text| Message::new(Role::System, vec![Part::text(text)])));
    request.messages.push(Message::new(Role::User, vec![Part::text("begin")]));
    let mut n = 0;
    for turn in turns {
        match turn {
            Turn::User(texts, with_picture) => {
                let parts = texts.iter().map(Part::text).chain(with_picture.then(picture)).collect();
                request.messages.push(Message::new(Role::User, parts));
            }
            Turn::Model(text, calls) => {
                let mut parts: Vec<Part> = text.iter().map(Part::text).collect();
                let mut results = Vec::new();
                for (name, arguments, result) in calls {
                    n += 1;
                    let id = format!("call_{n}");
                    let call = Body::ToolCall { id: id.clone(), name: name.clone(), arguments: arguments.clone(), signature: None };
                    parts.push(Part::new(call));
                    let result = Body::ToolResult { id, name: None, parts: vec![Part::text(result)], failed: false };
                    results.push(Message::new(Role::Tool, vec![Part::new(result)]));
                }
                request.messages.push(Message::new(Role::Assistant, parts));
                request.messages.extend(results);
            }
        }
    }
    let schema = Json::read(br#"{"type":"object","properties":{"z":{"type":"string"},"a":{"enum":["OBJECT",1.5]}}}"#).unwrap();
    let kind = ToolKind::Function { name: "f".into(), description: Some("d".into()), schema: Some(schema), strict: None };
    request.tools.push(Tool { kind, cache: None, extra: Fields::new() });
    request.max_output = Some(77);
    request
}

/// Who says what, in order. White space in JSON that stands for an object is the sender's own affair.
fn said(request: &Request) -> Vec<String> {
    let squeezed = |text: &str| match Json::read(text.as_bytes()) {
        Ok(json @ Json::Object(_)) => json.to_text(),
        _ => text.to_owned(),
    };
    let one = |role: Role, part: &Part| match &part.body {
        Body::Text(text) => format!("{:?} says {text}", if role == Role::Tool { Role::User } else { role }),
        Body::Image { source, .. } => format!("shows {source:?}"),
        Body::ToolCall { id, name, arguments, .. } => format!("calls {id} {name} {}", squeezed(arguments)),
        Body::ToolResult { id, parts, failed, .. } => {
            let texts: String = parts.iter().map(|p| if let Body::Text(text) = &p.body { text.as_str() } else { "?" }).collect();
            format!("answers {id} {failed} {}", squeezed(&texts))
        }
        other => format!("{other:?}"),
    };
    request.messages.iter().flat_map(|m| m.parts.iter().map(move |p| one(m.role, p))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_conversation_says_the_same_in_every_format(rules in prop::option::of(word()), turns in prop::collection::vec(turn(), 0..6), stream: bool) {
        for (origin, _) in ALL {
            let mut asked = request(origin, rules.clone(), &turns);
            asked.stream = stream;
            for (to, _) in ALL {
                let out = to.encode_request(&asked, &Target::new("m", 5)).unwrap();
                let read = to.decode_request(&out.path, &out.body).unwrap();
                prop_assert_eq!(said(&read), said(&asked), "{:?} → {:?}: {}", origin, to, String::from_utf8_lossy(&out.body));
                prop_assert_eq!((read.stream, read.max_output, read.model.as_str()), (stream, Some(77), "m"));
                let schema = |r: &Request| r.tools.iter().map(|t| if let ToolKind::Function { schema: Some(s), .. } = &t.kind { s.to_text() } else { String::new() }).collect::<Vec<_>>();
                prop_assert_eq!(schema(&read), schema(&asked));
                prop_assert!(out.dropped.is_empty(), "{:?}", out.dropped);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, text in "\\PC{0,40}") {
        for (dialect, _) in ALL {
            for body in [&bytes[..], text.as_bytes()] {
                let _ = (dialect.decode_request(&text, body), dialect.decode_answer(body), dialect.decode_error(body), dialect.usage_of_answer(body));
            }
        }
    }

    /// JSON of a wrong shape somewhere inside: refused, or read; never a panic.
    #[test]
    fn fixtures_with_a_changed_value_are_read_without_a_panic(at in 0_usize..400, with in 0_usize..6) {
        let values = [serde_json::json!(null), serde_json::json!(5), serde_json::json!("x"), serde_json::json!([]), serde_json::json!({}), serde_json::json!([{}])];
        for (dialect, format) in ALL {
            for kind in ["request-all", "request-talk", "answer-tools"] {
                let (_, body) = super::fixtures(format, kind).remove(0);
                let mut value: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let mut left = at;
                replace(&mut value, &mut left, &values[with]);
                let body = value.to_string().into_bytes();
                if let Ok(request) = dialect.decode_request(super::path(dialect), &body) {
                    for (to, _) in ALL {
                        let _ = to.encode_request(&request, &Target::new("m", 5));
                    }
                }
                if let Ok(answer) = dialect.decode_answer(&body) {
                    for (to, _) in ALL {
                        to.encode_answer(&answer, &super::super::Face::default());
                    }
                }
            }
        }
    }
}

/// Puts a value in the place of the `left`-th one inside.
fn replace(value: &mut serde_json::Value, left: &mut usize, with: &serde_json::Value) {
    if *left == 0 {
        *value = with.clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(|v| replace(v, left, with)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|v| replace(v, left, with)),
        _ => {}
    }
}
