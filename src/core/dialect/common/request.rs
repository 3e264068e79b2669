//! What is asked.

use super::super::Dialect;
use super::super::json::{Fields, Json};
use super::reasoning::Reasoning;
use super::signature::Signature;
use crate::map::Map;
use serde_json::Number;

/// A request for an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The format that it came in: whose names and opaque parts it holds.
    pub origin: Dialect,
    /// The model as the caller named it.
    pub model: String,
    /// The conversation, system prompts among it, in order.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    pub parallel_tools: Option<bool>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Most output tokens of a choice.
    pub max_output: Option<u64>,
    /// Texts that end the output.
    pub stop: Vec<String>,
    /// What the output must look like.
    pub format: Option<AnswerFormat>,
    /// How much to think.
    pub reasoning: Option<Reasoning>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a stream is to tell usage. Only Chat Completions make it a choice.
    pub include_usage: bool,
    /// Who the end user is, as the caller calls them.
    pub user: Option<String>,
    /// Fields that only the origin's format knows.
    pub extra: Fields,
}

impl Request {
    /// An empty one.
    pub fn new(origin: Dialect, model: impl Into<String>) -> Request {
        Request {
            origin,
            model: model.into(),
            messages: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tools: None,
            sampling: Sampling::default(),
            max_output: None,
            stop: Vec::new(),
            format: None,
            reasoning: None,
            stream: false,
            include_usage: false,
            user: None,
            extra: Fields::new(),
        }
    }

    /// Pictures and documents that the provider fetches itself, whose tokens the body's bytes don't bound.
    pub fn remote_media(&self) -> u64 {
        fn of(parts: &[Part]) -> u64 {
            let one = |part: &Part| match &part.body {
                Body::Image { source: Source::Url(_) | Source::Id(_), .. } | Body::File { source: Source::Url(_) | Source::Id(_), .. } => 1,
                Body::ToolResult { parts, .. } => of(parts),
                _ => 0,
            };
            parts.iter().map(one).fold(0, u64::saturating_add)
        }
        self.messages.iter().map(|m| of(&m.parts)).fold(0, u64::saturating_add)
    }

