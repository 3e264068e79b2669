//! Station 7: the truth replaces the worst case. Reports of one isolate travel together, off the
//! client's way, and again until they are acknowledged.

use super::identify::Caller;
use crate::isolate::Isolate;
use crate::ports::World;
use std::rc::Rc;
use tollgate_core::config::DecisionPolicy;
use tollgate_core::degrade::Degrade;
use tollgate_core::ids::{PermitId, TenantId};
use tollgate_core::plan::Target;
use tollgate_core::price::Usage;
use tollgate_core::protocol::{Attempt, Command, Hold, MAX_ANSWER, MAX_REPORTS, Outcome, Permit, Reply, Report, StoredAnswer, read_reply};
use tollgate_core::retry::Signal;
use tollgate_core::route::{Decision, Inputs, Record};
use tollgate_core::savings::{Origin, Saved, Story};
use tollgate_core::units::Millis;

/// A sender that has not come back after this long is taken for dead.
const SENDER_LIFE: Millis = 10_000;
/// Reports of requests that failed wait no longer than this: until they are heard, others run into the same fault.
const URGENT: Millis = 10;
/// Pauses before each further try to deliver reports, in milliseconds.
const PAUSES: [Millis; 4] = [50, 200, 800, 2_000];

/// A permit in hand. It ends in [`Held::settle`] or [`Held::release`]; if both are lost, the object
/// closes it when it expires.
#[must_use = "a permit is settled or released"]
#[derive(Debug)]
pub struct Held {
    /// Whose.
    pub tenant: TenantId,
    /// The permit; none where a stored answer was given, or the ledger could not be asked.
    permit: Option<Permit>,
    /// Whether the answer is to be kept for repetitions.
    claimed: bool,
    /// What is told beside the attempts.
    pub note: Note,
}

/// What a report tells beside the attempts.
#[derive(Debug, Default)]
pub struct Note {
    /// What the request is compared with, where the tenant states a baseline.
    pub compared: Option<Box<Compared>>,
    /// The tokens of the stored answer that was given.
    pub stored: Option<Usage>,
    /// The tokens of the part that another target wrote before this one went on.
    pub begun: Option<Usage>,
    /// The request's id, the decision, and what it was made of.
    pub decided: Option<Box<(String, Inputs, Decision)>>,
    /// Whether it is kept.
    pub keeps: DecisionPolicy,
    /// Chance.
    pub seed: u64,
}

/// What a request is compared with.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The model as the caller named it.
    pub model: String,
    /// Where it would have gone.
    pub baseline: Target,
    /// The first target for the model that it asked for.
    pub asked: Target,
    /// The first target for the model that it was sent to.
    pub first: Target,
}

impl Note {
    fn saved(&self, attempts: &[Attempt]) -> Option<Box<Saved>> {
        let Compared { model, baseline, asked, first } = self.compared.as_deref()?;
        let answered = attempts.last().filter(|a| a.outcome == Outcome::Ok).map(|a| self.whole(a.usage));
        let (origin, usage) = match self.stored {
            Some(usage) => (Origin::Cache, Some(usage)),
            None => (Origin::Provider, answered),
        };
        Some(Box::new(Story { model, baseline, asked, first, origin, usage, attempts }.saved()))
    }

    /// The tokens of the answer as the client got it, of which the last attempt used these: what is out of a part
    /// that broke off was input of the next one, and is output.
    fn whole(&self, last: Usage) -> Usage {
        self.begun.map_or(last, |begun| Usage { output: begun.output.saturating_add(last.output), ..begun })
    }

    fn record(self, key: &str, attempts: &[Attempt]) -> Option<Box<Record>> {
        let troubled = !matches!(attempts, [Attempt { outcome: Outcome::Ok | Outcome::Cached, .. }]);
        let usage = attempts.last().filter(|_| self.begun.is_some()).map(|a| self.whole(a.usage));
        let (id, inputs, decision) = *self.decided.filter(|_| self.keeps.keeps(self.seed, troubled))?;
        Some(Box::new(Record { usage, ..Record::new(&id, inputs, decision) }.ended(key, attempts)))
    }
}

impl Held {
    /// Takes a permit in hand.
    pub fn new(tenant: TenantId, permit: Permit, claimed: bool) -> Held {
        Held { tenant, permit: Some(permit), claimed, note: Note::default() }
    }

    /// No permit.
    pub fn none(tenant: TenantId) -> Held {
        Held { tenant, permit: None, claimed: false, note: Note::default() }
    }

    /// The target that it lets the request probe.
    pub fn probe(&self) -> Option<&str> {
        self.permit.as_ref()?.probe.as_deref()
    }

    /// The gateway key's id; empty without a permit.
    pub fn key(&self) -> &str {
        self.permit.as_ref().map_or("", |permit| permit.key.as_str())
    }

    /// Whether the answer is to be kept for repetitions.
    pub fn claimed(&self) -> bool {
        self.claimed
    }

    /// What the permit holds when it is to cover another attempt beside what these may have cost. `None`:
    /// there is no room for it, or the ledger cannot be asked. Without a permit nothing is held.
    pub async fn more<W: World>(&self, world: &W, attempts: Vec<Attempt>) -> Option<Vec<Hold>> {
        let Some(permit) = &self.permit else { return Some(Vec::new()) };
        let command = Command::Extend { permit: permit.id, attempts };
        match super::identify::ask(world, &self.tenant, command).await {
            Ok(Reply::Extended { holds }) => Some(holds),
            _ => None,
        }
    }

