use super::*;
use crate::map::{Map, Set};
use proptest::prelude::*;

const NOON: Timestamp = Timestamp(1_710_072_000_000);
const HOUR: Millis = 3_600_000;

fn policy(interval_s: i64, budget: i64) -> Policy {
    Policy { interval: interval_s * 1_000, budget: NanoUsd::new(budget), models: Vec::new() }
}

fn free(name: &str) -> (String, NanoUsd) {
    paid(name, 0)
}

fn paid(name: &str, worst: i64) -> (String, NanoUsd) {
    (name.to_owned(), NanoUsd::new(worst))
}

fn result(claim: &Claim, state: State, cost: i64) -> Checked {
    let (provider, n) = (claim.provider.clone(), claim.n);
    Checked { provider, n, state, status: 200, latency_ms: 7, cost: NanoUsd::new(cost), why: String::new() }
}

/// Begins the one check that is due, and ends it.
fn check(checks: &mut Checks, now: Timestamp, policy: &Policy, state: State) -> Vec<Change> {
    let claims = checks.begin(now, policy, 1, &[free("p")]);
    assert_eq!(claims.len(), 1, "due at {}", now.0);
    checks.end(now, vec![result(&claims[0], state, 0)])
}

#[test]
fn a_doubled_run_finds_nothing_due() {
    let (mut checks, policy) = (Checks::default(), policy(300, 0));
    let wanted = [free("a"), free("b")];
    assert_eq!(checks.begin(NOON, &policy, 1, &wanted).len(), 2);
    assert!(checks.begin(NOON, &policy, 2, &wanted).is_empty(), "under way");
    assert!(checks.begin(NOON.plus(LOST_AFTER), &policy, 3, &wanted).is_empty(), "not due again yet");
    assert_eq!(checks.begin(NOON.plus(400_000), &policy, 4, &wanted).len(), 2, "lost ones are due again");
    assert!(Checks::default().begin(NOON, &Policy { interval: 0, ..policy }, 1, &wanted).is_empty(), "switched off");
}

#[test]
fn a_result_counts_once_and_only_the_latest() {
    let (mut checks, policy) = (Checks::default(), policy(60, 100));
    let first = checks.begin(NOON, &policy, 1, &[paid("p", 40)]);
    let second = checks.begin(NOON.plus(200_000), &policy, 2, &[paid("p", 40)]);
    assert_eq!(checks.spent(NOON), NanoUsd::new(80));
    let late = checks.end(NOON.plus(200_001), vec![result(&first[0], State::Down, 1)]);
    assert_eq!((late, checks.spent(NOON)), (Vec::new(), NanoUsd::new(80)), "its worst case stays spent");
    let told = vec![result(&second[0], State::Ok, 1); 2];
    assert_eq!(checks.end(NOON.plus(200_002), told.clone()).len(), 1);
    assert_eq!(checks.end(NOON.plus(200_003), told).len(), 0);
    assert_eq!(checks.spent(NOON), NanoUsd::new(41));
    assert_eq!(checks.row("p").unwrap().state, Some(State::Ok));
}

