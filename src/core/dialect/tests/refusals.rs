//! What a target has no words for is refused by name, or dropped by name; never in silence.

use super::super::common::WireError;
use super::super::{Dialect, Target};
use super::json;
use serde_json::{Value, json as value};

fn encoded(from: Dialect, to: Dialect, body: Value, model: &str) -> Result<(Value, String), String> {
    let request = from.decode_request("", body.to_string().as_bytes()).map_err(|e| e.param)?;
    let out = to.encode_request(&request, &Target::new(model, 1_000)).map_err(|e| e.param)?;
    Ok((json(&out.body), out.dropped.header()))
}

fn chat(extra: Value) -> Value {
    let mut body = value!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[test]
fn content_that_a_target_cannot_take_is_refused_with_its_place() {
    let part = |part: Value| {
        chat(
            value!({ "messages": [{ "role": "user", "content": "a" }, { "role": "user", "content": [{ "type": "text", "text": "b" }, part] }] }),
        )
    };
    let url = part(value!({ "type": "image_url", "image_url": { "url": "https://example.com/a.png" } }));
    let audio = part(value!({ "type": "input_audio", "input_audio": { "data": "AA==", "format": "wav" } }));
    let file = part(value!({ "type": "file", "file": { "file_id": "file-1" } }));
    let place = Err("messages[1].content[1]".to_owned());
    let refused = |body: &Value, to| encoded(Dialect::OpenAiChat, to, body.clone(), "m").map(|_| ());
    assert_eq!(refused(&url, Dialect::Bedrock), place);
    assert_eq!(refused(&url, Dialect::Anthropic), Ok(()));
    assert_eq!(refused(&audio, Dialect::Anthropic), place);
    assert_eq!(refused(&audio, Dialect::Gemini), Ok(()));
    for to in [Dialect::Anthropic, Dialect::Gemini, Dialect::Bedrock] {
        assert_eq!(refused(&file, to), place, "{to:?}");
    }
}

#[test]
fn what_changes_the_question_is_refused() {
    for (extra, param) in [
        (value!({ "n": 2 }), "n"),
        (value!({ "functions": [{ "name": "f" }] }), "functions"),
        (value!({ "modalities": ["text", "audio"] }), "modalities"),
        (value!({ "web_search_options": { "a": 1 } }), "web_search_options"),
        (value!({ "tools": [{ "type": "custom", "custom": { "name": "g" } }] }), "tools"),
        (value!({ "tool_choice": { "type": "allowed_tools" } }), "tool_choice"),
    ] {
        assert_eq!(encoded(Dialect::OpenAiChat, Dialect::Anthropic, chat(extra), "m").unwrap_err(), param);
    }
    assert!(
        encoded(Dialect::OpenAiChat, Dialect::Anthropic, chat(value!({ "modalities": ["text"], "n": 1, "functions": [] })), "m").is_ok()
    );
}

#[test]
fn what_is_dropped_is_named() {
    let body = chat(
        value!({ "seed": 1, "logprobs": true, "store": true, "frequency_penalty": 0.1, "max_tokens": 7, "response_format": { "type": "json_object" } }),
    );
    let (out, dropped) = encoded(Dialect::OpenAiChat, Dialect::Anthropic, body, "m").unwrap();
    assert_eq!(dropped, "frequency_penalty, logprobs, response_format, seed, store");
    assert_eq!(out["max_tokens"], 7);
    let (out, dropped) =
        encoded(Dialect::OpenAiChat, Dialect::Anthropic, chat(value!({ "temperature": 1.7 })), "claude-sonnet-4-5").unwrap();
    assert_eq!((out["temperature"].clone(), dropped.as_str()), (value!(1), "temperature"));
    assert_eq!(out["max_tokens"], 1_000);
    let both = chat(value!({ "temperature": 0.5, "top_p": 0.5, "top_k": 5 }));
    for (to, model) in [(Dialect::Anthropic, "claude-opus-4-6"), (Dialect::Bedrock, "us.anthropic.claude-opus-4-6-v1")] {
        assert_eq!(encoded(Dialect::OpenAiChat, to, both.clone(), model).unwrap().1, "top_p", "{to:?}");
    }
    for (to, model) in [(Dialect::Anthropic, "claude-opus-4-7"), (Dialect::Bedrock, "us.anthropic.claude-opus-5-v1")] {
        assert_eq!(encoded(Dialect::OpenAiChat, to, both.clone(), model).unwrap().1, "temperature, top_k, top_p", "{to:?}");
    }
    let (out, dropped) = encoded(Dialect::OpenAiChat, Dialect::Bedrock, both, "amazon.nova-pro-v1:0").unwrap();
    assert_eq!((out["inferenceConfig"]["topP"].clone(), dropped.as_str()), (value!(0.5), "top_k"));
}

#[test]
fn thinking_is_asked_for_in_the_models_own_words() {
    let ask = |extra: Value, to, model: &str| {
        let mut body = chat(value!({ "reasoning_effort": "medium", "max_completion_tokens": 20_000, "temperature": 0.5 }));
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        encoded(Dialect::OpenAiChat, to, body, model).unwrap()
    };
    let (out, dropped) = ask(value!({}), Dialect::Anthropic, "claude-sonnet-4-5");
    assert_eq!((out["thinking"].clone(), dropped.as_str()), (value!({ "type": "enabled", "budget_tokens": 8_192 }), "temperature"));
    let (out, _) = ask(value!({}), Dialect::Anthropic, "claude-opus-4-7");
    assert_eq!((out["thinking"]["type"].clone(), out["output_config"]["effort"].clone()), (value!("adaptive"), value!("medium")));
    let (out, dropped) = ask(value!({ "max_completion_tokens": 900 }), Dialect::Anthropic, "claude-sonnet-4-5");
    assert_eq!((out.get("thinking"), out["temperature"].clone(), dropped.as_str()), (None, value!(0.5), "reasoning"));
    let tools = value!({ "tools": [{ "type": "function", "function": { "name": "f" } }], "tool_choice": "required" });
    let (out, dropped) = ask(tools, Dialect::Anthropic, "claude-opus-4-7");
    assert_eq!((out.get("thinking"), dropped.as_str()), (None, "reasoning, temperature"));
    let (out, _) = ask(value!({}), Dialect::Bedrock, "us.anthropic.claude-sonnet-4-5-v1:0");
    assert_eq!(out["additionalModelRequestFields"]["thinking"]["budget_tokens"], 8_192);
    let (out, _) = ask(value!({}), Dialect::Gemini, "gemini-2.5-pro");
    assert_eq!(out["generationConfig"]["thinkingConfig"], value!({ "thinkingBudget": 8_192 }));
    let (out, _) = ask(value!({}), Dialect::Gemini, "gemini-3-pro");
    assert_eq!(out["generationConfig"]["thinkingConfig"], value!({ "thinkingLevel": "MEDIUM" }));
    for (model, least) in [("gemini-3-pro", "LOW"), ("gemini-3-flash", "MINIMAL")] {
        let (out, _) = ask(value!({ "reasoning_effort": "none" }), Dialect::Gemini, model);
        assert_eq!(out["generationConfig"]["thinkingConfig"], value!({ "thinkingLevel": least }));
    }
}

#[test]
fn a_wish_to_see_reasoning_does_not_switch_it_on() {
    let body = value!({ "model": "m", "input": "hi", "reasoning": { "summary": "auto" } });
    let (out, dropped) = encoded(Dialect::OpenAiResponses, Dialect::Anthropic, body, "claude-opus-4-7").unwrap();
    assert_eq!((out.get("thinking"), dropped.as_str()), (None, "reasoning"));
    let body =
        value!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }], "output_config": { "effort": "low" } });
    let (out, dropped) = encoded(Dialect::Anthropic, Dialect::Bedrock, body, "anthropic.claude-opus-4-7").unwrap();
    assert_eq!((out.get("additionalModelRequestFields"), dropped.as_str()), (None, "output_config.effort"));
}

