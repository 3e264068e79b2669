//! The machine's tests: a desk to drive it from, and a disk that survives it.
#![expect(clippy::arithmetic_side_effects, reason = "where a test overflows, it fails")]

mod admission;
mod claims;
mod crashes;
mod extend;
mod limits;
mod operators;
mod prices;
mod properties;
mod routing;
mod rows;
mod secrets;
mod settlement;
mod stored;
mod storms;

use super::*;
use crate::budget::{Account, AccountKey};
use crate::price::Usage;
use crate::protocol::StoredAnswer;
use crate::protocol::{Admit, Attempt, BudgetState, Denial, Hold, KeyChange, LimitState, Live, NewKey, Outcome as Ended, Permit, Report};
use crate::route::Record;
use crate::savings::SavingsRow;
use crate::units::{Amount, NanoUsd};
use serde::Serialize;

/// 2024-03-10T00:00:00Z, a Sunday.
const START: i64 = 1_710_028_800_000;

/// A tenant that is driven by hand: its clock, its disk, its alarm.
#[derive(Clone)]
struct Desk {
    tenant: Tenant,
    now: i64,
    stored: Stored,
    alarm: Option<Timestamp>,
    /// All writes so far.
    writes: Vec<Write>,
    answers: Map<(String, String), StoredAnswer>,
    savings: Vec<SavingsRow>,
    records: Vec<Record>,
}

/// A configuration from JSON. A permit lives for 60 s unless it says otherwise.
fn config(text: &str) -> Config {
    let mut config: Config = serde_json::from_str(text).unwrap();
    if config.permit == Config::default().permit {
        config.permit.lifetime_s = 60;
    }
    config
}

fn amount(n: i64) -> Amount {
    Amount::new(n)
}

fn nano(n: i64) -> NanoUsd {
    NanoUsd::new(n)
}

impl Desk {
    /// A tenant with this configuration and the keys `a` and `b`.
    fn new(text: &str) -> Desk {
        let mut desk = Desk::empty();
        desk.configure(text);
        desk.key("a", &[], None);
        desk.key("b", &[], None);
        desk
    }

    /// A tenant that is not there.
    fn empty() -> Desk {
        let (tenant, stored) = (Tenant::default(), Stored::default());
        Desk { tenant, now: START, stored, alarm: None, writes: Vec::new(), answers: Map::new(), savings: Vec::new(), records: Vec::new() }
    }

    fn configure(&mut self, text: &str) {
        let reply = self.ask(Command::PutConfig { config: Box::new(config(text)), if_match: None, prices: None });
        assert!(matches!(reply, Reply::Configuration { .. }), "{reply:?}");
    }

    fn key(&mut self, id: &str, models: &[&str], expires_at: Option<Timestamp>) -> Reply {
        self.ask(Command::CreateKey(NewKey {
            id: id.to_owned(),
            hash: format!("hash-{id}"),
            name: format!("key {id}"),
            prefix: "tg_acme_".to_owned(),
            last4: "wxyz".to_owned(),
            models: models.iter().map(|m| (*m).to_owned()).collect(),
            expires_at,
            ..NewKey::default()
        }))
    }

    fn run(&mut self, outcome: Outcome) -> Reply {
        for write in &outcome.writes {
            match write {
                Write::Append { n, facts, .. } => self.stored.journal.push((*n, facts.clone())),
                Write::Snapshot(snapshot) => {
                    self.stored.journal.retain(|(n, _)| *n > snapshot.journal);
                    // What is stored comes back as text.
                    let text = serde_json::to_string(snapshot).unwrap();
                    self.stored.snapshot = Some(serde_json::from_str(&text).unwrap());
                }
                Write::Config(config) => self.stored.config = Some((**config).clone()),
                Write::Key(key) => {
                    self.stored.keys.retain(|k| k.hash != key.hash);
                    self.stored.keys.push((**key).clone());
                }
                Write::Secret(secret) => {
                    self.stored.secrets.retain(|s| s.given.name != secret.given.name);
                    self.stored.secrets.push((**secret).clone());
                }
                Write::Unsecret { name } => self.stored.secrets.retain(|s| s.given.name != *name),
                Write::Prices(book) => {
                    let text = serde_json::to_string(book).unwrap();
                    self.stored.prices = Some(serde_json::from_str(&text).unwrap());
                }
                Write::DeleteAll => self.stored = Stored::default(),
                Write::Claim(claim) => {
                    self.stored.claims.retain(|c| (&c.key, &c.hash) != (&claim.key, &claim.hash));
                    let text = serde_json::to_string(claim).unwrap();
                    self.stored.claims.push(serde_json::from_str(&text).unwrap());
                }
                Write::Answer { key, hash, answer } => {
                    self.answers.insert((key.clone(), hash.clone()), (**answer).clone());
                }
                Write::Unclaim { key, hash } => {
                    self.stored.claims.retain(|c| (&c.key, &c.hash) != (key, hash));
                    self.answers.remove(&(key.clone(), hash.clone()));
                }
                Write::Savings(rows) => self.savings.extend(rows.iter().cloned()),
                Write::Decision(record) => self.records.push((**record).clone()),
                Write::Usage(_) | Write::Violations(_) | Write::Trim { .. } | Write::TrimDecisions { .. } => {}
            }
        }
        assert_eq!(outcome.broken, Vec::<String>::new());
        self.alarm = outcome.alarm.or(self.alarm);
        self.writes.extend(outcome.writes);
        for account in self.tenant.ledger.accounts.values() {
            assert!(account.held <= account.credit, "a crash would forget {account:?}");
        }
        match outcome.answer {
            Answer::Reply(reply) => reply,
            Answer::Read(Query::Answer { key, hash }) => Reply::Replay { stored: self.answers.get(&(key, hash)).cloned() },
            Answer::Read(_) => Reply::Done,
        }
    }

