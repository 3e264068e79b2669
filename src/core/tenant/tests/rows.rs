//! What the disk has to write.

use super::*;
use std::collections::VecDeque;

/// Rows that the disk writes for a turn.
fn rows(writes: &[Write], alarm: bool) -> usize {
    let of = |write: &Write| match write {
        Write::Usage(rows) => rows.len(),
        Write::Violations(rows) => rows.len(),
        Write::Savings(rows) => rows.len(),
        Write::Append { .. }
        | Write::Snapshot(_)
        | Write::Config(_)
        | Write::Key(_)
        | Write::Secret(_)
        | Write::Prices(_)
        | Write::Claim(_)
        | Write::Decision(_)
        | Write::Answer { .. } => 1,
        Write::Trim { .. } | Write::TrimDecisions { .. } | Write::Unclaim { .. } | Write::Unsecret { .. } | Write::DeleteAll => 0,
    };
    writes.iter().map(of).sum::<usize>() + usize::from(alarm)
}

const COMMON: &str = r#"{"limits":[{"id":"rpm","requests":100000,"window_s":60},{"id":"each","scope":"key","requests":50000,"window_s":60}],
            "budgets":[{"id":"m","limit_usd":"1000","period":"month"},{"id":"each","scope":"key","limit_usd":"1000","period":"day"}]}"#;

/// A rule of every kind.
const ALL: &str = r#"{"limits":[{"id":"rpm","requests":100000,"window_s":60},{"id":"tpm","scope":"key","tokens":50000000,"window_s":60},
    {"id":"otpm","scope":"model","output_tokens":50000000,"window_s":60,"algorithm":"token_bucket"},{"id":"cost","cost_usd":"1","window_s":60},
    {"id":"few","scope":"key","concurrency":5000},{"id":"provider","scope":"provider","requests":100000,"window_s":60}],
    "budgets":[{"id":"m","limit_usd":"1000","period":"month","time_zone":"Europe/Berlin","thresholds":[50]},
    {"id":"r","scope":"provider","limit_usd":"1000","rolling_s":3600}]}"#;

/// 10,000 requests at this rate, of which each takes two seconds, from four isolates that report every 250 ms.
fn rows_per_request(per_second: i64, rules: &str) -> f64 {
    let mut desk = Desk::new(rules);
    let (mut count, mut running) = (0, VecDeque::new());
    for n in 0..10_000_i64 {
        desk.now = START + n * 1_000 / per_second;
        if desk.alarm.is_some_and(|at| at.0 <= desk.now) {
            desk.alarm = None;
            let outcome = desk.tenant.alarm(Timestamp(desk.now));
            count += rows(&outcome.writes, outcome.alarm.is_some());
            desk.alarm = outcome.alarm;
        }
        let admit = Admit {
            key_hash: format!("hash-{}", if n % 3 == 0 { "b" } else { "a" }),
            config: 1,
            model: "fast".to_owned(),
            worst_case: nano(1_000 + n % 7),
            input_cost: nano(100),
            tokens: crate::protocol::TokenBound { input: 500, output: 1_000 },
            providers: vec!["p".to_owned(), "q".to_owned()],
            ..Admit::default()
        };
        let outcome = desk.tenant.handle(Timestamp(desk.now), Command::Admit(admit));
        count += rows(&outcome.writes, outcome.alarm.is_some());
        desk.alarm = outcome.alarm.or(desk.alarm);
        let Answer::Reply(Reply::Permit(permit)) = outcome.answer else { panic!("{:?}", outcome.answer) };
        running.push_back((desk.now + 2_000, report(&permit, &[500])));
        // Each isolate has a quarter of what is done.
        let batch = usize::try_from(per_second / 16).unwrap().max(1);
        if running.len() >= batch && running.get(batch - 1).is_some_and(|(done, _)| *done <= desk.now) {
            let reports = running.drain(..batch).map(|(_, report)| report).collect();
            let outcome = desk.tenant.handle(Timestamp(desk.now), Command::Report { reports });
            count += rows(&outcome.writes, outcome.alarm.is_some());
            desk.alarm = outcome.alarm.or(desk.alarm);
        }
    }
    f64::from(u32::try_from(count).unwrap()) / 10_000.0
}

#[test]
fn a_tenth_of_a_row_per_request_is_written_in_steady_state() {
    for (per_second, rules) in [(250, COMMON), (1_000, COMMON), (250, ALL), (1_000, ALL)] {
        let rows = rows_per_request(per_second, rules);
        println!("{rows:.4} rows per request at {per_second} requests per second");
        assert!(rows <= 0.1, "{rows} at {per_second}");
    }
}

#[test]
fn an_admission_inside_the_credit_writes_nothing() {
    let mut desk = Desk::new(r#"{"budgets":[{"id":"m","limit_usd":"1000","period":"month"}]}"#);
    desk.permit(100);
    let permit = desk.permit(100);
    desk.report(&[report(&permit, &[1])]);
    let written = desk.writes.len();
    for _ in 0..200 {
        desk.permit(0);
    }
    desk.permit(100);
    assert_eq!(desk.writes.len(), written);
}
