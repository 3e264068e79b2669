//! From a Responses request to the common form.

use super::super::Dialect;
use super::super::common::{AnswerFormat, Body, Effort, Message, Part, Reasoning, Request, Role, Source, Tool, ToolChoice, ToolKind};
use super::super::fields::{Refused, body_of, each};
use super::super::json::{Fields, Json, object};
use super::super::media::mime_of_name;
use super::reasoning;

/// Reads a request.
pub(crate) fn decode_request(body: &[u8]) -> Result<Request, Refused> {
    let mut body = body_of(body)?;
    let mut request = Request::new(Dialect::OpenAiResponses, body.need_text("model")?);
    if let Some(text) = body.want_text("instructions")? {
        request.messages.push(Message::new(Role::System, vec![Part::text(text)]));
    }
    match body.take("input") {
        None => {}
        Some(Json::Text(text)) => request.messages.push(Message::new(Role::User, vec![Part::text(text)])),
        Some(Json::List(items)) => {
            for message in each(items, "input", item)? {
                add(&mut request.messages, message);
            }
        }
        Some(_) => return Err(Refused::new("input", "must be a string or an array of items")),
    }
    // A stored prompt or conversation may bring all of the input.
    let stored = ["prompt", "conversation", "previous_response_id"].iter().any(|name| body.get(name).is_some());
    if !stored && !request.messages.iter().any(|m| !m.role.instructs()) {
        return Err(Refused::new("input", "is missing"));
    }
    request.tools = each(body.want_list("tools")?, "tools", tool)?;
    request.tool_choice = body.take("tool_choice").map(tool_choice);
    request.parallel_tools = body.want_bool("parallel_tool_calls")?;
    request.sampling.temperature = body.want_number("temperature")?;
    request.sampling.top_p = body.want_number("top_p")?;
    request.sampling.top_logprobs = body.want_u64("top_logprobs")?;
    request.max_output = body.want_u64("max_output_tokens")?;
    if let Some(mut text) = body.want_object("text")? {
        request.format = text.take_object("format").map(|f| answer_format(f).map_err(|e| e.within("text.format"))).transpose()?;
        if !text.is_empty() {
            body.put("text", text);
        }
    }
    if let Some(mut reasoning) = body.want_object("reasoning")? {
        let word = reasoning.want_text("effort").map_err(|e| e.within("reasoning"))?;
        let read =
            |word: String| Effort::read(&word).ok_or_else(|| Refused::new("reasoning.effort", format!("there is no effort `{word}`")));
        let effort = word.map(read).transpose()?;
        let show = reasoning.get("summary").map(|_| true);
        request.reasoning =
            Some(Reasoning { on: (effort == Some(Effort::None)).then_some(false), effort, budget: None, show, extra: reasoning });
    }
    request.stream = body.want_bool("stream")?.unwrap_or(false);
    request.include_usage = request.stream;
    request.user = body.want_text("user")?;
    request.extra = body;
    Ok(request)
}

/// Adds an item's message; what the model says in a row is one message.
fn add(messages: &mut Vec<Message>, mut message: Message) {
    match messages.last_mut() {
        Some(last) if message.role == Role::Assistant && last.role == Role::Assistant => last.parts.append(&mut message.parts),
        _ => messages.push(message),
    }
}

fn item(mut fields: Fields) -> Result<Message, Refused> {
    let kind = fields.text("type").unwrap_or("message").to_owned();
    match kind.as_str() {
        "message" => message(fields),
        "function_call" => Ok(Message::new(Role::Assistant, vec![call(fields)?])),
        "reasoning" => Ok(Message::new(Role::Assistant, vec![reasoning::read(fields)])),
        "function_call_output" => {
            fields.take("type");
            let id = fields.need_text("call_id")?;
            let parts = content(fields.take("output"), "output")?;
            let part = Part::new(Body::ToolResult { id, name: None, parts, failed: false });
            Ok(Message::new(Role::Tool, vec![part.with(fields)]))
        }
        // Reasoning that only OpenAI holds: to others it is reasoning without a word.
        "item_reference" if fields.text("id").is_some_and(|id| id.starts_with("rs_")) => {
            Ok(Message::new(Role::Assistant, vec![Part::new(Body::Thinking { text: String::new(), signature: None })]))
        }
        // Items of tools that OpenAI runs belong to the model's turn; references stand for anything.
        other => {
            let role = if other.ends_with("_output") || other == "item_reference" { Role::User } else { Role::Assistant };
            Ok(Message::new(role, vec![Part::new(Body::Opaque(fields))]))
        }
    }
}

