//! A → common → A is the identity.

use super::super::{Face, Target};
use super::{ALL, fixtures, json, path};

#[test]
fn every_request_comes_back_as_it_was() {
    for (dialect, format) in ALL {
        for (name, body) in fixtures(format, "request") {
            let request = dialect.decode_request(path(dialect), &body).unwrap_or_else(|e| panic!("{format}/{name}: {e:?}"));
            let model = request.model.clone();
            let back = dialect.encode_request(&request, &Target::new(&model, 1)).unwrap_or_else(|e| panic!("{format}/{name}: {e:?}"));
            assert_eq!(json(&back.body), json(&body), "{format}/{name}");
            assert!(back.dropped.is_empty(), "{format}/{name}: {:?}", back.dropped);
            let again = dialect.decode_request(&back.path, &back.body).unwrap();
            assert_eq!((again.messages, again.tools, again.model), (request.messages, request.tools, model), "{format}/{name}");
        }
    }
}

#[test]
fn every_answer_comes_back_as_it_was() {
    for (dialect, format) in ALL {
        for (name, body) in fixtures(format, "answer") {
            let answer = dialect.decode_answer(&body).unwrap_or_else(|e| panic!("{format}/{name}: {e:?}"));
            let face =
                Face { id: answer.id.clone(), model: answer.model.clone(), created: answer.created.unwrap_or(0), include_usage: true };
            assert_eq!(json(&dialect.encode_answer(&answer, &face)), json(&body), "{format}/{name}");
        }
    }
}

#[test]
fn usage_is_counted_alike() {
    // The same request, told in each format's way: 120 tokens in, 64 of them cached; 40 out.
    for (dialect, format) in ALL {
        let (_, body) = fixtures(format, "answer-tools").remove(0);
        let usage = dialect.decode_answer(&body).unwrap().usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.cached, usage.total()), (120, 40, 64, 160), "{format}");
    }
}
