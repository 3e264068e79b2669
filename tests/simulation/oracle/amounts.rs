//! How much was admitted when, where that is forgotten with time: lists, without slots, levels or credit.

use super::demand::plain;
use std::collections::BTreeMap;
use tollgate_core::budget::{AccountKey, Measure};
use tollgate_core::config::{Algorithm, Config, Limit};
use tollgate_core::ids::PermitId;

/// How a rule forgets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Window(i64),
    Bucket { amount: i64, window: i64 },
}

struct Entry {
    permit: PermitId,
    at: i64,
    /// The worst case, until the truth is told.
    amount: i64,
}

#[derive(Default)]
pub struct Amounts(BTreeMap<AccountKey, Vec<Entry>>);

/// Whether an account forgets with time.
pub fn ages(account: &AccountKey) -> bool {
    account.measure != Measure::Budget && account.measure != Measure::Concurrency
}

fn of_limit(limit: &Limit) -> Way {
    let window = i64::from(limit.window_s) * 1_000;
    match limit.algorithm {
        Algorithm::SlidingWindow => Way::Window(window),
        Algorithm::TokenBucket => Way::Bucket { amount: limit.amount.get(), window },
    }
}

fn way(config: &Config, account: &AccountKey) -> Option<Way> {
    if account.measure == Measure::Rolling {
        return config.budgets.iter().find(|b| b.id == account.rule)?.span.rolling().map(Way::Window);
    }
    let limit = config.limits.iter().find(|l| l.id == account.rule && l.measure == account.measure)?;
    (ages(account) && !plain(limit)).then(|| of_limit(limit))
}

/// How much may count in a window.
fn cap(config: &Config, account: &AccountKey) -> Option<i64> {
    if account.measure == Measure::Rolling {
        return config.budgets.iter().find(|b| b.id == account.rule).map(|b| b.limit_usd.get());
    }
    config.limits.iter().find(|l| l.id == account.rule && l.measure == account.measure).map(|l| l.amount.get())
}

impl Amounts {
    /// A rule that was not there before starts empty. A window that has a new length keeps what its old
    /// length still showed; what else is kept is the object's own affair.
    pub fn changed(&mut self, now: i64, before: Option<&Config>, after: &Config) {
        for (account, entries) in &mut self.0 {
            match (before.and_then(|c| way(c, account)), way(after, account)) {
                (Some(old), Some(new)) if old == new => {}
                (Some(Way::Window(old)), Some(Way::Window(_))) => entries.retain(|e| e.at > now - old),
                _ => entries.clear(),
            }
        }
    }

    /// Counts a hold.
    ///
    /// # Errors
    /// When a rule was broken by it.
    pub fn admit(
        &mut self,
        now: i64,
        config: &Config,
        account: &AccountKey,
        permit: PermitId,
        amount: i64,
        cap: i64,
    ) -> Result<(), String> {
        let entries = self.0.entry(account.clone()).or_default();
        entries.push(Entry { permit, at: now, amount });
        if entries.len() > 5_000 {
            entries.retain(|e| e.at > now - 3_600_000);
        }
        if amount == 0 {
            return Ok(());
        }
        match way(config, account) {
            Some(Way::Window(span)) => {
                let within: i64 = entries.iter().filter(|e| e.at > now - span).map(|e| e.amount).sum();
                if within > cap {
                    return Err(format!("{within} within {span} ms in {account:?}, allowed are {cap}"));
                }
            }
            Some(Way::Bucket { amount, window }) => {
                let mut sum = 0;
                for entry in entries.iter().rev() {
                    sum += i128::from(entry.amount) * i128::from(window);
                    if sum > i128::from(cap) * i128::from(window) + i128::from(amount) * i128::from(now - entry.at) {
                        return Err(format!("{sum}/{window} since {} ms in {account:?}, allowed are {cap} at once", now - entry.at));
                    }
                }
            }
            None => return Err(format!("a hold in {account:?}, which no rule has")),
        }
        Ok(())
    }

    /// A hold has grown; it counts from its admission on.
    ///
    /// # Errors
    /// When a window was broken by it.
    pub fn extend(&mut self, now: i64, config: &Config, account: &AccountKey, permit: PermitId, amount: i64) -> Result<(), String> {
        self.tell(account, permit, amount);
        let (Some(within), Some(cap)) = (self.within(now, config, account, false), cap(config, account)) else { return Ok(()) };
        if within > cap {
            return Err(format!("{within} count in {account:?} after {permit} took more, allowed are {cap}"));
        }
        Ok(())
    }

    /// The truth is told, or what is taken for it.
    pub fn tell(&mut self, account: &AccountKey, permit: PermitId, amount: i64) {
        let entries = self.0.get_mut(account);
        for entry in entries.into_iter().flatten().filter(|e| e.permit == permit) {
            entry.amount = amount;
        }
    }

    /// What counts in the window of an account; with `reach`, as far back as 101 slots go. None of a bucket.
    pub fn within(&self, now: i64, config: &Config, account: &AccountKey, reach: bool) -> Option<i64> {
        let Some(Way::Window(span)) = way(config, account) else { return None };
        let span = if reach { 101 * ((span + 99) / 100) } else { span };
        Some(self.0.get(account).map_or(0, |entries| entries.iter().filter(|e| e.at > now - span).map(|e| e.amount).sum()))
    }
}
