//! What operators do and see.

use super::*;

const BUDGET: &str = r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"month"}]}"#;

#[test]
fn a_configuration_is_replaced_only_where_expected() {
    let mut desk = Desk::new("{}");
    let put = |if_match| Command::PutConfig { config: Box::default(), if_match, prices: None };
    assert_eq!(desk.ask(put(Some(7))), Reply::Conflict { current: 1 });
    assert!(matches!(desk.ask(put(Some(1))), Reply::Configuration { version: 2, .. }));
    desk.crash();
    assert!(matches!(desk.ask(Command::Configuration), Reply::Configuration { version: 2, .. }));
}

#[test]
fn keys_are_listed_oldest_first_and_stay_after_they_are_revoked() {
    let mut desk = Desk::new("{}");
    desk.now += 5;
    desk.key("c", &["fast"], None);
    desk.ask(Command::RevokeKey { id: "a".to_owned() });
    desk.now += 5;
    let Reply::Key(again) = desk.ask(Command::RevokeKey { id: "a".to_owned() }) else { panic!() };
    assert_eq!(again.revoked_at, Some(Timestamp(START + 5)));
    assert_eq!(desk.ask(Command::RevokeKey { id: "z".to_owned() }), Reply::NotFound);
    desk.crash();
    let Reply::Keys { keys } = desk.ask(Command::ListKeys) else { panic!() };
    let shown: Vec<(&str, bool)> = keys.iter().map(|k| (k.id.as_str(), k.revoked_at.is_some())).collect();
    assert_eq!(shown, [("a", true), ("b", false), ("c", false)]);
}

/// The same message a second time made a revoked key work again.
#[test]
fn a_key_that_is_created_twice_stays_revoked() {
    let mut desk = Desk::new("{}");
    desk.ask(Command::RevokeKey { id: "a".to_owned() });
    let written = desk.writes.len();
    let Reply::Key(view) = desk.key("a", &[], None) else { panic!() };
    assert!(view.revoked_at.is_some());
    assert_eq!((desk.denied("a", 1), desk.writes.len()), (Denial::Key, written));
}

#[test]
fn a_changed_key_is_seen_at_once_and_what_is_absent_stays() {
    let mut desk = Desk::new("{}");
    let change = |desk: &mut Desk, change: KeyChange| {
        let Reply::Key(view) = desk.ask(Command::UpdateKey(KeyChange { id: "a".to_owned(), ..change })) else { panic!() };
        view
    };
    let view = change(&mut desk, KeyChange { models: Some(vec!["slow".to_owned()]), critical: Some(true), ..KeyChange::default() });
    assert_eq!((view.name.as_str(), view.models, view.critical), ("key a", vec!["slow".to_owned()], true));
    assert_eq!(desk.denied("a", 1), Denial::Model);
    let expires_at = Some(Timestamp(START + 10));
    let view = change(&mut desk, KeyChange { models: Some(Vec::new()), expires_at, name: Some("new".to_owned()), ..KeyChange::default() });
    assert_eq!((view.name.as_str(), view.expires_at, view.critical), ("new", expires_at, true));
    assert!(desk.permit(1).critical);
    desk.now += 10;
    desk.crash();
    assert_eq!(desk.denied("a", 1), Denial::Key);
    assert_eq!(change(&mut desk, KeyChange { never_expires: true, ..KeyChange::default() }).expires_at, None);
    desk.permit(1);
    // Nothing changes: nothing is written.
    let written = desk.writes.len();
    change(&mut desk, KeyChange::default());
    assert_eq!(desk.writes.len(), written);
    // A revoked key stays as it was, and revoked.
    desk.ask(Command::RevokeKey { id: "a".to_owned() });
    let written = desk.writes.len();
    let view = change(&mut desk, KeyChange { name: Some("newer".to_owned()), critical: Some(false), ..KeyChange::default() });
    assert_eq!((view.name.as_str(), view.critical, desk.writes.len()), ("new", true, written));
    assert!(view.revoked_at.is_some());
    assert_eq!(desk.denied("a", 1), Denial::Key);
    assert_eq!(desk.ask(Command::UpdateKey(KeyChange { id: "z".to_owned(), ..KeyChange::default() })), Reply::NotFound);
}

