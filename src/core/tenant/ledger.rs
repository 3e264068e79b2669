//! The ledger's state and the one function that changes its durable part: [`Ledger::apply`].

use super::facts::{Expired, Fact, Lost, Open, Snapshot};
use super::health::Health;
use super::rules::{cap, of_rule, plain, shape};
use super::tally::TallyKey;
use super::violations::ViolationKey;
use super::{RETENTION, TIDY_AFTER};
use crate::budget::{Account, AccountKey, Measure};
use crate::config::{Config, Limit, Scope};
use crate::ids::PermitId;
use crate::limit::Window;
use crate::limit::{Age, Shape};
use crate::map::{Map, Set, tree};
use crate::protocol::{Counts, Totals, UsageRow, ViolationRow};
use crate::savings::SavingsRow;
use crate::units::{Amount, Millis, NanoUsd, Timestamp};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ledger {
    /// Number of the last journal row.
    pub journal: u64,
    /// The last row that the snapshot on disk contains.
    pub covered: u64,
    pub epoch: u64,
    pub issued: u64,
    pub granted: u64,
    pub windows: BTreeMap<(String, String), Window>,
    pub accounts: BTreeMap<AccountKey, Account>,
    /// How many of them each rule has.
    pub subjects: Map<AccountKey, usize>,
    pub live: BTreeMap<u64, Open>,
    pub orphans: BTreeMap<PermitId, Open>,
    /// By life and account. Part of `orphaned` there.
    pub lost: Map<(u64, AccountKey), Lost>,
    pub expired: Map<PermitId, Expired>,
    pub totals: Totals,
    /// Counters since the last snapshot.
    pub tally: Map<TallyKey, Counts>,
    /// Denials since the last snapshot.
    pub violations: Map<ViolationKey, u64>,
    /// Savings since the last snapshot, by day, model and cause.
    pub savings: Map<(Timestamp, String, String), SavingsRow>,
    /// What is known of targets.
    pub health: Health,
    /// Promises of its own that the ledger found broken in this turn.
    pub broken: Vec<String>,
    /// Whether the snapshot on disk is behind.
    pub dirty: bool,
    pub last_admission: Timestamp,
    /// Whether the journal is being replayed: what this life holds is not known then.
    pub loading: bool,
    /// The beginning of this life, until it is in the journal.
    unannounced: Option<Fact>,
}

impl Ledger {
    pub fn restore(s: Snapshot) -> Ledger {
        let mut ledger = Ledger {
            journal: s.journal,
            covered: s.journal,
            epoch: s.epoch,
            issued: s.issued,
            granted: s.issued,
            windows: tree(s.windows.into_iter().map(|(limit, subject, w)| ((limit, subject), w))),
            accounts: tree(s.accounts),
            live: tree(s.live),
            orphans: tree(s.orphans),
            lost: s.lost.into_iter().map(|(epoch, account, lost)| ((epoch, account), lost)).collect(),
            expired: s.expired.into_iter().collect(),
            totals: s.totals,
            health: Health::restore(s.targets, s.judged, s.told),
            ..Ledger::default()
        };
        ledger.presume(s.granted);
        ledger.count_subjects();
        ledger
    }

