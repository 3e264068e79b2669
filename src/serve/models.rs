//! `GET /v1/models`: the models and aliases that a key may use.

use super::identify::{ask, caller, live};
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use serde_json::{Value, json};
use std::rc::Rc;
use tollgate_core::catalog::Catalog;
use tollgate_core::config::Config;
use tollgate_core::failure::Failure;
use tollgate_core::map::Set;
use tollgate_core::plan::plan;
use tollgate_core::protocol::{Command, Reply};
use tollgate_core::units::Timestamp;

/// What a key may use.
struct Usable {
    config: Config,
    /// The providers and prices as the tenant sees them.
    catalog: Rc<Catalog>,
    updated_at: Timestamp,
    /// The key's own list; all if empty.
    allowed: Vec<String>,
}

impl Usable {
    fn allows(&self, name: &str) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|m| m == name)
    }

    fn entry(&self, name: &str, owner: &str) -> Value {
        json!({ "id": name, "object": "model", "created": self.updated_at.0.checked_div(1_000).unwrap_or(0), "owned_by": owner })
    }
}

async fn usable<W: World>(world: &W, isolate: &Isolate, head: &Head) -> Result<Usable, Failure> {
    let caller = caller(isolate, head)?;
    let allowed = live(world, &caller).await?.models;
    match ask(world, &caller.tenant, Command::Configuration).await? {
        Reply::Configuration { config, updated_at, prices, .. } => {
            let catalog = isolate.catalog_for(&config, prices);
            Ok(Usable { config: *config, catalog, updated_at, allowed })
        }
        _ => Err(Failure::InvalidApiKey),
    }
}

/// All of them: aliases, then listed models of the providers that have a key here, as far as they
/// have a price.
///
/// # Errors
/// If the key does not work.
pub async fn list<W: World>(world: &W, isolate: &Isolate, head: &Head) -> Result<Response<W::Answer>, Failure> {
    let usable = usable(world, isolate, head).await?;
    let mut entries: Vec<Value> = usable.config.models.keys().filter(|m| usable.allows(m)).map(|m| usable.entry(m, "tollgate")).collect();
    let now = world.now();
    let catalog = &usable.catalog;
    for (provider, row) in catalog.providers() {
        if !isolate.has_key(&usable.config, provider, row) {
            continue;
        }
        let named = usable
            .config
            .prices
            .keys()
            .filter_map(|p| p.strip_prefix(provider)?.strip_prefix('/'))
            .filter(|m| *m != "*")
            .map(str::to_owned);
        let models: Set<String> = catalog.models(provider).into_iter().chain(named).collect();
        let full = models.into_iter().map(|m| format!("{provider}/{m}")).filter(|m| usable.allows(m));
        entries.extend(full.filter(|m| plan(m, &usable.config, catalog, now).is_ok()).map(|m| usable.entry(&m, provider)));
    }
    Ok(Response::json(200, json!({ "object": "list", "data": entries }).to_string()))
}

/// One of them: an alias, or any `provider/model` that could be called.
///
/// # Errors
/// If the key does not work, or may not use it, or there is none.
pub async fn one<W: World>(world: &W, isolate: &Isolate, head: &Head, name: &str) -> Result<Response<W::Answer>, Failure> {
    let usable = usable(world, isolate, head).await?;
    if !usable.allows(name) {
        return Err(Failure::ModelNotFound { model: name.to_owned(), why: "this key may use no such model".to_owned() });
    }
    let planned = plan(name, &usable.config, &usable.catalog, world.now())?;
    let alias = usable.config.models.contains_key(name);
    let owner = planned.targets.first().map_or("tollgate", |t| if alias { "tollgate" } else { t.provider.as_str() });
    Ok(Response::json(200, usable.entry(name, owner).to_string()))
}
