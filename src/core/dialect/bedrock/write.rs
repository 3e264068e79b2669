//! From the common form to a Converse request.

use super::super::anthropic::{claude_sampling, claude_thinking};
use super::super::common::{AnswerFormat, Body, CacheMark, Maker, Message, Part, Request, Role, Source, Tool, ToolChoice, ToolKind};
use super::super::fields::{Dropped, Refused};
use super::super::foreign::{arguments_object, cool, drop_extra, drop_sampling, no_opaque_words, one_choice, split_system, visible_stops};
use super::super::json::{Fields, Json, object};
use super::super::media::ending_of_mime;
use super::super::path::segment;
use super::super::schema::for_claude;
use super::super::{Dialect, Encoded, Target};
use crate::map::Set;

/// Characters of a document's name that Bedrock takes.
const MAX_NAME: usize = 200;

/// Writes a request.
pub(crate) fn encode_request(request: &Request, target: &Target<'_>) -> Result<Encoded, Refused> {
    let claude = target.model.contains("claude");
    let mut to = Writer { own: request.origin == Dialect::Bedrock, claude, dropped: Dropped::default(), documents: 0 };
    let mut body = to.prompt(request)?;
    one_choice(request)?;
    let most = request.max_output.or((!to.own).then_some(target.max_output));
    let thinking = if claude { claude_thinking(request, target.model, most.unwrap_or(u64::MAX), &mut to.dropped) } else { None };
    to.dropped.add_if(!claude && request.reasoning.is_some(), "reasoning");
    let mut more = Fields::new();
    let mut config = Fields::new();
    config.put_some("maxTokens", most);
    let thinks = thinking.is_some();
    if let Some((thinking, effort)) = thinking {
        more.put("thinking", thinking);
        more.put_some("output_config", effort.map(|effort| object! { "effort": effort.word() }));
    }
    let [temperature, top_p, top_k] = match (to.own, claude) {
        (false, true) => claude_sampling(request, target.model, thinks, &mut to.dropped),
        (false, false) => [cool(request, &mut to.dropped), request.sampling.top_p.as_ref().map(Json::from), None],
        (true, _) => [&request.sampling.temperature, &request.sampling.top_p, &None].map(|n| n.as_ref().map(Json::from)),
    };
    config.put_some("temperature", temperature);
    config.put_some("topP", top_p);
    more.put_some("top_k", top_k);
    drop_sampling(request, if claude { &["top_k"] } else { &[] }, &mut to.dropped);
    let stop = if claude && !to.own { visible_stops(request, &mut to.dropped) } else { request.stop.clone() };
    if !stop.is_empty() {
        config.put("stopSequences", stop);
    }
    if !config.is_empty() {
        body.put("inferenceConfig", config);
    }
    to.format(request, &mut body);
    if !more.is_empty() {
        body.put("additionalModelRequestFields", more);
    }
    if to.own {
        body.fill(request.extra.clone());
    } else {
        to.dropped.add_if(request.user.is_some(), "user");
        to.dropped.add_if(request.parallel_tools == Some(false), "parallel_tool_calls");
        drop_extra(request, &mut to.dropped)?;
    }
    let verb = if request.stream { "converse-stream" } else { "converse" };
    Ok(Encoded { path: model_path(target.model, verb), body: body.to_text().into_bytes(), dropped: to.dropped })
}

/// The path of a model's verb.
pub(crate) fn model_path(model: &str, verb: &str) -> String {
    format!("/model/{}/{verb}", segment(model))
}

/// The body of a question for the number of tokens.
pub(crate) fn count_body(request: &Request) -> Result<(Fields, Dropped), Refused> {
    let mut to = Writer { own: request.origin == Dialect::Bedrock, claude: false, dropped: Dropped::default(), documents: 0 };
    let body = to.prompt(request)?;
    Ok((object! { "input": object! { "converse": body } }, to.dropped))
}

struct Writer {
    own: bool,
    claude: bool,
    dropped: Dropped,
    documents: u64,
}

