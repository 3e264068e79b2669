//! What kind of world a seed makes. Each run exaggerates some troubles and leaves others out, which finds
//! more than a mixture of all (Groce et al., "Swarm Testing", 2012).

use crate::chance::Chance;
use tollgate_core::budget::{Calendar, Measure, Period};
use tollgate_core::config::{Algorithm, Budget, Config, ExpiryCharge, Limit, Mode, PermitPolicy, Scope, Span, WhenUnreachable};
use tollgate_core::units::{Amount, NanoUsd};

#[derive(Clone, Debug)]
pub struct Profile {
    pub workers: usize,
    pub keys: usize,
    /// Once in so many turns; never if zero. The same holds for all below.
    pub kill: u64,
    pub lose: u64,
    pub duplicate: u64,
    pub worker_dies: u64,
    pub clock_jumps: u64,
    pub config_changes: u64,
    pub overrun: u64,
    /// Whether the tenant is deleted now and then.
    pub deletes: bool,
    /// Longest pause between two steps in milliseconds.
    pub pause: i64,
    /// Whether expiry may be charged otherwise than at the worst case.
    pub lenient: bool,
    /// Requests with an idempotency key.
    pub claims: u64,
    /// Limits on amounts, one of so many.
    pub amounts: u64,
}

impl Profile {
    pub fn new(chance: &mut Chance) -> Profile {
        Profile {
            workers: 1 + chance.below(4),
            keys: 1 + chance.below(4),
            kill: chance.pick(&[0, 30, 100, 100, 500]),
            lose: chance.pick(&[0, 4, 20]),
            duplicate: chance.pick(&[0, 3, 10]),
            worker_dies: chance.pick(&[0, 100, 400]),
            clock_jumps: chance.pick(&[0, 0, 100, 400]),
            config_changes: chance.pick(&[0, 0, 60, 300]),
            overrun: chance.pick(&[0, 0, 0, 20]),
            deletes: chance.one_in(4),
            pause: chance.pick(&[5, 50, 300, 2_000]),
            lenient: chance.one_in(3),
            claims: chance.pick(&[0, 5, 30]),
            amounts: chance.pick(&[0, 1, 2, 3]),
        }
    }

    /// Whether nothing in it makes the object more careful than it must be.
    pub fn calm(&self) -> bool {
        self.kill == 0 && self.clock_jumps == 0 && self.config_changes == 0
    }

    /// A configuration document, or a changed one.
    pub fn config(&self, chance: &mut Chance, before: Option<&Config>) -> Config {
        let scope = |c: &mut Chance| c.pick(&[Scope::Tenant, Scope::Tenant, Scope::Key]);
        // Without a limit a crash forgets hundreds of permits, which takes long and shows little more.
        let some = if chance.one_in(if self.kill == 0 { 10 } else { 60 }) { 0 } else { 1 + chance.below(3) };
        let limits = (0..some).map(|i| {
            let plain = Limit {
                id: format!("limit-{i}"),
                scope: scope(chance),
                only: Vec::new(),
                measure: Measure::Requests,
                amount: Amount::new(chance.pick(&[1, 3, 10, 30, 100, 100])),
                window_s: chance.pick(&[1, 2, 10, 101, 101, 600]),
                algorithm: Algorithm::SlidingWindow,
                burst: None,
                mode: Mode::Enforce,
                when_exceeded: Vec::new(),
                when_unreachable: WhenUnreachable::Closed,
            };
            if chance.one_in(self.amounts) { amounts(chance, plain) } else { plain }
        });
        let limits = limits.collect();
        let budgets = (0..chance.below(4)).map(|i| Budget {
            id: format!("budget-{i}"),
            scope: if chance.one_in(4) { any_scope(chance) } else { scope(chance) },
            limit_usd: NanoUsd::new(chance.pick(&[0, 500, 2_000, 10_000, 50_000, 50_000, 1_000_000])),
            only: Vec::new(),
            span: if chance.one_in(4) {
                Span::Rolling(chance.pick(&[60, 650, 86_400]))
            } else {
                Span::Calendar(Calendar {
                    period: chance.pick(&[Period::Hour, Period::Day, Period::Month, Period::Year, Period::Total]),
                    zone: chance.pick(&["UTC", "UTC", "Europe/Berlin", "Asia/Kathmandu"]).to_owned().try_into().unwrap_or_default(),
                })
            },
            thresholds: Vec::new(),
            top_ups: Vec::new(),
            mode: Mode::Enforce,
            when_exceeded: Vec::new(),
            clamp_max_tokens: false,
        });
        let budgets = budgets.collect();
        let policies = [ExpiryCharge::WorstCase, ExpiryCharge::InputOnly, ExpiryCharge::Nothing];
        let permit = PermitPolicy {
            lifetime_s: chance.pick(&[1, 10, 30, 90]),
            expiry_charge: if self.lenient { chance.pick(&policies) } else { ExpiryCharge::WorstCase },
            ..PermitPolicy::default()
        };
        let fresh = Config { limits, budgets, permit, ..Config::default() };
        // Most changes touch one thing only.
        match before {
            Some(before) if !chance.one_in(4) => {
                let mut config = before.clone();
                match chance.below(3) {
                    0 => config.limits = fresh.limits,
                    1 => config.budgets = fresh.budgets,
                    _ => config.permit = fresh.permit,
                }
                config
            }
            _ => fresh,
        }
    }
}

fn any_scope(chance: &mut Chance) -> Scope {
    chance.pick(&[Scope::Tenant, Scope::Key, Scope::Model, Scope::Provider, Scope::Metadata("team".to_owned())])
}

/// A limit on something else than requests in a window.
fn amounts(chance: &mut Chance, plain: Limit) -> Limit {
    let measures = [Measure::Requests, Measure::InputTokens, Measure::OutputTokens, Measure::Tokens, Measure::Cost, Measure::Concurrency];
    let measure = chance.pick(&measures);
    let amount = match measure {
        Measure::Concurrency => chance.pick(&[1, 2, 5, 20]),
        Measure::Requests => chance.pick(&[1, 3, 10, 30, 100]),
        Measure::Cost => chance.pick(&[500, 2_000, 10_000]),
        _ => chance.pick(&[100, 500, 2_000]),
    };
    let bucket = measure != Measure::Concurrency && chance.one_in(3);
    Limit {
        scope: any_scope(chance),
        measure,
        amount: Amount::new(amount),
        window_s: if measure == Measure::Concurrency { 0 } else { plain.window_s },
        algorithm: if bucket { Algorithm::TokenBucket } else { Algorithm::SlidingWindow },
        burst: (bucket && chance.one_in(2)).then(|| Amount::new(chance.pick(&[1, 50, 400]))),
        ..plain
    }
}
