//! The world: one object with its disk and alarm, worker isolates, a network and a clock.

use crate::chance::Chance;
use crate::mutants::Mutant;
use crate::oracle::{Broken, Oracle};
use crate::profile::Profile;
use crate::store::Store;
use crate::workers::{Parcel, Worker};
use tollgate_core::config::Config;
use tollgate_core::protocol::{Admit, Command, Reply};
use tollgate_core::tenant::{Answer, Outcome, Query, Snapshot, Tenant, Write};
use tollgate_core::units::Timestamp;

pub struct World {
    pub chance: Chance,
    pub profile: Profile,
    /// Time as it passes, and how far the object's machine is off.
    pub passed: i64,
    pub skew: i64,
    /// The clock is never set back behind this.
    pub floor: i64,
    pub deleted_at: i64,
    pub store: Store,
    pub object: Option<Object>,
    pub workers: Vec<Worker>,
    pub network: Vec<Parcel>,
    pub oracle: Oracle,
    pub mutant: Option<Mutant>,
    pub kills: u64,
    pub turns: u64,
    pub names: u64,
    /// Kills happen.
    pub dangerous: bool,
}

/// The object while it lives, and its twin: the same turns must have the same outcome.
pub struct Object {
    tenant: Tenant,
    twin: Tenant,
    pub epoch: u64,
}

#[expect(clippy::large_enum_variant, reason = "there is one a turn")]
pub enum Input {
    Message(Command),
    Alarm,
}

impl World {
    pub fn new(seed: u64, mutant: Option<Mutant>) -> World {
        let mut chance = Chance::new(seed);
        let profile = Profile::new(&mut chance);
        let start = 1_700_000_000_000 + chance.between(0, 400 * 86_400_000);
        let oracle = Oracle::new(profile.calm());
        let workers = (0..profile.workers).map(Worker::new).collect();
        World {
            chance,
            profile,
            passed: start,
            skew: 0,
            floor: 0,
            deleted_at: 0,
            store: Store::new(mutant),
            object: None,
            workers,
            network: Vec::new(),
            oracle,
            mutant,
            kills: 0,
            turns: 0,
            names: 0,
            dangerous: true,
        }
    }

    /// What the object's machine takes for now.
    pub fn now(&self) -> Timestamp {
        Timestamp((self.passed + self.skew).max(self.floor))
    }

    /// Time passes until the object's machine shows this time.
    fn wait_until(&mut self, at: i64) {
        self.passed += (at - self.passed - self.skew).max(0);
    }

    /// The object dies. What it did not write is gone.
    pub fn kill(&mut self) {
        if self.object.take().is_some() {
            self.kills += 1;
            self.store.killed();
            // From now on the object may be more careful than it must be.
            self.oracle.calm = false;
            // Now nothing remembers a deleted tenant: only the clock tells its permits from new ones.
            self.floor = self.floor.max(self.deleted_at + 1_000);
        }
    }

    /// Loads the object if it is not there.
    fn load(&mut self) -> Result<(), Broken> {
        if self.object.is_some() {
            return Ok(());
        }
        let stored = self.store.stored();
        let tenant = Tenant::load(stored.clone());
        let twin = Tenant::load(stored.clone());
        if tenant != twin {
            return Err("two loads of one disk differ".to_owned());
        }
        let clock = self.store.seen.max(self.now());
        self.oracle.time.reborn(clock);
        let compare = self.kills.is_multiple_of(4);
        if let Some(earlier) = self.store.stored_earlier(stored).filter(|_| compare) {
            let long = peek(&Tenant::load(earlier), clock);
            let short = peek(&tenant, clock);
            self.oracle.same(&short, &long)?;
        }
        self.object = Some(Object { tenant, twin, epoch: 0 });
        Ok(())
    }

