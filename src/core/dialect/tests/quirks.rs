//! What providers do that their formats do not say, and corners of translation with a story.

use super::super::common::{Delta, Opening, Piece};
use super::super::{Dialect, Face, Target, Translator};
use super::json;
use serde_json::{Value, json as value};

fn deltas(dialect: Dialect, events: &[Value]) -> Vec<Delta> {
    let mut decoder = dialect.decoder();
    let mut out: Vec<Delta> = events.iter().flat_map(|e| decoder.push(format!("data: {e}\n\n").as_bytes())).collect();
    out.extend(decoder.finish());
    out
}

fn chunk(delta: Value, finish: Option<&str>) -> Value {
    value!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] })
}

fn calls(deltas: &[Delta]) -> Vec<(String, String)> {
    let mut all: Vec<(u64, String, String)> = Vec::new();
    for delta in deltas {
        match delta {
            Delta::Open { at, part: Opening::ToolCall { id, .. }, .. } => all.push((*at, id.clone(), String::new())),
            Delta::More { at, piece: Piece::Arguments(text), .. } => all.iter_mut().find(|(n, _, _)| n == at).unwrap().2.push_str(text),
            _ => {}
        }
    }
    all.into_iter().map(|(_, id, text)| (id, text)).collect()
}

#[test]
fn calls_without_numbers_or_all_numbered_zero_are_told_apart_by_their_ids() {
    let call = |index: Option<u64>, id: Option<&str>, arguments: &str| {
        let mut call = value!({ "function": { "arguments": arguments } });
        if let Some(id) = id {
            call["id"] = id.into();
            call["function"]["name"] = "f".into();
        }
        if let Some(index) = index {
            call["index"] = index.into();
        }
        chunk(value!({ "tool_calls": [call] }), None)
    };
    let expected = vec![("a".to_owned(), "{\"x\":1}".to_owned()), ("b".to_owned(), "{}".to_owned())];
    for index in [None, Some(0)] {
        // Whole calls with one number, as Gemini's compatible endpoint once sent them.
        let events = [call(index, Some("a"), "{\"x\":1}"), call(index, Some("b"), "{}"), chunk(value!({}), Some("stop"))];
        assert_eq!(calls(&deltas(Dialect::OpenAiChat, &events)), expected, "{index:?}");
    }
    let events =
        [call(None, Some("a"), "{\"x\""), call(None, None, ":1}"), call(None, Some("b"), "{}"), chunk(value!({}), Some("tool_calls"))];
    assert_eq!(calls(&deltas(Dialect::OpenAiChat, &events)), expected);
    let events = [call(Some(0), Some("a"), "{"), call(Some(1), Some("b"), "{}"), call(Some(0), None, "}")];
    assert!(matches!(deltas(Dialect::OpenAiChat, &events).last(), Some(Delta::Failed(_))));
}

#[test]
fn what_comes_after_the_stop_counts_for_nothing_but_usage() {
    let mut late = chunk(
        value!({ "content": "late", "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{}" } }] }),
        Some("length"),
    );
    late["usage"] = value!({ "prompt_tokens": 3, "completion_tokens": 1 });
    let told = deltas(Dialect::OpenAiChat, &[chunk(value!({ "content": "a" }), Some("stop")), late]);
    let texts = told.iter().filter(|d| matches!(d, Delta::More { .. })).count();
    let stops = told.iter().filter(|d| matches!(d, Delta::Stop { .. })).count();
    let usages = told.iter().filter(|d| matches!(d, Delta::Usage(_))).count();
    assert_eq!((texts, stops, usages, told.last()), (1, 1, 1, Some(&Delta::End)));
}

#[test]
fn thoughts_in_a_list_and_usage_in_odd_places_are_found() {
    let list = value!([{ "type": "thinking", "thinking": [{ "type": "text", "text": "Hm." }] }, { "type": "text", "text": "Yes" }]);
    let answer = value!({ "choices": [{ "index": 0, "message": { "role": "assistant", "content": list }, "finish_reason": "stop" }] });
    let answer = Dialect::OpenAiChat.decode_answer(answer.to_string().as_bytes()).unwrap();
    let out = json(&Dialect::Anthropic.encode_answer(&answer, &Face::default()));
    assert_eq!(out["content"], value!([{ "type": "thinking", "thinking": "Hm.", "signature": "" }, { "type": "text", "text": "Yes" }]));
    let usage = value!({ "prompt_tokens": 3, "completion_tokens": 1 });
    let mut groq = chunk(value!({}), Some("stop"));
    groq["x_groq"] = value!({ "usage": usage });
    let mut moonshot = chunk(value!({}), Some("stop"));
    moonshot["choices"][0]["usage"] = usage;
    for last in [groq, moonshot] {
        let told = deltas(Dialect::OpenAiChat, &[chunk(value!({ "content": list }), None), last]);
        let opened =
            told.iter().filter_map(|d| if let Delta::Open { part, .. } = d { Some(part.clone()) } else { None }).collect::<Vec<_>>();
        assert_eq!(opened, [Opening::Thinking, Opening::Text]);
        assert!(told.iter().any(|d| matches!(d, Delta::Usage(u) if (u.input, u.output) == (3, 1))));
    }
}

