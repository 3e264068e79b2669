//! From the common form to a Messages request.

use super::super::common::{
    AnswerFormat, Body, CacheMark, Effort, Maker, Message, Part, Reasoning, Request, Role, Source, Tool, ToolChoice, ToolKind,
};
use super::super::fields::{Dropped, Refused};
use super::super::foreign::{arguments_object, drop_extra, drop_sampling, no_opaque_words, one_choice, split_system, user, visible_stops};
use super::super::json::{Fields, Json, object};
use super::super::schema::for_claude;
use super::super::{Dialect, Encoded, Target, base64};
use super::claude::{claude_sampling, claude_thinking, own_sampling};

/// Longest name of an end user, in characters.
const MAX_USER: usize = 256;

/// Whether a name is an address or a telephone number, which Anthropic refuses.
fn is_contact(user: &str) -> bool {
    let dialled =
        user.chars().all(|c| c.is_ascii_digit() || "+-() .".contains(c)) && user.chars().filter(char::is_ascii_digit).count() >= 7;
    user.contains('@') || dialled
}

/// Writes a request.
pub(crate) fn encode_request(request: &Request, target: &Target<'_>) -> Result<Encoded, Refused> {
    let mut to = Writer { own: request.origin == Dialect::Anthropic, dropped: Dropped::default() };
    let mut body = to.prompt(request, target)?;
    let most = request.max_output.unwrap_or(target.max_output);
    body.put("max_tokens", most);
    one_choice(request)?;
    let thinks = to.thinking(request, target, most, &mut body);
    let sampling = if to.own { own_sampling(request) } else { claude_sampling(request, target.model, thinks, &mut to.dropped) };
    for (name, value) in ["temperature", "top_p", "top_k"].into_iter().zip(sampling) {
        body.put_some(name, value);
    }
    drop_sampling(request, &["top_k"], &mut to.dropped);
    let stop = if to.own { request.stop.clone() } else { visible_stops(request, &mut to.dropped) };
    if !stop.is_empty() {
        body.put("stop_sequences", stop);
    }
    if request.stream {
        body.put("stream", true);
    }
    let user = if to.own { request.user.as_ref() } else { user(request, MAX_USER, &mut to.dropped) };
    if let Some(user) = user {
        to.dropped.add_if(!to.own && is_contact(user), "user");
        if to.own || !is_contact(user) {
            body.put("metadata", object! { "user_id": user });
        }
    }
    to.extra(request, &mut body)?;
    Ok(Encoded { path: "/messages".into(), body: body.to_text().into_bytes(), dropped: to.dropped })
}

/// The body of a question for the number of tokens: the prompt, and no more.
pub(crate) fn count_body(request: &Request, target: &Target<'_>) -> Result<(Fields, Dropped), Refused> {
    let mut to = Writer { own: request.origin == Dialect::Anthropic, dropped: Dropped::default() };
    let mut body = to.prompt(request, target)?;
    if to.own {
        to.thinking(request, target, u64::MAX, &mut body);
    }
    Ok((body, to.dropped))
}

struct Writer {
    own: bool,
    dropped: Dropped,
}

impl Writer {
    /// What the model reads.
    fn prompt(&mut self, request: &Request, target: &Target<'_>) -> Result<Fields, Refused> {
        let (system, talk) = if self.own {
            let first = request.messages.first().filter(|m| m.role.instructs());
            let skip = usize::from(first.is_some());
            (first.into_iter().flat_map(|m| &m.parts).collect(), request.messages.iter().enumerate().skip(skip).collect())
        } else {
            no_opaque_words(request)?;
            split_system(request)
        };
        let mut body = object! { "model": target.model };
        if !system.is_empty() {
            let blocks: Result<Vec<Option<Fields>>, Refused> = system.into_iter().map(|part| self.block(part)).collect();
            let blocks: Vec<Fields> = blocks.map_err(|e| e.within("system"))?.into_iter().flatten().collect();
            if !blocks.is_empty() {
                body.put("system", content_of(blocks));
            }
        }
        body.put("messages", self.messages(&talk)?);
        if !request.tools.is_empty() {
            let tools: Result<Vec<Fields>, Refused> = request.tools.iter().map(|tool| self.tool(tool)).collect();
            body.put("tools", tools.map_err(|e| e.within("tools"))?);
        }
        body.put_some("tool_choice", tool_choice(request));
        match &request.format {
            Some(AnswerFormat::Schema { schema, .. }) => {
                let schema = if self.own { schema.clone() } else { for_claude(schema, &mut self.dropped) };
                body.put("output_config", object! { "format": object! { "type": "json_schema", "schema": schema } });
            }
            Some(AnswerFormat::Opaque(format)) => body.put("output_config", object! { "format": format }),
            // There is no word for "some JSON": callers who ask for it must say so in the prompt anyway.
            Some(AnswerFormat::Json) => self.dropped.add("response_format"),
            Some(AnswerFormat::Text) | None => {}
        }
        Ok(body)
    }