#[test]
fn two_failures_in_a_row_count_and_age() {
    let (mut checks, policy) = (Checks::default(), policy(60, 0));
    let mut now = NOON;
    let mut step = |checks: &mut Checks, state| {
        now = now.plus(70_000);
        let changes = check(checks, now, &policy, state);
        (now, changes.iter().map(|(_, from, failures)| (*from, state, *failures)).collect::<Vec<_>>())
    };
    assert_eq!(step(&mut checks, State::Ok).1, [(None, State::Ok, 0)]);
    let (at, changes) = step(&mut checks, State::Down);
    assert_eq!((changes, checks.unreachable(at, &policy)), (vec![(Some(State::Ok), State::Down, 1)], Vec::new()));
    let (at, changes) = step(&mut checks, State::Timeout);
    assert_eq!(changes, [(Some(State::Down), State::Timeout, 2)]);
    let until = at.plus(MIN_BELIEVED);
    assert_eq!(checks.unreachable(at, &policy), [Unreachable { provider: "p".into(), until }]);
    assert!(checks.unreachable(until, &policy).is_empty(), "too old to be believed");
    assert!(checks.row("p").unwrap().failing(at, &policy) && !checks.row("p").unwrap().failing(until, &policy));
    // With another's key it may well answer.
    let (at, _) = step(&mut checks, State::Auth);
    let row = checks.row("p").unwrap();
    assert_eq!((row.failures, row.unreachable, row.failing(at, &policy)), (3, 0, true));
    assert!(checks.unreachable(at, &policy).is_empty());
    for answers in [State::Refused, State::RateLimited, State::Ok] {
        let (at, changes) = step(&mut checks, answers);
        assert_eq!((changes.len(), checks.row("p").unwrap().failing(at, &policy)), (1, false));
    }
    assert_eq!(step(&mut checks, State::Ok).1, [], "nothing new is no news");
}

#[test]
fn the_budget_is_of_a_day_and_free_checks_need_none() {
    let (mut checks, policy) = (Checks::default(), policy(60, 100));
    let wanted = [paid("dear", 101), paid("p", 60), paid("q", 60), free("f")];
    let claims = checks.begin(NOON, &policy, 1, &wanted);
    let names: Set<&str> = claims.iter().map(|c| c.provider.as_str()).collect();
    assert!(names.len() == 2 && names.contains("f") && !names.contains("dear"), "{names:?}");
    let paid = claims.iter().find(|c| c.provider != "f").unwrap();
    let tomorrow = NOON.plus(12 * HOUR);
    assert_eq!((checks.spent(NOON), checks.spent(tomorrow)), (NanoUsd::new(60), NanoUsd::ZERO));
    checks.begin(tomorrow, &policy, 2, &[free("f")]);
    checks.end(tomorrow, vec![result(paid, State::Ok, 3)]);
    assert_eq!(checks.spent(tomorrow), NanoUsd::ZERO, "what was claimed yesterday is no credit for today");
}

#[test]
fn providers_that_are_gone_are_forgotten_and_memory_is_bounded() {
    let (mut checks, policy) = (Checks::default(), policy(60, 0));
    checks.begin(NOON, &policy, 1, &[free("old")]);
    checks.begin(NOON.plus(FORGOTTEN_AFTER - 1), &policy, 1, &[free("new")]);
    assert!(checks.row("old").is_some());
    checks.begin(NOON.plus(FORGOTTEN_AFTER + 60_000), &policy, 1, &[free("new")]);
    assert!(checks.row("old").is_none() && checks.row("new").is_some());
    for round in 0..3 {
        let wanted: Vec<(String, NanoUsd)> = (0..MAX_PROVIDERS * 2).map(|i| free(&format!("{round}-{i:04}"))).collect();
        for run in 0..40 {
            let claims = checks.begin(NOON.plus(FORGOTTEN_AFTER + (round * 40 + run) * 70_000), &policy, 1, &wanted);
            assert!(claims.len() <= MAX_IN_A_RUN);
        }
        assert!(checks.rows.len() <= MAX_PROVIDERS);
    }
}

#[test]
fn those_who_wait_longest_come_first() {
    let (mut checks, policy) = (Checks::default(), policy(3_600, 0));
    let wanted: Vec<(String, NanoUsd)> = (0..40).map(|i| free(&format!("p{i}"))).collect();
    let mut seen = Set::new();
    for run in 0..3 {
        let claims = checks.begin(NOON.plus(run * 60_000), &policy, run as u64, &wanted);
        seen.extend(claims.into_iter().map(|c| c.provider));
    }
    assert_eq!(seen.len(), 40);
}

