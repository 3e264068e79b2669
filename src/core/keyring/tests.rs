use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_710_028_800_000);
const REFUSED: Verdict = Verdict::Trouble(Why::Refused);
const NO_CREDIT: Verdict = Verdict::Trouble(Why::NoCredit);
const THROTTLED: Verdict = Verdict::Trouble(Why::Throttled);

fn ring(n: usize) -> Ring {
    Ring::new("", "openai", (1..=n).map(|i| (format!("K_{i}"), Secret::new(&format!("sk-secret-number-{i}")))))
}

fn after(ms: i64) -> Timestamp {
    NOW.plus(ms)
}

fn name(key: Option<&ProviderKey>) -> &str {
    key.map_or("-", |k| &k.name)
}

#[test]
fn keys_take_turns() {
    let (mut keyring, ring) = (Keyring::default(), ring(3));
    let names: Vec<&str> = (0..5).map(|_| name(keyring.choose(&ring, &[], NOW, 1))).collect();
    assert_eq!(names, ["K_2", "K_3", "K_1", "K_2", "K_3"]);
}

#[test]
fn each_ring_has_turns_of_its_own() {
    let (mut keyring, ours) = (Keyring::default(), ring(2));
    let theirs = Ring::new("acme", "openai", ours.keys().iter().map(|k| (k.name.to_string(), k.secret.clone())));
    let names: Vec<&str> = (0..4).flat_map(|_| [&ours, &theirs].map(|r| name(keyring.choose(r, &[], NOW, 0)))).collect();
    assert_eq!(names, ["K_1", "K_1", "K_2", "K_2", "K_1", "K_1", "K_2", "K_2"]);
    // What a tenant's provider says about a key is not believed about the operator's.
    keyring.outcome(&theirs.keys()[0], REFUSED, None, NOW);
    assert!(keyring.rests(&theirs.keys()[0].id, NOW) && !keyring.rests(&ours.keys()[0].id, NOW));
}

#[test]
fn a_ring_has_each_key_once() {
    let keys = ["a", "", "b", "a", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    let ring = Ring::new("", "p", keys.map(|k| (k.to_uppercase(), Secret::new(k))));
    let names: Vec<&str> = ring.keys().iter().map(|k| &*k.name).collect();
    assert_eq!(names, ["A", "B", "C", "D", "E", "F", "G", "H", "I"]);
}

#[test]
fn a_throttled_key_rests_as_long_as_it_was_told() {
    for (retry_after, rest) in [(None, 5_000), (Some(2_500), 2_500), (Some(600_000), 60_000), (Some(0), 0), (Some(-5), 0)] {
        let (mut keyring, ring) = (Keyring::default(), ring(2));
        let key = &ring.keys()[0];
        assert_eq!(keyring.outcome(key, THROTTLED, retry_after, NOW), None);
        assert_eq!(keyring.dead(), []);
        assert!(!keyring.rests(&key.id, after(rest)));
        assert!(rest == 0 || keyring.rests(&key.id, after(rest - 1)));
    }
}

#[test]
fn a_key_without_credit_rests_five_minutes_and_is_told() {
    let (mut keyring, ring) = (Keyring::default(), ring(2));
    let told = keyring.outcome(&ring.keys()[1], NO_CREDIT, Some(1), NOW).unwrap();
    assert_eq!((told.name.as_str(), told.last4.as_deref(), told.why), ("K_2", Some("er-2"), Why::NoCredit));
    assert_eq!((told.since, told.until), (NOW, after(300_000)));
    assert_eq!(keyring.dead(), [told]);
    assert_eq!(name(keyring.choose(&ring, &[], after(299_999), 1)), "K_1");
    assert_eq!(name(keyring.choose(&ring, &[], after(300_000), 1)), "K_2");
}

#[test]
fn a_refused_key_rests_twice_as_long_each_time() {
    let (mut keyring, ring) = (Keyring::default(), ring(2));
    let key = &ring.keys()[0];
    let mut now = NOW;
    for minutes in [5, 10, 20, 40, 60, 60] {
        let told = keyring.outcome(key, REFUSED, None, now).unwrap();
        assert_eq!((told.since, told.until), (NOW, now.plus(minutes * 60_000)));
        // Others that were under way say the same: that is neither told nor counted.
        assert_eq!(keyring.outcome(key, REFUSED, None, now.plus(10)), None);
        assert_eq!(keyring.outcome(key, THROTTLED, None, now.plus(10)), None);
        now = told.until;
        assert!(!keyring.rests(&key.id, now));
        assert_eq!(keyring.dead().len(), 1, "until it has worked it is dead");
    }
    assert_eq!(keyring.outcome(key, Verdict::Works, None, now), None);
    assert_eq!(keyring.dead(), []);
    assert_eq!(keyring.outcome(key, REFUSED, None, now).unwrap().until, now.plus(300_000));
}

#[test]
fn a_request_is_given_another_key_only_if_it_does_not_rest() {
    let (mut keyring, ring) = (Keyring::default(), ring(3));
    let [a, b, c] = [0, 1, 2].map(|i| ring.keys()[i].clone());
    keyring.outcome(&b, THROTTLED, None, NOW);
    assert_eq!(name(keyring.choose(&ring, std::slice::from_ref(&a.id), NOW, 0)), "K_3");
    assert_eq!(keyring.choose(&ring, &[a.id.clone(), c.id.clone()], NOW, 0), None);
    assert_eq!(name(keyring.choose(&ring, &[a.id.clone(), c.id.clone()], after(5_000), 0)), "K_2");
}

#[test]
fn when_all_rest_the_one_that_is_up_first_is_asked() {
    let (mut keyring, ring) = (Keyring::default(), ring(3));
    keyring.outcome(&ring.keys()[0], REFUSED, None, NOW);
    keyring.outcome(&ring.keys()[1], THROTTLED, Some(20_000), NOW);
    keyring.outcome(&ring.keys()[2], THROTTLED, Some(10_000), NOW);
    assert_eq!(name(keyring.choose(&ring, &[], NOW, 0)), "K_3");
    keyring.outcome(&ring.keys()[2], NO_CREDIT, None, NOW);
    assert_eq!(name(keyring.choose(&ring, &[], NOW, 0)), "K_2", "who is throttled may be let in, who is refused is not");
    assert_eq!(keyring.choose(&Ring::default(), &[], NOW, 0), None);
}

#[test]
fn an_only_key_is_always_asked_with() {
    let (mut keyring, ring) = (Keyring::default(), ring(1));
    keyring.outcome(&ring.keys()[0], REFUSED, None, NOW);
    assert_eq!(name(keyring.choose(&ring, &[], NOW, 7)), "K_1");
    assert_eq!(keyring.choose(&ring, std::slice::from_ref(&ring.keys()[0].id), NOW, 7), None);
}

/// What is said about a token is said about the account that it was made for.
#[test]
fn an_exchanged_key_stays_the_same_key() {
    let (mut keyring, ring) = (Keyring::default(), ring(3));
    let ids = ring.keys().iter().map(|key| key.id.clone());
    let tokens: Vec<(KeyId, Secret)> = ids.zip(["token-a", "token-b"]).map(|(id, token)| (id, Secret::new(token))).collect();
    let exchanged = ring.exchanged(&tokens);
    let revealed: Vec<&str> = exchanged.keys().iter().map(|key| key.secret.reveal()).collect();
    assert_eq!(revealed, ["token-a", "token-b"]);
    let told = keyring.outcome(&exchanged.keys()[0], REFUSED, None, NOW).unwrap();
    assert_eq!((told.name.as_str(), told.last4.as_deref()), ("K_1", Some("er-1")));
    assert!(keyring.rests(&ring.keys()[0].id, NOW));
}

#[test]
fn no_key_is_shown() {
    let (mut keyring, ring) = (Keyring::default(), ring(2));
    keyring.outcome(&ring.keys()[0], REFUSED, None, NOW);
    let shown = format!("{keyring:?} {ring:?} {:?}", keyring.dead());
    assert!(!shown.contains("secret-number"), "{shown}");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut keyring = Keyring::default();
    for n in 0..MAX_TROUBLED + 10 {
        let ring = Ring::new(&format!("t{n}"), "p", [("a".to_owned(), Secret::new("x")), ("b".to_owned(), Secret::new("y"))]);
        keyring.choose(&ring, &[], NOW, 0);
        keyring.outcome(&ring.keys()[0], REFUSED, None, NOW);
    }
    assert!(keyring.troubles.len() <= MAX_TROUBLED && keyring.turns.len() <= MAX_TURNS);
    assert!(!keyring.troubles.is_empty());
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Works), Just(Verdict::Unrelated), Just(REFUSED), Just(NO_CREDIT), Just(THROTTLED)]
}

