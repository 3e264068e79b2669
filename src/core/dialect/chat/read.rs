//! From a chat completion request to the common form.

use super::super::Dialect;
use super::super::common::{
    AnswerFormat, Body, CacheMark, Effort, Message, Part, Reasoning, Request, Role, Source, Tool, ToolChoice, ToolKind,
};
use super::super::fields::{Refused, body_of, each};
use super::super::json::{Fields, Json};
use super::super::media::mime_of_name;
use super::reasoning;

/// Reads a request.
pub(crate) fn decode_request(body: &[u8]) -> Result<Request, Refused> {
    let mut body = body_of(body)?;
    let mut request = Request::new(Dialect::OpenAiChat, body.need_text("model")?);
    request.messages = each(body.want_list("messages")?, "messages", message)?;
    if request.messages.is_empty() {
        return Err(Refused::new("messages", "must not be empty"));
    }
    request.tools = each(body.want_list("tools")?, "tools", tool)?;
    request.tool_choice = body.take("tool_choice").map(tool_choice);
    request.parallel_tools = body.want_bool("parallel_tool_calls")?;
    let sampling = &mut request.sampling;
    sampling.temperature = body.want_number("temperature")?;
    sampling.top_p = body.want_number("top_p")?;
    sampling.top_k = body.want_number("top_k")?;
    sampling.frequency_penalty = body.want_number("frequency_penalty")?;
    sampling.presence_penalty = body.want_number("presence_penalty")?;
    sampling.seed = body.want_number("seed")?;
    sampling.choices = body.want_u64("n")?;
    sampling.logprobs = body.want_bool("logprobs")?;
    sampling.top_logprobs = body.want_u64("top_logprobs")?;
    request.stop = body.want_texts("stop")?;
    request.format = match body.want_object("response_format")? {
        Some(format) => Some(answer_format(format).map_err(|e| e.within("response_format"))?),
        None => None,
    };
    if let Some(word) = body.want_text("reasoning_effort")? {
        let effort = Effort::read(&word).ok_or_else(|| Refused::new("reasoning_effort", format!("there is no effort `{word}`")))?;
        request.reasoning = Some(Reasoning { on: (effort == Effort::None).then_some(false), effort: Some(effort), ..Reasoning::default() });
    }
    request.stream = body.want_bool("stream")?.unwrap_or(false);
    if let Some(mut options) = body.want_object("stream_options")? {
        request.include_usage = options.want_bool("include_usage")?.unwrap_or(false);
        if !options.is_empty() {
            body.put("stream_options", options);
        }
    }
    request.user = body.want_text("user")?;
    // Where both are set, providers differ in which they heed: the larger is the bound. The older word
    // stays, so that a provider that knows only that gets it.
    let old = body.get("max_tokens").map(|n| n.as_u64().ok_or_else(|| Refused::new("max_tokens", "must be a whole number, not negative")));
    let old = old.transpose()?;
    request.max_output = body.want_u64("max_completion_tokens")?.max(old);
    request.extra = body;
    Ok(request)
}

fn message(mut fields: Fields) -> Result<Message, Refused> {
    let role = fields.need_text("role")?;
    let content = fields.take("content");
    let message = match role.as_str() {
        "system" => Message::new(Role::System, parts(content)?),
        "developer" => Message::new(Role::Developer, parts(content)?),
        "user" => Message::new(Role::User, parts(content)?),
        "assistant" => Message::new(Role::Assistant, assistant(content, &mut fields)?),
        "tool" => {
            let body = Body::ToolResult { id: fields.need_text("tool_call_id")?, name: None, parts: parts(content)?, failed: false };
            let cache = cache_mark(&mut fields);
            Message::new(Role::Tool, vec![Part { body, cache, extra: Fields::new() }])
        }
        other => return Err(Refused::new("role", format!("there is no role `{other}`"))),
    };
    Ok(Message { extra: fields, ..message })
}

fn assistant(content: Option<Json>, fields: &mut Fields) -> Result<Vec<Part>, Refused> {
    let mut all = reasoning::read(fields);
    all.extend(parts(content)?);
    if let Some(text) = fields.want_text("refusal")? {
        all.push(Part::new(Body::Refusal(text)));
    }
    all.extend(each(fields.want_list("tool_calls")?, "tool_calls", tool_call)?);
    Ok(all)
}

/// A tool call in a message; also of an answer.
pub(super) fn tool_call(mut fields: Fields) -> Result<Part, Refused> {
    let Some(mut function) = fields.take_object("function") else { return Ok(Part::new(Body::Opaque(fields))) };
    fields.take("type");
    let id = fields.need_text("id")?;
    let name = function.need_text("name").map_err(|e| e.within("function"))?;
    let arguments = function.want_text("arguments").map_err(|e| e.within("function"))?.unwrap_or_default();
    let signature = reasoning::take_call_signature(&mut fields);
    Ok(Part::new(Body::ToolCall { id, name, arguments, signature }).with(fields))
}

