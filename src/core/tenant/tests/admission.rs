//! Everything at once, or nothing.

use super::*;

const LIMIT_AND_BUDGET: &str = r#"{"limits":[{"id":"rpm","requests":50,"window_s":60}],
    "budgets":[{"id":"m","limit_usd":"0.000001","period":"month"}]}"#;

#[test]
fn a_tenant_that_is_not_there_is_not_made_by_asking() {
    let mut desk = Desk::empty();
    assert_eq!(desk.admit_as("a", 1), Reply::NoTenant);
    assert_eq!(desk.ask(Command::Tick), Reply::NoTenant);
    assert_eq!(desk.ask(Command::Report { reports: Vec::new() }), Reply::NoTenant);
    assert_eq!(desk.key("a", &[], None), Reply::NoTenant);
    desk.ring();
    assert_eq!((desk.writes.len(), desk.alarm), (0, None));
}

#[test]
fn only_a_key_that_works_opens() {
    let mut desk = Desk::new("{}");
    desk.key("brief", &[], Some(Timestamp(START + 1_000)));
    assert_eq!(desk.denied("nobody's", 1), Denial::Key);
    desk.now += 999;
    assert!(matches!(desk.admit_as("brief", 1), Reply::Permit(_)));
    desk.now += 1;
    assert_eq!(desk.denied("brief", 1), Denial::Key);

    assert!(matches!(desk.ask(Command::RevokeKey { id: "a".to_owned() }), Reply::Key(_)));
    assert_eq!(desk.denied("a", 1), Denial::Key);
    desk.crash();
    assert_eq!(desk.denied("a", 1), Denial::Key);
    assert!(matches!(desk.admit_as("b", 1), Reply::Permit(_)));
}

#[test]
fn a_key_may_be_bound_to_models() {
    let mut desk = Desk::new("{}");
    desk.key("slow-only", &["slow"], None);
    desk.key("both", &["slow", "fast"], None);
    assert_eq!(desk.denied("slow-only", 1), Denial::Model);
    assert!(matches!(desk.admit_as("both", 1), Reply::Permit(_)));
}

#[test]
fn an_old_configuration_is_answered_with_the_new_one_and_reserves_nothing() {
    let mut desk = Desk::new(LIMIT_AND_BUDGET);
    desk.configure(r#"{"limits":[{"id":"rpm","requests":7,"window_s":60}],"budgets":[{"id":"m","limit_usd":"1","period":"month"}]}"#);
    let before = desk.live();
    let written = desk.writes.len();
    let old = Admit {
        key_hash: "hash-a".to_owned(),
        config: 1,
        model: "fast".to_owned(),
        worst_case: nano(5),
        input_cost: nano(1),
        ..Admit::default()
    };
    let Reply::Configuration { version, config, updated_at, .. } = desk.ask(Command::Admit(old)) else { panic!() };
    assert_eq!((version, config.limits[0].amount, updated_at), (2, amount(7), Timestamp(START)));
    assert_eq!((desk.live(), desk.writes.len()), (before, written));
}

#[test]
fn the_first_configuration_of_a_tenant_made_anew_is_another_one() {
    let mut desk = Desk::new(LIMIT_AND_BUDGET);
    let admit = |config_at| Admit { key_hash: "hash-a".to_owned(), config: 1, config_at, model: "fast".to_owned(), ..Admit::default() };
    assert!(matches!(desk.ask(Command::Admit(admit(Timestamp(START)))), Reply::Permit(_)));
    // An isolate that knows the one before, which was version 1 as well; one that does not tell is believed.
    assert!(matches!(desk.ask(Command::Admit(admit(Timestamp(START - 1)))), Reply::Configuration { version: 1, .. }));
    assert!(matches!(desk.ask(Command::Admit(admit(Timestamp::default()))), Reply::Permit(_)));
}

#[test]
fn a_limit_of_50_admits_exactly_50_of_200() {
    let mut desk = Desk::new(r#"{"limits":[{"id":"rpm","requests":50,"window_s":60}]}"#);
    assert_eq!(desk.admitted(200, 0), 50);
    let Denial::Limit { limit, window_s, retry_after, .. } = desk.denied("a", 0) else { panic!() };
    assert_eq!((limit.as_str(), window_s), ("rpm", 60));
    desk.now += retry_after - 1;
    desk.denied("a", 0);
    desk.now += 1;
    assert_eq!(desk.admitted(200, 0), 50);
}

#[test]
fn a_budget_for_20_admits_exactly_20_of_200() {
    let mut desk = Desk::new(LIMIT_AND_BUDGET);
    assert_eq!(desk.admitted(200, 50), 20);
    let expected = Denial::Budget {
        budget: "m".to_owned(),
        limit: nano(1_000),
        spent: nano(0),
        held: nano(1_000),
        resets_at: Timestamp::from_rfc3339("2024-04-01T00:00:00Z"),
        subject: String::new(),
        remaining: nano(0),
        affordable: None,
        steps: Vec::new(),
    };
    assert_eq!(desk.denied("a", 50), expected);
    // What costs nothing needs no budget.
    desk.permit(0);
}

#[test]
fn each_key_has_its_own_share_of_a_keys_rule() {
    let mut desk = Desk::new(
        r#"{"limits":[{"id":"rpm","scope":"key","requests":3,"window_s":60},{"id":"all","requests":100,"window_s":60}],
            "budgets":[{"id":"m","scope":"key","limit_usd":"0.0000001","period":"month"}]}"#,
    );
    assert_eq!(desk.admitted(10, 10), 3);
    assert!(matches!(desk.denied("a", 10), Denial::Limit { .. }));
    assert!(matches!(desk.admit_as("b", 90), Reply::Permit(_)));
    assert!(matches!(desk.denied("b", 20), Denial::Budget { .. }));
    assert_eq!((desk.budget("a").held, desk.budget("b").held), (nano(30), nano(90)));
    assert_eq!((desk.limit("rpm", "a").remaining, desk.limit("rpm", "b").remaining, desk.limit("all", "").remaining), (0, 2, 96));
}

#[test]
fn a_denial_leaves_no_trace() {
    let mut desk = Desk::new(
        r#"{"limits":[{"id":"wide","requests":100,"window_s":60},{"id":"narrow","requests":3,"window_s":60}],
            "budgets":[{"id":"m","limit_usd":"0.000001","period":"month"},{"id":"small","limit_usd":"0.0000001","period":"day"}]}"#,
    );
    desk.permit(60);
    let before = desk.live();
    // The first budget has room, the second has not.
    assert!(matches!(desk.denied("a", 60), Denial::Budget { budget, .. } if budget == "small"));
    assert_eq!(desk.live(), before);
    desk.permit(0);
    desk.permit(0);
    let before = desk.live();
    // The first limit has room, the second has not.
    assert!(matches!(desk.denied("a", 0), Denial::Limit { limit, .. } if limit == "narrow"));
    assert_eq!(desk.live(), before);
    assert_eq!(desk.limit("wide", "").remaining, 97);
}