    fn extra(&mut self, request: &Request, body: &mut Fields) -> Result<(), Refused> {
        if self.own {
            body.fill(request.extra.clone());
            return Ok(());
        }
        drop_extra(request, &mut self.dropped)
    }

    fn rest(&mut self, out: &mut Fields, extra: &Fields, outer: &str) {
        if self.own { out.fill(extra.clone()) } else { self.dropped.add_fields(outer, extra) }
    }

    /// Turns. Results of tools that came as messages of their own, and what the user says after them,
    /// are one turn: the API wants all results of a turn together, first.
    fn messages(&mut self, talk: &[(usize, &Message)]) -> Result<Vec<Fields>, Refused> {
        let mut turns: Vec<(Role, Vec<Fields>, Fields)> = Vec::new();
        let mut after_tool = false;
        for (at, message) in talk {
            let role = match message.role {
                Role::Tool => Role::User,
                other => other,
            };
            let mut blocks = Vec::new();
            for (n, part) in message.parts.iter().enumerate() {
                let block = self.block(part).map_err(|e| e.within(&format!("messages[{at}].content[{n}]")))?;
                if let (Body::ToolCall { signature: Some(signature), .. }, true) = (&part.body, self.own) {
                    blocks.push(object! { "type": "thinking", "thinking": "", "signature": signature.to_wire(Maker::Anthropic) });
                }
                blocks.extend(block);
            }
            let mut extra = Fields::new();
            self.rest(&mut extra, &message.extra, "messages[]");
            match turns.last_mut() {
                Some((Role::User, all, _)) if after_tool && role == Role::User => all.append(&mut blocks),
                _ if blocks.is_empty() && !self.own => {}
                _ => turns.push((role, blocks, extra)),
            }
            after_tool = message.role == Role::Tool;
        }
        let written = turns.into_iter().map(|(role, blocks, extra)| {
            let role = match role {
                Role::Assistant => "assistant",
                Role::System | Role::Developer if self.own => "system",
                _ => "user",
            };
            let mut turn = object! { "role": role, "content": content_of(blocks) };
            turn.fill(extra);
            turn
        });
        Ok(written.collect())
    }

    /// A block; none for what has no place, which is noted, and for blank text, which the API refuses.
    fn block(&mut self, part: &Part) -> Result<Option<Fields>, Refused> {
        let cannot = |why: &str| Err(Refused::new("", format!("a part of type `{}` cannot be sent to this target{why}", part.body.kind())));
        let mut out = match &part.body {
            Body::Text(text) | Body::Refusal(text) if text.trim().is_empty() && !self.own => return Ok(None),
            Body::Text(text) | Body::Refusal(text) => object! { "type": "text", "text": text },
            Body::Image { source, detail } => {
                self.dropped.add_if(detail.as_deref().is_some_and(|d| d != "auto"), "image_url.detail");
                let source = match source {
                    Source::Text(_) => return cannot(""),
                    Source::Id(_) if !self.own => return cannot(": send the picture as an URL or as base64"),
                    other => written_source(other),
                };
                object! { "type": "image", "source": source }
            }
            Body::File { source, name } => {
                let source = match source {
                    Source::Id(_) if !self.own => return cannot(": send the document as an URL or as base64"),
                    Source::Base64 { mime, data } if mime.starts_with("text/") => match base64::decode(data).map(String::from_utf8) {
                        Some(Ok(text)) => written_source(&Source::Text(text)),
                        _ => return cannot(": its base64 is not text"),
                    },
                    Source::Base64 { mime, .. } if mime != "application/pdf" => return cannot(": documents are PDF or plain text"),
                    other => written_source(other),
                };
                let mut document = object! { "type": "document", "source": source };
                document.put_some("title", name.as_ref());
                document
            }
            Body::ToolCall { id, name, arguments, .. } => {
                object! { "type": "tool_use", "id": self.id(id), "name": name, "input": arguments_object(arguments)? }
            }
            Body::ToolResult { id, parts, failed, .. } => {
                let blocks: Result<Vec<Option<Fields>>, Refused> = parts.iter().map(|part| self.block(part)).collect();
                let blocks: Vec<Fields> = blocks?.into_iter().flatten().collect();
                let mut result = object! { "type": "tool_result", "tool_use_id": self.id(id) };
                if !blocks.is_empty() {
                    result.put("content", content_of(blocks));
                }
                if *failed {
                    result.put("is_error", true);
                }
                result
            }
            Body::Thinking { text, signature } => {
                let read = signature
                    .as_ref()
                    .map(|s| if self.own { s.to_wire(Maker::Anthropic) } else { s.for_maker(Maker::Anthropic).unwrap_or("").to_owned() });
                match read.filter(|s| !s.is_empty() || self.own) {
                    Some(signature) => object! { "type": "thinking", "thinking": text, "signature": signature },
                    None if self.own => object! { "type": "thinking", "thinking": text, "signature": "" },
                    // Reasoning that Claude did not sign is not taken back.
                    None => {
                        self.dropped.add("thinking");
                        return Ok(None);
                    }
                }
            }
            Body::Redacted(data) if self.own || data.maker == Maker::Anthropic => {
                object! { "type": "redacted_thinking", "data": data.to_wire(Maker::Anthropic) }
            }
            Body::Redacted(_) => {
                self.dropped.add("thinking");
                return Ok(None);
            }
            Body::Opaque(fields) if self.own => fields.clone(),
            Body::Opaque(_) | Body::Audio { .. } => return cannot(""),
        };
        if let Some(mark) = &part.cache {
            out.put("cache_control", written_mark(mark));
        }
        self.rest(&mut out, &part.extra, "messages[].content[]");
        Ok(Some(out))
    }

