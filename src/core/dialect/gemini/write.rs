//! From the common form to a `generateContent` request.

use super::super::common::{
    AnswerFormat, Body, Effort, Maker, Message, Part, Reasoning, Request, Role, Signature, Source, Tool, ToolChoice, ToolKind,
};
use super::super::fields::{Dropped, Refused};
use super::super::foreign::{arguments_object, drop_extra, no_opaque_words, split_system};
use super::super::json::{Fields, Json, object};
use super::super::media::mime_of_name;
use super::super::models::least_thought;
use super::super::path::segment;
use super::super::{Dialect, Encoded, Target};
use crate::map::Map;

/// What Google's documents name for calls that no Gemini made, where a signature must stand.
const NOT_SIGNED: &str = "skip_thought_signature_validator";

/// Writes a request.
pub(crate) fn encode_request(request: &Request, target: &Target<'_>) -> Result<Encoded, Refused> {
    let (body, dropped) = generate_body(request, target)?;
    let verb = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    Ok(Encoded { path: model_path(target.model, verb), body: body.to_text().into_bytes(), dropped })
}

/// The path of a model's verb.
pub(crate) fn model_path(model: &str, verb: &str) -> String {
    format!("/models/{}:{verb}", segment(model.strip_prefix("models/").unwrap_or(model)))
}

/// The body of a request.
pub(crate) fn generate_body(request: &Request, target: &Target<'_>) -> Result<(Fields, Dropped), Refused> {
    let own = request.origin == Dialect::Gemini;
    let mut to = Writer {
        own,
        dropped: Dropped::default(),
        must_sign: third_or_later(target.model),
        least: least_effort(target.model),
        least_budget: least_thought(target.model),
        call_ids: own || !target.no_call_ids,
        names: request.tools_of_calls(),
    };
    if !own {
        no_opaque_words(request)?;
    }
    let mut body = to.prompt(request)?;
    let mut config = Fields::new();
    let sampling = &request.sampling;
    config.put_some("temperature", sampling.temperature.as_ref());
    config.put_some("topP", sampling.top_p.as_ref());
    config.put_some("topK", sampling.top_k.as_ref());
    config.put_some("frequencyPenalty", sampling.frequency_penalty.as_ref());
    config.put_some("presencePenalty", sampling.presence_penalty.as_ref());
    config.put_some("seed", sampling.seed.as_ref());
    config.put_some("candidateCount", sampling.choices.filter(|n| own || *n > 1));
    config.put_some("responseLogprobs", sampling.logprobs.filter(|on| own || *on));
    config.put_some("logprobs", sampling.top_logprobs);
    config.put_some("maxOutputTokens", request.max_output);
    if !request.stop.is_empty() {
        config.put("stopSequences", request.stop.clone());
    }
    match &request.format {
        Some(AnswerFormat::Text) if own => config.put("responseMimeType", "text/plain"),
        Some(AnswerFormat::Json) => config.put("responseMimeType", "application/json"),
        Some(AnswerFormat::Schema { schema, .. }) => {
            config.put("responseMimeType", "application/json");
            config.put("responseJsonSchema", schema);
        }
        _ => {}
    }
    if let Some(reasoning) = &request.reasoning {
        let thinking = to.thinking(reasoning);
        if !thinking.is_empty() {
            config.put("thinkingConfig", thinking);
        }
    }
    if !config.is_empty() {
        body.put("generationConfig", config);
    }
    to.dropped.add_if(request.parallel_tools == Some(false), "parallel_tool_calls");
    if own {
        body.fill(request.extra.clone());
    } else {
        to.dropped.add_if(request.user.is_some(), "user");
        drop_extra(request, &mut to.dropped)?;
    }
    Ok((body, to.dropped))
}

/// Models since Gemini 3 think in words, not in numbers, and want calls signed.
fn third_or_later(model: &str) -> bool {
    let generation = model.split("gemini-").nth(1).and_then(|rest| rest.chars().next()).and_then(|c| c.to_digit(10));
    generation.is_some_and(|n| n >= 3)
}

/// The least that a model of the third generation can think: only the small ones take `MINIMAL`, and not all.
fn least_effort(model: &str) -> Effort {
    if model.contains("flash") && !model.contains("-3.7-") { Effort::Minimal } else { Effort::Low }
}

struct Writer<'a> {
    own: bool,
    /// Tools by their calls' ids.
    names: Map<&'a str, &'a str>,
    dropped: Dropped,
    must_sign: bool,
    least: Effort,
    least_budget: u64,
    call_ids: bool,
}

impl<'a> Writer<'a> {
    fn rest(&mut self, out: &mut Fields, extra: &Fields, outer: &str) {
        if self.own { out.fill(extra.clone()) } else { self.dropped.add_fields(outer, extra) }
    }

