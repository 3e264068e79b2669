//! Who probes: of each target at most one request at a time, whatever dies.

use super::{Broken, End, Oracle};
use std::collections::BTreeMap;
use tollgate_core::breaker::PROBE_LIFE;
use tollgate_core::ids::PermitId;
use tollgate_core::protocol::{Attempt, Outcome, Permit};
use tollgate_core::units::Timestamp;

/// The last probe of each target, and when it was handed out.
pub type Probes = BTreeMap<String, (PermitId, Timestamp)>;

impl Oracle {
    /// A permit was given, perhaps with a probe.
    ///
    /// # Errors
    /// When another one is still out.
    pub fn probed(&mut self, permit: &Permit) -> Result<(), Broken> {
        let Some(target) = &permit.probe else { return Ok(()) };
        self.tally.probes += 1;
        let open = |id: &PermitId| self.given.get(id).is_some_and(|g| g.end == End::Open);
        if let Some((other, at)) = self.probes.get(target)
            && open(other)
            && permit.at.since(*at) < PROBE_LIFE
        {
            return Err(format!("{} and {other} both probe {target}", permit.id));
        }
        self.probes.insert(target.clone(), (permit.id, permit.at));
        Ok(())
    }

    /// Attempts under a permit that goes on are known: where it probed, it has.
    pub(super) fn tried(&mut self, permit: PermitId, attempts: &[Attempt]) {
        for attempt in attempts.iter().filter(|a| a.outcome != Outcome::Cached) {
            let target = format!("{}/{}", attempt.provider, attempt.model);
            if self.probes.get(&target).is_some_and(|(by, _)| *by == permit) {
                self.probes.remove(&target);
            }
        }
    }
}