#[test]
fn a_shorter_interval_holds_at_once() {
    let mut checks = Checks::default();
    checks.begin(NOON, &policy(86_400, 0), 1, &[free("p")]);
    assert_eq!(checks.begin(NOON.plus(80_000), &policy(60, 0), 1, &[free("p")]).len(), 1);
}

#[test]
fn variables_are_read_or_told() {
    let read = Policy::read;
    assert_eq!(read(None, None, None), Ok(policy(300, 100_000_000)));
    assert_eq!(read(Some("0"), Some("0"), Some(" ")), Ok(policy(0, 0)));
    let named = read(Some("86400"), Some("1.5"), Some("a/b/c, d/e")).unwrap();
    assert_eq!((named.interval, named.budget, named.models[0].1.as_str()), (86_400_000, NanoUsd::new(1_500_000_000), "b/c"));
    for (interval, budget, models, name) in [
        (Some("-1"), None, None, "TOLLGATE_HEALTH_INTERVAL_S"),
        (Some("86401"), None, None, "TOLLGATE_HEALTH_INTERVAL_S"),
        (Some("1.5"), None, None, "TOLLGATE_HEALTH_INTERVAL_S"),
        (None, Some("-1"), None, "TOLLGATE_HEALTH_BUDGET_USD"),
        (None, Some("1 USD"), None, "TOLLGATE_HEALTH_BUDGET_USD"),
        (None, None, Some("gpt-4o"), "TOLLGATE_HEALTH_MODELS"),
        (None, None, Some("a/b,a/c"), "TOLLGATE_HEALTH_MODELS"),
    ] {
        assert!(read(interval, budget, models).unwrap_err().starts_with(name), "{name}");
    }
}