    /// One turn of the object. `None` if nobody heard an answer.
    pub fn turn(&mut self, input: Input) -> Result<Option<Reply>, Broken> {
        self.load()?;
        let now = self.now();
        let kill = self.dangerous && self.chance.one_in(self.profile.kill);
        if kill && self.chance.one_in(2) {
            // Before the writes: as if the message had never come.
            self.kill();
            return Ok(None);
        }
        self.oracle.time.pass(now);
        let Some(object) = &mut self.object else { return Ok(None) };
        let outcome = run(&mut object.tenant, now, &input);
        if outcome != run(&mut object.twin, now, &input) {
            return Err("the same turn has two outcomes".to_owned());
        }
        self.turns += 1;
        if let Some(broken) = outcome.broken.first() {
            return Err(format!("the ledger itself found: {broken}"));
        }
        if matches!(outcome.answer, Answer::Reply(Reply::Denied { .. })) {
            self.oracle.denials += 1;
        }
        self.commit(&outcome)?;
        let reply = match outcome.answer {
            Answer::Reply(reply) => reply,
            Answer::Read(Query::Usage { from, to }) => {
                let rows = self.store.usage(from, to).count();
                if rows > 0 && self.oracle.config.is_none() {
                    return Err("usage of a deleted tenant".to_owned());
                }
                Reply::Done
            }
            Answer::Read(
                Query::Violations { .. } | Query::Targets { .. } | Query::Savings { .. } | Query::Decision { .. } | Query::Decisions { .. },
            ) => Reply::Done,
            Answer::Read(Query::Answer { key, hash }) => Reply::Replay { stored: self.store.answers.get(&(key, hash)).cloned() },
        };
        if let Input::Message(command) = &input {
            self.judge(command, &reply)?;
        }
        if kill {
            // After the writes, before the reply.
            self.kill();
            return Ok(None);
        }
        if self.turns.is_multiple_of(16) {
            self.inspect()?;
        }
        Ok(Some(reply))
    }

    fn commit(&mut self, outcome: &Outcome) -> Result<(), Broken> {
        let clock = self.oracle.time.clock;
        self.store.apply(clock, &outcome.writes, outcome.alarm);
        self.oracle.committed(&outcome.writes)?;
        if outcome.writes.contains(&Write::DeleteAll) {
            self.deleted_at = clock.0;
        }
        if outcome.writes.iter().any(|w| matches!(w, Write::Snapshot(_))) {
            self.oracle.counters(&self.store.counted)?;
        }
        Ok(())
    }

    fn judge(&mut self, command: &Command, reply: &Reply) -> Result<(), Broken> {
        match (command, reply) {
            (Command::Admit(admit), Reply::Permit(permit)) => {
                if let Some(object) = &mut self.object {
                    object.epoch = permit.id.epoch;
                }
                self.oracle.granted(admit, permit)?;
                self.oracle.probed(permit)
            }
            (Command::Admit(admit), Reply::Denied { why, .. }) => self.oracle.denied(admit, why),
            (Command::Admit(admit), Reply::Replay { stored }) => self.oracle.replayed(admit, stored.as_ref()),
            (Command::Extend { permit, attempts }, Reply::Extended { holds }) => self.oracle.extended(*permit, attempts, holds),
            (Command::Extend { .. }, Reply::Denied { .. }) => {
                self.oracle.tally.not_extended += 1;
                Ok(())
            }
            (Command::Complete { permit, answer }, Reply::Done) => {
                self.oracle.completed(*permit, answer);
                Ok(())
            }
            (Command::Admit(_), Reply::Configuration { .. } | Reply::NoTenant) => Ok(()),
            (Command::Report { reports }, Reply::Done) => self.oracle.acknowledged(reports),
            (Command::Live { key_hash: None }, Reply::Live(live)) => {
                let epoch = self.object.as_ref().map_or(0, |o| o.epoch);
                self.oracle.live(epoch, live)
            }
            (_, Reply::Failed { .. }) => Err(format!("{command:?} failed: {reply:?}")),
            (_, Reply::NoTenant) if self.oracle.config.is_some() => Err(format!("{command:?} finds no tenant")),
            _ => Ok(()),
        }
    }

    /// Looks into the object's books.
    pub fn inspect(&self) -> Result<(), Broken> {
        match &self.object {
            Some(object) => self.oracle.books(&peek(&object.tenant, self.oracle.time.clock)),
            None => Ok(()),
        }
    }

