//! From the common form to a chat completion request.

use super::super::common::{AnswerFormat, Body, CacheMark, Effort, Message, Part, Request, Role, Source, Tool, ToolChoice, ToolKind};
use super::super::fields::{Dropped, Refused};
use super::super::foreign::{user, without_sampling};
use super::super::json::{Fields, Json, object};
use super::super::media::ending_of_mime;
use super::super::models::samples_alone;
use super::super::schema::{format_for_openai, tool_for_openai};
use super::super::{Dialect, Encoded, Target};
use super::{MAX_USER, reasoning};

/// Writes a request.
pub(crate) fn encode_request(request: &Request, target: &Target<'_>) -> Result<Encoded, Refused> {
    let mut to = Writer { own: request.origin == Dialect::OpenAiChat, foreign: !request.origin.is_openais(), dropped: Dropped::default() };
    let mut messages = Vec::new();
    for (at, message) in request.messages.iter().enumerate() {
        to.message(message, &mut messages).map_err(|e| e.within(&format!("messages[{at}]")))?;
    }
    let alone = to.foreign && samples_alone(request, target.model);
    let quiet;
    let request = if alone {
        quiet = without_sampling(request, &mut to.dropped);
        &quiet
    } else {
        request
    };
    let mut body = object! { "model": target.model, "messages": messages };
    if !request.tools.is_empty() {
        let tools: Result<Vec<Fields>, Refused> = request.tools.iter().map(|tool| to.tool(tool)).collect();
        body.put("tools", tools.map_err(|e| e.within("tools"))?);
    }
    match &request.tool_choice {
        Some(ToolChoice::Opaque(_)) if !to.own => return Err(Refused::new("tool_choice", "cannot be said to this target")),
        choice => body.put_some("tool_choice", choice.as_ref().map(tool_choice)),
    }
    body.put_some("parallel_tool_calls", request.parallel_tools.filter(|_| !request.tools.is_empty() || to.own));
    let sampling = &request.sampling;
    body.put_some("temperature", sampling.temperature.as_ref());
    body.put_some("top_p", sampling.top_p.as_ref());
    if to.own {
        body.put_some("top_k", sampling.top_k.as_ref());
    } else {
        to.dropped.add_if(sampling.top_k.is_some(), "top_k");
    }
    body.put_some("frequency_penalty", sampling.frequency_penalty.as_ref());
    body.put_some("presence_penalty", sampling.presence_penalty.as_ref());
    body.put_some("seed", sampling.seed.as_ref());
    body.put_some("n", sampling.choices);
    body.put_some("logprobs", sampling.logprobs);
    body.put_some("top_logprobs", sampling.top_logprobs);
    let old_word = if to.own { request.extra.get("max_tokens").and_then(Json::as_u64) } else { None };
    if target.only_max_tokens {
        body.put_some("max_tokens", request.max_output);
    } else if request.max_output != old_word {
        body.put_some("max_completion_tokens", request.max_output);
    }
    if !request.stop.is_empty() {
        body.put("stop", request.stop.clone());
    }
    match &request.format {
        Some(AnswerFormat::Opaque(_)) if !to.own => return Err(Refused::new("response_format", "cannot be said to this target")),
        Some(format) if to.foreign => body.put("response_format", answer_format(&format_for_openai(format, &mut to.dropped))),
        format => body.put_some("response_format", format.as_ref().map(answer_format)),
    }
    if let Some(reasoning) = &request.reasoning {
        let effort = match reasoning.on {
            Some(false) => Some(Effort::None),
            _ => reasoning.effort.or(reasoning.budget.map(Effort::of_budget)),
        };
        body.put_some("reasoning_effort", effort.map(Effort::word));
    }
    if request.stream {
        body.put("stream", true);
        if request.include_usage {
            body.put("stream_options", object! { "include_usage": true });
        }
    }
    body.put_some(
        "user",
        if to.own { request.user.as_ref() } else { user(request, if target.no_user { 0 } else { MAX_USER }, &mut to.dropped) },
    );
    to.rest(&mut body, &request.extra, "");
    Ok(Encoded { path: "/chat/completions".into(), body: body.to_text().into_bytes(), dropped: to.dropped })
}

struct Writer {
    own: bool,
    foreign: bool,
    dropped: Dropped,
}

