//! Graceful degradation: what to try, step by step, when a rule denies a request.
//!
//! Each limit and budget has its own steps, in the order given. A step is tried once for a request; a wait
//! goes on until its time is over. When no step is left the denial stands.

use crate::config::Step;
use crate::map::Map;
use crate::protocol::Denial;
use crate::units::{Millis, NanoUsd, Timestamp};

/// The shortest wait, so that a full budget is not asked without pause.
const SHORTEST_WAIT: Millis = 25;
/// The longest wait between two tries: what is asked for may be freed earlier than told.
const LONGEST_WAIT: Millis = 1_000;

/// What to do about a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Lower `max_tokens` until the request costs no more than this, and ask again.
    Clamp(NanoUsd),
    /// Give a stored answer, however old; ask for the next step if there is none.
    Cache,
    /// Ask again for this model.
    Downgrade(String),
    /// Ask again after so many milliseconds.
    Wait(Millis),
    /// The denial stands.
    Refuse,
}

/// The steps that one request has tried.
#[derive(Clone, Debug, Default)]
pub struct Degrade {
    /// How many of each rule's steps are used up.
    used: Map<String, usize>,
    /// Until when a rule's wait lasts.
    waits: Map<String, Timestamp>,
    clamped: bool,
    taken: Vec<(String, &'static str)>,
}

impl Degrade {
    /// What to do about `why` at `now`.
    pub fn next(&mut self, now: Timestamp, why: &Denial) -> Next {
        let (rule, steps, retry_after, affordable) = match why {
            Denial::Limit { limit, steps, retry_after, never, .. } => {
                (format!("limit:{limit}"), steps, if *never { None } else { Some(*retry_after) }, None)
            }
            Denial::Budget { budget, steps, affordable, .. } => (format!("budget:{budget}"), steps, Some(LONGEST_WAIT), *affordable),
            _ => return Next::Refuse,
        };
        if let Some(cost) = affordable.filter(|cost| *cost > NanoUsd::ZERO && !self.clamped) {
            self.clamped = true;
            self.take(&rule, "clamp");
            return Next::Clamp(cost);
        }
        let used = self.used.entry(rule.clone()).or_default();
        while let Some(step) = steps.get(*used) {
            match (step, retry_after) {
                (Step::Reject, _) => return Next::Refuse,
                (Step::Cache, _) => {
                    *used = used.saturating_add(1);
                    return Next::Cache;
                }
                (Step::Downgrade(model), _) => {
                    *used = used.saturating_add(1);
                    self.take(&rule, "downgrade");
                    return Next::Downgrade(model.clone());
                }
                (Step::WaitMs(ms), Some(retry_after)) => {
                    let until = *self.waits.entry(rule.clone()).or_insert_with(|| now.plus(i64::from(*ms)));
                    let left = until.since(now);
                    if left > 0 {
                        self.take(&rule, "wait");
                        return Next::Wait(retry_after.clamp(SHORTEST_WAIT, LONGEST_WAIT).min(left).max(1));
                    }
                    self.waits.remove(&rule);
                }
                // Waiting does not help.
                (Step::WaitMs(_), None) => {}
            }
            *used = used.saturating_add(1);
        }
        Next::Refuse
    }

    /// A stored answer was given because of this denial.
    pub fn served_from_cache(&mut self, why: &Denial) {
        match why {
            Denial::Limit { limit, .. } => self.take(&format!("limit:{limit}"), "cache"),
            Denial::Budget { budget, .. } => self.take(&format!("budget:{budget}"), "cache"),
            _ => {}
        }
    }

    fn take(&mut self, rule: &str, step: &'static str) {
        let new = (rule.to_owned(), step);
        if !self.taken.contains(&new) {
            self.taken.push(new);
        }
    }

    /// The steps that were taken, in order: rule and step.
    pub fn taken(&self) -> &[(String, &'static str)] {
        &self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(steps: Vec<Step>, never: bool) -> Denial {
        Denial::Limit {
            limit: "rpm".into(),
            window_s: 60,
            retry_after: 400,
            subject: String::new(),
            measure: None,
            remaining: 0,
            never,
            steps,
        }
    }

    fn budget(steps: Vec<Step>, affordable: Option<i64>) -> Denial {
        Denial::Budget {
            budget: "m".into(),
            limit: NanoUsd::new(9),
            spent: NanoUsd::ZERO,
            held: NanoUsd::ZERO,
            resets_at: None,
            subject: String::new(),
            remaining: NanoUsd::ZERO,
            affordable: affordable.map(NanoUsd::new),
            steps,
        }
    }

    #[test]
    fn steps_are_tried_in_their_order_each_once() {
        let why = limit(vec![Step::Cache, Step::Downgrade("small".into()), Step::WaitMs(1_000)], false);
        let mut degrade = Degrade::default();
        assert_eq!(degrade.next(Timestamp(0), &why), Next::Cache);
        assert_eq!(degrade.next(Timestamp(0), &why), Next::Downgrade("small".into()));
        assert_eq!(degrade.next(Timestamp(0), &why), Next::Wait(400));
        assert_eq!(degrade.next(Timestamp(400), &why), Next::Wait(400));
        assert_eq!(degrade.next(Timestamp(800), &why), Next::Wait(200));
        assert_eq!(degrade.next(Timestamp(1_000), &why), Next::Refuse);
        assert_eq!(degrade.taken(), [("limit:rpm".to_owned(), "downgrade"), ("limit:rpm".to_owned(), "wait")]);
    }

    #[test]
    fn no_steps_and_reject_refuse_at_once() {
        assert_eq!(Degrade::default().next(Timestamp(0), &limit(Vec::new(), false)), Next::Refuse);
        let why = limit(vec![Step::Reject, Step::Cache], false);
        let mut degrade = Degrade::default();
        assert_eq!((degrade.next(Timestamp(0), &why), degrade.next(Timestamp(0), &why)), (Next::Refuse, Next::Refuse));
        assert_eq!(Degrade::default().next(Timestamp(0), &Denial::Model), Next::Refuse);
    }

    #[test]
    fn nobody_waits_for_what_can_never_pass() {
        let why = limit(vec![Step::WaitMs(5_000), Step::Downgrade("small".into())], true);
        assert_eq!(Degrade::default().next(Timestamp(0), &why), Next::Downgrade("small".into()));
    }

    #[test]
    fn tokens_are_lowered_first_and_once() {
        let why = budget(vec![Step::Downgrade("small".into())], Some(7));
        let mut degrade = Degrade::default();
        assert_eq!(degrade.next(Timestamp(0), &why), Next::Clamp(NanoUsd::new(7)));
        assert_eq!(degrade.next(Timestamp(0), &why), Next::Downgrade("small".into()));
        assert_eq!(degrade.next(Timestamp(0), &why), Next::Refuse);
        assert_eq!(Degrade::default().next(Timestamp(0), &budget(Vec::new(), Some(0))), Next::Refuse);
    }

    #[test]
    fn each_rule_has_steps_of_its_own() {
        let (one, other) = (limit(vec![Step::Cache], false), budget(vec![Step::Cache], None));
        let mut degrade = Degrade::default();
        assert_eq!((degrade.next(Timestamp(0), &one), degrade.next(Timestamp(0), &other)), (Next::Cache, Next::Cache));
        degrade.served_from_cache(&other);
        assert_eq!(degrade.taken(), [("budget:m".to_owned(), "cache")]);
    }
}
