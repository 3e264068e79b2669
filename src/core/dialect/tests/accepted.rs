//! What real providers refuse, and what is written instead.

use super::super::{Dialect, Encoded, Target};
use serde_json::{Value, json as value};

const CLAUDE: &str = "claude-sonnet-4-5";

fn from_to(from: Dialect, to: Dialect, target: &Target<'_>, body: &Value) -> (Value, String) {
    let request = from.decode_request("", body.to_string().as_bytes()).unwrap();
    let Encoded { body, dropped, .. } = to.encode_request(&request, target).unwrap();
    (serde_json::from_slice(&body).unwrap(), dropped.header())
}

fn chat_to(to: Dialect, model: &str, body: &Value) -> (Value, String) {
    from_to(Dialect::OpenAiChat, to, &Target::new(model, 99), body)
}

fn claude_to(to: Dialect, model: &str, body: &Value) -> (Value, String) {
    from_to(Dialect::Anthropic, to, &Target::new(model, 99), body)
}

fn hello(more: &Value) -> Value {
    let mut body = value!({ "model": "m", "max_tokens": 50, "messages": [{ "role": "user", "content": "hi" }] });
    more.as_object().unwrap().iter().for_each(|(name, v)| body[name] = v.clone());
    body
}

/// A conversation in which a tool was called and has answered, without tools declared.
fn called() -> Value {
    value!({ "model": "m", "messages": [
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": null, "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "look", "arguments": "{}" } }] },
        { "role": "tool", "tool_call_id": "c1", "content": "b" },
    ] })
}

#[test]
fn rules_alone_are_the_users() {
    let body = value!({ "model": "m", "messages": [{ "role": "system", "content": "Write a poem." }, { "role": "developer", "content": "In French." }] });
    let (anthropic, _) = chat_to(Dialect::Anthropic, CLAUDE, &body);
    assert_eq!(
        anthropic["messages"],
        value!([{ "role": "user", "content": "Write a poem." }, { "role": "user", "content": "In French." }])
    );
    assert_eq!(anthropic.get("system"), None);
    let (gemini, _) = chat_to(Dialect::Gemini, "gemini-2.5-flash", &body);
    assert_eq!(gemini["contents"], value!([{ "role": "user", "parts": [{ "text": "Write a poem." }, { "text": "In French." }] }]));
    let (bedrock, _) = chat_to(Dialect::Bedrock, "amazon.nova-pro", &body);
    assert_eq!(bedrock["messages"], value!([{ "role": "user", "content": [{ "text": "Write a poem." }, { "text": "In French." }] }]));
}

#[test]
fn blank_text_is_left_out_where_it_is_refused() {
    let body = value!({ "model": "m", "messages": [
        { "role": "user", "content": "a" }, { "role": "assistant", "content": " \n" }, { "role": "user", "content": [{ "type": "text", "text": "\t" }, { "type": "text", "text": " b " }] },
    ] });
    let (anthropic, _) = chat_to(Dialect::Anthropic, CLAUDE, &body);
    assert_eq!(anthropic["messages"], value!([{ "role": "user", "content": "a" }, { "role": "user", "content": " b " }]));
    let (bedrock, _) = chat_to(Dialect::Bedrock, "amazon.nova-pro", &body);
    assert_eq!(bedrock["messages"], value!([{ "role": "user", "content": [{ "text": "a" }, { "text": " b " }] }]));
}

#[test]
fn blank_stop_texts_are_dropped_for_claude() {
    let body = hello(&value!({ "stop": ["\n\n", "END"] }));
    let (anthropic, dropped) = chat_to(Dialect::Anthropic, CLAUDE, &body);
    assert_eq!((&anthropic["stop_sequences"], dropped.as_str()), (&value!(["END"]), "stop"));
    let (bedrock, dropped) = chat_to(Dialect::Bedrock, "anthropic.claude-sonnet-4-5-v1:0", &body);
    assert_eq!((&bedrock["inferenceConfig"]["stopSequences"], dropped.as_str()), (&value!(["END"]), "stop"));
    assert_eq!(chat_to(Dialect::Bedrock, "amazon.nova-pro", &body).0["inferenceConfig"]["stopSequences"], value!(["\n\n", "END"]));
}

