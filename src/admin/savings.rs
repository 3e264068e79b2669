//! What requests cost, beside what they would have cost at the baseline.

use super::Answer;
use super::span::{Days, date};
use super::tenants::configuration;
use crate::http::{Head, Response};
use crate::ports::World;
use crate::serve::identify::ask;
use serde_json::{Value, json};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::map::Map;
use tollgate_core::protocol::{Command, Reply};
use tollgate_core::savings::SavingsRow;
use tollgate_core::units::{NanoUsd, Timestamp};

/// Rows of one answer of the store. An answer with as many may have been cut.
const MAX_ROWS: usize = 100_000;

/// The days that the query asks for.
pub(super) fn days<W: World>(world: &W, head: &Head) -> Result<Days, Failure> {
    Days::read(head.query("from").as_deref(), head.query("to").as_deref(), world.now())
}

/// The sums of these days.
pub(super) async fn rows<W: World>(world: &W, tenant: &TenantId, days: Days) -> Result<Vec<SavingsRow>, Failure> {
    match ask(world, tenant, Command::Savings { from: days.first, to: days.end() }).await? {
        Reply::Savings { rows } => Ok(rows),
        _ => Err(Failure::LedgerUnavailable),
    }
}

pub(super) async fn list<W: World>(world: &W, head: &Head, tenant: &TenantId) -> Answer<W> {
    let days = days(world, head)?;
    configuration(world, tenant).await?;
    let (sums, cut) = by_day_and_model(rows(world, tenant, days).await?, MAX_ROWS);
    let mut totals = Sum::default();
    let data: Vec<Value> = sums
        .iter()
        .map(|((day, model), sum)| {
            totals.merge(sum);
            let mut row = sum.json();
            row.insert("day".to_owned(), json!(date(*day)));
            row.insert("model".to_owned(), json!(model));
            Value::Object(row)
        })
        .collect();
    let body = json!({
        "object": "list", "from": date(days.first), "to": date(days.last), "data": data, "totals": totals.json(), "truncated": cut,
    });
    Ok(Response::json(200, body.to_string()))
}

/// What requests cost and saved together. What they would have cost is not stored a second time here: it is
/// the sum of both, so it cannot be at odds with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    actual: SavingsRow,
    by_cause: Map<String, NanoUsd>,
}

impl Sum {
    fn add(&mut self, row: &SavingsRow) {
        match row.cause.as_str() {
            "actual" => self.actual.add(row),
            "counterfactual" => {}
            cause => self.cause(cause, row.amount),
        }
    }

    fn cause(&mut self, cause: &str, amount: NanoUsd) {
        let sum = self.by_cause.entry(cause.to_owned()).or_default();
        *sum = sum.plus(amount);
    }

    fn merge(&mut self, other: &Sum) {
        self.actual.add(&other.actual);
        other.by_cause.iter().for_each(|(cause, amount)| self.cause(cause, *amount));
    }

    fn saved(&self) -> NanoUsd {
        self.by_cause.values().fold(NanoUsd::ZERO, |sum, amount| sum.plus(*amount))
    }

    fn counterfactual(&self) -> NanoUsd {
        self.actual.amount.plus(self.saved())
    }

    fn json(&self) -> serde_json::Map<String, Value> {
        let a = &self.actual;
        let by_cause: serde_json::Map<String, Value> =
            self.by_cause.iter().map(|(cause, n)| (cause.clone(), json!(n.to_string()))).collect();
        let fields = [
            ("actual_usd", json!(a.amount.to_string())),
            ("counterfactual_usd", json!(self.counterfactual().to_string())),
            ("saved_usd", json!(self.saved().to_string())),
            ("by_cause", Value::Object(by_cause)),
            ("requests", json!(a.requests)),
            ("input_tokens", json!(a.input)),
            ("cached_input_tokens", json!(a.cached)),
            ("output_tokens", json!(a.output)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Sums by day and model, and whether some are missing: of rows that were cut after `most` the last sum may be
/// a part only, and is left out.
fn by_day_and_model(rows: Vec<SavingsRow>, most: usize) -> (Map<(Timestamp, String), Sum>, bool) {
    let cut = rows.len() >= most;
    let mut sums: Map<(Timestamp, String), Sum> = Map::new();
    for row in &rows {
        sums.entry((row.day, row.model.clone())).or_default().add(row);
    }
    if cut {
        sums.pop_last();
    }
    (sums, cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::protocol::Attempt;
    use tollgate_core::savings::{Cause, Saved, rows};

    /// The rows of a request that cost `actual` and saved so much.
    fn request(day: i64, model: &str, actual: i64, by: &[(Cause, i64)]) -> Vec<SavingsRow> {
        let by = by.iter().map(|(cause, n)| (*cause, NanoUsd::new(*n))).collect();
        let saved = Saved { model: model.to_owned(), price: String::new(), by };
        rows(Timestamp(day), &saved, &[Attempt { cost: NanoUsd::new(actual), ..Attempt::default() }])
    }

    #[test]
    fn what_is_shown_adds_up_to_what_was_stored() {
        let mut all = request(0, "a", 10, &[(Cause::Route, 30), (Cause::Failover, -50)]);
        all.extend(request(0, "a", 7, &[(Cause::Route, 1)]));
        all.extend(request(0, "b", 5, &[]));
        all.extend(request(86_400_000, "a", 0, &[(Cause::Cache, 9)]));
        let stored = all.iter().filter(|r| r.cause == "counterfactual").fold(0, |sum, r| sum + r.amount.get());
        let (sums, cut) = by_day_and_model(all, 100);
        assert_eq!((sums.len(), cut), (3, false));
        let of = |day: i64, model: &str| sums.get(&(Timestamp(day), model.to_owned())).unwrap();
        let first = of(0, "a").json();
        assert_eq!((&first["actual_usd"], &first["requests"]), (&json!("0.000000017"), &json!(2)));
        assert_eq!(first["by_cause"], json!({ "route": "0.000000031", "failover": "-0.00000005" }));
        assert_eq!((&first["saved_usd"], &first["counterfactual_usd"]), (&json!("-0.000000019"), &json!("-0.000000002")));
        assert_eq!(of(0, "b").json()["by_cause"], json!({}));
        let mut totals = Sum::default();
        sums.values().for_each(|sum| totals.merge(sum));
        assert_eq!((totals.counterfactual().get(), totals.actual.amount.get(), totals.actual.requests), (stored, 22, 4));
    }

    #[test]
    fn a_sum_that_may_be_cut_is_left_out() {
        let mut all = request(0, "a", 10, &[(Cause::Route, 30)]);
        all.extend(request(0, "b", 10, &[(Cause::Route, 30)]));
        tollgate_core::map::sort_by(&mut all, |x, y| (x.day, &x.model, &x.cause).cmp(&(y.day, &y.model, &y.cause)));
        all.truncate(5);
        let (sums, cut) = by_day_and_model(all, 5);
        assert_eq!((sums.keys().map(|(_, model)| model.as_str()).collect::<Vec<_>>(), cut), (vec!["a"], true));
    }
}
