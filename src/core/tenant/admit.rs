//! Admission: everything at once, or nothing.

use super::ledger::account_key;
use super::tally::{TallyKey, minute};
use super::{Fact, MAX_GRANT, Open, Tenant, Write};
use crate::config::{Config, Limit, Scope};
use crate::ids::PermitId;
use crate::protocol::{Admit, Counts, Denial, Hold, LimitState, Permit, Reply};
use crate::units::{Amount, Timestamp};

/// A report is usually collected with others for this long.
const REPORT_WITHIN: i64 = 250;
/// Near the end of a budget every settlement frees what others wait for.
const REPORT_SOON: i64 = 10;

impl Tenant {
    pub(super) fn admit(&mut self, now: Timestamp, admit: &Admit, writes: &mut Vec<Write>) -> Reply {
        let Some(stored) = self.config.clone() else {
            return Reply::NoTenant;
        };
        let Some(key) = self.keys.get(&admit.key_hash).filter(|k| k.works(now)) else {
            self.deny_tally(now, "", "", 401);
            return Reply::Denied { why: Denial::Key, limit: None };
        };
        if stored.version != admit.config {
            return self.configuration();
        }
        let (key_id, allowed, critical) = (key.view.id.clone(), key.may_use(&admit.model), key.critical);
        if !allowed {
            self.deny_tally(now, &key_id, &admit.model, 403);
            return Reply::Denied { why: Denial::Model, limit: None };
        }
        let config = &stored.config;

        if let Err(why) = self.check_limits(now, config, &key_id) {
            self.deny_tally(now, &key_id, &admit.model, 429);
            let limit = self.nearest_limit(now, config, &key_id);
            return Reply::Denied { why, limit };
        }
        let holds = match self.check_budgets(now, config, &key_id, admit.worst_case.into()) {
            Ok(holds) => holds,
            Err(why) => {
                self.deny_tally(now, &key_id, &admit.model, 402);
                let limit = self.nearest_limit(now, config, &key_id);
                return Reply::Denied { why, limit };
            }
        };

        self.extend_credit(now, config, &key_id, &holds, writes);
        self.ledger.issued = self.ledger.issued.saturating_add(1);
        let id = PermitId { epoch: self.ledger.epoch, seq: self.ledger.issued };
        self.ledger.count(&config.limits, &key_id, now);
        for hold in &holds {
            let account = self.ledger.accounts.entry(hold.account.clone()).or_default();
            account.held = account.held.plus(hold.amount);
        }
        let open = Open {
            at: now,
            until: now.plus(config.permit.lifetime()),
            key: key_id.clone(),
            holds: holds.clone(),
            input_cost: admit.input_cost,
            unknown: false,
        };
        self.ledger.live.insert(id.seq, open);
        self.ledger.last_admission = now;
        self.ledger.dirty = true;
        let report_within = self.report_within(config, &holds);
        let limit = self.nearest_limit(now, config, &key_id);
        Reply::Permit(Permit { id, key: key_id, at: now, holds, limit, report_within, token_limit: None, shadow: Vec::new(), critical })
    }

    fn check_limits(&mut self, now: Timestamp, config: &Config, key: &str) -> Result<(), Denial> {
        for limit in config.limits.iter().filter(|l| plain(l)) {
            let subject = subject(&limit.scope, key);
            if let Err(wait) = self.ledger.window(limit, subject).check(now, 1, limit.amount.whole()) {
                return Err(Denial::Limit {
                    limit: limit.id.clone(),
                    window_s: limit.window_s,
                    retry_after: wait.unwrap_or_else(|| limit.window()),
                    subject: subject.to_owned(),
                    measure: None,
                    remaining: 0,
                    never: wait.is_none(),
                    steps: limit.when_exceeded.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_budgets(&self, now: Timestamp, config: &Config, key: &str, amount: Amount) -> Result<Vec<Hold>, Denial> {
        let mut holds = Vec::with_capacity(config.budgets.len());
        for budget in &config.budgets {
            let account = account_key(&budget.id, subject(&budget.scope, key), budget.span, now);
            let money = self.ledger.accounts.get(&account).copied().unwrap_or_default();
            if amount > money.free(budget.limit(now)) {
                return Err(Denial::Budget {
                    budget: budget.id.clone(),
                    limit: budget.limit(now).usd(),
                    spent: money.spent.usd(),
                    held: money.held.plus(money.orphaned).usd(),
                    resets_at: budget.span.end(account.period),
                    subject: account.subject,
                    remaining: money.free(budget.limit(now)).usd(),
                    affordable: None,
                    steps: budget.when_exceeded.clone(),
                });
            }
            holds.push(Hold { account, amount });
        }
        Ok(holds)
    }

    /// Makes sure that this admission lies inside what the disk knows.
    fn extend_credit(&mut self, now: Timestamp, config: &Config, key: &str, holds: &[Hold], writes: &mut Vec<Write>) {
        let mut accounts = Vec::new();
        for hold in holds {
            let money = self.ledger.accounts.get(&hold.account).copied().unwrap_or_default();
            let needed = money.held.plus(hold.amount);
            if needed > money.credit {
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
        let room = config
            .limits
            .iter()
            .filter(|l| plain(l))
            .map(|l| l.amount.whole().saturating_sub(ledger.window(l, subject(&l.scope, key)).used(now)));
        room.min().unwrap_or(u64::MAX)
    }

    /// The limit of which the smallest part is left.
    pub(super) fn nearest_limit(&mut self, now: Timestamp, config: &Config, key: &str) -> Option<LimitState> {
        let ledger = &mut self.ledger;
        let left = |s: &LimitState| u128::from(s.remaining).saturating_mul(1_000_000).checked_div(u128::from(s.limit)).unwrap_or(0);
        let states = config.limits.iter().filter(|l| plain(l)).map(|limit| {
            let window = ledger.window(limit, subject(&limit.scope, key));
            LimitState {
                id: limit.id.clone(),
                subject: String::new(),
                limit: limit.amount.whole(),
                measure: limit.measure,
                shadow: false,
                window_s: limit.window_s,
                remaining: limit.amount.whole().saturating_sub(window.used(now)),
                reset: window.empty_in(now),
            }
        });
        states.min_by_key(left)
    }

    fn report_within(&self, config: &Config, holds: &[Hold]) -> i64 {
        let scarce = config.budgets.iter().zip(holds).any(|(budget, hold)| {
            let free = self.ledger.accounts.get(&hold.account).copied().unwrap_or_default().free(budget.limit_usd.into());
            free < hold.amount.plus(hold.amount).plus(hold.amount)
        });
        if scarce { REPORT_SOON } else { REPORT_WITHIN }
    }

    fn deny_tally(&mut self, now: Timestamp, key: &str, model: &str, status: u16) {
        self.ledger.totals.denied = self.ledger.totals.denied.saturating_add(1);
        let key = TallyKey {
            minute: minute(now),
            key: key.to_owned(),
            provider: String::new(),
            model: model.to_owned(),
            status,
            outcome: "denied",
        };
        self.ledger.tally(key, Counts { requests: 1, ..Counts::default() });
        self.ledger.dirty = true;
    }
}

/// Whose share: empty for the tenant as a whole.
pub(super) fn subject<'a>(scope: &Scope, key: &'a str) -> &'a str {
    if *scope == Scope::Key { key } else { "" }
}

/// Whether a limit is counted in a window of requests.
pub(super) fn plain(limit: &Limit) -> bool {
    limit.measure == crate::budget::Measure::Requests && matches!(limit.scope, Scope::Tenant | Scope::Key)
}
