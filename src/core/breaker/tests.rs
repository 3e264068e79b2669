//! The breaker against lists of what happened.

use super::*;
use proptest::prelude::*;

fn permit(seq: u64) -> PermitId {
    PermitId { epoch: 1, seq }
}

fn policy() -> BreakerPolicy {
    BreakerPolicy { cooldown_s: 5, max_cooldown_s: 120, ..BreakerPolicy::default() }
}

/// A breaker that is open since 0.
fn opened() -> Breaker {
    let mut breaker = Breaker::default();
    (0..5).for_each(|n| breaker.record(&policy(), Timestamp(0), permit(n), Class::Server, 0));
    assert_eq!(breaker.state(), State::Open { until: Timestamp(5_000) });
    breaker
}

#[test]
fn it_opens_within_ten_failures() {
    opened();
    // Every other request fails: no five in a row, but half of ten.
    let mut breaker = Breaker::default();
    let mut failures = 0;
    for n in 0..40 {
        let class = if n % 2 == 0 { Class::Ok } else { Class::Timeout };
        failures += i32::from(class != Class::Ok);
        breaker.record(&policy(), Timestamp(n * 100), permit(0), class, 0);
        if breaker.state() != State::Closed {
            break;
        }
    }
    assert_eq!(failures, 5);
}

#[test]
fn a_storm_after_good_times_opens_it_as_soon() {
    // Every other request fails after an hour of twenty good ones a second: the window of 30 seconds is full
    // of those.
    let mut breaker = Breaker::default();
    let mut now = 0;
    for _ in 0..72_000 {
        now += 50;
        breaker.record(&policy(), Timestamp(now), permit(0), Class::Ok, 0);
    }
    let mut failures = 0;
    for n in 0..40 {
        now += 50;
        let class = if n % 2 == 0 { Class::Ok } else { Class::Server };
        failures += i32::from(class != Class::Ok);
        breaker.record(&policy(), Timestamp(now), permit(0), class, 0);
        if breaker.state() != State::Closed {
            break;
        }
    }
    assert_eq!((failures, breaker.opens()), (10, 1));
}

#[test]
fn after_it_closed_half_the_volume_opens_it_again() {
    let mut breaker = opened();
    breaker.probe(Timestamp(5_000), permit(7));
    breaker.record(&policy(), Timestamp(5_100), permit(7), Class::Ok, 0);
    let mut well = breaker.clone();
    let half = |breaker: &mut Breaker, from: i64| {
        let class = |n: i64| if n % 2 == 0 { Class::Ok } else { Class::Server };
        (0..20)
            .take_while(|n| {
                breaker.record(&policy(), Timestamp(from + n * 100), permit(9), class(*n), 0);
                breaker.state() == State::Closed
            })
            .count()
    };
    assert_eq!(half(&mut breaker, 6_000), 5);
    // When it was well for long, it is as before.
    well.record(&policy(), Timestamp(126_000), permit(9), Class::Ok, 0);
    assert_eq!(half(&mut well, 170_000), 9);
}

#[test]
fn what_is_long_ago_does_not_count_as_of_late() {
    // One request a minute, every other fails: ten of twenty, but over twenty minutes.
    let mut breaker = Breaker::default();
    for n in 0..100 {
        let class = if n % 2 == 0 { Class::Ok } else { Class::Server };
        breaker.record(&policy(), Timestamp(n * 60_000), permit(0), class, 0);
        assert_eq!(breaker.state(), State::Closed);
    }
}

#[test]
fn a_volume_above_twenty_is_waited_for() {
    let policy = BreakerPolicy { min_requests: 100, consecutive_failures: 100, ..policy() };
    let mut breaker = Breaker::default();
    for n in 0..98 {
        let class = if n % 2 == 0 { Class::Ok } else { Class::Server };
        breaker.record(&policy, Timestamp(n * 10), permit(0), class, 0);
        assert_eq!(breaker.state(), State::Closed, "after {n}");
    }
    (98..101).for_each(|n| breaker.record(&policy, Timestamp(n * 10), permit(0), Class::Server, 0));
    assert!(matches!(breaker.state(), State::Open { .. }));
}

#[test]
fn a_few_failures_among_many_do_not_open_it() {
    let mut breaker = Breaker::default();
    for n in 0..10_000 {
        let class = if n % 3 == 0 { Class::Server } else { Class::Ok };
        breaker.record(&policy(), Timestamp(n * 10), permit(0), class, 0);
        assert_eq!(breaker.state(), State::Closed);
    }
}

#[test]
fn the_clients_errors_do_not_count() {
    let mut breaker = Breaker::default();
    for class in [Class::Refused, Class::ContextWindow, Class::ContentPolicy, Class::NoModel, Class::ClientGone] {
        (0..100).for_each(|n| breaker.record(&policy(), Timestamp(n), permit(0), class, 0));
    }
    assert_eq!(breaker, Breaker::default());
}

