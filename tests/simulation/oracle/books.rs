//! Compares the object's own books with what is so.

use super::amounts::ages;
use super::demand::plain;
use super::{Broken, Oracle, span, subject};
use std::collections::{BTreeMap, BTreeSet};
use tollgate_core::budget::{Account, AccountKey, Measure};
use tollgate_core::config::Scope;
use tollgate_core::protocol::{Live, Reply};
use tollgate_core::tenant::{RETENTION, Snapshot, Write};

impl Oracle {
    /// Looks into a snapshot of the running object.
    ///
    /// # Errors
    /// When the books do not show what is so.
    pub fn books(&self, snapshot: &Snapshot) -> Result<(), Broken> {
        let accounts: BTreeMap<&AccountKey, &Account> = snapshot.accounts.iter().map(|(k, a)| (k, a)).collect();
        for (key, charged) in self.charged.iter().filter(|(key, _)| !ages(key)) {
            match accounts.get(key) {
                Some(account) if account.spent.get() == *charged => {}
                Some(account) => return Err(format!("{charged} were charged to {key:?}, the books show {account:?}")),
                None if *charged == 0 || self.may_be_forgotten(key) => {}
                None => return Err(format!("{key:?} is gone from the books with {charged} spent")),
            }
        }
        let live: BTreeSet<_> = snapshot.live.iter().map(|(seq, _)| (snapshot.epoch, *seq)).collect();
        let orphans: BTreeSet<_> = snapshot.orphans.iter().map(|(id, _)| (id.epoch, id.seq)).collect();
        for (id, _) in self.unfinished() {
            let here = if id.epoch == snapshot.epoch { &live } else { &orphans };
            if !here.contains(&(id.epoch, id.seq)) {
                return Err(format!("the permit {id} is under way, and the books do not know it"));
            }
        }
        for (key, account) in &snapshot.accounts {
            let (mine, theirs) = (self.held(key, snapshot.epoch, true), self.held(key, snapshot.epoch, false));
            let kept: i64 = snapshot.live.iter().flat_map(|(_, o)| &o.holds).filter(|h| h.account == *key).map(|h| h.amount.get()).sum();
            if account.held.get() != kept || kept < mine {
                return Err(format!("{mine} are held in {key:?}, the books show {account:?} for {kept}"));
            }
            if account.credit < account.held {
                return Err(format!("more is held than the disk knows: {key:?}, {account:?}"));
            }
            if account.orphaned.get() < theirs {
                return Err(format!("{theirs} of earlier lives are held in {key:?}, the books show {account:?}"));
            }
        }
        Ok(())
    }

    /// Old accounts may have been dropped.
    pub(super) fn trimmed(&mut self, writes: &[Write]) {
        let kept = writes.iter().rev().find_map(|w| if let Write::Snapshot(s) = w { Some(s) } else { None });
        let kept: BTreeSet<&AccountKey> = kept.iter().flat_map(|s| s.accounts.iter().map(|(key, _)| key)).collect();
        let gone = |key: &AccountKey| !kept.contains(key) && self.may_be_forgotten(key);
        let gone: Vec<AccountKey> = self.charged.keys().filter(|key| gone(key)).cloned().collect();
        for key in gone {
            for sums in [&mut self.charged, &mut self.open, &mut self.exposed, &mut self.excess] {
                sums.remove(&key);
            }
        }
    }

    /// Two ways to the same state.
    ///
    /// # Errors
    /// When they end elsewhere.
    pub fn same(&self, short: &Snapshot, long: &Snapshot) -> Result<(), Broken> {
        let spent = |s: &Snapshot| -> BTreeMap<AccountKey, i64> {
            let all = s.accounts.iter().map(|(k, a)| (k.clone(), a.spent.get()));
            all.filter(|(key, spent)| *spent != 0 && !self.may_be_forgotten(key)).collect()
        };
        let sums = |s: &Snapshot| (spent(s), s.totals.requests, s.totals.cost);
        if sums(short) != sums(long) {
            return Err(format!("a snapshot leads to {:?}, the journal to {:?}", sums(short), sums(long)));
        }
        if (&short.targets, &short.judged, &short.told) != (&long.targets, &long.judged, &long.told) {
            return Err(format!("of targets a snapshot knows {:?}, the journal {:?}", short.targets, long.targets));
        }
        Ok(())
    }

