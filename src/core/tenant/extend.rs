//! A permit that holds more: an attempt failed that may cost something, and another is to be made.
//!
//! A permit holds the worst case of one attempt. What failed attempts may have cost comes on top, or the
//! request could spend more than it holds. All accounts take it, or none does and the request ends.

use super::ledger::Ledger;
use super::rules::{Demand, Rule};
use super::settle::truth;
use super::{Answer, Fact, Open, Tenant, Write};
use crate::budget::{AccountKey, Measure};
use crate::config::Config;
use crate::ids::PermitId;
use crate::protocol::{Attempt, Denial, Hold, Reply};
use crate::units::{Amount, NanoUsd, Timestamp};

impl Tenant {
    /// Lets a permit hold what `attempts` cost beside the worst case of one more. [`Reply::NotFound`] for a
    /// permit that is over, or that a crash forgot. One of an earlier life is as good as any while the disk
    /// knows it: an object that nobody asks is evicted long before a provider's time is up.
    pub(super) fn extend(&mut self, now: Timestamp, id: PermitId, attempts: &[Attempt], writes: &mut Vec<Write>) -> Answer {
        let Some(stored) = self.config.clone() else { return Answer::Reply(Reply::NoTenant) };
        let config = &stored.config;
        let ours = id.epoch == self.ledger.epoch;
        let open = if ours { self.ledger.live.get(&id.seq) } else { self.ledger.orphans.get(&id) };
        let Some(open) = open.filter(|open| !open.unknown).cloned() else { return Answer::Reply(Reply::NotFound) };
        let more = missing(&open, attempts);
        let demands: Vec<Demand> = more.iter().filter_map(|hold| demand(config, now, hold)).collect();
        if let Err((rule, why)) = self.room_for(now, config, &open, attempts, &demands) {
            self.ledger.violation(now, &open.key, &rule, false);
            return Answer::Reply(Reply::Denied { why, limit: None });
        }
        if ours {
            // What an earlier life held is on disk without it.
            self.extend_credit(now, config, &open.key, &more, writes);
        }
        if !more.is_empty() {
            self.record(now, vec![Fact::Extended { at: now, permit: id, holds: more.clone() }], writes);
        }
        self.check_books(now, &demands, &more);
        let open = if ours { self.ledger.live.get(&id.seq) } else { self.ledger.orphans.get(&id) };
        Answer::Reply(Reply::Extended { holds: open.map(|open| open.holds.clone()).unwrap_or_default() })
    }

    fn room_for(
        &mut self,
        now: Timestamp,
        config: &Config,
        open: &Open,
        attempts: &[Attempt],
        demands: &[Demand],
    ) -> Result<(), (String, Denial)> {
        let spent = attempts.iter().fold(NanoUsd::ZERO, |sum, a| sum.plus(a.cost.at_least_zero()));
        if let Some(cap) = config.permit.max_cost_usd.filter(|cap| open.worst_case.plus(spent) > *cap) {
            return Err(("max_cost".to_owned(), Denial::MaxCost { cap }));
        }
        for demand in demands.iter().filter(|d| d.rule.enforced()) {
            self.check_one(now, config, demand, demands).map_err(|why| (demand.rule.name(), why))?;
        }
        Ok(())
    }
}

impl Ledger {
    /// A permit holds more. While a load replays, one that it does not know is covered by the credit.
    pub(super) fn extended(&mut self, now: Timestamp, config: &Config, id: PermitId, more: &[Hold]) {
        let ours = id.epoch == self.epoch;
        let open = if ours { self.live.get(&id.seq) } else { self.orphans.get(&id) };
        let Some(mut open) = open.filter(|open| !open.unknown).cloned() else { return };
        for hold in more {
            self.account(config, &hold.account).widen(ours, open.at, now, hold.amount);
            add(&mut open.holds, hold);
            add(&mut open.failed, hold);
        }
        if ours {
            self.live.insert(id.seq, open);
        } else {
            self.orphans.insert(id, open);
        }
    }
}

fn add(holds: &mut Vec<Hold>, more: &Hold) {
    match holds.iter_mut().find(|h| h.account == more.account) {
        Some(hold) => hold.amount = hold.amount.plus(more.amount),
        None => holds.push(more.clone()),
    }
}

/// What each account still has to hold. One request stays one, however often it is tried.
fn missing(open: &Open, attempts: &[Attempt]) -> Vec<Hold> {
    let counts = |account: &AccountKey| !matches!(account.measure, Measure::Requests | Measure::Concurrency);
    let more = |hold: &Hold| {
        let used = (0..attempts.len()).fold(Amount::ZERO, |sum, n| sum.plus(truth(&hold.account, attempts, n)));
        let had = open.failed.iter().find(|h| h.account == hold.account).map_or(Amount::ZERO, |h| h.amount);
        let amount = used.minus(had).at_least_zero();
        (amount > Amount::ZERO).then(|| Hold { account: hold.account.clone(), amount })
    };
    open.holds.iter().filter(|h| counts(&h.account)).filter_map(more).collect()
}

/// The rule that an account belongs to, while there is one.
fn demand<'c>(config: &'c Config, now: Timestamp, hold: &Hold) -> Option<Demand<'c>> {
    let Hold { account, amount } = hold;
    let (rule, cap) = match account.measure {
        Measure::Budget | Measure::Rolling => {
            let budget = config.budgets.iter().find(|b| b.id == account.rule && b.span.measure() == account.measure)?;
            (Rule::Budget(budget), budget.limit(now))
        }
        Measure::Session => {
            let session = config.permit.session?;
            (Rule::Session(session), session.max_cost_usd.into())
        }
        _ => {
            let limit = config.limits.iter().find(|l| l.id == account.rule && l.measure == account.measure)?;
            (Rule::Limit(limit), limit.cap())
        }
    };
    Some(Demand { rule, account: account.clone(), amount: *amount, cap })
}
