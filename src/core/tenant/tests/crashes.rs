//! What a crash may forget, and what not. Most of these tell the story of a mistake that the simulator
//! found.

use super::*;

const LIMIT: &str = r#"{"limits":[{"id":"rpm","requests":50,"window_s":60}]}"#;
const BUDGET: &str = r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"total"}]}"#;
const LENIENT: &str =
    r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"total"}],"permit":{"lifetime_s":60,"expiry_charge":"nothing"}}"#;

#[test]
fn a_crash_in_the_middle_admits_no_one_more() {
    for at in 0..50 {
        let mut desk = Desk::new(LIMIT);
        let before = desk.admitted(at, 0);
        desk.crash();
        let after = desk.admitted(200, 0);
        assert!(before + after <= 50, "{before} and {after}");
        // What a crash forgets is an eighth of what was left, at most.
        assert!(before + after >= 50 - (50 - at) / 8 - 1, "{before} and {after}");
    }
}

#[test]
fn what_is_settled_stays_in_its_window_after_a_crash() {
    let mut desk = Desk::new(r#"{"limits":[{"id":"rpm","scope":"key","requests":5,"window_s":60}]}"#);
    for _ in 0..4 {
        let permit = desk.permit(0);
        desk.report(&[report(&permit, &[0])]);
    }
    desk.crash();
    assert_eq!((desk.admitted(9, 0), desk.live().limits.len()), (1, 2));
    // Whose permit a crash forgot is not known: it counts for every key.
    desk.crash();
    assert_eq!(desk.limit("rpm", "a").remaining, 0);
    assert!(desk.limit("rpm", "b").remaining < 5);
}

#[test]
fn a_crash_forgets_no_hold() {
    let mut desk = Desk::new(BUDGET);
    let permits: Vec<Permit> = (0..5).map(|_| desk.permit(100)).collect();
    desk.crash();
    let (spent, held, orphaned) = desk.money();
    assert_eq!((spent, held), (0, 0));
    assert!((500..=1_000).contains(&orphaned), "{orphaned}");
    // Their reports arrive as if nothing had happened.
    let reports: Vec<Report> = permits.iter().map(|p| report(p, &[60])).collect();
    desk.report(&reports);
    assert_eq!(desk.money().0, 300);
    // What else may have been given is waited for, and charged.
    desk.pass(70_000);
    let (spent, held, orphaned) = desk.money();
    assert!((300..=1_000).contains(&spent), "{spent}");
    assert_eq!((held, orphaned, desk.live().orphans), (0, 0, 0));
}

#[test]
fn a_settled_life_leaves_no_orphans() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(100);
    desk.report(&[report(&permit, &[60])]);
    desk.pass(6_000);
    desk.crash();
    assert_eq!((desk.money(), desk.live().orphans), ((60, 0, 0), 0));
    assert_eq!(desk.admitted(1, 940), 1);
}

/// The credit on disk may be twice of what the limit has left. Taken whole after a crash, it was charged
/// above the limit.
#[test]
fn a_crash_charges_nothing_above_the_limit() {
    let mut desk = Desk::new(BUDGET);
    let first = desk.permit(500);
    let _second = desk.permit(400);
    desk.report(&[report(&first, &[500])]);
    desk.crash();
    assert_eq!(desk.money(), (500, 0, 500));
    desk.pass(70_000);
    assert_eq!(desk.money(), (1_000, 0, 0));
}

/// A permit that cost more than its worst case makes the others' share larger than the limit has left.
#[test]
fn a_crash_after_an_overdraft_forgets_no_hold() {
    let mut desk = Desk::new(BUDGET);
    let (dear, _open) = (desk.permit(100), desk.permit(900));
    desk.report(&[report(&dear, &[600])]);
    desk.crash();
    assert_eq!(desk.money(), (600, 0, 900));
}

/// The credit of a budget that was taken out of the configuration was charged to it after a crash.
#[test]
fn a_crash_charges_nothing_to_a_budget_that_is_gone() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(300);
    desk.configure("{}");
    desk.report(&[report(&permit, &[200])]);
    desk.permit(300);
    desk.crash();
    desk.pass(70_000);
    desk.configure(BUDGET);
    assert_eq!(desk.money(), (200, 0, 0));
}

/// Two lives' orphans were one heap. The first life's, expiring for nothing, freed what the second's held.
#[test]
fn orphans_of_one_life_do_not_free_those_of_another() {
    let mut desk = Desk::new(LENIENT);
    desk.permit(10);
    desk.crash();
    desk.pass(30_000);
    let second = desk.permit(900);
    desk.crash();
    desk.pass(45_000);
    // The first life's permits are over, the second's are not.
    assert_eq!(desk.money(), (0, 0, 980));
    assert!(matches!(desk.denied("a", 100), Denial::Budget { .. }));
    desk.report(&[report(&second, &[900])]);
    assert_eq!(desk.money().0, 900);
}

