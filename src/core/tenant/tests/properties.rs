//! The machine against lists of what happened: kills, silence, reports that come late, twice or in any order.

use super::*;
use crate::protocol::TokenBound;
use proptest::prelude::*;

/// A rule of each kind, in one tenant. The limits keep it small what a crash can forget.
const RULES: &str = r#"{
    "limits":[
        {"id":"few","concurrency":3},
        {"id":"tpm","tokens":400,"window_s":100},
        {"id":"bucket","output_tokens":300,"window_s":60,"algorithm":"token_bucket","burst":200},
        {"id":"by-provider","scope":"provider","requests":50,"window_s":600},
        {"id":"by-model","scope":"model","cost_usd":"0.000002","window_s":100}],
    "budgets":[
        {"id":"m","limit_usd":"0.00001","period":"total"},
        {"id":"rolling","limit_usd":"0.000001","rolling_s":1000},
        {"id":"provider","scope":"provider","limit_usd":"0.00001","period":"day","time_zone":"Europe/Berlin"}],
    "permit":{"lifetime_s":60}}"#;

thread_local! {
    static FRESH: Desk = Desk::new(RULES);
}

/// A tenant with these rules, made once.
fn desk() -> Desk {
    FRESH.with(Desk::clone)
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A request with these worst cases: cost, input, output.
    Ask(i64, u64, u64),
    /// One of the open permits is reported, at these percents of its worst case; again, if it was before.
    Report(usize, i64),
    /// Time passes.
    Pass(i64),
    /// The object dies.
    Kill,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0_i64..400, 0_u64..60, 0_u64..60).prop_map(|(cost, input, output)| Event::Ask(cost, input, output)),
        4 => (0_usize..12, 0_i64..101).prop_map(|(which, percent)| Event::Report(which, percent)),
        2 => (0_i64..8_000).prop_map(Event::Pass),
        1 => (0_i64..70_000).prop_map(Event::Pass),
        1 => Just(Event::Kill),
    ];
    prop::collection::vec(event, 1..18)
}

/// A permit that was given, as the world knows it.
struct Given {
    permit: Permit,
    at: i64,
    worst: (i64, u64, u64),
    /// Cost and tokens, once its report was acknowledged.
    told: Option<(i64, u64)>,
}

fn ask(desk: &mut Desk, (cost, input, output): (i64, u64, u64)) -> Reply {
    let admit = Admit {
        key_hash: "hash-a".to_owned(),
        config: 1,
        model: "fast".to_owned(),
        worst_case: nano(cost),
        input_cost: nano(cost / 3),
        tokens: TokenBound { input, output },
        providers: vec!["p".to_owned(), "q".to_owned()],
        ..Admit::default()
    };
    desk.ask(Command::Admit(admit))
}

/// A report at a part of the worst case, in one attempt or two.
fn truth(given: &Given, percent: i64) -> (Report, i64, u64) {
    let (cost, input, output) = given.worst;
    let (cost, part) = (cost * percent / 100, percent.unsigned_abs());
    let usage = Usage { input: input * part / 100, output: output * part / 100, ..Usage::default() };
    let mut report = report(&given.permit, &[cost / 2, cost - cost / 2]);
    report.attempts[0].usage = Usage::default();
    (report.attempts[1].provider, report.attempts[1].usage) = ("q".to_owned(), usage);
    (report, cost, usage.input + usage.output)
}

