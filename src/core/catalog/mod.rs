//! Providers, models and prices as rows of data.
//!
//! `providers.json` is written by hand; `prices.json` by `scripts/prices` from the PyPI packages
//! `genai-prices` and `litellm` (both MIT). Operators add providers of their own with `TOLLGATE_PROVIDERS`.

mod list;
mod provider;

pub use provider::{Auth, Health, Provider, Quirk};

use crate::config::{Config, Invalid, split_target, validate_prices};
use crate::map::Map;
use crate::price::{MAX_BOOK, Price, PriceBook, PriceSpec};
use crate::units::{Timestamp, Tokens};
use list::List;
use std::sync::Arc;

const PROVIDERS: &str = include_str!("providers.json");

/// Everything that is known about providers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    providers: Map<String, Provider>,
    /// Shared with the views of tenants.
    list: Arc<List>,
    /// The operator's own prices, which go before the list's.
    book: Option<Arc<PriceBook>>,
}

impl Catalog {
    /// The built-in rows, and the operator's (a JSON object, provider's name → row) on top.
    ///
    /// # Errors
    /// What is wrong with the operator's rows; the built-in ones are checked by a test.
    pub fn new(operator: Option<&str>) -> Result<Catalog, String> {
        let mut providers: Map<String, Provider> = serde_json::from_str(PROVIDERS).map_err(|e| e.to_string())?;
        let list = List::built_in().map_err(|e| e.to_string())?;
        if let Some(text) = operator {
            let more: Map<String, Provider> = serde_json::from_str(text).map_err(|e| format!("TOLLGATE_PROVIDERS: {e}"))?;
            for (name, provider) in &more {
                check(name, provider)?;
            }
            providers.extend(more);
        }
        Ok(Catalog { list: Arc::new(list), book: None, providers })
    }

    /// The providers that have a binding are asked by it.
    pub fn bind(&mut self) {
        self.providers.values_mut().for_each(|row| row.bind(true));
    }

    /// The same as a tenant sees it: its own providers go before these, and the operator's prices before the
    /// list's.
    #[must_use]
    pub fn for_tenant(&self, config: &Config, book: Option<Arc<PriceBook>>) -> Catalog {
        let mut view = Catalog { book, ..self.clone() };
        for (name, provider) in &config.providers {
            match provider.row(self.provider(name)) {
                Some(row) => view.providers.insert(name.clone(), row),
                None => view.providers.remove(name),
            };
        }
        view
    }

    /// A provider by name.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.get(name)
    }

    /// All providers.
    pub fn providers(&self) -> impl Iterator<Item = (&str, &Provider)> {
        self.providers.iter().map(|(name, p)| (name.as_str(), p))
    }

    /// The price of a model at that time: the operator's, else the listed one, else the provider's default. Of
    /// the list's rules that fit its name, an exact one goes before a prefix, a prefix before the rest, a longer
    /// before a shorter.
    pub fn price(&self, provider: &str, model: &str, now: Timestamp) -> Option<Price> {
        let row = self.providers.get(provider)?;
        if let Some(price) = self.book_for(row).and_then(|book| book.price(provider, model)) {
            return Some(price);
        }
        let listed = row.prices.as_deref().and_then(|section| self.list.price(section, model, now));
        listed.or_else(|| row.default_price.as_ref()?.price(&format!("operator:{model}")))
    }

    /// The operator's prices, unless the provider is a tenant's own.
    fn book_for(&self, row: &Provider) -> Option<&PriceBook> {
        self.book.as_deref().filter(|_| !row.of_tenant)
    }

    /// What is wrong with prices that an operator gives for all tenants.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_prices(&self, prices: &Map<String, PriceSpec>) -> Result<(), Invalid> {
        let wrong = |param: String, message: String| Err(Invalid { param, message });
        if prices.len() > MAX_BOOK {
            return wrong("prices".to_owned(), format!("at most {MAX_BOOK}"));
        }
        validate_prices(prices)?;
        for name in prices.keys() {
            // A row for nobody would change nothing, and nobody would notice.
            if let Some((provider, _)) = split_target(name).filter(|(provider, _)| !self.providers.contains_key(*provider)) {
                return wrong(format!("prices.{name}"), format!("there is no provider `{provider}`"));
            }
        }
        Ok(())
    }

    /// Tokens that fit into a model's input and output together, where known.
    pub fn context_window(&self, provider: &str, model: &str) -> Option<Tokens> {
        self.list.context_window(self.providers.get(provider)?.prices.as_deref()?, model)
    }

    /// The most tokens that a model writes, where known.
    pub fn max_output(&self, provider: &str, model: &str) -> Option<Tokens> {
        self.list.max_output(self.providers.get(provider)?.prices.as_deref()?, model)
    }

    /// The models of a provider that are in a list, or that the operator has a price for.
    pub fn models(&self, provider: &str) -> Vec<String> {
        let Some(row) = self.providers.get(provider) else { return Vec::new() };
        let listed = row.prices.as_deref().into_iter().flat_map(|section| self.list.models(section));
        let priced = self.book_for(row).into_iter().flat_map(|book| book.prices.keys());
        let priced = priced.filter_map(|name| split_target(name)).filter(|(of, model)| *of == provider && *model != "*");
        row.models.iter().cloned().chain(listed.map(str::to_owned)).chain(priced.map(|(_, model)| model.to_owned())).collect()
    }
}

