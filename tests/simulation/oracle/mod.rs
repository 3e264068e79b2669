//! What is really so. The oracle sees every permit that was given, what its holder really spent, and
//! every write that was committed. It keeps sums and lists, and knows nothing of slots, credit or
//! orphans.

mod amounts;
mod books;
mod claims;
mod demand;
mod lines;
mod probes;
mod time;
mod usage;
mod windows;

use amounts::{Amounts, ages};
use claims::Claims;
use demand::{plain, used_in_all, wanted};
use probes::Probes;
use std::collections::{BTreeMap, BTreeSet};
use time::Time;
use tollgate_core::budget::{AccountKey, Measure};
use tollgate_core::config::{Config, ExpiryCharge, Scope};
use tollgate_core::ids::PermitId;
use tollgate_core::protocol::{Admit, Attempt, Counts, Denial, Hold, Permit, Report};
use tollgate_core::tenant::{Charge, Fact, Key, StoredConfig, Write};
use tollgate_core::units::{Amount, NanoUsd, Timestamp};
use windows::{Windows, span, subject};

/// What was broken.
pub type Broken = String;

/// A permit that was given.
pub struct Given {
    pub key: String,
    pub at: Timestamp,
    /// By joined time.
    pub when: i64,
    pub lifetime: i64,
    pub holds: Vec<Hold>,
    /// What it held at first.
    pub first: Vec<Hold>,
    /// What its holder knows that it holds: an answer may have been lost.
    pub heard: Vec<Hold>,
    /// What its holder really sent and spent; `None` if the permit never reached anybody.
    pub sent: Option<Vec<Attempt>>,
    pub end: End,
}

/// How far a permit has come in the journal.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Open,
    Settled,
    Released,
    Expired { when: i64, charges: Vec<Charge>, unknown: bool },
    Corrected,
}

impl Given {
    fn truth(&self) -> i64 {
        self.sent.iter().flatten().map(|a| a.cost.get()).sum()
    }
}

#[derive(Default)]
pub struct Oracle {
    /// Whether every expiry so far was to be charged at the worst case: then real money is checked too.
    pub strict: bool,
    /// Whether nothing happened that makes the object more careful than it must be.
    pub calm: bool,
    pub config: Option<StoredConfig>,
    /// The configuration that the operator sends next. What the object makes of it is its own affair.
    pub meant: Option<Config>,
    /// Keys by hash.
    pub keys: BTreeMap<String, Key>,
    pub given: BTreeMap<PermitId, Given>,
    probes: Probes,
    /// Permits of a deleted tenant.
    buried: BTreeSet<PermitId>,
    /// Permits that were expired although they were never given, with what that was charged.
    pub ghosts: BTreeSet<PermitId>,
    /// Sum of all lines, by account.
    pub charged: BTreeMap<AccountKey, i64>,
    /// Sum of the holds of all permits without an end.
    open: BTreeMap<AccountKey, i64>,
    /// What was or may be spent really: the truth where it is in the books, else the worst case.
    exposed: BTreeMap<AccountKey, i64>,
    /// The highest limit that a budget ever had.
    highest: BTreeMap<String, i64>,
    /// What permits cost beyond their worst case.
    excess: BTreeMap<AccountKey, i64>,
    windows: Windows,
    amounts: Amounts,
    pub claims: Claims,
    pub time: Time,
    /// What the usage counters must show, by outcome.
    usage: BTreeMap<&'static str, Counts>,
    pub denials: u64,
    pub tally: Tally,
}

