//! Breakers, performance, savings, records and feedback, as the object keeps and tells them.

use super::*;
use crate::checks::Unreachable;
use crate::perf::{Seen, View};
use crate::protocol::{Feedback, ProviderRow, TokenBound};
use crate::retry::Class;
use crate::route::{Ask, Decision, Gate, Inputs};
use crate::savings::{Cause, Saved};

const ALIAS: &str = r#"{"models":{"fast":{"targets":["p/m","q/n"],"strategy":"fastest"},"other":{"target":"q/n"}}}"#;

/// An isolate that asks for permits and remembers what it was told.
struct Isolate {
    desk: Desk,
    view: View,
    region: &'static str,
}

impl Isolate {
    fn new(document: &str) -> Isolate {
        Isolate { desk: Desk::new(document), view: View::default(), region: "" }
    }

    fn ask(&mut self, model: &str) -> Permit {
        let admit = Admit {
            key_hash: "hash-a".to_owned(),
            config: self.desk.version(),
            model: model.to_owned(),
            tokens: TokenBound { input: 1, output: 1 },
            view: Some(Seen { version: self.view.version, region: self.region.to_owned() }),
            ..Admit::default()
        };
        match self.desk.ask(Command::Admit(admit)) {
            Reply::Permit(permit) => {
                self.view = permit.view.as_deref().cloned().unwrap_or_else(|| self.view.clone());
                permit
            }
            other => panic!("no permit: {other:?}"),
        }
    }

    fn gate(&self, target: &str) -> Gate {
        self.view.row(target).map(|r| r.gate).unwrap_or_default()
    }

    fn report(&mut self, permit: &Permit, attempt: Attempt) {
        let report = Report { attempts: vec![Attempt { region: self.region.to_owned(), ..attempt }], ..report(permit, &[]) };
        self.desk.report(&[report]);
    }

    /// Five requests that fail at `p/m`.
    fn fail(&mut self) {
        for _ in 0..5 {
            let permit = self.ask("fast");
            self.report(&permit, failed(500));
        }
    }

    fn rows(&mut self) -> Vec<ProviderRow> {
        match self.desk.ask(Command::Providers) {
            Reply::Providers { rows } => rows,
            other => panic!("{other:?}"),
        }
    }

    fn row(&mut self, target: &str) -> ProviderRow {
        self.rows().into_iter().find(|r| r.target == target && r.region.is_empty()).unwrap()
    }
}

fn failed(status: u16) -> Attempt {
    Attempt { outcome: Ended::Error, status, ..attempt(0) }
}

#[test]
fn an_open_breaker_is_told_at_once_and_probed_by_one() {
    let mut isolate = Isolate::new(ALIAS);
    isolate.fail();
    // The next question is answered with it, whoever asks.
    assert_eq!(isolate.ask("fast").probe, None);
    assert_eq!(isolate.gate("p/m"), Gate::Open(Timestamp(START + 2_000)));
    isolate.desk.now += 2_000;
    // Not by those who cannot use it, do not know of it, or ask nobody.
    assert_eq!(isolate.ask("other").probe, None);
    assert!(matches!(isolate.desk.admit_as("a", 1), Reply::Permit(Permit { probe: None, view: None, .. })));
    let probe = isolate.ask("fast");
    assert_eq!(probe.probe.as_deref(), Some("p/m"));
    assert_eq!([isolate.ask("fast").probe, isolate.ask("p/m").probe], [None, None]);
    isolate.report(&probe, attempt(5));
    isolate.ask("fast");
    assert_eq!((isolate.gate("p/m"), isolate.row("p/m").state.as_str()), (Gate::Closed, "closed"));
}