proptest! {
    #[test]
    fn the_choice_is_sound(
        n in 1_usize..6,
        steps in prop::collection::vec((0_usize..6, verdict(), prop::option::of(-10_i64..100_000), -1_000_i64..400_000, 0_u8..8, any::<u64>()), 1..80),
    ) {
        let (mut keyring, ring) = (Keyring::default(), ring(n));
        let (mut now, mut latest) = (NOW, NOW);
        for (who, verdict, retry_after, passed, mask, seed) in steps {
            now = now.plus(passed);
            latest = latest.max(now);
            let key = &ring.keys()[who % n];
            keyring.outcome(key, verdict, retry_after, now);
            prop_assert!(!keyring.rests(&key.id, latest.plus(MAX_REFUSED)), "no rest is longer than an hour");
            if verdict == Verdict::Works {
                prop_assert!(!keyring.rests(&key.id, now));
            }
            let tried: Vec<KeyId> = ring.keys().iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, k)| k.id.clone()).collect();
            let left: Vec<&ProviderKey> = ring.keys().iter().filter(|k| !tried.contains(&k.id)).collect();
            let awake = left.iter().filter(|k| !keyring.rests(&k.id, now)).count();
            match keyring.choose(&ring, &tried, now, seed) {
                Some(key) => {
                    prop_assert!(!tried.contains(&key.id));
                    prop_assert!(awake == 0 || n == 1 || !keyring.rests(&key.id, now));
                    prop_assert!(awake > 0 || tried.is_empty());
                }
                None => prop_assert!(awake == 0 && !tried.is_empty()),
            }
        }
    }

    #[test]
    fn turns_are_fair(n in 1_usize..9, rounds in 1_usize..20, seed: u64) {
        let (mut keyring, ring) = (Keyring::default(), ring(n));
        let mut counts = Map::new();
        for _ in 0..n * rounds {
            *counts.entry(keyring.choose(&ring, &[], NOW, seed).unwrap().id.clone()).or_insert(0) += 1;
        }
        prop_assert!(counts.len() == n && counts.values().all(|c| *c == rounds));
    }
}
