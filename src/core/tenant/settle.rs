//! Settlement: the truth replaces the worst case, once. Expiry: silence is closed by policy.

use super::ledger::Ledger;
use super::{Charge, Expired, Fact, Line, LineKind, Lost, Open, Tenant, Write};
use crate::budget::{AccountKey, Measure};
use crate::config::ExpiryCharge;
use crate::ids::PermitId;
use crate::map::{Map, Set};
use crate::protocol::{Attempt, Crossed, Hold, MAX_REPORTS, Outcome, Reply, Report};
use crate::units::{Amount, NanoUsd, Timestamp};

/// Most charges in one journal row: at about 100 bytes each, half of what a row of the disk holds.
const MAX_CHARGES: usize = 10_000;

impl Ledger {
    /// What the unknown permits of a life are charged when they expire.
    fn lost_charges(&self, epoch: u64, policy: ExpiryCharge) -> Vec<Charge> {
        let of_life = self.lost.iter().filter(|((e, _), lost)| *e == epoch && lost.held > Amount::ZERO);
        let charges = of_life.map(|((_, account), lost)| {
            // The input of a request that nobody knows is not known either.
            let cost = match account.measure {
                Measure::Concurrency => Amount::ZERO,
                Measure::Requests => lost.held,
                _ if policy == ExpiryCharge::WorstCase => lost.held,
                _ => Amount::ZERO,
            };
            Charge { account: account.clone(), hold: lost.held, cost }
        });
        charges.collect()
    }
}

impl Tenant {
    /// Applies reports. Each permit ends once: a report that comes again, or after the tenant was
    /// deleted, changes nothing.
    pub(super) fn settle(&mut self, now: Timestamp, reports: Vec<Report>, writes: &mut Vec<Write>) -> Reply {
        if self.config.is_none() {
            return Reply::NoTenant;
        }
        let mut lines: Vec<Line> = Vec::new();
        let mut seen: Set<PermitId> = Set::new();
        let mut lost = LostMoney::new(&self.ledger.lost);
        let mut records = Vec::new();
        for mut report in reports {
            if !seen.insert(report.permit) {
                continue;
            }
            let id = report.permit;
            let known = if id.epoch == self.ledger.epoch { self.ledger.live.get(&id.seq) } else { self.ledger.orphans.get(&id) };
            if let Some(open) = known {
                lines.extend(settled(now, &report, open));
                if let Some(record) = report.record.take() {
                    records.push(record.ended(&report.key, &report.attempts));
                }
            } else if let Some(expired) = self.ledger.expired.get(&id) {
                lines.push(corrected(now, &report, expired, &mut lost));
            }
        }
        self.record_lines(now, lines, writes);
        self.keep_records(now, records, writes);
        Reply::Done
    }

    /// Closes permits that nobody reported in time.
    pub(super) fn sweep(&mut self, now: Timestamp, writes: &mut Vec<Write>) {
        let Some(policy) = self.config.as_ref().map(|c| c.config.permit.expiry_charge) else { return };
        let epoch = self.ledger.epoch;
        let ours = self.ledger.live.iter().map(|(seq, open)| (PermitId { epoch, seq: *seq }, open));
        let due: Vec<(PermitId, Open)> = ours
            .chain(self.ledger.orphans.iter().map(|(id, open)| (*id, open)))
            .filter(|(_, open)| open.until <= now)
            .map(|(id, open)| (id, open.clone()))
            .collect();
        // What the unknown permits of a life may hold together is charged with the last of them.
        let unknown = self.ledger.orphans.iter().filter(|(_, open)| open.unknown);
        let last: Map<u64, PermitId> = unknown.map(|(id, _)| (id.epoch, *id)).collect();
        let lines = due.into_iter().map(|(id, open)| {
            let charges = if !open.unknown {
                own_charges(&open, policy)
            } else if last.get(&id.epoch) == Some(&id) {
                self.ledger.lost_charges(id.epoch, policy)
            } else {
                Vec::new()
            };
            Line {
                permit: id,
                n: 0,
                at: now,
                admitted_at: open.at,
                key: open.key,
                kind: LineKind::Expired,
                attempt: None,
                charges,
                saved: None,
            }
        });
        let lines: Vec<Line> = lines.collect();
        // After a long silence there may be more than a row of the disk holds.
        for lines in lines.chunks(MAX_REPORTS) {
            self.record_lines(now, lines.to_vec(), writes);
        }
    }

