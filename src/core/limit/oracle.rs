//! Windows and buckets over amounts that are held and settled, against lists of what happened.

use super::{Age, Shape};
use crate::units::{Amount, Timestamp};
use proptest::prelude::*;

/// What came in: when, with what worst case, what it was in truth, and when that was known.
#[derive(Clone, Copy, Debug)]
struct Request {
    gap: i64,
    worst: i64,
    /// In percent of the worst case; above 100 the worst case was wrong.
    truth: i64,
    takes: i64,
}

/// What was let in.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    at: i64,
    worst: i64,
    truth: i64,
    ends: i64,
    settled: bool,
}

impl Admitted {
    /// What a careful observer takes it for: the truth as soon as it is told.
    fn known(&self) -> i64 {
        if self.settled { self.truth } else { self.worst }
    }
}

fn requests(overruns: bool) -> impl Strategy<Value = Vec<Request>> {
    let truth = if overruns { prop_oneof![9 => 0_i64..101, 1 => 100_i64..300] } else { prop_oneof![3 => 0_i64..101, 1 => 0_i64..1] };
    let one = (prop_oneof![4 => 0_i64..60, 1 => 0_i64..900], 0_i64..=60, truth, prop_oneof![3 => 0_i64..80, 1 => 0_i64..3_000]);
    prop::collection::vec(one.prop_map(|(gap, worst, truth, takes)| Request { gap, worst, truth, takes }), 1..50)
}

/// Lets the requests come, tells the truth when it is due, and returns what was let in.
fn drive(shape: Shape, cap: i64, requests: &[Request], mut seen: impl FnMut(i64, &mut Age, &[Admitted])) -> Vec<Admitted> {
    let mut age = Age::new(shape);
    let mut now = 50_000;
    let mut admitted: Vec<Admitted> = Vec::new();
    for request in requests {
        let come = now + request.gap;
        // The truths that are due before it, in the order in which they are due.
        loop {
            let due = admitted.iter_mut().filter(|a| !a.settled && a.ends <= come).min_by_key(|a| a.ends);
            let Some(due) = due else { break };
            now = now.max(due.ends);
            due.settled = true;
            age.settle(Timestamp(due.at), Timestamp(now), Amount::new(due.worst), Amount::new(due.truth));
        }
        now = come;
        if age.check(Timestamp(now), Amount::new(request.worst), Amount::new(cap)).is_ok() {
            age.take(Timestamp(now), Amount::new(request.worst));
            let truth = request.worst * request.truth / 100;
            admitted.push(Admitted { at: now, worst: request.worst, truth, ends: now + request.takes, settled: false });
        }
        seen(now, &mut age, &admitted);
    }
    admitted
}

