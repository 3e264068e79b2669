//! From the common form to a Responses request.

use super::super::common::{AnswerFormat, Body, Effort, Maker, Message, Part, Request, Role, Source, Tool, ToolChoice, ToolKind};
use super::super::fields::{Dropped, Refused};
use super::super::foreign::{drop_extra, drop_sampling, no_opaque_words, one_choice, user, without_sampling};
use super::super::json::{Fields, Json, object};
use super::super::media::ending_of_mime;
use super::super::models::samples_alone;
use super::super::schema::{format_for_openai, tool_for_openai};
use super::super::{Dialect, Encoded, Target, chat};
use super::reasoning;

/// Writes a request. Of another format's nothing is stored at OpenAI.
pub(crate) fn encode_request(request: &Request, target: &Target<'_>) -> Result<Encoded, Refused> {
    let mut to =
        Writer { own: request.origin == Dialect::OpenAiResponses, foreign: !request.origin.is_openais(), dropped: Dropped::default() };
    one_choice(request)?;
    let quiet;
    let request = if to.foreign && samples_alone(request, target.model) {
        quiet = without_sampling(request, &mut to.dropped);
        &quiet
    } else {
        request
    };
    let mut body = to.prompt(request, target)?;
    body.put_some("parallel_tool_calls", request.parallel_tools);
    body.put_some("temperature", request.sampling.temperature.as_ref());
    body.put_some("top_p", request.sampling.top_p.as_ref());
    body.put_some("max_output_tokens", request.max_output);
    body.put_some("top_logprobs", request.sampling.top_logprobs);
    let mut include = Vec::new();
    if request.sampling.logprobs == Some(true) {
        include.push("message.output_text.logprobs");
    }
    drop_sampling(request, &["logprobs", "top_logprobs"], &mut to.dropped);
    to.dropped.add_if(!request.stop.is_empty(), "stop");
    if let Some(reasoning) = &request.reasoning {
        let effort = match reasoning.on {
            Some(false) => Some(Effort::None),
            _ => reasoning.effort.or(reasoning.budget.map(Effort::of_budget)),
        };
        let mut out = Fields::new();
        out.put_some("effort", effort.map(Effort::word));
        if to.own {
            out.fill(reasoning.extra.clone());
        } else if effort != Some(Effort::None) {
            let wants = reasoning.show == Some(true) || (reasoning.on == Some(true) && reasoning.show != Some(false));
            out.put_some("summary", wants.then_some("auto"));
            include.push("reasoning.encrypted_content");
        }
        body.put("reasoning", out);
    }
    if request.stream {
        body.put("stream", true);
    }
    body.put_some("user", if to.own { request.user.as_ref() } else { user(request, chat::MAX_USER, &mut to.dropped) });
    if to.own {
        body.fill(request.extra.clone());
    } else {
        body.put("store", false);
        if !include.is_empty() {
            body.put("include", include);
        }
        drop_extra(request, &mut to.dropped)?;
    }
    Ok(Encoded { path: "/responses".into(), body: body.to_text().into_bytes(), dropped: to.dropped })
}

/// The body of a question for the number of tokens.
pub(crate) fn count_body(request: &Request, target: &Target<'_>) -> Result<(Fields, Dropped), Refused> {
    let mut to =
        Writer { own: request.origin == Dialect::OpenAiResponses, foreign: !request.origin.is_openais(), dropped: Dropped::default() };
    let body = to.prompt(request, target)?;
    Ok((body, to.dropped))
}

struct Writer {
    own: bool,
    foreign: bool,
    dropped: Dropped,
}

impl Writer {
    fn rest(&mut self, out: &mut Fields, extra: &Fields, outer: &str) {
        if self.own { out.fill(extra.clone()) } else { self.dropped.add_fields(outer, extra) }
    }

    /// What the model reads.
    fn prompt(&mut self, request: &Request, target: &Target<'_>) -> Result<Fields, Refused> {
        if !self.own {
            no_opaque_words(request)?;
        }
        let mut body = object! { "model": target.model };
        let mut talk = request.messages.iter().enumerate().peekable();
        if let Some((_, first)) = talk.next_if(|(_, m)| lone_rule(m).is_some()) {
            body.put_some("instructions", lone_rule(first));
            self.dropped.add_if(first.parts.iter().any(|p| p.cache.is_some()), "cache_control");
        }
        let mut items = Vec::new();
        for (at, message) in talk {
            self.message(message, at, &mut items).map_err(|e| e.within(&format!("messages[{at}]")))?;
        }
        body.put("input", items);
        if !request.tools.is_empty() {
            let tools: Result<Vec<Fields>, Refused> = request.tools.iter().map(|tool| self.tool(tool)).collect();
            body.put("tools", tools.map_err(|e| e.within("tools"))?);
        }
        body.put_some("tool_choice", request.tool_choice.as_ref().map(tool_choice));
        let format = request.format.as_ref().map(|f| if self.foreign { format_for_openai(f, &mut self.dropped) } else { f.clone() });
        body.put_some("text", format.map(|format| object! { "format": answer_format(&format) }));
        Ok(body)
    }