#[test]
fn a_model_that_does_not_reason_is_not_told_to() {
    let body =
        br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"thinking":{"type":"enabled","budget_tokens":2048}}"#;
    let request = Dialect::Anthropic.decode_request("", body).unwrap();
    for to in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Gemini, Dialect::Bedrock] {
        let told = |reasons| to.encode_request(&request, &Target { reasons, ..Target::new("gemini-2.5-claude-opus-4-6", 5_000) }).unwrap();
        let words = |out: &super::super::Encoded| ["reasoning", "thinking"].iter().any(|w| String::from_utf8_lossy(&out.body).contains(w));
        assert!(words(&told(true)) && !words(&told(false)), "{to:?}");
        assert_eq!(told(false).dropped.header(), "reasoning", "{to:?}");
    }
}

#[test]
fn signatures_are_shown_to_their_makers_only() {
    let details = value!([{ "type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": "anthropic-claude-v1" }]);
    let body = chat(
        value!({ "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b", "reasoning_details": details }, { "role": "user", "content": "c" }] }),
    );
    let (out, dropped) = encoded(Dialect::OpenAiChat, Dialect::Anthropic, body.clone(), "m").unwrap();
    assert_eq!(out["messages"][1]["content"][0], value!({ "type": "thinking", "thinking": "Hm.", "signature": "c2ln" }));
    assert_eq!(dropped, "");
    let (out, dropped) = encoded(Dialect::OpenAiChat, Dialect::Gemini, body, "gemini-3-pro").unwrap();
    assert_eq!((out["contents"][1]["parts"].clone(), dropped.as_str()), (value!([{ "text": "b" }]), "thinking"));

    // A Gemini call's signature goes through a Messages client and back to Gemini.
    let answer = br#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}},"thoughtSignature":"Z3M="}]},"finishReason":"STOP"}],"responseId":"r"}"#;
    let answer = Dialect::Gemini.decode_answer(answer).unwrap();
    let message = json(&Dialect::Anthropic.encode_answer(&answer, &super::super::Face::default()));
    let id = message["content"][1]["id"].clone();
    let body = value!({ "model": "m", "max_tokens": 5, "messages": [
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": message["content"] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id, "content": "done" }] },
    ]});
    let (out, _) = encoded(Dialect::Anthropic, Dialect::Gemini, body.clone(), "gemini-3-pro").unwrap();
    assert_eq!(out["contents"][1]["parts"][0]["thoughtSignature"], "Z3M=");
    assert_eq!(out["contents"][1]["parts"].as_array().unwrap().len(), 1);
    assert_eq!(out["contents"][2]["parts"][0]["functionResponse"]["response"], value!({ "output": "done" }));
    let (out, dropped) = encoded(Dialect::Anthropic, Dialect::Bedrock, body, "anthropic.claude-x").unwrap();
    assert_eq!((out["messages"][1]["content"].as_array().unwrap().len(), dropped.as_str()), (1, "thinking"));
}

