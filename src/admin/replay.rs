//! What another configuration would have decided. No provider is called, and nothing is changed.

use super::decisions::{Range, page};
use super::tenants::{check, configuration};
use super::{Answer, body, object, wrong};
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tollgate_core::config::Config;
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::protocol::Reply;
use tollgate_core::route::{Change, Replayed, replay};
use tollgate_core::tenant::{MAX_PAGE, MAX_RECORDS};

/// Records that are looked at where nobody says how many.
const LIMIT: u64 = 1_000;
/// Most changes that are listed; the others are counted.
const MAX_CHANGES: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Post {
    config: Box<RawValue>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    cursor: Option<String>,
}

pub(super) async fn run<W: World>(world: &W, isolate: &Isolate, head: &Head, tenant: &TenantId) -> Answer<W> {
    let Reply::Configuration { prices, .. } = configuration(world, tenant).await? else { return Err(Failure::LedgerUnavailable) };
    let post: Post = body(world, head).await?;
    let config: Config = object(post.config.get().as_bytes())?;
    check(isolate, &config)?;
    let mut left = post.limit.unwrap_or(LIMIT);
    if !(1..=MAX_RECORDS).contains(&left) {
        return Err(wrong("limit", format!("is a whole number between 1 and {MAX_RECORDS}")));
    }
    let mut range = Range::read(post.from.as_deref(), post.to.as_deref(), post.cursor.as_deref())?;
    let catalog = isolate.catalog_for(&config, prices);
    let (mut sum, mut more) = (Sum::default(), None);
    while left > 0 {
        let (records, next) = page(world, tenant, &range, u32::try_from(left).unwrap_or(u32::MAX).min(MAX_PAGE)).await?;
        left = left.saturating_sub(u64::try_from(records.len()).unwrap_or(u64::MAX));
        sum.add(replay(&records, &config, &catalog));
        more = next;
        match &more {
            Some(last) => range.after.clone_from(last),
            None => break,
        }
    }
    Ok(Response::json(200, sum.json(more.as_deref()).to_string()))
}

/// Of all pages together.
#[derive(Default)]
struct Sum {
    all: Replayed,
    /// Changes that are not listed.
    unlisted: u64,
}

impl Sum {
    fn add(&mut self, page: Replayed) {
        let all = &mut self.all;
        for (sum, n) in [
            (&mut all.requests, page.requests),
            (&mut all.identical, page.identical),
            (&mut all.moved, page.moved),
            (&mut all.denied_before, page.denied_before),
            (&mut all.denied_after, page.denied_after),
        ] {
            *sum = sum.saturating_add(n);
        }
        all.cost_before = all.cost_before.plus(page.cost_before);
        all.cost_after = all.cost_after.plus(page.cost_after);
        let room = MAX_CHANGES.saturating_sub(all.changes.len());
        let over = page.changes.len().saturating_sub(room);
        self.unlisted = self.unlisted.saturating_add(u64::try_from(over).unwrap_or(u64::MAX));
        all.changes.extend(page.changes.into_iter().take(room));
    }

    fn json(&self, next: Option<&str>) -> Value {
        let r = &self.all;
        let changes: Vec<Value> = r.changes.iter().map(change).collect();
        json!({
            "object": "replay", "requests": r.requests, "identical": r.identical, "moved": r.moved, "denied_before": r.denied_before, "denied_after": r.denied_after,
            "cost_before_usd": r.cost_before.to_string(), "cost_after_usd": r.cost_after.to_string(),
            "saved_usd": r.cost_before.minus(r.cost_after).to_string(), "changes": changes, "changes_not_listed": self.unlisted,
            "next_cursor": next,
        })
    }
}

fn change(c: &Change) -> Value {
    json!({
        "id": c.id, "model": c.model, "before": c.before, "after": c.after, "cost_before_usd": c.cost_before.to_string(),
        "cost_after_usd": c.cost_after.to_string(), "denied": c.denied,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::units::NanoUsd;

    #[test]
    fn pages_are_summed_and_changes_bounded() {
        let change = |n: usize| Change {
            id: n.to_string(),
            model: "a".to_owned(),
            before: None,
            after: Some("p/x".to_owned()),
            cost_before: NanoUsd::new(5),
            cost_after: NanoUsd::new(3),
            denied: None,
        };
        let page = |from: usize, n: usize| Replayed {
            requests: 700,
            moved: 600,
            cost_before: NanoUsd::new(50),
            cost_after: NanoUsd::new(30),
            changes: (from..from + n).map(change).collect(),
            ..Replayed::default()
        };
        let mut sum = Sum::default();
        sum.add(page(0, 600));
        sum.add(page(600, 600));
        sum.add(page(1_200, 5));
        let told = sum.json(Some("01X"));
        assert_eq!((&told["requests"], &told["moved"], &told["saved_usd"]), (&json!(2_100), &json!(1_800), &json!("0.00000006")));
        assert_eq!((told["changes"].as_array().map(Vec::len), &told["changes_not_listed"]), (Some(1_000), &json!(205)));
        assert_eq!((&told["changes"][999]["id"], &told["next_cursor"]), (&json!("999"), &json!("01X")));
    }
}
