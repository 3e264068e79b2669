//! Settlement: the truth replaces the worst case, once. Expiry: silence is closed by policy.

use super::ledger::Ledger;
use super::{Charge, Expired, Fact, Line, LineKind, Lost, Open, Tenant, Write};
use crate::budget::AccountKey;
use crate::config::ExpiryCharge;
use crate::ids::PermitId;
use crate::protocol::{Attempt, Hold, MAX_REPORTS, Reply, Report};
use crate::units::{Amount, NanoUsd, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

impl Ledger {
    /// What the unknown permits of a life are charged when they expire.
    fn lost_charges(&self, epoch: u64, policy: ExpiryCharge) -> Vec<Charge> {
        let of_life = self.lost.iter().filter(|((e, _), lost)| *e == epoch && lost.held > Amount::ZERO);
        let charges = of_life.map(|((_, account), lost)| {
            // The input of a request that nobody knows is not known either.
            let cost = if policy == ExpiryCharge::WorstCase { lost.held } else { Amount::ZERO };
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
        let mut seen: BTreeSet<PermitId> = BTreeSet::new();
        let mut lost = LostMoney::new(&self.ledger.lost);
        for report in reports {
            if !seen.insert(report.permit) {
                continue;
            }
            let id = report.permit;
            let known = if id.epoch == self.ledger.epoch { self.ledger.live.get(&id.seq) } else { self.ledger.orphans.get(&id) };
            if let Some(open) = known {
                lines.extend(settled(now, &report, open));
            } else if let Some(expired) = self.ledger.expired.get(&id) {
                lines.push(corrected(now, &report, expired, &mut lost));
            }
        }
        let facts = if lines.is_empty() { Vec::new() } else { vec![Fact::Lines { lines }] };
        self.record(now, facts, writes);
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
        let last: BTreeMap<u64, PermitId> = unknown.map(|(id, _)| (id.epoch, *id)).collect();
        let lines = due.into_iter().map(|(id, open)| {
            let charges = if !open.unknown {
                own_charges(&open, policy)
            } else if last.get(&id.epoch) == Some(&id) {
                self.ledger.lost_charges(id.epoch, policy)
            } else {
                Vec::new()
            };
            Line { permit: id, n: 0, at: now, admitted_at: open.at, key: open.key, kind: LineKind::Expired, attempt: None, charges }
        });
        let lines: Vec<Line> = lines.collect();
        // After a long silence there may be more than a row of the disk holds.
        for lines in lines.chunks(MAX_REPORTS) {
            self.record(now, vec![Fact::Lines { lines: lines.to_vec() }], writes);
        }
    }
}

/// What crashes forgot, while corrections are made: each takes its part, the next sees the rest.
struct LostMoney(BTreeMap<(u64, AccountKey), Lost>);

impl LostMoney {
    fn new(lost: &BTreeMap<(u64, AccountKey), Lost>) -> LostMoney {
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

fn own_charges(open: &Open, policy: ExpiryCharge) -> Vec<Charge> {
    let cost = |hold: Amount| match policy {
        ExpiryCharge::WorstCase => hold,
        ExpiryCharge::InputOnly => hold.min(open.input_cost.into()),
        ExpiryCharge::Nothing => Amount::ZERO,
    };
    open.holds.iter().map(|h| Charge { account: h.account.clone(), hold: h.amount, cost: cost(h.amount) }).collect()
}

/// The lines of a reported permit: the hold ends with the first, each attempt is charged.
fn settled(now: Timestamp, report: &Report, open: &Open) -> Vec<Line> {
    // What we remember goes before what we are told.
    let holds: &[Hold] = if open.unknown { &report.holds } else { &open.holds };
    let (admitted_at, key) = if open.unknown { (report.admitted_at, &report.key) } else { (open.at, &open.key) };
    let line = |n: u16, attempt: Option<Attempt>, kind| {
        let cost = attempt.as_ref().map_or(Amount::ZERO, |a| a.cost.at_least_zero().into());
        let first = n <= 1;
        let charge =
            |h: &Hold| Charge { account: h.account.clone(), hold: if first { h.amount.at_least_zero() } else { Amount::ZERO }, cost };
        Line {
            permit: report.permit,
            n,
            at: now,
            admitted_at,
            key: key.clone(),
            kind,
            attempt,
            charges: holds.iter().map(charge).collect(),
        }
    };
    if report.attempts.is_empty() {
        return vec![line(0, None, LineKind::Released)];
    }
    (1_u16..).zip(&report.attempts).map(|(n, a)| line(n, Some(a.clone()), LineKind::Settled)).collect()
}

/// The truth about an expired permit, as the difference to what it was charged.
fn corrected(now: Timestamp, report: &Report, expired: &Expired, lost: &mut LostMoney) -> Line {
    let truth = report.attempts.iter().fold(NanoUsd::ZERO, |sum, a| sum.plus(a.cost.at_least_zero()));
    let charges = if expired.unknown {
        // It was not charged by itself. What it held is taken back from what all of its kind were charged,
        // so that the others, if there are any, stay covered.
        let charge = |h: &Hold| {
            let part = lost.take_back(report.permit.epoch, h);
            Charge { account: h.account.clone(), hold: part, cost: Amount::from(truth).minus(part) }
        };
        report.holds.iter().map(charge).collect()
    } else {
        let charge = |c: &Charge| Charge { account: c.account.clone(), hold: Amount::ZERO, cost: Amount::from(truth).minus(c.cost) };
        expired.charges.iter().map(charge).collect()
    };
    Line {
        permit: report.permit,
        n: 1,
        at: now,
        admitted_at: report.admitted_at,
        key: report.key.clone(),
        kind: LineKind::Corrected,
        attempt: report.attempts.last().map(|last| Attempt { cost: truth, ..last.clone() }),
        charges,
    }
}
