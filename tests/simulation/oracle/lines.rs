//! How permits end: each once, with the truth.

use super::demand::{used, used_in_all};
use super::{Broken, End, Given, Oracle, add};
use tollgate_core::budget::Measure;
use tollgate_core::ids::PermitId;
use tollgate_core::protocol::Hold;
use tollgate_core::tenant::{Charge, Line, LineKind};
use tollgate_core::units::Amount;

impl Oracle {
    /// Looks at the lines of one journal row.
    pub(super) fn lines(&mut self, lines: &[Line]) -> Result<(), Broken> {
        let mut ended_here = Vec::new();
        for line in lines {
            let id = line.permit;
            if line.at != self.time.clock {
                return Err(format!("a line at {:?}, the clock says {:?}", line.at, self.time.clock));
            }
            if self.buried.contains(&id) {
                return Err(format!("a line for {id} of a deleted tenant"));
            }
            for charge in &line.charges {
                add(&mut self.charged, &charge.account, charge.cost.get());
            }
            let Some(mut given) = self.given.remove(&id) else {
                self.ghost(line)?;
                continue;
            };
            // The further attempts of a permit stand in the same row as the first.
            let result = if line.n > 1 {
                if ended_here.contains(&(id, line.n - 1)) { self.further(line, &given) } else { Err("stands alone".to_owned()) }
            } else {
                self.first(line, &mut given)
            };
            ended_here.push((id, line.n));
            self.given.insert(id, given);
            result.map_err(|why| format!("the line {line:?} {why}"))?;
        }
        // A settled permit has a line for each of its attempts.
        for (id, _) in &ended_here {
            let given = &self.given[id];
            let lines = ended_here.iter().filter(|(other, _)| other == id).count();
            let attempts = given.sent.as_ref().map_or(0, Vec::len);
            if given.end == End::Settled && lines != attempts {
                return Err(format!("{id} has {lines} lines for {attempts} attempts"));
            }
        }
        Ok(())
    }

    /// A permit that was never given may be taken for given after a crash, and expires.
    fn ghost(&mut self, line: &Line) -> Result<(), Broken> {
        let fresh = self.ghosts.insert(line.permit);
        if !fresh || line.kind != LineKind::Expired || !line.key.is_empty() {
            return Err(format!("a line for a permit that was never given: {line:?}"));
        }
        self.tally.ghosts += 1;
        self.count_line(line, None, 0);
        Ok(())
    }

    /// The line with which a permit ends, or is corrected.
    fn first(&mut self, line: &Line, given: &mut Given) -> Result<(), Broken> {
        let before = given.end.clone();
        match (line.kind, &before) {
            (LineKind::Settled | LineKind::Released, End::Open) => {
                let sent = given.sent.as_ref().ok_or("reports what was never sent")?;
                self.must_be_right(line, given)?;
                let same = match sent.first() {
                    None => line.kind == LineKind::Released && line.n == 0 && line.attempt.is_none(),
                    Some(first) => line.kind == LineKind::Settled && line.n == 1 && line.attempt.as_ref() == Some(first),
                };
                let wrong = |c: &Charge| Some(&c.cost.get()) != used(&c.account, sent).first();
                if !same || line.charges.iter().any(wrong) {
                    return Err(format!("is not what was sent: {sent:?}"));
                }
                let released = line.kind == LineKind::Released;
                given.end = if released { End::Released } else { End::Settled };
                self.ended(line.permit, given);
                if released {
                    self.tally.released += 1
                } else {
                    self.tally.settled += 1
                }
                self.count_line(line, None, 0);
                Ok(())
            }
            (LineKind::Expired, End::Open) => {
                if self.time.now() < given.when + given.lifetime {
                    return Err(format!("comes {} ms early", given.when + given.lifetime - self.time.now()));
                }
                let unknown = line.key.is_empty();
                if !unknown {
                    self.must_be_right(line, given)?;
                }
                for hold in &given.holds {
                    add(&mut self.open, &hold.account, -hold.amount.get());
                    // Charged with all that a crash forgot, or by itself.
                    let own = line.charges.iter().find(|c| c.account == hold.account).map(|c| c.cost.get());
                    let requests = hold.account.measure == Measure::Requests;
                    let charged = if !unknown {
                        own.unwrap_or(0)
                    } else if self.strict || requests {
                        hold.amount.get()
                    } else {
                        0
                    };
                    self.amounts.tell(&hold.account, line.permit, charged);
                }
                given.end = End::Expired { when: self.time.now(), charges: line.charges.clone(), unknown };
                self.tally.expired += 1;
                self.count_line(line, None, 0);
                Ok(())
            }
            (LineKind::Corrected, End::Expired { charges, unknown, .. }) => {
                let truth = given.truth();
                for charge in &line.charges {
                    let held = given.holds.iter().find(|h| h.account == charge.account).map(|h| h.amount.get());
                    let truth = used_in_all(&charge.account, given.sent.as_deref().unwrap_or_default());
                    let was = charges.iter().find(|c| c.account == charge.account).map_or(0, |c| c.cost.get());
                    let right = if *unknown {
                        // Charged with all that the crash forgot: the permit's own part is taken back.
                        let back = truth - charge.cost.get();
                        held.is_some_and(|held| (0..=held).contains(&back)) && back == charge.hold.get()
                    } else {
                        charge.cost.get() == held.map_or(0, |_| truth) - was
                    };
                    if !right {
                        return Err(format!("does not correct {was} to {truth}"));
                    }
                }
                if line.charges.len() < given.holds.len() || line.key != given.key || line.n != 1 {
                    return Err("leaves something out".to_owned());
                }
                let was = if *unknown {
                    money(&line.charges, true).map(|c| c.hold.get()).max()
                } else {
                    money(charges, false).map(|c| c.cost.get()).max()
                };
                self.tally.corrected += 1;
                self.tally.corrected_ghosts += u64::from(*unknown);
                self.count_line(line, Some((truth, given.sent.as_deref().unwrap_or_default(), *unknown)), was.unwrap_or(0));
                for hold in &given.holds {
                    self.truth(line.permit, hold, given);
                }
                given.end = End::Corrected;
                Ok(())
            }
            _ => Err(format!("comes after {before:?}")),
        }
    }

