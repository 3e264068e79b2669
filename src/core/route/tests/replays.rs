//! Records, and what another configuration would have done.

use super::*;
use crate::price::Usage;
use crate::protocol::{Attempt, Outcome};
use crate::retry::Class;
use proptest::prelude::*;

fn config(text: &str) -> Config {
    serde_json::from_str(text).unwrap()
}

const PRICES: &str =
    r#""prices":{"p/*":{"input_usd_per_mtok":"2","output_usd_per_mtok":"2"},"q/*":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}}"#;

/// A record of a request that used 1,000 tokens at the target that was decided first.
fn record(id: &str, alias: &str) -> Record {
    let asked = Asked { plan: plan("a", &config(alias), catalog(), Timestamp(0)).unwrap(), ..Asked::new(r#"{"target":"p/x"}"#) };
    let inputs = asked.inputs(9);
    let decision = decide(&inputs);
    let (provider, model) = decision.order[0].split_once('/').unwrap();
    let cost = if provider == "p" { 2_000_000 } else { 1_000_000 };
    let attempt = Attempt {
        provider: provider.to_owned(),
        model: model.to_owned(),
        status: 200,
        usage: Usage { input: 1_000, ..Usage::default() },
        cost: NanoUsd::new(cost),
        ..Attempt::default()
    };
    let failed = Attempt { outcome: Outcome::Error, status: 503, usage: Usage::default(), cost: NanoUsd::ZERO, ..attempt.clone() };
    Record::new(id, inputs, decision).ended("key", &[failed, attempt])
}

#[test]
fn a_record_tells_what_came_of_it() {
    let record = record("01", &format!(r#"{{"models":{{"a":{{"targets":["p/x","q/y"]}}}},{PRICES}}}"#));
    let tried: Vec<_> = record.attempts.iter().map(|t| (t.class, t.status)).collect();
    assert_eq!(tried, [(Class::Overloaded, 503), (Class::Ok, 200)]);
    assert_eq!((record.cost.get(), record.usage.map(|u| u.input), record.key.as_str()), (2_000_000, Some(1_000), "key"));
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
}

#[test]
fn an_answer_that_went_on_elsewhere_keeps_its_tokens() {
    let first = record("01", &format!(r#"{{"models":{{"a":{{"targets":["p/x","q/y"]}}}},{PRICES}}}"#));
    let whole = Usage { input: 100, output: 900, ..Usage::default() };
    let (inputs, decision) = first.decided().map(|d| (d.inputs, d.decision)).unwrap();
    let rest = Attempt { status: 200, usage: Usage { input: 700, output: 300, ..Usage::default() }, ..Attempt::default() };
    let broken = Attempt { outcome: Outcome::Cut, ..rest.clone() };
    let told = |last: Attempt| {
        let told = Record { usage: Some(whole), ..Record::new("02", inputs.clone(), decision.clone()) };
        // By the isolate, and again by the object.
        let all = [broken.clone(), last];
        told.ended("key", &all).ended("key", &all)
    };
    assert_eq!(told(rest.clone()).usage, Some(whole));
    assert_eq!(told(broken.clone()).usage, None);
}

#[test]
fn another_configuration_moves_and_denies() {
    let now = format!(r#"{{"models":{{"a":{{"targets":["p/x","q/y"]}}}},{PRICES}}}"#);
    let records = [record("01", &now), record("02", &now)];
    let with = |alias: &str| replay(&records, &config(&format!(r#"{{"models":{{{alias}}},{PRICES}}}"#)), catalog());
    // The cheaper one first.
    let cheapest = with(r#""a":{"targets":["p/x","q/y"],"strategy":"cheapest"}"#);
    assert_eq!((cheapest.requests, cheapest.moved, cheapest.denied_after), (2, 2, 0));
    assert_eq!((cheapest.cost_before.get(), cheapest.cost_after.get()), (4_000_000, 2_000_000));
    assert_eq!((cheapest.changes[0].before.as_deref(), cheapest.changes[0].after.as_deref()), (Some("p/x"), Some("q/y")));
    // A policy that nobody meets; and no alias at all.
    let none = with(r#""a":{"targets":["p/x"],"require_tags":["eu"]}"#);
    assert_eq!((none.denied_before, none.denied_after), (0, 2));
    assert_eq!(none.changes[1].denied.as_deref(), Some("it is not tagged eu"));
    assert_eq!(with(r#""b":{"target":"p/x"}"#).changes[0].denied.as_deref(), Some("model_not_found"));
    // The same again.
    let same = with(r#""a":{"targets":["p/x","q/y"]}"#);
    assert_eq!((same.moved, same.identical, same.changes.len()), (0, 2, 0));
    assert_eq!(cheapest.identical, 0);
    // What a price alone changes is another decision, though it goes to the same target.
    let dearer = r#""prices":{"p/*":{"input_usd_per_mtok":"2","output_usd_per_mtok":"2.1"},"q/*":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}}"#;
    let dearer = replay(&records, &config(&format!(r#"{{"models":{{"a":{{"targets":["p/x","q/y"]}}}},{dearer}}}"#)), catalog());
    assert_eq!((dearer.moved, dearer.identical), (0, 0));
}

#[test]
fn what_was_known_of_a_target_is_known_again() {
    let now = config(&format!(r#"{{"models":{{"a":{{"targets":["p/x","q/y"]}}}},{PRICES}}}"#));
    let mut asked = Asked { plan: plan("a", &now, catalog(), Timestamp(0)).unwrap(), ..Asked::new(r#"{"target":"p/x"}"#) };
    asked.row("q/y", ViewRow { gate: Gate::Open(Timestamp(9)), cached: 100, ..ViewRow::default() });
    asked.blocked.insert("q".to_owned(), "budget:q".to_owned());
    let inputs = asked.inputs(9);
    let record = Record::new("01", inputs.clone(), decide(&inputs));
    let other = config(&format!(r#"{{"models":{{"a":{{"targets":["q/y","q/new"]}}}},{PRICES}}}"#));
    let replayed = replay(&[record], &other, catalog());
    // The budget of the provider is empty, for its other models too.
    assert_eq!(replayed.changes[0].denied.as_deref(), Some("budget:q of its provider has nothing left"));
}

proptest! {
    /// Whatever is known: under the same configuration a replay makes the same inputs, and the same inputs
    /// the same bytes.
    #[test]
    fn a_replay_under_the_same_configuration_is_the_same(
        strategy in 0_usize..6, seed in any::<u64>(), session in any::<bool>(), stream in any::<bool>(), bytes in 0_u64..500_000,
        rows in prop::collection::vec((0_u32..5_000, 0_u32..5_000, 0_u16..=1_000, 0_u16..=1_000, -200_i16..=200, -2_i64..3, 0_u32..9), 4),
        blocked in any::<bool>(), probe in any::<bool>(),
    ) {
        let strategy = ["ordered", "weighted", "cheapest", "fastest", "least_busy", "balanced"][strategy];
        let text = format!(
            r#"{{"models":{{"a":{{"targets":[{{"target":"p/a","quality":0.9,"context_tokens":100000}},{{"target":"p/b","weight":3}},"q/c"],
                "strategy":"{strategy}","min_quality":0.3,"max_latency_ms":2000,"context_fallbacks":["q/long"]}}}},{PRICES}}}"#
        );
        let (config, catalog) = (config(&text), catalog());
        let mut asked = Asked { plan: plan("a", &config, catalog, Timestamp(0)).unwrap(), ..Asked::new(r#"{"target":"p/x"}"#) };
        for (name, (first_ms, total_ms, errors, cached, quality, gate, busy)) in ["p/a", "p/b", "q/c", "q/long"].iter().zip(rows) {
            let until = Timestamp(asked.at + 500);
            let gate = match gate { -2 => Gate::Open(until), -1 => Gate::Throttled(until), _ => Gate::Closed };
            asked.row(name, ViewRow { first_ms, total_ms, errors, cached, quality, gate, ..ViewRow::default() });
            asked.busy.insert((*name).to_owned(), busy);
        }
        if blocked {
            asked.blocked.insert("p".to_owned(), "limit:p".to_owned());
        }
        asked.probe = probe.then(|| "p/b".to_owned());
        asked.ask = Ask { stream, ..Ask::new(bytes, bytes, None, 1).in_session("k", if session { "s" } else { "" }) };
        let inputs = asked.inputs(seed);
        let decision = decide(&inputs);
        // Through text, as it is stored.
        let stored: Record = serde_json::from_str(&serde_json::to_string(&Record::new("01", inputs, decision)).unwrap()).unwrap();
        let Decided { inputs, decision } = stored.decided().unwrap();
        let again = rebuilt(&inputs, &plan("a", &config, catalog, Timestamp(0)).unwrap(), inputs.config);
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&inputs).unwrap());
        prop_assert_eq!(serde_json::to_string(&decide(&again)).unwrap(), serde_json::to_string(&decision).unwrap());
        let replayed = replay(std::slice::from_ref(&stored), &config, catalog);
        prop_assert_eq!((replayed.moved, replayed.identical, replayed.denied_before), (0, 1, replayed.denied_after));
        prop_assert!(replayed.changes.is_empty());
    }
}