#[test]
fn wrong_requests_are_refused_by_field() {
    for (dialect, path, body, param) in [
        (Dialect::OpenAiChat, "", r#"{"messages":[]}"#, "model"),
        (Dialect::OpenAiChat, "", r#"{"model":"m","messages":[]}"#, "messages"),
        (
            Dialect::OpenAiChat,
            "",
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#,
            "messages[0].content[0].image_url.url",
        ),
        (Dialect::OpenAiChat, "", r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#, "messages[0].tool_call_id"),
        (Dialect::OpenAiChat, "", r#"{"model":"m","messages":[{"role":"u"}]}"#, "messages[0].role"),
        (Dialect::Anthropic, "", r#"{"model":"m","messages":[{"role":"user","content":[{"text":"x"}]}]}"#, "messages[0].content[0].type"),
        (Dialect::Anthropic, "", r#"{"model":"m","messages":[{"role":"user","content":5}]}"#, "messages[0].content"),
        (Dialect::Anthropic, "", r#"{"model":"m","max_tokens":-1,"messages":[{"role":"user","content":"x"}]}"#, "max_tokens"),
        (Dialect::Gemini, "/models/x:generateContent", r#"{"contents":[{"parts":[{"text":5}]}]}"#, "contents[0].parts[0].text"),
        (Dialect::Gemini, "/models/x", "{}", ""),
        (
            Dialect::Bedrock,
            "/model/x/converse",
            r#"{"messages":[{"role":"user","content":[{"toolUse":{}}]}]}"#,
            "messages[0].content[0].toolUse.toolUseId",
        ),
        (Dialect::Bedrock, "/model/x/invoke", "{}", ""),
        (Dialect::OpenAiChat, "", "[]", ""),
        (Dialect::OpenAiChat, "", "{", ""),
    ] {
        assert_eq!(dialect.decode_request(path, body.as_bytes()).unwrap_err().param, param, "{body}");
    }
}

#[test]
fn errors_keep_their_meaning_in_every_format() {
    for (from, body, kind) in [
        (Dialect::OpenAiChat, r#"{"error":{"message":"m","type":"rate_limit_error","code":"x","param":null}}"#, "rate_limit_error"),
        (Dialect::Anthropic, r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, "api_error"),
        (Dialect::Anthropic, r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"}}"#, "invalid_request_error"),
        (Dialect::Gemini, r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#, "rate_limit_error"),
        (Dialect::Bedrock, r#"{"message":"m","__type":"com.amazon.coral.service#ThrottlingException"}"#, "rate_limit_error"),
    ] {
        let error = from.decode_error(body.as_bytes());
        assert_eq!((error.message.as_str(), error.openai_kind()), ("m", kind), "{body}");
        let out = json(&Dialect::OpenAiChat.encode_error(429, &error));
        assert_eq!((out["error"]["type"].as_str(), out["error"]["message"].as_str()), (Some(kind), Some("m")));
        let out = json(&Dialect::Anthropic.encode_error(429, &error));
        assert_eq!((out["type"].as_str(), out["error"]["message"].as_str()), (Some("error"), Some("m")));
        assert_eq!(from.decode_error(&from.encode_error(429, &error)).openai_kind(), kind);
    }
    let page = Dialect::OpenAiChat.decode_error(b"<html>\n<b>502</b></html>");
    assert_eq!(page, WireError { message: "<html><b>502</b></html>".into(), ..WireError::default() });
}
