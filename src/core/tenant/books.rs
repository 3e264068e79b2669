//! The ledger's promises, checked where they are cheap to check: in the turn that could break them.
//! What is found broken is told to the operator. It never stops the ledger.

use super::Tenant;
use super::rules::Demand;
use crate::protocol::Hold;
use crate::units::{Amount, Timestamp};

/// Most lines about broken promises in one turn.
const MAX_BROKEN: usize = 16;

impl Tenant {
    /// After an admission: what it holds is on disk as credit, and no limit is passed.
    pub(super) fn check_books(&mut self, now: Timestamp, demands: &[Demand], holds: &[Hold]) {
        for demand in demands {
            let Some(account) = self.ledger.accounts.get_mut(&demand.account) else { continue };
            let committed = account.committed(now);
            let held = holds.iter().any(|h| h.account == demand.account && h.amount > Amount::ZERO);
            let wrong = if account.held > account.credit {
                "holds more than the disk knows"
            } else if held && demand.rule.enforced() && committed > demand.cap {
                "admits more than its limit"
            } else if committed < Amount::ZERO {
                "has used less than nothing"
            } else {
                continue;
            };
            let name = demand.rule.name();
            self.ledger.broken.push(format!("{name} {wrong}: {} committed of {}", committed.get(), demand.cap.get()));
        }
    }

    /// What was found broken in this turn.
    pub(super) fn broken(&mut self) -> Vec<String> {
        let mut broken = std::mem::take(&mut self.ledger.broken);
        let count = u64::try_from(broken.len()).unwrap_or(u64::MAX);
        self.ledger.totals.broken = self.ledger.totals.broken.saturating_add(count);
        broken.truncate(MAX_BROKEN);
        broken
    }
}