impl Writer {
    /// Fields that only one format knows: its own get them back.
    fn rest(&mut self, out: &mut Fields, extra: &Fields, outer: &str) {
        if self.own { out.fill(extra.clone()) } else { self.dropped.add_fields(outer, extra) }
    }

    fn mark(&mut self, out: &mut Fields, mark: Option<&CacheMark>) {
        let Some(mark) = mark else { return };
        if self.own {
            let mut control = object! { "type": "ephemeral" };
            control.put_some("ttl", mark.ttl.as_ref());
            out.put("cache_control", control);
        } else {
            self.dropped.add("cache_control");
        }
    }

    /// A message; results of tools in it become messages of their own, before the rest.
    fn message(&mut self, message: &Message, out: &mut Vec<Fields>) -> Result<(), Refused> {
        let role = match message.role {
            Role::System => "system",
            // OpenAI reads `system` as `developer` where it must; others know only the first.
            Role::Developer if self.own => "developer",
            Role::Developer => "system",
            Role::User | Role::Tool => "user",
            Role::Assistant => return self.assistant(message, out),
        };
        let mut content = Vec::new();
        for part in &message.parts {
            let Body::ToolResult { id, parts, failed, .. } = &part.body else {
                content.push(self.part(part)?);
                continue;
            };
            let (mut texts, mut others) = (Vec::new(), Vec::new());
            for inner in parts {
                let written = self.part(inner)?;
                // A tool's message holds text only: pictures and documents follow as the user's.
                if written.text("type") == Some("text") { texts.push(written) } else { others.push(written) }
            }
            self.dropped.add_if(*failed, "is_error");
            let mut tool = object! { "role": "tool", "tool_call_id": id, "content": content_of(texts) };
            self.mark(&mut tool, part.cache.as_ref());
            self.rest(&mut tool, &part.extra, "messages[]");
            if message.role == Role::Tool {
                self.rest(&mut tool, &message.extra, "messages[]");
            }
            out.push(tool);
            content.extend(others);
        }
        if content.is_empty() && message.parts.iter().any(|p| matches!(p.body, Body::ToolResult { .. })) {
            return Ok(());
        }
        let mut written = object! { "role": role, "content": content_of(content) };
        self.rest(&mut written, &message.extra, "messages[]");
        out.push(written);
        Ok(())
    }

    fn assistant(&mut self, message: &Message, out: &mut Vec<Fields>) -> Result<(), Refused> {
        let (mut content, mut calls, mut refusal) = (Vec::new(), Vec::new(), None);
        let (mut thoughts, mut details) = (String::new(), Vec::new());
        for (at, part) in (0_u64..).zip(&message.parts) {
            match &part.body {
                Body::ToolCall { id, name, arguments, signature } => {
                    let function = object! { "name": name, "arguments": if arguments.is_empty() { "{}" } else { arguments } };
                    let mut call = object! { "id": id, "type": "function", "function": function };
                    call.put_some("extra_content", reasoning::call_signature(signature.as_ref()).filter(|_| self.own));
                    self.mark(&mut call, part.cache.as_ref());
                    self.rest(&mut call, &part.extra, "messages[].tool_calls[]");
                    calls.push(call);
                }
                Body::Opaque(call) if self.own && part.body.kind() != "unknown" && call.get("id").is_some() => calls.push(call.clone()),
                Body::Refusal(text) => refusal = Some(text),
                Body::Thinking { text, signature } if self.own => {
                    thoughts.push_str(text);
                    details.extend(reasoning::written(text, signature.as_ref(), at));
                }
                Body::Redacted(data) if self.own => details.push(reasoning::written_redacted(data, at)),
                Body::Thinking { .. } | Body::Redacted(_) => self.dropped.add("thinking"),
                _ => content.push(self.part(part)?),
            }
        }
        let mut written = object! { "role": "assistant" };
        match (content.is_empty(), calls.is_empty()) {
            (false, _) => written.put("content", content_of(content)),
            // Without calls it must not be absent.
            (true, true) if refusal.is_none() && !self.own => written.put("content", ""),
            (true, _) if refusal.is_none() => written.put("content", Json::Null),
            (true, _) => {}
        }
        written.put_some("refusal", refusal);
        if !thoughts.is_empty() {
            written.put("reasoning_content", thoughts);
        }
        if !details.is_empty() {
            written.put("reasoning_details", details);
        }
        if !calls.is_empty() {
            written.put("tool_calls", calls);
        }
        self.rest(&mut written, &message.extra, "messages[]");
        out.push(written);
        Ok(())
    }

