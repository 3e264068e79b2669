//! What is done after an attempt has failed: the kinds of failures, the pauses, the budget.

mod budget;
mod class;

pub use budget::RetryBudget;
pub use class::{Class, Row, Signal, TAXONOMY, Then};

use crate::config::RetryPolicy;
use crate::units::{Millis, Timestamp};

/// The longest wait that a provider's word is taken for, in milliseconds: a day. More is nonsense.
const MAX_WAIT: Millis = 86_400_000;

/// What a provider asks to wait: `retry-after-ms`, else `Retry-After` as seconds or as a date (RFC 9110,
/// 10.2.3). `None` if it says nothing that can be read; a date that is over is no wait.
pub fn retry_after(header: Option<&str>, header_ms: Option<&str>, now: Timestamp) -> Option<Millis> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    #[expect(clippy::cast_possible_truncation, reason = "clamped before")]
    let whole = |ms: f64| ms.min(86_400_000.0).ceil() as Millis;
    if let Some(ms) = header_ms.and_then(number) {
        return Some(whole(ms));
    }
    let text = header?.trim();
    if let Some(seconds) = number(text) {
        return Some(whole(seconds * 1_000.0));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp(date.timestamp_millis()).since(now).min(MAX_WAIT))
}

/// What is left to be tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Another key of the same provider.
    pub keys: bool,
    /// Further targets in the order.
    pub targets: bool,
    /// Further targets with a larger context window.
    pub context: bool,
    /// Further targets that are less strict.
    pub policy: bool,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the same target again after so many milliseconds.
    Same(Millis),
    /// Ask the same target with the provider's next key.
    Key,
    /// Ask the next target of the order.
    Target,
    /// Ask the next target with a larger context window.
    Context,
    /// Ask the next target that is less strict.
    Policy,
    /// Tell the client.
    Stop,
}

/// The attempts of one request.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    /// When all must be over.
    deadline: Timestamp,
    made: u32,
    /// Retries at this target so far.
    same: u32,
}

impl Attempts {
    /// None yet.
    pub fn new(policy: RetryPolicy, deadline: Timestamp) -> Attempts {
        Attempts { policy, deadline, made: 0, same: 0 }
    }

    /// Whether a second target may be asked beside the first one: before anything has failed, and if the
    /// policy leaves room for two.
    pub fn may_hedge(&self) -> bool {
        self.made == 0 && self.policy.hedge.is_some() && self.policy.max_attempts > 1
    }

    /// It was.
    pub fn hedged(&mut self) {
        self.made = self.made.saturating_add(1);
    }

    /// The first target is asked as a probe, which is one attempt and no more.
    #[must_use]
    pub fn probing(self) -> Attempts {
        Attempts { same: self.policy.same_target, ..self }
    }

    /// An attempt has failed; nothing of it has reached the client. `retry_after` is what the provider
    /// asked for, `random` are 64 random bits.
    pub fn next(
        &mut self,
        now: Timestamp,
        class: Class,
        retry_after: Option<Millis>,
        random: u64,
        left: Left,
        budget: &mut RetryBudget,
    ) -> Step {
        self.made = self.made.saturating_add(1);
        let row = class.row();
        if self.made >= self.policy.max_attempts || now >= self.deadline {
            return Step::Stop;
        }
        if row.key && left.keys && budget.take() {
            return Step::Key;
        }
        if row.same && self.same < self.policy.same_target {
            // Who names a time is in no hurry; others may be free now.
            let wait = match retry_after {
                Some(_) if left.targets => None,
                Some(ms) => Some(ms.max(0)).filter(|ms| *ms <= i64::from(self.policy.max_retry_after_ms)),
                None => Some(self.backoff(random)),
            };
            if let Some(wait) = wait.filter(|ms| now.plus(*ms) < self.deadline && budget.take()) {
                self.same = self.same.saturating_add(1);
                return Step::Same(wait);
            }
        }
        self.same = 0;
        match row.then {
            Then::Context if left.context => Step::Context,
            Then::Policy if left.policy => Step::Policy,
            Then::Target | Then::Context if left.targets => Step::Target,
            _ => Step::Stop,
        }
    }

    /// An answer broke off of which some has reached the client. Whether another target may be asked to go on with
    /// it. It counts as a retry: the tokens so far are paid for twice.
    pub fn onward(&mut self, now: Timestamp, class: Class, targets: bool, budget: &mut RetryBudget) -> bool {
        self.made = self.made.saturating_add(1);
        self.same = 0;
        let row = class.row();
        let helps = row.then == Then::Target && row.signal == Signal::Failure;
        helps && targets && self.made < self.policy.max_attempts && now < self.deadline && budget.take()
    }

