//! Active health checks: cron asks each provider of the operator's now and then whether it is well.
//!
//! The directory's object says which checks are due and what was found (`tollgate_core::checks`); here they are
//! made. They go out the way requests go ([`outgoing`](crate::serve::outgoing)): by the same rules for addresses,
//! with the same signatures.

mod ask;
mod shown;

pub use shown::{Shown, named};

use crate::isolate::{Isolate, KnownConfig};
use crate::ports::World;
use crate::serve::asked::{Asked, Endpoint};
use crate::serve::read::Call;
use ask::ask;
use serde_json::json;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use tollgate_core::cache::Mode;
use tollgate_core::catalog::{Health, Provider};
use tollgate_core::checks::{Change, Checked, Checks, Claim, Policy};
use tollgate_core::directory::{DirectoryCommand, DirectoryReply};
use tollgate_core::failure::Failure;
use tollgate_core::plan::Plan;
use tollgate_core::price::TierAsked;
use tollgate_core::text::to_json;
use tollgate_core::units::{NanoUsd, Timestamp};

/// Most checks at a time. A worker may wait for six answers at once, and the tenants are visited meanwhile.
const AT_A_TIME: usize = 4;
/// Bytes of the prompt of a check.
const PROMPT: &str = "Hi";

/// How a provider is checked.
pub enum How {
    /// By a page that costs nothing.
    Get(String),
    /// By one token of a model.
    Token(Box<OneToken>),
}

/// A request for one token.
pub struct OneToken {
    /// The request.
    pub call: Call,
    /// Where it goes, and at which price.
    pub plan: Rc<Plan>,
    /// The most that it can cost.
    pub worst: NanoUsd,
}

impl How {
    /// The most that it can cost.
    pub fn worst(&self) -> NanoUsd {
        match self {
            How::Get(_) => NanoUsd::ZERO,
            How::Token(one) => one.worst,
        }
    }

    /// In a word: a path, or a model.
    pub fn name(&self) -> String {
        match self {
            How::Get(path) => path.clone(),
            How::Token(one) => one.call.request.model.clone(),
        }
    }
}

/// What the operator says of checks.
///
/// # Errors
/// What is wrong with it; nothing is checked then.
pub fn policy(isolate: &Isolate) -> Result<Policy, String> {
    let [interval, budget, models] =
        ["TOLLGATE_HEALTH_INTERVAL_S", "TOLLGATE_HEALTH_BUDGET_USD", "TOLLGATE_HEALTH_MODELS"].map(|name| isolate.var(name));
    Policy::read(interval, budget, models)
}

/// How a provider is checked.
///
/// # Errors
/// Why it is not.
pub fn how(isolate: &Isolate, known: &KnownConfig, policy: &Policy, name: &str, row: &Provider, now: Timestamp) -> Result<How, String> {
    let named = policy.models.iter().find(|(provider, _)| provider == name).map(|(_, model)| model);
    let model = match (named, row.health()) {
        (None, Health::Get(path)) => return Ok(How::Get(path)),
        (None, Health::None) => return Err("nothing of it is free: name a model for it in TOLLGATE_HEALTH_MODELS".to_owned()),
        (named, _) => named.or(row.health_model.as_ref()).ok_or("no model is named for it in TOLLGATE_HEALTH_MODELS")?,
    };
    let target = format!("{name}/{model}");
    let plan = isolate.plan(known, &target, now).map_err(|failure| match failure {
        Failure::PriceUnknown { .. } => format!("the price of {target} is not known"),
        failure => failure.message(),
    })?;
    let body = json!({ "model": target, "messages": [{ "role": "user", "content": PROMPT }] }).to_string().into_bytes();
    let request = Asked::read(Endpoint::Chat, &body).map_err(|failure| failure.message())?;
    let bytes = u64::try_from(request.bytes).unwrap_or(u64::MAX);
    let (worst, _) = plan.worst_case(bytes, Some(1), 1, TierAsked::default());
    let call = Call { cache: Mode::Skip, ..Call::plain(request, body) };
    Ok(How::Token(Box::new(OneToken { call, plan, worst })))
}

/// What checks have found; nothing if the directory is older than this. `None` if it cannot be asked.
pub async fn found<W: World>(world: &W) -> Option<Box<Checks>> {
    match directory(world, &DirectoryCommand::Checks).await? {
        DirectoryReply::Checks { checks } => Some(checks),
        _ => Some(Box::default()),
    }
}

