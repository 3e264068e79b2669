//! Workers AI, whose models answer in one of two ways.

use super::super::common::{Answer, Body, StopReason};
use super::super::{Dialect, Face, Target, Translator};
use super::json;
use proptest::prelude::*;
use serde_json::{Value, json as value};

fn asked(body: Value) -> (Value, String, String) {
    let request = Dialect::OpenAiChat.decode_request("", body.to_string().as_bytes()).unwrap();
    let out = Dialect::WorkersAi.encode_request(&request, &Target::new("@cf/meta/llama-3.3 70b", 9)).unwrap();
    (serde_json::from_slice(&out.body).unwrap(), out.path, out.dropped.header())
}

fn read(body: &Value) -> Answer {
    Dialect::WorkersAi.decode_answer(body.to_string().as_bytes()).unwrap()
}

/// A stream as a client of chat completions gets it: its last chunk's reason, its text, its calls.
fn streamed(events: &[Value], cut: usize) -> (String, String, Vec<(String, String)>) {
    let text: String = events.iter().map(|e| format!("data: {e}\n\n")).chain(["data: [DONE]\n\n".to_owned()]).collect();
    let mut translator = Translator::new(Dialect::WorkersAi, Dialect::OpenAiChat, Face::default());
    let mut out: Vec<u8> = text.as_bytes().chunks(cut).flat_map(|part| translator.push(part)).collect();
    out.extend(translator.finish());
    let (mut finish, mut content, mut calls) = (String::new(), String::new(), Vec::<(String, String)>::new());
    for line in String::from_utf8(out).unwrap().lines().filter_map(|l| l.strip_prefix("data: {")) {
        let chunk: Value = serde_json::from_str(&format!("{{{line}")).unwrap();
        let Some(choice) = chunk["choices"].get(0) else { continue };
        content.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            if let Some(name) = call["function"]["name"].as_str() {
                calls.push((format!("{} {name}", call["id"].as_str().unwrap()), String::new()));
            }
            calls.last_mut().unwrap().1.push_str(call["function"]["arguments"].as_str().unwrap());
        }
        finish = choice["finish_reason"].as_str().map_or(finish, str::to_owned);
    }
    (finish, content, calls)
}

