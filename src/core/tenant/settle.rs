//! Settlement: the truth replaces the worst case, once. Expiry: silence is closed by policy.

use super::{Charge, Fact, Line, LineKind, Open, Tenant, Write};
use crate::budget::AccountKey;
use crate::config::ExpiryCharge;
use crate::ids::PermitId;
use crate::protocol::{Attempt, Hold, Reply, Report};
use crate::units::{NanoUsd, Timestamp};
use std::collections::BTreeMap;

impl Tenant {
    /// Applies reports. Each permit ends once: a report that comes again, or after the tenant was
    /// deleted, changes nothing.
    pub(super) fn settle(&mut self, now: Timestamp, reports: Vec<Report>, writes: &mut Vec<Write>) -> Reply {
        if self.config.is_none() {
            return Reply::NoTenant;
        }
        let mut lines: Vec<Line> = Vec::new();
        let mut seen: BTreeMap<PermitId, ()> = BTreeMap::new();
        for report in reports {
            if seen.insert(report.permit, ()).is_some() {
                continue;
            }
            let id = report.permit;
            let known = if id.epoch == self.ledger.epoch { self.ledger.live.get(&id.seq) } else { self.ledger.orphans.get(&id) };
            if let Some(open) = known {
                lines.extend(settled(now, &report, open));
            } else if let Some((_, charged)) = self.ledger.expired.get(&id) {
                lines.push(corrected(now, &report, charged));
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
        if due.is_empty() {
            return;
        }
        let mut pools = self.forgotten_money();
        let lines = due.into_iter().map(|(id, open)| {
            let charges = if open.unknown { pools.share() } else { own_charges(&open, policy) };
            let charges = charges.into_iter().map(|c| if open.unknown && policy != ExpiryCharge::WorstCase { Charge { cost: NanoUsd::ZERO, ..c } } else { c });
            Line { permit: id, n: 0, at: now, admitted_at: open.at, key: open.key.clone(), kind: LineKind::Expired, attempt: None, charges: charges.collect() }
        });
        let lines = lines.collect();
        self.record(now, vec![Fact::Lines { lines }], writes);
    }

    /// What an earlier life may have held without our knowing for which permit.
    fn forgotten_money(&self) -> Pools {
        let mut money: BTreeMap<AccountKey, NanoUsd> =
            self.ledger.accounts.iter().filter(|(_, a)| a.orphaned > NanoUsd::ZERO).map(|(k, a)| (k.clone(), a.orphaned)).collect();
        let mut unknown = 0_i64;
        for open in self.ledger.orphans.values() {
            unknown = unknown.saturating_add(i64::from(open.unknown));
            for hold in &open.holds {
                if let Some(pool) = money.get_mut(&hold.account) {
                    *pool = pool.minus(hold.amount).at_least_zero();
                }
            }
        }
        Pools { money, unknown }
    }
}

/// Money to be divided among permits that a crash forgot.
struct Pools {
    money: BTreeMap<AccountKey, NanoUsd>,
    unknown: i64,
}

impl Pools {
    /// An equal part; the last takes what is left.
    fn share(&mut self) -> Vec<Charge> {
        let parts = self.unknown.max(1);
        self.unknown = self.unknown.saturating_sub(1);
        let take = |(account, pool): (&AccountKey, &mut NanoUsd)| {
            let part = NanoUsd::new(pool.get().checked_div(parts).unwrap_or(0));
            *pool = pool.minus(part);
            Charge { account: account.clone(), hold: part, cost: part }
        };
        self.money.iter_mut().map(take).filter(|c| c.hold > NanoUsd::ZERO).collect()
    }
}

fn own_charges(open: &Open, policy: ExpiryCharge) -> Vec<Charge> {
    let cost = |hold: NanoUsd| match policy {
        ExpiryCharge::WorstCase => hold,
        ExpiryCharge::InputOnly => hold.min(open.input_cost),
        ExpiryCharge::Nothing => NanoUsd::ZERO,
    };
    open.holds.iter().map(|h| Charge { account: h.account.clone(), hold: h.amount, cost: cost(h.amount) }).collect()
}

/// The lines of a reported permit: the hold ends with the first, each attempt is charged.
fn settled(now: Timestamp, report: &Report, open: &Open) -> Vec<Line> {
    // What we remember goes before what we are told.
    let holds: &[Hold] = if open.unknown { &report.holds } else { &open.holds };
    let admitted_at = if open.unknown { report.admitted_at } else { open.at };
    let line = |n: u16, attempt: Option<Attempt>, kind| {
        let cost = attempt.as_ref().map_or(NanoUsd::ZERO, |a| a.cost.at_least_zero());
        let first = n <= 1;
        let charge = |h: &Hold| Charge { account: h.account.clone(), hold: if first { h.amount.at_least_zero() } else { NanoUsd::ZERO }, cost };
        Line { permit: report.permit, n, at: now, admitted_at, key: report.key.clone(), kind, attempt, charges: holds.iter().map(charge).collect() }
    };
    if report.attempts.is_empty() {
        return vec![line(0, None, LineKind::Released)];
    }
    (1_u16..).zip(&report.attempts).map(|(n, a)| line(n, Some(a.clone()), LineKind::Settled)).collect()
}

/// The truth about an expired permit, as the difference to what it was charged.
fn corrected(now: Timestamp, report: &Report, charged: &[Charge]) -> Line {
    let truth = report.attempts.iter().fold(NanoUsd::ZERO, |sum, a| sum.plus(a.cost.at_least_zero()));
    let mut accounts: BTreeMap<&AccountKey, NanoUsd> = report.holds.iter().map(|h| (&h.account, truth)).collect();
    for charge in charged {
        let delta = accounts.entry(&charge.account).or_default();
        *delta = delta.minus(charge.cost);
    }
    let charges = accounts.into_iter().map(|(a, cost)| Charge { account: a.clone(), hold: NanoUsd::ZERO, cost });
    Line {
        permit: report.permit,
        n: 1,
        at: now,
        admitted_at: report.admitted_at,
        key: report.key.clone(),
        kind: LineKind::Corrected,
        attempt: report.attempts.last().cloned(),
        charges: charges.collect(),
    }
}
