//! What models take, as far as their names tell. Providers refuse a whole request for one word that its model
//! does not know, so requests of other formats are written without it. What is not named here takes everything.

use super::common::{Effort, Request};

/// Models that do not reason, and refuse every word about it. A model is one of them if its name, without the
/// maker's before a slash, begins so.
const NOT_REASONING: [&str; 19] = [
    "gpt-3.5",
    "gpt-4",
    "chatgpt-4o",
    "gpt-5-chat",
    "gemini-1.",
    "gemini-2.0",
    "gemma-2",
    "gemma-3",
    "claude-2",
    "claude-3-haiku",
    "claude-3-opus",
    "claude-3-sonnet",
    "claude-3-5",
    "llama-",
    "meta-llama",
    "mixtral",
    "open-mi",
    "command-r",
    "grok-2",
];

/// The name without its maker: `openai/gpt-4o`, `@cf/meta/llama-…`, `us.anthropic.claude-…`.
fn plain(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    match name.find("anthropic.") {
        Some(at) => name.get(at..).and_then(|rest| rest.split_once('.')).map_or(name.clone(), |(_, rest)| rest.to_owned()),
        None => name,
    }
}

/// Whether a model may reason.
pub fn reasons(model: &str) -> bool {
    let name = plain(model);
    !NOT_REASONING.iter().any(|start| name.starts_with(start))
}

/// Whether an OpenAI model samples as it likes: it refuses temperatures and the like, penalties,
/// log-probabilities and stop texts. The reasoning ones do; those since 5.1 only while they reason.
pub(super) fn samples_alone(request: &Request, model: &str) -> bool {
    let name = plain(model);
    let digit = |at: usize| name.as_bytes().get(at).copied().filter(u8::is_ascii_digit);
    let early = name.starts_with('o') && digit(1).is_some();
    let later = name.starts_with("gpt-") && digit(4).is_some_and(|d| d >= b'5') && !name.contains("-chat");
    let quiet = request.reasoning.as_ref().is_some_and(|r| r.on == Some(false) || r.effort == Some(Effort::None));
    early || (later && !(quiet && name.get(5..6) == Some(".")))
}

/// The least that a Gemini model of the second generation can think, in tokens; `Pro` cannot stop thinking.
pub(super) fn least_thought(model: &str) -> u64 {
    if model.contains("pro") { 128 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::super::Dialect;
    use super::super::common::Reasoning;
    use super::*;

    #[test]
    fn those_that_do_not_reason_are_known_by_name() {
        for model in
            ["gpt-4o-mini", "openai/gpt-4.1", "gemini-2.0-flash", "@cf/meta/llama-3.3-70b", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"]
        {
            assert!(!reasons(model), "{model}");
        }
        for model in [
            "gpt-5-mini",
            "o3",
            "gemini-2.5-flash",
            "claude-3-7-sonnet-latest",
            "eu.anthropic.claude-sonnet-4-5-v1:0",
            "deepseek-reasoner",
            "x",
        ] {
            assert!(reasons(model), "{model}");
        }
    }

    #[test]
    fn openais_reasoning_models_sample_alone() {
        let mut request = Request::new(Dialect::Anthropic, "m");
        for (model, alone) in [
            ("o3-mini", true),
            ("gpt-5", true),
            ("gpt-5.1", true),
            ("gpt-6", true),
            ("gpt-4o", false),
            ("gpt-5-chat-latest", false),
            ("olmo", false),
            ("", false),
        ] {
            assert_eq!(samples_alone(&request, model), alone, "{model}");
        }
        request.reasoning = Some(Reasoning { effort: Some(Effort::None), ..Reasoning::default() });
        assert!(!samples_alone(&request, "openai/gpt-5.2") && samples_alone(&request, "gpt-5-mini") && samples_alone(&request, "o1"));
    }
}
