//! The truth replaces the worst case, once.

use super::*;
use LineKind::{Corrected, Expired as Silent, Released, Settled};

const BUDGET: &str = r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"month"}]}"#;

#[test]
fn a_report_settles_once_however_often_it_comes() {
    let mut desk = Desk::new(BUDGET);
    let (one, two) = (desk.permit(100), desk.permit(200));
    assert_eq!(desk.money(), (0, 300, 0));
    let (first, second) = (report(&one, &[70]), report(&two, &[150]));
    desk.report(&[second.clone(), second.clone()]);
    assert_eq!(desk.money(), (150, 100, 0));
    desk.report(&[second.clone(), first.clone(), second.clone()]);
    assert_eq!(desk.money(), (220, 0, 0));
    desk.crash();
    desk.report(&[first, second]);
    assert_eq!(desk.money().0, 220);
    assert_eq!(desk.kinds(), [Settled, Settled]);
}

#[test]
fn every_attempt_is_charged_and_the_hold_ends_with_the_first() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(100);
    desk.report(&[report(&permit, &[10, 20, 30])]);
    let lines = desk.lines();
    let shape: Vec<(u16, i64, i64)> = lines.iter().map(|l| (l.n, l.charges[0].hold.get(), l.charges[0].cost.get())).collect();
    assert_eq!(shape, [(1, 100, 10), (2, 0, 20), (3, 0, 30)]);
    assert_eq!(desk.money(), (60, 0, 0));
}

#[test]
fn a_request_that_was_never_sent_costs_nothing() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(100);
    desk.report(&[report(&permit, &[])]);
    assert_eq!((desk.money(), desk.kinds()), ((0, 0, 0), vec![Released]));
    desk.pass(3_600_000);
    assert_eq!(desk.kinds(), [Released]);
}

#[test]
fn a_cost_beyond_the_worst_case_is_charged_in_full() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(900);
    desk.report(&[report(&permit, &[1_200])]);
    assert_eq!(desk.money(), (1_200, 0, 0));
    desk.denied("a", 1);
}

#[test]
fn silence_is_charged_by_policy() {
    for (policy, charged) in [("worst_case", 100), ("input_only", 25), ("nothing", 0)] {
        let text = format!(
            r#"{{"budgets":[{{"id":"m","limit_usd":"0.000001","period":"month"}}],"permit":{{"lifetime_s":60,"expiry_charge":"{policy}"}}}}"#
        );
        let mut desk = Desk::new(&text);
        let permit = desk.permit(100);
        desk.pass(59_999);
        assert_eq!(desk.money(), (0, 100, 0), "{policy}");
        desk.pass(10_000);
        assert_eq!(desk.money(), (charged, 0, 0), "{policy}");
        // The truth comes late, twice.
        desk.report(&[report(&permit, &[30, 10])]);
        desk.report(&[report(&permit, &[30, 10])]);
        assert_eq!(desk.money(), (40, 0, 0), "{policy}");
        assert_eq!(desk.kinds(), [Silent, Corrected], "{policy}");
        assert_eq!(desk.lines()[1].charges[0].cost, amount(40 - charged));
    }
}

#[test]
fn any_order_of_reports_expiry_and_crashes_ends_at_the_truth() {
    // 0: the report comes. 1: the alarm rings after the permit's life. 2: a crash. 3: a quarter of its life passes.
    for order in 0..4_u32.pow(6) {
        // The limit keeps it small what a crash can forget.
        let mut desk = Desk::new(
            r#"{"limits":[{"id":"rps","requests":16,"window_s":1}],"budgets":[{"id":"m","limit_usd":"0.000001","period":"month"}]}"#,
        );
        let permit = desk.permit(100);
        let mut reported = false;
        for step in 0..6 {
            match order / 4_u32.pow(step) % 4 {
                0 => {
                    desk.report(&[report(&permit, &[37])]);
                    reported = true;
                }
                1 => desk.pass(61_000),
                2 => desk.crash(),
                _ => desk.pass(15_000),
            }
        }
        desk.pass(200_000);
        let charged: i64 = desk.lines().iter().flat_map(|l| &l.charges).map(|c| c.cost.get()).sum();
        let (spent, held, orphaned) = desk.money();
        assert_eq!((spent, held, orphaned), (charged, 0, 0), "order {order}");
        let own: Vec<Line> = desk.lines().into_iter().filter(|l| l.permit == permit.id).collect();
        assert!((1..=2).contains(&own.len()), "order {order}: {own:?}");
        // A crash may charge for permits that were never given, never for less than what was.
        assert!(spent >= if reported { 37 } else { 100 }, "order {order}: {spent}");
        let crashed = (0..6).any(|step| order / 4_u32.pow(step) % 4 == 2);
        if reported && !crashed {
            assert_eq!(spent, 37, "order {order}");
        }
    }
}

