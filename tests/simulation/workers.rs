//! Worker isolates and what they do: ask for permits, send requests, report in batches, die.

use crate::mutants::Mutant;
use crate::oracle::{Broken, End};
use crate::world::{Input, World};
use tollgate_core::ids::PermitId;
use tollgate_core::map::Map;
use tollgate_core::perf::Seen;
use tollgate_core::price::Usage;
use tollgate_core::protocol::{Admit, Attempt, Command, Idempotency, Outcome, Permit, Reply, Report, StoredAnswer, TokenBound};
use tollgate_core::units::NanoUsd;

/// A request on its way to a provider.
struct Sent {
    permit: Permit,
    attempts: Vec<Attempt>,
    /// What one attempt costs at worst, and where it may go.
    worst: i64,
    bound: TokenBound,
    providers: Vec<String>,
    ends: i64,
    /// Whether its answer is to be kept for repetitions.
    claimed: bool,
}

/// An isolate. All of it vanishes when it dies.
pub struct Worker {
    name: usize,
    /// The configuration version it knows.
    version: u64,
    running: Vec<Sent>,
    /// Answers not stored yet.
    answered: Vec<PermitId>,
    /// Reports not sent yet.
    waiting: Vec<Report>,
    /// Reports sent, not yet acknowledged.
    unsure: Vec<Report>,
}

/// Reports on their way to the object.
pub struct Parcel {
    from: usize,
    reports: Vec<Report>,
}

impl Worker {
    pub fn new(name: usize) -> Worker {
        Worker { name, version: 0, running: Vec::new(), answered: Vec::new(), waiting: Vec::new(), unsure: Vec::new() }
    }
}