    /// Old accounts go, but not the one that a budget uses now.
    fn may_be_forgotten(&self, key: &AccountKey) -> bool {
        let budgets = self.config.iter().flat_map(|c| &c.config.budgets);
        let current = budgets.filter(|b| b.id == key.rule).any(|b| b.span.start(self.time.clock) == key.period);
        !current && key.period.0 < self.time.clock.0 - RETENTION
    }

    /// Looks at the state that operators are shown.
    ///
    /// # Errors
    /// When it is not so.
    pub fn live(&self, epoch: u64, live: &Live) -> Result<(), Broken> {
        for shown in &live.budgets {
            let rule = self.config.iter().flat_map(|c| &c.config.budgets).find(|b| b.id == shown.id);
            let rule = rule.ok_or("a budget is shown that is not there")?;
            let mut account = AccountKey::budget(&shown.id, &shown.subject, rule.span.start(self.time.clock));
            account.by_provider = rule.scope == Scope::Provider;
            if rule.span.rolling().is_some() {
                account.measure = Measure::Rolling;
                let config = self.config.as_ref().map(|c| &c.config).ok_or("no tenant")?;
                let within = self.amounts.within(self.time.now(), config, &account, false).unwrap_or(0);
                if shown.spent.get() < within {
                    return Err(format!("{within} are spent of late, but shown is {shown:?}"));
                }
                continue;
            }
            let charged = self.charged.get(&account).copied().unwrap_or(0);
            let (mine, theirs) = (self.held(&account, epoch, true), self.held(&account, epoch, false));
            if shown.spent.get() != charged || shown.held.get() < mine || shown.orphaned.get() < theirs {
                return Err(format!("{charged} spent, {mine} held, {theirs} orphaned, but shown is {shown:?}"));
            }
        }
        for shown in &live.limits {
            let rule = self.config.iter().flat_map(|c| &c.config.limits).find(|l| l.id == shown.id);
            let rule = rule.ok_or("a limit is shown that is not there")?;
            if !plain(rule) {
                let mut account = AccountKey::timeless(&shown.id, &shown.subject, rule.measure);
                account.by_provider = rule.scope == Scope::Provider;
                let config = self.config.as_ref().map(|c| &c.config).ok_or("no tenant")?;
                let open = || self.open.get(&account).copied().unwrap_or(0);
                let concurrent = rule.measure == Measure::Concurrency;
                let within = if concurrent { Some(open()) } else { self.amounts.within(self.time.now(), config, &account, false) };
                if within.is_some_and(|within| (shown.limit as i64 - within).max(0) < shown.remaining as i64) {
                    return Err(format!("{within:?} count, but shown is {shown:?}"));
                }
                continue;
            }
            let key = if shown.subject == subject(&rule.scope, &shown.subject) { &shown.subject } else { "" };
            let within = self.windows.within(self.time.now(), rule, key, span(rule));
            if rule.amount.whole().saturating_sub(within) < shown.remaining {
                return Err(format!("{within} were admitted, but shown is {shown:?}"));
            }
        }
        Ok(())
    }

    /// All is quiet: every permit has ended, nothing is held, and unused credit was returned.
    ///
    /// # Errors
    /// When something is left.
    pub fn quiet(&self, snapshot: &Snapshot, shown: &Reply) -> Result<(), Broken> {
        if let Some((id, given)) = self.unfinished().next() {
            return Err(format!("the permit {id} of {:?} never ended", given.at));
        }
        if !snapshot.live.is_empty() || !snapshot.orphans.is_empty() || snapshot.granted != snapshot.issued {
            return Err(format!("something is left: {snapshot:?}"));
        }
        for (key, a) in &snapshot.accounts {
            if [a.held, a.credit, a.orphaned].iter().any(|n| n.get() != 0) {
                return Err(format!("something is held in {key:?}: {a:?}"));
            }
        }
        match shown {
            Reply::Live(live) if live.permits == 0 && live.orphans == 0 => Ok(()),
            Reply::NoTenant => Ok(()),
            other => Err(format!("shown is {other:?}")),
        }
    }
}