#[test]
fn retry_after_is_followed_up_to_its_cap() {
    let mut breaker = Breaker::default();
    breaker.record(&policy(), Timestamp(0), permit(0), Class::RateLimit, 7_000);
    assert_eq!(breaker.gate(Timestamp(6_999)), Gate::Throttled(Timestamp(7_000)));
    // Nobody probes: all may come when the time is over.
    assert!(!breaker.wants_probe(Timestamp(7_000)));
    assert_eq!(breaker.gate(Timestamp(7_000)), Gate::Closed);
    breaker.record(&policy(), Timestamp(8_000), permit(0), Class::RateLimit, 86_400_000);
    assert_eq!(breaker.gate(Timestamp(8_000)), Gate::Throttled(Timestamp(68_000)));
    // Without the header it is a failure like others.
    let mut breaker = Breaker::default();
    (0..5).for_each(|_| breaker.record(&policy(), Timestamp(0), permit(0), Class::RateLimit, 0));
    assert!(matches!(breaker.state(), State::Open { .. }));
}

#[test]
fn one_probe_at_a_time_and_each_failure_waits_longer() {
    let mut breaker = opened();
    assert!(!breaker.wants_probe(Timestamp(4_999)));
    assert!(breaker.wants_probe(Timestamp(5_000)));
    breaker.probe(Timestamp(5_000), permit(7));
    assert!(!breaker.wants_probe(Timestamp(5_001)));
    // A straggler is no probe.
    breaker.record(&policy(), Timestamp(5_100), permit(3), Class::Ok, 0);
    assert!(matches!(breaker.state(), State::Probing { .. }));
    breaker.record(&policy(), Timestamp(6_000), permit(7), Class::Timeout, 0);
    assert_eq!(breaker.state(), State::Open { until: Timestamp(16_000) });
    breaker.probe(Timestamp(16_000), permit(8));
    breaker.record(&policy(), Timestamp(17_000), permit(8), Class::Ok, 0);
    assert_eq!((breaker.state(), breaker.opens()), (State::Closed, 2));
    // Soon after, it is the third time; long after, the first.
    let mut soon = breaker.clone();
    (0..5).for_each(|_| soon.record(&policy(), Timestamp(20_000), permit(9), Class::Server, 0));
    assert_eq!(soon.state(), State::Open { until: Timestamp(40_000) });
    breaker.record(&policy(), Timestamp(140_000), permit(9), Class::Ok, 0);
    (0..5).for_each(|_| breaker.record(&policy(), Timestamp(140_000), permit(9), Class::Server, 0));
    assert_eq!(breaker.state(), State::Open { until: Timestamp(145_000) });
}

#[test]
fn who_is_well_now_and_then_has_to_show_it_more_often() {
    let mut breaker = opened();
    let mut now = 5_000;
    // How many probes it takes to close it.
    let probes = |breaker: &mut Breaker, now: &mut i64| {
        let mut n = 0;
        while let State::Open { until } = breaker.state() {
            *now = until.0.max(*now);
            breaker.probe(Timestamp(*now), permit(100));
            assert!(!breaker.wants_probe(Timestamp(*now)));
            breaker.record(&policy(), Timestamp(*now), permit(100), Class::Ok, 0);
            n += 1;
        }
        assert_eq!(breaker.state(), State::Closed);
        n
    };
    for (needed, failures) in [(1, 5), (2, 3), (3, 3), (3, 3)] {
        assert_eq!(probes(&mut breaker, &mut now), needed);
        (0..failures).for_each(|n| breaker.record(&policy(), Timestamp(now + n), permit(9), Class::Server, 0));
        assert!(matches!(breaker.state(), State::Open { .. }), "after {failures} failures");
    }
    // One bad probe, and it starts again, later; but that is no more of the same.
    let before = breaker.clone();
    breaker.probe(Timestamp(now + 200_000), permit(7));
    breaker.record(&policy(), Timestamp(now + 200_000), permit(7), Class::Ok, 0);
    assert!(breaker.wants_probe(Timestamp(now + 200_000)));
    breaker.probe(Timestamp(now + 200_000), permit(8));
    breaker.record(&policy(), Timestamp(now + 200_000), permit(8), Class::Server, 0);
    assert!(!breaker.wants_probe(Timestamp(now + 200_001)));
    assert_eq!((breaker.passed, breaker.flaps), (0, before.flaps));
    assert_eq!(probes(&mut breaker, &mut now), 3);
    // Well for long: as before.
    breaker.record(&policy(), Timestamp(now + 130_000), permit(9), Class::Ok, 0);
    assert_eq!((breaker.flaps, breaker.opens()), (0, 0));
}

#[test]
fn a_first_failure_after_a_long_rest_is_a_first_one() {
    let policy = BreakerPolicy { consecutive_failures: 1, ..policy() };
    let mut breaker = Breaker::default();
    breaker.record(&policy, Timestamp(0), permit(1), Class::Server, 0);
    breaker.probe(Timestamp(5_000), permit(2));
    breaker.record(&policy, Timestamp(5_000), permit(2), Class::Ok, 0);
    breaker.record(&policy, Timestamp(3_600_000), permit(3), Class::Server, 0);
    assert_eq!((breaker.state(), breaker.opens(), breaker.flaps), (State::Open { until: Timestamp(3_605_000) }, 1, 0));
}

