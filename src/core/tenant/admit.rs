//! Admission: everything at once, or nothing.

use super::claims::Found;
use super::rules::{Asked, Demand, Rule, plain};
use super::{Answer, Fact, MAX_GRANT, Open, Tenant, Write};
use crate::budget::Measure;
use crate::config::{Config, Limit, Scope};
use crate::ids::PermitId;
use crate::protocol::{Admit, Denial, Hold, LimitState, Permit, Reply};
use crate::units::{Amount, Millis, Timestamp};

/// A report is usually collected with others for this long.
const REPORT_WITHIN: i64 = 250;
/// Near the end of a budget every settlement frees what others wait for.
const REPORT_SOON: i64 = 10;

impl Tenant {
    pub(super) fn admit(&mut self, now: Timestamp, admit: &Admit, writes: &mut Vec<Write>) -> Answer {
        let Some(stored) = self.config.clone() else {
            return Answer::Reply(Reply::NoTenant);
        };
        let Some(key) = self.keys.get(&admit.key_hash).filter(|k| k.works(now)) else {
            self.ledger.denied(now, "", "", "key", 401);
            return denied(Denial::Key, None);
        };
        let other = admit.config_at != Timestamp::default() && admit.config_at != stored.at;
        if stored.version != admit.config || other {
            return Answer::Reply(self.configuration());
        }
        let key = key.clone();
        if !key.may_use(&admit.model) {
            self.ledger.denied(now, &key.id, &admit.model, "model", 403);
            return denied(Denial::Model, None);
        }
        if let Some(idempotency) = &admit.idempotency {
            match self.claimed(now, &key.id, idempotency) {
                Found::Free => {}
                Found::Denied(why) => {
                    self.ledger.denied(now, &key.id, &admit.model, "idempotency", 409);
                    return denied(why, None);
                }
                Found::Replay(Ok(query)) => return Answer::Read(query),
                Found::Replay(Err(reply)) => return Answer::Reply(reply),
            }
        }
        let config = &stored.config;
        let asked = Asked { now, key: &key.id, admit, of_key: &key.metadata };
        let demands = asked.demands(config, &self.ledger);
        if let Err((rule, why)) = self.check(&asked, config, &demands) {
            let status = if matches!(why, Denial::Limit { .. }) { 429 } else { 402 };
            self.ledger.denied(now, &key.id, &admit.model, &rule, status);
            let limit = self.nearest_limit(now, config, &key.id, &demands, Measure::is_requests);
            return denied(why, limit);
        }
        let mut shadow = Vec::new();
        let holds = self.holds(now, &demands, &mut shadow);
        for rule in &shadow {
            self.ledger.violation(now, &key.id, rule, true);
        }
        self.extend_credit(now, config, &key.id, &holds, writes);
        let id = self.reserve(&asked, config, &holds);
        if let Some(idempotency) = &admit.idempotency {
            self.claim(now, &key.id, idempotency, id, writes);
        }
        self.check_books(now, &demands, &holds);
        let report_within = self.report_within(now, &demands);
        let limit = self.nearest_limit(now, config, &key.id, &demands, Measure::is_requests);
        let token_limit = self.nearest_limit(now, config, &key.id, &demands, Measure::is_tokens);
        let probe = self.lend_probe(now, config, admit, id, writes);
        let life = self.ledger.epoch;
        let view = admit.view.as_ref().and_then(|seen| self.ledger.health.view(now, life, (stored.version, config), seen));
        let key_id = key.id.clone();
        Answer::Reply(Reply::Permit(Permit {
            id,
            key: key_id,
            at: now,
            holds,
            limit,
            report_within,
            token_limit,
            shadow,
            critical: key.critical,
            view: view.map(Box::new),
            probe,
        }))
    }

    /// Takes what was found free.
    fn reserve(&mut self, asked: &Asked, config: &Config, holds: &[Hold]) -> PermitId {
        let now = asked.now;
        self.ledger.issued = self.ledger.issued.saturating_add(1);
        let id = PermitId { epoch: self.ledger.epoch, seq: self.ledger.issued };
        self.ledger.count(&config.limits, asked.key, now);
        for hold in holds {
            self.ledger.account(config, &hold.account).hold(now, hold.amount);
        }
        let open = Open {
            at: now,
            until: now.plus(config.permit.lifetime()),
            key: asked.key.to_owned(),
            holds: holds.to_vec(),
            input_cost: asked.admit.input_cost,
            input_tokens: asked.admit.tokens.input,
            worst_case: asked.admit.worst_case,
            failed: Vec::new(),
            unknown: false,
        };
        self.ledger.live.insert(id.seq, open);
        self.ledger.last_admission = now;
        self.ledger.dirty = true;
        id
    }

