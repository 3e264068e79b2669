//! What a request asks for, whichever format it came in.

use tollgate_core::dialect::common::Request;
use tollgate_core::dialect::embeddings::EmbedRequest;
use tollgate_core::dialect::openai::{ChatRequest, Wrong};
use tollgate_core::dialect::{Dialect, Passing, Refused};
use tollgate_core::failure::Failure;
use tollgate_core::price::TierAsked;

/// What is asked: one for each path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/responses`.
    Responses,
    /// `/v1/messages`.
    Messages,
    /// `/v1/messages/count_tokens`.
    CountTokens,
    /// `/v1/embeddings`.
    Embeddings,
}

const ALL: [Endpoint; 5] = [Endpoint::Chat, Endpoint::Responses, Endpoint::Messages, Endpoint::CountTokens, Endpoint::Embeddings];

impl Endpoint {
    /// The endpoint at a path.
    pub fn at(path: &str) -> Option<Endpoint> {
        ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/v1/chat/completions",
            Endpoint::Responses => "/v1/responses",
            Endpoint::Messages => "/v1/messages",
            Endpoint::CountTokens => "/v1/messages/count_tokens",
            Endpoint::Embeddings => "/v1/embeddings",
        }
    }

    /// The format that its clients speak. Embeddings have one of their own; their errors are OpenAI's.
    pub fn dialect(self) -> Dialect {
        match self {
            Endpoint::Chat | Endpoint::Embeddings => Dialect::OpenAiChat,
            Endpoint::Responses => Dialect::OpenAiResponses,
            Endpoint::Messages | Endpoint::CountTokens => Dialect::Anthropic,
        }
    }
}

/// A request, read as far as policy needs.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where.
    pub endpoint: Endpoint,
    /// The model as the caller named it.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the caller asked for usage in the stream.
    pub include_usage: bool,
    /// Most output tokens of all choices together, where the caller set a bound.
    pub max_output: Option<u64>,
    /// Choices.
    pub choices: u64,
    /// Bytes of the body without white space outside: never fewer than its tokens.
    pub bytes: usize,
    /// Pictures and documents that the provider fetches itself, whose tokens the bytes don't bound.
    pub remote_media: u64,
    /// Whether a stored answer to the same request would be an answer to this one.
    pub repeatable: bool,
    /// The service tier that is asked for.
    pub tier: TierAsked,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Chat(ChatRequest),
    Passing(Passing),
}

/// A request in words that another format has, too.
pub enum Common {
    /// For an answer.
    Answer(Box<Request>),
    /// For embeddings.
    Embeddings(Box<EmbedRequest>),
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(endpoint: Endpoint, body: &[u8]) -> Result<Asked, Failure> {
        let read = match endpoint {
            Endpoint::Chat => ChatRequest::read(body).map(|mut chat| Asked {
                endpoint,
                model: std::mem::take(&mut chat.model),
                stream: chat.stream,
                include_usage: chat.include_usage,
                max_output: chat.max_output,
                choices: chat.choices,
                bytes: chat.bytes,
                remote_media: chat.remote_images,
                repeatable: true,
                tier: chat.tier,
                form: Form::Chat(chat),
            }),
            Endpoint::Embeddings => Passing::embeddings(body).map(|passing| Asked::passing(endpoint, passing)),
            Endpoint::Responses => Passing::read(Dialect::OpenAiResponses, body).map(|passing| Asked::passing(endpoint, passing)),
            Endpoint::Messages => Passing::read(Dialect::Anthropic, body).map(|passing| Asked::passing(endpoint, passing)),
            Endpoint::CountTokens => Passing::read(Dialect::Anthropic, body).map(|passing| Asked {
                stream: false,
                // Nobody charges for counting.
                max_output: Some(0),
                repeatable: false,
                ..Asked::passing(endpoint, passing)
            }),
        };
        read.map_err(|wrong| match wrong {
            Wrong::Json(why) => Failure::InvalidJson { why },
            Wrong::Field { param, why } => Failure::InvalidRequest { param: param.to_owned(), why },
        })
    }

    fn passing(endpoint: Endpoint, mut passing: Passing) -> Asked {
        Asked {
            endpoint,
            model: std::mem::take(&mut passing.model),
            stream: passing.stream,
            include_usage: true,
            max_output: passing.max_output,
            choices: 1,
            bytes: passing.bytes,
            remote_media: passing.remote_media,
            repeatable: !passing.stateful,
            tier: passing.tier,
            form: Form::Passing(passing),
        }
    }

    /// The body for a target that speaks the same format.
    pub fn edit(&self, body: &[u8], model: &str, max_output: Option<(&'static str, u64)>, ask_usage: bool) -> Vec<u8> {
        match &self.form {
            Form::Chat(chat) => chat.edit(body, &tollgate_core::dialect::openai::Edit { model, max_output, ask_usage }),
            Form::Passing(passing) => passing.edit(body, model, max_output.map(|(_, tokens)| tokens)),
        }
    }

    /// Whether vectors are wanted as base64.
    pub fn base64(&self, body: &[u8]) -> bool {
        matches!(self.common(body), Ok(Common::Embeddings(request)) if request.base64)
    }

    /// The request in words that another format has, too.
    ///
    /// # Errors
    /// A field is missing or wrong; says which.
    pub fn common(&self, body: &[u8]) -> Result<Common, Refused> {
        if self.endpoint == Endpoint::Embeddings {
            return EmbedRequest::decode(body).map(|request| Common::Embeddings(Box::new(request)));
        }
        self.endpoint.dialect().decode_request("", body).map(|request| Common::Answer(Box::new(request)))
    }
}
