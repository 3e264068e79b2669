//! What is known of targets: breakers, performance, feedback. A function of the facts, so that a load comes
//! to the same; and the view of it that isolates are given with their permits.

use super::facts::{Fact, Line, LineKind, TargetHealth};
use super::{Tenant, Write};
use crate::breaker::State;
use crate::checks::Unreachable;
use crate::config::{BreakerPolicy, Config, HedgeAfter, Route, Strategy, split_target};
use crate::ids::PermitId;
use crate::map::{Map, sort_by};
use crate::perf::{MAX_VIEW, Perf, Seen, View, ViewRow};
use crate::protocol::{Admit, Attempt, Feedback, Outcome, ProviderRow, Reply, TokenBound};
use crate::route::{Gate, mix};
use crate::units::{Millis, Timestamp};
use std::collections::VecDeque;

/// Most targets of which something is known; the one that was asked longest ago is forgotten first.
pub const MAX_HEALTH: usize = 128;
/// Most regions of a target.
pub const MAX_REGIONS: usize = 4;
/// Most unreachable providers that isolates are told of.
const MAX_UNREACHABLE: usize = 32;
/// Longest name of a region.
const MAX_REGION: usize = 16;
/// Most requests that are remembered to have been judged.
const MAX_JUDGED: usize = 1_024;
/// Most attempts of a request that are heard of before it is over: as many as a document may ask for.
const MAX_EARLY: usize = 16;
/// How often latencies are told anew. Breakers are told at once.
const VIEW_EVERY: Millis = 2_000;
/// Room for versions between the numbers of two lives, which are times in milliseconds.
const VERSIONS: u64 = 4_096;

/// What is known of targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Health {
    targets: Map<String, TargetHealth>,
    judged: VecDeque<u32>,
    /// How many attempts under a permit under way were told of before its end.
    early: Map<PermitId, usize>,
    /// How many breakers are not closed.
    open: usize,
    told: Told,
}

/// What isolates are told. Not stored: a new life tells all anew.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    /// Version of the view; 0 while there was nothing to tell.
    version: u64,
    /// When it was made.
    at: Timestamp,
    /// Whether a breaker has changed since.
    gates: bool,
    /// Whether something else has.
    perf: bool,
    /// Whether the configuration of this version makes use of latencies.
    wanted: Option<(u64, bool)>,
    /// Providers that health checks found unreachable.
    unreachable: Vec<Unreachable>,
}

impl Health {
    pub fn restore(targets: Vec<TargetHealth>, judged: Vec<u32>, early: Vec<(PermitId, usize)>) -> Health {
        let targets: Map<String, TargetHealth> = targets.into_iter().map(|t| (t.target.clone(), t)).collect();
        let told = Told { gates: true, perf: true, ..Told::default() };
        let mut health = Health { targets, judged: judged.into(), early: early.into_iter().collect(), open: 0, told };
        health.count_open();
        health
    }

    pub fn targets(&self) -> Vec<TargetHealth> {
        self.targets.values().cloned().collect()
    }

    pub fn judged(&self) -> Vec<u32> {
        self.judged.iter().copied().collect()
    }

    pub fn told(&self) -> Vec<(PermitId, usize)> {
        self.early.iter().map(|(id, n)| (*id, *n)).collect()
    }

    fn count_open(&mut self) {
        self.open = self.targets.values().filter(|t| t.breaker.state() != State::Closed).count();
    }

    /// The lines of a permit that ended. What was told of its attempts before counts once.
    pub fn ended(&mut self, policy: &BreakerPolicy, lines: &[Line]) {
        let early = lines.first().and_then(|first| self.early.remove(&first.permit)).unwrap_or(0);
        for line in lines.iter().filter(|l| l.kind == LineKind::Settled).skip(early) {
            if let Some(attempt) = &line.attempt {
                self.attempted(policy, line.at, line.permit, attempt);
            }
        }
        if let Some(last) = lines.last().filter(|_| self.open > 0) {
            self.targets.values_mut().for_each(|t| t.breaker.release(last.at, last.permit));
        }
    }

