//! All tenants at a glance, and the cron run that keeps them tidy.

use super::{Answer, directory, prices, tenants};
use crate::checks;
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use crate::serve::identify::ask;
use serde_json::{Value, json};
use tollgate_core::directory::{DirectoryCommand, DirectoryReply, MAX_PAGE};
use tollgate_core::failure::Failure;
use tollgate_core::protocol::{Command, Reply};
use tollgate_core::units::Timestamp;

pub(super) async fn get<W: World>(world: &W, head: &Head) -> Answer<W> {
    let (rows, next) = tenants::page(world, head).await?;
    let DirectoryReply::Cron { run } = directory(world, &DirectoryCommand::LastCron).await? else { return Err(Failure::LedgerUnavailable) };
    let cron = run.map(|r| {
        json!({
            "scheduled_at": r.scheduled_at.rfc3339(), "finished_at": r.finished_at.rfc3339(), "tenants": r.ticked,
            "cleaned": r.cleaned, "failed": r.failed,
        })
    });
    let rows: Vec<Value> = rows.iter().map(tenants::row).collect();
    Ok(Response::json(200, json!({ "object": "fleet", "last_cron": cron, "data": rows, "next_cursor": next }).to_string()))
}

/// A cron run. What is due is decided by the objects, from what is stored there, so that a doubled, late or missed
/// run changes nothing. Tenants are visited and providers are checked at the same time: neither waits for the other.
pub async fn run_cron<W: World>(world: &W, isolate: &Isolate, scheduled_at: Timestamp) {
    checks::all(vec![Box::pin(visit(world, isolate, scheduled_at)), Box::pin(checks::run(world, isolate))]).await;
}

/// Kicks each tenant, and tells it which providers were unreachable when they were last checked.
async fn visit<W: World>(world: &W, isolate: &Isolate, scheduled_at: Timestamp) {
    let policy = checks::policy(isolate).ok().filter(|policy| policy.interval > 0);
    let found = if policy.is_some() { checks::found(world).await } else { None };
    let unreachable = policy.zip(found).map(|(policy, found)| found.unreachable(world.now(), &policy)).unwrap_or_default();
    // An object that is older than this knows only the first.
    let tick = || if unreachable.is_empty() { Command::Tick } else { Command::TickBeside { unreachable: unreachable.clone() } };
    let (mut ticked, mut cleaned, mut failed) = (0_u64, 0_u64, 0_u64);
    let book = prices::book(world, None).await.ok().flatten();
    let mut after = None;
    loop {
        let Ok(DirectoryReply::Tenants { tenants, more }) =
            directory(world, &DirectoryCommand::List { after: after.clone(), limit: MAX_PAGE }).await
        else {
            failed = failed.saturating_add(1);
            break;
        };
        for row in &tenants {
            match ask(world, &row.tenant, tick()).await {
                Ok(Reply::Ticked { cleaned: did, totals, prices: known }) => {
                    // It was created, or could not be asked, when they changed.
                    if let Some(book) = book.as_ref().filter(|book| known < book.version) {
                        failed = failed.saturating_add(u64::from(prices::tell(world, &row.tenant, book).await.is_err()));
                    }
                    ticked = ticked.saturating_add(1);
                    cleaned = cleaned.saturating_add(u64::from(did));
                    let told = DirectoryCommand::Told { tenant: row.tenant.clone(), totals };
                    failed = failed.saturating_add(u64::from(directory(world, &told).await.is_err()));
                }
                // Its creation never got past the directory, or its deletion not as far.
                Ok(Reply::NoTenant) => {
                    let _ = directory(world, &DirectoryCommand::Remove { tenant: row.tenant.clone() }).await;
                    isolate.forget(&row.tenant);
                }
                _ => failed = failed.saturating_add(1),
            }
        }
        after = tenants.last().map(|t| t.tenant.to_string());
        if !more || after.is_none() {
            break;
        }
    }
    let _ = directory(world, &DirectoryCommand::CronRan { scheduled_at, ticked, cleaned, failed }).await;
    let line = json!({ "level": "info", "event": "cron", "scheduled_at": scheduled_at.rfc3339(), "tenants": ticked, "cleaned": cleaned, "failed": failed });
    world.log(&line.to_string());
}
