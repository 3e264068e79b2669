//! What the traffic of a model would have cost elsewhere.

use super::providers::{self, share};
use super::savings::{days, rows};
use super::span::date;
use super::tenants::configuration;
use super::{Answer, wrong};
use crate::http::{Head, Response, percent_decode};
use crate::isolate::Isolate;
use crate::ports::World;
use crate::serve::identify::ask;
use serde_json::{Value, json};
use tollgate_core::config::split_target;
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::perf::{View, ViewRow};
use tollgate_core::plan::{Plan, Target, plan};
use tollgate_core::protocol::{Command, ProviderRow, Reply, UsageRow};
use tollgate_core::savings::{Advice, SavingsRow, advise};

/// Most targets that are looked at beside those of the alias.
const MAX_OTHERS: usize = 16;

/// Most models that one report is about.
const MAX_MODELS: usize = 50;

/// What all that is told of one model is made of.
struct Known<'a> {
    rows: &'a [SavingsRow],
    view: View,
    /// By target: what came of its attempts in the period. In order: the store sorts them.
    period: Vec<(String, Period)>,
}

/// How a target did in the period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Period {
    attempts: u64,
    failed: u64,
    /// Whole answers, and the milliseconds that all of them took.
    answered: u64,
    answered_ms: u64,
}

pub(super) async fn list<W: World>(world: &W, isolate: &Isolate, head: &Head, tenant: &TenantId) -> Answer<W> {
    let days = days(world, head)?;
    let wanted = head.query("model").filter(|m| !m.is_empty());
    let named = targets(head)?;
    let Reply::Configuration { config, prices, .. } = configuration(world, tenant).await? else { return Err(Failure::LedgerUnavailable) };
    let catalog = isolate.catalog_for(&config, prices);
    let now = world.now();
    let asked = wanted.as_ref().map(|model| plan(model, &config, &catalog, now).map_err(|e| wrong("model", reason(&e)))).transpose()?;
    let mut others: Vec<Target> = Vec::with_capacity(named.len());
    for target in &named {
        let found = plan(target, &config, &catalog, now).map_err(|e| wrong("target", reason(&e)))?;
        others.extend(found.targets);
    }
    let rows = rows(world, tenant, days).await?;
    let Reply::Usage { rows: counted } = ask(world, tenant, Command::Targets { from: days.first, to: days.end() }).await? else {
        return Err(Failure::LedgerUnavailable);
    };
    let known = Known { rows: &rows, view: view(&providers::rows(world, tenant).await?), period: by_target(&counted) };
    let span = json!({ "object": "list", "from": date(days.first), "to": date(days.last) });
    let body = match (&wanted, &asked) {
        (Some(model), Some(planned)) => with(span, known.report(model, planned, &others)),
        _ => {
            // All models that were asked for, as they would be planned now. Of one that is gone there is nothing to say.
            let mut models: Vec<&str> = rows.iter().filter(|r| r.cause == "actual").map(|r| r.model.as_str()).collect();
            models.sort_unstable();
            models.dedup();
            let planned = models.iter().filter_map(|model| Some((*model, plan(model, &config, &catalog, now).ok()?)));
            let reports: Vec<Value> = planned.take(MAX_MODELS).map(|(model, plan)| known.report(model, &plan, &others)).collect();
            with(span, json!({ "truncated": models.len() > MAX_MODELS, "data": reports }))
        }
    };
    Ok(Response::json(200, body.to_string()))
}

/// One object with the fields of both.
fn with(mut one: Value, other: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut one, other) {
        fields.extend(more);
    }
    one
}

impl Known<'_> {
    fn period(&self, target: &str) -> Period {
        self.period.iter().find(|(name, _)| name == target).map_or_else(Period::default, |(_, period)| *period)
    }

    fn report(&self, model: &str, planned: &Plan, others: &[Target]) -> Value {
        let rows: Vec<SavingsRow> = self.rows.iter().filter(|r| r.cause == "actual" && r.model == model).cloned().collect();
        let mut sum = SavingsRow::default();
        rows.iter().for_each(|row| sum.add(row));
        let advice = advise(&rows, planned, others, &self.view);
        let data: Vec<Value> = advice.iter().map(|a| row(a, self.period(&a.target))).collect();
        json!({
            // Requests are summed up for models with a baseline only.
            "model": model, "baseline": planned.baseline.as_ref().map(|b| b.name()), "actual_usd": sum.amount.to_string(),
            "requests": sum.requests, "input_tokens": sum.input, "cached_input_tokens": sum.cached, "output_tokens": sum.output,
            "data": data,
        })
    }
}