    fn part(&mut self, part: &Part) -> Result<Fields, Refused> {
        let cannot = |why: &str| Err(Refused::new("", format!("a part of type `{}` cannot be sent to this target{why}", part.body.kind())));
        let mut out = match &part.body {
            Body::Text(text) => object! { "type": "text", "text": text },
            Body::Refusal(text) => object! { "type": "refusal", "refusal": text },
            Body::Image { source, detail } => {
                let Some(url) = source.to_url() else { return cannot(": send the picture as an URL or as base64") };
                let mut image = object! { "url": url };
                image.put_some("detail", detail.as_ref());
                object! { "type": "image_url", "image_url": image }
            }
            Body::Audio { data, format } => object! { "type": "input_audio", "input_audio": object! { "data": data, "format": format } },
            Body::File { source, name } => {
                let mut file = Fields::new();
                match source {
                    Source::Base64 { .. } => file.put_some("file_data", source.to_url()),
                    Source::Id(id) if self.own => file.put("file_id", id),
                    // What is plain text already needs no file.
                    Source::Text(text) => return Ok(object! { "type": "text", "text": text }),
                    Source::Url(_) | Source::Id(_) => return cannot(": send the document as base64"),
                }
                match (name, source) {
                    (Some(name), _) if self.own || name.contains('.') => file.put("filename", name),
                    (name, Source::Base64 { mime, .. }) if !self.own => {
                        let ending = ending_of_mime(mime).unwrap_or("pdf");
                        file.put("filename", format!("{}.{ending}", name.as_deref().unwrap_or("document")));
                    }
                    _ => {}
                }
                object! { "type": "file", "file": file }
            }
            Body::Opaque(fields) if self.own => fields.clone(),
            _ => return cannot(""),
        };
        self.mark(&mut out, part.cache.as_ref());
        self.rest(&mut out, &part.extra, "messages[].content[]");
        Ok(out)
    }

    fn tool(&mut self, tool: &Tool) -> Result<Fields, Refused> {
        let mut out = match &tool.kind {
            ToolKind::Opaque(fields) if self.own => fields.clone(),
            ToolKind::Opaque(fields) => {
                let kind = fields.text("type").unwrap_or("unknown");
                return Err(Refused::new("", format!("a tool of type `{kind}` cannot be sent to this target: it takes functions only")));
            }
            ToolKind::Function { .. } if self.foreign => {
                let kind = tool_for_openai(&tool.kind, &mut self.dropped);
                function_of(&kind)
            }
            kind @ ToolKind::Function { .. } => function_of(kind),
        };
        self.mark(&mut out, tool.cache.as_ref());
        self.rest(&mut out, &tool.extra, "tools[]");
        Ok(out)
    }
}

/// A function's tool.
fn function_of(kind: &ToolKind) -> Fields {
    let ToolKind::Function { name, description, schema, strict } = kind else { return Fields::new() };
    let mut function = object! { "name": name };
    function.put_some("description", description.as_ref());
    function.put_some("parameters", schema.as_ref());
    function.put_some("strict", *strict);
    object! { "type": "function", "function": function }
}

/// One bare text as a string, all else as parts.
fn content_of(parts: Vec<Fields>) -> Json {
    match parts.as_slice() {
        [] => "".into(),
        [only] if only.text("type") == Some("text") && only.iter().count() == 2 => only.get("text").map_or(Json::Null, Json::from),
        _ => parts.into(),
    }
}

fn tool_choice(choice: &ToolChoice) -> Json {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Any => "required".into(),
        ToolChoice::Tool(name) => object! { "type": "function", "function": object! { "name": name } }.into(),
        ToolChoice::Opaque(value) => value.clone(),
    }
}

fn answer_format(format: &AnswerFormat) -> Json {
    match format {
        AnswerFormat::Text => object! { "type": "text" }.into(),
        AnswerFormat::Json => object! { "type": "json_object" }.into(),
        AnswerFormat::Schema { name, description, schema, strict } => {
            let mut inner = object! { "name": name.as_deref().unwrap_or("answer") };
            inner.put_some("description", description.as_ref());
            inner.put("schema", schema);
            inner.put_some("strict", *strict);
            object! { "type": "json_schema", "json_schema": inner }.into()
        }
        AnswerFormat::Opaque(value) => value.clone(),
    }
}