    fn message(&mut self, message: &Message, at: usize, out: &mut Vec<Fields>) -> Result<(), Refused> {
        let role = match message.role {
            Role::Assistant => return self.assistant(message, at, out),
            Role::System => "system",
            Role::Developer => "developer",
            Role::User | Role::Tool => "user",
        };
        let mut content = Vec::new();
        for part in &message.parts {
            match &part.body {
                Body::ToolResult { id, parts, failed, .. } => {
                    self.dropped.add_if(*failed, "is_error");
                    self.dropped.add_if(part.cache.is_some(), "cache_control");
                    let inner: Result<Vec<Fields>, Refused> = parts.iter().map(|p| self.part(p, "input_text")).collect();
                    let output = match parts.as_slice() {
                        [] => "".into(),
                        _ => content_of(inner?, "input_text"),
                    };
                    let mut item = object! { "type": "function_call_output", "call_id": id, "output": output };
                    self.rest(&mut item, &part.extra, "messages[].content[]");
                    out.push(item);
                }
                Body::Opaque(item) if self.own && !item.text("type").is_some_and(|t| t.starts_with("input_")) => out.push(item.clone()),
                _ => content.push(self.part(part, "input_text")?),
            }
        }
        if content.is_empty() && !message.parts.is_empty() {
            if !self.own {
                self.dropped.add_fields("messages[]", &message.extra);
            }
            return Ok(());
        }
        let mut item = object! { "type": "message", "role": role, "content": content_of(content, "input_text") };
        self.rest(&mut item, &message.extra, "messages[]");
        out.push(item);
        Ok(())
    }

    /// A turn of the model: texts in a row are one item, all else is one each.
    fn assistant(&mut self, message: &Message, at: usize, out: &mut Vec<Fields>) -> Result<(), Refused> {
        let mut texts: Vec<Fields> = Vec::new();
        let mut about = Fields::new();
        for (n, part) in message.parts.iter().enumerate() {
            let mut extra = part.extra.clone();
            let item_fields = extra.take_object("item").unwrap_or_default();
            if matches!(part.body, Body::Text(_) | Body::Refusal(_)) {
                if self.own && !item_fields.is_empty() {
                    flush(&mut texts, &mut about, out);
                    about = item_fields;
                }
                texts.push(self.part(&Part { extra, ..part.clone() }, "output_text")?);
                continue;
            }
            flush(&mut texts, &mut about, out);
            self.dropped.add_if(part.cache.is_some(), "cache_control");
            match &part.body {
                Body::ToolCall { id, name, arguments, .. } => {
                    let arguments = if arguments.is_empty() { "{}" } else { arguments };
                    let mut item = object! { "type": "function_call", "call_id": id, "name": name, "arguments": arguments };
                    self.rest(&mut item, &item_fields, "messages[].tool_calls[]");
                    self.rest(&mut item, &extra, "messages[].tool_calls[]");
                    out.push(item);
                }
                Body::Thinking { signature, .. } if !self.own && signature.as_ref().is_none_or(|s| s.maker != Maker::OpenAi) => {
                    self.dropped.add("thinking");
                }
                Body::Redacted(data) if !self.own && data.maker != Maker::OpenAi => self.dropped.add("thinking"),
                Body::Thinking { .. } | Body::Redacted(_) => {
                    let mut item = reasoning::written(&part.body, &format!("rs_{at}_{n}")).unwrap_or_default();
                    if self.own {
                        // As it was: its summary may have several parts.
                        let content = item.take("encrypted_content");
                        let mut whole = object! { "type": "reasoning" };
                        whole.fill(item_fields);
                        whole.put_some("encrypted_content", content);
                        whole.fill(item);
                        item = whole;
                    }
                    out.push(item);
                }
                Body::Opaque(item) if self.own => out.push(item.clone()),
                _ => out.push(object! { "type": "message", "role": "assistant", "content": vec![self.part(part, "output_text")?] }),
            }
        }
        flush(&mut texts, &mut about, out);
        Ok(())
    }

