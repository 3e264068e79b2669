//! From a Messages request to the common form.

use super::super::Dialect;
use super::super::common::{
    AnswerFormat, Body, CacheMark, Effort, Maker, Message, Part, Reasoning, Request, Role, Signature, Source, Tool, ToolChoice, ToolKind,
};
use super::super::fields::{Refused, body_of, each};
use super::super::json::{Fields, Json};

/// Reads a request; also one that only counts tokens, which has no `max_tokens`.
pub(crate) fn decode_request(body: &[u8]) -> Result<Request, Refused> {
    let mut body = body_of(body)?;
    let mut request = Request::new(Dialect::Anthropic, body.need_text("model")?);
    let system = content(body.take("system"), "system")?;
    if !system.is_empty() {
        request.messages.push(Message::new(Role::System, system));
    }
    let messages = each(body.want_list("messages")?, "messages", message)?;
    if messages.is_empty() {
        return Err(Refused::new("messages", "must not be empty"));
    }
    request.messages.extend(messages);
    request.tools = each(body.want_list("tools")?, "tools", tool)?;
    if let Some(mut choice) = body.want_object("tool_choice")? {
        request.parallel_tools = choice.want_bool("disable_parallel_tool_use").map_err(|e| e.within("tool_choice"))?.map(|off| !off);
        request.tool_choice = Some(match (choice.text("type"), choice.text("name")) {
            (Some("auto"), _) => ToolChoice::Auto,
            (Some("none"), _) => ToolChoice::None,
            (Some("any"), _) => ToolChoice::Any,
            (Some("tool"), Some(name)) => ToolChoice::Tool(name.to_owned()),
            _ => ToolChoice::Opaque(choice.into()),
        });
    }
    request.sampling.temperature = body.want_number("temperature")?;
    request.sampling.top_p = body.want_number("top_p")?;
    request.sampling.top_k = body.want_number("top_k")?;
    request.max_output = body.want_u64("max_tokens")?;
    request.stop = body.want_texts("stop_sequences")?;
    request.stream = body.want_bool("stream")?.unwrap_or(false);
    request.include_usage = request.stream;
    if let Some(thinking) = body.want_object("thinking")? {
        request.reasoning = Some(reasoning(thinking).map_err(|e| e.within("thinking"))?);
    }
    if let Some(mut output) = body.want_object("output_config")? {
        let inner = |e: Refused| e.within("output_config");
        if let Some(word) = output.want_text("effort").map_err(inner)? {
            let effort = Effort::read(&word).ok_or_else(|| Refused::new("output_config.effort", format!("there is no effort `{word}`")))?;
            request.reasoning.get_or_insert_with(Reasoning::default).effort = Some(effort);
        }
        request.format = output.want_object("format").map_err(inner)?.map(|mut format| match (format.text("type"), format.get("schema")) {
            (Some("json_schema"), Some(_)) => AnswerFormat::Schema {
                name: None,
                description: None,
                schema: format.take("schema").unwrap_or_default(),
                strict: Some(true),
            },
            _ => AnswerFormat::Opaque(format.into()),
        });
        if !output.is_empty() {
            body.put("output_config", output);
        }
    }
    if let Some(mut metadata) = body.want_object("metadata")? {
        request.user = metadata.want_text("user_id").map_err(|e| e.within("metadata"))?;
        if !metadata.is_empty() {
            body.put("metadata", metadata);
        }
    }
    request.extra = body;
    Ok(request)
}

fn reasoning(mut thinking: Fields) -> Result<Reasoning, Refused> {
    let on = match thinking.text("type") {
        Some("enabled" | "adaptive") => Some(true),
        Some("disabled") => Some(false),
        // A way of thinking that only this format knows stays whole.
        _ => return Ok(Reasoning { extra: thinking, ..Reasoning::default() }),
    };
    thinking.take("type");
    let budget = thinking.want_u64("budget_tokens")?;
    let show = thinking.text("display").map(|word| word != "omitted");
    Ok(Reasoning { on, effort: None, budget, show, extra: thinking })
}

