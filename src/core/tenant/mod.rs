//! The ledger of one tenant: `Command → (Reply, Writes, alarm)`.
//!
//! # Write-ahead credit
//! Money and permits are handed out from *credit* that is on disk before anything is handed out. Inside
//! the credit an admission writes nothing. After a crash the credit that nobody accounted for counts
//! as handed out ([`orphans`](Tenant)) until the permits of that life have expired, so a crash can only
//! make the ledger more careful.
//!
//! # Facts
//! What must survive is a [`Fact`]. A turn decides, then applies its facts to memory and appends them
//! to the journal in one row. Loading applies the same facts to the last snapshot, by the same
//! function. A snapshot is only a shorter way to the same state.
//!
//! # A turn
//! [`Tenant::handle`] and [`Tenant::alarm`] are synchronous and pure: the shell loads, hands in `now`,
//! and afterwards applies the writes in order, sets the alarm and answers.

mod admit;
mod apply;
mod books;
mod claims;
mod decisions;
mod extend;
mod facts;
mod health;
mod journal;
mod keys;
mod ledger;
mod prices;
mod rules;
mod secrets;
mod settle;
mod tally;
mod turn;
mod views;
mod violations;

pub use claims::{CLAIM_LIFE, Claim, ClaimState, MAX_CLAIM_BYTES, MAX_CLAIMS};
pub use decisions::{MAX_PAGE, MAX_PER_MINUTE, MAX_RECORDS};
pub use facts::{Charge, Expired, Fact, Line, LineKind, Lost, Open, Snapshot, TargetHealth};
pub use health::{MAX_HEALTH, MAX_REGIONS};
pub use journal::write_facts;
pub use keys::Key;
pub use secrets::StoredSecret;
pub use turn::{Answer, Outcome, Query, StoredConfig, Write};
pub use violations::top;

use decisions::day;
use ledger::Ledger;

use crate::checks::Unreachable;
use crate::config::{Config, Scope};
use crate::map::Map;
use crate::price::PriceBook;
use crate::protocol::{Command, Reply};
use crate::units::{Millis, Timestamp};
use std::rc::Rc;

/// After this much silence the ledger returns its unused credit and writes a snapshot. Shorter than
/// the 10 s after which an idle object may be evicted.
pub const TIDY_AFTER: Millis = 5_000;
/// Journal rows between two snapshots: what a load has to replay at most.
pub const SNAPSHOT_EVERY: u64 = 128;
/// Most permits that one write makes available.
pub const MAX_GRANT: u64 = 256;
/// How long lines and minute counters are kept.
pub const RETENTION: Millis = 35 * 24 * 3_600_000;
/// Most gateway keys of one tenant: they are all in memory.
pub const MAX_KEYS: usize = 10_000;
/// Most secrets of one tenant: they travel to worker isolates with the configuration.
pub const MAX_SECRETS: usize = 64;
/// Most steps of one request that are counted.
const MAX_STEPS: usize = 16;
/// Most distinct minute counters between two snapshots; the rest is counted under the model `other`.
pub const MAX_TALLY: usize = 5_000;

/// One tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tenant {
    config: Option<Rc<StoredConfig>>,
    /// By hash of the key.
    keys: Map<String, Key>,
    /// By name.
    secrets: Map<String, StoredSecret>,
    /// The operator's.
    prices: Option<Rc<PriceBook>>,
    ledger: Ledger,
    claims: claims::Claims,
    /// How many decisions were recorded of late.
    recorded: decisions::Recorded,
    /// Whether this life has begun: the first turn turns what an earlier life left into orphans.
    begun: bool,
    /// When the alarm will ring, as far as this life knows.
    armed: Option<Timestamp>,
    /// The latest time seen, by this life or on disk. Time never runs backwards in here.
    clock: Timestamp,
}

