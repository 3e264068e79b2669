//! From text to values.

use crate::budget::{AccountKey, Measure};
use crate::ids::{PermitId, TenantId};
use crate::perf::Seen;
use crate::price::Usage;
use crate::protocol::{Admit, Attempt, Command, Hold, LimitState, Message, Outcome, Permit, Reply, Report, TokenBound};
use crate::text::Scan;
use crate::units::{NanoUsd, Timestamp};

/// Reads a message.
///
/// # Errors
/// Those of `serde_json::from_str`.
pub fn read_message(text: &str) -> Result<Message, serde_json::Error> {
    match message(&mut Scan::new(text)) {
        Some(message) => Ok(message),
        None => serde_json::from_str(text),
    }
}

/// Reads a reply.
///
/// # Errors
/// Those of `serde_json::from_str`.
pub fn read_reply(text: &str) -> Result<Reply, serde_json::Error> {
    match reply(&mut Scan::new(text)) {
        Some(reply) => Ok(reply),
        None => serde_json::from_str(text),
    }
}

pub(super) fn message(scan: &mut Scan<'_>) -> Option<Message> {
    scan.lit("{\"v\":")?;
    let v = small(scan)?;
    scan.lit(",\"tenant\":")?;
    let tenant = TenantId::parse(scan.text()?)?;
    scan.lit(",\"command\":{\"")?;
    let command = if scan.has("admit\":{") {
        Command::Admit(admission(scan)?)
    } else {
        scan.lit("report\":{\"reports\":")?;
        Command::Report { reports: scan.list(report)? }
    };
    scan.lit("}}}")?;
    scan.end()?;
    Some(Message { v, tenant, command })
}

pub(super) fn reply(scan: &mut Scan<'_>) -> Option<Reply> {
    if scan.has("\"done\"") {
        scan.end()?;
        return Some(Reply::Done);
    }
    scan.lit("{\"permit\":{\"id\":")?;
    let id = id(scan)?;
    scan.lit(",\"key\":")?;
    let key = owned(scan)?;
    scan.lit(",\"at\":")?;
    let at = Timestamp(scan.int()?);
    scan.lit(",\"holds\":")?;
    let holds = scan.list(hold)?;
    scan.lit(",\"limit\":")?;
    let state = if scan.has("null") { None } else { Some(limit(scan)?) };
    scan.lit(",\"report_within\":")?;
    let report_within = scan.int()?;
    let token_limit = if scan.has(",\"token_limit\":") { Some(limit(scan)?) } else { None };
    let critical = scan.has(",\"critical\":true");
    scan.lit("}}")?;
    scan.end()?;
    let (view, probe, shadow) = (None, None, Vec::new());
    Some(Reply::Permit(Permit { id, key, at, holds, limit: state, report_within, token_limit, shadow, critical, view, probe }))
}

fn owned(scan: &mut Scan<'_>) -> Option<String> {
    scan.text().map(str::to_owned)
}

/// A number that must fit a smaller type.
fn small<T: TryFrom<u64>>(scan: &mut Scan<'_>) -> Option<T> {
    T::try_from(scan.count()?).ok()
}

fn admission(scan: &mut Scan<'_>) -> Option<Admit> {
    scan.lit("\"key_hash\":")?;
    let key_hash = owned(scan)?;
    scan.lit(",\"config\":")?;
    let config = scan.count()?;
    let config_at = if scan.has(",\"config_at\":") { Timestamp(scan.int()?) } else { Timestamp::default() };
    scan.lit(",\"model\":")?;
    let model = owned(scan)?;
    scan.lit(",\"worst_case\":")?;
    let worst_case = money(scan)?;
    scan.lit(",\"input_cost\":")?;
    let input_cost = money(scan)?;
    let tokens = if scan.has(",\"tokens\":{\"i\":") {
        let input = scan.count()?;
        scan.lit(",\"o\":")?;
        let output = scan.count()?;
        scan.lit("}")?;
        TokenBound { input, output }
    } else {
        TokenBound::default()
    };
    let providers = if scan.has(",\"providers\":") { scan.list(owned)? } else { Vec::new() };
    let view = if scan.has(",\"view\":{\"n\":") {
        let version = scan.count()?;
        let region = if scan.has(",\"r\":") { owned(scan)? } else { String::new() };
        scan.lit("}")?;
        Some(Seen { version, region })
    } else {
        None
    };
    Some(Admit { key_hash, config, config_at, model, worst_case, input_cost, tokens, providers, view, ..Admit::default() })
}

/// Money, or another amount, as it is stored. What is out of bounds is read the general way.
fn money(scan: &mut Scan<'_>) -> Option<NanoUsd> {
    let n = scan.int()?;
    Some(NanoUsd::new(n)).filter(|money| money.get() == n)
}