    /// What the model reads.
    fn prompt(&mut self, request: &'a Request) -> Result<Fields, Refused> {
        let (system, talk) = split_system(request);
        let mut body = Fields::new();
        if !system.is_empty() {
            let mut parts = Vec::new();
            for part in system {
                self.part(part, &mut parts).map_err(|e| e.within("system"))?;
            }
            if !parts.is_empty() {
                body.put("systemInstruction", object! { "parts": parts });
            }
        }
        body.put("contents", self.contents(&talk)?);
        if !request.tools.is_empty() {
            body.put("tools", self.tools(&request.tools)?);
        }
        let choice = match &request.tool_choice {
            None => return Ok(body),
            Some(ToolChoice::Auto) => object! { "mode": "AUTO" },
            Some(ToolChoice::None) => object! { "mode": "NONE" },
            Some(ToolChoice::Any) => object! { "mode": "ANY" },
            Some(ToolChoice::Tool(name)) => object! { "mode": "ANY", "allowedFunctionNames": vec![name.as_str()] },
            Some(ToolChoice::Opaque(config)) => {
                body.put("toolConfig", config);
                return Ok(body);
            }
        };
        body.put("toolConfig", object! { "functionCallingConfig": choice });
        Ok(body)
    }

    /// Turns: what one side says in several messages is one.
    fn contents(&mut self, talk: &[(usize, &Message)]) -> Result<Vec<Fields>, Refused> {
        let mut turns: Vec<(bool, Vec<Fields>, Fields)> = Vec::new();
        for (at, message) in talk {
            let model = message.role == Role::Assistant;
            let mut parts = Vec::new();
            let mut pending: Option<&Signature> = None;
            let mut signed = false;
            for (n, part) in message.parts.iter().enumerate() {
                if let Body::Thinking { text, signature: Some(signature) } = &part.body
                    && text.is_empty()
                    && signature.maker == Maker::Gemini
                {
                    pending = Some(signature);
                    continue;
                }
                let before = parts.len();
                self.part(part, &mut parts).map_err(|e| e.within(&format!("messages[{at}].content[{n}]")))?;
                if let (Some(new), Body::ToolCall { signature, .. }) = (parts.get_mut(before), &part.body) {
                    let own = signature.as_ref().or(pending.take()).and_then(|s| s.for_maker(Maker::Gemini));
                    // The first call of a turn must be signed; that of another's model cannot be.
                    let stands_in = (!signed && self.must_sign && !self.own).then_some(NOT_SIGNED);
                    new.put_some("thoughtSignature", own.or(stands_in));
                    signed = true;
                }
            }
            let mut extra = Fields::new();
            self.rest(&mut extra, &message.extra, "messages[]");
            match turns.last_mut() {
                Some((of_model, all, _)) if *of_model == model && !self.own => all.append(&mut parts),
                _ if parts.is_empty() && !self.own => {}
                _ => turns.push((model, parts, extra)),
            }
        }
        let written = turns.into_iter().map(|(model, parts, extra)| {
            let mut turn = object! { "role": if model { "model" } else { "user" }, "parts": parts };
            turn.fill(extra);
            turn
        });
        Ok(written.collect())
    }

    /// A part; more than one where a tool's answer holds pictures, none for what has no place.
    fn part(&mut self, part: &Part, out: &mut Vec<Fields>) -> Result<(), Refused> {
        let cannot = |why: &str| Err(Refused::new("", format!("a part of type `{}` cannot be sent to this target{why}", part.body.kind())));
        self.dropped.add_if(part.cache.is_some(), "cache_control");
        let mut new = match &part.body {
            Body::Text(text) | Body::Refusal(text) if text.is_empty() && !self.own => return Ok(()),
            Body::Text(text) | Body::Refusal(text) => object! { "text": text },
            Body::Image { source, detail } => {
                self.dropped.add_if(detail.as_deref().is_some_and(|d| d != "auto"), "image_url.detail");
                match bytes_of(source) {
                    Some(written) => written,
                    None => return cannot(": send the picture as an URL or as base64"),
                }
            }
            Body::File { source: Source::Text(text), .. } => object! { "text": text },
            Body::File { source, .. } => match bytes_of(source) {
                Some(written) => written,
                None => return cannot(": send the document as an URL or as base64"),
            },
            Body::Audio { data, format } => object! { "inlineData": object! { "mimeType": format!("audio/{format}"), "data": data } },
            Body::ToolCall { id, name, arguments, .. } => {
                let mut call = Fields::new();
                call.put_some("id", self.call_ids.then_some(id));
                call.put("name", name);
                call.put("args", arguments_object(arguments)?);
                object! { "functionCall": call }
            }
            Body::ToolResult { id, name, parts, failed } => {
                let known = name.as_deref().or_else(|| self.names.get(id.as_str()).copied());
                let Some(name) = known else {
                    return Err(Refused::new("tool_call_id", "names no call of this conversation: the target wants the tool's name"));
                };
                let (response, others) = response(parts, *failed);
                let mut answer = Fields::new();
                answer.put_some("id", self.call_ids.then_some(id));
                answer.put("name", name);
                answer.put("response", response);
                let mut written = object! { "functionResponse": answer };
                self.rest(&mut written, &part.extra, "messages[].content[]");
                out.push(written);
                for other in others {
                    self.part(other, out)?;
                }
                return Ok(());
            }
            Body::Thinking { text, signature } => {
                let signature = signature.as_ref().and_then(|s| s.for_maker(Maker::Gemini));
                if !self.own && signature.is_none() {
                    self.dropped.add("thinking");
                    return Ok(());
                }
                let mut thought = object! { "text": text, "thought": true };
                thought.put_some("thoughtSignature", signature);
                thought
            }
            Body::Redacted(_) => {
                self.dropped.add("thinking");
                return Ok(());
            }
            Body::Opaque(fields) if self.own => fields.clone(),
            Body::Opaque(_) => return cannot(""),
        };
        self.rest(&mut new, &part.extra, "messages[].content[]");
        out.push(new);
        Ok(())
    }

