//! The tests: many seeds, and the mutants.

use crate::mutants::{ALL, Mutant};
use crate::oracle::Tally;
use crate::world::World;

/// Steps of one run.
const STEPS: usize = 600;
/// Runs, unless the environment says otherwise.
const RUNS: u64 = 150;
/// A broken world must be noticed within so many runs.
const PATIENCE: u64 = 100;

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
    let mut world = World::new(seed, mutant);
    for step in 0..STEPS {
        world.step().map_err(|why| format!("step {step}: {why}"))?;
    }
    world.last_reports().map_err(|why| format!("last reports: {why}"))?;
    world.calm_down().map_err(|why| format!("at the end: {why}"))?;
    Ok(Ran { tally: world.oracle.tally, kills: world.kills, turns: world.turns })
}

/// Prints the seed of a run that panics.
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
    let start = std::time::Instant::now();
    let more = |n: u64| match (only, seconds) {
        (Some(_), _) => n == 0,
        (None, Some(seconds)) => start.elapsed().as_secs() < seconds,
        (None, None) => n < RUNS,
    };
    let (mut n, mut kills, mut turns, mut sum) = (0, 0, 0, Tally::default());
    while more(n) {
        let seed = only.unwrap_or(n);
        let _told = Seed(seed);
        let ran = run(seed, None).unwrap_or_else(|why| panic!("seed {seed}, {why}"));
        kills += ran.kills;
        turns += ran.turns;
        sum.add(&ran.tally);
        n += 1;
    }
    println!("{n} runs, {turns} turns, {kills} kills, {sum:?}, {} ms", start.elapsed().as_millis());
    assert!(only.is_some() || sum.complete(), "something never came about: {sum:?}");
}

#[test]
fn broken_worlds_are_noticed() {
    for mutant in ALL {
        let noticed = (0..PATIENCE).find_map(|seed| run(seed, Some(mutant)).err().map(|why| (seed, why)));
        let (seed, why) = noticed.unwrap_or_else(|| panic!("{mutant:?} is not noticed in {PATIENCE} runs"));
        println!("{mutant:?}: seed {seed}, {}", why.chars().take(160).collect::<String>());
    }
}

#[test]
#[ignore]
fn survey() {
    let mut groups: std::collections::BTreeMap<String, Vec<(u64, String)>> = Default::default();
    let n = number("SURVEY").unwrap_or(300);
    let first = number("FROM").unwrap_or(0);
    std::panic::set_hook(Box::new(|_| {}));
    for seed in first..first + n {
        let t = std::time::Instant::now();
        let r = std::panic::catch_unwind(|| run(seed, None).map(|_| ()));
        if t.elapsed().as_millis() > 1000 { println!("slow {seed} {} ms", t.elapsed().as_millis()); }
        let why = match r { Ok(Ok(())) => continue, Ok(Err(w)) => w, Err(_) => "panic".into() };
        let short: String = why.split(": ").nth(1).unwrap_or(&why).chars().filter(|c| !c.is_ascii_digit()).take(40).collect();
        groups.entry(short).or_default().push((seed, why));
    }
    for (k, v) in &groups {
        println!("{:4} {k}", v.len());
        for (s, w) in v.iter().take(2) { println!("       {s}: {}", w.chars().take(600).collect::<String>()); }
    }
}
