//! The one function that changes the durable part of the ledger: [`Ledger::apply`]. The running object
//! and a load go through it alike.

use super::facts::{Expired, Fact, Line, LineKind};
use super::ledger::Ledger;
use crate::budget::AccountKey;
use crate::config::Config;
use crate::ids::PermitId;
use crate::map::Map;
use crate::protocol::Crossed;
use crate::units::{Amount, Millis, Timestamp};

/// Longest time after its expiry that a permit may be corrected: the longest life of a permit.
const MAX_GRACE: Millis = 3_600_000;

/// What the lines of one permit did to one account.
#[derive(Clone, Copy, Default)]
struct Change {
    hold: Amount,
    cost: Amount,
}

impl Ledger {
    /// Applies a fact to the durable part of the state, and what hangs on it.
    pub fn apply(&mut self, config: &Config, fact: &Fact) {
        match fact {
            Fact::Started { .. } => {}
            Fact::Credit { granted, accounts, .. } => {
                self.granted = self.granted.max(*granted);
                for hold in accounts {
                    self.account(config, &hold.account).credit = hold.amount;
                }
            }
            Fact::Extended { at, permit, holds } => self.extended(*at, config, *permit, holds),
            Fact::Failed { at, permit, attempts } => self.health.failed(&config.breaker, *at, *permit, attempts),
            // A permit's lines stand side by side.
            Fact::Lines { lines } => lines.chunk_by(|a, b| a.permit == b.permit).for_each(|lines| self.apply_end(config, lines)),
            Fact::Crossed { at, account, percent, .. } => {
                let crossed = &mut self.account(config, account).crossed;
                crossed.retain(|c| c.percent != *percent);
                crossed.push(Crossed { percent: *percent, at: *at });
            }
            Fact::Probe { at, target, permit } => self.health.probe(*at, target, *permit),
            Fact::Feedback { at, target, score, request } => self.health.judge(*at, target, *score, *request),
        }
    }

    /// The lines of one permit: they are all of one kind.
    fn apply_end(&mut self, config: &Config, lines: &[Line]) {
        let Some(first) = lines.first() else { return };
        let (id, now, admitted) = (first.permit, first.at, first.admitted_at);
        let ours = id.epoch == self.epoch;
        let open = if ours { self.live.remove(&id.seq) } else { self.orphans.remove(&id) };
        let unknown = open.is_some_and(|o| o.unknown);
        let corrects = if first.kind == LineKind::Corrected { self.expired.remove(&id) } else { None };
        let mut changes: Map<&AccountKey, Change> = Map::new();
        for charge in lines.iter().flat_map(|l| &l.charges) {
            let change = changes.entry(&charge.account).or_default();
            change.hold = change.hold.plus(charge.hold);
            change.cost = change.cost.plus(charge.cost);
        }
        for (key, Change { hold, cost }) in changes {
            // Made first: the account of a permit that a load knows nothing of may not be there.
            let excess = self.account(config, key).excess;
            let ended = if first.kind == LineKind::Corrected { Amount::ZERO } else { hold };
            let lost = self.lost.get_mut(&(id.epoch, key.clone()));
            let Some(account) = self.accounts.get_mut(key) else { continue };
            account.excess = excess.plus(cost).minus(ended).at_least_zero();
            match (first.kind, lost) {
                (LineKind::Corrected, Some(lost)) if hold > Amount::ZERO => {
                    lost.charged = lost.charged.minus(hold).at_least_zero();
                    match account.age {
                        Some(_) => account.reveal(lost.at, admitted, now, lost.left(lost.charged), hold.plus(cost)),
                        None => account.correct(admitted, now, hold, cost),
                    }
                }
                (LineKind::Corrected, _) => {
                    let was = corrects.iter().flat_map(|c| &c.charges).find(|c| c.account == *key);
                    account.correct(admitted, now, was.map_or(Amount::ZERO, |c| c.cost), cost);
                }
                // While a load replays, what this life gave was counted nowhere yet.
                (_, _) if ours && unknown => account.settle(admitted, now, Amount::ZERO, cost),
                (_, _) if ours => {
                    if !account.end(admitted, now, hold, cost) && !self.loading {
                        self.broken.push(format!("the permit {id} ends a hold in {} that is not there", key.rule));
                    }
                }
                (kind, Some(lost)) if unknown => {
                    let part = hold.min(lost.held);
                    lost.held = lost.held.minus(part);
                    let expired = kind == LineKind::Expired;
                    if expired {
                        lost.charged = lost.charged.plus(cost);
                    }
                    match account.age {
                        // What is charged goes on counting as it did.
                        Some(_) if expired => account.reveal(lost.at, admitted, now, lost.left(lost.charged), Amount::ZERO),
                        Some(_) => account.reveal(lost.at, admitted, now, lost.left(lost.held), cost),
                        None => account.settle(admitted, now, part, cost),
                    }
                    account.orphaned = account.orphaned.minus(part).at_least_zero();
                }
                (_, _) if unknown => account.settle(admitted, now, Amount::ZERO, cost),
                (_, _) => account.end_orphan(admitted, now, hold, cost),
            }
        }
        if first.kind == LineKind::Expired {
            self.remember_expired(id, first);
        }
        if unknown {
            self.free_lost(id.epoch, now);
        }
        self.health.ended(&config.breaker, lines);
        self.tally_savings(lines);
        for line in lines {
            self.tally_line(line, corrects.as_ref());
        }
    }

    fn remember_expired(&mut self, id: PermitId, line: &Line) {
        // The truth may come as late as the permit's own life once more.
        let grace = line.at.since(line.admitted_at).clamp(60_000, MAX_GRACE);
        // While loading, this life's own permits look unknown. Their lines know better.
        let unknown = line.key.is_empty();
        let charges = if unknown { Vec::new() } else { line.charges.clone() };
        self.expired.insert(id, Expired { until: line.at.plus(grace), charges, unknown });
    }

    /// When no permit of a life is unknown any more, what it may have held besides was never given.
    fn free_lost(&mut self, epoch: u64, now: Timestamp) {
        let of_life = PermitId { epoch, seq: 0 }..=PermitId { epoch, seq: u64::MAX };
        if self.orphans.range(of_life).any(|(_, open)| open.unknown) {
            return;
        }
        for ((_, key), lost) in self.lost.iter_mut().filter(|((e, _), _)| *e == epoch) {
            if let Some(account) = self.accounts.get_mut(key) {
                account.orphaned = account.orphaned.minus(lost.held).at_least_zero();
                account.reveal(lost.at, now, now, lost.left(lost.charged), Amount::ZERO);
            }
            lost.held = Amount::ZERO;
        }
    }
}
