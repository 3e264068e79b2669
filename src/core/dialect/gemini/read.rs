//! From a `generateContent` request to the common form.

use super::super::Dialect;
use super::super::common::{
    AnswerFormat, Body, Effort, Maker, Message, Part, Reasoning, Request, Role, Signature, Source, Tool, ToolChoice, ToolKind,
};
use super::super::fields::{Refused, body_of, each};
use super::super::json::{Fields, Json, object};
use super::super::path::read_segment;

/// Reads a request.
pub(crate) fn decode_request(path: &str, body: &[u8]) -> Result<Request, Refused> {
    let wrong = || Refused::new("", "the path must be /models/{model}:generateContent or :streamGenerateContent");
    let bare = path.split('?').next().unwrap_or(path);
    let (model, verb) = bare.rsplit_once("models/").and_then(|(_, rest)| rest.rsplit_once(':')).ok_or_else(wrong)?;
    let mut body = body_of(body)?;
    let mut request = Request::new(Dialect::Gemini, read_segment(model));
    request.stream = match verb {
        "generateContent" => false,
        "streamGenerateContent" => true,
        _ => return Err(wrong()),
    };
    request.include_usage = request.stream;
    if let Some(mut system) = body.want_object("systemInstruction")? {
        let parts = parts(&mut system, "gemini_system").map_err(|e| e.within("systemInstruction"))?;
        system.take("role");
        request.messages.push(Message { role: Role::System, parts, extra: system });
    }
    let mut turn = 0_u64;
    let contents = each(body.want_list("contents")?, "contents", |fields| {
        turn = turn.saturating_add(1);
        content(fields, turn)
    })?;
    if contents.is_empty() {
        return Err(Refused::new("contents", "must not be empty"));
    }
    request.messages.extend(contents);
    pair_results(&mut request.messages);
    let tools = each(body.want_list("tools")?, "tools", tools)?;
    request.tools = tools.into_iter().flatten().collect();
    if let Some(mut config) = body.want_object("toolConfig")? {
        request.tool_choice = config.want_object("functionCallingConfig").map_err(|e| e.within("toolConfig"))?.map(tool_choice);
        if !config.is_empty() {
            body.put("toolConfig", config);
        }
    }
    if let Some(mut config) = body.want_object("generationConfig")? {
        generation(&mut request, &mut config).map_err(|e| e.within("generationConfig"))?;
        if !config.is_empty() {
            body.put("generationConfig", config);
        }
    }
    request.extra = body;
    Ok(request)
}

fn generation(request: &mut Request, config: &mut Fields) -> Result<(), Refused> {
    let sampling = &mut request.sampling;
    sampling.temperature = config.want_number("temperature")?;
    sampling.top_p = config.want_number("topP")?;
    sampling.top_k = config.want_number("topK")?;
    sampling.frequency_penalty = config.want_number("frequencyPenalty")?;
    sampling.presence_penalty = config.want_number("presencePenalty")?;
    sampling.seed = config.want_number("seed")?;
    sampling.choices = config.want_u64("candidateCount")?;
    sampling.logprobs = config.want_bool("responseLogprobs")?;
    sampling.top_logprobs = config.want_u64("logprobs")?;
    request.max_output = config.want_u64("maxOutputTokens")?;
    request.stop = config.want_texts("stopSequences")?;
    let schema = config.take("responseJsonSchema").or_else(|| config.take("responseSchema").map(lower_types));
    request.format = match (config.text("responseMimeType"), schema) {
        (_, Some(schema)) => Some(AnswerFormat::Schema { name: None, description: None, schema, strict: None }),
        (Some("application/json"), None) => Some(AnswerFormat::Json),
        (Some("text/plain"), None) => Some(AnswerFormat::Text),
        _ => None,
    };
    if request.format.is_some() {
        config.take("responseMimeType");
    }
    if let Some(mut thinking) = config.want_object("thinkingConfig")? {
        let show = thinking.want_bool("includeThoughts")?;
        let budget = thinking.take_u64("thinkingBudget");
        let effort = thinking.want_text("thinkingLevel")?.and_then(|word| Effort::read(&word.to_ascii_lowercase()));
        let on = match budget {
            Some(0) => Some(false),
            Some(_) => Some(true),
            None => None,
        };
        request.reasoning = Some(Reasoning { on, effort, budget, show, extra: thinking });
    }
    Ok(())
}

