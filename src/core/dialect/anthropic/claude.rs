//! What Claude takes depends on its version, at Anthropic and on Bedrock alike.

use super::super::Dialect;
use super::super::common::{Body, Effort, Maker, Message, Part, Request, Role, ToolChoice};
use super::super::fields::Dropped;
use super::super::foreign::cool;
use super::super::json::{Fields, Json, object};

/// The least budget that Anthropic takes for thinking.
const LEAST_BUDGET: u64 = 1_024;

/// How Claude is told to think by a request of another format: `thinking`, and the effort where the
/// model takes a word. None if it is not to think, or cannot, which is noted.
pub(crate) fn claude_thinking(request: &Request, model: &str, most: u64, dropped: &mut Dropped) -> Option<(Fields, Option<Effort>)> {
    let reasoning = request.reasoning.as_ref()?;
    if reasoning.on == Some(false) || reasoning.effort == Some(Effort::None) || reasoning.budget == Some(0) {
        return None;
    }
    // An effort alone asks for reasoning in OpenAI's words; in Claude's own it asks for brevity.
    let asks = match request.origin {
        Dialect::Anthropic | Dialect::Bedrock => reasoning.on == Some(true),
        _ => reasoning.on == Some(true) || reasoning.effort.is_some() || reasoning.budget.is_some(),
    };
    if !asks {
        dropped.add_if(reasoning.effort.is_some(), "output_config.effort");
        dropped.add_if(reasoning.on.is_none() && !reasoning.extra.is_empty(), "reasoning");
        return None;
    }
    let budget = reasoning.budget.or(reasoning.effort.map(Effort::budget)).unwrap_or_else(|| Effort::Medium.budget());
    let budget = budget.max(LEAST_BUDGET).min(most.saturating_sub(1));
    let by_budget = thinks_by_budget(model);
    let forced = matches!(request.tool_choice, Some(ToolChoice::Any | ToolChoice::Tool(_)));
    if forced || unsigned_turn(request) || (by_budget && budget < LEAST_BUDGET) {
        // The API refuses thinking with forced tools, in a turn whose reasoning is lost, and without room.
        dropped.add("reasoning");
        return None;
    }
    if by_budget {
        return Some((object! { "type": "enabled", "budget_tokens": budget }, None));
    }
    let mut thinking = object! { "type": "adaptive" };
    if reasoning.show == Some(true) {
        thinking.put("display", "summarized");
    }
    let effort = reasoning.effort.or(reasoning.budget.map(Effort::of_budget)).map(|e| e.max(Effort::Low));
    // Claude 4.6 has no word between `high` and `max`.
    let effort = effort.map(|e| if e == Effort::XHigh && model.contains("-4-6") { Effort::High } else { e });
    Some((thinking, effort))
}

/// The same as they were asked for.
pub(super) fn own_sampling(request: &Request) -> [Option<Json>; 3] {
    let sampling = &request.sampling;
    [&sampling.temperature, &sampling.top_p, &sampling.top_k].map(|n| n.as_ref().map(Json::from))
}

/// Temperature, nucleus and most likely tokens as Claude takes them from a request of another format.
/// Models since Claude 4.7 take none of them, none does while it thinks, and none takes both of the
/// first two.
pub(crate) fn claude_sampling(request: &Request, model: &str, thinks: bool, dropped: &mut Dropped) -> [Option<Json>; 3] {
    let [temperature, top_p, top_k] = own_sampling(request);
    let takes = !thinks && (thinks_by_budget(model) || model.contains("-4-6"));
    if !takes {
        dropped.add_if(temperature.is_some(), "temperature");
        dropped.add_if(top_p.is_some(), "top_p");
        dropped.add_if(top_k.is_some(), "top_k");
        return [None, None, None];
    }
    dropped.add_if(temperature.is_some() && top_p.is_some(), "top_p");
    let top_p = top_p.filter(|_| temperature.is_none());
    [cool(request, dropped), top_p, top_k]
}

/// Whether a model takes a number for thinking. Models since Claude 4.6 think as they like and take a
/// word; older ones know no word.
fn thinks_by_budget(model: &str) -> bool {
    const OLDER: [&str; 9] =
        ["claude-3", "opus-4-0", "sonnet-4-0", "opus-4-1", "opus-4-5", "sonnet-4-5", "haiku-4-5", "opus-4-2025", "sonnet-4-2025"];
    OLDER.iter().any(|older| model.contains(older))
}

/// Whether the conversation ends in a turn with tools whose reasoning Claude did not sign: thinking
/// cannot be switched on in the middle of it.
fn unsigned_turn(request: &Request) -> bool {
    let results = |m: &&Message| m.role == Role::Tool || m.parts.iter().any(|p| matches!(p.body, Body::ToolResult { .. }));
    if !request.messages.last().as_ref().is_some_and(results) {
        return false;
    }
    let Some(turn) = request.messages.iter().rev().find(|m| m.role == Role::Assistant) else { return false };
    let signed = |part: &Part| match &part.body {
        Body::Thinking { signature: Some(s), .. } | Body::Redacted(s) => s.maker == Maker::Anthropic,
        _ => false,
    };
    !turn.parts.iter().any(signed)
}
