//! The operator's own prices: one document for all tenants. Stored in the directory, and handed from there to
//! each tenant's object, which tells workers of it as of a changed configuration: no request asks for it.

use super::{Answer, body, directory, tenants, wrong};
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use crate::serve::identify::ask;
use serde::Deserialize;
use serde_json::json;
use tollgate_core::directory::{DirectoryCommand, DirectoryReply, MAX_PAGE};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::map::Map;
use tollgate_core::price::{PriceBook, PriceSpec};
use tollgate_core::protocol::{Command, Reply};

/// Most tenants that are told before a change is answered: a worker may make only so many calls. The cron run
/// tells the others.
const MAX_TOLD: u64 = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    prices: Map<String, PriceSpec>,
}

pub(super) async fn get<W: World>(world: &W, head: &Head) -> Answer<W> {
    let version = match head.query("version") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| wrong("version", "is a whole number"))?),
    };
    match book(world, version).await? {
        Some(book) => Ok(shown(&book, &[])),
        None => Err(Failure::NotFound { what: "such version of the prices; the latest 100 are kept".to_owned() }),
    }
}

pub(super) async fn put<W: World>(world: &W, isolate: &Isolate, head: &Head) -> Answer<W> {
    let Put { prices } = body(world, head).await?;
    isolate.catalog.check_prices(&prices).map_err(|e| Failure::InvalidRequest { param: e.param, why: e.message })?;
    let if_match = tenants::if_match(head)?;
    let book = match directory(world, &DirectoryCommand::PutPrices { prices, if_match }).await? {
        DirectoryReply::Prices { book: Some(book) } => *book,
        DirectoryReply::Conflict { current } => return Err(Failure::PreconditionFailed { current }),
        _ => return Err(Failure::LedgerUnavailable),
    };
    let (told, later) = tell_all(world, &book).await;
    Ok(shown(&book, &[("tenants_told", told), ("tenants_later", later)]))
}

fn shown<A>(book: &PriceBook, more: &[(&str, u64)]) -> Response<A> {
    let mut told = json!({
        "object": "prices", "version": book.version, "updated_at": (book.version > 0).then(|| book.at.rfc3339()), "prices": book.prices,
    });
    if let Some(fields) = told.as_object_mut() {
        fields.extend(more.iter().map(|(name, n)| ((*name).to_owned(), json!(n))));
    }
    Response::json(200, told.to_string()).with("etag", format!("\"{}\"", book.version))
}

/// The prices: of this version, where it is kept, or as they are now.
pub(super) async fn book<W: World>(world: &W, version: Option<u64>) -> Result<Option<PriceBook>, Failure> {
    match directory(world, &DirectoryCommand::Prices { version }).await? {
        DirectoryReply::Prices { book } => Ok(book.map(|book| *book)),
        _ => Err(Failure::LedgerUnavailable),
    }
}

/// Hands the prices to a tenant's object. One that knows them, or later ones, stays as it is.
///
/// # Errors
/// It did not take them. The cron run tries again.
pub(super) async fn tell<W: World>(world: &W, tenant: &TenantId, book: &PriceBook) -> Result<(), Failure> {
    match ask(world, tenant, Command::Prices(Box::new(book.clone()))).await? {
        Reply::Done | Reply::NoTenant => Ok(()),
        _ => Err(Failure::LedgerUnavailable),
    }
}

/// Whether the prices changed while a tenant was created, too early to reach it. It is told then.
pub(super) async fn missed<W: World>(world: &W, tenant: &TenantId, known: u64) -> Result<bool, Failure> {
    match book(world, None).await? {
        Some(book) if book.version > known => tell(world, tenant, &book).await.map(|()| true),
        _ => Ok(false),
    }
}

/// How many tenants were told, and how many are left to the cron run, as far as they are known.
async fn tell_all<W: World>(world: &W, book: &PriceBook) -> (u64, u64) {
    let (mut told, mut later, mut after) = (0_u64, 0_u64, None);
    loop {
        let list = DirectoryCommand::List { after: after.clone(), limit: MAX_PAGE };
        let Ok(DirectoryReply::Tenants { tenants, more }) = directory(world, &list).await else { break };
        for row in &tenants {
            if told.saturating_add(later) < MAX_TOLD && tell(world, &row.tenant, book).await.is_ok() {
                told = told.saturating_add(1);
            } else {
                later = later.saturating_add(1);
            }
        }
        after = tenants.last().map(|row| row.tenant.to_string());
        if !more || after.is_none() {
            break;
        }
    }
    (told, later)
}
