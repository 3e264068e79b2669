//! Streams: cut anywhere, broken anywhere, and told in another format.

use super::super::common::{Delta, Opening, Piece, StopReason, Usage};
use super::super::{Dialect, Face, Translator};
use super::{ALL, fixtures, wire};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn face() -> Face {
    Face { id: "id-1".into(), model: "m".into(), created: 5, include_usage: true }
}

fn read(dialect: Dialect, parts: &[&[u8]]) -> Vec<Delta> {
    let mut decoder = dialect.decoder();
    let mut out: Vec<Delta> = parts.iter().flat_map(|part| decoder.push(part)).collect();
    out.extend(decoder.finish());
    out
}

fn written(dialect: Dialect, deltas: &[Delta]) -> Vec<u8> {
    let (mut encoder, mut out) = (dialect.encoder(face()), Vec::new());
    deltas.iter().for_each(|delta| encoder.write(delta, &mut out));
    out
}

/// What a stream says, without how it was cut into pieces.
#[derive(Debug, Default, PartialEq)]
struct Told {
    parts: BTreeMap<(u64, u64), (String, String)>,
    signatures: Vec<String>,
    logprobs: usize,
    stops: BTreeMap<u64, StopReason>,
    usage: Option<Usage>,
    ended: bool,
}

fn told(deltas: &[Delta]) -> Told {
    let mut told = Told::default();
    for delta in deltas {
        match delta {
            Delta::Begin { usage: Some(usage), .. } | Delta::Usage(usage) => told.usage = Some(*usage),
            Delta::Open { choice, at, part } => {
                let kind = match part {
                    Opening::ToolCall { id, name, signature } => format!("call {id} {name} {signature:?}"),
                    // Only OpenAI tells a refusal from other text.
                    Opening::Refusal => "Text".to_owned(),
                    other => format!("{other:?}"),
                };
                told.parts.insert((*choice, *at), (kind, String::new()));
            }
            Delta::More { choice, at, piece } => match piece {
                Piece::Text(text) | Piece::Arguments(text) => told.parts.get_mut(&(*choice, *at)).unwrap().1.push_str(text),
                Piece::Signature(s) => told.signatures.push(s.to_wire(s.maker)),
            },
            Delta::Logprobs { tokens, .. } => told.logprobs += tokens.len(),
            Delta::Stop { choice, stop } => _ = told.stops.insert(*choice, stop.reason),
            Delta::End => told.ended = true,
            Delta::Failed(e) => panic!("{e:?}"),
            _ => {}
        }
    }
    // A call without arguments may be written as none or as an empty object.
    for (kind, text) in told.parts.values_mut() {
        if kind.starts_with("call") && text.is_empty() {
            *text = "{}".into();
        }
    }
    told
}

fn all_streams() -> Vec<(Dialect, String, Vec<u8>)> {
    let of = |(dialect, format): (Dialect, &str)| {
        fixtures(format, "stream").into_iter().map(move |(name, body)| (dialect, name, wire(dialect, &body)))
    };
    ALL.into_iter().flat_map(of).collect()
}

#[test]
fn every_stream_comes_back_as_it_was() {
    for (dialect, name, bytes) in all_streams() {
        let first = told(&read(dialect, &[&bytes]));
        assert!(first.ended && first.usage.is_some() && !first.stops.is_empty(), "{dialect:?} {name}");
        let again = written(dialect, &read(dialect, &[&bytes]));
        assert_eq!(told(&read(dialect, &[&again])), first, "{dialect:?} {name}");
    }
}