/// A permit that a crash forgot was corrected to its truth while its hold stayed charged with the others':
/// together above the limit.
#[test]
fn the_late_truth_about_a_forgotten_permit_replaces_its_own_hold() {
    let mut desk = Desk::new(BUDGET);
    let (one, two) = (desk.permit(600), desk.permit(400));
    desk.crash();
    desk.pass(70_000);
    assert_eq!(desk.money(), (1_000, 0, 0));
    desk.report(&[report(&one, &[600])]);
    assert_eq!(desk.money(), (1_000, 0, 0));
    desk.report(&[report(&two, &[150, 50]), report(&two, &[1])]);
    assert_eq!(desk.money(), (800, 0, 0));
    let Reply::Ticked { totals, .. } = desk.ask(Command::Tick) else { panic!() };
    // Permits that may never have been given are no requests; the two that were are.
    assert_eq!((totals.requests, totals.cost), (2, nano(800)));
}

/// The journal is replayed under the current configuration. A window that was made longer was replayed at
/// its old length and forgot what it had seen.
#[test]
fn a_changed_window_survives_a_crash() {
    let mut desk = Desk::new(r#"{"limits":[{"id":"rpm","requests":5,"window_s":2}]}"#);
    assert_eq!(desk.admitted(9, 0), 5);
    desk.ask(Command::Usage { from: Timestamp(0), to: Timestamp(0) });
    desk.pass(1_000);
    desk.configure(r#"{"limits":[{"id":"rpm","requests":5,"window_s":600}]}"#);
    desk.crash();
    desk.pass(60_000);
    assert_eq!(desk.admitted(9, 0), 0);
}

/// A new life with an earlier clock counted into slots that had left the window, that is nowhere.
#[test]
fn a_clock_that_was_set_back_before_the_load_opens_no_window() {
    let mut desk = Desk::new(r#"{"limits":[{"id":"rpm","requests":5,"window_s":2}]}"#);
    desk.admitted(2, 0);
    desk.pass(6_000);
    desk.admitted(1, 0);
    desk.ask(Command::Usage { from: Timestamp(0), to: Timestamp(0) });
    desk.crash();
    desk.now -= 3_600_000;
    assert!(desk.admitted(200, 0) <= 4);
    assert_eq!(desk.tenant.clock, Timestamp(desk.now + 3_600_000));
}

/// A look at the usage wrote a snapshot while credit was out, and nobody came back to return it: the next
/// eviction charged for permits that were never given.
#[test]
fn unused_credit_is_returned_after_a_look_at_the_usage() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(100);
    desk.report(&[report(&permit, &[100])]);
    desk.ask(Command::Usage { from: Timestamp(0), to: Timestamp(0) });
    desk.pass(11_000);
    assert_eq!(desk.alarm, None);
    desk.crash();
    assert_eq!((desk.money(), desk.live().orphans), ((100, 0, 0), 0));
}

/// Each load of an object that nobody asks for a permit waited a whole lifetime anew.
#[test]
fn orphans_expire_however_often_the_object_is_loaded() {
    let mut desk = Desk::new(BUDGET);
    desk.permit(100);
    desk.crash();
    for _ in 0..20 {
        desk.live();
        desk.pass(10_000);
        desk.crash();
    }
    assert_eq!(desk.live().orphans, 0);
}

/// Counters that a load had restored from the journal called for an alarm every five seconds, for ever.
#[test]
fn an_object_that_was_only_loaded_comes_to_rest() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(100);
    desk.pass(6_000);
    desk.report(&[report(&permit, &[100])]);
    desk.crash();
    desk.live();
    desk.pass(60_000);
    assert_eq!(desk.alarm, None);
    let rows = desk.writes.iter().filter_map(|w| if let Write::Usage(rows) = w { Some(rows) } else { None });
    let ok: u64 = rows.flatten().filter(|r| r.outcome == "ok").map(|r| r.counts.requests).sum();
    assert_eq!(ok, 1);
}

/// The permit's lifetime is not known to a replay of its expiry, so the time for a correction must not
/// depend on it.
#[test]
fn a_correction_has_as_much_time_after_a_crash() {
    let long = r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"total"}],"permit":{"lifetime_s":600}}"#;
    let mut desk = Desk::new(long);
    let permit = desk.permit(100);
    desk.now += 600_000;
    // The alarm closes it; the crash comes before a snapshot is due.
    desk.tenant.ledger.last_admission = Timestamp(desk.now);
    desk.ring();
    desk.crash();
    desk.pass(500_000);
    desk.ask(Command::Tick);
    desk.report(&[report(&permit, &[7])]);
    assert!(desk.money().0 <= 107, "{:?}", desk.money());
    assert!(desk.kinds().contains(&LineKind::Corrected));
}

#[test]
fn a_load_is_the_same_as_the_life_before_where_it_is_durable() {
    let mut desk = Desk::new(BUDGET);
    for n in 0..300 {
        let permit = desk.permit(1);
        desk.report(&[report(&permit, &[n % 2])]);
    }
    let before = desk.tenant.ledger.clone();
    desk.crash();
    let after = &desk.tenant.ledger;
    assert_eq!((after.journal, after.epoch, after.totals), (before.journal, before.epoch, before.totals));
    assert_eq!((&after.tally, &after.expired), (&before.tally, &before.expired));
    let spent = |l: &Ledger| l.accounts.values().map(|a| (a.spent, a.credit)).collect::<Vec<_>>();
    assert_eq!(spent(after), spent(&before));
    assert!(after.live.keys().all(|seq| *seq > before.issued), "an ended permit is back");
}