    /// The configuration as the object is told it.
    pub fn told(&self, config: &Config) -> Config {
        let mut told = config.clone();
        if self.mutant == Some(Mutant::WindowIsASlotShort) {
            told.limits.iter_mut().filter(|l| l.window_s == 101).for_each(|l| l.window_s = 100);
        }
        told
    }

    /// Everybody is silent. In the end nothing is held, and nothing is lost by dying.
    pub fn calm_down(&mut self) -> Result<(), Broken> {
        self.dangerous = false;
        if self.chance.one_in(2) {
            self.rest(false)?;
        } else {
            self.request()?;
            self.kill();
            if self.chance.one_in(2) {
                self.watch()?;
            }
            self.rest(true)?;
        }
        if self.chance.one_in(2) {
            // One more request, and a look at the usage before the object could tidy up.
            self.request()?;
            self.report_all()?;
            self.turn(Input::Message(Command::Usage { from: Timestamp(0), to: Timestamp(0) }))?;
            self.rest(false)?;
        }
        self.kill();
        let shown = self.turn(Input::Message(Command::Live { key_hash: None }))?;
        let object = self.object.as_ref().ok_or("gone")?;
        let snapshot = peek(&object.tenant, self.oracle.time.clock);
        self.oracle.books(&snapshot)?;
        self.oracle.quiet(&snapshot, &shown.unwrap_or(Reply::Done))?;
        self.oracle.counters(&self.store.counted)
    }

    /// Only alarms wake the object, until there are none. With `kills`, it dies now and then before it
    /// has tidied up.
    fn rest(&mut self, kills: bool) -> Result<(), Broken> {
        for _ in 0..1_000 {
            let Some(alarm) = self.store.alarm else { return self.inspect() };
            if kills && self.chance.one_in(3) {
                self.kill();
            }
            let late = self.chance.between(0, 500);
            self.wait_until(alarm.0 + late);
            self.ring()?;
        }
        Err("the alarms never end".to_owned())
    }

    /// Somebody looks again and again at an object that is evicted each time. Nothing may stay held for
    /// longer than a permit lives.
    fn watch(&mut self) -> Result<(), Broken> {
        // Where the clock was set back, time stands still until it is where it was.
        self.wait_until(self.store.seen.0.max(self.floor));
        for _ in 0..40 {
            self.passed += self.chance.between(4_000, 9_000);
            if self.store.alarm.is_some_and(|at| at <= self.now()) {
                self.ring()?;
            }
            self.turn(Input::Message(Command::Live { key_hash: None }))?;
            self.kill();
        }
        match self.turn(Input::Message(Command::Live { key_hash: None }))? {
            Some(Reply::Live(live)) if live.orphans > 0 => Err(format!("{} orphans do not expire", live.orphans)),
            _ => Ok(()),
        }
    }

    /// The alarm rings. It rings again if the turn came to nothing.
    pub fn ring(&mut self) -> Result<(), Broken> {
        let rang = self.store.alarm.take();
        if self.turn(Input::Alarm)?.is_none() && self.store.alarm.is_none() {
            self.store.alarm = rang;
        }
        Ok(())
    }
}

fn run(tenant: &mut Tenant, now: Timestamp, input: &Input) -> Outcome {
    match input {
        Input::Message(command) => tenant.handle(now, command.clone()),
        Input::Alarm => tenant.alarm(now),
    }
}

/// What a snapshot would show now: of a copy, after a denial, which always leaves something to write.
fn peek(tenant: &Tenant, now: Timestamp) -> Snapshot {
    let mut copy = tenant.clone();
    let nobody = Admit { key_hash: "nobody".to_owned(), ..Admit::default() };
    let mut writes = copy.handle(now, Command::Admit(nobody)).writes;
    writes.extend(copy.handle(now, Command::Usage { from: Timestamp(0), to: Timestamp(0) }).writes);
    let snapshot = writes.into_iter().rev().find_map(|w| if let Write::Snapshot(s) = w { Some(*s) } else { None });
    snapshot.unwrap_or_default()
}
