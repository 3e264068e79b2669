//! Recorded decisions: which target each request went to, and why.

use super::explain::{explained, summary};
use super::span::time;
use super::tenants::configuration;
use super::{Answer, wrong};
use crate::http::{Head, Response};
use crate::ports::World;
use crate::serve::identify::ask;
use serde_json::{Value, json};
use tollgate_core::failure::Failure;
use tollgate_core::ids::{TenantId, ulid};
use tollgate_core::protocol::{Command, Reply};
use tollgate_core::route::{MAX_ID, Record};
use tollgate_core::tenant::MAX_PAGE;
use tollgate_core::units::Timestamp;

/// Most records of one page. One less than the object gives, which tells whether more follow.
const MAX_LIMIT: u32 = MAX_PAGE - 1;
/// Records of a page where nobody says how many.
const LIMIT: u32 = 50;

/// Which records are looked at: ids begin with the time of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    /// After this id.
    pub after: String,
    /// Before this one, unless it is empty.
    pub before: String,
}

impl Range {
    /// From a time on, before another, and after the record that a page ended with.
    pub fn read(from: Option<&str>, to: Option<&str>, cursor: Option<&str>) -> Result<Range, Failure> {
        let id = |at: Timestamp| ulid(at, 0);
        let after = from.map(|text| time("from", text)).transpose()?.map(id).unwrap_or_default();
        let before = to.map(|text| time("to", text)).transpose()?.map(id).unwrap_or_default();
        let cursor = cursor.unwrap_or_default();
        if cursor.len() > MAX_ID {
            return Err(wrong("cursor", "is the `next_cursor` of the page before"));
        }
        Ok(Range { after: after.max(cursor.to_owned()), before })
    }
}

/// A page of at most `limit` records (at most [`MAX_LIMIT`]), the oldest first, and the cursor of the next.
pub(super) async fn page<W: World>(
    world: &W,
    tenant: &TenantId,
    range: &Range,
    limit: u32,
) -> Result<(Vec<Record>, Option<String>), Failure> {
    let limit = limit.clamp(1, MAX_LIMIT);
    let command = Command::Decisions { after: range.after.clone(), limit: limit.saturating_add(1) };
    let Reply::Decisions { mut records } = ask(world, tenant, command).await? else { return Err(Failure::LedgerUnavailable) };
    records.retain(|r| range.before.is_empty() || r.id < range.before);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|r| r.id.clone());
    Ok((records, next))
}

pub(super) async fn list<W: World>(world: &W, head: &Head, tenant: &TenantId) -> Answer<W> {
    let fits = |text: String| text.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n));
    let limit = match head.query("limit") {
        None => LIMIT,
        Some(text) => fits(text).ok_or_else(|| wrong("limit", format!("is a whole number between 1 and {MAX_LIMIT}")))?,
    };
    let range = Range::read(head.query("from").as_deref(), head.query("to").as_deref(), head.query("cursor").as_deref())?;
    configuration(world, tenant).await?;
    let (records, next) = page(world, tenant, &range, limit).await?;
    let data: Vec<Value> = records.iter().map(summary).collect();
    Ok(Response::json(200, json!({ "object": "list", "data": data, "next_cursor": next }).to_string()))
}

pub(super) async fn get<W: World>(world: &W, tenant: &TenantId, request: &str) -> Answer<W> {
    configuration(world, tenant).await?;
    let id: String = request.chars().take(MAX_ID).collect();
    let found = match ask(world, tenant, Command::Decision { id: id.clone() }).await? {
        Reply::Decisions { records } => records.into_iter().next(),
        _ => return Err(Failure::LedgerUnavailable),
    };
    match found {
        Some(record) => Ok(Response::json(200, explained(&record).to_string())),
        None => Err(Failure::NotFound { what: format!("recorded decision of a request `{id}`") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_ids() {
        let range = Range::read(Some("2024-03-10"), Some("2024-03-11"), None).unwrap();
        let id = |text: &str| ulid(Timestamp::from_rfc3339(text).unwrap(), 5);
        assert!(range.after < id("2024-03-10T00:00:00Z") && id("2024-03-09T23:59:59.999Z") < range.after);
        assert!(id("2024-03-10T23:59:59.999Z") < range.before && range.before < id("2024-03-11T00:00:00Z"));
        // A cursor goes on, and does not go back before `from`.
        let later = id("2024-03-10T12:00:00Z");
        assert_eq!(Range::read(Some("2024-03-10"), None, Some(&later)).unwrap().after, later);
        assert_eq!(Range::read(Some("2024-03-11"), None, Some(&later)).unwrap().after, range.before);
        assert_eq!(Range::read(None, None, None).unwrap(), Range::default());
        assert!(Range::read(None, None, Some(&"x".repeat(65))).is_err());
        assert!(Range::read(None, Some("soon"), None).unwrap_err().message().starts_with("`to`: "));
    }
}