fn id(scan: &mut Scan<'_>) -> Option<PermitId> {
    scan.lit("{\"e\":")?;
    let epoch = scan.count()?;
    scan.lit(",\"s\":")?;
    let seq = scan.count()?;
    scan.lit("}")?;
    Some(PermitId { epoch, seq })
}

fn hold(scan: &mut Scan<'_>) -> Option<Hold> {
    scan.lit("{\"a\":{\"b\":")?;
    let rule = owned(scan)?;
    let subject = if scan.has(",\"s\":") { owned(scan)? } else { String::new() };
    scan.lit(",\"p\":")?;
    let period = Timestamp(scan.int()?);
    let measure = if scan.has(",\"m\":") { scan.word()? } else { Measure::Budget };
    let by_provider = if scan.has(",\"v\":") { scan.truth()? } else { false };
    scan.lit("},\"n\":")?;
    let amount = money(scan)?.into();
    scan.lit("}")?;
    Some(Hold { account: AccountKey { rule, subject, period, measure, by_provider }, amount })
}

fn limit(scan: &mut Scan<'_>) -> Option<LimitState> {
    scan.lit("{\"id\":")?;
    let id = owned(scan)?;
    let subject = if scan.has(",\"subject\":") { owned(scan)? } else { String::new() };
    scan.lit(",\"limit\":")?;
    let limit = scan.count()?;
    scan.lit(",\"window_s\":")?;
    let window_s = small(scan)?;
    scan.lit(",\"remaining\":")?;
    let remaining = scan.count()?;
    scan.lit(",\"reset\":")?;
    let reset = scan.int()?;
    let measure = if scan.has(",\"measure\":") { scan.word()? } else { Measure::Requests };
    let shadow = if scan.has(",\"shadow\":") { scan.truth()? } else { false };
    scan.lit("}")?;
    Some(LimitState { id, subject, limit, window_s, remaining, reset, measure, shadow })
}

/// A report without savings and decision.
fn report(scan: &mut Scan<'_>) -> Option<Report> {
    scan.lit("{\"permit\":")?;
    let permit = id(scan)?;
    scan.lit(",\"key\":")?;
    let key = owned(scan)?;
    scan.lit(",\"admitted_at\":")?;
    let admitted_at = Timestamp(scan.int()?);
    scan.lit(",\"holds\":")?;
    let holds = scan.list(hold)?;
    scan.lit(",\"attempts\":")?;
    let attempts = scan.list(attempt)?;
    scan.lit("}")?;
    Some(Report { permit, key, admitted_at, holds, attempts, ..Report::default() })
}

fn usage(scan: &mut Scan<'_>) -> Option<Usage> {
    scan.lit("{\"i\":")?;
    let input = scan.count()?;
    scan.lit(",\"o\":")?;
    let output = scan.count()?;
    let mut part = |name| if scan.has(name) { scan.count() } else { Some(0) };
    let (cached_input, cache_write, cache_write_1h) = (part(",\"c\":")?, part(",\"w\":")?, part(",\"h\":")?);
    let tier = if scan.has(",\"t\":") { Some(scan.word()?) } else { None };
    scan.lit("}")?;
    Some(Usage { input, output, cached_input, cache_write, cache_write_1h, tier })
}

fn attempt(scan: &mut Scan<'_>) -> Option<Attempt> {
    scan.lit("{\"provider\":")?;
    let provider = owned(scan)?;
    scan.lit(",\"model\":")?;
    let model = owned(scan)?;
    scan.lit(",\"outcome\":")?;
    let outcome = if scan.has("\"ok\"") { Outcome::Ok } else { scan.word()? };
    scan.lit(",\"status\":")?;
    let status = small(scan)?;
    scan.lit(",\"usage\":")?;
    let usage = usage(scan)?;
    scan.lit(",\"estimated\":")?;
    let estimated = scan.truth()?;
    scan.lit(",\"cost\":")?;
    let cost = money(scan)?;
    scan.lit(",\"price\":")?;
    let price = owned(scan)?;
    scan.lit(",\"latency_ms\":")?;
    let latency_ms = small(scan)?;
    scan.lit(",\"first_byte_ms\":")?;
    let first_byte_ms = small(scan)?;
    let class = if scan.has(",\"class\":") { Some(scan.word()?) } else { None };
    let retry_after_ms = if scan.has(",\"retry_after_ms\":") { small(scan)? } else { 0 };
    let region = if scan.has(",\"region\":") { owned(scan)? } else { String::new() };
    scan.lit("}")?;
    Some(Attempt {
        provider,
        model,
        outcome,
        status,
        usage,
        estimated,
        cost,
        price,
        latency_ms,
        first_byte_ms,
        class,
        retry_after_ms,
        region,
    })
}
