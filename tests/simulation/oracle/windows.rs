//! Who was admitted when: the definition of a limit, written without slots.

use super::demand::plain;
use std::collections::BTreeMap;
use tollgate_core::config::{Config, Limit, Scope};

#[derive(Default)]
pub struct Windows {
    /// When something was admitted, by limit and subject.
    admitted: BTreeMap<(String, String), Vec<i64>>,
}

impl Windows {
    /// A limit that was not there before starts empty. One that has a new length keeps what its old
    /// length still showed.
    pub fn changed(&mut self, now: i64, before: Option<&Config>, after: &Config) {
        for limit in after.limits.iter().filter(|l| plain(l)) {
            let old = before.and_then(|c| c.limits.iter().find(|l| plain(l) && l.id == limit.id));
            for (_, times) in self.admitted.iter_mut().filter(|((id, _), _)| *id == limit.id) {
                match old {
                    None => times.clear(),
                    Some(old) if old.window_s != limit.window_s => times.retain(|t| *t > now - span(old)),
                    Some(_) => {}
                }
            }
        }
    }

    /// Counts an admission.
    ///
    /// # Errors
    /// When a limit was broken by it.
    pub fn admit(&mut self, now: i64, limits: &[Limit], key: &str) -> Result<(), String> {
        for limit in limits.iter().filter(|l| plain(l)) {
            let times = self.admitted.entry((limit.id.clone(), subject(&limit.scope, key))).or_default();
            times.push(now);
            let within = times.iter().filter(|t| **t > now - span(limit)).count() as u64;
            if within > limit.amount.whole() {
                return Err(format!("{within} admissions in {} s, limit `{}` allows {}", limit.window_s, limit.id, limit.amount.whole()));
            }
            if times.len() > 10_000 {
                times.retain(|t| *t > now - 86_400_000);
            }
        }
        Ok(())
    }

    /// How many were admitted in the last `span` milliseconds.
    pub fn within(&self, now: i64, limit: &Limit, key: &str, span: i64) -> u64 {
        let times = self.admitted.get(&(limit.id.clone(), subject(&limit.scope, key)));
        times.map_or(0, |times| times.iter().filter(|t| **t > now - span).count() as u64)
    }
}

pub fn subject(scope: &Scope, key: &str) -> String {
    if *scope == Scope::Key { key.to_owned() } else { String::new() }
}

/// Length of a limit's window in milliseconds.
pub fn span(limit: &Limit) -> i64 {
    i64::from(limit.window_s) * 1_000
}