/// What is really at stake: the truth where it is told, the worst case where not.
fn at_stake(given: &[Given], since: i64) -> (i64, u64) {
    let of = |g: &Given| g.told.unwrap_or((g.worst.0, g.worst.1 + g.worst.2));
    given.iter().filter(|g| g.at > since).map(of).fold((0, 0), |(cost, tokens), (c, t)| (cost + c, tokens + t))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_bound_is_passed_whatever_happens(events in events()) {
        let mut desk = desk();
        let mut given: Vec<Given> = Vec::new();
        for event in events {
            match event {
                Event::Ask(cost, input, output) => {
                    if let Reply::Permit(permit) = ask(&mut desk, (cost, input, output)) {
                        given.push(Given { permit, at: desk.now, worst: (cost, input, output), told: None });
                        // A permit counts until it is settled, or its life is over.
                        let running = given.iter().filter(|g| g.told.is_none() && g.at + 60_000 > desk.now).count();
                        prop_assert!(running <= 3, "{running} at a time");
                        let (_, tokens) = at_stake(&given, desk.now - 100_000);
                        prop_assert!(input + output == 0 || tokens <= 400, "{tokens} tokens in 100 s");
                        let (cost_of_minute, _) = at_stake(&given, desk.now - 100_000);
                        prop_assert!(cost == 0 || cost_of_minute <= 2_000, "{cost_of_minute} in 100 s");
                        let (recent, _) = at_stake(&given, desk.now - 1_000_000);
                        prop_assert!(cost == 0 || recent <= 1_000, "{recent} in 1000 s");
                        let (all, _) = at_stake(&given, i64::MIN);
                        prop_assert!(cost == 0 || all <= 10_000, "{all} in total");
                    }
                }
                Event::Report(which, percent) => {
                    let Some(g) = given.iter_mut().rev().nth(which) else { continue };
                    // The same permit always tells the same.
                    if let Some((cost, _)) = g.told && g.worst.0 * percent / 100 != cost { continue }
                    let (report, cost, tokens) = truth(g, percent);
                    desk.report(&[report]);
                    g.told.get_or_insert((cost, tokens));
                }
                Event::Pass(span) => desk.pass(span),
                Event::Kill => desk.crash(),
            }
        }
        // In the end nothing is held, and nothing but what was used is gone.
        desk.pass(3_600_000);
        let live = desk.live();
        prop_assert_eq!((live.permits, live.orphans), (0, 0));
        let left = |id: &str| live.limits.iter().find(|l| l.id == id).map(|l| l.remaining);
        prop_assert_eq!((left("few"), left("tpm"), left("bucket")), (Some(3), Some(400), Some(200)));
        prop_assert!(live.budgets.iter().all(|b| b.held == nano(0) && b.orphaned == nano(0)));
    }

    #[test]
    fn reports_in_any_order_however_often_make_the_same_books(
        asks in prop::collection::vec((0_i64..300, 0_u64..40, 0_u64..40, 0_i64..150, 0_i64..15_000), 1..7),
        order in prop::collection::vec((0_usize..12, any::<bool>()), 0..9),
        late in any::<bool>(),
    ) {
        let mut straight = desk();
        let mut given: Vec<Given> = Vec::new();
        let mut percents = Vec::new();
        for (cost, input, output, percent, gap) in asks {
            straight.pass(gap);
            if let Reply::Permit(permit) = ask(&mut straight, (cost, input, output)) {
                given.push(Given { permit, at: straight.now, worst: (cost, input, output), told: None });
                percents.push(percent);
            }
        }
        if late {
            // All have expired; each truth is a correction.
            straight.pass(61_000);
        }
        let reports: Vec<Report> = given.iter().zip(&percents).map(|(g, p)| truth(g, *p).0).collect();
        let mut shuffled = straight.clone();
        for report in &reports {
            straight.report(std::slice::from_ref(report));
        }
        for (which, together) in &order {
            let Some(report) = reports.get(*which) else { continue };
            let other = reports.get(which / 2).filter(|_| *together);
            shuffled.report(&other.into_iter().chain([report, report]).cloned().collect::<Vec<_>>());
        }
        for report in reports.iter().rev() {
            shuffled.report(std::slice::from_ref(report));
        }
        let (left, right) = (straight.live(), shuffled.live());
        prop_assert_eq!(left, right);
        let totals = |desk: &Desk| (desk.tenant.ledger.totals, desk.tenant.ledger.live.len(), desk.tenant.ledger.expired.len());
        prop_assert_eq!(totals(&straight), totals(&shuffled));
    }

    /// The rolling budget and the token limit let pass what the list has room for, where nothing was lost.
    #[test]
    fn nothing_is_denied_that_fits(asks in prop::collection::vec((0_i64..400, 0_u64..200, 0_i64..100_000, 0_i64..101), 1..16)) {
        let mut desk = Desk::new(r#"{"limits":[{"id":"tpm","tokens":400,"window_s":100}],"budgets":[{"id":"m","limit_usd":"0.000001","rolling_s":1000}]}"#);
        let mut given: Vec<Given> = Vec::new();
        for (cost, input, gap, percent) in asks {
            desk.pass(gap);
            let worst = (cost, input, 0);
            // 101 slots reach back this far.
            let (fits, room) = (at_stake(&given, desk.now - 101_000).1 + input <= 400, at_stake(&given, desk.now - 1_010_000).0 + cost <= 1_000);
            match ask(&mut desk, worst) {
                Reply::Permit(permit) => {
                    let mut g = Given { permit, at: desk.now, worst, told: None };
                    let (report, cost, tokens) = truth(&g, percent);
                    desk.report(&[report]);
                    g.told = Some((cost, tokens));
                    given.push(g);
                }
                Reply::Denied { why: Denial::Limit { .. }, .. } => prop_assert!(!fits),
                Reply::Denied { why: Denial::Budget { .. }, .. } => prop_assert!(!room),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