#[test]
fn a_truth_that_comes_much_too_late_changes_nothing() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(100);
    desk.pass(60_000 + 130_000);
    desk.ask(Command::Tick);
    desk.report(&[report(&permit, &[1])]);
    assert_eq!((desk.money(), desk.kinds()), ((100, 0, 0), vec![Silent]));
}

#[test]
fn a_permit_settles_into_the_period_that_it_was_given_in() {
    let mut desk = Desk::new(r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"day"}]}"#);
    desk.now = START + 86_400_000 - 1_000;
    let permit = desk.permit(1_000);
    desk.denied("a", 1);
    desk.now += 2_000;
    // A new day, a new account.
    assert_eq!(desk.money(), (0, 0, 0));
    let next = desk.permit(1_000);
    desk.report(&[report(&permit, &[600]), report(&next, &[5])]);
    assert_eq!(desk.money(), (5, 0, 0));
    let yesterday = AccountKey::budget("m", "", Timestamp(START));
    let account: &Account = &desk.tenant.ledger.accounts[&yesterday];
    assert_eq!((account.spent, account.held), (amount(600), amount(0)));
}

#[test]
fn what_an_expired_permit_cost_is_counted_without_a_budget_too() {
    let mut desk = Desk::new("{}");
    let permit = desk.permit(100);
    desk.pass(70_000);
    desk.report(&[report(&permit, &[30, 12])]);
    let Reply::Ticked { totals, .. } = desk.ask(Command::Tick) else { panic!() };
    assert_eq!((totals.requests, totals.cost), (1, nano(42)));
}

#[test]
fn a_deleted_tenants_permits_mean_nothing_to_the_next_of_that_name() {
    let mut desk = Desk::new(BUDGET);
    let old = desk.permit(100);
    assert_eq!(desk.ask(Command::Delete), Reply::Done);
    assert_eq!(desk.ask(Command::Report { reports: vec![report(&old, &[50])] }), Reply::NoTenant);
    // Within the same millisecond.
    desk.configure(BUDGET);
    desk.key("a", &[], None);
    let new = desk.permit(200);
    assert_ne!(new.id, old.id);
    desk.report(&[report(&old, &[50])]);
    assert_eq!(desk.money(), (0, 200, 0));
}

/// A request may be counted by many rules. Reports of a full batch were one row that no disk holds.
#[test]
fn a_batch_under_many_rules_ends_in_rows_that_fit() {
    let rule = |i: usize| format!(r#"{{"id":"m{i}","scope":"provider","limit_usd":"1","period":"month"}}"#);
    let rules: Vec<String> = (0..64).map(rule).collect();
    let mut desk = Desk::new(&format!(r#"{{"budgets":[{}]}}"#, rules.join(",")));
    let mut reports = Vec::new();
    for _ in 0..100 {
        let providers = (0..8).map(|i| format!("p{i}")).collect();
        let admit = Admit { key_hash: "hash-a".to_owned(), config: 1, model: "fast".to_owned(), providers, ..Admit::default() };
        let Reply::Permit(permit) = desk.ask(Command::Admit(admit)) else { panic!() };
        reports.push(report(&permit, &[1, 2]));
    }
    let written = desk.writes.len();
    desk.report(&reports);
    let rows: Vec<String> = desk.writes[written..]
        .iter()
        .filter_map(|w| if let Write::Append { facts, .. } = w { Some(serde_json::to_string(facts).unwrap()) } else { None })
        .collect();
    assert!(rows.len() > 1 && rows.iter().all(|r| r.len() < 2_000_000), "{:?}", rows.iter().map(String::len).collect::<Vec<_>>());
    assert_eq!(desk.tenant.ledger.live.len(), 0);
}

#[test]
fn a_long_silence_ends_in_rows_that_fit() {
    let mut desk = Desk::new(BUDGET);
    for _ in 0..1_000 {
        desk.permit(0);
    }
    desk.pass(70_000);
    let rows = desk.writes.iter().filter_map(|w| if let Write::Append { facts, .. } = w { Some(facts) } else { None });
    let lines = rows.flatten().filter_map(|f| if let Fact::Lines { lines } = f { Some(lines.len()) } else { None });
    assert_eq!(lines.collect::<Vec<_>>(), [256, 256, 256, 232]);
}
