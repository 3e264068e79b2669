//! A provider as a row of data.

use crate::dialect::{Dialect, embeddings};
use crate::egress;
use crate::price::PriceSpec;
use crate::units::Tokens;
use serde::{Deserialize, Deserializer, Serialize};

/// A provider.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Where, without a slash at the end. `{NAME}` stands for the value of a variable.
    pub base_url: String,
    /// What it speaks, its own format first. A client that speaks one of them is passed through.
    #[serde(default = "openai", alias = "format", deserialize_with = "one_or_many")]
    pub formats: Vec<Dialect>,
    /// Where it speaks a format at another address: (format, base URL).
    #[serde(default)]
    pub base_urls: Vec<(Dialect, String)>,
    /// How its key is presented, where not as the format's own makers want it.
    #[serde(default)]
    auth: Option<Auth>,
    /// The secret or variable that holds its key; more keys stand in `…_2` to `…_9`.
    #[serde(default)]
    pub api_key_env: String,
    /// What it speaks where embeddings are asked for, where that is not told by its first format.
    #[serde(default)]
    embeddings: Option<Embeddings>,
    /// Where it differs from others of its format.
    #[serde(default)]
    pub quirks: Vec<Quirk>,
    /// Which part of the price list is its.
    #[serde(default)]
    pub(super) prices: Option<String>,
    /// The price of models that are in no list.
    #[serde(default)]
    pub default_price: Option<PriceSpec>,
    /// Models to list, for providers whose models are in no list.
    #[serde(default)]
    pub models: Vec<String>,
    /// Most output tokens of any of its models, where known.
    #[serde(default)]
    pub max_output_tokens: Option<Tokens>,
    /// How it is checked, where not as others of its format.
    #[serde(default)]
    health: Option<Health>,
    /// The model that is asked for one token, where it is checked so.
    #[serde(default)]
    pub health_model: Option<String>,
    /// Whether it is a tenant's own: no price of the operator's holds there.
    #[serde(skip)]
    pub(super) of_tenant: bool,
    /// The worker's binding by which it may be asked instead.
    #[serde(default)]
    binding: Option<Binding>,
    /// Whether it is asked by that.
    #[serde(skip)]
    bound: bool,
}

/// How cron finds out whether a provider is well.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Health {
    /// By a page below its address that costs nothing: `/models`.
    Get(String),
    /// By one token of a model.
    Tokens,
    /// Not at all.
    None,
}

impl TryFrom<String> for Health {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Health, &'static str> {
        match text.as_str() {
            "tokens" => Ok(Health::Tokens),
            "none" => Ok(Health::None),
            path if path.starts_with('/') && egress::is_below(path) => Ok(Health::Get(text)),
            _ => Err("`health` is a path such as `/models`, `tokens` or `none`"),
        }
    }
}

/// A binding of the worker that stands for a provider: neither address nor key is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Binding {
    /// Workers AI, as wrangler binds it.
    #[serde(rename = "AI")]
    Ai,
}

fn openai() -> Vec<Dialect> {
    vec![Dialect::OpenAiChat]
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Dialect>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a format (`openai`, `responses`, `anthropic`, `gemini`, `bedrock`, `workers_ai`) or an array of them")]
    enum Formats {
        One(Dialect),
        Many(Vec<Dialect>),
    }
    Ok(match Formats::deserialize(from)? {
        Formats::One(format) => vec![format],
        Formats::Many(formats) => formats,
    })
}

/// How a key is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `x-api-key: …`.
    XApiKey,
    /// `api-key: …`, as Azure wants it.
    ApiKey,
    /// `x-goog-api-key: …`.
    XGoogApiKey,
    /// A signature of Amazon's, version 4, or a Bedrock API key as `Authorization: Bearer …`.
    Aws,
    /// A token that Google gives for a service account, as `Authorization: Bearer …`.
    Google,
    /// Not at all.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Embeddings {
    #[serde(rename = "openai")]
    OpenAi,
    Gemini,
    Bedrock,
    WorkersAi,
    None,
}

/// Where a provider differs from others of its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// Bounds of the output are `max_completion_tokens`; its newer models refuse the old name.
    MaxCompletionTokens,
    /// It refuses `stream_options`, and tells usage in every stream.
    NoStreamOptions,
    /// It refuses `user`.
    NoUser,
    /// It refuses ids of calls and of their results.
    NoCallIds,
}

impl Provider {
    /// A tenant's own provider that speaks `format` at this address, of which nothing else is known.
    pub fn at(base_url: String, format: Dialect, auth: Option<Auth>) -> Provider {
        Provider {
            base_url,
            formats: vec![format],
            base_urls: Vec::new(),
            auth,
            api_key_env: String::new(),
            embeddings: None,
            quirks: Vec::new(),
            prices: None,
            default_price: None,
            models: Vec::new(),
            max_output_tokens: None,
            health: None,
            health_model: None,
            of_tenant: true,
            binding: None,
            bound: false,
        }
    }

    /// Has it asked by its binding, where it has one, or by its address.
    pub fn bind(&mut self, bound: bool) {
        self.bound = bound && self.binding.is_some();
    }

    /// Whether it is asked by a binding: then it has no address here, and no key.
    pub fn is_bound(&self) -> bool {
        self.bound
    }

    /// The format to speak to it for a client that speaks `client`.
    pub fn format_for(&self, client: Dialect) -> Dialect {
        if self.bound {
            return Dialect::WorkersAi;
        }
        if self.formats.contains(&client) { client } else { self.formats.first().copied().unwrap_or(Dialect::OpenAiChat) }
    }

    /// Where it speaks `format`.
    pub fn base_url(&self, format: Dialect) -> &str {
        self.base_urls.iter().find(|(of, _)| *of == format).map_or(&self.base_url, |(_, url)| url)
    }

    /// The format of its embeddings, if it has any.
    pub fn embeddings(&self) -> Option<embeddings::Format> {
        match (self.embeddings, self.formats.first()) {
            (Some(Embeddings::None), _) => None,
            _ if self.bound => Some(embeddings::Format::WorkersAi),
            (Some(Embeddings::OpenAi), _) => Some(embeddings::Format::OpenAi),
            (Some(Embeddings::WorkersAi), _) | (None, Some(Dialect::WorkersAi)) => Some(embeddings::Format::WorkersAi),
            (Some(Embeddings::Gemini), _) | (None, Some(Dialect::Gemini)) => Some(embeddings::Format::Gemini),
            (Some(Embeddings::Bedrock), _) | (None, Some(Dialect::Bedrock)) => Some(embeddings::Format::Bedrock),
            (None, Some(Dialect::Anthropic)) => None,
            (None, _) => Some(embeddings::Format::OpenAi),
        }
    }

    /// How its key is presented.
    pub fn auth(&self) -> Auth {
        if self.bound {
            return Auth::None;
        }
        self.auth.unwrap_or(match self.formats.first() {
            Some(Dialect::Anthropic) => Auth::XApiKey,
            Some(Dialect::Gemini) => Auth::XGoogApiKey,
            Some(Dialect::Bedrock) => Auth::Aws,
            _ => Auth::Bearer,
        })
    }

    /// How cron finds out whether it is well. Most list their models for free.
    pub fn health(&self) -> Health {
        self.health.clone().unwrap_or_else(|| match self.formats.first() {
            Some(Dialect::Bedrock) => Health::Tokens,
            _ => Health::Get("/models".to_owned()),
        })
    }

    /// Whether it has this quirk.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }
}
