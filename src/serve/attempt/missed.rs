//! What came to nothing: the lines of such attempts, and what the client is told when none is left.

use super::Question;
use crate::serve::answer::Miss;
use crate::serve::asked::Endpoint;
use crate::serve::outgoing::Unsent;
use crate::serve::read::Call;
use tollgate_core::failure::Failure;
use tollgate_core::plan::Target;
use tollgate_core::price::Usage;
use tollgate_core::protocol::{Attempt, Outcome};
use tollgate_core::retry::Class;
use tollgate_core::units::{Millis, NanoUsd};

/// Longest wait that an upstream's `retry-after` may ask of a client, in seconds.
const MAX_RETRY_AFTER: u64 = 60;

/// A target that could not be asked.
pub(super) fn unsent_miss(target: &Target, unsent: &Unsent) -> Miss {
    let why = match unsent {
        Unsent::NotConfigured(why) => why.clone(),
        Unsent::Refused(refused) => format!("cannot be asked this ({})", refused.param),
    };
    // It says nothing of the provider: it was never asked.
    Miss { refused: unsent.failure(), class: Class::NoModel, ..Miss::new(&target.provider, &why, Outcome::Error, 0, false) }
}

/// What the client is told when nobody answered.
pub(super) fn verdict(mut misses: Vec<Miss>) -> Failure {
    if !misses.is_empty() && misses.iter().all(|miss| miss.refused.is_some()) {
        let first = misses.iter_mut().find_map(|miss| miss.refused.take());
        return first.unwrap_or(Failure::Internal);
    }
    match misses.last_mut() {
        Some(Miss { outcome: Outcome::ClientGone, .. }) => Failure::ClientGone,
        Some(Miss { outcome: Outcome::Timeout, .. }) => Failure::UpstreamTimeout,
        Some(Miss { refused: Some(refused), class: Class::Refused | Class::ContentPolicy | Class::ContextWindow, .. }) => refused.clone(),
        _ => Failure::Upstream {
            retry_after: misses.iter().filter_map(|m| m.retry_after).min().and_then(seconds),
            attempts: misses.into_iter().map(|m| m.told).collect(),
        },
    }
}

/// Whole seconds, at most [`MAX_RETRY_AFTER`]: who waits them out has waited long enough.
fn seconds(ms: Millis) -> Option<u64> {
    u64::try_from(ms.saturating_add(999).checked_div(1_000)?).ok().map(|s| s.min(MAX_RETRY_AFTER))
}

/// The line of a failed attempt.
pub(super) fn failed(target: &Target, miss: &Miss, question: &Question<'_>, latency: Millis) -> Attempt {
    Attempt {
        outcome: miss.outcome,
        status: miss.status,
        class: Some(miss.class),
        retry_after_ms: miss.retry_after.map_or(0, |ms| u32::try_from(ms).unwrap_or(u32::MAX)),
        ..charged(target, question, miss.may_charge, latency)
    }
}

/// The line of an attempt that was let go. It is charged as if the client had left.
pub(super) fn aborted(target: &Target, question: &Question<'_>, latency: Millis) -> Attempt {
    Attempt { outcome: Outcome::Aborted, status: 499, class: Some(Class::Aborted), ..charged(target, question, true, latency) }
}

/// A line without an answer, of a target that may charge the input all the same. Nobody charges for counting.
fn charged(target: &Target, question: &Question<'_>, may_charge: bool, latency: Millis) -> Attempt {
    let may_charge = may_charge && question.call.request.endpoint != Endpoint::CountTokens;
    let input = || Usage { input: estimated_input(question.call), ..Usage::default() };
    let usage = if may_charge { input().asked_in(question.call.request.tier) } else { Usage::default() };
    Attempt {
        provider: target.provider.clone(),
        model: target.model.clone(),
        usage,
        estimated: may_charge,
        cost: if may_charge { target.price.cost(usage) } else { NanoUsd::ZERO },
        price: target.price.id_for(usage),
        latency_ms: u32::try_from(latency).unwrap_or(u32::MAX),
        region: question.region.clone(),
        ..Attempt::default()
    }
}

/// Input tokens, where the provider does not tell: a quarter of the bytes.
pub fn estimated_input(call: &Call) -> u64 {
    u64::try_from(call.request.bytes.div_ceil(4)).unwrap_or(u64::MAX)
}
