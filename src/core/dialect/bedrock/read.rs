//! From a Converse request to the common form.

use super::super::Dialect;
use super::super::common::{
    AnswerFormat, Body, CacheMark, Maker, Message, Part, Request, Role, Signature, Source, Tool, ToolChoice, ToolKind,
};
use super::super::fields::{Refused, body_of, each};
use super::super::json::{Fields, Json};
use super::super::media::mime_of_name;
use super::super::path::read_segment;

/// Reads a request.
pub(crate) fn decode_request(path: &str, body: &[u8]) -> Result<Request, Refused> {
    let wrong = || Refused::new("", "the path must be /model/{model}/converse or /model/{model}/converse-stream");
    let (model, verb) = path.rsplit_once("model/").and_then(|(_, rest)| rest.split_once('/')).ok_or_else(wrong)?;
    let mut body = body_of(body)?;
    let mut request = Request::new(Dialect::Bedrock, read_segment(model));
    request.stream = match verb {
        "converse" => false,
        "converse-stream" => true,
        _ => return Err(wrong()),
    };
    request.include_usage = request.stream;
    let system = blocks(body.want_list("system")?, "system")?;
    if !system.is_empty() {
        request.messages.push(Message::new(Role::System, system));
    }
    let messages = each(body.want_list("messages")?, "messages", message)?;
    if messages.is_empty() {
        return Err(Refused::new("messages", "must not be empty"));
    }
    request.messages.extend(messages);
    if let Some(mut config) = body.want_object("toolConfig")? {
        request.tools = tools(config.want_list("tools").map_err(|e| e.within("toolConfig"))?)?;
        request.tool_choice = config.take("toolChoice").map(tool_choice);
    }
    if let Some(mut config) = body.want_object("inferenceConfig")? {
        let inner = |e: Refused| e.within("inferenceConfig");
        request.max_output = config.want_u64("maxTokens").map_err(inner)?;
        request.sampling.temperature = config.want_number("temperature").map_err(inner)?;
        request.sampling.top_p = config.want_number("topP").map_err(inner)?;
        request.stop = config.want_texts("stopSequences").map_err(inner)?;
    }
    if let Some(mut output) = body.want_object("outputConfig")? {
        request.format = output.take_object("textFormat").map(answer_format);
        if !output.is_empty() {
            body.put("outputConfig", output);
        }
    }
    request.extra = body;
    Ok(request)
}

fn answer_format(format: Fields) -> AnswerFormat {
    let schema = format.get("structure").and_then(Json::as_object).and_then(|s| s.get("jsonSchema")).and_then(Json::as_object);
    let read = schema.and_then(|s| Some((s, Json::read(s.text("schema")?.as_bytes()).ok()?)));
    match read {
        Some((fields, schema)) => AnswerFormat::Schema {
            name: fields.text("name").map(str::to_owned),
            description: fields.text("description").map(str::to_owned),
            schema,
            strict: Some(true),
        },
        None => AnswerFormat::Opaque(format.into()),
    }
}

fn message(mut fields: Fields) -> Result<Message, Refused> {
    let role = match fields.need_text("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => return Err(Refused::new("role", format!("there is no role `{other}`"))),
    };
    let parts = blocks(fields.want_list("content")?, "content")?;
    Ok(Message { role, parts, extra: fields })
}

/// Blocks; a cache point marks the block before it.
pub(super) fn blocks(items: Vec<Json>, outer: &str) -> Result<Vec<Part>, Refused> {
    let mut all: Vec<Part> = Vec::new();
    for part in each(items, outer, block)? {
        match (&part.body, all.last_mut()) {
            (Body::Opaque(fields), Some(last)) if last.cache.is_none() && fields.get("cachePoint").is_some() => {
                let point = fields.get("cachePoint").and_then(Json::as_object);
                last.cache = Some(CacheMark { ttl: point.and_then(|p| p.text("ttl")).map(str::to_owned) });
            }
            _ => all.push(part),
        }
    }
    Ok(all)
}

