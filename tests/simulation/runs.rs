//! The tests: many seeds, and the mutants.

use crate::mutants::{ALL, Mutant};
use crate::oracle::Tally;
use crate::world::World;

/// Runs, unless the environment says otherwise.
const RUNS: u64 = 400;
/// A broken world must be noticed within so many runs.
const PATIENCE: u64 = 100;

#[derive(Debug, PartialEq)]
struct Ran {
    tally: Tally,
    kills: u64,
    turns: u64,
}

/// One run.
///
/// # Errors
/// What was broken, and at which step.
fn run(seed: u64, mutant: Option<Mutant>) -> Result<Ran, String> {
    // Most are short: many short lives show more than a long one. Some go on long enough to write
    // snapshots because the journal has become long.
    let steps = if seed % 25 == 24 { 4_000 } else { 600 };
    let mut world = World::new(seed, mutant);
    for step in 0..steps {
        world.step().map_err(|why| format!("step {step}: {why}"))?;
    }
    world.last_reports().map_err(|why| format!("last reports: {why}"))?;
    world.calm_down().map_err(|why| format!("at the end: {why}"))?;
    Ok(Ran { tally: world.oracle.tally, kills: world.kills, turns: world.turns })
}

/// Prints the seed of a run that fails or panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with TOLLGATE_SIM_SEED={} cargo test -p tollgate-core --test simulation", self.0);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

#[test]
fn the_ledger_keeps_its_promises() {
    let (only, seconds) = (number("TOLLGATE_SIM_SEED"), number("TOLLGATE_SIM_SECONDS"));
    #[expect(clippy::disallowed_methods, reason = "how long to go on is no part of a run")]
    let (start, today) = (std::time::Instant::now(), std::time::SystemTime::now());
    let more = |n: u64| match (only, seconds) {
        (Some(_), _) => n == 0,
        (None, Some(seconds)) => start.elapsed().as_secs() < seconds,
        (None, None) => n < RUNS,
    };
    // Long runs go where none was before.
    let fresh = today.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs() * 1_000);
    let first = only.unwrap_or(if seconds.is_some() { fresh } else { 0 });
    let (mut n, mut kills, mut turns, mut sum) = (0, 0, 0, Tally::default());
    while more(n) {
        let seed = Seed(first + n);
        let ran = run(seed.0, None).unwrap_or_else(|why| panic!("seed {}, {why}", seed.0));
        kills += ran.kills;
        turns += ran.turns;
        sum.add(&ran.tally);
        n += 1;
    }
    println!("{n} runs from seed {first}, {turns} turns, {kills} kills, {sum:?}, {} ms", start.elapsed().as_millis());
    assert!(only.is_some() || seconds.is_some() || sum.complete(), "something never came about: {sum:?}");
}

#[test]
fn a_seed_is_a_run() {
    for seed in [3, 11, 36] {
        assert_eq!(run(seed, None), run(seed, None));
    }
}

#[test]
fn broken_worlds_are_noticed() {
    for mutant in ALL {
        let noticed = (0..PATIENCE).find_map(|seed| run(seed, Some(mutant)).err().map(|why| (seed, why)));
        let (seed, why) = noticed.unwrap_or_else(|| panic!("{mutant:?} is not noticed in {PATIENCE} runs"));
        println!("{mutant:?}: seed {seed}, {}", why.chars().take(160).collect::<String>());
    }
}