    /// Records lines, in as many rows as they need. The lines of a permit stay together.
    fn record_lines(&mut self, now: Timestamp, lines: Vec<Line>, writes: &mut Vec<Write>) {
        let charges = |lines: &[Line]| lines.iter().fold(0_usize, |n, l| n.saturating_add(l.charges.len()));
        if charges(&lines) <= MAX_CHARGES {
            return self.record_row(now, lines, writes);
        }
        let mut row: Vec<Line> = Vec::new();
        for permit in lines.chunk_by(|a, b| a.permit == b.permit) {
            if charges(&row).saturating_add(charges(permit)) > MAX_CHARGES {
                self.record_row(now, std::mem::take(&mut row), writes);
            }
            row.extend_from_slice(permit);
        }
        self.record_row(now, row, writes);
    }

    fn record_row(&mut self, now: Timestamp, lines: Vec<Line>, writes: &mut Vec<Write>) {
        if lines.is_empty() {
            return;
        }
        let charges = lines.iter().flat_map(|l| &l.charges);
        let touched: Set<AccountKey> = charges.filter(|c| c.cost > Amount::ZERO).map(|c| c.account.clone()).collect();
        self.end_claims(&lines, writes);
        self.record(now, vec![Fact::Lines { lines }], writes);
        let crossed = self.crossings(now, touched.iter());
        self.record(now, crossed, writes);
    }

    /// Thresholds that these accounts have crossed, each noted once in a period.
    pub(super) fn crossings<'a>(&mut self, now: Timestamp, accounts: impl Iterator<Item = &'a AccountKey>) -> Vec<Fact> {
        let Some(stored) = self.config.clone() else { return Vec::new() };
        let mut facts = Vec::new();
        for key in accounts.filter(|k| matches!(k.measure, Measure::Budget | Measure::Rolling)) {
            let budget = stored.config.budgets.iter().find(|b| b.id == key.rule && b.span.measure() == key.measure);
            let (Some(budget), Some(account)) = (budget, self.ledger.accounts.get_mut(key)) else { continue };
            let (spent, limit) = (account.used(now), budget.limit(now));
            for percent in &budget.thresholds {
                let reached = i128::from(spent.get()).saturating_mul(100) >= i128::from(limit.get()).saturating_mul(i128::from(*percent));
                // In a rolling budget what was crossed is forgotten after its length, like what was spent.
                let lately = |c: &Crossed| c.percent == *percent && budget.span.rolling().is_none_or(|length| now.since(c.at) < length);
                if reached && !account.crossed.iter().any(lately) {
                    facts.push(Fact::Crossed { at: now, account: key.clone(), percent: *percent, limit, spent });
                }
            }
        }
        facts
    }
}

/// What crashes forgot, while corrections are made: each takes its part, the next sees the rest.
struct LostMoney(Map<(u64, AccountKey), Lost>);

impl LostMoney {
    fn new(lost: &Map<(u64, AccountKey), Lost>) -> LostMoney {
        LostMoney(lost.clone())
    }

    /// Takes back a hold from what the unknown permits of its life were charged.
    fn take_back(&mut self, epoch: u64, hold: &Hold) -> Amount {
        let Some(lost) = self.0.get_mut(&(epoch, hold.account.clone())) else { return Amount::ZERO };
        let part = hold.amount.at_least_zero().min(lost.charged);
        lost.charged = lost.charged.minus(part);
        part
    }
}

/// What a permit that nobody settled is charged. A request was made, whatever it cost, and stays counted.
fn own_charges(open: &Open, policy: ExpiryCharge) -> Vec<Charge> {
    let input = |measure: Measure| match measure {
        Measure::InputTokens | Measure::Tokens => Amount::count(open.input_tokens),
        Measure::OutputTokens => Amount::ZERO,
        _ => open.input_cost.into(),
    };
    let cost = |h: &Hold| match (h.account.measure, policy) {
        (Measure::Concurrency, _) => Amount::ZERO,
        (Measure::Requests, _) | (_, ExpiryCharge::WorstCase) => h.amount,
        (measure, ExpiryCharge::InputOnly) => h.amount.min(input(measure)),
        (_, ExpiryCharge::Nothing) => Amount::ZERO,
    };
    open.holds.iter().map(|h| Charge { account: h.account.clone(), hold: h.amount, cost: cost(h) }).collect()
}

