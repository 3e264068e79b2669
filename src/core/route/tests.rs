//! Decisions, strategy by strategy.

mod filters;
mod replays;
mod strategies;

use super::*;
use crate::catalog::Catalog;
use crate::checks::Unreachable;
use crate::config::{Capability, Config, Quality};
use crate::failure::Failure;
use crate::perf::{View, ViewRow};
use crate::plan::{Plan, plan};
use crate::units::{NanoUsd, Timestamp};
use std::sync::OnceLock;

/// With the providers `p` and `q`. Its price list is read once.
pub(super) fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    let providers = r#"{"p":{"base_url":"https://p/v1","api_key_env":"K"},"q":{"base_url":"https://q/v1","api_key_env":"K"}}"#;
    CATALOG.get_or_init(|| Catalog::new(Some(providers)).unwrap())
}

/// The plan of an alias `a` with this text, at a provider `p` whose prices are given in the document.
pub(super) fn planned(alias: &str, prices: &str) -> Plan {
    let text = format!(
        r#"{{"models":{{"a":{alias}}},"prices":{{{prices}}},"unknown_price":{{"default_price":{{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}}}}}}"#
    );
    let config: Config = serde_json::from_str(&text).unwrap();
    assert_eq!(config.validate(), Ok(()), "{text}");
    plan("a", &config, catalog(), Timestamp(0)).unwrap()
}

/// A question about it, with nothing known.
pub(super) struct Asked {
    pub plan: Plan,
    pub view: View,
    pub probe: Option<String>,
    pub ask: Ask,
    pub at: i64,
    pub busy: Map<String, u32>,
    pub blocked: Map<String, String>,
}

impl Asked {
    pub fn new(alias: &str) -> Asked {
        Asked::priced(alias, "")
    }

    pub fn priced(alias: &str, prices: &str) -> Asked {
        Asked {
            plan: planned(alias, prices),
            view: View::default(),
            probe: None,
            ask: Ask::new(4_000, 4_000, None, 1),
            at: 1_000_000,
            busy: Map::new(),
            blocked: Map::new(),
        }
    }

    pub fn inputs(&self, seed: u64) -> Inputs {
        let question = Question {
            model: "a",
            config: 3,
            plan: &self.plan,
            view: &self.view,
            probe: self.probe.as_deref(),
            ask: &self.ask,
            at: Timestamp(self.at),
            seed,
            busy: &self.busy,
            blocked: &self.blocked,
        };
        question.inputs()
    }

    pub fn decide(&self, seed: u64) -> Decision {
        decide(&self.inputs(seed))
    }

    pub fn order(&self, seed: u64) -> Vec<String> {
        self.decide(seed).order
    }

    /// Who is first, of so many decisions.
    pub fn shares(&self, n: u64) -> Map<String, u64> {
        let (mut shares, mut inputs) = (Map::new(), self.inputs(0));
        for seed in 0..n {
            inputs.seed = mix(seed, "test");
            *shares.entry(decide(&inputs).order[0].clone()).or_default() += 1;
        }
        shares
    }