#[test]
fn a_turn_of_nothing_but_anothers_reasoning_has_text() {
    let body = hello(&value!({ "messages": [
        { "role": "user", "content": "a" }, { "role": "assistant", "content": [{ "type": "thinking", "thinking": "t", "signature": "s" }] }, { "role": "user", "content": "b" },
    ] }));
    let (chat, dropped) = claude_to(Dialect::OpenAiChat, "gpt-4o", &body);
    assert_eq!((&chat["messages"][1], dropped.as_str()), (&value!({ "role": "assistant", "content": "" }), "thinking"));
}

#[test]
fn converse_wants_tools_that_were_called_declared() {
    let (bedrock, dropped) = chat_to(Dialect::Bedrock, "amazon.nova-pro", &called());
    let tools = value!([{ "toolSpec": { "name": "look", "inputSchema": { "json": { "type": "object", "properties": {} } } } }]);
    assert_eq!((&bedrock["toolConfig"]["tools"], dropped.as_str()), (&tools, ""));
    let (plain, _) = chat_to(Dialect::Bedrock, "amazon.nova-pro", &hello(&value!({})));
    assert_eq!(plain.get("toolConfig"), None);
}

#[test]
fn vertex_refuses_ids_of_calls() {
    for (no_call_ids, id) in [(false, value!("c1")), (true, Value::Null)] {
        let target = Target { no_call_ids, ..Target::new("gemini-2.5-flash", 99) };
        let (body, _) = from_to(Dialect::OpenAiChat, Dialect::Gemini, &target, &called());
        assert_eq!(
            [&body["contents"][1]["parts"][0]["functionCall"]["id"], &body["contents"][2]["parts"][0]["functionResponse"]["id"]],
            [&id, &id]
        );
        assert_eq!(body["contents"][2]["parts"][0]["functionResponse"]["name"], "look");
    }
}

#[test]
fn thinking_cannot_be_switched_off_everywhere() {
    let body = hello(&value!({ "reasoning_effort": "none" }));
    for (model, budget) in [("gemini-2.5-flash", 0), ("gemini-2.5-pro", 128)] {
        assert_eq!(chat_to(Dialect::Gemini, model, &body).0["generationConfig"]["thinkingConfig"], value!({ "thinkingBudget": budget }));
    }
    for (model, level) in [("gemini-3-flash-preview", "MINIMAL"), ("gemini-3.7-flash", "LOW"), ("gemini-3-pro", "LOW")] {
        assert_eq!(chat_to(Dialect::Gemini, model, &body).0["generationConfig"]["thinkingConfig"], value!({ "thinkingLevel": level }));
    }
    // A model that does not reason is told nothing, and that is worth a word only if it was to.
    let silent = |effort: &str| {
        let target = Target { reasons: super::super::reasons("gemini-2.0-flash"), ..Target::new("gemini-2.0-flash", 99) };
        let (body, dropped) = from_to(Dialect::OpenAiChat, Dialect::Gemini, &target, &hello(&value!({ "reasoning_effort": effort })));
        (body["generationConfig"].get("thinkingConfig").is_none(), dropped)
    };
    assert_eq!((silent("none"), silent("low")), ((true, String::new()), (true, "reasoning".to_owned())));
}

#[test]
fn openais_reasoning_models_get_no_sampling() {
    let body = hello(&value!({ "temperature": 0.2, "top_p": 1, "stop_sequences": ["X"] }));
    for to in [Dialect::OpenAiChat, Dialect::OpenAiResponses] {
        let (written, dropped) = claude_to(to, "o4-mini", &body);
        assert_eq!([written.get("temperature"), written.get("top_p"), written.get("stop")], [None, None, None]);
        assert_eq!(dropped, "stop, temperature");
    }
    let (written, dropped) = claude_to(Dialect::OpenAiChat, "gpt-4o", &body);
    assert_eq!((&written["temperature"], &written["stop"], dropped.as_str()), (&value!(0.2), &value!(["X"]), ""));
    // A caller in OpenAI's own words is told by OpenAI.
    assert_eq!(chat_to(Dialect::OpenAiChat, "o4-mini", &hello(&value!({ "temperature": 0.2 }))).0["temperature"], value!(0.2));
}

