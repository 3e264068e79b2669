//! What the client is told when no target may be asked.

use super::{Decision, Inputs, Reason};
use crate::failure::Failure;

/// Most targets that are named to a client.
const MAX_NAMED: usize = 8;

/// Why the request is refused; `None` if there is somebody to ask.
pub fn refused(inputs: &Inputs, decision: &Decision) -> Option<Failure> {
    if !decision.order.is_empty() {
        return None;
    }
    let model = inputs.model.clone();
    let invalid = |param: &str, why: String| Failure::InvalidRequest { param: param.to_owned(), why };
    // An alias has targets, so without an order some were left out.
    let Some(reason) = decision.refusal() else {
        return Some(Failure::ModelNotFound { model, why: "it has no targets".to_owned() });
    };
    Some(match reason {
        Reason::Breaker { .. } | Reason::Throttled { .. } | Reason::Limit { .. } => {
            let told = decision.dropped.iter().take(MAX_NAMED).map(|d| format!("{}: {}", d.target, d.reason));
            let seconds = |ms: i64| u64::try_from(ms).unwrap_or(0).div_ceil(1_000);
            Failure::Upstream { attempts: told.collect(), retry_after: reason.retry_after(inputs.at).map(seconds) }
        }
        Reason::Price { worst, cap } => Failure::MaxCostExceeded {
            cap: if inputs.ask.max_cost == Some(*cap) { "its own cap (x-tollgate-max-cost-usd)" } else { "the alias' cap for one request" },
            cap_usd: cap.to_string(),
            needed_usd: worst.to_string(),
        },
        Reason::Context { .. } => invalid("messages", format!("no target of `{model}` takes a request that long: {reason}")),
        Reason::Capability { .. } => invalid("model", format!("no target of `{model}` can do what the request needs: {reason}")),
        Reason::Quality { .. } | Reason::Tags { .. } => {
            Failure::ModelNotFound { why: format!("the tenant's rules leave none of its targets: {reason}"), model }
        }
    })
}
