//! A tenant's own providers, and its own keys for those that the gateway knows.

use super::{Config, Invalid};
use crate::catalog::{Auth, Catalog, Provider};
use crate::dialect::Dialect;
use crate::egress::BaseUrl;
use crate::keyring::MAX_KEYS;
use crate::map::Map;
use crate::price::PriceSpec;
use crate::secret;
use crate::units::Tokens;
use serde::{Deserialize, Serialize};

/// Most providers in a tenant's document.
pub const MAX_PROVIDERS: usize = 64;
/// Most models that a provider lists.
const MAX_MODELS: usize = 200;

/// A tenant's provider.
///
/// Under a name that the gateway knows it says with which keys, or also where, that provider is asked for
/// this tenant. Under another name it is a provider of the tenant's own, and `base_url` and `format` are
/// required.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantProvider {
    /// Names of the tenant's secrets that hold its keys. They take turns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Where, under the rules of [`BaseUrl::tenant`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// What it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Dialect>,
    /// How its key is presented; as the makers of its format want it where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The price of its models, where `prices` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_price: Option<PriceSpec>,
    /// Models to list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Most output tokens of any of its models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<Tokens>,
}

fn invalid<T>(param: String, message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { param, message: message.into() })
}

impl TenantProvider {
    /// The row to ask it by: its own, or the gateway's (`known`) with what the tenant says. `None` where
    /// that is neither: nothing may be sent then.
    ///
    /// The operator's keys are in no row with an address or with keys of the tenant's.
    pub fn row(&self, known: Option<&Provider>) -> Option<Provider> {
        let base_url = match self.base_url.as_deref().map(BaseUrl::tenant) {
            Some(Ok(url)) => Some(url.as_str().to_owned()),
            Some(Err(_)) => return None,
            None => None,
        };
        if let (Some(base_url), Some(format)) = (&base_url, self.format) {
            let mut row = Provider::at(base_url.clone(), format, self.auth);
            row.default_price.clone_from(&self.default_price);
            row.models.clone_from(&self.models);
            row.max_output_tokens = self.max_output_tokens;
            return Some(row);
        }
        let mut row = known?.clone();
        if base_url.is_some() || !self.keys.is_empty() {
            row.api_key_env.clear();
            // The operator's binding is a key of the operator's.
            row.bind(false);
        }
        if let Some(base_url) = base_url {
            row.base_url = base_url;
            // What it speaks elsewhere it does not speak there.
            let elsewhere = std::mem::take(&mut row.base_urls);
            row.formats.retain(|format| !elsewhere.iter().any(|(of, _)| of == format));
        }
        Some(row)
    }

    fn check(&self, at: &str) -> Result<(), Invalid> {
        if self.keys.len() > MAX_KEYS {
            return invalid(format!("{at}.keys"), format!("at most {MAX_KEYS}"));
        }
        for (i, name) in self.keys.iter().enumerate() {
            if !secret::is_name(name) {
                return invalid(format!("{at}.keys[{i}]"), "the name of a secret: 1 to 64 lower-case letters, digits, `-`, `_`, `.`");
            }
            if self.keys.iter().position(|other| other == name) != Some(i) {
                return invalid(format!("{at}.keys[{i}]"), format!("`{name}` is named twice"));
            }
        }
        if let Some(Err(why)) = self.base_url.as_deref().map(BaseUrl::tenant) {
            return invalid(format!("{at}.base_url"), why.to_string());
        }
        if self.default_price.as_ref().is_some_and(|p| p.price("").is_none()) {
            return invalid(format!("{at}.default_price"), "decimal strings in USD per million tokens, such as \"0.15\"");
        }
        if self.models.len() > MAX_MODELS || self.models.iter().any(|m| m.is_empty() || m.len() > 256 || m.contains(char::is_control)) {
            return invalid(format!("{at}.models"), format!("at most {MAX_MODELS} names of 1 to 256 characters"));
        }
        if self.max_output_tokens.is_some_and(|n| !(1..=10_000_000).contains(&n)) {
            return invalid(format!("{at}.max_output_tokens"), "is between 1 and 10,000,000");
        }
        Ok(())
    }

