//! The ledger's state and the one function that changes its durable part: [`Ledger::apply`].

use super::facts::{Charge, Fact, Line, LineKind, Open, Snapshot};
use super::{MAX_TALLY, RETENTION, TIDY_AFTER};
use crate::budget::{Account, AccountKey, Period};
use crate::config::{Limit, Scope};
use crate::ids::PermitId;
use crate::limit::Window;
use crate::protocol::{Counts, Outcome, Totals, UsageRow};
use crate::units::{Millis, NanoUsd, Timestamp};
use std::collections::BTreeMap;

/// What a minute counter is counted under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TallyKey {
    pub minute: Timestamp,
    pub key: String,
    pub provider: String,
    pub model: String,
    pub status: u16,
    pub outcome: &'static str,
}

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
    pub expired: BTreeMap<PermitId, (Timestamp, Vec<Charge>)>,
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
            expired: s.expired.into_iter().map(|(id, until, charges)| (id, (until, charges))).collect(),
            totals: s.totals,
            ..Ledger::default()
        };
        ledger.presume(s.granted);
        ledger
    }

    /// While loading, every permit that may have been given counts as given, until a line ends it.
    fn presume(&mut self, granted: u64) {
        for seq in self.granted.saturating_add(1)..=granted {
            let unknown = Open { at: Timestamp(0), until: Timestamp(0), key: String::new(), holds: Vec::new(), input_cost: NanoUsd::ZERO, unknown: true };
            self.live.insert(seq, unknown);
        }
        self.granted = self.granted.max(granted);
        self.issued = self.granted;
    }

    /// Applies a fact from the journal.
    pub fn replay(&mut self, limits: &[Limit], fact: Fact) {
        match &fact {
            Fact::Started { epoch, at, lifetime, keys } => {
                self.orphan(*at, limits, keys, *lifetime);
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
                        self.count(limits, &line.key, line.admitted_at);
                    }
                }
                self.apply(&fact);
            }
        }
    }

    /// Begins a life at `now`. Nothing is written yet: a life that hands out nothing leaves no trace.
    pub fn start(&mut self, now: Timestamp, limits: &[Limit], keys: &[String], lifetime: Millis) {
        // Larger than any life before, also than those of a deleted tenant of the same name.
        let epoch = self.epoch.saturating_add(1).max(now.0.max(1).unsigned_abs());
        self.orphan(now, limits, keys, lifetime);
        self.epoch = epoch;
        self.unannounced = Some(Fact::Started { epoch, at: now, lifetime, keys: keys.to_vec() });
    }

    /// The fact that opens this life's part of the journal, once.
    pub fn announce(&mut self) -> Option<Fact> {
        self.unannounced.take()
    }

    /// Turns what is under way into orphans of the life that ends.
    fn orphan(&mut self, now: Timestamp, limits: &[Limit], keys: &[String], lifetime: Millis) {
        let epoch = self.epoch;
        for (seq, mut open) in std::mem::take(&mut self.live) {
            if open.unknown {
                open.at = now;
                self.count(limits, "", now);
                for key in keys {
                    self.count_key(limits, key, now);
                }
                open.until = now.plus(lifetime);
            }
            self.orphans.insert(PermitId { epoch, seq }, open);
        }
        if self.orphans.is_empty() {
            self.accounts.values_mut().for_each(|a| a.credit = NanoUsd::ZERO);
        }
        self.accounts.values_mut().for_each(Account::orphan);
        (self.issued, self.granted) = (0, 0);
    }

    /// Counts one request in the windows of the tenant and of `key`.
    pub fn count(&mut self, limits: &[Limit], key: &str, at: Timestamp) {
        for limit in limits.iter().filter(|l| l.scope == Scope::Tenant) {
            self.window(limit, "").record(at, 1);
        }
        if !key.is_empty() {
            self.count_key(limits, key, at);
        }
    }

    fn count_key(&mut self, limits: &[Limit], key: &str, at: Timestamp) {
        for limit in limits.iter().filter(|l| l.scope == Scope::Key) {
            self.window(limit, key).record(at, 1);
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
            Fact::Credit { granted, accounts } => {
                self.granted = self.granted.max(*granted);
                for hold in accounts {
                    self.accounts.entry(hold.account.clone()).or_default().credit = hold.amount;
                }
            }
            Fact::Lines { lines } => lines.iter().for_each(|line| self.apply_line(line)),
        }
    }

    fn apply_line(&mut self, line: &Line) {
        let ours = line.permit.epoch == self.epoch;
        for charge in &line.charges {
            let account = self.accounts.entry(charge.account.clone()).or_default();
            if ours { account.settle(charge.hold, charge.cost) } else { account.settle_orphan(charge.hold, charge.cost) }
        }
        let open = if ours { self.live.remove(&line.permit.seq) } else { self.orphans.remove(&line.permit) };
        match line.kind {
            LineKind::Expired => {
                // The truth may come as late as the permit's own life once more.
                let grace = open.map_or(0, |o| o.until.since(o.at)).max(60_000);
                self.expired.insert(line.permit, (line.at.plus(grace), line.charges.clone()));
            }
            LineKind::Corrected => {
                self.expired.remove(&line.permit);
            }
            LineKind::Settled | LineKind::Released => {}
        }
        if self.orphans.is_empty() {
            self.accounts.values_mut().for_each(|a| a.orphaned = NanoUsd::ZERO);
        }
        self.tally_line(line);
    }

    fn tally_line(&mut self, line: &Line) {
        let outcome = match (line.kind, line.attempt.as_ref().map(|a| a.outcome)) {
            (LineKind::Released, _) => return,
            (LineKind::Expired, _) => "expired",
            (LineKind::Corrected, _) => "corrected",
            (LineKind::Settled, Some(outcome)) => outcome_name(outcome),
            (LineKind::Settled, None) => "ok",
        };
        // Each account is charged the same; the request cost it once.
        let cost = line.attempt.as_ref().map(|a| a.cost).filter(|_| line.kind == LineKind::Settled);
        let cost = cost.or_else(|| line.charges.first().map(|c| c.cost)).unwrap_or_default();
        let counts = Counts {
            requests: u64::from(line.kind != LineKind::Corrected),
            input_tokens: line.attempt.as_ref().map_or(0, |a| a.usage.input),
            output_tokens: line.attempt.as_ref().map_or(0, |a| a.usage.output),
            cost,
            latency_ms: line.attempt.as_ref().map_or(0, |a| u64::from(a.latency_ms)),
        };
        self.totals.requests = self.totals.requests.saturating_add(counts.requests);
        self.totals.cost = self.totals.cost.plus(cost);
        let (provider, model, status) = match &line.attempt {
            Some(a) => (a.provider.clone(), a.model.clone(), a.status),
            None => (String::new(), String::new(), 0),
        };
        self.tally(TallyKey { minute: minute(line.at), key: line.key.clone(), provider, model, status, outcome }, counts);
    }

    /// Adds to a minute counter.
    pub fn tally(&mut self, mut key: TallyKey, counts: Counts) {
        if self.tally.len() >= MAX_TALLY && !self.tally.contains_key(&key) {
            "other".clone_into(&mut key.model);
        }
        self.tally.entry(key).or_default().add(counts);
    }

    /// The state to store, and the counters since the last one. With `idle`, unused credit is returned.
    pub fn snapshot(&mut self, now: Timestamp, idle: bool) -> (Snapshot, Vec<UsageRow>) {
        if idle {
            self.granted = self.issued;
            self.accounts.values_mut().for_each(|a| a.credit = a.held);
        }
        self.windows.retain(|_, w| w.used(now) > 0);
        self.covered = self.journal;
        self.dirty = false;
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
            epoch: self.epoch,
            issued: self.issued,
            granted: self.granted,
            windows: self.windows.iter().map(|((l, s), w)| (l.clone(), s.clone(), w.clone())).collect(),
            accounts: self.accounts.iter().map(|(k, a)| (k.clone(), *a)).collect(),
            live: self.live.iter().map(|(k, o)| (*k, o.clone())).collect(),
            orphans: self.orphans.iter().map(|(k, o)| (*k, o.clone())).collect(),
            expired: self.expired.iter().map(|(k, (until, c))| (*k, *until, c.clone())).collect(),
            totals: self.totals,
        };
        (snapshot, rows.collect())
    }

    /// Drops what nobody can ask for any more: old accounts, and expired permits past correction.
    pub fn forget(&mut self, now: Timestamp) {
        self.expired.retain(|_, (until, _)| *until > now);
        let oldest = Timestamp(now.0.saturating_sub(RETENTION));
        // The account of a running period may be older than the retention (quarter, year, total), so
        // only those go that no later account of the same budget and subject keeps company.
        let newest: BTreeMap<(String, String), Timestamp> =
            self.accounts.keys().map(|k| ((k.budget.clone(), k.subject.clone()), k.period)).collect();
        self.accounts.retain(|k, a| {
            let current = newest.get(&(k.budget.clone(), k.subject.clone())) == Some(&k.period);
            current || k.period >= oldest || a.held > NanoUsd::ZERO || a.orphaned > NanoUsd::ZERO
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

/// Start of the minute.
pub(super) fn minute(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_sub(at.0.checked_rem_euclid(60_000).unwrap_or(0)))
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Error => "error",
        Outcome::Timeout => "timeout",
        Outcome::Cut => "cut",
        Outcome::ClientGone => "client_gone",
        Outcome::Cached => "cached",
    }
}

/// The account of a budget for a subject at `now`.
pub(super) fn account_key(budget: &str, subject: &str, period: Period, now: Timestamp) -> AccountKey {
    AccountKey { budget: budget.to_owned(), subject: subject.to_owned(), period: period.start(now) }
}