/// A `function_call` item; also of an answer.
pub(super) fn call(mut fields: Fields) -> Result<Part, Refused> {
    fields.take("type");
    let id = fields.need_text("call_id")?;
    let name = fields.need_text("name")?;
    let arguments = fields.want_text("arguments")?.unwrap_or_default();
    let extra = if fields.is_empty() {
        Fields::new()
    } else {
        object! { "item": fields }
    };
    Ok(Part::new(Body::ToolCall { id, name, arguments, signature: None }).with(extra))
}

/// A `message` item; also of an answer.
pub(super) fn message(mut fields: Fields) -> Result<Message, Refused> {
    fields.take("type");
    let role = match fields.need_text("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        other => return Err(Refused::new("role", format!("there is no role `{other}`"))),
    };
    let mut parts = content(fields.take("content"), "content")?;
    if role != Role::Assistant {
        return Ok(Message { role, parts, extra: fields });
    }
    if let Some(first) = parts.first_mut().filter(|_| !fields.is_empty()) {
        first.extra.put("item", fields);
    }
    Ok(Message::new(role, parts))
}

fn content(value: Option<Json>, name: &str) -> Result<Vec<Part>, Refused> {
    match value {
        None => Ok(Vec::new()),
        Some(Json::Text(text)) => Ok(vec![Part::text(text)]),
        Some(Json::List(items)) => each(items, name, part),
        Some(_) => Err(Refused::new(name, "must be a string or an array of parts")),
    }
}

fn part(mut fields: Fields) -> Result<Part, Refused> {
    let kind = fields.text("type").ok_or_else(|| Refused::new("type", "is missing"))?.to_owned();
    let body = match kind.as_str() {
        "input_text" | "output_text" | "text" => Body::Text(fields.need_text("text")?),
        "refusal" => Body::Refusal(fields.need_text("refusal")?),
        "input_image" => {
            let source = match (fields.want_text("image_url")?, fields.want_text("file_id")?) {
                (Some(url), _) => Source::from_url(&url),
                (None, Some(id)) => Source::Id(id),
                (None, None) => return Err(Refused::new("image_url", "is missing")),
            };
            Body::Image { source, detail: fields.want_text("detail")? }
        }
        "input_file" => {
            let name = fields.want_text("filename")?;
            let source = match (fields.want_text("file_data")?, fields.want_text("file_url")?, fields.want_text("file_id")?) {
                (Some(data), _, _) if data.starts_with("data:") => Source::from_url(&data),
                (Some(data), _, _) => {
                    let mime = name.as_deref().and_then(mime_of_name).unwrap_or("application/pdf");
                    Source::Base64 { mime: mime.to_owned(), data }
                }
                (None, Some(url), _) => Source::Url(url),
                (None, None, Some(id)) => Source::Id(id),
                (None, None, None) => return Err(Refused::new("file_data", "is missing")),
            };
            Body::File { source, name }
        }
        _ => return Ok(Part::new(Body::Opaque(fields))),
    };
    fields.take("type");
    Ok(Part::new(body).with(fields))
}

fn tool(mut fields: Fields) -> Result<Tool, Refused> {
    if fields.text("type") != Some("function") {
        return Ok(Tool { kind: ToolKind::Opaque(fields), cache: None, extra: Fields::new() });
    }
    fields.take("type");
    let kind = ToolKind::Function {
        name: fields.need_text("name")?,
        description: fields.want_text("description")?,
        schema: fields.want_object("parameters")?.map(Json::Object),
        strict: fields.want_bool("strict")?,
    };
    Ok(Tool { kind, cache: None, extra: fields })
}

fn tool_choice(value: Json) -> ToolChoice {
    match value.as_text() {
        Some("auto") => return ToolChoice::Auto,
        Some("none") => return ToolChoice::None,
        Some("required") => return ToolChoice::Any,
        _ => {}
    }
    let named = value.as_object().filter(|c| c.text("type") == Some("function")).and_then(|c| c.text("name")).map(str::to_owned);
    named.map_or(ToolChoice::Opaque(value), ToolChoice::Tool)
}

fn answer_format(mut fields: Fields) -> Result<AnswerFormat, Refused> {
    match fields.text("type") {
        Some("text") => Ok(AnswerFormat::Text),
        Some("json_object") => Ok(AnswerFormat::Json),
        Some("json_schema") => Ok(AnswerFormat::Schema {
            name: fields.want_text("name")?,
            description: fields.want_text("description")?,
            strict: fields.want_bool("strict")?,
            schema: fields.take("schema").ok_or_else(|| Refused::new("schema", "is missing"))?,
        }),
        _ => Ok(AnswerFormat::Opaque(fields.into())),
    }
}