    /// Functions in one group; Google's own tools each by itself.
    fn tools(&mut self, tools: &[Tool]) -> Result<Vec<Fields>, Refused> {
        let (mut functions, mut others) = (Vec::new(), Vec::new());
        for tool in tools {
            self.dropped.add_if(tool.cache.is_some(), "cache_control");
            match &tool.kind {
                ToolKind::Opaque(fields) if self.own => others.push(fields.clone()),
                ToolKind::Opaque(fields) => {
                    let kind = fields.text("type").unwrap_or("unknown");
                    return Err(Refused::new(
                        "tools",
                        format!("a tool of type `{kind}` cannot be sent to this target: it takes functions only"),
                    ));
                }
                ToolKind::Function { name, description, schema, strict } => {
                    self.dropped.add_if(*strict == Some(true), "tools[].strict");
                    let mut function = object! { "name": name };
                    function.put_some("description", description.as_ref());
                    function.put_some("parametersJsonSchema", schema.as_ref());
                    self.rest(&mut function, &tool.extra, "tools[]");
                    functions.push(function);
                }
            }
        }
        if !functions.is_empty() {
            others.insert(0, object! { "functionDeclarations": functions });
        }
        Ok(others)
    }

    fn thinking(&mut self, reasoning: &Reasoning) -> Fields {
        let mut out = Fields::new();
        if self.own {
            out.put_some("includeThoughts", reasoning.show);
            out.put_some("thinkingBudget", reasoning.budget);
            out.put_some("thinkingLevel", reasoning.effort.map(|e| e.word().to_ascii_uppercase()));
            out.fill(reasoning.extra.clone());
            return out;
        }
        let off = !reasoning.asks();
        let wants = reasoning.show == Some(true) || (reasoning.on == Some(true) && reasoning.show != Some(false));
        if wants && !off {
            out.put("includeThoughts", true);
        }
        if self.must_sign {
            let effort = if off { Some(self.least) } else { reasoning.effort.or(reasoning.budget.map(Effort::of_budget)) };
            out.put_some("thinkingLevel", effort.map(|e| e.clamp(self.least, Effort::High).word().to_ascii_uppercase()));
        } else {
            let budget = if off { Some(0) } else { reasoning.budget.or(reasoning.effort.map(Effort::budget)) };
            out.put_some("thinkingBudget", budget.map(|n| n.clamp(self.least_budget, 24_576)));
        }
        out
    }
}

/// A picture's or a document's part; none of what has no bytes and no URL.
pub(super) fn bytes_of(source: &Source) -> Option<Fields> {
    match source {
        Source::Base64 { mime, data } => Some(object! { "inlineData": object! { "mimeType": mime, "data": data } }),
        Source::Url(url) => {
            let mut file = object! { "fileUri": url };
            file.put_some("mimeType", mime_of_name(url));
            Some(object! { "fileData": file })
        }
        Source::Text(_) | Source::Id(_) => None,
    }
}

/// What a tool answered as an object, and the parts that are no text.
fn response(parts: &[Part], failed: bool) -> (Fields, Vec<&Part>) {
    let (mut text, mut others) = (String::new(), Vec::new());
    for part in parts {
        match &part.body {
            Body::Text(more) => text.push_str(more),
            _ => others.push(part),
        }
    }
    let key = if failed { "error" } else { "output" };
    let fields = match Json::read(text.as_bytes()) {
        Ok(Json::Object(fields)) if !failed => fields,
        _ => {
            let mut fields = Fields::new();
            fields.put(key, text);
            fields
        }
    };
    (fields, others)
}