    fn ask(&mut self, command: Command) -> Reply {
        let outcome = self.tenant.handle(Timestamp(self.now), command);
        self.run(outcome)
    }

    fn ring(&mut self) {
        self.alarm = None;
        let outcome = self.tenant.alarm(Timestamp(self.now));
        self.run(outcome);
    }

    /// Lets time pass, ringing the alarms that are due on the way.
    fn pass(&mut self, span: Millis) {
        let end = self.now + span;
        while let Some(at) = self.alarm.filter(|at| at.0 <= end) {
            self.now = self.now.max(at.0);
            self.ring();
        }
        self.now = end;
    }

    /// Kills the object and loads it again.
    fn crash(&mut self) {
        self.tenant = Tenant::load(self.stored.clone());
    }

    fn version(&self) -> u64 {
        self.tenant.config.as_ref().map_or(0, |c| c.version)
    }

    fn admit_as(&mut self, key: &str, worst_case: i64) -> Reply {
        let admit = Admit {
            key_hash: format!("hash-{key}"),
            config: self.version(),
            model: "fast".to_owned(),
            worst_case: nano(worst_case),
            input_cost: nano(worst_case / 4),
            ..Admit::default()
        };
        self.ask(Command::Admit(admit))
    }

    /// A permit for key `a`.
    fn permit(&mut self, worst_case: i64) -> Permit {
        match self.admit_as("a", worst_case) {
            Reply::Permit(permit) => permit,
            other => panic!("no permit: {other:?}"),
        }
    }

    /// How many of so many attempts are admitted.
    fn admitted(&mut self, attempts: usize, worst_case: i64) -> usize {
        (0..attempts).filter(|_| matches!(self.admit_as("a", worst_case), Reply::Permit(_))).count()
    }

    fn denied(&mut self, key: &str, worst_case: i64) -> Denial {
        match self.admit_as(key, worst_case) {
            Reply::Denied { why, .. } => why,
            other => panic!("not denied: {other:?}"),
        }
    }

    fn report(&mut self, reports: &[Report]) {
        assert_eq!(self.ask(Command::Report { reports: reports.to_vec() }), Reply::Done);
    }

    fn live(&mut self) -> Live {
        match self.ask(Command::Live { key_hash: None }) {
            Reply::Live(live) => live,
            other => panic!("{other:?}"),
        }
    }

    /// The budget `m` of the tenant, or of a key.
    fn budget(&mut self, subject: &str) -> BudgetState {
        self.live().budgets.into_iter().find(|b| b.id == "m" && b.subject == subject).unwrap()
    }

    /// Spent, held and orphaned of the tenant's budget `m`.
    fn money(&mut self) -> (i64, i64, i64) {
        let b = self.budget("");
        (b.spent.get(), b.held.get(), b.orphaned.get())
    }

    fn limit(&mut self, id: &str, subject: &str) -> LimitState {
        self.live().limits.into_iter().find(|l| l.id == id && l.subject == subject).unwrap()
    }

    /// All lines written so far.
    fn lines(&self) -> Vec<Line> {
        let facts = self.writes.iter().filter_map(|w| if let Write::Append { facts, .. } = w { Some(facts) } else { None });
        let lines = facts.flatten().filter_map(|f| if let Fact::Lines { lines } = f { Some(lines) } else { None });
        lines.flatten().cloned().collect()
    }

    fn kinds(&self) -> Vec<LineKind> {
        self.lines().iter().map(|l| l.kind).collect()
    }
}

/// An attempt at this cost.
fn attempt(cost: i64) -> Attempt {
    Attempt {
        provider: "p".to_owned(),
        model: "m".to_owned(),
        outcome: Ended::Ok,
        status: 200,
        usage: Usage { input: 10, output: 20, ..Usage::default() },
        estimated: false,
        cost: nano(cost),
        price: "p/*".to_owned(),
        latency_ms: 300,
        first_byte_ms: 100,
        ..Attempt::default()
    }
}

/// A report of attempts at these costs.
fn report(permit: &Permit, costs: &[i64]) -> Report {
    Report {
        permit: permit.id,
        key: permit.key.clone(),
        admitted_at: permit.at,
        holds: permit.holds.clone(),
        attempts: costs.iter().map(|cost| attempt(*cost)).collect(),
        ..Report::default()
    }
}
