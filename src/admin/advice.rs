//! What the traffic of a model would have cost elsewhere.

use super::providers::{self, share};
use super::savings::{days, rows};
use super::span::date;
use super::tenants::configuration;
use super::{Answer, wrong};
use crate::http::{Head, Response, percent_decode};
use crate::isolate::Isolate;
use crate::ports::World;
use serde_json::{Value, json};
use tollgate_core::config::split_target;
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::perf::{View, ViewRow};
use tollgate_core::plan::{Target, plan};
use tollgate_core::protocol::{ProviderRow, Reply};
use tollgate_core::savings::{Advice, SavingsRow, advise};

/// Most targets that are looked at beside those of the alias.
const MAX_OTHERS: usize = 16;

pub(super) async fn list<W: World>(world: &W, isolate: &Isolate, head: &Head, tenant: &TenantId) -> Answer<W> {
    let days = days(world, head)?;
    let model =
        head.query("model").filter(|m| !m.is_empty()).ok_or_else(|| wrong("model", "is missing: name an alias, or `provider/model`"))?;
    let named = targets(head)?;
    let Reply::Configuration { config, prices, .. } = configuration(world, tenant).await? else { return Err(Failure::LedgerUnavailable) };
    let catalog = isolate.catalog_for(&config, prices);
    let now = world.now();
    let planned = plan(&model, &config, &catalog, now).map_err(|e| wrong("model", reason(&e)))?;
    let mut others: Vec<Target> = Vec::with_capacity(named.len());
    for target in &named {
        let found = plan(target, &config, &catalog, now).map_err(|e| wrong("target", reason(&e)))?;
        others.extend(found.targets);
    }
    let mut rows = rows(world, tenant, days).await?;
    rows.retain(|r| r.cause == "actual" && r.model == model);
    let view = view(&providers::rows(world, tenant).await?);
    let data: Vec<Value> = advise(&rows, &planned, &others, &view).iter().map(row).collect();
    let mut sum = SavingsRow::default();
    rows.iter().for_each(|row| sum.add(row));
    let body = json!({
        "object": "list", "model": model, "from": date(days.first), "to": date(days.last), "actual_usd": sum.amount.to_string(),
        "requests": sum.requests, "input_tokens": sum.input, "cached_input_tokens": sum.cached, "output_tokens": sum.output, "data": data,
    });
    Ok(Response::json(200, body.to_string()))
}

/// Why there is no plan, as the end of a sentence about the parameter.
fn reason(failure: &Failure) -> String {
    match failure {
        Failure::ModelNotFound { model, why } => format!("there is no model `{model}`: {why}"),
        Failure::PriceUnknown { model } => format!("the price of `{model}` is unknown"),
        other => other.message(),
    }
}

/// The targets that the query names: `target=` as often as is wanted.
fn targets(head: &Head) -> Result<Vec<String>, Failure> {
    let values = head.query.split('&').filter_map(|pair| pair.strip_prefix("target="));
    let targets: Vec<String> = values.map(|v| percent_decode(&v.replace('+', " "))).collect();
    if targets.len() > MAX_OTHERS {
        return Err(wrong("target", format!("is given at most {MAX_OTHERS} times")));
    }
    match targets.iter().find(|t| split_target(t).is_none()) {
        Some(_) => Err(wrong("target", "is `provider/model`")),
        None => Ok(targets),
    }
}

/// What is known of targets everywhere, as routing is told it.
fn view(rows: &[ProviderRow]) -> View {
    let row = |r: &ProviderRow| ViewRow {
        target: r.target.clone(),
        first_ms: r.first_now_ms,
        total_ms: r.total_now_ms,
        errors: u16::try_from(r.failed.saturating_mul(1_000).checked_div(r.attempts).unwrap_or(0).min(1_000)).unwrap_or(0),
        cached: r.cached,
        quality: r.feedback,
        ..ViewRow::default()
    };
    View { version: 1, rows: rows.iter().filter(|r| r.region.is_empty()).map(row).collect() }
}

fn row(a: &Advice) -> Value {
    let known = |n: u32| (n > 0).then_some(n);
    json!({
        "object": "advice", "target": a.target, "cost_usd": a.cost.to_string(), "saves_usd": a.saves.to_string(), "quality": share(a.quality.get()),
        "first_byte_ms": known(a.first_ms), "total_ms": known(a.total_ms), "error_rate": a.observed.then(|| share(i64::from(a.errors))),
        "observed": a.observed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_may_be_named_more_than_once() {
        let read = |query: &str| targets(&Head::read(&format!("GET\n/a?{query}"))).map_err(|e| e.message());
        assert_eq!(read("model=a").unwrap(), Vec::<String>::new());
        assert_eq!(read("target=p/x&model=a&target=q%2Fy%2Fz").unwrap(), ["p/x", "q/y/z"]);
        assert_eq!(read("target=alias").unwrap_err(), "`target`: is `provider/model`.");
        assert!(read(&vec!["target=p/x"; 17].join("&")).unwrap_err().contains("at most 16 times"));
    }

    #[test]
    fn what_was_seen_everywhere_is_told() {
        let all = ProviderRow {
            target: "p/x".to_owned(),
            attempts: 8,
            failed: 2,
            first_now_ms: 5,
            cached: 9,
            feedback: -3,
            ..ProviderRow::default()
        };
        let near = ProviderRow { region: "FRA".to_owned(), first_now_ms: 1, ..all.clone() };
        let view = view(&[near, all]);
        let row = view.row("p/x").unwrap();
        assert_eq!((view.rows.len(), row.errors, row.first_ms, row.cached, row.quality), (1, 250, 5, 9, -3));
    }
}