fn check(name: &str, provider: &Provider) -> Result<(), String> {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || !name.bytes().all(ok) {
        return Err(format!("TOLLGATE_PROVIDERS: `{name}` is not a provider's name: lower-case letters, digits, `-`, `_`"));
    }
    let sound = |url: &str| (url.starts_with("https://") || url.starts_with("http://")) && !url.ends_with('/');
    if !sound(&provider.base_url) || !provider.base_urls.iter().all(|(_, url)| sound(url)) {
        return Err(format!(
            "TOLLGATE_PROVIDERS.{name}.base_url: must start with https:// (or http:// for hosts in TOLLGATE_PLAIN_HTTP_HOSTS) and not end with a slash"
        ));
    }
    if provider.formats.is_empty() {
        return Err(format!("TOLLGATE_PROVIDERS.{name}.formats: name at least one"));
    }
    if provider.default_price.as_ref().is_some_and(|p| p.price("").is_none()) {
        return Err(format!("TOLLGATE_PROVIDERS.{name}.default_price: decimal strings in USD per million tokens"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Dialect, embeddings};

    #[test]
    fn the_built_in_rows_are_sound() {
        let catalog = Catalog::new(None).unwrap();
        for (name, provider) in catalog.providers() {
            check(name, provider).unwrap();
            assert!(provider.api_key_env.is_empty() == (provider.auth() == Auth::None), "{name} needs a key, or none");
            let listed = provider.prices.as_deref();
            let priced = listed.is_none_or(|list| catalog.list.models(list).next().is_some());
            assert!(priced, "{name} has no prices");
        }
    }

    #[test]
    fn what_checks_ask_for_tokens_has_a_price() {
        let catalog = Catalog::new(None).unwrap();
        for (name, provider) in catalog.providers() {
            let named = provider.health_model.as_deref();
            assert_eq!(provider.health() == Health::Tokens, named.is_some(), "{name}");
            assert!(named.is_none_or(|model| catalog.price(name, model, Timestamp(0)).is_some()), "{name} {named:?}");
        }
        let health = |name: &str| catalog.provider(name).unwrap().health();
        assert_eq!((health("openai"), health("bedrock")), (Health::Get("/models".into()), Health::Tokens));
        assert_eq!((health("openrouter"), health("perplexity")), (Health::Get("/key".into()), Health::None));
    }

    #[test]
    fn models_have_prices_and_sizes() {
        let catalog = Catalog::new(None).unwrap();
        let id = |model: &str| catalog.price("openai", model, Timestamp(0)).map(|p| p.id.rsplit('/').next().unwrap_or("").to_owned());
        assert_eq!(id("gpt-4o").as_deref(), Some("gpt-4o"));
        assert_eq!(id("gpt-4o-mini-2024-07-18").as_deref(), Some("gpt-4o-mini"));
        assert_eq!(id("no-such-model"), None);
        let sonnet = catalog.price("anthropic", "claude-sonnet-4-5-20250929", Timestamp(0)).unwrap();
        assert_eq!((sonnet.steps.len(), sonnet.base.cache_write, sonnet.base.cache_write_1h), (1, Some(3_750_000), Some(6_000_000)));
        assert_eq!(catalog.context_window("openai", "gpt-4o"), Some(128_000));
        assert_eq!(catalog.max_output("openai", "gpt-4o"), Some(16_384));
        assert_eq!((catalog.context_window("openai", "x"), catalog.max_output("nobody", "x")), (None, None));
    }

    fn book(rows: &str) -> Option<Arc<PriceBook>> {
        Some(Arc::new(PriceBook { version: 7, prices: serde_json::from_str(rows).unwrap(), ..PriceBook::default() }))
    }

    const ONE: &str = r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}"#;

    #[test]
    fn the_operators_prices_go_before_the_lists_and_after_the_tenants() {
        let known = r#"{"sim":{"base_url":"http://127.0.0.1:1/v1","api_key_env":"K","default_price":{"input_usd_per_mtok":"9","output_usd_per_mtok":"9"}}}"#;
        let rows = format!(
            r#"{{"openai/gpt-4o":{ONE},"sim/*":{ONE},"sim/x":{{"input_usd_per_mtok":"3","output_usd_per_mtok":"4"}},"groq/*":{ONE},"own/*":{ONE}}}"#
        );
        let id = |config: &str, name: &str| {
            let config: Config = serde_json::from_str(config).unwrap();
            let catalog = Catalog::new(Some(known)).unwrap().for_tenant(&config, book(&rows));
            crate::plan::plan(name, &config, &catalog, Timestamp(0)).map(|plan| plan.targets[0].price.id.clone()).unwrap_or_default()
        };
        // Its own row, then its provider's, then the list, then the provider's default.
        assert_eq!(id("{}", "openai/gpt-4o"), "operator:openai/gpt-4o@7");
        assert_eq!(id("{}", "sim/x"), "operator:sim/x@7");
        assert_eq!(id("{}", "sim/y"), "operator:sim/*@7");
        assert_eq!(id("{}", "groq/nobody-knows-it"), "operator:groq/*@7");
        assert!(id("{}", "openai/gpt-4o-mini").starts_with("genai-prices "));
        // The tenant's goes before, and the one for unknown models after.
        assert_eq!(id(&format!(r#"{{"prices":{{"openai/*":{ONE}}}}}"#), "openai/gpt-4o"), "tenant:openai/*");
        assert_eq!(id(&format!(r#"{{"unknown_price":{{"default_price":{ONE}}}}}"#), "sim/x"), "operator:sim/x@7");
        // A tenant's own provider is none of the operator's.
        let own = r#"{"unknown_price":"allow_and_flag","providers":{"own":{"base_url":"https://llm.example.com","format":"openai","auth":"none"},
            "groq":{"base_url":"https://llm.example.com","format":"openai","auth":"none"},"openai":{"keys":["a"]}}}"#;
        assert_eq!((id(own, "own/x").as_str(), id(own, "groq/x").as_str()), ("unknown", "unknown"));
        assert_eq!(id(own, "openai/gpt-4o"), "operator:openai/gpt-4o@7");
    }

    #[test]
    fn a_model_that_only_the_operator_has_a_price_for_is_listed() {
        let catalog = Catalog::new(None)
            .unwrap()
            .for_tenant(&Config::default(), book(&format!(r#"{{"groq/new":{ONE},"groq/*":{ONE},"openai/o":{ONE}}}"#)));
        let models = catalog.models("groq");
        assert!(models.contains(&"new".to_owned()) && !models.contains(&"o".to_owned()) && !models.contains(&"*".to_owned()));
    }

    #[test]
    fn prices_of_the_operator_are_checked() {
        let catalog = Catalog::new(None).unwrap();
        let check = |rows: &str| catalog.check_prices(&serde_json::from_str(rows).unwrap()).map_err(|e| e.param);
        assert_eq!(check(&format!(r#"{{"openai/x":{ONE},"groq/*":{ONE}}}"#)), Ok(()));
        assert_eq!(check(&format!(r#"{{"gpt-4o":{ONE}}}"#)), Err("prices.gpt-4o".to_owned()));
        assert_eq!(check(&format!(r#"{{"opnai/gpt-4o":{ONE}}}"#)), Err("prices.opnai/gpt-4o".to_owned()));
        assert_eq!(check(r#"{"openai/x":{"input_usd_per_mtok":"-1","output_usd_per_mtok":"2"}}"#), Err("prices.openai/x".to_owned()));
        let rows: Vec<String> = (0..=MAX_BOOK).map(|n| format!(r#""openai/m{n}":{ONE}"#)).collect();
        assert_eq!(check(&format!("{{{}}}", rows.join(","))), Err("prices".to_owned()));
        assert_eq!(check(&format!("{{{}}}", rows[1..].join(","))), Ok(()));
    }

    #[test]
    fn a_binding_takes_the_place_of_address_and_key() {
        let mut catalog = Catalog::new(None).unwrap();
        catalog.bind();
        let bound: Vec<&str> = catalog.providers().filter(|(_, row)| row.is_bound()).map(|(name, _)| name).collect();
        assert_eq!(bound, ["workers-ai"]);
        let row = catalog.provider("workers-ai").unwrap();
        assert_eq!((row.auth(), row.format_for(Dialect::OpenAiChat)), (Auth::None, Dialect::WorkersAi));
        assert_eq!(row.embeddings(), Some(embeddings::Format::WorkersAi));
        assert!(catalog.price("workers-ai", "@cf/baai/bge-m3", Timestamp(0)).is_some());
        // A tenant's own key is for the address: the binding is the operator's.
        let own: Config = serde_json::from_str(r#"{"providers":{"workers-ai":{"keys":["k"]}}}"#).unwrap();
        let row = catalog.for_tenant(&own, None).provider("workers-ai").cloned().unwrap();
        assert_eq!((row.is_bound(), row.auth(), row.format_for(Dialect::Anthropic)), (false, Auth::Bearer, Dialect::OpenAiChat));
        let keyless: Config = serde_json::from_str(r#"{"providers":{"workers-ai":{"base_url":"https://ai.example.com/v1"}}}"#).unwrap();
        assert_eq!(keyless.validate_providers(&catalog).unwrap_err().param, "providers.workers-ai.keys");
        assert!(Catalog::new(Some(r#"{"x":{"base_url":"https://a","binding":"KV"}}"#)).is_err());
    }

    #[test]
    fn operators_add_providers() {
        let row = r#"{"sim":{"base_url":"http://127.0.0.1:1/v1","api_key_env":"K","default_price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}}}"#;
        let catalog = Catalog::new(Some(row)).unwrap();
        assert_eq!(catalog.price("sim", "x", Timestamp(0)).map(|p| p.base.output), Some(2_000_000));
        for bad in [
            "[]",
            r#"{"A":{"base_url":"https://a","api_key_env":"K"}}"#,
            r#"{"a":{"base_url":"ftp://a","api_key_env":"K"}}"#,
            r#"{"a":{"base_url":"https://a/","api_key_env":"K"}}"#,
            r#"{"a":{"base_url":"https://a","api_key_env":"K","health":"models"}}"#,
            r#"{"a":{"base_url":"https://a","api_key_env":"K","health":"//b"}}"#,
            r#"{"a":{"base_url":"https://a","api_key_env":"K","health":"/../b"}}"#,
            r#"{"a":{"base_url":"https://a","api_key_env":"K","health":"/b?c"}}"#,
            r#"{"a":{"base_url":"https://a","api_key_env":"K","health":"/b@c"}}"#,
        ] {
            assert!(Catalog::new(Some(bad)).is_err(), "{bad}");
        }
    }
}