/// The most that lies in any window of this length, by the truth.
fn fullest(admitted: &[Admitted], length: i64) -> i64 {
    let within = |end: i64| admitted.iter().filter(|a| a.at > end - length && a.at <= end).map(|a| a.truth).sum::<i64>();
    admitted.iter().map(|a| within(a.at)).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_window_holds_more_than_the_limit(length in 1_i64..3_000, cap in 1_i64..300, requests in requests(false)) {
        let admitted = drive(Shape::Window(length), cap, &requests, |_, _, _| {});
        prop_assert!(fullest(&admitted, length) <= cap);
    }

    /// Even where truths are larger than their worst case: what is known at an admission lies within the limit.
    #[test]
    fn a_window_counts_what_is_known(length in 1_i64..3_000, cap in 1_i64..300, requests in requests(true)) {
        let mut wrong = None;
        let mut before = 0;
        drive(Shape::Window(length), cap, &requests, |now, age, admitted| {
            let counts = age.used(Timestamp(now)).get();
            let known: i64 = admitted.iter().filter(|a| a.at > now - length).map(Admitted::known).sum();
            // 101 slots reach back this far.
            let reach = 101 * ((length + 99) / 100);
            let further: i64 = admitted.iter().filter(|a| a.at > now - reach).map(Admitted::known).sum();
            // Never less than what is there, and nothing that is long gone.
            if counts < known || counts > further {
                wrong = Some(format!("{counts} counted, {known} known, {further} in reach"));
            }
            // Who was let in found room.
            if admitted.len() > before && known > cap && admitted[admitted.len() - 1].worst > 0 {
                wrong = Some(format!("{known} known after an admission, {cap} allowed"));
            }
            before = admitted.len();
        });
        prop_assert_eq!(wrong, None);
    }

    /// In any interval at most the burst and what was refilled in it.
    #[test]
    fn no_interval_takes_more_than_burst_and_refill(amount in 1_i64..200, window in 1_i64..2_000, burst in 1_i64..300, requests in requests(false)) {
        let admitted = drive(Shape::Bucket(Amount::new(amount), window), burst, &requests, |_, _, _| {});
        for (i, first) in admitted.iter().enumerate() {
            let mut sum = 0;
            for last in &admitted[i..] {
                sum += last.truth;
                prop_assert!(i128::from(sum) * i128::from(window) <= i128::from(burst) * i128::from(window) + i128::from(amount) * i128::from(last.at - first.at),
                    "{sum} from {} to {}", first.at, last.at);
            }
        }
    }

    /// A bucket whose truths are its worst cases is exactly the one of the book, recomputed from its list.
    #[test]
    fn a_bucket_of_truths_is_exact(amount in 1_i64..200, window in 1_i64..2_000, burst in 1_i64..300, mut requests in requests(false)) {
        requests.iter_mut().for_each(|r| r.truth = 100);
        let mut wrong = None;
        drive(Shape::Bucket(Amount::new(amount), window), burst, &requests, |now, age, admitted| {
            let (mut level, mut at) = (0_i128, 0);
            for a in admitted {
                level = (level - i128::from(a.at - at) * i128::from(amount)).max(0) + i128::from(a.truth) * i128::from(window);
                at = a.at;
            }
            level = (level - i128::from(now - at) * i128::from(amount)).max(0);
            let rounded = (level + i128::from(window) - 1) / i128::from(window);
            if i128::from(age.used(Timestamp(now)).get()) != rounded {
                wrong = Some((now, rounded, age.clone()));
            }
        });
        prop_assert_eq!(wrong, None);
    }

    /// The told wait is enough, and one millisecond less is not.
    #[test]
    fn the_told_wait_of_a_bucket_is_exact(amount in 1_i64..200, window in 1_i64..2_000, burst in 1_i64..300, n in 1_i64..300, requests in requests(true)) {
        let mut wrong = None;
        drive(Shape::Bucket(Amount::new(amount), window), burst, &requests, |now, age, _| {
            let check = |at: i64| age.clone().check(Timestamp(at), Amount::new(n), Amount::new(burst));
            match check(now) {
                Ok(()) => {}
                Err(None) if n > burst => {}
                Err(None) => wrong = Some("never"),
                Err(Some(wait)) if check(now + wait).is_err() || (wait > 1 && check(now + wait - 1).is_ok()) => wrong = Some("wait"),
                Err(Some(_)) => {}
            }
        });
        prop_assert_eq!(wrong, None);
    }

    /// The order in which truths are told does not matter to a window.
    #[test]
    fn truths_in_any_order_count_the_same(length in 64_i64..4_000, cap in 50_i64..500, requests in requests(true), turn in 0_usize..100) {
        let shape = Shape::Window(length);
        let admitted = drive(shape, cap, &requests, |_, _, _| {});
        let end = admitted.iter().map(|a| a.at).max().unwrap_or(0);
        let count = |order: &mut dyn Iterator<Item = &Admitted>| {
            let mut age = Age::new(shape);
            admitted.iter().for_each(|a| age.take(Timestamp(a.at), Amount::new(a.worst)));
            order.for_each(|a| age.settle(Timestamp(a.at), Timestamp(end), Amount::new(a.worst), Amount::new(a.truth)));
            age.used(Timestamp(end)).get()
        };
        let (early, late) = admitted.split_at(turn.min(admitted.len()));
        prop_assert_eq!(count(&mut admitted.iter()), count(&mut late.iter().chain(early)));
    }

    /// Whatever shape it takes on, nothing of what counts is forgotten.
    #[test]
    fn another_shape_forgets_nothing(length in 1_i64..3_000, other in 1_i64..3_000, amount in 1_i64..200, requests in requests(true)) {
        let shapes = [Shape::Window(length), Shape::Bucket(Amount::new(amount), length)];
        let others = [Shape::Window(other), Shape::Bucket(Amount::new(amount), other), Shape::Bucket(Amount::new(amount + 1), length)];
        for shape in shapes {
            let mut last = None;
            drive(shape, 300, &requests, |now, age, _| last = Some((now, age.clone())));
            let Some((now, age)) = last else { continue };
            for other in others {
                let (mut before, mut after) = (age.clone(), age.clone());
                after.fit(Timestamp(now), other);
                prop_assert_eq!(before.used(Timestamp(now)), after.used(Timestamp(now)));
            }
        }
    }
}

#[test]
fn a_long_request_does_not_stop_a_bucket() {
    // One token a millisecond, ten at once, each request under way for a second.
    let mut age = Age::new(Shape::Bucket(Amount::new(1_000), 1_000));
    let mut admitted = 0;
    for now in 0..1_000 {
        if age.check(Timestamp(now), Amount::ONE, Amount::new(10)).is_ok() {
            age.take(Timestamp(now), Amount::ONE);
            admitted += 1;
        }
    }
    assert_eq!(admitted, 1_000);
}

#[test]
fn what_was_refilled_meanwhile_does_not_come_back() {
    // Ten are taken, refilled, and taken again. Then the first turn out to be none.
    let mut age = Age::new(Shape::Bucket(Amount::new(10), 1_000));
    let (ten, none) = (Amount::new(10), Amount::ZERO);
    age.take(Timestamp(0), ten);
    age.take(Timestamp(1_000), ten);
    age.settle(Timestamp(0), Timestamp(1_000), ten, none);
    assert_eq!(age.used(Timestamp(1_000)), ten);
    // At once they do.
    age.settle(Timestamp(1_000), Timestamp(1_000), ten, none);
    assert_eq!(age.used(Timestamp(1_000)), none);
}
