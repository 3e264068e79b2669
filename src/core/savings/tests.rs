use super::*;
use crate::catalog::Catalog;
use crate::config::{Config, Quality};
use crate::perf::{View, ViewRow};
use crate::plan::{Plan, plan};
use proptest::prelude::*;

/// Prices by name, in thousandths of a dollar per million tokens of input (cached a tenth, output four
/// times).
fn planned(alias: &str, prices: &[(&str, u64)]) -> Plan {
    let usd = |n: u64| format!("{}.{:06}", n / 1_000_000, n % 1_000_000);
    let row = |(name, milli): &(&str, u64)| {
        format!(
            r#""{name}":{{"input_usd_per_mtok":"{}","output_usd_per_mtok":"{}","cached_input_usd_per_mtok":"{}"}}"#,
            usd(milli * 1_000),
            usd(milli * 4_000),
            usd(milli * 100)
        )
    };
    let rows: Vec<String> = prices.iter().map(row).collect();
    let config: Config = serde_json::from_str(&format!(r#"{{"models":{{"a":{alias}}},"prices":{{{}}}}}"#, rows.join(","))).unwrap();
    let catalog =
        Catalog::new(Some(r#"{"p":{"base_url":"https://p/v1","api_key_env":"K"},"q":{"base_url":"https://q/v1","api_key_env":"K"}}"#));
    plan("a", &config, &catalog.unwrap(), Timestamp(0)).unwrap()
}

fn tokens(input: u64, output: u64, cached: u64) -> Usage {
    let mut usage = Usage { input, output, ..Usage::default() };
    usage.cached_input = cached;
    usage
}

fn attempt(target: &Target, usage: Usage) -> Attempt {
    Attempt { provider: target.provider.clone(), model: target.model.clone(), usage, cost: target.price.cost(usage), ..Attempt::default() }
}

/// Amounts by cause.
fn amounts(saved: &Saved) -> Vec<(&'static str, i64)> {
    saved.by.iter().map(|(cause, amount)| (cause.name(), amount.get())).collect()
}

#[test]
fn the_difference_is_told_by_cause() {
    let plan = planned(
        r#"{"targets":["p/mid","p/cheap","q/big"],"baseline":"p/big"}"#,
        &[("p/big", 10_000), ("p/mid", 2_000), ("p/cheap", 1_000), ("q/big", 7_000)],
    );
    let [mid, cheap, other] = [0, 1, 2].map(|n| &plan.targets[n]);
    let baseline = plan.baseline.as_deref().unwrap();
    let usage = tokens(1_000, 0, 0);
    let done = [attempt(mid, usage)];
    let story = Story { model: "a", baseline, asked: mid, first: mid, origin: Origin::Provider, usage: Some(usage), attempts: &done };
    assert_eq!(amounts(&story.saved()), [("route", 8_000_000)]);
    // The same model at another provider.
    let done = [attempt(other, usage)];
    let switched = Story { asked: other, first: other, attempts: &done, ..story };
    assert_eq!(amounts(&switched.saved()), [("provider_switch", 3_000_000)]);
    // A rule made it smaller; then the small one failed, at a charge, and the other answered.
    let done = [attempt(cheap, tokens(500, 0, 0)), attempt(other, usage)];
    let long = Story { asked: mid, first: cheap, attempts: &done, ..story };
    assert_eq!(amounts(&long.saved()), [("route", 8_000_000), ("downgrade", 1_000_000), ("failover", -6_500_000)]);
    assert_eq!(rows(Timestamp(0), &long.saved(), &done).iter().find(|r| r.cause == "counterfactual").unwrap().amount.get(), 10_000_000);
    // Stored, coalesced, and for nothing.
    let stored = Story { origin: Origin::Cache, attempts: &[], ..story };
    assert_eq!(amounts(&stored.saved()), [("cache", 10_000_000)]);
    assert_eq!(amounts(&Story { origin: Origin::Coalesced, ..stored }.saved()), [("coalesced", 10_000_000)]);
    let done = [attempt(mid, usage)];
    assert_eq!(amounts(&Story { usage: None, attempts: &done, ..story }.saved()), [("failover", -2_000_000)]);
}

/// Bytes of a message and on disk.
#[test]
fn savings_stay_readable() {
    let text = r#"{"m":"fast","p":"tenant:p/big","d":{"cache":1,"coalesced":2,"route":3,"provider_switch":4,"downgrade":5,"failover":-6}}"#;
    let saved: Saved = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&saved).unwrap(), text);
}

proptest! {
    #[test]
    fn actual_and_saved_are_the_counterfactual(
        prices in prop::collection::vec(0_u64..100_000, 4),
        requests in prop::collection::vec(
            (0_usize..3, 0_usize..3, 0_usize..3, 0_u8..4, (0_u64..1_000_000, 0_u64..100_000, 0_u64..1_000_000), prop::option::of(0_u64..10_000)),
            1..30,
        ),
    ) {
        let names = ["p/x", "p/y", "q/z", "q/base"];
        let priced: Vec<(&str, u64)> = names.into_iter().zip(prices).collect();
        let plan = planned(r#"{"targets":["p/x","p/y","q/z"],"baseline":"q/base"}"#, &priced);
        let mut sums: Map<String, i128> = Map::new();
        let mut by_hand = 0_i128;
        for (asked, first, answered, kind, (input, output, cached), failed) in requests {
            let [asked, first, answered] = [asked, first, answered].map(|n| &plan.targets[n]);
            let usage = tokens(input, output, cached);
            let mut attempts: Vec<Attempt> = failed.map(|n| attempt(first, tokens(n, 0, 0))).into_iter().collect();
            let (origin, told) = match kind {
                0 => (Origin::Cache, Some(usage)),
                1 => (Origin::Coalesced, Some(usage)),
                2 => (Origin::Provider, None),
                _ => (Origin::Provider, Some(usage)),
            };
            if kind == 3 {
                attempts.push(attempt(answered, usage));
            }
            let baseline = plan.baseline.as_deref().unwrap();
            let story = Story { model: "a", baseline, asked, first, origin, usage: told, attempts: &attempts };
            by_hand += told.map_or(0, |u| i128::from(baseline.price.cost(u).get()));
            for row in rows(Timestamp(0), &story.saved(), &attempts) {
                *sums.entry(row.cause).or_default() += i128::from(row.amount.get());
            }
        }
        let counterfactual = sums.remove("counterfactual").unwrap();
        prop_assert_eq!(counterfactual, by_hand);
        prop_assert_eq!(sums.values().sum::<i128>(), counterfactual);
    }
}

#[test]
fn advice_tells_costs_with_quality_and_latency_beside_them() {
    let prices = [("p/now", 2_000), ("q/cheap", 1_000), ("q/cached", 4_000), ("p/new", 500)];
    let plan = planned(r#"{"targets":["p/now",{"target":"q/cheap","quality":0.4},"q/cached"],"baseline":"p/new"}"#, &prices);
    let others = [plan.baseline.as_deref().unwrap().clone(), plan.targets[0].clone()];
    let traffic = SavingsRow {
        cause: "actual".to_owned(),
        requests: 100,
        input: 100_000,
        amount: NanoUsd::new(200_000_000),
        ..SavingsRow::default()
    };
    let noise = SavingsRow { cause: "cache".to_owned(), requests: 7, amount: NanoUsd::new(9), ..SavingsRow::default() };
    let view = View {
        version: 1,
        rows: vec![
            ViewRow { target: "q/cheap".to_owned(), quality: 50, first_ms: 300, total_ms: 900, errors: 20, ..ViewRow::default() },
            ViewRow { target: "q/cached".to_owned(), cached: 1_000, ..ViewRow::default() },
        ],
        ..View::default()
    };
    let advice = advise(&[traffic, noise], &plan, &others, &view);
    let told: Vec<_> = advice.iter().map(|a| (a.target.as_str(), a.cost.get(), a.saves.get())).collect();
    assert_eq!(
        told,
        [
            ("q/cached", 40_000_000, 160_000_000),
            ("p/new", 50_000_000, 150_000_000),
            ("q/cheap", 100_000_000, 100_000_000),
            ("p/now", 200_000_000, 0)
        ]
    );
    assert_eq!((advice[2].quality, advice[2].first_ms, advice[2].total_ms, advice[2].errors), (Quality::new(450), 300, 900, 20));
    assert_eq!((advice[1].observed, advice[2].observed), (false, true));
    // Nothing was asked: nothing would have cost.
    assert!(advise(&[], &plan, &[], &view).iter().all(|a| a.cost == NanoUsd::ZERO));
}