/// What happened in a run: shows that it came about at all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub permits: u64,
    pub denied_by_limit: u64,
    pub denied_by_budget: u64,
    pub settled: u64,
    pub released: u64,
    pub expired: u64,
    pub ghosts: u64,
    pub corrected: u64,
    pub corrected_ghosts: u64,
    pub denied_by_amount: u64,
    pub denied_by_claim: u64,
    pub replayed: u64,
    pub probes: u64,
    pub extended: u64,
    pub not_extended: u64,
    /// Those of an earlier life of the object.
    pub extended_orphans: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Tally) {
        let Tally { permits, denied_by_limit, denied_by_budget, settled, released, expired, ghosts, corrected, corrected_ghosts, .. } =
            *other;
        self.denied_by_amount += other.denied_by_amount;
        self.denied_by_claim += other.denied_by_claim;
        self.replayed += other.replayed;
        self.probes += other.probes;
        self.extended += other.extended;
        self.not_extended += other.not_extended;
        self.extended_orphans += other.extended_orphans;
        self.permits += permits;
        self.denied_by_limit += denied_by_limit;
        self.denied_by_budget += denied_by_budget;
        self.settled += settled;
        self.released += released;
        self.expired += expired;
        self.ghosts += ghosts;
        self.corrected += corrected;
        self.corrected_ghosts += corrected_ghosts;
    }

    /// Whether everything came about at least once.
    pub fn complete(&self) -> bool {
        let decided = [
            self.permits,
            self.denied_by_limit,
            self.denied_by_budget,
            self.denied_by_amount,
            self.denied_by_claim,
            self.replayed,
            self.probes,
            self.extended,
            self.not_extended,
            self.extended_orphans,
        ];
        let ended = [self.settled, self.released, self.expired, self.ghosts, self.corrected, self.corrected_ghosts];
        decided.iter().chain(&ended).all(|n| *n > 0)
    }
}

fn add(sums: &mut BTreeMap<AccountKey, i64>, account: &AccountKey, amount: i64) {
    *sums.entry(account.clone()).or_default() += amount;
}

impl Oracle {
    pub fn new(calm: bool) -> Oracle {
        Oracle { strict: true, calm, ..Oracle::default() }
    }

    /// Looks at what a turn committed.
    ///
    /// # Errors
    /// When it breaks a promise.
    pub fn committed(&mut self, writes: &[Write]) -> Result<(), Broken> {
        for write in writes {
            match write {
                Write::Append { facts, .. } => {
                    for fact in facts {
                        if let Fact::Failed { permit, attempts, .. } = fact {
                            self.tried(*permit, attempts);
                        }
                        if let Fact::Lines { lines } = fact {
                            self.lines(lines)?;
                        }
                    }
                    self.spent_below_the_limit()?;
                }
                Write::Config(stored) => self.configured(stored),
                Write::Key(key) => {
                    self.keys.insert(key.hash.clone(), (**key).clone());
                }
                Write::DeleteAll => self.deleted(),
                Write::Trim { .. } => self.trimmed(writes),
                Write::Snapshot(_) | Write::Usage(_) | Write::Violations(_) => {}
                Write::Secret(_) | Write::Unsecret { .. } | Write::Prices(_) => {}
                Write::Claim(_) | Write::Answer { .. } | Write::Unclaim { .. } => {}
                Write::Savings(_) | Write::Decision(_) | Write::TrimDecisions { .. } => {}
            }
        }
        Ok(())
    }

    fn configured(&mut self, stored: &StoredConfig) {
        let config = self.meant.clone().unwrap_or_else(|| stored.config.clone());
        let stored = StoredConfig { config, ..stored.clone() };
        let before = self.config.replace(stored.clone());
        self.windows.changed(self.time.now(), before.as_ref().map(|c| &c.config), &stored.config);
        self.amounts.changed(self.time.now(), before.as_ref().map(|c| &c.config), &stored.config);
        for budget in &stored.config.budgets {
            let highest = self.highest.entry(budget.id.clone()).or_default();
            *highest = (*highest).max(budget.limit_usd.get());
        }
        self.strict &= stored.config.permit.expiry_charge == ExpiryCharge::WorstCase;
        self.calm &= before.is_none();
    }

    fn deleted(&mut self) {
        let buried = std::mem::take(&mut self.given).into_keys().chain(std::mem::take(&mut self.ghosts));
        let buried = buried.chain(std::mem::take(&mut self.buried)).collect();
        let time = std::mem::take(&mut self.time);
        *self = Oracle { buried, time, strict: true, tally: self.tally, ..Oracle::default() };
    }

