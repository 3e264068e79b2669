//! A stream broke off after some of it had reached the client, and another target is asked to go on with it.
//!
//! That is a request of its own: what was asked, the text so far, and the wish that it go on. What it takes beside
//! the request as it came, and what the part that broke off may have cost, is held before it is asked. It happens
//! once: if the second part breaks off, too, the client is told.

use super::one::Given;
use super::{Order, Question, Tries, Won, ask_target};
use crate::isolate::{Busy, Isolate, KnownConfig};
use crate::ports::World;
use crate::serve::answer::Content;
use crate::serve::asked::{Asked, Endpoint};
use crate::serve::facts::Facts;
use crate::serve::read::Call;
use crate::serve::settle::{self, Held};
use tollgate_core::config::BrokenStream;
use tollgate_core::dialect::Unfinished;
use tollgate_core::dialect::tap::Tap;
use tollgate_core::plan::Target;
use tollgate_core::price::Usage;
use tollgate_core::protocol::{Attempt, Outcome};
use tollgate_core::retry::{Attempts, Signal};
use tollgate_core::units::Timestamp;

/// What is left to be tried if the answer breaks off.
pub struct Onward {
    pub(super) known: KnownConfig,
    pub(super) order: Order,
    pub(super) attempts: Attempts,
    pub(super) clamp: Option<u64>,
    pub(super) tokens: (u64, Option<u64>),
    pub(super) facts: Facts,
}

/// A stream that broke off.
pub struct Broken {
    /// The permit.
    pub held: Held,
    /// The request as it came.
    pub call: Call,
    /// Who began.
    pub target: Target,
    /// All attempts so far; the last is the one that broke off.
    pub lines: Vec<Attempt>,
    /// What the client has, and tokens of it.
    pub unfinished: (Box<Unfinished>, u64),
    /// When the whole request must be over.
    pub deadline: Timestamp,
    /// What is left to be tried.
    pub onward: Box<Onward>,
}

/// A stream that goes on.
pub struct Resumed {
    /// The permit.
    pub held: Held,
    /// The request as it went to who goes on.
    pub call: Call,
    /// Who goes on.
    pub target: Target,
    /// What the stream goes through.
    pub tap: Tap,
    /// The target's place among those that are asked.
    pub busy: Busy,
    /// When it was asked.
    pub began: Timestamp,
    /// Attempts before it.
    pub lines: Vec<Attempt>,
}

/// Nobody goes on with it.
pub struct Stopped {
    /// The permit.
    pub held: Held,
    /// All attempts.
    pub lines: Vec<Attempt>,
    /// The request.
    pub call: Call,
}

/// Whether a stream of this request may go on elsewhere if it breaks off, as far as that shows before it does.
pub(super) fn resumable(known: &KnownConfig, call: &Call) -> bool {
    let Asked { endpoint, stream, choices, .. } = &call.request;
    let formats = matches!(endpoint, Endpoint::Chat | Endpoint::Messages);
    known.config.retry.on_broken_stream == BrokenStream::Continue && formats && *stream && *choices == 1
}

/// Asks the targets that are left to go on.
///
/// # Errors
/// If none may, or none does. Then the client is to be told that the stream broke off, and the permit is to be
/// settled.
pub async fn go_on<W: World + Clone + 'static>(world: &W, isolate: &Isolate, broken: Broken) -> Result<Box<Resumed>, Box<Stopped>> {
    let Broken { held, call, target, lines, unfinished: (unfinished, written), deadline, onward } = broken;
    let Onward { known, order, mut attempts, clamp, tokens, mut facts } = *onward;
    // Until it has begun the client is sent comments, so it is held back for as long as it may be silent, and more.
    let hold = i64::from(known.config.timeouts.idle_ms).saturating_mul(2);
    let stopped = |held, lines, call| Err(Box::new(Stopped { held, lines, call }));
    let Some(line) = lines.last() else { return stopped(held, lines, call) };
    let Some((longer, added)) = longer(&call, &unfinished) else { return stopped(held, lines, call) };
    let (now, class, left) = (world.now(), line.class(), !order.targets.is_empty());
    if !isolate.retries(&held.tenant, |budget| attempts.onward(now, class, left, budget)) {
        return stopped(held, lines, call);
    }
    // What is out counts towards the bound that the caller or a rule has set.
    let most = clamp.or(call.request.max_output).map(|most| most.saturating_sub(written).max(1));
    let call = Call { request: longer.0, body: longer.1, ..call };
    let permit = held.id().filter(|_| known.config.breaker.enabled);
    if let Some(permit) = permit.filter(|_| class.row().signal == Signal::Failure) {
        settle::failed(world, &held.tenant, permit, &lines);
    }
    let (tenant, region, from) = (held.tenant.clone(), facts.region.clone(), target.name());
    let tokens = (tokens.0.saturating_add(added), most.or(tokens.1));
    let question = Question {
        tenant,
        known: &known,
        call: &call,
        clamp: most,
        tokens,
        deadline,
        keep: 0,
        hold,
        region,
        permit,
        resumable: false,
        seam: Some(unfinished.seam(from.clone())),
        added,
    };
    let mut tries = Tries { held, order, attempts, lines, misses: Vec::new() };
    let mut next = tries.order.targets.pop_front();
    while let Some(target) = next {
        if !tries.holds(world, &question, &target).await {
            break;
        }
        match ask_target(world, isolate, &question, target, &mut tries, &mut facts).await {
            Ok(Won { target, busy, began, given: Given { content: Content::Stream(tap), .. }, .. }) => {
                facts.continued(world, isolate, &from, &target.name());
                let Tries { held, lines, .. } = tries;
                return Ok(Box::new(Resumed { held, call, target, tap: *tap, busy, began, lines }));
            }
            // Where a stream was asked for nothing else is an answer.
            Ok(_) => break,
            Err(then) => next = then,
        }
    }
    let Tries { held, lines, .. } = tries;
    stopped(held, lines, call)
}