/// What is on disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The current configuration.
    pub config: Option<StoredConfig>,
    /// All keys.
    pub keys: Vec<Key>,
    /// The last snapshot.
    pub snapshot: Option<Snapshot>,
    /// Journal rows after it, in order.
    pub journal: Vec<(u64, Vec<Fact>)>,
    /// All claims, without their answers.
    pub claims: Vec<Claim>,
    /// All secrets, sealed.
    pub secrets: Vec<StoredSecret>,
    /// The operator's prices.
    pub prices: Option<PriceBook>,
}

impl Tenant {
    /// Rebuilds the tenant from what is on disk.
    pub fn load(stored: Stored) -> Tenant {
        let mut tenant = Tenant { config: stored.config.map(Rc::new), ..Tenant::default() };
        tenant.ledger.loading = true;
        tenant.keys = stored.keys.into_iter().map(|k| (k.hash.clone(), k)).collect();
        tenant.secrets = stored.secrets.into_iter().map(|s| (s.given.name.clone(), s)).collect();
        tenant.prices = stored.prices.map(Rc::new);
        tenant.claims = claims::Claims::load(stored.claims);
        if let Some(snapshot) = stored.snapshot {
            tenant.clock = snapshot.at;
            tenant.ledger = Ledger::restore(snapshot);
            tenant.ledger.loading = true;
        }
        let config = tenant.config.as_ref().map(|c| c.config.clone()).unwrap_or_default();
        for (n, facts) in stored.journal {
            for fact in facts {
                tenant.clock = tenant.clock.max(fact.at());
                tenant.ledger.replay(&config, fact);
            }
            tenant.ledger.journal = n;
        }
        tenant
    }

    /// One turn.
    pub fn handle(&mut self, now: Timestamp, command: Command) -> Outcome {
        let now = self.begin(now);
        let mut writes = Vec::new();
        let answer = match command {
            Command::Admit(admit) => self.admit(now, &admit, &mut writes),
            Command::Extend { permit, attempts } => self.extend(now, permit, &attempts, &mut writes),
            Command::Failed { permit, attempts } => Answer::Reply(self.failed(now, permit, &attempts, &mut writes)),
            Command::Report { reports } => Answer::Reply(self.settle(now, reports, &mut writes)),
            Command::Configuration => Answer::Reply(self.configuration()),
            Command::PutConfig { config, if_match, prices } => {
                Answer::Reply(self.put_config(now, *config, if_match, prices.map(|book| *book), &mut writes))
            }
            Command::CreateKey(key) => Answer::Reply(self.create_key(now, key, &mut writes)),
            Command::ListKeys => Answer::Reply(self.list_keys()),
            Command::PutSecret(new) => Answer::Reply(self.put_secret(now, new, &mut writes)),
            Command::ListSecrets => Answer::Reply(self.list_secrets()),
            Command::DeleteSecret { name } => Answer::Reply(self.delete_secret(now, &name, &mut writes)),
            Command::Prices(book) => Answer::Reply(self.learn_prices(now, *book, &mut writes)),
            Command::UpdateKey(change) => Answer::Reply(self.update_key(change, &mut writes)),
            Command::Violations { from, to } => {
                if self.config.is_some() {
                    self.snapshot(now, self.idle(now), &mut writes);
                }
                Answer::Read(Query::Violations { from, to })
            }
            Command::Complete { permit, answer } => Answer::Reply(self.complete(permit, answer, &mut writes)),
            Command::RevokeKey { id } => Answer::Reply(self.revoke_key(now, &id, &mut writes)),
            Command::Degraded { key_hash, steps } => {
                let key = self.keys.get(&key_hash).map(|k| k.view.id.clone()).unwrap_or_default();
                for (rule, step) in steps.iter().take(MAX_STEPS) {
                    self.ledger.violation(now, &key, &format!("{rule} {step}"), false);
                }
                Answer::Reply(Reply::Done)
            }
            Command::Live { key_hash } => Answer::Reply(self.live(now, key_hash.as_deref())),
            Command::Usage { from, to } => {
                if self.config.is_some() {
                    self.snapshot(now, self.idle(now), &mut writes);
                }
                Answer::Read(Query::Usage { from, to })
            }
            Command::Targets { from, to } => {
                if self.config.is_some() {
                    self.snapshot(now, self.idle(now), &mut writes);
                }
                Answer::Read(Query::Targets { from, to })
            }
            Command::Savings { from, to } => {
                if self.config.is_some() {
                    self.snapshot(now, self.idle(now), &mut writes);
                }
                Answer::Read(Query::Savings { from: day(from), to })
            }
            Command::Providers if self.config.is_none() => Answer::Reply(Reply::NoTenant),
            Command::Providers => Answer::Reply(Reply::Providers { rows: self.ledger.health.rows(now) }),
            Command::Decision { id } => Answer::Read(Query::Decision { id }),
            Command::Decisions { after, limit } => Answer::Read(Query::Decisions { after, limit: limit.clamp(1, MAX_PAGE) }),
            Command::Feedback(feedback) => Answer::Reply(self.feedback(now, &feedback, &mut writes)),
            Command::Tick => Answer::Reply(self.tick(now, Vec::new(), &mut writes)),
            Command::TickBeside { unreachable } => Answer::Reply(self.tick(now, unreachable, &mut writes)),
            Command::Delete => {
                // The next life of this name must not take the permits of this one for its own.
                let epoch = self.ledger.epoch;
                *self = Tenant { clock: self.clock, ..Tenant::default() };
                self.ledger.epoch = epoch;
                writes.push(Write::DeleteAll);
                Answer::Reply(Reply::Done)
            }
        };
        self.snapshot_if_due(now, &mut writes);
        Outcome { broken: self.broken(), alarm: self.arm(now), writes, answer }
    }

