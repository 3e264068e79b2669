//! In which order the targets that are left are tried.

use super::chance::{mix, race};
use super::inputs::{Candidate, Inputs};
use crate::config::Strategy;

/// One decision in so many tries a target that seems slow, to see whether it still is.
const EXPLORE: u64 = 50;
/// Latency in milliseconds that is assumed where nothing was observed of any target.
const UNKNOWN_MS: i64 = 1_000;

/// A candidate's place: its index, and the number that it was ordered by. Smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub index: usize,
    pub score: i64,
}

/// The order, and how many at its head are as good as the first: one of these a session may stick to.
pub(super) struct Order {
    pub places: Vec<Place>,
    pub peers: usize,
    /// What else is to be said of it.
    pub note: &'static str,
}

/// Orders candidates. `left` are indices of `inputs.candidates`, ascending.
pub(super) fn order(inputs: &Inputs, strategy: Strategy, left: &[usize]) -> Order {
    let some: Vec<(usize, &Candidate)> = left.iter().filter_map(|i| Some((*i, inputs.candidates.get(*i)?))).collect();
    match strategy {
        // What fits no rule is ordered as written.
        Strategy::Ordered | Strategy::Conditional => {
            let score = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            let places = some.iter().enumerate().map(|(n, (index, _))| Place { index: *index, score: score(n) }).collect();
            Order { places, peers: 1, note: "" }
        }
        Strategy::Weighted => {
            let places = sorted(&some, &|c| drawn(inputs.seed, c));
            let peers = places.iter().filter(|p| p.score < i64::MAX).count().max(1);
            Order { places, peers, note: "" }
        }
        Strategy::Cheapest => {
            let places = sorted(&some, &|c| c.cost.get());
            let best = places.first().map_or(0, |p| p.score);
            let peers = places.iter().filter(|p| p.score == best).count();
            Order { places, peers, note: "" }
        }
        Strategy::Fastest => fastest(inputs, &some),
        Strategy::LeastBusy => {
            let busy = |c: &Candidate| i64::from(c.busy).saturating_mul(10_000).checked_div(i64::from(c.weight)).unwrap_or(i64::MAX);
            let mut places = sorted(&some, &busy);
            // Among equals the draw decides; otherwise all isolates would begin with the first.
            arrange(&mut places, &|p| (p.score, inputs.candidates.get(p.index).map_or(i64::MAX, |c| drawn(inputs.seed, c))));
            let peers = places.len();
            Order { places, peers, note: "" }
        }
        Strategy::Balanced => balanced(inputs, &some),
    }
}

fn sorted(some: &[(usize, &Candidate)], score: &dyn Fn(&Candidate) -> i64) -> Vec<Place> {
    let mut places: Vec<Place> = some.iter().map(|(index, c)| Place { index: *index, score: score(c) }).collect();
    arrange(&mut places, &|p| (p.score, i64::try_from(p.index).unwrap_or(i64::MAX)));
    places
}

/// Sorts places, and leaves equals as they are. In one copy for all keys: sorting is much code.
pub(super) fn arrange(places: &mut [Place], key: &dyn Fn(&Place) -> (i64, i64)) {
    places.sort_by_key(key);
}

/// A weighted draw: the least wins.
fn drawn(bits: u64, c: &Candidate) -> i64 {
    race(mix(bits, &c.target), c.weight).and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX)
}

/// The latency that matters to the client, in milliseconds; 0 if nothing was observed.
fn latency(inputs: &Inputs, c: &Candidate) -> i64 {
    i64::from(if inputs.ask.stream { c.first_ms } else { c.total_ms })
}

/// Power of two choices over peak EWMA: of two drawn at random the one with the lower latency, times the
/// requests under way there, over the share of its attempts that succeed. One decision in [`EXPLORE`] is
/// left to the draw, or a target that has recovered would never be noticed.
///
/// Sources: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001); Finagle's and
/// Linkerd's peak EWMA, <https://linkerd.io/2016/03/16/beyond-round-robin-load-balancing-for-latency/>.
fn fastest(inputs: &Inputs, some: &[(usize, &Candidate)]) -> Order {
    let known = some.iter().map(|(_, c)| latency(inputs, c)).filter(|ms| *ms > 0).min();
    // What is unknown is tried soon, and not by everybody at once: requests under way count there too.
    let hoped = known.map_or(UNKNOWN_MS, |ms| ms.checked_div(2).unwrap_or(0)).max(1);
    let score = |c: &Candidate| {
        let ms = Some(latency(inputs, c)).filter(|ms| *ms > 0).unwrap_or(hoped);
        let succeeds = 1_000_i64.saturating_sub(i64::from(c.errors)).max(50);
        let waiting = i64::from(c.busy).saturating_add(1);
        ms.saturating_mul(waiting).saturating_mul(1_000_000).checked_div(succeeds).unwrap_or(i64::MAX)
    };
    let mut draw = sorted(some, &|c| drawn(inputs.seed, c));
    for place in &mut draw {
        place.score = inputs.candidates.get(place.index).map_or(i64::MAX, score);
    }
    let explore = mix(inputs.seed, "explore").checked_rem(EXPLORE) == Some(0);
    let chosen = if explore { draw.first() } else { draw.iter().take(2).min_by_key(|p| p.score) }.copied();
    let Some(chosen) = chosen else { return Order { places: draw, peers: 0, note: "" } };
    let mut places = sorted(some, &score);
    places.retain(|p| p.index != chosen.index);
    places.insert(0, chosen);
    // A session gives up its target, and the provider's prompt cache with it, for one twice as fast.
    let best = places.iter().map(|p| p.score).min().unwrap_or(0);
    let near = |p: &Place| p.score <= best.saturating_mul(2);
    if near(&chosen) {
        let peers = places.iter().filter(|p| near(p)).count();
        return Order { places, peers, note: if explore { "explore" } else { "" } };
    }
    Order { places, peers: 1, note: if explore { "explore" } else { "" } }
}

/// The least cost of those that are fast enough. The floor of quality was a filter. Those that are too slow
/// come after, the fastest first: a slow answer is better than none.
fn balanced(inputs: &Inputs, some: &[(usize, &Candidate)]) -> Order {
    let ceiling = inputs.route.max_latency_ms.map_or(i64::MAX, i64::from);
    let fast = |c: &Candidate| latency(inputs, c) <= ceiling;
    let (good, slow): (Vec<_>, Vec<_>) = some.iter().copied().partition(|(_, c)| fast(c));
    let mut places = sorted(&good, &|c| c.cost.get());
    let best = places.first().map_or(0, |p| p.score);
    // A tenth more is given for a warm prompt cache, which is cheaper in the end.
    let near = best.saturating_add(best.checked_div(10).unwrap_or(0));
    let peers = places.iter().filter(|p| p.score <= near).count().max(1);
    let note = if places.is_empty() { "slow" } else { "" };
    places.extend(sorted(&slow, &|c| latency(inputs, c)));
    Order { places, peers, note }
}
