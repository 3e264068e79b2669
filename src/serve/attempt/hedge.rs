//! A second target is asked beside a first that is slow to answer. Whoever begins first is heard, the other
//! one is let go.
//!
//! Of the first, that costs nothing it would not have cost. Of the second, what it may cost when it is let go
//! is held before it is asked.

use super::missed::aborted;
use super::one::{Given, one};
use super::{Question, Tries, ring};
use crate::isolate::{Busy, Isolate};
use crate::ports::World;
use crate::serve::answer::Miss;
use crate::serve::outgoing::{Prepared, prepare, sign_with};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use tollgate_core::dialect::Dropped;
use tollgate_core::dialect::tap::Wanted;
use tollgate_core::keyring::Verdict;
use tollgate_core::plan::Target;
use tollgate_core::protocol::{Attempt, Hold, Outcome};
use tollgate_core::sse::Bill;
use tollgate_core::units::{Millis, NanoUsd, Timestamp};

/// Who is asked beside the first, and when.
pub(super) struct Hedge {
    other: Target,
    after: Millis,
    /// What is asked to be held: the lines so far, and one that is let go.
    lines: Vec<Attempt>,
    /// What the first costs when it is let go.
    cost: NanoUsd,
}

impl Hedge {
    /// Whether, and how, a request at this target may get company. Not where it probes the target: that is to
    /// be seen to its end.
    pub(super) fn of(isolate: &Isolate, question: &Question<'_>, target: &Target, tries: &Tries) -> Option<Hedge> {
        let policy = question.known.config.retry.hedge?;
        if !tries.attempts.may_hedge() || tries.held.probe().is_some() {
            return None;
        }
        let other = tries.order.targets.front()?.clone();
        let view = isolate.view(&question.tenant);
        let row = view.row(&target.name());
        let p95 = row.map_or(0, |row| if question.call.request.stream { row.first_p95 } else { row.total_p95 });
        let (here, there) = (aborted(target, question, 0), aborted(&other, question, 0));
        let cost = here.cost;
        // Either may be let go, and the other one have its worst case.
        if !question.affords(cost, &other) || !question.affords(there.cost, target) {
            return None;
        }
        let dearer = if there.cost > here.cost { there } else { here };
        let lines = tries.lines.iter().cloned().chain([dearer]).collect();
        Some(Hedge { other, after: policy.delay(p95), lines, cost })
    }
}

/// What came of both.
pub(super) struct Raced<W: World> {
    /// The first; `None` where it was let go.
    pub first: Option<Result<Given<W::Answer>, Miss>>,
    /// The second; `None` where it was not asked.
    pub second: Option<Second<W>>,
    /// What the permit holds since, where more was asked for.
    pub holds: Option<Vec<Hold>>,
}

/// The second request.
pub(super) struct Second<W: World> {
    /// Its target.
    pub target: Target,
    /// When it was sent.
    pub began: Timestamp,
    /// Its own way to the outside world.
    pub via: W,
    /// What other attempts cost, as its stream tells the client.
    pub told: NanoUsd,
    /// What came; `None` where it was let go.
    pub came: Option<Came<W::Answer>>,
}

/// An answer, or none, to the second request.
pub(super) struct Came<A> {
    pub given: Result<Given<A>, Miss>,
    pub busy: Busy,
    pub dropped: Dropped,
}

/// How far the second has come.
#[derive(Default)]
struct Way {
    began: Cell<Option<Timestamp>>,
    holds: RefCell<Option<Vec<Hold>>>,
}

/// Waits for the first, and for the second once it is asked.
pub(super) async fn race<W: World>(
    world: &W,
    isolate: &Isolate,
    question: &Question<'_>,
    tries: &Tries,
    hedge: Hedge,
    first: impl Future<Output = Result<Given<W::Answer>, Miss>>,
    (request_id, seed): (&str, u64),
) -> Raced<W> {
    let (way, via) = (Way::default(), world.beside());
    let (mut first_came, mut second_came) = (None, None);
    {
        let mut first = pin!(first);
        let mut second = pin!(second(world, &via, isolate, question, tries, (&hedge, &way), (request_id, seed)));
        poll_fn(|cx| {
            if first_came.is_none()
                && let Poll::Ready(came) = first.as_mut().poll(cx)
            {
                first_came = Some(came);
            }
            if matches!(&first_came, Some(Ok(_) | Err(Miss { outcome: Outcome::ClientGone, .. }))) {
                return Poll::Ready(());
            }
            if second_came.is_none()
                && let Poll::Ready(came) = second.as_mut().poll(cx)
            {
                second_came = Some(came);
            }
            let done = match (&first_came, &second_came) {
                (_, Some(Some(Came { given: Ok(_), .. }))) => true,
                // Before the second is asked, the first's failure is like any other.
                (Some(_), came) => came.is_some() || way.began.get().is_none(),
                (None, _) => false,
            };
            if done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    if first_came.is_none() {
        world.drop_stream();
    }
    let came = second_came.flatten();
    let second = way.began.get().map(|began| {
        if came.is_none() {
            via.drop_stream();
        }
        Second { target: hedge.other, began, via, told: hedge.cost, came }
    });
    Raced { first: first_came, second, holds: way.holds.take() }
}

/// Asks the second target when the first has had its time, if the tenant's share and its rules allow it.
/// `None`: it was not asked.
async fn second<W: World>(
    world: &W,
    via: &W,
    isolate: &Isolate,
    question: &Question<'_>,
    tries: &Tries,
    (hedge, way): (&Hedge, &Way),
    (request_id, seed): (&str, u64),
) -> Option<Came<W::Answer>> {
    world.sleep(hedge.after).await;
    if world.now() >= question.deadline || !isolate.hedge(&question.tenant) {
        return None;
    }
    let holds = tries.held.more(world, hedge.lines.clone()).await?;
    way.holds.replace(Some(holds));
    let (target, now) = (&hedge.other, world.now());
    let prepared = prepare(isolate, question.known, target, question.call, question.clamp, question.deadline, now);
    let Ok(Prepared::Ask(ask)) = prepared else { return None };
    let ring = ring(world, isolate, question, target, ask.auth).await.ok()?;
    let key = isolate.choose_key(&ring, &[], now, seed);
    let mut request = ask.request;
    let began = world.now();
    sign_with(isolate, ask.auth, key.as_ref().map(|key| key.secret.reveal()), &mut request, began).ok()?;
    way.began.set(Some(began));
    let busy = isolate.busy(target.name());
    let wanted = Wanted {
        usage: question.call.request.include_usage,
        keep: question.keep,
        bill: Some(Bill { price: target.price.clone(), asked: question.call.request.tier, before: hedge.cost }),
        resumable: question.resumable,
        seam: None,
    };
    let given = one(via, target, question, request, ask.wire, wanted, request_id).await;
    let (said, wait) = given.as_ref().map_or_else(|miss| (miss.key, miss.retry_after), |_| (Verdict::Works, None));
    if let Some(line) = key.and_then(|key| isolate.key_answered(&key, said, wait, world.now())) {
        world.log(&line);
    }
    Some(Came { given, busy, dropped: ask.dropped })
}