impl World {
    /// A client asks a worker.
    pub fn request(&mut self) -> Result<(), Broken> {
        let w = self.chance.below(self.workers.len());
        let Some(key_hash) = self.some_key() else { return Ok(()) };
        let model = self.chance.pick(&["fast", "fast", "slow", "p/m"]).to_owned();
        let worst = match self.chance.below(10) {
            0 => 0,
            1 => self.chance.between(1, 20_000),
            _ => self.chance.between(1, 400),
        };
        let tokens = TokenBound { input: self.chance.next() % 100, output: self.chance.next() % 100 };
        let providers: Vec<String> = self.chance.pick(&[vec!["p"], vec!["q"], vec!["p", "q"]]).into_iter().map(str::to_owned).collect();
        let team = self.chance.pick(&["", "red", "blue"]).to_owned();
        let metadata = if team.is_empty() { Map::new() } else { Map::from([("team".to_owned(), team)]) };
        let idempotency = self.chance.one_in(self.profile.claims).then(|| Idempotency {
            key_hash: format!("once-{}", self.chance.below(12)),
            body_hash: format!("body-{}", u8::from(self.chance.one_in(10))),
        });
        for _ in 0..2 {
            let admit = Admit {
                key_hash: key_hash.clone(),
                config: self.workers[w].version,
                model: model.clone(),
                worst_case: NanoUsd::new(worst),
                input_cost: NanoUsd::new(worst / 3),
                tokens,
                providers: providers.clone(),
                metadata: metadata.clone(),
                idempotency: idempotency.clone(),
                view: Some(Seen::default()),
                ..Admit::default()
            };
            let reply = self.turn(Input::Message(Command::Admit(admit)))?;
            if self.chance.one_in(self.profile.lose) {
                // The answer is lost: the permit is out, and nobody has it.
                return Ok(());
            }
            match reply {
                Some(Reply::Configuration { version, .. }) => self.workers[w].version = version,
                Some(Reply::Permit(permit)) => {
                    let claimed = idempotency.is_some();
                    return self.send(w, permit, worst, tokens, &providers, claimed);
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn some_key(&mut self) -> Option<String> {
        if self.chance.one_in(50) {
            return Some("unknown".to_owned());
        }
        let hashes: Vec<String> = self.oracle.keys.keys().cloned().collect();
        if hashes.is_empty() { None } else { Some(self.chance.pick(&hashes)) }
    }

    /// The request goes out: what it will cost is known to the oracle from here on.
    fn send(
        &mut self,
        w: usize,
        mut permit: Permit,
        worst: i64,
        bound: TokenBound,
        providers: &[String],
        claimed: bool,
    ) -> Result<(), Broken> {
        let count = self.chance.pick(&[0, 1, 1, 1, 1, 2, 3]);
        let mut left = if self.chance.one_in(self.profile.overrun) { worst * 2 + 10 } else { worst };
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut tokens = bound;
        for n in 0..count {
            if n > 0 && self.chance.one_in(3) {
                // Whether it is heard or not, each attempt counts once.
                self.turn(Input::Message(Command::Failed { permit: permit.id, attempts: attempts.clone() }))?;
            }
            if n > 0 && self.chance.one_in(2) {
                // Room for another attempt at its worst, beside what the others cost.
                let asks = Command::Extend { permit: permit.id, attempts: attempts.clone() };
                let Some(reply) = self.turn(Input::Message(asks))? else { return Ok(()) };
                let Reply::Extended { holds } = reply else { break };
                self.oracle.heard(permit.id, &holds);
                permit.holds = holds;
                (left, tokens) = (left.max(worst), bound);
            }
            let attempt = self.attempt(left, tokens, providers);
            left -= attempt.cost.get();
            tokens = TokenBound { input: tokens.input - attempt.usage.input, output: tokens.output - attempt.usage.output };
            attempts.push(attempt);
        }
        if let Some(given) = self.oracle.given.get_mut(&permit.id) {
            given.sent = Some(attempts.clone());
        }
        let takes = match self.chance.below(20) {
            0 => self.chance.between(0, 200_000),
            1..4 => self.chance.between(0, 5_000),
            _ => self.chance.between(0, 300),
        };
        let ends = self.passed + takes;
        let providers = providers.to_vec();
        self.workers[w].running.push(Sent { permit, attempts, worst, bound, providers, ends, claimed });
        Ok(())
    }

    /// An attempt that costs and uses at most so much.
    fn attempt(&mut self, left: i64, tokens: TokenBound, providers: &[String]) -> Attempt {
        let failed = [Outcome::Error, Outcome::Timeout, Outcome::Cut, Outcome::ClientGone, Outcome::Aborted, Outcome::Cached];
        let cost = if self.chance.one_in(3) { left } else { self.chance.between(0, left) };
        let usage =
            Usage { input: self.chance.next() % (tokens.input + 1), output: self.chance.next() % (tokens.output + 1), ..Usage::default() };
        Attempt {
            provider: self.chance.pick(providers),
            model: self.chance.pick(&["m", "n"]).to_owned(),
            outcome: if self.chance.below(7) < 2 { Outcome::Ok } else { self.chance.pick(&failed) },
            status: self.chance.pick(&[200, 200, 429, 500]),
            usage,
            estimated: self.chance.one_in(2),
            cost: NanoUsd::new(cost),
            price: "p/*".to_owned(),
            latency_ms: self.chance.next() as u32 % 1_000,
            first_byte_ms: 1,
            ..Attempt::default()
        }
    }

    /// A request that has been under way for a while tries once more, if it may: the object may have died
    /// since it was admitted.
    pub fn try_again(&mut self) -> Result<(), Broken> {
        let w = self.chance.below(self.workers.len());
        if self.workers[w].running.is_empty() {
            return Ok(());
        }
        let i = self.chance.below(self.workers[w].running.len());
        let mut sent = self.workers[w].running.swap_remove(i);
        let asks = Command::Extend { permit: sent.permit.id, attempts: sent.attempts.clone() };
        if let Some(Reply::Extended { holds }) = self.turn(Input::Message(asks))? {
            self.oracle.heard(sent.permit.id, &holds);
            sent.permit.holds = holds;
            let attempt = self.attempt(sent.worst, sent.bound, &sent.providers);
            sent.attempts.push(attempt);
            if let Some(given) = self.oracle.given.get_mut(&sent.permit.id) {
                given.sent = Some(sent.attempts.clone());
            }
            let epoch = self.object.as_ref().map_or(0, |o| o.epoch);
            self.oracle.tally.extended_orphans += u64::from(epoch > sent.permit.id.epoch);
        }
        self.workers[w].running.push(sent);
        Ok(())
    }

    /// Requests whose time has come are over.
    pub fn finish(&mut self) {
        for worker in &mut self.workers {
            for i in (0..worker.running.len()).rev() {
                if worker.running[i].ends <= self.passed {
                    let Sent { permit, attempts, claimed, .. } = worker.running.swap_remove(i);
                    if claimed {
                        worker.answered.push(permit.id);
                    }
                    let Permit { id, key, at, holds, .. } = permit;
                    worker.waiting.push(Report { permit: id, key, admitted_at: at, holds, attempts, ..Report::default() });
                }
            }
        }
    }

    /// A worker sends what it has, or sends again what nobody acknowledged.
    pub fn post(&mut self) {
        let w = self.chance.below(self.workers.len());
        let most = 1 + self.chance.below(20);
        let again = self.chance.one_in(4);
        let worker = &mut self.workers[w];
        let mut reports = Vec::new();
        if again {
            reports.extend(worker.unsure.iter().take(most).cloned());
        }
        let n = most.min(worker.waiting.len());
        let fresh: Vec<Report> = worker.waiting.drain(..n).collect();
        worker.unsure.extend(fresh.iter().cloned());
        reports.extend(fresh);
        if !reports.is_empty() {
            let from = worker.name;
            self.network.push(Parcel { from, reports });
        }
    }

    /// A worker stores the answer to a request that had an idempotency key.
    pub fn complete(&mut self) -> Result<(), Broken> {
        let w = self.chance.below(self.workers.len());
        let Some(permit) = self.workers[w].answered.pop() else { return Ok(()) };
        if self.chance.one_in(4) {
            // It is lost.
            return Ok(());
        }
        let answer = StoredAnswer { status: 200, headers: Vec::new(), body: format!("answer to {permit}") };
        self.turn(Input::Message(Command::Complete { permit, answer })).map(|_| ())
    }

    /// The network delivers something: any of what is on its way.
    pub fn deliver(&mut self) -> Result<(), Broken> {
        if self.network.is_empty() {
            return Ok(());
        }
        let i = self.chance.below(self.network.len());
        if self.chance.one_in(self.profile.lose) {
            self.network.swap_remove(i);
            return Ok(());
        }
        let twice = self.chance.one_in(self.profile.duplicate);
        let parcel = if twice {
            let Parcel { from, reports } = &self.network[i];
            Parcel { from: *from, reports: reports.clone() }
        } else {
            self.network.swap_remove(i)
        };
        let mut reports = parcel.reports;
        if self.chance.one_in(8) {
            reports.extend(reports.first().cloned());
        }
        if self.mutant == Some(Mutant::DuplicatesAreNew) {
            self.take_duplicates_for_new(&mut reports);
        }
        let acknowledged: Vec<PermitId> = reports.iter().map(|r| r.permit).collect();
        let reply = self.turn(Input::Message(Command::Report { reports }))?;
        if reply.is_some() && !self.chance.one_in(self.profile.lose) {
            for worker in self.workers.iter_mut().filter(|w| w.name == parcel.from) {
                worker.unsure.retain(|r| !acknowledged.contains(&r.permit));
            }
        }
        Ok(())
    }

    fn take_duplicates_for_new(&self, reports: &mut [Report]) {
        for report in reports {
            let known = self.oracle.given.get(&report.permit).is_some_and(|g| g.end == End::Settled);
            if known && let Some((id, _)) = self.oracle.unfinished().next() {
                report.permit = *id;
            }
        }
    }

    /// A worker dies with all that it remembers.
    pub fn lose_worker(&mut self) {
        let w = self.chance.below(self.workers.len());
        self.names += 1;
        self.workers[w] = Worker::new(1_000 + self.names as usize);
    }

    /// All requests are over at once, and their reports arrive.
    pub fn report_all(&mut self) -> Result<(), Broken> {
        for worker in &mut self.workers {
            worker.running.iter_mut().for_each(|sent| sent.ends = self.passed);
        }
        self.finish();
        for w in 0..self.workers.len() {
            let reports = std::mem::take(&mut self.workers[w].waiting);
            self.turn(Input::Message(Command::Report { reports }))?;
        }
        Ok(())
    }

    /// Nobody asks any more. Reports arrive or are lost with their worker.
    pub fn last_reports(&mut self) -> Result<(), Broken> {
        let arrive = self.chance.one_in(2);
        self.passed += if arrive { 250_000 } else { 0 };
        self.finish();
        for _ in 0..400 {
            if arrive {
                self.post();
            }
            self.deliver()?;
        }
        Ok(())
    }
}