    /// Looks at a permit that was given, whether or not it arrives.
    ///
    /// # Errors
    /// When it should not have been given.
    pub fn granted(&mut self, admit: &Admit, permit: &Permit) -> Result<(), Broken> {
        let stored = self.config.clone().ok_or("a permit without a tenant")?;
        let config = &stored.config;
        let key = self.keys.get(&admit.key_hash).ok_or("a permit for an unknown key")?;
        if !works(key, permit.at) || !may_use(key, &admit.model) || key.id != permit.key {
            return Err(format!("a permit for the key {} in state {:?}", key.id, key.view));
        }
        if stored.version != admit.config {
            return Err(format!("a permit for version {} under version {}", admit.config, stored.version));
        }
        if permit.at != self.time.clock {
            return Err(format!("a permit at {:?}, the object's clock says {:?}", permit.at, self.time.clock));
        }
        if self.given.contains_key(&permit.id) || self.ghosts.contains(&permit.id) || self.buried.contains(&permit.id) {
            return Err(format!("the permit {} was given twice", permit.id));
        }
        let now = self.time.now();
        self.windows.admit(now, &config.limits, &permit.key)?;

        let wanted = wanted(config, &permit.key, admit, permit.at);
        if wanted.iter().map(|(hold, _)| hold).ne(&permit.holds) {
            return Err(format!("the permit {} holds {:?}, wanted is {wanted:?}", permit.id, permit.holds));
        }
        self.claim(admit, permit.id)?;
        for (hold, cap) in &wanted {
            add(&mut self.open, &hold.account, hold.amount.get());
            if ages(&hold.account) {
                self.amounts.admit(now, config, &hold.account, permit.id, hold.amount.get(), cap.get())?;
                continue;
            }
            add(&mut self.exposed, &hold.account, hold.amount.get());
            // What costs nothing passes an overdrawn budget: it makes nothing worse.
            if hold.amount == Amount::ZERO {
                continue;
            }
            let limit = cap.get();
            let booked = self.charged.get(&hold.account).copied().unwrap_or(0) + self.open[&hold.account];
            if booked > limit {
                return Err(format!("{booked} spent and held in {:?}, the limit is {limit}", hold.account));
            }
            // Who holds a place is forgotten when its life is over, whatever it still does.
            let lease = hold.account.measure == Measure::Concurrency;
            if self.strict && !lease && self.exposed[&hold.account] > limit {
                let exposed = self.exposed[&hold.account];
                return Err(format!("{exposed} really at stake in {:?}, the limit is {limit}", hold.account));
            }
        }
        self.tally.permits += 1;
        let given = Given {
            key: permit.key.clone(),
            at: permit.at,
            when: now,
            lifetime: i64::from(config.permit.lifetime_s) * 1_000,
            holds: permit.holds.clone(),
            first: permit.holds.clone(),
            heard: permit.holds.clone(),
            sent: None,
            end: End::Open,
        };
        self.given.insert(permit.id, given);
        Ok(())
    }