/// The request for who goes on, with its body, and how many bytes longer it is. `None` if it asks for more than
/// text.
fn longer(call: &Call, unfinished: &Unfinished) -> Option<((Asked, Vec<u8>), u64)> {
    let body = unfinished.asked(&call.body)?;
    let request = Asked::read(call.request.endpoint, &body).ok()?;
    let added = request.bytes.saturating_sub(call.request.bytes);
    Some(((request, body), u64::try_from(added).unwrap_or(u64::MAX)))
}

impl Question<'_> {
    /// What a permit for the request as it came does not hold of an attempt: the text so far is input, too.
    pub(super) fn beside(&self, target: &Target) -> Option<Attempt> {
        let Question { tokens: (input, output), added, call, .. } = self;
        let output = output.unwrap_or_else(|| target.max_output.saturating_mul(call.request.choices));
        let most = |input: u64| target.price.worst_case(input, output, call.request.tier);
        (*added > 0).then(|| Attempt {
            provider: target.provider.clone(),
            model: target.model.clone(),
            outcome: Outcome::Aborted,
            status: 499,
            usage: Usage { input: *added, ..Usage::default() },
            estimated: true,
            cost: most(*input).minus(most(input.saturating_sub(*added))),
            ..Attempt::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::dialect::tap::Wanted;
    use tollgate_core::dialect::{Dialect, Face};
    use tollgate_core::map::Map;

    fn call(endpoint: Endpoint, body: &str) -> Call {
        Call::plain(Asked::read(endpoint, body.as_bytes()).unwrap(), body.as_bytes().to_vec())
    }

    /// What a client of chat completions has that was told this.
    fn unfinished(text: &str) -> Box<Unfinished> {
        let wanted = Wanted { usage: true, resumable: true, ..Wanted::default() };
        let mut tap = Tap::new(Dialect::OpenAiChat, Dialect::OpenAiChat, Face::default(), wanted);
        tap.push(format!("data: {{\"id\":\"a\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n").as_bytes());
        tap.take_unfinished().unwrap()
    }

    #[test]
    fn the_request_for_the_rest_is_the_same_and_longer() {
        let asked = call(Endpoint::Chat, r#" {"model":"m","stream":true,"max_tokens":50,"messages":[{"role":"user","content":"x"}]} "#);
        let ((request, body), added) = longer(&asked, &unfinished("Once upon")).unwrap();
        assert_eq!((request.model.as_str(), request.stream, request.max_output), ("m", true, Some(50)));
        assert_eq!(added, u64::try_from(body.len() - asked.body.len()).unwrap());
        assert!(String::from_utf8(body).unwrap().contains(r#"{"role":"assistant","content":"Once upon"}"#));
        let tools = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f"}}]}"#;
        assert!(longer(&call(Endpoint::Chat, tools), &unfinished("Once upon")).is_none());
    }

    #[test]
    fn what_is_watched_shows_in_the_request() {
        let policy = |word: &str| serde_json::from_str(&format!(r#"{{"retry":{{"on_broken_stream":"{word}"}}}}"#)).unwrap();
        let watched = |word: &str, endpoint: Endpoint, more: &str| {
            let isolate = Isolate::new([].into_iter().collect());
            let tenant = tollgate_core::ids::TenantId::parse("t").unwrap();
            let known = isolate.learn(&tenant, (1, Timestamp(0)), policy(word), Map::default(), None);
            let field = if endpoint == Endpoint::Responses { "input" } else { "messages" };
            resumable(&known, &call(endpoint, &format!(r#"{{"model":"m","{field}":[{{}}]{more}}}"#)))
        };
        let stream = r#","stream":true"#;
        assert!(watched("continue", Endpoint::Chat, stream) && watched("continue", Endpoint::Messages, stream));
        assert!(!watched("error", Endpoint::Chat, stream) && !watched("continue", Endpoint::Chat, ""));
        assert!(!watched("continue", Endpoint::Responses, stream));
        assert!(!watched("continue", Endpoint::Chat, r#","stream":true,"n":2"#));
    }
}