    /// Asks every rule. The first that denies is named.
    fn check(&mut self, asked: &Asked, config: &Config, demands: &[Demand]) -> Result<(), (String, Denial)> {
        let worst_case = asked.admit.worst_case;
        if let Some(cap) = config.permit.max_cost_usd.filter(|cap| worst_case > *cap) {
            return Err(("max_cost".to_owned(), Denial::MaxCost { cap }));
        }
        for limit in config.limits.iter().filter(|l| plain(l)) {
            let subject = subject(&limit.scope, asked.key);
            let window = self.ledger.window(limit, subject);
            if let Err(wait) = window.check(asked.now, 1, limit.amount.whole()) {
                let left = limit.amount.minus(Amount::count(window.used(asked.now)));
                return Err((Rule::Limit(limit).name(), over_limit(limit, subject, left, wait)));
            }
        }
        for demand in demands.iter().filter(|d| d.rule.enforced()) {
            if let Err(why) = self.check_one(asked.now, config, demand, demands) {
                return Err((demand.rule.name(), why));
            }
        }
        Ok(())
    }

    pub(super) fn check_one(&mut self, now: Timestamp, config: &Config, demand: &Demand, all: &[Demand]) -> Result<(), Denial> {
        let checked = self.ledger.look(config, &demand.account, |account| {
            let wait = account.check(now, demand.amount, demand.cap).err()?;
            let held = if account.age.is_some() { Amount::ZERO } else { account.held.plus(account.orphaned) };
            Some((wait, account.free(now, demand.cap), account.used(now), held))
        });
        let Some((wait, free, used, held)) = checked else { return Ok(()) };
        let concurrent = demand.account.measure == Measure::Concurrency;
        Err(match demand.rule {
            // Nobody knows when a permit ends: soon is as good as any.
            Rule::Limit(limit) if concurrent => over_limit(limit, &demand.account.subject, free, Some(1_000)),
            Rule::Limit(limit) => over_limit(limit, &demand.account.subject, free, wait),
            Rule::Session(session) => Denial::SessionCap {
                cap: session.max_cost_usd,
                used: used.usd(),
                window_s: session.window_s,
                retry_after: wait.unwrap_or_else(|| session.window()),
            },
            Rule::Budget(budget) => Denial::Budget {
                budget: budget.id.clone(),
                limit: demand.cap.usd(),
                spent: used.usd(),
                held: held.usd(),
                resets_at: if budget.span.rolling().is_some() {
                    wait.map(|ms| now.plus(ms))
                } else {
                    budget.span.end(demand.account.period)
                },
                subject: demand.account.subject.clone(),
                remaining: free.usd(),
                affordable: budget.clamp_max_tokens.then(|| self.affordable(now, config, all).usd()),
                steps: budget.when_exceeded.clone(),
            },
        })
    }

    /// What a request may cost to pass all that denies for money.
    fn affordable(&mut self, now: Timestamp, config: &Config, demands: &[Demand]) -> Amount {
        let money = demands.iter().filter(|d| d.rule.enforced() && d.account.measure.is_money());
        let least = money.map(|d| self.ledger.look(config, &d.account, |account| account.free(now, d.cap))).min().unwrap_or(Amount::MAX);
        config.permit.max_cost_usd.map_or(least, |cap| least.min(cap.into()))
    }

    /// What the permit holds. A limit in shadow mode counts what it would have let pass; a budget in shadow
    /// mode counts all that is spent.
    fn holds(&mut self, now: Timestamp, demands: &[Demand], shadow: &mut Vec<String>) -> Vec<Hold> {
        let Some(stored) = self.config.clone() else { return Vec::new() };
        let mut holds = Vec::with_capacity(demands.len());
        for demand in demands {
            let mut counts = true;
            if !demand.rule.enforced()
                && self.ledger.look(&stored.config, &demand.account, |a| a.check(now, demand.amount, demand.cap).is_err())
            {
                shadow.push(demand.rule.name());
                counts = matches!(demand.rule, Rule::Budget(_));
            }
            if counts {
                holds.push(Hold { account: demand.account.clone(), amount: demand.amount });
            }
        }
        holds
    }