/// What the `n`th attempt (from 0) used of what an account counts. Where the account is a provider's, only
/// attempts at that provider count. What came from the cache used no tokens.
pub(super) fn truth(account: &AccountKey, attempts: &[Attempt], n: usize) -> Amount {
    let here = |a: &&Attempt| !account.by_provider || (a.provider == account.subject && a.outcome != Outcome::Cached);
    let Some(attempt) = attempts.get(n).filter(here) else { return Amount::ZERO };
    let tokens = |n: u64| if attempt.outcome == Outcome::Cached { Amount::ZERO } else { Amount::count(n) };
    match account.measure {
        Measure::Budget | Measure::Rolling | Measure::Cost | Measure::Session => attempt.cost.at_least_zero().into(),
        Measure::InputTokens => tokens(attempt.usage.input),
        Measure::OutputTokens => tokens(attempt.usage.output),
        Measure::Tokens => tokens(attempt.usage.input.saturating_add(attempt.usage.output)),
        // One request, however often it was tried.
        Measure::Requests if attempts.iter().take(n).any(|a| here(&a)) => Amount::ZERO,
        Measure::Requests => Amount::ONE,
        Measure::Concurrency => Amount::ZERO,
    }
}

/// What all attempts used.
fn whole_truth(account: &AccountKey, attempts: &[Attempt]) -> Amount {
    if attempts.is_empty() {
        return untried(account);
    }
    (0..attempts.len()).fold(Amount::ZERO, |sum, n| sum.plus(truth(account, attempts, n)))
}

/// What a request used that was admitted and sent nowhere: it stays counted, but not at a provider.
fn untried(account: &AccountKey) -> Amount {
    if account.measure == Measure::Requests && !account.by_provider { Amount::ONE } else { Amount::ZERO }
}

/// The lines of a reported permit: the hold ends with the first, each attempt is charged.
fn settled(now: Timestamp, report: &Report, open: &Open) -> Vec<Line> {
    // What we remember goes before what we are told.
    let holds: &[Hold] = if open.unknown { &report.holds } else { &open.holds };
    let (admitted_at, key) = if open.unknown { (report.admitted_at, &report.key) } else { (open.at, &open.key) };
    let line = |n: u16, attempt: Option<Attempt>, kind, charges: Vec<Charge>| Line {
        permit: report.permit,
        n,
        at: now,
        admitted_at,
        key: key.clone(),
        kind,
        attempt,
        charges,
        saved: report.saved.clone().filter(|_| n <= 1),
    };
    if report.attempts.is_empty() {
        let charge = |h: &Hold| Charge { account: h.account.clone(), hold: h.amount.at_least_zero(), cost: untried(&h.account) };
        return vec![line(0, None, LineKind::Released, holds.iter().map(charge).collect())];
    }
    let of = |i: usize| -> Vec<Charge> {
        let hold = |h: &Hold| if i == 0 { h.amount.at_least_zero() } else { Amount::ZERO };
        let charge = |h: &Hold| Charge { account: h.account.clone(), hold: hold(h), cost: truth(&h.account, &report.attempts, i) };
        holds.iter().map(charge).collect()
    };
    let numbered = (1_u16..).zip(report.attempts.iter().enumerate());
    numbered.map(|(n, (i, a))| line(n, Some(a.clone()), LineKind::Settled, of(i))).collect()
}

/// The truth about an expired permit, as the difference to what it was charged.
fn corrected(now: Timestamp, report: &Report, expired: &Expired, lost: &mut LostMoney) -> Line {
    let cost = report.attempts.iter().fold(NanoUsd::ZERO, |sum, a| sum.plus(a.cost.at_least_zero()));
    let truth = |account: &AccountKey| whole_truth(account, &report.attempts);
    let charges = if expired.unknown {
        // It was not charged by itself. What it held is taken back from what all of its kind were charged,
        // so that the others, if there are any, stay covered.
        let charge = |h: &Hold| {
            let part = lost.take_back(report.permit.epoch, h);
            Charge { account: h.account.clone(), hold: part, cost: truth(&h.account).minus(part) }
        };
        report.holds.iter().map(charge).collect()
    } else {
        let charge = |c: &Charge| Charge { account: c.account.clone(), hold: Amount::ZERO, cost: truth(&c.account).minus(c.cost) };
        expired.charges.iter().map(charge).collect()
    };
    Line {
        permit: report.permit,
        n: 1,
        at: now,
        admitted_at: report.admitted_at,
        key: report.key.clone(),
        kind: LineKind::Corrected,
        attempt: report.attempts.last().map(|last| Attempt { cost, ..last.clone() }),
        charges,
        saved: report.saved.clone(),
    }
}
