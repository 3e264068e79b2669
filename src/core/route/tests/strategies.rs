//! Who is asked first.

use super::*;
use crate::perf::Perf;
use crate::protocol::{Attempt, Outcome};
use proptest::prelude::*;

#[test]
fn weights_are_kept_within_2_percent() {
    let asked = Asked::new(
        r#"{"targets":[{"target":"p/a","weight":70},{"target":"p/b","weight":25},{"target":"q/c","weight":5},{"target":"q/d","weight":0}],"strategy":"weighted"}"#,
    );
    let shares = asked.shares(100_000);
    for (target, percent) in [("p/a", 70.0), ("p/b", 25.0), ("q/c", 5.0)] {
        let share = shares[target] as f64 / 1_000.0;
        assert!((share - percent).abs() < percent * 0.02, "{target}: {share} %");
    }
    // Without a weight it is a fallback, and the last.
    assert!((0..100).all(|seed| asked.order(seed)[3] == "q/d"));
    // Of the rest, weights decide again: b is second five times as often as c where a is first.
    let second = (0..20_000).map(|n| asked.order(mix(n, "s"))).filter(|o| o[0] == "p/a");
    let (b, c): (Vec<_>, Vec<_>) = second.partition(|o| o[1] == "p/b");
    let ratio = b.len() as f64 / c.len() as f64;
    assert!((4.7..5.3).contains(&ratio), "{ratio}");
}

