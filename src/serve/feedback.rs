//! `POST /v1/feedback`: what somebody thinks of an answer.

use super::identify::{ask, caller, live};
use super::read::json_body;
use crate::admin::object;
use crate::http::{Head, Response};
use crate::isolate::Isolate;
use crate::ports::World;
use serde::Deserialize;
use serde_json::json;
use tollgate_core::config::{Quality, split_target};
use tollgate_core::failure::Failure;
use tollgate_core::protocol::{Command, Feedback, Reply};
use tollgate_core::retry::Class;
use tollgate_core::route::Record;

/// Largest body in bytes.
const MAX_BODY: usize = 4 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Post {
    request_id: String,
    score: f64,
    #[serde(default)]
    target: Option<String>,
}

/// Counts a score for the target that answered a request.
///
/// # Errors
/// If the key does not work, or something is wrong with the body.
pub async fn give<W: World>(world: &W, isolate: &Isolate, head: &Head) -> Result<Response<W::Answer>, Failure> {
    let caller = caller(isolate, head)?;
    live(world, &caller).await?;
    let post: Post = object(&json_body(world, head, MAX_BODY).await?)?;
    let score = Quality::try_from(post.score).map_err(|_| wrong("score", "is a number from 0 to 1"))?;
    if !is_request_id(&post.request_id) {
        return Err(wrong("request_id", "is the `x-request-id` of the answer"));
    }
    let target = match post.target {
        Some(target) if split_target(&target).is_none() => return Err(wrong("target", "is `provider/model`")),
        Some(target) => target,
        None => match ask(world, &caller.tenant, Command::Decision { id: post.request_id.clone() }).await? {
            Reply::Decisions { records } => answered_by(records.first())?,
            _ => return Err(Failure::LedgerUnavailable),
        },
    };
    let thousandths = u16::try_from(score.get()).unwrap_or(0);
    let feedback = Feedback { request: post.request_id.clone(), target: target.clone(), score: thousandths };
    match ask(world, &caller.tenant, Command::Feedback(feedback)).await? {
        Reply::Done => {
            let body = json!({ "object": "feedback", "request_id": post.request_id, "target": target, "score": f64::from(score) });
            Ok(Response::json(200, body.to_string()))
        }
        Reply::NotFound => Err(wrong("target", "is not among the targets that are or were asked for this tenant")),
        Reply::NoTenant => Err(Failure::InvalidApiKey),
        _ => Err(Failure::LedgerUnavailable),
    }
}

fn wrong(param: &str, why: &str) -> Failure {
    Failure::InvalidRequest { param: param.to_owned(), why: why.to_owned() }
}

/// Whether it has the form of the gateway's own ids: the id in an answer's body is the provider's.
fn is_request_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| b.is_ascii_digit() || (b.is_ascii_uppercase() && !b"ILOU".contains(&b)))
}

/// Who answered, as the record has it.
fn answered_by(record: Option<&Record>) -> Result<String, Failure> {
    let kept = "is needed here, because the decision about this request is not kept: send `provider/model`, as the \
                answer's headers x-tollgate-provider and x-tollgate-model tell";
    let record = record.ok_or_else(|| wrong("target", kept))?;
    // An answer that broke off, or was not read to its end, is one too.
    let answer = |class: Class| matches!(class, Class::Ok | Class::Cut | Class::ClientGone);
    let last = record.attempts.iter().rev().find(|tried| answer(tried.class));
    last.map(|tried| tried.target.clone()).ok_or_else(|| wrong("request_id", "is that of a request that nobody answered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_gateways_own_ids_are_taken() {
        assert!(is_request_id("01ARYZ6S41TSV4RRFFQ69G5FAV"));
        for bad in ["", "chatcmpl-123", "01ARYZ6S41TSV4RRFFQ69G5FA", "01ARYZ6S41TSV4RRFFQ69G5FAI", "01aryz6s41tsv4rrffq69g5fav"] {
            assert!(!is_request_id(bad), "{bad}");
        }
    }

    #[test]
    fn the_last_that_answered_is_judged() {
        let record =
            |attempts: &str| -> Record { serde_json::from_str(&format!(r#"{{"id":"01","body":"","attempts":[{attempts}]}}"#)).unwrap() };
        let tried = |target: &str, class: &str| format!(r#"{{"target":"{target}","class":"{class}","status":1,"latency_ms":1,"cost":0}}"#);
        let of = |tried: &[String]| answered_by(Some(&record(&tried.join(",")))).map_err(|e| e.message());
        assert_eq!(of(&[tried("p/x", "server"), tried("q/y", "ok")]).unwrap(), "q/y");
        assert_eq!(of(&[tried("p/x", "cut"), tried("q/y", "timeout")]).unwrap(), "p/x");
        assert!(of(&[tried("p/x", "timeout")]).unwrap_err().starts_with("`request_id`: "));
        assert!(of(&[]).unwrap_err().starts_with("`request_id`: "));
        assert!(answered_by(None).unwrap_err().message().contains("x-tollgate-provider"));
    }
}
