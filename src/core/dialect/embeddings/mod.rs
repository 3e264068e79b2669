//! Embeddings: clients ask in OpenAI's format; targets answer in theirs.
//!
//! | format | path | several texts at once |
//! |---|---|---|
//! | [`Format::OpenAi`] | `/embeddings` | yes |
//! | [`Format::Gemini`] | `/models/{model}:batchEmbedContents` | yes |
//! | [`Format::Bedrock`] | `/model/{model}/invoke` | Cohere's models; Amazon's take one |
//! | [`Format::WorkersAi`] | `/run/{model}` | yes |

mod answer;
mod request;

pub use answer::Embeddings;
pub use request::{EmbedRequest, Input};

/// What a target of embeddings speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenAI, and all who speak it.
    OpenAi,
    /// Google Gemini.
    Gemini,
    /// Amazon Bedrock: Amazon's and Cohere's models, each in its maker's words.
    Bedrock,
    /// Cloudflare Workers AI.
    WorkersAi,
}
