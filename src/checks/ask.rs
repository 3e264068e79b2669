//! One check: asked, and what its answer says.

use super::How;
use crate::isolate::{Isolate, KnownConfig};
use crate::ports::{Clock, Event, Incoming, NoAnswer, Outgoing, Upstream, Vault};
use crate::serve::answer::{Miss, arrived, face, whole};
use crate::serve::asked::Endpoint;
use crate::serve::keys::operators_keys;
use crate::serve::outgoing::{Ask, Prepared, Unsent, Wire, page, prepare, sign_with};
use serde::de::IgnoredAny;
use std::rc::Rc;
use tollgate_core::catalog::Provider;
use tollgate_core::checks::{Checked, Claim, State};
use tollgate_core::keyring::{Ring, Verdict, Why};
use tollgate_core::protocol::Outcome;
use tollgate_core::units::{Millis, NanoUsd, Timestamp};

/// How long a check may take, in milliseconds.
pub const LIMIT: Millis = 5_000;
/// Largest answer that is read, in bytes. The longest lists of models come close to it.
const MAX_ANSWER: usize = 1024 * 1024;

/// What was found, and what it cost.
struct Finding {
    state: State,
    status: u16,
    cost: NanoUsd,
    why: String,
    key: Verdict,
    retry_after: Option<Millis>,
}

impl Finding {
    fn new(state: State, why: &str) -> Finding {
        Finding { state, status: 0, cost: NanoUsd::ZERO, why: why.to_owned(), key: Verdict::Unrelated, retry_after: None }
    }
}

/// Makes a check.
pub(super) async fn ask<W: Clock + Event + Upstream + Vault>(
    world: &W,
    isolate: &Isolate,
    known: &KnownConfig,
    row: &Provider,
    how: &How,
    claim: Claim,
) -> Checked {
    let began = world.now();
    let finding = find(world, isolate, known, (&claim.provider, row), how).await;
    let latency_ms = u32::try_from(world.now().since(began)).unwrap_or(u32::MAX);
    let Finding { state, status, cost, why, .. } = finding;
    Checked { provider: claim.provider, n: claim.n, state, status, latency_ms, cost, why }
}

async fn find<W: Clock + Event + Upstream + Vault>(
    world: &W,
    isolate: &Isolate,
    known: &KnownConfig,
    (name, row): (&str, &Provider),
    how: &How,
) -> Finding {
    let ring: Rc<Ring> = match operators_keys(world, isolate, name, row).await {
        Ok(ring) => ring,
        Err(why) => return Finding::new(State::Auth, &why),
    };
    let now = world.now();
    let Ask { mut request, auth, wire, .. } = match request(isolate, known, (name, row), how, now.plus(LIMIT), now) {
        Ok(ask) => ask,
        Err(why) => return Finding::new(State::Refused, &why),
    };
    let seed = world.random().iter().take(8).fold(0, |n, b| (n << 8) | u64::from(*b));
    let key = isolate.choose_key(&ring, &[], now, seed);
    if let Err(why) = sign_with(isolate, auth, key.as_ref().map(|key| key.secret.reveal()), &mut request, now) {
        return Finding::new(State::Auth, &why);
    }
    let since = world.now();
    let came = world.send(request).await;
    let now = world.now();
    let finding = match how {
        How::Get(_) => of_page(name, came, wire, now),
        How::Token(one) => {
            let status = came.as_ref().map_or(0, |incoming| incoming.status);
            let (price, seconds) = (one.plan.targets.first().map(|t| &t.price), since.0.checked_div(1_000).unwrap_or(0));
            let face = face(Endpoint::Chat, "check", &one.call.request.model, seconds);
            let answer = arrived(name, came, wire, false, now).and_then(|incoming| {
                let Incoming { whole: bytes, input_tokens, .. } = incoming;
                whole(name, bytes.unwrap_or_default(), input_tokens, wire, &one.call, &face)
            });
            match answer {
                Ok(answer) => {
                    // An answer that does not say what it used is paid in full.
                    let cost = answer.usage.and_then(|usage| Some(price?.cost(usage))).unwrap_or(one.worst);
                    Finding { status, cost, key: Verdict::Works, ..Finding::new(State::Ok, "") }
                }
                Err(miss) => {
                    let cost = if miss.may_charge { one.worst } else { NanoUsd::ZERO };
                    Finding { cost, ..missed(&miss, status) }
                }
            }
        }
    };
    // An answer that came as a stream is not read.
    world.drop_stream();
    if let Some(key) = &key {
        isolate.key_answered(key, finding.key, finding.retry_after, now).iter().for_each(|line| world.log(line));
    }
    finding
}