/// A message's content: text, or parts.
fn parts(content: Option<Json>) -> Result<Vec<Part>, Refused> {
    match content {
        None => Ok(Vec::new()),
        Some(Json::Text(text)) => Ok(vec![Part::text(text)]),
        Some(Json::List(items)) => each(items, "content", part),
        Some(_) => Err(Refused::new("content", "must be a string or an array of parts")),
    }
}

fn part(mut fields: Fields) -> Result<Part, Refused> {
    let cache = cache_mark(&mut fields);
    let kind = fields.text("type").ok_or_else(|| Refused::new("type", "is missing"))?.to_owned();
    let body = match kind.as_str() {
        "text" => Body::Text(fields.need_text("text")?),
        "refusal" => Body::Refusal(fields.need_text("refusal")?),
        "image_url" => {
            let mut image = fields.want_object("image_url")?.ok_or_else(|| Refused::new("image_url", "is missing"))?;
            let url = image.need_text("url").map_err(|e| e.within("image_url"))?;
            Body::Image { source: Source::from_url(&url), detail: image.want_text("detail").map_err(|e| e.within("image_url"))? }
        }
        "input_audio" => {
            let mut audio = fields.want_object("input_audio")?.ok_or_else(|| Refused::new("input_audio", "is missing"))?;
            let (data, format) = (audio.need_text("data"), audio.need_text("format"));
            Body::Audio { data: data.map_err(|e| e.within("input_audio"))?, format: format.map_err(|e| e.within("input_audio"))? }
        }
        "file" => file(fields.want_object("file")?.unwrap_or_default()).map_err(|e| e.within("file"))?,
        _ => return Ok(Part { body: Body::Opaque(fields), cache, extra: Fields::new() }),
    };
    fields.take("type");
    Ok(Part { body, cache, extra: fields })
}

fn file(mut file: Fields) -> Result<Body, Refused> {
    let name = file.want_text("filename")?;
    let source = match (file.want_text("file_data")?, file.want_text("file_id")?) {
        (Some(data), _) if data.starts_with("data:") => Source::from_url(&data),
        (Some(data), _) => {
            let mime = name.as_deref().and_then(mime_of_name).unwrap_or("application/pdf");
            Source::Base64 { mime: mime.to_owned(), data }
        }
        (None, Some(id)) => Source::Id(id),
        (None, None) => return Err(Refused::new("file_data", "is missing")),
    };
    Ok(Body::File { source, name })
}

/// `cache_control` as Anthropic writes it: OpenRouter and others take it in this format too.
fn cache_mark(fields: &mut Fields) -> Option<CacheMark> {
    let mut mark = fields.take_object("cache_control")?;
    Some(CacheMark { ttl: mark.take_text("ttl") })
}

fn tool(mut fields: Fields) -> Result<Tool, Refused> {
    let cache = cache_mark(&mut fields);
    let Some(mut function) = fields.want_object("function")? else {
        return Ok(Tool { kind: ToolKind::Opaque(fields), cache, extra: Fields::new() });
    };
    let inner = |e: Refused| e.within("function");
    let kind = ToolKind::Function {
        name: function.need_text("name").map_err(inner)?,
        description: function.want_text("description").map_err(inner)?,
        schema: function.want_object("parameters").map_err(inner)?.map(Json::Object),
        strict: function.want_bool("strict").map_err(inner)?,
    };
    fields.take("type");
    if !function.is_empty() {
        fields.put("function", function);
    }
    Ok(Tool { kind, cache, extra: fields })
}

fn tool_choice(value: Json) -> ToolChoice {
    match value.as_text() {
        Some("auto") => return ToolChoice::Auto,
        Some("none") => return ToolChoice::None,
        Some("required") => return ToolChoice::Any,
        _ => {}
    }
    let named = value.as_object().filter(|c| c.text("type") == Some("function"));
    let named = named.and_then(|c| c.get("function")).and_then(Json::as_object).and_then(|f| f.text("name")).map(str::to_owned);
    named.map_or(ToolChoice::Opaque(value), ToolChoice::Tool)
}

fn answer_format(mut fields: Fields) -> Result<AnswerFormat, Refused> {
    match fields.text("type") {
        Some("text") => Ok(AnswerFormat::Text),
        Some("json_object") => Ok(AnswerFormat::Json),
        Some("json_schema") => {
            let mut schema = fields.want_object("json_schema")?.ok_or_else(|| Refused::new("json_schema", "is missing"))?;
            let inner = |e: Refused| e.within("json_schema");
            Ok(AnswerFormat::Schema {
                name: schema.want_text("name").map_err(inner)?,
                description: schema.want_text("description").map_err(inner)?,
                strict: schema.want_bool("strict").map_err(inner)?,
                schema: schema.take("schema").unwrap_or_else(|| Fields::new().into()),
            })
        }
        _ => Ok(AnswerFormat::Opaque(fields.into())),
    }
}