/// A block; also of an answer.
fn block(mut fields: Fields) -> Result<Part, Refused> {
    let body = if let Some(text) = fields.want_text("text")? {
        Body::Text(text)
    } else if let Some(mut call) = fields.want_object("toolUse")? {
        let inner = |e: Refused| e.within("toolUse");
        Body::ToolCall {
            id: call.need_text("toolUseId").map_err(inner)?,
            name: call.need_text("name").map_err(inner)?,
            arguments: call.take("input").map_or_else(|| "{}".to_owned(), |input| input.to_text()),
            signature: None,
        }
    } else if let Some(mut result) = fields.want_object("toolResult")? {
        let inner = |e: Refused| e.within("toolResult");
        Body::ToolResult {
            id: result.need_text("toolUseId").map_err(inner)?,
            name: None,
            parts: blocks(result.want_list("content").map_err(inner)?, "content").map_err(inner)?,
            failed: result.take_text("status").as_deref() == Some("error"),
        }
    } else if let Some(body) = fields.get("reasoningContent").and_then(Json::as_object).and_then(reasoning) {
        body
    } else if let Some(source) = fields.get("image").and_then(Json::as_object).and_then(|i| bytes(i, "image/png")) {
        Body::Image { source, detail: None }
    } else if let Some((document, source)) =
        fields.get("document").and_then(Json::as_object).and_then(|d| Some((d, bytes(d, "application/pdf")?)))
    {
        Body::File { source, name: document.text("name").map(str::to_owned) }
    } else {
        return Ok(Part::new(Body::Opaque(fields)));
    };
    Ok(Part::new(body))
}

fn reasoning(content: &Fields) -> Option<Body> {
    if let Some(data) = content.text("redactedContent") {
        return Some(Body::Redacted(Signature::from_wire(Maker::Anthropic, data)));
    }
    let inner = content.get("reasoningText")?.as_object()?;
    let signature = inner.text("signature").map(|s| Signature::from_wire(Maker::Anthropic, s));
    Some(Body::Thinking { text: inner.text("text").unwrap_or_default().to_owned(), signature })
}

/// The bytes or the text of a picture or a document; other sources are this format's alone.
fn bytes(fields: &Fields, default: &str) -> Option<Source> {
    let source = fields.get("source")?.as_object()?;
    if fields.get("citations").is_some() || fields.get("context").is_some() {
        return None;
    }
    if let Some(text) = source.text("text") {
        return Some(Source::Text(text.to_owned()));
    }
    let format = fields.text("format").unwrap_or_default();
    let mime = mime_of_name(&format!(".{format}")).unwrap_or(default);
    Some(Source::Base64 { mime: mime.to_owned(), data: source.text("bytes")?.to_owned() })
}

fn tools(items: Vec<Json>) -> Result<Vec<Tool>, Refused> {
    let mut all: Vec<Tool> = Vec::new();
    for mut fields in each(items, "toolConfig.tools", Ok)? {
        if let (Some(point), Some(last)) = (fields.get("cachePoint").and_then(Json::as_object), all.last_mut()) {
            last.cache = Some(CacheMark { ttl: point.text("ttl").map(str::to_owned) });
            continue;
        }
        let kind = match fields.take_object("toolSpec") {
            Some(mut spec) => ToolKind::Function {
                name: spec.need_text("name").map_err(|e| e.within("toolConfig.tools"))?,
                description: spec.take_text("description"),
                schema: spec.take_object("inputSchema").and_then(|mut s| s.take("json")),
                strict: spec.take_bool("strict"),
            },
            None => ToolKind::Opaque(std::mem::take(&mut fields)),
        };
        all.push(Tool { kind, cache: None, extra: fields });
    }
    Ok(all)
}

fn tool_choice(choice: Json) -> ToolChoice {
    let Some(fields) = choice.as_object() else { return ToolChoice::Opaque(choice) };
    if fields.get("auto").is_some() {
        return ToolChoice::Auto;
    }
    if fields.get("any").is_some() {
        return ToolChoice::Any;
    }
    let name = fields.get("tool").and_then(Json::as_object).and_then(|t| t.text("name")).map(str::to_owned);
    name.map_or(ToolChoice::Opaque(choice), ToolChoice::Tool)
}