    /// The names of tools by the ids of their calls.
    pub(crate) fn tools_of_calls(&self) -> Map<&str, &str> {
        let parts = self.messages.iter().flat_map(|m| &m.parts);
        let calls = parts
            .filter_map(|part| if let Body::ToolCall { id, name, .. } = &part.body { Some((id.as_str(), name.as_str())) } else { None });
        calls.collect()
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator: rules for the conversation.
    System,
    /// The same, as OpenAI calls it for reasoning models.
    Developer,
    /// The user; in Anthropic's format also the results of tools.
    User,
    /// The model.
    Assistant,
    /// A tool's result, where the format gives it a message of its own.
    Tool,
}

impl Role {
    /// Whether it gives rules.
    pub fn instructs(self) -> bool {
        matches!(self, Role::System | Role::Developer)
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// Fields that only the origin's format knows.
    pub extra: Fields,
}

impl Message {
    /// One without fields of its own.
    pub fn new(role: Role, parts: Vec<Part>) -> Message {
        Message { role, parts, extra: Fields::new() }
    }
}

/// A part of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is.
    pub body: Body,
    /// Whether the prompt is to be cached up to here.
    pub cache: Option<CacheMark>,
    /// Fields that only the origin's format knows.
    pub extra: Fields,
}

impl Part {
    /// One without mark or fields of its own.
    pub fn new(body: Body) -> Part {
        Part { body, cache: None, extra: Fields::new() }
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> Part {
        Part::new(Body::Text(text.into()))
    }

    /// With fields of its own.
    #[must_use]
    pub fn with(self, extra: Fields) -> Part {
        Part { extra, ..self }
    }
}

/// What a part is.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Text.
    Text(String),
    /// What the model says in place of an answer that it refuses.
    Refusal(String),
    /// A picture.
    Image {
        /// Where its bytes are.
        source: Source,
        /// How closely to look, in OpenAI's words.
        detail: Option<String>,
    },
    /// A document.
    File {
        /// Where its bytes are.
        source: Source,
        /// Its name.
        name: Option<String>,
    },
    /// Sound.
    Audio {
        /// Base64.
        data: String,
        /// `wav`, `mp3`, …
        format: String,
    },
    /// The model calls a tool.
    ToolCall {
        /// The call's name, which its result repeats.
        id: String,
        /// The tool.
        name: String,
        /// Arguments, JSON text as the model wrote it.
        arguments: String,
        /// Gemini signs calls, not thoughts.
        signature: Option<Signature>,
    },
    /// What a tool answered.
    ToolResult {
        /// The call.
        id: String,
        /// The tool, where the format tells.
        name: Option<String>,
        /// Texts, pictures, documents.
        parts: Vec<Part>,
        /// Whether the tool failed.
        failed: bool,
    },
    /// The model's reasoning.
    Thinking {
        /// What may be shown; empty if nothing may.
        text: String,
        /// What the provider wants back with it.
        signature: Option<Signature>,
    },
    /// Reasoning that only its maker can read.
    Redacted(Signature),
    /// A part that only the origin's format knows.
    Opaque(Fields),
}

impl Body {
    /// What to call it in a refusal.
    pub fn kind(&self) -> &str {
        match self {
            Body::Text(_) => "text",
            Body::Refusal(_) => "refusal",
            Body::Image { .. } => "image",
            Body::File { .. } => "file",
            Body::Audio { .. } => "audio",
            Body::ToolCall { .. } => "tool call",
            Body::ToolResult { .. } => "tool result",
            Body::Thinking { .. } | Body::Redacted(_) => "reasoning",
            Body::Opaque(fields) => fields.text("type").unwrap_or("unknown"),
        }
    }
}

/// Where bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The provider fetches them.
    Url(String),
    /// They are here.
    Base64 {
        /// Media type.
        mime: String,
        /// Base64.
        data: String,
    },
    /// They are plain text, and here.
    Text(String),
    /// The provider has them already, under this name.
    Id(String),
}

/// Cache the prompt up to here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheMark {
    /// For how long, in the provider's words (`5m`, `1h`).
    pub ttl: Option<String>,
}

/// Something that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// What it is.
    pub kind: ToolKind,
    /// Whether the prompt is to be cached up to here.
    pub cache: Option<CacheMark>,
    /// Fields that only the origin's format knows.
    pub extra: Fields,
}

/// What a tool is.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolKind {
    /// The caller runs it.
    Function {
        /// Its name.
        name: String,
        /// What it does.
        description: Option<String>,
        /// JSON schema of its arguments.
        schema: Option<Json>,
        /// Whether arguments must fit the schema.
        strict: Option<bool>,
    },
    /// The provider runs it, or only the origin's format knows it.
    Opaque(Fields),
}

/// Whether tools must be called.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Any,
    /// This one.
    Tool(String),
    /// In words of the origin's format.
    Opaque(Json),
}

/// How the next token is chosen. Numbers stay as they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2 (OpenAI, Gemini) or 0 to 1 (Anthropic, Bedrock).
    pub temperature: Option<Number>,
    /// Nucleus.
    pub top_p: Option<Number>,
    /// Most likely tokens.
    pub top_k: Option<Number>,
    /// −2 to 2.
    pub frequency_penalty: Option<Number>,
    /// −2 to 2.
    pub presence_penalty: Option<Number>,
    /// For repeatable answers.
    pub seed: Option<Number>,
    /// How many answers.
    pub choices: Option<u64>,
    /// Whether to tell log-probabilities.
    pub logprobs: Option<bool>,
    /// Of how many alternatives.
    pub top_logprobs: Option<u64>,
}

/// What the output must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerFormat {
    /// Text.
    Text,
    /// Some JSON object.
    Json,
    /// JSON that fits a schema.
    Schema {
        /// The schema's name.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Json,
        /// Whether it must fit exactly.
        strict: Option<bool>,
    },
    /// In words of the origin's format.
    Opaque(Json),
}
