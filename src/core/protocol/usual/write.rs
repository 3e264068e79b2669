//! From values to text.

use crate::budget::{AccountKey, Measure};
use crate::ids::{PermitId, TenantId};
use crate::price::Usage;
use crate::protocol::{Admit, Attempt, Command, Hold, LimitState, Outcome, Permit, Reply, Report, VERSION};
use crate::text::{Draft, ROOM, to_json};
use crate::units::Timestamp;

/// What writing comes to.
pub(crate) type Done = Result<(), serde_json::Error>;

/// Room for most reports.
pub(crate) const ROOM_PER_REPORT: usize = 384;

/// A message as text, of [`VERSION`]: the same as that of a [`Message`](crate::protocol::Message).
///
/// # Errors
/// Those of `to_json`.
pub fn write_message(tenant: &TenantId, command: &Command) -> Result<String, serde_json::Error> {
    let mut draft = Draft::with_room(match command {
        Command::Report { reports } => reports.len().saturating_mul(ROOM_PER_REPORT).saturating_add(ROOM),
        _ => ROOM,
    });
    draft.put("{\"v\":");
    draft.count(VERSION.into());
    draft.put(",\"tenant\":");
    draft.text(tenant.as_str());
    draft.put(",\"command\":");
    match command {
        Command::Admit(admit) if usual(admit) => {
            draft.put("{\"admit\":{");
            admission(&mut draft, admit)?;
            draft.put("}}");
        }
        Command::Report { reports } => {
            draft.put("{\"report\":{\"reports\":");
            draft.list(reports, report)?;
            draft.put("}}");
        }
        _ => draft.value(command)?,
    }
    draft.put("}");
    draft.finish()
}

/// A reply as text.
///
/// # Errors
/// Those of `to_json`.
pub fn write_reply(reply: &Reply) -> Result<String, serde_json::Error> {
    match reply {
        Reply::Permit(given) if given.view.is_none() && given.probe.is_none() && given.shadow.is_empty() => {
            let mut draft = Draft::with_room(ROOM);
            draft.put("{\"permit\":{");
            permit(&mut draft, given)?;
            draft.put("}}");
            draft.finish()
        }
        _ => to_json(reply),
    }
}

/// What has only the usual fields.
fn usual(admit: &Admit) -> bool {
    admit.metadata.is_empty() && admit.session.is_empty() && admit.idempotency.is_none()
}

fn admission(draft: &mut Draft, admit: &Admit) -> Done {
    draft.put("\"key_hash\":");
    draft.text(&admit.key_hash);
    draft.put(",\"config\":");
    draft.count(admit.config);
    if admit.config_at != Timestamp::default() {
        draft.put(",\"config_at\":");
        draft.int(admit.config_at.0);
    }
    draft.put(",\"model\":");
    draft.text(&admit.model);
    draft.put(",\"worst_case\":");
    draft.int(admit.worst_case.get());
    draft.put(",\"input_cost\":");
    draft.int(admit.input_cost.get());
    if (admit.tokens.input, admit.tokens.output) != (0, 0) {
        draft.put(",\"tokens\":{\"i\":");
        draft.count(admit.tokens.input);
        draft.put(",\"o\":");
        draft.count(admit.tokens.output);
        draft.put("}");
    }
    if !admit.providers.is_empty() {
        draft.put(",\"providers\":");
        draft.list(&admit.providers, |draft, name| {
            draft.text(name);
            Ok(())
        })?;
    }
    if let Some(view) = &admit.view {
        draft.put(",\"view\":{\"n\":");
        draft.count(view.version);
        if !view.region.is_empty() {
            draft.put(",\"r\":");
            draft.text(&view.region);
        }
        draft.put("}");
    }
    Ok(())
}

fn permit(draft: &mut Draft, permit: &Permit) -> Done {
    draft.put("\"id\":");
    id(draft, permit.id);
    draft.put(",\"key\":");
    draft.text(&permit.key);
    draft.put(",\"at\":");
    draft.int(permit.at.0);
    draft.put(",\"holds\":");
    draft.list(&permit.holds, hold)?;
    draft.put(",\"limit\":");
    match &permit.limit {
        Some(state) => limit(draft, state)?,
        None => draft.put("null"),
    }
    draft.put(",\"report_within\":");
    draft.int(permit.report_within);
    if let Some(state) = &permit.token_limit {
        draft.put(",\"token_limit\":");
        limit(draft, state)?;
    }
    if permit.critical {
        draft.put(",\"critical\":true");
    }
    Ok(())
}