impl Writer {
    /// What the model reads.
    fn prompt(&mut self, request: &Request) -> Result<Fields, Refused> {
        if !self.own {
            no_opaque_words(request)?;
        }
        let (system, talk) = split_system(request);
        let mut body = object! { "messages": self.messages(&talk)? };
        let mut rules = Vec::new();
        for part in system {
            self.block(part, &mut rules).map_err(|e| e.within("system"))?;
        }
        if !rules.is_empty() {
            body.put("system", rules);
        }
        // There is no word for "none": without tools in the talk they can be left out instead.
        let none = request.tool_choice == Some(ToolChoice::None);
        if none && !talk.iter().any(|(_, m)| uses_tools(m)) {
            return Ok(body);
        }
        self.dropped.add_if(none && !request.tools.is_empty(), "tool_choice");
        // The tools of calls must be declared, also where no more are to be made.
        let called = if request.tools.is_empty() && !self.own { called(request) } else { Vec::new() };
        if !request.tools.is_empty() || !called.is_empty() {
            let mut config = object! { "tools": self.tools(if called.is_empty() { &request.tools } else { &called })? };
            match &request.tool_choice {
                Some(ToolChoice::Auto) => config.put("toolChoice", object! { "auto": Fields::new() }),
                Some(ToolChoice::Any) => config.put("toolChoice", object! { "any": Fields::new() }),
                Some(ToolChoice::Tool(name)) => config.put("toolChoice", object! { "tool": object! { "name": name } }),
                Some(ToolChoice::Opaque(choice)) => config.put("toolChoice", choice),
                Some(ToolChoice::None) | None => {}
            }
            body.put("toolConfig", config);
        }
        Ok(body)
    }

    fn format(&mut self, request: &Request, body: &mut Fields) {
        match &request.format {
            Some(AnswerFormat::Schema { name, description, schema, .. }) => {
                let held = self.claude && !self.own;
                let schema = if held { for_claude(schema, &mut self.dropped) } else { schema.clone() };
                let mut inner = object! { "schema": schema.to_text() };
                inner.put_some("name", name.as_ref());
                inner.put_some("description", description.as_ref());
                let format = object! { "type": "json_schema", "structure": object! { "jsonSchema": inner } };
                body.put("outputConfig", object! { "textFormat": format });
            }
            Some(AnswerFormat::Opaque(format)) => body.put("outputConfig", object! { "textFormat": format }),
            Some(AnswerFormat::Json) => self.dropped.add("response_format"),
            Some(AnswerFormat::Text) | None => {}
        }
    }

    /// Turns: what one side says in several messages is one.
    fn messages(&mut self, talk: &[(usize, &Message)]) -> Result<Vec<Fields>, Refused> {
        let mut turns: Vec<(bool, Vec<Fields>)> = Vec::new();
        for (at, message) in talk {
            let assistant = message.role == Role::Assistant;
            let mut blocks = Vec::new();
            for (n, part) in message.parts.iter().enumerate() {
                self.block(part, &mut blocks).map_err(|e| e.within(&format!("messages[{at}].content[{n}]")))?;
            }
            if !self.own {
                self.dropped.add_fields("messages[]", &message.extra);
            }
            match turns.last_mut() {
                Some((of_assistant, all)) if *of_assistant == assistant => all.append(&mut blocks),
                _ if blocks.is_empty() => {}
                _ => turns.push((assistant, blocks)),
            }
        }
        let written = |(assistant, blocks)| object! { "role": if assistant { "assistant" } else { "user" }, "content": Json::List(blocks) };
        Ok(turns.into_iter().map(|(a, b)| written((a, b.into_iter().map(Json::Object).collect()))).collect())
    }

    /// A block, and a cache point after it where it has a mark; none for what has no place.
    fn block(&mut self, part: &Part, out: &mut Vec<Fields>) -> Result<(), Refused> {
        let cannot = |why: &str| Err(Refused::new("", format!("a part of type `{}` cannot be sent to this target{why}", part.body.kind())));
        let new = match &part.body {
            Body::Text(text) | Body::Refusal(text) if text.trim().is_empty() && !self.own => return Ok(()),
            Body::Text(text) | Body::Refusal(text) => object! { "text": text },
            Body::Image { source: Source::Base64 { mime, data }, detail } => {
                self.dropped.add_if(detail.as_deref().is_some_and(|d| d != "auto"), "image_url.detail");
                match ending_of_mime(mime) {
                    Some(format @ ("png" | "jpeg" | "gif" | "webp")) => {
                        object! { "image": object! { "format": format, "source": object! { "bytes": data } } }
                    }
                    _ => return cannot(": pictures are PNG, JPEG, GIF or WebP"),
                }
            }
            Body::Image { .. } => return cannot(" by reference: send the picture as base64"),
            Body::File { source, name } => {
                let (format, source) = match source {
                    Source::Base64 { mime, data } => (ending_of_mime(mime), object! { "bytes": data }),
                    Source::Text(text) => (Some("txt"), object! { "text": text }),
                    Source::Url(_) | Source::Id(_) => return cannot(" by reference: send the document as base64"),
                };
                let Some(format) = format else { return cannot(": its media type is unknown") };
                object! { "document": object! { "format": format, "name": self.name(name.as_deref()), "source": source } }
            }
            Body::ToolCall { id, name, arguments, .. } => {
                object! { "toolUse": object! { "toolUseId": self.id(id), "name": name, "input": arguments_object(arguments)? } }
            }
            Body::ToolResult { id, parts, failed, .. } => {
                let mut content = Vec::new();
                for inner in parts {
                    self.block(inner, &mut content)?;
                }
                if content.is_empty() && !self.own {
                    content.push(object! { "text": "(empty)" });
                }
                let mut result = object! { "toolUseId": self.id(id), "content": content };
                if *failed {
                    result.put("status", "error");
                }
                object! { "toolResult": result }
            }
            Body::Thinking { text, signature } => {
                let read = signature.as_ref().and_then(|s| s.for_maker(Maker::Anthropic));
                if read.is_none() && !self.own {
                    self.dropped.add("thinking");
                    return Ok(());
                }
                let mut inner = object! { "text": text };
                inner.put_some("signature", read);
                object! { "reasoningContent": object! { "reasoningText": inner } }
            }
            Body::Redacted(data) => match data.for_maker(Maker::Anthropic) {
                Some(text) => object! { "reasoningContent": object! { "redactedContent": text } },
                None => {
                    self.dropped.add("thinking");
                    return Ok(());
                }
            },
            Body::Opaque(fields) if self.own => fields.clone(),
            Body::Opaque(_) | Body::Audio { .. } => return cannot(""),
        };
        if !self.own {
            self.dropped.add_fields("messages[].content[]", &part.extra);
        }
        out.push(new);
        if let Some(mark) = &part.cache {
            out.push(cache_point(mark));
        }
        Ok(())
    }