fn content(mut fields: Fields, turn: u64) -> Result<Message, Refused> {
    let role = match fields.want_text("role")?.as_deref() {
        None | Some("user" | "function") => Role::User,
        Some("model") => Role::Assistant,
        Some("system") => Role::System,
        Some(other) => return Err(Refused::new("role", format!("there is no role `{other}`"))),
    };
    let parts = parts(&mut fields, &format!("call_{turn}"))?;
    Ok(Message { role, parts, extra: fields })
}

fn parts(fields: &mut Fields, prefix: &str) -> Result<Vec<Part>, Refused> {
    let mut n = 0_u64;
    each(fields.want_list("parts")?, "parts", |fields| {
        n = n.saturating_add(1);
        part(fields, &format!("{prefix}_{n}"))
    })
}

/// A part; also of an answer. `id` is for calls that have none.
pub(super) fn part(mut fields: Fields, id: &str) -> Result<Part, Refused> {
    let mut signature = fields.want_text("thoughtSignature")?.map(|text| Signature::from_wire(Maker::Gemini, &text));
    let body = if let Some(text) = fields.want_text("text")? {
        if fields.want_bool("thought")? == Some(true) { Body::Thinking { text, signature: signature.take() } } else { Body::Text(text) }
    } else if let Some(mut blob) = fields.want_object("inlineData")? {
        let (mime, data) = (blob.need_text("mimeType"), blob.need_text("data"));
        bytes(mime.map_err(|e| e.within("inlineData"))?, data.map_err(|e| e.within("inlineData"))?)
    } else if let Some(mut file) = fields.want_object("fileData")? {
        let source = Source::Url(file.need_text("fileUri").map_err(|e| e.within("fileData"))?);
        let picture = file.text("mimeType").is_some_and(|mime| mime.starts_with("image/"));
        if !file.is_empty() {
            fields.put("fileData", file);
        }
        if picture { Body::Image { source, detail: None } } else { Body::File { source, name: None } }
    } else if let Some(mut call) = fields.want_object("functionCall")? {
        let inner = |e: Refused| e.within("functionCall");
        Body::ToolCall {
            id: call.want_text("id").map_err(inner)?.unwrap_or_else(|| id.to_owned()),
            name: call.need_text("name").map_err(inner)?,
            arguments: call.take("args").map_or_else(|| "{}".to_owned(), |args| args.to_text()),
            signature: signature.take(),
        }
    } else if let Some(mut result) = fields.want_object("functionResponse")? {
        let inner = |e: Refused| e.within("functionResponse");
        let (parts, failed) = response(result.want_object("response").map_err(inner)?.unwrap_or_default());
        let (id, name) = (result.want_text("id").map_err(inner)?.unwrap_or_default(), Some(result.need_text("name").map_err(inner)?));
        if !result.is_empty() {
            fields.put("functionResponse", result);
        }
        Body::ToolResult { id, name, parts, failed }
    } else {
        fields.put_some("thoughtSignature", signature.map(|s| s.to_wire(Maker::Gemini)));
        return Ok(Part::new(Body::Opaque(fields)));
    };
    fields.put_some("thoughtSignature", signature.map(|s| s.to_wire(Maker::Gemini)));
    Ok(Part { body, cache: None, extra: fields })
}

/// What bytes are, by their media type.
fn bytes(mime: String, data: String) -> Body {
    if mime.starts_with("image/") {
        return Body::Image { source: Source::Base64 { mime, data }, detail: None };
    }
    match mime.strip_prefix("audio/") {
        Some(format) => Body::Audio { data, format: format.to_owned() },
        None => Body::File { source: Source::Base64 { mime, data }, name: None },
    }
}

/// What a tool answered: a lone text under `output` or `error` is that text.
fn response(fields: Fields) -> (Vec<Part>, bool) {
    let lone = if fields.iter().count() == 1 { fields.iter().next() } else { None };
    match lone {
        Some(("output", Json::Text(text))) => (vec![Part::text(text)], false),
        Some(("error", Json::Text(text))) => (vec![Part::text(text)], true),
        _ => (vec![Part::text(fields.to_text())], false),
    }
}