/// Text, calls, stop and usage mean the same in every other format.
#[test]
fn every_stream_means_the_same_in_every_format() {
    for (from, name, bytes) in all_streams() {
        let source = told(&read(from, &[&bytes]));
        for (to, _) in ALL {
            let mut translator = Translator::new(from, to, face());
            let mut out = translator.push(&bytes);
            out.extend(translator.finish());
            let target = told(&read(to, &[&out]));
            let only_first = matches!(to, Dialect::Anthropic | Dialect::Bedrock | Dialect::OpenAiResponses);
            let spoken = |t: &Told, kind: &str| -> Vec<String> {
                let parts = t.parts.iter().filter(|((choice, _), (k, _))| (!only_first || *choice == 0) && k.starts_with(kind));
                parts
                    .map(|(_, (k, text))| format!("{} {}", k.split(" Some").next().unwrap().split(" None").next().unwrap(), squeezed(text)))
                    .collect()
            };
            let story = format!("{from:?} {name} → {to:?}: {}", String::from_utf8_lossy(&out));
            assert_eq!(spoken(&target, "call"), spoken(&source, "call"), "{story}");
            assert_eq!(spoken(&target, "Text"), spoken(&source, "Text"), "{story}");
            assert_eq!(target.ended, source.ended, "{story}");
            let (a, b) = (target.usage.unwrap(), source.usage.unwrap());
            assert_eq!((a.input, a.output, a.cached), (b.input, b.output, b.cached), "{story}");
            if !matches!(source.stops[&0], StopReason::Sequence) {
                assert_eq!(target.stops[&0], source.stops[&0], "{story}");
            }
        }
    }
}

/// JSON without white space that means nothing; other text as it is.
fn squeezed(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text).map_or(text.to_owned(), |v| v.to_string())
}

#[test]
fn line_ends_comments_and_a_byte_order_mark_change_nothing() {
    for (dialect, name, bytes) in all_streams() {
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        if dialect == Dialect::Bedrock {
            continue;
        }
        let deltas = read(dialect, &[&bytes]);
        for end in ["\n", "\r\n", "\r"] {
            let other = format!("\u{feff}: hello\n\n{text}").replace("data: ", "data:").replace('\n', end);
            assert_eq!(read(dialect, &[other.as_bytes()]), deltas, "{dialect:?} {name} {end:?}");
        }
    }
}

#[test]
fn a_missing_end_mark_is_an_end_if_the_answer_was_whole() {
    for (dialect, name, bytes) in all_streams() {
        let text = String::from_utf8_lossy(&bytes)
            .replace("data: [DONE]\n\n", "")
            .replace("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", "");
        if dialect != Dialect::Bedrock {
            assert_eq!(read(dialect, &[text.as_bytes()]).last(), Some(&Delta::End), "{dialect:?} {name}");
        }
    }
}

#[test]
fn nothing_is_no_answer() {
    for (dialect, _) in ALL {
        for bytes in [&b""[..], b"\n\n"] {
            let mut decoder = dialect.decoder();
            decoder.push(bytes);
            assert!(matches!(decoder.finish().as_slice(), [Delta::Failed(_)]), "{dialect:?}");
            assert!(!decoder.whole() && decoder.over());
        }
    }
}

#[test]
fn usage_told_twice_counts_once() {
    let chunk =
        |usage: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}],\"usage\":{usage}}}\n\n");
    let text = [chunk(r#"{"prompt_tokens":5,"completion_tokens":1}"#), chunk(r#"{"prompt_tokens":5,"completion_tokens":9}"#)].concat();
    let mut decoder = Dialect::OpenAiChat.decoder();
    decoder.push(text.as_bytes());
    decoder.finish();
    assert_eq!(decoder.usage().map(|u| (u.input, u.output)), Some((5, 9)));
    assert!(decoder.whole());
}

#[test]
fn broken_events_fail_the_stream_once_and_for_good() {
    for (dialect, format) in ALL {
        let (_, body) = fixtures(format, "stream-tools").remove(0);
        let mut decoder = dialect.decoder();
        let broken = if dialect == Dialect::Bedrock { super::frame("metadata", "{\"usage\"") } else { b"data: {\"a\":\n\n".to_vec() };
        assert!(matches!(decoder.push(&broken).as_slice(), [Delta::Failed(e)] if e.code.as_deref() == Some("upstream_malformed")));
        assert_eq!((decoder.push(&wire(dialect, &body)), decoder.finish()), (Vec::new(), Vec::new()));
    }
}

#[test]
fn a_stop_with_every_event_loses_nothing() {
    let event = |text: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}},\"finishReason\":\"STOP\"}}],\"usageMetadata\":{{\"promptTokenCount\":1}}}}\n\n"
        )
    };
    let told = told(&read(Dialect::Gemini, &[[event("a"), event("b")].concat().as_bytes()]));
    assert_eq!((told.parts[&(0, 0)].1.as_str(), told.ended), ("ab", true));
}