    /// A call's id in the characters that the API takes.
    fn id(&self, id: &str) -> String {
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        id.chars().map(|c| if sound(c) || self.own { c } else { '_' }).collect()
    }

    fn tool(&mut self, tool: &Tool) -> Result<Fields, Refused> {
        let mut out = match &tool.kind {
            ToolKind::Opaque(fields) if self.own => fields.clone(),
            ToolKind::Opaque(fields) => {
                let kind = fields.text("type").unwrap_or("unknown");
                return Err(Refused::new("", format!("a tool of type `{kind}` cannot be sent to this target: it takes functions only")));
            }
            ToolKind::Function { name, description, schema, strict } => {
                let mut out = object! { "name": name };
                out.put_some("description", description.as_ref());
                let schema = schema.clone().unwrap_or_else(|| object! { "type": "object", "properties": Fields::new() }.into());
                let held = *strict == Some(true) && !self.own;
                out.put("input_schema", if held { for_claude(&schema, &mut self.dropped) } else { schema });
                out.put_some("strict", strict.filter(|on| *on || self.own));
                out
            }
        };
        if let Some(mark) = &tool.cache {
            out.put("cache_control", written_mark(mark));
        }
        self.rest(&mut out, &tool.extra, "tools[]");
        Ok(out)
    }

    /// Writes how to think; whether thinking is on.
    fn thinking(&mut self, request: &Request, target: &Target<'_>, most: u64, body: &mut Fields) -> bool {
        match &request.reasoning {
            Some(reasoning) if self.own => own_thinking(reasoning, body),
            _ => match claude_thinking(request, target.model, most, &mut self.dropped) {
                Some((thinking, effort)) => {
                    body.put("thinking", thinking);
                    put_effort(body, effort);
                    true
                }
                None => false,
            },
        }
    }
}

fn put_effort(body: &mut Fields, effort: Option<Effort>) {
    if let Some(effort) = effort {
        let mut config = object! { "effort": effort.word() };
        config.fill(body.take_object("output_config").unwrap_or_default());
        body.put("output_config", config);
    }
}

fn own_thinking(reasoning: &Reasoning, body: &mut Fields) -> bool {
    let mut thinking = match (reasoning.on, reasoning.budget) {
        (Some(true), Some(budget)) => object! { "type": "enabled", "budget_tokens": budget },
        (Some(true), None) => object! { "type": "adaptive" },
        (Some(false), _) => object! { "type": "disabled" },
        (None, _) => Fields::new(),
    };
    thinking.fill(reasoning.extra.clone());
    if !thinking.is_empty() {
        body.put("thinking", thinking);
    }
    put_effort(body, reasoning.effort);
    reasoning.on == Some(true)
}

fn written_source(source: &Source) -> Fields {
    match source {
        Source::Url(url) => object! { "type": "url", "url": url },
        Source::Base64 { mime, data } => object! { "type": "base64", "media_type": mime, "data": data },
        Source::Text(text) => object! { "type": "text", "media_type": "text/plain", "data": text },
        Source::Id(id) => object! { "type": "file", "file_id": id },
    }
}

fn written_mark(mark: &CacheMark) -> Fields {
    let mut out = object! { "type": "ephemeral" };
    out.put_some("ttl", mark.ttl.as_ref().filter(|ttl| matches!(ttl.as_str(), "5m" | "1h")));
    out
}

/// One bare text as a string, all else as blocks.
fn content_of(blocks: Vec<Fields>) -> Json {
    match blocks.as_slice() {
        [only] if only.text("type") == Some("text") && only.iter().count() == 2 => only.get("text").map_or(Json::Null, Json::from),
        _ => blocks.into(),
    }
}

fn tool_choice(request: &Request) -> Option<Json> {
    let mut choice = match &request.tool_choice {
        None if request.parallel_tools == Some(false) && !request.tools.is_empty() => object! { "type": "auto" },
        None => return None,
        Some(ToolChoice::Auto) => object! { "type": "auto" },
        Some(ToolChoice::None) => object! { "type": "none" },
        Some(ToolChoice::Any) => object! { "type": "any" },
        Some(ToolChoice::Tool(name)) => object! { "type": "tool", "name": name },
        Some(ToolChoice::Opaque(value)) => return Some(value.clone()),
    };
    if request.parallel_tools == Some(false) && request.tool_choice != Some(ToolChoice::None) {
        choice.put("disable_parallel_tool_use", true);
    }
    Some(choice.into())
}