/// The row on disk, and the messages. They must stay readable.
#[test]
fn stored_rows_and_messages_stay_readable() {
    fn stays<T: Serialize + serde::de::DeserializeOwned>(text: &str) {
        let value: T = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
    }
    use crate::directory::{DirectoryCommand, DirectoryReply};
    let row = r#"{"clock":9,"issued":3,"day":0,"spent":40,"rows":[{"provider":"p","asked":5,"jitter":17,"open":3,"claimed":4,"worst":40,"state":"down","at":3,"status":503,"latency_ms":12,"why":"p: status 503","since":2,"failures":2,"unreachable":1}]}"#;
    stays::<Checks>(row);
    assert_eq!(serde_json::from_str::<Checks>("{}").unwrap(), Checks::default());
    stays::<DirectoryCommand>(r#"{"begin_checks":{"interval":300000,"budget":5,"seed":18446744073709551615,"wanted":[["p",4]]}}"#);
    stays::<DirectoryCommand>(
        r#"{"end_checks":{"results":[{"provider":"p","n":3,"state":"rate_limited","status":429,"latency_ms":1,"cost":0,"why":"w"}]}}"#,
    );
    stays::<DirectoryCommand>(r#""checks""#);
    stays::<DirectoryReply>(r#"{"claimed":{"claims":[{"provider":"p","n":3,"after":0}]}}"#);
    stays::<DirectoryReply>(r#"{"changed":{"changes":[["p","ok",1],["q",null,0]]}}"#);
    stays::<DirectoryReply>(&format!(r#"{{"checks":{{"checks":{row}}}}}"#));
}

#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Begin {
        seed: u64,
    },
    /// Ends a claim by its place among those that were ever given, at a share of its worst case.
    End {
        which: prop::sample::Index,
        share: i64,
        state: State,
    },
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop::sample::select(vec![State::Ok, State::Auth, State::RateLimited, State::Refused, State::Down, State::Timeout]);
    prop_oneof![
        (-20_000_i64..200_000).prop_map(Step::Pass),
        (0_i64..2 * 86_400_000).prop_map(Step::Pass),
        any::<u64>().prop_map(|seed| Step::Begin { seed }),
        any::<u64>().prop_map(|seed| Step::Begin { seed }),
        (any::<prop::sample::Index>(), 0_i64..=100, state).prop_map(|(which, share, state)| Step::End { which, share, state }),
        Just(Step::Reload),
    ]
}

proptest! {
    /// Whatever runs are doubled, die or come late, and however the clock steps: what a day's checks have cost, and
    /// those under way can cost, is never more than the budget, and no provider is asked twice in an interval.
    #[test]
    fn the_budget_holds_and_nobody_is_asked_too_often(
        steps in prop::collection::vec(step(), 1..120), budget in 0_i64..500, interval in 1_i64..600,
        worst in prop::collection::vec(0_i64..120, 1..24),
    ) {
        let policy = policy(interval, budget);
        let wanted: Vec<(String, NanoUsd)> = worst.iter().enumerate().map(|(i, worst)| paid(&format!("p{i}"), *worst)).collect();
        let (mut checks, mut now, mut latest) = (Checks::default(), NOON, NOON);
        let mut given: Vec<(Claim, Timestamp, i64)> = Vec::new();
        let mut real: Map<Timestamp, i64> = Map::new();
        let mut ended: Set<u64> = Set::new();
        let mut begun: Map<String, Timestamp> = Map::new();
        for step in steps {
            match step {
                Step::Pass(span) => now = now.plus(span),
                Step::Begin { seed } => {
                    latest = latest.max(now);
                    let claims = checks.begin(now, &policy, seed, &wanted);
                    prop_assert!(claims.len() <= MAX_IN_A_RUN);
                    for claim in claims {
                        let cost = wanted.iter().find(|(name, _)| *name == claim.provider).unwrap().1.get();
                        let at = latest.plus(claim.after);
                        prop_assert!(claim.after >= 0 && claim.after <= MAX_SPREAD);
                        if let Some(before) = begun.insert(claim.provider.clone(), at) {
                            prop_assert!(at.since(before) >= interval * 1_000, "asked again after {} ms", at.since(before));
                        }
                        // Until the truth is known, it may cost all of it.
                        *real.entry(Period::Day.start(latest)).or_default() += cost;
                        given.push((claim, latest, cost));
                    }
                }
                Step::End { which, share, state } => {
                    if given.is_empty() { continue; }
                    latest = latest.max(now);
                    let (claim, at, worst) = which.get(&given).clone();
                    let cost = worst * share / 100;
                    checks.end(now, vec![result(&claim, state, cost)]);
                    if ended.insert(claim.n) {
                        *real.entry(Period::Day.start(at)).or_default() -= worst - cost;
                    }
                }
                Step::Reload => checks = serde_json::from_str(&serde_json::to_string(&checks).unwrap()).unwrap(),
            }
            prop_assert!(real.values().all(|spent| *spent <= budget), "{real:?} of {budget}");
            let spent = checks.spent(latest);
            prop_assert!(spent >= NanoUsd::ZERO && spent.get() <= budget);
            prop_assert!(spent.get() >= *real.get(&Period::Day.start(latest)).unwrap_or(&0), "it never knows of less than was spent");
        }
    }

    /// Providers that were all checked at once drift apart.
    #[test]
    fn chance_spreads_the_checks(seed: u64) {
        let (mut checks, policy) = (Checks::default(), policy(3_600, 0));
        let wanted: Vec<(String, NanoUsd)> = (0..16).map(|i| free(&format!("p{i}"))).collect();
        let claims = checks.begin(NOON, &policy, seed, &wanted);
        let begins: Set<Millis> = claims.iter().map(|c| c.after).collect();
        let next: Set<i64> = wanted.iter().map(|w| checks.row(&w.0).unwrap().next(&policy).0 / 60_000).collect();
        prop_assert!(begins.len() > 8, "{begins:?}");
        prop_assert!(next.len() > 2, "{next:?}");
        prop_assert_eq!(Checks::default().begin(NOON, &policy, seed, &wanted), claims, "the same seed, the same checks");
    }
}
