//! One request to one target, until its answer is there or has begun.

use super::Question;
use crate::ports::{Incoming, Outgoing, Primed, World};
use crate::serve::answer::{Content, Miss, Whole, arrived, face, whole};
use crate::serve::outgoing::Wire;
use crate::serve::read::Call;
use tollgate_core::dialect::tap::{State, Tap, Wanted};
use tollgate_core::plan::Target;
use tollgate_core::price::Usage;
use tollgate_core::protocol::Outcome;
use tollgate_core::units::NanoUsd;

/// What one target gave.
pub(super) struct Given<A> {
    pub content: Content,
    pub content_type: String,
    pub answer: Option<A>,
    pub headers: Vec<(&'static str, String)>,
}

impl<A> Given<A> {
    /// The client is to pay so much more.
    pub fn besides(&mut self, cost: NanoUsd) {
        if let Content::Stream(tap) = &mut self.content {
            tap.besides(cost);
        }
    }
}

/// Asks one target, until its answer is there or has begun.
pub(super) async fn one<W: World>(
    world: &W,
    target: &Target,
    question: &Question<'_>,
    request: Outgoing,
    wire: Wire,
    wanted: Wanted,
    request_id: &str,
) -> Result<Given<W::Answer>, Miss> {
    let Question { call, hold, known, .. } = question;
    let client = call.request.endpoint.dialect();
    let since = world.now();
    let came = world.send(request).await;
    let arrived = arrived(&target.provider, came, wire, call.request.stream, world.now());
    match arrived {
        Err(miss) => Err(miss),
        Ok(incoming) => {
            let Incoming { content_type, headers, whole: bytes, answer, input_tokens, .. } = incoming;
            let face = face(call.request.endpoint, request_id, &target.model, since.0.checked_div(1_000).unwrap_or(0));
            let passes = matches!(wire, Wire::Answer(format) if format == client);
            match (bytes, wire) {
                (Some(bytes), _) => whole(&target.provider, bytes, input_tokens, wire, call, &face).map(|whole| {
                    let content_type = if whole.own { content_type } else { "application/json".to_owned() };
                    let answer = whole.own.then_some(answer);
                    Given { content: Content::Whole(whole), content_type, answer, headers }
                }),
                (None, Wire::Answer(format)) => {
                    let (tap, primed) =
                        world.prime(Tap::new(format, client, face, wanted), *hold, i64::from(known.config.timeouts.idle_ms)).await;
                    let begun = begun(&target.provider, tap, primed);
                    if begun.is_err() {
                        world.drop_stream();
                    }
                    begun.map(|tap| {
                        let content_type = if passes { content_type } else { client.stream_type().to_owned() };
                        Given { content: Content::Stream(Box::new(tap)), content_type, answer: Some(answer), headers }
                    })
                }
                (None, _) => Err(Miss::new(&target.provider, "a stream where none was asked for", Outcome::Error, 502, true)),
            }
        }
    }
}

/// Whether a stream has begun, or will never.
fn begun(provider: &str, tap: Tap, primed: Primed) -> Result<Tap, Miss> {
    match (primed, tap.state()) {
        (Primed::ClientGone, _) => Err(Miss::new(provider, "client gone", Outcome::ClientGone, 499, true)),
        (_, State::Failed) => Err(Miss::failed_stream(provider, tap.failed())),
        (Primed::Ended, State::Waiting) if !tap.whole() => Err(Miss::failed_stream(provider, None)),
        (Primed::Silent, State::Waiting) => Err(Miss::new(provider, "no answer in time", Outcome::Timeout, 504, true)),
        (Primed::Broken, State::Waiting) => Err(Miss::new(provider, "the stream broke off before it began", Outcome::Cut, 502, true)),
        _ => Ok(tap),
    }
}

/// The number of tokens where the target cannot count them.
pub(super) fn estimate<A>(call: &Call, tokens: u64) -> Given<A> {
    let bytes = call.request.endpoint.dialect().encode_count_answer(tokens);
    let content = Content::Whole(Whole { bytes, own: false, usage: Some(Usage::default()) });
    Given { content, content_type: "application/json".to_owned(), answer: None, headers: vec![("x-tollgate-estimated", "true".to_owned())] }
}
