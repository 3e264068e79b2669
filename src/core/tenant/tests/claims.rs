//! A request with an idempotency key has its effect once.

use super::*;
use crate::protocol::{Idempotency, MAX_ANSWER, Repeated};

const BUDGET: &str = r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"total"}]}"#;

impl Desk {
    fn claim(&mut self, key: &str, hash: &str, body: &str) -> Reply {
        let admit = Admit {
            key_hash: format!("hash-{key}"),
            config: self.version(),
            model: "fast".to_owned(),
            worst_case: nano(100),
            idempotency: Some(Idempotency { key_hash: hash.to_owned(), body_hash: body.to_owned() }),
            ..Admit::default()
        };
        self.ask(Command::Admit(admit))
    }

    fn claimed(&mut self, hash: &str) -> Permit {
        match self.claim("a", hash, "body") {
            Reply::Permit(permit) => permit,
            other => panic!("{other:?}"),
        }
    }

    fn complete(&mut self, permit: &Permit, body: &str) {
        let reply = self.ask(Command::Complete { permit: permit.id, answer: answer(body) });
        assert_eq!(reply, Reply::Done);
    }
}

fn answer(body: &str) -> StoredAnswer {
    StoredAnswer { status: 200, headers: vec![("content-type".to_owned(), "application/json".to_owned())], body: body.to_owned() }
}

fn repeated(state: Repeated) -> impl Fn(&Reply) -> bool {
    move |reply| matches!(reply, Reply::Denied { why: Denial::Idempotency { state: s, .. }, .. } if *s == state)
}

#[test]
fn a_second_request_waits_and_then_gets_the_same_answer() {
    for crash in [false, true] {
        let mut desk = Desk::new(BUDGET);
        let permit = desk.claimed("k");
        if crash {
            desk.crash();
        }
        assert!(repeated(Repeated::InProgress)(&desk.claim("a", "k", "body")));
        assert!(repeated(Repeated::Conflict)(&desk.claim("a", "k", "other")));
        // Another gateway key's is another.
        assert!(matches!(desk.claim("b", "k", "body"), Reply::Permit(_)));
        desk.complete(&permit, "hello");
        if crash {
            desk.crash();
        }
        desk.report(&[report(&permit, &[40])]);
        desk.complete(&permit, "something else");
        let spent = desk.money().0;
        for _ in 0..3 {
            assert_eq!(desk.claim("a", "k", "body"), Reply::Replay { stored: Some(answer("hello")) });
        }
        assert!(repeated(Repeated::Conflict)(&desk.claim("a", "k", "other")));
        assert_eq!(desk.money().0, spent);
    }
}

#[test]
fn the_answer_may_come_after_the_report() {
    let mut desk = Desk::new(BUDGET);
    let permit = desk.claimed("k");
    desk.report(&[report(&permit, &[40])]);
    // Answered, and nobody has the answer yet: it must not be sent again.
    assert_eq!(desk.claim("a", "k", "body"), Reply::Replay { stored: None });
    desk.complete(&permit, "hello");
    desk.crash();
    assert_eq!(desk.claim("a", "k", "body"), Reply::Replay { stored: Some(answer("hello")) });
}

#[test]
fn what_had_no_effect_may_be_tried_again() {
    // Released; failed at the provider; broken off; silent for a lifetime.
    for how in 0..4 {
        for crash in [false, true] {
            let mut desk = Desk::new(BUDGET);
            let permit = desk.claimed("k");
            if crash {
                desk.crash();
            }
            let mut over = report(&permit, &[10]);
            match how {
                0 => desk.report(&[report(&permit, &[])]),
                1 | 2 => {
                    over.attempts[0].outcome = if how == 1 { Ended::Error } else { Ended::Cut };
                    desk.report(&[over]);
                }
                _ => desk.pass(70_000),
            }
            if crash {
                desk.crash();
            }
            let again = desk.claimed("k");
            // What is left of the first one changes nothing.
            desk.complete(&permit, "late");
            desk.report(&[report(&permit, &[10])]);
            assert!(repeated(Repeated::InProgress)(&desk.claim("a", "k", "body")), "{how}");
            desk.complete(&again, "hello");
            assert_eq!(desk.claim("a", "k", "body"), Reply::Replay { stored: Some(answer("hello")) });
        }
    }
}

