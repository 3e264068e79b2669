//! Advice: what the traffic of an alias would have cost at each target that can serve it.

use super::SavingsRow;
use crate::config::{Capability, Quality};
use crate::map::{Set, sort_by};
use crate::perf::View;
use crate::plan::{Plan, Target};
use crate::price::Usage;
use crate::units::NanoUsd;
use serde::{Deserialize, Serialize};

/// What the traffic would have cost at one target, and what else is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// `provider/model`.
    pub target: String,
    /// What all requests would have cost there: the mean request, times their number.
    pub cost: NanoUsd,
    /// What that is less than they did cost; negative if it is more.
    pub saves: NanoUsd,
    /// How good it is: as configured, and corrected by feedback.
    pub quality: Quality,
    /// What it is said not to be able to do.
    pub lacks: Set<Capability>,
    /// Milliseconds to the first byte, as observed; 0 if not yet.
    pub first_ms: u32,
    /// Milliseconds to the end, as observed; 0 if not yet.
    pub total_ms: u32,
    /// Failures in thousandths of its attempts, as observed.
    pub errors: u16,
    /// Whether anything was observed of it.
    pub observed: bool,
}

/// What the traffic in `rows` (those of `actual` of one model) would have cost at each target of its plan,
/// and at `others`, the cheapest first. A target's prompt cache is taken for as warm as it was observed; of
/// one that was never asked nothing is assumed to be cached.
pub fn advise(rows: &[SavingsRow], plan: &Plan, others: &[Target], view: &View) -> Vec<Advice> {
    let mut sum = SavingsRow::default();
    rows.iter().filter(|r| r.cause == "actual").for_each(|row| sum.add(row));
    let mean = |n: u64| n.checked_div(sum.requests).unwrap_or(0);
    let mut seen = Set::new();
    let mut advice = Vec::new();
    for target in plan.targets.iter().chain(others) {
        let name = target.name();
        if !seen.insert(name.clone()) {
            continue;
        }
        let row = view.row(&name);
        let share = u64::from(row.map_or(0, |r| r.cached));
        let mut usage = Usage { input: mean(sum.input), output: mean(sum.output), ..Usage::default() };
        usage.cached_input = usage.input.saturating_mul(share).checked_div(1_000).unwrap_or(0);
        let each = i128::from(target.price.cost(usage).get());
        let cost = NanoUsd::from_i128(each.saturating_mul(i128::from(sum.requests)));
        let feedback = row.map_or(0, |r| i64::from(r.quality));
        advice.push(Advice {
            cost,
            saves: sum.amount.minus(cost),
            quality: Quality::new(target.quality.get().saturating_add(feedback)),
            lacks: target.lacks.clone(),
            first_ms: row.map_or(0, |r| r.first_ms),
            total_ms: row.map_or(0, |r| r.total_ms),
            errors: row.map_or(0, |r| r.errors),
            observed: row.is_some(),
            target: name,
        });
    }
    sort_by(&mut advice, |a, b| (a.cost, &a.target).cmp(&(b.cost, &b.target)));
    advice
}