/// The request.
fn request(
    isolate: &Isolate,
    known: &KnownConfig,
    (name, row): (&str, &Provider),
    how: &How,
    deadline: Timestamp,
    now: Timestamp,
) -> Result<Ask, String> {
    let told = |unsent: Unsent| match unsent {
        Unsent::NotConfigured(why) => why,
        Unsent::Refused(refused) => refused.why,
    };
    let one = match how {
        How::Get(path) => return page(isolate, known, (name, row), path, LIMIT, MAX_ANSWER).map_err(told),
        How::Token(one) => one,
    };
    let target = one.plan.targets.first().ok_or("no target")?;
    match prepare(isolate, known, target, &one.call, Some(1), deadline, now).map_err(told)? {
        Prepared::Ask(ask) => Ok(Ask { request: Outgoing { cap: MAX_ANSWER, ..ask.request }, ..*ask }),
        Prepared::Estimate(_) => Err("it was not asked".to_owned()),
    }
}

/// What the answer to a page says. Its content does not matter, as long as there is some.
fn of_page<A>(name: &str, came: Result<Incoming<A>, NoAnswer>, wire: Wire, now: Timestamp) -> Finding {
    if came.as_ref().is_err_and(|why| *why == NoAnswer::TooLarge) {
        return Finding::new(State::Ok, "");
    }
    let status = came.as_ref().map_or(0, |incoming| incoming.status);
    match arrived(name, came, wire, false, now) {
        Err(miss) => missed(&miss, status),
        Ok(incoming) => {
            let body = incoming.whole.unwrap_or_default();
            let some = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
            if some && serde_json::from_slice::<IgnoredAny>(&body).is_ok() {
                Finding { status, key: Verdict::Works, ..Finding::new(State::Ok, "") }
            } else {
                Finding { status, ..Finding::new(State::Down, &format!("{name}: not JSON")) }
            }
        }
    }
}