    fn count_subjects(&mut self) {
        self.subjects.clear();
        for key in self.accounts.keys() {
            let count = self.subjects.entry(of_rule(key)).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// While loading, every permit that may have been given counts as given, until a line ends it.
    fn presume(&mut self, granted: u64) {
        for seq in self.granted.saturating_add(1)..=granted {
            let unknown = Open {
                at: Timestamp(0),
                until: Timestamp(0),
                key: String::new(),
                holds: Vec::new(),
                input_cost: NanoUsd::ZERO,
                input_tokens: 0,
                worst_case: NanoUsd::ZERO,
                failed: Vec::new(),
                unknown: true,
            };
            self.live.insert(seq, unknown);
        }
        self.granted = self.granted.max(granted);
        self.issued = self.granted;
    }

    /// Applies a fact from the journal. `config` is the one under which it was written: a change of
    /// configuration writes a snapshot.
    pub fn replay(&mut self, config: &Config, fact: Fact) {
        match &fact {
            Fact::Started { epoch, at, lifetime, keys } => {
                self.orphan(*at, config, keys, *lifetime);
                self.epoch = *epoch;
            }
            Fact::Credit { granted, .. } => {
                self.presume(*granted);
                self.apply(config, &fact);
            }
            Fact::Lines { lines } => {
                // An unknown permit was counted in no window yet. Its line tells when it was given.
                for line in lines {
                    let unknown = line.permit.epoch == self.epoch && self.live.get(&line.permit.seq).is_some_and(|o| o.unknown);
                    if unknown {
                        self.count(&config.limits, &line.key, line.admitted_at);
                    }
                }
                self.apply(config, &fact);
            }
            Fact::Extended { .. } | Fact::Failed { .. } | Fact::Crossed { .. } | Fact::Probe { .. } | Fact::Feedback { .. } => {
                self.apply(config, &fact);
            }
        }
    }

    /// Begins a life at `now`. Nothing is written yet: a life that hands out nothing, after one that
    /// left nothing open, leaves no trace.
    pub fn start(&mut self, now: Timestamp, config: &Config, keys: &[String], lifetime: Millis) {
        // Larger than any life before, also than those of a deleted tenant of the same name.
        let epoch = self.epoch.saturating_add(1).max(now.0.max(1).unsigned_abs());
        // How long unknown permits are waited for must be written down, or the next life would wait anew.
        self.dirty |= self.live.values().any(|open| open.unknown);
        self.orphan(now, config, keys, lifetime);
        self.epoch = epoch;
        self.loading = false;
        self.unannounced = Some(Fact::Started { epoch, at: now, lifetime, keys: keys.to_vec() });
    }

    /// The fact that opens this life's part of the journal, once.
    pub fn announce(&mut self) -> Option<Fact> {
        self.unannounced.take()
    }

    /// Turns what is under way into orphans of the life that ends.
    fn orphan(&mut self, now: Timestamp, config: &Config, keys: &[String], lifetime: Millis) {
        let epoch = self.epoch;
        let mut unknown = 0_u64;
        let mut known: Map<AccountKey, Amount> = Map::new();
        for (seq, mut open) in std::mem::take(&mut self.live) {
            if open.unknown {
                unknown = unknown.saturating_add(1);
                open.at = now;
                open.until = now.plus(lifetime);
            }
            for hold in &open.holds {
                let sum = known.entry(hold.account.clone()).or_default();
                *sum = sum.plus(hold.amount);
            }
            self.orphans.insert(PermitId { epoch, seq }, open);
        }
        if unknown > 0 {
            // Whose they were is not known, so they count for everybody.
            self.count_scope(&config.limits, &Scope::Tenant, "", now, unknown);
            keys.iter().for_each(|key| self.count_scope(&config.limits, &Scope::Key, key, now, unknown));
        }
        for (key, account) in &mut self.accounts {
            let known = known.get(key).copied().unwrap_or_default();
            let limit = cap(config, key).filter(|_| unknown > 0);
            let (held, counted) = account.orphan(now, known, limit);
            if held > Amount::ZERO {
                self.lost.insert((epoch, key.clone()), Lost { held, charged: Amount::ZERO, counted, at: now });
            }
        }
        (self.issued, self.granted) = (0, 0);
    }

    /// Counts one request in the windows of the tenant and of `key`.
    pub fn count(&mut self, limits: &[Limit], key: &str, at: Timestamp) {
        self.count_scope(limits, &Scope::Tenant, "", at, 1);
        if !key.is_empty() {
            self.count_scope(limits, &Scope::Key, key, at, 1);
        }
    }

    fn count_scope(&mut self, limits: &[Limit], scope: &Scope, subject: &str, at: Timestamp, n: u64) {
        for limit in limits.iter().filter(|l| plain(l) && l.scope == *scope) {
            self.window(limit, subject).record(at, n);
        }
    }

    /// The window of a limit for a subject.
    pub fn window(&mut self, limit: &Limit, subject: &str) -> &mut Window {
        self.windows.entry((limit.id.clone(), subject.to_owned())).or_insert_with(|| Window::new(limit.window()))
    }

    /// The account, made if it is not there.
    pub fn account(&mut self, config: &Config, key: &AccountKey) -> &mut Account {
        if !self.accounts.contains_key(key) {
            self.accounts.insert(key.clone(), Account::new(shape(config, key)));
            let count = self.subjects.entry(of_rule(key)).or_default();
            *count = count.saturating_add(1);
        }
        self.accounts.entry(key.clone()).or_default()
    }

    /// Looks at an account, or at an empty one that is not kept.
    pub fn look<R>(&mut self, config: &Config, key: &AccountKey, at: impl FnOnce(&mut Account) -> R) -> R {
        match self.accounts.get_mut(key) {
            Some(account) => at(account),
            None => at(&mut Account::new(shape(config, key))),
        }
    }

    /// The rules have changed. What was used stays used, however it is counted from now on.
    pub fn fit(&mut self, now: Timestamp, config: &Config) {
        for limit in config.limits.iter().filter(|l| l.measure == Measure::Requests) {
            if plain(limit) {
                self.accounts_to_windows(now, limit);
            } else if matches!(limit.scope, Scope::Tenant | Scope::Key) {
                let gone: Vec<_> = self.windows.keys().filter(|(id, _)| *id == limit.id).cloned().collect();
                for key in gone {
                    if let Some(window) = self.windows.remove(&key) {
                        let account = AccountKey::timeless(&limit.id, &key.1, Measure::Requests);
                        self.account(config, &account).age = Some(Age::Window(window));
                    }
                }
            }
            for ((id, _), window) in &mut self.windows {
                if *id == limit.id {
                    window.set_length(now, limit.window());
                }
            }
        }
        for (key, account) in &mut self.accounts {
            if let (Some(age), Some(shape)) = (&mut account.age, shape(config, key)) {
                // The rule is gone, perhaps for a moment only.
                if cap(config, key).is_some() {
                    age.fit(now, shape);
                }
            }
        }
    }

    /// What a limit counted in accounts goes on counting in windows. The accounts stay for the permits that
    /// hold something there, with nothing in them, so that it moves once.
    fn accounts_to_windows(&mut self, now: Timestamp, limit: &Limit) {
        let shape = Shape::Window(limit.window());
        for (key, account) in &mut self.accounts {
            let same = key.rule == limit.id && key.measure == Measure::Requests && !key.by_provider;
            let Some(age) = account.age.as_mut().filter(|_| same) else { continue };
            let mut age = std::mem::replace(age, Age::new(shape));
            let used = age.used(now).whole();
            age.fit(now, shape);
            let place = self.windows.entry((limit.id.clone(), key.subject.clone()));
            match (place, age) {
                (Entry::Vacant(empty), Age::Window(window)) if used > 0 => drop(empty.insert(window)),
                (Entry::Occupied(mut window), _) => window.get_mut().record(now, used),
                _ => {}
            }
        }
    }

    /// The state to store, and the counters since the last one. With `tidy`, unused credit is returned.
    pub fn snapshot(&mut self, now: Timestamp, tidy: bool) -> (Snapshot, Vec<UsageRow>, Vec<ViolationRow>, Vec<SavingsRow>) {
        if tidy {
            self.granted = self.issued;
            self.accounts.values_mut().for_each(|a| a.credit = a.held);
        }
        self.windows.retain(|_, w| w.used(now) > 0);
        self.accounts.retain(|_, account| !account.is_idle(now));
        self.count_subjects();
        self.forget_expired(now);
        self.covered = self.journal;
        // Credit that is not handed out is still to be returned.
        self.dirty = self.granted != self.issued || self.accounts.values().any(|a| a.credit != a.held);
        let violations = self.take_violations();
        let savings = std::mem::take(&mut self.savings).into_values().collect();
        let rows = std::mem::take(&mut self.tally).into_iter().map(|(k, counts)| UsageRow {
            minute: k.minute,
            key: k.key,
            provider: k.provider,
            model: k.model,
            status: k.status,
            outcome: k.outcome.to_owned(),
            counts,
        });
        let snapshot = Snapshot {
            journal: self.journal,
            at: now,
            epoch: self.epoch,
            issued: self.issued,
            granted: self.granted,
            windows: self.windows.iter().map(|((l, s), w)| (l.clone(), s.clone(), w.clone())).collect(),
            accounts: self.accounts.iter().map(|(k, a)| (k.clone(), a.clone())).collect(),
            live: self.live.iter().map(|(k, o)| (*k, o.clone())).collect(),
            orphans: self.orphans.iter().map(|(k, o)| (*k, o.clone())).collect(),
            lost: self.lost.iter().map(|((epoch, account), lost)| (*epoch, account.clone(), *lost)).collect(),
            expired: self.expired.iter().map(|(k, e)| (*k, e.clone())).collect(),
            totals: self.totals,
            targets: self.health.targets(),
            judged: self.health.judged(),
            told: self.health.told(),
        };
        (snapshot, rows.collect(), violations, savings)
    }

    /// Drops expired permits past correction.
    fn forget_expired(&mut self, now: Timestamp) {
        self.expired.retain(|_, expired| expired.until > now);
        let lives: Set<u64> = self.expired.keys().map(|id| id.epoch).collect();
        self.lost.retain(|(epoch, _), lost| lost.held > Amount::ZERO || lives.contains(epoch));
    }

    /// Drops accounts that nobody can ask for any more.
    pub fn forget(&mut self, now: Timestamp, config: &Config) {
        let oldest = Timestamp(now.0.saturating_sub(RETENTION));
        // The account of a running period may be older than the retention (quarter, year, total). It need
        // not be the newest either: a budget may have had a shorter period before.
        let of_budgets = self.accounts.keys().filter(|k| k.measure == Measure::Budget);
        let newest: Map<(String, String), Timestamp> = of_budgets.map(|k| ((k.rule.clone(), k.subject.clone()), k.period)).collect();
        self.accounts.retain(|k, a| {
            let running = config.budgets.iter().any(|b| b.id == k.rule && b.span.start(now) == k.period);
            let current = newest.get(&(k.rule.clone(), k.subject.clone())) == Some(&k.period);
            let kept = k.measure != Measure::Budget || running || current || k.period >= oldest;
            kept || a.held > Amount::ZERO || a.orphaned > Amount::ZERO
        });
    }

    /// When something is due.
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let permits = self.live.values().chain(self.orphans.values()).map(|o| o.until).min();
        let counted = !self.tally.is_empty() || !self.violations.is_empty() || !self.savings.is_empty();
        let tidy = (self.dirty || counted).then(|| now.plus(TIDY_AFTER));
        // Never sooner than a second, so that a late alarm cannot ring without pause.
        permits.into_iter().chain(tidy).min().map(|at| at.max(now.plus(1_000)))
    }
}
