//! Facts as text: the same as `serde` writes, faster for the lines of requests that ended.

use super::facts::{Charge, Fact, Line};
use crate::protocol::write::{Done, ROOM_PER_REPORT, account, attempt, id};
use crate::text::{Draft, ROOM};

/// Facts as text, as they are stored.
///
/// # Errors
/// Those of `to_json`.
pub fn write_facts(facts: &[Fact]) -> Result<String, serde_json::Error> {
    let room = |fact: &Fact| if let Fact::Lines { lines } = fact { lines.len().saturating_mul(ROOM_PER_REPORT) } else { 0 };
    let mut draft = Draft::with_room(facts.iter().map(room).fold(ROOM, usize::saturating_add));
    draft.list(facts, |draft, fact| match fact {
        Fact::Lines { lines } => {
            draft.put("{\"lines\":{\"lines\":");
            draft.list(lines, line)?;
            draft.put("}}");
            Ok(())
        }
        _ => draft.value(fact),
    })?;
    draft.finish()
}

fn charge(draft: &mut Draft, charge: &Charge) -> Done {
    draft.put("{\"a\":");
    account(draft, &charge.account)?;
    draft.put(",\"h\":");
    draft.int(charge.hold.get());
    draft.put(",\"c\":");
    draft.int(charge.cost.get());
    draft.put("}");
    Ok(())
}

fn line(draft: &mut Draft, line: &Line) -> Done {
    draft.put("{\"permit\":");
    id(draft, line.permit);
    draft.put(",\"n\":");
    draft.count(line.n.into());
    draft.put(",\"at\":");
    draft.int(line.at.0);
    draft.put(",\"admitted_at\":");
    draft.int(line.admitted_at.0);
    draft.put(",\"key\":");
    draft.text(&line.key);
    draft.put(",\"kind\":");
    draft.value(&line.kind)?;
    if let Some(made) = &line.attempt {
        draft.put(",\"attempt\":");
        attempt(draft, made)?;
    }
    draft.put(",\"charges\":");
    draft.list(&line.charges, charge)?;
    if let Some(saved) = &line.saved {
        draft.put(",\"saved\":");
        draft.value(saved)?;
    }
    draft.put("}");
    Ok(())
}
