//! Who may not be asked, and why.

use super::*;

fn dropped(asked: &Asked) -> Vec<(String, String)> {
    asked.decide(1).dropped.into_iter().map(|d| (d.target, d.reason.to_string())).collect()
}

fn one(target: &str, told: &str) -> Vec<(String, String)> {
    vec![(target.to_owned(), told.to_owned())]
}

#[test]
fn a_model_that_lacks_something() {
    let mut asked = Asked::new(r#"{"targets":[{"target":"p/a","lacks":["vision","audio"]},"q/b"]}"#);
    assert_eq!(asked.order(1), ["p/a", "q/b"]);
    asked.ask.needs = [Capability::Vision, Capability::Tools].into();
    assert_eq!(asked.order(1), ["q/b"]);
    assert_eq!(dropped(&asked), one("p/a", "it has no vision"));
}

#[test]
fn a_context_window_counts_input_and_asked_output() {
    let mut asked = Asked::new(r#"{"targets":[{"target":"p/a","context_tokens":1500},"q/b"],"context_fallbacks":["q/long"]}"#);
    assert_eq!((asked.order(1), asked.decide(1).context), (vec!["p/a".to_owned(), "q/b".to_owned()], vec!["q/long".to_owned()]));
    asked.ask = Ask::new(4_000, 4_000, Some(501), 1);
    assert_eq!(dropped(&asked), one("p/a", "about 1501 tokens are more than its window of 1500"));
    // When no window is large enough, the fallbacks for that are the pool.
    let mut asked = Asked::new(r#"{"targets":[{"target":"p/a","context_tokens":900}],"context_fallbacks":["q/long"]}"#);
    assert_eq!(asked.order(1), ["q/long"]);
    assert_eq!(asked.decide(1).notes, ["context"]);
    asked.plan.context_fallbacks.clear();
    assert!(matches!(asked.decide(1).refusal(), Some(Reason::Context { window: 900, .. })));
}

#[test]
fn an_open_breaker_and_its_probe() {
    let mut asked = Asked::new(r#"{"targets":["p/a","q/b"]}"#);
    asked.row("p/a", ViewRow { gate: Gate::Open(Timestamp(5)), ..ViewRow::default() });
    // Its time is over, and still only the probe may ask.
    assert_eq!(dropped(&asked), one("p/a", "its breaker is open"));
    asked.probe = Some("p/a".to_owned());
    assert_eq!((asked.order(1), asked.decide(1).notes), (vec!["p/a".to_owned(), "q/b".to_owned()], vec!["probe".to_owned()]));
    // The probe goes first wherever it stands.
    let mut asked = Asked::new(r#"{"targets":["p/a","q/b"]}"#);
    asked.probe = Some("q/b".to_owned());
    assert_eq!(asked.order(1), ["q/b", "p/a"]);
}

#[test]
fn a_target_that_wants_rest_is_asked_again_when_it_is_over() {
    let mut asked = Asked::new(r#"{"targets":["p/a"]}"#);
    asked.row("p/a", ViewRow { gate: Gate::Throttled(Timestamp(1_000_500)), ..ViewRow::default() });
    let decision = asked.decide(1);
    assert_eq!(decision.refusal(), Some(&Reason::Throttled { until: Timestamp(1_000_500) }));
    assert_eq!(decision.refusal().and_then(|r| r.retry_after(Timestamp(asked.at))), Some(1_000));
    asked.at = 1_000_500;
    assert_eq!(asked.order(1), ["p/a"]);
}

#[test]
fn a_limit_of_the_provider() {
    let mut asked = Asked::new(r#"{"targets":["p/a","p/b","q/c"]}"#);
    asked.blocked.insert("p".to_owned(), "budget:p".to_owned());
    assert_eq!(asked.order(1), ["q/c"]);
    assert_eq!(dropped(&asked)[1], ("p/b".to_owned(), "budget:p of its provider has nothing left".to_owned()));
}

#[test]
fn a_cap_on_the_worst_case() {
    let prices = r#""p/a":{"input_usd_per_mtok":"100","output_usd_per_mtok":"100"}"#;
    let mut asked = Asked::priced(r#"{"targets":["p/a","q/b"],"max_cost_usd":"0.3"}"#, prices);
    asked.ask = Ask::new(4_000, 4_000, Some(100), 1);
    assert_eq!(dropped(&asked), one("p/a", "it could cost 0.41 USD, which is more than 0.3"));
    // The caller's own cap, where it is lower.
    asked.ask.max_cost = NanoUsd::from_usd("0.001");
    assert_eq!(asked.order(1), Vec::<String>::new());
    assert!(matches!(asked.decide(1).refusal(), Some(Reason::Price { cap, .. }) if cap.to_string() == "0.001"));
}

#[test]
fn a_data_policy() {
    let alias = r#"{"targets":[{"target":"p/a","tags":["us"]},{"target":"q/b","tags":["eu","zero-retention"]}],"require_tags":["eu"],"policy_fallbacks":["q/c"]}"#;
    let asked = Asked::new(alias);
    assert_eq!(asked.order(1), ["q/b"]);
    // It binds fallbacks too.
    assert_eq!(asked.decide(1).policy, Vec::<String>::new());
    assert_eq!(dropped(&asked)[0], ("p/a".to_owned(), "it is not tagged eu".to_owned()));
}

#[test]
fn of_several_reasons_the_most_hopeful_is_told() {
    let mut asked = Asked::new(r#"{"targets":[{"target":"p/a","lacks":["tools"]},"q/b","q/c"]}"#);
    asked.ask.needs = [Capability::Tools].into();
    asked.row("q/b", ViewRow { gate: Gate::Open(Timestamp(2_000_000)), ..ViewRow::default() });
    asked.row("q/c", ViewRow { gate: Gate::Open(Timestamp(1_500_000)), ..ViewRow::default() });
    let decision = asked.decide(1);
    assert_eq!(decision.refusal().and_then(|r| r.retry_after(Timestamp(asked.at))), Some(500_000));
}

#[test]
fn a_refusal_tells_what_would_help() {
    let told = |asked: &Asked| {
        let inputs = asked.inputs(1);
        refused(&inputs, &decide(&inputs)).unwrap()
    };
    let mut asked =
        Asked::new(r#"{"targets":["p/a",{"target":"q/b","context_tokens":10,"lacks":["tools"],"quality":0.1}],"min_quality":0.2}"#);
    let inputs = asked.inputs(1);
    assert_eq!(refused(&inputs, &decide(&inputs)), None);
    asked.row("p/a", ViewRow { gate: Gate::Open(Timestamp(1_002_500)), ..ViewRow::default() });
    let attempts = ["p/a: its breaker is open", "q/b: about 1000 tokens are more than its window of 10"].map(str::to_owned).to_vec();
    assert_eq!(told(&asked), Failure::Upstream { attempts, retry_after: Some(3) });
    asked.plan.targets.remove(0);
    assert!(matches!(told(&asked), Failure::InvalidRequest { param, .. } if param == "messages"));
    asked.ask.needs = [Capability::Tools].into();
    assert!(matches!(told(&asked), Failure::InvalidRequest { param, .. } if param == "model"));
    asked.ask = Ask::new(4, 4, None, 1);
    assert!(matches!(told(&asked), Failure::ModelNotFound { why, .. } if why.contains("its quality 0.1 is below 0.2")));
    asked.ask.max_cost = Some(NanoUsd::new(1));
    assert!(matches!(told(&asked), Failure::MaxCostExceeded { cap, .. } if cap.contains("its own")));
}