    /// What health checks found. Cron tells it each minute, so it need not be stored.
    pub fn found(&mut self, mut unreachable: Vec<Unreachable>) {
        unreachable.truncate(MAX_UNREACHABLE);
        if self.told.unreachable != unreachable {
            self.told.unreachable = unreachable;
            self.told.gates = true;
        }
    }

    /// Attempts under a permit that goes on.
    pub fn failed(&mut self, policy: &BreakerPolicy, now: Timestamp, permit: PermitId, attempts: &[Attempt]) {
        attempts.iter().for_each(|attempt| self.attempted(policy, now, permit, attempt));
        let early = self.early.entry(permit).or_default();
        *early = early.saturating_add(attempts.len());
    }

    fn attempted(&mut self, policy: &BreakerPolicy, now: Timestamp, permit: PermitId, attempt: &Attempt) {
        if attempt.outcome == Outcome::Cached {
            return;
        }
        let target = self.target(now, &format!("{}/{}", attempt.provider, attempt.model));
        target.perf.add(now, attempt);
        let before = target.breaker.gate(now);
        target.breaker.record(policy, now, permit, attempt.class(), i64::from(attempt.retry_after_ms));
        let changed = before != target.breaker.gate(now);
        if let Some(perf) = region(&mut target.regions, now, &attempt.region) {
            perf.add(now, attempt);
        }
        self.told.perf = true;
        if changed {
            self.told.gates = true;
            self.count_open();
        }
    }

    /// The target, made if it is not there.
    fn target(&mut self, now: Timestamp, name: &str) -> &mut TargetHealth {
        if self.targets.len() >= MAX_HEALTH && !self.targets.contains_key(name) {
            let oldest = self.targets.values().min_by_key(|t| (t.perf.at, &t.target)).map(|t| t.target.clone());
            oldest.and_then(|oldest| self.targets.remove(&oldest));
            self.told.gates = true;
            self.count_open();
        }
        let fresh = || TargetHealth { target: name.to_owned(), perf: Perf::new(now), ..TargetHealth::default() };
        self.targets.entry(name.to_owned()).or_insert_with(fresh)
    }

    pub fn probe(&mut self, now: Timestamp, target: &str, permit: PermitId) {
        if let Some(target) = self.targets.get_mut(target) {
            target.breaker.probe(now, permit);
        }
    }

    pub fn judge(&mut self, now: Timestamp, target: &str, score: u16, request: u32) {
        self.target(now, target).votes.add(now, score);
        if self.judged.len() >= MAX_JUDGED {
            self.judged.pop_front();
        }
        self.judged.push_back(request);
        self.told.perf = true;
    }

    /// What an isolate is told, unless it knows it.
    pub fn view(&mut self, now: Timestamp, life: u64, (version, config): (u64, &Config), seen: &Seen) -> Option<View> {
        let wanted = match self.told.wanted {
            Some((of, wanted)) if of == version => wanted,
            _ => {
                let wanted = wants_latency(config);
                self.told.wanted = Some((version, wanted));
                self.told.perf = true;
                wanted
            }
        };
        let due = self.told.version == 0 || now.since(self.told.at) >= VIEW_EVERY;
        let nothing = self.open == 0 && self.told.unreachable.is_empty() && !wanted && self.told.version == 0;
        if (self.told.gates && !nothing) || (self.told.perf && wanted && due) || (self.told.version == 0 && seen.version != 0) {
            // A life's number is larger than that of any before, so no version comes twice.
            self.told.version = self.told.version.saturating_add(1).max(life.saturating_mul(VERSIONS));
            (self.told.gates, self.told.perf, self.told.at) = (false, false, now);
        }
        (seen.version != self.told.version).then(|| {
            // Where the tenant has its own address, others' tell nothing of it.
            let elsewhere = |u: &&Unreachable| config.providers.get(&u.provider).is_some_and(|own| own.base_url.is_some());
            let unreachable = self.told.unreachable.iter().filter(|u| now < u.until && !elsewhere(u)).cloned().collect();
            let rows = self.view_rows(now, (wanted, hedges(config)), &seen.region);
            View { version: self.told.version, rows, unreachable }
        })
    }

