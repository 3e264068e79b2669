//! What a permit must hold, and what its attempts used: written from the definition of each rule.

use tollgate_core::budget::{AccountKey, Measure};
use tollgate_core::config::{Algorithm, Config, Limit, Scope};
use tollgate_core::protocol::{Admit, Attempt, Hold, Outcome};
use tollgate_core::units::{Amount, Timestamp};

/// Whose shares of a rule a request of this key is counted in.
fn subjects(scope: &Scope, key: &str, admit: &Admit) -> Vec<String> {
    match scope {
        Scope::Tenant => vec![String::new()],
        Scope::Key => vec![key.to_owned()],
        Scope::Model => vec![admit.model.clone()],
        Scope::Provider => admit.providers.clone(),
        Scope::Metadata(name) => admit.metadata.get(name).cloned().into_iter().collect(),
    }
}

/// Limits that are counted without a hold.
pub fn plain(limit: &Limit) -> bool {
    let whose = limit.scope == Scope::Tenant || limit.scope == Scope::Key;
    whose && limit.measure == Measure::Requests && limit.algorithm == Algorithm::SlidingWindow
}

fn worst(measure: Measure, admit: &Admit) -> Amount {
    let tokens = match measure {
        Measure::Requests | Measure::Concurrency => return Amount::ONE,
        Measure::InputTokens => admit.tokens.input,
        Measure::OutputTokens => admit.tokens.output,
        Measure::Tokens => admit.tokens.input + admit.tokens.output,
        Measure::Budget | Measure::Rolling | Measure::Cost | Measure::Session => return admit.worst_case.into(),
    };
    Amount::count(tokens)
}

/// What a permit must hold, and how much of each account may be taken at all.
pub fn wanted(config: &Config, key: &str, admit: &Admit, at: Timestamp) -> Vec<(Hold, Amount)> {
    let mut all = Vec::new();
    for limit in config.limits.iter().filter(|l| !plain(l)) {
        for subject in subjects(&limit.scope, key, admit) {
            let mut account = AccountKey::timeless(&limit.id, &subject, limit.measure);
            account.by_provider = limit.scope == Scope::Provider;
            let cap = if limit.algorithm == Algorithm::TokenBucket { limit.burst.unwrap_or(limit.amount) } else { limit.amount };
            all.push((Hold { account, amount: worst(limit.measure, admit) }, cap));
        }
    }
    for budget in &config.budgets {
        for subject in subjects(&budget.scope, key, admit) {
            let rolls = budget.span.rolling().is_some();
            let mut account = AccountKey::budget(&budget.id, &subject, budget.span.start(at));
            account.measure = if rolls { Measure::Rolling } else { Measure::Budget };
            account.by_provider = budget.scope == Scope::Provider;
            all.push((Hold { account, amount: admit.worst_case.into() }, budget.limit_usd.into()));
        }
    }
    all
}

/// What the attempts used of what an account counts, one by one. Without any, what stays counted.
pub fn used(account: &AccountKey, attempts: &[Attempt]) -> Vec<i64> {
    if attempts.is_empty() {
        return vec![i64::from(account.measure == Measure::Requests && !account.by_provider)];
    }
    let mut asked = false;
    let mut used = Vec::new();
    for a in attempts {
        let here = !account.by_provider || (a.provider == account.subject && a.outcome != Outcome::Cached);
        let cached = a.outcome == Outcome::Cached;
        let tokens = |n: u64| if cached { 0 } else { n as i64 };
        used.push(match account.measure {
            _ if !here => 0,
            Measure::Requests => i64::from(!asked),
            Measure::Concurrency => 0,
            Measure::InputTokens => tokens(a.usage.input),
            Measure::OutputTokens => tokens(a.usage.output),
            Measure::Tokens => tokens(a.usage.input + a.usage.output),
            Measure::Budget | Measure::Rolling | Measure::Cost | Measure::Session => a.cost.get(),
        });
        asked |= here;
    }
    used
}

/// What all of them used.
pub fn used_in_all(account: &AccountKey, attempts: &[Attempt]) -> i64 {
    used(account, attempts).iter().sum()
}
