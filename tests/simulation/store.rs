//! A disk that keeps what the object writes. It survives kills. What a new life reads has been through
//! text, the way the real disk keeps it.
//!
//! It also keeps what nobody asks it to keep (trimmed rows, the snapshot before the last), so that the
//! oracle can compare.

use crate::mutants::Mutant;
use std::collections::BTreeMap;
use tollgate_core::price::PriceBook;
use tollgate_core::protocol::{Counts, StoredAnswer, UsageRow};
use tollgate_core::tenant::{Claim, Fact, Key, Snapshot, Stored, StoredConfig, StoredSecret, Write};
use tollgate_core::units::Timestamp;

/// What a minute counter is counted under.
type UsageKey = (Timestamp, String, String, String, u16, String);

#[derive(Default)]
pub struct Store {
    pub mutant: Option<Mutant>,
    journal: BTreeMap<u64, (Timestamp, Vec<Fact>)>,
    snapshot: Option<Snapshot>,
    configs: BTreeMap<u64, StoredConfig>,
    keys: BTreeMap<String, Key>,
    secrets: BTreeMap<String, StoredSecret>,
    prices: Option<PriceBook>,
    usage: BTreeMap<UsageKey, Counts>,
    claims: BTreeMap<(String, String), Claim>,
    pub answers: BTreeMap<(String, String), StoredAnswer>,
    pub alarm: Option<Timestamp>,
    /// The latest time of a turn that wrote to the ledger.
    pub seen: Timestamp,
    /// Rows that were trimmed, and the snapshot before the last with its configuration's version.
    archive: BTreeMap<u64, Vec<Fact>>,
    before: Option<(Snapshot, u64)>,
    /// All counters ever added, by outcome.
    pub counted: BTreeMap<String, Counts>,
}

fn through_text<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

impl Store {
    pub fn new(mutant: Option<Mutant>) -> Store {
        Store { mutant, ..Store::default() }
    }

    /// Commits the writes of a turn: all of them, or this is not called.
    pub fn apply(&mut self, clock: Timestamp, writes: &[Write], alarm: Option<Timestamp>) {
        for write in writes {
            match write {
                Write::Append { n, at, facts } => {
                    assert!(!self.journal.contains_key(n), "journal row {n} is written twice");
                    let facts = self.mutated(facts);
                    self.journal.insert(*n, (*at, facts.clone()));
                    self.archive.insert(*n, facts);
                    self.seen = self.seen.max(clock);
                }
                Write::Snapshot(snapshot) => {
                    let version = self.configs.keys().last().copied().unwrap_or(0);
                    self.before = self.snapshot.take().map(|s| (s, version));
                    self.snapshot = Some(self.mutated_snapshot(snapshot));
                    self.seen = self.seen.max(clock);
                }
                Write::Claim(claim) => {
                    self.claims.insert((claim.key.clone(), claim.hash.clone()), (**claim).clone());
                }
                Write::Answer { key, hash, answer } => {
                    self.answers.insert((key.clone(), hash.clone()), (**answer).clone());
                }
                Write::Unclaim { key, hash } => {
                    self.claims.remove(&(key.clone(), hash.clone()));
                    self.answers.remove(&(key.clone(), hash.clone()));
                }
                // Denials may be lost by a kill: nothing hangs on them.
                Write::Violations(_) => {}
                // The books do not hang on these.
                Write::Savings(_) | Write::Decision(_) | Write::TrimDecisions { .. } => {}
                Write::Usage(rows) => rows.iter().for_each(|row| self.add_usage(row)),
                Write::Config(config) => {
                    // An older snapshot is compared with a newer one only under the same configuration.
                    self.before = None;
                    self.configs.insert(config.version, (**config).clone());
                }
                Write::Key(key) => {
                    self.keys.insert(key.hash.clone(), (**key).clone());
                }
                Write::Secret(secret) => {
                    self.secrets.insert(secret.given.name.clone(), (**secret).clone());
                }
                Write::Unsecret { name } => {
                    self.secrets.remove(name);
                }
                Write::Prices(book) => self.prices = Some((**book).clone()),
                Write::Trim { before, up_to } => {
                    self.journal.retain(|n, (at, _)| n > up_to || *at >= *before);
                    self.usage.retain(|key, _| key.0 >= *before);
                    let newest = self.configs.keys().last().copied();
                    self.configs.retain(|v, config| Some(*v) == newest || config.at >= *before);
                }
                Write::DeleteAll => {
                    *self = Store { mutant: self.mutant, alarm: self.alarm, ..Store::default() };
                }
            }
        }
        if alarm.is_some() && self.mutant != Some(Mutant::AlarmsAreLost) {
            self.alarm = alarm;
        }
    }