async fn directory<W: World>(world: &W, command: &DirectoryCommand) -> Option<DirectoryReply> {
    let reply = world.directory(&to_json(command).ok()?).await.ok()?;
    serde_json::from_str(&reply).ok()
}

/// Makes the checks that are due.
pub async fn run<W: World>(world: &W, isolate: &Isolate) {
    let line = |level: &str, event: &str, message: &str| json!({ "level": level, "event": event, "message": message }).to_string();
    let policy = match policy(isolate) {
        Ok(policy) if policy.interval > 0 => policy,
        Ok(_) => return,
        Err(why) => return world.log(&line("error", "checks_misconfigured", &why)),
    };
    let (known, now) = (isolate.operators(), world.now());
    let configured = isolate.catalog.providers().filter(|(name, row)| isolate.configured(name, row));
    let hows: Vec<Known<'_>> =
        configured.filter_map(|(name, row)| Some((name, row, how(isolate, &known, &policy, name, row, now).ok()?))).collect();
    let wanted = hows.iter().map(|(name, _, how)| ((*name).to_owned(), how.worst())).collect();
    let seed = world.random().iter().take(8).fold(0, |n, b| (n << 8) | u64::from(*b));
    let command = DirectoryCommand::BeginChecks { interval: policy.interval, budget: policy.budget, seed, wanted };
    let Some(DirectoryReply::Claimed { claims }) = directory(world, &command).await else {
        return world.log(&line("warn", "checks_not_begun", "the directory did not answer"));
    };
    if claims.is_empty() {
        return;
    }
    let (waiting, results) = (RefCell::new(claims), RefCell::new(Vec::new()));
    let begun = world.now();
    let lane = || async {
        loop {
            // Not in the condition: what is borrowed there is borrowed until the end of the loop.
            let next = soonest(&mut waiting.borrow_mut());
            let Some(claim) = next else { break };
            let checked = begin(world, isolate, &known, &hows, claim, begun).await;
            results.borrow_mut().extend(checked);
        }
    };
    all((0..AT_A_TIME).map(|_| Box::pin(lane()) as Work<'_>).collect()).await;
    let results = results.take();
    match directory(world, &DirectoryCommand::EndChecks { results: results.clone() }).await {
        Some(DirectoryReply::Changed { changes }) => {
            for change in changes {
                results.iter().filter(|checked| checked.provider == change.0).for_each(|checked| world.log(&changed(&change, checked)));
            }
        }
        _ => world.log(&line("warn", "checks_not_stored", "the directory did not answer")),
    }
}

/// A provider that can be checked, and how.
type Known<'a> = (&'a str, &'a Provider, How);

/// Takes the check that begins first.
fn soonest(claims: &mut Vec<Claim>) -> Option<Claim> {
    let at = claims.iter().enumerate().min_by_key(|(_, claim)| claim.after).map(|(at, _)| at)?;
    Some(claims.swap_remove(at))
}

/// Makes one check, when its time has come.
async fn begin<W: World>(
    world: &W,
    isolate: &Isolate,
    known: &KnownConfig,
    hows: &[Known<'_>],
    claim: Claim,
    begun: Timestamp,
) -> Option<Checked> {
    let (_, row, how) = hows.iter().find(|(name, ..)| *name == claim.provider)?;
    let wait = begun.plus(claim.after).since(world.now());
    if wait > 0 {
        world.sleep(wait).await;
    }
    Some(ask(&world.beside(), isolate, known, row, how, claim).await)
}

/// A provider whose state is another, in the log.
fn changed((_, from, failures): &Change, to: &Checked) -> String {
    let level = if to.state.failing() { "error" } else { "info" };
    json!({
        "level": level, "event": "provider_health", "provider": to.provider, "from": from.map(|state| state.as_str()),
        "state": to.state.as_str(), "status": Some(to.status).filter(|status| *status > 0), "latency_ms": to.latency_ms,
        "failures": failures, "message": Some(&to.why).filter(|why| !why.is_empty()),
    })
    .to_string()
}

/// Something to be done beside others.
pub type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Does all of it at the same time.
pub async fn all(mut works: Vec<Work<'_>>) {
    poll_fn(move |context| {
        works.retain_mut(|work| work.as_mut().poll(context).is_pending());
        if works.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