#[test]
fn a_request_is_a_chat_completion_without_the_model() {
    let schema = value!({ "type": "object", "properties": {} });
    let call = value!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let (body, path, dropped) = asked(value!({
        "model": "m", "stream": true, "stream_options": { "include_usage": true }, "max_completion_tokens": 5, "n": 1, "user": "u",
        "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "content": null, "tool_calls": [call] }, { "role": "tool", "tool_call_id": "c", "content": "b" }],
        "response_format": { "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema } },
    }));
    assert_eq!(
        body,
        value!({
            "stream": true, "max_tokens": 5, "response_format": { "type": "json_schema", "json_schema": schema },
            "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "content": "", "tool_calls": [call] }, { "role": "tool", "tool_call_id": "c", "content": "b" }],
        })
    );
    assert_eq!((path.as_str(), dropped.as_str()), ("/run/@cf/meta/llama-3.3%2070b", "user"));
    let two = Dialect::OpenAiChat.decode_request("", br#"{"model":"m","n":2,"messages":[{"role":"user","content":"a"}]}"#).unwrap();
    assert_eq!(Dialect::WorkersAi.encode_request(&two, &Target::new("m", 9)).unwrap_err().param, "n");
}

#[test]
fn both_ways_of_answering_are_read() {
    let usage = value!({ "prompt_tokens": 7, "completion_tokens": 2 });
    let native = value!({ "response": "hi", "tool_calls": [], "usage": usage });
    let framed = value!({ "result": native, "success": true, "errors": [], "messages": [] });
    let openai = value!({ "id": "i", "choices": [{ "index": 0, "message": { "role": "assistant", "content": "hi" }, "finish_reason": "stop" }], "usage": usage });
    for body in [native, framed, openai] {
        let answer = read(&body);
        assert_eq!(answer.choices[0].parts[0].body, Body::Text("hi".into()), "{body}");
        assert_eq!(answer.choices[0].stop.as_ref().map(|s| s.reason), Some(StopReason::End));
        assert_eq!(answer.usage.map(|u| (u.input, u.output)), Some((7, 2)));
    }
    let answer =
        read(&value!({ "response": null, "tool_calls": [{ "name": "f", "arguments": { "a": 1 } }, { "name": "f", "arguments": "{}" }] }));
    let calls: Vec<_> = answer.choices[0].parts.iter().map(|p| p.body.clone()).collect();
    let call = |id: &str, arguments: &str| Body::ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into(), signature: None };
    assert_eq!(calls, [call("call_0", "{\"a\":1}"), call("call_1", "{}")]);
    assert_eq!(answer.choices[0].stop.as_ref().map(|s| s.reason), Some(StopReason::ToolCalls));
    // Where JSON was asked for, it may come as itself.
    let answer = Dialect::WorkersAi.decode_answer(br#"{"response":{"z":1,"a":[2]}}"#).unwrap();
    assert_eq!(answer.choices[0].parts[0].body, Body::Text("{\"z\":1,\"a\":[2]}".into()));
}

#[test]
fn errors_have_three_shapes() {
    for body in [
        value!({ "internalCode": 3040, "name": "AiError", "description": "no capacity" }),
        value!({ "result": null, "success": false, "errors": [{ "code": 3040, "message": "no capacity" }] }),
        value!({ "error": { "code": 3040, "message": "no capacity" } }),
    ] {
        let error = Dialect::WorkersAi.decode_error(body.to_string().as_bytes());
        assert_eq!((error.code.as_deref(), error.message.as_str()), (Some("3040"), "no capacity"), "{body}");
        assert!(Dialect::WorkersAi.decode_answer(body.to_string().as_bytes()).is_err());
        let mut decoder = Dialect::WorkersAi.decoder();
        let deltas = decoder.push(format!("data: {body}\n\n").as_bytes());
        assert!(matches!(deltas.as_slice(), [super::super::common::Delta::Failed(e)] if e.message == "no capacity"), "{body} {deltas:?}");
    }
}

#[test]
fn calls_that_come_flat_are_told_apart() {
    let flat = |name: &str| value!({ "response": "", "tool_calls": [{ "name": name, "arguments": { "a": 1 } }] });
    let (finish, _, calls) = streamed(&[flat("f"), flat("g")], 1_000);
    assert_eq!(finish, "tool_calls");
    assert_eq!(calls, [("call_0 f".to_owned(), "{\"a\":1}".to_owned()), ("call_1 g".to_owned(), "{\"a\":1}".to_owned())]);
    let piece = |call: Value| value!({ "response": null, "tool_calls": [call] });
    let (_, _, calls) = streamed(
        &[
            piece(value!({ "id": "x", "type": "function", "index": 0, "function": { "name": "f", "arguments": "" } })),
            piece(value!({ "index": 0, "function": { "name": null, "arguments": "{\"a\"" } })),
            piece(value!({ "index": 0, "function": { "arguments": ":1}" } })),
            // A call without anything says that the one before it is whole.
            piece(value!({ "id": null, "type": null, "index": 0, "function": { "name": null, "arguments": "" } })),
        ],
        1_000,
    );
    assert_eq!(calls, [("x f".to_owned(), "{\"a\":1}".to_owned())]);
}

#[test]
fn without_its_end_a_stream_is_not_whole() {
    let mut decoder = Dialect::WorkersAi.decoder();
    decoder.push(b"data: {\"response\":\"a\"}\n\n");
    decoder.finish();
    assert!(!decoder.whole());
}

proptest! {
    #[test]
    fn cutting_the_bytes_elsewhere_changes_nothing(texts in prop::collection::vec("\\PC{0,8}", 1..6), cut in 1_usize..30) {
        let native: Vec<Value> = texts.iter().map(|t| value!({ "response": t, "p": "abc" })).chain([value!({ "response": "", "usage": { "prompt_tokens": 1, "completion_tokens": 2 } })]).collect();
        let openai: Vec<Value> = texts.iter().map(|t| value!({ "choices": [{ "index": 0, "delta": { "content": t } }] })).collect();
        let expected = ("stop".to_owned(), texts.concat(), Vec::new());
        prop_assert_eq!(streamed(&native, cut), expected.clone());
        prop_assert_eq!(streamed(&openai, cut), expected);
    }

    #[test]
    fn any_shape_is_read_without_a_panic(at in 0_usize..12, with in "\\PC{0,12}") {
        let shapes = [value!(null), value!(5), value!("x"), value!([]), value!({}), value!([{}]), value!([null]), value!({ "function": 5 })];
        for shape in &shapes {
            for name in ["response", "tool_calls", "result", "choices", "errors", "internalCode", "finish_reason", "usage", "error"] {
                let mut body = value!({ "response": with, "tool_calls": [{ "name": "f" }] });
                body[name] = shape.clone();
                let bytes = body.to_string().into_bytes();
                let _ = (Dialect::WorkersAi.decode_answer(&bytes), Dialect::WorkersAi.decode_error(&bytes));
                Dialect::WorkersAi.decoder().push(&[b"data: ", &bytes[at.min(bytes.len())..], b"\n\ndata: ", &bytes, b"\n\n"].concat());
            }
        }
    }
}

#[test]
fn a_client_of_chat_completions_gets_one_whole() {
    let answer = read(&value!({ "response": "hi", "usage": { "prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9 } }));
    let face = Face { id: "chatcmpl-1".into(), model: "m".into(), created: 5, include_usage: false };
    let body = json(&Dialect::OpenAiChat.encode_answer(&answer, &face));
    assert_eq!(body["choices"][0], value!({ "index": 0, "message": { "role": "assistant", "content": "hi" }, "finish_reason": "stop" }));
    assert_eq!((&body["object"], &body["usage"]["total_tokens"]), (&value!("chat.completion"), &value!(9)));
}