    /// Looks at a permit that holds more now: what failed attempts used, beside one more at its worst.
    ///
    /// # Errors
    /// When it is something else, or more than there was room for.
    pub fn extended(&mut self, id: PermitId, attempts: &[Attempt], holds: &[Hold]) -> Result<(), Broken> {
        let stored = self.config.clone().ok_or("more for a permit without a tenant")?;
        let now = self.time.now();
        let given = self.given.get_mut(&id).filter(|g| g.end == End::Open).ok_or("more for a permit that is over")?;
        for (hold, first) in holds.iter().zip(&given.first) {
            let counts = !matches!(hold.account.measure, Measure::Requests | Measure::Concurrency);
            let failed = if counts { used_in_all(&hold.account, attempts) } else { 0 };
            if hold.account != first.account || hold.amount.get() != first.amount.get() + failed {
                return Err(format!("{id} holds {hold:?} after {attempts:?}, and held {first:?}"));
            }
        }
        let before = std::mem::replace(&mut given.holds, holds.to_vec());
        if before.len() != holds.len() {
            return Err(format!("{id} held {before:?}, and holds {holds:?}"));
        }
        self.tally.extended += 1;
        for (hold, before) in holds.iter().zip(&before) {
            let more = hold.amount.get() - before.amount.get();
            if more == 0 {
                continue;
            }
            add(&mut self.open, &hold.account, more);
            // One that rolls now has no use for what it counted by periods.
            let rule = stored.config.budgets.iter().find(|b| b.id == hold.account.rule && b.span.rolling().is_none());
            if ages(&hold.account) {
                self.amounts.extend(now, &stored.config, &hold.account, id, hold.amount.get())?;
                continue;
            }
            add(&mut self.exposed, &hold.account, more);
            let Some(limit) = rule.map(|b| b.limit_usd.get()) else {
                // Its budget is gone, so nothing bounds it; the next one of that name finds what was spent.
                add(&mut self.excess, &hold.account, more);
                continue;
            };
            let booked = self.charged.get(&hold.account).copied().unwrap_or(0) + self.open[&hold.account];
            if booked > limit || (self.strict && self.exposed[&hold.account] > limit) {
                return Err(format!("{booked} spent and held in {:?} after {id} took more, the limit is {limit}", hold.account));
            }
        }
        Ok(())
    }

    /// Its holder heard that it holds more.
    pub fn heard(&mut self, id: PermitId, holds: &[Hold]) {
        if let Some(given) = self.given.get_mut(&id) {
            given.heard = holds.to_vec();
        }
    }

    /// Looks at a denial.
    ///
    /// # Errors
    /// When its reason does not hold.
    pub fn denied(&mut self, admit: &Admit, why: &Denial) -> Result<(), Broken> {
        let stored = self.config.clone().ok_or("a denial without a tenant")?;
        let key = self.keys.get(&admit.key_hash);
        let working = key.filter(|k| works(k, self.time.clock));
        match why {
            Denial::Key if working.is_none() => Ok(()),
            Denial::Model if working.is_some_and(|k| !may_use(k, &admit.model)) => Ok(()),
            Denial::Idempotency { .. } => self.denied_for_claim(admit, why),
            Denial::Limit { limit, retry_after, subject, measure, .. } => {
                let limit = stored.config.limits.iter().find(|l| l.id == *limit).ok_or("denied by no limit")?;
                let key = key.map_or("", |k| k.id.as_str());
                if *retry_after < 1 {
                    return Err(format!("denied by {limit:?}, to wait {retry_after}"));
                }
                if !plain(limit) {
                    self.tally.denied_by_amount += 1;
                    return self.denied_by_amount(admit, key, subject, measure.unwrap_or(Measure::Requests));
                }
                self.tally.denied_by_limit += 1;
                // 101 slots reach back a little further than the window.
                let reach = 101 * ((span(limit) + 99) / 100);
                let within = self.windows.within(self.time.now(), limit, key, reach);
                if self.calm && within < limit.amount.whole() {
                    return Err(format!("denied after {within} of {limit:?}, to wait {retry_after}"));
                }
                Ok(())
            }
            Denial::Budget { budget, limit, spent, held, .. } => {
                self.tally.denied_by_budget += 1;
                let rule = stored.config.budgets.iter().find(|b| b.id == *budget).ok_or("denied by no budget")?;
                let key = key.map_or("", |k| k.id.as_str());
                if rule.span.rolling().is_some() {
                    let Denial::Budget { subject, .. } = why else { return Ok(()) };
                    return self.denied_by_amount(admit, key, subject, Measure::Rolling);
                }
                let Denial::Budget { subject, .. } = why else { return Ok(()) };
                let mut account = AccountKey::budget(budget, subject, rule.span.start(self.time.clock));
                account.by_provider = rule.scope == Scope::Provider;
                let charged = self.charged.get(&account).copied().unwrap_or(0);
                let open = self.open.get(&account).copied().unwrap_or(0);
                let told = spent.plus(*held).plus(admit.worst_case) > *limit && *limit == rule.limit_usd;
                let right = spent.get() == charged && held.get() >= open && (!self.calm || held.get() == open);
                if told && right { Ok(()) } else { Err(format!("{why:?} with {charged} spent and {open} held")) }
            }
            _ => Err(format!("denied: {why:?} to {:?}", key.map(|k| &k.view))),
        }
    }

