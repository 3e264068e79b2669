//! The operator's prices.

use super::*;
use crate::price::PriceBook;

fn book(version: u64, input: &str) -> PriceBook {
    let spec = format!(r#"{{"p/m":{{"input_usd_per_mtok":"{input}","output_usd_per_mtok":"1"}}}}"#);
    PriceBook { version, at: Timestamp(START), prices: serde_json::from_str(&spec).unwrap() }
}

fn told(version: u64, input: &str) -> Command {
    Command::Prices(Box::new(book(version, input)))
}

fn known(desk: &mut Desk) -> (u64, Option<PriceBook>) {
    let Reply::Configuration { version, prices, .. } = desk.ask(Command::Configuration) else { panic!() };
    (version, prices.map(|book| *book))
}

#[test]
fn a_newer_book_raises_the_version_and_survives() {
    let mut desk = Desk::new("{}");
    assert_eq!(known(&mut desk), (1, None));
    assert_eq!(desk.ask(told(2, "5")), Reply::Done);
    assert_eq!(known(&mut desk), (2, Some(book(2, "5"))));
    desk.crash();
    assert_eq!(known(&mut desk), (2, Some(book(2, "5"))));
    // The same again, and an older one that was late.
    let written = desk.writes.len();
    assert_eq!((desk.ask(told(2, "5")), desk.ask(told(1, "9"))), (Reply::Done, Reply::Done));
    assert_eq!((desk.writes.len(), known(&mut desk)), (written, (2, Some(book(2, "5")))));
    assert!(matches!(desk.ask(Command::Tick), Reply::Ticked { prices: 2, .. }));
    // A book without rows is none, and still a later version.
    desk.ask(Command::Prices(Box::new(PriceBook { version: 3, ..PriceBook::default() })));
    assert_eq!((known(&mut desk), desk.ask(told(2, "5"))), ((3, None), Reply::Done));
    assert!(matches!(desk.ask(Command::Tick), Reply::Ticked { prices: 3, .. }));
}

/// A worker that decided with older prices is told to decide again.
#[test]
fn who_knows_older_prices_is_told() {
    let mut desk = Desk::new("{}");
    desk.ask(told(1, "5"));
    let old = Admit { key_hash: "hash-a".to_owned(), config: 1, model: "fast".to_owned(), ..Admit::default() };
    let Reply::Configuration { version, prices, .. } = desk.ask(Command::Admit(old)) else { panic!() };
    assert_eq!((version, prices), (2, Some(Box::new(book(1, "5")))));
}

/// Permits that are out were held at older prices: nothing of them moves.
#[test]
fn the_ledger_does_not_notice() {
    let mut desk = Desk::new(r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"month"}]}"#);
    let permit = desk.permit(600);
    let before = desk.live();
    desk.ask(told(1, "5"));
    let now = desk.live();
    assert_eq!((now.version, now.budgets, now.permits), (before.version + 1, before.budgets, before.permits));
    desk.report(&[report(&permit, &[250])]);
    assert_eq!(desk.live().budgets[0].spent, nano(250));
}

#[test]
fn a_new_tenant_has_them_from_its_first_version_on() {
    let mut desk = Desk::empty();
    assert_eq!(desk.ask(told(4, "5")), Reply::NoTenant);
    assert!(desk.stored.prices.is_none());
    let create = |version| Command::PutConfig { config: Box::default(), if_match: None, prices: Some(Box::new(book(version, "5"))) };
    desk.ask(create(4));
    assert_eq!(known(&mut desk), (1, Some(book(4, "5"))));
    // A later document that comes with an older book changes the document only.
    desk.ask(create(3));
    assert_eq!(known(&mut desk), (2, Some(book(4, "5"))));
    // Who is created anew begins anew.
    desk.ask(Command::Delete);
    desk.configure("{}");
    assert_eq!(known(&mut desk), (1, None));
}
