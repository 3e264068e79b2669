//! What operators and callers may look at.

use super::Tenant;
use super::admit::{plain, subject};
use super::ledger::account_key;
use crate::config::Scope;
use crate::protocol::{BudgetState, Denial, LimitState, Live, Reply};
use crate::units::Timestamp;

impl Tenant {
    /// Limits and budgets now: all of them, or those that bind one key.
    pub(super) fn live(&mut self, now: Timestamp, key_hash: Option<&str>) -> Reply {
        let Some(stored) = self.config.clone() else {
            return Reply::NoTenant;
        };
        let config = &stored.config;
        let (key, models) = match key_hash {
            None => (None, Vec::new()),
            Some(hash) => match self.keys.get(hash).filter(|k| k.works(now)) {
                Some(key) => (Some(key.view.id.clone()), key.models.clone()),
                None => return Reply::Denied { why: Denial::Key, limit: None },
            },
        };
        let subjects = |scope: &Scope| -> Vec<String> {
            match (scope, &key) {
                (Scope::Tenant, _) => vec![String::new()],
                (_, Some(id)) => vec![id.clone()],
                (_, None) => self.keys.values().filter(|k| k.works(now)).map(|k| k.view.id.clone()).collect(),
            }
        };
        let limit_subjects: Vec<_> = config.limits.iter().filter(|l| plain(l)).map(|l| (l, subjects(&l.scope))).collect();
        let budget_subjects: Vec<_> = config.budgets.iter().map(|b| (b, subjects(&b.scope))).collect();
        let mut live = Live { key: key.clone(), models, ..Live::default() };
        for (limit, subjects) in limit_subjects {
            for name in subjects {
                let window = self.ledger.window(limit, subject(&limit.scope, &name));
                live.limits.push(LimitState {
                    id: limit.id.clone(),
                    subject: name.clone(),
                    limit: limit.amount.whole(),
                    measure: limit.measure,
                    shadow: false,
                    window_s: limit.window_s,
                    remaining: limit.amount.whole().saturating_sub(window.used(now)),
                    reset: window.empty_in(now),
                });
            }
        }
        for (budget, subjects) in budget_subjects {
            for name in subjects {
                let account = account_key(&budget.id, &name, budget.span, now);
                let money = self.ledger.accounts.get(&account).copied().unwrap_or_default();
                live.budgets.push(BudgetState {
                    id: budget.id.clone(),
                    subject: name,
                    limit: budget.limit(now).usd(),
                    spent: money.spent.usd(),
                    held: money.held.usd(),
                    orphaned: money.orphaned.usd(),
                    period_start: account.period,
                    resets_at: budget.span.end(account.period),
                    rolling_s: None,
                    crossed: Vec::new(),
                    shadow: false,
                });
            }
        }
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        live.permits = count(self.ledger.live.len());
        live.orphans = count(self.ledger.orphans.len());
        Reply::Live(live)
    }
}
