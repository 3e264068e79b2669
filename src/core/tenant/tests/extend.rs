//! A permit that holds more: what failed attempts may have cost, beside the worst case of one more.

use super::*;
use crate::protocol::TokenBound;

const BUDGET: &str = r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"total"}]}"#;

impl Desk {
    /// Asks for more after attempts at these costs.
    fn extend(&mut self, permit: &Permit, costs: &[i64]) -> Reply {
        self.ask(Command::Extend { permit: permit.id, attempts: costs.iter().map(|cost| attempt(*cost)).collect() })
    }

    /// What the first hold of the permit came to.
    fn extended(&mut self, permit: &Permit, costs: &[i64]) -> i64 {
        match self.extend(permit, costs) {
            Reply::Extended { holds } => holds[0].amount.get(),
            other => panic!("not extended: {other:?}"),
        }
    }

    /// Counted denials of a rule.
    fn denials(&self, rule: &str) -> u64 {
        self.tenant.ledger.violations.iter().filter(|(key, _)| key.rule == rule).map(|(_, n)| n).sum()
    }
}

#[test]
fn what_failed_attempts_cost_is_held_beside_the_worst_case() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(400);
    assert_eq!(desk.extended(&permit, &[150]), 550);
    assert_eq!(desk.money(), (0, 550, 0));
    assert_eq!(desk.extended(&permit, &[150, 50]), 600);
    // Nothing was to be paid for the third.
    assert_eq!(desk.extended(&permit, &[150, 50, 0]), 600);
    desk.report(&[report(&permit, &[150, 50, 0, 400])]);
    assert_eq!(desk.money(), (600, 0, 0));
}

#[test]
fn the_same_attempts_have_one_effect() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(400);
    let written = |desk: &Desk| desk.writes.iter().filter(|w| matches!(w, Write::Append { .. })).count();
    assert_eq!(desk.extended(&permit, &[150]), 550);
    let before = written(&desk);
    assert_eq!(desk.extended(&permit, &[150]), 550);
    assert_eq!((desk.money(), written(&desk)), ((0, 550, 0), before));
}

#[test]
fn a_budget_without_room_denies_and_nothing_changes() {
    let mut desk = Desk::new(BUDGET);
    let (permit, _other) = (desk.permit(400), desk.permit(500));
    let Reply::Denied { why: Denial::Budget { budget, held, remaining, .. }, .. } = desk.extend(&permit, &[101]) else {
        panic!("not denied")
    };
    assert_eq!((budget.as_str(), held.get(), remaining.get()), ("m", 900, 100));
    assert_eq!((desk.money(), desk.denials("budget:m")), ((0, 900, 0), 1));
    assert_eq!(desk.extended(&permit, &[100]), 500);
    assert_eq!(desk.money(), (0, 1_000, 0));
}

#[test]
fn the_cap_on_one_request_counts_all_of_its_attempts() {
    let mut desk = Desk::new(r#"{"permit":{"lifetime_s":60,"max_cost_usd":"0.0000005"}}"#);
    let permit = desk.permit(400);
    assert!(matches!(desk.extend(&permit, &[100]), Reply::Extended { .. }));
    let denied = desk.extend(&permit, &[100, 1]);
    assert_eq!(denied, Reply::Denied { why: Denial::MaxCost { cap: nano(500) }, limit: None });
    assert_eq!(desk.denials("max_cost"), 1);
}

#[test]
fn a_window_of_tokens_denies_and_a_request_stays_one() {
    let limits = r#"{"limits":[{"id":"tpm","tokens":100,"window_s":60},{"id":"rps","requests":1,"window_s":60,"algorithm":"token_bucket"},{"id":"at once","concurrency":1}]}"#;
    let mut desk = Desk::new(limits);
    let admit = Admit {
        key_hash: "hash-a".to_owned(),
        config: desk.version(),
        model: "fast".to_owned(),
        tokens: TokenBound { input: 10, output: 30 },
        ..Admit::default()
    };
    let Reply::Permit(permit) = desk.ask(Command::Admit(admit)) else { panic!("no permit") };
    // An attempt of these tests uses 30 tokens.
    let Reply::Extended { holds } = desk.extend(&permit, &[0, 0]) else { panic!("not extended") };
    assert_eq!(holds.iter().map(|h| h.amount).collect::<Vec<_>>(), [amount(100), Amount::ONE, Amount::ONE]);
    assert_eq!(desk.limit("tpm", "").remaining, 0);
    assert!(matches!(desk.extend(&permit, &[0, 0, 0]), Reply::Denied { why: Denial::Limit { .. }, .. }));
    // It counts from the admission on.
    desk.now += 61_000;
    assert_eq!(desk.limit("tpm", "").remaining, 100);
}

#[test]
fn a_permit_that_is_over_or_unknown_gets_nothing() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(400);
    desk.report(&[report(&permit, &[100])]);
    assert_eq!(desk.extend(&permit, &[100]), Reply::NotFound);
    let never = Permit { id: crate::ids::PermitId { seq: 77, ..permit.id }, ..permit };
    assert_eq!(desk.extend(&never, &[100]), Reply::NotFound);
    assert_eq!(desk.money(), (100, 0, 0));
    assert_eq!(Desk::empty().extend(&never, &[100]), Reply::NoTenant);
}

/// The object of a tenant with few requests is evicted long before a provider's time is up. The request
/// was then refused its second target.
#[test]
fn a_permit_of_an_earlier_life_gets_more_while_the_disk_knows_it() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(400);
    // Silence: the snapshot has it.
    desk.pass(6_000);
    desk.crash();
    assert_eq!(desk.extended(&permit, &[150]), 550);
    assert_eq!(desk.money(), (0, 0, 550));
    assert!(matches!(desk.extend(&permit, &[650]), Reply::Denied { .. }));
    // And that is not forgotten either.
    desk.crash();
    assert_eq!(desk.money(), (0, 0, 550));
    assert_eq!(desk.extended(&permit, &[150]), 550);
    let permit = Permit { holds: vec![Hold { amount: amount(550), ..permit.holds[0].clone() }], ..permit };
    desk.report(&[report(&permit, &[150, 400])]);
    assert_eq!(desk.money(), (550, 0, 0));
}

#[test]
fn a_crash_does_not_forget_what_was_held_more() {
    for snapshot in [false, true] {
        let mut desk = Desk::new(BUDGET);
        let permit = desk.permit(400);
        if snapshot {
            desk.pass(6_000);
        }
        assert_eq!(desk.extended(&permit, &[150]), 550);
        desk.crash();
        let (_, _, orphaned) = desk.money();
        assert!(orphaned >= 550, "{orphaned}");
        // One that only the credit remembers may be anybody's.
        let more = desk.extend(&permit, &[150]);
        assert_eq!(matches!(more, Reply::Extended { .. }), snapshot, "{more:?}");
        let permit = Permit { holds: vec![Hold { amount: amount(550), ..permit.holds[0].clone() }], ..permit };
        desk.report(&[report(&permit, &[150, 400])]);
        desk.pass(70_000);
        let (spent, held, orphaned) = desk.money();
        assert!((550..=1_000).contains(&spent), "{spent}");
        assert_eq!((held, orphaned), (0, 0));
    }
}

#[test]
fn silence_is_charged_with_all_that_was_held() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.permit(400);
    desk.extended(&permit, &[150]);
    desk.pass(61_000);
    assert_eq!(desk.money(), (550, 0, 0));
    desk.report(&[report(&permit, &[150, 100])]);
    assert_eq!(desk.money(), (250, 0, 0));
}