    fn view_rows(&self, now: Timestamp, (wanted, hedges): (bool, bool), from: &str) -> Vec<ViewRow> {
        let mut rows: Vec<(bool, Timestamp, ViewRow)> = Vec::new();
        for target in self.targets.values() {
            let gate = target.breaker.gate(now);
            if !wanted && gate == Gate::Closed {
                continue;
            }
            let here = target.regions.iter().find(|(name, perf)| !from.is_empty() && name == from && perf.total_ms() > 0);
            let perf = here.map_or(&target.perf, |(_, perf)| perf);
            let (first_p95, total_p95) = if hedges { perf.p95() } else { (0, 0) };
            let known = if wanted { perf.row(&target.target) } else { ViewRow { target: target.target.clone(), ..ViewRow::default() } };
            let quality = if wanted { target.votes.quality(now) } else { 0 };
            rows.push((gate == Gate::Closed, target.perf.at, ViewRow { gate, quality, first_p95, total_p95, ..known }));
        }
        sort_by(&mut rows, |a, b| (a.0, b.1, &a.2.target).cmp(&(b.0, a.1, &b.2.target)));
        rows.into_iter().take(MAX_VIEW).map(|(.., row)| row).collect()
    }

    /// What operators are shown.
    pub fn rows(&self, now: Timestamp) -> Vec<ProviderRow> {
        let of = |target: &TargetHealth| {
            let all = [("", &target.perf)].into_iter().chain(target.regions.iter().map(|(name, perf)| (name.as_str(), perf)));
            all.map(|(region, perf)| row(now, target, region, perf)).collect::<Vec<_>>()
        };
        self.targets.values().flat_map(of).collect()
    }
}

/// What was seen from a region; none if it has no name. The region that was heard of longest ago makes room.
fn region<'a>(regions: &'a mut Vec<(String, Perf)>, now: Timestamp, name: &str) -> Option<&'a mut Perf> {
    if name.is_empty() || name.len() > MAX_REGION {
        return None;
    }
    if !regions.iter().any(|(n, _)| n == name) {
        if regions.len() >= MAX_REGIONS {
            let oldest = regions.iter().enumerate().min_by_key(|(_, (_, perf))| perf.at).map(|(i, _)| i);
            oldest.map(|i| regions.remove(i));
        }
        regions.push((name.to_owned(), Perf::new(now)));
    }
    regions.iter_mut().find(|(n, _)| n == name).map(|(_, perf)| perf)
}

fn row(now: Timestamp, target: &TargetHealth, region: &str, perf: &Perf) -> ProviderRow {
    let (state, until) = match target.breaker.state() {
        State::Closed => ("closed", None),
        State::Throttled { until } if until <= now => ("closed", None),
        State::Open { until } => ("open", Some(until)),
        State::Throttled { until } => ("throttled", Some(until)),
        State::Probing { until, .. } => ("probing", Some(until)),
    };
    let (attempts, failed) = perf.attempts();
    ProviderRow {
        target: target.target.clone(),
        region: region.to_owned(),
        state: state.to_owned(),
        until,
        opens: target.breaker.opens(),
        attempts,
        failed,
        classes: perf.classes.clone(),
        first_ms: [50, 95, 99].map(|q| perf.first.quantile(q).unwrap_or(0)),
        total_ms: [50, 95, 99].map(|q| perf.total.quantile(q).unwrap_or(0)),
        first_now_ms: perf.first_ms(),
        total_now_ms: perf.total_ms(),
        tokens_per_second: perf.tokens_per_second(),
        cached: perf.cached_share(),
        cost_per_mtok: perf.cost_per_mtok(),
        price: perf.price.clone(),
        feedback: target.votes.quality(now),
        at: perf.at,
    }
}