    /// A document's name in the characters that Bedrock takes, told apart by a number where it has none.
    fn name(&mut self, name: Option<&str>) -> String {
        self.documents = self.documents.saturating_add(1);
        let sound = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' };
        let stem = name.map(|n| n.rsplit_once('.').map_or(n, |(stem, _)| stem)).unwrap_or_default();
        let words: String = stem.chars().map(sound).take(MAX_NAME).collect();
        let plain = words.split_whitespace().collect::<Vec<_>>().join(" ");
        if plain.is_empty() { format!("document {}", self.documents) } else { plain }
    }

    /// A call's id in the characters that Bedrock takes.
    fn id(&self, id: &str) -> String {
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        id.chars().map(|c| if sound(c) || self.own { c } else { '_' }).collect()
    }

    fn tools(&mut self, tools: &[Tool]) -> Result<Vec<Fields>, Refused> {
        let mut all = Vec::new();
        for tool in tools {
            match &tool.kind {
                ToolKind::Opaque(fields) if self.own => all.push(fields.clone()),
                ToolKind::Opaque(fields) => {
                    let kind = fields.text("type").unwrap_or("unknown");
                    return Err(Refused::new(
                        "tools",
                        format!("a tool of type `{kind}` cannot be sent to this target: it takes functions only"),
                    ));
                }
                ToolKind::Function { name, description, schema, strict } => {
                    let mut spec = object! { "name": name };
                    spec.put_some("description", description.as_ref().filter(|d| !d.is_empty()));
                    let schema = schema.clone().unwrap_or_else(|| object! { "type": "object", "properties": Fields::new() }.into());
                    let held = *strict == Some(true) && self.claude && !self.own;
                    let schema = if held { for_claude(&schema, &mut self.dropped) } else { schema };
                    spec.put("inputSchema", object! { "json": schema });
                    spec.put_some("strict", strict.filter(|on| *on || self.own));
                    all.push(object! { "toolSpec": spec });
                    if !self.own {
                        self.dropped.add_fields("tools[]", &tool.extra);
                    }
                }
            }
            if let Some(mark) = &tool.cache {
                all.push(cache_point(mark));
            }
        }
        Ok(all)
    }
}

fn cache_point(mark: &CacheMark) -> Fields {
    let mut point = object! { "type": "default" };
    point.put_some("ttl", mark.ttl.as_ref().filter(|ttl| matches!(ttl.as_str(), "5m" | "1h")));
    object! { "cachePoint": point }
}

/// The tools that a conversation called, without more than their names.
fn called(request: &Request) -> Vec<Tool> {
    let names: Set<&str> = request.tools_of_calls().into_values().collect();
    let tool = |name: &str| Tool {
        kind: ToolKind::Function { name: name.to_owned(), description: None, schema: None, strict: None },
        cache: None,
        extra: Fields::new(),
    };
    names.into_iter().map(tool).collect()
}

fn uses_tools(message: &Message) -> bool {
    message.parts.iter().any(|p| matches!(p.body, Body::ToolCall { .. } | Body::ToolResult { .. }))
}
