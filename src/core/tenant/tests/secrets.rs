//! Sealed secrets.

use super::*;
use crate::protocol::{NewSecret, SecretView};

fn secret(name: &str, sealed: &str) -> Command {
    Command::PutSecret(NewSecret { name: name.to_owned(), sealed: format!("v1.{sealed}.n.c"), last4: Some("wxyz".to_owned()) })
}

fn delete(name: &str) -> Command {
    Command::DeleteSecret { name: name.to_owned() }
}

fn known(desk: &mut Desk) -> (u64, Vec<(String, String)>) {
    let Reply::Configuration { version, secrets, .. } = desk.ask(Command::Configuration) else { panic!() };
    (version, secrets.into_iter().collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, sealed)| ((*name).to_owned(), format!("v1.{sealed}.n.c"))).collect()
}

#[test]
fn each_change_raises_the_version_and_survives() {
    let mut desk = Desk::new("{}");
    assert_eq!(known(&mut desk), (1, vec![]));
    let view = SecretView { name: "a".into(), key_id: "k1".into(), last4: Some("wxyz".into()), updated_at: Timestamp(START) };
    assert_eq!(desk.ask(secret("a", "k1")), Reply::Secret(view.clone()));
    assert_eq!(known(&mut desk), (2, pairs(&[("a", "k1")])));
    desk.now += 5;
    desk.ask(secret("b", "k1"));
    desk.ask(secret("a", "k2"));
    desk.crash();
    assert_eq!(known(&mut desk), (4, pairs(&[("a", "k2"), ("b", "k1")])));
    let Reply::Secrets { secrets } = desk.ask(Command::ListSecrets) else { panic!() };
    assert_eq!(secrets[0], SecretView { key_id: "k2".into(), updated_at: Timestamp(START + 5), ..view });
    assert_eq!(desk.ask(delete("a")), Reply::Done);
    assert_eq!(desk.ask(delete("a")), Reply::NotFound);
    desk.crash();
    assert_eq!(known(&mut desk), (5, pairs(&[("b", "k1")])));
}

#[test]
fn the_same_message_again_changes_nothing() {
    let mut desk = Desk::new("{}");
    let first = desk.ask(secret("a", "k1"));
    let written = desk.writes.len();
    desk.now += 5;
    assert_eq!(desk.ask(secret("a", "k1")), first);
    assert_eq!((desk.writes.len(), desk.version()), (written, 2));
}

/// A worker that decided without the new secret is told to decide again.
#[test]
fn who_knows_an_older_version_is_told() {
    let mut desk = Desk::new("{}");
    desk.ask(secret("a", "k1"));
    let old = Admit { key_hash: "hash-a".to_owned(), config: 1, model: "fast".to_owned(), ..Admit::default() };
    let Reply::Configuration { version, secrets, .. } = desk.ask(Command::Admit(old)) else { panic!() };
    assert_eq!((version, secrets.len()), (2, 1));
}

/// The version moves under permits that are out, and no hold with it.
#[test]
fn the_ledger_does_not_notice() {
    let mut desk = Desk::new(r#"{"budgets":[{"id":"m","limit_usd":"0.000001","period":"month"}]}"#);
    let permit = desk.permit(600);
    let before = desk.live();
    desk.ask(secret("a", "k1"));
    let now = desk.live();
    assert_eq!((now.version, now.budgets, now.permits), (before.version + 1, before.budgets, before.permits));
    desk.crash();
    desk.report(&[report(&permit, &[250])]);
    assert_eq!(desk.live().budgets[0].spent, nano(250));
}

#[test]
fn a_secret_that_is_in_use_stays() {
    let mut desk = Desk::new(r#"{"providers":{"openai":{"keys":["b","a"]}}}"#);
    assert!(matches!(desk.ask(secret("a", "k1")), Reply::Secret(_)));
    let written = desk.writes.len();
    assert_eq!(desk.ask(delete("a")), Reply::InUse { place: "providers.openai.keys[1]".to_owned() });
    assert_eq!(desk.ask(delete("b")), Reply::NotFound, "named and not there");
    assert_eq!((known(&mut desk).0, desk.writes.len()), (2, written));
    desk.configure("{}");
    assert_eq!(desk.ask(delete("a")), Reply::Done);
}

#[test]
fn there_is_a_bound_and_a_tenant() {
    let mut desk = Desk::empty();
    for command in [secret("a", "k"), Command::ListSecrets, delete("a")] {
        assert_eq!(desk.ask(command), Reply::NoTenant);
    }
    let mut desk = Desk::new("{}");
    for n in 0..MAX_SECRETS {
        assert!(matches!(desk.ask(secret(&format!("s{n}"), "k1")), Reply::Secret(_)));
    }
    assert_eq!(desk.ask(secret("more", "k1")), Reply::TooMany { bound: 64 });
    assert!(matches!(desk.ask(secret("s0", "k2")), Reply::Secret(_)), "a known one is replaced");
    desk.ask(Command::Delete);
    desk.configure("{}");
    assert_eq!(known(&mut desk), (1, vec![]));
    desk.crash();
    assert_eq!(known(&mut desk), (1, vec![]));
}