    /// Makes sure that these holds lie inside what the disk knows.
    pub(super) fn extend_credit(&mut self, now: Timestamp, config: &Config, key: &str, holds: &[Hold], writes: &mut Vec<Write>) {
        let mut accounts = Vec::new();
        for hold in holds {
            let (held, credit) = self.ledger.accounts.get(&hold.account).map_or_else(Default::default, |a| (a.held, a.credit));
            let needed = held.plus(hold.amount);
            if needed > credit {
                // Twice the need, so that growing traffic writes a handful of times and steady traffic never.
                accounts.push(Hold { account: hold.account.clone(), amount: needed.plus(needed) });
            }
        }
        let next = self.ledger.issued.saturating_add(1);
        let mut granted = self.ledger.granted;
        if next > granted {
            // Near a limit the grant shrinks to single permits: then a crash forgets none of it.
            let room = self.room(now, config, key).checked_div(8).unwrap_or(0).clamp(1, MAX_GRANT);
            granted = self.ledger.issued.saturating_add(room);
        }
        if granted > self.ledger.granted || !accounts.is_empty() {
            self.record(now, vec![Fact::Credit { at: now, granted, accounts }], writes);
        }
    }

    /// How many requests of this key the limits would still let pass.
    fn room(&mut self, now: Timestamp, config: &Config, key: &str) -> u64 {
        let ledger = &mut self.ledger;
        let plain = config.limits.iter().filter(|l| plain(l));
        let room = plain.map(|l| l.amount.whole().saturating_sub(ledger.window(l, subject(&l.scope, key)).used(now)));
        room.min().unwrap_or(u64::MAX)
    }

    /// Of the limits on these measures, the one of which the smallest part is left.
    fn nearest_limit(
        &mut self,
        now: Timestamp,
        config: &Config,
        key: &str,
        demands: &[Demand],
        of: impl Fn(Measure) -> bool,
    ) -> Option<LimitState> {
        let mut states = Vec::new();
        for limit in config.limits.iter().filter(|l| plain(l) && of(l.measure)) {
            states.push(self.ledger.window_state(now, limit, subject(&limit.scope, key)));
        }
        for demand in demands.iter().filter(|d| d.rule.enforced() && of(d.account.measure)) {
            if let Rule::Limit(limit) = demand.rule {
                states.push(self.ledger.limit_state(now, config, limit, &demand.account));
            }
        }
        let left = |s: &LimitState| u128::from(s.remaining).saturating_mul(1_000_000).checked_div(u128::from(s.limit)).unwrap_or(0);
        let nearest = states.into_iter().min_by_key(left)?;
        Some(LimitState { subject: String::new(), ..nearest })
    }

    fn report_within(&mut self, now: Timestamp, demands: &[Demand]) -> i64 {
        let ledger = &mut self.ledger;
        let mut settles = demands.iter().filter(|d| d.rule.enforced() && d.account.measure != Measure::Requests);
        let scarce = settles.any(|d| {
            let free = ledger.accounts.get_mut(&d.account).map_or(d.cap, |account| account.free(now, d.cap));
            free < d.amount.plus(d.amount).plus(d.amount)
        });
        if scarce { REPORT_SOON } else { REPORT_WITHIN }
    }
}

fn denied(why: Denial, limit: Option<LimitState>) -> Answer {
    Answer::Reply(Reply::Denied { why, limit })
}

fn over_limit(limit: &Limit, subject: &str, left: Amount, wait: Option<Millis>) -> Denial {
    Denial::Limit {
        limit: limit.id.clone(),
        window_s: limit.window_s,
        retry_after: wait.unwrap_or_else(|| limit.window()),
        subject: subject.to_owned(),
        measure: Some(limit.measure).filter(|m| *m != Measure::Requests),
        remaining: left.whole(),
        never: wait.is_none(),
        steps: limit.when_exceeded.clone(),
    }
}

/// Whose share: empty for the tenant as a whole.
pub(super) fn subject<'a>(scope: &Scope, key: &'a str) -> &'a str {
    if *scope == Scope::Key { key } else { "" }
}