fn message(mut fields: Fields) -> Result<Message, Refused> {
    let role = match fields.need_text("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => return Err(Refused::new("role", format!("there is no role `{other}`"))),
    };
    let parts = content(fields.take("content"), "content")?;
    Ok(Message { role, parts, extra: fields })
}

fn content(value: Option<Json>, name: &str) -> Result<Vec<Part>, Refused> {
    match value {
        None => Ok(Vec::new()),
        Some(Json::Text(text)) => Ok(vec![Part::text(text)]),
        Some(Json::List(blocks)) => each(blocks, name, block),
        Some(_) => Err(Refused::new(name, "must be a string or an array of blocks")),
    }
}

/// A block of content; also of an answer.
pub(super) fn block(mut fields: Fields) -> Result<Part, Refused> {
    let cache = cache_mark(&mut fields);
    let body = match fields.text("type") {
        Some("text") => Body::Text(fields.need_text("text")?),
        Some("image") => match source(&mut fields)? {
            Some(source) => Body::Image { source, detail: None },
            None => return Ok(Part { body: Body::Opaque(fields), cache, extra: Fields::new() }),
        },
        Some("document") => match source(&mut fields)? {
            Some(source) => Body::File { source, name: fields.want_text("title")? },
            None => return Ok(Part { body: Body::Opaque(fields), cache, extra: Fields::new() }),
        },
        Some("tool_use") => Body::ToolCall {
            id: fields.need_text("id")?,
            name: fields.need_text("name")?,
            arguments: fields.take("input").map_or_else(|| "{}".to_owned(), |input| input.to_text()),
            signature: None,
        },
        Some("tool_result") => Body::ToolResult {
            id: fields.need_text("tool_use_id")?,
            name: None,
            parts: content(fields.take("content"), "content")?,
            failed: fields.want_bool("is_error")?.unwrap_or(false),
        },
        Some("thinking") => Body::Thinking {
            text: fields.need_text("thinking")?,
            signature: fields.want_text("signature")?.filter(|s| !s.is_empty()).map(|s| Signature::from_wire(Maker::Anthropic, &s)),
        },
        Some("redacted_thinking") => Body::Redacted(Signature::from_wire(Maker::Anthropic, &fields.need_text("data")?)),
        Some(_) => return Ok(Part { body: Body::Opaque(fields), cache, extra: Fields::new() }),
        None => return Err(Refused::new("type", "is missing")),
    };
    fields.take("type");
    Ok(Part { body, cache, extra: fields })
}

/// Takes a source that other formats have too; others are left.
fn source(fields: &mut Fields) -> Result<Option<Source>, Refused> {
    let Some(mut source) = fields.want_object("source")? else { return Err(Refused::new("source", "is missing")) };
    let inner = |e: Refused| e.within("source");
    let read = match source.text("type") {
        Some("base64") => {
            Source::Base64 { mime: source.need_text("media_type").map_err(inner)?, data: source.need_text("data").map_err(inner)? }
        }
        Some("url") => Source::Url(source.need_text("url").map_err(inner)?),
        Some("text") => Source::Text(source.need_text("data").map_err(inner)?),
        Some("file") => Source::Id(source.need_text("file_id").map_err(inner)?),
        _ => {
            fields.put("source", source);
            return Ok(None);
        }
    };
    Ok(Some(read))
}

fn cache_mark(fields: &mut Fields) -> Option<CacheMark> {
    let mut mark = fields.take_object("cache_control")?;
    Some(CacheMark { ttl: mark.take_text("ttl") })
}

fn tool(mut fields: Fields) -> Result<Tool, Refused> {
    let cache = cache_mark(&mut fields);
    if !matches!(fields.text("type"), None | Some("custom")) {
        return Ok(Tool { kind: ToolKind::Opaque(fields), cache, extra: Fields::new() });
    }
    fields.take("type");
    let kind = ToolKind::Function {
        name: fields.need_text("name")?,
        description: fields.want_text("description")?,
        schema: fields.want_object("input_schema")?.map(Json::Object),
        strict: fields.want_bool("strict")?,
    };
    Ok(Tool { kind, cache, extra: fields })
}
