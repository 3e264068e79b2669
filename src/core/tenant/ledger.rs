//! The ledger's state and the one function that changes its durable part: [`Ledger::apply`].

use super::facts::{Expired, Fact, Line, LineKind, Lost, Open, Snapshot};
use super::tally::TallyKey;
use super::{RETENTION, TIDY_AFTER};
use crate::budget::{Account, AccountKey};
use crate::config::{Budget, Config, Limit, Scope, Span};
use crate::ids::PermitId;
use crate::limit::Window;
use crate::protocol::{Counts, Totals, UsageRow};
use crate::units::{Amount, Millis, NanoUsd, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Longest time after its expiry that a permit may be corrected: the longest life of a permit.
const MAX_GRACE: Millis = 3_600_000;

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
    pub live: BTreeMap<u64, Open>,
    pub orphans: BTreeMap<PermitId, Open>,
    /// By life and account. Part of `orphaned` there.
    pub lost: BTreeMap<(u64, AccountKey), Lost>,
    pub expired: BTreeMap<PermitId, Expired>,
    pub totals: Totals,
    /// Counters since the last snapshot.
    pub tally: BTreeMap<TallyKey, Counts>,
    /// Whether the snapshot on disk is behind.
    pub dirty: bool,
    pub last_admission: Timestamp,
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
            windows: s.windows.into_iter().map(|(limit, subject, w)| ((limit, subject), w)).collect(),
            accounts: s.accounts.into_iter().collect(),
            live: s.live.into_iter().collect(),
            orphans: s.orphans.into_iter().collect(),
            lost: s.lost.into_iter().map(|(epoch, account, lost)| ((epoch, account), lost)).collect(),
            expired: s.expired.into_iter().collect(),
            totals: s.totals,
            ..Ledger::default()
        };
        ledger.presume(s.granted);
        ledger
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
                self.apply(&fact);
            }
            Fact::Lines { lines } => {
                // An unknown permit was counted in no window yet. Its line tells when it was given.
                for line in lines {
                    let unknown = line.permit.epoch == self.epoch && self.live.get(&line.permit.seq).is_some_and(|o| o.unknown);
                    if unknown {
                        self.count(&config.limits, &line.key, line.admitted_at);
                    }
                }
                self.apply(&fact);
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
        let mut known: BTreeMap<AccountKey, Amount> = BTreeMap::new();
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
            let limit = limit_of(&config.budgets, key).filter(|_| unknown > 0);
            let held = account.orphan(known, limit);
            if held > Amount::ZERO {
                self.lost.insert((epoch, key.clone()), Lost { held, charged: Amount::ZERO });
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
        for limit in limits.iter().filter(|l| l.scope == *scope && super::admit::plain(l)) {
            self.window(limit, subject).record(at, n);
        }
    }

    /// The window of a limit for a subject.
    pub fn window(&mut self, limit: &Limit, subject: &str) -> &mut Window {
        self.windows.entry((limit.id.clone(), subject.to_owned())).or_insert_with(|| Window::new(limit.window()))
    }

    /// A limit has changed its length: all its windows follow.
    pub fn resize_windows(&mut self, now: Timestamp, limit: &Limit) {
        for ((id, _), window) in &mut self.windows {
            if *id == limit.id {
                window.set_length(now, limit.window());
            }
        }
    }

    /// Applies a fact to the durable part of the state, and what hangs on it.
    pub fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Started { .. } => {}
            Fact::Credit { granted, accounts, .. } => {
                self.granted = self.granted.max(*granted);
                for hold in accounts {
                    self.accounts.entry(hold.account.clone()).or_default().credit = hold.amount;
                }
            }
            // A permit's lines stand side by side.
            Fact::Lines { lines } => lines.chunk_by(|a, b| a.permit == b.permit).for_each(|lines| self.apply_end(lines)),
        }
    }

    /// The lines of one permit.
    fn apply_end(&mut self, lines: &[Line]) {
        let mut growth: BTreeMap<&AccountKey, Amount> = BTreeMap::new();
        for line in lines {
            self.apply_line(line);
            for charge in &line.charges {
                let ended = if line.kind == LineKind::Corrected { Amount::ZERO } else { charge.hold };
                let sum = growth.entry(&charge.account).or_default();
                *sum = sum.plus(charge.cost).minus(ended);
            }
        }
        for (key, growth) in growth {
            let account = self.accounts.entry(key.clone()).or_default();
            account.excess = account.excess.plus(growth).at_least_zero();
        }
    }

    fn apply_line(&mut self, line: &Line) {
        let id = line.permit;
        let ours = id.epoch == self.epoch;
        let open = if ours { self.live.remove(&id.seq) } else { self.orphans.remove(&id) };
        let unknown = open.is_some_and(|o| o.unknown);
        let corrects = if line.kind == LineKind::Corrected { self.expired.remove(&id) } else { None };
        for charge in &line.charges {
            let account = self.accounts.entry(charge.account.clone()).or_default();
            account.spent = account.spent.plus(charge.cost);
            let lost = self.lost.get_mut(&(id.epoch, charge.account.clone()));
            match (line.kind, lost) {
                (LineKind::Corrected, Some(lost)) => lost.charged = lost.charged.minus(charge.hold).at_least_zero(),
                (LineKind::Corrected, None) => {}
                _ if ours => account.end(charge.hold),
                (kind, Some(lost)) if unknown => {
                    let part = charge.hold.min(lost.held);
                    lost.held = lost.held.minus(part);
                    account.end_orphan(part);
                    if kind == LineKind::Expired {
                        lost.charged = lost.charged.plus(charge.cost);
                    }
                }
                _ if unknown => {}
                _ => account.end_orphan(charge.hold),
            }
        }
        if line.kind == LineKind::Expired {
            // The truth may come as late as the permit's own life once more.
            let grace = line.at.since(line.admitted_at).clamp(60_000, MAX_GRACE);
            // While loading, this life's own permits look unknown. Their lines know better.
            let unknown = line.key.is_empty();
            let charges = if unknown { Vec::new() } else { line.charges.clone() };
            self.expired.insert(id, Expired { until: line.at.plus(grace), charges, unknown });
        }
        if unknown {
            self.free_lost(id.epoch);
        }
        self.tally_line(line, corrects.as_ref());
    }

    /// When no permit of a life is unknown any more, what it may have held besides was never given.
    fn free_lost(&mut self, epoch: u64) {
        let of_life = PermitId { epoch, seq: 0 }..=PermitId { epoch, seq: u64::MAX };
        if self.orphans.range(of_life).any(|(_, open)| open.unknown) {
            return;
        }
        for ((_, key), lost) in self.lost.iter_mut().filter(|((e, _), _)| *e == epoch) {
            if let Some(account) = self.accounts.get_mut(key) {
                account.end_orphan(lost.held);
            }
            lost.held = Amount::ZERO;
        }
    }

    /// The state to store, and the counters since the last one. With `tidy`, unused credit is returned.
    pub fn snapshot(&mut self, now: Timestamp, tidy: bool) -> (Snapshot, Vec<UsageRow>) {
        if tidy {
            self.granted = self.issued;
            self.accounts.values_mut().for_each(|a| a.credit = a.held);
        }
        self.windows.retain(|_, w| w.used(now) > 0);
        self.forget_expired(now);
        self.covered = self.journal;
        // Credit that is not handed out is still to be returned.
        self.dirty = self.granted != self.issued || self.accounts.values().any(|a| a.credit != a.held);
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
            accounts: self.accounts.iter().map(|(k, a)| (k.clone(), *a)).collect(),
            live: self.live.iter().map(|(k, o)| (*k, o.clone())).collect(),
            orphans: self.orphans.iter().map(|(k, o)| (*k, o.clone())).collect(),
            lost: self.lost.iter().map(|((epoch, account), lost)| (*epoch, account.clone(), *lost)).collect(),
            expired: self.expired.iter().map(|(k, e)| (*k, e.clone())).collect(),
            totals: self.totals,
        };
        (snapshot, rows.collect())
    }

    /// Drops expired permits past correction.
    fn forget_expired(&mut self, now: Timestamp) {
        self.expired.retain(|_, expired| expired.until > now);
        let lives: BTreeSet<u64> = self.expired.keys().map(|id| id.epoch).collect();
        self.lost.retain(|(epoch, _), lost| lost.held > Amount::ZERO || lives.contains(epoch));
    }

    /// Drops accounts that nobody can ask for any more.
    pub fn forget(&mut self, now: Timestamp, budgets: &[Budget]) {
        let oldest = Timestamp(now.0.saturating_sub(RETENTION));
        // The account of a running period may be older than the retention (quarter, year, total). It need
        // not be the newest either: a budget may have had a shorter period before.
        let newest: BTreeMap<(String, String), Timestamp> =
            self.accounts.keys().map(|k| ((k.rule.clone(), k.subject.clone()), k.period)).collect();
        self.accounts.retain(|k, a| {
            let running = budgets.iter().any(|b| b.id == k.rule && b.span.start(now) == k.period);
            let current = newest.get(&(k.rule.clone(), k.subject.clone())) == Some(&k.period);
            running || current || k.period >= oldest || a.held > Amount::ZERO || a.orphaned > Amount::ZERO
        });
    }

    /// When something is due.
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let permits = self.live.values().chain(self.orphans.values()).map(|o| o.until).min();
        let tidy = (self.dirty || !self.tally.is_empty()).then(|| now.plus(TIDY_AFTER));
        // Never sooner than a second, so that a late alarm cannot ring without pause.
        permits.into_iter().chain(tidy).min().map(|at| at.max(now.plus(1_000)))
    }
}

/// The limit of an account, while there is a budget that uses it.
fn limit_of(budgets: &[Budget], account: &AccountKey) -> Option<Amount> {
    let uses = |b: &&Budget| b.id == account.rule && (b.scope == Scope::Tenant) == account.subject.is_empty();
    budgets.iter().find(uses).map(Budget::highest_limit)
}

/// The account of a budget for a subject at `now`.
pub(super) fn account_key(budget: &str, subject: &str, span: Span, now: Timestamp) -> AccountKey {
    AccountKey {
        rule: budget.to_owned(),
        subject: subject.to_owned(),
        period: span.start(now),
        measure: span.measure(),
        by_provider: false,
    }
}
