use super::*;
use crate::price::{Tier, TierAsked, Usage};
use std::collections::BTreeSet;

fn at(text: &str) -> Timestamp {
    Timestamp::from_rfc3339(text).unwrap()
}

/// A list of one section, `p`.
fn list(rows: &'static str) -> List {
    serde_json::from_str(rows).unwrap()
}

fn input(list: &List, model: &str, now: &str) -> (i64, String) {
    let price = list.price("p", model, at(now)).unwrap();
    (price.base.input, price.id)
}

const NOW: &str = "2026-11-24T12:00:00Z";

#[test]
fn every_row_can_be_read() {
    let list = List::built_in().unwrap();
    assert!(list.source.starts_with("genai-prices "));
    let mut rows = 0;
    for (name, section) in &list.providers {
        assert!(section.models.len() > 5, "{name}");
        assert!(section.models.is_sorted_by_key(|row| Row::of(row).name), "{name} is not sorted");
        assert!(section.others.iter().all(|other| list.providers.contains_key(other)), "{name}");
        for text in &section.models {
            let row = Row::of(text);
            let price = row.price(String::new(), at(NOW)).unwrap_or_else(|| panic!("{text}"));
            assert!(price.worst_case(1_000_000, 1_000_000, TierAsked::Auto).get() > 0, "{text} is free");
            assert!(price.steps.is_sorted_by(|a, b| a.0 < b.0), "{text}");
            assert!(row.rules().count() > 0 && row.rules().all(|(kind, rule)| "=^$~".contains(kind) && !rule.is_empty()), "{text}");
            let sizes = row.sizes.split(' ').filter(|s| !s.is_empty());
            assert!(sizes.clone().count() <= 2 && sizes.into_iter().all(|s| s.parse::<Tokens>().is_ok_and(|n| n > 0)), "{text}");
            let words = ["from", "request", "flex", "batch", "priority"];
            let known = |field: &str| {
                field.split_once(' ').is_some_and(|(w, rest)| {
                    words.contains(&w) || (When::read(Box::leak(w.to_owned().into_boxed_str())).is_some() && with_steps(rest).is_some())
                })
            };
            assert!(row.more.is_empty() || row.more.split('|').all(known), "{text}");
            rows += 1;
        }
    }
    assert!(rows > 1_000, "{rows}");
}

#[test]
fn the_providers_that_people_use_are_there() {
    let list = List::built_in().unwrap();
    for section in [
        "openai",
        "azure",
        "anthropic",
        "google",
        "aws",
        "groq",
        "mistral",
        "deepseek",
        "x-ai",
        "together",
        "fireworks",
        "openrouter",
        "perplexity",
        "cerebras",
        "sambanova",
        "nebius",
        "cohere",
        "novita",
        "huggingface",
        "moonshotai",
        "zai",
        "zhipuai",
        "alibaba",
        "minimax",
        "cloudflare",
    ] {
        let names: BTreeSet<&str> = list.models(section).collect();
        for name in names {
            let (_, _, row) = list.find(section, name).unwrap();
            assert!(row.rules().any(|(kind, text)| kind == '=' && text.eq_ignore_ascii_case(name)), "{section}/{name} found {}", row.name);
        }
    }
}

#[test]
fn the_closest_rule_wins() {
    let list = list(
        r#"{"source":"s 1","providers":{"p":{"models":["A-Model|1 2","b|2 2||^a-m ~zz","c|3 3||^a-mo =c =also-c","d|4 4||$-end ~nd","exact|5 5||^exact-","f|6 6||=exact"]}}}"#,
    );
    for (model, row) in [
        ("A-Model", "A-Model"),
        ("a-model", "A-Model"),
        ("a-models", "c"),
        ("a-m", "b"),
        ("xzzx", "b"),
        ("ALSO-C", "c"),
        ("x-end", "d"),
        ("and", "d"),
        // A row is not for its own name unless it says so.
        ("exact", "f"),
        ("exact-1", "exact"),
    ] {
        assert_eq!(input(&list, model, NOW).1, format!("s 1:p/{row}"), "{model}");
    }
    for model in ["", "a", "zx", "en-x", "é"] {
        assert_eq!(list.price("p", model, at(NOW)), None, "{model}");
    }
    assert_eq!(list.price("q", "c", at(NOW)), None);
}