    /// The permit holds this now.
    pub fn holds(&mut self, holds: Vec<Hold>) {
        if let Some(permit) = &mut self.permit {
            permit.holds = holds;
        }
    }

    /// Keeps the answer for repetitions of the request.
    pub fn complete<W: World + Clone + 'static>(&self, world: &W, content_type: &str, body: &[u8]) {
        let (Some(permit), true, Ok(body)) = (&self.permit, self.claimed, std::str::from_utf8(body)) else { return };
        if body.len() > MAX_ANSWER {
            return;
        }
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        let answer = StoredAnswer { status: 200, headers, body: body.to_owned() };
        tell(world, &self.tenant, Command::Complete { permit: permit.id, answer });
    }

    /// Tells how the attempts ended.
    pub fn settle<W: World + Clone + 'static>(self, world: &W, isolate: &Rc<Isolate>, attempts: Vec<Attempt>) {
        let Some(permit) = self.permit else { return };
        let failed = attempts.last().is_some_and(|a| a.class().row().signal == Signal::Failure);
        let within = if failed { permit.report_within.min(URGENT) } else { permit.report_within };
        // What was released was never decided on.
        let saved = self.note.saved(&attempts).filter(|_| !attempts.is_empty());
        let record = self.note.record(&permit.key, &attempts);
        let report = Report { saved, record, ..report(permit, attempts) };
        let now = world.now();
        let sends_by = now.plus(within).plus(SENDER_LIFE);
        // A sender that is about to send takes it along, but not soon enough.
        if isolate.enqueue(&self.tenant, report, now, sends_by) || failed {
            let (sender, isolate, tenant) = (world.clone(), Rc::clone(isolate), self.tenant);
            world.later(async move { deliver(&sender, &isolate, &tenant, within).await });
        }
    }

    /// The permit's number.
    pub fn id(&self) -> Option<PermitId> {
        self.permit.as_ref().map(|permit| permit.id)
    }

    /// Nothing was sent.
    pub fn release<W: World + Clone + 'static>(self, world: &W, isolate: &Rc<Isolate>) {
        self.settle(world, isolate, Vec::new());
    }
}

/// Tells the counters what was done so that a request could pass.
pub fn degraded<W: World + Clone + 'static>(world: &W, caller: &Caller, steps: &Degrade) {
    if !steps.taken().is_empty() {
        let steps = steps.taken().iter().map(|(rule, step)| (rule.clone(), (*step).to_owned())).collect();
        tell(world, &caller.tenant, Command::Degraded { key_hash: caller.key_hash.to_string(), steps });
    }
}

/// Tells the breakers of attempts that failed, while the request goes on.
pub fn failed<W: World + Clone + 'static>(world: &W, tenant: &TenantId, permit: PermitId, attempts: &[Attempt]) {
    tell(world, tenant, Command::Failed { permit, attempts: attempts.to_vec() });
}

/// Tells the counters, when they can be asked again, that a request passed without them.
pub fn opened<W: World + Clone + 'static>(world: &W, caller: &Caller) {
    let steps = vec![("ledger".to_owned(), "open".to_owned())];
    tell(world, &caller.tenant, Command::Degraded { key_hash: caller.key_hash.to_string(), steps });
}

/// Says it after the answer is out, until it is heard, for a while.
fn tell<W: World + Clone + 'static>(world: &W, tenant: &TenantId, command: Command) {
    let (sender, tenant) = (world.clone(), tenant.clone());
    world.later(async move {
        for pause in PAUSES {
            if super::identify::tell(&sender, &tenant, &command).await.is_ok() {
                return;
            }
            sender.sleep(pause).await;
        }
        sender.log(r#"{"level":"error","event":"not_told","message":"the tenant's object did not take a fact beside its reports"}"#);
    });
}

fn report(permit: Permit, attempts: Vec<Attempt>) -> Report {
    Report { permit: permit.id, key: permit.key, admitted_at: permit.at, holds: permit.holds, attempts, ..Report::default() }
}

/// A reply of a tenant's object that came after its request gave up: a permit in it is released.
pub fn unclaimed(isolate: &Isolate, tenant: &str, reply: &str) {
    if let (Some(tenant), Ok(Reply::Permit(permit))) = (TenantId::parse(tenant), read_reply(reply)) {
        isolate.leave(&tenant, report(permit, Vec::new()));
    }
}

/// Sends what is queued for a tenant.
async fn deliver<W: World>(world: &W, isolate: &Isolate, tenant: &TenantId, within: Millis) {
    world.sleep(within).await;
    let mut pauses = PAUSES.iter();
    loop {
        let reports = isolate.dequeue(tenant, MAX_REPORTS);
        if reports.is_empty() {
            break;
        }
        let command = Command::Report { reports };
        if super::identify::tell(world, tenant, &command).await.is_ok() {
            continue;
        }
        if let Command::Report { reports } = command {
            isolate.requeue(tenant, reports);
        }
        match pauses.next() {
            Some(pause) => world.sleep(*pause).await,
            None => {
                world.log(r#"{"level":"error","event":"reports_undelivered","message":"the tenant's object does not acknowledge reports; they are sent again with the next one"}"#);
                break;
            }
        }
    }
    let dropped = isolate.sender_done(tenant);
    if dropped > 0 {
        world.log(&format!(
            r#"{{"level":"error","event":"reports_dropped","count":{dropped},"message":"their permits expire and are charged by policy"}}"#
        ));
    }
}