    fn add_usage(&mut self, row: &UsageRow) {
        let key = (row.minute, row.key.clone(), row.provider.clone(), row.model.clone(), row.status, row.outcome.clone());
        let times = if self.mutant == Some(Mutant::CountersAddTwice) { 2 } else { 1 };
        for _ in 0..times {
            self.usage.entry(key.clone()).or_default().add(row.counts);
            self.counted.entry(row.outcome.clone()).or_default().add(row.counts);
        }
    }

    /// Minute counters in `[from, to)`.
    pub fn usage(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = (&UsageKey, &Counts)> {
        self.usage.iter().filter(move |(key, _)| from <= key.0 && key.0 < to)
    }

    /// The object was killed.
    pub fn killed(&mut self) {
        let covered = self.snapshot.as_ref().map_or(0, |s| s.journal);
        if self.mutant == Some(Mutant::LastRowIsLost) && self.journal.keys().last().is_some_and(|n| *n > covered) {
            self.journal.pop_last();
        }
    }

    /// What a new life of the object finds.
    pub fn stored(&self) -> Stored {
        let snapshot: Option<Snapshot> = self.snapshot.as_ref().map(through_text);
        let after = snapshot.as_ref().map_or(0, |s| s.journal);
        let mut journal: Vec<(u64, Vec<Fact>)> = self.journal.range(after + 1..).map(|(n, (_, facts))| (*n, through_text(facts))).collect();
        if self.mutant == Some(Mutant::RowsReplayTwice) {
            journal = journal.into_iter().flat_map(|row| [row.clone(), row]).collect();
        }
        Stored {
            config: self.configs.values().last().map(through_text),
            keys: self.keys.values().map(through_text).collect(),
            secrets: self.secrets.values().map(through_text).collect(),
            prices: self.prices.as_ref().map(through_text),
            snapshot,
            journal,
            claims: self.claims.values().filter(|_| self.mutant != Some(Mutant::ClaimsAreForgotten)).map(through_text).collect(),
        }
    }

    /// The same, by the longer way: from the snapshot before the last, where there is one of the same
    /// configuration.
    pub fn stored_earlier(&self, now: Stored) -> Option<Stored> {
        let (before, version) = self.before.as_ref()?;
        if now.config.as_ref().is_none_or(|c| c.version != *version) {
            return None;
        }
        let journal = self.archive.range(before.journal + 1..).map(|(n, facts)| (*n, facts.clone())).collect();
        Some(Stored { snapshot: Some(through_text(before)), journal, ..now })
    }

    fn mutated(&self, facts: &[Fact]) -> Vec<Fact> {
        match self.mutant {
            Some(Mutant::CreditIsForgotten) => facts.iter().filter(|f| !matches!(f, Fact::Credit { .. })).cloned().collect(),
            Some(Mutant::ProbesAreForgotten) => facts.iter().filter(|f| !matches!(f, Fact::Probe { .. })).cloned().collect(),
            Some(Mutant::PermitsLeaveNoOrphans) => {
                let mut facts = facts.to_vec();
                for fact in &mut facts {
                    if let Fact::Credit { granted, .. } = fact {
                        *granted = 0;
                    }
                }
                facts
            }
            _ => facts.to_vec(),
        }
    }

    fn mutated_snapshot(&self, snapshot: &Snapshot) -> Snapshot {
        let mut snapshot = snapshot.clone();
        match self.mutant {
            Some(Mutant::CreditIsForgotten) => {
                snapshot.granted = snapshot.issued;
                snapshot.accounts.iter_mut().for_each(|(_, a)| a.credit = a.held);
            }
            Some(Mutant::PermitsLeaveNoOrphans) => snapshot.granted = snapshot.issued,
            Some(Mutant::WindowsAreForgotten) => snapshot.windows.clear(),
            Some(Mutant::AgesAreForgotten) => snapshot.accounts.retain(|(_, account)| account.age.is_none()),
            _ => {}
        }
        snapshot
    }
}
