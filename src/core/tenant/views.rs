//! What operators and callers may look at.

use super::Tenant;
use super::ledger::Ledger;
use super::rules::plain;
use crate::budget::AccountKey;
use crate::config::{Budget, Config, Limit, Mode, Scope};
use crate::protocol::{BudgetState, Denial, LimitState, Live, Reply};
use crate::units::{Amount, Timestamp};

/// Most states of one rule that are shown, where its subjects are not keys.
const MAX_SHOWN: usize = 1_000;

impl Ledger {
    /// A limit that is counted in a window of requests.
    pub fn window_state(&mut self, now: Timestamp, limit: &Limit, subject: &str) -> LimitState {
        let window = self.window(limit, subject);
        LimitState {
            id: limit.id.clone(),
            subject: subject.to_owned(),
            limit: limit.amount.whole(),
            window_s: limit.window_s,
            remaining: limit.amount.whole().saturating_sub(window.used(now)),
            reset: window.empty_in(now),
            measure: limit.measure,
            shadow: false,
        }
    }

    /// A limit that is counted in an account.
    pub fn limit_state(&mut self, now: Timestamp, config: &Config, limit: &Limit, key: &AccountKey) -> LimitState {
        self.look(config, key, |account| LimitState {
            id: limit.id.clone(),
            subject: key.subject.clone(),
            limit: limit.cap().whole(),
            window_s: limit.window_s,
            remaining: account.free(now, limit.cap()).whole(),
            reset: account.age.as_mut().map_or(0, |age| age.empty_in(now)),
            measure: limit.measure,
            shadow: limit.mode == Mode::Shadow,
        })
    }

    fn budget_state(&mut self, now: Timestamp, config: &Config, budget: &Budget, key: &AccountKey) -> BudgetState {
        self.look(config, key, |account| {
            // What ages counts holds among what is used.
            let ages = account.age.is_some();
            let beside = |n: Amount| if ages { Amount::ZERO } else { n };
            BudgetState {
                id: budget.id.clone(),
                limit: budget.limit(now).usd(),
                spent: account.used(now).usd(),
                held: beside(account.held).usd(),
                orphaned: beside(account.orphaned).usd(),
                period_start: budget.span.rolling().map_or(key.period, |length| Timestamp(now.0.saturating_sub(length))),
                resets_at: budget.span.end(key.period),
                rolling_s: budget.span.rolling().and_then(|ms| u32::try_from(ms.checked_div(1_000)?).ok()),
                crossed: account.crossed.clone(),
                shadow: budget.mode == Mode::Shadow,
                subject: key.subject.clone(),
            }
        })
    }
}

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
        let mut live = Live { key: key.clone(), models, version: stored.version, ..Live::default() };
        for limit in &config.limits {
            let of = AccountKey { by_provider: limit.scope == Scope::Provider, ..AccountKey::timeless(&limit.id, "", limit.measure) };
            for subject in self.subjects(now, key.as_deref(), &limit.scope, &limit.only, &of) {
                live.limits.push(if plain(limit) {
                    self.ledger.window_state(now, limit, &subject)
                } else {
                    self.ledger.limit_state(now, config, limit, &AccountKey { subject, ..of.clone() })
                });
            }
        }
        for budget in &config.budgets {
            let of = AccountKey {
                rule: budget.id.clone(),
                subject: String::new(),
                period: budget.span.start(now),
                measure: budget.span.measure(),
                by_provider: budget.scope == Scope::Provider,
            };
            for subject in self.subjects(now, key.as_deref(), &budget.scope, &budget.only, &of) {
                live.budgets.push(self.ledger.budget_state(now, config, budget, &AccountKey { subject, ..of.clone() }));
            }
        }
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        live.permits = count(self.ledger.live.len());
        live.orphans = count(self.ledger.orphans.len());
        Reply::Live(live)
    }

    /// Whose shares are shown: all working keys, and whoever else has an account. A key is shown what
    /// binds it alone or all of the tenant.
    fn subjects(&self, now: Timestamp, key: Option<&str>, scope: &Scope, only: &[String], of: &AccountKey) -> Vec<String> {
        let all: Vec<String> = match (scope, key) {
            (Scope::Tenant, _) => vec![String::new()],
            (Scope::Key, Some(id)) => vec![id.to_owned()],
            (Scope::Key, None) => self.keys.values().filter(|k| k.works(now)).map(|k| k.view.id.clone()).collect(),
            (_, Some(_)) => Vec::new(),
            (_, None) => {
                let same = |k: &&AccountKey| AccountKey { subject: String::new(), ..(*k).clone() } == *of && !k.subject.is_empty();
                let of_rule = self.ledger.accounts.range(of..).take_while(|(k, _)| k.rule == of.rule).map(|(k, _)| k);
                of_rule.filter(same).take(MAX_SHOWN).map(|k| k.subject.clone()).collect()
            }
        };
        all.into_iter().filter(|s| only.is_empty() || only.contains(s)).collect()
    }
}