#[test]
fn who_is_denied_claims_nothing() {
    let mut desk = Desk::new(BUDGET);
    desk.permit(1_000);
    for _ in 0..2 {
        assert!(matches!(desk.claim("a", "k", "body"), Reply::Denied { why: Denial::Budget { .. }, .. }));
    }
    assert!(desk.stored.claims.is_empty());
}

#[test]
fn a_claim_is_on_disk_with_its_permit() {
    let mut desk = Desk::new(BUDGET);
    desk.claimed("first");
    let written = desk.writes.len();
    let permit = desk.claimed("k");
    let turn = &desk.writes[written..];
    assert!(turn.iter().any(|w| matches!(w, Write::Claim(c) if c.permit == permit.id && c.state == ClaimState::Running)), "{turn:?}");
}

#[test]
fn answers_are_forgotten_after_a_day_and_when_there_are_too_many() {
    let mut desk = Desk::new("{}");
    let (early, large) = (desk.claimed("early"), desk.claimed("large"));
    desk.complete(&early, "hello");
    desk.complete(&large, &"x".repeat(MAX_ANSWER + 1));
    desk.report(&[report(&early, &[1]), report(&large, &[1])]);
    assert_eq!(desk.claim("a", "large", "body"), Reply::Replay { stored: None });
    desk.now += CLAIM_LIFE - 1;
    assert_eq!(desk.claim("a", "early", "body"), Reply::Replay { stored: Some(answer("hello")) });
    desk.now += 1;
    desk.ask(Command::Tick);
    assert!(desk.stored.claims.is_empty() && desk.answers.is_empty());

    let body = "x".repeat(MAX_ANSWER - 100);
    let kept = usize::try_from(MAX_CLAIM_BYTES).unwrap() / MAX_ANSWER;
    for n in 0..kept + 3 {
        desk.now += 1;
        let permit = desk.claimed(&format!("k{n}"));
        desk.complete(&permit, &body);
        desk.report(&[report(&permit, &[1])]);
    }
    assert_eq!((desk.answers.len(), desk.stored.claims.len()), (kept, kept));
    assert!(matches!(desk.claim("a", "k0", "body"), Reply::Permit(_)), "the oldest goes first");
}

#[test]
fn running_claims_are_bounded_and_never_dropped() {
    let mut desk = Desk::new("{}");
    // The desk's disk is slow with so many.
    let claim = |desk: &mut Desk, n: usize| {
        let mut admit = Admit { key_hash: "hash-a".to_owned(), config: 1, model: "fast".to_owned(), ..Admit::default() };
        admit.idempotency = Some(Idempotency { key_hash: format!("k{n}"), body_hash: "body".to_owned() });
        match desk.tenant.handle(Timestamp(desk.now), Command::Admit(admit)).answer {
            Answer::Reply(reply) => reply,
            Answer::Read(query) => panic!("{query:?}"),
        }
    };
    let Reply::Permit(first) = claim(&mut desk, 0) else { panic!() };
    for n in 1..MAX_CLAIMS {
        assert!(matches!(claim(&mut desk, n), Reply::Permit(_)));
    }
    assert!(repeated(Repeated::Full)(&claim(&mut desk, MAX_CLAIMS)));
    assert!(repeated(Repeated::InProgress)(&claim(&mut desk, 1)));
    desk.report(&[report(&first, &[1])]);
    assert!(matches!(claim(&mut desk, MAX_CLAIMS), Reply::Permit(_)));
    assert!(repeated(Repeated::Full)(&claim(&mut desk, 0)));
}