    /// Exponential backoff with full jitter: anything up to a bound that doubles with each retry.
    ///
    /// Source: Brooker, "Exponential Backoff And Jitter" (AWS, 2015).
    fn backoff(&self, random: u64) -> Millis {
        let bound = u64::from(self.policy.backoff_ms).saturating_mul(1_u64.checked_shl(self.same.min(16)).unwrap_or(1));
        let bound = bound.min(u64::from(self.policy.max_backoff_ms));
        i64::try_from(random.checked_rem(bound.saturating_add(1)).unwrap_or(0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HedgePolicy;
    use proptest::prelude::*;

    const ALL: Left = Left { keys: true, targets: true, context: true, policy: true };
    const LAST: Left = Left { keys: false, targets: false, context: false, policy: false };

    fn next(class: Class, retry_after: Option<Millis>, left: Left) -> Step {
        let mut attempts = Attempts::new(RetryPolicy::default(), Timestamp(60_000));
        attempts.next(Timestamp(0), class, retry_after, 77, left, &mut RetryBudget::default())
    }

    #[test]
    fn waits_are_read_in_every_form() {
        let now = Timestamp(1_445_412_480_000 - 5_000);
        for (header, ms, wait) in [
            (Some("2"), None, Some(2_000)),
            (Some(" 0.5 "), None, Some(500)),
            (Some("120"), Some("250"), Some(250)),
            (Some("Wed, 21 Oct 2015 07:28:00 GMT"), None, Some(5_000)),
            (Some("Tue, 20 Oct 2015 07:28:00 GMT"), None, Some(0)),
            (Some("Fri, 21 Oct 2095 07:28:00 GMT"), None, Some(86_400_000)),
            (Some("99999999999999999999"), None, Some(86_400_000)),
            (Some("-1"), None, None),
            (Some("soon"), None, None),
            (Some("NaN"), Some("x"), None),
            (None, None, None),
        ] {
            assert_eq!(retry_after(header, ms, now), wait, "{header:?} {ms:?}");
        }
    }

    #[test]
    fn what_follows_from_each_failure() {
        let more = Left { targets: true, ..LAST };
        for (class, retry_after, left, step) in [
            (Class::Server, None, more, Step::Same(77)),
            (Class::Connect, None, LAST, Step::Same(77)),
            (Class::Timeout, None, more, Step::Target),
            (Class::Timeout, None, LAST, Step::Stop),
            (Class::RateLimit, None, ALL, Step::Key),
            (Class::RateLimit, Some(1_500), more, Step::Target),
            (Class::RateLimit, Some(1_500), LAST, Step::Same(1_500)),
            (Class::RateLimit, Some(2_001), LAST, Step::Stop),
            (Class::Quota, None, ALL, Step::Key),
            (Class::Auth, None, more, Step::Target),
            (Class::ContextWindow, None, ALL, Step::Context),
            (Class::ContextWindow, None, more, Step::Target),
            (Class::ContentPolicy, None, ALL, Step::Policy),
            (Class::ContentPolicy, None, more, Step::Stop),
            (Class::NoModel, None, more, Step::Target),
            (Class::Refused, None, ALL, Step::Stop),
            (Class::ClientGone, None, ALL, Step::Stop),
        ] {
            assert_eq!(next(class, retry_after, left), step, "{class:?} {left:?}");
        }
    }

    #[test]
    fn the_same_target_is_retried_once_and_then_the_next() {
        let mut attempts = Attempts::new(RetryPolicy::default(), Timestamp(60_000));
        let mut budget = RetryBudget::default();
        let left = Left { targets: true, ..LAST };
        let steps: Vec<Step> = (0..6).map(|_| attempts.next(Timestamp(0), Class::Server, None, 0, left, &mut budget)).collect();
        assert_eq!(steps, [Step::Same(0), Step::Target, Step::Same(0), Step::Target, Step::Same(0), Step::Stop]);
    }

    #[test]
    fn an_attempt_beside_another_counts() {
        let policy = RetryPolicy { max_attempts: 3, hedge: Some(HedgePolicy::default()), ..RetryPolicy::default() };
        let mut attempts = Attempts::new(policy, Timestamp(60_000));
        assert!(attempts.may_hedge());
        attempts.hedged();
        assert!(!attempts.may_hedge());
        let (left, mut budget) = (Left { targets: true, ..LAST }, RetryBudget::default());
        let mut next = || attempts.next(Timestamp(0), Class::Timeout, None, 0, left, &mut budget);
        assert_eq!([next(), next()], [Step::Target, Step::Stop]);
        let one = RetryPolicy { max_attempts: 1, ..policy };
        assert!(!Attempts::new(one, Timestamp(60_000)).may_hedge());
        assert!(!Attempts::new(RetryPolicy::default(), Timestamp(60_000)).may_hedge());
    }

    #[test]
    fn a_broken_answer_goes_on_elsewhere_if_that_helps_and_there_is_room() {
        let onward = |policy: RetryPolicy, now: i64, class: Class, targets: bool, budget: &mut RetryBudget| {
            Attempts::new(policy, Timestamp(60_000)).onward(Timestamp(now), class, targets, budget)
        };
        let policy = RetryPolicy::default();
        for class in [Class::Cut, Class::Timeout, Class::Server, Class::Overloaded, Class::RateLimit, Class::Malformed] {
            assert!(onward(policy, 0, class, true, &mut RetryBudget::default()), "{class:?}");
        }
        for class in [Class::ContentPolicy, Class::ContextWindow, Class::Refused, Class::NoModel, Class::ClientGone, Class::Ok] {
            assert!(!onward(policy, 0, class, true, &mut RetryBudget::default()), "{class:?}");
        }
        assert!(!onward(policy, 0, Class::Cut, false, &mut RetryBudget::default()));
        assert!(!onward(policy, 60_000, Class::Cut, true, &mut RetryBudget::default()));
        assert!(!onward(RetryPolicy { max_attempts: 1, ..policy }, 0, Class::Cut, true, &mut RetryBudget::default()));
        let mut budget = RetryBudget::default();
        let taken = (0..20).filter(|_| onward(policy, 0, Class::Cut, true, &mut budget)).count();
        assert_eq!(taken, 10, "each takes a retry");
        // What does not help takes none.
        let mut budget = RetryBudget::default();
        (0..20).for_each(|_| assert!(!onward(policy, 0, Class::Cut, false, &mut budget)));
        assert_eq!(budget, RetryBudget::default());
    }

    #[test]
    fn attempts_that_go_on_count_with_the_others_and_get_no_company() {
        let policy = RetryPolicy { max_attempts: 3, hedge: Some(HedgePolicy::default()), ..RetryPolicy::default() };
        let (mut attempts, mut budget) = (Attempts::new(policy, Timestamp(60_000)), RetryBudget::default());
        assert!(attempts.onward(Timestamp(0), Class::Cut, true, &mut budget) && !attempts.may_hedge());
        let left = Left { targets: true, ..LAST };
        let mut next = || attempts.next(Timestamp(0), Class::Timeout, None, 0, left, &mut budget);
        assert_eq!([next(), next()], [Step::Target, Step::Stop]);
    }

    #[test]
    fn a_probe_is_one_attempt() {
        let mut attempts = Attempts::new(RetryPolicy::default(), Timestamp(60_000)).probing();
        let mut budget = RetryBudget::default();
        let left = Left { targets: true, ..LAST };
        let steps: Vec<Step> = (0..3).map(|_| attempts.next(Timestamp(0), Class::Server, None, 0, left, &mut budget)).collect();
        // The next target is asked as always.
        assert_eq!(steps, [Step::Target, Step::Same(0), Step::Target]);
    }

    #[test]
    fn without_budget_or_time_there_is_no_retry() {
        let left = Left { targets: true, ..LAST };
        let mut budget = RetryBudget::default();
        while budget.take() {}
        let mut attempts = Attempts::new(RetryPolicy::default(), Timestamp(60_000));
        assert_eq!(attempts.next(Timestamp(0), Class::Server, None, 0, left, &mut budget), Step::Target);
        let mut attempts = Attempts::new(RetryPolicy::default(), Timestamp(100));
        assert_eq!(attempts.next(Timestamp(50), Class::Server, None, 77, left, &mut RetryBudget::default()), Step::Target);
        assert_eq!(attempts.next(Timestamp(100), Class::Server, None, 0, left, &mut RetryBudget::default()), Step::Stop);
    }

    proptest! {
        #[test]
        fn attempts_end_and_pauses_are_bounded(
            classes in prop::collection::vec(0_usize..TAXONOMY.len(), 40),
            randoms in prop::collection::vec(any::<u64>(), 40),
            retry_after in prop::option::of(0_i64..100_000),
        ) {
            let policy = RetryPolicy { same_target: 5, max_attempts: 16, ..RetryPolicy::default() };
            let (mut attempts, mut budget, mut now) = (Attempts::new(policy, Timestamp(30_000)), RetryBudget::default(), 0);
            let mut made = 1;
            for (class, random) in classes.into_iter().zip(randoms) {
                match attempts.next(Timestamp(now), TAXONOMY[class].class, retry_after, random, ALL, &mut budget) {
                    Step::Stop => break,
                    Step::Same(ms) => {
                        prop_assert!((0..=2_000).contains(&ms));
                        now += ms;
                        prop_assert!(now < 30_000);
                    }
                    _ => {}
                }
                made += 1;
                prop_assert!(made <= 16);
            }
        }
    }
}
