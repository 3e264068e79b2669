//! What is done with words that only another format has.

use super::common::{AnswerFormat, Message, Part, Request, Sampling, ToolChoice};
use super::fields::{Dropped, Refused};
use super::json::{Fields, Json};
use serde_json::Number;

/// Fields that change what is asked: without them another question would be answered.
const NEEDED: [(&str, &str); 16] = [
    ("functions", "use `tools`"),
    ("function_call", "use `tool_choice`"),
    ("web_search_options", "only OpenAI's own models search"),
    ("audio", "this target does not speak"),
    ("previous_response_id", "this target keeps no conversations: send the whole input"),
    ("conversation", "this target keeps no conversations: send the whole input"),
    ("prompt", "this target keeps no prompts: send the whole input"),
    ("background", "this target does not work in the background"),
    ("container", "this target has no containers"),
    ("mcp_servers", "this target calls no MCP servers"),
    ("cachedContent", "this target does not hold that content: send it"),
    ("guardrailConfig", "this target has no such guardrail"),
    ("promptVariables", "this target keeps no prompts"),
    ("additionalModelRequestFields", "this target is not of that model's provider"),
    ("context_management", "this target does not manage the context"),
    ("safetySettings", "this target has no such settings"),
];

/// Reads through the fields that only the request's own format knows: refuses what the answer depends
/// on, notes the rest as dropped.
pub(super) fn drop_extra(request: &Request, dropped: &mut Dropped) -> Result<(), Refused> {
    for (name, value) in request.extra.iter() {
        let idle = matches!(value, Json::Null | Json::Bool(false)) || value.as_list().is_some_and(<[Json]>::is_empty);
        if let Some((_, why)) = NEEDED.iter().find(|(needed, _)| *needed == name && !idle) {
            return Err(Refused::new(name, format!("cannot be sent to this target: {why}")));
        }
        let speaks = |m: &Json| m.as_text() != Some("text") && m.as_text() != Some("TEXT");
        if name == "modalities" && value.as_list().is_some_and(|all| all.iter().any(speaks)) {
            return Err(Refused::new(name, "this target answers in text only"));
        }
        // Read already: it is in `max_output`.
        dropped.add_if(name != "max_tokens" && !idle, name);
    }
    Ok(())
}

/// Refuses more than one choice.
pub(super) fn one_choice(request: &Request) -> Result<(), Refused> {
    match request.sampling.choices {
        None | Some(1) => Ok(()),
        Some(_) => Err(Refused::new("n", "this target gives one answer a request: ask several times")),
    }
}

/// Refuses choices of tools and formats in words of another format.
pub(super) fn no_opaque_words(request: &Request) -> Result<(), Refused> {
    if matches!(request.tool_choice, Some(ToolChoice::Opaque(_))) {
        return Err(Refused::new("tool_choice", "cannot be said to this target"));
    }
    if matches!(request.format, Some(AnswerFormat::Opaque(_))) {
        return Err(Refused::new("response_format", "cannot be said to this target"));
    }
    Ok(())
}

/// Notes what sampling cannot be told; `known` are the words that the target has.
pub(super) fn drop_sampling(request: &Request, known: &[&str], dropped: &mut Dropped) {
    let sampling = &request.sampling;
    for (name, there) in [
        ("top_k", sampling.top_k.is_some()),
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("seed", sampling.seed.is_some()),
        ("logprobs", sampling.logprobs == Some(true)),
        ("top_logprobs", sampling.top_logprobs.is_some()),
    ] {
        dropped.add_if(there && !known.contains(&name), name);
    }
}

/// The request without what a model that samples alone refuses. What it would do anyway is not worth a word.
pub(super) fn without_sampling(request: &Request, dropped: &mut Dropped) -> Request {
    let Sampling { temperature, top_p, frequency_penalty, presence_penalty, logprobs, top_logprobs, .. } = &request.sampling;
    let other = |number: &Option<Number>, usual: f64| number.as_ref().is_some_and(|n| n.as_f64() != Some(usual));
    dropped.add_if(other(temperature, 1.0), "temperature");
    dropped.add_if(other(top_p, 1.0), "top_p");
    dropped.add_if(other(frequency_penalty, 0.0), "frequency_penalty");
    dropped.add_if(other(presence_penalty, 0.0), "presence_penalty");
    dropped.add_if(*logprobs == Some(true), "logprobs");
    dropped.add_if(top_logprobs.is_some(), "top_logprobs");
    dropped.add_if(!request.stop.is_empty(), "stop");
    let Sampling { seed, choices, top_k, .. } = request.sampling.clone();
    Request { sampling: Sampling { seed, choices, top_k, ..Sampling::default() }, stop: Vec::new(), ..request.clone() }
}

/// The texts that end the output, without blank ones, which Claude refuses.
pub(super) fn visible_stops(request: &Request, dropped: &mut Dropped) -> Vec<String> {
    let stops: Vec<String> = request.stop.iter().filter(|text| !text.trim().is_empty()).cloned().collect();
    dropped.add_if(stops.len() < request.stop.len(), "stop");
    stops
}

/// Who the end user is, if the target takes a name of that length, in characters.
pub(super) fn user<'a>(request: &'a Request, most: usize, dropped: &mut Dropped) -> Option<&'a String> {
    let user = request.user.as_ref().filter(|name| name.chars().count() <= most);
    dropped.add_if(user.is_none() && request.user.is_some(), "user");
    user
}

/// The temperature for targets whose scale ends at 1.
pub(super) fn cool(request: &Request, dropped: &mut Dropped) -> Option<Json> {
    let wanted = request.sampling.temperature.as_ref()?;
    if wanted.as_f64().is_some_and(|t| t > 1.0) {
        dropped.add("temperature");
        return Some(1_u32.into());
    }
    Some(wanted.into())
}

/// Splits off the rules. Targets that take them apart from the conversation get all of them there, the
/// later ones too, in order. Without a conversation they are one: it must not be empty.
pub(super) fn split_system(request: &Request) -> (Vec<&Part>, Vec<(usize, &Message)>) {
    let (rules, talk): (Vec<_>, Vec<_>) = request.messages.iter().enumerate().partition(|(_, m)| m.role.instructs());
    if talk.is_empty() {
        return (Vec::new(), rules);
    }
    (rules.into_iter().flat_map(|(_, m)| &m.parts).collect(), talk)
}

/// A tool's arguments as an object, which is what a target wants that has no text for them.
pub(super) fn arguments_object(arguments: &str) -> Result<Fields, Refused> {
    if arguments.trim().is_empty() {
        return Ok(Fields::new());
    }
    match Json::read(arguments.as_bytes()) {
        Ok(Json::Object(fields)) => Ok(fields),
        _ => Err(Refused::new("arguments", "must be a JSON object: this target takes no other arguments")),
    }
}

/// The same of an answer, where nobody can be refused: what is no object stands under `malformed`.
pub(super) fn arguments_of_answer(arguments: &str) -> Fields {
    arguments_object(arguments).unwrap_or_else(|_| super::json::object! { "malformed": arguments })
}