    /// What depends on whether the gateway knows a provider of this name.
    fn check_beside(&self, at: &str, known: Option<&Provider>) -> Result<(), Invalid> {
        let own = self.base_url.is_some() && self.format.is_some();
        let Some(known) = known.filter(|_| !own) else {
            let missing = if self.base_url.is_none() { "base_url" } else { "format" };
            if !own {
                return invalid(format!("{at}.{missing}"), "is required: the gateway knows no provider of this name");
            }
            let auth = Provider::at(String::new(), self.format.unwrap_or(Dialect::OpenAiChat), self.auth).auth();
            return self.check_keys(at, auth);
        };
        let more = [
            ("format", self.format.is_some()),
            ("auth", self.auth.is_some()),
            ("default_price", self.default_price.is_some()),
            ("models", !self.models.is_empty()),
            ("max_output_tokens", self.max_output_tokens.is_some()),
        ];
        if let Some((field, _)) = more.iter().find(|(_, given)| *given) {
            let why = "the gateway knows this provider: only `keys` and `base_url` may be set. Choose another name for one of your own.";
            return invalid(format!("{at}.{field}"), why);
        }
        if self.base_url.is_none() {
            return Ok(());
        }
        let mut there = known.clone();
        there.bind(false);
        self.check_keys(at, there.auth())
    }

    /// The operator's keys are not sent to a tenant's address.
    fn check_keys(&self, at: &str, auth: Auth) -> Result<(), Invalid> {
        if self.keys.is_empty() && auth != Auth::None {
            return invalid(format!("{at}.keys"), "name at least one secret, or give a provider of its own `\"auth\": \"none\"`");
        }
        Ok(())
    }
}

impl Config {
    /// Checks what can be told of the providers without the catalogue.
    pub(super) fn own_providers(&self) -> Result<(), Invalid> {
        if self.providers.len() > MAX_PROVIDERS {
            return invalid("providers".to_owned(), format!("at most {MAX_PROVIDERS}"));
        }
        for (name, provider) in &self.providers {
            let at = format!("providers.{name}");
            let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            if !(1..=64).contains(&name.len()) || !name.bytes().all(ok) {
                return invalid(at, "a provider's name has 1 to 64 lower-case letters, digits, `-` or `_`");
            }
            provider.check(&at)?;
        }
        Ok(())
    }