#[test]
fn names_of_end_users_that_would_be_refused_are_dropped() {
    let long = "u".repeat(65);
    for (user, kept) in [("u-1", true), (long.as_str(), false)] {
        let body = hello(&value!({ "metadata": { "user_id": user } }));
        for to in [Dialect::OpenAiChat, Dialect::OpenAiResponses] {
            let (written, dropped) = claude_to(to, "gpt-4o", &body);
            assert_eq!((written["user"].as_str(), dropped.as_str()), if kept { (Some(user), "") } else { (None, "user") });
        }
    }
    let quiet = Target { no_user: true, ..Target::new("mistral-large", 99) };
    let (written, dropped) = from_to(Dialect::Anthropic, Dialect::OpenAiChat, &quiet, &hello(&value!({ "metadata": { "user_id": "u" } })));
    assert_eq!((written.get("user"), dropped.as_str()), (None, "user"));
    for (user, kept) in [("u-1", true), ("a@b.example", false), ("+41 44 123 45 67", false), ("12345", true)] {
        let (written, dropped) = chat_to(Dialect::Anthropic, CLAUDE, &hello(&value!({ "user": user })));
        assert_eq!((written["metadata"]["user_id"].as_str(), dropped.as_str()), if kept { (Some(user), "") } else { (None, "user") });
    }
}

#[test]
fn schemas_are_written_as_their_readers_take_them() {
    let open = value!({ "type": "object", "properties": { "n": { "type": "integer", "minimum": 1 } }, "required": ["n"] });
    let closed = value!({ "type": "object", "properties": { "n": { "type": "integer", "description": "{minimum: 1}" } }, "required": ["n"], "additionalProperties": false });
    let strict_tool = value!([{ "type": "function", "function": { "name": "f", "strict": true, "parameters": open } }, { "type": "function", "function": { "name": "g", "parameters": open } }]);
    let format = value!({ "type": "json_schema", "json_schema": { "name": "x", "schema": open } });
    let body = hello(&value!({ "response_format": format, "tools": strict_tool }));
    let (written, dropped) = chat_to(Dialect::Anthropic, CLAUDE, &body);
    assert_eq!(written["output_config"]["format"]["schema"], closed);
    assert_eq!([&written["tools"][0]["input_schema"], &written["tools"][1]["input_schema"]], [&closed, &open]);
    assert_eq!(dropped, "schema.minimum");
    let text = |body: &Value| {
        serde_json::from_str::<Value>(body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"].as_str().unwrap()).unwrap()
    };
    assert_eq!(text(&chat_to(Dialect::Bedrock, "anthropic.claude-sonnet-4-5-v1:0", &body).0), closed);
    assert_eq!(text(&chat_to(Dialect::Bedrock, "amazon.nova-pro", &body).0), open);
    // Claude leaves properties out that are not required; OpenAI's strict schemas cannot.
    let may = value!({ "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "string" } }, "required": ["a"], "additionalProperties": false });
    let must = value!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"], "additionalProperties": false });
    for (schema, strict, told) in [(&may, None, "strict"), (&must, Some(true), "")] {
        let body = hello(&value!({ "output_config": { "format": { "type": "json_schema", "schema": schema } } }));
        let (written, dropped) = claude_to(Dialect::OpenAiChat, "gpt-4o", &body);
        assert_eq!((written["response_format"]["json_schema"]["strict"].as_bool(), dropped.as_str()), (strict, told));
        let (written, dropped) = claude_to(Dialect::OpenAiResponses, "gpt-4o", &body);
        assert_eq!((written["text"]["format"]["strict"].as_bool(), dropped.as_str()), (strict, told));
    }
}

#[test]
fn usage_is_asked_for_only_where_it_may_be() {
    let request = Dialect::Anthropic.decode_request("", hello(&value!({ "stream": true })).to_string().as_bytes()).unwrap();
    for include_usage in [true, false] {
        let asked = super::super::common::Request { include_usage, ..request.clone() };
        let out = Dialect::OpenAiChat.encode_request(&asked, &Target::new("m", 9)).unwrap();
        let body: Value = serde_json::from_slice(&out.body).unwrap();
        assert_eq!(body.get("stream_options").is_some(), include_usage);
    }
}