#[test]
fn another_section_is_looked_through_after_the_own() {
    let list = list(
        r#"{"source":"s 1","providers":{"p":{"else":["q"],"models":["a|1 1"]},"q":{"source":"t 2","else":["r"],"models":["a|2 2","b|2 2|9 8"]},"r":{"models":["c|1 1"]}}}"#,
    );
    assert_eq!(input(&list, "a", NOW), (1_000_000, "s 1:p/a".into()));
    assert_eq!(input(&list, "b", NOW), (2_000_000, "t 2:q/b".into()));
    assert_eq!((list.context_window("p", "b"), list.max_output("p", "b")), (Some(9), Some(8)));
    assert_eq!((list.context_window("p", "a"), list.max_output("p", "a")), (None, None));
    assert_eq!(list.price("p", "c", at(NOW)), None, "one step only");
    assert_eq!(list.models("p").collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_row_tells_all_rates_and_steps() {
    let list = list(r#"{"source":"s 1","providers":{"p":{"models":["a|3 15 0.3 3.75 6 > 200000 6 22.5 - 7.5|200000||request 0.012"]}}}"#);
    let price = list.price("p", "a", at(NOW)).unwrap();
    let first = Rates {
        input: 3_000_000,
        output: 15_000_000,
        cached_input: Some(300_000),
        cache_write: Some(3_750_000),
        cache_write_1h: Some(6_000_000),
    };
    let second = Rates { input: 6_000_000, output: 22_500_000, cached_input: None, cache_write: Some(7_500_000), cache_write_1h: None };
    assert_eq!((price.base, price.steps.as_slice()), (first, [(200_000, second)].as_slice()));
    assert_eq!((price.per_request.to_string(), price.valid_until), ("0.012".to_owned(), None));
    assert_eq!(price.cost(Usage::default()).to_string(), "0.012");
    assert_eq!((list.context_window("p", "a"), list.max_output("p", "a")), (Some(200_000), None));
}

#[test]
fn a_row_tells_the_prices_of_tiers() {
    let list = list(
        r#"{"source":"s 1","providers":{"p":{"models":["a|2 8 0.5|||request 0.5|flex 1 4 > 1000 2 6|priority 4 16 1 5","b|1 1|||batch 1"]}}}"#,
    );
    let price = list.price("p", "a", at(NOW)).unwrap();
    let told: Vec<_> = price.tiers.iter().map(|v| (v.tier, v.base.input, v.base.cache_write, v.steps.len())).collect();
    assert_eq!(told, [(Tier::Flex, 1_000_000, None, 1), (Tier::Priority, 4_000_000, Some(5_000_000), 0)]);
    let usage = |input, tier| Usage { input, tier, ..Usage::default() };
    let cost = |usage: Usage| (price.cost(usage).to_string(), price.id_for(usage));
    assert_eq!(cost(usage(1_000, Some(Tier::Flex))), ("0.501".to_owned(), "s 1:p/a#flex".to_owned()));
    assert_eq!(cost(usage(2_000, Some(Tier::Flex))), ("0.504".to_owned(), "s 1:p/a#flex".to_owned()));
    assert_eq!(cost(usage(1_000, Some(Tier::Priority))), ("0.504".to_owned(), "s 1:p/a#priority".to_owned()));
    assert_eq!(cost(usage(1_000, Some(Tier::Batch))), ("0.502".to_owned(), "s 1:p/a".to_owned()));
    assert_eq!(list.price("p", "b", at(NOW)), None, "a tier that cannot be read");
}

/// Of the models that people use, and their own lists agree with what both sources say is usual.
#[test]
fn the_tiers_of_known_models_are_there() {
    let list = List::built_in().unwrap();
    let rates = |model: &str, tier: Tier| {
        let price = list.price("openai", model, at(NOW)).unwrap();
        price.tiers.iter().find(|v| v.tier == tier).map(|v| (v.base.input, v.base.output))
    };
    assert_eq!(rates("gpt-4o", Tier::Priority), Some((4_250_000, 17_000_000)));
    assert_eq!(rates("gpt-4o", Tier::Batch), Some((1_250_000, 5_000_000)));
    assert_eq!(rates("gpt-4o", Tier::Flex), None);
    assert_eq!(rates("o3", Tier::Flex), Some((1_000_000, 4_000_000)));
    let tiered = |provider: &str| list.providers[provider].models.iter().filter(|row| row.contains("|priority ")).count();
    assert!(tiered("openai") >= 20 && tiered("fireworks") >= 20, "{} {}", tiered("openai"), tiered("fireworks"));
}

#[test]
fn a_price_holds_from_its_day_on() {
    let list = list(r#"{"source":"s 1","providers":{"p":{"models":["a|1 1|||from 2026-01-01|2026-12-01 2 2|2027-01-01 3 3"]}}}"#);
    let price = |now: &str| list.price("p", "a", at(now)).unwrap();
    for (now, input, date, until) in [
        ("2025-01-01T00:00:00Z", 1, "2026-01-01", Some("2026-12-01T00:00:00.000Z")),
        ("2026-11-30T23:59:59.999Z", 1, "2026-01-01", Some("2026-12-01T00:00:00.000Z")),
        ("2026-12-01T00:00:00Z", 2, "2026-12-01", Some("2027-01-01T00:00:00.000Z")),
        ("2027-01-01T00:00:00Z", 3, "2027-01-01", None),
        ("2099-01-01T00:00:00Z", 3, "2027-01-01", None),
    ] {
        let price = price(now);
        assert_eq!(price.base.input, input * 1_000_000, "{now}");
        assert_eq!(price.id, format!("s 1:p/a@{date}"));
        assert_eq!(price.valid_until.map(Timestamp::rfc3339).as_deref(), until, "{now}");
    }
}

#[test]
fn a_price_holds_at_its_time_of_day() {
    let list = list(
        r#"{"source":"s 1","providers":{"p":{"models":["a|1 1|||01:00-04:00 2 2|06:00-10:00 3 3","b|1 1|||22:30-01:15 2 2","c|1 1|||2026-12-01 2 2|01:00-04:00 3 3"]}}}"#,
    );
    for (model, now, rate, label, until) in [
        ("a", "2026-11-24T00:59:59.999Z", 1, "", "2026-11-24T01:00"),
        ("a", "2026-11-24T01:00:00Z", 2, "@01:00-04:00", "2026-11-24T04:00"),
        ("a", "2026-11-24T04:00:00Z", 1, "", "2026-11-24T06:00"),
        ("a", "2026-11-24T09:59:59Z", 3, "@06:00-10:00", "2026-11-24T10:00"),
        ("a", "2026-11-24T10:00:00Z", 1, "", "2026-11-25T01:00"),
        ("b", "2026-11-24T22:29:00Z", 1, "", "2026-11-24T22:30"),
        ("b", "2026-11-24T23:00:00Z", 2, "@22:30-01:15", "2026-11-25T01:15"),
        ("b", "2026-11-25T01:14:59Z", 2, "@22:30-01:15", "2026-11-25T01:15"),
        ("b", "2026-11-25T01:15:00Z", 1, "", "2026-11-25T22:30"),
        ("c", "2026-11-30T23:00:00Z", 1, "", "2026-12-01T00:00"),
        ("c", "2026-12-02T02:00:00Z", 3, "@01:00-04:00", "2026-12-02T04:00"),
        ("c", "2026-12-02T05:00:00Z", 2, "@2026-12-01", "2026-12-03T01:00"),
    ] {
        let price = list.price("p", model, at(now)).unwrap();
        assert_eq!((price.base.input, price.id), (rate * 1_000_000, format!("s 1:p/{model}{label}")), "{model} {now}");
        assert_eq!(price.valid_until.unwrap().rfc3339(), format!("{until}:00.000Z"), "{model} {now}");
    }
}

/// Until it says, a price stays the same; and then it is another or has another end.
#[test]
fn no_price_changes_before_it_says() {
    let list = List::built_in().unwrap();
    let mut changing = 0;
    for (name, section) in &list.providers {
        for text in section.models.iter().filter(|text| !Row::of(text).more.is_empty()) {
            let model = Row::of(text).name;
            let mut now = at("2026-11-23T00:00:00Z");
            for _ in 0..20 {
                let price = list.price(name, model, now);
                let Some(until) = price.as_ref().and_then(|p| p.valid_until) else { break };
                assert!(until > now, "{name}/{model}");
                assert_eq!(list.price(name, model, Timestamp(until.0 - 1)), price, "{name}/{model}");
                assert_ne!(list.price(name, model, until), price, "{name}/{model}");
                now = until;
                changing += 1;
            }
        }
    }
    assert!(changing > 0);
}

#[test]
fn a_row_that_cannot_be_read_has_no_price() {
    let list = list(
        r#"{"source":"s 1","providers":{"p":{"models":["a|1","b|1 x","c|1 1 1 1 1 1","d|1 1 > 5","e|1 1 > x 1 1","f|- 1","g|1 1|||request x","h"]}}}"#,
    );
    for model in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        assert_eq!(list.price("p", model, at(NOW)), None, "{model}");
    }
}