    /// The alarm rings: closes expired permits, returns unused credit when nobody asks.
    pub fn alarm(&mut self, now: Timestamp) -> Outcome {
        let now = self.begin(now);
        self.armed = None;
        let mut writes = Vec::new();
        self.sweep(now, &mut writes);
        if self.idle(now) {
            self.snapshot(now, true, &mut writes);
        }
        self.snapshot_if_due(now, &mut writes);
        Outcome { broken: self.broken(), alarm: self.arm(now), writes, answer: Answer::Reply(Reply::Done) }
    }

    /// Lets time pass and, once in a life, takes over what an earlier life left.
    fn begin(&mut self, now: Timestamp) -> Timestamp {
        self.clock = self.clock.max(now);
        if !self.begun {
            self.begun = true;
            let config = self.config.as_ref().map(|c| c.config.clone()).unwrap_or_default();
            let by_key = config.limits.iter().any(|l| rules::plain(l) && l.scope == Scope::Key);
            let keys: Vec<String> = self.keys.values().filter(|_| by_key).map(|k| k.id.clone()).collect();
            self.ledger.start(self.clock, &config, &keys, config.permit.lifetime());
        }
        self.clock
    }

    /// When to ring next, if that is not arranged already. An alarm within the next few seconds will
    /// look again itself; one that is a minute overdue is taken for lost.
    fn arm(&mut self, now: Timestamp) -> Option<Timestamp> {
        let arranged = |at: Timestamp| at <= now.plus(TIDY_AFTER) && now.since(at) < 60_000;
        if self.armed.is_some_and(arranged) {
            return None;
        }
        let wanted = self.ledger.next_deadline(now)?;
        if self.armed.is_some_and(|at| at <= wanted && now.since(at) < 60_000) {
            return None;
        }
        self.armed = Some(wanted);
        self.armed
    }

    /// Applies facts to memory and appends them.
    fn record(&mut self, now: Timestamp, mut facts: Vec<Fact>, writes: &mut Vec<Write>) {
        if facts.is_empty() {
            return;
        }
        if let Some(started) = self.ledger.announce() {
            facts.insert(0, started);
        }
        let stored = self.config.clone();
        let none = Config::default();
        let config = stored.as_ref().map_or(&none, |c| &c.config);
        for fact in &facts {
            self.ledger.apply(config, fact);
        }
        self.ledger.journal = self.ledger.journal.saturating_add(1);
        self.ledger.dirty = true;
        writes.push(Write::Append { n: self.ledger.journal, at: now, facts });
    }

