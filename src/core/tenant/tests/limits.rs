//! Limits on tokens, cost and concurrency, by whom and by what; rolling budgets; shadow mode.

use super::*;
use crate::budget::Measure;
use crate::config::Step;
use crate::protocol::{TokenBound, ViolationRow};

impl Desk {
    /// What a request of key `a` for `fast` at the provider `p` is answered.
    fn tokens(&mut self, input: u64, output: u64) -> Reply {
        self.ask_for(|admit| admit.tokens = TokenBound { input, output })
    }

    fn ask_for(&mut self, change: impl FnOnce(&mut Admit)) -> Reply {
        let mut admit = Admit {
            key_hash: "hash-a".to_owned(),
            config: self.version(),
            model: "fast".to_owned(),
            worst_case: nano(100),
            providers: vec!["p".to_owned()],
            ..Admit::default()
        };
        change(&mut admit);
        self.ask(Command::Admit(admit))
    }
}

fn permit(reply: Reply) -> Permit {
    match reply {
        Reply::Permit(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn denial(reply: Reply) -> Denial {
    match reply {
        Reply::Denied { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

fn used(permit: &Permit, input: u64, output: u64) -> Report {
    let mut report = report(permit, &[50]);
    report.attempts[0].usage = Usage { input, output, ..Usage::default() };
    report
}

#[test]
fn tokens_are_held_at_their_worst_and_settled_at_their_truth() {
    for (field, worst, truth) in [("input_tokens", 60, 40), ("output_tokens", 30, 5), ("tokens", 90, 45)] {
        let mut desk = Desk::new(&format!(r#"{{"limits":[{{"id":"tpm","{field}":100,"window_s":100}}]}}"#));
        let first = permit(desk.tokens(60, 30));
        let state = first.token_limit.clone().unwrap();
        assert_eq!((state.limit, state.remaining, state.window_s), (100, 100 - worst, 100), "{field}");
        assert_eq!(desk.limit("tpm", "").remaining, 100 - worst);
        desk.now += 5_000;
        desk.report(&[used(&first, 40, 5)]);
        assert_eq!(desk.limit("tpm", "").remaining, 100 - truth, "{field}");
        // It counts from its admission on.
        desk.now = START + 64_000;
        assert_eq!(desk.limit("tpm", "").remaining, 100 - truth);
        desk.now = START + 101_000;
        assert_eq!(desk.limit("tpm", "").remaining, 100, "{field}");
    }
}

#[test]
fn a_token_limit_says_what_is_left_and_how_long_to_wait() {
    let mut desk =
        Desk::new(r#"{"limits":[{"id":"tpm","scope":"key","tokens":100,"window_s":100,"when_exceeded":[{"wait_ms":50},"reject"]}]}"#);
    permit(desk.tokens(50, 30));
    let why = denial(desk.tokens(20, 1));
    let steps = vec![Step::WaitMs(50), Step::Reject];
    let expected = Denial::Limit {
        limit: "tpm".to_owned(),
        window_s: 100,
        retry_after: 101_000,
        subject: "a".to_owned(),
        measure: Some(Measure::Tokens),
        remaining: 20,
        never: false,
        steps,
    };
    assert_eq!(why, expected);
    assert!(matches!(denial(desk.tokens(101, 0)), Denial::Limit { never: true, .. }));
    permit(desk.tokens(20, 0));
}

#[test]
fn what_comes_from_the_cache_uses_no_tokens() {
    let mut desk = Desk::new(r#"{"limits":[{"id":"tpm","tokens":100,"window_s":100}]}"#);
    let first = permit(desk.tokens(0, 0));
    let mut report = used(&first, 40, 40);
    report.attempts[0].outcome = Ended::Cached;
    desk.report(&[report]);
    assert_eq!(desk.limit("tpm", "").remaining, 100);
}

#[test]
fn cost_may_be_limited_by_time_as_well() {
    let mut desk = Desk::new(
        r#"{"limits":[{"id":"burn","cost_usd":"0.000001","window_s":100}],"budgets":[{"id":"m","rolling_s":1000,"limit_usd":"0.000002"}]}"#,
    );
    for _ in 0..2 {
        let first = permit(desk.ask_for(|a| a.worst_case = nano(1_000)));
        assert!(matches!(denial(desk.ask_for(|a| a.worst_case = nano(1))), Denial::Limit { limit, .. } if limit == "burn"));
        desk.report(&[report(&first, &[900])]);
        assert_eq!(desk.limit("burn", "").remaining, 100);
        desk.now += 101_000;
    }
    assert_eq!(desk.money(), (1_800, 0, 0));
    let why = denial(desk.ask_for(|a| a.worst_case = nano(201)));
    let Denial::Budget { spent, remaining, resets_at, .. } = why else { panic!("{why:?}") };
    // The first 900 leave after 101/100 of the length.
    assert_eq!((spent, remaining, resets_at), (nano(1_800), nano(200), Some(Timestamp(START + 1_010_000))));
    desk.now = START + 1_010_000;
    permit(desk.ask_for(|a| a.worst_case = nano(1_000)));
}

#[test]
fn a_bucket_lets_a_burst_pass_and_refills() {
    let mut desk = Desk::new(r#"{"limits":[{"id":"rps","requests":10,"window_s":10,"algorithm":"token_bucket","burst":3}]}"#);
    assert_eq!(desk.admitted(9, 0), 3);
    let why = desk.denied("a", 0);
    assert!(matches!(why, Denial::Limit { retry_after: 1_000, remaining: 0, .. }), "{why:?}");
    desk.now += 999;
    assert_eq!(desk.admitted(9, 0), 0);
    desk.now += 1;
    assert_eq!(desk.admitted(9, 0), 1);
    // A crash may only make it more careful.
    desk.crash();
    assert_eq!(desk.admitted(9, 0), 0);
    desk.now += 60_000;
    assert_eq!(desk.admitted(9, 0), 3);
}

#[test]
fn no_more_run_at_a_time_than_may() {
    let mut desk = Desk::new(r#"{"limits":[{"id":"few","scope":"key","concurrency":3}]}"#);
    let permits: Vec<Permit> = (0..3).map(|_| desk.permit(10)).collect();
    let why = desk.denied("a", 10);
    assert!(matches!(&why, Denial::Limit { limit, window_s: 0, measure: Some(Measure::Concurrency), .. } if limit == "few"), "{why:?}");
    assert!(matches!(desk.admit_as("b", 10), Reply::Permit(_)));
    desk.now += 10_000;
    desk.denied("a", 10);
    desk.report(&[report(&permits[1], &[5]), report(&permits[1], &[5])]);
    desk.permit(10);
    desk.denied("a", 10);
    // After a crash nobody knows who is still under way: reports tell, or the end of their lives.
    desk.crash();
    desk.denied("a", 10);
    desk.report(&[report(&permits[0], &[]), report(&permits[2], &[5])]);
    assert_eq!(desk.admitted(9, 10), 2);
    desk.pass(70_000);
    assert_eq!(desk.admitted(9, 10), 3);
}

#[test]
fn rules_count_by_model_provider_and_metadata() {
    let mut desk = Desk::new(
        r#"{"limits":[{"id":"model","scope":"model","only":["fast"],"requests":2,"window_s":60},
            {"id":"provider","scope":"provider","requests":3,"window_s":60},
            {"id":"team","scope":"metadata:team","tokens":100,"window_s":60}],
            "budgets":[{"id":"team","scope":"metadata:team","limit_usd":"0.000001","period":"day"}]}"#,
    );
    let two = || vec!["p".to_owned(), "q".to_owned()];
    let team = |name: &str| Map::from([("team".to_owned(), name.to_owned())]);
    let first = permit(desk.ask_for(|a| a.providers = two()));
    permit(desk.ask_for(|_| {}));
    let why = denial(desk.ask_for(|_| {}));
    assert!(matches!(&why, Denial::Limit { limit, subject, .. } if limit == "model" && subject == "fast"), "{why:?}");
    // Held at both providers, used at one.
    assert_eq!((desk.limit("provider", "p").remaining, desk.limit("provider", "q").remaining), (1, 2));
    let mut asked = report(&first, &[5, 5]);
    asked.attempts.iter_mut().for_each(|a| a.provider = "q".to_owned());
    desk.report(&[asked]);
    assert_eq!((desk.limit("provider", "p").remaining, desk.limit("provider", "q").remaining), (2, 2));
    // Each team for itself; without a team, or with another model, not at all.
    let ask = |desk: &mut Desk, name: &str, tokens: u64| {
        desk.ask_for(|a| {
            (a.model, a.providers) = ("slow".to_owned(), Vec::new());
            a.metadata = team(name);
            a.tokens.input = tokens;
        })
    };
    permit(ask(&mut desk, "red", 70));
    permit(ask(&mut desk, "blue", 70));
    let why = denial(ask(&mut desk, "red", 31));
    assert!(matches!(&why, Denial::Limit { limit, subject, remaining: 30, .. } if limit == "team" && subject == "red"), "{why:?}");
    permit(ask(&mut desk, "", 1_000));
    let shown = desk.live();
    let teams: Vec<(&str, i64)> = shown.budgets.iter().map(|b| (b.subject.as_str(), b.held.get())).collect();
    assert_eq!(teams, [("blue", 100), ("red", 100)]);
    // What the operator says about the key goes before what the caller says.
    desk.ask(Command::UpdateKey(KeyChange { id: "a".to_owned(), metadata: Some(team("red")), ..KeyChange::default() }));
    assert!(matches!(denial(ask(&mut desk, "green", 31)), Denial::Limit { subject, .. } if subject == "red"));
}

#[test]
fn a_provider_pays_for_what_was_asked_of_it() {
    let mut desk = Desk::new(r#"{"budgets":[{"id":"m","scope":"provider","limit_usd":"0.000001","period":"total"}]}"#);
    for crash in [false, true] {
        let held = permit(desk.ask_for(|a| a.providers = vec!["p".to_owned(), "q".to_owned()]));
        if crash {
            desk.crash();
        }
        let mut done = report(&held, &[30, 7]);
        done.attempts[1].provider = "q".to_owned();
        desk.report(&[done]);
    }
    desk.pass(100_000);
    // What the crash may have forgotten besides was charged; these lines are exact.
    let of = |provider: &str| -> i64 {
        let lines = desk.lines();
        let charges = lines.iter().filter(|l| l.kind == LineKind::Settled).flat_map(|l| &l.charges);
        charges.filter(|c| c.account.subject == provider).map(|c| c.cost.get()).sum()
    };
    assert_eq!((of("p"), of("q")), (60, 14));
}

#[test]
fn a_shadow_counts_what_it_would_have_denied() {
    let mut desk = Desk::new(
        r#"{"limits":[{"id":"rpm","requests":2,"window_s":60,"mode":"shadow"},{"id":"tpm","tokens":10,"window_s":60,"mode":"shadow"}],
            "budgets":[{"id":"m","limit_usd":"0.0000002","period":"day","mode":"shadow"}]}"#,
    );
    let shadows: Vec<Vec<String>> = (0..4).map(|_| permit(desk.tokens(4, 2)).shadow).collect();
    assert_eq!(
        shadows,
        [vec![], vec!["limit:tpm"], vec!["limit:rpm", "limit:tpm", "budget:m"], vec!["limit:rpm", "limit:tpm", "budget:m"]]
    );
    // The limit counts those that it would have let pass, the budget all that is spent.
    assert_eq!((desk.limit("tpm", "").remaining, desk.budget("").held), (4, nano(400)));
    assert!(desk.budget("").shadow && desk.limit("rpm", "").shadow);
    desk.ask(Command::Violations { from: Timestamp(0), to: Timestamp(i64::MAX) });
    let rows = violations(&desk);
    let counts: Vec<(&str, bool, u64)> = rows.iter().map(|r| (r.rule.as_str(), r.shadow, r.count)).collect();
    assert_eq!(counts, [("budget:m", true, 2), ("limit:rpm", true, 2), ("limit:tpm", true, 3)]);
    assert_eq!(top(&rows), []);
}

fn violations(desk: &Desk) -> Vec<ViolationRow> {
    let rows = desk.writes.iter().filter_map(|w| if let Write::Violations(rows) = w { Some(rows.clone()) } else { None });
    rows.flatten().collect()
}

#[test]
fn denials_are_counted_by_key_rule_and_minute() {
    let mut desk = Desk::new(
        r#"{"limits":[{"id":"rpm","scope":"key","requests":1,"window_s":60}],"budgets":[{"id":"m","limit_usd":"0.0000001","period":"day"}],
            "permit":{"lifetime_s":60,"max_cost_usd":"0.0000005"}}"#,
    );
    desk.permit(50);
    (0..3).for_each(|_| drop(desk.denied("a", 1)));
    (0..5).for_each(|_| drop(desk.denied("b", 60)));
    assert_eq!(desk.denied("b", 501), Denial::MaxCost { cap: nano(500) });
    desk.denied("nobody's", 1);
    desk.now += 60_000;
    desk.denied("b", 60);
    desk.ask(Command::Violations { from: Timestamp(0), to: Timestamp(i64::MAX) });
    let rows = violations(&desk);
    let shown: Vec<(i64, &str, &str, u64)> = rows.iter().map(|r| (r.minute.0 - START, r.key.as_str(), r.rule.as_str(), r.count)).collect();
    let expected =
        [(0, "", "key", 1), (0, "a", "limit:rpm", 3), (0, "b", "budget:m", 5), (0, "b", "max_cost", 1), (60_000, "b", "budget:m", 1)];
    assert_eq!(shown, expected);
    let leaders: Vec<(String, u64)> = top(&rows).into_iter().map(|o| (o.key, o.count)).collect();
    assert_eq!(leaders, [("b".to_owned(), 7), ("a".to_owned(), 3), (String::new(), 1)]);
}

#[test]
fn a_session_has_a_cap_of_its_own() {
    let mut desk = Desk::new(r#"{"permit":{"lifetime_s":60,"session":{"max_cost_usd":"0.0000002","window_s":1000}}}"#);
    let session = |name: &str, n: i64| {
        let name = name.to_owned();
        move |a: &mut Admit| (a.session, a.worst_case) = (name, nano(n))
    };
    let first = permit(desk.ask_for(session("s", 150)));
    let why = denial(desk.ask_for(session("s", 51)));
    assert_eq!(why, Denial::SessionCap { cap: nano(200), used: nano(150), window_s: 1000, retry_after: 1_010_000 });
    permit(desk.ask_for(session("t", 200)));
    permit(desk.ask_for(session("", 900)));
    desk.report(&[report(&first, &[20])]);
    permit(desk.ask_for(session("s", 180)));
    desk.crash();
    denial(desk.ask_for(session("s", 1)));
}

#[test]
fn changing_how_a_limit_counts_keeps_what_it_counted() {
    let rpm = |rest: &str| format!(r#"{{"limits":[{{"id":"rpm","requests":5,"window_s":60{rest}}}]}}"#);
    let ways = ["", r#","mode":"shadow""#, r#","algorithm":"token_bucket""#, r#","algorithm":"token_bucket","burst":7"#];
    for before in ways {
        for after in ways {
            let mut desk = Desk::new(&rpm(before));
            (0..3).for_each(|_| drop(desk.permit(0)));
            desk.configure(&rpm(after));
            let cap = if after.contains('7') { 7 } else { 5 };
            assert_eq!(desk.limit("rpm", "").remaining, cap - 3, "{before} to {after}");
            desk.configure(&rpm(before));
            desk.crash();
            let cap = if before.contains('7') { 7 } else { 5 };
            assert!(desk.limit("rpm", "").remaining <= cap - 3, "{before} to {after} and back");
        }
    }
}

/// The account from which a limit had moved overwrote its window at the next change of the configuration.
#[test]
fn a_limit_that_moved_is_not_moved_again() {
    let rpm = |n: u32, rest: &str| format!(r#"{{"limits":[{{"id":"rpm","requests":{n},"window_s":60{rest}}}]}}"#);
    let mut desk = Desk::new(&rpm(9, r#","algorithm":"token_bucket""#));
    let _open = desk.permit(0);
    desk.configure(&rpm(9, ""));
    (0..3).for_each(|_| drop(desk.permit(0)));
    for n in [8, 7] {
        desk.configure(&rpm(n, ""));
        assert_eq!(desk.limit("rpm", "").remaining, u64::from(n) - 4);
    }
}

#[test]
fn a_top_up_raises_the_limit_until_it_expires() {
    let mut desk = Desk::new(
        r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"total","top_ups":[{"amount_usd":"0.0000005","expires_at":"2024-03-10T00:01:00Z"}]}]}"#,
    );
    let big = desk.permit(1_400);
    desk.report(&[report(&big, &[1_300])]);
    assert_eq!(desk.budget("").limit, nano(1_500));
    desk.permit(200);
    desk.denied("a", 1);
    desk.now += 60_000;
    // What was spent stays spent, and nothing is free.
    let why = desk.denied("a", 1);
    assert!(matches!(why, Denial::Budget { limit, remaining, .. } if limit == nano(1_000) && remaining == nano(0)), "{why:?}");
}

#[test]
fn a_threshold_is_crossed_once_in_a_period() {
    for span in [r#""period":"hour""#, r#""rolling_s":3600"#] {
        let mut desk = Desk::new(&format!(r#"{{"budgets":[{{"id":"m","limit_usd":"0.000001",{span},"thresholds":[50,80,100]}}]}}"#));
        let spend = |desk: &mut Desk, n: i64| {
            let permit = desk.permit(n);
            desk.report(&[report(&permit, &[n])]);
            desk.budget("").crossed.iter().map(|c| (c.percent, c.at.0 - START)).collect::<Vec<_>>()
        };
        let none: Vec<(u8, i64)> = Vec::new();
        assert_eq!(spend(&mut desk, 499), none);
        assert_eq!(spend(&mut desk, 1), [(50, 0)]);
        desk.now += 1_000;
        assert_eq!(spend(&mut desk, 350), [(50, 0), (80, 1_000)]);
        desk.now += 1_000;
        assert_eq!(spend(&mut desk, 1).len(), 2, "{span}");
        desk.pass(6_000);
        desk.crash();
        assert_eq!(desk.budget("").crossed.len(), 2);
        let facts = desk.writes.iter().filter_map(|w| if let Write::Append { facts, .. } = w { Some(facts) } else { None });
        assert_eq!(facts.flatten().filter(|f| matches!(f, Fact::Crossed { .. })).count(), 2);
        // A new period, or what was spent has left the window: it may be crossed again.
        desk.pass(3_700_000);
        assert_eq!(spend(&mut desk, 600).last().map(|c| c.0), Some(50), "{span}");
    }
}

#[test]
fn a_denial_says_what_could_be_afforded() {
    let mut desk = Desk::new(
        r#"{"limits":[{"id":"burn","cost_usd":"0.0000009","window_s":60}],"permit":{"lifetime_s":60,"max_cost_usd":"0.000005"},
            "budgets":[{"id":"m","limit_usd":"0.0000003","period":"day","clamp_max_tokens":true,"when_exceeded":[{"downgrade":"x/y"}]},
            {"id":"n","limit_usd":"0.0000001","period":"day"}]}"#,
    );
    let Denial::Budget { affordable, steps, remaining, .. } = desk.denied("a", 400) else { panic!() };
    assert_eq!((affordable, remaining), (Some(nano(100)), nano(300)));
    assert_eq!(steps, [Step::Downgrade("x/y".to_owned())]);
    let Denial::Budget { budget, affordable, .. } = desk.denied("a", 200) else { panic!() };
    assert_eq!((budget.as_str(), affordable), ("n", None));
}

#[test]
fn silence_is_charged_by_policy_in_every_measure() {
    for (policy, tokens, cost) in [("worst_case", 90, 100), ("input_only", 60, 25), ("nothing", 0, 0)] {
        let mut desk = Desk::new(&format!(
            r#"{{"limits":[{{"id":"tpm","tokens":100,"window_s":10000}},{{"id":"rpm","requests":9,"window_s":10000,"mode":"shadow"}},{{"id":"few","concurrency":1}}],
                "budgets":[{{"id":"m","limit_usd":"0.000001","rolling_s":10000}}],"permit":{{"lifetime_s":60,"expiry_charge":"{policy}"}}}}"#
        ));
        let silent = permit(desk.ask_for(|a| (a.tokens, a.input_cost) = (TokenBound { input: 60, output: 30 }, nano(25))));
        desk.pass(70_000);
        let counts = |desk: &mut Desk| {
            (
                100 - desk.limit("tpm", "").remaining,
                desk.budget("").spent.get(),
                desk.limit("rpm", "").remaining,
                desk.limit("few", "").remaining,
            )
        };
        assert_eq!(counts(&mut desk), (tokens, cost, 8, 1), "{policy}");
        // The truth comes late, and once.
        desk.report(&[used(&silent, 3, 4)]);
        desk.report(&[used(&silent, 3, 4)]);
        assert_eq!(counts(&mut desk), (7, 50, 8, 1), "{policy}");
    }
}

#[test]
fn too_many_values_share_an_account() {
    let mut desk = Desk::new(r#"{"limits":[{"id":"each","scope":"metadata:user","requests":2,"window_s":60}]}"#);
    // The desk's checks are slow with so many.
    let ask = |desk: &mut Desk, n: usize| {
        let metadata = Map::from([("user".to_owned(), format!("user-{n}"))]);
        let admit = Admit { key_hash: "hash-a".to_owned(), config: 1, model: "fast".to_owned(), metadata, ..Admit::default() };
        matches!(desk.tenant.handle(Timestamp(desk.now), Command::Admit(admit)).answer, Answer::Reply(Reply::Permit(_)))
    };
    let own = super::super::rules::MAX_SUBJECTS;
    for n in 0..own {
        assert!(ask(&mut desk, n));
    }
    assert!((0..5).filter(|n| ask(&mut desk, own + 1 + n)).count() <= 3);
    assert!(desk.tenant.ledger.accounts.len() <= own + 2);
    // Who has an account of his own keeps it.
    assert!(ask(&mut desk, 5) && !ask(&mut desk, 5));
}