#[test]
fn done_is_an_end_without_a_reason_too() {
    let bytes = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n";
    let told = told(&read(Dialect::OpenAiChat, &[bytes]));
    assert_eq!((told.stops[&0], told.ended), (StopReason::End, true));
    assert!(matches!(read(Dialect::OpenAiChat, &[b"data: [DONE]\n\n"]).as_slice(), [Delta::Failed(_)]));
}

#[test]
fn an_answer_without_end_is_stopped() {
    let text = "x".repeat(1 << 20);
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let mut decoder = Dialect::OpenAiChat.decoder();
    let stopped = (0..40).position(|_| decoder.push(event.as_bytes()).iter().any(|d| matches!(d, Delta::Failed(_))));
    assert_eq!(stopped, Some(32));
    let call = |n: u64| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{n},\"id\":\"c{n}\",\"function\":{{\"name\":\"f\"}}}}]}}}}]}}\n\n"
        )
    };
    let mut decoder = Dialect::OpenAiChat.decoder();
    assert!((0..=super::super::MAX_PARTS).any(|n| decoder.push(call(n).as_bytes()).iter().any(|d| matches!(d, Delta::Failed(_)))));
}

#[test]
fn five_megabytes_in_one_event_pass() {
    let text = "x".repeat(5 * 1024 * 1024);
    let bytes = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}]}}\n\ndata: [DONE]\n\n");
    let parts: Vec<&[u8]> = bytes.as_bytes().chunks(65_536).collect();
    let told = told(&read(Dialect::OpenAiChat, &parts));
    assert_eq!(told.parts[&(0, 0)].1.len(), text.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn cutting_the_bytes_elsewhere_changes_nothing(cuts in prop::collection::vec(1_usize..40, 1..60)) {
        for (dialect, name, bytes) in all_streams() {
            let (mut rest, mut pieces, mut cut) = (bytes.as_slice(), Vec::new(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (head, tail) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                pieces.push(head);
                rest = tail;
            }
            prop_assert_eq!(read(dialect, &pieces), read(dialect, &[&bytes]), "{:?} {}", dialect, name);
        }
    }

    #[test]
    fn a_stream_cut_short_is_never_whole_before_its_stop(share in 0.0..1.0) {
        for (dialect, name, bytes) in all_streams() {
            let short = &bytes[..(bytes.len() as f64 * share) as usize];
            let deltas = read(dialect, &[short]);
            let stopped = deltas.iter().any(|d| matches!(d, Delta::Stop { .. }));
            match deltas.last() {
                Some(Delta::End) => prop_assert!(stopped, "{dialect:?} {name}"),
                Some(Delta::Failed(_)) => {}
                other => prop_assert!(false, "{dialect:?} {name}: {other:?}"),
            }
        }
    }

    #[test]
    fn changed_bytes_never_panic_and_always_end(changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..20)) {
        for (from, _, mut bytes) in all_streams() {
            for (at, byte) in &changes {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = *byte;
            }
            let deltas = read(from, &[&bytes]);
            prop_assert!(matches!(deltas.last(), Some(Delta::End | Delta::Failed(_))));
            let ends = deltas.iter().filter(|d| matches!(d, Delta::End | Delta::Failed(_))).count();
            prop_assert_eq!(ends, 1);
            let pieces: Vec<&[u8]> = bytes.chunks(7).collect();
            prop_assert_eq!(read(from, &pieces), deltas.clone());
            for (to, _) in ALL {
                written(to, &deltas);
            }
        }
    }
}