#[test]
fn the_permit_says_what_it_holds_and_what_is_left() {
    let mut desk = Desk::new(
        r#"{"limits":[{"id":"many","requests":100,"window_s":60},{"id":"few","scope":"key","requests":10,"window_s":100}],
            "budgets":[{"id":"m","limit_usd":"0.000001","period":"month"}]}"#,
    );
    let permit = desk.permit(300);
    let month = Timestamp::from_rfc3339("2024-03-01T00:00:00Z").unwrap();
    let account = AccountKey::budget("m", "", month);
    assert_eq!(permit.holds, [crate::protocol::Hold { account, amount: amount(300) }]);
    let nearest = permit.limit.unwrap();
    assert_eq!((nearest.id.as_str(), nearest.remaining, nearest.reset), ("few", 9, 101_000));
    // 700 are left, enough for two more: whoever comes next waits for the report of this one.
    assert_eq!(permit.report_within, 10);
    assert_eq!(desk.permit(1).report_within, 250);
}

#[test]
fn a_changed_rule_keeps_what_was_used() {
    let mut desk = Desk::new(LIMIT_AND_BUDGET);
    let permits: Vec<Permit> = (0..4).map(|_| desk.permit(100)).collect();
    desk.report(&[report(&permits[0], &[100])]);
    desk.configure(
        r#"{"limits":[{"id":"rpm","requests":5,"window_s":120}],"budgets":[{"id":"m","limit_usd":"0.0000005","period":"month"}]}"#,
    );
    assert_eq!((desk.money(), desk.limit("rpm", "").remaining), ((100, 300, 0), 1));
    assert!(matches!(desk.denied("a", 101), Denial::Budget { .. }));
    desk.permit(100);
    assert!(matches!(desk.denied("a", 0), Denial::Limit { .. }));
}

#[test]
fn time_does_not_run_backwards() {
    let mut desk = Desk::new(r#"{"limits":[{"id":"rpm","requests":5,"window_s":10}]}"#);
    assert_eq!(desk.admitted(9, 0), 5);
    desk.now -= 3_600_000;
    assert_eq!(desk.admitted(9, 0), 0);
    desk.now += 3_600_000 + 10_200;
    assert_eq!(desk.admitted(9, 0), 5);
}