/// Whether any route is decided by what is observed, so that isolates need it.
fn wants_latency(config: &Config) -> bool {
    let observed = |s: Strategy| matches!(s, Strategy::Fastest | Strategy::Balanced | Strategy::Cheapest);
    let route = |r: &Route| observed(r.strategy) || r.min_quality.is_some() || r.rules.iter().any(|rule| observed(rule.strategy));
    hedges(config) || config.models.values().any(|alias| route(&alias.route))
}

/// Whether requests are hedged by what is observed.
fn hedges(config: &Config) -> bool {
    config.retry.hedge.is_some_and(|hedge| hedge.after == HedgeAfter::P95)
}

impl Tenant {
    /// Gives a request that has just been permitted the probe of one of its targets, if one is due. It is
    /// on disk before the permit is: after a crash no second one is given.
    pub(super) fn lend_probe(
        &mut self,
        now: Timestamp,
        config: &Config,
        admit: &Admit,
        permit: PermitId,
        writes: &mut Vec<Write>,
    ) -> Option<String> {
        // A stored answer asks nobody, and an isolate that does not say what it knows does not probe.
        if self.ledger.health.open == 0 || admit.view.is_none() || admit.tokens == TokenBound::default() {
            return None;
        }
        let due = |name: &&str| self.ledger.health.targets.get(*name).is_some_and(|t| t.breaker.wants_probe(now));
        let pool = config.models.get(&admit.model).map(|alias| alias.targets.iter().map(|t| t.target.as_str()).collect());
        let pool: Vec<&str> = pool.unwrap_or_else(|| split_target(&admit.model).map(|_| admit.model.as_str()).into_iter().collect());
        let target = pool.into_iter().find(due)?.to_owned();
        self.record(now, vec![Fact::Probe { at: now, target: target.clone(), permit }], writes);
        Some(target)
    }

    /// Counts attempts that failed, of a request that goes on. What was told before, or of a permit that is
    /// over, changes nothing.
    pub(super) fn failed(&mut self, now: Timestamp, permit: PermitId, attempts: &[Attempt], writes: &mut Vec<Write>) -> Reply {
        if self.config.is_none() {
            return Reply::NoTenant;
        }
        let ours = permit.epoch == self.ledger.epoch;
        let open = if ours { self.ledger.live.contains_key(&permit.seq) } else { self.ledger.orphans.contains_key(&permit) };
        let told = self.ledger.health.early.get(&permit).copied().unwrap_or(0);
        let attempts: Vec<Attempt> = attempts.iter().take(MAX_EARLY).skip(told).cloned().collect();
        if open && !attempts.is_empty() {
            self.record(now, vec![Fact::Failed { at: now, permit, attempts }], writes);
        }
        Reply::Done
    }

    /// Counts what somebody thinks of an answer, once for each request.
    pub(super) fn feedback(&mut self, now: Timestamp, feedback: &Feedback, writes: &mut Vec<Write>) -> Reply {
        let Some(stored) = self.config.clone() else { return Reply::NoTenant };
        let bits = mix(0, &feedback.request) >> 32;
        let request = u32::try_from(bits).unwrap_or(0);
        if self.ledger.health.judged.contains(&request) {
            return Reply::Done;
        }
        // Only targets that are or were asked: a caller cannot fill the object with names.
        let configured = stored.config.models.values().any(|alias| alias.targets.iter().any(|t| t.target == feedback.target));
        if !configured && !self.ledger.health.targets.contains_key(&feedback.target) {
            return Reply::NotFound;
        }
        let score = feedback.score.min(1_000);
        self.record(now, vec![Fact::Feedback { at: now, target: feedback.target.clone(), score, request }], writes);
        Reply::Done
    }
}