/// A permit's name.
pub(crate) fn id(draft: &mut Draft, id: PermitId) {
    draft.put("{\"e\":");
    draft.count(id.epoch);
    draft.put(",\"s\":");
    draft.count(id.seq);
    draft.put("}");
}

/// An account's name.
pub(crate) fn account(draft: &mut Draft, account: &AccountKey) -> Done {
    draft.put("{\"b\":");
    draft.text(&account.rule);
    if !account.subject.is_empty() {
        draft.put(",\"s\":");
        draft.text(&account.subject);
    }
    draft.put(",\"p\":");
    draft.int(account.period.0);
    if account.measure != Measure::Budget {
        draft.put(",\"m\":");
        draft.value(&account.measure)?;
    }
    if account.by_provider {
        draft.put(",\"v\":true");
    }
    draft.put("}");
    Ok(())
}

fn hold(draft: &mut Draft, hold: &Hold) -> Done {
    draft.put("{\"a\":");
    account(draft, &hold.account)?;
    draft.put(",\"n\":");
    draft.int(hold.amount.get());
    draft.put("}");
    Ok(())
}

fn limit(draft: &mut Draft, state: &LimitState) -> Done {
    draft.put("{\"id\":");
    draft.text(&state.id);
    if !state.subject.is_empty() {
        draft.put(",\"subject\":");
        draft.text(&state.subject);
    }
    draft.put(",\"limit\":");
    draft.count(state.limit);
    draft.put(",\"window_s\":");
    draft.count(state.window_s.into());
    draft.put(",\"remaining\":");
    draft.count(state.remaining);
    draft.put(",\"reset\":");
    draft.int(state.reset);
    if state.measure != Measure::Requests {
        draft.put(",\"measure\":");
        draft.value(&state.measure)?;
    }
    if state.shadow {
        draft.put(",\"shadow\":true");
    }
    draft.put("}");
    Ok(())
}

fn report(draft: &mut Draft, report: &Report) -> Done {
    draft.put("{\"permit\":");
    id(draft, report.permit);
    draft.put(",\"key\":");
    draft.text(&report.key);
    draft.put(",\"admitted_at\":");
    draft.int(report.admitted_at.0);
    draft.put(",\"holds\":");
    draft.list(&report.holds, hold)?;
    draft.put(",\"attempts\":");
    draft.list(&report.attempts, attempt)?;
    if let Some(saved) = &report.saved {
        draft.put(",\"saved\":");
        draft.value(saved)?;
    }
    if let Some(record) = &report.record {
        draft.put(",\"record\":");
        draft.value(record)?;
    }
    draft.put("}");
    Ok(())
}

fn usage(draft: &mut Draft, usage: &Usage) -> Done {
    draft.put("{\"i\":");
    draft.count(usage.input);
    draft.put(",\"o\":");
    draft.count(usage.output);
    for (name, tokens) in [(",\"c\":", usage.cached_input), (",\"w\":", usage.cache_write), (",\"h\":", usage.cache_write_1h)] {
        if tokens != 0 {
            draft.put(name);
            draft.count(tokens);
        }
    }
    if let Some(tier) = &usage.tier {
        draft.put(",\"t\":");
        draft.value(tier)?;
    }
    draft.put("}");
    Ok(())
}

/// An attempt.
pub(crate) fn attempt(draft: &mut Draft, attempt: &Attempt) -> Done {
    draft.put("{\"provider\":");
    draft.text(&attempt.provider);
    draft.put(",\"model\":");
    draft.text(&attempt.model);
    draft.put(",\"outcome\":");
    match attempt.outcome {
        Outcome::Ok => draft.put("\"ok\""),
        other => draft.value(&other)?,
    }
    draft.put(",\"status\":");
    draft.count(attempt.status.into());
    draft.put(",\"usage\":");
    usage(draft, &attempt.usage)?;
    draft.put(",\"estimated\":");
    draft.truth(attempt.estimated);
    draft.put(",\"cost\":");
    draft.int(attempt.cost.get());
    draft.put(",\"price\":");
    draft.text(&attempt.price);
    draft.put(",\"latency_ms\":");
    draft.count(attempt.latency_ms.into());
    draft.put(",\"first_byte_ms\":");
    draft.count(attempt.first_byte_ms.into());
    if let Some(class) = &attempt.class {
        draft.put(",\"class\":");
        draft.value(class)?;
    }
    if attempt.retry_after_ms != 0 {
        draft.put(",\"retry_after_ms\":");
        draft.count(attempt.retry_after_ms.into());
    }
    if !attempt.region.is_empty() {
        draft.put(",\"region\":");
        draft.text(&attempt.region);
    }
    draft.put("}");
    Ok(())
}