/// What it says that there was no usable answer. `status` is the provider's own, 0 if there was none.
fn missed(miss: &Miss, status: u16) -> Finding {
    let state = match (miss.key, status) {
        _ if miss.outcome == Outcome::Timeout => State::Timeout,
        (Verdict::Trouble(Why::Refused | Why::NoCredit), _) | (_, 401 | 403) => State::Auth,
        (Verdict::Trouble(Why::Throttled), _) | (_, 429) => State::RateLimited,
        (_, 300..=407 | 409..=499) => State::Refused,
        _ => State::Down,
    };
    Finding { status, key: miss.key, retry_after: miss.retry_after, ..Finding::new(state, &miss.told) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{how, policy};
    use crate::fake::{Fake, run};

    /// A check of a provider with these variables, answered so.
    fn check(provider: &str, more: &[(&str, &str)], answer: Option<(u16, &'static str)>) -> (Checked, Fake, Isolate) {
        let keys =
            [("OPENAI_API_KEY", "sk-0123456789abc"), ("ANTHROPIC_API_KEY", "sk-0123456789abc"), ("GEMINI_API_KEY", "sk-0123456789abc")];
        let vars = keys.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (world, isolate) = (Fake::new(), Isolate::new(vars.collect()));
        world.answers.borrow_mut().extend(answer);
        let (known, now) = (isolate.operators(), world.now());
        let row = isolate.catalog.provider(provider).unwrap();
        let how = how(&isolate, &known, &policy(&isolate).unwrap(), provider, row, now).unwrap();
        let claim = Claim { provider: provider.to_owned(), n: 7, after: 0 };
        let checked = run(ask(&world, &isolate, &known, row, &how, claim));
        (checked, world, isolate)
    }

    const USAGE: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"H"},"finish_reason":"length"}],"usage":{"prompt_tokens":8,"completion_tokens":1,"total_tokens":9}}"#;
    const MINI: (&str, &str) = ("TOLLGATE_HEALTH_MODELS", "openai/gpt-4o-mini");

    #[test]
    fn the_list_of_models_is_asked_for_as_its_makers_want() {
        let key = || "sk-0123456789abc".to_owned();
        for (provider, url, header) in [
            ("openai", "https://api.openai.com/v1/models", ("authorization", format!("Bearer {}", key()))),
            ("anthropic", "https://api.anthropic.com/v1/models", ("x-api-key", key())),
            ("gemini", "https://generativelanguage.googleapis.com/v1beta/models", ("x-goog-api-key", key())),
        ] {
            let (checked, world, _) = check(provider, &[], Some((200, r#"{"data":[]}"#)));
            assert_eq!((checked.n, checked.state, checked.status, checked.cost), (7, State::Ok, 200, NanoUsd::ZERO));
            let sent = world.sent.borrow();
            let [one] = sent.as_slice() else { panic!("{sent:?}") };
            assert_eq!((one.url.as_str(), &one.body, one.total, one.cap), (url, &None, LIMIT, MAX_ANSWER));
            assert!(one.headers.contains(&header), "{:?}", one.headers);
            let version = one.headers.iter().any(|(name, _)| *name == "anthropic-version");
            assert_eq!(version, provider == "anthropic");
        }
    }

    #[test]
    fn what_the_answer_says() {
        for (answer, state) in [
            (Some((200, "[]")), State::Ok),
            (Some((200, "<html>")), State::Down),
            (Some((200, "")), State::Down),
            (Some((401, "{}")), State::Auth),
            (Some((403, "{}")), State::Auth),
            (Some((402, "{}")), State::Auth),
            (Some((400, r#"{"error":{"details":[{"reason":"API_KEY_INVALID"}]}}"#)), State::Auth),
            (Some((429, "{}")), State::RateLimited),
            (Some((429, r#"{"error":{"code":"insufficient_quota"}}"#)), State::Auth),
            (Some((400, "{}")), State::Refused),
            (Some((404, "{}")), State::Refused),
            (Some((302, "")), State::Refused),
            (Some((408, "{}")), State::Down),
            (Some((500, "{}")), State::Down),
            (Some((529, "{}")), State::Down),
            (None, State::Down),
        ] {
            let (checked, ..) = check("openai", &[], answer);
            assert_eq!((checked.state, checked.status), (state, answer.map_or(0, |(status, _)| status)), "{answer:?}");
            assert_eq!(checked.why.is_empty(), state == State::Ok);
            let (checked, ..) = check("openai", &[MINI], answer.filter(|(status, _)| *status != 200));
            assert_eq!((checked.state == State::Ok, checked.cost), (false, NanoUsd::ZERO), "{answer:?}: errors cost nothing");
        }
    }

    #[test]
    fn a_key_that_is_refused_is_told_of_as_by_a_request() {
        let (checked, world, isolate) = check("openai", &[], Some((401, "{}")));
        assert_eq!((checked.state, isolate.dead_keys().len()), (State::Auth, 1));
        assert!(world.lines.borrow()[0].contains("provider_key_dead"));
        assert!(!checked.why.contains("sk-"));
    }

    #[test]
    fn one_token_costs_what_was_used_or_the_worst() {
        let (checked, world, _) = check("openai", &[MINI], Some((200, USAGE)));
        // 8 tokens in and one out, at 0.15 and 0.60 USD for a million.
        assert_eq!((checked.state, checked.cost), (State::Ok, NanoUsd::new(8 * 150 + 600)));
        let sent = world.sent.borrow();
        let body: serde_json::Value = serde_json::from_slice(sent[0].body.as_deref().unwrap()).unwrap();
        assert_eq!((&body["model"], &body["max_completion_tokens"]), (&"gpt-4o-mini".into(), &1.into()));
        assert_eq!((sent[0].total, sent[0].cap), (LIMIT, MAX_ANSWER));
        let (unknown, ..) = check("openai", &[MINI], Some((200, r#"{"choices":[]}"#)));
        let (broken, ..) = check("openai", &[MINI], Some((200, "<html>")));
        assert_eq!((unknown.state, broken.state, unknown.cost), (State::Ok, State::Down, broken.cost));
        assert!(unknown.cost > NanoUsd::new(10_000), "all that it can have cost: {}", unknown.cost);
    }

    #[test]
    fn why_a_provider_is_not_checked() {
        let isolate = |models: &str| Isolate::new([("TOLLGATE_HEALTH_MODELS".to_owned(), models.to_owned())].into());
        let told = |isolate: &Isolate, provider: &str| {
            let row = isolate.catalog.provider(provider).unwrap();
            how(isolate, &isolate.operators(), &policy(isolate).unwrap(), provider, row, Timestamp(0))
                .map(|how| (how.name(), how.worst().get() > 0))
        };
        let none = isolate("");
        assert!(told(&none, "perplexity").unwrap_err().contains("TOLLGATE_HEALTH_MODELS"));
        assert_eq!(told(&none, "bedrock"), Ok(("bedrock/amazon.nova-micro-v1:0".to_owned(), true)));
        assert_eq!(told(&none, "openrouter"), Ok(("/key".to_owned(), false)));
        let named = isolate("perplexity/sonar, openai/no-such-model");
        assert_eq!(told(&named, "perplexity"), Ok(("perplexity/sonar".to_owned(), true)));
        assert_eq!(told(&named, "openai").unwrap_err(), "the price of openai/no-such-model is not known");
    }

    #[test]
    fn what_runs_beside_others_all_ends() {
        let done = std::cell::RefCell::new(Vec::new());
        let work = async |n: u32| done.borrow_mut().push(n);
        run(crate::checks::all((0..5).map(|n| Box::pin(work(n)) as crate::checks::Work<'_>).collect()));
        assert_eq!(done.take(), [0, 1, 2, 3, 4]);
    }
}
