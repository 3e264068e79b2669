//! Providers, models and prices as rows of data.
//!
//! `providers.json` is written by hand; `prices.json` by `scripts/prices` from the PyPI package
//! `genai-prices` (MIT). Operators add providers of their own with `TOLLGATE_PROVIDERS`.

mod provider;

pub use provider::{Auth, Provider, Quirk};

use crate::config::Config;
use crate::price::{Price, Rates};
use crate::units::Tokens;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::rc::Rc;

const PROVIDERS: &str = include_str!("providers.json");
const PRICES: &str = include_str!("prices.json");

#[derive(Deserialize)]
struct PriceFile<'a> {
    #[serde(borrow)]
    providers: BTreeMap<&'a str, BTreeMap<&'a str, PriceRow<'a>>>,
    source: &'a str,
}

#[derive(Deserialize)]
struct PriceRow<'a> {
    #[serde(borrow)]
    r#match: Vec<(&'a str, &'a str)>,
    #[serde(borrow, flatten)]
    rates: RateRow<'a>,
    #[serde(borrow, default)]
    steps: Vec<StepRow<'a>>,
}

#[derive(Deserialize)]
struct RateRow<'a> {
    input: &'a str,
    output: &'a str,
    #[serde(borrow, default)]
    cached: Option<&'a str>,
}

#[derive(Deserialize)]
struct StepRow<'a> {
    over: Tokens,
    #[serde(borrow, flatten)]
    rates: RateRow<'a>,
}

impl RateRow<'_> {
    fn rates(&self) -> Option<Rates> {
        Rates::read(self.input, self.output, self.cached)
    }
}

/// A model's match rules and price.
#[derive(Clone, Debug, PartialEq)]
struct ModelRow {
    rules: Vec<(char, String)>,
    price: Price,
}

/// Everything that is known about providers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    providers: BTreeMap<String, Provider>,
    /// Shared with the views of tenants.
    prices: Rc<BTreeMap<String, Vec<ModelRow>>>,
}

impl Catalog {
    /// The built-in rows, and the operator's (a JSON object, provider's name → row) on top.
    ///
    /// # Errors
    /// What is wrong with the operator's rows; the built-in ones are checked by a test.
    pub fn new(operator: Option<&str>) -> Result<Catalog, String> {
        let mut providers: BTreeMap<String, Provider> = serde_json::from_str(PROVIDERS).map_err(|e| e.to_string())?;
        let file: PriceFile<'_> = serde_json::from_str(PRICES).map_err(|e| e.to_string())?;
        if let Some(text) = operator {
            let more: BTreeMap<String, Provider> = serde_json::from_str(text).map_err(|e| format!("TOLLGATE_PROVIDERS: {e}"))?;
            for (name, provider) in &more {
                check(name, provider)?;
            }
            providers.extend(more);
        }
        let prices = file.providers.iter().map(|(name, models)| {
            ((*name).to_owned(), models.iter().filter_map(|(model, row)| listed(file.source, name, model, row)).collect())
        });
        Ok(Catalog { prices: Rc::new(prices.collect()), providers })
    }

    /// The same as a tenant sees it: its own providers go before these.
    pub fn for_tenant(&self, config: &Config) -> Catalog {
        let mut view = self.clone();
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

    /// The listed price of a model: an exact rule goes before a prefix, a prefix before the rest, a
    /// longer rule before a shorter.
    pub fn price(&self, provider: &str, model: &str) -> Option<Price> {
        let provider = self.providers.get(provider)?;
        let list = provider.prices.as_ref().and_then(|p| self.prices.get(p));
        let rank = |(kind, text): &(char, String)| {
            let hit = match kind {
                '=' => model == text,
                '^' => model.starts_with(text.as_str()),
                '$' => model.ends_with(text.as_str()),
                '~' => model.contains(text.as_str()),
                _ => false,
            };
            hit.then_some((matches!(kind, '='), matches!(kind, '^'), text.len()))
        };
        let best = list.and_then(|rows| {
            let ranked = rows.iter().filter_map(|row| Some((row.rules.iter().filter_map(rank).max()?, row)));
            ranked.max_by_key(|(rank, _)| *rank).map(|(_, row)| row.price.clone())
        });
        best.or_else(|| provider.default_price.as_ref()?.price(&format!("operator:{model}")))
    }

    /// The models of a provider that are in a list.
    pub fn models(&self, provider: &str) -> Vec<String> {
        let Some(row) = self.providers.get(provider) else { return Vec::new() };
        let listed = row.prices.as_ref().and_then(|p| self.prices.get(p)).into_iter().flatten();
        let exact = listed.flat_map(|m| m.rules.iter().filter(|(kind, _)| *kind == '=').map(|(_, text)| text.clone()));
        row.models.iter().cloned().chain(exact).collect()
    }
}

/// A row of the price file in integers.
fn listed(source: &str, provider: &str, model: &str, row: &PriceRow<'_>) -> Option<ModelRow> {
    let mut steps = Vec::new();
    for step in &row.steps {
        steps.push((step.over, step.rates.rates()?));
    }
    let id = format!("{source}:{provider}/{model}");
    let rules = row.r#match.iter().filter_map(|(kind, text)| Some((kind.chars().next()?, (*text).to_owned())));
    Some(ModelRow { rules: rules.collect(), price: Price { id, base: row.rates.rates()?, steps } })
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

    #[test]
    fn the_built_in_rows_are_sound() {
        let catalog = Catalog::new(None).unwrap();
        for (name, provider) in catalog.providers() {
            check(name, provider).unwrap();
            assert!(provider.api_key_env.is_empty() == (provider.auth() == Auth::None), "{name} needs a key, or none");
        }
        let file: PriceFile<'_> = serde_json::from_str(PRICES).unwrap();
        let rows: usize = file.providers.values().map(BTreeMap::len).sum();
        assert_eq!(rows, catalog.prices.values().map(Vec::len).sum::<usize>(), "a row was dropped");
    }

    #[test]
    fn the_closest_rule_wins() {
        let catalog = Catalog::new(None).unwrap();
        let id = |model: &str| catalog.price("openai", model).map(|p| p.id.rsplit('/').next().unwrap_or("").to_owned());
        assert_eq!(id("gpt-4o").as_deref(), Some("gpt-4o"));
        assert_eq!(id("gpt-4o-mini-2024-07-18").as_deref(), Some("gpt-4o-mini"));
        assert_eq!(id("no-such-model"), None);
        assert_eq!(catalog.price("anthropic", "claude-sonnet-4-5-20250929").map(|p| p.steps.len()), Some(1));
    }

    #[test]
    fn operators_add_providers() {
        let row = r#"{"sim":{"base_url":"http://127.0.0.1:1/v1","api_key_env":"K","default_price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}}}"#;
        let catalog = Catalog::new(Some(row)).unwrap();
        assert_eq!(catalog.price("sim", "x").map(|p| p.base.output), Some(2_000_000));
        for bad in [
            "[]",
            r#"{"A":{"base_url":"https://a","api_key_env":"K"}}"#,
            r#"{"a":{"base_url":"ftp://a","api_key_env":"K"}}"#,
            r#"{"a":{"base_url":"https://a/","api_key_env":"K"}}"#,
        ] {
            assert!(Catalog::new(Some(bad)).is_err(), "{bad}");
        }
    }
}