    fn snapshot_if_due(&mut self, now: Timestamp, writes: &mut Vec<Write>) {
        if self.ledger.journal.saturating_sub(self.ledger.covered) >= SNAPSHOT_EVERY {
            self.snapshot(now, self.idle(now), writes);
        }
    }

    /// Whether nobody asked for a while.
    fn idle(&self, now: Timestamp) -> bool {
        now.since(self.ledger.last_admission) >= TIDY_AFTER
    }

    /// Writes a snapshot with the counters since the last one. With `tidy`, unused credit is returned.
    fn snapshot(&mut self, now: Timestamp, tidy: bool, writes: &mut Vec<Write>) {
        let counted = !self.ledger.tally.is_empty() || !self.ledger.violations.is_empty() || !self.ledger.savings.is_empty();
        if !self.ledger.dirty && !counted {
            return;
        }
        // The snapshot must know which life it belongs to.
        if let Some(started) = self.ledger.announce() {
            self.record(now, vec![started], writes);
        }
        let (snapshot, rows, violations, savings) = self.ledger.snapshot(now, tidy);
        writes.push(Write::Snapshot(Box::new(snapshot)));
        if !rows.is_empty() {
            writes.push(Write::Usage(rows));
        }
        if !violations.is_empty() {
            writes.push(Write::Violations(violations));
        }
        if !savings.is_empty() {
            writes.push(Write::Savings(savings));
        }
    }

    /// Due work, at most once an hour.
    fn tick(&mut self, now: Timestamp, unreachable: Vec<Unreachable>, writes: &mut Vec<Write>) -> Reply {
        if self.config.is_none() {
            return Reply::NoTenant;
        }
        self.ledger.health.found(unreachable);
        self.sweep(now, writes);
        let hour = crate::budget::Period::Hour.start(now);
        let cleaned = self.ledger.totals.cleaned_at.is_none_or(|at| at < hour);
        if cleaned {
            self.ledger.totals.cleaned_at = Some(now);
            if let Some(stored) = &self.config {
                self.ledger.forget(now, &stored.config);
            }
            self.ledger.dirty = true;
            self.forget_claims(now, writes);
            self.snapshot(now, self.idle(now), writes);
            writes.push(Write::Trim { before: Timestamp(now.0.saturating_sub(RETENTION)), up_to: self.ledger.covered });
        }
        Reply::Ticked { cleaned, totals: self.ledger.totals, prices: self.prices.as_ref().map_or(0, |book| book.version) }
    }

    fn configuration(&self) -> Reply {
        match &self.config {
            Some(c) => {
                let config = Box::new(c.config.clone());
                Reply::Configuration {
                    version: c.version,
                    config,
                    updated_at: c.at,
                    secrets: self.sealed(),
                    prices: self.operator_prices(),
                }
            }
            None => Reply::NoTenant,
        }
    }

    fn put_config(
        &mut self,
        now: Timestamp,
        config: Config,
        if_match: Option<u64>,
        prices: Option<PriceBook>,
        writes: &mut Vec<Write>,
    ) -> Reply {
        let current = self.config.as_ref().map_or(0, |c| c.version);
        if if_match.is_some_and(|wanted| wanted != current) {
            return Reply::Conflict { current };
        }
        if let Some(book) = prices {
            self.keep_prices(book, writes);
        }
        self.ledger.fit(now, &config);
        let stored = StoredConfig { version: current.saturating_add(1), at: now, config };
        writes.push(Write::Config(Box::new(stored.clone())));
        self.config = Some(Rc::new(stored));
        // Journal rows are replayed under the current configuration, so none may be older than it. Credit
        // was measured by the old one.
        self.ledger.dirty = true;
        self.snapshot(now, true, writes);
        self.configuration()
    }
}

#[cfg(test)]
mod tests;