#[test]
fn a_key_sees_its_own_share_only() {
    let mut desk = Desk::new(
        r#"{"limits":[{"id":"rpm","scope":"key","requests":3,"window_s":60}],
            "budgets":[{"id":"m","scope":"key","limit_usd":"1","period":"month"},{"id":"all","limit_usd":"1","period":"month"}]}"#,
    );
    desk.permit(5);
    let Reply::Live(live) = desk.ask(Command::Live { key_hash: Some("hash-a".to_owned()) }) else { panic!() };
    let subjects: Vec<&str> = live.budgets.iter().map(|b| b.subject.as_str()).collect();
    assert_eq!((live.key.as_deref(), subjects, live.limits[0].remaining), (Some("a"), vec!["a", ""], 2));
    let stranger = Command::Live { key_hash: Some("nobody's".to_owned()) };
    assert!(matches!(desk.ask(stranger), Reply::Denied { why: Denial::Key, .. }));
}

#[test]
fn due_work_is_done_once_an_hour_however_often_it_is_asked_for() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(10);
    desk.report(&[report(&permit, &[4])]);
    let mut cleaned = Vec::new();
    for _ in 0..4 {
        let Reply::Ticked { cleaned: c, totals, .. } = desk.ask(Command::Tick) else { panic!() };
        assert_eq!((totals.requests, totals.cost), (1, nano(4)));
        cleaned.push(c);
        desk.pass(1_000_000);
        desk.crash();
    }
    assert_eq!(cleaned, [true, false, false, false]);
    desk.pass(1_000_000);
    assert!(matches!(desk.ask(Command::Tick), Reply::Ticked { cleaned: true, .. }));
    assert!(desk.writes.iter().any(|w| matches!(w, Write::Trim { .. })));
}

/// The hourly clean-up took the account of a running year for an old one, because the budget had been a
/// monthly one before: its spend was forgotten once an hour.
#[test]
fn the_account_of_a_running_period_is_never_forgotten() {
    for (before, after) in [("month", "year"), ("day", "total"), ("hour", "quarter")] {
        let budget = |period: &str| format!(r#"{{"budgets":[{{"id":"m","limit_usd":"0.000001","period":"{period}"}}]}}"#);
        let mut desk = Desk::new(&budget(before));
        desk.now = START + 70 * 86_400_000;
        let permit = desk.permit(10);
        desk.report(&[report(&permit, &[10])]);
        desk.configure(&budget(after));
        let permit = desk.permit(900);
        desk.report(&[report(&permit, &[900])]);
        desk.pass(3_600_000);
        desk.ask(Command::Tick);
        assert_eq!(desk.money(), (900, 0, 0), "{after}");
    }
}

#[test]
fn accounts_of_periods_long_gone_are_forgotten() {
    let mut desk = Desk::new(r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"day"}]}"#);
    for _ in 0..60 {
        let permit = desk.permit(10);
        desk.report(&[report(&permit, &[10])]);
        desk.pass(86_400_000);
        desk.ask(Command::Tick);
    }
    let days = desk.tenant.ledger.accounts.len();
    assert!((35..=37).contains(&days), "{days}");
}

#[test]
fn deleting_leaves_nothing() {
    let mut desk = Desk::new(BUDGET);
    desk.permit(10);
    desk.ask(Command::Delete);
    assert_eq!(desk.stored, Stored::default());
    assert_eq!(desk.ask(Command::Live { key_hash: None }), Reply::NoTenant);
    desk.pass(1_000_000);
    assert_eq!((desk.stored.clone(), desk.alarm), (Stored::default(), None));
}