    /// Checks the providers beside those that the gateway knows.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate_providers(&self, catalog: &Catalog) -> Result<(), Invalid> {
        self.providers.iter().try_for_each(|(name, provider)| provider.check_beside(&format!("providers.{name}"), catalog.provider(name)))
    }

    /// Where the document names a secret.
    pub fn place_of_secret(&self, secret: &str) -> Option<String> {
        self.providers.iter().find_map(|(name, provider)| {
            let i = provider.keys.iter().position(|key| key == secret)?;
            Some(format!("providers.{name}.keys[{i}]"))
        })
    }

    /// The secrets that the document names and that are not there, each once.
    pub fn missing_secrets(&self, stored: &Map<String, String>) -> Vec<String> {
        let named = self.providers.values().flat_map(|p| &p.keys);
        let missing: crate::map::Set<&String> = named.filter(|name| !stored.contains_key(*name)).collect();
        missing.into_iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Timestamp;

    fn parse(text: &str) -> Result<Config, String> {
        let catalog = Catalog::new(None).unwrap();
        let config: Config = serde_json::from_str(&format!(r#"{{"providers":{text}}}"#)).map_err(|e| e.to_string())?;
        config.validate().and_then(|()| config.validate_providers(&catalog)).map_err(|e| format!("{}: {}", e.param, e.message))?;
        Ok(config)
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, told) in [
            (r#"{"My":{}}"#, "providers.My: a provider's name"),
            (r#"{"openai":{"key":["a"]}}"#, "unknown field `key`"),
            (r#"{"openai":{"keys":["A"]}}"#, "providers.openai.keys[0]: the name of a secret"),
            (r#"{"openai":{"keys":["a","b","a"]}}"#, "providers.openai.keys[2]: `a` is named twice"),
            (r#"{"openai":{"keys":["a","b","c","d","e","f","g","h","i","j"]}}"#, "providers.openai.keys: at most 9"),
            (r#"{"openai":{"keys":["a"],"format":"openai"}}"#, "providers.openai.format: the gateway knows"),
            (r#"{"openai":{"keys":["a"],"auth":"none"}}"#, "providers.openai.auth: the gateway knows"),
            (r#"{"openai":{"keys":["a"],"models":["m"]}}"#, "providers.openai.models: the gateway knows"),
            (r#"{"openai":{"base_url":"https://llm.example.com/v1"}}"#, "providers.openai.keys: name at least one"),
            (
                r#"{"openai":{"keys":["a"],"base_url":"http://llm.example.com/v1"}}"#,
                "providers.openai.base_url: a tenant's address must start",
            ),
            (r#"{"mine":{"keys":["a"]}}"#, "providers.mine.base_url: is required"),
            (r#"{"mine":{"keys":["a"],"base_url":"https://llm.example.com/v1"}}"#, "providers.mine.format: is required"),
            (r#"{"mine":{"keys":["a"],"format":"openai"}}"#, "providers.mine.base_url: is required"),
            (r#"{"mine":{"base_url":"https://llm.example.com","format":"openai"}}"#, "providers.mine.keys: name at least one"),
            (r#"{"mine":{"base_url":"https://llm.example.com","format":"klingon"}}"#, "unknown variant"),
            (r#"{"mine":{"base_url":"https://llm.example.com","format":"openai","auth":"basic"}}"#, "unknown variant"),
            (
                r#"{"mine":{"keys":["a"],"base_url":"https://127.1/v1","format":"openai"}}"#,
                "providers.mine.base_url: a tenant's address must be a name",
            ),
            (r#"{"mine":{"keys":["a"],"base_url":"https://{HOST}.example.com","format":"openai"}}"#, "providers.mine.base_url: '{'"),
            (r#"{"mine":{"keys":["a"],"base_url":"https://llm.example.com","format":"openai","models":[""]}}"#, "providers.mine.models"),
            (
                r#"{"mine":{"keys":["a"],"base_url":"https://llm.example.com","format":"openai","max_output_tokens":0}}"#,
                "providers.mine.max_output_tokens",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn there_is_a_bound() {
        let rows = |n: usize| {
            (0..n).map(|i| format!(r#""p{i}":{{"base_url":"https://a.example.com","format":"openai","auth":"none"}}"#)).collect::<Vec<_>>()
        };
        assert!(parse(&format!("{{{}}}", rows(MAX_PROVIDERS).join(","))).is_ok());
        assert!(parse(&format!("{{{}}}", rows(MAX_PROVIDERS + 1).join(","))).unwrap_err().contains("providers: at most 64"));
    }

    #[test]
    fn tenants_rows_go_before_the_catalogues() {
        let config = parse(
            r#"{"openai":{"keys":["a"]},"groq":{"keys":["a"],"base_url":"https://LLM.example.com:443/v1"},
                "mine":{"keys":["b","a"],"base_url":"https://llm.example.com/v1","format":"anthropic","default_price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"},"models":["m"],"max_output_tokens":5},
                "open":{"base_url":"https://open.example.com","format":"gemini","auth":"none"}}"#,
        )
        .unwrap();
        let own = Catalog::new(None).unwrap();
        let catalog = own.for_tenant(&config, None);
        let row = |name: &str| catalog.provider(name).unwrap();
        let known = own.provider("openai").unwrap();
        let mut expected = known.clone();
        expected.api_key_env.clear();
        assert_eq!(row("openai"), &expected);
        assert_eq!((row("groq").base_url.as_str(), row("groq").api_key_env.as_str()), ("https://llm.example.com/v1", ""));
        assert_eq!((&row("groq").base_urls, &row("groq").formats), (&vec![], &own.provider("groq").unwrap().formats));
        assert_eq!((row("mine").formats.as_slice(), row("mine").auth()), ([Dialect::Anthropic].as_slice(), Auth::XApiKey));
        assert_eq!((row("open").auth(), row("open").base_url.as_str()), (Auth::None, "https://open.example.com"));
        assert_eq!(row("anthropic"), own.provider("anthropic").unwrap());
        assert_eq!(catalog.price("mine", "any", Timestamp(0)).map(|p| p.base.output), Some(2_000_000));
        assert_eq!(catalog.price("openai", "gpt-4o", Timestamp(0)), own.price("openai", "gpt-4o", Timestamp(0)));
        assert_eq!(catalog.models("mine"), ["m"]);
        assert_eq!(own.for_tenant(&Config::default(), None), own);
    }

    /// A document may be older than a rule, or name what the operator has taken away since.
    #[test]
    fn what_cannot_be_asked_is_not_asked_elsewhere() {
        let own = Catalog::new(None).unwrap();
        for text in [r#"{"openai":{"keys":["a"],"base_url":"https://localhost/v1"}}"#, r#"{"gone":{"keys":["a"]}}"#] {
            let config: Config = serde_json::from_str(&format!(r#"{{"providers":{text}}}"#)).unwrap();
            let name = config.providers.keys().next().unwrap();
            assert_eq!(own.for_tenant(&config, None).provider(name), None, "{text}");
        }
    }

    #[test]
    fn secrets_are_found_where_they_are_named() {
        let config = parse(r#"{"openai":{"keys":["a","b"]},"groq":{"keys":["c","b"]}}"#).unwrap();
        assert_eq!(config.place_of_secret("a").as_deref(), Some("providers.openai.keys[0]"));
        assert_eq!(config.place_of_secret("b").as_deref(), Some("providers.groq.keys[1]"));
        assert_eq!(config.place_of_secret("d"), None);
        assert_eq!(config.missing_secrets(&Map::from([("a".to_owned(), String::new())])), ["b", "c"]);
    }
}