/// Counters by target and outcome as what came of the targets' attempts.
fn by_target(rows: &[UsageRow]) -> Vec<(String, Period)> {
    let mut all: Vec<(String, Period)> = Vec::new();
    for UsageRow { provider, model, outcome, counts, .. } in rows {
        let Some(failed) = (match outcome.as_str() {
            "ok" => Some(false),
            "error" | "timeout" | "cut" => Some(true),
            // Stored answers, and ends that say nothing of the target.
            _ => None,
        }) else {
            continue;
        };
        let target = format!("{provider}/{model}");
        if all.last().is_none_or(|(last, _)| *last != target) {
            all.push((target, Period::default()));
        }
        let Some((_, period)) = all.last_mut() else { continue };
        period.attempts = period.attempts.saturating_add(counts.requests);
        if failed {
            period.failed = period.failed.saturating_add(counts.requests);
        } else {
            period.answered = period.answered.saturating_add(counts.requests);
            period.answered_ms = period.answered_ms.saturating_add(counts.latency_ms);
        }
    }
    all
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
    View { version: 1, rows: rows.iter().filter(|r| r.region.is_empty()).map(row).collect(), ..View::default() }
}

fn row(a: &Advice, period: Period) -> Value {
    let known = |n: u32| (n > 0).then_some(n);
    let failed = period.failed.saturating_mul(1_000).checked_div(period.attempts).and_then(|n| i64::try_from(n).ok());
    json!({
        "object": "advice", "target": a.target, "cost_usd": a.cost.to_string(), "saves_usd": a.saves.to_string(), "quality": share(a.quality.get()),
        "lacks": a.lacks,
        "period": {
            "attempts": period.attempts, "failed": period.failed, "error_rate": failed.map(share),
            "mean_ms": period.answered_ms.checked_div(period.answered),
        },
        "first_byte_ms": known(a.first_ms), "total_ms": known(a.total_ms), "error_rate": a.observed.then(|| share(i64::from(a.errors))),
        "observed": a.observed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::protocol::Counts;

    #[test]
    fn targets_may_be_named_more_than_once() {
        let read = |query: &str| targets(&Head::read(format!("GET\n/a?{query}"))).map_err(|e| e.message());
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

    #[test]
    fn the_period_counts_what_says_something_of_a_target() {
        let row = |model: &str, outcome: &str, requests, latency_ms| UsageRow {
            minute: tollgate_core::units::Timestamp(0),
            key: String::new(),
            provider: "p".to_owned(),
            model: model.to_owned(),
            status: 0,
            outcome: outcome.to_owned(),
            counts: Counts { requests, latency_ms, ..Counts::default() },
        };
        let rows = [
            row("x", "ok", 3, 600),
            row("x", "error", 1, 9_000),
            row("x", "timeout", 1, 9_000),
            row("x", "client_gone", 5, 5),
            row("x", "cached", 50, 5),
            row("y", "cut", 1, 5),
        ];
        let all = by_target(&rows);
        let x = Period { attempts: 5, failed: 2, answered: 3, answered_ms: 600 };
        let y = Period { attempts: 1, failed: 1, answered: 0, answered_ms: 0 };
        assert_eq!(all, [("p/x".to_owned(), x), ("p/y".to_owned(), y)]);
        let advice = Advice {
            target: "p/x".to_owned(),
            cost: tollgate_core::units::NanoUsd::ZERO,
            saves: tollgate_core::units::NanoUsd::ZERO,
            quality: tollgate_core::config::Quality::new(500),
            lacks: tollgate_core::map::Set::new(),
            first_ms: 0,
            total_ms: 0,
            errors: 0,
            observed: false,
        };
        let told = super::row(&advice, x)["period"].clone();
        assert_eq!(told, json!({ "attempts": 5, "failed": 2, "error_rate": 0.4, "mean_ms": 200 }));
        let none = super::row(&advice, Period::default())["period"].clone();
        assert_eq!(none, json!({ "attempts": 0, "failed": 0, "error_rate": null, "mean_ms": null }));
    }
}