    fn part(&mut self, part: &Part, text_type: &str) -> Result<Fields, Refused> {
        let cannot = |why: &str| Err(Refused::new("", format!("a part of type `{}` cannot be sent to this target{why}", part.body.kind())));
        self.dropped.add_if(part.cache.is_some(), "cache_control");
        let mut out = match &part.body {
            Body::Text(text) => object! { "type": text_type, "text": text },
            Body::Refusal(text) => object! { "type": "refusal", "refusal": text },
            Body::Image { source, detail } => {
                let mut image = object! { "type": "input_image" };
                match source {
                    Source::Id(id) if self.own => image.put("file_id", id),
                    other => match other.to_url() {
                        Some(url) => image.put("image_url", url),
                        None => return cannot(": send the picture as an URL or as base64"),
                    },
                }
                image.put_some("detail", detail.as_deref().or((!self.own).then_some("auto")));
                image
            }
            Body::File { source, name } => {
                let mut file = object! { "type": "input_file" };
                match source {
                    Source::Url(url) => file.put("file_url", url),
                    Source::Id(id) if self.own => file.put("file_id", id),
                    Source::Text(text) => return Ok(object! { "type": text_type, "text": text }),
                    Source::Base64 { mime, .. } => {
                        file.put_some("file_data", source.to_url());
                        if !self.own && !name.as_deref().is_some_and(|n| n.contains('.')) {
                            let ending = ending_of_mime(mime).unwrap_or("pdf");
                            file.put("filename", format!("{}.{ending}", name.as_deref().unwrap_or("document")));
                        }
                    }
                    Source::Id(_) => return cannot(": send the document as an URL or as base64"),
                }
                if file.get("filename").is_none() {
                    file.put_some("filename", name.as_ref());
                }
                file
            }
            Body::Opaque(fields) if self.own => fields.clone(),
            _ => return cannot(""),
        };
        self.rest(&mut out, &part.extra, "messages[].content[]");
        Ok(out)
    }

    fn tool(&mut self, tool: &Tool) -> Result<Fields, Refused> {
        self.dropped.add_if(tool.cache.is_some(), "cache_control");
        let kind = if self.foreign { tool_for_openai(&tool.kind, &mut self.dropped) } else { tool.kind.clone() };
        match &kind {
            ToolKind::Opaque(fields) if self.own => Ok(fields.clone()),
            ToolKind::Opaque(fields) => {
                let kind = fields.text("type").unwrap_or("unknown");
                Err(Refused::new("", format!("a tool of type `{kind}` cannot be sent to this target")))
            }
            ToolKind::Function { name, description, schema, strict } => {
                let mut out = object! { "type": "function", "name": name };
                out.put_some("description", description.as_ref());
                out.put_some("parameters", schema.as_ref());
                // Where nothing is said, this format is strict and the others are not.
                out.put_some("strict", if self.own { *strict } else { Some(strict.unwrap_or(false)) });
                if !self.own && schema.is_none() {
                    out.put("parameters", object! { "type": "object", "properties": Fields::new() });
                }
                self.rest(&mut out, &tool.extra, "tools[]");
                Ok(out)
            }
        }
    }
}

/// Texts that are still to become an item.
fn flush(texts: &mut Vec<Fields>, about: &mut Fields, out: &mut Vec<Fields>) {
    if !texts.is_empty() {
        let content = content_of(std::mem::take(texts), "output_text");
        let mut item = object! { "type": "message", "role": "assistant", "content": content };
        item.fill(std::mem::take(about));
        out.push(item);
    }
}

/// The text of a message that is nothing but one rule.
fn lone_rule(message: &Message) -> Option<&str> {
    match (message.role, message.parts.as_slice()) {
        (Role::System, [Part { body: Body::Text(text), .. }]) => Some(text),
        _ => None,
    }
}

/// One bare text as a string, all else as parts.
fn content_of(parts: Vec<Fields>, text_type: &str) -> Json {
    match parts.as_slice() {
        [only] if only.text("type") == Some(text_type) && only.iter().count() == 2 => only.get("text").map_or(Json::Null, Json::from),
        _ => parts.into(),
    }
}

fn tool_choice(choice: &ToolChoice) -> Json {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Any => "required".into(),
        ToolChoice::Tool(name) => object! { "type": "function", "name": name }.into(),
        ToolChoice::Opaque(value) => value.clone(),
    }
}

fn answer_format(format: &AnswerFormat) -> Json {
    match format {
        AnswerFormat::Text => object! { "type": "text" }.into(),
        AnswerFormat::Json => object! { "type": "json_object" }.into(),
        AnswerFormat::Schema { name, description, schema, strict } => {
            let mut out = object! { "type": "json_schema", "name": name.as_deref().unwrap_or("answer") };
            out.put_some("description", description.as_ref());
            out.put("schema", schema);
            out.put_some("strict", *strict);
            out.into()
        }
        AnswerFormat::Opaque(value) => value.clone(),
    }
}