    pub fn row(&mut self, target: &str, row: ViewRow) {
        self.view.rows.retain(|r| r.target != target);
        self.view.rows.push(ViewRow { target: target.to_owned(), ..row });
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let alias = r#"{"targets":[{"target":"p/a","weight":3,"tags":["eu"]},{"target":"p/b","lacks":["vision"]},"q/c"],"strategy":"fastest","context_fallbacks":["q/long"]}"#;
    let mut asked = Asked::new(alias);
    asked.row("p/a", ViewRow { first_ms: 300, total_ms: 900, errors: 20, ..ViewRow::default() });
    asked.ask = Ask { stream: true, needs: [Capability::Vision].into(), ..asked.ask }.in_session("k", "s");
    for seed in [0, 7, u64::MAX] {
        let inputs = asked.inputs(seed);
        let text = serde_json::to_string(&inputs).unwrap();
        let again: Inputs = serde_json::from_str(&text).unwrap();
        assert_eq!(again, inputs);
        assert_eq!(serde_json::to_string(&decide(&again)).unwrap(), serde_json::to_string(&decide(&inputs)).unwrap());
    }
}

#[test]
fn what_health_checks_find_unreachable_comes_last_and_is_never_left_out() {
    let unreachable = |asked: &mut Asked, provider: &str, until: i64| {
        asked.view.unreachable.push(Unreachable { provider: provider.to_owned(), until: Timestamp(until) });
    };
    let mut asked = Asked::new(r#"{"targets":["p/a","q/b","p/c"],"context_fallbacks":["p/d","q/e"],"policy_fallbacks":["p/f","q/g"]}"#);
    unreachable(&mut asked, "p", 1_000_001);
    let decision = asked.decide(1);
    assert_eq!(decision.order, ["q/b", "p/a", "p/c"]);
    assert_eq!(
        (decision.context.as_slice(), decision.policy.as_slice()),
        (["q/e".into(), "p/d".into()].as_slice(), ["q/g".into(), "p/f".into()].as_slice())
    );
    assert_eq!((decision.notes.as_slice(), decision.dropped.len()), (["unreachable".to_owned()].as_slice(), 0));
    assert_eq!(decision.summary("a"), "alias=a strategy=ordered by=unreachable");
    // What was recorded decides the same again, and another configuration knows it of the provider's other models.
    let inputs = asked.inputs(1);
    let again: Inputs = serde_json::from_str(&serde_json::to_string(&inputs).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&decide(&again)).unwrap(), serde_json::to_string(&decision).unwrap());
    let other = rebuilt(&inputs, &planned(r#"{"targets":["p/new","q/new"]}"#, ""), 4);
    assert_eq!(decide(&other).order, ["q/new", "p/new"]);
    // A session does not stay there; the one probe of a breaker goes there all the same.
    asked.ask = asked.ask.clone().in_session("k", "s");
    asked.plan.route.strategy = Strategy::Weighted;
    assert!((0..50).all(|seed| asked.order(seed)[0] == "q/b"));
    asked.probe = Some("p/c".to_owned());
    assert_eq!(asked.order(1)[0], "p/c");
    // Nothing to choose is nothing to tell.
    for (targets, until) in
        [(r#"{"targets":["p/a"]}"#, 1_000_001), (r#"{"targets":["p/a","p/b"]}"#, 1_000_001), (r#"{"targets":["p/a","q/b"]}"#, 1_000_000)]
    {
        let mut asked = Asked::new(targets);
        unreachable(&mut asked, "p", until);
        assert_eq!((asked.order(1)[0].as_str(), asked.decide(1).notes.len()), ("p/a", 0), "{targets}");
    }
}

/// Bytes on disk: what was recorded once is explained and replayed for as long as it is kept.
#[test]
fn records_stay_readable() {
    let inputs = r#"{"model":"a","config":3,"at":5,"seed":"18446744073709551615","route":{"strategy":"weighted"},"ask":{"input":10,"output":20,"most_input":40,"choices":1,"stream":true,"needs":["tools"],"metadata":{"team":"red"},"session":"9","max_cost":7},"candidates":[{"target":"p/m","weight":1,"quality":0.5,"price":"tenant:p/m","cost":5,"worst":6},{"target":"q/n","role":"context","weight":2,"quality":0.8,"feedback":-7,"tags":["eu"],"context":8000,"lacks":["tools"],"price":"x","cost":1,"worst":2,"gate":{"open":9},"first_ms":3,"total_ms":4,"errors":5,"cached":8,"busy":6,"blocked":"limit:rpm","unreachable":true}]}"#;
    let read: Inputs = serde_json::from_str(inputs).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), inputs);
    let decision = r#"{"order":["p/m"],"context":["q/n"],"policy":["q/o"],"strategy":"weighted","rule":2,"scores":{"p/m":12},"dropped":[{"target":"q/n","reason":{"tags":{"missing":["eu"]}}},{"target":"q/n","reason":{"capability":{"lacks":["tools"]}}},{"target":"q/n","reason":{"context":{"tokens":9,"window":8}}},{"target":"q/n","reason":{"limit":{"rule":"limit:rpm"}}},{"target":"q/n","reason":{"price":{"worst":2,"cap":1}}},{"target":"q/n","reason":{"quality":{"quality":0.4,"floor":0.5}}},{"target":"q/n","reason":{"breaker":{"until":9}}},{"target":"q/n","reason":{"throttled":{"until":9}}}],"notes":["session"]}"#;
    let read: Decision = serde_json::from_str(decision).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), decision);
    assert_eq!(read.summary("a"), "alias=a strategy=weighted rule=2 by=session dropped=8");
}

#[test]
fn feedback_moves_the_quality_within_its_bounds() {
    let mut asked = Asked::new(r#"{"targets":[{"target":"p/a","quality":0.9},"q/b"]}"#);
    asked.row("p/a", ViewRow { quality: 200, ..ViewRow::default() });
    asked.row("q/b", ViewRow { quality: -200, ..ViewRow::default() });
    let quality: Vec<Quality> = asked.inputs(0).candidates.iter().map(|c| c.quality()).collect();
    assert_eq!(quality, [Quality::MAX, Quality::new(300)]);
}

#[test]
fn costs_are_those_of_the_price_list() {
    let prices = r#""p/a":{"input_usd_per_mtok":"2","output_usd_per_mtok":"10","cached_input_usd_per_mtok":"0.2"}"#;
    let mut asked = Asked::priced(r#"{"targets":["p/a"]}"#, prices);
    let costs = |asked: &Asked| asked.inputs(0).candidates.first().map(|c| (c.cost, c.worst)).unwrap();
    // 1,000 tokens in and 500 out; at worst 4,000 and the default of 16,384.
    assert_eq!(costs(&asked), (NanoUsd::new(2_000_000 + 5_000_000), NanoUsd::new(8_000_000 + 163_840_000)));
    asked.row("p/a", ViewRow { cached: 500, ..ViewRow::default() });
    assert_eq!(costs(&asked).0, NanoUsd::new(1_000_000 + 100_000 + 5_000_000));
}