    /// The lines of a permit's second attempt and those after it: only a cost.
    fn further(&mut self, line: &Line, given: &Given) -> Result<(), Broken> {
        let attempt = given.sent.as_ref().and_then(|sent| sent.get(usize::from(line.n) - 1));
        let right = line.attempt.is_some() && line.attempt.as_ref() == attempt && line.kind == LineKind::Settled;
        let sent = given.sent.as_deref().unwrap_or_default();
        let cost = |c: &Charge| used(&c.account, sent).get(usize::from(line.n) - 1).copied();
        let charged = line.charges.iter().all(|c| Some(c.cost.get()) == cost(c) && c.hold == Amount::ZERO);
        if !right || !charged || line.charges.len() != given.holds.len() {
            return Err(format!("is not the attempt {attempt:?}"));
        }
        self.count_line(line, None, 0);
        Ok(())
    }

    /// Key, time, accounts and holds are those of the permit.
    fn must_be_right(&self, line: &Line, given: &Given) -> Result<(), Broken> {
        let are = |holds: &[Hold]| line.charges.iter().map(|c| (&c.account, c.hold)).eq(holds.iter().map(|h| (&h.account, h.amount)));
        // After a crash the object believes its holder.
        let same = are(&given.holds) || are(&given.heard);
        if same && line.key == given.key && line.admitted_at == given.at {
            Ok(())
        } else {
            Err(format!("is not about {:?} of {} at {:?}", given.holds, given.key, given.at))
        }
    }

    fn ended(&mut self, permit: PermitId, given: &Given) {
        for hold in &given.holds {
            add(&mut self.open, &hold.account, -hold.amount.get());
            self.truth(permit, hold, given);
        }
    }

    /// The truth about what was held.
    fn truth(&mut self, permit: PermitId, hold: &Hold, given: &Given) {
        let (truth, held) = (used_in_all(&hold.account, given.sent.as_deref().unwrap_or_default()), hold.amount.get());
        add(&mut self.exposed, &hold.account, truth - held);
        add(&mut self.excess, &hold.account, (truth - held).max(0));
        self.amounts.tell(&hold.account, permit, truth);
    }
}

/// What was charged in money; of what a crash forgot, to budgets with periods.
pub(super) fn money(charges: &[Charge], unknown: bool) -> impl Iterator<Item = &Charge> {
    charges.iter().filter(move |c| c.account.measure == Measure::Budget || (!unknown && c.account.measure.is_money()))
}