#[test]
fn what_health_checks_found_is_told_with_the_next_permit() {
    let mut isolate = Isolate::new(
        r#"{"models":{"fast":{"targets":["p/m","q/n"]}},"providers":{"mine":{"base_url":"https://llm.example.com/v1","format":"openai","auth":"none"}}}"#,
    );
    let found = |provider: &str| Unreachable { provider: provider.to_owned(), until: Timestamp(START + 600_000) };
    let tick = |isolate: &mut Isolate, all: &[&str]| {
        let unreachable: Vec<Unreachable> = all.iter().map(|p| found(p)).collect();
        let command = if all.is_empty() { Command::Tick } else { Command::TickBeside { unreachable } };
        assert!(matches!(isolate.desk.ask(command), Reply::Ticked { .. }));
        isolate.ask("fast").view.map(|view| view.unreachable)
    };
    assert_eq!(tick(&mut isolate, &[]), None, "nothing to tell");
    // Of the tenant's own address the operator's checks know nothing.
    assert_eq!(tick(&mut isolate, &["mine", "p"]), Some(vec![found("p")]));
    assert_eq!(tick(&mut isolate, &["mine", "p"]), None, "told once");
    // A new life knows nothing until cron tells it again.
    isolate.desk.crash();
    assert_eq!(isolate.ask("fast").view.map(|view| view.unreachable), Some(Vec::new()));
    assert_eq!(tick(&mut isolate, &["p"]), Some(vec![found("p")]));
    assert_eq!(tick(&mut isolate, &[]), Some(Vec::new()));
    let many: Vec<String> = (0..100).map(|i| format!("p{i}")).collect();
    let told = tick(&mut isolate, &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(told.map(|told| told.len()), Some(32));
}

#[test]
fn a_kill_forgets_neither_the_breaker_nor_the_probe() {
    let mut isolate = Isolate::new(ALIAS);
    isolate.fail();
    isolate.desk.crash();
    isolate.ask("fast");
    assert_eq!(isolate.gate("p/m"), Gate::Open(Timestamp(START + 2_000)));
    isolate.desk.now += 2_000;
    let probe = isolate.ask("fast");
    assert!(probe.probe.is_some());
    isolate.desk.crash();
    assert_eq!(isolate.ask("fast").probe, None);
    assert_eq!(isolate.row("p/m").state, "probing");
    // Its report closes the breaker, whichever life of the object gave the permit.
    isolate.report(&probe, attempt(5));
    isolate.desk.crash();
    isolate.ask("fast");
    assert_eq!(isolate.gate("p/m"), Gate::Closed);
}

#[test]
fn a_probe_that_comes_back_unused_or_never_is_given_again() {
    let mut isolate = Isolate::new(ALIAS);
    isolate.fail();
    isolate.desk.now += 2_000;
    let probe = isolate.ask("fast");
    isolate.desk.report(&[report(&probe, &[])]);
    let probe = isolate.ask("fast");
    assert_eq!(probe.probe.as_deref(), Some("p/m"));
    // Now its worker dies. The permit expires, and the probe with it.
    isolate.desk.pass(59_000);
    assert_eq!(isolate.ask("fast").probe, None);
    isolate.desk.pass(2_000);
    assert_eq!(isolate.ask("fast").probe.as_deref(), Some("p/m"));
}

#[test]
fn the_clients_errors_open_nothing_and_retry_after_is_passed_on() {
    let mut isolate = Isolate::new(ALIAS);
    for _ in 0..50 {
        let permit = isolate.ask("fast");
        isolate.report(&permit, failed(400));
    }
    assert_eq!((isolate.row("p/m").state.as_str(), isolate.row("p/m").attempts), ("closed", 0));
    let permit = isolate.ask("fast");
    isolate.report(&permit, Attempt { class: Some(Class::RateLimit), retry_after_ms: 3_000, ..failed(429) });
    isolate.ask("fast");
    assert_eq!(isolate.gate("p/m"), Gate::Throttled(Timestamp(START + 3_000)));
}

#[test]
fn what_is_known_of_targets_travels_only_when_it_changes() {
    let mut isolate = Isolate::new(ALIAS);
    let first = isolate.ask("fast");
    assert!(first.view.is_some());
    isolate.report(&first, attempt(5));
    // Latencies at most every two seconds.
    assert!(isolate.ask("fast").view.is_none());
    isolate.desk.now += 2_000;
    let told = isolate.ask("fast").view.unwrap();
    assert_eq!((told.rows[0].first_ms, told.rows[0].total_ms), (100, 300));
    isolate.desk.now += 60_000;
    assert!(isolate.ask("fast").view.is_none());
    // Another isolate is told all of it.
    isolate.view = View::default();
    assert_eq!(isolate.ask("fast").view, Some(told));
    // What an earlier life told is not taken for what this one knows.
    let before = isolate.view.version;
    isolate.desk.crash();
    isolate.desk.now += 1;
    assert!(isolate.ask("fast").view.unwrap().version > before);
}

#[test]
fn without_use_for_it_nothing_travels() {
    let mut isolate = Isolate::new(r#"{"models":{"fast":{"targets":["p/m","q/n"]}}}"#);
    for _ in 0..20 {
        let permit = isolate.ask("fast");
        assert_eq!((&permit.view, &permit.probe), (&None, &None));
        isolate.desk.now += 1_000;
        isolate.desk.report(&[Report { attempts: vec![attempt(5)], ..report(&permit, &[]) }]);
    }
    // But a breaker does, and its end.
    isolate.fail();
    assert_eq!(isolate.ask("fast").view.unwrap().rows.len(), 1);
    isolate.desk.now += 2_000;
    let probe = isolate.ask("fast");
    isolate.report(&probe, attempt(5));
    assert_eq!(isolate.ask("fast").view.unwrap().rows, []);
    assert!(isolate.ask("fast").view.is_none());
}

/// What a permit and a report weigh more than before.
#[test]
fn the_hot_path_stays_thin() {
    let mut isolate = Isolate::new(ALIAS);
    isolate.ask("fast");
    let size = |permit: &Permit| serde_json::to_string(permit).unwrap().len();
    let bare = isolate.ask("fast");
    assert_eq!(size(&bare), size(&Permit { view: None, probe: None, ..bare.clone() }));
    let permit = isolate.ask("fast");
    isolate.report(&permit, attempt(5));
    isolate.desk.now += 2_000;
    let told = isolate.ask("fast");
    let row = size(&told) - size(&Permit { view: None, ..told.clone() });
    println!("a view of one target weighs {row} bytes");
    assert!(row <= 100, "{row}");
    let text = serde_json::to_string(&report(&permit, &[1])).unwrap();
    assert!(["class", "retry", "region", "saved", "record"].iter().all(|new| !text.contains(new)), "{text}");
}

#[test]
fn performance_is_shown_by_region_and_told_to_each_its_own() {
    let mut isolate = Isolate::new(ALIAS);
    for (region, ms) in [("FRA", 100), ("FRA", 100), ("SIN", 900), ("", 400)] {
        isolate.region = region;
        let permit = isolate.ask("fast");
        isolate.report(&permit, Attempt { latency_ms: ms, first_byte_ms: ms / 2, ..attempt(30_000) });
    }
    let shown: Vec<_> = isolate.rows().into_iter().map(|r| (r.region.clone(), r.attempts)).collect();
    assert_eq!(shown, [("".to_owned(), 4), ("FRA".to_owned(), 2), ("SIN".to_owned(), 1)]);
    let row = isolate.row("p/m");
    assert_eq!((row.classes.get(&Class::Ok), row.failed, row.price.as_str()), (Some(&4), 0, "p/*"));
    // 80 tokens in 50 + 50 + 450 + 200 ms, and 120,000 nano-dollars for 120 tokens.
    assert_eq!((row.tokens_per_second, row.cost_per_mtok), (106, nano(1_000_000_000)));
    isolate.desk.now += 2_000;
    let mut told = |region| {
        isolate.region = region;
        isolate.view = View::default();
        isolate.ask("fast");
        isolate.view.row("p/m").unwrap().total_ms
    };
    assert_eq!([told("FRA"), told("SIN"), told("NRT"), told("")], [100, 900, 900, 900]);
}

fn go_on(isolate: &mut Isolate, permit: &Permit, attempts: &[Attempt]) {
    let told = Command::Failed { permit: permit.id, attempts: attempts.to_vec() };
    assert_eq!(isolate.desk.ask(told), Reply::Done);
}

#[test]
fn a_failure_counts_before_its_request_is_over_and_once() {
    let mut isolate = Isolate::new(ALIAS);
    // Five requests fail at p, and are being answered by q, which takes minutes.
    let permits: Vec<Permit> = (0..5).map(|_| isolate.ask("fast")).collect();
    for permit in &permits {
        go_on(&mut isolate, permit, &[failed(500)]);
        // A message that came twice.
        go_on(&mut isolate, permit, &[failed(500)]);
        isolate.desk.crash();
    }
    isolate.ask("fast");
    assert!(matches!(isolate.gate("p/m"), Gate::Open(_)));
    isolate.desk.now += 1_000;
    for permit in &permits {
        let whole = Attempt { provider: "q".to_owned(), model: "n".to_owned(), ..attempt(5) };
        let ended = Report { attempts: vec![failed(500), whole], ..report(permit, &[]) };
        isolate.desk.report(std::slice::from_ref(&ended));
        // Its permit is over.
        go_on(&mut isolate, permit, &[failed(500), failed(500)]);
        isolate.desk.report(&[ended]);
    }
    assert_eq!((isolate.row("p/m").attempts, isolate.row("p/m").failed, isolate.row("p/m").opens), (5, 5, 1));
    assert_eq!((isolate.row("q/n").attempts, isolate.row("q/n").failed), (5, 0));
    assert_eq!(isolate.desk.tenant.ledger.health.told(), []);
}

#[test]
fn a_probe_that_fails_is_over_at_once() {
    let mut isolate = Isolate::new(ALIAS);
    isolate.fail();
    isolate.desk.now += 2_000;
    let probe = isolate.ask("fast");
    assert_eq!(probe.probe.as_deref(), Some("p/m"));
    go_on(&mut isolate, &probe, &[failed(500)]);
    // The next one is due after twice the time, though the request of the first is still under way.
    isolate.desk.now += 3_999;
    assert_eq!(isolate.ask("fast").probe, None);
    isolate.desk.now += 1;
    let next = isolate.ask("fast");
    assert_eq!(next.probe.as_deref(), Some("p/m"));
    // The end of the first says nothing of the second.
    isolate.report(&probe, attempt(5));
    assert_eq!(isolate.row("p/m").state, "probing");
}

#[test]
fn a_load_knows_the_same_of_targets() {
    let mut isolate = Isolate::new(ALIAS);
    for n in 0..400_u32 {
        let permit = isolate.ask("fast");
        isolate.desk.now += 700;
        let ended = if n % 7 == 0 { failed(503) } else { attempt(5) };
        if n % 14 == 0 {
            go_on(&mut isolate, &permit, std::slice::from_ref(&ended));
        }
        isolate.report(&permit, Attempt { latency_ms: 100 + n * 37 % 900, ..ended });
        if n % 50 == 0 {
            isolate.desk.ask(Command::Feedback(Feedback { request: n.to_string(), target: "p/m".to_owned(), score: 900 }));
        }
    }
    let now = Timestamp(isolate.desk.now);
    let before = (isolate.desk.tenant.ledger.health.targets(), isolate.desk.tenant.ledger.health.judged());
    assert!(!isolate.desk.stored.journal.is_empty(), "nothing would be replayed");
    isolate.desk.crash();
    let health = &isolate.desk.tenant.ledger.health;
    assert_eq!((health.targets(), health.judged()), before);
    assert_eq!(health.rows(now).len(), 1);
}

#[test]
fn targets_and_regions_are_bounded() {
    let mut isolate = Isolate::new(ALIAS);
    for n in 0..(MAX_HEALTH + 20) {
        let permit = isolate.ask("fast");
        isolate.desk.now += 10;
        let model = format!("m{n}");
        isolate.desk.report(&[Report { attempts: vec![Attempt { model, ..attempt(5) }], ..report(&permit, &[]) }]);
    }
    let names: Vec<String> = isolate.rows().into_iter().map(|r| r.target).collect();
    assert_eq!(names.len(), MAX_HEALTH);
    assert!(!names.contains(&"p/m0".to_owned()) && names.contains(&format!("p/m{}", MAX_HEALTH + 19)));
    for region in ["A", "B", "C", "D", "E", "F"] {
        isolate.region = region;
        let permit = isolate.ask("fast");
        isolate.desk.now += 10;
        isolate.report(&permit, attempt(5));
    }
    let of_one = isolate.rows().into_iter().filter(|r| r.target == "p/m" && !r.region.is_empty());
    assert_eq!(of_one.map(|r| r.region).collect::<Vec<_>>(), ["C", "D", "E", "F"]);
}

fn saved(by: &[(Cause, i64)]) -> Option<Box<Saved>> {
    let by = by.iter().map(|(cause, n)| (*cause, nano(*n))).collect();
    Some(Box::new(Saved { model: "fast".to_owned(), price: "x".to_owned(), by }))
}

/// Sums by cause of all rows written so far.
fn sums(desk: &mut Desk) -> Map<String, i64> {
    desk.ask(Command::Savings { from: Timestamp(0), to: Timestamp(i64::MAX) });
    let mut sums = Map::new();
    for row in &desk.savings {
        *sums.entry(row.cause.clone()).or_default() += row.amount.get();
    }
    sums
}

#[test]
fn savings_are_summed_by_day_once_and_survive_kills() {
    let mut desk = Desk::new("{}");
    let mut reports = Vec::new();
    for n in 0..200 {
        let permit = desk.permit(1_000);
        let mut report = report(&permit, &[100, 50]);
        report.saved = saved(&[(Cause::Route, 30), (Cause::Failover, -50)]);
        desk.report(std::slice::from_ref(&report));
        reports.push(report);
        if n % 40 == 0 {
            desk.crash();
        }
        desk.now += 1_000;
    }
    // Again: they have one effect.
    desk.report(&reports[100..]);
    let sums = sums(&mut desk);
    assert_eq!((sums["actual"], sums["route"], sums["failover"]), (30_000, 6_000, -10_000));
    assert_eq!(sums["counterfactual"], sums["actual"] + sums["route"] + sums["failover"]);
    let actual: Vec<_> = desk.savings.iter().filter(|r| r.cause == "actual").collect();
    assert!(actual.iter().all(|r| r.day == Timestamp(START) && r.model == "fast"));
    assert_eq!(actual.iter().map(|r| r.requests).sum::<u64>(), 200);
    assert_eq!(actual.iter().map(|r| (r.input, r.output)).fold((0, 0), |s, n| (s.0 + n.0, s.1 + n.1)), (4_000, 8_000));
}

#[test]
fn a_late_report_saves_too_and_silence_saves_nothing() {
    let mut desk = Desk::new("{}");
    let (late, _silent) = (desk.permit(1_000), desk.permit(1_000));
    desk.pass(61_000);
    assert_eq!(sums(&mut desk), Map::new());
    desk.report(&[Report { saved: saved(&[(Cause::Cache, 70)]), ..report(&late, &[30]) }]);
    assert_eq!(sums(&mut desk), [("actual", 30), ("cache", 70), ("counterfactual", 100)].map(|(c, n)| (c.to_owned(), n)).into());
}

fn record(id: &str) -> Option<Box<Record>> {
    let inputs = Inputs {
        model: "fast".to_owned(),
        config: 1,
        at: Timestamp(START),
        seed: 5,
        route: crate::config::Route::default(),
        ask: Ask::default(),
        candidates: Vec::new(),
    };
    Some(Box::new(Record::new(id, inputs, Decision::default())))
}

#[test]
fn decisions_are_kept_with_what_came_of_them_and_bounded() {
    let mut desk = Desk::new("{}");
    let permit = desk.permit(0);
    let report_one = Report { record: record("01A"), ..report(&permit, &[7]) };
    desk.report(std::slice::from_ref(&report_one));
    desk.report(&[report_one]);
    assert_eq!(desk.records.len(), 1, "kept twice");
    assert_eq!((desk.records[0].key.as_str(), desk.records[0].cost, desk.records[0].attempts.len()), ("a", nano(7), 1));
    for n in 0..300 {
        let permit = desk.permit(0);
        desk.report(&[Report { record: record(&format!("01B{n}")), ..report(&permit, &[7]) }]);
    }
    assert_eq!(desk.records.len(), MAX_PER_MINUTE as usize);
    for _ in 0..3 {
        desk.pass(60_000);
        for n in 0..120 {
            let permit = desk.permit(0);
            desk.report(&[Report { record: record(&format!("01C{n}")), ..report(&permit, &[7]) }]);
        }
    }
    let trims = desk.writes.iter().filter(|w| **w == Write::TrimDecisions { keep: MAX_RECORDS }).count();
    assert_eq!((desk.records.len(), trims), (480, 1));
}

#[test]
fn feedback_counts_once_and_only_for_targets_that_are_known() {
    let mut isolate = Isolate::new(r#"{"models":{"fast":{"targets":["p/m","q/n"],"strategy":"balanced","min_quality":0.2}}}"#);
    let say = |isolate: &mut Isolate, request: &str, target: &str, score| {
        isolate.desk.ask(Command::Feedback(Feedback { request: request.to_owned(), target: target.to_owned(), score }))
    };
    assert_eq!(say(&mut isolate, "01", "x/y", 1_000), Reply::NotFound);
    for n in 0..20 {
        assert_eq!(say(&mut isolate, &n.to_string(), "p/m", 1_000), Reply::Done);
        assert_eq!(say(&mut isolate, &n.to_string(), "p/m", 0), Reply::Done);
    }
    isolate.desk.crash();
    say(&mut isolate, "7", "p/m", 0);
    isolate.ask("fast");
    assert_eq!(isolate.view.row("p/m").map(|r| r.quality), Some(100));
    assert_eq!(isolate.row("p/m").feedback, 100);
}

#[test]
fn who_hedges_is_told_the_p95_of_enough_answers() {
    let hedged = |after: &str| format!(r#"{{"retry":{{"hedge":{{"after":{after}}}}},"models":{{"fast":{{"targets":["p/m","q/n"]}}}}}}"#);
    for (after, told) in [(r#""p95""#, true), ("500", false)] {
        let mut isolate = Isolate::new(&hedged(after));
        let p95 = |isolate: &mut Isolate| {
            isolate.desk.now += 2_000;
            isolate.ask("fast");
            isolate.view.row("p/m").map_or((0, 0), |row| (row.first_p95, row.total_p95))
        };
        for _ in 0..19 {
            let permit = isolate.ask("fast");
            isolate.report(&permit, attempt(5));
        }
        assert_eq!(p95(&mut isolate), (0, 0), "{after}");
        let permit = isolate.ask("fast");
        isolate.report(&permit, attempt(5));
        let (first, total) = p95(&mut isolate);
        assert_eq!(((100..=125).contains(&first), (300..=375).contains(&total)), (told, told), "{after}: {first} {total}");
        // One that was let go says nothing, neither of latency nor of failure.
        for _ in 0..10 {
            let permit = isolate.ask("fast");
            let let_go = Attempt { outcome: Ended::Aborted, status: 499, latency_ms: 9_000, first_byte_ms: 0, ..attempt(1) };
            isolate.report(&permit, let_go);
        }
        assert_eq!(p95(&mut isolate), (first, total));
        let row = isolate.row("p/m");
        assert_eq!((row.attempts, row.failed, row.state.as_str(), row.classes[&Class::Aborted]), (20, 0, "closed", 10));
    }
}
