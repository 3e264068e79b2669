use super::super::tap::{State, Tap, Wanted};
use super::*;
use crate::price::{PriceSpec, TierAsked};
use crate::sse::Bill;
use crate::units::NanoUsd;
use proptest::prelude::*;

const HEAD: &str =
    r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"first","choices":[{"index":0,"#;
const ERROR: &str = "data: {\"error\":{\"message\":\"no luck\",\"type\":\"server_error\",\"code\":null}}\n\n";

/// A chunk with this delta.
fn chunk(delta: &str) -> String {
    format!("{HEAD}\"delta\":{delta},\"finish_reason\":null}}]}}\n\n")
}

/// A stream of chat completions that says this and breaks off.
fn half(pieces: &[&str]) -> String {
    let said = pieces.iter().map(|text| chunk(&format!(r#"{{"content":"{text}"}}"#)));
    chunk(r#"{"role":"assistant","content":""}"#) + &said.collect::<String>()
}

/// A whole one, by someone else.
fn other(pieces: &[&str]) -> String {
    let stop = chunk("{}").replace("\"finish_reason\":null", "\"finish_reason\":\"stop\"");
    let usage = r#"data: {"id":"x","choices":[],"usage":{"prompt_tokens":50,"completion_tokens":7}}"#;
    (half(pieces) + &stop + usage + "\n\ndata: [DONE]\n\n")
        .replace("chatcmpl-1", "other")
        .replace("1700000000", "5")
        .replace("first", "second")
}

fn message(kind: &str, rest: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n")
}

fn half_message(pieces: &[&str]) -> String {
    let start = r#","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":7,"output_tokens":1}}"#;
    let open = r#","index":0,"content_block":{"type":"text","text":""}"#;
    let said =
        pieces.iter().map(|text| message("content_block_delta", &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#)));
    message("message_start", start) + &message("content_block_start", open) + &said.collect::<String>()
}

fn end_of_message() -> String {
    let delta = r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}"#;
    message("content_block_stop", r#","index":0"#) + &message("message_delta", delta) + &message("message_stop", "")
}

fn tap(from: Dialect, to: Dialect) -> Tap {
    Tap::new(from, to, Face::default(), Wanted { usage: true, resumable: true, ..Wanted::default() })
}

fn run(tap: &mut Tap, text: &str, step: usize) -> String {
    let mut out = Vec::new();
    for chunk in text.as_bytes().chunks(step) {
        out.extend(tap.push(chunk).unwrap_or_else(|| chunk.to_vec()));
    }
    String::from_utf8(out).unwrap()
}

fn finish(tap: &mut Tap) -> String {
    String::from_utf8(tap.finish()).unwrap()
}

/// The tap of the rest of an answer of which the client has this.
fn rest_of(unfinished: &Unfinished, from: Dialect, to: Dialect) -> Tap {
    let spec: PriceSpec = serde_json::from_str(r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}"#).unwrap();
    let bill = Bill { price: spec.price("").unwrap(), asked: TierAsked::Auto, before: NanoUsd::from_usd("1").unwrap() };
    let mut dropped = Dropped::default();
    dropped.add("seed");
    let seam = unfinished.seam("a/first".to_owned()).by("b/second".to_owned(), &dropped);
    Tap::new(from, to, Face::default(), Wanted { usage: true, bill: Some(bill), seam: Some(seam), ..Wanted::default() })
}

/// What a client reads of a stream: its text, whether it is whole, and how often it begins.
fn read(client: Dialect, stream: &str) -> (String, bool, usize) {
    let (mut decoder, mut text, mut begun) = (client.decoder(), String::new(), 0);
    for delta in decoder.push(stream.as_bytes()) {
        match delta {
            Delta::Begin { .. } => begun += 1,
            Delta::More { piece: Piece::Text(more), .. } => text.push_str(&more),
            _ => {}
        }
    }
    (text, decoder.whole(), begun)
}

#[test]
fn half_an_event_is_held_back_and_never_comes() {
    for step in [1, 9, 10_000] {
        for (to, whole) in [(Dialect::OpenAiChat, half(&["Hel", "lo"])), (Dialect::Anthropic, half_message(&["Hel", "lo"]))] {
            let mut tap = tap(to, to);
            let cut = format!("{whole}data: {{\"cho");
            assert_eq!(run(&mut tap, &cut, step), whole, "{to:?} {step}");
            assert!(!tap.inside_event() && tap.state() == State::Begun);
            // Nor does it go out if nobody goes on: with a blank line it would be a broken event.
            assert_eq!(finish(&mut tap), "");
            assert_eq!(tap.take_unfinished().unwrap().text, "Hello");
        }
    }
}

#[test]
fn a_failure_is_held_back_until_it_is_clear_that_nobody_goes_on() {
    let overloaded = message("error", r#","error":{"type":"overloaded_error","message":"busy"}"#);
    for step in [1, 9, 10_000] {
        for (to, whole, error) in
            [(Dialect::OpenAiChat, half(&["Hi"]), ERROR), (Dialect::Anthropic, half_message(&["Hi"]), overloaded.as_str())]
        {
            let mut tap = tap(to, to);
            assert_eq!(run(&mut tap, &format!("{whole}{error}data: [DONE]\n\n"), step), whole, "{to:?} {step}");
            assert_eq!(finish(&mut tap), error);
            assert!(tap.said().is_some() && !tap.whole());
            assert_eq!(tap.take_unfinished().unwrap().text, "Hi");
        }
    }
    // In other words than the client's.
    let mut tap = tap(Dialect::Anthropic, Dialect::OpenAiChat);
    let out = run(&mut tap, &(half_message(&["Hi"]) + &overloaded), 9);
    assert!(out.contains("\"Hi\"") && !out.contains("busy"), "{out}");
    assert!(finish(&mut tap).contains("busy"));
    assert!(tap.take_unfinished().is_some());
}

#[test]
fn what_cannot_go_on_elsewhere_passes_as_ever() {
    let call = r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#;
    let stop = chunk("{}").replace("\"finish_reason\":null", "\"finish_reason\":\"stop\"");
    for more in [
        chunk(call),
        chunk(r#"{"reasoning_content":"hm"}"#),
        chunk(r#"{"refusal":"no"}"#),
        chunk(r#"{"content":"x"}"#).replace("\"index\":0", "\"index\":1"),
        chunk(r#"{"content":"x"}"#)
            .replace("\"finish_reason\"", "\"logprobs\":{\"content\":[{\"token\":\"x\",\"logprob\":-1}]},\"finish_reason\""),
        stop,
        "data: [DONE]\n\n".to_owned(),
        "data: {\"id\":\"broken\",\"choices\":[{\n\n".to_owned(),
    ] {
        let all = half(&["Hi"]) + &more + "data: {\"half";
        let mut tap = tap(Dialect::OpenAiChat, Dialect::OpenAiChat);
        let out = run(&mut tap, &all, 11) + &finish(&mut tap);
        assert_eq!(out, all);
        assert!(tap.take_unfinished().is_none(), "{more}");
    }
    for nothing in [half(&[]), half(&[" ", "\\n"])] {
        let mut tap = tap(Dialect::OpenAiChat, Dialect::OpenAiChat);
        run(&mut tap, &nothing, 11);
        assert!(tap.take_unfinished().is_none());
    }
    let mut responses = tap(Dialect::OpenAiResponses, Dialect::OpenAiResponses);
    assert!(responses.take_unfinished().is_none());
}

#[test]
fn what_is_kept_has_a_bound() {
    let piece = "x".repeat(MAX_TEXT / 4);
    let of = |n: usize| half(&vec![piece.as_str(); n]);
    for (n, fits) in [(4, true), (5, false)] {
        let mut tap = tap(Dialect::OpenAiChat, Dialect::OpenAiChat);
        assert_eq!(run(&mut tap, &of(n), 4_096), of(n));
        assert_eq!(tap.take_unfinished().is_some(), fits, "{n}");
    }
    // An event without an end.
    let mut tap = tap(Dialect::OpenAiChat, Dialect::OpenAiChat);
    let endless = half(&["Hi"]) + "data: " + &"y".repeat(3 * MAX_HELD);
    assert_eq!(run(&mut tap, &endless, 4_096) + &finish(&mut tap), endless);
    assert!(tap.take_unfinished().is_none());
}

#[test]
fn the_next_target_is_asked_for_the_rest() {
    let unfinished = |client: Dialect| {
        let mut tap = tap(client, client);
        run(&mut tap, &if client == Dialect::OpenAiChat { half(&["a \\\"b\\\"\\n"]) } else { half_message(&["a \\\"b\\\"\\n"]) }, 7);
        tap.take_unfinished().unwrap()
    };
    let go_on = Json::from(GO_ON).to_text();
    let turns = format!(r#",{{"role":"assistant","content":"a \"b\"\n"}},{{"role":"user","content":{go_on}}}"#);
    for client in [Dialect::OpenAiChat, Dialect::Anthropic] {
        let body = r#" {"max_tokens":9, "messages" : [ {"role":"user","content":"]"} ] ,"model":"m","stream":true,"x":[1.50]} "#;
        let asked = unfinished(client).asked(body.as_bytes()).unwrap();
        let expected = body.replace(" ] ,\"model\"", &format!(" {turns}] ,\"model\""));
        assert_eq!(String::from_utf8(asked).unwrap(), expected, "{client:?}");
    }
    let chat = unfinished(Dialect::OpenAiChat);
    let asks =
        |more: &str| chat.asked(format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{more}}}"#).as_bytes()).is_some();
    for fine in ["", r#","n":1,"tools":[],"logprobs":false,"response_format":{"type":"text"},"modalities":["text"],"audio":null,"seed":5"#]
    {
        assert!(asks(fine), "{fine}");
    }
    for more in [
        r#","n":2"#,
        r#","tools":[{"type":"function","function":{"name":"f"}}]"#,
        r#","functions":[{"name":"f"}]"#,
        r#","response_format":{"type":"json_object"}"#,
        r#","response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{}}}"#,
        r#","logprobs":true"#,
        r#","modalities":["text","audio"]"#,
        r#","audio":{"voice":"x"}"#,
        r#","web_search_options":{}"#,
    ] {
        assert!(!asks(more), "{more}");
    }
}

#[test]
fn two_parts_are_one_stream() {
    for to in [Dialect::OpenAiChat, Dialect::Anthropic] {
        for from in [Dialect::OpenAiChat, Dialect::Anthropic] {
            let (began, rest) = if from == Dialect::OpenAiChat {
                (half(&["Once ", "upon"]), other(&[" a", " time"]))
            } else {
                (half_message(&["Once ", "upon"]), half_message(&[" a", " time"]) + &end_of_message())
            };
            for step in [1, 13, 10_000] {
                let mut first = tap(from, to);
                let mut out = run(&mut first, &(began.clone() + "data: {"), step);
                first.finish();
                let mut second = rest_of(&first.take_unfinished().unwrap(), from, to);
                let joined = run(&mut second, &rest, step) + &finish(&mut second);
                assert!(second.whole() && second.state() == State::Begun);
                assert!(joined.starts_with(": tollgate: continued by b/second\n\n"), "{joined}");
                let told = r#""tollgate":{"continued":{"from":"a/first","by":"b/second","dropped":"seed"}}"#;
                assert_eq!(joined.matches(told).count(), if to == Dialect::OpenAiChat { 2 } else { 1 }, "{joined}");
                out.push_str(&joined);
                assert_eq!(read(to, &out), ("Once upon a time".to_owned(), true, 1), "{from:?} {to:?} {out}");
                if to == Dialect::OpenAiChat {
                    assert_eq!((out.matches("[DONE]").count(), out.matches("\"role\"").count()), (1, 1), "{out}");
                    assert!(joined.contains("\"cost_usd\":\"1.0000"), "{joined}");
                } else {
                    assert_eq!(out.matches("message_start\"").count(), 1, "{out}");
                    assert_eq!(out.matches("content_block_start\"").count(), 1, "{out}");
                    assert_eq!(out.matches("\"type\":\"content_block_stop\"").count(), 1, "{out}");
                    assert!(!out.contains("\"index\":1"), "{out}");
                }
            }
        }
    }
}

#[test]
fn chunks_of_both_parts_present_themselves_alike() {
    let mut first = tap(Dialect::OpenAiChat, Dialect::OpenAiChat);
    run(&mut first, &half(&["Hi"]), 100);
    let mut second = rest_of(&first.take_unfinished().unwrap(), Dialect::OpenAiChat, Dialect::OpenAiChat);
    let joined = run(&mut second, &other(&[" there"]), 100) + &finish(&mut second);
    let chunks: Vec<&str> = joined.split("\n\n").filter(|event| event.starts_with("data: {")).collect();
    assert!(chunks.len() >= 3);
    for chunk in chunks {
        assert!(
            chunk.starts_with(r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"first","#),
            "{chunk}"
        );
    }
}

#[test]
fn a_first_event_without_a_name_is_not_believed() {
    let filters = r#"data: {"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#;
    let mut first = tap(Dialect::OpenAiChat, Dialect::OpenAiChat);
    run(&mut first, &format!("{filters}\n\n{}", half(&["Hi"])), 17);
    let mut second = rest_of(&first.take_unfinished().unwrap(), Dialect::OpenAiChat, Dialect::OpenAiChat);
    let joined = run(&mut second, &other(&[" there"]), 100) + &finish(&mut second);
    assert!(joined.contains(r#""id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"first""#), "{joined}");
}

#[test]
fn a_stream_that_breaks_says_nothing_of_a_failure() {
    // What the client is told is the gateway's to say, and that it left is no fault of the provider's.
    for (from, to) in [
        (Dialect::OpenAiChat, Dialect::OpenAiChat),
        (Dialect::Anthropic, Dialect::OpenAiChat),
        (Dialect::OpenAiChat, Dialect::Anthropic),
        (Dialect::Anthropic, Dialect::Anthropic),
    ] {
        let mut broken = tap(from, to);
        run(&mut broken, &if from == Dialect::OpenAiChat { half(&["Hi"]) } else { half_message(&["Hi"]) }, 17);
        finish(&mut broken);
        assert!(broken.said().is_none() && !broken.whole(), "{from:?} {to:?}");
    }
}

#[test]
fn the_providers_error_is_the_only_one() {
    let mut passing = Tap::new(Dialect::OpenAiChat, Dialect::OpenAiChat, Face::default(), Wanted { usage: true, ..Wanted::default() });
    for mut failed in [tap(Dialect::OpenAiChat, Dialect::OpenAiChat), std::mem::take(&mut passing)] {
        let out = run(&mut failed, &(half(&["Hi"]) + ERROR), 17) + &finish(&mut failed);
        assert!(out.ends_with(ERROR), "{out}");
        assert_eq!(failed.fail(Dialect::OpenAiChat, &crate::failure::Failure::UpstreamTimeout), Vec::<u8>::new());
    }
}

#[test]
fn a_block_that_is_whole_is_followed_by_another() {
    let mut first = tap(Dialect::Anthropic, Dialect::Anthropic);
    let began = half_message(&["One."]) + &message("content_block_stop", r#","index":0"#);
    let mut out = run(&mut first, &began, 17);
    let mut second = rest_of(&first.take_unfinished().unwrap(), Dialect::Anthropic, Dialect::Anthropic);
    out += &(run(&mut second, &(half_message(&[" Two."]) + &end_of_message()), 17) + &finish(&mut second));
    assert_eq!(read(Dialect::Anthropic, &out), ("One. Two.".to_owned(), true, 1));
    assert_eq!(out.matches("\"index\":1").count(), 3, "{out}");
}

#[test]
fn nothing_more_to_say_ends_the_block_too() {
    let mut first = tap(Dialect::Anthropic, Dialect::Anthropic);
    let mut out = run(&mut first, &half_message(&["All."]), 17);
    let mut second = rest_of(&first.take_unfinished().unwrap(), Dialect::OpenAiChat, Dialect::Anthropic);
    out += &(run(&mut second, &other(&[]), 17) + &finish(&mut second));
    assert_eq!(read(Dialect::Anthropic, &out), ("All.".to_owned(), true, 1));
    assert_eq!(out.matches("\"type\":\"content_block_stop\"").count(), 1, "{out}");
}

#[test]
fn thoughts_of_the_second_are_left_out() {
    for to in [Dialect::OpenAiChat, Dialect::Anthropic] {
        let mut first = tap(Dialect::OpenAiChat, to);
        let mut out = run(&mut first, &half(&["Hi"]), 17);
        let mut second = rest_of(&first.take_unfinished().unwrap(), Dialect::OpenAiChat, to);
        let thinks = other(&[" there"]).replacen(
            &chunk(r#"{"content":" there"}"#).replace("chatcmpl-1", "other").replace("1700000000", "5").replace("first", "second"),
            &(chunk(r#"{"reasoning_content":"hmm"}"#) + &chunk(r#"{"content":" there"}"#)),
            1,
        );
        assert!(thinks.contains("hmm"));
        out += &(run(&mut second, &thinks, 17) + &finish(&mut second));
        assert_eq!(read(to, &out), ("Hi there".to_owned(), true, 1), "{out}");
        assert!(!out.contains("hmm") && !out.contains("thinking"), "{out}");
    }
}

proptest! {
    #[test]
    fn watching_changes_no_byte_of_a_whole_stream(pieces in prop::collection::vec("[a-zé ]{1,9}", 0..9), step in 1_usize..200, crlf: bool) {
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let mut all = other(&pieces);
        if crlf {
            all = all.replace('\n', "\r\n");
        }
        let mut plain = Tap::new(Dialect::OpenAiChat, Dialect::OpenAiChat, Face::default(), Wanted { usage: true, ..Wanted::default() });
        let expected = run(&mut plain, &all, step) + &finish(&mut plain);
        let mut watched = tap(Dialect::OpenAiChat, Dialect::OpenAiChat);
        prop_assert_eq!(run(&mut watched, &all, step) + &finish(&mut watched), expected);
        prop_assert!(watched.whole() && watched.take_unfinished().is_none());
    }

    #[test]
    fn the_text_so_far_is_that_of_the_events_that_went_out(pieces in prop::collection::vec("[a-zé ]{1,9}", 1..9), step in 1_usize..50, cut in 0_usize..4_000, crlf: bool) {
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let mut all = half(&pieces);
        if crlf {
            all = all.replace('\n', "\r\n");
        }
        let cut = (0..=cut.min(all.len())).rev().find(|at| all.is_char_boundary(*at)).unwrap();
        let mut tap = tap(Dialect::OpenAiChat, Dialect::OpenAiChat);
        let mut out = Vec::new();
        for chunk in all.as_bytes()[..cut].chunks(step) {
            out.extend(tap.push(chunk).unwrap_or_else(|| chunk.to_vec()));
        }
        tap.finish();
        let out = String::from_utf8(out).unwrap();
        prop_assert!(all.starts_with(&out) && (out.is_empty() || out.ends_with("\n\n") || out.ends_with("\r\n\r\n")));
        let seen = read(Dialect::OpenAiChat, &out).0;
        let text = tap.take_unfinished().map(|unfinished| unfinished.text).unwrap_or_default();
        prop_assert_eq!(text.trim(), seen.trim());
    }
}
