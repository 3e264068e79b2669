//! What is asked.

use super::super::fields::{Dropped, Refused, body_of};
use super::super::gemini::model_path;
use super::super::json::{Fields, Json, object};
use super::super::{Encoded, bedrock, workers_ai};
use super::Format;

/// Most texts of one request; OpenAI's own bound.
const MAX_INPUTS: usize = 2_048;

/// A request for embeddings.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedRequest {
    /// The model as the caller named it.
    pub model: String,
    /// What is embedded.
    pub input: Input,
    /// Numbers of a vector.
    pub dimensions: Option<u64>,
    /// Whether vectors are wanted as base64 of little-endian 32-bit floats, as OpenAI's clients ask.
    pub base64: bool,
    /// Who the end user is, as the caller calls them.
    pub user: Option<String>,
    /// Fields that only OpenAI's format knows.
    pub extra: Fields,
}

/// What is embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// One text.
    One(String),
    /// Texts.
    Texts(Vec<String>),
    /// Tokens of OpenAI's own tokenizers, as they were written.
    Tokens(String),
}

impl EmbedRequest {
    /// Reads a request in OpenAI's format.
    ///
    /// # Errors
    /// A field is missing or wrong; says which.
    pub fn decode(body: &[u8]) -> Result<EmbedRequest, Refused> {
        let mut body = body_of(body)?;
        let model = body.need_text("model")?;
        let input = match body.take("input") {
            None => return Err(Refused::new("input", "is missing")),
            Some(Json::Text(text)) => Input::One(text),
            Some(Json::List(items)) if items.is_empty() => return Err(Refused::new("input", "must not be empty")),
            Some(Json::List(items)) if items.len() > MAX_INPUTS && matches!(items.first(), Some(Json::Text(_))) => {
                return Err(Refused::new("input", format!("must have at most {MAX_INPUTS} texts")));
            }
            Some(Json::List(items)) if matches!(items.first(), Some(Json::Text(_))) => {
                let texts = items
                    .into_iter()
                    .map(|item| item.into_text().ok_or_else(|| Refused::new("input", "must hold texts or tokens, not both")));
                Input::Texts(texts.collect::<Result<_, _>>()?)
            }
            Some(Json::List(items)) if matches!(items.first(), Some(Json::Number(_) | Json::List(_))) => {
                Input::Tokens(Json::List(items).to_text())
            }
            Some(_) => return Err(Refused::new("input", "must be a string, an array of strings, or tokens")),
        };
        let base64 = match body.want_text("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => return Err(Refused::new("encoding_format", format!("there is no format `{other}`"))),
        };
        Ok(EmbedRequest { model, input, dimensions: body.want_u64("dimensions")?, base64, user: body.want_text("user")?, extra: body })
    }

    /// Writes a request for a target.
    ///
    /// # Errors
    /// The format has no words for what is asked.
    pub fn encode(&self, format: Format, model: &str) -> Result<Encoded, Refused> {
        let mut dropped = Dropped::default();
        let mut extra = self.extra.clone();
        let (path, body) = match format {
            Format::OpenAi => {
                let input = match &self.input {
                    Input::One(text) => text.into(),
                    Input::Texts(texts) => texts.clone().into(),
                    Input::Tokens(tokens) => Json::read(tokens.as_bytes()).unwrap_or_default(),
                };
                let mut body = object! { "model": model, "input": input };
                body.put_some("dimensions", self.dimensions);
                body.put_some("encoding_format", self.base64.then_some("base64"));
                body.put_some("user", self.user.as_ref());
                body.fill(std::mem::take(&mut extra));
                ("/embeddings".to_owned(), body)
            }
            Format::Gemini => {
                let name = format!("models/{}", model.strip_prefix("models/").unwrap_or(model));
                let one = |text: &&str| {
                    let content = object! { "parts": vec![object! { "text": *text }] };
                    let mut out = object! { "model": &name, "content": content };
                    out.put_some("outputDimensionality", self.dimensions);
                    out
                };
                let requests = self.texts()?.iter().map(one).collect::<Vec<_>>();
                (model_path(model, "batchEmbedContents"), object! { "requests": requests })
            }
            Format::Bedrock => (bedrock::model_path(model, "invoke"), self.bedrock(model, &mut extra)?),
            Format::WorkersAi => {
                dropped.add_if(self.dimensions.is_some(), "dimensions");
                (workers_ai::model_path(model), object! { "text": self.texts()? })
            }
        };
        if format != Format::OpenAi {
            dropped.add_if(self.user.is_some(), "user");
            dropped.add_fields("", &extra);
        }
        Ok(Encoded { path, body: body.to_text().into_bytes(), dropped })
    }

    /// Bedrock hands the body to the model as it is, so it is written in the words of the model's maker.
    fn bedrock(&self, model: &str, extra: &mut Fields) -> Result<Fields, Refused> {
        let texts = self.texts()?;
        if model.contains("cohere.") {
            let kind = extra.take_text("input_type").unwrap_or_else(|| "search_document".to_owned());
            let mut body = object! { "texts": texts, "input_type": kind, "embedding_types": vec!["float"] };
            body.put_some("output_dimension", self.dimensions);
            return Ok(body);
        }
        if !model.contains("amazon.titan-embed") {
            return Err(Refused::new("model", "Bedrock has no common words for embeddings: only Amazon Titan's and Cohere's are known"));
        }
        match texts.as_slice() {
            [text] => {
                let mut body = object! { "inputText": *text };
                body.put_some("dimensions", self.dimensions);
                Ok(body)
            }
            _ => Err(Refused::new("input", "this target embeds one text a request: ask several times")),
        }
    }

    fn texts(&self) -> Result<Vec<&str>, Refused> {
        match &self.input {
            Input::One(text) => Ok(vec![text]),
            Input::Texts(texts) => Ok(texts.iter().map(String::as_str).collect()),
            Input::Tokens(_) => Err(Refused::new("input", "cannot be tokens for this target: it has other tokens; send text")),
        }
    }
}
