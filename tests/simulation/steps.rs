//! What happens next.

use crate::oracle::Broken;
use crate::world::{Input, World};
use tollgate_core::protocol::{Command, NewKey, Reply};
use tollgate_core::units::Timestamp;

impl World {
    /// One step: time passes, something happens.
    pub fn step(&mut self) -> Result<(), Broken> {
        self.pause();
        self.finish();
        if self.chance.one_in(3) {
            self.complete()?;
        }
        if self.store.alarm.is_some_and(|at| at <= self.now()) && self.chance.one_in(3) {
            self.ring()?;
        }
        if self.oracle.config.is_none() || self.chance.one_in(self.profile.config_changes) {
            self.configure()?;
        }
        let working = self.oracle.keys.values().filter(|k| k.revoked_at.is_none()).count();
        if working < self.profile.keys || self.chance.one_in(300) {
            self.create_key()?;
        }
        if self.chance.one_in(self.profile.worker_dies) {
            self.lose_worker();
        }
        if self.chance.one_in(self.profile.kill) {
            self.kill();
        }
        if self.chance.one_in(6) {
            self.try_again()?;
        }
        match self.chance.below(100) {
            0..42 => self.request(),
            42..46 => {
                for _ in 0..self.chance.below(30) {
                    self.request()?;
                }
                Ok(())
            }
            46..70 => {
                self.post();
                Ok(())
            }
            70..95 => self.deliver(),
            _ => self.operate(),
        }
    }

    fn pause(&mut self) {
        self.passed += match self.chance.below(200) {
            0 => self.chance.between(0, 120_000),
            1..5 => self.chance.between(0, 10_000),
            _ => self.chance.between(0, self.profile.pause),
        };
        if self.chance.one_in(self.profile.clock_jumps) {
            self.skew += match self.chance.below(12) {
                0 => self.chance.between(0, 3 * 3_600_000),
                1 => self.chance.between(0, 40 * 86_400_000),
                2..7 => self.chance.between(0, 20_000),
                7 => -self.chance.between(0, 600_000),
                _ => -self.chance.between(0, 20_000),
            };
        }
    }

    fn configure(&mut self) -> Result<(), Broken> {
        let before = self.oracle.config.as_ref().map(|c| c.config.clone());
        let meant = self.profile.config(&mut self.chance, before.as_ref());
        let config = Box::new(self.told(&meant));
        self.oracle.meant = Some(meant);
        let version = self.oracle.config.as_ref().map_or(0, |c| c.version);
        let stale = self.chance.one_in(10);
        let if_match = if stale { Some(version + 7) } else { self.chance.pick(&[None, Some(version)]) };
        let reply = self.turn(Input::Message(Command::PutConfig { config, if_match, prices: None }))?;
        match reply {
            Some(Reply::Conflict { current }) if stale && current == version => Ok(()),
            Some(Reply::Configuration { version: v, .. }) if !stale && v == version + 1 => Ok(()),
            None => Ok(()),
            other => Err(format!("a configuration over version {version} is answered with {other:?}")),
        }
    }

    fn create_key(&mut self) -> Result<(), Broken> {
        self.names += 1;
        let n = self.names;
        let expires = self.chance.one_in(10).then(|| Timestamp(self.now().0 + self.chance.between(0, 60_000)));
        let key = NewKey {
            id: format!("key-{n}"),
            hash: format!("hash-{n}"),
            name: "a key".to_owned(),
            prefix: "tg_".to_owned(),
            last4: "abcd".to_owned(),
            models: if self.chance.one_in(5) { vec!["fast".to_owned()] } else { Vec::new() },
            expires_at: expires,
            ..NewKey::default()
        };
        self.turn(Input::Message(Command::CreateKey(key))).map(|_| ())
    }

    /// Operators and the cron look at things and change them.
    fn operate(&mut self) -> Result<(), Broken> {
        let command = match self.chance.below(10) {
            0 | 1 => Command::Tick,
            2..5 => Command::Live { key_hash: None },
            5 => Command::Live { key_hash: self.oracle.keys.keys().next().cloned() },
            6 => Command::Usage { from: Timestamp(0), to: Timestamp(i64::MAX) },
            7 if self.oracle.keys.len() > 1 && self.chance.one_in(2) => {
                let ids: Vec<String> = self.oracle.keys.values().map(|k| k.id.clone()).collect();
                Command::RevokeKey { id: self.chance.pick(&ids) }
            }
            8 if self.profile.deletes && self.chance.one_in(3) => Command::Delete,
            9 => Command::ListKeys,
            _ => {
                // An alarm too many.
                return self.turn(Input::Alarm).map(|_| ());
            }
        };
        self.turn(Input::Message(command)).map(|_| ())
    }
}
