//! Usage as Gemini tells it: thoughts are counted beside the candidates, cached tokens inside the prompt.

use super::super::common::Usage;
use super::super::json::{Fields, object};

/// What was told so far: every chunk of a stream tells all that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    prompt: Option<u64>,
    tools: u64,
    cached: u64,
    candidates: u64,
    thoughts: u64,
}

impl Told {
    /// Takes the figures out of `usageMetadata`; fields that are absent keep what was told before.
    pub fn take(&mut self, usage: &mut Fields) {
        self.prompt = usage.take_u64("promptTokenCount").or(self.prompt);
        self.tools = usage.take_u64("toolUsePromptTokenCount").unwrap_or(self.tools);
        self.cached = usage.take_u64("cachedContentTokenCount").unwrap_or(self.cached);
        self.candidates = usage.take_u64("candidatesTokenCount").unwrap_or(self.candidates);
        self.thoughts = usage.take_u64("thoughtsTokenCount").unwrap_or(self.thoughts);
        usage.take("totalTokenCount");
    }

    /// As counted everywhere.
    pub fn usage(&self) -> Option<Usage> {
        let input = self.prompt?.saturating_add(self.tools);
        let output = self.candidates.saturating_add(self.thoughts);
        Usage { input, output, cached: self.cached, reasoning: self.thoughts, ..Usage::default() }.checked()
    }
}

/// `usageMetadata`.
pub(super) fn written(usage: Usage) -> Fields {
    let mut out = object! { "promptTokenCount": usage.input, "candidatesTokenCount": usage.output.saturating_sub(usage.reasoning) };
    out.put_some("thoughtsTokenCount", Some(usage.reasoning).filter(|n| *n > 0));
    out.put_some("cachedContentTokenCount", Some(usage.cached).filter(|n| *n > 0));
    out.put("totalTokenCount", usage.total());
    out
}

/// Takes the figures of a whole answer out of a usage object.
pub(crate) fn take(usage: &mut Fields) -> Option<Usage> {
    let mut told = Told::default();
    told.take(usage);
    told.usage()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::json::Json;

    #[test]
    fn thoughts_are_output_and_tool_prompts_are_input() {
        let mut told = Told::default();
        for chunk in [
            r#"{"promptTokenCount":100,"cachedContentTokenCount":40,"totalTokenCount":100}"#,
            r#"{"promptTokenCount":100,"candidatesTokenCount":7,"thoughtsTokenCount":30,"toolUsePromptTokenCount":5}"#,
        ] {
            told.take(&mut Json::read(chunk.as_bytes()).unwrap().into_fields().unwrap());
        }
        let usage = Usage { input: 105, output: 37, cached: 40, reasoning: 30, ..Usage::default() };
        assert_eq!(told.usage(), Some(usage));
    }
}