#[test]
fn a_probe_that_is_lost_or_unused_is_replaced() {
    let mut breaker = opened();
    breaker.probe(Timestamp(5_000), permit(7));
    assert!(!breaker.wants_probe(Timestamp(64_999)));
    assert!(breaker.wants_probe(Timestamp(65_000)));
    breaker.probe(Timestamp(65_000), permit(8));
    // The lost one turns up: it is not the probe any more.
    breaker.record(&policy(), Timestamp(65_001), permit(7), Class::Ok, 0);
    assert!(matches!(breaker.state(), State::Probing { permit: out, .. } if out == permit(8)));
    breaker.release(Timestamp(65_002), permit(8));
    assert!(breaker.wants_probe(Timestamp(65_002)));
}

#[test]
fn switched_off_it_is_closed() {
    let mut breaker = opened();
    breaker.record(&BreakerPolicy { enabled: false, ..policy() }, Timestamp(1), permit(1), Class::Server, 0);
    assert_eq!(breaker, Breaker::default());
}

/// Bytes on disk.
#[test]
fn breakers_stay_readable() {
    for text in [
        r#"{}"#,
        r#"{"s":{"open":{"until":5}},"o":2}"#,
        r#"{"s":{"probing":{"permit":{"e":1,"s":7},"until":65000}},"o":1,"t":4}"#,
        r#"{"s":{"throttled":{"until":5}},"c":2,"w":[[285004800,3,2]]}"#,
        r#"{"c":1,"w":[[285004800,3,2]],"r":13}"#,
        r#"{"s":{"open":{"until":5}},"o":4,"f":2,"p":1,"t":4}"#,
    ] {
        let breaker: Breaker = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&breaker).unwrap(), text);
    }
}

/// What happens next: a request at a target that works or not, whose report may be lost.
#[derive(Clone, Debug)]
enum Event {
    Pass(i64),
    Ask,
    Report { which: usize, works: bool },
    Lose(usize),
    Kill,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => (1_i64..9_000).prop_map(Event::Pass),
        1 => (1_i64..100_000).prop_map(Event::Pass),
        4 => Just(Event::Ask),
        5 => (0_usize..8, any::<bool>()).prop_map(|(which, works)| Event::Report { which, works }),
        1 => (0_usize..8).prop_map(Event::Lose),
        1 => Just(Event::Kill),
    ];
    prop::collection::vec(event, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// However requests, reports, losses and kills are mixed: nobody but one probe asks an open target, and
    /// one that works is asked by everybody again.
    #[test]
    fn one_probe_and_a_way_back(events in events()) {
        let policy = policy();
        let (mut breaker, mut now, mut seq) = (Breaker::default(), 0_i64, 0_u64);
        let mut asked: Vec<(PermitId, i64, bool)> = Vec::new();
        for event in events {
            match event {
                Event::Pass(ms) => now += ms,
                Event::Ask => {
                    seq += 1;
                    let id = permit(seq);
                    let open = matches!(breaker.gate(Timestamp(now)), Gate::Open(_));
                    let probes = breaker.wants_probe(Timestamp(now));
                    prop_assert!(!probes || open);
                    if probes {
                        breaker.probe(Timestamp(now), id);
                    }
                    if probes || !open {
                        asked.push((id, now, probes));
                    }
                    let alive = asked.iter().filter(|(_, at, probe)| *probe && at + PROBE_LIFE > now).count();
                    prop_assert!(alive <= 1 || !open, "{alive} probes at {now}");
                }
                Event::Report { which, works } => {
                    if asked.is_empty() { continue }
                    let (id, _, probe) = asked.remove(which % asked.len());
                    let before = breaker.state();
                    breaker.record(&policy, Timestamp(now), id, if works { Class::Ok } else { Class::Server }, 0);
                    breaker.release(Timestamp(now), id);
                    let closes = breaker.state() == State::Closed && matches!(before, State::Open { .. } | State::Probing { .. });
                    prop_assert!(!closes || (probe && works), "closed by a straggler");
                    if let State::Open { until } = breaker.state() {
                        prop_assert!(until.0 <= now.max(asked.iter().map(|a| a.1).max().unwrap_or(now)) + 120_000);
                    }
                }
                Event::Lose(which) => if !asked.is_empty() { asked.remove(which % asked.len()); },
                // What is on disk is all of it.
                Event::Kill => breaker = serde_json::from_str(&serde_json::to_string(&breaker).unwrap()).unwrap(),
            }
        }
        // It recovers: within its longest pause and a lost probe, the first requests close it.
        now += PROBE_LIFE + 120_000;
        for n in 1..=u64::from(MOST_PROBES) {
            if breaker.wants_probe(Timestamp(now)) {
                breaker.probe(Timestamp(now), permit(seq + n));
                breaker.record(&policy, Timestamp(now), permit(seq + n), Class::Ok, 0);
            }
        }
        prop_assert_eq!(breaker.gate(Timestamp(now)), Gate::Closed);
    }
}