#[test]
fn what_a_provider_runs_for_itself_is_left_out_and_its_text_is_not() {
    let start = |n: u64, block: Value| value!({ "type": "content_block_start", "index": n, "content_block": block });
    let stop = |n: u64| value!({ "type": "content_block_stop", "index": n });
    let events = [
        value!({ "type": "message_start", "message": { "id": "m", "model": "c", "usage": { "input_tokens": 1 } } }),
        start(0, value!({ "type": "server_tool_use", "id": "s", "name": "web_search", "input": {} })),
        value!({ "type": "content_block_delta", "index": 0, "delta": { "type": "input_json_delta", "partial_json": "{\"q\":1}" } }),
        stop(0),
        start(1, value!({ "type": "web_search_tool_result", "tool_use_id": "s", "content": [] })),
        stop(1),
        start(2, value!({ "type": "text", "text": "found", "citations": [] })),
        value!({ "type": "content_block_delta", "index": 2, "delta": { "type": "citations_delta", "citation": {} } }),
        stop(2),
        value!({ "type": "unheard_of" }),
        value!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 2 } }),
        value!({ "type": "message_stop" }),
    ];
    for to in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Gemini] {
        let mut translator = Translator::new(Dialect::Anthropic, to, Face::default());
        let mut out: Vec<u8> =
            events.iter().flat_map(|e| translator.push(format!("event: {}\ndata: {e}\n\n", e["type"]).as_bytes())).collect();
        out.extend(translator.finish());
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("found") && !text.contains("web_search") && !text.contains("\\\"q\\\""), "{to:?}: {text}");
        assert!(translator.decoder().whole() && translator.decoder().usage().is_some_and(|u| (u.input, u.output) == (1, 2)));
    }
}

#[test]
fn a_failure_in_a_stream_is_told_in_the_clients_words() {
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let told = |to: Dialect| {
        let mut translator = Translator::new(Dialect::Anthropic, to, Face::default());
        let out = translator.push(overloaded.as_bytes());
        assert!(translator.finish().is_empty() && translator.decoder().over() && !translator.decoder().whole());
        String::from_utf8_lossy(&out).into_owned()
    };
    assert_eq!(
        told(Dialect::OpenAiChat),
        "data: {\"error\":{\"message\":\"Overloaded\",\"type\":\"api_error\",\"param\":null,\"code\":null}}\n\n"
    );
    assert_eq!(told(Dialect::Anthropic), overloaded);
    assert!(
        told(Dialect::OpenAiResponses)
            .starts_with("event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":null,\"message\":\"Overloaded\"")
    );
    assert!(told(Dialect::Gemini).contains("\"message\":\"Overloaded\""));
    assert!(told(Dialect::Bedrock).contains("InternalServerException"));
    let mut bytes = Vec::new();
    super::super::bedrock::write_exception(&mut bytes, "throttlingException", "{\"message\":\"slow down\"}");
    let mut translator = Translator::new(Dialect::Bedrock, Dialect::OpenAiChat, Face::default());
    let text = String::from_utf8(translator.push(&bytes)).unwrap();
    assert_eq!(text, "data: {\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\",\"param\":null,\"code\":null}}\n\n");
}

#[test]
fn a_prompt_that_was_blocked_is_an_answer_without_words() {
    let body = br#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":7},"responseId":"r"}"#;
    let answer = Dialect::Gemini.decode_answer(body).unwrap();
    let out = json(&Dialect::OpenAiChat.encode_answer(&answer, &Face::default()));
    assert_eq!((out["choices"][0]["finish_reason"].as_str(), out["usage"]["prompt_tokens"].as_u64()), (Some("content_filter"), Some(7)));
    let mut translator = Translator::new(Dialect::Gemini, Dialect::OpenAiChat, Face::default());
    let mut out = translator.push(&[b"data: ", &body[..], b"\n\n"].concat());
    out.extend(translator.finish());
    assert!(String::from_utf8(out).unwrap().contains("\"finish_reason\":\"content_filter\""));
    assert!(translator.decoder().whole());
}

