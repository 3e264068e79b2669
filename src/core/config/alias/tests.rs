//! Aliases as they are written, and what is wrong with them.

use super::super::Config;
use super::*;

/// Reads a document with this alias, and writes it as it was.
fn stays(alias: &str) -> Alias {
    let read: Alias = serde_json::from_str(alias).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), alias);
    read
}

fn refused(document: &str) -> String {
    match serde_json::from_str::<Config>(document) {
        Err(e) => e.to_string(),
        Ok(config) => config.validate().map(|()| String::new()).unwrap_or_else(|e| format!("{}: {}", e.param, e.message)),
    }
}

#[test]
fn aliases_are_written_as_they_were_read() {
    assert_eq!(stays(r#"{"target":"p/m"}"#).route, Route::default());
    assert_eq!(stays(r#"{"targets":["p/m","q/n"]}"#).targets, [PoolTarget::plain("p/m"), PoolTarget::plain("q/n")]);
    let all = stays(
        r#"{"targets":[{"target":"p/m","weight":3,"quality":0.8,"tags":["eu"],"context_tokens":8000,"lacks":["vision"]},"q/n"],"strategy":"conditional","affinity":false,"min_quality":0.7,"max_latency_ms":900,"max_cost_usd":"0.01","require_tags":["eu"],"rules":[{"when":{"metadata":{"team":"red"},"input_tokens_over":5,"input_tokens_at_most":9,"needs":["tools"]},"require_tags":["eu"],"strategy":"balanced"},{"when":{}}],"context_fallbacks":["p/long"],"policy_fallbacks":["q/lenient"],"baseline":"p/m"}"#,
    );
    assert_eq!((all.targets[0].quality, all.targets[1].quality), (Quality::new(800), Quality::default()));
    assert_eq!(all.route.rules[1].strategy, Strategy::Ordered);
}

#[test]
fn what_is_wrong_with_a_route_is_told_with_its_place() {
    for (alias, told) in [
        (r#"{}"#, "expected {\"target\""),
        (r#"{"target":"b"}"#, "models.a.target: a target is written"),
        (r#"{"targets":["a/b","b"]}"#, "models.a.targets[1]: a target is written"),
        (r#"{"target":"a/b","targets":["a/b"]}"#, "expected {\"target\""),
        (r#"{"targets":["a/b","a/b"]}"#, "models.a.targets[1]: `a/b` is there twice"),
        (r#"{"targets":[{"target":"a/b","wieght":1}]}"#, "expected \"provider/model\" or"),
        (r#"{"targets":[{"target":"a/b","weight":10001}]}"#, "models.a.targets[0].weight"),
        (r#"{"targets":[{"target":"a/b","quality":1.5}]}"#, "expected \"provider/model\" or"),
        (r#"{"targets":[{"target":"a/b","tags":[""]}]}"#, "models.a.targets[0].tags"),
        (r#"{"targets":[{"target":"a/b","weight":0}],"strategy":"weighted"}"#, "needs a target with a weight"),
        (r#"{"target":"a/b","strategy":"random"}"#, "unknown variant `random`"),
        (r#"{"target":"a/b","strategy":"balanced"}"#, "models.a.min_quality"),
        (r#"{"target":"a/b","strategy":"conditional"}"#, "models.a.rules"),
        (r#"{"target":"a/b","rules":[{"when":{}}]}"#, "models.a.rules"),
        (r#"{"target":"a/b","strategy":"conditional","rules":[{"strategy":"conditional"}]}"#, "models.a.rules[0].strategy"),
        (r#"{"target":"a/b","strategy":"conditional","rules":[{"require_tags":["eu"]}]}"#, "models.a.rules[0].require_tags"),
        (r#"{"target":"a/b","context_fallbacks":["b"]}"#, "models.a.context_fallbacks[0]"),
        (r#"{"target":"a/b","baseline":"b"}"#, "models.a.baseline"),
        (r#"{"target":"a/b","max_cost_usd":"0"}"#, "models.a.max_cost_usd"),
        (r#"{"target":"a/b","max_latency_ms":0}"#, "models.a.max_latency_ms"),
    ] {
        let error = refused(&format!(r#"{{"models":{{"a":{alias}}}}}"#));
        assert!(error.contains(told), "{alias}: {error}");
    }
    for (document, told) in [
        (r#"{"breaker":{"max_cooldown_s":1}}"#, "breaker.max_cooldown_s: 1 is not between 2 and"),
        (r#"{"breaker":{"error_percent":0}}"#, "breaker.error_percent"),
        (r#"{"retry":{"max_attempts":0}}"#, "retry.max_attempts"),
        (r#"{"savings":{"baseline":"x"}}"#, "savings.baseline"),
        (r#"{"decisions":{"sample_per_mille":1001}}"#, "decisions.sample_per_mille"),
    ] {
        assert!(refused(document).contains(told), "{document}: {}", refused(document));
    }
}

#[test]
fn breakers_and_retries_survive_a_round_trip() {
    let text = r#"{"breaker":{"cooldown_s":3},"retry":{"same_target":2},"savings":{"baseline":"a/b"},"decisions":{"failures":true}}"#;
    let config: Config = serde_json::from_str(text).unwrap();
    let again: Config = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!((again.breaker.cooldown_s, again.retry.same_target, again.decisions.failures), (3, 2, true));
    assert_eq!(again, config);
    // What was not said is not written: an older reader is not told of it.
    assert!(!serde_json::to_string(&Config::default()).unwrap().contains("breaker"));
}

#[test]
fn decisions_are_sampled() {
    let policy = |sample_per_mille, failures| super::super::DecisionPolicy { sample_per_mille, failures };
    let kept = |policy: super::super::DecisionPolicy, troubled| (0..5_000).filter(|n| policy.keeps(*n, troubled)).count();
    assert_eq!([kept(policy(0, false), true), kept(policy(10, false), true), kept(policy(1_000, false), false)], [0, 50, 5_000]);
    assert_eq!([kept(policy(0, true), true), kept(policy(0, true), false)], [5_000, 0]);
}

#[test]
fn a_cooldown_doubles_up_to_its_cap() {
    let policy = super::super::BreakerPolicy { cooldown_s: 5, max_cooldown_s: 60, ..Default::default() };
    assert_eq!([1, 2, 3, 4, 5, 99].map(|times| policy.cooldown(times)), [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
}