/// Gives results without an id the id of the first call of that name that has no result yet.
fn pair_results(messages: &mut [Message]) {
    let mut open: Vec<(String, String)> = Vec::new();
    for part in messages.iter_mut().flat_map(|m| &mut m.parts) {
        match &mut part.body {
            Body::ToolCall { id, name, .. } => open.push((name.clone(), id.clone())),
            Body::ToolResult { id, name: Some(name), .. } => {
                let at = open.iter().position(|(known, call)| known == name && (id.is_empty() || call == id));
                if let Some(at) = at {
                    let (_, call) = open.remove(at);
                    *id = call;
                }
            }
            _ => {}
        }
    }
}

/// A group of functions, or a tool of Google's own.
fn tools(mut fields: Fields) -> Result<Vec<Tool>, Refused> {
    let mut all = each(fields.want_list("functionDeclarations")?, "functionDeclarations", |mut function| {
        let kind = ToolKind::Function {
            name: function.need_text("name")?,
            description: function.want_text("description")?,
            schema: function.take("parametersJsonSchema").or_else(|| function.take("parameters").map(lower_types)),
            strict: None,
        };
        Ok(Tool { kind, cache: None, extra: function })
    })?;
    if !fields.is_empty() {
        all.push(Tool { kind: ToolKind::Opaque(fields), cache: None, extra: Fields::new() });
    }
    Ok(all)
}

fn tool_choice(config: Fields) -> ToolChoice {
    let names = config.get("allowedFunctionNames").and_then(Json::as_list).unwrap_or_default();
    match (config.text("mode"), names) {
        (Some("AUTO"), []) => ToolChoice::Auto,
        (Some("NONE"), []) => ToolChoice::None,
        (Some("ANY"), []) => ToolChoice::Any,
        (Some("ANY"), [Json::Text(name)]) => ToolChoice::Tool(name.clone()),
        _ => ToolChoice::Opaque(object! { "functionCallingConfig": config }.into()),
    }
}

/// Gemini's own schemas are JSON schemas whose types are in capitals.
fn lower_types(schema: Json) -> Json {
    match schema {
        Json::List(items) => Json::List(items.into_iter().map(lower_types).collect()),
        Json::Object(fields) => {
            let mut out = Fields::new();
            for (key, value) in fields.iter() {
                match (key, value) {
                    ("type", Json::Text(word)) => out.put("type", word.to_ascii_lowercase()),
                    ("enum" | "required" | "default" | "example", _) => out.put(key, value),
                    _ => out.put(key, lower_types(value.clone())),
                }
            }
            out.into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_own_schemas_become_json_schemas() {
        let body = br#"{"contents":[{"parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT","properties":{"type":{"type":"STRING","enum":["OBJECT"]}},"required":["type"]}}]}]}"#;
        let request = decode_request("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", body).unwrap();
        assert_eq!((request.model.as_str(), request.stream), ("gemini-2.5-flash", true));
        let Some(Tool { kind: ToolKind::Function { schema: Some(schema), .. }, .. }) = request.tools.first() else { panic!("no tool") };
        assert_eq!(schema.to_text(), r#"{"type":"object","properties":{"type":{"type":"string","enum":["OBJECT"]}},"required":["type"]}"#);
    }

    #[test]
    fn results_without_ids_find_their_calls_in_order() {
        let body = br#"{"contents":[{"role":"user","parts":[{"text":"x"}]},{"role":"model","parts":[{"functionCall":{"name":"f"}},{"functionCall":{"name":"f"}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"1"}}},{"functionResponse":{"name":"f","response":{"error":"2"}}}]}]}"#;
        let request = decode_request("/models/m:generateContent", body).unwrap();
        let results: Vec<_> = request.messages[2].parts.iter().map(|p| p.body.clone()).collect();
        assert!(matches!(&results[0], Body::ToolResult { id, failed: false, .. } if id == "call_2_1"));
        assert!(matches!(&results[1], Body::ToolResult { id, failed: true, .. } if id == "call_2_2"));
    }
}