#[test]
fn pictures_that_a_tool_answers_follow_as_the_users_where_tools_answer_in_text() {
    let picture = value!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } });
    let body = value!({ "model": "m", "max_tokens": 5, "messages": [
        { "role": "user", "content": "look" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": "shot", "input": {} }, { "type": "tool_use", "id": "t2", "name": "shot", "input": {} }] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t1", "content": [{ "type": "text", "text": "done" }, picture] },
            { "type": "tool_result", "tool_use_id": "t2", "content": "two" },
        ] },
    ]});
    let request = Dialect::Anthropic.decode_request("", body.to_string().as_bytes()).unwrap();
    let out = json(&Dialect::OpenAiChat.encode_request(&request, &Target::new("m", 5)).unwrap().body);
    let roles: Vec<&str> = out["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "user"]);
    assert_eq!((out["messages"][2]["content"].as_str(), out["messages"][3]["content"].as_str()), (Some("done"), Some("two")));
    assert_eq!(out["messages"][4]["content"][0]["image_url"]["url"], "data:image/png;base64,AAAA");
    let out = json(&Dialect::Gemini.encode_request(&request, &Target::new("m", 5)).unwrap().body);
    assert_eq!(out["contents"][2]["parts"][0]["functionResponse"]["response"], value!({ "output": "done" }));
    assert_eq!(out["contents"][2]["parts"][1]["inlineData"]["data"], "AAAA");
    assert_eq!(request.remote_media(), 0);
}

#[test]
fn later_rules_join_the_first_where_they_stand_apart() {
    let body = value!({ "model": "m", "messages": [
        { "role": "system", "content": "one" }, { "role": "user", "content": "a" },
        { "role": "developer", "content": "two" }, { "role": "user", "content": "b" },
    ]});
    let request = Dialect::OpenAiChat.decode_request("", body.to_string().as_bytes()).unwrap();
    let to = |dialect: Dialect| json(&dialect.encode_request(&request, &Target::new("m", 5)).unwrap().body);
    let two = value!([{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }]);
    assert_eq!(to(Dialect::Anthropic)["system"], two);
    assert_eq!(to(Dialect::Gemini)["systemInstruction"]["parts"], value!([{ "text": "one" }, { "text": "two" }]));
    assert_eq!(to(Dialect::Gemini)["contents"], value!([{ "role": "user", "parts": [{ "text": "a" }, { "text": "b" }] }]));
    assert_eq!(to(Dialect::Bedrock)["messages"], value!([{ "role": "user", "content": [{ "text": "a" }, { "text": "b" }] }]));
    assert_eq!(to(Dialect::OpenAiResponses)["input"][1]["role"], "developer");
    let body = value!({ "model": "m", "input": [{ "role": "developer", "content": "one" }, { "role": "user", "content": "a" }] });
    let request = Dialect::OpenAiResponses.decode_request("", body.to_string().as_bytes()).unwrap();
    let out = json(&Dialect::OpenAiChat.encode_request(&request, &Target::new("m", 5)).unwrap().body);
    assert_eq!(out["messages"][0], value!({ "role": "system", "content": "one" }));
}

#[test]
fn arguments_that_are_no_object_are_kept_in_answers_and_refused_in_requests() {
    let call = value!({ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{broken" } });
    let answer = value!({ "choices": [{ "index": 0, "message": { "content": null, "tool_calls": [call] }, "finish_reason": "stop" }] });
    let answer = Dialect::OpenAiChat.decode_answer(answer.to_string().as_bytes()).unwrap();
    let out = json(&Dialect::Anthropic.encode_answer(&answer, &Face::default()));
    assert_eq!((out["content"][0]["input"].clone(), out["stop_reason"].as_str()), (value!({ "malformed": "{broken" }), Some("tool_use")));
    let body = value!({ "model": "m", "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "tool_calls": [call] }] });
    let request = Dialect::OpenAiChat.decode_request("", body.to_string().as_bytes()).unwrap();
    let refused = Dialect::Anthropic.encode_request(&request, &Target::new("m", 5)).unwrap_err();
    assert_eq!(refused.param, "messages[1].content[0].arguments");
}