#[test]
fn ordered_is_as_written() {
    let asked = Asked::new(r#"{"targets":["q/c","p/a","p/b"]}"#);
    assert!((0..50).all(|seed| asked.order(seed) == ["q/c", "p/a", "p/b"]));
    // A session changes nothing there.
    let stuck = Asked { ask: asked.ask.clone().in_session("k", "s"), ..asked };
    assert!((0..50).all(|seed| stuck.order(seed)[0] == "q/c"));
}

#[test]
fn a_cheap_cache_read_makes_the_dearer_model_the_cheapest() {
    let prices = r#""p/a":{"input_usd_per_mtok":"2","output_usd_per_mtok":"4","cached_input_usd_per_mtok":"0.1"},
                    "q/b":{"input_usd_per_mtok":"1.5","output_usd_per_mtok":"4"}"#;
    let mut asked = Asked::priced(r#"{"targets":["p/a","q/b"],"strategy":"cheapest"}"#, prices);
    assert_eq!(asked.order(1), ["q/b", "p/a"]);
    // Half of the input comes from the provider's prompt cache.
    asked.row("p/a", ViewRow { cached: 500, ..ViewRow::default() });
    assert_eq!(asked.order(1), ["p/a", "q/b"]);
}

proptest! {
    #[test]
    fn cheapest_is_the_cheapest(
        prices in prop::collection::vec((1_u32..50_000, 1_u32..50_000, 1_u32..50_000, 0_u16..=1_000), 2..8),
        bytes in 0_u64..1_000_000, output in prop::option::of(0_u64..5_000), seed in any::<u64>(),
    ) {
        let names: Vec<String> = (0..prices.len()).map(|i| format!("p/m{i}")).collect();
        let usd = |n: u32| format!("{}.{:03}", n / 1_000, n % 1_000);
        let rows = names.iter().zip(&prices).map(|(name, (i, o, c, _))| format!(
            r#""{name}":{{"input_usd_per_mtok":"{}","output_usd_per_mtok":"{}","cached_input_usd_per_mtok":"{}"}}"#, usd(*i), usd(*o), usd(*c)
        ));
        let rows: Vec<String> = rows.collect();
        let alias = format!(r#"{{"targets":{},"strategy":"cheapest"}}"#, serde_json::to_string(&names).unwrap());
        let mut asked = Asked::priced(&alias, &rows.join(","));
        asked.ask = Ask::new(bytes, bytes, output, 1);
        for (name, (.., cached)) in names.iter().zip(&prices) {
            asked.row(name, ViewRow { cached: *cached, ..ViewRow::default() });
        }
        // By hand, in pico-dollars.
        let cost = |(i, o, c, share): &(u32, u32, u32, u16)| {
            let cached = asked.ask.input * u64::from(*share) / 1_000;
            let part = |n: u64, milli: u32| u128::from(n) * u128::from(milli) * 1_000;
            part(asked.ask.input - cached, *i) + part(cached, *c) + part(asked.ask.output, *o)
        };
        let best = prices.iter().map(cost).min().unwrap();
        let first = asked.order(seed)[0].clone();
        let chosen = cost(&prices[names.iter().position(|n| *n == first).unwrap()]);
        // Costs are compared in whole nano-dollars.
        prop_assert!(chosen <= best + 1_000, "{chosen} {best}");
    }
}

/// A pool of providers with these latencies, learnt and asked in turns.
struct World {
    asked: Asked,
    perfs: Map<String, Perf>,
    latency: Map<String, u32>,
}

impl World {
    fn new(names: &[&str]) -> World {
        let alias = format!(r#"{{"targets":{},"strategy":"fastest"}}"#, serde_json::to_string(names).unwrap());
        let latency = names.iter().map(|n| ((*n).to_owned(), 200)).collect();
        World { asked: Asked::new(&alias), perfs: Map::new(), latency }
    }

    /// One request; who answered.
    fn request(&mut self, seed: u64) -> String {
        let target = self.asked.order(mix(seed, "fastest"))[0].clone();
        // Latencies vary by a fifth.
        let ms = self.latency[&target] * (90 + u32::try_from(mix(seed, "jitter") % 21).unwrap()) / 100;
        let attempt = Attempt { status: 200, outcome: Outcome::Ok, latency_ms: ms, first_byte_ms: ms / 2, ..Attempt::default() };
        self.asked.at += 100;
        let perf = self.perfs.entry(target.clone()).or_default();
        perf.add(Timestamp(self.asked.at), &attempt);
        let row = perf.row(&target);
        self.asked.row(&target, row);
        target
    }

    fn share(&mut self, target: &str, from: u64, n: u64) -> f64 {
        let hits = (from..from + n).filter(|seed| self.request(*seed) == target).count();
        hits as f64 / n as f64
    }
}

#[test]
fn fastest_leaves_a_target_that_slows_down() {
    for names in [vec!["p/a", "q/b"], vec!["p/a", "q/b", "q/c", "p/d"]] {
        for round in 0..20 {
            let mut world = World::new(&names);
            world.share("", round * 10_000, 200);
            // The one that is used most becomes five times slower.
            let answered: Vec<String> = (0..50).map(|n| world.request(round * 10_000 + 300 + n)).collect();
            let favourite = answered.iter().max_by_key(|t| answered.iter().filter(|o| o == t).count()).unwrap().clone();
            let before = world.latency[&favourite];
            world.latency.insert(favourite.clone(), before * 5);
            let share = world.share(&favourite, round * 10_000 + 500, 50);
            assert!(share <= 0.10, "{favourite} of {names:?} still has {share}");
            // And comes back when it has recovered. Of four targets two are drawn, so half is the most.
            world.latency.insert(favourite.clone(), before / 4);
            world.share(&favourite, round * 10_000 + 600, 1_500);
            let share = world.share(&favourite, round * 10_000 + 3_000, 200);
            assert!(share >= 0.4, "{favourite} of {names:?} has only {share} again");
        }
    }
}

#[test]
fn fastest_counts_failures_and_requests_under_way() {
    let mut asked = Asked::new(r#"{"targets":["p/a","q/b"],"strategy":"fastest"}"#);
    asked.row("p/a", ViewRow { total_ms: 100, first_ms: 90, errors: 600, ..ViewRow::default() });
    asked.row("q/b", ViewRow { total_ms: 200, first_ms: 50, ..ViewRow::default() });
    let mostly = |asked: &Asked, target: &str| asked.shares(1_000).get(target).copied().unwrap_or(0) > 950;
    assert!(mostly(&asked, "q/b"));
    asked.row("p/a", ViewRow { total_ms: 100, first_ms: 90, ..ViewRow::default() });
    assert!(mostly(&asked, "p/a"));
    // For a stream the first token counts.
    asked.ask.stream = true;
    assert!(mostly(&asked, "q/b"));
    asked.busy.insert("q/b".to_owned(), 1);
    assert!(mostly(&asked, "p/a"));
    // Of what nothing is known, the first answer is hoped to come soon.
    asked.view.rows.retain(|r| r.target == "p/a");
    asked.busy.clear();
    assert!(mostly(&asked, "q/b"));
}

#[test]
fn least_busy_is_least_busy() {
    let mut asked = Asked::new(r#"{"targets":[{"target":"p/a","weight":3},{"target":"p/b","weight":1},"q/c"],"strategy":"least_busy"}"#);
    asked.busy = [("p/a".to_owned(), 6), ("p/b".to_owned(), 1), ("q/c".to_owned(), 4)].into();
    assert_eq!(asked.order(1), ["p/b", "p/a", "q/c"]);
    asked.busy.insert("p/b".to_owned(), 3);
    assert_eq!(asked.order(1)[0], "p/a");
    // Where all are idle, the weights decide.
    asked.busy.clear();
    let shares = asked.shares(10_000);
    assert!((5_700..6_300).contains(&shares["p/a"]), "{shares:?}");
}

#[test]
fn balanced_is_cheap_among_the_good_and_fast() {
    let prices = r#""p/dear":{"input_usd_per_mtok":"9","output_usd_per_mtok":"9"},"p/mid":{"input_usd_per_mtok":"3","output_usd_per_mtok":"3"},
        "q/slow":{"input_usd_per_mtok":"2","output_usd_per_mtok":"2"},"q/poor":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}"#;
    let alias = r#"{"targets":[{"target":"p/dear","quality":0.95},{"target":"p/mid","quality":0.8},{"target":"q/slow","quality":0.8},{"target":"q/poor","quality":0.4}],
        "strategy":"balanced","min_quality":0.7,"max_latency_ms":1000}"#;
    let mut asked = Asked::priced(alias, prices);
    assert_eq!(asked.order(1), ["q/slow", "p/mid", "p/dear"]);
    asked.row("q/slow", ViewRow { total_ms: 1_500, ..ViewRow::default() });
    assert_eq!(asked.order(1), ["p/mid", "p/dear", "q/slow"]);
    asked.row("p/mid", ViewRow { total_ms: 1_200, ..ViewRow::default() });
    asked.row("p/dear", ViewRow { total_ms: 1_100, ..ViewRow::default() });
    // All are too slow: the fastest of the good ones.
    assert_eq!(
        (asked.order(1), asked.decide(1).notes),
        (["p/dear", "p/mid", "q/slow"].map(str::to_owned).to_vec(), vec!["slow".to_owned()])
    );
}

proptest! {
    #[test]
    fn balanced_is_never_below_the_floor(
        pool in prop::collection::vec((0_i64..=1_000, -200_i16..=200, 0_u32..3_000, any::<bool>()), 1..8),
        floor in 0_i64..=1_000, session in any::<bool>(), seed in any::<u64>(), probe in 0_usize..8,
    ) {
        let targets = pool.iter().enumerate().map(|(i, (q, ..))| format!(r#"{{"target":"p/m{i}","quality":{}}}"#, *q as f64 / 1_000.0));
        let targets: Vec<String> = targets.collect();
        let alias = format!(
            r#"{{"targets":[{}],"strategy":"balanced","min_quality":{},"max_latency_ms":1000}}"#, targets.join(","), floor as f64 / 1_000.0
        );
        let mut asked = Asked::new(&alias);
        for (i, (_, quality, total_ms, open)) in pool.iter().enumerate() {
            let gate = if *open { Gate::Open(Timestamp(0)) } else { Gate::Closed };
            asked.row(&format!("p/m{i}"), ViewRow { quality: *quality, total_ms: *total_ms, gate, ..ViewRow::default() });
        }
        asked.probe = Some(format!("p/m{probe}"));
        if session {
            asked.ask = asked.ask.clone().in_session("k", "s");
        }
        let decision = asked.decide(seed);
        for target in &decision.order {
            let (q, adjusted, ..) = pool[target[3..].parse::<usize>().unwrap()];
            prop_assert!((q + i64::from(adjusted)).clamp(0, 1_000) >= floor, "{target}");
        }
        prop_assert_eq!(decision.order.len() + decision.dropped.len(), pool.len());
    }
}

#[test]
fn a_session_stays_and_moves_only_if_its_target_goes() {
    let alias = |targets: &str| format!(r#"{{"targets":[{targets}],"strategy":"weighted"}}"#);
    let all = r#"{"target":"p/a","weight":2},"p/b","q/c""#;
    let home = |targets: &str, session: u64, seed: u64| {
        let asked = Asked::new(&alias(targets));
        let ask = asked.ask.clone().in_session("k", &session.to_string());
        Asked { ask, ..asked }.order(seed)[0].clone()
    };
    let mut at_a = 0;
    for session in 0..300 {
        let first = home(all, session, 1);
        assert_eq!(home(all, session, 2), first, "another request of the session");
        at_a += u32::from(first == "p/a");
        // Without c, the sessions of the others stay where they are.
        let without = home(r#"{"target":"p/a","weight":2},"p/b""#, session, 3);
        assert!(first == "q/c" || without == first, "{session} went from {first} to {without}");
    }
    assert!((125..175).contains(&at_a), "{at_a} of 300 at the target with half of the weight");
    // Another key's session of that name is another session; and it can be switched off.
    let asked = Asked::new(&alias(all));
    let ask = |key: &str| asked.ask.clone().in_session(key, "s");
    assert_ne!(ask("k").session, ask("l").session);
    let off = Asked::new(r#"{"targets":["p/a","q/b"],"strategy":"weighted","affinity":false}"#);
    let off = Asked { ask: off.ask.clone().in_session("k", "s"), ..off };
    assert_eq!(off.shares(100).len(), 2);
}

#[test]
fn a_session_gives_up_a_target_that_is_twice_as_slow() {
    let asked = Asked::new(r#"{"targets":["p/a","q/b"],"strategy":"fastest"}"#);
    let mut asked = Asked { ask: asked.ask.clone().in_session("k", "s"), ..asked };
    let both = |asked: &mut Asked, a: u32, b: u32| {
        asked.row("p/a", ViewRow { total_ms: a, ..ViewRow::default() });
        asked.row("q/b", ViewRow { total_ms: b, ..ViewRow::default() });
        let shares = asked.shares(500);
        shares.into_iter().max_by_key(|(_, n)| *n).map(|(target, _)| target).unwrap()
    };
    let home = both(&mut asked, 100, 100);
    let slow = |ms| if home == "p/a" { (ms, 100) } else { (100, ms) };
    let at = |asked: &mut Asked, (a, b)| both(asked, a, b);
    assert_eq!(at(&mut asked, slow(190)), home);
    assert_ne!(at(&mut asked, slow(210)), home);
}

#[test]
fn conditional_takes_the_first_rule_that_fits() {
    let alias = r#"{"targets":[{"target":"p/small"},{"target":"p/long","tags":["long"]},{"target":"q/see","tags":["eyes"],"weight":0}],
        "strategy":"conditional","rules":[
            {"when":{"metadata":{"tier":"gold"}},"strategy":"weighted","require_tags":["eyes"]},
            {"when":{"needs":["vision"]},"require_tags":["eyes"]},
            {"when":{"input_tokens_over":8000},"require_tags":["long"]},
            {"when":{"input_tokens_at_most":10},"strategy":"cheapest"}]}"#;
    let mut asked = Asked::new(alias);
    assert_eq!((asked.order(1), asked.decide(1).rule), (["p/small", "p/long", "q/see"].map(str::to_owned).to_vec(), None));
    asked.ask = Ask::new(40_000, 40_000, None, 1);
    assert_eq!((asked.order(1), asked.decide(1).rule), (vec!["p/long".to_owned()], Some(2)));
    asked.ask.needs = [Capability::Vision].into();
    assert_eq!((asked.order(1), asked.decide(1).rule), (vec!["q/see".to_owned()], Some(1)));
    asked.ask.metadata = [("tier".to_owned(), "gold".to_owned())].into();
    assert_eq!(asked.decide(1).strategy, crate::config::Strategy::Weighted);
    asked.ask = Ask::new(40, 40, None, 1);
    assert_eq!(asked.decide(1).summary("a"), "alias=a strategy=cheapest rule=3");
}