    /// A limit on amounts denied: where nothing is forgotten, it had no room.
    fn denied_by_amount(&self, admit: &Admit, key: &str, subject: &str, measure: Measure) -> Result<(), Broken> {
        let Some(stored) = self.config.as_ref().filter(|_| self.calm) else { return Ok(()) };
        let of = |hold: &Hold| hold.account.subject == subject && hold.account.measure == measure;
        // More than one rule may be of this kind; one without room is reason enough.
        for (hold, cap) in wanted(&stored.config, key, admit, self.time.clock).iter().filter(|(hold, _)| of(hold)) {
            let used = match self.amounts.within(self.time.now(), &stored.config, &hold.account, true) {
                Some(within) => within,
                None if measure == Measure::Concurrency => self.open.get(&hold.account).copied().unwrap_or(0),
                // What a bucket gives back is less than the list knows.
                None => return Ok(()),
            };
            if used + hold.amount.get() > cap.get() {
                return Ok(());
            }
        }
        let open: Vec<_> = self.open.iter().filter(|(k, _)| k.measure == measure).collect();
        Err(format!("denied with room in {measure:?} of `{subject}` under {:?}: {open:?}", stored.config.limits))
    }

    /// A batch of reports was acknowledged: each of them must be in the books.
    ///
    /// # Errors
    /// When one is not.
    pub fn acknowledged(&self, reports: &[Report]) -> Result<(), Broken> {
        for report in reports {
            let Some(given) = self.given.get(&report.permit) else { continue };
            match &given.end {
                End::Open => return Err(format!("the report of {} is acknowledged and not in the books", report.permit)),
                // Only a truth that comes much too late may be dropped.
                End::Expired { when, .. } if self.time.now() < when + given.lifetime.max(60_000) => {
                    return Err(format!("the report of the expired {} was dropped", report.permit));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Permits that have no end yet.
    pub fn unfinished(&self) -> impl Iterator<Item = (&PermitId, &Given)> {
        self.given.iter().filter(|(_, g)| g.end == End::Open)
    }

    /// Sum of the holds of permits without an end, in one account, of one life or of all others.
    pub fn held(&self, account: &AccountKey, epoch: u64, of_this_life: bool) -> i64 {
        let permits = self.unfinished().filter(|(id, _)| (id.epoch == epoch) == of_this_life);
        let holds = permits.flat_map(|(_, g)| &g.holds).filter(|h| h.account == *account);
        holds.map(|h| h.amount.get()).sum()
    }

    /// No account was ever charged more than its budget's highest limit, except for what permits cost
    /// beyond their worst case.
    fn spent_below_the_limit(&self) -> Result<(), Broken> {
        if !self.strict {
            return Ok(());
        }
        for (account, spent) in self.charged.iter().filter(|(a, _)| a.measure == Measure::Budget) {
            let bound = self.highest.get(&account.rule).copied().unwrap_or(0) + self.excess.get(account).copied().unwrap_or(0);
            if *spent > bound {
                return Err(format!("{spent} are spent in {account:?}, more than {bound}"));
            }
        }
        Ok(())
    }
}

fn works(key: &Key, now: Timestamp) -> bool {
    let ended = key.view.revoked_at.is_some() || key.view.expires_at.is_some_and(|at| at <= now);
    !ended
}

fn may_use(key: &Key, model: &str) -> bool {
    key.view.models.is_empty() || key.view.models.contains(&model.to_owned())
}

fn nano(n: i64) -> NanoUsd {
    NanoUsd::new(n)
}
